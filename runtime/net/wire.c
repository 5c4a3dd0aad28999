/* wire.c - the bytes of a connection. Reading goes through the loop's read space, and only what cannot be
 * used yet is held; bytes to send go to the kernel at once, and only what it does not take is held. */
#include "net/wire.h"

#include "base/check.h"
#include "http/h1.h"

enum {
    READS_A_TURN = 4,
    MOVE_MOST = 1 << 20, /* at once; a pipe takes less */
    SMALL = 4096,        /* copied behind what waits, instead of a send of its own */
    CHUNK_SIZE = 18,
};

void mg_wire_init(mg_wire *wire, mg_net *net, const mg_wire_ops *ops, void (*later)(mg_later *))
{
    wire->net = net;
    wire->ops = ops;
    wire->later.run = later;
}

void mg_wire_close(mg_wire *wire, bool reset)
{
    mg_stream_close(&wire->stream, reset);
    mg_later_cancel(&wire->later);
    mg_wire_drop_in(wire);
    mg_wire_drop_out(wire);
}

/* ---- in ---- */

static size_t feed(mg_wire *wire, const char *bytes, size_t n)
{
    wire->feeding = true;
    const size_t used = wire->ops->feed(wire, bytes, n);
    wire->feeding = false;
    return used;
}

void mg_wire_feed_held(mg_wire *wire)
{
    mg_text held = wire->in;

    if (wire->feeding)
        return;
    wire->in = (mg_text){ 0 };
    const size_t used = feed(wire, held.p, held.n);
    MG_CHECK(wire->in.n == 0);
    mg_net_drop(wire->net, &held, used);
    wire->in = held;
}

static void take(mg_wire *wire, const char *bytes, size_t n)
{
    if (wire->in.n) {
        mg_net_hold(wire->net, &wire->in, bytes, n);
        mg_wire_feed_held(wire);
        return;
    }
    const size_t used = feed(wire, bytes, n);
    if (used < n)
        mg_net_hold(wire->net, &wire->in, bytes + used, n - used);
}

/* Bytes of a large body that nobody wants to look at go by a pipe. As mg_body_sink.move. */
static int64_t move(mg_wire *wire)
{
    uint64_t left;
    mg_body *body = wire->ops->bulk(wire, &left);

    if (!body || left < MG_WIRE_BULK || wire->in.n || body->tap || !body->sink || !body->sink->move)
        return MG_MOVE_NOT;
    const int64_t moved = body->sink->move(body->sink, &wire->stream, left);
    if (moved == MG_MOVE_FULL)
        mg_wire_block(wire);
    if (moved <= 0)
        return moved;
    if ((uint64_t)moved == left)
        (void)mg_stream_is_quiet(&wire->stream); /* is what was read all that had come? */
    wire->ops->moved(wire, (size_t)moved);
    return moved;
}

void mg_wire_read(mg_wire *wire)
{
    mg_net *net = wire->net;
    size_t most;

    if (net->scratch_busy || wire->feeding) {
        mg_wire_later(wire);
        return;
    }
    net->scratch_busy = true;
    for (int reads = 0; (most = wire->ops->wants(wire)); reads++) {
        if (reads == READS_A_TURN) {
            mg_wire_later(wire);
            break;
        }
        const int64_t moved = wire->bulk ? move(wire) : MG_MOVE_NOT;
        const bool copies = moved == MG_MOVE_NOT;
        const int64_t got = copies ? mg_stream_recv(&wire->stream, net->scratch, most) : moved;
        if (got == MG_STREAM_WAIT || got == MG_MOVE_FULL)
            break;
        if (got <= 0) {
            wire->ops->ended(wire, got < 0);
            break;
        }
        if (copies)
            take(wire, net->scratch, (size_t)got);
    }
    net->scratch_busy = false;
}

/* ---- out ---- */

bool mg_wire_has_room(mg_wire *wire)
{
    if (!wire->pipe && wire->out.n < MG_NET_BUFFER && (!wire->out.n || mg_stream_can_write(&wire->stream)))
        return true;
    wire->waiting = true;
    return false;
}

bool mg_wire_give_room(mg_wire *wire, const mg_body *body)
{
    if (!wire->waiting || !body->source)
        return false;
    wire->waiting = false;
    body->source->resume(body->source);
    return true;
}

static void drop_pipe(mg_wire *wire)
{
    if (wire->pipe)
        mg_pipe_give(&wire->net->pipes, wire->net->loop, wire->pipe);
    wire->pipe = NULL;
}

void mg_wire_drop_out(mg_wire *wire)
{
    drop_pipe(wire);
    mg_net_drop(wire->net, &wire->out, wire->out.n);
}

