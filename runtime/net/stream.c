/* stream.c - a byte stream on one descriptor. */
#include "net/stream.h"

#include "base/mem.h"
#include <errno.h>

static void on_ready(mg_watch *watch, unsigned what)
{
    mg_stream *stream = mg_container_of(watch, mg_stream, watch);

    if (what & (MG_READY_READ | MG_READY_CLOSED))
        stream->readable = true;
    if (what & (MG_READY_WRITE | MG_READY_CLOSED))
        stream->writable = true;
    if (what & MG_READY_CLOSED)
        stream->closed = true;
    stream->ready(stream);
}

void mg_stream_open(mg_stream *stream, mg_loop *loop, int fd, bool writable, void (*ready)(mg_stream *))
{
    stream->ready = ready;
    stream->readable = stream->unsure = false;
    stream->writable = writable;
    stream->closed = false;
    mg_watch_start(loop, &stream->watch, fd, on_ready);
}

void mg_stream_close(mg_stream *stream, bool reset)
{
    mg_watch *watch = &stream->watch;

    if (watch->fd < 0)
        return;
    mg_watch_stop(watch);
    watch->loop->ops->close(watch->loop, watch->fd, reset);
    watch->fd = -1;
    stream->readable = stream->writable = false;
}

ssize_t mg_stream_recv(mg_stream *stream, void *bytes, size_t n)
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
    return errno == EAGAIN || errno == EWOULDBLOCK ? MG_STREAM_WAIT : MG_STREAM_ERROR;
}

ssize_t mg_stream_send(mg_stream *stream, const struct iovec *parts, int count)
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
        return errno == EAGAIN || errno == EWOULDBLOCK ? 0 : MG_STREAM_ERROR;
    }
    if ((size_t)sent < want)
        stream->writable = false;
    return sent;
}

void mg_stream_shutdown(mg_stream *stream)
{
    mg_loop *loop = stream->watch.loop;

    if (stream->watch.fd >= 0)
        loop->ops->shutdown_write(loop, stream->watch.fd);
}
