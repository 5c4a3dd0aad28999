/* metrics_policy.c - what the policies did and how they stand (docs/policies.md 12), for /metrics. The
 * control thread. */
#include "gateway/admin/metrics_policy.h"

#include "gateway/control.h"
#include "gateway/observe/limit_stats.h"
#include "gateway/observe/metrics.h"
#include "gateway/service/rollout_run.h"
#include "state/persist.h"

typedef struct page {
    mg_gateway *gateway;
    mg_services *services;
    mg_text *out;
    unsigned workers;
    uint64_t policy_ns;
} page;

static void line(const page *p, const char *name, uint64_t value, const char *labels, ...)
    __attribute__((format(printf, 4, 5)));

static void line(const page *p, const char *name, uint64_t value, const char *labels, ...)
{
    va_list args;

    mg_text_addf(p->out, "%s{", name);
    va_start(args, labels);
    mg_text_vaddf(p->out, labels, args);
    va_end(args);
    mg_text_addf(p->out, "} %llu\n", (unsigned long long)value);
}

/* ---- breakers ---- */

typedef void write_circuit(const page *p, const char *name, const mg_circuit *circuit);

static void each_circuit(const page *p, const char *name, const char *type, const char *help,
                         write_circuit *write)
{
    mg_stats_head(p->out, name, type, help);
    for (const mg_service_name *s = mg_services_next(p->services, NULL); s;
         s = mg_services_next(p->services, s))
        for (const mg_circuit *c = s->circuits; c; c = c->next)
            write(p, name, c);
}

/* Those that calls go under now: a breaker whose service or route has gone has no state, only its counts. */
static void each_circuit_now(const page *p, const char *name, const char *type, const char *help,
                             write_circuit *write)
{
    const mg_snapshot *snapshot = p->gateway->snapshot;

    mg_stats_head(p->out, name, type, help);
    for (size_t i = 0; snapshot && i < snapshot->config->service_count; i++)
        if (snapshot->services[i].service->circuit)
            write(p, name, snapshot->services[i].service->circuit);
    for (size_t i = 0; snapshot && i < snapshot->config->route_count; i++)
        for (size_t s = 0; snapshot->routes[i].circuits && s < snapshot->config->service_count; s++)
            if (snapshot->routes[i].circuits[s])
                write(p, name, snapshot->routes[i].circuits[s]);
}

static void write_state(const page *p, const char *name, const mg_circuit *c)
{
    const mg_breaker_state now = mg_breaker_now(c->breaker, p->policy_ns);

    for (mg_breaker_state state = MG_BREAKER_CLOSED; state <= MG_BREAKER_FORCED_CLOSED; state++)
        line(p, name, state == now, "service=\"%.*s\",route=\"%.*s\",state=\"%s\"", MG_STR_ARGS(c->service),
             MG_STR_ARGS(c->route), mg_breaker_state_name(state));
}

static void write_calls(const page *p, const char *name, const mg_circuit *c)
{
    static const char *const outcomes[] = { MG_CALL_OUTCOMES(MG_WORD_TEXT) };

    for (int o = 0; o < MG_CALLS; o++) {
        uint64_t sum = 0;
        for (unsigned w = 0; w < p->workers; w++)
            sum += mg_cell_get(&c->cells[w].calls[o]);
        line(p, name, sum, "service=\"%.*s\",route=\"%.*s\",outcome=\"%s\"", MG_STR_ARGS(c->service),
             MG_STR_ARGS(c->route), outcomes[o]);
    }
}

static void write_breakers(const page *p)
{
    each_circuit_now(p, "circuit_breaker_state", "gauge", "1 for the state a breaker is in.", write_state);
    each_circuit(p, "circuit_breaker_calls_total", "counter",
                 "Calls that breakers saw, by what became of them.", write_calls);
}

/* ---- services ---- */

typedef void write_service(const page *p, const char *name, const mg_service_name *service);

static void each_service(const page *p, const char *name, const char *type, const char *help,
                         write_service *write)
{
    mg_stats_head(p->out, name, type, help);
    for (const mg_service_name *s = mg_services_next(p->services, NULL); s;
         s = mg_services_next(p->services, s))
        write(p, name, s);
}

