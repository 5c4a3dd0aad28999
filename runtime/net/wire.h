/* wire.h - the bytes of a connection, whichever side it is on: what it reads and cannot use yet, what it
 * sends and the kernel does not take yet, and how much of either is done in a turn. What the bytes mean is
 * the protocol's: a table of functions. Belongs to its loop's thread.
 *
 * Whatever calls out may end the connection: enter before, leave after, and look at the connection's state in
 * between. */
#ifndef MG_NET_WIRE_H
#define MG_NET_WIRE_H

#include "net/net.h"
#include "net/stream.h"

typedef struct mg_wire mg_wire;

enum { MG_WIRE_BULK = 64 * 1024 }; /* fewer bytes of a body are copied: moving them costs more calls */

typedef struct mg_wire_ops {
    /* How many bytes would be used now, at most. 0: none are wanted, or none can have come. */
    size_t (*wants)(mg_wire *wire);
    /* Uses bytes, in the order in which they came. Returns how many; the rest is held, unless it is dropped
     * by saying that it was used. Only `feed` is told of bytes, and it is not called within itself. */
    size_t (*feed)(mg_wire *wire, const char *bytes, size_t n);
    /* The peer's end was read, or an error. */
    void (*ended)(mg_wire *wire, bool error);
    /* So many bytes are with the kernel. */
    void (*sent)(mg_wire *wire, size_t n);
    /* Of a wire in bulk: the body that is being read, and in *left how many bytes of it come as they are. NULL:
     * none now. */
    mg_body *(*bulk)(mg_wire *wire, uint64_t *left);
    /* So many of those went past without being looked at. */
    void (*moved)(mg_wire *wire, size_t n);
} mg_wire_ops;

struct mg_wire {
    mg_stream stream;
    mg_later later; /* a flush, or reading that stands over; its `run` is the protocol's */
    mg_net *net;    /* borrowed */
    const mg_wire_ops *ops;
    mg_text in;    /* held bytes not used yet */
    mg_text out;   /* held bytes not sent yet */
    mg_pipe *pipe; /* borrowed of the net: bytes to be sent before those of `out`; NULL: none */
    bool feeding;  /* `feed` is on the stack */
    bool blocked;  /* who takes the bytes has no room, or is not there yet: mg_wire_block, mg_wire_unblock */
    bool waiting;  /* a source was refused room, and is to be resumed: mg_wire_has_room, mg_wire_give_room */
    bool bulk;     /* a large body comes, whose bytes nobody may want to look at: mg_wire_bulk */
    bool broken;   /* a send failed: what reads as an end from now on may have been an RST */
    uint8_t depth; /* callbacks of the connection on the stack */
};

/* On zeroed memory. The stream is begun by the caller. */
void mg_wire_init(mg_wire *wire, mg_net *net, const mg_wire_ops *ops, void (*later)(mg_later *));
/* The descriptor is closed, and what is held goes. */
void mg_wire_close(mg_wire *wire, bool reset);

static inline void mg_wire_enter(mg_wire *wire)
{
    wire->depth++;
}

/* True for the outermost: a connection that is gone is freed now. */
static inline bool mg_wire_leave(mg_wire *wire)
{
    return --wire->depth == 0;
}

/* `later` runs behind this turn. */
static inline void mg_wire_later(mg_wire *wire)
{
    mg_later_add(wire->net->loop, &wire->later);
}

/* Another exchange begins. */
static inline void mg_wire_restart(mg_wire *wire)
{
    wire->blocked = wire->waiting = wire->bulk = false;
}

/* ---- in ---- */

/* Reads while bytes are wanted and there are some, a bounded number of times; what is left stands over. */
void mg_wire_read(mg_wire *wire);
/* What is held is tried again. Nothing while bytes are being used. */
void mg_wire_feed_held(mg_wire *wire);

/* A body begins whose bytes come as they are, so many of them: a large one may be moved by the kernel. */
static inline void mg_wire_bulk(mg_wire *wire, uint64_t length)
{
    wire->bulk = length >= MG_WIRE_BULK;
}

static inline void mg_wire_block(mg_wire *wire)
{
    wire->blocked = true;
}

static inline void mg_wire_unblock(mg_wire *wire)
{
    wire->blocked = false;
}

/* ---- out ---- */

/* The loop told of bytes and room, which may have been an RST: asks the kernel, and breaks if so. */
static inline void mg_wire_look(mg_wire *wire)
{
    if (mg_stream_take_error(&wire->stream))
        wire->broken = true;
}

/* Nothing is held that has to be sent before anything else. */
static inline bool mg_wire_is_flushed(const mg_wire *wire)
{
    return !wire->out.n && !wire->pipe;
}

/* Whether a body's bytes are taken now. If not, its source is resumed by mg_wire_give_room. */
bool mg_wire_has_room(mg_wire *wire);
/* There is room: resumes the source of `body` that was refused it before. False when there is none. */
bool mg_wire_give_room(mg_wire *wire, const mg_body *body);

/* Sends what is held and then `parts`, as much as the kernel takes. Returns bytes of `parts` taken, or -1:
 * the connection broke. */
ssize_t mg_wire_send(mg_wire *wire, const struct iovec *parts, int count);
/* Bytes of a body as they are. Returns how many were taken; fewer than n: the source waits. -1: broken. */
ssize_t mg_wire_send_bytes(mg_wire *wire, const char *bytes, size_t n);
/* The same as a chunk, of which all is taken: what the kernel does not take is held. False: broken. */
bool mg_wire_send_chunk(mg_wire *wire, const char *bytes, size_t n);
/* The `move` of a sink whose bytes go out on the wire as they are. */
int64_t mg_wire_move(mg_wire *wire, mg_stream *from, uint64_t n);
/* A small piece that goes with what follows it, or at the end of the turn. */
bool mg_wire_is_small(const mg_wire *wire, size_t n);
void mg_wire_hold(mg_wire *wire, const char *bytes, size_t n);
void mg_wire_hold_chunk(mg_wire *wire, const char *bytes, size_t n);
/* Behind the last chunk. `trailers` may be NULL. */
void mg_wire_hold_last_chunk(mg_wire *wire, const mg_fields *trailers);

/* The held bytes, for a writer that appends to them: mg_wire_wrote with what this returned. */
static inline size_t mg_wire_write(mg_wire *wire)
{
    return mg_net_hold_open(wire->net, &wire->out);
}

static inline void mg_wire_wrote(mg_wire *wire, size_t cap)
{
    mg_net_grew(wire->net, &wire->out, cap);
    if (!wire->out.n)
        mg_net_drop(wire->net, &wire->out, 0); /* nothing came: its memory goes back */
}

/* Nobody wants what is held. */
static inline void mg_wire_drop_in(mg_wire *wire)
{
    mg_net_drop(wire->net, &wire->in, wire->in.n);
}

/* Nobody wants what is held to be sent. */
void mg_wire_drop_out(mg_wire *wire);

#endif
