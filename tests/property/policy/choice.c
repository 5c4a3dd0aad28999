/* Two choices by load and latency, beside scores worked out from everything ever observed; and ejection
 * beside a list of all that happened. */
#include "policy/balancer.h"
#include "policy/health.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

#include <math.h>

enum { RUNS = 100, STEPS = 300, HOSTS_MAX = 8 };

typedef struct seen {
    bool known, usable;
    double ms;
    uint64_t at_ns, trial_ns; /* trial: while there are failures */
    uint32_t inflight, weight, failures;
} seen;

typedef struct world {
    seen *all;
    size_t count;
} world;

static bool is_open(const seen *s)
{
    return s->usable && s->weight;
}

/* Of those that are measured and do not fail; of those that fail where there are no others; else 1. */
static double median(world w, const seen *except, uint64_t now_ns)
{
    double sorted[HOSTS_MAX];
    size_t n = 0;

    for (int failing = 0; failing < 2 && !n; failing++) {
        for (size_t i = 0; i < w.count; i++) {
            const seen *s = &w.all[i];
            double ms = s->ms * exp(-(double)(now_ns - s->at_ns) / 1e10);
            size_t at = n;

            if (s == except || !is_open(s) || !s->known || (s->failures && !failing))
                continue;
            for (; at && sorted[at - 1] > ms; at--)
                sorted[at] = sorted[at - 1];
            sorted[at] = ms;
            n++;
        }
    }
    return !n ? 1 : n % 2 ? sorted[n / 2] : (sorted[n / 2 - 1] + sorted[n / 2]) / 2;
}

static double by_hand(world w, const seen *s, bool latency, uint64_t now_ns)
{
    const double aged = s->known ? s->ms * exp(-(double)(now_ns - s->at_ns) / 1e10) : median(w, s, now_ns);

    return (latency ? aged : 1) * (s->inflight + 1) / s->weight;
}

static void put_off(seen *s, uint64_t now_ns)
{
    s->trial_ns = now_ns + (uint64_t)(fmin(10, 1 + s->failures / 2.0) * MG_NS_PER_S);
}

static void observe(world all, seen *s, double ms, bool ok, uint64_t now_ns)
{
    const double w = exp(-(double)(now_ns - s->at_ns) / 1e10);
    bool others = false;

    if (!ok) {
        s->failures++;
        put_off(s, now_ns);
    } else if (s->failures) {
        for (size_t i = 0; i < all.count; i++)
            others |= &all.all[i] != s && is_open(&all.all[i]) && all.all[i].known && !all.all[i].failures;
        s->failures = 0;
        s->known = s->known && all.count == 1;
        if (others)
            return;
    }
    if (!ok && ms < 1000)
        ms = 1000;
    s->ms = !s->known || ms > s->ms ? ms : s->ms * w + ms * (1 - w);
    s->known = true;
    s->at_ns = now_ns;
}

/* Two are drawn as the balancer draws them, from a generator in the same state. */
static int expected(world w, mg_rand rand, bool latency, uint64_t now_ns)
{
    size_t open[HOSTS_MAX], n = 0, first, second;
    seen *s = w.all;

    for (size_t i = 0; i < w.count; i++) {
        if (is_open(&s[i]))
            open[n++] = i;
    }
    if (n < 2)
        return n ? (int)open[0] : MG_BALANCER_NONE;
    for (size_t i = 0; latency && i < n; i++) { /* whose time has come to be asked again */
        if (s[open[i]].failures && now_ns >= s[open[i]].trial_ns) {
            put_off(&s[open[i]], now_ns);
            return (int)open[i];
        }
    }
    first = mg_rand_below(&rand, n);
    second = mg_rand_below(&rand, n - 1);
    second += second >= first;
    return (int)(by_hand(w, &s[open[second]], latency, now_ns) < by_hand(w, &s[open[first]], latency, now_ns)
                     ? open[second]
                     : open[first]);
}

/* Scores that differ in their last bits only, worked out in another order. */
static bool same_score(world w, int a, int b, uint64_t now_ns)
{
    const double left = a < 0 || b < 0 ? 1 : by_hand(w, &w.all[a], true, now_ns);
    const double right = a < 0 || b < 0 ? 2 : by_hand(w, &w.all[b], true, now_ns);

    return fabs(left - right) <= 1e-9 * left;
}

