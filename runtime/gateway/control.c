/* control.c - when a configuration is published, and how: to all workers or to none; reloads, logs, the
 * drain. */
#include "gateway/publication.h"

#include "base/check.h"
#include "base/mem.h"
#include <time.h>

/* A message that needs to say no more than whose it is. */
typedef struct plain_message {
    mg_message message;
    mg_gateway *gateway;
} plain_message;

static void post(mg_gateway *gateway, mg_mailbox *mailbox, void (*run)(mg_message *))
{
    plain_message *plain = MG_NEW(plain_message);

    *plain = (plain_message){ { NULL, run }, gateway };
    mg_mailbox_post(mailbox, &plain->message);
}

/* ---- publishing ---- */

/* A listener that may have more connections than there are descriptors: it would stop answering, not refuse.
 */
static void tell_few_descriptors(const mg_gateway *gateway, const mg_config *config)
{
    uint64_t most = 0;

    for (size_t i = 0; i < config->listener_count; i++)
        most += config->listeners[i]->max_connections;
    if (most > gateway->shared.connection_cap)
        mg_log_write(
            gateway->options.log, MG_LOG_WARN, "few_descriptors",
            "max_connections of all listeners together is %llu, but ulimit -n leaves %u, as many again "
            "for upstreams, and 128; raise ulimit -n, or lower max_connections",
            (unsigned long long)most, gateway->shared.connection_cap);
}

/* "reloaded" is told by the lower of both levels: whoever turns the log down sees that it was taken. */
static void tell_published(mg_gateway *gateway, const mg_config *config, bool first)
{
    mg_log *log = gateway->options.log;
    const bool follows = log && gateway->options.log_level_follows;

    if (follows && config->log_level < mg_log_get_level(log))
        mg_log_set_level(log, config->log_level);
    mg_log_write(log, MG_LOG_INFO, first ? "ready" : "reloaded",
                 "revision %llu: %zu routes, %zu services, %zu plugins, %u workers",
                 (unsigned long long)gateway->revision, config->route_count, config->service_count,
                 gateway->snapshot->plan.plugin_count, gateway->shared.worker_count);
    tell_few_descriptors(gateway, config);
    if (follows)
        mg_log_set_level(log, config->log_level);
}

static void published(mg_gateway *gateway)
{
    mg_publication *publication = gateway->publication;
    const mg_config *config = publication->snapshot->config;
    const bool first = gateway->snapshot == NULL;
    mg_snapshot *old = gateway->snapshot;
    const mg_clock *clock = gateway->shared.clock;
    mg_error err = MG_ERROR_INIT;

    gateway->publication = NULL;
    gateway->snapshot = publication->snapshot;
    mg_snapshot_ref(gateway->snapshot);
    gateway->revision = gateway->snapshot->revision;
    mg_publication_free(publication);
    if (gateway->renew_later)
        mg_control_renew(gateway, MG_STR_NONE);
    mg_rollouts_follow(gateway->rollouts, gateway->snapshot);
    mg_snapshot_unref(old);
    if (atomic_load(&gateway->state) < MG_GATEWAY_DRAINS)
        mg_probe_follow(gateway->probe, gateway->snapshot);
    atomic_store(&gateway->drain_ms,
                 (uint32_t)mg_min_u64(config->drain_delay_ms + config->drain_timeout_ms, UINT32_MAX));
    atomic_store(&gateway->last_success_s, (uint64_t)(clock->wall_ns(clock) / (int64_t)MG_NS_PER_S));
    if (!first)
        atomic_fetch_add(&gateway->reloads_ok, 1);
    if (mg_access_log_change(gateway->shared.access_log, config->access_log_to, config->access_log_path,
                             &err) != MG_OK)
        mg_log_write(gateway->options.log, MG_LOG_ERROR, "access_log", "%s", err.message);
    tell_published(gateway, config, first);
    if (first && gateway->status)
        mg_status_start(gateway->status);
    if (first && gateway->admin)
        mg_admin_start(gateway->admin);
    if (first) {
        int expected = MG_GATEWAY_NEW;
        atomic_compare_exchange_strong(&gateway->state, &expected, MG_GATEWAY_RUNS);
    }
    if (first && gateway->ready)
        gateway->ready(gateway->ready_self);
    if (gateway->reload_again) {
        gateway->reload_again = false;
        mg_gateway_reload(gateway);
    }
}

/* To a worker and back. */
typedef struct apply_message {
    mg_message message;
    mg_gateway *gateway;
    mg_worker *worker;
    mg_worker_change change;
} apply_message;

