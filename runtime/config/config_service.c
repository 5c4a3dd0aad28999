/* config_service.c - services: their endpoints, how one is picked, their connections. What guards their calls
 * is in config_guard.c. */
#include "config/config_build.h"
#include "http/uri.h"

/* --- endpoints --- */

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
    endpoint->url = mg_keep_str(b, url->text);
    why = mg_uri_parse(&b->config->arena, endpoint->url, &uri);
    if (why) {
        refuse_url(b, url, why, "write http://HOST:PORT");
        return;
    }
    if (mg_str_eq_c(uri.scheme, "https"))
        refuse_url(b, url, "TLS to upstreams is not in this build", "write http:// and the plain port");
    else if (!mg_str_eq_c(uri.path, "/") || uri.query.p)
        refuse_url(b, url, "an endpoint is an address, it has no path", "write http://HOST:PORT alone");
    else if (uri.port == 0)
        refuse_url(b, url, "port 0 cannot be connected to", NULL);
    endpoint->host = uri.host;
    endpoint->port = (uint16_t)uri.port;
}

/* The same to connect to, however its address was written. What a name leads to is not known here. */
static bool same_address(const mg_config_endpoint *a, const mg_config_endpoint *b)
{
    mg_addr one, other;

    if (a->port != b->port)
        return false;
    if (mg_addr_from_ip(&one, a->host, a->port) && mg_addr_from_ip(&other, b->host, b->port))
        return mg_addr_eq(&one, &other);
    return mg_str_eq(a->host, b->host);
}

/* An operator's `down`, health and ejection would reach one of the two alone. */
static void check_address_once(mg_building *b, const mg_config_service *service,
                               const mg_config_endpoint *endpoint)
{
    for (const mg_config_endpoint *it = service->endpoints; endpoint->host.p && it < endpoint; it++) {
        if (!it->host.p || !same_address(it, endpoint))
            continue;
        mg_finding_hint(mg_node_error(b->report, mg_node_get(endpoint->node, "url"), "duplicate-key",
                                      "endpoints[%zu] has this address already",
                                      (size_t)(it - service->endpoints)),
                        "keep one of them, with weight: %llu for the same share",
                        (unsigned long long)it->weight + endpoint->weight);
        return;
    }
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
        check_address_once(b, service, endpoint);
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

/* --- which endpoint --- */

static uint32_t prime_from(uint32_t size)
{
    while (size < MG_MAGLEV_SIZE_MAX && !mg_maglev_prime(size))
        size++;
    return size;
}

/* A table that nobody asks is held to being a prime only where it was written: the default is one. */
static void check_maglev(mg_building *b, const mg_config_service *service, const mg_node *size)
{
    enum { SLOTS_EACH = 100 }; /* docs/policies.md 6: fewer make the shares uneven */
    const uint32_t least = (uint32_t)service->endpoint_count * SLOTS_EACH;

    if (!mg_node_is(size, MG_NODE_INT) || service->maglev_size < 2 ||
        service->maglev_size > MG_MAGLEV_SIZE_MAX)
        return;
    if (!mg_maglev_prime(service->maglev_size))
        mg_finding_hint(
            mg_node_error(b->report, size, "not-allowed", "%u is not a prime", service->maglev_size),
            "write %u", prime_from(service->maglev_size));
    else if (service->balance == MG_BALANCER_MAGLEV && service->maglev_size < least)
        mg_finding_hint(mg_node_error(b->report, size, "out-of-range",
                                      "%u slots are too few for %zu endpoints, which want 100 each",
                                      service->maglev_size, service->endpoint_count),
                        "write maglev_size: %u", prime_from(least));
}

static uint32_t take_bound(mg_building *b, const mg_node *bound)
{
    if (!mg_node_is(bound, MG_NODE_STRING))
        return mg_number_milli(bound);
    if (!mg_str_eq_c(bound->text, "off"))
        mg_finding_hint(mg_node_error(b->report, bound, "not-allowed", "\"%.*s\" is neither a number nor off",
                                      MG_STR_ARGS(mg_node_shown(bound))),
                        "write a number from 1 to 10, or off");
    return 0;
}

static void take_balance(mg_building *b, mg_config_service *service, const mg_node *node)
{
    service->balance = (mg_balancer_algorithm)mg_read_word(node, "balance", mg_balancer_algorithm_words);
    service->ewma_tau_ms = mg_read_ms(node, "ewma_tau");
    service->ewma_penalty_ms = mg_read_ms(node, "ewma_penalty");
    service->maglev_size = mg_read_u32(node, "maglev_size");
    check_maglev(b, service, mg_node_get(node, "maglev_size"));
    service->bound_milli = take_bound(b, mg_node_get(node, "bound"));
    service->slow_start_ms = mg_read_ms(node, "slow_start");
    service->slow_start_min = mg_read_share(node, "slow_start_min") / 10000.0;
    service->panic_percent = mg_read_parts(b, node, "panic", 100);
}

/* --- the whole --- */

/* What calls take along. The adaptive limit has a name of its own, and hosts are told by their places. */
static const char *const of_calls[] = { "endpoints",
                                        "first_byte_timeout",
                                        "read_timeout",
                                        "tunnel_idle_timeout",
                                        "max_head_bytes",
                                        "max_fields",
                                        "pool",
                                        "retry",
                                        "throttle",
                                        "adaptive",
                                        NULL };

static void build_service(mg_building *b, const mg_node *node)
{
    mg_config_service *service = MG_ARENA_NEW(&b->config->arena, mg_config_service);

    service->name = mg_keep_str(b, node->key->text);
    service->index = (unsigned)b->config->service_count;
    service->node = node;
    service->rules = mg_node_digest(node, of_calls);
    take_endpoints(b, service, mg_node_get(node, "endpoints"));
    service->first_byte_timeout_ms = mg_read_ms(node, "first_byte_timeout");
    service->read_timeout_ms = mg_read_ms(node, "read_timeout");
    service->tunnel_idle_timeout_ms = mg_read_ms(node, "tunnel_idle_timeout");
    service->max_head_bytes = (uint32_t)mg_read_size(node, "max_head_bytes");
    service->max_fields = mg_read_u32(node, "max_fields");
    take_balance(b, service, node);
    take_pool(&service->pool, mg_node_get(node, "pool"));
    mg_build_guards(b, service, node);
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
