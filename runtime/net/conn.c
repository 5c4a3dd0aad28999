/* conn.c - one client connection: its states, its deadlines, its end.
 *
 *   IDLE -> HEAD -> EXCHANGE -> IDLE | DRAIN | LINGER -> gone
 *
 * What it reads is in conn_in.c, what it writes in conn_out.c, whose it is in conn_server.c. RFC 9112. */
#include "base/check.h"
#include "base/mem.h"
#include "http/problem.h"
#include "net/conn_parts.h"
#include <stdio.h>

#define LINGER_NS       (2 * MG_NS_PER_S)
#define DRAIN_LINGER_NS (200 * MG_NS_PER_MS) /* while the gateway ends, which it is waited for to do */

#define BIT(state) (1u << (state))

/* ---- states ---- */

void mg_conn_to(mg_conn *conn, mg_conn_state state)
{
    static const uint8_t after[] = {
        [CONN_IDLE] = BIT(CONN_HEAD) | BIT(CONN_EXCHANGE) | BIT(CONN_GONE),
        [CONN_HEAD] = BIT(CONN_EXCHANGE) | BIT(CONN_GONE),
        [CONN_EXCHANGE] = BIT(CONN_IDLE) | BIT(CONN_DRAIN) | BIT(CONN_LINGER) | BIT(CONN_GONE),
        [CONN_DRAIN] = BIT(CONN_IDLE) | BIT(CONN_LINGER) | BIT(CONN_GONE),
        [CONN_LINGER] = BIT(CONN_GONE),
        [CONN_GONE] = 0,
    };

    MG_CHECK(after[conn->state] & BIT(state));
    conn->state = state;
}

void mg_conn_request_to(mg_conn *conn, mg_conn_request request)
{
    static const uint8_t after[] = {
        [CONN_NO_BODY] = BIT(CONN_ASKS) | BIT(CONN_BODY) | BIT(CONN_TUNNELS),
        [CONN_ASKS] = BIT(CONN_NO_BODY) | BIT(CONN_BODY) | BIT(CONN_SKIPS),
        [CONN_BODY] = BIT(CONN_NO_BODY) | BIT(CONN_SKIPS),
        [CONN_SKIPS] = BIT(CONN_NO_BODY) | BIT(CONN_TUNNELS),
        [CONN_TUNNELS] = BIT(CONN_NO_BODY),
    };

    MG_CHECK(after[conn->request] & BIT(request));
    conn->request = request;
}

void mg_conn_answer_to(mg_conn *conn, mg_conn_answer answer)
{
    static const uint8_t after[] = {
        [CONN_UNANSWERED] = BIT(CONN_ANSWERS),
        [CONN_ANSWERS] = BIT(CONN_ANSWERED),
        [CONN_ANSWERED] = BIT(CONN_SHUT) | BIT(CONN_UNANSWERED),
        [CONN_SHUT] = BIT(CONN_UNANSWERED),
    };

    MG_CHECK(after[conn->answer] & BIT(answer));
    conn->answer = answer;
}

void mg_conn_ends(mg_conn *conn, mg_conn_fate fate)
{
    if (conn->fate < fate)
        conn->fate = fate;
}

/* ---- ending ---- */

void mg_conn_leave(mg_conn *conn)
{
    mg_conn_server *server = conn->server;

    if (!mg_wire_leave(&conn->wire) || conn->state != CONN_GONE)
        return;
    mg_free(conn);
    mg_conn_server_settle(server);
}

/* The descriptor is closed and the connection is in no list. Freed by the outermost mg_conn_leave. */
void mg_conn_close(mg_conn *conn, bool reset)
{
    if (conn->state == CONN_GONE)
        return;
    mg_conn_to(conn, CONN_GONE);
    mg_wire_close(&conn->wire, reset);
    mg_timer_stop(&conn->timer);
    mg_conn_server_remove(conn->server, &conn->entry);
}

