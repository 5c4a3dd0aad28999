/* rollout.c - splitting by a hash, and the steps of a canary. */
#include "policy/rollout.h"

#include "base/check.h"
#include "base/time.h"

enum {
    SPLIT_SEED = 6,
    SIDE_SEED = 7,
    FRACTION_BITS = 58,
    WHOLE_MAX = 63,
    ABORT_ERRORS = 5,
    ABORT_TIMES = 10,
    ERRORS_WHOLE = 100000
};

/* H(key + "|" + salt, 6) without joining them: the hash of base/str.h, byte by byte. */
static uint64_t hash_more(uint64_t h, mg_str s)
{
    for (size_t i = 0; i < s.n; i++)
        h = (h ^ (unsigned char)s.p[i]) * 0x100000001b3u;
    return h;
}

static uint64_t hash_of(mg_str key, mg_str salt)
{
    uint64_t h = hash_more(hash_more(hash_more(0xcbf29ce484222325u, key), MG_STR("|")), salt);

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

mg_rollout_side mg_rollout_side_of(mg_str name, uint32_t weight)
{
    return (mg_rollout_side){ mg_hash(name, SIDE_SEED), weight };
}

/* A step of SplitMix64: the next number of the sequence that *state is a place in. */
static uint64_t next_of(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* An exponentially distributed number with a mean of 2^58. It is made of comparisons alone (von Neumann,
 * "Various techniques used in connection with random digits", 1951), so that every machine makes the same
 * one: a fraction counts that begins a falling run of odd length; each run of even length before adds 1. */
static uint64_t wait_of(uint64_t state)
{
    uint64_t whole = 0;

    for (;; whole += whole < WHOLE_MAX) {
        const uint64_t first = next_of(&state);
        uint64_t last = first, run = 1, next;

        while ((next = next_of(&state)) < last) {
            last = next;
            run++;
        }
        if (run % 2)
            return whole << FRACTION_BITS | first >> (64 - FRACTION_BITS);
    }
}

/* The least of the waits, each divided by its side's weight (weighted rendezvous hashing: Thaler and
 * Ravishankar 1998, with the weights of Schindelhauer and Schomaker 2005). They are compared multiplied out,
 * so nothing is rounded: weights that are all ten times as large move nobody. */
int mg_rollout_split(mg_str key, mg_str salt, const mg_rollout_side *sides, size_t count)
{
    const uint64_t hash = hash_of(key, salt);
    int best = MG_ROLLOUT_NO_BACKEND;
    uint64_t least = 0;

    for (size_t i = 0; i < count; i++) {
        unsigned __int128 here, there;
        uint64_t wait;

        if (!sides[i].weight)
            continue;
        wait = wait_of(hash ^ sides[i].hash);
        here = best < 0 ? 0 : (unsigned __int128)wait * sides[best].weight;
        there = (unsigned __int128)least * sides[i].weight;
        if (best >= 0 && (here > there || (here == there && sides[i].hash > sides[best].hash)))
            continue;
        best = (int)i;
        least = wait;
    }
    return best;
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
    static const char *const words[] = { MG_ROLLOUT_STATES(MG_STORED_TEXT) };

    MG_CHECK(state >= MG_ROLLOUT_RUNNING && state <= MG_ROLLOUT_HELD);
    return words[state];
}
