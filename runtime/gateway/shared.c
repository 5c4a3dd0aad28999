/* shared.c - what outlives a snapshot, found by name. Building takes the lock; the request path holds
 * pointers. */
#include "gateway/shared.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "gateway/service.h"

#include <pthread.h>
#include <stdlib.h>

/* One configuration of a limiter or breaker. A later one of the same name shares its state and stands before
 * it; requests of an older snapshot may still hold this one. */
typedef struct limiter_entry {
    struct limiter_entry *older;
    mg_limiter_conf conf;
    mg_limiter *limiter; /* owned */
} limiter_entry;

typedef struct breaker_entry {
    struct breaker_entry *older;
    mg_breaker_conf conf;
    mg_breaker *breaker; /* owned */
} breaker_entry;

struct mg_shared {
    mg_shared_options options;
    pthread_mutex_t lock;
    mg_map *limiters, *breakers, *counters; /* owned: the newest entry, the counter */
    mg_services *services;                  /* owned */
    mg_limit_stats *limit_stats;            /* owned */
    uint64_t secret[2];                     /* of the limiters' fingerprints */
};

mg_shared *mg_shared_new(const mg_shared_options *options)
{
    mg_shared *shared = MG_NEW(mg_shared);

    MG_CHECK(options->workers >= 1 && options->workers <= MG_WORKERS_MAX);
    shared->options = *options;
    MG_CHECK(pthread_mutex_init(&shared->lock, NULL) == 0);
    shared->limiters = mg_map_new(options->seed);
    shared->breakers = mg_map_new(options->seed);
    shared->counters = mg_map_new(options->seed);
    shared->limit_stats = mg_limit_stats_new(options->workers);
    shared->secret[0] = mg_hash(MG_STR("limiter"), options->seed);
    shared->secret[1] = mg_hash(MG_STR("fingerprint"), options->seed);
    shared->services = mg_services_new(shared);
    return shared;
}

static void free_limiters(mg_map *map)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    while (mg_map_next(map, &cursor, &name, &value))
        for (limiter_entry *entry = value, *older; entry; entry = older) {
            older = entry->older;
            mg_limiter_free(entry->limiter);
            mg_free(entry);
        }
    mg_map_free(map);
}

static void free_breakers(mg_map *map)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    while (mg_map_next(map, &cursor, &name, &value))
        for (breaker_entry *entry = value, *older; entry; entry = older) {
            older = entry->older;
            mg_breaker_free(entry->breaker);
            mg_free(entry);
        }
    mg_map_free(map);
}

static void free_counters(mg_map *map)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    while (mg_map_next(map, &cursor, &name, &value)) {
        mg_free(((mg_counter *)value)->name);
        mg_free(value);
    }
    mg_map_free(map);
}

void mg_shared_free(mg_shared *shared)
{
    if (!shared)
        return;
    mg_services_free(shared->services);
    free_limiters(shared->limiters);
    free_breakers(shared->breakers);
    free_counters(shared->counters);
    mg_limit_stats_free(shared->limit_stats);
    pthread_mutex_destroy(&shared->lock);
    mg_free(shared);
}

static bool same_limit(const mg_limiter_conf *a, const mg_limiter_conf *b)
{
    return a->algorithm == b->algorithm && a->on_full == b->on_full && a->limit == b->limit &&
           a->period_ms == b->period_ms && a->burst == b->burst && a->max_wait_ms == b->max_wait_ms &&
           a->max_keys == b->max_keys && a->overflow_cells == b->overflow_cells;
}

static limiter_entry *find_limiter(limiter_entry *entry, const mg_limiter_conf *conf)
{
    while (entry && !same_limit(&entry->conf, conf))
        entry = entry->older;
    return entry;
}

static mg_limiter *limiter_locked(mg_shared *shared, mg_str name, const mg_limiter_conf *conf)
{
    limiter_entry *newest = mg_map_get(shared->limiters, name);
    limiter_entry *entry = find_limiter(newest, conf);
    mg_limiter *limiter;

    if (entry)
        return entry->limiter;
    limiter = newest ? mg_limiter_next(newest->limiter, conf, mg_shared_policy_now(shared), NULL)
                     : mg_limiter_new(conf, NULL);
    if (!limiter)
        return NULL;
    entry = MG_NEW(limiter_entry);
    *entry = (limiter_entry){ newest, *conf, limiter };
    (void)mg_map_set(shared->limiters, name, entry);
    return limiter;
}

