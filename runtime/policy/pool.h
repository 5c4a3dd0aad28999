/* pool.h - which idle connection to take, who waits, who is evicted (docs/policies.md 6). Bookkeeping only:
 * the caller connects, closes and keeps the timer.
 *
 * One mg_pool for each worker and account, used on that worker's thread alone. An account is what one service
 * has at one address: its pools in all workers share one mg_pool_node, which counts for the whole process. A
 * pool has no limits of its own: every call brings those of its request, so that requests of two configurations
 * of a service, before and after a reload, each keep to theirs. Connections and waiters are the caller's.
 *
 *   from        to                  how
 *   -           connecting          take -> CONNECT: a slot is held; the caller connects
 *   connecting  active              mg_pool_opened
 *   connecting  -                   mg_pool_connect_failed: the slot goes on
 *   idle        active              take -> REUSED
 *   active      idle                mg_pool_give -> KEPT
 *   active      active              mg_pool_give -> HANDED: for a waiter; -> CLOSE: the caller closes it
 *   idle        taken out           mg_pool_remove, when the loop saw READ or CLOSED on it; mg_pool_pop_closing
 *   active, taken out  -            mg_pool_closed, exactly once, when the caller has closed it
 *
 * After take, give, closed, connect_failed, expire and wait_cancel the caller empties what has become due:
 * mg_pool_pop_closing, mg_pool_pop_ready, and after expire mg_pool_pop_late. */
#ifndef MG_POLICY_POOL_H
#define MG_POLICY_POOL_H

#include "base/list.h"
#include "base/rand.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct mg_pool_conf {
    uint32_t max_connections; /* open at once over all workers; 0 = none */
    uint32_t max_idle;        /* idle at once over all workers */
    uint32_t max_idle_total;  /* the same over all accounts of mg_pool_init's idle_total, if there is one */
    uint32_t queue;           /* waiters over all workers; 0 = nobody waits */
    uint32_t max_requests;    /* on one connection, +-10 %; 0 = no end */
    uint64_t idle_timeout_ns;
    uint64_t queue_timeout_ns;
    uint64_t max_age_ns; /* +-10 %; 0 = no end */
} mg_pool_conf;

/* What the workers' pools of one account share. Zeroed is valid. Outlives the pools. */
typedef struct mg_pool_node {
    _Atomic uint32_t open; /* connecting, active or idle */
    _Atomic uint32_t idle;
    _Atomic uint32_t waiting;
} mg_pool_node;

typedef struct mg_pool {
    mg_pool_node *node;                 /* borrowed: the account's */
    _Atomic uint32_t *idle_total;       /* borrowed; may be NULL */
    mg_rand *rand;                      /* borrowed: the worker's */
    mg_list idle;                       /* the latest first */
    mg_list waiters;                    /* the first comer first */
    mg_list closing, late;              /* what the caller still has to pop */
    uint32_t open, idle_count, waiting; /* this worker's part */
    uint64_t hits, misses;              /* takes that reused; takes that connected */
} mg_pool;

enum mg_pool_conn_state { MG_POOL_CONN_NONE, MG_POOL_CONN_ACTIVE, MG_POOL_CONN_IDLE, MG_POOL_CONN_CLOSING };

/* Stands inside the caller's connection. The caller reads, only the pool writes. */
typedef struct mg_pool_conn {
    mg_list link;
    enum mg_pool_conn_state state;
    uint32_t requests;     /* handed out so far */
    uint32_t requests_max; /* drawn when it opened */
    uint64_t opened_at_ns;
    uint64_t retires_at_ns;                /* drawn when it opened; UINT64_MAX = never */
    uint64_t idle_since_ns, idle_until_ns; /* while idle */
} mg_pool_conn;

/* Stands inside whatever waits. Zeroed is valid. */
typedef struct mg_pool_waiter {
    mg_list link;
    const mg_pool_conf *conf; /* borrowed: of the take that queued it */
    bool queued;
    bool fresh; /* take_new: no reused connection will do */
    uint64_t expires_at_ns;
} mg_pool_waiter;

