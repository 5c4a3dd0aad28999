/* pipeline.c - the steps of a request, in the order of POLICIES 1: route, limits, chain, balance, breaker,
 * exchange; then the response, and what happened. */
#include "gateway/pipeline.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/forward.h"
#include "gateway/split.h"
#include <stdio.h>

typedef enum step { STEP_ROUTE, STEP_LIMITS, STEP_CHAIN, STEP_PROXY, STEP_WAIT } step;

static const mg_lease_ops lease_ops;

static mg_flight *flight_of(const mg_exchange *x)
{
    return x->owner_self;
}

static mg_loop *loop_of(const mg_flight *flight)
{
    return flight->worker->loop;
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

    if (field.n < 55 || field.p[2] != '-' || field.p[35] != '-' || field.p[52] != '-' ||
        (field.p[0] == 'f' && field.p[1] == 'f'))
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
    (void)trace_of_client(mg_fields_get(&x->request.fields, MG_NAME_TRACEPARENT), x->trace_id);
}

static mg_flight *flight_new(mg_exchange *x)
{
    mg_worker *worker = x->owner_self;
    mg_flight *flight = mg_arena_alloc(&x->arena, sizeof *flight);

    memset(flight, 0, offsetof(mg_flight, match));
    memset(&flight->client, 0, sizeof *flight - offsetof(mg_flight, client));
    flight->match.route = NULL;
    flight->match.param_count = 0;
    flight->x = x;
    flight->worker = worker;
    flight->view = worker->view;
    flight->endpoint = -1;
    flight->draining = -1;
    mg_view_ref(flight->view);
    worker->flights++;
    mg_stats_in_flight(worker->gateway->stats, worker->index, 1);
    x->owner_self = flight;
    flight->client = x->peer;
    name_trace(x, &worker->loop->rand);
    return flight;
}

/* ---- route ---- */

static bool find_header(void *self, mg_str name, mg_str *value)
{
    const mg_exchange *x = self;
    const int at = mg_fields_find(&x->request.fields, mg_name_find(name), name, 0);

    if (at < 0)
        return false;
    *value = (mg_str){ x->request.fields.items[at].value, x->request.fields.items[at].value_n };
    return true;
}

static void refuse_route(mg_flight *flight, int status)
{
    if (status == 405) {
        mg_pipeline_refuse(flight, 405, NULL, MG_STR("This path does not take that method."), -1);
        return;
    }
    mg_pipeline_refuse(flight, 404, NULL, MG_STR("No route matches this host and path."), -1);
}

static step step_route(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    const mg_snapshot *snapshot = flight->view->snapshot;
    const mg_door *door = x->listener;

    if (x->peer_trusted)
        flight->client = mg_forward_client(x, door->trusted, door->trusted_count);
    const mg_route_query query = { x->request.host, x->request.path, x->request.method_text, find_header, x };
    const int status = mg_router_match(snapshot->router, &query, &flight->match);
    if (status != 200) {
        refuse_route(flight, status);
        return STEP_WAIT;
    }
    flight->route = flight->match.route;
    flight->service = flight->route->service;
    if (flight->route->split)
        mg_split_choose(flight);
    if (x->request.path.n > flight->route->conf->max_path_bytes) {
        mg_pipeline_refuse(flight, 414, NULL, MG_STR("The path is longer than this route allows."), -1);
        return STEP_WAIT;
    }
    x->deadline_ns = mg_forward_deadline(x, flight->route->timeout_ns, &flight->caller);
    if (mg_loop_now(loop_of(flight)) >= x->deadline_ns) {
        flight->deadline_where = "route";
        mg_pipeline_refuse(flight, 504, "deadline", MG_STR("The time for this request is over."), -1);
        return STEP_WAIT;
    }
    return flight->route->limit_count ? STEP_LIMITS : STEP_CHAIN;
}

/* ---- proxy ---- */

