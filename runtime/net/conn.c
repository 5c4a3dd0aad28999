/* conn.c - one client connection: its states, its bytes in and out, its deadlines.
 *
 *   IDLE -> HEAD -> EXCHANGE -> IDLE | DRAIN | LINGER -> gone
 *
 * Reading goes through the loop's scratch; only what cannot be used yet is held: a part of a head, bytes that
 * the sink had no room for, a pipelined request. Writing goes to the kernel at once; only what it does not
 * take is held. RFC 9112. */
#include "net/conn.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/stream.h"
#include <stdio.h>

enum {
    READ_AHEAD = MG_NET_BUFFER, /* pipelined bytes behind a request that is being answered */
    READS_A_TURN = 4,
    SMALL_BODY = 4096,         /* copied behind what waits, instead of a send of its own */
    DRAIN_BYTES = 64 * 1024,   /* of a body nobody wants, to keep the connection */
    LINGER_BYTES = 256 * 1024, /* read and dropped behind a last answer, so that no RST overtakes it */
};

#define LINGER_NS       (2 * MG_NS_PER_S)
#define DRAIN_LINGER_NS (200 * MG_NS_PER_MS) /* while the gateway ends, which it is waited for to do */

typedef enum conn_state {
    CONN_IDLE,     /* no byte of a head yet */
    CONN_HEAD,     /* a part of one */
    CONN_EXCHANGE, /* being answered; or tunnelled */
    CONN_DRAIN,    /* answered; the rest of its body is read and dropped */
    CONN_LINGER,   /* FIN sent; what still comes is dropped */
} conn_state;

struct mg_conn {
    mg_stream stream;
    mg_timer timer;
    mg_later later; /* a flush, or reading that stands over */
    mg_list link;
    mg_conn_server *server; /* borrowed */
    mg_exchange *x;         /* borrowed: the owner's; NULL between exchanges */
    mg_body_sink sink;      /* of the response body */
    mg_body_source source;  /* of the request body */
    mg_h1_body body;        /* the request body on its way in */
    mg_text in;             /* held bytes not used yet */
    mg_text out;            /* held bytes not sent yet */
    uint64_t progress_ns;   /* the client's last byte in or out while it was waited for */
    uint64_t out_left;      /* of an MG_H1_LENGTH response */
    uint32_t dropped;       /* bytes, in DRAIN and LINGER */
    conn_state state;
    uint8_t out_framing;
    bool keep_alive;        /* the client may send another request */
    bool last;              /* this response is the connection's last */
    bool body_open;         /* the request body has not ended */
    bool blocked;           /* the sink has no room, or is not there yet */
    bool feeding;           /* feed() is on the stack */
    bool head_out, end_out; /* of the response: handed over, complete */
    bool waiting_room;      /* the response's source is to be resumed */
    bool tunnel;
    bool broken; /* a send failed */
    bool peer_trusted;
    bool gone; /* closed; freed when the stack has unwound */
    uint8_t minor;
    uint8_t depth; /* callbacks of ours on the stack */
    char peer[48];
    uint8_t peer_n;
};

static void conn_next(mg_conn *conn);
static void conn_read(mg_conn *conn);

static mg_loop *loop_of(const mg_conn *conn)
{
    return conn->server->net->loop;
}

static mg_conn *conn_of_x(mg_exchange *x)
{
    return x->client_self;
}

/* ---- ending ---- */

static void conn_enter(mg_conn *conn)
{
    conn->depth++;
}

static void conn_leave(mg_conn *conn)
{
    mg_conn_server *server = conn->server;

    if (--conn->depth || !conn->gone)
        return;
    mg_free(conn);
    if (server->draining && server->count == 0 && server->drained)
        server->drained(server);
}

static void count(mg_conn_server *server, int by)
{
    server->count += (uint32_t)by;
    if (server->live)
        atomic_fetch_add_explicit(server->live, (uint32_t)by, memory_order_relaxed);
}

