/* sim_deadline.c - how long is left, from hop to hop: what a caller says, what the next one is told, and what
 * ends when the time is over. */
#include "sim_world.h"

#define GET          "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define GET_WITH(f)  "GET /a HTTP/1.1\r\nhost: a\r\n" f "\r\n\r\n"
#define OK_EMPTY     "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define WEB_TRUSTING "listeners: { web: { bind: \"10.0.0.1:80\", trusted_proxies: [127.0.0.1] } }\n"
#define TRUSTING     WEB_TRUSTING QUIET SERVICE
#define WARY         WEB QUIET SERVICE

/* The request comes to the upstream with this field; without it when `field` begins with "!". */
static void asked_with(line *l, const char *request, const char *field)
{
    line_ask(l, request);
    if (field[0] != '!')
        assert_has(l->w.heard, field);
    else if (strstr(l->w.heard, field + 1))
        fail_msg("there is \"%s\" in:\n%s", field + 1, l->w.heard);
    say(&l->w, l->up, OK_EMPTY);
    hear_status(&l->w, l->client, "200");
}

/* Nothing was sent to anybody. */
static void refused_in_time(line *l, const char *request)
{
    say(&l->w, l->client, request);
    hear_status(&l->w, l->client, "504");
    assert_int_equal(take(&l->w, l->upstream), -1);
}

static void the_upstream_is_told_nine_tenths_of_what_is_left(void **state)
{
    line l;

    (void)state;
    line_open(&l, WARY ROUTE, NULL);
    asked_with(&l, GET, "x-moongate-deadline-ms: 13500\r\n");
    asked_with(&l, GET, "!x-moongate-attempt");
    asked_with(&l, GET, "!grpc-timeout");
    line_close(&l);
}

static void a_caller_that_is_not_trusted_says_nothing(void **state)
{
    line l;

    (void)state;
    line_open(&l, WARY ROUTE, NULL);
    asked_with(&l, GET_WITH("x-moongate-deadline-ms: 5"), "x-moongate-deadline-ms: 13500\r\n");
    asked_with(&l, GET_WITH("grpc-timeout: 5m"), "x-moongate-deadline-ms: 13500\r\n");
    asked_with(&l, GET_WITH("grpc-timeout: 5m"), "!grpc-timeout");
    asked_with(&l, GET_WITH("x-moongate-attempt: 2"), "!x-moongate-attempt");
    line_close(&l);
}

static void a_trusted_caller_shortens_the_time_and_never_lengthens_it(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE, NULL);
    asked_with(&l, GET_WITH("x-moongate-deadline-ms: 1000"), "x-moongate-deadline-ms: 900\r\n");
    asked_with(&l, GET_WITH("x-moongate-deadline-ms: 20000"), "x-moongate-deadline-ms: 13500\r\n");
    asked_with(&l, GET_WITH("x-moongate-deadline-ms: 12"), "x-moongate-deadline-ms: 10\r\n");
    asked_with(&l, GET_WITH("x-moongate-attempt: 2"), "x-moongate-attempt: 2\r\n");
    line_close(&l);
}

static void what_is_no_time_says_nothing(void **state)
{
    static const char *const said[] = {
        GET_WITH("x-moongate-deadline-ms: soon"),
        GET_WITH("x-moongate-deadline-ms: -1"),
        GET_WITH("x-moongate-deadline-ms:"),
        GET_WITH("x-moongate-deadline-ms: 99999999999999999999999"),
        GET_WITH("x-moongate-deadline-ms: 18446744073709551615"),
    };
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE, NULL);
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        asked_with(&l, said[i], "x-moongate-deadline-ms: 13500\r\n");
    asked_with(&l, GET_WITH("x-moongate-attempt: twice"), "x-moongate-attempt: twice\r\n");
    line_close(&l);
}

static void a_caller_that_speaks_grpc_is_followed_in_grpc(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE, NULL);
    asked_with(&l, GET_WITH("grpc-timeout: 1S"), "grpc-timeout: 900m\r\n");
    asked_with(&l, GET_WITH("grpc-timeout: 1S"), "!x-moongate-deadline-ms");
    asked_with(&l, GET_WITH("grpc-timeout: 1S\r\nx-moongate-deadline-ms: 500"), "grpc-timeout: 450m\r\n");
    asked_with(&l, GET_WITH("grpc-timeout: 1S\r\nx-moongate-deadline-ms: 5000"), "grpc-timeout: 900m\r\n");
    asked_with(&l, GET_WITH("grpc-timeout: 1H"), "grpc-timeout: 13500m\r\n");
    asked_with(&l, GET_WITH("grpc-timeout: 1 hour"), "grpc-timeout: 13500m\r\n");
    line_close(&l);
}

