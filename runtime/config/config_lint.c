/* config_lint.c - what is right by itself and was probably not meant: warnings about a document without
 * errors. Only what can be proven from the document is said. */
#include "config/config_build.h"
#include "config/plan.h"
#include "http/message.h"
#include "text/units.h"

/* --- what nobody uses --- */

static bool has_text(const mg_node *node, mg_str text)
{
    if (mg_node_is(node, MG_NODE_STRING))
        return mg_str_eq(node->text, text);
    for (const mg_node *it = mg_node_children(node); it; it = it->next)
        if (has_text(it, text))
            return true;
    return false;
}

/* Plugins take limiters and ask for services by name. */
static bool is_mentioned(const mg_building *b, mg_str name)
{
    for (size_t i = 0; i < b->config->plugin_count; i++)
        if (has_text(b->config->plugins[i]->config, name) || mg_plan_mentions(b->config->plugins[i], name))
            return true;
    return false;
}

/* A plugin may choose one by a name that it puts together. */
static bool may_be_chosen(const mg_building *b)
{
    for (size_t i = 0; i < b->config->plugin_count; i++)
        if (mg_plan_chooses(b->config->plugins[i], true))
            return true;
    return false;
}

static void warn_unused(mg_building *b, const mg_node *items, mg_map *map, const char *what)
{
    for (const mg_node *it = mg_node_children(items); it; it = it->next) {
        const mg_named *named = it->key ? mg_map_get(map, it->key->text) : NULL;
        if (named && !named->used && (map == b->plugins || !is_mentioned(b, it->key->text)))
            mg_node_warning(b->report, it->key, "unused", "no route uses the %s \"%.*s\"", what,
                            MG_STR_ARGS(it->key->text));
    }
}

/* --- keys without effect --- */

static void warn_idle(mg_building *b, const mg_node *map, const char *key, const char *why)
{
    const mg_node *value = mg_node_get(map, key);

    if (value && !value->defaulted)
        mg_node_warning(b->report, value->key, "no-effect", "has no effect %s", why);
}

static void idle_breaker_keys(mg_building *b, const mg_config_breaker *breaker, const mg_node *node)
{
    const mg_breaker_mode mode = breaker->conf.mode;
    const bool run = mode == MG_BREAKER_CONSECUTIVE;

    if (mode != MG_BREAKER_TIME_WINDOW) {
        warn_idle(b, node, "window", "without mode: time_window");
        warn_idle(b, node, "buckets", "without mode: time_window");
    }
    if (mode != MG_BREAKER_COUNT_WINDOW)
        warn_idle(b, node, "window_calls", "without mode: count_window");
    if (run && !breaker->detect)
        warn_idle(b, node, "min_requests", "in mode consecutive");
    if (run)
        warn_idle(b, node, "error_rate", "in mode consecutive");
    if (run || breaker->conf.slow_call_ms == 0)
        warn_idle(b, node, "slow_rate", run ? "in mode consecutive" : "without slow_call");
}

/* With fewer healthy than `panic` all are asked, those that are out among them. */
static void warn_panic_before_eject(mg_building *b, const mg_config_service *service)
{
    const mg_node *share = mg_node_get(mg_node_get(service->node, "eject"), "max_share");
    const mg_node *panic = mg_node_get(service->node, "panic");
    const unsigned most = service->panic_percent < 100 ? 100 - service->panic_percent : 0;

    if (!service->eject.on || service->panic_percent == 0 || service->eject.conf.max_percent <= most)
        return;
    mg_finding_hint(
        mg_node_warning(b->report, share->defaulted ? panic : share, "no-effect",
                        "with more than %u%% of the endpoints out there is panic (%u%%), and all are asked "
                        "again: a max_share of %u%% is never reached",
                        most, service->panic_percent, service->eject.conf.max_percent),
        "write max_share: %u%%, or a smaller panic", most);
}