static void run_choice(mg_balancer_algorithm algorithm, uint64_t seed)
{
    uint32_t weights[HOSTS_MAX];
    seen s[HOSTS_MAX] = { 0 };
    mg_rand rand, own;
    mg_balancer *b;
    uint64_t now = 1;
    size_t count;

    mg_rand_init(&rand, seed);
    mg_rand_init(&own, seed + 1);
    count = 1 + mg_rand_below(&rand, HOSTS_MAX);
    for (size_t i = 0; i < count; i++)
        weights[i] = s[i].weight = (uint32_t)mg_rand_below(&rand, 4);
    b = balancer_with(algorithm, weights, count, &own);
    const world all = { s, count };
    for (size_t i = 0; i < count; i++)
        s[i].usable = true;
    for (int step = 0; step < STEPS; step++) {
        const int wanted = expected(all, own, algorithm == MG_BALANCER_PEAK_EWMA, now);
        const int got = mg_balancer_pick(b, NULL, 0, now);
        const size_t i = mg_rand_below(&rand, count);

        if (got != wanted && !same_score(all, got, wanted, now))
            fail_msg("SEED=%llu step %d: picked %d, wanted %d", (unsigned long long)seed, step, got, wanted);
        if (got >= 0) {
            mg_balancer_begin(b, (size_t)got);
            s[got].inflight++;
        }
        if (s[i].inflight) {
            const uint64_t ms = mg_rand_below(&rand, 100);
            const bool ok = mg_rand_below(&rand, 10);

            mg_balancer_end(b, i);
            mg_balancer_observe(b, i, ms * MG_NS_PER_MS, ok, now);
            s[i].inflight--;
            observe(all, &s[i], (double)ms, ok, now);
        }
        if (!mg_rand_below(&rand, 10)) {
            s[i].usable = !s[i].usable;
            mg_balancer_set_usable(b, i, s[i].usable);
            if (s[i].usable) {
                s[i].known = false;
                s[i].failures = 0;
            }
        }
        now += 51 * MG_NS_PER_MS + mg_rand_below(&rand, MG_NS_PER_S); /* the median is looked at again */
    }
    mg_balancer_free(b);
}

static void two_choices_pick_whom_the_scores_name(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++) {
        run_choice(MG_BALANCER_LEAST_REQUEST, seed + i);
        run_choice(MG_BALANCER_PEAK_EWMA, seed + i);
    }
}

typedef struct outcast {
    uint64_t until_ms;
    uint32_t run;
    int times;
} outcast;

static void run_ejection(uint64_t seed)
{
    outcast hosts[HOSTS_MAX] = { 0 };
    mg_ejection_conf conf;
    mg_ejection *e;
    mg_rand rand;
    uint64_t now_ms = 0;
    size_t count;

    mg_rand_init(&rand, seed);
    conf = ejection_defaults;
    count = 1 + mg_rand_below(&rand, HOSTS_MAX);
    conf.consecutive = 1 + (uint32_t)mg_rand_below(&rand, 4);
    conf.base_ms = 1 + mg_rand_below(&rand, 500);
    conf.max_ms = conf.base_ms + mg_rand_below(&rand, 2000);
    conf.interval_ms = 1 + mg_rand_below(&rand, 500);
    conf.max_percent = (uint32_t)mg_rand_below(&rand, 101);
    conf.success_rate = false;
    e = mg_ejection_new(&conf, count);
    for (int step = 0; step < STEPS; step++) {
        const size_t i = mg_rand_below(&rand, count);
        const bool ok = mg_rand_below(&rand, 3) == 0;
        outcast *h = &hosts[i];
        size_t out = 0, room = count * conf.max_percent / 100;

        for (size_t k = 0; k < count; k++)
            out += hosts[k].until_ms > now_ms;
        room = room < 1 ? 1 : room > count - 1 ? count - 1 : room;
        if (h->until_ms <= now_ms) {
            h->run = ok ? 0 : h->run + 1;
            if (h->run >= conf.consecutive && out < room && count > 1) {
                const uint64_t good = (now_ms - h->until_ms) / conf.interval_ms;

                h->times = h->times > (int)good ? h->times - (int)good : 0;
                h->times = h->times + 1;
                h->run = 0;
                h->until_ms = now_ms + mg_min_u64(conf.base_ms * (uint64_t)h->times, conf.max_ms);
                if ((uint64_t)h->times > conf.max_ms / conf.base_ms + 1)
                    h->times = (int)(conf.max_ms / conf.base_ms + 1);
            }
        }
        mg_ejection_result(e, i, ok, now_ms * MG_NS_PER_MS);
        out = 0;
        for (size_t k = 0; k < count; k++) {
            const bool is = mg_ejection_is_out(e, k, now_ms * MG_NS_PER_MS);

            if (is != (hosts[k].until_ms > now_ms))
                fail_msg("SEED=%llu step %d: host %zu is %s", (unsigned long long)seed, step, k,
                         is ? "out" : "in");
            out += is;
        }
        assert_true(out < count || !out);
        now_ms += mg_rand_below(&rand, 4) ? mg_rand_below(&rand, 50) : mg_rand_below(&rand, 2000);
    }
    mg_ejection_free(e);
}

static void ejection_is_what_a_list_of_results_gives(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++)
        run_ejection(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_choices_pick_whom_the_scores_name),
        cmocka_unit_test(ejection_is_what_a_list_of_results_gives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
