/* persist_keys.c - the keys of limiters: read back before they serve, stored as they change, swept when they
 * owe nothing any more.
 *
 * A row stands under the limiter's number and the place of the key's slot, so that there are no more of them
 * than slots. That holds for one table of slots: a limiter that is made again goes on under its number when
 * every key came back to its place, and else begins another one, whose rows are all written before those of
 * the first are given up. */
#include "state/persist_parts.h"

#include "base/check.h"
#include "base/mem.h"

enum {
    SWEEP_ROWS = 5000, /* looked at in a flush */
    SWEEP_ITEMS_S = 3600,
    RESERVE_BYTES = 4 << 20,
};

static bool is_named(const persist_number *number, mg_str name, uint64_t key_hash)
{
    return number->key_hash == key_hash && mg_str_eq(mg_str_make(number->name, number->n), name);
}

/* ---- numbers ---- */

static bool load_number(void *self, mg_str key, mg_str row)
{
    mg_persist *persist = self;
    persist_number *number = MG_NEW(persist_number);

    if (mg_persist_read_number(key, row, number)) {
        number->stored = true;
        mg_list_push(&persist->numbers, &number->link);
        return true;
    }
    mg_free(number);
    mg_persist_skip(persist, 1);
    return true;
}

mg_result mg_persist_load_numbers(mg_persist *persist, mg_error *err)
{
    return mg_store_scan(persist->store, persist->numbers_table, MG_STR(""), MG_STR(""), load_number, persist,
                         err);
}

static void number_free(persist_number *number)
{
    mg_list_remove(&number->link);
    mg_free(number);
}

void mg_persist_free_numbers(mg_persist *persist)
{
    MG_LIST_EACH(&persist->numbers, link)
    number_free(mg_container_of(link, persist_number, link));
}

static size_t count_numbers(const mg_persist *persist)
{
    size_t count = 0;

    MG_LIST_EACH(&persist->numbers, link)
    count++;
    return count;
}

/* Of all that clamps what a key owes; never 0. */
static uint64_t hash_conf(const mg_limiter_conf *conf)
{
    const uint64_t parts[] = { conf->algorithm, conf->limit,       conf->period_ms,
                               conf->burst,     conf->max_wait_ms, conf->max_entries };

    return mg_hash(mg_str_make((const char *)parts, sizeof(parts)), 1) | 1;
}

/* NULL when there are too many. */
static persist_number *new_number(mg_persist *persist, mg_str name, uint64_t key_hash,
                                  const mg_limiter_conf *conf)
{
    persist_number *number;

    if (count_numbers(persist) >= PERSIST_LIMITERS_MAX || persist->last_number == UINT32_MAX) {
        mg_log_write(persist->options.log, MG_LOG_WARN, "state",
                     "more than %d limiters are stored; '%.*s' will begin anew after a restart",
                     PERSIST_LIMITERS_MAX, MG_STR_ARGS(name));
        return NULL;
    }
    number = MG_NEW(persist_number);
    number->number = ++persist->last_number;
    number->key_hash = key_hash;
    number->conf_hash = hash_conf(conf);
    number->cells = conf->overflow_cells;
    number->seen = true;
    number->n = name.n;
    memcpy(number->name, name.p, name.n);
    mg_list_push(&persist->numbers, &number->link);
    return number;
}

/* ---- reading back ---- */

typedef struct restoring {
    mg_persist *persist;
    mg_limiter *limiter;
    uint64_t now_ns;
    bool cells; /* there are as many as there were: a key falls into the same one */
    bool moved;
    uint64_t restored, skipped;
} restoring;

static bool restore_row(void *self, mg_str key, mg_str row)
{
    restoring *r = self;
    mg_limiter_record record;

    if (!mg_persist_read_record(key, row, &record))
        r->skipped++;
    else if ((!record.cell || r->cells) && mg_limiter_put_back(r->limiter, &record, r->now_ns, &r->moved))
        r->restored++;
    return true;
}

