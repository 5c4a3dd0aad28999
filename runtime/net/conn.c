/* conn.c - one client connection: its states, its deadlines, its end.
 *
 *   IDLE -> HEAD -> EXCHANGE -> IDLE | DRAIN | LINGER -> gone
 *
 * What it reads is in conn_in.c, what it writes in conn_out.c, whose it is in conn_server.c. RFC 9112. */
#include "base/mem.h"
#include "net/conn_parts.h"

#define LINGER_NS       (2 * MG_NS_PER_S)
#define DRAIN_LINGER_NS (200 * MG_NS_PER_MS) /* while the gateway ends, which it is waited for to do */

/* ---- ending ---- */

void mg_conn_leave(mg_conn *conn)
{
    mg_conn_server *server = conn->server;

    if (!mg_wire_leave(&conn->wire) || !conn->gone)
        return;
    mg_free(conn);
    if (server->draining && server->count == 0 && server->drained)
        server->drained(server);
}

static void count(mg_conn_server *server, int by)
{
    server->count += (uint32_t)by;
    if (by < 0)
        mg_conn_leave_gates(server);
    if (server->live)
        atomic_fetch_add_explicit(server->live, (uint32_t)by, memory_order_relaxed);
}

/* The descriptor is closed and the connection is in no list. Freed by the outermost mg_conn_leave. */
void mg_conn_close(mg_conn *conn, bool reset)
{
    if (conn->gone)
        return;
    conn->gone = true;
    mg_wire_close(&conn->wire, reset);
    mg_timer_stop(&conn->timer);
    mg_list_remove(&conn->link);
    mg_h1_body_fini(&conn->body);
    count(conn->server, -1);
}

/* The client left or is given up: the owner hears of it, unless it has been told that all is done. */
void mg_conn_abort(mg_conn *conn, mg_reset reason, bool reset)
{
    mg_exchange *x = conn->x;

    conn->x = NULL;
    mg_conn_close(conn, reset);
    if (!x)
        return;
    x->client = NULL;
    x->client_self = NULL;
    x->request_body.source = NULL;
    x->response_body.sink = NULL;
    x->owner->gone(x, reason);
}

/* ---- waiting ---- */

void mg_conn_set_timer(mg_conn *conn, uint64_t after_ns)
{
    mg_timer_set(mg_conn_loop(conn), &conn->timer, mg_add_sat(mg_loop_now(mg_conn_loop(conn)), after_ns));
}

void mg_conn_progress(mg_conn *conn)
{
    conn->progress_ns = mg_loop_now(mg_conn_loop(conn));
}

/* From now on the client is waited for. */
void mg_conn_await(mg_conn *conn)
{
    const uint64_t due = mg_loop_now(mg_conn_loop(conn)) + conn->server->limits.body_timeout_ns;

    mg_conn_progress(conn);
    if (!conn->timer.due_ns || conn->timer.due_ns > due)
        mg_timer_set(mg_conn_loop(conn), &conn->timer, due);
}

/* ---- between exchanges ---- */

static void linger(mg_conn *conn)
{
    /* Nothing that came is unread, so closing sends FIN and no RST: a gateway that ends needs no more. */
    const bool quiet = conn->server->draining && !conn->body_open && !conn->wire.in.n &&
                       !mg_stream_can_read(&conn->wire.stream);

    conn->state = CONN_LINGER;
    conn->dropped = 0;
    mg_h1_body_fini(&conn->body);
    conn->body_open = false;
    mg_net_drop(conn->server->net, &conn->wire.in, conn->wire.in.n);
    mg_stream_shutdown(&conn->wire.stream);
    if (conn->wire.broken || conn->tunnel || quiet) {
        mg_conn_close(conn, false);
        return;
    }
    mg_conn_set_timer(conn, conn->server->draining ? DRAIN_LINGER_NS : LINGER_NS);
    if (mg_stream_can_read(&conn->wire.stream))
        mg_wire_later(&conn->wire);
}

/* Behind a response: another request, the rest of this one, or the end. */
void mg_conn_next(mg_conn *conn)
{
    if (conn->last || !conn->keep_alive) {
        if (!conn->body_open && !conn->wire.in.n && mg_stream_is_ended(&conn->wire.stream))
            mg_conn_close(conn, false);
        else
            linger(conn);
        return;
    }
    if (conn->body_open) {
        conn->state = CONN_DRAIN;
        conn->dropped = 0;
        mg_conn_set_timer(conn, conn->server->limits.body_timeout_ns);
    } else {
        mg_h1_body_fini(&conn->body);
        conn->state = CONN_IDLE;
        mg_conn_set_timer(conn, conn->server->limits.idle_timeout_ns);
    }
    if (conn->wire.in.n || mg_stream_can_read(&conn->wire.stream))
        mg_wire_later(&conn->wire);
}

