/* split.h - which of a route's backends a request goes to (POLICIES 9), and how that backend's calls went.
 * The worker's own thread. */
#ifndef MG_GATEWAY_SPLIT_H
#define MG_GATEWAY_SPLIT_H

#include "gateway/figures.h"
#include "gateway/pipeline.h"

/* For a flight whose route has a split: sets its service and backend, and writes the backend's group into the
 * request, which plugins and the upstream see. Once a request; tries of a retry stay where they are. A sticky
 * key that the request lacks is the client's address; so is the consumer, whom only plugins find, after
 * this. */
void mg_split_choose(mg_flight *flight);

/* What keeps a client where it is, be it a side or a host: the value of the route's sticky key, else the
 * client's address. Borrowed: as long as the request. */
mg_str mg_split_key(const mg_flight *flight);

/* How a call ended, to its response head: `outcome` is an error for a 5xx and for all that the client is told
 * as one, a timeout for what did not come in time. Counts where a rollout judges this flight's backend, else
 * does nothing. */
void mg_split_result(const mg_flight *flight, mg_figures_outcome outcome, uint64_t duration_ns);

#endif
