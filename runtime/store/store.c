/* store.c - the one home of LMDB. Each call is one transaction: values are copied out before a reader ends,
 * so a reader never keeps old pages from being used again. Readers are not tied to threads (MDB_NOTLS),
 * because a worker may come and go; the directory is tied to one process by a lock file of our own, because
 * LMDB itself would let two gateways share it. The environment is closed and opened again when its file is
 * exchanged for a smaller one: whoever uses it holds `swapping` for reading. */
#include "store/store_parts.h"

#include "base/check.h"
#include "base/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* What LMDB and the system say, in our words. */
static mg_result store_code(int rc)
{
    switch (rc) {
    case MDB_SUCCESS: return MG_OK;
    case MDB_NOTFOUND: return MG_ERR_NOT_FOUND;
    case MDB_INVALID:
    case MDB_CORRUPTED:
    case MDB_VERSION_MISMATCH:
    case MDB_PAGE_NOTFOUND:
    case MDB_INCOMPATIBLE: return MG_ERR_INVALID;
    case MDB_MAP_FULL:
    case MDB_TXN_FULL:
    case ENOSPC:
    case EDQUOT:
    case EFBIG: return MG_ERR_LIMIT;
    case STORE_COPIED:
    case MDB_READERS_FULL: return MG_ERR_BUSY;
    default: return MG_ERR_IO;
    }
}

static const char *store_advice(int rc)
{
    switch (store_code(rc)) {
    case MG_ERR_INVALID: return "; move the directory aside and start again, or restore a backup";
    default: break;
    }
    switch (rc) {
    case MDB_MAP_FULL:
    case MDB_TXN_FULL: return "; delete something, or raise state.max_size";
    case EACCES:
    case EPERM: return "; give the directory to the user the gateway runs as";
    case ENOSPC:
    case EDQUOT: return "; free space on that disk";
    case EFBIG: return "; raise the largest size of a file that the process may write (ulimit -f)";
    case EROFS: return "; name a directory that can be written in state.path";
    default: return "";
    }
}

mg_result mg_store_fail(mg_error *err, int rc, const char *what, const char *path)
{
    return mg_fail(err, store_code(rc), "%s '%s': %s%s", what, path,
                   rc == STORE_COPIED ? "it is being copied" : mdb_strerror(rc), store_advice(rc));
}

/* ---- opening ---- */

/* The directory and those above it. 0 or an errno. */
int mg_store_make_directories(const char *path)
{
    char *copy = mg_strdup(path);
    int error = 0;

    for (char *at = copy + 1; !error; at++) {
        const char end = *at;
        if (end != '/' && end != '\0')
            continue;
        *at = '\0';
        if (mkdir(copy, 0700) != 0 && errno != EEXIST)
            error = errno;
        *at = end;
        if (end == '\0')
            break;
    }
    mg_free(copy);
    return error;
}

/* Who holds a lock, for the message: best effort. */
static long lock_holder(int fd)
{
    char text[24] = "";
    uint64_t pid = 0;
    const ssize_t n = pread(fd, text, sizeof(text) - 1, 0);

    if (n > 0)
        (void)mg_str_u64(mg_str_trim(mg_str_make(text, (size_t)n), "\n"), &pid);
    return (long)pid;
}

/* Only for the message of the next who comes: that it fails harms nobody. */
static void note_holder(int fd)
{
    char pid[24];
    const int n = snprintf(pid, sizeof(pid), "%ld\n", (long)getpid());

    if (ftruncate(fd, 0) == 0 && pwrite(fd, pid, (size_t)n, 0) == n)
        return;
}

static mg_result store_lock(mg_store *store, mg_error *err)
{
    char *path = mg_calloc(1, strlen(store->path) + sizeof("/lock"));
    mg_result result = MG_OK;

    strcpy(path, store->path);
    strcat(path, "/lock");
    store->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (store->lock_fd < 0) {
        result = mg_store_fail(err, errno, "cannot open the lock file", path);
    } else if (flock(store->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK)
            result =
                mg_fail(err, MG_ERR_BUSY,
                        "'%s' is in use by another gateway (process %ld); stop it, or give this one its own "
                        "state.path",
                        store->path, lock_holder(store->lock_fd));
        else
            result = mg_store_fail(err, errno, "cannot lock", path);
    } else {
        note_holder(store->lock_fd);
    }
    mg_free(path);
    return result;
}

