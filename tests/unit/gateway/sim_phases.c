/* sim_phases.c - what plugins may wait for and compute has an end in every phase of a request. */
#include "sim_exchange.h"

/* The listener's patience with bodies is 5 s, the service's is 3 s. */
#define DOORS(more)                                                                                          \
    "listeners: { web: { bind: \"10.0.0.1:80\", body_timeout: 5s, trusted_proxies: [127.0.0.0/8] " more      \
    "} }\n" QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], read_timeout: 3s } }\n"
#define THREE DOORS("") ROUTE_P
#define WITH(settings)                                                                                       \
    DOORS("")                                                                                                \
    "plugins: { p: { use: ./plugins/p, " settings " } }\n"                                                   \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up, timeout: 2s }]\n"
/* The first line of `text` is the plugin's fifth. */
#define UNLESS_FINE(text) HANDLER("if ctx.request:header('x-fine') then return next(ctx) end\n" text)

/* Nothing to be heard until `ms` have passed, less one, and then something, a millisecond later at most. */
#define happens_after(l, ms)                                                                                 \
    do {                                                                                                     \
        advance(&(l)->w, ((ms)-1) * MS);                                                                     \
        assert_int_equal(hear(&(l)->w, (l)->client), HEAR_OPEN);                                             \
        assert_string_equal((l)->w.heard, "");                                                               \
        advance(&(l)->w, 2 * MS);                                                                            \
    } while (0)

/* The client's next request on the same connection is answered by the upstream, on a new one of its own. */
static void the_next_one_is_fine(line *l)
{
    line_drop(l, &l->up);
    line_ask(l, "GET /fine HTTP/1.1\r\nhost: a\r\nx-fine: 1\r\n\r\n");
    assert_has(l->w.heard, "GET /fine ");
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine");
    hear_status(&l->w, l->client, "200");
    assert_ends(l->w.heard, "\r\n\r\nfine");
}

/* ---- behind next ---- */

#define HELD                                                                                                 \
    "behind next(ctx) the response was held for longer than a body may stand still (the listener's "         \
    "body_timeout, the service's read_timeout)"

static void a_response_is_held_no_longer_than_a_body_may_stand_still(void **state)
{
    static const char *const waits[] = {
        "ctx:sleep(3600)",
        "while true do ctx:sleep(0.1) end",
        "pcall(ctx.sleep, ctx, 3600)",
        "while true do pcall(ctx.sleep, ctx, 3600) end",
        "ctx:sleep(1) ctx.http:get('http://10.0.0.3:9001/')",
        "for i = 1, 10 do ctx.http:get('http://10.0.0.3:9001/', { timeout = 0.9 }) end",
        "ctx:sleep(2) ctx.kv:set('a', 'b') ctx.kv:barrier()",
        "ctx:respond(418, 'tea') ctx:sleep(3600)",
        "ctx.response:set_body('mine') ctx:sleep(3600)",
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(waits); i++) {
        line l;
        char handler[1024];
        snprintf(handler, sizeof handler, UNLESS_FINE("next(ctx)\n%s"), waits[i]);
        line_open(&l, DOORS("") "state: { path: state }\n" ROUTE_P, handler);
        world_hold_disk(&l.w, true);
        const int mute = listen_at(&l.w, "10.0.0.3", 9001);
        line_ask(&l, GET);
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
        happens_after(&l, 3000);
        hear_status(&l.w, l.client, "504");
        assert_ends(l.w.heard, "}\n");
        assert_has(l.w.logged.p, "plugin.lua:6: this request is over: " HELD);
        assert_has(l.w.logged.p, "\"plugin\":\"p\"");
        the_next_one_is_fine(&l);
        hang_up(&l.w, mute);
        line_close(&l);
    }
}

