/* limit_key.h - builds the key of a request, such as "203.0.113.9/32", for a limiter, a plugin's mg.key or a
 * sticky split. On the thread of the worker that serves the request. */
#ifndef MG_GATEWAY_REQUEST_LIMIT_KEY_H
#define MG_GATEWAY_REQUEST_LIMIT_KEY_H

#include "config/config_key.h"
#include "http/message.h"

typedef enum mg_limit_key_result {
    MG_LIMIT_KEY_FOUND,
    MG_LIMIT_KEY_SKIP, /* a part is missing, and the rule is not for such requests */
    MG_LIMIT_KEY_DENY, /* a part is missing, and the rule refuses such requests */
} mg_limit_key_result;

/* The request whose key is read. Borrowed. */
typedef struct mg_limit_asker {
    const mg_request *request;
    mg_arena *arena; /* of what has to be made: joined values, prefixes */
    mg_str client, consumer, route;
} mg_limit_asker;

/* One part; without text when the request lacks it. The request's or the arena's. `key` may be NULL unless the
 * part is the address. */
mg_str mg_limit_key_part(const mg_limit_asker *asker, const mg_config_key *key,
                         const mg_config_key_part *part);
/* The key of a rule. The text is the request's or the arena's. */
mg_limit_key_result mg_limit_key(const mg_limit_asker *asker, const mg_config_key *key, mg_str *text);

#endif
