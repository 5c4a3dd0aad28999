/* What a service says of its endpoints and of what guards its calls: read, defaulted, presented by a profile,
 * and judged. */
#include "config_told.h"
#include "support/defaults.h"

static mg_config *load(const char *text)
{
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_text("m.yaml", mg_str_of(text), NULL, &report);

    check_report(&report, "");
    assert_non_null(config);
    mg_report_fini(&report);
    return config;
}

#define ROUTE "routes: [{ name: a, match: { paths: [{ prefix: / }] }, service: a }]\n"
#define WITH(block)                                                                                          \
    HEAD "services: { a: { endpoints: [{ url: \"http://a\" }, { url: \"http://b\" }]" block " } }\n" ROUTE

static void every_key_of_a_service_is_read(void **state)
{
    mg_config *config = load(WITH(
        ", balance: maglev, maglev_size: 251, bound: 2.5, slow_start: 3s, slow_start_min: 5%, panic: 40%\n"
        ", retry: { attempts: 3, on: [reset, 429, \"503\"], per_try_timeout: 600ms, budget: 12.5%,\n"
        "  min_per_second: 0, backoff: 10ms, backoff_max: 1s }\n"
        ", health: { path: /healthz, interval: 2s, timeout: 500ms, unhealthy_after: 4, healthy_after: 1 }\n"
        ", eject: { consecutive: 3, base: 1s, max: 9s, interval: 2s, max_share: 50%, success_rate: false }\n"
        ", adaptive: { initial: 20, min: 4, max: 200, tolerance: 2, smoothing: 0.5, long_window: 60,\n"
        "  probe_after: 0, probe_factor: 0.75 }\n"
        ", throttle: { k: 1.5, min_req: 40, cap: 75.5% }"));
    const mg_config_service *a = config->services[0];
    const mg_retry_conf *retry = &a->retry.conf;

    (void)state;
    assert_int_equal(a->balance, MG_BALANCER_MAGLEV);
    assert_int_equal(a->maglev_size, 251);
    assert_int_equal(a->bound_milli, 2500);
    assert_int_equal(a->slow_start_ms, 3000);
    assert_true(a->slow_start_min > 0.0499 && a->slow_start_min < 0.0501);
    assert_int_equal(a->panic_percent, 40);
    assert_true(a->retry.on && a->health.on && a->eject.on && a->adaptive.on && a->throttle.on);
    assert_true(a->throttle.conf.k == 1.5 && a->throttle.conf.cap == 0.755);
    assert_int_equal(a->throttle.conf.min_req, 40);
    assert_int_equal(retry->attempts, 3);
    assert_true(retry->on_reset && !retry->on_connect_error);
    assert_int_equal(retry->on_status_count, 2);
    assert_int_equal(retry->on_status[0], 429);
    assert_int_equal(retry->on_status[1], 503);
    assert_int_equal(a->retry.per_try_timeout_ms, 600);
    assert_int_equal(retry->budget_milli, 125);
    assert_int_equal(retry->min_per_second, 0);
    assert_int_equal(retry->backoff_ms, 10);
    assert_int_equal(retry->backoff_max_ms, 1000);
    check_str(a->health.path, "/healthz");
    assert_int_equal(a->health.interval_ms, 2000);
    assert_int_equal(a->health.timeout_ms, 500);
    assert_int_equal(a->health.conf.unhealthy_after, 4);
    assert_int_equal(a->health.conf.healthy_after, 1);
    assert_int_equal(a->eject.conf.consecutive, 3);
    assert_int_equal(a->eject.conf.base_ms, 1000);
    assert_int_equal(a->eject.conf.max_ms, 9000);
    assert_int_equal(a->eject.conf.interval_ms, 2000);
    assert_int_equal(a->eject.conf.max_percent, 50);
    assert_false(a->eject.conf.success_rate);
    assert_true(a->adaptive.conf.initial == 20 && a->adaptive.conf.min == 4 && a->adaptive.conf.max == 200);
    assert_true(a->adaptive.conf.tolerance == 2 && a->adaptive.conf.smoothing == 0.5);
    assert_true(a->adaptive.conf.long_window == 60 && a->adaptive.conf.probe_after == 0);
    assert_true(a->adaptive.conf.probe_factor == 0.75);
    mg_config_free(config);
}

