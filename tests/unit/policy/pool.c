/* The pool's bookkeeping by example (docs/policies.md 6). */
#include "policy/pool.h"
#include "support/defaults.h"

#include "base/mem.h"
#include "base/time.h"
#include "support/check.h"

#define S MG_NS_PER_S

typedef struct world {
    mg_pool_conf conf;
    mg_pool_node node;
    _Atomic uint32_t idle_total;
    mg_rand rand;
    mg_pool pool, other; /* two workers of one node */
    mg_pool_conn conns[8];
    mg_pool_waiter waiters[8];
} world;

static void world_init(world *w, uint32_t max_connections)
{
    *w = (world){ .idle_total = 0 };
    w->conf = pool_defaults;
    w->conf.max_connections = max_connections;
    mg_rand_init(&w->rand, 1);
    mg_pool_init(&w->pool, &w->node, &w->idle_total, &w->rand);
    mg_pool_init(&w->other, &w->node, &w->idle_total, &w->rand);
}

/* Opens the n-th connection, which is active afterwards. */
static mg_pool_conn *open_one(world *w, int n)
{
    mg_pool_conn *reused = NULL;

    assert_int_equal(mg_pool_take(&w->pool, &w->conf, 0, NULL, &reused), MG_POOL_CONNECT);
    mg_pool_opened(&w->pool, &w->conf, &w->conns[n], 0);
    return &w->conns[n];
}

static void give(world *w, int n, uint64_t now_ns)
{
    mg_pool_waiter *waiter = NULL;

    assert_int_equal(mg_pool_give(&w->pool, &w->conf, &w->conns[n], now_ns, 0, &waiter), MG_POOL_KEPT);
}

/* Closes all that is idle or due; then nothing may be left. */
static void world_fini(world *w)
{
    mg_pool_conn *conn;

    mg_pool_shed_all(&w->pool);
    while ((conn = mg_pool_pop_closing(&w->pool)))
        mg_pool_closed(&w->pool, conn);
    mg_pool_fini(&w->pool);
    mg_pool_fini(&w->other);
    assert_int_equal(w->node.open, 0);
    assert_int_equal(w->node.idle, 0);
    assert_int_equal(w->node.waiting, 0);
    assert_int_equal(w->idle_total, 0);
}

static void the_latest_given_is_taken_first(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;

    (void)state;
    world_init(&w, 4);
    for (int i = 0; i < 3; i++)
        open_one(&w, i);
    give(&w, 1, 0);
    give(&w, 0, 0);
    give(&w, 2, 0);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 1, NULL, &conn), MG_POOL_REUSED);
    assert_ptr_equal(conn, &w.conns[2]);
    assert_int_equal(conn->requests, 2);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 1, NULL, &conn), MG_POOL_REUSED);
    assert_ptr_equal(conn, &w.conns[0]);
    assert_int_equal(w.pool.hits, 2);
    give(&w, 0, 1);
    give(&w, 2, 1);
    world_fini(&w);
}

static void at_the_limit_the_first_comer_gets_what_is_given_back(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;
    mg_pool_waiter *waiter = NULL;

    (void)state;
    world_init(&w, 1);
    open_one(&w, 0);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, &w.waiters[0], &conn), MG_POOL_WAIT);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, &w.waiters[1], &conn), MG_POOL_WAIT);
    assert_int_equal(mg_pool_give(&w.pool, &w.conf, &w.conns[0], 0, 0, &waiter), MG_POOL_HANDED);
    assert_ptr_equal(waiter, &w.waiters[0]);
    assert_int_equal(w.conns[0].state, MG_POOL_CONN_ACTIVE);
    mg_pool_wait_cancel(&w.pool, &w.waiters[1]);
    mg_pool_wait_cancel(&w.pool, &w.waiters[1]);
    give(&w, 0, 0);
    world_fini(&w);
}

static void a_closed_connection_passes_its_slot_on(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;

    (void)state;
    world_init(&w, 1);
    open_one(&w, 0);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, &w.waiters[0], &conn), MG_POOL_WAIT);
    assert_null(mg_pool_pop_ready(&w.pool));
    mg_pool_closed(&w.pool, &w.conns[0]);
    assert_ptr_equal(mg_pool_pop_ready(&w.pool), &w.waiters[0]);
    assert_null(mg_pool_pop_ready(&w.pool));
    assert_int_equal(w.node.open, 1);
    mg_pool_connect_failed(&w.pool);
    world_fini(&w);
}

