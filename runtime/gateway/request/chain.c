/* chain.c - a flight's handler chain: a slot of the VM, resumed when what it waits for is there. */
#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/body_back.h"
#include "gateway/request/call_barrier.h"
#include "gateway/request/call_http.h"
#include "gateway/request/chain_parts.h"
#include "gateway/request/job.h"
#include "gateway/request/outgoing.h"
#include "gateway/request/pipeline.h"
#include "gateway/request/replay.h"
#include "gateway/request/tap.h"
#include "gateway/vm_renew.h"

static void settle(mg_flight *flight);
static void unwind(mg_flight *flight, const char *why, mg_task_error *error);

static mg_loop *loop_of(const mg_flight *flight)
{
    return flight->worker->loop;
}

static void move(mg_flight *flight, mg_chain_state to)
{
#define TO(state) (1u << MG_CHAIN_##state)
    static const uint8_t may[] = {
        [MG_CHAIN_NONE] = TO(WAITS),
        [MG_CHAIN_WAITS] = TO(RUNS) | TO(LOGS), /* the latter where only a body was waited for */
        [MG_CHAIN_RUNS] = TO(WAITS) | TO(LOGS),
        [MG_CHAIN_LOGS] = TO(GONE),
        [MG_CHAIN_GONE] = 0,
    };
#undef TO

    MG_CHECK(may[flight->chain.state] & 1u << to);
    flight->chain.state = to;
}

static void leave_jobs(mg_flight *flight)
{
    mg_jobs_leave(flight, flight->chain.is_through && !flight->chain.call->cancelled);
}

/* The request body in memory stays: an upstream that answered early may still be reading it. */
static void give_back(mg_flight *flight)
{
    mg_call *call = flight->chain.call;

    if (flight->beside)
        leave_jobs(flight);
    mg_tap_stop(flight);
    mg_body_back_keep(flight, call);
    mg_text_fini(&call->chunk_out);
    flight->chain.consumer = call->consumer;
    mg_filter_end(flight);
    call->x = NULL;
    flight->chain.call = NULL;
    mg_vm *vm = mg_task_vm(flight->chain.task);
    mg_task_give(flight->chain.task, flight->chain.is_through);
    flight->chain.task = NULL;
    move(flight, MG_CHAIN_GONE);
    mg_vm_renew_look(flight->worker, vm);
}

/* Whether a body still has to go past the chain's filters. */
static bool streams_on(const mg_flight *flight)
{
    const mg_exchange *x = flight->x;

    if (mg_filter_is_for(&flight->filters, MG_REQUEST) && !x->request_body.ended)
        return true;
    return mg_filter_is_for(&flight->filters, MG_RESPONSE) && x->answer == MG_ANSWER_UPSTREAM &&
           x->response_body.source && !x->tunnel;
}

static bool has_logs(const mg_flight *flight)
{
    return mg_vm_chain_logs(flight->view->vm->vm, flight->chain.call->chain);
}

/* No handler runs any more: the coroutine is through, or was ended. Its slot stays for what still comes:
 * pieces of bodies, unless it was ended, and the log. */
static void end_handlers(mg_flight *flight, bool is_through, bool filters)
{
    flight->chain.is_through = is_through;
    if (flight->beside)
        leave_jobs(flight);
    mg_timer_stop(&flight->chain.timer);
    mg_pause_over(flight);
    mg_chain_drop_body(flight);
    mg_call_http_cancel(flight->chain.call);
    mg_call_barrier_cancel(flight->chain.call);
    if (!filters)
        mg_filter_end(flight);
    move(flight, MG_CHAIN_LOGS);
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
    mg_pipeline_refuse(flight, MG_REFUSED_PLUGIN_ERROR);
}

/* ---- waits ---- */

/* The plugin's own timeout came before what it waits for. */
static void give_up_wait(mg_flight *flight)
{
    flight->chain.call->timed_out = true;
    if (flight->chain.takes)
        mg_chain_leave_body(flight);
    if (flight->chain.call->wait == MG_WAIT_BARRIER)
        mg_call_barrier_cancel(flight->chain.call);
    if (flight->chain.call->wait == MG_WAIT_TASK)
        mg_job_await_no_more(flight);
}

