/* Random calls beside a breaker that remembers everything: who was admitted under which turn, and when it
 * changed. */
#include "policy/breaker.h"

#include "base/mem.h"
#include "base/rand.h"
#include "base/time.h"
#include "support/check.h"

enum { RUNS = 900, STEPS = 400, CALLS_MAX = 64 };

typedef struct seen {
    uint64_t at_ms;
    bool failed, slow;
} seen;

typedef struct model {
    mg_breaker_conf conf;
    mg_breaker_state state;
    unsigned turn; /* how often the state has changed */
    uint32_t run, admitted, succeeded, failed_turns;
    uint64_t until_ms; /* open: of the wait; half open: of the turn */
    seen all[STEPS];   /* every outcome since it closed */
    size_t count;
} model;

static void change(model *m, mg_breaker_state state)
{
    m->state = state;
    m->turn++;
    m->run = m->admitted = m->succeeded = 0;
    m->count = 0;
}

static void trip(model *m, uint64_t at_ms)
{
    uint64_t ms = m->conf.open_ms;

    for (uint32_t i = 0; i < m->failed_turns && i < 31; i++)
        ms = ms * m->conf.open_backoff_milli / 1000 < m->conf.open_max_ms
                 ? ms * m->conf.open_backoff_milli / 1000
                 : m->conf.open_max_ms;
    change(m, MG_BREAKER_OPEN);
    m->until_ms = at_ms + ms;
}

static void expire(model *m, uint64_t now_ms)
{
    if (m->state != MG_BREAKER_HALF_OPEN || now_ms < m->until_ms)
        return;
    m->failed_turns++;
    trip(m, m->until_ms);
}

static bool model_ask(model *m, uint64_t now_ms)
{
    expire(m, now_ms);
    if (m->state == MG_BREAKER_OPEN && now_ms >= m->until_ms) {
        change(m, MG_BREAKER_HALF_OPEN);
        m->until_ms = now_ms + m->conf.half_open_max_ms;
    }
    if (m->state == MG_BREAKER_HALF_OPEN)
        return m->admitted < m->conf.half_open_probes && ++m->admitted;
    return m->state == MG_BREAKER_CLOSED || m->state == MG_BREAKER_FORCED_CLOSED;
}

static bool is_in_window(const model *m, size_t i, uint64_t now_ms)
{
    const uint64_t bucket_ms = m->conf.window_ms / m->conf.buckets;

    if (m->conf.mode == MG_BREAKER_COUNT_WINDOW)
        return i + m->conf.window_calls >= m->count;
    return m->conf.mode == MG_BREAKER_TIME_WINDOW &&
           m->all[i].at_ms / bucket_ms + m->conf.buckets > now_ms / bucket_ms;
}

static bool is_bad(const model *m, uint64_t now_ms)
{
    double calls = 0, failures = 0, slow = 0, enough = m->conf.min_calls;

    for (size_t i = 0; i < m->count; i++) {
        if (!is_in_window(m, i, now_ms))
            continue;
        calls += 1;
        failures += m->all[i].failed;
        slow += m->all[i].slow;
    }
    if (m->conf.mode == MG_BREAKER_COUNT_WINDOW && enough > m->conf.window_calls)
        enough = m->conf.window_calls;
    if (m->conf.consecutive_failures && m->run >= m->conf.consecutive_failures)
        return true;
    if (m->conf.mode == MG_BREAKER_CONSECUTIVE || calls < enough)
        return false;
    return failures / calls >= m->conf.failure_bp / 10000.0 ||
           (m->conf.slow_call_ms && slow / calls >= m->conf.slow_bp / 10000.0);
}

static bool model_end(model *m, unsigned turn, mg_breaker_outcome outcome, bool slow, uint64_t now_ms)
{
    expire(m, now_ms);
    if (m->state == MG_BREAKER_HALF_OPEN && outcome == MG_BREAKER_OK && slow)
        outcome = MG_BREAKER_FAIL;
    if (turn != m->turn)
        return false;
    if (m->state == MG_BREAKER_CLOSED && outcome != MG_BREAKER_IGNORE) {
        m->run = outcome == MG_BREAKER_OK ? 0 : m->run + 1;
        m->all[m->count++] = (seen){ now_ms, outcome != MG_BREAKER_OK, slow };
        if (is_bad(m, now_ms)) {
            m->failed_turns = 0;
            trip(m, now_ms);
        }
    } else if (m->state == MG_BREAKER_HALF_OPEN) {
        if (outcome == MG_BREAKER_IGNORE) {
            m->admitted--;
        } else if (outcome != MG_BREAKER_OK) {
            m->failed_turns++;
            trip(m, now_ms);
        } else if (++m->succeeded == m->conf.half_open_probes) {
            change(m, MG_BREAKER_CLOSED);
        }
    }
    return true;
}