/* Whether every key came back to its place. */
static bool restore_from(mg_persist *persist, const persist_number *number, const mg_limiter_conf *conf,
                         mg_limiter *limiter)
{
    restoring r = { .persist = persist,
                    .limiter = limiter,
                    .now_ns = mg_persist_policy_now(persist),
                    .cells = number->cells == conf->overflow_cells };
    char prefix[PERSIST_KEY_ROW_BYTES];
    mg_error err = MG_ERROR_INIT;

    mg_persist_row_key(prefix, number->number, 0, false);
    if (mg_store_scan(persist->store, persist->keys, mg_str_make(prefix, 4), MG_STR(""), restore_row, &r,
                      &err) != MG_OK)
        mg_log_write(persist->options.log, MG_LOG_ERROR, "state", "limiter '%.*s' begins anew in part: %s",
                     (int)number->n, number->name, err.message);
    atomic_fetch_add(&persist->restored, r.restored);
    mg_persist_skip(persist, r.skipped);
    return r.cells && !r.moved;
}

/* Drains after which all that is marked now is stored: one under way may have passed it by. */
static uint64_t whole_drain(const mg_persist *persist)
{
    return atomic_load(&persist->drains) + (persist->draining ? 2 : 1);
}

/* All that the limiter owes is to be stored under its new number. */
static void mark_all(const mg_persist *persist, mg_limiter *limiter)
{
    const uint64_t now_ns = mg_persist_policy_now(persist);
    mg_limiter_record record;
    size_t cursor = 0;

    while (mg_limiter_record_next(limiter, &cursor, now_ns, &record))
        mg_limiter_mark(limiter, &record);
}

/* The number whose rows the limiter goes on with, or NULL; all stored ones of its name are read, the newest
 * first, and those that it does not go on with will be given up. */
static persist_number *restore_limiter(mg_persist *persist, mg_str name, uint64_t key_hash,
                                       const mg_limiter_conf *conf, mg_limiter *limiter)
{
    persist_number *own = NULL;
    bool first = true;

    for (mg_list *link = persist->numbers.prev; link != &persist->numbers; link = link->prev) {
        persist_number *number = mg_container_of(link, persist_number, link);
        if (number->limiter || number->gone || !is_named(number, name, key_hash))
            continue;
        if (restore_from(persist, number, conf, limiter) && first)
            own = number;
        else
            number->obsolete_at = whole_drain(persist);
        first = false;
    }
    if (!own && !first)
        mark_all(persist, limiter);
    return own;
}

/* Rows that a lower limit clamped are stored again, or a higher one would raise them after a restart to what
 * they had been. */
static void settle_conf(mg_persist *persist, persist_number *number, const mg_limiter_conf *conf,
                        mg_limiter *limiter)
{
    const uint64_t hash = hash_conf(conf);

    if (number->conf_hash == hash || number->due_hash == hash)
        return;
    number->conf_hash = 0;
    number->due_hash = hash;
    number->due_at = whole_drain(persist);
    number->stored = false;
    mark_all(persist, limiter);
}

static void keep_locked(mg_persist *persist, mg_str name, uint64_t key_hash, const mg_limiter_conf *conf,
                        mg_limiter *limiter)
{
    persist_number *number = NULL;
    bool carried = false;

    MG_LIST_EACH(&persist->numbers, link)
    {
        persist_number *other = mg_container_of(link, persist_number, link);
        if (!other->limiter || !is_named(other, name, key_hash))
            continue;
        if (mg_limiter_shares(other->limiter, limiter)) {
            other->limiter = limiter;
            settle_conf(persist, other, conf, limiter);
            return;
        }
        carried = true;
    }
    if (!carried)
        number = restore_limiter(persist, name, key_hash, conf, limiter);
    if (!number)
        number = new_number(persist, name, key_hash, conf);
    if (!number)
        return;
    number->limiter = limiter;
    number->obsolete_at = 0;
    settle_conf(persist, number, conf, limiter);
}

void mg_persist_keep_limiter(mg_persist *persist, mg_str name, uint64_t key_hash, const mg_limiter_conf *conf,
                             mg_limiter *limiter)
{
    if (!persist || !name.n || name.n > MG_PERSIST_NAME_MAX || conf->algorithm == MG_LIMITER_CONCURRENCY)
        return;
    pthread_mutex_lock(&persist->lock);
    keep_locked(persist, name, key_hash, conf, limiter);
    pthread_mutex_unlock(&persist->lock);
}

