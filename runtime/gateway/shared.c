/* shared.c - what outlives a snapshot, found by name. Building takes the lock; the request path holds
 * pointers. */
#include "gateway/shared.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "gateway/persist.h"
#include "gateway/service.h"

#include <pthread.h>
#include <stdlib.h>

typedef union policy_conf {
    mg_limiter_conf limiter;
    mg_breaker_conf breaker;
} policy_conf;

/* One configuration of a limiter or breaker. A later one of the same name and key goes on with its state and
 * stands before it; requests of an older snapshot may still hold this one. */
typedef struct policy_entry {
    struct policy_entry *older;
    uint64_t key_hash; /* what its keys are made of */
    policy_conf conf;
    void *policy; /* owned */
} policy_entry;

/* What entries of a name have in common; lives as long as the gateway. */
typedef struct policy_name {
    mg_str name;            /* owned */
    policy_entry *entries;  /* the newest first */
    _Atomic(void *) newest; /* its policy */
} policy_name;

/* What a registry does with its policies. */
typedef struct policy_kind {
    bool (*same)(const policy_conf *a, const policy_conf *b);
    /* A new one, or one that goes on with the state of `old`; NULL when the configuration is out of range. */
    void *(*make)(const void *old, const policy_conf *conf, uint64_t now_ns);
    bool (*shares)(const void *a, const void *b);
    void (*free)(void *policy);
    /* Has it outlive the process. */
    void (*keep)(mg_persist *persist, policy_name *name, const policy_entry *entry);
    void (*drop)(mg_persist *persist, policy_name *name, const policy_entry *entry);
} policy_kind;

