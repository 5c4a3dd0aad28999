/* upstream_out.c - the request on its way to the upstream: bytes go to the kernel at once; only what it does
 * not take is held. */
#include "base/mem.h"
#include "net/upstream_parts.h"

/* What the upstream said before it closed decides: the answer may stand in the socket already (an early
 * refusal). */
static void send_failed(mg_up *up)
{
    mg_stream_expect(&up->wire.stream);
    mg_wire_drop_out(&up->wire);
}

void mg_up_flush(mg_up *up)
{
    if (up->state != UP_BUSY || !up->slot.lease)
        return;
    if (!mg_wire_is_flushed(&up->wire) && mg_wire_send(&up->wire, NULL, 0) < 0) {
        send_failed(up);
        return;
    }
    if (!mg_wire_is_flushed(&up->wire) || !up->slot.lease)
        return;
    if (!mg_wire_give_room(&up->wire, &up->slot.lease->x->request_body) &&
        up->slot.request == SLOT_TUNNEL_ENDED) {
        mg_stream_shutdown(&up->wire.stream);
        mg_slot_send_to(&up->slot, SLOT_TUNNEL_SHUT);
    }
}

static size_t send_some(mg_up *up, const char *bytes, size_t n)
{
    if (!mg_wire_has_room(&up->wire))
        return 0;
    up->slot.lease->body_taken = true;
    if (up->slot.chunked && !mg_slot_is_tunnel(&up->slot)) {
        if (mg_wire_send_chunk(&up->wire, bytes, n))
            return n;
    } else {
        const ssize_t taken = mg_wire_send_bytes(&up->wire, bytes, n);
        if (taken >= 0)
            return (size_t)taken;
    }
    send_failed(up);
    mg_wire_later(&up->wire);
    return n;
}

static bool waits_to_send(const mg_up *up)
{
    return !mg_wire_is_flushed(&up->wire) || up->wire.waiting;
}

static size_t request_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_up *up = mg_container_of(sink, mg_slot, sink)->up;

    if (up->state == UP_GONE || !up->slot.lease)
        return n;
    if (!mg_slot_is_tunnel(&up->slot))
        mg_exchange_body_flows(up->slot.lease->x, mg_loop_now(mg_up_loop(up)));
    const bool waited = waits_to_send(up);
    const size_t taken = send_some(up, bytes, n);
    if (!waited && waits_to_send(up) && up->slot.answer <= SLOT_AWAITS)
        mg_up_await_room(up);
    return taken;
}

static int64_t request_move(mg_body_sink *sink, mg_stream *from, uint64_t n)
{
    mg_up *up = mg_container_of(sink, mg_slot, sink)->up;

    if (up->state == UP_GONE || !up->slot.lease || up->slot.chunked || mg_slot_is_tunnel(&up->slot))
        return MG_MOVE_NOT;
    mg_exchange_body_flows(up->slot.lease->x, mg_loop_now(mg_up_loop(up)));
    const bool waited = waits_to_send(up);
    const int64_t moved = mg_wire_move(&up->wire, from, n);
    if (moved > 0) {
        mg_lease_pin(up->slot.lease);
        if (up->wire.broken) {
            send_failed(up);
            mg_wire_later(&up->wire);
        }
    }
    if (!waited && waits_to_send(up) && up->slot.answer <= SLOT_AWAITS)
        mg_up_await_room(up);
    return moved;
}

static void request_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_up *up = mg_container_of(sink, mg_slot, sink)->up;

    if (up->state == UP_GONE || !up->slot.lease)
        return;
    if (mg_slot_is_tunnel(&up->slot)) {
        mg_slot_send_to(&up->slot, SLOT_TUNNEL_ENDED);
    } else {
        if (up->slot.chunked)
            mg_wire_hold_last_chunk(&up->wire, trailers);
        mg_slot_send_to(&up->slot, SLOT_SENT);
        mg_exchange_body_rests(up->slot.lease->x, mg_loop_now(mg_up_loop(up)));
        mg_up_wait(up, up->slot.lease->conf->first_byte_timeout_ns);
    }
    if (up->slot.request == SLOT_TUNNEL_ENDED || !mg_wire_is_flushed(&up->wire))
        mg_wire_later(&up->wire);
}

static void request_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_up *up = mg_container_of(sink, mg_slot, sink)->up;

    if (up->slot.lease)
        mg_up_fail(up, reason);
}

const mg_body_sink mg_up_sink = { request_data, request_end, request_reset, request_move };
