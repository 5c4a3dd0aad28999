/* body_back.h - a body that a plugin has taken into memory, or put in the place of the one that came, goes on
 * from there. Nothing where none is in memory. One flight with a call, its worker's thread. */
#ifndef MG_GATEWAY_REQUEST_BODY_BACK_H
#define MG_GATEWAY_REQUEST_BODY_BACK_H

#include "gateway/request/call.h"
#include "net/net.h"

typedef struct mg_flight mg_flight;

/* Of body_back.c. */
typedef struct mg_body_back {
    mg_bytes_source bytes; /* of a response body in memory */
    mg_text kept[2];       /* owned: bodies that plugins took, which may still be on their way; by which */
} mg_body_back;

/* Before the request is sent: x->request_body has a source, and the head its length. */
void mg_body_back_request(mg_flight *flight);
/* Before the response is sent. Filters see it, as if it had come in one piece. */
void mg_body_back_response(mg_flight *flight);
/* An answer of the gateway's own or a plugin's has been begun to be sent: its body follows. */
void mg_body_back_own(mg_flight *flight);
/* The slot is given back: what its plugins took stays, as it may still be on its way. */
void mg_body_back_keep(mg_flight *flight, mg_call *call);
/* The exchange is over. */
void mg_body_back_fini(mg_flight *flight);

#endif
