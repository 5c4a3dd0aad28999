/* filter.h - a body on its way past plugins that declared it `stream`: each piece goes through their filters
 * in Lua, and what they make of it goes on to the sink behind. At most one piece's outcome is held; while it
 * is, the source waits. It also waits for the next turn when pieces have made this one late. The worker's own
 * loop. */
#ifndef MG_GATEWAY_REQUEST_FILTER_H
#define MG_GATEWAY_REQUEST_FILTER_H

#include "http/exchange.h"
#include "net/loop.h"

typedef struct mg_flight mg_flight;

typedef struct mg_filter {
    mg_body_sink sink;     /* what the source sees */
    mg_body_source source; /* what the sink behind sees while something is held */
    mg_body_sink *inner;   /* borrowed: the sink behind */
    mg_body_source *outer; /* borrowed: the body's own source, while ours stands in its place */
    mg_body *body;         /* borrowed */
    mg_flight *flight;     /* borrowed */
    mg_later later;        /* the source may go on */
    uint64_t ran_ns;       /* the turn in which the last piece went through */
    mg_str held;           /* not taken yet; of `out` or the arena */
    mg_text out;           /* owned */
    mg_fields trailers;
    int which;
    bool ended;
} mg_filter;

/* The filters of one body. */
typedef enum mg_filter_state {
    MG_FILTER_NONE,   /* no plugin of the chain looks at that body */
    MG_FILTER_ON,     /* its pieces go past them, now or when they come */
    MG_FILTER_RAISED, /* one of the chain's has: the pieces are dropped until the exchange has ended for that */
    MG_FILTER_OFF,    /* the chain is over: no piece goes past them any more */
} mg_filter_state;

/* Of filter.c. */
typedef struct mg_filters {
    mg_filter_state state[2]; /* by MG_REQUEST, MG_RESPONSE; changed by one function of filter.c */
    mg_filter of[2];          /* the same */
    mg_later raised;          /* ends the exchange with nobody else on the stack */
} mg_filters;

/* The chain has begun: which bodies go past its filters (bits of mg_vm_chain_streams). */
void mg_filter_begin(mg_flight *flight, unsigned streams);
/* The chain is over: no filter runs any more. Harmless when it was before. */
void mg_filter_end(mg_flight *flight);

/* Plugins of the chain look at that body. */
static inline bool mg_filter_is_for(const mg_filters *filters, int which)
{
    return filters->state[which] != MG_FILTER_NONE;
}

/* Its pieces are to go past them. */
static inline bool mg_filter_is_on(const mg_filters *filters, int which)
{
    return filters->state[which] == MG_FILTER_ON || filters->state[which] == MG_FILTER_RAISED;
}

/* Stands before the sink that `body` has from now on. */
void mg_filter_insert(mg_flight *flight, int which, mg_body *body);

/* The exchange is over. Harmless where none was inserted. */
void mg_filter_fini(mg_flight *flight);

#endif