static void with_too_little_left_nothing_is_sent(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE, NULL);
    refused_in_time(&l, GET_WITH("x-moongate-deadline-ms: 11"));
    refused_in_time(&l, GET_WITH("x-moongate-deadline-ms: 0"));
    refused_in_time(&l, GET_WITH("grpc-timeout: 999u"));
    line_close(&l);
    line_open(&l,
              TRUSTING "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, hop_factor: "
                       "0.5, min_budget: 1s }]\n",
              NULL);
    refused_in_time(&l, GET_WITH("x-moongate-deadline-ms: 1999"));
    asked_with(&l, GET_WITH("x-moongate-deadline-ms: 2000"), "x-moongate-deadline-ms: 1000\r\n");
    line_close(&l);
}

static void the_time_since_the_first_byte_counts(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE_P, HANDLER("ctx:sleep(0.1) next(ctx)"));
    say(&l.w, l.client, GET_WITH("x-moongate-deadline-ms: 1000"));
    advance(&l.w, 101 * MS);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_has(l.w.heard, "x-moongate-deadline-ms: 8"); /* 810, less what a tick of the timer takes */
    line_close(&l);
}

static void a_try_ends_with_its_part_of_the_time(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE, NULL);
    line_ask(&l, GET_WITH("x-moongate-deadline-ms: 1000"));
    advance(&l.w, 895 * MS);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    advance(&l.w, 10 * MS);
    hear_status(&l.w, l.client, "504"); /* while the caller still listens */
    line_close(&l);
}

/* ---- two gateways ---- */

/* A second one in the first one's world, at 10.0.0.3:80. */
static void second_open(world *b, world *a, const char *config)
{
    mg_error err = MG_ERROR_INIT;

    *b = (world){ .sim = a->sim, .outside = a->outside, .workers = 1 };
    for (unsigned i = 0; i < 3; i++)
        b->loops[i] = mg_sim_loop_new(b->sim);
    b->resolver = mg_resolver_new(b->loops[0], NULL, &err);
    b->log = mg_log_new(MG_LOG_DEBUG, mg_sim_clock(b->sim), world_sink, &b->logged);
    b->heard = mg_alloc(HEARD_BYTES + 1);
    tmpdir_make(b->folder);
    assert_true(world_try_start(b, 2, config));
    assert_true(b->ready);
}

static void second_close(world *b)
{
    world_free_gateway(b);
    mg_resolver_free(b->resolver);
    for (unsigned i = 0; i < 3; i++)
        mg_loop_free(b->loops[i]);
    mg_log_free(b->log);
    mg_text_fini(&b->logged);
    mg_free(b->heard);
    tmpdir_remove(b->folder);
}

#define FRONT                                                                                                \
    WEB QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.3:80\" }] } }\n"                         \
              "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, timeout: 1s }]\n"
#define BEHIND(trusted)                                                                                      \
    "listeners: { web: { bind: \"10.0.0.3:80\", trusted_proxies: [" trusted "] } }\n" QUIET SERVICE ROUTE

static void the_second_gateway_goes_by_what_the_first_has_left(void **state)
{
    line l;
    world behind;
    const mg_addr far = addr_of("192.0.2.7", 0), near = addr_of("10.0.0.1", 0);

    (void)state;
    line_open(&l, FRONT, NULL);
    line_drop(&l, &l.client);
    second_open(&behind, &l.w, BEHIND("10.0.0.1"));
    mg_sim_set_source(l.w.sim, &far);
    l.client = dial(&l.w, "10.0.0.1", 80);
    mg_sim_set_source(l.w.sim, &near);
    asked_with(&l, GET_WITH("x-moongate-deadline-ms: 50"), "x-moongate-deadline-ms: 810\r\n");
    line_ask(&l, GET);
    advance(&l.w, 800 * MS);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    advance(&l.w, 20 * MS);
    hear_status(&l.w, l.client, "504"); /* the second one's own, a tenth before the first gives up */
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_drop(&l, &l.client);
    second_close(&behind);
    line_close(&l);
}

