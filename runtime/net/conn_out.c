/* conn_out.c - answers on their way to the client. Bytes go to the kernel at once; only what it does not take
 * is held. RFC 9112. */
#include "base/mem.h"
#include "net/conn_parts.h"

/* The response is complete and sent: the exchange is over for this side. */
void mg_conn_finish(mg_conn *conn)
{
    mg_exchange *x = mg_conn_part(conn);

    mg_conn_answer_to(conn, CONN_UNANSWERED);
    mg_wire_unblock(&conn->wire);
    if (conn->server->draining)
        mg_conn_ends(conn, CONN_LAST);
    x->owner->done(x);
    mg_conn_next(conn);
}

/* Sends what is held; finishes, resumes or breaks as that goes. */
void mg_conn_flush(mg_conn *conn)
{
    mg_exchange *x = conn->x;

    if (!mg_wire_is_flushed(&conn->wire) && mg_wire_send(&conn->wire, NULL, 0) < 0) {
        mg_conn_abort(conn, MG_RESET_CLIENT_GONE, true);
        return;
    }
    if (!mg_wire_is_flushed(&conn->wire)) {
        mg_conn_await(conn);
        return;
    }
    if (!x || conn->state != CONN_EXCHANGE)
        return;
    if (conn->answer == CONN_ANSWERED) {
        if (x->tunnel) {
            mg_stream_shutdown(&conn->wire.stream);
            mg_conn_answer_to(conn, CONN_SHUT);
            if (mg_conn_has_body(conn))
                return; /* half closed: the other direction goes on */
            mg_conn_ends(conn, CONN_LAST_WORD);
        }
        mg_conn_finish(conn);
        return;
    }
    (void)mg_wire_give_room(&conn->wire, &x->response_body);
}

/* The caller is told nothing: the connection breaks behind this turn, not under it. */
static size_t break_later(mg_conn *conn, size_t n)
{
    mg_wire_later(&conn->wire);
    return n;
}

/* Straight from the caller's memory, or with what comes next. Returns bytes taken. */
static size_t send_some(mg_conn *conn, const char *bytes, size_t n)
{
    mg_wire *wire = &conn->wire;
    const bool small = mg_wire_is_small(wire, n);

    if (conn->side->out_framing == MG_H1_CHUNKED) {
        if (!small)
            return mg_wire_send_chunk(wire, bytes, n) ? n : break_later(conn, n);
        mg_wire_hold_chunk(wire, bytes, n);
    } else if (small && n < conn->side->out_left) {
        mg_wire_hold(wire, bytes, n);
    } else {
        const ssize_t taken = mg_wire_send_bytes(wire, bytes, n);
        return taken < 0 ? break_later(conn, n) : (size_t)taken;
    }
    mg_wire_later(wire);
    return n;
}

/* ---- the sink of the response body: what its source calls ---- */

static size_t response_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_conn_side *side = mg_container_of(sink, mg_conn_side, sink);
    mg_conn *conn = side->conn;

    if (conn->state == CONN_GONE || conn->wire.broken)
        return n;
    if (!mg_wire_has_room(&conn->wire))
        return 0;
    const size_t taken = send_some(conn, bytes, n);
    if (side->out_framing == MG_H1_LENGTH)
        side->out_left -= mg_min_u64(taken, side->out_left);
    if (conn->wire.waiting || !mg_wire_is_flushed(&conn->wire))
        mg_conn_await(conn);
    return taken;
}

static int64_t response_move(mg_body_sink *sink, mg_stream *from, uint64_t n)
{
    mg_conn_side *side = mg_container_of(sink, mg_conn_side, sink);
    mg_conn *conn = side->conn;

    if (conn->state == CONN_GONE || side->out_framing == MG_H1_CHUNKED || mg_conn_is_tunnel(conn) ||
        (side->out_framing == MG_H1_LENGTH && side->out_left < n))
        return MG_MOVE_NOT;
    const int64_t moved = mg_wire_move(&conn->wire, from, n);
    if (moved > 0 && side->out_framing == MG_H1_LENGTH)
        side->out_left -= (uint64_t)moved;
    if (moved > 0 && conn->wire.broken)
        (void)break_later(conn, 0);
    else if (conn->wire.waiting || !mg_wire_is_flushed(&conn->wire))
        mg_conn_await(conn);
    return moved;
}

