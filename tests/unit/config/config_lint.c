/* Warnings about documents that are right and were probably not meant so. */
#include "config_told.h"

static void keys_without_effect_are_told(void **state)
{
    (void)state;
    hinted(HEAD "services:\n"
                "  a: { endpoints: [{ url: \"http://a\" }], balance: random, ewma_tau: 5s, ewma_penalty: 2s, "
                "maglev_size: 101, bound: off, breaker: { mode: consecutive, window: 5s, buckets: 5, "
                "window_calls: 50, min_requests: 5, error_rate: 10%, slow_rate: 10% } }\n"
                "routes:\n"
                "  - { name: a, match: { paths: [{ prefix: /a }] }, service: a, sticky: { by: ip } }\n",
           "no-effect services.a.ewma_tau: has no effect without balance: peak_ewma\n"
           "no-effect services.a.ewma_penalty: has no effect without balance: peak_ewma\n"
           "no-effect services.a.maglev_size: has no effect without balance: maglev\n"
           "no-effect services.a.bound: has no effect without balance: maglev\n"
           "no-effect services.a.breaker.window: has no effect without mode: time_window\n"
           "no-effect services.a.breaker.buckets: has no effect without mode: time_window\n"
           "no-effect services.a.breaker.window_calls: has no effect without mode: count_window\n"
           "no-effect services.a.breaker.min_requests: has no effect in mode consecutive\n"
           "no-effect services.a.breaker.error_rate: has no effect in mode consecutive\n"
           "no-effect services.a.breaker.slow_rate: has no effect in mode consecutive\n"
           "no-effect routes[0].sticky: has no effect without several backends or a service with balance: "
           "maglev\n");
}

static void a_window_of_fewer_calls_than_it_wants_is_told(void **state)
{
    (void)state;
    hinted(HEAD "services:\n"
                "  b: { endpoints: [{ url: \"http://a\" }], breaker: { mode: count_window, window_calls: 50, "
                "min_requests: 60, slow_rate: 10% }, retry: { attempts: 3, per_try_timeout: 600ms } }\n"
                "routes:\n"
                "  - { name: b, match: { paths: [{ prefix: /b }] }, service: b, timeout: 1700ms }\n",
           "no-effect services.b.breaker.slow_rate: has no effect without slow_call\n"
           "never-reached services.b.breaker.min_requests: a window of 50 calls never has 60; it counts as "
           "50 -> write min_requests: 50, or a larger window_calls\n"
           "too-long routes[0].timeout: 3 tries of up to 600ms each take longer than the timeout (1700ms) -> "
           "write a longer timeout, or change attempts or per_try_timeout of the service b\n");
}

