/* shared_parts.h - what shared.c and shared_policies.c share; for these two alone. Any thread that holds the
 * lock. */
#ifndef MG_GATEWAY_SHARED_PARTS_H
#define MG_GATEWAY_SHARED_PARTS_H

#include "gateway/shared.h"

#include "base/map.h"

#include <pthread.h>
#include <stdatomic.h>

typedef struct draft_policy draft_policy;

/* What plugins have made of one kind. */
typedef struct shared_made {
    unsigned count;
    uint64_t bytes; /* when they are full */
} shared_made;

/* What plugins of a candidate asked for, while nobody else sees it. */
typedef struct draft {
    draft_policy *policies, **end; /* owned; in the order they were asked for */
    mg_map *counters;              /* owned */
    bool collecting;               /* from `collector` alone */
    pthread_t collector;
} draft;

struct mg_shared {
    mg_shared_options options;
    draft draft;
    pthread_mutex_t lock;
    mg_map *limiters, *breakers, *counters; /* owned: policy_name, the counter */
    mg_map *full;                           /* owned: plugins whose share of counters is used up */
    _Atomic uint64_t counters_dropped;
    mg_accounts *accounts;       /* owned */
    mg_services *services;       /* owned */
    mg_limit_stats *limit_stats; /* owned */
    uint64_t secret[2];          /* of the limiters' fingerprints */
    shared_made own_limiters, own_breakers;
};

/* All under the lock. */

/* Whether what is asked for now, by this thread, is a candidate's. */
static inline bool shared_is_collected(const mg_shared *shared)
{
    return shared->draft.collecting && pthread_equal(shared->draft.collector, pthread_self());
}

void mg_shared_adopt_policies(mg_shared *shared);
void mg_shared_drop_policies(mg_shared *shared);
void mg_shared_free_policies(mg_shared *shared);

#endif
