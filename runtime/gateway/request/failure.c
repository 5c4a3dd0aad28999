/* failure.c - the table of failures of the upstream side (docs/policies.md 4, "Answers"). */
#include "gateway/request/failure.h"

#define TIME_IS_OVER "The time for this request is over."

const mg_failure mg_failure_slow_client = { 504,        -1,          MG_SERVED_ABORTED, MG_FAILURE_INNOCENT,
                                            "deadline", TIME_IS_OVER };

static const mg_failure connect = {
    502, -1, MG_SERVED_CONNECT, MG_FAILURE_CUT, "upstream_connect", "The upstream could not be reached."
};
static const mg_failure reset = {
    502, -1, MG_SERVED_RESET, MG_FAILURE_CUT, "upstream_reset", "The upstream closed the connection."
};
static const mg_failure protocol = {
    502, -1, MG_SERVED_PROTOCOL, MG_FAILURE_CUT, "upstream_protocol", "The upstream's answer was malformed."
};
static const mg_failure head_bytes = { 502,
                                       -1,
                                       MG_SERVED_PROTOCOL,
                                       MG_FAILURE_CUT,
                                       "upstream_max_head_bytes",
                                       "The head of the upstream's answer is longer than max_head_bytes." };
static const mg_failure fields = { 502,
                                   -1,
                                   MG_SERVED_PROTOCOL,
                                   MG_FAILURE_CUT,
                                   "upstream_max_fields",
                                   "The upstream's answer has more fields than max_fields." };
static const mg_failure timeout = {
    504, -1, MG_SERVED_TIMEOUT, MG_FAILURE_LATE, "upstream_timeout", "The upstream did not answer in time."
};
static const mg_failure deadline = { 504, -1, MG_SERVED_TIMEOUT, MG_FAILURE_LATE, "deadline", TIME_IS_OVER };
static const mg_failure pool = {
    503, 1, MG_SERVED_POOL, MG_FAILURE_INNOCENT, "pool", "The upstream has no free connection."
};
static const mg_failure no_host = {
    503, 1, MG_SERVED_CONNECT, MG_FAILURE_NO_ADDRESS, "no_host", "No upstream is available."
};

const mg_failure *mg_failure_of(mg_reset reason)
{
    switch (reason) {
    case MG_RESET_UPSTREAM_CONNECT: return &connect;
    case MG_RESET_UPSTREAM_PROTOCOL: return &protocol;
    case MG_RESET_UPSTREAM_HEAD: return &head_bytes;
    case MG_RESET_UPSTREAM_FIELDS: return &fields;
    case MG_RESET_UPSTREAM_TIMEOUT: return &timeout;
    case MG_RESET_DEADLINE: return &deadline;
    case MG_RESET_POOL_FULL: return &pool;
    case MG_RESET_NO_HOST: return &no_host;
    default: return &reset;
    }
}

bool mg_failure_is_upstreams(mg_reset reason)
{
    return reason >= MG_RESET_UPSTREAM_CONNECT && reason <= MG_RESET_UPSTREAM_TIMEOUT;
}
