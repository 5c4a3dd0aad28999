/* sim_tasks.c - ctx:task on the virtual clock: functions that run beside a request, joined or let go. */
#include "gateway/vm_renew.h"
#include "sim_exchange.h"

#define OWN   WEB QUIET
#define ALONE "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p] }]\n"
#define P     "plugins: { p: { use: ./plugins/p } }\n"
#define CONFIG                                                                                               \
    WEB QUIET SERVICE P                                                                                      \
        "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"
#define SAYS_NEW                                                                                             \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ respond: { body: new } }] }]\n"
#define WITH_ID "GET /a HTTP/1.1\r\nhost: a\r\nx-request-id: r-17\r\n\r\n"

/* Without the folder of this run before each plugin's file. */
static void strip(const world *w, char *text)
{
    char before[TMPDIR_PATH_BYTES + 8];
    const size_t n = (size_t)snprintf(before, sizeof before, "%s/./", w->folder);

    for (char *at = text; (at = strstr(at, before));)
        memmove(at, at + n, strlen(at + n) + 1);
}

static void assert_logged(const line *l, const char *part)
{
    char *text = mg_strdup(l->w.logged.p);

    strip(&l->w, text);
    assert_has(text, part);
    mg_free(text);
}

static unsigned times_in(const char *text, const char *part)
{
    unsigned times = 0;

    for (const char *at = text ? strstr(text, part) : NULL; at; at = strstr(at + 1, part))
        times++;
    return times;
}

#define assert_times(text, part, wanted)                                                                     \
    do {                                                                                                     \
        if (times_in(text, part) != (wanted))                                                                \
            fail_msg("%u times \"%s\", not %u, in:\n%s", times_in(text, part), part, (unsigned)(wanted),     \
                     text);                                                                                  \
    } while (0)

static void assert_counted(line *l, const char *kind, const char *outcome, unsigned wanted)
{
    mg_text text = { 0 };
    char sample[128];

    mg_stats_write(l->w.gateway->shared.stats, &(mg_stats_global){ 0 }, &text);
    if (wanted)
        snprintf(sample, sizeof sample, "moongate_tasks_total{kind=\"%s\",outcome=\"%s\"} %u\n", kind,
                 outcome, wanted);
    else
        snprintf(sample, sizeof sample, "moongate_tasks_total{kind=\"%s\",outcome=\"%s\"}", kind, outcome);
    assert_times(text.p, sample, wanted != 0);
    mg_text_fini(&text);
}

static void assert_running(line *l, unsigned wanted)
{
    mg_text text = { 0 };
    char sample[64];

    mg_stats_write(l->w.gateway->shared.stats, &(mg_stats_global){ 0 }, &text);
    snprintf(sample, sizeof sample, "moongate_tasks_running{kind=\"task\"} %u\n", wanted);
    assert_has(text.p, sample);
    mg_text_fini(&text);
}

static void ask(line *l, const char *status, const char *body)
{
    say(&l->w, l->client, GET);
    hear_status(&l->w, l->client, status);
    strip(&l->w, l->w.heard);
    if (body)
        assert_ends(l->w.heard, body);
}

/* Nothing of an answer is there yet. */
static void assert_silent(line *l)
{
    assert_int_equal(hear(&l->w, l->client), HEAR_OPEN);
    assert_string_equal(l->w.heard, "");
}

/* ---- joined ---- */

static void a_task_runs_while_the_upstream_is_asked(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              HANDLER("local prices = ctx:task(function(ctx, id)\n"
                      "    return assert(ctx.http:get('http://10.0.0.3:9001/' .. id)).body\n"
                      "end, 'x7')\n"
                      "next(ctx)\n"
                      "ctx.response:set_header('x-price', prices:wait())"));
    const int other = listen_at(&l.w, "10.0.0.3", 9001);
    line_ask(&l, GET);
    const int asked = take(&l.w, other);
    assert_true(asked >= 0);
    assert_int_equal(hear(&l.w, asked), HEAR_OPEN);
    assert_starts(l.w.heard, "GET /x7 HTTP/1.1\r\nhost: 10.0.0.3:9001\r\n");
    assert_has(l.w.heard, "x-moongate-deadline-ms: 27000\r\n"); /* of the task's own 30 s */
    say(&l.w, l.up, OK_EMPTY);
    assert_silent(&l);
    assert_running(&l, 1);
    say(&l.w, asked, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n42");
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "x-price: 42\r\n");
    assert_counted(&l, "task", "ok", 1);
    assert_running(&l, 0);
    hang_up(&l.w, asked);
    hang_up(&l.w, other);
    line_close(&l);
}

static void wait_returns_what_the_function_returned(void **state)
{
    line l;

    (void)state;
    line_open(&l, OWN P ALONE,
              HANDLER("local out = {}\n"
                      "local function show(...)\n"
                      "    out[#out + 1] = select('#', ...)\n"
                      "    for i = 1, select('#', ...) do out[#out + 1] = tostring((select(i, ...))) end\n"
                      "end\n"
                      "local none = ctx:task(function() end)\n"
                      "local holes = ctx:task(function(ctx, ...) ctx:sleep(0.5) return nil, ..., nil end, "
                      "nil, 'a', nil)\n"
                      "local count = ctx:task(function(ctx, ...) return select('#', ...) end, nil, nil)\n"
                      "show(none:wait()) show(holes:wait()) show(count:wait()) show(holes:wait())\n"
                      "ctx:respond(200, table.concat(out, ' '))"));
    say(&l.w, l.client, GET);
    assert_silent(&l);
    advance(&l.w, 501 * MS);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\n0 3 nil nil nil 1 2 3 nil nil nil");
    line_close(&l);
}

