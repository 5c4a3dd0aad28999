/* chain.c - a flight's handler chain: a slot of the VM, resumed when what it waits for is there. */
#include "base/check.h"
#include "base/mem.h"
#include "gateway/body_back.h"
#include "gateway/call_http.h"
#include "gateway/job.h"
#include "gateway/pause.h"
#include "gateway/split.h"
#include "gateway/tap.h"
#include "gateway/vm_renew.h"

static void send_request(mg_flight *flight);
static void chain_done(mg_flight *flight);

static mg_loop *loop_of(const mg_flight *flight)
{
    return flight->worker->loop;
}

static void body_rests(mg_flight *flight)
{
    mg_exchange_body_rests(flight->x, mg_loop_now(loop_of(flight)));
}

/* Nobody takes the body into memory any more. */
static void drop_drain(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (flight->draining == MG_REQUEST) {
        body_rests(flight);
        if (x->request_body.source)
            x->request_body.source->stop(x->request_body.source);
        x->request_body.sink = NULL;
    } else if (flight->draining == MG_RESPONSE) {
        x->response_body.sink = NULL; /* its source ends with the upstream side */
    }
    flight->draining = -1;
}

/* The request body in memory stays: an upstream that answered early may still be reading it. */
static void give_back(mg_flight *flight, bool parked)
{
    mg_call *call = flight->call;

    if (flight->beside)
        mg_jobs_leave(flight, parked && !call->cancelled);
    mg_timer_stop(&flight->timer);
    mg_pause_over(flight);
    mg_tap_stop(flight);
    drop_drain(flight);
    mg_call_http_cancel(call);
    mg_call_barrier_cancel(call);
    mg_text_fini(&flight->kept);
    flight->kept = call->bodies[MG_REQUEST].text;
    mg_text_fini(&call->bodies[MG_RESPONSE].text);
    mg_text_fini(&call->chunk_out);
    flight->consumer = call->consumer;
    call->x = NULL;
    flight->call = NULL;
    mg_vm *vm = mg_task_vm(flight->task);
    mg_task_give(flight->task, parked);
    flight->task = NULL;
    flight->chain = MG_CHAIN_GONE;
    if (mg_vm_is_crowded(vm) && flight->worker->view->vm && flight->worker->view->vm->vm == vm)
        mg_vm_renew_ask(flight->worker);
}

static void raised(mg_flight *flight, const mg_task_error *error)
{
    const bool unwound = flight->call->cancelled != NULL;

    give_back(flight, false);
    if (mg_flight_is_job(flight)) {
        if (!unwound)
            mg_chain_log_error(flight, error);
        mg_job_end(flight, MG_TASK_FAILED);
        return;
    }
    if (unwound) {
        mg_pipeline_maybe_finish(flight);
        return;
    }
    mg_chain_log_error(flight, error);
    mg_pipeline_refuse(flight, 500, "plugin_error", MG_STR("The gateway could not handle this request."), -1);
}

/* ---- how long a wait may last ---- */

/* The rest of a request body that a plugin did not wait for. */
static bool takes_rest(const mg_flight *flight)
{
    return flight->call->wait == MG_WAIT_NEXT && flight->draining == MG_REQUEST;
}

/* When a wait of the chain is the last: before next the exchange's deadline; behind it the upstream's head is
 * there, for which the route's time ran, and only a caller that gives up ends it. */
static uint64_t chain_until(const mg_flight *flight)
{
    return flight->call->next_called && !takes_rest(flight)
               ? mg_flight_caller_ns(flight)
               : mg_exchange_due_ns(flight->x, &flight->x->limit);
}

static void bound_wait(mg_flight *flight)
{
    const uint64_t until = chain_until(flight);

    if (until != UINT64_MAX)
        mg_timer_set(loop_of(flight), &flight->timer, until);
}

/* A plugin's `timeout` bounds each of its own waits for a request; the timer is set already for what bounds
 * it otherwise. */
static void bound_by_plugin(mg_flight *flight)
{
    const mg_call *call = flight->call;
    const uint64_t *timeouts = flight->view->vm->timeouts_ns;

    flight->patience_ns = 0;
    if (call->plugin == UINT32_MAX || !timeouts[call->plugin] || mg_flight_is_job(flight))
        return;
    const uint64_t due = mg_pause_due(flight, timeouts[call->plugin]);
    if (flight->timer.due_ns && flight->timer.due_ns <= due)
        return;
    flight->patience_ns = due;
    mg_timer_set(loop_of(flight), &flight->timer, due);
}

/* ---- bodies in memory ---- */

static size_t body_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_flight *flight = mg_container_of(sink, mg_flight, drain);
    mg_call_buffer *buffer = &flight->call->bodies[flight->draining];

    if (flight->draining == MG_REQUEST && flight->x->request_body.tap)
        return n; /* it is copied there */
    if (buffer->text.n + n > buffer->max_bytes) {
        buffer->too_large = true; /* answered behind this turn: the source is on the stack */
        mg_timer_set(loop_of(flight), &flight->timer, mg_loop_now(loop_of(flight)));
        return n;
    }
    mg_text_add(&buffer->text, (mg_str){ bytes, n });
    return n;
}

