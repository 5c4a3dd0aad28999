/* The hash map. */
#include "support/check.h"

#include "base/map.h"

static void keys_are_copied_and_values_kept(void **state)
{
    mg_map *map = mg_map_new(1);
    char key[] = "alpha";
    int a = 0, b = 0;

    (void)state;
    assert_null(mg_map_get(map, MG_STR("alpha")));
    assert_null(mg_map_set(map, mg_str_of(key), &a));
    key[0] = 'X';
    assert_ptr_equal(mg_map_get(map, MG_STR("alpha")), &a);
    assert_ptr_equal(mg_map_set(map, MG_STR("alpha"), &b), &a);
    assert_int_equal(mg_map_count(map), 1);
    mg_map_free(map);
    mg_map_free(NULL);
}

static void null_removes(void **state)
{
    mg_map *map = mg_map_new(1);
    int a = 0;

    (void)state;
    mg_map_set(map, MG_STR("k"), &a);
    assert_ptr_equal(mg_map_set(map, MG_STR("k"), NULL), &a);
    assert_null(mg_map_set(map, MG_STR("k"), NULL));
    assert_int_equal(mg_map_count(map), 0);
    assert_null(mg_map_get(map, MG_STR("k")));
    mg_map_free(map);
}

static void the_empty_key_and_nul_bytes_are_keys(void **state)
{
    mg_map *map = mg_map_new(1);
    int a = 0, b = 0, c = 0;

    (void)state;
    mg_map_set(map, MG_STR(""), &a);
    mg_map_set(map, MG_STR("x\0y"), &b);
    mg_map_set(map, MG_STR("x\0z"), &c);
    assert_ptr_equal(mg_map_get(map, MG_STR_NONE), &a);
    assert_ptr_equal(mg_map_get(map, MG_STR("x\0y")), &b);
    assert_ptr_equal(mg_map_get(map, MG_STR("x\0z")), &c);
    mg_map_free(map);
}

static void a_walk_meets_each_key_once(void **state)
{
    mg_map *map = mg_map_new(7);
    int values[100] = { 0 };
    size_t cursor = 0, met = 0;
    mg_str key;
    void *value;

    (void)state;
    for (int i = 0; i < 100; i++) {
        char name[16];
        snprintf(name, sizeof(name), "k%d", i);
        mg_map_set(map, mg_str_of(name), &values[i]);
    }
    while (mg_map_next(map, &cursor, &key, &value)) {
        ++*(int *)value;
        met++;
        assert_ptr_equal(mg_map_get(map, key), value);
    }
    assert_int_equal(met, 100);
    for (int i = 0; i < 100; i++)
        assert_int_equal(values[i], 1);
    mg_map_free(map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_are_copied_and_values_kept),
        cmocka_unit_test(null_removes),
        cmocka_unit_test(the_empty_key_and_nul_bytes_are_keys),
        cmocka_unit_test(a_walk_meets_each_key_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
