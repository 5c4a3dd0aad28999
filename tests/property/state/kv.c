/* Random calls on the key-value store beside a table of 24 rows that does the same in the plain way; with
 * flushes, reopenings after a flush and as after a crash, and a clock that moves. Large values beside them
 * fill the store now and then: then what was deleted is durable all the same, and of the rest what no longer
 * waits.
 */
#include "support/check.h"
#include "support/tmpdir.h"

#include "base/rand.h"
#include "state/kv.h"

enum { SPACES = 2, KEYS = 12, LARGE = 8, VALUE_BYTES = 24, RUNS = 32, STEPS = 1000, MAP_BYTES = 256 * 1024 };

typedef struct model_row {
    bool there;
    uint64_t expires_ms;
    char value[VALUE_BYTES];
} model_row;

typedef struct model {
    model_row now[SPACES][KEYS], durable[SPACES][KEYS];
    uint32_t large[LARGE], large_durable[LARGE]; /* bytes; 0: not there */
} model;

typedef struct world {
    mg_rand rand;
    mg_fake_clock clock;
    char dir[TMPDIR_PATH_BYTES];
    bool in_memory;
    mg_store *store;
    mg_kv *kv;
    mg_kv_space *spaces[SPACES], *large;
    model model;
    unsigned full, written; /* flushes that found no room; and those that did */
} world;

static uint64_t below(world *w, uint64_t bound)
{
    return mg_rand_below(&w->rand, bound);
}

static void open_world(world *w)
{
    static const char *const names[SPACES] = { "one", "two" };
    mg_error err = MG_ERROR_INIT;
    mg_result result;

    const mg_store_options store_options = { w->dir, MAP_BYTES, 2, 8, false };
    w->store = w->in_memory ? NULL : mg_store_open(&store_options, &result, &err);
    if (!w->store && !w->in_memory)
        fail_msg("%s", err.message);
    const mg_kv_options options = { w->store, &w->clock.clock, NULL, 0, mg_rand_next(&w->rand) };
    w->kv = mg_kv_new(&options, &err);
    if (!w->kv)
        fail_msg("%s", err.message);
    for (int i = 0; i < SPACES; i++)
        w->spaces[i] = mg_kv_open(w->kv, mg_str_of(names[i]), NULL);
    w->large = mg_kv_open(w->kv, MG_STR("large"), NULL);
}

static void close_world(world *w)
{
    mg_kv_space_free(w->large);
    for (int i = 0; i < SPACES; i++)
        mg_kv_space_free(w->spaces[i]);
    mg_kv_free(w->kv);
    mg_store_close(w->store);
}

static uint64_t now_ms(const world *w)
{
    return (uint64_t)w->clock.wall / MG_NS_PER_MS;
}

static bool model_has(const world *w, const model_row *row)
{
    return row->there && (row->expires_ms == 0 || now_ms(w) < row->expires_ms);
}

static void model_put(const world *w, model_row *row, const char *value, double ttl_s)
{
    row->there = true;
    row->expires_ms = ttl_s > 0 ? now_ms(w) + (uint64_t)(ttl_s * 1000) : 0;
    snprintf(row->value, sizeof(row->value), "%s", value);
}

/* The call of one step: a key of one space, and its row in the model. */
typedef struct place {
    mg_kv_space **space; /* reopening puts another there */
    model_row *row;
    char key[8];
    uint32_t n;
} place;

static place random_place(world *w)
{
    const size_t s = (size_t)below(w, SPACES), k = (size_t)below(w, KEYS);
    place at = { .space = &w->spaces[s], .row = &w->model.now[s][k] };

    at.n = (uint32_t)snprintf(at.key, sizeof(at.key), "key%zu", k);
    return at;
}

static void check_place(const world *w, const place *at)
{
    mg_slice value;

    assert_null(mg_kv_get(*at->space, at->key, at->n, &value));
    if (!model_has(w, at->row)) {
        assert_null(value.p);
    } else {
        assert_non_null(value.p);
        check_str(mg_str_make(value.p, value.n), at->row->value);
    }
}

