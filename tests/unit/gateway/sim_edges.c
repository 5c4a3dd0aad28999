/* sim_edges.c - exchanges that end in the middle: who lets go of what, in every state. */
#include "sim_world.h"

#define GET     "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define POST(n) "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"
#define BASE    WEB QUIET SERVICE

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

static void the_deadline_ends_a_chain_that_waits_for_a_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("ctx.request:body() next(ctx)"));
    say(&l.w, l.client, POST(100000));
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
    line_open(&l, BASE ROUTE_HASTY, HANDLER("pcall(function() ctx.request:body() end) next(ctx)"));
    say(&l.w, l.client, POST(100000) "some");
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

#define UPGRADE  "GET /t HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"
#define SWITCHED "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n"

static void open_tunnel(line *l)
{
    line_open(l, BASE ROUTE, NULL);
    line_ask(l, UPGRADE);
    assert_has(l->w.heard, "upgrade: echo\r\n");
    say(&l->w, l->up, SWITCHED "first");
    hear_status(&l->w, l->client, "101");
    assert_ends(l->w.heard, "\r\n\r\nfirst");
    say(&l->w, l->client, "one");
    assert_int_equal(hear(&l->w, l->up), HEAR_OPEN);
    assert_string_equal(l->w.heard, "one");
}

static void a_tunnel_half_closed_by_the_client_goes_on_the_other_way(void **state)
{
    line l;

    (void)state;
    open_tunnel(&l);
    say(&l.w, l.client, "last");
    half_close(&l.w, l.client);
    assert_int_equal(hear(&l.w, l.up), HEAR_END);
    assert_string_equal(l.w.heard, "last");
    say(&l.w, l.up, "answer");
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "answer");
    say(&l.w, l.up, "end");
    half_close(&l.w, l.up);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_string_equal(l.w.heard, "end");
    assert_int_equal(world_live_exchanges(&l.w), 0);
    line_close(&l);
}

static void a_tunnel_half_closed_by_the_upstream_goes_on_the_other_way(void **state)
{
    line l;

    (void)state;
    open_tunnel(&l);
    say(&l.w, l.up, "last");
    half_close(&l.w, l.up);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_string_equal(l.w.heard, "last");
    say(&l.w, l.client, "more");
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_string_equal(l.w.heard, "more");
    say(&l.w, l.client, "end");
    half_close(&l.w, l.client);
    assert_int_equal(hear(&l.w, l.up), HEAR_END);
    assert_string_equal(l.w.heard, "end");
    assert_int_equal(world_live_exchanges(&l.w), 0);
    line_close(&l);
}

static void a_tunnel_ends_when_either_side_is_reset(void **state)
{
    (void)state;
    for (int side = 0; side < 2; side++) {
        line l;
        open_tunnel(&l);
        int *gone = side ? &l.client : &l.up, *left = side ? &l.up : &l.client;
        hang_up_hard(&l.w, *gone);
        *gone = -1;
        assert_true(hear(&l.w, *left) != HEAR_OPEN);
        assert_int_equal(world_live_exchanges(&l.w), 0);
        line_close(&l);
    }
}

static void an_idle_tunnel_ends_after_its_time(void **state)
{
    line l;

    (void)state;
    open_tunnel(&l);
    advance(&l.w, 3599 * MG_NS_PER_S);
    say(&l.w, l.client, "x");
    advance(&l.w, 3599 * MG_NS_PER_S);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    advance(&l.w, 2 * MG_NS_PER_S);
    client_is_cut(&l);
    line_close(&l);
}

static void a_unix_listener_serves_with_several_workers(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 2);
    assert_true(world_try_start(&w, 1,
                                "listeners: { web: { bind: \"unix:run/web.sock\" } }\n" QUIET
                                "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ "
                                "respond: { body: hi } }] }]\n"));
    assert_true(w.ready);
    mg_addr addr = w.gateway->snapshot->config->listeners[0]->addr;
    int fds[12];
    for (int i = 0; i < 12; i++) {
        fds[i] = w.outside->ops->connect(w.outside, &addr);
        settle(&w);
        say(&w, fds[i], GET);
        hear_status(&w, fds[i], "200");
    }
    w.next = w.first;
    mg_gateway_reload(w.gateway);
    settle(&w);
    for (int i = 0; i < 12; i++) {
        say(&w, fds[i], GET);
        hear_status(&w, fds[i], "200");
        hang_up(&w, fds[i]);
    }
    world_close(&w);
}

