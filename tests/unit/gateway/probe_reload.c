/* probe_reload.c - health checks across reloads, drains and the end of the gateway. */
#include "probe_fixture.h"

static void a_reload_keeps_what_is_known_and_whose_turn_it_is(void **state)
{
    uint64_t waited;
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    answer_check(&w, up, SICK);
    answer_check(&w, up, OK);
    advance(&w, 3000 * MS);
    reload(&w,
           WEB QUIET "services: { other: { endpoints: [{ url: \"http://10.0.0.9:1\" }] }, up: { endpoints: "
                     "[{ url: \"http://10.0.0.2:9000\" }], " CHECK " } }\n" ROUTE);
    assert_int_equal(w.gateway->revision, 2);
    mg_service *service = w.gateway->snapshot->services[1].service;
    mg_host_view view;
    mg_service_host_view(service, 0, 0, &view);
    if (view.health != MG_HEALTH_DOWN)
        service = w.gateway->snapshot->services[0].service; /* services are in no order */
    mg_service_host_view(service, 0, 0, &view);
    assert_int_equal(view.health, MG_HEALTH_DOWN);
    assert_int_equal(take(&w, up), -1); /* it was not its turn */
    int fd = next_check(&w, up, &waited);
    assert_in_range(waited, 1490, 2510);
    reload(&w, ONE(CHECK)); /* a check is on its way */
    say(&w, fd, OK);        /* the second success */
    assert_health(&w, 0, UP);
    hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

static void a_reload_asks_new_endpoints_at_once_and_those_that_left_no_more(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000), more = listen_at(&w, "10.0.0.7", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    answer_check(&w, up, OK);
    const int left = next_check(&w, up, NULL); /* runs as it leaves */
    reload(&w, WEB QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.7:9000\" }], " CHECK
                         " } }\n" ROUTE);
    assert_int_equal(hear(&w, left), HEAR_END);
    hang_up(&w, left);
    int fd = take(&w, more);
    assert_true(fd >= 0);
    hang_up(&w, fd);
    assert_health(&w, 0, DOWN);
    advance(&w, 20000 * MS);
    assert_int_equal(take(&w, up), -1);
    reload(&w, ONE("health: { path: /other }"));
    fd = take(&w, up);
    assert_int_equal(hear(&w, fd), HEAR_OPEN);
    assert_starts(w.heard, "GET /other ");
    reload(&w, ONE("health: { path: /third }")); /* what was asked is no answer to that */
    assert_int_equal(hear(&w, fd), HEAR_END);
    hang_up(&w, fd);
    fd = take(&w, up);
    assert_int_equal(hear(&w, fd), HEAR_OPEN);
    assert_starts(w.heard, "GET /third ");
    hang_up(&w, fd);
    reload(&w, ONE("panic: 50%")); /* no checks at all */
    advance(&w, 20000 * MS);
    assert_int_equal(take(&w, up), -1);
    while ((fd = take(&w, more)) >= 0)
        hang_up(&w, fd);
    hang_up(&w, up);
    hang_up(&w, more);
    world_close(&w);
}

static void no_check_runs_once_the_doors_are_closed(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(
        &w, 1,
        "shutdown: { drain_delay: 8s, drain_timeout: 60s }\n" ONE("health: { path: /, timeout: 10s }")));
    const int client = dial(&w, "10.0.0.1", 80);
    say(&w, client, "GET /a HTTP/1.1\r\n"); /* is waited for */
    answer_check(&w, up, OK);
    mg_gateway_drain(w.gateway);
    const int running = next_check(&w, up, NULL); /* clients still come */
    advance(&w, 2000 * MS);
    assert_int_equal(hear(&w, running), HEAR_OPEN);
    advance(&w, 2000 * MS);
    assert_int_equal(hear(&w, running), HEAR_END);
    hang_up(&w, running);
    advance(&w, 20000 * MS);
    assert_int_equal(take(&w, up), -1);
    assert_health(&w, 0, UP);
    hang_up(&w, client);
    hang_up(&w, up);
    world_close(&w);
}

static void the_gateway_may_end_in_the_middle_of_a_check(void **state)
{
    static const char *const said[] = { "", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        world w;
        world_init(&w, 1, 1);
        const int up = listen_at(&w, "10.0.0.2", 9000);
        assert_true(world_try_start(&w, 1, ONE(CHECK)));
        const int fd = next_check(&w, up, NULL);
        if (*said[i])
            say(&w, fd, said[i]);
        world_free_gateway(&w);
        hang_up(&w, fd);
        hang_up(&w, up);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reload_keeps_what_is_known_and_whose_turn_it_is),
        cmocka_unit_test(a_reload_asks_new_endpoints_at_once_and_those_that_left_no_more),
        cmocka_unit_test(no_check_runs_once_the_doors_are_closed),
        cmocka_unit_test(the_gateway_may_end_in_the_middle_of_a_check),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