static void a_breaker_that_limiters_keep_from_opening_is_told(void **state)
{
    (void)state;
    hinted(HEAD "services:\n"
                "  c: { endpoints: [{ url: \"http://a\" }], breaker: { min_requests: 25 } }\n"
                "limiters:\n"
                "  slow: { key: global, rate: 1/s, burst: 2 }\n"
                "  each: { key: ip, rate: 1/m }\n"
                "routes:\n"
                "  - { name: c, match: { paths: [{ prefix: /c }] }, service: c, plugins: [{ limit: each }, { "
                "limit: slow }] }\n",
           "never-reached services.c.breaker.min_requests: limiters let at most 13 calls through in its "
           "window, so min_requests (25) is never reached and it never opens -> lower min_requests, widen "
           "the window, or write consecutive_failures\n");
    hinted(HEAD "services:\n"
                "  b: { endpoints: [{ url: \"http://a\" }], breaker: { mode: count_window, window_calls: 50, "
                "min_requests: 60, slow_rate: 10% }, retry: { attempts: 3, per_try_timeout: 600ms } }\n"
                "  d: { endpoints: [{ url: \"http://a\" }], breaker: {}, retry: {} }\n"
                "limiters:\n"
                "  log: { key: global, algorithm: sliding_log, rate: 1/m }\n"
                "routes:\n"
                "  - { name: d, match: { paths: [{ prefix: /d }] }, plugins: [{ limit: log }], backends: [{ "
                "service: d }, { service: b }] }\n",
           "no-effect services.b.breaker.slow_rate: has no effect without slow_call\n"
           "never-reached services.b.breaker.min_requests: a window of 50 calls never has 60; it counts as "
           "50 -> write min_requests: 50, or a larger window_calls\n"
           "never-reached services.d.breaker: limiters let at most 6 calls through in its window, so "
           "min_requests (20) is never reached and it never opens -> lower min_requests, widen the window, "
           "or write consecutive_failures\n");
    hinted(HEAD
           "services:\n"
           "  e: { endpoints: [{ url: \"http://a\" }], breaker: { per: route } }\n"
           "limiters:\n"
           "  slow: { key: global, rate: 1/s, burst: 2 }\n"
           "routes:\n"
           "  - { name: e1, match: { paths: [{ prefix: /e1 }] }, plugins: [{ limit: slow }], service: e }\n"
           "  - { name: e2, match: { paths: [{ prefix: /e2 }] }, plugins: [{ limit: slow }], service: e }\n",
           "never-reached services.e.breaker: limiters let at most 13 calls through in its window, so "
           "min_requests (20) is never reached and it never opens -> lower min_requests, widen the window, "
           "or write consecutive_failures\n");
    hinted(HEAD
           "services:\n"
           "  h: { endpoints: [{ url: \"http://a\" }], balance: maglev, breaker: {} }\n"
           "limiters:\n"
           "  half: { key: global, rate: 10/s, burst: 10, cost: 6 }\n"
           "  none: { mode: deny }\n"
           "routes:\n"
           "  - { name: h1, match: { paths: [{ prefix: /h1 }] }, plugins: [{ limit: none }], service: h, "
           "sticky: { by: ip } }\n"
           "  - { name: h2, match: { paths: [{ prefix: /h2 }] }, plugins: [{ limit: half }], service: h }\n",
           "never-reached services.h.breaker: limiters let at most 18 calls through in its window, so "
           "min_requests (20) is never reached and it never opens -> lower min_requests, widen the window, "
           "or write consecutive_failures\n");
}

static void a_breaker_that_may_open_is_not(void **state)
{
    (void)state;
    hinted(HEAD
           "services:\n"
           "  f: { endpoints: [{ url: \"http://a\" }], breaker: { consecutive_failures: 5 } }\n"
           "limiters:\n"
           "  slow: { key: global, rate: 1/s, burst: 2 }\n"
           "routes:\n"
           "  - { name: f, match: { paths: [{ prefix: /f }] }, plugins: [{ limit: slow }], service: f }\n",
           "");
    hinted(HEAD
           "services:\n"
           "  g: { endpoints: [{ url: \"http://a\" }], breaker: {} }\n"
           "limiters:\n"
           "  slow: { key: global, rate: 1/s, burst: 2 }\n"
           "  seen: { key: global, rate: 1/m, mode: shadow }\n"
           "routes:\n"
           "  - { name: g1, match: { paths: [{ prefix: /g1 }] }, plugins: [{ limit: slow }], service: g }\n"
           "  - { name: g2, match: { paths: [{ prefix: /g2 }] }, plugins: [{ limit: slow }, { limit: seen "
           "}], service: g }\n",
           "");
}

static void a_method_that_looks_like_a_standard_one_is_told(void **state)
{
    (void)state;
    hinted(HEAD "services: { a: { endpoints: [{ url: \"http://a\" }] } }\n"
                "routes:\n"
                "  - { name: a, match: { paths: [{ prefix: /a }], methods: [get, GTE, GET, PROPFIND, PURGE, "
                "\"*\"] }, "
                "service: a }\n",
           "unusual routes[0].match.methods[0]: \"get\" is not a standard method -> did you mean GET?\n"
           "unusual routes[0].match.methods[1]: \"GTE\" is not a standard method -> did you mean GET?\n");
}

