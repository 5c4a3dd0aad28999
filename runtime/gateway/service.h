/* service.h - what a node knows of one service beside its configuration: which hosts are up, what is in
 * flight, how much may be. Made when a snapshot is built, counted by the snapshots that name it; what a later
 * one changes keeps its state (POLICIES 2). Where nothing else is said any thread may call, nothing locks,
 * allocates or waits. */
#ifndef MG_GATEWAY_SERVICE_H
#define MG_GATEWAY_SERVICE_H

#include "gateway/config.h"
#include "gateway/figures.h"
#include "gateway/shared.h"

typedef struct mg_service mg_service;

/* How a host stands; health is the active checks' word alone. */
typedef struct mg_host_view {
    mg_str authority; /* borrowed: as long as the service */
    mg_health_state health;
    bool ejected, usable; /* usable: what balancers go by, panic included */
    uint32_t weight;      /* in force: the configured one, or what probes made of it */
    uint32_t inflight;    /* calls of this node */
    uint64_t since_ns;    /* monotonic: when it came, or came back; 0: it was always there */
} mg_host_view;

struct mg_service {
    _Atomic unsigned refs;
    const mg_config_service *conf; /* borrowed: of the snapshot that made it, which it outlives by none */
    mg_str name;                   /* owned */
    size_t host_count;
    mg_str *authorities;           /* owned */
    mg_breaker *breaker;           /* borrowed: shared; NULL: off, or one a route */
    mg_inflight *inflight;         /* counted */
    mg_ejection *ejection;         /* owned; NULL: off */
    mg_retry_budget *budget;       /* shared with later ones of its name */
    mg_adaptive *adaptive;         /* NULL: off */
    mg_throttle *throttle;         /* NULL: off */
    mg_figures *figures;           /* of all its calls */
    _Atomic uint32_t *concurrent;  /* calls, for breaker.max_concurrent */
    _Atomic uint32_t version;      /* rises when a balancer has something to learn */
    struct mg_service_host *hosts; /* owned */
};

/* For the control thread: what a probe of the host said. `load` NULL: it told no load. A failed probe halves
 * the weight that earlier loads had made. */
typedef struct mg_probe_load {
    double cpu, mem, latency_ms;
} mg_probe_load;
void mg_service_probed(mg_service *service, size_t host, bool ok, const mg_probe_load *load, uint64_t now_ns);

/* How a call to the host ended, for passive ejection: `ok` unless it was a 502, 503, 504, a connection that
 * failed, or a timeout. */
void mg_service_result(mg_service *service, size_t host, bool ok, uint64_t policy_ns);
/* An operator's word about a host: it gets no new requests while down. */
void mg_service_set_down(mg_service *service, size_t host, bool down);

void mg_service_host_view(const mg_service *service, size_t host, uint64_t policy_ns, mg_host_view *out);
bool mg_service_in_panic(const mg_service *service, uint64_t policy_ns);

/* Once a second on the control thread: ends intervals of ejection, feeds the breaker's detector. */
void mg_service_tick(mg_service *service, uint64_t policy_ns, mg_rand *rand);

#endif
