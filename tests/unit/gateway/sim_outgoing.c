/* sim_outgoing.c - ctx.http: requests to a service, answers piece by piece, the client's body sent elsewhere. The
 * gateway's own service is the one asked. */
#include "sim_outgoing.h"

/* ---- a service ---- */

static void a_service_is_asked_at_its_host_with_lists_of_fields(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              P(ASK "ctx:respond(200, res.body .. '|' .. table.concat(res:header_values('X-B'), ','))"));
    line_ask(&l, GET_A);
    assert_starts(l.w.heard, "GET /x?y=1 HTTP/1.1\r\nhost: 10.0.0.2:9000\r\n");
    assert_has(l.w.heard, "x-a: 1\r\nx-a: 2\r\n");
    assert_has(l.w.heard, "via: 1.1 moongate");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\nx-b: 3\r\ncontent-length: 2\r\nx-b: 4\r\n\r\nhi");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "hi|3,4");
    line_close(&l);
}

static void a_service_is_tried_again_and_its_breaker_opens(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, CONFIG,
        P("local res, why = ctx.http:request { method = 'PUT', path = '/x', body = 'body', service = 'up' } "
          "ctx:respond(200, res and tostring(res.status) or why)"));
    say(&l.w, l.client, GET_A);
    for (int i = 0; i < 2; i++) {
        l.up = take(&l.w, l.upstream);
        assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
        assert_ends(l.w.heard, "\r\n\r\nbody");
        if (i)
            assert_has(l.w.heard, "x-moongate-attempt: 2\r\n");
        say(&l.w, l.up, "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        line_drop(&l, &l.up);
        advance(&l.w, 5 * MS);
    }
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "503");
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    line_drop(&l, &l.up);
    advance(&l.w, 5 * MS);
    hear_status(&l.w, l.client, "200"); /* three in a row: no second try */
    say(&l.w, l.client, GET_A);
    assert_int_equal(take(&l.w, l.upstream), -1);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "breaker_open");
    line_close(&l);
}

static void a_service_has_the_time_of_the_request(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              P("local res, why = ctx.http:get('/x', { service = 'up', timeout = 0.5 }) "
                "ctx:respond(200, why)"));
    line_ask(&l, GET_A);
    assert_has(l.w.heard, "x-moongate-deadline-ms: 500\r\n");
    advance(&l.w, 501 * MS);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "timeout");
    line_close(&l);
}

/* ---- piece by piece ---- */

static void pieces_come_as_they_are_sent(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              P(STREAM "local all = {} for chunk in res:chunks() do all[#all + 1] = chunk end "
                       "ctx:respond(200, table.concat(all, '+'))"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\none\r\n");
    say(&l.w, l.up, "3\r\ntwo\r\n");
    say(&l.w, l.up, "0\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "one+two");
    line_ask(&l, GET_A); /* over the same connection */
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

static void what_is_not_read_waits_at_the_upstream(void **state)
{
    static char much[1 << 20];
    size_t taken = 0;
    line l;

    (void)state;
    line_open(&l, CONFIG,
              P(STREAM "res:read() ctx:sleep(5) local n = 0 for chunk in res:chunks() do n = n + #chunk end "
                       "ctx:respond(200, tostring(n))"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 16777217\r\n\r\nx");
    for (size_t more = 1; more; taken += more)
        more = say_bytes(&l.w, l.up, much, sizeof much);
    assert_true(taken < 4 << 20);
    advance(&l.w, 5 * MG_NS_PER_S);
    while (taken < 16 << 20)
        taken += say_bytes(&l.w, l.up, much, mg_min_u64(sizeof much, (16 << 20) - taken));
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\n16777216");
    line_close(&l);
}

static void an_answer_that_is_cut_says_so(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              P(STREAM "local a = res:read() local b, problem = res:read() local c, again = res:read() "
                       "ctx:respond(200, a .. tostring(b) .. problem .. again)"));
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    line_drop(&l, &l.up);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "five!nilupstream_resetupstream_reset");
    line_close(&l);
}

static void a_piece_has_the_plugins_time(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              P("local res = ctx.http:get('/x', { service = 'up', stream = true, timeout = 1 }) "
                "local piece, why = res:read() piece, why = res:read() ctx:respond(200, why)"));
    line_ask(&l, GET_A);
    advance(&l.w, 900 * MS);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n");
    advance(&l.w, 900 * MS);
    say(&l.w, l.up, "1");
    advance(&l.w, 1001 * MS);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "timeout");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_close(&l);
}

#define URL "'http://10.0.0.2:9000/x?y=1'"

static void a_url_streams_both_ways_too(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              P("local res = assert(ctx.http:request { method = 'POST', url = " URL
                ", body = ctx.request, stream = true })\n"
                "ctx:respond(200, res, { ['x-first'] = res:read() })"));
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nfoo");
    assert_starts(l.w.heard, "POST /x?y=1 HTTP/1.1\r\nhost: 10.0.0.2:9000\r\n");
    assert_ends(l.w.heard, "\r\n\r\nfoo");
    advance(&l.w, 20 * MG_NS_PER_S);
    say(&l.w, l.client, "bar");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "bar");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none");
    say(&l.w, l.up, "two");
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-first: one\r\n");
    assert_ends(l.w.heard, "\r\n\r\n3\r\ntwo\r\n0\r\n\r\n");
    line_ask(&l, GET_A); /* once more, over the same connections */
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\none");
    hang_up_hard(&l.w, l.client);
    l.client = -1;
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_close(&l);
}

