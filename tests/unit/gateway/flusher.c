/* flusher.c - the flusher on the virtual clock: what is written when, in which order answers come, and what one
 * store's trouble is to the other. */
#include "flusher_machine.h"

/* ---- when ---- */

static void what_is_set_is_on_the_disk_within_a_second(void **state)
{
    machine m;

    (void)state;
    set_up(&m, false);
    set(&m.s, "k", "v");
    advance(&m, 500 * MS);
    assert_true(mg_kv_waits_any(m.s.kv));
    advance(&m, 501 * MS);
    assert_false(mg_kv_waits_any(m.s.kv));
    set(&m.s, "k", "lost");
    kill_and_start(&m);
    check_value(&m.s, "k", "v");
    tear_down(&m);
}

static void small_things_are_on_the_disk_within_50_ms(void **state)
{
    thing t = { 1 }, again = { 0 };
    machine m;

    (void)state;
    set_up(&m, false);
    keep(&m.s, "a", &t);
    advance(&m, 60 * MS);
    atomic_store(&t.value, 7);
    advance(&m, (MG_PERSIST_LOOK_MS + 1) * MS);
    atomic_store(&t.value, 8);
    mg_persist_drop(m.s.persist, &t);
    kill_and_start(&m);
    keep(&m.s, "a", &again);
    assert_int_equal(atomic_load(&again.value), 7);
    mg_persist_drop(m.s.persist, &again);
    tear_down(&m);
}

static void a_barrier_does_not_wait_for_the_clock(void **state)
{
    asked first, second, idle;
    char order[8] = "";
    machine m;

    (void)state;
    set_up(&m, false);
    ask_barrier(&m.s, &idle, 'i', order); /* nothing is to be written */
    set(&m.s, "k", "v");
    ask_barrier(&m.s, &first, 'a', order);
    ask_barrier(&m.s, &second, 'b', order);
    settle(&m);
    check_str(mg_str_of(order), "iab");
    assert_true(idle.ask.result == MG_OK && first.ask.result == MG_OK && second.ask.result == MG_OK);
    assert_null(first.barrier.error);
    set(&m.s, "k", "lost");
    kill_and_start(&m);
    check_value(&m.s, "k", "v");
    tear_down(&m);
}

static void barriers_of_a_turn_share_a_flush(void **state)
{
    mg_kv_stats before, after;
    asked asks[100];
    machine m;

    (void)state;
    set_up(&m, false);
    mg_kv_stats_get(m.s.kv, &before);
    set(&m.s, "k", "v");
    for (size_t i = 0; i < mg_countof(asks); i++)
        ask_barrier(&m.s, &asks[i], 'x', NULL);
    settle(&m);
    mg_kv_stats_get(m.s.kv, &after);
    assert_int_equal(after.flushes, before.flushes + 1);
    for (size_t i = 0; i < mg_countof(asks); i++)
        assert_int_equal(asks[i].times, 1);
    tear_down(&m);
}

static void without_a_store_barriers_are_answered_and_copies_refused(void **state)
{
    asked barrier, copy;
    machine m;

    (void)state;
    set_up(&m, true);
    set(&m.s, "k", "v");
    ask_barrier(&m.s, &barrier, 'b', NULL);
    ask_copy(&m.s, &copy, "/nowhere", 'c', NULL);
    settle(&m);
    assert_int_equal(barrier.times, 1);
    assert_int_equal(barrier.ask.result, MG_OK);
    assert_int_equal(copy.times, 1);
    assert_int_equal(copy.ask.result, MG_ERR_INVALID);
    check_value(&m.s, "k", "v");
    tear_down(&m);
}

static void a_barrier_is_answered_in_the_middle_of_many_keys(void **state)
{
    asked barrier;
    machine m;

    (void)state;
    set_up(&m, false);
    mg_limiter *limiter = keep_limiter(&m);
    advance(&m, 990 * MS);
    charge_all(&m, limiter);
    const uint64_t before = commits(&m);
    mg_sim_step(m.sim, UINT64_MAX); /* to the pass over all keys, which begins with the next turn */
    while (commits(&m) < before + 2)
        assert_true(mg_sim_turn(m.sim));
    set(&m.s, "k", "v");
    ask_barrier(&m.s, &barrier, 'b', NULL);
    for (barrier.times = 0; !barrier.times; read_answers(&m.s))
        assert_true(mg_sim_turn(m.sim));
    assert_true(commits(&m) < before + 6);
    settle(&m);
    assert_true(commits(&m) >= before + KEYS / MG_PERSIST_ROWS_MAX);
    drop_limiter(&m, limiter);
    tear_down(&m);
}

/* ---- trouble ---- */

/* 256 KiB are too few for that. */
static void fill_ledger(machine *m)
{
    char key[16], *big = mg_calloc(1, 60000);

    memset(big, 'b', 59999);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof key, "big%d", i);
        set(&m->s, key, big);
    }
    mg_free(big);
}

