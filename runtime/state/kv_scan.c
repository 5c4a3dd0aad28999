/* kv_scan.c - what a namespace holds, in order of key: the tables in memory and the store side by side. Keys
 * are gathered a few at a time without a lock that outlives one table, then each is looked up as any reader
 * would: so a scan holds nothing up, and shows every key that stood there all the while. */
#include "state/kv_table.h"

#include "base/mem.h"

enum {
    GATHER = 256,          /* keys of one round */
    SCAN_LOOKS_MAX = 8192, /* keys that one call looks at, found or not */
};

/* The smallest keys behind a place, at most GATHER of them, in order. */
typedef struct kv_gather {
    mg_arena arena;
    mg_str prefix; /* of full keys */
    mg_str after;  /* in after_bytes */
    char after_bytes[KV_FULL_KEY_MAX];
    size_t count;
    mg_str keys[GATHER];
} kv_gather;

/* Where the key belongs; `*there` when it stands there already. */
static size_t place_of(const kv_gather *gather, mg_str key, bool *there)
{
    size_t low = 0, high = gather->count;

    while (low < high) {
        const size_t middle = (low + high) / 2;
        if (mg_str_cmp(gather->keys[middle], key) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    *there = low < gather->count && mg_str_eq(gather->keys[low], key);
    return low;
}

static void gather_key(kv_gather *gather, mg_str key)
{
    bool there;

    if (!mg_str_starts(key, gather->prefix) || mg_str_cmp(key, gather->after) <= 0)
        return;
    const size_t at = place_of(gather, key, &there);
    if (there || at == GATHER)
        return;
    const size_t last = gather->count < GATHER ? gather->count++ : GATHER - 1;
    memmove(&gather->keys[at + 1], &gather->keys[at], (last - at) * sizeof gather->keys[0]);
    gather->keys[at] = mg_arena_str(&gather->arena, key);
}

static void gather_table(kv_gather *gather, const mg_map *map)
{
    size_t cursor = 0;
    mg_str key;
    void *entry;

    while (map && mg_map_next(map, &cursor, &key, &entry))
        gather_key(gather, key);
}

/* False when all that follow are larger than what there is room for. */
static bool gather_row(void *self, mg_str key, mg_str row)
{
    kv_gather *gather = self;

    (void)row;
    gather_key(gather, key);
    return gather->count < GATHER || mg_str_cmp(key, gather->keys[GATHER - 1]) < 0;
}

static mg_result gather_all(mg_kv *kv, kv_gather *gather, mg_error *err)
{
    mg_arena_reset(&gather->arena);
    gather->count = 0;
    for (unsigned i = 0; i < KV_SHARDS; i++) {
        kv_shard *shard = &kv->shards[i];
        pthread_mutex_lock(&shard->lock);
        gather_table(gather, shard->pending);
        gather_table(gather, shard->flushing);
        pthread_mutex_unlock(&shard->lock);
    }
    if (!kv->store)
        return MG_OK;
    return mg_store_scan(kv->store, kv->table, gather->prefix, gather->after, gather_row, gather, err);
}

/* One key as it stands: given to `each` when it is there. */
static mg_result show(mg_kv *kv, mg_str full_key, const mg_kv_scan *scan, bool *go_on, mg_error *err)
{
    kv_shard *shard = kv_shard_of(kv, full_key);
    char first[2048];
    mg_arena arena;
    mg_str name, key;
    kv_view view;

    mg_arena_init(&arena, first, sizeof first);
    pthread_mutex_lock(&shard->lock);
    const char *error = mg_kv_find(kv, shard, full_key, &arena, &view);
    const mg_str value = !error && view.found ? mg_arena_str(&arena, view.value) : MG_STR_NONE;
    pthread_mutex_unlock(&shard->lock);
    if (value.p && mg_kv_split(full_key, &name, &key))
        *go_on = scan->each(scan->self, key, value, view.expires_ms);
    mg_arena_fini(&arena);
    return error ? mg_fail(err, MG_ERR_IO, "%s", error) : MG_OK;
}

/* The key of which one more byte may be part: name, NUL, what is given. */
static mg_str full_key_of(char full[KV_FULL_KEY_MAX], mg_str name, mg_str key)
{
    const size_t n = mg_min_u64(key.n, MG_KV_KEY_MAX);

    memcpy(full, name.p, name.n);
    full[name.n] = '\0';
    if (n)
        memcpy(full + name.n + 1, key.p, n);
    return mg_str_make(full, name.n + 1 + n);
}

static mg_result scan_rounds(mg_kv *kv, kv_gather *gather, mg_kv_scan *scan, mg_error *err)
{
    size_t looks = 0;
    bool go_on = true;

    scan->more = false;
    for (;;) {
        const mg_result gathered = gather_all(kv, gather, err);
        if (gathered != MG_OK || !gather->count)
            return gathered;
        for (size_t i = 0; i < gather->count; i++) {
            const mg_result shown = show(kv, gather->keys[i], scan, &go_on, err);
            if (shown != MG_OK)
                return shown;
            scan->reached_n = gather->keys[i].n - scan->name.n - 1;
            memcpy(scan->reached, gather->keys[i].p + scan->name.n + 1, scan->reached_n);
            if (!go_on || ++looks == SCAN_LOOKS_MAX)
                return scan->more = true, MG_OK;
        }
        const mg_str last = gather->keys[gather->count - 1];
        memcpy(gather->after_bytes, last.p, last.n);
        gather->after.n = last.n;
    }
}

mg_result mg_kv_scan_run(mg_kv *kv, mg_kv_scan *scan, mg_error *err)
{
    char prefix[KV_FULL_KEY_MAX];
    kv_gather *gather;

    if (scan->name.n == 0 || scan->name.n > MG_KV_NAME_MAX || memchr(scan->name.p, '\0', scan->name.n))
        return mg_fail(err, MG_ERR_INVALID, "a namespace has a name of 1 to %d bytes without NUL",
                       MG_KV_NAME_MAX);
    if (scan->prefix.n > MG_KV_KEY_MAX || scan->after.n > MG_KV_KEY_MAX)
        return mg_fail(err, MG_ERR_INVALID, "a key has at most %d bytes", MG_KV_KEY_MAX);
    gather = MG_NEW(kv_gather);
    mg_arena_init(&gather->arena, NULL, 0);
    gather->prefix = full_key_of(prefix, scan->name, scan->prefix);
    gather->after = full_key_of(gather->after_bytes, scan->name, scan->after);
    const mg_result result = scan_rounds(kv, gather, scan, err);
    mg_arena_fini(&gather->arena);
    mg_free(gather);
    return result;
}

bool mg_kv_has_space(mg_kv *kv, mg_str name)
{
    pthread_mutex_lock(&kv->names_lock);
    const bool has = mg_map_get(kv->names, name) != NULL;
    pthread_mutex_unlock(&kv->names_lock);
    return has;
}

void mg_kv_each_space(mg_kv *kv, void (*each)(void *self, mg_str name, uint64_t used_bytes), void *self)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    pthread_mutex_lock(&kv->names_lock);
    while (mg_map_next(kv->names, &cursor, &name, &value))
        each(self, name, atomic_load(&((kv_names *)value)->used));
    pthread_mutex_unlock(&kv->names_lock);
}
