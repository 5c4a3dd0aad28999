/* exchange.c - the words for how an exchange ended. */
#include "http/exchange.h"

#include "base/check.h"

const char *mg_reset_text(mg_reset reason)
{
    switch (reason) {
    case MG_RESET_NONE: return "none";
    case MG_RESET_CLIENT_GONE: return "client_gone";
    case MG_RESET_CLIENT_PROTOCOL: return "client_protocol";
    case MG_RESET_CLIENT_TIMEOUT: return "client_timeout";
    case MG_RESET_UPSTREAM_CONNECT: return "upstream_connect";
    case MG_RESET_UPSTREAM_RESET: return "upstream_reset";
    case MG_RESET_UPSTREAM_PROTOCOL: return "upstream_protocol";
    case MG_RESET_UPSTREAM_TIMEOUT: return "upstream_timeout";
    case MG_RESET_POOL_FULL: return "pool";
    case MG_RESET_NO_HOST: return "no_host";
    case MG_RESET_DEADLINE: return "deadline";
    case MG_RESET_LOCAL: return "local";
    case MG_RESET_SHUTDOWN: return "shutdown";
    }
    MG_UNREACHABLE();
}
