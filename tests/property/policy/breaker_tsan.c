/* Two threads on one breaker: no half-open turn admits more than its probes, and no outcome is lost. */
#include "policy/breaker.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

#include <pthread.h>
#include <stdatomic.h>

enum { STEPS = 60000, TURNS = 4000, PROBES = 3, RECORDS = 40000, STATE_MASK = 7 };

typedef struct caller {
    mg_breaker *breaker;
    uint64_t seed;
    _Atomic uint64_t *now_ms;
    uint64_t *probes; /* owned: tickets of half-open turns */
    size_t count;
} caller;

static void *run(void *self)
{
    caller *c = self;
    mg_rand rand;

    mg_rand_init(&rand, c->seed);
    for (int i = 0; i < STEPS; i++) {
        const uint64_t now_ns = atomic_fetch_add(c->now_ms, mg_rand_below(&rand, 3) == 0) * MG_NS_PER_MS;
        const uint64_t ticket = mg_breaker_ask(c->breaker, now_ns);
        const mg_breaker_outcome outcome = mg_rand_below(&rand, 3) ? MG_BREAKER_OK : MG_BREAKER_FAIL;

        if ((ticket & STATE_MASK) == MG_BREAKER_HALF_OPEN)
            c->probes[c->count++] = ticket;
        if (ticket)
            mg_breaker_end(c->breaker, ticket, outcome, 0, now_ns);
    }
    return NULL;
}

static int ticket_cmp(const void *a, const void *b)
{
    const uint64_t left = *(const uint64_t *)a, right = *(const uint64_t *)b;

    return left < right ? -1 : left > right;
}

static void no_turn_admits_more_than_its_probes(void **state)
{
    const uint64_t seed = check_seed(1);
    _Atomic uint64_t now_ms = 0;
    caller callers[2];
    pthread_t threads[2];
    mg_breaker_conf conf;
    uint64_t *all = mg_calloc(2 * STEPS, sizeof(*all));
    size_t count = 0, same = 1;

    (void)state;
    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    conf.consecutive_failures = 2;
    conf.open_ms = conf.open_max_ms = 2;
    conf.half_open_probes = PROBES;
    conf.half_open_max_ms = 1000;
    conf.open_jitter_bp = 0;
    callers[0].breaker = callers[1].breaker = mg_breaker_new(&conf, NULL);
    for (int t = 0; t < 2; t++) {
        callers[t].seed = seed + (uint64_t)t;
        callers[t].now_ms = &now_ms;
        callers[t].probes = mg_calloc(STEPS, sizeof(*all));
        callers[t].count = 0;
        assert_int_equal(pthread_create(&threads[t], NULL, run, &callers[t]), 0);
    }
    for (int t = 0; t < 2; t++) {
        pthread_join(threads[t], NULL);
        memcpy(all + count, callers[t].probes, callers[t].count * sizeof(*all));
        count += callers[t].count;
        mg_free(callers[t].probes);
    }
    assert_true(count > 1000);
    qsort(all, count, sizeof(*all), ticket_cmp);
    for (size_t i = 1; i < count; i++) {
        same = all[i] == all[i - 1] ? same + 1 : 1;
        if (same > PROBES)
            fail_msg("SEED=%llu: a turn admitted more than %d", (unsigned long long)seed, PROBES);
    }
    mg_breaker_free(callers[0].breaker);
    mg_free(all);
}

typedef struct meeting {
    mg_breaker *breaker;
    _Atomic unsigned arrived, admitted;
    unsigned wrong; /* turns that admitted another number; the first thread's */
} meeting;

static void meet(meeting *m, unsigned *times)
{
    *times += 2;
    atomic_fetch_add(&m->arrived, 1);
    while (atomic_load(&m->arrived) < *times)
        ;
}

