/* proxy.c - the upstream side of a request, in the order of POLICIES 1: service concurrency, adaptive limit,
 * throttle; then for each try deadline, balancer, breaker, connection; then what became of it, and whether
 * there is another one. */
#include "gateway/proxy.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/failure.h"
#include "gateway/forward.h"
#include "gateway/pick.h"
#include "gateway/pipeline.h"
#include "gateway/replay.h"
#include "gateway/split.h"
#include "gateway/tap.h"

static const mg_lease_ops lease_ops;

static mg_loop *loop_of(const mg_flight *flight)
{
    return flight->worker->loop;
}

/* By which a call is judged: what a request's body takes on its way is nobody's latency. */
static uint64_t clock_of(const mg_flight *flight)
{
    return mg_exchange_clock(flight->x, mg_loop_now(loop_of(flight)));
}

/* In ms, until the response has to be there. */
static uint64_t left_ms(const mg_flight *flight)
{
    return mg_exchange_left_ns(flight->x, &flight->x->limit, mg_loop_now(loop_of(flight))) / MG_NS_PER_MS;
}

static uint64_t policy_now(const mg_flight *flight)
{
    return mg_shared_policy_at(flight->worker->gateway->shared, mg_loop_now(flight->worker->loop));
}

/* The hosts in force when it first asks: it goes on with these, whatever becomes of names meanwhile. */
static mg_view_service *hosts_now(const mg_flight *flight)
{
    mg_view_service *runtime = flight->view->services[flight->service->conf->index];

    runtime->refs++;
    return runtime;
}

static mg_service_cells *cells_of(const mg_flight *flight)
{
    return &flight->service->service->of->cells[flight->worker->index];
}

static void count_upstream(const mg_flight *flight, mg_upstream_outcome outcome)
{
    mg_stats_upstream(flight->worker->gateway->stats, flight->worker->index, flight->runtime->stat, outcome);
}

/* A canary is judged by what its clients get from it, after however many tries. Time that was over before
 * the first of them, or while the client was still sending, is somebody else's. */
static void judge_backend(const mg_flight *flight, int status)
{
    if (status == 504 && (!flight->tries.count || flight->lease.client_late))
        return;
    mg_split_result(flight,
                    status == 504   ? MG_FIGURES_TIMEOUT
                    : status >= 500 ? MG_FIGURES_ERROR
                                    : MG_FIGURES_OK,
                    clock_of(flight) - flight->tries.first_ns);
}

/* ---- what a request holds of its service ---- */

static void return_permits(mg_flight *flight)
{
    mg_tries *tries = &flight->tries;

    if (tries->adaptive)
        mg_adaptive_end(tries->adaptive, tries->rtt_ns, mg_loop_now(loop_of(flight)));
    if (tries->holds)
        atomic_fetch_sub(&tries->holds->concurrent, 1);
    tries->adaptive = NULL;
    tries->holds = NULL;
}

/* NULL, or the reason why the service takes no more. What it then holds is to be returned. */
static const char *take_permits(mg_flight *flight)
{
    const mg_config_service *conf = flight->service->conf;
    mg_service *service = flight->runtime->service;
    mg_tries *tries = &flight->tries;
    mg_service_cells *cells = cells_of(flight);

    if (conf->breaker.on && conf->breaker.max_concurrent) {
        tries->holds = service->of;
        if (atomic_fetch_add(&service->of->concurrent, 1) >= conf->breaker.max_concurrent) {
            mg_cell_add(&cells->refused_concurrency, 1);
            return "concurrency";
        }
    }
    if (service->adaptive) {
        if (!mg_adaptive_begin(service->adaptive)) {
            mg_cell_add(&cells->refused_adaptive, 1);
            return "adaptive";
        }
        tries->adaptive = service->adaptive;
    }
    if (conf->throttle.on && !mg_throttle_admit(service->of->throttle, &conf->throttle.conf,
                                                mg_rand_unit(&loop_of(flight)->rand), policy_now(flight))) {
        mg_cell_add(&cells->refused_throttle, 1);
        return "throttle";
    }
    return NULL;
}

/* ---- what is told instead of a response ---- */

/* A failure of the upstream side takes the place of its response: NEXT has brought a 502, 503 or 504, and
 * nothing is held for another try. The flight may be gone when this returns. */
