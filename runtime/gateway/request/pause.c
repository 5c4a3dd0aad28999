/* pause.c - one list a worker, and work that stands over to the next turn for as long as somebody is on it.
 */
#include "gateway/request/pause.h"

#include "base/mem.h"
#include "gateway/request/flight.h"

static void resume_first(mg_later *later)
{
    mg_worker *worker = mg_container_of(later, mg_worker, pause);
    mg_list *link = mg_list_pop(&worker->paused);

    if (!link)
        return;
    if (!mg_list_empty(&worker->paused))
        mg_later_add(worker->loop, later);
    mg_chain_wake(mg_container_of(link, mg_flight, pause.link));
}

void mg_pause_init(mg_worker *worker)
{
    mg_list_init(&worker->paused);
    worker->pause.run = resume_first;
}

void mg_pause_add(mg_flight *flight)
{
    mg_list_push(&flight->worker->paused, &flight->pause.link);
    mg_later_add(flight->worker->loop, &flight->worker->pause);
}

void mg_pause_over(mg_flight *flight)
{
    mg_list_remove(&flight->pause.link);
    if (flight->chain.call->wait != MG_WAIT_PAUSE)
        flight->pause.until_ns = 0;
}

uint64_t mg_pause_due(mg_flight *flight, uint64_t timeout_ns)
{
    const mg_call *call = flight->chain.call;
    const uint64_t due_ns = mg_add_sat(mg_loop_now(flight->worker->loop), timeout_ns);

    if (call->wait != MG_WAIT_PAUSE)
        return due_ns;
    if (!flight->pause.until_ns || flight->pause.plugin != call->plugin) {
        flight->pause.until_ns = due_ns;
        flight->pause.plugin = call->plugin;
    }
    return flight->pause.until_ns;
}
