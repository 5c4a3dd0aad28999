/* map.h - a hash map from bytes to a pointer, seeded so that keys from outside cannot be chosen to collide.
 * Keys are copied; values are the caller's. One thread at a time; reading is safe from many. */
#ifndef MG_BASE_MAP_H
#define MG_BASE_MAP_H

#include "base/str.h"

typedef struct mg_map mg_map;

mg_map *mg_map_new(uint64_t seed);
void mg_map_free(mg_map *map); /* values are not touched */
void *mg_map_get(const mg_map *map, mg_str key);
/* Returns the value that stood there before, or NULL. A NULL value removes the key. */
void *mg_map_set(mg_map *map, mg_str key, void *value);
size_t mg_map_count(const mg_map *map);
/* Walks in no promised order: start with *cursor = 0; false at the end. Not across changes. */
bool mg_map_next(const mg_map *map, size_t *cursor, mg_str *key, void **value);

#endif