struct mg_shared {
    mg_shared_options options;
    pthread_mutex_t lock;
    mg_map *limiters, *breakers, *counters; /* owned: policy_name, the counter */
    mg_accounts *accounts;                  /* owned */
    mg_services *services;                  /* owned */
    mg_limit_stats *limit_stats;            /* owned */
    uint64_t secret[2];                     /* of the limiters' fingerprints */
    unsigned own_limiters, own_breakers;    /* entries that plugins have made */
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

/* ---- limiters ---- */

static bool same_limit(const policy_conf *one, const policy_conf *other)
{
    const mg_limiter_conf *a = &one->limiter, *b = &other->limiter;

    return a->algorithm == b->algorithm && a->on_full == b->on_full && a->limit == b->limit &&
           a->period_ms == b->period_ms && a->burst == b->burst && a->max_wait_ms == b->max_wait_ms &&
           a->max_keys == b->max_keys && a->overflow_cells == b->overflow_cells &&
           a->max_entries == b->max_entries;
}

static void *make_limiter(const void *old, const policy_conf *conf, uint64_t now_ns)
{
    return old ? mg_limiter_next(old, &conf->limiter, now_ns, NULL) : mg_limiter_new(&conf->limiter, NULL);
}

static bool limiters_share(const void *a, const void *b)
{
    return mg_limiter_shares(a, b);
}

static void free_limiter(void *limiter)
{
    mg_limiter_free(limiter);
}

static void keep_limiter(mg_persist *persist, policy_name *name, const policy_entry *entry)
{
    mg_persist_keep_limiter(persist, name->name, entry->key_hash, &entry->conf.limiter, entry->policy);
}

static void drop_limiter(mg_persist *persist, policy_name *name, const policy_entry *entry)
{
    (void)name;
    mg_persist_drop_limiter(persist, entry->policy);
}

static const policy_kind limiter_kind = { same_limit,   make_limiter, limiters_share,
                                          free_limiter, keep_limiter, drop_limiter };

/* ---- breakers: all of a name share one state, which is kept through the newest ---- */

static bool same_breaker(const policy_conf *one, const policy_conf *other)
{
    const mg_breaker_conf *a = &one->breaker, *b = &other->breaker;

    return a->mode == b->mode && a->consecutive_failures == b->consecutive_failures &&
           a->window_ms == b->window_ms && a->buckets == b->buckets && a->window_calls == b->window_calls &&
           a->min_calls == b->min_calls && a->failure_bp == b->failure_bp && a->slow_bp == b->slow_bp &&
           a->open_ms == b->open_ms && a->open_max_ms == b->open_max_ms &&
           a->open_backoff_milli == b->open_backoff_milli && a->open_jitter_bp == b->open_jitter_bp &&
           a->half_open_probes == b->half_open_probes && a->half_open_max_ms == b->half_open_max_ms &&
           a->slow_call_ms == b->slow_call_ms;
}

static void *make_breaker(const void *old, const policy_conf *conf, uint64_t now_ns)
{
    return old ? mg_breaker_next(old, &conf->breaker, now_ns, NULL) : mg_breaker_new(&conf->breaker, NULL);
}

static bool breakers_share(const void *a, const void *b)
{
    (void)a;
    (void)b;
    return true;
}

static void free_breaker(void *breaker)
{
    mg_breaker_free(breaker);
}

static mg_breaker *newest_breaker(const void *name)
{
    return atomic_load(&((policy_name *)(uintptr_t)name)->newest);
}

static uint64_t breaker_stamp(const void *self)
{
    return mg_breaker_stamp(newest_breaker(self));
}

static void breaker_write(const void *self, uint64_t policy_ns, mg_text *row)
{
    const mg_breaker_record record = mg_breaker_read(newest_breaker(self), policy_ns);

    mg_persist_add_breaker(row, &record);
}

static bool breaker_read(void *self, mg_record *row, uint64_t policy_ns)
{
    mg_breaker_record record;

    if (!mg_persist_get_breaker(row, &record))
        return false;
    mg_breaker_restore(newest_breaker(self), &record, policy_ns);
    return true;
}

static void keep_breaker(mg_persist *persist, policy_name *name, const policy_entry *entry)
{
    static const mg_keep_ops ops = { breaker_stamp, breaker_write, breaker_read };

    if (!entry->older)
        mg_persist_keep(persist, MG_KEEP_BREAKER, name->name, &ops, name);
}

static void drop_breaker(mg_persist *persist, policy_name *name, const policy_entry *entry)
{
    if (!entry->older)
        mg_persist_drop(persist, name);
}

static const policy_kind breaker_kind = { same_breaker, make_breaker, breakers_share,
                                          free_breaker, keep_breaker, drop_breaker };

/* ---- finding either, and making it when it is not there ---- */

static policy_entry *of_key(policy_entry *entry, uint64_t key_hash)
{
    while (entry && entry->key_hash != key_hash)
        entry = entry->older;
    return entry;
}

/* An entry of this configuration over the state of `policy`, taken out of the list; or NULL. */
static policy_entry *take_older(const policy_kind *kind, policy_name *name, uint64_t key_hash,
                                const policy_conf *conf, const void *policy)
{
    for (policy_entry **at = &name->entries; *at; at = &(*at)->older) {
        policy_entry *entry = *at;
        if (entry->key_hash != key_hash || !kind->same(&entry->conf, conf) ||
            !kind->shares(entry->policy, policy))
            continue;
        *at = entry->older;
        return entry;
    }
    return NULL;
}

/* Makes the policy that the configuration asks for, which also clamps what is owed; where there has been one
 * like it over the same state it is that one again, so that changes to and fro leave no trail. */
static policy_entry *add_entry(mg_shared *shared, const policy_kind *kind, policy_name *name,
                               uint64_t key_hash, const policy_conf *conf, unsigned *made)
{
    const policy_entry *latest = of_key(name->entries, key_hash);
    void *policy = kind->make(latest ? latest->policy : NULL, conf, mg_shared_policy_now(shared));
    policy_entry *entry;

    if (!policy)
        return NULL;
    entry = take_older(kind, name, key_hash, conf, policy);
    if (entry) {
        kind->free(policy);
    } else {
        entry = MG_NEW(policy_entry);
        *entry = (policy_entry){ .key_hash = key_hash, .conf = *conf, .policy = policy };
        if (made)
            ++*made;
    }
    entry->older = name->entries;
    name->entries = entry;
    atomic_store(&name->newest, entry->policy);
    kind->keep(shared->options.persist, name, entry);
    return entry;
}

static policy_name *name_new(mg_map *map, mg_str text)
{
    policy_name *name = MG_NEW(policy_name);

    name->name = mg_str_make(mg_memdup0(text.p, text.n), text.n);
    (void)mg_map_set(map, text, name);
    return name;
}

/* `made` counts what plugins make, whose names and numbers may come from requests; NULL: a configuration's.
 */
static void *find(mg_shared *shared, const policy_kind *kind, mg_map *map, mg_str text, uint64_t key_hash,
                  const policy_conf *conf, unsigned *made)
{
    policy_entry *entry;

    pthread_mutex_lock(&shared->lock);
    policy_name *name = mg_map_get(map, text);
    entry = name ? of_key(name->entries, key_hash) : NULL;
    if ((!entry || !kind->same(&entry->conf, conf)) && made && *made >= MG_SHARED_POLICIES_MAX)
        entry = NULL;
    else if (!entry || !kind->same(&entry->conf, conf))
        entry = add_entry(shared, kind, name ? name : name_new(map, text), key_hash, conf, made);
    pthread_mutex_unlock(&shared->lock);
    return entry ? entry->policy : NULL;
}

static void free_policies(mg_shared *shared, const policy_kind *kind, mg_map *map)
{
    size_t cursor = 0;
    mg_str text;
    void *value;

    while (mg_map_next(map, &cursor, &text, &value)) {
        policy_name *name = value;
        for (policy_entry *entry = name->entries; entry; entry = entry->older)
            kind->drop(shared->options.persist, name, entry);
        for (policy_entry *entry = name->entries, *older; entry; entry = older) {
            older = entry->older;
            kind->free(entry->policy);
            mg_free(entry);
        }
        mg_free((char *)(uintptr_t)name->name.p);
        mg_free(name);
    }
    mg_map_free(map);
}

static mg_limiter *limiter_of(mg_shared *shared, mg_str name, uint64_t key_hash, const mg_limiter_conf *conf,
                              unsigned *made)
{
    policy_conf own = { .limiter = *conf };

    memcpy(own.limiter.secret, shared->secret, sizeof(shared->secret));
    return find(shared, &limiter_kind, shared->limiters, name, key_hash, &own, made);
}

mg_limiter *mg_shared_limiter(mg_shared *shared, mg_str name, const mg_limiter_conf *conf)
{
    return limiter_of(shared, name, 0, conf, &shared->own_limiters);
}

/* Stored: what goes into it, and how, never changes. */
static uint64_t hash_key(const mg_config_limiter *rule)
{
    mg_text text = { 0 };
    uint64_t hash;

    for (unsigned i = 0; i < rule->key_parts; i++)
        mg_text_addf(&text, "%d:%zu:%.*s;", (int)rule->key[i].kind, rule->key[i].name.n,
                     MG_STR_ARGS(rule->key[i].name));
    mg_text_addf(&text, "/%u/%u", rule->ipv4_prefix, rule->ipv6_prefix);
    hash = mg_hash(mg_text_str(&text), 1);
    mg_text_fini(&text);
    return hash | 1; /* 0: a plugin's */
}

mg_limiter *mg_shared_rule(mg_shared *shared, const mg_config_limiter *rule)
{
    return limiter_of(shared, rule->name, hash_key(rule), &rule->conf, NULL);
}

static mg_breaker *breaker_of(mg_shared *shared, mg_str name, const mg_breaker_conf *conf, unsigned *made)
{
    policy_conf own = { .breaker = *conf };

    own.breaker.seed = mg_hash(name, shared->options.seed);
    return find(shared, &breaker_kind, shared->breakers, name, 0, &own, made);
}

mg_breaker *mg_shared_breaker(mg_shared *shared, mg_str name, const mg_breaker_conf *conf)
{
    return breaker_of(shared, name, conf, NULL);
}

mg_breaker *mg_shared_plugin_breaker(mg_shared *shared, mg_str name, const mg_breaker_conf *conf)
{
    return breaker_of(shared, name, conf, &shared->own_breakers);
}

/* ---- counters and the rest ---- */

void mg_shared_free(mg_shared *shared)
{
    if (!shared)
        return;
    mg_services_free(shared->services);
    mg_accounts_free(shared->accounts);
    free_policies(shared, &limiter_kind, shared->limiters);
    free_policies(shared, &breaker_kind, shared->breakers);
    free_counters(shared->counters);
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

void mg_shared_each_breaker(mg_shared *shared,
                            void (*each)(void *self, mg_str name, const mg_breaker *breaker), void *self)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    pthread_mutex_lock(&shared->lock);
    while (mg_map_next(shared->breakers, &cursor, &name, &value))
        if (atomic_load(&((policy_name *)value)->newest))
            each(self, name, newest_breaker(value));
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
