/* errand.c - in the order of docs/policies.md 1: service concurrency, adaptive limit, throttle; then for each
 * try deadline, balancer, breaker, connection; then what became of it, and whether there is another one. */
#include "gateway/request/errand.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/failure.h"
#include "gateway/request/forward.h"
#include "gateway/request/pick.h"

static const mg_lease_ops lease_ops;

static mg_loop *loop_of(const mg_errand *e)
{
    return e->worker->loop;
}

uint64_t mg_errand_clock(const mg_errand *e)
{
    return mg_exchange_clock(e->x, mg_loop_now(loop_of(e)));
}

/* In ms, until the response has to be there. */
static uint64_t left_ms(const mg_errand *e)
{
    return mg_exchange_left_ns(e->x, &e->x->limit, mg_loop_now(loop_of(e))) / MG_NS_PER_MS;
}

static uint64_t policy_now(const mg_errand *e)
{
    return mg_shared_policy_at(e->worker->gateway->shared, mg_loop_now(e->worker->loop));
}

/* The hosts in force when it first asks: it goes on with these, whatever becomes of names meanwhile. */
static mg_view_service *hosts_now(const mg_errand *e)
{
    mg_view_service *runtime = e->view->services[e->service->conf->index];

    runtime->refs++;
    return runtime;
}

static mg_service_cells *cells_of(const mg_errand *e)
{
    return &e->service->service->of->cells[e->worker->index];
}

static void count_upstream(const mg_errand *e, mg_upstream_outcome outcome)
{
    mg_stats_upstream(e->worker->gateway->stats, e->worker->index, e->runtime->stat, outcome);
}

/* ---- what a request holds of its service ---- */

static void return_permits(mg_errand *e)
{
    if (e->adaptive)
        mg_adaptive_end(e->adaptive, e->rtt_ns, mg_loop_now(loop_of(e)));
    if (e->holds)
        atomic_fetch_sub(&e->holds->concurrent, 1);
    e->adaptive = NULL;
    e->holds = NULL;
}

static void refuse(mg_errand *e, const mg_refusal_row *row, mg_errand_late late)
{
    return_permits(e);
    e->ops->let_go(e);
    e->ops->refused(e, row, late);
}

/* Nobody was asked. */
static bool refuse_for_service(mg_errand *e, mg_refusal why)
{
    mg_cell_add(&cells_of(e)->refused[why], 1);
    refuse(e, &mg_refusals[why], MG_ERRAND_IN_TIME);
    return false;
}

/* False when the service takes no more, which was then told. */
static bool take_permits(mg_errand *e)
{
    const mg_config_service *conf = e->service->conf;
    mg_service *service = e->runtime->service;

    if (conf->breaker.on && conf->breaker.max_concurrent) {
        e->holds = service->of;
        if (atomic_fetch_add(&service->of->concurrent, 1) >= conf->breaker.max_concurrent)
            return refuse_for_service(e, MG_REFUSED_CONCURRENCY);
    }
    if (service->adaptive) {
        if (!mg_adaptive_begin(service->adaptive))
            return refuse_for_service(e, MG_REFUSED_ADAPTIVE);
        e->adaptive = service->adaptive;
    }
    if (conf->throttle.on && !mg_throttle_admit(service->of->throttle, &conf->throttle.conf,
                                                mg_rand_unit(&loop_of(e)->rand), policy_now(e)))
        return refuse_for_service(e, MG_REFUSED_THROTTLE);
    return true;
}

/* ---- a host ---- */

static int pick_host(mg_errand *e)
{
    mg_view_service *runtime = e->runtime;
    const mg_str key = runtime->service->by_key ? e->ops->key(e) : MG_STR_NONE;

    return mg_pick_host(runtime, key, e->tried, e->count, policy_now(e), mg_loop_now(loop_of(e)));
}

int mg_errand_host(const mg_errand *e)
{
    return e->count ? e->tried[e->count - 1] : -1;
}

/* ---- the breaker ---- */

static const mg_circuit *circuit_of(const mg_errand *e)
{
    const mg_circuit *circuit = e->circuits ? e->circuits[e->service->conf->index] : NULL;

    return circuit ? circuit : e->service->service->circuit;
}

static bool ask_breaker(mg_errand *e)
{
    const mg_circuit *circuit = circuit_of(e);

    if (!circuit)
        return true;
    e->circuit = circuit;
    e->ticket = mg_breaker_ask(circuit->breaker, policy_now(e));
    if (!e->ticket)
        mg_cell_add(&circuit->cells[e->worker->index].calls[MG_CALLS_REJECTED], 1);
    return e->ticket != 0;
}

