/* shared_policies.c - limiters and breakers by name: one in force, those before it over the same state, and a
 * candidate's aside. */
#include "gateway/shared_parts.h"

#include "base/mem.h"
#include "state/persist.h"

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
    void *(*make)(const void *old, const policy_conf *conf, uint64_t now_ns, mg_error *err);
    /* One that was made without an old one, and that nobody serves yet, goes on with the state of `old`. */
    void (*follow)(void *policy, const void *old, uint64_t now_ns);
    bool (*shares)(const void *a, const void *b);
    void (*free)(void *policy);
    /* Has it outlive the process. */
    void (*keep)(mg_persist *persist, policy_name *name, const policy_entry *entry);
    void (*drop)(mg_persist *persist, policy_name *name, const policy_entry *entry);
    const char *many; /* "limiters" */
    /* What one takes when it is full; NULL: next to nothing. */
    uint64_t (*bytes)(const policy_conf *conf);
} policy_kind;

/* What a plugin of a candidate asked for. */
struct draft_policy {
    struct draft_policy *next;
    const policy_kind *kind;
    mg_map *map;       /* borrowed: where its name belongs */
    shared_made *made; /* borrowed: where it counts */
    mg_str name;       /* owned */
    policy_conf conf;
    void *policy; /* owned unless an earlier entry has it */
    bool earlier;
};

/* ---- limiters ---- */

static bool same_limit(const policy_conf *one, const policy_conf *other)
{
    const mg_limiter_conf *a = &one->limiter, *b = &other->limiter;

    return a->algorithm == b->algorithm && a->on_full == b->on_full && a->limit == b->limit &&
           a->period_ms == b->period_ms && a->burst == b->burst && a->max_wait_ms == b->max_wait_ms &&
           a->max_keys == b->max_keys && a->overflow_cells == b->overflow_cells &&
           a->max_entries == b->max_entries;
}

static void *make_limiter(const void *old, const policy_conf *conf, uint64_t now_ns, mg_error *err)
{
    return old ? mg_limiter_next(old, &conf->limiter, now_ns, err) : mg_limiter_new(&conf->limiter, err);
}

static uint64_t limiter_bytes(const policy_conf *conf)
{
    return mg_limiter_bytes(&conf->limiter);
}

