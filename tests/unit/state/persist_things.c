/* Small things that outlive a process: stored when they change, by name, and not for ever. */
#include "persist_kept.h"

static void a_small_thing_is_stored_within_50_ms_of_a_change(void **state)
{
    thing t = { 0 }, again = { 0 }, other = { 0 };

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(t.reads, 0);
    memory_turn(&m);
    change(&t, 42);
    mg_fake_clock_advance(&m.clock, MG_PERSIST_LOOK_MS * MS);
    memory_turn(&m);
    change(&t, 43); /* not seen any more */
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "a");
    keep_thing(&other, MG_KEEP_EJECTION, "a"); /* of another kind */
    assert_int_equal(again.value, 42);
    assert_int_equal(other.reads, 0);
}

static void what_has_not_changed_is_not_written_again(void **state)
{
    thing t = { 0 };
    mg_persist_stats before, after;

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "a");
    memory_turn(&m);
    mg_persist_stats_get(m.persist, &before);
    for (int i = 0; i < 100; i++) {
        mg_fake_clock_advance(&m.clock, MG_PERSIST_LOOK_MS * MS);
        memory_turn(&m);
    }
    mg_persist_stats_get(m.persist, &after);
    assert_int_equal(mg_cell_get(&after.commits.count), mg_cell_get(&before.commits.count));
}

static void what_was_dropped_keeps_its_last_state(void **state)
{
    thing t = { 0 }, again = { 0 }, third = { 0 };

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "a");
    change(&t, 7);
    mg_persist_drop(m.persist, &t);
    change(&t, 8); /* nobody's business any more */
    keep_thing(&again, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(again.value, 7);
    mg_persist_drop(m.persist, &again);
    memory_flush(&m);
    memory_restart(&m, 0);
    keep_thing(&third, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(third.value, 7);
}

static void a_newer_one_of_the_name_takes_over_from_the_one_before(void **state)
{
    thing old = { 0 }, new = { 0 }, again = { 0 };

    (void)state;
    keep_thing(&old, MG_KEEP_ROLLOUT, "a");
    change(&old, 5);
    keep_thing(&new, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(new.value, 5);
    change(&new, 6);
    mg_persist_drop(m.persist, &old); /* later, with its snapshot */
    memory_flush(&m);
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(again.value, 6);
}

static void a_row_that_is_not_understood_is_counted(void **state)
{
    thing t = { .value = 13 }, again = { 0 };

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "a");
    memory_flush(&m);
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(skipped(), 1);
}

static void more_things_than_a_transaction_has_rows_are_all_stored(void **state)
{
    enum { MANY = 2 * MG_PERSIST_ROWS_MAX + 7 };
    static thing things[MANY], again[MANY];
    char name[16];

    (void)state;
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        things[i] = again[i] = (thing){ 0 };
        things[i].value = 100 + (uint64_t)i;
        keep_thing(&things[i], MG_KEEP_ROLLOUT, name);
    }
    memory_flush(&m);
    memory_restart(&m, 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        keep_thing(&again[i], MG_KEEP_ROLLOUT, name);
        assert_int_equal(again[i].value, 100 + i);
    }
}

static void names_too_long_are_not_kept(void **state)
{
    char name[MG_PERSIST_NAME_MAX + 2];
    thing t = { 0 };

    (void)state;
    memset(name, 'n', sizeof(name));
    name[MG_PERSIST_NAME_MAX + 1] = '\0';
    keep_thing(&t, MG_KEEP_ROLLOUT, name);
    keep_thing(&t, MG_KEEP_ROLLOUT, "");
    mg_persist_drop(m.persist, &t);
    memory_flush(&m);
}

static void without_a_store_keeping_does_nothing(void **state)
{
    thing t = { 0 };

    (void)state;
    mg_persist_keep(NULL, MG_KEEP_ROLLOUT, MG_STR("a"), &thing_ops, &t);
    mg_persist_drop(NULL, &t);
    mg_persist_keep_limiter(NULL, MG_STR("a"), 1, NULL, NULL);
    mg_persist_drop_limiter(NULL, NULL);
    mg_persist_free(NULL);
    assert_int_equal(t.reads, 0);
}

static void rows_that_nobody_has_kept_for_a_month_are_dropped(void **state)
{
    thing kept = { .value = 1 }, left_behind = { .value = 2 }, again = { 0 };

    (void)state;
    keep_thing(&kept, MG_KEEP_ROLLOUT, "kept");
    keep_thing(&left_behind, MG_KEEP_ROLLOUT, "left");
    memory_flush(&m);
    memory_restart(&m, 40 * 24 * H);
    keep_thing(&kept, MG_KEEP_ROLLOUT, "kept");
    mg_fake_clock_advance(&m.clock, 2 * H);
    turn(1);
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "left");
    assert_int_equal(again.reads, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "kept");
    assert_int_equal(again.value, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_small_thing_is_stored_within_50_ms_of_a_change),
        TEST(what_has_not_changed_is_not_written_again),
        TEST(what_was_dropped_keeps_its_last_state),
        TEST(a_newer_one_of_the_name_takes_over_from_the_one_before),
        TEST(a_row_that_is_not_understood_is_counted),
        TEST(more_things_than_a_transaction_has_rows_are_all_stored),
        TEST(names_too_long_are_not_kept),
        TEST(without_a_store_keeping_does_nothing),
        TEST(rows_that_nobody_has_kept_for_a_month_are_dropped),
    };
    return cmocka_run_group_tests_name("gateway/persist_things", tests, NULL, NULL);
}