const char *mg_errand_breaker(const mg_errand *e)
{
    const mg_circuit *circuit = e->circuit;

    return circuit ? mg_breaker_state_name(mg_breaker_now(circuit->breaker, policy_now(e))) : NULL;
}

static void end_breaker(mg_errand *e, mg_breaker_outcome outcome, uint64_t duration_ns)
{
    static const uint8_t counted[] = { [MG_BREAKER_OK] = MG_CALLS_OK,
                                       [MG_BREAKER_FAIL] = MG_CALLS_FAILED,
                                       [MG_BREAKER_TIMEOUT] = MG_CALLS_TIMEOUT,
                                       [MG_BREAKER_IGNORE] = MG_CALLS_IGNORED };

    if (!e->ticket)
        return;
    const mg_circuit *circuit = e->circuit;
    mg_circuit_cells *cells = &circuit->cells[e->worker->index];
    const bool in_time = mg_breaker_end(circuit->breaker, e->ticket, outcome, duration_ns, policy_now(e));
    e->ticket = 0;
    mg_cell_add(&cells->calls[in_time ? counted[outcome] : MG_CALLS_LATE], 1);
    if (circuit->slow_call_ns && outcome != MG_BREAKER_IGNORE && duration_ns >= circuit->slow_call_ns)
        mg_cell_add(&cells->slow, 1);
}

