/* limits.h - the limiters of the configuration in the life of a request: those before its first plugin,
 * tested together and then charged (docs/policies.md 4), and those further in its chain. The worker's loop
 * only. */
#ifndef MG_GATEWAY_REQUEST_LIMITS_H
#define MG_GATEWAY_REQUEST_LIMITS_H

#include "gateway/host.h"
#include "gateway/request/holds.h"
#include "gateway/snapshot.h"
#include "http/exchange.h"

typedef struct mg_flight mg_flight;

/* Of limits.c. */
typedef struct mg_limits {
    mg_holds holds; /* what goes back to limiters and breakers at the end; plugins' own, too */
    mg_list queued; /* among the worker's, while it waits for its turn */
    mg_timer timer; /* of a wait before the chain */
    mg_str refused_by;
    const mg_snapshot_limit
        *refusing;             /* the limiter the answer tells of: it refused, or has least remaining */
    mg_limiter_answer refusal; /* what it said */
} mg_limits;

typedef enum mg_limits_result {
    MG_LIMITS_PASSED,
    MG_LIMITS_REFUSED, /* the answer stands in the exchange */
    MG_LIMITS_WAITS,   /* for its turn; then the flight goes to its chain */
} mg_limits_result;

/* The leading native items of the route's chain. Once a flight. */
mg_limits_result mg_limits_pass(mg_flight *flight);
/* Adds RateLimit and RateLimit-Policy to the response, where a limiter took part. */
void mg_limits_describe(mg_flight *flight);
/* The exchange is over, whatever ended it: permits, reservations and the charge of a wait go back. Once,
 * before the exchange's arena is freed. */
void mg_limits_end(mg_flight *flight);

/* ---- for the functions of moongate.h that stand elsewhere ---- */

/* The rule of that name; NULL when the configuration has none. */
const mg_snapshot_limit *mg_limits_named(const mg_snapshot *snapshot, mg_str name);
/* What it grants is a permit, which has to come back. */
bool mg_limits_is_permit(const mg_snapshot_limit *rule);
/* The rule has decided on the key: counts it, samples the key. */
void mg_limits_decided(mg_host *host, const mg_snapshot_limit *rule, mg_str key,
                       const mg_limiter_answer *answer);
/* How long a wait may last so that the exchange's deadline is not over with it, in ns; whole milliseconds. */
uint64_t mg_limits_patience(const mg_exchange *x, uint64_t now_ns);

#endif
