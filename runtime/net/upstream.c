/* upstream.c - one exchange with an endpoint: take a connection, send, read the answer, give the connection
 * back or close it.
 *
 * A connection goes back to the pool only when its last answer ended exactly; bytes left over close it. A
 * reused connection that fails before any byte of an answer is replaced once, when nothing had been sent, or
 * the method is idempotent and no body byte has left (POLICIES 6). */
#include "net/upstream.h"

#include "base/check.h"
#include "base/mem.h"
#include "net/stream.h"
#include <errno.h>

enum {
    READS_A_TURN = 4,
    INTERIMS_MAX = 32, /* 1xx heads before the answer: more is an upstream that talks for ever */
};

typedef enum up_state { UP_CONNECTING, UP_HEAD, UP_BODY, UP_IDLE, UP_GONE } up_state;

typedef struct mg_upstream_conn {
    mg_stream stream;
    mg_timer timer;
    mg_later later;
    mg_pool_conn pooled;
    mg_endpoint *endpoint; /* borrowed: it outlives its connections */
    mg_lease *lease;       /* borrowed; NULL while idle */
    mg_body_sink sink;     /* of the request body */
    mg_body_source source; /* of the response body */
    mg_h1_body body;
    mg_text in, out;
    uint64_t since_ns; /* when the wait for the upstream's next move began */
    up_state state;
    unsigned tries; /* addresses tried */
    bool opened;    /* the pool knows it */
    bool keep_alive, chunked_out, request_done;
    bool blocked; /* no sink, or it has no room */
    bool feeding, waiting_room, answered, tunnel, tunnel_ended;
    uint32_t keep_alive_s;
    uint8_t interims;
    uint8_t depth;
} up_conn;

static void up_turn(up_conn *up);
static void start_request(up_conn *up);

static mg_loop *loop_of(const up_conn *up)
{
    return up->endpoint->net->loop;
}

/* ---- endpoints ---- */

static void pool_work(mg_endpoint *endpoint);

static void on_pool_timer(mg_timer *timer)
{
    pool_work(mg_container_of(timer, mg_endpoint, timer));
}

mg_endpoint *mg_endpoint_new(mg_net *net, mg_str authority, const mg_endpoint_conf *conf, mg_pool_node *node,
                             _Atomic uint32_t *idle_total, mg_map *index)
{
    mg_endpoint *endpoint = MG_NEW(mg_endpoint);

    endpoint->net = net;
    endpoint->index = index;
    endpoint->authority = mg_memdup0(authority.p, authority.n);
    endpoint->conf = *conf;
    endpoint->refs = 1;
    mg_pool_init(&endpoint->pool, &conf->pool, node, idle_total, &net->loop->rand);
    mg_timer_init(&endpoint->timer, on_pool_timer);
    return endpoint;
}

static void maybe_free_endpoint(mg_endpoint *endpoint)
{
    if (endpoint->refs || endpoint->conns)
        return;
    mg_timer_stop(&endpoint->timer);
    mg_pool_fini(&endpoint->pool);
    mg_free(endpoint->authority);
    mg_free(endpoint);
}

void mg_endpoint_ref(mg_endpoint *endpoint)
{
    endpoint->refs++;
}

void mg_endpoint_unref(mg_endpoint *endpoint)
{
    if (endpoint->refs == 1) {
        if (endpoint->index)
            mg_map_set(endpoint->index, mg_str_of(endpoint->authority), NULL);
        endpoint->index = NULL;
        mg_pool_shed_all(&endpoint->pool);
        pool_work(endpoint);
    }
    MG_CHECK(endpoint->refs > 0);
    endpoint->refs--;
    maybe_free_endpoint(endpoint);
}

void mg_endpoint_configure(mg_endpoint *endpoint, const mg_endpoint_conf *conf)
{
    endpoint->conf = *conf;
    mg_pool_configure(&endpoint->pool, &conf->pool);
}

void mg_endpoint_set_addrs(mg_endpoint *endpoint, const mg_addr *addrs, unsigned count)
{
    endpoint->addr_count = count < MG_ENDPOINT_ADDRS ? count : MG_ENDPOINT_ADDRS;
    memcpy(endpoint->addrs, addrs, sizeof *addrs * endpoint->addr_count);
    endpoint->addr_next = 0;
}

/* ---- places, which all workers share ---- */

