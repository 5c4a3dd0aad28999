/* pool.c - the idle connections of one account in one worker, and who waits for them (docs/policies.md 6).
 *
 * `open` counts what holds a slot: connecting, active, idle, or still to be closed by the caller. A slot that
 * becomes free is not passed on by hand: it is given back to the node, and pop_ready takes one for the first
 * waiter. That is one rule for every way a slot can return, also from another worker. */
#include "policy/pool.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"

void mg_pool_init(mg_pool *pool, mg_pool_node *node, _Atomic uint32_t *idle_total, mg_rand *rand)
{
    *pool = (mg_pool){ .node = node, .idle_total = idle_total, .rand = rand };
    mg_list_init(&pool->idle);
    mg_list_init(&pool->waiters);
    mg_list_init(&pool->closing);
    mg_list_init(&pool->late);
}

void mg_pool_fini(mg_pool *pool)
{
    MG_CHECK(pool->open == 0 && pool->waiting == 0 && mg_list_empty(&pool->late));
}

/* Raises a shared count unless it stands at `max`. */
static bool count_below(_Atomic uint32_t *count, uint32_t max)
{
    uint32_t seen = atomic_load_explicit(count, memory_order_relaxed);

    do {
        if (seen >= max)
            return false;
    } while (!atomic_compare_exchange_weak(count, &seen, seen + 1));
    return true;
}

static void uncount(_Atomic uint32_t *count)
{
    MG_CHECK(atomic_fetch_sub(count, 1) > 0);
}

static bool slot_take(mg_pool *pool, const mg_pool_conf *conf)
{
    if (!count_below(&pool->node->open, conf->max_connections ? conf->max_connections : UINT32_MAX))
        return false;
    pool->open++;
    return true;
}

static void slot_return(mg_pool *pool)
{
    MG_CHECK(pool->open > 0);
    pool->open--;
    uncount(&pool->node->open);
}

static bool idle_count_in(mg_pool *pool, const mg_pool_conf *conf)
{
    if (!count_below(&pool->node->idle, conf->max_idle))
        return false;
    if (pool->idle_total && !count_below(pool->idle_total, conf->max_idle_total)) {
        uncount(&pool->node->idle);
        return false;
    }
    pool->idle_count++;
    return true;
}

static void leave_idle(mg_pool *pool, mg_pool_conn *conn, enum mg_pool_conn_state state)
{
    MG_CHECK(conn->state == MG_POOL_CONN_IDLE);
    mg_list_remove(&conn->link);
    conn->state = state;
    pool->idle_count--;
    uncount(&pool->node->idle);
    if (pool->idle_total)
        uncount(pool->idle_total);
}

void mg_pool_condemn(mg_pool *pool, mg_pool_conn *conn)
{
    leave_idle(pool, conn, MG_POOL_CONN_CLOSING);
    mg_list_push(&pool->closing, &conn->link);
}

static void leave_queue(mg_pool *pool, mg_pool_waiter *waiter)
{
    MG_CHECK(waiter->queued);
    mg_list_remove(&waiter->link);
    waiter->queued = false;
    pool->waiting--;
    uncount(&pool->node->waiting);
}

static mg_pool_conn *conn_of(mg_list *link)
{
    return mg_container_of(link, mg_pool_conn, link);
}

static mg_pool_waiter *waiter_of(mg_list *link)
{
    return mg_container_of(link, mg_pool_waiter, link);
}

/* Whether its time is over, apart from idling. */
static bool is_worn(const mg_pool_conn *conn, uint64_t now_ns)
{
    return now_ns >= conn->retires_at_ns || conn->requests >= conn->requests_max;
}

/* `value` +-10 %, so that what opened together does not end together; 0 = never. */
static uint64_t jittered(mg_rand *rand, uint64_t value, uint64_t never)
{
    const uint64_t part = value / 10;

    if (!value)
        return never;
    return value - part + mg_rand_below(rand, 2 * part + 1);
}

static mg_pool_verdict queue_up(mg_pool *pool, const mg_pool_conf *conf, uint64_t now_ns,
                                mg_pool_waiter *waiter, bool fresh)
{
    if (!waiter || !count_below(&pool->node->waiting, conf->queue))
        return MG_POOL_FULL;
    MG_CHECK(!waiter->queued);
    waiter->conf = conf;
    waiter->queued = true;
    waiter->fresh = fresh;
    waiter->expires_at_ns = mg_add_sat(now_ns, conf->queue_timeout_ns);
    mg_list_push(&pool->waiters, &waiter->link);
    pool->waiting++;
    return MG_POOL_WAIT;
}

static mg_pool_verdict connect_or_wait(mg_pool *pool, const mg_pool_conf *conf, uint64_t now_ns,
                                       mg_pool_waiter *waiter, bool fresh)
{
    if (!mg_list_empty(&pool->waiters) || !slot_take(pool, conf))
        return queue_up(pool, conf, now_ns, waiter, fresh);
    pool->misses++;
    return MG_POOL_CONNECT;
}

mg_pool_verdict mg_pool_take_new(mg_pool *pool, const mg_pool_conf *conf, uint64_t now_ns,
                                 mg_pool_waiter *waiter)
{
    const mg_pool_verdict verdict = connect_or_wait(pool, conf, now_ns, waiter, true);

    if (verdict == MG_POOL_WAIT)
        mg_pool_shed(pool); /* an idle one of ours may hold the slot it waits for */
    return verdict;
}

