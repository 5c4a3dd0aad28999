/* Clocks and dates. */
#include "support/check.h"

#include "base/time.h"

#define DAY_NS (86400 * (int64_t)MG_NS_PER_S)

static void the_fake_clock_moves_when_told(void **state)
{
    mg_fake_clock fake;

    (void)state;
    mg_fake_clock_init(&fake, 5, -7);
    assert_int_equal(fake.clock.mono_ns(&fake.clock), 5);
    assert_int_equal(fake.clock.wall_ns(&fake.clock), -7);
    mg_fake_clock_advance(&fake, 10);
    assert_int_equal(fake.clock.mono_ns(&fake.clock), 15);
    assert_int_equal(fake.clock.wall_ns(&fake.clock), 3);
    mg_fake_clock_advance(&fake, UINT64_MAX);
    assert_true(fake.clock.mono_ns(&fake.clock) == UINT64_MAX);
    assert_true(fake.clock.wall_ns(&fake.clock) == INT64_MAX);
}

static void the_real_clock_runs(void **state)
{
    const uint64_t before = mg_clock_real.mono_ns(&mg_clock_real);

    (void)state;
    assert_true(mg_clock_real.mono_ns(&mg_clock_real) >= before);
    assert_true(mg_clock_real.wall_ns(&mg_clock_real) > 19000 * DAY_NS);
}

static void policy_time_starts_at_zero(void **state)
{
    mg_policy_clock pc;
    mg_fake_clock fake;

    (void)state;
    mg_fake_clock_init(&fake, 123456, 99);
    mg_policy_clock_init(&pc, &fake.clock, NULL, "boot-a");
    assert_int_equal(mg_policy_clock_now(&pc), 0);
    mg_fake_clock_advance(&fake, 1000);
    assert_int_equal(mg_policy_clock_now(&pc), 1000);
}

/* What the policy clock shows after a restart, having shown 5000 at mono 1000 and wall 2000 in boot "a". */
static uint64_t after_restart(const char *boot, uint64_t mono_ns, int64_t wall_ns)
{
    const mg_policy_clock_saved saved = { 5000, 1000, 2000, "a" };
    mg_policy_clock pc;
    mg_fake_clock fake;

    mg_fake_clock_init(&fake, mono_ns, wall_ns);
    mg_policy_clock_init(&pc, &fake.clock, &saved, boot);
    return mg_policy_clock_now(&pc);
}

static void within_one_boot_the_monotonic_difference_counts(void **state)
{
    (void)state;
    assert_int_equal(after_restart("a", 1300, 999999), 5300);
    assert_int_equal(after_restart("a", 1300, -999999), 5300);
    assert_int_equal(after_restart("a", 900, 2000), 5000); /* a corrupt row; still not backwards */
}

static void after_a_reboot_the_wall_difference_counts_and_never_below_zero(void **state)
{
    (void)state;
    assert_int_equal(after_restart("b", 10, 2600), 5600);
    assert_int_equal(after_restart("b", 10, -5000), 5000);
    assert_int_equal(after_restart("b", 999999, 2000), 5000);
    assert_int_equal(after_restart("b", 10, INT64_MAX), 5000 + (uint64_t)INT64_MAX - 2000);
}

static void a_saved_clock_goes_on(void **state)
{
    mg_policy_clock pc;
    mg_policy_clock_saved saved;
    mg_fake_clock fake;

    (void)state;
    mg_fake_clock_init(&fake, 1000, 50);
    mg_policy_clock_init(&pc, &fake.clock, NULL, "a");
    mg_fake_clock_advance(&fake, 77);
    mg_policy_clock_save(&pc, "a", &saved);
    assert_int_equal(saved.policy_ns, 77);
    assert_string_equal(saved.boot_id, "a");
    mg_fake_clock_init(&fake, 3, 50 + 77 + 20); /* the machine booted again */
    mg_policy_clock_init(&pc, &fake.clock, &saved, "b");
    assert_int_equal(mg_policy_clock_now(&pc), 97);
}

static void two_unknown_boots_are_not_the_same(void **state)
{
    const mg_policy_clock_saved saved = { 5000, 1000, 2000, "unknown" };
    mg_policy_clock pc;
    mg_fake_clock fake;

    (void)state;
    mg_fake_clock_init(&fake, 900000, 2001);
    mg_policy_clock_init(&pc, &fake.clock, &saved, "unknown");
    assert_int_equal(mg_policy_clock_now(&pc), 5001);
}

static void the_boot_id_is_stable(void **state)
{
    char a[37], b[37];

    (void)state;
    mg_boot_id(a);
    mg_boot_id(b);
    assert_string_equal(a, b);
    assert_true(strlen(a) == 36 || strcmp(a, "unknown") == 0);
}

static void date_is(int64_t wall_ns, const char *http, const char *iso)
{
    char out[32];

    mg_http_date(out, wall_ns);
    assert_string_equal(out, http);
    mg_iso_time(out, wall_ns);
    assert_string_equal(out, iso);
}

static void dates_are_those_of_the_calendar(void **state)
{
    (void)state;
    date_is(784111777 * (int64_t)MG_NS_PER_S, "Sun, 06 Nov 1994 08:49:37 GMT", "1994-11-06T08:49:37.000Z");
    date_is(0, "Thu, 01 Jan 1970 00:00:00 GMT", "1970-01-01T00:00:00.000Z");
    date_is(-1, "Wed, 31 Dec 1969 23:59:59 GMT", "1969-12-31T23:59:59.999Z");
    date_is(1709164800 * (int64_t)MG_NS_PER_S + 123999999, "Thu, 29 Feb 2024 00:00:00 GMT",
            "2024-02-29T00:00:00.123Z");
    date_is(4107542400 * (int64_t)MG_NS_PER_S, "Mon, 01 Mar 2100 00:00:00 GMT", "2100-03-01T00:00:00.000Z");
    date_is(INT64_MAX, "Fri, 11 Apr 2262 23:47:16 GMT", "2262-04-11T23:47:16.854Z");
    date_is(INT64_MIN, "Tue, 21 Sep 1677 00:12:43 GMT", "1677-09-21T00:12:43.145Z");
}

static void sums_and_roundings_saturate(void **state)
{
    (void)state;
    assert_true(mg_add_sat(UINT64_MAX - 1, 2) == UINT64_MAX);
    assert_int_equal(mg_add_sat(1, 2), 3);
    assert_int_equal(mg_ms_ceil(1), 1);
    assert_int_equal(mg_ms_ceil(1000000), 1);
    assert_int_equal(mg_ms_ceil(1000001), 2);
    assert_int_equal(mg_ms_ceil(0), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fake_clock_moves_when_told),
        cmocka_unit_test(the_real_clock_runs),
        cmocka_unit_test(policy_time_starts_at_zero),
        cmocka_unit_test(within_one_boot_the_monotonic_difference_counts),
        cmocka_unit_test(after_a_reboot_the_wall_difference_counts_and_never_below_zero),
        cmocka_unit_test(a_saved_clock_goes_on),
        cmocka_unit_test(two_unknown_boots_are_not_the_same),
        cmocka_unit_test(the_boot_id_is_stable),
        cmocka_unit_test(dates_are_those_of_the_calendar),
        cmocka_unit_test(sums_and_roundings_saturate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
