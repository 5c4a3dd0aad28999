/* pipeline.c - the steps of a request, in the order of docs/policies.md 1: route, limits, chain; the upstream
 * side is proxy.c's; then the response, and what happened. mg_pipeline_go leads from one to the next. */
#include "gateway/request/pipeline.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/hops.h"
#include "http/problem.h"
#include <stdio.h>

static mg_flight *flight_of(const mg_exchange *x)
{
    return x->owner_self;
}

/* ---- begin ---- */

static int hex_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The trace that a client's traceparent names (W3C Trace Context 3.2.2): VERSION-TRACE-SPAN-FLAGS, in hex. */
static bool trace_of_client(mg_str field, uint8_t trace_id[16])
{
    uint8_t id[16], any = 0;

    if (field.n < 55 || (field.n > 55 && field.p[55] != '-') || field.p[2] != '-' || field.p[35] != '-' ||
        field.p[52] != '-' || (field.p[0] == 'f' && field.p[1] == 'f'))
        return false;
    for (int i = 0; i < 16; i++) {
        const int high = hex_digit(field.p[3 + 2 * i]), low = hex_digit(field.p[4 + 2 * i]);
        if (high < 0 || low < 0)
            return false;
        id[i] = (uint8_t)(high << 4 | low);
        any |= id[i];
    }
    if (any)
        memcpy(trace_id, id, sizeof id);
    return any;
}

static void name_trace(mg_exchange *x, mg_rand *rand)
{
    const uint64_t words[3] = { mg_rand_next(rand), mg_rand_next(rand), mg_rand_next(rand) };

    memcpy(x->trace_id, words, sizeof x->trace_id);
    memcpy(x->span_id, &words[2], sizeof x->span_id);
    (void)trace_of_client(mg_fields_value(&x->request.fields, &x->arena, MG_NAME_TRACEPARENT, MG_STR_NONE),
                          x->trace_id);
}

static mg_flight *flight_new(mg_exchange *x)
{
    mg_worker *worker = x->owner_self;
    mg_flight *flight = mg_arena_alloc(&x->arena, sizeof *flight);

    mg_flight_init(flight, x, worker->view);
    worker->flights++;
    mg_stats_in_flight(worker->gateway->stats, worker->index, 1);
    flight->client = x->peer;
    name_trace(x, &worker->loop->rand);
    return flight;
}

/* ---- no response but our own ---- */

static void add_allow(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_text allow = { 0 };

    mg_router_allow(flight->view->snapshot->router, &flight->match, &allow);
    mg_fields_add(&x->response.fields, &x->arena, MG_NAME_OTHER, MG_STR("allow"),
                  mg_arena_str(&x->arena, mg_text_str(&allow)));
    mg_text_fini(&allow);
}

/* The answer to a request that is refused; where the head of another is out, that one is cut. */
static mg_way refuse_as(mg_flight *flight, const mg_refusal_row *row)
{
    mg_exchange *x = flight->x;

    mg_flight_blame(flight, row->error);
    mg_proxy_stop(flight);
    if (!x->client)
        return MG_WAY_STAYS;
    if (x->head_sent) {
        x->client->cut(x, MG_RESET_LOCAL);
        return MG_WAY_END;
    }
    mg_problem_answer(x, row->status, MG_STR_NONE, row->detail, row->retry_after_s);
    if (row->status == 405 && !flight->route)
        add_allow(flight);
    return MG_WAY_SEND;
}

static mg_way refuse(mg_flight *flight, mg_refusal why)
{
    return refuse_as(flight, &mg_refusals[why]);
}

void mg_pipeline_refuse_as(mg_flight *flight, const mg_refusal_row *row)
{
    mg_pipeline_go(flight, refuse_as(flight, row));
}

void mg_pipeline_refuse(mg_flight *flight, mg_refusal why)
{
    mg_pipeline_refuse_as(flight, &mg_refusals[why]);
}

/* ---- route ---- */

static bool find_header(void *self, mg_str name, mg_str *value)
{
    mg_exchange *x = self;

    *value = mg_fields_value(&x->request.fields, &x->arena, mg_name_find(name), name);
    return value->p;
}

