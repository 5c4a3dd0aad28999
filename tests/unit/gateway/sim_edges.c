/* sim_edges.c - exchanges that end in the middle: who lets go of what, in every state. */
#include "sim_exchange.h"

#include "sim/sim_parts.h"

/* ---- tunnels ---- */

#define UPGRADE  "GET /t HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
#define SWITCHED "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"

static void open_tunnel(line *l)
{
    line_open(l, BASE ROUTE, NULL);
    line_ask(l, UPGRADE);
    assert_has(l->w.heard, "upgrade: echo\r\n");
    say(&l->w, l->up, SWITCHED "first");
    hear_status(&l->w, l->client, "101");
    assert_ends(l->w.heard, "\r\n\r\nfirst");
    say(&l->w, l->client, "one");
    assert_int_equal(hear(&l->w, l->up), HEAR_OPEN);
    assert_string_equal(l->w.heard, "one");
}

static void a_tunnel_half_closed_by_the_client_goes_on_the_other_way(void **state)
{
    line l;

    (void)state;
    open_tunnel(&l);
    say(&l.w, l.client, "last");
    half_close(&l.w, l.client);
    assert_int_equal(hear(&l.w, l.up), HEAR_END);
    assert_string_equal(l.w.heard, "last");
    say(&l.w, l.up, "answer");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "answer");
    say(&l.w, l.up, "end");
    half_close(&l.w, l.up);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_string_equal(l.w.heard, "end");
    assert_int_equal(world_live_exchanges(&l.w), 0);
    line_close(&l);
}

static void a_tunnel_half_closed_by_the_upstream_goes_on_the_other_way(void **state)
{
    line l;

    (void)state;
    open_tunnel(&l);
    say(&l.w, l.up, "last");
    half_close(&l.w, l.up);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_string_equal(l.w.heard, "last");
    say(&l.w, l.client, "more");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "more");
    say(&l.w, l.client, "end");
    half_close(&l.w, l.client);
    assert_int_equal(hear(&l.w, l.up), HEAR_END);
    assert_string_equal(l.w.heard, "end");
    assert_int_equal(world_live_exchanges(&l.w), 0);
    line_close(&l);
}

static void a_tunnel_ends_when_either_side_is_reset(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        line l;
        open_tunnel(&l);
        int *gone = side ? &l.client : &l.up, *left = side ? &l.up : &l.client;
        hang_up_hard(&l.w, *gone);
        *gone = -1;
        assert_true(hear(&l.w, *left) != HEAR_OPEN);
        assert_int_equal(world_live_exchanges(&l.w), 0);
        line_close(&l);
    }
}

static void an_idle_tunnel_ends_after_its_time(void **state)
{
    line l;

    (void)state;
    open_tunnel(&l);
    advance(&l.w, 3599 * MG_NS_PER_S);
    say(&l.w, l.client, "x");
    advance(&l.w, 3599 * MG_NS_PER_S);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    advance(&l.w, 2 * MG_NS_PER_S);
    client_is_cut(&l);
    line_close(&l);
}

static void a_tunnel_passes_a_plugin_that_takes_bodies(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("next(ctx) ctx.response:body()"));
    line_ask(&l, UPGRADE);
    say(&l.w, l.up, SWITCHED "first");
    hear_status(&l.w, l.client, "101");
    assert_ends(l.w.heard, "\r\n\r\nfirst");
    line_close(&l);
}

/* ---- limits, waits and ends ---- */

static void a_unix_listener_serves_with_several_workers(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 2);
    assert_true(world_try_start(&w, 1,
                                "listeners: { web: { bind: \"unix:run/web.sock\" } }\n" QUIET
                                "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ "
                                "respond: { body: hi } }] }]\n"));
    assert_true(w.ready);
    mg_addr addr = w.gateway->snapshot->config->listeners[0]->addr;
    int fds[12];
    for (int i = 0; i < 12; i++) {
        fds[i] = w.outside->ops->connect(w.outside, &addr);
        settle(&w);
        say(&w, fds[i], GET);
        hear_status(&w, fds[i], "200");
    }
    w.next = w.first;
    mg_gateway_reload(w.gateway);
    settle(&w);
    for (int i = 0; i < 12; i++) {
        say(&w, fds[i], GET);
        hear_status(&w, fds[i], "200");
        hang_up(&w, fds[i]);
    }
    world_close(&w);
}

static void a_drain_overtakes_a_reload_that_waits_for_names(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    l.w.next = WEB QUIET "services: { up: { endpoints: [{ url: \"http://slow.name:9000\" }] } }\n" ROUTE;
    mg_gateway_reload(l.w.gateway);
    mg_gateway_drain(l.w.gateway);
    settle(&l.w);
    advance(&l.w, 60 * MG_NS_PER_S);
    assert_true(l.w.stopped);
    line_close(&l);
}

static void plugins_requests_are_over_when_their_time_is(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              HANDLER("next(ctx) local answer, problem = ctx.http:get('http://10.0.0.3:9001/x', { "
                      "timeout = 2 }) ctx.response:set_header('x-problem', tostring(problem))"));
    const int side = listen_at(&l.w, "10.0.0.3", 9001);
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    const int helper = take(&l.w, side);
    assert_true(helper >= 0);
    say(&l.w, helper, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc");
    for (int i = 0; i < 19; i++) {
        advance(&l.w, 100 * MS);
        say(&l.w, helper, "d");
    }
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    advance(&l.w, 101 * MS);
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-problem: timeout\r\n");
    hang_up(&l.w, helper);
    hang_up(&l.w, side);
    line_close(&l);
}

