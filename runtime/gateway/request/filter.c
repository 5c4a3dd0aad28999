/* filter.c - streamed bodies through Lua. */
#include "gateway/request/filter.h"

#include "base/mem.h"
#include "gateway/request/pipeline.h"

enum { CHUNK_MAX = 16 << 20 };

bool mg_call_chunk(const mg_call *call, mg_slice *bytes)
{
    *bytes = (mg_slice){ call->chunk.p ? call->chunk.p : "", (uint32_t)call->chunk.n };
    return call->chunk_last;
}

const char *mg_call_set_chunk(mg_call *call, const char *bytes, uint32_t n)
{
    if (n > CHUNK_MAX)
        return "a filter makes at most 16 MiB of one piece";
    mg_text_clear(&call->chunk_out);
    mg_text_add(&call->chunk_out, (mg_str){ bytes, n });
    call->chunk_replaced = true;
    return NULL;
}

/* Of both bodies: their filters are one chain's. From off nothing leads on. */
static void move(mg_flight *flight, mg_filter_state to)
{
    for (int which = MG_REQUEST; which <= MG_RESPONSE; which++) {
        mg_filter_state *state = &flight->filters.state[which];
        if (*state != MG_FILTER_NONE && *state < to)
            *state = to;
    }
}

static bool is_on(const mg_filter *filter)
{
    return filter->flight->filters.state[filter->which] == MG_FILTER_ON;
}

static void on_raised(mg_later *later)
{
    mg_flight *flight = mg_container_of(later, mg_flight, filters.raised);

    mg_chain_abort(flight, mg_refusals[MG_REFUSED_PLUGIN_ERROR].error);
    mg_pipeline_refuse(flight, MG_REFUSED_PLUGIN_ERROR);
}

/* The piece as the filters leave it, in `held`. False when one raised: the exchange ends behind this turn,
 * for its sources and sinks are on the stack. */
static bool run(mg_filter *filter, mg_str piece, bool last)
{
    mg_flight *flight = filter->flight;
    mg_call *call = flight->chain.call;
    mg_task_error error;

    call->chunk = piece;
    call->chunk_last = last;
    call->chunk_replaced = false;
    call->phase = MG_PHASE_FILTER;
    const mg_task_state state =
        mg_task_aside(flight->chain.task, filter->which ? MG_ASIDE_RESPONSE : MG_ASIDE_REQUEST, &error);
    call->phase = MG_PHASE_CHAIN;
    call->chunk = MG_STR_NONE;
    if (state == MG_TASK_RAISED) {
        mg_chain_log_error(flight, &error);
        move(flight, MG_FILTER_RAISED);
        flight->filters.raised.run = on_raised;
        mg_later_add(flight->worker->loop, &flight->filters.raised);
        return false;
    }
    if (!call->chunk_replaced && piece.n)
        (void)mg_call_set_chunk(call, piece.p, (uint32_t)piece.n);
    filter->held = MG_STR_NONE;
    if (call->chunk_replaced) { /* the next piece may be the other direction's, or come behind the chain's end
                                 */
        const mg_text spare = filter->out;
        filter->out = call->chunk_out;
        call->chunk_out = spare;
        filter->held = mg_text_str(&filter->out);
    }
    return true;
}

/* True when nothing is held any more. Otherwise our source stands before the body's own until the sink has
 * room. */
static bool push(mg_filter *filter)
{
    while (filter->held.n) {
        const size_t taken = filter->inner->data(filter->inner, filter->held.p, filter->held.n);
        filter->held = mg_str_sub(filter->held, taken, filter->held.n);
        if (!taken)
            break;
    }
    if (filter->held.n && filter->body->source != &filter->source) {
        filter->outer = filter->body->source;
        filter->body->source = &filter->source;
    }
    return filter->held.n == 0;
}

static void finish(mg_filter *filter)
{
    filter->body->source = NULL;
    filter->body->ended = true;
    filter->inner->end(filter->inner, filter->trailers.count ? &filter->trailers : NULL);
}

/* A piece has gone through in this turn, and the plugins took so long that the next waits for the next turn.
 */
