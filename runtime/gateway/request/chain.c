/* chain.c - a flight's handler chain: a slot of the VM, resumed when what it waits for is there. */
#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/body_back.h"
#include "gateway/request/call_http.h"
#include "gateway/request/chain_parts.h"
#include "gateway/request/job.h"
#include "gateway/request/pause.h"
#include "gateway/request/split.h"
#include "gateway/request/tap.h"
#include "gateway/vm_renew.h"

static void settle(mg_flight *flight);
static void unwind(mg_flight *flight, const char *why, mg_task_error *error);

static mg_loop *loop_of(const mg_flight *flight)
{
    return flight->worker->loop;
}

static void leave_jobs(mg_flight *flight)
{
    mg_jobs_leave(flight, flight->is_through && !flight->call->cancelled);
}

/* The request body in memory stays: an upstream that answered early may still be reading it. */
static void give_back(mg_flight *flight)
{
    mg_call *call = flight->call;

    if (flight->beside)
        leave_jobs(flight);
    mg_tap_stop(flight);
    for (int which = MG_REQUEST; which <= MG_RESPONSE; which++) {
        mg_text_fini(&flight->kept[which]);
        flight->kept[which] = call->bodies[which].text;
    }
    mg_text_fini(&call->chunk_out);
    flight->consumer = call->consumer;
    call->x = NULL;
    flight->call = NULL;
    mg_vm *vm = mg_task_vm(flight->task);
    mg_task_give(flight->task, flight->is_through);
    flight->task = NULL;
    flight->chain = MG_CHAIN_GONE;
    if (mg_vm_is_crowded(vm) && flight->worker->view->vm && flight->worker->view->vm->vm == vm)
        mg_vm_renew_ask(flight->worker);
}

/* Whether a body still has to go past the chain's filters. */
static bool streams_on(const mg_flight *flight)
{
    const mg_exchange *x = flight->x;

    if ((flight->streams & 1) && !x->request_body.ended)
        return true;
    return (flight->streams & 2) && x->answer == MG_ANSWER_UPSTREAM && x->response_body.source &&
           x->response.status != 101;
}

static bool has_logs(const mg_flight *flight)
{
    return mg_vm_chain_logs(flight->view->vm->vm, flight->call->chain);
}

/* No handler runs any more: the coroutine is through, or was ended. Its slot stays for what still comes:
 * pieces of bodies, unless it was ended, and the log. */
static void end_handlers(mg_flight *flight, bool is_through, bool filters)
{
    flight->is_through = is_through;
    if (flight->beside)
        leave_jobs(flight);
    mg_timer_stop(&flight->timer);
    mg_pause_over(flight);
    mg_chain_drop_body(flight);
    mg_call_http_cancel(flight->call);
    mg_call_barrier_cancel(flight->call);
    flight->filters_end = !filters;
    flight->chain = MG_CHAIN_LOGS;
    if (mg_flight_is_job(flight) || !(has_logs(flight) || (filters && streams_on(flight))))
        give_back(flight);
}

static void raised(mg_flight *flight, const mg_task_error *error)
{
    end_handlers(flight, false, false);
    mg_chain_log_error(flight, error);
    if (mg_flight_is_job(flight)) {
        mg_job_end(flight, MG_TASK_FAILED);
        return;
    }
    mg_pipeline_refuse(flight, 500, "plugin_error", MG_STR("The gateway could not handle this request."), -1);
}

/* ---- waits ---- */

/* The plugin's own timeout came before what it waits for. */
static void give_up_wait(mg_flight *flight)
{
    flight->call->timed_out = true;
    if (flight->draining >= 0)
        mg_chain_leave_body(flight);
    if (flight->call->wait == MG_WAIT_BARRIER)
        mg_call_barrier_cancel(flight->call);
    if (flight->call->wait == MG_WAIT_TASK)
        mg_job_await_no_more(flight);
}

