/* Windows, logs and queues beside a list of everything that was ever admitted, on clocks that stall, jump and
 * fall behind. */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

enum { RUNS = 150, STEPS = 200 };

typedef struct model {
    mg_limiter_algorithm algorithm;
    int64_t limit, window, interval, max_wait;
    int64_t at[STEPS], units[STEPS]; /* admitted */
    int count;
    int64_t next, latest; /* the queue's head; the newest moment seen by an admitted one */
} model;

static int64_t units_between(const model *m, int64_t from, int64_t to)
{
    int64_t units = 0;

    for (int i = 0; i < m->count; i++)
        units += m->at[i] >= from && m->at[i] < to ? m->units[i] : 0;
    return units;
}

/* Units that may still pass at `now`. */
static int64_t room(const model *m, int64_t now)
{
    int64_t start, prev, held;

    if (m->algorithm == MG_LIMITER_SLIDING_LOG)
        now = now > m->latest ? now : m->latest;
    if (m->algorithm == MG_LIMITER_SLIDING_LOG)
        return m->limit - units_between(m, now - m->window + 1, INT64_MAX);
    if (now < m->latest / m->window * m->window) /* its window is over for others already */
        now = m->latest / m->window * m->window;
    start = now / m->window * m->window;
    prev = m->algorithm == MG_LIMITER_FIXED_WINDOW ? 0 : units_between(m, start - m->window, start);
    held = prev * (start + m->window - now);
    return m->limit - units_between(m, start, start + m->window) - (held + m->window - 1) / m->window;
}

static bool model_take(model *m, int64_t now, int64_t cost, mg_limiter_answer *out)
{
    if (m->algorithm == MG_LIMITER_LEAKY) {
        const int64_t at = m->next > now ? m->next : now;

        out->allowed = cost <= m->limit && at - now <= m->max_wait;
        out->wait_ms = out->allowed ? mg_ms_ceil((uint64_t)(at - now)) : 0;
        if (out->allowed && cost)
            m->next = at + cost * m->interval;
        return out->allowed;
    }
    out->remaining = room(m, now) < 0 ? 0 : (uint64_t)room(m, now);
    out->allowed = cost <= (int64_t)out->remaining;
    if (!out->allowed)
        return false;
    out->remaining -= (uint64_t)cost;
    if (cost) {
        m->latest = now > m->latest ? now : m->latest;
        m->at[m->count] = m->latest;
        m->units[m->count++] = cost;
    }
    return true;
}

/* A refusal is over exactly when it says. */
static void check_retry(const mg_limiter *l, uint32_t cost, uint64_t now, const mg_limiter_answer *a,
                        uint64_t seed)
{
    const uint64_t wait = (uint64_t)a->retry_ms * MG_NS_PER_MS;
    mg_limiter_answer then;

    assert_true(a->retry_ms > 0);
    if (!mg_limiter_peek(l, "k", 1, cost, now + wait, &then) ||
        mg_limiter_peek(l, "k", 1, cost, now + wait - MG_NS_PER_MS, &then))
        fail_msg("SEED=%llu: refused at %llu for %lld ms, not so %llu before", (unsigned long long)seed,
                 (unsigned long long)now, (long long)a->retry_ms, (unsigned long long)MG_NS_PER_MS);
}

