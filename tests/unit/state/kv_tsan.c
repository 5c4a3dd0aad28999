/* The key-value store under threads: writers, and one that flushes and never rests. */
#include "support/check.h"
#include "support/tmpdir.h"

#include "state/kv.h"

#include <pthread.h>
#include <stdatomic.h>

enum { WRITERS = 4, ROUNDS = 2000 };

typedef struct writer {
    mg_kv *kv;
    int index;
    unsigned swaps;
    bool ok;
} writer;

static bool swap_once(mg_kv_space *space, unsigned *swaps)
{
    mg_slice value;
    char before[16], after[16];
    bool swapped;

    if (mg_kv_get(space, "swapped", 7, &value))
        return false;
    const size_t n = value.n < sizeof(before) ? value.n : 0;
    memcpy(before, value.p ? value.p : "", n);
    before[n] = '\0';
    const int after_n = snprintf(after, sizeof(after), "%d", atoi(before) + 1);
    const char *error = mg_kv_cas(space, "swapped", 7, value.p ? before : NULL, (uint32_t)n, after,
                                  (uint32_t)after_n, 0, &swapped);
    *swaps += !error && swapped;
    return error == NULL;
}

static bool write_round(writer *w, mg_kv_space *space, int round)
{
    char key[16];
    double result;
    const uint32_t n = (uint32_t)snprintf(key, sizeof(key), "k%d", (round * 7 + w->index) % 50);

    if (mg_kv_incr(space, "shared", 6, 1, 0, &result) || !swap_once(space, &w->swaps))
        return false;
    return round % 3 ? !mg_kv_set(space, key, n, "value", 5, round % 5) : !mg_kv_delete(space, key, n);
}

static void *write_many(void *self)
{
    writer *w = self;
    mg_kv_space *space = mg_kv_open(w->kv, MG_STR("plugin"), NULL);

    w->ok = space != NULL;
    for (int round = 0; w->ok && round < ROUNDS; round++)
        w->ok = write_round(w, space, round);
    mg_kv_space_free(space);
    return NULL;
}

typedef struct flusher {
    mg_kv *kv;
    atomic_bool ends;
} flusher;

static void *flush_for_ever(void *self)
{
    flusher *f = self;

    while (!atomic_load(&f->ends))
        if (mg_kv_waits_any(f->kv))
            assert_int_equal(mg_kv_flush(f->kv, NULL), MG_OK);
    return NULL;
}

static void check_number(mg_kv *kv, const char *key, unsigned want)
{
    mg_kv_space *space = mg_kv_open(kv, MG_STR("plugin"), NULL);
    mg_slice value;
    char text[16];

    snprintf(text, sizeof(text), "%u", want);
    assert_null(mg_kv_get(space, key, (uint32_t)strlen(key), &value));
    check_str(mg_str_make(value.p, value.n), text);
    mg_kv_space_free(space);
}

static void nothing_is_counted_twice_or_lost_between_threads_and_flushes(void **state)
{
    char dir[TMPDIR_PATH_BYTES];
    pthread_t threads[WRITERS], flushing;
    writer writers[WRITERS];
    mg_result result;
    unsigned swaps = 0;

    (void)state;
    tmpdir_make(dir);
    const mg_store_options store_options = { dir, 8 << 20, 2, 16, false };
    mg_store *store = mg_store_open(&store_options, &result, NULL);
    const mg_kv_options options = { store, &mg_clock_real, NULL, 0, 7 };
    mg_kv *kv = mg_kv_new(&options, NULL);

    flusher f = { .kv = kv };

    assert_int_equal(pthread_create(&flushing, NULL, flush_for_ever, &f), 0);
    for (int i = 0; i < WRITERS; i++) {
        writers[i] = (writer){ kv, i, 0, false };
        assert_int_equal(pthread_create(&threads[i], NULL, write_many, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], NULL);
        assert_true(writers[i].ok);
        swaps += writers[i].swaps;
    }
    check_number(kv, "shared", WRITERS * ROUNDS);
    check_number(kv, "swapped", swaps);
    atomic_store(&f.ends, true);
    pthread_join(flushing, NULL);
    assert_int_equal(mg_kv_flush(kv, NULL), MG_OK);
    assert_false(mg_kv_waits_any(kv));
    mg_kv_free(kv);

    kv = mg_kv_new(&options, NULL);
    check_number(kv, "shared", WRITERS * ROUNDS);
    check_number(kv, "swapped", swaps);
    mg_kv_free(kv);
    mg_store_close(store);
    tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_counted_twice_or_lost_between_threads_and_flushes),
    };
    return cmocka_run_group_tests_name("gateway/kv_tsan", tests, NULL, NULL);
}
