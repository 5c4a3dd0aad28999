/* sim_policies.c - what guards the calls to a service, on the virtual clock: breakers, ejection, permits, who
 * gets the next request. */
#include "sim_group.h"

/* ---- breakers ---- */

static mg_breaker_state breaker_of(const group *g)
{
    return mg_breaker_now(service_named(g, "up")->circuits->breaker,
                          mg_shared_policy_now(g->w.gateway->shared.shared));
}

static void a_breaker_opens_probes_and_closes(void **state)
{
    group g;

    (void)state;
    group_open(&g,
               SERVICE_OF(PAIR ", breaker: { min_requests: 20, error_rate: 50%, open_for: 5s, open_jitter: "
                               "0%, probes: 2 }"),
               2);
    for (int i = 0; i < 20; i++) {
        assert_int_equal(breaker_of(&g), MG_BREAKER_CLOSED);
        (void)ask(&g, i < 10 ? OK_EMPTY : ANSWER("500 Oh"));
        hear_status(&g.w, g.client, i < 10 ? "200" : "500");
    }
    assert_int_equal(breaker_of(&g), MG_BREAKER_OPEN);
    advance(&g.w, 1200 * MS);
    assert_int_equal(ask(&g, OK_EMPTY), -1);
    hear_status(&g.w, g.client, "503");
    assert_has(g.w.heard, "retry-after: 4\r\n");
    advance(&g.w, 3800 * MS);
    assert_true(ask(&g, OK_EMPTY) >= 0);
    hear_status(&g.w, g.client, "200");
    assert_int_equal(breaker_of(&g), MG_BREAKER_HALF_OPEN);
    assert_true(ask(&g, OK_EMPTY) >= 0);
    hear_status(&g.w, g.client, "200");
    assert_int_equal(breaker_of(&g), MG_BREAKER_CLOSED);
    const mg_circuit_cells *cells = service_named(&g, "up")->circuits->cells;
    assert_int_equal(mg_cell_get(&cells->calls[MG_CALLS_FAILED]), 10);
    assert_int_equal(mg_cell_get(&cells->calls[MG_CALLS_OK]), 12);
    assert_int_equal(mg_cell_get(&cells->calls[MG_CALLS_REJECTED]), 1);
    group_close(&g);
}

static void a_route_may_have_a_breaker_of_its_own(void **state)
{
    group g;

    (void)state;
    group_open(
        &g,
        SERVICE_OF(
            PAIR
            ", breaker: { mode: consecutive, consecutive_failures: 1, per: route }") "routes: [{ name: a, "
                                                                                     "match: { paths: [{ "
                                                                                     "prefix: /a }] }, "
                                                                                     "service: up },\n"
                                                                                     "         { name: rest, "
                                                                                     "match: { paths: [{ "
                                                                                     "prefix: / }] }, "
                                                                                     "service: up }]\n",
        2);
    (void)ask(&g, ANSWER("500 Oh"));
    hear_status(&g.w, g.client, "500");
    assert_int_equal(ask(&g, OK_EMPTY), -1);
    hear_status(&g.w, g.client, "503");
    int host;
    say(&g.w, g.client, GET("/a/x"));
    const int up = arrives(&g, &host);
    assert_true(up >= 0);
    say(&g.w, up, OK_EMPTY);
    hear_status(&g.w, g.client, "200");
    group_close(&g);
}

static void what_counts_as_a_failure_is_the_operators_to_say(void **state)
{
    group g;

    (void)state;
    group_open(
        &g, SERVICE_OF(PAIR ", breaker: { mode: consecutive, consecutive_failures: 1, failure: [\"404\"] }"),
        2);
    (void)ask(&g, ANSWER("500 Oh"));
    hear_status(&g.w, g.client, "500");
    assert_int_equal(breaker_of(&g), MG_BREAKER_CLOSED);
    (void)ask(&g, ANSWER("404 Not Found"));
    hear_status(&g.w, g.client, "404");
    assert_int_equal(breaker_of(&g), MG_BREAKER_OPEN);
    group_close(&g);
}

