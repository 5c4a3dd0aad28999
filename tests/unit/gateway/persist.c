/* What outlives a process, over real stores: clocks, keys, small things, and what is wrong with disks. */
#include "persist_fixture.h"

#include "gateway/persist_parts.h"
#include "policy/breaker.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static memory m;

static int set_up(void **state)
{
    (void)state;
    memory_init(&m);
    memory_open(&m);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    memory_fini(&m);
    return 0;
}

/* ---- limiters ---- */

static mg_limiter_conf conf_of(mg_limiter_algorithm algorithm, uint64_t limit, uint64_t period_ms)
{
    mg_limiter_conf conf;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = limit;
    conf.period_ms = period_ms;
    conf.max_keys = 1000;
    conf.overflow_cells = 4;
    memcpy(conf.secret, mg_persist_secret(m.persist), sizeof(conf.secret));
    return conf;
}

static mg_limiter *keep(const char *name, uint64_t key_hash, const mg_limiter_conf *conf)
{
    mg_limiter *l = mg_limiter_new(conf, NULL);

    assert_non_null(l);
    mg_persist_keep_limiter(m.persist, mg_str_of(name), key_hash, conf, l);
    return l;
}

/* A rule of so many an hour that hardly anything comes back while a test runs. */
static mg_limiter *keep_hourly(const char *name, mg_limiter_algorithm algorithm, uint64_t limit)
{
    const mg_limiter_conf conf = conf_of(algorithm, limit, 3600000);

    return keep(name, 1, &conf);
}

static void drop(mg_limiter *l)
{
    mg_persist_drop_limiter(m.persist, l);
    mg_limiter_free(l);
}

static bool take(mg_limiter *l, const char *key, uint32_t cost)
{
    mg_limiter_answer a;

    return mg_limiter_take(l, key, strlen(key), cost, memory_now(&m), &a);
}

static uint64_t left(const mg_limiter *l, const char *key)
{
    mg_limiter_answer a;

    mg_limiter_peek(l, key, strlen(key), 0, memory_now(&m), &a);
    return a.remaining;
}

static uint64_t rows(void)
{
    mg_persist_stats stats;

    mg_persist_stats_get(m.persist, &stats);
    return stats.rows;
}

static uint64_t skipped(void)
{
    mg_persist_stats stats;

    mg_persist_stats_get(m.persist, &stats);
    return stats.skipped_rows;
}

/* Turns once a second. */
static void turn(unsigned seconds)
{
    while (seconds--) {
        mg_fake_clock_advance(&m.clock, S);
        mg_persist_turn(m.persist);
    }
}

static void a_killed_gateway_goes_on_limiting_where_it_was(void **state)
{
    (void)state;
    for (int i = MG_LIMITER_TOKEN_BUCKET; i < MG_LIMITER_CONCURRENCY; i++) {
        char name[8];
        snprintf(name, sizeof(name), "l%d", i);
        mg_limiter *l = keep_hourly(name, (mg_limiter_algorithm)i, 10);
        if (i != MG_LIMITER_LEAKY)
            assert_true(take(l, "k", 7));
        else
            assert_true(take(l, "k", 1));
        const uint64_t then = left(l, "k");
        memory_flush(&m);
        drop(l);
        memory_restart(&m, 2 * S);
        l = keep_hourly(name, (mg_limiter_algorithm)i, 10);
        assert_int_equal(left(l, "k"), then);
        drop(l);
    }
}

static void what_was_not_flushed_is_lost_and_no_more(void **state)
{
    mg_limiter *l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);

    (void)state;
    assert_true(take(l, "k", 4));
    turn(1);
    assert_true(take(l, "k", 3));
    assert_int_equal(left(l, "k"), 3);
    drop(l);
    memory_restart(&m, 0);
    l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);
    assert_int_equal(left(l, "k"), 6);
    drop(l);
}

static void another_algorithm_begins_with_what_was_used(void **state)
{
    mg_limiter *l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);

    (void)state;
    assert_true(take(l, "k", 4));
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    l = keep_hourly("l", MG_LIMITER_SLIDING_LOG, 10);
    assert_int_equal(left(l, "k"), 6);
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    l = keep_hourly("l", MG_LIMITER_FIXED_WINDOW, 5);
    assert_int_equal(left(l, "k"), 1);
    drop(l);
}

static void a_lower_burst_clamps_and_a_higher_one_does_not_raise(void **state)
{
    mg_limiter *l = keep_hourly("l", MG_LIMITER_TOKEN_BUCKET, 10);
    mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);

    (void)state;
    assert_true(take(l, "k", 8));
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    conf.burst = 5;
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "k"), 0);
    drop(l);
    memory_restart(&m, 0);
    conf.burst = 20;
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "k"), 12);
    drop(l);
}

