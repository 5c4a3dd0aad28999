/* stream.c - a byte stream on one descriptor, and the transport that is the socket itself. */
#include "net/stream.h"

#include "base/check.h"
#include "base/mem.h"
#include <errno.h>

static bool is_wait(int error)
{
    return error == EAGAIN || error == EWOULDBLOCK;
}

/* ---- its life ---- */

static void become(mg_stream *stream, mg_stream_state state)
{
    /* Nothing goes back from bytes to a greeting. */
    MG_CHECK(state == MG_STREAM_CLOSED ? stream->state != MG_STREAM_CLOSED
                                       : stream->state < state || stream->state == MG_STREAM_CLOSED);
    stream->state = state;
}

static void on_ready(mg_watch *watch, unsigned what)
{
    mg_stream *stream = mg_container_of(watch, mg_stream, watch);

    if (what & MG_READY_CLOSED) {
        stream->closed = true;
        what |= MG_READY_READ | MG_READY_WRITE;
    }
    if (what & stream->reads_on)
        stream->readable = true;
    if (what & stream->writes_on)
        stream->writable = true;
    stream->ready(stream);
}

static void start(mg_stream *stream, mg_loop *loop, int fd, const mg_transport *transport,
                  void (*ready)(mg_stream *))
{
    stream->transport = transport;
    stream->ready = ready;
    stream->readable = stream->writable = stream->unsure = stream->closed = false;
    stream->reads_on = MG_READY_READ;
    stream->writes_on = MG_READY_WRITE;
    mg_watch_start(loop, &stream->watch, fd, on_ready);
}

void mg_stream_accept(mg_stream *stream, mg_loop *loop, int fd, const mg_transport *transport,
                      void (*ready)(mg_stream *))
{
    start(stream, loop, fd, transport, ready);
    stream->writable = true;
    become(stream, transport->is_socket ? MG_STREAM_OPEN : MG_STREAM_GREETING);
}

bool mg_stream_connect(mg_stream *stream, mg_loop *loop, const mg_addr *addr, const mg_transport *transport,
                       void (*ready)(mg_stream *))
{
    const int fd = loop->ops->connect(loop, addr);

    if (fd < 0)
        return false;
    start(stream, loop, fd, transport, ready);
    become(stream, MG_STREAM_GREETING);
    return true;
}

int mg_stream_greet(mg_stream *stream)
{
    if (stream->state == MG_STREAM_OPEN)
        return 0;
    MG_CHECK(stream->state == MG_STREAM_GREETING);
    const int result = stream->transport->greet(stream);
    if (result == 0)
        become(stream, MG_STREAM_OPEN);
    return result;
}

void mg_stream_close(mg_stream *stream, bool reset)
{
    mg_watch *watch = &stream->watch;

    if (stream->state == MG_STREAM_CLOSED)
        return;
    mg_watch_stop(watch);
    watch->loop->ops->close(watch->loop, watch->fd, reset);
    watch->fd = -1;
    stream->readable = stream->writable = stream->unsure = false;
    become(stream, MG_STREAM_CLOSED);
}

void mg_stream_turn_away(mg_loop *loop, int fd, mg_str answer)
{
    const struct iovec part = { (void *)(uintptr_t)answer.p, answer.n };
    char drop[4096];

    if (answer.n) {
        /* What has come is read, else closing would send RST before the answer is. */
        (void)loop->ops->recv(loop, fd, drop, sizeof drop);
        (void)loop->ops->send(loop, fd, &part, 1);
        loop->ops->shutdown_write(loop, fd);
    }
    loop->ops->close(loop, fd, false);
}

/* ---- bytes ---- */

ssize_t mg_stream_recv(mg_stream *stream, void *bytes, size_t n)
{
    return stream->transport->recv(stream, bytes, n);
}

ssize_t mg_stream_send(mg_stream *stream, const struct iovec *parts, int count)
{
    return stream->transport->send(stream, parts, count);
}

void mg_stream_shutdown(mg_stream *stream)
{
    if (stream->state == MG_STREAM_OPEN)
        stream->transport->shutdown(stream);
}

ssize_t mg_stream_fill(mg_stream *stream, mg_pipe *pipe, size_t n)
{
    MG_CHECK(pipe->n == 0);
    return stream->transport->fill(stream, pipe, n);
}

