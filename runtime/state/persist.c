/* persist.c - the store of policy state: opened or set aside, the clock that goes on in it, and the turns of
 * the one who flushes. */
#include "state/persist_parts.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/rand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    TABLES = 4,
    READERS = 126,
    CAUTIOUS_ROWS = 50, /* with the clock's and a number's: what the store calls small */
    CAUTIOUS_S = 60,
    SAVE_CLOCK_S = 60, /* when nothing else is written */
    BROKEN_TRIES = 100,
};

#define KEY_CLOCK  MG_STR("clock")
#define KEY_SECRET MG_STR("secret")

uint64_t mg_persist_mono(const mg_persist *persist)
{
    return persist->options.clock->mono_ns(persist->options.clock);
}

uint64_t mg_persist_policy_now(const mg_persist *persist)
{
    return mg_policy_clock_now(persist->policy_clock);
}

void mg_persist_skip(mg_persist *persist, uint64_t rows)
{
    atomic_fetch_add(&persist->skipped, rows);
}

/* ---- a transaction ---- */

size_t mg_persist_batch_max(const mg_persist *persist)
{
    return mg_persist_mono(persist) < persist->cautious_until_ns ? CAUTIOUS_ROWS : MG_PERSIST_ROWS_MAX;
}

static void add_row(mg_persist *persist, unsigned table, mg_str key, mg_str row)
{
    persist_batch *batch = &persist->batch;

    MG_CHECK(batch->count < mg_countof(batch->changes));
    batch->changes[batch->count++] = (mg_store_change){ table, mg_arena_str(&batch->arena, key), row };
}

void mg_persist_batch_add(mg_persist *persist, unsigned table, mg_str key, mg_str row)
{
    add_row(persist, table, key, mg_arena_str(&persist->batch.arena, row));
}

void mg_persist_batch_delete(mg_persist *persist, unsigned table, mg_str key)
{
    add_row(persist, table, key, MG_STR_NONE);
}

void mg_persist_batch_clear(mg_persist *persist)
{
    persist->batch.count = 0;
    mg_arena_reset(&persist->batch.arena);
}

static int64_t wall_offset(const mg_policy_clock_saved *saved)
{
    return (int64_t)((uint64_t)saved->wall_ns - saved->mono_ns);
}

/* The clock's row goes with every transaction: a row is never from after the clock that it is read by. */
static void add_clock(mg_persist *persist, mg_policy_clock_saved *saved)
{
    mg_text row = { 0 };

    mg_policy_clock_save(persist->policy_clock, persist->boot_id, saved);
    mg_persist_write_clock(&row, KEY_CLOCK, saved);
    mg_persist_batch_add(persist, persist->meta, KEY_CLOCK, mg_text_str(&row));
    mg_text_fini(&row);
}

static void say_failing(mg_persist *persist, mg_result result, const mg_error *err)
{
    const bool failing = result != MG_OK;

    atomic_store(&persist->failing, failing);
    if (failing)
        atomic_fetch_add(&persist->errors, 1);
    if (failing && !persist->said)
        mg_log_write(persist->options.log, MG_LOG_ERROR, "state",
                     "policy state is not stored: %s; traffic goes on, and so does storing when it can",
                     err->message);
    else if (!failing && persist->said)
        mg_log_write(persist->options.log, MG_LOG_INFO, "state", "policy state is stored again");
    persist->said = failing;
}

/* The batch, which is empty again. */
static mg_result commit_batch(mg_persist *persist, mg_error *err)
{
    const uint64_t began_ns = mg_persist_mono(persist);
    persist_batch *batch = &persist->batch;
    const mg_result result = mg_store_commit(persist->store, batch->changes, batch->count, err);

    mg_persist_batch_clear(persist);
    if (result == MG_ERR_LIMIT)
        persist->cautious_until_ns = began_ns + CAUTIOUS_S * MG_NS_PER_S;
    if (result == MG_OK)
        mg_histogram_add(&persist->commits, (mg_persist_mono(persist) - began_ns) / 1000);
    return result;
}

