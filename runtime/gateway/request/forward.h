/* forward.h - the fields a proxy owes both sides: who the client is, and that we stood in between (RFC 7239,
 * RFC 9110 7.6.3), and how long the caller still waits (docs/policies.md 7). The worker's own loop. */
#ifndef MG_GATEWAY_REQUEST_FORWARD_H
#define MG_GATEWAY_REQUEST_FORWARD_H

#include "config/config.h"
#include "http/exchange.h"
#include "net/addr.h"
#include "policy/deadline.h"

/* What one listener believes of whom. */
typedef struct mg_forward_rules {
    const mg_cidr *trusted; /* borrowed: the proxies that are believed */
    size_t trusted_count;
    bool by_forwarded; /* by Forwarded alone; else by it where there is no X-Forwarded-* */
    bool underscores;  /* fields whose names have one stay */
    mg_str pseudonym;  /* borrowed: by which the gateway knows itself in Via */
} mg_forward_rules;

/* What is known of the client, beside its address. */
typedef struct mg_forward_caller {
    bool is_retry; /* this is not its first try: ours would multiply with it */
    bool looped;   /* the request has passed this gateway before */
} mg_forward_caller;

/* Finds the client's address, and corrects what the request says of its client. Once an exchange, before anything
 * else reads its fields. Returns the address in text, borrowed from the exchange.
 *
 * The client is the other end of the connection. Where that is a trusted proxy, the list of forwarded addresses
 * is read from its right end: the first address that is not a trusted proxy's is the client's. A member without
 * an address ends the list: then the client is the proxy that wrote it. Sets x->request.scheme by what the
 * trusted proxies say, and X-Forwarded-For, -Proto, -Host and Forwarded on the request as the upstream is to get
 * them. What an untrusted peer sent of them is gone, and
 * so are its grpc-timeout, X-Moongate-Deadline-Ms and X-Moongate-Attempt. x->limit has what a trusted one
 * said of the time it leaves, on the loop's clock, and nothing else. */
mg_str mg_forward_receive(mg_exchange *x, const mg_forward_rules *rules, mg_forward_caller *caller);

#define MG_FORWARD_UNTOLD UINT64_MAX

/* Tells the next hop: `child_ms` is what is left for it (MG_FORWARD_UNTOLD: that cannot be said), `attempt`
 * which try of ours this is, from 1. Before each try. A caller that said it in grpc-timeout is followed in
 * that; all others are in X-Moongate-Deadline-Ms, gRPC too: its own field would end a whole stream of
 * answers, where a route's time runs to their head. */
void mg_forward_deadline_out(mg_exchange *x, uint64_t child_ms, unsigned attempt);

/* Before each try: how long it may take for its response's head when the host gets `time_ms` of the
 * exchange's clock, and no more than a caller leaves it; the next hop is told. While the client still sends
 * its body, it is told only what a caller has said: the rest begins when the request is whole. */
mg_time_limit mg_forward_try(mg_exchange *x, const mg_deadline_conf *conf, uint64_t time_ms, unsigned attempt,
                             uint64_t now_ns);

/* Adds a member to the request's Via: "1.1" and the gateway's pseudonym. Once an exchange. */
void mg_forward_request(mg_exchange *x, mg_str member);
/* Adds Via, and Date when the upstream sent none. `date` is borrowed until the head is written. */
void mg_forward_response(mg_exchange *x, mg_str date);

/* Chooses the form of the path that plugins and the upstream get: the one that the route was matched with.
 * Where the route passes the client's bytes on, the upstream gets these, but no "." and ".." among them: it
 * could resolve them to a path that another route guards. */
void mg_forward_path(mg_request *request, const mg_config_route *route);

#endif
