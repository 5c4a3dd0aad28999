/* services.c - the registry of services: what is kept under a name, the circuits, who is in force. */
#include "gateway/service/service_parts.h"
#include "state/persist.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

mg_services *mg_services_new(mg_shared *shared)
{
    mg_services *services = MG_NEW(mg_services);

    services->shared = shared;
    services->names = mg_map_new(mg_shared_seed(shared));
    services->circuits = mg_map_new(mg_shared_seed(shared));
    return services;
}

void mg_services_set_names(mg_services *services, mg_names *names)
{
    services->lookup = names;
}

static void *cells_new(size_t size, unsigned count)
{
    void *cells = aligned_alloc(64, size * count);

    MG_CHECK(cells);
    memset(cells, 0, size * count);
    return cells;
}

static void name_free(mg_services *services, mg_service_name *name)
{
    if (name->newest && name->newest->ejection)
        mg_persist_drop(mg_shared_persist(services->shared), name->newest);
    mg_service_unref(name->newest);
    for (mg_adaptive_entry *entry = name->adaptives, *older; entry; entry = older) {
        older = entry->older;
        mg_adaptive_free(entry->adaptive);
        mg_free(entry);
    }
    mg_retry_budget_free(name->budget);
    mg_throttle_free(name->throttle);
    mg_figures_free(name->figures);
    free(name->cells);
    mg_free((void *)(uintptr_t)name->name.p);
    mg_free(name);
}

static void circuits_free(mg_map *circuits)
{
    size_t cursor = 0;
    mg_str key;
    void *value;

    while (mg_map_next(circuits, &cursor, &key, &value)) {
        mg_circuit *circuit = value;
        free(circuit->cells);
        mg_free((void *)(uintptr_t)circuit->route.p);
        for (mg_circuit *older; circuit; circuit = older) {
            older = circuit->older;
            mg_free(circuit);
        }
    }
    mg_map_free(circuits);
}

void mg_services_free(mg_services *services)
{
    if (!services)
        return;
    for (mg_service_name *name = services->first, *next; name; name = next) {
        next = name->next;
        name_free(services, name);
    }
    mg_map_free(services->names);
    circuits_free(services->circuits);
    mg_free(services);
}

mg_service_name *mg_services_named(mg_services *services, mg_str name)
{
    return mg_map_get(services->names, name);
}

mg_service_name *mg_services_next(mg_services *services, const mg_service_name *after)
{
    return after ? after->next : services->first;
}

mg_service_name *mg_service_name_of(mg_services *services, mg_str text)
{
    mg_service_name *name = mg_map_get(services->names, text);
    const unsigned workers = mg_shared_workers(services->shared);

    if (name)
        return name;
    name = MG_NEW(mg_service_name);
    name->name = (mg_str){ mg_memdup0(text.p, text.n), text.n };
    name->budget = mg_retry_budget_new();
    name->throttle = mg_throttle_new();
    name->figures = mg_figures_new(workers);
    name->cells = cells_new(sizeof *name->cells, workers);
    name->next = services->first;
    services->first = name;
    (void)mg_map_set(services->names, text, name);
    return name;
}

mg_adaptive *mg_service_name_adaptive(mg_service_name *name, const mg_config_adaptive *conf)
{
    for (mg_adaptive_entry *entry = name->adaptives; entry; entry = entry->older)
        if (mg_digest_eq(entry->block, conf->block))
            return entry->adaptive;
    mg_adaptive_entry *entry = MG_NEW(mg_adaptive_entry);
    *entry = (mg_adaptive_entry){ name->adaptives, conf->block, mg_adaptive_new(&conf->conf) };
    name->adaptives = entry;
    return entry->adaptive;
}

/* "route/service", or "service": a slash is in no name. */
static mg_str circuit_key(char out[160], mg_str service, mg_str route)
{
    const int n = route.n ? snprintf(out, 160, "%.*s/%.*s", MG_STR_ARGS(route), MG_STR_ARGS(service))
                          : snprintf(out, 160, "%.*s", MG_STR_ARGS(service));

    return (mg_str){ out, (size_t)n };
}

static mg_circuit *circuit_new(mg_services *services, const mg_config_service *conf, mg_str route)
{
    mg_service_name *name = mg_service_name_of(services, conf->name);
    mg_circuit *circuit = MG_NEW(mg_circuit);

    circuit->service = name->name;
    if (route.n)
        circuit->route = (mg_str){ mg_memdup0(route.p, route.n), route.n };
    circuit->cells = cells_new(sizeof *circuit->cells, mg_shared_workers(services->shared));
    return circuit;
}

/* From now on it is the newest: takes the place of the one before it in the list of its service. */
static void put_in_list(mg_service_name *name, mg_circuit *circuit, mg_circuit *before)
{
    mg_circuit **place = &name->circuits;

    circuit->older = before;
    while (*place && *place != before)
        place = &(*place)->next;
    circuit->next = *place ? (*place)->next : NULL;
    *place = circuit;
}

static void take_out(mg_circuit *newest, const mg_circuit *circuit)
{
    while (newest->older != circuit)
        newest = newest->older;
    newest->older = circuit->older;
}

mg_circuit *mg_services_circuit(mg_services *services, const mg_config_service *conf, mg_str route)
{
    char text[160];
    const mg_str key = circuit_key(text, conf->name, route);
    mg_breaker *breaker = mg_shared_breaker(services->shared, key, &conf->breaker.conf);
    mg_circuit *newest = mg_map_get(services->circuits, key), *circuit;

    for (circuit = newest; circuit && circuit->breaker != breaker; circuit = circuit->older)
        continue;
    if (circuit && circuit == newest)
        return circuit;
    if (circuit) { /* an earlier configuration has come back */
        take_out(newest, circuit);
    } else if (newest) {
        circuit = MG_NEW(mg_circuit);
        *circuit = *newest;
    } else {
        circuit = circuit_new(services, conf, route);
    }
    circuit->breaker = breaker;
    circuit->slow_call_ns = conf->breaker.conf.slow_call_ms * MG_NS_PER_MS;
    put_in_list(mg_service_name_of(services, conf->name), circuit, newest);
    (void)mg_map_set(services->circuits, key, circuit);
    return circuit;
}

/* ---- the sets of hosts in force ---- */

mg_service *mg_services_take(mg_services *services, const mg_config_service *conf, const mg_str *authorities)
{
    mg_service_name *name = mg_service_name_of(services, conf->name);
    mg_circuit *circuit = conf->breaker.on && !conf->breaker.per_route
                              ? mg_services_circuit(services, conf, MG_STR_NONE)
                              : NULL;
    mg_adaptive *adaptive = conf->adaptive.on ? mg_service_name_adaptive(name, &conf->adaptive) : NULL;

    mg_service_place *places;
    const size_t count = mg_service_places(services, conf, authorities, &places);
    mg_service *service = name->newest;

    if (mg_service_is_same(service, conf, places, count, circuit, adaptive)) {
        atomic_fetch_add(&service->refs, 1);
    } else {
        service = mg_service_new(services, name, conf, places, count);
        service->circuit = circuit;
        service->adaptive = adaptive;
    }
    mg_service_places_free(places, count);
    return service;
}

mg_service *mg_services_renew(mg_services *services, const mg_config_service *conf, const mg_str *authorities,
                              uint64_t now_ns)
{
    mg_service *service = mg_services_take(services, conf, authorities);

    if (service == service->of->newest) {
        mg_service_unref(service);
        return NULL;
    }
    mg_service_adopt(service, now_ns);
    return service;
}
