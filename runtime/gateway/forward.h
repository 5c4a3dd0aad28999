/* forward.h - the fields a proxy owes both sides: who the client is, and that we stood in between (RFC 7239,
 * RFC 9110 7.6.3), and how long the caller still waits (POLICIES 7). */
#ifndef MG_GATEWAY_FORWARD_H
#define MG_GATEWAY_FORWARD_H

#include "http/exchange.h"
#include "net/addr.h"

/* The client's address: the other end of the connection or, where that is a trusted proxy, the last address
 * of X-Forwarded-For that is not one. Arena memory of the exchange. */
mg_str mg_forward_client(mg_exchange *x, const mg_cidr *trusted, size_t count);

/* What a caller that is trusted said of its own time. */
typedef struct mg_forward_caller {
    uint64_t until_ns; /* when it gives up; UINT64_MAX: it did not say */
    bool is_retry;     /* this is not its first try: ours would multiply with it */
} mg_forward_caller;

/* When the exchange has to have its response head: the route's time from its first byte on, or what
 * grpc-timeout or X-Moongate-Deadline-Ms leave when that is less. From an untrusted peer those two and
 * X-Moongate-Attempt count for nothing, and are taken out of the request. Once an exchange. */
uint64_t mg_forward_deadline(mg_exchange *x, uint64_t route_timeout_ns, mg_forward_caller *caller);
/* Tells the next hop: `child_ms` is what is left for it, `attempt` which try of ours this is, from 1. Before
 * each try. A caller that said it in grpc-timeout is followed in that; all others are in
 * X-Moongate-Deadline-Ms, gRPC too: its own field would end a whole stream of answers, where a route's time
 * runs to their head. */
void mg_forward_deadline_out(mg_exchange *x, uint64_t child_ms, unsigned attempt);

/* Sets X-Forwarded-For, -Proto, -Host, Forwarded and Via on the request. What an untrusted client sent of
 * them is replaced. Once an exchange: it adds to what is there. */
void mg_forward_request(mg_exchange *x);
/* Adds Via, and Date when the upstream sent none. `date` is borrowed until the head is written. */
void mg_forward_response(mg_exchange *x, mg_str date);

#endif
