/* tap.c - a copy of a request's body, made while it passes. */
#include "gateway/request/tap.h"

#include "base/mem.h"
#include "gateway/request/flight.h"

typedef struct tap {
    mg_body_tap tap;
    mg_body_source *source; /* borrowed: the client's; others may stand in its place meanwhile */
    mg_flight *flight;      /* borrowed */
} tap;

static tap *tap_of(const mg_flight *flight)
{
    mg_body_tap *made = flight->x->request_body.tap;

    return made ? mg_container_of(made, tap, tap) : NULL;
}

static mg_gather *gather_of(const mg_flight *flight)
{
    return &flight->chain.call->bodies[MG_REQUEST];
}

/* One that is too large is not kept: the plugin hears that. */
static void on_data(mg_body_tap *made, const char *bytes, size_t n)
{
    mg_flight *flight = mg_container_of(made, tap, tap)->flight;

    if (mg_gather_add(gather_of(flight), (mg_str){ bytes, n }))
        return;
    mg_tap_stop(flight);
    mg_chain_copy_moved(flight);
}

static void on_end(mg_body_tap *made)
{
    mg_flight *flight = mg_container_of(made, tap, tap)->flight;

    mg_tap_stop(flight);
    mg_gather_end(gather_of(flight));
    mg_chain_copy_moved(flight);
}

void mg_tap_start(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_gather *gather = gather_of(flight);

    if (!gather->max_bytes || gather->state != MG_GATHER_PART)
        return;
    if (!x->request_body.source) {
        mg_gather_end(gather);
        return;
    }
    if (x->request.body == MG_BODY_LENGTH && x->request.length > gather->max_bytes) {
        mg_gather_refuse(gather);
        return;
    }
    tap *made = MG_ARENA_NEW(&x->arena, tap);
    *made = (tap){ { on_data, on_end }, x->request_body.source, flight };
    x->request_body.tap = &made->tap;
}

void mg_tap_stop(mg_flight *flight)
{
    flight->x->request_body.tap = NULL;
}

mg_body_source *mg_tap_source(const mg_flight *flight)
{
    const tap *made = tap_of(flight);

    return made ? made->source : NULL;
}