static void every_key_of_a_breaker_is_read(void **state)
{
    mg_config *config = load(
        WITH(", breaker: { mode: time_window, window: 20s, buckets: 20, min_requests: 5,\n"
             "  error_rate: 25%, slow_call: 800ms, slow_rate: 80%, consecutive_failures: 9, open_for: 3s,\n"
             "  open_backoff: 1.5, open_max: 40s, open_jitter: 0%, probes: 2, half_open_max: 4s,\n"
             "  failure: [4xx, 501, timeout], max_concurrent: 0, per: route, detector: iforest }"));
    const mg_config_breaker *breaker = &config->services[0]->breaker;
    const mg_breaker_conf *conf = &breaker->conf;

    (void)state;
    assert_true(breaker->on && breaker->per_route && breaker->detect);
    assert_int_equal(breaker->detector, MG_DETECTOR_IFOREST);
    assert_int_equal(breaker->max_concurrent, 0);
    assert_true(mg_status_set_has(&breaker->failure, 400) && mg_status_set_has(&breaker->failure, 499));
    assert_true(mg_status_set_has(&breaker->failure, 501) && !mg_status_set_has(&breaker->failure, 500));
    assert_true(breaker->fail_timeout && !breaker->fail_transport);
    assert_int_equal(conf->mode, MG_BREAKER_TIME_WINDOW);
    assert_int_equal(conf->window_ms, 20000);
    assert_int_equal(conf->buckets, 20);
    assert_int_equal(conf->min_calls, 5);
    assert_int_equal(conf->failure_bp, 2500);
    assert_int_equal(conf->slow_call_ms, 800);
    assert_int_equal(conf->slow_bp, 8000);
    assert_int_equal(conf->consecutive_failures, 9);
    assert_int_equal(conf->open_ms, 3000);
    assert_int_equal(conf->open_backoff_milli, 1500);
    assert_int_equal(conf->open_max_ms, 40000);
    assert_int_equal(conf->open_jitter_bp, 0);
    assert_int_equal(conf->half_open_probes, 2);
    assert_int_equal(conf->half_open_max_ms, 4000);
    mg_config_free(config);

    config = load(WITH(", breaker: { mode: count_window, window_calls: 7, min_requests: 5 }"));
    assert_int_equal(config->services[0]->breaker.conf.mode, MG_BREAKER_COUNT_WINDOW);
    assert_int_equal(config->services[0]->breaker.conf.window_calls, 7);
    mg_config_free(config);
}

#define SAME(policy, field) assert_true(a->policy.conf.field == policy.field)