/* What waits for a turn of the loop in a handler does so in a task. */
static void a_task_reads_a_long_text_in_parts(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, OWN P ALONE,
        HANDLER(
            "local text = '[' .. ('\"0123456789abcdef\",'):rep(50000) .. '1]'\n"
            "local function last(ctx) local list = ctx.json.decode(text) return list[#list] .. #list end\n"
            "local one, two = ctx:task(last), ctx:task(last)\n"
            "ctx:task(function(ctx) last(ctx) ctx.log:info('let go') end):detach()\n"
            "ctx:task(last)\n"
            "ctx:respond(200, last(ctx) .. one:wait() .. two:wait())"));
    ask(&l, "200", "\r\n\r\n150001150001150001");
    assert_times(l.w.logged.p, "let go", 1);
    assert_running(&l, 0);
    line_close(&l);
}

static void tasks_wait_side_by_side(void **state)
{
    line l;

    (void)state;
    line_open(&l, OWN P ALONE,
              HANDLER("local tasks, sum = {}, 0\n"
                      "for i = 1, 32 do tasks[i] = ctx:task(function(ctx, i) ctx:sleep(1 + i / 100) return i "
                      "end, i) end\n"
                      "for i = 32, 1, -1 do sum = sum + tasks[i]:wait() end\n"
                      "ctx:respond(200, tostring(sum))"));
    say(&l.w, l.client, GET);
    advance(&l.w, 1310 * MS);
    assert_silent(&l);
    advance(&l.w, 20 * MS);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\n528");
    line_close(&l);
}

static void a_task_has_a_time_of_its_own(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, OWN P ALONE,
        HANDLER(
            "local late = ctx:task({ timeout = 2 }, function(ctx) ctx:sleep(60) ctx.log:info('after') end)\n"
            "local lets_go = ctx:task({ timeout = 1 }, function(ctx)\n"
            "    while true do ctx:sleep(0.01) end\n"
            "end)\n"
            "local _, first = lets_go:wait()\n"
            "local _, second = late:wait()\n"
            "ctx:respond(200, first .. ' ' .. second .. ' ' .. select('#', late:wait()))"));
    say(&l.w, l.client, GET);
    advance(&l.w, 1990 * MS);
    assert_silent(&l);
    advance(&l.w, 20 * MS);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\ndeadline deadline 2");
    assert_counted(&l, "task", "deadline", 2);
    advance(&l.w, 120 * MG_NS_PER_S);
    assert_times(l.w.logged.p, "after", 0);
    line_close(&l);
}

static void what_a_task_raises_is_raised_where_it_is_waited_for(void **state)
{
    line l;

    (void)state;
    line_open(&l, OWN P ALONE,
              HANDLER("local fails = ctx:task(function(ctx) ctx:sleep(0.1)\n error({ code = 7 }) end)\n"
                      "local ok, err = pcall(fails.wait, fails)\n"
                      "local again = ctx:task(function(ctx)\n error('no luck') end)\n"
                      "if ctx.request:header('x-request-id') then again:wait() end\n"
                      "ctx:respond(200, tostring(ok) .. err.code)"));
    say(&l.w, l.client, GET);
    advance(&l.w, 101 * MS);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\nfalse7");
    assert_logged(&l, "in the task of plugins/p/plugin.lua:4: plugins/p/plugin.lua:5: a table: {code = 7}");
    assert_times(l.w.logged.p, "no luck", 0); /* it had not begun when its request ended */
    say(&l.w, l.client, WITH_ID);
    advance(&l.w, 101 * MS);
    hear_status(&l.w, l.client, "500");
    assert_logged(&l, "plugin p@1.0.0, route all: in the task of plugins/p/plugin.lua:7: "
                      "plugins/p/plugin.lua:8: no luck");
    assert_logged(&l, "plugin p@1.0.0, route all: plugins/p/plugin.lua:8: no luck");
    assert_logged(&l, "\"request_id\":\"r-17\"");
    assert_counted(&l, "task", "failed", 3);
    line_close(&l);
}

/* ---- neither joined nor let go ---- */

static void a_task_that_nobody_wants_ends_with_its_handlers(void **state)
{
    line l;

    (void)state;
    line_open(&l, OWN P ALONE,
              HANDLER("ctx:task(function(ctx)\n ctx:sleep(1) ctx.log:info('after') end)\n"
                      "ctx:sleep(0.1)\n"
                      "ctx:task(function(ctx)\n ctx.log:info('never begun') end)\n"
                      "ctx:respond(200, 'ok')"));
    say(&l.w, l.client, GET);
    advance(&l.w, 101 * MS);
    hear_status(&l.w, l.client, "200");
    assert_running(&l, 0);
    assert_counted(&l, "task", "cancelled", 2);
    assert_logged(&l, "plugin p@1.0.0, route all: the task of plugins/p/plugin.lua:4 was ended with the "
                      "handlers of its request: it was neither waited for, with task:wait(), nor detached, "
                      "with task:detach()");
    assert_times(l.w.logged.p, "was ended with the handlers", 2);
    advance(&l.w, 2 * MG_NS_PER_S);
    assert_times(l.w.logged.p, "after", 0);
    assert_times(l.w.logged.p, "never begun", 0);
    line_close(&l);
}

