/* tap.h - a request's body that a plugin declared to hold, and that nobody had asked for when it went to the
 * upstream: a copy is kept on the way, so that ctx.request:body() has it behind next too. One exchange, its
 * worker's thread. */
#ifndef MG_GATEWAY_REQUEST_TAP_H
#define MG_GATEWAY_REQUEST_TAP_H

#include "http/exchange.h"

typedef struct mg_flight mg_flight;

/* The body is about to be sent. Keeps what is taken of it from now on, in the call's buffer, as much as was
 * declared; one that is larger is not kept, and the buffer says so. Nothing where none is declared, or where
 * the buffer has the body already. */
void mg_tap_start(mg_flight *flight);
/* No copy is wanted any more. Harmless when there is none. */
void mg_tap_stop(mg_flight *flight);
/* The client's own source, while a copy is made and not whole yet; else NULL. */
mg_body_source *mg_tap_source(const mg_flight *flight);

#endif
