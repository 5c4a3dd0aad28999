/* admin_services.c - services as they stand, and an operator's word to their breakers and endpoints. */
#include "gateway/admin/admin_parts.h"
#include "gateway/service/service.h"

static const mg_config *config_of(const mg_admin_call *call)
{
    return call->admin->gateway->snapshot->config;
}

/* What is known of a configured one. */
static mg_service_name *known_of(const mg_admin_call *call, const mg_config_service *conf)
{
    return mg_services_named(mg_shared_services(call->admin->gateway->shared.shared), conf->name);
}

static uint64_t policy_now(const mg_admin_call *call)
{
    return mg_shared_policy_now(call->admin->gateway->shared.shared);
}

static mg_str service_at(const void *self, size_t i)
{
    const mg_config *config = self;

    return i < config->service_count ? config->services[i]->name : MG_STR_NONE;
}

/* The service that the path names; NULL when it was refused. */
static const mg_config_service *wanted(mg_admin_call *call)
{
    const mg_config_service *conf = mg_config_service_named(config_of(call), call->names[0]);

    if (!conf)
        mg_admin_refuse_name(call, "service", call->names[0], service_at, config_of(call));
    return conf;
}

/* The same for a word about it. */
static const mg_config_service *addressed(mg_admin_call *call, mg_service_name **known)
{
    const mg_config_service *conf = wanted(call);

    *known = conf ? known_of(call, conf) : NULL;
    if (!conf || (*known && (*known)->newest))
        return conf;
    mg_admin_refuse(call, 503, "busy", "ask again", "the service \"%.*s\" is not in use yet",
                    MG_STR_ARGS(conf->name));
    return NULL;
}

/* ---- the document ---- */

typedef struct pool_figures {
    uint32_t idle, active, waiting;
} pool_figures;

static void add_pool(mg_json_out *out, const pool_figures *pool)
{
    mg_json_out_map(out, "pool");
    mg_json_out_u64(out, "idle", pool->idle);
    mg_json_out_u64(out, "active", pool->active);
    mg_json_out_u64(out, "waiting", pool->waiting);
    mg_json_out_end(out);
}

/* The connections that all workers have to it. */
static pool_figures read_pool(const mg_account *account)
{
    const mg_pool_node *node = &account->node;
    const uint32_t open = atomic_load_explicit(&node->open, memory_order_relaxed);
    const uint32_t idle = atomic_load_explicit(&node->idle, memory_order_relaxed);

    return (pool_figures){ idle, open > idle ? open - idle : 0,
                           atomic_load_explicit(&node->waiting, memory_order_relaxed) };
}

static void add_host(mg_admin_call *call, const mg_service *service, size_t i, pool_figures *sum)
{
    mg_json_out *out = &call->json;
    mg_host_view host;

    mg_service_host_view(service, i, policy_now(call), &host);
    const pool_figures pool = read_pool(mg_service_account(service, i));
    mg_json_out_map(out, NULL);
    mg_json_out_text(out, "endpoint", host.authority);
    if (host.address.n)
        mg_json_out_text(out, "address", host.address);
    mg_json_out_text(out, "health", mg_str_of(mg_health_state_name(host.health)));
    mg_json_out_text(out, "state", host.down ? MG_STR("down") : MG_STR("up"));
    mg_json_out_bool(out, "ejected", host.ejected);
    mg_json_out_bool(out, "usable", host.usable);
    mg_json_out_u64(out, "weight", host.weight);
    mg_json_out_u64(out, "inflight", host.inflight);
    add_pool(out, &pool);
    mg_json_out_end(out);
    sum->idle += pool.idle;
    sum->active += pool.active;
    sum->waiting += pool.waiting;
}

static void add_hosts(mg_admin_call *call, const mg_service *service)
{
    pool_figures sum = { 0 };

    mg_json_out_list(&call->json, "endpoints");
    for (size_t i = 0; i < service->host_count; i++)
        add_host(call, service, i, &sum);
    mg_json_out_end(&call->json);
    mg_json_out_bool(&call->json, "panic", mg_service_in_panic(service, policy_now(call)));
    add_pool(&call->json, &sum);
}

static bool is_of(const mg_circuit *circuit, const mg_config_service *conf)
{
    return conf->breaker.on && conf->breaker.per_route == (circuit->route.n > 0);
}