static void a_plugin_that_asks_in_vain_ten_thousand_times_does_not_pile_up(void **state)
{
    line l;

    (void)state;
    line_open(
        &l,
        WEB QUIET
        "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }] }, gone: { endpoints: [{ url: "
        "\"http://nobody.example:1\" }] } }\n" ROUTE_P,
        HANDLER("local n = 0 for i = 1, 10000 do local a = ctx.http:get('http://nobody.example:1/') if "
                "not a then n = n + 1 end end ctx:respond(200, tostring(n))"));
    say(&l.w, l.client, GET);
    advance(&l.w, MG_NS_PER_S);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "10000");
    line_close(&l);
}

/* In every turn between the write and its answer: `end` ends the exchange that waits for the disk. */
static void end_in_each_turn_of_a_barrier(void (*end)(line *l))
{
    for (unsigned turns = 0; turns < 12; turns++) {
        line l;

        line_open(&l, BASE "state: { path: state }\n" ROUTE_P,
                  HANDLER("ctx.kv:set('a', 'b') ctx.kv:barrier() ctx:respond(200)"));
        const struct iovec request = { (void *)(uintptr_t)GET, strlen(GET) };
        assert_int_equal(l.w.outside->ops->send(l.w.outside, l.client, &request, 1), strlen(GET));
        while (!mg_kv_waits_any(l.w.gateway->kv))
            assert_true(mg_sim_turn(l.w.sim));
        for (unsigned i = 0; i < turns; i++)
            (void)mg_sim_turn(l.w.sim);
        end(&l);
        settle(&l.w);
        assert_false(mg_kv_waits_any(l.w.gateway->kv));
        assert_int_equal(world_live_exchanges(&l.w), 0);
        line_close(&l);
    }
}

static void hang_up_now(line *l)
{
    line_drop(l, &l->client);
}

static void a_barrier_may_outlive_its_request(void **state)
{
    (void)state;
    end_in_each_turn_of_a_barrier(hang_up_now);
}

static void stop_now(line *l)
{
    mg_gateway_drain(l->w.gateway);
    mg_gateway_drain(l->w.gateway);
    settle(&l->w);
    assert_true(l->w.stopped);
}

static void a_barrier_may_be_open_at_the_end(void **state)
{
    (void)state;
    end_in_each_turn_of_a_barrier(stop_now);
}

static void endless_interim_answers_are_a_fault(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    for (int i = 0; i < 1000; i++)
        (void)say_bytes(&l.w, l.up, "HTTP/1.1 102 Processing\r\n\r\n", 27);
    (void)hear(&l.w, l.client);
    assert_has(l.w.heard, "HTTP/1.1 502 ");
    line_close(&l);
}

static void over_the_limit_the_answer_is_whole(void **state)
{
    line l;

    (void)state;
    line_open(&l, "listeners: { web: { bind: \"10.0.0.1:80\", max_connections: 1 } }\n" QUIET SERVICE ROUTE,
              NULL);
    const int second = dial(&l.w, "10.0.0.1", 80);
    assert_int_equal(hear(&l.w, second), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 503 ");
    const char *length = strstr(l.w.heard, "content-length: "), *body = strstr(l.w.heard, "\r\n\r\n") + 4;
    assert_non_null(length);
    assert_int_equal(atoi(length + 16), strlen(body));
    hang_up(&l.w, second);
    line_close(&l);
}

static void who_keeps_a_connection_behind_its_last_answer_does_not_hold_up_the_end(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE "shutdown: { drain_delay: 0s, drain_timeout: 10s }\n", NULL);
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"); /* lingers already */
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab");
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    const int late = dial(&l.w, "10.0.0.1", 80); /* its answer comes while the gateway ends */
    say(&l.w, late, GET);
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    const int large = dial(&l.w, "10.0.0.1", 80); /* and this one's before its body has come */
    say(&l.w, large, POST(999999));
    mg_gateway_drain(l.w.gateway);
    settle(&l.w);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\ncd");
    assert_int_equal(hear(&l.w, late), HEAR_END);
    assert_ends(l.w.heard, "cd");
    assert_false(l.w.stopped);
    const int second = take(&l.w, l.upstream);
    say(&l.w, second, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    assert_int_equal(hear(&l.w, large), HEAR_END);
    say(&l.w, large, "some of the body, which must not reset the answer");
    advance(&l.w, 199 * MS);
    assert_false(l.w.stopped);
    advance(&l.w, 2 * MS);
    assert_true(l.w.stopped);
    hang_up(&l.w, late);
    hang_up(&l.w, large);
    hang_up(&l.w, second);
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tunnel_passes_a_plugin_that_takes_bodies),
        cmocka_unit_test(a_tunnel_half_closed_by_the_client_goes_on_the_other_way),
        cmocka_unit_test(a_tunnel_half_closed_by_the_upstream_goes_on_the_other_way),
        cmocka_unit_test(a_tunnel_ends_when_either_side_is_reset),
        cmocka_unit_test(an_idle_tunnel_ends_after_its_time),
        cmocka_unit_test(a_unix_listener_serves_with_several_workers),
        cmocka_unit_test(a_drain_overtakes_a_reload_that_waits_for_names),
        cmocka_unit_test(plugins_requests_are_over_when_their_time_is),
        cmocka_unit_test(a_plugin_that_asks_in_vain_ten_thousand_times_does_not_pile_up),
        cmocka_unit_test(a_barrier_may_outlive_its_request),
        cmocka_unit_test(a_barrier_may_be_open_at_the_end),
        cmocka_unit_test(endless_interim_answers_are_a_fault),
        cmocka_unit_test(over_the_limit_the_answer_is_whole),
        cmocka_unit_test(who_keeps_a_connection_behind_its_last_answer_does_not_hold_up_the_end),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
