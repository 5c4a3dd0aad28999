/* call_http.h - what a waiting chain waits for outside its own exchange: ctx.http and ctx.kv:barrier. The
 * worker's loop only. */
#ifndef MG_GATEWAY_CALL_HTTP_H
#define MG_GATEWAY_CALL_HTTP_H

#include "gateway/call.h"

/* Sends what mg_call_http_start prepared; the flight is resumed when the answer is whole or has failed. */
void mg_call_http_run(mg_call *call);
/* The exchange or its wait is over: nothing of an outgoing request may come back. Harmless when there is
 * none. */
void mg_call_http_cancel(mg_call *call);
/* When the outgoing request that was prepared must be over, its body too. */
uint64_t mg_call_http_deadline(const mg_call *call);
/* That moment has come. */
void mg_call_http_expire(mg_call *call);
/* Asks the key-value store to tell when all that was written is durable. */
void mg_call_barrier_run(mg_call *call);
/* Nobody waits for it any more. */
void mg_call_barrier_cancel(mg_call *call);

#endif