static void ask_together(meeting *m, bool first)
{
    unsigned times = 0;

    for (uint64_t turn = 1; turn <= TURNS; turn++) {
        const uint64_t now_ns = turn * 10 * MG_NS_PER_MS;

        if (first) {
            mg_breaker_force(m->breaker, MG_BREAKER_CLOSED, now_ns);
            mg_breaker_end(m->breaker, mg_breaker_ask(m->breaker, now_ns), MG_BREAKER_FAIL, 0, now_ns);
            atomic_store(&m->admitted, 0);
        }
        meet(m, &times);
        for (int i = 0; i < PROBES; i++) {
            if (mg_breaker_ask(m->breaker, now_ns + 5 * MG_NS_PER_MS))
                atomic_fetch_add(&m->admitted, 1);
        }
        meet(m, &times);
        if (first)
            m->wrong += atomic_load(&m->admitted) != PROBES;
    }
}

static void *ask_second(void *self)
{
    ask_together(self, false);
    return NULL;
}

static void who_ask_together_get_all_the_probes_and_no_more(void **state)
{
    meeting m = { .arrived = 0 };
    mg_breaker_conf conf;
    pthread_t thread;

    (void)state;
    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    conf.consecutive_failures = 1;
    conf.open_ms = conf.open_max_ms = 1;
    conf.half_open_probes = PROBES;
    conf.open_jitter_bp = 0;
    m.breaker = mg_breaker_new(&conf, NULL);
    assert_int_equal(pthread_create(&thread, NULL, ask_second, &m), 0);
    ask_together(&m, true);
    pthread_join(thread, NULL);
    assert_int_equal(m.wrong, 0);
    mg_breaker_free(m.breaker);
}

typedef struct recorder {
    mg_breaker *breaker;
    uint64_t step_ns; /* between two records of a thread */
    _Atomic uint64_t counted;
    _Atomic int coming;
} recorder;

static void *record(void *self)
{
    recorder *r = self;

    atomic_fetch_sub(&r->coming, 1);
    while (atomic_load(&r->coming) > 0)
        ;
    for (uint64_t i = 0; i < RECORDS; i++) {
        const uint64_t ticket = mg_breaker_ask(r->breaker, i * r->step_ns);

        if (!ticket)
            break;
        /* Nine in ten fail; the window wants all of them recorded before it opens. */
        if (mg_breaker_end(r->breaker, ticket, i % 10 ? MG_BREAKER_FAIL : MG_BREAKER_OK, 0, i * r->step_ns))
            atomic_fetch_add(&r->counted, 1);
    }
    return NULL;
}

/* Two threads record, each by a clock of its own, from the first bucket of a window to the last. */
static void record_together(mg_breaker_mode mode, uint64_t step_ns)
{
    recorder r = { .coming = 2, .step_ns = step_ns };
    mg_breaker_conf conf;
    pthread_t threads[2];

    mg_breaker_conf_defaults(&conf, mode);
    conf.window_calls = 2 * RECORDS;
    conf.min_calls = 2 * RECORDS;
    conf.failure_bp = 9000;
    r.breaker = mg_breaker_new(&conf, NULL);
    for (int t = 0; t < 2; t++)
        assert_int_equal(pthread_create(&threads[t], NULL, record, &r), 0);
    for (int t = 0; t < 2; t++)
        pthread_join(threads[t], NULL);
    /* It opened, and with the last outcome: neither the calls nor the failures fell short or ran over. */
    assert_int_equal(mg_breaker_now(r.breaker, RECORDS * step_ns), MG_BREAKER_OPEN);
    assert_int_equal(atomic_load(&r.counted), 2 * RECORDS);
    mg_breaker_free(r.breaker);
}

static void no_outcome_is_lost_between_two_threads(void **state)
{
    (void)state;
    for (int mode = MG_BREAKER_TIME_WINDOW; mode <= MG_BREAKER_COUNT_WINDOW; mode++)
        record_together((mg_breaker_mode)mode, 10000);
}

static void no_outcome_is_lost_between_threads_in_different_buckets(void **state)
{
    (void)state;
    for (int time = 0; time < 5; time++)
        record_together(MG_BREAKER_TIME_WINDOW, 10000000000ull / RECORDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(no_turn_admits_more_than_its_probes),
                                        cmocka_unit_test(who_ask_together_get_all_the_probes_and_no_more),
                                        cmocka_unit_test(no_outcome_is_lost_between_two_threads),
                                        cmocka_unit_test(
                                            no_outcome_is_lost_between_threads_in_different_buckets) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
