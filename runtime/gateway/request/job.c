/* job.c - one job: how it begins, what it belongs to, how it ends. When runs begin is job_turns.c's. */
#include "gateway/request/job_parts.h"

#include "base/mem.h"
#include "gateway/vm_renew.h"

static const mg_vm_plugin *plugin_of(const mg_job *job)
{
    return mg_vm_plugin_at(job->jobs->vm->vm, job->plugin);
}

static mg_task_kind kind_of(const mg_job *job)
{
    return job->ticker ? MG_TASK_OF_EVERY : MG_TASK_OF_REQUEST;
}

static mg_str route_of(const mg_flight *flight)
{
    return flight->route ? flight->route->name : MG_STR("-");
}

static void tell(const mg_job *job, const char *what)
{
    mg_call_log_event(job->jobs->worker->gateway->log, MG_LOG_WARN, "plugin_task", job->flight.x,
                      route_of(&job->flight), plugin_of(job), "the %s of %.*s %s",
                      job->ticker ? "run" : "task", MG_STR_ARGS(job->where), what);
}

/* ---- the beginning ---- */

/* A run of mg.every stands back where its plugin has filled the memory of all. */
static bool is_admitted(const mg_job *job)
{
    const mg_worker *worker = job->jobs->worker;
    uint64_t again_ns;

    return !job->ticker || job->cancelled || job->jobs->retired_ns || !mg_vm_renew_is_on(worker) ||
           mg_vm_renew_admits(worker, job->plugin, &again_ns);
}

static void begin(mg_job *job)
{
    mg_flight *flight = &job->flight;
    mg_call *call = is_admitted(job) ? mg_chain_take(flight) : NULL;

    job->begun = true;
    if (!call) {
        tell(job, "did not begin: its worker has no memory for it");
        mg_job_end(flight, MG_TASK_FAILED);
        return;
    }
    *call = (mg_call){ .x = flight->x,
                       .task = flight->chain.task,
                       .host = &flight->worker->host,
                       .snapshot = flight->view->snapshot,
                       .route_name = route_of(flight),
                       .cancelled = job->cancelled,
                       .plugin = job->plugin,
                       .phase = MG_PHASE_TASK,
                       .holds = &flight->limits.holds,
                       .owner = flight };
    mg_chain_wake(flight);
}

bool mg_job_stands_over(mg_flight *flight)
{
    mg_job *job = flight->beside->self;

    if (!job)
        return false;
    if (job->stood_over || flight->chain.call->wait == MG_WAIT_PAUSE ||
        (mg_list_empty(&flight->worker->paused) && !mg_loop_is_late(flight->worker->loop))) {
        job->stood_over = false;
        return false;
    }
    job->stood_over = true;
    mg_pause_add(flight);
    return true;
}

static void on_later(mg_later *later)
{
    begin(mg_container_of(later, mg_job, later));
}

mg_job *mg_job_new(mg_jobs *jobs, mg_view *view, uint32_t plugin, mg_str where, uint64_t timeout_ns)
{
    mg_worker *worker = jobs->worker;
    mg_exchange *x = mg_net_exchange_new(&worker->net);
    mg_job *job = MG_ARENA_NEW(&x->arena, mg_job);
    mg_flight *flight = &job->flight;
    const uint64_t words[3] = { mg_rand_next(&worker->loop->rand), mg_rand_next(&worker->loop->rand),
                                mg_rand_next(&worker->loop->rand) };

    memcpy(x->trace_id, words, sizeof x->trace_id);
    memcpy(x->span_id, &words[2], sizeof x->span_id);
    x->limit.fixed_ns = mg_add_sat(mg_loop_now(worker->loop), timeout_ns);
    mg_flight_init(flight, x, view);
    mg_flight_move(flight, MG_WAY_CHAIN);
    flight->beside = &job->beside;
    job->beside = (mg_beside){ .flight = flight, .self = job };
    mg_list_init(&job->beside.begun);
    job->later.run = on_later;
    job->jobs = jobs;
    job->plugin = plugin;
    job->where = mg_arena_str(&x->arena, where);
    mg_list_push(&jobs->all, &job->link);
    jobs->count++;
    jobs->of_plugin[plugin]++;
    return job;
}

