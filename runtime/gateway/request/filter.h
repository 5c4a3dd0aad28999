/* filter.h - a body on its way past plugins that declared it `stream`: each piece goes through their filters
 * in Lua, and what they make of it goes on to the sink behind. At most one piece's outcome is held; while it
 * is, the source waits. It also waits for the next turn when pieces have made this one late. */
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

/* Of filter.c: those of both bodies. */
typedef struct mg_filters {
    mg_filter of[2];  /* by MG_REQUEST, MG_RESPONSE */
    mg_later raised;  /* a filter has raised: ends the exchange with nobody else on the stack */
    unsigned streams; /* which: mg_vm_chain_streams */
    bool ended;       /* they failed or were ended: no piece of a body goes past them any more */
} mg_filters;

/* The chain has begun: which bodies go past its filters (mg_vm_chain_streams). */
void mg_filter_begin(mg_flight *flight, unsigned streams);
/* Whether pieces of bodies go past the filters of its chain. */
bool mg_filter_runs(const mg_flight *flight);
/* No filter runs any more. */
void mg_filter_end(mg_flight *flight);
/* Stands before the sink that `body` has from now on. */
void mg_filter_insert(mg_flight *flight, int which, mg_body *body);

/* The exchange is over. Harmless where none was inserted. */
void mg_filter_fini(mg_flight *flight);

#endif
