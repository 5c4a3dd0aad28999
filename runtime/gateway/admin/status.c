/* status.c - /livez /readyz /healthz /metrics, on a listener of its own on the control loop
 * (docs/architecture.md 11). It never looks at upstreams. */
#include "gateway/admin/status.h"
#include "base/mem.h"
#include "gateway/admin/desk.h"

#include "gateway/admin/metrics_policy.h"
#include "gateway/control.h"

#define STALE_NS (2 * MG_NS_PER_S) /* a worker whose loop has not turned for so long is not alive */

struct mg_status_door {
    mg_gateway *gateway; /* borrowed */
    mg_desk *desk;       /* owned */
};

typedef struct check {
    const char *name;
    bool ok;
} check;

enum { CHECKS = 5 };

static bool workers_turn(const mg_gateway *gateway)
{
    const uint64_t now = gateway->shared.clock->mono_ns(gateway->shared.clock);

    for (unsigned w = 0; w < gateway->shared.worker_count; w++) {
        const uint64_t turn =
            atomic_load_explicit(&gateway->shared.workers[w]->turn_ns, memory_order_relaxed);
        if (now > turn + STALE_NS)
            return false;
    }
    return true;
}

/* Whether every worker has room for its plugins. */
static bool scripts_run(const mg_gateway *gateway)
{
    for (unsigned w = 0; w < gateway->shared.worker_count; w++)
        if (atomic_load_explicit(&gateway->shared.workers[w]->renewal.holds, memory_order_relaxed))
            return false;
    return true;
}

static bool run_checks(const mg_gateway *gateway, check checks[CHECKS])
{
    const int state = atomic_load(&((mg_gateway *)(uintptr_t)gateway)->state);
    bool ok = true;

    checks[0] = (check){ "workers", workers_turn(gateway) };
    checks[1] = (check){ "revision", gateway->snapshot != NULL };
    checks[2] = (check){ "state", gateway->kv != NULL };
    checks[3] = (check){ "not_draining", state == MG_GATEWAY_NEW || state == MG_GATEWAY_RUNS };
    checks[4] = (check){ "scripts", scripts_run(gateway) };
    for (int i = 0; i < CHECKS; i++)
        ok &= checks[i].ok;
    return ok;
}

/* Whether what policies and plugins remember reaches the disk: traffic does not depend on it, so neither does
 * the check. */
static void write_storing(const mg_gateway *gateway, mg_json_out *out)
{
    mg_persist_stats policy;
    mg_kv_stats ledger;

    if (!gateway->persist)
        return;
    mg_persist_stats_get(gateway->persist, &policy);
    mg_kv_stats_get(gateway->kv, &ledger);
    mg_json_out_bool(out, "stored", !policy.failing && !ledger.failing);
    mg_json_out_u64(out, "lag_ms", policy.lag_ms);
}

static int write_checks(const mg_gateway *gateway, mg_text *text)
{
    mg_json_out out = { .text = text };
    check checks[CHECKS];
    const bool ok = run_checks(gateway, checks);

    mg_json_out_map(&out, NULL);
    mg_json_out_text(&out, "status", ok ? MG_STR("ok") : MG_STR("failed"));
    mg_json_out_map(&out, "checks");
    for (int i = 0; i < CHECKS; i++) {
        mg_json_out_map(&out, checks[i].name);
        mg_json_out_bool(&out, "ok", checks[i].ok);
        if (strcmp(checks[i].name, "state") == 0)
            write_storing(gateway, &out);
        mg_json_out_end(&out);
    }
    mg_json_out_end(&out);
    mg_json_out_end(&out);
    mg_text_add_char(text, '\n');
    return ok ? 200 : 503;
}

static int write_short(bool ok, mg_text *out)
{
    mg_text_add_c(out, ok ? "ok\n" : "not ok\n");
    return ok ? 200 : 503;
}

/* Whether all workers turn, and which do not. */
static int write_live(mg_gateway *gateway, mg_text *out)
{
    const int status = write_short(workers_turn(gateway), out);

    if (status != 200)
        mg_watchdog_write(gateway->watchdog, out);
    return status;
}

static void write_hangs(mg_gateway *gateway, mg_text *out)
{
    mg_stats_head(out, "moongate_hangs_total", "counter", "Threads that stood still for two seconds.");
    for (int kind = 0; kind < MG_WATCH_KINDS; kind++)
        mg_text_addf(out, "moongate_hangs_total{thread=\"%s\"} %llu\n", mg_watch_names[kind],
                     (unsigned long long)mg_watchdog_hangs(gateway->watchdog, (mg_watch_kind)kind));
}

