/* Where a route's requests go: splits, who stays with whom, rollouts, and how much time is handed on. */
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

#define TWO                                                                                                  \
    HEAD "services: { cart: { endpoints: [{ url: \"http://a:1\" }] }, next: { endpoints: [{ url: "           \
         "\"http://a:2\" }] } }\n"

static void a_split_a_rollout_and_its_deadline_are_read(void **state)
{
    mg_config *config =
        load(TWO "routes:\n"
                 "  - name: a\n"
                 "    match: { paths: [{ prefix: / }] }\n"
                 "    backends: [{ service: cart, weight: 95, group: old }, { service: next }]\n"
                 "    sticky: { by: \"header:X-User\" }\n"
                 "    hop_factor: 0.75\n"
                 "    min_budget: 25ms\n"
                 "    rollout: { to: next, id: r7, steps: [1%, 50%], interval: 5s, "
                 "min_requests: 7,\n"
                 "      max_errors: 0.25%, max_p99: 300ms, strikes: 3 }\n");
    const mg_config_route *a = config->routes[0];
    const mg_rollout_conf *conf = &a->rollout.conf;

    (void)state;
    assert_null(a->service);
    assert_int_equal(a->backend_count, 2);
    assert_ptr_equal(a->backends[0].service, config->services[0]);
    assert_int_equal(a->backends[0].weight, 95);
    check_str(a->backends[0].group, "old");
    assert_int_equal(a->backends[1].weight, 1);
    check_str(a->backends[1].group, "next");
    assert_true(a->sticky);
    assert_int_equal(a->sticky_key.kind, MG_CONFIG_KEY_HEADER);
    check_str(a->sticky_key.name, "x-user");
    assert_int_equal(a->deadline.hop_milli, 750);
    assert_int_equal(a->deadline.min_ms, 25);
    assert_true(a->rollout.on);
    assert_int_equal(a->rollout.to, 1);
    check_str(a->rollout.id, "r7");
    assert_int_equal(conf->step_count, 2);
    assert_int_equal(conf->steps[0], 1);
    assert_int_equal(conf->steps[1], 50);
    assert_int_equal(conf->interval_ms, 5000);
    assert_int_equal(conf->min_requests, 7);
    assert_int_equal(conf->max_errors_milli, 250);
    assert_int_equal(conf->max_p99_ms, 300);
    assert_int_equal(conf->strikes, 3);
    mg_config_free(config);
}

static void a_rollout_has_the_policys_own_defaults(void **state)
{
    mg_config *config = load(TWO "routes:\n"
                                 "  - name: main\n"
                                 "    match: { paths: [{ prefix: / }] }\n"
                                 "    backends: [{ service: next }, { service: cart }]\n"
                                 "    rollout: { to: next }\n");
    const mg_config_route *route = config->routes[0];
    mg_rollout_conf rollout;
    mg_deadline_conf deadline;

    (void)state;
    rollout = rollout_defaults;
    mg_deadline_conf_defaults(&deadline);
    check_str(route->rollout.id, "main");
    assert_int_equal(route->rollout.to, 0);
    assert_int_equal(route->rollout.conf.step_count, rollout.step_count);
    assert_memory_equal(route->rollout.conf.steps, rollout.steps, sizeof rollout.steps);
    assert_int_equal(route->rollout.conf.interval_ms, rollout.interval_ms);
    assert_int_equal(route->rollout.conf.min_requests, rollout.min_requests);
    assert_int_equal(route->rollout.conf.max_errors_milli, rollout.max_errors_milli);
    assert_int_equal(route->rollout.conf.max_p99_ms, rollout.max_p99_ms);
    assert_int_equal(route->rollout.conf.strikes, rollout.strikes);
    assert_int_equal(route->deadline.hop_milli, deadline.hop_milli);
    assert_int_equal(route->deadline.min_ms, deadline.min_ms);
    assert_false(route->sticky);
    mg_config_free(config);
}

static void one_backend_is_a_service(void **state)
{
    mg_config *config = load(HEAD CART "routes:\n"
                                       "  - name: main\n"
                                       "    match: { paths: [{ prefix: / }] }\n"
                                       "    backends: [{ service: cart, weight: 7 }]\n");

    (void)state;
    assert_ptr_equal(config->routes[0]->service, config->services[0]);
    assert_int_equal(config->routes[0]->backend_count, 0);
    assert_false(config->routes[0]->rollout.on);
    mg_config_free(config);
}

