/* The key-value store: what outlives a flush, a reopening and a kill. */
#include "kv_fixture.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/wait.h>

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

int main(void)
{
    const struct CMUnitTest tests[] = {
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
    return cmocka_run_group_tests_name("gateway/kv_durability", tests, NULL, NULL);
}
