/* persist_kept.h - limiters and small things, kept in a memory that is fresh for every test. */
#ifndef TEST_PERSIST_KEPT_H
#define TEST_PERSIST_KEPT_H

#include "persist_fixture.h"

static memory m;

static inline int set_up(void **state)
{
    (void)state;
    memory_init(&m);
    memory_open(&m);
    return 0;
}

static inline int tear_down(void **state)
{
    (void)state;
    memory_fini(&m);
    return 0;
}

/* ---- limiters ---- */

static inline mg_limiter_conf conf_of(mg_limiter_algorithm algorithm, uint64_t limit, uint64_t period_ms)
{
    mg_limiter_conf conf;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = limit;
    conf.period_ms = period_ms;
    conf.max_keys = 1000;
    conf.overflow_cells = 4;
    memcpy(conf.secret, mg_persist_secret(m.persist), sizeof(conf.secret));
    return conf;
}

static inline mg_limiter *keep(const char *name, uint64_t key_hash, const mg_limiter_conf *conf)
{
    mg_limiter *l = mg_limiter_new(conf, NULL);

    assert_non_null(l);
    mg_persist_keep_limiter(m.persist, mg_str_of(name), key_hash, conf, l);
    return l;
}

/* A rule of so many an hour that hardly anything comes back while a test runs. */
static inline mg_limiter *keep_hourly(const char *name, mg_limiter_algorithm algorithm, uint64_t limit)
{
    const mg_limiter_conf conf = conf_of(algorithm, limit, 3600000);

    return keep(name, 1, &conf);
}

static inline void drop(mg_limiter *l)
{
    mg_persist_drop_limiter(m.persist, l);
    mg_limiter_free(l);
}

static inline bool take(mg_limiter *l, const char *key, uint32_t cost)
{
    mg_limiter_answer a;

    return mg_limiter_take(l, key, strlen(key), cost, memory_now(&m), &a);
}

static inline uint64_t left(const mg_limiter *l, const char *key)
{
    mg_limiter_answer a;

    mg_limiter_peek(l, key, strlen(key), 0, memory_now(&m), &a);
    return a.remaining;
}

static inline uint64_t rows(void)
{
    mg_persist_stats stats;

    mg_persist_stats_get(m.persist, &stats);
    return stats.rows;
}

static inline uint64_t skipped(void)
{
    mg_persist_stats stats;

    mg_persist_stats_get(m.persist, &stats);
    return stats.skipped_rows;
}

/* Turns once a second. */
static inline void turn(unsigned seconds)
{
    while (seconds--) {
        mg_fake_clock_advance(&m.clock, S);
        memory_turn(&m);
    }
}

/* ---- small things ---- */

typedef struct thing {
    uint64_t value, stamp, reads;
} thing;

static inline uint64_t thing_stamp(const void *self)
{
    return ((const thing *)self)->stamp;
}

static inline void thing_write(const void *self, uint64_t policy_ns, mg_text *row)
{
    (void)policy_ns;
    mg_record_u64(row, ((const thing *)self)->value);
}

static inline bool thing_read(void *self, mg_record *row, uint64_t policy_ns)
{
    thing *t = self;

    (void)policy_ns;
    t->value = mg_record_get_u64(row);
    t->reads++;
    return row->ok && t->value != 13;
}

static const mg_keep_ops thing_ops = { thing_stamp, thing_write, thing_read };

static inline void keep_thing(thing *t, mg_keep_kind kind, const char *name)
{
    mg_persist_keep(m.persist, kind, mg_str_of(name), &thing_ops, t);
}

static inline void change(thing *t, uint64_t value)
{
    t->value = value;
    t->stamp++;
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

#endif