static void the_client_side_is_waited_for_no_longer_either(void **state)
{
    line l;

    (void)state;
    line_open(&l, "listeners: { web: { bind: \"10.0.0.1:80\", body_timeout: 2s } }\n" QUIET SERVICE ROUTE_P,
              UNLESS_FINE("next(ctx)\nctx:sleep(3600)"));
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    happens_after(&l, 2000);
    hear_status(&l.w, l.client, "504");
    the_next_one_is_fine(&l);
    line_close(&l);
}

static void nor_where_the_gateway_answered_in_the_upstreams_place(void **state)
{
    line l;

    (void)state;
    line_open(&l, THREE, HANDLER("next(ctx)\nctx:sleep(3600)"));
    line_drop(&l, &l.upstream); /* refused: 502 */
    say(&l.w, l.client, GET);
    happens_after(&l, 3000);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void what_a_body_takes_on_its_way_into_memory_does_not_count(void **state)
{
    line l;

    (void)state;
    line_open(&l, THREE,
              HANDLER("next(ctx) ctx:sleep(1)\nlocal body = ctx.response:body()\n"
                      "ctx:sleep(1.5) ctx.response:set_body(body .. '!')"));
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    advance(&l.w, 1001 * MS);
    for (int i = 0; i < 5; i++) {
        advance(&l.w, 2900 * MS);
        say(&l.w, l.up, "x");
    }
    happens_after(&l, 1500);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "xxxxx!");
    line_close(&l);
}

/* An upstream that answers early, and a plugin that wants what the client still sends. */
static void nor_does_what_the_rest_of_a_request_takes(void **state)
{
    line l;

    (void)state;
    line_open(&l, THREE,
              HANDLER("next(ctx) ctx:sleep(1)\nlocal body = ctx.request:body()\nctx:sleep(1.5) "
                      "ctx.response:set_header('x-n', #body)"));
    line_ask(&l, POST(5));
    say(&l.w, l.up, OK_EMPTY);
    advance(&l.w, 1001 * MS);
    for (int i = 0; i < 5; i++) {
        advance(&l.w, 2000 * MS);
        say(&l.w, l.client, "x");
    }
    happens_after(&l, 1500);
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-n: 5\r\n");
    line_close(&l);
}

static void what_the_plugins_take_before_and_behind_it_does(void **state)
{
    line l;

    (void)state;
    line_open(&l, THREE,
              UNLESS_FINE("next(ctx) ctx:sleep(1)\nlocal body = ctx.response:body()\nctx:sleep(2.5)"));
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n");
    advance(&l.w, 1001 * MS);
    advance(&l.w, 2000 * MS);
    say(&l.w, l.up, "x");
    happens_after(&l, 2000);
    hear_status(&l.w, l.client, "504");
    assert_has(l.w.logged.p, "plugin.lua:7: this request is over: " HELD);
    the_next_one_is_fine(&l);
    line_close(&l);
}

static void an_upstream_that_stands_still_meanwhile_is_found(void **state)
{
    line l;

    (void)state;
    line_open(&l, THREE, HANDLER("next(ctx)\nctx.response:body()"));
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    happens_after(&l, 3000);
    hear_status(&l.w, l.client, "502");
    line_close(&l);
}