/* What the schema says and what the policies say by themselves is one thing. */
static void empty_blocks_are_on_with_the_policies_own_defaults(void **state)
{
    mg_config *config =
        load(WITH(", breaker: {}, retry: {}, health: {}, eject: {}, adaptive: {}, throttle: {}"));
    const mg_config_service *a = config->services[0];
    mg_breaker_conf breaker;
    mg_retry_conf retry;
    mg_ejection_conf eject;
    mg_adaptive_conf adaptive;
    mg_throttle_conf throttle;
    mg_balancer_conf balancer;

    (void)state;
    mg_breaker_conf_defaults(&breaker, MG_BREAKER_TIME_WINDOW);
    retry = retry_defaults;
    eject = ejection_defaults;
    adaptive = adaptive_defaults;
    throttle = throttle_defaults;
    mg_balancer_conf_defaults(&balancer);
    SAME(breaker, mode);
    SAME(breaker, consecutive_failures);
    SAME(breaker, window_ms);
    SAME(breaker, buckets);
    SAME(breaker, window_calls);
    SAME(breaker, min_calls);
    SAME(breaker, failure_bp);
    SAME(breaker, slow_bp);
    SAME(breaker, slow_call_ms);
    SAME(breaker, open_ms);
    SAME(breaker, open_max_ms);
    SAME(breaker, open_backoff_milli);
    SAME(breaker, open_jitter_bp);
    SAME(breaker, half_open_probes);
    SAME(breaker, half_open_max_ms);
    assert_true(a->breaker.on && !a->breaker.per_route && !a->breaker.detect);
    assert_int_equal(a->breaker.max_concurrent, 1024);
    assert_true(a->breaker.fail_transport && a->breaker.fail_timeout);
    for (unsigned status = 100; status < 600; status++)
        assert_true(mg_status_set_has(&a->breaker.failure, status) == (status >= 500));
    SAME(retry, attempts);
    SAME(retry, on_connect_error);
    SAME(retry, on_reset);
    SAME(retry, on_status_count);
    assert_memory_equal(a->retry.conf.on_status, retry.on_status, sizeof retry.on_status);
    SAME(retry, backoff_ms);
    SAME(retry, backoff_max_ms);
    SAME(retry, budget_milli);
    SAME(retry, min_per_second);
    assert_int_equal(a->retry.per_try_timeout_ms, 0);
    assert_null(a->health.path.p);
    assert_int_equal(a->health.interval_ms, 5000);
    assert_int_equal(a->health.timeout_ms, 1000);
    assert_int_equal(a->health.conf.unhealthy_after, 3);
    assert_int_equal(a->health.conf.healthy_after, 2);
    SAME(eject, consecutive);
    SAME(eject, base_ms);
    SAME(eject, max_ms);
    SAME(eject, interval_ms);
    SAME(eject, max_percent);
    SAME(eject, success_rate);
    SAME(adaptive, initial);
    SAME(adaptive, min);
    SAME(adaptive, max);
    SAME(adaptive, tolerance);
    SAME(adaptive, smoothing);
    SAME(adaptive, long_window);
    SAME(adaptive, probe_after);
    SAME(adaptive, probe_factor);
    SAME(throttle, k);
    SAME(throttle, min_req);
    SAME(throttle, cap);
    assert_int_equal(a->balance, balancer.algorithm);
    assert_int_equal(a->ewma_tau_ms, balancer.tau_ms);
    assert_int_equal(a->ewma_penalty_ms, balancer.penalty_ms);
    assert_int_equal(a->bound_milli, balancer.bound_milli);
    assert_int_equal(a->slow_start_ms, balancer.slow_start_ms);
    assert_true(a->slow_start_min == balancer.slow_start_min);
    assert_int_equal(a->maglev_size, MG_MAGLEV_SIZE);
    assert_int_equal(a->panic_percent, 50);
    mg_config_free(config);
}

static void blocks_that_are_absent_are_off(void **state)
{
    mg_config *config = load(WITH(", balance: maglev, bound: off, slow_start: 0s"));
    const mg_config_service *a = config->services[0];

    (void)state;
    assert_true(!a->breaker.on && !a->retry.on && !a->health.on && !a->eject.on && !a->adaptive.on &&
                !a->throttle.on);
    assert_int_equal(a->bound_milli, 0);
    assert_int_equal(a->slow_start_ms, 0);
    mg_config_free(config);
}

static void a_profile_sets_what_is_not_written(void **state)
{
    mg_config *config = load(WITH(", breaker: { profile: hystrix, open_backoff: 3 }"));
    const mg_config_breaker *breaker = &config->services[0]->breaker;

    (void)state;
    assert_int_equal(breaker->conf.mode, MG_BREAKER_TIME_WINDOW);
    assert_int_equal(breaker->max_concurrent, 100);
    assert_int_equal(breaker->conf.failure_bp, 5000);
    assert_int_equal(breaker->conf.open_ms, 30000);
    assert_int_equal(breaker->conf.open_backoff_milli, 3000);
    assert_int_equal(breaker->conf.half_open_probes, 1);
    assert_int_equal(breaker->conf.consecutive_failures, 0);
    mg_config_free(config);

    config = load(WITH(", breaker: { profile: gobreaker, probes: 4 }"));
    breaker = &config->services[0]->breaker;
    assert_int_equal(breaker->conf.mode, MG_BREAKER_CONSECUTIVE);
    assert_int_equal(breaker->conf.consecutive_failures, 6);
    assert_int_equal(breaker->conf.open_ms, 60000);
    assert_int_equal(breaker->conf.open_max_ms, 60000);
    assert_int_equal(breaker->conf.open_backoff_milli, 1000);
    assert_int_equal(breaker->conf.half_open_probes, 4);
    assert_int_equal(breaker->max_concurrent, 1024);
    mg_config_free(config);

    config = load(WITH(", breaker: { mode: consecutive }"));
    assert_int_equal(config->services[0]->breaker.conf.consecutive_failures, 5);
    mg_config_free(config);
}

