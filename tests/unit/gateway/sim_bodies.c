/* sim_bodies.c - bodies that stop in the middle: readers that stall, plugins that take or change them. */
#include "sim_exchange.h"

static char *letters(size_t n)
{
    char *text = mg_alloc(n + 1);

    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + i % 26);
    text[n] = '\0';
    return text;
}

static void a_client_that_does_not_read_is_cut_after_body_timeout(void **state)
{
    line l;
    char *body = letters(60000);

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    mg_sim_set_buffer(l.w.sim, 4096);
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n");
    (void)say_bytes(&l.w, l.up, body, 60000);
    advance(&l.w, 29999 * MS);
    assert_int_equal(world_live_exchanges(&l.w), 1);
    advance(&l.w, 2 * MS);
    assert_int_equal(world_live_exchanges(&l.w), 0);
    client_is_cut(&l);
    mg_free(body);
    line_close(&l);
}

static void a_slow_reader_is_not_cut(void **state)
{
    line l;
    char *body = letters(60000);
    size_t sent = 0, read = 0;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    mg_sim_set_buffer(l.w.sim, 4096);
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n");
    while (read < 60000) {
        char some[3000];
        sent += say_bytes(&l.w, l.up, body + sent, 60000 - sent);
        advance(&l.w, 20 * MG_NS_PER_S);
        const ssize_t got = l.w.outside->ops->recv(l.w.outside, l.client, some, sizeof some);
        assert_true(got > 0);
        read += (size_t)got;
    }
    mg_free(body);
    line_close(&l);
}

static void a_plugins_body_outlives_its_chain(void **state)
{
    line l;
    char *body = letters(200000);

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("ctx.request:body() next(ctx)"));
    mg_sim_set_buffer(l.w.sim, 8192);
    say(&l.w, l.client, POST(200000));
    for (size_t sent = 0; sent < 200000;)
        sent += say_bytes(&l.w, l.client, body + sent, 200000 - sent);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    /* An answer before the request has been read; its chain ends with the head. */
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nab");
    hear_status(&l.w, l.client, "200");
    for (int i = 0; i < 100; i++) /* the rest of the request goes on */
        (void)hear(&l.w, l.up);
    assert_ends(l.w.heard, "");
    say(&l.w, l.up, "cd");
    (void)hear(&l.w, l.client);
    assert_string_equal(l.w.heard, "cd");
    mg_free(body);
    line_close(&l);
}

/* The route's own time stands still while a body is on its way; a caller's does not. */
#define TRUSTING "listeners: { web: { bind: \"10.0.0.1:80\", trusted_proxies: [127.0.0.1] } }\n" QUIET SERVICE
#define POST_WITHIN_15S                                                                                      \
    "POST /a HTTP/1.1\r\nhost: a\r\nx-moongate-deadline-ms: 15000\r\ncontent-length: 100000\r\n\r\n"

static void the_deadline_ends_a_chain_that_waits_for_a_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE_P, HANDLER("ctx.request:body() next(ctx)"));
    say(&l.w, l.client, POST_WITHIN_15S);
    for (int i = 0; i < 14; i++) {
        say(&l.w, l.client, "some");
        advance(&l.w, MG_NS_PER_S);
    }
    mg_sim_set_buffer(l.w.sim, 64); /* the answer does not go out at once */
    advance(&l.w, 2 * MG_NS_PER_S);
    say(&l.w, l.client, "and more");
    mg_sim_set_buffer(l.w.sim, 65536);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 504 ");
    say(&l.w, l.client, "and more");
    line_close(&l);
}

#define ROUTE_HASTY                                                                                          \
    "plugins: { p: { use: ./plugins/p, timeout: 20ms } }\n"                                                  \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"

