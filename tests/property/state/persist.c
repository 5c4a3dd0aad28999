/* Random charges, flushes, kills, reboots, clocks that step and configurations that change, beside one line
 * of GCRA a key: a kill takes back what was charged since the last flush, which is no more than a burst, and
 * nothing else. And rows of any bytes: whatever stands in them, a limiter keeps to its rule. */
#include "unit/state/persist_fixture.h"

#include "base/rand.h"

enum { RUNS = 25, STEPS = 120, KEYS = 6, FUZZ_RUNS = 60, FUZZ_ROWS = 40 };

typedef struct model_key {
    uint64_t tat;        /* as in memory */
    uint64_t stored, at; /* as in the store; when */
    bool changed;
} model_key;

typedef struct model {
    memory m;
    mg_rand rand;
    uint64_t seed;
    mg_limiter_conf conf;
    mg_limiter *limiter;
    model_key keys[KEYS];
    uint64_t flushed_ns; /* policy clock: of the last transaction */
} model;

static uint64_t interval(const model *o)
{
    return (o->conf.period_ms * MS + o->conf.limit - 1) / o->conf.limit;
}

static void vary(model *o)
{
    o->conf.limit = 1 + mg_rand_below(&o->rand, 20);
    o->conf.period_ms = 1000 + mg_rand_below(&o->rand, 100000);
    o->conf.burst = 1 + mg_rand_below(&o->rand, 30);
    if (!mg_rand_below(&o->rand, 3))
        o->conf.max_keys = 50 + (uint32_t)mg_rand_below(&o->rand, 50);
}

static void keep(model *o)
{
    memcpy(o->conf.secret, mg_persist_secret(o->m.persist), sizeof(o->conf.secret));
    o->limiter = mg_limiter_new(&o->conf, NULL);
    assert_non_null(o->limiter);
    mg_persist_keep_limiter(o->m.persist, MG_STR("rule"), 1, &o->conf, o->limiter);
}

static void clamp(model *o, uint64_t now)
{
    const uint64_t cap = o->conf.burst * interval(o);

    for (int k = 0; k < KEYS; k++)
        o->keys[k].tat = mg_min_u64(o->keys[k].tat, now + cap);
}

static void take(model *o)
{
    const uint64_t key = mg_rand_below(&o->rand, KEYS), now = memory_now(&o->m);
    const uint32_t cost = 1 + (uint32_t)mg_rand_below(&o->rand, 3);
    model_key *k = &o->keys[key];
    const uint64_t tat = mg_max_u64(k->tat, now) + cost * interval(o);
    const bool expected = cost <= o->conf.burst && tat - now <= o->conf.burst * interval(o);
    mg_limiter_answer a;

    if (mg_limiter_take(o->limiter, (const char *)&key, sizeof(key), cost, now, &a) != expected)
        fail_msg("SEED=%llu: key %llu, cost %u was %s", (unsigned long long)o->seed, (unsigned long long)key,
                 cost, expected ? "refused" : "allowed");
    if (!expected)
        return;
    k->tat = tat;
    k->changed = true;
}

static void flush(model *o, bool by_turn)
{
    if (by_turn) {
        mg_fake_clock_advance(&o->m.clock, S);
        memory_turn(&o->m);
    } else {
        memory_flush(&o->m);
    }
    o->flushed_ns = memory_now(&o->m);
    for (int k = 0; k < KEYS; k++) {
        if (!o->keys[k].changed)
            continue;
        o->keys[k].changed = false;
        if (o->keys[k].tat <= o->flushed_ns)
            continue; /* owes nothing: no row */
        o->keys[k].stored = o->keys[k].tat;
        o->keys[k].at = o->flushed_ns;
    }
}

static void stop(model *o)
{
    mg_persist_drop_limiter(o->m.persist, o->limiter);
    mg_limiter_free(o->limiter);
    o->limiter = NULL;
}

