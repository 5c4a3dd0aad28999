/* rollout_run.c - the control thread's side of progressive delivery: figures of an interval in, the pure
 * machine's decision out, the weight into an atomic. */
#include "gateway/service/rollout_run.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#include <pthread.h>

enum { TICK_S = 1, P99 = 990 };

struct mg_rollout_run {
    _Atomic unsigned refs;
    _Atomic uint32_t percent;
    _Atomic uint64_t stamp; /* rises with every change that is to be stored */
    mg_figures *figures;    /* owned: of the canary */
    char *route, *id;       /* owned */
    pthread_mutex_t lock;   /* of the state: control writes it, the flush thread reads it */
    mg_rollout state;
    /* the control thread's alone */
    mg_rollout_conf conf;
    char *canary;        /* owned: the name of its service */
    mg_figures_sum base; /* as the interval began */
    bool stored;         /* the state came out of the store */
    bool followed;       /* a snapshot that workers serve has named it */
    bool held;           /* the last interval had too few requests: that is told once */
};

struct mg_rollouts {
    mg_rollouts_options options;
    mg_map *runs; /* by route: a reference each */
    mg_timer tick;
};

/* ---- one ---- */

static uint64_t policy_now(const mg_rollouts *rollouts)
{
    return mg_shared_policy_now(rollouts->options.shared);
}

static mg_rollout_run *run_new(const mg_rollouts *rollouts, const mg_config_route *route)
{
    const mg_config_rollout *conf = &route->rollout;
    mg_rollout_run *run = MG_NEW(mg_rollout_run);

    atomic_init(&run->refs, 1);
    run->figures = mg_figures_new(mg_shared_workers(rollouts->options.shared));
    run->route = mg_memdup0(route->name.p, route->name.n);
    run->id = mg_memdup0(conf->id.p, conf->id.n);
    MG_CHECK(pthread_mutex_init(&run->lock, NULL) == 0);
    run->conf = conf->conf;
    mg_rollout_start(&run->state, policy_now(rollouts));
    atomic_init(&run->percent, mg_rollout_weight(&run->state, &run->conf));
    return run;
}

static mg_rollout_run *run_ref(mg_rollout_run *run)
{
    atomic_fetch_add_explicit(&run->refs, 1, memory_order_relaxed);
    return run;
}

void mg_rollout_run_unref(mg_rollout_run *run)
{
    if (!run || atomic_fetch_sub_explicit(&run->refs, 1, memory_order_acq_rel) != 1)
        return;
    mg_figures_free(run->figures);
    pthread_mutex_destroy(&run->lock);
    mg_free(run->route);
    mg_free(run->id);
    mg_free(run->canary);
    mg_free(run);
}

uint32_t mg_rollout_run_percent(const mg_rollout_run *run)
{
    return atomic_load_explicit(&run->percent, memory_order_relaxed);
}

void mg_rollout_run_result(mg_rollout_run *run, unsigned worker, mg_figures_outcome outcome,
                           uint64_t duration_ns)
{
    mg_figures_add(run->figures, worker, outcome, duration_ns);
}

/* The one place where a state that others may read changes. */
static void run_set(mg_rollout_run *run, const mg_rollout *state)
{
    pthread_mutex_lock(&run->lock);
    run->state = *state;
    pthread_mutex_unlock(&run->lock);
    atomic_store_explicit(&run->percent, mg_rollout_weight(state, &run->conf), memory_order_relaxed);
    atomic_fetch_add_explicit(&run->stamp, 1, memory_order_release);
}

static mg_rollout_figures figures_of(const mg_rollout_run *run, mg_figures_sum *now)
{
    mg_figures_sum since;

    mg_figures_read(run->figures, now);
    mg_figures_since(now, &run->base, &since);
    const double p99_ms = mg_figures_quantile_ms(&since, P99);
    const uint64_t whole_ms = (uint64_t)p99_ms;
    return (mg_rollout_figures){ .requests = since.calls,
                                 .errors = since.errors,
                                 .p99_ms = whole_ms + ((double)whole_ms < p99_ms) };
}

/* ---- kept across restarts ---- */

static uint64_t keep_stamp(const void *self)
{
    const mg_rollout_run *run = self;

    return atomic_load_explicit(&run->stamp, memory_order_acquire);
}

static void keep_write(const void *self, uint64_t policy_ns, mg_text *row)
{
    mg_rollout_run *run = (mg_rollout_run *)(uintptr_t)self; /* for its lock alone */

    (void)policy_ns;
    pthread_mutex_lock(&run->lock);
    const mg_rollout state = run->state;
    pthread_mutex_unlock(&run->lock);
    mg_persist_add_rollout(row, mg_str_of(run->id), &state);
}

/* What another id left is understood, and of no use. */
static bool keep_read(void *self, mg_record *row, uint64_t policy_ns)
{
    mg_rollout_run *run = self;
    mg_rollout state;
    mg_str id;

    if (!mg_persist_get_rollout(row, &id, &state))
        return false;
    if (!mg_str_eq_c(id, run->id))
        return true;
    mg_rollout_restore(&state, &run->conf, policy_ns);
    run->stored = true;
    run_set(run, &state);
    return true;
}

