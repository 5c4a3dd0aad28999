/* The map beside a plain array: whatever is set, replaced and removed, both tell the same. */
#include "support/check.h"

#include "base/map.h"
#include "base/rand.h"

enum { KEYS = 200, STEPS = 4000, RUNS = 25 };

static mg_str key_of(unsigned i, char out[16])
{
    return mg_str_make(out, (size_t)snprintf(out, 16, "key-%u", i * 7919));
}

static void the_same_as_the_model(const mg_map *map, void *const *model)
{
    size_t count = 0;
    char name[16];

    for (unsigned i = 0; i < KEYS; i++) {
        assert_ptr_equal(mg_map_get(map, key_of(i, name)), model[i]);
        count += model[i] != NULL;
    }
    assert_int_equal(mg_map_count(map), count);
}

static void a_map_does_what_an_array_does(void **state)
{
    mg_rand rand;
    static char values[8];

    (void)state;
    mg_rand_init(&rand, check_seed(20261121));
    for (int run = 0; run < RUNS; run++) {
        void *model[KEYS] = { 0 };
        mg_map *map = mg_map_new(mg_rand_next(&rand));
        const uint64_t keep = 1 + mg_rand_below(&rand, 9); /* of ten steps, how many set */

        for (int step = 0; step < STEPS; step++) {
            const unsigned i = (unsigned)mg_rand_below(&rand, KEYS);
            void *value = mg_rand_below(&rand, 10) < keep ? &values[mg_rand_below(&rand, 8)] : NULL;
            char name[16];

            assert_ptr_equal(mg_map_set(map, key_of(i, name), value), model[i]);
            model[i] = value;
            if (step % 100 == 0)
                the_same_as_the_model(map, model);
        }
        the_same_as_the_model(map, model);
        mg_map_free(map);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_map_does_what_an_array_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
