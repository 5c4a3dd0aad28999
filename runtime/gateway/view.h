/* view.h - a snapshot as one worker serves it: its services with their hosts, and its Lua state. On the worker's
 * loop. */
#ifndef MG_GATEWAY_VIEW_H
#define MG_GATEWAY_VIEW_H

#include "gateway/snapshot.h"
#include "net/upstream.h"
#include "policy/balancer.h"
#include "script/vm.h"

typedef struct mg_worker mg_worker;
typedef struct mg_worker_change mg_worker_change;

/* What the plugins of one chain take of bodies into memory, at most; 0: nothing. */
typedef struct mg_chain_bodies {
    size_t request_bytes, response_bytes;
} mg_chain_bodies;

/* What a plugin may use, by its place in the plan. */
typedef struct mg_plugin_bounds {
    uint64_t timeout_ns; /* of each of its own waits; 0: none */
    uint64_t cpu_ns;     /* of computing, between two of its waits */
} mg_plugin_bounds;

/* A VM and how many views of this worker use it: a snapshot that leaves the plan alone keeps it. */
typedef struct mg_worker_vm {
    mg_vm *vm;
    struct mg_jobs *jobs;     /* owned: what its plugins run beside requests (gateway/request/job.h) */
    mg_chain_bodies *bodies;  /* owned: by chain */
    mg_plugin_bounds *bounds; /* owned: by plugin */
    uint64_t plan_hash;
    unsigned refs;
} mg_worker_vm;

/* A service as one worker calls it: a set of hosts. Counted by views, which share one where their services
 * are the same, and by calls. */
typedef struct mg_view_service {
    unsigned refs;
    mg_service *service; /* counted */
    mg_balancer *balancer;
    mg_endpoint **endpoints;
    uint32_t stat;
    uint32_t version;   /* of the service, when the balancer learnt of it */
    uint64_t again_ns;  /* policy clock: it has to look again then */
    uint64_t *since_ns; /* of each host: since when the balancer takes it for new */
    uint64_t *avoid_ns; /* of each host: until when others of its endpoint are tried first; 0: it answers */
} mg_view_service;

/* A snapshot as one worker serves it. Counted by this worker's exchanges. */
typedef struct mg_view {
    mg_snapshot *snapshot; /* counted */
    mg_worker *worker;
    mg_worker_vm *vm; /* counted; NULL: no plugins */
    mg_view_service **services;
    unsigned refs;
} mg_view;

void mg_view_service_unref(mg_view_service *runtime); /* NULL is fine */
/* As the worker begins to serve it; one reference is the caller's. What the view in use has of it is shared.
 */
mg_view *mg_view_new(mg_worker *worker, const mg_worker_change *change);
/* New calls go by `next`: hosts that only `old` has keep no connection. `old` may be NULL. */
void mg_view_retire(const mg_view *old, const mg_view *next);
/* The addresses of a service in force have changed: new calls of the worker go to these hosts. */
void mg_view_renew(mg_worker *worker, mg_service *service);
/* A fresh Lua state of the same plan, in a view of its own; requests that run go on in the old one. */
void mg_view_take_vm(mg_worker *worker, mg_vm *vm);
void mg_view_ref(mg_view *view);
void mg_view_unref(mg_view *view); /* NULL is fine */

#endif
