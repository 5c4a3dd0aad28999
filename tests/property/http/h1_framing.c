/* How an upstream's answer is framed, beside a model that goes through the rules of RFC 9112 6.3 one by one:
 * every status and method with every choice of fields. */
#include "support/check.h"

#include "base/arena.h"
#include "base/mem.h"
#include "base/rand.h"
#include "http/h1.h"

static const mg_h1_limits limits = MG_H1_LIMITS_DEFAULT;

typedef struct answer {
    int status, minor;
    mg_method method;
    const char *lengths[2]; /* NULL: no such field */
    const char *coding;
    const char *connection;
} answer;

typedef struct outcome {
    bool refused, keep_alive;
    mg_h1_framing framing;
    uint64_t length;
} outcome;

/* ---- the model ---- */

static bool is_number(const char *text)
{
    return *text && strspn(text, "0123456789") == strlen(text);
}

static outcome model(const answer *a)
{
    const bool chunked = a->coding != NULL;
    const uint64_t length = a->lengths[0] ? strtoull(a->lengths[0], NULL, 10) : 0;
    outcome o = { .framing = MG_H1_NO_BODY };

    /* Fields that two readers may take in two ways are refused, whatever the status. */
    if (a->lengths[0] && a->lengths[1])
        o.refused = true; /* even where they are the same */
    if (a->lengths[0] && !is_number(a->lengths[0]))
        o.refused = true;
    if (chunked && (a->lengths[0] || a->minor == 0 || strcasecmp(a->coding, "chunked") != 0))
        o.refused = true;
    o.keep_alive = a->minor == 1 ? !a->connection || strcasecmp(a->connection, "close") != 0
                                 : a->connection && strcasecmp(a->connection, "keep-alive") == 0;
    if (a->status < 200 || a->status == 204 || a->status == 205) { /* rule 1, and RFC 9110 15.3.6 */
        if (chunked || length)
            o.keep_alive = false;
        if (a->status == 205 && !a->lengths[0] && a->method != MG_METHOD_HEAD)
            o.keep_alive = false;
    } else if (a->method == MG_METHOD_HEAD || a->status == 304) { /* rule 1 */
        o.length = length;
    } else if (chunked) { /* rule 4 */
        o.framing = MG_H1_CHUNKED;
    } else if (a->lengths[0]) { /* rule 6 */
        o.framing = MG_H1_LENGTH;
        o.length = length;
    } else { /* rule 8 */
        o.framing = MG_H1_UNTIL_CLOSE;
        o.keep_alive = false;
    }
    return o;
}

/* ---- the reader ---- */

static void write_head(const answer *a, mg_text *text)
{
    mg_text_addf(text, "HTTP/1.%d %d Word\r\nX: y\r\n", a->minor, a->status);
    for (int i = 0; i < 2; i++)
        if (a->lengths[i])
            mg_text_addf(text, "Content-Length: %s\r\n", a->lengths[i]);
    if (a->coding)
        mg_text_addf(text, "Transfer-Encoding: %s\r\n", a->coding);
    if (a->connection)
        mg_text_addf(text, "Connection: %s\r\n", a->connection);
    mg_text_add_c(text, "\r\n");
}

static const char *one_of(mg_rand *rand, const char *const *choices, size_t n)
{
    return choices[mg_rand_below(rand, n)];
}

static answer make(mg_rand *rand)
{
    static const int statuses[] = { 100, 102, 103, 199, 200, 201, 203, 204,
                                    205, 206, 299, 301, 304, 404, 500, 599 };
    static const mg_method methods[] = { MG_METHOD_GET, MG_METHOD_HEAD, MG_METHOD_POST, MG_METHOD_OTHER };
    static const char *const lengths[] = { NULL, NULL, NULL, "0", "5", "007", "1, 1", "", "+1" };
    static const char *const codings[] = { NULL, NULL, "chunked", "Chunked", "gzip", "chunked, chunked" };
    static const char *const connections[] = { NULL, NULL, "close", "Close", "keep-alive", "Keep-Alive" };
    answer a = { .status = statuses[mg_rand_below(rand, mg_countof(statuses))],
                 .minor = mg_rand_below(rand, 4) ? 1 : 0,
                 .method = methods[mg_rand_below(rand, mg_countof(methods))] };

    a.lengths[0] = one_of(rand, lengths, mg_countof(lengths));
    a.lengths[1] = a.lengths[0] && mg_rand_below(rand, 6) == 0 ? a.lengths[0] : NULL;
    a.coding = one_of(rand, codings, mg_countof(codings));
    a.connection = one_of(rand, connections, mg_countof(connections));
    return a;
}

static void answers_are_framed_as_the_model_frames_them(void **state)
{
    unsigned accepted = 0;
    mg_rand rand;
    (void)state;

    mg_rand_init(&rand, check_seed(11));
    for (unsigned run = 0; run < 60000; run++) {
        const answer a = make(&rand);
        const outcome o = model(&a);
        mg_text text = { 0 };
        mg_h1_framing framing = MG_H1_NO_BODY;
        mg_h1_fault fault = { 0 };
        mg_h1_info info;
        mg_response r;
        mg_arena arena;

        mg_arena_init(&arena, NULL, 0);
        write_head(&a, &text);
        mg_str copy = mg_arena_str(&arena, mg_text_str(&text));
        const bool ok = mg_h1_parse_response(&arena, &limits, (char *)copy.p, copy.n, a.method, MG_STR_NONE,
                                             &r, &framing, &info, &fault);
        if (ok == o.refused || (ok && (framing != o.framing || info.keep_alive != o.keep_alive ||
                                       r.length != o.length || r.status != a.status || r.fields.count != 1)))
            fail_msg("method %d, %s: %s, framing %d (%d), keep_alive %d (%d), length %llu (%llu)\n%.*s",
                     a.method, ok ? "accepted" : fault.why, o.refused ? "to be refused" : "to be accepted",
                     framing, o.framing, info.keep_alive, o.keep_alive, (unsigned long long)r.length,
                     (unsigned long long)o.length, MG_STR_ARGS(mg_text_str(&text)));
        accepted += ok;
        mg_text_fini(&text);
        mg_arena_fini(&arena);
    }
    assert_in_range(accepted, 10000, 50000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_are_framed_as_the_model_frames_them),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
