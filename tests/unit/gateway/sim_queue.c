/* sim_queue.c - requests that wait for a limiter's turn, and those among them that leave: whoever stands
 * behind them moves up, at whichever worker it is. */
#include "sim_crowd.h"

enum { QUEUE = 18, GONE = 15 };

typedef struct queue {
    world w;
    int upstream, clients[QUEUE], ups[QUEUE];
    unsigned arrived;
} queue;

static void queue_open(queue *q, const char *config, const char *plugin, unsigned workers)
{
    *q = (queue){ .arrived = 0 };
    world_init(&q->w, 1, workers);
    if (plugin)
        world_plugin(&q->w, "p", plugin);
    assert_true(world_try_start(&q->w, 1, config));
    q->upstream = listen_at(&q->w, "10.0.0.2", 9000);
    for (int i = 0; i < QUEUE; i++)
        q->clients[i] = dial(&q->w, "10.0.0.1", 80);
}

static void queue_close(queue *q)
{
    for (int i = 0; i < QUEUE; i++)
        if (q->clients[i] >= 0)
            hang_up(&q->w, q->clients[i]);
    while (q->arrived)
        hang_up(&q->w, q->ups[--q->arrived]);
    hang_up(&q->w, q->upstream);
    settle(&q->w);
    assert_int_equal(world_live_exchanges(&q->w), 0);
    world_close(&q->w);
}

static void ask_all(queue *q, const char *request)
{
    for (int i = 0; i < QUEUE; i++)
        say(&q->w, q->clients[i], request);
}

static void leaves(queue *q, int client)
{
    hang_up_hard(&q->w, q->clients[client]);
    q->clients[client] = -1;
}

/* How many requests have come upstream since this was asked last. */
static unsigned came(queue *q)
{
    const unsigned before = q->arrived;
    int fd;

    settle(&q->w);
    while (q->arrived < QUEUE && (fd = take(&q->w, q->upstream)) >= 0)
        q->ups[q->arrived++] = fd;
    return q->arrived - before;
}

/* Of eighteen one goes, fifteen leave with the oldest first, and two are left. */
static void the_oldest_leave(const char *config, const char *plugin, unsigned workers)
{
    queue q;

    queue_open(&q, config, plugin, workers);
    ask_all(&q, GET);
    assert_int_equal(came(&q), 1);
    advance(&q.w, 50 * MS);
    for (int i = 1; i <= GONE; i++)
        leaves(&q, i);
    advance(&q.w, 49 * MS);
    assert_int_equal(came(&q), 0);
    advance(&q.w, 1 * MS);
    assert_int_equal(came(&q), 1);
    advance(&q.w, 99 * MS);
    assert_int_equal(came(&q), 0);
    advance(&q.w, 1 * MS);
    assert_int_equal(came(&q), 1);
    advance(&q.w, 3000 * MS);
    assert_int_equal(came(&q), 0);
    queue_close(&q);
}

static void those_behind_whoever_leaves_move_up(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 3; workers++) {
        the_oldest_leave(LIMITED(" one: { algorithm: leaky, rate: 10/s, key: global, max_wait: 3s } "), NULL,
                         workers);
        the_oldest_leave(LIMITED(" one: { rate: 10/s, burst: 1, key: global, max_wait: 3s } "), NULL,
                         workers);
    }
}

static void also_behind_a_plugin(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 2; workers++)
        the_oldest_leave(LIMITED_BY(" one: { algorithm: leaky, rate: 10/s, key: global, max_wait: 3s } ",
                                    "p, { limit: one }"),
                         HANDLER("next(ctx)"), workers);
}

static void also_where_two_rules_make_them_wait(void **state)
{
    (void)state;
    the_oldest_leave(LIMITED_BY(" one: { algorithm: leaky, rate: 10/s, key: global, max_wait: 3s }, "
                                "two: { rate: 20/s, burst: 1, key: global, max_wait: 3s } ",
                                "{ limit: two }, { limit: one }"),
                     HANDLER("next(ctx)"), 2);
}