static void idle_service_keys(mg_building *b, const mg_config_service *service)
{
    warn_panic_before_eject(b, service);

    if (service->balance != MG_BALANCER_PEAK_EWMA) {
        warn_idle(b, service->node, "ewma_tau", "without balance: peak_ewma");
        warn_idle(b, service->node, "ewma_penalty", "without balance: peak_ewma");
    }
    if (service->balance != MG_BALANCER_MAGLEV) {
        warn_idle(b, service->node, "maglev_size", "without balance: maglev");
        warn_idle(b, service->node, "bound", "without balance: maglev");
    }
    if (service->breaker.on)
        idle_breaker_keys(b, &service->breaker, mg_node_get(service->node, "breaker"));
}

/* --- how many calls can reach a service --- */

/* Units that the limiter lets through in `window_ms` at most, all keys together; UINT64_MAX where its keys or
 * its algorithm set no bound. */
static uint64_t units_within(const mg_config_limiter *limiter, uint64_t window_ms)
{
    const mg_limiter_conf *conf = &limiter->conf;
    uint64_t at_once;

    if (limiter->mode == MG_CONFIG_SHADOW || conf->algorithm == MG_LIMITER_CONCURRENCY || conf->limit == 0)
        return UINT64_MAX;
    for (unsigned i = 0; i < limiter->key.parts; i++) {
        if (limiter->key.part[i].kind != MG_CONFIG_KEY_GLOBAL)
            return UINT64_MAX;
    }
    at_once = conf->algorithm == MG_LIMITER_TOKEN_BUCKET ? conf->burst
              : conf->algorithm == MG_LIMITER_LEAKY      ? 1
                                                         : 2 * conf->limit; /* windows end and begin in it */
    /* at most 2^31 * 31 days in ms: no overflow */
    return at_once + conf->limit * (window_ms + conf->max_wait_ms) / conf->period_ms + 1;
}

static uint64_t calls_of_route(const mg_config_route *route, uint64_t window_ms)
{
    uint64_t least = UINT64_MAX;

    for (size_t i = 0; i < route->item_count; i++) {
        const mg_config_limiter *limiter = route->items[i].limiter;
        if (!limiter)
            continue;
        if (limiter->mode == MG_CONFIG_DENY)
            return 0;
        if (limiter->cost > 0 && units_within(limiter, window_ms) != UINT64_MAX)
            least = mg_min_u64(least, units_within(limiter, window_ms) / limiter->cost);
    }
    return least;
}

/* Adds what may come to the service over a route to `calls`, by the service's index: all that a breaker sees
 * of it in a window of its own. UINT64_MAX stays. */
static void count_calls(uint64_t *calls, const mg_config_route *route, const mg_config_service *service)
{
    const uint64_t tries = service->retry.on ? service->retry.conf.attempts : 1;
    uint64_t *sum = &calls[service->index], more;

    if (!service->breaker.on || *sum == UINT64_MAX)
        return;
    more = calls_of_route(route, service->breaker.conf.window_ms);
    if (more >= UINT32_MAX)
        *sum = UINT64_MAX;
    else
        *sum = service->breaker.per_route ? mg_max_u64(*sum, more * tries) : *sum + more * tries;
}

static uint64_t *calls_by_service(mg_building *b)
{
    const mg_config *config = b->config;
    uint64_t *calls = MG_ARENA_NEW_N(&b->config->arena, uint64_t, config->service_count + 1);

    for (size_t i = 0; i < config->route_count; i++) {
        const mg_config_route *route = config->routes[i];
        if (route->service)
            count_calls(calls, route, route->service);
        for (size_t k = 0; k < route->backend_count; k++)
            count_calls(calls, route, route->backends[k].service);
    }
    return calls;
}

static void warn_too_few_calls(mg_building *b, const mg_config_service *service, uint64_t calls)
{
    const mg_breaker_conf *conf = &service->breaker.conf;
    const mg_node *node = mg_node_get(service->node, "breaker"), *least = mg_node_get(node, "min_requests");

    if (conf->mode == MG_BREAKER_COUNT_WINDOW && conf->min_calls > conf->window_calls && !least->defaulted)
        mg_finding_hint(mg_node_warning(b->report, least, "never-reached",
                                        "a window of %u calls never has %u; it counts as %u",
                                        conf->window_calls, conf->min_calls, conf->window_calls),
                        "write min_requests: %u, or a larger window_calls", conf->window_calls);
    if (conf->mode != MG_BREAKER_TIME_WINDOW || conf->consecutive_failures > 0 || calls >= conf->min_calls)
        return;
    mg_finding_hint(mg_node_warning(b->report, least->defaulted ? node->key : least, "never-reached",
                                    "limiters let at most %llu calls through in its window, so min_requests "
                                    "(%u) is never reached and it never opens",
                                    (unsigned long long)calls, conf->min_calls),
                    "lower min_requests, widen the window, or write consecutive_failures");
}

