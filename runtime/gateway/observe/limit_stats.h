/* limit_stats.h - what the limiters of the configuration decided: cells by name, with one writer each. A name
 * keeps its counts whatever a reload makes of its limiter. Any thread; a worker's cells are written on its
 * own loop. */
#ifndef MG_GATEWAY_OBSERVE_LIMIT_STATS_H
#define MG_GATEWAY_OBSERVE_LIMIT_STATS_H

#include "base/stat.h"
#include "base/str.h"

enum { MG_LIMIT_NAMES_MAX = 4096 };

/* One worker's decisions. */
typedef struct mg_limit_cells {
    _Alignas(64) mg_cell allow;
    mg_cell deny, shadow_deny; /* shadow_deny: would have been refused */
    mg_cell overflow;          /* of all these, in a bucket shared with others: the table was full */
} mg_limit_cells;

typedef struct mg_limit_stat {
    char *name;            /* owned */
    mg_limit_cells *cells; /* owned: one a worker */
} mg_limit_stat;

typedef struct mg_limit_sum {
    uint64_t allow, deny, shadow_deny, overflow;
} mg_limit_sum;

typedef struct mg_limit_stats mg_limit_stats;

mg_limit_stats *mg_limit_stats_new(unsigned workers);
void mg_limit_stats_free(mg_limit_stats *stats); /* NULL is fine */
/* Found or made; lives as long as the stats. NULL when there are too many names. A lock is held: for
 * building. */
mg_limit_stat *mg_limit_stats_named(mg_limit_stats *stats, mg_str name);
/* Over all workers; any thread. */
void mg_limit_stat_read(const mg_limit_stats *stats, const mg_limit_stat *stat, mg_limit_sum *out);
/* All names, for those who print them; under the lock, `each` must be short. */
void mg_limit_stats_each(mg_limit_stats *stats, void (*each)(void *self, const mg_limit_stat *stat),
                         void *self);

#endif