/* The descriptor is closed and the connection is in no list. Freed by the outermost conn_leave. */
static void conn_close(mg_conn *conn, bool reset)
{
    mg_net *net = conn->server->net;

    if (conn->gone)
        return;
    conn->gone = true;
    mg_stream_close(&conn->stream, reset);
    mg_timer_stop(&conn->timer);
    mg_later_cancel(&conn->later);
    mg_list_remove(&conn->link);
    mg_h1_body_fini(&conn->body);
    mg_net_drop(net, &conn->in, conn->in.n);
    mg_net_drop(net, &conn->out, conn->out.n);
    count(conn->server, -1);
}

/* The client left or is given up: the owner hears of it, unless it has been told that all is done. */
static void conn_abort(mg_conn *conn, mg_reset reason, bool reset)
{
    mg_exchange *x = conn->x;

    conn->x = NULL;
    conn_close(conn, reset);
    if (!x)
        return;
    x->client = NULL;
    x->client_self = NULL;
    x->request_body.source = NULL;
    x->response_body.sink = NULL;
    x->owner->gone(x, reason);
}

/* ---- writing ---- */

static void set_timer(mg_conn *conn, uint64_t after_ns)
{
    mg_timer_set(loop_of(conn), &conn->timer, mg_add_sat(mg_loop_now(loop_of(conn)), after_ns));
}

static void client_progress(mg_conn *conn)
{
    conn->progress_ns = mg_loop_now(loop_of(conn));
}

/* From now on the client is waited for. */
static void await_client(mg_conn *conn)
{
    const uint64_t due = mg_loop_now(loop_of(conn)) + conn->server->limits.body_timeout_ns;

    client_progress(conn);
    if (!conn->timer.due_ns || conn->timer.due_ns > due)
        mg_timer_set(loop_of(conn), &conn->timer, due);
}

/* Sends what is held and then `parts`. Returns bytes of `parts` taken, or -1 when the connection broke. */
static ssize_t conn_send(mg_conn *conn, const struct iovec *parts, int count)
{
    struct iovec all[4];
    int n = 0;

    if (conn->out.n)
        all[n++] = (struct iovec){ conn->out.p, conn->out.n };
    for (int i = 0; i < count; i++)
        all[n++] = parts[i];
    if (!n || !conn->stream.writable)
        return 0;
    const ssize_t sent = mg_stream_send(&conn->stream, all, n);
    if (sent < 0)
        return -1;
    if (conn->x)
        conn->x->bytes_out += (uint64_t)sent;
    if (sent)
        client_progress(conn);
    const size_t held = mg_min_u64((uint64_t)sent, conn->out.n);
    mg_net_drop(conn->server->net, &conn->out, held);
    return sent - (ssize_t)held;
}

/* The response is complete and sent: the exchange is over for this side. */
static void finish_exchange(mg_conn *conn)
{
    mg_exchange *x = conn->x;

    conn->x = NULL;
    x->client = NULL;
    x->client_self = NULL;
    x->request_body.source = NULL;
    x->response_body.sink = NULL;
    conn->blocked = false;
    if (conn->server->draining)
        conn->last = true;
    x->owner->done(x);
    conn_next(conn);
}

/* Sends what is held; finishes, resumes or breaks as that goes. */
static void flush(mg_conn *conn)
{
    mg_exchange *x = conn->x;

    if (conn->out.n && conn_send(conn, NULL, 0) < 0) {
        conn_abort(conn, MG_RESET_CLIENT_GONE, true);
        return;
    }
    if (conn->out.n) {
        await_client(conn);
        return;
    }
    if (!x || conn->state != CONN_EXCHANGE)
        return;
    if (conn->end_out) {
        if (conn->tunnel) {
            mg_stream_shutdown(&conn->stream);
            if (conn->body_open)
                return; /* half closed: the other direction goes on */
            conn->last = true;
        }
        finish_exchange(conn);
        return;
    }
    if (conn->waiting_room && x->response_body.source) {
        conn->waiting_room = false;
        x->response_body.source->resume(x->response_body.source);
    }
}

static bool small_enough(const mg_conn *conn, size_t n)
{
    return n <= SMALL_BODY && conn->out.n + n + 32 <= MG_NET_BUFFER;
}

/* Length-delimited and raw bytes: straight from the caller's memory. */
static size_t send_plain(mg_conn *conn, const char *bytes, size_t n)
{
    const struct iovec part = { (void *)(uintptr_t)bytes, n };
    const ssize_t taken = conn_send(conn, &part, 1);

    if (taken < 0) {
        mg_later_add(loop_of(conn), &conn->later); /* breaks there, not under the caller */
        conn->broken = true;
        return n;
    }
    return (size_t)taken;
}

