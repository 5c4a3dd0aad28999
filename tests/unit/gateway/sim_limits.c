/* sim_limits.c - limiters in the life of a request: who waits, who is refused, and what goes back however an
 * exchange ends. Time is the test's. */
#include "sim_world.h"

#define GET      "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define BAD      "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"

#define LIMITED(rules)                                                                                       \
    WEB QUIET SERVICE "limiters: {" rules "}\n"                                                              \
                      "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, plugins: [{ "   \
                      "limit: one }] }]\n"
#define LIMITED_BY(rules, items)                                                                             \
    WEB QUIET SERVICE "limiters: {" rules "}\n"                                                              \
                      "plugins: { p: { use: ./plugins/p, timeout: 5ms } }\n"                                 \
                      "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, plugins: "      \
                      "[" items "] }]\n"

/* More clients than the one of a line, and the upstream's connections. */
enum { CROWD = 4 };

typedef struct crowd {
    line l;
    int clients[CROWD];
    int ups[CROWD], up_count;
    int up_of[CROWD]; /* where the client's request arrived */
} crowd;

static void crowd_open(crowd *c, const char *config, const char *plugin)
{
    line_open(&c->l, config, plugin);
    c->up_count = 0;
    for (int i = 0; i < CROWD; i++) {
        c->clients[i] = dial(&c->l.w, "10.0.0.1", 80);
        c->ups[i] = c->up_of[i] = -1;
    }
}

static void crowd_close(crowd *c)
{
    for (int i = 0; i < CROWD; i++) {
        line_drop(&c->l, &c->clients[i]);
        line_drop(&c->l, &c->ups[i]);
    }
    line_close(&c->l);
}

static void ask(crowd *c, int who)
{
    say(&c->l.w, c->clients[who], GET);
}

/* A request that nobody had heard of has come upstream, and is this client's. */
static bool arrives(crowd *c, int who)
{
    for (int i = 0; i < CROWD; i++) {
        if (i == c->up_count) {
            const int fd = take(&c->l.w, c->l.upstream);
            if (fd < 0)
                return false;
            c->ups[c->up_count++] = fd;
        }
        if (c->ups[i] < 0)
            continue;
        (void)hear(&c->l.w, c->ups[i]); /* it may have been closed: its client left */
        c->up_of[who] = i;
        if (c->l.w.heard[0])
            return true;
    }
    return false;
}

static void says(crowd *c, int who, const char *response)
{
    say(&c->l.w, c->ups[c->up_of[who]], response);
}

static void breaks(crowd *c, int who)
{
    line_drop(&c->l, &c->ups[c->up_of[who]]);
}

static void answer(crowd *c, int who)
{
    says(c, who, OK_EMPTY);
    hear_status(&c->l.w, c->clients[who], "200");
}

static mg_worker *worker_of(crowd *c)
{
    return c->l.w.gateway->shared.workers[0];
}

static mg_limit_sum counted(crowd *c)
{
    mg_limit_stats *stats = mg_shared_limit_stats(worker_of(c)->gateway->shared);
    mg_limit_sum sum;

    mg_limit_stat_read(stats, mg_limit_stats_named(stats, MG_STR("one")), &sum);
    return sum;
}

/* What the limiter "one" has left for the key. */
static uint64_t left(crowd *c, const char *key)
{
    const mg_snapshot *snapshot = worker_of(c)->view->snapshot;
    mg_limiter_answer now;

    for (size_t i = 0; i < snapshot->config->limiter_count; i++)
        if (mg_str_eq(snapshot->limits[i].conf->name, MG_STR("one"))) {
            (void)mg_limiter_peek(snapshot->limits[i].limiter, key, strlen(key), 0,
                                  mg_shared_policy_now(worker_of(c)->gateway->shared), &now);
            return now.remaining;
        }
    fail();
    return 0;
}

/* ---- waits ---- */

static void requests_wait_their_turn(const char *config)
{
    crowd c;

    crowd_open(&c, config, NULL);
    for (int i = 0; i < 4; i++)
        ask(&c, i);
    assert_true(arrives(&c, 0));
    hear_status(&c.l.w, c.clients[3], "429");
    assert_has(c.l.w.heard, "retry-after: 1\r\n");
    assert_has(c.l.w.heard, "\"violated-policies\":[\"one\"]");
    for (int i = 1; i < 3; i++) {
        advance(&c.l.w, 99 * MS);
        assert_false(arrives(&c, i));
        advance(&c.l.w, 1 * MS);
        assert_true(arrives(&c, i));
    }
    for (int i = 0; i < 3; i++)
        answer(&c, i);
    ask(&c, 0); /* who waited is charged all the same */
    advance(&c.l.w, 99 * MS);
    assert_false(arrives(&c, 0));
    advance(&c.l.w, 1 * MS);
    assert_true(arrives(&c, 0));
    assert_int_equal(counted(&c).allow, 4);
    assert_int_equal(counted(&c).deny, 1);
    crowd_close(&c);
}

