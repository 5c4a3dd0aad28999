/* The key-value store: what plugins are answered, and what outlives a flush, a reopening and a kill. */
#include "support/check.h"
#include "support/tmpdir.h"

#include "base/mem.h"
#include "gateway/kv.h"

#include <pthread.h>
#include <math.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

static char dir[TMPDIR_PATH_BYTES];

/* A kv on a clock of its own, in memory or over `dir`. */
typedef struct fixture {
    mg_fake_clock clock;
    mg_store *store;
    mg_kv *kv;
    mg_kv_space *space;
} fixture;

static void open_kv(fixture *f, bool durable, size_t map_bytes, uint64_t space_bytes)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result;

    f->store = NULL;
    if (durable) {
        const mg_store_options options = { dir, map_bytes ? map_bytes : 8 << 20, 4, 16, true };
        f->store = mg_store_open(&options, &result, &err);
        if (!f->store)
            fail_msg("%s", err.message);
    }
    const mg_kv_options options = { f->store, &f->clock.clock, NULL, space_bytes, 42 };
    f->kv = mg_kv_new(&options, &err);
    if (!f->kv)
        fail_msg("%s", err.message);
    f->space = mg_kv_open(f->kv, MG_STR("plugin"), &err);
    assert_non_null(f->space);
}

static void close_kv(fixture *f)
{
    mg_kv_space_free(f->space);
    mg_kv_free(f->kv);
    mg_store_close(f->store);
}

static void begin(fixture *f, bool durable)
{
    mg_fake_clock_init(&f->clock, 1000, 1700000000 * (int64_t)MG_NS_PER_S);
    open_kv(f, durable, 0, 0);
}

static void reopen(fixture *f)
{
    close_kv(f);
    open_kv(f, true, 0, 0);
}

static void flush(fixture *f)
{
    mg_error err = MG_ERROR_INIT;

    if (mg_kv_flush(f->kv, &err) != MG_OK)
        fail_msg("%s", err.message);
}

static const char *set_for(mg_kv_space *space, const char *key, const char *value, double ttl_s)
{
    return mg_kv_set(space, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value), ttl_s);
}

static void set(mg_kv_space *space, const char *key, const char *value)
{
    assert_null(set_for(space, key, value, 0));
}

static void check_value_at(mg_kv_space *space, const char *key, const char *want, const char *file, int line)
{
    mg_slice value;
    const char *error = mg_kv_get(space, key, (uint32_t)strlen(key), &value);

    if (!error && (value.p != NULL) == (want != NULL) &&
        (!want || mg_str_eq_c(mg_str_make(value.p, value.n), want)))
        return;
    print_error("%s: got %.*s (%s), want %s\n", key, (int)value.n, value.p ? value.p : "nothing",
                error ? error : "ok", want ? want : "nothing");
    _fail(file, line);
}
#define check_value(space, key, want) check_value_at((space), (key), (want), __FILE__, __LINE__)

static void del(mg_kv_space *space, const char *key)
{
    assert_null(mg_kv_delete(space, key, (uint32_t)strlen(key)));
}

static double incr(mg_kv_space *space, const char *key, double delta, double ttl_s)
{
    double result;

    assert_null(mg_kv_incr(space, key, (uint32_t)strlen(key), delta, ttl_s, &result));
    return result;
}

static bool cas(mg_kv_space *space, const char *key, const char *expected, const char *value)
{
    bool swapped;

    assert_null(mg_kv_cas(space, key, (uint32_t)strlen(key), expected,
                          expected ? (uint32_t)strlen(expected) : 0, value,
                          value ? (uint32_t)strlen(value) : 0, 0, &swapped));
    return swapped;
}

/* ---- deciding; each over memory and over a store with and without a flush between the steps ---- */

enum { IN_MEMORY, PENDING, FLUSHED, MODES };

static void begin_mode(fixture *f, int mode)
{
    begin(f, mode != IN_MEMORY);
}

static void step(fixture *f, int mode)
{
    if (mode == FLUSHED)
        flush(f);
}

