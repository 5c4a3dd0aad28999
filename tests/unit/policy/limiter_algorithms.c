/* The limiter's other algorithms by example: windows, logs, queues and permits (docs/policies.md 4); the
 * vectors hold their arithmetic. */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

#define MS MG_NS_PER_MS

static mg_limiter_conf conf_of(mg_limiter_algorithm algorithm, uint64_t limit, uint64_t period_ms)
{
    mg_limiter_conf conf;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = limit;
    conf.period_ms = period_ms;
    conf.max_keys = 64;
    conf.overflow_cells = 2;
    return conf;
}

static mg_limiter *limiter_of(mg_limiter_algorithm algorithm, uint64_t limit, uint64_t period_ms)
{
    const mg_limiter_conf conf = conf_of(algorithm, limit, period_ms);
    mg_limiter *limiter = mg_limiter_new(&conf, NULL);

    assert_non_null(limiter);
    return limiter;
}

static bool take(mg_limiter *l, const char *key, uint32_t cost, uint64_t now_ms, mg_limiter_answer *a)
{
    return mg_limiter_take(l, key, strlen(key), cost, now_ms * MS, a);
}

static uint64_t left(const mg_limiter *l, const char *key, uint64_t now_ms)
{
    mg_limiter_answer a;

    mg_limiter_peek(l, key, strlen(key), 0, now_ms * MS, &a);
    return a.remaining;
}

static const mg_limiter_algorithm windows[] = { MG_LIMITER_SLIDING_WINDOW, MG_LIMITER_FIXED_WINDOW,
                                                MG_LIMITER_SLIDING_LOG };

static void a_clock_that_is_behind_does_not_open_an_old_window(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(windows); i++) {
        mg_limiter *l = limiter_of(windows[i], 4, 1000);
        mg_limiter_answer a;

        assert_true(take(l, "k", 4, 5000, &a));
        assert_false(take(l, "k", 1, 4100, &a));
        assert_in_range(a.retry_ms, 1, 2901);
        assert_false(take(l, "k", 1, 5000, &a));
        mg_limiter_free(l);
    }
}

static void looking_charges_nothing_and_keys_do_not_share(void **state)
{
    (void)state;
    for (int i = MG_LIMITER_TOKEN_BUCKET; i <= MG_LIMITER_CONCURRENCY; i++) {
        mg_limiter_conf conf = conf_of((mg_limiter_algorithm)i, 3, 1000);
        mg_limiter_answer a;
        mg_limiter *l;

        conf.max_wait_ms = i == MG_LIMITER_LEAKY ? 667 : 0;
        l = mg_limiter_new(&conf, NULL);
        assert_int_equal(left(l, "k", 100), 3);
        assert_true(take(l, "k", 1, 100, &a));
        assert_int_equal(left(l, "k", 100), 2);
        assert_int_equal(left(l, "k", 100), 2);
        assert_int_equal(left(l, "other", 100), 3);
        assert_true(take(l, "k", 2, 100, &a));
        assert_false(take(l, "k", 1, 100, &a));
        assert_true(take(l, "other", 1, 100, &a));
        assert_false(take(l, "other", 4, 100, &a));
        assert_int_equal(a.retry_ms, MG_LIMITER_NEVER);
        mg_limiter_free(l);
    }
}

static void what_was_given_back_may_be_taken_again(void **state)
{
    (void)state;
    for (int i = MG_LIMITER_TOKEN_BUCKET; i <= MG_LIMITER_CONCURRENCY; i++) {
        mg_limiter *l = limiter_of((mg_limiter_algorithm)i, 3, 1000);
        mg_limiter_answer first, second;
        const uint64_t full = left(l, "k", 100);

        assert_true(take(l, "k", 1, 100, &first));
        if (i != MG_LIMITER_LEAKY)
            assert_true(take(l, "k", 2, 101, &second));
        mg_limiter_give_back(l, &first);
        if (i != MG_LIMITER_LEAKY)
            mg_limiter_give_back(l, &second);
        assert_int_equal(left(l, "k", 101), full);
        mg_limiter_give_back(l, &first); /* windows count no less than nothing */
        assert_int_equal(left(l, "k", 101), full);
        mg_limiter_free(l);
    }
}

