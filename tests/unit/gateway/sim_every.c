/* sim_every.c - mg.every on the virtual clock: when functions run, that they never overlap, and how they end
 * with their Lua state. */
#include "gateway/vm_renew.h"
#include "sim_exchange.h"

#define P      "plugins: { p: { use: ./plugins/p } }\n"
#define ALONE  "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], timeout: 90s }]\n"
#define CONFIG WEB QUIET P ALONE
#define SAYS_NEW                                                                                             \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ respond: { body: new } }] }]\n"
#define WITH_ID "GET /a HTTP/1.1\r\nhost: a\r\nx-request-id: r-17\r\n\r\n"
/* A plugin whose `new` is this, with `mg`. */
#define EVERY(text)                                                                                          \
    "local mg = require 'moongate'\nreturn { name = 'p', version = '1.0.0', new = function(conf)\n" text     \
    "\nend }\n"
#define ANSWERS "return function(ctx) ctx:respond(204) end"

static unsigned times_in(const char *text, const char *part)
{
    unsigned times = 0;

    for (const char *at = text ? strstr(text, part) : NULL; at; at = strstr(at + 1, part))
        times++;
    return times;
}

#define assert_logged(l, part, wanted)                                                                       \
    do {                                                                                                     \
        if (times_in((l)->w.logged.p, part) != (wanted))                                                     \
            fail_msg("%u times \"%s\", not %u, in:\n%s", times_in((l)->w.logged.p, part), part,              \
                     (unsigned)(wanted), (l)->w.logged.p);                                                   \
    } while (0)

static void assert_metric(line *l, const char *sample)
{
    mg_text text = { 0 };

    mg_stats_write(l->w.gateway->shared.stats, &(mg_stats_global){ 0 }, &text);
    assert_has(text.p, sample);
    mg_text_fini(&text);
}

static void reload(line *l, const char *config)
{
    l->w.next = config;
    mg_gateway_reload(l->w.gateway);
    settle(&l->w);
}

/* ---- when ---- */

static void it_runs_at_once_and_then_again_and_again(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, EVERY("mg.every(10, function(ctx) ctx.log:info('tick') end) " ANSWERS));
    assert_logged(&l, "tick [plugin=p route=-]", 1);
    for (unsigned i = 1; i < 20; i++) {
        const uint64_t before = mg_loop_now(l.w.loops[1]);
        while (times_in(l.w.logged.p, "tick") == i)
            advance(&l.w, 10 * MS);
        assert_in_range(mg_loop_now(l.w.loops[1]) - before, 8980 * MS, 11020 * MS); /* a tenth more or less */
    }
    assert_metric(&l, "moongate_tasks_total{kind=\"every\",outcome=\"ok\"} 20\n");
    line_close(&l);
}

static void each_worker_runs_it_for_itself(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 3);
    world_plugin(
        &w, "p",
        EVERY("local mine = 0 mg.every(10, function(ctx) mine = mine + 1 ctx.log:info('tick %d', mine) "
              "end) " ANSWERS));
    assert_true(world_try_start(&w, 1, CONFIG));
    advance(&w, 15 * MG_NS_PER_S);
    assert_int_equal(times_in(w.logged.p, "tick 1 "), 3);
    assert_int_equal(times_in(w.logged.p, "tick 2 "), 3);
    assert_int_equal(times_in(w.logged.p, "tick 3 "), 0);
    world_close(&w);
}

static void runs_never_overlap(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              EVERY("local runs, at_once = 0, 0\n"
                    "mg.every(0.1, function(ctx)\n"
                    "    runs, at_once = runs + 1, at_once + 1\n"
                    "    assert(at_once == 1)\n"
                    "    ctx:sleep(runs % 3 == 0 and 0 or 7)\n"
                    "    at_once = at_once - 1\n"
                    "    ctx.log:info('run %d', runs)\n"
                    "end) " ANSWERS));
    advance(&l.w, 120 * MG_NS_PER_S);
    assert_logged(&l, "assertion failed", 0);
    assert_logged(&l, "run 24 ", 1);
    assert_logged(&l, "run 27 ", 0);
    world_free_gateway(&l.w);
    line_close(&l);
}

