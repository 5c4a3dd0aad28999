/* Where checks go: read from what comes out, and from what Lua makes of it. */
#include "script/weave.h"

#include "base/mem.h"

#include <lauxlib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

static const char CHECK[] = " __mg_spend(); ";

/* Woven with calls, each check shown as @. */
static const char *woven(const char *source)
{
    static char out[4096], shown[4096];
    char error[256];
    size_t n = 0;
    const int32_t bytes =
        mg_weave(source, (uint32_t)strlen(source), MG_WEAVE_CALL, out, sizeof(out) - 1, error);

    if (bytes < 0)
        return strcpy(shown, error);
    out[bytes] = 0;
    for (const char *p = out; *p;) {
        const bool check = strncmp(p, CHECK, sizeof(CHECK) - 1) == 0;

        shown[n++] = check ? '@' : *p;
        p += check ? sizeof(CHECK) - 1 : 1;
    }
    shown[n] = 0;
    return shown;
}

static void checks_stand_in_loops_functions_and_behind_labels(void **state)
{
    static const char *const cases[][2] = {
        { "while x do y() end", "while x do@ y() end" },
        { "repeat y() until x", "repeat@ y() until x" },
        { "for i=1,2 do end", "for i=1,2 do@ end" },
        { "for k, v in pairs(t) do end", "for k, v in pairs(t) do@ end" },
        { "while (function() return x end)() do end", "while (function()@ return x end)() do@ end" },
        { "function a.b:c(d, ...) return d end", "function a.b:c(d, ...)@ return d end" },
        { "local function f(a) return (a) end", "local function f(a)@ return (a) end" },
        { "return function(a) (a or b)() end", "return function(a)@ (a or b)() end" },
        { "::a:: x() goto a", "::a:: @x() goto a" },
        { "::a:: ::b:: goto a", "::a:: ::b:: @goto a" },
        { "::a::;goto a", "::a::;@goto a" },
        { ":: a --[[x]] ::\nreturn", ":: a --[[x]] ::\n@return" },
        { "do goto a local b ::a:: end", "do@ goto a local b ::a:: end" },
        { "if x then ::a:: else ::b:: end", "if x then ::a:: else ::b:: end" },
        { "x = goto f()", "x = goto f()" }, /* a name, in Lua 5.1 */
        { "::a::", "::a::" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++)
        assert_string_equal(woven(cases[i][0]), cases[i][1]);
}

static void chains_of_texts_become_calls(void **state)
{
    static const char *const cases[][2] = {
        { "x = a..b", "x = (__mg_cat2((a),(b)))" },
        { "x = a .. b .. c", "x = (__mg_cat3((a ),( b ),( c)))" },
        { "return a..1 ..'b'", "return (__mg_cat3((a),(1 ),('b')))" },
        { "x = a + 1 .. b * 2, c", "x = (__mg_cat2((a + 1 ),( b * 2))), c" },
        { "x = a..b == c..d", "x = (__mg_cat2((a),(b))) == (__mg_cat2((c),(d)))" },
        { "x = a and b..c or d", "x = a and (__mg_cat2((b),(c))) or d" },
        { "x = not a..b", "x = (__mg_cat2((not a),(b)))" },
        { "x = -a..-b^2", "x = (__mg_cat2((-a),(-b^2)))" },
        { "x = #a.b.c..a:d(e..f)[g..h]",
          "x = (__mg_cat2((#a.b.c),(a:d((__mg_cat2((e),(f))))[(__mg_cat2((g),(h)))])))" },
        { "x = a..b y = c", "x = (__mg_cat2((a),(b))) y = c" },
        { "x = a..b;y()", "x = (__mg_cat2((a),(b)));y()" },
        { "x = a..b -- c\ny()", "x = (__mg_cat2((a),(b))) -- c\ny()" },
        { "x = a\n-- c\n..\nb", "x = (__mg_cat2((a\n-- c\n),(\nb)))" },
        { "x = a..'b' (c)()", "x = (__mg_cat2((a),('b'))) (c)()" },
        { "x = a..b (c)()", "x = (__mg_cat2((a),(b (c)())))" },
        { "x = a..b'c'..{}(d)()", "x = (__mg_cat3((a),(b'c'),({})))(d)()" },
        { "x = a..f{b..c, d = e..f; [g..h] = i}", "x = (__mg_cat2((a),(f{(__mg_cat2((b),(c))), d = "
                                                  "(__mg_cat2((e),(f))); [(__mg_cat2((g),(h)))] = i})))" },
        { "f(a..b, ...)", "f((__mg_cat2((a),(b))), ...)" },
        { "return ...  .. ...", "return (__mg_cat2((...  ),( ...)))" },
        { "f'a'..b", "(__mg_cat2((f'a'),(b)))" },
        { "('a'..b):c()", "((__mg_cat2(('a'),(b)))):c()" },
        { "x = a..function(b, ...)return b..c end..d",
          "x = (__mg_cat3((a),(function(b, ...)@return (__mg_cat2((b),(c))) end),(d)))" },
        { "if a..b then c = d..e elseif f..g then else h = i..j end k = l..m",
          "if (__mg_cat2((a),(b))) then c = (__mg_cat2((d),(e))) elseif (__mg_cat2((f),(g))) then else h = "
          "(__mg_cat2((i),(j))) end k = (__mg_cat2((l),(m)))" },
        { "while a..b do end", "while (__mg_cat2((a),(b))) do@ end" },
        { "repeat local a = b..c until a..d x()",
          "repeat@ local a = (__mg_cat2((b),(c))) until (__mg_cat2((a),(d))) x()" },
        { "for i = a..b, c..d do end", "for i = (__mg_cat2((a),(b))), (__mg_cat2((c),(d))) do@ end" },
        { "for _ in f(a..b), c..d do end", "for _ in f((__mg_cat2((a),(b)))), (__mg_cat2((c),(d))) do@ end" },
        { "local function f(a) return a..b end", "local function f(a)@ return (__mg_cat2((a),(b))) end" },
        { "::a:: x = b..c goto a", "::a:: @x = (__mg_cat2((b),(c))) goto a" },
        { "return a..b..c..d..e..f..g..h..i",
          "return (__mg_cat8((a),(b),(c),(d),(e),(f),(g),__mg_cat2((h),(i))))" },
        { "return a..b..c..d..e..f..g..h", "return (__mg_cat8((a),(b),(c),(d),(e),(f),(g),__mg_cat1((h))))" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++)
        assert_string_equal(woven(cases[i][0]), cases[i][1]);
}

static void calls_of_ctx_that_are_returned_are_no_tail_calls(void **state)
{
    static const char *const cases[][2] = {
        { "return ctx:respond(200)", "return __mg_keep(ctx:respond(200))" },
        { "return ctx.json.encode(a) -- b", "return __mg_keep(ctx.json.encode(a)) -- b" },
        { "return ctx.json.encode {}; ", "return __mg_keep(ctx.json.encode {}); " },
        { "return ctx.http:get'a'", "return __mg_keep(ctx.http:get'a')" },
        { "return ctx.a[b](c)", "return __mg_keep(ctx.a[b](c))" },
        { "if a then return ctx:b() else return ctx:c(d..e) end",
          "if a then return __mg_keep(ctx:b()) else return __mg_keep(ctx:c((__mg_cat2((d),(e))))) end" },
        { "return ctx:task(function() return ctx:a(b) end)",
          "return __mg_keep(ctx:task(function()@ return __mg_keep(ctx:a(b)) end))" },
        { "repeat return ctx:a() until b", "repeat@ return __mg_keep(ctx:a()) until b" },
        { "return ctx\n:a(\nb)\n", "return __mg_keep(ctx\n:a(\nb))\n" },
        { "return next()", "return __mg_keep(next())" },
        /* what stays as it is */
        { "return next(ctx)", "return next(ctx)" },
        { "return next(t, k)", "return next(t, k)" },
        { "return ctx:a(), b", "return ctx:a(), b" },
        { "return ctx:a() .. b", "return (__mg_cat2((ctx:a() ),( b)))" },
        { "return ctx:a() + 1", "return ctx:a() + 1" },
        { "return ctx:a() and b", "return ctx:a() and b" },
        { "return not ctx:a()", "return not ctx:a()" },
        { "return a(ctx:b())", "return a(ctx:b())" },
        { "return ctx.a", "return ctx.a" },
        { "return ctx.a().b", "return ctx.a().b" },
        { "return ctx.a()[b]", "return ctx.a()[b]" },
        { "return ctxs:a()", "return ctxs:a()" },
        { "return a.ctx:b()", "return a.ctx:b()" },
        { "return (ctx:a())", "return (ctx:a())" },
        { "x = ctx:a() return", "x = ctx:a() return" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++)
        assert_string_equal(woven(cases[i][0]), cases[i][1]);
}

static void what_is_no_code_is_left_alone(void **state)
{
    static const char *const cases[] = {
        "x = 'do' y = \"repeat\" z = [[ do ]]",
        "x = 'it\\'s do' y = \"\\\\\" z = '\\\ndo'",
        "x = [==[ do ]] repeat ]=] do ]==]",
        "-- do\n--[[ do\nrepeat ]] x() --[==[ ]] do ]==] --[ do",
        "x = a.done or a.dodo or redo",
        "x = 1e-3 - 0x1p+4 * 2 y = .5 z = 5LL + 1i",
        "x = a y = a ...",
        "x = 'a..b' y = [[a..b]] -- a..b",
        "x = '\\z  \n  do'",
        "x = \xc3\xa4"
        "do",
        "t[ [[do]] ] = t[t[1]]",
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++)
        assert_string_equal(woven(cases[i]), cases[i]);
}

static void a_head_that_lua_passes_over_stays_first(void **state)
{
    char out[256], error[256];
    static const char source[] = "\xef\xbb\xbf#!/usr/bin/lua do\nreturn 1";
    const int32_t n = mg_weave(source, sizeof(source) - 1, MG_WEAVE_COUNTER, out, sizeof(out) - 1, error);

    (void)state;
    assert_true(n > 0);
    out[n] = 0;
    assert_string_equal(out, "local __mg_more=__mg_more local __mg_left=1 \nreturn 1");
}

static void the_budget_cannot_be_named(void **state)
{
    (void)state;
    assert_string_equal(woven("x()\n\n__mg_left = 9"),
                        "3: names that begin with __mg_ are the gateway's: choose another");
    assert_string_equal(woven("x = '__mg_left' -- __mg_more"), "x = '__mg_left' -- __mg_more");
    assert_string_equal(woven("return a.__mg_"),
                        "1: names that begin with __mg_ are the gateway's: choose another");
    assert_string_equal(woven("x__mg_left = 1"), "x__mg_left = 1");
}

static void the_length_is_told_before_there_is_room(void **state)
{
    static const char source[] = "while true do end";
    char out[256], error[256];
    const int32_t n = mg_weave(source, sizeof(source) - 1, MG_WEAVE_COUNTER, NULL, 0, error);

    (void)state;
    assert_in_range(n, sizeof(source), sizeof(out) - 1);
    memset(out, 'x', sizeof(out));
    assert_int_equal(mg_weave(source, sizeof(source) - 1, MG_WEAVE_COUNTER, out, (uint32_t)n, error), n);
    assert_int_equal(out[n], 'x');
    assert_memory_equal(out + n - 4, " end", 4);
}

static void what_has_no_end_is_refused(void **state)
{
    static const char *const cases[] = { "x = 'do", "x = \"\\\"", "--[[ do",  "x = [=[ ]]",
                                         "'\\",     "[[",         "--[==[]=]" };
    char error[256];

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++)
        assert_string_equal(woven(cases[i]), "1: a string or comment has no end");
    assert_int_equal(mg_weave("", MG_WEAVE_SOURCE_MAX + 1, MG_WEAVE_CALL, NULL, 0, error), -1);
    assert_non_null(strstr(error, "split it"));
}

/* A source with so many locals and upvalues that two more do not fit compiles with calls. */
static void source_at_the_limits_of_lua_still_compiles(void **state)
{
    char source[8192], out[16384], error[256];
    size_t n = 0;
    lua_State *L = luaL_newstate();

    (void)state;
    for (int i = 0; i < 60; i++)
        n += (size_t)snprintf(source + n, sizeof(source) - n, "local a%d = 1 ", i);
    n += (size_t)snprintf(source + n, sizeof(source) - n, "return function() return a0");
    for (int i = 1; i < 60; i++)
        n += (size_t)snprintf(source + n, sizeof(source) - n, "+a%d", i);
    n += (size_t)snprintf(source + n, sizeof(source) - n, " end");
    assert_int_equal(luaL_loadbuffer(L, source, n, "plain"), 0);
    for (int how = MG_WEAVE_COUNTER; how <= MG_WEAVE_CALL; how++) {
        const int32_t bytes = mg_weave(source, (uint32_t)n, how, out, sizeof(out), error);

        assert_in_range(bytes, n, sizeof(out));
        assert_int_equal(luaL_loadbuffer(L, out, (size_t)bytes, "woven"),
                         how == MG_WEAVE_CALL ? 0 : LUA_ERRSYNTAX);
    }
    lua_close(L);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(checks_stand_in_loops_functions_and_behind_labels),
        cmocka_unit_test(chains_of_texts_become_calls),
        cmocka_unit_test(calls_of_ctx_that_are_returned_are_no_tail_calls),
        cmocka_unit_test(what_is_no_code_is_left_alone),
        cmocka_unit_test(a_head_that_lua_passes_over_stays_first),
        cmocka_unit_test(the_budget_cannot_be_named),
        cmocka_unit_test(the_length_is_told_before_there_is_room),
        cmocka_unit_test(what_has_no_end_is_refused),
        cmocka_unit_test(source_at_the_limits_of_lua_still_compiles),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
