/* maglev.h - a table in which every endpoint has its share of slots and keeps nearly all of them when another
 * goes (Eisenbud et al., NSDI 2016, 3.4; docs/policies.md 6). Built off the request path, then only read, by
 * any thread. */
#ifndef MG_POLICY_MAGLEV_H
#define MG_POLICY_MAGLEV_H

#include "base/str.h"

typedef struct mg_maglev mg_maglev;

enum { MG_MAGLEV_SIZE = 65537, MG_MAGLEV_SIZE_MAX = 5000011, MG_MAGLEV_NONE = -1 };

/* Where an endpoint's walk over the slots begins and how far each step goes; skip is 1..size-1. */
typedef struct mg_maglev_walk {
    uint32_t offset, skip;
} mg_maglev_walk;

/* `size` is a prime (mg_maglev_prime), at most MG_MAGLEV_SIZE_MAX; `count` at most 65535. An endpoint of
 * weight 0 gets no slot. Endpoints are numbers, in the order given. */
mg_maglev *mg_maglev_new(const mg_str *names, const uint32_t *weights, size_t count, uint32_t size);
/* The same with walks given by hand. */
mg_maglev *mg_maglev_of_walks(const mg_maglev_walk *walks, const uint32_t *weights, size_t count,
                              uint32_t size);
mg_maglev *mg_maglev_ref(mg_maglev *table);
void mg_maglev_unref(mg_maglev *table); /* NULL is fine */

bool mg_maglev_prime(uint32_t size);
mg_maglev_walk mg_maglev_walk_of(mg_str name, uint32_t size);

/* What a key asks with. */
uint64_t mg_maglev_hash(mg_str key);
uint32_t mg_maglev_size(const mg_maglev *table);
uint32_t mg_maglev_slot(const mg_maglev *table, uint64_t hash);
/* Whose slot it is; MG_MAGLEV_NONE when every weight is 0. */
int mg_maglev_owner(const mg_maglev *table, uint32_t slot);

#endif
