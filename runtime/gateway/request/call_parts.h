/* call_parts.h - what the files that make up mg_call share. Private to call*.c. The worker's own loop. */
#ifndef MG_GATEWAY_REQUEST_CALL_PARTS_H
#define MG_GATEWAY_REQUEST_CALL_PARTS_H

#include "gateway/request/call.h"

static inline mg_slice slice_of(mg_str s)
{
    return (mg_slice){ s.p, (uint32_t)s.n };
}

static inline bool give(mg_str s, mg_slice *out)
{
    if (!s.p)
        return false;
    *out = slice_of(s);
    return true;
}

static inline mg_fields *fields_of(mg_exchange *x, int which)
{
    return which == MG_REQUEST ? &x->request.fields : &x->response.fields;
}

static inline const char *no_response(const mg_call *call, int which)
{
    if (which == MG_RESPONSE && call->x->response.status == 0)
        return "there is no response yet: it is there after next(ctx) or ctx:respond";
    return NULL;
}

/* Why a head and its body cannot be changed any more, or NULL. A filter runs while they are on their way,
 * whatever the handlers wait for meanwhile. */
static inline const char *too_late(const mg_call *call, int which)
{
    if (which == MG_RESPONSE && (call->x->head_sent || call->phase == MG_PHASE_FILTER))
        return "the response is on its way: change it in the handler, after next(ctx)";
    if (call->phase == MG_PHASE_LOG)
        return "the request is over: log(ctx) only looks";
    return which == MG_REQUEST && call->next_called
               ? "the request has gone already: change it before next(ctx)"
               : NULL;
}

#endif
