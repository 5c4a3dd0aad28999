/* conn_server.c - the connections of one listener on one loop: who is let in, who is turned away, and how all
 * of them end. */
#include "base/mem.h"
#include "net/conn_parts.h"
#include <stdio.h>

void mg_conn_server_init(mg_conn_server *server, mg_net *net, const mg_owner_ops *owner, void *owner_self)
{
    *server =
        (mg_conn_server){ .net = net, .owner = owner, .owner_self = owner_self, .scheme = MG_STR("http") };
    server->limits = (mg_conn_limits){ .h1 = MG_H1_LIMITS_DEFAULT,
                                       .head_timeout_ns = 10 * MG_NS_PER_S,
                                       .body_timeout_ns = 30 * MG_NS_PER_S,
                                       .idle_timeout_ns = 75 * MG_NS_PER_S,
                                       .max_connections = UINT32_MAX,
                                       .max_of_all = UINT32_MAX };
    server->gate = &server->own;
    mg_list_init(&server->conns);
}

/* ---- places ---- */

/* One that is refused is never counted in between, so that it takes nobody else's place. */
static bool enter(mg_conn_gate *gate, uint32_t max)
{
    uint32_t open = atomic_load_explicit(&gate->open, memory_order_relaxed);

    do {
        if (open >= max)
            return false;
    } while (!atomic_compare_exchange_weak_explicit(&gate->open, &open, open + 1, memory_order_relaxed,
                                                    memory_order_relaxed));
    return true;
}

static void leave(mg_conn_gate *gate)
{
    atomic_fetch_sub_explicit(&gate->open, 1, memory_order_relaxed);
}

static bool enter_gates(mg_conn_server *server)
{
    if (!enter(server->gate, server->limits.max_connections))
        return false;
    if (!server->all || enter(server->all, server->limits.max_of_all))
        return true;
    leave(server->gate);
    return false;
}

void mg_conn_leave_gates(mg_conn_server *server)
{
    leave(server->gate);
    if (server->all)
        leave(server->all);
}

/* ---- who is let in ---- */

/* Over the limit: one answer that needs no connection of ours, then the end. */
static void turn_away(mg_conn_server *server, int fd)
{
    mg_loop *loop = server->net->loop;
    char body[192], answer[512];
    const int body_n = snprintf(
        body, sizeof body,
        "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
        "\"detail\":\"The gateway has all the connections it may have.\",\"instance\":\"%016llx\"}\n",
        (unsigned long long)mg_rand_next(&loop->rand));
    const int n = snprintf(answer, sizeof answer,
                           "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n"
                           "content-length: %d\r\nretry-after: 1\r\nconnection: close\r\n\r\n%s",
                           body_n, body);

    atomic_fetch_add_explicit(&server->gate->refused, 1, memory_order_relaxed);
    mg_stream_turn_away(loop, fd, mg_str_make(answer, (size_t)n));
}

static bool is_trusted(const mg_conn_server *server, const mg_addr *peer)
{
    for (size_t i = 0; i < server->trusted_count; i++)
        if (mg_cidr_has(&server->trusted[i], peer))
            return true;
    return false;
}

/* The server drains: who waits for nothing is let go. A request may stand in the socket, though, or behind
 * the one that was answered last; it was sent before anybody said no more, and is answered. */
static void drain_conn(mg_conn *conn)
{
    mg_conn_enter(conn);
    if (conn->state == CONN_IDLE) {
        mg_stream_expect(&conn->wire.stream);
        mg_wire_feed_held(&conn->wire);
        if (!conn->gone)
            mg_wire_read(&conn->wire);
    }
    if (!conn->gone && mg_conn_is_put_off(conn) && conn->wire.in.n) {
        mg_conn_leave(conn);
        return; /* the next turn answers them */
    }
    if (!conn->gone &&
        (conn->state == CONN_IDLE || (conn->state == CONN_LINGER && !mg_stream_can_read(&conn->wire.stream))))
        mg_conn_close(conn, false);
    mg_conn_leave(conn);
}

void mg_conn_accept(mg_conn_server *server, int fd, const mg_addr *peer)
{
    if (!enter_gates(server)) {
        turn_away(server, fd);
        return;
    }
    mg_conn_open(server, fd, peer, is_trusted(server, peer));
    if (server->draining)
        drain_conn(mg_container_of(server->conns.prev, mg_conn, link));
}

void mg_conn_server_drain(mg_conn_server *server)
{
    void (*const drained)(mg_conn_server *) = server->drained;
    mg_list todo, *link;

    server->draining = true;
    server->drained = NULL; /* called once, below */
    mg_list_init(&todo);
    while ((link = mg_list_pop(&server->conns)))
        mg_list_push(&todo, link);
    while ((link = mg_list_pop(&todo))) { /* the end of one may bring the end of others */
        mg_list_push(&server->conns, link);
        drain_conn(mg_container_of(link, mg_conn, link));
    }
    server->drained = drained;
    if (server->count == 0 && drained)
        drained(server);
}

void mg_conn_server_fini(mg_conn_server *server)
{
    server->drained = NULL;
    while (!mg_list_empty(&server->conns)) {
        mg_conn *conn = mg_container_of(server->conns.next, mg_conn, link);
        mg_conn_enter(conn);
        mg_conn_abort(conn, MG_RESET_SHUTDOWN, true);
        mg_conn_leave(conn);
    }
}
