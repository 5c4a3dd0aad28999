/* hops.h - Max-Forwards: how much further TRACE and OPTIONS go, and their answers where they go no further
 * (RFC 9110 7.6.2, 9.3.7, 9.3.8). On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_HOPS_H
#define MG_GATEWAY_REQUEST_HOPS_H

#include "gateway/request/flight.h"

/* Counts this hop in the request's Max-Forwards. True when the request ends here: then its answer stands
 * in the exchange. Once an exchange, behind its route and limiters. */
bool mg_hops_end_here(mg_flight *flight);

#endif
