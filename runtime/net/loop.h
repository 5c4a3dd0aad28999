/* loop.h - an event loop: descriptors, timers, the moment of this turn, messages from other threads, and the
 * network behind it. One table of functions: the real one stands on libevent and the kernel, the simulated
 * one (sim/) on memory and a clock in a test's hand. Everything above is the same code. A loop belongs to the
 * thread that runs it; only mg_mailbox_post may be called from another. */
#ifndef MG_NET_LOOP_H
#define MG_NET_LOOP_H

#include "base/list.h"
#include "base/rand.h"
#include "base/time.h"
#include "net/addr.h"
#include <sys/uio.h>

typedef struct mg_loop mg_loop;

/* ---- descriptors: edge-triggered, added once, for read, write and close ---- */

/* CLOSED: the peer sent FIN. An RST comes as READ|WRITE (libevent folds EPOLLERR into these), with bytes that
 * arrived before it: whoever needs more than a short read gave reads again, until EAGAIN, 0 or an error. */
enum { MG_READY_READ = 1, MG_READY_WRITE = 2, MG_READY_CLOSED = 4 };

typedef struct mg_watch mg_watch;
struct mg_watch {
    /* Called in the loop's turn; may end the watch and free what holds it. */
    void (*ready)(mg_watch *watch, unsigned what);
    mg_loop *loop; /* borrowed */
    int fd;
    bool active;
    _Alignas(8) char space[128]; /* the loop's own: a struct event */
};

/* A listener's watch reports only MG_READY_READ, level-triggered, and can be paused (accept back-off). */
void mg_watch_start(mg_loop *loop, mg_watch *watch, int fd, void (*ready)(mg_watch *, unsigned));
void mg_watch_start_listener(mg_loop *loop, mg_watch *watch, int fd, void (*ready)(mg_watch *, unsigned));
void mg_watch_stop(mg_watch *watch); /* does not close the descriptor; harmless on an inactive one */

/* ---- timers: a moment in a wheel. Moving it later costs one store ---- */

typedef struct mg_timer mg_timer;
struct mg_timer {
    mg_list link;     /* in a slot of the wheel */
    uint64_t due_ns;  /* 0 = not set */
    uint64_t slot_ms; /* when it is looked at: never later than due, rounded up to a millisecond */
    void (*fire)(mg_timer *timer);
};

void mg_timer_init(mg_timer *timer, void (*fire)(mg_timer *));
/* Sets or moves; a moment in the past fires in the next turn. One-shot. Fires within a millisecond after the
 * moment in simulation, and not before it anywhere; on the real loop a tick of up to 10 ms may be added. */
void mg_timer_set(mg_loop *loop, mg_timer *timer, uint64_t due_ns);
void mg_timer_stop(mg_timer *timer);

/* ---- later in this thread ---- */

/* Work that stands over to the next turn, so that one connection cannot starve the others. */
typedef struct mg_later {
    mg_list link;
    void (*run)(struct mg_later *later);
} mg_later;

void mg_later_add(mg_loop *loop, mg_later *later); /* harmless when it is waiting already */
void mg_later_cancel(mg_later *later);

/* ---- messages from other threads ---- */

/* Owned by the poster until posted, by the receiver's `run` from then on. */
typedef struct mg_message {
    struct mg_message *next;
    void (*run)(struct mg_message *message);
} mg_message;

typedef struct mg_mailbox mg_mailbox;
mg_mailbox *mg_mailbox_new(mg_loop *loop);
/* Any thread. Messages from one poster run in order, on the loop's thread. Never blocks. */
void mg_mailbox_post(mg_mailbox *mailbox, mg_message *message);
/* On the loop's thread, when nobody else posts any more; messages that still wait are run, and those that they
 * post. */
void mg_mailbox_free(mg_mailbox *mailbox);

/* ---- the loop ---- */

struct mg_resolved; /* net/resolver.h */

