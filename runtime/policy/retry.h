/* retry.h - once more or not, and after how long (docs/policies.md 7). Any thread. */
#ifndef MG_POLICY_RETRY_H
#define MG_POLICY_RETRY_H

#include "policy/deadline.h"

enum { MG_RETRY_STATUSES = 16 };

typedef struct mg_retry_conf {
    uint32_t attempts; /* 1..6, the first included */
    bool on_connect_error, on_reset;
    uint16_t on_status[MG_RETRY_STATUSES];
    uint32_t on_status_count;
    uint64_t backoff_ms, backoff_max_ms;
    uint32_t budget_milli;   /* retries to requests, 0..1000 */
    uint32_t min_per_second; /* retries that pass however few requests there are, 0..1000 */
} mg_retry_conf;

/* ---- the budget: one an upstream, shared by all workers; any thread may call ---- */

typedef struct mg_retry_budget mg_retry_budget;

mg_retry_budget *mg_retry_budget_new(void);
void mg_retry_budget_free(mg_retry_budget *budget); /* NULL is fine */
/* A request's first try. */
void mg_retry_budget_request(mg_retry_budget *budget, uint64_t now_ns);
/* Charges a retry; false when that would be more than the configuration's part of the last ten seconds'
 * requests. */
bool mg_retry_budget_take(mg_retry_budget *budget, const mg_retry_conf *conf, uint64_t now_ns);

/* ---- one request ---- */

/* What became of a try, and what it may still cost. */
typedef struct mg_retry_case {
    uint32_t tries; /* made so far, at least 1 */
    bool connect_error, reset;
    int status;             /* 0 = none */
    bool head_passed_on;    /* the client has seen part of an answer */
    bool idempotent;        /* the method */
    bool body_held;         /* every body byte that was sent can be sent again */
    bool bytes_sent;        /* of the request */
    bool is_retry;          /* it came as one from a peer that is trusted */
    bool breaker_open;      /* which would refuse the next try, too */
    uint64_t left_ms;       /* until the deadline */
    int64_t retry_after_ms; /* the answer's; -1 = none */
} mg_retry_case;

typedef enum mg_retry_verdict {
    MG_RETRY_AGAIN,
    MG_RETRY_NOT_ASKED,   /* the route does not retry this outcome */
    MG_RETRY_NOT_SAFE,    /* it cannot be repeated without harm, or at all */
    MG_RETRY_NO_ATTEMPTS, /* as many as allowed were made, or it came as a retry */
    MG_RETRY_NO_TIME,
    MG_RETRY_NO_BREAKER,
    MG_RETRY_NO_BUDGET,
} mg_retry_verdict;

/* Decides, and on MG_RETRY_AGAIN has charged the budget and says how long to sleep. `u` is in [0, 1). The
 * breaker is asked once more when the try is made; a host not yet tried is preferred. */
mg_retry_verdict mg_retry_decide(const mg_retry_conf *conf, const mg_deadline_conf *deadline,
                                 const mg_retry_case *c, mg_retry_budget *budget, double u, uint64_t now_ns,
                                 uint64_t *sleep_ms);

/* What a Retry-After field asks for; -1: nothing, or a date, which is not looked at. */
int64_t mg_retry_after_ms(mg_str value);

/* Full jitter: floor(u * min(cap, base * 2^attempt)); attempt 0 is the first retry. */
uint64_t mg_retry_backoff_ms(uint64_t base_ms, uint64_t cap_ms, uint32_t attempt, double u);

#endif
