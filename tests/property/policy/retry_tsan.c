/* The retry budget beside a list of all requests and retries; and from two threads, where it is never above
 * its ratio. What else workers share is run here as well: ejection, adaptive limits, throttles. */
#include "policy/retry.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "policy/adaptive.h"
#include "policy/health.h"
#include "support/check.h"

#include <pthread.h>
#include <stdatomic.h>

enum { RUNS = 60, STEPS = 500, ASKS = 20000 };

static void run_budget(uint64_t seed)
{
    static uint64_t requests[STEPS], retries[STEPS];
    size_t request_count = 0, retry_count = 0;
    mg_retry_budget *budget = mg_retry_budget_new();
    mg_retry_conf conf;
    mg_rand rand;
    uint64_t now;

    mg_rand_init(&rand, seed);
    conf = retry_defaults;
    conf.budget_milli = (uint32_t)mg_rand_below(&rand, 11) * 100;
    conf.min_per_second = mg_rand_below(&rand, 2) ? 0 : (uint32_t)mg_rand_below(&rand, 3);
    now = mg_rand_below(&rand, 1ull << 56);
    for (int step = 0; step < STEPS; step++) {
        uint64_t in_window = 0, tried = 0;
        bool wanted;

        now += mg_rand_below(&rand, 20) ? mg_rand_below(&rand, MG_NS_PER_S / 2)
                                        : mg_rand_below(&rand, 20 * MG_NS_PER_S);
        if (mg_rand_below(&rand, 3)) {
            mg_retry_budget_request(budget, now);
            requests[request_count++] = now / MG_NS_PER_S;
            continue;
        }
        for (size_t i = 0; i < request_count; i++)
            in_window += requests[i] + 10 > now / MG_NS_PER_S;
        for (size_t i = 0; i < retry_count; i++)
            tried += retries[i] + 10 > now / MG_NS_PER_S;
        wanted = (tried + 1) * 1000 <= conf.budget_milli * in_window + 10000 * conf.min_per_second;
        if (mg_retry_budget_take(budget, &conf, now) != wanted)
            fail_msg("SEED=%llu step %d: wanted %d of %llu requests, %llu retries", (unsigned long long)seed,
                     step, wanted, (unsigned long long)in_window, (unsigned long long)tried);
        if (wanted)
            retries[retry_count++] = now / MG_NS_PER_S;
    }
    mg_retry_budget_free(budget);
}

static void the_budget_is_what_a_list_of_all_gives(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++)
        run_budget(seed + i);
}

typedef struct shared {
    mg_retry_budget *budget;
    mg_retry_conf conf;
    mg_ejection *ejection;
    mg_adaptive *adaptive;
    mg_throttle *throttle;
    mg_throttle_conf throttling;
    uint64_t seed;
    _Atomic uint32_t requests, retries, inside, most;
} shared;

static void *ask(void *self)
{
    shared *s = self;
    mg_rand rand;

    mg_rand_init(&rand, s->seed);
    for (uint64_t i = 0; i < ASKS; i++) {
        mg_retry_budget_request(s->budget, 5 * MG_NS_PER_S);
        atomic_fetch_add(&s->requests, 1);
        if (mg_retry_budget_take(s->budget, &s->conf, 5 * MG_NS_PER_S))
            atomic_fetch_add(&s->retries, 1);
    }
    return NULL;
}

static void two_threads_never_retry_above_the_ratio(void **state)
{
    shared s = { .budget = mg_retry_budget_new() };
    pthread_t threads[2];

    (void)state;
    s.conf = retry_defaults;
    s.conf.min_per_second = 0;
    for (int t = 0; t < 2; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, ask, &s), 0);
    for (int t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
    assert_true(s.retries * 10 <= s.requests);
    assert_true(s.retries * 10 >= s.requests * 9 / 10);
    mg_retry_budget_free(s.budget);
}

static void *serve(void *self)
{
    shared *s = self;
    mg_rand rand;

    mg_rand_init(&rand, s->seed);
    for (uint64_t i = 0; i < ASKS; i++) {
        const uint64_t now = i * MG_NS_PER_MS;
        uint32_t inside, most;

        (void)mg_ejection_result(s->ejection, mg_rand_below(&rand, 4), mg_rand_below(&rand, 3) == 0, now);
        (void)mg_throttle_admit(s->throttle, &s->throttling, mg_rand_unit(&rand), now);
        mg_throttle_accepted(s->throttle, now);
        if (i % 100 == 0)
            (void)mg_ejection_sweep(s->ejection, now);
        if (!mg_adaptive_begin(s->adaptive))
            continue;
        inside = atomic_fetch_add(&s->inside, 1) + 1;
        most = atomic_load(&s->most);
        while (most < inside && !atomic_compare_exchange_weak(&s->most, &most, inside))
            ;
        atomic_fetch_sub(&s->inside, 1);
        mg_adaptive_end(s->adaptive, 1 + mg_rand_below(&rand, 1000000), now);
    }
    return NULL;
}

static void what_workers_share_stays_whole(void **state)
{
    shared s = { .seed = check_seed(1) };
    mg_ejection_conf ejection;
    mg_adaptive_conf adaptive;
    pthread_t threads[2];
    size_t out = 0;

    (void)state;
    ejection = ejection_defaults;
    adaptive = adaptive_defaults;
    adaptive.initial = adaptive.min = adaptive.max = 1;
    s.ejection = mg_ejection_new(&ejection, 4);
    s.adaptive = mg_adaptive_new(&adaptive);
    s.throttle = mg_throttle_new();
    s.throttling = throttle_defaults;
    for (int t = 0; t < 2; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, serve, &s), 0);
    for (int t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
    for (size_t i = 0; i < 4; i++)
        out += mg_ejection_is_out(s.ejection, i, ASKS * MG_NS_PER_MS);
    assert_true(out <= 1);
    assert_int_equal(s.most, 1);
    assert_int_equal(mg_adaptive_inflight(s.adaptive), 0);
    mg_ejection_free(s.ejection);
    mg_adaptive_free(s.adaptive);
    mg_throttle_free(s.throttle);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_budget_is_what_a_list_of_all_gives),
        cmocka_unit_test(two_threads_never_retry_above_the_ratio),
        cmocka_unit_test(what_workers_share_stays_whole),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
