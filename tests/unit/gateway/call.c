/* The Lua side and the C half of ctx together: what a chain does to an exchange. */
#include "call_fixture.h"
#include "http/problem.h"

#include <math.h>

/* One plugin whose handler is this body. */
#define HANDLER(body)                                                                                        \
    "local plugin = { version = \"1.2.3\" }\nfunction plugin.new(conf)\nreturn function(ctx, next)\n" body   \
    "\nend\nend\nreturn plugin\n"

static void a_chain_passes_a_request_through_and_back(void **state)
{
    fixture f;
    const char *const sources[] = {
        HANDLER("ctx.request:set_header('X-Seen', 'a'); next(ctx); ctx.response:add_header('x-order', 'a')"),
        HANDLER("ctx.request:set_header('x-seen', ctx.request:header('X-SEEN') .. 'b'); next(ctx)\n"
                "ctx.response:add_header('x-order', 'b' .. ctx.response.status)"),
    };

    (void)state;
    fixture_init(&f);
    if (!fixture_boot(&f, sources, NULL, 2))
        fail_msg("%s", f.err.message);
    for (int i = 0; i < 300; i++) { /* long enough to be compiled */
        fixture_take(&f, 0);
        assert_int_equal(fixture_resume(&f), MG_WAIT_NEXT);
        assert_true(f.call->next_called);
        assert_string_equal(fixture_field(&f, MG_REQUEST, "x-seen"), "ab");
        fixture_answer(&f, 201);
        assert_int_equal(fixture_resume(&f), MG_WAIT_DONE);
        assert_int_equal(f.x.response.fields.count, 2);
        assert_string_equal(fixture_field(&f, MG_RESPONSE, "x-order"), "b201");
        fixture_give(&f, true);
    }
    fixture_fini(&f);
}

static void a_plugin_that_raises_is_named_with_its_line(void **state)
{
    fixture f;
    const char *const sources[] = { HANDLER("return next(ctx)"), HANDLER("local a = nil\nreturn a.b") };

    (void)state;
    fixture_init(&f);
    assert_true(fixture_boot(&f, sources, NULL, 2));
    for (int i = 0; i < 200; i++) { /* interpreted, and compiled */
        fixture_take(&f, 0);
        assert_int_equal(fixture_resume(&f), -1);
        assert_int_equal(f.error.plugin, 1);
        assert_int_equal(f.error.line, 5);
        assert_non_null(strstr(f.error.message, "plugins/p1/plugin.lua:5: attempt to index"));
        if (!strstr(f.error.traceback, "plugins/p1/plugin.lua:5: in function"))
            fail_msg("run %d: %s", i, f.error.traceback);
        assert_string_equal(mg_call_plugin(f.call, 1)->version, "1.2.3");
        fixture_give(&f, false);
    }
    fixture_fini(&f);
}

static void splitting_is_refused_with_the_plugins_line(void **state)
{
    fixture f;
    const char *const sources[] = { HANDLER(
        "next(ctx)\nctx.response:set_header('x', 'a\\r\\nset-cookie: b')") };

    (void)state;
    fixture_init(&f);
    assert_true(fixture_boot(&f, sources, NULL, 1));
    fixture_take(&f, 0);
    assert_int_equal(fixture_resume(&f), MG_WAIT_NEXT);
    fixture_answer(&f, 200);
    assert_int_equal(fixture_resume(&f), -1);
    assert_int_equal(f.error.line, 5);
    assert_non_null(strstr(f.error.message, "set_header \"x\""));
    assert_int_equal(f.x.response.fields.count, 0);
    fixture_give(&f, false);
    fixture_fini(&f);
}