int mg_store_file_bytes(MDB_env *env, mdb_filehandle_t *fd, off_t *is, off_t *whole)
{
    MDB_envinfo info;
    MDB_stat stat_of;
    struct stat file;
    int rc;

    if ((rc = mdb_env_info(env, &info)) || (rc = mdb_env_stat(env, &stat_of)) ||
        (rc = mdb_env_get_fd(env, fd)))
        return rc;
    *whole = (off_t)(info.me_last_pgno + 1) * (off_t)stat_of.ms_psize;
    if (fstat(*fd, &file) != 0)
        return errno;
    *is = file.st_size;
    return 0;
}

/* A file that was cut short would be a SIGBUS at the first touch of a page beyond it. Grown back with zeros,
 * such a page is seen for what it is: LMDB or a row's checksum reports it. Sparse, so that it costs nothing.
 */
static int grow_back(MDB_env *env)
{
    mdb_filehandle_t fd;
    off_t is = 0, whole = 0;
    const int rc = mg_store_file_bytes(env, &fd, &is, &whole);

    if (rc != 0)
        return rc;
    return is < whole && ftruncate(fd, whole) != 0 ? errno : 0;
}

int mg_store_open_environment(mg_store *store, const mg_store_options *options)
{
    const unsigned flags = MDB_NOTLS | (options->sync ? 0 : MDB_NOSYNC);
    int dead, rc;

    if ((rc = mdb_env_create(&store->env)) || (rc = mdb_env_set_mapsize(store->env, options->max_bytes)) ||
        (rc = mdb_env_set_maxdbs(store->env, options->tables)) ||
        (rc = mdb_env_set_maxreaders(store->env, options->readers)) ||
        (rc = mdb_env_open(store->env, store->path, flags, 0600)) || (rc = grow_back(store->env)) ||
        (rc = mg_store_room_open(store)))
        return rc;
    MG_CHECK(mdb_env_get_maxkeysize(store->env) >= MG_STORE_KEY_MAX);
    return mdb_reader_check(store->env, &dead);
}

/* LMDB takes an empty file for a store that is yet to be made. It makes none in one step: whoever finds one
 * has lost what was in it. */
static mg_result refuse_empty(const mg_store *store, mg_error *err)
{
    char *path = mg_calloc(1, strlen(store->path) + sizeof("/data.mdb"));
    struct stat file;

    strcpy(path, store->path);
    strcat(path, "/data.mdb");
    const bool empty = stat(path, &file) == 0 && file.st_size == 0;
    mg_free(path);
    if (!empty)
        return MG_OK;
    return mg_fail(
        err, MG_ERR_INVALID,
        "the store in '%s' is damaged: its data.mdb is empty; move the directory aside and start again, or "
        "restore a backup",
        store->path);
}

mg_store *mg_store_open(const mg_store_options *options, mg_result *result, mg_error *err)
{
    mg_store *store = MG_NEW(mg_store);
    int rc;

    MG_CHECK(options->path && options->path[0] && options->tables > 0 && options->readers > 0);
    store->path = mg_strdup(options->path);
    store->lock_fd = -1;
    store->max_tables = options->tables;
    store->options = *options;
    store->options.path = store->path;
    store->dbi = MG_NEW_N(MDB_dbi, options->tables);
    store->names = MG_NEW_N(char *, options->tables);
    pthread_mutex_init(&store->opening, NULL);
    pthread_mutex_init(&store->writing, NULL);
    pthread_rwlock_init(&store->swapping, NULL);

    rc = mg_store_make_directories(store->path);
    if (rc != 0)
        *result = mg_store_fail(err, rc, "cannot make the state directory", store->path);
    else
        *result = store_lock(store, err);
    if (*result == MG_OK)
        *result = refuse_empty(store, err);
    if (*result == MG_OK && (rc = mg_store_open_environment(store, options)) != 0)
        *result = mg_store_fail(err, rc, "cannot open the store in", store->path);
    if (*result == MG_OK)
        return store;
    mg_store_close(store);
    return NULL;
}

