/* Reloads at random, good ones and ones that are refused in every way there is, between requests that a model
 * counts: what is refused has changed nothing, neither what policies answer nor what is remembered by name.
 */
#include "support/check.h"

#include "unit/gateway/sim_world.h"

#include "gateway/service/service_parts.h"
#include "gateway/shared_parts.h"

enum { KEYS = 4, RUNS = 4, STEPS = 200 };

typedef struct budget {
    unsigned burst, spent[KEYS];
} budget;

/* What is in force, beside the gateway. */
typedef struct model {
    budget rule, own; /* of the configuration; of the plugin */
} model;

typedef struct stage {
    world w;
    mg_rand rand;
    int client, occupied;
    model model;
    mg_text config;
    unsigned refused, taken;
} stage;

static const char plugin_source[] =
    "local mg = require('moongate')\n"
    "local plugin = { name = 'own', version = '1.0.0' }\n"
    "function plugin.new(conf)\n"
    "    local limiter = mg.limiter { name = 'l', rate = '1/h', burst = conf.burst, max_keys = conf.keys }\n"
    "    mg.breaker { name = 'b', failures = conf.burst }\n"
    "    mg.counter('c' .. conf.number)\n"
    "    mg.limiter { name = 'l' .. conf.number, rate = '1/h' , max_keys = 8 }\n"
    "    if conf.fuse then error('fused') end\n"
    "    return function(ctx)\n"
    "        local ok = limiter:take(ctx.request:header('x-key'), 1)\n"
    "        return ctx:respond(ok and 200 or 403, 'x')\n"
    "    end\n"
    "end\n"
    "return plugin\n";

static const char plugin_schema[] = "{ \"type\": \"object\" }";

static uint64_t below(stage *s, uint64_t bound)
{
    return mg_rand_below(&s->rand, bound);
}

static void write_schema(const world *w, const char *plugin)
{
    char path[TMPDIR_PATH_BYTES + 64];

    snprintf(path, sizeof path, "%s/plugins/%s/schema.json", w->folder, plugin);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(plugin_schema, file);
    fclose(file);
}

/* ---- what is refused, and why ---- */

typedef enum mistake {
    FINE,
    NO_YAML,
    UNKNOWN_KEY,
    DANGLING,
    NO_SUCH_PLUGIN,
    BROKEN_PLUGIN,
    PLUGIN_RAISES,
    OCCUPIED,
    NEEDS_RESTART,
    UNWRITABLE_LOG,
    WRONGS
} mistake;

/* One of everything that has a name or a state; names of their own where it is refused. */
static void write_config(stage *s, const model *m, mistake wrong)
{
    const unsigned number = (unsigned)below(s, 1000000);
    const char *keys = below(s, 2) ? "4096" : "1024";
    mg_text *out = &s->config;

    mg_text_clear(out);
    mg_text_addf(out, "listeners: { web: { bind: \"10.0.0.1:80\" }%s }\n",
                 wrong == OCCUPIED ? ", more: { bind: \"10.0.0.3:80\" }" : "");
    mg_text_addf(out, "observability: { access_log: { to: %s } }\n",
                 wrong == UNWRITABLE_LOG ? "/nowhere/at/all.log" : "off");
    mg_text_addf(out, "limiters: { rule: { key: \"header:x-key\", rate: 1/h, burst: %u, max_keys: %s }%s }\n",
                 m->rule.burst, keys, "");
    mg_text_addf(
        out,
        "services:\n  up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: \"http://10.0.0.%u:1\" }], "
        "breaker: { mode: consecutive, open_for: %us, open_max: %us, open_jitter: 0%% }, "
        "adaptive: { min: %u }, eject: {} }\n",
        20 + (unsigned)below(s, 5), 1 + (unsigned)below(s, 20), 30 + (unsigned)below(s, 60),
        4 + (unsigned)below(s, 3));
    if (wrong != FINE)
        mg_text_addf(out,
                     "  s%u: { endpoints: [{ url: \"http://10.0.0.7:9000\" }], breaker: { per: route } }\n",
                     number);
    mg_text_addf(
        out, "plugins:\n  own: { use: ./plugins/own, config: { burst: %u, keys: %s, number: %u%s } }\n",
        m->own.burst, keys, wrong == FINE ? 0 : number, wrong == PLUGIN_RAISES ? ", fuse: true" : "");
    if (wrong == NO_SUCH_PLUGIN || wrong == BROKEN_PLUGIN)
        mg_text_addf(out, "  other: { use: ./plugins/%s }\n", wrong == BROKEN_PLUGIN ? "broken" : "none");
    mg_text_addf(
        out,
        "routes:\n  - { name: all, match: { paths: [{ prefix: / }] }, plugins: [{ limit: rule }, own], "
        "service: %s }\n",
        wrong == DANGLING ? "nobody" : "up");
    if (wrong != FINE)
        mg_text_addf(
            out,
            "  - { name: r%u, match: { paths: [{ prefix: /r }] }, backends: [{ service: up }, { service: "
            "s%u }], sticky: { by: ip }, rollout: { to: s%u, id: x, steps: [5%%], interval: 1m } }\n",
            number, number, number);
    if (wrong == UNKNOWN_KEY)
        mg_text_add_c(out, "routs: 1\n");
    if (wrong == NO_YAML)
        mg_text_add_c(out, "x: [\n");
    if (wrong == NEEDS_RESTART)
        mg_text_add_c(out, "workers: 7\n");
}

