/* snapshot.c - a configuration compiled. */
#include "gateway/snapshot.h"

#include "base/mem.h"
#include "gateway/observe/metrics.h"
#include "gateway/service/rollout_run.h"

static const mg_node *part_node(const mg_config_route *route, mg_route_part part, size_t item)
{
    if (part == MG_ROUTE_PART_PATH && item < route->path_count && route->paths[item].node)
        return route->paths[item].node;
    return route->node;
}

/* Says in which line of the document a finding of the router's stands. */
static void place(void *self, uint32_t index, mg_route_part part, size_t item, mg_finding *finding)
{
    const mg_config *config = self;
    const mg_node *node = part_node(config->routes[index], part, item);
    mg_text path = { 0 };

    if (!node || !node->source)
        return;
    mg_finding_place(finding, node->source->file, node->line, node->column, node->width,
                     mg_source_line(node->source, node->line));
    mg_node_path(node, &path);
    mg_finding_pointer(finding, mg_text_str(&path));
    mg_text_fini(&path);
}

static bool add_route(mg_router_builder *builder, const mg_config_route *conf, mg_snapshot_route *route,
                      mg_report *report)
{
    mg_route_path *paths = MG_NEW_N(mg_route_path, conf->path_count + 1);
    mg_route_header *headers = MG_NEW_N(mg_route_header, conf->header_count + 1);

    for (size_t i = 0; i < conf->path_count; i++)
        paths[i] = (mg_route_path){ conf->paths[i].text, conf->paths[i].kind == MG_CONFIG_PATH_PREFIX };
    for (size_t i = 0; i < conf->header_count; i++)
        headers[i] = (mg_route_header){ conf->headers[i].name, conf->headers[i].value };
    const mg_route_spec spec = {
        .name = conf->name,
        .hosts = conf->hosts,
        .host_count = conf->host_count,
        .paths = paths,
        .path_count = conf->path_count,
        .methods = conf->methods,
        .method_count = conf->method_count,
        .headers = headers,
        .header_count = conf->header_count,
        .priority = conf->priority,
        .keeps_slashes = conf->keeps_slashes,
    };
    const bool ok = mg_router_add(builder, &spec, route, conf->index, report);
    mg_free(paths);
    mg_free(headers);
    return ok;
}

mg_router *mg_snapshot_router(const mg_config *config, mg_snapshot_route *routes, mg_report *report)
{
    mg_router_builder *builder = mg_router_builder_new(0x6d6f6f6e, place, (void *)(uintptr_t)config);
    mg_router *router = NULL;
    bool ok = true;

    for (size_t i = 0; i < config->route_count; i++)
        ok &= add_route(builder, config->routes[i], &routes[i], report);
    if (ok)
        router = mg_router_build(builder, report);
    mg_router_builder_free(builder);
    return router;
}

static void fill_lease_conf(mg_lease_conf *out, const mg_config_service *conf)
{
    const mg_config_pool *pool = &conf->pool;
    mg_h1_limits h1 = MG_H1_LIMITS_DEFAULT;

    h1.head_bytes = h1.trailer_bytes = conf->max_head_bytes;
    h1.fields = conf->max_fields;
    *out = (mg_lease_conf){
        .pool = { .max_connections = pool->max_connections,
                  .max_idle = pool->max_idle,
                  .max_idle_total = pool->max_idle_total,
                  .queue = pool->queue,
                  .max_requests = pool->max_requests,
                  .idle_timeout_ns = pool->idle_timeout_ms * MG_NS_PER_MS,
                  .queue_timeout_ns = pool->queue_timeout_ms * MG_NS_PER_MS,
                  .max_age_ns = pool->max_age_ms * MG_NS_PER_MS },
        .h1 = h1,
        .connect_timeout_ns = pool->connect_timeout_ms * MG_NS_PER_MS,
        .first_byte_timeout_ns = conf->first_byte_timeout_ms * MG_NS_PER_MS,
        .read_timeout_ns = conf->read_timeout_ms * MG_NS_PER_MS,
        .tunnel_idle_timeout_ns = conf->tunnel_idle_timeout_ms * MG_NS_PER_MS,
    };
}