static mg_way step_route(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    const mg_snapshot *snapshot = flight->view->snapshot;
    const mg_door *door = x->listener;

    flight->client = mg_forward_receive(x, &door->rules, &flight->caller);
    const mg_route_query query = { x->request.host,   x->request.path, x->request.method_text, find_header, x,
                                   x->request.slashed };
    const int status = mg_router_match(snapshot->router, &query, &flight->match);
    if (status != 200)
        return refuse(flight, status == 501   ? MG_REFUSED_UNKNOWN_METHOD
                              : status == 405 ? MG_REFUSED_METHOD
                                              : MG_REFUSED_NO_ROUTE);
    flight->route = flight->match.route;
    mg_forward_path(&x->request, flight->route->conf);
    mg_split_choose(flight);
    if (x->request.path.n > flight->route->conf->max_path_bytes)
        return refuse(flight, MG_REFUSED_PATH);
    if (flight->caller.looped)
        return refuse(flight, MG_REFUSED_LOOP);
    x->limit.own_ns = mg_add_sat(x->times.begin_ns, flight->route->timeout_ns);
    if (!mg_exchange_left_ns(x, &x->limit, mg_loop_now(flight->worker->loop))) {
        mg_flight_is_late(flight, MG_DEADLINE_ROUTE);
        return refuse(flight, MG_REFUSED_DEADLINE);
    }
    return flight->route->limit_count ? MG_WAY_LIMITS : MG_WAY_CHAIN;
}

/* ---- limits, chain ---- */

static mg_way step_limits(mg_flight *flight)
{
    switch (mg_limits_pass(flight)) {
    case MG_LIMITS_PASSED: return MG_WAY_CHAIN;
    case MG_LIMITS_REFUSED: return MG_WAY_SEND;
    case MG_LIMITS_WAITS: break;
    }
    return MG_WAY_STAYS;
}

static mg_way step_chain(mg_flight *flight)
{
    if (mg_hops_end_here(flight))
        return MG_WAY_SEND;
    if (flight->route->chain < 0)
        return MG_WAY_PROXY;
    const int again_s = mg_chain_start(flight);
    if (!again_s)
        return MG_WAY_STAYS;
    mg_refusal_row row = mg_refusals[MG_REFUSED_LUA_MEMORY];
    row.retry_after_s = again_s;
    return refuse_as(flight, &row);
}

/* ---- the response ---- */

static void step_send(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    mg_forward_response(x, mg_worker_date(flight->worker));
    mg_limits_describe(flight);
    const bool own = x->answer == MG_ANSWER_OWN;
    const bool filtered = mg_filter_is_on(&flight->filters, MG_RESPONSE) && x->answer == MG_ANSWER_UPSTREAM &&
                          x->response_body.source && !x->tunnel;
    if (filtered) {
        x->response.body = MG_BODY_STREAM; /* a filter may change its length */
        x->response.has_length = false;
    }
    x->client->head(x);
    if (filtered && x->response_body.sink)
        mg_filter_insert(flight, MG_RESPONSE, &x->response_body);
    if (own)
        mg_body_back_own(flight);
    else if (x->response_body.source)
        x->response_body.source->resume(x->response_body.source);
}

/* ---- the end ---- */

static int logged_status(const mg_flight *flight)
{
    const mg_exchange *x = flight->x;

    return x->head_sent ? x->response.status : MG_STATUS_CLIENT_GONE;
}

static void record(mg_flight *flight)
{
    mg_worker *worker = flight->worker;
    mg_exchange *x = flight->x;
    const mg_snapshot_service *service = flight->split.service;
    /* Lua computes within a turn: where it ran, the clock is read for the end. */
    const mg_clock *clock = worker->gateway->clock;
    const uint64_t now =
        flight->chain.state == MG_CHAIN_NONE ? mg_loop_now(worker->loop) : clock->mono_ns(clock);
    const uint64_t upstream =
        x->times.first_byte_ns && x->times.upstream_ns ? x->times.first_byte_ns - x->times.upstream_ns : 0;
    const uint64_t body = x->times.head_ns ? mg_loop_now(worker->loop) - x->times.head_ns : 0;
    const uint64_t whole = now - x->times.begin_ns;
    const uint64_t request_body = x->times.upstream_ns ? x->times.body_ns : x->flowed_ns;
    const uint64_t own =
        whole - mg_min_u64(request_body + upstream + body, whole); /* bodies last as long as both ends want */
    const int status = logged_status(flight);

    x->times.end_ns = now;
    mg_stats_request(worker->gateway->stats, worker->index, flight->route ? flight->route->stat : 0,
                     x->request.method, (uint16_t)status, whole / 1000, own / 1000, x->bytes_in,
                     x->bytes_out);
    if (x->dropped_fields)
        mg_stats_event(worker->gateway->stats, worker->index, MG_EVENT_FIELD_DROPPED, x->dropped_fields);
    if (flight->deadline_where && flight->route)
        mg_stats_deadline(worker->gateway->stats, worker->index, flight->route->stat, flight->deadline_where);
    if (!mg_access_log_is_on(worker->gateway->access_log))
        return;
    const mg_door *door = x->listener;
    const mg_view_service *runtime = flight->proxy.errand.runtime;
    const int host = mg_errand_host(&flight->proxy.errand);
    const mg_access_line line = {
        .listener = door->name,
        .route = flight->route ? flight->route->name : MG_STR_NONE,
        .service = service ? service->name : MG_STR_NONE,
        .endpoint = host >= 0 ? runtime->service->authorities[host] : MG_STR_NONE,
        .address = host >= 0 ? mg_service_host_address(runtime->service, (size_t)host) : MG_STR_NONE,
        .error = mg_flight_error(flight),
        .end_ns = now,
        .end_wall_ns = worker->gateway->clock->wall_ns(worker->gateway->clock),
        .gateway_ns = own,
        .plugin_ns = flight->chain.ran_ns,
        .limiter = flight->limits.refusing ? flight->limits.refusing->conf->name : flight->limits.refused_by,
        .plugins =
            flight->route && flight->chain.state != MG_CHAIN_NONE ? flight->route->plugins : MG_STR_NONE,
        .breaker = mg_errand_breaker(&flight->proxy.errand),
        .consumer = flight->chain.call ? flight->chain.call->consumer : flight->chain.consumer,
        .attempts = flight->proxy.errand.count,
        .status = status,
        .client = flight->client,
    };
    mg_access_log_add(&worker->log_buffer, x, &line);
}

