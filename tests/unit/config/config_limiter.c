/* Limiters of every algorithm: what is read, and what an operator is told of one that cannot work. */
#include "config_told.h"

static mg_config *load(const char *text)
{
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_text("m.yaml", mg_str_of(text), NULL, &report);

    assert_int_equal(report.errors, 0);
    assert_non_null(config);
    mg_report_fini(&report);
    return config;
}

static void a_rate_and_a_quota_with_its_window_read_the_same(void **state)
{
    mg_config *config = load(HEAD "limiters:\n"
                                  "  a: { rate: 100/m, burst: 5, max_wait: 2s, max_keys: 8 }\n"
                                  "  b: { quota: 100, window: 60s, burst: 5, max_wait: 2s, max_keys: 8 }\n");

    (void)state;
    assert_int_equal(config->limiters[0]->conf.limit, 100);
    assert_int_equal(config->limiters[0]->conf.period_ms, 60000);
    assert_int_equal(config->limiters[0]->conf.burst, 5);
    assert_int_equal(config->limiters[0]->conf.max_wait_ms, 2000);
    assert_int_equal(config->limiters[0]->conf.max_keys, 8);
    assert_int_equal(config->limiters[1]->conf.limit, 100);
    assert_int_equal(config->limiters[1]->conf.period_ms, 60000);
    assert_int_equal(config->limiters[1]->conf.burst, 5);
    mg_config_free(config);
}

static void every_algorithm_is_read_as_one_that_can_be_made(void **state)
{
    mg_config *config =
        load(HEAD "limiters:\n"
                  "  a: { algorithm: token_bucket, rate: 10/s, max_keys: 8 }\n"
                  "  b: { algorithm: sliding_window, quota: 16777216, window: 1h, max_keys: 8 }\n"
                  "  c: { algorithm: sliding_log, quota: 2000, window: 90s, max_entries: 2000, max_keys: 8, "
                  "overflow_cells: 4 }\n"
                  "  d: { algorithm: fixed_window, rate: 1000000/s, max_keys: 8 }\n"
                  "  e: { algorithm: leaky, rate: 10/s, max_wait: 60s, cost: 50, max_keys: 8 }\n"
                  "  f: { algorithm: concurrency, quota: 10, max_keys: 8 }\n");

    (void)state;
    for (size_t i = 0; i < config->limiter_count; i++) {
        const mg_limiter_conf *conf = &config->limiters[i]->conf;
        mg_error err = MG_ERROR_INIT;
        mg_limiter *limiter = mg_limiter_new(conf, &err);
        assert_string_equal(err.message, "");
        assert_non_null(limiter);
        mg_limiter_free(limiter);
        assert_int_equal(conf->algorithm, i);
    }
    assert_int_equal(config->limiters[1]->conf.limit, 1 << 24);
    assert_int_equal(config->limiters[1]->conf.period_ms, 3600000);
    assert_int_equal(config->limiters[2]->conf.max_entries, 2000);
    assert_int_equal(config->limiters[4]->conf.max_wait_ms, 60000);
    assert_int_equal(config->limiters[4]->cost, 50);
    assert_int_equal(config->limiters[5]->conf.limit, 10);
    mg_config_free(config);
}

static void a_document_printed_with_its_defaults_reads_the_same(void **state)
{
    mg_config *config = load(HEAD "limiters:\n"
                                  "  a: { rate: 10/s }\n"
                                  "  b: { algorithm: sliding_window, rate: 10/s }\n"
                                  "  c: { algorithm: sliding_log, rate: 10/s }\n"
                                  "  d: { algorithm: fixed_window, rate: 10/s }\n"
                                  "  e: { algorithm: leaky, rate: 10/s }\n"
                                  "  f: { algorithm: concurrency, quota: 10 }\n"
                                  "  g: { mode: deny }\n"),
              *again;
    mg_text first = { 0 }, second = { 0 };

    (void)state;
    assert_int_equal(config->limiters[2]->conf.max_entries, 1000);
    assert_int_equal(config->limiters[0]->conf.max_wait_ms, 0);
    mg_node_to_json(config->root, &first);
    again = load(first.p);
    mg_node_to_json(again->root, &second);
    assert_string_equal(first.p, second.p);
    assert_non_null(strstr(first.p, "\"max_entries\":1000"));
    mg_text_fini(&first);
    mg_text_fini(&second);
    mg_config_free(config);
    mg_config_free(again);
}

