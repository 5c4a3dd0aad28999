/* balancer.c - smooth weighted round robin (as nginx picks), weighted random, two choices by load or latency
 * (Mitzenmacher 2001), and maglev with bounded load (arXiv:1608.01350). */
#include "policy/balancer.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/health.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

enum { START_STEPS_MAX = 1024, SCALE = 100 };

#define REFRESH_NS (50 * MG_NS_PER_MS) /* how often what moves slowly is looked at again */

struct mg_inflight {
    _Atomic uint32_t refs;
    size_t count;
    _Atomic uint32_t total;
    struct {
        _Alignas(64) _Atomic uint32_t now;
    } each[];
};

typedef struct host {
    int64_t current; /* round robin: how much it is due */
    uint32_t weight; /* as configured */
    uint32_t live;   /* SCALE * weight while usable, less while it starts; else 0 */
    bool usable, returning;
    uint64_t since_ns; /* 0 = warm */
    mg_ewma latency;
} host;

struct mg_balancer {
    mg_balancer_conf conf; /* its weights are not kept */
    host *all;             /* owned */
    uint16_t *open;        /* owned: who may be picked, in order */
    uint16_t *untried;     /* owned: scratch */
    size_t open_count;
    size_t starting;       /* endpoints on their ramp */
    uint64_t refreshed_ns; /* when ramps and the median were */
    double median_ms;
};

mg_inflight *mg_inflight_new(size_t count)
{
    mg_inflight *f;

    MG_CHECK(count <= MG_BALANCER_ENDPOINTS_MAX);
    f = aligned_alloc(64, sizeof(*f) + count * sizeof(f->each[0]));
    MG_CHECK(f);
    atomic_init(&f->refs, 1);
    atomic_init(&f->total, 0);
    f->count = count;
    for (size_t i = 0; i < count; i++)
        atomic_init(&f->each[i].now, 0);
    return f;
}

mg_inflight *mg_inflight_ref(mg_inflight *inflight)
{
    atomic_fetch_add(&inflight->refs, 1);
    return inflight;
}

void mg_inflight_unref(mg_inflight *inflight)
{
    if (inflight && atomic_fetch_sub(&inflight->refs, 1) == 1)
        free(inflight);
}

uint32_t mg_inflight_get(const mg_inflight *inflight, size_t endpoint)
{
    return atomic_load_explicit(&inflight->each[endpoint].now, memory_order_relaxed);
}

void mg_inflight_add(mg_inflight *inflight, size_t endpoint, int more)
{
    MG_CHECK(endpoint < inflight->count);
    atomic_fetch_add_explicit(&inflight->each[endpoint].now, (uint32_t)more, memory_order_relaxed);
    atomic_fetch_add_explicit(&inflight->total, (uint32_t)more, memory_order_relaxed);
}

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

static bool was_tried(const int *tried, size_t tried_count, size_t endpoint)
{
    for (size_t i = 0; i < tried_count; i++) {
        if (tried[i] == (int)endpoint)
            return true;
    }
    return false;
}

/* Who has the largest due after all got their weight; the first wins a tie. The sum is the picked one's
 * price, so the dues keep adding up to nothing. */
static int pick_round_robin(mg_balancer *b, const uint16_t *among, size_t count)
{
    int64_t sum = 0, largest = INT64_MIN;
    host *best = NULL;

    for (size_t i = 0; i < count; i++) {
        host *e = &b->all[among[i]];

        e->current += e->live;
        sum += e->live;
        if (e->current > largest) {
            largest = e->current;
            best = e;
        }
    }
    MG_CHECK(best); /* count is not 0 */
    best->current -= sum;
    return (int)(best - b->all);
}

static int pick_random(mg_balancer *b, const uint16_t *among, size_t count)
{
    uint64_t sum = 0, at;

    for (size_t i = 0; i < count; i++)
        sum += b->all[among[i]].live;
    at = mg_rand_below(b->conf.rand, sum);
    for (size_t i = 0; i < count; i++) {
        const uint64_t share = b->all[among[i]].live;

        if (at < share)
            return among[i];
        at -= share;
    }
    MG_UNREACHABLE();
}

/* Two choices, being made. */
typedef struct choice {
    const mg_balancer *b;
    const uint16_t *among;
} choice;

static double load_of(void *self, size_t index)
{
    const choice *c = self;
    const host *e = &c->b->all[c->among[index]];

    return (double)(mg_inflight_get(c->b->conf.inflight, c->among[index]) + 1) / e->live;
}

