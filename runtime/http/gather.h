/* gather.h - a body into memory, bounded: from its source, or as it passes somebody else. The thread of the
 * exchange. */
#ifndef MG_HTTP_GATHER_H
#define MG_HTTP_GATHER_H

#include "http/exchange.h"

/* How much of the body `text` is. */
typedef enum mg_gather_state {
    MG_GATHER_PART,      /* as much as has come, which may be nothing */
    MG_GATHER_WHOLE,     /* all of it */
    MG_GATHER_REPLACED,  /* none of it: other bytes stand in its place */
    MG_GATHER_TOO_LARGE, /* none of it: there is more than max_bytes */
    MG_GATHER_CUT,       /* it ended before its last byte: `reset` */
} mg_gather_state;

typedef struct mg_gather mg_gather;

/* The caller's memory; all zero is one that has nothing and may take nothing. */
struct mg_gather {
    mg_body_sink sink;
    mg_text text; /* owned */
    size_t max_bytes;
    mg_gather_state state; /* changed by the functions below alone */
    mg_reset reset;
    /* Its source has come to an end, or to more than there is room for: `state` says so, and the bytes that
     * still come are dropped. The source is on the stack. */
    void (*over)(mg_gather *gather);
};

/* Takes what comes of `body`, which has a source, behind what the text is already. Whoever wants no more takes
 * the sink away from the body: what has come stays, and it may be started again. */
void mg_gather_start(mg_gather *gather, mg_body *body, void (*over)(mg_gather *gather));
/* More of a body that goes elsewhere. False: it is too large now. */
bool mg_gather_add(mg_gather *gather, mg_str bytes);
/* It says of itself that it is larger than there is room for. */
void mg_gather_refuse(mg_gather *gather);
/* That was all of it. */
void mg_gather_end(mg_gather *gather);
/* A copy of the bytes takes the body's place, whatever its size. */
void mg_gather_replace(mg_gather *gather, mg_str bytes);
/* As if nothing had come; max_bytes stays. */
void mg_gather_clear(mg_gather *gather);
void mg_gather_fini(mg_gather *gather);

/* What goes on from here is in memory, all of it. */
static inline bool mg_gather_is_there(const mg_gather *gather)
{
    return gather->state == MG_GATHER_WHOLE || gather->state == MG_GATHER_REPLACED;
}

#endif
