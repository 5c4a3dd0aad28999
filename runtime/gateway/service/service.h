/* service.h - what a node knows of one service beside its configuration: which hosts are up, what is in
 * flight, how much may be. A host is an endpoint at one of its addresses. The set of hosts is made when a
 * snapshot is built, and again when the addresses of a name change; it is counted by those that use it. What
 * a later set has of an earlier one keeps its state (docs/policies.md 2). Where nothing else is said any
 * thread may call, and nothing locks, allocates or waits. */
#ifndef MG_GATEWAY_SERVICE_SERVICE_H
#define MG_GATEWAY_SERVICE_SERVICE_H

#include "config/config.h"
#include "gateway/observe/refusal.h"
#include "gateway/service/figures.h"
#include "gateway/shared.h"

typedef struct mg_service mg_service;
typedef struct mg_services mg_services;
typedef struct mg_persist mg_persist; /* state/persist.h */
typedef struct mg_names mg_names;     /* gateway/service/names.h */

/* What became of calls, one writer each (docs/policies.md 12). */
#define MG_CALL_OUTCOMES(X)                                                                                  \
    X(MG_CALLS_OK, "success")                                                                                \
    X(MG_CALLS_FAILED, "failed")                                                                             \
    X(MG_CALLS_TIMEOUT, "timeout")                                                                           \
    X(MG_CALLS_REJECTED, "rejected")                                                                         \
    X(MG_CALLS_IGNORED, "ignored")                                                                           \
    X(MG_CALLS_LATE, "late")
enum { MG_CALL_OUTCOMES(MG_WORD_ENUM) MG_CALLS };
#define MG_RETRY_OUTCOMES(X)                                                                                 \
    X(MG_RETRIES_SENT, "sent")                                                                               \
    X(MG_RETRIES_BUDGET, "budget")                                                                           \
    X(MG_RETRIES_DEADLINE, "deadline")                                                                       \
    X(MG_RETRIES_BREAKER, "breaker")
enum { MG_RETRY_OUTCOMES(MG_WORD_ENUM) MG_RETRIES };

#define MG_REUSE_RESULTS(X)                                                                                  \
    X(MG_REUSE_HIT, "hit")                                                                                   \
    X(MG_REUSE_MISS, "miss")                                                                                 \
    X(MG_REUSE_STALE, "stale")
enum { MG_REUSE_RESULTS(MG_WORD_ENUM) MG_REUSES };

/* Cells of one worker, for one breaker. */
typedef struct mg_circuit_cells {
    _Alignas(64) mg_cell calls[MG_CALLS];
    mg_cell slow;
} mg_circuit_cells;

/* A breaker with what it saw: one a service, or one a route and service. Lives as long as the registry. */
typedef struct mg_circuit {
    mg_str service, route;           /* no route unless the service says `per: route` */
    mg_breaker *breaker;             /* borrowed: shared */
    mg_circuit_cells *cells;         /* one a worker; those of all configurations of this breaker */
    uint64_t slow_call_ns;           /* 0: no call is slow */
    struct mg_circuit *older, *next; /* an earlier configuration of it; the next of the service */
} mg_circuit;

/* What a worker counts for a service. */
typedef struct mg_service_cells {
    _Alignas(64) mg_cell retries[MG_RETRIES];
    mg_cell reuse[MG_REUSES]; /* of connections */
    mg_cell refused[MG_SERVICE_REFUSALS_COUNT];
    mg_cell dropped_loads; /* of probes, out of range: the control thread counts in the first one */
    mg_histogram call_duration;
} mg_service_cells;

/* What keeps its state whatever becomes of a service's hosts: one a name, as long as the registry. */
typedef struct mg_service_name {
    mg_str name; /* owned, as all that follows */
    mg_retry_budget *budget;
    mg_throttle *throttle;
    mg_figures *figures;         /* of all its calls */
    _Atomic uint32_t concurrent; /* calls, for breaker.max_concurrent */
    _Atomic uint32_t idle_total; /* idle connections to all its hosts, for pool.max_idle_total */
    mg_service_cells *cells;     /* one a worker */
    struct mg_adaptive_entry *adaptives;
    mg_circuit *circuits; /* the newest of each: walk `next` */
    mg_service *newest;   /* counted: the one in force */
    struct mg_service_name *next;
} mg_service_name;

struct mg_service {
    _Atomic unsigned refs;
    mg_service_name *of; /* borrowed: the registry's */
    mg_services *services;
    size_t host_count;
    mg_str *authorities;   /* owned, by host: "cart.internal:9000" */
    mg_str *names;         /* owned, by host: the authority, and "@10.0.0.5" behind one that is a name */
    bool by_key;           /* balancers ask with a key, and go by a table */
    mg_circuit *circuit;   /* borrowed: the registry's; NULL: no breaker, or one a route */
    mg_inflight *inflight; /* counted */
    mg_ejection *ejection; /* owned; NULL: off */
    mg_adaptive *adaptive; /* borrowed: the registry's; NULL: off */
    struct mg_service_host *hosts;  /* owned */
    struct mg_service_rules *rules; /* owned: what it was made of */
    struct mg_service_watch *watch; /* owned; NULL: no detector */
    _Atomic uint32_t version;       /* another one when balancers have something to learn */
    uint64_t sweep_ns;              /* when the interval of ejection ends */
};

