/* builder.h - the actor that does what takes long and that nobody else needs to wait for: it reads and compiles
 * documents, and makes and frees Lua states, so that control goes on meanwhile. It works in steps, one message
 * each, so that no work waits for all of another. What it makes nobody sees until a message hands it over.
 *
 * It has a thread of its own; with loops of the caller's it is turned with control's loop. */
#ifndef MG_GATEWAY_BUILDER_H
#define MG_GATEWAY_BUILDER_H

#include "base/rand.h"
#include "config/plan.h"
#include "gateway/worker.h"

typedef struct mg_builder {
    mg_gateway_shared *shared; /* borrowed */
    mg_loop *loop;             /* borrowed */
    mg_mailbox *mailbox;       /* owned; what is posted here runs between begin and end */
    mg_rand seeds;             /* one for each Lua state that is made */
    mg_vm_site site;           /* what its thread runs in Lua: plugins that are loaded */
    _Atomic uint64_t turn_ns;  /* when it went on last, for the watchdog; 0: it has nothing to do */
    _Atomic int32_t stops;     /* not 0: the gateway ends, no Lua state is needed any more */
} mg_builder;

void mg_builder_init(mg_builder *builder, mg_gateway_shared *shared, mg_loop *loop, uint64_t seed);
/* Runs what waits. Nobody turns its loop any more. */
void mg_builder_fini(mg_builder *builder);
/* Around each message, on its thread: for the watchdog. */
void mg_builder_begin(mg_builder *builder);
void mg_builder_end(mg_builder *builder);
/* A Lua state of the plan for a worker, with random numbers that no other has. NULL with err and
 * fault, either of which may be NULL; also once *given_up is not 0, which any thread may make it: plugins that are being
 * loaded are then left where they are. On its thread, or before that runs. */
mg_vm *mg_builder_make_vm(mg_builder *builder, unsigned worker, const mg_plan *plan,
                          _Atomic int32_t *given_up, mg_error *err, mg_fault *fault);

#endif