mg_limiter *mg_shared_limiter(mg_shared *shared, mg_str name, const mg_limiter_conf *conf)
{
    mg_limiter_conf own = *conf;
    mg_limiter *limiter;

    own.secret[0] = shared->secret[0];
    own.secret[1] = shared->secret[1];
    pthread_mutex_lock(&shared->lock);
    limiter = limiter_locked(shared, name, &own);
    pthread_mutex_unlock(&shared->lock);
    return limiter;
}

static bool same_breaker(const mg_breaker_conf *a, const mg_breaker_conf *b)
{
    return a->mode == b->mode && a->consecutive_failures == b->consecutive_failures &&
           a->open_ms == b->open_ms && a->open_max_ms == b->open_max_ms &&
           a->open_backoff_milli == b->open_backoff_milli && a->open_jitter_bp == b->open_jitter_bp &&
           a->half_open_probes == b->half_open_probes && a->half_open_max_ms == b->half_open_max_ms &&
           a->slow_call_ms == b->slow_call_ms;
}

static breaker_entry *find_breaker(breaker_entry *entry, const mg_breaker_conf *conf)
{
    while (entry && !same_breaker(&entry->conf, conf))
        entry = entry->older;
    return entry;
}

static mg_breaker *breaker_locked(mg_shared *shared, mg_str name, const mg_breaker_conf *conf)
{
    breaker_entry *newest = mg_map_get(shared->breakers, name);
    breaker_entry *entry = find_breaker(newest, conf);
    mg_breaker *breaker;

    if (entry)
        return entry->breaker;
    breaker = newest ? mg_breaker_next(newest->breaker, conf, mg_shared_policy_now(shared), NULL)
                     : mg_breaker_new(conf, NULL);
    if (!breaker)
        return NULL;
    entry = MG_NEW(breaker_entry);
    *entry = (breaker_entry){ newest, *conf, breaker };
    (void)mg_map_set(shared->breakers, name, entry);
    return breaker;
}

mg_breaker *mg_shared_breaker(mg_shared *shared, mg_str name, const mg_breaker_conf *conf)
{
    mg_breaker_conf own = *conf;
    mg_breaker *breaker;

    own.seed = mg_hash(name, shared->options.seed);
    pthread_mutex_lock(&shared->lock);
    breaker = breaker_locked(shared, name, &own);
    pthread_mutex_unlock(&shared->lock);
    return breaker;
}

static mg_counter *counter_new(mg_str name, unsigned workers)
{
    const size_t bytes = sizeof(mg_counter) + workers * sizeof(((mg_counter *)NULL)->cells[0]);
    mg_counter *counter = aligned_alloc(64, (bytes + 63) & ~(size_t)63);

    MG_CHECK(counter);
    memset(counter, 0, bytes);
    counter->name = mg_memdup0(name.p, name.n);
    return counter;
}

mg_counter *mg_shared_counter(mg_shared *shared, mg_str name)
{
    mg_counter *counter;

    pthread_mutex_lock(&shared->lock);
    counter = mg_map_get(shared->counters, name);
    if (!counter && mg_map_count(shared->counters) < MG_SHARED_COUNTERS_MAX) {
        counter = counter_new(name, shared->options.workers);
        (void)mg_map_set(shared->counters, name, counter);
    }
    pthread_mutex_unlock(&shared->lock);
    return counter;
}

uint64_t mg_counter_sum(const mg_shared *shared, const mg_counter *counter)
{
    uint64_t sum = 0;

    for (unsigned i = 0; i < shared->options.workers; i++)
        sum += mg_cell_get(&counter->cells[i].cell);
    return sum;
}

void mg_shared_each_counter(mg_shared *shared, void (*each)(void *self, const mg_counter *counter),
                            void *self)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    pthread_mutex_lock(&shared->lock);
    while (mg_map_next(shared->counters, &cursor, &name, &value))
        each(self, value);
    pthread_mutex_unlock(&shared->lock);
}

mg_kv *mg_shared_kv(mg_shared *shared)
{
    return shared->options.kv;
}

mg_persist *mg_shared_persist(mg_shared *shared)
{
    return shared->options.persist;
}

mg_services *mg_shared_services(mg_shared *shared)
{
    return shared->services;
}

mg_limit_stats *mg_shared_limit_stats(mg_shared *shared)
{
    return shared->limit_stats;
}

unsigned mg_shared_workers(const mg_shared *shared)
{
    return shared->options.workers;
}

uint64_t mg_shared_seed(const mg_shared *shared)
{
    return shared->options.seed;
}

uint64_t mg_shared_policy_now(const mg_shared *shared)
{
    return mg_policy_clock_now(shared->options.policy_clock);
}
