/* policy_bench.c - ns a decision beside the ceilings of POLICIES 12. Prints a table; judges nothing, for
 * machines differ. */
#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/adaptive.h"
#include "policy/balancer.h"
#include "policy/breaker.h"
#include "policy/health.h"
#include "policy/limiter.h"
#include "policy/retry.h"
#include "policy/rollout.h"
#include "policy/router.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPS = 2000000, KEYS = 262144, PATHS = 65536, ROUNDS = 5 };

static volatile uint64_t sink;

static uint64_t now_ns(void)
{
    return mg_clock_real.mono_ns(&mg_clock_real);
}

/* The best of some rounds: what the machine can do when nothing else wants it. A ceiling of 0 is none. */
static void report(const char *name, double best_ns, double ceiling_ns)
{
    if (!ceiling_ns) {
        printf("%-44s %8.1f ns\n", name, best_ns);
        return;
    }
    printf("%-44s %8.1f ns  ceiling %4.0f  %s\n", name, best_ns, ceiling_ns,
           best_ns <= ceiling_ns ? "" : "ABOVE");
}

typedef uint64_t operation(void *self, uint64_t i);

static void run(const char *name, double ceiling_ns, operation *op, void *self)
{
    double best = 1e18;

    for (int round = 0; round < ROUNDS; round++) {
        uint64_t begin = now_ns(), sum = 0;
        double each;

        for (uint64_t i = 0; i < OPS; i++)
            sum += op(self, i);
        each = (double)(now_ns() - begin) / OPS;
        sink += sum;
        best = each < best ? each : best;
    }
    report(name, best, ceiling_ns);
}

typedef struct paths {
    mg_router *router;
    char (*text)[64];
} paths;

static uint64_t match(void *self, uint64_t i)
{
    const paths *p = self;
    const char *text = p->text[i * 2654435761u % PATHS];
    const mg_route_query query = { MG_STR("api.example.com"), mg_str_of(text), MG_STR("GET"), NULL, NULL };
    mg_route_match out;
    const int status = mg_router_match(p->router, &query, &out);

    MG_CHECK(status == 200);
    return out.index;
}

static void add_route(mg_router_builder *b, const char *path, uint32_t index)
{
    const mg_route_path template = { mg_str_of(path), false };
    const mg_str name = MG_STR("route");
    const mg_route_spec spec = { .name = name, .paths = &template, .path_count = 1 };
    mg_report findings = MG_REPORT_INIT;

    MG_CHECK(mg_router_add(b, &spec, b, index, &findings));
    mg_report_fini(&findings);
}

/* Every second route is text alone, the others have two parameters. */
static void router_of(paths *p, uint32_t routes)
{
    mg_router_builder *b = mg_router_builder_new(42, NULL, NULL);
    mg_report findings = MG_REPORT_INIT;
    const uint64_t begin = now_ns();
    char path[64];

    for (uint32_t i = 0; i < routes; i++) {
        snprintf(path, sizeof(path), i % 2 ? "/v1/resource%u/{id}/parts/{part}" : "/v1/resource%u/list", i);
        add_route(b, path, i);
    }
    p->router = mg_router_build(b, &findings);
    MG_CHECK(p->router);
    printf("router: %u routes built in %.1f ms\n", routes, (double)(now_ns() - begin) / 1e6);
    mg_router_builder_free(b);
}

static void bench_router(uint32_t routes, double static_ceiling, double param_ceiling)
{
    paths p;
    char name[64];

    router_of(&p, routes);
    p.text = mg_calloc(PATHS, sizeof(*p.text));
    for (uint32_t i = 0; i < PATHS; i++)
        snprintf(p.text[i], 64, "/v1/resource%u/list", i * 2654435761u % routes / 2 * 2);
    snprintf(name, sizeof(name), "router: text among %u", routes);
    run(name, static_ceiling, match, &p);
    for (uint32_t i = 0; i < PATHS; i++)
        snprintf(p.text[i], 64, "/v1/resource%u/%u/parts/%u", i * 2654435761u % routes / 2 * 2 + 1, i * 7, i);
    snprintf(name, sizeof(name), "router: two parameters among %u", routes);
    run(name, param_ceiling, match, &p);
    mg_router_free(p.router);
    mg_free(p.text);
}

typedef struct buckets {
    mg_limiter *limiter;
    uint64_t at_ns, step_ns;
    uint32_t keys;
} buckets;

static uint64_t take(void *self, uint64_t i)
{
    buckets *b = self;
    char key[16] = "user-0000000000";
    uint32_t number = (uint32_t)(i * 2654435761u) % b->keys;
    mg_limiter_answer a;

    for (int digit = 14; number; number /= 16)
        key[digit--] = "0123456789abcdef"[number % 16];
    b->at_ns += b->step_ns;
    return mg_limiter_take(b->limiter, key, 15, 1, b->at_ns, &a);
}

