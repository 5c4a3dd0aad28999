/* What a commit does while a copy of its store is being made: reached by taking the copy's halves apart. */
#include "support/check.h"
#include "support/tmpdir.h"

#include "store/store_copy.c"

enum { STORE_BYTES = 256 << 10, VALUE_BYTES = 16 << 10 };

static mg_result put(mg_store *store, char byte, mg_error *err)
{
    static char value[VALUE_BYTES];
    const mg_store_change change = { 0, MG_STR("key"), mg_str_make(value, sizeof value) };

    memset(value, byte, sizeof value);
    return mg_store_commit(store, &change, 1, err);
}

static char value_of(mg_store *store)
{
    mg_arena arena;
    mg_str value;

    mg_arena_init(&arena, NULL, 0);
    assert_int_equal(mg_store_get(store, 0, MG_STR("key"), &arena, &value), MG_OK);
    const char byte = value.p[VALUE_BYTES - 1];
    mg_arena_fini(&arena);
    return byte;
}

static mg_store *open_store(const char *dir)
{
    const mg_store_options options = { dir, STORE_BYTES, 2, 8, true };
    mg_result result;
    unsigned table;
    mg_store *store = mg_store_open(&options, &result, NULL);

    assert_non_null(store);
    assert_int_equal(mg_store_table(store, "t", &table, NULL), MG_OK);
    assert_int_equal(table, 0);
    return store;
}

/* The copy reads the pages of its moment, so that none is used again: the map is full though the rows are few. */
static void a_commit_that_needs_a_larger_map_does_not_wait_for_the_copy(void **state)
{
    mg_error err = MG_ERROR_INIT;
    char dir[TMPDIR_PATH_BYTES];
    mg_result result = MG_OK;
    MDB_txn *reader;
    int written = 0;

    (void)state;
    tmpdir_make(dir);
    mg_store *store = open_store(dir);
    assert_int_equal(put(store, 'a', NULL), MG_OK);
    begin_copy(store);
    assert_int_equal(mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader), 0);
    while (written < 1000 && (result = put(store, (char)('b' + written % 20), &err)) == MG_OK)
        written++;
    assert_int_equal(result, MG_ERR_BUSY);
    assert_non_null(strstr(err.message, "it is being copied"));
    assert_true(written > 5); /* it goes on as long as it can */
    assert_int_equal(value_of(store), 'b' + (written - 1) % 20);
    const mg_store_change deletion = { 0, MG_STR("key"), MG_STR_NONE };
    result = mg_store_commit(store, &deletion, 1, &err);
    assert_true(result == MG_OK || result == MG_ERR_BUSY);
    mdb_txn_abort(reader);
    end_copy(store);
    assert_int_equal(put(store, 'z', &err), MG_OK);
    assert_int_equal(value_of(store), 'z');
    mg_store_close(store);
    tmpdir_remove(dir);
}

static void two_copies_are_both_waited_for(void **state)
{
    char dir[TMPDIR_PATH_BYTES];

    (void)state;
    tmpdir_make(dir);
    mg_store *store = open_store(dir);
    begin_copy(store);
    begin_copy(store);
    assert_int_equal(mg_store_room_widen(store), STORE_COPIED);
    assert_int_equal(mg_store_open_again(store), STORE_COPIED);
    end_copy(store);
    assert_int_equal(mg_store_room_widen(store), STORE_COPIED);
    end_copy(store);
    assert_int_equal(mg_store_room_widen(store), 0);
    assert_int_equal(mg_store_open_again(store), 0);
    assert_int_equal(put(store, 'a', NULL), MG_OK);
    mg_store_close(store);
    tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_commit_that_needs_a_larger_map_does_not_wait_for_the_copy),
        cmocka_unit_test(two_copies_are_both_waited_for),
    };

    return cmocka_run_group_tests_name("store/store_copying", tests, NULL, NULL);
}
