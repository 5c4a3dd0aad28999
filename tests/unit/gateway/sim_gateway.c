/* sim_gateway.c - the whole gateway on simulated loops: what goes through it, how it changes and how it ends.
 */
#include "sim_world.h"

#define BASE     WEB QUIET SERVICE
#define GET      "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define POST(n)  "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: " #n "\r\n\r\n"
#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

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

static void chunks_and_trailers_pass_both_ways(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
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

/* ---- the client leaves, the upstream fails ---- */

/* What both ends have done by each step, with a plugin that waits on the way in and on the way out. */
static void play(line *l, int steps)
{
    static const char *const client[] = { "POST /a HTTP/1.1\r\nhost: a\r\n", "content-length: 8\r\n\r\n",
                                          "1234", "5678" };
    int step = 0;

    for (int i = 0; i < 4 && step < steps; i++, step++)
        say(&l->w, l->client, client[i]);
    if (step++ < steps)
        advance(&l->w, 1001 * MS); /* the way in has slept */
    if (step++ < steps) {
        l->up = take(&l->w, l->upstream);
        assert_true(l->up >= 0);
        (void)hear(&l->w, l->up);
    }
    if (step++ < steps)
        say(&l->w, l->up, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n");
    if (step++ < steps)
        say(&l->w, l->up, "\r\n");
    if (step++ < steps)
        say(&l->w, l->up, "2\r\nab\r\n");
    if (step++ < steps)
        advance(&l->w, 1001 * MS); /* the way out has slept */
    if (step++ < steps)
        say(&l->w, l->up, "2\r\nab\r\n");
}

enum { STEPS = 11 };

#define WAITING   HANDLER("ctx:sleep(1) next(ctx) ctx:sleep(1)")
#define BUFFERING HANDLER("ctx.request:body() ctx:sleep(1) next(ctx) ctx:sleep(1) ctx.response:body()")

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

/* ---- change ---- */

#define SAYS(word)                                                                                           \
    WEB QUIET "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ respond: { body: " word  \
              " } }] }]\n"

static void a_reload_swaps_all_workers_or_none(void **state)
{
    world w;
    int fds[16];

    (void)state;
    world_init(&w, 1, 3);
    assert_true(world_try_start(&w, 1, SAYS("one")));
    for (int i = 0; i < 16; i++)
        fds[i] = dial(&w, "10.0.0.1", 80);
    static const struct {
        const char *config, *word;
        uint64_t revision;
    } steps[] = {
        { SAYS("two"), "two", 2 },
        { SAYS("three") "routs: 1\n", "two", 2 },
        { WEB QUIET
          "plugins: { p: { use: ./plugins/p } }\nroutes: [{ name: all, match: { paths: [{ prefix: / }] "
          "}, plugins: [p] }]\n",
          "two", 2 },
        { SAYS("four"), "four", 3 }
    };
    world_plugin(&w, "p", "return { name = 'p', new = function() error('not today') end }");
    for (size_t s = 0; s < sizeof steps / sizeof *steps; s++) {
        w.next = steps[s].config;
        mg_gateway_reload(w.gateway);
        settle(&w);
        assert_int_equal(w.gateway->revision, steps[s].revision);
        for (int i = 0; i < 16; i++) {
            say(&w, fds[i], GET);
            hear_status(&w, fds[i], "200");
            assert_ends(w.heard, steps[s].word);
        }
    }
    assert_int_equal(w.gateway->reloads_refused, 2);
    assert_has(w.logged.p, "not today");
    for (int i = 0; i < 16; i++)
        hang_up(&w, fds[i]);
    world_close(&w);
}

static void requests_in_flight_keep_what_they_began_with(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P,
              HANDLER("ctx:sleep(5) next(ctx) ctx:sleep(1) ctx.response:set_header('x-old', '1')"));
    say(&l.w, l.client, GET);
    l.w.next = WEB QUIET "services: { other: { endpoints: [{ url: \"http://10.0.0.9:1\" }] } }\n"
                         "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: other }]\n";
    for (int i = 0; i < 3; i++) {
        mg_gateway_reload(l.w.gateway);
        settle(&l.w);
    }
    assert_int_equal(l.w.gateway->revision, 4);
    advance(&l.w, 5001 * MS);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab");
    advance(&l.w, 1001 * MS);
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-old: 1\r\n");
    assert_true(hear(&l.w, l.up) != HEAR_OPEN); /* its endpoint is nobody's any more */
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "502");
    line_close(&l);
}

static void a_listener_that_leaves_lets_its_connections_finish(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE, NULL);
    line_ask(&l, GET);
    const int idle = dial(&l.w, "10.0.0.1", 80);
    l.w.next = "listeners: { web: { bind: \"10.0.0.1:81\" } }\n" QUIET SERVICE ROUTE;
    mg_gateway_reload(l.w.gateway);
    settle(&l.w);
    assert_int_equal(hear(&l.w, idle), HEAR_END);
    hang_up(&l.w, idle);
    say(&l.w, l.up, OK_EMPTY);
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_starts(l.w.heard, "HTTP/1.1 200 ");
    line_drop(&l, &l.client);
    const int refused = dial(&l.w, "10.0.0.1", 80);
    assert_int_equal(hear(&l.w, refused), HEAR_RESET);
    hang_up(&l.w, refused);
    l.client = dial(&l.w, "10.0.0.1", 81);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    l.w.next = l.w.first; /* and back, to an address that is free again */
    mg_gateway_reload(l.w.gateway);
    settle(&l.w);
    line_drop(&l, &l.client);
    l.client = dial(&l.w, "10.0.0.1", 80);
    line_ask(&l, GET);
    say(&l.w, l.up, OK_EMPTY);
    hear_status(&l.w, l.client, "200");
    line_close(&l);
}

