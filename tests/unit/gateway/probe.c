/* probe.c - active health checks on the virtual clock: what is asked, what counts as healthy, and when the
 * next check comes. */
#include "probe_fixture.h"

#include "gateway/service/probe_try.h"

/* ---- what is asked, and what counts ---- */

static void a_check_asks_as_the_configuration_says(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE("health: { path: \"/healthz?deep=1\" }")));
    const int fd = take(&w, up); /* at once */
    assert_int_equal(hear(&w, fd), HEAR_OPEN);
    assert_string_equal(w.heard, "GET /healthz?deep=1 HTTP/1.1\r\nhost: 10.0.0.2:9000\r\n"
                                 "user-agent: moongate-health\r\n\r\n");
    assert_health(&w, 0, UNKNOWN);
    say(&w, fd, OK);
    assert_health(&w, 0, UP);
    assert_int_equal(hear(&w, fd), HEAR_END); /* nothing is kept open */
    hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

static void the_first_result_decides(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000), sick = listen_at(&w, "10.0.0.4", 9000);
    assert_true(world_try_start(&w, 1, THREE(CHECK)));
    advance(&w, 5 * MS);
    answer_check(&w, up, OK);
    answer_check(&w, sick, SICK);
    assert_health(&w, 0, UP);
    assert_health(&w, 1, DOWN); /* nobody listens */
    assert_health(&w, 2, DOWN);
    assert_int_equal(times_logged(&w, "host_down"), 2);
    assert_int_equal(times_logged(&w, "upstream_connect"), 0); /* a check is no request */
    hang_up(&w, up);
    hang_up(&w, sick);
    world_close(&w);
}

static void three_failures_in_a_row_take_out_and_two_successes_bring_back(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    answer_check(&w, up, OK);
    for (int round = 0; round < 3; round++) {
        answer_check(&w, up, SICK);
        answer_check(&w, up, SICK);
        assert_health(&w, 0, UP);
        answer_check(&w, up, SICK);
        assert_health(&w, 0, DOWN);
        answer_check(&w, up, OK);
        assert_health(&w, 0, DOWN);
        answer_check(&w, up, OK);
        assert_health(&w, 0, UP);
        assert_int_equal(times_logged(&w, "host_down"), round + 1); /* once a change */
    }
    assert_has(w.logged.p, "up: 10.0.0.2:9000 is unhealthy: answered 503");
    assert_has(w.logged.p, "up: 10.0.0.2:9000 is healthy: answered 200");
    hang_up(&w, up);
    world_close(&w);
}

static void who_flaps_below_the_bounds_stays_what_it_was(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    answer_check(&w, up, OK);
    for (int i = 0; i < 12; i++) {
        answer_check(&w, up, i % 3 == 2 ? OK : SICK);
        assert_health(&w, 0, UP);
    }
    for (int i = 0; i < 3; i++) /* the last in a row began before */
        answer_check(&w, up, SICK);
    assert_health(&w, 0, DOWN);
    for (int i = 0; i < 12; i++) {
        answer_check(&w, up, i % 2 ? SICK : OK);
        assert_health(&w, 0, DOWN);
    }
    hang_up(&w, up);
    world_close(&w);
}

