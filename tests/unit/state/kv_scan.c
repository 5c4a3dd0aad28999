/* Looking through the key-value store: what stands in memory and what stands on disk, as one list. */
#include "support/check.h"
#include "support/tmpdir.h"

#include "base/mem.h"
#include "state/kv.h"

static char dir[TMPDIR_PATH_BYTES];

typedef struct fixture {
    mg_fake_clock clock;
    mg_store *store;
    mg_kv *kv;
    mg_kv_space *space;
    mg_text seen; /* "key=value " of a scan */
    size_t rows, limit;
} fixture;

static void begin(fixture *f, bool durable)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result;

    *f = (fixture){ .limit = SIZE_MAX };
    mg_fake_clock_init(&f->clock, 1000, 1700000000 * (int64_t)MG_NS_PER_S);
    if (durable) {
        const mg_store_options options = { dir, 64 << 20, 4, 16, false };
        f->store = mg_store_open(&options, &result, &err);
        assert_non_null(f->store);
    }
    const mg_kv_options options = { .store = f->store, .clock = &f->clock.clock, .seed = 42 };
    f->kv = mg_kv_new(&options, &err);
    assert_non_null(f->kv);
    f->space = mg_kv_open(f->kv, MG_STR("plugin"), &err);
}

static void end(fixture *f)
{
    mg_kv_space_free(f->space);
    mg_kv_free(f->kv);
    mg_store_close(f->store);
    mg_text_fini(&f->seen);
}

static void set(fixture *f, const char *key, const char *value, double ttl_s)
{
    assert_null(mg_kv_set(f->space, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value), ttl_s));
}

static void del(fixture *f, const char *key)
{
    assert_null(mg_kv_delete(f->space, key, (uint32_t)strlen(key)));
}

static void flush(fixture *f)
{
    assert_int_equal(mg_kv_flush(f->kv, NULL), MG_OK);
}

static bool see(void *self, mg_str key, mg_str value, uint64_t expires_ms)
{
    fixture *f = self;

    mg_text_addf(&f->seen, "%.*s=%.*s%s ", MG_STR_ARGS(key), MG_STR_ARGS(value), expires_ms ? "!" : "");
    return ++f->rows < f->limit;
}

static mg_kv_scan scan_of(fixture *f, const char *prefix, const char *after)
{
    mg_kv_scan scan = { .name = MG_STR("plugin"),
                        .prefix = mg_str_of(prefix),
                        .after = mg_str_of(after),
                        .each = see,
                        .self = f };

    mg_text_clear(&f->seen);
    f->rows = 0;
    assert_int_equal(mg_kv_scan_run(f->kv, &scan, NULL), MG_OK);
    return scan;
}

static void check_scan(fixture *f, const char *prefix, const char *want)
{
    const mg_kv_scan scan = scan_of(f, prefix, "");

    check_str(mg_text_str(&f->seen), want);
    assert_false(scan.more);
}

static void keys_come_in_order_from_memory_alone(void **state)
{
    fixture f;

    (void)state;
    begin(&f, false);
    set(&f, "b", "2", 0);
    set(&f, "a", "1", 0);
    set(&f, "c", "", 0);
    check_scan(&f, "", "a=1 b=2 c= ");
    end(&f);
}

static void memory_and_store_are_one_list_and_memory_knows_better(void **state)
{
    fixture f;

    (void)state;
    tmpdir_make(dir);
    begin(&f, true);
    set(&f, "a", "old", 0);
    set(&f, "b", "stays", 0);
    set(&f, "d", "goes", 0);
    flush(&f);
    set(&f, "a", "new", 0);
    set(&f, "c", "young", 0);
    del(&f, "d");
    check_scan(&f, "", "a=new b=stays c=young ");
    flush(&f);
    check_scan(&f, "", "a=new b=stays c=young ");
    end(&f);
    tmpdir_remove(dir);
}

static void a_prefix_bounds_it_on_both_sides(void **state)
{
    fixture f;

    (void)state;
    begin(&f, false);
    set(&f, "user", "0", 0);
    set(&f, "user:1", "1", 0);
    set(&f, "user:2", "2", 0);
    set(&f, "user;", "3", 0);
    set(&f, "a", "4", 0);
    check_scan(&f, "user:", "user:1=1 user:2=2 ");
    check_scan(&f, "nobody", "");
    end(&f);
}

