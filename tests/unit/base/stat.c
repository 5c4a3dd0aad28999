/* Counters and histograms; memory that succeeds; the intrusive list. */
#include "support/check.h"

#include "base/list.h"
#include "base/mem.h"
#include "base/stat.h"

static void a_cell_adds_up(void **state)
{
    mg_cell cell = { 0 };

    (void)state;
    mg_cell_add(&cell, 5);
    mg_cell_add(&cell, 7);
    assert_int_equal(mg_cell_get(&cell), 12);
}

static void bounds_rise_from_half_a_millisecond_to_ten_seconds(void **state)
{
    (void)state;
    assert_int_equal(mg_histogram_bounds_us[0], 500);
    assert_int_equal(mg_histogram_bounds_us[MG_HISTOGRAM_BOUNDS - 1], 10000000);
    for (int i = 1; i < MG_HISTOGRAM_BOUNDS; i++)
        assert_true(mg_histogram_bounds_us[i] > mg_histogram_bounds_us[i - 1]);
}

static void a_value_on_a_bound_belongs_below_it(void **state)
{
    mg_histogram h = { 0 };

    (void)state;
    mg_histogram_add(&h, 0);
    mg_histogram_add(&h, 500);
    mg_histogram_add(&h, 501);
    mg_histogram_add(&h, 10000000);
    mg_histogram_add(&h, 10000001);
    assert_int_equal(mg_cell_get(&h.cells[0]), 2);
    assert_int_equal(mg_cell_get(&h.cells[1]), 1);
    assert_int_equal(mg_cell_get(&h.cells[MG_HISTOGRAM_BOUNDS - 1]), 1);
    assert_int_equal(mg_cell_get(&h.cells[MG_HISTOGRAM_BOUNDS]), 1);
    assert_int_equal(mg_cell_get(&h.count), 5);
    assert_int_equal(mg_cell_get(&h.sum_us), 20001002);
}

static void memory_of_no_bytes_is_memory(void **state)
{
    char *p = mg_alloc(0), *q = mg_calloc(0, 8);

    (void)state;
    p = mg_realloc(p, 0);
    assert_non_null(p);
    mg_free(p);
    mg_free(q);
    mg_free(NULL);
    p = mg_memdup0(NULL, 0);
    assert_string_equal(p, "");
    mg_free(p);
    p = mg_strdup("abc");
    assert_string_equal(p, "abc");
    mg_free(p);
}

static void a_list_keeps_its_order_and_lets_go(void **state)
{
    mg_list head, a = { 0 }, b = { 0 }, c = { 0 };
    int met = 0;

    (void)state;
    mg_list_init(&head);
    assert_true(mg_list_empty(&head));
    mg_list_remove(&a); /* never in one */
    mg_list_push(&head, &a);
    mg_list_push(&head, &b);
    mg_list_push_front(&head, &c);
    assert_true(mg_list_linked(&b));
    MG_LIST_EACH(&head, it)
    {
        assert_ptr_equal(it, met == 0 ? &c : met == 1 ? &a : &b);
        met++;
        mg_list_remove(it);
        assert_false(mg_list_linked(it));
    }
    assert_int_equal(met, 3);
    assert_null(mg_list_pop(&head));
    mg_list_push(&head, &b);
    assert_ptr_equal(mg_list_pop(&head), &b);
    assert_true(mg_list_empty(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_adds_up),
        cmocka_unit_test(bounds_rise_from_half_a_millisecond_to_ten_seconds),
        cmocka_unit_test(a_value_on_a_bound_belongs_below_it),
        cmocka_unit_test(memory_of_no_bytes_is_memory),
        cmocka_unit_test(a_list_keeps_its_order_and_lets_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
