/* wheel.c - the timing wheel beside a plain array of moments: random sets, moves, stops and advances, with
 * callbacks that set, stop and free other timers. */
#include "base/mem.h"
#include "net/loop_parts.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

enum { TIMERS = 48, STEPS = 400, RUNS = 60 };

typedef struct model model;

typedef struct item {
    mg_timer timer;
    model *model;
    uint64_t due_ns; /* the model: 0 = not set */
    uint64_t set_at_ns;
} item;

struct model {
    mg_loop loop;
    mg_fake_clock clock;
    mg_rand rand;
    uint64_t seed, armed_ns;
    item *items[TIMERS];
    unsigned fired, step;
};

#define HOLD(m, condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            fprintf(stderr, "step %u, SEED=%llu\n", (m)->step, (unsigned long long)(m)->seed);               \
            fail_msg("%s", #condition);                                                                      \
        }                                                                                                    \
    } while (0)

static void arm(mg_loop *loop, uint64_t due_ns)
{
    mg_container_of(loop, model, loop)->armed_ns = due_ns;
}

static uint64_t read_clock(mg_loop *loop)
{
    return loop->clock->mono_ns(loop->clock);
}

static const mg_loop_ops ops = { .arm = arm, .read_clock = read_clock };

/* Mostly short, some up to hours, few up to centuries, some past. */
static uint64_t some_moment(model *m)
{
    const uint64_t now_ns = m->clock.mono;
    const uint64_t spans[] = { 1000,        MG_NS_PER_MS,     64 * MG_NS_PER_MS,
                               MG_NS_PER_S, 60 * MG_NS_PER_S, 7200 * MG_NS_PER_S };

    switch (mg_rand_below(&m->rand, 12)) {
    case 0: return mg_rand_below(&m->rand, now_ns) + 1;
    case 1: return mg_add_sat(now_ns, mg_rand_next(&m->rand) >> mg_rand_below(&m->rand, 40));
    case 2: return UINT64_MAX;
    case 3: return now_ns;
    default: return now_ns + mg_rand_below(&m->rand, spans[mg_rand_below(&m->rand, mg_countof(spans))]) + 1;
    }
}

static void set(model *m, item *it)
{
    it->due_ns = some_moment(m);
    it->set_at_ns = m->clock.mono;
    mg_timer_set(&m->loop, &it->timer, it->due_ns);
}

static void stop(item *it)
{
    it->due_ns = 0;
    mg_timer_stop(&it->timer);
}

static void fired(mg_timer *timer);

static item *new_item(model *m)
{
    item *it = MG_NEW(item);

    it->model = m;
    mg_timer_init(&it->timer, fired);
    return it;
}

static void renew(model *m, unsigned i) /* another stands in its place; the old memory is gone */
{
    stop(m->items[i]);
    mg_free(m->items[i]);
    m->items[i] = new_item(m);
}

static void act(model *m)
{
    const unsigned i = (unsigned)mg_rand_below(&m->rand, TIMERS);

    switch (mg_rand_below(&m->rand, 6)) {
    case 0: stop(m->items[i]); break;
    case 1: renew(m, i); break;
    default: set(m, m->items[i]); break;
    }
}

static void fired(mg_timer *timer)
{
    item *it = mg_container_of(timer, item, timer);
    model *m = it->model;

    HOLD(m, it->due_ns != 0);
    HOLD(m, it->due_ns <= m->clock.mono);
    HOLD(m, timer->due_ns == 0);
    it->due_ns = 0;
    m->fired++;
    for (unsigned n = (unsigned)mg_rand_below(&m->rand, 4); n > 0; n--)
        act(m);
}

static void tick(model *m)
{
    m->loop.now_read = false;
    mg_loop_tick(&m->loop);
}

