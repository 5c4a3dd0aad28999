/* state.h - what vm.c and task.c share: the Lua state and what its boot handed out. Private to script/. The
 * thread that runs the state now. */
#ifndef MG_SCRIPT_STATE_H
#define MG_SCRIPT_STATE_H

#include "base/list.h"
#include "script/memory.h"
#include "script/vm.h"

#include <lua.h>

struct mg_vm {
    lua_State *L;
    mg_vm_memory memory;
    mg_vm_conf conf;
    mg_vm_site *site;      /* borrowed: of the thread that runs it now; NULL: nobody looks */
    mg_vm_plugin *plugins; /* owned; names are anchored in the state */
    size_t plugin_count;
    mg_vm_every *everies; /* owned; texts are anchored in the state */
    size_t every_count;
    bool *chain_logs;             /* owned */
    unsigned char *chain_streams; /* owned */
    size_t chain_count;
    int aside_ref;           /* registry: what runs filters and log handlers */
    int slot_ref, fault_ref; /* registry: the body of a slot, what describes an error */
    mg_list parked, taken;   /* of mg_task */
    size_t parked_count, taken_count;
};

/* The thread runs L of this state from now on, until mg_vm_leave, which is given what this returned. */
static inline mg_vm_site mg_vm_enter(mg_vm *vm, lua_State *L)
{
    mg_vm_site before = { NULL, NULL };

    if (!vm->site)
        return before;
    before = *vm->site;
    vm->site->vm = vm;
    vm->site->L = L;
    return before;
}

static inline void mg_vm_leave(mg_vm *vm, mg_vm_site before)
{
    if (vm->site)
        *vm->site = before;
}

/* Runs `fn` protected, on the main state. False when it raised, with what in err (may be NULL). */
bool mg_vm_protected(mg_vm *vm, lua_CFunction fn, void *argument, mg_error *err);
void mg_vm_free_tasks(mg_vm *vm);

#endif