static void a_drain_overtakes_a_reload_that_waits_for_names(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    l.w.next = WEB QUIET "services: { up: { endpoints: [{ url: \"http://slow.name:9000\" }] } }\n" ROUTE;
    mg_gateway_reload(l.w.gateway);
    mg_gateway_drain(l.w.gateway);
    settle(&l.w);
    advance(&l.w, 60 * MG_NS_PER_S);
    assert_true(l.w.stopped);
    line_close(&l);
}

static void plugins_requests_are_over_when_their_time_is(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              HANDLER("next(ctx) local answer, problem = ctx.http:get('http://10.0.0.3:9001/x', { "
                      "timeout = 2 }) ctx.response:set_header('x-problem', tostring(problem))"));
    const int side = listen_at(&l.w, "10.0.0.3", 9001);
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    const int helper = take(&l.w, side);
    assert_true(helper >= 0);
    say(&l.w, helper, "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nabc");
    for (int i = 0; i < 19; i++) {
        advance(&l.w, 100 * MS);
        say(&l.w, helper, "d");
    }
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    advance(&l.w, 101 * MS);
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-problem: timeout\r\n");
    hang_up(&l.w, helper);
    hang_up(&l.w, side);
    line_close(&l);
}

static void a_plugin_that_asks_in_vain_ten_thousand_times_does_not_pile_up(void **state)
{
    line l;

    (void)state;
    line_open(
        &l,
        WEB QUIET
        "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }] }, gone: { endpoints: [{ url: "
        "\"http://nobody.example:1\" }] } }\n" ROUTE_P,
        HANDLER("local n = 0 for i = 1, 10000 do local a = ctx.http:get('http://nobody.example:1/') if "
                "not a then n = n + 1 end end ctx:respond(200, tostring(n))"));
    say(&l.w, l.client, GET);
    advance(&l.w, MG_NS_PER_S);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "10000");
    line_close(&l);
}

static void a_barrier_may_outlive_its_request(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE "state: { path: state }\n" ROUTE_P,
              HANDLER("ctx.kv:set('a', 'b') ctx.kv:barrier() next(ctx)"));
    say(&l.w, l.client, GET);
    assert_int_equal(world_live_exchanges(&l.w), 1);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    hang_up(&l.w, l.client);
    l.client = -1;
    assert_int_equal(world_live_exchanges(&l.w), 0);
    mg_error err = MG_ERROR_INIT;
    assert_int_equal(mg_kv_flush(l.w.gateway->kv, &err), MG_OK);
    settle(&l.w);
    line_close(&l);
}

static void a_barrier_may_be_open_at_the_end(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE "state: { path: state }\n" ROUTE_P,
              HANDLER("ctx.kv:set('a', 'b') ctx.kv:barrier() next(ctx)"));
    say(&l.w, l.client, GET);
    assert_int_equal(world_live_exchanges(&l.w), 1);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    assert_string_equal(l.w.heard, "");
    mg_gateway_drain(l.w.gateway);
    mg_gateway_drain(l.w.gateway);
    settle(&l.w);
    assert_true(l.w.stopped);
    line_close(&l);
}

static void endless_interim_answers_are_a_fault(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    for (int i = 0; i < 1000; i++)
        (void)say_bytes(&l.w, l.up, "HTTP/1.1 102 Processing\r\n\r\n", 27);
    (void)hear(&l.w, l.client);
    assert_has(l.w.heard, "HTTP/1.1 502 ");
    line_close(&l);
}