/* What the rule owes after a start: what the store said, aged by the policy clock. */
static void come_back(model *o, bool same_conf)
{
    const uint64_t now = memory_now(&o->m), cap = o->conf.burst * interval(o);

    for (int k = 0; k < KEYS; k++) {
        model_key *key = &o->keys[k];
        const uint64_t elapsed = mg_max_u64(now, key->at) - key->at;
        const uint64_t debt = mg_min_u64(key->stored > key->at ? key->stored - key->at : 0, cap);

        key->tat = debt > elapsed ? now + debt - elapsed : 0;
        key->changed = !same_conf && key->tat > now; /* it may have been clamped: to be stored again */
    }
    keep(o);
}

static void kill_it(model *o)
{
    const uint64_t down = mg_rand_below(&o->rand, 20) * S;
    const int64_t step = ((int64_t)mg_rand_below(&o->rand, 3) - 1) * (int64_t)H;
    const bool same_conf = mg_rand_below(&o->rand, 2);

    stop(o);
    if (mg_rand_below(&o->rand, 3)) {
        const uint64_t then = memory_now(&o->m);
        o->m.clock.wall += step;
        memory_restart(&o->m, down);
        assert_int_equal(memory_now(&o->m), then + down);
    } else {
        memory_reboot(&o->m, down, step);
        for (int k = 0; k < KEYS; k++) /* no row is from after the clock */
            assert_true(memory_now(&o->m) >= o->keys[k].at);
    }
    if (!same_conf)
        vary(o);
    come_back(o, same_conf);
    if (!same_conf)
        flush(o, false);
}

static void run(uint64_t seed)
{
    model o = { .seed = seed };

    mg_rand_init(&o.rand, seed);
    memory_init(&o.m);
    memory_open(&o.m);
    mg_limiter_conf_defaults(&o.conf);
    o.conf.max_keys = 64;
    o.conf.overflow_cells = 1;
    vary(&o);
    keep(&o);
    flush(&o, false); /* the clock's row */
    for (int step = 0; step < STEPS; step++) {
        switch (mg_rand_below(&o.rand, 12)) {
        case 0: flush(&o, mg_rand_below(&o.rand, 2)); break;
        case 1: kill_it(&o); break;
        case 2: o.m.clock.wall += ((int64_t)mg_rand_below(&o.rand, 3) - 1) * (int64_t)H; break;
        case 3: mg_fake_clock_advance(&o.m.clock, mg_rand_below(&o.rand, 30 * S)); break;
        default: take(&o);
        }
        clamp(&o, memory_now(&o.m));
    }
    stop(&o);
    memory_fini(&o.m);
}

static void a_kill_takes_back_what_was_not_flushed_and_nothing_else(void **state)
{
    const uint64_t seed = check_seed(20261);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++)
        run(seed + i);
}

/* ---- rows of any bytes ---- */

static void put(mg_store *store, unsigned table, mg_str key, mg_str row)
{
    const mg_store_change change = { table, key, row };

    assert_int_equal(mg_store_commit(store, &change, 1, NULL), MG_OK);
}

static uint64_t any_number(mg_rand *rand)
{
    static const uint64_t edges[] = { 0, 1, 2, INT64_MAX, UINT64_MAX - 1, UINT64_MAX };

    switch (mg_rand_below(rand, 4)) {
    case 0: return edges[mg_rand_below(rand, mg_countof(edges))];
    case 1: return mg_rand_below(rand, 100);
    case 2: return mg_rand_below(rand, 1000 * S);
    default: return mg_rand_next(rand);
    }
}

/* With a checksum that is right, most of the time. */
static void any_row(mg_rand *rand, mg_text *row, mg_str key)
{
    const uint64_t members = mg_rand_below(rand, 30);

    mg_record_begin(row, mg_rand_below(rand, 8) ? 1 : (uint8_t)mg_rand_next(rand));
    mg_record_u8(row, (uint8_t)mg_rand_below(rand, 8));
    for (uint64_t i = 0; i < members; i++) {
        if (mg_rand_below(rand, 4))
            mg_record_u64(row, any_number(rand));
        else
            mg_record_u32(row, (uint32_t)any_number(rand));
    }
    mg_record_end(row, key);
    if (!mg_rand_below(rand, 5))
        row->p[mg_rand_below(rand, row->n)] ^= (char)(1 + mg_rand_below(rand, 255));
}

