/* upstream_parts.h - what the files of a connection to an endpoint share: upstream.c (leases), endpoint.c,
 * upstream_conn.c, upstream_out.c, upstream_in.c. Nobody else includes it. Whatever calls out may end the
 * connection: enter before, leave after, and look at its state in between. The thread of its loop. */
#ifndef MG_NET_UPSTREAM_PARTS_H
#define MG_NET_UPSTREAM_PARTS_H

#include "net/upstream.h"
#include "net/wire.h"

/* A connection, by what it may be given. Changed by mg_up_to alone. */
typedef enum mg_up_state {
    UP_CONNECTING, /* the pool does not know it yet */
    UP_IDLE,       /* in the pool */
    UP_HANDED,     /* the pool has given it to a lease, whose request starts in its own turn */
    UP_BUSY,       /* its slot has an exchange */
    UP_GONE,       /* closed; freed when the stack has unwound */
} mg_up_state;

/* What a slot sends. Changed by mg_slot_send_to alone. */
typedef enum mg_slot_request {
    SLOT_SENDING,      /* the head, and the body is still to come */
    SLOT_SENT,         /* all of it, to the kernel or to what is held */
    SLOT_TUNNEL,       /* raw bytes, behind a 101 */
    SLOT_TUNNEL_ENDED, /* the client's end has come */
    SLOT_TUNNEL_SHUT,  /* and was sent on */
} mg_slot_request;

/* What has come of its answer. Changed by mg_slot_answer_to alone. */
typedef enum mg_slot_answer {
    SLOT_NONE,   /* no request is on its way */
    SLOT_AWAITS, /* no head but interim ones */
    SLOT_BARE,   /* its head, which is all of it */
    SLOT_BODY,   /* its head; the body is on its way */
} mg_slot_answer;

/* The place of one exchange on a connection: what a lease is lent. HTTP/1 has one. */
typedef struct mg_slot {
    struct mg_upstream_conn *up; /* borrowed: whose it is */
    mg_lease *lease;             /* borrowed; NULL while nobody has it */
    mg_timer timer;              /* of its next move, the upstream's or the lease's deadline */
    uint64_t since_ns;           /* when the wait for the upstream's next move began */
    mg_body_sink sink;           /* of the request body */
    mg_body_source source;       /* of the response body */
    mg_h1_body body;
    mg_slot_request request : 8;
    mg_slot_answer answer : 8;
    bool chunked; /* the request's body goes out in chunks */
    uint8_t interims;
} mg_slot;

typedef struct mg_upstream_conn {
    mg_wire wire;
    mg_pool_conn pooled;
    mg_endpoint *endpoint; /* borrowed: it outlives its connections */
    mg_addr addr;          /* where it goes */
    mg_slot slot;
    mg_up_state state : 8;
    unsigned tries;  /* addresses tried */
    mg_h1_info peer; /* what the upstream said of its connection, in the heads of the last answer */
} mg_up;

static inline mg_loop *mg_up_loop(const mg_up *up)
{
    return up->wire.net->loop;
}

static inline bool mg_slot_is_tunnel(const mg_slot *slot)
{
    return slot->request >= SLOT_TUNNEL;
}

/* ---- states ---- */

void mg_up_to(mg_up *up, mg_up_state state);
void mg_slot_send_to(mg_slot *slot, mg_slot_request request);
void mg_slot_answer_to(mg_slot *slot, mg_slot_answer answer);
/* The slot is the lease's. */
void mg_slot_lend(mg_slot *slot, mg_lease *lease);
/* Parts the lease from its slot and returns it, or NULL; the connection is the caller's now. */
mg_lease *mg_slot_take_back(mg_slot *slot);
void mg_lease_to(mg_lease *lease, mg_lease_state state);

/* ---- the connection ---- */

static inline void mg_up_enter(mg_up *up)
{
    mg_wire_enter(&up->wire);
}
/* The outermost one frees a connection that is gone. */
void mg_up_leave(mg_up *up);
/* Closed, and out of the pool: who waited for its place has it when this returns. */
void mg_up_close(mg_up *up);
/* The same, for callers with a plugin on the stack, where nobody else's lease may be told a thing: who waited
 * has the place behind this turn. */
void mg_up_give_up(mg_up *up);
/* It is of no use any more: closes it, and the lease is replayed, fails or is cut. */
void mg_up_fail(mg_up *up, mg_reset reason);
/* From now on the upstream is waited for, or the deadline of the lease. */
void mg_up_wait(mg_up *up, uint64_t patience_ns);
/* It has no room for what the client sent: from now on the upstream is waited for to read. */
void mg_up_await_room(mg_up *up);
/* A new connection for the lease, which may have failed when this returns. */
void mg_up_connect(mg_lease *lease);
/* Sends the request of the lease that has the slot. */
void mg_up_start(mg_up *up);
/* Only a request that may not be replayed looks: true when nothing has come on the idle connection, neither
 * bytes nor its end. */
bool mg_up_looks_open(mg_up *up, const mg_exchange *x);

/* ---- what it sends and reads ---- */

extern const mg_body_sink mg_up_sink;     /* of the request body: the start of every up->sink */
extern const mg_body_source mg_up_source; /* of the response body: of every up->source */
/* Sends what is held, then lets the source of the body go on. */
void mg_up_flush(mg_up *up);
extern const mg_wire_ops mg_up_wire;

/* ---- leases ---- */

/* A connection for it: an idle one, a new one (the only kind when `fresh`), or the queue's. */
void mg_lease_obtain(mg_lease *lease, bool fresh);
void mg_lease_leave(mg_lease *lease); /* its endpoint */
void mg_lease_fail(mg_lease *lease, mg_reset reason);
bool mg_lease_may_replay(const mg_lease *lease);

/* ---- endpoints ---- */

/* What has become due in the pool: closes, refuses, connects. */
void mg_endpoint_work(mg_endpoint *endpoint);
void mg_endpoint_work_later(mg_endpoint *endpoint);
void mg_endpoint_maybe_free(mg_endpoint *endpoint);
/* The next connection begins with this address, which works. */
void mg_endpoint_prefer(mg_endpoint *endpoint, const mg_addr *addr);
/* Whether a connection to the address may serve another request. */
bool mg_endpoint_keeps(const mg_endpoint *endpoint, const mg_addr *addr);
/* Whether another worker waits for a connection to it. */
bool mg_endpoint_others_wait(const mg_endpoint *endpoint);
/* Ours has joined the queue: idle connections of other workers may hold the places. */
void mg_endpoint_await_place(mg_endpoint *endpoint);

#endif
