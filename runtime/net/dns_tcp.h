/* dns_tcp.h - a question to name servers over TCP (RFC 7766): for an answer that was cut short over UDP.
 * Belongs to one loop. */
#ifndef MG_NET_DNS_TCP_H
#define MG_NET_DNS_TCP_H

#include "net/resolver.h"

enum { MG_DNS_SERVERS_MAX = 8 };

typedef struct mg_dns_servers {
    mg_addr addrs[MG_DNS_SERVERS_MAX]; /* with their ports */
    unsigned count;
} mg_dns_servers;

typedef struct mg_dns_tcp mg_dns_tcp;

/* Asks one server after the other until one says something; each has `timeout_ns`. `name` and `type` as of
 * mg_dns_write_question. `done` is called once, never before this returns, unless it is cancelled before;
 * `answer` is borrowed and set for OK only. Results as of mg_resolver_ask. */
mg_dns_tcp *mg_dns_tcp_ask(mg_loop *loop, const mg_dns_servers *servers, mg_str name, unsigned type,
                           uint64_t timeout_ns,
                           void (*done)(void *self, mg_result result, const mg_resolved *answer), void *self);
/* `done` is not called any more. NULL is fine. */
void mg_dns_tcp_cancel(mg_dns_tcp *ask);

#endif
