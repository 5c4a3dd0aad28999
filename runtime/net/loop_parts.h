/* loop_parts.h - what the kinds of loop (net/loop.c on libevent, sim/ in memory) build on; nothing else
 * includes it. The thread of its loop, but for posting: any thread. */
#ifndef MG_NET_LOOP_PARTS_H
#define MG_NET_LOOP_PARTS_H

#include "net/loop.h"
#include <stdatomic.h>

/* Timers hanging, for tests. */
size_t mg_loop_timers(const mg_loop *loop);

/* A stack that posters push to and the loop takes whole and turns around (Treiber 1986; no ABA, since nothing
 * is ever popped alone). Only the post that finds it empty wakes. */
struct mg_mailbox {
    mg_loop *loop; /* borrowed */
    _Atomic(mg_message *) newest;
    void (*wake)(mg_mailbox *mailbox);    /* any thread */
    void (*release)(mg_mailbox *mailbox); /* frees the memory around it */
};

void mg_mailbox_init(mg_mailbox *mailbox, mg_loop *loop, void (*wake)(mg_mailbox *),
                     void (*release)(mg_mailbox *));
/* Runs what was posted before the call. Touches nothing of the mailbox once a message runs: it may be the
 * last. */
void mg_mailbox_drain(mg_mailbox *mailbox);

/* The event_base of a loop made by mg_loop_new, NULL for any other kind; for the resolver's evdns. */
struct event_base;
struct event_base *mg_loop_event_base(mg_loop *loop);

#endif
