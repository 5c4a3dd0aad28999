/* kv_flush.c - making durable. The generation that a flush takes is a cut through all shards at one moment,
 * so that what is found after a crash is what stood there at one moment; the locks of all shards are held for
 * it only as long as it takes to move their pointers. */
#include "state/kv_table.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>

enum {
    SWEEP_LOOK = 10000, /* rows that one flush looks at */
    SWEEP_DROP = 1000,  /* and that it drops at most */
};

#define FULL "the store is full"
#define DISK "the store cannot be written"

/* ---- new and free ---- */

static bool count_row(void *self, mg_str full_key, mg_str row)
{
    mg_kv *kv = self;
    uint64_t expires_ms;
    mg_str name, key, value;

    if (!mg_kv_split(full_key, &name, &key) || !mg_kv_row_open(full_key, row, &expires_ms, &value)) {
        atomic_fetch_add(&kv->skipped_rows, 1);
        return true;
    }
    kv_names *names = mg_kv_names_of(kv, name);
    if (names)
        atomic_fetch_add(&names->used, kv_row_bytes(key.n, value.n));
    if (expires_ms)
        atomic_store(&kv->ages, true);
    return true;
}

static mg_result read_store(mg_kv *kv, mg_error *err)
{
    mg_result result = mg_store_table(kv->store, "kv", &kv->table, err);

    if (result == MG_OK)
        result = mg_store_scan(kv->store, kv->table, MG_STR(""), MG_STR(""), count_row, kv, err);
    const uint64_t skipped = atomic_load(&kv->skipped_rows);
    if (skipped)
        mg_log_write(kv->log, MG_LOG_WARN, "kv_damaged",
                     "%llu values in the store are damaged and not served", (unsigned long long)skipped);
    return result;
}

mg_kv *mg_kv_new(const mg_kv_options *options, mg_error *err)
{
    mg_kv *kv = aligned_alloc(_Alignof(mg_kv), sizeof(mg_kv));

    MG_CHECK(kv && options->clock);
    memset(kv, 0, sizeof(*kv));
    kv->store = options->store;
    kv->clock = options->clock;
    kv->log = options->log;
    kv->space_bytes = options->space_bytes ? options->space_bytes : MG_KV_SPACE_MAX;
    kv->seed = options->seed;
    kv->names = mg_map_new(options->seed);
    pthread_mutex_init(&kv->names_lock, NULL);
    for (unsigned i = 0; i < KV_SHARDS; i++)
        pthread_mutex_init(&kv->shards[i].lock, NULL);
    if (!kv->store || read_store(kv, err) == MG_OK)
        return kv;
    mg_kv_free(kv);
    return NULL;
}

void mg_kv_map_free(mg_map *map)
{
    size_t cursor = 0;
    mg_str key;
    void *entry;

    while (map && mg_map_next(map, &cursor, &key, &entry))
        mg_free(entry);
    mg_map_free(map);
}

void mg_kv_free(mg_kv *kv)
{
    if (!kv)
        return;
    MG_CHECK(atomic_load(&kv->open_spaces) == 0);
    for (unsigned i = 0; i < KV_SHARDS; i++) {
        mg_kv_map_free(kv->shards[i].pending);
        mg_kv_map_free(kv->shards[i].flushing);
        pthread_mutex_destroy(&kv->shards[i].lock);
    }
    mg_kv_map_free(kv->names); /* its values are owned too */
    pthread_mutex_destroy(&kv->names_lock);
    free(kv);
}

/* ---- a generation: taken, written, dropped or given back ---- */

static size_t take_generation(mg_kv *kv)
{
    size_t count = 0;

    for (unsigned i = 0; i < KV_SHARDS; i++)
        pthread_mutex_lock(&kv->shards[i].lock);
    for (unsigned i = 0; i < KV_SHARDS; i++) {
        kv_shard *shard = &kv->shards[i];
        MG_CHECK(!shard->flushing);
        shard->flushing = shard->pending;
        shard->flushing_bytes = shard->pending_bytes;
        shard->pending = NULL;
        shard->pending_bytes = 0;
        count += shard->flushing ? mg_map_count(shard->flushing) : 0;
    }
    for (unsigned i = 0; i < KV_SHARDS; i++)
        pthread_mutex_unlock(&kv->shards[i].lock);
    return count;
}

static void drop_generation(mg_kv *kv)
{
    for (unsigned i = 0; i < KV_SHARDS; i++) {
        kv_shard *shard = &kv->shards[i];
        pthread_mutex_lock(&shard->lock);
        mg_map *flushed = shard->flushing;
        shard->flushing = NULL;
        shard->flushing_bytes = 0;
        pthread_mutex_unlock(&shard->lock);
        mg_kv_map_free(flushed);
    }
}

/* One entry that was not written: pending again, where nothing newer stands. What is newer inherits what it
 * knows about the store, because its own `below` meant the generation that has just gone. */
