/* Publications at random, good ones and ones that are refused at every point there is, alone and several in the
 * queue, between requests that a model counts: what is refused has changed nothing, neither what policies answer nor
 * what is remembered by name, and each asker gets the answer that is its own, in the order of asking.
 */
#include "support/check.h"

#include "unit/gateway/sim_world.h"

#include "gateway/service/service_parts.h"
#include "gateway/shared_parts.h"

enum { KEYS = 4, RUNS = 4, STEPS = 200, QUEUE = 5 };

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
    unsigned reads, answers; /* of one step */
    unsigned refused[64], taken;
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
    "    if conf.lib then require('own.broken') end\n"
    "    if conf.large then mg.limiter { name = 'large', rate = '1/h', max_keys = 67108865 } end\n"
    "    if conf.empty then return nil end\n"
    "    return function(ctx)\n"
    "        local ok = limiter:take(ctx.request:header('x-key'), 1)\n"
    "        return ctx:respond(ok and 200 or 403, 'x')\n"
    "    end\n"
    "end\n"
    "return plugin\n";

static const char plugin_schema[] =
    "{ \"type\": \"object\", \"properties\": { \"share\": { \"type\": \"integer\", \"maximum\": 100 } } }";

static uint64_t below(stage *s, uint64_t bound)
{
    return mg_rand_below(&s->rand, bound);
}