static void answer(mg_flight *flight, int status, const char *error, mg_str detail, int retry_after_s)
{
    return_permits(flight);
    mg_replay_end(flight);
    flight->error = error;
    judge_backend(flight, status);
    if (flight->call)
        flight->call->error = error;
    if (flight->chain == MG_CHAIN_WAITS || flight->chain == MG_CHAIN_RUNS) {
        mg_problem_answer(flight->x, status, MG_STR_NONE, detail, retry_after_s);
        mg_chain_continue(flight);
        return;
    }
    mg_pipeline_refuse(flight, status, error, detail, retry_after_s);
}

/* ---- a host ---- */

static int pick_host(mg_flight *flight)
{
    mg_view_service *runtime = flight->runtime;
    const mg_str key = runtime->service->by_key ? mg_split_key(flight) : MG_STR_NONE;

    return mg_pick_host(runtime, key, flight->tries.tried, flight->tries.count, policy_now(flight),
                        mg_loop_now(loop_of(flight)));
}

int mg_proxy_host(const mg_flight *flight)
{
    return flight->tries.count ? flight->tries.tried[flight->tries.count - 1] : -1;
}

/* ---- the breaker ---- */

static const mg_circuit *circuit_of(const mg_flight *flight)
{
    mg_circuit **own = flight->route->circuits;
    const mg_circuit *circuit = own ? own[flight->service->conf->index] : NULL;

    return circuit ? circuit : flight->service->service->circuit;
}

static bool ask_breaker(mg_flight *flight)
{
    mg_tries *tries = &flight->tries;
    const mg_circuit *circuit = circuit_of(flight);

    if (!circuit)
        return true;
    tries->circuit = circuit;
    tries->ticket = mg_breaker_ask(circuit->breaker, policy_now(flight));
    if (!tries->ticket)
        mg_cell_add(&circuit->cells[flight->worker->index].calls[MG_CALLS_REJECTED], 1);
    return tries->ticket != 0;
}

const char *mg_proxy_breaker(const mg_flight *flight)
{
    const mg_circuit *circuit = flight->tries.circuit;

    return circuit ? mg_breaker_state_name(mg_breaker_now(circuit->breaker, policy_now(flight))) : NULL;
}

static void end_breaker(mg_flight *flight, mg_breaker_outcome outcome, uint64_t duration_ns)
{
    static const uint8_t counted[] = { [MG_BREAKER_OK] = MG_CALLS_OK,
                                       [MG_BREAKER_FAIL] = MG_CALLS_FAILED,
                                       [MG_BREAKER_TIMEOUT] = MG_CALLS_TIMEOUT,
                                       [MG_BREAKER_IGNORE] = MG_CALLS_IGNORED };
    mg_tries *tries = &flight->tries;

    if (!tries->ticket)
        return;
    const mg_circuit *circuit = tries->circuit;
    mg_circuit_cells *cells = &circuit->cells[flight->worker->index];
    const bool in_time =
        mg_breaker_end(circuit->breaker, tries->ticket, outcome, duration_ns, policy_now(flight));
    tries->ticket = 0;
    mg_cell_add(&cells->calls[in_time ? counted[outcome] : MG_CALLS_LATE], 1);
    if (circuit->slow_call_ns && outcome != MG_BREAKER_IGNORE && duration_ns >= circuit->slow_call_ns)
        mg_cell_add(&cells->slow, 1);
}

static int breaker_retry_s(const mg_flight *flight)
{
    const uint64_t ms = mg_breaker_retry_after_ms(flight->tries.circuit->breaker, policy_now(flight));

    if (ms == UINT64_MAX) /* an operator opened it: nobody knows until when */
        return 1;
    return (int)mg_max_u64(1, mg_min_u64((ms + 999) / 1000, 86400));
}

/* ---- what became of a try ---- */

typedef struct verdict {
    mg_breaker_outcome breaker;
    mg_figures_outcome figures;
    bool judges_host, host_ok; /* for passive ejection */
    bool answered;             /* for the throttle: the service took the request */
    bool tells_latency;
} verdict;

/* The try is over, its answer's body included: the balancer no longer counts it, and what it came to is
 * counted. Once a try; harmless later. */
static void end_call(mg_flight *flight, mg_upstream_outcome outcome)
{
    if (!flight->tries.counted)
        return;
    flight->tries.counted = false;
    mg_balancer_end(flight->runtime->balancer, (size_t)mg_proxy_host(flight));
    count_upstream(flight, outcome);
}

static void count_reuse(const mg_flight *flight)
{
    mg_cell *reuse = cells_of(flight)->reuse;

    if (flight->lease.replayed)
        mg_cell_add(&reuse[MG_REUSE_STALE], 1);
    mg_cell_add(&reuse[flight->lease.reused ? MG_REUSE_HIT : MG_REUSE_MISS], 1);
}