/* False: broken. What the kernel does not take stays in the pipe. */
static bool send_pipe(mg_wire *wire)
{
    while (wire->pipe->n && mg_stream_can_write(&wire->stream)) {
        const ssize_t sent = mg_stream_drain(&wire->stream, wire->pipe);
        if (sent < 0) {
            wire->broken = true;
            return false;
        }
        if (sent)
            wire->ops->sent(wire, (size_t)sent);
    }
    if (!wire->pipe->n)
        drop_pipe(wire);
    return true;
}

ssize_t mg_wire_send(mg_wire *wire, const struct iovec *parts, int count)
{
    struct iovec all[4];

    if (wire->pipe && !send_pipe(wire))
        return -1;
    if (wire->pipe || !mg_stream_can_write(&wire->stream))
        return 0;
    if (wire->out.n) {
        all[0] = (struct iovec){ wire->out.p, wire->out.n };
        for (int i = 0; i < count; i++)
            all[i + 1] = parts[i];
        parts = all;
        count++;
    }
    if (!count)
        return 0;
    const ssize_t sent = mg_stream_send(&wire->stream, parts, count);
    if (sent < 0) {
        wire->broken = true;
        return -1;
    }
    if (sent)
        wire->ops->sent(wire, (size_t)sent);
    const size_t held = mg_min_u64((uint64_t)sent, wire->out.n);
    mg_net_drop(wire->net, &wire->out, held);
    return sent - (ssize_t)held;
}

ssize_t mg_wire_send_bytes(mg_wire *wire, const char *bytes, size_t n)
{
    const struct iovec part = { (void *)(uintptr_t)bytes, n };
    const ssize_t taken = mg_wire_send(wire, &part, 1);

    if (taken >= 0 && (size_t)taken < n)
        wire->waiting = true;
    return taken;
}

int64_t mg_wire_move(mg_wire *wire, mg_stream *from, uint64_t n)
{
    if (wire->broken || !mg_stream_can_splice(from) || !mg_stream_can_splice(&wire->stream))
        return MG_MOVE_NOT;
    if (!mg_wire_has_room(wire))
        return MG_MOVE_FULL;
    if (wire->out.n && mg_wire_send(wire, NULL, 0) < 0)
        return MG_MOVE_NOT; /* `data` knows what to do */
    if (wire->out.n) {
        wire->waiting = true;
        return MG_MOVE_FULL;
    }
    mg_pipe *pipe = mg_pipe_take(&wire->net->pipes, wire->net->loop);
    if (!pipe)
        return MG_MOVE_NOT;
    wire->pipe = pipe;
    const ssize_t got = mg_stream_fill(from, pipe, mg_min_u64(n, MOVE_MOST));
    (void)send_pipe(wire);
    return got;
}

bool mg_wire_is_small(const mg_wire *wire, size_t n)
{
    return n <= SMALL && wire->out.n + n + 32 <= MG_NET_BUFFER;
}

void mg_wire_hold(mg_wire *wire, const char *bytes, size_t n)
{
    mg_net_hold(wire->net, &wire->out, bytes, n);
}

static void make_chunk(struct iovec parts[3], char size[CHUNK_SIZE], const char *bytes, size_t n)
{
    parts[0] = (struct iovec){ size, mg_h1_write_chunk_size(size, n) };
    parts[1] = (struct iovec){ (void *)(uintptr_t)bytes, n };
    parts[2] = (struct iovec){ (void *)(uintptr_t) "\r\n", 2 };
}

/* What stands behind the first `taken` bytes. */
static void hold_rest(mg_wire *wire, const struct iovec parts[3], size_t taken)
{
    for (int i = 0; i < 3; i++) {
        const size_t gone = mg_min_u64(taken, parts[i].iov_len);
        taken -= gone;
        if (parts[i].iov_len > gone)
            mg_wire_hold(wire, (const char *)parts[i].iov_base + gone, parts[i].iov_len - gone);
    }
}

/* Sent whole, or the rest is held: its size is out already. */
bool mg_wire_send_chunk(mg_wire *wire, const char *bytes, size_t n)
{
    char size[CHUNK_SIZE];
    struct iovec parts[3];

    make_chunk(parts, size, bytes, n);
    const ssize_t taken = mg_wire_send(wire, parts, 3);
    if (taken < 0)
        return false;
    hold_rest(wire, parts, (size_t)taken);
    return true;
}

void mg_wire_hold_chunk(mg_wire *wire, const char *bytes, size_t n)
{
    char size[CHUNK_SIZE];
    struct iovec parts[3];

    make_chunk(parts, size, bytes, n);
    hold_rest(wire, parts, 0);
}

void mg_wire_hold_last_chunk(mg_wire *wire, const mg_fields *trailers)
{
    const size_t cap = mg_wire_write(wire);

    mg_h1_write_last_chunk(&wire->out, trailers);
    mg_wire_wrote(wire, cap);
}
