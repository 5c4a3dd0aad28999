/* The store: LMDB behind its door. */
#include "store_fixture.h"

#include <signal.h>
#include <sys/wait.h>

static void what_was_committed_is_there_after_reopening(void **state)
{
    mg_store *store = must_open();
    unsigned table = must_table(store, "rows");

    (void)state;
    put(store, table, "a", "1");
    put(store, table, "empty", "");
    assert_true(has(store, table, "a", "1"));
    assert_true(has(store, table, "b", NULL));
    mg_store_close(store);

    store = must_open();
    table = must_table(store, "rows");
    assert_true(has(store, table, "a", "1"));
    assert_true(has(store, table, "empty", ""));
    mg_store_close(store);
}

static void the_directory_and_those_above_it_are_made_for_the_owner_alone(void **state)
{
    char deep[TMPDIR_PATH_BYTES + 16];
    mg_result result;
    struct stat st;

    (void)state;
    snprintf(deep, sizeof(deep), "%s/state/ledger", dir);
    mg_store *store = try_open(deep, &result, NULL);
    assert_non_null(store);
    assert_int_equal(stat(deep, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    mg_store_close(store);
}

static void tables_are_apart_and_the_same_name_is_the_same_table(void **state)
{
    mg_store *store = must_open();
    const unsigned one = must_table(store, "one"), two = must_table(store, "two");
    mg_error err = MG_ERROR_INIT;
    unsigned three;

    (void)state;
    assert_int_not_equal(one, two);
    assert_int_equal(must_table(store, "one"), one);
    put(store, one, "k", "of one");
    assert_true(has(store, two, "k", NULL));
    assert_int_equal(mg_store_table(store, "three", &three, &err), MG_ERR_LIMIT);
    assert_non_null(strstr(err.message, "'three'"));
    mg_store_close(store);
}

static void a_commit_is_all_or_nothing(void **state)
{
    mg_store *store = must_open();
    const unsigned table = must_table(store, "rows");
    mg_store_change changes[3] = {
        { table, MG_STR("a"), MG_STR("new") },
        { table, MG_STR("b"), MG_STR_NONE },
        { table, MG_STR(""), MG_STR("a key must have a byte") },
    };

    (void)state;
    put(store, table, "a", "old");
    put(store, table, "b", "old");
    assert_int_equal(mg_store_commit(store, changes, 3, NULL), MG_ERR_INVALID);
    assert_true(has(store, table, "a", "old"));
    assert_true(has(store, table, "b", "old"));
    assert_int_equal(mg_store_commit(store, changes, 2, NULL), MG_OK);
    assert_true(has(store, table, "a", "new"));
    assert_true(has(store, table, "b", NULL));
    assert_int_equal(mg_store_commit(store, changes, 2, NULL),
                     MG_OK); /* deleting what is not there is fine */
    mg_store_close(store);
}

static void keys_have_1_to_511_bytes(void **state)
{
    mg_store *store = must_open();
    const unsigned table = must_table(store, "rows");
    char key[MG_STORE_KEY_MAX + 2];
    mg_error err = MG_ERROR_INIT;
    mg_arena arena;
    mg_str value;

    (void)state;
    memset(key, 'k', sizeof(key));
    mg_store_change change = { table, mg_str_make(key, MG_STORE_KEY_MAX), MG_STR("v") };
    assert_int_equal(mg_store_commit(store, &change, 1, NULL), MG_OK);
    change.key.n++;
    assert_int_equal(mg_store_commit(store, &change, 1, &err), MG_ERR_INVALID);
    assert_non_null(strstr(err.message, "512"));
    mg_arena_init(&arena, NULL, 0);
    assert_int_equal(mg_store_get(store, table, change.key, &arena, &value), MG_ERR_INVALID);
    assert_int_equal(mg_store_get(store, table, MG_STR(""), &arena, &value), MG_ERR_INVALID);
    mg_arena_fini(&arena);
    mg_store_close(store);
}

static void assert_scan(mg_store *store, unsigned table, const char *prefix, const char *after, size_t most,
                        const char *expected)
{
    seen s = { { 0 }, most };

    assert_int_equal(mg_store_scan(store, table, mg_str_of(prefix), mg_str_of(after), collect, &s, NULL),
                     MG_OK);
    assert_string_equal(mg_text_str(&s.keys).p, expected);
    mg_text_fini(&s.keys);
}

static void a_scan_goes_in_order_under_a_prefix_behind_a_key(void **state)
{
    mg_store *store = must_open();
    const unsigned table = must_table(store, "rows");
    static const char *const keys[] = { "b2", "a", "b1", "c", "b3" };

    (void)state;
    assert_scan(store, table, "", "", 9, "");
    for (size_t i = 0; i < mg_countof(keys); i++)
        put(store, table, keys[i], "v");
    assert_scan(store, table, "", "", 9, "a=v b1=v b2=v b3=v c=v ");
    assert_scan(store, table, "b", "", 9, "b1=v b2=v b3=v ");
    assert_scan(store, table, "b", "b1", 9, "b2=v b3=v ");
    assert_scan(store, table, "b", "b11", 9, "b2=v b3=v ");
    assert_scan(store, table, "b", "a", 9, "b1=v b2=v b3=v ");
    assert_scan(store, table, "b", "b3", 9, "");
    assert_scan(store, table, "b", "z", 9, "");
    assert_scan(store, table, "", "b3", 9, "c=v ");
    assert_scan(store, table, "", "", 2, "a=v b1=v ");
    mg_store_close(store);
}

static void a_full_map_is_reported_and_what_stood_there_stays(void **state)
{
    mg_store *store = must_open();
    const unsigned table = must_table(store, "rows");
    mg_error err = MG_ERROR_INIT;
    mg_result result = MG_OK;
    char *big = mg_alloc(60000);

    (void)state;
    memset(big, 'x', 60000);
    put(store, table, "first", "kept");
    for (int i = 0; i < 100 && result == MG_OK; i++) {
        char key[16];
        snprintf(key, sizeof(key), "k%03d", i);
        const mg_store_change change = { table, mg_str_of(key), mg_str_make(big, 60000) };
        result = mg_store_commit(store, &change, 1, &err);
    }
    assert_int_equal(result, MG_ERR_LIMIT);
    assert_non_null(strstr(err.message, "state.max_size"));
    assert_true(has(store, table, "first", "kept"));
    const mg_store_change gone = { table, MG_STR("k000"), MG_STR_NONE };
    assert_int_equal(mg_store_commit(store, &gone, 1, NULL), MG_OK); /* room can be made */
    mg_free(big);
    mg_store_close(store);
}

/* One more reader than `left` further calls deep. */
typedef struct nest {
    mg_store *store;
    unsigned table;
    int left;
    mg_result deepest;
} nest;

static bool scan_deeper(void *self, mg_str key, mg_str value)
{
    nest *n = self;

    (void)key;
    (void)value;
    if (n->left-- > 0)
        n->deepest = mg_store_scan(n->store, n->table, MG_STR(""), MG_STR(""), scan_deeper, n, NULL);
    return false;
}

static void more_readers_than_slots_are_told_to_come_later(void **state)
{
    nest n = { .store = must_open(), .left = 10, .deepest = MG_OK };

    (void)state;
    n.table = must_table(n.store, "rows");
    put(n.store, n.table, "k", "v");
    assert_int_equal(mg_store_scan(n.store, n.table, MG_STR(""), MG_STR(""), scan_deeper, &n, NULL), MG_OK);
    /* `deepest` was overwritten by the outer ones on their way back; the depth shows where it ended: 4 slots.
     */
    assert_int_equal(n.left, 10 - 4);
    assert_true(has(n.store, n.table, "k", "v")); /* and all slots are free again */
    mg_store_close(n.store);
}

static void a_second_gateway_on_the_same_directory_is_refused_by_name(void **state)
{
    mg_store *store = must_open();
    mg_error err = MG_ERROR_INIT;
    mg_result result = MG_OK;
    char pid[32];

    (void)state;
    assert_null(try_open(dir, &result, &err));
    assert_int_equal(result, MG_ERR_BUSY);
    assert_non_null(strstr(err.message, dir));
    snprintf(pid, sizeof(pid), "process %ld", (long)getpid());
    assert_non_null(strstr(err.message, pid));
    mg_store_close(store);
    mg_store_close(must_open());
}

static void a_path_through_a_file_says_so(void **state)
{
    char path[TMPDIR_PATH_BYTES + 16];
    mg_error err = MG_ERROR_INIT;
    mg_result result = MG_OK;

    (void)state;
    overwrite("file", 0, "x", 1);
    snprintf(path, sizeof(path), "%s/file/state", dir);
    assert_null(try_open(path, &result, &err));
    assert_int_equal(result, MG_ERR_IO);
    assert_non_null(strstr(err.message, "Not a directory"));
}

/* In a child, which gives up root's rights when it has them. */
static int open_without_rights(const char *path)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result = MG_OK;

    if (geteuid() == 0 && setuid(65534) != 0)
        return 1;
    if (try_open(path, &result, &err))
        return 2;
    return result == MG_ERR_IO && strstr(err.message, "Permission denied") && strstr(err.message, path) ? 0
                                                                                                        : 3;
}

static void a_directory_of_somebody_else_is_refused_with_advice(void **state)
{
    int status = -1;

    (void)state;
    assert_int_equal(chmod(dir, 0000), 0);
    const pid_t child = fork();
    if (child == 0)
        _exit(open_without_rights(dir));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(chmod(dir, 0700), 0);
    assert_int_equal(status, 0);
}

static void a_killed_process_leaves_what_it_committed_and_no_lock(void **state)
{
    int status = -1, ready[2];
    char byte;

    (void)state;
    assert_int_equal(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
        mg_store *store = must_open();
        put(store, must_table(store, "rows"), "k", "survives");
        if (write(ready[1], "x", 1) == 1)
            pause();
        _exit(1);
    }
    assert_int_equal(read(ready[0], &byte, 1), 1);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(ready[0]);
    close(ready[1]);

    mg_store *store = must_open();
    assert_true(has(store, must_table(store, "rows"), "k", "survives"));
    mg_store_close(store);
}

static void figures_say_what_is_used(void **state)
{
    mg_store *store = must_open();
    const unsigned table = must_table(store, "rows");
    mg_store_stats before, after;
    uint64_t rows = 9;

    (void)state;
    assert_int_equal(mg_store_stats_get(store, &before, NULL), MG_OK);
    assert_int_equal(mg_store_rows(store, table, &rows, NULL), MG_OK);
    assert_int_equal(rows, 0);
    fill(store, table, 0, 100);
    assert_int_equal(mg_store_stats_get(store, &after, NULL), MG_OK);
    assert_int_equal(mg_store_rows(store, table, &rows, NULL), MG_OK);
    assert_int_equal(rows, 100);
    assert_true(after.used_bytes >= before.used_bytes + 100 * 512);
    assert_true(after.used_bytes <= 100 * 512 * 2);
    assert_int_equal(after.max_bytes, MAP_BYTES);
    assert_true(after.file_bytes >= after.used_bytes);
    mg_store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_was_committed_is_there_after_reopening),
        TEST(the_directory_and_those_above_it_are_made_for_the_owner_alone),
        TEST(tables_are_apart_and_the_same_name_is_the_same_table),
        TEST(a_commit_is_all_or_nothing),
        TEST(keys_have_1_to_511_bytes),
        TEST(a_scan_goes_in_order_under_a_prefix_behind_a_key),
        TEST(a_full_map_is_reported_and_what_stood_there_stays),
        TEST(more_readers_than_slots_are_told_to_come_later),
        TEST(a_second_gateway_on_the_same_directory_is_refused_by_name),
        TEST(a_path_through_a_file_says_so),
        TEST(a_directory_of_somebody_else_is_refused_with_advice),
        TEST(a_killed_process_leaves_what_it_committed_and_no_lock),
        TEST(figures_say_what_is_used),
    };
    return cmocka_run_group_tests_name("store/store", tests, NULL, NULL);
}