/* A handler that fails has no time to be told of what it left. */
static void a_handler_that_ends_badly_takes_its_tasks_with_it(void **state)
{
    static const char *const ends[] = { "error('oh')", "ctx:sleep(60)", "slow:wait()" };

    (void)state;
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        char source[512];
        line l;

        snprintf(source, sizeof source,
                 HANDLER("local slow = ctx:task(function(ctx) ctx:sleep(30) end)\n"
                         "ctx:task(function(ctx) ctx:sleep(20) ctx.log:info('let go') end):detach()\n%s"),
                 ends[i]);
        line_open(&l, OWN P ALONE, source);
        say(&l.w, l.client, GET);
        if (i) {
            assert_running(&l, 2);
            line_drop(&l, &l.client);
        } else {
            hear_status(&l.w, l.client, "500");
        }
        settle(&l.w);
        assert_running(&l, 1);
        assert_counted(&l, "task", "cancelled", 1);
        assert_times(l.w.logged.p, "neither waited", 0);
        advance(&l.w, 21 * MG_NS_PER_S);
        assert_times(l.w.logged.p, "let go", 1);
        assert_counted(&l, "task", "ok", 1);
        line_close(&l);
    }
}

static void a_wait_is_bounded_as_others_are(void **state)
{
    line l;

    (void)state;
    line_open(&l,
              OWN "plugins: { p: { use: ./plugins/p, timeout: 1s } }\n"
                  "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], timeout: 5s }]\n",
              HANDLER("local slow = ctx:task(function(ctx) ctx:sleep(4) return 'late' end)\n"
                      "local ok, err = pcall(slow.wait, slow)\n"
                      "for i = 1, ok and 0 or 5 do pcall(slow.wait, slow) end\n"
                      "ctx:respond(200, err .. ' ' .. slow:wait())"));
    say(&l.w, l.client, GET);
    advance(&l.w, 3990 * MS);
    assert_silent(&l);
    advance(&l.w, 20 * MS); /* the plugin's time-out is for waits of requests: no wait of a task's */
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "this waited longer than the plugin's timeout allows late");
    line_drop(&l, &l.client);
    l.client = dial(&l.w, "10.0.0.1", 80);
    line_close(&l);
}

static void the_routes_time_ends_a_wait_for_a_task(void **state)
{
    line l;

    (void)state;
    line_open(&l,
              OWN P "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], timeout: 5s }]\n",
              HANDLER("ctx:respond(200, ctx:task(function(ctx) ctx:sleep(20) end):wait())"));
    say(&l.w, l.client, GET);
    advance(&l.w, 5001 * MS);
    hear_status(&l.w, l.client, "504");
    assert_counted(&l, "task", "cancelled", 1);
    assert_running(&l, 0);
    line_close(&l);
}

/* ---- let go ---- */

static void a_detached_task_outlives_its_request(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              HANDLER("local copy = ctx.request.path\n"
                      "ctx:task(function(ctx, copy)\n"
                      "    ctx:sleep(1)\n"
                      "    ctx.http:post('http://10.0.0.2:9000/mirror' .. copy, 'body', { headers = { "
                      "['x-a'] = '1' } })\n"
                      "    ctx.kv:set('mirrored', copy)\n"
                      "    ctx.log:info('mirrored %s', ctx.kv:get('mirrored'))\n"
                      "end, copy):detach()\n"
                      "ctx:respond(200, 'ok')"));
    ask(&l, "200", "ok");
    line_drop(&l, &l.client);
    advance(&l.w, 1001 * MS);
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_starts(l.w.heard, "POST /mirror/a HTTP/1.1\r\n");
    assert_has(l.w.heard, "x-a: 1\r\n");
    assert_ends(l.w.heard, "\r\n\r\nbody");
    assert_running(&l, 1);
    say(&l.w, l.up, OK_EMPTY);
    assert_logged(&l, "mirrored /a [plugin=p route=all]");
    assert_running(&l, 0);
    line_close(&l);
}

