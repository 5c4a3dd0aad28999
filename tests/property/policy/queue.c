/* The queue of those who wait for a turn, beside a plain list for each key: whoever leaves is as if it had
 * not come, and what goes is never more than the rate (docs/policies.md 4). */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

enum { RUNS = 150, STEPS = 400, KEYS = 3, CLIENTS = 512 };

typedef struct client {
    mg_limiter_waiter waiter;
    uint64_t until_ns, length_ns; /* the model's */
    bool waits, lazy, fixed;      /* lazy: stays when its turn has come, as a plugin's reservation may */
    int key;
} client;

typedef struct model {
    bool leaky;
    uint64_t interval_ns, burst_ns, max_wait_ns;
    uint64_t words[KEYS], full_ns[KEYS]; /* full: of those that went, by the bucket's own arithmetic */
    client clients[CLIENTS];
    size_t count;
    uint64_t seed;
} model;

static uint64_t lead_of(const model *m, const client *c)
{
    return m->leaky ? c->length_ns : m->burst_ns;
}

static uint64_t turn_of(const model *m, const client *c)
{
    return c->until_ns - lead_of(m, c);
}

/* A turn is used: in the order of turns this has to be what an empty bucket would have let through. */
static void use(model *m, const client *c, uint64_t turn_ns)
{
    uint64_t *full_ns = &m->full_ns[c->key];

    if (m->leaky && turn_ns < *full_ns)
        fail_msg("SEED=%llu: a turn at %llu, before %llu", (unsigned long long)m->seed,
                 (unsigned long long)turn_ns, (unsigned long long)*full_ns);
    *full_ns = mg_max_u64(*full_ns, turn_ns) + c->length_ns;
    if (!m->leaky && *full_ns - turn_ns > m->burst_ns)
        fail_msg("SEED=%llu: more than the burst at %llu", (unsigned long long)m->seed,
                 (unsigned long long)turn_ns);
}

/* What the model says of a cost that comes now; sets the client's place. */
static bool arrive(model *m, client *c, uint64_t cost, uint64_t now_ns, uint64_t *wait_ns)
{
    const uint64_t base_ns = mg_max_u64(m->words[c->key], now_ns), end_ns = base_ns + cost * m->interval_ns;
    const uint64_t over_ns = end_ns - now_ns > m->burst_ns ? end_ns - now_ns - m->burst_ns : 0;

    *wait_ns = m->leaky ? base_ns - now_ns : over_ns;
    if (*wait_ns > m->max_wait_ns)
        return false;
    for (client *it = m->clients; it < c; it++) /* what went between cannot move */
        it->fixed |= it->waits && it->key == c->key && !*wait_ns;
    m->words[c->key] = c->until_ns = end_ns;
    c->length_ns = cost * m->interval_ns;
    c->waits = *wait_ns > 0;
    return true;
}

static void leave(model *m, client *c, uint64_t now_ns)
{
    uint64_t by_ns = c->fixed ? 0 : c->length_ns, end_ns = c->until_ns;
    client *next = NULL;

    for (client *it = c + 1; it < &m->clients[m->count]; it++) {
        if (!it->waits || it->key != c->key)
            continue;
        next = next ? next : it;
        end_ns = it->until_ns;
    }
    c->waits = false;
    if (next)
        by_ns = turn_of(m, next) > now_ns ? mg_min_u64(by_ns, turn_of(m, next) - now_ns) : 0;
    if (end_ns != m->words[c->key])
        return; /* somebody has come since who did not wait */
    m->words[c->key] -= by_ns;
    for (client *it = next; it && it < &m->clients[m->count]; it++)
        it->until_ns -= it->waits && it->key == c->key ? by_ns : 0;
}

static void go(model *m, mg_limiter *limiter, client *c)
{
    mg_limiter_waited(limiter, &c->waiter);
    c->waits = false;
    use(m, c, turn_of(m, c));
    for (client *it = m->clients; it < c; it++)
        it->fixed |= it->waits && it->key == c->key;
}

