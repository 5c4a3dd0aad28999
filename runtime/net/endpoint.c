/* endpoint.c - one worker's part of an account: its addresses, its pool, what becomes due. */
#include "base/check.h"
#include "base/mem.h"
#include "net/upstream_parts.h"

static void on_pool_timer(mg_timer *timer)
{
    mg_endpoint_work(mg_container_of(timer, mg_endpoint, timer));
}

static void on_later(mg_later *later)
{
    mg_endpoint_work(mg_container_of(later, mg_endpoint, later));
}

void mg_endpoint_work_later(mg_endpoint *endpoint)
{
    mg_later_add(endpoint->net->loop, &endpoint->later);
}

mg_endpoint *mg_endpoint_new(mg_net *net, mg_account *account, _Atomic uint32_t *idle_total, mg_map *index)
{
    mg_endpoint *endpoint = MG_NEW(mg_endpoint);

    endpoint->net = net;
    endpoint->index = index;
    endpoint->account = account;
    mg_account_ref(account);
    endpoint->refs = 1;
    mg_pool_init(&endpoint->pool, &account->node, idle_total, &net->loop->rand);
    mg_timer_init(&endpoint->timer, on_pool_timer);
    endpoint->later.run = on_later;
    return endpoint;
}

void mg_endpoint_maybe_free(mg_endpoint *endpoint)
{
    if (endpoint->refs || endpoint->conns)
        return;
    mg_timer_stop(&endpoint->timer);
    mg_later_cancel(&endpoint->later);
    mg_pool_fini(&endpoint->pool);
    mg_account_unref(endpoint->account);
    mg_free(endpoint->addrs);
    mg_free(endpoint);
}

void mg_endpoint_ref(mg_endpoint *endpoint)
{
    endpoint->refs++;
}

void mg_endpoint_retire(mg_endpoint *endpoint)
{
    endpoint->retired = true;
    mg_pool_shed_all(&endpoint->pool);
    mg_endpoint_work(endpoint);
}

void mg_endpoint_unref(mg_endpoint *endpoint)
{
    if (endpoint->refs == 1) {
        if (endpoint->index)
            (void)mg_map_set(endpoint->index, endpoint->account->key, NULL);
        endpoint->index = NULL;
        mg_endpoint_retire(endpoint);
    }
    MG_CHECK(endpoint->refs > 0);
    endpoint->refs--;
    mg_endpoint_maybe_free(endpoint);
}

/* Its place among the addresses; addr_count when it is none of them. */
static unsigned place_of(const mg_endpoint *endpoint, const mg_addr *addr)
{
    unsigned i = 0;

    while (i < endpoint->addr_count && !mg_addr_eq(&endpoint->addrs[i], addr))
        i++;
    return i;
}

void mg_endpoint_prefer(mg_endpoint *endpoint, const mg_addr *addr)
{
    const unsigned place = place_of(endpoint, addr);

    if (place < endpoint->addr_count)
        endpoint->addr_next = place;
}

bool mg_endpoint_keeps(const mg_endpoint *endpoint, const mg_addr *addr)
{
    return !endpoint->retired && place_of(endpoint, addr) < endpoint->addr_count;
}

static void close_others(mg_endpoint *endpoint)
{
    mg_endpoint_ref(endpoint);
    MG_LIST_EACH(&endpoint->pool.idle, it)
    {
        mg_up *up = mg_container_of(mg_container_of(it, mg_pool_conn, link), mg_up, pooled);
        if (!mg_endpoint_keeps(endpoint, &up->addr))
            mg_pool_condemn(&endpoint->pool, &up->pooled);
    }
    mg_endpoint_work(endpoint);
    mg_endpoint_unref(endpoint);
}

void mg_endpoint_set_addrs(mg_endpoint *endpoint, const mg_addr *addrs, unsigned count)
{
    mg_free(endpoint->addrs);
    endpoint->addrs = MG_NEW_N(mg_addr, count + 1);
    endpoint->addr_count = count;
    if (count)
        memcpy(endpoint->addrs, addrs, sizeof *addrs * count);
    endpoint->addr_next = 0;
    close_others(endpoint);
}

/* Whether another worker waits for a connection to this endpoint. The fence pairs with the one in
 * mg_endpoint_await_place: either we see its waiter, or it sees the place that we gave back. */
bool mg_endpoint_others_wait(const mg_endpoint *endpoint)
{
    atomic_thread_fence(memory_order_seq_cst);
    return endpoint->others && atomic_load(&endpoint->pool.node->waiting) > endpoint->pool.waiting;
}

/* Ours has joined the queue. Idle connections of other workers may hold the places. */
void mg_endpoint_await_place(mg_endpoint *endpoint)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (endpoint->others && atomic_load(&endpoint->pool.node->idle) > endpoint->pool.idle_count)
        endpoint->others(endpoint);
}

void mg_endpoint_poke(mg_endpoint *endpoint)
{
    if (mg_endpoint_others_wait(endpoint))
        (void)mg_pool_shed(&endpoint->pool);
    mg_endpoint_work(endpoint);
}

/* What has become due in the pool. */
void mg_endpoint_work(mg_endpoint *endpoint)
{
    mg_pool *pool = &endpoint->pool;
    mg_loop *loop = endpoint->net->loop;
    mg_pool_conn *pooled;
    mg_pool_waiter *waiter;

    mg_endpoint_ref(endpoint);
    const uint64_t due = mg_pool_expire(pool, mg_loop_now(loop));
    while ((pooled = mg_pool_pop_closing(pool)))
        mg_up_close(mg_container_of(pooled, mg_up, pooled));
    while ((waiter = mg_pool_pop_late(pool)))
        mg_lease_fail(mg_container_of(waiter, mg_lease, waiter), MG_RESET_POOL_FULL);
    while ((waiter = mg_pool_pop_ready(pool)))
        mg_up_connect(mg_container_of(waiter, mg_lease, waiter));
    if (due != UINT64_MAX && (!endpoint->timer.due_ns || due < endpoint->timer.due_ns))
        mg_timer_set(loop, &endpoint->timer, due);
    mg_endpoint_unref(endpoint); /* who waited may have held the last other one */
}
