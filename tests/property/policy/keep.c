/* Restarts at random moments: no key gets more than it would have without one, none waits longer than its
 * rule allows, and rollouts never leave their steps. */
#include "policy/limiter.h"
#include "policy/restore.h"
#include "policy/rollout.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

enum { RUNS = 120, STEPS = 120, KEYS = 6 };

/* Where it comes to stand does not matter here. */
static bool restore(mg_limiter *limiter, const mg_limiter_record *record, uint64_t now_ns)
{
    bool moved = false;

    return mg_limiter_put_back(limiter, record, now_ns, &moved);
}

static mg_limiter *limiter_of(const mg_limiter_conf *conf)
{
    mg_limiter *l = mg_limiter_new(conf, NULL);

    assert_non_null(l);
    return l;
}

/* The same traffic to a limiter that never stops and to one that restarts from its records every so often. */
static void run_restarts(mg_limiter_algorithm algorithm, uint64_t seed)
{
    mg_limiter *steady, *mortal;
    mg_limiter_conf conf;
    mg_rand rand;
    uint64_t now;

    mg_rand_init(&rand, seed);
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.period_ms = 10 + mg_rand_below(&rand, 2000);
    conf.limit = 1 + mg_rand_below(&rand, 16); /* as many moments as a record has groups */
    conf.max_wait_ms = mg_rand_below(&rand, 500);
    conf.max_keys = 1 + (uint32_t)mg_rand_below(&rand, 20);
    conf.overflow_cells = 1 + (uint32_t)mg_rand_below(&rand, 3);
    now = mg_rand_below(&rand, 1ull << 45);
    steady = limiter_of(&conf);
    mortal = limiter_of(&conf);
    for (int step = 0; step < STEPS; step++) {
        const uint64_t key = conf.max_keys < 2 * KEYS ? 0 : mg_rand_below(&rand, KEYS);
        mg_limiter_answer a, b;

        mg_limiter_take(steady, (const char *)&key, sizeof(key), 1, now, &a);
        mg_limiter_take(mortal, (const char *)&key, sizeof(key), 1, now, &b);
        if (a.allowed != b.allowed || a.remaining != b.remaining || a.retry_ms != b.retry_ms)
            fail_msg("SEED=%llu algorithm %d step %d: %d %llu after a restart, else %d %llu",
                     (unsigned long long)seed, algorithm, step, b.allowed, (unsigned long long)b.remaining,
                     a.allowed, (unsigned long long)a.remaining);
        if (!mg_rand_below(&rand, 8)) {
            mg_limiter *next = limiter_of(&conf);
            mg_limiter_record record;
            const uint64_t then = now;
            size_t cursor = 0;

            now += mg_rand_below(&rand, conf.period_ms * MG_NS_PER_MS);
            while (mg_limiter_record_next(mortal, &cursor, then, &record))
                restore(next, &record, now);
            mg_limiter_free(mortal);
            mortal = next;
        }
        now += mg_rand_below(&rand, 2 * conf.period_ms * MG_NS_PER_MS / conf.limit);
    }
    mg_limiter_free(steady);
    mg_limiter_free(mortal);
}

static void a_restart_changes_no_answer(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++) {
        for (int algorithm = MG_LIMITER_TOKEN_BUCKET; algorithm < MG_LIMITER_CONCURRENCY; algorithm++)
            run_restarts((mg_limiter_algorithm)algorithm, seed + i);
    }
}

