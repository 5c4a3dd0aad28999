/* proxy.h - the upstream side of a request: permits of its service, a host, a breaker, a try, and perhaps
 * another one (POLICIES 1, 5-8). On the worker's loop. */
#ifndef MG_GATEWAY_PROXY_H
#define MG_GATEWAY_PROXY_H

#include "gateway/service.h"
#include "net/upstream.h"

typedef struct mg_flight mg_flight;

enum { MG_TRIES_MAX = 6 }; /* POLICIES 7: retry.attempts */

/* Stands inside a flight; zeroed is one that has not begun. */
typedef struct mg_tries {
    mg_timer again;            /* the next try, after its backoff */
    const mg_circuit *circuit; /* of the ticket */
    uint64_t ticket;           /* of the breaker; 0: none to end */
    mg_adaptive *adaptive;     /* holds a place of it; NULL: none */
    mg_service_name *holds;    /* counts in its `concurrent`; NULL: does not */
    uint64_t first_ns;         /* exchange's clock: when the service was first asked for, whoever refused */
    uint64_t began_ns;         /* exchange's clock: this try */
    uint64_t rtt_ns;           /* what the adaptive limit is to learn; 0: nothing */
    int tried[MG_TRIES_MAX];   /* by try, the host that it came to */
    int first_host;            /* of this try */
    uint8_t count;
    bool cut_short; /* this try has less time than the exchange: per_try_timeout */
    bool counted;   /* a try is under way: the balancer has begun a call, and no outcome was counted */
    bool taken;     /* the throttle has counted this request as accepted */
} mg_tries;

/* Sends the request to its service, which answers with a response in x->response, or fails: NEXT of the
 * chain goes on, or the response is sent. Once a flight. */
void mg_proxy_start(mg_flight *flight);
/* No more of it: what its response still has is not wanted, what was held is given back. Harmless when there
 * is nothing. x->reset says whether the client has left. */
void mg_proxy_stop(mg_flight *flight);
/* The state of the breaker that was asked; NULL: none was. */
const char *mg_proxy_breaker(const mg_flight *flight);
/* The host of the last try in flight->runtime, or -1. */
int mg_proxy_host(const mg_flight *flight);

#endif