/* Whether another worker waits for a connection to this endpoint. The fence pairs with the one in
 * await_place: either we see its waiter, or it sees the place that we gave back. */
static bool others_wait(const mg_endpoint *endpoint)
{
    atomic_thread_fence(memory_order_seq_cst);
    return endpoint->others && atomic_load(&endpoint->pool.node->waiting) > endpoint->pool.waiting;
}

/* Ours has joined the queue. Idle connections of other workers may hold the places. */
static void await_place(mg_endpoint *endpoint)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (endpoint->others && atomic_load(&endpoint->pool.node->idle) > endpoint->pool.idle_count)
        endpoint->others(endpoint);
}

void mg_endpoint_poke(mg_endpoint *endpoint)
{
    if (others_wait(endpoint))
        (void)mg_pool_shed(&endpoint->pool);
    pool_work(endpoint);
}

/* ---- the end of a connection, and of a lease ---- */

static void up_enter(up_conn *up)
{
    up->depth++;
}

static void up_leave(up_conn *up)
{
    mg_endpoint *endpoint = up->endpoint;

    if (--up->depth || up->state != UP_GONE)
        return;
    mg_free(up);
    endpoint->conns--;
    maybe_free_endpoint(endpoint);
}

/* Closed, out of the pool. The memory goes with the outermost up_leave, or now. */
static void up_close(up_conn *up)
{
    mg_net *net = up->endpoint->net;
    const bool in_pool = up->opened;

    if (up->state == UP_GONE)
        return;
    up_enter(up);
    up->state = UP_GONE;
    mg_stream_close(&up->stream, false);
    mg_timer_stop(&up->timer);
    mg_later_cancel(&up->later);
    mg_h1_body_fini(&up->body);
    mg_net_drop(net, &up->in, up->in.n);
    mg_net_drop(net, &up->out, up->out.n);
    mg_endpoint *endpoint = up->endpoint;
    mg_endpoint_ref(endpoint);
    if (in_pool)
        mg_pool_closed(&endpoint->pool, &up->pooled);
    else
        mg_pool_connect_failed(&endpoint->pool);
    pool_work(endpoint);
    if (others_wait(endpoint))
        endpoint->others(endpoint);
    up_leave(up);
    endpoint->refs--;
    maybe_free_endpoint(endpoint);
}

/* Parts a lease from its connection; what the connection becomes is the caller's. */
static mg_lease *detach(up_conn *up)
{
    mg_lease *lease = up->lease;

    up->lease = NULL;
    if (!lease)
        return NULL;
    lease->conn = NULL;
    lease->state = MG_LEASE_OVER;
    mg_exchange *x = lease->x;
    x->request_body.sink = NULL; /* ours, or what the owner put before it */
    if (x->response_body.source == &up->source)
        x->response_body.source = NULL;
    return lease;
}

static void drop_endpoint(mg_lease *lease)
{
    mg_endpoint *endpoint = lease->endpoint;

    lease->endpoint = NULL;
    if (endpoint)
        mg_endpoint_unref(endpoint);
}

static void lease_failed(mg_lease *lease, mg_reset reason)
{
    lease->state = MG_LEASE_OVER;
    drop_endpoint(lease);
    lease->ops->failed(lease, reason);
}

static bool may_replay(const mg_lease *lease)
{
    const mg_exchange *x = lease->x;

    if (!lease->reused || lease->replayed || lease->body_taken)
        return false;
    return !lease->sent_any || mg_method_is_idempotent(x->request.method);
}

static void obtain(mg_lease *lease, bool fresh);

/* The connection is of no use any more, whatever the lease was at. */
static void up_fail(up_conn *up, mg_reset reason)
{
    const bool before_answer = !up->answered;
    const bool replay =
        up->lease && before_answer && !up->in.n && reason == MG_RESET_UPSTREAM_RESET && may_replay(up->lease);

    mg_cell_add(&up->endpoint->stale, replay);
    up_enter(up);
    mg_lease *lease = detach(up);
    up_close(up);
    up_leave(up);
    if (!lease)
        return;
    if (replay) {
        lease->replayed = true;
        obtain(lease, true);
        return;
    }
    if (before_answer) {
        lease_failed(lease, reason);
        return;
    }
    mg_body_sink *sink = lease->x->response_body.sink;
    lease->x->reset = reason;
    drop_endpoint(lease);
    lease->ops->over(lease);
    if (sink)
        sink->reset(sink, reason);
}

