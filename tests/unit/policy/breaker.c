/* The circuit breaker by example (docs/policies.md 5); the vectors hold the plain life of one. */
#include "policy/breaker.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

#define MS MG_NS_PER_MS

static mg_breaker_conf conf_of(uint32_t failures, uint32_t probes)
{
    mg_breaker_conf conf;

    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    conf.consecutive_failures = failures;
    conf.half_open_probes = probes;
    conf.open_ms = 1000;
    conf.open_max_ms = 8000;
    conf.half_open_max_ms = 500;
    conf.open_jitter_bp = 0;
    return conf;
}

static mg_breaker *breaker_of(const mg_breaker_conf *conf)
{
    mg_error err = MG_ERROR_INIT;
    mg_breaker *b = mg_breaker_new(conf, &err);

    assert_non_null(b);
    return b;
}

static bool call(mg_breaker *b, mg_breaker_outcome outcome, uint64_t now_ms)
{
    const uint64_t ticket = mg_breaker_ask(b, now_ms * MS);

    return ticket && mg_breaker_end(b, ticket, outcome, 0, now_ms * MS);
}

static void a_success_between_ends_the_run_and_an_ignored_call_does_not(void **state)
{
    const mg_breaker_conf conf = conf_of(3, 1);
    mg_breaker *b = breaker_of(&conf);

    (void)state;
    call(b, MG_BREAKER_FAIL, 0);
    call(b, MG_BREAKER_TIMEOUT, 0);
    call(b, MG_BREAKER_OK, 0);
    call(b, MG_BREAKER_FAIL, 0);
    call(b, MG_BREAKER_FAIL, 0);
    call(b, MG_BREAKER_IGNORE, 0);
    assert_int_equal(mg_breaker_now(b, 0), MG_BREAKER_CLOSED);
    call(b, MG_BREAKER_FAIL, 0);
    assert_int_equal(mg_breaker_now(b, 0), MG_BREAKER_OPEN);
    mg_breaker_free(b);
}

static void each_failed_half_open_doubles_the_wait_up_to_the_longest(void **state)
{
    static const uint64_t lengths_ms[] = { 1000, 2000, 4000, 8000, 8000, 8000 };
    const mg_breaker_conf conf = conf_of(1, 1);
    mg_breaker *b = breaker_of(&conf);
    uint64_t now_ms = 10;

    (void)state;
    for (size_t i = 0; i < mg_countof(lengths_ms); i++) {
        assert_true(call(b, MG_BREAKER_FAIL, now_ms));
        assert_int_equal(mg_breaker_retry_after_ms(b, now_ms * MS), lengths_ms[i]);
        assert_false(call(b, MG_BREAKER_OK, now_ms + lengths_ms[i] - 1));
        now_ms += lengths_ms[i];
    }
    assert_true(call(b, MG_BREAKER_OK, now_ms));
    assert_int_equal(mg_breaker_now(b, now_ms * MS), MG_BREAKER_CLOSED);
    call(b, MG_BREAKER_FAIL, now_ms);
    assert_int_equal(mg_breaker_retry_after_ms(b, now_ms * MS), 1000);
    mg_breaker_free(b);
}

static void who_is_refused_is_never_told_to_wait_longer_than_it_opens(void **state)
{
    const mg_breaker_conf conf = conf_of(1, 1);
    mg_breaker *b = breaker_of(&conf);
    const uint64_t opened_ns = 10 * MS + MS / 3;

    (void)state;
    assert_true(mg_breaker_end(b, mg_breaker_ask(b, opened_ns), MG_BREAKER_FAIL, 0, opened_ns));
    assert_int_equal(mg_breaker_retry_after_ms(b, opened_ns), 1000);
    assert_int_equal(mg_breaker_retry_after_ms(b, opened_ns + 1000 * MS), 1);
    assert_int_equal(mg_breaker_retry_after_ms(b, opened_ns + 1001 * MS), 0);
    mg_breaker_free(b);
}

static void the_backoff_may_be_a_fraction_or_none(void **state)
{
    mg_breaker_conf conf = conf_of(1, 1);
    mg_breaker *b;

    (void)state;
    conf.open_backoff_milli = 1500;
    b = breaker_of(&conf);
    call(b, MG_BREAKER_FAIL, 0);
    call(b, MG_BREAKER_FAIL, 1000);
    assert_int_equal(mg_breaker_retry_after_ms(b, 1000 * MS), 1500);
    mg_breaker_free(b);
    conf.open_backoff_milli = 1000;
    b = breaker_of(&conf);
    for (uint64_t i = 0; i < 40; i++)
        call(b, MG_BREAKER_FAIL, i * 1000);
    assert_int_equal(mg_breaker_retry_after_ms(b, 39000 * MS), 1000);
    mg_breaker_free(b);
}