static void on_ack(mg_message *message)
{
    apply_message *apply = mg_container_of(message, apply_message, message);
    mg_gateway *gateway = apply->gateway;

    mg_free(apply);
    if (gateway->publication && ++gateway->publication->acks == gateway->shared.worker_count)
        published(gateway);
}

static void on_apply(mg_message *message)
{
    apply_message *apply = mg_container_of(message, apply_message, message);

    mg_worker_apply(apply->worker, &apply->change);
    apply->message.run = on_ack;
    if (apply->gateway->mailbox)
        mg_mailbox_post(apply->gateway->mailbox, &apply->message);
    else
        mg_free(apply); /* the gateway is being freed: nobody counts */
}

static void send_out(mg_publication *publication)
{
    mg_gateway *gateway = publication->gateway;

    if (publication->sent)
        return;
    publication->sent = true;
    mg_timer_stop(&publication->patience);
    mg_publication_adopt(publication);
    for (unsigned w = 0; w < gateway->shared.worker_count; w++) {
        apply_message *apply = MG_NEW(apply_message);
        mg_snapshot_ref(publication->snapshot);
        publication->changes[w].snapshot = publication->snapshot;
        *apply = (apply_message){
            { NULL, on_apply }, gateway, gateway->shared.workers[w], publication->changes[w]
        };
        publication->changes[w] = (mg_worker_change){ 0 }; /* the worker's now */
        mg_mailbox_post(gateway->shared.workers[w]->mailbox, &apply->message);
    }
}

bool mg_control_publishes(const mg_gateway *gateway)
{
    return gateway->publication && gateway->publication->sent;
}

static void on_patience(mg_timer *timer)
{
    send_out(mg_container_of(timer, mg_publication, patience));
}

static void name_is_there(mg_gateway *gateway, uint64_t revision)
{
    mg_publication *publication = gateway->publication;

    if (publication && !publication->sent && publication->snapshot->revision == revision &&
        --publication->names_waiting == 0)
        send_out(publication);
}

static void await_names(mg_publication *publication)
{
    mg_gateway *gateway = publication->gateway;
    const mg_snapshot *snapshot = publication->snapshot;

    mg_timer_init(&publication->patience, on_patience);
    publication->names_waiting = 1;
    for (size_t s = 0; s < snapshot->config->service_count; s++)
        publication->names_waiting += (unsigned)snapshot->services[s].conf->endpoint_count;
    const unsigned patience_s = mg_control_ask_names(gateway, snapshot, name_is_there);
    mg_timer_set(gateway->loops[0], &publication->patience,
                 mg_loop_now(gateway->loops[0]) + patience_s * MG_NS_PER_S);
    name_is_there(gateway, snapshot->revision);
}

static void on_start(mg_message *message)
{
    mg_gateway *gateway = mg_container_of(message, plain_message, message)->gateway;

    mg_free(message);
    if (gateway->publication) /* else discarded meanwhile */
        await_names(gateway->publication);
}

bool mg_control_publish(mg_gateway *gateway, mg_config *config, bool first, mg_report *report)
{
    mg_publication *publication = mg_publication_build(gateway, config, report);

    if (!publication)
        return false;
    MG_CHECK(!gateway->publication);
    gateway->publication = publication;
    if (!first) {
        await_names(publication);
        return true;
    }
    post(gateway, gateway->mailbox, on_start); /* runs when the control loop does */
    return true;
}

/* ---- reload ---- */

static void log_report(mg_gateway *gateway, const mg_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const mg_finding *f = &report->findings[i];
        char place[32] = "";
        if (f->file)
            snprintf(place, sizeof place, ":%d:%d: ", f->line, f->column);
        mg_log_write(gateway->options.log, f->severity == MG_SEVERITY_ERROR ? MG_LOG_ERROR : MG_LOG_WARN,
                     "config", "%s%s[%s] %s%s%s%s%s", f->file ? f->file : "", place, f->code,
                     f->pointer ? f->pointer : "", f->pointer ? ": " : "", f->message, f->hint ? "; " : "",
                     f->hint ? f->hint : "");
    }
}

/* What is opened once stays until the next start; a log that cannot be written is found before anything is
 * swapped. */
