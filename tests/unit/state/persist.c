/* The store of policy state: the clock in it, what is wrong with disks, what people are shown. */
#include "persist_kept.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- clocks ---- */

static void the_policy_clock_goes_on_by_the_monotonic_clock_within_a_boot(void **state)
{
    (void)state;
    mg_fake_clock_advance(&m.clock, 90 * S);
    memory_flush(&m);
    mg_fake_clock_advance(&m.clock, 10 * S);
    const uint64_t then = memory_now(&m);
    m.clock.wall -= (int64_t)H;
    memory_restart(&m, 5 * S);
    assert_int_equal(memory_now(&m), then + 5 * S);
    m.clock.wall += 2 * (int64_t)H;
    memory_restart(&m, 5 * S);
    assert_int_equal(memory_now(&m), then + 10 * S);
}

static void after_a_reboot_it_goes_on_by_the_wall_clock_and_never_back(void **state)
{
    (void)state;
    mg_fake_clock_advance(&m.clock, 90 * S);
    memory_flush(&m);
    uint64_t then = memory_now(&m);
    memory_reboot(&m, 30 * S, 0);
    assert_int_equal(memory_now(&m), then + 30 * S);
    memory_flush(&m);
    then = memory_now(&m);
    memory_reboot(&m, 30 * S, -(int64_t)H);
    assert_int_equal(memory_now(&m), then);
}

static void a_wall_clock_that_is_set_while_running_is_not_time_that_passed(void **state)
{
    (void)state;
    turn(2);
    for (int sign = -1; sign <= 1; sign += 2) {
        m.clock.wall += sign * (int64_t)H;
        turn(2);
        const uint64_t then = memory_now(&m);
        memory_reboot(&m, 30 * S, 0);
        assert_in_range(memory_now(&m), then + 28 * S, then + 30 * S);
        turn(2);
    }
}

/* Whatever the wall clock does: no key is refilled, and every key comes back in time. */
static void an_hour_back_or_forth_neither_resets_nor_sticks(void **state)
{
    const mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 10000);
    mg_limiter *l = keep("l", 1, &conf);

    (void)state;
    for (int run = 0; run < 8; run++) {
        const int64_t step_ns = run & 1 ? (int64_t)H : -(int64_t)H;

        assert_true(take(l, "k", 10));
        if (run & 2)
            m.clock.wall += step_ns; /* while running */
        turn(1);
        assert_false(take(l, "k", 2));
        drop(l);
        if (run & 4) {
            memory_reboot(&m, 0, 0);
        } else {
            if (!(run & 2))
                m.clock.wall += step_ns; /* while down */
            memory_restart(&m, 0);
        }
        l = keep("l", 1, &conf);
        assert_false(take(l, "k", 3));
        mg_fake_clock_advance(&m.clock, 10 * S);
        assert_int_equal(left(l, "k"), 10);
    }
    drop(l);
}

/* ---- stores that are broken, held, full ---- */

static void write_file(const char *name, const char *bytes, size_t n)
{
    char path[TMPDIR_PATH_BYTES + 64];

    snprintf(path, sizeof(path), "%s/%s", m.path, name);
    const int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, n), n);
    close(fd);
}

static int set_aside(void)
{
    DIR *dir = opendir(m.folder);
    const struct dirent *entry;
    int count = 0;

    assert_non_null(dir);
    while ((entry = readdir(dir)))
        count += strncmp(entry->d_name, "policy.broken-", 14) == 0;
    closedir(dir);
    return count;
}

static void a_store_that_is_none_is_set_aside_and_a_fresh_one_made(void **state)
{
    char garbage[16384];

    (void)state;
    memset(garbage, 'G', sizeof(garbage));
    for (int i = 1; i <= 2; i++) { /* twice within a second */
        mg_persist_free(m.persist);
        m.persist = NULL;
        write_file("data.mdb", garbage, sizeof(garbage));
        memory_open(&m);
        assert_int_equal(set_aside(), i);
        assert_true(logged(&m, "policy.broken-20231114T221320Z"));
    }
    memory_flush(&m);
    memory_restart(&m, 0);
    assert_int_equal(set_aside(), 2);
}

static void a_store_that_is_held_is_an_error_and_stays_where_it_is(void **state)
{
    mg_persist *holder = m.persist;
    mg_error err = MG_ERROR_INIT;

    (void)state;
    assert_false(memory_try_open(&m, &err));
    assert_int_equal(err.code, MG_ERR_BUSY);
    assert_int_equal(set_aside(), 0);
    m.persist = holder;
}