/* The verdict on one answer; `state` is what it makes of an endpoint that nobody knew. */
static void judged(const char *answer, bool ends, mg_health_state wanted)
{
    world w;

    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    const int fd = take(&w, up);
    say(&w, fd, answer);
    if (ends)
        hang_up(&w, fd);
    if (view_of(&w, 0).health != wanted)
        fail_msg("%s, not %s after:\n%s", mg_health_state_name(view_of(&w, 0).health),
                 mg_health_state_name(wanted), answer);
    if (!ends)
        hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

static void a_2xx_or_3xx_is_healthy_and_nothing_else_is(void **state)
{
    (void)state;
    judged("HTTP/1.1 204 No Content\r\n\r\n", false, MG_HEALTH_UP);
    judged("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", false, MG_HEALTH_UP);
    judged("HTTP/1.1 304 Not Modified\r\n\r\n", false, MG_HEALTH_UP);
    judged("HTTP/1.1 103 Early Hints\r\n\r\n" OK, false, MG_HEALTH_UP);
    judged("HTTP/1.0 200 OK\r\n\r\nfine", true, MG_HEALTH_UP);
    judged("HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nhello", false, MG_HEALTH_DOWN);
    judged("HTTP/1.1 500 No\r\n\r\n", false, MG_HEALTH_DOWN); /* its body is not waited for */
    judged("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", false,
           MG_HEALTH_DOWN);
    judged("220 mail.example ESMTP\r\n\r\n", false, MG_HEALTH_DOWN);
    judged("", true, MG_HEALTH_DOWN);
    judged("HTTP/1.1 200 OK\r\ncontent-le", true, MG_HEALTH_DOWN);
}

static void a_body_is_read_so_far_and_no_further(void **state)
{
    char *many = mg_alloc(20000);

    (void)state;
    const int head = snprintf(many, 20000, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
    memset(many + head, ' ', MG_PROBE_BODY_MAX);
    many[head + MG_PROBE_BODY_MAX] = '\0';
    judged(many, false, MG_HEALTH_UNKNOWN);
    many[head + MG_PROBE_BODY_MAX] = ' ';
    many[head + MG_PROBE_BODY_MAX + 1] = '\0';
    judged(many, false, MG_HEALTH_UP);
    judged("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", true, MG_HEALTH_UP);
    judged("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz", false, MG_HEALTH_UP);
    mg_free(many);
}

static void no_answer_in_time_is_a_failure(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    int fd = next_check(&w, up, NULL);
    advance(&w, 500 * MS);
    say(&w, fd, "HTTP/1.1 200 OK\r\n"); /* a part of it is none */
    advance(&w, 499 * MS);
    assert_health(&w, 0, UNKNOWN);
    advance(&w, 2 * MS);
    assert_health(&w, 0, DOWN);
    assert_has(w.logged.p, "up: 10.0.0.2:9000 is unhealthy: no answer within 1000 ms");
    assert_int_equal(hear(&w, fd), HEAR_END);
    hang_up(&w, fd);
    answer_check(&w, up, OK);
    answer_check(&w, up, OK);
    assert_health(&w, 0, UP);
    for (int i = 0; i < 3; i++) { /* a head, but the body does not end: the head has told */
        fd = next_check(&w, up, NULL);
        say(&w, fd, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        advance(&w, 1001 * MS);
        assert_int_equal(hear(&w, fd), HEAR_END);
        hang_up(&w, fd);
    }
    assert_health(&w, 0, UP);
    hang_up(&w, up);
    world_close(&w);
}

static void a_connection_is_enough_where_no_path_is_asked_for(void **state)
{
    const mg_addr silent = addr_of("10.0.0.2", 9000);
    world w;

    (void)state;
    world_init(&w, 1, 1);
    int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE("health: { unhealthy_after: 1, healthy_after: 1 }")));
    assert_health(&w, 0, UP);
    int fd = take(&w, up);
    assert_int_equal(hear(&w, fd), HEAR_END); /* without a byte */
    assert_string_equal(w.heard, "");
    hang_up(&w, fd);
    hang_up(&w, up);
    advance(&w, 5501 * MS);
    assert_health(&w, 0, DOWN);
    assert_has(w.logged.p, "is unhealthy: Connection refused");
    up = listen_at(&w, "10.0.0.2", 9000);
    advance(&w, 5501 * MS);
    assert_health(&w, 0, UP);
    mg_sim_set_connect(w.sim, &silent, ETIMEDOUT);
    advance(&w, 6503 * MS);
    assert_health(&w, 0, DOWN);
    assert_has(w.logged.p, "is unhealthy: no answer within 1000 ms");
    while ((fd = take(&w, up)) >= 0)
        hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

static void each_address_of_a_name_is_checked(void **state)
{
    static const char *const checks[] = { "health: {}", CHECK };
    const mg_addr addrs[2] = { addr_of("10.0.0.8", 0), addr_of("10.0.0.9", 0) };
    const mg_addr silent = addr_of("10.0.0.8", 9000);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char config[1024];
        world w;
        world_init(&w, 1, 1);
        mg_sim_set_name(w.sim, "up.internal", addrs, 2, 30);
        mg_sim_set_connect(w.sim, &silent, ETIMEDOUT);
        const int up = listen_at(&w, "10.0.0.9", 9000);
        snprintf(config, sizeof config,
                 WEB QUIET
                 "services: { up: { endpoints: [{ url: \"http://up.internal:9000\" }], %s } }\n" ROUTE,
                 checks[i]);
        assert_true(world_try_start(&w, 1, config));
        advance(&w, 2 * MS);
        const int fd = take(&w, up);
        assert_true(fd >= 0);
        if (i == 1)
            say(&w, fd, OK);
        assert_health(&w, 0, UNKNOWN);
        assert_health(&w, 1, UP);
        advance(&w, 1000 * MS);
        assert_health(&w, 0, DOWN);
        assert_has(w.logged.p, "up: up.internal:9000@10.0.0.8 is unhealthy: no answer within 1000 ms");
        hang_up(&w, fd);
        hang_up(&w, up);
        world_close(&w);
    }
}

static void a_name_without_an_address_is_down_until_it_has_one(void **state)
{
    const mg_addr addr = addr_of("10.0.0.9", 0);
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.9", 9000);
    assert_true(world_try_start(&w, 1,
                                WEB QUIET "services: { up: { endpoints: [{ url: \"http://up.internal:9000\" "
                                          "}], health: {} } }\n" ROUTE));
    assert_health(&w, 0, DOWN);
    assert_has(w.logged.p, "up: up.internal:9000 is unhealthy: its name has no address");
    mg_sim_set_name(w.sim, "up.internal", &addr, 1, 30);
    advance(&w, 11002 * MS);
    assert_health(&w, 0, UP);
    for (int fd; (fd = take(&w, up)) >= 0;)
        hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

/* ---- when ---- */

static void checks_come_at_their_interval_more_or_less_a_tenth(void **state)
{
    uint64_t least = UINT64_MAX, most = 0, waited = 0;
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE("health: { path: /, interval: 1s }")));
    answer_check(&w, up, OK);
    for (int i = 0; i < 60; i++) {
        const int fd = next_check(&w, up, &waited);
        say(&w, fd, OK);
        hang_up(&w, fd);
        least = waited < least ? waited : least;
        most = waited > most ? waited : most;
    }
    assert_in_range(least, 899, 940);
    assert_in_range(most, 1060, 1101);
    hang_up(&w, up);
    world_close(&w);
}

