/* runner.c - opens a state of the system's own allocator and calls one function in it. */
#include "script/runner.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>

static int source(lua_State *L)
{
    const mg_runner *runner = lua_touserdata(L, lua_upvalueindex(1));
    const mg_str text = runner->source(luaL_checkstring(L, 1));

    if (!text.p)
        return 0;
    lua_pushlstring(L, text.p, text.n);
    return 1;
}

static int with_traceback(lua_State *L)
{
    lua_getglobal(L, "debug");
    lua_getfield(L, -1, "traceback");
    lua_pushvalue(L, 1);
    lua_pushinteger(L, 2);
    lua_call(L, 2, 1);
    return 1;
}

static void push_apis(lua_State *L, const mg_runner_api *apis)
{
    lua_newtable(L);
    for (const mg_runner_api *api = apis; api->name; api++) {
        lua_newtable(L);
        lua_pushlightuserdata(L, (void *)(uintptr_t)api->table);
        lua_rawseti(L, -2, 1);
        lua_pushstring(L, api->hash);
        lua_rawseti(L, -2, 2);
        lua_setfield(L, -2, api->name);
    }
}

static int run_program(lua_State *L)
{
    mg_runner *runner = lua_touserdata(L, 1);
    const mg_str text = runner->source(runner->main);
    char name[128];

    luaL_openlibs(L);
    snprintf(name, sizeof name, "@%s", runner->main);
    if (!text.p)
        return luaL_error(L, "%s is not among the embedded files", runner->main);
    lua_pushcfunction(L, with_traceback);
    if (luaL_loadbufferx(L, text.p, text.n, name, "t") != 0)
        return lua_error(L);
    push_apis(L, runner->apis);
    lua_pushlightuserdata(L, runner);
    lua_pushcclosure(L, source, 1);
    lua_newtable(L);
    for (int i = 0; runner->arguments[i]; i++) {
        lua_pushstring(L, runner->arguments[i]);
        lua_rawseti(L, -2, i + 1);
    }
    if (lua_pcall(L, 3, 1, 2) != 0)
        return lua_error(L);
    lua_pushinteger(L, lua_tointeger(L, -1));
    lua_setfield(L, LUA_REGISTRYINDEX, "status");
    return 0;
}

int mg_runner_run(const mg_runner *runner)
{
    lua_State *L = luaL_newstate();
    int status = 1;

    if (!L) {
        fputs("moongate: no memory for a Lua state\n", stderr);
        return status;
    }
    if (lua_cpcall(L, run_program, (void *)(uintptr_t)runner) == 0) {
        lua_getfield(L, LUA_REGISTRYINDEX, "status");
        status = (int)lua_tointeger(L, -1);
    } else {
        const char *why = lua_tostring(L, -1);
        fprintf(stderr, "moongate: %s\n", why ? why : "the error is not text");
    }
    lua_close(L);
    return status;
}
