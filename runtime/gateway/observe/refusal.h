/* refusal.h - why the gateway answers a request itself instead of an upstream: one row for each reason. The access
 * log, the problem document, metrics and plugins have it from here; tests/lua/words_spec.lua holds docs/metrics.md
 * and docs/policies.md 4, "Answers", against it. Any thread. */
#ifndef MG_GATEWAY_OBSERVE_REFUSAL_H
#define MG_GATEWAY_OBSERVE_REFUSAL_H

#include "base/str.h"
#include "base/words.h"

#define MG_SERVICE_IS_BUSY "The upstream has as much to do as it can."

/* X(reason, word, status, Retry-After in seconds, detail). The word is what the access log has as `error`; NULL:
 * nothing. Below 0: no Retry-After. */
/* Those that are counted by service (moongate_upstream_refusals_total), NO_HOST the last. */
#define MG_SERVICE_REFUSALS(X)                                                                               \
    X(MG_REFUSED_CONCURRENCY, "concurrency", 503, 1, MG_SERVICE_IS_BUSY) /* breaker.max_concurrent */        \
    X(MG_REFUSED_ADAPTIVE, "adaptive", 503, 1, MG_SERVICE_IS_BUSY)                                           \
    X(MG_REFUSED_THROTTLE, "throttle", 503, 1, MG_SERVICE_IS_BUSY)                                           \
    X(MG_REFUSED_NO_HOST, "no_host", 503, 1, "No upstream is available.")
#define MG_REFUSALS(X)                                                                                       \
    MG_SERVICE_REFUSALS(X)                                                                                   \
    X(MG_REFUSED_BREAKER, "breaker_open", 503, 1, "The upstream is failing; try again later.")               \
    X(MG_REFUSED_POOL, "pool", 503, 1, "The upstream has no free connection.")                               \
    X(MG_REFUSED_CONNECT, "upstream_connect", 502, -1, "The upstream could not be reached.")                 \
    X(MG_REFUSED_RESET, "upstream_reset", 502, -1, "The upstream closed the connection.")                    \
    X(MG_REFUSED_PROTOCOL, "upstream_protocol", 502, -1, "The upstream's answer was malformed.")             \
    X(MG_REFUSED_HEAD_BYTES, "upstream_max_head_bytes", 502, -1,                                             \
      "The head of the upstream's answer is longer than max_head_bytes.")                                    \
    X(MG_REFUSED_FIELDS, "upstream_max_fields", 502, -1,                                                     \
      "The upstream's answer has more fields than max_fields.")                                              \
    X(MG_REFUSED_TIMEOUT, "upstream_timeout", 504, -1, "The upstream did not answer in time.")               \
    X(MG_REFUSED_DEADLINE, "deadline", 504, -1, "The time for this request is over.")                        \
    X(MG_REFUSED_RATE, "rate_limit", 429, -1, "Too many requests.") /* the limiter says when to return */    \
    X(MG_REFUSED_PERMITS, "concurrency", 503, 1, "Too many requests at once; try again.") /* a limiter's */  \
    X(MG_REFUSED_LOOP, "loop", 508, -1, "This request has come back to where it was sent on.")               \
    X(MG_REFUSED_NO_SERVICE, "no_service", 404, -1, "This route has no service and no plugin answered.")     \
    X(MG_REFUSED_PLUGIN_ERROR, "plugin_error", 500, -1, "The gateway could not handle this request.")        \
    X(MG_REFUSED_LUA_MEMORY, "lua_memory", 503, 1, "The gateway is busy.")                                   \
    X(MG_REFUSED_BODY, "body_too_large", 413, -1, "The body is larger than a plugin on this route takes.")   \
    X(MG_REFUSED_BAD_REQUEST, "bad_request", 400, -1, "") /* the reader says status and detail */            \
    X(MG_REFUSED_CUT, NULL, 502, -1, "The upstream closed the connection.") /* its word is the reset's */    \
    X(MG_REFUSED_UNKNOWN_METHOD, NULL, 501, -1, "No route here knows that method.")                          \
    X(MG_REFUSED_METHOD, NULL, 405, -1, "This path does not take that method.")                              \
    X(MG_REFUSED_NO_ROUTE, NULL, 404, -1, "No route matches this host and path.")                            \
    X(MG_REFUSED_PATH, NULL, 414, -1, "The path is longer than this route allows.")
#define MG_REFUSAL_ENUM(reason, word, status, retry_after_s, detail) reason,
typedef enum mg_refusal { MG_REFUSALS(MG_REFUSAL_ENUM) } mg_refusal;
enum { MG_SERVICE_REFUSALS_COUNT = MG_REFUSED_NO_HOST + 1 };

/* What the client is told, and the logs. Where a case differs from its reason's row, it has a copy. */
typedef struct mg_refusal_row {
    const char *error; /* static; NULL: the access log has none */
    mg_str detail;     /* a sentence for the client */
    int status;
    int retry_after_s; /* below 0: no Retry-After */
} mg_refusal_row;

extern const mg_refusal_row mg_refusals[];

#endif