static void a_task_cannot_reach_into_a_request(void **state)
{
    static const struct {
        const char *body, *says;
    } cases[] = {
        { "outer:sleep(0)", "ctx belongs to a request: a task has a ctx of its own" },
        { "return outer.request", "ctx belongs to a request: a task has a ctx of its own" },
        { "return outer.state.x", "ctx belongs to a request: a task has a ctx of its own" },
        { "outer:respond(200, 'x')", "ctx belongs to a request: a task has a ctx of its own" },
        { "outer.log:info('x')", "ctx belongs to a request: a task has a ctx of its own" },
        { "outer.http:get('http://10.0.0.2:9000/')",
          "ctx belongs to a request: a task has a ctx of its own" },
        { "return outer.kv:get('a')", "ctx belongs to a request: a task has a ctx of its own" },
        { "return outer.json.encode({})", "ctx belongs to a request: a task has a ctx of its own" },
        { "return request.path", "ctx.request belongs to a request: a task has a ctx of its own" },
        { "return response.status", "ctx.response belongs to a request: a task has a ctx of its own" },
        { "request:set_header('a', 'b')", "ctx.request belongs to a request: a task has a ctx of its own" },
        { "return params.id", "ctx.params belongs to a request: a task has a ctx of its own" },
        { "outer:task(function() end)", "ctx belongs to a request: a task has a ctx of its own" },
        { "next(outer)", "next wants the ctx of this request" },
        { "next(ctx)", "next is for the handler to call: a task has none" },
        { "return ctx.request", "a task's ctx has no 'request', which is a request's" },
        { "ctx:respond(200)", "a task's ctx has no 'respond', which is a request's" },
        { "respond(ctx, 200, 'x')", "respond: only a handler answers" },
        { "return ctx.requests", "ctx has no 'requests': " },
        { "return kept.http", "ctx belongs to a request: a task has a ctx of its own" }, /* another task's */
        { "ctx.http = 1", "ctx.http cannot be assigned" },
    };
    const struct {
        const char *when, *before;
    } moments[] = { { "", "ctx:sleep(0.2) " }, { "ctx:sleep(1) ", "" } }; /* it is over; it goes on */

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases * 2; i++) {
        char source[1024];
        line l;

        snprintf(
            source, sizeof source,
            HANDLER(
                "local outer, request, params, response, kept = ctx, ctx.request, ctx.params, ctx.response\n"
                "local respond = ctx.respond ctx:task(function(ctx) kept = ctx end):wait()\n"
                "ctx:task(function(ctx) %s\n%s end):detach() %sctx:respond(204)"),
            moments[i % 2].before, cases[i / 2].body, moments[i % 2].when);
        line_open(&l, OWN P ALONE, source);
        say(&l.w, l.client, GET);
        advance(&l.w, 1001 * MS);
        hear_status(&l.w, l.client, "204");
        char says[256];
        snprintf(says, sizeof says, "in the task of plugins/p/plugin.lua:6: plugins/p/plugin.lua:7: %s",
                 cases[i / 2].says);
        assert_logged(&l, says);
        assert_counted(&l, "task", "failed", 1);
        line_close(&l);
    }
}

static void a_task_asks_services_and_reads_answers_piece_by_piece(void **state)
{
    line l;

    (void)state;
    line_open(
        &l,
        WEB QUIET P "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], balance: maglev, "
                    "breaker: {}, retry: {} } }\n"
                    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n",
        HANDLER("local piecewise = ctx:task(function(ctx)\n"
                "    local answer = assert(ctx.http:get('/pieces', { service = 'up', stream = true }))\n"
                "    local first = answer:read() ctx:sleep(0.5)\n"
                "    return first .. '+' .. answer:read(), answer\n"
                "end)\n"
                "local text, answer = piecewise:wait()\n"
                "local none, why = answer:read()\n"
                "ctx:respond(200, text .. ' ' .. tostring(none) .. ' ' .. tostring(why))"));
    line_ask(&l, GET);
    assert_starts(l.w.heard, "GET /pieces HTTP/1.1\r\n");
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 8\r\n\r\nabc");
    advance(&l.w, 501 * MS);
    say(&l.w, l.up, "de");
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\nabc+de nil closed"); /* it ended with its task */
    assert_true(hear(&l.w, l.up) != HEAR_OPEN);
    line_close(&l);
}

static void a_task_has_what_needs_no_request(void **state)
{
    line l;

    (void)state;
    line_open(
        &l,
        WEB QUIET SERVICE P
        "limiters: { desk: { algorithm: concurrency, quota: 1 }, few: { rate: 1/h, burst: 1 } }\n"
        "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n",
        HANDLER(
            "local function all(ctx)\n"
            "    local free = ctx.limit:take('desk', 'k', 1)\n"
            "    local few = ctx.limit:reserve('few', 'k')\n"
            "    local through = ctx.breaker:run('up', function() ctx:sleep(0.5) return 'through' end)\n"
            "    ctx:counter('runs')\n"
            "    ctx.kv:set('a', 'b')\n"
            "    return table.concat({ tostring(free), tostring(few ~= nil), through, "
            "ctx.service('up').size,\n"
            "        tostring(ctx.service.name), #ctx:new_id(), ctx.json.encode({ 1 }), ctx.kv:get('a'),\n"
            "        ctx.time.mono() > 0 and ctx.time.now() > 0 and 'time', ctx.remaining }, ' ')\n"
            "end\n"
            "local one, two = ctx:task(all), ctx:task(all)\n"
            "local first, second = one:wait(), two:wait()\n"
            "ctx:respond(200, first .. '\\n' .. second .. '\\n' .. ctx:task(all):wait())"));
    say(&l.w, l.client, GET);
    advance(&l.w, 501 * MS);
    advance(&l.w, 501 * MS);
    hear_status(&l.w, l.client, "200");
    /* What a task held goes back when it ends. */
    assert_ends(l.w.heard, "\r\n\r\ntrue true through 1 nil 32 [1] b time 29.5\n"
                           "false false through 1 nil 32 [1] b time 29.5\n"
                           "true true through 1 nil 32 [1] b time 29.5");
    line_close(&l);
}

