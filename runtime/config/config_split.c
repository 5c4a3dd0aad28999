/* config_split.c - where a route's requests go: one service, or several by weight, and how one of those is
 * brought in step by step. */
#include "config/config_build.h"

#include "text/units.h"

/* --- backends --- */

static void check_group_once(mg_building *b, const mg_config_route *route, const mg_config_backend *backend)
{
    for (const mg_config_backend *it = route->backends; it < backend; it++) {
        if (it->service == backend->service)
            mg_finding_hint(mg_node_error(b->report, backend->node, "duplicate-key",
                                          "the service \"%.*s\" is a backend of this route already",
                                          MG_STR_ARGS(backend->service->name)),
                            "name it once, with both weights added up");
        else if (mg_str_eq(it->group, backend->group))
            mg_finding_hint(mg_node_error(b->report, backend->node, "duplicate-key",
                                          "another backend of this route has the group \"%.*s\"",
                                          MG_STR_ARGS(backend->group)),
                            "give each its own group; by default it is the service's name");
    }
}

static void take_backend(mg_building *b, mg_config_route *route, mg_config_backend *backend,
                         const mg_node *node)
{
    const mg_str group = mg_keep_str(b, mg_read_str(node, "group"));

    backend->node = node;
    backend->service = mg_build_lookup(b, b->services, mg_node_get(node, "service"), "service");
    backend->weight = mg_read_u32(node, "weight");
    if (!backend->service)
        return;
    backend->group = group.p ? group : backend->service->name;
    check_group_once(b, route, backend);
    route->backend_count++;
}

static void take_backends(mg_building *b, mg_config_route *route, const mg_node *list)
{
    const size_t count = mg_node_count(list);
    mg_config_backend *backends = MG_ARENA_NEW_N(&b->config->arena, mg_config_backend, count + 1);
    uint64_t weights = 0;
    bool readable = true;

    route->backends = backends;
    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        readable = readable && mg_node_is(mg_node_get(it, "weight"), MG_NODE_INT);
        weights += mg_read_u32(it, "weight");
        take_backend(b, route, &backends[route->backend_count], it);
    }
    if (count > 0 && readable && weights == 0)
        mg_finding_hint(mg_node_error(b->report, list, "not-allowed",
                                      "every backend has weight 0: none would ever be picked"),
                        "give at least one a weight from 1");
    if (count != 1 || route->backend_count != 1)
        return;
    route->service = backends[0].service; /* nothing to split */
    route->group = backends[0].group;
    route->backends = NULL;
    route->backend_count = 0;
}

/* --- who stays with whom --- */

static void take_sticky(mg_building *b, mg_config_route *route, const mg_node *by)
{
    if (!mg_node_is(by, MG_NODE_STRING))
        return;
    route->sticky = mg_config_key_part_read(&b->config->arena, &route->sticky_key, by->text) &&
                    route->sticky_key.kind != MG_CONFIG_KEY_ROUTE &&
                    route->sticky_key.kind != MG_CONFIG_KEY_GLOBAL;
    if (!route->sticky)
        mg_finding_hint(mg_node_error(b->report, by, "not-allowed",
                                      "\"%.*s\" names nothing that tells clients apart",
                                      MG_STR_ARGS(mg_node_shown(by))),
                        "write ip, header:X, cookie:X or consumer");
}

/* --- rollouts --- */

static void take_steps(mg_building *b, mg_rollout_conf *conf, const mg_node *list)
{
    uint32_t before = 0, basis_points;

    conf->step_count = 0;
    for (const mg_node *it = mg_node_children(list); it && conf->step_count < MG_ROLLOUT_STEPS;
         it = it->next) {
        if (!mg_node_is(it, MG_NODE_STRING) || mg_units_share(it->text, &basis_points, NULL) != MG_OK)
            continue;
        if (basis_points % 100 != 0)
            mg_finding_hint(mg_node_error(b->report, it, "not-allowed", "%.*s is finer than steps count",
                                          MG_STR_ARGS(mg_node_shown(it))),
                            "write whole percents");
        else if (basis_points <= before)
            mg_finding_hint(mg_node_error(b->report, it, "not-allowed",
                                          "%.*s does not rise above the step before it",
                                          MG_STR_ARGS(mg_node_shown(it))),
                            "write the steps from the smallest to the largest");
        conf->steps[conf->step_count++] = basis_points / 100;
        before = basis_points;
    }
}

