/* adaptive.h - how much at once, and how much of the rest not to try (docs/policies.md 8). Any thread, but
 * one at a time on one mg_gradient. */
#ifndef MG_POLICY_ADAPTIVE_H
#define MG_POLICY_ADAPTIVE_H

#include <stdbool.h>
#include <stdint.h>

typedef struct mg_adaptive_conf {
    double initial, min, max;
    double tolerance, smoothing;
    uint32_t long_window; /* windows that the long average looks back */
    uint32_t probe_after; /* slow windows in a row before one runs at less; 0 = never */
    double probe_factor;
} mg_adaptive_conf;

/* ---- the limit itself, one window after the other (Netflix' Gradient2, with probes of our own) ---- */

typedef struct mg_gradient {
    double limit;    /* in force; a probe's while `probing` */
    double long_rtt; /* what latency is without queueing, as far as one knows */
    double warm_sum; /* of the first windows */
    uint32_t warm_count;
    uint32_t slow_run; /* windows in a row with a gradient below 1 */
    bool probing;
    double resume; /* the limit after the probe */
    double before; /* the latency before it */
} mg_gradient;

void mg_gradient_init(mg_gradient *gradient, const mg_adaptive_conf *conf);
/* Ends a window of average latency `rtt` (any unit, always the same) that had at most `inflight` at once;
 * returns the limit of the next. */
double mg_gradient_window(mg_gradient *gradient, const mg_adaptive_conf *conf, double rtt, double inflight);

/* ---- the same for all workers; any thread may call ---- */

typedef struct mg_adaptive mg_adaptive;

mg_adaptive *mg_adaptive_new(const mg_adaptive_conf *conf);
void mg_adaptive_free(mg_adaptive *adaptive); /* NULL is fine */
/* A request may go; each that may is to be ended once. */
bool mg_adaptive_begin(mg_adaptive *adaptive);
/* `rtt_ns` 0: it says nothing about latency (the client left, or nothing was sent). */
void mg_adaptive_end(mg_adaptive *adaptive, uint64_t rtt_ns, uint64_t now_ns);
uint32_t mg_adaptive_limit(const mg_adaptive *adaptive);
uint32_t mg_adaptive_inflight(const mg_adaptive *adaptive);

/* ---- the throttle (Site Reliability Engineering, 21): one an upstream; any thread may call ---- */

typedef struct mg_throttle mg_throttle;

typedef struct mg_throttle_conf {
    double k;         /* requests an accepted one stands for before any is dropped, from 1 */
    uint32_t min_req; /* under so many in two minutes nothing is dropped */
    double cap;       /* the most that is dropped, 0..1 */
} mg_throttle_conf;

mg_throttle *mg_throttle_new(void);
void mg_throttle_free(mg_throttle *throttle); /* NULL is fine */
/* Counts an attempt, and says whether to go on with it; `u` is in [0, 1). */
bool mg_throttle_admit(mg_throttle *throttle, const mg_throttle_conf *conf, double u, uint64_t now_ns);
/* The upstream took it: it answered, and not that it is overloaded. */
void mg_throttle_accepted(mg_throttle *throttle, uint64_t now_ns);
/* The share to drop after so many requests of which so many were taken. */
double mg_throttle_share(const mg_throttle_conf *conf, uint64_t requests, uint64_t accepts);

#endif
