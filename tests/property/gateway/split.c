/* split.c - who goes where, under random weights and a rollout whose share rises at random: shares are what
 * was asked for within chance, and nobody moves but those who come to the canary.
 *
 * SEED=n replays one run. */
#include "gateway/request/split.h"

#include "base/mem.h"
#include "base/rand.h"
#include "gateway/request/flight.h"
#include "gateway/service/rollout_run.h"
#include "sim/sim.h"
#include "support/check.h"

#include <math.h>

enum { KEYS = 3000, BACKENDS_MAX = 4, RUNS = 12, RISES = 5 };

typedef struct shop {
    mg_sim *sim;
    mg_loop *loop;
    mg_policy_clock policy_clock;
    mg_shared *shared;
    mg_rollouts *rollouts;
    mg_snapshot *snapshot;
    mg_rand rand;
    unsigned count, canary;
    uint32_t weights[BACKENDS_MAX]; /* of all but the canary */
    unsigned run;
} shop;

static void shop_open(shop *s, uint64_t seed)
{
    *s = (shop){ .sim = mg_sim_new(seed) };
    s->loop = mg_sim_loop_new(s->sim);
    mg_policy_clock_init(&s->policy_clock, mg_sim_clock(s->sim), NULL, "here");
    const mg_shared_options shared = {
        .workers = 1, .clock = mg_sim_clock(s->sim), .policy_clock = &s->policy_clock, .seed = seed
    };
    s->shared = mg_shared_new(&shared);
    const mg_rollouts_options rollouts = { .loop = s->loop, .shared = s->shared, .seed = seed };
    s->rollouts = mg_rollouts_new(&rollouts);
    mg_rand_init(&s->rand, seed);
}

static void shop_close(shop *s)
{
    mg_rollouts_free(s->rollouts);
    mg_snapshot_unref(s->snapshot);
    mg_shared_free(s->shared);
    mg_loop_free(s->loop);
    mg_sim_free(s->sim);
}

/* The same rollout, whose only step is `percent`; 0: none, and the canary has its weight like the others. */
static void follow(shop *s, uint32_t percent)
{
    const mg_config_env env = { .partial = true };
    mg_report report = MG_REPORT_INIT;
    mg_text text = { 0 };

    mg_text_add_c(&text, "services:\n");
    for (unsigned i = 0; i < s->count; i++)
        mg_text_addf(&text, "  s%u: { endpoints: [{ url: \"http://10.0.0.%u:80\" }] }\n", i, i + 1);
    mg_text_add_c(&text, "routes:\n  - name: all\n    match: { paths: [{ prefix: / }] }\n    backends:\n");
    for (unsigned i = 0; i < s->count; i++)
        mg_text_addf(&text, "      - { service: s%u, weight: %u, group: g%u }\n", i, s->weights[i], i);
    if (percent)
        mg_text_addf(&text, "    rollout: { to: s%u, id: r%u, steps: [%u%%] }\n", s->canary, s->run, percent);
    mg_config *config = mg_config_load_text("moongate.yaml", mg_text_str(&text), &env, &report);
    if (!config)
        fail_msg("%s: %s", report.findings[0].message, text.p);
    mg_snapshot *snapshot = mg_snapshot_build(config, 1, &report);
    assert_non_null(snapshot);
    mg_rollouts_attach(s->rollouts, snapshot);
    mg_rollouts_follow(s->rollouts, snapshot);
    mg_snapshot_unref(s->snapshot);
    s->snapshot = snapshot;
    mg_text_fini(&text);
    mg_report_fini(&report);
}

static const char *const groups[BACKENDS_MAX] = { "g0", "g1", "g2", "g3" };