static void give_entry_back(mg_kv *kv, kv_shard *shard, mg_str key, kv_entry *old)
{
    kv_entry *newer = mg_map_get(shard->pending, key);
    mg_str name, rest;

    if (!newer) {
        mg_kv_put_entry(kv, shard, key, old);
    } else {
        newer->below = old->below;
        if (newer->gone && !newer->below)
            mg_kv_put_entry(kv, shard, key, NULL);
        mg_free(old);
    }
    MG_CHECK(mg_kv_split(key, &name, &rest));
    kv_names *names = mg_kv_names_of(kv, name);
    if (names)
        names->failed = true;
}

static void give_back(mg_kv *kv, kv_shard *shard)
{
    size_t cursor = 0;
    mg_str key;
    void *value;

    if (!shard->flushing)
        return;
    mg_map *taken = shard->flushing;
    shard->flushing = NULL;
    shard->flushing_bytes = 0;
    if (!shard->pending)
        shard->pending = mg_map_new(kv->seed);
    while (mg_map_next(taken, &cursor, &key, &value)) {
        kv_entry *old = value;
        if (old->stored)
            mg_free(old);
        else
            give_entry_back(kv, shard, key, old);
    }
    mg_map_free(taken);
}

static void give_generation_back(mg_kv *kv)
{
    for (unsigned i = 0; i < KV_SHARDS; i++) {
        pthread_mutex_lock(&kv->shards[i].lock);
        give_back(kv, &kv->shards[i]);
        pthread_mutex_unlock(&kv->shards[i].lock);
    }
}

/* ---- ageing ---- */

/* Keys past their time, gathered without a lock and looked at again under it. */
typedef struct kv_sweep {
    uint64_t now_ms;
    size_t looked, count;
    mg_arena arena;
    mg_str last; /* of the rows looked at; arena */
    mg_str keys[SWEEP_DROP];
} kv_sweep;

/* False when the sweep has looked at enough. */
static bool sweep_row(void *self, mg_str full_key, mg_str row)
{
    kv_sweep *sweep = self;
    uint64_t expires_ms = 0;
    mg_str value;

    if (mg_kv_row_open(full_key, row, &expires_ms, &value) && expires_ms && expires_ms <= sweep->now_ms)
        sweep->keys[sweep->count++] = mg_arena_str(&sweep->arena, full_key);
    if (++sweep->looked < SWEEP_LOOK && sweep->count < SWEEP_DROP)
        return true;
    sweep->last = mg_arena_str(&sweep->arena, full_key);
    return false;
}

static void sweep_store(mg_kv *kv, kv_sweep *sweep)
{
    const mg_str after = mg_str_make(kv->swept, kv->swept_n);

    if (mg_store_scan(kv->store, kv->table, MG_STR(""), after, sweep_row, sweep, NULL) != MG_OK)
        return;      /* whoever reads or flushes next says so */
    kv->swept_n = 0; /* at the end: from the beginning next time */
    if (sweep->last.p && sweep->last.n <= sizeof(kv->swept)) {
        memcpy(kv->swept, sweep->last.p, sweep->last.n);
        kv->swept_n = sweep->last.n;
    }
}

static void sweep_shard(kv_shard *shard, kv_sweep *sweep)
{
    size_t cursor = 0;
    mg_str key;
    void *value;

    pthread_mutex_lock(&shard->lock);
    while (shard->pending && sweep->count < SWEEP_DROP &&
           mg_map_next(shard->pending, &cursor, &key, &value)) {
        const kv_entry *entry = value;
        if (entry->expires_ms && entry->expires_ms <= sweep->now_ms)
            sweep->keys[sweep->count++] = mg_arena_str(&sweep->arena, key);
    }
    pthread_mutex_unlock(&shard->lock);
}

static void drop_expired(mg_kv *kv, mg_str full_key, mg_arena *arena)
{
    kv_shard *shard = kv_shard_of(kv, full_key);
    mg_str name, key;
    kv_view view;

    MG_CHECK(mg_kv_split(full_key, &name, &key));
    kv_names *names = mg_kv_names_of(kv, name);
    pthread_mutex_lock(&shard->lock);
    if (names && !mg_kv_find(kv, shard, full_key, arena, &view) && !view.found && view.bytes > 0) {
        mg_kv_remove(kv, shard, names, full_key, &view);
        atomic_fetch_add(&kv->expired, 1);
    }
    pthread_mutex_unlock(&shard->lock);
}

static void drop_gathered(mg_kv *kv, kv_sweep *sweep)
{
    for (size_t i = 0; i < sweep->count; i++)
        drop_expired(kv, sweep->keys[i], &sweep->arena);
    sweep->count = 0;
    mg_arena_reset(&sweep->arena);
}

/* Where memory is all there is, one shard a flush, so that nobody waits for a walk through all of them. Where
 * a store takes no more, all of them: what is past its time would take the room of what is not, and be
 * written only to be deleted. Else what is in memory will soon be in the store. */
