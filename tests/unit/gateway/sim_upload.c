/* sim_upload.c - which clock runs while a request's body is on its way: the route's and the try's stand
 * still, the client's body_timeout and the upstream's read_timeout run, a caller's deadline always does. */
#include "sim_group.h"

#define POST(n) "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"
#define PUT(n)  "PUT /a HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"
#define LISTENER                                                                                             \
    "listeners: { web: { bind: \"10.0.0.1:80\", body_timeout: 4s, trusted_proxies: [127.0.0.1] } }\n"
#define TIMED(more)                                                                                          \
    LISTENER QUIET                                                                                           \
        "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], first_byte_timeout: 6s, "         \
        "read_timeout: 7s, " more " } }\n"
#define WITHIN(time)                                                                                         \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, hop_factor: 1, timeout: " #time   \
    " }]\n"
#define WITHIN_P(time)                                                                                       \
    "plugins: { p: { use: ./plugins/p } }\n"                                                                 \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up, hop_factor: 1, "    \
    "timeout: " #time " }]\n"

/* Nothing to be heard until `ms` have passed, less one, and then something, a millisecond later at most. */
#define happens_after(l, ms)                                                                                 \
    do {                                                                                                     \
        advance(&(l)->w, ((ms)-1) * MS);                                                                     \
        assert_int_equal(hear(&(l)->w, (l)->client), HEAR_OPEN);                                             \
        assert_string_equal((l)->w.heard, "");                                                               \
        advance(&(l)->w, 2 * MS);                                                                            \
    } while (0)

/* A byte a second. */
static void trickle(line *l, int seconds)
{
    for (int i = 0; i < seconds; i++) {
        advance(&l->w, MG_NS_PER_S);
        say(&l->w, l->client, "x");
    }
}

static void answer_200(line *l)
{
    (void)hear(&l->w, l->up);
    say(&l->w, l->up, OK_EMPTY);
    hear_status(&l->w, l->client, "200");
}

static void a_slow_upload_ends_well_with_the_defaults(void **state)
{
    static char kilo[1024];
    line l;

    (void)state;
    memset(kilo, 'x', sizeof kilo);
    line_open(&l, WEB QUIET SERVICE ROUTE, NULL);
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 184320\r\n\r\n");
    for (int i = 0; i < 180; i++) {
        advance(&l.w, 100 * MS);
        say_all(&l.w, l.client, kilo, sizeof kilo);
        (void)hear(&l.w, l.up);
    }
    answer_200(&l);
    line_close(&l);
}

static void a_slow_upload_in_chunks_ends_well(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        advance(&l.w, 3900 * MS);
        say(&l.w, l.client, i % 2 ? "1\r\nx\r\n" : "2\r\nx");
        if (i % 2 == 0)
            say(&l.w, l.client, "y\r\n");
    }
    say(&l.w, l.client, "0\r\n\r\n");
    answer_200(&l);
    line_close(&l);
}

static void the_routes_time_begins_when_the_request_is_whole(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    line_ask(&l, POST(9));
    trickle(&l, 9);
    happens_after(&l, 2000);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void what_a_plugin_waited_for_before_stays_counted(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN_P(2s), HANDLER("ctx:sleep(1.5) next(ctx)"));
    say(&l.w, l.client, POST(9));
    advance(&l.w, 1500 * MS);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    trickle(&l, 9);
    happens_after(&l, 500);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void a_plugin_that_takes_the_body_waits_for_it(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN_P(2s), HANDLER("ctx.request:body() ctx:sleep(1.5) next(ctx)"));
    say(&l.w, l.client, POST(9));
    trickle(&l, 9);
    advance(&l.w, 1501 * MS);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    happens_after(&l, 499);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void a_plugin_that_streams_the_body_does_not_end_it(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("retry: { attempts: 2 }") WITHIN_P(2s),
              "local p = { name = 'p', version = '1', body = { request = 'stream' } }\n"
              "function p.new() return { handler = function(ctx, next) next(ctx) end,\n"
              "request_body = function(ctx, chunk) return chunk .. '!' end } end\nreturn p\n");
    line_ask(&l, POST(9));
    trickle(&l, 9);
    (void)hear(&l.w, l.up);
    assert_ends(l.w.heard, "\r\n0\r\n\r\n");
    happens_after(&l, 2000);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void a_plugins_own_timeout_still_ends_its_wait(void **state)
{
    line l;

    (void)state;
    line_open(&l,
              TIMED("") "plugins: { p: { use: ./plugins/p, timeout: 3s } }\n"
                        "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up, "
                        "timeout: 1s }]\n",
              HANDLER("local ok = pcall(function() ctx.request:body() end) ctx:respond(200, tostring(ok))"));
    say(&l.w, l.client, POST(9));
    advance(&l.w, 1500 * MS);
    say(&l.w, l.client, "x");
    happens_after(&l, 1500);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "false");
    line_close(&l);
}

