/* config_policy.c - services, limiters and plugins: what routes refer to by name. */
#include "gateway/config_build.h"
#include "base/time.h"
#include "http/uri.h"
#include "text/units.h"

#include <math.h>

static const uint64_t MAX_BURST_NS = 31ull * 86400 * MG_NS_PER_S; /* POLICIES 4: burst times interval */
enum { MIN_INTERVAL_NS = 1000, MAX_BURST = 1000000 };             /* at most 1,000,000 a second */

/* --- services --- */

static void refuse_url(mg_building *b, const mg_node *url, const char *why, const char *hint)
{
    mg_finding *f =
        mg_node_error(b->report, url, "not-allowed", "\"%.*s\": %s", MG_STR_ARGS(mg_node_shown(url)), why);
    if (hint)
        mg_finding_hint(f, "%s", hint);
}

static void take_url(mg_building *b, mg_config_endpoint *endpoint, const mg_node *url)
{
    const char *why;
    mg_uri uri;

    if (!mg_node_is(url, MG_NODE_STRING))
        return;
    why = mg_uri_parse(&b->config->arena, url->text, &uri);
    if (why) {
        refuse_url(b, url, why, "write http://HOST:PORT");
        return;
    }
    if (mg_str_eq_c(uri.scheme, "https"))
        refuse_url(b, url, "TLS to upstreams is not in this build", "write http:// and the plain port");
    else if (!mg_str_eq_c(uri.path, "/") || uri.query.p)
        refuse_url(b, url, "an endpoint is an address, it has no path", "write http://HOST:PORT alone");
    else if (uri.port == 0)
        refuse_url(b, url, "port 0 is none to connect to", NULL);
    endpoint->url = url->text;
    endpoint->host = uri.host;
    endpoint->port = (uint16_t)uri.port;
}

static void take_endpoints(mg_building *b, mg_config_service *service, const mg_node *list)
{
    mg_config_endpoint *endpoints =
        MG_ARENA_NEW_N(&b->config->arena, mg_config_endpoint, mg_node_count(list) + 1);
    uint64_t weights = 0;

    service->endpoints = endpoints;
    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        mg_config_endpoint *endpoint = &endpoints[service->endpoint_count++];
        endpoint->node = it;
        endpoint->weight = mg_read_u32(it, "weight");
        weights += endpoint->weight;
        take_url(b, endpoint, mg_node_get(it, "url"));
    }
    if (service->endpoint_count > 0 && weights == 0 && mg_node_get(list->first, "weight"))
        mg_node_error(b->report, list, "not-allowed",
                      "every endpoint has weight 0: none would ever be picked");
}

static void take_pool(mg_config_pool *pool, const mg_node *node)
{
    pool->max_connections = mg_read_u32(node, "max_connections");
    pool->max_idle = mg_read_u32(node, "max_idle");
    pool->max_idle_total = mg_read_u32(node, "max_idle_total");
    pool->queue = mg_read_u32(node, "queue");
    pool->queue_timeout_ms = mg_read_ms(node, "queue_timeout");
    pool->idle_timeout_ms = mg_read_ms(node, "idle_timeout");
    pool->connect_timeout_ms = mg_read_ms(node, "connect_timeout");
    pool->max_requests = mg_read_u32(node, "max_requests");
    pool->max_age_ms = mg_read_ms(node, "max_age");
}

static void take_breaker(mg_building *b, mg_config_breaker *breaker, const mg_node *node)
{
    breaker->on = mg_node_is(node, MG_NODE_MAP);
    if (!breaker->on)
        return;
    mg_breaker_conf *conf = &breaker->conf;
    mg_breaker_conf_defaults(conf, MG_BREAKER_CONSECUTIVE);
    conf->consecutive_failures = mg_read_u32(node, "consecutive_failures");
    conf->half_open_probes = mg_read_u32(node, "probes");
    conf->open_ms = mg_read_ms(node, "open_for");
    conf->open_max_ms = mg_read_ms(node, "open_max");
    conf->half_open_max_ms = mg_read_ms(node, "half_open_max");
    conf->open_backoff_milli = (uint32_t)(mg_read_number(node, "open_backoff") * 1000 + 0.5);
    conf->open_jitter_bp = mg_read_share(node, "open_jitter");
    for (unsigned status = 500; status < 600; status++)
        mg_status_set_add(&breaker->failure, status);
    breaker->fail_transport = breaker->fail_timeout = true;
    breaker->max_concurrent = 0;
    if (conf->open_max_ms > 0 && conf->open_ms > conf->open_max_ms)
        mg_finding_hint(mg_node_error(b->report, mg_node_get(node, "open_for"), "out-of-range",
                                      "open_for is longer than open_max (%.*s)",
                                      MG_STR_ARGS(mg_read_str(node, "open_max"))),
                        "raise open_max with it");
}