static void a_full_ledger_says_so_and_policies_go_on(void **state)
{
    thing t = { 1 }, again = { 0 };
    mg_persist_stats stats;
    asked barrier, backup;
    char folder[TMPDIR_PATH_BYTES + 32];
    machine m;

    (void)state;
    set_up(&m, false);
    stop(&m);
    m.s.ledger_bytes = 256 << 10;
    start(&m);
    keep(&m.s, "a", &t);
    fill_ledger(&m);
    ask_barrier(&m.s, &barrier, 'b', NULL);
    settle(&m);
    assert_int_equal(barrier.ask.result, MG_ERR_LIMIT);
    check_str(mg_str_of(barrier.barrier.error), "the store is full");
    ask_copy(&m.s, &backup, part_path(&m.s, "backup", folder), 'c', NULL);
    settle(&m);
    assert_int_equal(backup.ask.result, MG_ERR_LIMIT); /* it would not have all that was set */
    for (uint64_t value = 2; value < 50; value++) {
        atomic_store(&t.value, value);
        advance(&m, (MG_PERSIST_LOOK_MS + 1) * MS);
    }
    mg_persist_stats_get(m.s.persist, &stats);
    assert_false(stats.failing);
    assert_true(stats.lag_ms <= 1100);
    mg_persist_drop(m.s.persist, &t);
    kill_and_start(&m);
    keep(&m.s, "a", &again);
    assert_int_equal(atomic_load(&again.value), 49);
    mg_persist_drop(m.s.persist, &again);
    tear_down(&m);
}

static void full_policies_say_so_and_the_ledger_goes_on(void **state)
{
    mg_persist_stats stats;
    asked barrier;
    machine m;

    (void)state;
    set_up(&m, false);
    stop(&m);
    m.s.policy_bytes = 256 << 10;
    start(&m);
    mg_limiter *limiter = keep_limiter(&m); /* more keys than have room */
    charge_all(&m, limiter);
    advance(&m, 3 * S);
    mg_persist_stats_get(m.s.persist, &stats);
    assert_true(stats.failing);
    for (int i = 0; i < 20; i++) {
        set(&m.s, "k", i % 2 ? "odd" : "even");
        ask_barrier(&m.s, &barrier, 'b', NULL);
        settle(&m);
        assert_int_equal(barrier.times, 1);
        assert_int_equal(barrier.ask.result, MG_OK);
    }
    mg_kv_stats kv;
    mg_kv_stats_get(m.s.kv, &kv);
    assert_false(kv.failing);
    drop_limiter(&m, limiter);
    kill_and_start(&m);
    check_value(&m.s, "k", "odd");
    tear_down(&m);
}

/* A copy that somebody else makes keeps all pages, and the file may not grow meanwhile. */
static void a_barrier_waits_for_a_copy_that_is_in_the_way(void **state)
{
    mg_store_stats stats;
    asked barrier;
    machine m;
    MDB_txn *reader;
    int round = 0;
    char *big = mg_calloc(1, 20001);

    (void)state;
    set_up(&m, false);
    stop(&m);
    m.s.ledger_bytes = 256 << 10;
    start(&m);
    m.s.ledger->copies++;
    assert_int_equal(mdb_txn_begin(m.s.ledger->env, NULL, MDB_RDONLY, &reader), 0);
    do {
        memset(big, 'a' + round % 20, 20000);
        set(&m.s, "k", big);
        ask_barrier(&m.s, &barrier, 'b', NULL);
        settle(&m);
    } while (barrier.times && ++round < 1000);
    assert_true(round > 3 && round < 1000);
    advance(&m, 5 * S); /* nothing is wrong, and nothing said */
    assert_int_equal(barrier.times, 0);
    assert_null(mg_kv_failure(m.s.kv));
    assert_null(mg_kv_flush_error(m.s.space));
    mg_kv_stats kv;
    mg_kv_stats_get(m.s.kv, &kv);
    assert_int_equal(kv.failures, 0);
    check_value(&m.s, "k", big);
    mdb_txn_abort(reader);
    m.s.ledger->copies--;
    advance(&m, 1001 * MS);
    assert_int_equal(barrier.times, 1);
    assert_int_equal(barrier.ask.result, MG_OK);
    assert_int_equal(mg_store_stats_get(m.s.ledger, &stats, NULL), MG_OK);
    assert_true(!m.s.logged.n || !strstr(m.s.logged.p, "kv_flush"));
    kill_and_start(&m);
    check_value(&m.s, "k", big);
    mg_free(big);
    tear_down(&m);
}

/* ---- the end ---- */

static void a_stop_writes_what_is_left_and_ends_the_loop(void **state)
{
    thing t = { 9 }, again = { 0 };
    asked late;
    machine m;

    (void)state;
    set_up(&m, false);
    keep(&m.s, "a", &t);
    set(&m.s, "k", "v");
    mg_flusher_stop(m.s.flusher);
    settle(&m);
    assert_int_equal(mg_sim_live_timers(m.sim), 0);
    mg_persist_drop(m.s.persist, &t);
    kill_and_start(&m);
    check_value(&m.s, "k", "v");
    keep(&m.s, "a", &again);
    assert_int_equal(atomic_load(&again.value), 9);
    mg_persist_drop(m.s.persist, &again);
    mg_flusher_close(m.s.flusher);
    set(&m.s, "k", "after");
    ask_barrier(&m.s, &late, 'b', NULL);
    read_answers(&m.s);
    assert_int_equal(late.times, 1);
    assert_int_equal(late.ask.result, MG_ERR_CLOSED);
    check_str(mg_str_of(late.barrier.error), "the gateway is stopping");
    ask_copy(&m.s, &late, "/nowhere", 'c', NULL);
    read_answers(&m.s);
    assert_int_equal(late.ask.result, MG_ERR_CLOSED);
    tear_down(&m);
}