/* ---- the client's body ---- */

#define SEND "local res, why = ctx.http:post('/x', ctx.request, { service = 'up' })\n"
#define POST "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nfoo"

static void the_clients_body_is_sent_as_it_comes(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(SEND "ctx:respond(200, res.body)"));
    line_ask(&l, POST);
    assert_has(l.w.heard, "content-length: 6\r\n");
    assert_ends(l.w.heard, "\r\n\r\nfoo");
    advance(&l.w, 14 * MG_NS_PER_S);
    say(&l.w, l.client, "b");
    advance(&l.w, 14 * MG_NS_PER_S); /* an upload is not held against the route's time */
    say(&l.w, l.client, "ar");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "bar");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "ok");
    line_ask(&l, GET_A); /* that has none */
    assert_null(strstr(l.w.heard, "foo"));
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

static void a_client_that_waits_to_be_asked_for_its_body_is(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(SEND "ctx:respond(200, res.body)"));
    line_ask(&l, "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\nexpect: 100-continue\r\n\r\n");
    assert_has(l.w.heard, "transfer-encoding: chunked\r\n");
    assert_null(strstr(l.w.heard, "expect"));
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "HTTP/1.1 100 Continue\r\n\r\n");
    say(&l.w, l.client, "3\r\nfoo\r\n");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "3\r\nfoo\r\n");
    say(&l.w, l.client, "0\r\n\r\n");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "0\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

/* Nothing of the body has left: another connection gets it. */
static void the_clients_body_survives_an_upstream_that_is_not_there(void **state)
{
    line l;

    (void)state;
    line_open(&l,
              WEB QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: "
                        "\"http://10.0.0.2:9001\" }], balance: round_robin, retry: { attempts: 2, on: "
                        "[connect_error], budget: 100%, backoff: 1ms } } }\n" ROUTE_P,
              P(SEND "ctx:respond(200, res and res.body or why)"));
    for (int i = 0; i < 2; i++) { /* one of the two begins at the endpoint that is not there */
        say(&l.w, l.client, POST);
        advance(&l.w, 5 * MS);
        line_ask(&l, "bar");
        assert_ends(l.w.heard, "\r\n\r\nfoobar");
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
        hear_status(&l.w, l.client, "200");
        assert_ends(l.w.heard, "ok");
    }
    line_close(&l);
}

static void once_the_body_is_whole_the_time_runs(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, CONFIG,
        P("local res, why = ctx.http:post('/x', ctx.request, { service = 'up' }) ctx:respond(200, why)"));
    line_ask(&l, POST);
    advance(&l.w, 10 * MG_NS_PER_S);
    say(&l.w, l.client, "bar");
    advance(&l.w, 16 * MG_NS_PER_S);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "deadline");
    line_close(&l);
}

static void a_client_that_leaves_in_its_body_ends_it(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(SEND "ctx:respond(200, res.body)"));
    line_ask(&l, POST);
    hang_up_hard(&l.w, l.client);
    l.client = -1;
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_close(&l);
}

static void an_upstream_may_answer_before_the_body_is_whole(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(SEND "ctx:respond(res.status, 'no')"));
    line_ask(&l, POST);
    say(&l.w, l.up, "HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n");
    hear_status(&l.w, l.client, "413");
    line_close(&l);
}

static void next_has_no_body_that_was_sent(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, P(SEND "next(ctx)"));
    line_ask(&l, POST);
    say(&l.w, l.client, "bar");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    hear_status(&l.w, l.client, "500");
    assert_has(logged_of(&l), "next has no body to send");
    line_close(&l);
}

