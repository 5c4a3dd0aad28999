/* Maglev beside a table filled by going through whole permutations; how little a leaving endpoint moves; and
 * that nobody carries more than its bound. */
#include "policy/balancer.h"

#include "base/mem.h"
#include "base/rand.h"
#include "support/check.h"

#include <math.h>

enum { RUNS = 60, HOSTS_MAX = 12, SIZE_MAX_HERE = 2003 };

static const uint32_t sizes[] = { 13, 101, 503, 1009, SIZE_MAX_HERE };

typedef struct set {
    mg_str names[HOSTS_MAX];
    char text[HOSTS_MAX][24];
    uint32_t weights[HOSTS_MAX], size;
    size_t count;
} set;

static void set_init(set *s, mg_rand *rand, bool weighted)
{
    s->count = 1 + mg_rand_below(rand, HOSTS_MAX);
    s->size = sizes[mg_rand_below(rand, mg_countof(sizes))];
    for (size_t i = 0; i < s->count; i++) {
        const int n =
            snprintf(s->text[i], sizeof(s->text[i]), "10.0.%u.%zu:80", (unsigned)mg_rand_below(rand, 256), i);

        s->names[i] = mg_str_make(s->text[i], (size_t)n);
        s->weights[i] = weighted ? (uint32_t)mg_rand_below(rand, 5) : 1;
    }
}

/* Every endpoint's slots in the order it wants them, and a turn at a time: 1 credit a round for the heaviest,
 * less for the others, a slot for every whole one begun. */
static void slow_table(const set *s, int *owners)
{
    uint32_t taken = 0, most = 0;
    uint32_t at[HOSTS_MAX] = { 0 };

    for (uint32_t i = 0; i < s->size; i++)
        owners[i] = MG_MAGLEV_NONE;
    for (size_t i = 0; i < s->count; i++)
        most = s->weights[i] > most ? s->weights[i] : most;
    for (uint64_t round = 1; most && taken < s->size; round++) {
        for (size_t i = 0; i < s->count && taken < s->size; i++) {
            const double due = ceil((double)(round * s->weights[i]) / most);
            const double had = ceil((double)((round - 1) * s->weights[i]) / most);
            const uint64_t offset = mg_hash(s->names[i], 1) % s->size;
            const uint64_t skip = mg_hash(s->names[i], 2) % (s->size - 1) + 1;

            if (due == had)
                continue;
            while (owners[(offset + at[i] * skip) % s->size] != MG_MAGLEV_NONE)
                at[i]++;
            owners[(offset + at[i] * skip) % s->size] = (int)i;
            taken++;
        }
    }
}

static void the_table_is_the_one_that_permutations_give(void **state)
{
    const uint64_t seed = check_seed(1);
    static int owners[SIZE_MAX_HERE];

    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        mg_rand rand;
        mg_maglev *t;
        set s;

        mg_rand_init(&rand, seed + run);
        set_init(&s, &rand, true);
        t = mg_maglev_new(s.names, s.weights, s.count, s.size);
        slow_table(&s, owners);
        for (uint32_t i = 0; i < s.size; i++) {
            if (mg_maglev_owner(t, i) != owners[i])
                fail_msg("SEED=%llu: slot %u has owner %d, wanted %d", (unsigned long long)(seed + run), i,
                         mg_maglev_owner(t, i), owners[i]);
        }
        mg_maglev_unref(t);
    }
}

static void a_leaving_endpoint_moves_few_others_keys_and_shares_stay_even(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t run = 0; run < 20; run++) {
        uint32_t slots[HOSTS_MAX] = { 0 }, moved = 0, gone;
        mg_maglev *all, *less;
        mg_rand rand;
        set s;

        mg_rand_init(&rand, seed + run);
        set_init(&s, &rand, false);
        s.size = 10007;
        if (s.count < 3)
            continue;
        all = mg_maglev_new(s.names, s.weights, s.count, s.size);
        gone = (uint32_t)mg_rand_below(&rand, s.count);
        s.weights[gone] = 0;
        less = mg_maglev_new(s.names, s.weights, s.count, s.size);
        for (uint32_t i = 0; i < s.size; i++) {
            const int owner = mg_maglev_owner(all, i);

            slots[owner]++;
            assert_int_not_equal(mg_maglev_owner(less, i), gone);
            moved += owner != (int)gone && owner != mg_maglev_owner(less, i);
        }
        for (size_t i = 0; i < s.count; i++)
            assert_in_range(slots[i], s.size / s.count, s.size / s.count + 1);
        if (moved > s.size / 50)
            fail_msg("SEED=%llu: %u of %u slots moved", (unsigned long long)(seed + run), moved, s.size);
        mg_maglev_unref(all);
        mg_maglev_unref(less);
    }
}

/* However keys are chosen, whoever gets one more has at most its bound then. */
static void nobody_carries_more_than_its_bound(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        uint32_t held[HOSTS_MAX] = { 0 }, total = 0;
        mg_balancer_conf conf;
        mg_balancer *b;
        mg_rand rand;
        set s;

        mg_rand_init(&rand, seed + run);
        set_init(&s, &rand, false);
        mg_balancer_conf_defaults(&conf);
        conf.algorithm = MG_BALANCER_MAGLEV;
        conf.weights = s.weights;
        conf.count = s.count;
        conf.maglev = mg_maglev_new(s.names, s.weights, s.count, s.size);
        conf.bound_milli = 1000 + (uint32_t)mg_rand_below(&rand, 1000);
        b = mg_balancer_make(&conf);
        mg_maglev_unref(conf.maglev);
        for (int i = 0; i < 400; i++) {
            const uint64_t key = mg_rand_below(&rand, 3); /* three keys are all the traffic */
            const int to =
                mg_balancer_pick_for(b, mg_rand_below(&rand, 4) ? key : mg_rand_next(&rand), NULL, 0, 0);
            const double bound = ceil(conf.bound_milli / 1000.0 * (total + 1) / (double)s.count - 1e-9);

            assert_in_range(to, 0, s.count - 1);
            if (held[to] + 1 > bound)
                fail_msg("SEED=%llu: endpoint %d has %u of %u", (unsigned long long)(seed + run), to,
                         held[to] + 1, total + 1);
            mg_balancer_begin(b, (size_t)to);
            held[to]++;
            total++;
            for (size_t end = 0; end < s.count; end++) {
                if (held[end] && !mg_rand_below(&rand, 4 * s.count)) {
                    mg_balancer_end(b, end);
                    held[end]--;
                    total--;
                }
            }
        }
        mg_balancer_free(b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_table_is_the_one_that_permutations_give),
        cmocka_unit_test(a_leaving_endpoint_moves_few_others_keys_and_shares_stay_even),
        cmocka_unit_test(nobody_carries_more_than_its_bound),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