/* A chunk is sent whole or its rest is held: its size is out already. */
static size_t send_chunk(mg_conn *conn, const char *bytes, size_t n)
{
    char size[18];
    const size_t size_n = mg_h1_write_chunk_size(size, n);
    mg_net *net = conn->server->net;
    struct iovec parts[3] = { { size, size_n },
                              { (void *)(uintptr_t)bytes, n },
                              { (void *)(uintptr_t) "\r\n", 2 } };

    ssize_t taken = 0;
    if (small_enough(conn, n)) {
        mg_later_add(loop_of(conn), &conn->later);
    } else {
        taken = conn_send(conn, parts, 3);
        if (taken < 0) {
            mg_later_add(loop_of(conn), &conn->later);
            conn->broken = true;
            return n;
        }
    }
    for (int i = 0; i < 3; i++) {
        const size_t gone = mg_min_u64((uint64_t)taken, parts[i].iov_len);
        taken -= (ssize_t)gone;
        if (parts[i].iov_len > gone)
            mg_net_hold(net, &conn->out, (char *)parts[i].iov_base + gone, parts[i].iov_len - gone);
    }
    return n;
}

static size_t response_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_conn *conn = mg_container_of(sink, mg_conn, sink);
    size_t taken;

    if (conn->gone || conn->broken)
        return n;
    if (conn->out.n >= MG_NET_BUFFER || (conn->out.n && !conn->stream.writable)) {
        conn->waiting_room = true;
        return 0;
    }
    if (conn->out_framing == MG_H1_CHUNKED) {
        taken = send_chunk(conn, bytes, n);
    } else if (n < conn->out_left && small_enough(conn, n) && !conn->tunnel) {
        mg_net_hold(conn->server->net, &conn->out, bytes, n);
        mg_later_add(loop_of(conn), &conn->later);
        taken = n;
    } else {
        taken = send_plain(conn, bytes, n);
    }
    if (conn->out_framing == MG_H1_LENGTH)
        conn->out_left -= mg_min_u64(taken, conn->out_left);
    if (taken < n || conn->out.n)
        await_client(conn);
    if (taken < n)
        conn->waiting_room = true;
    return taken;
}

static void response_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_conn *conn = mg_container_of(sink, mg_conn, sink);

    if (conn->gone)
        return;
    if (conn->out_framing == MG_H1_CHUNKED) {
        const size_t cap = mg_net_hold_open(conn->server->net, &conn->out);
        mg_h1_write_last_chunk(&conn->out, trailers);
        mg_net_grew(conn->server->net, &conn->out, cap);
    }
    conn->end_out = true;
    if (conn->out_framing == MG_H1_UNTIL_CLOSE)
        conn->last = true;
    conn_enter(conn);
    flush(conn);
    conn_leave(conn);
}

static void response_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_conn *conn = mg_container_of(sink, mg_conn, sink);

    if (conn->gone || !conn->x)
        return;
    conn_enter(conn);
    /* What came is the client's. That more was due is seen by the length or the missing last chunk; where
     * only the end of the connection ends the body, it has to be an RST. */
    if (conn->out.n)
        (void)conn_send(conn, NULL, 0);
    conn_abort(conn, reason, conn->out_framing == MG_H1_UNTIL_CLOSE || conn->out.n);
    conn_leave(conn);
}

/* ---- the client side of an exchange: what the owner calls ---- */

static void client_interim(mg_exchange *x, const mg_response *head)
{
    mg_conn *conn = conn_of_x(x);

    if (conn->minor == 0 || conn->head_out)
        return;
    const size_t cap = mg_net_hold_open(conn->server->net, &conn->out);
    (void)mg_h1_write_response(&conn->out, head, x->request.method, conn->minor, true);
    mg_net_grew(conn->server->net, &conn->out, cap);
    mg_later_add(loop_of(conn), &conn->later);
}

/* Whether the connection can live on behind this response, when the request's body may not have been read. */
static bool may_keep(const mg_conn *conn, const mg_exchange *x)
{
    if (!conn->keep_alive || conn->last || conn->server->draining)
        return false;
    if (!conn->body_open)
        return true;
    return !x->request.expect_continue && conn->body.framing == MG_H1_LENGTH &&
           conn->body.left <= DRAIN_BYTES;
}

