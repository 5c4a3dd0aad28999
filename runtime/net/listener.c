/* listener.c - accepts in bounded bites. Its watch is level-triggered, so that what one turn leaves is the
 * next one's; when the process has no descriptor left, the watch pauses instead of being told so again at
 * once. */
#include "net/listener.h"
#include "base/mem.h"
#include <errno.h>

enum { ACCEPTS_A_TURN = 64, DEFAULT_BACKLOG = 1024 };
#define PAUSE_NS (100 * MG_NS_PER_MS)

struct mg_listener {
    mg_loop *loop; /* borrowed */
    mg_watch watch;
    mg_timer resume;
    mg_accepted *accepted;
    void *self; /* borrowed */
    int fd;     /* owned; -1 once stopped */
    int backlog;
    bool *freed; /* the frame that is accepting; told when `accepted` frees the listener */
};

/* ---- bind ---- */

static const char *hint(const mg_addr *addr, int error)
{
    if (addr->sa.sa_family == AF_UNIX) {
        if (error == EADDRINUSE)
            return " (another process answers there, or a file that is not a socket is in the way)";
        return error == ENOENT ? " (the directory must exist)" : "";
    }
    if (error == EACCES && mg_addr_port(addr) < 1024)
        return " (ports below 1024 need a privilege: take one from 1024 up, or run "
               "setcap cap_net_bind_service=+ep on the program)";
    if (error == EADDRNOTAVAIL)
        return " (no interface of this machine has that address; see: ip addr)";
    return error == EMFILE || error == ENFILE ? " (see: ulimit -n)" : "";
}

static mg_result explain(const mg_addr *addr, int error, mg_error *err)
{
    char text[MG_ADDR_TEXT];

    mg_addr_text(addr, text);
    if (error == EADDRINUSE && addr->sa.sa_family != AF_UNIX)
        return mg_fail(err, MG_ERR_IO,
                       "cannot listen on %s: %s (is another gateway running? see: ss -ltnp 'sport = :%u')",
                       text, strerror(error), (unsigned)mg_addr_port(addr));
    return mg_fail(err, MG_ERR_IO, "cannot listen on %s: %s%s", text, strerror(error), hint(addr, error));
}

mg_result mg_listener_probe(mg_loop *loop, const mg_addr *addr, mg_error *err)
{
    const int fd = loop->ops->listen(loop, addr, 1, false);

    if (fd < 0)
        return explain(addr, errno, err);
    loop->ops->close(loop, fd, false);
    return MG_OK;
}

/* ---- accept ---- */

/* Out of descriptors or memory, which only time mends; an error that is not known may be of that kind. */
static bool wants_pause(int error)
{
    switch (error) {
    case ECONNABORTED: /* this one connection, as are the network errors that accept(2) passes on */
    case EINTR:
    case EPROTO:
    case EPERM:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH: return false;
    default: return true;
    }
}

typedef enum accept_end { ACCEPT_EMPTY, ACCEPT_BOUND, ACCEPT_FAILED, ACCEPT_FREED } accept_end;

static accept_end accept_some(mg_listener *listener, int bound)
{
    mg_loop *loop = listener->loop;
    bool freed = false;
    mg_addr peer;

    listener->freed = &freed;
    for (int i = 0; i < bound && listener->fd >= 0; i++) {
        const int fd = loop->ops->accept(loop, listener->fd, &peer);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            listener->freed = NULL;
            return ACCEPT_EMPTY;
        }
        if (fd < 0 && wants_pause(errno)) {
            listener->freed = NULL;
            return ACCEPT_FAILED;
        }
        if (fd >= 0)
            listener->accepted(listener->self, fd, &peer);
        if (freed)
            return ACCEPT_FREED;
    }
    listener->freed = NULL;
    return ACCEPT_BOUND;
}

static void on_ready(mg_watch *watch, unsigned what)
{
    mg_listener *listener = mg_container_of(watch, mg_listener, watch);

    (void)what;
    if (accept_some(listener, ACCEPTS_A_TURN) != ACCEPT_FAILED || listener->fd < 0)
        return;
    mg_watch_stop(&listener->watch);
    mg_timer_set(listener->loop, &listener->resume, mg_add_sat(mg_loop_now(listener->loop), PAUSE_NS));
}

static void on_resume(mg_timer *timer)
{
    mg_listener_start(mg_container_of(timer, mg_listener, resume));
}

/* ---- life ---- */

mg_listener *mg_listener_new(mg_loop *loop, const mg_listener_conf *conf, mg_accepted *accepted, void *self,
                             mg_error *err)
{
    const int backlog = conf->backlog ? conf->backlog : DEFAULT_BACKLOG;
    const int fd = loop->ops->listen(loop, &conf->addr, backlog, conf->reuse_port);
    mg_listener *listener;

    if (fd < 0) {
        (void)explain(&conf->addr, errno, err);
        return NULL;
    }
    listener = MG_NEW(mg_listener);
    *listener =
        (mg_listener){ .loop = loop, .accepted = accepted, .self = self, .fd = fd, .backlog = backlog };
    mg_timer_init(&listener->resume, on_resume);
    return listener;
}

void mg_listener_set_self(mg_listener *listener, void *self)
{
    listener->self = self;
}

void mg_listener_start(mg_listener *listener)
{
    if (listener->fd >= 0 && !listener->watch.active)
        mg_watch_start_listener(listener->loop, &listener->watch, listener->fd, on_ready);
}

static void close_listener(mg_listener *listener)
{
    mg_watch_stop(&listener->watch);
    mg_timer_stop(&listener->resume);
    if (listener->fd >= 0)
        listener->loop->ops->close(listener->loop, listener->fd, false);
    listener->fd = -1;
}

/* The bound is what the queue can hold, and as many again that come meanwhile: clients must not keep a drain
 * open. */
void mg_listener_stop(mg_listener *listener)
{
    bool *frame = listener->freed;

    if (listener->fd < 0)
        return;
    if (accept_some(listener, 2 * listener->backlog) == ACCEPT_FREED) {
        if (frame)
            *frame = true;
        return;
    }
    listener->freed = frame;
    close_listener(listener);
}

void mg_listener_free(mg_listener *listener)
{
    if (!listener)
        return;
    if (listener->freed)
        *listener->freed = true;
    close_listener(listener);
    mg_free(listener);
}

bool mg_listener_addr(const mg_listener *listener, mg_addr *addr)
{
    return listener->fd >= 0 && listener->loop->ops->local_addr(listener->loop, listener->fd, addr);
}