static void a_run_has_a_time(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              EVERY("mg.every(1, function(ctx) ctx:sleep(600) end)\n"
                    "mg.every(1, function(ctx) ctx.log:info('short') ctx:sleep(600) end, { timeout = 4 "
                    "})\n" ANSWERS));
    advance(&l.w, 14 * MG_NS_PER_S);
    assert_logged(&l, "short", 3);
    assert_logged(&l, "plugin.lua:4 was ended: its time was over", 2);
    advance(&l.w, 17 * MG_NS_PER_S);
    assert_logged(&l, "plugin.lua:3 was ended: its time was over", 1);
    world_free_gateway(&l.w);
    line_close(&l);
}

static void one_that_fails_runs_again(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              EVERY("local runs = 0\nmg.every(5, function(ctx)\n"
                    "    runs = runs + 1\n"
                    "    if runs == 1 then error('no luck') end\n"
                    "    if runs == 2 then while true do end end\n"
                    "    if runs == 3 then return ctx.request end\n"
                    "    ctx.log:info('well')\n"
                    "end) " ANSWERS));
    advance(&l.w, 17 * MG_NS_PER_S);
    assert_logged(&l, "plugin.lua:6: no luck\\n", 2); /* the message and the traceback */
    assert_logged(&l, "plugin.lua:7: plugin \\\"p\\\" used more than 10 ms of CPU", 2);
    assert_logged(&l, "plugin.lua:8: a task's ctx has no 'request'", 2);
    assert_logged(&l, "plugin p@1.0.0, route -: in the run of ", 3);
    assert_logged(&l, "well", 1);
    assert_metric(&l, "moongate_tasks_total{kind=\"every\",outcome=\"failed\"} 3\n");
    assert_metric(&l, "moongate_plugin_errors_total 3\n");
    line_close(&l);
}

/* ---- what is refused ---- */

static void what_cannot_run_is_refused_when_it_is_loaded(void **state)
{
    static const char *const cases[][2] = {
        { "mg.every()", "every: seconds are a number from 0.1 to 86400" },
        { "mg.every('1', print_)", "every: seconds are a number from 0.1 to 86400" },
        { "mg.every(0.09, print_)", "every: seconds are a number from 0.1 to 86400" },
        { "mg.every(86401, print_)", "every: seconds are a number from 0.1 to 86400" },
        { "mg.every(0/0, print_)", "every: seconds are a number from 0.1 to 86400" },
        { "mg.every(1)", "every: what runs is a function, not nil" },
        { "mg.every(1, {})", "every: what runs is a function, not table" },
        { "mg:every(1, print_)", "every: call it with a dot: moongate.every(..)" },
        { "mg.every(1, print_, 5)", "every: options are a table, not number" },
        { "mg.every(1, print_, { timeout = 0 })", "every: timeout is 0.001 to 3600 seconds" },
        { "mg.every(1, print_, { jitter = 0 })", "every: no option 'jitter'" },
        { "for i = 1, 17 do mg.every(1, print_) end", "every: a plugin has at most 16 functions that run" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char source[512];
        line l;

        line_open(&l, WEB QUIET SAYS_NEW, NULL);
        snprintf(source, sizeof source, EVERY("local function print_() end\n%s\n" ANSWERS), cases[i][0]);
        world_plugin(&l.w, "p", source);
        reload(&l, CONFIG);
        assert_int_equal(l.w.gateway->revision, 1);
        assert_logged(&l, cases[i][1], 1);
        assert_has(l.w.logged.p, "plugin.lua:4:");
        line_close(&l);
    }
}

static void for_a_request_it_is_too_late(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              EVERY("mg.every(1, function(ctx)\n"
                    "    mg.every(1, function() end) end)\n"
                    "return function(ctx)\n"
                    "    mg.every(1, function() end) end"));
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "500");
    assert_logged(&l, "plugin.lua:6: every: call it when the plugin is loaded", 2);
    assert_logged(&l, "plugin.lua:4: every: call it when the plugin is loaded", 2);
    line_close(&l);
}

