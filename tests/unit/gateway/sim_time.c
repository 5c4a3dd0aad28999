/* sim_time.c - every time-out at its moment, on the virtual clock; what passes by itself as time does. */
#include "sim_world.h"

#define GET      "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define POST(n)  "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"
#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

#define LISTENER                                                                                             \
    "listeners: { web: { bind: \"10.0.0.1:80\", head_timeout: 3s, body_timeout: 4s, idle_timeout: 5s } }\n"
#define TIMED                                                                                                \
    "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], first_byte_timeout: 6s, "             \
    "read_timeout: 7s, tunnel_idle_timeout: 9s, pool: { max_connections: 1, queue: 4, queue_timeout: "       \
    "200ms, connect_timeout: 500ms, idle_timeout: 55s } } }\n"
#define NAMED                                                                                                \
    "services: { up: { balance: round_robin, endpoints: [{ url: \"http://up.internal:9000\" }], "            \
    "pool: { connect_timeout: 500ms } "                                                                      \
    "} }\n"
#define OK_LAST     "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
#define ROUTE_TIMED "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, timeout: 20s }]\n"
#define BASE        LISTENER QUIET TIMED ROUTE_TIMED

/* Nothing to be heard until `ms` have passed, less one, and then something, a millisecond later at most. */
#define happens_after(l, ms)                                                                                 \
    do {                                                                                                     \
        advance(&(l)->w, ((ms)-1) * MS);                                                                     \
        assert_int_equal(hear(&(l)->w, (l)->client), HEAR_OPEN);                                             \
        assert_string_equal((l)->w.heard, "");                                                               \
        advance(&(l)->w, 2 * MS);                                                                            \
    } while (0)

static void a_head_that_does_not_come_is_408_after_head_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    advance(&l.w, 2000 * MS);
    say(&l.w, l.client, "GET / HT");
    advance(&l.w, 1500 * MS);
    say(&l.w, l.client, "TP/1.1\r\n"); /* a byte now and then does not help */
    happens_after(&l, 1500);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 408 ");
    line_close(&l);
}

static void a_body_without_progress_is_408_after_body_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, POST(10));
    advance(&l.w, 3000 * MS);
    say(&l.w, l.client, "12345");
    happens_after(&l, 4000);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 408 ");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_close(&l);
}

static void an_idle_connection_is_closed_after_idle_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    happens_after(&l, 5000);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_string_equal(l.w.heard, "");
    line_close(&l);
}

static void a_connect_without_answer_is_502_after_connect_timeout(void **state)
{
    line l;
    const mg_addr addr = addr_of("10.0.0.2", 9000);

    (void)state;
    line_open(&l, BASE, NULL);
    mg_sim_set_connect(l.w.sim, &addr, ETIMEDOUT);
    say(&l.w, l.client, GET);
    happens_after(&l, 500);
    hear_status(&l.w, l.client, "502");
    line_close(&l);
}

static void an_address_that_does_not_answer_gives_way_to_the_next(void **state)
{
    line l;
    const mg_addr addrs[2] = { addr_of("10.0.0.3", 0), addr_of("10.0.0.2", 0) };
    const mg_addr silent = addr_of("10.0.0.3", 9000);

    (void)state;
    world_init(&l.w, 1, 1);
    mg_sim_set_name(l.w.sim, "up.internal", addrs, 2, 60);
    mg_sim_set_connect(l.w.sim, &silent, ETIMEDOUT);
    assert_true(world_try_start(&l.w, 1, LISTENER QUIET NAMED ROUTE));
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    l.client = dial(&l.w, "10.0.0.1", 80);
    unsigned waited = 0;
    for (int i = 0; i < 20; i++) { /* whichever comes first; then only the one that works */
        say(&l.w, l.client, GET);
        l.up = take(&l.w, l.upstream);
        if (l.up < 0) {
            waited++;
            advance(&l.w, 499 * MS);
            assert_int_equal(take(&l.w, l.upstream), -1);
            advance(&l.w, 2 * MS);
            l.up = take(&l.w, l.upstream);
        }
        assert_true(l.up >= 0);
        say(&l.w, l.up, OK_LAST);
        hear_status(&l.w, l.client, "200");
        line_drop(&l, &l.up);
    }
    assert_int_equal(waited, 1);
    line_close(&l);
}

