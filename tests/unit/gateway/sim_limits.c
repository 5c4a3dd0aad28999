/* sim_limits.c - limiters in the life of a request: who waits, and who is refused. Time is the test's. */
#include "sim_crowd.h"

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

/* Chains know limiters by their place in the document: plans may be equal where the names are not. */
static void a_reload_that_orders_limiters_anew_leaves_each_chain_its_own(void **state)
{
    static const char one_first[] =
        LIMITED_BY(" one: { rate: 1/h }, two: { rate: 2/h } ", "p, { limit: one }"),
                      two_first[] =
                          LIMITED_BY(" two: { rate: 2/h }, one: { rate: 1/h } ", "p, { limit: two }"),
                      one_last[] =
                          LIMITED_BY(" two: { rate: 2/h }, one: { rate: 1/h } ", "p, { limit: one }");
    crowd c;

    (void)state;
    crowd_open(&c, one_first, HANDLER("next(ctx)"));
    ask(&c, 0);
    assert_true(arrives(&c, 0));
    answer(&c, 0);
    c.l.w.next = two_first;
    mg_gateway_reload(c.l.w.gateway);
    settle(&c.l.w);
    for (int i = 0; i < 2; i++) {
        ask(&c, 0);
        assert_true(arrives(&c, 0));
        answer(&c, 0);
    }
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "429");
    assert_has(c.l.w.heard, "\"violated-policies\":[\"two\"]");
    c.l.w.next = one_last;
    mg_gateway_reload(c.l.w.gateway);
    settle(&c.l.w);
    ask(&c, 0);
    hear_status(&c.l.w, c.clients[0], "429");
    assert_has(c.l.w.heard, "\"violated-policies\":[\"one\"]");
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
        cmocka_unit_test(a_reload_that_orders_limiters_anew_leaves_each_chain_its_own),
        cmocka_unit_test(a_shadow_counts_and_never_refuses),
        cmocka_unit_test(a_denying_rule_refuses_and_says_no_time),
        cmocka_unit_test(a_missing_key_goes_by_the_address_which_no_field_can_name),
        cmocka_unit_test(decisions_in_shared_buckets_are_counted),
        cmocka_unit_test(more_rules_than_usual_are_all_kept),
        cmocka_unit_test(hot_keys_are_sampled),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