static void step_set(world *w, place *at)
{
    const double ttl_s = below(w, 3) == 0 ? (double)(1 + below(w, 20)) : 0;
    char value[VALUE_BYTES];

    snprintf(value, sizeof(value), "%lld", (long long)below(w, 1000) - 500);
    assert_null(mg_kv_set(*at->space, at->key, at->n, value, (uint32_t)strlen(value), ttl_s));
    model_put(w, at->row, value, ttl_s);
}

static void step_delete(place *at)
{
    assert_null(mg_kv_delete(*at->space, at->key, at->n));
    at->row->there = false;
}

static void step_incr(world *w, place *at)
{
    const long long delta = (long long)below(w, 21) - 10,
                    before = model_has(w, at->row) ? atoll(at->row->value) : 0;
    const double ttl_s = (double)below(w, 2) * 5;
    const uint64_t expires_ms = at->row->expires_ms;
    const bool had = model_has(w, at->row);
    char value[VALUE_BYTES];
    double result;

    assert_null(mg_kv_incr(*at->space, at->key, at->n, (double)delta, ttl_s, &result));
    assert_true(result == (double)(before + delta));
    snprintf(value, sizeof(value), "%lld", before + delta);
    model_put(w, at->row, value, ttl_s);
    if (had)
        at->row->expires_ms = expires_ms;
}

static void step_cas(world *w, place *at)
{
    const bool there = model_has(w, at->row), hit = below(w, 2), deletes = below(w, 4) == 0;
    const char *expected = hit ? there ? at->row->value : NULL : there ? NULL : "0";
    bool swapped;

    assert_null(mg_kv_cas(*at->space, at->key, at->n, expected, expected ? (uint32_t)strlen(expected) : 0,
                          deletes ? NULL : "77", 2, 0, &swapped));
    assert_int_equal(swapped, hit);
    if (hit && deletes)
        at->row->there = false;
    else if (hit)
        model_put(w, at->row, "77", 0);
}

/* ---- large values ---- */

static uint32_t large_key(char key[8], uint64_t number)
{
    return (uint32_t)snprintf(key, 8, "%llu", (unsigned long long)number);
}

static void step_large(world *w)
{
    static char big[MG_KV_VALUE_MAX];
    const uint64_t number = below(w, LARGE);
    char key[8];
    const uint32_t n = large_key(key, number);
    const bool gone = below(w, 3) == 0;

    w->model.large[number] = gone ? 0 : 1 + (uint32_t)below(w, sizeof(big));
    if (gone)
        assert_null(mg_kv_delete(w->large, key, n));
    else
        assert_null(mg_kv_set(w->large, key, n, big, w->model.large[number], 0));
}

static void check_large(world *w)
{
    for (uint64_t i = 0; i < LARGE; i++) {
        char key[8];
        mg_slice value;
        assert_null(mg_kv_get(w->large, key, large_key(key, i), &value));
        assert_int_equal(value.n, w->model.large[i]);
        assert_int_equal(value.p != NULL, w->model.large[i] > 0);
    }
}

/* ---- flushing ---- */

static bool key_waits(world *w, const char *space, const char *key, bool there)
{
    const bool waits = mg_kv_waits(w->kv, mg_str_of(space), mg_str_of(key));

    assert_true(there || !waits); /* what is deleted never does */
    return waits;
}

/* Row by row: what the store had no room for is what it was there. */
static void flushed_in_part(world *w)
{
    char key[8];

    for (int s = 0; s < SPACES; s++)
        for (int k = 0; k < KEYS; k++) {
            const model_row *row = &w->model.now[s][k];
            snprintf(key, sizeof(key), "key%d", k);
            if (!key_waits(w, s ? "two" : "one", key, row->there))
                w->model.durable[s][k] = *row;
        }
    for (uint64_t i = 0; i < LARGE; i++) {
        (void)large_key(key, i);
        if (!key_waits(w, "large", key, w->model.large[i] > 0))
            w->model.large_durable[i] = w->model.large[i];
    }
}