static const mg_keep_ops keep_ops = { keep_stamp, keep_write, keep_read };

static void keep(mg_rollouts *rollouts, mg_rollout_run *run)
{
    mg_persist_keep(rollouts->options.persist, MG_KEEP_ROLLOUT, mg_str_of(run->route), &keep_ops, run);
}

static void drop(mg_rollouts *rollouts, mg_rollout_run *run)
{
    mg_persist_drop(rollouts->options.persist, run);
    mg_rollout_run_unref(run);
}

/* ---- every second ---- */

static mg_log_level level_of(mg_rollout_action action)
{
    return action == MG_ROLLOUT_ROLLBACK || action == MG_ROLLOUT_ABORT ? MG_LOG_ERROR
           : action == MG_ROLLOUT_STRIKE                               ? MG_LOG_WARN
                                                                       : MG_LOG_INFO;
}

/* "rollout_advance", ..: each action is an event but the one that nothing was decided. */
static const char *event_of(mg_rollout_action action)
{
#define EVENT(value, word) MG_WORD_BEHIND("rollout_", value, word)
    static const char *const events[] = { MG_ROLLOUT_ACTIONS(EVENT) };
#undef EVENT

    MG_CHECK(action > MG_ROLLOUT_NONE && action <= MG_ROLLOUT_ABORT);
    return events[action];
}

static void tell(const mg_rollouts *rollouts, const mg_rollout_run *run, mg_rollout_action action,
                 const mg_rollout_figures *figures)
{
    mg_log_write(
        rollouts->options.log, level_of(action), event_of(action),
        "route %s, rollout %s: %s gets %u %% of the requests (step %u of %u, strikes %u); it had %llu, "
        "of which %llu failed, p99 %llu ms",
        run->route, run->id, run->canary, mg_rollout_run_percent(run), run->state.step + 1,
        run->conf.step_count, run->state.strikes, (unsigned long long)figures->requests,
        (unsigned long long)figures->errors, (unsigned long long)figures->p99_ms);
}

static void run_tick(const mg_rollouts *rollouts, mg_rollout_run *run)
{
    mg_rollout state = run->state;
    mg_figures_sum now;
    bool ended;

    if (state.state != MG_ROLLOUT_RUNNING)
        return;
    const mg_rollout_figures figures = figures_of(run, &now);
    const mg_rollout_action action =
        mg_rollout_tick(&state, &run->conf, &figures, policy_now(rollouts), &ended);
    if (action == MG_ROLLOUT_NONE)
        return;
    run_set(run, &state);
    if (action != MG_ROLLOUT_HOLD || !run->held)
        tell(rollouts, run, action, &figures);
    run->held = action == MG_ROLLOUT_HOLD;
    if (ended)
        run->base = now;
}

static void set_timer(mg_rollouts *rollouts)
{
    mg_timer_set(rollouts->options.loop, &rollouts->tick,
                 mg_loop_now(rollouts->options.loop) + TICK_S * MG_NS_PER_S);
}

static void on_tick(mg_timer *timer)
{
    mg_rollouts *rollouts = mg_container_of(timer, mg_rollouts, tick);
    size_t cursor = 0;
    mg_str route;
    void *run;

    while (mg_map_next(rollouts->runs, &cursor, &route, &run))
        if (((mg_rollout_run *)run)->followed)
            run_tick(rollouts, run);
    set_timer(rollouts);
}

/* ---- all ---- */

mg_rollouts *mg_rollouts_new(const mg_rollouts_options *options)
{
    mg_rollouts *rollouts = MG_NEW(mg_rollouts);

    rollouts->options = *options;
    rollouts->runs = mg_map_new(options->seed);
    mg_timer_init(&rollouts->tick, on_tick);
    return rollouts;
}

void mg_rollouts_free(mg_rollouts *rollouts)
{
    size_t cursor = 0;
    mg_str route;
    void *run;

    if (!rollouts)
        return;
    mg_timer_stop(&rollouts->tick);
    while (mg_map_next(rollouts->runs, &cursor, &route, &run))
        drop(rollouts, run);
    mg_map_free(rollouts->runs);
    mg_free(rollouts);
}

/* A name that is new here is looked up in the store at once: whoever serves the snapshot begins with the
 * right weight. Another id under a name that runs waits until the snapshot is in use. */
static mg_rollout_run *run_for(mg_rollouts *rollouts, const mg_config_route *route)
{
    mg_rollout_run *now = mg_map_get(rollouts->runs, route->name);

    if (now && mg_str_eq_c(route->rollout.id, now->id))
        return run_ref(now);
    mg_rollout_run *run = run_new(rollouts, route);
    if (!now) {
        (void)mg_map_set(rollouts->runs, route->name, run_ref(run));
        keep(rollouts, run);
    }
    return run;
}