static void balancers_are_judged(void **state)
{
    (void)state;
    hinted(HEAD "services:\n"
                "  a: { endpoints: [{ url: \"http://a\" }], balance: best, ewma_tau: 0s, maglev_size: 65536, "
                "bound: 0.5, slow_start: 32d, slow_start_min: 101%, panic: 50.5% }\n"
                "  b: { endpoints: [{ url: \"http://a\" }], bound: none, maglev_size: 1 }\n"
                "  c: { endpoints: [{ url: \"http://a\" }, { url: \"http://b\" }], balance: maglev, "
                "maglev_size: 101, panic: 50 }\n"
                "routes: []\n",
           "not-allowed services.a.balance: \"best\" is none of peak_ewma, round_robin, least_request, "
           "maglev, random\n"
           "out-of-range services.a.ewma_tau: 0s is below the minimum 1ms -> write a duration from 1ms to "
           "31d, or leave the key out for the default 10s\n"
           "out-of-range services.a.bound: 0.5 is below the minimum 1 -> write a number from 1 to 10, or "
           "leave the key out for the default 1.25\n"
           "out-of-range services.a.slow_start: 32d is above the maximum 31d -> write a duration from 0s to "
           "31d, or leave the key out for the default 10s\n"
           "out-of-range services.a.slow_start_min: 101% is above the maximum 100% -> write a share from 0% "
           "to 100%, or leave the key out for the default 10%\n"
           "out-of-range services.b.maglev_size: 1 is below the minimum 2 -> write a number from 2 to "
           "5000011, or leave the key out for the default 65537\n"
           "missing-unit services.c.panic: 50 has no unit; a share is due here -> write 50%\n"
           "not-allowed services.a.maglev_size: 65536 is not a prime -> write 65537\n"
           "not-allowed services.a.panic: 50.5% is finer than panic counts -> write whole percents\n"
           "not-allowed services.b.bound: \"none\" is neither a number nor off -> write a number from 1 to "
           "10, or off\n"
           "out-of-range services.c.maglev_size: 101 slots are too few for 2 endpoints, which want 100 each "
           "-> write maglev_size: 211\n");
}

static void the_ranges_of_a_breaker_are_checked(void **state)
{
    (void)state;
    hinted(HEAD "services:\n"
                "  d:\n"
                "    endpoints: [{ url: \"http://a\" }]\n"
                "    breaker: { mode: sometimes, window: 900ms, buckets: 61, window_calls: 1, min_requests: "
                "0, error_rate: 0%, slow_call: 0s, slow_rate: 101%, consecutive_failures: -1, open_for: 0s, "
                "open_backoff: 11, open_max: 32d, open_jitter: 51%, probes: 1001, half_open_max: 0s, "
                "failure: [], max_concurrent: -1, per: endpoint, profile: polly, detector: guess }\n"
                "routes: []\n",
           "not-allowed services.d.breaker.mode: \"sometimes\" is none of time_window, count_window, "
           "consecutive\n"
           "out-of-range services.d.breaker.window: 900ms is below the minimum 1s -> write a duration from "
           "1s to 600s, or leave the key out for the default 10s\n"
           "out-of-range services.d.breaker.buckets: 61 is above the maximum 60 -> write a number from 2 to "
           "60, or leave the key out for the default 10\n"
           "out-of-range services.d.breaker.window_calls: 1 is below the minimum 2 -> write a number from 2 "
           "to 100000, or leave the key out for the default 100\n"
           "out-of-range services.d.breaker.min_requests: 0 is below the minimum 1 -> write a number from 1 "
           "to 2147483647, or leave the key out for the default 20\n"
           "out-of-range services.d.breaker.error_rate: 0% is below the minimum 0.01% -> write a share from "
           "0.01% to 100%, or leave the key out for the default 50%\n"
           "out-of-range services.d.breaker.slow_call: 0s is below the minimum 1ms -> write a duration from "
           "1ms to 31d\n"
           "out-of-range services.d.breaker.slow_rate: 101% is above the maximum 100% -> write a share from "
           "0.01% to 100%, or leave the key out for the default 100%\n"
           "out-of-range services.d.breaker.consecutive_failures: -1 is below the minimum 0 -> write a "
           "number from 0 to 2147483647, or leave the key out for the default 0\n"
           "out-of-range services.d.breaker.open_for: 0s is below the minimum 1ms -> write a duration from "
           "1ms to 31d, or leave the key out for the default 5s\n"
           "out-of-range services.d.breaker.open_backoff: 11 is above the maximum 10 -> write a number from "
           "1 to 10, or leave the key out for the default 2\n"
           "out-of-range services.d.breaker.open_max: 32d is above the maximum 31d -> write a duration from "
           "1ms to 31d, or leave the key out for the default 30s\n"
           "out-of-range services.d.breaker.open_jitter: 51% is above the maximum 50% -> write a share from "
           "0% to 50%, or leave the key out for the default 10%\n"
           "out-of-range services.d.breaker.probes: 1001 is above the maximum 1000 -> write a number from 1 "
           "to 1000, or leave the key out for the default 3\n"
           "out-of-range services.d.breaker.half_open_max: 0s is below the minimum 1ms -> write a duration "
           "from 1ms to 31d, or leave the key out for the default 10s\n"
           "out-of-range services.d.breaker.failure: has 0 items, the least is 1\n"
           "out-of-range services.d.breaker.max_concurrent: -1 is below the minimum 0 -> write a number from "
           "0 to 2147483647, or leave the key out for the default 1024\n"
           "not-allowed services.d.breaker.per: \"endpoint\" is none of service, route\n"
           "not-allowed services.d.breaker.profile: \"polly\" is none of hystrix, gobreaker\n"
           "not-allowed services.d.breaker.detector: \"guess\" is none of robust_z, iforest\n");
}

