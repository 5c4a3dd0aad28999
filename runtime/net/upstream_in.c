/* upstream_in.c - the answer on its way from the upstream. A connection goes back to the pool only when its
 * last answer ended exactly; bytes left over close it. */
#include "base/mem.h"
#include "net/upstream_parts.h"

enum {
    INTERIMS_MAX = 32, /* 1xx heads before the answer: more is an upstream that talks for ever */
};

/* The answer is complete. The connection lives on when it ended exactly and the request was sent whole. */
static void answer_complete(mg_up *up, bool exact)
{
    mg_endpoint *endpoint = up->endpoint;
    /* Readable still: bytes beyond the answer, or its end; neither is fit for another request. */
    const bool keep = exact && up->peer.keep_alive && !up->wire.broken && up->slot.request == SLOT_SENT &&
                      mg_wire_is_flushed(&up->wire) && !mg_stream_can_read(&up->wire.stream);
    const mg_fields trailers = up->slot.body.trailers; /* in the exchange's arena */
    const mg_pool_conf *conf = &up->slot.lease->conf->pool;
    const bool had_body = up->slot.answer == SLOT_BODY;

    mg_up_enter(up);
    mg_lease *lease = mg_slot_take_back(&up->slot);
    mg_exchange *x = lease->x;
    mg_body_sink *sink = x->response_body.sink;
    x->response_body.ended = true;
    if (keep) {
        mg_up_to(up, UP_IDLE);
        mg_h1_body_fini(&up->slot.body);
        up->slot.body = (mg_h1_body){ 0 };
        const uint64_t idle_ns = up->peer.keep_alive_s > 1 ? (up->peer.keep_alive_s - 1) * MG_NS_PER_S : 0;
        mg_pool_waiter *waiter = NULL;
        mg_pool_given given =
            mg_pool_give(&endpoint->pool, conf, &up->pooled, mg_loop_now(mg_up_loop(up)), idle_ns, &waiter);
        if (given == MG_POOL_KEPT && !mg_endpoint_keeps(endpoint, &up->addr)) {
            (void)mg_pool_remove(&endpoint->pool, &up->pooled);
            given = MG_POOL_CLOSE;
        }
        if (given == MG_POOL_HANDED) {
            mg_lease *next = mg_container_of(waiter, mg_lease, waiter);
            next->reused = true;
            next->x->times.connected_ns = mg_loop_now(mg_up_loop(up));
            mg_up_to(up, UP_HANDED);
            mg_slot_lend(&up->slot, next);
            mg_wire_later(&up->wire); /* starts in its own turn */
        } else if (given == MG_POOL_CLOSE) {
            mg_up_close(up);
        } else if (mg_endpoint_others_wait(endpoint)) {
            mg_endpoint_poke(endpoint);
        } else if (!endpoint->timer.due_ns) {
            mg_endpoint_work(endpoint);
        }
    } else {
        mg_up_close(up);
    }
    mg_lease_leave(lease);
    lease->ops->over(lease);
    if (had_body && sink)
        sink->end(sink, trailers.count ? &trailers : NULL);
    mg_up_leave(up);
}

/* What it sent is not taken; the log says why, and which limit it was. */
static void refuse_answer(mg_up *up, const mg_h1_fault *fault)
{
    const mg_lease_conf *conf = up->slot.lease->conf;
    const char *authority = up->endpoint->account->authority;
    mg_log *log = up->endpoint->net->log;

    switch (fault->over) {
    case MG_H1_OVER_HEAD_BYTES:
        mg_log_write(log, MG_LOG_WARN, "upstream_protocol",
                     "%s: the head of its answer is longer than max_head_bytes, %u", authority,
                     conf->h1.head_bytes);
        mg_up_fail(up, MG_RESET_UPSTREAM_HEAD);
        return;
    case MG_H1_OVER_FIELDS:
        mg_log_write(log, MG_LOG_WARN, "upstream_protocol",
                     "%s: its answer has more fields than max_fields, %u", authority, conf->h1.fields);
        mg_up_fail(up, MG_RESET_UPSTREAM_FIELDS);
        return;
    case MG_H1_OVER_NOTHING: break;
    }
    mg_log_write(log, MG_LOG_WARN, "upstream_protocol", "%s: %s", authority, fault->why);
    mg_up_fail(up, MG_RESET_UPSTREAM_PROTOCOL);
}

