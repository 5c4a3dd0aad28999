/* The key-value store: what plugins are answered, and what is refused them. */
#include "kv_fixture.h"

#include <math.h>

static double incr(mg_kv_space *space, const char *key, double delta, double ttl_s)
{
    double result;

    assert_null(mg_kv_incr(space, key, (uint32_t)strlen(key), delta, ttl_s, &result));
    return result;
}

static bool cas(mg_kv_space *space, const char *key, const char *expected, const char *value)
{
    bool swapped;

    assert_null(mg_kv_cas(space, key, (uint32_t)strlen(key), expected,
                          expected ? (uint32_t)strlen(expected) : 0, value,
                          value ? (uint32_t)strlen(value) : 0, 0, &swapped));
    return swapped;
}

/* ---- deciding; each over memory and over a store with and without a flush between the steps ---- */

enum { IN_MEMORY, PENDING, FLUSHED, MODES };

static void begin_mode(fixture *f, int mode)
{
    begin(f, mode != IN_MEMORY);
}

static void step(fixture *f, int mode)
{
    if (mode == FLUSHED)
        flush(f);
}

static void what_is_set_is_read_until_it_is_deleted(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        check_value(f.space, "k", NULL);
        set(f.space, "k", "one");
        step(&f, mode);
        check_value(f.space, "k", "one");
        set(f.space, "k", "");
        step(&f, mode);
        check_value(f.space, "k", "");
        del(f.space, "k");
        step(&f, mode);
        check_value(f.space, "k", NULL);
        del(f.space, "k");
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

static void increments_count_from_nothing_and_go_below_zero(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        assert_true(incr(f.space, "n", 5, 0) == 5);
        step(&f, mode);
        assert_true(incr(f.space, "n", -7, 0) == -2);
        step(&f, mode);
        assert_true(incr(f.space, "n", 0, 0) == -2);
        check_value(f.space, "n", "-2");
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

static void a_swap_happens_only_on_what_is_expected(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        assert_false(cas(f.space, "k", "absent", "x"));
        assert_true(cas(f.space, "k", NULL, "one"));
        step(&f, mode);
        assert_false(cas(f.space, "k", NULL, "two"));
        assert_false(cas(f.space, "k", "on", "two"));
        assert_true(cas(f.space, "k", "one", "two"));
        step(&f, mode);
        assert_false(cas(f.space, "k", "one", NULL));
        check_value(f.space, "k", "two");
        assert_true(cas(f.space, "k", "two", NULL));
        check_value(f.space, "k", NULL);
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

static void namespaces_do_not_see_each_other_and_handles_of_one_do(void **state)
{
    fixture f;
    mg_kv_space *other, *same;

    (void)state;
    begin(&f, true);
    other = mg_kv_open(f.kv, MG_STR("other"), NULL);
    same = mg_kv_open(f.kv, MG_STR("plugin"), NULL);
    set(f.space, "k", "mine");
    check_value(other, "k", NULL);
    check_value(same, "k", "mine");
    set(other, "k", "theirs");
    flush(&f);
    check_value(f.space, "k", "mine");
    check_value(other, "k", "theirs");
    mg_kv_space_free(other);
    mg_kv_space_free(same);
    close_kv(&f);
}

static void a_value_is_gone_when_its_time_is_over(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        assert_null(set_for(f.space, "k", "soon gone", 1.5));
        step(&f, mode);
        mg_fake_clock_advance(&f.clock, 1499 * MG_NS_PER_MS);
        check_value(f.space, "k", "soon gone");
        mg_fake_clock_advance(&f.clock, 1 * MG_NS_PER_MS);
        check_value(f.space, "k", NULL);
        assert_true(cas(f.space, "k", NULL, "again"));
        check_value(f.space, "k", "again");
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

static void a_counter_keeps_the_end_of_its_window(void **state)
{
    fixture f;

    (void)state;
    begin(&f, false);
    incr(f.space, "hits", 1, 10);
    mg_fake_clock_advance(&f.clock, 9 * MG_NS_PER_S);
    assert_true(incr(f.space, "hits", 1, 10) == 2);
    mg_fake_clock_advance(&f.clock, 1 * MG_NS_PER_S);
    assert_true(incr(f.space, "hits", 1, 10) == 1);
    close_kv(&f);
}

static void values_past_their_time_are_dropped_by_flushes_and_free_their_quota(void **state)
{
    mg_kv_stats stats;

    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        for (int i = 0; i < 500; i++) {
            char key[16];
            snprintf(key, sizeof(key), "k%d", i);
            assert_null(set_for(f.space, key, "v", i % 2 ? 60 : 0));
        }
        step(&f, mode);
        const double full = mg_kv_used_bytes(f.space);
        mg_fake_clock_advance(&f.clock, 61 * MG_NS_PER_S);
        for (int i = 0; i < 64 + 2; i++) /* in memory a flush looks at one shard */
            flush(&f);
        mg_kv_stats_get(f.kv, &stats);
        assert_int_equal(stats.expired, 250);
        assert_int_equal(stats.pending, mode == IN_MEMORY ? 250 : 0);
        assert_true(mg_kv_used_bytes(f.space) < full * 0.51);
        if (mode != IN_MEMORY) {
            reopen(&f);
            assert_true(mg_kv_used_bytes(f.space) < full * 0.51);
        }
        check_value(f.space, "k0", "v");
        check_value(f.space, "k1", NULL);
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

/* ---- bounds ---- */

static void keys_values_names_and_times_are_bounded(void **state)
{
    fixture f;
    char *big = mg_calloc(1, MG_KV_VALUE_MAX + 1);
    mg_slice value;
    bool swapped;

    (void)state;
    begin(&f, false);
    memset(big, 'b', MG_KV_VALUE_MAX + 1);
    assert_non_null(mg_kv_set(f.space, "", 0, "v", 1, 0));
    assert_null(mg_kv_set(f.space, big, MG_KV_KEY_MAX, "v", 1, 0));
    assert_non_null(mg_kv_set(f.space, big, MG_KV_KEY_MAX + 1, "v", 1, 0));
    assert_non_null(mg_kv_get(f.space, big, MG_KV_KEY_MAX + 1, &value));
    assert_non_null(mg_kv_delete(f.space, big, MG_KV_KEY_MAX + 1));
    assert_null(mg_kv_set(f.space, "k", 1, big, MG_KV_VALUE_MAX, 0));
    assert_non_null(mg_kv_set(f.space, "k", 1, big, MG_KV_VALUE_MAX + 1, 0));
    assert_non_null(mg_kv_cas(f.space, "c", 1, NULL, 0, big, MG_KV_VALUE_MAX + 1, 0, &swapped));
    assert_false(swapped);
    assert_non_null(set_for(f.space, "k", "v", -1));
    assert_non_null(set_for(f.space, "k", "v", 1e300));
    assert_non_null(set_for(f.space, "k", "v", (double)NAN));
    assert_null(mg_kv_open(f.kv, MG_STR(""), NULL));
    assert_null(mg_kv_open(f.kv, mg_str_make(big, MG_KV_NAME_MAX + 1), NULL));
    assert_null(mg_kv_open(f.kv, mg_str_make("a\0b", 3), NULL));
    mg_free(big);
    close_kv(&f);
}

static void keys_are_bytes(void **state)
{
    fixture f;
    mg_slice value;

    (void)state;
    begin(&f, true);
    assert_null(mg_kv_set(f.space, "a\0b", 3, "\0\1", 2, 0));
    flush(&f);
    reopen(&f);
    assert_null(mg_kv_get(f.space, "a\0b", 3, &value));
    assert_int_equal(value.n, 2);
    assert_memory_equal(value.p, "\0\1", 2);
    check_value(f.space, "a", NULL);
    close_kv(&f);
}

static void only_whole_numbers_up_to_2_to_the_53_are_counted(void **state)
{
    fixture f;
    const double max = 9007199254740992.0;
    double result;

    (void)state;
    begin(&f, false);
    set(f.space, "text", "12a");
    assert_non_null(mg_kv_incr(f.space, "text", 4, 1, 0, &result));
    check_value(f.space, "text", "12a");
    assert_non_null(mg_kv_incr(f.space, "n", 1, 0.5, 0, &result));
    assert_non_null(mg_kv_incr(f.space, "n", 1, (double)NAN, 0, &result));
    assert_true(incr(f.space, "n", max, 0) == max);
    assert_non_null(mg_kv_incr(f.space, "n", 1, max, 0, &result));
    check_value(f.space, "n", "9007199254740992");
    assert_true(incr(f.space, "n", -max, 0) == 0);
    close_kv(&f);
}

static void a_full_namespace_refuses_more_but_lets_others_and_smaller_values_pass(void **state)
{
    fixture f;

    (void)state;
    begin(&f, true);
    close_kv(&f);
    open_kv(&f, true, 0, 200);
    mg_kv_space *other = mg_kv_open(f.kv, MG_STR("other"), NULL);

    set(f.space, "a", "0123456789"); /* 1 + 10 + 32 */
    assert_true(mg_kv_used_bytes(f.space) == 43);
    set(f.space, "b", "0123456789");
    set(f.space, "c", "0123456789");
    set(f.space, "d", "0123456789");
    assert_non_null(set_for(f.space, "e", "", 0)); /* 172 + 33 */
    flush(&f);
    assert_non_null(set_for(f.space, "e", "", 0));
    assert_null(set_for(f.space, "a", "01234567890123456789", 0));
    assert_true(mg_kv_used_bytes(f.space) == 182);
    set(other, "e", "here is room");
    del(f.space, "b");
    set(f.space, "e", "");
    mg_kv_space_free(other);
    flush(&f);
    close_kv(&f);

    open_kv(&f, true, 0, 200); /* and what is used is counted again */
    assert_true(mg_kv_used_bytes(f.space) == 182 - 43 + 33);
    close_kv(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_set_is_read_until_it_is_deleted),
        TEST(increments_count_from_nothing_and_go_below_zero),
        TEST(a_swap_happens_only_on_what_is_expected),
        TEST(namespaces_do_not_see_each_other_and_handles_of_one_do),
        TEST(a_value_is_gone_when_its_time_is_over),
        TEST(a_counter_keeps_the_end_of_its_window),
        TEST(values_past_their_time_are_dropped_by_flushes_and_free_their_quota),
        TEST(keys_values_names_and_times_are_bounded),
        TEST(keys_are_bytes),
        TEST(only_whole_numbers_up_to_2_to_the_53_are_counted),
        TEST(a_full_namespace_refuses_more_but_lets_others_and_smaller_values_pass),
    };
    return cmocka_run_group_tests_name("gateway/kv", tests, NULL, NULL);
}
