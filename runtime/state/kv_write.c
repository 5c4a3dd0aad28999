/* kv_write.c - a generation goes into the store: in one transaction, or where that has no room in parts. */
#include "state/kv_table.h"

#include "base/check.h"
#include "base/mem.h"
#include "store/record.h"

#include <stdlib.h>

enum { REFUSED_MOST = 64 }; /* rows that one flush finds to have no room by themselves */

typedef struct kv_write {
    kv_entry *entry; /* borrowed: the generation */
    mg_store_change change;
    size_t bytes; /* 0: a deletion */
} kv_write;

typedef struct kv_writes {
    kv_write *writes;         /* owned; deletions first, then values, the smallest first */
    mg_store_change *changes; /* owned; those of the writes, side by side */
    size_t count, deletions;
    mg_arena rows;
} kv_writes;

static mg_str row_of(mg_arena *rows, mg_text *row, mg_str key, const kv_entry *entry)
{
    mg_record_begin(row, KV_ROW_VERSION);
    mg_record_u64(row, entry->expires_ms);
    mg_text_add(row, mg_str_make(entry->bytes, entry->n));
    mg_record_end(row, key);
    return mg_arena_str(rows, mg_text_str(row));
}

/* Deletions first, then values, the smallest first. A deletion has no value. */
static int by_size(const void *a, const void *b)
{
    const size_t x = ((const kv_write *)a)->bytes, y = ((const kv_write *)b)->bytes;

    return x < y ? -1 : x > y;
}

/* Keys stay those of the map, which outlives the list. */
static void list_generation(mg_kv *kv, kv_writes *list, size_t count)
{
    mg_text row = { 0 };

    list->writes = MG_NEW_N(kv_write, count);
    mg_arena_init(&list->rows, NULL, 0);
    for (unsigned i = 0; i < KV_SHARDS; i++) {
        const mg_map *map = kv->shards[i].flushing;
        size_t cursor = 0;
        mg_str key;
        void *value;

        while (map && mg_map_next(map, &cursor, &key, &value)) {
            kv_entry *entry = value;
            list->writes[list->count++] =
                (kv_write){ entry,
                            { kv->table, key,
                              entry->gone ? MG_STR_NONE : row_of(&list->rows, &row, key, entry) },
                            entry->gone ? 0 : kv_entry_bytes(key, entry) };
        }
    }
    MG_CHECK(list->count == count);
    qsort(list->writes, list->count, sizeof *list->writes, by_size);
    list->changes = MG_NEW_N(mg_store_change, count);
    while (list->deletions < count && list->writes[list->deletions].entry->gone)
        list->deletions++;
    for (size_t i = 0; i < count; i++)
        list->changes[i] = list->writes[i].change;
    mg_text_fini(&row);
}

static void list_fini(kv_writes *list)
{
    mg_arena_fini(&list->rows);
    mg_free(list->changes);
    mg_free(list->writes);
}

static mg_result write_part(mg_kv *kv, kv_writes *list, size_t from, size_t to, mg_error *err)
{
    const mg_result result = mg_store_commit(kv->store, list->changes + from, to - from, err);

    for (size_t i = from; i < to && result == MG_OK; i++)
        list->writes[i].entry->stored = true;
    return result;
}

/* What has room, halving what has none until it is one row. `*refused` counts those; with enough of them the
 * rest is not tried: it is larger still, and the next flush comes soon. */
static mg_result write_what_fits(mg_kv *kv, kv_writes *list, size_t from, size_t to, unsigned *refused,
                                 mg_error *err)
{
    mg_error own = MG_ERROR_INIT;

    if (from == to || *refused >= REFUSED_MOST)
        return MG_OK;
    const mg_result result = write_part(kv, list, from, to, &own);
    if (result != MG_ERR_LIMIT) {
        if (result != MG_OK)
            *err = own;
        return result;
    }
    if (to - from == 1) {
        if (!(*refused)++)
            *err = own;
        return MG_OK;
    }
    const size_t middle = from + (to - from) / 2;
    const mg_result first = write_what_fits(kv, list, from, middle, refused, err);
    return first == MG_OK ? write_what_fits(kv, list, middle, to, refused, err) : first;
}

/* All of it in one transaction. Where there is no room for that, deletions by themselves, which make room,
 * and then as many values as have it; MG_ERR_LIMIT when that was not all. No locks: the generation is only
 * read until it is dropped. */
mg_result mg_kv_write_generation(mg_kv *kv, size_t count, mg_error *err)
{
    kv_writes list = { 0 };
    unsigned refused = 0;

    list_generation(kv, &list, count);
    mg_result result = write_part(kv, &list, 0, count, err);
    if (result == MG_ERR_LIMIT)
        result = write_what_fits(kv, &list, 0, list.deletions, &refused, err);
    if (result == MG_OK && !list.writes[count - 1].entry->stored)
        result = write_what_fits(kv, &list, list.deletions, count, &refused, err);
    list_fini(&list);
    return result == MG_OK && refused ? MG_ERR_LIMIT : result;
}
