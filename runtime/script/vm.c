/* vm.c - a Lua state with an accounting allocator, booted by lua/moongate/worker/boot.lua.
 *
 * LuaJIT raises by unwinding, so nothing here may push or call outside lua_cpcall, lua_pcall or lua_resume:
 * what nobody catches ends the process. */
#include "script/vm.h"

#include "base/check.h"
#include "base/mem.h"
#include "script/state.h"

#include <lauxlib.h>
#include <lualib.h>
#include <stdio.h>
#include <stdlib.h>

static const char BOOT[] = "lua/moongate/worker/boot.lua";
enum { DEFAULT_CAP_BYTES = 64 << 20 };

static int panic(lua_State *L)
{
    (void)L;
    MG_UNREACHABLE(); /* every entry is protected */
}

bool mg_vm_protected(mg_vm *vm, lua_CFunction fn, void *argument, mg_error *err)
{
    const mg_vm_site before = mg_vm_enter(vm, vm->L);
    const int status = lua_cpcall(vm->L, fn, argument);

    mg_vm_leave(vm, before);
    if (status == 0)
        return true;
    (void)mg_fail(err, MG_ERR_SCRIPT, "%s",
                  lua_type(vm->L, -1) == LUA_TSTRING ? lua_tostring(vm->L, -1) : "the error is not text");
    lua_settop(vm->L, 0);
    return false;
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
static double number_of(lua_State *L, const char *name)
{
    double number;

    lua_getfield(L, -1, name);
    number = lua_tonumber(L, -1);
    lua_pop(L, 1);
    return number;
}

static size_t bytes_of(lua_State *L, const char *name)
{
    const double bytes = number_of(L, name);

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
        vm->plugins[i].place = text_of(L, "place");
        vm->plugins[i].request_body_bytes = bytes_of(L, "request_body_bytes");
        vm->plugins[i].response_body_bytes = bytes_of(L, "response_body_bytes");
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
}

static void read_everies(lua_State *L, mg_vm *vm)
{
    lua_getfield(L, -1, "everies");
    vm->every_count = lua_istable(L, -1) ? lua_objlen(L, -1) : 0;
    vm->everies = MG_NEW_N(mg_vm_every, vm->every_count + 1);
    for (size_t i = 0; i < vm->every_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        vm->everies[i] = (mg_vm_every){ .plugin = (uint32_t)number_of(L, "plugin"),
                                        .seconds = number_of(L, "seconds"),
                                        .timeout_s = number_of(L, "timeout"),
                                        .where = text_of(L, "where") };
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
    mg_fault *fault;
    bool fits; /* out */
} boot_args;

void mg_fault_set(mg_fault *fault, uint32_t plugin, const char *file, uint32_t file_n, uint32_t line,
                  const char *message, uint32_t message_n)
{
    fault->plugin = (int)plugin;
    fault->line = (int)line;
    snprintf(fault->file, sizeof fault->file, "%.*s", (int)file_n, file);
    snprintf(fault->message, sizeof fault->message, "%.*s", (int)message_n, message);
}

/* What no plugin did: there is the message alone. */
static void complete_fault(mg_fault *fault, const char *message)
{
    if (fault->plugin < 0)
        snprintf(fault->message, sizeof fault->message, "%s", message);
}

static int boot(lua_State *L)
{
    boot_args *args = lua_touserdata(L, 1);
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
    lua_pushlightuserdata(L, &vm->memory.shown);
    lua_pushlightuserdata(L, args->fault);
    lua_call(L, 8, 1);
    luaL_checktype(L, -1, LUA_TTABLE);
    read_plugins(L, vm);
    read_everies(L, vm);
    read_chains(L, vm);
    lua_getfield(L, -1, "streams");
    vm->chain_streams = MG_NEW_N(unsigned char, vm->chain_count + 1);
    for (size_t i = 0; i < vm->chain_count; i++) {
        lua_rawgeti(L, -1, (int)i + 1);
        vm->chain_streams[i] = (unsigned char)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    vm->aside_ref = ref_of(L, "aside");
    vm->slot_ref = ref_of(L, "slot");
    vm->fault_ref = ref_of(L, "fault");
    (void)luaL_ref(L, LUA_REGISTRYINDEX); /* keeps the names alive */
    args->fits = mg_vm_memory_serve(&vm->memory, L);
    return 0;
}

mg_vm *mg_vm_new(const mg_vm_conf *conf, mg_str plan, mg_error *err)
{
    mg_vm *vm = MG_NEW(mg_vm);
    mg_fault own, *fault = conf->fault ? conf->fault : &own;
    mg_error failure = MG_ERROR_INIT;
    boot_args args = { vm, plan, fault, false };

    *fault = (mg_fault){ .plugin = -1 };
    err = err ? err : &failure;
    vm->conf = *conf;
    vm->site = conf->maker;
    mg_vm_memory_init(&vm->memory);
    mg_list_init(&vm->parked);
    mg_list_init(&vm->taken);
    vm->L = lua_newstate(mg_vm_memory_alloc, &vm->memory);
    if (vm->L)
        lua_atpanic(vm->L, panic);
    if (!vm->L || !mg_vm_protected(vm, open_libraries, NULL, err))
        goto failed;
    const volatile int32_t *never = vm->memory.shown.given_up;
    if (conf->given_up)
        vm->memory.shown.given_up = (const volatile int32_t *)conf->given_up;
    mg_vm_memory_bound(&vm->memory, conf->memory_max ? conf->memory_max : DEFAULT_CAP_BYTES);
    if (!mg_vm_protected(vm, boot, &args, err))
        goto failed;
    if (args.fits) {
        vm->memory.shown.given_up = never;
        vm->site = conf->runner;
        return vm;
    }
    (void)mg_fail(err, MG_ERR_LIMIT, "plugins need more than the %zu KiB of memory a Lua state may have",
                  vm->memory.cap_bytes >> 10);
failed:
    complete_fault(fault, err->message);
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
    mg_vm_memory_fini(&vm->memory);
    mg_free(vm->plugins);
    mg_free(vm->everies);
    mg_free(vm->chain_logs);
    mg_free(vm->chain_streams);
    mg_free(vm);
}

size_t mg_vm_used_bytes(const mg_vm *vm)
{
    return vm->memory.used_bytes;
}

int mg_vm_holder(const mg_vm *vm, size_t *bytes)
{
    const int plugin = mg_vm_memory_holder(&vm->memory);

    *bytes = plugin < 0 ? 0 : (size_t)mg_vm_memory_held(&vm->memory, (uint32_t)plugin);
    return plugin;
}

bool mg_vm_is_crowded(const mg_vm *vm)
{
    return vm->memory.crowded;
}

bool mg_vm_admits(const mg_vm *vm, uint32_t plugin)
{
    return mg_vm_memory_admits(&vm->memory, plugin, vm->memory.cap_bytes / 32);
}

bool mg_vm_wants_collector(const mg_vm *vm)
{
    return mg_vm_memory_wants(&vm->memory);
}

void mg_vm_collect(mg_vm *vm, uint64_t max_ns)
{
    mg_vm_memory_tend(&vm->memory, vm->L, max_ns);
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

size_t mg_vm_every_count(const mg_vm *vm)
{
    return vm->every_count;
}

const mg_vm_every *mg_vm_every_at(const mg_vm *vm, size_t index)
{
    MG_CHECK(index < vm->every_count);
    return &vm->everies[index];
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