/* What was due a millisecond ago, and was set before this tick, has fired; what is armed misses nothing. */
static void compare(model *m)
{
    const uint64_t now_ns = m->clock.mono;
    size_t hanging = 0;

    for (unsigned i = 0; i < TIMERS; i++) {
        const item *it = m->items[i];
        if (!it->due_ns)
            continue;
        hanging++;
        HOLD(m, it->set_at_ns == now_ns || it->due_ns > now_ns - now_ns % MG_NS_PER_MS);
        HOLD(m, it->due_ns == UINT64_MAX || m->armed_ns <= mg_ms_ceil(it->due_ns) * MG_NS_PER_MS);
    }
    HOLD(m, hanging == mg_loop_timers(&m->loop));
    HOLD(m, m->armed_ns == m->loop.wheel.armed_ns);
}

static void advance(model *m)
{
    const uint64_t spans[] = { 3 * MG_NS_PER_MS, 100 * MG_NS_PER_MS, 5 * MG_NS_PER_S, 3600 * MG_NS_PER_S };

    mg_fake_clock_advance(&m->clock,
                          mg_rand_below(&m->rand, spans[mg_rand_below(&m->rand, mg_countof(spans))]));
    tick(m);
    compare(m);
}

/* From one armed moment to the next each timer fires within a millisecond, and the wheel never arms the past.
 */
static void walk(model *m)
{
    for (int i = 0; i < 20 && m->armed_ns != UINT64_MAX; i++) {
        if (m->armed_ns > m->clock.mono)
            mg_fake_clock_advance(&m->clock, m->armed_ns - m->clock.mono);
        tick(m);
        compare(m);
        if (m->clock.mono > UINT64_MAX / 2)
            return;
    }
}

static unsigned run(uint64_t seed)
{
    model m = { .seed = seed };

    mg_rand_init(&m.rand, seed);
    mg_fake_clock_init(&m.clock, 1 + mg_rand_below(&m.rand, 1000 * MG_NS_PER_S), 0);
    mg_loop_init(&m.loop, &ops, &m.clock.clock, seed);
    m.armed_ns = UINT64_MAX;
    for (unsigned i = 0; i < TIMERS; i++)
        m.items[i] = new_item(&m);
    for (m.step = 0; m.step < STEPS && m.clock.mono < UINT64_MAX / 2; m.step++) {
        m.loop.now_read = false;
        for (unsigned n = (unsigned)mg_rand_below(&m.rand, 8); n > 0; n--)
            act(&m);
        compare(&m);
        if (mg_rand_below(&m.rand, 8))
            advance(&m);
        else
            walk(&m);
    }
    for (unsigned i = 0; i < TIMERS; i++) {
        stop(m.items[i]);
        mg_free(m.items[i]);
    }
    return m.fired;
}

static void every_timer_fires_once_in_its_millisecond(void **state)
{
    const char *given = getenv("SEED");
    const uint64_t seed = given ? strtoull(given, NULL, 0) : mg_rand_system_seed();
    unsigned count = 0;

    (void)state;
    for (unsigned i = 0; i < (given ? 1 : RUNS); i++)
        count += run(seed + i);
    assert_true(count > 0);
}

/* A deadline moved on with every request hangs where it was, and arms nothing. */
static void moving_later_is_one_store(void **state)
{
    model m = { .seed = 1 };
    item *it = new_item(&m);

    (void)state;
    mg_fake_clock_init(&m.clock, MG_NS_PER_S, 0);
    mg_loop_init(&m.loop, &ops, &m.clock.clock, 1);
    mg_timer_set(&m.loop, &it->timer, 31 * MG_NS_PER_S);
    const mg_list *before = it->timer.link.prev;
    const uint64_t armed_ns = m.armed_ns;
    for (uint64_t s = 32; s < 60; s++)
        mg_timer_set(&m.loop, &it->timer, s * MG_NS_PER_S);
    assert_ptr_equal(it->timer.link.prev, before);
    assert_int_equal(m.armed_ns, armed_ns);
    unsigned wakes = 0;
    it->due_ns = 59 * MG_NS_PER_S;
    for (; mg_loop_timers(&m.loop); wakes++) {
        m.clock.mono = m.armed_ns;
        tick(&m);
    }
    assert_int_equal(m.fired, 1);
    assert_in_range(wakes, 1, MG_WHEEL_LEVELS);
    mg_free(it);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_timer_fires_once_in_its_millisecond),
        cmocka_unit_test(moving_later_is_one_store),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
