/* control.h - the actor beside the workers: what it is made of, the reloads and the drain that it is asked for.
 * Publications stand in publish.h, what takes long in builder.h. On the control loop. */
#ifndef MG_GATEWAY_CONTROL_H
#define MG_GATEWAY_CONTROL_H

#include "base/thread.h"
#include "gateway/admin/admin.h"
#include "gateway/admin/status.h"
#include "gateway/builder.h"
#include "gateway/flusher.h"
#include "gateway/gateway.h"
#include "gateway/service/probe.h"
#include "gateway/service/rollout_run.h"
#include "gateway/watchdog.h"
#include "gateway/worker.h"
#include "state/kv.h"
#include "state/persist.h"

typedef enum mg_gateway_state {
    MG_GATEWAY_NEW,
    MG_GATEWAY_RUNS,
    MG_GATEWAY_DRAINS,
    MG_GATEWAY_STOPPED
} mg_gateway_state;

/* One that turns a loop of the gateway's own. */
typedef struct mg_gateway_thread {
    mg_thread thread;
    struct mg_gateway *gateway;
    mg_loop *loop;
    _Atomic uint64_t *turn_ns; /* borrowed: of the watchdog; 0 once it has ended. NULL: it has none */
    atomic_bool ended;
} mg_gateway_thread;

struct mg_gateway {
    mg_gateway_options options;
    mg_gateway_shared shared; /* what the workers see */
    mg_policy_clock policy_clock;
    mg_builder builder; /* makes snapshots and Lua states */
    mg_loop **loops; /* [0] control, the workers', the builder's, the flusher's; owned unless the caller's */
    mg_mailbox *mailbox; /* control's */
    mg_resolver *resolver;
    bool own_loops, own_resolver;
    unsigned loop_count; /* of our own */
    mg_store *store;     /* owned; NULL: in memory */
    mg_kv *kv;
    mg_persist *persist;                /* owned; NULL: in memory */
    mg_flusher *flusher;                /* owned */
    mg_rollouts *rollouts;              /* owned */
    mg_probe *probe;                    /* owned */
    mg_snapshot *snapshot;              /* counted: the one published last */
    struct mg_publication *publication; /* in work (gateway/publish.h) */
    mg_list publications;               /* that wait for their turn */
    unsigned publications_waiting;      /* how many, and how many askers they have */
    bool renew_later;                   /* names have changed while one was being swapped in */
    uint64_t revision;
    _Atomic uint64_t reloads_ok, reloads_refused, last_success_s;
    _Atomic int state; /* mg_gateway_state */
    unsigned drained;  /* workers that have no connection left */
    mg_timer drain_timer;
    _Atomic uint32_t drain_ms; /* how long one takes at most, by the configuration in force */
    mg_watchdog *watchdog;     /* owned; NULL: the loops are the caller's */
    _Atomic uint64_t turn_ns;  /* when control turned last, for the watchdog */
    mg_timer beat;
    mg_status_door *status;
    mg_admin *admin;            /* owned; NULL: none */
    mg_gateway_thread *threads; /* owned: as the loops */
    int ended;                  /* eventfd: one of them has */
    pthread_mutex_t gate;       /* no thread turns before all are there */
    bool gate_shut;             /* behind the gate: they are not, and none turns */
    bool threads_run;
    void (*ready)(void *self);
    void *ready_self;
    void (*stopped)(void *self);
    void *stopped_self;
};

/* A message that says no more than whose it is: `run` gets the gateway from mg_control_posted, which frees the
 * message. */
void mg_control_post(mg_gateway *gateway, mg_mailbox *mailbox, void (*run)(mg_message *));
mg_gateway *mg_control_posted(mg_message *message);
/* Looks the names of a snapshot up before anyone needs them, those that are known again, as the hosts file
 * may be another one. `there` is called once for each endpoint, when its name is answered, perhaps before
 * this returns. Returns for how many seconds that is worth waiting: what does not resolve in time answers 503
 * until it does.
 */
unsigned mg_control_ask_names(mg_gateway *gateway, const mg_snapshot *snapshot,
                              void (*there)(mg_gateway *gateway, uint64_t revision));
/* The addresses of an authority have changed, or (absent) any may have: services that have it get other
 * hosts. */
void mg_control_renew(mg_gateway *gateway, mg_str authority);
/* It goes on, however long this turn lasts: for the watchdog. */
void mg_control_beat(mg_gateway *gateway);
size_t mg_control_lua_memory(mg_gateway *gateway);

#endif