static void build_service(mg_building *b, const mg_node *node)
{
    mg_config_service *service = MG_ARENA_NEW(&b->config->arena, mg_config_service);

    service->name = node->key->text;
    service->index = (unsigned)b->config->service_count;
    service->node = node;
    take_endpoints(b, service, mg_node_get(node, "endpoints"));
    service->first_byte_timeout_ms = mg_read_ms(node, "first_byte_timeout");
    service->read_timeout_ms = mg_read_ms(node, "read_timeout");
    service->tunnel_idle_timeout_ms = mg_read_ms(node, "tunnel_idle_timeout");
    service->balance = MG_BALANCER_ROUND_ROBIN;
    service->ewma_tau_ms = 10000;
    service->ewma_penalty_ms = 1000;
    service->maglev_size = MG_MAGLEV_SIZE;
    service->bound_milli = 1250;
    service->panic_percent = 50;
    take_pool(&service->pool, mg_node_get(node, "pool"));
    take_breaker(b, &service->breaker, mg_node_get(node, "breaker"));
    b->config->services[b->config->service_count++] = service;
    mg_build_remember(b, b->services, service->name, service, node);
}

void mg_build_services(mg_building *b, const mg_node *services)
{
    b->config->services =
        MG_ARENA_NEW_N(&b->config->arena, const mg_config_service *, mg_node_count(services) + 1);
    for (const mg_node *it = mg_node_children(services); it && it->key; it = it->next)
        build_service(b, it);
}

/* --- limiters --- */

/* "header:X" and "cookie:X" */
static bool take_field_part(mg_arena *arena, mg_config_key_part *part, mg_str text)
{
    const bool header = mg_str_starts(text, MG_STR("header:")),
               cookie = mg_str_starts(text, MG_STR("cookie:"));
    const mg_str name = mg_str_sub(text, 7, text.n);
    char *lower;

    if ((!header && !cookie) || name.n == 0 || name.n > 128)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] <= ' ' || name.p[i] == 0x7f || strchr("\"(),/:;<=>?@[\\]{}", name.p[i]))
            return false;
    }
    part->kind = header ? MG_CONFIG_KEY_HEADER : MG_CONFIG_KEY_COOKIE;
    lower = mg_arena_bytes(arena, name.n + 1);
    for (size_t i = 0; i < name.n; i++)
        lower[i] = header ? mg_lower(name.p[i]) : name.p[i];
    lower[name.n] = 0;
    part->name = mg_str_make(lower, name.n);
    return true;
}

static bool take_key_part(mg_arena *arena, mg_config_key_part *part, mg_str text)
{
    static const struct {
        const char *word;
        mg_config_key_kind kind;
    } words[] = { { "ip", MG_CONFIG_KEY_IP },
                  { "consumer", MG_CONFIG_KEY_CONSUMER },
                  { "route", MG_CONFIG_KEY_ROUTE },
                  { "global", MG_CONFIG_KEY_GLOBAL } };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (mg_str_eq_c(text, words[i].word)) {
            part->kind = words[i].kind;
            return true;
        }
    }
    return take_field_part(arena, part, text);
}

static void take_key(mg_building *b, mg_config_limiter *limiter, const mg_node *key)
{
    mg_str rest, part;

    if (!mg_node_is(key, MG_NODE_STRING) || key->text.n == 0)
        return;
    rest = key->text;
    while (mg_str_cut(&rest, '+', &part)) {
        if (limiter->key_parts == MG_CONFIG_KEY_PARTS) {
            mg_node_error(b->report, key, "not-allowed", "a key has at most %d parts", MG_CONFIG_KEY_PARTS);
            return;
        }
        if (take_key_part(&b->config->arena, &limiter->key[limiter->key_parts], part)) {
            limiter->key_parts++;
            continue;
        }
        mg_finding_hint(mg_node_error(b->report, key, "not-allowed",
                                      mg_str_eq_c(part, "tenant")
                                          ? "tenants are not in this build"
                                          : "\"%.*s\" names nothing that can be counted",
                                      MG_STR_ARGS(mg_str_sub(part, 0, 60))),
                        "write ip, header:X, cookie:X, consumer, route or global, or several joined by +");
        return;
    }
}