static void refuse_for_breaker(mg_errand *e)
{
    const uint64_t ms = mg_breaker_retry_after_ms(e->circuit->breaker, policy_now(e));
    mg_refusal_row row = mg_refusals[MG_REFUSED_BREAKER];

    if (ms != UINT64_MAX) /* an operator opened it: nobody knows until when */
        row.retry_after_s = (int)mg_max_u64(1, mg_min_u64((ms + 999) / 1000, 86400));
    count_upstream(e, MG_SERVED_BREAKER);
    refuse(e, &row, MG_ERRAND_IN_TIME);
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
static void end_call(mg_errand *e, mg_upstream_outcome outcome)
{
    if (!e->counted)
        return;
    e->counted = false;
    mg_balancer_end(e->runtime->balancer, (size_t)mg_errand_host(e));
    count_upstream(e, outcome);
}

static void count_reuse(const mg_errand *e)
{
    mg_cell *reuse = cells_of(e)->reuse;

    if (e->lease.replayed)
        mg_cell_add(&reuse[MG_REUSE_STALE], 1);
    mg_cell_add(&reuse[e->lease.reused ? MG_REUSE_HIT : MG_REUSE_MISS], 1);
}

static void judge(mg_errand *e, const verdict *v)
{
    const uint64_t now = mg_loop_now(loop_of(e)), took = mg_errand_clock(e) - e->began_ns;
    mg_service *service = e->runtime->service;
    const size_t host = (size_t)mg_errand_host(e);
    const bool timed = !e->x->flowing; /* an answer to half a request shows no latency */

    end_breaker(e, v->breaker, took);
    if (v->judges_host) {
        (void)mg_service_result(service, host, v->host_ok, policy_now(e));
        if (timed || v->figures != MG_FIGURES_OK)
            mg_balancer_observe(e->runtime->balancer, host, took, v->figures == MG_FIGURES_OK, now);
        mg_figures_add(service->of->figures, e->worker->index, v->figures, took);
        mg_histogram_add(&cells_of(e)->call_duration, took / 1000);
        count_reuse(e);
    }
    if (v->answered && e->service->conf->throttle.on && !e->taken) {
        e->taken = true;
        mg_throttle_accepted(service->of->throttle, policy_now(e));
    }
    e->rtt_ns = v->tells_latency && timed ? mg_max_u64(took, 1) : 0;
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

static void try_host(mg_errand *e);

static void on_again(mg_timer *timer)
{
    try_host(mg_container_of(timer, mg_errand, again));
}

static bool breaker_would_refuse(const mg_errand *e)
{
    const mg_circuit *circuit = circuit_of(e);

    if (!circuit)
        return false;
    const mg_breaker_state state = mg_breaker_now(circuit->breaker, policy_now(e));
    return state == MG_BREAKER_FORCED_OPEN ||
           (state == MG_BREAKER_OPEN && mg_breaker_retry_after_ms(circuit->breaker, policy_now(e)) > 0);
}

/* Whether there is another try, which then is under way. `c` says what became of the last one, `outcome` what
 * that counts as. */
static bool once_more(mg_errand *e, mg_retry_case *c, mg_upstream_outcome outcome)
{
    const mg_config_retry *conf = &e->service->conf->retry;
    mg_exchange *x = e->x;
    mg_service_cells *cells = cells_of(e);
    uint64_t sleep_ms = 0;

    if (!conf->on || (!x->client && !e->may_wait_on))
        return false;
    const uint64_t now = mg_loop_now(loop_of(e));
    c->tries = e->count;
    c->idempotent = mg_method_is_idempotent(x->request.method);
    c->body_held = e->ops->held(e);
    c->bytes_sent = e->lease.sent_any;
    c->is_retry = e->is_retry;
    c->left_ms = left_ms(e);
    c->breaker_open = breaker_would_refuse(e);
    const mg_retry_verdict said =
        mg_retry_decide(&conf->conf, e->deadline, c, e->service->service->of->budget,
                        mg_rand_unit(&loop_of(e)->rand), policy_now(e), &sleep_ms);
    switch (said) {
    case MG_RETRY_NO_BUDGET: mg_cell_add(&cells->retries[MG_RETRIES_BUDGET], 1); return false;
    case MG_RETRY_NO_TIME: mg_cell_add(&cells->retries[MG_RETRIES_DEADLINE], 1); return false;
    case MG_RETRY_NO_BREAKER: mg_cell_add(&cells->retries[MG_RETRIES_BREAKER], 1); return false;
    case MG_RETRY_AGAIN: mg_cell_add(&cells->retries[MG_RETRIES_SENT], 1); break;
    default: return false;
    }
    mg_lease_cancel(&e->lease); /* its answer goes no further; it is not over for the request */
    if (x->answer == MG_ANSWER_UPSTREAM)
        mg_exchange_answer(x, MG_ANSWER_NONE, NULL, MG_STR_NONE);
    end_call(e, outcome);
    e->ops->rewind(e);
    mg_timer_init(&e->again, on_again);
    mg_timer_set(loop_of(e), &e->again, now + sleep_ms * MG_NS_PER_MS);
    return true;
}

/* ---- a try ---- */

/* In ms: what the host gets to answer in. */
static uint64_t time_of_try(mg_errand *e)
{
    const uint64_t child_ms = mg_deadline_child_ms(e->deadline, left_ms(e));
    const mg_config_retry *retry = &e->service->conf->retry;

    e->cut_short = retry->on && retry->per_try_timeout_ms && retry->per_try_timeout_ms < child_ms;
    return e->cut_short ? retry->per_try_timeout_ms : child_ms;
}

static void call_host(mg_errand *e, int host)
{
    e->began_ns = mg_errand_clock(e);
    mg_balancer_begin(e->runtime->balancer, (size_t)host);
    if (e->ops->trying)
        e->ops->trying(e, (size_t)host);
    mg_lease_start(&e->lease, e->x, e->runtime->endpoints[host], &e->service->lease_conf, &lease_ops);
}

static void try_host(mg_errand *e)
{
    const uint64_t time_ms = time_of_try(e);

    if (!time_ms) {
        refuse(e, &mg_refusals[MG_REFUSED_DEADLINE], MG_ERRAND_LATE_BEFORE);
        return;
    }
    const int host = pick_host(e);
    if (host < 0) {
        (void)refuse_for_service(e, MG_REFUSED_NO_HOST);
        return;
    }
    if (!ask_breaker(e)) {
        refuse_for_breaker(e);
        return;
    }
    MG_CHECK(e->count < MG_TRIES_MAX);
    e->tried[e->count++] = e->first_host = host;
    e->counted = true;
    e->lease.limit = mg_forward_try(e->x, e->deadline, time_ms, e->count, mg_loop_now(loop_of(e)));
    call_host(e, host);
}

/* Nothing is there at the address: the same try goes on with another one of the endpoint, as nothing has been
 * sent. False when there is none. */
static bool try_next_address(mg_errand *e)
{
    const uint64_t now = mg_loop_now(loop_of(e));
    mg_view_service *runtime = e->runtime;
    const int host = mg_errand_host(e);
    const int next = mg_pick_next(runtime, host, e->first_host, now);

    if (next < 0 || !mg_exchange_left_ns(e->x, &e->lease.limit, now))
        return false;
    (void)mg_service_result(runtime->service, (size_t)host, false, policy_now(e));
    mg_balancer_observe(runtime->balancer, (size_t)host, mg_errand_clock(e) - e->began_ns, false, now);
    mg_balancer_end(runtime->balancer, (size_t)host);
    e->tried[e->count - 1] = next;
    call_host(e, next);
    return true;
}

void mg_errand_start(mg_errand *e)
{
    MG_CHECK(!e->count && !e->runtime);
    e->runtime = hosts_now(e);
    e->first_ns = mg_errand_clock(e);
    if (!take_permits(e))
        return;
    mg_forward_request(e->x, e->worker->gateway->via);
    if (e->service->conf->retry.on)
        mg_retry_budget_request(e->service->service->of->budget, policy_now(e));
    try_host(e);
}

void mg_errand_stop(mg_errand *e, mg_upstream_outcome outcome)
{
    if (!e->runtime)
        return;
    mg_lease_cancel(&e->lease);
    mg_timer_stop(&e->again);
    end_breaker(e, MG_BREAKER_IGNORE, 0);
    end_call(e, outcome);
    return_permits(e);
}

void mg_errand_fini(mg_errand *e)
{
    mg_view_service_unref(e->runtime);
    e->runtime = NULL;
}

/* ---- what the lease tells ---- */

static void on_lease_interim(mg_lease *lease, const mg_response *head)
{
    mg_errand *e = mg_container_of(lease, mg_errand, lease);

    e->ops->interim(e, head);
}

static void on_lease_head(mg_lease *lease)
{
    mg_errand *e = mg_container_of(lease, mg_errand, lease);
    const uint16_t status = e->x->response.status;
    const mg_str wish = mg_fields_get(&e->x->response.fields, MG_NAME_RETRY_AFTER);
    const verdict v = verdict_of_status(&e->service->conf->breaker, status);
    mg_retry_case retry = { .status = status, .retry_after_ms = mg_retry_after_ms(wish) };

    mg_pick_reached(e->runtime, mg_errand_host(e));
    judge(e, &v);
    if (once_more(e, &retry, MG_SERVED_OK))
        return;
    e->ops->let_go(e);
    e->ops->head(e);
}

static void on_lease_failed(mg_lease *lease, mg_reset reason)
{
    mg_errand *e = mg_container_of(lease, mg_errand, lease);
    if (reason == MG_RESET_DEADLINE && e->cut_short)
        reason = MG_RESET_UPSTREAM_TIMEOUT; /* this try's time alone was over */
    if (reason == MG_RESET_UPSTREAM_CONNECT && try_next_address(e))
        return;
    const mg_failure *what = lease->client_late ? &mg_failure_slow_client : mg_failure_of(reason);
    const mg_refusal_row *row = &mg_refusals[what->refusal];
    const verdict v = verdict_of_failure(&e->service->conf->breaker, what);
    mg_retry_case retry = {
        .status = what->kind == MG_FAILURE_LATE || what->counted == MG_SERVED_PROTOCOL ? row->status : 0,
        .connect_error = reason == MG_RESET_UPSTREAM_CONNECT || what->kind == MG_FAILURE_NO_ADDRESS,
        .reset = reason == MG_RESET_UPSTREAM_RESET,
        .retry_after_ms = -1
    };

    judge(e, &v);
    if (once_more(e, &retry, what->counted))
        return;
    end_call(e, what->counted);
    refuse(e, row,
           what == &mg_failure_slow_client ? MG_ERRAND_LATE_CLIENT
           : reason == MG_RESET_DEADLINE   ? MG_ERRAND_LATE_UPSTREAM
                                           : MG_ERRAND_IN_TIME);
}

static void on_lease_over(mg_lease *lease)
{
    mg_errand *e = mg_container_of(lease, mg_errand, lease);
    const mg_reset reset = e->x->reset;

    end_call(e, !reset                           ? MG_SERVED_OK
                : mg_failure_is_upstreams(reset) ? mg_failure_of(reset)->counted
                                                 : MG_SERVED_ABORTED);
    return_permits(e);
    e->ops->over(e);
}

static void on_lease_sending(mg_lease *lease)
{
    mg_errand *e = mg_container_of(lease, mg_errand, lease);

    e->ops->sending(e);
}

static const mg_lease_ops lease_ops = { on_lease_interim, on_lease_head, on_lease_failed, on_lease_over,
                                        on_lease_sending };
