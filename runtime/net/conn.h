/* conn.h - client connections of one listener on one loop: bytes in, exchanges to their owner, answers out,
 * in order. One exchange at a time; pipelined requests wait in one buffer. */
#ifndef MG_NET_CONN_H
#define MG_NET_CONN_H

#include "http/h1.h"
#include "net/net.h"

struct mg_protocol;  /* net/protocol.h */
struct mg_transport; /* net/stream.h */

/* One connection, as its server has it. */
typedef struct mg_conn_entry {
    mg_list link;
    const struct mg_protocol *protocol; /* what it speaks: chosen when it was accepted */
} mg_conn_entry;

typedef struct mg_conn_limits {
    mg_h1_limits h1;
    uint64_t head_timeout_ns; /* from the first byte of a head to its last */
    uint64_t body_timeout_ns; /* without progress: a body that does not come, a response that is not read */
    uint64_t idle_timeout_ns; /* between requests */
    uint32_t max_connections; /* of its gate; above it: 503 */
    uint32_t max_of_all;      /* of the gate of all listeners, where there is one; above it: 503 */
} mg_conn_limits;

/* The places for connections of one listener, on however many loops: exact, for they are counted in one cell.
 * Any thread. */
typedef struct mg_conn_gate {
    _Atomic uint32_t open;
    _Atomic uint64_t refused; /* found no place, ever */
} mg_conn_gate;

/* One listener's connections on one loop. The owner's fields may change at any time between turns. */
typedef struct mg_conn_server {
    mg_net *net;                          /* borrowed */
    const mg_owner_ops *owner;            /* borrowed */
    void *owner_self;                     /* borrowed: x->owner_self of every exchange */
    const struct mg_transport *transport; /* borrowed: what carries the bytes of those that are accepted */
    const void *listener;                 /* borrowed: x->listener of every exchange */
    mg_str scheme;                        /* borrowed: "http" */
    mg_conn_limits limits;
    mg_cidr *trusted; /* borrowed: proxies that are believed */
    size_t trusted_count;
    mg_str trailers; /* borrowed: names of those of requests that are passed on, with commas between */
    mg_list conns;
    mg_conn_gate own;       /* where no other loop has a part in the listener */
    mg_conn_gate *gate;     /* borrowed: of the listener; its own until the owner sets another one */
    mg_conn_gate *all;      /* borrowed, may be NULL: counts the connections of all listeners, too */
    uint32_t count;         /* open connections */
    _Atomic uint32_t *live; /* borrowed, may be NULL: counts with `count`, for other threads to read */
    bool draining;          /* no further request on any of them */
    void (*drained)(struct mg_conn_server *server); /* draining and the last one has gone; may be NULL */
} mg_conn_server;

void mg_conn_server_init(mg_conn_server *server, mg_net *net, const mg_owner_ops *owner, void *owner_self);
/* Takes an accepted descriptor. */
void mg_conn_accept(mg_conn_server *server, int fd, const mg_addr *peer);
/* Idle connections close now, busy ones behind their response. Calls drained at once when there is none. */
void mg_conn_server_drain(mg_conn_server *server);
/* Cuts all. */
void mg_conn_server_fini(mg_conn_server *server);

#endif
