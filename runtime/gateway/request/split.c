/* split.c - by the group that the client names, else by a hash of who it is. */
#include "gateway/request/split.h"

#include "base/check.h"
#include "gateway/request/flight.h"
#include "gateway/service/rollout_run.h"

#define GROUP_FIELD MG_STR("x-abtest-group")

static mg_str field(mg_exchange *x, mg_str name)
{
    return mg_fields_value(&x->request.fields, &x->arena, mg_name_find(name), name);
}

/* NULL: the route has no backend of that group. */
static const mg_snapshot_backend *named(const mg_snapshot_split *split, mg_str group)
{
    return group.n ? mg_map_get(split->groups, group) : NULL;
}

/* Of an address all bits count: who shares a network need not share a backend. */
static mg_str key_of(const mg_flight *flight, const mg_config_key_part *part)
{
    const mg_limit_asker asker = mg_flight_asker(flight);

    return part->kind == MG_CONFIG_KEY_IP ? MG_STR_NONE : mg_limit_key_part(&asker, NULL, part);
}

mg_str mg_split_key(const mg_flight *flight)
{
    const mg_config_route *conf = flight->route->conf;
    const mg_str value = conf->sticky ? key_of(flight, &conf->sticky_key) : MG_STR_NONE;

    return value.n ? value : flight->client;
}

/* A canary's share is taken off first; by weight go the others, whose salt is another one, so that they share
 * what is left as they shared the whole. */
static const mg_snapshot_backend *hashed(const mg_snapshot_split *split, mg_str key)
{
    if (split->run && mg_rollout_has(key, split->canary_salt, mg_rollout_run_percent(split->run)))
        return &split->backends[split->canary];
    const int at = mg_rollout_split(key, split->salt, split->sides, split->count);
    return &split->backends[at == MG_ROLLOUT_NO_BACKEND ? split->fallback : (unsigned)at];
}

static void go_to(mg_flight *flight, const mg_snapshot_service *service)
{
    flight->split.service = service;
    if (flight->chain.call)
        mg_call_goes_to(flight->chain.call, service->name);
}

static void tell_group(mg_flight *flight, mg_str group)
{
    mg_fields_set(&flight->x->request.fields, &flight->x->arena, MG_NAME_OTHER, GROUP_FIELD, group);
}

static void take_backend(mg_flight *flight, const mg_snapshot_backend *backend)
{
    flight->split.backend = (unsigned)(backend - flight->route->split->backends);
    go_to(flight, backend->service);
}

void mg_split_choose(mg_flight *flight)
{
    const mg_snapshot_split *split = flight->route->split;

    flight->split.service = flight->route->service;
    if (!split)
        return;
    const mg_snapshot_backend *backend = named(split, field(flight->x, GROUP_FIELD));
    flight->split.side = backend ? MG_SIDE_NAMED : MG_SIDE_HASHED;
    if (!backend) {
        flight->split.key = mg_split_key(flight);
        backend = hashed(split, flight->split.key);
    }
    take_backend(flight, backend);
    tell_group(flight, backend->group);
}

void mg_split_again(mg_flight *flight)
{
    const mg_snapshot_split *split = flight->route->split;

    if (!split || flight->split.side == MG_SIDE_CHOSEN)
        return;
    const mg_str before = split->backends[flight->split.backend].group, group = field(flight->x, GROUP_FIELD);
    const bool stands = mg_str_eq(group, before);
    const mg_snapshot_backend *backend = stands ? NULL : named(split, group);
    if (backend) {
        take_backend(flight, backend);
        return;
    }
    if (flight->split.side == MG_SIDE_NAMED || mg_str_eq(mg_split_key(flight), flight->split.key))
        return;
    backend = hashed(split, mg_split_key(flight));
    take_backend(flight, backend);
    if (stands)
        tell_group(flight, backend->group);
}

/* ---- by a plugin ---- */

static const mg_snapshot_backend *backend_of(const mg_snapshot_split *split,
                                             const mg_snapshot_service *service)
{
    for (size_t i = 0; split && i < split->count; i++)
        if (split->backends[i].service == service)
            return &split->backends[i];
    return NULL;
}

static void choose(mg_flight *flight, const mg_snapshot_service *service, const mg_snapshot_backend *backend)
{
    const mg_snapshot_split *split = flight->route->split;

    if (backend) {
        take_backend(flight, backend);
        tell_group(flight, backend->group);
    } else {
        if (split && flight->split.backend < split->count &&
            mg_str_eq(field(flight->x, GROUP_FIELD), split->backends[flight->split.backend].group))
            (void)mg_fields_remove(&flight->x->request.fields, &flight->x->arena, MG_NAME_OTHER, GROUP_FIELD);
        flight->split.backend = MG_SIDE_NO_BACKEND;
        go_to(flight, service);
    }
    flight->split.side = MG_SIDE_CHOSEN;
}

bool mg_split_choose_service(mg_flight *flight, mg_str name)
{
    const mg_snapshot *snapshot = flight->view->snapshot;
    const mg_config_service *conf = mg_config_service_named(snapshot->config, name);

    if (!conf)
        return false;
    const mg_snapshot_service *service = &snapshot->services[conf->index];
    choose(flight, service, backend_of(flight->route->split, service));
    return true;
}

bool mg_split_choose_group(mg_flight *flight, mg_str group)
{
    const mg_snapshot_route *route = flight->route;
    const mg_snapshot_backend *backend = route->split ? named(route->split, group) : NULL;

    if (route->split ? !backend : !route->service || !mg_str_eq(group, route->conf->group))
        return false;
    choose(flight, backend ? backend->service : route->service, backend);
    return true;
}

mg_str mg_split_group_at(const mg_flight *flight, size_t index)
{
    const mg_snapshot_route *route = flight->route;

    if (route->split)
        return index < route->split->count ? route->split->backends[index].group : MG_STR_NONE;
    return index == 0 ? route->conf->group : MG_STR_NONE;
}

void mg_split_result(const mg_flight *flight, mg_figures_outcome outcome, uint64_t duration_ns)
{
    const mg_snapshot_split *split = flight->route ? flight->route->split : NULL;

    if (split && split->run && flight->split.backend == split->canary)
        mg_rollout_run_result(split->run, flight->worker->index, outcome, duration_ns);
}
