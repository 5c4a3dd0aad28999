/* deadline.h - how long is left (docs/policies.md 7). A deadline is set once and handed on smaller. Pure: any
 * thread. */
#ifndef MG_POLICY_DEADLINE_H
#define MG_POLICY_DEADLINE_H

#include "base/str.h"

enum { MG_DEADLINE_NONE = -1 };

typedef struct mg_deadline_conf {
    uint32_t hop_milli; /* 500..1000: what of the time left the next hop gets; the rest is for answering */
    uint64_t min_ms;    /* under it nothing is sent */
} mg_deadline_conf;

void mg_deadline_conf_defaults(mg_deadline_conf *conf);

/* grpc-timeout in ms, rounded down: 1 to 8 digits and one of H M S m u n. MG_DEADLINE_NONE when it is not. */
int64_t mg_deadline_grpc_ms(mg_str value);
/* Writes ms as a grpc-timeout; returns its length. */
size_t mg_deadline_grpc_write(char out[12], uint64_t ms);

/* What the next hop gets of that; 0: too little to send anything. */
uint64_t mg_deadline_child_ms(const mg_deadline_conf *conf, uint64_t left_ms);

#endif
