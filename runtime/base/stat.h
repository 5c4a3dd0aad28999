/* stat.h - counters and histograms as plain cells: one thread writes each, any thread reads. */
#ifndef MG_BASE_STAT_H
#define MG_BASE_STAT_H

#include <stdatomic.h>
#include <stdint.h>

typedef struct mg_cell {
    _Atomic uint64_t value;
} mg_cell;

/* One writer: a relaxed load and store, which costs what a plain addition costs. */
static inline void mg_cell_add(mg_cell *cell, uint64_t n)
{
    atomic_store_explicit(&cell->value, atomic_load_explicit(&cell->value, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static inline uint64_t mg_cell_get(const mg_cell *cell)
{
    return atomic_load_explicit(&cell->value, memory_order_relaxed);
}

/* Upper bounds in microseconds, 0.5 ms to 10 s, with those that OpenTelemetry advises; the last cell is +Inf.
 */
enum { MG_HISTOGRAM_BOUNDS = 16 };
extern const uint64_t mg_histogram_bounds_us[MG_HISTOGRAM_BOUNDS];

typedef struct mg_histogram {
    mg_cell cells[MG_HISTOGRAM_BOUNDS + 1];
    mg_cell sum_us, count;
} mg_histogram;

void mg_histogram_add(mg_histogram *h, uint64_t us);
void mg_histogram_sum(mg_histogram *sum, const mg_histogram *one); /* adds one to sum, whose writer calls */

#endif
