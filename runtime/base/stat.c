/* stat.c - histograms of durations. */
#include "base/stat.h"

/* From 5 ms on, the advice of OpenTelemetry's HTTP conventions; the two below tell a fast gateway from a slow
 * one. */
const uint64_t mg_histogram_bounds_us[MG_HISTOGRAM_BOUNDS] = {
    500,    1000,   5000,   10000,   25000,   50000,   75000,   100000,
    250000, 500000, 750000, 1000000, 2500000, 5000000, 7500000, 10000000,
};

/* A cell counts what lies above the bound before it and not above its own; who prints them sums them up. */
void mg_histogram_add(mg_histogram *h, uint64_t us)
{
    unsigned i = 0;

    while (i < MG_HISTOGRAM_BOUNDS && us > mg_histogram_bounds_us[i])
        i++;
    mg_cell_add(&h->cells[i], 1);
    mg_cell_add(&h->sum_us, us);
    mg_cell_add(&h->count, 1);
}

void mg_histogram_sum(mg_histogram *sum, const mg_histogram *one)
{
    for (int i = 0; i <= MG_HISTOGRAM_BOUNDS; i++)
        mg_cell_add(&sum->cells[i], mg_cell_get(&one->cells[i]));
    mg_cell_add(&sum->sum_us, mg_cell_get(&one->sum_us));
    mg_cell_add(&sum->count, mg_cell_get(&one->count));
}
