/* units.h - durations, sizes, rates and shares as operators write them. Values saturate; a message says what
 * is wrong. Pure: any thread. */
#ifndef MG_TEXT_UNITS_H
#define MG_TEXT_UNITS_H

#include "base/err.h"

/* "250ms", "1.5s", "10m", "1h", "31d", "0s": one number, one unit. Rounded to whole milliseconds, never down
 * to 0. */
MG_MUST_USE mg_result mg_units_duration(mg_str text, uint64_t *ms, mg_error *err);
/* "64KiB", "1GiB", "512B", "1.5MiB" */
MG_MUST_USE mg_result mg_units_size(mg_str text, uint64_t *bytes, mg_error *err);

typedef struct mg_rate {
    uint64_t limit;     /* so many.. */
    uint64_t period_ns; /* ..in each of these */
} mg_rate;

/* "100/s", "10/m", "5000/h", "1000000/d" */
MG_MUST_USE mg_result mg_units_rate(mg_str text, mg_rate *rate, mg_error *err);
/* "5%", "0.25%": basis points. Finer is refused. */
MG_MUST_USE mg_result mg_units_share(mg_str text, uint32_t *basis_points, mg_error *err);

/* The value as people write it, in the largest unit that divides it. */
void mg_units_duration_text(uint64_t ms, mg_text *out);

#endif