static void judge(mg_flight *flight, const verdict *v)
{
    const uint64_t now = mg_loop_now(loop_of(flight)), took = clock_of(flight) - flight->tries.began_ns;
    mg_service *service = flight->runtime->service;
    const size_t host = (size_t)mg_proxy_host(flight);
    const bool timed = !flight->x->flowing; /* an answer to half a request shows no latency */

    end_breaker(flight, v->breaker, took);
    if (v->judges_host) {
        (void)mg_service_result(service, host, v->host_ok, policy_now(flight));
        if (timed || v->figures != MG_FIGURES_OK)
            mg_balancer_observe(flight->runtime->balancer, host, took, v->figures == MG_FIGURES_OK, now);
        mg_figures_add(service->of->figures, flight->worker->index, v->figures, took);
        mg_histogram_add(&cells_of(flight)->call_duration, took / 1000);
        count_reuse(flight);
    }
    if (v->answered && flight->service->conf->throttle.on && !flight->tries.taken) {
        flight->tries.taken = true;
        mg_throttle_accepted(service->of->throttle, policy_now(flight));
    }
    flight->tries.rtt_ns = v->tells_latency && timed ? mg_max_u64(took, 1) : 0;
}

static verdict verdict_of_status(const mg_config_breaker *conf, unsigned status)
{
    return (verdict){
        .breaker = mg_status_set_has(&conf->failure, status) ? MG_BREAKER_FAIL : MG_BREAKER_OK,
        .figures = status >= 500 ? MG_FIGURES_ERROR : MG_FIGURES_OK,
        .judges_host = true,
        .host_ok = status < 502 || status > 504,
        .answered = status != 503 && status != 429,
        .tells_latency = status < 500,
    };
}

static verdict verdict_of_failure(const mg_config_breaker *conf, const mg_failure *what)
{
    verdict v = { .breaker = MG_BREAKER_IGNORE };

    if (what->kind == MG_FAILURE_INNOCENT)
        return v;
    v.judges_host = true;
    v.figures = what->kind == MG_FAILURE_LATE ? MG_FIGURES_TIMEOUT : MG_FIGURES_ERROR;
    v.tells_latency = what->kind == MG_FAILURE_LATE;
    if (what->kind == MG_FAILURE_LATE && conf->fail_timeout)
        v.breaker = MG_BREAKER_TIMEOUT;
    if (what->kind == MG_FAILURE_CUT && conf->fail_transport)
        v.breaker = MG_BREAKER_FAIL;
    return v;
}

/* ---- once more ---- */

/* What the upstream still sends is not wanted. */
static void drop_response(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (x->response_body.source && x->answer != MG_ANSWER_OWN)
        x->response_body.source->stop(x->response_body.source);
    mg_lease_cancel(&flight->lease);
    x->response_body.source = NULL;
}

static void try_host(mg_flight *flight);

static void on_again(mg_timer *timer)
{
    try_host(mg_container_of(timer, mg_flight, tries.again));
}

static bool breaker_would_refuse(const mg_flight *flight)
{
    const mg_circuit *circuit = circuit_of(flight);

    if (!circuit)
        return false;
    const mg_breaker_state state = mg_breaker_now(circuit->breaker, policy_now(flight));
    return state == MG_BREAKER_FORCED_OPEN ||
           (state == MG_BREAKER_OPEN && mg_breaker_retry_after_ms(circuit->breaker, policy_now(flight)) > 0);
}

/* Whether there is another try, which then is under way. `c` says what became of the last one, `outcome` what
 * that counts as. */