static void a_bucket_with_max_wait_lets_requests_wait(void **state)
{
    (void)state;
    requests_wait_their_turn(LIMITED(" one: { rate: 10/s, burst: 1, max_wait: 250ms } "));
}

static void a_leaky_bucket_lets_them_go_one_after_the_other(void **state)
{
    (void)state;
    requests_wait_their_turn(LIMITED(" one: { algorithm: leaky, rate: 10/s, max_wait: 250ms } "));
}

static void the_longest_wait_of_all_rules_counts(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c,
               LIMITED_BY(" one: { rate: 10/s, burst: 1, max_wait: 1s }, two: { algorithm: leaky, rate: 4/s, "
                          "max_wait: 1s } ",
                          "{ limit: one }, { limit: two }"),
               HANDLER("next(ctx)"));
    ask(&c, 0);
    ask(&c, 1);
    assert_true(arrives(&c, 0));
    advance(&c.l.w, 249 * MS);
    assert_false(arrives(&c, 1));
    advance(&c.l.w, 1 * MS);
    assert_true(arrives(&c, 1));
    crowd_close(&c);
}

static void who_leaves_while_waiting_is_not_charged(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED(" one: { rate: 10/s, burst: 1, max_wait: 250ms } "), NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    ask(&c, 1);
    advance(&c.l.w, 50 * MS);
    hang_up_hard(&c.l.w, c.clients[1]);
    c.clients[1] = -1;
    ask(&c, 2);
    advance(&c.l.w, 49 * MS);
    assert_false(arrives(&c, 2));
    advance(&c.l.w, 1 * MS); /* the turn that was given back */
    assert_true(arrives(&c, 2));
    advance(&c.l.w, 500 * MS);
    assert_int_equal(take(&c.l.w, c.l.upstream), -1);
    crowd_close(&c);
}

static void a_body_is_left_alone_while_its_request_waits(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED(" one: { rate: 10/s, burst: 1, max_wait: 250ms } "), NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    say(&c.l.w, c.clients[1], "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n");
    advance(&c.l.w, 99 * MS);
    assert_int_equal(hear(&c.l.w, c.clients[1]), HEAR_OPEN);
    assert_string_equal(c.l.w.heard, "");
    advance(&c.l.w, 1 * MS);
    assert_int_equal(hear(&c.l.w, c.clients[1]), HEAR_END);
    assert_starts(c.l.w.heard, "HTTP/1.1 400 ");
    crowd_close(&c);
}

static void a_wait_beyond_the_deadline_is_refused_at_once_and_not_charged(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c,
               WEB QUIET SERVICE
               "limiters: { one: { rate: 1/s, burst: 1, max_wait: 10s } }\n"
               "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, timeout: "
               "1s, plugins: [{ limit: one }] }]\n",
               NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    ask(&c, 1);
    hear_status(&c.l.w, c.clients[1], "429");
    assert_has(c.l.w.heard, "retry-after: 1\r\n");
    answer(&c, 0);
    advance(&c.l.w, 12 * MS);
    ask(&c, 1); /* still too long: an upstream gets 10 ms at least, and that is nine tenths of what is left */
    hear_status(&c.l.w, c.clients[1], "429");
    advance(&c.l.w, 1 * MS);
    ask(&c, 1); /* 987 ms: just right, as nothing was charged */
    advance(&c.l.w, 986 * MS);
    assert_false(arrives(&c, 1));
    advance(&c.l.w, 1 * MS);
    assert_true(arrives(&c, 1));
    crowd_close(&c);
}

