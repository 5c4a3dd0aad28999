/* rollout.h - who goes to the canary, and how far it may go (docs/policies.md 9). Pure: any thread, one at a
 * time on one rollout. */
#ifndef MG_POLICY_ROLLOUT_H
#define MG_POLICY_ROLLOUT_H

#include "base/str.h"
#include "base/words.h"

enum { MG_ROLLOUT_BUCKETS = 10000, MG_ROLLOUT_STEPS = 16, MG_ROLLOUT_NO_BACKEND = -1 };

/* The key's place in 0..9999, the same for as long as the rollout's salt is. */
uint32_t mg_rollout_bucket(mg_str key, mg_str salt);
/* Whether a key is of the first `percent` of them: raising the weight only adds keys. */
bool mg_rollout_has(mg_str key, mg_str salt, uint32_t percent);

/* One of several backends between which keys are split by weight. */
typedef struct mg_rollout_side {
    uint64_t hash;   /* of its name */
    uint32_t weight; /* 0: gets nothing */
} mg_rollout_side;

mg_rollout_side mg_rollout_side_of(mg_str name, uint32_t weight);
/* The side of a key, the same wherever the same names have weights of the same proportion, in whatever order
 * they stand; MG_ROLLOUT_NO_BACKEND when all weights are 0. Between two sets of weights a key moves only to a
 * side whose part of the whole has grown beside the one it leaves: raising one weight takes nobody from that
 * side, and a new name takes only what is its own. */
int mg_rollout_split(mg_str key, mg_str salt, const mg_rollout_side *sides, size_t count);

/* ---- the state machine; one owner ---- */

typedef struct mg_rollout_conf {
    uint32_t steps[MG_ROLLOUT_STEPS]; /* percent, rising */
    uint32_t step_count;
    uint64_t interval_ms;
    uint64_t min_requests;
    uint32_t max_errors_milli; /* of 100,000: 500 is 0.5 % */
    uint64_t max_p99_ms;
    uint32_t strikes; /* bad intervals in a row until it is rolled back */
} mg_rollout_conf;

/* Stored: a number never changes its meaning. */
#define MG_ROLLOUT_STATES(X)                                                                                 \
    X(MG_ROLLOUT_RUNNING, 1, "running")                                                                      \
    X(MG_ROLLOUT_PROMOTED, 2, "promoted")                                                                    \
    X(MG_ROLLOUT_FAILED, 3, "failed") /* by its own doing */                                                 \
    X(MG_ROLLOUT_HELD, 4, "held")     /* an operator's word: stays where it is */
typedef enum mg_rollout_state { MG_ROLLOUT_STATES(MG_STORED_ENUM) } mg_rollout_state;

#define MG_ROLLOUT_ACTIONS(X)                                                                                \
    X(MG_ROLLOUT_NONE, "none") /* there is nothing to decide, or the rollout does not run */                 \
    X(MG_ROLLOUT_HOLD, "hold") /* an interval with too few requests */                                       \
    X(MG_ROLLOUT_ADVANCE, "advance")                                                                         \
    X(MG_ROLLOUT_PROMOTE, "promote")                                                                         \
    X(MG_ROLLOUT_STRIKE, "strike")                                                                           \
    X(MG_ROLLOUT_ROLLBACK, "rollback")                                                                       \
    X(MG_ROLLOUT_ABORT, "abort")
typedef enum mg_rollout_action { MG_ROLLOUT_ACTIONS(MG_WORD_ENUM) } mg_rollout_action;

/* Plain numbers, to be kept across restarts. */
typedef struct mg_rollout {
    mg_rollout_state state;
    uint32_t step, strikes;
    uint64_t began_ns; /* of the interval, on the policy clock */
} mg_rollout;

/* What the canary did since the interval began. */
typedef struct mg_rollout_figures {
    uint64_t requests, errors, p99_ms;
} mg_rollout_figures;

void mg_rollout_start(mg_rollout *rollout, uint64_t now_ns);
/* Every second: aborts at once what fails by the dozen, and at the end of an interval decides the next step,
 * whereupon figures are to be counted anew. *ended says whether that was so. */
mg_rollout_action mg_rollout_tick(mg_rollout *rollout, const mg_rollout_conf *conf,
                                  const mg_rollout_figures *figures, uint64_t now_ns, bool *ended);
/* The end of an interval, whenever it is; MG_ROLLOUT_NONE unless the rollout runs. */
mg_rollout_action mg_rollout_judge(mg_rollout *rollout, const mg_rollout_conf *conf,
                                   const mg_rollout_figures *figures);
/* Percent of the traffic that the canary gets. */
uint32_t mg_rollout_weight(const mg_rollout *rollout, const mg_rollout_conf *conf);
/* A word of an operator's: PROMOTED, FAILED (to 0), HELD, or RUNNING again where it was. */
void mg_rollout_force(mg_rollout *rollout, const mg_rollout_conf *conf, mg_rollout_state state,
                      uint64_t now_ns);
/* What was kept, made to fit a configuration that may have fewer steps by now. */
void mg_rollout_restore(mg_rollout *rollout, const mg_rollout_conf *conf, uint64_t now_ns);

const char *mg_rollout_state_name(mg_rollout_state state);

#endif