static bool check_rate(mg_building *b, const mg_config_limiter *limiter, const mg_node *rate)
{
    if (limiter->conf.limit == 0 && limiter->mode != MG_CONFIG_DENY)
        mg_finding_hint(
            mg_node_error(b->report, rate, "out-of-range", "a rate of 0 can never admit anything"),
            "write mode: deny to refuse all");
    else if (limiter->conf.limit > limiter->conf.period_ms * (MG_NS_PER_MS / MIN_INTERVAL_NS))
        mg_finding_hint(mg_node_error(b->report, rate, "out-of-range", "%.*s is above the maximum 1000000/s",
                                      MG_STR_ARGS(mg_node_shown(rate))),
                        "write a lower rate, or leave the limiter out");
    else
        return true;
    return false;
}

/* `said` is where the burst stands, or the rate that it follows from. */
static void check_burst(mg_building *b, const mg_config_limiter *limiter, uint64_t burst, const mg_node *said)
{
    const uint64_t interval_ns =
        limiter->conf.limit
            ? (limiter->conf.period_ms * MG_NS_PER_MS + limiter->conf.limit - 1) / limiter->conf.limit
            : 0;

    if (burst > MAX_BURST)
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range",
                                      "the burst, by default the count of the rate, is above the maximum %d",
                                      MAX_BURST),
                        "write burst: %d or less", MAX_BURST);
    else if (burst * interval_ns > MAX_BURST_NS)
        mg_finding_hint(mg_node_error(b->report, said, "out-of-range",
                                      "a burst of %llu takes more than 31 days to refill",
                                      (unsigned long long)burst),
                        "write a smaller burst or a higher rate");
}

static void take_rate(mg_building *b, mg_config_limiter *limiter, const mg_node *node)
{
    const mg_node *rate = mg_node_get(node, "rate"), *burst = mg_node_get(node, "burst");
    mg_rate read = { 0 };

    if (!rate && limiter->mode != MG_CONFIG_DENY)
        mg_finding_hint(mg_node_error(b->report, node, "missing-key", "the key \"rate\" is missing"),
                        "rate: how many requests in a period, such as 100/s");
    if (!mg_node_is(rate, MG_NODE_STRING) || mg_units_rate(rate->text, &read, NULL) != MG_OK)
        return;
    limiter->conf.limit = read.limit;
    limiter->conf.period_ms = read.period_ns / MG_NS_PER_MS;
    if (check_rate(b, limiter, rate))
        check_burst(b, limiter, burst ? mg_read_u32(node, "burst") : read.limit, burst ? burst : rate);
    limiter->conf.burst = burst ? mg_read_u32(node, "burst") : mg_min_u64(read.limit, MAX_BURST);
    limiter->cost = mg_read_u32(node, "cost");
    if (limiter->cost > limiter->conf.burst && limiter->conf.burst > 0)
        mg_finding_hint(mg_node_error(b->report, mg_node_get(node, "cost"), "out-of-range",
                                      "a cost of %u is above the burst of %llu: nothing would ever pass",
                                      limiter->cost, (unsigned long long)limiter->conf.burst),
                        "write a cost from 0 to %llu", (unsigned long long)limiter->conf.burst);
}

static void build_limiter(mg_building *b, const mg_node *node)
{
    static const char *const missing[] = { "ip", "skip", "deny", NULL };
    static const char *const full[] = { "overflow", "allow", "deny", NULL };
    static const char *const modes[] = { "enforce", "shadow", "deny", NULL };
    mg_config_limiter *limiter = MG_ARENA_NEW(&b->config->arena, mg_config_limiter);

    limiter->name = node->key->text;
    limiter->index = (unsigned)b->config->limiter_count;
    limiter->node = node;
    limiter->mode = (mg_config_limiter_mode)mg_read_word(node, "mode", modes);
    limiter->on_missing_key = (mg_config_on_missing_key)mg_read_word(node, "on_missing_key", missing);
    mg_limiter_conf_defaults(&limiter->conf);
    limiter->conf.on_full = (mg_limiter_on_full)mg_read_word(node, "on_full", full);
    limiter->conf.max_keys = mg_read_u32(node, "max_keys");
    limiter->conf.overflow_cells = mg_read_u32(node, "overflow_cells");
    limiter->ipv4_prefix = mg_read_u32(node, "ipv4_prefix");
    limiter->ipv6_prefix = mg_read_u32(node, "ipv6_prefix");
    take_key(b, limiter, mg_node_get(node, "key"));
    if (mg_node_is(node, MG_NODE_MAP))
        take_rate(b, limiter, node);
    b->config->limiters[b->config->limiter_count++] = limiter;
    mg_build_remember(b, b->limiters, limiter->name, limiter, node);
}

