/* sim_early_fields.c - fields of the response that handlers set, add or remove before there is one: they are
 * made on whatever answer comes, in the order in which they were called. */
#include "sim_world.h"

#define BASE WEB QUIET SERVICE
#define GET  "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
/* p stands around q. */
#define CHAIN                                                                                                \
    "limiters: { none: { rate: 1/h, burst: 1, key: global } }\n"                                             \
    "plugins: { p: { use: ./plugins/p, timeout: 5s }, q: { use: ./plugins/q } }\n"                           \
    "routes:\n"                                                                                              \
    "  - { name: all, match: { paths: [{ prefix: / }] }, plugins: [p, q], service: up, timeout: 2s }\n"      \
    "  - { name: few, match: { paths: [{ prefix: /few }] }, plugins: [p, { limit: none }, q], service: up "  \
    "}\n"
#define PLUGIN(text)                                                                                         \
    "return { name = 'x', body = { request = 'buffer(8B)', response = 'buffer(1KiB)' }, new = function() "   \
    "return function(ctx, next) local r = ctx.response " text " end end }"

static void chain_open(line *l, const char *p, const char *q)
{
    world_init(&l->w, 1, 1);
    world_plugin(&l->w, "p", p);
    world_plugin(&l->w, "q", q);
    assert_true(world_try_start(&l->w, 1, BASE CHAIN));
    l->upstream = listen_at(&l->w, "10.0.0.2", 9000);
    l->client = dial(&l->w, "10.0.0.1", 80);
    l->up = -1;
}

/* The values of x in what was heard, in order, with commas. */
static const char *values_of(const char *head, const char *name)
{
    static char values[256];
    char start[64];

    values[0] = '\0';
    snprintf(start, sizeof start, "\r\n%s: ", name);
    const char *end = strstr(head, "\r\n\r\n");
    for (const char *at = head; (at = strstr(at, start)) && at < end;) {
        at += strlen(start);
        snprintf(values + strlen(values), sizeof values - strlen(values), "%s%.*s", values[0] ? "," : "",
                 (int)(strstr(at, "\r\n") - at), at);
    }
    return values;
}

/* ---- the upstream's answer ---- */

typedef struct order {
    const char *p, *q, *up, *x; /* the handlers, fields of the upstream's answer, and all values of x */
} order;

#define NEXT PLUGIN("next(ctx)")

static const order orders[] = {
    { PLUGIN("r:set_header('X', '1') next(ctx)"), NEXT, "", "1" },
    { PLUGIN("r:set_header('X', '1') next(ctx)"), NEXT, "x: u\r\ny: 1\r\nx: v\r\n", "1" },
    { PLUGIN("r:add_header('x', '1') next(ctx)"), NEXT, "x: u\r\n", "u,1" },
    { PLUGIN("r:remove_header('X') next(ctx)"), NEXT, "x: u\r\nx: v\r\n", "" },
    { PLUGIN("r:set_header('x', { '1', '2' }) next(ctx)"), NEXT, "x: u\r\n", "1,2" },
    { PLUGIN("r:add_header('x', '1') r:remove_header('x') next(ctx)"), NEXT, "x: u\r\n", "" },
    { PLUGIN("r:remove_header('x') r:add_header('x', '1') next(ctx)"), NEXT, "x: u\r\n", "1" },
    { PLUGIN("r:add_header('x', '1') r:set_header('x', '2') next(ctx)"), NEXT, "x: u\r\n", "2" },
    { PLUGIN("r:set_header('x', '1') next(ctx)"), PLUGIN("r:set_header('x', '2') next(ctx)"), "x: u\r\n",
      "2" },
    { PLUGIN("r:add_header('x', '1') next(ctx)"), PLUGIN("r:add_header('x', '2') next(ctx)"), "x: u\r\n",
      "u,1,2" },
    { PLUGIN("r:set_header('x', '1') next(ctx)"), PLUGIN("r:remove_header('x') next(ctx)"), "x: u\r\n", "" },
    { PLUGIN("r:set_header('x', '1') next(ctx)"), PLUGIN("next(ctx) r:set_header('x', '2')"), "x: u\r\n",
      "2" },
    { PLUGIN("r:set_header('x', '1') next(ctx) r:add_header('x', r:header('x') .. '3')"), NEXT, "x: u\r\n",
      "1,13" },
    { PLUGIN("r:set_header('x', '1') next(ctx) r:remove_header('x')"), NEXT, "", "" },
    { PLUGIN("pcall(r.set_header, r, 'x y', '1') pcall(r.set_header, r, 'x', 'a\\n') next(ctx)"), NEXT,
      "x: u\r\n", "u" },
    { PLUGIN("for i = 1, 1000 do r:set_header('x', i) end next(ctx)"), NEXT, "x: u\r\n", "1000" },
};

