/* sim_loop.c - a loop of the simulated world. A turn does what a turn of the real one does, in the same
 * order: events and mailboxes (shuffled), timers, then the work that stood over. */
#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_parts.h"

typedef struct sim_mailbox {
    mg_mailbox mailbox; /* first */
    sim_source source;
} sim_mailbox;

sim_loop *mg_sim_loop_of(mg_loop *loop)
{
    return mg_container_of(loop, sim_loop, loop);
}

void mg_sim_source_raise(sim_loop *loop, sim_source *source)
{
    source->again = true;
    if (!mg_list_linked(&source->link))
        mg_list_push(&loop->ready, &source->link);
}

/* ---- turns ---- */

bool mg_sim_loop_ready(const sim_loop *loop)
{
    return !loop->held && (!mg_list_empty(&loop->ready) || !mg_list_empty(&loop->loop.laters) ||
                           loop->armed_ns <= loop->sim->mono_ns);
}

/* Each goes to a random place among those before it (the inside-out shuffle of Fisher and Yates). As epoll
 * does, this asks now what there is, and drops events that have become untrue. */
static void collect(sim_loop *loop, mg_list *batch)
{
    uint64_t count = 0;
    mg_list *link;

    mg_list_init(batch);
    while ((link = mg_list_pop(&loop->ready))) {
        sim_source *source = mg_container_of(link, sim_source, link);
        mg_list *after = batch;
        source->again = false;
        if (!(source->what = source->poll(source)))
            continue;
        for (uint64_t skip = mg_rand_below(&loop->sim->rand, ++count); skip > 0; skip--)
            after = after->next;
        mg_list_insert(after, link);
    }
}

void mg_sim_loop_turn(sim_loop *loop)
{
    mg_list batch, *link;

    loop->loop.now_read = false;
    collect(loop, &batch);
    while ((link = mg_list_pop(&batch))) {
        sim_source *source = mg_container_of(link, sim_source, link);
        if (source->again)
            mg_list_push(&loop->ready, link);
        source->fire(source);
    }
    if (loop->armed_ns <= loop->sim->mono_ns)
        mg_loop_tick(&loop->loop);
    mg_loop_run_laters(&loop->loop);
    loop->loop.now_read = false;
}

/* ---- mailboxes ---- */

static void wake(mg_mailbox *mailbox)
{
    sim_mailbox *self = mg_container_of(mailbox, sim_mailbox, mailbox);

    mg_sim_source_raise(mg_sim_loop_of(mailbox->loop), &self->source);
}

static unsigned mailbox_poll(sim_source *source)
{
    (void)source;
    return MG_READY_READ;
}

static void mailbox_fire(sim_source *source)
{
    mg_mailbox_drain(&mg_container_of(source, sim_mailbox, source)->mailbox);
}

static void mailbox_release(mg_mailbox *mailbox)
{
    sim_mailbox *self = mg_container_of(mailbox, sim_mailbox, mailbox);

    mg_list_remove(&self->source.link);
    mg_free(self);
}

static mg_mailbox *mailbox_new(mg_loop *loop)
{
    sim_mailbox *self = MG_NEW(sim_mailbox);

    mg_mailbox_init(&self->mailbox, loop, wake, mailbox_release);
    self->source = (sim_source){ .poll = mailbox_poll, .fire = mailbox_fire };
    return &self->mailbox;
}

/* ---- the loop ---- */

static void arm(mg_loop *loop, uint64_t due_ns)
{
    mg_sim_loop_of(loop)->armed_ns = due_ns;
}

static uint64_t read_clock(mg_loop *loop)
{
    return loop->clock->mono_ns(loop->clock);
}

/* The whole world turns while one of its loops runs. */
static void run(mg_loop *loop)
{
    sim_loop *self = mg_sim_loop_of(loop);

    self->stopped = false;
    while (!self->stopped)
        if (!mg_sim_turn(self->sim)) {
            const bool something_will_happen = mg_sim_step(self->sim, UINT64_MAX);
            MG_CHECK(something_will_happen);
        }
}

static void stop(mg_loop *loop)
{
    mg_sim_loop_of(loop)->stopped = true;
}

static void free_loop(mg_loop *loop)
{
    sim_loop *self = mg_sim_loop_of(loop);

    MG_CHECK(self->watches == 0);
    mg_list_remove(&self->link);
    mg_free(self);
}

const mg_loop_ops mg_sim_ops = {
    .watch_start = mg_sim_watch_start,
    .watch_stop = mg_sim_watch_stop,
    .arm = arm,
    .read_clock = read_clock,
    .run = run,
    .stop = stop,
    .free = free_loop,
    .mailbox_new = mailbox_new,
    .listen = mg_sim_listen,
    .accept = mg_sim_accept,
    .connect = mg_sim_connect,
    .connect_error = mg_sim_connect_error,
    .recv = mg_sim_recv,
    .peek = mg_sim_peek,
    .send = mg_sim_send,
    .shutdown_write = mg_sim_shutdown_write,
    .close = mg_sim_close,
    .local_addr = mg_sim_local_addr,
    .resolve = mg_sim_resolve,
};

void mg_sim_hold(mg_loop *loop, bool held)
{
    mg_sim_loop_of(loop)->held = held;
}

mg_loop *mg_sim_loop_new(mg_sim *sim)
{
    sim_loop *loop = MG_NEW(sim_loop);

    loop->sim = sim;
    loop->armed_ns = UINT64_MAX;
    mg_list_init(&loop->ready);
    mg_list_push(&sim->loops, &loop->link);
    mg_loop_init(&loop->loop, &mg_sim_ops, &sim->clock, mg_rand_next(&sim->rand));
    return &loop->loop;
}
