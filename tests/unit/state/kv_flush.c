/* What happens between a flush's two halves, while its generation is being written: reached by taking the
 * halves apart. */
#include "support/check.h"
#include "support/tmpdir.h"

#include "state/kv_flush.c"

typedef struct fixture {
    char dir[TMPDIR_PATH_BYTES];
    mg_store *store;
    mg_kv *kv;
    mg_kv_space *space;
} fixture;

static int begin(void **state)
{
    fixture *f = MG_NEW(fixture);
    mg_result result;

    tmpdir_make(f->dir);
    const mg_store_options store_options = { f->dir, 8 << 20, 2, 8, false };
    f->store = mg_store_open(&store_options, &result, NULL);
    const mg_kv_options options = { f->store, &mg_clock_real, NULL, 0, 3 };
    f->kv = mg_kv_new(&options, NULL);
    f->space = mg_kv_open(f->kv, MG_STR("p"), NULL);
    *state = f;
    return 0;
}

static int end(void **state)
{
    fixture *f = *state;

    mg_kv_space_free(f->space);
    mg_kv_free(f->kv);
    mg_store_close(f->store);
    tmpdir_remove(f->dir);
    mg_free(f);
    return 0;
}

static void set(fixture *f, const char *key, const char *value)
{
    assert_null(mg_kv_set(f->space, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value), 0));
}

static void del(fixture *f, const char *key)
{
    assert_null(mg_kv_delete(f->space, key, (uint32_t)strlen(key)));
}

static void check_value_at(fixture *f, const char *key, const char *want, int line)
{
    mg_slice value;

    assert_null(mg_kv_get(f->space, key, (uint32_t)strlen(key), &value));
    if ((value.p != NULL) == (want != NULL))
        check_str_at(mg_str_make(value.p ? value.p : "", value.n), want ? want : "", __FILE__, line);
    else
        _fail(__FILE__, line);
}
#define check_value(f, key, want) check_value_at((f), (key), (want), __LINE__)

/* Before the cut: a and b in the store, c and d not. All four are in the generation. */
static void take_four(fixture *f)
{
    set(f, "a", "stored");
    set(f, "b", "stored");
    assert_int_equal(mg_kv_flush(f->kv, NULL), MG_OK);
    set(f, "a", "taken");
    set(f, "b", "taken");
    set(f, "c", "taken");
    set(f, "d", "taken");
    assert_int_equal(take_generation(f->kv), 4);
}

static void a_generation_on_its_way_is_read_and_what_is_newer_comes_first(void **state)
{
    fixture *f = *state;

    take_four(f);
    check_value(f, "a", "taken");
    check_value(f, "c", "taken");
    set(f, "a", "newer");
    del(f, "b");
    del(f, "c");
    check_value(f, "a", "newer");
    check_value(f, "b", NULL);
    check_value(f, "c", NULL);
    check_value(f, "d", "taken");
    assert_int_equal(mg_kv_write_generation(f->kv, 4, NULL), MG_OK);
    drop_generation(f->kv);
    check_value(f, "a", "newer");
    check_value(f, "b", NULL);
    check_value(f, "c", NULL);
    check_value(f, "d", "taken");
    assert_int_equal(mg_kv_flush(f->kv, NULL), MG_OK);
    check_value(f, "a", "newer");
    check_value(f, "b", NULL);
    check_value(f, "c", NULL);
}

static void a_generation_that_failed_comes_back_beneath_what_is_newer(void **state)
{
    fixture *f = *state;
    mg_kv_stats stats;

    take_four(f);
    set(f, "a", "newer");
    del(f, "b");
    del(f, "c");
    give_generation_back(f->kv);
    check_value(f, "a", "newer");
    check_value(f, "b", NULL);
    check_value(f, "c", NULL);
    check_value(f, "d", "taken");
    mg_kv_stats_get(f->kv, &stats);
    assert_int_equal(stats.pending, 3); /* c never reached the store: nothing to delete there */
    del(f, "a");
    del(f, "d");
    assert_int_equal(mg_kv_flush(f->kv, NULL), MG_OK);
    check_value(f, "a", NULL);
    check_value(f, "b", NULL);
    check_value(f, "d", NULL);
    assert_true(mg_kv_used_bytes(f->space) == 0);
}

static void a_barrier_asked_for_meanwhile_waits_for_the_next_flush(void **state)
{
    fixture *f = *state;

    take_four(f);
    assert_true(mg_kv_waits_any(f->kv));
    assert_int_equal(mg_kv_write_generation(f->kv, 4, NULL), MG_OK);
    assert_true(
        mg_kv_waits_any(f->kv)); /* until it is dropped: whoever asks now is told a flush later, not never */
    drop_generation(f->kv);
    assert_false(mg_kv_waits_any(f->kv));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_generation_on_its_way_is_read_and_what_is_newer_comes_first, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_generation_that_failed_comes_back_beneath_what_is_newer, begin,
                                        end),
        cmocka_unit_test_setup_teardown(a_barrier_asked_for_meanwhile_waits_for_the_next_flush, begin, end),
    };
    return cmocka_run_group_tests_name("gateway/kv_flush", tests, NULL, NULL);
}
