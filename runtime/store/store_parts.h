/* store_parts.h - a store from inside: what store.c shares with its other files. Nobody else includes this.
 */
#ifndef MG_STORE_STORE_PARTS_H
#define MG_STORE_STORE_PARTS_H

#include "store/store.h"

#include <lmdb.h>
#include <pthread.h>

struct mg_store {
    mg_store_options options; /* path: our own */
    MDB_env *env;             /* NULL when an exchanged file could not be opened */
    pthread_mutex_t writing;  /* by whoever changes the file */
    pthread_rwlock_t swapping;
    char *path;              /* owned */
    int lock_fd;             /* flock held as long as it is open */
    pthread_mutex_t opening; /* of tables */
    unsigned tables, max_tables;
    MDB_dbi *dbi; /* by table; written before the index is handed out */
    char **names; /* owned; by table */
};

/* `rc` is LMDB's or an errno. */
mg_result store_fail(mg_error *err, int rc, const char *what, const char *path);
/* The directory and those above it. 0 or an errno. */
int store_make_directories(const char *path);
/* Sets store->env even when it fails: the caller closes it. */
int store_open_environment(mg_store *store, const mg_store_options *options);
/* The environment's file: how long it is, and has to be for all its pages. */
int store_file_bytes(MDB_env *env, mdb_filehandle_t *fd, off_t *is, off_t *whole);
/* A reader that holds `swapping`; *txn is NULL when there is none. */
int store_begin_read(mg_store *store, MDB_txn **txn);
void store_end_read(mg_store *store, MDB_txn *txn);
/* MDB_CORRUPTED where a page is not as LMDB makes them. */
int store_look_at_pages(MDB_env *env);

#endif
