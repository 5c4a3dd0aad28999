/* The memory of a Lua state: whatever a plugin makes, its own request fails, and the state goes on. */
#include "call_fixture.h"

#include "script/state.h"

#define HANDLER(body)                                                                                        \
    "local kept = {}\nreturn { new = function() return function(ctx, next)\n" body "\nend end }\n"

#define CAP_BYTES ((size_t)64 << 20)

static void start(fixture *f, const char *source)
{
    fixture_init(f);
    if (!fixture_boot(f, &source, NULL, 1))
        fail_msg("%s", f->err.message);
}

/* One request; what it waited for, or -1. */
static int run(fixture *f)
{
    fixture_take(f, 0);
    const int wait = fixture_resume(f);
    fixture_give(f, wait == MG_WAIT_DONE);
    while (mg_vm_wants_collector(f->vm)) /* as the worker does, between turns */
        mg_vm_collect(f->vm, MG_NS_PER_MS);
    return wait;
}

static void a_request_that_fills_the_memory_fails_alone(void **state)
{
    static const char *const greedy[] = {
        HANDLER("if ctx.request:header('x-api-key') then local s = 'xy' while true do s = s .. s end end"),
        HANDLER("local s = 'xy' while true do s = s .. s .. s .. s .. s .. s .. s .. s .. s .. s end"),
        HANDLER("local s = ('x'):rep(1000) local function f(a) return f(a .. a) end f(s)"),
        HANDLER("local s = ('x'):rep(1000) local t = setmetatable({}, { __concat = function(a, b) return s "
                "end }) "
                "while true do s = (t .. s) .. s end"),
        HANDLER("local t = {} while true do t[#t + 1] = ('x'):rep(1e6) .. #t end"),
        HANDLER("local t = {} for j = 1, 1e9 do t[j] = j end"),
        HANDLER("local t = {} for j = 1, 1e9 do t[j] = {} end"),
        HANDLER("local t = {} for j = 1, 1e9 do t['k' .. j] = j end"),
        HANDLER("local t = {} for j = 1, 1e9 do t[j] = function() return t end end"),
        HANDLER("local t = {} for j = 1, 100 do t[j] = ('x'):rep(16e6) .. j end return table.concat(t)"),
        HANDLER("local t = {} for j = 1, 1e3 do t[j] = ('x'):rep(1e6) end return table.concat(t)"),
        HANDLER("pcall(function() local t = {} for j = 1, 1e9 do t[j] = {} end end)"),
        HANDLER("while true do pcall(function() local s = 'xy' while true do s = s .. s end end) end"),
        HANDLER("while true do xpcall(function() local s = 'xy' while true do s = s .. s end end, "
                "function(e) return e .. e end) end"),
        HANDLER("local s = ('x'):rep(2e6) while true do s = s:gsub('x', 'xx') end"),
        HANDLER("local s = ('x'):rep(16e6) while true do kept[#kept + 1] = s:upper() .. #kept end"),
        HANDLER("local s = ('x'):rep(16e6) while true do kept[#kept + 1] = s:sub(#kept) end"),
        HANDLER("local s = ('x'):rep(16e6) while true do kept[#kept + 1] = ('%s%d'):format(s, #kept) end"),
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(greedy); i++) {
        fixture f;

        start(&f, greedy[i]);
        if (run(&f) != -1)
            fail_msg("case %zu did not raise", i);
        if (!strstr(f.error.message, "not enough memory; all plugins of a worker share 64 MiB") &&
            !strstr(f.error.message, "used more than 10 ms of CPU") && !strstr(f.error.message, "16 MiB"))
            fail_msg("case %zu: %s", i, f.error.message);
        assert_int_equal(f.error.plugin, 0);
        if (mg_vm_used_bytes(f.vm) > CAP_BYTES * 2)
            fail_msg("case %zu: %zu MiB", i, mg_vm_used_bytes(f.vm) >> 20);
        fixture_fini(&f);
    }
}

/* It stands in a buffer of its size while it is made, and would be refused only when both are there. */
static void a_text_that_no_state_can_hold_is_not_begun(void **state)
{
    static const char *const ways[] = {
        "('%s%s%s'):format(s, s, s)",
        "('%s%q'):format(s, s)",
        "table.concat({ s, s, s })",
        "table.concat({ 1, 2, 3, 4 }, s)",
        "s .. s .. s",
        "s .. s .. 1 .. s",
        "('abc'):gsub('.', s)",
        "('abc'):gsub('.', { a = s, b = s, c = s })",
        "('abc'):gsub('.', function() return s end)",
        "('abc'):gsub('(.)', s .. '%1')",
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(ways); i++) {
        char source[512];
        fixture f;

        snprintf(source, sizeof source,
                 HANDLER("local s = ('x'):rep(%d) pcall(function() kept[1] = %s end) kept[2] = 1"), 12000000,
                 ways[i]);
        start(&f, source);
        if (run(&f) != -1)
            fail_msg("case %zu did not raise", i);
        if (!strstr(f.error.message, "not enough memory; all plugins of a worker share 64 MiB"))
            fail_msg("case %zu: %s", i, f.error.message);
        if (mg_vm_used_bytes(f.vm) > CAP_BYTES)
            fail_msg("case %zu: %zu MiB", i, mg_vm_used_bytes(f.vm) >> 20);
        fixture_fini(&f);
    }
}

