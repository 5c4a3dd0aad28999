/* persist_keep.c - breakers, ejections and rollouts: few, small, and looked at often. A stamp says whether a
 * row is due; what was dropped stays until its last row is stored. */
#include "state/persist_parts.h"

#include "base/check.h"
#include "base/mem.h"

enum {
    SWEEP_ROWS = 10000, /* looked at; more are never swept, and never were there */
    MONTH_S = 31 * 24 * 3600
};

/* The payload of the item as it stands. */
static void write_payload(const mg_persist *persist, persist_item *item, mg_text *payload)
{
    mg_text_clear(payload);
    if (item->self)
        item->ops->write(item->self, mg_persist_policy_now(persist), payload);
    else
        mg_text_add(payload, mg_text_str(&item->last));
}

static bool is_due(const persist_item *item, uint64_t *stamp)
{
    *stamp = item->self ? item->ops->stamp(item->self) : item->stored;
    return item->changed || *stamp != item->stored;
}

/* As many as a transaction has room for. The stamp is read before what it stamps: a change in between is
 * stored twice and not missed. */
static size_t gather(mg_persist *persist)
{
    const size_t most = mg_persist_batch_max(persist);
    mg_text payload = { 0 };
    size_t cursor = 0, count = 0;
    uint64_t stamp;
    mg_str key;
    void *value;

    pthread_mutex_lock(&persist->lock);
    while (count < most && mg_map_next(persist->items, &cursor, &key, &value)) {
        persist_item *item = value;
        if (!is_due(item, &stamp))
            continue;
        item->writing = stamp;
        item->changed = false;
        write_payload(persist, item, &payload);
        mg_persist_write_item(&persist->batch.row, key, mg_persist_policy_now(persist),
                              mg_text_str(&payload));
        mg_persist_batch_add(persist, persist->kept, key, mg_text_str(&persist->batch.row));
        persist->batch.items[count++] = item;
    }
    pthread_mutex_unlock(&persist->lock);
    mg_text_fini(&payload);
    return count;
}

static void item_free(persist_item *item)
{
    mg_text_fini(&item->last);
    mg_free(item);
}

/* An item that was changed or dropped meanwhile is due again. */
static void settle(mg_persist *persist, size_t count, bool stored)
{
    pthread_mutex_lock(&persist->lock);
    for (size_t i = 0; i < count; i++) {
        persist_item *item = persist->batch.items[i];
        if (stored)
            item->stored = item->writing;
        else
            item->changed = true;
        if (item->self || item->changed)
            continue;
        mg_map_set(persist->items, mg_str_make(item->key, item->n), NULL);
        item_free(item);
    }
    pthread_mutex_unlock(&persist->lock);
}

mg_result mg_persist_flush_items(mg_persist *persist, mg_error *err)
{
    for (;;) {
        const size_t count = gather(persist);
        mg_result result;

        if (!count)
            return MG_OK;
        result = mg_persist_commit(persist, err);
        settle(persist, count, result == MG_OK);
        if (result != MG_OK)
            return result;
    }
}

/* ---- keeping ---- */

static size_t write_key(char out[1 + MG_PERSIST_NAME_MAX], mg_keep_kind kind, mg_str name)
{
    out[0] = (char)kind;
    memcpy(out + 1, name.p, name.n);
    return name.n + 1;
}

static void read_payload(mg_persist *persist, const mg_keep_ops *ops, void *self, mg_str payload)
{
    mg_record record = { payload, PERSIST_VERSION, true };

    if (!ops->read(self, &record, mg_persist_policy_now(persist)))
        mg_persist_skip(persist, 1);
}

