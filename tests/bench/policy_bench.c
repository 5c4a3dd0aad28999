/* policy_bench.c - ns a decision and bytes a state beside the ceilings of docs/policies.md 12: a table, for
 * people.
 */
#include "stopwatch.h"
#include "support/defaults.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/adaptive.h"
#include "policy/balancer.h"
#include "policy/breaker.h"
#include "policy/deadline.h"
#include "policy/health.h"
#include "policy/limiter_kinds.h"
#include "policy/retry.h"
#include "policy/rollout.h"
#include "policy/router.h"

#include <malloc.h>
#include <math.h>

enum { KEYS = 262144, PATHS = 65536, HOSTS = 16 };

typedef struct paths {
    mg_router *router;
    char (*text)[64];
    uint8_t *n;
} paths;

static size_t path_at(uint64_t i)
{
    return i * 2654435761u % PATHS;
}

static uint64_t match(void *self, uint64_t i)
{
    const paths *p = self;
    const size_t at = path_at(i), later = path_at(i + 4);
    const mg_route_query query = { .host = MG_STR("api.example.com"),
                                   .path = mg_str_make(p->text[at], p->n[at]),
                                   .method = MG_STR("GET") };
    mg_route_match out;

    __builtin_prefetch(p->text[later]); /* a request's path has just been parsed: only the router is cold */
    __builtin_prefetch(&p->n[later]);
    MG_CHECK(mg_router_match(p->router, &query, &out) == 200);
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
    char path[64];

    for (uint32_t i = 0; i < routes; i++) {
        snprintf(path, sizeof(path), i % 2 ? "/v1/resource%u/{id}/parts/{part}" : "/v1/resource%u/list", i);
        add_route(b, path, i);
    }
    p->router = mg_router_build(b, &findings);
    MG_CHECK(p->router);
    mg_router_builder_free(b);
}

static void set_path(paths *p, uint32_t at, uint32_t resource, bool params)
{
    const int n = params ? snprintf(p->text[at], 64, "/v1/resource%u/%u/parts/%u", resource, at * 7, at)
                         : snprintf(p->text[at], 64, "/v1/resource%u/list", resource);

    p->n[at] = (uint8_t)n;
}

static void bench_router(uint32_t routes, double static_ceiling, double param_ceiling)
{
    paths p;
    char name[64];

    router_of(&p, routes);
    p.text = mg_calloc(PATHS, sizeof(*p.text));
    p.n = mg_calloc(PATHS, 1);
    for (uint32_t i = 0; i < PATHS; i++)
        set_path(&p, i, i * 2654435761u % routes / 2 * 2, false);
    snprintf(name, sizeof(name), "router: text among %u", routes);
    stopwatch_run(name, static_ceiling, match, &p);
    for (uint32_t i = 0; i < PATHS; i++)
        set_path(&p, i, i * 2654435761u % routes / 2 * 2 + 1, true);
    snprintf(name, sizeof(name), "router: two parameters among %u", routes);
    stopwatch_run(name, param_ceiling, match, &p);
    mg_router_free(p.router);
    mg_free(p.text);
    mg_free(p.n);
}

enum { KEY_BYTES = 16 };

typedef struct buckets {
    mg_limiter *limiter;
    uint64_t at_ns, step_ns;
    char (*keys)[KEY_BYTES]; /* in no order that the table would know */
    uint32_t count;          /* a power of two */
} buckets;

static void make_keys(buckets *b, uint32_t count)
{
    b->count = count;
    b->keys = mg_calloc(count, sizeof(*b->keys));
    for (uint32_t i = 0; i < count; i++) {
        char text[KEY_BYTES + 1];

        snprintf(text, sizeof(text), "user-%011x", (uint32_t)(i * 2654435761u));
        memcpy(b->keys[i], text, KEY_BYTES);
    }
}

static uint64_t take(void *self, uint64_t i)
{
    buckets *b = self;
    mg_limiter_answer a;

    __builtin_prefetch(b->keys[(i + 8) & (b->count - 1)]); /* a key was read before: only the table is cold */
    b->at_ns += b->step_ns;
    return mg_limiter_take(b->limiter, b->keys[i & (b->count - 1)], KEY_BYTES, 1, b->at_ns, &a);
}