static void a_split_by_consumer_is_told(void **state)
{
    (void)state;
    hinted(
        HEAD
        "services: { a: { endpoints: [{ url: \"http://a\" }] }, b: { endpoints: [{ url: \"http://b\" }] } }\n"
        "routes:\n"
        "  - name: a\n"
        "    match: { paths: [{ prefix: / }] }\n"
        "    backends: [{ service: a }, { service: b }]\n"
        "    sticky: { by: consumer }\n",
        "no-effect routes[0].sticky.by: plugins find out who the consumer is, and this route has none: it "
        "goes by ip -> write header:X, or add the plugin that finds consumers\n");
}

static void a_document_with_errors_gets_no_warnings(void **state)
{
    (void)state;
    found(HEAD
          "services: { a: { endpoints: [{ url: \"http://a\" }], breaker: {} } }\n"
          "limiters: { all: { key: global, quota: 5, window: 250sm } }\n"
          "routes: [{ name: a, match: { paths: [{ prefix: / }] }, plugins: [{ limit: all }], service: a }]\n",
          "not-allowed limiters.all.window: \"sm\" is not the unit of a duration\n");
}

static void retries_that_are_cut_short_are_told_where_the_timeout_stands(void **state)
{
    (void)state;
    told(HEAD "services:\n"
              "  a: { endpoints: [{ url: \"http://a\" }], retry: { attempts: 3, per_try_timeout: 600ms } }\n"
              "routes:\n"
              "  - { name: long, match: { paths: [{ prefix: /a }] }, service: a, timeout: 1800ms }\n"
              "  - { name: short, match: { paths: [{ prefix: /b }] }, service: a, timeout: 1s }\n",
         "m.yaml:7:77: warning[too-long] routes[1].timeout: 3 tries of up to 600ms each take longer than the "
         "timeout (1s)\n"
         "    7 |   - { name: short, match: { paths: [{ prefix: /b }] }, service: a, timeout: 1s }\n"
         "      |                                                                             ^^\n"
         "      = write a longer timeout, or change attempts or per_try_timeout of the service a\n");
}

static void fields_that_are_dropped_are_told(void **state)
{
#define DROPPED(listener)                                                                                    \
    "version: 1\nlisteners: { web: { bind: \":8080\"" listener " } }\n"                                      \
    "services: { a: { endpoints: [{ url: \"http://a\" }] }, b: { endpoints: [{ url: \"http://b\" }] } }\n"   \
    "limiters: { l: { key: \"header:X_User+header:x-b\", rate: 1/s } }\n"                                    \
    "routes: [{ name: a, match: { paths: [{ prefix: / }], headers: { x_env: a, x-env: b } },\n"              \
    "  plugins: [{ limit: l }], backends: [{ service: a }, { service: b }], sticky: { by: \"header:x_u\" } " \
    "}]\n"
    (void)state;

    found(DROPPED(""),
          "no-effect limiters.l.key: no request has the field x_user: names with a _ are dropped\n"
          "no-effect routes[0].match.headers.x_env: no request has the field x_env: names with a _ "
          "are dropped\n"
          "no-effect routes[0].sticky.by: no request has the field x_u: names with a _ are "
          "dropped\n");
    found(DROPPED(", underscores_in_names: true"), "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_without_effect_are_told),
        cmocka_unit_test(fields_that_are_dropped_are_told),
        cmocka_unit_test(a_window_of_fewer_calls_than_it_wants_is_told),
        cmocka_unit_test(a_breaker_that_limiters_keep_from_opening_is_told),
        cmocka_unit_test(a_breaker_that_may_open_is_not),
        cmocka_unit_test(a_method_that_looks_like_a_standard_one_is_told),
        cmocka_unit_test(a_split_by_consumer_is_told),
        cmocka_unit_test(a_document_with_errors_gets_no_warnings),
        cmocka_unit_test(retries_that_are_cut_short_are_told_where_the_timeout_stands),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
