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
                                       .max_connections = UINT32_MAX };
    mg_list_init(&server->conns);
}

/* Over the limit: one answer that needs no connection of ours, then the end. */
static void turn_away(mg_conn_server *server, int fd)
{
    mg_loop *loop = server->net->loop;
    char drop[4096], body[192], answer[512];
    const int body_n = snprintf(
        body, sizeof body,
        "{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
        "\"detail\":\"The gateway has all the connections it may have.\",\"instance\":\"%016llx\"}\n",
        (unsigned long long)mg_rand_next(&loop->rand));
    const int n = snprintf(answer, sizeof answer,
                           "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n"
                           "content-length: %d\r\nretry-after: 1\r\nconnection: close\r\n\r\n%s",
                           body_n, body);
    struct iovec part = { answer, (size_t)n };

    mg_cell_add(&server->refused, 1);
    /* What has come is read, else closing would send RST before the answer is. */
    (void)loop->ops->recv(loop, fd, drop, sizeof drop);
    (void)loop->ops->send(loop, fd, &part, 1);
    loop->ops->shutdown_write(loop, fd);
    loop->ops->close(loop, fd, false);
}

static bool is_trusted(const mg_conn_server *server, const mg_addr *peer)
{
    for (size_t i = 0; i < server->trusted_count; i++)
        if (mg_cidr_has(&server->trusted[i], peer))
            return true;
    return false;
}

void mg_conn_accept(mg_conn_server *server, int fd, const mg_addr *peer)
{
    if (server->count >= server->limits.max_connections) {
        turn_away(server, fd);
        return;
    }
    mg_conn_open(server, fd, peer, is_trusted(server, peer));
}

void mg_conn_server_drain(mg_conn_server *server)
{
    server->draining = true;
    MG_LIST_EACH(&server->conns, link)
    {
        mg_conn *conn = mg_container_of(link, mg_conn, link);
        const bool lingers = conn->state == CONN_LINGER && !conn->stream.readable;
        if ((conn->state == CONN_IDLE || lingers) && !conn->depth) {
            mg_conn_enter(conn);
            mg_conn_close(conn, false);
            conn->depth--;
            mg_free(conn);
        }
    }
    if (server->count == 0 && server->drained)
        server->drained(server);
}

void mg_conn_server_fini(mg_conn_server *server)
{
    server->drained = NULL;
    MG_LIST_EACH(&server->conns, link)
    {
        mg_conn *conn = mg_container_of(link, mg_conn, link);
        mg_conn_enter(conn);
        mg_conn_abort(conn, MG_RESET_SHUTDOWN, true);
        mg_conn_leave(conn);
    }
}