/* The time of the request is over while a plugin waits. */
static void run_out(mg_flight *flight)
{
    const bool by_itself = flight->chain.call->wait != MG_WAIT_NEXT;
    mg_task_error error = { .plugin = -1 };

    if (mg_flight_is_job(flight)) {
        unwind(flight, "deadline", &error);
        mg_job_end(flight, MG_TASK_DEADLINE);
        return;
    }
    unwind(flight, mg_chain_why_late(flight), &error);
    if (by_itself && error.plugin >= 0)
        mg_chain_log_error(flight, &error);
    mg_flight_is_late(flight, MG_DEADLINE_PLUGIN);
    mg_pipeline_refuse(flight, MG_REFUSED_DEADLINE);
}

static void on_timer(mg_timer *timer)
{
    mg_flight *flight = mg_container_of(timer, mg_flight, chain.timer);

    if (flight->chain.state != MG_CHAIN_WAITS)
        return;
    if (mg_chain_body_is_large(flight)) {
        mg_chain_refuse_large(flight);
        return;
    }
    const uint64_t now = mg_loop_now(loop_of(flight));
    const bool is_late = flight->chain.patience_ns && now >= flight->chain.patience_ns;
    if (now >= mg_chain_until(flight) &&
        (flight->chain.call->wait != MG_WAIT_NEXT || mg_chain_takes_rest(flight))) {
        run_out(flight);
        return;
    }
    if (flight->chain.call->wait == MG_WAIT_HTTP) {
        mg_call_http_expire(flight->chain.call, is_late);
        return;
    }
    if (is_late)
        give_up_wait(flight);
    mg_chain_wake(flight);
}

static void sleep_for(mg_flight *flight, double seconds)
{
    const uint64_t now = mg_loop_now(loop_of(flight));
    const uint64_t due = mg_add_sat(now, (uint64_t)(seconds * 1e9));

    mg_timer_set(loop_of(flight), &flight->chain.timer, mg_min_u64(due, mg_chain_until(flight)));
}

/* The handlers are through, and nobody answered or called next: Lua knows whose line to name. */
static void raise_unanswered(mg_flight *flight)
{
    mg_task_error error = { .plugin = -1 };

    flight->chain.call->phase = MG_PHASE_UNANSWERED;
    (void)mg_task_resume(flight->chain.task, &error);
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
        flight->chain.patience_ns = 0;
        mg_chain_take_body(flight, MG_RESPONSE);
        return;
    }
    if (x->answer == MG_ANSWER_NONE && flight->way != MG_WAY_END) {
        raise_unanswered(flight);
        return;
    }
    if (x->answer == MG_ANSWER_OWN)
        mg_proxy_stop(flight);
    else
        mg_body_back_response(flight);
    mg_chain_hold_ends(flight);
    end_handlers(flight, true, true);
    if (flight->way == MG_WAY_END) {
        mg_pipeline_go(flight, MG_WAY_END);
        return;
    }
    if (x->reset && comes_from_elsewhere(x) && !x->response_body.source && !x->response_body.ended &&
        x->response.body != MG_BODY_NONE) {
        mg_chain_refuse_cut(flight, x->reset);
    } else {
        mg_pipeline_go(flight, MG_WAY_SEND);
    }
}

/* The client's body has gone elsewhere with ctx.http: an upstream would get a request without it. */
static void refuse_bodiless(mg_flight *flight)
{
    const mg_call *call = flight->chain.call;

    mg_stats_event(flight->worker->gateway->stats, flight->worker->index, MG_EVENT_PLUGIN_ERROR, 1);
    mg_call_log_event(flight->worker->gateway->log, MG_LOG_ERROR, "plugin_error", flight->x,
                      flight->route->name, mg_call_plugin(call, call->plugin),
                      "next has no body to send: ctx.http has sent the client's. Answer with ctx:respond, or "
                      "declare body = { request = \"buffer(64KiB)\" } and send ctx.request:body()");
    mg_chain_abort(flight, mg_refusals[MG_REFUSED_PLUGIN_ERROR].error);
    mg_pipeline_refuse(flight, MG_REFUSED_PLUGIN_ERROR);
}

/* NEXT */
static void send_request(mg_flight *flight)
{
    mg_timer_stop(&flight->chain.timer);
    if (flight->chain.call->body_sent && flight->chain.call->bodies[MG_REQUEST].state != MG_GATHER_REPLACED) {
        refuse_bodiless(flight);
        return;
    }
    if (mg_chain_lacks_rest(flight, MG_REQUEST)) {
        mg_chain_take_body(flight, MG_REQUEST);
        return;
    }
    mg_body_back_request(flight);
    mg_tap_start(flight);
    if (mg_filter_is_for(&flight->filters, MG_REQUEST) && flight->x->request_body.source)
        flight->x->request.body = MG_BODY_STREAM; /* a filter may change its length */
    mg_split_again(flight);
    mg_pipeline_go(flight, MG_WAY_PROXY);
}

