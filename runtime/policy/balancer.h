/* balancer.h - which endpoint next (docs/policies.md 6). One a worker and set of endpoints, used on that
 * worker's own loop; what is in flight may be counted for the whole node. Endpoints are numbers, in
 * configured order. */
#ifndef MG_POLICY_BALANCER_H
#define MG_POLICY_BALANCER_H

#include "base/rand.h"
#include "base/words.h"
#include "policy/maglev.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct mg_balancer mg_balancer;
typedef struct mg_inflight mg_inflight;

#define MG_BALANCER_ALGORITHMS(X)                                                                            \
    X(MG_BALANCER_ROUND_ROBIN, "round_robin")     /* smooth and weighted */                                  \
    X(MG_BALANCER_RANDOM, "random")               /* weighted */                                             \
    X(MG_BALANCER_LEAST_REQUEST, "least_request") /* of two drawn: who has fewer in flight for its weight */ \
    X(MG_BALANCER_PEAK_EWMA, "peak_ewma") /* the same times a latency that rises at once and falls slowly */ \
    X(MG_BALANCER_MAGLEV, "maglev")       /* by the request's key, with bounded load */
typedef enum mg_balancer_algorithm { MG_BALANCER_ALGORITHMS(MG_WORD_ENUM) } mg_balancer_algorithm;
extern const char *const mg_balancer_algorithm_words[];

enum {
    MG_BALANCER_NONE = -1,
    MG_BALANCER_ENDPOINTS_MAX = 4096,
    MG_BALANCER_WEIGHT_MAX = 1000000,
};

typedef struct mg_balancer_conf {
    mg_balancer_algorithm algorithm;
    const uint32_t *weights; /* `count` entries, 0..MG_BALANCER_WEIGHT_MAX; copied; 0 is never picked */
    size_t count;
    /* The worker's (borrowed). It also draws where in its cycle a round robin starts, unless it is NULL: then
     * that starts at the beginning; the others want one. */
    mg_rand *rand;
    mg_inflight *inflight; /* counted; of as many endpoints; NULL = the worker's own */
    mg_maglev *maglev;     /* counted; of the same endpoints; MG_BALANCER_MAGLEV wants one */
    uint64_t tau_ms, penalty_ms;
    uint32_t bound_milli;   /* 1000..10000 times the mean; 0 = unbounded */
    uint64_t slow_start_ms; /* 0 = off */
    double slow_start_min;  /* the share a cold endpoint begins with, 0..1 */
} mg_balancer_conf;

/* The defaults of docs/configuration.md: peak_ewma; weights, count and rand are the caller's to set. */
void mg_balancer_conf_defaults(mg_balancer_conf *conf);
mg_balancer *mg_balancer_make(const mg_balancer_conf *conf);
void mg_balancer_free(mg_balancer *balancer); /* NULL is fine */

/* Health, ejection and panic are decided elsewhere. An endpoint that returns starts at 0, slowly, and without
 * what was known of its latency. */
void mg_balancer_set_usable(mg_balancer *balancer, size_t endpoint, bool usable);
bool mg_balancer_usable(const mg_balancer *balancer, size_t endpoint);
/* Maglev learns of weights by a new table; only whether they are 0 counts at once. */
void mg_balancer_set_weight(mg_balancer *balancer, size_t endpoint, uint32_t weight);
void mg_balancer_set_maglev(mg_balancer *balancer, mg_maglev *table); /* counted */
/* The endpoint is new since then, or was away until then and may not have been missed here: it gets a ramp,
 * and what was known of its latency is forgotten. */
void mg_balancer_set_new(mg_balancer *balancer, size_t endpoint, uint64_t since_ns);
/* Goes on with what `old` knows of the endpoints that it had: `from` has the number there of each, or
 * MG_BALANCER_NONE. Weights stay as they are. Before its first pick. */
void mg_balancer_take_over(mg_balancer *balancer, const mg_balancer *old, const int *from);

/* A usable endpoint, or MG_BALANCER_NONE when there is none. `tried` names endpoints this request has been
 * to, which are picked again only when nothing else is usable. Maglev takes a key at random. */
int mg_balancer_pick(mg_balancer *balancer, const int *tried, size_t tried_count, uint64_t now_ns);
/* The same for a key's hash (mg_maglev_hash); algorithms that look at none ignore it. */
int mg_balancer_pick_for(mg_balancer *balancer, uint64_t hash, const int *tried, size_t tried_count,
                         uint64_t now_ns);

/* A request goes to the endpoint; each begin has one end. */
void mg_balancer_begin(mg_balancer *balancer, size_t endpoint);
void mg_balancer_end(mg_balancer *balancer, size_t endpoint);
/* How long an answer's head took. A failure counts as `penalty` at least, so that failing fast draws no
 * traffic. The first good answer behind failures takes away their penalty: the endpoint has no history then,
 * or that answer where no other has one. One that is alone keeps to the plain average. */
void mg_balancer_observe(mg_balancer *balancer, size_t endpoint, uint64_t rtt_ns, bool ok, uint64_t now_ns);
/* The latency it goes by now, in ms; the median of the others' while it has none (without those that fail,
 * where there are others), 1 where nobody has one. */
double mg_balancer_latency_ms(const mg_balancer *balancer, size_t endpoint, uint64_t now_ns);

/* What is in flight to each endpoint, for all workers. Any thread may call. */
mg_inflight *mg_inflight_new(size_t count);
/* For a later set of endpoints, which counts together with `old` for those that stay: `from` as of
 * mg_balancer_take_over. */
mg_inflight *mg_inflight_next(const mg_inflight *old, const int *from, size_t count);
mg_inflight *mg_inflight_ref(mg_inflight *inflight);
void mg_inflight_unref(mg_inflight *inflight); /* NULL is fine */
uint32_t mg_inflight_get(const mg_inflight *inflight, size_t endpoint);
void mg_inflight_add(mg_inflight *inflight, size_t endpoint, int more);

/* Of two of `count` the one with the lower score, the first on a tie. `first` is 0..count-1, `second`
 * 0..count-2 and means the one behind it when it reaches `first`; with a count of 1 it is not read. */
size_t mg_balancer_two(size_t count, size_t first, size_t second, double (*score)(void *self, size_t index),
                       void *self);

/* A latency in ms that rises at once and falls with `tau` (Finagle's peak EWMA). Zeroed is without
 * history. */
typedef struct mg_ewma {
    double ms;
    uint64_t at_ns;
    bool known;
} mg_ewma;

void mg_ewma_observe(mg_ewma *ewma, double ms, double tau_ms, uint64_t now_ns);
double mg_ewma_read(const mg_ewma *ewma, double tau_ms, uint64_t now_ns);

#endif
