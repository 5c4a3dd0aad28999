/* sim_lifecycle.c - how a whole gateway changes under its requests, and how it ends. */
#include "sim_exchange.h"

/* ---- change ---- */

#define SAYS(word)                                                                                           \
    WEB QUIET "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ respond: { body: " word  \
              " } }] }]\n"

static void a_reload_swaps_all_workers_or_none(void **state)
{
    world w;
    int fds[16];

    (void)state;
    world_init(&w, 1, 3);
    assert_true(world_try_start(&w, 1, SAYS("one")));
    for (int i = 0; i < 16; i++)
        fds[i] = dial(&w, "10.0.0.1", 80);
    static const struct {
        const char *config, *word;
        uint64_t revision;
    } steps[] = {
        { SAYS("two"), "two", 2 },
        { SAYS("three") "routs: 1\n", "two", 2 },
        { WEB QUIET
          "plugins: { p: { use: ./plugins/p } }\nroutes: [{ name: all, match: { paths: [{ prefix: / }] "
          "}, plugins: [p] }]\n",
          "two", 2 },
        { SAYS("four"), "four", 3 }
    };
    world_plugin(&w, "p", "return { name = 'p', new = function() error('not today') end }");
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        w.next = steps[s].config;
        mg_gateway_reload(w.gateway);
        settle(&w);
        assert_int_equal(w.gateway->revision, steps[s].revision);
        for (int i = 0; i < 16; i++) {
            say(&w, fds[i], GET);
            hear_status(&w, fds[i], "200");
            assert_ends(w.heard, steps[s].word);
        }
    }
    assert_int_equal(w.gateway->reloads_refused, 2);
    assert_has(w.logged.p, "not today");
    for (int i = 0; i < 16; i++)
        hang_up(&w, fds[i]);
    world_close(&w);
}

static void requests_in_flight_keep_what_they_began_with(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              HANDLER("ctx:sleep(5) next(ctx) ctx:sleep(1) ctx.response:set_header('x-old', '1')"));
    say(&l.w, l.client, GET);
    l.w.next = WEB QUIET "services: { other: { endpoints: [{ url: \"http://10.0.0.9:1\" }] } }\n"
                         "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: other }]\n";
    for (int i = 0; i < 3; i++) {
        mg_gateway_reload(l.w.gateway);
        settle(&l.w);
    }
    assert_int_equal(l.w.gateway->revision, 4);
    advance(&l.w, 5001 * MS);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab");
    advance(&l.w, 1001 * MS);
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-old: 1\r\n");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN); /* its endpoint is nobody's any more */
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "502");
    line_close(&l);
}

static void a_listener_that_leaves_lets_its_connections_finish(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    const int idle = dial(&l.w, "10.0.0.1", 80);
    l.w.next = "listeners: { web: { bind: \"10.0.0.1:81\" } }\n" QUIET SERVICE ROUTE;
    mg_gateway_reload(l.w.gateway);
    settle(&l.w);
    assert_int_equal(hear(&l.w, idle), HEAR_END);
    hang_up(&l.w, idle);
    say(&l.w, l.up, OK_EMPTY);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 200 ");
    line_drop(&l, &l.client);
    const int refused = dial(&l.w, "10.0.0.1", 80);
    assert_int_equal(hear(&l.w, refused), HEAR_RESET);
    hang_up(&l.w, refused);
    l.client = dial(&l.w, "10.0.0.1", 81);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    l.w.next = l.w.first; /* and back, to an address that is free again */
    mg_gateway_reload(l.w.gateway);
    settle(&l.w);
    line_drop(&l, &l.client);
    l.client = dial(&l.w, "10.0.0.1", 80);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

/* ---- the end ---- */

static void a_drain_lets_requests_finish_and_no_more_come(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE "shutdown: { drain_delay: 2s, drain_timeout: 10s }\n", NULL);
    const int idle = dial(&l.w, "10.0.0.1", 80);
    line_ask(&l, GET);
    mg_gateway_drain(l.w.gateway);
    advance(&l.w, 1999 * MS);
    const int late = dial(&l.w, "10.0.0.1", 80); /* before the delay is over all is as ever */
    assert_int_equal(hear(&l.w, late), HEAR_OPEN);
    advance(&l.w, 2 * MS);
    assert_int_equal(hear(&l.w, idle), HEAR_END);
    assert_int_equal(hear(&l.w, late), HEAR_END);
    assert_false(l.w.stopped);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab");
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_has(l.w.heard, "connection: close\r\n");
    assert_ends(l.w.heard, "\r\n\r\nab");
    line_drop(&l, &l.client);
    assert_true(l.w.stopped);
    hang_up(&l.w, idle);
    hang_up(&l.w, late);
    line_close(&l);
}

static void what_does_not_finish_is_cut_after_drain_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P "shutdown: { drain_delay: 0s, drain_timeout: 3s }\n",
              HANDLER("ctx:sleep(10) next(ctx)"));
    say(&l.w, l.client, GET);
    mg_gateway_drain(l.w.gateway);
    advance(&l.w, 2999 * MS);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    advance(&l.w, 2 * MS);
    assert_true(l.w.stopped);
    client_is_cut(&l);
    line_close(&l);
}

static void a_gateway_may_end_in_any_state(void **state)
{
    (void)state;
    for (int steps = 0; steps <= STEPS; steps++)
        for (int how = 0; how < 4; how++) {
            line l;
            line_open(&l, BASE ROUTE_P, how % 2 ? BUFFERING : WAITING);
            play(&l, steps);
            if (how < 2) {
                mg_gateway_drain(l.w.gateway);
                mg_gateway_drain(l.w.gateway);
                settle(&l.w);
                assert_true(l.w.stopped);
            }
            world_free_gateway(&l.w);
            line_close(&l);
        }
}

static void a_name_may_be_sought_when_the_gateway_ends(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("ctx.http:get('http://some.name:80/') next(ctx)"));
    const struct iovec part = { (void *)(uintptr_t)GET, strlen(GET) };
    for (int turns = 0; turns < 12; turns++) { /* stopped in the middle of the question */
        assert_int_equal(l.w.outside->ops->send(l.w.outside, l.client, &part, 1), strlen(GET));
        mg_gateway_drain(l.w.gateway);
        mg_gateway_drain(l.w.gateway);
        if (turns)
            break;
    }
    line_close(&l);
}

static void a_gateway_that_never_started_ends(void **state)
{
    world w;
    mg_report report = MG_REPORT_INIT;

    (void)state;
    world_init(&w, 1, 2);
    const mg_gateway_options options = { .log = w.log,
                                         .clock = mg_sim_clock(w.sim),
                                         .seed = 1,
                                         .loops = w.loops,
                                         .loop_count = 4,
                                         .resolver = w.resolver };
    w.gateway = mg_gateway_new(&options, world_config(&w, BASE ROUTE, &report), &report);
    assert_non_null(w.gateway);
    mg_report_fini(&report);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reload_swaps_all_workers_or_none),
        cmocka_unit_test(requests_in_flight_keep_what_they_began_with),
        cmocka_unit_test(a_listener_that_leaves_lets_its_connections_finish),
        cmocka_unit_test(a_drain_lets_requests_finish_and_no_more_come),
        cmocka_unit_test(what_does_not_finish_is_cut_after_drain_timeout),
        cmocka_unit_test(a_gateway_may_end_in_any_state),
        cmocka_unit_test(a_name_may_be_sought_when_the_gateway_ends),
        cmocka_unit_test(a_gateway_that_never_started_ends),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