/* The time of the request is over while a plugin waits. */
static void run_out(mg_flight *flight)
{
    const bool by_itself = flight->call->wait != MG_WAIT_NEXT;
    mg_task_error error = { .plugin = -1 };

    if (mg_flight_is_job(flight)) {
        unwind(flight, "deadline", &error);
        mg_job_end(flight, MG_TASK_DEADLINE);
        return;
    }
    unwind(flight, mg_chain_why_late(flight), &error);
    if (by_itself && error.plugin >= 0)
        mg_chain_log_error(flight, &error);
    flight->deadline_where = "plugin";
    mg_pipeline_refuse(flight, 504, "deadline", MG_STR("The time for this request is over."), -1);
}

static void on_timer(mg_timer *timer)
{
    mg_flight *flight = mg_container_of(timer, mg_flight, timer);

    if (flight->chain != MG_CHAIN_WAITS)
        return;
    if (flight->draining >= 0 && flight->call->bodies[flight->draining].too_large) {
        mg_chain_refuse_large(flight, flight->draining);
        return;
    }
    const uint64_t now = mg_loop_now(loop_of(flight));
    const bool is_late = flight->patience_ns && now >= flight->patience_ns;
    if (now >= mg_chain_until(flight) &&
        (flight->call->wait != MG_WAIT_NEXT || mg_chain_takes_rest(flight))) {
        run_out(flight);
        return;
    }
    if (flight->call->wait == MG_WAIT_HTTP) {
        mg_call_http_expire(flight->call, is_late);
        return;
    }
    if (is_late)
        give_up_wait(flight);
    mg_pipeline_resume(flight);
}

static void sleep_for(mg_flight *flight, double seconds)
{
    const uint64_t now = mg_loop_now(loop_of(flight));
    const uint64_t due = mg_add_sat(now, (uint64_t)(seconds * 1e9));

    mg_timer_set(loop_of(flight), &flight->timer, mg_min_u64(due, mg_chain_until(flight)));
}

/* The handlers are through, and nobody answered or called next: Lua knows whose line to name. */
static void raise_unanswered(mg_flight *flight)
{
    mg_task_error error = { .plugin = -1 };

    flight->call->phase = MG_PHASE_UNANSWERED;
    (void)mg_task_resume(flight->task, &error);
    raised(flight, &error);
}

static bool ends_as_job(mg_flight *flight)
{
    if (mg_flight_is_job(flight)) {
        end_handlers(flight, true, false);
        mg_job_end(flight, MG_TASK_OK);
        return true;
    }
    mg_jobs_leave(flight, true);
    return false;
}

/* The answer's body is not in memory. */
static bool comes_from_elsewhere(const mg_exchange *x)
{
    return x->answer == MG_ANSWER_UPSTREAM || x->answer == MG_ANSWER_PASSED;
}

static void chain_done(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (flight->beside && ends_as_job(flight))
        return;
    if (comes_from_elsewhere(x) && mg_chain_lacks_rest(flight, MG_RESPONSE)) {
        flight->patience_ns = 0;
        mg_chain_take_body(flight, MG_RESPONSE);
        return;
    }
    if (x->answer == MG_ANSWER_NONE && !flight->client_done) {
        raise_unanswered(flight);
        return;
    }
    if (x->answer == MG_ANSWER_OWN)
        mg_proxy_stop(flight);
    else
        mg_body_back_response(flight);
    mg_chain_hold_ends(flight);
    end_handlers(flight, true, true);
    if (flight->client_done) {
        mg_pipeline_maybe_finish(flight);
        return;
    }
    if (x->reset && comes_from_elsewhere(x) && !x->response_body.source && !x->response_body.ended &&
        x->response.body != MG_BODY_NONE) {
        mg_pipeline_refuse(flight, 502, mg_reset_text(x->reset),
                           MG_STR("The upstream closed the connection."), -1);
    } else {
        mg_pipeline_send(flight);
    }
}