static void a_plugins_own_timeout_holds_there_too(void **state)
{
    static const struct {
        const char *wait, *status, *said;
    } cases[] = {
        { "ctx:sleep(3600)", "500", "plugin.lua:6: this waited longer than the plugin's timeout allows" },
        { "pcall(ctx.sleep, ctx, 3600)", "200", NULL },
        { "local _, why = ctx.http:get('http://10.0.0.3:9001/')\nctx.response:set_header('x-why', why)",
          "200", NULL },
        { "ctx.response:body()", "500", "plugin.lua:6: this waited longer than the plugin's timeout allows" },
        { "ctx.kv:set('a', 'b') ctx.kv:barrier()", "500",
          "plugin.lua:6: this waited longer than the plugin's timeout allows" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        line l;
        char handler[1024];
        snprintf(handler, sizeof handler,
                 HANDLER("if ctx.request:header('x-fine') then return next(ctx) end\n"
                         "next(ctx)\n%s"),
                 cases[i].wait);
        line_open(&l, WITH("timeout: 400ms") "state: { path: state }\n", handler);
        world_hold_disk(&l.w, true);
        const int mute = listen_at(&l.w, "10.0.0.3", 9001);
        line_ask(&l, GET);
        say(&l.w, l.up,
            i == 3 ? "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhal"
                   : "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
        happens_after(&l, 400);
        hear_status(&l.w, l.client, cases[i].status);
        if (cases[i].said)
            assert_has(l.w.logged.p, cases[i].said);
        if (i == 2)
            assert_has(l.w.heard, "x-why: timeout\r\n");
        the_next_one_is_fine(&l);
        hang_up(&l.w, mute);
        line_close(&l);
    }
}

static void it_is_told_how_much_is_left(void **state)
{
    line l;

    (void)state;
    line_open(&l, THREE,
              HANDLER("local before = ctx.remaining\nnext(ctx)\nctx:sleep(1)\n"
                      "ctx.response:set_header('x-left', ('%.1f %.1f'):format(before, ctx.remaining))"));
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    advance(&l.w, 1001 * MS);
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-left: 15.0 2.0\r\n");
    line_close(&l);
}

/* ---- before next ---- */

static void the_line_that_waited_for_too_long_is_in_the_log(void **state)
{
    static const char *const waits[] = {
        "ctx:sleep(3600)",
        "while true do ctx:sleep(0.1) end",
        "pcall(function()\nlocal function f() ctx:sleep(3600) end f() end)",
        "ctx.http:get('http://10.0.0.3:9001/')",
        "ctx.kv:set('a', 'b') ctx.kv:barrier()",
    };
    static const char *const modes[] = { "on_error: closed", "on_error: open", "on_error: skip" };

    (void)state;
    for (size_t i = 0; i < 3 * mg_countof(waits); i++) {
        line l;
        char handler[1024], config[1024];
        snprintf(handler, sizeof handler, UNLESS_FINE("%s\nnext(ctx)"), waits[i / 3]);
        snprintf(
            config, sizeof config,
            DOORS("") "state: { path: state }\nplugins: { p: { use: ./plugins/p, %s } }\n"
                      "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up, "
                      "timeout: 2s }]\n",
            modes[i % 3]);
        line_open(&l, config, handler);
        world_hold_disk(&l.w, true);
        const int mute = listen_at(&l.w, "10.0.0.3", 9001);
        say(&l.w, l.client, GET);
        happens_after(&l, 2000);
        hear_status(&l.w, l.client, "504");
        assert_int_equal(take(&l.w, l.upstream), -1);
        assert_has(l.w.logged.p,
                   i / 3 == 2
                       ? "plugin.lua:6: this request is over: the route's timeout passed while this waited"
                       : "plugin.lua:5: this request is over: the route's timeout passed while this waited");
        the_next_one_is_fine(&l);
        hang_up(&l.w, mute);
        line_close(&l);
    }
}

static void a_client_that_leaves_is_no_fault_of_a_plugin(void **state)
{
    line l;

    (void)state;
    line_open(&l, THREE, HANDLER("ctx:sleep(3600)"));
    say(&l.w, l.client, GET);
    line_drop(&l, &l.client);
    assert_null(strstr(l.w.logged.p, "plugin_error"));
    line_close(&l);
}

/* ---- computing over all waits ---- */

#define SPENT "used 1000 ms of CPU in all its waits, 100 times its cpu"

/* No time passes in this world. */
static void waiting_again_and_again_ends_too(void **state)
{
    static const char *const loops[] = {
        "while true do ctx:sleep(0) end",
        "while true do pcall(ctx.sleep, ctx, 0) end",
        "pcall(function() while true do ctx:sleep(0) end end)",
        "while true do ctx.http:get('http://10.0.0.9:1/', { timeout = 0.000000001 }) end",
        "next(ctx) while true do ctx:sleep(0) end",
        "next(ctx) while true do pcall(ctx.sleep, ctx, 0) end",
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(loops); i++) {
        line l;
        char handler[1024];
        snprintf(handler, sizeof handler, UNLESS_FINE("%s"), loops[i]);
        line_open(&l, THREE, handler);
        if (i < 4) {
            say(&l.w, l.client, GET);
        } else {
            line_ask(&l, GET);
            say(&l.w, l.up, OK_EMPTY);
        }
        hear_status(&l.w, l.client, "500");
        assert_has(l.w.logged.p, "plugin.lua:5: plugin \\\"p\\\" " SPENT);
        the_next_one_is_fine(&l);
        line_close(&l);
    }
}

static void a_plugin_whose_mistakes_are_passed_over_ends_for_itself_alone(void **state)
{
    line l;

    (void)state;
    world_init(&l.w, 1, 1);
    world_plugin(&l.w, "p", HANDLER("while true do ctx:sleep(0) end"));
    world_plugin(&l.w, "q", HANDLER("ctx:sleep(0) ctx:sleep(0.01) next(ctx)"));
    assert_true(world_try_start(
        &l.w, 1,
        DOORS("") "plugins: { p: { use: ./plugins/p, on_error: open }, q: { use: ./plugins/q } }\n"
                  "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: "
                  "[p, q], service: up }]\n"));
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    l.client = dial(&l.w, "10.0.0.1", 80);
    say(&l.w, l.client, GET);
    advance(&l.w, 11 * MS);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    (void)hear(&l.w, l.up);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.logged.p, SPENT);
    line_close(&l);
}

static void more_cpu_is_more_of_it_over_all_waits(void **state)
{
    line l;

    (void)state;
    line_open(&l, WITH("cpu: 1ms"),
              HANDLER("local n = 0 while true do local ok, err = ctx:sleep(0) n = n + 1 end"));
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "500");
    assert_has(l.w.logged.p, "used 100 ms of CPU in all its waits, 100 times its cpu");
    line_close(&l);
}