static void a_limiter_behind_a_plugin_waits_too_and_the_plugins_timeout_is_not_for_that(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED_BY(" one: { rate: 10/s, burst: 1, max_wait: 250ms } ", "p, { limit: one }"),
               HANDLER("next(ctx)"));
    ask(&c, 0);
    ask(&c, 1);
    assert_true(arrives(&c, 0));
    advance(&c.l.w, 99 * MS);
    assert_false(arrives(&c, 1));
    advance(&c.l.w, 1 * MS);
    assert_true(arrives(&c, 1));
    answer(&c, 1);
    ask(&c, 2);
    hang_up_hard(&c.l.w, c.clients[2]);
    c.clients[2] = -1;
    advance(&c.l.w, 100 * MS);
    assert_int_equal(left(&c, "10.0.0.255/32"), 1);
    ask(&c, 3); /* the turn of who left */
    assert_true(arrives(&c, 3));
    assert_null(strstr(c.l.w.logged.p, "plugin_error"));
    crowd_close(&c);
}

/* ---- refusals ---- */

static void windows_count_and_refuse(void **state)
{
    static const char *const configs[] = {
        LIMITED(" one: { algorithm: sliding_window, quota: 2, window: 1s } "),
        LIMITED(" one: { algorithm: sliding_log, quota: 2, window: 1s } "),
        LIMITED(" one: { algorithm: fixed_window, quota: 2, window: 1s } "),
    };

    (void)state;
    for (size_t i = 0; i < sizeof configs / sizeof *configs; i++) {
        crowd c;
        crowd_open(&c, configs[i], NULL);
        for (int k = 0; k < 2; k++) {
            ask(&c, 0);
            assert_true(arrives(&c, 0));
            answer(&c, 0);
            assert_has(c.l.w.heard, "ratelimit-policy: \"one\";q=2;w=1\r\n");
        }
        ask(&c, 0);
        hear_status(&c.l.w, c.clients[0], "429");
        advance(&c.l.w, 2000 * MS);
        ask(&c, 0);
        assert_true(arrives(&c, 0));
        crowd_close(&c);
    }
}

static void who_is_refused_by_one_rule_is_charged_by_none(void **state)
{
    crowd c;

    (void)state;
    crowd_open(
        &c,
        LIMITED_BY(" one: { rate: 5/h }, two: { rate: 1/h, key: global } ", "{ limit: one }, { limit: two }"),
        HANDLER("next(ctx)"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    answer(&c, 0);
    for (int i = 0; i < 3; i++) {
        ask(&c, 0);
        hear_status(&c.l.w, c.clients[0], "429");
        assert_has(c.l.w.heard, "\"violated-policies\":[\"two\"]");
    }
    const mg_limit_sum sum = counted(&c);
    assert_int_equal(sum.allow, 1);
    assert_int_equal(sum.deny, 0);
    crowd_close(&c);
}

static void a_shadow_counts_and_never_refuses(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED(" one: { rate: 1/h, mode: shadow } "), NULL);
    for (int i = 0; i < 3; i++) {
        ask(&c, 0);
        assert_true(arrives(&c, 0));
        answer(&c, 0);
        assert_null(strstr(c.l.w.heard, "ratelimit"));
    }
    const mg_limit_sum sum = counted(&c);
    assert_int_equal(sum.allow, 1);
    assert_int_equal(sum.shadow_deny, 2);
    assert_int_equal(sum.deny, 0);
    crowd_close(&c);
}

static void a_denying_rule_refuses_and_says_no_time(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED(" one: { mode: deny } "), NULL);
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "429");
    assert_null(strstr(c.l.w.heard, "retry-after"));
    assert_int_equal(counted(&c).deny, 1);
    crowd_close(&c);
}

static void a_missing_key_goes_by_the_address_which_no_field_can_name(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED(" one: { rate: 1/h, key: \"header:x-user\" } "), NULL);
    say(&c.l.w, c.clients[1], "GET / HTTP/1.1\r\nhost: a\r\nx-user: 10.0.0.255/32\r\n\r\n");
    assert_true(arrives(&c, 1));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    answer(&c, 0);
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "429");
    crowd_close(&c);
}

static void decisions_in_shared_buckets_are_counted(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED(" one: { rate: 1/h, key: \"header:x-user\", max_keys: 1, overflow_cells: 1 } "),
               NULL);
    for (int i = 0; i < 20; i++) {
        char request[80];
        snprintf(request, sizeof request, "GET / HTTP/1.1\r\nhost: a\r\nx-user: u%d\r\n\r\n", i);
        say(&c.l.w, c.clients[0], request);
        if (arrives(&c, 0))
            answer(&c, 0);
        else
            hear_status(&c.l.w, c.clients[0], "429");
    }
    const mg_limit_sum sum = counted(&c);
    assert_int_equal(sum.allow + sum.deny, 20);
    assert_int_equal(sum.overflow, sum.deny + 1); /* one of those in the shared bucket was let pass */
    assert_in_range(sum.deny, 10, 19);
    crowd_close(&c);
}