void mg_job_begin(mg_job *job)
{
    mg_stats_tasks_running(job->jobs->worker->gateway->stats, job->jobs->worker->index, kind_of(job), 1);
    if (job->ticker)
        begin(job);
    else
        mg_later_add(job->jobs->worker->loop, &job->later);
}

/* ---- the end ---- */

static void on_awaited(mg_later *later)
{
    mg_flight *flight = mg_container_of(later, mg_beside, later)->flight;

    if (flight->chain.state == MG_CHAIN_WAITS && flight->chain.call->wait == MG_WAIT_TASK)
        mg_chain_wake(flight);
}

static void leave_starter(mg_job *job)
{
    mg_beside *starter = job->starter;

    if (!starter)
        return;
    mg_list_remove(&job->sibling);
    starter->count--;
    job->starter = NULL;
    if (starter->awaited != job)
        return;
    starter->awaited = NULL;
    starter->later.run = on_awaited;
    mg_later_add(job->jobs->worker->loop, &starter->later);
}

void mg_job_end(mg_flight *flight, mg_task_outcome outcome)
{
    mg_job *job = flight->beside->self;
    mg_jobs *jobs = job->jobs;
    mg_worker *worker = jobs->worker;
    mg_view *view = flight->view;
    mg_ticker *ticker = job->ticker;

    if (job->cancelled)
        outcome = job->outcome;
    else if (job->failed)
        outcome = MG_TASK_FAILED;
    else if (outcome == MG_TASK_DEADLINE && job->retired)
        outcome = MG_TASK_RETIRED;
    if (outcome == MG_TASK_RETIRED)
        tell(job, "was ended: its Lua state is retired");
    else if (outcome == MG_TASK_DEADLINE && (job->detached || ticker))
        tell(job, "was ended: its time was over");
    mg_stats_task(worker->gateway->stats, worker->index, kind_of(job), outcome);
    mg_stats_tasks_running(worker->gateway->stats, worker->index, kind_of(job), -1);
    leave_starter(job);
    mg_later_cancel(&job->later);
    mg_list_remove(&job->link);
    jobs->count--;
    jobs->of_plugin[job->plugin]--;
    mg_flight_move(flight, MG_WAY_END);
    mg_chain_finish(flight);
    mg_limits_end(flight);
    mg_net_exchange_free(&worker->net, flight->x);
    if (ticker)
        mg_ticker_over(ticker);
    mg_view_unref(view);
    mg_worker_check_drained(worker);
}

void mg_job_cancel(mg_job *job, mg_task_outcome outcome)
{
    job->cancelled = "cancelled";
    job->outcome = outcome;
    if (job->begun) {
        mg_chain_abort(&job->flight, job->cancelled);
        mg_job_end(&job->flight, outcome);
    } else { /* Lua has its function, and drops it when the slot unwinds at once */
        mg_later_cancel(&job->later);
        begin(job);
    }
}

/* ---- what a flight began ---- */

static mg_beside *beside_of(mg_flight *flight)
{
    if (!flight->beside) {
        flight->beside = MG_ARENA_NEW(&flight->x->arena, mg_beside);
        flight->beside->flight = flight;
        mg_list_init(&flight->beside->begun);
    }
    return flight->beside;
}

void mg_jobs_leave(mg_flight *flight, bool well)
{
    mg_beside *beside = flight->beside;

    mg_job_await_no_more(flight);
    for (mg_list *link; (link = mg_list_pop(&beside->begun));) {
        mg_job *job = mg_container_of(link, mg_job, sibling);
        beside->count--;
        job->starter = NULL;
        if (job->detached)
            continue;
        if (well)
            tell(job,
                 "was ended with the handlers of its request: it was neither waited for, with task:wait(), "
                 "nor detached, with task:detach()");
        mg_job_cancel(job, MG_TASK_CANCELLED);
    }
}

void mg_job_await(mg_flight *flight)
{
    mg_beside *beside = flight->beside;

    if (!beside->awaited) { /* it ended between the call and the wait */
        beside->later.run = on_awaited;
        mg_later_add(flight->worker->loop, &beside->later);
    }
}

