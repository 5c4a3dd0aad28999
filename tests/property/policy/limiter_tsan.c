/* Two threads on the same fresh keys at the same moment: no key gets more than its burst, and none ends with
 * two slots. */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "policy/key_table.h"
#include "support/check.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ROUNDS = 30, KEYS = 300, BURST = 5, TAKES = 4000 };

typedef struct race {
    mg_limiter *limiter;
    uint64_t seed;
    _Atomic int waiting;
    _Atomic uint32_t own[KEYS], elsewhere;
} race;

static void *run(void *self)
{
    race *r = self;
    mg_rand rand;

    mg_rand_init(&rand, r->seed); /* the same keys in the same order as the other thread */
    atomic_fetch_sub(&r->waiting, 1);
    while (atomic_load(&r->waiting) > 0)
        ;
    for (int i = 0; i < TAKES; i++) {
        const uint64_t key = mg_rand_below(&rand, KEYS);
        mg_limiter_answer a;

        if (!mg_limiter_take(r->limiter, (const char *)&key, sizeof(key), 1, MG_NS_PER_S, &a))
            continue;
        if (a.via == MG_LIMITER_VIA_OWN)
            atomic_fetch_add(&r->own[key], 1);
        else
            atomic_fetch_add(&r->elsewhere, 1);
        if (i % 16 == 0) {
            mg_limiter_give_back(r->limiter, &a);
            if (a.via == MG_LIMITER_VIA_OWN)
                atomic_fetch_sub(&r->own[key], 1);
        }
    }
    return NULL;
}

static void race_once(mg_limiter_algorithm algorithm, uint64_t seed, uint64_t i)
{
    race *r = MG_NEW(race);
    mg_limiter_conf conf;
    pthread_t threads[2];

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = algorithm == MG_LIMITER_TOKEN_BUCKET ? 1 : BURST;
    conf.period_ms = 3600000;
    conf.burst = BURST;
    conf.max_keys = i % 2 ? 1024 : 64;
    r->limiter = mg_limiter_new(&conf, NULL);
    r->seed = seed + i;
    r->waiting = 2;
    for (int t = 0; t < 2; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, run, r), 0);
    for (int t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
    for (int k = 0; k < KEYS; k++) {
        if (r->own[k] > BURST)
            fail_msg("SEED=%llu algorithm %d: key %d got %u", (unsigned long long)(seed + i), algorithm, k,
                     r->own[k]);
    }
    assert_true(mg_limiter_keys(r->limiter, MG_NS_PER_S) <= KEYS);
    mg_limiter_free(r->limiter);
    mg_free(r);
}

static void no_key_gets_more_than_its_burst_from_two_threads(void **state)
{
    static const mg_limiter_algorithm algorithms[] = { MG_LIMITER_TOKEN_BUCKET, MG_LIMITER_SLIDING_WINDOW,
                                                       MG_LIMITER_SLIDING_LOG, MG_LIMITER_FIXED_WINDOW,
                                                       MG_LIMITER_CONCURRENCY };
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < ROUNDS; i++) {
        for (size_t k = 0; k < mg_countof(algorithms); k++)
            race_once(algorithms[k], seed, i);
    }
}

typedef struct flush {
    mg_limiter *limiter;
    _Atomic bool done;
} flush;

static void *charge(void *self)
{
    flush *f = self;
    mg_limiter_answer a;

    for (uint64_t i = 0; i < 30000; i++) {
        const uint64_t key = i * 7919 % KEYS;

        (void)mg_limiter_take(f->limiter, (const char *)&key, sizeof(key), 1, MG_NS_PER_S, &a);
    }
    atomic_store(&f->done, true);
    return NULL;
}

static void a_flush_misses_no_change_made_beside_it(void **state)
{
    uint64_t stored[2 * 1024 + 4] = { 0 };
    mg_limiter_record record;
    flush f = { .done = false };
    mg_limiter_conf conf;
    pthread_t thread;
    size_t cursor;
    bool last = false;

    (void)state;
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = MG_LIMITER_FIXED_WINDOW;
    conf.limit = 1000000;
    conf.period_ms = 3600000;
    conf.max_keys = 1024;
    conf.overflow_cells = 4;
    f.limiter = mg_limiter_new(&conf, NULL);
    assert_int_equal(pthread_create(&thread, NULL, charge, &f), 0);
    while (!last) {
        last = atomic_load(&f.done);
        for (cursor = 0; mg_limiter_changed_next(f.limiter, &cursor, MG_NS_PER_S, &record);)
            stored[record.place] = record.used;
    }
    pthread_join(thread, NULL);
    for (cursor = 0; mg_limiter_record_next(f.limiter, &cursor, MG_NS_PER_S, &record);)
        assert_int_equal(stored[record.place], record.used);
    mg_limiter_free(f.limiter);
}

typedef struct claims {
    mg_key_table *table;
    _Atomic int turn;
} claims;

static void *claim(void *self)
{
    claims *c = self;

    for (uint64_t key = 1; key <= 2000; key++) {
        const uint64_t fingerprint = key * 0x9e3779b97f4a7c15ull;
        uint64_t word;
        mg_key_slot *slot;

        atomic_fetch_add(&c->turn, 1);
        while (atomic_load(&c->turn) < (int)key * 2)
            ;
        do {
            slot = mg_key_table_claim(c->table, fingerprint, 1, &word);
        } while (slot && mg_key_slot_change(slot, fingerprint, &word, word + 1) != MG_KEY_CHANGED);
    }
    return NULL;
}

static void claims_at_the_same_moment_end_in_one_slot_with_both_charges(void **state)
{
    claims c = { .table = mg_key_table_new(4096, NULL) };
    pthread_t threads[2];
    size_t cursor = 0, count = 0;
    uint64_t fingerprint, word;

    (void)state;
    for (int t = 0; t < 2; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, claim, &c), 0);
    for (int t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
    while (mg_key_table_next(c.table, &cursor, &fingerprint, &word)) {
        count++;
        assert_int_equal(word, 3);
    }
    assert_int_equal(count, 2000);
    mg_key_table_free(c.table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_key_gets_more_than_its_burst_from_two_threads),
        cmocka_unit_test(a_flush_misses_no_change_made_beside_it),
        cmocka_unit_test(claims_at_the_same_moment_end_in_one_slot_with_both_charges),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