static void breaker_end(mg_flight *flight, mg_breaker_outcome outcome)
{
    const uint64_t ticket = flight->breaker_ticket;

    if (!ticket)
        return;
    const mg_snapshot_service *service = flight->service;
    flight->breaker_ticket = 0;
    const uint64_t began =
        flight->x->times.upstream_ns ? flight->x->times.upstream_ns : flight->x->times.begin_ns;
    mg_breaker_end(service->breaker, ticket, outcome, mg_loop_now(loop_of(flight)) - began,
                   mg_shared_policy_now(flight->worker->gateway->shared));
}

static bool breaker_ask(mg_flight *flight)
{
    const mg_snapshot_service *service = flight->service;

    if (!service->breaker)
        return true;
    flight->breaker_ticket =
        mg_breaker_ask(service->breaker, mg_shared_policy_now(flight->worker->gateway->shared));
    return flight->breaker_ticket != 0;
}

static int breaker_retry_s(const mg_flight *flight)
{
    const uint64_t ms = mg_breaker_retry_after_ms(flight->service->breaker,
                                                  mg_shared_policy_now(flight->worker->gateway->shared));
    return ms == UINT64_MAX ? -1 : (int)mg_max_u64(1, mg_min_u64((ms + 999) / 1000, 86400));
}

static uint32_t service_stat(const mg_flight *flight)
{
    return flight->view->services[flight->service->conf->index].stat;
}

static void count_upstream(const mg_flight *flight, mg_upstream_outcome outcome)
{
    mg_stats_upstream(flight->worker->gateway->stats, flight->worker->index, service_stat(flight), outcome);
}

/* A canary is judged by what its clients get from it. */
static void judge_backend(const mg_flight *flight, int status)
{
    const mg_exchange_times *times = &flight->x->times;
    const uint64_t began_ns = times->upstream_ns ? times->upstream_ns : times->begin_ns;

    mg_split_result(flight,
                    status == 504   ? MG_FIGURES_TIMEOUT
                    : status >= 500 ? MG_FIGURES_ERROR
                                    : MG_FIGURES_OK,
                    mg_loop_now(loop_of(flight)) - began_ns);
}

/* A failure of the upstream side takes the place of its response: NEXT has brought a 502, 503 or 504. */
static void answer_for_upstream(mg_flight *flight, int status, const char *error, mg_str detail,
                                int retry_after_s)
{
    flight->error = error;
    judge_backend(flight, status);
    if (flight->call)
        flight->call->error = error;
    if (flight->chain == MG_CHAIN_WAITS || flight->chain == MG_CHAIN_RUNS) {
        mg_problem_fill(flight->x, status, MG_STR_NONE, detail, retry_after_s, &flight->answer);
        flight->x->local = true;
        mg_chain_continue(flight);
        return;
    }
    mg_pipeline_refuse(flight, status, error, detail, retry_after_s);
}

static step step_proxy(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    const mg_snapshot_service *service = flight->service;

    if (!service) {
        answer_for_upstream(flight, 404, "no_service",
                            MG_STR("This route has no service and no plugin answered."), -1);
        return STEP_WAIT;
    }
    if (mg_loop_now(loop_of(flight)) >= x->deadline_ns) {
        answer_for_upstream(flight, 504, "deadline", MG_STR("The time for this request is over."), -1);
        return STEP_WAIT;
    }
    mg_view_service *runtime = &flight->view->services[service->conf->index];
    flight->endpoint = mg_balancer_pick(runtime->balancer, NULL, 0, mg_loop_now(loop_of(flight)));
    if (flight->endpoint < 0) {
        answer_for_upstream(flight, 503, "no_host", MG_STR("No upstream is available."), 1);
        return STEP_WAIT;
    }
    if (!breaker_ask(flight)) {
        count_upstream(flight, MG_SERVED_BREAKER);
        answer_for_upstream(flight, 503, "breaker_open", MG_STR("The upstream is failing; try again later."),
                            breaker_retry_s(flight));
        return STEP_WAIT;
    }
    mg_forward_request(x);
    flight->attempts++;
    flight->lease.deadline_ns = x->deadline_ns;
    mg_lease_start(&flight->lease, x, runtime->endpoints[flight->endpoint], &lease_ops);
    return STEP_WAIT;
}

