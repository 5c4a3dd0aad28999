/* resolver.h - names to addresses, for as long as they hold: IP literals at once, the hosts file first, then
 * evdns with TTLs, never blocking. Belongs to one loop. Beside loop.c the one home of libevent. */
#ifndef MG_NET_RESOLVER_H
#define MG_NET_RESOLVER_H

#include "net/loop.h"

typedef struct mg_resolver mg_resolver;

enum { MG_RESOLVE_MAX = 32 }; /* addresses kept of one name */

/* Each address once, IPv4 before IPv6 and then by their bytes: the same set is the same list, however a
 * server orders it. Of more than can be kept the first in that order are. */
typedef struct mg_resolved {
    mg_addr addrs[MG_RESOLVE_MAX]; /* port 0 */
    unsigned count;
    unsigned dropped; /* there were at least so many more */
    uint32_t ttl_s;
} mg_resolved;

void mg_resolved_add(mg_resolved *resolved, const mg_addr *addr);

typedef struct mg_resolve mg_resolve;
struct mg_resolve { /* one question; the caller's memory until done or cancelled, zeroed before its first use
                     */
    void (*done)(mg_resolve *resolve, mg_result result, const mg_resolved *answer);
    void *space; /* the resolver's own */
};

typedef struct mg_resolver_options {
    const char *hosts_file;  /* NULL: /etc/hosts */
    const char *resolv_conf; /* NULL: /etc/resolv.conf */
    const char *nameserver;  /* "127.0.0.1:5353": instead of resolv_conf, for tests */
    unsigned timeout_ms;     /* of one of three attempts; 0: 2000 */
} mg_resolver_options;

mg_resolver *mg_resolver_new(mg_loop *loop, const mg_resolver_options *options, mg_error *err);
/* Questions still open are dropped: their `done` is not called. */
void mg_resolver_free(mg_resolver *resolver);
/* NOT_FOUND: no such name, or it has no address. TIMEOUT, IO: nobody said. INVALID: no name can look so.
 * `answer` is NULL then. `done` is never called before this returns. IPv4 and IPv6 answers together; one that
 * is cut short over UDP is asked for again over TCP. TTL floor 1 s, ceiling 1 h; failures are asked again by
 * the caller. */
void mg_resolver_ask(mg_resolver *resolver, mg_resolve *question, mg_str name);
void mg_resolver_cancel(mg_resolve *question); /* harmless when it is not open */

#endif