static bool is_put_off(const mg_filter *filter)
{
    mg_loop *loop = filter->flight->worker->loop;

    return filter->ran_ns == mg_loop_now(loop) && mg_loop_is_late(loop);
}

static void on_later(mg_later *later)
{
    mg_filter *filter = mg_container_of(later, mg_filter, later);

    if (filter->body->source && !filter->held.n)
        filter->body->source->resume(filter->body->source);
}

static size_t on_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_filter *filter = mg_container_of(sink, mg_filter, sink);

    if (!is_on(filter))
        return n;
    if (filter->which == MG_REQUEST)
        mg_proxy_body_taken(filter->flight); /* what has gone past plugins cannot be sent again */
    if (filter->held.n)
        return 0;
    if (is_put_off(filter)) {
        mg_later_add(filter->flight->worker->loop, &filter->later);
        return 0;
    }
    filter->ran_ns = mg_loop_now(filter->flight->worker->loop);
    n = mg_min_u64(n, CHUNK_MAX); /* of a body in memory, which comes at once */
    if (run(filter, (mg_str){ bytes, n }, false))
        (void)push(filter);
    return n;
}

static void on_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_filter *filter = mg_container_of(sink, mg_filter, sink);
    mg_text before = { 0 };

    filter->outer = NULL; /* it has ended, and may serve another exchange */
    if (!is_on(filter))
        return;
    if (trailers)
        filter->trailers = *trailers; /* its fields are in the exchange's arena */
    if (filter->held.n)
        mg_text_add(&before, filter->held);
    if (!run(filter, MG_STR_NONE, true)) {
        mg_text_fini(&before);
        return;
    }
    if (before.n) { /* what was held goes before the last piece */
        mg_text_add(&before, filter->held);
        mg_text_fini(&filter->out);
        filter->out = before;
        filter->held = mg_text_str(&filter->out);
    }
    filter->ended = true;
    if (push(filter)) {
        finish(filter);
        return;
    }
    filter->outer = NULL;
    filter->body->ended = false;
}

static void on_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_filter *filter = mg_container_of(sink, mg_filter, sink);

    if (filter->body->source == &filter->source)
        filter->body->source = NULL;
    filter->outer = NULL;
    filter->inner->reset(filter->inner, reason);
}

static void on_resume(mg_body_source *source)
{
    mg_filter *filter = mg_container_of(source, mg_filter, source);
    mg_body_source *outer = filter->outer;

    if (!push(filter))
        return;
    if (filter->ended) {
        finish(filter);
        return;
    }
    filter->outer = NULL;
    filter->body->source = outer;
    if (outer)
        outer->resume(outer);
}

static void on_stop(mg_body_source *source)
{
    mg_filter *filter = mg_container_of(source, mg_filter, source);
    mg_body_source *outer = filter->outer;

    filter->outer = NULL;
    filter->body->source = outer;
    if (outer)
        outer->stop(outer);
}

void mg_filter_begin(mg_flight *flight, unsigned streams)
{
    for (int which = MG_REQUEST; which <= MG_RESPONSE; which++)
        if (streams & 1u << which)
            flight->filters.state[which] = MG_FILTER_ON;
}

void mg_filter_end(mg_flight *flight)
{
    move(flight, MG_FILTER_OFF);
}

void mg_filter_insert(mg_flight *flight, int which, mg_body *body)
{
    mg_filter *filter = &flight->filters.of[which];
    const mg_text out = filter->out;

    mg_later_cancel(&filter->later); /* of a try before */
    *filter = (mg_filter){ .out = out,
                           .sink = { on_data, on_end, on_reset, NULL },
                           .source = { on_resume, on_stop },
                           .later = { .run = on_later },
                           .inner = body->sink,
                           .body = body,
                           .flight = flight,
                           .which = which };
    body->sink = &filter->sink;
}

void mg_filter_fini(mg_flight *flight)
{
    mg_later_cancel(&flight->filters.raised);
    for (int which = MG_REQUEST; which <= MG_RESPONSE; which++) {
        mg_later_cancel(&flight->filters.of[which].later);
        mg_text_fini(&flight->filters.of[which].out);
    }
}
