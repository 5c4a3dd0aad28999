/* forward.h - the fields a proxy owes both sides: who the client is, and that we stood in between (RFC 7239,
 * RFC 9110 7.6.3). */
#ifndef MG_GATEWAY_FORWARD_H
#define MG_GATEWAY_FORWARD_H

#include "http/exchange.h"
#include "net/addr.h"

/* The client's address: the other end of the connection or, where that is a trusted proxy, the last address
 * of X-Forwarded-For that is not one. Arena memory of the exchange. */
mg_str mg_forward_client(mg_exchange *x, const mg_cidr *trusted, size_t count);

/* Sets X-Forwarded-For, -Proto, -Host, Forwarded and Via on the request. What an untrusted client sent of
 * them is replaced. */
void mg_forward_request(mg_exchange *x);
/* Adds Via, and Date when the upstream sent none. `date` is borrowed until the head is written. */
void mg_forward_response(mg_exchange *x, mg_str date);

#endif