static void a_detached_task_ends_at_its_time(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, OWN P ALONE,
        HANDLER("ctx:task(function(ctx)\n ctx:sleep(3600) end):detach()\n"
                "ctx:task({ timeout = 100 }, function(ctx)\n"
                "    while true do ctx.http:get('http://10.0.0.2:9000/', { timeout = 7 }) end end):detach()\n"
                "ctx:respond(204)"));
    say(&l.w, l.client, WITH_ID);
    hear_status(&l.w, l.client, "204");
    advance(&l.w, 29990 * MS);
    assert_running(&l, 2);
    advance(&l.w, 20 * MS);
    assert_running(&l, 1);
    assert_logged(&l, "the task of plugins/p/plugin.lua:4 was ended: its time was over");
    assert_logged(&l, "\"request_id\":\"r-17\"");
    advance(&l.w, 69970 * MS);
    assert_running(&l, 1);
    advance(&l.w, 30 * MS);
    assert_running(&l, 0);
    assert_counted(&l, "task", "deadline", 2);
    line_close(&l);
}

static void a_task_may_begin_tasks_of_its_own(void **state)
{
    line l;

    (void)state;
    line_open(&l, OWN P ALONE,
              HANDLER("local function deeper(ctx, n)\n"
                      "    if n == 0 then return 'bottom' end\n"
                      "    return ctx:task(deeper, n - 1):wait()\n"
                      "end\n"
                      "local ok, err = pcall(deeper, ctx, 5)\n"
                      "ctx:task(function(ctx)\n"
                      "    ctx:task(function(ctx) ctx:sleep(1) ctx.log:info('inner') end)\n"
                      "    ctx:task(function(ctx) ctx:sleep(1) ctx.log:info('let go') end):detach()\n"
                      "end):wait()\n"
                      "ctx:respond(200, deeper(ctx, 4) .. err)"));
    ask(&l, "200",
        "bottomplugins/p/plugin.lua:6: task: tasks begin tasks at most 4 deep: what goes on for ever "
        "is for mg.every");
    advance(&l.w, 1001 * MS);
    assert_times(l.w.logged.p, "inner", 0);
    assert_times(l.w.logged.p, "let go", 1);
    line_close(&l);
}

/* ---- where else ---- */

static void log_and_filters_may_begin_tasks(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, CONFIG,
        "return { name = 'p', body = { response = 'stream' }, new = function() return {\n"
        "handler = function(ctx, next) next(ctx) end,\n"
        "log = function(ctx) local status = ctx.response.status\n"
        "    ctx:task(function(ctx) ctx:sleep(1) ctx.log:info('shipped %d', status) end):detach()\n"
        "    ctx:task(function(ctx) ctx.log:info('not begun') end)\n"
        "    local task = ctx:task(function(ctx) end)\n"
        "    local ok, why = pcall(task.wait, task) ctx.log:info(why) end,\n"
        "response_body = function(ctx, bytes, last)\n"
        "    ctx:task(function(ctx) ctx:sleep(2) ctx.log:info('seen %s', bytes) end):detach() end } end }\n");
    line_ask(&l, GET);
    say(&l.w, l.up, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nab");
    hear_status(&l.w, l.client, "200");
    line_drop(&l, &l.client);
    advance(&l.w, 2001 * MS);
    assert_times(l.w.logged.p, "shipped 200", 1);
    assert_times(l.w.logged.p, "seen ab", 1);
    assert_times(l.w.logged.p, "this waits, and here nothing can wait", 1);
    assert_times(l.w.logged.p, "not begun", 0);
    assert_times(l.w.logged.p, "was neither waited for", 2);
    line_close(&l);
}

/* A filter cannot wait, and does not keep its handler from waiting. */
static void a_filter_that_tries_to_wait_harms_no_handler(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, CONFIG,
        "return { name = 'p', version = '1', body = { request = 'stream' }, new = function() local slow\n"
        "return { handler = function(ctx, next) slow = ctx:task(function(ctx) ctx:sleep(2) end)\n"
        "    local quick = ctx:task(function(ctx) ctx:sleep(1) return 'quick' end) next(ctx)\n"
        "    ctx.response:set_header('x-task', quick:wait()) end,\n"
        "request_body = function(ctx, bytes) local ok, why = pcall(slow.wait, slow) ctx.log:info(why) end } "
        "end }");
    line_ask(&l, POST(8));
    say(&l.w, l.client, "1234");
    say(&l.w, l.up, OK_EMPTY);
    settle(&l.w);
    say(&l.w, l.client, "5678");
    assert_times(l.w.logged.p, "this waits, and here nothing can wait", 3); /* each piece, and the end */
    advance(&l.w, 1001 * MS);
    assert_true(hear(&l.w, l.client) != HEAR_RESET);
    assert_has(l.w.heard, "x-task: quick\r\n");
    line_close(&l);
}

