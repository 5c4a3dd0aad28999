/* host.h - what a worker lends to the VMs it runs: its loop and what all workers share. The mg_host of
 * moongate.h. */
#ifndef MG_GATEWAY_HOST_H
#define MG_GATEWAY_HOST_H

#include "base/rand.h"
#include "gateway/shared.h"
#include "moongate.h"
#include "net/loop.h"

struct mg_host {
    mg_loop *loop;     /* borrowed: the worker's; NULL where plugins are only checked */
    mg_shared *shared; /* borrowed: the gateway's */
    unsigned worker;   /* index of this worker, for cells with one writer */
    const mg_clock *clock;
    mg_log *log;
    uint64_t reserved;                       /* how often plugins have: numbers their reservations */
    mg_rand *rand;                           /* borrowed: the worker's; of ctx:new_id. NULL: the system's */
    char fields[2][MG_LIMITER_HEADER_BYTES]; /* what mg_host_limit_fields answers with */
};

/* What Lua sees of a limiter's answer. */
void mg_limit_view_fill(mg_limit_view *view, const mg_limiter *limiter, const mg_limiter_answer *answer);

#endif
