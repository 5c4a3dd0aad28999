/* sim_heads.c - what a request's head says of its way: bytes that are no HTTP, bodies that are too large
 * before they come, upgrades with bodies, Max-Forwards, methods that nobody knows. */
#include "sim_world.h"

#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define BASE     WEB QUIET SERVICE

/* ---- no HTTP ---- */

/* What a client says first; it hears this status at once, and the end. */
static void ends_at_once(line *l, const char *bytes, size_t n, const char *status, const char *why)
{
    char start[32];

    l->client = dial(&l->w, "10.0.0.1", 80);
    (void)say_bytes(&l->w, l->client, bytes, n);
    assert_int_equal(hear(&l->w, l->client), HEAR_END);
    snprintf(start, sizeof start, "HTTP/1.1 %s ", status);
    assert_starts(l->w.heard, start);
    assert_has(l->w.heard, why);
    line_drop(l, &l->client);
}

static void what_is_no_http_is_answered_at_once(void **state)
{
    static const char hello[] = "\x16\x03\x01\x00\x2f\x01\x00\x00\x2b\x03\x03";
    static const char with_blank_line[] = "\x16\x03\x01\x00\x2f\x01\n\r\n\x00\x2b";
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_drop(&l, &l.client);
    ends_at_once(&l, hello, sizeof hello - 1, "400", "TLS was spoken to a plain port");
    ends_at_once(&l, hello, 1, "400", "TLS was spoken to a plain port");
    ends_at_once(&l, with_blank_line, sizeof with_blank_line - 1, "400", "TLS was spoken to a plain port");
    ends_at_once(&l, "SSH-2.0-Go\r\n", 12, "400", "malformed request line");
    ends_at_once(&l, "\0\0\0\x08", 4, "400", "what came is not HTTP");
    ends_at_once(&l, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24, "505", "HTTP/2");
    mg_text_add_char(&l.w.logged, '\0');
    assert_has(l.w.logged.p, "400, TLS was spoken to a plain port");
    line_close(&l);
}

static void so_is_what_comes_behind_a_request(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    say(&l.w, l.client, "\x16\x03\x01");
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 400 ");
    line_close(&l);
}

static void a_head_that_comes_byte_by_byte_is_waited_for(void **state)
{
    static const char request[] = "\r\nGET /a?b=c HTTP/1.1\r\nhost: a\r\n\r\n";
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    for (size_t i = 0; i < sizeof request - 1; i++)
        assert_int_equal(say_bytes(&l.w, l.client, request + i, 1), 1);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    line_close(&l);
}

/* ---- bodies that say that they are too large ---- */

#define SMALL                                                                                                \
    "local plugin = { name = 'p', version = '1.0.0', body = { request = 'buffer(10B)' } }\n"                 \
    "function plugin.new() return function(ctx, next) ctx.request:body() next(ctx) end end\nreturn plugin\n"

static void a_body_that_says_it_is_too_large_is_not_asked_for(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, SMALL);
    say(&l.w, l.client, "POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 11\r\n\r\n");
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 413 ");
    line_drop(&l, &l.client);
    l.client = dial(&l.w, "10.0.0.1", 80);
    say(&l.w, l.client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 11\r\n\r\n"); /* and no byte of it */
    hear_status(&l.w, l.client, "413");
    say(&l.w, l.client, "12345678901"); /* the connection goes on behind it */
    say(&l.w, l.client, "POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 10\r\n\r\n");
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 100 ");
    say(&l.w, l.client, "1234567890");
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    (void)hear(&l.w, l.up);
    assert_ends(l.w.heard, "\r\n\r\n1234567890");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

static void a_body_in_chunks_is_refused_at_the_bound(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, SMALL);
    say(&l.w, l.client,
        "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\na\r\n1234567890\r\n");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    say(&l.w, l.client, "1\r\n1");
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 413 ");
    line_close(&l);
}

static void an_answer_that_says_it_is_too_large_is_502_at_once(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              "local plugin = { name = 'p', version = '1.0.0', body = { response = 'buffer(10B)' } }\n"
              "function plugin.new() return function(ctx, next) next(ctx) ctx.response:body() end end\n"
              "return plugin\n");
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n");
    hear_status(&l.w, l.client, "502");
    line_drop(&l, &l.up);
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n1234567890");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "1234567890");
    line_close(&l);
}

/* ---- upgrades with a body ---- */

