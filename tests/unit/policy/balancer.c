/* Which endpoint next, by example (docs/policies.md 6); the vectors hold the plain cycle. */
#include "policy/balancer.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

static void nothing_usable_picks_nothing(void **state)
{
    const uint32_t weights[] = { 1, 0 };
    mg_balancer *b = balancer_with(MG_BALANCER_ROUND_ROBIN, weights, 2, NULL), *none;

    (void)state;
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), 0);
    mg_balancer_set_usable(b, 0, false);
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), MG_BALANCER_NONE);
    mg_balancer_set_usable(b, 1, true); /* of weight 0 */
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), MG_BALANCER_NONE);
    mg_balancer_set_weight(b, 1, 2);
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), 1);
    mg_balancer_free(b);
    none = balancer_with(MG_BALANCER_ROUND_ROBIN, weights, 0, NULL);
    assert_int_equal(mg_balancer_pick(none, NULL, 0, 0), MG_BALANCER_NONE);
    mg_balancer_free(none);
}

static void what_was_tried_is_tried_again_only_when_nothing_else_is_left(void **state)
{
    const uint32_t weights[] = { 100, 1, 1 };
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    for (int algorithm = MG_BALANCER_ROUND_ROBIN; algorithm <= MG_BALANCER_PEAK_EWMA; algorithm++) {
        mg_balancer *b = balancer_with((mg_balancer_algorithm)algorithm, weights, 3, &rand);
        const int tried[] = { 0, 2 };

        for (unsigned i = 0; i < 50; i++)
            assert_int_equal(mg_balancer_pick(b, tried, 2, 0), 1);
        mg_balancer_set_usable(b, 1, false);
        assert_in_set(mg_balancer_pick(b, tried, 2, 0), ((const uintmax_t[]){ 0, 2 }), 2);
        assert_false(mg_balancer_usable(b, 1));
        mg_balancer_free(b);
    }
}

static void workers_start_at_different_points(void **state)
{
    const uint32_t weights[] = { 1, 1, 1, 1, 1, 1, 1, 1 };
    mg_rand rand;
    unsigned first[8] = { 0 };

    (void)state;
    mg_rand_init(&rand, 1);
    for (unsigned i = 0; i < 400; i++) {
        mg_balancer *b = balancer_with(MG_BALANCER_ROUND_ROBIN, weights, 8, &rand);

        first[mg_balancer_pick(b, NULL, 0, 0)]++;
        mg_balancer_free(b);
    }
    for (unsigned i = 0; i < 8; i++)
        assert_in_range(first[i], 20, 90);
}

static void random_follows_the_weights(void **state)
{
    const uint32_t weights[] = { 1, 0, 3 };
    mg_rand rand;
    mg_balancer *b;
    unsigned picked[3] = { 0 };

    (void)state;
    mg_rand_init(&rand, 1);
    b = balancer_with(MG_BALANCER_RANDOM, weights, 3, &rand);
    for (unsigned i = 0; i < 4000; i++)
        picked[mg_balancer_pick(b, NULL, 0, 0)]++;
    assert_int_equal(picked[1], 0);
    assert_in_range(picked[0], 850, 1150);
    mg_balancer_free(b);
}

static void load_and_weight_decide_between_two(void **state)
{
    const uint32_t weights[] = { 1, 4 };
    unsigned picked[2] = { 0 };
    mg_balancer *b;
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    b = balancer_with(MG_BALANCER_LEAST_REQUEST, weights, 2, &rand);
    for (unsigned i = 0; i < 50; i++) {
        const int endpoint = mg_balancer_pick(b, NULL, 0, 0);

        picked[endpoint]++;
        mg_balancer_begin(b, (size_t)endpoint);
    }
    assert_in_range(picked[0], 9, 11); /* of 50, one in five */
    for (unsigned i = 0; i < picked[1]; i++)
        mg_balancer_end(b, 1);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), 1);
    mg_balancer_free(b);
}