static void refuse_large(mg_flight *flight, int which)
{
    mg_chain_abort(flight, "body_too_large");
    mg_pipeline_refuse(flight, which == MG_REQUEST ? 413 : 502, "body_too_large",
                       MG_STR("The body is larger than a plugin on this route takes."), -1);
}

static void body_taken(mg_flight *flight)
{
    mg_call_buffer *buffer = &flight->call->bodies[flight->draining];
    const int which = flight->draining;

    if (which == MG_REQUEST)
        body_rests(flight);
    flight->draining = -1;
    buffer->complete = true;
    if (buffer->too_large) {
        refuse_large(flight, which);
        return;
    }
    if (flight->chain != MG_CHAIN_WAITS)
        return;
    if (flight->call->wait == MG_WAIT_BODY)
        mg_pipeline_resume(flight);
    else if (flight->call->wait == MG_WAIT_NEXT)
        send_request(flight);
    else if (flight->call->wait == MG_WAIT_DONE)
        chain_done(flight);
}

static void body_end(mg_body_sink *sink, const mg_fields *trailers)
{
    (void)trailers;
    body_taken(mg_container_of(sink, mg_flight, drain));
}

static void body_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_flight *flight = mg_container_of(sink, mg_flight, drain);

    flight->draining = -1;
    mg_chain_abort(flight, mg_reset_text(reason));
    mg_pipeline_refuse(flight, 502, mg_reset_text(reason), MG_STR("The upstream closed the connection."), -1);
}

static uint64_t said_length(const mg_exchange *x, int which)
{
    if (which == MG_REQUEST)
        return x->request.body == MG_BODY_LENGTH ? x->request.length : 0;
    return x->response.body == MG_BODY_LENGTH ? x->response.length : 0;
}

/* Behind next a plugin wants a request's body of which some is still to come: while an upstream takes it, the
 * copy is waited for; else the client is read for the plugin's sake. True for the former. */
static bool waits_for_copy(mg_flight *flight)
{
    mg_body_source *source = mg_tap_source(flight);

    if (!source)
        return false;
    if (flight->errand.lease.state != MG_LEASE_RUNS) {
        flight->x->request_body.source = source; /* nobody stands before it any more */
        return false;
    }
    bound_wait(flight);
    bound_by_plugin(flight);
    return true;
}

/* Takes the whole body into the call's buffer. */
static void take_body(mg_flight *flight, int which)
{
    mg_exchange *x = flight->x;
    mg_body *body = which == MG_REQUEST ? &x->request_body : &x->response_body;

    if (which == MG_REQUEST && waits_for_copy(flight))
        return;
    /* What flows behind a 101 is no body. */
    if (!body->source || (which == MG_RESPONSE && x->response.status == 101)) {
        flight->call->bodies[which].complete = true;
        mg_pipeline_resume(flight);
        return;
    }
    /* One that says that it is too large is refused before a byte of it is read, or asked for with a 100. */
    if (said_length(x, which) > flight->call->bodies[which].max_bytes) {
        refuse_large(flight, which);
        return;
    }
    flight->draining = which;
    flight->drain = (mg_body_sink){ body_data, body_end, body_reset };
    body->sink = &flight->drain;
    if (which == MG_REQUEST && x->request.expect_continue && x->client) {
        const mg_response go_on = { .status = 100 };
        x->request.expect_continue = false;
        x->client->interim(x, &go_on);
    }
    if (which == MG_REQUEST)
        mg_exchange_body_flows(x, mg_loop_now(loop_of(flight)));
    bound_wait(flight);
    if (flight->call->wait == MG_WAIT_BODY)
        bound_by_plugin(flight);
    body->source->resume(body->source);
}

/* ---- waits ---- */

/* The plugin's own timeout came before what it waits for. */
static void give_up_wait(mg_flight *flight)
{
    flight->call->timed_out = true;
    if (flight->draining >= 0) {
        mg_exchange *x = flight->x;
        mg_body *body = flight->draining == MG_REQUEST ? &x->request_body : &x->response_body;
        if (flight->draining == MG_REQUEST)
            body_rests(flight);
        body->sink = NULL; /* its source stops reading */
        flight->draining = -1;
    }
    if (flight->call->wait == MG_WAIT_BARRIER)
        mg_call_barrier_cancel(flight->call);
    if (flight->call->wait == MG_WAIT_TASK)
        mg_job_await_no_more(flight);
}