static uint64_t take_and_release(void *self, uint64_t i)
{
    buckets *b = self;
    mg_limiter_answer a;

    (void)i;
    mg_limiter_take(b->limiter, "user-0000000000", 15, 1, b->at_ns, &a);
    mg_limiter_release(b->limiter, &a);
    return a.remaining;
}

static void bench_algorithm(const char *name, double ceiling_ns, mg_limiter_algorithm algorithm,
                            operation *op, uint64_t step_ns, uint32_t keys)
{
    mg_limiter_conf conf;
    buckets b = { .at_ns = MG_NS_PER_S, .step_ns = step_ns, .keys = keys };
    mg_error err;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = algorithm == MG_LIMITER_SLIDING_LOG ? 1000 : 1000000;
    conf.period_ms = 1000;
    b.limiter = mg_limiter_new(&conf, &err);
    MG_CHECK(b.limiter);
    run(name, ceiling_ns, op, &b);
    mg_limiter_free(b.limiter);
}

static void bench_limiter(const char *name, double ceiling_ns, uint64_t limit, uint64_t step_ns,
                          uint32_t keys)
{
    mg_limiter_conf conf;
    buckets b = { .at_ns = MG_NS_PER_S, .step_ns = step_ns, .keys = keys };
    mg_error err;

    mg_limiter_conf_defaults(&conf);
    conf.limit = limit;
    conf.period_ms = limit > 1000 ? 1000 : 86400000;
    conf.secret[0] = 1;
    b.limiter = mg_limiter_new(&conf, &err);
    MG_CHECK(b.limiter);
    for (uint64_t i = 0; i < KEYS; i++) /* warm */
        take(&b, i);
    run(name, ceiling_ns, take, &b);
    mg_limiter_free(b.limiter);
}

static uint64_t ask(void *self, uint64_t i)
{
    return mg_breaker_ask(self, i);
}

static uint64_t ask_and_end(void *self, uint64_t i)
{
    const uint64_t ticket = mg_breaker_ask(self, i);

    return mg_breaker_end(self, ticket, i % 4 ? MG_BREAKER_OK : MG_BREAKER_FAIL, 1000, i);
}

static uint64_t pick(void *self, uint64_t i)
{
    return (uint64_t)mg_balancer_pick(self, NULL, 0, i);
}

static uint64_t pick_key(void *self, uint64_t i)
{
    return (uint64_t)mg_balancer_pick_for(self, i * 0x9e3779b97f4a7c15ull, NULL, 0, i);
}

static uint64_t observe(void *self, uint64_t i)
{
    mg_balancer_observe(self, i % 16, MG_NS_PER_MS + i % 1000, true, i * 1000);
    return i;
}

static mg_maglev *table_of(const uint32_t *weights, uint32_t count)
{
    static char text[100][16];
    mg_str names[100];

    for (uint32_t i = 0; i < count; i++)
        names[i] = mg_str_make(text[i], (size_t)snprintf(text[i], 16, "10.0.0.%u:80", i));
    return mg_maglev_new(names, weights, count, MG_MAGLEV_SIZE);
}

static void bench_balancer(const char *name, double ceiling_ns, mg_balancer_algorithm algorithm,
                           operation *op)
{
    static uint32_t weights[16];
    mg_balancer_conf conf;
    mg_balancer *b;
    mg_rand rand;

    for (uint32_t i = 0; i < 16; i++)
        weights[i] = 1 + i % 3;
    mg_rand_init(&rand, 1);
    mg_balancer_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.weights = weights;
    conf.count = 16;
    conf.rand = &rand;
    if (algorithm == MG_BALANCER_MAGLEV)
        conf.maglev = table_of(weights, 16);
    b = mg_balancer_make(&conf);
    mg_maglev_unref(conf.maglev);
    for (uint64_t i = 0; i < 16; i++)
        observe(b, i);
    run(name, ceiling_ns, op, b);
    mg_balancer_free(b);
}

static void bench_table(void)
{
    uint32_t weights[100];
    uint64_t begin;
    mg_maglev *t;

    for (uint32_t i = 0; i < 100; i++)
        weights[i] = 1 + i % 3;
    begin = now_ns();
    t = table_of(weights, 100);
    report("maglev: a table of 100 endpoints", (double)(now_ns() - begin), 1e7);
    mg_maglev_unref(t);
}

typedef struct guards {
    mg_retry_budget *budget;
    mg_retry_conf retry;
    mg_adaptive *adaptive;
    mg_throttle *throttle;
    mg_ejection *ejection;
} guards;

static uint64_t first_try(void *self, uint64_t i)
{
    mg_retry_budget_request(((guards *)self)->budget, i * 100);
    return i;
}

