/* state.h - what vm.c and task.c share: the Lua state and what its boot handed out. Private to script/. */
#ifndef MG_SCRIPT_STATE_H
#define MG_SCRIPT_STATE_H

#include "base/list.h"
#include "script/vm.h"

#include <lua.h>

struct mg_vm {
    lua_State *L;
    size_t used_bytes, max_bytes; /* of the allocator */
    mg_vm_conf conf;
    mg_vm_plugin *plugins; /* owned; names are anchored in the state */
    size_t plugin_count;
    bool *chain_logs;             /* owned */
    unsigned char *chain_streams; /* owned */
    size_t chain_count;
    bool crowded;            /* the cap was reached: collect when the task that reached it is gone */
    int stream_ref;          /* registry: what runs the filters of a body */
    int slot_ref, fault_ref; /* registry: the body of a slot, what describes an error */
    mg_list parked, taken;   /* of mg_task */
    size_t parked_count, taken_count;
};

/* Runs `fn` protected, on the main state. False when it raised, with what in err (may be NULL); a state that
 * ran into its cap is collected. */
bool mg_vm_protected(mg_vm *vm, lua_CFunction fn, void *argument, mg_error *err);
/* The same for what must succeed at the cap: letting go, describing an error. It may go a little above. */
bool mg_vm_housekeeping(mg_vm *vm, lua_CFunction fn, void *argument, mg_error *err);
/* After an error with this status: collects what a state at its cap can spare. */
void mg_vm_relieve(mg_vm *vm, int status);
void mg_vm_free_tasks(mg_vm *vm);

#endif
