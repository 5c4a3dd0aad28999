/* retry.c - the budget (Finagle's RetryBudget, on plain counts), the jitter, and the decision. */
#include "policy/retry.h"

#include "base/mem.h"
#include "base/time.h"
#include "policy/recent.h"

enum { BUDGET_SECONDS = 10 };

struct mg_retry_budget {
    mg_recent requests, retries;
    _Atomic uint64_t newest_s; /* so that a clock that is behind counts where the others do */
};

mg_retry_budget *mg_retry_budget_new(void)
{
    return MG_NEW(mg_retry_budget);
}

void mg_retry_budget_free(mg_retry_budget *budget)
{
    mg_free(budget);
}

static uint64_t second_of(mg_retry_budget *b, uint64_t now_ns)
{
    const uint64_t second = now_ns / MG_NS_PER_S;
    uint64_t newest = atomic_load_explicit(&b->newest_s, memory_order_relaxed);

    while (newest < second && !atomic_compare_exchange_weak(&b->newest_s, &newest, second))
        ;
    return mg_max_u64(newest, second);
}

void mg_retry_budget_request(mg_retry_budget *budget, uint64_t now_ns)
{
    mg_recent_add(&budget->requests, second_of(budget, now_ns), 1);
}

bool mg_retry_budget_take(mg_retry_budget *budget, const mg_retry_conf *conf, uint64_t now_ns)
{
    const uint64_t second = second_of(budget, now_ns);
    const uint64_t requests = mg_recent_sum(&budget->requests, second, BUDGET_SECONDS);
    const uint64_t allowed = conf->budget_milli * requests + 1000ull * conf->min_per_second * BUDGET_SECONDS;
    uint64_t seen;

    do { /* looked at before it is summed up: of two who ask together, one has to look again */
        seen = mg_recent_look(&budget->retries, second);
        if ((mg_recent_sum(&budget->retries, second, BUDGET_SECONDS) + 1) * 1000 > allowed)
            return false;
    } while (!mg_recent_add_one(&budget->retries, second, seen));
    return true;
}

uint64_t mg_retry_backoff_ms(uint64_t base_ms, uint64_t cap_ms, uint32_t attempt, double u)
{
    const uint64_t grown_ms = attempt < 20 ? base_ms << attempt : UINT64_MAX;

    return (uint64_t)(u * (double)mg_min_u64(cap_ms, grown_ms));
}

static bool is_asked_for(const mg_retry_conf *conf, const mg_retry_case *c)
{
    if ((c->connect_error && conf->on_connect_error) || (c->reset && conf->on_reset))
        return true;
    for (uint32_t i = 0; i < conf->on_status_count; i++) {
        if (c->status && c->status == conf->on_status[i])
            return true;
    }
    return false;
}

/* Nothing of it was sent, or it may be sent twice and is still here. */
static bool is_safe(const mg_retry_case *c)
{
    return !c->head_passed_on && (!c->bytes_sent || (c->idempotent && c->body_held));
}

mg_retry_verdict mg_retry_decide(const mg_retry_conf *conf, const mg_deadline_conf *deadline,
                                 const mg_retry_case *c, mg_retry_budget *budget, double u, uint64_t now_ns,
                                 uint64_t *sleep_ms)
{
    *sleep_ms = 0;
    if (!is_asked_for(conf, c))
        return MG_RETRY_NOT_ASKED;
    if (!is_safe(c))
        return MG_RETRY_NOT_SAFE;
    if (c->is_retry || c->tries >= conf->attempts)
        return MG_RETRY_NO_ATTEMPTS;
    *sleep_ms = mg_retry_backoff_ms(conf->backoff_ms, conf->backoff_max_ms, c->tries - 1, u);
    if (c->retry_after_ms > 0)
        *sleep_ms = mg_max_u64(*sleep_ms, (uint64_t)c->retry_after_ms);
    if (*sleep_ms >= c->left_ms || !mg_deadline_child_ms(deadline, c->left_ms - *sleep_ms))
        return MG_RETRY_NO_TIME;
    if (c->breaker_open)
        return MG_RETRY_NO_BREAKER;
    return mg_retry_budget_take(budget, conf, now_ns) ? MG_RETRY_AGAIN : MG_RETRY_NO_BUDGET;
}

int64_t mg_retry_after_ms(mg_str value)
{
    uint64_t s = 0;

    if (!mg_str_u64(value, &s) || s > UINT32_MAX)
        return -1;
    return (int64_t)s * 1000;
}
