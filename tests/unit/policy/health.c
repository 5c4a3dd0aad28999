/* Which endpoints are up and which are out, by example (docs/policies.md 6). */
#include "policy/health.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

#include <math.h>

#define MS MG_NS_PER_MS

static void the_first_probe_decides_and_then_a_run_does(void **state)
{
    const mg_health_conf conf = { .unhealthy_after = 3, .healthy_after = 2 };
    mg_health up = { 0 }, down = { 0 };

    (void)state;
    check_str(mg_str_of(mg_health_state_name(up.state)), "unknown");
    assert_true(mg_health_result(&up, &conf, true));
    assert_int_equal(up.state, MG_HEALTH_UP);
    assert_true(mg_health_result(&down, &conf, false));
    assert_int_equal(down.state, MG_HEALTH_DOWN);
    assert_false(mg_health_result(&up, &conf, false));
    assert_false(mg_health_result(&up, &conf, false));
    assert_true(mg_health_result(&up, &conf, false));
    assert_int_equal(up.state, MG_HEALTH_DOWN);
}

static void probes_spread_by_a_tenth(void **state)
{
    (void)state;
    assert_int_equal(mg_health_interval_ms(5000, 0), 4500);
    assert_int_equal(mg_health_interval_ms(5000, 0.5), 5000);
    assert_in_range(mg_health_interval_ms(5000, 0.9999999), 5499, 5500);
}

static void figures_out_of_range_make_no_weight(void **state)
{
    double weight = 7;

    (void)state;
    assert_false(mg_health_weight(100, -0.1, 0, 0, &weight));
    assert_false(mg_health_weight(100, 0, 1.01, 0, &weight));
    assert_false(mg_health_weight(100, 0, 0, -1, &weight));
    assert_false(mg_health_weight(100, NAN, 0, 0, &weight));
    assert_false(mg_health_weight(100, 0, 0, NAN, &weight));
    assert_false(mg_health_weight(100, 0, 0, INFINITY, &weight));
    assert_float_equal(weight, 7, 1e-6);
}

static mg_ejection *ejection_of(size_t count, uint32_t consecutive, uint32_t percent)
{
    mg_ejection_conf conf;

    conf = ejection_defaults;
    conf.consecutive = consecutive;
    conf.max_percent = percent;
    conf.base_ms = 1000;
    conf.max_ms = 3000;
    conf.interval_ms = 500;
    return mg_ejection_new(&conf, count);
}

static void fails(mg_ejection *e, size_t endpoint, int times, uint64_t now_ms)
{
    while (times--)
        mg_ejection_result(e, endpoint, false, now_ms * MS);
}

static size_t out_at(const mg_ejection *e, size_t count, uint64_t now_ms)
{
    size_t out = 0;

    for (size_t i = 0; i < count; i++)
        out += mg_ejection_is_out(e, i, now_ms * MS);
    return out;
}

static void never_all_go_and_never_the_only_one(void **state)
{
    for (size_t count = 1; count <= 10; count++) {
        mg_ejection *e = ejection_of(count, 2, 100), *third = ejection_of(count, 2, 33);

        (void)state;
        for (size_t i = 0; i < count; i++) {
            fails(e, i, 5, 10);
            fails(third, i, 5, 10);
        }
        assert_int_equal(out_at(e, count, 10), count - 1);
        assert_int_equal(out_at(third, count, 10), count == 1 ? 0 : count < 7 ? 1 : count * 33 / 100);
        mg_ejection_free(e);
        mg_ejection_free(third);
    }
}

static void who_was_held_back_goes_with_its_next_failure(void **state)
{
    mg_ejection *e = ejection_of(4, 2, 33);

    (void)state;
    fails(e, 0, 2, 0);
    fails(e, 1, 2, 10);
    assert_false(mg_ejection_is_out(e, 1, 10 * MS));
    assert_false(mg_ejection_result(e, 1, false, 999 * MS));
    assert_true(mg_ejection_result(e, 1, false, 1000 * MS)); /* the other is back */
    mg_ejection_free(e);
}

static void a_success_ends_a_run_and_returning_clears_it(void **state)
{
    mg_ejection *e = ejection_of(4, 3, 33);

    (void)state;
    fails(e, 0, 2, 0);
    assert_false(mg_ejection_result(e, 0, true, 0));
    fails(e, 0, 2, 1);
    assert_int_equal(out_at(e, 4, 1), 0);
    fails(e, 0, 1, 2);
    assert_int_equal(mg_ejection_until_ns(e, 0, 2 * MS), 1002 * MS);
    fails(e, 0, 50, 500); /* panic sends requests there: they do not count */
    fails(e, 0, 2, 1002);
    assert_int_equal(out_at(e, 4, 1002), 0);
    fails(e, 0, 1, 1002);
    assert_int_equal(out_at(e, 4, 1002), 1);
    mg_ejection_free(e);
}

