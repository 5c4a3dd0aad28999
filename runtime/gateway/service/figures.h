/* figures.h - how the calls to one service, or to one side of a split, went: counts and latencies in cells
 * with one writer each, added up by whoever judges or prints. Adding: the worker's own loop. Reading: any
 * thread. */
#ifndef MG_GATEWAY_SERVICE_FIGURES_H
#define MG_GATEWAY_SERVICE_FIGURES_H

#include "base/stat.h"
#include <stdbool.h>

typedef struct mg_figures mg_figures;

typedef enum mg_figures_outcome { MG_FIGURES_OK, MG_FIGURES_ERROR, MG_FIGURES_TIMEOUT } mg_figures_outcome;

enum {
    /* 64 us to 64 s in steps of at most 1/8, one below and one above. */
    MG_FIGURES_BUCKETS = 162
};

mg_figures *mg_figures_new(unsigned workers);
void mg_figures_free(mg_figures *figures); /* NULL is fine */
/* The worker's own thread. A timeout is an error, too. The duration is to the response head. */
void mg_figures_add(mg_figures *figures, unsigned worker, mg_figures_outcome outcome, uint64_t duration_ns);

/* Sums over all workers at one moment; subtract two of them for what lies between. Plain numbers. */
typedef struct mg_figures_sum {
    uint64_t calls, errors, timeouts; /* errors count timeouts, too */
    uint64_t buckets[MG_FIGURES_BUCKETS];
} mg_figures_sum;

void mg_figures_read(const mg_figures *figures, mg_figures_sum *out); /* any thread */
void mg_figures_since(const mg_figures_sum *now, const mg_figures_sum *then, mg_figures_sum *out);
/* The latency that `permille` of the calls did not pass: the upper bound of its bucket, in ms; 0 without
 * calls. */
double mg_figures_quantile_ms(const mg_figures_sum *sum, unsigned permille);

#endif