static void write_logs(const mg_log_writer *writer, mg_text *out)
{
    mg_stats_head(out, "moongate_log_lines_dropped_total", "counter",
                  "Lines of logs that could not be written, or not in time.");
    for (int log = 0; log < MG_LOGS; log++)
        mg_text_addf(out, "moongate_log_lines_dropped_total{log=\"%s\"} %llu\n", mg_log_names[log],
                     (unsigned long long)mg_log_writer_dropped(writer, (mg_log_name)log));
}

typedef struct counters_text {
    mg_gateway *gateway;
    mg_text *out;
} counters_text;

static void write_counter(void *self, const mg_counter *counter)
{
    const counters_text *text = self;

    mg_text_addf(text->out, "moongate_plugin_counter_total{name=\"%s\"} %llu\n", counter->name,
                 (unsigned long long)mg_counter_sum(text->gateway->shared.shared, counter));
}

/* The counters that plugins made. */
static void write_counters(mg_gateway *gateway, mg_text *out)
{
    counters_text text = { gateway, out };

    mg_text_add_c(out, "# HELP moongate_plugin_counter_total Counters that plugins keep.\n# TYPE "
                       "moongate_plugin_counter_total counter\n");
    mg_shared_each_counter(gateway->shared.shared, write_counter, &text);
}

static int write_metrics(mg_gateway *gateway, mg_text *out)
{
    const mg_stats_global global = { .revision = gateway->revision,
                                     .reloads_ok = atomic_load(&gateway->reloads_ok),
                                     .reloads_refused = atomic_load(&gateway->reloads_refused),
                                     .last_success_s = atomic_load(&gateway->last_success_s),
                                     .lua_memory_bytes = mg_control_lua_memory(gateway),
                                     .counters_dropped = mg_shared_counters_dropped(gateway->shared.shared) };

    mg_stats_write(gateway->shared.stats, &global, out);
    mg_metrics_policy_write(gateway, out);
    write_counters(gateway, out);
    if (gateway->watchdog)
        write_hangs(gateway, out);
    if (gateway->options.log_writer)
        write_logs(gateway->options.log_writer, out);
    return 200;
}

static int write_answer(mg_gateway *gateway, const mg_request *request, mg_text *out, mg_str *type)
{
    check checks[CHECKS];
    const bool verbose = request->query.p && mg_str_starts(request->query, MG_STR("verbose"));

    *type = MG_STR("text/plain; charset=utf-8");
    if (request->method != MG_METHOD_GET && request->method != MG_METHOD_HEAD)
        return 405;
    if (mg_str_eq_c(request->path, "/livez"))
        return write_live(gateway, out);
    if (mg_str_eq_c(request->path, "/readyz") && !verbose)
        return write_short(run_checks(gateway, checks), out);
    if (mg_str_eq_c(request->path, "/metrics")) {
        *type = MG_STR("text/plain; version=0.0.4; charset=utf-8");
        return write_metrics(gateway, out);
    }
    if (mg_str_eq_c(request->path, "/healthz") || mg_str_eq_c(request->path, "/readyz")) {
        *type = MG_STR("application/json");
        return write_checks(gateway, out);
    }
    return 404;
}

static void answer(void *self, mg_ask *ask)
{
    const mg_status_door *door = self;
    mg_str type;
    const int status = write_answer(door->gateway, &ask->x->request, &ask->out, &type);

    if (status == 405)
        ask->allow = MG_STR("GET, HEAD");
    if (status == 404 || status == 405)
        mg_ask_problem(ask, status, MG_STR("This listener serves /livez, /readyz, /healthz and /metrics."),
                       NULL);
    else
        mg_ask_send(ask, status, type);
}

mg_status_door *mg_status_open(mg_gateway *gateway, const mg_config *config, mg_error *err)
{
    if (!config->status_on || mg_addr_make_folder(&config->status_addr, 0755, err) != MG_OK)
        return NULL;
    mg_status_door *door = MG_NEW(mg_status_door);
    const mg_desk_conf conf = { .addr = config->status_addr,
                                .log = gateway->options.log,
                                .max_connections = 256,
                                .answer = answer,
                                .self = door };
    door->gateway = gateway;
    door->desk = mg_desk_open(gateway->loops[0], &conf, err);
    if (door->desk)
        return door;
    mg_status_free(door);
    return NULL;
}

void mg_status_start(mg_status_door *door)
{
    mg_desk_start(door->desk);
}

void mg_status_free(mg_status_door *door)
{
    if (!door)
        return;
    mg_desk_free(door->desk);
    mg_free(door);
}
