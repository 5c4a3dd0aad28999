/* figures.c - counts and latencies, one set of cells a worker. Buckets grow by an eighth of their octave, so
 * that a quantile is told at most 12.5 % too high with 162 of them. */
#include "gateway/service/figures.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdlib.h>
#include <string.h>

enum {
    OCTAVE_STEPS = 8,
    LOWEST_BIT = 6, /* 64 us end the first bucket */
    OCTAVES = 20,
    LAST = MG_FIGURES_BUCKETS - 1,
};

_Static_assert(MG_FIGURES_BUCKETS == OCTAVES * OCTAVE_STEPS + 2, "one below the octaves and one above");

typedef struct worker_cells {
    _Alignas(64) mg_cell errors, timeouts;
    mg_cell buckets[MG_FIGURES_BUCKETS];
} worker_cells;

struct mg_figures {
    unsigned workers;
    /* owned: made by their worker at its first call, since most figures are of few workers' interest */
    _Atomic(worker_cells *) cells[];
};

mg_figures *mg_figures_new(unsigned workers)
{
    mg_figures *figures = mg_alloc(sizeof *figures + workers * sizeof figures->cells[0]);

    figures->workers = workers;
    for (unsigned i = 0; i < workers; i++)
        atomic_init(&figures->cells[i], NULL);
    return figures;
}

void mg_figures_free(mg_figures *figures)
{
    if (!figures)
        return;
    for (unsigned i = 0; i < figures->workers; i++)
        free(atomic_load_explicit(&figures->cells[i], memory_order_acquire));
    mg_free(figures);
}

static worker_cells *cells_new(mg_figures *figures, unsigned worker)
{
    worker_cells *cells = aligned_alloc(_Alignof(worker_cells), sizeof *cells);

    MG_CHECK(cells);
    memset(cells, 0, sizeof *cells);
    atomic_store_explicit(&figures->cells[worker], cells, memory_order_release);
    return cells;
}

/* Bucket 0 ends at 64 us; the k-th step of octave o ends at (64 + 8 * (k + 1)) << o us; the last has no end.
 */
static unsigned bucket_of(uint64_t ns)
{
    const uint64_t below_us = ns ? (ns - 1) / 1000 : 0; /* an end belongs to the bucket that it closes */

    if (below_us < 1u << LOWEST_BIT)
        return 0;
    const unsigned bit = 63 - (unsigned)__builtin_clzll(below_us);
    if (bit >= LOWEST_BIT + OCTAVES)
        return LAST;
    return 1 + (bit - LOWEST_BIT) * OCTAVE_STEPS + (unsigned)(below_us >> (bit - 3) & 7);
}

/* The last has no end: it is told as one step more. */
static uint64_t bucket_end_us(unsigned bucket)
{
    if (!bucket)
        return 1u << LOWEST_BIT;
    const unsigned octave = (bucket - 1) / OCTAVE_STEPS, step = (bucket - 1) % OCTAVE_STEPS;
    return (uint64_t)(OCTAVE_STEPS + step + 1) << (octave + LOWEST_BIT - 3);
}

void mg_figures_add(mg_figures *figures, unsigned worker, mg_figures_outcome outcome, uint64_t duration_ns)
{
    MG_CHECK(worker < figures->workers);
    worker_cells *cells = atomic_load_explicit(&figures->cells[worker], memory_order_relaxed);

    if (!cells)
        cells = cells_new(figures, worker);
    mg_cell_add(&cells->buckets[bucket_of(duration_ns)], 1);
    if (outcome != MG_FIGURES_OK)
        mg_cell_add(&cells->errors, 1);
    if (outcome == MG_FIGURES_TIMEOUT)
        mg_cell_add(&cells->timeouts, 1);
}

/* A call may be half added while it is read; nobody is told of more errors than calls. */
static void make_consistent(mg_figures_sum *sum)
{
    sum->calls = 0;
    for (unsigned b = 0; b < MG_FIGURES_BUCKETS; b++)
        sum->calls += sum->buckets[b];
    if (sum->errors > sum->calls)
        sum->errors = sum->calls;
    if (sum->timeouts > sum->errors)
        sum->timeouts = sum->errors;
}

void mg_figures_read(const mg_figures *figures, mg_figures_sum *out)
{
    memset(out, 0, sizeof *out);
    for (unsigned i = 0; i < figures->workers; i++) {
        const worker_cells *cells = atomic_load_explicit(&figures->cells[i], memory_order_acquire);
        if (!cells)
            continue;
        out->errors += mg_cell_get(&cells->errors);
        out->timeouts += mg_cell_get(&cells->timeouts);
        for (unsigned b = 0; b < MG_FIGURES_BUCKETS; b++)
            out->buckets[b] += mg_cell_get(&cells->buckets[b]);
    }
    make_consistent(out);
}

static uint64_t less(uint64_t now, uint64_t then)
{
    return now > then ? now - then : 0;
}

void mg_figures_since(const mg_figures_sum *now, const mg_figures_sum *then, mg_figures_sum *out)
{
    out->errors = less(now->errors, then->errors);
    out->timeouts = less(now->timeouts, then->timeouts);
    for (unsigned b = 0; b < MG_FIGURES_BUCKETS; b++)
        out->buckets[b] = less(now->buckets[b], then->buckets[b]);
    make_consistent(out);
}

double mg_figures_quantile_ms(const mg_figures_sum *sum, unsigned permille)
{
    const uint64_t wanted = (uint64_t)(((unsigned __int128)sum->calls * permille + 999) / 1000);
    uint64_t seen = 0;

    if (!sum->calls)
        return 0;
    for (unsigned b = 0; b < MG_FIGURES_BUCKETS; b++) {
        seen += sum->buckets[b];
        if (seen && seen >= wanted)
            return (double)bucket_end_us(b) / 1000;
    }
    return (double)bucket_end_us(LAST) / 1000;
}