static void they_are_made_in_order_on_the_upstreams_answer(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(orders); i++) {
        char answer[256];
        line l;
        chain_open(&l, orders[i].p, orders[i].q);
        for (int again = 0; again < 2; again++) { /* nothing of a request is left for the next one */
            line_ask(&l, GET);
            snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\n%scontent-length: 0\r\n\r\n", orders[i].up);
            say(&l.w, l.up, answer);
            hear_status(&l.w, l.client, "200");
            if (strcmp(values_of(l.w.heard, "x"), orders[i].x) != 0)
                fail_msg("%s\n%s\n%s: wanted x: %s, heard\n%s", orders[i].p, orders[i].q, orders[i].up,
                         orders[i].x, l.w.heard);
        }
        line_close(&l);
    }
}

static void they_are_read_before_there_is_an_answer(void **state)
{
    line l;

    (void)state;
    chain_open(&l,
               PLUGIN("assert(not r:header('x')) r:set_header('x', '1') r:add_header('x', '2')"
                      "assert(r:header('X') == '1, 2' and r.status == nil)"
                      "assert(r:remove_header('x') == 2 and not r:header('x')) r:set_header('x', '3')"
                      "next(ctx)"),
               NEXT);
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    assert_string_equal(values_of(l.w.heard, "x"), "3");
    line_close(&l);
}

static void status_and_body_are_still_the_answers(void **state)
{
    line l;

    (void)state;
    chain_open(&l,
               PLUGIN("assert(not pcall(r.set_status, r, 418)) assert(not pcall(r.set_body, r, 'b'))"
                      "assert(not pcall(r.body, r)) next(ctx)"),
               NEXT);
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nu");
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

/* ---- answers of others ---- */

#define EARLY "r:set_header('x', '1') r:set_cookie('c', 'v') r:set_header('content-type', 'text/html') "

/* What the client hears of a request that no upstream answered. */
static void has_them(line *l, const char *status, const char *type)
{
    char start[32];

    snprintf(start, sizeof start, "HTTP/1.1 %s ", status);
    (void)hear(&l->w, l->client);
    assert_starts(l->w.heard, start);
    assert_string_equal(values_of(l->w.heard, "x"), "1");
    assert_string_equal(values_of(l->w.heard, "set-cookie"), "c=v");
    assert_string_equal(values_of(l->w.heard, "content-type"), type);
    line_close(l);
}

static void an_answer_of_a_plugin_has_them(void **state)
{
    line l;

    (void)state;
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), PLUGIN("ctx:respond(200, '<p>')"));
    say(&l.w, l.client, GET);
    has_them(&l, "200", "text/html");
    chain_open(&l, PLUGIN(EARLY "ctx:respond(200, '<p>')"), NEXT);
    say(&l.w, l.client, GET);
    has_them(&l, "200", "text/html");
    chain_open(&l, PLUGIN(EARLY "next(ctx)"),
               PLUGIN("ctx:respond(200, '<p>', { ['content-type'] = 'text/xml' })"));
    say(&l.w, l.client, GET);
    has_them(&l, "200", "text/xml");
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), PLUGIN("ctx:respond(403, { title = 'No' })"));
    say(&l.w, l.client, GET);
    has_them(&l, "403", "application/problem+json");
    /* One answer takes the place of another: they are made once on each. */
    chain_open(&l,
               PLUGIN("r:add_header('x', '1') r:add_header('set-cookie', 'c=v') next(ctx) "
                      "ctx:respond(418, 'a') r:set_body('b')"),
               PLUGIN("ctx:respond(200, 'c')"));
    say(&l.w, l.client, GET);
    has_them(&l, "418", "text/plain; charset=utf-8");
}

#define PROBLEM "application/problem+json"

