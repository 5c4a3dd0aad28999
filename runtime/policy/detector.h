/* detector.h - whether an upstream behaves unlike itself (docs/policies.md 5, adaptive mode). Runs off the
 * request path, once a second an upstream; any thread, one at a time on one
 * detector. */
#ifndef MG_POLICY_DETECTOR_H
#define MG_POLICY_DETECTOR_H

#include "base/rand.h"
#include "base/words.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MG_DETECTOR_KINDS(X)                                                                                 \
    X(MG_DETECTOR_ROBUST_Z, "robust_z") /* how far from the median, in median deviations */                  \
    X(MG_DETECTOR_IFOREST, "iforest")   /* how few cuts set it apart (isolation forest, Liu et al. 2008) */
typedef enum mg_detector_kind { MG_DETECTOR_KINDS(MG_WORD_ENUM) } mg_detector_kind;
extern const char *const mg_detector_kind_words[];

enum { MG_DETECTOR_TICKS = 60, MG_DETECTOR_FEATURES = 3 };

/* A second of an upstream. */
typedef struct mg_detector_tick {
    double p95_ms;
    double error_ratio, timeout_ratio; /* 0..1 */
    bool open;                         /* the breaker was, in it: says nothing about the service */
    bool enough;                       /* calls in the window for ratios to mean something */
} mg_detector_tick;

typedef struct mg_detector {
    mg_detector_kind kind;
    double history[MG_DETECTOR_FEATURES][MG_DETECTOR_TICKS];
    uint32_t count, next;
    uint32_t bad_run;
} mg_detector;

void mg_detector_init(mg_detector *detector, mg_detector_kind kind);
/* Judges a tick beside those before it, then keeps it. True when it is the second bad one in a row: the
 * breaker is to open (mg_breaker_trip). Needs ten ticks before it judges any. */
bool mg_detector_add(mg_detector *detector, const mg_detector_tick *tick, mg_rand *rand);

/* 0.6745 * (x - median) / max(MAD, 1 % of |median|, floor); `count` is 1..MG_DETECTOR_TICKS. */
double mg_robust_z(const double *history, size_t count, double x, double floor);
/* The mean path of a search that fails among n. */
double mg_iforest_c(double n);
double mg_iforest_score(double mean_path, double n);

#endif
