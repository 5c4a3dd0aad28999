/* store_room.c - whether there is room. LMDB copies each page that it changes, also to delete, so a map or a
 * disk without a page to spare could never be emptied again. Two things are kept apart here:
 *
 * - max_bytes bounds the pages that rows take, counted in the transaction before it commits. Deleting is
 *   always allowed.
 * - The map, and the file on the disk, have a reserve behind that to copy to. The map gets more where small
 *   transactions need it, because pages that are free may still belong to a state that a reader or a crash
 *   can come back to. On the disk, blocks are taken ahead of what is written, and who writes values leaves
 *   the last ones to who deletes. */
#include "store/store_parts.h"

#include "base/mem.h"
#include "base/time.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

enum {
    RESERVE_MIN_BYTES = 128 * 1024,
    RESERVE_MAX_BYTES = 1 << 20,
    RESERVE_PART = 16, /* of max_bytes */
    WIDEN_MOST = 8,    /* reserves that a map may get beyond a quarter more than rows may take */
    OVERHEAD = 64,     /* bytes of a row beside its key and value, and then some */
    PATH_PAGES = 16,   /* copied by any change: from the root down, and lists of free pages */
};

enum { META_PAGES = 2, MAIN_TABLE = 1 };

int mg_store_room_open(mg_store *store)
{
    const size_t max_bytes = store->options.max_bytes;
    MDB_stat stat_of;
    mdb_filehandle_t fd;
    off_t is = 0, whole = 0;
    int rc;

    if ((rc = mdb_env_stat(store->env, &stat_of)) || (rc = mg_store_file_bytes(store->env, &fd, &is, &whole)))
        return rc;
    store->page_bytes = stat_of.ms_psize;
    store->reserve_bytes =
        mg_min_u64(mg_max_u64(max_bytes / RESERVE_PART, RESERVE_MIN_BYTES), RESERVE_MAX_BYTES);
    store->map_bytes = mg_max_u64(max_bytes, (uint64_t)whole) + store->reserve_bytes;
    store->map_most = mg_max_u64(max_bytes + max_bytes / 4 + WIDEN_MOST * store->reserve_bytes,
                                 store->map_bytes + store->reserve_bytes);
    store->secured = is;
    return mdb_env_set_mapsize(store->env, store->map_bytes);
}

int mg_store_room_widen(mg_store *store)
{
    const size_t bytes = store->map_bytes + store->reserve_bytes;
    int rc;

    if (bytes > store->map_most || !store->env)
        return MDB_MAP_FULL;
    if (store->copies)
        return STORE_COPIED;
    pthread_rwlock_wrlock(&store->swapping);
    rc = mdb_env_set_mapsize(store->env, bytes);
    if (rc == 0) {
        store->map_bytes = bytes;
    } else { /* it has no map now */
        mdb_env_close(store->env);
        store->env = NULL;
    }
    pthread_rwlock_unlock(&store->swapping);
    return rc;
}

/* ---- what a transaction wants ---- */

store_need mg_store_need_of(const mg_store_change *changes, size_t count)
{
    store_need need = { .rows = count };

    for (size_t i = 0; i < count; i++) {
        need.puts |= changes[i].value.p != NULL;
        need.bytes += changes[i].key.n + changes[i].value.n + OVERHEAD;
    }
    return need;
}

bool mg_store_is_small(const mg_store_change *changes, size_t count)
{
    size_t bytes = 0;

    for (size_t i = 0; i < count && count <= MG_STORE_SMALL_ROWS; i++)
        bytes += changes[i].key.n + changes[i].value.n;
    return count <= MG_STORE_SMALL_ROWS && bytes <= MG_STORE_SMALL_BYTES;
}

typedef struct pages {
    size_t all, leaves, branches;
} pages;

/* Pages of our tables as the transaction sees them. Those that list free pages are not counted. */
static int count_pages(mg_store *store, MDB_txn *txn, pages *out)
{
    const unsigned tables = atomic_load(&store->tables);
    MDB_stat is;

    *out = (pages){ .all = META_PAGES };
    for (unsigned i = 0; i <= tables; i++) {
        const int rc = mdb_stat(txn, i < tables ? store->dbi[i] : MAIN_TABLE, &is);
        if (rc != 0)
            return rc;
        out->leaves += is.ms_leaf_pages;
        out->branches += is.ms_branch_pages;
        out->all += is.ms_leaf_pages + is.ms_branch_pages + is.ms_overflow_pages;
    }
    return 0;
}

/* Blocks up to there are the file's own from now on. */
static int secure(mg_store *store, mdb_filehandle_t fd, off_t bytes)
{
    int rc;

    do
        rc = fallocate(fd, 0, store->secured, bytes - store->secured) == 0 ? 0 : errno;
    while (rc == EINTR);
    if (rc == 0)
        store->secured = bytes;
    if (rc != EOPNOTSUPP && rc != ENOSYS && rc != ENODEV && rc != EINVAL)
        return rc;
    store->secured = -1; /* what a file system does not know, it finds out when it writes */
    return 0;
}

/* Free pages within the file; 0 when there is no reader to be had: whoever writes may not ask. */
static uint64_t free_pages(const mg_store *store)
{
    uint64_t unused = 0;
    MDB_txn *reader;

    if (mdb_txn_begin(store->env, NULL, MDB_RDONLY, &reader) != 0)
        return 0;
    if (mg_store_count_free(reader, &unused) != 0)
        unused = 0;
    mdb_txn_abort(reader);
    return unused;
}

/* The pages that it may write, and a reserve behind them. Free ones within the file need no room. */
static int secure_disk(mg_store *store, size_t pages_wanted)
{
    const uint64_t wanted = pages_wanted + store->reserve_bytes / store->page_bytes;
    MDB_envinfo info;
    mdb_filehandle_t fd;
    int rc;

    if ((rc = mdb_env_info(store->env, &info)) || (rc = mdb_env_get_fd(store->env, &fd)))
        return rc;
    const uint64_t end = info.me_last_pgno + 1;
    if (store->secured < 0 || (off_t)((end + wanted) * store->page_bytes) <= store->secured)
        return 0;
    const off_t bytes = (off_t)mg_min_u64(
        (end + wanted - mg_min_u64(free_pages(store), wanted)) * store->page_bytes, store->map_bytes);
    return bytes <= store->secured ? 0 : secure(store, fd, bytes);
}

int mg_store_room_before(mg_store *store, MDB_txn *txn, store_need *need)
{
    pages before;
    int rc;

    if (!need->puts)
        return 0;
    if ((rc = count_pages(store, txn, &before)))
        return rc;
    need->live_before = before.all;
    return secure_disk(store, mg_min_u64(need->rows, before.leaves) + before.branches +
                                  2 * (need->bytes / store->page_bytes + 1) + PATH_PAGES);
}

int mg_store_room_after(mg_store *store, MDB_txn *txn, const store_need *need)
{
    pages after;
    int rc;

    if (!need->puts)
        return 0;
    if ((rc = count_pages(store, txn, &after)))
        return rc;
    return after.all > need->live_before && after.all * store->page_bytes > store->options.max_bytes
               ? STORE_FULL
               : 0;
}

/* LMDB calls a write that the disk cut short EIO. */
int mg_store_room_failed(const mg_store *store, int rc)
{
    mdb_filehandle_t fd;
    struct statvfs disk;

    if (rc == EIO && store->env && mdb_env_get_fd(store->env, &fd) == 0 && fstatvfs(fd, &disk) == 0 &&
        disk.f_bavail == 0)
        return ENOSPC;
    return rc;
}