static bool can_follow(const mg_gateway *gateway, const mg_config *config, mg_report *report)
{
    const mg_config *now = gateway->snapshot->config;
    const struct {
        const char *key;
        bool same;
    } fixed[] = {
        { "workers", config->workers == now->workers },
        { "status", config->status_on == now->status_on && mg_str_eq(config->status_bind, now->status_bind) },
        { "admin", config->admin_on == now->admin_on && mg_str_eq(config->admin_bind, now->admin_bind) },
        { "state",
          mg_str_eq(config->state_path, now->state_path) && config->state_max_bytes == now->state_max_bytes },
    };
    const size_t before = report->errors;
    mg_error err = MG_ERROR_INIT;

    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        if (fixed[i].same)
            continue;
        const mg_node *node = mg_node_get(config->root, fixed[i].key);
        mg_finding *f = mg_node_error(report, node ? node : config->root, "needs-restart",
                                      "%s is not changed by a reload", fixed[i].key);
        mg_finding_hint(f, "stop the gateway and start it with this configuration, or put back what it was");
    }
    if (mg_access_log_probe(config->access_log_to, config->access_log_path, &err) != MG_OK)
        mg_node_error(report, mg_node_get(config->root, "observability"), "unwritable-file", "%s",
                      err.message);
    return report->errors == before;
}

/* Takes the config. */
static bool follow(mg_gateway *gateway, mg_config *config, mg_report *report)
{
    if (can_follow(gateway, config, report))
        return mg_control_publish(gateway, config, false, report);
    mg_config_free(config);
    return false;
}

/* False when no log is a file, or it cannot be opened, which is told: the old one is written on. */
static bool reopen_logs(mg_gateway *gateway)
{
    const mg_config *config = gateway->snapshot ? gateway->snapshot->config : NULL;
    mg_error err = MG_ERROR_INIT;

    if (!config || config->access_log_to != MG_CONFIG_LOG_FILE)
        return false;
    if (mg_access_log_change(gateway->shared.access_log, config->access_log_to, config->access_log_path,
                             &err) == MG_OK)
        return true;
    mg_log_write(gateway->options.log, MG_LOG_ERROR, "log_failed", "%s; the file that is open is written on",
                 err.message);
    return false;
}

static void on_reopen_logs(mg_message *message)
{
    mg_gateway *gateway = mg_container_of(message, plain_message, message)->gateway;

    mg_free(message);
    if (reopen_logs(gateway))
        mg_log_write(gateway->options.log, MG_LOG_INFO, "logs_reopened", "%.*s",
                     MG_STR_ARGS(gateway->snapshot->config->access_log_path));
}

void mg_gateway_reopen_logs(mg_gateway *gateway)
{
    post(gateway, gateway->mailbox, on_reopen_logs);
}

static void on_reload(mg_message *message)
{
    mg_gateway *gateway = mg_container_of(message, plain_message, message)->gateway;
    mg_report report = MG_REPORT_INIT;

    mg_free(message);
    (void)reopen_logs(gateway);
    if (atomic_load(&gateway->state) != MG_GATEWAY_RUNS || !gateway->options.read_config)
        return;
    if (gateway->publication) {
        gateway->reload_again = true;
        return;
    }
    mg_config *config = gateway->options.read_config(gateway->options.self, &report);
    const bool refused = !config || !follow(gateway, config, &report);
    log_report(gateway, &report);
    if (refused) {
        mg_log_write(gateway->options.log, MG_LOG_ERROR, "reload_refused",
                     "%zu error%s; revision %llu keeps serving", report.errors, report.errors == 1 ? "" : "s",
                     (unsigned long long)gateway->revision);
        atomic_fetch_add(&gateway->reloads_refused, 1); /* whoever sees it finds the reasons logged */
    }
    mg_report_fini(&report);
}

void mg_gateway_reload(mg_gateway *gateway)
{
    post(gateway, gateway->mailbox, on_reload);
}

/* ---- drain ---- */

typedef struct worker_message {
    mg_message message;
    mg_gateway *gateway;
    mg_worker *worker;
} worker_message;

static void to_worker(mg_gateway *gateway, mg_worker *worker, void (*run)(mg_message *))
{
    worker_message *w = MG_NEW(worker_message);

    *w = (worker_message){ { NULL, run }, gateway, worker };
    mg_mailbox_post(worker->mailbox, &w->message);
}

static void on_worker_stop(mg_message *message)
{
    worker_message *w = mg_container_of(message, worker_message, message);

    mg_worker_cut(w->worker);
    mg_loop_stop(w->worker->loop);
    mg_free(w);
}

/* `all` requests have ended, as far as is known. */
static void tell_stopped(mg_gateway *gateway, bool all)
{
    const uint64_t left = all ? 0 : mg_stats_in_flight_now(gateway->shared.stats);

    if (left)
        mg_log_write(gateway->options.log, MG_LOG_WARN, "stopped", "%llu request%s not ended",
                     (unsigned long long)left, left == 1 ? " has" : "s have");
    else
        mg_log_write(gateway->options.log, MG_LOG_INFO, "stopped", "all requests have ended");
}

