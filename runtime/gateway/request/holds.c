/* holds.c - a short list, walked from its latest. Places are used again: a plugin that reserves in a
 * loop does not grow the exchange. */
#include "gateway/request/holds.h"

#include "base/time.h"

mg_hold *mg_holds_add(mg_holds *holds, mg_arena *arena, mg_hold_kind kind)
{
    mg_hold *hold = holds->spare;

    if (hold)
        holds->spare = hold->next;
    else
        hold = MG_ARENA_NEW(arena, mg_hold);
    *hold = (mg_hold){ .next = holds->first, .kind = kind };
    holds->first = hold;
    holds->count++;
    return hold;
}

mg_hold *mg_holds_find(const mg_holds *holds, uint64_t number)
{
    mg_hold *hold = holds->first;

    while (hold && (!number || hold->number != number))
        hold = hold->next;
    return hold;
}

mg_hold *mg_holds_find_ticket(const mg_holds *holds, const mg_breaker *breaker, uint64_t ticket)
{
    mg_hold *hold = holds->first;

    while (hold && (hold->kind != MG_HOLD_TICKET || hold->breaker != breaker || hold->ticket != ticket))
        hold = hold->next;
    return hold;
}

void mg_holds_drop(mg_holds *holds, mg_hold *hold)
{
    mg_hold **at = &holds->first;

    while (*at != hold)
        at = &(*at)->next;
    *at = hold->next;
    hold->next = holds->spare;
    holds->spare = hold;
    holds->count--;
}

void mg_holds_keep(mg_holds *holds, mg_hold *hold)
{
    if (hold->waiter.waits)
        mg_limiter_waited(hold->limiter, &hold->waiter);
    mg_holds_drop(holds, hold);
}

bool mg_holds_return(mg_holds *holds, mg_hold *hold, uint64_t policy_ns)
{
    bool returned = true;

    if (hold->kind == MG_HOLD_TICKET)
        (void)mg_breaker_end(hold->breaker, hold->ticket, MG_BREAKER_IGNORE, 0, policy_ns);
    else if (hold->kind == MG_HOLD_PERMIT || hold->permit)
        mg_limiter_release(hold->limiter, &hold->answer);
    else if (hold->waiter.waits)
        returned = mg_limiter_leave(hold->limiter, &hold->waiter, policy_ns);
    else
        returned = mg_limiter_cancel(hold->limiter, &hold->answer);
    mg_holds_drop(holds, hold);
    return returned;
}

void mg_holds_waited(mg_holds *holds)
{
    for (mg_hold *hold = holds->first, *next; hold; hold = next) {
        next = hold->next;
        if (hold->kind == MG_HOLD_WAITING)
            mg_holds_keep(holds, hold);
    }
}

uint64_t mg_holds_turn_ns(const mg_holds *holds)
{
    uint64_t turn_ns = 0;

    for (const mg_hold *hold = holds->first; hold; hold = hold->next)
        if (hold->kind == MG_HOLD_WAITING && hold->waiter.waits)
            turn_ns = mg_max_u64(turn_ns, mg_limiter_turn_ns(&hold->waiter));
    return turn_ns;
}

void mg_holds_end(mg_holds *holds, uint64_t policy_ns)
{
    while (holds->first)
        (void)mg_holds_return(holds, holds->first, policy_ns);
}