/* One response head stands at `bytes`. */
static void on_head(mg_up *up, const char *bytes, size_t n, bool more)
{
    mg_lease *lease = up->slot.lease;
    mg_exchange *x = lease->x;
    mg_response response;
    mg_h1_framing framing;
    mg_h1_info info = { 0 };
    mg_h1_fault fault = { 0 };
    char *head = mg_arena_alloc(&x->arena, n + 1);

    memcpy(head, bytes, n);
    if (!mg_h1_parse_response(&x->arena, &lease->conf->h1, head, n, x->request.method, x->request.upgrade,
                              &response, &framing, &info, &fault)) {
        refuse_answer(up, &fault);
        return;
    }
    info.keep_alive = info.keep_alive && up->peer.keep_alive;
    up->peer = info;
    if (mg_status_is_interim(response.status)) {
        if (++up->slot.interims > INTERIMS_MAX) {
            mg_up_fail(up, MG_RESET_UPSTREAM_PROTOCOL);
            return;
        }
        if (response.status == 100 && up->slot.request == SLOT_SENDING)
            mg_exchange_body_flows(x, mg_loop_now(mg_up_loop(up)));
        lease->ops->interim(lease, &response);
        return;
    }
    if (mg_status_opens_tunnel(response.status) &&
        (up->slot.request != SLOT_SENT ||
         up->wire.broken)) { /* RFC 9110 7.8: the new protocol begins behind it */
        refuse_answer(up, &(mg_h1_fault){ .why = "101 before the request was whole" });
        return;
    }
    mg_exchange_answer(x, MG_ANSWER_UPSTREAM, &response, MG_STR_NONE);
    x->times.first_byte_ns = mg_loop_now(mg_up_loop(up));
    if (x->tunnel) {
        mg_slot_send_to(&up->slot, SLOT_TUNNEL);
        x->request_body.sink = &up->slot.sink;
        framing = MG_H1_UNTIL_CLOSE;
    }
    if (framing == MG_H1_NO_BODY) {
        mg_slot_answer_to(&up->slot, SLOT_BARE);
        lease->ops->head(lease);
        if (up->slot.lease == lease)
            answer_complete(up, !more);
        return;
    }
    mg_slot_answer_to(&up->slot, SLOT_BODY);
    mg_h1_body_init(&up->slot.body, framing, response.length, &lease->conf->h1, &x->arena);
    up->slot.body.may_pad = true;
    mg_wire_bulk(&up->wire, x->tunnel ? 0 : mg_h1_body_plain(&up->slot.body));
    mg_wire_block(&up->wire);
    x->response_body.source = &up->slot.source;
    mg_up_wait(up, mg_slot_is_tunnel(&up->slot) ? lease->conf->tunnel_idle_timeout_ns
                                                : lease->conf->read_timeout_ns);
    lease->ops->head(lease);
}

/* Returns bytes used; fewer than n: blocked, or the rest is not the answer's. */
static size_t feed_head(mg_up *up, const char *bytes, size_t n)
{
    size_t scanned = 0;
    const size_t head_n = mg_h1_head_end(bytes, n, &scanned);
    const size_t most = up->slot.lease->conf->h1.head_bytes;

    if (!head_n && n <= most)
        return 0;
    if (!head_n || head_n > most) {
        refuse_answer(up, &(mg_h1_fault){ .over = MG_H1_OVER_HEAD_BYTES });
        return n;
    }
    on_head(up, bytes, head_n, n > head_n);
    return head_n;
}

static size_t feed_body(mg_up *up, const char *bytes, size_t n)
{
    size_t at = 0;

    while (up->slot.answer == SLOT_BODY && up->slot.lease && !up->wire.blocked) {
        mg_body *body = &up->slot.lease->x->response_body;
        mg_h1_fault fault = { 0 };
        mg_str payload = MG_STR_NONE;
        size_t used = 0;
        const mg_h1_step step = mg_h1_body_next(&up->slot.body, bytes + at, n - at, &used, &payload, &fault);

        at += used;
        if (step == MG_H1_MORE)
            return at;
        if (step == MG_H1_BAD) {
            refuse_answer(up, &fault);
            return n;
        }
        if (step == MG_H1_END) {
            answer_complete(up, at == n);
            return n;
        }
        if (!body->sink) {
            mg_wire_block(&up->wire);
            return at;
        }
        const mg_lease *lease = up->slot.lease;
        const size_t taken = body->sink->data(body->sink, payload.p, payload.n);
        if (up->slot.lease != lease)
            return n;
        body->bytes += taken;
        mg_h1_body_take(&up->slot.body, taken);
        at += taken;
        if (taken < payload.n) {
            mg_wire_block(&up->wire);
            return at;
        }
    }
    return at;
}

