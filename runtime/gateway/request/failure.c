/* failure.c - the table of failures of the upstream side (docs/policies.md 4, "Answers"). */
#include "gateway/request/failure.h"

const mg_failure mg_failure_slow_client = { MG_REFUSED_DEADLINE, MG_SERVED_ABORTED, MG_FAILURE_INNOCENT };

const mg_failure *mg_failure_of(mg_reset reason)
{
    static const mg_failure reset = { MG_REFUSED_RESET, MG_SERVED_RESET, MG_FAILURE_CUT };
    static const mg_failure connect = { MG_REFUSED_CONNECT, MG_SERVED_CONNECT, MG_FAILURE_CUT };
    static const mg_failure protocol = { MG_REFUSED_PROTOCOL, MG_SERVED_PROTOCOL, MG_FAILURE_CUT };
    static const mg_failure head_bytes = { MG_REFUSED_HEAD_BYTES, MG_SERVED_PROTOCOL, MG_FAILURE_CUT };
    static const mg_failure fields = { MG_REFUSED_FIELDS, MG_SERVED_PROTOCOL, MG_FAILURE_CUT };
    static const mg_failure timeout = { MG_REFUSED_TIMEOUT, MG_SERVED_TIMEOUT, MG_FAILURE_LATE };
    static const mg_failure deadline = { MG_REFUSED_DEADLINE, MG_SERVED_TIMEOUT, MG_FAILURE_LATE };
    static const mg_failure pool = { MG_REFUSED_POOL, MG_SERVED_POOL, MG_FAILURE_INNOCENT };
    static const mg_failure no_host = { MG_REFUSED_NO_HOST, MG_SERVED_CONNECT, MG_FAILURE_NO_ADDRESS };

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
