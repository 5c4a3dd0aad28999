/* The seeded generator. */
#include "support/check.h"

#include "base/rand.h"

/* xoshiro256** from the state 1, 2, 3, 4: the values of the authors' C code. */
static void the_sequence_is_the_published_one(void **state)
{
    mg_rand rand = { { 1, 2, 3, 4 } };

    (void)state;
    assert_int_equal(mg_rand_next(&rand), 11520u);
    assert_int_equal(mg_rand_next(&rand), 0u);
    assert_int_equal(mg_rand_next(&rand), 1509978240u);
    assert_int_equal(mg_rand_next(&rand), 1215971899390074240u);
}

static void a_seed_repeats_itself_and_differs_from_others(void **state)
{
    mg_rand a, b, c;

    (void)state;
    mg_rand_init(&a, 42);
    mg_rand_init(&b, 42);
    mg_rand_init(&c, 43);
    for (int i = 0; i < 100; i++) {
        const uint64_t n = mg_rand_next(&a);
        assert_int_equal(n, mg_rand_next(&b));
        assert_int_not_equal(n, mg_rand_next(&c));
    }
}

static void the_seed_zero_is_a_seed(void **state)
{
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 0);
    assert_int_not_equal(mg_rand_next(&rand), mg_rand_next(&rand));
}

static void bounded_numbers_are_below_and_even(void **state)
{
    int counts[6] = { 0 };
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, 1);
    for (int i = 0; i < 60000; i++)
        counts[mg_rand_below(&rand, 6)]++;
    for (int i = 0; i < 6; i++)
        assert_in_range(counts[i], 9500, 10500);
    assert_int_equal(mg_rand_below(&rand, 1), 0);
    assert_true(mg_rand_below(&rand, UINT64_MAX) < UINT64_MAX);
}

static void units_are_in_the_half_open_interval(void **state)
{
    mg_rand rand;
    double sum = 0;

    (void)state;
    mg_rand_init(&rand, 1);
    for (int i = 0; i < 10000; i++) {
        const double u = mg_rand_unit(&rand);
        assert_true(u >= 0 && u < 1);
        sum += u;
    }
    assert_true(sum > 4800 && sum < 5200);
}

static void the_system_gives_different_seeds(void **state)
{
    (void)state;
    assert_int_not_equal(mg_rand_system_seed(), mg_rand_system_seed());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_sequence_is_the_published_one),
        cmocka_unit_test(a_seed_repeats_itself_and_differs_from_others),
        cmocka_unit_test(the_seed_zero_is_a_seed),
        cmocka_unit_test(bounded_numbers_are_below_and_even),
        cmocka_unit_test(units_are_in_the_half_open_interval),
        cmocka_unit_test(the_system_gives_different_seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
