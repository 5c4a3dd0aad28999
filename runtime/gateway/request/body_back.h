/* body_back.h - a body that a plugin has taken into memory, or put in the place of the one that came, goes on
 * from there. Nothing where none is in memory. One flight with a call, its worker's thread. */
#ifndef MG_GATEWAY_REQUEST_BODY_BACK_H
#define MG_GATEWAY_REQUEST_BODY_BACK_H

struct mg_flight;

/* Before the request is sent: x->request_body has a source, and the head its length. */
void mg_body_back_request(struct mg_flight *flight);
/* Before the response is sent. Filters see it, as if it had come in one piece. */
void mg_body_back_response(struct mg_flight *flight);

#endif