/* The client's body has gone elsewhere with ctx.http: an upstream would get a request without it. */
static void refuse_bodiless(mg_flight *flight)
{
    const mg_call *call = flight->call;

    mg_stats_event(flight->worker->gateway->stats, flight->worker->index, MG_EVENT_PLUGIN_ERROR, 1);
    mg_call_log_event(flight->worker->gateway->log, MG_LOG_ERROR, "plugin_error", flight->x,
                      flight->route->name, mg_call_plugin(call, call->plugin),
                      "next has no body to send: ctx.http has sent the client's. Answer with ctx:respond, or "
                      "declare body = { request = \"buffer(64KiB)\" } and send ctx.request:body()");
    mg_chain_abort(flight, "plugin_error");
    mg_pipeline_refuse(flight, 500, "plugin_error", MG_STR("The gateway could not handle this request."), -1);
}

/* NEXT */
static void send_request(mg_flight *flight)
{
    mg_timer_stop(&flight->timer);
    if (flight->call->body_sent && !flight->call->bodies[MG_REQUEST].replaced) {
        refuse_bodiless(flight);
        return;
    }
    if (mg_chain_lacks_rest(flight, MG_REQUEST)) {
        mg_chain_take_body(flight, MG_REQUEST);
        return;
    }
    mg_body_back_request(flight);
    mg_tap_start(flight);
    if ((flight->streams & 1) && flight->x->request_body.source)
        flight->x->request.body = MG_BODY_STREAM; /* a filter may change its length */
    mg_split_again(flight);
    mg_proxy_start(flight);
}

/* Never later than the exchange's own deadline, where that still counts. */
static void wait_http(mg_flight *flight)
{
    const uint64_t until = mg_call_http_deadline(flight->call);

    if (until != UINT64_MAX)
        mg_timer_set(loop_of(flight), &flight->timer, until);
    mg_chain_bound_by_plugin(flight);
    mg_call_http_run(flight->call);
}

/* The coroutine has yielded: does what it waits for. */
static void settle(mg_flight *flight)
{
    switch (flight->call->wait) {
    case MG_WAIT_DONE: chain_done(flight); return;
    case MG_WAIT_NEXT: send_request(flight); return;
    case MG_WAIT_SLEEP:
        sleep_for(flight, flight->call->wait_s);
        mg_chain_bound_by_plugin(flight);
        return;
    case MG_WAIT_BODY: mg_chain_take_body(flight, flight->call->wait_which); return;
    case MG_WAIT_HTTP: wait_http(flight); return;
    case MG_WAIT_BARRIER:
    case MG_WAIT_TASK:
    case MG_WAIT_PAUSE:
        mg_chain_bound_wait(flight);
        mg_chain_bound_by_plugin(flight);
        if (flight->call->wait == MG_WAIT_PAUSE)
            mg_pause_add(flight);
        else if (flight->call->wait == MG_WAIT_TASK)
            mg_job_await(flight);
        else
            mg_call_barrier_run(flight->call);
        return;
    default: MG_UNREACHABLE();
    }
}

static void resume(mg_flight *flight)
{
    mg_task_error error;
    mg_loop *loop = loop_of(flight);
    const bool timed = mg_access_log_is_on(flight->worker->gateway->access_log);

    mg_pause_over(flight);
    flight->chain = MG_CHAIN_RUNS;
    if (timed)
        flight->chain_since_ns = loop->clock->mono_ns(loop->clock);
    const mg_task_state state = mg_chain_resume(flight, &error);
    if (timed)
        flight->chain_ns += loop->clock->mono_ns(loop->clock) - flight->chain_since_ns;
    flight->chain = MG_CHAIN_WAITS;
    if (state == MG_TASK_RAISED)
        raised(flight, &error);
    else
        settle(flight);
}

void mg_pipeline_resume(mg_flight *flight)
{
    mg_timer_stop(&flight->timer);
    if (!flight->beside || !mg_job_stands_over(flight))
        resume(flight);
}

void mg_chain_body_is_there(mg_flight *flight)
{
    if (flight->chain != MG_CHAIN_WAITS)
        return;
    if (flight->call->wait == MG_WAIT_BODY)
        mg_pipeline_resume(flight);
    else if (flight->call->wait == MG_WAIT_NEXT)
        send_request(flight);
    else if (flight->call->wait == MG_WAIT_DONE)
        chain_done(flight);
}