/* Whatever bytes a record is made of, the rule's longest wait is the longest. */
static void no_record_whatever_it_says_outlasts_the_rule(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < 2000; i++) {
        const uint64_t now = 1ull << 40;
        mg_limiter_record record;
        mg_limiter_conf conf;
        mg_limiter_answer a;
        mg_limiter *l;
        mg_rand rand;

        mg_rand_init(&rand, seed + i);
        for (size_t word = 0; word < sizeof(record) / 8; word++) {
            const uint64_t noise = mg_rand_next(&rand) >> mg_rand_below(&rand, 64);

            memcpy((char *)&record + word * 8, &noise, 8);
        }
        record.cell = mg_rand_below(&rand, 2);
        record.place = record.cell ? (uint32_t)mg_rand_below(&rand, 3) : record.place;
        record.algorithm = (uint8_t)(i % 2 ? i / 2 % 5 : record.algorithm);
        mg_limiter_conf_defaults(&conf);
        conf.algorithm = (mg_limiter_algorithm)(i / 2 % 5);
        conf.limit = 10;
        conf.period_ms = 1000;
        conf.max_keys = 1;
        conf.overflow_cells = 1;
        l = limiter_of(&conf);
        restore(l, &record, now);
        if (!mg_limiter_take(l, "k", 1, 1, now + 2 * MG_NS_PER_S, &a) || a.via != MG_LIMITER_VIA_OWN)
            fail_msg("SEED=%llu: a record of noise lasts", (unsigned long long)(seed + i));
        mg_limiter_free(l);
    }
}

static void windows_shift_as_a_timeline_does(void **state)
{
    const uint64_t seed = check_seed(1);
    mg_rand rand;

    (void)state;
    mg_rand_init(&rand, seed);
    for (int i = 0; i < 20000; i++) {
        const uint64_t window = 1 + mg_rand_below(&rand, 50), elapsed = mg_rand_below(&rand, 200);
        const uint64_t age = mg_rand_below(&rand, window), prev = mg_rand_below(&rand, 9),
                       cur = mg_rand_below(&rand, 9);
        uint64_t a = age, p = prev, c = cur, now = age, slow_prev = prev, slow_cur = cur;

        for (uint64_t tick = 0; tick < elapsed; tick++) { /* a tick at a time */
            if (++now == window) {
                now = 0;
                slow_prev = slow_cur;
                slow_cur = 0;
            }
        }
        mg_restore_window(&a, &p, &c, window, elapsed);
        if (a != now || p != slow_prev || c != slow_cur)
            fail_msg("SEED=%llu round %d", (unsigned long long)seed, i);
    }
}

static void a_rollout_only_moves_by_its_steps(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < 500; i++) {
        mg_rollout_conf conf;
        mg_rollout r;
        mg_rand rand;
        uint32_t strikes = 0;

        mg_rand_init(&rand, seed + i);
        conf = rollout_defaults;
        conf.strikes = 1 + (uint32_t)mg_rand_below(&rand, 3);
        mg_rollout_start(&r, 0);
        while (r.state == MG_ROLLOUT_RUNNING) {
            const mg_rollout_figures f = { mg_rand_below(&rand, 4000), mg_rand_below(&rand, 40),
                                           mg_rand_below(&rand, 1000) };
            const double ratio = f.requests ? (double)f.errors / (double)f.requests : 1;
            const uint32_t step = r.step;
            mg_rollout_action wanted;

            if (f.errors >= 5 && ratio >= 0.05 - 1e-12)
                wanted = MG_ROLLOUT_ABORT;
            else if (f.requests < 1000)
                wanted = MG_ROLLOUT_HOLD;
            else if (ratio < 0.005 - 1e-12 && f.p99_ms < 800)
                wanted = step == 4 ? MG_ROLLOUT_PROMOTE : MG_ROLLOUT_ADVANCE;
            else
                wanted = ++strikes >= conf.strikes ? MG_ROLLOUT_ROLLBACK : MG_ROLLOUT_STRIKE;
            if (wanted == MG_ROLLOUT_ADVANCE)
                strikes = 0;
            if (mg_rollout_judge(&r, &conf, &f) != wanted)
                fail_msg("SEED=%llu: wanted %s", (unsigned long long)(seed + i), rollout_action_name(wanted));
            assert_int_equal(r.step, step + (wanted == MG_ROLLOUT_ADVANCE));
        }
        assert_in_set(mg_rollout_weight(&r, &conf), ((const uintmax_t[]){ 0, 100 }), 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_restart_changes_no_answer),
        cmocka_unit_test(no_record_whatever_it_says_outlasts_the_rule),
        cmocka_unit_test(windows_shift_as_a_timeline_does),
        cmocka_unit_test(a_rollout_only_moves_by_its_steps),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