static void the_first_byte_is_waited_for_from_the_last_byte_on(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN(20s), NULL);
    line_ask(&l, POST(9));
    trickle(&l, 9);
    happens_after(&l, 6000);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void a_trys_time_begins_when_its_request_is_whole(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("retry: { attempts: 1, per_try_timeout: 1s }") WITHIN(20s), NULL);
    line_ask(&l, PUT(9));
    trickle(&l, 9);
    happens_after(&l, 1000);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void a_client_that_stands_still_is_408_whatever_the_route_says(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    line_ask(&l, POST(9));
    trickle(&l, 3);
    advance(&l.w, 3999 * MS);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    advance(&l.w, 2 * MS);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 408 ");
    line_close(&l);
}

/* ---- an upstream that reads slowly, or not at all ---- */

/* The client sends until nobody takes any more. */
static size_t fill_up(line *l, size_t most)
{
    static char body[4096];
    size_t sent = 0, some;

    memset(body, 'x', sizeof body);
    while (sent < most &&
           (some = say_bytes(&l->w, l->client, body, mg_min_u64(sizeof body, most - sent))) > 0)
        sent += some;
    return sent;
}

static void stops_reading(const char *config, unsigned patience_ms)
{
    line l;

    line_open(&l, config, NULL);
    mg_sim_set_buffer(l.w.sim, 1000);
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 200000\r\n\r\n");
    trickle(&l, 10); /* a wait for the client before is none for the upstream */
    (void)fill_up(&l, 199000);
    happens_after(&l, patience_ms);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 504 ");
    line_close(&l);
}

static void an_upstream_that_stops_reading_has_read_timeout(void **state)
{
    (void)state;
    stops_reading(TIMED("") WITHIN(20s), 7000);
}

static void or_the_routes_time_when_that_is_less(void **state)
{
    (void)state;
    stops_reading(TIMED("") WITHIN(2s), 2000);
}

static void an_upstream_that_reads_slowly_gets_the_whole_body(void **state)
{
    line l;
    char some[2000];
    size_t sent = 0, got = 0;

    (void)state;
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    mg_sim_set_buffer(l.w.sim, 4096);
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 60000\r\n\r\n");
    while (got < 60000) {
        sent += fill_up(&l, 60000 - sent);
        advance(&l.w, 500 * MS);
        const ssize_t n = l.w.outside->ops->recv(l.w.outside, l.up, some, sizeof some);
        assert_true(n > 0);
        got += (size_t)n;
    }
    answer_200(&l);
    line_close(&l);
}

/* ---- what the next hop hears, and what a caller has said ---- */

#define TELLING LISTENER QUIET SERVICE ROUTE

static void the_next_hop_is_told_what_begins_with_a_whole_request(void **state)
{
    line l;

    (void)state;
    line_open(&l, TELLING, NULL);
    line_ask(&l, POST(3) "abc");
    assert_has(l.w.heard, "x-moongate-deadline-ms: 13500\r\n");
    answer_200(&l);
    line_ask(&l, POST(3) "ab");
    assert_null(strstr(l.w.heard, "deadline"));
    say(&l.w, l.client, "c");
    answer_200(&l);
    line_close(&l);
    line_open(&l, LISTENER QUIET SERVICE ROUTE_P, HANDLER("ctx.request:body() next(ctx)"));
    say(&l.w, l.client, POST(3));
    trickle(&l, 3);
    l.up = take(&l.w, l.upstream);
    (void)hear(&l.w, l.up);
    assert_has(l.w.heard, "x-moongate-deadline-ms: 13500\r\n");
    answer_200(&l);
    line_close(&l);
}

