/* Round robin over whole cycles: everyone gets exactly its weight, spread as evenly as weights allow. */
#include "policy/balancer.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "support/check.h"

enum { RUNS = 300, HOSTS_MAX = 12, WEIGHT_MAX = 9 };

/* Over one cycle from anywhere, each usable endpoint comes `weight` times; those that are down do not. */
static void check_cycle(mg_balancer *b, const uint32_t *weights, const bool *up, size_t count, uint64_t seed)
{
    uint32_t picked[HOSTS_MAX] = { 0 }, sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += up[i] ? weights[i] : 0;
    for (uint32_t n = 0; n < sum; n++) {
        const int endpoint = mg_balancer_pick(b, NULL, 0, 0);

        assert_in_range(endpoint, 0, count - 1);
        picked[endpoint]++;
        for (size_t i = 0; i < count; i++) {
            /* Never ahead or behind its share by a whole turn of all: |sum * picked - weight * n| < sum *
             * count. */
            const int64_t ahead = (int64_t)sum * picked[i] - (int64_t)(up[i] ? weights[i] : 0) * (n + 1);

            if (ahead >= (int64_t)sum * (int64_t)count || -ahead >= (int64_t)sum * (int64_t)count)
                fail_msg("SEED=%llu: endpoint %zu is not spread", (unsigned long long)seed, i);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (picked[i] != (up[i] ? weights[i] : 0))
            fail_msg("SEED=%llu: endpoint %zu was picked %u times in a cycle of %u", (unsigned long long)seed,
                     i, picked[i], sum);
    }
}

static void run(uint64_t seed)
{
    uint32_t weights[HOSTS_MAX];
    bool up[HOSTS_MAX];
    mg_balancer *b;
    mg_rand rand;
    size_t count;

    mg_rand_init(&rand, seed);
    count = 1 + mg_rand_below(&rand, HOSTS_MAX);
    for (size_t i = 0; i < count; i++) {
        weights[i] = (uint32_t)mg_rand_below(&rand, WEIGHT_MAX + 1);
        up[i] = true;
    }
    b = balancer_with(MG_BALANCER_ROUND_ROBIN, weights, count, seed % 2 ? &rand : NULL);
    check_cycle(b, weights, up, count, seed);
    check_cycle(b, weights, up, count, seed);
    /* A cycle ends where it began, so what goes down then leaves the others at 0 if the start was 0. */
    for (size_t i = 0; i < count && seed % 2 == 0; i++) {
        up[i] = mg_rand_below(&rand, 2);
        mg_balancer_set_usable(b, i, up[i]);
    }
    check_cycle(b, weights, up, count, seed);
    mg_balancer_free(b);
}

static void a_cycle_gives_everyone_its_weight(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++)
        run(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_cycle_gives_everyone_its_weight) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
