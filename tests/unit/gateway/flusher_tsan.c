/* The flusher on a thread of its own, with copies on another one, beside those who write and ask. */
#include "flusher_fixture.h"

#include "base/thread.h"
#include "gateway/watchdog.h"
#include "state/persist_parts.h"
#include "store/store_parts.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

enum { WRITERS = 3, ROUNDS = 300, COPIES = 12 };

typedef struct machine {
    stores s;
    mg_loop *loop;
    mg_thread thread;
    atomic_bool ended;
} machine;

static void run(void *self)
{
    machine *m = self;

    mg_loop_run(m->loop);
    atomic_store(&m->ended, true);
}

static void start(machine *m)
{
    mg_error err = MG_ERROR_INIT;

    atomic_store(&m->ended, false);
    m->loop = mg_loop_new(m->s.clock, 1, &err);
    assert_non_null(m->loop);
    stores_open(&m->s, m->loop, false, true);
    mg_flusher_start(m->s.flusher);
    assert_int_equal(mg_thread_start(&m->thread, "flush", MG_THREAD_STACK, run, m, &err), MG_OK);
}

static void set_up(machine *m)
{
    stores_init(&m->s, &mg_clock_real);
    m->thread = (mg_thread){ 0 };
    start(m);
}

/* The flusher's thread has ended. */
static void close_all(machine *m)
{
    mg_thread_join(&m->thread);
    mg_flusher_close(m->s.flusher);
    stores_close(&m->s);
    mg_loop_free(m->loop);
}

static void stop(machine *m)
{
    mg_flusher_stop(m->s.flusher);
    close_all(m);
}

/* Waits for the next answer in that inbox. */
static void await(inbox *in, const asked *a)
{
    struct timespec end;

    clock_gettime(CLOCK_REALTIME, &end);
    end.tv_sec += WAIT_S;
    while (!a->times) {
        assert_int_equal(sem_timedwait(&in->woken, &end), 0);
        mg_mailbox_drain(&in->mailbox);
    }
}

/* ---- everybody at once ---- */

typedef struct writer {
    machine *m;
    int index;
    bool ok;
} writer;

static void ask_from(inbox *in, stores *s, asked *a, bool copy, const char *folder)
{
    *a = (asked){ .letter = 'x' };
    a->ask.from = &in->mailbox;
    a->ask.answered = on_answer;
    a->copy.folder = folder;
    if (copy)
        mg_flusher_copy(s->flusher, &a->copy);
    else
        mg_flusher_barrier(s->flusher, &a->barrier);
}

static void *write_and_wait(void *self)
{
    writer *w = self;
    mg_kv_space *space = mg_kv_open(w->m->s.kv, MG_STR("plugin"), NULL);
    double result;
    asked a;
    inbox in;

    inbox_open(&in);
    w->ok = space != NULL;
    for (int round = 0; w->ok && round < ROUNDS; round++) {
        w->ok = !mg_kv_incr(space, "shared", 6, 1, 0, &result);
        if (round % 10)
            continue;
        ask_from(&in, &w->m->s, &a, false, NULL);
        await(&in, &a);
        w->ok &= a.ask.result == MG_OK;
    }
    mg_kv_space_free(space);
    inbox_close(&in);
    return NULL;
}

static void *copy_and_compact(void *self)
{
    writer *w = self;
    char folder[TMPDIR_PATH_BYTES + 32];
    inbox in;
    asked a;

    inbox_open(&in);
    w->ok = true;
    for (int i = 0; i < COPIES && w->ok; i++) {
        snprintf(folder, sizeof folder, "%s/copy-%d", w->m->s.folder, i);
        ask_from(&in, &w->m->s, &a, true, i % 3 == 2 ? NULL : folder);
        await(&in, &a);
        w->ok = a.ask.result == MG_OK;
    }
    inbox_close(&in);
    return NULL;
}

static void *change_things(void *self)
{
    writer *w = self;
    thing t = { 1 };

    keep(&w->m->s, "t", &t);
    for (int i = 0; i < ROUNDS * 10; i++) {
        atomic_fetch_add(&t.value, 1);
        sched_yield();
    }
    mg_persist_drop(w->m->s.persist, &t);
    w->ok = true;
    return NULL;
}

