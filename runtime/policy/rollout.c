/* rollout.c - splitting by a hash, and the steps of a canary. */
#include "policy/rollout.h"

#include "base/check.h"
#include "base/time.h"

enum { SPLIT_SEED = 6, ABORT_ERRORS = 5, ABORT_TIMES = 10, ERRORS_WHOLE = 100000 };

/* H(key + "|" + salt, 6) without joining them: the hash of base/str.h, byte by byte. */
static uint64_t add(uint64_t h, mg_str s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_of(mg_str key, mg_str salt)
{
    uint64_t h = add(add(add(0xcbf29ce484222325u, key), MG_STR("|")), salt);

    h ^= SPLIT_SEED * 0x9e3779b97f4a7c15u;
    h = (h ^ h >> 33) * 0xff51afd7ed558ccdu;
    h = (h ^ h >> 33) * 0xc4ceb9fe1a85ec53u;
    return h ^ h >> 33;
}

uint32_t mg_rollout_bucket(mg_str key, mg_str salt)
{
    return (uint32_t)(hash_of(key, salt) % MG_ROLLOUT_BUCKETS);
}

bool mg_rollout_has(mg_str key, mg_str salt, uint32_t percent)
{
    return mg_rollout_bucket(key, salt) < percent * (MG_ROLLOUT_BUCKETS / 100);
}

int mg_rollout_split(mg_str key, mg_str salt, const uint32_t *weights, size_t count)
{
    uint64_t sum = 0, at;

    for (size_t i = 0; i < count; i++)
        sum += weights[i];
    if (!sum)
        return MG_ROLLOUT_NO_BACKEND;
    at = hash_of(key, salt) % sum;
    for (size_t i = 0; i < count; i++) {
        if (at < weights[i])
            return (int)i;
        at -= weights[i];
    }
    MG_UNREACHABLE();
}

void mg_rollout_conf_defaults(mg_rollout_conf *conf)
{
    *conf = (mg_rollout_conf){
        .steps = { 5, 10, 25, 50, 100 },
        .step_count = 5,
        .interval_ms = 180000,
        .min_requests = 1000,
        .max_errors_milli = 500,
        .max_p99_ms = 800,
        .strikes = 2,
    };
}

void mg_rollout_start(mg_rollout *rollout, uint64_t now_ns)
{
    *rollout = (mg_rollout){ .state = MG_ROLLOUT_RUNNING, .began_ns = now_ns };
}

/* The one place where the state changes. */
static mg_rollout_action move(mg_rollout *r, mg_rollout_state state, mg_rollout_action action)
{
    r->state = state;
    r->strikes = 0;
    return action;
}

/* errors / requests against `times` the ratio allowed, multiplied out. */
static bool fails_at(const mg_rollout_conf *conf, const mg_rollout_figures *f, uint64_t times)
{
    return (unsigned __int128)f->errors * ERRORS_WHOLE >=
           (unsigned __int128)f->requests * conf->max_errors_milli * times;
}

static bool is_hopeless(const mg_rollout_conf *conf, const mg_rollout_figures *f)
{
    return f->errors >= ABORT_ERRORS && fails_at(conf, f, ABORT_TIMES);
}

mg_rollout_action mg_rollout_judge(mg_rollout *rollout, const mg_rollout_conf *conf,
                                   const mg_rollout_figures *figures)
{
    if (rollout->state != MG_ROLLOUT_RUNNING)
        return MG_ROLLOUT_NONE;
    if (is_hopeless(conf, figures))
        return move(rollout, MG_ROLLOUT_FAILED, MG_ROLLOUT_ABORT);
    if (figures->requests < conf->min_requests || !figures->requests)
        return MG_ROLLOUT_HOLD;
    if (fails_at(conf, figures, 1) || figures->p99_ms >= conf->max_p99_ms) {
        if (++rollout->strikes < conf->strikes)
            return MG_ROLLOUT_STRIKE;
        return move(rollout, MG_ROLLOUT_FAILED, MG_ROLLOUT_ROLLBACK);
    }
    rollout->strikes = 0;
    if (rollout->step + 1 >= conf->step_count)
        return move(rollout, MG_ROLLOUT_PROMOTED, MG_ROLLOUT_PROMOTE);
    rollout->step++;
    return MG_ROLLOUT_ADVANCE;
}

mg_rollout_action mg_rollout_tick(mg_rollout *rollout, const mg_rollout_conf *conf,
                                  const mg_rollout_figures *figures, uint64_t now_ns, bool *ended)
{
    *ended = rollout->state == MG_ROLLOUT_RUNNING &&
             now_ns >= rollout->began_ns + conf->interval_ms * MG_NS_PER_MS;
    if (*ended) {
        rollout->began_ns = now_ns;
        return mg_rollout_judge(rollout, conf, figures);
    }
    if (rollout->state == MG_ROLLOUT_RUNNING && is_hopeless(conf, figures))
        return move(rollout, MG_ROLLOUT_FAILED, MG_ROLLOUT_ABORT);
    return MG_ROLLOUT_NONE;
}

uint32_t mg_rollout_weight(const mg_rollout *rollout, const mg_rollout_conf *conf)
{
    switch (rollout->state) {
    case MG_ROLLOUT_RUNNING:
    case MG_ROLLOUT_HELD: MG_CHECK(rollout->step < conf->step_count); return conf->steps[rollout->step];
    case MG_ROLLOUT_PROMOTED: return 100;
    case MG_ROLLOUT_FAILED: return 0;
    }
    MG_UNREACHABLE();
}

void mg_rollout_force(mg_rollout *rollout, const mg_rollout_conf *conf, mg_rollout_state state,
                      uint64_t now_ns)
{
    if (state == MG_ROLLOUT_RUNNING && rollout->state == MG_ROLLOUT_FAILED)
        rollout->step = 0;
    move(rollout, state, MG_ROLLOUT_NONE);
    mg_rollout_restore(rollout, conf, now_ns);
    rollout->began_ns = now_ns;
}

void mg_rollout_restore(mg_rollout *rollout, const mg_rollout_conf *conf, uint64_t now_ns)
{
    if (rollout->state < MG_ROLLOUT_RUNNING || rollout->state > MG_ROLLOUT_HELD)
        rollout->state = MG_ROLLOUT_FAILED; /* nothing that was written here: the stable version serves */
    if (rollout->step >= conf->step_count)
        rollout->step = conf->step_count - 1;
    if (rollout->strikes >= conf->strikes)
        rollout->strikes = conf->strikes - 1;
    if (rollout->began_ns > now_ns)
        rollout->began_ns = now_ns;
}

const char *mg_rollout_state_name(mg_rollout_state state)
{
    switch (state) {
    case MG_ROLLOUT_RUNNING: return "running";
    case MG_ROLLOUT_PROMOTED: return "promoted";
    case MG_ROLLOUT_FAILED: return "failed";
    case MG_ROLLOUT_HELD: return "held";
    }
    MG_UNREACHABLE();
}

const char *mg_rollout_action_name(mg_rollout_action action)
{
    static const char *const names[] = {
        "none", "hold", "advance", "promote", "strike", "rollback", "abort"
    };

    MG_CHECK(action < sizeof(names) / sizeof(*names));
    return names[action];
}