static void a_stop_lets_the_copy_under_way_end_and_refuses_the_next(void **state)
{
    char first[TMPDIR_PATH_BYTES + 32], second[TMPDIR_PATH_BYTES + 32];
    asked copies[2], barrier;
    char order[8] = "";
    machine m;

    (void)state;
    set_up(&m, false);
    mg_limiter *limiter = keep_limiter(&m);
    charge_all(&m, limiter);
    set(&m.s, "k", "v");
    ask_copy(&m.s, &copies[0], part_path(&m.s, "first", first), '1', order);
    ask_copy(&m.s, &copies[1], part_path(&m.s, "second", second), '2', order);
    const uint64_t before = commits(&m);
    while (commits(&m) < before + 2) /* in the middle of the pass of the first */
        assert_true(mg_sim_turn(m.sim));
    set(&m.s, "k", "last");
    ask_barrier(&m.s, &barrier, 'b', order);
    mg_flusher_stop(m.s.flusher);
    settle(&m);
    check_str(mg_str_of(order), "b12");
    assert_int_equal(copies[0].ask.result, MG_OK);
    assert_int_equal(copies[1].ask.result, MG_ERR_CLOSED);
    assert_int_equal(barrier.ask.result, MG_OK);
    drop_limiter(&m, limiter);
    kill_and_start(&m);
    check_value(&m.s, "k", "last");
    restore_and_start(&m, first);
    check_value(&m.s, "k", "v");
    tear_down(&m);
}

/* In any turn of what it does. */
static void whoever_waits_when_it_is_closed_is_answered_once(void **state)
{
    (void)state;
    for (int turns = 0; turns < 40; turns++) {
        char folder[TMPDIR_PATH_BYTES + 32];
        asked copies[2], barrier;
        machine m;

        set_up(&m, false);
        mg_limiter *limiter = keep_limiter(&m);
        charge_all(&m, limiter);
        set(&m.s, "k", "v");
        ask_barrier(&m.s, &barrier, 'b', NULL);
        ask_copy(&m.s, &copies[0], part_path(&m.s, "backup", folder), '1', NULL);
        ask_copy(&m.s, &copies[1], NULL, '2', NULL);
        for (int i = 0; i < turns; i++)
            mg_sim_turn(m.sim);
        mg_flusher_close(m.s.flusher);
        read_answers(&m.s);
        assert_int_equal(barrier.times, 1);
        assert_int_equal(barrier.ask.result, MG_OK);
        assert_int_equal(copies[0].times, 1);
        assert_int_equal(copies[1].times, 1);
        drop_limiter(&m, limiter);
        kill_and_start(&m);
        check_value(&m.s, "k", "v");
        tear_down(&m);
    }
}

static void a_barrier_that_finds_no_room_at_the_end_is_told_so(void **state)
{
    asked barrier;
    machine m;

    (void)state;
    set_up(&m, false);
    stop(&m);
    m.s.ledger_bytes = 256 << 10;
    start(&m);
    fill_ledger(&m);
    ask_barrier(&m.s, &barrier, 'b', NULL);
    mg_flusher_close(m.s.flusher);
    read_answers(&m.s);
    assert_int_equal(barrier.times, 1);
    assert_true(barrier.ask.result != MG_OK);
    check_str(mg_str_of(barrier.barrier.error), "the store is full");
    assert_non_null(strstr(m.s.logged.p, "the last flush failed"));
    tear_down(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_set_is_on_the_disk_within_a_second),
        cmocka_unit_test(small_things_are_on_the_disk_within_50_ms),
        cmocka_unit_test(a_barrier_does_not_wait_for_the_clock),
        cmocka_unit_test(barriers_of_a_turn_share_a_flush),
        cmocka_unit_test(without_a_store_barriers_are_answered_and_copies_refused),
        cmocka_unit_test(a_barrier_is_answered_in_the_middle_of_many_keys),
        cmocka_unit_test(a_full_ledger_says_so_and_policies_go_on),
        cmocka_unit_test(full_policies_say_so_and_the_ledger_goes_on),
        cmocka_unit_test(a_barrier_waits_for_a_copy_that_is_in_the_way),
        cmocka_unit_test(a_stop_writes_what_is_left_and_ends_the_loop),
        cmocka_unit_test(a_stop_lets_the_copy_under_way_end_and_refuses_the_next),
        cmocka_unit_test(whoever_waits_when_it_is_closed_is_answered_once),
        cmocka_unit_test(a_barrier_that_finds_no_room_at_the_end_is_told_so),
    };

    return cmocka_run_group_tests_name("gateway/flusher", tests, NULL, NULL);
}
