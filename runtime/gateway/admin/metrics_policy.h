/* metrics_policy.h - what the policies did and how they stand, for /metrics. On the control loop. */
#ifndef MG_GATEWAY_ADMIN_METRICS_POLICY_H
#define MG_GATEWAY_ADMIN_METRICS_POLICY_H

#include "base/str.h"

typedef struct mg_gateway mg_gateway;

void mg_metrics_policy_write(mg_gateway *gateway, mg_text *out);

#endif