static model random_model(stage *s)
{
    model m = s->model;

    m.rule.burst = 1 + (unsigned)below(s, 8);
    m.own.burst = 1 + (unsigned)below(s, 8);
    return m;
}

/* A debt is lowered to what the new burst can owe, and never raised. */
static void take_burst(budget *b, unsigned burst)
{
    b->burst = burst;
    for (int k = 0; k < KEYS; k++)
        b->spent[k] = b->spent[k] < burst ? b->spent[k] : burst;
}

/* ---- what is remembered by name ---- */

typedef struct trace {
    size_t limiters, breakers, counters, services, rollouts;
    unsigned own_limiters, own_breakers;
    uint64_t stamp;
    const void *newest, *entries, *rule;
    uint32_t used[2][KEYS];
} trace;

static void count_rollout(void *self, const mg_rollout_view *view)
{
    (void)view;
    ++*(size_t *)self;
}

static trace look(stage *s)
{
    mg_gateway *gateway = s->w.gateway;
    mg_shared *shared = gateway->shared.shared;
    mg_services *services = mg_shared_services(shared);
    const mg_service_name *up = mg_services_named(services, MG_STR("up"));
    trace t = { .limiters = mg_map_count(shared->limiters),
                .breakers = mg_map_count(shared->breakers),
                .counters = mg_map_count(shared->counters),
                .own_limiters = shared->own_limiters.count,
                .own_breakers = shared->own_breakers.count,
                .stamp = mg_breaker_stamp(up->circuits->breaker),
                .newest = up->newest,
                .entries = up->circuits,
                .rule = gateway->snapshot->limits[0].limiter };

    assert_null(shared->draft.policies);
    assert_int_equal(mg_map_count(shared->draft.counters), 0);
    for (const mg_service_name *n = NULL; (n = mg_services_next(services, n));)
        t.services++;
    mg_rollouts_each(gateway->rollouts, count_rollout, &t.rollouts);
    for (uint32_t k = 0; k < KEYS; k++) {
        mg_limiter_answer answer;
        char key[8];
        const int n = snprintf(key, sizeof key, "k%u", k);
        (void)mg_limiter_peek(gateway->snapshot->limits[0].limiter, key, (size_t)n, 1,
                              mg_shared_policy_now(shared), &answer);
        t.used[0][k] = (uint32_t)answer.remaining;
    }
    return t;
}

/* ---- steps ---- */

