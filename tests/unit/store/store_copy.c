/* Copies of a store: made while it runs, restored, and written anew without its free pages. */
#include "store_fixture.h"

static mg_store *open_at(const char *name)
{
    char path[TMPDIR_PATH_BYTES + 16];
    mg_result result;

    in_dir(path, name);
    mg_store *store = try_open(path, &result, NULL);
    assert_non_null(store);
    return store;
}

static void a_copy_is_a_store_of_one_moment(void **state)
{
    char copy[TMPDIR_PATH_BYTES + 16];
    mg_store *store = open_at("live");
    const unsigned table = must_table(store, "rows");
    mg_error err = MG_ERROR_INIT;

    (void)state;
    put(store, table, "a", "then");
    in_dir(copy, "copies/one");
    assert_int_equal(mg_store_copy(store, copy, NULL), MG_OK);
    put(store, table, "a", "later");
    assert_int_equal(mg_store_copy(store, copy, &err), MG_ERR_EXISTS);
    assert_non_null(strstr(err.message, copy));
    mg_store_close(store);

    store = open_at("copies/one");
    assert_true(has(store, must_table(store, "rows"), "a", "then"));
    mg_store_close(store);
}

static void a_store_is_restored_into_an_empty_directory_only(void **state)
{
    char copy[TMPDIR_PATH_BYTES + 16], to[TMPDIR_PATH_BYTES + 16], none[TMPDIR_PATH_BYTES + 16];
    mg_store *store = open_at("live");
    mg_error err = MG_ERROR_INIT;

    (void)state;
    put(store, must_table(store, "rows"), "a", "1");
    in_dir(copy, "copy");
    in_dir(to, "restored");
    in_dir(none, "none");
    assert_int_equal(mg_store_copy(store, copy, NULL), MG_OK);
    assert_int_equal(mg_store_restore(none, to, &err), MG_ERR_IO);
    assert_non_null(strstr(err.message, none));
    assert_int_equal(mg_store_restore(copy, to, &err), MG_OK);
    assert_int_equal(mg_store_restore(copy, to, &err), MG_ERR_EXISTS);
    mg_store_close(store);

    store = open_at("restored");
    assert_true(has(store, must_table(store, "rows"), "a", "1"));
    mg_store_close(store);
}

static void a_copy_that_is_none_restores_nothing(void **state)
{
    char copy[TMPDIR_PATH_BYTES + 16], to[TMPDIR_PATH_BYTES + 16], garbage[16384];

    (void)state;
    memset(garbage, 'G', sizeof(garbage));
    overwrite("data.mdb", 0, garbage, sizeof(garbage));
    in_dir(copy, "");
    in_dir(to, "restored");
    assert_int_equal(mg_store_restore(copy, to, NULL), MG_ERR_INVALID);
    assert_int_equal(access(to, F_OK), -1);
}

static void compacting_gives_the_disk_back_and_keeps_every_row(void **state)
{
    mg_store *store = must_open();
    const unsigned table = must_table(store, "rows"), other = must_table(store, "other");
    mg_store_stats before, after;

    (void)state;
    put(store, other, "o", "1");
    fill(store, table, 0, 300);
    for (int i = 0; i < 290; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%03d", i);
        const mg_store_change gone = { table, mg_str_of(key), MG_STR_NONE };
        assert_int_equal(mg_store_commit(store, &gone, 1, NULL), MG_OK);
    }
    assert_int_equal(mg_store_stats_get(store, &before, NULL), MG_OK);
    assert_int_equal(mg_store_compact(store, NULL), MG_OK);
    assert_int_equal(mg_store_stats_get(store, &after, NULL), MG_OK);
    assert_true(after.file_bytes < before.file_bytes / 4);
    assert_true(has(store, other, "o", "1"));
    assert_true(has(store, table, "k289", NULL));
    fill(store, table, 400, 401);
    mg_store_close(store);

    store = must_open();
    assert_true(has(store, must_table(store, "other"), "o", "1"));
    uint64_t rows;
    assert_int_equal(mg_store_rows(store, must_table(store, "rows"), &rows, NULL), MG_OK);
    assert_int_equal(rows, 11);
    mg_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_copy_is_a_store_of_one_moment),
        TEST(a_store_is_restored_into_an_empty_directory_only),
        TEST(a_copy_that_is_none_restores_nothing),
        TEST(compacting_gives_the_disk_back_and_keeps_every_row),
    };
    return cmocka_run_group_tests_name("store/store_copy", tests, NULL, NULL);
}