static void also_behind_a_plugin_that_sleeps_for_what_it_reserved(void **state)
{
    queue q;

    (void)state;
    queue_open(&q,
               WEB QUIET SERVICE
               "limiters: { one: { algorithm: leaky, rate: 10/s, key: global, max_wait: 3s } }\n"
               "plugins: { p: { use: ./plugins/p } }\n"
               "routes: [{ name: slow, match: { paths: [{ prefix: /slow }] }, service: up, plugins: [p] }, { "
               "name: all, match: { paths: [{ prefix: / }] }, service: up, plugins: [{ limit: one }] }]\n",
               HANDLER("local turn = assert(ctx.limit:reserve('one', '*', 1))\n"
                       "ctx:sleep(turn.wait)\nnext(ctx)\nturn:commit()"),
               2);
    say(&q.w, q.clients[0], GET);
    for (int i = 1; i <= GONE; i++)
        say(&q.w, q.clients[i], "GET /slow HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&q.w, q.clients[GONE + 1], GET);
    assert_int_equal(came(&q), 1);
    advance(&q.w, 50 * MS);
    for (int i = 1; i <= GONE; i++)
        leaves(&q, i);
    advance(&q.w, 49 * MS);
    assert_int_equal(came(&q), 0);
    advance(&q.w, 1 * MS);
    assert_int_equal(came(&q), 1);
    queue_close(&q);
}

/* Whoever waits keeps its turn, those who come afterwards stand behind it. */
static void a_reload_with_another_rate_keeps_the_turns_apart(void **state)
{
    static const char slow[] = LIMITED(" one: { algorithm: leaky, rate: 10/s, key: global, max_wait: 1s } "),
                      fast[] =
                          LIMITED(" one: { algorithm: leaky, rate: 20/s, key: global, max_wait: 100ms } ");
    queue q;

    (void)state;
    queue_open(&q, slow, NULL, 2);
    for (int i = 0; i < 9; i++)
        say(&q.w, q.clients[i], GET);
    assert_int_equal(came(&q), 1);
    q.w.next = fast;
    mg_gateway_reload(q.w.gateway);
    settle(&q.w);
    say(&q.w, q.clients[9], GET); /* its turn would be at 900 ms, and no more than 100 may be waited now */
    hear_status(&q.w, q.clients[9], "429");
    for (int i = 1; i < 9; i++) {
        advance(&q.w, 99 * MS);
        assert_int_equal(came(&q), 0);
        advance(&q.w, 1 * MS);
        assert_int_equal(came(&q), 1);
    }
    say(&q.w, q.clients[9], GET);
    advance(&q.w, 100 * MS);
    assert_int_equal(came(&q), 1);
    queue_close(&q);
}

/* What a client sent stands before its end, and is not read while its request waits. */
static void leaves_with_bytes_behind_its_head(const char *request, bool hard)
{
    queue q;

    queue_open(&q, LIMITED(" one: { algorithm: leaky, rate: 10/s, key: global, max_wait: 3s } "), NULL, 2);
    say(&q.w, q.clients[0], GET);
    for (int i = 1; i <= GONE; i++)
        say(&q.w, q.clients[i], request);
    say(&q.w, q.clients[GONE + 1], GET);
    assert_int_equal(came(&q), 1);
    for (int i = 1; i <= GONE; i++) {
        if (hard)
            hang_up_hard(&q.w, q.clients[i]);
        else
            hang_up(&q.w, q.clients[i]);
        q.clients[i] = -1;
    }
    assert_int_equal(world_live_exchanges(&q.w), 2);
    advance(&q.w, 99 * MS);
    assert_int_equal(came(&q), 0);
    advance(&q.w, 1 * MS);
    assert_int_equal(came(&q), 1);
    queue_close(&q);
}

static void also_behind_those_with_a_body(void **state)
{
    char pipelined[64 * 1024] = GET;
    size_t n = strlen(pipelined);

    (void)state;
    while (n < 40 * 1024)
        n += (size_t)snprintf(pipelined + n, sizeof(pipelined) - n, "%s", GET);
    for (int hard = 0; hard < 2; hard++) {
        leaves_with_bytes_behind_its_head("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc",
                                          hard);
        leaves_with_bytes_behind_its_head("POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 9\r\n\r\nabc",
                                          hard);
        leaves_with_bytes_behind_its_head(
            "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3", hard);
        leaves_with_bytes_behind_its_head(
            "POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n", hard);
        leaves_with_bytes_behind_its_head(pipelined, hard);
    }
}

/* There are clients that post something and do not wait for the answer. */
static void what_does_not_wait_is_sent_for_those_who_have_left(void **state)
{
    static const char post[] = "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc";
    const struct iovec part = { (void *)(uintptr_t)post, sizeof(post) - 1 };
    queue q;

    (void)state;
    queue_open(&q, WEB QUIET SERVICE ROUTE, NULL, 1);
    assert_int_equal(q.w.outside->ops->send(q.w.outside, q.clients[0], &part, 1), (ssize_t)part.iov_len);
    hang_up(&q.w, q.clients[0]); /* the gateway hears of both at once */
    q.clients[0] = -1;
    assert_int_equal(came(&q), 1);
    (void)hear(&q.w, q.ups[0]);
    assert_starts(q.w.heard, "POST /a HTTP/1.1\r\n");
    assert_ends(q.w.heard, "\r\n\r\nabc");
    queue_close(&q);
}

static void nobody_moves_up_for_whoever_has_gone(void **state)
{
    queue q;

    (void)state;
    queue_open(&q, LIMITED(" one: { algorithm: leaky, rate: 10/s, key: global, max_wait: 3s } "), NULL, 2);
    for (int i = 0; i < 4; i++)
        say(&q.w, q.clients[i], GET);
    assert_int_equal(came(&q), 1);
    advance(&q.w, 100 * MS);
    assert_int_equal(came(&q), 1);
    leaves(&q, 0);
    leaves(&q, 1);
    advance(&q.w, 99 * MS);
    assert_int_equal(came(&q), 0);
    advance(&q.w, 1 * MS);
    assert_int_equal(came(&q), 1);
    queue_close(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(those_behind_whoever_leaves_move_up),
        cmocka_unit_test(also_behind_a_plugin),
        cmocka_unit_test(also_where_two_rules_make_them_wait),
        cmocka_unit_test(also_behind_a_plugin_that_sleeps_for_what_it_reserved),
        cmocka_unit_test(also_behind_those_with_a_body),
        cmocka_unit_test(what_does_not_wait_is_sent_for_those_who_have_left),
        cmocka_unit_test(a_reload_with_another_rate_keeps_the_turns_apart),
        cmocka_unit_test(nobody_moves_up_for_whoever_has_gone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
