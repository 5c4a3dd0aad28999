/* pipeline.h - the life of a request: the steps, each naming the next. The owner of every exchange of a
 * worker's doors. On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_PIPELINE_H
#define MG_GATEWAY_REQUEST_PIPELINE_H

#include "gateway/request/flight.h"

/* What x->owner_self must be when an exchange begins: the mg_worker. */
extern const mg_owner_ops mg_pipeline_owner;

/* What logs have where the client was gone before any status was sent. */
enum { MG_STATUS_CLIENT_GONE = 499 };

/* The flight goes on from there, as far as it can: what it waited for is there. It may be gone when this
 * returns. */
void mg_pipeline_go(mg_flight *flight, mg_way way);
/* A response is there, the upstream's or what stands in for it: handlers behind next() go on, or it is sent. */
void mg_pipeline_answered(mg_flight *flight);
/* Answers with the reason's problem document, unless the head is out: then the response is cut. */
void mg_pipeline_refuse(mg_flight *flight, mg_refusal why);
/* The same for a case that its reason's row does not tell in full. */
void mg_pipeline_refuse_as(mg_flight *flight, const mg_refusal_row *row);

#endif
