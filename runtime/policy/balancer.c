/* balancer.c - smooth weighted round robin (as nginx picks), and weighted random. Both walk the endpoints: 16
 * of them are two cache lines a field. */
#include "policy/balancer.h"

#include "base/check.h"
#include "base/mem.h"

enum { START_STEPS_MAX = 1024 };

struct mg_balancer {
    mg_balancer_algorithm algorithm;
    size_t count;
    mg_rand *rand;    /* borrowed; may be NULL */
    int64_t *current; /* owned: how much an endpoint is due */
    uint32_t *weight; /* owned: as configured */
    uint32_t *live;   /* owned: the weight while usable, else 0 */
    bool *usable;     /* owned */
};

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
static int pick_round_robin(mg_balancer *b, const int *tried, size_t tried_count)
{
    int64_t sum = 0, largest = INT64_MIN;
    int best = MG_BALANCER_NONE;

    for (size_t i = 0; i < b->count; i++) {
        if (!b->live[i] || (tried_count && was_tried(tried, tried_count, i)))
            continue;
        b->current[i] += b->live[i];
        sum += b->live[i];
        if (b->current[i] > largest) {
            largest = b->current[i];
            best = (int)i;
        }
    }
    if (best != MG_BALANCER_NONE)
        b->current[best] -= sum;
    return best;
}

static int pick_random(mg_balancer *b, const int *tried, size_t tried_count)
{
    uint64_t sum = 0, at;

    for (size_t i = 0; i < b->count; i++)
        sum += tried_count && was_tried(tried, tried_count, i) ? 0 : b->live[i];
    if (!sum)
        return MG_BALANCER_NONE;
    at = mg_rand_below(b->rand, sum);
    for (size_t i = 0; i < b->count; i++) {
        const uint64_t share = tried_count && was_tried(tried, tried_count, i) ? 0 : b->live[i];

        if (at < share)
            return (int)i;
        at -= share;
    }
    MG_UNREACHABLE();
}

static int pick_among(mg_balancer *b, const int *tried, size_t tried_count)
{
    switch (b->algorithm) {
    case MG_BALANCER_ROUND_ROBIN: return pick_round_robin(b, tried, tried_count);
    case MG_BALANCER_RANDOM: return pick_random(b, tried, tried_count);
    }
    MG_UNREACHABLE();
}

int mg_balancer_pick(mg_balancer *balancer, const int *tried, size_t tried_count, uint64_t now_ns)
{
    int endpoint = pick_among(balancer, tried, tried_count);

    (void)now_ns; /* latencies age; these two look at none */
    if (endpoint == MG_BALANCER_NONE && tried_count)
        endpoint = pick_among(balancer, NULL, 0);
    return endpoint;
}

/* Somewhere in the cycle, so that workers that start together do not all begin with the first endpoint. */
static void start_anywhere(mg_balancer *b)
{
    uint64_t sum = 0, steps;

    for (size_t i = 0; i < b->count; i++)
        sum += b->live[i];
    if (!sum)
        return;
    steps = mg_rand_below(b->rand, sum < START_STEPS_MAX ? sum : START_STEPS_MAX);
    while (steps--)
        pick_round_robin(b, NULL, 0);
}

mg_balancer *mg_balancer_new(mg_balancer_algorithm algorithm, const uint32_t *weights, size_t count,
                             mg_rand *rand)
{
    mg_balancer *b = MG_NEW(mg_balancer);

    MG_CHECK(count <= MG_BALANCER_ENDPOINTS_MAX);
    MG_CHECK(rand || algorithm != MG_BALANCER_RANDOM);
    b->algorithm = algorithm;
    b->count = count;
    b->rand = rand;
    b->current = mg_calloc(count + 1, sizeof(*b->current));
    b->weight = mg_calloc(count + 1, sizeof(*b->weight));
    b->live = mg_calloc(count + 1, sizeof(*b->live));
    b->usable = mg_calloc(count + 1, sizeof(*b->usable));
    for (size_t i = 0; i < count; i++) {
        MG_CHECK(weights[i] <= MG_BALANCER_WEIGHT_MAX);
        b->weight[i] = b->live[i] = weights[i];
        b->usable[i] = true;
    }
    if (rand && algorithm == MG_BALANCER_ROUND_ROBIN)
        start_anywhere(b);
    return b;
}

void mg_balancer_free(mg_balancer *balancer)
{
    if (!balancer)
        return;
    mg_free(balancer->current);
    mg_free(balancer->weight);
    mg_free(balancer->live);
    mg_free(balancer->usable);
    mg_free(balancer);
}

void mg_balancer_set_usable(mg_balancer *balancer, size_t endpoint, bool usable)
{
    MG_CHECK(endpoint < balancer->count);
    if (usable && !balancer->usable[endpoint])
        balancer->current[endpoint] = 0;
    balancer->usable[endpoint] = usable;
    balancer->live[endpoint] = usable ? balancer->weight[endpoint] : 0;
}

bool mg_balancer_usable(const mg_balancer *balancer, size_t endpoint)
{
    MG_CHECK(endpoint < balancer->count);
    return balancer->usable[endpoint];
}

void mg_balancer_set_weight(mg_balancer *balancer, size_t endpoint, uint32_t weight)
{
    MG_CHECK(endpoint < balancer->count && weight <= MG_BALANCER_WEIGHT_MAX);
    balancer->weight[endpoint] = weight;
    balancer->live[endpoint] = balancer->usable[endpoint] ? weight : 0;
}

size_t mg_balancer_count(const mg_balancer *balancer)
{
    return balancer->count;
}
