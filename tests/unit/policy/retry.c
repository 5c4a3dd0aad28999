/* Once more or not, and how long is left, by example (docs/policies.md 7). */
#include "policy/retry.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

static mg_retry_conf conf;
static mg_deadline_conf deadline;

static int set_up(void **state)
{
    conf = retry_defaults;
    mg_deadline_conf_defaults(&deadline);
    *state = mg_retry_budget_new();
    return 0;
}

static int tear_down(void **state)
{
    mg_retry_budget_free(*state);
    return 0;
}

/* A GET whose first try found a 503, with seconds left. */
static mg_retry_case a_case(void)
{
    return (mg_retry_case){ .tries = 1,
                            .status = 503,
                            .idempotent = true,
                            .body_held = true,
                            .bytes_sent = true,
                            .left_ms = 5000,
                            .retry_after_ms = -1 };
}

static mg_retry_verdict decide(void **state, mg_retry_case c, uint64_t *sleep_ms)
{
    return mg_retry_decide(&conf, &deadline, &c, *state, 0.999, MG_NS_PER_S, sleep_ms);
}

static void a_fault_of_the_upstream_is_tried_again(void **state)
{
    mg_retry_case c = a_case();
    uint64_t sleep_ms;

    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
    assert_int_equal(sleep_ms, 24);
    c.status = 0;
    c.reset = true;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
    c.reset = false;
    c.connect_error = true;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
}

static void an_answer_is_not_a_fault(void **state)
{
    mg_retry_case c = a_case();
    uint64_t sleep_ms;

    for (c.status = 0; c.status < 502; c.status++)
        assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NOT_ASKED);
    conf.on_reset = conf.on_connect_error = false;
    c.status = 0;
    c.reset = c.connect_error = true;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NOT_ASKED);
}

static void what_cannot_be_repeated_is_not(void **state)
{
    mg_retry_case c = a_case();
    uint64_t sleep_ms;

    c.body_held = false;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NOT_SAFE);
    c = a_case();
    c.idempotent = false;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NOT_SAFE);
    c.bytes_sent = false; /* a POST that never left may go elsewhere */
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
    c = a_case();
    c.head_passed_on = true;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NOT_SAFE);
}

static void attempts_end_and_retries_do_not_multiply(void **state)
{
    mg_retry_case c = a_case();
    uint64_t sleep_ms;

    c.tries = 2;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NO_ATTEMPTS);
    conf.attempts = 3;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
    assert_int_equal(sleep_ms, 49);
    c.is_retry = true;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NO_ATTEMPTS);
}

static void no_try_is_begun_that_has_no_time(void **state)
{
    mg_retry_case c = a_case();
    uint64_t sleep_ms;

    c.left_ms = 35; /* less 24 of sleep: nine tenths of 11 are too little */
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NO_TIME);
    c.left_ms = 36;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
    c.left_ms = 24;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NO_TIME);
    c.left_ms = 5000;
    c.retry_after_ms = 1000;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
    assert_int_equal(sleep_ms, 1000);
    c.retry_after_ms = 5000;
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NO_TIME);
}

static void the_budget_has_a_floor_and_ends(void **state)
{
    mg_retry_case c = a_case();
    uint64_t sleep_ms;

    for (int i = 0; i < 30; i++) /* three a second for ten */
        assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NO_BUDGET);
    for (int i = 0; i < 10; i++)
        mg_retry_budget_request(*state, MG_NS_PER_S);
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_AGAIN);
    assert_int_equal(decide(state, c, &sleep_ms), MG_RETRY_NO_BUDGET);
    assert_true(mg_retry_budget_take(*state, &conf, 11 * MG_NS_PER_S)); /* they are forgotten */
}

static void a_clock_that_is_behind_counts_with_the_others(void **state)
{
    conf.min_per_second = 0;
    for (int i = 0; i < 100; i++)
        mg_retry_budget_request(*state, 100 * MG_NS_PER_S);
    for (int i = 0; i < 10; i++)
        assert_true(mg_retry_budget_take(*state, &conf, i % 2 ? 99 * MG_NS_PER_S : 80 * MG_NS_PER_S));
    assert_false(mg_retry_budget_take(*state, &conf, 80 * MG_NS_PER_S));
}

static void backoff_never_overflows(void **state)
{
    (void)state;
    assert_int_equal(mg_retry_backoff_ms(25, 250, UINT32_MAX, 0.999), 249);
    assert_int_equal(mg_retry_backoff_ms(25, 250, 20, 0), 0);
}

static void grpc_timeouts_come_and_go(void **state)
{
    static const char *const bad[] = { "", "S", "1", "-1S", "1 S", "1s", "123456789m", "m1", "1.5S" };
    char text[12];

    (void)state;
    for (size_t i = 0; i < mg_countof(bad); i++)
        assert_int_equal(mg_deadline_grpc_ms(mg_str_of(bad[i])), MG_DEADLINE_NONE);
    assert_int_equal(mg_deadline_grpc_ms(MG_STR("3M")), 180000);
    assert_int_equal(mg_deadline_grpc_ms(MG_STR("1999999n")), 1);
    assert_int_equal(mg_deadline_grpc_ms(MG_STR("99999999H")), 359999996400000);
    assert_int_equal(mg_deadline_grpc_write(text, 1500), 5);
    assert_string_equal(text, "1500m");
    mg_deadline_grpc_write(text, 100000000);
    assert_string_equal(text, "100000S");
    mg_deadline_grpc_write(text, UINT64_MAX);
    assert_string_equal(text, "99999999S");
}

static void a_hop_gets_less_than_is_left(void **state)
{
    (void)state;
    assert_int_equal(mg_deadline_child_ms(&deadline, 3599999), 3239999);
    assert_int_equal(mg_deadline_child_ms(&deadline, 11), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_fault_of_the_upstream_is_tried_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_answer_is_not_a_fault, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_repeated_is_not, set_up, tear_down),
        cmocka_unit_test_setup_teardown(attempts_end_and_retries_do_not_multiply, set_up, tear_down),
        cmocka_unit_test_setup_teardown(no_try_is_begun_that_has_no_time, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_budget_has_a_floor_and_ends, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_clock_that_is_behind_counts_with_the_others, set_up, tear_down),
        cmocka_unit_test(backoff_never_overflows),
        cmocka_unit_test(grpc_timeouts_come_and_go),
        cmocka_unit_test_setup_teardown(a_hop_gets_less_than_is_left, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
