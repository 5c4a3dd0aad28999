/* status.h - the status listener: /livez /readyz /healthz /metrics. On the control loop. */
#ifndef MG_GATEWAY_ADMIN_STATUS_H
#define MG_GATEWAY_ADMIN_STATUS_H

#include "config/config.h"

typedef struct mg_gateway mg_gateway;
typedef struct mg_status_door mg_status_door;

/* Binds its address and answers nobody yet. NULL with err when the address cannot be had; NULL without when the
 * configuration names none. */
mg_status_door *mg_status_open(mg_gateway *gateway, const mg_config *config, mg_error *err);
void mg_status_start(mg_status_door *status);
void mg_status_free(mg_status_door *status); /* NULL is fine */

#endif
