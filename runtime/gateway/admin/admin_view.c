/* admin_view.c - the gateway as a whole, its routes, limiters and rollouts, as documents. Counts only rise;
 * whoever wants a rate takes two documents, whose `at_ms` say how far they are apart. */
#include "gateway/admin/admin_parts.h"

#include "base/mem.h"

static const mg_config *config_of(const mg_admin_call *call)
{
    return call->admin->gateway->snapshot->config;
}

/* ---- the gateway ---- */

/* `max_connections` is 0 where all listeners share the process's. */
static void add_listeners(mg_admin_call *call)
{
    const mg_snapshot *snapshot = call->admin->gateway->snapshot;

    mg_json_out_list(&call->json, "listeners");
    for (size_t i = 0; i < snapshot->config->listener_count; i++) {
        const mg_config_listener *conf = snapshot->config->listeners[i];
        const mg_conn_gate *gate = &snapshot->gates[i]->conns;
        mg_json_out_map(&call->json, NULL);
        mg_json_out_text(&call->json, "name", conf->name);
        mg_json_out_u64(&call->json, "connections", atomic_load(&gate->open));
        mg_json_out_u64(&call->json, "max_connections", conf->max_connections);
        mg_json_out_u64(&call->json, "refused", atomic_load(&gate->refused));
        mg_json_out_end(&call->json);
    }
    mg_json_out_end(&call->json);
}

void mg_admin_about(mg_admin_call *call)
{
    static const char *const states[] = { [MG_GATEWAY_NEW] = "starts",
                                          [MG_GATEWAY_RUNS] = "runs",
                                          [MG_GATEWAY_DRAINS] = "drains",
                                          [MG_GATEWAY_STOPPED] = "stopped" };
    mg_gateway *gateway = call->admin->gateway;

    mg_admin_begin(call);
    mg_json_out_text(&call->json, "version", MG_STR(MG_VERSION));
    mg_json_out_text(&call->json, "state", mg_str_of(states[atomic_load(&gateway->state)]));
    mg_json_out_u64(&call->json, "revision", gateway->revision);
    mg_json_out_u64(&call->json, "workers", gateway->shared.worker_count);
    mg_json_out_u64(&call->json, "in_flight", mg_stats_in_flight_now(gateway->shared.stats));
    add_listeners(call);
    mg_json_out_end(&call->json);
    mg_admin_send_json(call);
}

/* ---- routes ---- */

typedef struct route_counts {
    uint64_t requests, errors; /* errors: 5xx */
} route_counts;

static void count_request(void *self, uint32_t route, uint16_t status, uint64_t count)
{
    route_counts *counts = (route_counts *)self + route;

    counts->requests += count;
    counts->errors += status >= 500 ? count : 0;
}

/* [upper bound in ms, requests]; the last has no bound. */
static void add_durations(mg_json_out *out, const mg_histogram *durations)
{
    mg_json_out_list(out, "buckets");
    for (int i = 0; i <= MG_HISTOGRAM_BOUNDS; i++) {
        const uint64_t count = mg_cell_get(&durations->cells[i]);
        if (!count)
            continue;
        mg_json_out_list(out, NULL);
        if (i < MG_HISTOGRAM_BOUNDS)
            mg_json_out_double(out, NULL, (double)mg_histogram_bounds_us[i] / 1e3);
        else
            mg_json_out_null(out, NULL);
        mg_json_out_u64(out, NULL, count);
        mg_json_out_end(out);
    }
    mg_json_out_end(out);
}

static void add_route(mg_admin_call *call, const mg_snapshot_route *route, const route_counts *counts)
{
    mg_histogram durations;

    mg_json_out_map(&call->json, NULL);
    mg_json_out_text(&call->json, "name", route->name);
    mg_json_out_u64(&call->json, "requests", counts->requests);
    mg_json_out_u64(&call->json, "errors", counts->errors);
    (void)mg_stats_route_duration(call->admin->gateway->shared.stats, route->stat, &durations);
    add_durations(&call->json, &durations);
    mg_json_out_end(&call->json);
}

void mg_admin_routes(mg_admin_call *call)
{
    const mg_gateway *gateway = call->admin->gateway;
    route_counts *counts = MG_NEW_N(route_counts, MG_STATS_ROUTES);

    mg_stats_each_request(gateway->shared.stats, count_request, counts);
    mg_admin_begin(call);
    mg_json_out_list(&call->json, "routes");
    for (size_t i = 0; i < config_of(call)->route_count; i++) {
        const mg_snapshot_route *route = &gateway->snapshot->routes[i];
        add_route(call, route, &counts[route->stat]);
    }
    mg_json_out_end(&call->json);
    mg_json_out_end(&call->json);
    mg_free(counts);
    mg_admin_send_json(call);
}

/* ---- limiters ---- */

/* A list, the hottest first. `seen` counts samples, and is at most `over` too high. */
static void add_hot(mg_json_out *out, const char *key, const mg_limiter *limiter, uint64_t top)
{
    mg_limiter_hot hot[MG_LIMITER_HOT];
    const size_t count = limiter ? mg_limiter_hottest(limiter, hot) : 0;

    mg_json_out_list(out, key);
    for (size_t i = 0; i < count && i < top; i++) {
        mg_json_out_map(out, NULL);
        mg_json_out_text(out, "key", mg_str_make(hot[i].key, hot[i].n));
        mg_json_out_u64(out, "seen", hot[i].seen);
        mg_json_out_u64(out, "over", hot[i].over);
        mg_json_out_end(out);
    }
    mg_json_out_end(out);
}

