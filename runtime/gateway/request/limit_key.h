/* limit_key.h - from a request to the text by which it is told from others: the key of a limiter, or of
 * whatever else keeps who belongs together in one place. */
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
