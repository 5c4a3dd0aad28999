/* filter.h - a body on its way past plugins that declared it `stream`: each piece goes through their filters
 * in Lua, and what they make of it goes on to the sink behind. At most one piece's outcome is held; while it
 * is, the source waits. It also waits for the next turn when pieces have made this one late. */
#ifndef MG_GATEWAY_REQUEST_FILTER_H
#define MG_GATEWAY_REQUEST_FILTER_H

#include "http/exchange.h"
#include "net/loop.h"

struct mg_flight;

typedef struct mg_filter {
    mg_body_sink sink;        /* what the source sees */
    mg_body_source source;    /* what the sink behind sees while something is held */
    mg_body_sink *inner;      /* borrowed: the sink behind */
    mg_body_source *outer;    /* borrowed: the body's own source, while ours stands in its place */
    mg_body *body;            /* borrowed */
    struct mg_flight *flight; /* borrowed */
    mg_later later;           /* the source may go on */
    uint64_t ran_ns;          /* the turn in which the last piece went through */
    mg_str held;              /* not taken yet; of `out` or the arena */
    mg_text out;              /* owned */
    mg_fields trailers;
    int which;
    bool ended;
} mg_filter;

/* Stands before the sink that `body` has from now on. */
void mg_filter_insert(mg_filter *filter, struct mg_flight *flight, int which, mg_body *body);

/* The exchange is over. Harmless on one that was never inserted. */
void mg_filter_fini(mg_filter *filter);

#endif