static uint64_t take_and_release(void *self, uint64_t i)
{
    buckets *b = self;
    mg_limiter_answer a;

    (void)i;
    mg_limiter_take(b->limiter, b->keys[0], KEY_BYTES, 1, b->at_ns, &a);
    mg_limiter_release(b->limiter, &a);
    return a.remaining;
}

static void bench_limiter(const char *name, double ceiling_ns, mg_limiter_conf conf, stopwatch_operation *op,
                          uint64_t step_ns, uint32_t keys)
{
    buckets b = { .at_ns = MG_NS_PER_S, .step_ns = step_ns };
    mg_error err;

    conf.secret[0] = 1;
    b.limiter = mg_limiter_new(&conf, &err);
    MG_CHECK(b.limiter);
    make_keys(&b, keys);
    for (uint64_t i = 0; i < keys; i++)
        op(&b, i);
    stopwatch_run(name, ceiling_ns, op, &b);
    mg_limiter_free(b.limiter);
    mg_free(b.keys);
}

static mg_limiter_conf rate_of(mg_limiter_algorithm algorithm, uint64_t limit, uint64_t period_ms)
{
    mg_limiter_conf conf;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = limit;
    conf.period_ms = period_ms;
    return conf;
}

/* A bucket whose slot is known: what is left of a decision without hash and table. */
typedef struct bare {
    mg_limiter *limiter;
    mg_key_slot slot;
    limiter_turn turn;
    uint64_t step_ns;
} bare;

static uint64_t take_bare(void *self, uint64_t i)
{
    bare *b = self;
    mg_limiter_answer a;

    (void)i;
    b->turn.now_ns += b->step_ns;
    b->limiter->kind->decide(b->limiter, &b->slot, 1, &b->turn, &a);
    return a.allowed;
}

static void bench_bare_bucket(const char *name, double ceiling_ns, mg_limiter_conf conf, uint64_t step_ns)
{
    bare b = { .turn = { .now_ns = MG_NS_PER_S, .cost = 1, .charging = true }, .step_ns = step_ns };

    b.limiter = mg_limiter_new(&conf, NULL);
    atomic_init(&b.slot.fingerprint, 1);
    stopwatch_run(name, ceiling_ns, take_bare, &b);
    mg_limiter_free(b.limiter);
}

static uint64_t ask(void *self, uint64_t i)
{
    return mg_breaker_ask(self, i);
}

static uint64_t ask_and_end(void *self, uint64_t i)
{
    const uint64_t ticket = mg_breaker_ask(self, i * 1000);

    return mg_breaker_end(self, ticket, i % 7 ? MG_BREAKER_OK : MG_BREAKER_FAIL, 1000, i * 1000);
}

/* The bare end: a closed breaker's tickets are alike. */
typedef struct ends {
    mg_breaker *breaker;
    uint64_t ticket;
} ends;

static uint64_t end(void *self, uint64_t i)
{
    const ends *e = self;

    return mg_breaker_end(e->breaker, e->ticket, i % 7 ? MG_BREAKER_OK : MG_BREAKER_FAIL, 1000, i * 1000);
}

static uint64_t pick(void *self, uint64_t i)
{
    return (uint64_t)mg_balancer_pick(self, NULL, 0, i * 1000);
}

static uint64_t pick_key(void *self, uint64_t i)
{
    return (uint64_t)mg_balancer_pick_for(self, i * 0x9e3779b97f4a7c15ull, NULL, 0, i * 1000);
}