static void keys_of_another_algorithm_are_refused(void **state)
{
    (void)state;
    hinted(HEAD "limiters:\n"
                "  a1: { algorithm: guess, rate: 5/s }\n"
                "  a2: { algorithm: sliding_window, rate: 5/s, burst: 3, max_wait: 1s, max_entries: 10 }\n"
                "  a3: { algorithm: concurrency, rate: 5/s }\n"
                "  a4: { algorithm: concurrency, quota: 5, window: 1s, burst: 5 }\n"
                "  a5: { algorithm: concurrency }\n"
                "  a6: { algorithm: concurrency, quota: 0 }\n",
           "not-allowed limiters.a1.algorithm: \"guess\" is none of token_bucket, sliding_window, "
           "sliding_log, fixed_window, leaky, concurrency\n"
           "not-allowed limiters.a2.burst: means nothing to sliding_window -> leave it out, or write "
           "algorithm: token_bucket\n"
           "not-allowed limiters.a2.max_wait: means nothing to sliding_window -> leave it out, or write "
           "algorithm: token_bucket or leaky\n"
           "not-allowed limiters.a2.max_entries: means nothing to sliding_window -> leave it out, or write "
           "algorithm: sliding_log\n"
           "not-allowed limiters.a3.rate: means nothing to concurrency -> write quota: how many at once\n"
           "missing-key limiters.a3: the key \"quota\" is missing -> quota: how many requests at once\n"
           "not-allowed limiters.a4.window: means nothing to concurrency -> leave it out: a request counts "
           "until it ends\n"
           "not-allowed limiters.a4.burst: means nothing to concurrency -> leave it out, or write algorithm: "
           "token_bucket\n"
           "missing-key limiters.a5: the key \"quota\" is missing -> quota: how many requests at once\n"
           "out-of-range limiters.a6.quota: a quota of 0 can never admit anything -> write mode: deny to "
           "refuse all\n");
}

static void amounts_are_judged(void **state)
{
    (void)state;
    hinted(
        HEAD "limiters:\n"
             "  b1: { rate: 5/s, quota: 5, window: 1s }\n"
             "  b2: { rate: 5/s, window: 1s }\n"
             "  b3: { quota: 5 }\n"
             "  b4: { window: 5s }\n"
             "  b5: { quota: 0, window: 1s }\n"
             "  b6: { quota: 2000, window: 1ms }\n"
             "  b7: { quota: -1, window: 0s }\n"
             "  b8: { quota: 5, window: 32d }\n",
        "out-of-range limiters.b7.quota: -1 is below the minimum 0 -> write a number from 0 to 2147483647\n"
        "out-of-range limiters.b7.window: 0s is below the minimum 1ms -> write a duration from 1ms to 31d\n"
        "out-of-range limiters.b8.window: 32d is above the maximum 31d -> write a duration from 1ms to 31d\n"
        "not-allowed limiters.b1.quota: stands beside \"rate\" -> keep the rate, or quota and window\n"
        "not-allowed limiters.b2.window: stands beside \"rate\" -> keep the rate, or quota and window\n"
        "missing-key limiters.b3: the key \"window\" is missing -> window: how long the quota is for, such "
        "as 60s\n"
        "missing-key limiters.b4: the key \"quota\" is missing -> quota: how many requests in the window\n"
        "out-of-range limiters.b5.quota: a quota of 0 can never admit anything -> write mode: deny to refuse "
        "all\n"
        "out-of-range limiters.b6.quota: 2000 in that window is above the maximum 1000000/s -> write a lower "
        "rate, or leave the limiter out\n");
}

static void each_algorithm_has_its_bounds(void **state)
{
    (void)state;
    hinted(HEAD "limiters:\n"
                "  c1: { algorithm: fixed_window, quota: 16777217, window: 1h }\n"
                "  c2: { algorithm: sliding_window, quota: 16777217, window: 1h }\n"
                "  c3: { algorithm: sliding_log, rate: 1001/m }\n"
                "  c4: { algorithm: sliding_log, rate: 10001/m, max_entries: 10000 }\n"
                "  c5: { algorithm: sliding_log, quota: 5, window: 1s, max_entries: 10001 }\n"
                "  c6: { algorithm: leaky, rate: 5/s, max_wait: 61s }\n",
           "out-of-range limiters.c5.max_entries: 10001 is above the maximum 10000 -> write a number from 1 "
           "to 10000\n"
           "out-of-range limiters.c6.max_wait: 61s is above the maximum 60s -> write a duration from 0s to "
           "60s\n"
           "out-of-range limiters.c1.quota: 16777217 is above the maximum of a window, 16777216 -> write a "
           "shorter window with less, or algorithm: token_bucket\n"
           "out-of-range limiters.c2.quota: 16777217 is above the maximum of a window, 16777216 -> write a "
           "shorter window with less, or algorithm: token_bucket\n"
           "out-of-range limiters.c3.rate: a sliding_log keeps each request, and 1001 is above max_entries "
           "(1000) -> write max_entries: 1001\n"
           "out-of-range limiters.c4.rate: a sliding_log keeps each request, at most 10000; 10001 is more -> "
           "write algorithm: sliding_window\n");
}