static void more_rules_than_usual_are_all_kept(void **state)
{
    mg_text config = { 0 };
    crowd c;

    (void)state;
    mg_text_add_c(&config, WEB QUIET SERVICE "limiters: { one: { rate: 1/h }");
    for (int i = 0; i < 20; i++)
        mg_text_addf(&config, ", r%d: { rate: 9/h }", i);
    mg_text_add_c(&config,
                  " }\nroutes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, plugins: [");
    for (int i = 0; i < 20; i++)
        mg_text_addf(&config, "{ limit: r%d }, ", i);
    mg_text_add_c(&config, "{ limit: one }] }]\n");
    crowd_open(&c, config.p, NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    answer(&c, 0);
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "429");
    assert_has(c.l.w.heard, "\"violated-policies\":[\"one\"]");
    crowd_close(&c);
    mg_text_fini(&config);
}

static void hot_keys_are_sampled(void **state)
{
    crowd c;
    mg_limiter_hot hot[MG_LIMITER_HOT];

    (void)state;
    crowd_open(&c, LIMITED(" one: { rate: 1000/s, key: \"header:x-user\" } "), NULL);
    for (int i = 0; i < 200; i++) {
        say(&c.l.w, c.clients[0], "GET / HTTP/1.1\r\nhost: a\r\nx-user: bob\r\n\r\n");
        assert_true(arrives(&c, 0));
        answer(&c, 0);
    }
    assert_int_equal(mg_limiter_hottest(worker_of(&c)->view->snapshot->limits[0].limiter, hot), 1);
    assert_int_equal(hot[0].n, 3);
    assert_memory_equal(hot[0].key, "bob", 3);
    assert_in_range(hot[0].seen, 3, 40);
    crowd_close(&c);
}

/* ---- permits ---- */

#define PERMITS LIMITED(" one: { algorithm: concurrency, quota: 2, key: global } ")

static void two_at_once_and_the_third_is_told_to_come_again(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0);
    ask(&c, 1);
    assert_true(arrives(&c, 0) && arrives(&c, 1));
    ask(&c, 2);
    hear_status(&c.l.w, c.clients[2], "503");
    assert_has(c.l.w.heard, "retry-after: 1\r\n");
    assert_has(c.l.w.heard, "ratelimit: \"one\";r=0;t=1\r\n");
    assert_null(strstr(c.l.w.heard, "violated-policies"));
    assert_int_equal(left(&c, "*"), 0);
    answer(&c, 0);
    assert_int_equal(left(&c, "*"), 1);
    ask(&c, 2);
    assert_true(arrives(&c, 2));
    crowd_close(&c);
}

static void a_permit_is_held_until_the_last_byte(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    says(&c, 0, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    hear_status(&c.l.w, c.clients[0], "200");
    assert_int_equal(left(&c, "*"), 1);
    says(&c, 0, "lo");
    assert_int_equal(left(&c, "*"), 2);
    crowd_close(&c);
}

static void a_permit_comes_back_once_whatever_ends_the_exchange(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0); /* the client leaves */
    assert_true(arrives(&c, 0));
    hang_up_hard(&c.l.w, c.clients[0]);
    c.clients[0] = -1;
    assert_int_equal(left(&c, "*"), 2);
    ask(&c, 1); /* the upstream breaks */
    assert_true(arrives(&c, 1));
    breaks(&c, 1);
    hear_status(&c.l.w, c.clients[1], "502");
    assert_int_equal(left(&c, "*"), 2);
    ask(&c, 2); /* its response is cut short */
    assert_true(arrives(&c, 2));
    says(&c, 2, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel");
    breaks(&c, 2);
    (void)hear(&c.l.w, c.clients[2]);
    assert_int_equal(left(&c, "*"), 2);
    ask(&c, 3); /* the deadline passes */
    assert_true(arrives(&c, 3));
    assert_int_equal(left(&c, "*"), 1);
    advance(&c.l.w, 15001 * MS);
    hear_status(&c.l.w, c.clients[3], "504");
    assert_int_equal(left(&c, "*"), 2);
    crowd_close(&c);
}

static void a_worker_that_closes_returns_what_its_exchanges_hold(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    assert_int_equal(left(&c, "*"), 1);
    mg_worker_cut(worker_of(&c));
    assert_int_equal(left(&c, "*"), 2);
    crowd_close(&c);
}

static void a_permit_finds_its_way_back_past_a_reload(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, PERMITS, NULL);
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    c.l.w.next = LIMITED(" one: { algorithm: concurrency, quota: 3, key: global } ");
    mg_gateway_reload(c.l.w.gateway);
    settle(&c.l.w);
    assert_int_equal(left(&c, "*"), 2);
    answer(&c, 0);
    assert_int_equal(left(&c, "*"), 3);
    assert_int_equal(counted(&c).allow, 1); /* the count is the name's, not the configuration's */
    crowd_close(&c);
}