static void another_plugin_may_wait_and_another_request_may_not(void **state)
{
    line l;

    (void)state;
    world_init(&l.w, 1, 1);
    world_plugin(&l.w, "q",
                 "local kept\nreturn { name = 'q', new = function() return function(ctx, next)\n"
                 "    local ok, why = pcall(function() kept = kept or ctx.state.task local got = kept:wait() "
                 "return got end)\n"
                 "    ctx:respond(200, tostring(ok) .. tostring(why)) end end }");
    world_plugin(&l.w, "p",
                 "return { name = 'p', new = function() return function(ctx, next)\n"
                 "    ctx.state.task = ctx:task(function(ctx) ctx:sleep(1) return 'mine' end)\n"
                 "    next(ctx) end end }");
    assert_true(
        world_try_start(&l.w, 1,
                        OWN "plugins: { p: { use: ./plugins/p }, q: { use: ./plugins/q } }\n"
                            "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p, q] }]\n"));
    l.upstream = l.up = -1;
    l.client = dial(&l.w, "10.0.0.1", 80);
    const int second = dial(&l.w, "10.0.0.1", 80);
    say(&l.w, l.client, GET);
    say(&l.w, second, GET);
    hear_status(&l.w, second, "200");
    strip(&l.w, l.w.heard);
    assert_has(l.w.heard, "falseplugins/q/plugin.lua:3: wait: only what began a task can wait for it");
    advance(&l.w, 1001 * MS);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "truemine");
    hang_up(&l.w, second);
    line_close(&l);
}

/* ---- bounds ---- */

