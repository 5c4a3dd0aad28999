/* job_turns.c - when the functions given to mg.every run, and how a Lua state that is retired comes to its
 * end.
 *
 * A run begins as soon as the state serves, and again its interval after the end of the one before, a tenth
 * more or less. A retired state goes on so while requests are left in it, for at most MG_JOBS_GRACE_NS; then
 * each function runs once more. */
#include "gateway/request/job_parts.h"

#include "base/mem.h"

static mg_loop *loop_of(const mg_jobs *jobs)
{
    return jobs->worker->loop;
}

static uint64_t jittered(mg_loop *loop, double seconds)
{
    const double share = 0.9 + 0.2 * ((double)(mg_rand_next(&loop->rand) >> 11) / 0x1p53);

    return (uint64_t)(seconds * share * (double)MG_NS_PER_S);
}

static void on_tick(mg_timer *timer)
{
    mg_ticker *ticker = mg_container_of(timer, mg_ticker, timer);
    mg_jobs *jobs = ticker->jobs;
    const mg_vm_every *every = mg_vm_every_at(jobs->vm->vm, ticker->index);
    mg_view *view = jobs->view ? jobs->view : jobs->worker->view;

    ticker->state = ticker->state == MG_TICKER_LAST_DUE ? MG_TICKER_LAST_RUNS : MG_TICKER_TICKS;
    mg_job *job = mg_job_new(jobs, view, every->plugin, mg_str_of(every->where),
                             (uint64_t)(every->timeout_s * (double)MG_NS_PER_S));
    job->depth = 1;
    job->ticker = ticker;
    ticker->run = job;
    mg_job_clip(job);
    mg_job_begin(job);
}

/* The last runs have ended: nothing keeps a retired state any more. */
static void release(mg_jobs *jobs)
{
    mg_view *view = jobs->view;

    for (size_t i = 0; i < jobs->ticker_count; i++)
        if (jobs->tickers[i].state != MG_TICKER_OVER)
            return;
    jobs->view = NULL;
    mg_view_unref(view);
}

void mg_ticker_over(mg_ticker *ticker)
{
    mg_jobs *jobs = ticker->jobs;
    mg_loop *loop = loop_of(jobs);
    const mg_vm_every *every = mg_vm_every_at(jobs->vm->vm, ticker->index);

    ticker->run = NULL;
    if (jobs->worker->closed)
        return;
    switch (ticker->state) {
    case MG_TICKER_LAST_DUE: mg_timer_set(loop, &ticker->timer, mg_loop_now(loop)); return;
    case MG_TICKER_LAST_RUNS:
        ticker->state = MG_TICKER_OVER;
        release(jobs);
        return;
    default: mg_timer_set(loop, &ticker->timer, mg_loop_now(loop) + jittered(loop, every->seconds));
    }
}

mg_jobs *mg_jobs_new(mg_worker *worker, mg_worker_vm *vm)
{
    mg_jobs *jobs = MG_NEW(mg_jobs);

    jobs->worker = worker;
    jobs->vm = vm;
    jobs->ticker_count = mg_vm_every_count(vm->vm);
    jobs->tickers = MG_NEW_N(mg_ticker, jobs->ticker_count + 1);
    jobs->of_plugin = MG_NEW_N(unsigned, mg_vm_plugin_count(vm->vm) + 1);
    for (size_t i = 0; i < jobs->ticker_count; i++) {
        jobs->tickers[i].jobs = jobs;
        jobs->tickers[i].index = (uint32_t)i;
        mg_timer_init(&jobs->tickers[i].timer, on_tick);
    }
    mg_list_init(&jobs->all);
    mg_list_push(&worker->jobs, &jobs->link);
    return jobs;
}

void mg_jobs_free(mg_jobs *jobs)
{
    if (!jobs)
        return;
    for (size_t i = 0; i < jobs->ticker_count; i++)
        mg_timer_stop(&jobs->tickers[i].timer);
    mg_list_remove(&jobs->link);
    mg_free(jobs->of_plugin);
    mg_free(jobs->tickers);
    mg_free(jobs);
}

/* ---- retirement ---- */

void mg_job_clip(mg_job *job)
{
    mg_flight *flight = &job->flight;
    mg_loop *loop = loop_of(job->jobs);
    const uint64_t until = mg_loop_now(loop) + MG_JOBS_GRACE_NS;

    if (!job->jobs->retired_ns || flight->x->limit.fixed_ns <= until)
        return;
    job->retired = true;
    flight->x->limit.fixed_ns = until;
    mg_chain_hasten(flight, until);
}

