/* replay.c - request bodies for more than one try.
 *
 * While bytes flow, `sink` stands behind the filters and before the connection, and keeps a copy of what the
 * connection takes; it never holds anything back, so that the connection's own "resume" reaches the source.
 * For the next try, `source` stands in the body's place until the kept bytes are sent, and `gate` before the
 * filters takes nothing meanwhile, but hears that the body has ended. */
#include "gateway/request/replay.h"

#include "base/mem.h"
#include "gateway/request/flight.h"

struct mg_replay {
    mg_body_sink sink, gate;
    mg_body_source source;
    mg_body_sink *inner; /* borrowed: the connection's; NULL between tries */
    mg_body_source
        *outer;        /* borrowed: the body's own, while ours stands in its place; NULL once it has ended */
    mg_flight *flight; /* borrowed */
    mg_text kept;      /* owned: a held buffer of the net */
    size_t sent;       /* of what is kept, in this try */
    mg_fields trailers, gate_trailers; /* their fields are in the exchange's arena */
    mg_str whole;                      /* borrowed: a body that is in memory anyway; else {NULL, 0} */
    bool ended;                        /* the body has, behind the filters: no more than what is kept */
    bool gate_ended;                   /* it has, before them, while the kept bytes were on their way */
    bool let_go;                       /* more was sent than is kept */
    bool last_try;
    bool filtered; /* the filters stand before us */
};

static mg_body *body_of(const mg_replay *replay)
{
    return &replay->flight->x->request_body;
}

static mg_net *net_of(const mg_replay *replay)
{
    return &replay->flight->worker->net;
}

static bool stands_in(const mg_replay *replay)
{
    return body_of(replay)->source == &replay->source;
}

/* ---- keeping ---- */

static void drop(mg_replay *replay)
{
    mg_net_drop(net_of(replay), &replay->kept, replay->kept.n);
}

/* Twice as much each time, so that a body of small pieces is not copied over and over. */
static void make_room(mg_replay *replay, size_t n)
{
    mg_net *net = net_of(replay);
    mg_text *kept = &replay->kept;
    const size_t cap = mg_net_hold_open(net, kept);

    if (cap - kept->n >= n)
        return;
    kept->cap = mg_max_u64(kept->n + n, 2 * cap);
    kept->p = mg_realloc(kept->p, kept->cap);
    mg_net_grew(net, kept, cap);
}

static void keep(mg_replay *replay, const char *bytes, size_t n)
{
    if (replay->let_go || replay->last_try || !n)
        return;
    if (replay->kept.n + n > MG_REPLAY_BYTES || net_of(replay)->held > MG_REPLAY_NET_BYTES) {
        replay->let_go = true;
        drop(replay);
        return;
    }
    make_room(replay, n);
    memcpy(replay->kept.p + replay->kept.n, bytes, n);
    replay->kept.n += n;
}

static size_t on_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_replay *replay = mg_container_of(sink, mg_replay, sink);
    const size_t taken = replay->inner->data(replay->inner, bytes, n);

    keep(replay, bytes, taken);
    return taken;
}

/* Once no copy is wanted any more. */
static int64_t on_move(mg_body_sink *sink, struct mg_stream *from, uint64_t n)
{
    mg_replay *replay = mg_container_of(sink, mg_replay, sink);
    mg_body_sink *inner = replay->inner;

    if ((!replay->let_go && !replay->last_try) || !inner->move)
        return MG_MOVE_NOT;
    return inner->move(inner, from, n);
}

static void on_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_replay *replay = mg_container_of(sink, mg_replay, sink);

    replay->ended = true;
    if (trailers)
        replay->trailers = *trailers;
    replay->inner->end(replay->inner, trailers);
}

static void on_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_replay *replay = mg_container_of(sink, mg_replay, sink);

    replay->inner->reset(replay->inner, reason);
}

/* ---- the kept bytes first ---- */

/* The body's bytes go through the filters, and us behind them. */
static void open_way(mg_replay *replay)
{
    mg_flight *flight = replay->flight;
    mg_body *body = body_of(replay);

    body->sink = &replay->sink;
    if (replay->filtered) {
        body->sink = &flight->filters.of[MG_REQUEST].sink;
    } else if (mg_filter_is_on(&flight->filters, MG_REQUEST)) {
        mg_filter_insert(flight, MG_REQUEST, body);
        replay->filtered = true;
    }
}

static void stand_in(mg_replay *replay)
{
    mg_body *body = body_of(replay);

    if (!stands_in(replay)) {
        replay->outer = body->source;
        if (body->ended) /* with nobody listening: it had no bytes more */
            replay->ended = true;
    }
    body->source = &replay->source;
    body->ended = false;
    body->sink = &replay->gate;
}

static void end_body(mg_replay *replay, mg_body_sink *sink, const mg_fields *trailers)
{
    mg_body *body = body_of(replay);

    body->source = NULL;
    body->ended = true;
    sink->end(sink, trailers->count ? trailers : NULL);
}

