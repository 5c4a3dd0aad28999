/* publish.c - the way of a publication: to the builder and back, to the names of its services, to the workers,
 * into force; and the queue before it. */
#include "gateway/publish.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/publication.h"

/* ---- the answer ---- */

static void log_report(const mg_gateway *gateway, const mg_report *report)
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

static void log_refusal(mg_gateway *gateway, const mg_report *report)
{
    log_report(gateway, report);
    mg_log_write(gateway->options.log, MG_LOG_ERROR, "reload_refused",
                 "%zu error%s; revision %llu keeps serving", report->errors, report->errors == 1 ? "" : "s",
                 (unsigned long long)gateway->revision);
    atomic_fetch_add(&gateway->reloads_refused, 1); /* whoever sees it finds the reasons logged */
}

/* Everybody who asked is told, in the order of asking. */
static void answer_askers(mg_publication *publication, bool taken)
{
    const mg_published published = { .taken = taken,
                                     .revision = publication->gateway->revision,
                                     .report = &publication->report };

    for (size_t i = 0; i < publication->asker_count; i++)
        publication->askers[i].done(publication->askers[i].self, &published);
    publication->asker_count = 0;
}

/* ---- the queue ---- */

static bool is_ending(const mg_gateway *gateway)
{
    return atomic_load(&((mg_gateway *)(uintptr_t)gateway)->state) >= MG_GATEWAY_DRAINS;
}

static void on_back(mg_message *message);

/* On the builder's thread. */
static void on_step(mg_message *message)
{
    mg_publication *publication = mg_container_of(message, mg_publication, message);
    mg_gateway *gateway = publication->gateway;

    mg_builder_begin(&gateway->builder);
    const bool more = mg_publication_step(publication);
    mg_builder_end(&gateway->builder);
    if (!more)
        message->run = on_back;
    mg_mailbox_post(more ? gateway->builder.mailbox : gateway->mailbox, message);
}

static void to_builder(mg_publication *publication)
{
    publication->away = true;
    publication->message.run = on_step;
    mg_mailbox_post(publication->gateway->builder.mailbox, &publication->message);
}

static void begin_next(mg_gateway *gateway)
{
    mg_list *link;

    if (gateway->publication || is_ending(gateway) || !(link = mg_list_pop(&gateway->publications)))
        return;
    mg_publication *publication = mg_container_of(link, mg_publication, link);
    gateway->publication = publication;
    gateway->publications_waiting -= 1 + (unsigned)publication->asker_count;
    publication->revision = gateway->revision + 1;
    publication->before = gateway->snapshot;
    mg_snapshot_ref(publication->before);
    to_builder(publication);
}

static void end_publication(mg_publication *publication)
{
    mg_gateway *gateway = publication->gateway;

    if (gateway->publication == publication)
        gateway->publication = NULL;
    mg_publication_free(publication);
    begin_next(gateway);
}

/* It is apart already, or has not begun. The first one has its answer from whoever starts the gateway. */
static void refuse(mg_publication *publication)
{
    if (is_ending(publication->gateway) && !publication->report.errors)
        mg_report_add(&publication->report, MG_SEVERITY_ERROR, "ending",
                      "the gateway is ending: it takes no other configuration");
    if (publication->gateway->snapshot)
        log_refusal(publication->gateway, &publication->report);
    answer_askers(publication, false);
    end_publication(publication);
}

/* Somebody asked to whom nothing can be promised. */
static void turn_away(mg_gateway *gateway, const mg_publish *wanted, const char *code, const char *why)
{
    mg_report report = MG_REPORT_INIT;
    const mg_published published = { .revision = gateway->revision, .report = &report };

    mg_report_add(&report, MG_SEVERITY_ERROR, code, "%s", why);
    log_refusal(gateway, &report);
    if (wanted->done)
        wanted->done(wanted->self, &published);
    mg_report_fini(&report);
}

/* The last that waits, when it is to read the same: whoever reads later reads for both. */
static mg_publication *last_of_same(const mg_gateway *gateway, const mg_publish *wanted)
{
    if (mg_list_empty(&gateway->publications))
        return NULL;
    mg_publication *last = mg_container_of(gateway->publications.prev, mg_publication, link);
    return last->read == wanted->read && last->source == wanted->source ? last : NULL;
}