static void response_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_conn_side *side = mg_container_of(sink, mg_conn_side, sink);
    mg_conn *conn = side->conn;

    if (conn->state == CONN_GONE)
        return;
    if (side->out_framing == MG_H1_CHUNKED)
        mg_wire_hold_last_chunk(&conn->wire, trailers);
    mg_conn_answer_to(conn, CONN_ANSWERED);
    if (side->out_framing == MG_H1_UNTIL_CLOSE)
        mg_conn_ends(conn, CONN_LAST);
    mg_conn_enter(conn);
    mg_conn_flush(conn);
    mg_conn_leave(conn);
}

static void response_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_conn_side *side = mg_container_of(sink, mg_conn_side, sink);
    mg_conn *conn = side->conn;

    if (conn->state == CONN_GONE || !conn->x)
        return;
    mg_conn_enter(conn);
    /* What came is the client's. That more was due is seen by the length or the missing last chunk; where
     * only the end of the connection ends the body, it has to be an RST. */
    if (!mg_wire_is_flushed(&conn->wire))
        (void)mg_wire_send(&conn->wire, NULL, 0);
    mg_conn_abort(conn, reason, side->out_framing == MG_H1_UNTIL_CLOSE || !mg_wire_is_flushed(&conn->wire));
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

    if (conn->answer > CONN_UNANSWERED)
        return;
    if (head->status == 100 && conn->request == CONN_ASKS) {
        mg_conn_request_to(conn, CONN_BODY);
        mg_conn_await(conn);
    }
    const size_t cap = mg_wire_write(&conn->wire);
    (void)mg_h1_write_response(&conn->wire.out, head, x->request.method, &conn->side->info, true);
    mg_wire_wrote(&conn->wire, cap);
    mg_wire_later(&conn->wire);
}

/* Whether the connection can live on behind this response, when the request's body may not have been read. */
static bool may_keep(const mg_conn *conn, const mg_exchange *x)
{
    if (conn->fate > CONN_STAYS || conn->server->draining)
        return false;
    if (!mg_conn_has_body(conn))
        return true;
    return !x->request.expect_continue && conn->side->body->framing == MG_H1_LENGTH &&
           conn->side->body->left <= MG_CONN_DRAIN_BYTES;
}

/* A plugin may have put another body in the place of the client's, which is then still to come. */
static void begin_tunnel(mg_conn *conn, mg_exchange *x)
{
    mg_wire_unblock(&conn->wire); /* what the client sends goes on in the turn that sends the head */
    if (mg_conn_has_body(conn))
        mg_conn_request_to(conn, CONN_SKIPS);
    else
        mg_conn_open_tunnel(conn);
    x->request_body.source = &conn->side->source;
    x->request_body.ended = false;
}

static void client_head(mg_exchange *x)
{
    mg_conn *conn = conn_of_x(x);
    mg_conn_side *side = conn->side;
    const mg_response *response = &x->response;

    if (!may_keep(conn, x))
        mg_conn_ends(conn, CONN_LAST);
    const size_t cap = mg_wire_write(&conn->wire);
    side->out_framing = mg_h1_write_response(&conn->wire.out, response, x->request.method, &side->info,
                                             conn->fate == CONN_STAYS);
    mg_wire_wrote(&conn->wire, cap);
    side->out_left = x->tunnel ? 0 : response->length;
    x->head_sent = true;
    mg_conn_answer_to(conn, CONN_ANSWERS);
    x->times.head_ns = mg_loop_now(conn->server->net->loop);
    if (x->tunnel)
        begin_tunnel(conn, x);
    if (x->tunnel || side->out_framing != MG_H1_NO_BODY) {
        if (side->out_framing == MG_H1_UNTIL_CLOSE)
            mg_conn_ends(conn, CONN_LAST);
        x->response_body.sink = &side->sink;
    } else {
        x->response_body.sink = NULL;
        mg_conn_answer_to(conn, CONN_ANSWERED);
    }
    mg_wire_later(&conn->wire);
}

static void client_cut(mg_exchange *x, mg_reset reason)
{
    mg_conn *conn = conn_of_x(x);

    (void)reason;
    (void)mg_conn_part(conn);
    mg_conn_enter(conn);
    mg_conn_close(conn, true);
    mg_conn_leave(conn);
}

const mg_body_sink mg_conn_sink = { response_data, response_end, response_reset, response_move };
const mg_client_ops mg_conn_client = { client_interim, client_head, client_cut };
