/* A store, or its disk, without room: what is deleted goes, what is there stays, and writing goes on as soon
 * as there is room. */
#include "store_fixture.h"

#include "base/rand.h"

#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

enum { BIG = 60000, KEYS = 400 };

static char bytes[MAP_BYTES];

static mg_store *open_of(size_t max_bytes)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result;
    const mg_store_options options = {
        .path = dir, .max_bytes = max_bytes, .tables = 2, .readers = 4, .sync = false
    };
    mg_store *store = mg_store_open(&options, &result, &err);

    if (!store)
        fail_msg("%s", err.message);
    return store;
}

static mg_result put_bytes(mg_store *store, unsigned table, int number, size_t n)
{
    char key[16];

    snprintf(key, sizeof(key), "k%06d", number);
    const mg_store_change change = { table, mg_str_of(key), mg_str_make(bytes, n) };
    return mg_store_commit(store, &change, 1, NULL);
}

static mg_result delete_one(mg_store *store, unsigned table, int number)
{
    char key[16];

    snprintf(key, sizeof(key), "k%06d", number);
    const mg_store_change change = { table, mg_str_of(key), MG_STR_NONE };
    return mg_store_commit(store, &change, 1, NULL);
}

/* Rows of `n` bytes until there is no room; how many. */
static int fill_up(mg_store *store, unsigned table, size_t n)
{
    int count = 0;

    while (put_bytes(store, table, count, n) == MG_OK)
        count++;
    assert_int_equal(put_bytes(store, table, count, n), MG_ERR_LIMIT);
    return count;
}

static uint64_t used(mg_store *store)
{
    mg_store_stats stats;

    assert_int_equal(mg_store_stats_get(store, &stats, NULL), MG_OK);
    return stats.used_bytes;
}

static void a_full_store_is_emptied_row_by_row_and_filled_again(void **state)
{
    static const size_t sizes[] = { 200, 1500, 4000, 9000, BIG };

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        mg_store *store = open_of(MAP_BYTES);
        const unsigned table = must_table(store, "rows");
        int first = 0;
        for (int round = 0; round < 3; round++) {
            const int count = fill_up(store, table, sizes[i]);
            if (round == 0)
                first = count;
            assert_true(count >= first - first / 8 - 1); /* as often as one likes */
            assert_true(used(store) <= MAP_BYTES + 64 * 1024);
            for (int k = 0; k < count; k++)
                assert_int_equal(delete_one(store, table, k), MG_OK);
        }
        assert_true(used(store) < MAP_BYTES / 4);
        mg_store_close(store);
    }
}

static void what_is_small_finds_room_beside_what_is_large(void **state)
{
    mg_store *store = open_of(MAP_BYTES);
    const unsigned table = must_table(store, "rows");

    (void)state;
    const int count = fill_up(store, table, BIG);
    assert_int_equal(put_bytes(store, table, count, 100), MG_OK);
    for (int k = 0; k < count; k++) /* no more than there was */
        assert_int_equal(put_bytes(store, table, k, BIG), MG_OK);
    assert_int_equal(put_bytes(store, table, 0, 100), MG_OK); /* which makes room */
    assert_int_equal(put_bytes(store, table, 1, 100), MG_OK);
    assert_int_equal(put_bytes(store, table, count + 1, BIG), MG_OK);
    mg_store_close(store);
}

static void a_store_that_may_be_larger_no_more_is_read_and_emptied(void **state)
{
    mg_store *store = open_of(4 * MAP_BYTES);
    const unsigned table = must_table(store, "rows");
    mg_store_stats stats;
    mg_error err = MG_ERROR_INIT;

    (void)state;
    const int count = fill_up(store, table, 2000);
    mg_store_close(store);
    store = open_of(MAP_BYTES);
    assert_int_equal(must_table(store, "rows"), table);
    assert_int_equal(mg_store_stats_get(store, &stats, NULL), MG_OK);
    assert_int_equal(stats.max_bytes, MAP_BYTES);
    assert_true(stats.used_bytes > 3 * MAP_BYTES);
    assert_int_equal(put_bytes(store, table, count, BIG), MG_ERR_LIMIT);
    int left = count;
    while (put_bytes(store, table, count, BIG) != MG_OK)
        assert_int_equal(delete_one(store, table, --left), MG_OK);
    assert_true(left > count / 8 && left < count / 3);
    assert_int_equal(mg_store_compact(store, &err), MG_OK);
    assert_int_equal(mg_store_stats_get(store, &stats, NULL), MG_OK);
    assert_true(stats.file_bytes < 2 * MAP_BYTES);
    assert_int_equal(delete_one(store, table, 0), MG_OK);
    mg_store_close(store);
}