static void run(mg_limiter_algorithm algorithm, uint64_t seed)
{
    model m = { .algorithm = algorithm };
    mg_limiter_conf conf;
    mg_limiter *l;
    mg_rand rand;
    uint64_t now, first;

    mg_rand_init(&rand, seed);
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.period_ms = 1 + mg_rand_below(&rand, 3000);
    conf.limit = 1 + mg_rand_below(&rand, mg_min_u64(conf.period_ms * 10, 40));
    conf.max_wait_ms = mg_rand_below(&rand, 2) ? mg_rand_below(&rand, 2000) : 0;
    conf.max_keys = 1 + (uint32_t)mg_rand_below(&rand, 20);
    l = mg_limiter_new(&conf, NULL);
    assert_non_null(l);
    m.limit = (int64_t)conf.limit;
    m.window = (int64_t)(conf.period_ms * MG_NS_PER_MS);
    m.interval = (m.window + m.limit - 1) / m.limit;
    m.max_wait = (int64_t)(conf.max_wait_ms * MG_NS_PER_MS);
    now = first = 10000 * MG_NS_PER_MS + mg_rand_below(&rand, 1ull << 40);
    for (int i = 0; i < STEPS; i++) {
        const uint32_t cost = (uint32_t)mg_rand_below(&rand, i % 5 ? 3 : conf.limit + 2);
        const uint64_t at =
            i % 4 ? now : now - mg_rand_below(&rand, mg_min_u64(now - first, MG_NS_PER_S) + 1);
        mg_limiter_answer a, wanted = { 0 };

        if (mg_limiter_take(l, "k", 1, cost, at, &a) != model_take(&m, (int64_t)at, cost, &wanted) ||
            (algorithm == MG_LIMITER_LEAKY ? a.wait_ms != wanted.wait_ms : a.remaining != wanted.remaining))
            fail_msg("SEED=%llu algorithm %d step %d: %d %llu, wanted %d %llu", (unsigned long long)seed,
                     algorithm, i, a.allowed, (unsigned long long)a.remaining, wanted.allowed,
                     (unsigned long long)wanted.remaining);
        if (cost > conf.limit)
            assert_int_equal(a.retry_ms, MG_LIMITER_NEVER);
        else if (!a.allowed)
            check_retry(l, cost, at, &a, seed);
        now += mg_rand_below(&rand, 3) ? mg_rand_below(&rand, 2 * (uint64_t)m.interval) : 0;
        now += mg_rand_below(&rand, 20) ? 0 : mg_rand_below(&rand, 3 * (uint64_t)m.window);
    }
    mg_limiter_free(l);
}

static void each_answers_as_a_list_of_all_that_passed(void **state)
{
    static const mg_limiter_algorithm algorithms[] = { MG_LIMITER_SLIDING_WINDOW, MG_LIMITER_FIXED_WINDOW,
                                                       MG_LIMITER_SLIDING_LOG, MG_LIMITER_LEAKY };
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++) {
        for (size_t k = 0; k < mg_countof(algorithms); k++)
            run(algorithms[k], seed + i);
    }
}

/* Many keys through few slots: with permits, what is out is what the tables say, to the last one. */
static void permits_balance_whatever_the_order(void **state)
{
    enum { OUT = 60, KEYS = 20 };
    mg_limiter_answer out[OUT] = { 0 };
    const uint64_t seed = check_seed(1);
    mg_limiter_conf conf;
    mg_limiter *l;
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, seed);
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = MG_LIMITER_CONCURRENCY;
    conf.limit = 5;
    conf.max_keys = 9;
    conf.overflow_cells = 2;
    l = mg_limiter_new(&conf, NULL);
    for (uint64_t i = 0; i < 20000; i++) {
        mg_limiter_answer *a = &out[mg_rand_below(&rand, OUT)];
        const uint64_t key = mg_rand_below(&rand, KEYS);

        if (a->allowed && a->length_ns)
            mg_limiter_release(l, a);
        else
            mg_limiter_take(l, (const char *)&key, sizeof(key), 1 + (uint32_t)(i % 2), i, a);
    }
    for (int i = 0; i < OUT; i++)
        mg_limiter_release(l, &out[i]);
    for (uint64_t key = 0; key < KEYS; key++) {
        mg_limiter_answer a;

        if (!mg_limiter_peek(l, (const char *)&key, sizeof(key), 5, 0, &a))
            fail_msg("SEED=%llu: a permit of key %d is lost", (unsigned long long)seed, (int)key);
    }
    assert_int_equal(mg_limiter_keys(l, 0), 0);
    mg_limiter_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_answers_as_a_list_of_all_that_passed),
        cmocka_unit_test(permits_balance_whatever_the_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