/* ---- sending ---- */

static void wait_from_now(up_conn *up, uint64_t patience_ns)
{
    mg_loop *loop = loop_of(up);
    uint64_t due;

    up->since_ns = mg_loop_now(loop);
    due = mg_add_sat(up->since_ns, patience_ns);
    if (up->lease && up->lease->deadline_ns && !up->answered && up->lease->deadline_ns < due)
        due = up->lease->deadline_ns;
    mg_timer_set(loop, &up->timer, due);
}

/* Sends what is held and then `parts`; returns bytes of `parts` taken, -1 when the connection broke. */
static ssize_t up_send(up_conn *up, const struct iovec *parts, int count)
{
    struct iovec all[4];
    int n = 0;

    if (up->out.n)
        all[n++] = (struct iovec){ up->out.p, up->out.n };
    for (int i = 0; i < count; i++)
        all[n++] = parts[i];
    if (!n || !up->stream.writable)
        return 0;
    const ssize_t sent = mg_stream_send(&up->stream, all, n);
    if (sent < 0)
        return -1;
    if (sent && up->lease)
        up->lease->sent_any = true;
    if (sent)
        up->since_ns = mg_loop_now(loop_of(up));
    const size_t held = mg_min_u64((uint64_t)sent, up->out.n);
    mg_net_drop(up->endpoint->net, &up->out, held);
    return sent - (ssize_t)held;
}

static void flush(up_conn *up)
{
    if (up->state == UP_CONNECTING || up->state == UP_IDLE || up->state == UP_GONE || !up->lease)
        return;
    if (up->out.n && up_send(up, NULL, 0) < 0) {
        /* The answer may stand in the socket already (an early refusal): reading decides. */
        up->stream.readable = true;
        mg_net_drop(up->endpoint->net, &up->out, up->out.n);
        up->request_done = false;
        up->keep_alive = false;
        return;
    }
    if (up->out.n || !up->lease)
        return;
    mg_body *body = &up->lease->x->request_body;
    if (up->waiting_room && body->source) {
        up->waiting_room = false;
        body->source->resume(body->source);
    } else if (up->tunnel_ended) {
        mg_stream_shutdown(&up->stream);
    }
}

static size_t request_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    up_conn *up = mg_container_of(sink, up_conn, sink);
    char size[18];
    struct iovec parts[3];
    int count = 0;
    size_t total = n;

    if (up->state == UP_GONE || !up->lease)
        return n;
    if (up->out.n >= MG_NET_BUFFER || (up->out.n && !up->stream.writable)) {
        up->waiting_room = true;
        return 0;
    }
    up->lease->body_taken = true;
    if (up->chunked_out && !up->tunnel) {
        const size_t size_n = mg_h1_write_chunk_size(size, n);
        parts[count++] = (struct iovec){ size, size_n };
        parts[count++] = (struct iovec){ (void *)(uintptr_t)bytes, n };
        parts[count++] = (struct iovec){ (void *)(uintptr_t) "\r\n", 2 };
        total += size_n + 2;
    } else {
        parts[count++] = (struct iovec){ (void *)(uintptr_t)bytes, n };
    }
    ssize_t taken = up_send(up, parts, count);
    if (taken < 0) { /* as in flush: what the upstream said before it closed decides */
        up->keep_alive = false;
        up->stream.readable = true;
        mg_net_drop(up->endpoint->net, &up->out, up->out.n);
        mg_later_add(loop_of(up), &up->later);
        return n;
    }
    if (!up->chunked_out || up->tunnel) {
        if ((size_t)taken < n)
            up->waiting_room = true;
        return (size_t)taken;
    }
    if ((size_t)taken < total)
        for (int i = 0; i < count; i++) {
            const size_t gone = mg_min_u64((uint64_t)taken, parts[i].iov_len);
            taken -= (ssize_t)gone;
            if (parts[i].iov_len > gone)
                mg_net_hold(up->endpoint->net, &up->out, (char *)parts[i].iov_base + gone,
                            parts[i].iov_len - gone);
        }
    return n;
}

