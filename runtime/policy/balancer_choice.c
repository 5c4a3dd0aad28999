/* balancer_choice.c - two choices, by load or by latency and load (Mitzenmacher 2001; Finagle's peak EWMA).
 *
 * A failure counts as a latency of `penalty` at least and falls with tau like any other: an endpoint that was
 * away for a moment would wait for ten times as long until its score lets anybody ask it. So an endpoint that
 * failed is asked again whatever its score, by one request: after one and a half penalties, then two, two and
 * a half, and so on up to tau. The first good answer makes it one without history, which counts as the median
 * of the others. */
#include "policy/balancer_parts.h"

#include "base/check.h"
#include "base/time.h"

#include <math.h>
#include <stdlib.h>

enum { FAILURES_MAX = 1 << 20 }; /* counted */

void mg_ewma_observe(mg_ewma *ewma, double ms, double tau_ms, uint64_t now_ns)
{
    if (!ewma->known || ms > ewma->ms) {
        ewma->ms = ms;
    } else {
        const uint64_t passed_ns = now_ns > ewma->at_ns ? now_ns - ewma->at_ns : 0;
        const double old = exp(-(double)passed_ns / (tau_ms * MG_NS_PER_MS));

        ewma->ms = ewma->ms * old + ms * (1 - old);
    }
    ewma->known = true;
    ewma->at_ns = mg_max_u64(ewma->at_ns, now_ns);
}

double mg_ewma_read(const mg_ewma *ewma, double tau_ms, uint64_t now_ns)
{
    return now_ns > ewma->at_ns ? ewma->ms * exp(-(double)(now_ns - ewma->at_ns) / (tau_ms * MG_NS_PER_MS))
                                : ewma->ms;
}

size_t mg_balancer_two(size_t count, size_t first, size_t second, double (*score)(void *self, size_t index),
                       void *self)
{
    if (count < 2)
        return 0;
    second += second >= first;
    return score(self, second) < score(self, first) ? second : first;
}

/* ---- scores ---- */

/* Two choices, being made. */
typedef struct choice {
    const mg_balancer *b;
    const uint16_t *among;
} choice;

static double load_of(void *self, size_t index)
{
    const choice *c = self;

    return (double)(mg_inflight_get(c->b->conf.inflight, c->among[index]) + 1) /
           c->b->all[c->among[index]].weight;
}

/* Latency times load, and how long ago the latency was that. */
typedef struct cost {
    double loaded_ms, weight;
    uint64_t age_ns;
} cost;

static cost cost_of(const mg_balancer *b, size_t endpoint, uint64_t now_ns)
{
    const balancer_host *e = &b->all[endpoint];
    const double load = mg_inflight_get(b->conf.inflight, endpoint) + 1.0;

    if (!e->latency.known)
        return (cost){ b->median_ms * load, e->weight, 0 };
    return (cost){ e->latency.ms * load, e->weight,
                   now_ns > e->latency.at_ns ? now_ns - e->latency.at_ns : 0 };
}

/* Both fall with one tau, so that only the difference of their ages is to be reckoned with. */
static bool is_cheaper(const mg_balancer *b, size_t endpoint, size_t other, uint64_t now_ns)
{
    const cost one = cost_of(b, endpoint, now_ns), two = cost_of(b, other, now_ns);
    const double ahead_ns = (double)(int64_t)(one.age_ns - two.age_ns);
    const double left = exp(-fabs(ahead_ns) / ((double)b->conf.tau_ms * MG_NS_PER_MS));

    return one.loaded_ms * two.weight * (ahead_ns > 0 ? left : 1) <
           two.loaded_ms * one.weight * (ahead_ns < 0 ? left : 1);
}

/* ---- who failed, and who is new ---- */

/* How long after its last failure an endpoint is asked again. */
static uint64_t trial_wait_ns(const mg_balancer *b, uint32_t failures)
{
    const uint64_t wait_ms = b->conf.penalty_ms + b->conf.penalty_ms * failures / 2;

    return mg_min_u64(wait_ms, b->conf.tau_ms) * MG_NS_PER_MS;
}

/* An endpoint that it is time to ask again, or MG_BALANCER_NONE. One asks; the others wait for what becomes
 * of it. */
static int on_trial(mg_balancer *b, const uint16_t *among, size_t count, uint64_t now_ns)
{
    int endpoint = MG_BALANCER_NONE;

    if (now_ns < b->trial_ns)
        return MG_BALANCER_NONE;
    for (size_t i = 0; i < count && endpoint < 0; i++) {
        balancer_host *e = &b->all[among[i]];

        if (!e->failures || now_ns < e->trial_ns)
            continue;
        e->trial_ns = now_ns + trial_wait_ns(b, e->failures);
        endpoint = among[i];
    }
    b->trial_ns = UINT64_MAX;
    for (size_t i = 0; i < b->open_count; i++) {
        const balancer_host *e = &b->all[b->open[i]];

        if (e->failures)
            b->trial_ns = mg_min_u64(b->trial_ns, e->trial_ns);
    }
    return endpoint;
}