/* ---- where nothing can wait ---- */

#define FILTERING                                                                                            \
    "return { name = 'p', version = '1', body = { request = 'stream', response = 'stream' },\n"              \
    "new = function() return { handler = function(ctx, next) next(ctx) ctx:sleep(1) end,\n"                  \
    "request_body = function(ctx, bytes, last) %s end,\n"                                                    \
    "response_body = function(ctx, bytes, last) %s end,\n"                                                   \
    "log = function(ctx) %s end } end }\n"

#define NO_WAIT "this waits, and here nothing can wait: only a handler may"

static void filters_and_logs_cannot_wait(void **state)
{
    static const char *const waits[] = {
        "ctx:sleep(1)",
        "ctx.http:get('http://10.0.0.3:9001/', { headers = { x = 'y' } })",
        "ctx.kv:barrier()",
        "ctx.http:request({ url = 'http://10.0.0.3:9001/' })",
        "ctx.http:post('http://10.0.0.3:9001/', 'x')",
    };

    (void)state;
    for (size_t i = 0; i < 3 * mg_countof(waits); i++) {
        line l;
        char handler[1024], line_said[128];
        snprintf(handler, sizeof handler, FILTERING, i % 3 == 0 ? waits[i / 3] : "",
                 i % 3 == 1 ? waits[i / 3] : "", i % 3 == 2 ? waits[i / 3] : "");
        snprintf(line_said, sizeof line_said, "plugin.lua:%zu: " NO_WAIT, 3 + i % 3);
        line_open(&l, THREE, handler);
        line_ask(&l, POST(4));
        say(&l.w, l.client, "full");
        if (i % 3) {
            say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
            advance(&l.w, 1001 * MS);
        }
        (void)hear(&l.w, l.client);
        assert_starts(l.w.heard, i % 3 ? "HTTP/1.1 200 " : "HTTP/1.1 500 ");
        assert_int_equal(ends_with(l.w.heard, "\r\n0\r\n\r\n"), i % 3 == 2); /* the filter's fault cuts it */
        assert_has(l.w.logged.p, line_said);
        line_close(&l);
    }
}

