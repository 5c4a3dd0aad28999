/* loop_parts.c - what every kind of loop shares: watches and mailboxes by way of its table, and work that
 * stands over. */
#include "net/loop_parts.h"
#include "base/mem.h"

#define TURN_NS (5 * MG_NS_PER_MS) /* after so long a turn is late */

void mg_loop_init(mg_loop *loop, const mg_loop_ops *ops, const mg_clock *clock, uint64_t seed)
{
    mg_wheel *wheel = &loop->wheel;

    *loop = (mg_loop){ .ops = ops, .clock = clock };
    mg_rand_init(&loop->rand, seed);
    mg_list_init(&loop->laters);
    mg_list_init(&wheel->due);
    for (unsigned level = 0; level < MG_WHEEL_LEVELS; level++)
        for (unsigned slot = 0; slot < MG_WHEEL_SLOTS; slot++)
            mg_list_init(&wheel->slots[level][slot]);
    wheel->now_ms = ops->read_clock(loop) / MG_NS_PER_MS;
    wheel->armed_ns = UINT64_MAX;
}

void mg_loop_run(mg_loop *loop)
{
    loop->ops->run(loop);
}

void mg_loop_stop(mg_loop *loop)
{
    loop->ops->stop(loop);
}

void mg_loop_free(mg_loop *loop)
{
    if (loop)
        loop->ops->free(loop);
}

/* ---- watches ---- */

static void start(mg_loop *loop, mg_watch *watch, int fd, void (*ready)(mg_watch *, unsigned), bool listener)
{
    watch->ready = ready;
    watch->loop = loop;
    watch->fd = fd;
    watch->active = true;
    loop->ops->watch_start(loop, watch, listener);
}

void mg_watch_start(mg_loop *loop, mg_watch *watch, int fd, void (*ready)(mg_watch *, unsigned))
{
    start(loop, watch, fd, ready, false);
}

void mg_watch_start_listener(mg_loop *loop, mg_watch *watch, int fd, void (*ready)(mg_watch *, unsigned))
{
    start(loop, watch, fd, ready, true);
}

void mg_watch_stop(mg_watch *watch)
{
    if (!watch->active)
        return;
    watch->active = false;
    watch->loop->ops->watch_stop(watch->loop, watch);
}

/* ---- later ---- */

void mg_later_add(mg_loop *loop, mg_later *later)
{
    if (!mg_list_linked(&later->link))
        mg_list_push(&loop->laters, &later->link);
}

void mg_later_cancel(mg_later *later)
{
    mg_list_remove(&later->link);
}

bool mg_loop_run_laters(mg_loop *loop)
{
    mg_list round, *link;

    if (mg_list_empty(&loop->laters))
        return false;
    mg_list_insert(&loop->laters, &round);
    mg_list_remove(&loop->laters); /* the round is the head now */
    while ((link = mg_list_pop(&round))) {
        mg_later *later = mg_container_of(link, mg_later, link);
        later->run(later);
    }
    return !mg_list_empty(&loop->laters);
}

bool mg_loop_is_late(mg_loop *loop)
{
    return loop->ops->read_clock(loop) - mg_loop_now(loop) >= TURN_NS;
}

/* ---- mailboxes ---- */

mg_mailbox *mg_mailbox_new(mg_loop *loop)
{
    return loop->ops->mailbox_new(loop);
}

void mg_mailbox_init(mg_mailbox *mailbox, mg_loop *loop, void (*wake)(mg_mailbox *),
                     void (*release)(mg_mailbox *))
{
    mailbox->loop = loop;
    mailbox->wake = wake;
    mailbox->release = release;
    atomic_init(&mailbox->newest, NULL);
}

void mg_mailbox_post(mg_mailbox *mailbox, mg_message *message)
{
    mg_message *before = atomic_load_explicit(&mailbox->newest, memory_order_relaxed);

    do
        message->next = before;
    while (!atomic_compare_exchange_weak_explicit(&mailbox->newest, &before, message, memory_order_release,
                                                  memory_order_relaxed));
    if (!before) /* not message->next: the message may have run and be gone */
        mailbox->wake(mailbox);
}

void mg_mailbox_drain(mg_mailbox *mailbox)
{
    mg_message *newest = atomic_exchange_explicit(&mailbox->newest, NULL, memory_order_acquire),
               *oldest = NULL;

    while (newest) {
        mg_message *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        mg_message *next = oldest->next;
        oldest->run(oldest);
        oldest = next;
    }
}

void mg_mailbox_free(mg_mailbox *mailbox)
{
    if (!mailbox)
        return;
    while (atomic_load(&mailbox->newest))
        mg_mailbox_drain(mailbox);
    mailbox->release(mailbox);
}
