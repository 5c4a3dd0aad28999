/* sim_gateway.c - the whole gateway on simulated loops: what goes through it, and how. */
#include "sim_world.h"

#define PLAIN                                                                                                \
    "listeners: { web: { bind: \"10.0.0.1:80\" } }\n"                                                        \
    "observability: { access_log: { to: off } }\n"                                                           \
    "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }] } }\n"                                 \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up }]\n"

#define GET "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"

static void a_request_goes_through_and_comes_back(void **state)
{
    world w;

    (void)state;
    world_open(&w, PLAIN);
    const int upstream = listen_at(&w, "10.0.0.2", 9000);
    const int client = dial(&w, "10.0.0.1", 80);
    say(&w, client, GET);
    const int up = take(&w, upstream);
    assert_true(up >= 0);
    assert_int_equal(hear(&w, up), HEAR_OPEN);
    assert_starts(w.heard, "GET /a HTTP/1.1\r\nhost: 10.0.0.2:9000\r\n");
    say(&w, up, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    hear_status(&w, client, "200");
    assert_ends(w.heard, "\r\n\r\nhello");
    assert_int_equal(world_live_exchanges(&w), 0);
    hang_up(&w, client);
    hang_up(&w, up);
    hang_up(&w, upstream);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_through_and_comes_back),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