/* ---- the end ---- */

static void a_drain_lets_requests_finish_and_no_more_come(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE "shutdown: { drain_delay: 2s, drain_timeout: 10s }\n", NULL);
    const int idle = dial(&l.w, "10.0.0.1", 80);
    line_ask(&l, GET);
    mg_gateway_drain(l.w.gateway);
    advance(&l.w, 1999 * MS);
    const int late = dial(&l.w, "10.0.0.1", 80); /* before the delay is over all is as ever */
    assert_int_equal(hear(&l.w, late), HEAR_OPEN);
    advance(&l.w, 2 * MS);
    assert_int_equal(hear(&l.w, idle), HEAR_END);
    assert_int_equal(hear(&l.w, late), HEAR_END);
    assert_false(l.w.stopped);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab");
    assert_int_equal(hear(&l.w, l.client), HEAR_END);
    assert_has(l.w.heard, "connection: close\r\n");
    assert_ends(l.w.heard, "\r\n\r\nab");
    line_drop(&l, &l.client);
    assert_true(l.w.stopped);
    hang_up(&l.w, idle);
    hang_up(&l.w, late);
    line_close(&l);
}

static void what_does_not_finish_is_cut_after_drain_timeout(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P "shutdown: { drain_delay: 0s, drain_timeout: 3s }\n",
              HANDLER("ctx:sleep(10) next(ctx)"));
    say(&l.w, l.client, GET);
    mg_gateway_drain(l.w.gateway);
    advance(&l.w, 2999 * MS);
    assert_int_equal(hear(&l.w, l.client), HEAR_OPEN);
    advance(&l.w, 2 * MS);
    assert_true(l.w.stopped);
    client_is_cut(&l);
    line_close(&l);
}

static void a_gateway_may_end_in_any_state(void **state)
{
    (void)state;
    for (int steps = 0; steps <= STEPS; steps++)
        for (int how = 0; how < 4; how++) {
            line l;
            line_open(&l, BASE ROUTE_P, how % 2 ? BUFFERING : WAITING);
            play(&l, steps);
            if (how < 2) {
                mg_gateway_drain(l.w.gateway);
                mg_gateway_drain(l.w.gateway);
                settle(&l.w);
                assert_true(l.w.stopped);
            }
            world_free_gateway(&l.w);
            line_close(&l);
        }
}

static void a_name_may_be_sought_when_the_gateway_ends(void **state)
{
    line l;

    (void)state;
    line_open(&l, BASE ROUTE_P, HANDLER("ctx.http:get('http://some.name:80/') next(ctx)"));
    const struct iovec part = { (void *)(uintptr_t)GET, strlen(GET) };
    for (int turns = 0; turns < 12; turns++) { /* stopped in the middle of the question */
        assert_int_equal(l.w.outside->ops->send(l.w.outside, l.client, &part, 1), strlen(GET));
        mg_gateway_drain(l.w.gateway);
        mg_gateway_drain(l.w.gateway);
        if (turns)
            break;
    }
    line_close(&l);
}

static void a_gateway_that_never_started_ends(void **state)
{
    world w;
    mg_report report = MG_REPORT_INIT;

    (void)state;
    world_init(&w, 1, 2);
    const mg_gateway_options options = { .log = w.log,
                                         .clock = mg_sim_clock(w.sim),
                                         .seed = 1,
                                         .loops = w.loops,
                                         .loop_count = 3,
                                         .resolver = w.resolver };
    w.gateway = mg_gateway_new(&options, world_config(&w, BASE ROUTE, &report), &report);
    assert_non_null(w.gateway);
    mg_report_fini(&report);
    world_close(&w);
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
        cmocka_unit_test(a_client_that_leaves_leaves_nothing_behind),
        cmocka_unit_test(an_upstream_that_fails_is_answered_for_or_cut),
        cmocka_unit_test(a_stale_connection_is_replaced_for_what_may_be_sent_twice),
        cmocka_unit_test(what_may_not_be_sent_twice_is_not),
        cmocka_unit_test(places_at_an_endpoint_go_from_worker_to_worker),
        cmocka_unit_test(a_reload_swaps_all_workers_or_none),
        cmocka_unit_test(requests_in_flight_keep_what_they_began_with),
        cmocka_unit_test(a_listener_that_leaves_lets_its_connections_finish),
        cmocka_unit_test(a_drain_lets_requests_finish_and_no_more_come),
        cmocka_unit_test(what_does_not_finish_is_cut_after_drain_timeout),
        cmocka_unit_test(a_gateway_may_end_in_any_state),
        cmocka_unit_test(a_name_may_be_sought_when_the_gateway_ends),
        cmocka_unit_test(a_name_that_fails_is_told_once_until_it_resolves),
        cmocka_unit_test(waiting_for_the_upstream_is_not_the_gateways_time),
        cmocka_unit_test(a_gateway_that_never_started_ends),
        cmocka_unit_test(two_gateways_live_beside_each_other),
        cmocka_unit_test(the_same_seed_is_the_same_run),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