void mg_build_limiters(mg_building *b, const mg_node *limiters)
{
    b->config->limiters =
        MG_ARENA_NEW_N(&b->config->arena, const mg_config_limiter *, mg_node_count(limiters) + 1);
    for (const mg_node *it = mg_node_children(limiters); it && it->key; it = it->next)
        build_limiter(b, it);
}

/* --- plugins --- */

enum { PLUGINS_AT_FIRST = 16, DEFAULT_CPU_MS = 10 };

/* Items in place come one by one, so the array grows; doubling in an arena wastes at most what it holds. */
static mg_config_plugin *add_plugin(mg_building *b, mg_str name, const mg_node *node)
{
    mg_config *config = b->config;
    const size_t count = config->plugin_count;
    mg_config_plugin *plugin = MG_ARENA_NEW(&config->arena, mg_config_plugin), **grown;

    if (count == 0) {
        config->plugins = MG_ARENA_NEW_N(&config->arena, mg_config_plugin *, PLUGINS_AT_FIRST);
    } else if (count >= PLUGINS_AT_FIRST && (count & (count - 1)) == 0) {
        grown = MG_ARENA_NEW_N(&config->arena, mg_config_plugin *, count * 2);
        for (size_t i = 0; i < count; i++)
            grown[i] = config->plugins[i];
        config->plugins = grown;
    }
    plugin->name = name;
    plugin->index = (unsigned)count;
    plugin->node = node;
    config->plugins[config->plugin_count++] = plugin;
    return plugin;
}

static bool is_builtin_name(mg_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        const char c = mg_lower(name.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return name.n > 0 && name.n <= 64;
}

static void take_use(mg_building *b, mg_config_plugin *plugin, const mg_node *use)
{
    if (!mg_node_is(use, MG_NODE_STRING) || use->text.n == 0)
        return;
    plugin->use = use->text;
    if (mg_str_starts(use->text, MG_STR("./")) || mg_str_starts(use->text, MG_STR("../")) ||
        use->text.p[0] == '/')
        plugin->path = mg_config_resolve(b, use, use->text);
    else if (!is_builtin_name(use->text))
        mg_finding_hint(mg_node_error(b->report, use, "not-allowed", "\"%.*s\" is no built-in's name",
                                      MG_STR_ARGS(mg_node_shown(use))),
                        "for a folder of your own write ./%.*s", MG_STR_ARGS(mg_node_shown(use)));
}

static void build_plugin(mg_building *b, mg_node *node)
{
    static const char *const words[] = { "closed", "open", "skip", NULL };
    mg_config_plugin *plugin = add_plugin(b, node->key->text, node);
    mg_node *config = mg_node_get(node, "config");

    take_use(b, plugin, mg_node_get(node, "use"));
    plugin->config = mg_node_is(config, MG_NODE_MAP) ? config : mg_node_new(&b->config->arena, MG_NODE_MAP);
    plugin->on_error = (mg_config_on_error)mg_read_word(node, "on_error", words);
    plugin->timeout_ms = mg_read_ms(node, "timeout");
    plugin->cpu_ms = mg_read_ms(node, "cpu");
    mg_build_remember(b, b->plugins, plugin->name, plugin, node);
}

void mg_build_plugins(mg_building *b, const mg_node *plugins)
{
    for (mg_node *it = (mg_node *)mg_node_children(plugins); it && it->key; it = it->next)
        build_plugin(b, it);
}

mg_config_plugin *mg_build_plugin_in_place(mg_building *b, const mg_node *child)
{
    mg_config_plugin *plugin = add_plugin(b, child->key->text, child->key);

    plugin->in_place = true;
    plugin->use = child->key->text;
    plugin->config = (mg_node *)child;
    plugin->on_error = MG_CONFIG_CLOSED;
    plugin->cpu_ms = DEFAULT_CPU_MS;
    if (!is_builtin_name(plugin->use))
        mg_node_error(b->report, child->key, "not-allowed", "\"%.*s\" is no built-in's name",
                      MG_STR_ARGS(mg_str_sub(plugin->use, 0, 60)));
    return plugin;
}
