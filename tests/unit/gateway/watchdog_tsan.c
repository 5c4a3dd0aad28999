/* watchdog_tsan.c - who is told to stand still, and when; with a clock in the test's hand, and once with
 * threads. */
#include "support/check.h"

#include "base/mem.h"
#include "gateway/watchdog.h"

#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <unistd.h>

enum { LOOKS_UNTIL_TOLD = MG_WATCH_STILL_MS / MG_WATCH_LOOK_MS + 2 };

static unsigned ended;

static void end(void)
{
    ended++;
}

typedef struct fixture {
    mg_fake_clock clock;
    mg_text logged;
    mg_log *log;
    mg_watchdog *dog;
    _Atomic uint64_t beats[2];
} fixture;

static void sink(void *self, mg_log_level level, mg_str line)
{
    (void)level;
    mg_text_add(self, line);
}

static uint64_t beat_of(const void *self)
{
    return atomic_load((const _Atomic uint64_t *)self);
}

static void begin(fixture *f, mg_watch_kind first, mg_watch_kind second)
{
    const mg_watch_kind kinds[2] = { first, second };

    *f = (fixture){ 0 };
    ended = 0;
    mg_fake_clock_init(&f->clock, 1000 * MG_NS_PER_S, 0);
    f->log = mg_log_new(MG_LOG_DEBUG, &f->clock.clock, sink, &f->logged);
    f->dog = mg_watchdog_new(f->log, &f->clock.clock, 0, end);
    for (unsigned i = 0; i < 2; i++) {
        atomic_store(&f->beats[i], 1);
        const mg_watched watched = { .kind = kinds[i], .index = i, .beat = beat_of, .self = &f->beats[i] };
        mg_watchdog_watch(f->dog, &watched);
    }
    mg_watchdog_look(f->dog);
}

static void finish(fixture *f)
{
    mg_watchdog_free(f->dog);
    mg_log_free(f->log);
    mg_text_fini(&f->logged);
}

/* `n` looks in their time, while both or the second alone go on. */
static void looks(fixture *f, unsigned n, bool both)
{
    for (unsigned i = 0; i < n; i++) {
        mg_fake_clock_advance(&f->clock, MG_WATCH_LOOK_MS * MG_NS_PER_MS);
        atomic_fetch_add(&f->beats[0], both);
        atomic_fetch_add(&f->beats[1], 1);
        mg_watchdog_look(f->dog);
    }
}

static const char *log_of(fixture *f)
{
    mg_text_add_char(&f->logged, '\0');
    f->logged.n--;
    return f->logged.p;
}

static void who_goes_on_is_left_alone(void **state)
{
    fixture f;

    (void)state;
    begin(&f, MG_WATCH_WORKER, MG_WATCH_WORKER);
    looks(&f, 500, true);
    assert_int_equal(f.logged.n, 0);
    finish(&f);
}

static void who_stands_still_is_told_once_and_that_it_goes_on(void **state)
{
    fixture f;
    mg_text live = { 0 };

    (void)state;
    begin(&f, MG_WATCH_WORKER, MG_WATCH_WORKER);
    looks(&f, LOOKS_UNTIL_TOLD - 2, false);
    assert_int_equal(f.logged.n, 0);
    looks(&f, 12, false);
    assert_non_null(
        strstr(log_of(&f), "\"event\":\"hang\",\"message\":\"worker 0 has stood still for 2 s\""));
    assert_null(strstr(log_of(&f), "worker 1"));
    assert_int_equal(mg_watchdog_hangs(f.dog, MG_WATCH_WORKER), 1);
    mg_watchdog_write(f.dog, &live);
    mg_text_add_char(&live, '\0');
    assert_string_equal(live.p, "worker 0 has stood still for 5 s\n");
    mg_text_clear(&f.logged);
    looks(&f, 1, true);
    assert_non_null(strstr(log_of(&f), "\"event\":\"hang_over\",\"message\":\"worker 0 goes on after 5 s\""));
    mg_text_clear(&live);
    mg_watchdog_write(f.dog, &live);
    assert_int_equal(live.n, 0);
    looks(&f, LOOKS_UNTIL_TOLD, false); /* and again */
    assert_int_equal(mg_watchdog_hangs(f.dog, MG_WATCH_WORKER), 2);
    mg_text_fini(&live);
    finish(&f);
}

/* A process that was stopped, or a clock that jumped, is no hang; nor is a machine on which no time passes.
 */
static void time_alone_is_no_hang_and_looks_alone_are_none(void **state)
{
    fixture f;

    (void)state;
    begin(&f, MG_WATCH_WORKER, MG_WATCH_WORKER);
    mg_fake_clock_advance(&f.clock, 3600 * MG_NS_PER_S);
    for (int i = 0; i < 3; i++)
        mg_watchdog_look(f.dog);
    assert_int_equal(f.logged.n, 0);
    looks(&f, 1, true);
    for (int i = 0; i < 1000; i++)
        mg_watchdog_look(f.dog);
    assert_int_equal(f.logged.n, 0);
    finish(&f);
}

