/* task.h - one coroutine an exchange, from a pool of slots that are used again and again: coroutine, ctx
 * table and C memory. On the thread of the worker whose Lua state it is.
 *
 * The protocol between a slot and its runner (mg_call is moongate.h's, its fields gateway/request/call.h's):
 *
 *   take        a slot that is parked. Its last wait was MG_WAIT_DONE.
 *   fill        the call: x, chain, route_name, .., phase = MG_PHASE_CHAIN, cancelled = NULL.
 *   resume      runs until the coroutine waits, or raises. call->wait says what it waits for
 *               (here without MG_WAIT_):
 *     NEXT        proxy the request; resume when x->answer is an upstream's, or the gateway's 502, 503 or
 *                 504. At most once an exchange, and never behind an answer.
 *     SLEEP       resume after call->wait_s.
 *     HTTP        ctx.http; resume when the answer is there or failed.
 *     BODY        the whole body of call->wait_which; resume when bodies[which] is there. Where it outgrows
 *                 max_bytes set cancelled, answer 413 or 502, resume (it unwinds).
 *     BARRIER     ctx.kv:barrier; resume when durable.
 *     PAUSE       long work; resume in the next turn of the loop that is free.
 *     DONE        every handler has returned, and x->response goes out as they left it. x->answer is
 *                 MG_ANSWER_NONE where no layer answered or called next: a 500.
 *   raised      500, unless call->cancelled is set (then it only unwound); give(task, false).
 *   log         where mg_vm_chain_logs: keep the slot, whether it waits for DONE or has raised, until the
 *               exchange is over, set phase = MG_PHASE_LOG and run it aside: log(ctx) of each layer. Log
 *               handlers cannot wait: a call that would wait raises.
 *   give        parked = true after DONE; else the coroutine is dropped, which needs no resume.
 *
 * A waiting task whose exchange has ended: either drop it, give(task, false), or set call->cancelled to a
 * static word ("client_gone") and resume: the wait raises what no pcall of a plugin catches, so it unwinds
 * to MG_TASK_RAISED at once.
 */
#ifndef MG_SCRIPT_TASK_H
#define MG_SCRIPT_TASK_H

#include "script/vm.h"

typedef struct mg_task mg_task;

typedef enum mg_task_state {
    MG_TASK_YIELDED, /* it waits: the mg_call says for what */
    MG_TASK_RAISED,  /* it died; the error is filled in */
} mg_task_state;

typedef struct mg_task_error {
    int plugin; /* index in the plan, -1 when it is not one's */
    int line;
    char message[256]; /* first line */
    char traceback[2048];
} mg_task_error;

/* A parked slot, new when the pool is empty. NULL when the VM cannot have another (memory). */
mg_task *mg_task_take(mg_vm *vm);
/* The mg_call of this slot: call_bytes, zeroed when the slot was made, the caller's to fill. */
void *mg_task_call(mg_task *task);
mg_vm *mg_task_vm(const mg_task *task);
mg_task_state mg_task_resume(mg_task *task, mg_task_error *error);

/* Runs what belongs to a task beside its coroutine, on the main state: the coroutine may wait meanwhile, or
 * be dead, and nothing here can wait. YIELDED: done. RAISED: it did not come to its end; the slot is as it
 * was. */
mg_task_state mg_task_aside(mg_task *task, mg_aside what, mg_task_error *error);
/* Parked (it waits for MG_WAIT_DONE): back to the pool. Anything else: the coroutine is dropped. */
void mg_task_give(mg_task *task, bool parked);
/* Slots taken and not given back. */
size_t mg_vm_tasks(const mg_vm *vm);

#endif