/* Frees it. */
static void step_over(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_worker *worker = flight->worker;
    mg_view *view = flight->view;

    mg_chain_finish(flight);
    mg_limits_end(flight);
    record(flight);
    worker->flights--;
    mg_stats_in_flight(worker->gateway->stats, worker->index, -1);
    mg_view_service *runtime = flight->proxy.errand.runtime; /* the errand goes with the exchange */
    mg_net_exchange_free(&worker->net, x);
    mg_view_service_unref(runtime);
    mg_view_unref(view);
}

/* ---- the way ---- */

void mg_pipeline_answered(mg_flight *flight)
{
    mg_pipeline_go(flight, mg_chain_is_on(&flight->chain) ? MG_WAY_UNWIND : MG_WAY_SEND);
}

void mg_pipeline_go(mg_flight *flight, mg_way way)
{
    while (way != MG_WAY_STAYS) {
        mg_flight_move(flight, way);
        switch (way) {
        case MG_WAY_ROUTE: way = step_route(flight); break;
        case MG_WAY_LIMITS: way = step_limits(flight); break;
        case MG_WAY_CHAIN: way = step_chain(flight); break;
        case MG_WAY_PROXY: mg_proxy_start(flight); return;
        case MG_WAY_UNWIND: mg_chain_continue(flight); return;
        case MG_WAY_SEND: step_send(flight); return;
        case MG_WAY_END: way = mg_chain_is_on(&flight->chain) ? MG_WAY_STAYS : MG_WAY_OVER; break;
        case MG_WAY_OVER: step_over(flight); return;
        case MG_WAY_NEW:
        case MG_WAY_STAYS: MG_UNREACHABLE();
        }
    }
}

/* ---- what the client side tells ---- */

static void on_begin(mg_exchange *x)
{
    mg_pipeline_go(flight_new(x), MG_WAY_ROUTE);
}

static void on_refuse(mg_exchange *x, uint16_t status, const char *why)
{
    mg_flight *flight = x->begun ? flight_of(x) : flight_new(x);

    mg_log_write(flight->worker->gateway->log, MG_LOG_INFO, "bad_request", "%.*s: %d, %s",
                 MG_STR_ARGS(x->peer), status, why);
    x->begun = true;
    mg_refusal_row row = mg_refusals[MG_REFUSED_BAD_REQUEST];
    row.status = status;
    row.detail = mg_str_of(why);
    mg_chain_abort(flight, row.error);
    mg_pipeline_refuse_as(flight, &row);
}

static void on_gone(mg_exchange *x, mg_reset reason)
{
    mg_flight *flight = flight_of(x);

    mg_flight_move(flight, MG_WAY_END);
    if (!x->reset)
        x->reset = reason;
    mg_proxy_stop(flight);
    mg_chain_abort(flight, mg_reset_text(reason));
    mg_pipeline_go(flight, MG_WAY_END);
}

static void on_done(mg_exchange *x)
{
    mg_flight *flight = flight_of(x);

    mg_flight_move(flight, MG_WAY_END);
    mg_proxy_stop(flight);
    mg_pipeline_go(flight, MG_WAY_END);
}

const mg_owner_ops mg_pipeline_owner = { on_begin, on_refuse, on_gone, on_done };
