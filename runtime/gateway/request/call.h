/* call.h - the C half of ctx: one exchange as one handler chain sees it. The functions that Lua calls on it
 * are in moongate.h and stand in call.c (heads, texts, bodies) and call_http.c (ctx.http). The worker's own
 * loop. */
#ifndef MG_GATEWAY_REQUEST_CALL_H
#define MG_GATEWAY_REQUEST_CALL_H

#include "gateway/host.h"
#include "gateway/request/holds.h"
#include "gateway/snapshot.h"
#include "http/exchange.h"
#include "http/gather.h"
#include "moongate.h"
#include "policy/router.h"
#include "script/task.h"

/* Texts that a plugin has set: pieces of the exchange's arena. */
typedef enum mg_call_own {
    MG_CALL_OWN_METHOD,
    MG_CALL_OWN_PATH,
    MG_CALL_OWN_QUERY,
    MG_CALL_OWN_CONSUMER,
    MG_CALL_OWN_COUNT,
} mg_call_own;

struct mg_call {
    mg_exchange *x;              /* borrowed; NULL while the slot is parked */
    mg_task *task;               /* borrowed: the slot this is part of */
    mg_host *host;               /* borrowed */
    const mg_snapshot *snapshot; /* borrowed: the one the exchange began with */
    const mg_route_match *match; /* borrowed: exchange */
    mg_str route_name, service_name, consumer;
    mg_str client;      /* the client's address after trusted proxies */
    bool keeps_slashes; /* the route does, so set_path does */
    const char *cancelled;
    const char
        *error;    /* reason of the local or upstream failure behind the response, NULL when there is none */
    double wait_s; /* of MG_WAIT_SLEEP */
    uint32_t max_path_bytes;   /* of the route: max_path */
    uint32_t max_target_bytes; /* of the listener: path and query as they are passed on */
    uint32_t chain;
    uint32_t plugin;     /* index in the plan of the layer that runs; UINT32_MAX: none */
    int phase;           /* enum mg_phase: what runs, or what the next resume of a parked slot is for */
    int wait_which;      /* of MG_WAIT_BODY: MG_REQUEST or MG_RESPONSE */
    uint32_t raised;     /* plugins that raised and were let pass (on_error open, skip) */
    int wait;            /* enum mg_wait */
    bool timed_out;      /* the plugin's own timeout ended the wait */
    bool is_spent;       /* the request's plugins have computed as much as they may in all */
    uint64_t counted_ns; /* of computing behind waits */
    bool next_called;
    bool body_sent;                /* ctx.http has sent the client's body, which is not there for next */
    mg_str own[MG_CALL_OWN_COUNT]; /* each {NULL, 0} until it is set */
    mg_str read;                   /* a piece: what the last read made, where it made something */
    mg_gather bodies[2];           /* MG_REQUEST, MG_RESPONSE; max_bytes 0: not declared */
    mg_str chunk;                  /* of a streamed body, while a filter runs; borrowed */
    bool chunk_last, chunk_replaced;
    mg_text chunk_out;        /* what the filters made of it */
    struct mg_outgoing *http; /* arena: the request of ctx.http that is made or waited for */
    mg_holds *holds;          /* borrowed: the exchange's */
    void *owner;              /* borrowed: the pipeline's record of this exchange */
};

/* A plugin of the plan that the call's VM runs; NULL when there is none of that index. */
const mg_vm_plugin *mg_call_plugin(const mg_call *call, uint32_t plugin);

/* The request goes to another service than before. */
void mg_call_goes_to(mg_call *call, mg_str service_name);

/* Why the answer cannot be changed any more, or NULL; static. */
const char *mg_call_no_answer_now(const mg_call *call);

/* Writes what became of a plugin's doing, with what finds the request: its ids as the client and the access
 * log have them. `event` is static; `plugin` is NULL when it is no plugin's fault. */
void mg_call_log_event(mg_log *log, mg_log_level level, const char *event, mg_exchange *x, mg_str route,
                       const mg_vm_plugin *plugin, const char *format, ...)
    __attribute__((format(printf, 7, 8)));

/* What a read makes on its way: joined or decoded. It does not grow the exchange, however often it is made.
 */
typedef struct mg_call_read {
    mg_arena arena;
    char first[1024];
} mg_call_read;

void mg_call_read_begin(mg_call_read *read);
/* The value as it stood, or a copy that is good until the next read of this call. */
mg_str mg_call_read_end(mg_call *call, mg_call_read *read, mg_str value);

#endif
