/* call_barrier.c - ctx.kv:barrier: waits until all that was written is durable. */
#include "gateway/request/call_barrier.h"
#include "base/mem.h"
#include "gateway/request/flight.h"
#include "state/kv.h"

/* Owned by the messages. */
typedef struct mg_barrier {
    mg_message message;
    mg_worker *worker;
    mg_flight *flight; /* borrowed; NULL once the exchange is over, or waits for something else */
} mg_barrier;

static void on_durable(mg_message *message)
{
    mg_barrier *barrier = mg_container_of(message, mg_barrier, message);
    mg_flight *flight = barrier->flight;

    mg_free(barrier);
    if (!flight)
        return;
    flight->barrier = NULL;
    mg_chain_wake(flight);
}

/* On the flush thread. */
static void barrier_done(void *self, const char *error)
{
    mg_barrier *barrier = self;

    (void)error; /* the coroutine asks for it */
    mg_mailbox_post(barrier->worker->mailbox, &barrier->message);
}

void mg_call_barrier_run(mg_call *call)
{
    mg_flight *flight = call->owner;
    mg_barrier *barrier = MG_NEW(mg_barrier);

    *barrier = (mg_barrier){ { NULL, on_durable }, flight->worker, flight };
    flight->barrier = barrier;
    mg_kv_barrier(mg_shared_kv(flight->worker->gateway->shared), barrier_done, barrier);
}

void mg_call_barrier_cancel(mg_call *call)
{
    mg_flight *flight = call->owner;

    if (flight->barrier)
        flight->barrier->flight = NULL;
    flight->barrier = NULL;
}