static void it_may_stand_in_the_file_and_is_each_instances_own_in_new(void **state)
{
    line l;

    (void)state;
    world_init(&l.w, 1, 1);
    world_plugin(&l.w, "p",
                 "local mg = require 'moongate'\n"
                 "mg.every(600, function(ctx) ctx.log:info('file') end)\n"
                 "return { name = 'p', new = function() mg.every(600, function(ctx) ctx.log:info('new') "
                 "ctx.kv:set('k', 'v') ctx:counter('runs') end) " ANSWERS " end }");
    assert_true(world_try_start(
        &l.w, 1,
        WEB QUIET "plugins: { one: { use: ./plugins/p }, two: { use: ./plugins/p } }\n"
                  "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [one, two] }]\n"));
    assert_int_equal(times_in(l.w.logged.p, "new [plugin=one route=-]"), 1);
    assert_int_equal(times_in(l.w.logged.p, "new [plugin=two route=-]"), 1);
    assert_int_equal(times_in(l.w.logged.p, "file [plugin="),
                     2); /* one stands behind the other: each has a copy */
    world_close(&l.w);
}

/* ---- the end ---- */

/* A queue that log fills and every ships: the upstream hears what was shipped. */
static const char shipping[] =
    EVERY("local queue = {}\n"
          "mg.every(10, function(ctx)\n"
          "    if #queue == 0 then return ctx.log:info('nothing to ship') end\n"
          "    local batch = queue\n    queue = {}\n"
          "    assert(ctx.http:post('http://10.0.0.2:9000/logs', table.concat(batch, ',')))\n"
          "end)\n"
          "return { handler = function(ctx) ctx:sleep(tonumber(ctx.request:header('x-request-id') or 0)) "
          "ctx:respond(204) end,\n"
          "log = function(ctx) if #queue < 1000 then queue[#queue + 1] = ctx.request.path end end }");

static void hear_shipped(line *l, const char *batch)
{
    l->up = l->up < 0 ? take(&l->w, l->upstream) : l->up;
    assert_true(l->up >= 0);
    assert_int_equal(hear(&l->w, l->up), HEAR_OPEN);
    assert_starts(l->w.heard, "POST /logs HTTP/1.1\r\n");
    assert_ends(l->w.heard, batch);
}

static void what_log_queues_is_shipped(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, shipping);
    for (int i = 0; i < 3; i++) {
        say(&l.w, l.client, GET);
        hear_status(&l.w, l.client, "204");
    }
    assert_logged(&l, "nothing to ship", 1);
    advance(&l.w, 11 * MG_NS_PER_S);
    hear_shipped(&l, "\r\n\r\n/a,/a,/a");
    say(&l.w, l.up, OK_EMPTY);
    advance(&l.w, 11 * MG_NS_PER_S);
    assert_logged(&l, "nothing to ship", 2);
    line_close(&l);
}

/* A run belongs to no route: what services ask of one has its default. */
static void a_run_asks_services(void **state)
{
    line l;

    (void)state;
    line_open(&l,
              WEB QUIET P
              "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], balance: maglev, "
              "breaker: { per: route }, retry: {}, adaptive: {}, throttle: {} } }\n" ALONE,
              EVERY("mg.every(10, function(ctx)\n"
                    "    local size, breaker = ctx.service('up').size, ctx.service('up').breaker\n"
                    "    local answer = assert(ctx.http:get('/x', { service = 'up' }))\n"
                    "    ctx.log:info('%d %s %s %s', answer.status, size, tostring(breaker), "
                    "tostring(ctx.service.name))\n"
                    "end) " ANSWERS));
    advance(&l.w, MG_NS_PER_S); /* nothing listened when it began: its retry gets there */
    l.up = take(&l.w, l.upstream);
    assert_true(l.up >= 0);
    assert_int_equal(hear(&l.w, l.up), HEAR_OPEN);
    assert_starts(l.w.heard, "GET /x HTTP/1.1\r\n");
    assert_has(l.w.heard, "via: 1.1 moongate-");
    assert_has(l.w.heard, "x-moongate-deadline-ms: 26");
    say(&l.w, l.up, OK_EMPTY);
    assert_logged(&l, "200 1 nil nil [plugin=p route=-]", 1);
    line_close(&l);
}

