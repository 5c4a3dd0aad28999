/* state_files.c - copies of the state folder. Its parts are copied one behind the other: each is whole in
 * itself, and neither refers to the other. */
#include "state/state_files.h"

#include "base/mem.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PARTS = 2, PATH_BYTES = 4096, OLD_MAP_BYTES = 1 << 20 };

static const char *const part_names[PARTS] = { "ledger", "policy" };

/* ---- of a running gateway ---- */

mg_result mg_state_copy_ledger(mg_store *ledger, const char *folder, mg_error *err)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof path, "%s/%s", folder, part_names[0]);
    return mg_store_copy(ledger, path, err);
}

mg_result mg_state_copy_policy(mg_persist *persist, const char *folder, mg_error *err)
{
    char path[PATH_BYTES];

    snprintf(path, sizeof path, "%s/%s", folder, part_names[1]);
    return mg_persist_copy(persist, path, err);
}

/* ---- of a stopped one ---- */

/* A part on its way back. */
typedef struct part {
    char from[PATH_BYTES], place[PATH_BYTES], fresh[PATH_BYTES], aside[PATH_BYTES];
    mg_store *held; /* what stands there now, and its lock */
    bool wanted;    /* the backup has it */
    bool made, moved, placed;
} part;

static bool is_folder(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static void name_part(part *p, const char *backup, const char *folder, const char *name, const char *suffix)
{
    snprintf(p->from, sizeof p->from, "%s/%s", backup, name);
    snprintf(p->place, sizeof p->place, "%s/%s", folder, name);
    snprintf(p->fresh, sizeof p->fresh, "%s/%s.restoring", folder, name);
    snprintf(p->aside, sizeof p->aside, "%s/%s%s", folder, name, suffix);
    p->wanted = is_folder(p->from);
}

/* A store that cannot be opened is one more reason to restore; only one in use is none. */
static mg_result take_lock(part *p, mg_error *err)
{
    const mg_store_options options = {
        .path = p->place, .max_bytes = OLD_MAP_BYTES, .tables = 1, .readers = 1, .sync = true
    };
    mg_error own = MG_ERROR_INIT;
    mg_result result = MG_OK;

    if (!is_folder(p->place))
        return MG_OK;
    p->held = mg_store_open(&options, &result, &own);
    if (result == MG_ERR_BUSY || result == MG_ERR_IO)
        return mg_fail(err, result, "%s", own.message);
    return MG_OK;
}

/* What an earlier attempt left behind. */
static void remove_fresh(const part *p)
{
    static const char *const files[] = { "data.mdb", "lock.mdb", "lock" };
    char path[PATH_BYTES + 16];

    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        snprintf(path, sizeof path, "%s/%s", p->fresh, files[i]);
        (void)unlink(path);
    }
    (void)rmdir(p->fresh);
}

static mg_result prepare(part *p, mg_error *err)
{
    const mg_result result = take_lock(p, err);

    if (result != MG_OK || !p->wanted)
        return result;
    remove_fresh(p);
    p->made = true;
    return mg_store_restore(p->from, p->fresh, err);
}

static mg_result move(const char *from, const char *to, mg_error *err)
{
    if (rename(from, to) == 0)
        return MG_OK;
    return mg_fail_errno(err, errno, "cannot rename '%s' to '%s'", from, to);
}

static mg_result exchange(part *p, mg_error *err)
{
    if (is_folder(p->place)) {
        const mg_result result = move(p->place, p->aside, err);
        if (result != MG_OK)
            return result;
        p->moved = true;
    }
    if (!p->wanted)
        return MG_OK;
    const mg_result result = move(p->fresh, p->place, err);
    p->placed = result == MG_OK;
    return result;
}

static void undo(part *p)
{
    if (p->placed)
        (void)!rename(p->place, p->fresh);
    if (p->moved)
        (void)!rename(p->aside, p->place);
    if (p->made)
        remove_fresh(p);
}

static mg_result restore_parts(part parts[PARTS], mg_error *err)
{
    mg_result result = MG_OK;

    for (int i = 0; i < PARTS && result == MG_OK; i++)
        result = prepare(&parts[i], err);
    for (int i = 0; i < PARTS && result == MG_OK; i++)
        result = exchange(&parts[i], err);
    for (int i = 0; i < PARTS && result != MG_OK; i++)
        undo(&parts[i]);
    return result;
}

mg_result mg_state_restore(const char *backup, const char *folder, int64_t wall_ns, mg_text *aside,
                           mg_error *err)
{
    part *parts = MG_NEW_N(part, PARTS);
    char suffix[64];
    mg_result result;

    snprintf(suffix, sizeof suffix, ".before-%lld", (long long)(wall_ns / (int64_t)MG_NS_PER_S));
    for (int i = 0; i < PARTS; i++)
        name_part(&parts[i], backup, folder, part_names[i], suffix);
    if (!parts[0].wanted)
        result = mg_fail(err, MG_ERR_NOT_FOUND,
                         "'%s' is not a backup: it has no folder \"%s\" (made by: moongate state backup)",
                         backup, part_names[0]);
    else if (!is_folder(folder) && mkdir(folder, 0700) != 0)
        result = mg_fail_errno(err, errno, "cannot make '%s'", folder);
    else
        result = restore_parts(parts, err);
    for (int i = 0; i < PARTS; i++) {
        if (result == MG_OK && parts[i].moved && !aside->n)
            mg_text_add_c(aside, suffix);
        mg_store_close(parts[i].held);
    }
    mg_free(parts);
    return result;
}
