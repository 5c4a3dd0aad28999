/* failure.h - what a client is told when the upstream side fails, and what that counts as. Pure: any
 * thread. */
#ifndef MG_GATEWAY_REQUEST_FAILURE_H
#define MG_GATEWAY_REQUEST_FAILURE_H

#include "gateway/observe/metrics.h"
#include "gateway/observe/refusal.h"
#include "http/exchange.h"

typedef enum mg_failure_kind {
    MG_FAILURE_CUT,
    MG_FAILURE_LATE,
    MG_FAILURE_INNOCENT, /* it says nothing of the host */
    MG_FAILURE_NO_ADDRESS,
} mg_failure_kind;

typedef struct mg_failure {
    mg_refusal refusal;
    mg_upstream_outcome counted;
    mg_failure_kind kind;
} mg_failure;

/* The client took so long to send the body that the time was over. */
extern const mg_failure mg_failure_slow_client;
/* Never NULL. */
const mg_failure *mg_failure_of(mg_reset reason);
/* What ended an answer is the upstream's doing, not its client's or ours. */
bool mg_failure_is_upstreams(mg_reset reason);

#endif