static void tasks_are_counted_by_request_plugin_and_worker(void **state)
{
    line l;

    (void)state;
    world_init(&l.w, 1, 1);
    world_plugin(&l.w, "p",
                 "return { name = 'p', new = function() return function(ctx)\n"
                 "    local began = 0\n"
                 "    local ok, why = pcall(function() while true do\n"
                 "        ctx:task(function(ctx) ctx:sleep(20) end):detach() began = began + 1 end end)\n"
                 "    ctx:respond(200, began .. why) end end }");
    assert_true(world_try_start(
        &l.w, 1,
        OWN "plugins: { a: { use: ./plugins/p }, b: { use: ./plugins/p }, c: { use: ./plugins/p }, "
            "d: { use: ./plugins/p }, e: { use: ./plugins/p } }\n"
            "routes: [{ name: a, match: { paths: [{ prefix: /a }] }, plugins: [a] }, "
            "{ name: b, match: { paths: [{ prefix: /b }] }, plugins: [b] }, "
            "{ name: c, match: { paths: [{ prefix: /c }] }, plugins: [c] }, "
            "{ name: d, match: { paths: [{ prefix: /d }] }, plugins: [d] }, "
            "{ name: e, match: { paths: [{ prefix: /e }] }, plugins: [e] }]\n"));
    l.upstream = l.up = -1;
    l.client = dial(&l.w, "10.0.0.1", 80);
    for (int route = 'a'; route <= 'e'; route++)
        for (int i = 0; i < 9; i++) {
            char request[64];
            snprintf(request, sizeof request, "GET /%c HTTP/1.1\r\nhost: a\r\n\r\n", route);
            say(&l.w, l.client, request);
            hear_status(&l.w, l.client, "200");
            strip(&l.w, l.w.heard);
            assert_has(
                l.w.heard,
                route == 'e' ? "\r\n\r\n0plugins/p/plugin.lua:4: task: all plugins together have at most 1024"
                : i == 8     ? "\r\n\r\n0plugins/p/plugin.lua:4: task: a plugin has at most 256"
                         : "\r\n\r\n32plugins/p/plugin.lua:4: task: a request, or a task, has at most 32");
        }
    assert_running(&l, 1024);
    assert_counted(&l, "task", "refused", 45);
    advance(&l.w, 20001 * MS);
    assert_running(&l, 0);
    say(&l.w, l.client, "GET /e HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&l.w, l.client, "200");
    assert_has(l.w.heard, "\r\n\r\n32");
    advance(&l.w, 20001 * MS);
    line_close(&l);
}

static void what_is_no_task_is_refused_at_its_line(void **state)
{
    static const char *const cases[][2] = {
        { "ctx:task()", "task: what runs is a function, not nil" },
        { "ctx:task('x')", "task: what runs is a function, not string" },
        { "ctx:task({})", "task: what runs is a function, not nil" },
        { "ctx:task({ timeout = 1 }, {})", "task: what runs is a function, not table" },
        { "ctx:task({ timeout = 0 }, print_)", "task: timeout is 0.001 to 3600 seconds" },
        { "ctx:task({ timeout = 0/0 }, print_)", "task: timeout is 0.001 to 3600 seconds" },
        { "ctx:task({ timeout = 3601 }, print_)", "task: timeout is 0.001 to 3600 seconds" },
        { "ctx:task({ timeout = '1' }, print_)", "task: timeout is 0.001 to 3600 seconds" },
        { "ctx:task({ timout = 1 }, print_)", "task: no option 'timout': did you mean 'timeout'?" },
        { "ctx.task(print_)", "task: call it with a colon: ctx:task(..)" },
        { "ctx:task(print_).wait()", "this is no task: its methods are called with a colon" },
        { "ctx:task(print_).wiat()", "a task has no 'wiat': did you mean 'wait'?" },
        { "ctx:task(print_):detach():wait()", "wait: this task is detached: nothing waits for it" },
        { "local t = ctx:task(print_) t.x = 1", "a task cannot be assigned to" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char source[512], says[160];
        line l;

        snprintf(source, sizeof source, HANDLER("local function print_() end\n%s"), cases[i][0]);
        line_open(&l, OWN P ALONE, source);
        ask(&l, "500", NULL);
        snprintf(says, sizeof says, "route all: plugins/p/plugin.lua:5: %s", cases[i][1]);
        assert_logged(&l, says);
        line_close(&l);
    }
}

static void a_task_has_a_budget_a_turn(void **state)
{
    line l;

    (void)state;
    line_open(&l, OWN P ALONE,
              HANDLER("if ctx.request:header('x-request-id') then\n"
                      "    ctx:task(function(ctx)\n        while true do end end):detach()\n"
                      "end\n"
                      "local fair = ctx:task(function(ctx)\n"
                      "    for i = 1, 20 do for j = 1, 200000 do end ctx:sleep(0) end return 'through' end)\n"
                      "ctx:respond(200, fair:wait())"));
    say(&l.w, l.client, WITH_ID);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "through");
    assert_logged(&l,
                  "in the task of plugins/p/plugin.lua:5: plugins/p/plugin.lua:6: plugin \\\"p\\\" used more "
                  "than 10 ms of CPU between two waits");
    assert_counted(&l, "task", "failed", 1);
    ask(&l, "200", "through");
    line_close(&l);
}

/* ---- the end of a Lua state ---- */

/* Each kind of wait, detached, in a state that a reload retires; 40 s later nothing is left of it. */
static void a_retired_state_ends_its_tasks(void **state)
{
    static const char *const waits[] = {
        "ctx:sleep(600)",
        "ctx.http:get('http://10.0.0.2:9000/hang')",
        "while true do ctx:sleep(0.5) end",
        "ctx:task({ timeout = 600 }, function(ctx) ctx:sleep(600) end):wait()",
        "ctx:task({ timeout = 600 }, function(ctx) ctx:sleep(600) end):detach() ctx:sleep(600)",
        "while true do ctx.kv:set('a', 'b') ctx.kv:barrier() ctx:sleep(1) end",
    };

    (void)state;
    for (size_t i = 0; i < sizeof waits / sizeof *waits; i++) {
        char source[512];
        line l;

        snprintf(
            source, sizeof source,
            HANDLER("ctx:task({ timeout = 600 }, function(ctx)\n%s\nctx.log:info('after') end):detach()\n"
                    "if ctx.request:header('x-request-id') then ctx:sleep(50) end\nctx:respond(204)"),
            waits[i]);
        line_open(&l,
                  OWN P
                  "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], timeout: 60s }]\n",
                  source);
        ask(&l, "204", NULL);
        say(&l.w, l.client, WITH_ID); /* keeps the old state for 50 s */
        l.w.next = OWN SAYS_NEW;
        mg_gateway_reload(l.w.gateway);
        settle(&l.w);
        assert_int_equal(l.w.gateway->revision, 2);
        advance(&l.w, 29 * MG_NS_PER_S);
        assert_true(world_live_exchanges(&l.w) > 2);
        advance(&l.w, 2 * MG_NS_PER_S);
        assert_running(&l, 0);
        assert_logged(&l, "was ended: its Lua state is retired");
        assert_times(l.w.logged.p, "after", 0);
        assert_int_equal(world_live_exchanges(&l.w), 1);
        advance(&l.w, 20 * MG_NS_PER_S);
        hear_status(&l.w, l.client, "204");
        line_close(&l);
    }
}

static void a_request_of_a_retired_state_has_its_tasks(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, OWN P "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], timeout: 90s }]\n",
        HANDLER("ctx:sleep(40)\n"
                "local joined = ctx:task(function(ctx) ctx:sleep(20) return 'joined' end)\n"
                "ctx:task({ timeout = 600 }, function(ctx) ctx:sleep(500) end):detach()\n"
                "ctx:respond(200, joined:wait())"));
    say(&l.w, l.client, GET);
    l.w.next = OWN SAYS_NEW;
    mg_gateway_reload(l.w.gateway);
    settle(&l.w);
    advance(&l.w, 60001 * MS);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "joined");
    assert_running(&l, 1); /* 30 s from its own beginning: it never had another state */
    advance(&l.w, 10001 * MS);
    assert_running(&l, 0);
    assert_counted(&l, "task", "retired", 1);
    line_close(&l);
}