static void everybody_is_answered_and_nothing_is_lost(void **state)
{
    void *(*const jobs[WRITERS + 2])(void *) = { write_and_wait, write_and_wait, write_and_wait,
                                                 copy_and_compact, change_things };
    pthread_t threads[WRITERS + 2];
    writer writers[WRITERS + 2];
    thing t = { 0 };
    char want[16];
    machine m;

    (void)state;
    set_up(&m);
    for (int i = 0; i < WRITERS + 2; i++) {
        writers[i] = (writer){ &m, i, false };
        assert_int_equal(pthread_create(&threads[i], NULL, jobs[i], &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS + 2; i++) {
        pthread_join(threads[i], NULL);
        assert_true(writers[i].ok);
    }
    set(&m.s, "last", "flushed by the stop");
    stop(&m);
    start(&m);
    snprintf(want, sizeof want, "%d", WRITERS * ROUNDS);
    check_value(&m.s, "shared", want);
    check_value(&m.s, "last", "flushed by the stop");
    keep(&m.s, "t", &t);
    assert_int_equal(atomic_load(&t.value), 1 + ROUNDS * 10);
    mg_persist_drop(m.s.persist, &t);
    stop(&m);
    stores_fini(&m.s);
}

/* ---- what blocks ---- */

/* Another writer holds the policies' file: a copy of it waits, as one to a slow disk would. */
static void a_copy_that_takes_long_holds_up_no_barrier_and_no_stop_cuts_it(void **state)
{
    char folder[TMPDIR_PATH_BYTES + 32], copied[TMPDIR_PATH_BYTES + 48], to[TMPDIR_PATH_BYTES + 32];
    asked copy, barrier;
    machine m;

    (void)state;
    set_up(&m);
    mg_store *policies = m.s.persist->store;
    pthread_mutex_lock(&policies->writing);
    set(&m.s, "k", "v");
    ask_copy(&m.s, &copy, part_path(&m.s, "backup", folder), 'c', NULL);
    for (int i = 0; i < 20; i++) {
        set(&m.s, "k", i % 2 ? "odd" : "even");
        ask_barrier(&m.s, &barrier, 'b', NULL);
        await(&m.s.in, &barrier);
        assert_int_equal(barrier.ask.result, MG_OK);
    }
    assert_int_equal(copy.times, 0);
    mg_flusher_stop(m.s.flusher);
    set(&m.s, "k", "last");
    ask_barrier(&m.s, &barrier, 'b', NULL); /* behind the stop, which waits for the copy */
    await(&m.s.in, &barrier);
    assert_int_equal(barrier.ask.result, MG_OK);
    assert_int_equal(copy.times, 0);
    assert_false(atomic_load(&m.ended));
    pthread_mutex_unlock(&policies->writing);
    await(&m.s.in, &copy);
    assert_int_equal(copy.ask.result, MG_OK);
    close_all(&m);
    snprintf(copied, sizeof copied, "%s/policy", folder);
    assert_int_equal(mg_store_restore(copied, part_path(&m.s, "restored", to), NULL), MG_OK);
    start(&m);
    check_value(&m.s, "k", "last");
    stop(&m);
    stores_fini(&m.s);
}

static void never(void)
{
    fail_msg("a disk that hangs ends no process");
}

/* Another writer holds the ledger's file, as a disk does that has gone. */
static void a_disk_that_hangs_is_told_by_name_and_ends_nothing(void **state)
{
    mg_fake_clock clock;
    asked barrier;
    machine m;

    (void)state;
    set_up(&m);
    mg_fake_clock_init(&clock, 100 * MG_NS_PER_S, 0);
    mg_watchdog *dog = mg_watchdog_new(m.s.log, &clock.clock, 0, never);
    for (unsigned store = 0; store < MG_FLUSH_STORES; store++) {
        const mg_watched watched = { .kind = MG_WATCH_STATE,
                                     .index = store,
                                     .beat = mg_watchdog_number,
                                     .self = mg_flusher_writing(m.s.flusher, store) };
        mg_watchdog_watch(dog, &watched);
    }
    pthread_mutex_lock(&m.s.ledger->writing);
    set(&m.s, "k", "v");
    ask_barrier(&m.s, &barrier, 'b', NULL);
    while (!mg_watchdog_number(mg_flusher_writing(m.s.flusher, MG_FLUSH_LEDGER)))
        sched_yield();
    for (int look = 0; look < 200; look++) {
        mg_watchdog_look(dog);
        mg_fake_clock_advance(&clock, MG_WATCH_LOOK_MS * MG_NS_PER_MS);
    }
    assert_int_equal(mg_watchdog_hangs(dog, MG_WATCH_STATE), 1);
    assert_non_null(strstr(m.s.logged.p, "a write to state/ledger has stood still for 2 s"));
    assert_null(strstr(m.s.logged.p, "state/policy"));
    pthread_mutex_unlock(&m.s.ledger->writing);
    await(&m.s.in, &barrier);
    assert_int_equal(barrier.ask.result, MG_OK);
    mg_watchdog_look(dog);
    assert_non_null(strstr(m.s.logged.p, "a write to state/ledger goes on after"));
    mg_watchdog_free(dog);
    stop(&m);
    stores_fini(&m.s);
}

/* ---- killed ---- */

/* Sets, waits for the barrier, tells its parent and is killed. */
static void set_and_wait_to_be_killed(machine *m, int told_fd)
{
    asked a;

    start(m);
    set(&m->s, "k", "durable");
    ask_barrier(&m->s, &a, 'b', NULL);
    await(&m->s.in, &a);
    set(&m->s, "k", "not durable");
    if (write(told_fd, "x", 1) == 1)
        pause();
    _exit(1);
}

static void what_a_barrier_answered_for_survives_a_kill(void **state)
{
    int pipe_fds[2], status;
    char byte;
    machine m;

    (void)state;
    stores_init(&m.s, &mg_clock_real);
    m.thread = (mg_thread){ 0 };
    assert_int_equal(pipe(pipe_fds), 0);
    const pid_t child = fork();
    if (child == 0)
        set_and_wait_to_be_killed(&m, pipe_fds[1]);
    assert_int_equal(read(pipe_fds[0], &byte, 1), 1);
    kill(child, SIGKILL);
    assert_int_equal(waitpid(child, &status, 0), child);
    close(pipe_fds[0]);
    close(pipe_fds[1]);
    start(&m);
    mg_slice value;
    assert_null(mg_kv_get(m.s.space, "k", 1, &value));
    assert_true(value.n >= 7 && memcmp(value.p + value.n - 7, "durable", 7) == 0);
    stop(&m);
    stores_fini(&m.s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_barrier_answered_for_survives_a_kill),
        cmocka_unit_test(everybody_is_answered_and_nothing_is_lost),
        cmocka_unit_test(a_copy_that_takes_long_holds_up_no_barrier_and_no_stop_cuts_it),
        cmocka_unit_test(a_disk_that_hangs_is_told_by_name_and_ends_nothing),
    };

    return cmocka_run_group_tests_name("gateway/flusher_tsan", tests, NULL, NULL);
}
