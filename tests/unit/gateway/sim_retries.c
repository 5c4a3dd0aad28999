/* sim_retries.c - once more, on another host, or not. */
#include "sim_group.h"

static void a_try_that_fails_goes_to_another_host_and_the_client_sees_that_one(void **state)
{
    group g;
    int host = -1, second = -1;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " RETRY_FAST), 2);
    say(&g.w, g.client, GET("/"));
    int up = arrives(&g, &host);
    assert_null(strstr(g.w.heard, "x-moongate-attempt"));
    say(&g.w, up, "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 5\r\n\r\nnever");
    advance(&g.w, 10 * MS);
    up = arrives(&g, &second);
    assert_true(up >= 0);
    assert_int_equal(second, 1 - host);
    assert_has(g.w.heard, "x-moongate-attempt: 2\r\n");
    say(&g.w, up, OK_EMPTY);
    hear_status(&g.w, g.client, "200");
    assert_null(strstr(g.w.heard, "never"));
    assert_int_equal(retries(&g, MG_RETRIES_SENT), 1);
    group_close(&g);
}

static void a_host_that_refuses_the_connection_costs_a_try_and_not_the_request(void **state)
{
    group g;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " RETRY_FAST), 1); /* nobody at the second host */
    for (int i = 0; i < 4; i++) {
        int host;
        say(&g.w, g.client, GET("/"));
        advance(&g.w, 10 * MS);
        const int up = arrives(&g, &host);
        assert_true(up >= 0);
        say(&g.w, up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        hear_status(&g.w, g.client, "200");
        leave(&g);
    }
    assert_int_equal(retries(&g, MG_RETRIES_SENT), 2);
    group_close(&g);
}

static void what_was_sent_and_may_not_be_repeated_is_not(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " RETRY_FAST), 2);
    say(&g.w, g.client, "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\nhi");
    say(&g.w, arrives(&g, &host), BUSY);
    hear_status(&g.w, g.client, "503");
    assert_int_equal(retries(&g, MG_RETRIES_SENT), 0);
    group_close(&g);
}

static void a_storm_of_failures_gets_what_the_budget_has(void **state)
{
    group g;
    unsigned arrived = 0;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", retry: { backoff: 1ms, backoff_max: 1ms, min_per_second: 0 }"), 2);
    for (int i = 0; i < 100; i++) {
        int host;
        say(&g.w, g.client, GET("/"));
        for (int up; (up = arrives(&g, &host)) >= 0; advance(&g.w, 2 * MS)) {
            arrived++;
            say(&g.w, up, BUSY);
            leave(&g);
        }
        hear_status(&g.w, g.client, "503");
    }
    assert_int_equal(arrived, 110);
    assert_int_equal(retries(&g, MG_RETRIES_SENT), 10);
    assert_int_equal(retries(&g, MG_RETRIES_BUDGET), 90);
    group_close(&g);
}

static void a_client_that_leaves_between_two_tries_leaves_nothing_behind(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", retry: { backoff: 250ms, backoff_max: 250ms }"), 2);
    say(&g.w, g.client, GET("/"));
    say(&g.w, arrives(&g, &host), BUSY);
    hang_up(&g.w, g.client);
    g.client = -1;
    advance(&g.w, 300 * MS);
    assert_int_equal(arrives(&g, &host), -1);
    group_close(&g);
}

static void a_try_has_its_own_time(void **state)
{
    group g;
    int host = -1, second = -1;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", retry: { per_try_timeout: 100ms, backoff: 1ms, backoff_max: 1ms }"), 2);
    say(&g.w, g.client, GET("/"));
    assert_true(arrives(&g, &host) >= 0);
    assert_has(g.w.heard, "x-moongate-deadline-ms: 100\r\n");
    advance(&g.w, 99 * MS);
    assert_int_equal(arrives(&g, &second), -1);
    advance(&g.w, 3 * MS);
    assert_true(arrives(&g, &second) >= 0);
    assert_int_equal(second, 1 - host);
    advance(&g.w, 101 * MS);
    hear_status(&g.w, g.client, "504");
    assert_has(g.w.heard, "The upstream did not answer in time.");
    group_close(&g);
}

static void a_retry_after_beyond_what_is_left_ends_it(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " RETRY_FAST), 2); /* 15 s */
    say(&g.w, g.client, GET("/"));
    say(&g.w, arrives(&g, &host), "HTTP/1.1 503 S\r\nretry-after: 20\r\ncontent-length: 0\r\n\r\n");
    hear_status(&g.w, g.client, "503");
    assert_int_equal(retries(&g, MG_RETRIES_DEADLINE), 1);
    group_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_try_that_fails_goes_to_another_host_and_the_client_sees_that_one),
        cmocka_unit_test(a_host_that_refuses_the_connection_costs_a_try_and_not_the_request),
        cmocka_unit_test(what_was_sent_and_may_not_be_repeated_is_not),
        cmocka_unit_test(a_storm_of_failures_gets_what_the_budget_has),
        cmocka_unit_test(a_client_that_leaves_between_two_tries_leaves_nothing_behind),
        cmocka_unit_test(a_try_has_its_own_time),
        cmocka_unit_test(a_retry_after_beyond_what_is_left_ends_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
