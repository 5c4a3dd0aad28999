/* policy_bench.c - ns a decision beside the ceilings of POLICIES 12. Prints a table; judges nothing, for
 * machines differ. */
#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/balancer.h"
#include "policy/breaker.h"
#include "policy/limiter.h"
#include "policy/router.h"

#include <stdio.h>
#include <stdlib.h>

enum { OPS = 2000000, KEYS = 262144, PATHS = 65536, ROUNDS = 5 };

static volatile uint64_t sink;

static uint64_t now_ns(void)
{
    return mg_clock_real.mono_ns(&mg_clock_real);
}

/* The best of some rounds: what the machine can do when nothing else wants it. */
static void report(const char *name, double best_ns, double ceiling_ns)
{
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

int main(void)
{
    uint32_t weights[16];
    mg_breaker_conf conf;
    mg_breaker *breaker;
    mg_balancer *balancer;
    mg_rand rand;

    bench_router(1000, 60, 150);
    bench_router(10000, 60, 300);
    bench_router(100000, 300, 300);
    bench_limiter("bucket: admit, one key with its hash", 80, 1000000, 1000, 1);
    bench_limiter("bucket: refuse, one key with its hash", 60, 1, 0, 1);
    bench_limiter("bucket: admit, 262144 keys", 80, 1000000, 1000, KEYS);
    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    breaker = mg_breaker_new(&conf, NULL);
    run("breaker: ask", 10, ask, breaker);
    run("breaker: ask and end", 35, ask_and_end, breaker);
    mg_breaker_free(breaker);
    mg_breaker_conf_defaults(&conf, MG_BREAKER_TIME_WINDOW);
    breaker = mg_breaker_new(&conf, NULL);
    run("breaker: ask and end, 10 buckets", 35, ask_and_end, breaker);
    mg_breaker_free(breaker);
    mg_breaker_conf_defaults(&conf, MG_BREAKER_COUNT_WINDOW);
    breaker = mg_breaker_new(&conf, NULL);
    run("breaker: ask and end, 100 calls", 35, ask_and_end, breaker);
    mg_breaker_free(breaker);
    for (uint32_t i = 0; i < 16; i++)
        weights[i] = 1 + i % 3;
    mg_rand_init(&rand, 1);
    balancer = mg_balancer_new(MG_BALANCER_ROUND_ROBIN, weights, 16, &rand);
    run("balancer: round robin of 16", 40, pick, balancer);
    mg_balancer_free(balancer);
    return 0;
}