/* Forced ones last: an operator knows of those. */
static int rank(mg_breaker_state state)
{
    static const int ranks[] = { [MG_BREAKER_CLOSED] = 1,
                                 [MG_BREAKER_FORCED_CLOSED] = 2,
                                 [MG_BREAKER_HALF_OPEN] = 3,
                                 [MG_BREAKER_FORCED_OPEN] = 4,
                                 [MG_BREAKER_OPEN] = 5 };

    return ranks[state];
}

static mg_breaker_state add_circuits(mg_admin_call *call, const mg_service_name *known,
                                     const mg_config_service *conf)
{
    const uint64_t now = policy_now(call);
    mg_breaker_state worst = MG_BREAKER_CLOSED;

    for (const mg_circuit *c = known->circuits; c; c = c->next) {
        if (!is_of(c, conf))
            continue;
        const mg_breaker_state state = mg_breaker_now(c->breaker, now);
        const uint64_t retry_ms = mg_breaker_retry_after_ms(c->breaker, now);
        mg_json_out_map(&call->json, NULL);
        if (conf->breaker.per_route)
            mg_json_out_text(&call->json, "route", c->route);
        mg_json_out_text(&call->json, "state", mg_str_of(mg_breaker_state_name(state)));
        if (retry_ms && retry_ms != UINT64_MAX)
            mg_json_out_u64(&call->json, "retry_after_ms", retry_ms);
        mg_json_out_end(&call->json);
        worst = rank(state) > rank(worst) ? state : worst;
    }
    return worst;
}

static void add_breaker(mg_admin_call *call, const mg_service_name *known, const mg_config_service *conf)
{
    if (!conf->breaker.on) {
        mg_json_out_null(&call->json, "breaker");
        return;
    }
    mg_json_out_map(&call->json, "breaker");
    mg_json_out_text(&call->json, "per", conf->breaker.per_route ? MG_STR("route") : MG_STR("service"));
    mg_json_out_list(&call->json, "circuits");
    const mg_breaker_state worst = add_circuits(call, known, conf);
    mg_json_out_end(&call->json);
    mg_json_out_text(&call->json, "state", mg_str_of(mg_breaker_state_name(worst)));
    mg_json_out_end(&call->json);
}

/* [upper bound in ms, calls]; what took longer than all bounds stands under the last. */
static void add_buckets(mg_json_out *out, const mg_figures_sum *sum)
{
    mg_json_out_list(out, "buckets");
    for (size_t i = 0; i < MG_FIGURES_BUCKETS; i++) {
        mg_figures_sum one = { .calls = 1 };
        if (!sum->buckets[i])
            continue;
        one.buckets[i] = 1;
        mg_json_out_list(out, NULL);
        mg_json_out_double(out, NULL, mg_figures_quantile_ms(&one, 500));
        mg_json_out_u64(out, NULL, sum->buckets[i]);
        mg_json_out_end(out);
    }
    mg_json_out_end(out);
}

static void add_figures(mg_json_out *out, const mg_figures *figures)
{
    mg_figures_sum sum;

    mg_figures_read(figures, &sum);
    mg_json_out_map(out, "figures");
    mg_json_out_u64(out, "calls", sum.calls);
    mg_json_out_u64(out, "errors", sum.errors);
    mg_json_out_u64(out, "timeouts", sum.timeouts);
    mg_json_out_double(out, "p50_ms", mg_figures_quantile_ms(&sum, 500));
    mg_json_out_double(out, "p99_ms", mg_figures_quantile_ms(&sum, 990));
    add_buckets(out, &sum);
    mg_json_out_end(out);
}

static void add_adaptive(mg_json_out *out, const mg_adaptive *adaptive)
{
    if (!adaptive) {
        mg_json_out_null(out, "adaptive");
        return;
    }
    mg_json_out_map(out, "adaptive");
    mg_json_out_u64(out, "limit", mg_adaptive_limit(adaptive));
    mg_json_out_u64(out, "inflight", mg_adaptive_inflight(adaptive));
    mg_json_out_end(out);
}

