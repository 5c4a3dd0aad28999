/* sim_body_after.c - the request's body behind next, where a plugin declared to hold it: whoever read it
 * before or did not, however it went to the upstream, and if it did not get there at all. */
#include "sim_world.h"

#include "base/rand.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define BASE     WEB QUIET SERVICE
#define HOSTS                                                                                                \
    WEB QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: "                     \
              "\"http://10.0.0.2:9001\" }], retry: { attempts: 2 } } }\n"
#define PUT(n)      "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"
#define PUT_CHUNKED "PUT /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n"
/* What body() says behind next, or raises. */
#define TELL                                                                                                 \
    "local ok, text = pcall(ctx.request.body, ctx.request) "                                                 \
    "ctx.response:set_header('x-body', (ok and '<' or '!') .. text:gsub('^.*:%d+: ', '') .. (ok and '>' or " \
    "''))"
#define BOUNDED(bytes, text)                                                                                 \
    "local plugin = { name = 'p', version = '1', body = { request = 'buffer(" bytes "B)' } }\n"              \
    "function plugin.new() return function(ctx, next) " text " end end\nreturn plugin\n"

static void hears_of(line *l, const char *status, const char *told)
{
    char field[256];

    snprintf(field, sizeof field, "\r\nx-body: %s\r\n", told);
    hear_status(&l->w, l->client, status);
    assert_has(l->w.heard, field);
}

typedef struct way {
    const char *handler, *request, *sent, *told;
} way;

static const way ways[] = {
    { "next(ctx) " TELL, PUT(5) "hello", "hello", "<hello>" },
    { "next(ctx) " TELL, PUT_CHUNKED "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
      "<hello>" },
    { "ctx.request:body() next(ctx) " TELL, PUT(5) "hello", "hello", "<hello>" },
    { "ctx.request:body() next(ctx) " TELL, PUT_CHUNKED "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", "hello",
      "<hello>" },
    { "ctx.request:set_body('other') next(ctx) " TELL, PUT(5) "hello", "other", "<other>" },
    { "ctx.request:set_body(ctx.request:body():upper()) next(ctx) " TELL, PUT(5) "hello", "HELLO",
      "<HELLO>" },
    { "ctx.request:set_body('') next(ctx) " TELL, PUT(5) "hello", "", "<>" },
    { "next(ctx) " TELL, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n", "", "<>" },
    { "next(ctx) " TELL, PUT(0), "", "<>" },
    { "next(ctx) ctx.request:body() " TELL, PUT(5) "hello", "hello", "<hello>" },
};

static void the_body_is_there_behind_next(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(ways); i++) {
        char plugin[1024];
        line l;
        snprintf(plugin, sizeof plugin, HANDLER("%s"), ways[i].handler);
        line_open(&l, BASE ROUTE_P, plugin);
        for (int again = 0; again < 2; again++) { /* the slot serves again */
            line_ask(&l, ways[i].request);
            assert_string_equal(strstr(l.w.heard, "\r\n\r\n") + 4, ways[i].sent);
            say(&l.w, l.up, OK_EMPTY);
            hears_of(&l, "200", ways[i].told);
        }
        line_close(&l);
    }
}

static void one_that_is_larger_than_declared_passes_and_is_not_kept(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, BOUNDED("4", "next(ctx) " TELL));
    line_ask(&l, PUT(5) "hello");
    assert_ends(l.w.heard, "\r\n\r\nhello");
    say(&l.w, l.up, OK_EMPTY);
    hears_of(&l, "200", "!body: it is larger than declared");
    line_ask(&l, PUT_CHUNKED "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    assert_ends(l.w.heard, "3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n");
    say(&l.w, l.up, OK_EMPTY);
    hears_of(&l, "200", "!body: it is larger than declared");
    line_ask(&l, PUT(4) "hell");
    say(&l.w, l.up, OK_EMPTY);
    hears_of(&l, "200", "<hell>");
    line_close(&l);
}

static void where_nobody_declared_it_nothing_is_kept(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              "return { name = 'p', new = function() return function(ctx, next) next(ctx) " TELL
              " end end }");
    line_ask(&l, PUT(5) "hello");
    say(&l.w, l.up, OK_EMPTY);
    hears_of(&l, "200", "!body: declare it in the plugin's table: body = { request = \"buffer(64KiB)\" }");
    line_close(&l);
}

