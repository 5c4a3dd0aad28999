/* sim_too_late.c - what a plugin cannot change any more raises at its line, in every phase; nothing is taken
 * silently, and the log has what the client has got. */
#include "sim_exchange.h"

/* A plugin whose phases run what stands on a line of its own: 3 the handler behind next, 5 and 7 filters, 9
 * log. */
#define PHASES                                                                                               \
    "return { name = 'p', version = '1', body = { request = 'stream', response = 'stream' }, new = "         \
    "function() "                                                                                            \
    "return { handler = function(ctx, next) next(ctx)\n%s\nend, request_body = function(ctx, bytes, last)\n" \
    "%s\nend, response_body = function(ctx, bytes, last)\n%s\nend, log = function(ctx)\n%s\n"                \
    "ctx.log:info('LOG ' .. ctx.response.status .. ' ' .. tostring(ctx.response:header('x-a')))\n"           \
    "end } end }\n"

enum { BEHIND_NEXT, REQUEST_FILTER, RESPONSE_FILTER, IN_LOG, PHASES_ALL };

#define GONE   "the request has gone already: change it before next(ctx)"
#define ON_WAY "the response is on its way: change it in the handler, after next(ctx)"
#define NONE   "there is no response yet: it is there after next(ctx) or ctx:respond"
#define LOOKS  "the request is over: log(ctx) only looks"
#define NO_ONE "only a handler answers: in a filter or in log(ctx) it is too late"

/* What each call says by phase; NULL: it does what it says. */
static const struct {
    const char *call, *said[PHASES_ALL];
} calls[] = {
    { "ctx.request:set_header('x-a', 'b')", { GONE, GONE, GONE, LOOKS } },
    { "ctx.request:add_header('x-a', 'b')", { GONE, GONE, GONE, LOOKS } },
    { "ctx.request:set_header('x-a', { 'b', 'c' })", { GONE, GONE, GONE, LOOKS } },
    { "ctx.request:set_header('x-a', 5)", { GONE, GONE, GONE, LOOKS } },
    { "ctx.request:remove_header('host')", { GONE, GONE, GONE, LOOKS } },
    { "ctx.request:set_method('PUT')", { GONE, GONE, GONE, LOOKS } },
    { "ctx.request:set_path('/b')", { GONE, GONE, GONE, LOOKS } },
    { "ctx.request:set_query('b')", { GONE, GONE, GONE, LOOKS } },
    { "ctx.request:set_body('b')", { GONE, GONE, GONE, LOOKS } },
    { "ctx.response:set_header('x-a', 'b')", { NULL, NONE, ON_WAY, ON_WAY } },
    { "ctx.response:add_header('x-a', 'b')", { NULL, NONE, ON_WAY, ON_WAY } },
    { "ctx.response:set_header('x-a', { 'b', 'c' })", { NULL, NONE, ON_WAY, ON_WAY } },
    { "ctx.response:remove_header('x-up')", { NULL, NONE, ON_WAY, ON_WAY } },
    { "ctx.response:set_cookie('a', 'b')", { NULL, NONE, ON_WAY, ON_WAY } },
    { "ctx.response:set_status(418)", { NULL, NONE, ON_WAY, ON_WAY } },
    { "ctx.response:set_body('mine')", { NULL, NONE, ON_WAY, ON_WAY } },
    { "ctx:respond(418, 'mine')", { NULL, NO_ONE, NO_ONE, NO_ONE } },
    { "ctx:respond(418, { title = 'mine' })", { NULL, NO_ONE, NO_ONE, NO_ONE } },
    { "ctx:respond(418, { json = {} })", { NULL, NO_ONE, NO_ONE, NO_ONE } },
};

static void plugin_of(char text[2048], const char *call, unsigned phase)
{
    snprintf(text, 2048, PHASES, phase == BEHIND_NEXT ? call : "", phase == REQUEST_FILTER ? call : "",
             phase == RESPONSE_FILTER ? call : "", phase == IN_LOG ? call : "");
}

