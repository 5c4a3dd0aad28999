/* sim_log_phase.c - log(ctx) of each plugin of a chain runs once for every request that began in it, however
 * that ended, and is told what the client got. */
#include "sim_exchange.h"

/* p is the outer plugin, q the inner one; both log. Between these two stands the handler, behind them are
 * filters. */
#define HEAD(name, body)                                                                                     \
    "return { name = '" name "', version = '1', body = " body ", new = function() return { handler = "       \
    "function(ctx, next) ctx.state." name " = 'kept'\n"
#define LOG(name)                                                                                            \
    "\nend, log = function(ctx)\n"                                                                           \
    "  local r = ctx.response\n"                                                                             \
    "  ctx.log:info(('LOG " name " %s %s %d %s.'):format(tostring(r.status), tostring(r.error), r.bytes,\n"  \
    "    tostring(ctx.state." name ")))\n"                                                                   \
    "  if ctx.request:header('x-broken') then BROKEN = true end\n"                                           \
    "end"
#define END " } end }\n"
#define FILTERS(request, response)                                                                           \
    ", request_body = function(ctx, bytes) " request " end, response_body = function(ctx, bytes) " response  \
    " end"
#define TO_MEMORY "{ request = 'buffer(1KiB)', response = 'buffer(1KiB)' }"
#define PIECES    "{ request = 'stream', response = 'stream' }"

#define DOORS                                                                                                \
    "listeners: { web: { bind: \"10.0.0.1:80\", body_timeout: 4s } }\n" QUIET                                \
    "state: { path: state }\nshutdown: { drain_timeout: 1s }\n"                                              \
    "limiters: { one: { rate: 1/h, burst: 1 } }\n"
#define UP(more)                                                                                             \
    "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], read_timeout: 3s, "                   \
    "first_byte_timeout: 2s" more " } }\n"
#define CHAIN(service, more)                                                                                 \
    "plugins: { p: { use: ./plugins/p " more " }, q: { use: ./plugins/q } }\n"                               \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p, q]" service ", timeout: 5s }]\n"
#define USUAL DOORS UP("") CHAIN(", service: up", "")

typedef struct ending {
    const char *name, *config, *handler, *filters; /* of p; filters: NULL for none */
    void (*act)(line *l);
    const char *request; /* NULL: GET */
    const char *got;     /* status and reason as the log sees them */
} ending;

#define ACT(name) static void name(line *l)

ACT(nothing_more)
{
    (void)l;
}
ACT(up_answers)
{
    l->up = take(&l->w, l->upstream);
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfull");
}
ACT(up_answers_chunked)
{
    l->up = take(&l->w, l->upstream);
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nfull\r\n0\r\n\r\n");
}
ACT(up_says_204)
{
    l->up = take(&l->w, l->upstream);
    say(&l->w, l->up, "HTTP/1.1 204 No Content\r\n\r\n");
}
ACT(up_answers_much)
{
    l->up = take(&l->w, l->upstream);
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\ncontent-length: 5000\r\n\r\nxx");
}
ACT(up_answers_too_much)
{
    l->up = take(&l->w, l->upstream);
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\ncontent-length: 50000\r\n\r\nxx");
}
ACT(up_answers_half_and_leaves)
{
    up_answers_much(l);
    line_drop(l, &l->up);
}
ACT(up_leaves)
{
    l->up = take(&l->w, l->upstream);
    line_drop(l, &l->up);
}
ACT(up_speaks_no_http)
{
    l->up = take(&l->w, l->upstream);
    say(&l->w, l->up, "no HTTP at all\r\n\r\n");
}
ACT(up_is_not_there)
{
    line_drop(l, &l->upstream);
    say(&l->w, l->client, GET);
}
ACT(time_passes)
{
    advance(&l->w, 6 * MG_NS_PER_S);
}
ACT(up_answers_and_time_passes)
{
    up_answers(l);
    time_passes(l);
}
ACT(client_leaves)
{
    line_drop(l, &l->client);
}
ACT(client_resets)
{
    hang_up_hard(&l->w, l->client);
    l->client = -1;
}
ACT(up_answers_and_client_leaves)
{
    up_answers(l);
    client_leaves(l);
}
ACT(up_answers_half_and_client_leaves)
{
    up_answers_much(l);
    client_leaves(l);
}
ACT(client_breaks_its_body)
{
    say(&l->w, l->client, "not hex\r\n");
}
ACT(client_sends_too_much)
{
    for (int i = 0; i < 200; i++)
        (void)say_bytes(&l->w, l->client, "14\r\n01234567890123456789\r\n", 26);
}
ACT(client_reads_no_more)
{
    l->up = take(&l->w, l->upstream);
    mg_sim_set_buffer(l->w.sim, 1000);
    say(&l->w, l->up, "HTTP/1.1 200 OK\r\ncontent-length: 500000\r\n\r\n");
    for (int i = 0; i < 300; i++)
        (void)say_bytes(&l->w, l->up, "0123456789012345678901234567890123456789", 40);
    advance(&l->w, 9 * MG_NS_PER_S);
}
ACT(up_switches)
{
    l->up = take(&l->w, l->upstream);
    say(&l->w, l->up, "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\nhello");
    say(&l->w, l->client, "hello too");
    line_drop(l, &l->up);
}
ACT(gateway_stops)
{
    mg_gateway_drain(l->w.gateway);
    mg_gateway_drain(l->w.gateway);
    settle(&l->w);
}
ACT(gateway_drains_too_long)
{
    mg_gateway_drain(l->w.gateway);
    settle(&l->w);
    advance(&l->w, 1100 * MS);
    advance(&l->w, 1100 * MS);
}
ACT(gateway_stops_while_up_answers)
{
    up_answers_much(l);
    gateway_stops(l);
}
ACT(configuration_changes)
{
    l->w.next =
        DOORS UP("") "routes: [{ name: other, match: { paths: [{ prefix: /other }] }, service: up }]\n";
    mg_gateway_reload(l->w.gateway);
    settle(&l->w);
    up_answers(l);
}
ACT(limited_twice)
{
    up_answers(l);
    (void)hear(&l->w, l->client);
    assert_has(l->w.logged.p, "LOG p 200 nil");
    mg_text_clear(&l->w.logged);
    say(&l->w, l->client, GET);
}