/* ---- the registry; the control thread's, as all that is not said otherwise ---- */

mg_services *mg_services_new(mg_shared *shared);
/* Where it looks addresses up (borrowed). */
void mg_services_set_names(mg_services *services, mg_names *names);
void mg_services_free(mg_services *services); /* no snapshot may live */
/* As a snapshot is adopted: the one in force when nothing differs, else a new one, to be adopted itself. One
 * reference is the caller's. */
mg_service *mg_services_take(mg_services *services, const mg_config_service *conf, const mg_str *authorities);
/* Takes over what is known of its hosts, and is in force from now on. `now_ns`
 * is monotonic. */
void mg_service_adopt(mg_service *service, uint64_t now_ns);
/* As names have other addresses: the set that the service in force now has, adopted; NULL when it has it
 * already. `conf` is that of the service in force. One reference is the caller's. */
mg_service *mg_services_renew(mg_services *services, const mg_config_service *conf, const mg_str *authorities,
                              uint64_t now_ns);
void mg_service_ref(mg_service *service);   /* any thread */
void mg_service_unref(mg_service *service); /* any thread; NULL is fine */
/* The circuit of a service, or of a route and service; found or made. */
mg_circuit *mg_services_circuit(mg_services *services, const mg_config_service *conf, mg_str route);
/* Walks all names there ever were: start with NULL. */
mg_service_name *mg_services_next(mg_services *services, const mg_service_name *after);
mg_service_name *mg_services_named(mg_services *services, mg_str name); /* NULL: none */

/* ---- hosts ---- */

/* Its connections and waiting requests, over all workers; borrowed: as long as the service. */
mg_account *mg_service_account(const mg_service *service, size_t host);

/* Its address; NULL: none is known. Borrowed: as long as the service. */
const mg_addr *mg_service_host_addr(const mg_service *service, size_t host);
/* The same as text, for a name's; absent where the authority says it. */
mg_str mg_service_host_address(const mg_service *service, size_t host);
/* How many hosts its endpoint has, itself one of them; they stand together from *first on. */
size_t mg_service_siblings(const mg_service *service, size_t host, size_t *first);
int mg_service_host_named(const mg_service *service, mg_str name); /* -1: none */

/* How a host stands; health is the active checks' word alone. */
typedef struct mg_host_view {
    mg_str authority; /* borrowed: as long as the service */
    mg_str address;   /* the same: of a name, one of its addresses; absent where the authority says it */
    mg_health_state health;
    bool ejected, down, usable; /* down: an operator's word; usable: what balancers go by, panic included */
    uint32_t weight;            /* in force: the configured one, or what probes made of it */
    uint32_t inflight;          /* calls of this node */
    uint64_t since_ns;          /* monotonic: when it came, or came back; 0: it was always there */
} mg_host_view;

void mg_service_host_view(const mg_service *service, size_t host, uint64_t policy_ns, mg_host_view *out);
/* The part of it that no other host has a say in, for balancers: its weight, and when it came or last came
 * back, be it from ejection or behind failures alone (monotonic; 0: it was always there). `policy_ns` and
 * `now_ns` are one moment. */
uint32_t mg_service_host_weight(const mg_service *service, size_t host, uint64_t policy_ns, uint64_t now_ns,
                                uint64_t *since_ns);
bool mg_service_in_panic(const mg_service *service, uint64_t policy_ns);
/* Which hosts balancers are to use: fills `usable` (host_count places) and returns when that must be asked
 * again though the version stays (policy clock; UINT64_MAX: never). */
uint64_t mg_service_usable(const mg_service *service, uint64_t policy_ns, bool *usable);
/* The table of weights in force; counted, the caller's. NULL when the service is not balanced by one, or
 * another thread is just making it: ask again. */
mg_maglev *mg_service_maglev(mg_service *service);
mg_maglev *mg_service_maglev_wait(mg_service *service); /* waits for that other thread */

/* What a probe of the host said; the control thread. `load` NULL: it told none. A failed probe halves the
 * weight that earlier loads had made. True when the host went up or down. */
typedef struct mg_probe_load {
    double cpu, mem, latency_ms;
} mg_probe_load;
bool mg_service_probed(mg_service *service, size_t host, bool ok, const mg_probe_load *load, uint64_t now_ns);
/* How a call to the host ended, for passive ejection: `ok` unless it was a 502, 503, 504, a connection that
 * broke or none, or no answer in time. A host where for a second or more nothing was has come back with the
 * first that is. True when this ejected it. */
bool mg_service_result(mg_service *service, size_t host, bool ok, uint64_t policy_ns);
/* An operator's word about the endpoint of a host: it gets no new requests while down, at no address. */
void mg_service_set_down(mg_service *service, size_t host, bool down, uint64_t now_ns);

/* The next host that was ejected since this last said so, and for how long yet, or whose ejection is over
 * (0); false: no more. The control thread; start with *cursor = 0. */
bool mg_service_next_ejection(mg_service *service, uint64_t policy_ns, size_t *cursor, mg_str *name,
                              uint64_t *left_ns);

/* Once a second on the control thread: ends intervals of ejection, feeds the detector. True when that opened
 * the breaker. */
bool mg_service_tick(mg_service *service, uint64_t policy_ns, mg_rand *rand);

#endif