static void fill_services(mg_snapshot *snapshot)
{
    const mg_config *config = snapshot->config;
    mg_arena *arena = &snapshot->config->arena;

    snapshot->services = MG_ARENA_NEW_N(arena, mg_snapshot_service, config->service_count + 1);
    for (size_t i = 0; i < config->service_count; i++) {
        mg_snapshot_service *service = &snapshot->services[i];
        service->conf = config->services[i];
        service->name = service->conf->name;
        fill_lease_conf(&service->lease_conf, service->conf);
        service->authorities = MG_ARENA_NEW_N(arena, mg_str, service->conf->endpoint_count);
        for (size_t e = 0; e < service->conf->endpoint_count; e++) {
            const mg_config_endpoint *endpoint = &service->conf->endpoints[e];
            const bool v6 = mg_str_find(endpoint->host, ':') != SIZE_MAX;
            service->authorities[e] = mg_arena_printf(arena, v6 ? "[%.*s]:%u" : "%.*s:%u",
                                                      MG_STR_ARGS(endpoint->host), endpoint->port);
        }
    }
}

static void add_circuit(mg_snapshot *snapshot, mg_shared *shared, mg_snapshot_route *route,
                        const mg_config_service *conf)
{
    if (!conf || !conf->breaker.on || !conf->breaker.per_route)
        return;
    if (!route->circuits)
        route->circuits =
            MG_ARENA_NEW_N(&snapshot->config->arena, mg_circuit *, snapshot->config->service_count);
    route->circuits[conf->index] = mg_services_circuit(mg_shared_services(shared), conf, route->name);
}

/* A plugin on the route may send its requests to any service, or ask one with ctx.http. */
static bool may_go_anywhere(const mg_snapshot *snapshot, const mg_config_route *conf)
{
    for (size_t i = 0; i < conf->item_count; i++)
        if (conf->items[i].plugin && snapshot->plan.chooses[conf->items[i].plugin->index])
            return true;
    return false;
}

static void take_circuits(mg_snapshot *snapshot, mg_shared *shared, mg_snapshot_route *route)
{
    const mg_config_route *conf = route->conf;

    add_circuit(snapshot, shared, route, conf->service);
    for (size_t i = 0; i < conf->backend_count; i++)
        add_circuit(snapshot, shared, route, conf->backends[i].service);
    for (size_t i = 0; may_go_anywhere(snapshot, conf) && i < snapshot->config->service_count; i++)
        add_circuit(snapshot, shared, route, snapshot->config->services[i]);
}

static void fill_limits(mg_snapshot *snapshot)
{
    const mg_config *config = snapshot->config;

    snapshot->limits = MG_ARENA_NEW_N(&snapshot->config->arena, mg_snapshot_limit, config->limiter_count + 1);
    for (size_t i = 0; i < config->limiter_count; i++)
        snapshot->limits[i].conf = config->limiters[i];
}

static void take_limit(mg_snapshot_limit *limit, mg_shared *shared)
{
    if (limit->conf->mode != MG_CONFIG_DENY)
        limit->limiter = mg_shared_rule(shared, limit->conf);
    limit->stat = mg_limit_stats_named(mg_shared_limit_stats(shared), limit->conf->name);
}

