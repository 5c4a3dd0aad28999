/* Two workers' pools of one endpoint under random use, beside lists that are searched from end to end. */
#include "policy/pool.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

enum { RUNS = 300, STEPS = 600, POOLS = 2, CONNS = 12, WAITERS = 8 };

typedef struct conn {
    mg_pool_conn node;
    int pool; /* -1: not open */
    bool idle, closing;
    uint64_t since; /* idle: a count that rises */
} conn;

typedef struct waiter {
    mg_pool_waiter node;
    int pool; /* -1: not waiting */
    uint64_t since;
} waiter;

typedef struct world {
    uint64_t seed, now, count;
    mg_rand rand;
    mg_pool_conf conf;
    mg_pool_node node;
    mg_pool pools[POOLS];
    conn conns[CONNS];
    waiter waiters[WAITERS];
    uint32_t connecting[POOLS];
} world;

static void check_counts(const world *w)
{
    uint32_t open = w->connecting[0] + w->connecting[1], idle = 0, waiting = 0;

    for (int i = 0; i < CONNS; i++) {
        open += w->conns[i].pool >= 0;
        idle += w->conns[i].idle;
    }
    for (int i = 0; i < WAITERS; i++)
        waiting += w->waiters[i].pool >= 0;
    if (open != w->node.open || idle != w->node.idle || waiting != w->node.waiting ||
        open > w->conf.max_connections || idle > w->conf.max_idle || waiting > w->conf.queue)
        fail_msg("SEED=%llu: open %u idle %u waiting %u", (unsigned long long)w->seed, open, idle, waiting);
}

static conn *latest_idle(world *w, int pool)
{
    conn *latest = NULL;

    for (int i = 0; i < CONNS; i++) {
        conn *c = &w->conns[i];

        if (c->pool == pool && c->idle && (!latest || c->since > latest->since))
            latest = c;
    }
    return latest;
}

static waiter *first_waiter(world *w, int pool)
{
    waiter *first = NULL;

    for (int i = 0; i < WAITERS; i++) {
        waiter *it = &w->waiters[i];

        if (it->pool == pool && (!first || it->since < first->since))
            first = it;
    }
    return first;
}

static conn *closed_conn(world *w)
{
    for (int i = 0; i < CONNS; i++) {
        if (w->conns[i].pool < 0)
            return &w->conns[i];
    }
    return NULL;
}

/* What the caller does after every call: pops until nothing is due. */
static void settle(world *w)
{
    for (int p = 0; p < POOLS; p++) {
        mg_pool_conn *closing;

        while ((closing = mg_pool_pop_closing(&w->pools[p]))) {
            conn *c = mg_container_of(closing, conn, node);

            assert_int_equal(c->pool, p);
            assert_true(c->node.idle_until_ns <= w->now || c->node.retires_at_ns <= w->now ||
                        c->node.requests >= c->node.requests_max);
            c->idle = false;
            c->pool = -1;
            mg_pool_closed(&w->pools[p], &c->node);
        }
    }
    for (int p = 0; p < POOLS; p++) {
        mg_pool_waiter *ready;

        while ((ready = mg_pool_pop_ready(&w->pools[p]))) {
            waiter *it = mg_container_of(ready, waiter, node);

            assert_ptr_equal(it, first_waiter(w, p));
            it->pool = -1;
            w->connecting[p]++;
        }
    }
}

static void take(world *w, int p)
{
    waiter *it = NULL;
    mg_pool_conn *got = NULL;
    mg_pool_verdict verdict;

    for (int i = 0; i < WAITERS && !it; i++)
        it = w->waiters[i].pool < 0 ? &w->waiters[i] : NULL;
    verdict = mg_pool_take(&w->pools[p], w->now, it ? &it->node : NULL, &got);
    if (verdict == MG_POOL_REUSED) {
        conn *c = mg_container_of(got, conn, node), *latest = latest_idle(w, p);

        assert_true(w->now < c->node.idle_until_ns);
        /* Later ones may only have been passed over because they are worn or due. */
        for (; latest != c; latest = latest_idle(w, p)) {
            assert_non_null(latest);
            assert_true(w->now >= latest->node.idle_until_ns ||
                        latest->node.requests >= latest->node.requests_max);
            latest->idle = false;
            latest->closing = true;
        }
        c->idle = false;
    } else if (verdict == MG_POOL_CONNECT) {
        w->connecting[p]++;
    } else if (verdict == MG_POOL_WAIT) {
        it->pool = p;
        it->since = ++w->count;
    } else {
        assert_true(!it || w->node.waiting >= w->conf.queue);
    }
}

static void connected(world *w, int p, bool fine)
{
    conn *c = closed_conn(w);

    if (!w->connecting[p])
        return;
    w->connecting[p]--;
    if (!fine || !c) {
        mg_pool_connect_failed(&w->pools[p]);
        return;
    }
    c->pool = p;
    mg_pool_opened(&w->pools[p], &c->node, w->now);
}

