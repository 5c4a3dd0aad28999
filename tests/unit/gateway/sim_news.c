/* sim_news.c - what the log tells of services that change by themselves, on the virtual clock. */
#include "sim_group.h"

#define EAGER                                                                                                \
    "breaker: { mode: consecutive, consecutive_failures: 1, open_for: 1s, open_max: 1s, open_jitter: 0% }"

static unsigned lines_of(const group *g, const char *event)
{
    char wanted[64];
    unsigned count = 0;

    snprintf(wanted, sizeof wanted, "\"event\":\"%s\"", event);
    for (const char *at = g->w.logged.p; at && (at = strstr(at, wanted)); at++)
        count++;
    return count;
}

/* How often the lines say that the reason was one: "probe_failed", or "probe_failed 3 times". */
static unsigned told(const group *g, const char *reason)
{
    unsigned count = 0;

    for (const char *at = g->w.logged.p; at && (at = strstr(at, "its breaker is ")); at++) {
        const char *end = strchr(at, ')'), *found = strstr(at, reason);
        unsigned times = 1;
        if (!found || found > end)
            continue;
        (void)sscanf(found + strlen(reason), " %u times", &times);
        count += times;
    }
    return count;
}

static void second(group *g)
{
    advance(&g->w, MG_NS_PER_S);
}

static void ask_and_hear(group *g, const char *answer)
{
    (void)ask(g, answer);
    (void)hear(&g->w, g->client);
}

static void a_breaker_that_opens_and_closes_is_told(void **state)
{
    group g;

    (void)state;
    group_open(&g,
               SERVICE_OF(PAIR ", breaker: { mode: consecutive, consecutive_failures: 2, open_for: 5s, "
                               "open_jitter: 0%, probes: 2 }"),
               2);
    ask_and_hear(&g, BUSY);
    second(&g);
    assert_int_equal(lines_of(&g, "breaker_open"), 0);
    ask_and_hear(&g, BUSY);
    second(&g);
    assert_has(
        g.w.logged.p,
        "\"level\":\"warn\",\"event\":\"breaker_open\",\"message\":\"up: its breaker is open (failures)\"");
    advance(&g.w, 5 * MG_NS_PER_S);
    ask_and_hear(&g, OK_EMPTY);
    second(&g);
    assert_has(g.w.logged.p,
               "\"event\":\"breaker_half_open\",\"message\":\"up: its breaker is half_open (open_over)\"");
    ask_and_hear(&g, OK_EMPTY);
    second(&g);
    assert_has(g.w.logged.p,
               "\"event\":\"breaker_closed\",\"message\":\"up: its breaker is closed (recovered)\"");
    advance(&g.w, 20 * MG_NS_PER_S);
    assert_int_equal(
        lines_of(&g, "breaker_open") + lines_of(&g, "breaker_half_open") + lines_of(&g, "breaker_closed"), 3);
    group_close(&g);
}

static void a_probe_that_fails_is_told(void **state)
{
    group g;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " EAGER), 2);
    ask_and_hear(&g, BUSY);
    advance(&g.w, 2 * MG_NS_PER_S);
    ask_and_hear(&g, BUSY);
    second(&g);
    assert_has(g.w.logged.p, "up: its breaker is open (probe_failed, open_over)");
    group_close(&g);
}

static void a_breaker_that_flaps_floods_nothing_and_nothing_is_lost(void **state)
{
    group g;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " EAGER), 2);
    for (unsigned i = 0; i < 120; i++) {
        ask_and_hear(&g, BUSY);
        advance(&g.w, 1100 * MS);
    }
    advance(&g.w, 20 * MG_NS_PER_S);
    const mg_breaker *breaker = service_named(&g, "up")->circuits->breaker;
    assert_true(mg_breaker_changes(breaker, MG_BREAKER_BY_PROBE_FAILED) > 50);
    assert_in_range(lines_of(&g, "breaker_open"), 5, 5 + 160 / 10);
    assert_int_equal(told(&g, "probe_failed"), mg_breaker_changes(breaker, MG_BREAKER_BY_PROBE_FAILED));
    assert_int_equal(told(&g, "open_over"), mg_breaker_changes(breaker, MG_BREAKER_BY_OPEN_OVER));
    group_close(&g);
}

