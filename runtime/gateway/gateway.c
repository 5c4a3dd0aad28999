/* gateway.c - new, start, wait, free: what is made in which order, and ended in the other one. */
#include "gateway/publish.h"

#include "base/check.h"
#include "base/mem.h"
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#define OF_VMS 0x9e3779b97f4a7c15ULL /* sets the seeds of Lua states apart from those of loops */
enum { WORKERS_DEFAULT_MAX = 64 };

static unsigned worker_count_of(const mg_gateway_options *options, const mg_config *config)
{
    if (options->loops)
        return options->loop_count - 2;
    if (config->workers)
        return config->workers;
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    return cores < 1 ? 1 : cores > WORKERS_DEFAULT_MAX ? WORKERS_DEFAULT_MAX : (unsigned)cores;
}

static bool report_error(mg_report *report, const char *code, const mg_error *err)
{
    mg_report_add(report, MG_SEVERITY_ERROR, code, "%s", err->message);
    return false;
}

enum {
    OWN_DESCRIPTORS = 128, /* for all that is no connection; where there are few, pipes are among them */
    FEW_DESCRIPTORS = 8192,
    FEW_PIPES = 32, /* of all workers together then */
};

/* docs/architecture.md 3: pipes and the connection cap follow from the descriptor limit. Each connection may
 * need one upstream. */
static void share_descriptors(mg_gateway_shared *shared, unsigned workers)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur > 1 << 20)
        limit.rlim_cur = 1 << 20;
    const bool few = limit.rlim_cur <= FEW_DESCRIPTORS;
    const uint32_t all = few ? FEW_PIPES : (uint32_t)mg_min_u64(workers * MG_PIPES_MAX, limit.rlim_cur / 64);
    shared->pipes = (uint32_t)mg_min_u64(mg_max_u64(all / workers, 1), MG_PIPES_MAX);
    shared->own_descriptors = OWN_DESCRIPTORS + (few ? 0 : 2 * workers * shared->pipes);
    shared->connection_cap = limit.rlim_cur > 2 * OWN_DESCRIPTORS
                                 ? (uint32_t)(limit.rlim_cur - shared->own_descriptors) / 2
                                 : (uint32_t)limit.rlim_cur / 4 + 1;
}

/* Its loop is the last. With loops of the caller's, the builder has none of its own. */
static unsigned flusher_of(const mg_gateway *gateway, unsigned workers)
{
    return gateway->own_loops ? workers + 2 : workers + 1;
}

static bool make_loops(mg_gateway *gateway, unsigned count, mg_error *err)
{
    gateway->own_loops = !gateway->options.loops;
    if (!gateway->own_loops) {
        gateway->loops = gateway->options.loops;
        return true;
    }
    gateway->loop_count = flusher_of(gateway, count) + 1;
    gateway->loops = MG_NEW_N(mg_loop *, gateway->loop_count);
    for (unsigned i = 0; i < gateway->loop_count; i++) {
        gateway->loops[i] = mg_loop_new(gateway->shared.clock, gateway->options.seed + i, err);
        if (!gateway->loops[i])
            return false;
    }
    return true;
}

/* What policies remember, and the clock that they remember it by. */
static bool open_policy(mg_gateway *gateway, const mg_config *config, mg_error *err)
{
    char path[4096], boot_id[37];

    mg_boot_id(boot_id);
    if (gateway->options.boot_id)
        snprintf(boot_id, sizeof boot_id, "%s", gateway->options.boot_id);
    if (!config->state_path.n) {
        mg_policy_clock_init(&gateway->policy_clock, gateway->shared.clock, NULL, boot_id);
        return true;
    }
    snprintf(path, sizeof path, "%.*s/policy", MG_STR_ARGS(config->state_path));
    const mg_persist_options options = { .path = path,
                                         .max_bytes = config->state_max_bytes,
                                         .clock = gateway->shared.clock,
                                         .boot_id = boot_id,
                                         .log = gateway->options.log,
                                         .seed = gateway->own_loops ? 0 : gateway->options.seed };
    gateway->persist = mg_persist_open(&options, &gateway->policy_clock, err);
    return gateway->persist;
}