/* The kept bytes are sent: the rest, if there is any. */
static void hand_over(mg_replay *replay)
{
    mg_body *body = body_of(replay);
    mg_body_source *outer = replay->outer;

    if (replay->last_try)
        drop(replay);
    replay->outer = NULL;
    if (replay->ended) {
        end_body(replay, replay->inner, &replay->trailers);
        return;
    }
    body->source = outer;
    open_way(replay);
    if (replay->gate_ended)
        end_body(replay, body->sink, &replay->gate_trailers);
    else if (outer)
        outer->resume(outer);
}

static void on_resume(mg_body_source *source)
{
    mg_replay *replay = mg_container_of(source, mg_replay, source);

    while (replay->sent < replay->kept.n) {
        const size_t taken =
            replay->inner->data(replay->inner, replay->kept.p + replay->sent, replay->kept.n - replay->sent);
        replay->sent += taken;
        if (!taken || !stands_in(replay))
            return;
    }
    hand_over(replay);
}

static void on_stop(mg_body_source *source)
{
    mg_replay *replay = mg_container_of(source, mg_replay, source);
    mg_body *body = body_of(replay);
    mg_body_source *outer = replay->outer;

    replay->outer = NULL;
    body->source = outer;
    body->sink = NULL;
    if (outer)
        outer->stop(outer);
}

static size_t gate_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    (void)sink;
    (void)bytes;
    (void)n;
    return 0;
}

static void gate_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_replay *replay = mg_container_of(sink, mg_replay, gate);
    mg_body *body = body_of(replay);

    replay->gate_ended = true;
    if (trailers)
        replay->gate_trailers = *trailers;
    replay->outer = NULL; /* it has ended, and may serve another exchange */
    body->source = &replay->source;
    body->ended = false;
}

static void gate_reset(mg_body_sink *sink, mg_reset reason)
{
    mg_replay *replay = mg_container_of(sink, mg_replay, gate);

    replay->outer = NULL;
    body_of(replay)->source = NULL;
    if (replay->inner)
        replay->inner->reset(replay->inner, reason);
}

/* ---- for the pipeline ---- */

/* Where the chain has put a body that it took into memory back, and no filter changes it any more. */
static mg_str whole_body(const mg_flight *flight)
{
    const mg_gather *body = flight->chain.call ? &flight->chain.call->bodies[MG_REQUEST] : NULL;

    if (!body || mg_filter_is_for(&flight->filters, MG_REQUEST) || !mg_gather_is_there(body))
        return MG_STR_NONE;
    return mg_text_str(&body->text);
}

void mg_replay_begin(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (!x->request_body.source || flight->replay)
        return;
    flight->replay = MG_ARENA_NEW(&x->arena, mg_replay);
    *flight->replay = (mg_replay){
        .sink = { on_data, on_end, on_reset, on_move },
        .gate = { gate_data, gate_end, gate_reset, NULL },
        .source = { on_resume, on_stop },
        .flight = flight,
        .whole = whole_body(flight),
    };
}

void mg_replay_sending(mg_flight *flight)
{
    mg_replay *replay = flight->replay;
    mg_body *body = &flight->x->request_body;

    if (!replay || replay->whole.n) {
        if (mg_filter_is_on(&flight->filters, MG_REQUEST))
            mg_filter_insert(flight, MG_REQUEST, body);
        return;
    }
    replay->inner = body->sink;
    replay->sent = 0; /* the connection has just been given the head: all is due */
    if (!stands_in(replay) && !replay->kept.n) {
        open_way(replay);
        return;
    }
    stand_in(replay);
    mg_proxy_body_taken(flight); /* the connection is not replaced behind our back, deaf to the body's end */
}

bool mg_replay_held(const mg_flight *flight)
{
    if (!flight->replay)
        return !flight->proxy.errand.lease.body_taken;
    return !flight->replay->let_go && !flight->replay->last_try;
}

void mg_replay_rewind(mg_flight *flight)
{
    mg_replay *replay = flight->replay;
    mg_exchange *x = flight->x;

    if (!replay)
        return;
    if (replay->kept.n || replay->whole.n)
        x->request.expect_continue = false; /* the client was told to go on, and did */
    if (replay->whole.n) {
        mg_bytes_source *bytes = MG_ARENA_NEW(&x->arena, mg_bytes_source);
        mg_bytes_source_init(bytes, &x->request_body, replay->whole);
        x->request_body.sink = NULL;
        return;
    }
    replay->inner = NULL;
    replay->sent = 0;
    stand_in(replay);
}

void mg_replay_end(mg_flight *flight)
{
    mg_replay *replay = flight->replay;

    if (!replay)
        return;
    replay->last_try = true;
    if (!stands_in(replay))
        drop(replay);
}

void mg_replay_fini(mg_flight *flight)
{
    if (!flight->replay)
        return;
    drop(flight->replay);
    flight->replay = NULL;
}