static void a_client_that_leaves_says_nothing_about_the_upstream(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", breaker: { mode: consecutive, consecutive_failures: 1 }"), 2);
    say(&g.w, g.client, GET("/"));
    assert_true(arrives(&g, &host) >= 0);
    hang_up(&g.w, g.client);
    g.client = -1;
    assert_int_equal(breaker_of(&g), MG_BREAKER_CLOSED);
    assert_int_equal(mg_cell_get(&service_named(&g, "up")->circuits->cells->calls[MG_CALLS_IGNORED]), 1);
    group_close(&g);
}

#define SLOW_SEND "breaker: { mode: consecutive, consecutive_failures: 1 }, eject: { consecutive: 1 }"
#define IN_A_SECOND                                                                                          \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, timeout: 1s, hop_factor: 1 }]\n"

static bool any_is_ejected(group *g)
{
    const mg_service *service = service_named(g, "up")->newest;
    bool any = false;

    for (size_t i = 0; i < service->host_count; i++) {
        mg_host_view view;
        mg_service_host_view(service, i, mg_shared_policy_now(g->w.gateway->shared.shared), &view);
        any |= view.ejected;
    }
    return any;
}

static void a_client_that_sends_slowly_says_nothing_about_the_upstream(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " SLOW_SEND) IN_A_SECOND, 2);
    say(&g.w, g.client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nsome");
    assert_true(arrives(&g, &host) >= 0);
    advance(&g.w, 30001 * MS);
    (void)hear(&g.w, g.client);
    assert_starts(g.w.heard, "HTTP/1.1 408 ");
    assert_int_equal(breaker_of(&g), MG_BREAKER_CLOSED);
    assert_false(any_is_ejected(&g));
    assert_int_equal(mg_cell_get(&service_named(&g, "up")->circuits->cells->calls[MG_CALLS_IGNORED]), 1);
    group_close(&g);
}

static void an_upstream_that_does_not_read_is_late(void **state)
{
    static char body[20000];
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF("endpoints: [" HOST(2) "], " SLOW_SEND) IN_A_SECOND, 1);
    mg_sim_set_buffer(g.w.sim, 1000);
    memset(body, 'x', sizeof body);
    say(&g.w, g.client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 20000\r\n\r\n");
    assert_true(arrives(&g, &host) >= 0);
    for (size_t sent = 0, some; sent < sizeof body; sent += some)
        if ((some = say_bytes(&g.w, g.client, body, sizeof body - sent)) == 0)
            break;
    advance(&g.w, 1000 * MS);
    assert_int_equal(breaker_of(&g), MG_BREAKER_OPEN);
    group_close(&g);
}

/* ---- counts ---- */

static uint64_t served(group *g, const char *outcome)
{
    const mg_stats_global global = { 0 };
    char series[96];
    mg_text text = { 0 };

    snprintf(series, sizeof series, "moongate_upstream_requests_total{service=\"up\",outcome=\"%s\"} ",
             outcome);
    mg_stats_write(g->w.gateway->shared.stats, &global, &text);
    mg_text_add(&text, (mg_str){ "", 1 });
    const char *at = strstr(text.p, series);
    const uint64_t count = at ? strtoull(at + strlen(series), NULL, 10) : 0;
    mg_text_fini(&text);
    return count;
}

static void a_try_is_counted_once_and_as_what_ended_it(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR), 2);
    ask(&g, OK_EMPTY);
    hear_status(&g.w, g.client, "200");
    assert_int_equal(served(&g, "ok"), 1);
    say(&g.w, g.client, GET("/"));
    say(&g.w, arrives(&g, &host), "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
    hang_up(&g.w, g.client); /* in the middle of its answer: no doing of the upstream's */
    assert_int_equal(served(&g, "aborted"), 1);
    g.client = dial(&g.w, "10.0.0.1", 80);
    say(&g.w, g.client, GET("/"));
    say(&g.w, arrives(&g, &host), "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf");
    leave(&g);
    assert_int_equal(served(&g, "reset"), 1);
    assert_int_equal(served(&g, "aborted"), 1);
    assert_int_equal(served(&g, "ok"), 1);
    group_close(&g);
}

/* ---- hosts ---- */