/* What stands as it is, of the services that there are. */
static void each_service_now(const page *p, const char *name, const char *type, const char *help,
                             write_service *write)
{
    const mg_snapshot *snapshot = p->gateway->snapshot;

    mg_stats_head(p->out, name, type, help);
    for (size_t i = 0; snapshot && i < snapshot->config->service_count; i++)
        write(p, name, snapshot->services[i].service->of);
}

static void write_slow(const page *p, const char *name, const mg_service_name *service)
{
    uint64_t sum = 0;

    if (!service->circuits)
        return;
    for (const mg_circuit *c = service->circuits; c; c = c->next)
        for (unsigned w = 0; w < p->workers; w++)
            sum += mg_cell_get(&c->cells[w].slow);
    line(p, name, sum, "service=\"%.*s\"", MG_STR_ARGS(service->name));
}

/* Reasons that lead to the same state under the same name are one series. */
static void write_transitions(const page *p, const char *name, const mg_service_name *service)
{
    for (mg_breaker_reason r = 0; service->circuits && r < MG_BREAKER_REASONS; r++) {
        uint64_t sum = 0;
        for (const mg_circuit *c = service->circuits; c; c = c->next)
            sum += mg_breaker_changes(c->breaker, r);
        line(p, name, sum, "service=\"%.*s\",to=\"%s\",reason=\"%s\"", MG_STR_ARGS(service->name),
             mg_breaker_state_name(mg_breaker_reason_leads_to(r)), mg_breaker_reason_name(r));
    }
}

static void write_duration(const page *p, const char *name, const mg_service_name *service)
{
    mg_histogram sum = { 0 };
    char labels[128];

    for (unsigned w = 0; w < p->workers; w++)
        mg_histogram_sum(&sum, &service->cells[w].call_duration);
    snprintf(labels, sizeof labels, "service=\"%.*s\"", MG_STR_ARGS(service->name));
    mg_stats_histogram(p->out, name, labels, &sum);
}

static void write_retries(const page *p, const char *name, const mg_service_name *service)
{
    static const char *const outcomes[] = { MG_RETRY_OUTCOMES(MG_WORD_TEXT) };

    for (int o = 0; o < MG_RETRIES; o++) {
        uint64_t sum = 0;
        for (unsigned w = 0; w < p->workers; w++)
            sum += mg_cell_get(&service->cells[w].retries[o]);
        line(p, name, sum, "service=\"%.*s\",outcome=\"%s\"", MG_STR_ARGS(service->name), outcomes[o]);
    }
}

static void write_reuse(const page *p, const char *name, const mg_service_name *service)
{
    static const char *const results[] = { MG_REUSE_RESULTS(MG_WORD_TEXT) };

    for (int r = 0; r < MG_REUSES; r++) {
        uint64_t sum = 0;
        for (unsigned w = 0; w < p->workers; w++)
            sum += mg_cell_get(&service->cells[w].reuse[r]);
        line(p, name, sum, "service=\"%.*s\",result=\"%s\"", MG_STR_ARGS(service->name), results[r]);
    }
}

static void write_refusals(const page *p, const char *name, const mg_service_name *service)
{
    for (int r = 0; r < MG_SERVICE_REFUSALS_COUNT; r++) {
        uint64_t sum = 0;
        for (unsigned w = 0; w < p->workers; w++)
            sum += mg_cell_get(&service->cells[w].refused[r]);
        line(p, name, sum, "service=\"%.*s\",reason=\"%s\"", MG_STR_ARGS(service->name),
             mg_refusals[r].error);
    }
}

static void write_connections(const page *p, const char *name, const mg_service_name *service)
{
    uint64_t idle = 0, open = 0;

    if (!service->newest)
        return;
    for (size_t i = 0; i < service->newest->host_count; i++) {
        const mg_pool_node *node = &mg_service_account(service->newest, i)->node;
        idle += atomic_load(&node->idle);
        open += atomic_load(&node->open);
    }
    line(p, name, idle, "service=\"%.*s\",state=\"idle\"", MG_STR_ARGS(service->name));
    line(p, name, open > idle ? open - idle : 0, "service=\"%.*s\",state=\"active\"",
         MG_STR_ARGS(service->name));
}

