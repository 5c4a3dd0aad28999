/* chain_body.c - bodies that a chain takes into memory, and how they go on from there. */
#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/chain_parts.h"
#include "gateway/request/pipeline.h"
#include "gateway/request/tap.h"

static mg_loop *loop_of(const mg_flight *flight)
{
    return flight->worker->loop;
}

/* Of the body that is taken. */
static int which_of(const mg_flight *flight)
{
    return flight->chain.takes == MG_CHAIN_TAKES_REQUEST ? MG_REQUEST : MG_RESPONSE;
}

static mg_gather *gather_of(const mg_flight *flight)
{
    return &flight->chain.call->bodies[which_of(flight)];
}

static void body_rests(mg_flight *flight)
{
    mg_exchange_body_rests(flight->x, mg_loop_now(loop_of(flight)));
}

void mg_chain_drop_body(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (flight->chain.takes == MG_CHAIN_TAKES_REQUEST) {
        body_rests(flight);
        if (x->request_body.source)
            x->request_body.source->stop(x->request_body.source);
        x->request_body.sink = NULL;
    } else if (flight->chain.takes == MG_CHAIN_TAKES_RESPONSE) {
        x->response_body.sink = NULL; /* its source ends with the upstream side */
    }
    flight->chain.takes = MG_CHAIN_TAKES_NOTHING;
}

/* Its taker has it, or wants no more of it. */
static void drain_ends(mg_flight *flight)
{
    if (flight->chain.takes == MG_CHAIN_TAKES_REQUEST)
        body_rests(flight);
    flight->chain.takes = MG_CHAIN_TAKES_NOTHING;
}

static void refuse_large(mg_flight *flight, int which)
{
    mg_refusal_row row = mg_refusals[MG_REFUSED_BODY];

    if (which == MG_RESPONSE)
        row.status = 502;
    mg_chain_abort(flight, row.error);
    mg_pipeline_refuse_as(flight, &row);
}

bool mg_chain_body_is_large(const mg_flight *flight)
{
    return flight->chain.takes && gather_of(flight)->state == MG_GATHER_TOO_LARGE;
}

void mg_chain_refuse_large(mg_flight *flight)
{
    refuse_large(flight, which_of(flight));
}

/* There is more of it than its plugin takes, and its source is on the stack: it is answered behind this turn.
 * A request that has gone to its upstream is not refused any more: the plugin hears that it is too large. */
static void grown_too_large(mg_flight *flight)
{
    const mg_call *call = flight->chain.call;

    if (flight->chain.takes == MG_CHAIN_TAKES_REQUEST && call->wait == MG_WAIT_BODY && call->next_called)
        mg_chain_leave_body(flight);
    mg_timer_set(loop_of(flight), &flight->chain.timer, mg_loop_now(loop_of(flight)));
}

void mg_chain_refuse_cut(mg_flight *flight, mg_reset reason)
{
    mg_refusal_row row = mg_refusals[MG_REFUSED_CUT];

    row.error = mg_reset_text(reason);
    mg_pipeline_refuse_as(flight, &row);
}

static void cut(mg_flight *flight, mg_reset reason)
{
    flight->chain.takes = MG_CHAIN_TAKES_NOTHING;
    mg_chain_abort(flight, mg_reset_text(reason));
    mg_chain_refuse_cut(flight, reason);
}

static void over(mg_gather *gather, mg_flight *flight)
{
    switch (gather->state) {
    case MG_GATHER_WHOLE:
        drain_ends(flight);
        mg_chain_body_is_there(flight);
        return;
    case MG_GATHER_TOO_LARGE: grown_too_large(flight); return;
    case MG_GATHER_CUT: cut(flight, gather->reset); return;
    case MG_GATHER_PART:
    case MG_GATHER_REPLACED: MG_UNREACHABLE();
    }
}

static void on_request_over(mg_gather *gather)
{
    over(gather, mg_container_of(gather, mg_call, bodies[MG_REQUEST])->owner);
}

static void on_response_over(mg_gather *gather)
{
    over(gather, mg_container_of(gather, mg_call, bodies[MG_RESPONSE])->owner);
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
    if (flight->proxy.errand.lease.state != MG_LEASE_RUNS) {
        mg_tap_stop(flight);
        flight->x->request_body.source = source; /* nobody stands before it any more */
        return false;
    }
    mg_chain_bound_wait(flight);
    mg_chain_bound_by_plugin(flight);
    return true;
}

void mg_chain_take_body(mg_flight *flight, int which)
{
    mg_exchange *x = flight->x;
    mg_body *body = which == MG_REQUEST ? &x->request_body : &x->response_body;
    mg_gather *gather = &flight->chain.call->bodies[which];

    mg_chain_hold_rests(flight);
    if (which == MG_REQUEST && waits_for_copy(flight))
        return;

    /* What flows through a tunnel is no body. */
    if (!body->source || (which == MG_RESPONSE && x->tunnel)) {
        mg_gather_end(gather);
        mg_chain_wake(flight);
        return;
    }
    /* One that says that it is too large is refused before a byte of it is read, or asked for with a 100. */
    if (said_length(x, which) > gather->max_bytes) {
        refuse_large(flight, which);
        return;
    }
    flight->chain.takes = which == MG_REQUEST ? MG_CHAIN_TAKES_REQUEST : MG_CHAIN_TAKES_RESPONSE;
    if (which == MG_REQUEST && x->request.expect_continue && x->client) {
        const mg_response go_on = { .status = 100 };
        x->request.expect_continue = false;
        x->client->interim(x, &go_on);
    }
    if (which == MG_REQUEST)
        mg_exchange_body_flows(x, mg_loop_now(loop_of(flight)));
    mg_chain_bound_wait(flight);
    if (flight->chain.call->wait == MG_WAIT_BODY)
        mg_chain_bound_by_plugin(flight);
    mg_gather_start(gather, body, which == MG_REQUEST ? on_request_over : on_response_over);
}

void mg_chain_leave_body(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_body *body = flight->chain.takes == MG_CHAIN_TAKES_REQUEST ? &x->request_body : &x->response_body;

    body->sink = NULL;
    drain_ends(flight);
}

bool mg_chain_lacks_rest(mg_flight *flight, int which)
{
    mg_gather *gather = &flight->chain.call->bodies[which];
    const mg_body *body = which == MG_REQUEST ? &flight->x->request_body : &flight->x->response_body;

    if (!gather->text.n || gather->state != MG_GATHER_PART)
        return false;
    if (body->ended) /* with nobody listening */
        mg_gather_end(gather);
    return body->source && !body->ended;
}

void mg_chain_copy_moved(mg_flight *flight)
{
    mg_loop *loop = loop_of(flight);
    const mg_call *call = flight->chain.call;

    if (flight->chain.state == MG_CHAIN_WAITS && call->wait == MG_WAIT_BODY && call->next_called &&
        call->wait_which == MG_REQUEST && !flight->chain.takes)
        mg_timer_set(loop, &flight->chain.timer, mg_loop_now(loop));
}
