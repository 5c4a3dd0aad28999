/* sim_answers.c - an exchange has one answer, whatever its plugins ask for, and it is whole. */
#include "sim_exchange.h"

#define ROUTE_ERROR(mode)                                                                                    \
    "plugins: { p: { use: ./plugins/p, on_error: " mode " } }\n"                                             \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"

/* The client's next request on the same connection is answered by the upstream. */
static void the_next_one_is_fine(line *l)
{
    line_ask(l, "GET /fine HTTP/1.1\r\nhost: a\r\nx-fine: 1\r\n\r\n");
    assert_has(l->w.heard, "GET /fine ");
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine");
    hear_status(&l->w, l->client, "200");
    assert_ends(l->w.heard, "\r\n\r\nfine");
}

#define UNLESS_FINE(text) HANDLER("if ctx.request:header('x-fine') then return next(ctx) end\n" text)

static void nobody_is_asked_behind_an_answer(void **state)
{
    static const char *const handlers[] = {
        UNLESS_FINE("ctx:respond(403, 'no') next(ctx)"),
        UNLESS_FINE("ctx:respond(200, 'yes') return next(ctx)"),
        UNLESS_FINE("ctx:respond(403, { title = 'No' }) ctx:sleep(0) next(ctx)"),
        UNLESS_FINE("pcall(ctx.respond, ctx, 403, 'no', { ['a b'] = 'c' }) next(ctx)"),
    };

    (void)state;
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++) {
        line l;
        line_open(&l, BASE ROUTE_P, handlers[i]);
        say(&l.w, l.client, GET);
        hear_status(&l.w, l.client, "500");
        assert_ends(l.w.heard, "}\n");
        assert_int_equal(take(&l.w, l.upstream), -1);
        /* A call in tail position has no line of its own any more. */
        assert_has(l.w.logged.p, i == 1 ? ": this request is answered: return after ctx:respond"
                                        : "plugin.lua:5: this request is answered: return after ctx:respond");
        the_next_one_is_fine(&l);
        line_close(&l);
    }
}

/* A plugin whose mistakes are passed over has refused all the same. */
static void an_answer_outlives_the_mistakes_behind_it(void **state)
{
    static const char *const configs[] = { BASE ROUTE_ERROR("open"), BASE ROUTE_ERROR("skip") };
    static const char *const handlers[] = {
        UNLESS_FINE("ctx:respond(403, 'no') next(ctx)"),
        UNLESS_FINE("ctx:respond(403, 'no') error('as told')"),
        UNLESS_FINE("ctx:respond(403, 'no') pcall(next, ctx) error('as told')"),
        UNLESS_FINE("ctx:respond(500, 'not yet') ctx:respond(403, 'no') ctx:sleep(0.1) error('as told')"),
        UNLESS_FINE("pcall(ctx.respond, ctx, 403, 'no', { ['a b'] = 'c' }) error('as told')"),
        UNLESS_FINE("ctx:respond(403, 'no', { ['a b'] = 'c' })"),
    };

    (void)state;
    for (size_t i = 0; i < 2 * sizeof handlers / sizeof *handlers; i++) {
        line l;
        line_open(&l, configs[i % 2], handlers[i / 2]);
        say(&l.w, l.client, GET);
        advance(&l.w, 200 * MS);
        hear_status(&l.w, l.client, "403");
        assert_ends(l.w.heard, "content-length: 2\r\n\r\nno");
        assert_int_equal(take(&l.w, l.upstream), -1);
        the_next_one_is_fine(&l);
        line_close(&l);
    }
}

static void an_answer_behind_next_takes_the_upstreams_place(void **state)
{
    static const char *const answers[] = {
        "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull",
        "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n",
        "HTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\n\r\n",
    };
    static const char *const handlers[] = {
        HANDLER("next(ctx) ctx:respond(418, 'tea')"),
        HANDLER("next(ctx) pcall(ctx.response.body, ctx.response) ctx:respond(418, 'tea')"),
        HANDLER("next(ctx) ctx:respond(418, 'tea') pcall(next, ctx) ctx:sleep(0)"),
        HANDLER("next(ctx) ctx:respond(204) ctx:respond(418, 'tea')"),
    };

    (void)state;
    for (size_t i = 0; i < 20; i++) {
        line l;
        if (i / 5 == 1 && (i % 5 == 1 || i % 5 == 2))
            continue; /* that body never ends */
        line_open(&l, BASE ROUTE_P, handlers[i / 5]);
        line_ask(&l, GET);
        say(&l.w, l.up, answers[i % 5]);
        hear_status(&l.w, l.client, "418");
        assert_ends(l.w.heard, "content-length: 3\r\n\r\ntea");
        line_close(&l);
    }
}

static void a_body_that_was_read_does_not_follow_an_answer_without_one(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("next(ctx) ctx.response:body() ctx:respond(204)"));
    for (int i = 0; i < 2; i++) {
        line_ask(&l, GET);
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
        hear_status(&l.w, l.client, "204");
        assert_ends(l.w.heard, "\r\n\r\n");
    }
    line_close(&l);
}

static void an_answer_to_head_announces_and_sends_nothing(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, UNLESS_FINE("ctx:respond(403, 'no')"));
    say(&l.w, l.client, "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&l.w, l.client, "403");
    assert_ends(l.w.heard, "content-length: 2\r\n\r\n");
    the_next_one_is_fine(&l);
    line_close(&l);
}

static void an_answer_may_come_before_the_request_has(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, UNLESS_FINE("ctx:respond(403, 'no')"));
    say(&l.w, l.client, POST(2000) "some of it");
    hear_status(&l.w, l.client, "403");
    assert_ends(l.w.heard, "content-length: 2\r\n\r\nno");
    for (int i = 0; i < 199; i++)
        say(&l.w, l.client, "0123456789");
    the_next_one_is_fine(&l);
    line_close(&l);
}

