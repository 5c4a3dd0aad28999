/* upstream.c - leases: one exchange with an endpoint. It takes a connection, waits for one, or asks for a new
 * one; the connection sends and reads (upstream_conn.c).
 *
 * A reused connection that fails before any byte of an answer is replaced once, when nothing had been sent,
 * or the method is idempotent and no body byte has left (docs/policies.md 6). */
#include "base/check.h"
#include "base/mem.h"
#include "net/upstream_parts.h"

#define BIT(state) (1u << (state))

void mg_lease_to(mg_lease *lease, mg_lease_state state)
{
    static const uint8_t after[] = {
        [MG_LEASE_NONE] =
            BIT(MG_LEASE_WAITS) | BIT(MG_LEASE_CONNECTS) | BIT(MG_LEASE_RUNS) | BIT(MG_LEASE_OVER),
        [MG_LEASE_WAITS] = BIT(MG_LEASE_CONNECTS) | BIT(MG_LEASE_RUNS) | BIT(MG_LEASE_OVER),
        [MG_LEASE_CONNECTS] = BIT(MG_LEASE_RUNS) | BIT(MG_LEASE_OVER),
        [MG_LEASE_RUNS] = BIT(MG_LEASE_OVER),
        /* Once more: a connection that was of no use is replaced. */
        [MG_LEASE_OVER] = BIT(MG_LEASE_WAITS) | BIT(MG_LEASE_CONNECTS) | BIT(MG_LEASE_OVER),
    };

    MG_CHECK(after[lease->state] & BIT(state));
    lease->state = state;
}

void mg_lease_pin(mg_lease *lease)
{
    lease->body_taken = true;
}

void mg_lease_leave(mg_lease *lease)
{
    mg_endpoint *endpoint = lease->endpoint;

    lease->endpoint = NULL;
    if (endpoint)
        mg_endpoint_unref(endpoint);
}

void mg_lease_fail(mg_lease *lease, mg_reset reason)
{
    mg_lease_to(lease, MG_LEASE_OVER);
    mg_lease_leave(lease);
    lease->ops->failed(lease, reason);
}

bool mg_lease_may_replay(const mg_lease *lease)
{
    const mg_exchange *x = lease->x;

    if (!lease->reused || lease->replayed || lease->body_taken)
        return false;
    return !lease->sent_any || mg_method_is_idempotent(x->request.method);
}

bool mg_up_looks_open(mg_up *up, const mg_exchange *x)
{
    if (mg_method_is_idempotent(x->request.method) && x->request.body == MG_BODY_NONE)
        return true;
    return mg_stream_is_quiet(&up->wire.stream);
}

void mg_lease_obtain(mg_lease *lease, bool fresh)
{
    mg_endpoint *endpoint = lease->endpoint;
    mg_pool *pool = &endpoint->pool;
    const uint64_t now = mg_loop_now(endpoint->net->loop);
    mg_pool_conn *pooled = NULL;

    for (;;) {
        const mg_pool_verdict verdict =
            fresh ? mg_pool_take_new(pool, &lease->conf->pool, now, &lease->waiter)
                  : mg_pool_take(pool, &lease->conf->pool, now, &lease->waiter, &pooled);
        if (verdict == MG_POOL_REUSED) {
            mg_up *up = mg_container_of(pooled, mg_up, pooled);
            if (mg_stream_has_news(&up->wire.stream) || !mg_up_looks_open(up, lease->x)) {
                mg_cell_add(&endpoint->stale, 1);
                mg_up_close(up);
                continue;
            }
            lease->reused = true;
            mg_slot_lend(&up->slot, lease);
            lease->x->times.connected_ns = now;
            mg_up_start(up);
        } else if (verdict == MG_POOL_CONNECT) {
            mg_up_connect(lease);
        } else if (verdict == MG_POOL_WAIT) {
            mg_lease_to(lease, MG_LEASE_WAITS);
            mg_endpoint_await_place(endpoint);
            mg_endpoint_work(endpoint);
        } else {
            mg_lease_fail(lease, MG_RESET_POOL_FULL);
        }
        return;
    }
}

void mg_lease_start(mg_lease *lease, mg_exchange *x, mg_endpoint *endpoint, const mg_lease_conf *conf,
                    const mg_lease_ops *ops)
{
    const mg_time_limit limit = lease->limit;

    *lease = (mg_lease){ .x = x, .endpoint = endpoint, .conf = conf, .ops = ops, .limit = limit };
    mg_endpoint_ref(endpoint);
    x->times.upstream_ns = mg_loop_now(endpoint->net->loop);
    x->times.body_ns = x->flowed_ns;
    mg_lease_obtain(lease, false);
}

void mg_lease_cancel(mg_lease *lease)
{
    if (lease->state == MG_LEASE_NONE || lease->state == MG_LEASE_OVER)
        return;
    if (lease->state == MG_LEASE_WAITS && !lease->slot)
        mg_pool_wait_cancel(&lease->endpoint->pool, &lease->waiter);
    if (lease->slot) {
        mg_up *up = lease->slot->up;
        mg_up_enter(up);
        (void)mg_slot_take_back(&up->slot);
        mg_up_give_up(up);
        mg_up_leave(up);
    }
    mg_lease_to(lease, MG_LEASE_OVER);
    mg_lease_leave(lease);
}
