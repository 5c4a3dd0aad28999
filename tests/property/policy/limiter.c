/* Token buckets beside one that counts credit, on clocks that jump; and a spray of keys against keys that
 * owe. */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

enum { BUCKETS = 400, STEPS = 300, SPRAYS = 6, SPRAYED = 20000 };

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define CROWD 1000000 /* of keys; sanitizers make them dear */
#else
#define CROWD 10000000
#endif

static mg_limiter *limiter_of(uint64_t limit, uint64_t period_ms, uint64_t burst, uint32_t max_keys,
                              uint32_t cells)
{
    mg_limiter_conf conf;

    mg_limiter_conf_defaults(&conf);
    conf.limit = limit;
    conf.period_ms = period_ms;
    conf.burst = burst;
    conf.max_keys = max_keys;
    conf.overflow_cells = cells;
    return mg_limiter_new(&conf, NULL);
}

/* What a bucket holds, in ns of its refilling: it had `credit` at `at`, when something was last taken. */
typedef struct credit {
    int64_t interval, cap, credit, at;
} credit;

static int64_t credit_now(const credit *c, int64_t now)
{
    const int64_t held = c->credit + now - c->at;

    return held > c->cap ? c->cap : held;
}

static bool credit_take(credit *c, int64_t now, int64_t cost, int64_t *remaining, int64_t *retry_ms)
{
    const int64_t held = credit_now(c, now), left = held - cost * c->interval;
    const bool allowed = left >= 0 && cost * c->interval <= c->cap;

    if (allowed && cost) {
        c->credit = now > c->at ? left : c->credit - cost * c->interval;
        c->at = now > c->at ? now : c->at;
    }
    *remaining = (allowed ? left : held) / c->interval;
    *remaining = *remaining < 0 ? 0 : *remaining;
    *retry_ms = allowed                       ? 0
                : cost * c->interval > c->cap ? -1
                                              : (-left + (int64_t)MG_NS_PER_MS - 1) / (int64_t)MG_NS_PER_MS;
    return allowed;
}

static void run_bucket(uint64_t seed)
{
    mg_rand rand;
    uint64_t now, first, last = 0, taken = 0;
    credit model;
    mg_limiter *l;
    uint64_t limit, period_ms, burst;

    mg_rand_init(&rand, seed);
    period_ms = 1 + mg_rand_below(&rand, 5000);
    limit = 1 + mg_rand_below(&rand, mg_min_u64(period_ms * 10, 3000));
    burst = 1 + mg_rand_below(&rand, 40);
    now = first = mg_rand_below(&rand, 1ull << 40);
    l = limiter_of(limit, period_ms, burst, 16, 1);
    assert_non_null(l);
    model.interval = (int64_t)((period_ms * MG_NS_PER_MS + limit - 1) / limit);
    model.credit = model.cap = (int64_t)burst * model.interval;
    model.at = (int64_t)first;
    for (int i = 0; i < STEPS; i++) {
        const uint32_t cost = (uint32_t)mg_rand_below(&rand, burst + (i % 7 == 0 ? 3 : 1));
        const uint64_t stale = now - mg_rand_below(&rand, mg_min_u64(now - first, 2 * MG_NS_PER_MS) + 1);
        const uint64_t at = i % 3 ? now : stale;
        int64_t remaining, retry_ms;
        mg_limiter_answer a;
        const bool allowed = credit_take(&model, (int64_t)at, cost, &remaining, &retry_ms);

        if (mg_limiter_take(l, "key", 3, cost, at, &a) != allowed || (int64_t)a.remaining != remaining ||
            a.retry_ms != retry_ms)
            fail_msg("SEED=%llu step %d: %d %llu %lld, wanted %d %lld %lld", (unsigned long long)seed, i,
                     a.allowed, (unsigned long long)a.remaining, (long long)a.retry_ms, allowed,
                     (long long)remaining, (long long)retry_ms);
        taken += allowed ? cost : 0;
        last = mg_max_u64(last, at);
        now += mg_rand_below(&rand, 3) ? mg_rand_below(&rand, 3 * (uint64_t)model.interval) : 0;
    }
    assert_true(taken * (uint64_t)model.interval <= (uint64_t)model.cap + (last - first));
    mg_limiter_free(l);
}

static void a_bucket_answers_as_one_that_counts_credit(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < BUCKETS; i++)
        run_bucket(seed + i);
}

/* Who owes keeps owing, whatever others come; and all together get no more than slots and overflow buckets
 * hold. */
static void run_spray(uint64_t seed)
{
    mg_rand rand;
    const uint32_t max_keys = 1 + (uint32_t)(seed % 2 ? seed % 8 : seed % 500),
                   cells = 1 + (uint32_t)(seed % 16);
    mg_limiter *l = limiter_of(1, 3600000, 3, max_keys, cells);
    uint64_t admitted = 0, settled = max_keys / 2;
    mg_limiter_answer a;
    bool own[512] = { false };

    mg_rand_init(&rand, seed);
    for (uint64_t k = 0; k < settled; k++) {
        assert_true(mg_limiter_take(l, (const char *)&k, sizeof(k), 3, 0, &a) ||
                    a.via == MG_LIMITER_VIA_OVERFLOW);
        own[k] = a.via == MG_LIMITER_VIA_OWN;
        admitted += a.allowed ? 3 : 0;
    }
    for (int i = 0; i < SPRAYED; i++) {
        const uint64_t key = 1000 + mg_rand_next(&rand), k = settled ? mg_rand_below(&rand, settled) : 0;
        const uint64_t now = (uint64_t)i * MG_NS_PER_MS; /* 20 s of an hour: nothing comes back */

        admitted += mg_limiter_take(l, (const char *)&key, sizeof(key), 1, now, &a);
        if (!own[k])
            continue;
        if (mg_limiter_take(l, (const char *)&k, sizeof(k), 1, now, &a) || a.via != MG_LIMITER_VIA_OWN)
            fail_msg("SEED=%llu: key %llu was refilled after %d others", (unsigned long long)seed,
                     (unsigned long long)k, i);
    }
    assert_true(admitted <= (2ull * max_keys + cells) * 3);
    mg_limiter_free(l);
}

static void no_spray_of_keys_refills_anybody(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < SPRAYS; i++)
        run_spray(seed + i);
}

static void millions_of_keys_leave_who_owes_where_he_was(void **state)
{
    mg_limiter *l = limiter_of(1, 3600000, 1, 65536, 64);
    uint64_t admitted = 0, refilled = 0, key;
    mg_limiter_answer a;

    (void)state;
    for (key = 0; key < 1000; key++)
        assert_true(mg_limiter_take(l, (const char *)&key, sizeof(key), 1, 0, &a));
    for (; key < CROWD; key++)
        admitted += mg_limiter_take(l, (const char *)&key, sizeof(key), 1, MG_NS_PER_S, &a);
    assert_true(admitted <= 2 * 65536 + 64);
    for (key = 0; key < 1000; key++)
        refilled += mg_limiter_take(l, (const char *)&key, sizeof(key), 1, MG_NS_PER_S, &a);
    assert_int_equal(refilled, 0);
    mg_limiter_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_answers_as_one_that_counts_credit),
        cmocka_unit_test(no_spray_of_keys_refills_anybody),
        cmocka_unit_test(millions_of_keys_leave_who_owes_where_he_was),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
