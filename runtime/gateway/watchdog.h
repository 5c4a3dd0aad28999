/* watchdog.h - a thread that looks whether the others go on. One that stands still is told in the log, with
 * the plugin and the line where it does; /livez says it too. A worker that does not come back ends the
 * process, so that whoever runs it starts it again: half of its connections would wait for nothing.
 *
 * What is watched hands a number over that differs from look to look. Nothing else is asked of it, and it
 * never waits. */
#ifndef MG_GATEWAY_WATCHDOG_H
#define MG_GATEWAY_WATCHDOG_H

#include "base/log.h"
#include "base/thread.h"
#include "script/vm.h"

typedef struct mg_watchdog mg_watchdog;

enum {
    MG_WATCH_LOOK_MS = 250,
    MG_WATCH_STILL_MS = 2000, /* so long without a beat is told */
    MG_WATCH_END_MS = 30000,  /* a worker: the process ends */
};

typedef enum mg_watch_kind {
    MG_WATCH_WORKER,
    MG_WATCH_CONTROL,
    MG_WATCH_BUILDER,
    MG_WATCH_LOG,
    MG_WATCH_STATE,
    MG_WATCH_KINDS
} mg_watch_kind;
extern const char *const mg_watch_names[MG_WATCH_KINDS]; /* "worker", "control", "builder", "log", "state" */

typedef struct mg_watched {
    mg_watch_kind kind;
    unsigned index; /* of a worker; of a store (mg_flush_store) */
    /* Any thread: a number that changes while `self` (borrowed) goes on; 0: it has nothing to do. */
    uint64_t (*beat)(const void *self);
    const void *self;
    pthread_t thread;
    const mg_vm_site *site; /* borrowed: what that thread runs in Lua; NULL: nothing, or nobody may ask it */
} mg_watched;

/* A beat that is a number: `self` is an _Atomic uint64_t. */
uint64_t mg_watchdog_number(const void *self);

/* `signal` is one that nothing else in the process uses: a thread that stands still is asked for its line by
 * it. 0: no signal, and no line. `end` is called when the process is to end; NULL: abort(). Log and clock are
 * borrowed. */
mg_watchdog *mg_watchdog_new(mg_log *log, const mg_clock *clock, int signal, void (*end)(void));
/* All before start. */
void mg_watchdog_watch(mg_watchdog *dog, const mg_watched *watched);
MG_MUST_USE mg_result mg_watchdog_start(mg_watchdog *dog, mg_error *err);
/* Ends the thread. While it runs, every thread that is watched may have ended, but none is joined. */
void mg_watchdog_stop(mg_watchdog *dog);
void mg_watchdog_free(mg_watchdog *dog);

/* The process ends anyway: no worker that hangs ends it before. Any thread; NULL: nothing. */
void mg_watchdog_spare(mg_watchdog *dog);
/* On a thread that is watched, as it begins: lets the signal in. NULL: nothing. */
void mg_watchdog_hear(const mg_watchdog *dog);
/* One look at all. The thread does so every MG_WATCH_LOOK_MS; without a thread, whoever has a clock. */
void mg_watchdog_look(mg_watchdog *dog);
/* A line for each that stands still. Any thread; NULL: none. */
void mg_watchdog_write(mg_watchdog *dog, mg_text *out);
/* How often one of that kind has been told. Any thread. */
uint64_t mg_watchdog_hangs(mg_watchdog *dog, mg_watch_kind kind);

#endif