/* --- routes --- */

static void warn_long_retries(mg_building *b, const mg_config_route *route, const mg_config_service *service)
{
    const uint64_t each_ms = service->retry.per_try_timeout_ms;
    const mg_node *timeout = mg_node_get(route->node, "timeout");
    mg_text shown = { 0 };

    if (!service->retry.on || each_ms == 0 || service->retry.conf.attempts * each_ms <= route->timeout_ms)
        return;
    mg_units_duration_text(route->timeout_ms, &shown);
    mg_finding_hint(
        mg_node_warning(
            b->report, timeout && !timeout->defaulted ? timeout : mg_node_get(route->node, "name"),
            "too-long", "%u tries of up to %.*s each take longer than the timeout (%s)",
            service->retry.conf.attempts,
            MG_STR_ARGS(mg_read_str(mg_node_get(service->node, "retry"), "per_try_timeout")), shown.p),
        "write a longer timeout, or change attempts or per_try_timeout of the service %.*s",
        MG_STR_ARGS(service->name));
    mg_text_fini(&shown);
}

/* A method of one's own that looks like a standard one: methods are told apart by case, too. */
static void warn_misspelt_methods(mg_building *b, const mg_config_route *route)
{
    const mg_node *list = mg_node_get(mg_node_get(route->node, "match"), "methods");

    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        mg_guess guess = { .name = it->text };

        if (mg_method_find(it->text) != MG_METHOD_OTHER)
            continue;
        for (int m = MG_METHOD_GET; m < MG_METHOD_COUNT; m++)
            mg_guess_offer(&guess, mg_method_text((mg_method)m));
        if (guess.best.p)
            mg_finding_hint(mg_node_warning(b->report, it, "unusual", "\"%.*s\" is not a standard method",
                                            MG_STR_ARGS(it->text)),
                            "did you mean %.*s?", MG_STR_ARGS(guess.best));
    }
}

static bool is_written(const mg_node *node)
{
    return node && !node->defaulted;
}

/* What a request may wait for beside its service; UINT64_MAX where a plugin says it. */
static uint64_t waits_of(const mg_config_route *route)
{
    uint64_t sum_ms = 0;

    for (size_t i = 0; i < route->item_count; i++) {
        if (!route->items[i].limiter)
            return UINT64_MAX;
        sum_ms += route->items[i].limiter->conf.max_wait_ms;
    }
    return sum_ms;
}

/* One of the two times ends a request before the other ever can. Only where somebody wrote the longer one. */
static void warn_unreached_times(mg_building *b, const mg_config_route *route,
                                 const mg_config_service *service)
{
    const mg_node *first = mg_node_get(service->node, "first_byte_timeout"),
                  *timeout = mg_node_get(route->node, "timeout");
    const uint64_t tries = service->retry.on ? service->retry.conf.attempts : 1;
    const uint64_t most_ms = tries * (service->pool.queue_timeout_ms + service->pool.connect_timeout_ms +
                                      service->first_byte_timeout_ms);
    mg_text shown = { 0 };

    if (is_written(first) && service->first_byte_timeout_ms > route->timeout_ms) {
        mg_units_duration_text(route->timeout_ms, &shown);
        mg_finding_hint(mg_node_warning(b->report, first, "never-reached",
                                        "the route %.*s ends a request after its timeout (%s), before this",
                                        MG_STR_ARGS(route->name), shown.p),
                        "write first_byte_timeout: %s or less, or a longer timeout in the route", shown.p);
    } else if (is_written(timeout) && service->first_byte_timeout_ms < route->timeout_ms &&
               waits_of(route) != UINT64_MAX && route->timeout_ms > mg_add_sat(most_ms, waits_of(route))) {
        mg_units_duration_text(service->first_byte_timeout_ms, &shown);
        mg_finding_hint(
            mg_node_warning(b->report, timeout, "never-reached",
                            "the service %.*s ends %s after its first_byte_timeout (%s), before this",
                            MG_STR_ARGS(service->name), tries > 1 ? "the last try" : "a request", shown.p),
            "write a longer first_byte_timeout in the service, or a shorter timeout here");
    }
    mg_text_fini(&shown);
}

