/* publish.h - publications are one queue with one path: the start, reloads, and whoever else wants another
 * configuration in force. One is in work at a time; the others wait for their turn, in order. On the control
 * loop. */
#ifndef MG_GATEWAY_PUBLISH_H
#define MG_GATEWAY_PUBLISH_H

#include "gateway/control.h"

enum { MG_PUBLISH_WAITING_MAX = 32 }; /* who waits for an answer, behind the one in work */

/* The first one, before any loop runs: it is built in place, and on its way once control's loop turns. Takes
 * the config. False with a report: nothing is left of it. */
bool mg_publish_first(mg_gateway *gateway, mg_config *config, mg_report *report);
/* Whether one is on its way to the workers: services in force are no longer those of gateway->snapshot. */
bool mg_publish_is_sent(const mg_gateway *gateway);
/* The gateway drains or ends: what is not sent yet is refused, and its askers are told. One that the builder
 * has comes back, and is refused then. */
void mg_publish_refuse_all(mg_gateway *gateway);
/* The gateway ends, and the builder has nothing more: drops one that no worker will acknowledge any more. */
void mg_publish_end(mg_gateway *gateway);

#endif
