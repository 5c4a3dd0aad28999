/* adaptive.c - a limit that follows latency, and a throttle that follows refusals. */
#include "policy/adaptive.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/recent.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    WARM_WINDOWS = 10,
    SAMPLES_MIN = 10,
    THROTTLE_SLICES = 12,
};

#define WINDOW_NS         MG_NS_PER_S
#define THROTTLE_SLICE_NS (10 * MG_NS_PER_S) /* 12 of them: two minutes */

static double clamp(double x, double least, double most)
{
    return x < least ? least : x > most ? most : x;
}

void mg_gradient_init(mg_gradient *gradient, const mg_adaptive_conf *conf)
{
    *gradient = (mg_gradient){ .limit = clamp(conf->initial, conf->min, conf->max) };
}

static void learn(mg_gradient *g, const mg_adaptive_conf *conf, double rtt)
{
    if (g->warm_count < WARM_WINDOWS) {
        g->warm_sum += rtt;
        g->long_rtt = g->warm_sum / ++g->warm_count;
    } else {
        const double share = 2.0 / (conf->long_window + 1);

        g->long_rtt = g->long_rtt * (1 - share) + rtt * share;
    }
}

/* With half the load latency stays: then it is not load that makes it. Else this is what it is without. */
static double end_probe(mg_gradient *g, double rtt)
{
    g->long_rtt = rtt >= 0.9 * g->before ? rtt : fmin(g->long_rtt, rtt);
    g->warm_count = WARM_WINDOWS;
    g->probing = false;
    g->slow_run = 0;
    return g->limit = g->resume;
}

static double next_limit(const mg_gradient *g, const mg_adaptive_conf *conf, double gradient)
{
    const double wanted = g->limit * gradient + ceil(sqrt(floor(g->limit)));

    return clamp(g->limit * (1 - conf->smoothing) + wanted * conf->smoothing, conf->min, conf->max);
}

double mg_gradient_window(mg_gradient *gradient, const mg_adaptive_conf *conf, double rtt, double inflight)
{
    mg_gradient *g = gradient;
    double ratio, slope;

    if (!(rtt > 0))
        return g->limit;
    if (g->probing)
        return end_probe(g, rtt);
    learn(g, conf, rtt);
    ratio = g->long_rtt / rtt;
    if (ratio > 2)
        g->long_rtt *= 0.95;
    if (2 * inflight < g->limit) { /* not what bounds the load: nothing to learn about the limit */
        g->slow_run = 0;
        return g->limit;
    }
    slope = clamp(conf->tolerance * ratio, 0.5, 1);
    g->limit = next_limit(g, conf, slope);
    g->slow_run = slope < 1 ? g->slow_run + 1 : 0;
    if (conf->probe_after && g->slow_run >= conf->probe_after) {
        g->probing = true;
        g->before = rtt;
        g->resume = g->limit;
        g->limit = fmax(conf->min, g->limit * conf->probe_factor);
    }
    return g->limit;
}

struct mg_adaptive {
    mg_adaptive_conf conf;
    mg_gradient gradient; /* whoever has `rolling` */
    _Atomic bool rolling;
    _Atomic uint32_t limit;
    _Alignas(64) _Atomic uint32_t inflight;
    _Atomic uint32_t peak, samples;
    _Atomic uint64_t sum_us, began_ns; /* of the window */
};

mg_adaptive *mg_adaptive_new(const mg_adaptive_conf *conf)
{
    mg_adaptive *a = aligned_alloc(64, sizeof(*a));

    MG_CHECK(a);
    memset(a, 0, sizeof(*a));
    a->conf = *conf;
    mg_gradient_init(&a->gradient, conf);
    atomic_init(&a->limit, (uint32_t)a->gradient.limit);
    return a;
}

void mg_adaptive_free(mg_adaptive *adaptive)
{
    free(adaptive);
}

