/* shared.h - what all workers of a gateway share and what outlives a snapshot: limiters, breakers and
 * counters by name, the key-value store, the policy clock. Names are looked up when a snapshot or a VM is
 * built, never on the request path. Any thread, where nothing else is said. */
#ifndef MG_GATEWAY_SHARED_H
#define MG_GATEWAY_SHARED_H

#include "base/err.h"
#include "base/log.h"
#include "base/stat.h"
#include "base/time.h"
#include "config/config.h"
#include "gateway/observe/limit_stats.h"
#include "net/account.h"
#include "policy/breaker.h"
#include "policy/limiter.h"

typedef struct mg_shared mg_shared;
typedef struct mg_kv mg_kv;             /* state/kv.h */
typedef struct mg_persist mg_persist;   /* state/persist.h */
typedef struct mg_services mg_services; /* gateway/service/service.h */

/* What the limiters that plugins make may take together when they are full: four of the largest. */
#define MG_SHARED_OWN_BYTES_MAX (8ull << 30)

enum {
    MG_WORKERS_MAX = 256,
    MG_SHARED_COUNTERS_MAX = 4096,
    MG_PLUGIN_COUNTERS_MAX = 256,
    MG_SHARED_POLICIES_MAX = 4096
};

/* A counter with one cell a worker. */
typedef struct mg_counter {
    char *name; /* owned */
    struct {
        _Alignas(64) mg_cell cell;
    } cells[]; /* one a worker */
} mg_counter;

typedef struct mg_shared_options {
    unsigned workers;
    const mg_clock *clock;               /* borrowed */
    const mg_policy_clock *policy_clock; /* borrowed */
    mg_log *log;                         /* borrowed */
    mg_kv *kv;                           /* borrowed */
    mg_persist *persist;                 /* borrowed; NULL: nothing outlives the process */
    uint64_t seed;
} mg_shared_options;

mg_shared *mg_shared_new(const mg_shared_options *options);
void mg_shared_free(mg_shared *shared);

/* What plugins ask for in `new` while a configuration is tried is the candidate's: between begin and built,
 * as often as these are called for it, on the thread that called begin, mg_shared_limiter, _plugin_breaker and
 * _counter make what is not there yet aside, and nothing that is there changes. mg_shared_adopt puts it in force: it goes on with the state that
 * is kept under its name, clamped. mg_shared_drop frees it without a trace; nobody may hold any of it then.
 * One candidate at a time. Begin, built and drop on any thread; adopt on the control thread. */
void mg_shared_begin(mg_shared *shared);
void mg_shared_built(mg_shared *shared);
void mg_shared_adopt(mg_shared *shared);
void mg_shared_drop(mg_shared *shared); /* nothing when there is no candidate */

/* Any thread; a lock is held: these are for building. Found by name or made; state is kept and clamped when
 * the configuration differs (docs/policies.md 2). They live as long as the gateway. NULL when the
 * configuration is out of range, when there are too many counters, limiters or breakers that plugins made
 * (MG_SHARED_POLICIES_MAX each, one a name and configuration), or limiters that take more than
 * MG_SHARED_OWN_BYTES_MAX together; `err`, which may be NULL, tells why. Secret and seed of
 * the configuration are ours to set. What a store remembers of them, they begin with (persist.h). */
mg_limiter *mg_shared_limiter(mg_shared *shared, mg_str name, const mg_limiter_conf *conf,
                              mg_error *err); /* a plugin's */
/* A limiter of the configuration: one whose key is made otherwise begins with nothing. NULL when the system
 * does not give it its memory, which mg_snapshot_build has looked at before. */
mg_limiter *mg_shared_rule(mg_shared *shared, const mg_config_limiter *rule);
mg_breaker *mg_shared_breaker(mg_shared *shared, mg_str name, const mg_breaker_conf *conf);
mg_breaker *mg_shared_plugin_breaker(mg_shared *shared, mg_str name, const mg_breaker_conf *conf,
                                     mg_error *err);
/* Of "plugin/name": NULL when the plugin's share is used up, or all there are; `first` then: for the first
 * time of this plugin. Counted in mg_shared_counters_dropped. */
mg_counter *mg_shared_counter(mg_shared *shared, mg_str name, bool *first);
uint64_t mg_shared_counters_dropped(const mg_shared *shared);
uint64_t mg_counter_sum(const mg_shared *shared, const mg_counter *counter);
/* All counters, for /metrics; under the lock, `each` must be short. */
void mg_shared_each_counter(mg_shared *shared, void (*each)(void *self, const mg_counter *counter),
                            void *self);

/* All breakers, the newest of each name, for those who watch; under the lock, `each` must be short. */
void mg_shared_each_breaker(mg_shared *shared,
                            void (*each)(void *self, mg_str name, const mg_breaker *breaker), void *self);

mg_kv *mg_shared_kv(mg_shared *shared);
mg_persist *mg_shared_persist(mg_shared *shared);
mg_services *mg_shared_services(mg_shared *shared); /* the control thread's, see there */
mg_accounts *mg_shared_accounts(mg_shared *shared);
mg_limit_stats *mg_shared_limit_stats(mg_shared *shared);
unsigned mg_shared_workers(const mg_shared *shared);
uint64_t mg_shared_seed(const mg_shared *shared);       /* of maps */
uint64_t mg_shared_policy_now(const mg_shared *shared); /* ns of the policy clock */
/* The same at that moment of the monotonic clock: a loop's now, without reading a clock. */
uint64_t mg_shared_policy_at(const mg_shared *shared, uint64_t mono_ns);

#endif