static bool once_more(mg_flight *flight, mg_retry_case *c, mg_upstream_outcome outcome)
{
    const mg_config_retry *conf = &flight->service->conf->retry;
    mg_exchange *x = flight->x;
    mg_tries *tries = &flight->tries;
    mg_service_cells *cells = cells_of(flight);
    uint64_t sleep_ms = 0;

    if (!conf->on || !x->client)
        return false;
    const uint64_t now = mg_loop_now(loop_of(flight));
    c->tries = tries->count;
    c->idempotent = mg_method_is_idempotent(x->request.method);
    c->body_held = mg_replay_held(flight);
    c->bytes_sent = flight->lease.sent_any;
    c->is_retry = flight->caller.is_retry;
    c->left_ms = left_ms(flight);
    c->breaker_open = breaker_would_refuse(flight);
    const mg_retry_verdict said =
        mg_retry_decide(&conf->conf, &flight->route->conf->deadline, c, flight->service->service->of->budget,
                        mg_rand_unit(&loop_of(flight)->rand), policy_now(flight), &sleep_ms);
    switch (said) {
    case MG_RETRY_NO_BUDGET: mg_cell_add(&cells->retries[MG_RETRIES_BUDGET], 1); return false;
    case MG_RETRY_NO_TIME: mg_cell_add(&cells->retries[MG_RETRIES_DEADLINE], 1); return false;
    case MG_RETRY_NO_BREAKER: mg_cell_add(&cells->retries[MG_RETRIES_BREAKER], 1); return false;
    case MG_RETRY_AGAIN: mg_cell_add(&cells->retries[MG_RETRIES_SENT], 1); break;
    default: return false;
    }
    mg_lease_cancel(&flight->lease); /* its answer goes no further; it is not over for the request */
    if (x->answer == MG_ANSWER_UPSTREAM)
        mg_exchange_answer(x, MG_ANSWER_NONE, NULL, MG_STR_NONE);
    end_call(flight, outcome);
    mg_replay_rewind(flight);
    mg_timer_init(&tries->again, on_again);
    mg_timer_set(loop_of(flight), &tries->again, now + sleep_ms * MG_NS_PER_MS);
    return true;
}

/* ---- a try ---- */

static void out_of_time(mg_flight *flight)
{
    flight->deadline_where = flight->tries.count ? "retry" : flight->call ? "plugin" : "route";
    answer(flight, 504, "deadline", MG_STR("The time for this request is over."), -1);
}

/* In ms: what the host gets to answer in. */
static uint64_t time_of_try(mg_flight *flight)
{
    const uint64_t child_ms = mg_deadline_child_ms(&flight->route->conf->deadline, left_ms(flight));
    const mg_config_retry *retry = &flight->service->conf->retry;

    flight->tries.cut_short = retry->on && retry->per_try_timeout_ms && retry->per_try_timeout_ms < child_ms;
    return flight->tries.cut_short ? retry->per_try_timeout_ms : child_ms;
}

static void call_host(mg_flight *flight, int host)
{
    flight->tries.began_ns = clock_of(flight);
    mg_balancer_begin(flight->runtime->balancer, (size_t)host);
    mg_lease_start(&flight->lease, flight->x, flight->runtime->endpoints[host], &flight->service->lease_conf,
                   &lease_ops);
}

static void try_host(mg_flight *flight)
{
    mg_tries *tries = &flight->tries;
    const uint64_t time_ms = time_of_try(flight);

    if (!time_ms) {
        out_of_time(flight);
        return;
    }
    const int host = pick_host(flight);
    if (host < 0) {
        mg_cell_add(&cells_of(flight)->refused_no_host, 1);
        answer(flight, 503, "no_host", MG_STR("No upstream is available."), 1);
        return;
    }
    if (!ask_breaker(flight)) {
        count_upstream(flight, MG_SERVED_BREAKER);
        answer(flight, 503, "breaker_open", MG_STR("The upstream is failing; try again later."),
               breaker_retry_s(flight));
        return;
    }
    MG_CHECK(tries->count < MG_TRIES_MAX);
    tries->tried[tries->count++] = tries->first_host = host;
    tries->counted = true;
    flight->lease.limit = mg_forward_try(flight->x, &flight->route->conf->deadline, time_ms, tries->count,
                                         mg_loop_now(loop_of(flight)));
    call_host(flight, host);
}

/* Nothing is there at the address: the same try goes on with another one of the endpoint, as nothing has been
 * sent. False when there is none. */
static bool try_next_address(mg_flight *flight)
{
    const uint64_t now = mg_loop_now(loop_of(flight));
    mg_tries *tries = &flight->tries;
    mg_view_service *runtime = flight->runtime;
    const int host = mg_proxy_host(flight);
    const int next = mg_pick_next(runtime, host, tries->first_host, now);

    if (next < 0 || !mg_exchange_left_ns(flight->x, &flight->lease.limit, now))
        return false;
    (void)mg_service_result(runtime->service, (size_t)host, false, policy_now(flight));
    mg_balancer_observe(runtime->balancer, (size_t)host, clock_of(flight) - tries->began_ns, false, now);
    mg_balancer_end(runtime->balancer, (size_t)host);
    tries->tried[tries->count - 1] = next;
    call_host(flight, next);
    return true;
}