static void who_has_nothing_to_do_does_not_hang(void **state)
{
    fixture f;

    (void)state;
    begin(&f, MG_WATCH_LOG, MG_WATCH_WORKER);
    atomic_store(&f.beats[0], 0);
    looks(&f, 500, false);
    assert_int_equal(f.logged.n, 0);
    atomic_store(&f.beats[0], 7); /* a write that does not return */
    looks(&f, LOOKS_UNTIL_TOLD, false);
    assert_int_equal(mg_watchdog_hangs(f.dog, MG_WATCH_LOG), 1);
    assert_non_null(strstr(log_of(&f), "a write of the log's thread has stood still"));
    finish(&f);
}

static void a_worker_that_does_not_come_back_ends_the_process(void **state)
{
    static const mg_watch_kind kinds[] = { MG_WATCH_WORKER, MG_WATCH_CONTROL, MG_WATCH_LOG };
    fixture f;

    (void)state;
    for (size_t i = 0; i < mg_countof(kinds); i++) {
        begin(&f, kinds[i], MG_WATCH_WORKER);
        looks(&f, MG_WATCH_END_MS / MG_WATCH_LOOK_MS - 2, false);
        assert_int_equal(ended, 0);
        assert_null(strstr(log_of(&f), "the process ends"));
        looks(&f, 4, false);
        assert_int_equal(ended > 0, kinds[i] == MG_WATCH_WORKER);
        assert_int_equal(strstr(log_of(&f), "the process ends, to be started again") != NULL,
                         kinds[i] == MG_WATCH_WORKER);
        finish(&f);
    }
    begin(&f, MG_WATCH_WORKER, MG_WATCH_WORKER);
    mg_watchdog_spare(f.dog); /* it ends anyway */
    looks(&f, 1000, false);
    assert_int_equal(ended, 0);
    finish(&f);
}

/* ---- with threads ---- */

typedef struct worker {
    mg_watchdog *dog;
    mg_vm_site site;
    _Atomic uint64_t beat;
    sem_t go_on;
} worker;

static void *hangs(void *self)
{
    worker *w = self;

    mg_watchdog_hear(w->dog);
    while (sem_wait(&w->go_on) != 0) /* a signal is no reason to go on */
        ;
    atomic_store(&w->beat, 0);
    return NULL;
}

static void a_thread_is_asked_where_it_stands(void **state)
{
    worker w = { .beat = 1 };
    mg_text logged = { 0 }, live = { 0 };
    mg_log *log = mg_log_new(MG_LOG_DEBUG, &mg_clock_real, sink, &logged);
    pthread_t thread;
    sigset_t set;

    (void)state;
    sigemptyset(&set);
    sigaddset(&set, SIGRTMIN);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
    w.dog = mg_watchdog_new(log, &mg_clock_real, SIGRTMIN, end);
    assert_int_equal(sem_init(&w.go_on, 0, 0), 0);
    assert_int_equal(pthread_create(&thread, NULL, hangs, &w), 0);
    const mg_watched watched = {
        .kind = MG_WATCH_WORKER, .beat = beat_of, .self = &w.beat, .thread = thread, .site = &w.site
    };
    mg_watchdog_watch(w.dog, &watched);
    assert_int_equal(mg_watchdog_start(w.dog, NULL), MG_OK);
    do {
        usleep(10000);
        mg_text_clear(&live);
        mg_watchdog_write(w.dog, &live);
    } while (!live.n);
    assert_int_equal(mg_watchdog_hangs(w.dog, MG_WATCH_WORKER), 1);
    assert_int_equal(sem_post(&w.go_on), 0);
    do {
        usleep(10000);
        mg_text_clear(&live);
        mg_watchdog_write(w.dog, &live);
    } while (live.n);
    mg_watchdog_stop(w.dog);
    assert_int_equal(pthread_join(thread, NULL), 0);
    mg_text_add_char(&logged, '\0');
    assert_non_null(strstr(logged.p, ", outside of plugins"));
    assert_non_null(strstr(logged.p, "worker 0 goes on after"));
    mg_watchdog_free(w.dog);
    sem_destroy(&w.go_on);
    mg_log_free(log);
    mg_text_fini(&logged);
    mg_text_fini(&live);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_goes_on_is_left_alone),
        cmocka_unit_test(who_stands_still_is_told_once_and_that_it_goes_on),
        cmocka_unit_test(time_alone_is_no_hang_and_looks_alone_are_none),
        cmocka_unit_test(who_has_nothing_to_do_does_not_hang),
        cmocka_unit_test(a_worker_that_does_not_come_back_ends_the_process),
        cmocka_unit_test(a_thread_is_asked_where_it_stands),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