static void request_end(mg_body_sink *sink, const mg_fields *trailers)
{
    up_conn *up = mg_container_of(sink, up_conn, sink);

    if (up->state == UP_GONE || !up->lease)
        return;
    if (up->tunnel) {
        up->tunnel_ended = true;
    } else {
        if (up->chunked_out) {
            const size_t cap = mg_net_hold_open(up->endpoint->net, &up->out);
            mg_h1_write_last_chunk(&up->out, trailers);
            mg_net_grew(up->endpoint->net, &up->out, cap);
        }
        up->request_done = true;
        wait_from_now(up, up->endpoint->conf.first_byte_timeout_ns);
    }
    if (up->tunnel_ended || up->out.n)
        mg_later_add(loop_of(up), &up->later);
}

static void request_reset(mg_body_sink *sink, mg_reset reason)
{
    up_conn *up = mg_container_of(sink, up_conn, sink);

    if (up->lease)
        up_fail(up, reason);
}

/* ---- the answer ---- */

/* The answer is complete. The connection lives on when it ended exactly and the request was sent whole. */
static void answer_complete(up_conn *up, bool exact)
{
    mg_endpoint *endpoint = up->endpoint;
    /* Readable still: bytes beyond the answer, or its end; neither is fit for another request. */
    const bool keep =
        exact && up->keep_alive && up->request_done && !up->out.n && !up->tunnel && !up->stream.readable;
    const mg_fields trailers = up->body.trailers; /* in the exchange's arena */

    up_enter(up);
    mg_lease *lease = detach(up);
    mg_exchange *x = lease->x;
    mg_body_sink *sink = x->response_body.sink;
    const bool had_body = up->state == UP_BODY;
    x->response_body.ended = true;
    if (keep) {
        up->state = UP_IDLE;
        mg_h1_body_fini(&up->body);
        up->body = (mg_h1_body){ 0 };
        const uint64_t idle_ns = up->keep_alive_s > 1 ? (up->keep_alive_s - 1) * MG_NS_PER_S : 0;
        mg_pool_waiter *waiter = NULL;
        const mg_pool_given given =
            mg_pool_give(&endpoint->pool, &up->pooled, mg_loop_now(loop_of(up)), idle_ns, &waiter);
        if (given == MG_POOL_HANDED) {
            mg_lease *next = mg_container_of(waiter, mg_lease, waiter);
            next->reused = true;
            next->conn = up;
            up->lease = next;
            mg_later_add(loop_of(up), &up->later); /* starts in its own turn */
        } else if (given == MG_POOL_CLOSE) {
            up_close(up);
        } else if (others_wait(endpoint)) {
            mg_endpoint_poke(endpoint);
        } else if (!endpoint->timer.due_ns) {
            pool_work(endpoint);
        }
    } else {
        up_close(up);
    }
    drop_endpoint(lease);
    lease->ops->over(lease);
    if (had_body && sink)
        sink->end(sink, trailers.count ? &trailers : NULL);
    up_leave(up);
}

/* One response head stands at `bytes`. */
static void on_head(up_conn *up, const char *bytes, size_t n, bool more)
{
    mg_lease *lease = up->lease;
    mg_exchange *x = lease->x;
    mg_response response;
    mg_h1_framing framing;
    mg_h1_info info = { 0 };
    mg_h1_fault fault = { 0 };
    char *head = mg_arena_alloc(&x->arena, n + 1);

    memcpy(head, bytes, n);
    if (!mg_h1_parse_response(&x->arena, &up->endpoint->conf.h1, head, n, x->request.method,
                              x->request.upgrade, &response, &framing, &info, &fault)) {
        mg_log_write(up->endpoint->net->log, MG_LOG_WARN, "upstream_protocol", "%s: %s",
                     up->endpoint->authority, fault.why);
        up_fail(up, MG_RESET_UPSTREAM_PROTOCOL);
        return;
    }
    if (response.status < 200 && response.status != 101) {
        if (++up->interims > INTERIMS_MAX) {
            up_fail(up, MG_RESET_UPSTREAM_PROTOCOL);
            return;
        }
        lease->ops->interim(lease, &response);
        return;
    }
    x->response = response;
    x->times.first_byte_ns = mg_loop_now(loop_of(up));
    up->answered = true;
    up->keep_alive = up->keep_alive && info.keep_alive;
    up->keep_alive_s = info.keep_alive_s;
    up->state = UP_BODY;
    if (response.status == 101) {
        up->tunnel = true;
        x->request_body.sink = &up->sink;
        framing = MG_H1_UNTIL_CLOSE;
    }
    if (framing == MG_H1_NO_BODY) {
        up->state = UP_HEAD; /* until answer_complete: there is no body to end */
        lease->ops->head(lease);
        if (up->lease == lease)
            answer_complete(up, !more);
        return;
    }
    mg_h1_body_init(&up->body, framing, response.length, &up->endpoint->conf.h1, &x->arena);
    up->blocked = true;
    x->response_body.source = &up->source;
    wait_from_now(up, up->tunnel ? up->endpoint->conf.tunnel_idle_timeout_ns
                                 : up->endpoint->conf.read_timeout_ns);
    lease->ops->head(lease);
    if (up->tunnel && up->lease == lease && x->request_body.source)
        x->request_body.source->resume(x->request_body.source);
}