mg_call *mg_chain_take(mg_flight *flight)
{
    flight->task = flight->view->vm ? mg_task_take(flight->view->vm->vm) : NULL;
    if (!flight->task) {
        mg_vm_renew_ask(flight->worker);
        return NULL;
    }
    mg_timer_init(&flight->timer, on_timer);
    flight->call = mg_task_call(flight->task);
    return flight->call;
}

bool mg_chain_start(mg_flight *flight)
{
    const mg_snapshot_route *route = flight->route;
    const mg_door *door = flight->x->listener;
    mg_call *call = mg_chain_take(flight);

    if (!call)
        return false;
    *call = (mg_call){
        .x = flight->x,
        .task = flight->task,
        .host = &flight->worker->host,
        .snapshot = flight->view->snapshot,
        .match = &flight->match,
        .route_name = route->name,
        .service_name = flight->service ? flight->service->name : MG_STR_NONE,
        .client = flight->client,
        .keeps_slashes = route->conf->keeps_slashes,
        .max_path_bytes = route->conf->max_path_bytes,
        .max_target_bytes = door->server.limits.h1.target_bytes,
        .chain = (uint32_t)route->chain,
        .plugin = UINT32_MAX,
        .phase = MG_PHASE_CHAIN,
        .holds = &flight->holds,
        .owner = flight,
    };
    const mg_chain_bodies *bodies = &flight->view->vm->bodies[route->chain];
    call->bodies[MG_REQUEST].max_bytes = bodies->request_bytes;
    call->bodies[MG_RESPONSE].max_bytes = bodies->response_bytes;
    flight->streams = mg_vm_chain_streams(flight->view->vm->vm, call->chain);
    if ((flight->streams & 1) && flight->x->request.body != MG_BODY_NONE)
        mg_fields_weaken(&flight->x->request.fields, &flight->x->arena, true);
    resume(flight);
    return true;
}

void mg_chain_continue(mg_flight *flight)
{
    if (flight->chain != MG_CHAIN_WAITS || flight->call->wait != MG_WAIT_NEXT)
        return;
    mg_chain_hold(flight);
    resume(flight);
}

static void unwind(mg_flight *flight, const char *why, mg_task_error *error)
{
    if (flight->call->wait == MG_WAIT_DONE) { /* it is through, and only a body is waited for */
        end_handlers(flight, true, false);
        return;
    }
    flight->call->cancelled = why;
    flight->chain = MG_CHAIN_RUNS;
    mg_call_http_cancel(flight->call);
    const mg_task_state state = mg_task_resume(flight->task, error);
    end_handlers(flight, state == MG_TASK_YIELDED && flight->call->wait == MG_WAIT_DONE, false);
}

void mg_chain_abort(mg_flight *flight, const char *why)
{
    mg_task_error error;

    if (flight->chain == MG_CHAIN_WAITS)
        unwind(flight, why, &error);
}

/* Tells the logs of its plugins what the client got, as the access log has it. */
static void run_logs(mg_flight *flight)
{
    static const mg_response nothing = { .status = MG_STATUS_CLIENT_GONE };
    mg_exchange *x = flight->x;
    mg_call *call = flight->call;
    mg_task_error error;

    if (!x->head_sent)
        mg_exchange_answer(x, MG_ANSWER_OWN, &nothing, MG_STR_NONE);
    call->error = mg_flight_error(flight);
    call->phase = MG_PHASE_LOG;
    if (mg_task_aside(flight->task, MG_ASIDE_LOG, &error) == MG_TASK_RAISED)
        mg_chain_log_error(flight, &error);
}

void mg_chain_finish(mg_flight *flight)
{
    if (flight->chain == MG_CHAIN_LOGS) {
        if (has_logs(flight))
            run_logs(flight);
        give_back(flight);
    }
    mg_call_http_fini(flight);
    mg_later_cancel(&flight->later);
    mg_filter_fini(&flight->filters[MG_REQUEST]);
    mg_filter_fini(&flight->filters[MG_RESPONSE]);
    mg_replay_fini(flight);
    mg_text_fini(&flight->kept[MG_REQUEST]);
    mg_text_fini(&flight->kept[MG_RESPONSE]);
}