static void add_decisions(mg_admin_call *call, const mg_limit_stat *stat)
{
    mg_limit_sum sum = { 0 };

    if (stat)
        mg_limit_stat_read(mg_shared_limit_stats(call->admin->gateway->shared.shared), stat, &sum);
    mg_json_out_map(&call->json, "decisions");
    mg_json_out_u64(&call->json, "allow", sum.allow);
    mg_json_out_u64(&call->json, "deny", sum.deny);
    mg_json_out_u64(&call->json, "shadow_deny", sum.shadow_deny);
    mg_json_out_u64(&call->json, "overflow", sum.overflow);
    mg_json_out_end(&call->json);
}

static void add_limiter(mg_admin_call *call, const mg_snapshot_limit *limit, uint64_t top)
{
    const mg_config_limiter *conf = limit->conf;

    mg_json_out_map(&call->json, NULL);
    mg_json_out_text(&call->json, "name", conf->name);
    mg_json_out_text(&call->json, "mode", mg_str_of(mg_config_limiter_mode_words[conf->mode]));
    if (limit->limiter) {
        mg_json_out_text(&call->json, "algorithm",
                         mg_str_of(mg_limiter_algorithm_words[conf->conf.algorithm]));
        mg_json_out_u64(&call->json, "quota", mg_limiter_quota(limit->limiter));
        mg_json_out_u64(&call->json, "window_ms", mg_limiter_window_ms(limit->limiter));
    }
    add_decisions(call, limit->stat);
    if (top)
        add_hot(&call->json, "hot", limit->limiter, top);
    mg_json_out_end(&call->json);
}

/* `?top=N` adds the hottest keys of each. */
void mg_admin_limiters(mg_admin_call *call)
{
    const mg_snapshot *snapshot = call->admin->gateway->snapshot;
    uint64_t top;

    if (!mg_admin_query_number(call, "top", 0, MG_LIMITER_HOT, &top))
        return;
    mg_admin_begin(call);
    mg_json_out_list(&call->json, "limiters");
    for (size_t i = 0; i < snapshot->config->limiter_count; i++)
        add_limiter(call, &snapshot->limits[i], top);
    mg_json_out_end(&call->json);
    mg_json_out_end(&call->json);
    mg_admin_send_json(call);
}

static mg_str limiter_at(const void *self, size_t i)
{
    const mg_config *config = self;

    return i < config->limiter_count ? config->limiters[i]->name : MG_STR_NONE;
}

void mg_admin_limiter_keys(mg_admin_call *call)
{
    const mg_config_limiter *conf = mg_config_limiter_named(config_of(call), call->names[0]);
    uint64_t top;

    if (!conf) {
        mg_admin_refuse_name(call, "limiter", call->names[0], limiter_at, config_of(call));
        return;
    }
    if (!mg_admin_query_number(call, "top", 20, MG_LIMITER_HOT, &top))
        return;
    mg_admin_begin(call);
    mg_json_out_text(&call->json, "limiter", conf->name);
    add_hot(&call->json, "keys", call->admin->gateway->snapshot->limits[conf->index].limiter, top);
    mg_json_out_end(&call->json);
    mg_admin_send_json(call);
}

/* ---- rollouts ---- */

static void add_rollout(void *self, const mg_rollout_view *view)
{
    mg_json_out *out = self;

    mg_json_out_map(out, NULL);
    mg_json_out_text(out, "route", view->route);
    mg_json_out_text(out, "id", view->id);
    mg_json_out_text(out, "canary", view->canary);
    mg_json_out_text(out, "state", mg_str_of(mg_rollout_state_name(view->state)));
    mg_json_out_u64(out, "step", view->step);
    mg_json_out_u64(out, "steps", view->steps);
    mg_json_out_u64(out, "percent", view->percent);
    mg_json_out_u64(out, "strikes", view->strikes);
    mg_json_out_u64(out, "interval_left_ms", view->interval_left_ms);
    mg_json_out_u64(out, "requests", view->figures.requests);
    mg_json_out_u64(out, "errors", view->figures.errors);
    mg_json_out_u64(out, "p99_ms", view->figures.p99_ms);
    mg_json_out_end(out);
}

void mg_admin_rollouts(mg_admin_call *call)
{
    mg_admin_begin(call);
    mg_json_out_list(&call->json, "rollouts");
    mg_rollouts_each(call->admin->gateway->rollouts, add_rollout, &call->json);
    mg_json_out_end(&call->json);
    mg_json_out_end(&call->json);
    mg_admin_send_json(call);
}

static mg_str rollout_at(const void *self, size_t i)
{
    const mg_config *config = self;

    for (size_t r = 0; r < config->route_count; r++)
        if (config->routes[r]->rollout.on && i-- == 0)
            return config->routes[r]->name;
    return MG_STR_NONE;
}

void mg_admin_set_rollout(mg_admin_call *call)
{
    static const mg_rollout_state states[] = { MG_ROLLOUT_RUNNING, MG_ROLLOUT_HELD, MG_ROLLOUT_PROMOTED,
                                               MG_ROLLOUT_FAILED };
    const char *const words[] = { mg_rollout_state_name(states[0]), mg_rollout_state_name(states[1]),
                                  mg_rollout_state_name(states[2]), mg_rollout_state_name(states[3]), NULL };
    mg_str wanted;

    if (!mg_admin_body_text(call, "state", &wanted))
        return;
    const int place = mg_admin_word(call, wanted, words, "a rollout");
    if (place < 0)
        return;
    if (mg_rollouts_force(call->admin->gateway->rollouts, call->names[0], states[place]))
        mg_admin_rollouts(call);
    else
        mg_admin_refuse_name(call, "rollout", call->names[0], rollout_at, config_of(call));
}
