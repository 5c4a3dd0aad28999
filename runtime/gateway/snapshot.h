/* snapshot.h - a configuration compiled: router, services, routes, the plan of its VMs. Immutable and
 * counted; a worker's view holds one reference and an exchange keeps the view it began with. Built on
 * one thread without side effects; what it shares with others it takes when it is adopted. */
#ifndef MG_GATEWAY_SNAPSHOT_H
#define MG_GATEWAY_SNAPSHOT_H

#include "config/plan.h"
#include "gateway/service/service.h"
#include "gateway/shared.h"
#include "net/conn.h"
#include "net/upstream.h"
#include "policy/router.h"
#include <stdatomic.h>

typedef struct mg_snapshot_service {
    const mg_config_service *conf; /* borrowed: the snapshot's config */
    mg_str name;
    mg_service *service;      /* counted: with the hosts it had when it was adopted; NULL until then */
    mg_lease_conf lease_conf; /* of its calls */
    mg_str *authorities;      /* of each endpoint: "10.0.0.11:9000" */
} mg_snapshot_service;

/* One native item of a chain: a limiter of the configuration. */
typedef struct mg_snapshot_limit {
    const mg_config_limiter *conf;
    mg_limiter *limiter; /* borrowed: shared; NULL when the mode is deny */
    mg_limit_stat *stat; /* borrowed: shared; NULL when there are too many */
} mg_snapshot_limit;

typedef struct mg_snapshot_backend {
    const mg_snapshot_service *service;
    mg_str group;
} mg_snapshot_backend;

/* Several backends of one route (gateway/request/split.h). */
typedef struct mg_snapshot_split {
    const mg_snapshot_backend *backends;
    const mg_rollout_side *sides; /* by backend; the canary's weight is 0: its share is the rollout's word */
    size_t count;
    mg_map *groups;             /* owned: of the backends, by group */
    unsigned fallback;          /* who gets what has no weight at all */
    mg_str salt, canary_salt;   /* of who goes where */
    unsigned canary;            /* its place, when there is a rollout */
    struct mg_rollout_run *run; /* counted; NULL: no rollout, or the snapshot is only looked at */
} mg_snapshot_split;

typedef struct mg_snapshot_route {
    const mg_config_route *conf;
    mg_str name;
    const mg_snapshot_service *service; /* NULL: a plugin has to answer, or the split says who does */
    mg_snapshot_split *split;           /* NULL: nothing to choose */
    const mg_snapshot_limit **limits;   /* the leading native items, in order */
    size_t limit_count;
    mg_circuit **circuits; /* borrowed: of this route's own calls, by service; NULL for one without
                              `per: route`, and NULL where it leads to none that says so */
    uint64_t timeout_ns;
    uint32_t stat;  /* number of this route's name among the metrics' */
    int chain;      /* in the plan, -1: none */
    mg_str plugins; /* of the chain, by name: a JSON array */
} mg_snapshot_route;

/* The places of a listener's connections, over all workers. Counted: it outlives a configuration that keeps
 * the listener. */
typedef struct mg_gate {
    mg_conn_gate conns;
    _Atomic unsigned refs;
    uint64_t told, told_ns; /* worker 0's: how many of the refused the log has told of, and when */
} mg_gate;

void mg_gate_ref(mg_gate *gate);   /* any thread */
void mg_gate_unref(mg_gate *gate); /* any thread; NULL is fine */

typedef struct mg_snapshot {
    _Atomic unsigned refs;
    mg_config *config; /* owned */
    mg_router *router; /* owned; hands out mg_snapshot_route */
    mg_snapshot_route *routes;
    mg_snapshot_service *services;
    mg_snapshot_limit *limits;
    mg_gate **gates; /* counted: by listener; NULL until mg_snapshot_open_gates */
    mg_plan plan;
    uint64_t revision;
    uint32_t max_path_bytes; /* the largest of all routes */
} mg_snapshot;

typedef struct mg_stats mg_stats; /* gateway/observe/metrics.h */

/* Takes the config, which is freed on failure too. NULL when the report got an error. One reference is the
 * caller's. Touches nothing outside of itself: one that is dropped leaves no trace. */
mg_snapshot *mg_snapshot_build(mg_config *config, uint64_t revision, mg_report *report);
/* In force from now on: takes its services, with the hosts that names have now, circuits and limiters, found
 * by name with the state that is kept there, or made. Once, on the control thread, when nothing can refuse it
 * any more and before anybody serves it. `stats` may be NULL; `now_ns` is monotonic. */
void mg_snapshot_adopt(mg_snapshot *snapshot, mg_shared *shared, mg_stats *stats, uint64_t now_ns);
void mg_snapshot_ref(mg_snapshot *snapshot);   /* any thread */
void mg_snapshot_unref(mg_snapshot *snapshot); /* any thread; the last frees */

/* A gate for each listener, that of `before` (may be NULL) where the address is the same. Before it is
 * published. */
void mg_snapshot_open_gates(mg_snapshot *snapshot, const mg_snapshot *before);

/* Router specs of a configuration, for those who want the table alone. `routes` are what matches hand out. */
mg_router *mg_snapshot_router(const mg_config *config, mg_snapshot_route *routes, mg_report *report);

#endif