static void a_stop_ships_the_last_batch(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG "shutdown: { drain_delay: 0s, drain_timeout: 20s }\n", shipping);
    advance(&l.w, MG_NS_PER_S);
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "204");
    say(&l.w, l.client, "GET /last HTTP/1.1\r\nhost: a\r\nx-request-id: 2\r\n\r\n");
    mg_gateway_drain(l.w.gateway);
    advance(&l.w, 2001 * MS);
    assert_true(hear(&l.w, l.client) != HEAR_OPEN);
    assert_false(l.w.stopped);
    hear_shipped(&l, "\r\n\r\n/a,/last");
    advance(&l.w, MG_NS_PER_S);
    assert_false(l.w.stopped);
    say(&l.w, l.up, OK_EMPTY);
    assert_true(l.w.stopped);
    assert_logged(&l, "all requests have ended", 1);
    line_close(&l);
}

static void a_stop_does_not_wait_for_ever(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG "shutdown: { drain_delay: 0s, drain_timeout: 20s }\n", shipping);
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "204");
    line_drop(&l, &l.client);
    mg_gateway_drain(l.w.gateway);
    settle(&l.w);
    hear_shipped(&l, "/a");
    advance(&l.w, 19990 * MS);
    assert_false(l.w.stopped);
    advance(&l.w, 20 * MS);
    assert_true(l.w.stopped);
    world_free_gateway(&l.w);
    assert_logged(&l, "was ended: its Lua state is retired", 1);
    line_close(&l);
}

static void without_anything_to_run_a_stop_is_at_once(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG "shutdown: { drain_delay: 0s, drain_timeout: 20s }\n",
              EVERY("mg.every(600, function(ctx) ctx.log:info('tick') end) " ANSWERS));
    line_drop(&l, &l.client);
    mg_gateway_drain(l.w.gateway);
    settle(&l.w);
    assert_true(l.w.stopped);
    assert_logged(&l, "tick", 2);
    line_close(&l);
}

static void a_reload_retires_it_once_its_requests_have_ended(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, shipping);
    say(&l.w, l.client, "GET /old HTTP/1.1\r\nhost: a\r\nx-request-id: 15\r\n\r\n");
    reload(&l, WEB QUIET SAYS_NEW);
    assert_int_equal(l.w.gateway->revision, 2);
    advance(&l.w, 14 * MG_NS_PER_S);
    assert_logged(&l, "nothing to ship", 2); /* it goes on while a request is left */
    advance(&l.w, 1002 * MS);
    hear_status(&l.w, l.client, "204");
    advance(&l.w, 600 * MS);
    hear_shipped(&l, "\r\n\r\n/old");
    say(&l.w, l.up, OK_EMPTY);
    assert_int_equal(world_live_exchanges(&l.w), 0);
    advance(&l.w, 60 * MG_NS_PER_S);
    assert_logged(&l, "nothing to ship", 2);
    assert_true(mg_list_empty(&l.w.gateway->shared.workers[0]->jobs) ||
                l.w.gateway->shared.workers[0]->jobs.next->next == &l.w.gateway->shared.workers[0]->jobs);
    line_close(&l);
}

static void a_request_that_does_not_end_keeps_it_for_a_while_only(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, shipping);
    say(&l.w, l.client, "GET /old HTTP/1.1\r\nhost: a\r\nx-request-id: 80\r\n\r\n");
    reload(&l, WEB QUIET SAYS_NEW);
    advance(&l.w, 31 * MG_NS_PER_S);
    const unsigned runs = times_in(l.w.logged.p, "nothing to ship");
    assert_in_range(runs, 4, 5);
    advance(&l.w, 50 * MG_NS_PER_S);
    hear_status(&l.w, l.client, "204");
    assert_logged(&l, "nothing to ship", runs);
    line_close(&l);
}

static void a_reload_that_leaves_the_plugins_alone_leaves_it_alone(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG, EVERY("mg.every(10, function(ctx) ctx.log:info('tick') end) " ANSWERS));
    advance(&l.w, 5 * MG_NS_PER_S);
    reload(&l, CONFIG "shutdown: { drain_timeout: 7s }\n");
    assert_int_equal(l.w.gateway->revision, 2);
    assert_logged(&l, "tick", 1);
    advance(&l.w, 7 * MG_NS_PER_S);
    assert_logged(&l, "tick", 2);
    line_close(&l);
}