/* ---- an upstream that does not take it ---- */

/* It answers before the request is whole, and goes on reading: the body is there when the client has sent
 * it. */
static void an_early_answer_waits_for_the_rest_on_its_way(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("next(ctx) " TELL));
    line_ask(&l, PUT(10) "hello");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    say(&l.w, l.client, "world");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "world");
    say(&l.w, l.up, "ok");
    hears_of(&l, "200", "<helloworld>");
    line_close(&l);
}

/* It answers and leaves: the client is read for the plugin's sake. */
static void an_upstream_that_left_is_not_needed_for_the_rest(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 413 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
        "HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno"
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(answers); i++) {
        line l;
        line_open(&l, BASE ROUTE_P, HANDLER("next(ctx) " TELL));
        line_ask(&l, PUT(10) "hello");
        say(&l.w, l.up, answers[i]);
        line_drop(&l, &l.up);
        say(&l.w, l.client, "wor");
        say(&l.w, l.client, "ld");
        (void)hear(&l.w, l.client);
        assert_starts(l.w.heard, "HTTP/1.1 413 ");
        assert_has(l.w.heard, "\r\nx-body: <helloworld>\r\n");
        line_close(&l);
    }
}

/* Nobody is there: all of it is still the client's to send. */
static void a_request_that_reached_no_upstream_has_its_body(void **state)
{
    static const char *const requests[] = { PUT(10) "hello", PUT_CHUNKED "5\r\nhello\r\n" };
    static const char *const rests[] = { "world", "5\r\nworld\r\n0\r\n\r\n" };

    (void)state;
    for (size_t i = 0; i < mg_countof(requests); i++) {
        line l;
        line_open(&l, BASE ROUTE_P, HANDLER("next(ctx) " TELL));
        line_drop(&l, &l.upstream);
        say(&l.w, l.client, requests[i]);
        assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
        assert_string_equal(l.w.heard, "");
        say(&l.w, l.client, rests[i]);
        hears_of(&l, "502", "<helloworld>");
        line_close(&l);
    }
}

static void what_is_too_large_behind_next_raises_and_answers(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, BOUNDED("6", "next(ctx) " TELL));
    line_drop(&l, &l.upstream);
    say(&l.w, l.client, PUT_CHUNKED "5\r\nhello\r\n");
    say(&l.w, l.client, "5\r\nworld\r\n0\r\n\r\n");
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 502 ");
    assert_has(l.w.heard, "\r\nx-body: !body: it is larger than declared\r\n");
    line_close(&l);
}

static void a_client_that_leaves_meanwhile_ends_it(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("next(ctx) " TELL));
    line_ask(&l, PUT(10) "hello");
    say(&l.w, l.up, OK_EMPTY);
    settle(&l.w);
    line_drop(&l, &l.client);
    line_close(&l);
}

/* ---- tries ---- */

static bool next_host(line *l, const int hosts[2])
{
    advance(&l->w, 60 * MS);
    for (int i = 0; i < 2; i++) {
        const int fd = take(&l->w, hosts[i]);
        if (fd >= 0) {
            l->up = fd;
            return true;
        }
    }
    return false;
}