void mg_store_close(mg_store *store)
{
    if (!store)
        return;
    if (store->env)
        mdb_env_close(store->env);
    if (store->lock_fd >= 0)
        close(store->lock_fd);
    for (unsigned i = 0; i < store->tables; i++)
        mg_free(store->names[i]);
    mg_free(store->names);
    mg_free(store->dbi);
    mg_free(store->path);
    pthread_rwlock_destroy(&store->swapping);
    pthread_mutex_destroy(&store->writing);
    pthread_mutex_destroy(&store->opening);
    mg_free(store);
}

/* ---- whoever uses the environment ---- */

int mg_store_begin_read(mg_store *store, MDB_txn **txn)
{
    int rc;

    *txn = NULL;
    pthread_rwlock_rdlock(&store->swapping);
    rc = store->env ? mdb_txn_begin(store->env, NULL, MDB_RDONLY, txn) : EBADF;
    if (rc != 0)
        pthread_rwlock_unlock(&store->swapping);
    return rc;
}

/* `txn` may be NULL, as begin_read leaves it. */
void mg_store_end_read(mg_store *store, MDB_txn *txn)
{
    if (!txn)
        return;
    mdb_txn_abort(txn);
    pthread_rwlock_unlock(&store->swapping);
}

/* Under `writing`. */
static int begin_write(mg_store *store, MDB_txn **txn)
{
    *txn = NULL;
    return store->env ? mdb_txn_begin(store->env, NULL, 0, txn) : EBADF;
}

/* Commits when all went well so far. */
static int end_write(MDB_txn *txn, int rc)
{
    if (txn && rc == 0)
        return mdb_txn_commit(txn);
    if (txn)
        mdb_txn_abort(txn);
    return rc;
}

static int open_table(mg_store *store, const char *name, MDB_dbi *dbi)
{
    MDB_txn *txn;

    pthread_mutex_lock(&store->writing);
    int rc = begin_write(store, &txn);
    if (rc == 0)
        rc = mdb_dbi_open(txn, name, MDB_CREATE, dbi);
    rc = end_write(txn, rc);
    pthread_mutex_unlock(&store->writing);
    return rc;
}

static mg_result table_locked(mg_store *store, const char *name, unsigned *table, mg_error *err)
{
    for (unsigned i = 0; i < store->tables; i++) {
        if (strcmp(store->names[i], name) == 0) {
            *table = i;
            return MG_OK;
        }
    }
    if (store->tables == store->max_tables)
        return mg_fail(err, MG_ERR_LIMIT, "no room for table '%s' in '%s': it has %u", name, store->path,
                       store->tables);
    const int rc = open_table(store, name, &store->dbi[store->tables]);
    if (rc != 0)
        return mg_store_fail(err, rc, "cannot open a table in", store->path);
    store->names[store->tables] = mg_strdup(name);
    *table = store->tables++;
    return MG_OK;
}

mg_result mg_store_table(mg_store *store, const char *name, unsigned *table, mg_error *err)
{
    pthread_mutex_lock(&store->opening);
    const mg_result result = table_locked(store, name, table, err);
    pthread_mutex_unlock(&store->opening);
    return result;
}

/* ---- reading ---- */

static MDB_val to_val(mg_str s)
{
    return (MDB_val){ .mv_size = s.n, .mv_data = (void *)(uintptr_t)s.p }; /* LMDB only reads through it */
}

static mg_str from_val(const MDB_val *val)
{
    return mg_str_make(val->mv_data, val->mv_size);
}

mg_result mg_store_get(mg_store *store, unsigned table, mg_str key, mg_arena *arena, mg_str *value)
{
    MDB_val k = to_val(key), v;
    MDB_txn *txn;
    int rc;

    *value = MG_STR_NONE;
    if (key.n == 0 || key.n > MG_STORE_KEY_MAX)
        return MG_ERR_INVALID;
    rc = mg_store_begin_read(store, &txn);
    if (rc == 0)
        rc = mdb_get(txn, store->dbi[table], &k, &v);
    if (rc == 0)
        *value = mg_arena_str(arena, from_val(&v));
    mg_store_end_read(store, txn);
    return store_code(rc);
}