static void backends_are_judged(void **state)
{
    (void)state;
    hinted(HEAD "services: { cart: { endpoints: [{ url: \"http://a:1\" }] }, next: { endpoints: [{ url: "
                "\"http://a:2\" }] } }\n"
                "routes:\n"
                "  - { name: a, match: { paths: [{ prefix: /a }] }, backends: [{ service: cart, weight: 0 }, "
                "{ service: next, weight: 0 }] }\n"
                "  - { name: b, match: { paths: [{ prefix: /b }] }, backends: [{ service: cart }, { service: "
                "cart }] }\n"
                "  - { name: c, match: { paths: [{ prefix: /c }] }, backends: [{ service: cart, group: x }, "
                "{ service: next, group: x }] }\n"
                "  - { name: d, match: { paths: [{ prefix: /d }] }, backends: [{ service: cart, weight: "
                "65536, group: \"a b\" }, { service: nxt }] }\n",
           "out-of-range routes[3].backends[0].weight: 65536 is above the maximum 65535 -> write a number "
           "from 0 to 65535, or leave the key out for the default 1\n"
           "not-allowed routes[3].backends[0].group: \"a b\" does not have the form ^[A-Za-z0-9._-]{1,64}$ "
           "-> what X-Abtest-Group calls it; by default the service's name\n"
           "not-allowed routes[0].backends: every backend has weight 0: none would ever be picked -> give at "
           "least one a weight from 1\n"
           "duplicate-key routes[1].backends[1]: the service \"cart\" is a backend of this route already -> "
           "name it once, with both weights added up\n"
           "duplicate-key routes[2].backends[1]: another backend of this route has the group \"x\" -> give "
           "each its own group; by default it is the service's name\n"
           "dangling-reference routes[3].backends[1].service: no service is named \"nxt\" -> did you mean "
           "\"next\" (m.yaml:3)?\n");
}

static void who_sticks_to_what_is_judged(void **state)
{
    (void)state;
    hinted(
        HEAD
        "services: { cart: { endpoints: [{ url: \"http://a:1\" }] }, next: { endpoints: [{ url: "
        "\"http://a:2\" }] } }\n"
        "routes:\n"
        "  - { name: e, match: { paths: [{ prefix: /e }] }, service: cart, sticky: { by: route } }\n"
        "  - { name: f, match: { paths: [{ prefix: /f }] }, service: cart, sticky: { by: \"heeder:x\" } }\n"
        "  - { name: g, match: { paths: [{ prefix: /g }] }, service: cart, sticky: {} }\n",
        "missing-key routes[2].sticky: the key \"by\" is missing -> by: ip, header:X, cookie:X or consumer; "
        "ip where there is none. What plugins set before next counts\n"
        "not-allowed routes[0].sticky.by: \"route\" names nothing that tells clients apart -> write ip, "
        "header:X, cookie:X or consumer\n"
        "not-allowed routes[1].sticky.by: \"heeder:x\" names nothing that tells clients apart -> write ip, "
        "header:X, cookie:X or consumer\n");
}

static void rollouts_are_judged(void **state)
{
    (void)state;
    hinted(HEAD "services: { cart: { endpoints: [{ url: \"http://a:1\" }] }, next: { endpoints: [{ url: "
                "\"http://a:2\" }] } }\n"
                "routes:\n"
                "  - { name: h, match: { paths: [{ prefix: /h }] }, service: cart, rollout: { to: cart } }\n"
                "  - { name: i, match: { paths: [{ prefix: /i }] }, backends: [{ service: cart }], rollout: "
                "{ to: cart } }\n"
                "  - { name: j, match: { paths: [{ prefix: /j }] }, backends: [{ service: cart }, { service: "
                "next }], rollout: { to: nxt } }\n"
                "  - { name: k, match: { paths: [{ prefix: /k }] }, backends: [{ service: cart, weight: 0 }, "
                "{ service: next }], rollout: { to: next } }\n"
                "  - { name: l, match: { paths: [{ prefix: /l }] }, backends: [{ service: cart }, { service: "
                "next }], rollout: { to: next, id: k } }\n",
           "not-allowed routes[0].rollout: a rollout goes from one backend to another; the route has not two "
           "-> write backends: [{ service: OLD }, { service: NEW }]\n"
           "not-allowed routes[1].rollout: a rollout goes from one backend to another; the route has not two "
           "-> write backends: [{ service: OLD }, { service: NEW }]\n"
           "dangling-reference routes[2].rollout.to: \"nxt\" is none of the route's backends -> its backends "
           "are cart, next\n"
           "not-allowed routes[3].rollout.to: every other backend has weight 0: nobody would take what "
           "\"next\" does not get yet -> give the backend that it replaces a weight from 1\n"
           "duplicate-key routes[4].rollout.id: another rollout has the id \"k\" -> the first is at "
           "m.yaml:8; what is kept of a rollout goes by its id\n");
}

