/* Services whose endpoint is a name: every address is a host, and what becomes of them as the name changes.
 * On the virtual clock. */
#include "sim_group.h"

#define NAMED(more)                                                                                          \
    SERVICE_OF(                                                                                              \
        "endpoints: [{ url: \"http://up.internal:9000\" }], balance: round_robin, slow_start: 0s" more)      \
    ROUTE

/* Listeners stand at 10.0.0.2, .3 and .4: the n-th of `addresses` is the last byte of one. */
static void set_name(group *g, const char *name, const char *addresses, uint32_t ttl_s)
{
    mg_addr addrs[8];
    unsigned count = 0;

    for (; *addresses; addresses++) {
        char ip[16];
        snprintf(ip, sizeof ip, "10.0.0.%c", *addresses);
        addrs[count++] = addr_of(ip, 0);
    }
    mg_sim_set_name(g->w.sim, name, addrs, count, ttl_s);
}

static void names_open(group *g, const char *config, const char *addresses, uint32_t ttl_s)
{
    *g = (group){ .up_count = 0 };
    world_init(&g->w, 1, 1);
    set_name(g, "up.internal", addresses, ttl_s);
    if (!world_try_start(&g->w, 1, config))
        fail_msg("refused:\n%s", g->w.logged.p);
    for (unsigned i = 0; i < HOSTS; i++) {
        char ip[16];
        snprintf(ip, sizeof ip, "10.0.0.%u", i + 2);
        g->hosts[i] = listen_at(&g->w, ip, 9000);
    }
    g->client = dial(&g->w, "10.0.0.1", 80);
}

static mg_service *service(const group *g)
{
    return service_named(g, "up")->newest;
}

/* How many of `count` requests each host got: as digits, "202". */
static const char *shares(group *g, unsigned count)
{
    static char text[HOSTS + 1];
    unsigned had[HOSTS] = { 0 };

    for (unsigned i = 0; i < count; i++) {
        const int host = ask(g, OK_EMPTY);
        assert_true(host >= 0);
        hear_status(&g->w, g->client, "200");
        had[host]++;
    }
    for (unsigned i = 0; i < HOSTS; i++)
        text[i] = (char)('0' + had[i]);
    return text;
}