static void workers_share_the_limit_and_the_queue(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;

    (void)state;
    world_init(&w, 1);
    w.conf.queue = 1;
    open_one(&w, 0);
    assert_int_equal(mg_pool_take(&w.other, &w.conf, 0, &w.waiters[0], &conn), MG_POOL_WAIT);
    assert_int_equal(mg_pool_take(&w.other, &w.conf, 0, &w.waiters[1], &conn), MG_POOL_FULL);
    assert_int_equal(mg_pool_take(&w.other, &w.conf, 0, NULL, &conn), MG_POOL_FULL);
    give(&w, 0, 0);
    assert_true(mg_pool_shed(&w.pool)); /* asked by the worker that starves */
    assert_false(mg_pool_shed(&w.pool));
    mg_pool_closed(&w.pool, mg_pool_pop_closing(&w.pool));
    assert_ptr_equal(mg_pool_pop_ready(&w.other), &w.waiters[0]);
    mg_pool_connect_failed(&w.other);
    world_fini(&w);
}

static void a_newcomer_does_not_overtake_the_queue(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;

    (void)state;
    world_init(&w, 1);
    open_one(&w, 0);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, &w.waiters[0], &conn), MG_POOL_WAIT);
    mg_pool_closed(&w.pool, &w.conns[0]);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, &w.waiters[1], &conn), MG_POOL_WAIT);
    assert_ptr_equal(mg_pool_pop_ready(&w.pool), &w.waiters[0]);
    mg_pool_wait_cancel(&w.pool, &w.waiters[1]);
    mg_pool_connect_failed(&w.pool);
    world_fini(&w);
}

static void idle_connections_and_waiters_time_out(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;
    mg_pool_waiter *waiter = NULL;

    (void)state;
    world_init(&w, 3);
    open_one(&w, 0);
    open_one(&w, 1);
    open_one(&w, 2);
    give(&w, 0, 0);
    assert_int_equal(mg_pool_give(&w.pool, &w.conf, &w.conns[1], 0, 4 * S, &waiter), MG_POOL_KEPT);
    assert_int_equal(mg_pool_expire(&w.pool, 0), 4 * S);
    assert_int_equal(mg_pool_expire(&w.pool, 4 * S), 55 * S);
    assert_ptr_equal(mg_pool_pop_closing(&w.pool), &w.conns[1]);
    mg_pool_closed(&w.pool, &w.conns[1]);
    mg_pool_closed(&w.pool, &w.conns[2]);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 55 * S, NULL, &conn),
                     MG_POOL_CONNECT); /* and not the idle one */
    assert_ptr_equal(mg_pool_pop_closing(&w.pool), &w.conns[0]);
    mg_pool_closed(&w.pool, &w.conns[0]);

    w.conf.max_connections = 1;
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 60 * S, &w.waiters[0], &conn), MG_POOL_WAIT);
    assert_int_equal(mg_pool_expire(&w.pool, 61 * S - 1), 61 * S);
    assert_null(mg_pool_pop_late(&w.pool));
    assert_true(mg_pool_expire(&w.pool, 61 * S) == UINT64_MAX);
    assert_ptr_equal(mg_pool_pop_late(&w.pool), &w.waiters[0]);
    assert_false(w.waiters[0].queued);
    mg_pool_connect_failed(&w.pool);
    world_fini(&w);
}

static void what_the_loop_saw_closing_is_not_taken_again(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;

    (void)state;
    world_init(&w, 2);
    open_one(&w, 0);
    assert_false(mg_pool_remove(&w.pool, &w.conns[0])); /* active */
    give(&w, 0, 0);
    assert_true(mg_pool_remove(&w.pool, &w.conns[0]));
    assert_false(mg_pool_remove(&w.pool, &w.conns[0]));
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, NULL, &conn), MG_POOL_CONNECT);
    mg_pool_closed(&w.pool, &w.conns[0]);
    mg_pool_connect_failed(&w.pool);
    world_fini(&w);
}

