/* kv_fixture.h - a kv on a clock in a test's hand, in memory or over a directory of its own. */
#ifndef TEST_KV_FIXTURE_H
#define TEST_KV_FIXTURE_H

#include "support/check.h"
#include "support/tmpdir.h"

#include "base/mem.h"
#include "state/kv.h"

static char dir[TMPDIR_PATH_BYTES];

/* A kv on a clock of its own, in memory or over `dir`. */
typedef struct fixture {
    mg_fake_clock clock;
    mg_store *store;
    mg_kv *kv;
    mg_kv_space *space;
} fixture;

static inline void open_kv(fixture *f, bool durable, size_t map_bytes, uint64_t space_bytes)
{
    mg_error err = MG_ERROR_INIT;
    mg_result result;

    f->store = NULL;
    if (durable) {
        const mg_store_options options = { dir, map_bytes ? map_bytes : 8 << 20, 4, 16, true };
        f->store = mg_store_open(&options, &result, &err);
        if (!f->store)
            fail_msg("%s", err.message);
    }
    const mg_kv_options options = { f->store, &f->clock.clock, NULL, space_bytes, 42 };
    f->kv = mg_kv_new(&options, &err);
    if (!f->kv)
        fail_msg("%s", err.message);
    f->space = mg_kv_open(f->kv, MG_STR("plugin"), &err);
    assert_non_null(f->space);
}

static inline void close_kv(fixture *f)
{
    mg_kv_space_free(f->space);
    mg_kv_free(f->kv);
    mg_store_close(f->store);
}

static inline void begin(fixture *f, bool durable)
{
    mg_fake_clock_init(&f->clock, 1000, 1700000000 * (int64_t)MG_NS_PER_S);
    open_kv(f, durable, 0, 0);
}

static inline void reopen(fixture *f)
{
    close_kv(f);
    open_kv(f, true, 0, 0);
}

static inline void flush(fixture *f)
{
    mg_error err = MG_ERROR_INIT;

    if (mg_kv_flush(f->kv, &err) != MG_OK)
        fail_msg("%s", err.message);
}

static inline const char *set_for(mg_kv_space *space, const char *key, const char *value, double ttl_s)
{
    return mg_kv_set(space, key, (uint32_t)strlen(key), value, (uint32_t)strlen(value), ttl_s);
}

static inline void set(mg_kv_space *space, const char *key, const char *value)
{
    assert_null(set_for(space, key, value, 0));
}

static inline void check_value_at(mg_kv_space *space, const char *key, const char *want, const char *file,
                                  int line)
{
    mg_slice value;
    const char *error = mg_kv_get(space, key, (uint32_t)strlen(key), &value);

    if (!error && (value.p != NULL) == (want != NULL) &&
        (!want || mg_str_eq_c(mg_str_make(value.p, value.n), want)))
        return;
    print_error("%s: got %.*s (%s), want %s\n", key, (int)value.n, value.p ? value.p : "nothing",
                error ? error : "ok", want ? want : "nothing");
    _fail(file, line);
}
#define check_value(space, key, want) check_value_at((space), (key), (want), __FILE__, __LINE__)

static inline void del(mg_kv_space *space, const char *key)
{
    assert_null(mg_kv_delete(space, key, (uint32_t)strlen(key)));
}

static inline int fresh_directory(void **state)
{
    (void)state;
    tmpdir_make(dir);
    return 0;
}

static inline int remove_directory(void **state)
{
    (void)state;
    tmpdir_remove(dir);
    return 0;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, fresh_directory, remove_directory)

#endif