static unsigned choose(shop *s, unsigned key, const char *group)
{
    static char memory[4096];
    mg_exchange x = { 0 };
    mg_flight flight = { .x = &x, .route = &s->snapshot->routes[0] };
    char client[32];

    mg_arena_init(&x.arena, memory, sizeof memory);
    flight.client =
        mg_str_make(client, (size_t)snprintf(client, sizeof client, "10.%u.%u.7", key / 256, key % 256));
    if (group)
        mg_fields_add(&x.request.fields, &x.arena, MG_NAME_OTHER, MG_STR("x-abtest-group"), mg_str_of(group));
    mg_split_choose(&flight);
    assert_ptr_equal(flight.split.service,
                     s->snapshot->routes[0].split->backends[flight.split.backend].service);
    assert_int_equal(x.request.fields.count, 1);
    check_str(mg_str_make(x.request.fields.items[0].value, x.request.fields.items[0].value_n),
              groups[flight.split.backend]);
    mg_arena_fini(&x.arena);
    return flight.split.backend;
}

/* Five standard deviations of a binomial, and one for luck. */
static void check_share(const char *what, unsigned got, unsigned of, double share)
{
    const double wanted = of * share, slack = 5 * sqrt(of * share * (1 - share)) + 1;

    if (fabs(got - wanted) > slack)
        fail_msg("%s got %u of %u, not about %.0f", what, got, of, wanted);
}

static void draw(shop *s, unsigned run)
{
    s->run = run;
    s->count = 2 + (unsigned)mg_rand_below(&s->rand, BACKENDS_MAX - 1);
    s->canary = (unsigned)mg_rand_below(&s->rand, s->count);
    for (unsigned i = 0; i < s->count; i++) {
        static const uint32_t scales[] = { 3, 100, 10000 };
        s->weights[i] = run % 4 == 3 ? 5000 /* halves of what the canary's hash counts by */
                                     : 1 + (uint32_t)mg_rand_below(&s->rand, scales[run % 4]);
    }
}

static uint64_t weights_but(const shop *s, unsigned canary)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < s->count; i++)
        sum += i == canary ? 0 : s->weights[i];
    return sum;
}

static void by_weight(shop *s)
{
    unsigned got[BACKENDS_MAX] = { 0 };

    follow(s, 0);
    for (unsigned key = 0; key < KEYS; key++)
        got[choose(s, key, NULL)]++;
    for (unsigned i = 0; i < s->count; i++)
        check_share("a backend", got[i], KEYS, s->weights[i] / (double)weights_but(s, BACKENDS_MAX));
}

static void check_others(shop *s, const unsigned *got, unsigned left)
{
    const uint64_t sum = weights_but(s, s->canary);

    for (unsigned i = 0; i < s->count; i++)
        if (i != s->canary)
            check_share("a backend beside the canary", got[i], left, s->weights[i] / (double)sum);
}

static void rising(shop *s)
{
    static uint8_t at[KEYS];
    uint32_t percent = 0;

    for (unsigned rise = 0; rise < RISES && percent < 100; rise++) {
        unsigned got[BACKENDS_MAX] = { 0 };
        percent += 1 + (uint32_t)mg_rand_below(&s->rand, 100 - percent);
        follow(s, percent);
        for (unsigned key = 0; key < KEYS; key++) {
            const unsigned now = choose(s, key, key % 2 ? "nobody" : NULL);
            if (rise && now != at[key] && now != s->canary)
                fail_msg("at %u %% key %u moved from %u to %u", percent, key, at[key], now);
            at[key] = (uint8_t)now;
            got[now]++;
        }
        check_share("the canary", got[s->canary], KEYS, percent / 100.0);
        check_others(s, got, KEYS - got[s->canary]);
    }
}

static void colours(shop *s)
{
    for (unsigned i = 0; i < s->count; i++)
        assert_int_equal(choose(s, 7, groups[i]), i);
}

static void shares_are_kept_and_nobody_moves_but_to_the_canary(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, check_seed(9));
    for (unsigned run = 0; run < RUNS; run++) {
        draw(&s, run);
        by_weight(&s);
        rising(&s);
        colours(&s);
    }
    shop_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(shares_are_kept_and_nobody_moves_but_to_the_canary),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
