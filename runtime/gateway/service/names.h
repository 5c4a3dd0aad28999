/* names.h - the addresses of endpoints' names. They are looked up once for the node, on the control loop;
 * workers are told by message. A name that stops resolving keeps its last addresses. */
#ifndef MG_GATEWAY_SERVICE_NAMES_H
#define MG_GATEWAY_SERVICE_NAMES_H

#include "base/log.h"
#include "net/resolver.h"

typedef struct mg_names mg_names;

/* Runs on the control loop whenever an authority has (other) addresses. */
typedef void mg_names_changed(void *self, mg_str authority, const mg_addr *addrs, unsigned count);

mg_names *mg_names_new(mg_loop *loop, mg_resolver *resolver, mg_log *log, mg_names_changed *changed,
                       void *self);
void mg_names_free(mg_names *names);
/* No question is asked any more; whoever waits for a first answer is told now. NULL is fine. */
void mg_names_stop(mg_names *names);

/* Makes `authority` ("host:port") known and begins to look its host up; IP literals are known at once.
 * Control loop. Kept while the gateway lives. `done`, when given, runs on the control loop once nothing is
 * being asked about it and an answer is there, perhaps before this returns. */
void mg_names_add(mg_names *names, mg_str authority, void (*done)(void *self), void *self);

/* What is known of an authority; 0 when nothing yet, or it is not known. `names` may be NULL: then only a
 * literal is. Any thread. */
unsigned mg_names_known(mg_names *names, mg_str authority, mg_addr addrs[MG_RESOLVE_MAX]);
/* Whether its host is an IP literal, and which address it is then. */
bool mg_names_literal(mg_str authority, mg_addr *addr);
/* Asks for all names again, whatever their TTL: the hosts file may be another one. Control loop. */
void mg_names_refresh(mg_names *names);

#endif
