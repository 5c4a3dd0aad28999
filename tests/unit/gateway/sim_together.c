/* sim_together.c - what plugins can do, where it meets something else that goes on: a body on its way,
 * requests that wait for the same service, filters behind a body in memory. */
#include "sim_world.h"

#define P(text)                                                                                              \
    "return { name = 'p', version = '1', new = function() return function(ctx, next)\n" text "\nend end }\n"
#define SEND "local res, why = ctx.http:post('/x', ctx.request, { service = 'up' })\n"
#define POST "POST /a HTTP/1.1\r\nhost: a\r\ncontent-length: 6\r\n\r\nfoo"

/* ---- the client's body is still on its way ---- */

/* Nobody takes the rest: the time of the request goes on, and ends what the plugin waits for. */
static void then_the_time_is_over(line *l)
{
    say(&l->w, l->client, "bar");
    advance(&l->w, 61 * MG_NS_PER_S);
    (void)hear(&l->w, l->client);
    assert_starts(l->w.heard, "HTTP/1.1 504");
    line_close(l);
}

static void the_time_goes_on_when_the_answer_came_before_the_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB QUIET SERVICE ROUTE_P, P(SEND "ctx:sleep(3600) ctx:respond(200, 'late')"));
    line_ask(&l, POST);
    say(&l.w, l.up, "HTTP/1.1 413 Large\r\ncontent-length: 0\r\n\r\n");
    then_the_time_is_over(&l);
}

static void the_time_goes_on_when_the_upstream_left_before_the_body(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB QUIET SERVICE ROUTE_P, P(SEND "ctx:sleep(3600) ctx:respond(200, 'late')"));
    line_ask(&l, POST);
    hang_up_hard(&l.w, l.up);
    l.up = -1;
    then_the_time_is_over(&l);
}

/* ---- requests that wait for the same service ---- */

#define NARROW                                                                                               \
    "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], "                                     \
    "pool: { max_connections: 1, queue_timeout: 5s } } }\n"

/* What closes an answer gives a place of the pool back. Whoever waited for it hears so behind the plugin that
 * runs: two plugins never run one within the other. */
static void one_goes_on_behind(const char *ends)
{
    char plugin[1024];
    int other;
    line l;

    snprintf(plugin, sizeof plugin,
             P("if ctx.request.path == '/b' then next(ctx) return ctx:respond(200, 'b' .. "
               "ctx.response.status) end\n"
               "local res = ctx.http:get('/x', { service = 'up', stream = true })\n"
               "ctx:sleep(1) %s"),
             ends);
    line_open(&l, WEB QUIET NARROW ROUTE_P, plugin);
    other = dial(&l.w, "10.0.0.1", 80);
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nx");
    say(&l.w, other, "GET /b HTTP/1.1\r\nhost: a\r\n\r\n");
    mg_sim_set_descriptors(l.w.sim, 1); /* no new connection comes about */
    advance(&l.w, MG_NS_PER_S);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\na");
    hear_status(&l.w, other, "200");
    assert_ends(l.w.heard, "\r\n\r\nb502");
    hang_up(&l.w, other);
    line_close(&l);
}

static void who_waited_goes_on_behind_the_plugin_that_closes(void **state)
{
    (void)state;
    one_goes_on_behind("res:close() ctx:respond(200, 'a')");
}

static void who_waited_goes_on_behind_the_plugin_that_replaces(void **state)
{
    (void)state;
    one_goes_on_behind("ctx:respond(200, res) ctx:respond(200, 'a') ctx.response:set_header('x-a', '1')");
}

/* ---- filters behind a body in memory ---- */

enum { LARGE_MIB = 20 };

#define TWO                                                                                                  \
    "plugins: { p: { use: ./plugins/p }, q: { use: ./plugins/q } }\n"                                        \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p, q], service: up }]\n"

static void a_filter_has_all_of_a_large_body_that_was_in_memory(void **state)
{
    static char piece[1 << 20];
    size_t heard = 0;
    ssize_t got;
    line l = { .up = -1 };

    (void)state;
    world_init(&l.w, 1, 1);
    world_plugin(&l.w, "p",
                 "return { name = 'p', version = '1', body = { response = 'stream' }, new = function()\n"
                 "return { handler = function(ctx, next) next(ctx) end,\n"
                 "response_body = function(ctx, bytes, last) return nil end } end }\n");
    world_plugin(
        &l.w, "q",
        "return { name = 'q', version = '1', body = { response = 'buffer(32MiB)' }, new = function()\n"
        "return function(ctx, next) next(ctx) ctx.response:body() end end }\n");
    assert_true(world_try_start(&l.w, 1, WEB QUIET SERVICE TWO));
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    l.client = dial(&l.w, "10.0.0.1", 80);
    line_ask(&l, "GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 20971520\r\n\r\n");
    for (int i = 0; i < LARGE_MIB; i++)
        say_all(&l.w, l.up, piece, sizeof piece);
    while ((got = l.w.outside->ops->recv(l.w.outside, l.client, piece, sizeof piece)) > 0) {
        heard += (size_t)got;
        settle(&l.w);
    }
    assert_true(heard >= (size_t)LARGE_MIB << 20);
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_goes_on_when_the_answer_came_before_the_body),
        cmocka_unit_test(the_time_goes_on_when_the_upstream_left_before_the_body),
        cmocka_unit_test(who_waited_goes_on_behind_the_plugin_that_closes),
        cmocka_unit_test(who_waited_goes_on_behind_the_plugin_that_replaces),
        cmocka_unit_test(a_filter_has_all_of_a_large_body_that_was_in_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