static void a_connection_wears_out_by_requests_and_by_age(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;
    mg_pool_waiter *waiter = NULL;
    uint32_t requests;

    (void)state;
    world_init(&w, 4);
    w.conf.max_requests = 100;
    open_one(&w, 0);
    assert_in_range(w.conns[0].requests_max, 90, 110);
    assert_in_range(w.conns[0].retires_at_ns, 3240 * S, 3960 * S);
    for (requests = 1; mg_pool_give(&w.pool, &w.conf, &w.conns[0], 0, 0, &waiter) == MG_POOL_KEPT; requests++)
        assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, NULL, &conn), MG_POOL_REUSED);
    assert_int_equal(requests, w.conns[0].requests_max);
    mg_pool_closed(&w.pool, &w.conns[0]);

    open_one(&w, 1);
    give(&w, 1, 3239 * S);
    assert_in_range(w.conns[1].idle_until_ns, 3240 * S, w.conns[1].retires_at_ns);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 3240 * S - 1, NULL, &conn), MG_POOL_REUSED);
    assert_int_equal(mg_pool_give(&w.pool, &w.conf, &w.conns[1], w.conns[1].retires_at_ns, 0, &waiter),
                     MG_POOL_CLOSE);
    mg_pool_closed(&w.pool, &w.conns[1]);

    w.conf.max_requests = 0;
    w.conf.max_age_ns = 0;
    open_one(&w, 2);
    assert_true(w.conns[2].requests_max == UINT32_MAX && w.conns[2].retires_at_ns == UINT64_MAX);
    give(&w, 2, 0);
    world_fini(&w);
}

static void only_so_many_idle_at_once(void **state)
{
    world w;
    mg_pool_waiter *waiter = NULL;

    (void)state;
    world_init(&w, 4);
    w.conf.max_idle = 1;
    open_one(&w, 0);
    open_one(&w, 1);
    give(&w, 0, 0);
    assert_int_equal(mg_pool_give(&w.pool, &w.conf, &w.conns[1], 0, 0, &waiter), MG_POOL_CLOSE);
    w.conf.max_idle = 9;
    w.conf.max_idle_total = 1;
    assert_int_equal(mg_pool_give(&w.pool, &w.conf, &w.conns[1], 0, 0, &waiter), MG_POOL_CLOSE);
    assert_int_equal(w.node.idle, 1);
    mg_pool_closed(&w.pool, &w.conns[1]);
    world_fini(&w);
}

static void a_shrunk_limit_closes_what_is_given_back(void **state)
{
    world w;
    mg_pool_waiter *waiter = NULL;

    (void)state;
    world_init(&w, 2);
    open_one(&w, 0);
    open_one(&w, 1);
    w.conf.max_connections = 1;
    assert_int_equal(mg_pool_give(&w.pool, &w.conf, &w.conns[0], 0, 0, &waiter), MG_POOL_CLOSE);
    mg_pool_closed(&w.pool, &w.conns[0]);
    give(&w, 1, 0);
    world_fini(&w);
}

static void a_shrunk_idle_timeout_holds_for_what_idles_already(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;

    (void)state;
    world_init(&w, 0);
    open_one(&w, 0);
    open_one(&w, 1);
    give(&w, 0, 0);
    give(&w, 1, 3 * S);
    w.conf.idle_timeout_ns = 2 * S; /* a reload: the upstream closes after two seconds */
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 4 * S, NULL, &conn), MG_POOL_REUSED);
    assert_ptr_equal(conn, &w.conns[1]);
    conn = NULL;
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 4 * S, NULL, &conn), MG_POOL_CONNECT);
    assert_ptr_equal(mg_pool_pop_closing(&w.pool), &w.conns[0]);
    mg_pool_closed(&w.pool, &w.conns[0]);
    mg_pool_connect_failed(&w.pool);
    give(&w, 1, 4 * S);
    world_fini(&w);
}

static void who_wants_a_new_connection_gets_no_used_one(void **state)
{
    world w;
    mg_pool_conn *conn;
    mg_pool_waiter *waiter = NULL;

    (void)state;
    world_init(&w, 1);
    open_one(&w, 0);
    assert_int_equal(mg_pool_take_new(&w.pool, &w.conf, 0, &w.waiters[0]), MG_POOL_WAIT);
    assert_int_equal(mg_pool_give(&w.pool, &w.conf, &w.conns[0], 0, 0, &waiter), MG_POOL_CLOSE);
    mg_pool_closed(&w.pool, &w.conns[0]);
    assert_ptr_equal(mg_pool_pop_ready(&w.pool), &w.waiters[0]);
    mg_pool_opened(&w.pool, &w.conf, &w.conns[1], 0);
    give(&w, 1, 0);
    /* The idle one holds the slot: it goes. */
    assert_int_equal(mg_pool_take_new(&w.pool, &w.conf, 0, &w.waiters[0]), MG_POOL_WAIT);
    conn = mg_pool_pop_closing(&w.pool);
    assert_ptr_equal(conn, &w.conns[1]);
    mg_pool_closed(&w.pool, conn);
    assert_ptr_equal(mg_pool_pop_ready(&w.pool), &w.waiters[0]);
    mg_pool_connect_failed(&w.pool);
    world_fini(&w);
}