/* What a request made is garbage when the next one comes, however much it was. */
static void garbage_fails_no_request(void **state)
{
    static const char *const large[] = {
        HANDLER("local a = ('x'):rep(15e6) .. tostring(ctx.state) local b = a .. a local c = #b"),
        HANDLER("local s = 'x' for i = 1, 24 do s = s .. s end"),
        HANDLER("local t = {} for i = 1, 25 do t[i] = ('x'):rep(1e6) .. i end"),
        HANDLER("for i = 1, 2 do local s = ('x'):rep(1e7) .. i end"),
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(large); i++) {
        fixture f;

        start(&f, large[i]);
        for (int n = 0; n < 30; n++)
            if (run(&f) != MG_WAIT_DONE)
                fail_msg("case %zu, request %d: %s", i, n, f.error.message);
        assert_false(mg_vm_is_crowded(f.vm));
        fixture_fini(&f);
    }
}

static void a_state_that_a_plugin_fills_is_crowded(void **state)
{
    fixture f;
    size_t held = 0;
    int requests = 0;

    (void)state;
    start(&f, HANDLER("kept[#kept + 1] = ('x'):rep(1e6) .. #kept"));
    while (!mg_vm_is_crowded(f.vm) && requests < 1000) {
        if (run(&f) != MG_WAIT_DONE)
            fail_msg("request %d: %s", requests, f.error.message); /* it is told before anyone is refused */
        requests++;
    }
    assert_in_range(requests, 40, 60);
    assert_int_equal(mg_vm_holder(f.vm, &held), 0);
    assert_in_range(held, CAP_BYTES / 2, CAP_BYTES);
    for (int i = 0; i < 20; i++)
        (void)run(&f);
    assert_in_range(mg_vm_used_bytes(f.vm), CAP_BYTES / 2, CAP_BYTES + (CAP_BYTES >> 2) + (2 << 20));
    assert_true(mg_vm_is_crowded(f.vm));
    fixture_fini(&f);
}

/* Each has little in Lua and much in C. */
static void routers_count_with_what_c_holds_of_them(void **state)
{
    fixture f;
    int wait, turns = 0;

    (void)state;
    start(&f,
          HANDLER("local r = {} for j = 1, 100 do r[j] = { path = '/' .. j .. '/{a}/b' } end while true do "
                  "kept[#kept + 1] = require('moongate').router(r) ctx:sleep(0) end"));
    fixture_take(&f, 0);
    while ((wait = fixture_resume(&f)) == MG_WAIT_SLEEP && turns < 10000)
        turns++;
    fixture_give(&f, false);
    assert_int_equal(wait, -1);
    if (!strstr(f.error.message, "not enough memory; all plugins of a worker share 64 MiB; \"p0\" holds 6"))
        fail_msg("%s", f.error.message);
    assert_in_range(turns, 100, 2000);
    fixture_fini(&f);
}

static void what_cannot_be_joined_is_said_as_lua_says_it(void **state)
{
    static const char *const cases[][2] = {
        { "local user return 'a' .. user",
          "plugins/p0/plugin.lua:3: attempt to concatenate a nil value (operand 2 of 2)" },
        { "return 1 .. {} .. 'x'", "attempt to concatenate a table value (operand 2 of 3)" },
        { "return true .. 'x'", "attempt to concatenate a boolean value (operand 1 of 2)" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        char source[512];
        fixture f;

        snprintf(source, sizeof source, HANDLER("%s"), cases[i][0]);
        start(&f, source);
        assert_int_equal(run(&f), -1);
        if (!strstr(f.error.message, cases[i][1]))
            fail_msg("case %zu: %s", i, f.error.message);
        assert_int_equal(f.error.line, 3);
        fixture_fini(&f);
    }
}

static void joined_texts_are_what_lua_makes_of_them(void **state)
{
    fixture f;

    (void)state;
    start(&f,
          HANDLER(
              "local m = setmetatable({}, { __concat = function(a, b) "
              "return (type(a) == 'table' and 'M' or a) .. '+' .. (type(b) == 'table' and 'M' or b) end })\n"
              "local function two() return 'a', 'b' end\n"
              "local got = 1 .. 2 .. ' ' .. -0.5 .. two() .. ('x'):rep(2) .. #'abc' .. (m .. 'y') .. 'z' .. "
              "m .. 10 "
              "..[[l]] .. 0x10\n"
              "assert(got == '12 -0.5axx3M+yzM+10l16' or error(got))"));
    if (run(&f) != MG_WAIT_DONE)
        fail_msg("%s", f.error.message);
    fixture_fini(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_fills_the_memory_fails_alone),
        cmocka_unit_test(a_text_that_no_state_can_hold_is_not_begun),
        cmocka_unit_test(garbage_fails_no_request),
        cmocka_unit_test(a_state_that_a_plugin_fills_is_crowded),
        cmocka_unit_test(routers_count_with_what_c_holds_of_them),
        cmocka_unit_test(what_cannot_be_joined_is_said_as_lua_says_it),
        cmocka_unit_test(joined_texts_are_what_lua_makes_of_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