static void a_host_that_fails_in_a_row_is_out_for_a_while(void **state)
{
    group g;
    unsigned seen[HOSTS] = { 0 };

    (void)state;
    group_open(&g, SERVICE_OF(TRIO ", eject: { consecutive: 3, base: 30s }, slow_start: 0s"), 3);
    for (int i = 0; i < 9; i++) /* each thrice; the first fails */
        for (int host = 0; host >= 0; host = -1) {
            say(&g.w, g.client, GET("/"));
            const int up = arrives(&g, &host);
            say(&g.w, up, host ? OK_EMPTY : BUSY);
            leave(&g);
            (void)hear(&g.w, g.client);
        }
    advance(&g.w, MG_NS_PER_S);
    assert_has(g.w.logged.p, "up: 10.0.0.2:9000 gets no requests for 29 s: its calls fail");
    advance(&g.w, 5 * MG_NS_PER_S);
    assert_null(strstr(strstr(g.w.logged.p, "gets no requests") + 1, "gets no requests"));
    for (int i = 0; i < 10; i++) {
        seen[ask(&g, OK_EMPTY)]++;
        hear_status(&g.w, g.client, "200");
    }
    assert_int_equal(seen[0], 0);
    assert_int_equal(seen[1], 5);
    advance(&g.w, 31 * MG_NS_PER_S);
    hang_up(&g.w, g.client);
    g.client = dial(&g.w, "10.0.0.1", 80);
    for (int i = 0; i < 9; i++) {
        seen[ask(&g, OK_EMPTY)]++;
        hear_status(&g.w, g.client, "200");
    }
    assert_true(seen[0] > 0);
    group_close(&g);
}

static void a_key_stays_with_its_host(void **state)
{
    group g;
    int first = -1;

    (void)state;
    group_open(&g,
               WEB QUIET "services: { up: { endpoints: [" HOST(2) ", " HOST(3) ", " HOST(
                   4) "], balance: maglev } }\n"
                      "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, sticky: { by: "
                      "\"header:x-user\" } }]\n",
               3);
    for (int i = 0; i < 6; i++) {
        int host = -1;
        say(&g.w, g.client, "GET / HTTP/1.1\r\nhost: a\r\nx-user: u7\r\n\r\n");
        const int up = arrives(&g, &host);
        say(&g.w, up, OK_EMPTY);
        leave(&g);
        hear_status(&g.w, g.client, "200");
        assert_true(first < 0 || host == first);
        first = host;
    }
    group_close(&g);
}

static void a_host_with_fewer_requests_is_taken(void **state)
{
    group g;
    int busy = -1, other;

    (void)state;
    group_open(
        &g, WEB QUIET "services: { up: { endpoints: [" HOST(2) ", " HOST(3) "], balance: least_request } }\n",
        2);
    say(&g.w, g.client, GET("/"));
    const int up = arrives(&g, &busy);
    for (int i = 0; i < 8; i++) {
        const int client = dial(&g.w, "10.0.0.1", 80);
        say(&g.w, client, GET("/"));
        const int second = arrives(&g, &other);
        assert_int_equal(other, 1 - busy);
        say(&g.w, second, OK_EMPTY);
        leave(&g);
        hear_status(&g.w, client, "200");
        hang_up(&g.w, client);
    }
    say(&g.w, up, OK_EMPTY);
    group_close(&g);
}

/* ---- permits ---- */

static void as_many_calls_as_max_concurrent_says_and_no_more(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", breaker: { max_concurrent: 1 }"), 2);
    say(&g.w, g.client, GET("/"));
    const int up = arrives(&g, &host), client = dial(&g.w, "10.0.0.1", 80);
    say(&g.w, client, GET("/"));
    hear_status(&g.w, client, "503");
    assert_has(g.w.heard, "retry-after: 1\r\n");
    assert_int_equal(arrives(&g, &host), -1);
    say(&g.w, up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
    say(&g.w, client, GET("/")); /* the answer is not whole yet */
    hear_status(&g.w, client, "503");
    say(&g.w, up, "hi");
    say(&g.w, client, GET("/"));
    assert_int_equal(mg_cell_get(&service_named(&g, "up")->cells[0].refused[MG_REFUSED_CONCURRENCY]), 2);
    assert_int_equal(atomic_load(&service_named(&g, "up")->concurrent), 1);
    hang_up(&g.w, client);
    assert_int_equal(atomic_load(&service_named(&g, "up")->concurrent), 0);
    group_close(&g);
}