typedef enum mg_pool_verdict {
    MG_POOL_REUSED,  /* *conn is the caller's, active */
    MG_POOL_CONNECT, /* the caller holds a slot and opens a connection */
    MG_POOL_WAIT,    /* the waiter stands in the queue */
    MG_POOL_FULL,    /* no connection, no place in the queue: 503, reason `pool` */
} mg_pool_verdict;

typedef enum mg_pool_given {
    MG_POOL_KEPT,   /* idle; watch it for READ and CLOSED */
    MG_POOL_HANDED, /* active for *waiter */
    MG_POOL_CLOSE,  /* had its requests or its time, or enough are idle: close it, then mg_pool_closed */
} mg_pool_given;

void mg_pool_init(mg_pool *pool, mg_pool_node *node, _Atomic uint32_t *idle_total, mg_rand *rand);
/* Nothing may be open or waiting any more. */
void mg_pool_fini(mg_pool *pool);

/* `conf` holds for this request, and so does its idle_timeout_ns for the connections that idle, where it is
 * less than the one they were given back with; it is borrowed while the waiter is queued. *conn is set for
 * REUSED only. `waiter` may be NULL: then FULL instead of WAIT. Whoever came earlier is served first, so WAIT
 * is possible with a slot free: pop_ready then names the one it is for. */
mg_pool_verdict mg_pool_take(mg_pool *pool, const mg_pool_conf *conf, uint64_t now_ns, mg_pool_waiter *waiter,
                             mg_pool_conn **conn);
/* A connection of one's own for a request that must not go over a reused one: CONNECT, WAIT or FULL. */
mg_pool_verdict mg_pool_take_new(mg_pool *pool, const mg_pool_conf *conf, uint64_t now_ns,
                                 mg_pool_waiter *waiter);

/* The slot that CONNECT gave has become `conn`, which is active and carries its first request. Its age and
 * number of requests are bounded by the `conf` of that one. */
void mg_pool_opened(mg_pool *pool, const mg_pool_conf *conf, mg_pool_conn *conn, uint64_t now_ns);
/* The slot that CONNECT gave has come to nothing. */
void mg_pool_connect_failed(mg_pool *pool);

/* The exchange on `conn`, which had `conf`, has ended and another may follow. `peer_idle_ns` is what the
 * peer's Keep-Alive allows, less the second of grace; 0 when it said nothing. *waiter is set for HANDED only.
 */
mg_pool_given mg_pool_give(mg_pool *pool, const mg_pool_conf *conf, mg_pool_conn *conn, uint64_t now_ns,
                           uint64_t peer_idle_ns, mg_pool_waiter **waiter);
/* Takes an idle connection out, for the loop saw READ or CLOSED on it. False when it is not idle: nothing
 * changed. */
bool mg_pool_remove(mg_pool *pool, mg_pool_conn *conn);
/* The connection is closed; its memory is the caller's alone again. */
void mg_pool_closed(mg_pool *pool, mg_pool_conn *conn);

/* The waiter leaves the queue, if it stands there; harmless otherwise. */
void mg_pool_wait_cancel(mg_pool *pool, mg_pool_waiter *waiter);

/* Moves idle connections and waiters whose time is over to where pop_closing and pop_late find them. Returns
 * the moment at which the next one is due, UINT64_MAX when there is none. */
uint64_t mg_pool_expire(mg_pool *pool, uint64_t now_ns);
/* The longest idle one is to be closed, because another worker starves: pop_closing gives it. False when none
 * is. */
bool mg_pool_shed(mg_pool *pool);
/* An idle one is to be closed, because it must serve nobody any more: pop_closing gives it. */
void mg_pool_condemn(mg_pool *pool, mg_pool_conn *conn);
/* All idle ones are to be closed: the endpoint leaves. */
void mg_pool_shed_all(mg_pool *pool);

/* A connection to close (then mg_pool_closed), or NULL. */
mg_pool_conn *mg_pool_pop_closing(mg_pool *pool);
/* A waiter whose time is over, or NULL. */
mg_pool_waiter *mg_pool_pop_late(mg_pool *pool);
/* A waiter that now holds a slot, as if take had said CONNECT; or NULL. */
mg_pool_waiter *mg_pool_pop_ready(mg_pool *pool);

#endif
