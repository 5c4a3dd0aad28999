/* sim_failures.c - the client leaves, the upstream fails, its name does not resolve, its places are taken. */
#include "sim_exchange.h"

static void a_client_that_leaves_leaves_nothing_behind(void **state)
{
    (void)state;
    for (int steps = 0; steps <= STEPS; steps++)
        for (int how = 0; how < 6; how++) {
            line l;
            line_open(&l, BASE ROUTE_P, how % 2 ? BUFFERING : WAITING);
            play(&l, steps);
            if (how < 2)
                hang_up(&l.w, l.client);
            else if (how < 4)
                hang_up_hard(&l.w, l.client);
            else
                half_close(&l.w, l.client);
            if (how < 4)
                l.client = -1;
            advance(&l.w, 60 * MG_NS_PER_S);
            assert_int_equal(world_live_exchanges(&l.w), 0);
            line_close(&l);
        }
}

static void an_upstream_that_fails_is_answered_for_or_cut(void **state)
{
    (void)state;
    for (int steps = 6; steps <= STEPS; steps++)
        for (int how = 0; how < 6; how++) {
            line l;
            line_open(&l, BASE ROUTE_P, how % 2 ? BUFFERING : WAITING);
            play(&l, steps);
            if (how < 2)
                hang_up(&l.w, l.up);
            else if (how < 4)
                hang_up_hard(&l.w, l.up);
            else
                say(&l.w, l.up, "\r\n\x01garbage\r\n\r\n");
            if (how < 4)
                l.up = -1;
            advance(&l.w, 5 * MG_NS_PER_S);
            /* Where the head went out before the failure was read, the answer is cut. */
            const bool head_passes = how % 2 == 0 && steps >= (how < 4 ? 8 : 7);
            if (head_passes)
                client_is_cut(&l);
            else
                hear_status(&l.w, l.client, "502");
            assert_int_equal(world_live_exchanges(&l.w), 0);
            line_close(&l);
        }
}

static void a_stale_connection_is_replaced_for_what_may_be_sent_twice(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_ask(&l, GET); /* arrives, and the upstream closes instead of an answer */
    line_drop(&l, &l.up);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_starts(l.w.heard, "GET /a ");
    line_drop(&l, &l.up); /* once only */
    hear_status(&l.w, l.client, "502");
    line_close(&l);
}

static void what_may_not_be_sent_twice_is_not(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
    line_drop(&l, &l.up);
    hear_status(&l.w, l.client, "502");
    assert_int_equal(take(&l.w, l.upstream), -1);
    line_close(&l);
}

/* The next request that came to any of the upstream's connections is answered. */
static bool answer_one(world *w, int upstream, int ups[], int *count)
{
    const int fd = take(w, upstream);

    if (fd >= 0)
        ups[(*count)++] = fd;
    for (int i = 0; i < *count; i++) {
        if (ups[i] < 0)
            continue;
        if (hear(w, ups[i]) != HEAR_OPEN) {
            hang_up(w, ups[i]);
            ups[i] = -1;
        } else if (w->heard[0]) {
            say(w, ups[i], OK_EMPTY);
            return true;
        }
    }
    return false;
}

static void places_at_an_endpoint_go_from_worker_to_worker(void **state)
{
    world w;
    int clients[12], ups[64], count = 0;

    (void)state;
    world_init(&w, 1, 3);
    assert_true(world_try_start(&w, 1,
                                WEB QUIET
                                "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], pool: { "
                                "max_connections: 1, queue: 100 } } }\n" ROUTE));
    const int upstream = listen_at(&w, "10.0.0.2", 9000);
    for (int i = 0; i < 12; i++)
        clients[i] = dial(&w, "10.0.0.1", 80);
    for (unsigned i = 0; i < 3; i++)
        assert_true(w.gateway->shared.workers[i]->live > 0);
    for (int i = 0; i < 12; i++) { /* what holds the place is idle */
        say(&w, clients[i], GET);
        while (!answer_one(&w, upstream, ups, &count))
            assert_true(count < 64);
        hear_status(&w, clients[i], "200");
    }
    for (int i = 0; i < 12; i++)
        say(&w, clients[i], GET);
    for (int i = 0; i < 12;) /* it is busy, and then passed on */
        i += answer_one(&w, upstream, ups, &count);
    for (int i = 0; i < 12; i++) {
        hear_status(&w, clients[i], "200");
        hang_up(&w, clients[i]);
    }
    for (int i = 0; i < count; i++)
        if (ups[i] >= 0)
            hang_up(&w, ups[i]);
    hang_up(&w, upstream);
    world_close(&w);
}

static unsigned lines_with(const world *w, const char *text)
{
    const mg_str all = mg_text_str(&w->logged);
    unsigned count = 0;

    for (size_t at = 0; at + strlen(text) <= all.n; at++)
        count += memcmp(all.p + at, text, strlen(text)) == 0;
    return count;
}

static void a_name_that_fails_is_told_once_until_it_resolves(void **state)
{
    world w;
    mg_addr addr;

    (void)state;
    world_init(&w, 1, 1);
    assert_true(world_try_start(&w, 1,
                                WEB QUIET
                                "services: { up: { endpoints: [{ url: \"http://api.internal:9000\" }] } }\n"
                                "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up }]\n"));
    advance(&w, 60000 * MS);
    assert_int_equal(lines_with(&w, "api.internal does not resolve"), 1);
    assert_true(mg_addr_from_ip(&addr, MG_STR("10.0.0.2"), 0));
    mg_sim_set_name(w.sim, "api.internal", &addr, 1, 5);
    advance(&w, 10000 * MS);
    assert_int_equal(lines_with(&w, "api.internal resolves again"), 1);
    mg_sim_set_name(w.sim, "api.internal", NULL, 0, 0);
    advance(&w, 60000 * MS);
    assert_int_equal(lines_with(&w, "api.internal does not resolve"), 2);
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_client_that_leaves_leaves_nothing_behind),
        cmocka_unit_test(an_upstream_that_fails_is_answered_for_or_cut),
        cmocka_unit_test(a_stale_connection_is_replaced_for_what_may_be_sent_twice),
        cmocka_unit_test(what_may_not_be_sent_twice_is_not),
        cmocka_unit_test(places_at_an_endpoint_go_from_worker_to_worker),
        cmocka_unit_test(a_name_that_fails_is_told_once_until_it_resolves),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