static void read_stored(mg_persist *persist, mg_str key, const mg_keep_ops *ops, void *self)
{
    mg_record record;
    mg_arena arena;
    uint64_t at_ns;
    mg_str row;

    mg_arena_init(&arena, NULL, 0);
    if (mg_store_get(persist->store, persist->kept, key, &arena, &row) == MG_OK) {
        if (mg_persist_read_item(key, row, &at_ns, &record))
            read_payload(persist, ops, self, record.rest);
        else
            mg_persist_skip(persist, 1);
    }
    mg_arena_fini(&arena);
}

static persist_item *new_item(mg_persist *persist, mg_str key)
{
    persist_item *item = MG_NEW(persist_item);

    item->n = key.n;
    memcpy(item->key, key.p, key.n);
    mg_map_set(persist->items, key, item);
    return item;
}

static void keep_locked(mg_persist *persist, mg_str key, const mg_keep_ops *ops, void *self)
{
    persist_item *item = mg_map_get(persist->items, key);
    mg_text payload = { 0 };

    if (item) {
        write_payload(persist, item, &payload);
        read_payload(persist, ops, self, mg_text_str(&payload));
        mg_text_fini(&payload);
    } else {
        item = new_item(persist, key);
        read_stored(persist, key, ops, self);
    }
    mg_text_fini(&item->last);
    item->ops = ops;
    item->self = self;
    item->changed = true;
}

void mg_persist_keep(mg_persist *persist, mg_keep_kind kind, mg_str name, const mg_keep_ops *ops, void *self)
{
    char key[1 + MG_PERSIST_NAME_MAX];

    if (!persist || !name.n || name.n > MG_PERSIST_NAME_MAX)
        return;
    pthread_mutex_lock(&persist->lock);
    keep_locked(persist, mg_str_make(key, write_key(key, kind, name)), ops, self);
    pthread_mutex_unlock(&persist->lock);
}

void mg_persist_drop(mg_persist *persist, const void *self)
{
    size_t cursor = 0;
    mg_str key;
    void *value;

    if (!persist)
        return;
    pthread_mutex_lock(&persist->lock);
    while (mg_map_next(persist->items, &cursor, &key, &value)) {
        persist_item *item = value;
        if (item->self != self)
            continue;
        write_payload(persist, item, &item->last);
        item->self = NULL;
        item->changed = true;
        break;
    }
    pthread_mutex_unlock(&persist->lock);
}

void mg_persist_free_items(mg_persist *persist)
{
    size_t cursor = 0;
    mg_str key;
    void *item;

    while (mg_map_next(persist->items, &cursor, &key, &item))
        item_free(item);
    mg_map_free(persist->items);
}

/* ---- rows that nobody keeps any more ---- */

typedef struct item_sweep {
    mg_persist *persist;
    uint64_t now_ns;
    size_t looked, most, dropped;
} item_sweep;

static bool sweep_row(void *self, mg_str key, mg_str row)
{
    item_sweep *sweep = self;
    mg_record record;
    uint64_t at_ns;

    if (!mg_map_get(sweep->persist->items, key) &&
        (!mg_persist_read_item(key, row, &at_ns, &record) ||
         mg_max_u64(sweep->now_ns, at_ns) - at_ns > MONTH_S * MG_NS_PER_S)) {
        mg_persist_batch_delete(sweep->persist, sweep->persist->kept, key);
        sweep->dropped++;
    }
    return ++sweep->looked < SWEEP_ROWS && sweep->dropped < sweep->most;
}

mg_result mg_persist_sweep_items(mg_persist *persist, mg_error *err)
{
    item_sweep sweep = { persist, mg_persist_policy_now(persist), 0, mg_persist_batch_max(persist), 0 };
    mg_result result;

    pthread_mutex_lock(&persist->lock);
    result = mg_store_scan(persist->store, persist->kept, MG_STR(""), MG_STR(""), sweep_row, &sweep, err);
    pthread_mutex_unlock(&persist->lock);
    if (result == MG_OK && sweep.dropped)
        return mg_persist_commit_deletions(persist, err);
    mg_persist_batch_clear(persist);
    return result;
}