static void a_connection_that_closes_as_it_is_handed_on_is_replaced(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, GET);
    const int second = dial(&l.w, "10.0.0.1", 80);
    say(&l.w, second, POST(5) "hello");
    const struct iovec answer = { (void *)(uintptr_t)OK_EMPTY, sizeof OK_EMPTY - 1 };
    assert_true(l.w.outside->ops->send(l.w.outside, l.up, &answer, 1) > 0);
    hang_up(&l.w, l.up); /* in the same moment */
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_starts(l.w.heard, "POST ");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, second, "200");
    hang_up(&l.w, second);
    line_close(&l);
}

static void an_upstream_that_is_silent_is_504_after_first_byte_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, GET);
    happens_after(&l, 6000);
    hear_status(&l.w, l.client, "504");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_close(&l);
}

static void an_upstream_that_stops_in_its_body_is_cut_after_read_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n12345");
    hear_status(&l.w, l.client, "200");
    advance(&l.w, 5000 * MS);
    say(&l.w, l.up, "67");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    happens_after(&l, 7000);
    client_is_cut(&l);
    line_close(&l);
}

static void an_idle_tunnel_is_closed_after_tunnel_idle_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, "GET /t HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 101 x\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n");
    hear_status(&l.w, l.client, "101");
    advance(&l.w, 8000 * MS);
    say(&l.w, l.client, "x");
    happens_after(&l, 9000);
    client_is_cut(&l);
    line_close(&l);
}

static void who_waits_for_a_connection_is_503_after_queue_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, GET);
    const int second = dial(&l.w, "10.0.0.1", 80);
    say(&l.w, second, GET);
    advance(&l.w, 199 * MS);
    assert_int_equal(hear(&l.w, second), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    advance(&l.w, 2 * MS);
    hear_status(&l.w, second, "503");
    assert_has(l.w.heard, "retry-after: 1\r\n");
    hang_up(&l.w, second);
    line_close(&l);
}

static void who_waits_in_time_gets_the_connection(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, GET);
    const int second = dial(&l.w, "10.0.0.1", 80);
    say(&l.w, second, "GET /b HTTP/1.1\r\nhost: a\r\n\r\n");
    advance(&l.w, 150 * MS);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_starts(l.w.heard, "GET /b ");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, second, "200");
    hang_up(&l.w, second);
    line_close(&l);
}

static void the_upstream_gets_nine_tenths_of_the_routes_time(void **state)
{
    line l;

    (void)state;
    line_open(&l, LISTENER QUIET TIMED ROUTE, NULL); /* 15 s */
    line_ask(&l, GET);
    for (int i = 0; i < 13; i++) {
        advance(&l.w, 1000 * MS);
        say(&l.w, l.up, i ? "x: y\r\n" : "HTTP/1.1 200 OK\r\n");
    }
    happens_after(&l, 500);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void the_routes_time_counts_the_chains_waits(void **state)
{
    line l;

    (void)state;
    line_open(&l, LISTENER QUIET TIMED ROUTE_P, HANDLER("ctx:sleep(100) next(ctx)"));
    say(&l.w, l.client, GET);
    happens_after(&l, 15000);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void a_sleep_ends_at_its_moment(void **state)
{
    line l;

    (void)state;
    line_open(&l, LISTENER QUIET TIMED ROUTE_P, HANDLER("ctx:sleep(1.5) ctx:respond(200, 'awake')"));
    say(&l.w, l.client, GET);
    happens_after(&l, 1500);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "awake");
    line_close(&l);
}

static void an_idle_upstream_connection_is_closed_after_its_time(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE, NULL);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    advance(&l.w, 54999 * MS);
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    advance(&l.w, 2 * MS);
    assert_int_equal(hear(&l.w, l.up), HEAR_END);
    line_close(&l);
}

#define BROKEN                                                                                               \
    "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], breaker: { mode: consecutive, "       \
    "consecutive_failures: 3, open_for: 2s, open_backoff: 2, open_max: 3s, open_jitter: 0%, probes: 1 } } "  \
    "}\n"

static void ask_and_fail(line *l)
{
    say(&l->w, l->client, GET);
    hear_status(&l->w, l->client, "502");
}