static double latency_of(const mg_balancer *b, const host *e, uint64_t now_ns)
{
    return e->latency.known ? mg_ewma_read(&e->latency, (double)b->conf.tau_ms, now_ns) : b->median_ms;
}

/* Latency times load, and how long ago the latency was that. */
typedef struct cost {
    double loaded_ms, weight;
    uint64_t age_ns;
} cost;

static cost cost_of(const mg_balancer *b, size_t endpoint, uint64_t now_ns)
{
    const host *e = &b->all[endpoint];
    const double load = mg_inflight_get(b->conf.inflight, endpoint) + 1.0;

    if (!e->latency.known)
        return (cost){ b->median_ms * load, e->live, 0 };
    return (cost){ e->latency.ms * load, e->live, now_ns > e->latency.at_ns ? now_ns - e->latency.at_ns : 0 };
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

static int pick_of_two(mg_balancer *b, const uint16_t *among, size_t count, uint64_t now_ns)
{
    choice c = { b, among };
    size_t first, second;

    if (count == 1)
        return among[0];
    first = mg_rand_below(b->conf.rand, count);
    second = mg_rand_below(b->conf.rand, count - 1);
    if (b->conf.algorithm == MG_BALANCER_LEAST_REQUEST)
        return among[mg_balancer_two(count, first, second, load_of, &c)];
    second += second >= first;
    return among[is_cheaper(b, among[second], among[first], now_ns) ? second : first];
}

/* The first slot from the key's on whose endpoint may take one more. Who is over the bound is passed by, and
 * who may not be picked at all. */
static int pick_by_key(mg_balancer *b, uint64_t hash, const int *tried, size_t tried_count)
{
    const mg_maglev *t = b->conf.maglev;
    const uint64_t room = 1ull + atomic_load_explicit(&b->conf.inflight->total, memory_order_relaxed);
    const uint64_t share = 1000 * b->open_count;
    uint64_t bound = UINT64_MAX;
    uint32_t slot = mg_maglev_slot(t, hash);

    MG_CHECK(share); /* whoever picks has somebody to pick */
    if (b->conf.bound_milli)
        bound = (b->conf.bound_milli * room + share - 1) / share;
    for (uint32_t steps = 0; steps < mg_maglev_size(t); steps++) {
        const int owner = mg_maglev_owner(t, slot);

        if (owner >= 0 && b->all[owner].live && mg_inflight_get(b->conf.inflight, (size_t)owner) < bound &&
            !was_tried(tried, tried_count, (size_t)owner))
            return owner;
        slot = slot + 1 < mg_maglev_size(t) ? slot + 1 : 0;
    }
    return MG_BALANCER_NONE;
}

static void weigh(mg_balancer *b, host *e, uint64_t now_ns)
{
    double share = 1;

    if (e->since_ns) {
        const uint64_t age_ms = now_ns > e->since_ns ? (now_ns - e->since_ns) / MG_NS_PER_MS : 0;

        share = mg_health_slow_start(age_ms, b->conf.slow_start_ms, 1, b->conf.slow_start_min);
        if (age_ms >= b->conf.slow_start_ms) {
            e->since_ns = 0;
            b->starting--;
        }
    }
    e->live = e->usable ? (uint32_t)(e->weight * SCALE * share + 0.5) : 0;
    if (e->usable && e->weight && !e->live)
        e->live = 1;
}

static void list_open(mg_balancer *b)
{
    b->open_count = 0;
    for (size_t i = 0; i < b->conf.count; i++) {
        if (b->all[i].live)
            b->open[b->open_count++] = (uint16_t)i;
    }
}

static int ascending(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

/* What stands in for a latency nobody has seen yet. */
static double median_of(const mg_balancer *b, uint64_t now_ns)
{
    double known[MG_BALANCER_ENDPOINTS_MAX];
    size_t count = 0;

    for (size_t i = 0; i < b->open_count; i++)
        count += b->all[b->open[i]].latency.known;
    if (!count || count == b->open_count) /* nobody to go by, or nobody who asks */
        return 1;
    count = 0;
    for (size_t i = 0; i < b->open_count; i++) {
        if (b->all[b->open[i]].latency.known)
            known[count++] = latency_of(b, &b->all[b->open[i]], now_ns);
    }
    qsort(known, count, sizeof(known[0]), ascending);
    return count % 2 ? known[count / 2] : (known[count / 2 - 1] + known[count / 2]) / 2;
}

/* Ramps and the median move slowly, so they are not looked at for every pick. */
static void refresh(mg_balancer *b, uint64_t now_ns)
{
    if (now_ns - b->refreshed_ns < REFRESH_NS && b->refreshed_ns)
        return;
    b->refreshed_ns = now_ns ? now_ns : 1;
    for (size_t i = 0; b->starting && i < b->conf.count; i++) {
        host *e = &b->all[i];

        if (e->returning)
            e->since_ns = now_ns ? now_ns : 1;
        e->returning = false;
        if (e->since_ns)
            weigh(b, e, now_ns);
    }
    if (b->conf.algorithm == MG_BALANCER_PEAK_EWMA)
        b->median_ms = median_of(b, now_ns);
}

static int pick_among(mg_balancer *b, uint64_t hash, const uint16_t *among, size_t count, uint64_t now_ns)
{
    int endpoint;

    switch (b->conf.algorithm) {
    case MG_BALANCER_ROUND_ROBIN: return pick_round_robin(b, among, count);
    case MG_BALANCER_RANDOM: return pick_random(b, among, count);
    case MG_BALANCER_LEAST_REQUEST:
    case MG_BALANCER_PEAK_EWMA: return pick_of_two(b, among, count, now_ns);
    case MG_BALANCER_MAGLEV: break;
    }
    endpoint = pick_by_key(b, hash, NULL, 0);
    return endpoint >= 0 ? endpoint : among[0]; /* its weight was 0 when the table was built */
}

int mg_balancer_pick_for(mg_balancer *balancer, uint64_t hash, const int *tried, size_t tried_count,
                         uint64_t now_ns)
{
    mg_balancer *b = balancer;
    size_t count = 0;

    if (!b->open_count)
        return MG_BALANCER_NONE;
    if (b->starting || b->conf.algorithm == MG_BALANCER_PEAK_EWMA)
        refresh(b, now_ns);
    if (!tried_count)
        return pick_among(b, hash, b->open, b->open_count, now_ns);
    for (size_t i = 0; i < b->open_count; i++) {
        if (!was_tried(tried, tried_count, b->open[i]))
            b->untried[count++] = b->open[i];
    }
    if (!count)
        return pick_among(b, hash, b->open, b->open_count, now_ns);
    if (b->conf.algorithm == MG_BALANCER_MAGLEV) {
        const int owner = pick_by_key(b, hash, tried, tried_count);

        return owner >= 0 ? owner : b->untried[0]; /* who is left is over the bound */
    }
    return pick_among(b, hash, b->untried, count, now_ns);
}

int mg_balancer_pick(mg_balancer *balancer, const int *tried, size_t tried_count, uint64_t now_ns)
{
    const uint64_t hash =
        balancer->conf.algorithm == MG_BALANCER_MAGLEV ? mg_rand_next(balancer->conf.rand) : 0;

    return mg_balancer_pick_for(balancer, hash, tried, tried_count, now_ns);
}

void mg_balancer_begin(mg_balancer *balancer, size_t endpoint)
{
    mg_inflight_add(balancer->conf.inflight, endpoint, 1);
}

void mg_balancer_end(mg_balancer *balancer, size_t endpoint)
{
    mg_inflight_add(balancer->conf.inflight, endpoint, -1);
}

void mg_balancer_observe(mg_balancer *balancer, size_t endpoint, uint64_t rtt_ns, bool ok, uint64_t now_ns)
{
    const double ms = (double)rtt_ns / MG_NS_PER_MS, penalty_ms = (double)balancer->conf.penalty_ms;

    MG_CHECK(endpoint < balancer->conf.count);
    mg_ewma_observe(&balancer->all[endpoint].latency, !ok && ms < penalty_ms ? penalty_ms : ms,
                    (double)balancer->conf.tau_ms, now_ns);
}

double mg_balancer_latency_ms(mg_balancer *balancer, size_t endpoint, uint64_t now_ns)
{
    MG_CHECK(endpoint < balancer->conf.count);
    refresh(balancer, now_ns);
    return latency_of(balancer, &balancer->all[endpoint], now_ns);
}

/* Somewhere in the cycle, so that workers that start together do not all begin with the first endpoint. */
static void start_anywhere(mg_balancer *b)
{
    uint64_t sum = 0, steps;

    for (size_t i = 0; i < b->conf.count; i++)
        sum += b->all[i].weight;
    if (!sum)
        return;
    steps = mg_rand_below(b->conf.rand, sum < START_STEPS_MAX ? sum : START_STEPS_MAX);
    while (steps--)
        pick_round_robin(b, b->open, b->open_count);
}

void mg_balancer_conf_defaults(mg_balancer_conf *conf)
{
    *conf = (mg_balancer_conf){
        .algorithm = MG_BALANCER_PEAK_EWMA,
        .tau_ms = 10000,
        .penalty_ms = 1000,
        .bound_milli = 1250,
        .slow_start_ms = 10000,
        .slow_start_min = 0.1,
    };
}

mg_balancer *mg_balancer_make(const mg_balancer_conf *conf)
{
    mg_balancer *b = MG_NEW(mg_balancer);

    MG_CHECK(conf->count <= MG_BALANCER_ENDPOINTS_MAX);
    MG_CHECK(conf->rand || conf->algorithm == MG_BALANCER_ROUND_ROBIN ||
             (conf->algorithm == MG_BALANCER_MAGLEV && conf->maglev));
    MG_CHECK(!conf->inflight || conf->inflight->count == conf->count);
    b->conf = *conf;
    b->conf.weights = NULL;
    b->conf.inflight = conf->inflight ? mg_inflight_ref(conf->inflight) : mg_inflight_new(conf->count);
    b->conf.maglev = conf->maglev ? mg_maglev_ref(conf->maglev) : NULL;
    b->all = mg_calloc(conf->count + 1, sizeof(*b->all));
    b->open = mg_calloc(conf->count + 1, sizeof(*b->open));
    b->untried = mg_calloc(conf->count + 1, sizeof(*b->untried));
    b->median_ms = 1;
    for (size_t i = 0; i < conf->count; i++) {
        MG_CHECK(conf->weights[i] <= MG_BALANCER_WEIGHT_MAX);
        b->all[i].weight = conf->weights[i];
        b->all[i].usable = true;
        weigh(b, &b->all[i], 0);
    }
    list_open(b);
    if (conf->rand && conf->algorithm == MG_BALANCER_ROUND_ROBIN)
        start_anywhere(b);
    return b;
}

mg_balancer *mg_balancer_new(mg_balancer_algorithm algorithm, const uint32_t *weights, size_t count,
                             mg_rand *rand)
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

void mg_balancer_free(mg_balancer *balancer)
{
    if (!balancer)
        return;
    mg_inflight_unref(balancer->conf.inflight);
    mg_maglev_unref(balancer->conf.maglev);
    mg_free(balancer->all);
    mg_free(balancer->open);
    mg_free(balancer->untried);
    mg_free(balancer);
}

/* Puts the endpoint on its ramp; without a moment it begins with the next pick. */
static void start_slowly(mg_balancer *b, host *e, uint64_t since_ns)
{
    if (!b->conf.slow_start_ms)
        return;
    b->starting += !e->since_ns && !e->returning;
    e->since_ns = since_ns;
    e->returning = !since_ns;
    b->refreshed_ns = 0;
}

void mg_balancer_set_usable(mg_balancer *balancer, size_t endpoint, bool usable)
{
    host *e = &balancer->all[endpoint];

    MG_CHECK(endpoint < balancer->conf.count);
    if (usable && !e->usable) {
        e->current = 0;
        start_slowly(balancer, e, 0);
    }
    e->usable = usable;
    weigh(balancer, e, balancer->refreshed_ns);
    list_open(balancer);
}

void mg_balancer_set_new(mg_balancer *balancer, size_t endpoint, uint64_t since_ns)
{
    MG_CHECK(endpoint < balancer->conf.count);
    start_slowly(balancer, &balancer->all[endpoint], since_ns ? since_ns : 1);
}

bool mg_balancer_usable(const mg_balancer *balancer, size_t endpoint)
{
    MG_CHECK(endpoint < balancer->conf.count);
    return balancer->all[endpoint].usable;
}

void mg_balancer_set_weight(mg_balancer *balancer, size_t endpoint, uint32_t weight)
{
    MG_CHECK(endpoint < balancer->conf.count && weight <= MG_BALANCER_WEIGHT_MAX);
    balancer->all[endpoint].weight = weight;
    weigh(balancer, &balancer->all[endpoint], balancer->refreshed_ns);
    list_open(balancer);
}

void mg_balancer_set_maglev(mg_balancer *balancer, mg_maglev *table)
{
    mg_maglev *old = balancer->conf.maglev;

    balancer->conf.maglev = mg_maglev_ref(table);
    mg_maglev_unref(old);
}

size_t mg_balancer_count(const mg_balancer *balancer)
{
    return balancer->conf.count;
}