static uint64_t retry(void *self, uint64_t i)
{
    guards *g = self;

    return mg_retry_budget_take(g->budget, &g->retry, i * 100);
}

static uint64_t adaptive(void *self, uint64_t i)
{
    guards *g = self;
    const bool may = mg_adaptive_begin(g->adaptive);

    mg_adaptive_end(g->adaptive, MG_NS_PER_MS, i * 100);
    return may;
}

static uint64_t throttle(void *self, uint64_t i)
{
    guards *g = self;

    mg_throttle_accepted(g->throttle, i * 100);
    return mg_throttle_admit(g->throttle, 0.5, i * 100);
}

static uint64_t eject(void *self, uint64_t i)
{
    guards *g = self;

    return mg_ejection_result(g->ejection, i % 16, i % 8 != 0, i * 100);
}

static uint64_t canary(void *self, uint64_t i)
{
    (void)self;
    return mg_rollout_has(mg_str_make((const char *)&i, sizeof(i)), MG_STR("r1"), 5);
}

static void bench_guards(void)
{
    mg_ejection_conf ejection;
    mg_adaptive_conf limit;
    guards g;

    mg_retry_conf_defaults(&g.retry);
    mg_ejection_conf_defaults(&ejection);
    mg_adaptive_conf_defaults(&limit);
    g.budget = mg_retry_budget_new();
    g.adaptive = mg_adaptive_new(&limit);
    g.throttle = mg_throttle_new();
    g.ejection = mg_ejection_new(&ejection, 16);
    run("retry budget: count a request", 15, first_try, &g);
    run("retry budget: ask for a retry", 15, retry, &g);
    run("adaptive: begin and end", 0, adaptive, &g);
    run("throttle: admit and accept", 0, throttle, &g);
    run("ejection: a result", 0, eject, &g);
    run("canary: which side", 0, canary, &g);
    mg_retry_budget_free(g.budget);
    mg_adaptive_free(g.adaptive);
    mg_throttle_free(g.throttle);
    mg_ejection_free(g.ejection);
}

static void bench_breaker(const char *name, mg_breaker_mode mode)
{
    mg_breaker_conf conf;
    mg_breaker *breaker;

    mg_breaker_conf_defaults(&conf, mode);
    breaker = mg_breaker_new(&conf, NULL);
    MG_CHECK(breaker);
    if (mode == MG_BREAKER_CONSECUTIVE)
        run("breaker: ask", 10, ask, breaker);
    run(name, 35, ask_and_end, breaker);
    mg_breaker_free(breaker);
}

int main(void)
{

    bench_router(1000, 60, 150);
    bench_router(10000, 60, 300);
    bench_router(100000, 300, 300);
    bench_limiter("bucket: admit, one key with its hash", 80, 1000000, 1000, 1);
    bench_limiter("bucket: refuse, one key with its hash", 60, 1, 0, 1);
    bench_limiter("bucket: admit, 262144 keys", 80, 1000000, 1000, KEYS);
    bench_algorithm("sliding window: admit, one key", 0, MG_LIMITER_SLIDING_WINDOW, take, 1000, 1);
    bench_algorithm("sliding window: admit, 262144 keys", 0, MG_LIMITER_SLIDING_WINDOW, take, 1000, KEYS);
    bench_algorithm("fixed window: admit, one key", 0, MG_LIMITER_FIXED_WINDOW, take, 1000, 1);
    bench_algorithm("sliding log: admit, one key", 0, MG_LIMITER_SLIDING_LOG, take, 1000000, 1);
    bench_algorithm("leaky: admit, one key", 0, MG_LIMITER_LEAKY, take, 1000, 1);
    bench_algorithm("concurrency: take and release", 0, MG_LIMITER_CONCURRENCY, take_and_release, 0, 1);
    bench_breaker("breaker: ask and end", MG_BREAKER_CONSECUTIVE);
    bench_breaker("breaker: ask and end, 10 buckets", MG_BREAKER_TIME_WINDOW);
    bench_breaker("breaker: ask and end, 100 calls", MG_BREAKER_COUNT_WINDOW);
    bench_balancer("balancer: round robin of 16", 40, MG_BALANCER_ROUND_ROBIN, pick);
    bench_balancer("balancer: least_request of 16", 0, MG_BALANCER_LEAST_REQUEST, pick);
    bench_balancer("balancer: peak_ewma of 16", 40, MG_BALANCER_PEAK_EWMA, pick);
    bench_balancer("balancer: peak_ewma, an observation", 0, MG_BALANCER_PEAK_EWMA, observe);
    bench_balancer("balancer: maglev of 16, key hashed", 15, MG_BALANCER_MAGLEV, pick_key);
    bench_table();
    bench_guards();
    return 0;
}
