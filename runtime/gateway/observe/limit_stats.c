/* limit_stats.c - decisions by the name of a limiter. Making a name takes the lock; the request path holds
 * pointers. */
#include "gateway/observe/limit_stats.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#include <pthread.h>
#include <stdlib.h>

struct mg_limit_stats {
    pthread_mutex_t lock;
    unsigned workers;
    mg_map *names; /* owned: mg_limit_stat */
};

mg_limit_stats *mg_limit_stats_new(unsigned workers)
{
    mg_limit_stats *stats = MG_NEW(mg_limit_stats);

    MG_CHECK(pthread_mutex_init(&stats->lock, NULL) == 0);
    stats->workers = workers;
    stats->names = mg_map_new(workers); /* names come from configurations: nobody aims at its seed */
    return stats;
}

void mg_limit_stats_free(mg_limit_stats *stats)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    if (!stats)
        return;
    while (mg_map_next(stats->names, &cursor, &name, &value)) {
        mg_limit_stat *stat = value;
        mg_free(stat->name);
        mg_free(stat->cells);
        mg_free(stat);
    }
    mg_map_free(stats->names);
    pthread_mutex_destroy(&stats->lock);
    mg_free(stats);
}

static mg_limit_stat *stat_new(mg_str name, unsigned workers)
{
    mg_limit_stat *stat = MG_NEW(mg_limit_stat);
    const size_t bytes = workers * sizeof *stat->cells;

    stat->name = mg_memdup0(name.p, name.n);
    stat->cells = aligned_alloc(_Alignof(mg_limit_cells), bytes);
    MG_CHECK(stat->cells);
    memset(stat->cells, 0, bytes);
    return stat;
}

mg_limit_stat *mg_limit_stats_named(mg_limit_stats *stats, mg_str name)
{
    mg_limit_stat *stat;

    pthread_mutex_lock(&stats->lock);
    stat = mg_map_get(stats->names, name);
    if (!stat && mg_map_count(stats->names) < MG_LIMIT_NAMES_MAX) {
        stat = stat_new(name, stats->workers);
        (void)mg_map_set(stats->names, name, stat);
    }
    pthread_mutex_unlock(&stats->lock);
    return stat;
}

void mg_limit_stat_read(const mg_limit_stats *stats, const mg_limit_stat *stat, mg_limit_sum *out)
{
    *out = (mg_limit_sum){ 0 };
    for (unsigned i = 0; i < stats->workers; i++) {
        out->allow += mg_cell_get(&stat->cells[i].allow);
        out->deny += mg_cell_get(&stat->cells[i].deny);
        out->shadow_deny += mg_cell_get(&stat->cells[i].shadow_deny);
        out->overflow += mg_cell_get(&stat->cells[i].overflow);
    }
}

void mg_limit_stats_each(mg_limit_stats *stats, void (*each)(void *self, const mg_limit_stat *stat),
                         void *self)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    pthread_mutex_lock(&stats->lock);
    while (mg_map_next(stats->names, &cursor, &name, &value))
        each(self, value);
    pthread_mutex_unlock(&stats->lock);
}