/* Returns bytes used; fewer than n: blocked, or the rest is not the answer's. */
static size_t feed_head(up_conn *up, const char *bytes, size_t n)
{
    size_t scanned = 0;
    const size_t head_n = mg_h1_head_end(bytes, n, &scanned);

    if (!head_n && n <= up->endpoint->conf.h1.head_bytes)
        return 0;
    if (!head_n || head_n > up->endpoint->conf.h1.head_bytes) {
        up_fail(up, MG_RESET_UPSTREAM_PROTOCOL);
        return n;
    }
    on_head(up, bytes, head_n, n > head_n);
    return head_n;
}

static size_t feed_body(up_conn *up, const char *bytes, size_t n)
{
    size_t at = 0;

    while (up->state == UP_BODY && up->lease && !up->blocked) {
        mg_body *body = &up->lease->x->response_body;
        mg_h1_fault fault = { 0 };
        mg_str payload = MG_STR_NONE;
        size_t used = 0;
        const mg_h1_step step = mg_h1_body_next(&up->body, bytes + at, n - at, &used, &payload, &fault);

        at += used;
        if (step == MG_H1_MORE)
            return at;
        if (step == MG_H1_BAD) {
            mg_log_write(up->endpoint->net->log, MG_LOG_WARN, "upstream_protocol", "%s: %s",
                         up->endpoint->authority, fault.why);
            up_fail(up, MG_RESET_UPSTREAM_PROTOCOL);
            return n;
        }
        if (step == MG_H1_END) {
            answer_complete(up, at == n);
            return n;
        }
        if (!body->sink) {
            up->blocked = true;
            return at;
        }
        const mg_lease *lease = up->lease;
        const size_t taken = body->sink->data(body->sink, payload.p, payload.n);
        if (up->lease != lease)
            return n;
        body->bytes += taken;
        mg_h1_body_take(&up->body, taken);
        at += taken;
        if (taken < payload.n) {
            up->blocked = true;
            return at;
        }
    }
    return at;
}

static size_t feed(up_conn *up, const char *bytes, size_t n)
{
    size_t at = 0;

    up->feeding = true;
    while (up->lease) {
        const up_state before = up->state;
        size_t used = 0;
        if (up->state == UP_HEAD && at < n)
            used = feed_head(up, bytes + at, n - at);
        else if (up->state == UP_BODY)
            used = feed_body(up, bytes + at, n - at);
        at += used;
        if (used == 0 && before == up->state)
            break;
        if (at == n && up->state != UP_BODY)
            break;
        if (at == n && up->state == UP_BODY && before == UP_BODY)
            break;
    }
    up->feeding = false;
    return at;
}

static void feed_held(up_conn *up)
{
    mg_net *net = up->endpoint->net;
    mg_text held = up->in;

    if (up->feeding)
        return;
    up->in = (mg_text){ 0 };
    up_enter(up);
    const size_t used = feed(up, held.p, held.n);
    if (!up->lease || up->state == UP_GONE || up->state == UP_IDLE) {
        mg_net_drop(net, &held, held.n);
    } else {
        mg_net_drop(net, &held, used);
        up->in = held;
    }
    up_leave(up);
}

static void on_eof(up_conn *up, bool error)
{
    if (up->state == UP_BODY && !error && mg_h1_body_eof(&up->body)) {
        up->keep_alive = false;
        if (up->tunnel) {
            mg_body_sink *sink = up->lease->x->response_body.sink;
            if (!up->tunnel_ended && sink) { /* half closed: the client may go on sending */
                up->lease->x->response_body.ended = true;
                up->lease->x->response_body.source = NULL;
                up->blocked = true;
                up->stream.readable = false;
                sink->end(sink, NULL);
                return;
            }
        }
        answer_complete(up, false);
        return;
    }
    up_fail(up, MG_RESET_UPSTREAM_RESET);
}