static void ejections_get_longer_and_good_standing_shortens_them(void **state)
{
    static const uint64_t lengths_ms[] = { 1000, 2000, 3000, 3000 };
    mg_ejection *e = ejection_of(4, 1, 33);
    uint64_t now_ms = 100;

    (void)state;
    for (size_t i = 0; i < mg_countof(lengths_ms); i++) {
        fails(e, 0, 1, now_ms);
        assert_int_equal(mg_ejection_until_ns(e, 0, now_ms * MS), (now_ms + lengths_ms[i]) * MS);
        now_ms += lengths_ms[i];
    }
    fails(e, 0, 1, now_ms + 1100); /* two whole intervals were good */
    assert_int_equal(mg_ejection_until_ns(e, 0, (now_ms + 1100) * MS), (now_ms + 1100 + 3000) * MS);
    now_ms += 1100 + 3000 + 60000;
    fails(e, 0, 1, now_ms);
    assert_int_equal(mg_ejection_until_ns(e, 0, now_ms * MS), (now_ms + 1000) * MS);
    mg_ejection_free(e);
}

static void serve(mg_ejection *e, size_t endpoint, int requests, int failures)
{
    for (int i = 0; i < requests; i++)
        mg_ejection_result(e, endpoint, i % (requests / (failures ? failures : 1)) || !failures, 0);
}

static void who_stands_out_by_failing_goes_at_the_end_of_an_interval(void **state)
{
    mg_ejection *e = ejection_of(6, 0, 33), *even = ejection_of(6, 0, 33), *few = ejection_of(4, 0, 33),
                *half = ejection_of(6, 0, 33);

    (void)state;
    for (size_t i = 0; i < 6; i++) {
        serve(e, i, 200, i == 2 ? 40 : 0);
        serve(even, i, 200, i == 2 ? 4 : 0); /* stands out, and fails two in a hundred */
        serve(half, i, 200, i % 2 ? 40 : 0); /* half of them fail: nobody stands out */
        if (i < 4)
            serve(few, i, 200, i == 2 ? 40 : 0);
    }
    assert_int_equal(mg_ejection_sweep(e, 0), 1);
    assert_true(mg_ejection_is_out(e, 2, 0));
    assert_int_equal(mg_ejection_sweep(e, 5000 * MS), 0); /* counted anew */
    assert_int_equal(mg_ejection_sweep(even, 0), 0);
    assert_int_equal(mg_ejection_sweep(few, 0), 0);
    assert_int_equal(mg_ejection_sweep(half, 0), 0);
    mg_ejection_free(half);
    mg_ejection_free(e);
    mg_ejection_free(even);
    mg_ejection_free(few);
}

static void a_restart_keeps_who_is_out_for_no_longer_than_the_rule_allows(void **state)
{
    mg_ejection *e = ejection_of(4, 1, 33), *next = ejection_of(4, 1, 33);
    mg_ejection_record record;

    (void)state;
    fails(e, 3, 1, 100);
    record = mg_ejection_read(e, 3);
    mg_ejection_restore(next, 3, record, 300 * MS);
    assert_int_equal(mg_ejection_until_ns(next, 3, 300 * MS), 1100 * MS);
    mg_ejection_restore(next, 2, record, 300 * MS); /* one of four may be out */
    assert_false(mg_ejection_is_out(next, 2, 300 * MS));
    fails(next, 3, 1, 1100);
    assert_int_equal(mg_ejection_until_ns(next, 3, 1100 * MS), 3100 * MS);
    mg_ejection_free(next);
    next = ejection_of(4, 1, 33);
    mg_ejection_restore(next, 0, (mg_ejection_record){ UINT64_MAX, UINT32_MAX }, 300 * MS);
    assert_int_equal(mg_ejection_until_ns(next, 0, 300 * MS), 3300 * MS);
    mg_ejection_free(e);
    mg_ejection_free(next);
}

static void who_stays_in_a_later_set_keeps_its_record(void **state)
{
    mg_ejection *old = ejection_of(3, 3, 100), *next = ejection_of(2, 3, 100);

    (void)state;
    fails(old, 0, 2, 10);
    fails(old, 2, 3, 10);
    assert_true(mg_ejection_is_out(old, 2, 10 * MS));
    mg_ejection_take_over(next, 0, old, 2, 10 * MS);
    mg_ejection_take_over(next, 1, old, 0, 10 * MS);
    assert_true(mg_ejection_is_out(next, 0, 10 * MS));
    assert_true(mg_ejection_until_ns(next, 0, 10 * MS) == mg_ejection_until_ns(old, 2, 10 * MS));
    assert_int_equal(mg_ejection_read(next, 0).times, 1);
    assert_false(mg_ejection_is_out(next, 1, 10 * MS));
    /* The third failure in a row, when the other one is back. */
    assert_true(mg_ejection_result(next, 1, false, 400 * MG_NS_PER_S));
    mg_ejection_free(old);
    mg_ejection_free(next);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_probe_decides_and_then_a_run_does),
        cmocka_unit_test(probes_spread_by_a_tenth),
        cmocka_unit_test(figures_out_of_range_make_no_weight),
        cmocka_unit_test(never_all_go_and_never_the_only_one),
        cmocka_unit_test(who_was_held_back_goes_with_its_next_failure),
        cmocka_unit_test(a_success_ends_a_run_and_returning_clears_it),
        cmocka_unit_test(ejections_get_longer_and_good_standing_shortens_them),
        cmocka_unit_test(who_stands_out_by_failing_goes_at_the_end_of_an_interval),
        cmocka_unit_test(a_restart_keeps_who_is_out_for_no_longer_than_the_rule_allows),
        cmocka_unit_test(who_stays_in_a_later_set_keeps_its_record),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
