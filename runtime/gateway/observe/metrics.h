/* metrics.h - what happened, counted per worker without locks and added up at scrape (docs/metrics.md). Label
 * values come from configuration or closed sets; a metric past its series cap folds into `_other`. Counting
 * for a worker: its own loop. Numbers of names, and reading: any thread. */
#ifndef MG_GATEWAY_OBSERVE_METRICS_H
#define MG_GATEWAY_OBSERVE_METRICS_H

#include "base/stat.h"
#include "base/str.h"
#include "base/words.h"
#include "http/message.h"

typedef struct mg_stats mg_stats;

enum {
    MG_STATS_SERIES = 8192,  /* of one metric and worker: a power of two */
    MG_STATS_ROUTES = 65536, /* route names ever seen; later ones are `_other` */
};

/* For so many workers. */
mg_stats *mg_stats_new(unsigned workers);
void mg_stats_free(mg_stats *stats);

/* The number of a route's name, given once and kept over reloads; 0 is "" (no route matched). A lock is
 * held: for building. */
uint32_t mg_stats_route(mg_stats *stats, mg_str name);

/* One request has ended. The worker's own thread. */
void mg_stats_request(mg_stats *stats, unsigned worker, uint32_t route, mg_method method, uint16_t status,
                      uint64_t duration_us, uint64_t own_us, uint64_t bytes_in, uint64_t bytes_out);

/* What an upstream exchange came to; `service` as mg_stats_route numbers, in a space of its own. */
#define MG_UPSTREAM_OUTCOMES(X)                                                                              \
    X(MG_SERVED_OK, "ok")                                                                                    \
    X(MG_SERVED_CONNECT, "connect_error")                                                                    \
    X(MG_SERVED_RESET, "reset")                                                                              \
    X(MG_SERVED_PROTOCOL, "protocol_error")                                                                  \
    X(MG_SERVED_TIMEOUT, "timeout")                                                                          \
    X(MG_SERVED_POOL, "pool_full")                                                                           \
    X(MG_SERVED_BREAKER, "breaker_open")                                                                     \
    X(MG_SERVED_ABORTED, "aborted")
typedef enum mg_upstream_outcome { MG_UPSTREAM_OUTCOMES(MG_WORD_ENUM) MG_SERVED_COUNT } mg_upstream_outcome;
uint32_t mg_stats_service(mg_stats *stats, mg_str name);
void mg_stats_upstream(mg_stats *stats, unsigned worker, uint32_t service, mg_upstream_outcome outcome);

/* For those who look at one thing; any thread. Every count of requests that ended, by route (as
 * mg_stats_route numbered it) and status; how long a route's took, over all workers, false when it had none;
 * how many have begun and not ended. */
void mg_stats_each_request(const mg_stats *stats,
                           void (*each)(void *self, uint32_t route, uint16_t status, uint64_t count),
                           void *self);
bool mg_stats_route_duration(const mg_stats *stats, uint32_t route, mg_histogram *sum);
uint64_t mg_stats_in_flight_now(const mg_stats *stats);

/* What plugins run beside requests, and what became of it. */
#define MG_TASK_KIND_LIST(X)                                                                                 \
    X(MG_TASK_OF_REQUEST, "task")                                                                            \
    X(MG_TASK_OF_EVERY, "every")
typedef enum mg_task_kind { MG_TASK_KIND_LIST(MG_WORD_ENUM) MG_TASK_KINDS } mg_task_kind;
#define MG_TASK_OUTCOME_LIST(X)                                                                              \
    X(MG_TASK_OK, "ok")                                                                                      \
    X(MG_TASK_FAILED, "failed")       /* it raised, or there was no memory for it */                         \
    X(MG_TASK_DEADLINE, "deadline")   /* its time was over */                                                \
    X(MG_TASK_CANCELLED, "cancelled") /* what began it was over, and nobody had detached it */               \
    X(MG_TASK_RETIRED, "retired")     /* its Lua state was, or the gateway stopped */                        \
    X(MG_TASK_REFUSED, "refused")     /* there were too many: it never began */
typedef enum mg_task_outcome { MG_TASK_OUTCOME_LIST(MG_WORD_ENUM) MG_TASK_OUTCOMES } mg_task_outcome;

typedef enum mg_stat_event {
    MG_EVENT_PLUGIN_ERROR,
    MG_EVENT_FIELD_DROPPED,
    MG_EVENT_VM_RENEWAL,
    MG_EVENT_COUNT
} mg_stat_event;
void mg_stats_event(mg_stats *stats, unsigned worker, mg_stat_event event, uint64_t n);
void mg_stats_in_flight(mg_stats *stats, unsigned worker, int by);
void mg_stats_task(mg_stats *stats, unsigned worker, mg_task_kind kind, mg_task_outcome outcome);
void mg_stats_tasks_running(mg_stats *stats, unsigned worker, mg_task_kind kind, int by);

/* Where the time of a request ran out; its route's. */
#define MG_DEADLINE_PLACES(X)                                                                                \
    X(MG_DEADLINE_ROUTE, "route")                                                                            \
    X(MG_DEADLINE_LIMITER, "limiter")                                                                        \
    X(MG_DEADLINE_PLUGIN, "plugin")                                                                          \
    X(MG_DEADLINE_RETRY, "retry")                                                                            \
    X(MG_DEADLINE_UPSTREAM, "upstream")
typedef enum mg_deadline_place {
    MG_DEADLINE_KEPT, /* nowhere: it did not run out */
    MG_DEADLINE_PLACES(MG_WORD_ENUM) MG_DEADLINES
} mg_deadline_place;
/* `where` is not KEPT. */
void mg_stats_deadline(mg_stats *stats, unsigned worker, uint32_t route, mg_deadline_place where);

typedef struct mg_stats_global {
    uint64_t revision, reloads_ok, reloads_refused, last_success_s;
    size_t lua_memory_bytes;
    uint64_t counters_dropped;
} mg_stats_global;

/* Prometheus text format 0.0.4. Any thread. */
void mg_stats_write(mg_stats *stats, const mg_stats_global *global, mg_text *out);
/* Its parts: HELP and TYPE; a histogram's series, with labels of its own or "". */
void mg_stats_head(mg_text *out, const char *name, const char *type, const char *help);
void mg_stats_histogram(mg_text *out, const char *name, const char *labels, const mg_histogram *h);

#endif