void mg_persist_drop_limiter(mg_persist *persist, const mg_limiter *limiter)
{
    if (!persist)
        return;
    pthread_mutex_lock(&persist->lock);
    MG_LIST_EACH(&persist->numbers, link)
    {
        persist_number *number = mg_container_of(link, persist_number, link);
        if (number->limiter != limiter)
            continue;
        number->limiter = NULL;
        number->seen = true; /* the sweep may have been past its rows */
    }
    pthread_mutex_unlock(&persist->lock);
}

/* ---- storing ---- */

static void add_number(mg_persist *persist, const persist_number *number)
{
    char key[PERSIST_KEY_ROW_BYTES];

    mg_persist_row_key(key, number->number, 0, false);
    const mg_str row_key = mg_str_make(key, 4);
    mg_persist_write_number(&persist->batch.row, row_key, number);
    mg_persist_batch_add(persist, persist->numbers_table, row_key, mg_text_str(&persist->batch.row));
}

static size_t gather(mg_persist *persist, persist_number *number, size_t *cursor)
{
    const uint64_t now_ns = mg_persist_policy_now(persist);
    const size_t most = mg_persist_batch_max(persist);
    persist_batch *batch = &persist->batch;
    mg_limiter_record record;
    char key[PERSIST_KEY_ROW_BYTES] = "";
    const mg_str row_key = mg_str_make(key, sizeof(key));
    size_t count = 0;

    pthread_mutex_lock(&persist->lock);
    while (number->limiter && count < most &&
           mg_limiter_changed_next(number->limiter, cursor, now_ns, &record)) {
        mg_persist_row_key(key, number->number, record.place, record.cell);
        mg_persist_write_record(&batch->row, row_key, &record);
        mg_persist_batch_add(persist, persist->keys, row_key, mg_text_str(&batch->row));
        batch->places[count].place = record.place;
        batch->places[count++].cell = record.cell;
    }
    if (count && !number->stored)
        add_number(persist, number);
    pthread_mutex_unlock(&persist->lock);
    return count;
}

static void was_stored(mg_persist *persist, persist_number *number)
{
    pthread_mutex_lock(&persist->lock);
    number->stored = true;
    pthread_mutex_unlock(&persist->lock);
}

static void give_back(mg_persist *persist, const persist_number *number, size_t count)
{
    pthread_mutex_lock(&persist->lock);
    for (size_t i = 0; i < count && number->limiter; i++) {
        const mg_limiter_record record = { .place = persist->batch.places[i].place,
                                           .cell = persist->batch.places[i].cell };
        mg_limiter_mark(number->limiter, &record);
    }
    pthread_mutex_unlock(&persist->lock);
}

/* Keys leave a part of the store to small things: breakers, rollouts, the clock. */
static mg_result find_room(const mg_persist *persist, mg_error *err)
{
    const uint64_t reserve = mg_min_u64(persist->options.max_bytes / 4, RESERVE_BYTES);
    mg_store_stats stats;
    mg_result result = mg_store_stats_get(persist->store, &stats, err);

    if (result == MG_OK && stats.used_bytes + reserve > stats.max_bytes)
        result =
            mg_fail(err, MG_ERR_LIMIT, "the store is full; rows go as they age, or raise state.max_size");
    return result;
}

static mg_result store_gathered(mg_persist *persist, persist_number *number, size_t count, mg_error *err)
{
    mg_result result = find_room(persist, err);

    if (result == MG_OK)
        result = mg_persist_commit(persist, err);
    if (result == MG_OK)
        was_stored(persist, number);
    else
        give_back(persist, number, count);
    mg_persist_batch_clear(persist);
    return result;
}

static persist_number *next_number(mg_persist *persist, const persist_number *number)
{
    const mg_list *next;

    pthread_mutex_lock(&persist->lock);
    next = number ? number->link.next : persist->numbers.next;
    pthread_mutex_unlock(&persist->lock);
    return next == &persist->numbers ? NULL : mg_container_of(next, persist_number, link);
}