static void a_plan_that_does_not_load_says_why(void **state)
{
    static const struct {
        const char *source, *extra, *message;
    } cases[] = {
        { "return {", NULL, "plugins/p0/plugin.lua:1:" },
        { "return {}", NULL, "plugin.new is a function" },
        { "local ffi = require 'ffi'", NULL, "no module 'ffi'" },
        { "count = 1", NULL, "assigning to the global 'count'" },
        { "return { new = function(conf) error(conf.text) end }", ",\"config\":{\"text\":\"no such thing\"}",
          "no such thing" },
        { "local t = {} while true do t[#t + 1] = {} end", NULL,
          "all plugins of a worker share 64 MiB; \"p0\" holds 6" },
        { "\033LJ", NULL, "bytecode is not loaded" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        fixture f;

        fixture_init(&f);
        assert_false(fixture_boot(&f, &cases[i].source, &cases[i].extra, 1));
        if (!strstr(f.err.message, cases[i].message))
            fail_msg("case %zu: %s", i, f.err.message);
        fixture_fini(&f);
    }
}

static void a_vm_of_another_header_is_refused(void **state)
{
    fixture f;
    mg_vm_conf conf;

    (void)state;
    fixture_init(&f);
    conf = fixture_conf(&f);
    conf.abi_hash = "feedfacefeedface";
    assert_null(mg_vm_new(&conf, MG_STR("{}"), &f.err));
    assert_non_null(strstr(f.err.message, "feedfacefeedface"));
    assert_non_null(strstr(f.err.message, mg_abi_hash()));
    fixture_fini(&f);
}

static void a_plan_that_is_no_json_is_refused(void **state)
{
    fixture f;
    mg_vm_conf conf;

    (void)state;
    fixture_init(&f);
    conf = fixture_conf(&f);
    assert_null(mg_vm_new(&conf, MG_STR("{\"plugins\":"), &f.err));
    assert_non_null(strstr(f.err.message, "the plan is not JSON"));
    fixture_fini(&f);
}

static void libraries_of_a_plugin_are_its_own(void **state)
{
    fixture f;
    mg_vm_conf conf;
    const mg_str plan = MG_STR(
        "{\"plugins\":[{\"name\":\"greeter\",\"use\":\"./plugins/greet\",\"chunkname\":\"plugins/greet/"
        "plugin.lua\","
        "\"source\":\"local text = require 'greet.text'\\nreturn { new = function(conf) return function(ctx) "
        "ctx:respond(200, text(conf.name)) end end "
        "}\",\"lib\":{\"greet.text\":{\"chunkname\":\"plugins/greet/lib/text.lua\","
        "\"source\":\"return function(name) return 'hi ' .. name "
        "end\"}},\"config\":{\"name\":\"you\"}}],\"chains\":[[0]]}");

    (void)state;
    fixture_init(&f);
    conf = fixture_conf(&f);
    f.vm = mg_vm_new(&conf, plan, &f.err);
    if (!f.vm)
        fail_msg("%s", f.err.message);
    fixture_take(&f, 0);
    assert_int_equal(fixture_resume(&f), MG_WAIT_DONE);
    assert_int_equal(f.x.answer, MG_ANSWER_OWN);
    assert_true(mg_str_eq(f.x.own_body, MG_STR("hi you")));
    fixture_give(&f, true);
    fixture_fini(&f);
}

static void a_cancelled_request_unwinds_whatever_its_plugins_catch(void **state)
{
    fixture f;
    const char *const sources[] = { HANDLER("while true do pcall(function() ctx:sleep(1) end) end") };
    const char *const extra[] = { ",\"on_error\":\"open\"" };

    (void)state;
    fixture_init(&f);
    assert_true(fixture_boot(&f, sources, extra, 1));
    for (int i = 0; i < 50; i++) {
        fixture_take(&f, 0);
        assert_int_equal(fixture_resume(&f), MG_WAIT_SLEEP);
        assert_int_equal(fixture_resume(&f), MG_WAIT_SLEEP);
        f.call->cancelled = "client_gone";
        assert_int_equal(fixture_resume(&f), -1);
        fixture_give(&f, false);
    }
    fixture_fini(&f);
}

static void requests_that_wait_do_not_see_each_other(void **state)
{
    fixture f;
    const char *const sources[] = { HANDLER(
        "ctx.state.who = ctx.request:header('x-api-key')\nctx:sleep(1)\n"
        "assert(ctx.state.who == ctx.request:header('x-api-key'))\nnext(ctx)\n"
        "ctx.response:set_header('x-who', ctx.state.who)") };
    mg_task *tasks[8];
    mg_call *calls[8];
    mg_exchange xs[8];

    (void)state;
    fixture_init(&f);
    assert_true(fixture_boot(&f, sources, NULL, 1));
    for (int i = 0; i < 8; i++) {
        char key[8];

        fixture_take(&f, 0);
        snprintf(key, sizeof(key), "key%d", i);
        assert_null(
            mg_fields_put(&f.x.request.fields, &f.x.arena, MG_STR("x-api-key"), mg_str_of(key), true));
        xs[i] = f.x;
        tasks[i] = f.task;
        calls[i] = f.call;
        calls[i]->x = &xs[i];
        assert_int_equal(fixture_resume(&f), MG_WAIT_SLEEP);
    }
    for (int i = 7; i >= 0; i--) {
        assert_int_equal(mg_task_resume(tasks[i], &f.error), MG_TASK_YIELDED);
        assert_int_equal(calls[i]->wait, MG_WAIT_NEXT);
        xs[i].response.status = 200;
    }
    for (int i = 0; i < 8; i++) {
        char key[8];

        assert_int_equal(mg_task_resume(tasks[i], &f.error), MG_TASK_YIELDED);
        snprintf(key, sizeof(key), "key%d", i);
        assert_memory_equal(xs[i].response.fields.items[0].value, key, 4);
        mg_task_give(tasks[i], true);
        mg_arena_fini(&xs[i].arena);
    }
    fixture_fini(&f);
}

static void a_body_is_waited_for_and_replaced(void **state)
{
    fixture f;
    const char *const sources[] = {
        "return { body = { request = 'buffer(1KiB)', response = 'buffer(2KiB)' }, new = function() return "
        "function(ctx, next)\n"
        "ctx.request:set_body(ctx.request:body():upper())\nnext(ctx)\nctx.response:set_body(ctx.response:"
        "body() .. '!')\n"
        "end end }",
    };

    (void)state;
    fixture_init(&f);
    assert_true(fixture_boot(&f, sources, NULL, 1));
    assert_int_equal(mg_vm_plugin_at(f.vm, 0)->request_body_bytes, 1024);
    assert_int_equal(mg_vm_plugin_at(f.vm, 0)->response_body_bytes, 2048);
    fixture_take(&f, 0);
    f.call->bodies[MG_REQUEST].max_bytes = 1024;
    f.call->bodies[MG_RESPONSE].max_bytes = 2048;
    assert_int_equal(fixture_resume(&f), MG_WAIT_BODY);
    assert_int_equal(f.call->wait_which, MG_REQUEST);
    assert_true(mg_gather_add(&f.call->bodies[MG_REQUEST], MG_STR("abc")));
    mg_gather_end(&f.call->bodies[MG_REQUEST]);
    assert_int_equal(fixture_resume(&f), MG_WAIT_NEXT);
    assert_int_equal(f.call->bodies[MG_REQUEST].state, MG_GATHER_REPLACED);
    assert_string_equal(f.call->bodies[MG_REQUEST].text.p, "ABC");
    fixture_answer(&f, 200);
    assert_int_equal(fixture_resume(&f), MG_WAIT_BODY);
    assert_int_equal(f.call->wait_which, MG_RESPONSE);
    mg_gather_end(&f.call->bodies[MG_RESPONSE]); /* empty */
    assert_int_equal(fixture_resume(&f), MG_WAIT_DONE);
    assert_string_equal(f.call->bodies[MG_RESPONSE].text.p, "!");
    fixture_give(&f, true);
    fixture_fini(&f);
}

static void log_handlers_run_with_the_state_of_their_request(void **state)
{
    fixture f;
    const char *const sources[] = {
        "return { new = function() return { log = function(ctx) ctx.log:info('seen %s', ctx.state.mark) "
        "end,\n"
        "handler = function(ctx, next)\n"
        "assert(ctx.state.mark == nil) ctx.state.mark = 'm1' return next(ctx) end } end }",
    };

    (void)state;
    fixture_init(&f);
    assert_true(fixture_boot(&f, sources, NULL, 1));
    assert_true(mg_vm_chain_logs(f.vm, 0));
    for (int i = 0; i < 3; i++) {
        fixture_take(&f, 0);
        assert_int_equal(fixture_resume(&f), MG_WAIT_NEXT);
        fixture_answer(&f, 200);
        assert_int_equal(fixture_resume(&f), MG_WAIT_DONE);
        if (i == 1) { /* a request whose log never ran leaves nothing behind either */
            fixture_give(&f, true);
            continue;
        }
        f.call->phase = MG_PHASE_LOG;
        mg_text_clear(&f.logged);
        assert_int_equal(mg_task_aside(f.task, MG_ASIDE_LOG, &f.error), MG_TASK_YIELDED);
        assert_non_null(strstr(f.logged.p, "seen m1"));
        assert_non_null(strstr(f.logged.p, "plugin=p0"));
        fixture_give(&f, true);
    }
    fixture_fini(&f);
}

static void problems_carry_a_request_id_and_no_internals(void **state)
{
    fixture f;

    (void)state;
    fixture_init(&f);
    fixture_request(&f);
    mg_problem_answer(&f.x, 503, MG_STR_NONE, MG_STR("try \"later\""), 7);
    assert_int_equal(f.x.response.status, 503);
    assert_int_equal(f.x.response.length, f.x.own_body.n);
    assert_string_equal(fixture_field(&f, MG_RESPONSE, "retry-after"), "7");
    assert_string_equal(fixture_field(&f, MG_RESPONSE, "content-type"), "application/problem+json");
    assert_string_equal(fixture_field(&f, MG_RESPONSE, "x-request-id"), "30313233343536373839616263646566");
    assert_true(mg_str_eq(
        f.x.own_body,
        MG_STR("{\"type\":\"about:blank\",\"title\":\"Service Unavailable\",\"status\":503,"
               "\"detail\":\"try \\\"later\\\"\",\"instance\":\"30313233343536373839616263646566\"}\n")));
    assert_null(mg_fields_put(&f.x.request.fields, &f.x.arena, MG_STR("x-request-id"), MG_STR("r1"), true));
    mg_problem_answer(&f.x, 404, MG_STR("No route"), MG_STR_NONE, -1);
    assert_null(fixture_field(&f, MG_RESPONSE, "retry-after"));
    assert_true(mg_str_eq(
        f.x.own_body,
        MG_STR("{\"type\":\"about:blank\",\"title\":\"No route\",\"status\":404,\"instance\":\"r1\"}\n")));
    mg_arena_fini(&f.x.arena);
    fixture_fini(&f);
}

static void a_thousand_vms_come_and_go(void **state)
{
    fixture f;
    const char *const sources[] = { HANDLER("ctx:sleep(0) return next(ctx)"), HANDLER("return next(ctx)") };

    (void)state;
    fixture_init(&f);
    for (int i = 0; i < 1000; i++) {
        assert_true(fixture_boot(&f, sources, NULL, 2));
        fixture_take(&f, 0);
        assert_int_equal(fixture_resume(&f), MG_WAIT_SLEEP);
        fixture_give(&f,
                     i % 2 != 0 && fixture_resume(&f) == MG_WAIT_DONE); /* some are dropped while they wait */
        mg_vm_free(f.vm);
        f.vm = NULL;
    }
    fixture_fini(&f);
}

/* ---- what all workers share ---- */

static void shared_limiters_keep_their_state_over_configurations(void **state)
{
    fixture f;
    mg_limiter_conf conf;
    mg_limiter *first, *second;
    mg_limiter_answer answer;

    (void)state;
    fixture_init(&f);
    mg_limiter_conf_defaults(&conf);
    conf.limit = 1;
    conf.period_ms = 60000;
    first = mg_shared_limiter(f.shared, MG_STR("a"), &conf, NULL);
    assert_ptr_equal(first, mg_shared_limiter(f.shared, MG_STR("a"), &conf, NULL));
    assert_ptr_not_equal(first, mg_shared_limiter(f.shared, MG_STR("b"), &conf, NULL));
    assert_true(mg_limiter_take(first, "k", 1, 1, mg_shared_policy_now(f.shared), &answer));
    conf.period_ms = 30000;
    second = mg_shared_limiter(f.shared, MG_STR("a"), &conf, NULL);
    assert_ptr_not_equal(first, second);
    assert_false(mg_limiter_take(second, "k", 1, 1, mg_shared_policy_now(f.shared), &answer));
    conf.period_ms = 60000; /* back again: the one of before */
    assert_ptr_equal(first, mg_shared_limiter(f.shared, MG_STR("a"), &conf, NULL));
    conf.limit = 0;
    assert_null(mg_shared_limiter(f.shared, MG_STR("c"), &conf, NULL));
    fixture_fini(&f);
}

static void shared_breakers_keep_their_state_over_configurations(void **state)
{
    fixture f;
    mg_breaker_conf conf;
    mg_breaker *first, *second;

    (void)state;
    fixture_init(&f);
    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    first = mg_shared_breaker(f.shared, MG_STR("a"), &conf);
    assert_non_null(first);
    assert_ptr_equal(first, mg_shared_breaker(f.shared, MG_STR("a"), &conf));
    mg_breaker_force(first, MG_BREAKER_FORCED_OPEN, mg_shared_policy_now(f.shared));
    conf.consecutive_failures++;
    second = mg_shared_breaker(f.shared, MG_STR("a"), &conf);
    assert_ptr_not_equal(first, second);
    assert_int_equal(mg_breaker_now(second, mg_shared_policy_now(f.shared)), MG_BREAKER_FORCED_OPEN);
    conf.half_open_probes = 0;
    assert_null(mg_shared_breaker(f.shared, MG_STR("b"), &conf));
    fixture_fini(&f);
}

static void count(void *self, const mg_counter *counter)
{
    (void)counter;
    ++*(int *)self;
}

static void counters_sum_over_workers_and_are_bounded(void **state)
{
    fixture f;
    mg_counter *counter;
    int seen = 0;
    char name[32], error[256];

    (void)state;
    fixture_init(&f);
    counter = mg_shared_counter(f.shared, MG_STR("a"), &(bool){ false });
    assert_ptr_equal(counter, mg_shared_counter(f.shared, MG_STR("a"), &(bool){ false }));
    mg_host_counter_add(&f.host, counter, 2);
    f.host.worker = 1;
    mg_host_counter_add(&f.host, counter, 3);
    f.host.worker = 2; /* there is none: a candidate VM on another thread counts nothing */
    mg_host_counter_add(&f.host, counter, 9);
    mg_host_counter_add(&f.host, counter, -1);
    assert_int_equal(mg_counter_sum(f.shared, counter), 5);
    for (int i = 1; i < MG_SHARED_COUNTERS_MAX; i++) {
        snprintf(name, sizeof(name), "c%d", i);
        assert_non_null(mg_host_counter(&f.host, name, (uint32_t)strlen(name), error));
    }
    assert_null(mg_host_counter(&f.host, "one more", 8, error));
    assert_non_null(strstr(error, "too many counters"));
    assert_ptr_equal(counter, mg_shared_counter(f.shared, MG_STR("a"), &(bool){ false }));
    mg_shared_each_counter(f.shared, count, &seen);
    assert_int_equal(seen, MG_SHARED_COUNTERS_MAX);
    fixture_fini(&f);
}

static void assert_slice(const mg_slice *slice, const char *want)
{
    assert_int_equal(slice->n, strlen(want));
    assert_memory_equal(slice->p, want, slice->n);
}

static void fields_of_numbers_that_are_none_say_nothing_is_left(void **state)
{
    const mg_limit_view odd = {
        .remaining = -1, .quota = NAN, .window_s = -5, .reset_s = NAN, .retry_s = NAN
    };
    const mg_limit_view large = { .remaining = 1e300, .quota = 1e300, .window_s = 1e300, .retry_s = 1e300 };
    mg_slice policy, now;
    fixture f;

    (void)state;
    fixture_init(&f);
    mg_host_limit_fields(&f.host, "l", 1, &odd, &policy, &now);
    assert_slice(&policy, "\"l\";q=0");
    assert_slice(&now, "\"l\";r=0;t=0");
    mg_host_limit_fields(&f.host, "l", 1, &large, &policy, &now);
    assert_slice(&policy, "\"l\";q=1000000000000000;w=1000000000000");
    assert_slice(&now, "\"l\";r=1000000000000000;t=1000000000000");
    fixture_fini(&f);
}

static void limiters_and_breakers_of_plugins_are_bounded(void **state)
{
    const mg_breaker_spec spec = { 5, -1, -1, -1, -1, -1, -1, -1 };
    mg_breaker_conf breaker;
    mg_limiter *first;
    fixture f;
    char name[32], error[256] = "";

    (void)state;
    fixture_init(&f);
    first = mg_host_limiter(&f.host, "a", 1, 5, 1, 0, 1, error);
    for (int i = 1; i < MG_SHARED_POLICIES_MAX; i++) { /* half of them are one name with other numbers */
        snprintf(name, sizeof(name), "l%d", i % 2 ? i : 0);
        assert_non_null(mg_host_limiter(&f.host, name, (uint32_t)strlen(name), i, 1, 0, 1, error));
    }
    assert_null(mg_host_limiter(&f.host, "one more", 8, 5, 1, 0, 1, error));
    assert_non_null(strstr(error, "too many limiters"));
    assert_null(mg_host_limiter(&f.host, "a", 1, 6, 1, 0, 1, error));
    assert_ptr_equal(mg_host_limiter(&f.host, "a", 1, 5, 1, 0, 1, error), first);
    assert_null(mg_host_limiter(&f.host, "a", 1, 0, 1, 0, 1, error));
    assert_null(strstr(error, "too many"));
    for (int i = 0; i < MG_SHARED_POLICIES_MAX; i++) {
        snprintf(name, sizeof(name), "b%d", i);
        assert_non_null(mg_host_breaker(&f.host, name, (uint32_t)strlen(name), &spec, error));
    }
    assert_null(mg_host_breaker(&f.host, "one more", 8, &spec, error));
    assert_non_null(strstr(error, "too many breakers"));
    mg_breaker_conf_defaults(&breaker, MG_BREAKER_CONSECUTIVE); /* a configuration's own are not counted */
    assert_non_null(mg_shared_breaker(f.shared, MG_STR("one more"), &breaker));
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_chain_passes_a_request_through_and_back),
        cmocka_unit_test(a_plugin_that_raises_is_named_with_its_line),
        cmocka_unit_test(splitting_is_refused_with_the_plugins_line),
        cmocka_unit_test(a_plan_that_does_not_load_says_why),
        cmocka_unit_test(a_vm_of_another_header_is_refused),
        cmocka_unit_test(a_plan_that_is_no_json_is_refused),
        cmocka_unit_test(libraries_of_a_plugin_are_its_own),
        cmocka_unit_test(a_cancelled_request_unwinds_whatever_its_plugins_catch),
        cmocka_unit_test(requests_that_wait_do_not_see_each_other),
        cmocka_unit_test(a_body_is_waited_for_and_replaced),
        cmocka_unit_test(log_handlers_run_with_the_state_of_their_request),
        cmocka_unit_test(problems_carry_a_request_id_and_no_internals),
        cmocka_unit_test(a_thousand_vms_come_and_go),
        cmocka_unit_test(shared_limiters_keep_their_state_over_configurations),
        cmocka_unit_test(shared_breakers_keep_their_state_over_configurations),
        cmocka_unit_test(counters_sum_over_workers_and_are_bounded),
        cmocka_unit_test(fields_of_numbers_that_are_none_say_nothing_is_left),
        cmocka_unit_test(limiters_and_breakers_of_plugins_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