static void what_an_operator_does_is_not_told_twice(void **state)
{
    group g;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " EAGER), 2);
    mg_breaker *breaker = service_named(&g, "up")->circuits->breaker;
    const uint64_t now = mg_shared_policy_now(g.w.gateway->shared.shared);
    mg_breaker_force(breaker, MG_BREAKER_FORCED_OPEN, now);
    second(&g);
    mg_breaker_force(breaker, MG_BREAKER_CLOSED, now);
    second(&g);
    assert_int_equal(lines_of(&g, "breaker_open") + lines_of(&g, "breaker_closed"), 0);
    ask_and_hear(&g, BUSY);
    second(&g);
    assert_int_equal(lines_of(&g, "breaker_open"), 1);
    group_close(&g);
}

static void a_breaker_of_a_route_and_one_of_a_plugin_are_told(void **state)
{
    group g;
    mg_breaker_conf conf;

    (void)state;
    group_open(
        &g,
        SERVICE_OF(
            PAIR
            ", breaker: { mode: consecutive, consecutive_failures: 1, per: route }") "routes: [{ name: a, "
                                                                                     "match: { paths: [{ "
                                                                                     "prefix: / }] }, "
                                                                                     "service: up }]\n",
        2);
    ask_and_hear(&g, BUSY);
    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    conf.consecutive_failures = 1;
    mg_shared *shared = g.w.gateway->shared.shared;
    mg_breaker *own = mg_shared_plugin_breaker(shared, MG_STR("billing"), &conf, NULL);
    const uint64_t now = mg_shared_policy_now(shared);
    assert_true(mg_breaker_end(own, mg_breaker_ask(own, now), MG_BREAKER_FAIL, 0, now));
    second(&g);
    assert_has(g.w.logged.p, "a/up: its breaker is open (failures)");
    assert_has(g.w.logged.p, "billing: its breaker is open (failures)");
    group_close(&g);
}

static void an_ejection_that_ends_is_told(void **state)
{
    group g;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", eject: { consecutive: 1, base: 10s }"), 2);
    ask_and_hear(&g, BUSY);
    second(&g);
    assert_int_equal(lines_of(&g, "host_ejected"), 1);
    advance(&g.w, 7 * MG_NS_PER_S);
    assert_int_equal(lines_of(&g, "host_ejection_over"), 0);
    advance(&g.w, 4 * MG_NS_PER_S);
    assert_has(g.w.logged.p, "\"level\":\"info\",\"event\":\"host_ejection_over\"");
    assert_has(g.w.logged.p, ":9000 gets requests again\"");
    advance(&g.w, 30 * MG_NS_PER_S);
    assert_int_equal(lines_of(&g, "host_ejected"), 1);
    assert_int_equal(lines_of(&g, "host_ejection_over"), 1);
    group_close(&g);
}

static void panic_is_told_when_it_begins_and_ends(void **state)
{
    group g;

    (void)state;
    group_open(&g, SERVICE_OF(TRIO ", eject: { consecutive: 1, base: 10s, max_share: 100% }"), 3);
    ask_and_hear(&g, BUSY);
    second(&g);
    assert_int_equal(lines_of(&g, "panic_began"), 0);
    ask_and_hear(&g, BUSY);
    second(&g);
    assert_has(
        g.w.logged.p,
        "\"level\":\"warn\",\"event\":\"panic_began\",\"message\":\"up: too few of its endpoints are up");
    assert_int_equal(lines_of(&g, "panic_ended"), 0);
    advance(&g.w, 11 * MG_NS_PER_S);
    assert_has(
        g.w.logged.p,
        "\"level\":\"info\",\"event\":\"panic_ended\",\"message\":\"up: enough of its endpoints are up");
    advance(&g.w, 20 * MG_NS_PER_S);
    assert_int_equal(lines_of(&g, "panic_began"), 1);
    assert_int_equal(lines_of(&g, "panic_ended"), 1);
    group_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_breaker_that_opens_and_closes_is_told),
        cmocka_unit_test(a_probe_that_fails_is_told),
        cmocka_unit_test(a_breaker_that_flaps_floods_nothing_and_nothing_is_lost),
        cmocka_unit_test(what_an_operator_does_is_not_told_twice),
        cmocka_unit_test(a_breaker_of_a_route_and_one_of_a_plugin_are_told),
        cmocka_unit_test(an_ejection_that_ends_is_told),
        cmocka_unit_test(panic_is_told_when_it_begins_and_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
