/* sdk_limit.c - what plugins take of limiters and breakers for an exchange (moongate.h): charges, and what is
 * held until it ends. */
#include "gateway/sdk/sdk_limit.h"

#include "gateway/request/call.h"
#include "gateway/request/limits.h"

void mg_sdk_limit_view(mg_limit_view *view, const mg_limiter *limiter, const mg_limiter_answer *answer)
{
    *view = (mg_limit_view){
        .remaining = (double)answer->remaining,
        .quota = (double)mg_limiter_quota(limiter),
        .window_s = (double)mg_limiter_window_ms(limiter) / 1e3,
        .reset_s = (double)answer->reset_ms / 1e3,
        .retry_s = answer->retry_ms == MG_LIMITER_NEVER ? -1 : (double)answer->retry_ms / 1e3,
        .wait_s = (double)answer->wait_ms / 1e3,
        .allowed = answer->allowed,
    };
}

#define WAIT_MAX_S 60.0

static mg_str str(const char *p, uint32_t n)
{
    return (mg_str){ p, n };
}

static uint64_t policy_now(const mg_call *call)
{
    const mg_host *host = call->host;

    return host->loop ? mg_shared_policy_at(host->shared, mg_loop_now(host->loop))
                      : mg_shared_policy_now(host->shared);
}

/* Room for one more thing that a plugin holds; NULL or what is wrong. */
static const char *no_room(const mg_call *call)
{
    if (!call->holds)
        return "it works only while a request is served";
    if (call->holds->count >= MG_HOLDS_MAX)
        return "a request holds at most 64 reservations, permits and tickets: cancel or commit some";
    return NULL;
}

static mg_hold *hold(mg_call *call, mg_hold_kind kind, mg_limiter *limiter, const mg_limiter_answer *answer)
{
    mg_hold *held = mg_holds_add(call->holds, &call->x->arena, kind);

    held->limiter = limiter;
    held->answer = *answer;
    return held;
}

/* ---- limiters ---- */

static const char *find(const mg_call *call, mg_str name, const mg_snapshot_limit **rule)
{
    *rule = call->snapshot ? mg_limits_named(call->snapshot, name) : NULL;
    return *rule ? NULL : "no limiter of the configuration has that name";
}

/* What the rule's mode makes of the answer, for the plugin and for the count. */
static void tell(mg_call *call, const mg_snapshot_limit *rule, mg_str key, const mg_limiter_answer *answer,
                 mg_limit_view *out)
{
    mg_limits_decided(call->host, rule, key, answer);
    if (!rule->limiter) {
        *out = (mg_limit_view){ .retry_s = -1 };
        return;
    }
    mg_sdk_limit_view(out, rule->limiter, answer);
    if (rule->conf->mode == MG_CONFIG_SHADOW && !answer->allowed) {
        out->allowed = true;
        out->retry_s = 0;
    }
}

const char *mg_call_limit_take(mg_call *call, const char *name, uint32_t n, const char *key, uint32_t key_n,
                               uint32_t cost, mg_limit_view *out)
{
    const mg_snapshot_limit *rule;
    mg_limiter_answer answer = { 0 };
    const char *wrong = find(call, str(name, n), &rule);

    if (!wrong && mg_limits_is_permit(rule) && cost)
        wrong = no_room(call);
    if (wrong)
        return wrong;
    if (rule->limiter) {
        /* Only what is due at once, also where requests queue: a take cannot wait. */
        (void)mg_limiter_reserve_within(rule->limiter, key, key_n, cost, 0, policy_now(call), &answer);
        if (answer.allowed && mg_limits_is_permit(rule) && cost)
            (void)hold(call, MG_HOLD_PERMIT, rule->limiter, &answer);
    }
    tell(call, rule, str(key, key_n), &answer, out);
    return NULL;
}

/* No wait is granted that the exchange would not live to see. */
static uint64_t patience_ns(const mg_call *call)
{
    return mg_limits_patience(call->x, call->host->clock->mono_ns(call->host->clock));
}

static bool reserve(const mg_call *call, const mg_limiter_ask *ask, double max_wait_s,
                    mg_limiter_waiter *waiter, mg_limiter_answer *answer)
{
    const uint64_t now_ns = policy_now(call), patient_ns = patience_ns(call);

    if (max_wait_s < 0)
        return mg_limiter_queue_all(ask, &waiter, 1, patient_ns, now_ns, answer) < 0;
    const double wait_s = max_wait_s < WAIT_MAX_S ? max_wait_s : WAIT_MAX_S;
    return mg_limiter_queue(ask, waiter, mg_min_u64((uint64_t)(wait_s * 1e9), patient_ns), now_ns, answer);
}

const char *mg_call_limit_reserve(mg_call *call, mg_limiter *limiter, const char *name, uint32_t n,
                                  const char *key, uint32_t key_n, uint32_t cost, double max_wait_s,
                                  mg_limit_view *out)
{
    const mg_snapshot_limit *rule = NULL;
    mg_limiter_answer answer = { 0 };
    const char *wrong = no_room(call);

    if (!wrong && !limiter)
        wrong = find(call, str(name, n), &rule);
    if (!wrong && max_wait_s != max_wait_s)
        wrong = "a wait is a number of seconds";
    if (wrong)
        return wrong;
    const mg_limiter_ask ask = { rule ? rule->limiter : limiter, key, key_n, cost };
    /* What waits stands in the queue until it is committed or cancelled: its place is there before it. */
    mg_hold *held = mg_holds_add(call->holds, &call->x->arena, MG_HOLD_CHARGE);
    const bool granted = ask.limiter && reserve(call, &ask, max_wait_s, &held->waiter, &answer);
    if (rule)
        tell(call, rule, str(key, key_n), &answer, out);
    else
        mg_sdk_limit_view(out, limiter, &answer);
    if (!granted || !cost) {
        mg_holds_drop(call->holds, held);
        return NULL;
    }
    held->limiter = ask.limiter;
    held->answer = answer;
    held->permit = rule && mg_limits_is_permit(rule);
    held->number = ++call->host->reserved;
    out->number = (double)held->number;
    return NULL;
}

static mg_hold *reserved(const mg_call *call, double number)
{
    return call->holds && number >= 1 && number < 0x1p53 ? mg_holds_find(call->holds, (uint64_t)number)
                                                         : NULL;
}

bool mg_call_limit_cancel(mg_call *call, double number)
{
    mg_hold *held = reserved(call, number);

    return held && mg_holds_return(call->holds, held, policy_now(call));
}

bool mg_call_limit_commit(mg_call *call, double number)
{
    mg_hold *held = reserved(call, number);

    if (!held)
        return false;
    if (held->permit)
        held->number = 0;
    else
        mg_holds_keep(call->holds, held);
    return true;
}

/* ---- breakers ---- */

uint64_t mg_call_breaker_ask(mg_call *call, mg_breaker *breaker)
{
    const uint64_t ticket = no_room(call) ? 0 : mg_breaker_ask(breaker, policy_now(call));

    if (ticket) {
        mg_hold *held = mg_holds_add(call->holds, &call->x->arena, MG_HOLD_TICKET);
        held->breaker = breaker;
        held->ticket = ticket;
    }
    return ticket;
}

bool mg_call_breaker_finish(mg_call *call, mg_breaker *breaker, uint64_t ticket, int outcome,
                            double duration_s)
{
    mg_hold *held = call->holds ? mg_holds_find_ticket(call->holds, breaker, ticket) : NULL;

    if (!held)
        return false;
    mg_holds_drop(call->holds, held);
    return mg_host_breaker_finish(call->host, breaker, ticket, outcome, duration_s);
}