#define EXEC(framing)                                                                                        \
    "POST /exec/x/start HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: tcp\r\n" framing "\r\n\r\n"
#define SWITCH "HTTP/1.1 101 UPGRADED\r\nconnection: Upgrade\r\nupgrade: tcp\r\n\r\n"

/* The tunnel stands: bytes go both ways, as they are. */
static void is_a_tunnel(line *l)
{
    say(&l->w, l->client, "0\r\n\r\nin");
    (void)hear(&l->w, l->up);
    assert_string_equal(l->w.heard, "0\r\n\r\nin");
    say(&l->w, l->up, "out");
    (void)hear(&l->w, l->client);
    assert_string_equal(l->w.heard, "out");
}

static void begins_behind_its_body(const char *config, const char *plugin, const char *head, const char *rest,
                                   const char *seen)
{
    line l;

    line_open(&l, config, plugin);
    say(&l.w, l.client, head);
    l.up = take(&l.w, l.upstream);
    say(&l.w, l.client, rest);
    if (l.up < 0)
        l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    size_t n = strlen(seen);
    (void)hear(&l.w, l.up);
    if (strlen(l.w.heard) >= n && !ends_with(l.w.heard, seen))
        fail_msg("heard:\n%s", l.w.heard);
    say(&l.w, l.up, SWITCH);
    advance(&l.w, 1001 * MS); /* a plugin may wait on the way back */
    hear_status(&l.w, l.client, "101");
    is_a_tunnel(&l);
    line_close(&l);
}

#define RETRYING                                                                                             \
    WEB QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], retry: { attempts: 2 } } "  \
              "}\n"

static void an_upgrade_begins_behind_its_body(void **state)
{
    (void)state;
    begins_behind_its_body(BASE ROUTE, NULL, EXEC("content-length: 14"), "{\"Tty\":  true}",
                           "\r\n\r\n{\"Tty\":  true}");
    begins_behind_its_body(BASE ROUTE, NULL, EXEC("transfer-encoding: chunked"), "2\r\n{}\r\n0\r\n\r\n",
                           "2\r\n{}\r\n0\r\n\r\n");
    begins_behind_its_body(RETRYING ROUTE, NULL, EXEC("content-length: 2"), "{}", "{}");
    begins_behind_its_body(BASE ROUTE_P, HANDLER("ctx.request:body() next(ctx) ctx:sleep(1)"),
                           EXEC("content-length: 2"), "{}", "{}");
    begins_behind_its_body(BASE ROUTE_P, HANDLER("ctx.request:set_body('changed') next(ctx)"),
                           EXEC("content-length: 2"), "{}", "changed");
    begins_behind_its_body(BASE ROUTE_P,
                           "local p = { name = 'p', version = '1', body = { request = 'stream' } }\n"
                           "function p.new() return { handler = function(ctx, next) next(ctx) end,\n"
                           "request_body = function(ctx, chunk) return chunk end } end\nreturn p\n",
                           EXEC("content-length: 2"), "{}", "2\r\n{}\r\n0\r\n\r\n");
}

static void an_upgrade_that_is_not_granted_is_a_request_with_a_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, EXEC("content-length: 2") "{}");
    assert_has(l.w.heard, "upgrade: tcp\r\n");
    assert_ends(l.w.heard, "\r\n\r\n{}");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_ask(&l, "GET /b HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_starts(l.w.heard, "GET /b ");
    line_close(&l);
}

static void a_101_before_the_body_is_whole_is_502(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, EXEC("content-length: 4") "{}");
    say(&l.w, l.up, SWITCH);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 502 ");
    line_close(&l);
}

/* ---- Max-Forwards ---- */

#define TRACE(n)                                                                                             \
    "TRACE /a?b=c HTTP/1.1\r\nhost: a:80\r\nmax-forwards: " n "\r\nx-seen: 1\r\ncookie: c=1\r\n"             \
    "authorization: Basic x\r\nX-Api-Key: k\r\nproxy-authorization: Basic y\r\n\r\n"

