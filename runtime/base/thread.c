/* thread.c - start, join, detach. */
#include "base/thread.h"

#include "base/check.h"
#include "base/mem.h"
#include <string.h>

void mg_thread_signals(sigset_t *set)
{
    static const int left_alone[] = { SIGSEGV, SIGBUS,  SIGILL,  SIGFPE,  SIGABRT, SIGTRAP,
                                      SIGSYS,  SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT };

    sigfillset(set);
    for (size_t i = 0; i < mg_countof(left_alone); i++)
        sigdelset(set, left_alone[i]);
}

static void *run_thread(void *self)
{
    const mg_thread *thread = self;

    (void)pthread_setname_np(pthread_self(), thread->name);
    thread->run(thread->self);
    return NULL;
}

/* A thread has the mask of the thread that starts it. */
static int create(mg_thread *thread, const pthread_attr_t *attributes)
{
    sigset_t blocked, before;

    mg_thread_signals(&blocked);
    MG_CHECK(pthread_sigmask(SIG_SETMASK, &blocked, &before) == 0);
    const int error = pthread_create(&thread->id, attributes, run_thread, thread);
    MG_CHECK(pthread_sigmask(SIG_SETMASK, &before, NULL) == 0);
    return error;
}

mg_result mg_thread_start(mg_thread *thread, const char *name, size_t stack_bytes, void (*run_it)(void *self),
                          void *self, mg_error *err)
{
    pthread_attr_t attributes;

    *thread = (mg_thread){ .run = run_it, .self = self };
    snprintf(thread->name, sizeof thread->name, "%s", name);
    MG_CHECK(pthread_attr_init(&attributes) == 0 && pthread_attr_setstacksize(&attributes, stack_bytes) == 0);
    const int error = create(thread, &attributes);
    pthread_attr_destroy(&attributes);
    thread->runs = error == 0;
    return error == 0 ? MG_OK
                      : mg_fail_errno(err, error,
                                      "cannot start the thread \"%s\": the system has no room for one more "
                                      "(see ulimit -u, and pids.max of its container)",
                                      thread->name);
}

void mg_thread_join(mg_thread *thread)
{
    if (!thread->runs)
        return;
    MG_CHECK(pthread_join(thread->id, NULL) == 0);
    thread->runs = false;
}

void mg_thread_detach(mg_thread *thread)
{
    MG_CHECK(thread->runs && pthread_detach(thread->id) == 0);
    thread->runs = false;
}