/* A plugin may take its time with the refusal. */
static void who_gets_no_other_try_holds_nothing_while_its_plugin_goes_on(void **state)
{
    group g = { .up_count = 0 };
    int host;

    (void)state;
    world_init(&g.w, 1, 1);
    world_plugin(&g.w, "p", HANDLER("next(ctx)\nctx:sleep(1)"));
    assert_true(world_try_start(&g.w, 1,
                                WEB QUIET "services: { up: { " PAIR
                                          ", breaker: { max_concurrent: 1 }, " RETRY_FAST " } }\n" ROUTE_P));
    for (unsigned i = 0; i < HOSTS; i++)
        g.hosts[i] = listen_at(&g.w, i ? i > 1 ? "10.0.0.4" : "10.0.0.3" : "10.0.0.2", 9000);
    g.client = dial(&g.w, "10.0.0.1", 80);
    say(&g.w, g.client, GET("/"));
    say(&g.w, arrives(&g, &host), BUSY);
    mg_breaker_force(service_named(&g, "up")->circuits->breaker, MG_BREAKER_FORCED_OPEN, 0);
    advance(&g.w, 10 * MS); /* the other try is refused */
    assert_int_equal(hear(&g.w, g.client), HEAR_OPEN);
    assert_string_equal(g.w.heard, "");
    assert_int_equal(atomic_load(&service_named(&g, "up")->concurrent), 0);
    advance(&g.w, 1000 * MS);
    hear_status(&g.w, g.client, "503");
    group_close(&g);
}

static void the_adaptive_limit_refuses_what_is_too_much(void **state)
{
    group g;
    int host, clients[3];

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", adaptive: { initial: 2, min: 1, max: 2 }"), 2);
    for (int i = 0; i < 3; i++) {
        clients[i] = dial(&g.w, "10.0.0.1", 80);
        say(&g.w, clients[i], GET("/"));
    }
    hear_status(&g.w, clients[2], "503");
    assert_int_equal(mg_cell_get(&service_named(&g, "up")->cells[0].refused[MG_REFUSED_ADAPTIVE]), 1);
    for (int i = 0; i < 2; i++)
        say(&g.w, arrives(&g, &host), OK_EMPTY);
    for (int i = 0; i < 2; i++)
        hang_up(&g.w, clients[i]);
    while (g.up_count)
        leave(&g);
    say(&g.w, clients[2], GET("/"));
    assert_true(arrives(&g, &host) >= 0);
    hang_up(&g.w, clients[2]);
    group_close(&g);
}

static void what_an_upstream_does_not_take_is_throttled(void **state)
{
    group g;
    unsigned arrived = 0;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", throttle: {}"), 2);
    for (int i = 0; i < 200; i++) {
        arrived += ask(&g, BUSY) >= 0;
        hear_status(&g.w, g.client, "503");
    }
    assert_true(arrived < 100);
    assert_int_equal(mg_cell_get(&service_named(&g, "up")->cells[0].refused[MG_REFUSED_THROTTLE]),
                     200 - arrived);
    group_close(&g);
}

/* Nothing is taken: of 39 all are sent, and of those behind them no more than half is dropped. */
static void a_throttle_goes_by_its_figures(void **state)
{
    group g;
    unsigned arrived = 0, early = 0;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", throttle: { min_req: 40, cap: 50% }"), 2);
    for (int i = 0; i < 240; i++) {
        arrived += ask(&g, BUSY) >= 0;
        early = i < 40 ? arrived : early;
        hear_status(&g.w, g.client, "503");
    }
    assert_int_equal(early, 40);
    assert_in_range(arrived - early, 70, 130);
    group_close(&g);
    group_open(&g, SERVICE_OF(PAIR ", throttle: { k: 100 }"), 2); /* one in a hundred taken is enough */
    for (int i = 0; i < 200; i++)
        assert_true(ask(&g, i % 50 ? BUSY : OK_EMPTY) >= 0);
    group_close(&g);
}

/* Of the requests one in four is answered, if badly, by every host that it is sent to. */
static void a_request_that_is_tried_again_counts_once_for_the_throttle(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(
        &g, SERVICE_OF(TRIO ", throttle: {}, retry: { attempts: 3, on: [502], budget: 100%, backoff: 1ms }"),
        3);
    for (int i = 0; i < 100; i++) {
        say(&g.w, g.client, GET("/"));
        for (int up; (up = arrives(&g, &host)) >= 0; advance(&g.w, 2 * MS)) {
            say(&g.w, up, i % 4 ? BUSY : ANSWER("502 Bad Gateway"));
            leave(&g);
        }
        assert_int_equal(hear(&g.w, g.client), HEAR_OPEN);
    }
    assert_true(mg_cell_get(&service_named(&g, "up")->cells[0].refused[MG_REFUSED_THROTTLE]) > 10);
    group_close(&g);
}

