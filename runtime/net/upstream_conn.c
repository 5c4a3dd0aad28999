/* upstream_conn.c - a connection to an endpoint: its states, its deadlines and its end. What it sends is in
 * upstream_out.c, what it reads in upstream_in.c. */
#include "base/check.h"
#include "base/mem.h"
#include "net/upstream_parts.h"

#define BIT(state) (1u << (state))

/* ---- states ---- */

void mg_up_to(mg_up *up, mg_up_state state)
{
    static const uint8_t after[] = {
        [UP_CONNECTING] = BIT(UP_BUSY) | BIT(UP_GONE),
        [UP_IDLE] = BIT(UP_HANDED) | BIT(UP_BUSY) | BIT(UP_GONE),
        [UP_HANDED] = BIT(UP_BUSY) | BIT(UP_GONE),
        [UP_BUSY] = BIT(UP_IDLE) | BIT(UP_GONE),
        [UP_GONE] = 0,
    };

    MG_CHECK(after[up->state] & BIT(state));
    up->state = state;
}

void mg_slot_send_to(mg_slot *slot, mg_slot_request request)
{
    static const uint8_t after[] = {
        [SLOT_SENDING] = BIT(SLOT_SENT),
        [SLOT_SENT] = BIT(SLOT_TUNNEL),
        [SLOT_TUNNEL] = BIT(SLOT_TUNNEL_ENDED),
        [SLOT_TUNNEL_ENDED] = BIT(SLOT_TUNNEL_SHUT),
        [SLOT_TUNNEL_SHUT] = 0,
    };

    MG_CHECK(after[slot->request] & BIT(request));
    slot->request = request;
}

void mg_slot_answer_to(mg_slot *slot, mg_slot_answer answer)
{
    static const uint8_t after[] = {
        [SLOT_NONE] = BIT(SLOT_AWAITS),
        [SLOT_AWAITS] = BIT(SLOT_NONE) | BIT(SLOT_BARE) | BIT(SLOT_BODY),
        [SLOT_BARE] = BIT(SLOT_NONE),
        [SLOT_BODY] = BIT(SLOT_NONE),
    };

    MG_CHECK(slot->lease && after[slot->answer] & BIT(answer));
    slot->answer = answer;
}

void mg_slot_lend(mg_slot *slot, mg_lease *lease)
{
    MG_CHECK(!slot->lease && slot->answer == SLOT_NONE);
    slot->lease = lease;
    slot->request = SLOT_SENDING;
    lease->slot = slot;
}

mg_lease *mg_slot_take_back(mg_slot *slot)
{
    mg_lease *lease = slot->lease;

    if (!lease)
        return NULL;
    if (slot->answer != SLOT_NONE)
        mg_slot_answer_to(slot, SLOT_NONE);
    slot->lease = NULL;
    lease->slot = NULL;
    mg_lease_to(lease, MG_LEASE_OVER);
    mg_exchange *x = lease->x;
    mg_exchange_body_rests(x, mg_loop_now(mg_up_loop(slot->up)));
    x->request_body.sink = NULL; /* ours, or what the owner put before it */
    if (x->response_body.source == &slot->source)
        x->response_body.source = NULL;
    return lease;
}

/* ---- the end of a connection ---- */

void mg_up_leave(mg_up *up)
{
    mg_endpoint *endpoint = up->endpoint;

    if (!mg_wire_leave(&up->wire) || up->state != UP_GONE)
        return;
    mg_free(up);
    endpoint->conns--;
    mg_endpoint_maybe_free(endpoint);
}

/* Closed, out of the pool; `work` is for who waited. The memory goes with the outermost mg_up_leave, or now.
 */
static void close_conn(mg_up *up, void (*work)(mg_endpoint *endpoint))
{
    const bool in_pool = up->state != UP_CONNECTING;

    if (up->state == UP_GONE)
        return;
    mg_up_enter(up);
    mg_up_to(up, UP_GONE);
    mg_wire_close(&up->wire, false);
    mg_timer_stop(&up->slot.timer);
    mg_h1_body_fini(&up->slot.body);
    mg_endpoint *endpoint = up->endpoint;
    mg_endpoint_ref(endpoint);
    if (in_pool)
        mg_pool_closed(&endpoint->pool, &up->pooled);
    else
        mg_pool_connect_failed(&endpoint->pool);
    work(endpoint);
    if (mg_endpoint_others_wait(endpoint))
        endpoint->others(endpoint);
    mg_up_leave(up);
    mg_endpoint_unref(endpoint);
}

void mg_up_close(mg_up *up)
{
    close_conn(up, mg_endpoint_work);
}

void mg_up_give_up(mg_up *up)
{
    close_conn(up, mg_endpoint_work_later);
}