static void begin_tunnel(mg_conn *conn, mg_exchange *x)
{
    conn->tunnel = true;
    conn->body_open = true;
    conn->blocked = true; /* until the upstream side resumes it */
    mg_h1_body_fini(&conn->body);
    mg_h1_body_init(&conn->body, MG_H1_UNTIL_CLOSE, 0, &conn->server->limits.h1, &x->arena);
    x->request_body.source = &conn->source;
    x->request_body.ended = false;
}

static void client_head(mg_exchange *x)
{
    mg_conn *conn = conn_of_x(x);
    const mg_response *response = &x->response;

    if (!may_keep(conn, x))
        conn->last = true;
    const size_t cap = mg_net_hold_open(conn->server->net, &conn->out);
    conn->out_framing =
        mg_h1_write_response(&conn->out, response, x->request.method, conn->minor, !conn->last);
    mg_net_grew(conn->server->net, &conn->out, cap);
    conn->out_left = response->length;
    conn->head_out = x->head_sent = true;
    if (response->status == 101)
        begin_tunnel(conn, x);
    if (conn->tunnel || conn->out_framing != MG_H1_NO_BODY) {
        if (conn->out_framing == MG_H1_UNTIL_CLOSE && !conn->tunnel)
            conn->last = true;
        x->response_body.sink = &conn->sink;
    } else {
        conn->end_out = true;
    }
    mg_later_add(loop_of(conn), &conn->later);
}

static void client_cut(mg_exchange *x, mg_reset reason)
{
    mg_conn *conn = conn_of_x(x);

    (void)reason;
    conn->x = NULL;
    x->client = NULL;
    x->client_self = NULL;
    x->request_body.source = NULL;
    x->response_body.sink = NULL;
    conn_enter(conn);
    conn_close(conn, true);
    conn_leave(conn);
}

static const mg_client_ops client_ops = { client_interim, client_head, client_cut };

/* ---- reading ---- */

static void refuse(mg_conn *conn, const mg_h1_fault *fault)
{
    conn->last = true;
    conn->keep_alive = false;
    conn->x->owner->refuse(conn->x, fault->status, fault->why);
}

static void attach_exchange(mg_conn *conn)
{
    mg_exchange *x = mg_net_exchange_new(conn->server->net);

    x->client = &client_ops;
    x->client_self = conn;
    x->owner = conn->server->owner;
    x->owner_self = conn->server->owner_self;
    x->listener = conn->server->listener;
    x->peer = mg_arena_str(&x->arena, (mg_str){ conn->peer, conn->peer_n });
    x->peer_trusted = conn->peer_trusted;
    conn->x = x;
    conn->state = CONN_EXCHANGE;
    conn->head_out = conn->end_out = conn->waiting_room = conn->blocked = conn->tunnel = false;
    conn->body_open = false;
}

/* A whole head stands at `bytes`. */
static void start_exchange(mg_conn *conn, const char *bytes, size_t n)
{
    const mg_conn_limits *limits = &conn->server->limits;
    mg_h1_info info = { 0 };
    mg_h1_fault fault = { 0 };

    attach_exchange(conn);
    mg_exchange *x = conn->x;
    char *head = mg_arena_alloc(&x->arena, n + 1);
    memcpy(head, bytes, n);
    x->bytes_in = n;
    if (!mg_h1_parse_request(&x->arena, &limits->h1, head, n, conn->server->scheme, &x->request, &info,
                             &fault)) {
        conn->minor = 1;
        refuse(conn, &fault);
        return;
    }
    conn->keep_alive = info.keep_alive;
    conn->minor = x->request.minor;
    if (x->request.body == MG_BODY_STREAM || (x->request.body == MG_BODY_LENGTH && x->request.length)) {
        mg_h1_body_init(&conn->body, x->request.body == MG_BODY_LENGTH ? MG_H1_LENGTH : MG_H1_CHUNKED,
                        x->request.length, &limits->h1, &x->arena);
        conn->body_open = conn->blocked = true;
        x->request_body.source = &conn->source;
        await_client(conn);
    } else {
        x->request_body.ended = true;
    }
    x->begun = true;
    x->owner->begin(x);
}

