/* proxy.h - the upstream side of a request: an errand (gateway/request/errand.h) whose answer its client
 * gets. On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_PROXY_H
#define MG_GATEWAY_REQUEST_PROXY_H

#include "gateway/request/errand.h"

typedef struct mg_flight mg_flight;

/* What the upstream side has said. */
typedef enum mg_proxy_state {
    MG_PROXY_UNASKED,
    MG_PROXY_ASKED,
    MG_PROXY_ANSWERED, /* the head of a response, which no other try replaces */
    MG_PROXY_FAILED,   /* there is none */
} mg_proxy_state;

/* Of proxy.c. */
typedef struct mg_proxy {
    mg_errand errand; /* the upstream side */
    mg_proxy_state state;
} mg_proxy;

/* Sends the request to its service, which answers with a response in x->response, or fails: a problem document
 * stands there then. mg_pipeline_answered is called when that is so, perhaps before this returns. Once a
 * flight. */
void mg_proxy_start(mg_flight *flight);
/* No more of it: what its response still has is not wanted, what was held is given back. Harmless when there
 * is nothing. x->reset says whether the client has left. */
void mg_proxy_stop(mg_flight *flight);
/* Bytes of the request's body are gone that no other connection can be given. */
void mg_proxy_body_taken(mg_flight *flight);

#endif