static void a_host_that_fails_fast_draws_no_traffic(void **state)
{
    const uint32_t weights[] = { 1, 1 };
    mg_balancer *b;
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    b = balancer_with(MG_BALANCER_PEAK_EWMA, weights, 2, &rand);
    mg_balancer_observe(b, 0, MG_NS_PER_MS, false, 0);
    mg_balancer_observe(b, 1, 20 * MG_NS_PER_MS, true, 0);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(mg_balancer_pick(b, NULL, 0, MG_NS_PER_S), 1);
    /* It is forgiven as its penalty decays: 1000 ms after 40 s are 18. */
    mg_balancer_observe(b, 1, 20 * MG_NS_PER_MS, true, 40 * MG_NS_PER_S);
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 40 * MG_NS_PER_S), 0);
    mg_balancer_free(b);
}

static void who_has_no_history_counts_as_the_median_of_the_others(void **state)
{
    const uint32_t weights[] = { 1, 1, 1, 1 };
    mg_balancer *b;
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    b = balancer_with(MG_BALANCER_PEAK_EWMA, weights, 4, &rand);
    mg_balancer_observe(b, 0, 10 * MG_NS_PER_MS, true, 0);
    mg_balancer_observe(b, 1, 50 * MG_NS_PER_MS, true, 0);
    mg_balancer_observe(b, 2, 30 * MG_NS_PER_MS, true, 0);
    assert_float_equal(mg_balancer_latency_ms(b, 3, 0), 30, 1e-6);
    mg_balancer_free(b);
}

static void who_returns_gets_a_ramp(void **state)
{
    const uint32_t weights[] = { 10, 10 };
    mg_balancer_conf conf;
    mg_balancer *b;
    unsigned first = 0, half = 0, whole = 0;

    (void)state;
    mg_balancer_conf_defaults(&conf);
    conf.algorithm = MG_BALANCER_ROUND_ROBIN;
    conf.weights = weights;
    conf.count = 2;
    b = mg_balancer_make(&conf);
    mg_balancer_set_usable(b, 1, false);
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), 0);
    mg_balancer_set_usable(b, 1, true);
    for (unsigned i = 0; i < 1100; i++)
        first += mg_balancer_pick(b, NULL, 0, 100 * MG_NS_PER_S) == 1;
    for (unsigned i = 0; i < 1500; i++)
        half += mg_balancer_pick(b, NULL, 0, 105 * MG_NS_PER_S) == 1;
    for (unsigned i = 0; i < 1000; i++)
        whole += mg_balancer_pick(b, NULL, 0, 111 * MG_NS_PER_S) == 1;
    assert_in_range(first, 99, 101); /* a tenth of the other's weight */
    assert_in_range(half, 499, 501);
    assert_in_range(whole, 499, 501);
    mg_balancer_free(b);
}

static mg_balancer *warm_pair(mg_balancer_algorithm algorithm, const uint32_t *weights, size_t count,
                              mg_rand *rand)
{
    mg_balancer_conf conf;
    mg_balancer *b;

    mg_rand_init(rand, 1);
    mg_balancer_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.weights = weights;
    conf.count = count;
    conf.rand = rand;
    b = mg_balancer_make(&conf);
    for (size_t i = 0; i < count; i++)
        mg_balancer_observe(b, i, 20 * MG_NS_PER_MS, true, 0);
    return b;
}

/* How many of a thousand picks at that moment the endpoint gets; all are answered in 20 ms at once. */
static unsigned share_at(mg_balancer *b, int endpoint, uint64_t now_ns)
{
    unsigned got = 0;

    for (unsigned i = 0; i < 1000; i++) {
        const int picked = mg_balancer_pick(b, NULL, 0, now_ns);

        got += picked == endpoint;
        mg_balancer_observe(b, (size_t)picked, 20 * MG_NS_PER_MS, true, now_ns);
    }
    return got;
}

