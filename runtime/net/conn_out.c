/* conn_out.c - answers on their way to the client. Bytes go to the kernel at once; only what it does not take
 * is held. RFC 9112. */
#include "base/mem.h"
#include "net/conn_parts.h"

enum { SMALL_BODY = 4096 }; /* copied behind what waits, instead of a send of its own */

/* Sends what is held and then `parts`. Returns bytes of `parts` taken, or -1 when the connection broke. */
static ssize_t conn_send(mg_conn *conn, const struct iovec *parts, int count)
{
    struct iovec all[4];
    int n = 0;

    if (conn->out.n)
        all[n++] = (struct iovec){ conn->out.p, conn->out.n };
    for (int i = 0; i < count; i++)
        all[n++] = parts[i];
    if (!n || !mg_stream_can_write(&conn->stream))
        return 0;
    const ssize_t sent = mg_stream_send(&conn->stream, all, n);
    if (sent < 0)
        return -1;
    if (conn->x)
        conn->x->bytes_out += (uint64_t)sent;
    if (sent)
        mg_conn_progress(conn);
    const size_t held = mg_min_u64((uint64_t)sent, conn->out.n);
    mg_net_drop(conn->server->net, &conn->out, held);
    return sent - (ssize_t)held;
}

/* The response is complete and sent: the exchange is over for this side. */
void mg_conn_finish(mg_conn *conn)
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
    mg_conn_next(conn);
}

/* Sends what is held; finishes, resumes or breaks as that goes. */
void mg_conn_flush(mg_conn *conn)
{
    mg_exchange *x = conn->x;

    if (conn->out.n && conn_send(conn, NULL, 0) < 0) {
        mg_conn_abort(conn, MG_RESET_CLIENT_GONE, true);
        return;
    }
    if (conn->out.n) {
        mg_conn_await(conn);
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
        mg_conn_finish(conn);
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
        mg_later_add(mg_conn_loop(conn), &conn->later); /* breaks there, not under the caller */
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
        mg_later_add(mg_conn_loop(conn), &conn->later);
    } else {
        taken = conn_send(conn, parts, 3);
        if (taken < 0) {
            mg_later_add(mg_conn_loop(conn), &conn->later);
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

/* ---- the sink of the response body: what its source calls ---- */

static size_t response_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_conn *conn = mg_container_of(sink, mg_conn, sink);
    size_t taken;

    if (conn->gone || conn->broken)
        return n;
    if (conn->out.n >= MG_NET_BUFFER || (conn->out.n && !mg_stream_can_write(&conn->stream))) {
        conn->waiting_room = true;
        return 0;
    }
    if (conn->out_framing == MG_H1_CHUNKED) {
        taken = send_chunk(conn, bytes, n);
    } else if (n < conn->out_left && small_enough(conn, n) && !conn->tunnel) {
        mg_net_hold(conn->server->net, &conn->out, bytes, n);
        mg_later_add(mg_conn_loop(conn), &conn->later);
        taken = n;
    } else {
        taken = send_plain(conn, bytes, n);
    }
    if (conn->out_framing == MG_H1_LENGTH)
        conn->out_left -= mg_min_u64(taken, conn->out_left);
    if (taken < n || conn->out.n)
        mg_conn_await(conn);
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
    mg_conn_enter(conn);
    mg_conn_flush(conn);
    mg_conn_leave(conn);
}

static void response_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_conn *conn = mg_container_of(sink, mg_conn, sink);

    if (conn->gone || !conn->x)
        return;
    mg_conn_enter(conn);
    /* What came is the client's. That more was due is seen by the length or the missing last chunk; where
     * only the end of the connection ends the body, it has to be an RST. */
    if (conn->out.n)
        (void)conn_send(conn, NULL, 0);
    mg_conn_abort(conn, reason, conn->out_framing == MG_H1_UNTIL_CLOSE || conn->out.n);
    mg_conn_leave(conn);
}

/* ---- the client side of an exchange: what the owner calls ---- */

static mg_conn *conn_of_x(mg_exchange *x)
{
    return x->client_self;
}

static void client_interim(mg_exchange *x, const mg_response *head)
{
    mg_conn *conn = conn_of_x(x);

    if (conn->minor == 0 || conn->head_out)
        return;
    if (head->status == 100 && conn->awaits_100) {
        conn->awaits_100 = false;
        mg_conn_await(conn);
    }
    const size_t cap = mg_net_hold_open(conn->server->net, &conn->out);
    (void)mg_h1_write_response(&conn->out, head, x->request.method, conn->minor, true);
    mg_net_grew(conn->server->net, &conn->out, cap);
    mg_later_add(mg_conn_loop(conn), &conn->later);
}

/* Whether the connection can live on behind this response, when the request's body may not have been read. */
static bool may_keep(const mg_conn *conn, const mg_exchange *x)
{
    if (!conn->keep_alive || conn->last || conn->server->draining)
        return false;
    if (!conn->body_open)
        return true;
    return !x->request.expect_continue && conn->body.framing == MG_H1_LENGTH &&
           conn->body.left <= MG_CONN_DRAIN_BYTES;
}

/* A plugin may have put another body in the place of the client's, which is then still to come. */
static void begin_tunnel(mg_conn *conn, mg_exchange *x)
{
    conn->tunnel = true;
    conn->skips_body = conn->body_open;
    conn->body_open = true;
    conn->blocked = false; /* what the client sends goes on in the turn that sends the head */
    if (!conn->skips_body)
        mg_conn_open_tunnel(conn);
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
    x->times.head_ns = mg_loop_now(conn->server->net->loop);
    if (response->status == 101)
        begin_tunnel(conn, x);
    if (conn->tunnel || conn->out_framing != MG_H1_NO_BODY) {
        if (conn->out_framing == MG_H1_UNTIL_CLOSE && !conn->tunnel)
            conn->last = true;
        x->response_body.sink = &conn->sink;
    } else {
        x->response_body.sink = NULL;
        conn->end_out = true;
    }
    mg_later_add(mg_conn_loop(conn), &conn->later);
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
    mg_conn_enter(conn);
    mg_conn_close(conn, true);
    mg_conn_leave(conn);
}

const mg_body_sink mg_conn_sink = { response_data, response_end, response_reset };
const mg_client_ops mg_conn_client = { client_interim, client_head, client_cut };
