/* probe_try.h - one check of one endpoint: a GET whose answer's status decides, or a connection. Nothing of
 * it is kept open. On one loop, the control thread's. */
#ifndef MG_GATEWAY_SERVICE_PROBE_TRY_H
#define MG_GATEWAY_SERVICE_PROBE_TRY_H

#include "config/config.h"
#include "gateway/service/service.h"
#include "net/account.h"
#include "net/net.h"

enum { MG_PROBE_BODY_MAX = 4096 }; /* a longer answer tells no load */

typedef struct mg_probe_try mg_probe_try;

typedef struct mg_probe_verdict {
    bool ok;     /* a 2xx or 3xx; a connection */
    bool loaded; /* `load` was told: a JSON object with all of its members, in whatever range */
    mg_probe_load load;
    char reason[64]; /* "answered 503", "no answer within 1000 ms" */
} mg_probe_verdict;

/* Nothing of what is given is needed once this returns, but net and accounts (borrowed). `done` is called
 * once, from the loop with nobody else on the stack, unless the check is freed before; it is to free it.
 * Without an address (NULL) it fails for that. */
mg_probe_try *mg_probe_try_start(mg_net *net, mg_accounts *accounts, const mg_config_health *conf,
                                 mg_str authority, const mg_addr *addr,
                                 void (*done)(void *self, const mg_probe_verdict *verdict), void *self);
void mg_probe_try_free(mg_probe_try *probe); /* NULL is fine */

#endif
