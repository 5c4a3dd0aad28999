/* persist.h - policy state that outlives the process (docs/policies.md 10, docs/architecture.md 10): the
 * environment state/policy, written by one thread at a time, the flusher (gateway/flusher.h). What serves requests never waits for it and never
 * learns of its failures; without a store (persist NULL) keeping and dropping do nothing. */
#ifndef MG_STATE_PERSIST_H
#define MG_STATE_PERSIST_H

#include "base/log.h"
#include "base/stat.h"
#include "base/time.h"
#include "policy/breaker.h"
#include "policy/limiter.h"
#include "policy/rollout.h"
#include "store/record.h"
#include "store/store.h"

typedef struct mg_persist mg_persist;

enum {
    MG_PERSIST_LOOK_MS = 50,    /* how often small things are looked at */
    MG_PERSIST_FLUSH_MS = 1000, /* how often limiters' keys are */
    MG_PERSIST_ROWS_MAX = 1000, /* of a transaction */
    MG_PERSIST_NAME_MAX = 480,  /* bytes of a name; what is called longer is not kept */
};

typedef struct mg_persist_options {
    const char *path; /* the environment's directory, made when missing */
    size_t max_bytes; /* of the map */
    const mg_clock *clock;
    const char *boot_id; /* NULL: this machine's */
    mg_log *log;         /* borrowed, may be NULL */
    uint64_t seed;       /* a fresh store's fingerprint key comes from it; 0: from the system */
} mg_persist_options;

/* Opens the store and sets `policy_clock` to go on where it was. An environment that LMDB cannot make sense
 * of is renamed to policy.broken-TIME with a message in the log, and a fresh one made; a lock that is held, a
 * right that is missing or a disk that is full rename nothing: NULL with err. */
mg_persist *mg_persist_open(const mg_persist_options *options, mg_policy_clock *policy_clock, mg_error *err);
/* Does not flush: what was not, is lost. NULL is fine. */
void mg_persist_free(mg_persist *persist);

/* The key of limiters' fingerprints, as old as the store. */
const uint64_t *mg_persist_secret(const mg_persist *persist);

/* A turn of whoever flushes, which is one thread at a time: at least every MG_PERSIST_LOOK_MS. It stores small
 * things that have changed, and begins a pass over all of it every MG_PERSIST_FLUSH_MS, or where `all` says so and
 * none is under way. `*more`: the pass goes on with the next turn, which is best called at once; each has a
 * transaction or a few, so that whatever else there is to do can be done in between. Its result is known when there
 * is no more; a failure has been logged and counted. MG_ERR_BUSY: a copy of the store is in the way. err may be
 * NULL. */
MG_MUST_USE mg_result mg_persist_turn(mg_persist *persist, bool all, bool *more, mg_error *err);
/* Everything that has changed, in one call, in place of a pass that is under way. On the thread that flushes. */
MG_MUST_USE mg_result mg_persist_flush(mg_persist *persist, mg_error *err);

/* ---- what is kept ---- */

/* A small thing that is stored within 50 ms of a change: a breaker, an ejection, a rollout. */
typedef struct mg_keep_ops {
    /* Another number after every change that matters; any thread. */
    uint64_t (*stamp)(const void *self);
    /* Appends what is to be kept (mg_record_u64 and its like); moments are the policy clock's. The flush
     * thread. */
    void (*write)(const void *self, uint64_t policy_ns, mg_text *row);
    /* Takes it back; called before anybody else knows self. False: it is not understood. */
    bool (*read)(void *self, mg_record *row, uint64_t policy_ns);
} mg_keep_ops;

/* Names a kind of row; stored, so a number never changes its meaning. */
typedef enum mg_keep_kind { MG_KEEP_BREAKER = 1, MG_KEEP_EJECTION = 2, MG_KEEP_ROLLOUT = 3 } mg_keep_kind;

/* Gives `self` what was stored under its name, then stores its changes until it is dropped. Where another
 * thing of the name is kept, self begins with that one's state of now and takes its place. Building threads:
 * takes a lock. */
void mg_persist_keep(mg_persist *persist, mg_keep_kind kind, mg_str name, const mg_keep_ops *ops, void *self);
/* Its last state will be stored. No call of its ops runs when this returns; nothing when another has taken
 * its place. */
void mg_persist_drop(mg_persist *persist, const void *self);

/* A breaker's payload, for the ops of whoever keeps one. */
void mg_persist_add_breaker(mg_text *row, const mg_breaker_record *record);
bool mg_persist_get_breaker(mg_record *row, mg_breaker_record *out);

/* A rollout's payload: its id and how it stands. What is read borrows the row; false: it is not understood.
 */
void mg_persist_add_rollout(mg_text *row, mg_str id, const mg_rollout *rollout);
bool mg_persist_get_rollout(mg_record *row, mg_str *id, mg_rollout *out);

/* The same for a limiter's keys, every second. `key_hash` says what its keys are made of: rows of another one
 * are not its own. Where the name has a limiter already whose key is the same, `limiter` is taken to come out
 * of mg_limiter_next and nothing is read. Dropping stores nothing: flush before. */
void mg_persist_keep_limiter(mg_persist *persist, mg_str name, uint64_t key_hash, const mg_limiter_conf *conf,
                             mg_limiter *limiter);
void mg_persist_drop_limiter(mg_persist *persist, const mg_limiter *limiter);

/* ---- how it goes ---- */

typedef struct mg_persist_stats {
    uint64_t lag_ms;        /* how old the oldest change may be that is not stored yet */
    uint64_t errors;        /* flushes that failed */
    uint64_t skipped_rows;  /* that no checksum, version or rule vouched for, when they were read */
    uint64_t restored_keys; /* of limiters, since the start */
    uint64_t rows;          /* of limiters' keys, stored */
    uint64_t used_bytes, max_bytes;
    bool failing;         /* the last flush failed: nothing is stored until one works */
    mg_histogram commits; /* how long they took */
} mg_persist_stats;

void mg_persist_stats_get(mg_persist *persist, mg_persist_stats *out); /* any thread */

/* ---- for operators: on a running gateway, or on a store that was opened for it ---- */

/* Rows for people, in order, as one JSON object each. Spaces: "limiters" (NAME/PLACE or NAME/cell-N, a row a
 * key that owes something), "breakers", "ejections", "rollouts" (their names), "meta". `after` is a key that
 * was seen, for the next page; stops when `each` returns false. MG_ERR_NOT_FOUND: there is no such space.
 * What is shown is what is stored; it may be a second old. */
MG_MUST_USE mg_result mg_persist_scan(mg_persist *persist, mg_str space, mg_str prefix, mg_str after,
                                      bool (*each)(void *self, mg_str key, mg_str json), void *self,
                                      mg_error *err);
/* Appends one row's JSON. */
MG_MUST_USE mg_result mg_persist_get(mg_persist *persist, mg_str space, mg_str key, mg_text *json,
                                     mg_error *err);
/* Copies the store, as far as it was flushed, into a directory that is empty or not there yet (mg_store_copy). Any
 * thread. */
MG_MUST_USE mg_result mg_persist_copy(mg_persist *persist, const char *directory, mg_error *err);
/* Gives the disk back what rows that are gone had taken (mg_store_compact). Any thread; a turn would wait for it. */
MG_MUST_USE mg_result mg_persist_compact(mg_persist *persist, mg_error *err);

#endif
