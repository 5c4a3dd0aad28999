/* Any bytes as the source of a plugin. What Lua compiles, it still compiles once checks are in it, on as many
 * lines; and the room that is asked for is the room that is used. */
#include "script/weave.h"
#include "base/check.h"
#include "base/mem.h"

#include <lauxlib.h>

static size_t lines(const char *p, size_t n)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++)
        count += p[i] == '\n';
    return count;
}

static bool compiles(lua_State *L, const char *text, size_t n)
{
    const bool ok = luaL_loadbufferx(L, text, n, "=weave", "t") == 0;
    /* A check adds a little; what is at one of Lua's limits may be past it then. */
    const char *problem = ok ? "" : lua_tostring(L, -1);
    /* A check adds a little; what is at one of Lua's limits may be past it then. */
    const bool limit = strstr(problem, "more than") || strstr(problem, "too many") ||
                       strstr(problem, "too long") || strstr(problem, "too complex");

    lua_settop(L, 0);
    return ok || limit;
}

static void weave(lua_State *L, const char *source, size_t n, int how, bool compiled)
{
    char error[256];
    const int32_t bytes = mg_weave(source, (uint32_t)n, how, NULL, 0, error);
    char *out;

    if (bytes < 0) {
        MG_CHECK(strlen(error) < sizeof(error));
        MG_CHECK(!compiled || strstr(error, "are the gateway's"));
        return;
    }
    out = mg_alloc((size_t)bytes + 1);
    MG_CHECK(mg_weave(source, (uint32_t)n, how, out, (uint32_t)bytes, error) == bytes);
    MG_CHECK(lines(out, (size_t)bytes) == lines(source, n));
    MG_CHECK(!compiled || compiles(L, out, (size_t)bytes));
    mg_free(out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *source = (const char *)data;
    lua_State *L;
    bool compiled;

    if (size > 1 << 16)
        return 0;
    L = luaL_newstate();
    MG_CHECK(L);
    compiled = size > 0 && data[0] != 27 && luaL_loadbufferx(L, source, size, "=plain", "t") == 0;
    lua_settop(L, 0);
    weave(L, source, size, MG_WEAVE_COUNTER, compiled);
    weave(L, source, size, MG_WEAVE_CALL, compiled);
    lua_close(L);
    return 0;
}
