/* Which endpoint next, by example (POLICIES 6); the vectors hold the plain cycle. */
#include "policy/balancer.h"

#include "base/mem.h"
#include "support/check.h"

static void nothing_usable_picks_nothing(void **state)
{
    const uint32_t weights[] = { 1, 0 };
    mg_balancer *b = mg_balancer_new(MG_BALANCER_ROUND_ROBIN, weights, 2, NULL), *none;

    (void)state;
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), 0);
    mg_balancer_set_usable(b, 0, false);
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), MG_BALANCER_NONE);
    mg_balancer_set_usable(b, 1, true); /* of weight 0 */
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), MG_BALANCER_NONE);
    mg_balancer_set_weight(b, 1, 2);
    assert_int_equal(mg_balancer_pick(b, NULL, 0, 0), 1);
    mg_balancer_free(b);
    none = mg_balancer_new(MG_BALANCER_ROUND_ROBIN, weights, 0, NULL);
    assert_int_equal(mg_balancer_pick(none, NULL, 0, 0), MG_BALANCER_NONE);
    mg_balancer_free(none);
}

static void what_was_tried_is_tried_again_only_when_nothing_else_is_left(void **state)
{
    const uint32_t weights[] = { 100, 1, 1 };
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    for (int algorithm = MG_BALANCER_ROUND_ROBIN; algorithm <= MG_BALANCER_RANDOM; algorithm++) {
        mg_balancer *b = mg_balancer_new((mg_balancer_algorithm)algorithm, weights, 3, &rand);
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
        mg_balancer *b = mg_balancer_new(MG_BALANCER_ROUND_ROBIN, weights, 8, &rand);

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
    b = mg_balancer_new(MG_BALANCER_RANDOM, weights, 3, &rand);
    for (unsigned i = 0; i < 4000; i++)
        picked[mg_balancer_pick(b, NULL, 0, 0)]++;
    assert_int_equal(picked[1], 0);
    assert_in_range(picked[0], 850, 1150);
    mg_balancer_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_usable_picks_nothing),
        cmocka_unit_test(what_was_tried_is_tried_again_only_when_nothing_else_is_left),
        cmocka_unit_test(workers_start_at_different_points),
        cmocka_unit_test(random_follows_the_weights),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