/* ---- reload ---- */

static void a_reload_keeps_what_is_known_of_a_service(void **state)
{
    static const char first[] = SERVICE_OF(PAIR ", eject: { consecutive: 1, base: 30s }"),
                      second[] = SERVICE_OF(TRIO ", eject: { consecutive: 1, base: 30s }, slow_start: 0s");
    group g;
    int host, out;

    (void)state;
    group_open(&g, first, 3);
    out = ask(&g, BUSY);
    hear_status(&g.w, g.client, "503");
    g.w.next = second;
    mg_gateway_reload(g.w.gateway);
    settle(&g.w);
    for (int i = 0; i < 6; i++) {
        host = ask(&g, OK_EMPTY);
        hear_status(&g.w, g.client, "200");
        assert_true(host >= 0 && host != out);
    }
    group_close(&g);
}

/* The pool's bound is the node's: one worker's request waits while another's has the only place. */
static void a_host_that_a_waiter_was_the_last_to_know_may_come_back(void **state)
{
    static const char with[] =
        SERVICE_OF("endpoints: [" HOST(2) "], pool: { max_connections: 1, queue_timeout: "
                                          "1s }, first_byte_timeout: 60s"),
                      without[] = SERVICE_OF("endpoints: [" HOST(3) "]");
    group g = { .hosts = { -1, -1, -1 } };
    int clients[16], host;

    (void)state;
    world_init(&g.w, 1, 2);
    assert_true(world_try_start(&g.w, 1, with));
    g.hosts[0] = listen_at(&g.w, "10.0.0.2", 9000);
    for (size_t i = 0; i < 16; i++) { /* some at either worker */
        clients[i] = dial(&g.w, "10.0.0.1", 80);
        say(&g.w, clients[i], GET("/"));
    }
    assert_true(arrives(&g, &host) >= 0);
    for (unsigned i = 0; i < 2; i++)
        assert_true(g.w.gateway->shared.workers[i]->live > 0);
    g.w.next = without;
    mg_gateway_reload(g.w.gateway);
    advance(&g.w, 1000 * MS);
    assert_int_equal(world_live_exchanges(&g.w), 1); /* the others have waited long enough */
    g.w.next = with;
    mg_gateway_reload(g.w.gateway);
    settle(&g.w);
    for (size_t i = 0; i < 16; i++)
        hang_up(&g.w, clients[i]);
    g.client = dial(&g.w, "10.0.0.1", 80);
    assert_int_equal(ask(&g, OK_EMPTY), 0);
    hear_status(&g.w, g.client, "200");
    group_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_breaker_opens_probes_and_closes),
        cmocka_unit_test(a_route_may_have_a_breaker_of_its_own),
        cmocka_unit_test(what_counts_as_a_failure_is_the_operators_to_say),
        cmocka_unit_test(a_client_that_leaves_says_nothing_about_the_upstream),
        cmocka_unit_test(a_client_that_sends_slowly_says_nothing_about_the_upstream),
        cmocka_unit_test(an_upstream_that_does_not_read_is_late),
        cmocka_unit_test(a_try_is_counted_once_and_as_what_ended_it),
        cmocka_unit_test(a_host_that_fails_in_a_row_is_out_for_a_while),
        cmocka_unit_test(a_key_stays_with_its_host),
        cmocka_unit_test(a_host_with_fewer_requests_is_taken),
        cmocka_unit_test(as_many_calls_as_max_concurrent_says_and_no_more),
        cmocka_unit_test(who_gets_no_other_try_holds_nothing_while_its_plugin_goes_on),
        cmocka_unit_test(the_adaptive_limit_refuses_what_is_too_much),
        cmocka_unit_test(what_an_upstream_does_not_take_is_throttled),
        cmocka_unit_test(a_throttle_goes_by_its_figures),
        cmocka_unit_test(a_request_that_is_tried_again_counts_once_for_the_throttle),
        cmocka_unit_test(a_reload_keeps_what_is_known_of_a_service),
        cmocka_unit_test(a_host_that_a_waiter_was_the_last_to_know_may_come_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