/* With nothing in flight a weight in the score would be all or nothing. */
static void two_choices_ramp_up_without_load_as_well(void **state)
{
    const uint32_t weights[] = { 1, 1 };
    mg_rand rand;

    (void)state;
    for (int algorithm = MG_BALANCER_LEAST_REQUEST; algorithm <= MG_BALANCER_PEAK_EWMA; algorithm++) {
        mg_balancer *b = warm_pair((mg_balancer_algorithm)algorithm, weights, 2, &rand);

        mg_balancer_set_usable(b, 1, false);
        assert_int_equal(share_at(b, 1, 2 * MG_NS_PER_S), 0);
        mg_balancer_set_usable(b, 1, true);
        assert_in_range(share_at(b, 1, 4 * MG_NS_PER_S), 25, 100);
        assert_in_range(share_at(b, 1, 9 * MG_NS_PER_S), 190, 310);
        assert_in_range(share_at(b, 1, 14 * MG_NS_PER_S), 430, 570);
        for (size_t i = 0; i < 2; i++)
            mg_balancer_set_usable(b, i, false);
        assert_int_equal(mg_balancer_pick(b, NULL, 0, 20 * MG_NS_PER_S), MG_BALANCER_NONE);
        for (size_t i = 0; i < 2; i++) /* all at once */
            mg_balancer_set_usable(b, i, true);
        assert_in_range(share_at(b, 1, 21 * MG_NS_PER_S), 400, 600);
        mg_balancer_free(b);
    }
}

static void who_returns_counts_as_the_median_of_the_others(void **state)
{
    const uint32_t weights[] = { 1, 1, 1, 1 };
    mg_rand rand;
    mg_balancer *b = warm_pair(MG_BALANCER_PEAK_EWMA, weights, 4, &rand);

    (void)state;
    mg_balancer_observe(b, 0, 40 * MG_NS_PER_MS, true, 0);
    mg_balancer_observe(b, 1, 60 * MG_NS_PER_MS, true, 0);
    mg_balancer_observe(b, 3, MG_NS_PER_MS, false, 0);
    assert_float_equal(mg_balancer_latency_ms(b, 3, 0), 1000, 1e-6);
    mg_balancer_set_usable(b, 3, false);
    mg_balancer_set_usable(b, 3, true);
    assert_float_equal(mg_balancer_latency_ms(b, 3, 0), 40, 1e-6);
    mg_balancer_observe(b, 3, MG_NS_PER_MS, false, 0);
    mg_balancer_set_usable(b, 0, false); /* an even number of others */
    mg_balancer_set_new(b, 3, MG_NS_PER_S);
    assert_float_equal(mg_balancer_latency_ms(b, 3, 0), 40, 1e-6); /* (20 + 60) / 2 */
    mg_balancer_observe(b, 1, MG_NS_PER_MS, false, 0);
    assert_float_equal(mg_balancer_latency_ms(b, 3, 0), 20, 1e-6); /* a penalty is not a latency */
    mg_balancer_set_usable(b, 1, false);
    mg_balancer_set_usable(b, 2, false);
    assert_float_equal(mg_balancer_latency_ms(b, 3, 0), 1, 1e-6); /* nobody is measured */
    mg_balancer_free(b);
}

static void who_failed_is_asked_again_now_and_then(void **state)
{
    const uint32_t weights[] = { 1, 1, 1 };
    const uint64_t asked_ms[] = { 1500, 3500, 6000, 9000 };
    mg_rand rand;
    mg_balancer *b = warm_pair(MG_BALANCER_PEAK_EWMA, weights, 3, &rand);

    (void)state;
    mg_balancer_observe(b, 2, MG_NS_PER_MS, false, 0);
    for (size_t i = 0; i < sizeof(asked_ms) / sizeof(*asked_ms); i++) {
        const uint64_t at_ns = asked_ms[i] * MG_NS_PER_MS;

        assert_int_equal(share_at(b, 2, at_ns - 1), 0);
        assert_int_equal(mg_balancer_pick(b, NULL, 0, at_ns), 2);
        assert_int_equal(share_at(b, 2, at_ns), 0); /* one asks, the others wait for its answer */
        mg_balancer_observe(b, 2, MG_NS_PER_MS, false, at_ns);
    }
    for (unsigned i = 0; i < 40; i++)
        mg_balancer_observe(b, 2, MG_NS_PER_MS, false, 9 * MG_NS_PER_S);
    assert_int_equal(share_at(b, 2, 19 * MG_NS_PER_S - 1), 0);
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 19 * MG_NS_PER_S), 2);   /* not later than tau */
    mg_balancer_observe(b, 2, 300 * MG_NS_PER_MS, true, 19 * MG_NS_PER_S); /* a cold connection */
    assert_in_range(share_at(b, 2, 19 * MG_NS_PER_S + MG_NS_PER_MS), 250, 420);
    mg_balancer_free(b);
}

