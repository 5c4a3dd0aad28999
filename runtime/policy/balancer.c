/* balancer.c - smooth weighted round robin (as nginx picks), weighted random, and maglev with bounded load
 * (arXiv:1608.01350). Two choices by load or latency are balancer_choice.c's. */
#include "policy/balancer_parts.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/health.h"

#include <stdlib.h>

const char *const mg_balancer_algorithm_words[] = { MG_BALANCER_ALGORITHMS(MG_WORD_TEXT) NULL };

enum { START_STEPS_MAX = 1024, SCALE = 100 };

#define REFRESH_NS (50 * MG_NS_PER_MS) /* how often what moves slowly is looked at again */
#define STALE_NS   MG_NS_PER_MS        /* the same where it is known to have moved */

static inflight_cell *cell_new(void)
{
    inflight_cell *cell = aligned_alloc(64, sizeof *cell);

    MG_CHECK(cell);
    atomic_init(&cell->now, 0);
    atomic_init(&cell->refs, 1);
    return cell;
}

static inflight_cell *cell_ref(inflight_cell *cell)
{
    atomic_fetch_add(&cell->refs, 1);
    return cell;
}

static void cell_unref(inflight_cell *cell)
{
    if (atomic_fetch_sub(&cell->refs, 1) == 1)
        free(cell);
}

mg_inflight *mg_inflight_next(const mg_inflight *old, const int *from, size_t count)
{
    mg_inflight *f;

    MG_CHECK(count <= MG_BALANCER_ENDPOINTS_MAX);
    f = mg_alloc(sizeof(*f) + count * sizeof(f->each[0]));
    atomic_init(&f->refs, 1);
    f->count = count;
    f->total = old ? cell_ref(old->total) : cell_new();
    for (size_t i = 0; i < count; i++)
        f->each[i] = old && from[i] >= 0 ? cell_ref(old->each[from[i]]) : cell_new();
    return f;
}

mg_inflight *mg_inflight_new(size_t count)
{
    return mg_inflight_next(NULL, NULL, count);
}

mg_inflight *mg_inflight_ref(mg_inflight *inflight)
{
    atomic_fetch_add(&inflight->refs, 1);
    return inflight;
}

void mg_inflight_unref(mg_inflight *inflight)
{
    if (!inflight || atomic_fetch_sub(&inflight->refs, 1) != 1)
        return;
    for (size_t i = 0; i < inflight->count; i++)
        cell_unref(inflight->each[i]);
    cell_unref(inflight->total);
    mg_free(inflight);
}

uint32_t mg_inflight_get(const mg_inflight *inflight, size_t endpoint)
{
    return atomic_load_explicit(&inflight->each[endpoint]->now, memory_order_relaxed);
}

void mg_inflight_add(mg_inflight *inflight, size_t endpoint, int more)
{
    MG_CHECK(endpoint < inflight->count);
    atomic_fetch_add_explicit(&inflight->each[endpoint]->now, (uint32_t)more, memory_order_relaxed);
    atomic_fetch_add_explicit(&inflight->total->now, (uint32_t)more, memory_order_relaxed);
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
    balancer_host *best = NULL;

    for (size_t i = 0; i < count; i++) {
        balancer_host *e = &b->all[among[i]];

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

/* The first slot from the key's on whose endpoint may take one more. Who is over the bound is passed by, and
 * who may not be picked at all. */
static int pick_by_key(mg_balancer *b, uint64_t hash, const int *tried, size_t tried_count)
{
    const mg_maglev *t = b->conf.maglev;
    const uint64_t room = 1ull + atomic_load_explicit(&b->conf.inflight->total->now, memory_order_relaxed);
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

static void weigh(mg_balancer *b, balancer_host *e, uint64_t now_ns)
{
    e->share = 1;
    if (e->since_ns) {
        const uint64_t age_ms = now_ns > e->since_ns ? (now_ns - e->since_ns) / MG_NS_PER_MS : 0;

        e->share = mg_health_slow_start(age_ms, b->conf.slow_start_ms, 1, b->conf.slow_start_min);
        if (age_ms >= b->conf.slow_start_ms) {
            e->since_ns = 0;
            b->starting--;
        }
    }
    e->live = e->usable ? (uint32_t)(e->weight * SCALE * e->share + 0.5) : 0;
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

/* Ramps and the median move slowly, so they are not looked at for every pick. */
static void refresh(mg_balancer *b, uint64_t now_ns)
{
    if (now_ns - b->refreshed_ns < (b->stale ? STALE_NS : REFRESH_NS) && b->refreshed_ns)
        return;
    b->stale = false;
    b->refreshed_ns = now_ns ? now_ns : 1;
    for (size_t i = 0; b->starting && i < b->conf.count; i++) {
        balancer_host *e = &b->all[i];

        if (e->returning)
            e->since_ns = now_ns ? now_ns : 1;
        e->returning = false;
        if (e->since_ns)
            weigh(b, e, now_ns);
    }
    if (b->conf.algorithm == MG_BALANCER_PEAK_EWMA)
        mg_balancer_refresh_median(b, now_ns);
}

static int pick_among(mg_balancer *b, uint64_t hash, const uint16_t *among, size_t count, uint64_t now_ns)
{
    int endpoint;

    switch (b->conf.algorithm) {
    case MG_BALANCER_ROUND_ROBIN: return pick_round_robin(b, among, count);
    case MG_BALANCER_RANDOM: return pick_random(b, among, count);
    case MG_BALANCER_LEAST_REQUEST:
    case MG_BALANCER_PEAK_EWMA: return mg_balancer_of_two(b, among, count, now_ns);
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
    b->trial_ns = UINT64_MAX;
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
static void start_slowly(mg_balancer *b, balancer_host *e, uint64_t since_ns)
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
    balancer_host *e = &balancer->all[endpoint];

    MG_CHECK(endpoint < balancer->conf.count);
    if (usable && !e->usable) {
        e->current = 0;
        mg_balancer_forget(balancer, e);
        start_slowly(balancer, e, 0);
    }
    e->usable = usable;
    weigh(balancer, e, balancer->refreshed_ns);
    list_open(balancer);
}

void mg_balancer_set_new(mg_balancer *balancer, size_t endpoint, uint64_t since_ns)
{
    MG_CHECK(endpoint < balancer->conf.count);
    mg_balancer_forget(balancer, &balancer->all[endpoint]);
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

void mg_balancer_take_over(mg_balancer *balancer, const mg_balancer *old, const int *from)
{
    mg_balancer *b = balancer;

    b->starting = b->failing = 0;
    for (size_t i = 0; i < b->conf.count; i++) {
        balancer_host *e = &b->all[i];
        const uint32_t weight = e->weight;

        e->current = 0; /* it begins in the middle of no cycle */
        if (from[i] >= 0)
            *e = old->all[from[i]];
        e->weight = weight;
        if (!b->conf.slow_start_ms)
            e->since_ns = e->returning = 0;
        b->starting += e->since_ns || e->returning;
        b->failing += e->failures > 0;
    }
    b->refreshed_ns = 0;
    for (size_t i = 0; i < b->conf.count; i++)
        weigh(b, &b->all[i], old->refreshed_ns);
    list_open(b);
}
