/* rollout_run.h - rollouts that run: one a route that has one, moved once a second by the control thread,
 * asked by workers for their percent, fed by workers with how the canary's calls went. */
#ifndef MG_GATEWAY_SERVICE_ROLLOUT_RUN_H
#define MG_GATEWAY_SERVICE_ROLLOUT_RUN_H

#include "gateway/service/figures.h"
#include "gateway/snapshot.h"
#include "state/persist.h"

typedef struct mg_rollout_run mg_rollout_run;

/* Any thread. */
uint32_t mg_rollout_run_percent(const mg_rollout_run *run); /* of the traffic, to the canary */
void mg_rollout_run_unref(mg_rollout_run *run);             /* NULL is fine; the last frees */
/* The worker's own thread. */
void mg_rollout_run_result(mg_rollout_run *run, unsigned worker, mg_figures_outcome outcome,
                           uint64_t duration_ns);

/* ---- all of a gateway; the control thread, or before it runs ---- */

typedef struct mg_rollouts mg_rollouts;

typedef struct mg_rollouts_options {
    mg_loop *loop;       /* borrowed: control's */
    mg_shared *shared;   /* borrowed: the policy clock, how many workers */
    mg_log *log;         /* borrowed */
    mg_persist *persist; /* borrowed; NULL: what runs is forgotten with the process */
    uint64_t seed;
} mg_rollouts_options;

mg_rollouts *mg_rollouts_new(const mg_rollouts_options *options);
/* While the persistence still lives. Snapshots may outlive it. NULL is fine. */
void mg_rollouts_free(mg_rollouts *rollouts);

/* Gives each route of a snapshot that nobody serves yet its rollout: the one that runs under the route's
 * name, when its id is the same; else a new one, at the step where a stored one of that id was. */
void mg_rollouts_attach(mg_rollouts *rollouts, const mg_snapshot *snapshot);
/* All workers serve this snapshot: its rollouts go on by its configuration, those that it does not name end.
 */
void mg_rollouts_follow(mg_rollouts *rollouts, const mg_snapshot *snapshot);

/* How a rollout stands. */
typedef struct mg_rollout_view {
    mg_str route, id, canary; /* the canary's service; borrowed for the call */
    mg_rollout_state state;
    uint32_t step, steps; /* the first is 0 */
    uint32_t percent, strikes;
    uint64_t interval_left_ms;  /* of a running one */
    mg_rollout_figures figures; /* of the canary since the interval began */
} mg_rollout_view;

/* Those of the snapshot in use. */
void mg_rollouts_each(mg_rollouts *rollouts, void (*each)(void *self, const mg_rollout_view *view),
                      void *self);
/* An operator's word: PROMOTED, FAILED (back to nothing), HELD, or RUNNING on where it was held. False when
 * no route of that name has a rollout. */
bool mg_rollouts_force(mg_rollouts *rollouts, mg_str route, mg_rollout_state state);

#endif