/* Where a rollout takes its share off first, the others are chosen by another salt than it is. */
static mg_snapshot_split *split_of(mg_snapshot *snapshot, const mg_config_route *conf)
{
    mg_arena *arena = &snapshot->config->arena;

    if (conf->backend_count < 2)
        return NULL;
    mg_snapshot_split *split = MG_ARENA_NEW_N(arena, mg_snapshot_split, 1);
    mg_snapshot_backend *backends = MG_ARENA_NEW_N(arena, mg_snapshot_backend, conf->backend_count);
    mg_rollout_side *sides = MG_ARENA_NEW_N(arena, mg_rollout_side, conf->backend_count);
    mg_map *groups = mg_map_new(mg_rand_system_seed());
    for (size_t i = 0; i < conf->backend_count; i++) {
        const mg_config_backend *backend = &conf->backends[i];
        backends[i] = (mg_snapshot_backend){ &snapshot->services[backend->service->index], backend->group };
        (void)mg_map_set(groups, backend->group, &backends[i]);
        sides[i] = mg_rollout_side_of(backend->group,
                                      conf->rollout.on && i == conf->rollout.to ? 0 : backend->weight);
    }
    *split = (mg_snapshot_split){
        .backends = backends,
        .sides = sides,
        .count = conf->backend_count,
        .groups = groups,
        .fallback = conf->rollout.on && conf->rollout.to == 0 ? 1 : 0,
        .salt =
            conf->rollout.on ? mg_arena_printf(arena, "%.*s|others", MG_STR_ARGS(conf->name)) : conf->name,
        .canary_salt = conf->rollout.id,
        .canary = conf->rollout.to,
    };
    return split;
}

static mg_str plugin_names(mg_snapshot *snapshot, const mg_config_route *conf)
{
    mg_text text = { 0 };
    mg_json_out json = { .text = &text };

    mg_json_out_list(&json, NULL);
    for (size_t i = 0; i < conf->item_count; i++)
        if (conf->items[i].kind == MG_CONFIG_ITEM_PLUGIN)
            mg_json_out_text(&json, NULL, conf->items[i].plugin->name);
    mg_json_out_end(&json);
    const mg_str names = mg_arena_str(&snapshot->config->arena, mg_text_str(&text));
    mg_text_fini(&text);
    return names;
}

static void fill_routes(mg_snapshot *snapshot)
{
    const mg_config *config = snapshot->config;
    mg_arena *arena = &snapshot->config->arena;

    for (size_t i = 0; i < config->route_count; i++) {
        mg_snapshot_route *route = &snapshot->routes[i];
        route->conf = config->routes[i];
        route->name = route->conf->name;
        route->service = route->conf->service ? &snapshot->services[route->conf->service->index] : NULL;
        route->split = split_of(snapshot, route->conf);
        route->timeout_ns = route->conf->timeout_ms * MG_NS_PER_MS;
        route->chain = snapshot->plan.chains[i];
        if (route->chain >= 0)
            route->plugins = plugin_names(snapshot, route->conf);
        route->limit_count = snapshot->plan.leading[i];
        route->limits = MG_ARENA_NEW_N(arena, const mg_snapshot_limit *, route->limit_count + 1);
        for (size_t l = 0; l < route->limit_count; l++)
            route->limits[l] = &snapshot->limits[route->conf->items[l].limiter->index];
        snapshot->max_path_bytes = route->conf->max_path_bytes > snapshot->max_path_bytes
                                       ? route->conf->max_path_bytes
                                       : snapshot->max_path_bytes;
    }
}

/* Whether the system has the memory for all keys of all limiters: then it is not found out while they are put
 * in force. */
static bool check_memory(const mg_config *config, mg_report *report)
{
    size_t *bytes = MG_NEW_N(size_t, config->limiter_count);
    size_t given;

    for (size_t i = 0; i < config->limiter_count; i++)
        bytes[i] = (size_t)mg_config_limiter_bytes(config->limiters[i]);
    given = mg_mem_given(bytes, config->limiter_count);
    if (given < config->limiter_count)
        mg_finding_hint(
            mg_node_error(report, config->limiters[given]->node, "out-of-range",
                          "the system does not give this process the %zu MiB that this limiter takes "
                          "when it is full of keys",
                          bytes[given] >> 20),
            "lower max_keys, or raise the process's limit of memory");
    mg_free(bytes);
    return given == config->limiter_count;
}