static void what_a_lower_limit_clamped_is_not_raised_by_a_later_one(void **state)
{
    mg_limiter_conf large = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000), small = large;
    mg_limiter *l;

    (void)state;
    small.burst = 2;
    for (int round = 0; round < 2; round++) {
        l = keep("l", 1, &large);
        assert_true(take(l, "k", 8));
        memory_flush(&m);
        if (round) { /* while it runs */
            mg_limiter *next = mg_limiter_next(l, &small, memory_now(&m), NULL);
            mg_persist_keep_limiter(m.persist, MG_STR("l"), 1, &small, next);
            turn(2);
            drop(next);
            drop(l);
        } else {
            drop(l);
            memory_restart(&m, 0);
            l = keep("l", 1, &small);
            assert_int_equal(left(l, "k"), 0);
            turn(2);
            drop(l);
        }
        memory_restart(&m, 0);
        l = keep("l", 1, &large);
        assert_int_equal(left(l, "k"), 8);
        drop(l);
        memory_restart(&m, H);
    }
}

static void another_key_begins_empty_and_its_rows_are_given_up(void **state)
{
    const mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter *l = keep("l", 1, &conf);

    (void)state;
    assert_true(take(l, "k", 4));
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    l = keep("l", 2, &conf);
    assert_int_equal(left(l, "k"), 10);
    assert_true(take(l, "k", 1));
    memory_flush(&m);
    assert_int_equal(rows(), 2);
    mg_fake_clock_advance(&m.clock, H); /* both debts are over */
    turn(3);
    assert_int_equal(rows(), 0);
    assert_int_equal(skipped(), 0);
    drop(l);
}

static void a_table_of_another_size_has_all_keys_and_no_row_twice(void **state)
{
    mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter *l = keep("l", 1, &conf);
    char key[16];

    (void)state;
    for (int i = 0; i < 300; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(l, key, 4));
    }
    memory_flush(&m);
    drop(l);
    for (int round = 0; round < 3; round++) {
        memory_restart(&m, 0);
        conf.max_keys = 700 + 100 * (uint32_t)round;
        l = keep("l", 1, &conf);
        for (int i = 0; i < 300; i++) {
            snprintf(key, sizeof(key), "k%d", i);
            assert_int_equal(left(l, key), 6);
        }
        if (round == 0)
            memory_flush(&m); /* stored under the new number; those of the old one stand there, too */
        else
            turn(4);
        drop(l);
    }
    assert_int_equal(rows(), 300);
    assert_int_equal(skipped(), 0);
}

static void a_limiter_that_is_reconfigured_while_it_runs_is_followed(void **state)
{
    mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter *l = keep("l", 1, &conf), *next, *other;

    (void)state;
    assert_true(take(l, "k", 4));
    memory_flush(&m);
    conf.limit = 20;
    next = mg_limiter_next(l, &conf, memory_now(&m), NULL);
    mg_persist_keep_limiter(m.persist, MG_STR("l"), 1, &conf, next);
    assert_true(take(next, "k", 1));
    conf.algorithm = MG_LIMITER_FIXED_WINDOW;
    other = mg_limiter_next(next, &conf, memory_now(&m), NULL);
    mg_persist_keep_limiter(m.persist, MG_STR("l"), 1, &conf, other);
    assert_true(take(other, "k", 2));
    const uint64_t then = left(other, "k");
    memory_flush(&m);
    drop(l);
    drop(next);
    drop(other);
    memory_restart(&m, 0);
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "k"), then);
    drop(l);
}

static void rows_that_owe_nothing_any_more_are_swept(void **state)
{
    const mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 1000);
    mg_limiter *l = keep("l", 1, &conf);
    char key[16];

    (void)state;
    for (int i = 0; i < 500; i++) {
        snprintf(key, sizeof(key), "k%d", i);
        assert_true(take(l, key, 10));
    }
    memory_flush(&m);
    assert_int_equal(rows(), 500);
    turn(2);
    assert_int_equal(rows(), 0);
    assert_true(take(l, "k1", 10));
    turn(1);
    drop(l);
    turn(3); /* with its last row the limiter's number goes, too */
    assert_int_equal(rows(), 0);
    memory_restart(&m, 0);
    assert_int_equal(skipped(), 0);
}

static mg_limiter_conf comer_conf;
static mg_limiter *comer;
static bool comer_came;

/* The flush thread is about to store that a number is not in use any more: just then somebody uses its name.
 */
static uint64_t mono_while_given_up(const mg_clock *clock)
{
    const persist_batch *batch = &m.persist->batch;
    bool given_up = false;

    for (size_t i = 0; i < batch->count; i++)
        given_up |= batch->changes[i].table == m.persist->numbers_table && !batch->changes[i].value.p;
    if (given_up && !comer_came) {
        comer_came = true; /* keeping reads this clock, too */
        comer = keep("l", 1, &comer_conf);
    }
    return ((const mg_fake_clock *)(const void *)clock)->mono;
}