static void a_trace_with_no_hop_left_is_answered_here(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    say(&l.w, l.client, TRACE("0"));
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "content-type: message/http\r\n");
    const char *body = strstr(l.w.heard, "\r\n\r\n") + 4;
    assert_starts(body, "TRACE /a?b=c HTTP/1.1\r\nhost: a:80\r\n");
    assert_has(body, "max-forwards: 0\r\n");
    assert_has(body, "x-seen: 1\r\n");
    assert_ends(body, "\r\n\r\n");
    assert_null(strstr(body, "cookie"));
    assert_null(strstr(body, "Basic"));
    assert_null(strstr(body, "api-key"));
    assert_int_equal(take(&l.w, l.upstream), -1);
    line_close(&l);
}

static void options_with_no_hop_left_are_answered_here(void **state)
{
    line l;

    (void)state;
    line_open(&l,
              BASE "routes: [{ name: a, match: { paths: [{ prefix: / }], methods: [GET, OPTIONS] }, service: "
                   "up }]\n",
              NULL);
    say(&l.w, l.client, "OPTIONS /a HTTP/1.1\r\nhost: a\r\nmax-forwards: 00\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "allow: GET, OPTIONS\r\n");
    assert_has(l.w.heard, "content-length: 0\r\n");
    assert_int_equal(take(&l.w, l.upstream), -1);
    line_close(&l);
}

static void one_hop_is_counted_and_no_other_method_is(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("next(ctx)"));
    line_ask(&l, TRACE("1"));
    assert_has(l.w.heard, "max-forwards: 0\r\n");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_ask(&l, "OPTIONS /a HTTP/1.1\r\nhost: a\r\nmax-forwards: 10\r\n\r\n");
    assert_has(l.w.heard, "max-forwards: 9\r\n");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\nmax-forwards: 0\r\n\r\n");
    assert_has(l.w.heard, "max-forwards: 0\r\n");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_ask(&l, TRACE("many"));
    assert_has(l.w.heard, "max-forwards: many\r\n");
    line_close(&l);
}

/* ---- methods ---- */

static void a_method_that_nobody_knows_is_501(void **state)
{
    static const char *const methods[] = { "get", "FOO", "Post", "GET1", "*" };
    line l;
    char request[64];

    (void)state;
    line_open(&l,
              BASE
              "routes:\n"
              "- { name: a, match: { paths: [{ prefix: /admin }], methods: [GET] }, plugins: [{ respond: { "
              "status: 403 } }] }\n"
              "- { name: b, match: { paths: [{ prefix: / }] }, service: up }\n"
              "- { name: c, match: { paths: [{ prefix: /dav }], methods: [PROPFIND] }, service: up }\n",
              NULL);
    for (size_t i = 0; i < sizeof methods / sizeof *methods; i++) {
        snprintf(request, sizeof request, "%s /admin HTTP/1.1\r\nhost: a\r\n\r\n", methods[i]);
        say(&l.w, l.client, request);
        hear_status(&l.w, l.client, "501");
    }
    assert_int_equal(take(&l.w, l.upstream), -1);
    line_ask(&l, "PROPFIND /dav HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_starts(l.w.heard, "PROPFIND /dav ");
    line_close(&l);
}

static void a_route_may_take_any_method(void **state)
{
    line l;

    (void)state;
    line_open(&l,
              BASE
              "routes: [{ name: all, match: { paths: [{ prefix: / }], methods: [\"*\"] }, service: up }]\n",
              NULL);
    line_ask(&l, "FOO /a HTTP/1.1\r\nhost: a\r\n\r\n");
    assert_starts(l.w.heard, "FOO /a ");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_no_http_is_answered_at_once),
        cmocka_unit_test(so_is_what_comes_behind_a_request),
        cmocka_unit_test(a_head_that_comes_byte_by_byte_is_waited_for),
        cmocka_unit_test(a_body_that_says_it_is_too_large_is_not_asked_for),
        cmocka_unit_test(a_body_in_chunks_is_refused_at_the_bound),
        cmocka_unit_test(an_answer_that_says_it_is_too_large_is_502_at_once),
        cmocka_unit_test(an_upgrade_begins_behind_its_body),
        cmocka_unit_test(an_upgrade_that_is_not_granted_is_a_request_with_a_body),
        cmocka_unit_test(a_101_before_the_body_is_whole_is_502),
        cmocka_unit_test(a_trace_with_no_hop_left_is_answered_here),
        cmocka_unit_test(options_with_no_hop_left_are_answered_here),
        cmocka_unit_test(one_hop_is_counted_and_no_other_method_is),
        cmocka_unit_test(a_method_that_nobody_knows_is_501),
        cmocka_unit_test(a_route_may_take_any_method),
    };

    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