static void a_fresh_state_begins_anew(void **state)
{
    line l;

    (void)state;
    line_open(&l, CONFIG,
              EVERY("local runs = 0 mg.every(10, function(ctx) runs = runs + 1 ctx.log:info('tick %d', runs) "
                    "end) " ANSWERS));
    advance(&l.w, 5 * MG_NS_PER_S);
    mg_vm_renew_ask(l.w.gateway->shared.workers[0]);
    settle(&l.w);
    assert_logged(&l, "tick 1 ", 2);
    advance(&l.w, 1 * MG_NS_PER_S);
    assert_logged(&l, "tick 2 ", 1); /* the last run of the old one */
    advance(&l.w, 10 * MG_NS_PER_S);
    assert_logged(&l, "tick 2 ", 2);
    assert_logged(&l, "tick 3 ", 0);
    line_close(&l);
}

/* One that is under way when its state is retired has what is left of its time, and the last one follows. */
static void a_run_under_way_ends_before_the_last_one(void **state)
{
    line l;

    (void)state;
    line_open(
        &l, CONFIG,
        EVERY("local runs = 0 mg.every(10, function(ctx) runs = runs + 1 ctx.log:info('begins %d', runs)\n"
              "ctx:sleep(runs == 1 and 3 or 600) ctx.log:info('ends %d', runs) end, { timeout = 100 "
              "}) " ANSWERS));
    reload(&l, WEB QUIET SAYS_NEW);
    advance(&l.w, 2 * MG_NS_PER_S);
    assert_logged(&l, "begins 1 ", 1);
    advance(&l.w, 2 * MG_NS_PER_S);
    assert_logged(&l, "ends 1 ", 1);
    assert_logged(&l, "begins 2 ", 1);
    advance(&l.w, 31 * MG_NS_PER_S);
    assert_logged(&l, "was ended: its Lua state is retired", 1);
    assert_int_equal(world_live_exchanges(&l.w), 0);
    line_close(&l);
}

static void a_gateway_may_be_freed_during_a_run(void **state)
{
    for (int moment = 0; moment < 4; moment++) {
        line l;

        (void)state;
        line_open(&l, CONFIG,
                  EVERY("mg.every(10, function(ctx) ctx.http:get('http://10.0.0.2:9000/') end) "
                        "return function(ctx) ctx:sleep(50) end"));
        if (moment == 1)
            say(&l.w, l.client, GET);
        if (moment >= 2)
            reload(&l, WEB QUIET SAYS_NEW);
        if (moment == 3)
            advance(&l.w, 5 * MG_NS_PER_S);
        world_free_gateway(&l.w);
        line_close(&l);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_runs_at_once_and_then_again_and_again),
        cmocka_unit_test(each_worker_runs_it_for_itself),
        cmocka_unit_test(runs_never_overlap),
        cmocka_unit_test(a_run_has_a_time),
        cmocka_unit_test(one_that_fails_runs_again),
        cmocka_unit_test(what_cannot_run_is_refused_when_it_is_loaded),
        cmocka_unit_test(for_a_request_it_is_too_late),
        cmocka_unit_test(it_may_stand_in_the_file_and_is_each_instances_own_in_new),
        cmocka_unit_test(what_log_queues_is_shipped),
        cmocka_unit_test(a_run_asks_services),
        cmocka_unit_test(a_stop_ships_the_last_batch),
        cmocka_unit_test(a_stop_does_not_wait_for_ever),
        cmocka_unit_test(without_anything_to_run_a_stop_is_at_once),
        cmocka_unit_test(a_reload_retires_it_once_its_requests_have_ended),
        cmocka_unit_test(a_request_that_does_not_end_keeps_it_for_a_while_only),
        cmocka_unit_test(a_reload_that_leaves_the_plugins_alone_leaves_it_alone),
        cmocka_unit_test(a_fresh_state_begins_anew),
        cmocka_unit_test(a_run_under_way_ends_before_the_last_one),
        cmocka_unit_test(a_gateway_may_be_freed_during_a_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
