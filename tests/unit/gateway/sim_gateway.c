/* sim_gateway.c - the whole gateway on simulated loops: what goes through it, and several worlds. */
#include "sim_exchange.h"

static void a_request_goes_through_and_comes_back(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    assert_starts(l.w.heard, "GET /a HTTP/1.1\r\nhost: 10.0.0.2:9000\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\nhello");
    line_close(&l);
}

static void connections_are_kept_on_both_sides(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    for (int i = 0; i < 5; i++) {
        line_ask(&l, GET);
        assert_starts(l.w.heard, "GET /a ");
        say(&l.w, l.up, OK_EMPTY);
        hear_status(&l.w, l.client, "200");
    }
    assert_int_equal(take(&l.w, l.upstream), -1);
    line_close(&l);
}

static void pipelined_requests_are_answered_in_order(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, "GET /1 HTTP/1.1\r\nhost: a\r\n\r\n"
                 "POST /2 HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"
                 "GET /3 HTTP/1.1\r\nhost: a\r\n\r\n");
    for (int i = 1; i <= 3; i++) {
        char path[16], text[80];
        snprintf(path, sizeof path, " /%d ", i);
        assert_has(l.w.heard, path);
        snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n%d", i);
        say(&l.w, l.up, text);
        hear_status(&l.w, l.client, "200");
        snprintf(text, sizeof text, "\r\n\r\n%d", i);
        assert_ends(l.w.heard, text);
        assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    }
    line_close(&l);
}

#define WEB_SUMS "listeners: { web: { bind: \"10.0.0.1:80\", request_trailers: [x-sum] } }\n"

static void chunks_and_trailers_pass_both_ways(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB_SUMS QUIET SERVICE ROUTE, NULL);
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
    assert_has(l.w.heard, "transfer-encoding: chunked\r\n");
    assert_ends(l.w.heard, "\r\n\r\n3\r\nabc\r\n");
    say(&l.w, l.client, "2;x=y\r\nde\r\n0\r\nx-sum: 7\r\n\r\n");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "2\r\nde\r\n0\r\nx-sum: 7\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nA\r\n");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\n1\r\nA\r\n");
    say(&l.w, l.up, "0\r\nx-end: 1\r\n\r\n");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "0\r\nx-end: 1\r\n\r\n");
    line_ask(&l, GET); /* the same connection */
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

static void what_has_no_body_ends_with_its_head(void **state)
{
    static const char *const cases[][2] = {
        { "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n" },
        { "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" },
        { GET, "HTTP/1.1 204 No Content\r\n\r\n" },
        { GET, "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n" },
        { GET, OK_EMPTY },
    };
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        line_ask(&l, cases[i][0]);
        say(&l.w, l.up, cases[i][1]);
        assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
        assert_memory_equal(l.w.heard, cases[i][1], 12);
        assert_ends(l.w.heard, "\r\n\r\n");
        assert_int_equal(world_live_exchanges(&l.w), 0);
    }
    assert_int_equal(take(&l.w, l.upstream), -1); /* one connection was enough */
    line_close(&l);
}

static void go_on_comes_from_the_upstream(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, "PUT /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    assert_has(l.w.heard, "expect: 100-continue\r\n");
    say(&l.w, l.up, "HTTP/1.1 100 Continue\r\n\r\n");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "HTTP/1.1 100 Continue\r\n\r\n");
    say(&l.w, l.client, "abc");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "abc");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

static void a_refusal_instead_of_go_on_ends_the_connection(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, "PUT /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 3\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 417 No\r\ncontent-length: 0\r\n\r\n");
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 417 ");
    assert_has(l.w.heard, "connection: close\r\n");
    line_close(&l);
}

static void an_answer_may_come_before_the_request_is_whole(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, POST(100));
    say(&l.w, l.client, "some of it");
    say(&l.w, l.up, "HTTP/1.1 413 No\r\ncontent-length: 2\r\n\r\nno");
    hear_status(&l.w, l.client, "413");
    assert_ends(l.w.heard, "\r\n\r\nno");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN); /* not fit for another request */
    line_drop(&l, &l.up);
    /* What is left is small: it is read past, and the connection serves on. */
    char rest[90];
    memset(rest, 'x', sizeof rest);
    assert_int_equal(say_bytes(&l.w, l.client, rest, sizeof rest), sizeof rest);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

