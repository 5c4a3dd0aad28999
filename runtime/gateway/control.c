/* control.c - what control is asked for from outside: reloads, other logs, the drain. */
#include "gateway/control.h"

#include "base/mem.h"
#include "gateway/publish.h"

/* A message that needs to say no more than whose it is. */
typedef struct plain_message {
    mg_message message;
    mg_gateway *gateway;
} plain_message;

void mg_control_post(mg_gateway *gateway, mg_mailbox *mailbox, void (*run)(mg_message *))
{
    plain_message *plain = MG_NEW(plain_message);

    *plain = (plain_message){ { NULL, run }, gateway };
    mg_mailbox_post(mailbox, &plain->message);
}

mg_gateway *mg_control_posted(mg_message *message)
{
    plain_message *plain = mg_container_of(message, plain_message, message);
    mg_gateway *gateway = plain->gateway;

    mg_free(plain);
    return gateway;
}

/* ---- logs and reloads ---- */

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
    mg_gateway *gateway = mg_control_posted(message);

    if (reopen_logs(gateway))
        mg_log_write(gateway->options.log, MG_LOG_INFO, "logs_reopened", "%.*s",
                     MG_STR_ARGS(gateway->snapshot->config->access_log_path));
}

void mg_gateway_reopen_logs(mg_gateway *gateway)
{
    mg_control_post(gateway, gateway->mailbox, on_reopen_logs);
}

static void on_reload(mg_message *message)
{
    mg_gateway *gateway = mg_control_posted(message);

    (void)reopen_logs(gateway);
    if (gateway->options.read_config)
        mg_gateway_publish(gateway, &(mg_publish){ 0 });
}

void mg_gateway_reload(mg_gateway *gateway)
{
    mg_control_post(gateway, gateway->mailbox, on_reload);
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

static void on_builder_stop(mg_message *message)
{
    mg_loop_stop(mg_control_posted(message)->builder.loop);
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
    atomic_store(&gateway->builder.stops, 1);
    mg_control_post(gateway, gateway->builder.mailbox, on_builder_stop);
    mg_loop_stop(gateway->loops[0]);
    if (gateway->stopped)
        gateway->stopped(gateway->stopped_self);
}

static void on_drained(mg_message *message)
{
    mg_gateway *gateway = mg_control_posted(message);

    if (++gateway->drained == gateway->shared.worker_count)
        stop_all(gateway, true);
}

static void worker_drained(mg_worker *worker)
{
    mg_gateway *gateway = mg_container_of(worker->gateway, mg_gateway, shared);

    worker->drained = NULL;
    mg_control_post(gateway, gateway->mailbox, on_drained);
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
    mg_gateway *gateway = mg_control_posted(message);
    const mg_config *config = gateway->snapshot ? gateway->snapshot->config : NULL;

    if (atomic_load(&gateway->state) >= MG_GATEWAY_DRAINS) {
        stop_all(gateway, false);
        return;
    }
    atomic_store(&gateway->state, MG_GATEWAY_DRAINS);
    mg_publish_refuse_all(gateway); /* its listeners would open while the others close */
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
    mg_control_post(gateway, gateway->mailbox, on_drain);
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
