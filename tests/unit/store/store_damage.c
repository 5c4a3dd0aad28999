/* A store whose file is damaged: found by a look or told at the opening, never a crash. */
#include "store_fixture.h"

#include "base/rand.h"

#include <signal.h>
#include <sys/wait.h>

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

static void an_empty_file_is_damage_and_no_new_store(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result = MG_OK;
    char path[TMPDIR_PATH_BYTES + 16];

    (void)state;
    mg_store_close(must_open());
    snprintf(path, sizeof(path), "%s/data.mdb", dir);
    assert_int_equal(truncate(path, 0), 0);
    assert_null(try_open(dir, &result, &err));
    assert_int_equal(result, MG_ERR_INVALID);
    assert_non_null(strstr(err.message, "its data.mdb is empty; move the directory aside"));
    assert_int_equal(unlink(path), 0);
    mg_store_close(must_open()); /* none at all is a new one */
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_file_that_is_no_store_is_invalid),
        TEST(an_empty_file_is_damage_and_no_new_store),
        TEST(a_file_cut_within_its_first_pages_is_invalid),
        TEST(a_file_cut_further_on_is_reported_and_not_a_crash),
        TEST(a_look_at_a_store_leaves_it_as_it_was),
        TEST(damage_that_would_end_the_process_is_found_by_a_look),
    };
    return cmocka_run_group_tests_name("store/store_damage", tests, NULL, NULL);
}
