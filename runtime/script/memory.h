/* memory.h - what a Lua state allocates: counted, held against the plugin that made it, and never refused (see
 * mg_memory in moongate.h for why, and for what Lua asks). And when its garbage is collected: Lua's own collector
 * only ever runs here, in steps, so that no turn of a worker waits for a whole cycle of a full state, which takes a
 * tenth of a second. Of the state's thread.
 *
 * A cycle begins when the state has doubled since the last one, or a quarter of the room that this left is used. Its
 * steps are paid for by what is made: at the looks of plugins, and between turns. What the end of
 * one leaves is known to be in use, or to have become garbage during it. */
#ifndef MG_SCRIPT_MEMORY_H
#define MG_SCRIPT_MEMORY_H

#include "moongate.h"
#include "script/spare.h"

#include <lua.h>

typedef struct mg_vm_memory {
    mg_memory shown; /* first: what Lua sees */
    size_t used_bytes, cap_bytes;
    size_t limit_bytes; /* garbage may wait above the cap up to here, while the collector is at work */
    size_t crowd_bytes; /* a cycle that leaves more leaves it nearly full */
    size_t high_bytes;  /* more in use than this is `over` */
    size_t paid_bytes;  /* in use when the collector last ran: what is more is still to be paid for */
    size_t debt_kib;    /* of steps */
    size_t pace;        /* steps for what is made, KiB by KiB */
    uint64_t cycles;    /* begun so far */
    uint64_t
        judge_from; /* number of the first one whose end tells whether it is crowded; 0: it is not in doubt */
    size_t made_bytes;      /* all that was ever made */
    size_t idle_made_bytes; /* of that, before the oldest request that may still run began */
    size_t from_made_bytes; /* the same, as the cycle began */
    bool idle;              /* no request runs */
    bool cycling;           /* one is under way */
    bool suspect;           /* one has left it nearly full, perhaps with what one request holds */
    bool crowded;           /* and so did one behind that request: its plugins hold too much */
    size_t held_count;
    int64_t *held;  /* by plugin, from 1; [0]: nobody's. Owned where there are plugins */
    int64_t nobody; /* what it points to before */
    mg_spare spare;
} mg_vm_memory;

/* Nothing is bounded until the cap is set, and Lua collects as it does by itself. */
void mg_vm_memory_init(mg_vm_memory *memory);
/* From now on a plugin that needs more than the cap is raised at. */
void mg_vm_memory_bound(mg_vm_memory *memory, size_t cap_bytes);
/* It is booted, and serves: from now on only what is here collects. False when it needs more than its cap. */
bool mg_vm_memory_serve(mg_vm_memory *memory, lua_State *L);
void mg_vm_memory_fini(mg_vm_memory *memory); /* of a closed state */
/* The lua_Alloc of a state; `self` is its mg_vm_memory. Ends the process when the machine has no memory. */
void *mg_vm_memory_alloc(void *self, void *old, size_t old_bytes, size_t bytes);
/* Whether one more slot may be made. */
bool mg_vm_memory_has_room(const mg_vm_memory *memory);
/* A request begins; one has ended, and what it held is garbage now: `idle` where none runs any more. */
void mg_vm_memory_request(mg_vm_memory *memory);
void mg_vm_memory_request_over(mg_vm_memory *memory, bool idle);
/* Whether the collector has anything to do before more is made. */
bool mg_vm_memory_wants(const mg_vm_memory *memory);
/* Lets it do so, for about so long. One step may take longer: that of a table with a million values takes 10 ms. */
void mg_vm_memory_tend(mg_vm_memory *memory, lua_State *L, uint64_t max_ns);

/* Whether a crowded state has room for this plugin to make so many bytes: the ones that hold little always find
 * some, the one that holds most does up to a quarter above the cap. */
bool mg_vm_memory_admits(const mg_vm_memory *memory, uint32_t plugin, size_t bytes);
/* The plugin that holds most; -1: none holds anything. */
int mg_vm_memory_holder(const mg_vm_memory *memory);
int64_t mg_vm_memory_held(const mg_vm_memory *memory, uint32_t plugin); /* bytes, with its garbage */

#endif
