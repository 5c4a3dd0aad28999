/* call_http.h - what a waiting chain waits for outside its own exchange: ctx.http. The
 * worker's loop only. */
#ifndef MG_GATEWAY_REQUEST_CALL_HTTP_H
#define MG_GATEWAY_REQUEST_CALL_HTTP_H

#include "gateway/request/call.h"

typedef struct mg_flight mg_flight;

/* Does what a chain that waits with MG_WAIT_HTTP waits for; the flight is resumed when it is there or has
 * failed. */
void mg_call_http_run(mg_call *call);
/* The chain is over: nothing of its outgoing requests may come back. What an answer passes on stays. Harmless
 * when there is none. */
void mg_call_http_cancel(mg_call *call);
/* The exchange is over: that goes, too. */
void mg_call_http_fini(mg_flight *flight);
/* When the wait that begins must be over. */
uint64_t mg_call_http_deadline(mg_call *call);
/* That moment has come; or the plugin's own timeout has, before it. */
void mg_call_http_expire(mg_call *call, bool by_plugin);

#endif
