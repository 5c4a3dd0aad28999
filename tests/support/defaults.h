/* defaults.h - confs as schemas/gateway.json has their defaults, for tests of policies that read no document. */
#ifndef MG_TESTS_SUPPORT_DEFAULTS_H
#define MG_TESTS_SUPPORT_DEFAULTS_H

#include "base/time.h"
#include "policy/adaptive.h"
#include "policy/balancer.h"
#include "policy/health.h"
#include "policy/pool.h"
#include "policy/retry.h"
#include "policy/rollout.h"

static const mg_adaptive_conf adaptive_defaults = {
    .initial = 64,
    .min = 8,
    .max = 1024,
    .tolerance = 1.5,
    .smoothing = 0.2,
    .long_window = 600,
    .probe_after = 30,
    .probe_factor = 0.5,
};

static const mg_throttle_conf throttle_defaults = { .k = 2, .min_req = 10, .cap = 0.9 };

static const mg_ejection_conf ejection_defaults = {
    .consecutive = 5,
    .base_ms = 30000,
    .max_ms = 300000,
    .interval_ms = 10000,
    .max_percent = 33,
    .success_rate = true,
};

static const mg_pool_conf pool_defaults = {
    .max_connections = 1024,
    .max_idle = 1000,
    .max_idle_total = 2000,
    .queue = 1024,
    .max_requests = 10000,
    .idle_timeout_ns = 55 * MG_NS_PER_S,
    .queue_timeout_ns = MG_NS_PER_S,
    .max_age_ns = 3600 * MG_NS_PER_S,
};

static const mg_retry_conf retry_defaults = {
    .attempts = 2,
    .on_connect_error = true,
    .on_reset = true,
    .on_status = { 502, 503, 504 },
    .on_status_count = 3,
    .backoff_ms = 25,
    .backoff_max_ms = 250,
    .budget_milli = 100,
    .min_per_second = 3,
};

static const mg_rollout_conf rollout_defaults = {
    .steps = { 5, 10, 25, 50, 100 },
    .step_count = 5,
    .interval_ms = 180000,
    .min_requests = 1000,
    .max_errors_milli = 500,
    .max_p99_ms = 800,
    .strikes = 2,
};

/* What vectors and failures call an action. */
static inline const char *rollout_action_name(mg_rollout_action action)
{
    static const char *const words[] = { MG_ROLLOUT_ACTIONS(MG_WORD_TEXT) };

    return words[action];
}

/* Without slow start. */
static inline mg_balancer *balancer_with(mg_balancer_algorithm algorithm, const uint32_t *weights,
                                         size_t count, mg_rand *rand)
{
    mg_balancer_conf conf;

    mg_balancer_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.weights = weights;
    conf.count = count;
    conf.rand = rand;
    conf.slow_start_ms = 0;
    return mg_balancer_make(&conf);
}

#endif