/* A file of the own plugin. */
static void write_file(const world *w, const char *name, const char *text)
{
    char path[TMPDIR_PATH_BYTES + 64];

    snprintf(path, sizeof path, "%s/plugins/own/%s", w->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
}

/* ---- what is refused, and why ---- */

typedef enum mistake {
    FINE,
    NO_YAML,
    UNKNOWN_KEY,
    WRONG_TYPE,
    OUT_OF_RANGE,
    DANGLING,
    TWICE,
    ASKS_ITSELF,
    SAME_ROUTES,
    NO_SUCH_PLUGIN,
    PLUGIN_CONFIG,
    BROKEN_PLUGIN,
    BROKEN_LIB,
    PLUGIN_RAISES,
    NO_HANDLER,
    TOO_LARGE,
    OCCUPIED,
    OTHER_WORKERS,
    OTHER_STATUS,
    OTHER_ADMIN,
    OTHER_STATE,
    UNWRITABLE_LOG,
    WRONGS
} mistake;

/* What the answer says first, and so at which point it was refused: as text, by the schema, by what builds the
 * document, by the router, by what reads plugins, in the Lua state, at the door, or because it cannot follow. */
static const char *const codes[WRONGS] = {
    [FINE] = "",
    [NO_YAML] = "syntax",
    [UNKNOWN_KEY] = "unknown-key",
    [WRONG_TYPE] = "wrong-type",
    [OUT_OF_RANGE] = "out-of-range",
    [DANGLING] = "dangling-reference",
    [TWICE] = "duplicate-key",
    [ASKS_ITSELF] = "not-allowed",
    [SAME_ROUTES] = "duplicate-route",
    [NO_SUCH_PLUGIN] = "no-such-plugin",
    [PLUGIN_CONFIG] = "out-of-range",
    [BROKEN_PLUGIN] = "plugin",
    [BROKEN_LIB] = "plugin",
    [PLUGIN_RAISES] = "plugin",
    [NO_HANDLER] = "plugin",
    [TOO_LARGE] = "plugin",
    [OCCUPIED] = "bind",
    [OTHER_WORKERS] = "needs-restart",
    [OTHER_STATUS] = "needs-restart",
    [OTHER_ADMIN] = "needs-restart",
    [OTHER_STATE] = "needs-restart",
    [UNWRITABLE_LOG] = "unwritable-file",
};

/* What the own plugin is told, beside its numbers. */
static const char *const orders[WRONGS] = {
    [PLUGIN_RAISES] = ", fuse: true", [NO_HANDLER] = ", empty: true",   [TOO_LARGE] = ", large: true",
    [BROKEN_LIB] = ", lib: true",     [PLUGIN_CONFIG] = ", share: 101",
};

/* What stands at the end. */
static const char *const ends[WRONGS] = {
    [UNKNOWN_KEY] = "routs: 1\n",
    [NO_YAML] = "x: [\n",
    [WRONG_TYPE] = "shutdown: 5\n",
    [OUT_OF_RANGE] = "shutdown: { drain_timeout: 99d }\n",
    [OTHER_WORKERS] = "workers: 7\n",
    [OTHER_STATUS] = "status: { bind: \"10.0.0.1:9901\" }\n",
    [OTHER_ADMIN] = "admin: { bind: \"unix:other.sock\" }\n",
    [OTHER_STATE] = "state: { path: ./other }\n",
};

static void write_routes(mg_text *out, mistake wrong, unsigned number)
{
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
    if (wrong == TWICE)
        mg_text_add_c(out, "  - { name: all, match: { paths: [{ prefix: /t }] }, service: up }\n");
    if (wrong == SAME_ROUTES)
        mg_text_add_c(out, "  - { name: again, match: { paths: [{ prefix: / }] }, service: up }\n");
}

/* One of everything that has a name or a state; names of their own where it is refused. */
static void write_config(stage *s, const model *m, mistake wrong, mg_text *out)
{
    const unsigned number = (unsigned)below(s, 1000000);
    const char *keys = below(s, 2) ? "4096" : "1024";

    mg_text_clear(out);
    mg_text_addf(out, "listeners: { web: { bind: \"10.0.0.1:80\" }%s }\n",
                 wrong == OCCUPIED ? ", more: { bind: \"10.0.0.3:80\" }" : "");
    mg_text_addf(out, "observability: { access_log: { to: %s } }\n",
                 wrong == UNWRITABLE_LOG ? "/nowhere/at/all.log" : "off");
    mg_text_addf(out, "limiters: { rule: { key: \"header:x-key\", rate: 1/h, burst: %u, max_keys: %s } }\n",
                 m->rule.burst, keys);
    mg_text_addf(
        out,
        "services:\n  up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: \"http://10.0.0.%u:1\" }], "
        "breaker: { mode: consecutive, open_for: %us, open_max: %us, open_jitter: 0%% }, "
        "adaptive: { min: %u }, eject: {} }\n",
        20 + (unsigned)below(s, 5), 1 + (unsigned)below(s, 20), 30 + (unsigned)below(s, 60),
        4 + (unsigned)below(s, 3));
    if (wrong != FINE)
        mg_text_addf(out, "  s%u: { endpoints: [{ url: \"http://10.0.0.%s\" }], breaker: { per: route } }\n",
                     number, wrong == ASKS_ITSELF ? "1:80" : "7:9000");
    mg_text_addf(out,
                 "plugins:\n  own: { use: ./plugins/own, config: { burst: %u, keys: %s, number: %u%s } }\n",
                 m->own.burst, keys, wrong == FINE ? 0 : number, orders[wrong] ? orders[wrong] : "");
    if (wrong == NO_SUCH_PLUGIN || wrong == BROKEN_PLUGIN)
        mg_text_addf(out, "  other: { use: ./plugins/%s }\n", wrong == BROKEN_PLUGIN ? "broken" : "none");
    write_routes(out, wrong, number);
    mg_text_add_c(out, ends[wrong] ? ends[wrong] : "");
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

/* One who asks, the document that is read for it, and the answer. */
typedef struct asker {
    struct asker *reads; /* whose document: its own, or that of the asker before */
    stage *stage;
    mg_text text;
    mistake wrong;
    model model; /* where it is taken */
    unsigned times, place;
    bool taken;
    uint64_t revision;
    char code[32];
} asker;

static mg_config *read_asked(void *source, mg_report *report)
{
    const asker *a = source;

    a->stage->reads++;
    return world_config(&a->stage->w, a->text.p, report);
}

static void on_answer(void *self, const mg_published *published)
{
    asker *a = self;
    const mg_report *report = published->report;
    size_t i = 0;

    while (i < report->count && report->findings[i].severity != MG_SEVERITY_ERROR)
        i++;
    a->times++;
    a->place = a->stage->answers++;
    a->taken = published->taken;
    a->revision = published->revision;
    snprintf(a->code, sizeof a->code, "%s", i < report->count ? report->findings[i].code : "");
}

static void ask(stage *s, asker *a, asker *before)
{
    a->stage = s;
    a->reads = before && below(s, 3) == 0 ? before->reads : a;
    if (a->reads == a) {
        a->wrong = below(s, 4) == 0 ? FINE : (mistake)(1 + below(s, WRONGS - 1));
        a->model = random_model(s);
        write_config(s, &a->model, a->wrong, &a->text);
    }
    mg_gateway_publish(s->w.gateway,
                       &(mg_publish){ .read = read_asked, .source = a->reads, .done = on_answer, .self = a });
}

/* The answer that the model has for it; the revision that is in force behind it. */
static void check_answer(stage *s, const asker *a, unsigned place, uint64_t revision)
{
    const asker *read = a->reads;

    assert_int_equal(a->times, 1);
    assert_int_equal(a->place, place);
    if (a->taken != (read->wrong == FINE) || strcmp(a->code, codes[read->wrong]) != 0)
        fail_msg("%d is wrong, the answer is \"%s\":\n%s\n%s", (int)read->wrong, a->code, read->text.p,
                 s->w.logged.p);
    assert_int_equal(a->revision, revision);
}

/* Several at once: one is in work at a time, and those in a row that read the same are read once, but for the
 * first, which has begun. */
static void step_publish(stage *s)
{
    asker askers[QUEUE] = { 0 };
    const unsigned count = 1 + (unsigned)below(s, QUEUE);
    uint64_t revision = s->w.gateway->revision;
    const trace before = look(s);
    unsigned reads = 0;
    bool changes = false;

    s->reads = s->answers = 0;
    for (unsigned i = 0; i < count; i++)
        ask(s, &askers[i], i ? &askers[i - 1] : NULL);
    settle(&s->w);
    for (unsigned i = 0; i < count; i++) {
        const asker *read = askers[i].reads;
        const bool joins = i >= 2 && askers[i - 1].reads == read;
        reads += !joins;
        if (read->wrong == FINE && !joins) {
            revision++;
            take_burst(&s->model.rule, read->model.rule.burst);
            take_burst(&s->model.own, read->model.own.burst);
            s->taken++;
            changes = true;
        }
        s->refused[read->wrong] += read->wrong != FINE;
        check_answer(s, &askers[i], i, revision);
    }
    assert_int_equal(s->reads, reads);
    assert_int_equal(s->w.gateway->revision, revision);
    const trace after = look(s);
    if (!changes && memcmp(&before, &after, sizeof before) != 0)
        fail_msg("refused, and yet something has changed:\n%s", s->w.logged.p);
    /* What was taken knows no names but those that were there. */
    assert_int_equal(after.limiters, before.limiters);
    assert_int_equal(after.breakers, before.breakers);
    assert_int_equal(after.counters, before.counters);
    assert_int_equal(after.services, before.services);
    assert_int_equal(after.rollouts, before.rollouts);
    mg_text_clear(&s->w.logged);
    for (unsigned i = 0; i < count; i++)
        mg_text_fini(&askers[i].text);
}

static void write_lib(const world *w)
{
    char path[TMPDIR_PATH_BYTES + 64];

    snprintf(path, sizeof path, "%s/plugins/own/lib", w->folder);
    mkdir(path, 0700);
    write_file(w, "lib/broken.lua", "return }\n");
}

static void stage_open(stage *s, uint64_t seed, unsigned workers)
{
    *s = (stage){ .model = { .rule = { .burst = 5 }, .own = { .burst = 4 } } };
    mg_rand_init(&s->rand, seed);
    world_init(&s->w, seed, workers);
    world_plugin(&s->w, "own", plugin_source);
    write_file(&s->w, "schema.json", plugin_schema);
    write_lib(&s->w);
    world_plugin(&s->w, "broken", "return {\n");
    s->occupied = listen_at(&s->w, "10.0.0.3", 80);
    write_config(s, &s->model, FINE, &s->config);
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
    unsigned refused[WRONGS] = { 0 }, taken = 0;

    (void)state;
    for (uint64_t run = 0; run < RUNS; run++) {
        stage s;
        stage_open(&s, seed + run, 2);
        for (int i = 0; i < STEPS; i++) {
            if (below(&s, 3))
                step_request(&s);
            else
                step_publish(&s);
        }
        for (int wrong = 0; wrong < WRONGS; wrong++)
            refused[wrong] += s.refused[wrong];
        taken += s.taken;
        stage_close(&s);
    }
    for (int wrong = FINE + 1; wrong < WRONGS; wrong++)
        assert_true(refused[wrong] > 5);
    assert_true(taken > 30);
}

/* However many: shared.c has more of them than there are names for. */
static void refusals_use_nothing_up(void **state)
{
    stage s;

    (void)state;
    stage_open(&s, 7, 1);
    const trace before = look(&s);
    for (int i = 0; i < 200; i++) {
        write_config(&s, &s.model, PLUGIN_RAISES, &s.config);
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