static void on_timer(mg_timer *timer)
{
    mg_flight *flight = mg_container_of(timer, mg_flight, timer);

    if (flight->chain != MG_CHAIN_WAITS)
        return;
    if (flight->draining >= 0 && flight->call->bodies[flight->draining].too_large) {
        refuse_large(flight, flight->draining);
        return;
    }
    if (mg_loop_now(loop_of(flight)) >= chain_until(flight) &&
        (flight->call->wait != MG_WAIT_NEXT || takes_rest(flight))) {
        mg_chain_abort(flight, "deadline");
        if (mg_flight_is_job(flight)) {
            mg_job_end(flight, MG_TASK_DEADLINE);
            return;
        }
        flight->deadline_where = "plugin";
        mg_pipeline_refuse(flight, 504, "deadline", MG_STR("The time for this request is over."), -1);
        return;
    }
    if (flight->call->wait == MG_WAIT_HTTP) {
        mg_call_http_expire(flight->call);
        return;
    }
    if (flight->patience_ns && mg_loop_now(loop_of(flight)) >= flight->patience_ns)
        give_up_wait(flight);
    mg_pipeline_resume(flight);
}

static void sleep_for(mg_flight *flight, double seconds)
{
    const uint64_t now = mg_loop_now(loop_of(flight));
    const uint64_t due = mg_add_sat(now, (uint64_t)(seconds * 1e9));

    mg_timer_set(loop_of(flight), &flight->timer, mg_min_u64(due, chain_until(flight)));
}

/* A plugin's own timeout may have ended its wait for a body: what it had taken, and the rest, goes on whole.
 * True while the rest is still to come. */
static bool lacks_rest(mg_flight *flight, int which)
{
    mg_call_buffer *buffer = &flight->call->bodies[which];
    const mg_body *body = which == MG_REQUEST ? &flight->x->request_body : &flight->x->response_body;

    if (!buffer->text.n || buffer->complete || buffer->replaced)
        return false;
    buffer->complete = body->ended; /* with nobody listening */
    return body->source && !buffer->complete;
}

/* A body still has to go past the chain's filters. */
static bool streams_on(const mg_flight *flight)
{
    const mg_exchange *x = flight->x;

    if ((flight->streams & 1) && !x->request_body.ended)
        return true;
    return (flight->streams & 2) && x->answer == MG_ANSWER_UPSTREAM && x->response_body.source &&
           x->response.status != 101;
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
        give_back(flight, true);
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
    mg_call *call = flight->call;

    if (flight->beside && ends_as_job(flight))
        return;
    if (comes_from_elsewhere(x) && lacks_rest(flight, MG_RESPONSE)) {
        flight->patience_ns = 0;
        take_body(flight, MG_RESPONSE);
        return;
    }
    if (x->answer == MG_ANSWER_NONE && !flight->client_done) {
        raise_unanswered(flight);
        return;
    }
    flight->chain = MG_CHAIN_DONE;
    if (x->answer == MG_ANSWER_OWN)
        mg_proxy_stop(flight);
    else
        mg_body_back_response(flight);
    if (mg_vm_chain_logs(flight->view->vm->vm, call->chain) || streams_on(flight))
        flight->chain = MG_CHAIN_LOGS;
    else
        give_back(flight, true);
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
    if (lacks_rest(flight, MG_REQUEST)) {
        take_body(flight, MG_REQUEST);
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
    bound_by_plugin(flight);
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
        bound_by_plugin(flight);
        return;
    case MG_WAIT_BODY: take_body(flight, flight->call->wait_which); return;
    case MG_WAIT_HTTP: wait_http(flight); return;
    case MG_WAIT_BARRIER:
    case MG_WAIT_TASK:
    case MG_WAIT_PAUSE:
        bound_wait(flight);
        bound_by_plugin(flight);
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
    const mg_task_state state = mg_task_resume(flight->task, &error);
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
    resume(flight);
}

void mg_chain_abort(mg_flight *flight, const char *why)
{
    mg_task_error error;

    if (flight->chain != MG_CHAIN_WAITS)
        return;
    if (flight->call->wait == MG_WAIT_DONE) { /* it is through, and only a body is waited for */
        give_back(flight, true);
        return;
    }
    flight->call->cancelled = why;
    flight->chain = MG_CHAIN_RUNS;
    mg_call_http_cancel(flight->call);
    const mg_task_state state = mg_task_resume(flight->task, &error);
    give_back(flight, state == MG_TASK_YIELDED && flight->call->wait == MG_WAIT_DONE);
}

static void run_logs(mg_flight *flight)
{
    mg_task_error error;

    if (!mg_vm_chain_logs(flight->view->vm->vm, flight->call->chain)) {
        give_back(flight, true);
        return;
    }
    flight->call->phase = MG_PHASE_LOG;
    const mg_task_state state = mg_task_resume(flight->task, &error);
    if (state == MG_TASK_RAISED)
        mg_chain_log_error(flight, &error);
    give_back(flight, state == MG_TASK_YIELDED);
}

void mg_chain_finish(mg_flight *flight)
{
    if (flight->chain == MG_CHAIN_LOGS)
        run_logs(flight);
    mg_call_http_fini(flight);
    mg_later_cancel(&flight->later);
    mg_filter_fini(&flight->filters[MG_REQUEST]);
    mg_filter_fini(&flight->filters[MG_RESPONSE]);
    mg_replay_fini(flight);
    mg_text_fini(&flight->kept);
}
