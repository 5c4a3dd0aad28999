/* call_barrier.c - ctx.kv:barrier: waits until all that was written is durable. */
#include "gateway/request/call_barrier.h"
#include "base/mem.h"
#include "gateway/flusher.h"
#include "gateway/request/flight.h"

/* Owned by its message. */
typedef struct mg_barrier {
    mg_flush_barrier flush;
    mg_flight *flight; /* borrowed; NULL once the exchange is over, or waits for something else */
} mg_barrier;

/* The coroutine asks whether it has failed. */
static void on_durable(mg_message *message)
{
    mg_barrier *barrier = mg_container_of(message, mg_barrier, flush.ask.message);
    mg_flight *flight = barrier->flight;

    mg_free(barrier);
    if (!flight)
        return;
    flight->barrier = NULL;
    mg_chain_wake(flight);
}

void mg_call_barrier_run(mg_call *call)
{
    mg_flight *flight = call->owner;
    mg_barrier *barrier = MG_NEW(mg_barrier);

    barrier->flush.ask.answered = on_durable;
    barrier->flush.ask.from = flight->worker->mailbox;
    barrier->flight = flight;
    flight->barrier = barrier;
    mg_flusher_barrier(flight->worker->gateway->flusher, &barrier->flush);
}

void mg_call_barrier_cancel(mg_call *call)
{
    mg_flight *flight = call->owner;

    if (flight->barrier)
        flight->barrier->flight = NULL;
    flight->barrier = NULL;
}