mg_result mg_persist_commit(mg_persist *persist, mg_error *err)
{
    const uint64_t began_ns = mg_persist_mono(persist);
    mg_policy_clock_saved saved;

    add_clock(persist, &saved);
    const mg_result result = commit_batch(persist, err);
    if (result != MG_OK)
        return result;
    persist->saved_ns = began_ns ? began_ns : 1;
    persist->saved_offset_ns = wall_offset(&saved);
    return MG_OK;
}

mg_result mg_persist_commit_deletions(mg_persist *persist, mg_error *err)
{
    return commit_batch(persist, err);
}

/* Also when nothing else is to be stored, now and then, and when the wall clock was set: after a reboot the
 * difference to the row's reading is what counts as passed. */
static mg_result save_clock(mg_persist *persist, mg_error *err)
{
    mg_policy_clock_saved now;

    mg_policy_clock_save(persist->policy_clock, persist->boot_id, &now);
    const int64_t step_ns = wall_offset(&now) - persist->saved_offset_ns;
    if (persist->saved_ns && now.mono_ns - persist->saved_ns < SAVE_CLOCK_S * MG_NS_PER_S &&
        step_ns < (int64_t)MG_NS_PER_S && step_ns > -(int64_t)MG_NS_PER_S)
        return MG_OK;
    return mg_persist_commit(persist, err);
}

/* ---- opening ---- */

static bool note_number(void *self, mg_str key, mg_str row)
{
    mg_persist *persist = self;
    const uint32_t number = mg_persist_row_number(key);

    (void)row;
    if (number > persist->last_number)
        persist->last_number = number;
    return true;
}

static bool pass(void *self, mg_str key, mg_str row)
{
    (void)self;
    (void)key;
    (void)row;
    return true;
}

/* Looking at every row finds a file that is damaged further on while it still can be set aside, and the
 * numbers that new rows must not have. */
static mg_result look_at_rows(mg_persist *persist, unsigned table, mg_error *err)
{
    const bool numbered = table == persist->keys || table == persist->numbers_table;

    return mg_store_scan(persist->store, table, MG_STR(""), MG_STR(""), numbered ? note_number : pass,
                         persist, err);
}

static mg_result open_tables(mg_persist *persist, mg_error *err)
{
    const struct {
        const char *name;
        unsigned *table;
    } tables[TABLES] = { { "meta", &persist->meta },
                         { "limiters", &persist->numbers_table },
                         { "keys", &persist->keys },
                         { "kept", &persist->kept } };
    mg_result result = MG_OK;

    for (int i = 0; i < TABLES && result == MG_OK; i++)
        result = mg_store_table(persist->store, tables[i].name, tables[i].table, err);
    for (int i = 0; i < TABLES && result == MG_OK; i++)
        result = look_at_rows(persist, *tables[i].table, err);
    return result;
}

static mg_result open_store(mg_persist *persist, mg_error *err)
{
    const mg_store_options options = { .path = persist->options.path,
                                       .max_bytes = persist->options.max_bytes,
                                       .tables = TABLES,
                                       .readers = READERS,
                                       .sync = true };
    mg_result result = mg_store_try(&options, err);

    if (result == MG_OK)
        persist->store = mg_store_open(&options, &result, err);
    if (result == MG_OK)
        result = open_tables(persist, err);
    if (result != MG_OK) {
        mg_store_close(persist->store);
        persist->store = NULL;
    }
    return result;
}

