/* sim_tasks.c - ctx:task on the virtual clock: functions that run beside a request and are joined, where they may
 * begin, and their bounds. */
#include "sim_tasks.h"

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
        { "ctx:task(print_).wait()", "this is not a task: its methods are called with a colon" },
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
        cmocka_unit_test(log_and_filters_may_begin_tasks),
        cmocka_unit_test(a_filter_that_tries_to_wait_harms_no_handler),
        cmocka_unit_test(another_plugin_may_wait_and_another_request_may_not),
        cmocka_unit_test(tasks_are_counted_by_request_plugin_and_worker),
        cmocka_unit_test(what_is_no_task_is_refused_at_its_line),
        cmocka_unit_test(a_task_has_a_budget_a_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