void mg_pipeline_proxy(mg_flight *flight)
{
    (void)step_proxy(flight);
}

/* ---- the steps ---- */

static void run(mg_flight *flight, step next)
{
    for (;;) {
        switch (next) {
        case STEP_ROUTE: next = step_route(flight); break;
        case STEP_LIMITS: next = mg_limits_pass(flight) ? STEP_CHAIN : STEP_WAIT; break;
        case STEP_CHAIN:
            if (flight->route->chain < 0) {
                next = STEP_PROXY;
                break;
            }
            if (!mg_chain_start(flight))
                mg_pipeline_refuse(flight, 503, "lua_memory", MG_STR("The gateway is busy."), 1);
            return;
        case STEP_PROXY: next = step_proxy(flight); break;
        case STEP_WAIT: return;
        }
    }
}

void mg_pipeline_limits_passed(mg_flight *flight)
{
    run(flight, STEP_CHAIN);
}

static void on_begin(mg_exchange *x)
{
    run(flight_new(x), STEP_ROUTE);
}

/* ---- the response ---- */

static void send_bytes(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (!x->response_body.sink)
        return;
    mg_bytes_source_init(&flight->bytes, &x->response_body, flight->answer);
    flight->bytes.source.resume(&flight->bytes.source);
}

void mg_pipeline_send(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (!x->client || x->head_sent)
        return;
    mg_forward_response(x, mg_worker_date(flight->worker));
    mg_limits_describe(flight);
    const bool filtered = (flight->streams & 2) && flight->call && !x->local && x->response_body.source &&
                          x->response.status != 101;
    if (filtered) {
        x->response.body = MG_BODY_STREAM; /* a filter may change its length */
        x->response.has_length = false;
    }
    x->client->head(x);
    if (filtered && x->response_body.sink)
        mg_filter_insert(&flight->filters[MG_RESPONSE], flight, MG_RESPONSE, &x->response_body);
    if (x->local)
        send_bytes(flight);
    else if (x->response_body.source)
        x->response_body.source->resume(x->response_body.source);
}

bool mg_pipeline_stop_upstream(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (x->response_body.source && !x->local)
        x->response_body.source->stop(x->response_body.source);
    mg_lease_cancel(&flight->lease);
    x->response_body.source = NULL;
    return true;
}

void mg_pipeline_refuse(mg_flight *flight, int status, const char *error, mg_str detail, int retry_after_s)
{
    mg_exchange *x = flight->x;

    flight->error = error;
    mg_pipeline_stop_upstream(flight);
    breaker_end(flight, MG_BREAKER_IGNORE);
    if (!x->client)
        return;
    if (x->head_sent) {
        x->client->cut(x, MG_RESET_LOCAL);
        flight->client_done = true;
        mg_pipeline_maybe_finish(flight);
        return;
    }
    mg_problem_fill(x, status, MG_STR_NONE, detail, retry_after_s, &flight->answer);
    if (status == 405 && flight->match.allow_bytes)
        mg_fields_add(&x->response.fields, &x->arena, MG_NAME_OTHER, MG_STR("allow"),
                      (mg_str){ flight->match.allow, flight->match.allow_bytes });
    x->local = true;
    mg_pipeline_send(flight);
}

/* ---- what the upstream side tells ---- */

static void on_lease_interim(mg_lease *lease, const mg_response *head)
{
    mg_exchange *x = lease->x;

    if (x->client && !x->head_sent)
        x->client->interim(x, head);
}

static void on_lease_head(mg_lease *lease)
{
    mg_flight *flight = mg_container_of(lease, mg_flight, lease);

    flight->proxied = true;
    breaker_end(flight, flight->x->response.status >= 500 ? MG_BREAKER_FAIL : MG_BREAKER_OK);
    count_upstream(flight, MG_SERVED_OK);
    judge_backend(flight, flight->x->response.status);
    if (flight->chain == MG_CHAIN_WAITS || flight->chain == MG_CHAIN_RUNS)
        mg_chain_continue(flight);
    else
        mg_pipeline_send(flight);
}

