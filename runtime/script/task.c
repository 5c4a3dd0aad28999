/* task.c - coroutines that are used again: each runs boot's slot function, which waits for an exchange, runs
 * a chain and waits for the next. */
#include "script/task.h"

#include "base/check.h"
#include "base/mem.h"
#include "script/state.h"

#include <lauxlib.h>
#include <stdio.h>

/* More than this many idle slots are not kept: one slot is about 2 KiB. */
enum { PARKED_MAX = 1024 };

struct mg_task {
    mg_list link; /* in the VM's parked or taken */
    mg_vm *vm;    /* borrowed */
    lua_State *co;
    int ref;      /* anchors co in the registry */
    int slot_ref; /* and what it handed out at its first wait: its slot */
    _Alignas(16) char call[];
};

static mg_task *task_of(mg_list *link)
{
    return mg_container_of(link, mg_task, link);
}

static int start(lua_State *L)
{
    mg_task *task = lua_touserdata(L, 1);

    task->co = lua_newthread(L);
    task->ref = luaL_ref(L, LUA_REGISTRYINDEX);
    lua_rawgeti(L, LUA_REGISTRYINDEX, task->vm->slot_ref);
    lua_xmove(L, task->co, 1);
    lua_pushlightuserdata(task->co, task->call);
    return 0;
}

/* The coroutine has yielded its slot. */
static int keep_slot(lua_State *L)
{
    mg_task *task = lua_touserdata(L, 1);

    lua_settop(task->co, 1);
    lua_xmove(task->co, L, 1);
    task->slot_ref = luaL_ref(L, LUA_REGISTRYINDEX);
    return 0;
}

static int drop(lua_State *L)
{
    const mg_task *task = lua_touserdata(L, 1);

    luaL_unref(L, LUA_REGISTRYINDEX, task->ref);
    luaL_unref(L, LUA_REGISTRYINDEX, task->slot_ref);
    return 0;
}

static void task_free(mg_task *task)
{
    mg_vm *vm = task->vm;

    if (task->ref != LUA_NOREF)
        (void)mg_vm_protected(vm, drop, task, NULL);
    mg_free(task);
}

static mg_task *task_new(mg_vm *vm)
{
    mg_task *task;

    if (!mg_vm_memory_has_room(&vm->memory))
        return NULL;
    task = mg_calloc(1, sizeof(mg_task) + vm->conf.call_bytes);
    task->vm = vm;
    task->ref = task->slot_ref = LUA_NOREF;
    if (!mg_vm_protected(vm, start, task, NULL) || lua_resume(task->co, 1) != LUA_YIELD ||
        !mg_vm_protected(vm, keep_slot, task, NULL)) {
        task_free(task);
        return NULL;
    }
    return task;
}

mg_task *mg_task_take(mg_vm *vm)
{
    mg_list *link = mg_list_pop(&vm->parked);
    mg_task *task;

    if (link) {
        task = task_of(link);
        vm->parked_count--;
    } else if (!(task = task_new(vm))) {
        return NULL;
    }
    mg_list_push(&vm->taken, &task->link);
    vm->taken_count++;
    mg_vm_memory_request(&vm->memory);
    return task;
}

void *mg_task_call(mg_task *task)
{
    return task->call;
}

mg_vm *mg_task_vm(const mg_task *task)
{
    return task->vm;
}

typedef struct fault_args {
    mg_task *task;
    mg_task_error *error;
} fault_args;

/* fault(coroutine, error) -> plugin index, line, message, traceback */
static int describe(lua_State *L)
{
    const fault_args *args = lua_touserdata(L, 1);
    lua_State *co = args->task->co;

    lua_rawgeti(L, LUA_REGISTRYINDEX, args->task->vm->fault_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, args->task->ref);
    lua_xmove(co, L, 1); /* nothing is pushed on a dead coroutine: it could raise there */
    lua_call(L, 2, 4);
    args->error->plugin = (int)lua_tointeger(L, -4);
    args->error->line = (int)lua_tointeger(L, -3);
    snprintf(args->error->message, sizeof(args->error->message), "%s", luaL_optstring(L, -2, ""));
    snprintf(args->error->traceback, sizeof(args->error->traceback), "%s", luaL_optstring(L, -1, ""));
    return 0;
}

/* Of its own: what it needs for messages is large, and not cleared for each resume. */
static mg_task_state died(mg_task *task, int status, mg_task_error *error)
{
    mg_error why = MG_ERROR_INIT;

    *error = (mg_task_error){ .plugin = -1 };
    if (status == 0) /* the slot function loops for ever */
        snprintf(error->message, sizeof(error->message), "the slot of this request ended");
    else if (!mg_vm_protected(task->vm, describe, &(fault_args){ task, error }, &why))
        snprintf(error->message, sizeof(error->message), "%.*s", (int)sizeof(error->message) - 1,
                 why.message);
    return MG_TASK_RAISED;
}

mg_task_state mg_task_resume(mg_task *task, mg_task_error *error)
{
    const mg_vm_site before = mg_vm_enter(task->vm, task->co);
    const int status = lua_resume(task->co, 0);

    mg_vm_leave(task->vm, before);
    return status == LUA_YIELD ? MG_TASK_YIELDED : died(task, status, error);
}

typedef struct aside_args {
    mg_task *task;
    mg_task_error *error;
    mg_aside what;
    bool raised;
} aside_args;

/* aside(slot, what) -> true, or false, plugin index, line, message, traceback */
static int aside(lua_State *L)
{
    aside_args *args = lua_touserdata(L, 1);

    lua_rawgeti(L, LUA_REGISTRYINDEX, args->task->vm->aside_ref);
    lua_rawgeti(L, LUA_REGISTRYINDEX, args->task->slot_ref);
    lua_pushinteger(L, args->what);
    lua_call(L, 2, 5);
    args->raised = !lua_toboolean(L, -5);
    if (args->raised) {
        args->error->plugin = (int)lua_tointeger(L, -4);
        args->error->line = (int)lua_tointeger(L, -3);
        snprintf(args->error->message, sizeof(args->error->message), "%s", luaL_optstring(L, -2, ""));
        snprintf(args->error->traceback, sizeof(args->error->traceback), "%s", luaL_optstring(L, -1, ""));
    }
    return 0;
}

mg_task_state mg_task_aside(mg_task *task, mg_aside what, mg_task_error *error)
{
    aside_args args = { .task = task, .error = error, .what = what };
    mg_error why = MG_ERROR_INIT;

    *error = (mg_task_error){ .plugin = -1 };
    if (!mg_vm_protected(task->vm, aside, &args, &why)) {
        snprintf(error->message, sizeof(error->message), "%.*s", (int)sizeof(error->message) - 1,
                 why.message);
        return MG_TASK_RAISED;
    }
    return args.raised ? MG_TASK_RAISED : MG_TASK_YIELDED;
}

void mg_task_give(mg_task *task, bool parked)
{
    mg_vm *vm = task->vm;

    mg_list_remove(&task->link);
    vm->taken_count--;
    if (!parked || vm->parked_count >= PARKED_MAX) {
        task_free(task);
    } else {
        mg_list_push_front(&vm->parked, &task->link);
        vm->parked_count++;
    }
    mg_vm_memory_request_over(&vm->memory, vm->taken_count == 0);
}

size_t mg_vm_tasks(const mg_vm *vm)
{
    return vm->taken_count;
}

/* Of a closed state. */
void mg_vm_free_tasks(mg_vm *vm)
{
    mg_list *link;

    while ((link = mg_list_pop(&vm->parked)))
        mg_free(task_of(link));
}