static void the_last_window_gives_back_what_it_counted(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_SLIDING_WINDOW, 10, 1000);
    mg_limiter_answer a, b;

    (void)state;
    assert_true(take(l, "k", 10, 900, &a));
    assert_int_equal(left(l, "k", 1500), 5);
    assert_true(take(l, "k", 1, 1500, &b));
    mg_limiter_give_back(l, &a);
    assert_int_equal(left(l, "k", 1500), 9);
    assert_true(take(l, "k", 1, 2500, &a));
    assert_true(take(l, "k", 1, 3500, &a));
    mg_limiter_give_back(l, &b); /* its window is two behind */
    assert_int_equal(left(l, "k", 3500), 8);
    mg_limiter_free(l);
}

static void permits_come_back_exactly_once(void **state)
{
    mg_limiter *l = limiter_of(MG_LIMITER_CONCURRENCY, 2, 0);
    mg_limiter_answer first, second, third;

    (void)state;
    assert_true(take(l, "k", 1, 0, &first));
    assert_true(take(l, "k", 1, 0, &second));
    assert_false(take(l, "k", 1, 99999999, &third));
    assert_int_equal(third.retry_ms, 1000);
    mg_limiter_release(l, &third); /* it has none */
    assert_false(take(l, "k", 1, 0, &third));
    mg_limiter_release(l, &first);
    mg_limiter_release(l, &first);
    assert_true(take(l, "k", 1, 0, &third));
    assert_false(take(l, "k", 1, 0, &first));
    assert_int_equal(mg_limiter_keys(l, 0), 1);
    mg_limiter_release(l, &second);
    mg_limiter_release(l, &third);
    assert_int_equal(mg_limiter_keys(l, 0), 0);
    mg_limiter_free(l);
}

static void permits_that_are_out_come_back_after_a_reload(void **state)
{
    mg_limiter_conf conf = conf_of(MG_LIMITER_CONCURRENCY, 2, 0);
    mg_limiter *old = mg_limiter_new(&conf, NULL), *l;
    mg_limiter_answer a, b;

    (void)state;
    assert_true(take(old, "k", 2, 0, &a));
    conf.limit = 3;
    conf.max_keys = 4096;
    l = mg_limiter_next(old, &conf, 0, NULL);
    assert_int_equal(left(l, "k", 0), 1);
    mg_limiter_release(old, &a);
    assert_true(take(l, "k", 3, 0, &b));
    mg_limiter_release(l, &b);
    assert_int_equal(left(l, "k", 0), 3);
    mg_limiter_free(old);
    mg_limiter_free(l);
}

static void keys_without_a_slot_share_cells_of_the_same_kind(void **state)
{
    (void)state;
    for (int i = MG_LIMITER_TOKEN_BUCKET; i <= MG_LIMITER_CONCURRENCY; i++) {
        mg_limiter_conf conf = conf_of((mg_limiter_algorithm)i, 1, 1000);
        mg_limiter_answer a, b;
        mg_limiter *l;

        conf.max_keys = conf.overflow_cells = 1;
        l = mg_limiter_new(&conf, NULL);
        assert_true(take(l, "a", 1, 0, &a));
        assert_int_equal(a.via, MG_LIMITER_VIA_OWN);
        assert_true(take(l, "b", 1, 0, &b));
        assert_int_equal(b.via, MG_LIMITER_VIA_OVERFLOW);
        assert_false(take(l, "c", 1, 0, &a));
        assert_int_equal(a.via, MG_LIMITER_VIA_OVERFLOW);
        mg_limiter_give_back(l, &b);
        assert_true(take(l, "c", 1, 0, &a));
        mg_limiter_free(l);
    }
}

static void what_a_key_had_used_outlives_a_change_of_the_algorithm(void **state)
{
    (void)state;
    for (int from = MG_LIMITER_TOKEN_BUCKET; from < MG_LIMITER_CONCURRENCY; from++) {
        for (int to = MG_LIMITER_TOKEN_BUCKET; to < MG_LIMITER_CONCURRENCY; to++) {
            mg_limiter_conf conf = conf_of((mg_limiter_algorithm)from, 10, 10000);
            mg_limiter *old, *l;
            mg_limiter_answer a;

            conf.max_wait_ms = 10000;
            old = mg_limiter_new(&conf, NULL);
            assert_true(take(old, "k", 6, 100, &a));
            conf.algorithm = (mg_limiter_algorithm)to;
            conf.max_keys = 128; /* another table, were the algorithm the same */
            l = mg_limiter_next(old, &conf, 100 * MS, NULL);
            assert_int_equal(left(l, "fresh", 100), 10);
            assert_in_range(left(l, "k", 100), 4, 5); /* a queue counts its head */
            assert_true(left(l, "k", 25000) >= 10);
            mg_limiter_free(old);
            mg_limiter_free(l);
        }
    }
}