static void a_body_in_memory_can_be_sent_and_goes_on(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, HANDLER("ctx.request:body() " SEND "next(ctx)"));
    say(&l.w, l.client, POST);
    say(&l.w, l.client, "bar");
    for (int i = 0; i < 2; i++) {
        line_ask(&l, "");
        assert_ends(l.w.heard, "\r\n\r\nfoobar");
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
    }
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

/* ---- bounds ---- */

static void too_many_open_answers_raise(void **state)
{
    line l;
    int ups[8];

    (void)state;
    line_open(&l, CONFIG,
              P("for i = 1, 9 do assert(ctx.http:get('/x', { service = 'up', stream = true })) end"));
    say(&l.w, l.client, GET_A);
    for (int i = 0; i < 8; i++) {
        ups[i] = take(&l.w, l.upstream);
        assert_true(ups[i] >= 0);
        say(&l.w, ups[i], "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    }
    hear_status(&l.w, l.client, "500");
    assert_has(logged_of(&l), "too many answers are open: read each to its end, or close it");
    for (int i = 0; i < 8; i++) {
        assert_true(hear(&l.w, ups[i]) != HEAR_OPEN);
        hang_up(&l.w, ups[i]);
    }
    line_close(&l);
}

static void check_raises(const char *handler, const char *message)
{
    char source[1024];
    line l;

    snprintf(source, sizeof source, P(STREAM "%s"), handler);
    line_open(&l, CONFIG, source);
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    (void)hear(&l.w, l.client);
    assert_has(logged_of(&l), message);
    line_close(&l);
}

static void mistakes_with_an_answer_raise_at_the_plugins_line(void **state)
{
    (void)state;
    check_raises("ctx:respond(200, res.body)",
                 "plugin.lua:3: the answer is streamed: its body is in :chunks() or :read()");
    check_raises("ctx:respond(200, res.boddy)", "plugin.lua:3: the answer of ctx.http has no 'boddy'");
    check_raises(PASS PASS,
                 "plugin.lua:3: respond: the answer that it passes on is closed, or was passed on");
    check_raises("res:close() " PASS, "plugin.lua:3: respond: the answer that it passes on is closed");
    check_raises(PASS " next(ctx)", "plugin.lua:3: this request is answered: return after ctx:respond");
    check_raises("next(ctx, " PASS ")", "this request is answered");
    check_raises("ctx:respond(99, res)", "plugin.lua:3: respond: a status is a number from 200 to 599");
}

static void an_answer_kept_from_an_earlier_request_is_closed(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              "local kept return { name = 'p', version = '1', new = function() return function(ctx, next)\n"
              "if kept then local piece, why = kept:read() return ctx:respond(200, why) end\n" STREAM
              "kept = res ctx:respond(200, 'kept') end end }\n");
    line_ask(&l, GET_A);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nfive!");
    hear_status(&l.w, l.client, "200");
    say(&l.w, l.client, GET_A);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "closed");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_service_is_asked_at_its_host_with_lists_of_fields),
        cmocka_unit_test(a_service_is_tried_again_and_its_breaker_opens),
        cmocka_unit_test(a_service_has_the_time_of_the_request),
        cmocka_unit_test(pieces_come_as_they_are_sent),
        cmocka_unit_test(what_is_not_read_waits_at_the_upstream),
        cmocka_unit_test(an_answer_that_is_cut_says_so),
        cmocka_unit_test(a_piece_has_the_plugins_time),
        cmocka_unit_test(a_url_streams_both_ways_too),
        cmocka_unit_test(the_clients_body_is_sent_as_it_comes),
        cmocka_unit_test(once_the_body_is_whole_the_time_runs),
        cmocka_unit_test(a_client_that_leaves_in_its_body_ends_it),
        cmocka_unit_test(an_upstream_may_answer_before_the_body_is_whole),
        cmocka_unit_test(next_has_no_body_that_was_sent),
        cmocka_unit_test(a_body_in_memory_can_be_sent_and_goes_on),
        cmocka_unit_test(a_client_that_waits_to_be_asked_for_its_body_is),
        cmocka_unit_test(the_clients_body_survives_an_upstream_that_is_not_there),
        cmocka_unit_test(mistakes_with_an_answer_raise_at_the_plugins_line),
        cmocka_unit_test(too_many_open_answers_raise),
        cmocka_unit_test(an_answer_kept_from_an_earlier_request_is_closed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