/* What it had taken is the upstream's all the same. */
static void a_body_that_a_plugin_did_not_wait_for_goes_on_whole(void **state)
{
    static const char *const rests[] = { "3\r\ndef\r\n0\r\n\r\n", "0\r\n\r\n" };

    (void)state;
    for (int i = 0; i < 4; i++) {
        line l;
        line_open(&l, BASE ROUTE_HASTY,
                  i < 2
                      ? HANDLER("pcall(function() ctx.request:body() end) next(ctx)")
                      : HANDLER("pcall(function() ctx.request:body() end) pcall(function() ctx:sleep(1) end) "
                                "next(ctx)"));
        say(&l.w, l.client, "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n");
        advance(&l.w, 25 * MS);
        say(&l.w, l.client, rests[i % 2]);
        advance(&l.w, 25 * MS);
        l.up = take(&l.w, l.upstream);
        assert_true(l.up >= 0);
        assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
        assert_ends(l.w.heard, i % 2 ? "\r\n\r\nabc" : "\r\n\r\nabcdef");
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        hear_status(&l.w, l.client, "200");
        line_close(&l);
    }
}

/* It never ends: the exchange does. */
static void a_body_that_nobody_waited_for_long_enough_is_504(void **state)
{
    line l;

    (void)state;
    line_open(&l, TRUSTING ROUTE_HASTY, HANDLER("pcall(function() ctx.request:body() end) next(ctx)"));
    say(&l.w, l.client, POST_WITHIN_15S "some");
    for (int i = 0; i < 14; i++) {
        advance(&l.w, MG_NS_PER_S);
        say(&l.w, l.client, "more");
    }
    advance(&l.w, 2 * MG_NS_PER_S);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 504 ");
    assert_int_equal(take(&l.w, l.upstream), -1);
    line_close(&l);
}

static void a_body_too_large_for_a_plugin_is_answered_at_once(void **state)
{
    line l;
    char *body = letters(60000);

    (void)state;
    line_open(&l, BASE ROUTE_P,
              "return { name = 'p', body = { request = 'buffer(1KiB)' }, new = function() return "
              "function(ctx, next) ctx.request:body() next(ctx) end end }");
    say(&l.w, l.client, POST(100000));
    say(&l.w, l.client, body);
    assert_true(hear(&l.w, l.client) != HEAR_RESET);
    assert_starts(l.w.heard, "HTTP/1.1 413 ");
    mg_free(body);
    line_close(&l);
}

static void an_answer_that_a_reset_ends_is_not_whole(void **state)
{
    line l;
    char *body = letters(60000);

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    mg_sim_set_buffer(l.w.sim, 4096);
    line_ask(&l, POST(60000));
    while (say_bytes(&l.w, l.client, body, 4096)) /* until the request waits for room */
        continue;
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\n\r\nhalf of it"); /* ends with its connection */
    hear_status(&l.w, l.client, "200");
    hang_up_hard(&l.w, l.up);
    l.up = -1;
    client_is_cut(&l);
    assert_false(ends_with(l.w.heard, "0\r\n\r\n"));
    mg_free(body);
    line_close(&l);
}

/* ---- filters ---- */

#define FILTER(request, response)                                                                            \
    "local plugin = { name = 'p', version = '1', body = { request = 'stream', response = 'stream' } }\n"     \
    "function plugin.new() return { handler = function(ctx, next) return next(ctx) end,\n"                   \
    "request_body = function(ctx, bytes, last) " request " end,\n"                                           \
    "response_body = function(ctx, bytes, last) " response " end } end\n"                                    \
    "return plugin\n"

static void a_filter_that_raises_ends_its_exchange_and_nothing_else(void **state)
{
    static const char *const requests[] = { "error('no') ", "if last then error('no') end" };

    (void)state;
    for (int how = 0; how < 4; how++) {
        line l;
        char plugin[1024];
        snprintf(plugin, sizeof plugin, FILTER("%s", ""), requests[how % 2]);
        line_open(&l, BASE ROUTE_P, plugin);
        say(&l.w, l.client,
            how < 2 ? POST(10) : "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n");
        say(&l.w, l.client, how < 2 ? "0123456789" : "a\r\n0123456789\r\n0\r\nx: y\r\n\r\n");
        assert_true(hear(&l.w, l.client) != HEAR_RESET);
        assert_starts(l.w.heard, "HTTP/1.1 500 ");
        assert_int_equal(world_live_exchanges(&l.w), 0);
        line_close(&l);
    }
}

