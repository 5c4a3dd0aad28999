/* sim_permits.c - what goes back however an exchange ends: permits, what plugins reserve, a breaker's probe.
 * Time is the test's. */
#include "sim_crowd.h"

#define BAD "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"

/* ---- permits ---- */

#define PERMITS LIMITED(" one: { algorithm: concurrency, quota: 2, key: global } ")

static void two_at_once_and_the_third_is_told_to_come_again(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0);
    ask(&c, 1);
    assert_true(arrives(&c, 0) && arrives(&c, 1));
    ask(&c, 2);
    hear_status(&c.l.w, c.clients[2], "503");
    assert_has(c.l.w.heard, "retry-after: 1\r\n");
    assert_has(c.l.w.heard, "ratelimit: \"one\";r=0;t=1\r\n");
    assert_null(strstr(c.l.w.heard, "violated-policies"));
    assert_int_equal(left(&c, "*"), 0);
    answer(&c, 0);
    assert_int_equal(left(&c, "*"), 1);
    ask(&c, 2);
    assert_true(arrives(&c, 2));
    crowd_close(&c);
}

static void a_permit_is_held_until_the_last_byte(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    says(&c, 0, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    hear_status(&c.l.w, c.clients[0], "200");
    assert_int_equal(left(&c, "*"), 1);
    says(&c, 0, "lo");
    assert_int_equal(left(&c, "*"), 2);
    crowd_close(&c);
}

static void a_permit_comes_back_once_whatever_ends_the_exchange(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0); /* the client leaves */
    assert_true(arrives(&c, 0));
    hang_up_hard(&c.l.w, c.clients[0]);
    c.clients[0] = -1;
    assert_int_equal(left(&c, "*"), 2);
    ask(&c, 1); /* the upstream breaks */
    assert_true(arrives(&c, 1));
    breaks(&c, 1);
    hear_status(&c.l.w, c.clients[1], "502");
    assert_int_equal(left(&c, "*"), 2);
    ask(&c, 2); /* its response is cut short */
    assert_true(arrives(&c, 2));
    says(&c, 2, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    breaks(&c, 2);
    (void)hear(&c.l.w, c.clients[2]);
    assert_int_equal(left(&c, "*"), 2);
    ask(&c, 3); /* the deadline passes */
    assert_true(arrives(&c, 3));
    assert_int_equal(left(&c, "*"), 1);
    advance(&c.l.w, 15001 * MS);
    hear_status(&c.l.w, c.clients[3], "504");
    assert_int_equal(left(&c, "*"), 2);
    crowd_close(&c);
}

static void a_worker_that_closes_returns_what_its_exchanges_hold(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    assert_int_equal(left(&c, "*"), 1);
    mg_worker_cut(worker_of(&c));
    assert_int_equal(left(&c, "*"), 2);
    crowd_close(&c);
}

static void a_permit_finds_its_way_back_past_a_reload(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    c.l.w.next = LIMITED(" one: { algorithm: concurrency, quota: 3, key: global } ");
    mg_gateway_reload(c.l.w.gateway);
    settle(&c.l.w);
    assert_int_equal(left(&c, "*"), 2);
    answer(&c, 0);
    assert_int_equal(left(&c, "*"), 3);
    assert_int_equal(counted(&c).allow, 1); /* the count is the name's, not the configuration's */
    crowd_close(&c);
}

/* ---- what plugins reserve ---- */

#define RESERVING                                                                                            \
    "local turn = ctx.limit:reserve('one', 'k', 2)\n"                                                        \
    "if not turn then return ctx:respond(429, 'later') end\n"
#define TEN LIMITED_BY(" one: { rate: 10/h } ", "p")

static void a_reservation_goes_back_when_nobody_keeps_it(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN, HANDLER(RESERVING "next(ctx)"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    assert_int_equal(left(&c, "k"), 8);
    answer(&c, 0);
    assert_int_equal(left(&c, "k"), 10);
    crowd_close(&c);
}

static void a_reservation_goes_back_when_the_client_leaves(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN, HANDLER(RESERVING "next(ctx)\nturn:commit()"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    assert_int_equal(left(&c, "k"), 8);
    hang_up_hard(&c.l.w, c.clients[0]);
    c.clients[0] = -1;
    assert_int_equal(left(&c, "k"), 10);
    crowd_close(&c);
}

static void a_reservation_goes_back_when_a_plugin_raises(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN, HANDLER(RESERVING "error('broken')"));
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "500");
    assert_int_equal(left(&c, "k"), 10);
    crowd_close(&c);
}

static void a_reservation_goes_back_when_the_worker_closes(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN, HANDLER(RESERVING "ctx:sleep(3)\nnext(ctx)"));
    ask(&c, 0);
    assert_int_equal(left(&c, "k"), 8);
    mg_worker_cut(worker_of(&c));
    assert_int_equal(left(&c, "k"), 10);
    crowd_close(&c);
}

