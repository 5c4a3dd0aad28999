/* store_parts.h - a store from inside: what store.c shares with its other files. Nobody else includes this.
 * Any thread; what changes the file, under `writing`. */
#ifndef MG_STORE_STORE_PARTS_H
#define MG_STORE_STORE_PARTS_H

#include "store/store.h"

#include <lmdb.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct mg_store {
    mg_store_options options; /* path: our own */
    MDB_env *env;             /* NULL when an exchanged file could not be opened */
    pthread_mutex_t writing;  /* by whoever changes the file */
    unsigned copies;          /* under way; under `writing` */
    pthread_rwlock_t swapping;
    char *path;              /* owned */
    int lock_fd;             /* flock held as long as it is open */
    pthread_mutex_t opening; /* of tables */
    _Atomic unsigned tables;
    unsigned max_tables;
    MDB_dbi *dbi; /* by table; written before the index is handed out */
    char **names; /* owned; by table */

    /* store_room.c; under `writing`, but for opening */
    size_t page_bytes, reserve_bytes;
    size_t map_bytes, map_most; /* of the map: now, and at most */
    off_t secured;              /* bytes of the file that the disk is known to have; -1: it cannot say */
};

/* `rc` is LMDB's or an errno. */
mg_result mg_store_fail(mg_error *err, int rc, const char *what, const char *path);
/* The directory and those above it. 0 or an errno. */
int mg_store_make_directories(const char *path);
/* Sets store->env even when it fails: the caller closes it. */
int mg_store_open_environment(mg_store *store, const mg_store_options *options);
/* The environment's file: how long it is, and has to be for all its pages. */
int mg_store_file_bytes(MDB_env *env, mdb_filehandle_t *fd, off_t *is, off_t *whole);
/* A reader that holds `swapping`; *txn is NULL when there is none. */
int mg_store_begin_read(mg_store *store, MDB_txn **txn);
void mg_store_end_read(mg_store *store, MDB_txn *txn);
/* MDB_CORRUPTED where a page is not as LMDB makes them. */
int mg_store_look_at_pages(MDB_env *env);
/* Closes the environment and opens it and its tables again; store->env is NULL where that fails. Under
 * `writing`. */
int mg_store_open_again(mg_store *store);
/* Pages that a later commit may use again. */
int mg_store_count_free(MDB_txn *txn, uint64_t *pages);

/* ---- store_room.c: whether there is room. Under `writing`. ---- */

/* Beside LMDB's codes and errnos. */
enum {
    STORE_FULL = 1 << 20, /* rows would take more than max_bytes */
    STORE_COPIED,         /* the map cannot be exchanged while a copy reads it */
};

/* What a transaction will want. */
typedef struct store_need {
    bool puts; /* else it only deletes */
    size_t rows, bytes;
    size_t live_before; /* pages that rows took */
} store_need;

store_need mg_store_need_of(const mg_store_change *changes, size_t count);
bool mg_store_is_small(const mg_store_change *changes, size_t count);
/* For a new environment: sets how large its map is. */
int mg_store_room_open(mg_store *store);
/* Before the changes: the disk has what they may take. An errno, as ENOSPC. */
int mg_store_room_before(mg_store *store, MDB_txn *txn, store_need *need);
/* After them: STORE_FULL when they take more than is allowed. */
int mg_store_room_after(mg_store *store, MDB_txn *txn, const store_need *need);
/* What a failure means. */
int mg_store_room_failed(const mg_store *store, int rc);
/* Another piece for the map; MDB_MAP_FULL: it has all that it may have; STORE_COPIED. */
int mg_store_room_widen(mg_store *store);

#endif
