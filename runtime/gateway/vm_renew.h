/* vm_renew.h - the Lua state of a worker, as far as memory goes: its collector works between turns, and one that is
 * nearly full, because plugins keep what they should let go, is replaced by a fresh one of the same plan; requests
 * that run go on in the old one. The worker's own loop. */
#ifndef MG_GATEWAY_VM_RENEW_H
#define MG_GATEWAY_VM_RENEW_H

#include "gateway/worker.h"

void mg_vm_renew_init(mg_worker *worker);
void mg_vm_renew_fini(mg_worker *worker);

/* Behind whatever ran in this state: sees to it that its collector goes on, a little each turn, where it has work to
 * do; and asks the builder for another state when this one is the worker's and crowded. On the worker's loop.
 *
 * The plugin that holds most of a crowded state gets no new requests there when it nears its cap, so that the others
 * find room until the fresh state is there. A plugin that fills states again and again, within ten seconds each, is
 * held off the fresh ones for a second, then two, four, up to sixteen. */
void mg_vm_renew_look(mg_worker *worker, mg_vm *vm);

/* Whether a request, or a run, may begin that runs this plugin. Where it may not, *again_ns is when it may. */
bool mg_vm_renew_admits(const mg_worker *worker, uint32_t plugin, uint64_t *again_ns);
/* False in ordinary times: then every plugin is admitted. */
static inline bool mg_vm_renew_is_on(const mg_worker *worker)
{
    return worker->renewal.asked || worker->renewal.off_until_ns ||
           atomic_load_explicit(&worker->renewal.holds, memory_order_relaxed);
}

void mg_vm_renew_beat(mg_worker *worker); /* ten times a second */

/* The state has no room for one more slot. Asks for another as well, ever later where that goes on. */
void mg_vm_renew_ask(mg_worker *worker);

/* Takes a state that nobody runs any more, and frees it off the worker: a full one has a million objects to
 * let go, which takes a tenth of a second. On the worker's loop, or when nothing runs any more. */
void mg_vm_give_back(mg_worker *worker, mg_vm *vm);

#endif