/* 10.1.0.0 and up, each with its own check. */
static char *many_endpoints(unsigned count, const char *health)
{
    mg_text text = { 0 };

    mg_text_add_c(&text, WEB QUIET "services: { up: { endpoints: [");
    for (unsigned i = 0; i < count; i++)
        mg_text_addf(&text, "{ url: \"http://10.1.%u.%u:9000\" }, ", i / 200, i % 200 + 1);
    mg_text_addf(&text, "], %s } }\n" ROUTE, health);
    return text.p;
}

static unsigned known(const world *w)
{
    unsigned n = 0;

    for (size_t i = 0; i < service_of(w)->host_count; i++)
        n += view_of(w, i).health != MG_HEALTH_UNKNOWN;
    return n;
}

static void so_many_checks_run_at_once_and_the_others_wait(void **state)
{
    char *config = many_endpoints(200, "health: { path: /, interval: 60s, timeout: 10s }");
    world w;

    (void)state;
    world_init(&w, 1, 1);
    for (unsigned i = 0; i < 200; i++) {
        char ip[24];
        snprintf(ip, sizeof ip, "10.1.0.%u", i + 1);
        const mg_addr addr = addr_of(ip, 9000);
        mg_sim_set_connect(w.sim, &addr, ETIMEDOUT);
    }
    assert_true(world_try_start(&w, 1, config));
    const size_t before = mg_sim_open_sockets(w.sim);
    advance(&w, 300 * MS);
    assert_in_range(mg_sim_open_sockets(w.sim), before + 63, before + 64); /* the first began before */
    advance(&w, 9600 * MS);
    assert_int_equal(known(&w), 0);
    advance(&w, 200 * MS);
    assert_int_equal(known(&w), 64);
    assert_int_equal(mg_sim_open_sockets(w.sim), before + 64 - (mg_sim_open_sockets(w.sim) < before + 64));
    advance(&w, 30500 * MS);
    assert_int_equal(known(&w), 200);
    world_close(&w); /* nothing is left of it */
    mg_free(config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_asks_as_the_configuration_says),
        cmocka_unit_test(the_first_result_decides),
        cmocka_unit_test(three_failures_in_a_row_take_out_and_two_successes_bring_back),
        cmocka_unit_test(who_flaps_below_the_bounds_stays_what_it_was),
        cmocka_unit_test(a_2xx_or_3xx_is_healthy_and_nothing_else_is),
        cmocka_unit_test(a_body_is_read_so_far_and_no_further),
        cmocka_unit_test(no_answer_in_time_is_a_failure),
        cmocka_unit_test(a_connection_is_enough_where_no_path_is_asked_for),
        cmocka_unit_test(each_address_of_a_name_is_checked),
        cmocka_unit_test(a_name_without_an_address_is_down_until_it_has_one),
        cmocka_unit_test(checks_come_at_their_interval_more_or_less_a_tenth),
        cmocka_unit_test(so_many_checks_run_at_once_and_the_others_wait),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