/* The head's bytes, blank lines before it skipped (RFC 9112 2.2: at least one is). Returns bytes used. */
static size_t feed_head(mg_conn *conn, const char *bytes, size_t n)
{
    const mg_h1_limits *h1 = &conn->server->limits.h1;
    size_t skip = 0, scanned = 0;

    if (conn->state == CONN_IDLE && n >= 2 && bytes[0] == '\r' && bytes[1] == '\n')
        skip = 2;
    if (skip == n)
        return skip;
    const size_t head_n = mg_h1_head_end(bytes + skip, n - skip, &scanned);
    if (head_n && head_n <= h1->head_bytes) {
        start_exchange(conn, bytes + skip, head_n);
        return skip + head_n;
    }
    if (head_n || n - skip > h1->head_bytes) {
        const char *line_end = memchr(bytes + skip, '\n', n - skip);
        const bool long_target = !line_end || (size_t)(line_end - bytes - (ptrdiff_t)skip) > h1->target_bytes;
        const mg_h1_fault fault = { long_target ? 414 : 431, "the head is too large" };
        attach_exchange(conn);
        conn->minor = 1;
        refuse(conn, &fault);
        return n;
    }
    if (conn->state == CONN_IDLE) {
        conn->state = CONN_HEAD;
        set_timer(conn, conn->server->limits.head_timeout_ns);
    }
    return skip;
}

static void body_ended(mg_conn *conn)
{
    mg_exchange *x = conn->x;
    mg_fields *trailers = conn->body.trailers.count ? &conn->body.trailers : NULL;

    conn->body_open = false;
    if (!x)
        return;
    x->request_body.source = NULL;
    x->request_body.ended = true;
    if (x->request_body.sink)
        x->request_body.sink->end(x->request_body.sink, trailers);
}

/* The request body's bytes. Returns how many were used; fewer than n: blocked, ended or broken. */
static size_t feed_body(mg_conn *conn, const char *bytes, size_t n)
{
    size_t at = 0;

    while (conn->body_open && !conn->gone) {
        mg_exchange *x = conn->x;
        mg_body *body = x ? &x->request_body : NULL;
        mg_h1_fault fault = { 0 };
        mg_str payload = MG_STR_NONE;
        size_t used = 0;
        const mg_h1_step step = mg_h1_body_next(&conn->body, bytes + at, n - at, &used, &payload, &fault);

        at += used;
        if (step == MG_H1_MORE)
            return at;
        if (step == MG_H1_END) {
            body_ended(conn);
            return at;
        }
        if (step == MG_H1_BAD) {
            conn->body_open = false;
            if (x) {
                x->request_body.source = NULL;
                refuse(conn, &fault);
            } else {
                conn->last = true;
                conn_next(conn);
            }
            return n;
        }
        size_t taken = payload.n;
        if (body) {
            if (!body->sink) {
                conn->blocked = true;
                return at;
            }
            taken = body->sink->data(body->sink, payload.p, payload.n);
            body->bytes += taken;
            x->bytes_in += taken;
        } else {
            conn->dropped += (uint32_t)taken;
        }
        if (conn->gone)
            return n;
        mg_h1_body_take(&conn->body, taken);
        at += taken;
        if (taken < payload.n && conn->x == x) {
            conn->blocked = true;
            return at;
        }
    }
    return at;
}

/* Uses bytes as the state asks for. Returns how many; the rest is held. */
static size_t feed_some(mg_conn *conn, const char *bytes, size_t n)
{
    switch (conn->state) {
    case CONN_IDLE:
    case CONN_HEAD: return conn->server->draining && conn->state == CONN_IDLE ? 0 : feed_head(conn, bytes, n);
    case CONN_EXCHANGE: return conn->body_open && !conn->blocked ? feed_body(conn, bytes, n) : 0;
    case CONN_DRAIN: return feed_body(conn, bytes, n);
    case CONN_LINGER: conn->dropped += (uint32_t)n; return n;
    }
    MG_UNREACHABLE();
}

