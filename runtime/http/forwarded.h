/* forwarded.h - whom the proxies before us name: the members of X-Forwarded-For, or of Forwarded (RFC 7239).
 * All lines of a request are one list. It is read from the right, where the nearest proxy wrote. Pure. */
#ifndef MG_HTTP_FORWARDED_H
#define MG_HTTP_FORWARDED_H

#include "http/header.h"

enum { MG_HOPS_MAX = 64 }; /* members that are looked at, empty ones too */

/* One member. */
typedef struct mg_hop {
    mg_str ip; /* without port and brackets; may be no literal. MG_STR_NONE: malformed, or it names nobody */
    mg_str proto; /* of Forwarded, as written; MG_STR_NONE: not told */
    mg_str host;  /* likewise */
} mg_hop;

typedef struct mg_hops {
    const mg_fields *fields; /* borrowed */
    mg_arena *arena;         /* borrowed */
    mg_name id;
    uint32_t line;                /* the fields before this index are still to be read */
    uint32_t left;                /* members that may still be looked at */
    mg_str rest;                  /* what is left of the current line; MG_STR_NONE: nothing */
    uint32_t commas[MG_HOPS_MAX]; /* where the last ones of a Forwarded line stand, in a ring */
    uint32_t comma_count;         /* how many the rest of the line has */
} mg_hops;

/* `id` is MG_NAME_X_FORWARDED_FOR or MG_NAME_FORWARDED. The fields must not change while they are read. */
void mg_hops_init(mg_hops *hops, const mg_fields *fields, mg_arena *arena, mg_name id);
/* The next member to the left; false behind the last one, or after MG_HOPS_MAX. Empty members are passed
 * over. Texts are borrowed from the fields, or are the arena's. */
bool mg_hops_next(mg_hops *hops, mg_hop *hop);
/* Whether every quoted string in the Forwarded lines ends: a member can be added behind them. */
bool mg_forwarded_is_whole(const mg_fields *fields);

#endif