/* The first key not before `prefix` and behind `after`. */
static int scan_first(MDB_cursor *cursor, mg_str prefix, mg_str after, MDB_val *key, MDB_val *value)
{
    const mg_str from = mg_str_cmp(after, prefix) > 0 ? after : prefix;
    int rc;

    if (from.n == 0)
        return mdb_cursor_get(cursor, key, value, MDB_FIRST);
    *key = to_val(from);
    rc = mdb_cursor_get(cursor, key, value, MDB_SET_RANGE);
    if (rc == 0 && after.n > 0 && mg_str_eq(from_val(key), after))
        rc = mdb_cursor_get(cursor, key, value, MDB_NEXT);
    return rc;
}

mg_result mg_store_scan(mg_store *store, unsigned table, mg_str prefix, mg_str after,
                        bool (*each)(void *self, mg_str key, mg_str value), void *self, mg_error *err)
{
    MDB_txn *txn = NULL;
    MDB_cursor *cursor = NULL;
    MDB_val key, value;
    int rc;

    if (prefix.n > MG_STORE_KEY_MAX || after.n > MG_STORE_KEY_MAX)
        return mg_fail(err, MG_ERR_INVALID, "a key has at most %d bytes", MG_STORE_KEY_MAX);
    rc = mg_store_begin_read(store, &txn);
    if (rc == 0)
        rc = mdb_cursor_open(txn, store->dbi[table], &cursor);
    if (rc == 0)
        rc = scan_first(cursor, prefix, after, &key, &value);
    while (rc == 0 && mg_str_starts(from_val(&key), prefix) && each(self, from_val(&key), from_val(&value)))
        rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT);
    if (cursor)
        mdb_cursor_close(cursor);
    mg_store_end_read(store, txn);
    if (rc == 0 || rc == MDB_NOTFOUND)
        return MG_OK;
    return mg_store_fail(err, rc, "cannot read the store in", store->path);
}

/* ---- writing ---- */

static int apply(mg_store *store, MDB_txn *txn, const mg_store_change *change)
{
    MDB_val key = to_val(change->key), value = to_val(change->value);
    int rc;

    if (change->value.p)
        return mdb_put(txn, store->dbi[change->table], &key, &value, 0);
    rc = mdb_del(txn, store->dbi[change->table], &key, NULL);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* One try. */
static int write_once(mg_store *store, const mg_store_change *changes, size_t count)
{
    store_need need = mg_store_need_of(changes, count);
    MDB_txn *txn;
    int rc = begin_write(store, &txn);

    if (rc == 0)
        rc = mg_store_room_before(store, txn, &need);
    for (size_t i = 0; i < count && rc == 0; i++)
        rc = apply(store, txn, &changes[i]);
    if (rc == 0)
        rc = mg_store_room_after(store, txn, &need);
    return mg_store_room_failed(store, end_write(txn, rc));
}

/* A transaction that is small never fails for want of pages to copy to: the map grows by some. A large one
 * may, and its caller tries it in parts. */
static int write_locked(mg_store *store, const mg_store_change *changes, size_t count)
{
    int rc = write_once(store, changes, count), widened = 0;

    while (rc == MDB_MAP_FULL && mg_store_is_small(changes, count) &&
           (widened = mg_store_room_widen(store)) == 0)
        rc = write_once(store, changes, count);
    if (widened == STORE_COPIED)
        rc = STORE_COPIED;
    if (rc == MDB_PANIC)
        (void)mg_store_open_again(store); /* LMDB does nothing more until then */
    return rc == STORE_FULL ? MDB_MAP_FULL : rc;
}

mg_result mg_store_commit(mg_store *store, const mg_store_change *changes, size_t count, mg_error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (changes[i].key.n == 0 || changes[i].key.n > MG_STORE_KEY_MAX)
            return mg_fail(err, MG_ERR_INVALID, "a key of %zu bytes; it has 1 to %d", changes[i].key.n,
                           MG_STORE_KEY_MAX);
    }
    pthread_mutex_lock(&store->writing);
    const int rc = write_locked(store, changes, count);
    pthread_mutex_unlock(&store->writing);
    return rc == 0 ? MG_OK : mg_store_fail(err, rc, "cannot write to the store in", store->path);
}
