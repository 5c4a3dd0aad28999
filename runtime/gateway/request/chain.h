/* chain.h - a flight's handler chain: a slot of the VM, whose coroutine runs the plugins' handlers from wait
 * to wait. On the worker's loop. */
#ifndef MG_GATEWAY_REQUEST_CHAIN_H
#define MG_GATEWAY_REQUEST_CHAIN_H

#include "gateway/request/call.h"

typedef struct mg_flight mg_flight;

/* Where a flight stands with its handlers. */
typedef enum mg_chain_state {
    MG_CHAIN_NONE,  /* no plugins, or not yet */
    MG_CHAIN_RUNS,  /* the coroutine is on the stack */
    MG_CHAIN_WAITS, /* for what call->wait says */
    MG_CHAIN_LOGS,  /* no handler runs any more; kept for filters and logs */
    MG_CHAIN_GONE,  /* given back */
} mg_chain_state;

/* The body that goes into memory for it now. */
typedef enum mg_chain_takes {
    MG_CHAIN_TAKES_NOTHING,
    MG_CHAIN_TAKES_REQUEST,
    MG_CHAIN_TAKES_RESPONSE,
} mg_chain_takes;

/* What handlers behind next() do to the response, which has come. */
typedef enum mg_chain_holding {
    MG_CHAIN_HOLDS_NONE,  /* there is none yet */
    MG_CHAIN_HOLDS,       /* they hold it: for so long and no longer */
    MG_CHAIN_HOLDS_RESTS, /* its body is on its way into memory, and the time for them stands still */
    MG_CHAIN_HOLDS_OVER,  /* it goes on */
} mg_chain_holding;

/* Of chain*.c. */
typedef struct mg_chain {
    mg_chain_state state; /* changed by one function of chain.c */
    mg_task *task;
    mg_call *call;
    mg_timer timer; /* of its wait */
    mg_chain_takes takes;
    uint64_t patience_ns; /* when the plugin's own timeout ends its wait; 0: something else does first */
    uint64_t caller_ns;   /* behind next: when the caller gives up; 0: it did not say */
    mg_chain_holding hold;
    uint64_t held_until_ns;    /* how long they may, while they do */
    uint64_t held_left_ns;     /* what is left of that, while it rests */
    uint64_t ran_ns, since_ns; /* computing */
    mg_str consumer;           /* whom a plugin found, once its chain is through */
    bool is_through;           /* its handlers have returned: the coroutine serves again */
} mg_chain;

/* Takes a slot and runs it to its first wait. 0; or in how many seconds to try again, when none can be had, or one of
 * its plugins has filled the memory of them all. */
int mg_chain_start(mg_flight *flight);
/* A slot for a flight of its own (job.h), which waits for the first time; NULL when none can be had. The caller
 * fills the call and wakes it. */
mg_call *mg_chain_take(mg_flight *flight);
/* The coroutine is to go on: what it waited for is there. */
void mg_chain_wake(mg_flight *flight);
/* What NEXT waits for is in x->response. */
void mg_chain_continue(mg_flight *flight);
/* The response behind NEXT is a failure of the upstream side; static. */
void mg_chain_blame(mg_flight *flight, const char *error);
/* The exchange is over for the client; unwinds what still waits. */
void mg_chain_abort(mg_flight *flight, const char *why);
/* Logs and counts what a plugin raised. */
void mg_chain_log_error(mg_flight *flight, const mg_task_error *error);
/* Runs log handlers and gives the slot back. */
void mg_chain_finish(mg_flight *flight);

/* Whether handlers still run or wait. */
static inline bool mg_chain_is_on(const mg_chain *chain)
{
    return chain->state == MG_CHAIN_WAITS || chain->state == MG_CHAIN_RUNS;
}

/* ---- chain_body.c ---- */

/* The request's body that is copied on its way (tap.h) is whole or too large, or no upstream takes the rest: a
 * coroutine that waits for it looks again, behind this turn. */
void mg_chain_copy_moved(mg_flight *flight);
/* Its taker waits no longer, and may come back: the source stops reading. */
void mg_chain_leave_body(mg_flight *flight);

/* ---- chain_clock.c ---- */

/* Its wait is over at `due_ns` of the loop's clock; sooner where it was so before. */
void mg_chain_bound_by(mg_flight *flight, uint64_t due_ns);
/* The same for a wait that has an end already; others stay. */
void mg_chain_hasten(mg_flight *flight, uint64_t due_ns);

#endif