mg_snapshot *mg_snapshot_build(mg_config *config, uint64_t revision, mg_report *report)
{
    mg_snapshot *snapshot = MG_NEW(mg_snapshot);

    atomic_init(&snapshot->refs, 1);
    snapshot->config = config;
    snapshot->revision = revision;
    snapshot->routes = MG_ARENA_NEW_N(&config->arena, mg_snapshot_route, config->route_count + 1);
    const bool planned = mg_plan_build(&snapshot->plan, config, report);
    snapshot->router = mg_snapshot_router(config, snapshot->routes, report);
    if (!planned || !snapshot->router || !check_memory(config, report)) {
        mg_snapshot_unref(snapshot);
        return NULL;
    }
    fill_services(snapshot);
    fill_limits(snapshot);
    fill_routes(snapshot);
    return snapshot;
}

void mg_snapshot_adopt(mg_snapshot *snapshot, mg_shared *shared, mg_stats *stats, uint64_t now_ns)
{
    const mg_config *config = snapshot->config;

    for (size_t i = 0; i < config->service_count; i++) {
        mg_snapshot_service *service = &snapshot->services[i];
        service->service = mg_services_take(mg_shared_services(shared), service->conf, service->authorities);
        mg_service_adopt(service->service, now_ns);
    }
    for (size_t i = 0; i < config->limiter_count; i++)
        take_limit(&snapshot->limits[i], shared);
    for (size_t i = 0; i < config->route_count; i++) {
        take_circuits(snapshot, shared, &snapshot->routes[i]);
        if (stats)
            snapshot->routes[i].stat = mg_stats_route(stats, snapshot->routes[i].name);
    }
}

/* ---- gates ---- */

void mg_gate_ref(mg_gate *gate)
{
    atomic_fetch_add_explicit(&gate->refs, 1, memory_order_relaxed);
}

void mg_gate_unref(mg_gate *gate)
{
    if (gate && atomic_fetch_sub_explicit(&gate->refs, 1, memory_order_acq_rel) == 1)
        mg_free(gate);
}

static mg_gate *gate_at(const mg_snapshot *before, const mg_addr *addr)
{
    for (size_t i = 0; before && i < before->config->listener_count; i++)
        if (mg_addr_eq(&before->config->listeners[i]->addr, addr)) {
            mg_gate_ref(before->gates[i]);
            return before->gates[i];
        }
    mg_gate *gate = MG_NEW(mg_gate);
    atomic_init(&gate->refs, 1);
    return gate;
}

void mg_snapshot_open_gates(mg_snapshot *snapshot, const mg_snapshot *before)
{
    const mg_config *config = snapshot->config;

    snapshot->gates = MG_ARENA_NEW_N(&snapshot->config->arena, mg_gate *, config->listener_count + 1);
    for (size_t i = 0; i < config->listener_count; i++)
        snapshot->gates[i] = gate_at(before, &config->listeners[i]->addr);
}

/* ---- its life ---- */

void mg_snapshot_ref(mg_snapshot *snapshot)
{
    atomic_fetch_add_explicit(&snapshot->refs, 1, memory_order_relaxed);
}

void mg_snapshot_unref(mg_snapshot *snapshot)
{
    if (!snapshot || atomic_fetch_sub_explicit(&snapshot->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < snapshot->config->route_count; i++)
        if (snapshot->routes[i].split) {
            mg_rollout_run_unref(snapshot->routes[i].split->run);
            mg_map_free(snapshot->routes[i].split->groups);
        }
    for (size_t i = 0; snapshot->services && i < snapshot->config->service_count; i++)
        mg_service_unref(snapshot->services[i].service);
    for (size_t i = 0; snapshot->gates && i < snapshot->config->listener_count; i++)
        mg_gate_unref(snapshot->gates[i]);
    mg_router_free(snapshot->router);
    mg_plan_fini(&snapshot->plan);
    mg_config_free(snapshot->config);
    mg_free(snapshot);
}