static size_t wire_feed(mg_wire *wire, const char *bytes, size_t n)
{
    mg_up *up = mg_container_of(wire, mg_up, wire);
    size_t at = 0;

    up->slot.since_ns = mg_loop_now(wire->net->loop);
    while (up->slot.lease) {
        const mg_slot_answer before = up->slot.answer;
        size_t used = 0;
        if (up->slot.answer == SLOT_AWAITS && at < n)
            used = feed_head(up, bytes + at, n - at);
        else if (up->slot.answer == SLOT_BODY)
            used = feed_body(up, bytes + at, n - at);
        at += used;
        if (used == 0 && before == up->slot.answer)
            break;
        if (at == n && up->slot.answer != SLOT_BODY)
            break;
        if (at == n && up->slot.answer == SLOT_BODY && before == SLOT_BODY)
            break;
    }
    return up->state == UP_BUSY ? at : n;
}

/* A failed send has taken the socket's error with it: what reads as an end behind it was an RST, so that a
 * body which only the end of the connection ends is not whole. */
static void on_eof(mg_up *up, bool error)
{
    if (up->slot.answer == SLOT_BODY && !error && !up->wire.broken && mg_h1_body_eof(&up->slot.body)) {
        if (mg_slot_is_tunnel(&up->slot)) {
            mg_body_sink *sink = up->slot.lease->x->response_body.sink;
            if (up->slot.request < SLOT_TUNNEL_ENDED &&
                sink) { /* half closed: the client may go on sending */
                up->slot.lease->x->response_body.ended = true;
                up->slot.lease->x->response_body.source = NULL;
                mg_wire_block(&up->wire);
                sink->end(sink, NULL);
                return;
            }
        }
        answer_complete(up, false);
        return;
    }
    mg_up_fail(up, MG_RESET_UPSTREAM_RESET);
}

static bool wants_bytes(const mg_up *up)
{
    return up->slot.lease &&
           (up->slot.answer == SLOT_AWAITS || (up->slot.answer == SLOT_BODY && !up->wire.blocked));
}

static size_t wire_wants(mg_wire *wire)
{
    const mg_up *up = mg_container_of(wire, mg_up, wire);

    return mg_stream_may_read(&wire->stream) && wants_bytes(up) ? mg_net_read_size(wire->net) : 0;
}

static void wire_ended(mg_wire *wire, bool error)
{
    on_eof(mg_container_of(wire, mg_up, wire), error);
}

static void wire_sent(mg_wire *wire, size_t n)
{
    mg_up *up = mg_container_of(wire, mg_up, wire);

    (void)n;
    if (up->slot.lease)
        up->slot.lease->sent_any = true;
    up->slot.since_ns = mg_loop_now(wire->net->loop);
}

static mg_body *wire_bulk(mg_wire *wire, uint64_t *left)
{
    mg_up *up = mg_container_of(wire, mg_up, wire);

    if (up->slot.answer != SLOT_BODY)
        return NULL;
    mg_body *body = &up->slot.lease->x->response_body;
    *left = mg_h1_body_plain(&up->slot.body);
    /* How long one is that only the end ends is not known: it is large once it has been. */
    return *left == UINT64_MAX && body->bytes < MG_WIRE_BULK ? NULL : body;
}

static void wire_moved(mg_wire *wire, size_t n)
{
    mg_up *up = mg_container_of(wire, mg_up, wire);

    if (!up->slot.lease)
        return;
    up->slot.since_ns = mg_loop_now(wire->net->loop);
    up->slot.lease->x->response_body.bytes += n;
    mg_h1_body_take(&up->slot.body, n);
    if (!mg_h1_body_plain(&up->slot.body))
        answer_complete(up, true);
}

const mg_wire_ops mg_up_wire = { wire_wants, wire_feed, wire_ended, wire_sent, wire_bulk, wire_moved };

static void source_resume(mg_body_source *source)
{
    mg_up *up = mg_container_of(source, mg_slot, source)->up;

    mg_wire_unblock(&up->wire);
    up->slot.since_ns = mg_loop_now(mg_up_loop(up));
    if (up->wire.feeding)
        return;
    mg_up_enter(up);
    /* A body of no bytes, or one whose bytes are held, may end here. */
    if (up->wire.in.n || up->slot.answer == SLOT_BODY)
        mg_wire_feed_held(&up->wire);
    if (up->state != UP_GONE && wants_bytes(up) && mg_stream_can_read(&up->wire.stream))
        mg_wire_read(&up->wire);
    mg_up_leave(up);
}

static void source_stop(mg_body_source *source)
{
    mg_up *up = mg_container_of(source, mg_slot, source)->up;
    mg_lease *lease;

    mg_up_enter(up);
    lease = mg_slot_take_back(&up->slot);
    mg_up_give_up(up);
    mg_up_leave(up);
    if (lease) {
        mg_lease_leave(lease);
        lease->ops->over(lease);
    }
}

const mg_body_source mg_up_source = { source_resume, source_stop };