/* ---- the disk ---- */

/* A file system of 4 MiB over `dir`, for this process alone; false where we may not. */
static bool mount_small_disk(void)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("none", dir, "tmpfs", 0, "size=4m") == 0;
}

/* Something else takes what the disk has left. */
static void fill_disk(void)
{
    char path[TMPDIR_PATH_BYTES + 16];

    in_dir(path, "other");
    const int fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
    for (size_t n = 4096; n; n = n > 1 ? n / 2 : 0)
        while (write(fd, bytes, n) == (ssize_t)n)
            continue;
    close(fd);
}

/* Exit status of the child: 0 as it should be, 77 where there is no such disk, else the line. */
#define SEE(condition)                                                                                       \
    do {                                                                                                     \
        if (!(condition))                                                                                    \
            return __LINE__ % 256 ? __LINE__ % 256 : 1;                                                      \
    } while (0)

static int full_disk(void)
{
    char path[TMPDIR_PATH_BYTES + 16];
    mg_error err = MG_ERROR_INIT;

    if (!mount_small_disk())
        return 77;
    mg_store *store = open_of(64 << 20);
    const unsigned table = must_table(store, "rows");
    for (int k = 0; k < 100; k++)
        SEE(put_bytes(store, table, k, 3000) == MG_OK);
    fill_disk();
    int count = 100;
    while (put_bytes(store, table, count, 3000) == MG_OK) /* what it has taken already */
        count++;
    SEE(count < 700);
    const mg_store_change one = { table, MG_STR("x"), mg_str_make(bytes, 3000) };
    SEE(mg_store_commit(store, &one, 1, &err) == MG_ERR_LIMIT);
    SEE(strstr(err.message, "free space on that disk"));
    mg_store_close(store);
    store = open_of(64 << 20); /* started again */
    SEE(must_table(store, "rows") == table);
    for (int k = 0; k < count; k++)
        SEE(delete_one(store, table, k) == MG_OK);
    for (int k = 0; k < count / 2; k++) /* in what was left free within the file */
        SEE(put_bytes(store, table, k, 3000) == MG_OK);
    in_dir(path, "other");
    unlink(path);
    for (int k = 0; k < 600; k++)
        SEE(put_bytes(store, table, k, 3000) == MG_OK);
    mg_store_close(store);
    return 0;
}

static int bounded_file(void)
{
    const struct rlimit limit = { 2 << 20, RLIM_INFINITY }, none = { RLIM_INFINITY, RLIM_INFINITY };

    (void)signal(SIGXFSZ, SIG_IGN);
    mg_store *store = open_of(64 << 20);
    const unsigned table = must_table(store, "rows");
    SEE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    const int count = fill_up(store, table, 3000);
    SEE(count > 100 && count < 1000);
    for (int k = 0; k < count; k++)
        SEE(delete_one(store, table, k) == MG_OK);
    SEE(fill_up(store, table, 3000) > count / 2);
    SEE(setrlimit(RLIMIT_FSIZE, &none) == 0);
    for (int k = 0; k < 2 * count; k++)
        SEE(put_bytes(store, table, k, 3000) == MG_OK);
    mg_store_close(store);
    return 0;
}

static void in_child(int (*run)(void))
{
    int status = -1;
    const pid_t child = fork();

    if (child == 0)
        _exit(run());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    if (WEXITSTATUS(status))
        fail_msg("line %d, or a multiple of 256 further on", WEXITSTATUS(status));
}

static void a_full_disk_keeps_a_reserve_for_deletions(void **state)
{
    (void)state;
    in_child(full_disk);
}

static void a_file_as_large_as_the_process_may_write_is_a_full_disk(void **state)
{
    (void)state;
    in_child(bounded_file);
}

/* ---- at random, beside a list of lengths ---- */

