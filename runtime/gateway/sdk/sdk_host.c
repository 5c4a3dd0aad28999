/* sdk_host.c - limiters, breakers and counters for plugins: found by name when a VM is built, then used
 * through the pointer. */
#include "gateway/host.h"
#include "gateway/sdk/sdk_limit.h"

#include <math.h>
#include <stdio.h>

enum { ERROR_BYTES = 256 };

static void explain(char *error256, const char *text)
{
    snprintf(error256, ERROR_BYTES, "%s", text);
}

/* A double from Lua as a whole number in a range; false when it is not one. */
static bool whole(double value, double min, double max, uint64_t *out)
{
    if (!(value >= min && value <= max))
        return false;
    *out = (uint64_t)llround(value);
    return true;
}

/* ---- limiters ---- */

mg_limiter *mg_host_limiter(mg_host *host, const char *name, uint32_t n, double limit, double period_s,
                            double burst, double max_keys, char *error256)
{
    mg_limiter_conf conf;
    mg_limiter *limiter;
    mg_error err = MG_ERROR_INIT;
    uint64_t keys;

    mg_limiter_conf_defaults(&conf);
    if (!whole(limit, 1, 1e12, &conf.limit) || !whole(period_s * 1e3, 1, 31 * 86400e3, &conf.period_ms) ||
        !whole(burst, 0, 1e6, &conf.burst) || !whole(max_keys, 0, 67108864, &keys)) {
        explain(
            error256,
            "a rate is 1 or more per 1 ms to 31 days, a burst at most 1000000, max_keys at most 67108864");
        return NULL;
    }
    if (keys)
        conf.max_keys = (uint32_t)keys;
    limiter = mg_shared_limiter(host->shared, mg_str_make(name, n), &conf, &err);
    if (!limiter)
        explain(error256, err.message);
    return limiter;
}

void mg_host_limiter_take(mg_host *host, mg_limiter *limiter, const char *key, uint32_t n, uint32_t cost,
                          mg_limit_view *out)
{
    mg_limiter_answer answer;

    (void)mg_limiter_take(limiter, key, n, cost, mg_shared_policy_now(host->shared), &answer);
    mg_sdk_limit_view(out, limiter, &answer);
}

/* What a plugin makes of the numbers that it was told; what is not a number counts as 0. */
static uint64_t natural(double value)
{
    return value >= 1 ? (uint64_t)fmin(value, 1e15) : 0;
}

void mg_host_limit_fields(mg_host *host, const char *name, uint32_t n, const mg_limit_view *view,
                          mg_slice *policy, mg_slice *state)
{
    const int64_t retry_ms =
        view->retry_s < 0 ? MG_LIMITER_NEVER : (int64_t)natural(ceil(view->retry_s * 1e3));

    n = n > 64 ? 64 : n;
    policy->n = (uint32_t)mg_limiter_policy_header(host->fields[0], name, n, natural(view->quota),
                                                   natural(round(view->window_s * 1e3)));
    policy->p = host->fields[0];
    state->n = (uint32_t)mg_limiter_state_header(host->fields[1], name, n, natural(view->remaining),
                                                 natural(round(view->reset_s * 1e3)), retry_ms);
    state->p = host->fields[1];
}

/* ---- breakers ---- */

static bool or_default(double value, double scale, double max, uint64_t *out)
{
    return value < 0 || whole(value * scale, 0, max, out);
}

static bool breaker_conf(const mg_breaker_spec *spec, mg_breaker_conf *conf)
{
    uint64_t failures = conf->consecutive_failures, backoff = conf->open_backoff_milli;
    uint64_t jitter = conf->open_jitter_bp, probes = conf->half_open_probes;

    if (!or_default(spec->failures, 1, 1e6, &failures) ||
        !or_default(spec->open_for_s, 1e3, 31 * 86400e3, &conf->open_ms) ||
        !or_default(spec->open_max_s, 1e3, 31 * 86400e3, &conf->open_max_ms) ||
        !or_default(spec->backoff, 1e3, 1e6, &backoff) || !or_default(spec->jitter, 1e4, 1e6, &jitter) ||
        !or_default(spec->probes, 1, 1e6, &probes) ||
        !or_default(spec->half_open_max_s, 1e3, 31 * 86400e3, &conf->half_open_max_ms) ||
        !or_default(spec->slow_call_s, 1e3, 31 * 86400e3, &conf->slow_call_ms))
        return false;
    conf->consecutive_failures = (uint32_t)failures;
    conf->open_backoff_milli = (uint32_t)backoff;
    conf->open_jitter_bp = (uint32_t)jitter;
    conf->half_open_probes = (uint32_t)probes;
    return true;
}

mg_breaker *mg_host_breaker(mg_host *host, const char *name, uint32_t n, const mg_breaker_spec *spec,
                            char *error256)
{
    mg_breaker_conf conf;
    mg_breaker *breaker;
    mg_error err = MG_ERROR_INIT;

    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    if (!breaker_conf(spec, &conf)) {
        explain(error256, "a value is out of range");
        return NULL;
    }
    breaker = mg_shared_plugin_breaker(host->shared, mg_str_make(name, n), &conf, &err);
    if (!breaker)
        explain(error256, err.message);
    return breaker;
}

uint64_t mg_host_breaker_ask(mg_host *host, mg_breaker *breaker)
{
    return mg_breaker_ask(breaker, mg_shared_policy_now(host->shared));
}

bool mg_host_breaker_finish(mg_host *host, mg_breaker *breaker, uint64_t ticket, int outcome,
                            double duration_s)
{
    uint64_t duration_ns = 0;

    if (outcome < 0 || outcome > MG_BREAKER_IGNORE || ticket == 0)
        return false;
    (void)whole(duration_s * 1e9, 0, 1e18, &duration_ns);
    return mg_breaker_end(breaker, ticket, (mg_breaker_outcome)outcome, duration_ns,
                          mg_shared_policy_now(host->shared));
}

const char *mg_host_breaker_state(mg_host *host, const mg_breaker *breaker)
{
    return mg_breaker_state_name(mg_breaker_now(breaker, mg_shared_policy_now(host->shared)));
}

double mg_host_breaker_retry_s(mg_host *host, const mg_breaker *breaker)
{
    return (double)mg_breaker_retry_after_ms(breaker, mg_shared_policy_now(host->shared)) / 1e3;
}

/* ---- counters ---- */

mg_counter *mg_host_counter(mg_host *host, const char *name, uint32_t n, char *error256)
{
    bool first;
    mg_counter *counter = mg_shared_counter(host->shared, mg_str_make(name, n), &first);

    if (!counter)
        explain(error256, "there are too many counters: a name is not to be made of what requests carry");
    if (first)
        mg_log_write(
            host->log, MG_LOG_WARN, "counters_full",
            "counter %.*s and all further ones of this plugin are dropped: a plugin has %d, all together %d. "
            "A name is not to be made of what requests carry",
            (int)n, name, MG_PLUGIN_COUNTERS_MAX, MG_SHARED_COUNTERS_MAX);
    return counter;
}

void mg_host_counter_add(mg_host *host, mg_counter *counter, double by)
{
    if (by >= 0 && by <= 4294967296.0 && host->worker < mg_shared_workers(host->shared))
        mg_cell_add(&counter->cells[host->worker].cell, (uint64_t)by);
}

double mg_host_counter_sum(mg_host *host, const mg_counter *counter)
{
    return (double)mg_counter_sum(host->shared, counter);
}