static bool open_state(mg_gateway *gateway, const mg_config *config, mg_error *err)
{
    mg_kv_options options = { .clock = gateway->shared.clock,
                              .log = gateway->options.log,
                              .seed = gateway->options.seed };
    char path[4096];

    if (!open_policy(gateway, config, err))
        return false;
    if (config->state_path.n) {
        mg_result result;
        snprintf(path, sizeof path, "%.*s/ledger", MG_STR_ARGS(config->state_path));
        const mg_store_options store = {
            .path = path, .max_bytes = config->state_max_bytes, .tables = 8, .readers = 126, .sync = true
        };
        if (mg_store_try(&store, err) == MG_OK)
            gateway->store = mg_store_open(&store, &result, err);
        if (!gateway->store)
            return false;
        options.store = gateway->store;
    }
    gateway->kv = mg_kv_new(&options, err);
    return gateway->kv != NULL;
}

/* A name has (other) addresses: services get new hosts, and requests of plugins hear of it. */
typedef struct names_message {
    mg_message message;
    mg_worker *worker;
    mg_addr addrs[MG_RESOLVE_MAX];
    unsigned count;
    mg_str authority; /* behind the struct */
} names_message;

static void on_names(mg_message *message)
{
    names_message *names = mg_container_of(message, names_message, message);
    mg_text key = { 0 };

    mg_text_addf(&key, " %.*s", MG_STR_ARGS(names->authority)); /* an account of no service */
    mg_endpoint *endpoint = mg_map_get(names->worker->endpoints, mg_text_str(&key));
    if (endpoint)
        mg_endpoint_set_addrs(endpoint, names->addrs, names->count);
    mg_text_fini(&key);
    mg_free(names);
}

static void names_changed(void *self, mg_str authority, const mg_addr *addrs, unsigned count)
{
    mg_gateway *gateway = self;

    mg_control_renew(gateway, authority);
    for (unsigned w = 0; w < gateway->shared.worker_count; w++) {
        names_message *names = mg_alloc(sizeof *names + authority.n);
        *names = (names_message){ .message = { NULL, on_names },
                                  .worker = gateway->shared.workers[w],
                                  .count = count };
        memcpy(names->addrs, addrs, sizeof *addrs * count);
        names->authority = (mg_str){ (char *)(names + 1), authority.n };
        memcpy(names + 1, authority.p, authority.n);
        mg_mailbox_post(gateway->shared.workers[w]->mailbox, &names->message);
    }
}

static bool make_shared(mg_gateway *gateway, unsigned count, const mg_config *config, mg_error *err)
{
    mg_gateway_shared *shared = &gateway->shared;
    const mg_shared_options options = { .workers = count,
                                        .clock = shared->clock,
                                        .policy_clock = &gateway->policy_clock,
                                        .log = gateway->options.log,
                                        .kv = gateway->kv,
                                        .persist = gateway->persist,
                                        .seed = gateway->options.seed };

    if (gateway->own_loops)
        gateway->watchdog =
            mg_watchdog_new(gateway->options.log, shared->clock, gateway->options.hang_signal, NULL);
    shared->log = gateway->options.log;
    share_descriptors(shared, count);
    shared->shared = mg_shared_new(&options);
    shared->stats = mg_stats_new(count);
    shared->access_log =
        mg_access_log_new(gateway->options.log_writer, config->access_log_to, config->access_log_path, err);
    if (!shared->access_log)
        return false;
    gateway->resolver = gateway->options.resolver;
    if (!gateway->resolver) {
        gateway->resolver = mg_resolver_new(gateway->loops[0], NULL, err);
        gateway->own_resolver = true;
    }
    if (!gateway->resolver)
        return false;
    shared->names =
        mg_names_new(gateway->loops[0], gateway->resolver, gateway->options.log, names_changed, gateway);
    mg_services_set_names(mg_shared_services(shared->shared), shared->names);
    gateway->probe = mg_probe_new(gateway->loops[0], &gateway->policy_clock, shared->shared, shared->log);
    shared->control = gateway->mailbox;
    shared->builder = gateway->builder.mailbox;
    shared->workers = MG_NEW_N(mg_worker *, count);
    for (unsigned i = 0; i < count; i++)
        shared->workers[i] = mg_worker_new(i, gateway->loops[i + 1], shared);
    shared->worker_count = count;
    return true;
}

/* Drawn by the control loop, whose numbers nobody sees: two gateways in a row must not take each other for
 * themselves, and no client may guess the name. */
static void name_self(mg_gateway *gateway)
{
    mg_gateway_shared *shared = &gateway->shared;
    const int n = snprintf(shared->via_text, sizeof shared->via_text, "1.1 moongate-%016llx",
                           (unsigned long long)mg_rand_next(&gateway->loops[0]->rand));

    shared->via = mg_str_make(shared->via_text, (size_t)n);
}

