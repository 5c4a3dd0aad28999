/* kv.h - the key-value store behind ctx.kv (docs/architecture.md 10). Namespaced; decided in memory, made
 * durable by a flush. A sharded table holds what was written since the last flush and every read looks there
 * first, so set, delete, compare-and-set and increments are one step for all threads. A flush takes the table
 * away as a generation that reads still see, commits it in one transaction and drops it; nobody waits for the
 * disk.
 *
 * Without a store the table is the whole of it, and nothing outlives the process.
 *
 * What Lua calls (mg_kv_get, set, delete, incr, cas, ..) is declared in moongate.h and stands in kv.c. */
#ifndef MG_STATE_KV_H
#define MG_STATE_KV_H

#include "base/err.h"
#include "base/log.h"
#include "base/time.h"
#include "moongate.h"
#include "store/store.h"

typedef struct mg_kv mg_kv;

enum {
    MG_KV_NAME_MAX = 64,                /* bytes of a namespace's name, at least 1, no NUL */
    MG_KV_KEY_MAX = 255,                /* bytes of a key, at least 1 */
    MG_KV_VALUE_MAX = 64 * 1024,        /* bytes of a value */
    MG_KV_SPACE_MAX = 16 * 1024 * 1024, /* default bytes of a namespace: its keys, its values and 32 a row */
    MG_KV_ROW_OVERHEAD = 32,
    MG_KV_SPACES_MAX = 1024,
};

typedef struct mg_kv_options {
    mg_store *store;       /* borrowed; NULL: in memory */
    const mg_clock *clock; /* borrowed: its wall reading ages values */
    mg_log *log;           /* borrowed, may be NULL: says when flushing fails and when it works again */
    uint64_t space_bytes;  /* quota of each namespace; 0 = MG_KV_SPACE_MAX */
    uint64_t seed;         /* of the shards, so that keys cannot be chosen to collide */
} mg_kv_options;

/* Reads every row once to learn what each namespace holds. A row that fails its checksum is logged, counted
 * and not served. NULL with `err` when the store cannot be read. */
mg_kv *mg_kv_new(const mg_kv_options *options, mg_error *err);
/* Does not flush: call mg_kv_flush first. No space may be left open. NULL is fine. */
void mg_kv_free(mg_kv *kv);

/* A handle on a namespace, made when missing, for one thread at a time; any number of handles may share a
 * namespace. NULL with `err` for a name that breaks the rules for names. mg_kv_space_free ends it; it must not
 * outlive `kv`. */
mg_kv_space *mg_kv_open(mg_kv *kv, mg_str name, mg_error *err);

/* Writes all that was set before into the store, in one transaction. Drops at most a thousand values that are past
 * their time. MG_ERR_LIMIT: the store or its disk is full. Then what was deleted has been deleted there by itself,
 * and of the values those are written that have room. MG_ERR_BUSY: a copy of the store has to end first. What was
 * not written is kept for the next flush. One thread at a time: the flusher (gateway/flusher.h), at least once a
 * second. A failure has been logged and counted. */
MG_MUST_USE mg_result mg_kv_flush(mg_kv *kv, mg_error *err);
/* Why the last flush did not store all there was: static text; NULL: it did. Any thread. */
const char *mg_kv_failure(const mg_kv *kv);

/* Whether anything is not in the store yet; never without a store. Any thread. */
bool mg_kv_waits_any(mg_kv *kv);
/* Whether the key's last change is not in the store yet. */
bool mg_kv_waits(mg_kv *kv, mg_str name, mg_str key);

typedef struct mg_kv_stats {
    uint64_t pending;           /* keys that wait for a flush; in memory: keys */
    uint64_t flushes, failures; /* failed: in whole or in part */
    bool failing;               /* the last flush has */
    uint64_t skipped_rows;      /* failed their checksum when the store was opened */
    uint64_t expired;           /* dropped because their time was over */
} mg_kv_stats;

void mg_kv_stats_get(mg_kv *kv, mg_kv_stats *out);

/* ---- for operators ---- */

/* One look through a namespace, in order of key. Any thread; holds nobody up. What is written meanwhile may
 * be seen or not. */
typedef struct mg_kv_scan {
    mg_str name, prefix;
    mg_str after; /* begins behind this key; may be empty */
    /* False ends the scan. Key and value are borrowed for the call; expires_ms is of the wall clock, 0:
     * never. */
    bool (*each)(void *self, mg_str key, mg_str value, uint64_t expires_ms);
    void *self;
    /* What came of it: `more` when it ended before the last key, of its own (a call looks at a bounded
     * number) or by `each`; then the next one begins behind `reached`. */
    bool more;
    size_t reached_n;
    char reached[MG_KV_KEY_MAX];
} mg_kv_scan;

MG_MUST_USE mg_result mg_kv_scan_run(mg_kv *kv, mg_kv_scan *scan, mg_error *err);
/* Whether anybody has opened or filled a namespace of that name. */
bool mg_kv_has_space(mg_kv *kv, mg_str name);
/* Under a lock: `each` must be short. No order. */
void mg_kv_each_space(mg_kv *kv, void (*each)(void *self, mg_str name, uint64_t used_bytes), void *self);

#endif