static void a_cost_that_never_passes_is_refused(void **state)
{
    (void)state;
    hinted(HEAD "limiters:\n"
                "  d1: { algorithm: sliding_window, quota: 5, window: 1s, cost: 6 }\n"
                "  d2: { algorithm: concurrency, quota: 5, cost: 6 }\n"
                "  d3: { algorithm: leaky, quota: 5, window: 1s, cost: 6 }\n"
                "  d4: { rate: 5/s, cost: 1000001 }\n",
           "out-of-range limiters.d4.cost: 1000001 is above the maximum 1000000 -> write a number from 0 to "
           "1000000, or leave the key out for the default 1\n"
           "out-of-range limiters.d1.cost: a cost of 6 is above the quota of 5: nothing would ever pass -> "
           "write a cost from 0 to 5\n"
           "out-of-range limiters.d2.cost: a cost of 6 is above the quota of 5: nothing would ever pass -> "
           "write a cost from 0 to 5\n");
}

static void the_rest_of_a_limiter_is_judged(void **state)
{
    (void)state;
    hinted(HEAD "limiters:\n"
                "  e1: { rate: 5/s, scope: cluster }\n"
                "  e2: { limit: 5 }\n"
                "  e3: { rate: 5/s, max_keys: 0, on_full: evict, overflow_cells: 65537, ipv4_prefix: 7, "
                "ipv6_prefix: 129, on_missing_key: allow, mode: off }\n"
                "  e4: { algorithm: fixed_window, mode: deny }\n"
                "  e5: { rate: 5/s, key: \"tenant\" }\n",
           "not-allowed limiters.e1.scope: \"cluster\" must be node -> cluster limits are not in this build\n"
           "unknown-key limiters.e2.limit: unknown key \"limit\" -> write rate, or quota and window; of "
           "concurrency, quota\n"
           "out-of-range limiters.e3.max_keys: 0 is below the minimum 1 -> write a number from 1 to "
           "67108864, or leave the key out for the default 262144\n"
           "not-allowed limiters.e3.on_full: \"evict\" is none of overflow, allow, deny\n"
           "out-of-range limiters.e3.overflow_cells: 65537 is above the maximum 65536 -> write a number from "
           "1 to 65536, or leave the key out for the default 1024\n"
           "out-of-range limiters.e3.ipv4_prefix: 7 is below the minimum 8 -> write a number from 8 to 32, "
           "or leave the key out for the default 32\n"
           "out-of-range limiters.e3.ipv6_prefix: 129 is above the maximum 128 -> write a number from 32 to "
           "128, or leave the key out for the default 64\n"
           "not-allowed limiters.e3.on_missing_key: \"allow\" is none of ip, skip, deny\n"
           "not-allowed limiters.e3.mode: \"off\" is none of enforce, shadow, deny\n"
           "missing-key limiters.e2: the key \"rate\" is missing -> rate: how many requests in a period, "
           "such as 100/s; or write quota and window\n"
           "not-allowed limiters.e5.key: tenants are not in this build -> write ip, header:X, cookie:X, "
           "consumer, route or global, or several joined by +\n");
}

static void all_limiters_have_so_much_memory_together(void **state)
{
    mg_text text = { 0 };

    (void)state;
    mg_text_add_c(&text, HEAD "limiters:\n");
    for (int i = 1; i <= 64; i++)
        mg_text_addf(&text, "  l%d: { rate: 5/s, max_keys: 67108864%s }\n", i, i % 16 ? "" : ", mode: deny");
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_text("m.yaml", mg_text_str(&text), NULL, &report);
    assert_non_null(config);
    mg_config_free(config);
    mg_report_fini(&report);
    for (int i = 65; i <= 70; i++)
        mg_text_addf(&text, "  l%d: { rate: 5/s, max_keys: 67108864 }\n", i);
    hinted(text.p,
           "out-of-range limiters.l68.max_keys: full of keys this limiter takes 2064 MiB, and with those "
           "before it more than the 131072 MiB that all limiters may take -> lower max_keys, here or "
           "there\n");
    mg_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_and_a_quota_with_its_window_read_the_same),
        cmocka_unit_test(every_algorithm_is_read_as_one_that_can_be_made),
        cmocka_unit_test(a_document_printed_with_its_defaults_reads_the_same),
        cmocka_unit_test(keys_of_another_algorithm_are_refused),
        cmocka_unit_test(amounts_are_judged),
        cmocka_unit_test(each_algorithm_has_its_bounds),
        cmocka_unit_test(a_cost_that_never_passes_is_refused),
        cmocka_unit_test(the_rest_of_a_limiter_is_judged),
        cmocka_unit_test(all_limiters_have_so_much_memory_together),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