static size_t feed(mg_conn *conn, const char *bytes, size_t n)
{
    size_t at = 0;

    conn->feeding = true;
    while (!conn->gone) {
        const conn_state before = conn->state;
        const bool open_before = conn->body_open;
        if (at == n)
            break;
        const size_t used = feed_some(conn, bytes + at, n - at);
        at += used;
        if (used == 0 && before == conn->state && open_before == conn->body_open)
            break;
    }
    conn->feeding = false;
    return at;
}

/* What was held is tried again, in a state that may want it. */
static void feed_held(mg_conn *conn)
{
    if (!conn->in.n || conn->feeding)
        return;
    mg_text held = conn->in; /* feed may hold nothing into it: it only uses */
    conn->in = (mg_text){ 0 };
    const size_t used = feed(conn, held.p, held.n);
    if (conn->gone) {
        mg_net_drop(conn->server->net, &held, held.n);
        return;
    }
    MG_CHECK(conn->in.n == 0);
    mg_net_drop(conn->server->net, &held, used);
    conn->in = held;
}

static bool wants_bytes(const mg_conn *conn)
{
    switch (conn->state) {
    case CONN_IDLE:
    case CONN_HEAD:
    case CONN_DRAIN:
    case CONN_LINGER: return true;
    case CONN_EXCHANGE:
        return conn->body_open && !conn->blocked ? true : conn->in.n < READ_AHEAD && !conn->body_open;
    }
    MG_UNREACHABLE();
}

/* In the middle of a message a short read is read again: what stands behind it may be its end. */
static bool may_have_bytes(const mg_conn *conn)
{
    return conn->stream.readable || (conn->stream.unsure && (conn->state == CONN_HEAD || conn->body_open));
}

static void on_eof(mg_conn *conn)
{
    if (conn->tunnel && conn->x) {
        body_ended(conn);
        if (!conn->gone && conn->end_out && !conn->out.n) {
            conn->last = true;
            finish_exchange(conn);
        }
        return;
    }
    conn_abort(conn, MG_RESET_CLIENT_GONE, conn->x != NULL);
}

static void on_bytes(mg_conn *conn, char *bytes, size_t n)
{
    mg_net *net = conn->server->net;

    if (conn->body_open)
        client_progress(conn);
    if (conn->in.n) {
        mg_net_hold(net, &conn->in, bytes, n);
        feed_held(conn);
        return;
    }
    const size_t used = feed(conn, bytes, n);
    if (!conn->gone && used < n)
        mg_net_hold(net, &conn->in, bytes + used, n - used);
}

static void conn_read(mg_conn *conn)
{
    mg_net *net = conn->server->net;

    if (net->scratch_busy || conn->feeding) {
        mg_later_add(net->loop, &conn->later);
        return;
    }
    net->scratch_busy = true;
    for (int turn = 0; !conn->gone && may_have_bytes(conn) && wants_bytes(conn); turn++) {
        if (turn == READS_A_TURN) {
            mg_later_add(net->loop, &conn->later);
            break;
        }
        const size_t room = conn->state == CONN_EXCHANGE && !conn->body_open ? READ_AHEAD - conn->in.n
                                                                             : mg_net_read_size(net);
        const ssize_t got = mg_stream_recv(&conn->stream, net->scratch, room);
        if (got == MG_STREAM_WAIT)
            break;
        if (got == 0)
            on_eof(conn);
        else if (got < 0)
            conn_abort(conn, MG_RESET_CLIENT_GONE, true);
        else
            on_bytes(conn, net->scratch, (size_t)got);
        if (got <= 0)
            break;
        if (!conn->gone && (conn->state == CONN_DRAIN || conn->state == CONN_LINGER) &&
            conn->dropped > (conn->state == CONN_DRAIN ? DRAIN_BYTES : LINGER_BYTES))
            conn_close(conn, true);
    }
    net->scratch_busy = false;
}

/* ---- between exchanges ---- */

static void linger(mg_conn *conn)
{
    /* Nothing that came is unread, so closing sends FIN and no RST: a gateway that ends needs no more. */
    const bool quiet = conn->server->draining && !conn->body_open && !conn->in.n && !conn->stream.readable;

    conn->state = CONN_LINGER;
    conn->dropped = 0;
    mg_h1_body_fini(&conn->body);
    conn->body_open = false;
    mg_net_drop(conn->server->net, &conn->in, conn->in.n);
    mg_stream_shutdown(&conn->stream);
    if (conn->broken || conn->tunnel || quiet) {
        conn_close(conn, false);
        return;
    }
    set_timer(conn, conn->server->draining ? DRAIN_LINGER_NS : LINGER_NS);
    if (conn->stream.readable)
        mg_later_add(loop_of(conn), &conn->later);
}

