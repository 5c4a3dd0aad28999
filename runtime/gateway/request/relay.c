/* relay.c - from one body to another. */
#include "gateway/request/relay.h"

#include "base/mem.h"

void mg_relay_cut(mg_relay *relay)
{
    if (!relay->from)
        return;
    if (relay->from->sink == &relay->sink)
        relay->from->sink = NULL;
    if (relay->to->source == &relay->source)
        relay->to->source = NULL;
    relay->from = NULL;
}

static void end(mg_relay *relay)
{
    mg_relay_cut(relay);
    if (relay->over)
        relay->over(relay);
}

static size_t on_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_body *to = mg_container_of(sink, mg_relay, sink)->to;
    const size_t taken = to->sink ? to->sink->data(to->sink, bytes, n) : 0;

    to->bytes += taken;
    return taken;
}

static int64_t on_move(mg_body_sink *sink, struct mg_stream *from, uint64_t n)
{
    mg_body *to = mg_container_of(sink, mg_relay, sink)->to;
    const int64_t moved = to->sink && to->sink->move ? to->sink->move(to->sink, from, n) : MG_MOVE_NOT;

    if (moved > 0)
        to->bytes += (uint64_t)moved;
    return moved;
}

static void on_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_relay *relay = mg_container_of(sink, mg_relay, sink);
    mg_body *to = relay->to;

    to->ended = true;
    end(relay);
    if (to->sink)
        to->sink->end(to->sink, trailers);
}

static void on_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_relay *relay = mg_container_of(sink, mg_relay, sink);
    mg_body *to = relay->to;

    if (!relay->x->reset)
        relay->x->reset = reason;
    end(relay);
    if (to->sink)
        to->sink->reset(to->sink, reason);
}

static void on_resume(mg_body_source *source)
{
    mg_body *from = mg_container_of(source, mg_relay, source)->from;

    if (from->source)
        from->source->resume(from->source);
}

static void on_stop(mg_body_source *source)
{
    mg_relay *relay = mg_container_of(source, mg_relay, source);
    mg_body_source *outer = relay->from->source;

    end(relay);
    if (outer)
        outer->stop(outer);
}

void mg_relay_start(mg_relay *relay, mg_body *from, mg_exchange *x, mg_body *to)
{
    relay->sink = (mg_body_sink){ on_data, on_end, on_reset, on_move };
    relay->source = (mg_body_source){ on_resume, on_stop };
    relay->from = from;
    relay->x = x;
    relay->to = to;
    from->sink = &relay->sink;
    to->source = &relay->source;
    to->ended = false;
}
