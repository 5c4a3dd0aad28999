/* kv_table.h - what kv.c (reading and deciding), kv_flush.c and kv_write.c (making durable) and kv_scan.c
 * (looking through) share; for these alone.
 *
 * A shard has two generations: `pending`, which is written, and `flushing`, which a flush has taken away and
 * only reads. A key's value is in the first of pending, flushing and store that has it. Locks are taken in
 * this order: shards by index, then `names_lock`. One thread at a time flushes. */
#ifndef MG_STATE_KV_TABLE_H
#define MG_STATE_KV_TABLE_H

#include "base/map.h"
#include "state/kv.h"

#include <pthread.h>
#include <stdatomic.h>

enum {
    KV_SHARDS = 32, /* a flush holds all their locks for a moment; ThreadSanitizer follows 64 at most */
    KV_ROW_VERSION = 1,
    KV_FULL_KEY_MAX = MG_KV_NAME_MAX + 1 + MG_KV_KEY_MAX, /* name, NUL, key */
    /* Bytes that wait in memory, while the store takes no more: then nothing is added. */
    KV_WAITING_MAX = 64 << 20,
};

/* A namespace, shared by its handles; lives as long as the kv. */
typedef struct kv_names {
    _Atomic uint64_t used;          /* bytes, as quotas count them */
    _Atomic(const char *) unstored; /* why the last flush did not store all of it; NULL: it did */
    bool failed;                    /* the flush thread's: in this flush */
    size_t n;
    char name[MG_KV_NAME_MAX];
} kv_names;

/* What was last decided for a key. */
typedef struct kv_entry {
    uint64_t expires_ms; /* wall; 0: never */
    uint32_t n;
    bool gone;   /* deleted */
    bool below;  /* the flushing generation or the store has something under this key */
    bool stored; /* the flush thread's, in a generation that it has taken: the store has it by now */
    char bytes[];
} kv_entry;

typedef struct kv_shard {
    _Alignas(64) pthread_mutex_t lock;
    mg_map *pending, *flushing;           /* kv_entry by full key; NULL: empty */
    size_t pending_bytes, flushing_bytes; /* of their keys and values */
} kv_shard;

struct mg_kv {
    mg_store *store; /* borrowed; NULL: in memory */
    unsigned table;
    const mg_clock *clock; /* borrowed */
    mg_log *log;           /* borrowed */
    uint64_t space_bytes, seed;

    pthread_mutex_t names_lock;
    mg_map *names; /* kv_names by name */

    /* The flush thread's: the sweep's place. */
    char swept[KV_FULL_KEY_MAX];
    size_t swept_n;
    unsigned swept_shard;

    _Atomic(const char *) flush_error; /* static text; NULL: the last one was stored */
    _Atomic uint64_t flushes, failures, skipped_rows, expired;
    _Atomic unsigned open_spaces;
    _Atomic bool ages; /* some value has a time: there is something to sweep */

    kv_shard shards[KV_SHARDS];
};

/* A key's value as it stands, whoever holds it. */
typedef struct kv_view {
    bool found;   /* there, and not past its time */
    bool damaged; /* a row that fails its checksum: not found, and not an answer either */
    bool below;   /* as in kv_entry, for the entry that replaces it */
    mg_str value; /* borrowed: the entry (under the lock) or the arena */
    uint64_t expires_ms;
    uint64_t bytes; /* what the quota counts for it, past its time or not */
} kv_view;

static inline kv_shard *kv_shard_of(mg_kv *kv, mg_str full_key)
{
    return &kv->shards[mg_hash(full_key, kv->seed) % KV_SHARDS];
}

static inline uint64_t kv_row_bytes(size_t key_n, size_t value_n)
{
    return key_n + value_n + MG_KV_ROW_OVERHEAD;
}

static inline size_t kv_entry_bytes(mg_str full_key, const kv_entry *entry)
{
    return full_key.n + entry->n + MG_KV_ROW_OVERHEAD;
}

uint64_t mg_kv_now_ms(const mg_kv *kv);
/* Splits a full key; false when it is none. */
bool mg_kv_split(mg_str full_key, mg_str *name, mg_str *key);
/* Reads a row of the store; false: damaged. */
bool mg_kv_row_open(mg_str full_key, mg_str row, uint64_t *expires_ms, mg_str *value);
/* Finds or makes; NULL when there are too many. */
kv_names *mg_kv_names_of(mg_kv *kv, mg_str name);
/* Under the shard's lock. Bytes from the store go into the arena. NULL, or what went wrong. */
const char *mg_kv_find(mg_kv *kv, kv_shard *shard, mg_str full_key, mg_arena *arena, kv_view *view);
/* Under the shard's lock: the key is no longer there; `view` is what mg_kv_find saw. */
void mg_kv_remove(mg_kv *kv, kv_shard *shard, kv_names *names, mg_str full_key, const kv_view *view);
/* Under the shard's lock: the entry is pending, in place of the one before; NULL: none is. */
void mg_kv_put_entry(mg_kv *kv, kv_shard *shard, mg_str full_key, kv_entry *entry);
void mg_kv_map_free(mg_map *map); /* with its entries */
/* The `count` entries that were taken go into the store; `stored` says of each whether it has. No locks: the
 * generation is only read until it is dropped or given back. */
mg_result mg_kv_write_generation(mg_kv *kv, size_t count, mg_error *err);

#endif