static void stop_all(mg_gateway *gateway, bool all_ended)
{
    if (atomic_exchange(&gateway->state, MG_GATEWAY_STOPPED) == MG_GATEWAY_STOPPED)
        return;
    mg_timer_stop(&gateway->drain_timer);
    mg_probe_stop(gateway->probe);
    tell_stopped(gateway, all_ended);
    for (unsigned w = 0; w < gateway->shared.worker_count; w++)
        to_worker(gateway, gateway->shared.workers[w], on_worker_stop);
    mg_loop_stop(gateway->loops[0]);
    if (gateway->stopped)
        gateway->stopped(gateway->stopped_self);
}

static void on_drained(mg_message *message)
{
    mg_gateway *gateway = mg_container_of(message, plain_message, message)->gateway;

    mg_free(message);
    if (++gateway->drained == gateway->shared.worker_count)
        stop_all(gateway, true);
}

static void worker_drained(mg_worker *worker)
{
    mg_gateway *gateway = mg_container_of(worker->gateway, mg_gateway, shared);

    worker->drained = NULL;
    post(gateway, gateway->mailbox, on_drained);
}

static void on_worker_drain(mg_message *message)
{
    worker_message *w = mg_container_of(message, worker_message, message);

    w->worker->drained = worker_drained;
    mg_worker_drain(w->worker);
    mg_free(w);
}

static void on_drain_timeout(mg_timer *timer)
{
    mg_gateway *gateway = mg_container_of(timer, mg_gateway, drain_timer);

    mg_log_write(gateway->options.log, MG_LOG_WARN, "drain_timeout", "requests still in flight are cut");
    stop_all(gateway, false);
}

static void on_drain_delay(mg_timer *timer)
{
    mg_gateway *gateway = mg_container_of(timer, mg_gateway, drain_timer);
    const mg_config *config = gateway->snapshot ? gateway->snapshot->config : NULL;
    const uint64_t patience_ms = config ? config->drain_timeout_ms : 0;

    timer->fire = on_drain_timeout;
    mg_probe_stop(gateway->probe);
    mg_timer_set(gateway->loops[0], timer, mg_loop_now(gateway->loops[0]) + patience_ms * MG_NS_PER_MS);
    for (unsigned w = 0; w < gateway->shared.worker_count; w++)
        to_worker(gateway, gateway->shared.workers[w], on_worker_drain);
}

static void on_drain(mg_message *message)
{
    mg_gateway *gateway = mg_container_of(message, plain_message, message)->gateway;
    const mg_config *config = gateway->snapshot ? gateway->snapshot->config : NULL;

    mg_free(message);
    if (atomic_load(&gateway->state) >= MG_GATEWAY_DRAINS) {
        stop_all(gateway, false);
        return;
    }
    atomic_store(&gateway->state, MG_GATEWAY_DRAINS);
    if (gateway->publication && !gateway->publication->sent)
        mg_control_discard(gateway); /* its listeners would open while the others close */
    mg_log_write(gateway->options.log, MG_LOG_INFO, "draining",
                 "no new connections after the delay; requests in flight end");
    mg_timer_init(&gateway->drain_timer, on_drain_delay);
    const uint64_t delay_ms = config ? config->drain_delay_ms : 0;
    mg_timer_set(gateway->loops[0], &gateway->drain_timer,
                 mg_loop_now(gateway->loops[0]) + delay_ms * MG_NS_PER_MS);
}

void mg_gateway_drain(mg_gateway *gateway)
{
    mg_watchdog_spare(gateway->watchdog);
    post(gateway, gateway->mailbox, on_drain);
}

uint64_t mg_gateway_drain_ms(const mg_gateway *gateway)
{
    return atomic_load(&gateway->drain_ms);
}

void mg_control_beat(mg_gateway *gateway)
{
    const mg_clock *clock = gateway->shared.clock;

    atomic_store_explicit(&gateway->turn_ns, clock->mono_ns(clock), memory_order_relaxed);
}

size_t mg_control_lua_memory(mg_gateway *gateway)
{
    size_t sum = 0;

    for (unsigned w = 0; w < gateway->shared.worker_count; w++)
        sum += atomic_load_explicit(&gateway->shared.workers[w]->lua_bytes, memory_order_relaxed);
    return sum;
}

void mg_control_discard(mg_gateway *gateway)
{
    if (gateway->publication && gateway->publication->sent)
        mg_publication_free(gateway->publication);
    else if (gateway->publication)
        mg_publication_drop(gateway->publication);
    gateway->publication = NULL;
}