static mg_result forget_number(mg_persist *persist, const persist_number *number, mg_error *err)
{
    char key[PERSIST_KEY_ROW_BYTES];

    mg_persist_row_key(key, number->number, 0, false);
    mg_persist_batch_delete(persist, persist->numbers_table, mg_str_make(key, 4));
    return mg_persist_commit_deletions(persist, err);
}

/* Numbers whose keys are all clamped now: true when one is to be stored. */
static bool confirm(mg_persist *persist, persist_number *number, uint64_t drains)
{
    bool due;

    pthread_mutex_lock(&persist->lock);
    due = number->due_hash && drains >= number->due_at && number->stored;
    if (due) {
        number->conf_hash = number->due_hash;
        number->due_hash = 0;
        add_number(persist, number);
    }
    pthread_mutex_unlock(&persist->lock);
    return due;
}

/* Takes a number out of use before its row goes: from here on no limiter goes on under it. False: one has
 * done so meanwhile, or it is not time yet. */
static bool give_up(mg_persist *persist, persist_number *number, bool swept, uint64_t drains)
{
    pthread_mutex_lock(&persist->lock);
    const bool useless = swept ? !number->seen && !number->limiter
                               : number->obsolete_at && !number->gone && drains >= number->obsolete_at;
    if (useless)
        number->gone = true;
    if (swept)
        number->seen = false;
    pthread_mutex_unlock(&persist->lock);
    return useless;
}

/* Its row could not be taken out: it is tried again. */
static void take_back(mg_persist *persist, persist_number *number)
{
    pthread_mutex_lock(&persist->lock);
    number->gone = false;
    pthread_mutex_unlock(&persist->lock);
}

void mg_persist_begin_settling(mg_persist *persist)
{
    persist->pass.number = next_number(persist, NULL);
}

mg_result mg_persist_settle_some(mg_persist *persist, bool *more, mg_error *err)
{
    const uint64_t drains = atomic_load(&persist->drains);
    persist_number *number = persist->pass.number;
    mg_result result = MG_OK;
    bool wrote = false;

    for (; number && result == MG_OK && !wrote; number = next_number(persist, number)) {
        if ((wrote = confirm(persist, number, drains)))
            result = mg_persist_commit(persist, err);
        if (result != MG_OK || !give_up(persist, number, false, drains))
            continue;
        wrote = true;
        result = forget_number(persist, number, err);
        if (result != MG_OK)
            take_back(persist, number);
    }
    persist->pass.number = number;
    *more = number != NULL;
    return result;
}

static void set_draining(mg_persist *persist, bool draining)
{
    pthread_mutex_lock(&persist->lock);
    persist->draining = draining;
    pthread_mutex_unlock(&persist->lock);
}

void mg_persist_begin_drain(mg_persist *persist)
{
    set_draining(persist, true);
    persist->pass.number = next_number(persist, NULL);
    persist->pass.cursor = 0;
}

void mg_persist_end_drain(mg_persist *persist)
{
    set_draining(persist, false);
}

mg_result mg_persist_drain_some(mg_persist *persist, bool *more, mg_error *err)
{
    persist_pass *pass = &persist->pass;

    for (*more = true; pass->number; pass->number = next_number(persist, pass->number), pass->cursor = 0) {
        const size_t count = gather(persist, pass->number, &pass->cursor);
        if (count)
            return store_gathered(persist, pass->number, count, err);
    }
    *more = false;
    atomic_fetch_add(&persist->drains, 1);
    mg_persist_end_drain(persist);
    atomic_store(&persist->complete_ns, pass->began_ns);
    return MG_OK;
}

/* ---- sweeping ---- */

typedef struct key_sweep {
    mg_persist *persist;
    persist_number *number; /* of the last row; NULL: none has it */
    uint64_t now_ns;
    uint32_t last;
    size_t looked, most, dropped, skipped;
    char after[PERSIST_KEY_ROW_BYTES];
    size_t after_n; /* 0: all rows were looked at */
} key_sweep;