/* "policy.broken-20261121T084501Z", with a number behind it when there is one already. */
static mg_result set_aside(mg_persist *persist, mg_error *err)
{
    const char *path = persist->options.path;
    mg_text to = { 0 };
    char time[32];
    size_t n = 0;
    int error = EEXIST;

    mg_iso_time(time, persist->options.clock->wall_ns(persist->options.clock));
    for (const char *p = time; *p && *p != '.'; p++)
        if (*p != '-' && *p != ':')
            time[n++] = *p;
    time[n] = '\0';
    for (int i = 0; i < BROKEN_TRIES && (error == EEXIST || error == ENOTEMPTY); i++) {
        mg_text_clear(&to);
        mg_text_addf(&to, i ? "%s.broken-%sZ-%d" : "%s.broken-%sZ", path, time, i);
        error = rename(path, to.p) == 0 ? 0 : errno;
    }
    if (error == 0)
        mg_log_write(persist->options.log, MG_LOG_ERROR, "state",
                     "%s; it stands in '%s' now, and limits and breakers begin anew", err->message, to.p);
    mg_text_fini(&to);
    return error == 0 ? MG_OK : mg_fail_errno(err, error, "cannot move '%s' aside", path);
}

/* A row of `meta`; false when there is none. */
static bool get_meta(mg_persist *persist, mg_str key, mg_arena *arena, mg_str *row)
{
    return mg_store_get(persist->store, persist->meta, key, arena, row) == MG_OK;
}

static void go_on(mg_persist *persist)
{
    mg_policy_clock_saved saved;
    mg_error err = MG_ERROR_INIT;
    mg_arena arena;
    mg_str row;
    bool known;

    mg_arena_init(&arena, NULL, 0);
    known = get_meta(persist, KEY_CLOCK, &arena, &row);
    if (known && !mg_persist_read_clock(KEY_CLOCK, row, &saved)) {
        mg_persist_skip(persist, 1);
        known = false;
    }
    mg_policy_clock_init(persist->policy_clock, persist->options.clock, known ? &saved : NULL,
                         persist->boot_id);
    mg_arena_fini(&arena);
    /* A boot's monotonic clock counts from its first transaction on: that is now. */
    if (known && strcmp(saved.boot_id, persist->boot_id) != 0 && mg_persist_commit(persist, &err) != MG_OK)
        mg_log_write(persist->options.log, MG_LOG_WARN, "state", "%s", err.message);
}

static mg_result make_secret(mg_persist *persist, mg_error *err)
{
    const uint64_t seed = persist->options.seed;
    mg_text row = { 0 };
    mg_rand rand;

    mg_rand_init(&rand, seed);
    for (int i = 0; i < 2; i++)
        persist->secret[i] = seed ? mg_rand_next(&rand) : mg_rand_system_seed();
    mg_persist_write_secret(&row, KEY_SECRET, persist->secret);
    mg_persist_batch_add(persist, persist->meta, KEY_SECRET, mg_text_str(&row));
    mg_text_fini(&row);
    return mg_persist_commit(persist, err);
}

static mg_result find_secret(mg_persist *persist, mg_error *err)
{
    mg_arena arena;
    mg_str row;
    bool found;

    mg_arena_init(&arena, NULL, 0);
    found = get_meta(persist, KEY_SECRET, &arena, &row);
    if (found && !mg_persist_read_secret(KEY_SECRET, row, persist->secret)) {
        mg_persist_skip(persist, 1);
        found = false;
    }
    mg_arena_fini(&arena);
    return found ? MG_OK : make_secret(persist, err);
}

static mg_result begin(mg_persist *persist, mg_error *err)
{
    mg_result result = open_store(persist, err);

    if (result == MG_ERR_INVALID) {
        result = set_aside(persist, err);
        if (result == MG_OK) {
            *err = (mg_error)MG_ERROR_INIT; /* it has been told, and callers go by the code */
            result = open_store(persist, err);
        }
    }
    if (result != MG_OK)
        return result;
    go_on(persist);
    result = find_secret(persist, err);
    return result == MG_OK ? mg_persist_load_numbers(persist, err) : result;
}

