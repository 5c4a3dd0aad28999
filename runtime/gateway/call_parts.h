/* call_parts.h - what the files that make up mg_call share. Private to call*.c. */
#ifndef MG_GATEWAY_CALL_PARTS_H
#define MG_GATEWAY_CALL_PARTS_H

#include "gateway/call.h"

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

/* Why the response's head and body cannot be changed, or NULL. */
static inline const char *has_gone(const mg_call *call)
{
    return call->x->head_sent ? "the response is on its way: change it in the handler, after next(ctx)"
                              : NULL;
}

#endif