static void the_ranges_of_a_rollout_are_checked(void **state)
{
    (void)state;
    hinted(
        HEAD "services: { cart: { endpoints: [{ url: \"http://a:1\" }] }, next: { endpoints: [{ url: "
             "\"http://a:2\" }] } }\n"
             "routes:\n"
             "  - { name: m, match: { paths: [{ prefix: /m }] }, backends: [{ service: cart }, { service: "
             "next }], rollout: { to: next, steps: [5%, 5%, 2.5%, 0%, 101%, 50], interval: 500ms, "
             "min_requests: 0, max_errors: 0%, max_p99: 0s, strikes: 0 } }\n"
             "  - { name: n, match: { paths: [{ prefix: /n }] }, backends: [{ service: cart }, { service: "
             "next }], rollout: { to: next, steps: [], id: \"a b\" } }\n",
        "out-of-range routes[0].rollout.steps[3]: 0% is below the minimum 1% -> write a share from 1% to "
        "100%\n"
        "out-of-range routes[0].rollout.steps[4]: 101% is above the maximum 100% -> write a share from 1% to "
        "100%\n"
        "missing-unit routes[0].rollout.steps[5]: 50 has no unit; a share is due here -> write 50%\n"
        "out-of-range routes[0].rollout.interval: 500ms is below the minimum 1s -> write a duration from 1s "
        "to 31d, or leave the key out for the default 3m\n"
        "out-of-range routes[0].rollout.min_requests: 0 is below the minimum 1 -> write a number from 1 to "
        "2147483647, or leave the key out for the default 1000\n"
        "out-of-range routes[0].rollout.max_errors: 0% is below the minimum 0.01% -> write a share from "
        "0.01% to 100%, or leave the key out for the default 0.5%\n"
        "out-of-range routes[0].rollout.max_p99: 0s is below the minimum 1ms -> write a duration from 1ms to "
        "31d, or leave the key out for the default 800ms\n"
        "out-of-range routes[0].rollout.strikes: 0 is below the minimum 1 -> write a number from 1 to 1000, "
        "or leave the key out for the default 2\n"
        "out-of-range routes[1].rollout.steps: has 0 items, the least is 1\n"
        "not-allowed routes[1].rollout.id: \"a b\" does not have the form ^[A-Za-z0-9._-]{1,64}$ -> another "
        "id draws other clients; by default the route's name\n"
        "not-allowed routes[0].rollout.steps[1]: 5% does not rise above the step before it -> write the "
        "steps from the smallest to the largest\n"
        "not-allowed routes[0].rollout.steps[2]: 2.5% is finer than steps count -> write whole percents\n");
}

static void times_that_leave_a_service_nothing_are_refused(void **state)
{
    (void)state;
    hinted(HEAD
           "services: { cart: { endpoints: [{ url: \"http://a:1\" }] }, next: { endpoints: [{ url: "
           "\"http://a:2\" }] } }\n"
           "routes:\n"
           "  - { name: o, match: { paths: [{ prefix: /o }] }, service: cart, hop_factor: 0.4, min_budget: "
           "0s, timeout: 2h }\n"
           "  - { name: p, match: { paths: [{ prefix: /p }] }, service: cart, hop_factor: 1.1, min_budget: "
           "2h }\n"
           "  - { name: q, match: { paths: [{ prefix: /q }] }, service: cart, timeout: 11ms }\n"
           "  - { name: r, match: { paths: [{ prefix: /r }] }, service: cart, timeout: 12ms }\n"
           "  - { name: s, match: { paths: [{ prefix: /s }] }, plugins: [{ cors: {} }], timeout: 5ms }\n",
           "out-of-range routes[0].hop_factor: 0.4 is below the minimum 0.5 -> write a number from 0.5 to 1, "
           "or leave the key out for the default 0.9\n"
           "out-of-range routes[0].min_budget: 0s is below the minimum 1ms -> write a duration from 1ms to "
           "1h, or leave the key out for the default 10ms\n"
           "out-of-range routes[0].timeout: 2h is above the maximum 1h -> write a duration from 1ms to 1h, "
           "or leave the key out for the default 15s\n"
           "out-of-range routes[1].hop_factor: 1.1 is above the maximum 1 -> write a number from 0.5 to 1, "
           "or leave the key out for the default 0.9\n"
           "out-of-range routes[1].min_budget: 2h is above the maximum 1h -> write a duration from 1ms to "
           "1h, or leave the key out for the default 10ms\n"
           "not-allowed routes[2].timeout: a service would get less than min_budget (10ms) of the timeout: "
           "nothing would ever be sent -> write a longer timeout or a smaller min_budget\n");
}

static void keys_of_routes_that_come_later_say_so(void **state)
{
    (void)state;
    hinted(HEAD "services: { cart: { endpoints: [{ url: \"http://a:1\" }] }, next: { endpoints: [{ url: "
                "\"http://a:2\" }] } }\n"
                "routes:\n"
                "  - { name: t, match: { paths: [{ prefix: /t }] }, service: cart, limits: [a] }\n"
                "  - { name: u, match: { paths: [{ prefix: /u }] }, service: cart, validate: {} }\n",
           "unknown-key routes[0].limits: unknown key \"limits\" -> write limits into plugins: [{ limit: "
           "NAME }]\n"
           "unknown-key routes[1].validate: unknown key \"validate\" -> contracts are not in this build\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_split_a_rollout_and_its_deadline_are_read),
        cmocka_unit_test(a_rollout_has_the_policys_own_defaults),
        cmocka_unit_test(one_backend_is_a_service),
        cmocka_unit_test(backends_are_judged),
        cmocka_unit_test(who_sticks_to_what_is_judged),
        cmocka_unit_test(rollouts_are_judged),
        cmocka_unit_test(the_ranges_of_a_rollout_are_checked),
        cmocka_unit_test(times_that_leave_a_service_nothing_are_refused),
        cmocka_unit_test(keys_of_routes_that_come_later_say_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