static void a_callers_time_runs_while_its_body_does(void **state)
{
    line l;

    (void)state;
    line_open(&l, TELLING, NULL);
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\nx-moongate-deadline-ms: 5000\r\n\r\n");
    assert_has(l.w.heard, "x-moongate-deadline-ms: 4500\r\n");
    trickle(&l, 4);
    happens_after(&l, 500);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 504 ");
    line_close(&l);
    line_open(&l, TELLING, NULL);
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\ngrpc-timeout: 5S\r\n\r\n");
    assert_has(l.w.heard, "grpc-timeout: 4500m\r\n");
    line_close(&l);
}

static void a_callers_time_ends_a_plugins_wait_for_the_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, LISTENER QUIET SERVICE ROUTE_P, HANDLER("ctx.request:body() next(ctx)"));
    say(&l.w, l.client,
        "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 99\r\nx-moongate-deadline-ms: 5000\r\n\r\n");
    trickle(&l, 4);
    happens_after(&l, 1000);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 504 ");
    line_close(&l);
}

/* ---- 100 Continue ---- */

#define EXPECTS "POST /a HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n"

static void an_upstream_that_does_not_say_go_on_is_late(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN(20s), NULL); /* body_timeout is less: the client owes nothing */
    line_ask(&l, EXPECTS);
    happens_after(&l, 6000);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 504 ");
    line_close(&l);
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    line_ask(&l, EXPECTS);
    happens_after(&l, 2000);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 504 ");
    line_close(&l);
}

static void a_client_that_was_told_to_go_on_owes_its_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    line_ask(&l, EXPECTS);
    advance(&l.w, 1500 * MS);
    say(&l.w, l.up, "HTTP/1.1 100 Continue\r\n\r\n");
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 100 ");
    happens_after(&l, 4000);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 408 ");
    line_close(&l);
}

static void the_wait_for_go_on_stays_counted(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    line_ask(&l, EXPECTS);
    advance(&l.w, 1500 * MS);
    say(&l.w, l.up, "HTTP/1.1 100 Continue\r\n\r\n");
    (void)hear(&l.w, l.client);
    trickle(&l, 9);
    happens_after(&l, 500);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    line_ask(&l, EXPECTS);
    advance(&l.w, 500 * MS);
    say(&l.w, l.client, "x"); /* it does not wait any longer */
    trickle(&l, 8);
    happens_after(&l, 1500);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

/* ---- what is learnt of the upstream ---- */

#define JUDGED                                                                                               \
    "endpoints: [" HOST(2) "], eject: { consecutive: 1 }, retry: { attempts: 2, per_try_timeout: 1s }, "     \
                           "breaker: { mode: count_window, window_calls: 2, min_requests: 1, slow_call: "    \
                           "500ms, slow_rate: 10% }"

static void a_slow_client_is_not_the_upstreams_latency(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(JUDGED) WITHIN(2s), 1);
    say(&g.w, g.client, PUT(9));
    const int up = arrives(&g, &host);
    assert_true(up >= 0);
    for (int i = 0; i < 9; i++) {
        advance(&g.w, MG_NS_PER_S);
        say(&g.w, g.client, "x");
    }
    advance(&g.w, 200 * MS);
    say(&g.w, up, OK_EMPTY);
    hear_status(&g.w, g.client, "200");
    const mg_service_name *service = service_named(&g, "up");
    assert_int_equal(mg_breaker_now(service->newest->circuit->breaker, 0), MG_BREAKER_CLOSED);
    assert_int_equal(mg_cell_get(&service->circuits->cells->slow), 0);
    assert_int_equal(mg_cell_get(&service->circuits->cells->calls[MG_CALLS_OK]), 1);
    assert_true(mg_cell_get(&service->cells[0].call_duration.sum_us) >= 200000);
    assert_true(mg_cell_get(&service->cells[0].call_duration.sum_us) < 202000);
    group_close(&g);
}

