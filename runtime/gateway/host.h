/* host.h - what a worker lends to the VMs it runs: its loop and what all workers share. The mg_host of
 * moongate.h. */
#ifndef MG_GATEWAY_HOST_H
#define MG_GATEWAY_HOST_H

#include "base/rand.h"
#include "gateway/shared.h"
#include "http/header.h"
#include "moongate.h"
#include "net/loop.h"

enum { MG_HOST_NAMES = 64, MG_HOST_NAME_BYTES = 32 };

/* The name of a field that plugins have used in lower case. */
typedef struct mg_host_name {
    uint32_t n; /* 0: nothing stands here */
    mg_name id;
    char text[MG_HOST_NAME_BYTES];
} mg_host_name;

struct mg_host {
    mg_loop *loop;     /* borrowed: the worker's; NULL where plugins are only checked */
    mg_shared *shared; /* borrowed: the gateway's */
    unsigned worker;   /* index of this worker, for cells with one writer */
    const mg_clock *clock;
    mg_log *log;
    uint64_t reserved;                       /* how often plugins have: numbers their reservations */
    mg_rand *rand;                           /* borrowed: the worker's; of ctx:new_id. NULL: the system's */
    char fields[2][MG_LIMITER_HEADER_BYTES]; /* what mg_host_limit_fields answers with */
    mg_host_name names[MG_HOST_NAMES];       /* where the text of a plugin's constant stands says which */
};

#endif
