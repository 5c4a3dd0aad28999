/* wheel.c - the timers of a loop: a hierarchical timing wheel (Varghese and Lauck 1987, scheme 7), 64 slots a
 * level, a millisecond at the bottom. It is lazy: moving a timer later is one store, and the slot it hangs in
 * hangs it up again when its moment comes. A level is chosen by the highest digit in which the moment differs
 * from now, so that everything on a lower level comes before everything on a higher one, and the next slot is
 * one bit scan. */
#include "base/check.h"
#include "base/mem.h"
#include "net/loop_parts.h"

_Static_assert(MG_WHEEL_BITS *MG_WHEEL_LEVELS >= 45, "every uint64_t of nanoseconds has its slot");

static uint64_t digit_shift(unsigned level)
{
    return (uint64_t)level * MG_WHEEL_BITS;
}

static void hang(mg_loop *loop, mg_timer *timer)
{
    mg_wheel *wheel = &loop->wheel;
    const uint64_t due_ms = mg_ms_ceil(timer->due_ns);

    if (timer->due_ns <= mg_loop_now(loop)) {
        timer->slot_ms = 0;
        mg_list_push(&wheel->due, &timer->link);
        return;
    }
    MG_CHECK(due_ms > wheel->now_ms);

    const unsigned level = (63u - (unsigned)__builtin_clzll(due_ms ^ wheel->now_ms)) / MG_WHEEL_BITS;
    const unsigned slot = (due_ms >> digit_shift(level)) & (MG_WHEEL_SLOTS - 1);
    timer->slot_ms = due_ms >> digit_shift(level) << digit_shift(level);
    wheel->used[level] |= 1ull << slot;
    mg_list_push(&wheel->slots[level][slot], &timer->link);
}

/* The next slot in use, NULL if none; *at_ms is its moment. Slots that timers have left count until they
 * pass. */
static mg_list *next_slot(mg_wheel *wheel, uint64_t *at_ms, uint64_t *bit, unsigned *at_level)
{
    for (unsigned level = 0; level < MG_WHEEL_LEVELS; level++) {
        if (!wheel->used[level])
            continue;
        const unsigned slot = (unsigned)__builtin_ctzll(wheel->used[level]);
        const uint64_t above = wheel->now_ms >> digit_shift(level + 1) << digit_shift(level + 1);
        *at_ms = above | ((uint64_t)slot << digit_shift(level));
        *bit = 1ull << slot;
        *at_level = level;
        return &wheel->slots[level][slot];
    }
    return NULL;
}

static uint64_t ms_to_ns(uint64_t ms)
{
    return ms > UINT64_MAX / MG_NS_PER_MS ? UINT64_MAX - 1 : ms * MG_NS_PER_MS;
}

static void rearm(mg_loop *loop)
{
    mg_wheel *wheel = &loop->wheel;
    uint64_t at_ms, bit, due_ns = UINT64_MAX;
    unsigned level;

    if (!mg_list_empty(&wheel->due))
        due_ns = 0;
    else if (next_slot(wheel, &at_ms, &bit, &level))
        due_ns = ms_to_ns(at_ms);
    wheel->armed_ns = due_ns;
    loop->ops->arm(loop, due_ns);
}

/* Fires what is due in the list and hangs up the rest. Timers of the batch may be moved, stopped and freed by
 * those before them. */
static void fire(mg_loop *loop, mg_list *list, uint64_t now_ns)
{
    mg_list batch, *link;

    if (mg_list_empty(list))
        return;
    mg_list_insert(list, &batch);
    mg_list_remove(list); /* the batch is the head now */
    while ((link = mg_list_pop(&batch))) {
        mg_timer *timer = mg_container_of(link, mg_timer, link);
        if (timer->due_ns > now_ns) {
            hang(loop, timer);
            continue;
        }
        timer->due_ns = 0;
        timer->fire(timer);
    }
}

void mg_loop_tick(mg_loop *loop)
{
    mg_wheel *wheel = &loop->wheel;
    const uint64_t now_ns = mg_loop_now(loop), now_ms = now_ns / MG_NS_PER_MS;
    uint64_t at_ms, bit;
    unsigned level;
    mg_list *slot;

    wheel->armed_ns = 0; /* what is set by those that fire waits for the end of this tick */
    fire(loop, &wheel->due, now_ns);
    while ((slot = next_slot(wheel, &at_ms, &bit, &level)) && at_ms <= now_ms) {
        wheel->now_ms = at_ms;
        wheel->used[level] &= ~bit;
        fire(loop, slot, now_ns);
    }
    wheel->now_ms = mg_max_u64(wheel->now_ms, now_ms);
    rearm(loop);
}

void mg_timer_init(mg_timer *timer, void (*fire_cb)(mg_timer *))
{
    *timer = (mg_timer){ .fire = fire_cb };
    mg_list_init(&timer->link);
}

void mg_timer_set(mg_loop *loop, mg_timer *timer, uint64_t due_ns)
{
    timer->due_ns = due_ns ? due_ns : 1;
    if (mg_list_linked(&timer->link)) {
        if (mg_ms_ceil(due_ns) >= timer->slot_ms)
            return;
        mg_list_remove(&timer->link);
    }
    hang(loop, timer);
    const uint64_t wake_ns = ms_to_ns(timer->slot_ms);
    if (wake_ns < loop->wheel.armed_ns) {
        loop->wheel.armed_ns = wake_ns;
        loop->ops->arm(loop, wake_ns);
    }
}

void mg_timer_stop(mg_timer *timer)
{
    mg_list_remove(&timer->link);
    timer->due_ns = 0;
}

static size_t length(const mg_list *list)
{
    size_t count = 0;

    for (const mg_list *it = list->next; it != list; it = it->next)
        count++;
    return count;
}

size_t mg_loop_timers(const mg_loop *loop)
{
    size_t count = length(&loop->wheel.due);

    for (unsigned level = 0; level < MG_WHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < MG_WHEEL_SLOTS; slot++)
            count += length(&loop->wheel.slots[level][slot]);
    return count;
}
