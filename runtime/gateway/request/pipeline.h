/* pipeline.h - the life of a request: the steps, each naming the next. The owner of every exchange of a
 * worker's doors. */
#ifndef MG_GATEWAY_REQUEST_PIPELINE_H
#define MG_GATEWAY_REQUEST_PIPELINE_H

#include "gateway/request/call.h"
#include "gateway/request/errand.h"
#include "gateway/request/filter.h"
#include "gateway/request/forward.h"
#include "gateway/request/limit_hold.h"
#include "gateway/request/outgoing.h"
#include "gateway/request/proxy.h"
#include "gateway/request/replay.h"
#include "gateway/worker.h"

#include <limits.h>

/* What x->owner_self must be when an exchange begins: the mg_worker. */
extern const mg_owner_ops mg_pipeline_owner;

/* What logs have where the client was gone before any status was sent. */
enum { MG_STATUS_CLIENT_GONE = 499 };

/* Where an exchange stands with its handler chain. */
typedef enum mg_chain_state {
    MG_CHAIN_NONE,  /* no plugins, or not yet */
    MG_CHAIN_RUNS,  /* the coroutine is on the stack */
    MG_CHAIN_WAITS, /* for what call->wait says */
    MG_CHAIN_LOGS,  /* no handler runs any more; kept for filters and logs */
    MG_CHAIN_GONE,  /* given back */
} mg_chain_state;

/* How the service of a flight was chosen. */
typedef enum mg_side {
    MG_SIDE_HASHED, /* by the sticky key; or there is nothing to choose */
    MG_SIDE_NAMED,  /* the client's X-Abtest-Group names its backend */
    MG_SIDE_CHOSEN, /* a plugin has said so */
} mg_side;

#define MG_SIDE_NO_BACKEND UINT_MAX /* none of the route's split */

/* An exchange on its way through the pipeline. Lives in the exchange's arena. */
struct mg_flight {
    mg_exchange *x;
    mg_view *view; /* counted: the snapshot it began with */
    mg_worker *worker;
    const mg_snapshot_route *route;     /* borrowed: snapshot; NULL when none matched */
    const mg_snapshot_service *service; /* borrowed: snapshot; NULL: a plugin has to answer */
    mg_route_match match;
    mg_str client;  /* the client's address after trusted proxies */
    mg_timer timer; /* sleep, deadline of the chain */
    mg_task *task;
    mg_call *call;
    mg_chain_state chain;
    mg_bytes_source bytes;  /* of a response body in memory */
    mg_body_sink drain;     /* takes a body into memory for a plugin */
    mg_filter filters[2];   /* of bodies that plugins see pass by */
    mg_later later;         /* a filter has raised: ends the exchange with nobody else on the stack */
    unsigned streams;       /* which: mg_vm_chain_streams */
    uint64_t patience_ns;   /* when the plugin's own timeout ends its wait; 0: something else does first */
    uint64_t caller_ns;     /* behind next: when the caller gives up; 0: it did not say */
    uint64_t held_until_ns; /* how long its plugins may hold the response; 0: they hold none */
    uint64_t held_left_ns;  /* what is left of that while it rests; else 0 */
    bool is_through;        /* its handlers have returned: the coroutine serves again */
    bool filters_end; /* they failed or were ended: no piece of a body goes past their filters any more */
    int draining;     /* MG_REQUEST or MG_RESPONSE while it does, else -1 */
    mg_errand errand; /* the upstream side */
    uint64_t chain_ns, chain_since_ns; /* computing of the chain */
    unsigned backend;                  /* of the route's split, when it has one; or MG_SIDE_NO_BACKEND */
    mg_side side;                      /* how that came about */
    mg_str side_key;                   /* what was hashed, when HASHED; borrowed: the request */
    const char *error;                 /* reason of a refusal: "rate_limit", "breaker_open", .. */
    const char *deadline_where; /* the time ran out: "route", "limiter", "plugin", "retry" or "upstream" */
    mg_replay *replay;          /* arena; NULL: the body is not kept for a retry */
    mg_forward_caller caller;
    mg_str limiter;  /* that refused */
    mg_str consumer; /* whom a plugin found, once its chain is through */
    const mg_snapshot_limit
        *refusing;                  /* the limiter the answer tells of: it refused, or has least remaining */
    mg_limiter_answer refusal;      /* what it said */
    mg_holds holds;                 /* what goes back to limiters and breakers at its end */
    mg_list paused;                 /* among the worker's, in the middle of long work */
    uint64_t work_until_ns;         /* when the plugin's own timeout ends that; 0: it does none */
    uint32_t work_plugin;           /* whose it is */
    struct mg_outgoings *outgoings; /* arena: of ctx.http; NULL until it is used */
    mg_list queued;                 /* among the worker's, while it waits for its turn */
    struct mg_barrier *barrier;     /* borrowed: the one it waits for, itself; NULL when it waits for none */
    struct mg_beside *beside; /* its tasks (gateway/request/job.h); NULL while it has none and is none */
    mg_text kept[2];          /* owned: bodies that plugins took, which may still be on their way; by which */
    bool proxied;             /* a response head of an upstream is in x->response */
    bool client_done;         /* the client side is gone, well or badly */
    bool finished;
};

/* When the exchange is over for a reason that no clock of a body stops, on the loop's clock: its caller gives
 * up, or behind next its response was held for long enough. UINT64_MAX: there is none. */
static inline uint64_t mg_flight_fixed_ns(const mg_flight *flight)
{
    const uint64_t fixed_ns = flight->x->limit.fixed_ns;

    return fixed_ns ? fixed_ns : UINT64_MAX;
}

/* Whether pieces of bodies go past the filters of its chain. */
static inline bool mg_flight_filters(const mg_flight *flight)
{
    return flight->call && !flight->filters_end;
}

/* Why it was refused, or ended before its last byte; NULL: it was not. As the access log has it. */
static inline const char *mg_flight_error(const mg_flight *flight)
{
    return flight->error ? flight->error : flight->x->reset ? mg_reset_text(flight->x->reset) : NULL;
}

/* The coroutine of this flight is to go on: what it waited for is there. */
void mg_pipeline_resume(mg_flight *flight);
/* What mg_limits_pass (gateway/request/limits.h) waited for is over: the chain is next. */
void mg_pipeline_limits_passed(mg_flight *flight);
/* Answers with a problem document, unless the head is out: then the response is cut. */
void mg_pipeline_refuse(mg_flight *flight, int status, const char *error, mg_str detail, int retry_after_s);

/* chain.c: the handler chain of a flight. */
/* Takes a slot and runs it to its first wait. False when none can be had. */
bool mg_chain_start(mg_flight *flight);
/* A slot for a flight, whose call is to be filled before it is resumed; NULL when none can be had. */
mg_call *mg_chain_take(mg_flight *flight);
/* What NEXT waited for is in x->response. */
void mg_chain_continue(mg_flight *flight);
/* The exchange is over for the client; unwinds what still waits. */
void mg_chain_abort(mg_flight *flight, const char *why);
/* Logs and counts what a plugin raised. */
void mg_chain_log_error(mg_flight *flight, const mg_task_error *error);
/* Runs log handlers and gives the slot back. */
void mg_chain_finish(mg_flight *flight);

/* What chain.c asks of the steps. */
void mg_pipeline_send(mg_flight *flight); /* the response as it stands in x->response */
void mg_pipeline_maybe_finish(mg_flight *flight);

#endif
