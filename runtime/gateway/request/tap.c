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

static mg_call_buffer *buffer_of(const mg_flight *flight)
{
    return &flight->chain.call->bodies[MG_REQUEST];
}

/* It is not kept, and not read for the plugin's sake. */
static void give_up(mg_flight *flight)
{
    mg_call_buffer *buffer = buffer_of(flight);

    buffer->too_large = true;
    mg_text_fini(&buffer->text);
    buffer->text = (mg_text){ 0 };
    if (flight->chain.takes == MG_CHAIN_TAKES_REQUEST) /* behind next, for the plugin alone */
        mg_chain_leave_body(flight);
}

static void on_data(mg_body_tap *made, const char *bytes, size_t n)
{
    mg_flight *flight = mg_container_of(made, tap, tap)->flight;
    mg_call_buffer *buffer = buffer_of(flight);

    if (buffer->text.n + n <= buffer->max_bytes) {
        mg_text_add(&buffer->text, (mg_str){ bytes, n });
        return;
    }
    mg_tap_stop(flight);
    give_up(flight);
    mg_chain_copy_moved(flight);
}

static void on_end(mg_body_tap *made)
{
    mg_flight *flight = mg_container_of(made, tap, tap)->flight;

    mg_tap_stop(flight);
    buffer_of(flight)->complete = true;
    mg_chain_copy_moved(flight);
}

void mg_tap_start(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_call_buffer *buffer = buffer_of(flight);

    if (!buffer->max_bytes || buffer->complete || buffer->replaced)
        return;
    if (!x->request_body.source) {
        buffer->complete = true;
        return;
    }
    if (x->request.body == MG_BODY_LENGTH && x->request.length > buffer->max_bytes) {
        buffer->too_large = true;
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