static void write_hosts(const page *p, const char *name, const mg_service_name *service)
{
    uint64_t healthy = 0, unhealthy = 0, ejected = 0;

    if (!service->newest)
        return;
    for (size_t i = 0; i < service->newest->host_count; i++) {
        mg_host_view host;
        mg_service_host_view(service->newest, i, p->policy_ns, &host);
        if (host.health == MG_HEALTH_DOWN || host.down)
            unhealthy++;
        else if (host.ejected)
            ejected++;
        else
            healthy++;
    }
    line(p, name, healthy, "service=\"%.*s\",state=\"healthy\"", MG_STR_ARGS(service->name));
    line(p, name, unhealthy, "service=\"%.*s\",state=\"unhealthy\"", MG_STR_ARGS(service->name));
    line(p, name, ejected, "service=\"%.*s\",state=\"ejected\"", MG_STR_ARGS(service->name));
    /* All of them, while health is ignored. */
    line(p, name, mg_service_in_panic(service->newest, p->policy_ns) ? service->newest->host_count : 0,
         "service=\"%.*s\",state=\"panic\"", MG_STR_ARGS(service->name));
}

static void write_adaptive(const page *p, const char *name, const mg_service_name *service)
{
    if (service->newest && service->newest->adaptive)
        line(p, name, mg_adaptive_limit(service->newest->adaptive), "service=\"%.*s\"",
             MG_STR_ARGS(service->name));
}

static void write_services(const page *p)
{
    each_service(p, "circuit_breaker_slow_calls_total", "counter", "Calls that took as long as slow_call.",
                 write_slow);
    each_service(p, "moongate_breaker_transitions_total", "counter", "Changes of a breaker's state, and why.",
                 write_transitions);
    /* The first is the name that dashboards for breakers know. */
    each_service(p, "circuit_breaker_call_duration_seconds", "histogram", "Calls, to their response's head.",
                 write_duration);
    each_service(p, "moongate_upstream_request_duration_seconds", "histogram",
                 "Calls, to their response's head.", write_duration);
    each_service(p, "moongate_upstream_retries_total", "counter", "Second and further tries, sent or not.",
                 write_retries);
    each_service(p, "moongate_upstream_refusals_total", "counter", "Requests the service took no more of.",
                 write_refusals);
    each_service_now(p, "moongate_upstream_connections", "gauge", "Connections to its hosts.",
                     write_connections);
    each_service(p, "moongate_upstream_reuse_total", "counter",
                 "Calls on a connection that had served before (hit), on a new one (miss); connections that "
                 "turned out to be closed (stale).",
                 write_reuse);
    each_service_now(p, "moongate_upstream_hosts", "gauge", "Hosts, by how they stand.", write_hosts);
    each_service_now(p, "moongate_adaptive_limit", "gauge", "Calls at once that the adaptive limit allows.",
                     write_adaptive);
}

/* ---- limiters ---- */

static void write_limiter(void *self, const mg_limit_stat *stat)
{
    const page *p = self;
    mg_limit_sum sum;

    mg_limit_stat_read(mg_shared_limit_stats(p->gateway->shared.shared), stat, &sum);
    const struct {
        const char *name;
        uint64_t count;
    } decisions[] = { { "allow", sum.allow },
                      { "deny", sum.deny },
                      { "shadow_deny", sum.shadow_deny },
                      { "overflow", sum.overflow } };
    for (int d = 0; d < 4; d++)
        line(p, "moongate_limiter_decisions_total", decisions[d].count, "limiter=\"%s\",decision=\"%s\"",
             stat->name, decisions[d].name);
}

