/* body_back.c - bodies that a plugin has taken into memory, or made, as sources. */
#include "gateway/request/body_back.h"

#include "base/mem.h"
#include "gateway/request/flight.h"

/* What a plugin took into memory goes on from there. */
void mg_body_back_request(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_gather *body = &flight->chain.call->bodies[MG_REQUEST];

    if (!mg_gather_is_there(body))
        return;
    if (x->request_body.source && body->state == MG_GATHER_REPLACED)
        x->request_body.source->stop(x->request_body.source);
    x->request.body = body->text.n || x->request.body != MG_BODY_NONE ? MG_BODY_LENGTH : MG_BODY_NONE;
    x->request.length = body->text.n;
    x->body_is_here = true;
    x->request_body.ended = body->text.n == 0;
    x->request_body.sink = NULL;
    if (body->text.n) {
        mg_bytes_source *bytes = MG_ARENA_NEW(&x->arena, mg_bytes_source);
        mg_bytes_source_init(bytes, &x->request_body, mg_text_str(&body->text));
    }
}

/* Filters see it, as if it had come in one piece. */
void mg_body_back_response(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_gather *body = &flight->chain.call->bodies[MG_RESPONSE];

    if (!mg_exchange_has_body(x) || !mg_gather_is_there(body))
        return;
    if (body->state == MG_GATHER_REPLACED)
        mg_proxy_stop(flight);
    x->response.body = MG_BODY_LENGTH;
    x->response.length = body->text.n;
    mg_bytes_source_init(&flight->back.bytes, &x->response_body, mg_text_str(&body->text));
}

void mg_body_back_own(mg_flight *flight)
{
    mg_exchange *x = flight->x;

    if (!x->response_body.sink)
        return;
    mg_bytes_source_init(&flight->back.bytes, &x->response_body, x->own_body);
    flight->back.bytes.source.resume(&flight->back.bytes.source);
}

void mg_body_back_keep(mg_flight *flight, mg_call *call)
{
    for (int which = MG_REQUEST; which <= MG_RESPONSE; which++) {
        mg_text_fini(&flight->back.kept[which]);
        flight->back.kept[which] = call->bodies[which].text;
    }
}

void mg_body_back_fini(mg_flight *flight)
{
    mg_text_fini(&flight->back.kept[MG_REQUEST]);
    mg_text_fini(&flight->back.kept[MG_RESPONSE]);
}