/* The drained body has ended: conn_next once more. */
static void after_drain(mg_conn *conn)
{
    if (conn->state == CONN_DRAIN && !conn->body_open)
        mg_conn_next(conn);
}

/* ---- what the loop calls ---- */

static void conn_turn(mg_conn *conn)
{
    mg_conn_enter(conn);
    if (conn->wire.broken && conn->x)
        mg_conn_abort(conn, MG_RESET_CLIENT_GONE, true);
    if (!conn->gone && (conn->wire.out.n || conn->end_out || conn->wire.waiting))
        mg_conn_flush(conn);
    if (!conn->gone && conn->wire.in.n)
        mg_wire_feed_held(&conn->wire);
    if (!conn->gone && mg_stream_can_read(&conn->wire.stream))
        mg_wire_read(&conn->wire);
    if (!conn->gone && mg_stream_is_ended(&conn->wire.stream) && mg_conn_is_unread(conn))
        mg_conn_abort(conn, MG_RESET_CLIENT_GONE, true);
    if (!conn->gone)
        after_drain(conn);
    mg_conn_leave(conn);
}

static void on_ready(mg_stream *stream)
{
    mg_conn *conn = mg_container_of(stream, mg_conn, wire.stream);

    /* libevent tells an RST as if there were bytes and room. */
    if (!mg_stream_is_ended(stream) && mg_conn_is_unread(conn) && mg_stream_take_error(stream))
        conn->wire.broken = true;
    conn_turn(conn);
}

static void on_later(mg_later *later)
{
    conn_turn(mg_container_of(later, mg_conn, wire.later));
}

/* True when the next move is the client's. */
static bool waits_for_client(const mg_conn *conn)
{
    if (conn->tunnel)
        return conn->wire.out.n != 0;
    return conn->wire.out.n || conn->wire.waiting || conn->state == CONN_DRAIN ||
           (conn->body_open && !conn->wire.blocked && !conn->awaits_100);
}

static void on_timer(mg_timer *timer)
{
    mg_conn *conn = mg_container_of(timer, mg_conn, timer);
    const uint64_t now = mg_loop_now(mg_conn_loop(conn));
    const uint64_t patience = conn->server->limits.body_timeout_ns;

    mg_conn_enter(conn);
    if (conn->state != CONN_EXCHANGE && conn->state != CONN_DRAIN) {
        if (conn->state == CONN_HEAD) {
            const mg_h1_fault fault = { .status = 408, .why = "the head did not come in time" };
            mg_conn_attach(conn);
            conn->minor = 1;
            mg_conn_refuse(conn, &fault);
        } else {
            mg_conn_close(conn, false);
        }
    } else if (waits_for_client(conn) && now >= conn->progress_ns + patience) {
        if (conn->x && !conn->head_out && !conn->tunnel) {
            const mg_h1_fault fault = { .status = 408, .why = "the body did not come in time" };
            mg_conn_refuse(conn, &fault);
            if (!conn->gone)
                mg_conn_set_timer(conn, patience);
        } else {
            mg_conn_abort(conn, MG_RESET_CLIENT_TIMEOUT, true);
        }
    } else {
        mg_conn_set_timer(conn, waits_for_client(conn) ? conn->progress_ns + patience - now : patience);
    }
    mg_conn_leave(conn);
}

/* ---- the beginning ---- */

void mg_conn_open(mg_conn_server *server, int fd, const mg_addr *peer, bool trusted)
{
    char text[MG_ADDR_TEXT];
    mg_conn *conn = MG_NEW(mg_conn);

    conn->server = server;
    mg_wire_init(&conn->wire, server->net, &mg_conn_wire, on_later);
    conn->state = CONN_IDLE;
    conn->sink = mg_conn_sink;
    conn->source = mg_conn_source;
    conn->peer_trusted = trusted;
    conn->peer_n = (uint8_t)mg_min_u64(mg_addr_ip_text(peer, text), sizeof conn->peer);
    memcpy(conn->peer, text, conn->peer_n);
    mg_timer_init(&conn->timer, on_timer);
    mg_list_push(&server->conns, &conn->link);
    count(server, 1);
    mg_stream_accept(&conn->wire.stream, server->net->loop, fd, &mg_transport_socket, on_ready);
    mg_conn_set_timer(conn, server->limits.head_timeout_ns);
}
