/* sim_retry_body.c - requests with bodies whose first host fails: what the second one gets. */
#include "sim_world.h"

#include "base/rand.h"
#include "gateway/request/replay.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define BUSY     "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"
#define HOSTS_BEHIND(web)                                                                                    \
    web QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: "                     \
              "\"http://10.0.0.2:9001\" }, { url: \"http://10.0.0.2:9002\" }], retry: { attempts: 3 } } }\n"
#define HOSTS    HOSTS_BEHIND(WEB)
#define WEB_SUMS "listeners: { web: { bind: \"10.0.0.1:80\", request_trailers: [x-sum] } }\n"
#define PUT(n)   "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"
#define PUT_OPEN "PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
#define FILTER(text)                                                                                         \
    "local plugin = { name = 'p', version = '1', body = { request = 'stream' } }\n"                          \
    "function plugin.new() return { handler = function(ctx, next) return next(ctx) end,\n"                   \
    "request_body = function(ctx, bytes, last) " text " end } end\n"                                         \
    "return plugin\n"

enum { HOST_COUNT = 3 };

/* One client, three hosts. */
typedef struct fixture {
    line l;
    int hosts[HOST_COUNT];
    mg_text got; /* by the host that has the request now */
} fixture;

static void begin(fixture *f, const char *config, const char *plugin)
{
    *f = (fixture){ 0 };
    line_open(&f->l, config, plugin);
    f->hosts[0] = f->l.upstream;
    for (uint16_t i = 1; i < HOST_COUNT; i++)
        f->hosts[i] = listen_at(&f->l.w, "10.0.0.2", (uint16_t)(9000 + i));
}

static void end(fixture *f)
{
    for (int i = 1; i < HOST_COUNT; i++)
        line_drop(&f->l, &f->hosts[i]);
    mg_text_fini(&f->got);
    line_close(&f->l);
}

/* The next try, after any backoff: its connection is l.up. False when there is none. */
static bool next_try(fixture *f)
{
    mg_text_clear(&f->got);
    advance(&f->l.w, 60 * MS);
    for (int i = 0; i < HOST_COUNT; i++) {
        const int fd = take(&f->l.w, f->hosts[i]);
        if (fd >= 0) {
            f->l.up = fd;
            return true;
        }
    }
    return false;
}

/* What has come to the host, all of it so far. */
static const char *reads(fixture *f)
{
    (void)hear(&f->l.w, f->l.up);
    mg_text_add_c(&f->got, f->l.w.heard);
    mg_text_add(&f->got, (mg_str){ "", 1 });
    f->got.n--;
    return f->got.p;
}

static void breaks(fixture *f)
{
    hang_up_hard(&f->l.w, f->l.up);
    f->l.up = -1;
}

static void answers(fixture *f, const char *answer, const char *status)
{
    say(&f->l.w, f->l.up, answer);
    hear_status(&f->l.w, f->l.client, status);
}

static char *letters(size_t n)
{
    char *text = mg_alloc(n + 1);

    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + i * 7 % 26);
    text[n] = '\0';
    return text;
}

static const char *body_in(const char *request)
{
    const char *at = strstr(request, "\r\n\r\n");

    assert_non_null(at);
    return at + 4;
}

/* The payload of a chunked body. */
static void unchunk(const char *at, mg_text *out)
{
    for (;;) {
        char *end_of_size;
        const size_t n = strtoul(at, &end_of_size, 16);
        if (n == 0)
            return;
        mg_text_add(out, (mg_str){ end_of_size + 2, n });
        at = end_of_size + 2 + n + 2;
    }
}

#define ROUTE_ALL "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up }]\n"

static void a_put_of_10_kib_goes_to_another_host_whole(void **state)
{
    fixture f;
    char *body = letters(10240);

    (void)state;
    begin(&f, HOSTS ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client, PUT(10240));
    say_all(&f.l.w, f.l.client, body, 4000);
    assert_true(next_try(&f));
    assert_memory_equal(body_in(reads(&f)), body, 4000);
    breaks(&f);
    say_all(&f.l.w, f.l.client, body + 4000, 2000); /* the client goes on during the backoff */
    assert_true(next_try(&f));
    assert_has(reads(&f), "x-moongate-attempt: 2\r\n");
    say_all(&f.l.w, f.l.client, body + 6000, 4240);
    assert_string_equal(body_in(reads(&f)), body);
    breaks(&f);
    assert_true(next_try(&f));
    assert_has(reads(&f), "x-moongate-attempt: 3\r\n");
    assert_has(reads(&f), "\r\ncontent-length: 10240\r\n");
    assert_string_equal(body_in(reads(&f)), body);
    answers(&f, OK_EMPTY, "200");
    mg_free(body);
    end(&f);
}

