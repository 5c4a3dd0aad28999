/* chain_clock.c - how long the plugins of a request may wait, and what they may compute over all waits. */
#include "gateway/request/chain_parts.h"
#include "gateway/request/job.h"

static mg_loop *loop_of(const mg_flight *flight)
{
    return flight->worker->loop;
}

bool mg_chain_takes_rest(const mg_flight *flight)
{
    return flight->chain.call->wait == MG_WAIT_NEXT && flight->chain.takes == MG_CHAIN_TAKES_REQUEST;
}

uint64_t mg_chain_until(const mg_flight *flight)
{
    return mg_exchange_due_ns(flight->x, &flight->x->limit);
}

/* The response is held until then; UINT64_MAX: it is not. */
static void hold_until(mg_flight *flight, uint64_t due_ns)
{
    const uint64_t until = mg_min_u64(due_ns, flight->chain.caller_ns ? flight->chain.caller_ns : UINT64_MAX);

    flight->x->limit = (mg_time_limit){ .fixed_ns = until == UINT64_MAX ? 0 : until };
}

static void hold_for(mg_flight *flight, uint64_t ns)
{
    flight->chain.hold = MG_CHAIN_HOLDS;
    flight->chain.held_until_ns = mg_add_sat(mg_loop_now(loop_of(flight)), ns);
    hold_until(flight, flight->chain.held_until_ns);
}

/* The route's time has done its work. While plugins hold the response, neither the
 * client nor the upstream comes on: they may do so for as long as a body may stand still. */
void mg_chain_hold(mg_flight *flight)
{
    const mg_door *door = flight->x->listener;
    uint64_t patience = door->server.limits.body_timeout_ns;

    if (flight->split.service)
        patience = mg_min_u64(patience, flight->split.service->lease_conf.read_timeout_ns);
    flight->chain.caller_ns = flight->x->limit.fixed_ns;
    hold_for(flight, patience);
}

/* Who stands still meanwhile is found by body_timeout or read_timeout. */
void mg_chain_hold_rests(mg_flight *flight)
{
    const uint64_t now = mg_loop_now(loop_of(flight));

    if (flight->chain.hold != MG_CHAIN_HOLDS)
        return;
    flight->chain.hold = MG_CHAIN_HOLDS_RESTS;
    flight->chain.held_left_ns =
        mg_max_u64(1, flight->chain.held_until_ns - mg_min_u64(flight->chain.held_until_ns, now));
    hold_until(flight, UINT64_MAX);
}

static void hold_goes_on(mg_flight *flight)
{
    if (flight->chain.hold == MG_CHAIN_HOLDS_RESTS)
        hold_for(flight, flight->chain.held_left_ns);
}

void mg_chain_hold_ends(mg_flight *flight)
{
    if (flight->chain.hold == MG_CHAIN_HOLDS_NONE)
        return;
    flight->chain.hold = MG_CHAIN_HOLDS_OVER;
    hold_until(flight, UINT64_MAX);
}

void mg_chain_bound_wait(mg_flight *flight)
{
    const uint64_t until = mg_chain_until(flight);

    if (until != UINT64_MAX)
        mg_timer_set(loop_of(flight), &flight->chain.timer, until);
}

void mg_chain_bound_by(mg_flight *flight, uint64_t due_ns)
{
    mg_timer *timer = &flight->chain.timer;

    if (flight->chain.state == MG_CHAIN_WAITS && due_ns != UINT64_MAX &&
        (!timer->due_ns || timer->due_ns > due_ns))
        mg_timer_set(loop_of(flight), timer, due_ns);
}

void mg_chain_hasten(mg_flight *flight, uint64_t due_ns)
{
    if (flight->chain.timer.due_ns)
        mg_chain_bound_by(flight, due_ns);
}

void mg_chain_bound_by_plugin(mg_flight *flight)
{
    const mg_call *call = flight->chain.call;
    const mg_plugin_bounds *bounds = flight->view->vm->bounds;

    flight->chain.patience_ns = 0;
    if (call->plugin == UINT32_MAX || !bounds[call->plugin].timeout_ns || mg_flight_is_job(flight))
        return;
    const uint64_t due = mg_pause_due(flight, bounds[call->plugin].timeout_ns);
    if (flight->chain.timer.due_ns && flight->chain.timer.due_ns <= due)
        return;
    flight->chain.patience_ns = due;
    mg_timer_set(loop_of(flight), &flight->chain.timer, due);
}

const char *mg_chain_why_late(const mg_flight *flight)
{
    if (!flight->chain.call->next_called)
        return flight->x->limit.fixed_ns == mg_chain_until(flight)
                   ? "the deadline that its caller has set passed while this waited"
                   : "the route's timeout passed while this waited";
    if (flight->chain.caller_ns && flight->chain.caller_ns == mg_chain_until(flight))
        return "the deadline that its caller has set passed while this waited behind next(ctx)";
    return "behind next(ctx) the response was held for longer than a body may stand still (the listener's "
           "body_timeout, the service's read_timeout)";
}

/* ---- computing ---- */

/* A plugin that waits again and again has a whole budget each time. So what it takes to go on from waits is
 * counted for all of a request: a wait as 10 us at least. */
#define WAIT_LEAST_NS 10000
enum { BUDGETS_IN_ALL = 100 };

/* Parts of long work that the gateway itself puts off are none: those have the time of the wait alone. */
static bool is_own_wait(const mg_call *call)
{
    return call->wait > MG_WAIT_NEXT && call->wait != MG_WAIT_PAUSE;
}

static uint64_t cpu_ns(const mg_flight *flight)
{
    return (uint64_t)(mg_host_cpu_s(&flight->worker->host) * 1e9);
}

mg_task_state mg_chain_resume(mg_flight *flight, mg_task_error *error)
{
    mg_call *call = flight->chain.call;

    hold_goes_on(flight);
    if (!is_own_wait(call))
        return mg_task_resume(flight->chain.task, error);
    const uint64_t before = cpu_ns(flight);

    call->is_spent = call->plugin != UINT32_MAX &&
                     call->counted_ns > BUDGETS_IN_ALL * flight->view->vm->bounds[call->plugin].cpu_ns;
    const mg_task_state state = mg_task_resume(flight->chain.task, error);
    call->counted_ns += mg_max_u64(cpu_ns(flight) - before, WAIT_LEAST_NS);
    return state;
}