/* The client's answer stands in w.heard, and the line that the log got in w.logged. */
static void ask(line *l, const char *plugin)
{
    line_open(l, BASE ROUTE_P, plugin);
    line_ask(l, POST(4));
    say(&l->w, l->client, "body");
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\nx-up: 1\r\ncontent-length: 2\r\n\r\nup");
    (void)hear(&l->w, l->client);
    hang_up(&l->w, l->client);
    l->client = -1;
}

static void it_raises_at_the_plugins_line(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(calls); i++)
        for (unsigned phase = 0; phase < PHASES_ALL; phase++) {
            line l;
            char plugin[2048], said[256];
            const char *wanted = calls[i].said[phase];
            plugin_of(plugin, calls[i].call, phase);
            ask(&l, plugin);
            snprintf(said, sizeof said, "plugin.lua:%u: ", 2 + 2 * phase);
            if (!wanted) {
                assert_null(strstr(l.w.logged.p, "plugin_error"));
            } else {
                assert_has(l.w.logged.p, said);
                assert_has(l.w.logged.p, wanted);
                assert_starts(l.w.heard, phase < RESPONSE_FILTER ? "HTTP/1.1 500 " : "HTTP/1.1 200 ");
                assert_has(l.w.logged.p, phase < RESPONSE_FILTER ? "LOG 500 nil"
                                         : phase == IN_LOG       ? ""
                                                                 : "LOG 200 nil");
                assert_int_equal(ends_with(l.w.heard, "\r\n2\r\nup\r\n0\r\n\r\n"), phase == IN_LOG);
            }
            line_close(&l);
        }
}

static void where_that_is_caught_nothing_has_changed(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(calls); i++)
        for (unsigned phase = 0; phase < PHASES_ALL; phase++) {
            line l;
            char call[256], plugin[2048];
            if (!calls[i].said[phase])
                continue;
            snprintf(call, sizeof call, "pcall(function() %s end)", calls[i].call);
            plugin_of(plugin, call, phase);
            ask(&l, plugin);
            assert_starts(l.w.heard, "HTTP/1.1 200 OK\r\nx-up: 1\r\n");
            assert_ends(l.w.heard, "\r\n2\r\nup\r\n0\r\n\r\n");
            assert_has(l.w.logged.p, "LOG 200 nil");
            assert_null(strstr(l.w.logged.p, "plugin_error"));
            line_close(&l);
        }
}

/* The handler sleeps behind next, its response is there and not yet sent, and the request's body still comes.
 */
static void a_filter_changes_no_response_that_a_handler_holds(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(calls); i++) {
        line l;
        char plugin[1024];
        snprintf(
            plugin, sizeof plugin,
            "return { name = 'p', version = '1', body = { request = 'stream' }, new = function() return { "
            "handler = function(ctx, next) next(ctx) ctx:sleep(1) end, request_body = function(ctx) "
            "if ctx.response.status then pcall(function() %s end) end end } end }\n",
            calls[i].call);
        line_open(&l, BASE ROUTE_P, plugin);
        line_ask(&l, POST(8));
        say(&l.w, l.client, "1234");
        say(&l.w, l.up, "HTTP/1.1 200 OK\r\nx-up: 1\r\ncontent-length: 2\r\n\r\nup");
        say(&l.w, l.client, "5678");
        advance(&l.w, 1001 * MS);
        hear_status(&l.w, l.client, "200");
        assert_has(l.w.heard, "\r\nx-up: 1\r\n");
        assert_ends(l.w.heard, "content-length: 2\r\n\r\nup");
        assert_null(strstr(l.w.heard, "x-a"));
        line_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_raises_at_the_plugins_line),
        cmocka_unit_test(where_that_is_caught_nothing_has_changed),
        cmocka_unit_test(a_filter_changes_no_response_that_a_handler_holds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