static mg_publication *enter_queue(mg_gateway *gateway, const mg_publish *wanted)
{
    mg_publication *publication = mg_publication_new(gateway);

    publication->read = wanted->read;
    publication->source = wanted->source;
    mg_list_push(&gateway->publications, &publication->link);
    gateway->publications_waiting++;
    return publication;
}

static void add_asker(mg_publication *publication, const mg_publish *wanted)
{
    const size_t bytes = (publication->asker_count + 1) * sizeof *publication->askers;

    publication->askers = mg_realloc(publication->askers, bytes);
    publication->askers[publication->asker_count++] = (mg_publication_asker){ wanted->done, wanted->self };
    publication->gateway->publications_waiting++;
}

static void take_wish(mg_gateway *gateway, const mg_publish *wanted)
{
    mg_publication *publication = last_of_same(gateway, wanted);

    if (is_ending(gateway)) {
        turn_away(gateway, wanted, "ending", "the gateway is ending: it takes no other configuration");
        return;
    }
    if (gateway->publications_waiting >= MG_PUBLISH_WAITING_MAX && (wanted->done || !publication)) {
        turn_away(gateway, wanted, "busy", "too many publications wait already: ask again later");
        return;
    }
    if (!publication)
        publication = enter_queue(gateway, wanted);
    if (wanted->done)
        add_asker(publication, wanted);
    begin_next(gateway);
}

typedef struct wish {
    mg_message message;
    mg_gateway *gateway;
    mg_publish wanted;
} wish;

static void on_wish(mg_message *message)
{
    wish *w = mg_container_of(message, wish, message);

    take_wish(w->gateway, &w->wanted);
    mg_free(w);
}

void mg_gateway_publish(mg_gateway *gateway, const mg_publish *publish)
{
    wish *w = MG_NEW(wish);

    *w = (wish){ { NULL, on_wish }, gateway, *publish };
    if (!publish->read) {
        w->wanted.read = gateway->options.read_config;
        w->wanted.source = gateway->options.self;
    }
    mg_mailbox_post(gateway->mailbox, &w->message);
}

/* ---- on its way ---- */

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
            "for upstreams, and %u for itself; raise ulimit -n, or lower max_connections",
            (unsigned long long)most, gateway->shared.connection_cap, gateway->shared.own_descriptors);
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

/* What follows the configuration in force, beside the workers. */
static void follow_snapshot(mg_gateway *gateway, mg_snapshot *old)
{
    const mg_config *config = gateway->snapshot->config;
    const mg_clock *clock = gateway->shared.clock;
    mg_error err = MG_ERROR_INIT;

    if (gateway->renew_later)
        mg_control_renew(gateway, MG_STR_NONE);
    mg_rollouts_follow(gateway->rollouts, gateway->snapshot);
    mg_snapshot_unref(old);
    if (!is_ending(gateway))
        mg_probe_follow(gateway->probe, gateway->snapshot);
    atomic_store(&gateway->drain_ms,
                 (uint32_t)mg_min_u64(config->drain_delay_ms + config->drain_timeout_ms, UINT32_MAX));
    atomic_store(&gateway->last_success_s, (uint64_t)(clock->wall_ns(clock) / (int64_t)MG_NS_PER_S));
    if (mg_access_log_change(gateway->shared.access_log, config->access_log_to, config->access_log_path,
                             &err) != MG_OK)
        mg_log_write(gateway->options.log, MG_LOG_ERROR, "access_log", "%s", err.message);
}

/* From now on the gateway serves. */
static void begin_serving(mg_gateway *gateway)
{
    int expected = MG_GATEWAY_NEW;

    if (gateway->status)
        mg_status_start(gateway->status);
    if (gateway->admin)
        mg_admin_start(gateway->admin);
    atomic_compare_exchange_strong(&gateway->state, &expected, MG_GATEWAY_RUNS);
    if (gateway->ready)
        gateway->ready(gateway->ready_self);
}

