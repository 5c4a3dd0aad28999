/* lua_policy.c - what it adds to a decision that a plugin asks for it: ns in C, ns from a compiled loop of a
 * plugin through the whole SDK, and the difference beside its ceiling (docs/policies.md 12: 20 ns a call). */
#include "../unit/gateway/call_fixture.h"
#include "base/check.h"
#include "stopwatch.h"

#include "config/config.h"
#include "gateway/snapshot.h"

/* Lua runs STOPWATCH_OPS times what stands between these: before the handler, and within its loop. */
#define PLUGIN(before, body)                                                                                 \
    "local mg = require 'moongate'\nlocal p = {}\nfunction p.new()\n" before                                 \
    "\nreturn function(ctx, next)\nlocal sum = 0\nfor i = 1, 50000 do\n" body                                \
    "\nend\nif sum ~= 50000 then error('not what was to be measured: ' .. sum) end\n"                        \
    "return ctx:respond(204)\nend\nend\nreturn p\n"

static const char config_text[] =
    "services: { cart: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: \"http://10.0.0.3:9000\" }] } "
    "}\n"
    "limiters: { orders: { rate: 1000000/s, key: ip } }\n"
    "routes: [{ name: cart, match: { paths: [{ prefix: / }] }, service: cart }]\n";

typedef struct row {
    const char *name;
    double ceiling_ns;
    const char *source;
    stopwatch_operation *in_c;
} row;

/* What both sides work on. */
typedef struct stage {
    fixture f;
    mg_limiter *limiter;
    mg_breaker *breaker;
    const mg_snapshot *snapshot;
} stage;

static const char key[] = "user-42";

static uint64_t take(void *self, uint64_t i)
{
    stage *s = self;
    mg_limit_view view;

    (void)i;
    mg_host_limiter_take(&s->f.host, s->limiter, key, sizeof(key) - 1, 1, &view);
    return view.allowed;
}

static uint64_t take_named(void *self, uint64_t i)
{
    stage *s = self;
    mg_limit_view view;

    (void)i;
    MG_CHECK(!mg_call_limit_take(s->f.call, "orders", 6, key, sizeof(key) - 1, 1, &view));
    return view.allowed;
}

static uint64_t ask_and_finish(void *self, uint64_t i)
{
    stage *s = self;
    const uint64_t ticket = mg_call_breaker_ask(s->f.call, s->breaker);

    (void)i;
    return mg_call_breaker_finish(s->f.call, s->breaker, ticket, MG_BREAKER_OK, 0.001);
}

static uint64_t healthy(void *self, uint64_t i)
{
    stage *s = self;
    mg_service_seen seen;

    (void)i;
    return mg_call_service(s->f.call, "", 0, &seen) && seen.healthy == 2;
}

static const row rows[] = {
    { "bucket:take", 20,
      PLUGIN("local bucket = mg.limiter { rate = '1000000/s' }",
             "local ok = bucket:take('user-42')\nif ok then sum = sum + 1 end"),
      take },
    { "ctx.limit:take, a plugin's own", 20,
      PLUGIN("local bucket = mg.limiter { rate = '1000000/s' }",
             "local ok = ctx.limit:take(bucket, 'user-42')\nif ok then sum = sum + 1 end"),
      take },
    { "ctx.limit:take, by name", 20,
      PLUGIN("", "local ok = ctx.limit:take('orders', 'user-42')\nif ok then sum = sum + 1 end"),
      take_named },
    { "ctx.breaker:ask and :finish", 40,
      PLUGIN("local own = mg.breaker { failures = 5 }",
             "local ticket = ctx.breaker:ask(own)\n"
             "if ctx.breaker:finish(own, ticket, 'ok', 0.001) then sum = sum + 1 end"),
      ask_and_finish },
    { "ctx.service.healthy", 20, PLUGIN("", "if ctx.service.healthy == 2 then sum = sum + 1 end"), healthy },
};

