/* conn_in.c - requests on their way from the client. Reading goes through the loop's scratch; only what
 * cannot be used yet is held: a part of a head, bytes that the sink had no room for, a pipelined request. RFC
 * 9112. */
#include "base/check.h"
#include "base/mem.h"
#include "net/conn_parts.h"

enum {
    READ_AHEAD = MG_NET_BUFFER, /* pipelined bytes behind a request that is being answered */
    LINGER_BYTES = 256 * 1024,  /* read and dropped behind a last answer, so that no RST overtakes it */
};

void mg_conn_refuse(mg_conn *conn, const mg_h1_fault *fault)
{
    mg_conn_ends(conn, CONN_LAST);
    conn->x->owner->refuse(conn->x, fault->status, fault->why);
}

/* With the peer's address behind it, which may be asked for when the connection is gone. */
static mg_conn_side *add_side(mg_conn *conn, mg_exchange *x)
{
    mg_conn_side *side = mg_arena_alloc(&x->arena, sizeof *side + conn->peer_n + 1);
    char *peer = (char *)(side + 1);

    side->conn = conn;
    side->sink = mg_conn_sink;
    side->source = mg_conn_source;
    side->body = NULL;
    side->info = (mg_h1_info){ 0 };
    memcpy(peer, conn->peer, conn->peer_n);
    peer[conn->peer_n] = '\0';
    x->peer = mg_str_make(peer, conn->peer_n);
    return side;
}

void mg_conn_attach(mg_conn *conn)
{
    mg_exchange *x = mg_net_exchange_new(conn->server->net);

    MG_CHECK(!conn->x && conn->request == CONN_NO_BODY && conn->answer == CONN_UNANSWERED);
    x->client = &mg_conn_client;
    x->client_self = conn;
    x->owner = conn->server->owner;
    x->owner_self = conn->server->owner_self;
    x->listener = conn->server->listener;
    x->peer_trusted = conn->peer_trusted;
    conn->x = x;
    conn->side = add_side(conn, x);
    mg_conn_to(conn, CONN_EXCHANGE);
    mg_wire_restart(&conn->wire);
}

/* A body begins, or the bytes of a tunnel. */
static void begin_body(mg_conn *conn, mg_h1_framing framing, uint64_t length)
{
    mg_arena *arena = &conn->x->arena;

    if (conn->side->body)
        mg_h1_body_fini(conn->side->body); /* that of the request before a tunnel */
    else
        conn->side->body = mg_arena_alloc(arena, sizeof *conn->side->body);
    mg_h1_body_init(conn->side->body, framing, length, &conn->server->limits.h1, arena);
}

/* A whole head stands at `bytes`, and behind it so many more that have come. */
static void start_exchange(mg_conn *conn, const char *bytes, size_t n, size_t behind)
{
    const mg_conn_limits *limits = &conn->server->limits;
    mg_h1_fault fault = { 0 };

    mg_conn_attach(conn);
    conn->begun_ns = mg_loop_now(mg_conn_loop(conn));
    mg_exchange *x = conn->x;
    char *head = mg_arena_alloc(&x->arena, n + 1);
    memcpy(head, bytes, n);
    x->bytes_in = n;
    mg_conn_side *side = conn->side;
    if (!mg_h1_parse_request(&x->arena, &limits->h1, head, n, conn->server->scheme, &x->request, &side->info,
                             &fault)) {
        mg_conn_refuse(conn, &fault);
        return;
    }
    if (!side->info.keep_alive)
        mg_conn_ends(conn, CONN_LAST);
    if (x->request.body == MG_BODY_STREAM || (x->request.body == MG_BODY_LENGTH && x->request.length)) {
        begin_body(conn, x->request.body == MG_BODY_LENGTH ? MG_H1_LENGTH : MG_H1_CHUNKED, x->request.length);
        mg_conn_request_to(conn, x->request.expect_continue ? CONN_ASKS : CONN_BODY);
        mg_wire_bulk(&conn->wire, x->request.body == MG_BODY_LENGTH ? x->request.length : 0);
        mg_wire_block(&conn->wire);
        x->body_is_here = x->request.body == MG_BODY_LENGTH && x->request.length <= behind;
        x->request_body.source = &side->source;
        mg_conn_await(conn);
    } else {
        x->request_body.ended = x->body_is_here = true;
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
        start_exchange(conn, bytes + skip, head_n, n - skip - head_n);
        return skip + head_n;
    }
    if (head_n || n - skip > h1->head_bytes) {
        const char *line_end = memchr(bytes + skip, '\n', n - skip);
        const bool long_target = !line_end || (size_t)(line_end - bytes - (ptrdiff_t)skip) > h1->target_bytes;
        const mg_h1_fault fault = { .status = long_target ? 414 : 431, .why = "the head is too large" };
        mg_conn_attach(conn);
        mg_conn_refuse(conn, &fault);
        return n;
    }
    mg_h1_fault never = { 0 };
    if (!mg_h1_may_be_request(h1, bytes + skip, n - skip, &never)) {
        mg_conn_attach(conn);
        mg_conn_refuse(conn, &never);
        return n;
    }
    if (conn->state == CONN_IDLE) {
        mg_conn_to(conn, CONN_HEAD);
        mg_conn_set_timer(conn, conn->server->limits.head_timeout_ns);
    }
    return skip;
}