static void sweep_memory(mg_kv *kv, kv_sweep *sweep)
{
    const bool stuck = kv->store && atomic_load(&kv->flush_error);
    const unsigned shards = stuck ? KV_SHARDS : kv->store ? 0 : 1;

    for (unsigned i = 0; i < shards; i++) {
        sweep_shard(&kv->shards[kv->swept_shard++ % KV_SHARDS], sweep);
        drop_gathered(kv, sweep);
    }
}

static void sweep(mg_kv *kv)
{
    if (!atomic_load_explicit(&kv->ages, memory_order_relaxed))
        return;
    kv_sweep *s = MG_NEW(kv_sweep);
    s->now_ms = mg_kv_now_ms(kv);
    mg_arena_init(&s->arena, NULL, 0);
    if (kv->store)
        sweep_store(kv, s);
    drop_gathered(kv, s);
    sweep_memory(kv, s);
    mg_arena_fini(&s->arena);
    mg_free(s);
}

/* ---- a flush ---- */

/* For those who ask about their own namespace. */
static void note_namespaces(mg_kv *kv, const char *error)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    pthread_mutex_lock(&kv->names_lock);
    while (mg_map_next(kv->names, &cursor, &name, &value)) {
        kv_names *names = value;
        atomic_store(&names->unstored, names->failed ? error : NULL);
        names->failed = false;
    }
    pthread_mutex_unlock(&kv->names_lock);
}

/* Says it once when flushing begins to fail, and once when it works again. */
static void note_result(mg_kv *kv, mg_result result, const mg_error *err)
{
    const char *before = atomic_load(&kv->flush_error);
    const char *error = result == MG_OK          ? NULL
                        : result == MG_ERR_LIMIT ? FULL
                        : result == MG_ERR_BUSY  ? before /* nothing is wrong: a copy has to end */
                                                 : DISK;

    atomic_store(&kv->flush_error, error);
    if (result != MG_OK || before)
        note_namespaces(kv, error);

    if (error && !before)
        mg_log_write(kv->log, MG_LOG_ERROR, "kv_flush", "%s; values stay in memory until it works",
                     err->message);
    else if (!error && before)
        mg_log_write(kv->log, MG_LOG_INFO, "kv_flush", "values are written again");
}

static mg_result flush_store(mg_kv *kv, mg_error *err)
{
    const size_t count = take_generation(kv);
    const mg_result result = count ? mg_kv_write_generation(kv, count, err) : MG_OK;

    if (result == MG_OK)
        drop_generation(kv);
    else
        give_generation_back(kv);
    if (count)
        atomic_fetch_add(result == MG_OK ? &kv->flushes : &kv->failures, result != MG_ERR_BUSY);
    note_result(kv, result, err);
    return result;
}

mg_result mg_kv_flush(mg_kv *kv, mg_error *err)
{
    mg_error own = MG_ERROR_INIT;

    sweep(kv);
    return kv->store ? flush_store(kv, err ? err : &own) : MG_OK;
}

/* ---- what waits ---- */

bool mg_kv_waits_any(mg_kv *kv)
{
    bool waits = false;

    for (unsigned i = 0; i < KV_SHARDS && kv->store && !waits; i++) {
        kv_shard *shard = &kv->shards[i];
        pthread_mutex_lock(&shard->lock);
        waits = (shard->pending && mg_map_count(shard->pending) > 0) || shard->flushing;
        pthread_mutex_unlock(&shard->lock);
    }
    return waits;
}

const char *mg_kv_failure(const mg_kv *kv)
{
    return atomic_load(&kv->flush_error);
}

bool mg_kv_waits(mg_kv *kv, mg_str name, mg_str key)
{
    char full[KV_FULL_KEY_MAX];

    if (!kv->store || name.n > MG_KV_NAME_MAX || key.n > MG_KV_KEY_MAX)
        return false;
    memcpy(full, name.p, name.n);
    full[name.n] = '\0';
    memcpy(full + name.n + 1, key.p, key.n);
    const mg_str full_key = mg_str_make(full, name.n + 1 + key.n);
    kv_shard *shard = kv_shard_of(kv, full_key);
    pthread_mutex_lock(&shard->lock);
    const bool waits = (shard->pending && mg_map_get(shard->pending, full_key)) ||
                       (shard->flushing && mg_map_get(shard->flushing, full_key));
    pthread_mutex_unlock(&shard->lock);
    return waits;
}

void mg_kv_stats_get(mg_kv *kv, mg_kv_stats *out)
{
    *out = (mg_kv_stats){
        .flushes = atomic_load(&kv->flushes),
        .failures = atomic_load(&kv->failures),
        .skipped_rows = atomic_load(&kv->skipped_rows),
        .expired = atomic_load(&kv->expired),
        .failing = atomic_load(&kv->flush_error) != NULL,
    };
    for (unsigned i = 0; i < KV_SHARDS; i++) {
        kv_shard *shard = &kv->shards[i];
        pthread_mutex_lock(&shard->lock);
        out->pending += shard->pending ? mg_map_count(shard->pending) : 0;
        out->pending += shard->flushing ? mg_map_count(shard->flushing) : 0;
        pthread_mutex_unlock(&shard->lock);
    }
}
