/* probe.h - active health checks of the endpoints of all services, once a node, and the services' own clock:
 * what mg_service_tick wants to hear once a second. On the control loop (docs/policies.md 6). */
#ifndef MG_GATEWAY_SERVICE_PROBE_H
#define MG_GATEWAY_SERVICE_PROBE_H

#include "gateway/service/service.h"
#include "gateway/snapshot.h"

typedef struct mg_probe mg_probe;

/* All are borrowed and outlive it. Nothing happens before the first mg_probe_follow. */
mg_probe *mg_probe_new(mg_loop *loop, const mg_policy_clock *clock, mg_shared *shared, mg_log *log);
/* From now on the services of this snapshot (counted) are checked, every host that they have in force. Hosts
 * that stay keep their turn, new ones are checked at once, those that left no more. */
void mg_probe_follow(mg_probe *probe, mg_snapshot *snapshot);
/* No check and no tick any more; what runs is cut. NULL is fine. */
void mg_probe_stop(mg_probe *probe);
void mg_probe_free(mg_probe *probe); /* NULL is fine */

#endif
