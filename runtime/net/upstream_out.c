/* upstream_out.c - the request on its way to the upstream: bytes go to the kernel at once; only what it does
 * not take is held. */
#include "base/mem.h"
#include "net/upstream_parts.h"

/* Sends what is held and then `parts`; returns bytes of `parts` taken, -1 when the connection broke. */
static ssize_t up_send(mg_up *up, const struct iovec *parts, int count)
{
    struct iovec all[4];
    int n = 0;

    if (up->out.n)
        all[n++] = (struct iovec){ up->out.p, up->out.n };
    for (int i = 0; i < count; i++)
        all[n++] = parts[i];
    if (!n || !mg_stream_can_write(&up->stream))
        return 0;
    const ssize_t sent = mg_stream_send(&up->stream, all, n);
    if (sent < 0)
        return -1;
    if (sent && up->lease)
        up->lease->sent_any = true;
    if (sent)
        up->since_ns = mg_loop_now(mg_up_loop(up));
    const size_t held = mg_min_u64((uint64_t)sent, up->out.n);
    mg_net_drop(up->endpoint->net, &up->out, held);
    return sent - (ssize_t)held;
}

void mg_up_flush(mg_up *up)
{
    if (up->state == UP_CONNECTING || up->state == UP_IDLE || up->state == UP_GONE || !up->lease)
        return;
    if (up->out.n && up_send(up, NULL, 0) < 0) {
        /* The answer may stand in the socket already (an early refusal): reading decides. */
        mg_stream_expect(&up->stream);
        mg_net_drop(up->endpoint->net, &up->out, up->out.n);
        up->request_done = false;
        up->keep_alive = false;
        up->send_failed = true;
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

static size_t send_some(mg_up *up, const char *bytes, size_t n)
{
    char size[18];
    struct iovec parts[3];
    int count = 0;
    size_t total = n;

    if (up->out.n >= MG_NET_BUFFER || (up->out.n && !mg_stream_can_write(&up->stream))) {
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
    if (taken < 0) { /* as in mg_up_flush: what the upstream said before it closed decides */
        up->keep_alive = false;
        up->send_failed = true;
        mg_stream_expect(&up->stream);
        mg_net_drop(up->endpoint->net, &up->out, up->out.n);
        mg_later_add(mg_up_loop(up), &up->later);
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

static bool waits_to_send(const mg_up *up)
{
    return up->out.n || up->waiting_room;
}

static size_t request_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_up *up = mg_container_of(sink, mg_up, sink);

    if (up->state == UP_GONE || !up->lease)
        return n;
    if (!up->tunnel)
        mg_exchange_body_flows(up->lease->x, mg_loop_now(mg_up_loop(up)));
    const bool waited = waits_to_send(up);
    const size_t taken = send_some(up, bytes, n);
    if (!waited && waits_to_send(up) && !up->answered)
        mg_up_await_room(up);
    return taken;
}

static void request_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_up *up = mg_container_of(sink, mg_up, sink);

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
        mg_exchange_body_rests(up->lease->x, mg_loop_now(mg_up_loop(up)));
        mg_up_wait(up, up->lease->conf->first_byte_timeout_ns);
    }
    if (up->tunnel_ended || up->out.n)
        mg_later_add(mg_up_loop(up), &up->later);
}

static void request_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_up *up = mg_container_of(sink, mg_up, sink);

    if (up->lease)
        mg_up_fail(up, reason);
}

const mg_body_sink mg_up_sink = { request_data, request_end, request_reset };