static void the_jitter_lengthens_and_is_the_same_again_from_its_seed(void **state)
{
    mg_breaker_conf conf = conf_of(1, 1);
    uint64_t different = 0, first = 0;

    (void)state;
    conf.open_jitter_bp = 1000;
    for (uint64_t seed = 0; seed < 50; seed++) {
        mg_breaker *b, *again;
        uint64_t ms;

        conf.seed = seed;
        b = breaker_of(&conf);
        again = breaker_of(&conf);
        call(b, MG_BREAKER_FAIL, 0);
        call(again, MG_BREAKER_FAIL, 0);
        ms = mg_breaker_retry_after_ms(b, 0);
        assert_in_range(ms, 1000, 1100);
        assert_int_equal(ms, mg_breaker_retry_after_ms(again, 0));
        first = seed ? first : ms;
        different += ms != first;
        mg_breaker_free(b);
        mg_breaker_free(again);
    }
    assert_true(different > 25);
}

static void nobody_waits_for_a_half_open_that_is_not_decided(void **state)
{
    const mg_breaker_conf conf = conf_of(1, 1);
    mg_breaker *b = breaker_of(&conf);
    uint64_t probe;

    (void)state;
    call(b, MG_BREAKER_FAIL, 0);
    probe = mg_breaker_ask(b, 1000 * MS);
    assert_true(probe);
    assert_int_equal(mg_breaker_retry_after_ms(b, 1499 * MS), 0);
    /* open again since 1500 for 2000, whoever looks when */
    assert_int_equal(mg_breaker_now(b, 1500 * MS), MG_BREAKER_OPEN);
    assert_int_equal(mg_breaker_retry_after_ms(b, 3000 * MS), 500);
    assert_false(mg_breaker_end(b, probe, MG_BREAKER_OK, 0, 3000 * MS));
    assert_false(mg_breaker_ask(b, 3499 * MS));
    assert_true(mg_breaker_ask(b, 3500 * MS));
    mg_breaker_free(b);
}

static void a_slow_probe_counts_as_failed(void **state)
{
    mg_breaker_conf conf = conf_of(1, 1);
    mg_breaker *b;
    uint64_t probe;

    (void)state;
    conf.slow_call_ms = 100;
    b = breaker_of(&conf);
    call(b, MG_BREAKER_FAIL, 0);
    probe = mg_breaker_ask(b, 1000 * MS);
    assert_true(mg_breaker_end(b, probe, MG_BREAKER_OK, 100 * MS, 1100 * MS));
    assert_int_equal(mg_breaker_now(b, 1100 * MS), MG_BREAKER_OPEN);
    mg_breaker_free(b);
}

static void a_late_outcome_changes_nothing(void **state)
{
    const mg_breaker_conf conf = conf_of(2, 2);
    mg_breaker *b = breaker_of(&conf);
    const uint64_t old = mg_breaker_ask(b, 0);
    uint64_t probe;

    (void)state;
    call(b, MG_BREAKER_FAIL, 0);
    call(b, MG_BREAKER_FAIL, 0);
    probe = mg_breaker_ask(b, 1000 * MS);
    assert_false(mg_breaker_end(b, old, MG_BREAKER_FAIL, 0, 1001 * MS));
    assert_false(mg_breaker_end(b, old, MG_BREAKER_OK, 0, 1001 * MS));
    assert_int_equal(mg_breaker_now(b, 1001 * MS), MG_BREAKER_HALF_OPEN);
    assert_true(mg_breaker_end(b, probe, MG_BREAKER_OK, 0, 1002 * MS));
    assert_true(call(b, MG_BREAKER_OK, 1003));
    assert_int_equal(mg_breaker_now(b, 1003 * MS), MG_BREAKER_CLOSED);
    /* closed as it was, but another closed: the first call's view is gone */
    assert_false(mg_breaker_end(b, old, MG_BREAKER_FAIL, 0, 1004 * MS));
    mg_breaker_free(b);
}