static void what_a_breaker_cannot_mean_is_refused(void **state)
{
    (void)state;
    hinted(HEAD "services:\n"
                "  e:\n"
                "    endpoints: [{ url: \"http://a\" }]\n"
                "    breaker: { window: 10s, buckets: 7, failure: [5xx, 600, \"6xx\", timeouts, 404, "
                "\"404\"], open_for: 40s }\n"
                "  f:\n"
                "    endpoints: [{ url: \"http://a\" }]\n"
                "    breaker: { mode: consecutive, consecutive_failures: 0 }\n"
                "  o:\n"
                "    endpoints: [{ url: \"http://a\" }]\n"
                "    breaker: { profile: gobreaker, open_max: 40s }\n"
                "routes: []\n",
           "out-of-range services.e.breaker.open_for: open_for is longer than open_max (30s) -> raise "
           "open_max with it\n"
           "not-allowed services.e.breaker.buckets: 7 buckets do not divide the window (10s) into whole "
           "milliseconds -> write a number from 2 to 60 that divides it, such as 10\n"
           "not-allowed services.e.breaker.failure[1]: 600 is nothing that a call can end with -> write a "
           "status (503), a class of them (5xx), transport_error or timeout\n"
           "not-allowed services.e.breaker.failure[2]: \"6xx\" is nothing that a call can end with -> write "
           "a status (503), a class of them (5xx), transport_error or timeout\n"
           "not-allowed services.e.breaker.failure[3]: \"timeouts\" is nothing that a call can end with -> "
           "write a status (503), a class of them (5xx), transport_error or timeout\n"
           "out-of-range services.f.breaker.consecutive_failures: 0 is off, and in mode consecutive nothing "
           "else would ever open it -> write a number from 1, or another mode\n"
           "out-of-range services.o.breaker.open_for: open_for is longer than open_max (40s) -> raise "
           "open_max with it\n");
}