void mg_rollouts_attach(mg_rollouts *rollouts, const mg_snapshot *snapshot)
{
    for (size_t i = 0; i < snapshot->config->route_count; i++) {
        mg_snapshot_split *split = snapshot->routes[i].split;
        if (split && snapshot->routes[i].conf->rollout.on)
            split->run = run_for(rollouts, snapshot->routes[i].conf);
    }
}

/* A run begins when it is first served, unless it began before a restart. */
static void follow(mg_rollouts *rollouts, mg_rollout_run *run, const mg_snapshot_route *route)
{
    const mg_str canary = route->split->backends[route->split->canary].service->name;
    mg_rollout state = run->state;

    run->conf = route->conf->rollout.conf;
    if (run->followed || run->stored)
        mg_rollout_restore(&state, &run->conf, policy_now(rollouts));
    else
        mg_rollout_start(&state, policy_now(rollouts));
    run_set(run, &state);
    mg_free(run->canary);
    run->canary = mg_memdup0(canary.p, canary.n);
    run->followed = true;
}

static void take_place(mg_rollouts *rollouts, mg_rollout_run *run)
{
    mg_rollout_run *before = mg_map_set(rollouts->runs, mg_str_of(run->route), run);

    if (before == run)
        return;
    run_ref(run);
    if (before)
        drop(rollouts, before);
    keep(rollouts, run);
}

static const mg_snapshot_route *route_of(const mg_snapshot *snapshot, const mg_rollout_run *run)
{
    for (size_t i = 0; i < snapshot->config->route_count; i++)
        if (snapshot->routes[i].split && snapshot->routes[i].split->run == run)
            return &snapshot->routes[i];
    return NULL;
}

/* One that no route names any more, or NULL. */
static mg_rollout_run *left_over(const mg_rollouts *rollouts, const mg_snapshot *snapshot)
{
    size_t cursor = 0;
    mg_str route;
    void *run;

    while (mg_map_next(rollouts->runs, &cursor, &route, &run))
        if (!route_of(snapshot, run))
            return run;
    return NULL;
}

void mg_rollouts_follow(mg_rollouts *rollouts, const mg_snapshot *snapshot)
{
    mg_rollout_run *run;

    for (size_t i = 0; i < snapshot->config->route_count; i++) {
        const mg_snapshot_route *route = &snapshot->routes[i];
        if (!route->split || !route->split->run)
            continue;
        take_place(rollouts, route->split->run);
        follow(rollouts, route->split->run, route);
    }
    while ((run = left_over(rollouts, snapshot))) {
        (void)mg_map_set(rollouts->runs, mg_str_of(run->route), NULL);
        drop(rollouts, run);
    }
    if (!mg_map_count(rollouts->runs))
        mg_timer_stop(&rollouts->tick);
    else if (!rollouts->tick.due_ns)
        set_timer(rollouts);
}

/* ---- for those who look and those who decide ---- */

static mg_rollout_view view_of(const mg_rollouts *rollouts, const mg_rollout_run *run)
{
    const uint64_t end_ns = run->state.began_ns + run->conf.interval_ms * MG_NS_PER_MS;
    const uint64_t now_ns = policy_now(rollouts);
    mg_figures_sum now;

    return (mg_rollout_view){ .route = mg_str_of(run->route),
                              .id = mg_str_of(run->id),
                              .canary = mg_str_of(run->canary),
                              .state = run->state.state,
                              .step = run->state.step,
                              .steps = run->conf.step_count,
                              .percent = mg_rollout_run_percent(run),
                              .strikes = run->state.strikes,
                              .interval_left_ms = end_ns > now_ns ? mg_ms_ceil(end_ns - now_ns) : 0,
                              .figures = figures_of(run, &now) };
}

void mg_rollouts_each(mg_rollouts *rollouts, void (*each)(void *self, const mg_rollout_view *view),
                      void *self)
{
    size_t cursor = 0;
    mg_str route;
    void *run;

    while (mg_map_next(rollouts->runs, &cursor, &route, &run)) {
        if (!((mg_rollout_run *)run)->followed)
            continue;
        const mg_rollout_view view = view_of(rollouts, run);
        each(self, &view);
    }
}

bool mg_rollouts_force(mg_rollouts *rollouts, mg_str route, mg_rollout_state state)
{
    mg_rollout_run *run = mg_map_get(rollouts->runs, route);

    if (!run || !run->followed)
        return false;
    mg_rollout forced = run->state;
    mg_rollout_force(&forced, &run->conf, state, policy_now(rollouts));
    run_set(run, &forced);
    mg_figures_read(run->figures, &run->base);
    mg_log_write(rollouts->options.log, MG_LOG_INFO, "rollout_forced",
                 "route %s, rollout %s: %s, %u %% to %s", run->route, run->id, mg_rollout_state_name(state),
                 mg_rollout_run_percent(run), run->canary);
    return true;
}
