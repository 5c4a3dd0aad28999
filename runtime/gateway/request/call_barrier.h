/* call_barrier.h - ctx.kv:barrier as a waiting chain has it. On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_CALL_BARRIER_H
#define MG_GATEWAY_REQUEST_CALL_BARRIER_H

#include "gateway/request/call.h"

/* Asks the key-value store to tell when all that was written is durable. */
void mg_call_barrier_run(mg_call *call);
/* Nobody waits for it any more. */
void mg_call_barrier_cancel(mg_call *call);

#endif