static bool make(mg_gateway *gateway, const mg_config *config, mg_error *err)
{
    const unsigned count = worker_count_of(&gateway->options, config);

    if (!make_loops(gateway, count, err))
        return false;
    name_self(gateway);
    gateway->mailbox = mg_mailbox_new(gateway->loops[0]);
    mg_builder_init(&gateway->builder, &gateway->shared, gateway->loops[gateway->own_loops ? count + 1 : 0],
                    gateway->options.seed ^ OF_VMS);
    if (!open_state(gateway, config, err))
        return false;
    const mg_flusher_options flusher = { .loop = gateway->loops[flusher_of(gateway, count)],
                                         .log = gateway->options.log,
                                         .kv = gateway->kv,
                                         .ledger = gateway->store,
                                         .persist = gateway->persist,
                                         .copies_aside = gateway->own_loops };
    gateway->shared.flusher = gateway->flusher = mg_flusher_new(&flusher);
    if (!make_shared(gateway, count, config, err))
        return false;
    const mg_rollouts_options rollouts = { .loop = gateway->loops[0],
                                           .shared = gateway->shared.shared,
                                           .log = gateway->options.log,
                                           .persist = gateway->persist,
                                           .seed = gateway->options.seed };
    gateway->rollouts = mg_rollouts_new(&rollouts);
    gateway->status = mg_status_open(gateway, config, err);
    if (!gateway->status && err->code != MG_OK)
        return false;
    gateway->admin = mg_admin_open(gateway, config, err);
    return gateway->admin || err->code == MG_OK;
}

mg_gateway *mg_gateway_new(const mg_gateway_options *options, mg_config *config, mg_report *report)
{
    mg_gateway *gateway = MG_NEW(mg_gateway);
    mg_error err = MG_ERROR_INIT;

    gateway->options = *options;
    MG_CHECK(pthread_mutex_init(&gateway->gate, NULL) == 0);
    if (!gateway->options.clock)
        gateway->options.clock = &mg_clock_real;
    if (!gateway->options.seed)
        gateway->options.seed = mg_rand_system_seed();
    mg_list_init(&gateway->publications);
    gateway->shared.clock = gateway->options.clock;
    if (!make(gateway, config, &err)) {
        report_error(report, "start", &err);
        mg_config_free(config);
        mg_gateway_free(gateway);
        return NULL;
    }
    if (!mg_publish_first(gateway, config, report)) {
        mg_gateway_free(gateway);
        return NULL;
    }
    return gateway;
}

/* ---- threads ---- */

/* False when the others could not be started. */
static bool pass_gate(mg_gateway *gateway)
{
    pthread_mutex_lock(&gateway->gate);
    const bool open = !gateway->gate_shut;
    pthread_mutex_unlock(&gateway->gate);
    return open;
}

static void run_loop(void *self)
{
    mg_gateway_thread *thread = self;
    const uint64_t one = 1;

    if (!pass_gate(thread->gateway))
        return;
    mg_watchdog_hear(thread->gateway->watchdog);
    mg_loop_run(thread->loop);
    if (thread->turn_ns)
        atomic_store(thread->turn_ns, 0);
    atomic_store(&thread->ended, true);
    (void)!write(thread->gateway->ended, &one, sizeof one);
}

static uint64_t write_of(const void *self)
{
    return mg_log_writer_at(self);
}

static void on_beat(mg_timer *timer)
{
    mg_gateway *gateway = mg_container_of(timer, mg_gateway, beat);

    mg_control_beat(gateway);
    mg_timer_set(gateway->loops[0], timer, mg_loop_now(gateway->loops[0]) + MG_NS_PER_S / 2);
}

/* What the watchdog is to see of loop `i`. */
static mg_watched watched_of(const mg_gateway *gateway, unsigned i)
{
    const unsigned workers = gateway->shared.worker_count;

    if (i == 0)
        return (mg_watched){ .kind = MG_WATCH_CONTROL, .self = &gateway->turn_ns };
    if (i > workers)
        return (mg_watched){ .kind = MG_WATCH_BUILDER,
                             .self = &gateway->builder.turn_ns,
                             .site = &gateway->builder.site };
    const mg_worker *worker = gateway->shared.workers[i - 1];
    return (mg_watched){
        .kind = MG_WATCH_WORKER, .index = i - 1, .self = &worker->turn_ns, .site = &worker->site
    };
}

