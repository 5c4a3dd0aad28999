/* Threads that come, wait, leave and go at one leaky rule: the turns that are used stay a whole turn apart,
 * whatever leaves at the same time (docs/policies.md 4). */
#include "policy/limiter.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

#include <pthread.h>
#include <stdlib.h>

enum { THREADS = 4, EACH = 20000, PLACES = 16, KEYS = 2 };

#define TURN_NS MG_NS_PER_MS

typedef struct shared {
    mg_limiter *limiter;
    _Atomic uint64_t now_ns, moved;
} shared;

typedef struct thread {
    pthread_t id;
    shared *shared;
    uint64_t seed;
    uint64_t *used[KEYS]; /* turns */
    size_t counts[KEYS];
    uint64_t left;
} thread;

typedef struct place {
    mg_limiter_waiter waiter;
    int key;
} place;

static void count_move(mg_limiter_waiter *waiter)
{
    atomic_fetch_add_explicit(&((shared *)waiter->self)->moved, 1, memory_order_relaxed);
}

static void use(thread *t, int key, uint64_t turn_ns)
{
    t->used[key][t->counts[key]++] = turn_ns;
}

static void come(thread *t, place *p, uint64_t now_ns)
{
    const mg_limiter_ask ask = { t->shared->limiter, p->key ? "b" : "a", 1, 1 };
    mg_limiter_waiter *waiter = &p->waiter;
    mg_limiter_answer answer;

    waiter->moved = count_move;
    waiter->self = t->shared;
    if (mg_limiter_queue_all(&ask, &waiter, 1, UINT64_MAX, now_ns, &answer) < 0 && !waiter->waits)
        use(t, p->key, answer.until_ns - TURN_NS);
}

static void *crowd(void *self)
{
    thread *t = self;
    place *places = mg_calloc(PLACES, sizeof(*places));
    mg_rand rand;

    mg_rand_init(&rand, t->seed);
    for (int i = 0; i < EACH; i++) {
        place *p = &places[mg_rand_below(&rand, PLACES)];
        const uint64_t now_ns =
            atomic_fetch_add_explicit(&t->shared->now_ns, TURN_NS / 8, memory_order_relaxed);

        if (!p->waiter.waits) {
            p->key = (int)mg_rand_below(&rand, KEYS);
            come(t, p, now_ns);
        } else if (mg_limiter_turn_ns(&p->waiter) <= now_ns) {
            mg_limiter_waited(t->shared->limiter, &p->waiter);
            use(t, p->key, mg_limiter_turn_ns(&p->waiter));
        } else if (!mg_rand_below(&rand, 3)) {
            t->left += mg_limiter_leave(t->shared->limiter, &p->waiter, now_ns);
        }
    }
    for (int i = 0; i < PLACES; i++)
        (void)mg_limiter_leave(t->shared->limiter, &places[i].waiter, atomic_load(&t->shared->now_ns));
    mg_free(places);
    return NULL;
}

static int ascending(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return (left > right) - (left < right);
}

static void check_key(thread *threads, int key, uint64_t seed)
{
    uint64_t *all = mg_calloc(THREADS * EACH, sizeof(*all));
    size_t count = 0;

    for (int i = 0; i < THREADS; i++) {
        memcpy(all + count, threads[i].used[key], threads[i].counts[key] * sizeof(*all));
        count += threads[i].counts[key];
    }
    qsort(all, count, sizeof(*all), ascending);
    for (size_t i = 1; i < count; i++) {
        if (all[i] - all[i - 1] < TURN_NS)
            fail_msg("SEED=%llu: turns at %llu and %llu", (unsigned long long)seed,
                     (unsigned long long)all[i - 1], (unsigned long long)all[i]);
    }
    assert_true(count > 1000);
    mg_free(all);
}

static void turns_stay_apart(void **state)
{
    const uint64_t seed = check_seed(1);
    shared s = { .now_ns = 1000 * MG_NS_PER_S };
    thread threads[THREADS] = { 0 };
    mg_limiter_conf conf;
    uint64_t left = 0;

    (void)state;
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = MG_LIMITER_LEAKY;
    conf.limit = 1000;
    conf.period_ms = 1000;
    conf.max_wait_ms = 50;
    conf.max_keys = 64;
    s.limiter = mg_limiter_new(&conf, NULL);
    for (int i = 0; i < THREADS; i++) {
        threads[i].shared = &s;
        threads[i].seed = seed + (uint64_t)i;
        for (int key = 0; key < KEYS; key++)
            threads[i].used[key] = mg_calloc(EACH, sizeof(uint64_t));
        assert_int_equal(pthread_create(&threads[i].id, NULL, crowd, &threads[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i].id, NULL), 0);
        left += threads[i].left;
    }
    for (int key = 0; key < KEYS; key++)
        check_key(threads, key, seed);
    assert_true(left > 1000 && atomic_load(&s.moved) > 1000);
    for (int i = 0; i < THREADS; i++)
        for (int key = 0; key < KEYS; key++)
            mg_free(threads[i].used[key]);
    mg_limiter_free(s.limiter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(turns_stay_apart),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
