/* admin.h - the admin listener: looks at the running gateway and gives an operator's word to its policies
 * (docs/architecture.md 11). On the control loop, on a socket of this machine whose mode says who may
 * connect. */
#ifndef MG_GATEWAY_ADMIN_ADMIN_H
#define MG_GATEWAY_ADMIN_ADMIN_H

#include "config/config.h"

typedef struct mg_admin mg_admin;
typedef struct mg_gateway mg_gateway;

/* Binds; its directory is made when missing. NULL with err when the address cannot be had; NULL without when
 * the configuration has no `admin`. */
mg_admin *mg_admin_open(mg_gateway *gateway, const mg_config *config, mg_error *err);
void mg_admin_start(mg_admin *admin);
/* Waits for a backup under way. NULL is fine. */
void mg_admin_free(mg_admin *admin);

#endif