static uint64_t observe(void *self, uint64_t i)
{
    mg_balancer_observe(self, i % HOSTS, MG_NS_PER_MS + i % 1000, true, i * 1000);
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

static mg_balancer *balancer_of(mg_balancer_algorithm algorithm, mg_rand *rand)
{
    uint32_t weights[HOSTS];
    mg_balancer_conf conf;
    mg_balancer *b;

    for (uint32_t i = 0; i < HOSTS; i++)
        weights[i] = 1 + i % 3;
    mg_balancer_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.weights = weights;
    conf.count = HOSTS;
    conf.rand = rand;
    if (algorithm == MG_BALANCER_MAGLEV)
        conf.maglev = table_of(weights, HOSTS);
    b = mg_balancer_make(&conf);
    mg_maglev_unref(conf.maglev);
    for (uint64_t i = 0; i < HOSTS; i++)
        observe(b, i);
    return b;
}

static void bench_balancer(const char *name, double ceiling_ns, mg_balancer_algorithm algorithm,
                           stopwatch_operation *op)
{
    mg_balancer *b;
    mg_rand rand;

    mg_rand_init(&rand, 1);
    b = balancer_of(algorithm, &rand);
    stopwatch_run(name, ceiling_ns, op, b);
    mg_balancer_free(b);
}

static void bench_table(void)
{
    enum { TIMES = 15 };
    uint32_t weights[100];
    double each[TIMES];

    for (uint32_t i = 0; i < 100; i++)
        weights[i] = 1 + i % 3;
    for (int time = 0; time < TIMES; time++) {
        const uint64_t begin_ns = stopwatch_ns();

        mg_maglev_unref(table_of(weights, 100));
        each[time] = (double)(stopwatch_ns() - begin_ns) / MG_NS_PER_MS;
    }
    qsort(each, TIMES, sizeof(each[0]), stopwatch_order);
    stopwatch_row("maglev: a table of 100 endpoints", each[0], each[TIMES / 2], 10, "ms");
}

typedef struct guards {
    mg_retry_budget *budget;
    mg_retry_conf retry;
    mg_adaptive *adaptive;
    mg_throttle *throttle;
    mg_throttle_conf throttling;
    mg_ejection *ejection;
} guards;

static uint64_t first_try(void *self, uint64_t i)
{
    mg_retry_budget_request(((guards *)self)->budget, i * 1000);
    return i;
}

static uint64_t retry(void *self, uint64_t i)
{
    guards *g = self;

    return mg_retry_budget_take(g->budget, &g->retry, i * 1000);
}

static uint64_t adaptive(void *self, uint64_t i)
{
    guards *g = self;
    const bool may = mg_adaptive_begin(g->adaptive);

    mg_adaptive_end(g->adaptive, MG_NS_PER_MS, i * 1000);
    return may;
}

static uint64_t throttle(void *self, uint64_t i)
{
    guards *g = self;

    mg_throttle_accepted(g->throttle, i * 1000);
    return mg_throttle_admit(g->throttle, &g->throttling, 0.5, i * 1000);
}

static uint64_t eject(void *self, uint64_t i)
{
    guards *g = self;

    return mg_ejection_result(g->ejection, i % HOSTS, i % 8 != 0, i * 1000);
}

static uint64_t canary(void *self, uint64_t i)
{
    (void)self;
    return mg_rollout_has(mg_str_make((const char *)&i, sizeof(i)), MG_STR("r1"), 5);
}

static guards guards_new(void)
{
    mg_ejection_conf ejection;
    mg_adaptive_conf limit;
    guards g;

    g.retry = retry_defaults;
    ejection = ejection_defaults;
    limit = adaptive_defaults;
    g.budget = mg_retry_budget_new();
    g.adaptive = mg_adaptive_new(&limit);
    g.throttle = mg_throttle_new();
    g.throttling = throttle_defaults;
    g.ejection = mg_ejection_new(&ejection, HOSTS);
    return g;
}

static void guards_free(guards *g)
{
    mg_retry_budget_free(g->budget);
    mg_adaptive_free(g->adaptive);
    mg_throttle_free(g->throttle);
    mg_ejection_free(g->ejection);
}

static void bench_guards(void)
{
    guards g = guards_new();

    stopwatch_run("retry budget: count a request", 15, first_try, &g);
    stopwatch_run("retry budget: ask for a retry", 15, retry, &g);
    stopwatch_run("adaptive: begin and end", 0, adaptive, &g);
    stopwatch_run("throttle: admit and accept", 0, throttle, &g);
    stopwatch_run("ejection: a result", 0, eject, &g);
    stopwatch_run("canary: which side", 0, canary, &g);
    guards_free(&g);
}

static mg_breaker *breaker_of(mg_breaker_mode mode)
{
    mg_breaker_conf conf;
    mg_breaker *breaker;

    mg_breaker_conf_defaults(&conf, mode);
    breaker = mg_breaker_new(&conf, NULL);
    MG_CHECK(breaker);
    return breaker;
}

static void bench_breaker(const char *name, mg_breaker_mode mode)
{
    ends e = { .breaker = breaker_of(mode) };
    char text[64];

    if (mode == MG_BREAKER_CONSECUTIVE)
        stopwatch_run("breaker: ask", 10, ask, e.breaker);
    e.ticket = mg_breaker_ask(e.breaker, 0);
    snprintf(text, sizeof(text), "breaker: end, %s", name);
    stopwatch_run(text, 25, end, &e);
    mg_breaker_free(e.breaker);
    e.breaker = breaker_of(mode);
    snprintf(text, sizeof(text), "breaker: ask and end, %s", name);
    stopwatch_run(text, 35, ask_and_end, e.breaker);
    mg_breaker_free(e.breaker);
}

/* ---- the whole chain of one request ---- */

typedef struct request {
    buckets buckets;
    mg_breaker *breaker;
    mg_balancer *balancer;
    mg_deadline_conf deadline;
    guards guards;
} request;

/* What a service with everything switched on decides about a request that is answered after a millisecond. */
static uint64_t decide(void *self, uint64_t i)
{
    request *r = self;
    const uint64_t now_ns = i * 1000 + MG_NS_PER_S, then_ns = now_ns + MG_NS_PER_MS;
    const bool ok = i % 8 != 0;
    uint64_t passed, ticket, left_ms;
    size_t host;

    passed = take(&r->buckets, i);
    left_ms = mg_deadline_child_ms(&r->deadline, (i % 2 ? 1000 : 15000) - i % 10);
    mg_retry_budget_request(r->guards.budget, now_ns);
    ticket = mg_breaker_ask(r->breaker, now_ns);
    passed += mg_adaptive_begin(r->guards.adaptive);
    passed += mg_throttle_admit(r->guards.throttle, &r->guards.throttling, 0.999, now_ns);
    host = (size_t)mg_balancer_pick(r->balancer, NULL, 0, now_ns);
    mg_balancer_begin(r->balancer, host);
    mg_balancer_end(r->balancer, host);
    mg_balancer_observe(r->balancer, host, MG_NS_PER_MS + i % 1000, ok, then_ns);
    mg_ejection_result(r->guards.ejection, host, ok, then_ns);
    mg_throttle_accepted(r->guards.throttle, then_ns);
    mg_adaptive_end(r->guards.adaptive, MG_NS_PER_MS, then_ns);
    passed += mg_breaker_end(r->breaker, ticket, ok ? MG_BREAKER_OK : MG_BREAKER_FAIL, MG_NS_PER_MS, then_ns);
    MG_CHECK(passed == 4);
    return left_ms;
}

/* Every key owes something, as those do that keep their slots. */
static mg_limiter_conf rate_of_many(void)
{
    mg_limiter_conf conf = rate_of(MG_LIMITER_TOKEN_BUCKET, 10, 1000);

    conf.burst = 1000000;
    return conf;
}

static void bench_chain(const char *name, double ceiling_ns, mg_balancer_algorithm algorithm, uint32_t keys)
{
    mg_limiter_conf rate = rate_of_many();
    request r = { .breaker = breaker_of(MG_BREAKER_TIME_WINDOW), .buckets = { .at_ns = MG_NS_PER_S } };
    mg_rand rand;

    mg_rand_init(&rand, 1);
    r.balancer = balancer_of(algorithm, &rand);
    r.guards = guards_new();
    mg_deadline_conf_defaults(&r.deadline);
    rate.secret[0] = 1;
    r.buckets.limiter = mg_limiter_new(&rate, NULL);
    r.buckets.step_ns = 100;
    make_keys(&r.buckets, keys);
    for (uint64_t i = 0; i < keys; i++)
        take(&r.buckets, i);
    stopwatch_run(name, ceiling_ns, decide, &r);
    mg_limiter_free(r.buckets.limiter);
    mg_free(r.buckets.keys);
    mg_breaker_free(r.breaker);
    mg_balancer_free(r.balancer);
    guards_free(&r.guards);
}

/* ---- memory ---- */

static double heap_bytes(void)
{
    return (double)mallinfo2().uordblks;
}

/* What each of many costs. A breaker made by mg_breaker_next shares the state of the one before, and so tells
 * what is the configuration's. */
static void bench_breaker_memory(void)
{
    enum { MANY = 1000, HEAP_OWN = 16 /* what the heap keeps for itself beside 64 bytes */ };
    static mg_breaker *all[3][MANY];
    double each[3], state;
    mg_breaker_conf conf;

    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    for (int kind = 0; kind < 3; kind++) {
        const double before = heap_bytes();

        for (int i = 0; i < MANY; i++)
            all[kind][i] = kind == 1 ? mg_breaker_next(all[0][i], &conf, 0, NULL)
                                     : breaker_of(kind ? MG_BREAKER_TIME_WINDOW : MG_BREAKER_CONSECUTIVE);
        each[kind] = (heap_bytes() - before) / MANY;
    }
    for (int i = 0; i < 3 * MANY; i++)
        mg_breaker_free(all[i / MANY][i % MANY]);
    state = round(each[0] - each[1]) - HEAP_OWN;
    stopwatch_row("memory: a breaker's state", state, state, 64, "bytes");
    stopwatch_row("memory: a time window of 10 buckets", each[2] - each[0], each[2] - each[0], 256, "bytes");
    stopwatch_row("memory: a breaker's configuration", each[1], each[1], 0, "bytes");
}

static void bench_memory(void)
{
    stopwatch_row("memory: a slot of a bucket", sizeof(mg_key_slot), sizeof(mg_key_slot), 16, "bytes");
    bench_breaker_memory();
}

static void bench_limiters(void)
{
    const mg_limiter_conf ample = rate_of(MG_LIMITER_TOKEN_BUCKET, 1000000, 1000);

    bench_bare_bucket("bucket: admit", 30, ample, 1000);
    bench_bare_bucket("bucket: refuse", 10, rate_of(MG_LIMITER_TOKEN_BUCKET, 1, 86400000), 0);
    bench_limiter("bucket: admit, hash and table, one key", 80, ample, take, 1000, 1);
    bench_limiter("bucket: refuse, hash and table, one key", 80,
                  rate_of(MG_LIMITER_TOKEN_BUCKET, 1, 86400000), take, 0, 1);
    bench_limiter("bucket: admit, hash and table, 262144 keys", 80, rate_of_many(), take, 100, KEYS);
    bench_limiter("bucket: refuse, hash and table, 262144 keys", 80,
                  rate_of(MG_LIMITER_TOKEN_BUCKET, 1, 86400000), take, 0, KEYS);
    bench_limiter("sliding window: admit, one key", 0, rate_of(MG_LIMITER_SLIDING_WINDOW, 1000000, 1000),
                  take, 1000, 1);
    bench_limiter("sliding window: admit, 262144 keys", 0, rate_of(MG_LIMITER_SLIDING_WINDOW, 1000000, 1000),
                  take, 1000, KEYS);
    bench_limiter("fixed window: admit, one key", 0, rate_of(MG_LIMITER_FIXED_WINDOW, 1000000, 1000), take,
                  1000, 1);
    bench_limiter("sliding log: admit, one key", 0, rate_of(MG_LIMITER_SLIDING_LOG, 1000, 1000), take,
                  1000000, 1);
    bench_limiter("leaky: admit, one key", 0, rate_of(MG_LIMITER_LEAKY, 1000000, 1000), take, 1000, 1);
    bench_limiter("concurrency: take and release", 0, rate_of(MG_LIMITER_CONCURRENCY, 1000, 0),
                  take_and_release, 0, 1);
}

static void bench_balancers(void)
{
    bench_balancer("balancer: round robin of 16", 40, MG_BALANCER_ROUND_ROBIN, pick);
    bench_balancer("balancer: least_request of 16", 0, MG_BALANCER_LEAST_REQUEST, pick);
    bench_balancer("balancer: peak_ewma of 16", 40, MG_BALANCER_PEAK_EWMA, pick);
    bench_balancer("balancer: peak_ewma, an observation", 0, MG_BALANCER_PEAK_EWMA, observe);
    bench_balancer("balancer: maglev of 16, key hashed", 15, MG_BALANCER_MAGLEV, pick_key);
    bench_table();
}

int main(void)
{
    stopwatch_head();
    bench_router(1000, 60, 150);
    bench_router(10000, 60, 300);
    bench_router(100000, 300, 300);
    bench_limiters();
    bench_breaker("consecutive", MG_BREAKER_CONSECUTIVE);
    bench_breaker("100 calls", MG_BREAKER_COUNT_WINDOW);
    bench_breaker("10 buckets", MG_BREAKER_TIME_WINDOW);
    bench_balancers();
    bench_guards();
    bench_chain("chain of a request, peak_ewma, 1024 keys", 400, MG_BALANCER_PEAK_EWMA, 1024);
    bench_chain("chain of a request, peak_ewma, 262144 keys", 400, MG_BALANCER_PEAK_EWMA, KEYS);
    bench_chain("chain of a request, round_robin, 262144 keys", 400, MG_BALANCER_ROUND_ROBIN, KEYS);
    bench_memory();
    return 0;
}
