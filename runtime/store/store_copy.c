/* store_copy.c - a store as a whole: its figures, copies of it, and a smaller file in its place. */
#include "store/store_parts.h"

#include "base/mem.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

/* The first database lists them, a count first in each row. */
int mg_store_count_free(MDB_txn *txn, uint64_t *pages)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, 0, &cursor);

    *pages = 0;
    if (rc != 0)
        return rc;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        size_t count = 0;
        memcpy(&count, value.mv_data, sizeof(count));
        *pages += count;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int read_stats(mg_store *store, MDB_txn *txn, mg_store_stats *out)
{
    MDB_envinfo info;
    MDB_stat stat_of;
    mdb_filehandle_t fd;
    struct stat file;
    uint64_t unused;
    int rc;

    if ((rc = mdb_env_info(store->env, &info)) || (rc = mdb_env_stat(store->env, &stat_of)) ||
        (rc = mdb_env_get_fd(store->env, &fd)) || (rc = mg_store_count_free(txn, &unused)))
        return rc;
    if (fstat(fd, &file) != 0)
        return errno;
    *out = (mg_store_stats){ .used_bytes = (info.me_last_pgno + 1 - unused) * stat_of.ms_psize,
                             .max_bytes = store->options.max_bytes,
                             .file_bytes = (uint64_t)file.st_size,
                             .readers = info.me_numreaders,
                             .readers_max = info.me_maxreaders };
    return 0;
}

mg_result mg_store_stats_get(mg_store *store, mg_store_stats *out, mg_error *err)
{
    MDB_txn *txn;
    int rc = mg_store_begin_read(store, &txn);

    *out = (mg_store_stats){ 0 };
    if (rc == 0)
        rc = read_stats(store, txn, out);
    mg_store_end_read(store, txn);
    return rc == 0 ? MG_OK : mg_store_fail(err, rc, "cannot read the store in", store->path);
}

mg_result mg_store_rows(mg_store *store, unsigned table, uint64_t *rows, mg_error *err)
{
    MDB_stat stat_of = { 0 };
    MDB_txn *txn;
    int rc = mg_store_begin_read(store, &txn);

    if (rc == 0)
        rc = mdb_stat(txn, store->dbi[table], &stat_of);
    mg_store_end_read(store, txn);
    *rows = stat_of.ms_entries;
    return rc == 0 ? MG_OK : mg_store_fail(err, rc, "cannot read the store in", store->path);
}

static int is_empty(const char *directory, bool *empty)
{
    DIR *dir = opendir(directory);
    const struct dirent *entry;

    *empty = true;
    if (!dir)
        return errno;
    while ((entry = readdir(dir)))
        *empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    closedir(dir);
    return 0;
}

static mg_result make_empty(const char *directory, mg_error *err)
{
    bool empty = false;
    int rc = mg_store_make_directories(directory);

    if (rc == 0)
        rc = is_empty(directory, &empty);
    if (rc != 0)
        return mg_store_fail(err, rc, "cannot write a copy to", directory);
    if (!empty)
        return mg_fail(err, MG_ERR_EXISTS, "'%s' is not empty; name a directory that is, or a new one",
                       directory);
    return MG_OK;
}

static int sync_path(const char *path)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);
    int rc;

    if (fd < 0)
        return errno;
    rc = fsync(fd) == 0 ? 0 : errno;
    close(fd);
    return rc;
}

/* `path` is the caller's to free. */
static char *file_in(const char *directory, const char *name)
{
    mg_text path = { 0 };

    mg_text_addf(&path, "%s/%s", directory, name);
    return path.p;
}

/* LMDB writes past the page cache or into it, but never waits for the disk. */
static int copy_synced(MDB_env *env, const char *directory)
{
    char *file = file_in(directory, "data.mdb");
    int rc = mdb_env_copy2(env, directory, MDB_CP_COMPACT);

    if (rc == 0)
        rc = sync_path(file);
    if (rc == 0)
        rc = sync_path(directory);
    if (rc != 0)
        unlink(file);
    mg_free(file);
    return rc;
}

/* A writer that would have to exchange the map is told so from here on, and does not wait for the copy's end. */
static void begin_copy(mg_store *store)
{
    pthread_mutex_lock(&store->writing);
    store->copies++;
    pthread_rwlock_rdlock(&store->swapping);
    pthread_mutex_unlock(&store->writing);
}

