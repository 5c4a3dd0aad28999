/* sdk_service.c - what plugins see of services (moongate.h): hosts, who is up, what is in flight, the
 * breaker, the connections. By name, or the one of their own request. */
#include "base/mem.h"
#include "gateway/request/flight.h"
#include "gateway/request/split.h"

static const mg_snapshot_service *find(const mg_call *call, const char *name, uint32_t n)
{
    const mg_str wanted = n ? (mg_str){ name, n } : call->service_name;
    const mg_config_service *conf =
        call->snapshot && wanted.n ? mg_config_service_named(call->snapshot->config, wanted) : NULL;

    return conf ? &call->snapshot->services[conf->index] : NULL;
}

/* A service that says `per: route` has one for each route that leads there. */
static mg_breaker *breaker_of(const mg_call *call, const mg_snapshot_service *service)
{
    const mg_flight *flight = call->owner;
    mg_circuit **own = flight && flight->route ? flight->route->circuits : NULL;
    const mg_circuit *circuit = own ? own[service->conf->index] : NULL;

    if (!circuit)
        circuit = service->service->circuit;
    return circuit ? circuit->breaker : NULL;
}

/* The hosts that the worker of a request has. */
static const mg_service *hosts_of(const mg_call *call, const mg_snapshot_service *service)
{
    const mg_flight *flight = call->owner;

    return flight ? flight->view->services[service->conf->index]->service : service->service;
}

static bool is_healthy(const mg_host_view *host)
{
    return host->health != MG_HEALTH_DOWN && !host->ejected && !host->down;
}

static mg_str name_at(const mg_call *call, int what, uint32_t index)
{
    const mg_config *config = call->snapshot ? call->snapshot->config : NULL;

    if (!config)
        return MG_STR_NONE;
    switch (what) {
    case MG_NAMES_SERVICES:
        return index < config->service_count ? config->services[index]->name : MG_STR_NONE;
    case MG_NAMES_LIMITERS:
        return index < config->limiter_count ? config->limiters[index]->name : MG_STR_NONE;
    default: return call->owner ? mg_split_group_at(call->owner, index) : MG_STR_NONE;
    }
}

bool mg_call_name_at(const mg_call *call, int what, uint32_t index, mg_slice *name)
{
    const mg_str found = name_at(call, what, index);

    *name = (mg_slice){ found.p, (uint32_t)found.n };
    return found.p != NULL;
}

const char *mg_call_choose(mg_call *call, bool group, const char *name, uint32_t n)
{
    const mg_str wanted = mg_str_make(name, n);
    mg_flight *flight = call->owner;

    if (call->phase != MG_PHASE_CHAIN)
        return "only a handler chooses where a request goes: in a filter or in log(ctx) it is too late";
    if (call->next_called)
        return "the request has gone already: choose before next(ctx)";
    if (call->x->answer != MG_ANSWER_NONE)
        return "this request is answered: it goes nowhere";
    if (group ? mg_split_choose_group(flight, wanted) : mg_split_choose_service(flight, wanted))
        return NULL;
    return "";
}

bool mg_call_service(const mg_call *call, const char *name, uint32_t n, mg_service_seen *out)
{
    const mg_snapshot_service *found = find(call, name, n);
    mg_host_view host;

    *out = (mg_service_seen){ 0 };
    if (!found)
        return false;
    const uint64_t now_ns = mg_shared_policy_now(call->host->shared);
    const mg_breaker *breaker = breaker_of(call, found);
    const mg_service *service = hosts_of(call, found);
    out->name = (mg_slice){ found->name.p, (uint32_t)found->name.n };
    out->hosts = (uint32_t)service->host_count;
    out->panic = mg_service_in_panic(service, now_ns);
    for (size_t i = 0; i < service->host_count; i++) {
        mg_service_host_view(service, i, now_ns, &host);
        out->healthy += is_healthy(&host);
        out->inflight += host.inflight;
    }
    if (!breaker)
        return true;
    out->breaker = mg_breaker_state_name(mg_breaker_now(breaker, now_ns));
    out->retry_s = mg_host_breaker_retry_s(call->host, breaker);
    return true;
}

bool mg_call_service_host(const mg_call *call, const char *name, uint32_t n, uint32_t index,
                          mg_service_host_seen *out)
{
    const mg_snapshot_service *found = find(call, name, n);
    mg_host_view host;

    const mg_service *service = found ? hosts_of(call, found) : NULL;

    if (!found || index >= service->host_count)
        return false;
    mg_service_host_view(service, index, mg_shared_policy_now(call->host->shared), &host);
    *out = (mg_service_host_seen){
        .authority = { host.authority.p, (uint32_t)host.authority.n },
        .address = { host.address.p, (uint32_t)host.address.n },
        .health = mg_health_state_name(host.health),
        .weight = host.weight,
        .inflight = host.inflight,
        .healthy = is_healthy(&host),
        .ejected = host.ejected,
        .usable = host.usable,
    };
    return true;
}

bool mg_call_service_breaker(const mg_call *call, const char *name, uint32_t n, mg_breaker **out)
{
    const mg_snapshot_service *found = find(call, name, n);

    *out = found ? breaker_of(call, found) : NULL;
    return found != NULL;
}

bool mg_host_pool_view(mg_host *host, const char *service, uint32_t n, mg_pool_view *out)
{
    const mg_worker *worker = mg_container_of(host, mg_worker, host);

    *out = (mg_pool_view){ 0 };
    if (!host->loop || !worker->view)
        return false;
    const mg_config_service *conf =
        mg_config_service_named(worker->view->snapshot->config, (mg_str){ service, n });
    if (!conf)
        return false;
    const mg_view_service *runtime = worker->view->services[conf->index];
    for (size_t e = 0; e < runtime->service->host_count; e++) {
        const mg_pool *pool = &runtime->endpoints[e]->pool;
        out->idle += pool->idle_count;
        out->active += pool->open - pool->idle_count;
        out->waiting += pool->waiting;
        out->open += atomic_load_explicit(&pool->node->open, memory_order_relaxed);
        out->max_connections += conf->pool.max_connections;
    }
    return true;
}