/* The connection is of no use any more, whatever the lease was at. */
void mg_up_fail(mg_up *up, mg_reset reason)
{
    const bool before_answer = up->slot.answer <= SLOT_AWAITS;
    const bool replay = up->slot.lease && before_answer && !up->wire.in.n &&
                        reason == MG_RESET_UPSTREAM_RESET && mg_lease_may_replay(up->slot.lease);

    mg_cell_add(&up->endpoint->stale, replay);
    mg_up_enter(up);
    mg_lease *lease = mg_slot_take_back(&up->slot);
    mg_up_close(up);
    mg_up_leave(up);
    if (!lease)
        return;
    if (replay) {
        lease->replayed = true;
        mg_lease_obtain(lease, true);
        return;
    }
    if (before_answer) {
        mg_lease_fail(lease, reason);
        return;
    }
    mg_body_sink *sink = lease->x->response_body.sink;
    lease->x->reset = reason;
    mg_lease_leave(lease);
    lease->ops->over(lease);
    if (sink)
        sink->reset(sink, reason);
}

/* ---- connecting ---- */

/* When the lease's time is over, as far as that can be told. */
static uint64_t limit_due(const mg_up *up)
{
    return up->slot.lease && up->slot.answer <= SLOT_AWAITS
               ? mg_exchange_due_ns(up->slot.lease->x, &up->slot.lease->limit)
               : UINT64_MAX;
}

/* While the client is waited for, the upstream is not. */
static bool is_upstreams_turn(const mg_up *up)
{
    if (mg_slot_is_tunnel(&up->slot))
        return true;
    if (up->slot.answer == SLOT_BODY)
        return !up->wire.blocked;
    return !up->slot.lease->x->flowing || !mg_wire_is_flushed(&up->wire) || up->wire.waiting;
}

/* How long the upstream may take for its next move. One that stops reading the request's body has no more for
 * that than its time for all of the answer. */
static uint64_t patience(const mg_up *up)
{
    const mg_lease_conf *conf = up->slot.lease->conf;
    const mg_exchange *x = up->slot.lease->x;

    if (up->state == UP_CONNECTING)
        return conf->connect_timeout_ns;
    if (mg_slot_is_tunnel(&up->slot))
        return conf->tunnel_idle_timeout_ns;
    if (up->slot.answer > SLOT_AWAITS)
        return conf->read_timeout_ns;
    if (!x->flowing)
        return conf->first_byte_timeout_ns;
    return mg_min_u64(conf->read_timeout_ns,
                      mg_exchange_left_ns(x, &up->slot.lease->limit, mg_loop_now(mg_up_loop(up))));
}

void mg_up_wait(mg_up *up, uint64_t patience_ns)
{
    mg_loop *loop = mg_up_loop(up);

    up->slot.since_ns = mg_loop_now(loop);
    mg_timer_set(loop, &up->slot.timer,
                 mg_min_u64(mg_add_sat(up->slot.since_ns, patience_ns), limit_due(up)));
}

void mg_up_await_room(mg_up *up)
{
    const uint64_t patience_ns = patience(up);

    up->slot.since_ns = mg_loop_now(mg_up_loop(up));
    if (!up->slot.timer.due_ns || up->slot.timer.due_ns > mg_add_sat(up->slot.since_ns, patience_ns))
        mg_up_wait(up, patience_ns);
}

static void on_ready(mg_stream *stream);

static bool connect_next(mg_up *up)
{
    mg_endpoint *endpoint = up->endpoint;
    mg_loop *loop = mg_up_loop(up);

    while (up->tries < endpoint->addr_count) {
        const mg_addr *addr = &endpoint->addrs[(endpoint->addr_next + up->tries) % endpoint->addr_count];
        up->tries++;
        up->addr = *addr;
        if (mg_stream_connect(&up->wire.stream, loop, addr, &mg_transport_socket, on_ready))
            return true;
    }
    return false;
}

static void on_connected(mg_up *up)
{
    const int error = mg_stream_greet(&up->wire.stream);

    if (error == MG_STREAM_WAIT)
        return;
    if (error) {
        mg_stream_close(&up->wire.stream, false);
        if (connect_next(up)) {
            mg_up_wait(up, up->slot.lease->conf->connect_timeout_ns);
        } else {
            mg_log_write(up->endpoint->net->log, MG_LOG_WARN, "upstream_connect", "%s: %s",
                         up->endpoint->account->authority, strerror(error));
            mg_up_fail(up, MG_RESET_UPSTREAM_CONNECT);
        }
        return;
    }
    mg_endpoint_prefer(up->endpoint, &up->addr);
    mg_pool_opened(&up->endpoint->pool, &up->slot.lease->conf->pool, &up->pooled,
                   mg_loop_now(mg_up_loop(up)));
    up->slot.lease->x->times.connected_ns = mg_loop_now(mg_up_loop(up));
    mg_up_start(up);
}

/* ---- what the loop calls ---- */

static void up_turn(mg_up *up)
{
    mg_up_enter(up);
    switch (up->state) {
    case UP_CONNECTING: on_connected(up); break;
    case UP_IDLE:
        if (mg_stream_has_news(&up->wire.stream) && mg_pool_remove(&up->endpoint->pool, &up->pooled))
            mg_up_close(up);
        break;
    case UP_HANDED: /* its peer may have closed it meanwhile */
        if (mg_stream_has_news(&up->wire.stream) || !mg_up_looks_open(up, up->slot.lease->x))
            mg_up_fail(up, MG_RESET_UPSTREAM_RESET);
        else
            mg_up_start(up);
        break;
    case UP_BUSY:
        if (!mg_wire_is_flushed(&up->wire) || up->wire.waiting || up->slot.request == SLOT_TUNNEL_ENDED)
            mg_up_flush(up);
        if (up->state != UP_GONE && up->slot.lease && mg_stream_can_read(&up->wire.stream))
            mg_wire_read(&up->wire);
        break;
    case UP_GONE: break;
    }
    mg_up_leave(up);
}

