/* flusher_copies.c - the flusher on the virtual clock: backups, and the store made small. */
#include "flusher_machine.h"

/* ---- copies ---- */

static void a_backup_has_all_that_was_there_when_it_was_asked_for(void **state)
{
    char folder[TMPDIR_PATH_BYTES + 32];
    thing t = { 5 }, again = { 0 };
    asked copy;
    machine m;

    (void)state;
    set_up(&m, false);
    mg_limiter *limiter = keep_limiter(&m);
    charge_all(&m, limiter);
    keep(&m.s, "a", &t);
    set(&m.s, "k", "v");
    ask_copy(&m.s, &copy, part_path(&m.s, "backup", folder), 'c', NULL);
    settle(&m);
    assert_int_equal(copy.times, 1);
    assert_int_equal(copy.ask.result, MG_OK);
    assert_true(copy.copy.after.used_bytes > 0);
    set(&m.s, "k", "later");
    mg_persist_drop(m.s.persist, &t);
    drop_limiter(&m, limiter);

    restore_and_start(&m, folder);
    check_value(&m.s, "k", "v");
    keep(&m.s, "a", &again);
    assert_int_equal(atomic_load(&again.value), 5);
    mg_persist_drop(m.s.persist, &again);
    limiter = keep_limiter(&m);
    mg_persist_stats stats;
    mg_persist_stats_get(m.s.persist, &stats);
    assert_int_equal(stats.restored_keys, KEYS);
    drop_limiter(&m, limiter);
    tear_down(&m);
}

/* What the pass under way has passed by is of the next one, which the backup waits for. */
static void a_backup_that_is_asked_for_in_a_pass_waits_for_another(void **state)
{
    char folder[TMPDIR_PATH_BYTES + 32];
    mg_persist_stats stats;
    asked copy;
    machine m;

    (void)state;
    set_up(&m, false);
    mg_limiter *limiter = keep_limiter(&m);
    advance(&m, 990 * MS);
    charge_all(&m, limiter);
    const uint64_t before = commits(&m);
    mg_sim_step(m.sim, UINT64_MAX);
    while (commits(&m) < before + 10)
        assert_true(mg_sim_turn(m.sim));
    charge_all(&m, limiter);
    ask_copy(&m.s, &copy, part_path(&m.s, "backup", folder), 'c', NULL);
    settle(&m);
    assert_int_equal(copy.ask.result, MG_OK);
    drop_limiter(&m, limiter);
    restore_and_start(&m, folder);
    limiter = keep_limiter(&m);
    for (uint64_t key = 0; key < KEYS; key++) {
        mg_limiter_answer a;
        mg_limiter_peek(limiter, (const char *)&key, sizeof key, 0, mg_policy_clock_now(&m.s.policy_clock),
                        &a);
        assert_int_equal(a.remaining, 998);
    }
    mg_persist_stats_get(m.s.persist, &stats);
    assert_int_equal(stats.restored_keys, KEYS);
    drop_limiter(&m, limiter);
    tear_down(&m);
}

static void copies_are_made_one_after_the_other_and_barriers_in_between(void **state)
{
    char first[TMPDIR_PATH_BYTES + 32], second[TMPDIR_PATH_BYTES + 32];
    asked copies[4], barriers[2];
    char order[16] = "";
    machine m;

    (void)state;
    set_up(&m, false);
    set(&m.s, "k", "v");
    ask_copy(&m.s, &copies[0], part_path(&m.s, "first", first), '1', order);
    ask_copy(&m.s, &copies[1], NULL, '2', order);
    ask_barrier(&m.s, &barriers[0], 'a', order);
    ask_copy(&m.s, &copies[2], part_path(&m.s, "second", second), '3', order);
    ask_copy(&m.s, &copies[3], second, '4', order); /* which is not empty by then */
    ask_barrier(&m.s, &barriers[1], 'b', order);
    settle(&m);
    check_str(mg_str_of(order), "ab1234");
    for (int i = 0; i < 3; i++)
        assert_int_equal(copies[i].ask.result, MG_OK);
    assert_int_equal(copies[3].ask.result, MG_ERR_EXISTS);
    assert_non_null(strstr(copies[3].copy.err.message, "second/ledger"));
    check_value(&m.s, "k", "v");
    tear_down(&m);
}

static void compacting_gives_the_disk_back_and_loses_nothing(void **state)
{
    char key[16], *big = mg_calloc(1, 16384);
    thing t = { 3 };
    asked copy;
    machine m;

    (void)state;
    memset(big, 'b', 16383);
    set_up(&m, false);
    keep(&m.s, "a", &t);
    for (int i = 0; i < 200; i++) {
        snprintf(key, sizeof key, "k%d", i);
        set(&m.s, key, big);
    }
    advance(&m, 2 * S);
    for (int i = 1; i < 200; i++) {
        snprintf(key, sizeof key, "k%d", i);
        assert_null(mg_kv_delete(m.s.space, key, (uint32_t)strlen(key)));
    }
    advance(&m, 2 * S);
    set(&m.s, "last", "not flushed");
    ask_copy(&m.s, &copy, NULL, 'c', NULL);
    settle(&m);
    assert_int_equal(copy.ask.result, MG_OK);
    assert_true(copy.copy.after.file_bytes < copy.copy.before.file_bytes / 4);
    check_value(&m.s, "k0", big);
    check_value(&m.s, "k1", NULL);
    advance(&m, 2 * S);
    mg_persist_drop(m.s.persist, &t);
    kill_and_start(&m);
    check_value(&m.s, "k0", big);
    check_value(&m.s, "last", "not flushed");
    keep(&m.s, "a", &t);
    assert_int_equal(atomic_load(&t.value), 3);
    mg_persist_drop(m.s.persist, &t);
    mg_free(big);
    tear_down(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_backup_has_all_that_was_there_when_it_was_asked_for),
        cmocka_unit_test(a_backup_that_is_asked_for_in_a_pass_waits_for_another),
        cmocka_unit_test(copies_are_made_one_after_the_other_and_barriers_in_between),
        cmocka_unit_test(compacting_gives_the_disk_back_and_loses_nothing),
    };

    return cmocka_run_group_tests_name("gateway/flusher", tests, NULL, NULL);
}
