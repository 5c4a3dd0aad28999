/* The pools of two accounts in two workers under random use, beside lists that are searched from end to end.
 * Each account has two configurations at once, as in a reload: every request must get what its own says,
 * whatever the other account and the other configuration do. */
#include "policy/pool.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

enum {
    RUNS = 300,
    STEPS = 600,
    ACCOUNTS = 2,
    WORKERS = 2,
    POOLS = ACCOUNTS * WORKERS,
    CONFS = 2,
    CONNS = 16
};
enum { WAITERS = 12, IDLE_TOTAL = 5 };

typedef struct conn {
    mg_pool_conn node;
    int pool;                 /* -1: not open */
    const mg_pool_conf *conf; /* of the request it carries; idle: of the last one */
    bool idle, closing;
    uint64_t since; /* idle: a count that rises */
} conn;

typedef struct waiter {
    mg_pool_waiter node;
    int pool; /* -1: not waiting */
    const mg_pool_conf *conf;
    uint64_t since;
} waiter;

typedef struct world {
    uint64_t seed, now, count;
    mg_rand rand;
    mg_pool_conf confs[ACCOUNTS][CONFS];
    mg_pool_node nodes[ACCOUNTS];
    _Atomic uint32_t idle_total;
    mg_pool pools[POOLS]; /* the account is pool / WORKERS */
    conn conns[CONNS];
    waiter waiters[WAITERS];
    uint32_t connecting[POOLS][CONFS];
    const mg_pool_conf *asks; /* of the take under way; NULL: none is */
} world;

typedef struct counts {
    uint32_t open, idle, waiting;
} counts;

static int account_of(int pool)
{
    return pool / WORKERS;
}

static counts count(const world *w, int account)
{
    counts n = { 0 };

    for (int p = 0; p < POOLS; p++)
        for (int c = 0; account_of(p) == account && c < CONFS; c++)
            n.open += w->connecting[p][c];
    for (int i = 0; i < CONNS; i++)
        if (w->conns[i].pool >= 0 && account_of(w->conns[i].pool) == account) {
            n.open++;
            n.idle += w->conns[i].idle;
        }
    for (int i = 0; i < WAITERS; i++)
        n.waiting += w->waiters[i].pool >= 0 && account_of(w->waiters[i].pool) == account;
    return n;
}

static uint32_t idle_of_all(const world *w)
{
    uint32_t sum = 0;

    for (int a = 0; a < ACCOUNTS; a++)
        sum += count(w, a).idle;
    return sum;
}

static void check_counts(const world *w)
{
    for (int a = 0; a < ACCOUNTS; a++) {
        const counts n = count(w, a);
        if (n.open != w->nodes[a].open || n.idle != w->nodes[a].idle || n.waiting != w->nodes[a].waiting)
            fail_msg("SEED=%llu: account %d: open %u idle %u waiting %u", (unsigned long long)w->seed, a,
                     n.open, n.idle, n.waiting);
    }
    assert_int_equal(w->idle_total, idle_of_all(w));
}

static const mg_pool_conf *any_conf(world *w, int pool)
{
    return &w->confs[account_of(pool)][mg_rand_below(&w->rand, CONFS)];
}

static uint32_t *connecting(world *w, int pool, const mg_pool_conf *conf)
{
    return &w->connecting[pool][conf - w->confs[account_of(pool)]];
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
                        c->node.requests >= c->node.requests_max ||
                        (w->asks && c->node.idle_since_ns + w->asks->idle_timeout_ns <= w->now));
            c->idle = false;
            c->pool = -1;
            mg_pool_closed(&w->pools[p], &c->node);
        }
    }
    w->asks = NULL;
    for (int p = 0; p < POOLS; p++) {
        mg_pool_waiter *ready;

        while ((ready = mg_pool_pop_ready(&w->pools[p]))) {
            waiter *it = mg_container_of(ready, waiter, node);

            assert_ptr_equal(it, first_waiter(w, p));
            assert_true(count(w, account_of(p)).open < it->conf->max_connections);
            it->pool = -1;
            ++*connecting(w, p, it->conf);
        }
        assert_true(!first_waiter(w, p) ||
                    count(w, account_of(p)).open >= first_waiter(w, p)->conf->max_connections);
    }
}