static void an_operator_has_the_last_word_until_it_is_taken_back(void **state)
{
    const mg_breaker_conf conf = conf_of(1, 1);
    mg_breaker *b = breaker_of(&conf);
    uint64_t before = mg_breaker_ask(b, 0);

    (void)state;
    mg_breaker_force(b, MG_BREAKER_FORCED_OPEN, 0);
    assert_false(mg_breaker_ask(b, 1000000 * MS));
    assert_true(mg_breaker_retry_after_ms(b, 0) == UINT64_MAX);
    assert_false(mg_breaker_end(b, before, MG_BREAKER_FAIL, 0, 0));
    mg_breaker_force(b, MG_BREAKER_FORCED_CLOSED, 0);
    for (unsigned i = 0; i < 9; i++)
        assert_true(call(b, MG_BREAKER_FAIL, i));
    assert_int_equal(mg_breaker_now(b, 0), MG_BREAKER_FORCED_CLOSED);
    mg_breaker_force(b, MG_BREAKER_CLOSED, 0);
    assert_true(call(b, MG_BREAKER_FAIL, 0));
    assert_int_equal(mg_breaker_now(b, 0), MG_BREAKER_OPEN);
    assert_string_equal(mg_breaker_state_name(MG_BREAKER_HALF_OPEN), "half_open");
    mg_breaker_free(b);
}

static void a_reload_keeps_the_state_and_shortens_what_is_open(void **state)
{
    mg_breaker_conf conf = conf_of(1, 1);
    mg_breaker *b = breaker_of(&conf), *next;

    (void)state;
    call(b, MG_BREAKER_FAIL, 0);
    conf.open_ms = conf.open_max_ms = 100;
    next = mg_breaker_next(b, &conf, 0, NULL);
    mg_breaker_free(b);
    assert_int_equal(mg_breaker_now(next, 0), MG_BREAKER_OPEN);
    assert_int_equal(mg_breaker_retry_after_ms(next, 0), 100);
    conf.open_max_ms = 60000;
    b = mg_breaker_next(next, &conf, 0, NULL);
    assert_int_equal(mg_breaker_retry_after_ms(b, 0), 100);
    mg_breaker_free(next);
    mg_breaker_free(b);
}

static void a_reload_that_asks_for_fewer_probes_is_content_with_those_that_were(void **state)
{
    mg_breaker_conf conf = conf_of(1, 3);
    mg_breaker *b = breaker_of(&conf), *next;

    (void)state;
    call(b, MG_BREAKER_FAIL, 0);
    call(b, MG_BREAKER_OK, 1000);
    call(b, MG_BREAKER_OK, 1000);
    assert_int_equal(mg_breaker_now(b, 1000 * MS), MG_BREAKER_HALF_OPEN);
    conf.half_open_probes = 2;
    next = mg_breaker_next(b, &conf, 1000 * MS, NULL);
    assert_true(call(next, MG_BREAKER_OK, 1001));
    assert_int_equal(mg_breaker_now(next, 1001 * MS), MG_BREAKER_CLOSED);
    mg_breaker_free(b);
    mg_breaker_free(next);
}

static void a_reload_keeps_the_window_while_its_measures_stay(void **state)
{
    mg_breaker_conf conf;
    mg_breaker *b, *same, *other;

    (void)state;
    for (int mode = MG_BREAKER_TIME_WINDOW; mode <= MG_BREAKER_COUNT_WINDOW; mode++) {
        mg_breaker_conf_defaults(&conf, (mg_breaker_mode)mode);
        conf.min_calls = 4;
        b = breaker_of(&conf);
        for (unsigned i = 0; i < 3; i++)
            call(b, MG_BREAKER_FAIL, i);
        conf.failure_bp = 9000;
        same = mg_breaker_next(b, &conf, 0, NULL);
        mg_breaker_free(b);
        call(same, MG_BREAKER_FAIL, 3);
        assert_int_equal(mg_breaker_now(same, 3 * MS), MG_BREAKER_OPEN);
        mg_breaker_force(same, MG_BREAKER_CLOSED, 4 * MS);
        for (unsigned i = 0; i < 3; i++)
            call(same, MG_BREAKER_FAIL, 5);
        conf.buckets = 5;
        conf.window_calls = 50;
        other = mg_breaker_next(same, &conf, 0, NULL);
        mg_breaker_free(same);
        call(other, MG_BREAKER_FAIL, 6);
        assert_int_equal(mg_breaker_now(other, 6 * MS), MG_BREAKER_CLOSED);
        mg_breaker_free(other);
    }
}

