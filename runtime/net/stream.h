/* stream.h - a byte stream on one descriptor, and the only place that touches the descriptors of connections.
 * What carries the bytes (the socket itself, later TLS on it) is a table of functions, chosen when the stream
 * begins. On its loop's thread.
 *
 * The readiness rule: whoever reads asks mg_stream_can_read, and whoever writes mg_stream_can_write; neither
 * asks the descriptor. A stream can be read while bytes stand inside it, though the descriptor has none; and
 * it may have to write before it can read, or the other way round: the transport says which edge of the
 * descriptor each direction waits for (reads_on, writes_on), and tells bytes inside by leaving `readable`.
 *
 * Write first, wait only on EAGAIN; a short read of a socket means that it is drained, unless the peer has
 * closed: then it is read again, to 0 (docs/architecture.md 3). */
#ifndef MG_NET_STREAM_H
#define MG_NET_STREAM_H

#include "net/loop.h"
#include "net/pipe.h"

typedef struct mg_stream mg_stream;

enum { MG_STREAM_WAIT = -1, MG_STREAM_ERROR = -2 }; /* of recv and send; 0 of recv is the end */

/* What carries the bytes. Each function sets the stream's readiness as it finds it. */
typedef struct mg_transport {
    /* Goes on with what comes before the first byte. 0: done. MG_STREAM_WAIT: again when `ready` is called.
     * Above 0: an errno; the stream is of no use. */
    int (*greet)(mg_stream *stream);
    ssize_t (*recv)(mg_stream *stream, void *bytes, size_t n);
    ssize_t (*send)(mg_stream *stream, const struct iovec *parts, int count);
    void (*shutdown)(mg_stream *stream);
    bool (*is_quiet)(mg_stream *stream);
    /* The bytes by way of a pipe, as recv and send tell of theirs. NULL: they are not those of the descriptor. */
    ssize_t (*fill)(mg_stream *stream, mg_pipe *pipe, size_t n);
    ssize_t (*drain)(mg_stream *stream, mg_pipe *pipe);
    bool is_socket; /* the bytes are those of the descriptor */
} mg_transport;

extern const mg_transport mg_transport_socket;

typedef enum mg_stream_state {
    MG_STREAM_CLOSED,   /* no descriptor; zeroed is this */
    MG_STREAM_GREETING, /* being connected, or in a handshake */
    MG_STREAM_OPEN,
} mg_stream_state;

/* Read by others through the functions below alone. */
struct mg_stream {
    mg_watch watch;
    const mg_transport *transport;    /* borrowed */
    void (*ready)(mg_stream *stream); /* its readiness has changed; may close and free the stream */
    mg_stream_state state : 8;
    uint8_t reads_on, writes_on; /* MG_READY_*: what the descriptor has to tell for each direction to go on */
    bool readable, writable;
    bool unsure; /* the last read was short: nothing stands behind it, but perhaps an RST (libevent tells it
                    as bytes) */
    bool closed; /* the loop reported FIN or RST; bytes may still stand before it */
};

/* ---- its life ---- */

/* Takes an accepted descriptor. A transport without a greeting is open at once. */
void mg_stream_accept(mg_stream *stream, mg_loop *loop, int fd, const mg_transport *transport,
                      void (*ready)(mg_stream *));
/* Begins to connect. False: it cannot even begin, and stays closed. Else `ready` is called, and
 * mg_stream_greet tells what came of it. */
bool mg_stream_connect(mg_stream *stream, mg_loop *loop, const mg_addr *addr, const mg_transport *transport,
                       void (*ready)(mg_stream *));
/* Goes on with the connecting and the handshake: 0 once the stream is open, MG_STREAM_WAIT, or an errno. */
int mg_stream_greet(mg_stream *stream);
/* Harmless when closed already. reset: the peer is told by RST. */
void mg_stream_close(mg_stream *stream, bool reset);

/* A descriptor that no stream is made of: `answer` (which may be empty) goes out if there is room for it, and
 * then the end. */
void mg_stream_turn_away(mg_loop *loop, int fd, mg_str answer);

/* ---- bytes ---- */

ssize_t mg_stream_recv(mg_stream *stream, void *bytes, size_t n);
/* Bytes taken, which may be fewer than given: then the stream is not writable until `ready` says so. */
ssize_t mg_stream_send(mg_stream *stream, const struct iovec *parts, int count);
void mg_stream_shutdown(mg_stream *stream); /* nothing more will be sent */

/* Both ends of a pipe may be streams of this kind: the bytes are not looked at. */
static inline bool mg_stream_can_splice(const mg_stream *stream)
{
    return stream->transport->fill && stream->watch.loop->ops->splice;
}

/* At most n bytes into the pipe, which is empty. As mg_stream_recv. */
ssize_t mg_stream_fill(mg_stream *stream, mg_pipe *pipe, size_t n);
/* What is in the pipe. As mg_stream_send. */
ssize_t mg_stream_drain(mg_stream *stream, mg_pipe *pipe);

/* ---- what is known of it ---- */

static inline bool mg_stream_is_open(const mg_stream *stream)
{
    return stream->state == MG_STREAM_OPEN;
}

/* A read may give bytes, the end, or an error. */
static inline bool mg_stream_can_read(const mg_stream *stream)
{
    return stream->readable;
}

/* The same, also behind a short read: where only the end of a message tells that it is whole, what stands
 * behind its bytes may be an RST. */
static inline bool mg_stream_may_read(const mg_stream *stream)
{
    return stream->readable || stream->unsure;
}

static inline bool mg_stream_can_write(const mg_stream *stream)
{
    return stream->writable;
}

/* The peer has said that nothing follows; what it sent before may still be unread. */
static inline bool mg_stream_is_ended(const mg_stream *stream)
{
    return stream->closed;
}

/* The loop has told of something that nobody asked for: bytes, or the end. */
static inline bool mg_stream_has_news(const mg_stream *stream)
{
    return stream->readable || stream->closed;
}

/* Reading may find what the loop has not told yet. */
static inline void mg_stream_expect(mg_stream *stream)
{
    if (stream->state == MG_STREAM_OPEN)
        stream->readable = true;
}

/* Asks the kernel whether nothing has come, neither bytes nor the end. What a transport takes for itself is
 * nothing. */
bool mg_stream_is_quiet(mg_stream *stream);
/* Takes the error that the kernel holds for it, an RST for instance: true when there was one. */
bool mg_stream_take_error(mg_stream *stream);

#endif