mg_exchange *mg_conn_part(mg_conn *conn)
{
    mg_exchange *x = conn->x;

    if (!x)
        return NULL;
    mg_h1_body *body = conn->side->body;
    if (body) {
        conn->drain_left = (uint32_t)mg_min_u64(body->left, UINT32_MAX);
        mg_h1_body_fini(body);
    }
    conn->x = NULL;
    conn->side = NULL;
    x->client = NULL;
    x->client_self = NULL;
    x->request_body.source = NULL;
    x->response_body.sink = NULL;
    return x;
}

/* The client left or is given up: the owner hears of it, unless it has been told that all is done. */
void mg_conn_abort(mg_conn *conn, mg_reset reason, bool reset)
{
    mg_exchange *x = mg_conn_part(conn);

    mg_conn_close(conn, reset);
    if (x)
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
    const bool quiet = conn->server->draining && !mg_conn_has_body(conn) && !conn->wire.in.n &&
                       !mg_stream_can_read(&conn->wire.stream);

    mg_conn_to(conn, CONN_LINGER);
    conn->dropped = 0;
    if (mg_conn_has_body(conn))
        mg_conn_request_to(conn, CONN_NO_BODY);
    mg_wire_drop_in(&conn->wire);
    mg_stream_shutdown(&conn->wire.stream);
    if (conn->wire.broken || conn->fate == CONN_LAST_WORD || quiet) {
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
    if (conn->fate > CONN_STAYS) {
        if (!mg_conn_has_body(conn) && !conn->wire.in.n && mg_stream_is_ended(&conn->wire.stream))
            mg_conn_close(conn, false);
        else
            linger(conn);
        return;
    }
    if (mg_conn_has_body(conn)) {
        mg_conn_to(conn, CONN_DRAIN);
        mg_conn_set_timer(conn, conn->server->limits.body_timeout_ns);
    } else {
        mg_conn_to(conn, CONN_IDLE);
        mg_conn_set_timer(conn, conn->server->limits.idle_timeout_ns);
    }
    if (conn->wire.in.n || mg_stream_can_read(&conn->wire.stream))
        mg_wire_later(&conn->wire);
}

/* The drained body has ended: conn_next once more. */
static void after_drain(mg_conn *conn)
{
    if (conn->state == CONN_DRAIN && !mg_conn_has_body(conn))
        mg_conn_next(conn);
}

/* ---- what the loop calls ---- */

static void conn_turn(mg_conn *conn)
{
    mg_conn_enter(conn);
    if (conn->wire.broken && conn->x)
        mg_conn_abort(conn, MG_RESET_CLIENT_GONE, true);
    if (conn->state != CONN_GONE &&
        (!mg_wire_is_flushed(&conn->wire) || conn->answer == CONN_ANSWERED || conn->wire.waiting))
        mg_conn_flush(conn);
    if (conn->state != CONN_GONE && conn->wire.in.n)
        mg_wire_feed_held(&conn->wire);
    if (conn->state != CONN_GONE && mg_stream_can_read(&conn->wire.stream))
        mg_wire_read(&conn->wire);
    if (conn->state != CONN_GONE && mg_stream_is_ended(&conn->wire.stream) && mg_conn_is_unread(conn))
        mg_conn_abort(conn, MG_RESET_CLIENT_GONE, true);
    if (conn->state != CONN_GONE)
        after_drain(conn);
    mg_conn_leave(conn);
}

/* False: not yet, and the time for the head goes on; or it failed, and there is nobody to answer. */
static bool greet(mg_conn *conn)
{
    const int greeted = mg_stream_greet(&conn->wire.stream);

    if (greeted > 0) {
        mg_conn_enter(conn);
        mg_conn_close(conn, false);
        mg_conn_leave(conn);
    }
    return greeted == 0;
}

static void on_ready(mg_stream *stream)
{
    mg_conn *conn = mg_container_of(stream, mg_conn, wire.stream);

    if (!mg_stream_is_open(stream) && !greet(conn))
        return;
    /* libevent tells an RST as if there were bytes and room. */
    if (!mg_stream_is_ended(stream) && mg_conn_is_unread(conn))
        mg_wire_look(&conn->wire);
    conn_turn(conn);
}

static void on_later(mg_later *later)
{
    conn_turn(mg_container_of(later, mg_conn, wire.later));
}

/* True when the next move is the client's. */
static bool waits_for_client(const mg_conn *conn)
{
    if (mg_conn_is_tunnel(conn))
        return !mg_wire_is_flushed(&conn->wire);
    return !mg_wire_is_flushed(&conn->wire) || conn->wire.waiting || conn->state == CONN_DRAIN ||
           (conn->request == CONN_BODY && !conn->wire.blocked);
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
            mg_conn_refuse(conn, &fault);
        } else {
            mg_conn_close(conn, false);
        }
    } else if (waits_for_client(conn) && now >= conn->progress_ns + patience) {
        if (conn->x && conn->answer == CONN_UNANSWERED) {
            const mg_h1_fault fault = { .status = 408, .why = "the body did not come in time" };
            mg_conn_refuse(conn, &fault);
            if (conn->state != CONN_GONE)
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

static void open_conn(mg_conn_server *server, int fd, const mg_addr *peer, bool trusted)
{
    char text[MG_ADDR_TEXT];
    const size_t n = mg_min_u64(mg_addr_ip_text(peer, text), MG_CONN_PEER_MAX);
    mg_conn *conn = mg_calloc(1, mg_max_u64(offsetof(mg_conn, peer) + n, sizeof *conn));

    conn->server = server;
    mg_wire_init(&conn->wire, server->net, &mg_conn_wire, on_later);
    conn->peer_trusted = trusted;
    conn->peer_n = (uint8_t)n;
    memcpy(conn->peer, text, n);
    mg_timer_init(&conn->timer, on_timer);
    mg_conn_server_add(server, &conn->entry, &mg_protocol_h1);
    mg_stream_accept(&conn->wire.stream, server->net->loop, fd, server->transport, on_ready);
    mg_conn_set_timer(conn, server->limits.head_timeout_ns);
}

/* ---- what the server asks ---- */

static mg_conn *conn_of(mg_conn_entry *entry)
{
    return mg_container_of(entry, mg_conn, entry);
}

/* A request may stand in the socket, though, or behind the one that was answered last; it was sent before
 * anybody said no more, and is answered. */
static void drain(mg_conn_entry *entry)
{
    mg_conn *conn = conn_of(entry);

    mg_conn_enter(conn);
    if (conn->state == CONN_IDLE && mg_stream_is_open(&conn->wire.stream)) {
        mg_stream_expect(&conn->wire.stream);
        mg_wire_feed_held(&conn->wire);
        mg_wire_read(&conn->wire);
    }
    if (mg_conn_is_put_off(conn) && conn->wire.in.n) {
        mg_conn_leave(conn);
        return; /* the next turn answers them */
    }
    if (conn->state == CONN_IDLE || (conn->state == CONN_LINGER && !mg_stream_can_read(&conn->wire.stream)))
        mg_conn_close(conn, false);
    mg_conn_leave(conn);
}

static void cut(mg_conn_entry *entry)
{
    mg_conn *conn = conn_of(entry);

    mg_conn_enter(conn);
    mg_conn_abort(conn, MG_RESET_SHUTDOWN, true);
    mg_conn_leave(conn);
}

static void turn_away(mg_conn_server *server, int fd)
{
    mg_loop *loop = server->net->loop;
    const mg_problem problem = { .status = 503,
                                 .detail = MG_STR("The gateway has all the connections it may have.") };
    mg_text body = { 0 }, answer = { 0 };
    char id[17];

    if (!server->transport->is_socket) { /* it could not read that */
        mg_stream_turn_away(loop, fd, MG_STR_NONE);
        return;
    }
    snprintf(id, sizeof id, "%016llx", (unsigned long long)mg_rand_next(&loop->rand));
    mg_problem_write(&problem, mg_str_of(id), &body);
    mg_text_addf(&answer,
                 "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n"
                 "content-length: %zu\r\nretry-after: 1\r\nconnection: close\r\n\r\n%s",
                 body.n, body.p);
    mg_stream_turn_away(loop, fd, mg_text_str(&answer));
    mg_text_fini(&body);
    mg_text_fini(&answer);
}

const mg_protocol mg_protocol_h1 = { open_conn, turn_away, drain, cut };