/* All workers serve it. */
static void all_serve(mg_publication *publication)
{
    mg_gateway *gateway = publication->gateway;
    mg_snapshot *old = gateway->snapshot;
    const bool first = old == NULL;

    gateway->publication = NULL;
    gateway->snapshot = publication->snapshot;
    mg_snapshot_ref(gateway->snapshot);
    gateway->revision = gateway->snapshot->revision;
    follow_snapshot(gateway, old);
    if (!first)
        atomic_fetch_add(&gateway->reloads_ok, 1);
    tell_published(gateway, gateway->snapshot->config, first);
    if (first)
        begin_serving(gateway);
    answer_askers(publication, true);
    end_publication(publication);
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
        all_serve(gateway->publication);
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

    publication->stage = MG_PUBLICATION_SENT;
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

bool mg_publish_is_sent(const mg_gateway *gateway)
{
    const mg_publication *publication = gateway->publication;

    return publication && !publication->away && publication->stage == MG_PUBLICATION_SENT;
}

static void on_patience(mg_timer *timer)
{
    send_out(mg_container_of(timer, mg_publication, patience));
}

static void name_is_there(mg_gateway *gateway, uint64_t revision)
{
    mg_publication *publication = gateway->publication;

    if (publication && !publication->away && publication->stage == MG_PUBLICATION_NAMES &&
        publication->revision == revision && --publication->names_waiting == 0)
        send_out(publication);
}

static void await_names(mg_publication *publication)
{
    mg_gateway *gateway = publication->gateway;
    const mg_snapshot *snapshot = publication->snapshot;
    mg_loop *loop = gateway->loops[0];

    publication->stage = MG_PUBLICATION_NAMES;
    mg_timer_init(&publication->patience, on_patience);
    publication->names_waiting = 1;
    for (size_t s = 0; s < snapshot->config->service_count; s++)
        publication->names_waiting += (unsigned)snapshot->services[s].conf->endpoint_count;
    const unsigned patience_s = mg_control_ask_names(gateway, snapshot, name_is_there);
    mg_timer_set(loop, &publication->patience, mg_loop_now(loop) + patience_s * MG_NS_PER_S);
    name_is_there(gateway, publication->revision);
}

/* Nobody has seen it yet. What control has opened it closes; the builder does the rest, which takes long. */
static void drop_unsent(mg_publication *publication)
{
    mg_timer_stop(&publication->patience);
    mg_publication_close_doors(publication);
    publication->stage = MG_PUBLICATION_REFUSED;
    if (publication->gateway->builder.mailbox) {
        to_builder(publication);
        return;
    }
    (void)mg_publication_step(publication);
    refuse(publication);
}

static void on_back(mg_message *message)
{
    mg_publication *publication = mg_container_of(message, mg_publication, message);
    mg_gateway *gateway = publication->gateway;

    publication->away = false;
    if (publication->stage != MG_PUBLICATION_TRY) {
        refuse(publication);
    } else if (is_ending(gateway) || !mg_publication_open_doors(publication)) {
        drop_unsent(publication);
    } else {
        log_report(gateway, &publication->report);
        await_names(publication);
    }
}

/* ---- the first, and the end ---- */

static void on_start(mg_message *message)
{
    mg_gateway *gateway = mg_control_posted(message);
    mg_publication *first = gateway->publication;

    if (first && !first->away && first->stage == MG_PUBLICATION_TRY) /* else it has been dropped meanwhile */
        await_names(first);
}

bool mg_publish_first(mg_gateway *gateway, mg_config *config, mg_report *report)
{
    mg_publication *publication = mg_publication_new(gateway);

    publication->stage = MG_PUBLICATION_COMPILE;
    publication->config = config;
    publication->revision = gateway->revision + 1;
    publication->report = *report;
    while (mg_publication_step(publication))
        continue;
    bool ok = publication->stage == MG_PUBLICATION_TRY;
    if (ok && !mg_publication_open_doors(publication)) {
        ok = false;
        mg_publication_close_doors(publication);
        (void)mg_publication_step(publication);
    }
    *report = publication->report;
    publication->report = (mg_report)MG_REPORT_INIT;
    if (ok) {
        gateway->publication = publication;
        mg_control_post(gateway, gateway->mailbox, on_start); /* runs when the control loop does */
    } else {
        mg_publication_free(publication);
    }
    return ok;
}

void mg_publish_refuse_all(mg_gateway *gateway)
{
    mg_publication *publication = gateway->publication;

    for (mg_list *link; (link = mg_list_pop(&gateway->publications));)
        refuse(mg_container_of(link, mg_publication, link));
    if (publication && publication->away)
        atomic_store(&publication->given_up, 1);
    else if (publication && publication->stage != MG_PUBLICATION_SENT)
        drop_unsent(publication);
}

void mg_publish_end(mg_gateway *gateway)
{
    mg_publish_refuse_all(gateway);
    if (mg_publish_is_sent(gateway))
        refuse(gateway->publication);
}