typedef struct mg_loop_ops {
    void (*watch_start)(mg_loop *loop, mg_watch *watch, bool listener);
    void (*watch_stop)(mg_loop *loop, mg_watch *watch);
    void (*arm)(
        mg_loop *loop,
        uint64_t due_ns); /* the earliest moment at which mg_loop_tick must be called; UINT64_MAX = none */
    uint64_t (*read_clock)(mg_loop *loop);
    void (*run)(mg_loop *loop);  /* until stopped */
    void (*stop)(mg_loop *loop); /* this turn is the last */
    void (*free)(mg_loop *loop);
    mg_mailbox *(*mailbox_new)(mg_loop *loop);
    /* The network: results and errno as of the system calls of these names, never blocking. */
    int (*listen)(mg_loop *loop, const mg_addr *addr, int backlog, bool reuse_port); /* fd or -1 */
    int (*accept)(mg_loop *loop, int fd, mg_addr *peer);
    int (*connect)(mg_loop *loop,
                   const mg_addr *addr);         /* fd, being connected (writable or closed tells), or -1 */
    int (*connect_error)(mg_loop *loop, int fd); /* SO_ERROR */
    ssize_t (*recv)(mg_loop *loop, int fd, void *bytes, size_t n);
    ssize_t (*peek)(mg_loop *loop, int fd, void *bytes, size_t n);
    ssize_t (*send)(mg_loop *loop, int fd, const struct iovec *parts, int count);
    void (*shutdown_write)(mg_loop *loop, int fd);
    void (*close)(mg_loop *loop, int fd, bool reset); /* reset: RST instead of FIN */
    bool (*local_addr)(mg_loop *loop, int fd, mg_addr *addr);
    /* Bytes from a socket to a pipe, or from a pipe to a socket, that are not looked at: NULL where every byte
     * is copied. pipe: false when there is none to be had; ends[0] is the one to read from. */
    bool (*pipe)(mg_loop *loop, int ends[2]);
    ssize_t (*splice)(mg_loop *loop, int from, int to, size_t n);
    /* Names of a simulated world, at once; NULL where the resolver asks the real ones. */
    mg_result (*resolve)(mg_loop *loop, mg_str name, struct mg_resolved *answer);
} mg_loop_ops;

enum { MG_WHEEL_BITS = 6, MG_WHEEL_SLOTS = 64, MG_WHEEL_LEVELS = 8 };

typedef struct mg_wheel {
    mg_list slots[MG_WHEEL_LEVELS][MG_WHEEL_SLOTS];
    uint64_t used[MG_WHEEL_LEVELS]; /* bit = slot has timers */
    mg_list due;                    /* set to a moment that had passed: the next tick's */
    uint64_t now_ms;                /* slots up to here have been looked at */
    uint64_t armed_ns;              /* what `arm` was told last */
} mg_wheel;

struct mg_loop {
    const mg_loop_ops *ops;
    const mg_clock *clock; /* borrowed; wall time too */
    mg_rand rand;          /* this loop's own */
    mg_wheel wheel;
    mg_list laters;
    uint64_t now_ns; /* the moment of this turn */
    bool now_read;   /* this turn's moment has been read */
};

/* The moment of this turn, monotonic; read once. */
static inline uint64_t mg_loop_now(mg_loop *loop)
{
    if (!loop->now_read) {
        loop->now_ns = loop->ops->read_clock(loop);
        loop->now_read = true;
    }
    return loop->now_ns;
}

/* True once this turn has taken so long that what can wait for the next one should, because others stand
 * behind it. Reads the clock. */
bool mg_loop_is_late(mg_loop *loop);

/* libevent: its own event_base with EVENT_BASE_FLAG_NOLOCK. NULL with err. */
mg_loop *mg_loop_new(const mg_clock *clock, uint64_t seed, mg_error *err);
void mg_loop_run(mg_loop *loop);
void mg_loop_stop(mg_loop *loop); /* from the loop's own thread; from another, post a message that does */
void mg_loop_free(mg_loop *loop);
/* For the kinds of loop: what they share. */
void mg_loop_init(mg_loop *loop, const mg_loop_ops *ops, const mg_clock *clock, uint64_t seed);
void mg_loop_tick(mg_loop *loop);       /* fires due timers, re-arms */
bool mg_loop_run_laters(mg_loop *loop); /* one round; true when more wait */

#endif