static mg_balancer *by_key(const uint32_t *weights, size_t count, uint32_t bound_milli, mg_rand *rand)
{
    const mg_str names[] = { MG_STR("10.0.0.1:80"), MG_STR("10.0.0.2:80"), MG_STR("10.0.0.3:80") };
    mg_balancer_conf conf;
    mg_balancer *b;

    mg_balancer_conf_defaults(&conf);
    conf.algorithm = MG_BALANCER_MAGLEV;
    conf.weights = weights;
    conf.count = count;
    conf.rand = rand;
    conf.bound_milli = bound_milli;
    conf.maglev = mg_maglev_new(names, weights, count, 503);
    b = mg_balancer_make(&conf);
    mg_maglev_unref(conf.maglev);
    return b;
}

static void a_key_keeps_its_endpoint_until_that_is_full_or_gone(void **state)
{
    const uint32_t weights[] = { 1, 1, 1 };
    mg_balancer *b = by_key(weights, 3, 1250, NULL);
    const uint64_t hash = mg_maglev_hash(MG_STR("user-1"));
    const int home = mg_balancer_pick_for(b, hash, NULL, 0, 0);
    int other;

    (void)state;
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(mg_balancer_pick_for(b, hash, NULL, 0, 0), home);
    mg_balancer_begin(b, (size_t)home); /* ceil(1.25 * 2 / 3) is 1 */
    other = mg_balancer_pick_for(b, hash, NULL, 0, 0);
    assert_int_not_equal(other, home);
    mg_balancer_end(b, (size_t)home);
    assert_int_equal(mg_balancer_pick_for(b, hash, NULL, 0, 0), home);
    mg_balancer_set_usable(b, (size_t)home, false);
    assert_int_equal(mg_balancer_pick_for(b, hash, NULL, 0, 0), other);
    assert_int_not_equal(mg_balancer_pick_for(b, hash, &other, 1, 0), other);
    mg_balancer_free(b);
}

static void without_a_bound_or_a_key_maglev_still_picks(void **state)
{
    const uint32_t weights[] = { 1, 0, 3 };
    unsigned picked[3] = { 0 };
    mg_balancer *b;
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    b = by_key(weights, 3, 0, &rand);
    for (unsigned i = 0; i < 4000; i++)
        picked[mg_balancer_pick(b, NULL, 0, 0)]++;
    assert_int_equal(picked[1], 0);
    assert_in_range(picked[0], 850, 1150);
    /* A weight that was 0 when the table was built has no slot, and is still better than nobody. */
    mg_balancer_set_weight(b, 1, 1);
    mg_balancer_set_weight(b, 0, 0);
    mg_balancer_set_weight(b, 2, 0);
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), 1);
    mg_balancer_free(b);
}

static void workers_share_what_is_in_flight(void **state)
{
    const uint32_t weights[] = { 1, 1 };
    mg_inflight *inflight = mg_inflight_new(2);
    mg_balancer_conf conf;
    mg_balancer *one, *two;
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    mg_balancer_conf_defaults(&conf);
    conf.algorithm = MG_BALANCER_LEAST_REQUEST;
    conf.weights = weights;
    conf.count = 2;
    conf.rand = &rand;
    conf.inflight = inflight;
    one = mg_balancer_make(&conf);
    two = mg_balancer_make(&conf);
    mg_inflight_unref(inflight);
    mg_balancer_begin(one, 0);
    for (unsigned i = 0; i < 10; i++)
        assert_int_equal(mg_balancer_pick(two, NULL, 0, 0), 1);
    mg_balancer_end(two, 0);
    assert_int_equal(mg_inflight_get(inflight, 0), 0);
    mg_balancer_free(one);
    mg_balancer_free(two);
}

