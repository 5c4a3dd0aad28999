/* loop.c - the loop on libevent: its timers, what stands over, its moment, and what a stopped watch still
 * hears. */
#include "net/loop.h"
#include "base/mem.h"
#include <setjmp.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

typedef struct probe {
    mg_loop *loop;
    mg_timer timer;
    mg_later later;
    mg_watch watch, other;
    int fds[4];
    unsigned fired, runs, heard;
    uint64_t due_ns, fired_at_ns, moment_ns;
    bool early;
} probe;

static mg_loop *new_loop(void)
{
    mg_error err = MG_ERROR_INIT;
    mg_loop *loop = mg_loop_new(&mg_clock_real, 1, &err);

    assert_non_null(loop);
    return loop;
}

static uint64_t clock_ns(void)
{
    return mg_clock_real.mono_ns(&mg_clock_real);
}

/* ---- timers ---- */

static void on_fire(mg_timer *timer)
{
    probe *p = mg_container_of(timer, probe, timer);

    p->early |= clock_ns() < p->due_ns;
    if (++p->fired == 20) {
        mg_loop_stop(p->loop);
        return;
    }
    p->due_ns = clock_ns() + p->fired * 700000;
    mg_timer_set(p->loop, &p->timer, p->due_ns);
}

static void timers_never_fire_early(void **state)
{
    probe p = { .loop = new_loop() };

    (void)state;
    mg_timer_init(&p.timer, on_fire);
    mg_timer_set(p.loop, &p.timer, 1);
    mg_loop_run(p.loop);
    assert_int_equal(p.fired, 20);
    assert_false(p.early);
    mg_loop_free(p.loop);
}

static void stop_it(mg_timer *timer)
{
    mg_loop_stop(mg_container_of(timer, probe, timer)->loop);
}

static void a_stopped_timer_stays_silent(void **state)
{
    probe p = { .loop = new_loop() }, silent = p;

    (void)state;
    mg_timer_init(&p.timer, stop_it);
    mg_timer_init(&silent.timer, on_fire);
    mg_timer_set(p.loop, &silent.timer, clock_ns() + MG_NS_PER_MS);
    mg_timer_set(p.loop, &p.timer, clock_ns() + 20 * MG_NS_PER_MS);
    mg_timer_stop(&silent.timer);
    mg_timer_stop(&silent.timer);
    mg_loop_run(p.loop);
    assert_int_equal(silent.fired, 0);
    mg_loop_free(p.loop);
}

/* ---- later ---- */

static void on_later(mg_later *later)
{
    probe *p = mg_container_of(later, probe, later);

    p->runs++;
    mg_later_add(p->loop, later); /* always more to do */
}

static void on_last(mg_timer *timer)
{
    probe *p = mg_container_of(timer, probe, timer);

    mg_later_cancel(&p->later);
    mg_loop_stop(p->loop);
}

static void endless_work_does_not_starve_timers(void **state)
{
    probe p = { .loop = new_loop(), .later.run = on_later };

    (void)state;
    mg_timer_init(&p.timer, on_last);
    mg_timer_set(p.loop, &p.timer, clock_ns() + 5 * MG_NS_PER_MS);
    mg_later_add(p.loop, &p.later);
    mg_loop_run(p.loop);
    assert_true(p.runs > 1);
    mg_loop_free(p.loop);
}

/* ---- the moment of a turn ---- */

static void on_moment(mg_later *later)
{
    probe *p = mg_container_of(later, probe, later);

    if (p->runs++ == 0) {
        p->moment_ns = mg_loop_now(p->loop);
        while (clock_ns() == p->moment_ns)
            ;
        assert_int_equal(mg_loop_now(p->loop), p->moment_ns);
        mg_later_add(p->loop, later);
    } else {
        assert_true(mg_loop_now(p->loop) > p->moment_ns);
        mg_loop_stop(p->loop);
    }
}

static void a_turn_has_one_moment(void **state)
{
    probe p = { .loop = new_loop(), .later.run = on_moment };

    (void)state;
    mg_later_add(p.loop, &p.later);
    mg_loop_run(p.loop);
    assert_int_equal(p.runs, 2);
    mg_loop_free(p.loop);
}

/* ---- watches ---- */

static void on_first(mg_watch *watch, unsigned what)
{
    probe *p = mg_container_of(watch, probe, watch);

    (void)what;
    p->heard++;
    mg_watch_stop(&p->watch);
    mg_watch_stop(&p->other);
    mg_watch_stop(&p->other);
    mg_loop_stop(p->loop);
}

static void on_other(mg_watch *watch, unsigned what)
{
    probe *p = mg_container_of(watch, probe, other);

    (void)what;
    p->heard++;
    mg_watch_stop(&p->watch);
    mg_watch_stop(&p->other);
    mg_loop_stop(p->loop);
}

/* Both are ready in the same turn; whichever is first ends the other. */
static void a_watch_stopped_in_this_turn_hears_nothing_more(void **state)
{
    probe p = { .loop = new_loop() };

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fds), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fds + 2), 0);
    mg_watch_start(p.loop, &p.watch, p.fds[0], on_first);
    mg_watch_start(p.loop, &p.other, p.fds[2], on_other);
    mg_loop_run(p.loop);
    assert_int_equal(p.heard, 1);
    for (int i = 0; i < 4; i++)
        close(p.fds[i]);
    mg_loop_free(p.loop);
}

static void on_byte(mg_watch *watch, unsigned what)
{
    probe *p = mg_container_of(watch, probe, watch);

    p->heard += (what & MG_READY_READ) != 0; /* and leaves it there */
}

static void an_edge_is_told_once(void **state)
{
    probe p = { .loop = new_loop() };

    (void)state;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p.fds), 0);
    mg_watch_start(p.loop, &p.watch, p.fds[0], on_byte);
    assert_int_equal(write(p.fds[1], "x", 1), 1);
    mg_timer_init(&p.timer, stop_it);
    mg_timer_set(p.loop, &p.timer, clock_ns() + 10 * MG_NS_PER_MS);
    mg_loop_run(p.loop);
    assert_int_equal(p.heard, 1);
    mg_watch_stop(&p.watch);
    close(p.fds[0]);
    close(p.fds[1]);
    mg_loop_free(p.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(timers_never_fire_early),
        cmocka_unit_test(a_stopped_timer_stays_silent),
        cmocka_unit_test(endless_work_does_not_starve_timers),
        cmocka_unit_test(a_turn_has_one_moment),
        cmocka_unit_test(a_watch_stopped_in_this_turn_hears_nothing_more),
        cmocka_unit_test(an_edge_is_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