static void one_of_100_kib_that_was_sent_is_not_repeated(void **state)
{
    fixture f;
    char *body = letters(102400);

    (void)state;
    begin(&f, HOSTS ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client, PUT(102400));
    assert_true(next_try(&f));
    for (int i = 0; i < 10; i++) {
        say_all(&f.l.w, f.l.client, body + i * 10240, 10240);
        (void)reads(&f);
    }
    assert_string_equal(body_in(reads(&f)), body);
    breaks(&f);
    assert_false(next_try(&f));
    hear_status(&f.l.w, f.l.client, "502");
    mg_free(body);
    end(&f);
}

static void but_what_it_broke_in_the_first_part_of_it_is(void **state)
{
    fixture f;
    char *body = letters(102400);

    (void)state;
    begin(&f, HOSTS ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client, PUT(102400));
    say_all(&f.l.w, f.l.client, body, 20000);
    assert_true(next_try(&f));
    (void)reads(&f);
    breaks(&f);
    assert_true(next_try(&f));
    for (size_t at = 20000; at < 102400; at += 20600) {
        (void)reads(&f);
        say_all(&f.l.w, f.l.client, body + at, 20600);
    }
    assert_string_equal(body_in(reads(&f)), body);
    answers(&f, OK_EMPTY, "200");
    mg_free(body);
    end(&f);
}

static void chunks_and_their_end_come_again(void **state)
{
    fixture f;

    (void)state;
    begin(&f, HOSTS_BEHIND(WEB_SUMS) ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client, PUT_OPEN "5\r\nhello\r\n");
    assert_true(next_try(&f));
    (void)reads(&f);
    breaks(&f);
    say(&f.l.w, f.l.client, "0\r\nx-sum: 7\r\n\r\n"); /* while nobody is connected */
    assert_true(next_try(&f));
    assert_ends(reads(&f), "\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n");
    breaks(&f);
    assert_true(next_try(&f));
    assert_ends(reads(&f), "\r\n\r\n5\r\nhello\r\n0\r\nx-sum: 7\r\n\r\n");
    answers(&f, OK_EMPTY, "200");
    end(&f);
}

static void what_filters_made_is_sent_again_and_they_run_once(void **state)
{
    fixture f;

    (void)state;
    begin(&f, HOSTS ROUTE_P,
          FILTER("ctx.state.n = (ctx.state.n or 0) + 1 "
                 "return last and '[' .. ctx.state.n .. ']' or ctx.state.n .. bytes:upper()"));
    say(&f.l.w, f.l.client, PUT_OPEN "5\r\nhello\r\n");
    assert_true(next_try(&f));
    assert_ends(reads(&f), "\r\n\r\n6\r\n1HELLO\r\n");
    breaks(&f);
    say(&f.l.w, f.l.client, "5\r\nworld\r\n");
    assert_true(next_try(&f));
    assert_ends(reads(&f), "\r\n\r\n6\r\n1HELLO\r\n6\r\n2WORLD\r\n");
    say(&f.l.w, f.l.client, "0\r\n\r\n");
    assert_ends(reads(&f), "\r\n\r\n6\r\n1HELLO\r\n6\r\n2WORLD\r\n3\r\n[3]\r\n0\r\n\r\n");
    breaks(&f);
    assert_true(next_try(&f));
    assert_ends(reads(&f), "\r\n\r\nf\r\n1HELLO2WORLD[3]\r\n0\r\n\r\n");
    answers(&f, OK_EMPTY, "200");
    end(&f);
}

static void what_a_filter_holds_when_its_host_breaks_is_not_lost(void **state)
{
    fixture f;
    char *body = letters(6000);

    (void)state;
    begin(&f, HOSTS ROUTE_P, FILTER("return bytes"));
    mg_sim_set_buffer(f.l.w.sim, 1024);
    say(&f.l.w, f.l.client, PUT(6000));
    assert_true(next_try(&f));
    for (int i = 0; i < 4; i++) /* to a host that does not read */
        (void)say_bytes(&f.l.w, f.l.client, body + i * 1000, 1000);
    breaks(&f);
    assert_true(next_try(&f));
    size_t said = 4000;
    for (int i = 0; i < 10; i++) {
        said += say_bytes(&f.l.w, f.l.client, body + said, 6000 - said);
        (void)reads(&f);
    }
    assert_int_equal(said, 6000);
    mg_text whole = { 0 };
    unchunk(body_in(reads(&f)), &whole);
    assert_int_equal(whole.n, 6000);
    assert_memory_equal(whole.p, body, 6000);
    mg_text_fini(&whole);
    answers(&f, OK_EMPTY, "200");
    mg_free(body);
    end(&f);
}