void mg_proxy_start(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (!flight->service) {
        answer(flight, 404, "no_service", MG_STR("This route has no service and no plugin answered."), -1);
        return;
    }
    MG_CHECK(!flight->tries.count && !flight->runtime);
    flight->runtime = hosts_now(flight);
    flight->tries.first_ns = clock_of(flight);
    const char *busy = take_permits(flight);
    if (busy) {
        answer(flight, 503, busy, MG_STR("The upstream has as much to do as it can."), 1);
        return;
    }
    mg_forward_request(x, flight->worker->gateway->via);
    if (flight->service->conf->retry.on) {
        mg_retry_budget_request(flight->service->service->of->budget, policy_now(flight));
        mg_replay_begin(flight);
    }
    try_host(flight);
}

void mg_proxy_stop(mg_flight *flight)
{
    drop_response(flight);
    mg_timer_stop(&flight->tries.again);
    end_breaker(flight, MG_BREAKER_IGNORE, 0);
    end_call(flight, flight->proxied && !flight->x->reset ? MG_SERVED_OK : MG_SERVED_ABORTED);
    return_permits(flight);
}

/* ---- what the lease tells ---- */

static void on_lease_interim(mg_lease *lease, const mg_response *head)
{
    mg_exchange *x = lease->x;

    if (x->client && !x->head_sent)
        x->client->interim(x, head);
}

static void on_lease_head(mg_lease *lease)
{
    mg_flight *flight = mg_container_of(lease, mg_flight, lease);
    const uint16_t status = flight->x->response.status;
    const mg_str wish = mg_fields_get(&flight->x->response.fields, MG_NAME_RETRY_AFTER);
    const verdict v = verdict_of_status(&flight->service->conf->breaker, status);
    mg_retry_case retry = { .status = status, .retry_after_ms = mg_retry_after_ms(wish) };

    mg_pick_reached(flight->runtime, mg_proxy_host(flight));
    judge(flight, &v);
    if (once_more(flight, &retry, MG_SERVED_OK))
        return;
    mg_replay_end(flight);
    flight->proxied = true;
    if (flight->streams & 2) /* its filters may change the body */
        mg_fields_weaken(&flight->x->response.fields, &flight->x->arena, false);
    mg_edits_make(&flight->x->edits, &flight->x->response.fields, &flight->x->arena);
    judge_backend(flight, status);
    if (flight->chain == MG_CHAIN_WAITS || flight->chain == MG_CHAIN_RUNS)
        mg_chain_continue(flight);
    else
        mg_pipeline_send(flight);
}

static void on_lease_failed(mg_lease *lease, mg_reset reason)
{
    mg_flight *flight = mg_container_of(lease, mg_flight, lease);
    if (reason == MG_RESET_DEADLINE && flight->tries.cut_short)
        reason = MG_RESET_UPSTREAM_TIMEOUT; /* this try's time alone was over */
    if (reason == MG_RESET_UPSTREAM_CONNECT && try_next_address(flight))
        return;
    const mg_failure *what = lease->client_late ? &mg_failure_slow_client : mg_failure_of(reason);
    const verdict v = verdict_of_failure(&flight->service->conf->breaker, what);
    mg_retry_case retry = {
        .status = what->kind == MG_FAILURE_LATE || what->counted == MG_SERVED_PROTOCOL ? what->status : 0,
        .connect_error = reason == MG_RESET_UPSTREAM_CONNECT || what->kind == MG_FAILURE_NO_ADDRESS,
        .reset = reason == MG_RESET_UPSTREAM_RESET,
        .retry_after_ms = -1
    };

    judge(flight, &v);
    if (once_more(flight, &retry, what->counted))
        return;
    end_call(flight, what->counted);
    flight->failure = reason;
    if (what == &mg_failure_slow_client || reason == MG_RESET_DEADLINE)
        flight->deadline_where = what == &mg_failure_slow_client ? "route" : "upstream";
    answer(flight, what->status, what->error, mg_str_of(what->detail), what->retry_after_s);
}

static void on_lease_over(mg_lease *lease)
{
    mg_flight *flight = mg_container_of(lease, mg_flight, lease);
    const mg_reset reset = flight->x->reset;

    end_call(flight, !reset                           ? MG_SERVED_OK
                     : mg_failure_is_upstreams(reset) ? mg_failure_of(reset)->counted
                                                      : MG_SERVED_ABORTED);
    return_permits(flight);
    mg_tap_wake(flight);
}

static void on_lease_sending(mg_lease *lease)
{
    mg_replay_sending(mg_container_of(lease, mg_flight, lease));
}

static const mg_lease_ops lease_ops = { on_lease_interim, on_lease_head, on_lease_failed, on_lease_over,
                                        on_lease_sending };