ssize_t mg_stream_drain(mg_stream *stream, mg_pipe *pipe)
{
    return stream->transport->drain(stream, pipe);
}

bool mg_stream_is_quiet(mg_stream *stream)
{
    return stream->transport->is_quiet(stream);
}

bool mg_stream_take_error(mg_stream *stream)
{
    mg_loop *loop = stream->watch.loop;

    return loop->ops->connect_error(loop, stream->watch.fd) != 0;
}

/* ---- the socket itself ---- */

/* Writable, or closed: it is connected, or the kernel says why not. */
static int socket_greet(mg_stream *stream)
{
    mg_loop *loop = stream->watch.loop;

    if (!stream->writable)
        return MG_STREAM_WAIT;
    return loop->ops->connect_error(loop, stream->watch.fd);
}

static ssize_t socket_recv(mg_stream *stream, void *bytes, size_t n)
{
    mg_loop *loop = stream->watch.loop;
    ssize_t got;

    do
        got = loop->ops->recv(loop, stream->watch.fd, bytes, n);
    while (got < 0 && errno == EINTR);
    if (got > 0) {
        stream->unsure = (size_t)got < n && !stream->closed;
        if (stream->unsure)
            stream->readable = false;
        return got;
    }
    stream->readable = stream->unsure = false;
    if (got == 0)
        return 0;
    return is_wait(errno) ? MG_STREAM_WAIT : MG_STREAM_ERROR;
}

static ssize_t socket_send(mg_stream *stream, const struct iovec *parts, int count)
{
    mg_loop *loop = stream->watch.loop;
    size_t want = 0;
    ssize_t sent;

    for (int i = 0; i < count; i++)
        want += parts[i].iov_len;
    do
        sent = loop->ops->send(loop, stream->watch.fd, parts, count);
    while (sent < 0 && errno == EINTR);
    if (sent < 0) {
        stream->writable = false;
        return is_wait(errno) ? 0 : MG_STREAM_ERROR;
    }
    if ((size_t)sent < want)
        stream->writable = false;
    return sent;
}

/* What comes of a call of splice: it tells neither whether the socket is drained nor whether it is full but by
 * EAGAIN. */
static ssize_t spliced(mg_stream *stream, int from, int to, size_t n)
{
    mg_loop *loop = stream->watch.loop;
    ssize_t moved;

    do
        moved = loop->ops->splice(loop, from, to, n);
    while (moved < 0 && errno == EINTR);
    if (moved >= 0)
        return moved;
    return is_wait(errno) ? MG_STREAM_WAIT : MG_STREAM_ERROR;
}

static ssize_t socket_fill(mg_stream *stream, mg_pipe *pipe, size_t n)
{
    const ssize_t got = spliced(stream, stream->watch.fd, pipe->write, n);

    stream->unsure = false;
    if (got <= 0)
        stream->readable = false;
    else
        pipe->n = (size_t)got;
    return got;
}

static ssize_t socket_drain(mg_stream *stream, mg_pipe *pipe)
{
    const ssize_t sent = spliced(stream, pipe->read, stream->watch.fd, pipe->n);

    if (sent == MG_STREAM_WAIT || sent == MG_STREAM_ERROR)
        stream->writable = false;
    if (sent < 0)
        return sent == MG_STREAM_WAIT ? 0 : sent;
    pipe->n -= (size_t)sent;
    return sent;
}

static void socket_shutdown(mg_stream *stream)
{
    mg_loop *loop = stream->watch.loop;

    loop->ops->shutdown_write(loop, stream->watch.fd);
}

static bool socket_is_quiet(mg_stream *stream)
{
    mg_loop *loop = stream->watch.loop;
    char byte;

    if (loop->ops->peek(loop, stream->watch.fd, &byte, 1) >= 0 || !is_wait(errno))
        return false;
    stream->readable = stream->unsure = false;
    return true;
}

const mg_transport mg_transport_socket = {
    .greet = socket_greet,
    .recv = socket_recv,
    .send = socket_send,
    .shutdown = socket_shutdown,
    .is_quiet = socket_is_quiet,
    .fill = socket_fill,
    .drain = socket_drain,
    .is_socket = true,
};
