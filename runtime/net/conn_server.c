/* conn_server.c - the connections of one listener on one loop: who is let in, who is turned away, and how all
 * of them end. */
#include "base/mem.h"
#include "net/protocol.h"
#include "net/stream.h"

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
    server->transport = &mg_transport_socket;
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

static void leave_gates(mg_conn_server *server)
{
    leave(server->gate);
    if (server->all)
        leave(server->all);
}

static void count(mg_conn_server *server, int by)
{
    server->count += (uint32_t)by;
    if (server->live)
        atomic_fetch_add_explicit(server->live, (uint32_t)by, memory_order_relaxed);
}

void mg_conn_server_add(mg_conn_server *server, mg_conn_entry *entry, const mg_protocol *protocol)
{
    entry->protocol = protocol;
    mg_list_push(&server->conns, &entry->link);
    count(server, 1);
}

void mg_conn_server_remove(mg_conn_server *server, mg_conn_entry *entry)
{
    mg_list_remove(&entry->link);
    leave_gates(server);
    count(server, -1);
}

void mg_conn_server_settle(mg_conn_server *server)
{
    if (server->draining && server->count == 0 && server->drained)
        server->drained(server);
}

/* ---- who is let in ---- */

static bool is_trusted(const mg_conn_server *server, const mg_addr *peer)
{
    for (size_t i = 0; i < server->trusted_count; i++)
        if (mg_cidr_has(&server->trusted[i], peer))
            return true;
    return false;
}

static mg_conn_entry *entry_at(mg_list *link)
{
    return mg_container_of(link, mg_conn_entry, link);
}

static void drain(mg_conn_entry *entry)
{
    entry->protocol->drain(entry);
}

/* What a new connection speaks. */
static const mg_protocol *choose(const mg_conn_server *server)
{
    (void)server; /* one is all there is; TLS will ask what the client has chosen */
    return &mg_protocol_h1;
}

void mg_conn_accept(mg_conn_server *server, int fd, const mg_addr *peer)
{
    const mg_protocol *protocol = choose(server);

    if (!enter_gates(server)) {
        atomic_fetch_add_explicit(&server->gate->refused, 1, memory_order_relaxed);
        protocol->turn_away(server, fd);
        return;
    }
    protocol->open(server, fd, peer, is_trusted(server, peer));
    if (server->draining)
        drain(entry_at(server->conns.prev));
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
        drain(entry_at(link));
    }
    server->drained = drained;
    if (server->count == 0 && drained)
        drained(server);
}

void mg_conn_server_fini(mg_conn_server *server)
{
    server->drained = NULL;
    while (!mg_list_empty(&server->conns)) {
        mg_conn_entry *entry = entry_at(server->conns.next);
        entry->protocol->cut(entry);
    }
}