static void a_lower_limit_lowers_what_windows_count(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(windows); i++) {
        mg_limiter_conf conf = conf_of(windows[i], 10, 1000);
        mg_limiter *old = mg_limiter_new(&conf, NULL), *lower, *higher;
        mg_limiter_answer a;

        assert_true(take(old, "k", 8, 100, &a));
        conf.limit = 4;
        lower = mg_limiter_next(old, &conf, 100 * MS, NULL);
        assert_int_equal(left(lower, "k", 100), 0);
        conf.limit = 20;
        higher = mg_limiter_next(lower, &conf, 100 * MS, NULL);
        assert_int_equal(left(higher, "k", 100), 16);
        mg_limiter_free(old);
        mg_limiter_free(lower);
        mg_limiter_free(higher);
    }
}

static void a_refused_configuration_says_which_field(const mg_limiter_conf *conf, const char *field)
{
    mg_error err = MG_ERROR_INIT;

    assert_null(mg_limiter_new(conf, &err));
    assert_memory_equal(err.message, field, strlen(field));
}

static void windows_logs_and_permits_have_ranges_of_their_own(void **state)
{
    mg_limiter_conf conf = conf_of(MG_LIMITER_FIXED_WINDOW, (1 << 24) + 1, 60000);
    mg_limiter *l;

    (void)state;
    a_refused_configuration_says_which_field(&conf, "quota");
    conf.algorithm = MG_LIMITER_SLIDING_LOG;
    conf.limit = 1001;
    a_refused_configuration_says_which_field(&conf, "quota");
    conf.max_entries = 10001;
    a_refused_configuration_says_which_field(&conf, "max_entries");
    conf.limit = conf.max_entries = 10000;
    conf.overflow_cells = 65536;
    a_refused_configuration_says_which_field(&conf, "overflow_cells");
    conf.algorithm = (mg_limiter_algorithm)6;
    a_refused_configuration_says_which_field(&conf, "algorithm");
    conf = conf_of(MG_LIMITER_CONCURRENCY, 0, 0);
    a_refused_configuration_says_which_field(&conf, "rate");
    conf.limit = 5;
    l = mg_limiter_new(&conf, NULL);
    assert_int_equal(mg_limiter_quota(l), 5);
    assert_int_equal(mg_limiter_window_ms(l), 0);
    mg_limiter_free(l);
    conf = conf_of(MG_LIMITER_FIXED_WINDOW, 7, 60000);
    l = mg_limiter_new(&conf, NULL);
    assert_int_equal(mg_limiter_quota(l), 7);
    assert_int_equal(mg_limiter_window_ms(l), 60000);
    mg_limiter_free(l);
}

static void a_window_is_full_again_when_it_says_so(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(windows); i++) {
        mg_limiter *l = limiter_of(windows[i], 10, 1000);
        mg_limiter_answer a;

        assert_true(take(l, "k", 3, 1200, &a));
        assert_true(left(l, "k", 1200 + a.reset_ms - 1) < 10);
        assert_int_equal(left(l, "k", 1200 + a.reset_ms), 10);
        mg_limiter_free(l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_clock_that_is_behind_does_not_open_an_old_window),
        cmocka_unit_test(looking_charges_nothing_and_keys_do_not_share),
        cmocka_unit_test(what_was_given_back_may_be_taken_again),
        cmocka_unit_test(the_last_window_gives_back_what_it_counted),
        cmocka_unit_test(permits_come_back_exactly_once),
        cmocka_unit_test(permits_that_are_out_come_back_after_a_reload),
        cmocka_unit_test(keys_without_a_slot_share_cells_of_the_same_kind),
        cmocka_unit_test(what_a_key_had_used_outlives_a_change_of_the_algorithm),
        cmocka_unit_test(a_lower_limit_lowers_what_windows_count),
        cmocka_unit_test(windows_logs_and_permits_have_ranges_of_their_own),
        cmocka_unit_test(a_window_is_full_again_when_it_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