#define FILTERING(request, response)                                                                         \
    "local plugin = { name = 'p', version = '1', body = { request = 'stream', response = 'stream' } }\n"     \
    "function plugin.new() return { handler = function(ctx, next) next(ctx) end,\n"                          \
    "request_body = function(ctx, bytes, last) " request " end,\n"                                           \
    "response_body = function(ctx, bytes, last) " response " end,\n"                                         \
    "log = function(ctx) ctx:respond(500, 'log') end } end\n"                                                \
    "return plugin\n"

static void only_handlers_answer(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              FILTERING("pcall(ctx.respond, ctx, 403, 'request')", "pcall(ctx.respond, ctx, 403, 'response') "
                                                                   "ctx.response:set_status(500)"));
    line_ask(&l, POST(3) "abc");
    assert_ends(l.w.heard, "\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    say(&l.w, l.up, "full");
    client_is_cut(&l); /* set_status raised */
    assert_has(l.w.logged.p, "set_status: the response is on its way");
    assert_null(strstr(l.w.heard, "0\r\n\r\n"));
    line_close(&l);

    line_open(&l, BASE ROUTE_P, FILTERING("ctx:respond(403, 'request')", ""));
    say(&l.w, l.client, POST(3) "abc");
    assert_true(hear(&l.w, l.client) != HEAR_RESET);
    assert_starts(l.w.heard, "HTTP/1.1 500 ");
    assert_has(l.w.logged.p, "only a handler answers: in a filter or in log(ctx) it is too late");
    line_close(&l);

    line_open(&l, BASE ROUTE_P, FILTERING("", ""));
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.logged.p, "only a handler answers: in a filter or in log(ctx) it is too late");
    line_close(&l);
}

/* What stands in for an upstream that failed is read and changed like any other response. */
static void the_gateways_own_answers_are_responses(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              HANDLER("next(ctx) local body = ctx.response:body() assert(body:find('Bad Gateway')) "
                      "ctx.response:set_body(body:len() > 0 and 'ours')"));
    line_ask(&l, GET);
    say(&l.w, l.up, "no HTTP at all\r\n\r\n");
    hear_status(&l.w, l.client, "502");
    assert_ends(l.w.heard, "content-length: 4\r\n\r\nours");
    line_close(&l);
}

#define ROUTE_HASTY                                                                                          \
    "plugins: { p: { use: ./plugins/p, timeout: 20ms } }\n"                                                  \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"

/* What a plugin had taken of it when its own timeout came is the client's all the same. */
static void an_answer_that_a_plugin_did_not_wait_for_goes_on_whole(void **state)
{
    static const char *const first[] = {
        "HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n"
    };
    static const char *const rest[] = { "def", "3\r\ndef\r\n0\r\n\r\n" };

    (void)state;
    for (int how = 0; how < 4; how++) {
        line l;
        line_open(&l, BASE ROUTE_HASTY, HANDLER("next(ctx) pcall(ctx.response.body, ctx.response)"));
        line_ask(&l, GET);
        say(&l.w, l.up, first[how % 2]);
        advance(&l.w, 25 * MS);
        if (how < 2) {
            say(&l.w, l.up, rest[how]);
            hear_status(&l.w, l.client, "200");
            assert_ends(l.w.heard, "content-length: 6\r\n\r\nabcdef");
        } else { /* it never comes */
            line_drop(&l, &l.up);
            hear_status(&l.w, l.client, "502");
        }
        line_close(&l);
    }
}

#define ROUTE_TWO                                                                                            \
    "plugins: { p: { use: ./plugins/p }, q: { use: ./plugins/q } }\n"                                        \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [q, p], service: up }]\n"

static void filters_see_a_body_that_another_plugin_took(void **state)
{
    static const char *const handlers[] = { HANDLER("next(ctx) ctx.response:body()"),
                                            HANDLER("next(ctx) ctx.response:set_body('another')") };
    static const char *const bodies[] = { "FULL", "ANOTHER" };

    (void)state;
    for (int i = 0; i < 2; i++) {
        line l;
        world_init(&l.w, 1, 1);
        world_plugin(&l.w, "p", handlers[i]);
        world_plugin(&l.w, "q",
                     "return { name = 'q', body = { response = 'stream' }, new = function() return { "
                     "handler = function(ctx, next) next(ctx) end, response_body = function(ctx, bytes) "
                     "return bytes:upper() end } end }\n");
        assert_true(world_try_start(&l.w, 1, BASE ROUTE_TWO));
        l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
        l.client = dial(&l.w, "10.0.0.1", 80);
        l.up = -1;
        line_ask(&l, GET);
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
        hear_status(&l.w, l.client, "200");
        assert_has(l.w.heard, bodies[i]);
        assert_ends(l.w.heard, "\r\n0\r\n\r\n");
        line_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_is_asked_behind_an_answer),
        cmocka_unit_test(an_answer_outlives_the_mistakes_behind_it),
        cmocka_unit_test(an_answer_behind_next_takes_the_upstreams_place),
        cmocka_unit_test(a_body_that_was_read_does_not_follow_an_answer_without_one),
        cmocka_unit_test(an_answer_to_head_announces_and_sends_nothing),
        cmocka_unit_test(an_answer_may_come_before_the_request_has),
        cmocka_unit_test(only_handlers_answer),
        cmocka_unit_test(the_gateways_own_answers_are_responses),
        cmocka_unit_test(an_answer_that_a_plugin_did_not_wait_for_goes_on_whole),
        cmocka_unit_test(filters_see_a_body_that_another_plugin_took),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
