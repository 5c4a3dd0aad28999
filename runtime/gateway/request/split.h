/* split.h - which of a route's backends a request goes to (docs/policies.md 9), and how that backend's calls
 * went. The worker's own thread. */
#ifndef MG_GATEWAY_REQUEST_SPLIT_H
#define MG_GATEWAY_REQUEST_SPLIT_H

#include "gateway/service/figures.h"
#include "gateway/snapshot.h"

#include <limits.h>

typedef struct mg_flight mg_flight;

/* How the service of a flight was chosen. */
typedef enum mg_side {
    MG_SIDE_HASHED, /* by the sticky key; or there is nothing to choose */
    MG_SIDE_NAMED,  /* the client's X-Abtest-Group names its backend */
    MG_SIDE_CHOSEN, /* a plugin has said so */
} mg_side;

#define MG_SIDE_NO_BACKEND UINT_MAX /* none of the route's split */

/* Of split.c. */
typedef struct mg_split {
    const mg_snapshot_service *service; /* borrowed: snapshot; NULL: a plugin has to answer */
    unsigned backend;                   /* of the route's split, when it has one; or MG_SIDE_NO_BACKEND */
    mg_side side;                       /* how that came about */
    mg_str key;                         /* what was hashed, when HASHED; borrowed: the request */
} mg_split;

/* Behind the route: sets the service. Where the route has a split, the backend too, whose group is written into
 * the request, which plugins and the upstream see. Once a request; tries of a retry stay where they are. A
 * sticky key that the request lacks is the client's address; so is the consumer, whom only plugins find, after
 * this. */
void mg_split_choose(mg_flight *flight);
/* Behind the plugins, before the upstream is asked: goes by the group that one of them has named in the
 * request, or by the sticky key where one of them has changed it. What a plugin has chosen itself stays. */
void mg_split_again(mg_flight *flight);

/* A plugin's own choice, in place of the route's service or split; the last one counts. The group that the
 * request names is the chosen one's, or none where the service is no backend of the route. False when there
 * is no service, or no group, of that name: then nothing has changed. */
bool mg_split_choose_service(mg_flight *flight, mg_str name);
bool mg_split_choose_group(mg_flight *flight, mg_str group);
/* The groups that the route has, by position from 0; absent past the end. */
mg_str mg_split_group_at(const mg_flight *flight, size_t index);

/* What keeps a client where it is, be it a side or a host: the value of the route's sticky key, else the
 * client's address. Borrowed: as long as the request. */
mg_str mg_split_key(const mg_flight *flight);

/* How a call ended, to its response head: `outcome` is an error for a 5xx and for all that the client is told
 * as one, a timeout for what did not come in time. Counts where a rollout judges this flight's backend, else
 * does nothing. */
void mg_split_result(const mg_flight *flight, mg_figures_outcome outcome, uint64_t duration_ns);

#endif