static void a_directory_that_cannot_be_made_is_an_error(void **state)
{
    mg_error err = MG_ERROR_INIT;

    (void)state;
    write_file("file", "x", 1);
    mg_persist_free(m.persist);
    snprintf(m.path, sizeof(m.path), "%s/policy/file/x", m.folder);
    assert_false(memory_try_open(&m, &err));
    assert_int_equal(err.code, MG_ERR_IO);
    assert_int_equal(set_aside(), 0);
}

static void a_full_map_stops_storing_and_not_limiting(void **state)
{
    const mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter_conf big = conf;
    mg_persist_stats stats;
    thing t = { 0 }, again = { 0 };
    char key[16];

    (void)state;
    mg_persist_free(m.persist);
    m.max_bytes = 1 << 20;
    memory_open(&m);
    big.max_keys = 100000;
    mg_limiter *l = keep("l", 1, &big);
    keep_thing(&t, MG_KEEP_ROLLOUT, "t");
    for (int i = 0; i < 50000; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(l, key, 10));
    }
    turn(5);
    mg_persist_stats_get(m.persist, &stats);
    assert_true(stats.failing);
    assert_true(stats.errors >= 4);
    assert_true(stats.lag_ms >= 5000);
    assert_true(logged(&m, "raise state.max_size"));
    assert_null(strstr(strstr(m.logged.p, "not stored") + 1, "not stored")); /* said once */
    assert_false(take(l, "k1", 1));
    assert_true(take(l, "new", 1));
    mg_fake_clock_advance(&m.clock, H); /* what was stored owes nothing any more, and makes room */
    turn(30);
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(l, key, 10));
    }
    change(&t, 9);
    turn(3);
    mg_persist_stats_get(m.persist, &stats);
    assert_false(stats.failing);
    assert_true(stats.lag_ms <= 1000);
    assert_true(logged(&m, "stored again"));
    drop(l);
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "t");
    assert_int_equal(again.value, 9);
    l = keep("l", 1, &big);
    assert_true(left(l, "k3") < 10);
    drop(l);
}

/* Writing to the file beyond its first page fails, or works again. */
static void break_disk(bool broken)
{
    const struct rlimit limit = { broken ? 4096 : RLIM_INFINITY, RLIM_INFINITY };

    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static bool failing(void)
{
    mg_persist_stats stats;

    mg_persist_stats_get(m.persist, &stats);
    return stats.failing;
}

static void a_disk_error_is_tried_again_until_it_works(void **state)
{
    mg_limiter *l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);
    thing t = { .value = 8 }, again = { 0 };
    char key[16];

    (void)state;
    for (int i = 0; i < 900; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(l, key, 4));
    }
    break_disk(true);
    turn(3); /* keys */
    assert_true(failing());
    break_disk(false);
    turn(2);
    assert_false(failing());
    assert_int_equal(rows(), 900);

    break_disk(true);
    keep_thing(&t, MG_KEEP_ROLLOUT, "t"); /* small things */
    turn(3);
    assert_true(failing());
    break_disk(false);
    turn(2);
    assert_false(failing());
    drop(l);
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "t");
    assert_int_equal(again.value, 8);
}

/* ---- for people ---- */

typedef struct listing {
    mg_text text;
    size_t left;
    char last[64];
} listing;

static bool list_row(void *self, mg_str key, mg_str json)
{
    listing *l = self;

    mg_text_addf(&l->text, "%.*s=%.*s\n", MG_STR_ARGS(key), MG_STR_ARGS(json));
    snprintf(l->last, sizeof(l->last), "%.*s", MG_STR_ARGS(key));
    return --l->left > 0;
}

static size_t count_lines(const mg_text *text)
{
    size_t lines = 0;

    for (size_t i = 0; i < text->n; i++)
        lines += text->p[i] == '\n';
    return lines;
}

