/* Keeping, dropping, charging and looking from several threads while the flush thread runs. */
#include "persist_fixture.h"

#include <pthread.h>

enum { CHARGES = 20000, KEYS = 3000, ROUNDS = 300, THINGS = 4 };

typedef struct thing {
    _Atomic uint64_t value;
} thing;

static uint64_t thing_stamp(const void *self)
{
    return atomic_load(&((thing *)(uintptr_t)self)->value);
}

static void thing_write(const void *self, uint64_t policy_ns, mg_text *row)
{
    (void)policy_ns;
    mg_record_u64(row, thing_stamp(self));
}

static bool thing_read(void *self, mg_record *row, uint64_t policy_ns)
{
    (void)policy_ns;
    atomic_store(&((thing *)self)->value, mg_record_get_u64(row));
    return row->ok;
}

static const mg_keep_ops ops = { thing_stamp, thing_write, thing_read };

typedef struct world {
    char folder[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES + 16];
    mg_policy_clock policy_clock;
    mg_persist *persist;
    mg_limiter_conf conf;
    mg_limiter *limiter;
    atomic_bool ends;
} world;

static void open_world(world *w)
{
    const mg_persist_options options = { .path = w->path, .max_bytes = 64 << 20, .clock = &mg_clock_real };

    w->persist = mg_persist_open(&options, &w->policy_clock, NULL);
    assert_non_null(w->persist);
    mg_limiter_conf_defaults(&w->conf);
    w->conf.limit = 1000;
    w->conf.period_ms = 3600000;
    w->conf.max_keys = 10000;
    memcpy(w->conf.secret, mg_persist_secret(w->persist), sizeof(w->conf.secret));
    w->limiter = mg_limiter_new(&w->conf, NULL);
    mg_persist_keep_limiter(w->persist, MG_STR("rule"), 1, &w->conf, w->limiter);
}

static void *charge(void *self)
{
    world *w = self;
    mg_limiter_answer a;

    for (uint64_t i = 0; i < CHARGES; i++) {
        const uint64_t key = i % KEYS;
        mg_limiter_take(w->limiter, (const char *)&key, sizeof(key), 1, mg_policy_clock_now(&w->policy_clock),
                        &a);
    }
    return NULL;
}

static void *keep_and_drop(void *self)
{
    world *w = self;
    thing things[THINGS];
    char name[16];

    for (int round = 0; round < ROUNDS; round++) {
        for (int i = 0; i < THINGS; i++) {
            snprintf(name, sizeof(name), "t%d", i);
            atomic_init(&things[i].value, 0);
            mg_persist_keep(w->persist, MG_KEEP_ROLLOUT, mg_str_of(name), &ops, &things[i]);
            assert_int_equal(atomic_load(&things[i].value), round);
            atomic_fetch_add(&things[i].value, 1);
        }
        for (int i = 0; i < THINGS; i++)
            mg_persist_drop(w->persist, &things[i]);
        memset(things, 0xa5, sizeof(things)); /* nobody looks any more */
    }
    return NULL;
}

static bool ignore(void *self, mg_str key, mg_str json)
{
    (void)self;
    (void)key;
    (void)json;
    return true;
}

static void *look(void *self)
{
    world *w = self;
    mg_persist_stats stats;

    for (int round = 0; round < 20; round++) {
        mg_persist_stats_get(w->persist, &stats);
        assert_int_equal(
            mg_persist_scan(w->persist, MG_STR("limiters"), MG_STR(""), MG_STR(""), ignore, NULL, NULL),
            MG_OK);
        assert_int_equal(mg_persist_compact(w->persist, NULL), MG_OK);
    }
    return NULL;
}

static void *flush_for_ever(void *self)
{
    world *w = self;
    bool more;

    while (!atomic_load(&w->ends))
        assert_int_equal(mg_persist_turn(w->persist, true, &more, NULL), MG_OK);
    return NULL;
}

static void *reconfigure(void *self)
{
    world *w = self;
    mg_limiter *made[20];

    for (size_t i = 0; i < mg_countof(made); i++) {
        mg_limiter_conf conf = w->conf;
        conf.limit = 1000 + i;
        made[i] =
            mg_limiter_next(i ? made[i - 1] : w->limiter, &conf, mg_policy_clock_now(&w->policy_clock), NULL);
        mg_persist_keep_limiter(w->persist, MG_STR("rule"), 1, &conf, made[i]);
    }
    mg_persist_keep_limiter(w->persist, MG_STR("rule"), 1, &w->conf, w->limiter);
    for (size_t i = 0; i < mg_countof(made); i++)
        mg_limiter_free(made[i]);
    return NULL;
}

static void close_world(world *w)
{
    mg_persist_drop_limiter(w->persist, w->limiter);
    mg_limiter_free(w->limiter);
    mg_persist_free(w->persist);
}

static void everybody_at_once_loses_nothing(void **state)
{
    static void *(*const jobs[])(void *) = { charge, charge, keep_and_drop, look, reconfigure };
    pthread_t threads[mg_countof(jobs)], flushing;
    mg_persist_stats stats;
    world w = { .ends = false };
    thing last;

    (void)state;
    tmpdir_make(w.folder);
    snprintf(w.path, sizeof(w.path), "%s/policy", w.folder);
    open_world(&w);
    assert_int_equal(pthread_create(&flushing, NULL, flush_for_ever, &w), 0);
    for (size_t i = 0; i < mg_countof(jobs); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, jobs[i], &w), 0);
    for (size_t i = 0; i < mg_countof(jobs); i++)
        pthread_join(threads[i], NULL);
    atomic_store(&w.ends, true);
    pthread_join(flushing, NULL);
    assert_int_equal(mg_persist_flush(w.persist, NULL), MG_OK);
    close_world(&w);

    open_world(&w);
    mg_persist_stats_get(w.persist, &stats);
    assert_int_equal(stats.restored_keys, KEYS);
    assert_int_equal(stats.skipped_rows, 0);
    mg_persist_keep(w.persist, MG_KEEP_ROLLOUT, MG_STR("t0"), &ops, &last);
    assert_int_equal(atomic_load(&last.value), ROUNDS);
    mg_persist_drop(w.persist, &last);
    close_world(&w);
    tmpdir_remove(w.folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(everybody_at_once_loses_nothing) };

    return cmocka_run_group_tests_name("gateway/persist_tsan", tests, NULL, NULL);
}
