/* stream.h - a byte stream on one descriptor, with what the loop last said of it. Write first, wait only on
 * EAGAIN; a short read means that the socket is drained, unless the peer has closed: then it is read again,
 * to 0 (docs/architecture.md 3). TLS comes in behind these functions. */
#ifndef MG_NET_STREAM_H
#define MG_NET_STREAM_H

#include "net/loop.h"

typedef struct mg_stream mg_stream;
struct mg_stream {
    mg_watch watch;
    void (*ready)(mg_stream *stream); /* the flags have changed; may close and free the stream */
    bool unsure; /* the last read was short: nothing stands behind it, but perhaps an RST (libevent tells it
                    as bytes) */
    bool readable, writable,
        closed; /* closed: the loop reported FIN or RST; bytes may still stand before it */
};

enum { MG_STREAM_WAIT = -1, MG_STREAM_ERROR = -2 }; /* of recv and send; 0 of recv is the end */

void mg_stream_open(mg_stream *stream, mg_loop *loop, int fd, bool writable, void (*ready)(mg_stream *));
/* Harmless when closed already. reset: the peer is told by RST. */
void mg_stream_close(mg_stream *stream, bool reset);

ssize_t mg_stream_recv(mg_stream *stream, void *bytes, size_t n);
/* Bytes taken by the kernel, which may be fewer than given: then the stream is not writable until the loop
 * says so. */
ssize_t mg_stream_send(mg_stream *stream, const struct iovec *parts, int count);
void mg_stream_shutdown(mg_stream *stream); /* FIN: nothing more will be sent */

static inline bool mg_stream_is_open(const mg_stream *stream)
{
    return stream->watch.fd >= 0;
}

#endif
