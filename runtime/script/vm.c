/* vm.c - a Lua state with an accounting allocator, booted by lua/moongate/worker/boot.lua.
 *
 * LuaJIT raises by unwinding, so nothing here may push, allocate or call outside lua_cpcall, lua_pcall or
 * lua_resume: at the cap even an empty string can raise, and what nobody catches ends the process. */
#include "script/vm.h"

#include "base/check.h"
#include "base/mem.h"
#include "script/state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static const char BOOT[] = "lua/moongate/worker/boot.lua";
enum { DEFAULT_MAX_BYTES = 64 << 20, HOUSEKEEPING_BYTES = 256 << 10 };

static void *account(void *self, void *old, size_t old_bytes, size_t bytes)
{
    mg_vm *vm = self;
    void *p = NULL;

    if (bytes > old_bytes && vm->used_bytes + (bytes - old_bytes) > vm->max_bytes)
        return NULL;
    if (bytes == 0)
        free(old);
    else if (!(p = realloc(old, bytes)))
        return NULL;
    vm->used_bytes += bytes - old_bytes;
    return p;
}

static int panic(lua_State *L)
{
    (void)L;
    MG_UNREACHABLE(); /* every entry is protected */
}

static int collect(lua_State *L)
{
    lua_gc(L, LUA_GCCOLLECT, 0);
    return 0;
}

void mg_vm_relieve(mg_vm *vm, int status)
{
    if (status != LUA_ERRMEM)
        return;
    vm->crowded = true;
    vm->max_bytes += HOUSEKEEPING_BYTES;
    if (lua_cpcall(vm->L, collect, NULL) != 0)
        lua_settop(vm->L, 0);
    vm->max_bytes -= HOUSEKEEPING_BYTES;
}

static void describe(lua_State *L, const mg_vm *vm, int status, mg_error *err)
{
    const char *text = lua_type(L, -1) == LUA_TSTRING ? lua_tostring(L, -1) : "the error is no text";

    if (status == LUA_ERRMEM)
        (void)mg_fail(err, MG_ERR_LIMIT, "plugins need more than the %zu KiB of memory a Lua state may have",
                      vm->max_bytes >> 10);
    else if (mg_str_ends(mg_str_of(text), MG_STR(": not enough memory"))) /* Lua had room to say whose */
        (void)mg_fail(err, MG_ERR_LIMIT, "%s: a Lua state may have %zu KiB", text, vm->max_bytes >> 10);
    else
        (void)mg_fail(err, MG_ERR_SCRIPT, "%s", text);
}

bool mg_vm_protected(mg_vm *vm, lua_CFunction fn, void *argument, mg_error *err)
{
    const int status = lua_cpcall(vm->L, fn, argument);

    if (status == 0)
        return true;
    describe(vm->L, vm, status, err);
    lua_settop(vm->L, 0);
    mg_vm_relieve(vm, status);
    return false;
}

bool mg_vm_housekeeping(mg_vm *vm, lua_CFunction fn, void *argument, mg_error *err)
{
    bool ok;

    vm->max_bytes += HOUSEKEEPING_BYTES;
    ok = mg_vm_protected(vm, fn, argument, err);
    vm->max_bytes -= HOUSEKEEPING_BYTES;
    return ok;
}

/* The Lua side's way to embedded files: text, or nil. */
static int source(lua_State *L)
{
    const mg_vm *vm = lua_touserdata(L, lua_upvalueindex(1));
    const mg_str text = vm->conf.source(luaL_checkstring(L, 1));

    if (!text.p)
        return 0;
    lua_pushlstring(L, text.p, text.n);
    return 1;
}

/* What boot returned lies on top: { plugins = {..}, logs = {..}, slot = fn, fault = fn }. */
static size_t bytes_of(lua_State *L, const char *name)
{
    double bytes;

    lua_getfield(L, -1, name);
    bytes = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return bytes > 0 ? (size_t)bytes : 0;
}

static const char *text_of(lua_State *L, const char *name)
{
    const char *text;

    lua_getfield(L, -1, name);
    text = lua_tostring(L, -1);
    lua_pop(L, 1);
    return text ? text : "";
}