/* ---- what plugins reserve ---- */

#define RESERVING                                                                                            \
    "local turn = ctx.limit:reserve('one', 'k', 2)\n"                                                        \
    "if not turn then return ctx:respond(429, 'later') end\n"
#define TEN LIMITED_BY(" one: { rate: 10/h } ", "p")

static void a_reservation_goes_back_when_nobody_keeps_it(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN, HANDLER(RESERVING "next(ctx)"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    assert_int_equal(left(&c, "k"), 8);
    answer(&c, 0);
    assert_int_equal(left(&c, "k"), 10);
    crowd_close(&c);
}

static void a_reservation_goes_back_when_the_client_leaves(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN, HANDLER(RESERVING "next(ctx)\nturn:commit()"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    assert_int_equal(left(&c, "k"), 8);
    hang_up_hard(&c.l.w, c.clients[0]);
    c.clients[0] = -1;
    assert_int_equal(left(&c, "k"), 10);
    crowd_close(&c);
}

static void a_reservation_goes_back_when_a_plugin_raises(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN, HANDLER(RESERVING "error('broken')"));
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "500");
    assert_int_equal(left(&c, "k"), 10);
    crowd_close(&c);
}

static void a_reservation_goes_back_when_the_worker_closes(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN, HANDLER(RESERVING "ctx:sleep(3)\nnext(ctx)"));
    ask(&c, 0);
    assert_int_equal(left(&c, "k"), 8);
    mg_worker_cut(worker_of(&c));
    assert_int_equal(left(&c, "k"), 10);
    crowd_close(&c);
}

/* The policy stands round next: who gets nothing for it is not charged. */
static void a_handler_wraps_a_policy_round_next(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, TEN,
               HANDLER(RESERVING "next(ctx)\n"
                                 "if ctx.response.status >= 500 then turn:cancel() else turn:commit() end"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    says(&c, 0, BAD);
    hear_status(&c.l.w, c.clients[0], "503");
    assert_int_equal(left(&c, "k"), 10);
    for (int i = 0; i < 5; i++) {
        ask(&c, 0);
        assert_true(arrives(&c, 0));
        answer(&c, 0);
    }
    assert_int_equal(left(&c, "k"), 0);
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "429");
    crowd_close(&c);
}

static void a_reservation_of_a_permit_holds_it_until_the_end(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, LIMITED_BY(" one: { algorithm: concurrency, quota: 2 } ", "p"),
               HANDLER("local a = ctx.limit:reserve('one', 'k')\n"
                       "local b = ctx.limit:reserve('one', 'k')\n"
                       "assert(a and b and not ctx.limit:reserve('one', 'k'))\n"
                       "assert(b:commit() and a:cancel() and not a:cancel() and not b:cancel())\n"
                       "next(ctx)"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    assert_int_equal(left(&c, "k"), 1);
    answer(&c, 0);
    assert_int_equal(left(&c, "k"), 2);
    crowd_close(&c);
}

static void a_plugin_may_wait_for_what_it_reserved(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c,
               WEB QUIET SERVICE
               "limiters: { one: { rate: 10/s, burst: 1 } }\n"
               "plugins: { p: { use: ./plugins/p } }\n"
               "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, timeout: "
               "150ms, plugins: [p] }]\n",
               HANDLER("local turn, retry_ms = ctx.limit:reserve('one', 'k', 1, 10)\n"
                       "if not turn then return ctx:respond(429, tostring(retry_ms)) end\n"
                       "if turn.wait > 0 then ctx:sleep(turn.wait) end\n"
                       "next(ctx)\nturn:commit()"));
    ask(&c, 0);
    ask(&c, 1);
    ask(&c, 2); /* 200 ms are more than its deadline leaves */
    assert_true(arrives(&c, 0));
    hear_status(&c.l.w, c.clients[2], "429");
    assert_ends(c.l.w.heard, "\r\n\r\n200");
    advance(&c.l.w, 99 * MS);
    assert_false(arrives(&c, 1));
    advance(&c.l.w, 1 * MS);
    assert_true(arrives(&c, 1));
    crowd_close(&c);
}