mg_persist *mg_persist_open(const mg_persist_options *options, mg_policy_clock *policy_clock, mg_error *err)
{
    mg_persist *persist = MG_NEW(mg_persist);
    mg_error own = MG_ERROR_INIT;

    MG_CHECK(options->path && options->clock && policy_clock);
    persist->options = *options;
    persist->policy_clock = policy_clock;
    if (options->boot_id)
        snprintf(persist->boot_id, sizeof(persist->boot_id), "%s", options->boot_id);
    else
        mg_boot_id(persist->boot_id);
    persist->items = mg_map_new(options->seed + 1);
    mg_list_init(&persist->numbers);
    mg_arena_init(&persist->batch.arena, NULL, 0);
    pthread_mutex_init(&persist->lock, NULL);
    if (begin(persist, err ? err : &own) == MG_OK) {
        persist->options.path = persist->options.boot_id = NULL;
        persist->looked_ns = persist->drained_ns = persist->items_swept_ns = mg_persist_mono(persist);
        atomic_init(&persist->complete_ns, persist->drained_ns);
        return persist;
    }
    mg_persist_free(persist);
    return NULL;
}

void mg_persist_free(mg_persist *persist)
{
    if (!persist)
        return;
    mg_persist_free_items(persist);
    mg_persist_free_numbers(persist);
    mg_arena_fini(&persist->batch.arena);
    mg_text_fini(&persist->batch.row);
    mg_store_close(persist->store);
    pthread_mutex_destroy(&persist->lock);
    mg_free(persist);
}

const uint64_t *mg_persist_secret(const mg_persist *persist)
{
    return persist->secret;
}

/* ---- flushing ---- */

static void begin_pass(mg_persist *persist, bool sweeps)
{
    const uint64_t now_ns = mg_persist_mono(persist);

    persist->looked_ns = persist->drained_ns = now_ns;
    persist->pass = (persist_pass){ .stage = PERSIST_DRAINS, .began_ns = now_ns, .sweeps = sweeps };
    mg_persist_begin_drain(persist);
}

/* Small things do not wait for long behind keys. */
static mg_result look_between(mg_persist *persist, mg_error *err)
{
    const uint64_t now_ns = mg_persist_mono(persist);

    if (now_ns - persist->looked_ns < MG_PERSIST_LOOK_MS * MG_NS_PER_MS)
        return MG_OK;
    persist->looked_ns = now_ns;
    return mg_persist_flush_items(persist, err);
}

static mg_result drain(mg_persist *persist, mg_error *err)
{
    bool more = false;
    mg_result result = look_between(persist, err);

    if (result == MG_OK)
        result = mg_persist_drain_some(persist, &more, err);
    if (result == MG_OK && !more) {
        persist->pass.stage = PERSIST_SETTLES;
        mg_persist_begin_settling(persist);
    }
    return result;
}

static mg_result settle(mg_persist *persist, mg_error *err)
{
    bool more = false;
    const mg_result result = mg_persist_settle_some(persist, &more, err);

    if (result == MG_OK && !more)
        persist->pass.stage = PERSIST_SWEEPS;
    return result;
}

/* Makes room, too. */
static mg_result sweep(mg_persist *persist, mg_error *err)
{
    persist_pass *pass = &persist->pass;
    const bool full = pass->full.code != MG_OK;
    mg_error ignored = MG_ERROR_INIT;
    mg_result result = MG_OK;

    if (pass->sweeps)
        result = mg_persist_sweep_keys(persist, full ? &ignored : err);
    if (full)
        *err = pass->full;
    if (full)
        result = pass->full.code;
    if (result == MG_OK)
        result = save_clock(persist, err);
    pass->stage = PERSIST_RESTS;
    return result;
}

/* A step of the pass under way. Where there is no room, it goes on with what makes some. */
static mg_result step_pass(mg_persist *persist, mg_error *err)
{
    persist_pass *pass = &persist->pass;
    mg_result result;

    if (pass->stage == PERSIST_SWEEPS)
        return sweep(persist, err);
    result = pass->stage == PERSIST_DRAINS ? drain(persist, err) : settle(persist, err);
    if (result == MG_OK)
        return MG_OK;
    mg_persist_end_drain(persist);
    pass->stage = result == MG_ERR_LIMIT && pass->sweeps ? PERSIST_SWEEPS : PERSIST_RESTS;
    pass->full = *err;
    return pass->stage == PERSIST_SWEEPS ? MG_OK : result;
}