static void what_is_set_is_read_until_it_is_deleted(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        check_value(f.space, "k", NULL);
        set(f.space, "k", "one");
        step(&f, mode);
        check_value(f.space, "k", "one");
        set(f.space, "k", "");
        step(&f, mode);
        check_value(f.space, "k", "");
        del(f.space, "k");
        step(&f, mode);
        check_value(f.space, "k", NULL);
        del(f.space, "k");
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

static void increments_count_from_nothing_and_go_below_zero(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        assert_true(incr(f.space, "n", 5, 0) == 5);
        step(&f, mode);
        assert_true(incr(f.space, "n", -7, 0) == -2);
        step(&f, mode);
        assert_true(incr(f.space, "n", 0, 0) == -2);
        check_value(f.space, "n", "-2");
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

static void a_swap_happens_only_on_what_is_expected(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        assert_false(cas(f.space, "k", "absent", "x"));
        assert_true(cas(f.space, "k", NULL, "one"));
        step(&f, mode);
        assert_false(cas(f.space, "k", NULL, "two"));
        assert_false(cas(f.space, "k", "on", "two"));
        assert_true(cas(f.space, "k", "one", "two"));
        step(&f, mode);
        assert_false(cas(f.space, "k", "one", NULL));
        check_value(f.space, "k", "two");
        assert_true(cas(f.space, "k", "two", NULL));
        check_value(f.space, "k", NULL);
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

static void namespaces_do_not_see_each_other_and_handles_of_one_do(void **state)
{
    fixture f;
    mg_kv_space *other, *same;

    (void)state;
    begin(&f, true);
    other = mg_kv_open(f.kv, MG_STR("other"), NULL);
    same = mg_kv_open(f.kv, MG_STR("plugin"), NULL);
    set(f.space, "k", "mine");
    check_value(other, "k", NULL);
    check_value(same, "k", "mine");
    set(other, "k", "theirs");
    flush(&f);
    check_value(f.space, "k", "mine");
    check_value(other, "k", "theirs");
    mg_kv_space_free(other);
    mg_kv_space_free(same);
    close_kv(&f);
}

static void a_value_is_gone_when_its_time_is_over(void **state)
{
    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        assert_null(set_for(f.space, "k", "soon gone", 1.5));
        step(&f, mode);
        mg_fake_clock_advance(&f.clock, 1499 * MG_NS_PER_MS);
        check_value(f.space, "k", "soon gone");
        mg_fake_clock_advance(&f.clock, 1 * MG_NS_PER_MS);
        check_value(f.space, "k", NULL);
        assert_true(cas(f.space, "k", NULL, "again"));
        check_value(f.space, "k", "again");
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

static void a_counter_keeps_the_end_of_its_window(void **state)
{
    fixture f;

    (void)state;
    begin(&f, false);
    incr(f.space, "hits", 1, 10);
    mg_fake_clock_advance(&f.clock, 9 * MG_NS_PER_S);
    assert_true(incr(f.space, "hits", 1, 10) == 2);
    mg_fake_clock_advance(&f.clock, 1 * MG_NS_PER_S);
    assert_true(incr(f.space, "hits", 1, 10) == 1);
    close_kv(&f);
}

static void values_past_their_time_are_dropped_by_flushes_and_free_their_quota(void **state)
{
    mg_kv_stats stats;

    (void)state;
    for (int mode = 0; mode < MODES; mode++) {
        fixture f;

        begin_mode(&f, mode);
        for (int i = 0; i < 500; i++) {
            char key[16];
            snprintf(key, sizeof(key), "k%d", i);
            assert_null(set_for(f.space, key, "v", i % 2 ? 60 : 0));
        }
        step(&f, mode);
        const double full = mg_kv_used_bytes(f.space);
        mg_fake_clock_advance(&f.clock, 61 * MG_NS_PER_S);
        for (int i = 0; i < 64 + 2; i++) /* in memory a flush looks at one shard */
            flush(&f);
        mg_kv_stats_get(f.kv, &stats);
        assert_int_equal(stats.expired, 250);
        assert_int_equal(stats.pending, mode == IN_MEMORY ? 250 : 0);
        assert_true(mg_kv_used_bytes(f.space) < full * 0.51);
        if (mode != IN_MEMORY) {
            reopen(&f);
            assert_true(mg_kv_used_bytes(f.space) < full * 0.51);
        }
        check_value(f.space, "k0", "v");
        check_value(f.space, "k1", NULL);
        close_kv(&f);
        tmpdir_remove(dir);
    }
}

/* ---- bounds ---- */

static void keys_values_names_and_times_are_bounded(void **state)
{
    fixture f;
    char *big = mg_calloc(1, MG_KV_VALUE_MAX + 1);
    mg_slice value;
    bool swapped;

    (void)state;
    begin(&f, false);
    memset(big, 'b', MG_KV_VALUE_MAX + 1);
    assert_non_null(mg_kv_set(f.space, "", 0, "v", 1, 0));
    assert_null(mg_kv_set(f.space, big, MG_KV_KEY_MAX, "v", 1, 0));
    assert_non_null(mg_kv_set(f.space, big, MG_KV_KEY_MAX + 1, "v", 1, 0));
    assert_non_null(mg_kv_get(f.space, big, MG_KV_KEY_MAX + 1, &value));
    assert_non_null(mg_kv_delete(f.space, big, MG_KV_KEY_MAX + 1));
    assert_null(mg_kv_set(f.space, "k", 1, big, MG_KV_VALUE_MAX, 0));
    assert_non_null(mg_kv_set(f.space, "k", 1, big, MG_KV_VALUE_MAX + 1, 0));
    assert_non_null(mg_kv_cas(f.space, "c", 1, NULL, 0, big, MG_KV_VALUE_MAX + 1, 0, &swapped));
    assert_false(swapped);
    assert_non_null(set_for(f.space, "k", "v", -1));
    assert_non_null(set_for(f.space, "k", "v", 1e300));
    assert_non_null(set_for(f.space, "k", "v", (double)NAN));
    assert_null(mg_kv_open(f.kv, MG_STR(""), NULL));
    assert_null(mg_kv_open(f.kv, mg_str_make(big, MG_KV_NAME_MAX + 1), NULL));
    assert_null(mg_kv_open(f.kv, mg_str_make("a\0b", 3), NULL));
    mg_free(big);
    close_kv(&f);
}

static void keys_are_bytes(void **state)
{
    fixture f;
    mg_slice value;

    (void)state;
    begin(&f, true);
    assert_null(mg_kv_set(f.space, "a\0b", 3, "\0\1", 2, 0));
    flush(&f);
    reopen(&f);
    assert_null(mg_kv_get(f.space, "a\0b", 3, &value));
    assert_int_equal(value.n, 2);
    assert_memory_equal(value.p, "\0\1", 2);
    check_value(f.space, "a", NULL);
    close_kv(&f);
}

static void only_whole_numbers_up_to_2_to_the_53_are_counted(void **state)
{
    fixture f;
    const double max = 9007199254740992.0;
    double result;

    (void)state;
    begin(&f, false);
    set(f.space, "text", "12a");
    assert_non_null(mg_kv_incr(f.space, "text", 4, 1, 0, &result));
    check_value(f.space, "text", "12a");
    assert_non_null(mg_kv_incr(f.space, "n", 1, 0.5, 0, &result));
    assert_non_null(mg_kv_incr(f.space, "n", 1, (double)NAN, 0, &result));
    assert_true(incr(f.space, "n", max, 0) == max);
    assert_non_null(mg_kv_incr(f.space, "n", 1, max, 0, &result));
    check_value(f.space, "n", "9007199254740992");
    assert_true(incr(f.space, "n", -max, 0) == 0);
    close_kv(&f);
}

static void a_full_namespace_refuses_more_but_lets_others_and_smaller_values_pass(void **state)
{
    fixture f;

    (void)state;
    begin(&f, true);
    close_kv(&f);
    open_kv(&f, true, 0, 200);
    mg_kv_space *other = mg_kv_open(f.kv, MG_STR("other"), NULL);

    set(f.space, "a", "0123456789"); /* 1 + 10 + 32 */
    assert_true(mg_kv_used_bytes(f.space) == 43);
    set(f.space, "b", "0123456789");
    set(f.space, "c", "0123456789");
    set(f.space, "d", "0123456789");
    assert_non_null(set_for(f.space, "e", "", 0)); /* 172 + 33 */
    flush(&f);
    assert_non_null(set_for(f.space, "e", "", 0));
    assert_null(set_for(f.space, "a", "01234567890123456789", 0));
    assert_true(mg_kv_used_bytes(f.space) == 182);
    set(other, "e", "here is room");
    del(f.space, "b");
    set(f.space, "e", "");
    mg_kv_space_free(other);
    flush(&f);
    close_kv(&f);

    open_kv(&f, true, 0, 200); /* and what is used is counted again */
    assert_true(mg_kv_used_bytes(f.space) == 182 - 43 + 33);
    close_kv(&f);
}

/* ---- durability ---- */

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

/* A mailbox of one message. */
typedef struct told {
    int times;
    const char *error;
} told;

static void tell(void *self, const char *error)
{
    told *t = self;

    t->times++;
    t->error = error;
}

static void a_barrier_is_told_by_the_next_flush(void **state)
{
    fixture f;
    told first = { 0 }, second = { 0 }, idle = { 0 };

    (void)state;
    begin(&f, true);
    mg_kv_barrier(f.kv, tell, &idle);
    assert_int_equal(idle.times, 1); /* nothing had to be written */
    set(f.space, "k", "v");
    mg_kv_barrier(f.kv, tell, &first);
    mg_kv_barrier(f.kv, tell, &second);
    assert_int_equal(first.times + second.times, 0);
    flush(&f);
    assert_int_equal(first.times, 1);
    assert_int_equal(second.times, 1);
    assert_null(first.error);
    assert_null(mg_kv_flush_error(f.space));
    close_kv(&f);
}

static void without_a_store_a_barrier_is_told_at_once(void **state)
{
    fixture f;
    told t = { 0 };

    (void)state;
    begin(&f, false);
    set(f.space, "k", "v");
    mg_kv_barrier(f.kv, tell, &t);
    assert_int_equal(t.times, 1);
    assert_null(t.error);
    close_kv(&f);
}

static void a_barrier_that_nobody_flushed_is_told_at_the_end(void **state)
{
    fixture f;
    told t = { 0 };

    (void)state;
    begin(&f, true);
    set(f.space, "k", "v");
    mg_kv_barrier(f.kv, tell, &t);
    close_kv(&f);
    assert_int_equal(t.times, 1);
    assert_non_null(t.error);
}

static void a_full_store_keeps_everything_in_memory_until_there_is_room(void **state)
{
    fixture f;
    char *big = mg_calloc(1, MG_KV_VALUE_MAX);
    told t = { 0 };
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
    mg_kv_barrier(f.kv, tell, &t);
    assert_int_equal(mg_kv_flush(f.kv, NULL), MG_ERR_LIMIT);
    assert_int_equal(t.times, 1);
    assert_non_null(t.error);
    assert_ptr_equal(mg_kv_flush_error(f.space), t.error);
    check_value(f.space, "small", "second");
    for (char key = 'a'; key < 'k'; key++)
        assert_null(mg_kv_delete(f.space, &key, 1));
    mg_kv_stats_get(f.kv, &stats);
    assert_int_equal(stats.pending, 1); /* the deleted ones never reached the store */
    assert_int_equal(stats.failures, 1);
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

static void post(void *self, const char *error)
{
    if (!error)
        sem_post(self);
}

static void the_flusher_answers_a_barrier_without_waiting_for_its_turn(void **state)
{
    fixture f;
    sem_t done;

    (void)state;
    begin(&f, true);
    sem_init(&done, 0, 0);
    mg_kv_flusher_start(f.kv, 3600 * 1000);
    set(f.space, "k", "v");
    mg_kv_barrier(f.kv, post, &done);
    sem_wait(&done);
    set(f.space, "last", "flushed by stop");
    assert_int_equal(mg_kv_flusher_stop(f.kv, NULL), MG_OK);
    reopen(&f);
    check_value(f.space, "k", "v");
    check_value(f.space, "last", "flushed by stop");
    sem_destroy(&done);
    close_kv(&f);
}

/* Sets, waits for the barrier, tells its parent and is killed. */
static void set_and_wait_to_be_killed(int told_fd)
{
    fixture f;
    sem_t done;

    begin(&f, true);
    sem_init(&done, 0, 0);
    mg_kv_flusher_start(f.kv, 3600 * 1000);
    set(f.space, "k", "durable");
    mg_kv_barrier(f.kv, post, &done);
    sem_wait(&done);
    set(f.space, "k", "not durable");
    if (write(told_fd, "x", 1) == 1)
        pause();
    _exit(1);
}

static void what_a_barrier_answered_for_survives_a_kill(void **state)
{
    int pipe_fds[2], status;
    char byte;

    (void)state;
    assert_int_equal(pipe(pipe_fds), 0);
    const pid_t child = fork();
    if (child == 0)
        set_and_wait_to_be_killed(pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    fixture f;
    begin(&f, true);
    check_value(f.space, "k", "durable");
    close_kv(&f);
}

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

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh_directory, remove_directory)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(what_is_set_is_read_until_it_is_deleted),
        TEST(increments_count_from_nothing_and_go_below_zero),
        TEST(a_swap_happens_only_on_what_is_expected),
        TEST(namespaces_do_not_see_each_other_and_handles_of_one_do),
        TEST(a_value_is_gone_when_its_time_is_over),
        TEST(a_counter_keeps_the_end_of_its_window),
        TEST(values_past_their_time_are_dropped_by_flushes_and_free_their_quota),
        TEST(keys_values_names_and_times_are_bounded),
        TEST(keys_are_bytes),
        TEST(only_whole_numbers_up_to_2_to_the_53_are_counted),
        TEST(a_full_namespace_refuses_more_but_lets_others_and_smaller_values_pass),
        TEST(a_flush_outlives_the_process_and_what_came_after_does_not),
        TEST(what_is_deleted_before_any_flush_leaves_nothing_behind),
        TEST(a_barrier_is_told_by_the_next_flush),
        TEST(without_a_store_a_barrier_is_told_at_once),
        TEST(a_barrier_that_nobody_flushed_is_told_at_the_end),
        TEST(a_full_store_keeps_everything_in_memory_until_there_is_room),
        TEST(a_damaged_row_is_reported_until_it_is_written_again),
        TEST(the_flusher_answers_a_barrier_without_waiting_for_its_turn),
        TEST(what_a_barrier_answered_for_survives_a_kill),
    };
    return cmocka_run_group_tests_name("gateway/kv", tests, NULL, NULL);
}