static bool wants_bytes(const up_conn *up)
{
    return up->lease && (up->state == UP_HEAD || (up->state == UP_BODY && !up->blocked));
}

static void up_read(up_conn *up)
{
    mg_net *net = up->endpoint->net;

    if (net->scratch_busy || up->feeding) {
        mg_later_add(net->loop, &up->later);
        return;
    }
    net->scratch_busy = true;
    for (int turn = 0; (up->stream.readable || up->stream.unsure) && wants_bytes(up); turn++) {
        if (turn == READS_A_TURN) {
            mg_later_add(net->loop, &up->later);
            break;
        }
        const ssize_t got = mg_stream_recv(&up->stream, net->scratch, mg_net_read_size(net));
        if (got == MG_STREAM_WAIT)
            break;
        if (got <= 0) {
            on_eof(up, got < 0);
            break;
        }
        up->since_ns = mg_loop_now(net->loop);
        if (up->in.n) {
            mg_net_hold(net, &up->in, net->scratch, (size_t)got);
            feed_held(up);
        } else {
            const size_t used = feed(up, net->scratch, (size_t)got);
            if (used < (size_t)got && up->lease && up->state != UP_GONE)
                mg_net_hold(net, &up->in, net->scratch + used, (size_t)got - used);
        }
        if (up->state == UP_GONE || up->state == UP_IDLE)
            break;
    }
    net->scratch_busy = false;
}

static void source_resume(mg_body_source *source)
{
    up_conn *up = mg_container_of(source, up_conn, source);

    up->blocked = false;
    up->since_ns = mg_loop_now(loop_of(up));
    if (up->feeding)
        return;
    up_enter(up);
    /* A body of no bytes, or one whose bytes are held, may end here. */
    if (up->in.n || up->state == UP_BODY)
        feed_held(up);
    if (up->state != UP_GONE && wants_bytes(up) && up->stream.readable)
        up_read(up);
    up_leave(up);
}

static void source_stop(mg_body_source *source)
{
    up_conn *up = mg_container_of(source, up_conn, source);
    mg_lease *lease;

    up_enter(up);
    lease = detach(up);
    up_close(up);
    up_leave(up);
    if (lease) {
        drop_endpoint(lease);
        lease->ops->over(lease);
    }
}

/* ---- connecting ---- */

static bool connect_next(up_conn *up)
{
    mg_endpoint *endpoint = up->endpoint;
    mg_loop *loop = loop_of(up);

    while (up->tries < endpoint->addr_count) {
        const mg_addr *addr = &endpoint->addrs[(endpoint->addr_next + up->tries) % endpoint->addr_count];
        up->tries++;
        const int fd = loop->ops->connect(loop, addr);
        if (fd < 0)
            continue;
        mg_stream_open(&up->stream, loop, fd, false, up->stream.ready);
        return true;
    }
    return false;
}

static void on_connected(up_conn *up)
{
    mg_loop *loop = loop_of(up);
    const int error = loop->ops->connect_error(loop, up->stream.watch.fd);

    if (error) {
        mg_stream_close(&up->stream, false);
        if (!connect_next(up)) {
            mg_log_write(up->endpoint->net->log, MG_LOG_WARN, "upstream_connect", "%s: %s",
                         up->endpoint->authority, strerror(error));
            up_fail(up, MG_RESET_UPSTREAM_CONNECT);
        }
        return;
    }
    up->opened = true;
    mg_pool_opened(&up->endpoint->pool, &up->pooled, mg_loop_now(loop));
    up->lease->x->times.connected_ns = mg_loop_now(loop);
    start_request(up);
}