static void a_limiter_that_comes_while_its_number_is_given_up_is_stored_under_another(void **state)
{
    mg_limiter *l;

    (void)state;
    comer = NULL;
    comer_conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    l = keep("l", 1, &comer_conf);
    assert_true(take(l, "k", 4));
    memory_flush(&m);
    drop(l);
    memory_restart(&m, H); /* nothing is owed any more, and no configuration names it */
    m.clock.clock.mono_ns = mono_while_given_up;
    turn(4);
    mg_fake_clock_init(&m.clock, m.clock.mono, m.clock.wall);
    assert_non_null(comer);
    assert_true(take(comer, "k", 7));
    turn(4);
    drop(comer);
    memory_restart(&m, 0);
    l = keep("l", 1, &comer_conf);
    assert_int_equal(left(l, "k"), 3);
    drop(l);
}

static void overflow_cells_come_back_where_there_are_as_many(void **state)
{
    mg_limiter_conf conf = conf_of(MG_LIMITER_TOKEN_BUCKET, 10, 3600000);
    mg_limiter *l;

    (void)state;
    conf.max_keys = 1;
    conf.overflow_cells = 1;
    l = keep("l", 1, &conf);
    assert_true(take(l, "owner", 1));
    assert_true(take(l, "guest", 7));
    assert_int_equal(left(l, "another guest"), 3);
    memory_flush(&m);
    drop(l);
    memory_restart(&m, 0);
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "another guest"), 3);
    drop(l);
    memory_restart(&m, 0);
    conf.overflow_cells = 2;
    l = keep("l", 1, &conf);
    assert_int_equal(left(l, "owner"), 9);
    assert_int_equal(left(l, "another guest"), 10);
    drop(l);
}

/* ---- small things ---- */

typedef struct thing {
    uint64_t value, stamp, reads;
} thing;

static uint64_t thing_stamp(const void *self)
{
    return ((const thing *)self)->stamp;
}

static void thing_write(const void *self, uint64_t policy_ns, mg_text *row)
{
    (void)policy_ns;
    mg_record_u64(row, ((const thing *)self)->value);
}

static bool thing_read(void *self, mg_record *row, uint64_t policy_ns)
{
    thing *t = self;

    (void)policy_ns;
    t->value = mg_record_get_u64(row);
    t->reads++;
    return row->ok && t->value != 13;
}

static const mg_keep_ops thing_ops = { thing_stamp, thing_write, thing_read };

static void keep_thing(thing *t, mg_keep_kind kind, const char *name)
{
    mg_persist_keep(m.persist, kind, mg_str_of(name), &thing_ops, t);
}

static void change(thing *t, uint64_t value)
{
    t->value = value;
    t->stamp++;
}

static void a_small_thing_is_stored_within_50_ms_of_a_change(void **state)
{
    thing t = { 0 }, again = { 0 }, other = { 0 };

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(t.reads, 0);
    mg_persist_turn(m.persist);
    change(&t, 42);
    mg_fake_clock_advance(&m.clock, MG_PERSIST_LOOK_MS * MS);
    mg_persist_turn(m.persist);
    change(&t, 43); /* not seen any more */
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "a");
    keep_thing(&other, MG_KEEP_EJECTION, "a"); /* of another kind */
    assert_int_equal(again.value, 42);
    assert_int_equal(other.reads, 0);
}

static void what_has_not_changed_is_not_written_again(void **state)
{
    thing t = { 0 };
    mg_persist_stats before, after;

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "a");
    mg_persist_turn(m.persist);
    mg_persist_stats_get(m.persist, &before);
    for (int i = 0; i < 100; i++) {
        mg_fake_clock_advance(&m.clock, MG_PERSIST_LOOK_MS * MS);
        mg_persist_turn(m.persist);
    }
    mg_persist_stats_get(m.persist, &after);
    assert_int_equal(mg_cell_get(&after.commits.count), mg_cell_get(&before.commits.count));
}