static void a_later_set_goes_on_with_those_that_stay(void **state)
{
    static const uint32_t weights[] = { 1, 1, 1 };
    const int from[] = { 2, MG_BALANCER_NONE, 0 };
    mg_inflight *before = mg_inflight_new(3), *after;
    mg_balancer_conf conf;
    mg_balancer *old, *next;
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    mg_balancer_conf_defaults(&conf);
    conf.weights = weights;
    conf.count = 3;
    conf.rand = &rand;
    conf.inflight = before;
    old = mg_balancer_make(&conf);
    mg_balancer_observe(old, 0, 10 * MG_NS_PER_MS, true, MG_NS_PER_S);
    mg_balancer_observe(old, 2, 30 * MG_NS_PER_MS, true, MG_NS_PER_S);
    mg_balancer_set_usable(old, 2, false);
    mg_balancer_begin(old, 0);
    after = mg_inflight_next(before, from, 3);
    conf.inflight = after;
    next = mg_balancer_make(&conf);
    mg_balancer_take_over(next, old, from);
    assert_true(mg_balancer_latency_ms(next, 2, MG_NS_PER_S) == 10);
    assert_true(mg_balancer_latency_ms(next, 0, MG_NS_PER_S) == 30);
    assert_false(mg_balancer_usable(next, 0));
    assert_true(mg_balancer_usable(next, 1) && mg_balancer_usable(next, 2));
    assert_int_equal(mg_inflight_get(after, 2), 1);
    mg_balancer_begin(next, 2);
    assert_int_equal(mg_inflight_get(before, 0), 2);
    mg_balancer_end(old, 0); /* calls end where they began */
    mg_balancer_end(next, 2);
    assert_int_equal(mg_inflight_get(after, 2), 0);
    mg_balancer_free(old);
    mg_inflight_unref(before);
    mg_balancer_begin(next, 2);
    mg_balancer_end(next, 2);
    mg_balancer_free(next);
    mg_inflight_unref(after);
}

static void maglev_wants_a_prime(void **state)
{
    (void)state;
    assert_true(mg_maglev_prime(2));
    assert_true(mg_maglev_prime(MG_MAGLEV_SIZE));
    assert_true(mg_maglev_prime(MG_MAGLEV_SIZE_MAX));
    assert_false(mg_maglev_prime(0));
    assert_false(mg_maglev_prime(1));
    assert_false(mg_maglev_prime(65536));
    assert_false(mg_maglev_prime(65533));
    assert_false(mg_maglev_prime(UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_usable_picks_nothing),
        cmocka_unit_test(what_was_tried_is_tried_again_only_when_nothing_else_is_left),
        cmocka_unit_test(workers_start_at_different_points),
        cmocka_unit_test(random_follows_the_weights),
        cmocka_unit_test(load_and_weight_decide_between_two),
        cmocka_unit_test(a_host_that_fails_fast_draws_no_traffic),
        cmocka_unit_test(who_has_no_history_counts_as_the_median_of_the_others),
        cmocka_unit_test(who_returns_gets_a_ramp),
        cmocka_unit_test(two_choices_ramp_up_without_load_as_well),
        cmocka_unit_test(who_returns_counts_as_the_median_of_the_others),
        cmocka_unit_test(who_failed_is_asked_again_now_and_then),
        cmocka_unit_test(a_key_keeps_its_endpoint_until_that_is_full_or_gone),
        cmocka_unit_test(without_a_bound_or_a_key_maglev_still_picks),
        cmocka_unit_test(workers_share_what_is_in_flight),
        cmocka_unit_test(a_later_set_goes_on_with_those_that_stay),
        cmocka_unit_test(maglev_wants_a_prime),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
