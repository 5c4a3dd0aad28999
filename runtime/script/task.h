/* task.h - one coroutine an exchange, from a pool of slots: coroutine, ctx table and C memory, used again and again. */
#ifndef MG_SCRIPT_TASK_H
#define MG_SCRIPT_TASK_H

#include "script/vm.h"

typedef struct mg_task mg_task;

typedef enum mg_task_state {
    MG_TASK_YIELDED, /* it waits: the mg_call says for what */
    MG_TASK_RAISED,  /* it died; the error is filled in */
} mg_task_state;

typedef struct mg_task_error {
    int plugin;        /* index in the plan, -1 when it is not one's */
    int line;
    char message[256]; /* first line */
    char traceback[2048];
} mg_task_error;

/* A parked slot, new when the pool is empty. NULL when the VM cannot have another (memory). */
mg_task *mg_task_take(mg_vm *vm);
/* The mg_call of this slot: call_bytes, zeroed when the slot was made, the caller's to fill. */
void *mg_task_call(mg_task *task);
mg_task_state mg_task_resume(mg_task *task, mg_task_error *error);
/* Parked (it waits for MG_WAIT_DONE): back to the pool. Anything else: the coroutine is dropped. */
void mg_task_give(mg_task *task, bool parked);
/* Slots taken and not given back. */
size_t mg_vm_tasks(const mg_vm *vm);

#endif