static void over_the_limit_the_answer_is_whole(void **state)
{
    line l;

    (void)state;
    line_open(&l, "listeners: { web: { bind: \"10.0.0.1:80\", max_connections: 1 } }\n" QUIET SERVICE ROUTE,
              NULL);
    const int second = dial(&l.w, "10.0.0.1", 80);
    assert_int_equal(hear(&l.w, second), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 503 ");
    const char *length = strstr(l.w.heard, "content-length: "), *body = strstr(l.w.heard, "\r\n\r\n") + 4;
    assert_non_null(length);
    assert_int_equal(atoi(length + 16), strlen(body));
    hang_up(&l.w, second);
    line_close(&l);
}

static void who_keeps_a_connection_behind_its_last_answer_does_not_hold_up_the_end(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE "shutdown: { drain_delay: 0s, drain_timeout: 10s }\n", NULL);
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"); /* lingers already */
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab");
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    const int late = dial(&l.w, "10.0.0.1", 80); /* its answer comes while the gateway ends */
    say(&l.w, late, GET);
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    const int large = dial(&l.w, "10.0.0.1", 80); /* and this one's before its body has come */
    say(&l.w, large, POST(999999));
    mg_gateway_drain(l.w.gateway);
    settle(&l.w);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\ncd");
    assert_int_equal(hear(&l.w, late), HEAR_END);
    assert_ends(l.w.heard, "cd");
    assert_false(l.w.stopped);
    const int second = take(&l.w, l.upstream);
    say(&l.w, second, "HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    assert_int_equal(hear(&l.w, large), HEAR_END);
    say(&l.w, large, "some of the body, which must not reset the answer");
    advance(&l.w, 199 * MS);
    assert_false(l.w.stopped);
    advance(&l.w, 2 * MS);
    assert_true(l.w.stopped);
    hang_up(&l.w, late);
    hang_up(&l.w, large);
    hang_up(&l.w, second);
    line_close(&l);
}

#define FILTER(request, response)                                                                            \
    "local plugin = { name = 'p', version = '1', body = { request = 'stream', response = 'stream' } }\n"     \
    "function plugin.new() return function(ctx, next) return next(ctx) end end\n"                            \
    "function plugin.request_body(ctx, bytes, last) " request " end\n"                                       \
    "function plugin.response_body(ctx, bytes, last) " response " end\n"                                     \
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

static void a_tunnel_passes_a_plugin_that_takes_bodies(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("next(ctx) ctx.response:body()"));
    line_ask(&l, UPGRADE);
    say(&l.w, l.up, SWITCHED "first");
    hear_status(&l.w, l.client, "101");
    assert_ends(l.w.heard, "\r\n\r\nfirst");
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
        cmocka_unit_test(a_tunnel_passes_a_plugin_that_takes_bodies),
        cmocka_unit_test(a_client_that_does_not_read_is_cut_after_body_timeout),
        cmocka_unit_test(a_slow_reader_is_not_cut),
        cmocka_unit_test(a_plugins_body_outlives_its_chain),
        cmocka_unit_test(the_deadline_ends_a_chain_that_waits_for_a_body),
        cmocka_unit_test(a_body_that_a_plugin_did_not_wait_for_goes_on_whole),
        cmocka_unit_test(a_body_that_nobody_waited_for_long_enough_is_504),
        cmocka_unit_test(a_body_too_large_for_a_plugin_is_answered_at_once),
        cmocka_unit_test(a_tunnel_half_closed_by_the_client_goes_on_the_other_way),
        cmocka_unit_test(a_tunnel_half_closed_by_the_upstream_goes_on_the_other_way),
        cmocka_unit_test(a_tunnel_ends_when_either_side_is_reset),
        cmocka_unit_test(an_idle_tunnel_ends_after_its_time),
        cmocka_unit_test(a_unix_listener_serves_with_several_workers),
        cmocka_unit_test(a_drain_overtakes_a_reload_that_waits_for_names),
        cmocka_unit_test(plugins_requests_are_over_when_their_time_is),
        cmocka_unit_test(a_plugin_that_asks_in_vain_ten_thousand_times_does_not_pile_up),
        cmocka_unit_test(a_barrier_may_outlive_its_request),
        cmocka_unit_test(a_barrier_may_be_open_at_the_end),
        cmocka_unit_test(endless_interim_answers_are_a_fault),
        cmocka_unit_test(over_the_limit_the_answer_is_whole),
        cmocka_unit_test(who_keeps_a_connection_behind_its_last_answer_does_not_hold_up_the_end),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