static void add_service(mg_admin_call *call, const mg_config_service *conf)
{
    const mg_service_name *known = known_of(call, conf);
    mg_json_out *out = &call->json;

    mg_json_out_text(out, "name", conf->name);
    mg_json_out_text(out, "balance", mg_str_of(mg_balancer_algorithm_words[conf->balance]));
    if (!known || !known->newest)
        return;
    add_hosts(call, known->newest);
    add_breaker(call, known, conf);
    mg_json_out_u64(out, "inflight", atomic_load_explicit(&known->concurrent, memory_order_relaxed));
    add_adaptive(out, known->newest->adaptive);
    add_figures(out, known->figures);
}

void mg_admin_services(mg_admin_call *call)
{
    mg_admin_begin(call);
    mg_json_out_list(&call->json, "services");
    for (size_t i = 0; i < config_of(call)->service_count; i++) {
        mg_json_out_map(&call->json, NULL);
        add_service(call, config_of(call)->services[i]);
        mg_json_out_end(&call->json);
    }
    mg_json_out_end(&call->json);
    mg_json_out_end(&call->json);
    mg_admin_send_json(call);
}

static void send_service(mg_admin_call *call, const mg_config_service *conf)
{
    mg_admin_begin(call);
    add_service(call, conf);
    mg_json_out_end(&call->json);
    mg_admin_send_json(call);
}

void mg_admin_service(mg_admin_call *call)
{
    const mg_config_service *conf = wanted(call);

    if (conf)
        send_service(call, conf);
}

/* ---- an operator's word ---- */

static void log_word(const mg_admin_call *call, const mg_config_service *conf, mg_str what, mg_str state)
{
    mg_log_write(call->admin->gateway->options.log, MG_LOG_WARN, "operator", "%.*s: %.*s is set to %.*s",
                 MG_STR_ARGS(conf->name), MG_STR_ARGS(what), MG_STR_ARGS(state));
}

/* `auto` closes it and forgets what it saw; from then on it decides itself. */
void mg_admin_set_breaker(mg_admin_call *call)
{
    static const mg_breaker_state states[] = { MG_BREAKER_CLOSED, MG_BREAKER_FORCED_OPEN,
                                               MG_BREAKER_FORCED_CLOSED };
    const char *const words[] = { "auto", mg_breaker_state_name(states[1]), mg_breaker_state_name(states[2]),
                                  NULL };
    mg_service_name *known;
    const mg_config_service *conf = addressed(call, &known);
    mg_str word;

    if (!conf || !mg_admin_body_text(call, "state", &word))
        return;
    const int place = mg_admin_word(call, word, words, "a breaker");
    if (place < 0)
        return;
    if (!conf->breaker.on) {
        mg_admin_refuse(call, 409, "not-allowed", "give it one in the configuration: breaker: {}",
                        "the service \"%.*s\" has no breaker", MG_STR_ARGS(conf->name));
        return;
    }
    for (const mg_circuit *c = known->circuits; c; c = c->next)
        if (is_of(c, conf))
            mg_breaker_force(c->breaker, states[place], policy_now(call));
    log_word(call, conf, MG_STR("the breaker"), word);
    send_service(call, conf);
}

static mg_str authority_at(const void *self, size_t i)
{
    const mg_service *service = self;

    return i < service->host_count ? service->authorities[i] : MG_STR_NONE;
}

/* Its place among the hosts; false when it was refused. */
static bool host_of(mg_admin_call *call, const mg_service *service, size_t *host)
{
    for (*host = 0; *host < service->host_count; (*host)++)
        if (mg_str_eq(service->authorities[*host], call->names[1]))
            return true;
    mg_admin_refuse_name(call, "endpoint", call->names[1], authority_at, service);
    return false;
}

void mg_admin_set_endpoint(mg_admin_call *call)
{
    enum { UP, DOWN };
    static const char *const words[] = { [UP] = "up", [DOWN] = "down", NULL };
    mg_service_name *known;
    const mg_config_service *conf = addressed(call, &known);
    const mg_clock *clock = call->admin->gateway->shared.clock;
    mg_str word;
    size_t host;

    if (!conf || !host_of(call, known->newest, &host) || !mg_admin_body_text(call, "state", &word))
        return;
    const int place = mg_admin_word(call, word, words, "an endpoint");
    if (place < 0)
        return;
    mg_service_set_down(known->newest, host, place == DOWN, clock->mono_ns(clock));
    log_word(call, conf, known->newest->authorities[host], word);
    send_service(call, conf);
}