static unsigned times_logged(const group *g, const char *what)
{
    unsigned n = 0;

    for (const char *at = g->w.logged.p; at && (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

static void every_address_of_a_name_has_its_share(void **state)
{
    group g;

    (void)state;
    names_open(&g, NAMED(""), "234", 60);
    assert_int_equal(service(&g)->host_count, 3);
    assert_string_equal(shares(&g, 6), "222");
    group_close(&g);
}

static void the_weight_of_an_endpoint_is_shared_by_its_addresses(void **state)
{
    group g;

    (void)state;
    names_open(&g,
               SERVICE_OF("endpoints: [{ url: \"http://up.internal:9000\", weight: 1 }, { url: "
                          "\"http://10.0.0.4:9000\", weight: 3 }], balance: round_robin, slow_start: 0s")
                   ROUTE,
               "23", 60);
    assert_string_equal(shares(&g, 8), "116");
    group_close(&g);
}

static void a_changed_answer_counts_when_its_time_is_over(void **state)
{
    group g;

    (void)state;
    names_open(&g, NAMED(""), "2", 1);
    assert_string_equal(shares(&g, 2), "200");
    set_name(&g, "up.internal", "3", 1);
    advance(&g.w, 1100 * MS);
    assert_string_equal(shares(&g, 2), "020");
    set_name(&g, "up.internal", "34", 1);
    advance(&g.w, 1100 * MS);
    assert_string_equal(shares(&g, 4), "022");
    group_close(&g);
}

static void connections_to_an_address_that_is_gone_end_when_they_are_idle(void **state)
{
    group g;
    int host;

    (void)state;
    names_open(&g, NAMED(""), "2", 1);
    say(&g.w, g.client, GET("/"));
    const int busy = arrives(&g, &host);
    const int other = dial(&g.w, "10.0.0.1", 80);
    say(&g.w, other, GET("/"));
    const int idle = arrives(&g, &host);
    say(&g.w, idle, OK_EMPTY);
    hear_status(&g.w, other, "200");
    assert_int_equal(hear(&g.w, idle), HEAR_OPEN);
    set_name(&g, "up.internal", "3", 1);
    advance(&g.w, 1100 * MS);
    assert_int_equal(hear(&g.w, idle), HEAR_END);
    assert_int_equal(hear(&g.w, busy), HEAR_OPEN);
    say(&g.w, other, GET("/"));
    assert_true(arrives(&g, &host) >= 0);
    assert_int_equal(host, 1);
    say(&g.w, busy, OK_EMPTY); /* the old one still serves what it has begun */
    hear_status(&g.w, g.client, "200");
    assert_int_equal(hear(&g.w, busy), HEAR_END);
    hang_up(&g.w, other);
    group_close(&g);
}

static void another_order_of_the_same_addresses_changes_nothing(void **state)
{
    group g;
    int host;

    (void)state;
    names_open(&g, NAMED(""), "234", 1);
    mg_service *before = service(&g);
    say(&g.w, g.client, GET("/"));
    const int up = arrives(&g, &host);
    say(&g.w, up, OK_EMPTY);
    hear_status(&g.w, g.client, "200");
    set_name(&g, "up.internal", "423", 1);
    advance(&g.w, 5000 * MS);
    assert_ptr_equal(service(&g), before);
    assert_int_equal(hear(&g.w, up), HEAR_OPEN);
    group_close(&g);
}

static void a_name_that_stops_resolving_keeps_its_addresses(void **state)
{
    group g;

    (void)state;
    names_open(&g, NAMED(""), "23", 1);
    assert_string_equal(shares(&g, 2), "110");
    set_name(&g, "up.internal", "", 1);
    advance(&g.w, 10000 * MS);
    assert_string_equal(shares(&g, 2), "110");
    assert_int_equal(times_logged(&g, "up.internal does not resolve; its last addresses stay"), 1);
    set_name(&g, "up.internal", "4", 1);
    advance(&g.w, 2100 * MS);
    assert_string_equal(shares(&g, 2), "002");
    assert_int_equal(times_logged(&g, "up.internal resolves again"), 1);
    group_close(&g);
}

static void a_name_that_never_resolved_is_503_until_it_does(void **state)
{
    group g;

    (void)state;
    names_open(&g, NAMED(""), "", 1);
    advance(&g.w, 6000 * MS);
    hang_up(&g.w, g.client);
    g.client = dial(&g.w, "10.0.0.1", 80);
    say(&g.w, g.client, GET("/"));
    hear_status(&g.w, g.client, "503");
    set_name(&g, "up.internal", "2", 1);
    advance(&g.w, 2100 * MS);
    assert_string_equal(shares(&g, 2), "200");
    group_close(&g);
}

static void a_reload_asks_for_names_again(void **state)
{
    group g;

    (void)state;
    names_open(&g, NAMED(""), "2", 3600);
    assert_string_equal(shares(&g, 1), "100");
    set_name(&g, "up.internal", "3", 3600);
    advance(&g.w, 60000 * MS);
    assert_string_equal(shares(&g, 1), "100");
    mg_gateway_reload(g.w.gateway);
    settle(&g.w);
    assert_string_equal(shares(&g, 1), "010");
    /* A name that has become silent does not hold the reload up for long. */
    set_name(&g, "up.internal", "", 0);
    g.w.next = NAMED(", panic: 0%");
    mg_gateway_reload(g.w.gateway);
    settle(&g.w);
    assert_int_equal(times_logged(&g, "reloaded"), 2);
    assert_string_equal(shares(&g, 1), "010");
    group_close(&g);
}

static void health_is_by_address(void **state)
{
    group g;
    mg_host_view view;

    (void)state;
    names_open(&g, NAMED(", health: { interval: 1s, timeout: 500ms, unhealthy_after: 1 }"), "234", 60);
    hang_up(&g.w, g.hosts[1]);
    g.hosts[1] = -1;
    advance(&g.w, 3000 * MS);
    for (size_t i = 0; i < 3; i++) {
        mg_service_host_view(service(&g), i, mg_policy_clock_now(&g.w.gateway->policy_clock), &view);
        assert_int_equal(view.health, i == 1 ? MG_HEALTH_DOWN : MG_HEALTH_UP);
        assert_true(mg_str_eq_c(view.authority, "up.internal:9000"));
    }
    assert_true(mg_str_eq_c(view.address, "10.0.0.4"));
    assert_has(g.w.logged.p, "up: up.internal:9000@10.0.0.3 is unhealthy");
    for (int i = 0; i < HOSTS; i += 2)
        for (int fd; (fd = take(&g.w, g.hosts[i])) >= 0;)
            hang_up(&g.w, fd); /* the checks' */
    group_close(&g);
}

static void an_address_that_refuses_gives_way_at_no_cost(void **state)
{
    group g;

    (void)state;
    names_open(&g, NAMED(""), "234", 60);
    hang_up(&g.w, g.hosts[1]);
    g.hosts[1] = -1;
    unsigned had[2] = { 0 };
    for (int i = 0; i < 12; i++) {
        const int host = ask(&g, OK_EMPTY);
        hear_status(&g.w, g.client, "200");
        had[host / 2]++;
    }
    assert_int_equal(had[0] + had[1], 12);
    assert_int_equal(retries(&g, MG_RETRIES_SENT), 0);
    assert_int_equal(times_logged(&g, "upstream_connect"), 1); /* it comes last for a while */
    g.hosts[1] = listen_at(&g.w, "10.0.0.3", 9000);
    advance(&g.w, 10001 * MS);
    assert_string_equal(shares(&g, 9), "333");
    for (int i = 0; i < HOSTS; i++) {
        hang_up(&g.w, g.hosts[i]);
        g.hosts[i] = -1;
    }
    say(&g.w, g.client, GET("/"));
    hear_status(&g.w, g.client, "502");
    group_close(&g);
}

static void an_operators_word_is_about_all_addresses_of_an_endpoint(void **state)
{
    group g;

    (void)state;
    names_open(&g,
               SERVICE_OF("endpoints: [{ url: \"http://up.internal:9000\" }, { url: \"http://10.0.0.4:9000\" "
                          "}], balance: round_robin, slow_start: 0s") ROUTE,
               "2", 1);
    mg_service_set_down(service(&g), 0, true, 1);
    assert_string_equal(shares(&g, 2), "002");
    set_name(&g, "up.internal", "23", 1);
    advance(&g.w, 1100 * MS);
    assert_int_equal(service(&g)->host_count, 3);
    assert_string_equal(shares(&g, 2), "002");
    mg_service_set_down(service(&g), 1, false, 2);
    assert_string_equal(shares(&g, 8), "224");
    group_close(&g);
}

static void what_is_known_of_an_address_that_stays_is_kept(void **state)
{
    group g;
    int host = -1;

    (void)state;
    names_open(&g, NAMED(", eject: { consecutive: 2, base: 60s, max: 60s, success_rate: false }"), "23", 1);
    for (int i = 0; i < 4; i++) {
        say(&g.w, g.client, GET("/"));
        const int fd = arrives(&g, &host);
        say(&g.w, fd, host == 0 ? BUSY : OK_EMPTY);
        leave(&g);
        hear_status(&g.w, g.client, host == 0 ? "503" : "200");
    }
    assert_true(
        mg_ejection_is_out(service(&g)->ejection, 0, mg_policy_clock_now(&g.w.gateway->policy_clock)));
    say(&g.w, g.client, GET("/")); /* under way while the set changes */
    const int up = arrives(&g, &host);
    assert_int_equal(host, 1);
    set_name(&g, "up.internal", "234", 1);
    advance(&g.w, 1100 * MS);
    mg_service *now = service(&g);
    assert_int_equal(now->host_count, 3);
    assert_true(mg_ejection_is_out(now->ejection, 0, mg_policy_clock_now(&g.w.gateway->policy_clock)));
    assert_int_equal(mg_inflight_get(now->inflight, 1), 1);
    say(&g.w, up, OK_EMPTY);
    hear_status(&g.w, g.client, "200");
    assert_int_equal(mg_inflight_get(now->inflight, 1), 0);
    group_close(&g);
}

static void more_addresses_than_are_used_are_told_once(void **state)
{
    group g;
    mg_addr addrs[MG_RESOLVE_MAX + 8];

    (void)state;
    names_open(&g, NAMED(""), "2", 1);
    for (unsigned i = 0; i < mg_countof(addrs); i++) {
        char ip[16];
        snprintf(ip, sizeof ip, "10.0.1.%u", i);
        addrs[i] = addr_of(ip, 0);
    }
    mg_sim_set_name(g.w.sim, "up.internal", addrs, mg_countof(addrs), 1);
    advance(&g.w, 5000 * MS);
    assert_int_equal(service(&g)->host_count, MG_RESOLVE_MAX);
    assert_int_equal(times_logged(&g, "up.internal has 40 addresses; the first 32 are used"), 1);
    group_close(&g);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_address_of_a_name_has_its_share),
        cmocka_unit_test(the_weight_of_an_endpoint_is_shared_by_its_addresses),
        cmocka_unit_test(a_changed_answer_counts_when_its_time_is_over),
        cmocka_unit_test(connections_to_an_address_that_is_gone_end_when_they_are_idle),
        cmocka_unit_test(another_order_of_the_same_addresses_changes_nothing),
        cmocka_unit_test(a_name_that_stops_resolving_keeps_its_addresses),
        cmocka_unit_test(a_name_that_never_resolved_is_503_until_it_does),
        cmocka_unit_test(a_reload_asks_for_names_again),
        cmocka_unit_test(health_is_by_address),
        cmocka_unit_test(an_address_that_refuses_gives_way_at_no_cost),
        cmocka_unit_test(an_operators_word_is_about_all_addresses_of_an_endpoint),
        cmocka_unit_test(what_is_known_of_an_address_that_stays_is_kept),
        cmocka_unit_test(more_addresses_than_are_used_are_told_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
