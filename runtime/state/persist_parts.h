/* persist_parts.h - persistence from inside: what persist.c shares with persist_keep.c (small things),
 * persist_keys.c (limiters' keys), persist_rows.c (how rows look) and persist_view.c (for people). Nobody
 * else includes this.
 *
 * One thread at a time flushes; what it alone uses needs no lock. `lock` guards what is kept; no commit runs under
 * it. */
#ifndef MG_STATE_PERSIST_PARTS_H
#define MG_STATE_PERSIST_PARTS_H

#include "state/persist.h"

#include "base/list.h"
#include "base/map.h"
#include <pthread.h>

enum {
    PERSIST_VERSION = 1,         /* of every table's rows */
    PERSIST_KEY_ROW_BYTES = 8,   /* limiter's number, place */
    PERSIST_LIMITERS_MAX = 65536 /* numbers in use at once */
};

/* A number under which a limiter's keys are stored: one a table of slots, for two tables of the same name
 * have their keys in different places. */
typedef struct persist_number {
    mg_list link; /* of persist.numbers */
    uint32_t number;
    uint64_t key_hash;
    uint64_t conf_hash; /* of the configuration that all its rows are clamped to; 0: some may not be yet */
    uint64_t due_hash;  /* of the one they will be clamped to by a complete drain */
    uint64_t due_at;    /* drains after which they are */
    uint32_t cells;
    mg_limiter *limiter;  /* borrowed; NULL: read from the store, and nobody keeps it now */
    uint64_t obsolete_at; /* drains after which its rows are another number's; 0: they are its own */
    bool stored, gone;    /* has its row; has lost it again: its keys' rows are swept */
    bool seen;            /* in this pass of the sweep: it has rows */
    size_t n;
    char name[MG_PERSIST_NAME_MAX];
} persist_number;

/* A small thing; its `self` NULL: dropped, and its last row is not stored yet. */
typedef struct persist_item {
    const mg_keep_ops *ops;
    void *self;               /* borrowed */
    uint64_t stored, writing; /* stamps: of the row that is stored; of that in the transaction under way */
    bool changed;             /* whatever its stamp says */
    mg_text last;             /* the payload of one that was dropped */
    size_t n;
    char key[1 + MG_PERSIST_NAME_MAX]; /* the row's: kind, name */
} persist_item;

typedef struct persist_batch {
    mg_arena arena;
    mg_text row;
    size_t count;
    mg_store_change changes[MG_PERSIST_ROWS_MAX + 2]; /* the clock's and a number's, too */
    union {
        persist_item *items[MG_PERSIST_ROWS_MAX];
        struct {
            uint32_t place;
            bool cell;
        } places[MG_PERSIST_ROWS_MAX];
    };
} persist_batch;

/* A pass stores all that had changed when it began, a transaction or a few in each turn. */
typedef enum persist_stage {
    PERSIST_RESTS,   /* no pass is under way */
    PERSIST_DRAINS,  /* limiters' keys */
    PERSIST_SETTLES, /* numbers whose rows are all stored */
    PERSIST_SWEEPS,  /* rows that say nothing any more, and the clock */
} persist_stage;

typedef struct persist_pass {
    persist_stage stage;
    persist_number *number; /* of DRAINS and SETTLES: the next one; NULL: that was the last */
    size_t cursor;          /* in its limiter */
    uint64_t began_ns;      /* monotonic */
    bool sweeps;            /* it has the last stage */
    mg_error full;          /* MG_ERR_LIMIT: a stage before the sweep found no room */
} persist_pass;

struct mg_persist {
    mg_store *store;            /* owned */
    mg_persist_options options; /* path and boot_id: none of its */
    char boot_id[37];
    mg_policy_clock *policy_clock; /* borrowed */
    uint64_t secret[2];
    unsigned meta, numbers_table, keys, kept; /* tables */

    pthread_mutex_t lock;
    mg_map *items;        /* by row key; owned values */
    mg_list numbers;      /* persist_number, owned */
    bool draining;        /* limiters are, now */
    uint32_t last_number; /* the highest that any row has ever had */