static void take(world *w, int p)
{
    waiter *it = NULL;
    mg_pool_conn *got = NULL;
    mg_pool_verdict verdict;
    const mg_pool_conf *conf = any_conf(w, p);
    const counts before = count(w, account_of(p));

    for (int i = 0; i < WAITERS && !it; i++)
        it = w->waiters[i].pool < 0 ? &w->waiters[i] : NULL;
    w->asks = conf;
    verdict = mg_pool_take(&w->pools[p], conf, w->now, it ? &it->node : NULL, &got);
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
        c->conf = conf;
    } else if (verdict == MG_POOL_CONNECT) {
        assert_true(!first_waiter(w, p) && before.open < conf->max_connections);
        ++*connecting(w, p, conf);
    } else {
        assert_true(first_waiter(w, p) || before.open >= conf->max_connections);
        assert_true((verdict == MG_POOL_WAIT) == (it && before.waiting < conf->queue));
        if (verdict == MG_POOL_FULL)
            return;
        it->pool = p;
        it->conf = conf;
        it->since = ++w->count;
        assert_true(it->node.expires_at_ns == w->now + conf->queue_timeout_ns);
    }
}

static void connected(world *w, int p, bool fine)
{
    conn *c = closed_conn(w);
    const mg_pool_conf *conf = any_conf(w, p);

    if (!*connecting(w, p, conf))
        return;
    --*connecting(w, p, conf);
    if (!fine || !c) {
        mg_pool_connect_failed(&w->pools[p]);
        return;
    }
    c->pool = p;
    c->conf = conf;
    mg_pool_opened(&w->pools[p], conf, &c->node, w->now);
    assert_true(!conf->max_requests || c->node.requests_max <= conf->max_requests + conf->max_requests / 10);
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
    const counts before = count(w, account_of(c->pool));
    const bool worn = w->now >= c->node.retires_at_ns || c->node.requests >= c->node.requests_max;
    const bool room = before.open <= c->conf->max_connections && before.idle < c->conf->max_idle &&
                      idle_of_all(w) < IDLE_TOTAL;
    switch (
        mg_pool_give(&w->pools[c->pool], c->conf, &c->node, w->now, mg_rand_below(&w->rand, 2) * 3, &got)) {
    case MG_POOL_KEPT:
        assert_true(!worn && room && !first_waiter(w, c->pool));
        assert_true(c->node.idle_until_ns <= w->now + c->conf->idle_timeout_ns);
        c->idle = true;
        c->since = ++w->count;
        break;
    case MG_POOL_HANDED:
        assert_true(!worn);
        assert_ptr_equal(mg_container_of(got, waiter, node), first_waiter(w, c->pool));
        c->conf = mg_container_of(got, waiter, node)->conf;
        mg_container_of(got, waiter, node)->pool = -1;
        break;
    case MG_POOL_CLOSE:
        assert_true(worn || (!room && !first_waiter(w, c->pool)));
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
    for (int i = 0; i < ACCOUNTS * CONFS; i++)
        w->confs[i / CONFS][i % CONFS] =
            (mg_pool_conf){ .max_connections = 1 + (uint32_t)mg_rand_below(&w->rand, 6),
                            .max_idle = (uint32_t)mg_rand_below(&w->rand, 5),
                            .max_idle_total = IDLE_TOTAL,
                            .queue = (uint32_t)mg_rand_below(&w->rand, 6),
                            .max_requests = (uint32_t)mg_rand_below(&w->rand, 20),
                            .idle_timeout_ns = 1 + mg_rand_below(&w->rand, 20),
                            .queue_timeout_ns = 1 + mg_rand_below(&w->rand, 20),
                            .max_age_ns = mg_rand_below(&w->rand, 60) };
    for (int p = 0; p < POOLS; p++)
        mg_pool_init(&w->pools[p], &w->nodes[account_of(p)], &w->idle_total, &w->rand);
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