static void follow_limiter(void *limiter, const void *old, uint64_t now_ns)
{
    mg_limiter_follow(limiter, old, now_ns);
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

static const policy_kind limiter_kind = { same_limit,     make_limiter, follow_limiter,
                                          limiters_share, free_limiter, keep_limiter,
                                          drop_limiter,   "limiters",   limiter_bytes };

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

static void *make_breaker(const void *old, const policy_conf *conf, uint64_t now_ns, mg_error *err)
{
    return old ? mg_breaker_next(old, &conf->breaker, now_ns, err) : mg_breaker_new(&conf->breaker, err);
}

static void follow_breaker(void *breaker, const void *old, uint64_t now_ns)
{
    mg_breaker_follow(breaker, old, now_ns);
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

static const policy_kind breaker_kind = { same_breaker,   make_breaker, follow_breaker,
                                          breakers_share, free_breaker, keep_breaker,
                                          drop_breaker,   "breakers",   NULL };

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

static void put_first(mg_shared *shared, const policy_kind *kind, policy_name *name, policy_entry *entry)
{
    entry->older = name->entries;
    name->entries = entry;
    atomic_store(&name->newest, entry->policy);
    kind->keep(shared->options.persist, name, entry);
}

static uint64_t bytes_of(const policy_kind *kind, const policy_conf *conf)
{
    return kind->bytes ? kind->bytes(conf) : 0;
}

static void count_made(shared_made *made, const policy_kind *kind, const policy_conf *conf)
{
    made->count++;
    made->bytes += bytes_of(kind, conf);
}

/* Makes the policy that the configuration asks for, which also clamps what is owed; where there has been one
 * like it over the same state it is that one again, so that changes to and fro leave no trail. */
static policy_entry *add_entry(mg_shared *shared, const policy_kind *kind, policy_name *name,
                               uint64_t key_hash, const policy_conf *conf, shared_made *made, mg_error *err)
{
    const policy_entry *latest = of_key(name->entries, key_hash);
    void *policy = kind->make(latest ? latest->policy : NULL, conf, mg_shared_policy_now(shared), err);
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
            count_made(made, kind, conf);
    }
    put_first(shared, kind, name, entry);
    return entry;
}

static policy_name *name_new(mg_map *map, mg_str text)
{
    policy_name *name = MG_NEW(policy_name);

    name->name = mg_str_make(mg_memdup0(text.p, text.n), text.n);
    (void)mg_map_set(map, text, name);
    return name;
}

/* ---- a candidate's, made aside; all under the lock ---- */

static draft_policy *drafted(const mg_shared *shared, const policy_kind *kind, mg_str text,
                             const policy_conf *conf)
{
    for (draft_policy *d = shared->draft.policies; d; d = d->next)
        if (d->kind == kind && mg_str_eq(d->name, text) && kind->same(&d->conf, conf))
            return d;
    return NULL;
}

/* Whether plugins may have one more, the candidate's included. */
static bool may_make(const mg_shared *shared, const policy_kind *kind, const policy_conf *conf,
                     const shared_made *made, mg_error *err)
{
    const uint64_t wanted = bytes_of(kind, conf);
    shared_made all = *made;

    for (const draft_policy *d = shared->draft.policies; d; d = d->next)
        if (d->kind == kind && !d->earlier)
            count_made(&all, kind, &d->conf);
    if (all.count >= MG_SHARED_POLICIES_MAX) {
        (void)mg_fail(err, MG_ERR_LIMIT,
                      "there are too many %s: do not make names or numbers from what requests carry",
                      kind->many);
        return false;
    }
    if (wanted && all.bytes + wanted > MG_SHARED_OWN_BYTES_MAX) {
        (void)mg_fail(err, MG_ERR_LIMIT,
                      "full of keys it takes %llu MiB; all %s that plugins make have %llu MiB together, of "
                      "which %llu are taken: lower max_keys",
                      (unsigned long long)(wanted >> 20), kind->many,
                      (unsigned long long)(MG_SHARED_OWN_BYTES_MAX >> 20),
                      (unsigned long long)(all.bytes >> 20));
        return false;
    }
    return true;
}

/* The policy of an earlier entry of this configuration over the state that is in force, or NULL. */
static void *earlier_policy(const policy_kind *kind, const policy_entry *latest, const policy_conf *conf)
{
    for (const policy_entry *entry = latest; entry; entry = entry->older)
        if (!entry->key_hash && kind->same(&entry->conf, conf) && kind->shares(entry->policy, latest->policy))
            return entry->policy;
    return NULL;
}

/* What is in force already, has been asked for before, or is made now; what plugins make has key hash 0. */
static void *take_policy(mg_shared *shared, const policy_kind *kind, mg_map *map, mg_str text,
                         const policy_conf *conf, shared_made *made, mg_error *err)
{
    const policy_name *name = mg_map_get(map, text);
    const policy_entry *latest = name ? of_key(name->entries, 0) : NULL;
    draft_policy *d = drafted(shared, kind, text, conf);

    if (d)
        return d->policy;
    if (latest && kind->same(&latest->conf, conf))
        return latest->policy;
    void *policy = latest ? earlier_policy(kind, latest, conf) : NULL;
    const bool earlier = policy != NULL;
    if (!policy && may_make(shared, kind, conf, made, err))
        policy = kind->make(NULL, conf, 0, err);
    if (!policy)
        return NULL;
    d = MG_NEW(draft_policy);
    *d = (draft_policy){ .kind = kind, .map = map, .made = made, .conf = *conf, .policy = policy };
    d->name = mg_str_make(mg_memdup0(text.p, text.n), text.n);
    d->earlier = earlier;
    *shared->draft.end = d;
    shared->draft.end = &d->next;
    return policy;
}

/* Takes its place before all that had the name, and goes on with what they have come to. */
static void adopt_policy(mg_shared *shared, const draft_policy *d)
{
    const uint64_t now_ns = mg_shared_policy_now(shared);
    policy_name *name = mg_map_get(d->map, d->name);

    if (d->earlier) {
        (void)add_entry(shared, d->kind, name, 0, &d->conf, d->made, NULL);
        return;
    }
    if (!name)
        name = name_new(d->map, d->name);
    const policy_entry *latest = of_key(name->entries, 0);
    policy_entry *entry = MG_NEW(policy_entry);
    *entry = (policy_entry){ .conf = d->conf, .policy = d->policy };
    if (latest)
        d->kind->follow(d->policy, latest->policy, now_ns);
    count_made(d->made, d->kind, &d->conf);
    put_first(shared, d->kind, name, entry);
}

/* The candidate has nothing more. */
static void end_draft(mg_shared *shared, bool adopted)
{
    for (draft_policy *d = shared->draft.policies, *next; d; d = next) {
        next = d->next;
        if (!adopted && !d->earlier)
            d->kind->free(d->policy);
        mg_free((char *)(uintptr_t)d->name.p);
        mg_free(d);
    }
    shared->draft.policies = NULL;
    shared->draft.end = &shared->draft.policies;
}

void mg_shared_adopt_policies(mg_shared *shared)
{
    for (const draft_policy *d = shared->draft.policies; d; d = d->next)
        adopt_policy(shared, d);
    end_draft(shared, true);
}

void mg_shared_drop_policies(mg_shared *shared)
{
    end_draft(shared, false);
}

/* ---- found, or made ---- */

/* `made` counts what plugins make, whose names and numbers may come from requests; NULL: a configuration's.
 */
static void *find_policy(mg_shared *shared, const policy_kind *kind, mg_map *map, mg_str text,
                         uint64_t key_hash, const policy_conf *conf, shared_made *made, mg_error *err)
{
    policy_entry *entry;

    pthread_mutex_lock(&shared->lock);
    policy_name *name = mg_map_get(map, text);
    if (made && shared_is_collected(shared)) {
        void *policy = take_policy(shared, kind, map, text, conf, made, err);
        pthread_mutex_unlock(&shared->lock);
        return policy;
    }
    entry = name ? of_key(name->entries, key_hash) : NULL;
    if (!entry || !kind->same(&entry->conf, conf))
        entry = made && !may_make(shared, kind, conf, made, err)
                    ? NULL
                    : add_entry(shared, kind, name ? name : name_new(map, text), key_hash, conf, made, err);
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
                              shared_made *made, mg_error *err)
{
    policy_conf own = { .limiter = *conf };

    memcpy(own.limiter.secret, shared->secret, sizeof(shared->secret));
    return find_policy(shared, &limiter_kind, shared->limiters, name, key_hash, &own, made, err);
}

mg_limiter *mg_shared_limiter(mg_shared *shared, mg_str name, const mg_limiter_conf *conf, mg_error *err)
{
    return limiter_of(shared, name, 0, conf, &shared->own_limiters, err);
}

/* Stored: what goes into it, and how, never changes. */
static uint64_t hash_key(const mg_config_limiter *rule)
{
    mg_text text = { 0 };
    uint64_t hash;

    for (unsigned i = 0; i < rule->key.parts; i++)
        mg_text_addf(&text, "%d:%zu:%.*s;", (int)rule->key.part[i].kind, rule->key.part[i].name.n,
                     MG_STR_ARGS(rule->key.part[i].name));
    mg_text_addf(&text, "/%u/%u", rule->key.ipv4_prefix, rule->key.ipv6_prefix);
    hash = mg_hash(mg_text_str(&text), 1);
    mg_text_fini(&text);
    return hash | 1; /* 0: a plugin's */
}

mg_limiter *mg_shared_rule(mg_shared *shared, const mg_config_limiter *rule)
{
    return limiter_of(shared, rule->name, hash_key(rule), &rule->conf, NULL, NULL);
}

static mg_breaker *breaker_of(mg_shared *shared, mg_str name, const mg_breaker_conf *conf, shared_made *made,
                              mg_error *err)
{
    policy_conf own = { .breaker = *conf };

    own.breaker.seed = mg_hash(name, shared->options.seed);
    return find_policy(shared, &breaker_kind, shared->breakers, name, 0, &own, made, err);
}

mg_breaker *mg_shared_breaker(mg_shared *shared, mg_str name, const mg_breaker_conf *conf)
{
    return breaker_of(shared, name, conf, NULL, NULL);
}

mg_breaker *mg_shared_plugin_breaker(mg_shared *shared, mg_str name, const mg_breaker_conf *conf,
                                     mg_error *err)
{
    return breaker_of(shared, name, conf, &shared->own_breakers, err);
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

void mg_shared_free_policies(mg_shared *shared)
{
    mg_shared_drop_policies(shared);
    free_policies(shared, &limiter_kind, shared->limiters);
    free_policies(shared, &breaker_kind, shared->breakers);
}
