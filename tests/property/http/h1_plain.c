/* Heads that are plain, or nearly so. This build has http-parser read the plain ones too and ends where it
 * reads one otherwise (MG_JUDGE_PLAIN_HEADS), so that what is tested here is that no such head exists.
 * HEADS=N in the environment is how many of each kind. */
#include "support/check.h"

#include "base/mem.h"
#include "base/rand.h"
#include "http/h1.h"

static const mg_h1_limits limits = MG_H1_LIMITS_DEFAULT;

static uint64_t heads(void)
{
    const char *wanted = getenv("HEADS");

    return wanted ? strtoull(wanted, NULL, 10) : 100000;
}

static void add_one(mg_text *out, mg_rand *rand, const char *const *texts, size_t n)
{
    mg_text_add(out, mg_str_of(texts[mg_rand_below(rand, n)]));
}

#define ADD_ONE(out, rand, ...)                                                                              \
    do {                                                                                                     \
        static const char *const texts[] = { __VA_ARGS__ };                                                  \
        add_one(out, rand, texts, mg_countof(texts));                                                        \
    } while (0)

static void add_random(mg_text *out, mg_rand *rand, const char *bytes, size_t from, size_t to)
{
    const size_t set = strlen(bytes);

    for (size_t n = from + mg_rand_below(rand, to - from + 1); n; n--)
        mg_text_add(out, mg_str_make(&bytes[mg_rand_below(rand, set)], 1));
}

/* Of all that is said about framing and connections, what readers differ on most. */
static void add_framing(mg_text *out, mg_rand *rand)
{
    ADD_ONE(out, rand, "Content-Length: 0", "content-length: 5", "Content-Length: 18446744073709551615",
            "Content-Length: 999999999999999999", "Content-Length: 9999999999999999999", "Content-Length: 05",
            "Content-Length:5", "Content-Length: 5 ", "Content-Length: 5,5", "Content-Length: +5",
            "Transfer-Encoding: chunked", "transfer-encoding: Chunked", "Transfer-Encoding: chunked ",
            "Transfer-Encoding: gzip, chunked", "Transfer-Encoding: chunkedd", "Connection: close",
            "connection: Keep-Alive", "Connection: keep-alive, close", "Connection: upgrade",
            "Connection: close,,keep-alive", "Connection: te", "Connection: x-one",
            "Connection:", "Proxy-Connection: keep-alive", "Proxy-Connection: upgrade", "Upgrade: websocket",
            "Upgrade: h2c", "Keep-Alive: timeout=5, max=100", "TE: trailers", "Trailer: x",
            "Expect: 100-continue", "Transfer-Encodingx: y", "Content-Lengthx: 7", "Connectionx: close",
            "Upgradex: 1", "Content-Lengt: 7", "Transfer-Encodin: chunked", "C: 1", "P: 1", "T: chunked",
            "U: 2", "Content-: 3", "Proxy-: 4");
}

static void add_field(mg_text *out, mg_rand *rand)
{
    if (mg_rand_below(rand, 3) == 0) {
        add_framing(out, rand);
    } else {
        add_random(out, rand, "abcptuCPTU-xyz019", 1, 20);
        ADD_ONE(out, rand, ": ", ": ", ": ", ": ", ": ", ":", ":  ", ":\t");
        add_random(out, rand, "abc ,;=:\"()/?~!#[]{}0123456789chunked", 0, 40);
    }
    mg_text_add(out, MG_STR("\r\n"));
}

/* One byte in some heads becomes any other one. */
static void touch(mg_text *text, mg_rand *rand)
{
    if (mg_rand_below(rand, 3) == 0)
        text->p[mg_rand_below(rand, text->n)] = (char)mg_rand_below(rand, 256);
}

static void end_head(mg_text *text, mg_rand *rand)
{
    for (uint64_t n = mg_rand_below(rand, 8); n; n--)
        add_field(text, rand);
    mg_text_add(text, MG_STR("\r\n"));
    touch(text, rand);
}

static bool is_read_as_request(const mg_text *text)
{
    mg_arena arena;
    mg_request request;
    mg_h1_info info;
    mg_h1_fault fault;
    char *head = mg_memdup0(text->p, text->n);

    mg_arena_init(&arena, NULL, 0);
    const bool read =
        mg_h1_parse_request(&arena, &limits, head, text->n, MG_STR("http"), &request, &info, &fault);
    mg_arena_fini(&arena);
    mg_free(head);
    return read;
}

static void requests_that_are_plain_are_read_alike(void **state)
{
    mg_text text = { 0 };
    uint64_t read = 0;
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(13));
    for (uint64_t run = 0; run < heads(); run++) {
        text.n = 0;
        ADD_ONE(&text, &rand, "GET", "GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH",
                "PURGE", "LINK", "get");
        ADD_ONE(&text, &rand, " /", " /", " /", " /", " http://a/", " *", " //");
        add_random(&text, &rand, "abcxyzAZ019-._~!$&'()*+,;=:@/%%?", 0, 30);
        ADD_ONE(&text, &rand, " HTTP/1.1\r\n", " HTTP/1.1\r\n", " HTTP/1.1\r\n", " HTTP/1.0\r\n",
                " HTTP/1.2\r\n");
        ADD_ONE(&text, &rand, "Host: a\r\n", "host: a.example:8080\r\n", "Host:a\r\n", "HOST: [::1]:80\r\n",
                "");
        end_head(&text, &rand);
        read += is_read_as_request(&text);
    }
    assert_in_range(read, heads() / 20, heads());
    mg_text_fini(&text);
}

static bool is_read_as_response(const mg_text *text, mg_method method)
{
    mg_arena arena;
    mg_response response;
    mg_h1_framing framing;
    mg_h1_info info;
    mg_h1_fault fault;
    char *head = mg_memdup0(text->p, text->n);

    mg_arena_init(&arena, NULL, 0);
    const bool read = mg_h1_parse_response(&arena, &limits, head, text->n, method, MG_STR("websocket"),
                                           &response, &framing, &info, &fault);
    mg_arena_fini(&arena);
    mg_free(head);
    return read;
}

static void responses_that_are_plain_are_read_alike(void **state)
{
    mg_text text = { 0 };
    uint64_t read = 0;
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(14));
    for (uint64_t run = 0; run < heads(); run++) {
        text.n = 0;
        ADD_ONE(&text, &rand, "HTTP/1.1 ", "HTTP/1.1 ", "HTTP/1.1 ", "HTTP/1.0 ", "HTTP/1.2 ");
        ADD_ONE(&text, &rand, "200", "200", "200", "404", "500", "599", "204", "205", "304", "206", "100",
                "101", "103", "600", "099");
        ADD_ONE(&text, &rand, " OK\r\n", " Not Found\r\n", " \r\n", "\r\n", "  \r\n", " \xc3\xa9\r\n");
        end_head(&text, &rand);
        read += is_read_as_response(&text, mg_rand_below(&rand, 4) ? MG_METHOD_GET : MG_METHOD_HEAD);
    }
    assert_in_range(read, heads() / 20, heads());
    mg_text_fini(&text);
}

int main(void)
{
#ifndef MG_JUDGE_PLAIN_HEADS
    puts("built without MG_JUDGE_PLAIN_HEADS, which this is about: nothing is tested");
    return 0;
#endif
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_that_are_plain_are_read_alike),
        cmocka_unit_test(responses_that_are_plain_are_read_alike),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
