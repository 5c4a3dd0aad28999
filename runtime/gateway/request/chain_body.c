/* chain_body.c - bodies that a chain takes into memory, and how they go on from there. */
#include "base/mem.h"
#include "gateway/request/chain_parts.h"
#include "gateway/request/tap.h"

static mg_loop *loop_of(const mg_flight *flight)
{
    return flight->worker->loop;
}

static void body_rests(mg_flight *flight)
{
    mg_exchange_body_rests(flight->x, mg_loop_now(loop_of(flight)));
}

void mg_chain_drop_body(mg_flight *flight)
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

/* Its taker has it, or wants no more of it. */
static void drain_ends(mg_flight *flight)
{
    if (flight->draining == MG_REQUEST)
        body_rests(flight);
    flight->draining = -1;
}

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

void mg_chain_refuse_large(mg_flight *flight, int which)
{
    mg_chain_abort(flight, "body_too_large");
    mg_pipeline_refuse(flight, which == MG_REQUEST ? 413 : 502, "body_too_large",
                       MG_STR("The body is larger than a plugin on this route takes."), -1);
}

static void body_taken(mg_flight *flight)
{
    mg_call_buffer *buffer = &flight->call->bodies[flight->draining];
    const int which = flight->draining;

    drain_ends(flight);
    buffer->complete = true;
    if (buffer->too_large) {
        mg_chain_refuse_large(flight, which);
        return;
    }
    mg_chain_body_is_there(flight);
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
    mg_chain_bound_wait(flight);
    mg_chain_bound_by_plugin(flight);
    return true;
}

void mg_chain_take_body(mg_flight *flight, int which)
{
    mg_exchange *x = flight->x;
    mg_body *body = which == MG_REQUEST ? &x->request_body : &x->response_body;

    mg_chain_hold_rests(flight);
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
        mg_chain_refuse_large(flight, which);
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
    mg_chain_bound_wait(flight);
    if (flight->call->wait == MG_WAIT_BODY)
        mg_chain_bound_by_plugin(flight);
    body->source->resume(body->source);
}

void mg_chain_leave_body(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_body *body = flight->draining == MG_REQUEST ? &x->request_body : &x->response_body;

    body->sink = NULL;
    drain_ends(flight);
}

bool mg_chain_lacks_rest(mg_flight *flight, int which)
{
    mg_call_buffer *buffer = &flight->call->bodies[which];
    const mg_body *body = which == MG_REQUEST ? &flight->x->request_body : &flight->x->response_body;

    if (!buffer->text.n || buffer->complete || buffer->replaced)
        return false;
    buffer->complete = body->ended; /* with nobody listening */
    return body->source && !buffer->complete;
}
