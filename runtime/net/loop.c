/* loop.c - the loop on libevent and epoll. A descriptor is added once, edge-triggered for everything it can
 * report, so that a connection's life costs two calls of epoll_ctl; timers stand in the wheel and share one
 * event. */
#include "base/check.h"
#include "base/mem.h"
#include "net/loop_parts.h"
#include "net/socket.h"
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <sys/eventfd.h>
#include <unistd.h>

_Static_assert(sizeof(struct event) <= sizeof(((mg_watch *)0)->space),
               "a watch has room for libevent's event");
_Static_assert(_Alignof(struct event) <= 8, "and aligns it");

/* Timers of a busy loop wake it at multiples of this, at most 250 times a second. */
#define TICK_NS (4 * MG_NS_PER_MS)

typedef struct event_loop {
    mg_loop loop;            /* first */
    struct event_base *base; /* owned */
    struct event tick;
    bool stopped;
} event_loop;

typedef struct event_mailbox {
    mg_mailbox mailbox; /* first */
    mg_watch watch;
} event_mailbox;

static event_loop *of(mg_loop *loop)
{
    return mg_container_of(loop, event_loop, loop);
}

static struct event *event_of(mg_watch *watch)
{
    return (struct event *)(void *)watch->space;
}

/* ---- descriptors ---- */

static void on_event(evutil_socket_t fd, short what, void *arg)
{
    mg_watch *watch = arg;

    (void)fd;
    watch->ready(watch, (what & EV_READ ? MG_READY_READ : 0u) | (what & EV_WRITE ? MG_READY_WRITE : 0u) |
                            (what & EV_CLOSED ? MG_READY_CLOSED : 0u));
}

static void watch_start(mg_loop *loop, mg_watch *watch, bool listener)
{
    const short what = listener ? EV_READ | EV_PERSIST : EV_READ | EV_WRITE | EV_CLOSED | EV_ET | EV_PERSIST;
    struct event *event = event_of(watch);

    MG_CHECK(event_assign(event, of(loop)->base, watch->fd, what, on_event, watch) == 0);
    /* The kernel has a bound on what is watched (max_user_watches). Past it the owner is woken this once,
     * finds nothing more to come, and its deadline ends it. */
    if (event_add(event, NULL) != 0)
        event_active(event, EV_READ | EV_WRITE | EV_CLOSED, 1);
}

static void watch_stop(mg_loop *loop, mg_watch *watch)
{
    (void)loop;
    event_del(event_of(watch));
}

/* ---- time ---- */

static uint64_t read_clock(mg_loop *loop)
{
    return loop->clock->mono_ns(loop->clock);
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    mg_loop_tick(arg);
}

/* libevent measures by the coarse clock, which may be a kernel tick behind; what wakes early arms again. */
static void arm(mg_loop *loop, uint64_t due_ns)
{
    struct event *tick = &of(loop)->tick;

    if (due_ns == UINT64_MAX) {
        event_del(tick);
        return;
    }
    const uint64_t at_ns = mg_add_sat(due_ns, TICK_NS - 1) / TICK_NS * TICK_NS;
    const uint64_t now_ns = read_clock(loop);
    const uint64_t wait_us = at_ns > now_ns ? (at_ns - now_ns + 999) / 1000 : 0;
    const struct timeval wait = { .tv_sec = (time_t)(wait_us / 1000000),
                                  .tv_usec = (suseconds_t)(wait_us % 1000000) };
    MG_CHECK(event_add(tick, &wait) == 0);
}

/* ---- mailboxes ---- */

/* Edge-triggered: each write to an eventfd is an edge, so the count is never read. It would take 2^64 wakes
 * to fill. */
static void wake(mg_mailbox *mailbox)
{
    const event_mailbox *self = mg_container_of(mailbox, event_mailbox, mailbox);
    const uint64_t one = 1;

    MG_CHECK(write(self->watch.fd, &one, sizeof(one)) == sizeof(one));
}