static void a_window_forgets_what_came_before_it_closed(void **state)
{
    mg_breaker_conf conf;
    mg_breaker *b;

    (void)state;
    for (int mode = MG_BREAKER_TIME_WINDOW; mode <= MG_BREAKER_COUNT_WINDOW; mode++) {
        mg_breaker_conf_defaults(&conf, (mg_breaker_mode)mode);
        conf.min_calls = 3;
        conf.half_open_probes = 1;
        conf.open_ms = 1;
        conf.open_jitter_bp = 0;
        b = breaker_of(&conf);
        for (unsigned i = 0; i < 3; i++)
            call(b, MG_BREAKER_FAIL, 0);
        assert_true(call(b, MG_BREAKER_OK, 1)); /* the probe */
        assert_true(call(b, MG_BREAKER_FAIL, 1));
        assert_true(call(b, MG_BREAKER_FAIL, 1));
        assert_int_equal(mg_breaker_now(b, MS), MG_BREAKER_CLOSED);
        assert_true(
            call(b, MG_BREAKER_OK, 1)); /* two of three: a success may bring the count that is wanted */
        assert_int_equal(mg_breaker_now(b, MS), MG_BREAKER_OPEN);
        mg_breaker_free(b);
    }
}

static void a_call_that_ends_by_a_clock_behind_the_others_counts_at_once(void **state)
{
    mg_breaker_conf conf;
    mg_breaker *b;

    (void)state;
    mg_breaker_conf_defaults(&conf, MG_BREAKER_TIME_WINDOW);
    conf.min_calls = 6;
    b = breaker_of(&conf);
    call(b, MG_BREAKER_OK, 500);
    call(b, MG_BREAKER_OK, 1500); /* knows what the first second held */
    call(b, MG_BREAKER_FAIL, 900);
    for (uint64_t ms = 1600; ms < 1800; ms += 100)
        call(b, MG_BREAKER_FAIL, ms);
    assert_int_equal(mg_breaker_now(b, 1800 * MS), MG_BREAKER_CLOSED);
    call(b, MG_BREAKER_OK, 1800);
    assert_int_equal(mg_breaker_now(b, 1800 * MS), MG_BREAKER_OPEN);
    mg_breaker_free(b);
}

static void a_window_that_was_idle_for_long_counts_from_nothing(void **state)
{
    static const uint64_t later_ms[] = { 9000, 11000, 1000ull << 30 };
    mg_breaker_conf conf;
    mg_breaker *b;

    (void)state;
    mg_breaker_conf_defaults(&conf, MG_BREAKER_TIME_WINDOW);
    conf.min_calls = 3;
    for (size_t i = 0; i < mg_countof(later_ms); i++) {
        b = breaker_of(&conf);
        for (uint64_t ms = 500; ms < 2500; ms += 1000)
            call(b, MG_BREAKER_FAIL, ms);
        call(b, MG_BREAKER_FAIL, later_ms[i] + 2500);
        call(b, MG_BREAKER_FAIL, later_ms[i] + 3500);
        assert_int_equal(mg_breaker_now(b, (later_ms[i] + 3500) * MS), MG_BREAKER_CLOSED);
        call(b, MG_BREAKER_FAIL, later_ms[i] + 4500);
        assert_int_equal(mg_breaker_now(b, (later_ms[i] + 4500) * MS), MG_BREAKER_OPEN);
        mg_breaker_free(b);
    }
}

static void every_field_has_its_range(void **state)
{
    mg_breaker_conf conf;
    mg_error err = MG_ERROR_INIT;

    (void)state;
    conf = conf_of(1, 0);
    assert_null(mg_breaker_new(&conf, &err));
    assert_string_equal(err.message, "probes: wants 1 to 1000");
    conf = conf_of(1, 1);
    conf.open_max_ms = conf.open_ms - 1;
    assert_null(mg_breaker_new(&conf, NULL));
    conf = conf_of(1, 1);
    conf.open_backoff_milli = 999;
    assert_null(mg_breaker_new(&conf, NULL));
    conf = conf_of(1, 1);
    conf.open_jitter_bp = 5001;
    assert_null(mg_breaker_new(&conf, NULL));
    conf = conf_of(1, 1);
    conf.buckets = 7;
    assert_null(mg_breaker_new(&conf, &err));
    assert_string_equal(err.message, "buckets: wants 2 to 60, a number that divides the window");
    conf = conf_of(1, 1);
    conf.failure_bp = 0;
    assert_null(mg_breaker_new(&conf, NULL));
    conf = conf_of(1, 1);
    conf.half_open_max_ms = 0;
    assert_null(mg_breaker_new(&conf, NULL));
}

