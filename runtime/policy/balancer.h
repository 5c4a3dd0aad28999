/* balancer.h - which endpoint next (POLICIES 6). One a worker and set of endpoints, used by that worker
 * alone. Endpoints are numbers, in configured order. */
#ifndef MG_POLICY_BALANCER_H
#define MG_POLICY_BALANCER_H

#include "base/rand.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mg_balancer mg_balancer;

typedef enum mg_balancer_algorithm {
    MG_BALANCER_ROUND_ROBIN, /* smooth and weighted */
    MG_BALANCER_RANDOM,      /* weighted */
} mg_balancer_algorithm;

enum {
    MG_BALANCER_NONE = -1,
    MG_BALANCER_ENDPOINTS_MAX = 4096,
    MG_BALANCER_WEIGHT_MAX = 1000000,
};

/* `weights` has `count` entries, 0..MG_BALANCER_WEIGHT_MAX, and is copied; 0 is never picked. All begin
 * usable. `rand` is the worker's (borrowed); it also draws where in its cycle the balancer starts, unless it
 * is NULL: then it starts at the beginning, which RANDOM cannot. */
mg_balancer *mg_balancer_new(mg_balancer_algorithm algorithm, const uint32_t *weights, size_t count,
                             mg_rand *rand);
void mg_balancer_free(mg_balancer *balancer); /* NULL is fine */

/* Health, ejection and panic are decided elsewhere. An endpoint that returns starts at 0. */
void mg_balancer_set_usable(mg_balancer *balancer, size_t endpoint, bool usable);
bool mg_balancer_usable(const mg_balancer *balancer, size_t endpoint);
void mg_balancer_set_weight(mg_balancer *balancer, size_t endpoint, uint32_t weight);
size_t mg_balancer_count(const mg_balancer *balancer);

/* A usable endpoint, or MG_BALANCER_NONE when there is none. `tried` names endpoints this request has been
 * to, which are picked again only when nothing else is usable. */
int mg_balancer_pick(mg_balancer *balancer, const int *tried, size_t tried_count, uint64_t now_ns);

#endif
