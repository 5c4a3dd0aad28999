/* health.h - which endpoints are up, and how much of a share they get (docs/policies.md 6). Any thread, but
 * one at a time on one mg_health. */
#ifndef MG_POLICY_HEALTH_H
#define MG_POLICY_HEALTH_H

#include "base/words.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- active checks: one an endpoint, used by whoever probes; the first result decides ---- */

#define MG_HEALTH_STATES(X)                                                                                  \
    X(MG_HEALTH_UNKNOWN, "unknown") /* not probed yet: may be used */                                        \
    X(MG_HEALTH_UP, "healthy")                                                                               \
    X(MG_HEALTH_DOWN, "unhealthy")
typedef enum mg_health_state { MG_HEALTH_STATES(MG_WORD_ENUM) } mg_health_state;

typedef struct mg_health_conf {
    uint32_t unhealthy_after, healthy_after; /* results in a row, 1..10 */
} mg_health_conf;

typedef struct mg_health {
    mg_health_state state;
    uint32_t against; /* results in a row that speak against the state */
} mg_health;

/* True when the state changed. */
bool mg_health_result(mg_health *health, const mg_health_conf *conf, bool ok);
const char *mg_health_state_name(mg_health_state state); /* "unknown", "healthy", "unhealthy" */
/* The next probe's distance: the interval, more or less by up to a tenth; `u` is in [0, 1). */
uint64_t mg_health_interval_ms(uint64_t interval_ms, double u);

/* ---- shares ---- */

/* What a probe's {cpu, mem, latency_ms} make of a weight; false when one is out of its range (cpu and mem
 * 0..1, latency from 0), and then *weight stays. */
bool mg_health_weight(double base, double cpu, double mem, double latency_ms, double *weight);
/* Weights 1..100 relative to the largest; all 1 where every raw one is 0. */
void mg_health_normalise(const double *raw, size_t count, uint32_t *weights);
/* The share of its weight that an endpoint of this age gets; `least` is a share. */
double mg_health_slow_start(uint64_t age_ms, uint64_t window_ms, double aggression, double least);
/* Too few are up to go by health: all are used. */
bool mg_health_panic(size_t healthy, size_t total, uint32_t percent);

/* ---- passive ejection: one a set of endpoints, shared by all workers; any thread may call ---- */

typedef struct mg_ejection mg_ejection;

typedef struct mg_ejection_conf {
    uint32_t consecutive; /* failures in a row: 502, 503, 504, no connection, a timeout; 0 = off */
    uint64_t base_ms, max_ms, interval_ms;
    uint32_t max_percent; /* of the endpoints at once; always one, never all */
    bool success_rate;    /* also eject who stands out by failing, once an interval */
} mg_ejection_conf;

mg_ejection *mg_ejection_new(const mg_ejection_conf *conf, size_t count);
void mg_ejection_free(mg_ejection *ejection); /* NULL is fine */

/* What became of a request to the endpoint. True when this ejected it. */
bool mg_ejection_result(mg_ejection *ejection, size_t endpoint, bool ok, uint64_t now_ns);
bool mg_ejection_is_out(const mg_ejection *ejection, size_t endpoint, uint64_t now_ns);
/* When it returns; 0 when it is not out. */
uint64_t mg_ejection_until_ns(const mg_ejection *ejection, size_t endpoint, uint64_t now_ns);
/* Ends an interval of the success rates; returns how many endpoints that ejected. One thread at a time. */
size_t mg_ejection_sweep(mg_ejection *ejection, uint64_t now_ns);

/* What outlives the process: until when, and how often it had been out. */
typedef struct mg_ejection_record {
    uint64_t until_ns;
    uint32_t times;
} mg_ejection_record;

mg_ejection_record mg_ejection_read(const mg_ejection *ejection, size_t endpoint);
/* The endpoint is `was` of an earlier set: it goes on with what is known of it, as mg_ejection_restore. */
void mg_ejection_take_over(mg_ejection *ejection, size_t endpoint, const mg_ejection *old, size_t was,
                           uint64_t now_ns);
/* Takes no endpoint out beyond what the rule allows at once or for longer than it allows at most. */
void mg_ejection_restore(mg_ejection *ejection, size_t endpoint, mg_ejection_record record, uint64_t now_ns);

#endif