static conn *random_conn(world *w, bool idle)
{
    const uint64_t from = mg_rand_below(&w->rand, CONNS);

    for (uint64_t i = 0; i < CONNS; i++) {
        conn *c = &w->conns[(from + i) % CONNS];

        if (c->pool >= 0 && c->idle == idle && !c->closing)
            return c;
    }
    return NULL;
}

static void give(world *w)
{
    conn *c = random_conn(w, false);
    mg_pool_waiter *got = NULL;

    if (!c)
        return;
    switch (mg_pool_give(&w->pools[c->pool], &c->node, w->now, mg_rand_below(&w->rand, 2) * 3, &got)) {
    case MG_POOL_KEPT:
        assert_null(first_waiter(w, c->pool));
        c->idle = true;
        c->since = ++w->count;
        break;
    case MG_POOL_HANDED:
        assert_ptr_equal(mg_container_of(got, waiter, node), first_waiter(w, c->pool));
        mg_container_of(got, waiter, node)->pool = -1;
        break;
    case MG_POOL_CLOSE:
        mg_pool_closed(&w->pools[c->pool], &c->node);
        c->pool = -1;
        break;
    }
}

static void lose(world *w, bool idle)
{
    conn *c = random_conn(w, idle);

    if (!c)
        return;
    assert_int_equal(mg_pool_remove(&w->pools[c->pool], &c->node), idle);
    mg_pool_closed(&w->pools[c->pool], &c->node);
    c->pool = -1;
    c->idle = false;
}

static void expire(world *w, int p)
{
    uint64_t next = UINT64_MAX;
    mg_pool_waiter *late;
    const uint64_t said = mg_pool_expire(&w->pools[p], w->now);

    while ((late = mg_pool_pop_late(&w->pools[p]))) {
        waiter *it = mg_container_of(late, waiter, node);

        assert_true(it->pool == p && w->now >= it->node.expires_at_ns);
        it->pool = -1;
    }
    for (int i = 0; i < WAITERS; i++) {
        if (w->waiters[i].pool == p)
            next = mg_min_u64(next, w->waiters[i].node.expires_at_ns);
    }
    for (int i = 0; i < CONNS; i++) {
        if (w->conns[i].pool == p && w->conns[i].idle && w->conns[i].node.idle_until_ns > w->now)
            next = mg_min_u64(next, w->conns[i].node.idle_until_ns);
    }
    assert_true(next == said && next > w->now);
}

static void step(world *w)
{
    const int p = (int)mg_rand_below(&w->rand, POOLS);
    waiter *it;

    w->now += mg_rand_below(&w->rand, 3) == 0;
    switch (mg_rand_below(&w->rand, 9)) {
    case 0:
    case 1:
    case 2: take(w, p); break;
    case 3:
    case 4: connected(w, p, mg_rand_below(&w->rand, 4)); break;
    case 5: give(w); break;
    case 6: lose(w, mg_rand_below(&w->rand, 2)); break;
    case 7: expire(w, p); break;
    case 8:
        it = &w->waiters[mg_rand_below(&w->rand, WAITERS)];
        if (it->pool >= 0)
            mg_pool_wait_cancel(&w->pools[it->pool], &it->node);
        it->pool = -1;
        break;
    }
    settle(w);
    for (int i = 0; i < CONNS; i++)
        w->conns[i].closing = false;
    check_counts(w);
}

static void run(uint64_t seed)
{
    world *w = MG_NEW(world);

    w->seed = seed;
    mg_rand_init(&w->rand, seed);
    w->conf = (mg_pool_conf){ .max_connections = 1 + (uint32_t)mg_rand_below(&w->rand, 6),
                              .max_idle = (uint32_t)mg_rand_below(&w->rand, 5),
                              .max_idle_total = 100,
                              .queue = (uint32_t)mg_rand_below(&w->rand, 6),
                              .max_requests = (uint32_t)mg_rand_below(&w->rand, 20),
                              .idle_timeout_ns = 1 + mg_rand_below(&w->rand, 20),
                              .queue_timeout_ns = 1 + mg_rand_below(&w->rand, 20),
                              .max_age_ns = mg_rand_below(&w->rand, 60) };
    for (int p = 0; p < POOLS; p++)
        mg_pool_init(&w->pools[p], &w->conf, &w->node, NULL, &w->rand);
    for (int i = 0; i < CONNS; i++)
        w->conns[i].pool = -1;
    for (int i = 0; i < WAITERS; i++)
        w->waiters[i].pool = -1;
    for (int i = 0; i < STEPS; i++)
        step(w);
    mg_free(w);
}

static void pools_keep_count_order_and_bounds(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++)
        run(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(pools_keep_count_order_and_bounds) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