static void retries_are_judged(void **state)
{
    (void)state;
    hinted(
        HEAD "services:\n"
             "  g:\n"
             "    endpoints: [{ url: \"http://a\" }]\n"
             "    retry: { attempts: 7, on: [5xx, 200, \"503\", late], per_try_timeout: 2h, budget: 101%, "
             "min_per_second: 1001, backoff: 0s, backoff_max: 0s }\n"
             "  h:\n"
             "    endpoints: [{ url: \"http://a\" }]\n"
             "    retry: { budget: 0.25%, backoff: 1s, hedge: 2, \"on\": [] }\n"
             "  i:\n"
             "    endpoints: [{ url: \"http://a\" }]\n"
             "    retry: { budget: 0%, min_per_second: 0, on: "
             "[400,401,402,403,404,405,406,407,408,409,410,411,412,413,414,415,416] }\n"
             "routes: []\n",
        "out-of-range services.g.retry.attempts: 7 is above the maximum 6 -> write a number from 1 to 6, or "
        "leave the key out for the default 2\n"
        "out-of-range services.g.retry.per_try_timeout: 2h is above the maximum 1h -> write a duration from "
        "1ms to 1h\n"
        "out-of-range services.g.retry.budget: 101% is above the maximum 100% -> write a share from 0% to "
        "100%, or leave the key out for the default 10%\n"
        "out-of-range services.g.retry.min_per_second: 1001 is above the maximum 1000 -> write a number from "
        "0 to 1000, or leave the key out for the default 3\n"
        "out-of-range services.g.retry.backoff: 0s is below the minimum 1ms -> write a duration from 1ms to "
        "31d, or leave the key out for the default 25ms\n"
        "out-of-range services.g.retry.backoff_max: 0s is below the minimum 1ms -> write a duration from 1ms "
        "to 31d, or leave the key out for the default 250ms\n"
        "unknown-key services.h.retry.hedge: unknown key \"hedge\" -> hedged requests are not in this build\n"
        "out-of-range services.h.retry.on: has 0 items, the least is 1\n"
        "not-allowed services.g.retry.on[0]: \"5xx\" is nothing to retry on -> write connect_error, reset, "
        "or single statuses from 400 to 599\n"
        "not-allowed services.g.retry.on[1]: 200 is nothing to retry on -> write connect_error, reset, or "
        "single statuses from 400 to 599\n"
        "not-allowed services.g.retry.on[3]: \"late\" is nothing to retry on -> write connect_error, reset, "
        "or single statuses from 400 to 599\n"
        "out-of-range services.h.retry.backoff: backoff is longer than backoff_max (250ms) -> raise "
        "backoff_max with it\n"
        "not-allowed services.h.retry.budget: 0.25% is finer than budget counts -> write percents with one "
        "digit behind the point\n"
        "not-allowed services.i.retry.on[16]: 416 is one status too many -> name at most 16 statuses\n"
        "not-allowed services.i.retry.budget: a budget of 0% and min_per_second: 0 allow no retry at all -> "
        "raise one of them, or leave retry out\n");
}

static void health_and_ejection_are_judged(void **state)
{
    (void)state;
    hinted(HEAD
           "services:\n"
           "  j:\n"
           "    endpoints: [{ url: \"http://a\" }]\n"
           "    health: { path: healthz, interval: 0s, timeout: 0s, unhealthy_after: 11, healthy_after: 0 }\n"
           "  k:\n"
           "    endpoints: [{ url: \"http://a\" }]\n"
           "    eject: { consecutive: 0, base: 6m, max_share: 33.3%, interval: 0s, success_rate: 1 }\n"
           "routes: []\n",
           "not-allowed services.j.health.path: \"healthz\" does not have the form ^/[!-~]*$ -> what is "
           "asked for with GET, such as /healthz; without it a connection is enough\n"
           "out-of-range services.j.health.interval: 0s is below the minimum 1ms -> write a duration from "
           "1ms to 31d, or leave the key out for the default 5s\n"
           "out-of-range services.j.health.timeout: 0s is below the minimum 1ms -> write a duration from 1ms "
           "to 31d, or leave the key out for the default 1s\n"
           "out-of-range services.j.health.unhealthy_after: 11 is above the maximum 10 -> write a number "
           "from 1 to 10, or leave the key out for the default 3\n"
           "out-of-range services.j.health.healthy_after: 0 is below the minimum 1 -> write a number from 1 "
           "to 10, or leave the key out for the default 2\n"
           "out-of-range services.k.eject.consecutive: 0 is below the minimum 1 -> write a number from 1 to "
           "2147483647, or leave the key out for the default 5\n"
           "out-of-range services.k.eject.interval: 0s is below the minimum 1ms -> write a duration from 1ms "
           "to 31d, or leave the key out for the default 10s\n"
           "wrong-type services.k.eject.success_rate: must be true or false, this is a whole number\n"
           "out-of-range services.k.eject.base: base is longer than max (300s) -> raise max with it\n"
           "not-allowed services.k.eject.max_share: 33.3% is finer than max_share counts -> write whole "
           "percents\n");
}