static void on_timer(mg_timer *timer)
{
    up_conn *up = mg_container_of(timer, up_conn, timer);
    const mg_endpoint_conf *conf = &up->endpoint->conf;
    const uint64_t now = mg_loop_now(loop_of(up));
    uint64_t patience;

    if (!up->lease)
        return; /* idle: the pool's timer counts */
    if (!up->answered && up->lease->deadline_ns && now >= up->lease->deadline_ns) {
        up_fail(up, MG_RESET_DEADLINE);
        return;
    }
    if (up->state == UP_CONNECTING)
        patience = conf->connect_timeout_ns;
    else if (up->tunnel)
        patience = conf->tunnel_idle_timeout_ns;
    else if (up->state == UP_HEAD)
        patience = up->request_done ? conf->first_byte_timeout_ns : conf->read_timeout_ns;
    else
        patience = conf->read_timeout_ns;
    /* While the client is waited for, the upstream is not. */
    const bool ours =
        up->tunnel || (up->state == UP_BODY
                           ? !up->blocked
                           : up->request_done || up->out.n || up->waiting_room || up->state == UP_CONNECTING);
    if (ours && now >= up->since_ns + patience) {
        up_enter(up);
        up_fail(up, up->state == UP_CONNECTING ? MG_RESET_UPSTREAM_CONNECT : MG_RESET_UPSTREAM_TIMEOUT);
        up_leave(up);
        return;
    }
    uint64_t due = ours ? up->since_ns + patience : now + patience;
    if (!up->answered && up->lease->deadline_ns && up->lease->deadline_ns < due)
        due = up->lease->deadline_ns;
    mg_timer_set(loop_of(up), timer, due);
}

static void on_ready(mg_stream *stream)
{
    up_turn(mg_container_of(stream, up_conn, stream));
}

static void on_later(mg_later *later)
{
    up_turn(mg_container_of(later, up_conn, later));
}

static void up_turn(up_conn *up)
{
    up_enter(up);
    switch (up->state) {
    case UP_CONNECTING:
        if (up->stream.writable || up->stream.closed)
            on_connected(up);
        break;
    case UP_IDLE:
        if (up->lease) {
            start_request(up); /* handed over by the pool */
        } else if (up->stream.readable || up->stream.closed) {
            if (mg_pool_remove(&up->endpoint->pool, &up->pooled))
                up_close(up);
        }
        break;
    case UP_HEAD:
    case UP_BODY:
        if (up->out.n || up->waiting_room || up->tunnel_ended)
            flush(up);
        if (up->state != UP_GONE && up->lease && up->stream.readable)
            up_read(up);
        break;
    case UP_GONE: break;
    }
    up_leave(up);
}

static void start_connect(mg_lease *lease)
{
    mg_endpoint *endpoint = lease->endpoint;
    up_conn *up = MG_NEW(up_conn);

    up->endpoint = endpoint;
    endpoint->conns++;
    up->lease = lease;
    up->state = UP_CONNECTING;
    up->sink = (mg_body_sink){ request_data, request_end, request_reset };
    up->source = (mg_body_source){ source_resume, source_stop };
    up->later.run = on_later;
    up->stream.ready = on_ready;
    up->stream.watch.fd = -1;
    up->stream.watch.loop = endpoint->net->loop;
    mg_timer_init(&up->timer, on_timer);
    lease->conn = up;
    lease->state = MG_LEASE_CONNECTS;
    lease->reused = false;
    if (!connect_next(up)) {
        up_fail(up, endpoint->addr_count ? MG_RESET_UPSTREAM_CONNECT : MG_RESET_NO_HOST);
        return;
    }
    wait_from_now(up, endpoint->conf.connect_timeout_ns);
}

/* The connection is the lease's: the head goes out, with the body's first bytes where there are some. */
static void start_request(up_conn *up)
{
    mg_lease *lease = up->lease;
    mg_exchange *x = lease->x;
    const mg_endpoint_conf *conf = &up->endpoint->conf;

    lease->state = MG_LEASE_RUNS;
    lease->conn = up;
    up->state = UP_HEAD;
    up->keep_alive = true;
    up->answered = up->tunnel = up->tunnel_ended = up->waiting_room = up->blocked = false;
    up->keep_alive_s = 0;
    up->interims = 0;
    up->chunked_out = x->request.body == MG_BODY_STREAM;
    up->request_done = x->request_body.ended || !x->request_body.source;
    const size_t cap = mg_net_hold_open(up->endpoint->net, &up->out);
    mg_h1_write_request(&up->out, &x->request, mg_str_of(up->endpoint->authority), true);
    if (x->request_body.ended && x->request.body == MG_BODY_STREAM)
        mg_h1_write_last_chunk(&up->out, NULL);
    mg_net_grew(up->endpoint->net, &up->out, cap);
    wait_from_now(up, up->request_done ? conf->first_byte_timeout_ns : conf->read_timeout_ns);
    up_enter(up);
    if (!up->request_done) {
        MG_CHECK(x->request_body.source);
        x->request_body.sink = &up->sink;
        if (lease->ops->sending)
            lease->ops->sending(lease);
        x->request_body.source->resume(x->request_body.source);
    }
    if (up->lease == lease && up->out.n)
        flush(up);
    if (up->lease == lease && up->stream.readable)
        mg_later_add(loop_of(up), &up->later);
    up_leave(up);
}

