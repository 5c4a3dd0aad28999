/* check.h - a configuration built and tried whole, as a reload would, and then thrown away. Any thread;
 * blocks it while plugins load. */
#ifndef MG_GATEWAY_CHECK_H
#define MG_GATEWAY_CHECK_H

#include "gateway/snapshot.h"
#include "http/message.h"

/* Takes the config. The snapshot, with every plugin loaded once in a VM of its own, or NULL with a report.
 * `look`, when given, sees the snapshot while it lives. True when nothing is wrong. */
bool mg_check_config(mg_config *config, void (*look)(void *self, const mg_snapshot *snapshot), void *self,
                     mg_report *report);

/* What a router is asked for "PUT https://shop.example/v1/carts/42", "GET /path" (then `host` says where) or
 * a URL alone. Fills the host, the method and the forms of the path. NULL, or what is wrong. */
const char *mg_check_request(mg_arena *arena, mg_str text, mg_str host, mg_request *request);

#endif