static void mailbox_ready(mg_watch *watch, unsigned what)
{
    if (what & MG_READY_READ)
        mg_mailbox_drain(&mg_container_of(watch, event_mailbox, watch)->mailbox);
}

static void mailbox_release(mg_mailbox *mailbox)
{
    event_mailbox *self = mg_container_of(mailbox, event_mailbox, mailbox);

    mg_watch_stop(&self->watch);
    close(self->watch.fd);
    mg_free(self);
}

static mg_mailbox *mailbox_new(mg_loop *loop)
{
    const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    event_mailbox *self;

    if (fd < 0)
        return NULL;
    self = MG_NEW(event_mailbox);
    mg_mailbox_init(&self->mailbox, loop, wake, mailbox_release);
    mg_watch_start(loop, &self->watch, fd, mailbox_ready);
    return &self->mailbox;
}

/* ---- the loop ---- */

static void run(mg_loop *loop)
{
    event_loop *self = of(loop);
    bool more = !mg_list_empty(&loop->laters);

    for (self->stopped = false; !self->stopped;) {
        loop->now_read = false;
        MG_CHECK(event_base_loop(self->base,
                                 EVLOOP_ONCE | EVLOOP_NO_EXIT_ON_EMPTY | (more ? EVLOOP_NONBLOCK : 0)) >= 0);
        more = mg_loop_run_laters(loop);
    }
}

static void stop(mg_loop *loop)
{
    of(loop)->stopped = true;
}

/* A last look, for what evdns has put off to its next turn and would leak otherwise. */
static void free_loop(mg_loop *loop)
{
    event_loop *self = of(loop);

    event_del(&self->tick);
    event_base_loop(self->base, EVLOOP_NONBLOCK);
    event_base_free(self->base);
    mg_free(self);
}

struct event_base *mg_loop_event_base(mg_loop *loop)
{
    return loop->ops->free == free_loop ? of(loop)->base : NULL;
}

static const mg_loop_ops event_ops = {
    .watch_start = watch_start,
    .watch_stop = watch_stop,
    .arm = arm,
    .read_clock = read_clock,
    .run = run,
    .stop = stop,
    .free = free_loop,
    .mailbox_new = mailbox_new,
    .listen = mg_socket_listen,
    .accept = mg_socket_accept,
    .connect = mg_socket_connect,
    .connect_error = mg_socket_connect_error,
    .recv = mg_socket_recv,
    .peek = mg_socket_peek,
    .send = mg_socket_send,
    .shutdown_write = mg_socket_shutdown_write,
    .close = mg_socket_close,
    .local_addr = mg_socket_local_addr,
    .pipe = mg_socket_pipe,
    .splice = mg_socket_splice,
};

/* NO_CACHE_TIME: libevent then reads its clock only where a timer is armed. No PRECISE_TIMER: it would set a
 * timerfd a turn. */
static struct event_base *new_base(void)
{
    struct event_config *config = event_config_new();
    struct event_base *base = NULL;

    if (config && event_config_require_features(config, EV_FEATURE_ET | EV_FEATURE_EARLY_CLOSE) == 0 &&
        event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK) == 0 &&
        event_config_set_flag(config, EVENT_BASE_FLAG_NO_CACHE_TIME) == 0 &&
        event_config_set_flag(config, EVENT_BASE_FLAG_IGNORE_ENV) == 0)
        base = event_base_new_with_config(config);
    if (config)
        event_config_free(config);
    return base;
}

mg_loop *mg_loop_new(const mg_clock *clock, uint64_t seed, mg_error *err)
{
    event_loop *self;
    struct event_base *base;

    errno = 0;
    if (!(base = new_base())) {
        (void)mg_fail_errno(err, errno, "cannot make an event loop (it needs epoll; see also: ulimit -n)");
        return NULL;
    }
    self = MG_NEW(event_loop);
    self->base = base;
    mg_loop_init(&self->loop, &event_ops, clock, seed);
    MG_CHECK(event_assign(&self->tick, base, -1, 0, on_tick, &self->loop) == 0);
    return &self->loop;
}