    /* Of the thread that flushes. */
    persist_pass pass;
    persist_batch batch;
    uint64_t looked_ns, drained_ns; /* monotonic: when small things were looked at, limiters were drained */
    uint64_t saved_ns;              /* monotonic: of the clock's row; 0: not yet */
    int64_t saved_offset_ns;        /* wall less monotonic, then */
    uint64_t cautious_until_ns;     /* small transactions until then: the map was full */
    char swept[PERSIST_KEY_ROW_BYTES];
    size_t swept_n;
    uint64_t items_swept_ns; /* monotonic */
    bool said;               /* in the log, that flushing fails */

    _Atomic uint64_t complete_ns; /* monotonic: when the last complete drain began */
    _Atomic uint64_t drains, errors, skipped, restored;
    _Atomic bool failing;
    mg_histogram commits;
};

/* ---- persist.c ---- */

/* The batch's rows and the clock's in one transaction; the batch is empty again. */
MG_MUST_USE mg_result mg_persist_commit(mg_persist *persist, mg_error *err);
/* The same for a batch that only deletes: without the clock's row, so that it needs no room. */
MG_MUST_USE mg_result mg_persist_commit_deletions(mg_persist *persist, mg_error *err);
size_t mg_persist_batch_max(const mg_persist *persist);
/* Key and row are copied. */
void mg_persist_batch_add(mg_persist *persist, unsigned table, mg_str key, mg_str row);
void mg_persist_batch_delete(mg_persist *persist, unsigned table, mg_str key);
void mg_persist_batch_clear(mg_persist *persist);
uint64_t mg_persist_mono(const mg_persist *persist);
uint64_t mg_persist_policy_now(const mg_persist *persist);
void mg_persist_skip(mg_persist *persist, uint64_t rows);

/* ---- persist_keep.c ---- */

/* Stores what has changed. */
MG_MUST_USE mg_result mg_persist_flush_items(mg_persist *persist, mg_error *err);
/* Drops rows that nobody has kept for a month. */
MG_MUST_USE mg_result mg_persist_sweep_items(mg_persist *persist, mg_error *err);
void mg_persist_free_items(mg_persist *persist);

/* ---- persist_keys.c ---- */

MG_MUST_USE mg_result mg_persist_load_numbers(mg_persist *persist, mg_error *err);
/* Begins to store all keys that have changed. */
void mg_persist_begin_drain(mg_persist *persist);
/* A transaction of them; `*more`: that was not the last. */
MG_MUST_USE mg_result mg_persist_drain_some(mg_persist *persist, bool *more, mg_error *err);
/* Ends a drain, whether or not all of it was stored; the rest waits for the next one. */
void mg_persist_end_drain(mg_persist *persist);
/* Numbers whose keys are all stored under another one by now, and those whose keys are all clamped: begins with
 * the first, then one in each call. */
void mg_persist_begin_settling(mg_persist *persist);
MG_MUST_USE mg_result mg_persist_settle_some(mg_persist *persist, bool *more, mg_error *err);
/* Drops rows that say nothing any more, a bounded number of them. */
MG_MUST_USE mg_result mg_persist_sweep_keys(mg_persist *persist, mg_error *err);
void mg_persist_free_numbers(mg_persist *persist);

/* ---- persist_rows.c: text to values and back. False: not a row of ours. ---- */

void mg_persist_row_key(char out[PERSIST_KEY_ROW_BYTES], uint32_t number, uint32_t place, bool cell);
uint32_t mg_persist_row_number(mg_str key);
uint32_t mg_persist_row_place(mg_str key, bool *cell);
void mg_persist_write_record(mg_text *row, mg_str key, const mg_limiter_record *record);
bool mg_persist_read_record(mg_str key, mg_str row, mg_limiter_record *record);
void mg_persist_write_clock(mg_text *row, mg_str key, const mg_policy_clock_saved *saved);
bool mg_persist_read_clock(mg_str key, mg_str row, mg_policy_clock_saved *saved);
void mg_persist_write_number(mg_text *row, mg_str key, const persist_number *number);
bool mg_persist_read_number(mg_str key, mg_str row, persist_number *number);
void mg_persist_write_secret(mg_text *row, mg_str key, const uint64_t secret[2]);
bool mg_persist_read_secret(mg_str key, mg_str row, uint64_t secret[2]);
void mg_persist_write_item(mg_text *row, mg_str key, uint64_t at_ns, mg_str payload);
bool mg_persist_read_item(mg_str key, mg_str row, uint64_t *at_ns, mg_record *payload);

#endif
