/* gateway.h - a whole gateway: workers, control, what they share. Several may live in one process; nothing is
 * global. The thread that made the gateway, except where any thread is named. */
#ifndef MG_GATEWAY_GATEWAY_H
#define MG_GATEWAY_GATEWAY_H

#include "base/log_writer.h"
#include "config/config.h"
#include "net/resolver.h"

typedef struct mg_gateway mg_gateway;

typedef struct mg_gateway_options {
    mg_log *log;            /* borrowed; NULL: no log */
    bool log_level_follows; /* each configuration that is published sets the level of `log` */
    /* Borrowed: writes the access log. NULL: no access log, whatever the configuration says. */
    mg_log_writer *log_writer;
    const mg_clock *clock; /* borrowed; NULL: the real one */
    uint64_t seed;         /* 0: from the system */
    /* Loops of the caller's, for a gateway that runs whole on a simulated world: [0] is control's, then one a
     * worker, the last is the flusher's. NULL: real loops, each on a thread of its own. With `loops` nothing
     * waits but for the disk, and the caller turns them. */
    mg_loop **loops;
    unsigned loop_count;
    /* With loops of its own, a thread watches the others (gateway/watchdog.h); this is a signal that nothing
     * else in the process uses, blocked when the gateway starts, by which it finds the line of a plugin that
     * does not come back. 0: it is not found, and no signal is handled. */
    int hang_signal;
    mg_resolver *resolver; /* borrowed, of loops[0]; NULL: the system's names */
    const char *boot_id;   /* borrowed; NULL: this machine's */
    /* Reads the configuration again, for reload; NULL when it cannot be. The report gets what is wrong. */
    mg_config *(*read_config)(void *self, mg_report *report);
    void *self;
} mg_gateway_options;

/* Takes the first configuration (freed on failure too): builds and tries it whole, binds every listener.
 * Nothing is accepted yet. NULL with a report that says why. */
mg_gateway *mg_gateway_new(const mg_gateway_options *options, mg_config *config, mg_report *report);
/* Starts threads (unless the loops are the caller's) and accepts. `ready`, when given, runs on the control
 * loop once all workers serve. An error (`err` is not NULL): the system has no room for its threads, none runs,
 * and it can only be freed. */
MG_MUST_USE mg_result mg_gateway_start(mg_gateway *gateway, void (*ready)(void *self), void *self,
                                       mg_error *err);
/* What became of a publication. */
typedef struct mg_published {
    bool taken;        /* all workers serve it; else nothing has changed */
    uint64_t revision; /* in force now */
    const mg_report
        *report; /* borrowed: all that was found; where it was refused, with an error that says why */
} mg_published;

/* A configuration that somebody wants in force. */
typedef struct mg_publish {
    /* Reads the document, on the builder's thread. NULL: options.read_config does. NULL with a report when it
     * cannot be read. */
    mg_config *(*read)(void *source, mg_report *report);
    void *source;
    /* Once, on the control loop, or as the gateway is freed. NULL: the log says it. */
    void (*done)(void *self, const mg_published *published);
    void *self;
} mg_publish;

/* Reads, checks, builds and tries a configuration aside, and swaps it on all workers or on none; what became of
 * it stands in the log, too. One is in work at a time, in order of asking; whoever asks for what the last in
 * the queue reads anyway gets the answer of that. A queue that is full and a gateway that ends refuse at once.
 * Any thread. */
void mg_gateway_publish(mg_gateway *gateway, const mg_publish *publish);
/* Reads the configuration again and swaps it on all workers or on none; says in the log what became of it.
 * Any thread. */
void mg_gateway_reload(mg_gateway *gateway);
/* Opens the access log again where that is a file: whoever has renamed it gets a new one under the old name.
 * A reload does so too, before anything of it can be refused. Any thread. */
void mg_gateway_reopen_logs(mg_gateway *gateway);
/* /readyz turns 503, after drain_delay listeners close, in-flight requests end within drain_timeout; then
 * `stopped` runs on the control loop. Any thread. A second call ends at once. */
void mg_gateway_drain(mg_gateway *gateway);
void mg_gateway_on_stopped(mg_gateway *gateway, void (*stopped)(void *self), void *self); /* before start */
/* How long a drain takes at most, by the configuration in force. Any thread. */
uint64_t mg_gateway_drain_ms(const mg_gateway *gateway);
/* After it has stopped: waits for its threads (threads only), `patience_ms` at most once none ends any more.
 * False when some do not end: which, is in the log; then the process can only save and end. */
bool mg_gateway_wait(mg_gateway *gateway, int patience_ms);
/* Writes what is not on disk yet, where mg_gateway_wait was in vain. It may not return: what it needs may be
 * held by a thread that hangs. */
void mg_gateway_save(mg_gateway *gateway);
void mg_gateway_free(mg_gateway *gateway); /* after its threads have ended, or it was never started */

/* The bound address of a listener by name: port 0 resolved. */
bool mg_gateway_listener_addr(mg_gateway *gateway, mg_str name, mg_addr *addr);

#endif