mg_pool_verdict mg_pool_take(mg_pool *pool, const mg_pool_conf *conf, uint64_t now_ns, mg_pool_waiter *waiter,
                             mg_pool_conn **conn)
{
    while (!mg_list_empty(&pool->idle)) {
        mg_pool_conn *latest = conn_of(pool->idle.next);

        const uint64_t until_ns =
            mg_min_u64(latest->idle_until_ns, mg_add_sat(latest->idle_since_ns, conf->idle_timeout_ns));
        if (now_ns >= until_ns || is_worn(latest, now_ns)) {
            mg_pool_condemn(pool, latest);
            continue;
        }
        leave_idle(pool, latest, MG_POOL_CONN_ACTIVE);
        latest->requests++;
        pool->hits++;
        *conn = latest;
        return MG_POOL_REUSED;
    }
    return connect_or_wait(pool, conf, now_ns, waiter, false);
}

void mg_pool_opened(mg_pool *pool, const mg_pool_conf *conf, mg_pool_conn *conn, uint64_t now_ns)
{
    MG_CHECK(conn->state == MG_POOL_CONN_NONE);
    *conn = (mg_pool_conn){ .state = MG_POOL_CONN_ACTIVE, .requests = 1, .opened_at_ns = now_ns };
    conn->requests_max =
        (uint32_t)mg_min_u64(jittered(pool->rand, conf->max_requests, UINT32_MAX), UINT32_MAX);
    conn->retires_at_ns = mg_add_sat(now_ns, jittered(pool->rand, conf->max_age_ns, UINT64_MAX));
}

void mg_pool_connect_failed(mg_pool *pool)
{
    slot_return(pool);
}

mg_pool_given mg_pool_give(mg_pool *pool, const mg_pool_conf *conf, mg_pool_conn *conn, uint64_t now_ns,
                           uint64_t peer_idle_ns, mg_pool_waiter **waiter)
{
    uint64_t idle_ns = conf->idle_timeout_ns;

    MG_CHECK(conn->state == MG_POOL_CONN_ACTIVE);
    if (is_worn(conn, now_ns))
        return MG_POOL_CLOSE;
    if (!mg_list_empty(&pool->waiters)) {
        *waiter = waiter_of(pool->waiters.next);
        if ((*waiter)->fresh)
            return MG_POOL_CLOSE; /* it is the slot that is wanted */
        leave_queue(pool, *waiter);
        conn->requests++;
        pool->hits++;
        return MG_POOL_HANDED;
    }
    if (conf->max_connections && pool->node->open > conf->max_connections)
        return MG_POOL_CLOSE; /* the configuration has shrunk */
    if (!idle_count_in(pool, conf))
        return MG_POOL_CLOSE;
    if (peer_idle_ns)
        idle_ns = mg_min_u64(idle_ns, peer_idle_ns);
    conn->state = MG_POOL_CONN_IDLE;
    conn->idle_since_ns = now_ns;
    conn->idle_until_ns = mg_min_u64(mg_add_sat(now_ns, idle_ns), conn->retires_at_ns);
    mg_list_push_front(&pool->idle, &conn->link);
    return MG_POOL_KEPT;
}

bool mg_pool_remove(mg_pool *pool, mg_pool_conn *conn)
{
    if (conn->state != MG_POOL_CONN_IDLE)
        return false;
    leave_idle(pool, conn, MG_POOL_CONN_CLOSING);
    return true;
}

void mg_pool_closed(mg_pool *pool, mg_pool_conn *conn)
{
    MG_CHECK(conn->state == MG_POOL_CONN_ACTIVE || conn->state == MG_POOL_CONN_CLOSING);
    mg_list_remove(&conn->link);
    conn->state = MG_POOL_CONN_NONE;
    slot_return(pool);
}

void mg_pool_wait_cancel(mg_pool *pool, mg_pool_waiter *waiter)
{
    if (waiter->queued)
        leave_queue(pool, waiter);
    else
        mg_list_remove(&waiter->link); /* from `late`, where it may still stand */
}

uint64_t mg_pool_expire(mg_pool *pool, uint64_t now_ns)
{
    uint64_t next_ns = UINT64_MAX;

    MG_LIST_EACH(&pool->idle, it)
    {
        mg_pool_conn *conn = conn_of(it);

        if (now_ns >= conn->idle_until_ns)
            mg_pool_condemn(pool, conn);
        else
            next_ns = mg_min_u64(next_ns, conn->idle_until_ns);
    }
    MG_LIST_EACH(&pool->waiters, it)
    {
        mg_pool_waiter *waiter = waiter_of(it);

        if (now_ns >= waiter->expires_at_ns) {
            leave_queue(pool, waiter);
            mg_list_push(&pool->late, &waiter->link);
        } else {
            next_ns = mg_min_u64(next_ns, waiter->expires_at_ns);
        }
    }
    return next_ns;
}

bool mg_pool_shed(mg_pool *pool)
{
    if (mg_list_empty(&pool->idle))
        return false;
    mg_pool_condemn(pool, conn_of(pool->idle.prev));
    return true;
}

void mg_pool_shed_all(mg_pool *pool)
{
    while (mg_pool_shed(pool))
        ;
}

mg_pool_conn *mg_pool_pop_closing(mg_pool *pool)
{
    mg_list *link = mg_list_pop(&pool->closing);

    return link ? conn_of(link) : NULL;
}

mg_pool_waiter *mg_pool_pop_late(mg_pool *pool)
{
    mg_list *link = mg_list_pop(&pool->late);

    return link ? waiter_of(link) : NULL;
}

mg_pool_waiter *mg_pool_pop_ready(mg_pool *pool)
{
    mg_pool_waiter *waiter;

    if (mg_list_empty(&pool->waiters))
        return NULL;
    waiter = waiter_of(pool->waiters.next);
    if (!slot_take(pool, waiter->conf))
        return NULL;
    leave_queue(pool, waiter);
    pool->misses++;
    return waiter;
}