static void refuse_to(mg_building *b, const mg_config_route *route, const mg_node *to)
{
    mg_text names = { 0 };

    for (size_t i = 0; i < route->backend_count; i++)
        mg_text_addf(&names, "%s%.*s", i ? ", " : "", MG_STR_ARGS(route->backends[i].service->name));
    mg_finding_hint(mg_node_error(b->report, to, "dangling-reference",
                                  "\"%.*s\" is none of the route's backends", MG_STR_ARGS(mg_node_shown(to))),
                    "its backends are %s", names.p);
    mg_text_fini(&names);
}

/* Finds the canary, and that somebody else is left to take what it does not. */
static void take_to(mg_building *b, mg_config_route *route, const mg_node *to)
{
    uint64_t others = 0;
    bool found = false;

    if (!mg_node_is(to, MG_NODE_STRING))
        return;
    for (size_t i = 0; i < route->backend_count; i++) {
        if (mg_str_eq(route->backends[i].service->name, to->text)) {
            route->rollout.to = (unsigned)i;
            found = true;
        } else {
            others += route->backends[i].weight;
        }
    }
    if (!found)
        refuse_to(b, route, to);
    else if (others == 0)
        mg_finding_hint(mg_node_error(b->report, to, "not-allowed",
                                      "every other backend has weight 0: nobody would take what \"%.*s\" "
                                      "does not get yet",
                                      MG_STR_ARGS(mg_node_shown(to))),
                        "give the backend that it replaces a weight from 1");
}

static void check_id_once(mg_building *b, const mg_config_route *route, const mg_node *node)
{
    const mg_node *id = mg_node_get(node, "id");
    const mg_node *said = id ? id : node;
    const mg_named *known;

    if (!route->rollout.id.p)
        return;
    known = mg_map_get(b->rollouts, route->rollout.id);
    if (!known)
        mg_build_remember(b, b->rollouts, route->rollout.id, route, said);
    else
        mg_finding_hint(mg_node_error(b->report, said, "duplicate-key", "another rollout has the id \"%.*s\"",
                                      MG_STR_ARGS(route->rollout.id)),
                        "the first is at %s:%d; what is kept of a rollout goes by its id",
                        known->node->source ? known->node->source->file : "?", known->node->line);
}

static void take_rollout(mg_building *b, mg_config_route *route, const mg_node *node)
{
    mg_config_rollout *rollout = &route->rollout;

    rollout->on = mg_node_is(node, MG_NODE_MAP);
    if (!rollout->on)
        return;
    rollout->id = mg_keep_str(b, mg_read_str(node, "id"));
    if (!rollout->id.p)
        rollout->id = route->name;
    check_id_once(b, route, node);
    take_steps(b, &rollout->conf, mg_node_get(node, "steps"));
    rollout->conf.interval_ms = mg_read_ms(node, "interval");
    rollout->conf.min_requests = mg_read_u32(node, "min_requests");
    rollout->conf.max_errors_milli = mg_read_share(node, "max_errors") * 10;
    rollout->conf.max_p99_ms = mg_read_ms(node, "max_p99");
    rollout->conf.strikes = mg_read_u32(node, "strikes");
    if (route->backend_count > 1)
        take_to(b, route, mg_node_get(node, "to"));
    else if (mg_node_count(mg_node_get(route->node, "backends")) < 2)
        mg_finding_hint(mg_node_error(b->report, node->key, "not-allowed",
                                      "a rollout goes from one backend to another; the route has not two"),
                        "write backends: [{ service: OLD }, { service: NEW }]");
}

/* --- the whole --- */

void mg_build_destination(mg_building *b, mg_config_route *route, const mg_node *node)
{
    const mg_node *service = mg_node_get(node, "service"), *backends = mg_node_get(node, "backends");

    take_sticky(b, route, mg_node_get(mg_node_get(node, "sticky"), "by"));
    if (service && backends) {
        mg_finding_hint(mg_node_error(b->report, service->key, "not-allowed", "stands beside \"backends\""),
                        "keep one of the two");
        return;
    }
    if (backends)
        take_backends(b, route, backends);
    if (service)
        route->service = mg_build_lookup(b, b->services, service, "service");
    if (service && route->service)
        route->group = route->service->name;
    if (!service && !backends && mg_node_count(mg_node_get(node, "plugins")) == 0)
        mg_finding_hint(mg_node_error(b->report, node, "missing-key",
                                      "nothing answers here: the route has neither a "
                                      "service nor plugins"),
                        "add service: NAME");
    take_rollout(b, route, mg_node_get(node, "rollout"));
}
