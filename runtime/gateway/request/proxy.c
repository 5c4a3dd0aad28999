/* proxy.c - a request's own errand: what its client is told, what its chain waits for, and how its rollout is
 * judged. */
#include "gateway/request/proxy.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/failure.h"
#include "gateway/request/pipeline.h"
#include "gateway/request/replay.h"
#include "gateway/request/split.h"
#include "gateway/request/tap.h"
#include "http/problem.h"

static const mg_errand_ops errand_ops;

static mg_flight *flight_of(const mg_errand *errand)
{
    return mg_container_of(errand, mg_flight, proxy.errand);
}

/* A canary is judged by what its clients get from it, after however many tries. Time that was over before
 * the first of them, or while the client was still sending, is somebody else's. */
static void judge_backend(const mg_flight *flight, int status)
{
    const mg_errand *errand = &flight->proxy.errand;

    if (status == 504 && (!errand->count || errand->lease.client_late))
        return;
    mg_split_result(flight,
                    status == 504   ? MG_FIGURES_TIMEOUT
                    : status >= 500 ? MG_FIGURES_ERROR
                                    : MG_FIGURES_OK,
                    mg_errand_clock(errand) - errand->first_ns);
}

static void move(mg_flight *flight, mg_proxy_state to)
{
    MG_CHECK(to == MG_PROXY_ASKED ? flight->proxy.state == MG_PROXY_UNASKED
                                  : flight->proxy.state == MG_PROXY_ASKED);
    flight->proxy.state = to;
}

/* A problem document takes the place of its response. The flight may be gone then. */
static void fail(mg_flight *flight, const mg_refusal_row *row)
{
    move(flight, MG_PROXY_FAILED);
    mg_flight_blame(flight, row->error);
    mg_chain_blame(flight, row->error);
    mg_proxy_stop(flight);
    mg_problem_answer(flight->x, row->status, MG_STR_NONE, row->detail, row->retry_after_s);
    mg_pipeline_answered(flight);
}

void mg_proxy_start(mg_flight *flight)
{
    mg_errand *errand = &flight->proxy.errand;

    move(flight, MG_PROXY_ASKED);
    if (!flight->split.service) {
        fail(flight, &mg_refusals[MG_REFUSED_NO_SERVICE]);
        return;
    }
    errand->x = flight->x;
    errand->worker = flight->worker;
    errand->view = flight->view;
    errand->service = flight->split.service;
    errand->ops = &errand_ops;
    errand->deadline = &flight->route->conf->deadline;
    errand->circuits = flight->route->circuits;
    errand->is_retry = flight->caller.is_retry;
    if (flight->split.service->conf->retry.on)
        mg_replay_begin(flight);
    mg_errand_start(errand);
}

void mg_proxy_stop(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (x->response_body.source && x->answer != MG_ANSWER_OWN)
        x->response_body.source->stop(x->response_body.source);
    mg_errand_stop(&flight->proxy.errand,
                   flight->proxy.state == MG_PROXY_ANSWERED && !x->reset ? MG_SERVED_OK : MG_SERVED_ABORTED);
    x->response_body.source = NULL;
}

void mg_proxy_body_taken(mg_flight *flight)
{
    mg_lease_pin(&flight->proxy.errand.lease);
}

/* ---- what the errand tells ---- */

static mg_str on_key(const mg_errand *errand)
{
    return mg_split_key(flight_of(errand));
}

static void on_sending(mg_errand *errand)
{
    mg_replay_sending(flight_of(errand));
}

static bool on_held(const mg_errand *errand)
{
    return mg_replay_held(flight_of(errand));
}

static void on_rewind(mg_errand *errand)
{
    mg_replay_rewind(flight_of(errand));
}

static void on_let_go(mg_errand *errand)
{
    mg_replay_end(flight_of(errand));
}

static void on_interim(mg_errand *errand, const mg_response *head)
{
    mg_exchange *x = errand->x;

    if (x->client && !x->head_sent)
        x->client->interim(x, head);
}

static void on_head(mg_errand *errand)
{
    mg_flight *flight = flight_of(errand);

    move(flight, MG_PROXY_ANSWERED);
    if (mg_filter_is_for(&flight->filters, MG_RESPONSE)) /* its filters may change the body */
        mg_fields_weaken(&flight->x->response.fields, &flight->x->arena, false);
    mg_edits_make(&flight->x->edits, &flight->x->response.fields, &flight->x->arena);
    judge_backend(flight, flight->x->response.status);
    mg_pipeline_answered(flight);
}

static void on_refused(mg_errand *errand, const mg_refusal_row *row, mg_errand_late late)
{
    mg_flight *flight = flight_of(errand);

    switch (late) {
    case MG_ERRAND_IN_TIME: break;
    case MG_ERRAND_LATE_BEFORE:
        mg_flight_is_late(flight, errand->count        ? MG_DEADLINE_RETRY
                                  : flight->chain.call ? MG_DEADLINE_PLUGIN
                                                       : MG_DEADLINE_ROUTE);
        break;
    case MG_ERRAND_LATE_CLIENT: mg_flight_is_late(flight, MG_DEADLINE_ROUTE); break;
    case MG_ERRAND_LATE_UPSTREAM: mg_flight_is_late(flight, MG_DEADLINE_UPSTREAM); break;
    }
    judge_backend(flight, row->status);
    fail(flight, row);
}

static void on_over(mg_errand *errand)
{
    mg_chain_copy_moved(flight_of(errand));
}

static const mg_errand_ops errand_ops = {
    .key = on_key,
    .sending = on_sending,
    .held = on_held,
    .rewind = on_rewind,
    .let_go = on_let_go,
    .interim = on_interim,
    .head = on_head,
    .refused = on_refused,
    .over = on_over,
};