/* The policy stands round next: who gets nothing for it is not charged. */
static void a_handler_wraps_a_policy_round_next(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN,
               HANDLER(RESERVING "next(ctx)\n"
                                 "if ctx.response.status >= 500 then turn:cancel() else turn:commit() end"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    says(&c, 0, BAD);
    hear_status(&c.l.w, c.clients[0], "503");
    assert_int_equal(left(&c, "k"), 10);
    for (int i = 0; i < 5; i++) {
        ask(&c, 0);
        assert_true(arrives(&c, 0));
        answer(&c, 0);
    }
    assert_int_equal(left(&c, "k"), 0);
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "429");
    crowd_close(&c);
}

static void a_reservation_of_a_permit_holds_it_until_the_end(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED_BY(" one: { algorithm: concurrency, quota: 2 } ", "p"),
               HANDLER("local a = ctx.limit:reserve('one', 'k')\n"
                       "local b = ctx.limit:reserve('one', 'k')\n"
                       "assert(a and b and not ctx.limit:reserve('one', 'k'))\n"
                       "assert(b:commit() and a:cancel() and not a:cancel() and not b:cancel())\n"
                       "next(ctx)"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    assert_int_equal(left(&c, "k"), 1);
    answer(&c, 0);
    assert_int_equal(left(&c, "k"), 2);
    crowd_close(&c);
}

static void a_plugin_may_wait_for_what_it_reserved(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c,
               WEB QUIET SERVICE
               "limiters: { one: { rate: 10/s, burst: 1 } }\n"
               "plugins: { p: { use: ./plugins/p } }\n"
               "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, timeout: "
               "150ms, plugins: [p] }]\n",
               HANDLER("local turn, retry_ms = ctx.limit:reserve('one', 'k', 1, 10)\n"
                       "if not turn then return ctx:respond(429, tostring(retry_ms)) end\n"
                       "if turn.wait > 0 then ctx:sleep(turn.wait) end\n"
                       "next(ctx)\nturn:commit()"));
    ask(&c, 0);
    ask(&c, 1);
    ask(&c, 2); /* 200 ms are more than its deadline leaves */
    assert_true(arrives(&c, 0));
    hear_status(&c.l.w, c.clients[2], "429");
    assert_ends(c.l.w.heard, "\r\n\r\n200");
    advance(&c.l.w, 99 * MS);
    assert_false(arrives(&c, 1));
    advance(&c.l.w, 1 * MS);
    assert_true(arrives(&c, 1));
    crowd_close(&c);
}

static void a_probe_that_its_client_left_is_not_lost(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, WEB QUIET SERVICE ROUTE_P,
               "local mg = require 'moongate'\n"
               "local plugin = { name = 'p', version = '1.0.0' }\n"
               "function plugin.new()\n"
               "local b = mg.breaker { failures = 1, open_for = 1, probes = 1, jitter = 0 }\n"
               "return function(ctx, next)\n"
               "local what = ctx.request:query_param('do')\n"
               "if what == 'state' then return ctx:respond(200, b:state()) end\n"
               "local ticket = b:ask()\n"
               "if not ticket then return ctx:respond(503, 'open') end\n"
               "if what == 'fail' then b:finish(ticket, 'fail') return ctx:respond(200) end\n"
               "ctx:sleep(1)\n"
               "b:finish(ticket, 'ok')\n"
               "ctx:respond(200)\n"
               "end\nend\nreturn plugin\n");
    say(&c.l.w, c.clients[0], "GET /?do=fail HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&c.l.w, c.clients[0], "200");
    advance(&c.l.w, 1000 * MS);
    ask(&c, 1); /* the probe */
    say(&c.l.w, c.clients[0], GET);
    hear_status(&c.l.w, c.clients[0], "503");
    hang_up_hard(&c.l.w, c.clients[1]);
    c.clients[1] = -1;
    ask(&c, 2); /* another one may go at once */
    advance(&c.l.w, 1000 * MS);
    hear_status(&c.l.w, c.clients[2], "200");
    say(&c.l.w, c.clients[0], "GET /?do=state HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&c.l.w, c.clients[0], "200");
    assert_ends(c.l.w.heard, "\r\n\r\nclosed");
    crowd_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_at_once_and_the_third_is_told_to_come_again),
        cmocka_unit_test(a_permit_is_held_until_the_last_byte),
        cmocka_unit_test(a_permit_comes_back_once_whatever_ends_the_exchange),
        cmocka_unit_test(a_worker_that_closes_returns_what_its_exchanges_hold),
        cmocka_unit_test(a_permit_finds_its_way_back_past_a_reload),
        cmocka_unit_test(a_reservation_goes_back_when_nobody_keeps_it),
        cmocka_unit_test(a_reservation_goes_back_when_the_client_leaves),
        cmocka_unit_test(a_reservation_goes_back_when_a_plugin_raises),
        cmocka_unit_test(a_reservation_goes_back_when_the_worker_closes),
        cmocka_unit_test(a_handler_wraps_a_policy_round_next),
        cmocka_unit_test(a_reservation_of_a_permit_holds_it_until_the_end),
        cmocka_unit_test(a_plugin_may_wait_for_what_it_reserved),
        cmocka_unit_test(a_probe_that_its_client_left_is_not_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