void mg_job_await_no_more(mg_flight *flight)
{
    mg_later_cancel(&flight->beside->later);
    flight->beside->awaited = NULL;
}

/* ---- what Lua calls (moongate.h) ---- */

/* Why no further task may begin, or NULL. */
static const char *refusal(mg_flight *flight, const mg_jobs *jobs, uint32_t plugin)
{
    const mg_beside *beside = flight->beside;

    if (beside && beside->self && beside->self->depth >= MG_JOB_DEPTH)
        return "tasks begin tasks at most 4 deep: what goes on for ever is for mg.every";
    if (beside && beside->count >= MG_JOBS_OF_FLIGHT)
        return "a request, or a task, has at most 32 tasks at once: wait for some, with task:wait()";
    if (jobs->of_plugin[plugin] >= MG_JOBS_OF_PLUGIN)
        return "a plugin has at most 256 tasks at once on a worker";
    if (jobs->count >= MG_JOBS_OF_WORKER)
        return "all plugins together have at most 1024 tasks at once on a worker";
    return NULL;
}

double mg_call_task_start(mg_call *call, uint32_t plugin, const char *where, uint32_t n, double timeout_s,
                          const char **wrong)
{
    mg_flight *flight = call->owner;
    mg_worker_vm *vm = flight ? flight->view->vm : NULL;

    *wrong = "it works only while a request is served";
    if (!vm || plugin >= mg_vm_plugin_count(vm->vm))
        return 0;
    *wrong = refusal(flight, vm->jobs, plugin);
    if (*wrong) {
        mg_stats_task(flight->worker->gateway->stats, flight->worker->index, MG_TASK_OF_REQUEST,
                      MG_TASK_REFUSED);
        return 0;
    }
    mg_job *job = mg_job_new(vm->jobs, flight->view, plugin, mg_str_make(where, n),
                             (uint64_t)(timeout_s * (double)MG_NS_PER_S));
    mg_beside *beside = beside_of(flight);
    mg_flight_take_names(&job->flight, flight);
    job->number = ++flight->worker->jobs_begun;
    job->depth = beside->self ? beside->self->depth + 1 : 1;
    job->starter = beside;
    mg_list_push(&beside->begun, &job->sibling);
    beside->count++;
    mg_job_begin(job);
    return (double)job->number;
}

static mg_job *begun_by(const mg_call *call, double number)
{
    const mg_flight *flight = call->owner;

    if (!flight || !flight->beside)
        return NULL;
    MG_LIST_EACH(&flight->beside->begun, link)
    {
        mg_job *job = mg_container_of(link, mg_job, sibling);
        if ((double)job->number == number)
            return job;
    }
    return NULL;
}

const char *mg_call_task_detach(mg_call *call, double number)
{
    mg_job *job = begun_by(call, number);

    if (!job)
        return "only what began a task can detach it, while it runs";
    job->detached = true;
    mg_job_clip(job);
    return NULL;
}

const char *mg_call_task_wait(mg_call *call, double number)
{
    mg_job *job = begun_by(call, number);

    if (!job)
        return "only what began a task can wait for it";
    if (job->detached)
        return "this task is detached: nothing waits for it";
    job->starter->awaited = job;
    return NULL;
}

double mg_call_task_number(const mg_call *call)
{
    const mg_flight *flight = call->owner;
    const mg_job *job = flight->beside->self;

    return job->ticker ? -1 - (double)job->ticker->index : (double)job->number;
}

void mg_call_task_raised(mg_call *call, const char *message, uint32_t n, const char *traceback,
                         uint32_t traceback_n)
{
    mg_flight *flight = call->owner;
    mg_job *job = flight->beside->self;

    job->failed = true;
    mg_stats_event(flight->worker->gateway->stats, flight->worker->index, MG_EVENT_PLUGIN_ERROR, 1);
    mg_call_log_event(flight->worker->gateway->log, MG_LOG_ERROR, "plugin_error", flight->x, call->route_name,
                      plugin_of(job), "in the %s of %.*s: %.*s\n%.*s", job->ticker ? "run" : "task",
                      MG_STR_ARGS(job->where), (int)n, message, (int)traceback_n, traceback);
}