/* Never later than the exchange's own deadline, where that still counts. */
static void wait_http(mg_flight *flight)
{
    const uint64_t until = mg_call_http_deadline(flight->chain.call);

    if (until != UINT64_MAX)
        mg_timer_set(loop_of(flight), &flight->chain.timer, until);
    mg_chain_bound_by_plugin(flight);
    mg_call_http_run(flight->chain.call);
}

/* The coroutine has yielded: does what it waits for. */
static void settle(mg_flight *flight)
{
    switch (flight->chain.call->wait) {
    case MG_WAIT_DONE: chain_done(flight); return;
    case MG_WAIT_NEXT: send_request(flight); return;
    case MG_WAIT_SLEEP:
        sleep_for(flight, flight->chain.call->wait_s);
        mg_chain_bound_by_plugin(flight);
        return;
    case MG_WAIT_BODY: mg_chain_take_body(flight, flight->chain.call->wait_which); return;
    case MG_WAIT_HTTP: wait_http(flight); return;
    case MG_WAIT_BARRIER:
    case MG_WAIT_TASK:
    case MG_WAIT_PAUSE:
        mg_chain_bound_wait(flight);
        mg_chain_bound_by_plugin(flight);
        if (flight->chain.call->wait == MG_WAIT_PAUSE)
            mg_pause_add(flight);
        else if (flight->chain.call->wait == MG_WAIT_TASK)
            mg_job_await(flight);
        else
            mg_call_barrier_run(flight->chain.call);
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
    move(flight, MG_CHAIN_RUNS);
    if (timed)
        flight->chain.since_ns = loop->clock->mono_ns(loop->clock);
    const mg_task_state state = mg_chain_resume(flight, &error);
    if (timed)
        flight->chain.ran_ns += loop->clock->mono_ns(loop->clock) - flight->chain.since_ns;
    move(flight, MG_CHAIN_WAITS);
    if (state == MG_TASK_RAISED)
        raised(flight, &error);
    else
        settle(flight);
}

void mg_chain_wake(mg_flight *flight)
{
    mg_timer_stop(&flight->chain.timer);
    if (!flight->beside || !mg_job_stands_over(flight))
        resume(flight);
}

void mg_chain_body_is_there(mg_flight *flight)
{
    if (flight->chain.state != MG_CHAIN_WAITS)
        return;
    if (flight->chain.call->wait == MG_WAIT_BODY)
        mg_chain_wake(flight);
    else if (flight->chain.call->wait == MG_WAIT_NEXT)
        send_request(flight);
    else if (flight->chain.call->wait == MG_WAIT_DONE)
        chain_done(flight);
}

mg_call *mg_chain_take(mg_flight *flight)
{
    flight->chain.task = flight->view->vm ? mg_task_take(flight->view->vm->vm) : NULL;
    if (!flight->chain.task) {
        mg_vm_renew_ask(flight->worker);
        return NULL;
    }
    mg_timer_init(&flight->chain.timer, on_timer);
    flight->chain.call = mg_task_call(flight->chain.task);
    move(flight, MG_CHAIN_WAITS);
    return flight->chain.call;
}

/* False where the state has no room for one of its plugins, or may not be filled again by it until *again_ns. */
static bool is_admitted(const mg_flight *flight, uint64_t *again_ns)
{
    const mg_config_route *route = flight->route->conf;

    for (size_t i = 0; i < route->item_count; i++)
        if (route->items[i].kind == MG_CONFIG_ITEM_PLUGIN &&
            !mg_vm_renew_admits(flight->worker, (uint32_t)route->items[i].plugin->index, again_ns))
            return false;
    return true;
}

int mg_chain_start(mg_flight *flight)
{
    const mg_snapshot_route *route = flight->route;
    const mg_door *door = flight->x->listener;
    const uint64_t now = mg_loop_now(loop_of(flight));
    uint64_t again_ns = now;
    mg_call *call =
        mg_vm_renew_is_on(flight->worker) && !is_admitted(flight, &again_ns) ? NULL : mg_chain_take(flight);

    if (!call)
        return again_ns > now ? (int)((again_ns - now + MG_NS_PER_S - 1) / MG_NS_PER_S) : 1;
    *call = (mg_call){
        .x = flight->x,
        .task = flight->chain.task,
        .host = &flight->worker->host,
        .snapshot = flight->view->snapshot,
        .match = &flight->match,
        .route_name = route->name,
        .service_name = flight->split.service ? flight->split.service->name : MG_STR_NONE,
        .client = flight->client,
        .keeps_slashes = route->conf->keeps_slashes,
        .max_path_bytes = route->conf->max_path_bytes,
        .max_target_bytes = door->server.limits.h1.target_bytes,
        .chain = (uint32_t)route->chain,
        .plugin = UINT32_MAX,
        .phase = MG_PHASE_CHAIN,
        .holds = &flight->limits.holds,
        .owner = flight,
    };
    const mg_chain_bodies *bodies = &flight->view->vm->bodies[route->chain];
    call->bodies[MG_REQUEST].max_bytes = bodies->request_bytes;
    call->bodies[MG_RESPONSE].max_bytes = bodies->response_bytes;
    mg_filter_begin(flight, mg_vm_chain_streams(flight->view->vm->vm, call->chain));
    if (mg_filter_is_for(&flight->filters, MG_REQUEST) && flight->x->request.body != MG_BODY_NONE)
        mg_fields_weaken(&flight->x->request.fields, &flight->x->arena, true);
    resume(flight);
    return 0;
}

void mg_chain_blame(mg_flight *flight, const char *error)
{
    if (flight->chain.call)
        flight->chain.call->error = error;
}

void mg_chain_continue(mg_flight *flight)
{
    MG_CHECK(flight->chain.call->wait == MG_WAIT_NEXT);
    mg_chain_hold(flight);
    resume(flight);
}

static void unwind(mg_flight *flight, const char *why, mg_task_error *error)
{
    if (flight->chain.call->wait == MG_WAIT_DONE) { /* it is through, and only a body is waited for */
        end_handlers(flight, true, false);
        return;
    }
    flight->chain.call->cancelled = why;
    move(flight, MG_CHAIN_RUNS);
    mg_call_http_cancel(flight->chain.call);
    const mg_task_state state = mg_task_resume(flight->chain.task, error);
    end_handlers(flight, state == MG_TASK_YIELDED && flight->chain.call->wait == MG_WAIT_DONE, false);
}

void mg_chain_abort(mg_flight *flight, const char *why)
{
    mg_task_error error;

    if (flight->chain.state == MG_CHAIN_WAITS)
        unwind(flight, why, &error);
}

void mg_chain_log_error(mg_flight *flight, const mg_task_error *error)
{
    const mg_vm_plugin *plugin =
        error->plugin >= 0 ? mg_vm_plugin_at(flight->view->vm->vm, (size_t)error->plugin) : NULL;

    mg_stats_event(flight->worker->gateway->stats, flight->worker->index, MG_EVENT_PLUGIN_ERROR, 1);
    mg_call_log_event(flight->worker->gateway->log, MG_LOG_ERROR, "plugin_error", flight->x,
                      flight->route ? flight->route->name : MG_STR("-"), plugin, "%s\n%s", error->message,
                      error->traceback);
}

/* Tells the logs of its plugins what the client got, as the access log has it. */
static void run_logs(mg_flight *flight)
{
    static const mg_response nothing = { .status = MG_STATUS_CLIENT_GONE };
    mg_exchange *x = flight->x;
    mg_call *call = flight->chain.call;
    mg_task_error error;

    if (!x->head_sent)
        mg_exchange_answer(x, MG_ANSWER_OWN, &nothing, MG_STR_NONE);
    call->error = mg_flight_error(flight);
    call->phase = MG_PHASE_LOG;
    if (mg_task_aside(flight->chain.task, MG_ASIDE_LOG, &error) == MG_TASK_RAISED)
        mg_chain_log_error(flight, &error);
}

void mg_chain_finish(mg_flight *flight)
{
    if (flight->chain.state == MG_CHAIN_LOGS) {
        if (has_logs(flight))
            run_logs(flight);
        give_back(flight);
    }
    mg_timer_stop(&flight->chain.timer);
    mg_call_http_fini(flight);
    mg_filter_fini(flight);
    mg_replay_fini(flight);
    mg_body_back_fini(flight);
}