/* What a filter tries in vain takes nothing from the handler that waits meanwhile. */
static void what_a_filter_cannot_do_does_not_end_the_handlers_wait(void **state)
{
    static const char *const tries[] = {
        "pcall(ctx.http.get, ctx.http, 'http://10.0.0.3:9001/')",
        "pcall(ctx.sleep, ctx, 3600)",
        "pcall(ctx.kv.barrier, ctx.kv)",
        "pcall(ctx.request.body, ctx.request) pcall(ctx.response.body, ctx.response)",
    };
    static const char *const handlers[] = {
        "next(ctx) ctx:sleep(1)",
        "next(ctx) local a = ctx.http:get('http://10.0.0.3:9001/own') ctx.response:set_header('x-a', a.body)",
    };

    (void)state;
    for (size_t i = 0; i < 2 * mg_countof(tries); i++) {
        line l;
        char plugin[1024];
        snprintf(
            plugin, sizeof plugin,
            "return { name = 'p', version = '1', body = { request = 'stream' }, new = function() return { "
            "handler = function(ctx, next) %s end, request_body = function(ctx) %s end } end }\n",
            handlers[i % 2], tries[i / 2]);
        line_open(&l, THREE, plugin);
        const int side = listen_at(&l.w, "10.0.0.3", 9001);
        line_ask(&l, POST(8));
        say(&l.w, l.client, "1234"); /* while it waits for next */
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
        const int helper = i % 2 ? take(&l.w, side) : -1;
        say(&l.w, l.client, "5678"); /* while it waits behind it */
        if (i % 2) {
            assert_int_equal(hear(&l.w, helper), HEAR_OPEN);
            assert_starts(l.w.heard, "GET /own ");
            say(&l.w, helper, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nown");
        } else {
            advance(&l.w, 1001 * MS);
        }
        hear_status(&l.w, l.client, "200");
        assert_ends(l.w.heard, "\r\n\r\nfull");
        if (i % 2) {
            assert_has(l.w.heard, "x-a: own\r\n");
            hang_up(&l.w, helper);
        }
        hang_up(&l.w, side);
        line_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_response_is_held_no_longer_than_a_body_may_stand_still),
        cmocka_unit_test(the_client_side_is_waited_for_no_longer_either),
        cmocka_unit_test(nor_where_the_gateway_answered_in_the_upstreams_place),
        cmocka_unit_test(what_a_body_takes_on_its_way_into_memory_does_not_count),
        cmocka_unit_test(nor_does_what_the_rest_of_a_request_takes),
        cmocka_unit_test(what_the_plugins_take_before_and_behind_it_does),
        cmocka_unit_test(an_upstream_that_stands_still_meanwhile_is_found),
        cmocka_unit_test(a_plugins_own_timeout_holds_there_too),
        cmocka_unit_test(it_is_told_how_much_is_left),
        cmocka_unit_test(the_line_that_waited_for_too_long_is_in_the_log),
        cmocka_unit_test(a_client_that_leaves_is_no_fault_of_a_plugin),
        cmocka_unit_test(waiting_again_and_again_ends_too),
        cmocka_unit_test(a_plugin_whose_mistakes_are_passed_over_ends_for_itself_alone),
        cmocka_unit_test(more_cpu_is_more_of_it_over_all_waits),
        cmocka_unit_test(filters_and_logs_cannot_wait),
        cmocka_unit_test(what_a_filter_cannot_do_does_not_end_the_handlers_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
