/* vm_renew.h - a worker whose Lua state is nearly full, because plugins keep what they should let go, takes a
 * fresh state of the same plan; requests that run go on in the old one. */
#ifndef MG_GATEWAY_VM_RENEW_H
#define MG_GATEWAY_VM_RENEW_H

#include "gateway/worker.h"

/* The worker's state is crowded: asks the builder for another one. Harmless while one is under way.
 * States that fill up within ten seconds are replaced ever later: one second behind the last one, two, four,
 * up to sixteen; meanwhile requests with plugins fail, and /readyz says so. On the worker's loop. */
void mg_vm_renew_ask(mg_worker *worker);

/* Takes a state that nobody runs any more, and frees it off the worker: a full one has a million objects to
 * let go, which takes a tenth of a second. On the worker's loop, or when nothing runs any more. */
void mg_vm_give_back(mg_worker *worker, mg_vm *vm);

#endif