/* A pass has ended, or a look. One that only has to wait for a copy of the store says nothing. */
static mg_result ended(mg_persist *persist, mg_result result, const mg_error *err)
{
    if (result != MG_ERR_BUSY)
        say_failing(persist, result, err);
    return result;
}

mg_result mg_persist_flush(mg_persist *persist, mg_error *err)
{
    mg_error own = MG_ERROR_INIT;
    mg_result result;

    if (!err)
        err = &own;
    begin_pass(persist, false); /* what one under way has not stored, is still marked */
    result = mg_persist_flush_items(persist, err);
    while (result == MG_OK && persist->pass.stage != PERSIST_RESTS)
        result = step_pass(persist, err);
    mg_persist_end_drain(persist);
    persist->pass.stage = PERSIST_RESTS;
    return ended(persist, result, err);
}

static mg_result look_for_changes(mg_persist *persist, uint64_t now_ns, mg_error *err)
{
    if (atomic_load(&persist->failing)) /* tried again once a second */
        return MG_OK;
    persist->looked_ns = now_ns;
    return ended(persist, mg_persist_flush_items(persist, err), err);
}

mg_result mg_persist_turn(mg_persist *persist, bool all, bool *more, mg_error *err)
{
    const uint64_t now_ns = mg_persist_mono(persist);
    mg_error own = MG_ERROR_INIT;
    mg_result result;

    if (!err)
        err = &own;
    *more = false;
    if (persist->pass.stage != PERSIST_RESTS) {
        result = step_pass(persist, err);
    } else {
        if (!all && now_ns - persist->drained_ns < MG_PERSIST_FLUSH_MS * MG_NS_PER_MS)
            return look_for_changes(persist, now_ns, err);
        begin_pass(persist, true);
        persist->looked_ns = 0; /* small things first */
        result = step_pass(persist, err);
    }
    *more = persist->pass.stage != PERSIST_RESTS;
    return *more ? MG_OK : ended(persist, result, err);
}

/* ---- how it goes ---- */

void mg_persist_stats_get(mg_persist *persist, mg_persist_stats *out)
{
    const uint64_t now_ns = mg_persist_mono(persist), complete_ns = atomic_load(&persist->complete_ns);
    mg_store_stats store;
    uint64_t rows = 0;

    memset(out, 0, sizeof(*out));
    out->lag_ms = (mg_max_u64(now_ns, complete_ns) - complete_ns) / MG_NS_PER_MS;
    out->errors = atomic_load(&persist->errors);
    out->skipped_rows = atomic_load(&persist->skipped);
    out->restored_keys = atomic_load(&persist->restored);
    out->failing = atomic_load(&persist->failing);
    if (mg_store_rows(persist->store, persist->keys, &rows, NULL) == MG_OK)
        out->rows = rows;
    if (mg_store_stats_get(persist->store, &store, NULL) == MG_OK) {
        out->used_bytes = store.used_bytes;
        out->max_bytes = store.max_bytes;
    }
    for (size_t i = 0; i < mg_countof(out->commits.cells); i++)
        out->commits.cells[i].value = mg_cell_get(&persist->commits.cells[i]);
    out->commits.sum_us.value = mg_cell_get(&persist->commits.sum_us);
    out->commits.count.value = mg_cell_get(&persist->commits.count);
}

mg_result mg_persist_copy(mg_persist *persist, const char *directory, mg_error *err)
{
    return mg_store_copy(persist->store, directory, err);
}

mg_result mg_persist_compact(mg_persist *persist, mg_error *err)
{
    return mg_store_compact(persist->store, err);
}
