/* worker.h - an actor: one loop with its listeners, its upstream connections, its VM, and the view of the
 * snapshot it serves. All functions run on the worker's own loop, but those that say otherwise. */
#ifndef MG_GATEWAY_WORKER_H
#define MG_GATEWAY_WORKER_H

#include "gateway/flusher.h"
#include "gateway/host.h"
#include "gateway/observe/access_log.h"
#include "gateway/observe/metrics.h"
#include "gateway/request/forward.h"
#include "gateway/service/names.h"
#include "gateway/view.h"
#include "net/conn.h"
#include "net/listener.h"
#include "net/upstream.h"
#include "policy/balancer.h"
#include "script/task.h"

enum { MG_WORKER_VISITED = 64 };

/* One listener's part in a worker. */
typedef struct mg_door {
    mg_list link;
    mg_worker *worker;
    mg_str name; /* owned */
    mg_addr addr;
    mg_listener *listener; /* owned; NULL once stopped, and where another worker accepts for this one */
    mg_conn_server server;
    mg_gate *gate;    /* counted: what the server's connections are counted in */
    mg_cidr *trusted; /* owned */
    char *trailers;   /* owned */
    mg_forward_rules rules;
    bool leaving; /* no longer in the configuration: freed when its connections are gone */
    bool closed;  /* it has left: another door may be at the same address */
} mg_door;

/* A plugin that has filled a state: when the last one was, and until when it is held off the next ones. */
typedef struct mg_held_off {
    uint64_t last_ns, wait_ns, until_ns;
} mg_held_off;

/* The replacing of a worker's Lua state (gateway/vm_renew.h). */
typedef struct mg_renewal {
    uint64_t last_ns, wait_ns; /* when the last one was asked for; how much later the next one may be */
    bool asked;                /* one is under way */
    bool failed;               /* the last one could not be made */
    _Atomic bool holds;        /* the state is nearly full, and its successor has to wait */
    mg_held_off *off; /* owned: by plugin of the plan with this hash; NULL: none has filled a state */
    uint64_t plan_hash;
    uint64_t off_until_ns; /* none is held off from then on */
} mg_renewal;

/* What all workers of a gateway share besides mg_shared. */
typedef struct mg_gateway_shared {
    mg_shared *shared;
    mg_stats *stats;
    mg_access_log *access_log;
    mg_names *names;
    mg_mailbox *control; /* borrowed: the control actor's */
    mg_mailbox *builder; /* borrowed: the builder's; NULL: none runs */
    mg_flusher *flusher; /* borrowed */
    mg_log *log;
    const mg_clock *clock;
    mg_str via; /* its member of Via: "1.1 " and a pseudonym that is its own while it runs */
    char via_text[32];
    mg_worker **workers;
    unsigned worker_count;
    uint32_t connection_cap;  /* for listeners that name none: of all clients' connections together. Half the
                                descriptors, the other half is the upstreams' */
    uint32_t own_descriptors; /* not among those: what the gateway needs itself, its pipes included */
    uint32_t pipes;           /* of each worker, at most */
    mg_conn_gate clients;     /* all of these connections */
    _Atomic uint32_t idle_total; /* idle connections of requests that plugins made */
} mg_gateway_shared;

struct mg_worker {
    unsigned index;
    mg_loop *loop;              /* borrowed */
    mg_gateway_shared *gateway; /* borrowed */
    mg_net net;
    mg_host host;
    mg_mailbox *mailbox; /* owned */
    mg_view *view;       /* counted */
    mg_renewal renewal;
    mg_list jobs;        /* of mg_jobs: one of each Lua state, in use or retired */
    uint64_t jobs_begun; /* numbers them */
    mg_list doors;
    mg_endpoint *visited[MG_WORKER_VISITED]; /* counted: where ctx.http went last, so that connections stay */
    unsigned visited_next;
    mg_map *endpoints;        /* by the key of their account: counted by views, visits and calls */
    mg_log_buffer log_buffer; /* access log lines not yet written */
    char date[32];
    uint64_t date_s;
    size_t flights;
    _Atomic uint32_t live;    /* open client connections, for whoever balances */
    _Atomic uint64_t turn_ns; /* when this turn began, for livez and the watchdog; 0 once it has ended */
    mg_vm_site site;          /* what it runs in Lua */
    _Atomic size_t lua_bytes; /* of the VM in use, as of the last beat */
    mg_timer beat;
    mg_list paused; /* flights in the middle of long work (gateway/request/pause.h) */
    mg_later pause;
    mg_later collect;         /* the collector of its Lua state goes on */
    mg_list queued;           /* flights that wait for a limiter's turn */
    mg_message turns_message; /* posted when some of these turns have moved up, and not again until it ran */
    _Atomic bool turns_posted;
    double last_answer; /* number of the last one of ctx.http that was streamed: none comes twice */
    bool draining;
    bool closed;                        /* mg_worker_close has run */
    void (*drained)(mg_worker *worker); /* nothing is left that a drain waits for */
};

/* Given to listeners that are made for a worker. */
extern mg_accepted *const mg_worker_accepted;

mg_worker *mg_worker_new(unsigned index, mg_loop *loop, mg_gateway_shared *gateway);
/* Nothing may run on its loop any more. Cuts what is open; from now on it only takes messages. */
void mg_worker_close(mg_worker *worker);
void mg_worker_free(mg_worker *worker);

/* What a publication brings to one worker. */
struct mg_worker_change {
    mg_snapshot *snapshot; /* a reference */
    mg_vm *vm;             /* NULL: no plugins, or the one in use stays */
    mg_listener *
        *opened; /* new listeners, by index in the config; NULL where the old one stays; owned array */
};
void mg_worker_apply(mg_worker *worker, mg_worker_change *change);
/* No new connections; those open end behind their exchange. drained is called once all are gone, and what
 * plugins run beside requests has ended. */
void mg_worker_drain(mg_worker *worker);
/* Something has ended that a drain waits for. */
void mg_worker_check_drained(mg_worker *worker);
void mg_worker_cut(mg_worker *worker); /* ends all that is open */

mg_str mg_worker_date(mg_worker *worker); /* of this second */
/* This worker's endpoint of an account, made without an address when it is missing; one reference is the
 * caller's. `idle_total` (borrowed) counts the idle connections of all accounts that are bounded together. */
mg_endpoint *mg_worker_endpoint(mg_worker *worker, mg_account *account, _Atomic uint32_t *idle_total);
/* Keeps an endpoint that no service names for a while: until MG_WORKER_VISITED others have come. */
void mg_worker_visit(mg_worker *worker, mg_endpoint *endpoint);

#endif