static bool is_listed(mg_str names, mg_str name)
{
    mg_str one;

    while (mg_str_cut(&names, ',', &one))
        if (mg_str_eq(one, name))
            return true;
    return false;
}

/* An upstream may take a trailer for a field of the head: only those pass that somebody has named. */
static void drop_trailers(mg_exchange *x, mg_fields *trailers, mg_str names)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < trailers->count; i++)
        if (is_listed(names, mg_str_make(trailers->items[i].name, trailers->items[i].name_n)))
            trailers->items[kept++] = trailers->items[i];
    x->dropped_fields += trailers->count - kept;
    trailers->count = kept;
}

static void body_ended(mg_conn *conn)
{
    mg_exchange *x = conn->x;
    mg_fields *trailers = &conn->side->body->trailers;

    mg_conn_request_to(conn, CONN_NO_BODY);
    drop_trailers(x, trailers, conn->server->trailers);
    x->request_body.source = NULL;
    x->request_body.ended = x->body_is_here = true;
    if (x->request_body.tap)
        x->request_body.tap->end(x->request_body.tap);
    if (x->request_body.sink)
        x->request_body.sink->end(x->request_body.sink, trailers->count ? trailers : NULL);
}

void mg_conn_open_tunnel(mg_conn *conn)
{
    mg_conn_request_to(conn, CONN_TUNNELS);
    begin_body(conn, MG_H1_UNTIL_CLOSE, 0);
}

/* Bytes of a body whose exchange is over: they are dropped. Returns how many. */
static size_t drop_body(mg_conn *conn, size_t n)
{
    const uint32_t dropped = (uint32_t)mg_min_u64(n, conn->drain_left);

    if (!mg_conn_has_body(conn))
        return 0; /* what comes behind it is the next request */
    conn->drain_left -= dropped;
    if (!conn->drain_left)
        mg_conn_request_to(conn, CONN_NO_BODY);
    return dropped;
}

/* The request body's bytes. Returns how many were used; fewer than n: blocked, ended, broken, or the exchange is
 * over. */