static void on_ready(mg_stream *stream)
{
    up_turn(mg_container_of(stream, mg_up, wire.stream));
}

static void on_later(mg_later *later)
{
    up_turn(mg_container_of(later, mg_up, wire.later));
}

static void on_timer(mg_timer *timer)
{
    mg_up *up = mg_container_of(timer, mg_slot, timer)->up;
    const uint64_t now = mg_loop_now(mg_up_loop(up));

    if (!up->slot.lease)
        return; /* idle: the pool's timer counts */
    const bool ours = is_upstreams_turn(up);
    if (up->slot.answer <= SLOT_AWAITS &&
        !mg_exchange_left_ns(up->slot.lease->x, &up->slot.lease->limit, now)) {
        up->slot.lease->client_late = !ours;
        mg_up_fail(up, MG_RESET_DEADLINE);
        return;
    }
    const uint64_t patience_ns = patience(up);
    if (ours && now >= up->slot.since_ns + patience_ns) {
        if (up->state == UP_CONNECTING) {
            mg_stream_close(&up->wire.stream, false);
            if (connect_next(up)) {
                mg_up_wait(up, patience_ns);
                return;
            }
        }
        mg_up_enter(up);
        mg_up_fail(up, up->state == UP_CONNECTING ? MG_RESET_UPSTREAM_CONNECT : MG_RESET_UPSTREAM_TIMEOUT);
        mg_up_leave(up);
        return;
    }
    const uint64_t due = mg_add_sat(ours ? up->slot.since_ns : now, patience_ns);
    mg_timer_set(mg_up_loop(up), timer, mg_min_u64(due, limit_due(up)));
}

/* ---- new connections, and what they carry ---- */

void mg_up_connect(mg_lease *lease)
{
    mg_endpoint *endpoint = lease->endpoint;
    mg_up *up = MG_NEW(mg_up);

    mg_wire_init(&up->wire, endpoint->net, &mg_up_wire, on_later);
    up->endpoint = endpoint;
    endpoint->conns++;
    up->slot.up = up;
    up->slot.sink = mg_up_sink;
    up->slot.source = mg_up_source;
    mg_timer_init(&up->slot.timer, on_timer);
    lease->reused = false;
    mg_slot_lend(&up->slot, lease);
    mg_lease_to(lease, MG_LEASE_CONNECTS);
    if (!connect_next(up)) {
        mg_up_fail(up, endpoint->addr_count ? MG_RESET_UPSTREAM_CONNECT : MG_RESET_NO_HOST);
        return;
    }
    mg_up_wait(up, lease->conf->connect_timeout_ns);
}

/* The connection is the lease's: the head goes out, with the body's first bytes where there are some. */
void mg_up_start(mg_up *up)
{
    mg_slot *slot = &up->slot;
    mg_lease *lease = slot->lease;
    mg_exchange *x = lease->x;

    mg_lease_to(lease, MG_LEASE_RUNS);
    mg_up_to(up, UP_BUSY);
    mg_slot_answer_to(slot, SLOT_AWAITS);
    mg_wire_restart(&up->wire);
    up->peer = (mg_h1_info){ .keep_alive = true };
    slot->interims = 0;
    slot->chunked = x->request.body == MG_BODY_STREAM;
    if (x->request_body.ended || !x->request_body.source)
        mg_slot_send_to(slot, SLOT_SENT);
    const size_t cap = mg_wire_write(&up->wire);
    mg_h1_write_request(&up->wire.out, &x->request, mg_str_of(up->endpoint->account->authority), true);
    if (x->request_body.ended && x->request.body == MG_BODY_STREAM)
        mg_h1_write_last_chunk(&up->wire.out, NULL);
    mg_wire_wrote(&up->wire, cap);
    /* A client that waits for "100 Continue" sends nothing before the upstream has said it. */
    if (slot->request == SLOT_SENDING && !x->request.expect_continue)
        mg_exchange_body_flows(x, mg_loop_now(mg_up_loop(up)));
    mg_up_wait(up, patience(up));
    mg_up_enter(up);
    if (slot->request == SLOT_SENDING) {
        MG_CHECK(x->request_body.source);
        x->request_body.sink = &slot->sink;
        if (lease->ops->sending)
            lease->ops->sending(lease);
        x->request_body.source->resume(x->request_body.source);
    }
    if (slot->lease == lease && !mg_wire_is_flushed(&up->wire))
        mg_up_flush(up);
    if (slot->lease == lease && mg_stream_can_read(&up->wire.stream))
        mg_wire_later(&up->wire);
    mg_up_leave(up);
}
