/* thread.h - the one place that starts threads: each has a name that top and gdb show, a stack whose size does not
 * depend on `ulimit -s`, and no signals. Any thread may start one. */
#ifndef MG_BASE_THREAD_H
#define MG_BASE_THREAD_H

#include "base/err.h"
#include <pthread.h>
#include <signal.h>

enum {
    MG_THREAD_NAME_MAX = 16, /* what the kernel keeps, its NUL included */
};

#define MG_THREAD_STACK_SMALL ((size_t)1 << 20) /* for loops that call little */
#define MG_THREAD_STACK       ((size_t)8 << 20) /* for what runs Lua, or reads documents */

/* The starter's, at one address until it is joined. */
typedef struct mg_thread {
    pthread_t id;
    char name[MG_THREAD_NAME_MAX];
    void (*run)(void *self);
    void *self;
    bool runs; /* it was started, and is not joined; the starter's to read */
} mg_thread;

/* Runs `run(self)` on a new thread, with every signal blocked that mg_thread_signals names. A name past the
 * kernel's bound is cut. MG_ERR_IO where the system has no thread left or no memory for `stack_bytes`. */
MG_MUST_USE mg_result mg_thread_start(mg_thread *thread, const char *name, size_t stack_bytes,
                                      void (*run)(void *self), void *self, mg_error *err);
/* Waits for its end. Nothing when it does not run. */
void mg_thread_join(mg_thread *thread);
/* Nobody will join it: what it uses is left to it until the process ends. */
void mg_thread_detach(mg_thread *thread);

/* Every signal but those of a fault of ours, and those that stop a job and let it go on. */
void mg_thread_signals(sigset_t *set);

#endif
