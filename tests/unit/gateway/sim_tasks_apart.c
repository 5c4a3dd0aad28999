/* sim_tasks_apart.c - ctx:task on the virtual clock: tasks that are let go, and the end of a Lua state that has
 * some. */
#include "gateway/vm_renew.h"
#include "sim_tasks.h"

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
        cmocka_unit_test(a_detached_task_outlives_its_request),
        cmocka_unit_test(a_task_cannot_reach_into_a_request),
        cmocka_unit_test(a_task_asks_services_and_reads_answers_piece_by_piece),
        cmocka_unit_test(a_task_has_what_needs_no_request),
        cmocka_unit_test(a_detached_task_ends_at_its_time),
        cmocka_unit_test(a_task_may_begin_tasks_of_its_own),
        cmocka_unit_test(a_retired_state_ends_its_tasks),
        cmocka_unit_test(a_request_of_a_retired_state_has_its_tasks),
        cmocka_unit_test(a_renewed_state_keeps_its_tasks_for_a_while),
        cmocka_unit_test(a_drain_waits_for_detached_tasks),
        cmocka_unit_test(a_drain_ends_what_does_not_end),
        cmocka_unit_test(a_gateway_may_be_freed_at_any_moment),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
