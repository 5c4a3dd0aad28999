/* proxy.h - the upstream side of a request: an errand (gateway/request/errand.h) whose answer its client
 * gets. On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_PROXY_H
#define MG_GATEWAY_REQUEST_PROXY_H

#include "gateway/request/errand.h"

typedef struct mg_flight mg_flight;

/* Of proxy.c. */
typedef struct mg_proxy {
    mg_errand errand; /* the upstream side */
    bool proxied;     /* a response head of an upstream is in x->response */
} mg_proxy;

/* Sends the request to its service, which answers with a response in x->response, or fails: NEXT of the
 * chain goes on, or the response is sent. Once a flight. */
void mg_proxy_start(mg_flight *flight);
/* No more of it: what its response still has is not wanted, what was held is given back. Harmless when there
 * is nothing. x->reset says whether the client has left. */
void mg_proxy_stop(mg_flight *flight);
/* Bytes of the request's body are gone that no other connection can be given. */
void mg_proxy_body_taken(mg_flight *flight);

#endif