bool mg_adaptive_begin(mg_adaptive *adaptive)
{
    const uint32_t limit = atomic_load_explicit(&adaptive->limit, memory_order_relaxed);
    uint32_t seen = atomic_load_explicit(&adaptive->inflight, memory_order_relaxed), peak;

    do {
        if (seen >= limit)
            return false;
    } while (!atomic_compare_exchange_weak(&adaptive->inflight, &seen, seen + 1));
    peak = atomic_load_explicit(&adaptive->peak, memory_order_relaxed);
    while (peak < seen + 1 && !atomic_compare_exchange_weak(&adaptive->peak, &peak, seen + 1))
        ;
    return true;
}

/* Ends the window, if it is long enough and nobody else is at it. */
static void roll(mg_adaptive *a, uint64_t now_ns)
{
    uint32_t samples, peak;
    uint64_t sum_us;

    if (atomic_exchange(&a->rolling, true))
        return;
    samples = atomic_load(&a->samples);
    if (samples >= SAMPLES_MIN && now_ns >= atomic_load(&a->began_ns) + WINDOW_NS) {
        samples = atomic_exchange(&a->samples, 0);
        sum_us = atomic_exchange(&a->sum_us, 0);
        peak = atomic_exchange(&a->peak, atomic_load(&a->inflight));
        atomic_store(&a->began_ns, now_ns);
        atomic_store(&a->limit,
                     (uint32_t)mg_gradient_window(&a->gradient, &a->conf, (double)sum_us / samples, peak));
    }
    atomic_store(&a->rolling, false);
}

void mg_adaptive_end(mg_adaptive *adaptive, uint64_t rtt_ns, uint64_t now_ns)
{
    uint64_t none = 0;

    if (rtt_ns) {
        atomic_fetch_add_explicit(&adaptive->sum_us, rtt_ns / 1000 + 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&adaptive->samples, 1, memory_order_relaxed);
    }
    atomic_fetch_sub_explicit(&adaptive->inflight, 1, memory_order_relaxed);
    if (!atomic_load_explicit(&adaptive->began_ns, memory_order_relaxed))
        atomic_compare_exchange_strong(&adaptive->began_ns, &none, now_ns);
    else if (now_ns >= atomic_load_explicit(&adaptive->began_ns, memory_order_relaxed) + WINDOW_NS)
        roll(adaptive, now_ns);
}

uint32_t mg_adaptive_limit(const mg_adaptive *adaptive)
{
    return atomic_load(&adaptive->limit);
}

uint32_t mg_adaptive_inflight(const mg_adaptive *adaptive)
{
    return atomic_load(&adaptive->inflight);
}

struct mg_throttle {
    mg_recent requests, accepts;
};

mg_throttle *mg_throttle_new(void)
{
    return MG_NEW(mg_throttle);
}

void mg_throttle_free(mg_throttle *throttle)
{
    mg_free(throttle);
}

double mg_throttle_share(const mg_throttle_conf *conf, uint64_t requests, uint64_t accepts)
{
    const double over = (double)requests - conf->k * (double)accepts;

    if (requests < conf->min_req)
        return 0;
    return clamp(over / ((double)requests + 1), 0, conf->cap);
}

bool mg_throttle_admit(mg_throttle *throttle, const mg_throttle_conf *conf, double u, uint64_t now_ns)
{
    const uint64_t slice = now_ns / THROTTLE_SLICE_NS;
    const double share = mg_throttle_share(conf, mg_recent_sum(&throttle->requests, slice, THROTTLE_SLICES),
                                           mg_recent_sum(&throttle->accepts, slice, THROTTLE_SLICES));

    mg_recent_add(&throttle->requests, slice, 1);
    return u >= share;
}

void mg_throttle_accepted(mg_throttle *throttle, uint64_t now_ns)
{
    mg_recent_add(&throttle->accepts, now_ns / THROTTLE_SLICE_NS, 1);
}