#define NEXT   "next(ctx)"
#define BODIED "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n4\r\nsome\r\n"
#define LIMITED(a)                                                                                           \
    DOORS UP("") "plugins: { p: { use: ./plugins/p }, q: { use: ./plugins/q } }\n"                           \
                 "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [" a                     \
                 "], service: up }]\n"

/* All ways in which an exchange ends, as pipeline.c, proxy.c, chain.c, filter.c and the client side have
 * them. */
static const ending ways[] = {
    { "an answer of the upstream", USUAL, NEXT, NULL, up_answers, NULL, "200 nil" },
    { "one that streams", USUAL, NEXT, NULL, up_answers_chunked, NULL, "200 nil" },
    { "one without a body", USUAL, NEXT, NULL, up_says_204, NULL, "204 nil" },
    { "one to HEAD", USUAL, NEXT, NULL, up_says_204, "HEAD /a HTTP/1.1\r\nhost: a\r\n\r\n", "204 nil" },
    { "one past filters", USUAL, NEXT, FILTERS("", ""), up_answers, NULL, "200 nil" },
    { "an answer of the plugin's", USUAL, "ctx:respond(403, 'no')", NULL, nothing_more, NULL, "403 nil" },
    { "one behind next", USUAL, NEXT " ctx:respond(418, 'tea')", NULL, up_answers, NULL, "418 nil" },
    { "a new status", USUAL, NEXT " ctx.response:set_status(203)", NULL, up_answers, NULL, "203 nil" },
    { "a mistake", USUAL, "error('mine')", NULL, nothing_more, NULL, "500 plugin_error" },
    { "one behind next", USUAL, NEXT " error('mine')", NULL, up_answers, NULL, "500 plugin_error" },
    { "one behind an answer", USUAL, "ctx:respond(403) error('mine')", NULL, nothing_more, NULL,
      "500 plugin_error" },
    { "one that is passed over", DOORS UP("") CHAIN(", service: up", ", on_error: open"), "error('mine')",
      NULL, up_answers, NULL, "200 nil" },
    { "one that is passed over, and skipped", DOORS UP("") CHAIN(", service: up", ", on_error: skip"),
      "error('mine')", NULL, up_answers, NULL, "200 nil" },
    { "a refusal that is passed over", DOORS UP("") CHAIN(", service: up", ", on_error: open"),
      "ctx:respond(403) error('mine')", NULL, nothing_more, NULL, "403 nil" },
    { "no answer", USUAL, "", NULL, nothing_more, NULL, "500 plugin_error" },
    { "next called twice", USUAL, NEXT " " NEXT, NULL, up_answers, NULL, "500 plugin_error" },
    { "too much computing", USUAL, "while true do end", NULL, nothing_more, NULL, "500 plugin_error" },
    { "too much of it over waits", USUAL, "while true do ctx:sleep(0) end", NULL, nothing_more, NULL,
      "500 plugin_error" },
    { "too deep a call", USUAL, "local function f() return 1 + f() end f()", NULL, nothing_more, NULL,
      "500 plugin_error" },
    { "a wait past the route's timeout", USUAL, "ctx:sleep(3600)", NULL, time_passes, NULL, "504 deadline" },
    { "one for a barrier", USUAL, "ctx.kv:set('a', 'b') ctx.kv:barrier()", NULL, time_passes, NULL,
      "504 deadline" },
    { "a wait behind next", USUAL, NEXT " ctx:sleep(3600)", NULL, up_answers_and_time_passes, NULL,
      "504 deadline" },
    { "a wait past the plugin's timeout", DOORS UP("") CHAIN(", service: up", ", timeout: 1s"),
      "ctx:sleep(3600)", NULL, time_passes, NULL, "500 plugin_error" },
    { "a body larger than taken", USUAL, "ctx.request:body() " NEXT, NULL, client_sends_too_much, BODIED,
      "413 body_too_large" },
    { "one that says so", USUAL, "ctx.request:body() " NEXT, NULL, nothing_more, POST(5000),
      "413 body_too_large" },
    { "a response larger than taken", USUAL, NEXT " ctx.response:body()", NULL, up_answers_too_much, NULL,
      "502 body_too_large" },
    { "a malformed body, waited for", USUAL, "ctx.request:body() " NEXT, NULL, client_breaks_its_body, BODIED,
      "400 bad_request" },
    { "a malformed body, on its way", USUAL, NEXT, NULL, client_breaks_its_body, BODIED, "400 bad_request" },
    { "a malformed body while the plugin sleeps", USUAL, "ctx.request:body() " NEXT, FILTERS("", ""),
      client_breaks_its_body, BODIED, "400 bad_request" },
    { "a body that does not come", USUAL, "ctx.request:body() " NEXT, NULL, time_passes, BODIED,
      "408 bad_request" },
    { "one on its way", USUAL, NEXT, NULL, time_passes, BODIED, "408 bad_request" },
    { "a client that leaves while the plugin sleeps", USUAL, "ctx:sleep(3600)", NULL, client_leaves, NULL,
      "499 client_gone" },
    { "one while it waits for a body", USUAL, "ctx.request:body() " NEXT, NULL, client_leaves, BODIED,
      "499 client_gone" },
    { "one while it waits for a barrier", USUAL, "ctx.kv:set('a', 'b') ctx.kv:barrier()", NULL, client_leaves,
      NULL, "499 client_gone" },
    { "one while it asks somebody", USUAL, "ctx.http:get('http://10.0.0.2:9000/')", NULL, client_leaves, NULL,
      "499 client_gone" },
    { "one while the upstream works", USUAL, NEXT, NULL, client_leaves, NULL, "499 client_gone" },
    { "one that resets", USUAL, NEXT, NULL, client_resets, NULL, "499 client_gone" },
    { "one behind next", USUAL, NEXT " ctx:sleep(3600)", NULL, up_answers_and_client_leaves, NULL,
      "499 client_gone" },
    { "one in the middle of the response", USUAL, NEXT, NULL, up_answers_half_and_client_leaves, NULL,
      "200 client_gone" },
    { "the same past filters", USUAL, NEXT, FILTERS("", ""), up_answers_half_and_client_leaves, NULL,
      "200 client_gone" },
    { "one that reads no more", USUAL, NEXT, NULL, client_reads_no_more, NULL, "200 client_timeout" },
    { "an upstream that is not there", USUAL, NEXT, NULL, up_is_not_there, "", "502 upstream_connect" },
    { "one that leaves", USUAL, NEXT, NULL, up_leaves, NULL, "502 upstream_reset" },
    { "one that speaks no HTTP", USUAL, NEXT, NULL, up_speaks_no_http, NULL, "502 upstream_protocol" },
    { "one that is silent", USUAL, NEXT, NULL, time_passes, NULL, "504 upstream_timeout" },
    { "one that leaves in the middle", USUAL, NEXT, NULL, up_answers_half_and_leaves, NULL,
      "200 upstream_reset" },
    { "the same into memory", DOORS UP("") CHAIN(", service: up", ""),
      NEXT " ctx.response:set_body(ctx.response:body())", NULL, up_answers_half_and_leaves, NULL,
      "502 upstream_reset" },
    { "no service", DOORS CHAIN("", ""), NEXT, NULL, nothing_more, NULL, "404 no_service" },
    { "a request's filter that raises", USUAL, NEXT, FILTERS("error('mine')", ""), nothing_more, BODIED,
      "500 plugin_error" },
    { "a response's filter that raises", USUAL, NEXT, FILTERS("", "error('mine')"), up_answers, NULL,
      "200 plugin_error" },
    { "a filter that loops", USUAL, NEXT, FILTERS("", "while true do end"), up_answers, NULL,
      "200 plugin_error" },
    { "a limiter of the chain", LIMITED("p, { limit: one }, q"), NEXT, NULL, limited_twice, NULL,
      "429 rate_limit" },
    { "a tunnel", USUAL, NEXT, NULL, up_switches,
      "GET /a HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", "101 upstream_reset" },
    { "a stop while the plugin sleeps", USUAL, "ctx:sleep(3600)", NULL, gateway_stops, NULL, "499 shutdown" },
    { "a stop while it drains", USUAL, "ctx:sleep(3600)", NULL, gateway_drains_too_long, NULL,
      "499 shutdown" },
    { "a stop while the upstream works", USUAL, NEXT, NULL, gateway_stops, NULL, "499 shutdown" },
    { "a stop in the middle of the response", USUAL, NEXT, NULL, gateway_stops_while_up_answers, NULL,
      "200 shutdown" },
    { "another configuration meanwhile", USUAL, NEXT, NULL, configuration_changes, NULL, "200 nil" },
};

