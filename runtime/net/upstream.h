/* upstream.h - endpoints, their pooled connections, and leases: one exchange on one connection. What a
 * service says of its calls belongs to their leases; an endpoint knows only where it is. Belongs to one loop.
 */
#ifndef MG_NET_UPSTREAM_H
#define MG_NET_UPSTREAM_H

#include "base/map.h"
#include "http/h1.h"
#include "net/account.h"
#include "net/net.h"
#include "policy/pool.h"

typedef struct mg_endpoint mg_endpoint;
typedef struct mg_lease mg_lease;

/* The limits and times of a call. */
typedef struct mg_lease_conf {
    mg_pool_conf pool;
    mg_h1_limits h1;
    uint64_t connect_timeout_ns, first_byte_timeout_ns, read_timeout_ns, tunnel_idle_timeout_ns;
} mg_lease_conf;

/* One worker's part of an account: its addresses and its pool. Counted; survives reloads. */
struct mg_endpoint {
    mg_net *net;         /* borrowed */
    mg_map *index;       /* borrowed; NULL once left */
    mg_account *account; /* counted */
    mg_pool pool;
    mg_addr *addrs; /* owned */
    unsigned addr_count, addr_next;
    bool retired; /* no connection is kept any more */
    unsigned refs;
    mg_timer timer; /* of the pool: idle connections and waiters */
    mg_later later; /* what has become due in the pool is looked at behind this turn */
    uint32_t conns; /* open */
    /* Who waits here may be helped by another worker's part of the account, or the other way round: that is
     * to call mg_endpoint_poke on each of those. The owner's; may be NULL. */
    void (*others)(mg_endpoint *endpoint);
    mg_cell stale; /* reused connections that turned out to be closed */
};

/* One reference is the caller's; it takes its own of the account. `index` (borrowed, may be NULL) is where
 * the owner finds it by the account's key: it leaves that with its last reference. */
mg_endpoint *mg_endpoint_new(mg_net *net, mg_account *account, _Atomic uint32_t *idle_total, mg_map *index);
void mg_endpoint_ref(mg_endpoint *endpoint);
/* The last one closes idle connections; the memory goes with the last busy one. */
void mg_endpoint_unref(mg_endpoint *endpoint);
/* Something may have changed for whoever waits: closes an idle connection when another worker waits for its
 * place, takes a place that has become free. */
void mg_endpoint_poke(mg_endpoint *endpoint);
/* From now on; copied. Connections to other addresses are closed as soon as they are idle. */
void mg_endpoint_set_addrs(mg_endpoint *endpoint, const mg_addr *addrs, unsigned count);
/* New requests go elsewhere: its connections are closed as soon as they are idle. Who has it, or waits for a
 * connection, is still served; and it is in use again when `retired` is taken back. */
void mg_endpoint_retire(mg_endpoint *endpoint);

typedef struct mg_lease_ops {
    /* A 1xx that is not 101. */
    void (*interim)(mg_lease *lease, const mg_response *head);
    /* x->response is filled in. Unless it has no body, x->response_body.source is set: call its resume once a
     * sink is there. Behind a 101 x->request_body.sink
     * takes what the client sends. */
    void (*head)(mg_lease *lease);
    /* No head will come. The lease is over. */
    void (*failed)(mg_lease *lease, mg_reset reason);
    /* The response is complete or its sink has been reset, and the lease is over. The body's sink->end, where
     * it is due, is called after this. */
    void (*over)(mg_lease *lease);
    /* The request's head is written and x->request_body.sink set; its source is resumed next. May be NULL. */
    void (*sending)(mg_lease *lease);
} mg_lease_ops;

typedef enum mg_lease_state {
    MG_LEASE_NONE,     /* never started */
    MG_LEASE_WAITS,    /* in the queue, or it was handed a connection in this turn */
    MG_LEASE_CONNECTS, /* for it alone */
    MG_LEASE_RUNS,     /* it has a slot of a connection, and its request is on its way */
    MG_LEASE_OVER,
} mg_lease_state;

/* One exchange on one slot of a connection. The caller's memory; zeroed is a lease that was never started.
 * Others read it, and write `limit` alone, before the start. */
struct mg_lease {
    mg_exchange *x;            /* borrowed */
    mg_endpoint *endpoint;     /* counted */
    const mg_lease_conf *conf; /* borrowed until it is over */
    struct mg_slot *slot;      /* borrowed while it runs: its place on a connection */
    const mg_lease_ops *ops;
    mg_pool_waiter waiter;
    mg_time_limit limit; /* of the response head, on the clocks of x */
    mg_lease_state state;
    bool reused, replayed; /* the connection had served before; this is the second try */
    bool body_taken;       /* request body bytes have left their source */
    bool sent_any;         /* bytes of this request reached the kernel */
    bool client_late;      /* it failed by its deadline, and was still waiting for the request's body */
};

/* Sends x->request (fields as they stand) to the endpoint. x->request_body.source is resumed when there is a
 * connection. `conf` holds for this call alone, whatever others of the endpoint have. `failed` may be called
 * before this returns. */
void mg_lease_start(mg_lease *lease, mg_exchange *x, mg_endpoint *endpoint, const mg_lease_conf *conf,
                    const mg_lease_ops *ops);
/* Bytes of the body have been seen that cannot be asked for again: the connection is not replaced behind the
 * owner's back any more. */
void mg_lease_pin(mg_lease *lease);
/* The exchange ends here: no op is called any more; the connection is closed unless its answer was complete.
 * Harmless when over. */
void mg_lease_cancel(mg_lease *lease);

#endif