static void an_answer_in_the_middle_of_an_upload_is_passed_on(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN(2s), NULL);
    line_ask(&l, POST(9));
    trickle(&l, 5);
    (void)hear(&l.w, l.up);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\na");
    hear_status(&l.w, l.client, "200");
    trickle(&l, 4); /* the rest goes on, beyond the route's time */
    (void)hear(&l.w, l.up);
    assert_string_equal(l.w.heard, "xxxx");
    say(&l.w, l.up, "bc");
    (void)hear(&l.w, l.client);
    assert_string_equal(l.w.heard, "bc");
    line_close(&l);
}

static void a_second_try_has_what_the_first_left(void **state)
{
    group g;
    int host;

    (void)state;
    group_open(&g, SERVICE_OF(PAIR ", " RETRY_FAST) WITHIN(2s), 2);
    say(&g.w, g.client, PUT(9));
    const int first = arrives(&g, &host);
    assert_true(first >= 0);
    for (int i = 0; i < 9; i++) {
        advance(&g.w, MG_NS_PER_S);
        say(&g.w, g.client, "x");
    }
    advance(&g.w, 1000 * MS);
    say(&g.w, first, BUSY);
    advance(&g.w, 20 * MS);
    assert_true(arrives(&g, &host) >= 0);
    assert_ends(g.w.heard, "xxxxxxxxx");
    assert_has(g.w.heard, "x-moongate-deadline-ms: 9"); /* 2 s, less the first try's and the backoff */
    advance(&g.w, 978 * MS);
    assert_int_equal(hear(&g.w, g.client), HEAR_OPEN);
    assert_string_equal(g.w.heard, "");
    advance(&g.w, 3 * MS);
    hear_status(&g.w, g.client, "504");
    group_close(&g);
}

static void an_answer_slower_than_the_routes_time_comes_whole(void **state)
{
    line l;

    (void)state;
    line_open(&l, TIMED("") WITHIN_P(2s),
              "local p = { name = 'p', version = '1', body = { response = 'stream' } }\n"
              "function p.new() return { handler = function(ctx, next) next(ctx) end,\n"
              "response_body = function(ctx, chunk) return chunk end } end\nreturn p\n");
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    for (int i = 0; i < 20; i++) {
        advance(&l.w, 6900 * MS);
        say(&l.w, l.up, "x");
    }
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_ends(l.w.heard, "0\r\n\r\n");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slow_upload_ends_well_with_the_defaults),
        cmocka_unit_test(a_slow_upload_in_chunks_ends_well),
        cmocka_unit_test(the_routes_time_begins_when_the_request_is_whole),
        cmocka_unit_test(what_a_plugin_waited_for_before_stays_counted),
        cmocka_unit_test(a_plugin_that_takes_the_body_waits_for_it),
        cmocka_unit_test(a_plugin_that_streams_the_body_does_not_end_it),
        cmocka_unit_test(a_plugins_own_timeout_still_ends_its_wait),
        cmocka_unit_test(the_first_byte_is_waited_for_from_the_last_byte_on),
        cmocka_unit_test(a_trys_time_begins_when_its_request_is_whole),
        cmocka_unit_test(a_client_that_stands_still_is_408_whatever_the_route_says),
        cmocka_unit_test(an_upstream_that_stops_reading_has_read_timeout),
        cmocka_unit_test(or_the_routes_time_when_that_is_less),
        cmocka_unit_test(an_upstream_that_reads_slowly_gets_the_whole_body),
        cmocka_unit_test(the_next_hop_is_told_what_begins_with_a_whole_request),
        cmocka_unit_test(a_callers_time_runs_while_its_body_does),
        cmocka_unit_test(a_callers_time_ends_a_plugins_wait_for_the_body),
        cmocka_unit_test(an_upstream_that_does_not_say_go_on_is_late),
        cmocka_unit_test(a_client_that_was_told_to_go_on_owes_its_body),
        cmocka_unit_test(the_wait_for_go_on_stays_counted),
        cmocka_unit_test(a_slow_client_is_not_the_upstreams_latency),
        cmocka_unit_test(an_answer_in_the_middle_of_an_upload_is_passed_on),
        cmocka_unit_test(a_second_try_has_what_the_first_left),
        cmocka_unit_test(an_answer_slower_than_the_routes_time_comes_whole),
    };

    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
