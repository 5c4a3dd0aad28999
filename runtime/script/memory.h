/* memory.h - what a Lua state allocates: counted, held against the plugin that runs, and never refused (see
 * mg_memory in moongate.h for why, and for what Lua asks). Of the state's thread. */
#ifndef MG_SCRIPT_MEMORY_H
#define MG_SCRIPT_MEMORY_H

#include "moongate.h"
#include "script/spare.h"

#include <lua.h>

typedef struct mg_vm_memory {
    mg_memory shown; /* first: what Lua sees */
    size_t used_bytes, cap_bytes;
    size_t high_bytes; /* more in use than this is `over` */
    size_t left_bytes; /* what the last full collection left */
    int64_t *held;     /* owned: by plugin */
    size_t held_count;
    mg_spare spare;
    bool suspect; /* a full collection left it nearly full, perhaps with what one request holds */
    bool crowded; /* and so did one behind that request: its plugins hold too much */
} mg_vm_memory;

/* Nothing is bounded until the cap is set. */
void mg_vm_memory_init(mg_vm_memory *memory);
void mg_vm_memory_bound(mg_vm_memory *memory, size_t cap_bytes);
void mg_vm_memory_fini(mg_vm_memory *memory); /* of a closed state */
/* The lua_Alloc of a state; `self` is its mg_vm_memory. Ends the process when the machine has no memory. */
void *mg_vm_memory_alloc(void *self, void *old, size_t old_bytes, size_t bytes);
/* Collects when that is due. False when more than the cap is in use all the same. */
bool mg_vm_memory_relieve(mg_vm_memory *memory, lua_State *L);
/* Behind a request: finds out whether a suspect state is crowded. */
void mg_vm_memory_judge(mg_vm_memory *memory, lua_State *L);

/* The plugin that holds most; -1: none holds anything. */
int mg_vm_memory_holder(const mg_vm_memory *memory);

#endif