static void a_breaker_opens_probes_and_closes_on_the_virtual_clock(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB QUIET BROKEN ROUTE, NULL);
    line_drop(&l, &l.upstream); /* nobody listens: refused */
    for (int i = 0; i < 3; i++)
        ask_and_fail(&l);
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "503");
    assert_has(l.w.heard, "retry-after: 2\r\n");
    advance(&l.w, 1998 * MS);
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "503");
    advance(&l.w, 2 * MS);
    ask_and_fail(&l); /* the probe; the next break is longer, but 3 s at most */
    advance(&l.w, 2998 * MS);
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "503");
    advance(&l.w, 2 * MS);
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_ask(&l, GET); /* closed: no probe any more */
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

static void a_probe_that_never_reached_the_upstream_is_given_back(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB QUIET BROKEN ROUTE, NULL);
    line_drop(&l, &l.upstream);
    for (int i = 0; i < 3; i++)
        ask_and_fail(&l);
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    advance(&l.w, 2001 * MS);
    line_ask(&l, GET); /* the probe, whose client leaves */
    line_drop(&l, &l.client);
    line_drop(&l, &l.up);
    l.client = dial(&l.w, "10.0.0.1", 80);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

static void a_limiter_refills_with_time(void **state)
{
    line l;

    (void)state;
    line_open(&l,
              WEB QUIET
              "limiters: { slow: { key: ip, rate: 2/s, burst: 2 } }\n"
              "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ limit: slow }, { "
              "respond: { body: hi } }] }]\n",
              NULL);
    for (int i = 0; i < 2; i++) {
        say(&l.w, l.client, GET);
        hear_status(&l.w, l.client, "200");
    }
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "429");
    assert_has(l.w.heard, "retry-after: 1\r\n");
    advance(&l.w, 498 * MS);
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "429");
    advance(&l.w, 2 * MS);
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "200");
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "429");
    line_close(&l);
}

static void an_hour_of_traffic_takes_no_time(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB QUIET SERVICE ROUTE_P, HANDLER("ctx:sleep(0.25) next(ctx)"));
    for (int second = 0; second < 3600; second += 3) {
        say(&l.w, l.client, GET);
        advance(&l.w, 250 * MS);
        advance(&l.w, 1 * MS);
        if (l.up >= 0 && hear(&l.w, l.up) != HEAR_OPEN)
            line_drop(&l, &l.up); /* it was an hour old, nearly */
        else if (l.up >= 0)
            assert_starts(l.w.heard, "GET /a ");
        if (l.up < 0)
            l.up = take(&l.w, l.upstream);
        say(&l.w, l.up, OK_EMPTY);
        hear_status(&l.w, l.client, "200");
        advance(&l.w, 2749 * MS);
    }
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_head_that_does_not_come_is_408_after_head_timeout),
        cmocka_unit_test(a_body_without_progress_is_408_after_body_timeout),
        cmocka_unit_test(an_idle_connection_is_closed_after_idle_timeout),
        cmocka_unit_test(a_connect_without_answer_is_502_after_connect_timeout),
        cmocka_unit_test(an_address_that_does_not_answer_gives_way_to_the_next),
        cmocka_unit_test(a_connection_that_closes_as_it_is_handed_on_is_replaced),
        cmocka_unit_test(an_upstream_that_is_silent_is_504_after_first_byte_timeout),
        cmocka_unit_test(an_upstream_that_stops_in_its_body_is_cut_after_read_timeout),
        cmocka_unit_test(an_idle_tunnel_is_closed_after_tunnel_idle_timeout),
        cmocka_unit_test(who_waits_for_a_connection_is_503_after_queue_timeout),
        cmocka_unit_test(who_waits_in_time_gets_the_connection),
        cmocka_unit_test(the_upstream_gets_nine_tenths_of_the_routes_time),
        cmocka_unit_test(the_routes_time_counts_the_chains_waits),
        cmocka_unit_test(a_sleep_ends_at_its_moment),
        cmocka_unit_test(an_idle_upstream_connection_is_closed_after_its_time),
        cmocka_unit_test(a_breaker_opens_probes_and_closes_on_the_virtual_clock),
        cmocka_unit_test(a_probe_that_never_reached_the_upstream_is_given_back),
        cmocka_unit_test(a_limiter_refills_with_time),
        cmocka_unit_test(an_hour_of_traffic_takes_no_time),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