static persist_number *find_number(const mg_persist *persist, uint32_t wanted)
{
    MG_LIST_EACH(&persist->numbers, link)
    {
        persist_number *number = mg_container_of(link, persist_number, link);
        if (number->number == wanted)
            return number;
    }
    return NULL;
}

/* Whether the row says something still. */
static bool is_worth(key_sweep *sweep, mg_str key, mg_str row)
{
    const uint32_t wanted = mg_persist_row_number(key);
    mg_limiter_record record;

    if (wanted != sweep->last || !sweep->looked)
        sweep->number = find_number(sweep->persist, wanted);
    sweep->last = wanted;
    if (sweep->number && sweep->number->gone)
        return false;
    if (!sweep->number || !mg_persist_read_record(key, row, &record)) {
        sweep->skipped++;
        return false;
    }
    sweep->number->seen = true;
    return record.idle_ns > sweep->now_ns;
}

static bool sweep_row(void *self, mg_str key, mg_str row)
{
    key_sweep *sweep = self;

    if (!is_worth(sweep, key, row)) {
        mg_persist_batch_delete(sweep->persist, sweep->persist->keys, key);
        sweep->dropped++;
    }
    if (++sweep->looked < SWEEP_ROWS && sweep->dropped < sweep->most)
        return true;
    sweep->after_n = mg_min_u64(key.n, sizeof(sweep->after));
    memcpy(sweep->after, key.p, sweep->after_n);
    return false;
}

/* After a walk through all rows: numbers that have none and that nobody keeps. */
static mg_result end_pass(mg_persist *persist, mg_error *err)
{
    const uint64_t now_ns = mg_persist_mono(persist);
    mg_result result = MG_OK;
    persist_number *n = next_number(persist, NULL), *next;

    for (; n && result == MG_OK; n = next) {
        next = next_number(persist, n);
        const bool has_row = !n->gone; /* which this thread alone changes */
        if (!give_up(persist, n, true, 0))
            continue;
        if (has_row)
            result = forget_number(persist, n, err);
        if (result != MG_OK) {
            take_back(persist, n);
            continue;
        }
        pthread_mutex_lock(&persist->lock);
        number_free(n);
        pthread_mutex_unlock(&persist->lock);
    }
    if (result != MG_OK || now_ns - persist->items_swept_ns < SWEEP_ITEMS_S * MG_NS_PER_S)
        return result;
    persist->items_swept_ns = now_ns;
    return mg_persist_sweep_items(persist, err);
}

/* One transaction; `*dropped` rows of it, and whether there are further ones to look at now. */
static mg_result sweep_once(mg_persist *persist, size_t *dropped, bool *more, mg_error *err)
{
    key_sweep sweep = { .persist = persist,
                        .now_ns = mg_persist_policy_now(persist),
                        .most = mg_persist_batch_max(persist) };
    const mg_str after = mg_str_make(persist->swept, persist->swept_n);
    mg_result result;

    pthread_mutex_lock(&persist->lock);
    result = mg_store_scan(persist->store, persist->keys, MG_STR(""), after, sweep_row, &sweep, err);
    pthread_mutex_unlock(&persist->lock);
    if (result == MG_OK && sweep.dropped)
        result = mg_persist_commit_deletions(persist, err);
    mg_persist_batch_clear(persist);
    if (result != MG_OK)
        return result;
    mg_persist_skip(persist, sweep.skipped);
    memcpy(persist->swept, sweep.after, sweep.after_n);
    persist->swept_n = sweep.after_n;
    *dropped += sweep.dropped;
    *more = sweep.dropped == sweep.most && sweep.after_n;
    return sweep.after_n ? MG_OK : end_pass(persist, err);
}

/* In parts where transactions are to be small. */
mg_result mg_persist_sweep_keys(mg_persist *persist, mg_error *err)
{
    size_t dropped = 0;
    bool more = true;
    mg_result result = MG_OK;

    while (result == MG_OK && more && dropped < MG_PERSIST_ROWS_MAX)
        result = sweep_once(persist, &dropped, &more, err);
    return result;
}
