/* flight.h - an exchange on its way through the gateway, with all that the gateway holds for it. Each part
 * belongs to the file whose header declares it: others read it, and call that file to change it. On the
 * worker's loop. */
#ifndef MG_GATEWAY_REQUEST_FLIGHT_H
#define MG_GATEWAY_REQUEST_FLIGHT_H

#include "gateway/request/body_back.h"
#include "gateway/request/call.h"
#include "gateway/request/chain.h"
#include "gateway/request/filter.h"
#include "gateway/request/forward.h"
#include "gateway/request/limit_key.h"
#include "gateway/request/limits.h"
#include "gateway/request/pause.h"
#include "gateway/request/proxy.h"
#include "gateway/request/split.h"
#include "gateway/worker.h"

/* Where a flight stands on its way, which is pipeline.c from top to bottom. */
typedef enum mg_way {
    MG_WAY_NEW,    /* nothing is known of it but its client */
    MG_WAY_ROUTE,  /* which route, which service */
    MG_WAY_LIMITS, /* the limiters before the first plugin decide, or it waits for its turn */
    MG_WAY_CHAIN,  /* its handlers run, up to next() or to an answer of their own. A job stays here */
    MG_WAY_PROXY,  /* the upstream side is asked */
    MG_WAY_UNWIND, /* a response is there: its handlers go on behind next() */
    MG_WAY_SEND,   /* the response is on its way to the client */
    MG_WAY_END,    /* the client side is gone, well or badly; its handlers may have to unwind */
    MG_WAY_OVER,   /* nothing of it is left to run: it is freed */
    MG_WAY_STAYS,  /* no place: what a step says where somebody else will say where the flight goes on */
} mg_way;

/* Lives in the exchange's arena. */
struct mg_flight {
    /* of flight.c and pipeline.c */
    mg_exchange *x;
    mg_view *view; /* counted: the snapshot it began with */
    mg_worker *worker;
    const mg_snapshot_route *route; /* borrowed: snapshot; NULL when none matched */
    mg_route_match match;
    mg_str client; /* the client's address after trusted proxies */
    mg_forward_caller caller;
    const char *error;                /* reason of a refusal: "rate_limit", "breaker_open", .. */
    mg_deadline_place deadline_where; /* its time ran out there */
    mg_way way;                       /* changed by mg_flight_move */

    mg_split split;
    mg_limits limits;
    mg_chain chain;
    mg_filters filters;
    mg_proxy proxy;
    mg_body_back back;
    mg_pause pause;
    struct mg_replay *replay;       /* arena; NULL: the request's body is not kept for a retry */
    struct mg_outgoings *outgoings; /* arena: of ctx.http; NULL until it is used */
    struct mg_barrier *barrier;     /* borrowed: the one it waits for, itself; NULL when it waits for none */
    struct mg_beside *beside;       /* its tasks (job.h); NULL while it has no tasks and is not a task */
};

/* All of it but x is empty. Takes a reference on the view. */
void mg_flight_init(mg_flight *flight, mg_exchange *x, mg_view *view);
/* Whether a flight that stands there may go on to there. */
bool mg_flight_may_move(mg_way from, mg_way to);
/* The only way in which it moves. */
void mg_flight_move(mg_flight *flight, mg_way to);
/* It is to be found by what another one is found by. */
void mg_flight_take_names(mg_flight *flight, const mg_flight *of);
/* Its request as keys are read of it. */
mg_limit_asker mg_flight_asker(const mg_flight *flight);
/* Why it is refused; static. */
void mg_flight_blame(mg_flight *flight, const char *error);
/* Its time ran out there. */
void mg_flight_is_late(mg_flight *flight, mg_deadline_place where);

/* When the exchange is over for a reason that no clock of a body stops, on the loop's clock: its caller gives
 * up, or behind next its response was held for long enough. UINT64_MAX: there is none. */
static inline uint64_t mg_flight_fixed_ns(const mg_flight *flight)
{
    const uint64_t fixed_ns = flight->x->limit.fixed_ns;

    return fixed_ns ? fixed_ns : UINT64_MAX;
}

/* Why it was refused, or ended before its last byte; NULL: it was not. As the access log has it. */
static inline const char *mg_flight_error(const mg_flight *flight)
{
    return flight->error ? flight->error : flight->x->reset ? mg_reset_text(flight->x->reset) : NULL;
}

#endif