static void lint_times(mg_building *b, const mg_config_route *route, const mg_config_service *service)
{
    warn_long_retries(b, route, service);
    warn_unreached_times(b, route, service);
}

static void lint_route(mg_building *b, const mg_config_route *route)
{
    if (!route->node)
        return;
    warn_misspelt_methods(b, route);
    if (route->service)
        lint_times(b, route, route->service);
    for (size_t i = 0; i < route->backend_count; i++)
        lint_times(b, route, route->backends[i].service);
    if (route->backend_count > 0 && route->sticky && route->sticky_key.kind == MG_CONFIG_KEY_CONSUMER &&
        waits_of(route) != UINT64_MAX)
        mg_finding_hint(
            mg_node_warning(b->report, mg_node_get(mg_node_get(route->node, "sticky"), "by"), "no-effect",
                            "plugins find out who the consumer is, and this route has none: it goes by ip"),
            "write header:X, or add the plugin that finds consumers");
    if (route->backend_count == 0 && (!route->service || route->service->balance != MG_BALANCER_MAGLEV))
        warn_idle(b, route->node, "sticky", "without several backends or a service with balance: maglev");
}

/* --- fields that no listener passes on --- */

static bool passes_underscores(const mg_config *config)
{
    for (size_t i = 0; i < config->listener_count; i++)
        if (config->listeners[i]->underscores)
            return true;
    return config->listener_count == 0;
}

static void warn_dropped(mg_building *b, mg_str name, const mg_node *where)
{
    if (mg_str_find(name, '_') == SIZE_MAX)
        return;
    mg_finding_hint(mg_node_warning(b->report, where, "no-effect",
                                    "no request has the field %.*s: names with a _ are dropped",
                                    MG_STR_ARGS(name)),
                    "write underscores_in_names: true at the listener, or another name");
}

static void warn_dropped_fields(mg_building *b)
{
    const mg_config *config = b->config;

    if (passes_underscores(config))
        return;
    for (size_t i = 0; i < config->limiter_count; i++) {
        const mg_config_limiter *limiter = config->limiters[i];
        for (unsigned k = 0; k < limiter->key.parts; k++)
            if (limiter->key.part[k].kind == MG_CONFIG_KEY_HEADER)
                warn_dropped(b, limiter->key.part[k].name, mg_node_get(limiter->node, "key"));
    }
    for (size_t i = 0; i < config->route_count; i++) {
        const mg_config_route *route = config->routes[i];
        const mg_node *match = mg_node_get(route->node, "match");
        for (const mg_node *it = mg_node_children(mg_node_get(match, "headers")); it; it = it->next)
            warn_dropped(b, it->key->text, it->key);
        if (route->sticky && route->sticky_key.kind == MG_CONFIG_KEY_HEADER)
            warn_dropped(b, route->sticky_key.name, mg_node_get(mg_node_get(route->node, "sticky"), "by"));
    }
}

void mg_build_lint(mg_building *b, const mg_node *root)
{
    const mg_config *config = b->config;
    const uint64_t *calls = calls_by_service(b);
    const bool chosen = may_be_chosen(b);

    if (!chosen)
        warn_unused(b, mg_node_get(root, "services"), b->services, "service");
    warn_unused(b, mg_node_get(root, "limiters"), b->limiters, "limiter");
    warn_unused(b, mg_node_get(root, "plugins"), b->plugins, "plugin");
    for (size_t i = 0; i < config->service_count; i++) {
        const mg_named *named = mg_map_get(b->services, config->services[i]->name);
        idle_service_keys(b, config->services[i]);
        if (config->services[i]->breaker.on && named->used && !chosen &&
            !is_mentioned(b, config->services[i]->name))
            warn_too_few_calls(b, config->services[i], calls[i]);
    }
    for (size_t i = 0; i < config->route_count; i++)
        lint_route(b, config->routes[i]);
    warn_dropped_fields(b);
}
