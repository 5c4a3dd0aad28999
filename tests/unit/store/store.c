/* The store: LMDB behind its door. */
#include "support/check.h"
#include "support/tmpdir.h"

#include "base/mem.h"
#include "base/rand.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>

enum { MAP_BYTES = 1 << 20 };

static char dir[TMPDIR_PATH_BYTES];

static int fresh_directory(void **state)
{
    (void)state;
    tmpdir_make(dir);
    return 0;
}

static int remove_directory(void **state)
{
    (void)state;
    tmpdir_remove(dir);
    return 0;
}

static mg_store *try_open(const char *path, mg_result *result, mg_error *err)
{
    const mg_store_options options = {
        .path = path, .max_bytes = MAP_BYTES, .tables = 2, .readers = 4, .sync = true
    };
    return mg_store_open(&options, result, err);
}

static mg_store *must_open(void)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result = MG_ERR_IO;
    mg_store *store = try_open(dir, &result, &err);

    if (!store)
        fail_msg("%s", err.message);
    assert_int_equal(result, MG_OK);
    return store;
}

static unsigned must_table(mg_store *store, const char *name)
{
    unsigned table = 99;

    assert_int_equal(mg_store_table(store, name, &table, NULL), MG_OK);
    return table;
}

static void put(mg_store *store, unsigned table, const char *key, const char *value)
{
    const mg_store_change change = { table, mg_str_of(key), mg_str_of(value) };

    assert_int_equal(mg_store_commit(store, &change, 1, NULL), MG_OK);
}

/* Whether the key has this value; NULL: none. */
static bool has(mg_store *store, unsigned table, const char *key, const char *value)
{
    mg_arena arena;
    mg_str found;
    bool same;

    mg_arena_init(&arena, NULL, 0);
    const mg_result result = mg_store_get(store, table, mg_str_of(key), &arena, &found);
    same = value ? result == MG_OK && mg_str_eq_c(found, value) : result == MG_ERR_NOT_FOUND && !found.p;
    mg_arena_fini(&arena);
    return same;
}

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

typedef struct seen {
    mg_text keys;
    size_t left; /* stop after so many */
} seen;

static bool collect(void *self, mg_str key, mg_str value)
{
    seen *s = self;

    mg_text_add(&s->keys, key);
    mg_text_add_char(&s->keys, '=');
    mg_text_add(&s->keys, value);
    mg_text_add_char(&s->keys, ' ');
    return --s->left > 0;
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

static void overwrite(const char *name, off_t at, const char *bytes, size_t n)
{
    char path[TMPDIR_PATH_BYTES + 16];

    snprintf(path, sizeof(path), "%s/%s", dir, name);
    const int fd = open(path, O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, bytes, n, at), n);
    close(fd);
}

static void a_file_that_is_no_store_is_invalid(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result = MG_OK;
    char garbage[16384];

    (void)state;
    memset(garbage, 'G', sizeof(garbage));
    overwrite("data.mdb", 0, garbage, sizeof(garbage));
    assert_null(try_open(dir, &result, &err));
    assert_int_equal(result, MG_ERR_INVALID);
    assert_non_null(strstr(err.message, dir));
    assert_non_null(strstr(err.message, "move the directory aside"));
}

static void a_file_cut_within_its_first_pages_is_invalid(void **state)
{
    mg_result result = MG_OK;
    char path[TMPDIR_PATH_BYTES + 16];

    (void)state;
    mg_store_close(must_open());
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    assert_int_equal(truncate(path, 100), 0);
    assert_null(try_open(dir, &result, NULL));
    assert_int_equal(result, MG_ERR_INVALID);
}