static void begin(stage *s)
{
    mg_fake_clock_advance(&s->f.clock, MG_NS_PER_S); /* a bucket that is never empty */
    fixture_take(&s->f, 0);
    s->f.call->snapshot = s->snapshot;
}

/* A batch of each; of C, operation by operation; of Lua, one request with a loop in it. */
static double batch_in_c(stage *s, const row *r)
{
    uint64_t begin_ns, done = 0, took_ns;

    begin(s);
    begin_ns = stopwatch_ns();
    for (uint64_t i = 0; i < STOPWATCH_OPS; i++)
        done += r->in_c(s, i);
    took_ns = stopwatch_ns() - begin_ns;
    MG_CHECK(done == STOPWATCH_OPS);
    fixture_give(&s->f, false);
    return (double)took_ns / STOPWATCH_OPS;
}

static double batch_in_lua(stage *s)
{
    uint64_t begin_ns, took_ns;

    begin(s);
    begin_ns = stopwatch_ns();
    if (fixture_resume(&s->f) != MG_WAIT_DONE) {
        fprintf(stderr, "%s\n", s->f.error.traceback);
        exit(1);
    }
    took_ns = stopwatch_ns() - begin_ns;
    fixture_give(&s->f, true);
    return (double)took_ns / STOPWATCH_OPS;
}

static void print(const row *r, double each[2][STOPWATCH_BATCHES])
{
    const int middle = STOPWATCH_BATCHES / 2;
    char text[64];

    for (int lua = 0; lua < 2; lua++) {
        qsort(each[lua], STOPWATCH_BATCHES, sizeof(each[lua][0]), stopwatch_order);
        snprintf(text, sizeof(text), "%s, in %s", r->name, lua ? "Lua" : "C");
        stopwatch_row(text, each[lua][0], each[lua][middle], 0, "ns");
    }
    snprintf(text, sizeof(text), "%s, Lua adds", r->name);
    stopwatch_row(text, each[1][0] - each[0][0], each[1][middle] - each[0][middle], r->ceiling_ns, "ns");
}

static mg_snapshot *snapshot_of(fixture *f)
{
    const mg_config_env env = { .partial = true };
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_text("moongate.yaml", mg_str_of(config_text), &env, &report);
    mg_snapshot *snapshot = config ? mg_snapshot_build(config, 1, &report) : NULL;

    if (!snapshot) {
        mg_text text = { 0 };

        mg_report_print(&report, &text);
        fprintf(stderr, "%s\n", text.p);
        exit(1);
    }
    mg_snapshot_adopt(snapshot, f->shared, NULL, 0);
    mg_report_fini(&report);
    return snapshot;
}

static void run(const row *r)
{
    const mg_breaker_spec spec = { 5, -1, -1, -1, -1, -1, -1, -1 };
    double each[2][STOPWATCH_BATCHES];
    char problem[256];
    mg_snapshot *snapshot;
    stage s = { 0 };

    fixture_init(&s.f);
    snapshot = snapshot_of(&s.f);
    s.snapshot = snapshot;
    if (!fixture_boot(&s.f, &r->source, NULL, 1)) {
        fprintf(stderr, "%s\n", s.f.err.message);
        exit(1);
    }
    s.limiter = mg_host_limiter(&s.f.host, "c/limiter", 9, 1e6, 1, 0, 0, problem);
    s.breaker = mg_host_breaker(&s.f.host, "c/breaker", 9, &spec, problem);
    for (int batch = -2; batch < STOPWATCH_BATCHES; batch++) {
        const double in_c = batch_in_c(&s, r), in_lua = batch_in_lua(&s);

        if (batch < 0) /* compiles */
            continue;
        each[0][batch] = in_c;
        each[1][batch] = in_lua;
    }
    print(r, each);
    mg_snapshot_unref(snapshot);
    fixture_fini(&s.f);
}

int main(void)
{
    stopwatch_head();
    for (size_t i = 0; i < mg_countof(rows); i++)
        run(&rows[i]);
    return 0;
}