/* Behind a response: another request, the rest of this one, or the end. */
static void conn_next(mg_conn *conn)
{
    if (conn->last || !conn->keep_alive) {
        if (!conn->body_open && !conn->in.n && conn->stream.closed)
            conn_close(conn, false);
        else
            linger(conn);
        return;
    }
    if (conn->body_open) {
        conn->state = CONN_DRAIN;
        conn->dropped = 0;
        set_timer(conn, conn->server->limits.body_timeout_ns);
    } else {
        mg_h1_body_fini(&conn->body);
        conn->state = CONN_IDLE;
        set_timer(conn, conn->server->limits.idle_timeout_ns);
    }
    if (conn->in.n || conn->stream.readable)
        mg_later_add(loop_of(conn), &conn->later);
}

/* The drained body has ended: conn_next once more. */
static void after_drain(mg_conn *conn)
{
    if (conn->state == CONN_DRAIN && !conn->body_open)
        conn_next(conn);
}

/* ---- the source of the request body: what its taker calls ---- */

static void source_resume(mg_body_source *source)
{
    mg_conn *conn = mg_container_of(source, mg_conn, source);

    conn->blocked = false;
    if (!conn->tunnel)
        await_client(conn);
    if (conn->feeding)
        return; /* the loop in feed goes on */
    conn_enter(conn);
    feed_held(conn);
    if (!conn->gone && conn->body_open && !conn->blocked && conn->stream.readable)
        conn_read(conn);
    conn_leave(conn);
}

static void source_stop(mg_body_source *source)
{
    mg_conn *conn = mg_container_of(source, mg_conn, source);

    if (conn->x) {
        conn->x->request_body.source = NULL;
        conn->x->request_body.sink = NULL;
    }
    conn->blocked = true;
}

/* ---- what the loop calls ---- */

static void conn_turn(mg_conn *conn)
{
    conn_enter(conn);
    if (conn->broken && conn->x)
        conn_abort(conn, MG_RESET_CLIENT_GONE, true);
    if (!conn->gone && (conn->out.n || conn->end_out || conn->waiting_room))
        flush(conn);
    if (!conn->gone && conn->in.n)
        feed_held(conn);
    if (!conn->gone && conn->stream.readable)
        conn_read(conn);
    if (!conn->gone)
        after_drain(conn);
    conn_leave(conn);
}

static void on_ready(mg_stream *stream)
{
    conn_turn(mg_container_of(stream, mg_conn, stream));
}

static void on_later(mg_later *later)
{
    conn_turn(mg_container_of(later, mg_conn, later));
}

/* True when the next move is the client's. */
static bool waits_for_client(const mg_conn *conn)
{
    if (conn->tunnel)
        return conn->out.n != 0;
    return conn->out.n || conn->waiting_room || conn->state == CONN_DRAIN ||
           (conn->body_open && !conn->blocked);
}

static void on_timer(mg_timer *timer)
{
    mg_conn *conn = mg_container_of(timer, mg_conn, timer);
    const uint64_t now = mg_loop_now(loop_of(conn));
    const uint64_t patience = conn->server->limits.body_timeout_ns;

    conn_enter(conn);
    if (conn->state != CONN_EXCHANGE && conn->state != CONN_DRAIN) {
        if (conn->state == CONN_HEAD) {
            const mg_h1_fault fault = { 408, "the head did not come in time" };
            attach_exchange(conn);
            conn->minor = 1;
            refuse(conn, &fault);
        } else {
            conn_close(conn, false);
        }
    } else if (waits_for_client(conn) && now >= conn->progress_ns + patience) {
        if (conn->x && !conn->head_out && !conn->tunnel) {
            const mg_h1_fault fault = { 408, "the body did not come in time" };
            refuse(conn, &fault);
            if (!conn->gone)
                set_timer(conn, patience);
        } else {
            conn_abort(conn, MG_RESET_CLIENT_TIMEOUT, true);
        }
    } else {
        set_timer(conn, waits_for_client(conn) ? conn->progress_ns + patience - now : patience);
    }
    conn_leave(conn);
}