static void rows_are_shown_by_name_page_by_page(void **state)
{
    mg_limiter *a = keep_hourly("a/b", MG_LIMITER_TOKEN_BUCKET, 10);
    mg_limiter *b = keep_hourly("b", MG_LIMITER_FIXED_WINDOW, 10);
    listing all = { { 0 }, 1000, "" }, page = { { 0 }, 3, "" };
    mg_text json = { 0 };
    mg_error err = MG_ERROR_INIT;
    char key[16];

    (void)state;
    for (int i = 0; i < 10; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(a, key, 4));
        assert_true(take(b, key, 2));
    }
    memory_flush(&m);
    assert_int_equal(
        mg_persist_scan(m.persist, MG_STR("limiters"), MG_STR(""), MG_STR(""), list_row, &all, NULL), MG_OK);
    assert_int_equal(count_lines(&all.text), 20);
    for (int pages = 0; pages < 7; pages++) {
        const mg_str after = mg_str_of(page.last);
        char from[64];
        memcpy(from, page.last, sizeof(from));
        page.left = 3;
        assert_int_equal(mg_persist_scan(m.persist, MG_STR("limiters"), MG_STR(""),
                                         mg_str_make(from, after.n), list_row, &page, NULL),
                         MG_OK);
    }
    assert_string_equal(page.text.p, all.text.p);
    mg_text_clear(&all.text);
    all.left = 1000;
    assert_int_equal(
        mg_persist_scan(m.persist, MG_STR("limiters"), MG_STR("b/"), MG_STR(""), list_row, &all, NULL),
        MG_OK);
    assert_int_equal(count_lines(&all.text), 10);
    assert_non_null(strstr(all.text.p, "\"algorithm\":\"fixed_window\",\"used\":2,"));
    assert_int_equal(mg_persist_get(m.persist, MG_STR("limiters"), mg_str_of(all.last), &json, NULL), MG_OK);
    assert_non_null(strstr(all.text.p, json.p));
    assert_int_equal(mg_persist_get(m.persist, MG_STR("limiters"), MG_STR("b/999999"), &json, &err),
                     MG_ERR_NOT_FOUND);
    assert_int_equal(
        mg_persist_scan(m.persist, MG_STR("nonsense"), MG_STR(""), MG_STR(""), list_row, &all, &err),
        MG_ERR_NOT_FOUND);
    assert_non_null(strstr(err.message, "breakers"));
    mg_text_fini(&all.text);
    mg_text_fini(&page.text);
    mg_text_fini(&json);
    drop(a);
    drop(b);
}

static void small_things_and_the_clock_are_shown_and_the_secret_is_not(void **state)
{
    thing t = { .value = 0x1234 };
    listing all = { { 0 }, 1000, "" };

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "checkout");
    keep_thing(&t, MG_KEEP_EJECTION, "cart");
    memory_flush(&m);
    assert_int_equal(
        mg_persist_scan(m.persist, MG_STR("rollouts"), MG_STR(""), MG_STR(""), list_row, &all, NULL), MG_OK);
    assert_string_equal(all.text.p, "checkout={\"stored_ms_ago\":0,\"bytes\":\"3412000000000000\"}\n");
    mg_text_clear(&all.text);
    assert_int_equal(mg_persist_scan(m.persist, MG_STR("meta"), MG_STR(""), MG_STR(""), list_row, &all, NULL),
                     MG_OK);
    assert_string_equal(all.text.p,
                        "clock={\"policy_ms\":0,\"saved_at\":\"2023-11-14T22:13:20.000Z\",\"boot_id\":"
                        "\"boot-1\"}\nsecret=\"***\"\n");
    mg_text_fini(&all.text);
}

static void a_backup_is_restored_as_a_memory(void **state)
{
    char copy[TMPDIR_PATH_BYTES + 32], to[TMPDIR_PATH_BYTES + 32];
    mg_limiter *l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);

    (void)state;
    assert_true(take(l, "k", 4));
    snprintf(copy, sizeof(copy), "%s/backup/policy", m.folder);
    snprintf(to, sizeof(to), "%s/other", m.folder);
    memory_flush(&m);
    assert_int_equal(mg_persist_copy(m.persist, copy, NULL), MG_OK);
    assert_int_equal(mg_persist_compact(m.persist, NULL), MG_OK);
    memory_flush(&m);
    drop(l);
    mg_persist_free(m.persist);
    assert_int_equal(mg_store_restore(copy, to, NULL), MG_OK);
    snprintf(m.path, sizeof(m.path), "%s", to);
    memory_open(&m);
    l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);
    assert_int_equal(left(l, "k"), 6);
    drop(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_policy_clock_goes_on_by_the_monotonic_clock_within_a_boot),
        TEST(after_a_reboot_it_goes_on_by_the_wall_clock_and_never_back),
        TEST(a_wall_clock_that_is_set_while_running_is_not_time_that_passed),
        TEST(an_hour_back_or_forth_neither_resets_nor_sticks),
        TEST(a_store_that_is_none_is_set_aside_and_a_fresh_one_made),
        TEST(a_store_that_is_held_is_an_error_and_stays_where_it_is),
        TEST(a_directory_that_cannot_be_made_is_an_error),
        TEST(a_full_map_stops_storing_and_not_limiting),
        TEST(a_disk_error_is_tried_again_until_it_works),
        TEST(rows_are_shown_by_name_page_by_page),
        TEST(small_things_and_the_clock_are_shown_and_the_secret_is_not),
        TEST(a_backup_is_restored_as_a_memory),
    };
    return cmocka_run_group_tests_name("gateway/persist", tests, NULL, NULL);
}
