/* The key-value store: what outlives a flush, a reopening and a kill. */
#include "kv_fixture.h"

static void a_flush_outlives_the_process_and_what_came_after_does_not(void **state)
{
    fixture f;

    (void)state;
    begin(&f, true);
    set(f.space, "a", "flushed");
    set(f.space, "b", "flushed");
    flush(&f);
    set(f.space, "a", "lost");
    del(f.space, "b");
    check_value(f.space, "a", "lost");
    check_value(f.space, "b", NULL);
    reopen(&f);
    check_value(f.space, "a", "flushed");
    check_value(f.space, "b", "flushed");
    close_kv(&f);
}

static void what_is_deleted_before_any_flush_leaves_nothing_behind(void **state)
{
    fixture f;
    mg_kv_stats stats;

    (void)state;
    begin(&f, true);
    set(f.space, "k", "v");
    del(f.space, "k");
    mg_kv_stats_get(f.kv, &stats);
    assert_int_equal(stats.pending, 0);
    assert_true(mg_kv_used_bytes(f.space) == 0);
    close_kv(&f);
}

static void whether_anything_waits_is_known(void **state)
{
    fixture f;

    (void)state;
    begin(&f, true);
    assert_false(mg_kv_waits_any(f.kv));
    set(f.space, "k", "v");
    assert_true(mg_kv_waits_any(f.kv));
    flush(&f);
    assert_false(mg_kv_waits_any(f.kv));
    assert_null(mg_kv_failure(f.kv));
    close_kv(&f);
    begin(&f, false);
    set(f.space, "k", "v");
    assert_false(mg_kv_waits_any(f.kv)); /* which is never written */
    close_kv(&f);
}

static void a_full_store_keeps_everything_in_memory_until_there_is_room(void **state)
{
    fixture f;
    char *big = mg_calloc(1, MG_KV_VALUE_MAX);
    mg_kv_stats stats;

    (void)state;
    begin(&f, true);
    close_kv(&f);
    open_kv(&f, true, 256 * 1024, 0);
    memset(big, 'b', MG_KV_VALUE_MAX);
    set(f.space, "small", "first");
    flush(&f);
    for (char key = 'a'; key < 'k'; key++)
        assert_null(mg_kv_set(f.space, &key, 1, big, MG_KV_VALUE_MAX, 0));
    set(f.space, "small", "second");
    assert_int_equal(mg_kv_flush(f.kv, NULL), MG_ERR_LIMIT);
    assert_non_null(mg_kv_failure(f.kv));
    assert_ptr_equal(mg_kv_flush_error(f.space), mg_kv_failure(f.kv));
    check_value(f.space, "small", "second");
    for (char key = 'a'; key < 'k'; key++)
        assert_null(mg_kv_delete(f.space, &key, 1));
    mg_kv_stats_get(f.kv, &stats);
    assert_true(stats.pending > 0 && stats.pending < 10); /* some had room, and are to be deleted there */
    assert_int_equal(stats.failures, 1);
    assert_true(stats.failing);
    flush(&f);
    assert_null(mg_kv_flush_error(f.space));
    reopen(&f);
    check_value(f.space, "small", "second");
    mg_free(big);
    close_kv(&f);
}

static void a_damaged_row_is_reported_until_it_is_written_again(void **state)
{
    fixture f;
    mg_kv_stats stats;
    mg_slice value;
    double result;
    unsigned table;
    mg_arena arena;
    mg_str row;

    (void)state;
    begin(&f, true);
    set(f.space, "bad", "value");
    set(f.space, "good", "value");
    flush(&f);
    mg_arena_init(&arena, NULL, 0);
    const mg_str key = mg_str_make("plugin\0bad", 10);
    assert_int_equal(mg_store_table(f.store, "kv", &table, NULL), MG_OK);
    assert_int_equal(mg_store_get(f.store, table, key, &arena, &row), MG_OK);
    char *bytes = mg_memdup0(row.p, row.n);
    bytes[row.n - 1] ^= 1;
    const mg_store_change change = { table, key, mg_str_make(bytes, row.n) };
    assert_int_equal(mg_store_commit(f.store, &change, 1, NULL), MG_OK);
    mg_free(bytes);
    mg_arena_fini(&arena);

    reopen(&f);
    mg_kv_stats_get(f.kv, &stats);
    assert_int_equal(stats.skipped_rows, 1);
    check_value(f.space, "good", "value");
    assert_non_null(mg_kv_get(f.space, "bad", 3, &value));
    assert_null(value.p);
    assert_non_null(mg_kv_incr(f.space, "bad", 3, 1, 0, &result));
    set(f.space, "bad", "new");
    check_value(f.space, "bad", "new");
    del(f.space, "bad");
    flush(&f);
    reopen(&f);
    mg_kv_stats_get(f.kv, &stats);
    assert_int_equal(stats.skipped_rows, 0);
    check_value(f.space, "bad", NULL);
    close_kv(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_flush_outlives_the_process_and_what_came_after_does_not),
        TEST(what_is_deleted_before_any_flush_leaves_nothing_behind),
        TEST(whether_anything_waits_is_known),
        TEST(a_full_store_keeps_everything_in_memory_until_there_is_room),
        TEST(a_damaged_row_is_reported_until_it_is_written_again),
    };
    return cmocka_run_group_tests_name("gateway/kv_durability", tests, NULL, NULL);
}