static void write_limiters(const page *p)
{
    const mg_snapshot *snapshot = p->gateway->snapshot;

    mg_stats_head(p->out, "moongate_limiter_decisions_total", "counter", "What limiters said.");
    mg_limit_stats_each(mg_shared_limit_stats(p->gateway->shared.shared), write_limiter,
                        (void *)(uintptr_t)p);
    mg_stats_head(p->out, "moongate_limiter_keys", "gauge", "Keys that owe something.");
    for (size_t i = 0; snapshot && i < snapshot->config->limiter_count; i++)
        if (snapshot->limits[i].limiter)
            line(p, "moongate_limiter_keys", mg_limiter_keys(snapshot->limits[i].limiter, p->policy_ns),
                 "limiter=\"%.*s\"", MG_STR_ARGS(snapshot->limits[i].conf->name));
}

/* ---- listeners ---- */

static void write_listeners(const page *p)
{
    static const char open[] = "moongate_listener_connections",
                      refused[] = "moongate_listener_connections_refused_total";
    const mg_snapshot *snapshot = p->gateway->snapshot;
    const size_t count = snapshot ? snapshot->config->listener_count : 0;

    mg_stats_head(p->out, open, "gauge", "Open connections of clients.");
    for (size_t i = 0; i < count; i++)
        line(p, open, atomic_load(&snapshot->gates[i]->conns.open), "listener=\"%.*s\"",
             MG_STR_ARGS(snapshot->config->listeners[i]->name));
    mg_stats_head(p->out, refused, "counter", "Connections that found no place.");
    for (size_t i = 0; i < count; i++)
        line(p, refused, atomic_load(&snapshot->gates[i]->conns.refused), "listener=\"%.*s\"",
             MG_STR_ARGS(snapshot->config->listeners[i]->name));
}

/* ---- rollouts and the store ---- */

static void write_rollout(void *self, const mg_rollout_view *view)
{
    line(self, "moongate_rollout_weight", view->percent, "rollout=\"%.*s\"", MG_STR_ARGS(view->route));
}

static void write_store(const page *p, mg_persist *persist)
{
    mg_persist_stats stats;
    mg_kv_stats ledger;

    mg_persist_stats_get(persist, &stats);
    mg_kv_stats_get(p->gateway->kv, &ledger);
    mg_stats_head(p->out, "moongate_state_lag_seconds", "gauge",
                  "How old the oldest change is that is not stored yet.");
    mg_text_addf(p->out, "moongate_state_lag_seconds %.3f\n", (double)stats.lag_ms / 1e3);
    mg_stats_head(p->out, "moongate_state_errors_total", "counter", "Flushes of either store that failed.");
    mg_text_addf(p->out, "moongate_state_errors_total %llu\n",
                 (unsigned long long)stats.errors + ledger.failures);
    mg_stats_head(p->out, "moongate_state_skipped_rows_total", "counter",
                  "Stored rows that could not be used when they were read.");
    mg_text_addf(p->out, "moongate_state_skipped_rows_total %llu\n", (unsigned long long)stats.skipped_rows);
    mg_stats_head(p->out, "moongate_state_used_bytes", "gauge", "Of the store of policy state.");
    mg_text_addf(p->out, "moongate_state_used_bytes %llu\n", (unsigned long long)stats.used_bytes);
    mg_stats_head(p->out, "moongate_state_commit_duration_seconds", "histogram", "Commits of policy state.");
    mg_stats_histogram(p->out, "moongate_state_commit_duration_seconds", "", &stats.commits);
}

void mg_metrics_policy_write(mg_gateway *gateway, mg_text *out)
{
    mg_shared *shared = gateway->shared.shared;
    const page p = { .gateway = gateway,
                     .services = mg_shared_services(shared),
                     .out = out,
                     .workers = mg_shared_workers(shared),
                     .policy_ns = mg_shared_policy_now(shared) };

    write_listeners(&p);
    write_breakers(&p);
    write_services(&p);
    write_limiters(&p);
    mg_stats_head(out, "moongate_rollout_weight", "gauge",
                  "Percent of a route's traffic that its canary gets.");
    if (gateway->rollouts)
        mg_rollouts_each(gateway->rollouts, write_rollout, (void *)(uintptr_t)&p);
    if (mg_shared_persist(shared))
        write_store(&p, mg_shared_persist(shared));
}