/* A disk that hangs is told, and ends nothing. */
static void watch_stores(mg_gateway *gateway)
{
    for (unsigned store = 0; store < MG_FLUSH_STORES; store++) {
        const mg_watched watched = { .kind = MG_WATCH_STATE,
                                     .index = store,
                                     .beat = mg_watchdog_number,
                                     .self = mg_flusher_writing(gateway->flusher, store) };
        mg_watchdog_watch(gateway->watchdog, &watched);
    }
}

static mg_result start_thread(mg_gateway *gateway, unsigned i, mg_error *err)
{
    mg_gateway_thread *thread = &gateway->threads[i];
    const bool flushes = i == flusher_of(gateway, gateway->shared.worker_count);
    mg_watched watched = flushes ? (mg_watched){ .self = NULL } : watched_of(gateway, i);
    char name[MG_THREAD_NAME_MAX];

    if (flushes)
        snprintf(name, sizeof name, "flush");
    else if (watched.kind == MG_WATCH_WORKER)
        snprintf(name, sizeof name, "worker %u", watched.index);
    else
        snprintf(name, sizeof name, "%s", mg_watch_names[watched.kind]);
    thread->gateway = gateway;
    thread->loop = gateway->loops[i];
    thread->turn_ns = (_Atomic uint64_t *)(uintptr_t)watched.self;
    if (mg_thread_start(&thread->thread, name, MG_THREAD_STACK, run_loop, thread, err) != MG_OK)
        return err->code;
    if (flushes)
        return MG_OK;
    watched.beat = mg_watchdog_number;
    watched.thread = thread->thread.id;
    mg_watchdog_watch(gateway->watchdog, &watched);
    return MG_OK;
}

/* All of them, or none. */
static mg_result start_loops(mg_gateway *gateway, mg_error *err)
{
    mg_result result = MG_OK;

    pthread_mutex_lock(&gateway->gate);
    for (unsigned i = 0; i < gateway->loop_count && result == MG_OK; i++)
        result = start_thread(gateway, i, err);
    if (result == MG_OK)
        result = mg_watchdog_start(gateway->watchdog, err);
    gateway->gate_shut = result != MG_OK;
    pthread_mutex_unlock(&gateway->gate);
    for (unsigned i = 0; i < gateway->loop_count && result != MG_OK; i++)
        mg_thread_join(&gateway->threads[i].thread);
    return result;
}

static mg_result start_threads(mg_gateway *gateway, mg_error *err)
{
    const mg_watched writer = { .kind = MG_WATCH_LOG, .beat = write_of, .self = gateway->options.log_writer };

    gateway->ended = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    MG_CHECK(gateway->ended >= 0);
    gateway->threads = MG_NEW_N(mg_gateway_thread, gateway->loop_count);
    mg_timer_init(&gateway->beat, on_beat);
    on_beat(&gateway->beat);
    if (writer.self)
        mg_watchdog_watch(gateway->watchdog, &writer);
    watch_stores(gateway);
    if (start_loops(gateway, err) != MG_OK)
        return err->code;
    gateway->threads_run = true;
    return MG_OK;
}

mg_result mg_gateway_start(mg_gateway *gateway, void (*ready)(void *self), void *self, mg_error *err)
{
    gateway->ready = ready;
    gateway->ready_self = self;
    mg_flusher_start(gateway->flusher);
    return gateway->own_loops ? start_threads(gateway, err) : MG_OK;
}

void mg_gateway_on_stopped(mg_gateway *gateway, void (*stopped)(void *self), void *self)
{
    gateway->stopped = stopped;
    gateway->stopped_self = self;
}

/* How many threads have not ended. The flusher's comes behind the others. */
static unsigned threads_left(const mg_gateway *gateway)
{
    unsigned left = 0;

    for (unsigned i = 0; i < flusher_of(gateway, gateway->shared.worker_count); i++)
        left += !atomic_load(&gateway->threads[i].ended);
    return left;
}

static void tell_left(mg_gateway *gateway)
{
    const uint64_t requests = mg_stats_in_flight_now(gateway->shared.stats);
    mg_text hung = { 0 };

    mg_watchdog_write(gateway->watchdog, &hung);
    while (hung.n && hung.p[hung.n - 1] == '\n')
        hung.n--;
    for (size_t i = 0; i < hung.n; i++)
        if (hung.p[i] == '\n')
            hung.p[i] = ';';
    mg_log_write(gateway->options.log, MG_LOG_ERROR, "left",
                 "the process ends though %u of its threads did not and %llu request%s not answered%s%.*s",
                 threads_left(gateway), (unsigned long long)requests, requests == 1 ? " is" : "s are",
                 hung.n ? ": " : "", MG_STR_ARGS(mg_text_str(&hung)));
    mg_text_fini(&hung);
}