/* Only a request that may not be replayed looks first. */
static bool looks_open(up_conn *up, const mg_exchange *x)
{
    mg_loop *loop = loop_of(up);
    char byte;

    if (mg_method_is_idempotent(x->request.method) && x->request.body == MG_BODY_NONE)
        return true;
    const ssize_t got = loop->ops->peek(loop, up->stream.watch.fd, &byte, 1);
    return got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
}

static void obtain(mg_lease *lease, bool fresh)
{
    mg_endpoint *endpoint = lease->endpoint;
    mg_pool *pool = &endpoint->pool;
    const uint64_t now = mg_loop_now(endpoint->net->loop);
    mg_pool_conn *pooled = NULL;

    for (;;) {
        const mg_pool_verdict verdict = fresh ? mg_pool_take_new(pool, now, &lease->waiter)
                                              : mg_pool_take(pool, now, &lease->waiter, &pooled);
        if (verdict == MG_POOL_REUSED) {
            up_conn *up = mg_container_of(pooled, up_conn, pooled);
            if (up->stream.readable || up->stream.closed || !looks_open(up, lease->x)) {
                mg_cell_add(&endpoint->stale, 1);
                up_close(up);
                continue;
            }
            up->lease = lease;
            lease->reused = true;
            lease->x->times.connected_ns = now;
            start_request(up);
        } else if (verdict == MG_POOL_CONNECT) {
            start_connect(lease);
        } else if (verdict == MG_POOL_WAIT) {
            lease->state = MG_LEASE_WAITS;
            await_place(endpoint);
            pool_work(endpoint);
        } else {
            lease_failed(lease, MG_RESET_POOL_FULL);
        }
        return;
    }
}

/* What has become due in the pool. */
static void pool_work(mg_endpoint *endpoint)
{
    mg_pool *pool = &endpoint->pool;
    mg_loop *loop = endpoint->net->loop;
    mg_pool_conn *pooled;
    mg_pool_waiter *waiter;

    mg_endpoint_ref(endpoint);
    const uint64_t due = mg_pool_expire(pool, mg_loop_now(loop));
    while ((pooled = mg_pool_pop_closing(pool)))
        up_close(mg_container_of(pooled, up_conn, pooled));
    while ((waiter = mg_pool_pop_late(pool)))
        lease_failed(mg_container_of(waiter, mg_lease, waiter), MG_RESET_POOL_FULL);
    while ((waiter = mg_pool_pop_ready(pool)))
        start_connect(mg_container_of(waiter, mg_lease, waiter));
    if (due != UINT64_MAX && (!endpoint->timer.due_ns || due < endpoint->timer.due_ns))
        mg_timer_set(loop, &endpoint->timer, due);
    endpoint->refs--;
    maybe_free_endpoint(endpoint);
}

void mg_lease_start(mg_lease *lease, mg_exchange *x, mg_endpoint *endpoint, const mg_lease_ops *ops)
{
    const uint64_t deadline = lease->deadline_ns;

    *lease = (mg_lease){ .x = x, .endpoint = endpoint, .ops = ops, .deadline_ns = deadline };
    mg_endpoint_ref(endpoint);
    x->times.upstream_ns = mg_loop_now(endpoint->net->loop);
    obtain(lease, false);
}

void mg_lease_cancel(mg_lease *lease)
{
    if (lease->state == MG_LEASE_NONE || lease->state == MG_LEASE_OVER)
        return;
    if (lease->state == MG_LEASE_WAITS && !lease->conn)
        mg_pool_wait_cancel(&lease->endpoint->pool, &lease->waiter);
    up_conn *up = lease->conn;
    if (up) {
        up_enter(up);
        (void)detach(up);
        up_close(up);
        up_leave(up);
    }
    lease->state = MG_LEASE_OVER;
    drop_endpoint(lease);
}
