/* store_try.c - a look at a store by a child. LMDB goes by what stands in its pages: one that is damaged may
 * end the process that reads it, or only the one that writes next to it. So a child reads all of it and
 * writes something that it takes back; what ends it would have ended us. */
#include "store/store_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FREE_PAGES = 0, NAMES = 1 }; /* LMDB's own tables: lists of free pages, the names of ours */
enum { PAGE_BYTES = 4096 };         /* at least: of memory, not of the file */
enum { FIRST_PAGE = 2 };            /* those before it say where the others are */

/* It is there to be read: each page that it touches. */
static void touch(const MDB_val *bytes)
{
    const volatile char *p = bytes->mv_data;

    for (size_t i = 0; i < bytes->mv_size; i += PAGE_BYTES)
        (void)p[i];
    if (bytes->mv_size)
        (void)p[bytes->mv_size - 1];
}

/* How many, then the pages, falling; each is given out as it stands. */
static bool lists_pages(const MDB_val *value, size_t last_page)
{
    const char *p = value->mv_data;
    const size_t room = value->mv_size / sizeof(size_t);
    size_t count, page, before = last_page + 1;

    if (room == 0)
        return false;
    memcpy(&count, p, sizeof count);
    if (count > room - 1)
        return false;
    for (size_t i = 1; i <= count; i++) {
        memcpy(&page, p + i * sizeof page, sizeof page);
        if (page < FIRST_PAGE || page >= before)
            return false;
        before = page;
    }
    return true;
}

static int look_at_free_pages(MDB_env *env)
{
    MDB_envinfo info;
    MDB_cursor *cursor = NULL;
    MDB_txn *txn = NULL;
    MDB_val key, value;
    int rc;

    if ((rc = mdb_env_info(env, &info)) || (rc = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn)))
        return rc;
    rc = mdb_cursor_open(txn, FREE_PAGES, &cursor);
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        if (key.mv_size != sizeof(size_t) || !lists_pages(&value, info.me_last_pgno))
            rc = MDB_CORRUPTED;
    if (cursor)
        mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* What LMDB shows is gone when the page that it stands on changes. */
static void *copy_value(mg_arena *arena, const MDB_val *bytes)
{
    return memcpy(mg_arena_bytes(arena, bytes->mv_size + 1), bytes->mv_data, bytes->mv_size);
}

/* Reads it all and writes its last row anew. Pages that lead round in a circle show by more rows than there
 * are. */
static int look_at_table(MDB_txn *txn, MDB_dbi table)
{
    MDB_cursor *cursor;
    MDB_stat is;
    MDB_val key, value;
    mg_arena arena;
    int rc;

    if ((rc = mdb_stat(txn, table, &is)) || (rc = mdb_cursor_open(txn, table, &cursor)))
        return rc;
    for (size_t rows = 0; (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0; rows++) {
        if (rows == is.ms_entries) {
            rc = MDB_CORRUPTED;
            break;
        }
        touch(&key);
        touch(&value);
    }
    mg_arena_init(&arena, NULL, 0);
    if (rc == MDB_NOTFOUND && is.ms_entries > 0 && mdb_cursor_get(cursor, &key, &value, MDB_LAST) == 0) {
        key.mv_data = copy_value(&arena, &key);
        value.mv_data = copy_value(&arena, &value);
        rc = mdb_put(txn, table, &key, &value, 0);
    }
    mdb_cursor_close(cursor);
    mg_arena_fini(&arena);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

static int look_at_tables(MDB_env *env)
{
    char name[MG_STORE_KEY_MAX + 1];
    MDB_cursor *cursor = NULL;
    MDB_txn *txn = NULL;
    MDB_val key, value;
    MDB_dbi table;
    int rc;

    if ((rc = mdb_txn_begin(env, NULL, 0, &txn)))
        return rc;
    rc = mdb_cursor_open(txn, NAMES, &cursor);
    while (rc == 0 && (rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        snprintf(name, sizeof name, "%.*s", (int)key.mv_size, (const char *)key.mv_data);
        if ((rc = mdb_dbi_open(txn, name, 0, &table)) == 0)
            rc = look_at_table(txn, table);
    }
    if (cursor)
        mdb_cursor_close(cursor);
    mdb_txn_abort(txn);
    return rc == MDB_NOTFOUND ? 0 : rc;
}

/* The child: 0 also for what opening it will report in any case. */
static _Noreturn void look_at_store(const mg_store_options *options)
{
    static const int deadly[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL };
    mg_result result = MG_OK;
    const int null = open("/dev/null", O_WRONLY);

    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, 0 });
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly; i++)
        (void)signal(deadly[i], SIG_DFL);
    if (null >= 0) { /* LMDB tells what it did not expect there */
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
    }
    mg_store *store = mg_store_open(options, &result, NULL);
    if (store) {
        int rc = mg_store_look_at_pages(store->env);
        if (rc == 0)
            rc = look_at_free_pages(store->env);
        if (rc == 0)
            rc = look_at_tables(store->env);
        if (rc != 0)
            result = mg_store_fail(NULL, rc, "", "");
    }
    _exit(store && result == MG_ERR_INVALID ? EXIT_FAILURE : EXIT_SUCCESS);
}

static bool ended_by_damage(int status)
{
    if (WIFEXITED(status))
        return WEXITSTATUS(status) != EXIT_SUCCESS;
    const int by = WTERMSIG(status);
    return by == SIGSEGV || by == SIGBUS || by == SIGABRT || by == SIGFPE || by == SIGILL;
}

mg_result mg_store_try(const mg_store_options *options, mg_error *err)
{
    char file[4096];
    int status = 0;
    pid_t ended;

    if (snprintf(file, sizeof file, "%s/data.mdb", options->path) >= (int)sizeof file ||
        access(file, F_OK) != 0)
        return MG_OK;
    const pid_t child = fork();
    if (child == 0)
        look_at_store(options);
    do
        ended = child > 0 ? waitpid(child, &status, 0) : -1;
    while (ended < 0 && child > 0 && errno == EINTR);
    if (ended < 0 || !ended_by_damage(status))
        return MG_OK;
    return mg_fail(
        err, MG_ERR_INVALID,
        "the store in '%s' is damaged; move the directory aside and start again, or restore a backup",
        options->path);
}
