/* restore.c - the ageing of stored state. */
#include "policy/restore.h"

#include "base/time.h"

uint64_t mg_restore_bucket(uint64_t debt, uint64_t cap, uint64_t elapsed)
{
    const uint64_t owed = mg_min_u64(debt, cap);

    return owed > elapsed ? owed - elapsed : 0;
}

void mg_restore_window(uint64_t *age, uint64_t *prev, uint64_t *cur, uint64_t window, uint64_t elapsed)
{
    const uint64_t shifted = mg_add_sat(*age, elapsed) / window;

    *age = mg_add_sat(*age, elapsed) % window;
    if (shifted)
        *prev = shifted == 1 ? *cur : 0;
    if (shifted)
        *cur = 0;
}

void mg_restore_breaker(mg_breaker_state *state, uint64_t *remaining, uint64_t open_max, uint64_t elapsed)
{
    switch (*state) {
    case MG_BREAKER_OPEN: *remaining = mg_restore_bucket(*remaining, open_max, elapsed); break;
    case MG_BREAKER_HALF_OPEN:
        *state = MG_BREAKER_OPEN;
        *remaining = 0;
        break;
    default: *remaining = 0;
    }
}