typedef struct churn {
    mg_rand rand;
    mg_store *store;
    unsigned table;
    size_t lengths[KEYS]; /* 0: not there */
    bool refused;         /* the last values were */
} churn;

static size_t random_length(churn *c)
{
    switch (mg_rand_below(&c->rand, 4)) {
    case 0: return 1 + mg_rand_below(&c->rand, 40);
    case 1: return 1 + mg_rand_below(&c->rand, 2500);
    case 2: return 1 + mg_rand_below(&c->rand, 9000);
    default: return 1 + mg_rand_below(&c->rand, 65000);
    }
}

/* One transaction of some changes, all of them applied or none. */
static void churn_step(churn *c)
{
    const size_t count = 1 + mg_rand_below(&c->rand, mg_rand_below(&c->rand, 2) ? 4 : MG_STORE_SMALL_ROWS);
    const bool deletes = mg_rand_below(&c->rand, 3) == 0;
    mg_store_change changes[MG_STORE_SMALL_ROWS];
    char keys[MG_STORE_SMALL_ROWS][8];
    size_t lengths[KEYS];

    memcpy(lengths, c->lengths, sizeof lengths);
    for (size_t i = 0; i < count; i++) {
        const size_t k = mg_rand_below(&c->rand, KEYS);
        const size_t n = random_length(c);
        snprintf(keys[i], sizeof keys[i], "%zu", k);
        changes[i] =
            (mg_store_change){ c->table, mg_str_of(keys[i]), deletes ? MG_STR_NONE : mg_str_make(bytes, n) };
        lengths[k] = deletes ? 0 : n;
    }
    const mg_result result = mg_store_commit(c->store, changes, count, NULL);
    if (deletes)
        assert_int_equal(result, MG_OK);
    else
        assert_true(result == MG_OK || result == MG_ERR_LIMIT);
    if (result == MG_OK)
        memcpy(c->lengths, lengths, sizeof lengths);
    c->refused |= result != MG_OK;
}

static void churn_check(churn *c)
{
    mg_store_stats stats;
    mg_arena arena;

    mg_arena_init(&arena, NULL, 0);
    for (size_t k = 0; k < KEYS; k++) {
        char key[8];
        mg_str value;
        snprintf(key, sizeof key, "%zu", k);
        const mg_result result = mg_store_get(c->store, c->table, mg_str_of(key), &arena, &value);
        assert_int_equal(result, c->lengths[k] ? MG_OK : MG_ERR_NOT_FOUND);
        assert_int_equal(value.n, c->lengths[k]);
    }
    mg_arena_fini(&arena);
    assert_int_equal(mg_store_stats_get(c->store, &stats, NULL), MG_OK);
    assert_true(stats.used_bytes <= MAP_BYTES + 64 * 1024);
    assert_true(stats.file_bytes <= 3 * MAP_BYTES);
}

static void whatever_came_before_it_is_never_stuck(void **state)
{
    const uint64_t seed = check_seed(20261130);
    churn c = { .table = 0 };

    (void)state;
    mg_rand_init(&c.rand, seed);
    c.store = open_of(MAP_BYTES);
    c.table = must_table(c.store, "rows");
    for (int i = 0; i < 4000; i++) {
        churn_step(&c);
        if (i % 100 == 0)
            churn_check(&c);
        if (mg_rand_below(&c.rand, 500) == 0) {
            mg_store_close(c.store);
            c.store = open_of(MAP_BYTES);
            assert_int_equal(must_table(c.store, "rows"), c.table);
        }
        if (mg_rand_below(&c.rand, 900) == 0)
            assert_int_equal(mg_store_compact(c.store, NULL), MG_OK);
    }
    assert_true(c.refused);
    churn_check(&c);
    mg_store_close(c.store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_full_store_is_emptied_row_by_row_and_filled_again),
        TEST(what_is_small_finds_room_beside_what_is_large),
        TEST(a_store_that_may_be_larger_no_more_is_read_and_emptied),
        TEST(a_full_disk_keeps_a_reserve_for_deletions),
        TEST(a_file_as_large_as_the_process_may_write_is_a_full_disk),
        TEST(whatever_came_before_it_is_never_stuck),
    };
    return cmocka_run_group_tests_name("store/full", tests, NULL, NULL);
}
