/* pick.h - which host of a service a try goes to: the balancer's, or another address of the same endpoint
 * where that one cannot be reached. On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_PICK_H
#define MG_GATEWAY_REQUEST_PICK_H

#include "gateway/worker.h"

/* The balancer's word, after it has learnt of health, ejection and weights. `key` is what a balancer by key
 * asks with; `tried` are the hosts of earlier tries. -1: none is usable. Two moments: of the policy clock,
 * and of the loop. */
int mg_pick_host(mg_view_service *runtime, mg_str key, const int *tried, size_t tried_count,
                 uint64_t policy_ns, uint64_t now_ns);
/* The host could not be connected to: for a while, other addresses of its endpoint come before it. Returns
 * the one to try now, -1 when all have been: `first` is where this try began. */
int mg_pick_next(mg_view_service *runtime, int host, int first, uint64_t now_ns);
/* The host has answered. */
void mg_pick_reached(mg_view_service *runtime, int host);

#endif