/* Rows of the limiter of number 1, of others, and of no length at all, beside those that a gateway stored. */
static void spoil(memory *m, mg_rand *rand)
{
    const mg_store_options options = {
        .path = m->path, .max_bytes = m->max_bytes, .tables = 4, .readers = 8, .sync = false
    };
    static const char *const tables[] = { "keys", "keys", "keys", "limiters", "kept", "meta" };
    mg_result result;
    mg_store *store = mg_store_open(&options, &result, NULL);
    mg_text row = { 0 };
    unsigned table;

    assert_non_null(store);
    for (int i = 0; i < FUZZ_ROWS; i++) {
        const char *name = tables[mg_rand_below(rand, mg_countof(tables))];
        char key[8] = { 0, 0, 0, 1, 0, 0, (char)mg_rand_below(rand, 2), (char)mg_rand_next(rand) };
        const mg_str row_key = strcmp(name, "meta") == 0
                                   ? (mg_rand_below(rand, 2) ? MG_STR("clock") : MG_STR("secret"))
                                   : mg_str_make(key, strcmp(name, "keys") ? 4 : 8);

        if (!mg_rand_below(rand, 4))
            key[mg_rand_below(rand, 8)] = (char)mg_rand_next(rand);
        any_row(rand, &row, row_key);
        assert_int_equal(mg_store_table(store, name, &table, NULL), MG_OK);
        put(store, table, row_key, mg_text_str(&row));
    }
    mg_text_fini(&row);
    mg_store_close(store);
}

static uint64_t granted(memory *m, mg_limiter *l, uint64_t key)
{
    mg_limiter_answer a;
    uint64_t units = 0;

    while (units < 1000 && mg_limiter_take(l, (const char *)&key, sizeof(key), 1, memory_now(m), &a))
        units++;
    return units;
}

static bool ignore(void *self, mg_str key, mg_str json)
{
    (void)self;
    (void)key;
    return json.n > 0;
}

static void run_spoiled(uint64_t seed)
{
    static const char *const spaces[] = { "limiters", "breakers", "ejections", "rollouts", "meta" };
    mg_limiter_conf conf;
    mg_limiter *l;
    mg_rand rand;
    memory m;

    mg_rand_init(&rand, seed);
    memory_init(&m);
    memory_open(&m);
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = (mg_limiter_algorithm)mg_rand_below(&rand, MG_LIMITER_CONCURRENCY);
    conf.limit = 5;
    conf.period_ms = 1000;
    conf.max_keys = 200;
    conf.overflow_cells = 3;
    for (int i = 0; i < 4; i++) {
        memcpy(conf.secret, mg_persist_secret(m.persist), sizeof(conf.secret));
        l = mg_limiter_new(&conf, NULL);
        mg_persist_keep_limiter(m.persist, MG_STR("rule"), 1, &conf, l);
        for (uint64_t key = 0; key < 20; key++) {
            if (granted(&m, l, key) > conf.limit)
                fail_msg("SEED=%llu: more than the rule allows", (unsigned long long)seed);
        }
        for (size_t s = 0; s < mg_countof(spaces); s++)
            assert_int_equal(
                mg_persist_scan(m.persist, mg_str_of(spaces[s]), MG_STR(""), MG_STR(""), ignore, NULL, NULL),
                MG_OK);
        mg_fake_clock_advance(&m.clock, 3 * S);
        memory_turn(&m);
        for (uint64_t key = 0; key < 20; key++) {
            if (granted(&m, l, key) < 1)
                fail_msg("SEED=%llu: a key does not come back", (unsigned long long)seed);
        }
        mg_persist_drop_limiter(m.persist, l);
        mg_limiter_free(l);
        mg_persist_free(m.persist);
        spoil(&m, &rand);
        memory_open(&m);
    }
    memory_fini(&m);
}

static void rows_of_any_bytes_neither_lift_a_rule_nor_hold_a_key(void **state)
{
    const uint64_t seed = check_seed(20262);

    (void)state;
    for (uint64_t i = 0; i < FUZZ_RUNS; i++)
        run_spoiled(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_kill_takes_back_what_was_not_flushed_and_nothing_else),
        cmocka_unit_test(rows_of_any_bytes_neither_lift_a_rule_nor_hold_a_key),
    };
    return cmocka_run_group_tests_name("gateway/persist", tests, NULL, NULL);
}