static void end_copy(mg_store *store)
{
    pthread_rwlock_unlock(&store->swapping);
    pthread_mutex_lock(&store->writing);
    store->copies--;
    pthread_mutex_unlock(&store->writing);
}

mg_result mg_store_copy(mg_store *store, const char *directory, mg_error *err)
{
    const mg_result result = make_empty(directory, err);
    int rc = EBADF;

    if (result != MG_OK)
        return result;
    begin_copy(store);
    if (store->env)
        rc = copy_synced(store->env, directory);
    end_copy(store);
    return rc == 0 ? MG_OK : mg_store_fail(err, rc, "cannot copy the store to", directory);
}

static int open_tables(mg_store *store)
{
    MDB_txn *txn;
    int rc = mg_store_open_environment(store, &store->options);

    if (rc == 0)
        rc = mdb_txn_begin(store->env, NULL, 0, &txn);
    if (rc != 0)
        return rc;
    for (unsigned i = 0; i < store->tables && rc == 0; i++)
        rc = mdb_dbi_open(txn, store->names[i], MDB_CREATE, &store->dbi[i]);
    if (rc == 0)
        return mdb_txn_commit(txn);
    mdb_txn_abort(txn);
    return rc;
}

/* Opens the environment and its tables again, out of another file where `from` names one: it takes the place
 * of the other while nobody has it open. */
static int open_another(mg_store *store, const char *from)
{
    char *to = file_in(store->path, "data.mdb");
    int rc = 0, again;

    pthread_rwlock_wrlock(&store->swapping);
    mdb_env_close(store->env);
    store->env = NULL;
    if (from)
        rc = rename(from, to) == 0 ? sync_path(store->path) : errno;
    again = open_tables(store);
    if (again != 0 && store->env) {
        mdb_env_close(store->env);
        store->env = NULL;
    }
    pthread_rwlock_unlock(&store->swapping);
    mg_free(to);
    return rc ? rc : again;
}

int mg_store_open_again(mg_store *store)
{
    if (store->copies)
        return STORE_COPIED;
    return store->env ? open_another(store, NULL) : EBADF;
}

/* Under `opening` and `writing`. */
static int compact_locked(mg_store *store)
{
    char *directory = file_in(store->path, "compact");
    char *file = file_in(directory, "data.mdb");
    int rc = store->env ? mg_store_make_directories(directory) : EBADF;

    unlink(file); /* of one that was cut short */
    if (rc == 0)
        rc = copy_synced(store->env, directory);
    if (rc == 0)
        rc = open_another(store, file);
    unlink(file);
    rmdir(directory);
    mg_free(file);
    mg_free(directory);
    return rc;
}

mg_result mg_store_compact(mg_store *store, mg_error *err)
{
    int rc;

    pthread_mutex_lock(&store->opening);
    pthread_mutex_lock(&store->writing);
    rc = compact_locked(store);
    pthread_mutex_unlock(&store->writing);
    pthread_mutex_unlock(&store->opening);
    return rc == 0 ? MG_OK : mg_store_fail(err, rc, "cannot compact the store in", store->path);
}

/* A copy whose end did not make it here; to touch what is missing would be a SIGBUS. */
static mg_result check_whole(MDB_env *env, const char *copy, mg_error *err)
{
    mdb_filehandle_t fd;
    off_t is = 0, whole = 0;
    const int rc = mg_store_file_bytes(env, &fd, &is, &whole);

    if (rc != 0)
        return mg_store_fail(err, rc, "cannot read the copy in", copy);
    if (is >= whole)
        return MG_OK;
    return mg_fail(err, MG_ERR_INVALID, "the copy in '%s' is cut short: it has %lld of %lld bytes", copy,
                   (long long)is, (long long)whole);
}

mg_result mg_store_restore(const char *copy, const char *directory, mg_error *err)
{
    mg_result result = MG_OK;
    MDB_env *env = NULL;
    int rc;

    if ((rc = mdb_env_create(&env)) || (rc = mdb_env_set_maxdbs(env, 16)) ||
        (rc = mdb_env_open(env, copy, MDB_RDONLY | MDB_NOLOCK, 0600)))
        result = mg_store_fail(err, rc, "cannot read the copy in", copy);
    if (result == MG_OK)
        result = check_whole(env, copy, err);
    if (result == MG_OK)
        result = make_empty(directory, err);
    if (result == MG_OK && (rc = copy_synced(env, directory)) != 0)
        result = mg_store_fail(err, rc, "cannot restore the store in", directory);
    if (env)
        mdb_env_close(env);
    return result;
}