static void adaptive_limits_are_judged(void **state)
{
    (void)state;
    hinted(
        HEAD "services:\n"
             "  l:\n"
             "    endpoints: [{ url: \"http://a\" }]\n"
             "    adaptive: { initial: 0, min: 2000, tolerance: 0.5, smoothing: 0, long_window: 0, "
             "probe_after: -1, probe_factor: 2 }\n"
             "  m:\n"
             "    endpoints: [{ url: \"http://a\" }]\n"
             "    adaptive: { initial: 5 }\n"
             "    throttle: { x: 1, k: 0.5, min_req: 0, cap: 101% }\n"
             "  n:\n"
             "    endpoints: [{ url: \"http://a\" }]\n"
             "    adaptive: { min: 50 }\n"
             "    breaker: { max_concurrent: 49 }\n"
             "routes: []\n",
        "out-of-range services.l.adaptive.initial: 0 is below the minimum 1 -> write a number from 1 to "
        "2147483647, or leave the key out for the default 64\n"
        "out-of-range services.l.adaptive.tolerance: 0.5 is below the minimum 1 -> write a number from 1 to "
        "10, or leave the key out for the default 1.5\n"
        "out-of-range services.l.adaptive.smoothing: 0 is below the minimum 0.01 -> write a number from 0.01 "
        "to 1, or leave the key out for the default 0.2\n"
        "out-of-range services.l.adaptive.long_window: 0 is below the minimum 1 -> write a number from 1 to "
        "100000, or leave the key out for the default 600\n"
        "out-of-range services.l.adaptive.probe_after: -1 is below the minimum 0 -> write a number from 0 to "
        "2147483647, or leave the key out for the default 30\n"
        "out-of-range services.l.adaptive.probe_factor: 2 is above the maximum 1 -> write a number from 0.01 "
        "to 1, or leave the key out for the default 0.5\n"
        "unknown-key services.m.throttle.x: unknown key \"x\" -> known here: k, min_req, cap\n"
        "out-of-range services.m.throttle.k: 0.5 is below the minimum 1 -> write a number from 1 to 100, or "
        "leave the key out for the default 2\n"
        "out-of-range services.m.throttle.min_req: 0 is below the minimum 1 -> write a number from 1 to "
        "2147483647, or leave the key out for the default 10\n"
        "out-of-range services.m.throttle.cap: 101% is above the maximum 100% -> write a share from "
        "0.01% to "
        "100%, or leave the key out for the default 90%\n"
        "out-of-range services.l.adaptive.min: min is above max (1024) -> write min: 1024 or less, or raise "
        "max\n"
        "out-of-range services.m.adaptive.initial: initial is not between min and max (8 and 1024) -> write "
        "a number between them\n"
        "not-allowed services.n.breaker.max_concurrent: max_concurrent 49 is below the adaptive limit's min "
        "of 50 -> raise it, lower adaptive.min, or write max_concurrent: 0 and leave it to adaptive\n");
}

static void a_contradiction_is_shown_where_it_stands(void **state)
{
    (void)state;
    told(HEAD "services:\n"
              "  a:\n"
              "    endpoints: [{ url: \"http://a\" }]\n"
              "    breaker: { max_concurrent: 49 }\n"
              "    adaptive: { min: 50 }\n",
         "m.yaml:6:32: error[not-allowed] services.a.breaker.max_concurrent: max_concurrent 49 is below the "
         "adaptive limit's min of 50\n"
         "    6 |     breaker: { max_concurrent: 49 }\n"
         "      |                                ^^\n"
         "      = raise it, lower adaptive.min, or write max_concurrent: 0 and leave it to adaptive\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_key_of_a_service_is_read),
        cmocka_unit_test(every_key_of_a_breaker_is_read),
        cmocka_unit_test(empty_blocks_are_on_with_the_policies_own_defaults),
        cmocka_unit_test(blocks_that_are_absent_are_off),
        cmocka_unit_test(a_profile_sets_what_is_not_written),
        cmocka_unit_test(balancers_are_judged),
        cmocka_unit_test(the_ranges_of_a_breaker_are_checked),
        cmocka_unit_test(what_a_breaker_cannot_mean_is_refused),
        cmocka_unit_test(retries_are_judged),
        cmocka_unit_test(health_and_ejection_are_judged),
        cmocka_unit_test(adaptive_limits_are_judged),
        cmocka_unit_test(a_contradiction_is_shown_where_it_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