static void read_plugins(lua_State *L, mg_vm *vm)
{
    lua_getfield(L, -1, "plugins");
    vm->plugin_count = lua_objlen(L, -1);
    vm->plugins = MG_NEW_N(mg_vm_plugin, vm->plugin_count + 1);
    for (size_t i = 0; i < vm->plugin_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        lua_getfield(L, -1, "has_log");
        vm->plugins[i].has_log = lua_toboolean(L, -1);
        lua_pop(L, 1);
        vm->plugins[i].name = text_of(L, "name");
        vm->plugins[i].version = text_of(L, "version");
        vm->plugins[i].request_body_bytes = bytes_of(L, "request_body_bytes");
        vm->plugins[i].response_body_bytes = bytes_of(L, "response_body_bytes");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_chains(lua_State *L, mg_vm *vm)
{
    lua_getfield(L, -1, "logs");
    vm->chain_count = lua_objlen(L, -1);
    vm->chain_logs = MG_NEW_N(bool, vm->chain_count + 1);
    for (size_t i = 0; i < vm->chain_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        vm->chain_logs[i] = lua_toboolean(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static int ref_of(lua_State *L, const char *name)
{
    lua_getfield(L, -1, name);
    luaL_checktype(L, -1, LUA_TFUNCTION);
    return luaL_ref(L, LUA_REGISTRYINDEX);
}

static int open_libraries(lua_State *L)
{
    luaL_openlibs(L);
    lua_getglobal(L, "require"); /* this library is opened on demand only */
    lua_pushliteral(L, "ffi");
    lua_call(L, 1, 0);
    return 0;
}

typedef struct boot_args {
    mg_vm *vm;
    mg_str plan;
} boot_args;

static int boot(lua_State *L)
{
    const boot_args *args = lua_touserdata(L, 1);
    mg_vm *vm = args->vm;
    const mg_str text = vm->conf.source(BOOT);
    char seed[24];

    if (!text.p)
        return luaL_error(L, "%s is not among the embedded files", BOOT);
    if (luaL_loadbufferx(L, text.p, text.n, "@lua/moongate/worker/boot.lua", "t") != 0)
        return lua_error(L);
    snprintf(seed, sizeof(seed), "%llu",
             (unsigned long long)(vm->conf.seed & 0xfffffffffffffULL)); /* a double's */
    lua_pushlightuserdata(L, (void *)(uintptr_t)vm->conf.api);
    lua_pushstring(L, vm->conf.abi_hash);
    lua_pushlightuserdata(L, vm->conf.host);
    lua_pushlstring(L, args->plan.p, args->plan.n);
    lua_pushstring(L, seed);
    lua_pushlightuserdata(L, vm);
    lua_pushcclosure(L, source, 1);
    lua_call(L, 6, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    read_plugins(L, vm);
    read_chains(L, vm);
    lua_getfield(L, -1, "streams");
    vm->chain_streams = MG_NEW_N(unsigned char, vm->chain_count + 1);
    for (size_t i = 0; i < vm->chain_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        vm->chain_streams[i] = (unsigned char)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    vm->stream_ref = ref_of(L, "stream");
    vm->slot_ref = ref_of(L, "slot");
    vm->fault_ref = ref_of(L, "fault");
    (void)luaL_ref(L, LUA_REGISTRYINDEX); /* keeps the names alive */
    lua_gc(L, LUA_GCCOLLECT, 0);          /* what loading left behind */
    return 0;
}

mg_vm *mg_vm_new(const mg_vm_conf *conf, mg_str plan, mg_error *err)
{
    mg_vm *vm = MG_NEW(mg_vm);

    vm->conf = *conf;
    vm->max_bytes = SIZE_MAX; /* LuaJIT crashes or leaks when it is refused while it makes a state */
    mg_list_init(&vm->parked);
    mg_list_init(&vm->taken);
    vm->L = lua_newstate(account, vm);
    if (vm->L)
        lua_atpanic(vm->L, panic);
    if (!vm->L || !mg_vm_protected(vm, open_libraries, NULL, err))
        goto failed;
    vm->max_bytes = conf->memory_max ? conf->memory_max : DEFAULT_MAX_BYTES;
    if (mg_vm_protected(vm, boot, &(boot_args){ vm, plan }, err))
        return vm;
failed:
    mg_vm_free(vm);
    return NULL;
}

void mg_vm_free(mg_vm *vm)
{
    if (!vm)
        return;
    MG_CHECK(vm->taken_count == 0); /* whoever runs tasks ends them first */
    if (vm->L)
        lua_close(vm->L);
    mg_vm_free_tasks(vm);
    mg_free(vm->plugins);
    mg_free(vm->chain_logs);
    mg_free(vm->chain_streams);
    mg_free(vm);
}

size_t mg_vm_memory(const mg_vm *vm)
{
    return vm->used_bytes;
}

size_t mg_vm_plugin_count(const mg_vm *vm)
{
    return vm->plugin_count;
}

const mg_vm_plugin *mg_vm_plugin_at(const mg_vm *vm, size_t index)
{
    MG_CHECK(index < vm->plugin_count);
    return &vm->plugins[index];
}

bool mg_vm_chain_logs(const mg_vm *vm, size_t chain)
{
    MG_CHECK(chain < vm->chain_count);
    return vm->chain_logs[chain];
}

unsigned mg_vm_chain_streams(const mg_vm *vm, size_t chain)
{
    MG_CHECK(chain < vm->chain_count);
    return vm->chain_streams[chain];
}