static void a_probe_that_its_client_left_is_not_lost(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, WEB QUIET SERVICE ROUTE_P,
               "local mg = require 'moongate'\n"
               "local plugin = { name = 'p', version = '1.0.0' }\n"
               "function plugin.new()\n"
               "local b = mg.breaker { failures = 1, open_for = 1, probes = 1, jitter = 0 }\n"
               "return function(ctx, next)\n"
               "local what = ctx.request:query_param('do')\n"
               "if what == 'state' then return ctx:respond(200, b:state()) end\n"
               "local ticket = b:ask()\n"
               "if not ticket then return ctx:respond(503, 'open') end\n"
               "if what == 'fail' then b:finish(ticket, 'fail') return ctx:respond(200) end\n"
               "ctx:sleep(1)\n"
               "b:finish(ticket, 'ok')\n"
               "ctx:respond(200)\n"
               "end\nend\nreturn plugin\n");
    say(&c.l.w, c.clients[0], "GET /?do=fail HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&c.l.w, c.clients[0], "200");
    advance(&c.l.w, 1000 * MS);
    ask(&c, 1); /* the probe */
    say(&c.l.w, c.clients[0], GET);
    hear_status(&c.l.w, c.clients[0], "503");
    hang_up_hard(&c.l.w, c.clients[1]);
    c.clients[1] = -1;
    ask(&c, 2); /* another one may go at once */
    advance(&c.l.w, 1000 * MS);
    hear_status(&c.l.w, c.clients[2], "200");
    say(&c.l.w, c.clients[0], "GET /?do=state HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&c.l.w, c.clients[0], "200");
    assert_ends(c.l.w.heard, "\r\n\r\nclosed");
    crowd_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_with_max_wait_lets_requests_wait),
        cmocka_unit_test(a_leaky_bucket_lets_them_go_one_after_the_other),
        cmocka_unit_test(the_longest_wait_of_all_rules_counts),
        cmocka_unit_test(who_leaves_while_waiting_is_not_charged),
        cmocka_unit_test(a_body_is_left_alone_while_its_request_waits),
        cmocka_unit_test(a_wait_beyond_the_deadline_is_refused_at_once_and_not_charged),
        cmocka_unit_test(a_limiter_behind_a_plugin_waits_too_and_the_plugins_timeout_is_not_for_that),
        cmocka_unit_test(windows_count_and_refuse),
        cmocka_unit_test(who_is_refused_by_one_rule_is_charged_by_none),
        cmocka_unit_test(a_shadow_counts_and_never_refuses),
        cmocka_unit_test(a_denying_rule_refuses_and_says_no_time),
        cmocka_unit_test(a_missing_key_goes_by_the_address_which_no_field_can_name),
        cmocka_unit_test(decisions_in_shared_buckets_are_counted),
        cmocka_unit_test(more_rules_than_usual_are_all_kept),
        cmocka_unit_test(hot_keys_are_sampled),
        cmocka_unit_test(two_at_once_and_the_third_is_told_to_come_again),
        cmocka_unit_test(a_permit_is_held_until_the_last_byte),
        cmocka_unit_test(a_permit_comes_back_once_whatever_ends_the_exchange),
        cmocka_unit_test(a_worker_that_closes_returns_what_its_exchanges_hold),
        cmocka_unit_test(a_permit_finds_its_way_back_past_a_reload),
        cmocka_unit_test(a_reservation_goes_back_when_nobody_keeps_it),
        cmocka_unit_test(a_reservation_goes_back_when_the_client_leaves),
        cmocka_unit_test(a_reservation_goes_back_when_a_plugin_raises),
        cmocka_unit_test(a_reservation_goes_back_when_the_worker_closes),
        cmocka_unit_test(a_handler_wraps_a_policy_round_next),
        cmocka_unit_test(a_reservation_of_a_permit_holds_it_until_the_end),
        cmocka_unit_test(a_plugin_may_wait_for_what_it_reserved),
        cmocka_unit_test(a_probe_that_its_client_left_is_not_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