static size_t count(const char *text, const char *part)
{
    size_t n = 0;

    for (const char *at = text; (at = strstr(at, part)); at += strlen(part))
        n++;
    return n;
}

static bool check_log(const line *l, const ending *way, const char *plugin, size_t bytes)
{
    char all[32], mine[128];

    snprintf(all, sizeof all, "LOG %s ", plugin);
    snprintf(mine, sizeof mine, "LOG %s %s %zu %s.", plugin, way->got, bytes,
             strcmp(plugin, "p") == 0 ? "kept" : "");
    if (strcmp(plugin, "q") == 0) /* perhaps it was not reached: its handler has left nothing then */
        snprintf(mine, sizeof mine, "LOG %s %s %zu ", plugin, way->got, bytes);
    if (count(l->w.logged.p, all) == 1 && strstr(l->w.logged.p, mine))
        return true;
    printf("%s: instead of one \"%s\":\n%s", way->name, mine, l->w.logged.p);
    return false;
}

/* False when the logs were not told what the client got. */
static bool ends(const ending *way, bool broken)
{
    line l;
    char plugin[2048];
    size_t bytes = 0;

    world_init(&l.w, 1, 1);
    snprintf(plugin, sizeof plugin, "%s%s%s%s%s", way->filters ? HEAD("p", PIECES) : HEAD("p", TO_MEMORY),
             way->handler, LOG("p"), way->filters ? way->filters : "", END);
    world_plugin(&l.w, "p", plugin);
    world_plugin(&l.w, "q",
                 HEAD("q", "{ request = 'buffer(1KiB)', response = 'buffer(8KiB)' }") "next(ctx)" LOG("q")
                     END);
    assert_true(world_try_start(&l.w, 1, way->config));
    world_hold_disk(&l.w, true);
    l.upstream = listen_at(&l.w, "10.0.0.2", 9000);
    l.client = dial(&l.w, "10.0.0.1", 80);
    l.up = -1;
    say(&l.w, l.client,
        way->request ? way->request
        : broken     ? "GET /a HTTP/1.1\r\nhost: a\r\nx-broken: 1\r\n\r\n"
                     : GET);
    way->act(&l);
    if (l.client >= 0) {
        (void)hear(&l.w, l.client);
        bytes = strlen(l.w.heard);
    }
    const bool counts = l.client >= 0 && !strstr(way->name, "reads no more") && !strstr(way->name, "limiter");
    if (!counts) { /* what was on its way when it left */
        const char *at = strstr(l.w.logged.p ? l.w.logged.p : "", "LOG p ");
        bytes = at ? strtoull(at + 6 + strlen(way->got) + 1, NULL, 10) : 0;
    }
    line_drop(&l, &l.client); /* a response that was cut is over only now */
    const bool fine = check_log(&l, way, "p", bytes) & check_log(&l, way, "q", bytes);
    line_close(&l);
    return fine;
}

static void each_request_is_logged_once_however_it_ends(void **state)
{
    bool fine = true;

    (void)state;
    for (size_t i = 0; i < mg_countof(ways); i++)
        fine &= ends(&ways[i], false);
    assert_true(fine);
}

static void a_log_that_raises_stops_no_other(void **state)
{
    bool fine = true;

    (void)state;
    for (size_t i = 0; i < mg_countof(ways); i++)
        if (!ways[i].request)
            fine &= ends(&ways[i], true);
    assert_true(fine);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_request_is_logged_once_however_it_ends),
        cmocka_unit_test(a_log_that_raises_stops_no_other),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