static void compare(const model *m, int step)
{
    uint64_t last_ns[KEYS] = { 0 };

    for (size_t i = 0; i < m->count; i++) {
        const client *c = &m->clients[i];

        if (c->waits != c->waiter.waits)
            fail_msg("SEED=%llu step %d: client %zu", (unsigned long long)m->seed, step, i);
        if (!c->waits)
            continue;
        if (mg_limiter_turn_ns(&c->waiter) != turn_of(m, c))
            fail_msg("SEED=%llu step %d: client %zu has its turn at %llu, wanted %llu",
                     (unsigned long long)m->seed, step, i, (unsigned long long)mg_limiter_turn_ns(&c->waiter),
                     (unsigned long long)turn_of(m, c));
        assert_true(c->until_ns > last_ns[c->key]); /* in the order in which they came */
        last_ns[c->key] = c->until_ns;
    }
}

static void come(model *m, mg_limiter *limiter, mg_rand *rand, uint64_t now_ns)
{
    static const char *const keys[KEYS] = { "a", "b", "c" };
    client *c = &m->clients[m->count++];
    const uint32_t cost = 1 + (uint32_t)mg_rand_below(rand, mg_rand_below(rand, 4) ? 1 : 3);
    mg_limiter_waiter *waiter = &c->waiter;
    mg_limiter_answer answer;
    uint64_t wait_ns;

    c->key = (int)mg_rand_below(rand, KEYS);
    c->lazy = !mg_rand_below(rand, 6);
    const mg_limiter_ask ask = { limiter, keys[c->key], 1, cost };
    const bool wanted = arrive(m, c, cost, now_ns, &wait_ns);
    const bool got = mg_limiter_queue_all(&ask, &waiter, 1, UINT64_MAX, now_ns, &answer) < 0;

    assert_int_equal(got, wanted);
    if (got)
        assert_int_equal(answer.wait_ms, mg_ms_ceil(wait_ns));
    if (got && !wait_ns)
        use(m, c, m->leaky ? c->until_ns - c->length_ns : now_ns);
}

static void run(uint64_t seed, bool leaky)
{
    model *m = MG_NEW(model);
    mg_limiter_conf conf;
    mg_limiter *limiter;
    mg_rand rand;
    uint64_t now_ns = 1000 * MG_NS_PER_S;

    mg_rand_init(&rand, seed);
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = leaky ? MG_LIMITER_LEAKY : MG_LIMITER_TOKEN_BUCKET;
    conf.limit = 3 + mg_rand_below(&rand, 100);
    conf.period_ms = 1000;
    conf.burst = leaky ? 0 : 3 + mg_rand_below(&rand, 5);
    conf.max_wait_ms = mg_rand_below(&rand, 1500);
    conf.max_keys = 64;
    limiter = mg_limiter_new(&conf, NULL);
    m->leaky = leaky;
    m->seed = seed;
    m->interval_ns = (MG_NS_PER_S + conf.limit - 1) / conf.limit;
    m->burst_ns = conf.burst * m->interval_ns;
    m->max_wait_ns = conf.max_wait_ms * MG_NS_PER_MS;
    for (int step = 0; step < STEPS && m->count < CLIENTS; step++) {
        client *c = m->count ? &m->clients[mg_rand_below(&rand, m->count)] : NULL;

        if (mg_rand_below(&rand, 3))
            come(m, limiter, &rand, now_ns);
        else if (c && c->waits) {
            const uint64_t late_ns = now_ns - mg_rand_below(&rand, 2) * 3 * MG_NS_PER_MS; /* a cached clock */

            (void)mg_limiter_leave(limiter, &c->waiter, late_ns);
            leave(m, c, late_ns);
        }
        compare(m, step);
        now_ns += mg_rand_below(&rand, 4) ? 0 : mg_rand_below(&rand, 40 * MG_NS_PER_MS);
        for (size_t i = 0; i < m->count; i++) {
            if (m->clients[i].waits && !m->clients[i].lazy && turn_of(m, &m->clients[i]) <= now_ns)
                go(m, limiter, &m->clients[i]);
        }
    }
    for (size_t i = 0; i < m->count; i++)
        mg_limiter_waited(limiter, &m->clients[i].waiter);
    mg_limiter_free(limiter);
    mg_free(m);
}

static void whoever_leaves_is_as_if_it_had_not_come(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++) {
        run(seed + i, true);
        run(seed + i, false);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whoever_leaves_is_as_if_it_had_not_come),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