static void what_was_dropped_keeps_its_last_state(void **state)
{
    thing t = { 0 }, again = { 0 }, third = { 0 };

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "a");
    change(&t, 7);
    mg_persist_drop(m.persist, &t);
    change(&t, 8); /* nobody's business any more */
    keep_thing(&again, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(again.value, 7);
    mg_persist_drop(m.persist, &again);
    memory_flush(&m);
    memory_restart(&m, 0);
    keep_thing(&third, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(third.value, 7);
}

static void a_newer_one_of_the_name_takes_over_from_the_one_before(void **state)
{
    thing old = { 0 }, new = { 0 }, again = { 0 };

    (void)state;
    keep_thing(&old, MG_KEEP_ROLLOUT, "a");
    change(&old, 5);
    keep_thing(&new, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(new.value, 5);
    change(&new, 6);
    mg_persist_drop(m.persist, &old); /* later, with its snapshot */
    memory_flush(&m);
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(again.value, 6);
}

static void a_row_that_is_not_understood_is_counted(void **state)
{
    thing t = { .value = 13 }, again = { 0 };

    (void)state;
    keep_thing(&t, MG_KEEP_ROLLOUT, "a");
    memory_flush(&m);
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "a");
    assert_int_equal(skipped(), 1);
}

static void more_things_than_a_transaction_has_rows_are_all_stored(void **state)
{
    enum { MANY = 2 * MG_PERSIST_ROWS_MAX + 7 };
    static thing things[MANY], again[MANY];
    char name[16];

    (void)state;
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        things[i] = again[i] = (thing){ 0 };
        things[i].value = 100 + (uint64_t)i;
        keep_thing(&things[i], MG_KEEP_ROLLOUT, name);
    }
    memory_flush(&m);
    memory_restart(&m, 0);
    for (int i = 0; i < MANY; i++) {
        snprintf(name, sizeof(name), "t%d", i);
        keep_thing(&again[i], MG_KEEP_ROLLOUT, name);
        assert_int_equal(again[i].value, 100 + i);
    }
}

static void names_too_long_are_not_kept(void **state)
{
    char name[MG_PERSIST_NAME_MAX + 2];
    thing t = { 0 };

    (void)state;
    memset(name, 'n', sizeof(name));
    name[MG_PERSIST_NAME_MAX + 1] = '\0';
    keep_thing(&t, MG_KEEP_ROLLOUT, name);
    keep_thing(&t, MG_KEEP_ROLLOUT, "");
    mg_persist_drop(m.persist, &t);
    memory_flush(&m);
}

static void without_a_store_keeping_does_nothing(void **state)
{
    thing t = { 0 };

    (void)state;
    mg_persist_keep(NULL, MG_KEEP_ROLLOUT, MG_STR("a"), &thing_ops, &t);
    mg_persist_drop(NULL, &t);
    mg_persist_keep_limiter(NULL, MG_STR("a"), 1, NULL, NULL);
    mg_persist_drop_limiter(NULL, NULL);
    mg_persist_free(NULL);
    assert_int_equal(t.reads, 0);
}

static void rows_that_nobody_has_kept_for_a_month_are_dropped(void **state)
{
    thing kept = { .value = 1 }, left_behind = { .value = 2 }, again = { 0 };

    (void)state;
    keep_thing(&kept, MG_KEEP_ROLLOUT, "kept");
    keep_thing(&left_behind, MG_KEEP_ROLLOUT, "left");
    memory_flush(&m);
    memory_restart(&m, 40 * 24 * H);
    keep_thing(&kept, MG_KEEP_ROLLOUT, "kept");
    mg_fake_clock_advance(&m.clock, 2 * H);
    turn(1);
    memory_restart(&m, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "left");
    assert_int_equal(again.reads, 0);
    keep_thing(&again, MG_KEEP_ROLLOUT, "kept");
    assert_int_equal(again.value, 1);
}

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
    assert_int_equal(mg_persist_backup(m.persist, copy, NULL), MG_OK);
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

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_killed_gateway_goes_on_limiting_where_it_was),
        TEST(what_was_not_flushed_is_lost_and_no_more),
        TEST(another_algorithm_begins_with_what_was_used),
        TEST(a_lower_burst_clamps_and_a_higher_one_does_not_raise),
        TEST(what_a_lower_limit_clamped_is_not_raised_by_a_later_one),
        TEST(another_key_begins_empty_and_its_rows_are_given_up),
        TEST(a_table_of_another_size_has_all_keys_and_no_row_twice),
        TEST(a_limiter_that_is_reconfigured_while_it_runs_is_followed),
        TEST(rows_that_owe_nothing_any_more_are_swept),
        TEST(a_limiter_that_comes_while_its_number_is_given_up_is_stored_under_another),
        TEST(overflow_cells_come_back_where_there_are_as_many),
        TEST(a_small_thing_is_stored_within_50_ms_of_a_change),
        TEST(what_has_not_changed_is_not_written_again),
        TEST(what_was_dropped_keeps_its_last_state),
        TEST(a_newer_one_of_the_name_takes_over_from_the_one_before),
        TEST(a_row_that_is_not_understood_is_counted),
        TEST(more_things_than_a_transaction_has_rows_are_all_stored),
        TEST(names_too_long_are_not_kept),
        TEST(without_a_store_keeping_does_nothing),
        TEST(rows_that_nobody_has_kept_for_a_month_are_dropped),
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
