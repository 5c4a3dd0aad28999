/* store.h - LMDB behind one door: an environment with named tables of bytes to bytes. Transactions are no
 * longer than a call; values are copied out before one ends. Any thread may read; one thread writes at a
 * time. */
#ifndef MG_STORE_STORE_H
#define MG_STORE_STORE_H

#include "base/arena.h"
#include "base/err.h"

typedef struct mg_store mg_store;

typedef struct mg_store_options {
    const char *path; /* a directory; made when missing, mode 0700 */
    size_t max_bytes; /* what rows may take, with their tables' pages; the file gets a little more */
    unsigned tables;  /* at most so many */
    unsigned readers; /* threads that read at once */
    bool sync;        /* full sync at commit */
} mg_store_options;

enum { MG_STORE_KEY_MAX = 511 };

/* Clears stale readers. MG_ERR_INVALID when LMDB says invalid, corrupt or another version; MG_ERR_BUSY when
 * another process holds the lock of this directory; MG_ERR_LIMIT when the disk is full; MG_ERR_IO for the
 * rest (EACCES, ..); err says which and what to do. One that holds more than max_bytes already is opened:
 * rows can be read and deleted, and written again when there is room. */
mg_store *mg_store_open(const mg_store_options *options, mg_result *result, mg_error *err);
void mg_store_close(mg_store *store);
/* To be asked before opening one that may be damaged: MG_ERR_INVALID where LMDB would end the process over
 * what stands in its file. A child reads all of it; in a process whose children nobody may wait for, it is
 * MG_OK. Anything else that is wrong is for mg_store_open to tell. */
MG_MUST_USE mg_result mg_store_try(const mg_store_options *options, mg_error *err);

/* Index of a named table, made when missing. Not on the request path. */
MG_MUST_USE mg_result mg_store_table(mg_store *store, const char *name, unsigned *table, mg_error *err);
/* MG_ERR_NOT_FOUND, or the value copied into the arena. */
MG_MUST_USE mg_result mg_store_get(mg_store *store, unsigned table, mg_str key, mg_arena *arena,
                                   mg_str *value);

typedef struct mg_store_change {
    unsigned table;
    mg_str key, value; /* value.p == NULL deletes */
} mg_store_change;

/* All of them in one transaction, or none. MG_ERR_LIMIT: there is no room for them, in max_bytes or on the
 * disk. What only deletes, or leaves rows with no more than they had, is never refused for max_bytes, and has
 * a reserve of its own on the disk. LMDB copies the pages that a transaction changes: a large one can fail
 * where each of its parts does not, so where MG_ERR_LIMIT comes back, try it in parts of at most
 * MG_STORE_SMALL_ROWS rows. MG_ERR_BUSY: a copy is being made that has to end first; nothing waits for it here. */
enum { MG_STORE_SMALL_ROWS = 64, MG_STORE_SMALL_BYTES = 128 * 1024 };
MG_MUST_USE mg_result mg_store_commit(mg_store *store, const mg_store_change *changes, size_t count,
                                      mg_error *err);

/* Keys with the prefix, in order, after `after` (may be empty); stops when `each` returns false. Values are
 * borrowed for the call. */
MG_MUST_USE mg_result mg_store_scan(mg_store *store, unsigned table, mg_str prefix, mg_str after,
                                    bool (*each)(void *self, mg_str key, mg_str value), void *self,
                                    mg_error *err);

/* ---- for operators ---- */

typedef struct mg_store_stats {
    uint64_t used_bytes, max_bytes; /* pages in use, free ones not counted; what may be */
    uint64_t file_bytes;
    uint32_t readers, readers_max;
} mg_store_stats;

MG_MUST_USE mg_result mg_store_stats_get(mg_store *store, mg_store_stats *out, mg_error *err);
/* Rows of a table. */
MG_MUST_USE mg_result mg_store_rows(mg_store *store, unsigned table, uint64_t *rows, mg_error *err);
/* A compacted copy of one moment, into a directory that is empty or not there yet; readers and writers go on.
 * MG_ERR_EXISTS when something is in it. */
MG_MUST_USE mg_result mg_store_copy(mg_store *store, const char *directory, mg_error *err);
/* Replaces the file by a compacted copy. Writers wait for all of it, readers for the exchange of the two. */
MG_MUST_USE mg_result mg_store_compact(mg_store *store, mg_error *err);
/* A store out of a copy, for one that is not open: `directory` is empty or not there yet, or MG_ERR_EXISTS.
 * MG_ERR_INVALID when the copy is no store. */
MG_MUST_USE mg_result mg_store_restore(const char *copy, const char *directory, mg_error *err);

#endif
