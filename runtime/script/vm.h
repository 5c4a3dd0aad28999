/* vm.h - one Lua state: a function of its plan (text that names plugins, their sources, configurations and
 * chains). Made and freed on any thread, used by one at a time. Memory is accounted and capped
 * (script/memory.h); every entry is protected. */
#ifndef MG_SCRIPT_VM_H
#define MG_SCRIPT_VM_H

#include "base/err.h"
#include "base/log.h"

#include <stdatomic.h>
#include <stdint.h>

typedef struct mg_vm mg_vm;

/* What one thread runs in Lua at this moment, if anything; written by that thread alone. */
typedef struct mg_vm_site {
    mg_vm *volatile vm;
    struct lua_State *volatile L; /* NULL: it is outside of Lua */
} mg_vm_site;

typedef struct mg_vm_conf {
    const void *api;      /* borrowed: the table of functions (generated; see base/abi.c) */
    const char *abi_hash; /* borrowed: compared with the Lua side's */
    void *host;           /* borrowed: mg_host of moongate.h, handed to Lua as it is */
    mg_str (*source)(
        const char *name); /* embedded files: "lua/moongate/worker/boot.lua"; {NULL} when absent */
    size_t call_bytes;     /* of the mg_call that each slot carries */
    size_t memory_max;     /* bytes; 0: 64 MiB */
    uint64_t seed;         /* of math.random */
    mg_log *log;           /* borrowed */
    mg_fault *fault;       /* borrowed: what a plugin did wrong, where mg_vm_new fails; NULL: nobody asks */
    _Atomic int32_t
        *given_up;      /* borrowed while it is made: not 0, nobody wants it any more; NULL: somebody does */
    mg_vm_site *maker;  /* borrowed: of the thread that makes it; NULL: nobody looks */
    mg_vm_site *runner; /* borrowed: of the thread that runs it then; NULL: nobody looks */
} mg_vm_conf;

/* Boots the SDK and runs the plan: loads every plugin, calls new(conf), composes the chains. NULL with err,
 * whose message names plugin, file and line, and with conf->fault, which has them apart. */
mg_vm *mg_vm_new(const mg_vm_conf *conf, mg_str plan, mg_error *err);
void mg_vm_free(mg_vm *vm);
size_t mg_vm_used_bytes(const mg_vm *vm); /* bytes in use */
/* Whether its plugins hold so much that full collections leave little room: it is to be replaced. */
bool mg_vm_is_crowded(const mg_vm *vm);
/* Whether it has room for a request that runs this plugin. One that is crowded has none for those that hold most. */
bool mg_vm_admits(const mg_vm *vm, uint32_t plugin);
/* Whether its collector has work to do between turns, and lets it work for about so long. Not while it runs. */
bool mg_vm_wants_collector(const mg_vm *vm);
void mg_vm_collect(mg_vm *vm, uint64_t max_ns);
/* The plugin that holds most memory, by its index, and how much; -1: none holds any. */
int mg_vm_holder(const mg_vm *vm, size_t *bytes);

/* What the plan's plugins and chains turned out to be, once booted. */
size_t mg_vm_plugin_count(const mg_vm *vm);
typedef struct mg_vm_plugin {
    const char *name, *version; /* the VM's */
    const char *place;          /* the VM's: where its handler begins, "plugins/own/plugin.lua:3" */
    bool has_log;
    size_t request_body_bytes; /* what its `body` declares to buffer, at most; 0: nothing */
    size_t response_body_bytes;
} mg_vm_plugin;
const mg_vm_plugin *mg_vm_plugin_at(const mg_vm *vm, size_t index);
/* What its plugins gave to mg.every, in that order. */
typedef struct mg_vm_every {
    uint32_t plugin;   /* by its place in the plan */
    double seconds;    /* between two runs */
    double timeout_s;  /* of a run */
    const char *where; /* of the function, for messages: "plugins/ship/plugin.lua:12"; the VM's */
} mg_vm_every;
size_t mg_vm_every_count(const mg_vm *vm);
const mg_vm_every *mg_vm_every_at(const mg_vm *vm, size_t index);
/* True when some layer of this chain has a log handler: the slot is then kept to the end. */
bool mg_vm_chain_logs(const mg_vm *vm, size_t chain);
/* Which bodies pass through plugins of this chain piece by piece: bit 0 the request's, bit 1 the response's.
 */
unsigned mg_vm_chain_streams(const mg_vm *vm, size_t chain);

#endif