static void a_slow_upload_goes_through_two_gateways(void **state)
{
    line l;
    world behind;

    (void)state;
    line_open(&l, FRONT, NULL);
    second_open(&behind, &l.w, BEHIND("127.0.0.1"));
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 20\r\n\r\n");
    for (int i = 0; i < 20; i++) {
        advance(&l.w, MG_NS_PER_S);
        say(&l.w, l.client, "x");
    }
    (void)hear(&l.w, l.up);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_drop(&l, &l.client);
    second_close(&behind);
    line_close(&l);
}

static void a_gateway_that_is_not_trusted_is_a_client_like_others(void **state)
{
    line l;
    world behind;

    (void)state;
    line_open(&l, FRONT, NULL);
    second_open(&behind, &l.w, BEHIND("10.9.9.9"));
    asked_with(&l, GET, "x-moongate-deadline-ms: 13500\r\n");
    line_drop(&l, &l.client);
    second_close(&behind);
    line_close(&l);
}

/* ---- plugins ---- */

static void a_plugins_own_request_tells_what_is_left(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE_P,
              HANDLER("local timeout = tonumber(ctx.request:header('x-timeout'))\n"
                      "local answer, why = ctx.http:get('http://10.0.0.2:9000/own', { timeout = timeout })\n"
                      "return ctx:respond(200, why or 'answered')"));
    asked_with(&l, GET, "x-moongate-deadline-ms: 13500\r\n");
    asked_with(&l, GET_WITH("x-moongate-deadline-ms: 1000"), "x-moongate-deadline-ms: 900\r\n");
    asked_with(&l, GET_WITH("x-timeout: 0.25"), "x-moongate-deadline-ms: 250\r\n");
    asked_with(&l, GET_WITH("grpc-timeout: 1S"), "x-moongate-deadline-ms: 900\r\n");
    say(&l.w, l.client, GET_WITH("x-moongate-deadline-ms: 11"));
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\ndeadline");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, ""); /* nobody was asked */
    line_close(&l);
}

static void a_plugin_sleeps_no_longer_than_its_caller_waits(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE_P, HANDLER("ctx:sleep(60) next(ctx)"));
    say(&l.w, l.client, GET_WITH("x-moongate-deadline-ms: 1000"));
    advance(&l.w, 995 * MS);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    advance(&l.w, 10 * MS);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

static void behind_next_only_a_caller_ends_the_wait(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE_P, HANDLER("next(ctx) ctx:sleep(20)"));
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    advance(&l.w, 20001 * MS); /* beyond the route's time, which ran to the upstream's head */
    hear_status(&l.w, l.client, "200");
    line_ask(&l, GET_WITH("x-moongate-deadline-ms: 18000"));
    say(&l.w, l.up, OK_EMPTY);
    advance(&l.w, 17990 * MS);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    advance(&l.w, 20 * MS);
    hear_status(&l.w, l.client, "504");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_upstream_is_told_nine_tenths_of_what_is_left),
        cmocka_unit_test(a_caller_that_is_not_trusted_says_nothing),
        cmocka_unit_test(a_trusted_caller_shortens_the_time_and_never_lengthens_it),
        cmocka_unit_test(what_is_no_time_says_nothing),
        cmocka_unit_test(a_caller_that_speaks_grpc_is_followed_in_grpc),
        cmocka_unit_test(with_too_little_left_nothing_is_sent),
        cmocka_unit_test(the_time_since_the_first_byte_counts),
        cmocka_unit_test(a_try_ends_with_its_part_of_the_time),
        cmocka_unit_test(the_second_gateway_goes_by_what_the_first_has_left),
        cmocka_unit_test(a_slow_upload_goes_through_two_gateways),
        cmocka_unit_test(a_gateway_that_is_not_trusted_is_a_client_like_others),
        cmocka_unit_test(a_plugins_own_request_tells_what_is_left),
        cmocka_unit_test(a_plugin_sleeps_no_longer_than_its_caller_waits),
        cmocka_unit_test(behind_next_only_a_caller_ends_the_wait),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
