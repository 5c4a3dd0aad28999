/* shared.c - what outlives a snapshot, found by name; and a candidate's, which waits for its time. Limiters
 * and breakers stand in shared_policies.c. Building takes the lock; the request path holds pointers. */
#include "gateway/shared_parts.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/service/service.h"
#include "state/persist.h"

#include <stdlib.h>

mg_shared *mg_shared_new(const mg_shared_options *options)
{
    mg_shared *shared = MG_NEW(mg_shared);

    MG_CHECK(options->workers >= 1 && options->workers <= MG_WORKERS_MAX);
    shared->options = *options;
    MG_CHECK(pthread_mutex_init(&shared->lock, NULL) == 0);
    shared->limiters = mg_map_new(options->seed);
    shared->breakers = mg_map_new(options->seed);
    shared->counters = mg_map_new(options->seed);
    shared->draft.counters = mg_map_new(options->seed);
    shared->full = mg_map_new(options->seed);
    shared->draft.end = &shared->draft.policies;
    shared->limit_stats = mg_limit_stats_new(options->workers);
    shared->secret[0] = mg_hash(MG_STR("limiter"), options->seed);
    shared->secret[1] = mg_hash(MG_STR("fingerprint"), options->seed);
    if (options->persist) /* or nothing that comes back would be found */
        memcpy(shared->secret, mg_persist_secret(options->persist), sizeof(shared->secret));
    shared->accounts = mg_accounts_new(options->seed);
    shared->services = mg_services_new(shared);
    return shared;
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

/* ---- a candidate ---- */

static void end_counters(mg_shared *shared, bool adopted)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    while (adopted && mg_map_next(shared->draft.counters, &cursor, &name, &value))
        (void)mg_map_set(shared->counters, name, value);
    if (adopted)
        mg_map_free(shared->draft.counters);
    else
        free_counters(shared->draft.counters);
    shared->draft.counters = mg_map_new(shared->options.seed);
    mg_map_free(shared->full); /* a candidate's counters may have gone */
    shared->full = mg_map_new(shared->options.seed);
}

void mg_shared_begin(mg_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    MG_CHECK(!shared->draft.collecting);
    shared->draft.collecting = true;
    shared->draft.collector = pthread_self();
    pthread_mutex_unlock(&shared->lock);
}

void mg_shared_built(mg_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    shared->draft.collecting = false;
    pthread_mutex_unlock(&shared->lock);
}

void mg_shared_adopt(mg_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    mg_shared_adopt_policies(shared);
    end_counters(shared, true);
    pthread_mutex_unlock(&shared->lock);
}

void mg_shared_drop(mg_shared *shared)
{
    pthread_mutex_lock(&shared->lock);
    mg_shared_drop_policies(shared);
    end_counters(shared, false);
    pthread_mutex_unlock(&shared->lock);
}

/* ---- counters and the rest ---- */

void mg_shared_free(mg_shared *shared)
{
    if (!shared)
        return;
    mg_services_free(shared->services);
    mg_accounts_free(shared->accounts);
    mg_shared_free_policies(shared);
    free_counters(shared->draft.counters);
    free_counters(shared->counters);
    mg_map_free(shared->full);
    mg_limit_stats_free(shared->limit_stats);
    pthread_mutex_destroy(&shared->lock);
    mg_free(shared);
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

/* "plugin/"; absent for a name without. */
static mg_str plugin_of(mg_str name)
{
    for (size_t n = name.n; n > 0; n--)
        if (name.p[n - 1] == '/')
            return mg_str_sub(name, 0, n);
    return MG_STR_NONE;
}

static size_t count_of(const mg_map *map, mg_str plugin)
{
    size_t cursor = 0, count = 0;
    mg_str name;
    void *value;

    while (mg_map_next(map, &cursor, &name, &value))
        count += mg_str_starts(name, plugin);
    return count;
}

/* Whether one more has room. No plugin takes what others may need. */
static bool has_room(const mg_shared *shared, mg_str plugin)
{
    if (mg_map_count(shared->counters) + mg_map_count(shared->draft.counters) >= MG_SHARED_COUNTERS_MAX)
        return false;
    return !plugin.p || count_of(shared->counters, plugin) + count_of(shared->draft.counters, plugin) <
                            MG_PLUGIN_COUNTERS_MAX;
}

/* For a candidate: as long as it may be dropped, nobody else counts in it. */
static mg_counter *take_counter(mg_shared *shared, mg_str name)
{
    mg_map *drafted = shared->draft.counters;
    mg_counter *counter = mg_map_get(drafted, name);

    if (!counter && has_room(shared, plugin_of(name))) {
        counter = counter_new(name, shared->options.workers);
        (void)mg_map_set(drafted, name, counter);
    }
    return counter;
}

/* For a request: where a candidate waits with one of the name, it is that one, and stays. */
static mg_counter *add_counter(mg_shared *shared, mg_str name)
{
    mg_counter *counter = mg_map_set(shared->draft.counters, name, NULL);

    if (!counter && has_room(shared, plugin_of(name)))
        counter = counter_new(name, shared->options.workers);
    if (counter)
        (void)mg_map_set(shared->counters, name, counter);
    return counter;
}

static mg_counter *find_counter(mg_shared *shared, mg_str name)
{
    const mg_str plugin = plugin_of(name);
    mg_counter *counter = mg_map_get(shared->counters, name);

    if (!counter && plugin.p &&
        mg_map_get(shared->full, plugin)) /* nothing is counted through for each request */
        return mg_map_get(shared->draft.counters, name);
    if (!counter)
        counter = shared_is_collected(shared) ? take_counter(shared, name) : add_counter(shared, name);
    return counter;
}

mg_counter *mg_shared_counter(mg_shared *shared, mg_str name, bool *first)
{
    const mg_str plugin = plugin_of(name);

    pthread_mutex_lock(&shared->lock);
    mg_counter *counter = find_counter(shared, name);
    *first = !counter && plugin.p && !mg_map_set(shared->full, plugin, shared);
    pthread_mutex_unlock(&shared->lock);
    if (!counter)
        atomic_fetch_add_explicit(&shared->counters_dropped, 1, memory_order_relaxed);
    return counter;
}

uint64_t mg_shared_counters_dropped(const mg_shared *shared)
{
    return atomic_load_explicit(&shared->counters_dropped, memory_order_relaxed);
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

mg_accounts *mg_shared_accounts(mg_shared *shared)
{
    return shared->accounts;
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

uint64_t mg_shared_policy_at(const mg_shared *shared, uint64_t mono_ns)
{
    return mg_policy_clock_at(shared->options.policy_clock, mono_ns);
}