/* The answer is the rule's, the plugin's, or neither's refusal. */
static void step_request(stage *s)
{
    const unsigned k = (unsigned)below(s, KEYS);
    budget *rule = &s->model.rule, *own = &s->model.own;
    const char *status = "200";
    char request[96];

    if (rule->spent[k] >= rule->burst) {
        status = "429";
    } else {
        rule->spent[k]++;
        if (own->spent[k] >= own->burst)
            status = "403";
        else
            own->spent[k]++;
    }
    snprintf(request, sizeof request, "GET / HTTP/1.1\r\nhost: a\r\nx-key: k%u\r\n\r\n", k);
    say(&s->w, s->client, request);
    hear_status(&s->w, s->client, status);
}

static void step_reload(stage *s)
{
    const mistake wrong = below(s, 4) == 0 ? FINE : (mistake)(1 + below(s, WRONGS - 1));
    const uint64_t revision = s->w.gateway->revision;
    const model next = random_model(s);
    const trace before = look(s);

    write_config(s, &next, wrong);
    s->w.next = s->config.p;
    mg_gateway_reload(s->w.gateway);
    settle(&s->w);
    if (wrong == FINE) {
        if (s->w.gateway->revision != revision + 1)
            fail_msg("%s\n%s", s->w.logged.p, s->config.p);
        take_burst(&s->model.rule, next.rule.burst);
        take_burst(&s->model.own, next.own.burst);
        s->taken++;
        return;
    }
    const trace after = look(s);
    if (s->w.gateway->revision != revision)
        fail_msg("taken, though %d is wrong with it:\n%s", (int)wrong, s->config.p);
    if (memcmp(&before, &after, sizeof before) != 0)
        fail_msg("refused for %d, and yet something has changed:\n%s", (int)wrong, s->config.p);
    s->refused++;
}

static void stage_open(stage *s, uint64_t seed, unsigned workers)
{
    *s = (stage){ .model = { .rule = { .burst = 5 }, .own = { .burst = 4 } } };
    mg_rand_init(&s->rand, seed);
    world_init(&s->w, seed, workers);
    world_plugin(&s->w, "own", plugin_source);
    write_schema(&s->w, "own");
    world_plugin(&s->w, "broken", "return {\n");
    s->occupied = listen_at(&s->w, "10.0.0.3", 80);
    write_config(s, &s->model, FINE);
    char *first = mg_strdup(s->config.p);
    assert_true(world_try_start(&s->w, seed, first));
    mg_free(first);
    s->client = dial(&s->w, "10.0.0.1", 80);
    const mg_service_name *up =
        mg_services_named(mg_shared_services(s->w.gateway->shared.shared), MG_STR("up"));
    (void)mg_breaker_trip(up->circuits->breaker, mg_shared_policy_now(s->w.gateway->shared.shared));
}

static void stage_close(stage *s)
{
    hang_up(&s->w, s->client);
    s->w.outside->ops->close(s->w.outside, s->occupied, false);
    world_close(&s->w);
    mg_text_fini(&s->config);
}

static void what_is_refused_changes_nothing(void **state)
{
    const uint64_t seed = check_seed(20261130);
    unsigned refused = 0, taken = 0;

    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        stage s;
        stage_open(&s, seed + run, 2);
        for (int i = 0; i < STEPS; i++) {
            if (below(&s, 3))
                step_request(&s);
            else
                step_reload(&s);
        }
        refused += s.refused;
        taken += s.taken;
        stage_close(&s);
    }
    assert_true(refused > 100 && taken > 30);
}

/* However many: shared.c has more of them than there are names for. */
static void refusals_use_nothing_up(void **state)
{
    stage s;

    (void)state;
    stage_open(&s, 7, 1);
    const trace before = look(&s);
    for (int i = 0; i < 200; i++) {
        write_config(&s, &s.model, PLUGIN_RAISES);
        s.w.next = s.config.p;
        mg_gateway_reload(s.w.gateway);
        settle(&s.w);
        mg_text_clear(&s.w.logged);
    }
    assert_int_equal(s.w.gateway->reloads_refused, 200);
    const trace after = look(&s);
    assert_memory_equal(&before, &after, sizeof before);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_refused_changes_nothing),
        cmocka_unit_test(refusals_use_nothing_up),
    };
    return cmocka_run_group_tests_name("gateway/refused", tests, NULL, NULL);
}