static void a_body_that_a_plugin_holds_is_repeated_whatever_its_size(void **state)
{
    fixture f;
    char *body = letters(200000);

    (void)state;
    begin(&f, HOSTS ROUTE_P, HANDLER("ctx.request:body() next(ctx)"));
    say(&f.l.w, f.l.client, PUT(200000));
    say_all(&f.l.w, f.l.client, body, 200000);
    for (int i = 0; i < 3; i++) {
        assert_true(next_try(&f));
        assert_string_equal(body_in(reads(&f)), body);
        if (i < 2)
            breaks(&f);
    }
    answers(&f, OK_EMPTY, "200");
    mg_free(body);
    end(&f);
}

static void a_host_that_refuses_before_the_body_costs_nothing(void **state)
{
    fixture f;

    (void)state;
    begin(&f, HOSTS ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client,
        "PUT /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 5\r\n\r\n");
    assert_true(next_try(&f));
    assert_has(reads(&f), "\r\nexpect: 100-continue\r\n");
    say(&f.l.w, f.l.up, BUSY);
    const int refused = f.l.up;
    assert_true(next_try(&f));
    assert_true(hear(&f.l.w, refused) != HEAR_OPEN); /* what it does not know of cannot follow on it */
    hang_up(&f.l.w, refused);
    assert_has(reads(&f), "\r\nexpect: 100-continue\r\n");
    say(&f.l.w, f.l.up, "HTTP/1.1 100 Continue\r\n\r\n");
    hear_status(&f.l.w, f.l.client, "100");
    say(&f.l.w, f.l.client, "hello");
    assert_string_equal(body_in(reads(&f)), "hello");
    breaks(&f);
    assert_true(next_try(&f));
    assert_null(strstr(reads(&f), "expect:")); /* the client has gone on long since */
    assert_string_equal(body_in(reads(&f)), "hello");
    answers(&f, OK_EMPTY, "200");
    end(&f);
}

#define ONE_AT_A_TIME                                                                                        \
    WEB QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: "                     \
              "\"http://10.0.0.2:9001\" }], retry: {}, breaker: { max_concurrent: 1 } } }\n"

