/* service_parts.h - what service.c and service_hosts.c (one set of hosts) and services.c (the registry)
 * share; for these alone. Threads as service.h says. */
#ifndef MG_GATEWAY_SERVICE_SERVICE_PARTS_H
#define MG_GATEWAY_SERVICE_SERVICE_PARTS_H

#include "base/map.h"
#include "gateway/service/names.h"
#include "gateway/service/service.h"
#include "policy/maglev.h"
#include "state/persist.h"

#include <pthread.h>

enum { MG_SERVICE_WINDOW = 600 }; /* seconds: the longest a breaker has */

typedef struct mg_service_host {
    mg_account *account; /* counted */
    mg_addr addr;        /* n 0: none is known */
    uint32_t endpoint;   /* its place in the document */
    uint32_t base;       /* its share of the configured weight */
    mg_health active;    /* the control thread's */
    double raw;          /* the weight by its reported loads; 0 if no load was reported */
    uint64_t told_ns;    /* the same: until when it was last said to be ejected */
    _Atomic uint32_t weight, health;
    _Atomic bool down;
    _Atomic uint64_t since_ns;
    _Atomic uint64_t failing_ns,
        back_ns; /* policy clock: since its last good answer; when it had one again */
} mg_service_host;

/* What a service was made of, as far as two may differ in it. */
typedef struct mg_service_rules {
    mg_digest block; /* of the document: what it is compared by */
    mg_balancer_algorithm balance;
    uint64_t ewma_tau_ms, ewma_penalty_ms, slow_start_ms;
    uint32_t maglev_size, bound_milli, panic_percent;
    double slow_start_min;
    bool health, detect;
    mg_health_conf health_conf;
    mg_detector_kind detector;
    uint32_t min_calls;
    mg_config_eject eject;
    pthread_mutex_t table_lock;
    mg_maglev *table; /* counted, under the lock */
} mg_service_rules;

/* What the detector of a service looks at. */
typedef struct mg_service_watch {
    mg_detector detector;
    mg_figures_sum before;                  /* at the last tick */
    uint64_t totals[MG_SERVICE_WINDOW + 1]; /* calls so far, at the last ticks: a ring */
    unsigned tick, window_s;                /* the breaker's window */
} mg_service_watch;

typedef struct mg_adaptive_entry {
    struct mg_adaptive_entry *older;
    mg_digest block;
    mg_adaptive *adaptive; /* owned */
} mg_adaptive_entry;

/* What a host is made of: an endpoint of the document, at one of its addresses. */
typedef struct mg_service_place {
    mg_str authority, name; /* owned */
    mg_addr addr;
    uint32_t endpoint, weight;
} mg_service_place;

/* The hosts of a service as its names stand now; owned by the caller. An endpoint of which no address is
 * known has one host, without any. */
size_t mg_service_places(mg_services *services, const mg_config_service *conf, const mg_str *authorities,
                         mg_service_place **out);
void mg_service_places_free(mg_service_place *places, size_t count);

/* Whether a set of hosts is what one made of these would be. `service` may be NULL. */
bool mg_service_is_same(const mg_service *service, const mg_config_service *conf,
                        const mg_service_place *places, size_t count, const mg_circuit *circuit,
                        const mg_adaptive *adaptive);
/* A set of hosts that is not in force yet; one reference is the caller's. */
mg_service *mg_service_new(mg_services *services, mg_service_name *name, const mg_config_service *conf,
                           mg_service_place *places, size_t count);

/* Of its ejections; `self` is a mg_service. */
extern const mg_keep_ops mg_service_keep_ops;

struct mg_services {
    mg_shared *shared; /* borrowed */
    mg_names *lookup;  /* borrowed; NULL: only literal addresses are known */
    mg_map *names;     /* owned: mg_service_name */
    mg_map *circuits;  /* owned: the newest mg_circuit, by route and service */
    mg_service_name *first;
};

mg_service_name *mg_service_name_of(mg_services *services, mg_str name);
/* The one with that configuration: found or made. */
mg_adaptive *mg_service_name_adaptive(mg_service_name *name, const mg_config_adaptive *conf);

#endif