typedef struct failure {
    uint16_t status;
    int16_t retry_after_s;
    mg_upstream_outcome counted;
    mg_breaker_outcome judged;
    const char *error, *detail;
} failure;

static const failure *failure_of(mg_reset reason)
{
    static const failure connect = {
        502, -1, MG_SERVED_CONNECT, MG_BREAKER_FAIL, "upstream_connect", "The upstream could not be reached."
    };
    static const failure reset = {
        502, -1, MG_SERVED_RESET, MG_BREAKER_FAIL, "upstream_reset", "The upstream closed the connection."
    };
    static const failure protocol = { 502,
                                      -1,
                                      MG_SERVED_PROTOCOL,
                                      MG_BREAKER_FAIL,
                                      "upstream_protocol",
                                      "The upstream's answer was malformed." };
    static const failure timeout = { 504,
                                     -1,
                                     MG_SERVED_TIMEOUT,
                                     MG_BREAKER_TIMEOUT,
                                     "upstream_timeout",
                                     "The upstream did not answer in time." };
    static const failure deadline = {
        504, -1, MG_SERVED_TIMEOUT, MG_BREAKER_TIMEOUT, "deadline", "The time for this request is over."
    };
    static const failure pool = {
        503, 1, MG_SERVED_POOL, MG_BREAKER_IGNORE, "pool", "The upstream has no free connection."
    };
    static const failure no_host = {
        503, 1, MG_SERVED_CONNECT, MG_BREAKER_IGNORE, "no_host", "No upstream is available."
    };

    switch (reason) {
    case MG_RESET_UPSTREAM_CONNECT: return &connect;
    case MG_RESET_UPSTREAM_PROTOCOL: return &protocol;
    case MG_RESET_UPSTREAM_TIMEOUT: return &timeout;
    case MG_RESET_DEADLINE: return &deadline;
    case MG_RESET_POOL_FULL: return &pool;
    case MG_RESET_NO_HOST: return &no_host;
    default: return &reset;
    }
}

static void on_lease_failed(mg_lease *lease, mg_reset reason)
{
    mg_flight *flight = mg_container_of(lease, mg_flight, lease);
    const failure *what = failure_of(reason);

    flight->failure = reason;
    breaker_end(flight, what->judged);
    count_upstream(flight, what->counted);
    answer_for_upstream(flight, what->status, what->error, mg_str_of(what->detail), what->retry_after_s);
}

static void on_lease_over(mg_lease *lease)
{
    mg_flight *flight = mg_container_of(lease, mg_flight, lease);

    if (flight->x->reset)
        count_upstream(flight, failure_of(flight->x->reset)->counted);
}

static void on_lease_sending(mg_lease *lease)
{
    mg_replay_sending(mg_container_of(lease, mg_flight, lease));
}

static const mg_lease_ops lease_ops = { on_lease_interim, on_lease_head, on_lease_failed, on_lease_over,
                                        on_lease_sending };

/* ---- what the client side tells ---- */

static void on_refuse(mg_exchange *x, uint16_t status, const char *why)
{
    mg_flight *flight = x->begun ? flight_of(x) : flight_new(x);

    mg_log_write(flight->worker->gateway->log, MG_LOG_INFO, "bad_request", "%.*s: %d, %s",
                 MG_STR_ARGS(x->peer), status, why);
    x->begun = true;
    if (flight->chain == MG_CHAIN_WAITS)
        mg_chain_abort(flight, "bad_request");
    mg_pipeline_refuse(flight, status, "bad_request", mg_str_of(why), -1);
}

