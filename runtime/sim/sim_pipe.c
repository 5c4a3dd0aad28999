/* sim_pipe.c - the bytes between two sockets: bounded queues, FIN, RST, and the edges of epoll. What Linux
 * does is followed where a program can tell: bytes that came before an RST are still read, an error is told
 * once, a socket closed over unread bytes resets, and room is announced when a third of the queue is free, to
 * those who ran out. */
#include "base/mem.h"
#include "sim/sim_parts.h"
#include <errno.h>

/* ---- readiness ---- */

static size_t room(const sim_socket *socket)
{
    const size_t held = socket->peer ? socket->peer->in.n : 0, cap = socket->sim->buffer;

    return held < cap ? cap - held : 0;
}

static bool writable(const sim_socket *socket)
{
    return socket->dead || socket->fin_out ||
           room(socket) >= socket->sim->buffer - socket->sim->buffer / 3 * 2;
}

/* libevent tells an error as READ|WRITE, without CLOSED. */
unsigned mg_sim_readiness(const sim_socket *socket)
{
    if (socket->state == SIM_LISTENING)
        return socket->queued > 0 ? MG_READY_READ : 0;
    if (socket->state == SIM_CONNECTING)
        return 0;
    if (socket->error)
        return MG_READY_READ | MG_READY_WRITE;
    const bool ended = socket->fin_in || socket->dead;
    return (socket->in.n > 0 || ended ? MG_READY_READ : 0u) | (writable(socket) ? MG_READY_WRITE : 0u) |
           (ended ? MG_READY_CLOSED : 0u);
}

void mg_sim_raise(sim_socket *socket)
{
    if (socket->watch)
        mg_sim_source_raise(mg_sim_loop_of(socket->watch->loop), &socket->source);
}

/* ---- ends ---- */

void mg_sim_reset(sim_socket *socket, int error)
{
    socket->dead = true;
    socket->error = socket->fin_in ? EPIPE : error;
    mg_sim_raise(socket);
}

static void send_fin(sim_socket *socket)
{
    if (socket->fin_out)
        return;
    socket->fin_out = true;
    if (socket->peer && !socket->dead) {
        socket->peer->fin_in = true;
        mg_sim_raise(socket->peer);
    }
}

void mg_sim_end_pair(sim_socket *socket, bool reset)
{
    sim_socket *peer = socket->peer;

    if (!peer)
        return;
    if (reset || socket->in.n > 0)
        mg_sim_reset(peer, ECONNRESET);
    else
        send_fin(socket);
    peer->peer = NULL;
    socket->peer = NULL;
}

void mg_sim_shutdown_write(mg_loop *loop, int fd)
{
    sim_socket *socket = mg_sim_socket(loop, fd);

    if (socket->state == SIM_OPEN)
        send_fin(socket);
}

/* ---- bytes ---- */

static void append(sim_bytes *b, const void *bytes, size_t n)
{
    if (b->start > 0 && b->start + b->n + n > b->cap) {
        memmove(b->p, b->p + b->start, b->n);
        b->start = 0;
    }
    if (b->start + b->n + n > b->cap) {
        b->cap = b->start + b->n + n;
        b->p = mg_realloc(b->p, b->cap);
    }
    memcpy(b->p + b->start + b->n, bytes, n);
    b->n += n;
}

static void consume(sim_bytes *b, size_t n)
{
    b->start += n;
    b->n -= n;
    if (b->n == 0)
        b->start = 0;
}

static ssize_t fail(int error)
{
    errno = error;
    return -1;
}

static ssize_t tell_error(sim_socket *socket)
{
    const int error = socket->error;

    socket->error = 0;
    return fail(error);
}

/* What a read finds once the queue is empty. */
static ssize_t end_of_bytes(sim_socket *socket)
{
    if (socket->state == SIM_CONNECTING)
        return fail(EAGAIN);
    if (socket->fin_in)
        return 0;
    if (socket->error)
        return tell_error(socket);
    return socket->dead ? 0 : fail(EAGAIN);
}

static size_t chunk(const sim_socket *socket, size_t n)
{
    mg_sim *sim = socket->sim;

    return sim->chunk && n > 0 ? mg_min_u64(n, 1 + mg_rand_below(&sim->rand, sim->chunk)) : n;
}

static void announce_room(sim_socket *peer)
{
    if (!peer || !peer->want_space || !writable(peer))
        return;
    peer->want_space = false;
    mg_sim_raise(peer);
}

/* A read cut short by a chunk is one whose remaining bytes come a moment later: with an edge of their own. */
ssize_t mg_sim_recv(mg_loop *loop, int fd, void *bytes, size_t n)
{
    sim_socket *socket = mg_sim_socket(loop, fd);
    const size_t wanted = mg_min_u64(n, socket->in.n), taken = chunk(socket, wanted);

    if (socket->in.n == 0)
        return end_of_bytes(socket);
    memcpy(bytes, socket->in.p + socket->in.start, taken);
    consume(&socket->in, taken);
    if (taken < wanted)
        mg_sim_raise(socket);
    announce_room(socket->peer);
    return (ssize_t)taken;
}

ssize_t mg_sim_peek(mg_loop *loop, int fd, void *bytes, size_t n)
{
    sim_socket *socket = mg_sim_socket(loop, fd);
    const size_t wanted = mg_min_u64(n, socket->in.n);

    if (socket->in.n == 0)
        return end_of_bytes(socket);
    memcpy(bytes, socket->in.p + socket->in.start, wanted);
    return (ssize_t)wanted;
}

static size_t copy_parts(sim_bytes *to, const struct iovec *parts, int count, size_t most)
{
    size_t done = 0;

    for (int i = 0; i < count && done < most; i++) {
        const size_t n = mg_min_u64(parts[i].iov_len, most - done);
        if (n > 0)
            append(to, parts[i].iov_base, n);
        done += n;
    }
    return done;
}

static size_t total(const struct iovec *parts, int count)
{
    size_t n = 0;

    for (int i = 0; i < count; i++)
        n += parts[i].iov_len;
    return n;
}

ssize_t mg_sim_send(mg_loop *loop, int fd, const struct iovec *parts, int count)
{
    sim_socket *socket = mg_sim_socket(loop, fd);
    const size_t all = total(parts, count);

    if (socket->state == SIM_CONNECTING)
        return fail(EAGAIN);
    if (socket->error)
        return tell_error(socket);
    if (socket->dead || socket->fin_out)
        return fail(EPIPE);
    if (!socket->peer) { /* the bytes leave, and an RST comes back */
        mg_sim_reset(socket, ECONNRESET);
        return (ssize_t)all;
    }
    const size_t possible = mg_min_u64(all, room(socket)), sent = chunk(socket, possible);
    copy_parts(&socket->peer->in, parts, count, sent);
    if (sent < all)
        socket->want_space = true;
    if (sent < possible)
        announce_room(socket);
    if (sent > 0)
        mg_sim_raise(socket->peer);
    return sent == 0 && all > 0 ? fail(EAGAIN) : (ssize_t)sent;
}