static void a_renewed_state_keeps_its_tasks_for_a_while(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, OWN P ALONE,
        HANDLER(
            "ctx:task({ timeout = 600 }, function(ctx) ctx:sleep(20) ctx.log:info('through') end):detach()\n"
            "ctx:task({ timeout = 600 }, function(ctx) ctx:sleep(40) end):detach()\n"
            "ctx:respond(204)"));
    ask(&l, "204", NULL);
    mg_vm *const vm = l.w.gateway->shared.workers[0]->view->vm->vm;
    mg_vm_renew_ask(l.w.gateway->shared.workers[0]);
    settle(&l.w);
    assert_ptr_not_equal(l.w.gateway->shared.workers[0]->view->vm->vm, vm);
    assert_running(&l, 2);
    advance(&l.w, 20001 * MS);
    assert_times(l.w.logged.p, "through", 1);
    assert_running(&l, 1);
    advance(&l.w, 10001 * MS);
    assert_running(&l, 0);
    assert_counted(&l, "task", "retired", 1);
    line_close(&l);
}

static void a_drain_waits_for_detached_tasks(void **state)
{
    line l;

    (void)state;
    line_open(&l, OWN P ALONE "shutdown: { drain_delay: 0s, drain_timeout: 20s }\n",
              HANDLER("ctx:task(function(ctx) ctx:sleep(10) ctx.log:info('through') end):detach()\n"
                      "ctx:respond(204)"));
    ask(&l, "204", NULL);
    line_drop(&l, &l.client);
    mg_gateway_drain(l.w.gateway);
    advance(&l.w, 9990 * MS);
    assert_false(l.w.stopped);
    advance(&l.w, 20 * MS);
    assert_true(l.w.stopped);
    assert_times(l.w.logged.p, "through", 1);
    assert_logged(&l, "all requests have ended");
    line_close(&l);
}

static void a_drain_ends_what_does_not_end(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, OWN P ALONE "shutdown: { drain_delay: 0s, drain_timeout: 20s }\n",
        HANDLER("for i = 1, 5 do ctx:task({ timeout = 600 }, function(ctx) ctx:sleep(500) end):detach() end\n"
                "ctx:task(function(ctx) ctx:sleep(1) end):detach()\n"
                "ctx:respond(204)"));
    ask(&l, "204", NULL);
    line_drop(&l, &l.client);
    mg_gateway_drain(l.w.gateway);
    advance(&l.w, 20001 * MS);
    assert_true(l.w.stopped);
    world_free_gateway(&l.w);
    assert_times(l.w.logged.p, "was ended: its Lua state is retired", 5);
    line_close(&l);
}

/* With tasks that have begun, wait, or are to begin. */
static void a_gateway_may_be_freed_at_any_moment(void **state)
{
    for (int moment = 0; moment < 3; moment++) {
        line l;

        (void)state;
        line_open(
            &l, OWN P ALONE,
            HANDLER("ctx:task(function(ctx) ctx:sleep(5) end):detach()\n"
                    "ctx:task(function(ctx) ctx.http:get('http://10.0.0.2:9000/') end)\n"
                    "ctx:task(function(ctx) ctx:task(function(ctx) ctx:sleep(9) end):wait() end):wait()"));
        say(&l.w, l.client, GET);
        if (moment == 1)
            line_drop(&l, &l.client);
        if (moment == 2)
            advance(&l.w, MG_NS_PER_S);
        world_free_gateway(&l.w);
        line_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_runs_while_the_upstream_is_asked),
        cmocka_unit_test(wait_returns_what_the_function_returned),
        cmocka_unit_test(a_task_reads_a_long_text_in_parts),
        cmocka_unit_test(tasks_wait_side_by_side),
        cmocka_unit_test(a_task_has_a_time_of_its_own),
        cmocka_unit_test(what_a_task_raises_is_raised_where_it_is_waited_for),
        cmocka_unit_test(a_task_that_nobody_wants_ends_with_its_handlers),
        cmocka_unit_test(a_handler_that_ends_badly_takes_its_tasks_with_it),
        cmocka_unit_test(a_wait_is_bounded_as_others_are),
        cmocka_unit_test(the_routes_time_ends_a_wait_for_a_task),
        cmocka_unit_test(a_detached_task_outlives_its_request),
        cmocka_unit_test(a_task_cannot_reach_into_a_request),
        cmocka_unit_test(a_task_asks_services_and_reads_answers_piece_by_piece),
        cmocka_unit_test(a_task_has_what_needs_no_request),
        cmocka_unit_test(a_detached_task_ends_at_its_time),
        cmocka_unit_test(a_task_may_begin_tasks_of_its_own),
        cmocka_unit_test(log_and_filters_may_begin_tasks),
        cmocka_unit_test(a_filter_that_tries_to_wait_harms_no_handler),
        cmocka_unit_test(another_plugin_may_wait_and_another_request_may_not),
        cmocka_unit_test(tasks_are_counted_by_request_plugin_and_worker),
        cmocka_unit_test(what_is_no_task_is_refused_at_its_line),
        cmocka_unit_test(a_task_has_a_budget_a_turn),
        cmocka_unit_test(a_retired_state_ends_its_tasks),
        cmocka_unit_test(a_request_of_a_retired_state_has_its_tasks),
        cmocka_unit_test(a_renewed_state_keeps_its_tasks_for_a_while),
        cmocka_unit_test(a_drain_waits_for_detached_tasks),
        cmocka_unit_test(a_drain_ends_what_does_not_end),
        cmocka_unit_test(a_gateway_may_be_freed_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
