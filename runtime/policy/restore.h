/* restore.h - how old stored state has become (docs/policies.md 10): arithmetic of moments, in one unit
 * throughout that is the caller's. Any thread may call. */
#ifndef MG_POLICY_RESTORE_H
#define MG_POLICY_RESTORE_H

#include "policy/breaker.h"

/* What is left of a debt: never more than the rule can owe now. */
uint64_t mg_restore_bucket(uint64_t debt, uint64_t cap, uint64_t elapsed);

/* Shifts two window counters by the whole windows that have passed; `age` is how much of the current one
 * had. */
void mg_restore_window(uint64_t *age, uint64_t *prev, uint64_t *cur, uint64_t window, uint64_t elapsed);

/* Open keeps what is left of its time, half open comes back as open with none left, so that the next request
 * probes; an operator's word stays. */
void mg_restore_breaker(mg_breaker_state *state, uint64_t *remaining, uint64_t open_max, uint64_t elapsed);

#endif