static void a_filter_that_raises_in_an_answer_cuts_it(void **state)
{
    static const char *const responses[] = { "error('no') ", "if last then error('no') end" };

    (void)state;
    for (int how = 0; how < 4; how++) {
        line l;
        char plugin[1024];
        snprintf(plugin, sizeof plugin, FILTER("", "%s"), responses[how % 2]);
        line_open(&l, BASE ROUTE_P, plugin);
        line_ask(&l, GET);
        say(&l.w, l.up,
            how < 2 ? "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab"
                    : "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n0\r\n\r\n");
        client_is_cut(&l);
        assert_false(ends_with(l.w.heard, "0\r\n\r\n"));
        assert_int_equal(world_live_exchanges(&l.w), 0);
        line_close(&l);
    }
}

static void a_filter_outlives_an_answer_that_came_early(void **state)
{
    line l;
    char *body = letters(60000);

    (void)state;
    line_open(&l, BASE ROUTE_P, FILTER("return bytes .. bytes", "return bytes .. bytes"));
    mg_sim_set_buffer(l.w.sim, 4096);
    line_ask(&l, POST(60000));
    for (size_t sent = 0; sent < 20000;) {
        sent += say_bytes(&l.w, l.client, body + sent, 2000);
        (void)hear(&l.w, l.up);
    }
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab");
    (void)say_bytes(&l.w, l.client, body, 4096); /* before the answer has been read */
    (void)say_bytes(&l.w, l.client, body, 4096);
    (void)hear(&l.w, l.client);
    assert_starts(l.w.heard, "HTTP/1.1 200 ");
    assert_ends(l.w.heard, "\r\n\r\n4\r\nabab\r\n0\r\n\r\n");
    mg_free(body);
    line_close(&l);
}

/* Both directions of one exchange wait for room at the same time. */
static void what_filters_hold_of_a_request_and_of_its_answer_is_not_mixed(void **state)
{
    line l;
    char *body = letters(40000), *heard = mg_alloc(200000);
    size_t n = 0, sent = 0;

    (void)state;
    line_open(&l, BASE ROUTE_P, FILTER("return bytes .. ''", "return bytes:upper()"));
    mg_sim_set_buffer(l.w.sim, 2048);
    say(&l.w, l.client, POST(40000));
    l.up = take(&l.w, l.upstream);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 40000\r\n\r\n");
    for (size_t answered = 0; sent < 40000;) {
        const size_t before = sent;
        sent += say_bytes(&l.w, l.client, body + sent, 40000 - sent);
        if (answered < 20000)
            answered += say_bytes(&l.w, l.up, body, 2048);
        if (before != sent)
            continue; /* nobody reads while there is room somewhere */
        (void)hear(&l.w, l.up);
        memcpy(heard + n, l.w.heard, strlen(l.w.heard) + 1);
        n += strlen(l.w.heard);
        (void)hear(&l.w, l.client);
        for (const char *at = l.w.heard; sent < 30000 && *at; at++)
            assert_true(at != strstr(at, "abcdefgh")); /* the request's */
    }
    assert_null(strstr(heard, "ABCDEFGH")); /* the answer's */
    mg_free(heard);
    mg_free(body);
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_filter_that_raises_ends_its_exchange_and_nothing_else),
        cmocka_unit_test(a_filter_that_raises_in_an_answer_cuts_it),
        cmocka_unit_test(a_filter_outlives_an_answer_that_came_early),
        cmocka_unit_test(what_filters_hold_of_a_request_and_of_its_answer_is_not_mixed),
        cmocka_unit_test(an_answer_that_a_reset_ends_is_not_whole),
        cmocka_unit_test(a_client_that_does_not_read_is_cut_after_body_timeout),
        cmocka_unit_test(a_slow_reader_is_not_cut),
        cmocka_unit_test(a_plugins_body_outlives_its_chain),
        cmocka_unit_test(the_deadline_ends_a_chain_that_waits_for_a_body),
        cmocka_unit_test(a_body_that_a_plugin_did_not_wait_for_goes_on_whole),
        cmocka_unit_test(a_body_that_nobody_waited_for_long_enough_is_504),
        cmocka_unit_test(a_body_too_large_for_a_plugin_is_answered_at_once),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