static void accounts_at_one_address_keep_to_their_own_limits(void **state)
{
    world w;
    mg_pool_conn *conn = NULL;
    mg_pool_waiter *waiter = NULL;
    mg_pool_node node = { 0 };
    mg_pool second;
    mg_pool_conf tight;
    mg_pool_conn conns[2] = { 0 };

    (void)state;
    world_init(&w, 2);
    tight = pool_defaults;
    tight.max_connections = 1;
    tight.max_idle = 0;
    mg_pool_init(&second, &node, &w.idle_total, &w.rand);
    open_one(&w, 0);
    open_one(&w, 1);
    give(&w, 0, 0);
    /* Full there is not full here, and no idle connection goes from one to the other. */
    assert_int_equal(mg_pool_take(&second, &tight, 0, NULL, &conn), MG_POOL_CONNECT);
    mg_pool_opened(&second, &tight, &conns[0], 0);
    assert_int_equal(mg_pool_take(&second, &tight, 0, NULL, &conn), MG_POOL_FULL);
    assert_int_equal(mg_pool_give(&second, &tight, &conns[0], 0, 0, &waiter), MG_POOL_CLOSE);
    mg_pool_closed(&second, &conns[0]);
    assert_int_equal(w.node.idle, 1);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, NULL, &conn), MG_POOL_REUSED);
    give(&w, 0, 0);
    mg_pool_fini(&second);
    mg_pool_closed(&w.pool, &w.conns[1]);
    world_fini(&w);
}

static void requests_of_two_configurations_each_keep_to_theirs(void **state)
{
    world w;
    mg_pool_conf later;
    mg_pool_conn *conn = NULL;
    mg_pool_waiter *waiter = NULL;

    (void)state;
    world_init(&w, 2);
    later = w.conf;
    later.max_connections = 1;
    later.max_idle = 0;
    later.queue_timeout_ns = 5 * S;
    open_one(&w, 0);
    assert_int_equal(mg_pool_take(&w.pool, &later, 0, NULL, &conn), MG_POOL_FULL);
    assert_int_equal(mg_pool_take(&w.pool, &w.conf, 0, NULL, &conn), MG_POOL_CONNECT);
    mg_pool_opened(&w.pool, &w.conf, &w.conns[1], 0);
    assert_int_equal(mg_pool_take(&w.pool, &later, 0, &w.waiters[0], &conn), MG_POOL_WAIT);
    assert_true(w.waiters[0].expires_at_ns == 5 * S);
    mg_pool_closed(&w.pool, &w.conns[1]);
    assert_null(mg_pool_pop_ready(&w.pool)); /* one is open, and it wants no second one */
    assert_int_equal(mg_pool_give(&w.pool, &w.conf, &w.conns[0], 0, 0, &waiter), MG_POOL_HANDED);
    assert_int_equal(mg_pool_give(&w.pool, &later, &w.conns[0], 0, 0, &waiter), MG_POOL_CLOSE);
    mg_pool_closed(&w.pool, &w.conns[0]);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_latest_given_is_taken_first),
        cmocka_unit_test(at_the_limit_the_first_comer_gets_what_is_given_back),
        cmocka_unit_test(a_closed_connection_passes_its_slot_on),
        cmocka_unit_test(workers_share_the_limit_and_the_queue),
        cmocka_unit_test(a_newcomer_does_not_overtake_the_queue),
        cmocka_unit_test(idle_connections_and_waiters_time_out),
        cmocka_unit_test(what_the_loop_saw_closing_is_not_taken_again),
        cmocka_unit_test(a_connection_wears_out_by_requests_and_by_age),
        cmocka_unit_test(only_so_many_idle_at_once),
        cmocka_unit_test(a_shrunk_limit_closes_what_is_given_back),
        cmocka_unit_test(a_shrunk_idle_timeout_holds_for_what_idles_already),
        cmocka_unit_test(who_wants_a_new_connection_gets_no_used_one),
        cmocka_unit_test(accounts_at_one_address_keep_to_their_own_limits),
        cmocka_unit_test(requests_of_two_configurations_each_keep_to_theirs),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