/* Nobody sends it new requests: what runs in it is bounded from now on. `view` is one that has it. */
static void retire(mg_jobs *jobs, mg_view *view)
{
    if (jobs->retired_ns || jobs->worker->closed)
        return;
    jobs->retired_ns = mg_loop_now(loop_of(jobs));
    MG_LIST_EACH(&jobs->all, link)
    {
        mg_job *job = mg_container_of(link, mg_job, link);
        if (job->detached || job->ticker)
            mg_job_clip(job);
    }
    if (!jobs->ticker_count)
        return;
    jobs->view = view;
    mg_view_ref(view);
}

/* Whether requests are left that began with it; views that have it live as long as these. */
static bool has_requests(const mg_jobs *jobs)
{
    unsigned ours = 1; /* of those who hold the view, what is no request */

    MG_LIST_EACH(&jobs->all, link)
    {
        ours += mg_container_of(link, mg_job, link)->flight.view == jobs->view;
    }
    return jobs->vm->refs > 1 || jobs->view->refs > ours;
}

static void begin_last_runs(mg_jobs *jobs)
{
    for (size_t i = 0; i < jobs->ticker_count; i++) {
        mg_ticker *ticker = &jobs->tickers[i];
        if (ticker->state > MG_TICKER_TICKS)
            continue;
        ticker->state = MG_TICKER_LAST_DUE;
        if (!ticker->run)
            mg_timer_set(loop_of(jobs), &ticker->timer, mg_loop_now(loop_of(jobs)));
    }
}

void mg_jobs_follow(mg_worker *worker, mg_view *old)
{
    mg_worker_vm *vm = worker->view->vm;
    mg_jobs *jobs = vm ? vm->jobs : NULL;

    if (old && old->vm && old->vm != vm)
        retire(old->vm->jobs, old);
    for (size_t i = 0; jobs && !worker->closed && i < jobs->ticker_count; i++)
        if (jobs->tickers[i].state == MG_TICKER_WAITS && !jobs->tickers[i].timer.due_ns)
            mg_timer_set(worker->loop, &jobs->tickers[i].timer, mg_loop_now(worker->loop));
}

void mg_jobs_drain(mg_worker *worker)
{
    if (worker->view && worker->view->vm)
        retire(worker->view->vm->jobs, worker->view);
}

void mg_jobs_beat(mg_worker *worker)
{
    const uint64_t now = mg_loop_now(worker->loop);

    MG_LIST_EACH(&worker->jobs, link)
    {
        mg_jobs *jobs = mg_container_of(link, mg_jobs, link);
        if (!jobs->view)
            continue;
        if (now >= jobs->retired_ns + MG_JOBS_GRACE_NS || (jobs->view != worker->view && !has_requests(jobs)))
            begin_last_runs(jobs);
    }
}

bool mg_jobs_are_over(mg_worker *worker)
{
    bool over = true;

    MG_LIST_EACH(&worker->jobs, link)
    {
        mg_jobs *jobs = mg_container_of(link, mg_jobs, link);
        if (jobs->view)
            begin_last_runs(jobs);
        over &= !jobs->count && !jobs->view;
    }
    return over;
}

static void close_all(mg_jobs *jobs)
{
    mg_view *held = jobs->view;
    mg_list *first = jobs->all.next;

    for (size_t i = 0; i < jobs->ticker_count; i++)
        mg_timer_stop(&jobs->tickers[i].timer);
    jobs->view = NULL;
    if (!held && first != &jobs->all) {
        held = mg_container_of(first, mg_job, link)->flight.view;
        mg_view_ref(held);
    }
    while ((first = jobs->all.next) != &jobs->all)
        mg_job_cancel(mg_container_of(first, mg_job, link), MG_TASK_RETIRED);
    mg_view_unref(held);
}

size_t mg_jobs_tell(const mg_worker *worker, mg_text *out)
{
    size_t count = 0;

    MG_LIST_EACH(&worker->jobs, it)
    {
        const mg_jobs *jobs = mg_container_of(it, mg_jobs, link);
        count += jobs->count;
        MG_LIST_EACH(&jobs->all, inner)
        {
            const mg_job *job = mg_container_of(inner, mg_job, link);
            if (!job->ticker)
                mg_text_addf(out, "a task of %s, %.*s\n", mg_vm_plugin_at(jobs->vm->vm, job->plugin)->name,
                             MG_STR_ARGS(job->where));
        }
    }
    return count;
}

void mg_jobs_close(mg_worker *worker)
{
    MG_LIST_EACH(&worker->jobs, link)
    {
        close_all(mg_container_of(link, mg_jobs, link));
    }
}