/* In random pieces, with hosts that break at any of them: what was sent is what is there. */
static void it_is_the_same_after_any_number_of_tries(void **state)
{
    mg_rand rand;

    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        char body[3001], told[64];
        int hosts[2];
        line l;
        mg_rand_init(&rand, seed);
        const size_t n = 1 + mg_rand_below(&rand, sizeof body - 1);
        for (size_t i = 0; i < n; i++)
            body[i] = (char)('a' + mg_rand_below(&rand, 26));
        body[n] = '\0';
        line_open(&l, HOSTS ROUTE_P,
                  HANDLER("next(ctx) local b = ctx.request:body() ctx.response:set_header('x-body', #b .. "
                          "b:sub(1, 4) .. b:sub(-4))"));
        mg_sim_set_buffer(l.w.sim, 64 + mg_rand_below(&rand, 4096));
        hosts[0] = l.upstream;
        hosts[1] = listen_at(&l.w, "10.0.0.2", 9001);
        char head[80];
        snprintf(head, sizeof head, "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: %zu\r\n\r\n", n);
        say(&l.w, l.client, head);
        assert_true(next_host(&l, hosts));
        const size_t breaks_at = mg_rand_below(&rand, n + 1);
        bool broken = false;
        for (size_t said = 0; said < n;) {
            if (!broken && said >= breaks_at) {
                hang_up_hard(&l.w, l.up);
                l.up = -1;
                broken = true;
                assert_true(next_host(&l, hosts));
            }
            said +=
                say_bytes(&l.w, l.client, body + said, mg_min_u64(1 + mg_rand_below(&rand, 400), n - said));
            (void)hear(&l.w, l.up);
        }
        for (int i = 0; i < 200; i++)
            (void)hear(&l.w, l.up);
        say(&l.w, l.up, OK_EMPTY);
        snprintf(told, sizeof told, "%zu%.4s%s", n, body, n > 4 ? body + n - 4 : body);
        hears_of(&l, "200", told);
        line_drop(&l, &hosts[1]);
        line_close(&l);
    }
}

/* ---- beside others ---- */

#define CHAIN                                                                                                \
    "plugins: { p: { use: ./plugins/p }, q: { use: ./plugins/q } }\n"                                        \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p, q], service: up }]\n"

/* A filter of another plugin changes what is sent; the handlers see what the client sent. */
static void a_filter_does_not_change_what_is_there(void **state)
{
    line l;

    (void)state;
    world_init(&l.w, 1, 1);
    world_plugin(&l.w, "p", HANDLER("next(ctx) " TELL));
    world_plugin(&l.w, "q",
                 "local plugin = { name = 'q', body = { request = 'stream' } }\n"
                 "function plugin.new() return { handler = function(ctx, next) next(ctx) end,\n"
                 "request_body = function(ctx, bytes) return bytes:upper() end } end\nreturn plugin\n");
    assert_true(world_try_start(&l.w, 1, BASE CHAIN));
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    l.client = dial(&l.w, "10.0.0.1", 80);
    l.up = -1;
    line_ask(&l, PUT(5) "hello");
    assert_has(l.w.heard, "HELLO");
    say(&l.w, l.up, OK_EMPTY);
    hears_of(&l, "200", "<hello>");
    line_close(&l);
}

static void it_is_there_for_the_log_too(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              "local plugin = { name = 'p', body = { request = 'buffer(1KiB)' } }\n"
              "function plugin.new() return { handler = function(ctx, next) next(ctx) end,\n"
              "log = function(ctx) ctx.log:warn('logged ' .. ctx.request:body()) end } end\nreturn plugin\n");
    line_ask(&l, PUT(5) "hello");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    settle(&l.w);
    mg_text_add_char(&l.w.logged, '\0');
    assert_has(l.w.logged.p, "logged hello");
    line_close(&l);
}

static void behind_an_upgrade_it_is_what_came_before(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("next(ctx) " TELL));
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 101 Go\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n");
    hears_of(&l, "101", "<>");
    say(&l.w, l.client, "in");
    (void)hear(&l.w, l.up);
    assert_string_equal(l.w.heard, "in");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_body_is_there_behind_next),
        cmocka_unit_test(one_that_is_larger_than_declared_passes_and_is_not_kept),
        cmocka_unit_test(where_nobody_declared_it_nothing_is_kept),
        cmocka_unit_test(an_early_answer_waits_for_the_rest_on_its_way),
        cmocka_unit_test(an_upstream_that_left_is_not_needed_for_the_rest),
        cmocka_unit_test(a_request_that_reached_no_upstream_has_its_body),
        cmocka_unit_test(what_is_too_large_behind_next_raises_and_answers),
        cmocka_unit_test(a_client_that_leaves_meanwhile_ends_it),
        cmocka_unit_test(it_is_the_same_after_any_number_of_tries),
        cmocka_unit_test(a_filter_does_not_change_what_is_there),
        cmocka_unit_test(it_is_there_for_the_log_too),
        cmocka_unit_test(behind_an_upgrade_it_is_what_came_before),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