typedef struct call {
    uint64_t ticket;
    unsigned turn;
} call;

static void random_conf(mg_rand *rand, mg_breaker_conf *conf)
{
    mg_breaker_conf_defaults(conf, (mg_breaker_mode)mg_rand_below(rand, 3));
    conf->consecutive_failures = (uint32_t)mg_rand_below(rand, 4);
    conf->window_ms = 1000;
    conf->buckets = mg_rand_below(rand, 2) ? 2 : 20;
    conf->window_calls = 2 + (uint32_t)mg_rand_below(rand, 12);
    conf->min_calls = 1 + (uint32_t)mg_rand_below(rand, 15);
    conf->failure_bp = 1000 * (1 + (uint32_t)mg_rand_below(rand, 10));
    conf->slow_bp = 1000 * (1 + (uint32_t)mg_rand_below(rand, 10));
    conf->slow_call_ms = mg_rand_below(rand, 2) ? 10 : 0;
    conf->open_ms = 1 + mg_rand_below(rand, 50);
    conf->open_max_ms = conf->open_ms + mg_rand_below(rand, 200);
    conf->open_backoff_milli = 1000 + (uint32_t)mg_rand_below(rand, 3000);
    conf->open_jitter_bp = 0;
    conf->half_open_probes = 1 + (uint32_t)mg_rand_below(rand, 3);
    conf->half_open_max_ms = 1 + mg_rand_below(rand, 60);
}

static void force(mg_breaker *b, model *m, mg_rand *rand, uint64_t now_ms)
{
    static const mg_breaker_state states[] = { MG_BREAKER_FORCED_OPEN, MG_BREAKER_FORCED_CLOSED,
                                               MG_BREAKER_CLOSED };
    const mg_breaker_state state = states[mg_rand_below(rand, 3)];

    mg_breaker_force(b, state, now_ms * MG_NS_PER_MS);
    change(m, state);
}

static void run(uint64_t seed)
{
    model m = { .state = MG_BREAKER_CLOSED };
    call calls[CALLS_MAX];
    size_t count = 0;
    uint64_t now_ms = 0;
    mg_breaker *b;
    mg_rand rand;

    mg_rand_init(&rand, seed);
    random_conf(&rand, &m.conf);
    b = mg_breaker_new(&m.conf, NULL);
    assert_non_null(b);
    for (int step = 0; step < STEPS; step++) {
        bool got, wanted;

        now_ms += mg_rand_below(&rand, 3) ? 0 : mg_rand_below(&rand, mg_rand_below(&rand, 9) ? 60 : 1500);
        if (mg_rand_below(&rand, 60) == 0) {
            force(b, &m, &rand, now_ms);
        } else if (count == 0 || (count < CALLS_MAX && mg_rand_below(&rand, 2))) {
            calls[count].ticket = mg_breaker_ask(b, now_ms * MG_NS_PER_MS);
            wanted = model_ask(&m, now_ms);
            calls[count].turn = m.turn;
            got = calls[count].ticket != 0;
            count += got;
            if (got != wanted)
                fail_msg("SEED=%llu step %d: %s", (unsigned long long)seed, step,
                         got ? "admitted" : "refused");
        } else {
            const size_t which = mg_rand_below(&rand, count);
            const mg_breaker_outcome outcome =
                mg_rand_below(&rand, 2) ? MG_BREAKER_OK : (mg_breaker_outcome)mg_rand_below(&rand, 4);
            const uint64_t took_ms = mg_rand_below(&rand, 15);
            const bool slow = m.conf.slow_call_ms && took_ms >= m.conf.slow_call_ms;

            got = mg_breaker_end(b, calls[which].ticket, outcome, took_ms * MG_NS_PER_MS,
                                 now_ms * MG_NS_PER_MS);
            wanted = model_end(&m, calls[which].turn, outcome, slow, now_ms);
            calls[which] = calls[--count];
            if (got != wanted)
                fail_msg("SEED=%llu step %d: %s", (unsigned long long)seed, step, got ? "counted" : "late");
        }
        expire(&m, now_ms);
        if (mg_breaker_now(b, now_ms * MG_NS_PER_MS) != m.state)
            fail_msg("SEED=%llu step %d: %s, wanted %s", (unsigned long long)seed, step,
                     mg_breaker_state_name(mg_breaker_now(b, now_ms * MG_NS_PER_MS)),
                     mg_breaker_state_name(m.state));
        if (m.state == MG_BREAKER_OPEN)
            assert_int_equal(mg_breaker_retry_after_ms(b, now_ms * MG_NS_PER_MS),
                             m.until_ms > now_ms ? m.until_ms - now_ms : 0);
    }
    mg_breaker_free(b);
}

static void a_breaker_does_as_one_that_remembers_everything(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++)
        run(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(a_breaker_does_as_one_that_remembers_everything) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