static void flushed_whole(world *w)
{
    memcpy(w->model.durable, w->model.now, sizeof(w->model.now));
    memcpy(w->model.large_durable, w->model.large, sizeof(w->model.large));
}

static void step_flush(world *w)
{
    uint64_t bytes = 0;
    const mg_result result = mg_kv_flush(w->kv, NULL);

    for (int i = 0; i < LARGE; i++)
        bytes += w->model.large[i];
    if (result == MG_OK) {
        flushed_whole(w);
        w->written++;
        return;
    }
    assert_int_equal(result, MG_ERR_LIMIT);
    assert_true(!w->in_memory && bytes > MAP_BYTES / 3);
    flushed_in_part(w);
    w->full++;
}

static void step_reopen(world *w)
{
    if (w->in_memory)
        return;
    if (below(w, 2))
        step_flush(w);
    close_world(w);
    memcpy(w->model.now, w->model.durable, sizeof(w->model.now));
    memcpy(w->model.large, w->model.large_durable, sizeof(w->model.large));
    open_world(w);
    check_large(w);
}

static void step(world *w)
{
    place at = random_place(w);
    const uint64_t what = below(w, 100);

    if (what < 25)
        step_set(w, &at);
    else if (what < 35)
        step_delete(&at);
    else if (what < 55 && (!model_has(w, at.row) || at.row->value[0]))
        step_incr(w, &at);
    else if (what < 70)
        step_cas(w, &at);
    else if (what < 80)
        step_flush(w);
    else if (what < 82)
        step_reopen(w);
    else if (what < 92)
        step_large(w);
    else if (what < 95)
        mg_fake_clock_advance(&w->clock, below(w, 5000) * MG_NS_PER_MS);
    check_place(w, &at);
}

/* After enough flushes nothing that is past its time is left, and every byte is accounted for. */
static void check_everything(world *w)
{
    check_large(w);
    for (uint64_t i = 0; i < LARGE; i++) {
        char key[8];
        assert_null(mg_kv_delete(w->large, key, large_key(key, i)));
    }
    for (int i = 0; i < 66; i++)
        assert_int_equal(mg_kv_flush(w->kv, NULL), MG_OK);
    for (int s = 0; s < SPACES; s++) {
        double used = 0;
        for (int k = 0; k < KEYS; k++) {
            place at = { .space = &w->spaces[s], .row = &w->model.now[s][k] };
            at.n = (uint32_t)snprintf(at.key, sizeof(at.key), "key%d", k);
            check_place(w, &at);
            if (model_has(w, at.row))
                used += at.n + (double)strlen(at.row->value) + MG_KV_ROW_OVERHEAD;
        }
        assert_true(mg_kv_used_bytes(w->spaces[s]) == used);
    }
}

static void it_answers_as_a_plain_table_would_and_keeps_what_was_flushed(void **state)
{
    const uint64_t seed = check_seed(20261121);

    unsigned full = 0, written = 0;

    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        world w = { .in_memory = run % 4 == 3 };

        mg_rand_init(&w.rand, seed + run);
        mg_fake_clock_init(&w.clock, 1, 1700000000 * (int64_t)MG_NS_PER_S);
        tmpdir_make(w.dir);
        open_world(&w);
        for (int i = 0; i < STEPS; i++)
            step(&w);
        check_everything(&w);
        full += w.full;
        written += w.written;
        close_world(&w);
        tmpdir_remove(w.dir);
    }
    assert_true(full > 100 && written > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_answers_as_a_plain_table_would_and_keeps_what_was_flushed),
    };
    return cmocka_run_group_tests_name("gateway/kv", tests, NULL, NULL);
}