/* ---- the server ---- */

void mg_conn_server_init(mg_conn_server *server, mg_net *net, const mg_owner_ops *owner, void *owner_self)
{
    *server =
        (mg_conn_server){ .net = net, .owner = owner, .owner_self = owner_self, .scheme = MG_STR("http") };
    server->limits = (mg_conn_limits){ .h1 = MG_H1_LIMITS_DEFAULT,
                                       .head_timeout_ns = 10 * MG_NS_PER_S,
                                       .body_timeout_ns = 30 * MG_NS_PER_S,
                                       .idle_timeout_ns = 75 * MG_NS_PER_S,
                                       .max_connections = UINT32_MAX };
    mg_list_init(&server->conns);
}

/* Over the limit: one answer that needs no connection of ours, then the end. */
static void turn_away(mg_conn_server *server, int fd)
{
    mg_loop *loop = server->net->loop;
    char drop[4096], body[192], answer[512];
    const int body_n = snprintf(
        body, sizeof body,
        "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
        "\"detail\":\"The gateway has all the connections it may have.\",\"instance\":\"%016llx\"}\n",
        (unsigned long long)mg_rand_next(&loop->rand));
    const int n = snprintf(answer, sizeof answer,
                           "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n"
                           "content-length: %d\r\nretry-after: 1\r\nconnection: close\r\n\r\n%s",
                           body_n, body);
    struct iovec part = { answer, (size_t)n };

    mg_cell_add(&server->refused, 1);
    /* What has come is read, else closing would send RST before the answer is. */
    (void)loop->ops->recv(loop, fd, drop, sizeof drop);
    (void)loop->ops->send(loop, fd, &part, 1);
    loop->ops->shutdown_write(loop, fd);
    loop->ops->close(loop, fd, false);
}

static bool is_trusted(const mg_conn_server *server, const mg_addr *peer)
{
    for (size_t i = 0; i < server->trusted_count; i++)
        if (mg_cidr_has(&server->trusted[i], peer))
            return true;
    return false;
}

void mg_conn_accept(mg_conn_server *server, int fd, const mg_addr *peer)
{
    char text[MG_ADDR_TEXT];

    if (server->count >= server->limits.max_connections) {
        turn_away(server, fd);
        return;
    }
    mg_conn *conn = MG_NEW(mg_conn);
    conn->server = server;
    conn->state = CONN_IDLE;
    conn->sink = (mg_body_sink){ response_data, response_end, response_reset };
    conn->source = (mg_body_source){ source_resume, source_stop };
    conn->later.run = on_later;
    conn->peer_trusted = is_trusted(server, peer);
    conn->peer_n = (uint8_t)mg_min_u64(mg_addr_ip_text(peer, text), sizeof conn->peer);
    memcpy(conn->peer, text, conn->peer_n);
    mg_timer_init(&conn->timer, on_timer);
    mg_list_push(&server->conns, &conn->link);
    count(server, 1);
    mg_cell_add(&server->accepted, 1);
    mg_stream_open(&conn->stream, server->net->loop, fd, true, on_ready);
    set_timer(conn, server->limits.head_timeout_ns);
}

void mg_conn_server_drain(mg_conn_server *server)
{
    server->draining = true;
    MG_LIST_EACH(&server->conns, link)
    {
        mg_conn *conn = mg_container_of(link, mg_conn, link);
        const bool lingers = conn->state == CONN_LINGER && !conn->stream.readable;
        if ((conn->state == CONN_IDLE || lingers) && !conn->depth) {
            conn_enter(conn);
            conn_close(conn, false);
            conn->depth--;
            mg_free(conn);
        }
    }
    if (server->count == 0 && server->drained)
        server->drained(server);
}

void mg_conn_server_fini(mg_conn_server *server)
{
    server->drained = NULL;
    MG_LIST_EACH(&server->conns, link)
    {
        mg_conn *conn = mg_container_of(link, mg_conn, link);
        conn_enter(conn);
        conn_abort(conn, MG_RESET_SHUTDOWN, true);
        conn_leave(conn);
    }
}