void mg_gateway_save(mg_gateway *gateway)
{
    mg_flusher_stop(gateway->flusher);
    mg_thread_join(&gateway->threads[flusher_of(gateway, gateway->shared.worker_count)].thread);
}

bool mg_gateway_wait(mg_gateway *gateway, int patience_ms)
{
    struct pollfd ended = { gateway->ended, POLLIN, 0 };
    uint64_t count;

    if (!gateway->threads_run)
        return true;
    while (threads_left(gateway)) {
        const int n = poll(&ended, 1, patience_ms);
        if (n == 0 && threads_left(gateway)) {
            tell_left(gateway);
            return false;
        }
        if (n > 0)
            (void)!read(gateway->ended, &count, sizeof count);
    }
    mg_gateway_save(gateway);
    mg_watchdog_stop(gateway->watchdog);
    for (unsigned i = 0; i < gateway->loop_count; i++)
        mg_thread_join(&gateway->threads[i].thread);
    gateway->threads_run = false;
    return true;
}

/* Workers may wait for control, for names and for the store: all are answered while there is a mailbox to
 * answer to, and nobody can ask again. */
static void end_questions(mg_gateway *gateway)
{
    for (unsigned i = 0; i < gateway->shared.worker_count; i++)
        mg_worker_close(gateway->shared.workers[i]);
    gateway->shared.builder = NULL; /* what would be posted now, nobody would read */
    mg_builder_fini(&gateway->builder);
    if (gateway->flusher)
        mg_flusher_close(gateway->flusher);
    gateway->shared.control = NULL;
    if (gateway->mailbox)
        mg_mailbox_free(gateway->mailbox);
    gateway->mailbox = NULL;
    MG_CHECK(!gateway->publication);
    mg_names_stop(gateway->shared.names);
}

void mg_gateway_free(mg_gateway *gateway)
{
    if (!gateway)
        return;
    MG_CHECK(!gateway->threads_run);
    atomic_store(&gateway->state, MG_GATEWAY_STOPPED);
    mg_publish_end(gateway);
    mg_admin_free(gateway->admin);
    mg_status_free(gateway->status);
    end_questions(gateway);
    for (unsigned i = 0; i < gateway->shared.worker_count; i++)
        mg_worker_free(gateway->shared.workers[i]);
    mg_timer_stop(&gateway->drain_timer);
    mg_timer_stop(&gateway->beat);
    mg_rollouts_free(gateway->rollouts);
    mg_probe_free(gateway->probe);
    mg_snapshot_unref(gateway->snapshot);
    mg_names_free(gateway->shared.names);
    if (gateway->own_resolver && gateway->resolver)
        mg_resolver_free(gateway->resolver);
    mg_access_log_free(gateway->shared.access_log);
    mg_stats_free(gateway->shared.stats);
    mg_shared_free(gateway->shared.shared);
    if (gateway->flusher)
        mg_flusher_flush(gateway->flusher); /* what policies said when they were dropped */
    mg_flusher_free(gateway->flusher);
    mg_persist_free(gateway->persist);
    mg_kv_free(gateway->kv);
    mg_store_close(gateway->store);
    for (unsigned i = 0; i < gateway->loop_count; i++)
        if (gateway->loops[i])
            mg_loop_free(gateway->loops[i]);
    if (gateway->own_loops)
        mg_free(gateway->loops);
    mg_watchdog_free(gateway->watchdog);
    if (gateway->threads)
        close(gateway->ended);
    pthread_mutex_destroy(&gateway->gate);
    mg_free(gateway->shared.workers);
    mg_free(gateway->threads);
    mg_free(gateway);
}

bool mg_gateway_listener_addr(mg_gateway *gateway, mg_str name, mg_addr *addr)
{
    MG_LIST_EACH(&gateway->shared.workers[0]->doors, link)
    {
        const mg_door *door = mg_container_of(link, mg_door, link);
        if (door->listener && mg_str_eq(door->name, name))
            return mg_listener_addr(door->listener, addr);
    }
    return false;
}
