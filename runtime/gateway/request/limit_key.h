/* limit_key.h - builds the key of a request, such as "ip/203.0.113.9/32", for a limiter, a sticky split or a
 * balancer. On the thread of the worker that serves the request. */
#ifndef MG_GATEWAY_REQUEST_LIMIT_KEY_H
#define MG_GATEWAY_REQUEST_LIMIT_KEY_H

#include "gateway/request/flight.h"

typedef enum mg_limit_key_result {
    MG_LIMIT_KEY_FOUND,
    MG_LIMIT_KEY_SKIP, /* a part is missing, and the rule is not for such requests */
    MG_LIMIT_KEY_DENY, /* a part is missing, and the rule refuses such requests */
} mg_limit_key_result;

/* The key of a rule. The text lives as long as the exchange. */
mg_limit_key_result mg_limit_key(mg_flight *flight, const mg_config_limiter *conf, mg_str *key);

#endif