static void a_refusal_of_the_gateway_has_them(void **state)
{
    line l;

    (void)state;
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), NEXT); /* nobody is there */
    line_drop(&l, &l.upstream);
    say(&l.w, l.client, GET);
    has_them(&l, "502", PROBLEM);
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), NEXT); /* nobody answers */
    line_ask(&l, GET);
    advance(&l.w, 3 * MG_NS_PER_S);
    has_them(&l, "504", PROBLEM);
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), PLUGIN("ctx:sleep(9)")); /* a plugin waits too long */
    say(&l.w, l.client, GET);
    advance(&l.w, 3 * MG_NS_PER_S);
    has_them(&l, "504", PROBLEM);
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), PLUGIN("error('no')"));
    say(&l.w, l.client, GET);
    has_them(&l, "500", PROBLEM);
    chain_open(&l, PLUGIN(EARLY "next(ctx) error('no')"), PLUGIN("ctx:respond(200, 'ok')"));
    say(&l.w, l.client, GET);
    has_them(&l, "500", PROBLEM);
    chain_open(&l, PLUGIN(EARLY), PLUGIN("")); /* neither next nor an answer */
    say(&l.w, l.client, GET);
    has_them(&l, "500", PROBLEM);
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), PLUGIN("ctx.request:body()"));
    say(&l.w, l.client, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\n123456789");
    has_them(&l, "413", PROBLEM);
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), PLUGIN("ctx.request:body()")); /* a broken body */
    say(&l.w, l.client, "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    has_them(&l, "400", PROBLEM);
    chain_open(&l, PLUGIN(EARLY "next(ctx)"), NEXT); /* a limiter further in */
    line_ask(&l, "GET /few HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    say(&l.w, l.client, "GET /few HTTP/1.1\r\nhost: a\r\n\r\n");
    has_them(&l, "429", PROBLEM);
}

/* What the gateway says in a document of its own stays true. */
static void they_do_not_hide_what_the_gateway_says(void **state)
{
    line l;

    (void)state;
    chain_open(&l,
               PLUGIN("r:set_header('retry-after', '99') r:remove_header('content-type') "
                      "r:add_header('x-request-id', 'mine') next(ctx)"),
               NEXT);
    line_ask(&l, "GET /few HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\ncontent-type: a/b\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    assert_string_equal(values_of(l.w.heard, "retry-after"), "99");
    assert_string_equal(values_of(l.w.heard, "content-type"), "");
    say(&l.w, l.client, "GET /few HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&l.w, l.client, "429");
    assert_string_equal(values_of(l.w.heard, "retry-after"), "3600");
    assert_string_equal(values_of(l.w.heard, "content-type"), PROBLEM);
    assert_null(strchr(values_of(l.w.heard, "x-request-id"), ','));
    line_close(&l);
}

/* A try whose answer goes no further is judged by what its host said. */
static void a_retry_goes_by_what_the_host_said(void **state)
{
    line l;

    (void)state;
    world_init(&l.w, 1, 1);
    world_plugin(&l.w, "p", PLUGIN("r:add_header('x', '1') r:set_header('retry-after', '99') next(ctx)"));
    assert_true(world_try_start(
        &l.w, 1,
        WEB QUIET
        "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], retry: {} } }\n" ROUTE_P));
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    l.client = dial(&l.w, "10.0.0.1", 80);
    l.up = -1;
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 503 Busy\r\nx: u\r\ncontent-length: 0\r\n\r\n");
    advance(&l.w, 100 * MS);
    line_drop(&l, &l.up);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    (void)hear(&l.w, l.up);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\nx: v\r\ncontent-length: 0\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    assert_string_equal(values_of(l.w.heard, "x"), "v,1");
    line_close(&l);
}

/* ---- too late ---- */

static void what_has_gone_cannot_be_changed(void **state)
{
    line l;

    (void)state;
    world_init(&l.w, 1, 1);
    world_plugin(
        &l.w, "p",
        "local plugin = { name = 'p', body = { request = 'stream', response = 'stream' } }\n"
        "local function try(ctx, what) local r = ctx.response\n"
        "  local _, a = pcall(r.set_header, r, 'x', what) local _, b = pcall(r.remove_header, r, 'y')\n"
        "  ctx.log:warn(what .. ': ' .. tostring(a) .. '; ' .. tostring(b)) end\n"
        "function plugin.new() return { handler = function(ctx, next) next(ctx) end,\n"
        "request_body = function(ctx, bytes) try(ctx, 'request') end,\n"
        "response_body = function(ctx, bytes) try(ctx, 'response') end,\n"
        "log = function(ctx) try(ctx, 'log') end } end\nreturn plugin\n");
    assert_true(world_try_start(&l.w, 1, BASE ROUTE_P));
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    l.client = dial(&l.w, "10.0.0.1", 80);
    l.up = -1;
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ny: 1\r\ncontent-length: 2\r\n\r\nho");
    hear_status(&l.w, l.client, "200");
    assert_string_equal(values_of(l.w.heard, "x"), "");
    assert_string_equal(values_of(l.w.heard, "y"), "1");
    settle(&l.w);
    mg_text_add_char(&l.w.logged, '\0');
    assert_has(l.w.logged.p, "request: set_header \\\"x\\\": there is no response yet");
    assert_has(l.w.logged.p, "response: set_header \\\"x\\\": the response is on its way");
    assert_has(l.w.logged.p, "; remove_header \\\"y\\\": the response is on its way");
    assert_has(l.w.logged.p, "log: set_header \\\"x\\\": the response is on its way");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(they_are_made_in_order_on_the_upstreams_answer),
        cmocka_unit_test(they_are_read_before_there_is_an_answer),
        cmocka_unit_test(status_and_body_are_still_the_answers),
        cmocka_unit_test(an_answer_of_a_plugin_has_them),
        cmocka_unit_test(a_refusal_of_the_gateway_has_them),
        cmocka_unit_test(they_do_not_hide_what_the_gateway_says),
        cmocka_unit_test(a_retry_goes_by_what_the_host_said),
        cmocka_unit_test(what_has_gone_cannot_be_changed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