static void another_namespace_is_not_seen(void **state)
{
    fixture f;

    (void)state;
    begin(&f, false);
    mg_kv_space *other = mg_kv_open(f.kv, MG_STR("plugin2"), NULL);
    assert_null(mg_kv_set(other, "x", 1, "y", 1, 0));
    set(&f, "a", "1", 0);
    check_scan(&f, "", "a=1 ");
    mg_kv_space_free(other);
    end(&f);
}

static void what_is_past_its_time_is_not_shown(void **state)
{
    fixture f;

    (void)state;
    begin(&f, false);
    set(&f, "a", "1", 5);
    set(&f, "b", "2", 50);
    mg_fake_clock_advance(&f.clock, 10 * MG_NS_PER_S);
    check_scan(&f, "", "b=2! ");
    end(&f);
}

/* More than one round of gathering, half of it on disk. */
static void pages_join_without_gap_or_double(void **state)
{
    fixture f;
    char key[16], after[256] = "";
    size_t pages = 0, rows = 0;

    (void)state;
    tmpdir_make(dir);
    begin(&f, true);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "%05d", i * 7919 % 2000);
        set(&f, key, "v", 0);
        if (i == 1000)
            flush(&f);
    }
    f.limit = 300;
    for (bool more = true; more; pages++) {
        const mg_kv_scan scan = scan_of(&f, "", after);
        for (size_t i = 0; i < f.rows; i++, rows++) {
            snprintf(key, sizeof key, "%05zu=v ", rows);
            assert_memory_equal(f.seen.p + i * 8, key, 8);
        }
        more = scan.more;
        assert_true(scan.reached_n < sizeof after);
        memcpy(after, scan.reached, scan.reached_n);
        after[scan.reached_n] = '\0';
    }
    assert_int_equal(rows, 2000);
    assert_int_equal(pages, 7);
    end(&f);
    tmpdir_remove(dir);
}

/* So many rows that are gone cannot hold a caller up: it is given the place to go on from. */
static void a_call_looks_at_a_bounded_number_of_keys(void **state)
{
    fixture f;
    char key[16];

    (void)state;
    tmpdir_make(dir);
    begin(&f, true);
    for (int i = 0; i < 10000; i++) {
        snprintf(key, sizeof key, "%05d", i);
        set(&f, key, "v", 1);
    }
    set(&f, "z", "last", 0);
    flush(&f);
    mg_fake_clock_advance(&f.clock, 10 * MG_NS_PER_S);
    mg_kv_scan scan = scan_of(&f, "", "");
    assert_true(scan.more);
    assert_int_equal(f.seen.n, 0);
    char after[MG_KV_KEY_MAX + 1] = "";
    memcpy(after, scan.reached, scan.reached_n);
    scan = scan_of(&f, "", after);
    check_str(mg_text_str(&f.seen), "z=last ");
    assert_false(scan.more);
    end(&f);
    tmpdir_remove(dir);
}

static void a_name_or_key_that_is_none_is_refused(void **state)
{
    mg_kv_scan scan = { .each = see };
    mg_error err = MG_ERROR_INIT;
    char longer[300];
    fixture f;

    (void)state;
    memset(longer, 'k', sizeof longer);
    begin(&f, false);
    assert_int_equal(mg_kv_scan_run(f.kv, &scan, &err), MG_ERR_INVALID);
    scan.name = MG_STR("plugin");
    scan.prefix = mg_str_make(longer, sizeof longer);
    assert_int_equal(mg_kv_scan_run(f.kv, &scan, &err), MG_ERR_INVALID);
    assert_true(mg_kv_has_space(f.kv, MG_STR("plugin")));
    assert_false(mg_kv_has_space(f.kv, MG_STR("plugim")));
    end(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_come_in_order_from_memory_alone),
        cmocka_unit_test(memory_and_store_are_one_list_and_memory_knows_better),
        cmocka_unit_test(a_prefix_bounds_it_on_both_sides),
        cmocka_unit_test(another_namespace_is_not_seen),
        cmocka_unit_test(what_is_past_its_time_is_not_shown),
        cmocka_unit_test(pages_join_without_gap_or_double),
        cmocka_unit_test(a_call_looks_at_a_bounded_number_of_keys),
        cmocka_unit_test(a_name_or_key_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