/* A weight in the score would leave nothing to an endpoint on its ramp while there is little load: the warm
 * one is always cheaper. So it has its whole weight, and leaves its draw to the other one by the part of its
 * share that it has not got yet. */
static bool steps_aside(mg_balancer *b, size_t endpoint)
{
    return b->all[endpoint].share < 1 && mg_rand_unit(b->conf.rand) >= b->all[endpoint].share;
}

int mg_balancer_of_two(mg_balancer *b, const uint16_t *among, size_t count, uint64_t now_ns)
{
    const bool by_latency = b->conf.algorithm == MG_BALANCER_PEAK_EWMA;
    choice c = { b, among };
    size_t first, second;

    if (count == 1)
        return among[0];
    if (by_latency && b->failing) {
        const int endpoint = on_trial(b, among, count, now_ns);

        if (endpoint >= 0)
            return endpoint;
    }
    first = mg_rand_below(b->conf.rand, count);
    second = mg_rand_below(b->conf.rand, count - 1);
    if (b->starting) {
        const size_t other = second + (second >= first);
        const bool one = steps_aside(b, among[first]), two = steps_aside(b, among[other]);

        if (one != two)
            return among[one ? other : first];
    }
    if (!by_latency)
        return among[mg_balancer_two(count, first, second, load_of, &c)];
    second += second >= first;
    return among[is_cheaper(b, among[second], among[first], now_ns) ? second : first];
}

void mg_balancer_forget(mg_balancer *b, balancer_host *e)
{
    b->failing -= e->failures > 0;
    e->failures = 0;
    e->latency = (mg_ewma){ 0 };
    b->stale = true;
}

/* ---- latencies ---- */

static int ascending(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* The latencies of those who may be picked, without `except`; of those who fail only where nobody else is:
 * a penalty is not a latency. Returns how many. */
static size_t known_ms(const mg_balancer *b, const balancer_host *except, bool failing, uint64_t now_ns,
                       double *out)
{
    size_t count = 0;

    for (size_t i = 0; i < b->open_count; i++) {
        const balancer_host *e = &b->all[b->open[i]];

        if (e != except && e->latency.known && (failing || !e->failures))
            out[count++] = mg_ewma_read(&e->latency, (double)b->conf.tau_ms, now_ns);
    }
    return count;
}

/* 1 ms where there are no others to go by. */
static double median_of(const mg_balancer *b, const balancer_host *except, uint64_t now_ns)
{
    double known[MG_BALANCER_ENDPOINTS_MAX];
    size_t count = known_ms(b, except, false, now_ns, known);

    if (!count)
        count = known_ms(b, except, true, now_ns, known);
    if (!count)
        return 1;
    qsort(known, count, sizeof(known[0]), ascending);
    return count % 2 ? known[count / 2] : (known[count / 2 - 1] + known[count / 2]) / 2;
}

void mg_balancer_refresh_median(mg_balancer *b, uint64_t now_ns)
{
    size_t unknown = 0;

    for (size_t i = 0; i < b->open_count; i++)
        unknown += !b->all[b->open[i]].latency.known;
    if (unknown)
        b->median_ms = median_of(b, NULL, now_ns);
}

static void fail(mg_balancer *b, balancer_host *e, uint64_t now_ns)
{
    b->failing += !e->failures;
    e->failures += e->failures < FAILURES_MAX;
    e->trial_ns = now_ns + trial_wait_ns(b, e->failures);
    b->trial_ns = mg_min_u64(b->trial_ns, e->trial_ns);
}

/* Whether there is anybody whose latency can stand in for the endpoint's. */
static bool has_others(const mg_balancer *b, const balancer_host *e)
{
    for (size_t i = 0; i < b->open_count; i++) {
        const balancer_host *other = &b->all[b->open[i]];

        if (other != e && other->latency.known && !other->failures)
            return true;
    }
    return false;
}

void mg_balancer_observe(mg_balancer *balancer, size_t endpoint, uint64_t rtt_ns, bool ok, uint64_t now_ns)
{
    const double ms = (double)rtt_ns / MG_NS_PER_MS, penalty_ms = (double)balancer->conf.penalty_ms;
    balancer_host *e = &balancer->all[endpoint];

    MG_CHECK(endpoint < balancer->conf.count);
    if (!ok) {
        fail(balancer, e, now_ns);
    } else if (e->failures) {
        balancer->failing--;
        e->failures = 0;
        if (balancer->conf.count > 1)
            mg_balancer_forget(balancer, e);
        if (has_others(balancer, e))
            return; /* what the first answer took, a connection had to be made for */
    }
    mg_ewma_observe(&e->latency, !ok && ms < penalty_ms ? penalty_ms : ms, (double)balancer->conf.tau_ms,
                    now_ns);
}

double mg_balancer_latency_ms(const mg_balancer *balancer, size_t endpoint, uint64_t now_ns)
{
    const balancer_host *e = &balancer->all[endpoint];

    MG_CHECK(endpoint < balancer->conf.count);
    return e->latency.known ? mg_ewma_read(&e->latency, (double)balancer->conf.tau_ms, now_ns)
                            : median_of(balancer, e, now_ns);
}