static void a_file_cut_further_on_is_reported_and_not_a_crash(void **state)
{
    mg_store *store = must_open();
    unsigned table = must_table(store, "rows");
    char path[TMPDIR_PATH_BYTES + 16];
    mg_result result = MG_OK;
    mg_error err = MG_ERROR_INIT;
    seen s = { { 0 }, 1000 };

    (void)state;
    for (int i = 0; i < 200; i++) {
        char key[16], value[512];
        snprintf(key, sizeof(key), "k%03d", i);
        memset(value, 'v', sizeof(value));
        value[511] = '\0';
        put(store, table, key, value);
    }
    mg_store_close(store);
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    assert_int_equal(truncate(path, 3 * 4096), 0);

    store = try_open(dir, &result, &err);
    if (store) { /* the damage may be seen at once or at the first look */
        result = mg_store_table(store, "rows", &table, &err);
        if (result == MG_OK)
            result = mg_store_scan(store, table, MG_STR(""), MG_STR(""), collect, &s, &err);
        mg_store_close(store);
    }
    assert_int_equal(result, MG_ERR_INVALID);
    mg_text_fini(&s.keys);
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

static void fill(mg_store *store, unsigned table, int from, int to)
{
    for (int i = from; i < to; i++) {
        char key[16], value[512];
        snprintf(key, sizeof(key), "k%03d", i);
        memset(value, 'v', sizeof(value) - 1);
        value[511] = '\0';
        put(store, table, key, value);
    }
}

static void in_dir(char path[TMPDIR_PATH_BYTES + 16], const char *name)
{
    snprintf(path, TMPDIR_PATH_BYTES + 16, "%s/%s", dir, name);
}

static mg_store *open_at(const char *name)
{
    char path[TMPDIR_PATH_BYTES + 16];
    mg_result result;

    in_dir(path, name);
    mg_store *store = try_open(path, &result, NULL);
    assert_non_null(store);
    return store;
}

/* ---- damage ---- */

static const mg_store_options unsynced = { .path = dir, .max_bytes = MAP_BYTES, .tables = 2, .readers = 4 };

/* Whether a process can open it, read all of it and write to it. */
static bool can_be_used(void)
{
    int status = 0;
    const pid_t child = fork();

    if (child == 0) {
        mg_result result = MG_OK;
        mg_error err = MG_ERROR_INIT;
        seen s = { { 0 }, SIZE_MAX };
        mg_store_change change = { 0, MG_STR("new"), MG_STR("value") };
        signal(SIGSEGV, SIG_DFL);
        signal(SIGBUS, SIG_DFL);
        freopen("/dev/null", "w", stderr);
        mg_store *store = mg_store_open(&unsynced, &result, &err);
        if (store && mg_store_table(store, "rows", &change.table, &err) == MG_OK &&
            mg_store_scan(store, change.table, MG_STR(""), MG_STR(""), collect, &s, &err) == MG_OK)
            for (int i = 0; i < 5 && result == MG_OK; i++)
                result = mg_store_commit(store, &change, 1, &err);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static mg_result try_it(mg_error *err)
{
    return mg_store_try(&unsynced, err);
}

static void a_look_at_a_store_leaves_it_as_it_was(void **state)
{
    (void)state;
    assert_int_equal(try_it(NULL), MG_OK); /* there is none */
    mg_store *store = must_open();
    const unsigned table = must_table(store, "rows");
    fill(store, table, 0, 500);
    assert_int_equal(try_it(NULL), MG_OK); /* held: that is for mg_store_open to tell */
    mg_store_close(store);
    assert_int_equal(try_it(NULL), MG_OK);
    store = must_open();
    uint64_t rows = 0;
    assert_int_equal(mg_store_rows(store, must_table(store, "rows"), &rows, NULL), MG_OK);
    assert_int_equal(rows, 500);
    mg_store_close(store);
}

/* Damages up to 200 bytes of the file, behind the two pages that say where the others are. */
static void damage(mg_rand *rand, const char *whole, size_t n)
{
    char *bytes = mg_memdup0(whole, n);

    for (uint64_t left = 1 + mg_rand_below(rand, 200); left > 0; left--)
        bytes[8192 + mg_rand_below(rand, n - 8192)] = (char)mg_rand_below(rand, 256);
    overwrite("data.mdb", 0, bytes, n);
    mg_free(bytes);
}

static void damage_that_would_end_the_process_is_found_by_a_look(void **state)
{
    const uint64_t seed = getenv("SEED") ? strtoull(getenv("SEED"), NULL, 10) : 7;
    static char whole[1 << 20];
    mg_result opened;
    mg_store *store = mg_store_open(&unsynced, &opened, NULL);
    const unsigned table = must_table(store, "rows");
    char path[TMPDIR_PATH_BYTES + 16];
    int found = 0;
    mg_rand rand;

    (void)state;
    print_message("SEED=%llu\n", (unsigned long long)seed);
    for (int i = 0; i < 3; i++)
        fill(store, table, 30 * i, 30 * i + 60); /* leaves free pages behind */
    mg_store_close(store);
    in_dir(path, "data.mdb");
    const int fd = open(path, O_RDONLY);
    const ssize_t n = read(fd, whole, sizeof whole);
    close(fd);
    assert_true(n > 8192 && (size_t)n < sizeof whole);
    mg_rand_init(&rand, seed);
    for (int run = 0; run < 40; run++) {
        mg_error err = MG_ERROR_INIT;
        damage(&rand, whole, (size_t)n);
        const mg_result result = try_it(&err);
        assert_true(result == MG_OK || result == MG_ERR_INVALID);
        found += result == MG_ERR_INVALID;
        assert_true(result == MG_ERR_INVALID || can_be_used());
    }
    assert_true(found > 0);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh_directory, remove_directory)

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
        TEST(a_file_that_is_no_store_is_invalid),
        TEST(a_file_cut_within_its_first_pages_is_invalid),
        TEST(a_file_cut_further_on_is_reported_and_not_a_crash),
        TEST(a_look_at_a_store_leaves_it_as_it_was),
        TEST(damage_that_would_end_the_process_is_found_by_a_look),
        TEST(a_path_through_a_file_says_so),
        TEST(a_directory_of_somebody_else_is_refused_with_advice),
        TEST(a_killed_process_leaves_what_it_committed_and_no_lock),
        TEST(figures_say_what_is_used),
        TEST(a_copy_is_a_store_of_one_moment),
        TEST(a_store_is_restored_into_an_empty_directory_only),
        TEST(a_copy_that_is_none_restores_nothing),
        TEST(compacting_gives_the_disk_back_and_keeps_every_row),
    };
    return cmocka_run_group_tests_name("store/store", tests, NULL, NULL);
}
