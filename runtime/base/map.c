/* map.c - open addressing with linear probing. A removal shifts the followers back (Knuth, TAOCP 3, 6.4,
 * algorithm R), so that no tombstones slow the map down with time. */
#include "base/map.h"

#include "base/mem.h"

typedef struct slot {
    char *key; /* owned; NULL = free */
    size_t n;
    uint64_t hash;
    void *value; /* the caller's */
} slot;

struct mg_map {
    slot *slots; /* owned */
    size_t mask; /* slots - 1; their number is a power of two */
    size_t count;
    uint64_t seed;
};

enum { FIRST_SLOTS = 8 };

mg_map *mg_map_new(uint64_t seed)
{
    mg_map *map = MG_NEW(mg_map);

    map->seed = seed;
    map->mask = FIRST_SLOTS - 1;
    map->slots = MG_NEW_N(slot, FIRST_SLOTS);
    return map;
}

void mg_map_free(mg_map *map)
{
    if (!map)
        return;
    for (size_t i = 0; i <= map->mask; i++)
        mg_free(map->slots[i].key);
    mg_free(map->slots);
    mg_free(map);
}

/* The slot that holds the key, or the free one where it would go: there always is a free one. */
static slot *find_slot(const mg_map *map, mg_str key, uint64_t hash)
{
    for (size_t i = hash & map->mask;; i = (i + 1) & map->mask) {
        slot *s = &map->slots[i];
        if (!s->key || (s->hash == hash && mg_str_eq(key, mg_str_make(s->key, s->n))))
            return s;
    }
}

static void grow_map(mg_map *map)
{
    slot *old = map->slots;
    const size_t count = map->mask + 1;

    map->mask = 2 * count - 1;
    map->slots = MG_NEW_N(slot, 2 * count);
    for (size_t i = 0; i < count; i++) {
        size_t to = old[i].hash & map->mask;

        if (!old[i].key)
            continue;
        while (map->slots[to].key)
            to = (to + 1) & map->mask;
        map->slots[to] = old[i];
    }
    mg_free(old);
}

static void remove_slot(mg_map *map, slot *s)
{
    size_t hole = (size_t)(s - map->slots);

    mg_free(s->key);
    map->count--;
    for (size_t i = (hole + 1) & map->mask; map->slots[i].key; i = (i + 1) & map->mask) {
        const size_t home = map->slots[i].hash & map->mask;

        /* It may fill the hole unless its home lies behind it, between hole and i. */
        if (((i - home) & map->mask) < ((i - hole) & map->mask))
            continue;
        map->slots[hole] = map->slots[i];
        hole = i;
    }
    map->slots[hole] = (slot){ 0 };
}

void *mg_map_get(const mg_map *map, mg_str key)
{
    return find_slot(map, key, mg_hash(key, map->seed))->value;
}

void *mg_map_set(mg_map *map, mg_str key, void *value)
{
    const uint64_t hash = mg_hash(key, map->seed);
    slot *s = find_slot(map, key, hash);
    void *before = s->value;

    if (s->key && value) {
        s->value = value;
    } else if (s->key) {
        remove_slot(map, s);
    } else if (value) {
        *s = (slot){ mg_memdup0(key.p, key.n), key.n, hash, value };
        map->count++;
        if (map->count * 4 > (map->mask + 1) * 3)
            grow_map(map);
    }
    return before;
}

size_t mg_map_count(const mg_map *map)
{
    return map->count;
}

bool mg_map_next(const mg_map *map, size_t *cursor, mg_str *key, void **value)
{
    for (; *cursor <= map->mask; ++*cursor) {
        const slot *s = &map->slots[*cursor];

        if (!s->key)
            continue;
        if (key)
            *key = mg_str_make(s->key, s->n);
        if (value)
            *value = s->value;
        ++*cursor;
        return true;
    }
    return false;
}