static void every_change_is_counted_under_its_reason(void **state)
{
    static const uint32_t want[MG_BREAKER_REASONS] = {
        [MG_BREAKER_BY_FAILURES] = 1,   [MG_BREAKER_BY_ANOMALY] = 1,      [MG_BREAKER_BY_PROBE_FAILED] = 1,
        [MG_BREAKER_BY_PROBE_TIME] = 1, [MG_BREAKER_BY_OPEN_OVER] = 4,    [MG_BREAKER_BY_RECOVERY] = 2,
        [MG_BREAKER_BY_FORCE_OPEN] = 1, [MG_BREAKER_BY_FORCE_CLOSED] = 1, [MG_BREAKER_BY_FORCE_AUTO] = 1,
    };
    mg_breaker_conf conf = conf_of(1, 1);
    mg_breaker *b;

    (void)state;
    conf.open_ms = conf.open_max_ms = 1000;
    conf.half_open_max_ms = 500;
    b = breaker_of(&conf);
    (void)call(b, MG_BREAKER_FAIL, 0);            /* open */
    (void)call(b, MG_BREAKER_FAIL, 1000);         /* probed, open */
    (void)mg_breaker_ask(b, 2000 * MG_NS_PER_MS); /* probed, and not decided */
    (void)call(b, MG_BREAKER_OK, 3500);           /* that was noticed; probed, closed */
    assert_true(mg_breaker_trip(b, 4000 * MG_NS_PER_MS));
    (void)call(b, MG_BREAKER_OK, 5000);
    mg_breaker_force(b, MG_BREAKER_FORCED_OPEN, 6000 * MG_NS_PER_MS);
    mg_breaker_force(b, MG_BREAKER_FORCED_CLOSED, 6000 * MG_NS_PER_MS);
    mg_breaker_force(b, MG_BREAKER_CLOSED, 6000 * MG_NS_PER_MS);
    for (mg_breaker_reason reason = 0; reason < MG_BREAKER_REASONS; reason++)
        assert_int_equal(mg_breaker_changes(b, reason), want[reason]);
    assert_string_equal(mg_breaker_reason_name(MG_BREAKER_BY_ANOMALY), "anomaly");
    assert_int_equal(mg_breaker_reason_leads_to(MG_BREAKER_BY_RECOVERY), MG_BREAKER_CLOSED);
    mg_breaker_free(b);
}

static void off_never_opens(void **state)
{
    const mg_breaker_conf conf = conf_of(0, 1);
    mg_breaker *b = breaker_of(&conf);

    (void)state;
    for (unsigned i = 0; i < 100; i++)
        assert_true(call(b, MG_BREAKER_FAIL, i));
    mg_breaker_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_success_between_ends_the_run_and_an_ignored_call_does_not),
        cmocka_unit_test(each_failed_half_open_doubles_the_wait_up_to_the_longest),
        cmocka_unit_test(who_is_refused_is_never_told_to_wait_longer_than_it_opens),
        cmocka_unit_test(the_backoff_may_be_a_fraction_or_none),
        cmocka_unit_test(the_jitter_lengthens_and_is_the_same_again_from_its_seed),
        cmocka_unit_test(nobody_waits_for_a_half_open_that_is_not_decided),
        cmocka_unit_test(a_slow_probe_counts_as_failed),
        cmocka_unit_test(a_late_outcome_changes_nothing),
        cmocka_unit_test(an_operator_has_the_last_word_until_it_is_taken_back),
        cmocka_unit_test(a_reload_keeps_the_state_and_shortens_what_is_open),
        cmocka_unit_test(a_reload_that_asks_for_fewer_probes_is_content_with_those_that_were),
        cmocka_unit_test(a_reload_keeps_the_window_while_its_measures_stay),
        cmocka_unit_test(a_window_forgets_what_came_before_it_closed),
        cmocka_unit_test(a_call_that_ends_by_a_clock_behind_the_others_counts_at_once),
        cmocka_unit_test(a_window_that_was_idle_for_long_counts_from_nothing),
        cmocka_unit_test(every_field_has_its_range),
        cmocka_unit_test(every_change_is_counted_under_its_reason),
        cmocka_unit_test(off_never_opens),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