static void a_request_keeps_its_place_from_try_to_try(void **state)
{
    fixture f;

    (void)state;
    begin(&f, ONE_AT_A_TIME ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client, PUT(5) "hello");
    assert_true(next_try(&f));
    (void)reads(&f);
    say(&f.l.w, f.l.up, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 9\r\n\r\nnot n");
    line_drop(&f.l, &f.l.up);
    assert_true(next_try(&f));
    assert_string_equal(body_in(reads(&f)), "hello");
    const int other = dial(&f.l.w, "10.0.0.1", 80);
    say(&f.l.w, other, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&f.l.w, other, "503");
    answers(&f, OK_EMPTY, "200");
    hang_up(&f.l.w, other);
    end(&f);
}

static void an_early_answer_that_is_kept_lets_the_rest_pass(void **state)
{
    fixture f;
    char *body = letters(20000);

    (void)state;
    begin(&f, HOSTS ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client, PUT(20000));
    say_all(&f.l.w, f.l.client, body, 5000);
    assert_true(next_try(&f));
    (void)reads(&f);
    say(&f.l.w, f.l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no");
    hear_status(&f.l.w, f.l.client, "200");
    say_all(&f.l.w, f.l.client, body + 5000, 15000);
    assert_string_equal(body_in(reads(&f)), body);
    say(&f.l.w, f.l.up, "k");
    (void)hear(&f.l.w, f.l.client);
    assert_string_equal(f.l.w.heard, "k");
    mg_free(body);
    end(&f);
}

static void a_client_that_leaves_between_two_tries_ends_it(void **state)
{
    fixture f;

    (void)state;
    begin(&f, HOSTS ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client, PUT(10) "01234");
    assert_true(next_try(&f));
    (void)reads(&f);
    breaks(&f);
    line_drop(&f.l, &f.l.client);
    assert_int_equal(world_live_exchanges(&f.l.w), 0);
    assert_false(next_try(&f));
    end(&f);
}

static void a_broken_body_between_two_tries_is_400(void **state)
{
    fixture f;

    (void)state;
    begin(&f, HOSTS ROUTE_ALL, NULL);
    say(&f.l.w, f.l.client, PUT_OPEN "5\r\nhello\r\n");
    assert_true(next_try(&f));
    (void)reads(&f);
    breaks(&f);
    say(&f.l.w, f.l.client, "what?\r\n");
    assert_true(hear(&f.l.w, f.l.client) != HEAR_RESET);
    assert_starts(f.l.w.heard, "HTTP/1.1 400 ");
    assert_false(next_try(&f));
    end(&f);
}

/* Whatever pieces a body comes and goes in, and wherever its hosts break, the last one gets it exactly. */
static void every_byte_once_and_in_order(void **state)
{
    enum { BODY = 30000 };
    char *body = letters(BODY);

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        fixture f;
        mg_rand rand;
        char size[16];
        mg_rand_init(&rand, seed);
        const bool chunked = mg_rand_below(&rand, 2), filtered = mg_rand_below(&rand, 2);
        begin(&f, filtered ? HOSTS ROUTE_P : HOSTS ROUTE_ALL, filtered ? FILTER("return bytes") : NULL);
        mg_sim_set_buffer(f.l.w.sim, 512 + mg_rand_below(&rand, 8192));
        mg_sim_set_chunk(f.l.w.sim, mg_rand_below(&rand, 2) ? 1 + mg_rand_below(&rand, 3000) : 0);
        say_all(&f.l.w, f.l.client, chunked ? PUT_OPEN : PUT(30000), strlen(chunked ? PUT_OPEN : PUT(30000)));
        size_t said = 0;
        int broken = 0;
        bool ended = !chunked;
        assert_true(next_try(&f));
        for (int step = 0; said < BODY || !ended || broken < 2; step++) {
            if (step == 5000)
                fail_msg("seed %llu does not end", (unsigned long long)seed);
            if (said < BODY) {
                const size_t n = mg_min_u64(1 + mg_rand_below(&rand, 2000), BODY - said);
                if (chunked) {
                    snprintf(size, sizeof size, "%zx\r\n", n);
                    mg_text piece = { 0 };
                    mg_text_add_c(&piece, size);
                    mg_text_add(&piece, (mg_str){ body + said, n });
                    mg_text_add_c(&piece, "\r\n");
                    for (size_t at = 0; at < piece.n;) {
                        at += say_bytes(&f.l.w, f.l.client, piece.p + at, piece.n - at);
                        if (at < piece.n)
                            (void)reads(&f);
                    }
                    mg_text_fini(&piece);
                    said += n;
                } else {
                    said += say_bytes(&f.l.w, f.l.client, body + said, n);
                }
            } else if (!ended && say_bytes(&f.l.w, f.l.client, "0\r\n\r\n", 5) == 5) {
                ended = true;
            }
            if (mg_rand_below(&rand, 3))
                (void)reads(&f);
            if (broken < 2 && mg_rand_below(&rand, 10) == 0) {
                breaks(&f);
                broken++;
                assert_true(next_try(&f));
            }
        }
        mg_text whole = { 0 };
        if (chunked || filtered)
            unchunk(body_in(reads(&f)), &whole);
        else
            mg_text_add_c(&whole, body_in(reads(&f)));
        if (whole.n != BODY || memcmp(whole.p, body, BODY) != 0)
            fail_msg("seed %llu: another body of %zu bytes", (unsigned long long)seed, whole.n);
        mg_text_fini(&whole);
        mg_sim_set_chunk(f.l.w.sim, 0);
        answers(&f, OK_EMPTY, "200");
        end(&f);
    }
    mg_free(body);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_put_of_10_kib_goes_to_another_host_whole),
        cmocka_unit_test(one_of_100_kib_that_was_sent_is_not_repeated),
        cmocka_unit_test(but_what_it_broke_in_the_first_part_of_it_is),
        cmocka_unit_test(chunks_and_their_end_come_again),
        cmocka_unit_test(what_filters_made_is_sent_again_and_they_run_once),
        cmocka_unit_test(what_a_filter_holds_when_its_host_breaks_is_not_lost),
        cmocka_unit_test(a_body_that_a_plugin_holds_is_repeated_whatever_its_size),
        cmocka_unit_test(a_host_that_refuses_before_the_body_costs_nothing),
        cmocka_unit_test(a_request_keeps_its_place_from_try_to_try),
        cmocka_unit_test(an_early_answer_that_is_kept_lets_the_rest_pass),
        cmocka_unit_test(a_client_that_leaves_between_two_tries_ends_it),
        cmocka_unit_test(a_broken_body_between_two_tries_is_400),
        cmocka_unit_test(every_byte_once_and_in_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