static void built_in_plugins_work_on_what_passes(void **state)
{
    line l;

    (void)state;
    line_open(
        &l,
        BASE
        "routes:\n"
        "  - { name: all, match: { paths: [{ prefix: / }] }, service: up, plugins: [request_id, { headers: { "
        "request: { set: { x-in: \"1\" } }, response: { set: { x-out: \"2\" } } } }] }\n"
        "  - { name: hi, match: { paths: [{ prefix: /hi }] }, plugins: [{ respond: { status: 201, body: hi } "
        "}] }\n"
        "plugins: { request_id: { use: request_id } }\n",
        NULL);
    line_ask(&l, GET);
    assert_has(l.w.heard, "x-in: 1\r\n");
    assert_has(l.w.heard, "x-request-id: ");
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-out: 2\r\n");
    assert_has(l.w.heard, "x-request-id: ");
    say(&l.w, l.client, "GET /hi HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&l.w, l.client, "201");
    assert_ends(l.w.heard, "\r\n\r\nhi");
    line_close(&l);
}

static bool metrics_have(world *w, const char *series)
{
    const mg_stats_global global = { 0 };
    mg_text text = { 0 };

    mg_stats_write(w->gateway->shared.stats, &global, &text);
    mg_text_add_char(&text, 0);
    const bool found = strstr(text.p, series) != NULL;
    mg_text_fini(&text);
    return found;
}

static void waiting_for_the_upstream_is_not_the_gateways_time(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    advance(&l.w, 2000 * MS);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    advance(&l.w, 3000 * MS);
    say(&l.w, l.up, "k");
    hear_status(&l.w, l.client, "200");
    assert_true(metrics_have(&l.w, "moongate_http_request_duration_seconds_sum{route=\"all\"} 5.000000"));
    assert_true(metrics_have(&l.w, "moongate_http_overhead_seconds_sum{route=\"all\"} 0.000000"));
    line_close(&l);
}

/* ---- several worlds ---- */

static void two_gateways_live_beside_each_other(void **state)
{
    line a, b;

    (void)state;
    line_open(&a, BASE ROUTE_P, HANDLER("ctx:sleep(1) next(ctx)"));
    line_open(&b, BASE ROUTE_P, HANDLER("next(ctx) ctx.response:set_header('x-b', '1')"));
    say(&a.w, a.client, GET);
    line_ask(&b, GET);
    say(&b.w, b.up, OK_EMPTY);
    hear_status(&b.w, b.client, "200");
    advance(&a.w, 1001 * MS); /* the other's clock stands */
    line_ask(&a, "");
    say(&a.w, a.up, OK_EMPTY);
    hear_status(&a.w, a.client, "200");
    line_close(&a);
    line_ask(&b, GET);
    say(&b.w, b.up, OK_EMPTY);
    hear_status(&b.w, b.client, "200");
    line_close(&b);
}

/* Everything that all ends heard, in order. */
static void record_run(uint64_t seed, mg_text *out)
{
    world w;
    int clients[20], ups[20], n = 0;

    world_init(&w, seed, 3);
    assert_true(world_try_start(&w, seed,
                                WEB QUIET SERVICE "routes: [{ name: all, match: { paths: [{ prefix: / }] }, "
                                                  "service: up, plugins: [request_id] }]\n"
                                                  "plugins: { request_id: { use: request_id } }\n"));
    const int upstream = listen_at(&w, "10.0.0.2", 9000);
    mg_sim_set_chunk(w.sim, 7);
    for (int i = 0; i < 20; i++)
        clients[i] = dial(&w, "10.0.0.1", 80);
    for (int i = 0; i < 20; i++)
        say_all(&w, clients[i], GET, strlen(GET));
    for (int i = 0; i < 20; i++)
        if ((ups[n] = take(&w, upstream)) >= 0)
            n++;
    for (int i = 0; i < n; i++) {
        (void)hear(&w, ups[i]);
        mg_text_add_c(out, w.heard);
        say_all(&w, ups[i], OK_EMPTY, strlen(OK_EMPTY));
    }
    for (int i = 0; i < 20; i++) {
        (void)hear(&w, clients[i]);
        mg_text_add_c(out, w.heard);
        hang_up(&w, clients[i]);
    }
    mg_text_add(out, mg_text_str(&w.logged));
    for (int i = 0; i < n; i++)
        hang_up(&w, ups[i]);
    hang_up(&w, upstream);
    world_close(&w);
}

static void the_same_seed_is_the_same_run(void **state)
{
    mg_text a = { 0 }, b = { 0 }, c = { 0 };

    (void)state;
    record_run(7, &a);
    record_run(7, &b);
    record_run(8, &c);
    assert_int_equal(a.n, b.n);
    assert_memory_equal(a.p, b.p, a.n);
    assert_false(a.n == c.n && memcmp(a.p, c.p, a.n) == 0);
    mg_text_fini(&a);
    mg_text_fini(&b);
    mg_text_fini(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_goes_through_and_comes_back),
        cmocka_unit_test(connections_are_kept_on_both_sides),
        cmocka_unit_test(pipelined_requests_are_answered_in_order),
        cmocka_unit_test(chunks_and_trailers_pass_both_ways),
        cmocka_unit_test(what_has_no_body_ends_with_its_head),
        cmocka_unit_test(go_on_comes_from_the_upstream),
        cmocka_unit_test(a_refusal_instead_of_go_on_ends_the_connection),
        cmocka_unit_test(an_answer_may_come_before_the_request_is_whole),
        cmocka_unit_test(built_in_plugins_work_on_what_passes),
        cmocka_unit_test(waiting_for_the_upstream_is_not_the_gateways_time),
        cmocka_unit_test(two_gateways_live_beside_each_other),
        cmocka_unit_test(the_same_seed_is_the_same_run),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