static size_t feed_body(mg_conn *conn, const char *bytes, size_t n)
{
    size_t at = 0;

    while (mg_conn_has_body(conn) && conn->state != CONN_GONE) {
        mg_exchange *x = conn->x;
        mg_body *body = &x->request_body;
        mg_h1_fault fault = { 0 };
        mg_str payload = MG_STR_NONE;
        size_t used = 0;
        const mg_h1_step step =
            mg_h1_body_next(conn->side->body, bytes + at, n - at, &used, &payload, &fault);

        at += used;
        if (step == MG_H1_MORE)
            return at;
        if (step == MG_H1_END && conn->request == CONN_SKIPS) {
            mg_conn_open_tunnel(conn);
            continue;
        }
        if (step == MG_H1_END) {
            body_ended(conn);
            return at;
        }
        if (step == MG_H1_BAD) {
            mg_conn_request_to(conn, CONN_NO_BODY);
            x->request_body.source = NULL;
            mg_conn_refuse(conn, &fault);
            return n;
        }
        size_t taken = payload.n;
        if (conn->request != CONN_SKIPS) {
            if (!body->sink) {
                mg_wire_block(&conn->wire);
                return at;
            }
            taken = body->sink->data(body->sink, payload.p, payload.n);
            body->bytes += taken;
            x->bytes_in += taken;
            if (body->tap)
                body->tap->data(body->tap, payload.p, taken);
        }
        if (conn->state == CONN_GONE)
            return n;
        at += taken;
        if (conn->x != x) { /* who took them has answered: they count in what is left */
            if (conn->state == CONN_DRAIN)
                (void)drop_body(conn, taken);
            return at;
        }
        mg_h1_body_take(conn->side->body, taken);
        if (taken < payload.n) {
            mg_wire_block(&conn->wire);
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
    case CONN_HEAD: return feed_head(conn, bytes, n);
    case CONN_EXCHANGE: return mg_conn_has_body(conn) && !conn->wire.blocked ? feed_body(conn, bytes, n) : 0;
    case CONN_DRAIN: return drop_body(conn, n);
    case CONN_LINGER: conn->dropped += (uint32_t)n; return n;
    case CONN_GONE: return n;
    }
    MG_UNREACHABLE();
}

/* A request of this connection has begun in this turn, and plugins have computed for so long that the next
 * one waits for the next turn. */
bool mg_conn_is_put_off(mg_conn *conn)
{
    mg_loop *loop = mg_conn_loop(conn);

    return conn->state == CONN_IDLE && conn->begun_ns == mg_loop_now(loop) && mg_loop_is_late(loop);
}

/* Enough of what nobody wants has come. */
static bool is_too_much(const mg_conn *conn)
{
    return conn->state == CONN_LINGER && conn->dropped > LINGER_BYTES;
}

/* The client has moved: bytes of its body are here. */
static void body_came(mg_conn *conn)
{
    if (conn->request == CONN_ASKS)
        mg_conn_request_to(conn, CONN_BODY);
    mg_conn_progress(conn);
}

static size_t wire_feed(mg_wire *wire, const char *bytes, size_t n)
{
    mg_conn *conn = mg_container_of(wire, mg_conn, wire);
    size_t at = 0;

    if (n && mg_conn_has_body(conn) && !wire->blocked)
        body_came(conn);
    while (conn->state != CONN_GONE && at < n) {
        const mg_conn_state before = conn->state;
        const mg_conn_request request_before = conn->request;
        if (mg_conn_is_put_off(conn)) {
            mg_wire_later(wire);
            break;
        }
        const size_t used = feed_some(conn, bytes + at, n - at);
        at += used;
        if (used == 0 && before == conn->state && request_before == conn->request)
            break;
    }
    if (is_too_much(conn))
        mg_conn_close(conn, true);
    return conn->state == CONN_GONE ? n : at;
}

/* ---- what the wire asks ---- */

static bool wants_bytes(mg_conn *conn)
{
    switch (conn->state) {
    case CONN_IDLE: return !mg_conn_is_put_off(conn);
    case CONN_HEAD:
    case CONN_DRAIN:
    case CONN_LINGER: return true;
    case CONN_EXCHANGE: return mg_conn_has_body(conn) ? !conn->wire.blocked : conn->wire.in.n < READ_AHEAD;
    case CONN_GONE: return false;
    }
    MG_UNREACHABLE();
}

/* In the middle of a message a short read is read again: what stands behind it may be its end. */
static bool may_have_bytes(const mg_conn *conn)
{
    return conn->state == CONN_HEAD || mg_conn_has_body(conn) ? mg_stream_may_read(&conn->wire.stream)
                                                              : mg_stream_can_read(&conn->wire.stream);
}

static void on_eof(mg_conn *conn)
{
    if (mg_conn_is_tunnel(conn)) {
        if (mg_conn_has_body(conn))
            body_ended(conn);
        if (conn->state != CONN_GONE && conn->answer >= CONN_ANSWERED && mg_wire_is_flushed(&conn->wire)) {
            mg_conn_ends(conn, CONN_LAST_WORD);
            mg_conn_finish(conn);
        }
        return;
    }
    mg_conn_abort(conn, MG_RESET_CLIENT_GONE, conn->x != NULL);
}

/* The request waits before any upstream, for its turn or for a plugin, and what came behind its head is not
 * read meanwhile: only the loop tells that the client has left. One that has been handed to an upstream is
 * sent first, since there are clients that post something and do not wait for the answer. */
bool mg_conn_is_unread(mg_conn *conn)
{
    return conn->x && conn->state == CONN_EXCHANGE && !conn->x->times.upstream_ns && !wants_bytes(conn) &&
           !(mg_conn_has_body(conn) && conn->x->request_body.bytes);
}

static mg_conn *conn_of(mg_wire *wire)
{
    return mg_container_of(wire, mg_conn, wire);
}

static size_t wire_wants(mg_wire *wire)
{
    mg_conn *conn = conn_of(wire);

    if (!may_have_bytes(conn))
        return 0;
    if (!wants_bytes(conn)) {
        if (mg_stream_can_read(&wire->stream) && mg_conn_is_put_off(conn))
            mg_wire_later(wire); /* the loop does not tell a second time */
        return 0;
    }
    if (conn->state == CONN_EXCHANGE && !mg_conn_has_body(conn))
        return READ_AHEAD - wire->in.n;
    return mg_net_read_size(wire->net);
}

static void wire_ended(mg_wire *wire, bool error)
{
    if (error)
        mg_conn_abort(conn_of(wire), MG_RESET_CLIENT_GONE, true);
    else
        on_eof(conn_of(wire));
}

static void wire_sent(mg_wire *wire, size_t n)
{
    mg_conn *conn = conn_of(wire);

    if (conn->x)
        conn->x->bytes_out += n;
    mg_conn_progress(conn);
}

static mg_body *wire_bulk(mg_wire *wire, uint64_t *left)
{
    mg_conn *conn = conn_of(wire);

    if (conn->state != CONN_EXCHANGE || conn->request != CONN_BODY)
        return NULL;
    *left = mg_h1_body_plain(conn->side->body);
    return &conn->x->request_body;
}

static void wire_moved(mg_wire *wire, size_t n)
{
    mg_conn *conn = conn_of(wire);
    mg_exchange *x = conn->x;

    if (!x)
        return;
    body_came(conn);
    x->request_body.bytes += n;
    x->bytes_in += n;
    mg_h1_body_take(conn->side->body, n);
    if (!mg_h1_body_plain(conn->side->body))
        body_ended(conn);
}

const mg_wire_ops mg_conn_wire = { wire_wants, wire_feed, wire_ended, wire_sent, wire_bulk, wire_moved };

/* ---- the source of the request body: what its taker calls ---- */

static void source_resume(mg_body_source *source)
{
    mg_conn *conn = mg_container_of(source, mg_conn_side, source)->conn;

    mg_wire_unblock(&conn->wire);
    if (conn->request < CONN_SKIPS)
        mg_conn_await(conn);
    if (conn->wire.feeding)
        return; /* the loop in feed goes on */
    mg_conn_enter(conn);
    mg_wire_feed_held(&conn->wire);
    if (mg_conn_has_body(conn) && !conn->wire.blocked && mg_stream_can_read(&conn->wire.stream))
        mg_wire_read(&conn->wire);
    mg_conn_leave(conn);
}

static void source_stop(mg_body_source *source)
{
    mg_conn *conn = mg_container_of(source, mg_conn_side, source)->conn;

    if (conn->x) {
        conn->x->request_body.source = NULL;
        conn->x->request_body.sink = NULL;
    }
    mg_wire_block(&conn->wire);
}

const mg_body_source mg_conn_source = { source_resume, source_stop };