static void on_gone(mg_exchange *x, mg_reset reason)
{
    mg_flight *flight = flight_of(x);

    flight->client_done = true;
    if (!x->reset)
        x->reset = reason;
    if (flight->route && flight->lease.state != MG_LEASE_NONE && flight->lease.state != MG_LEASE_OVER)
        count_upstream(flight, MG_SERVED_ABORTED);
    mg_pipeline_stop_upstream(flight);
    breaker_end(flight, MG_BREAKER_IGNORE);
    if (flight->chain == MG_CHAIN_WAITS)
        mg_chain_abort(flight, mg_reset_text(reason));
    mg_pipeline_maybe_finish(flight);
}

static void on_done(mg_exchange *x)
{
    mg_flight *flight = flight_of(x);

    flight->client_done = true;
    mg_pipeline_stop_upstream(flight);
    breaker_end(flight, MG_BREAKER_IGNORE);
    mg_pipeline_maybe_finish(flight);
}

const mg_owner_ops mg_pipeline_owner = { on_begin, on_refuse, on_gone, on_done };

/* ---- the end ---- */

static int logged_status(const mg_flight *flight)
{
    const mg_exchange *x = flight->x;

    if (x->reset == MG_RESET_CLIENT_GONE || x->reset == MG_RESET_CLIENT_TIMEOUT)
        return x->head_sent ? x->response.status : 499;
    return x->head_sent ? x->response.status : 499;
}

static void record(mg_flight *flight)
{
    mg_worker *worker = flight->worker;
    mg_exchange *x = flight->x;
    const mg_snapshot_service *service = flight->service;
    /* Lua computes within a turn: where it ran, the clock is read for the end. */
    const mg_clock *clock = worker->gateway->clock;
    const uint64_t now = flight->chain == MG_CHAIN_NONE ? mg_loop_now(worker->loop) : clock->mono_ns(clock);
    const uint64_t upstream =
        x->times.first_byte_ns && x->times.upstream_ns ? x->times.first_byte_ns - x->times.upstream_ns : 0;
    const uint64_t body = x->times.head_ns ? mg_loop_now(worker->loop) - x->times.head_ns : 0;
    const uint64_t whole = now - x->times.begin_ns;
    const uint64_t own =
        whole - mg_min_u64(upstream + body, whole); /* bodies last as long as both ends want */
    const int status = logged_status(flight);

    x->times.end_ns = now;
    mg_stats_request(worker->gateway->stats, worker->index, flight->route ? flight->route->stat : 0,
                     x->request.method, (uint16_t)status, whole / 1000, own / 1000, x->bytes_in,
                     x->bytes_out);
    if (!mg_access_log_is_on(worker->gateway->access_log))
        return;
    const mg_door *door = x->listener;
    const mg_access_line line = {
        .listener = door->name,
        .route = flight->route ? flight->route->name : MG_STR_NONE,
        .service = service ? service->name : MG_STR_NONE,
        .endpoint = service && flight->endpoint >= 0 ? service->authorities[flight->endpoint] : MG_STR_NONE,
        .error = flight->error ? flight->error
                 : x->reset    ? mg_reset_text(x->reset)
                               : NULL,
        .end_ns = now,
        .end_wall_ns = worker->gateway->clock->wall_ns(worker->gateway->clock),
        .gateway_ns = own,
        .plugin_ns = flight->chain_ns,
        .limiter = flight->refusing ? flight->refusing->conf->name : flight->limiter,
        .consumer = flight->call ? flight->call->consumer : flight->consumer,
        .attempts = flight->attempts,
        .status = status,
        .client = flight->client,
    };
    mg_access_log_add(&worker->log_buffer, x, &line);
}

void mg_pipeline_maybe_finish(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_worker *worker = flight->worker;
    mg_view *view = flight->view;

    if (flight->finished || !flight->client_done || flight->chain == MG_CHAIN_RUNS ||
        flight->chain == MG_CHAIN_WAITS)
        return;
    flight->finished = true;
    mg_chain_finish(flight);
    mg_timer_stop(&flight->timer);
    record(flight);
    worker->flights--;
    mg_stats_in_flight(worker->gateway->stats, worker->index, -1);
    mg_net_exchange_free(&worker->net, x);
    mg_view_unref(view);
}
