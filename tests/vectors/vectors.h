/* vectors.h - what a kind of vector brings along. A driver lives for one vector: open on its cfg, one row
 * after the other, close. */
#ifndef MG_TESTS_VECTORS_H
#define MG_TESTS_VECTORS_H

#include "base/err.h"

#include <jansson.h>

typedef struct vector_driver {
    const char *policy;
    const char *keys, *cols; /* the keys of cfg and the input columns that it reads, a blank between two */
    /* NULL with `err` when cfg asks for something that cannot be. */
    void *(*open)(const json_t *cfg, mg_error *err);
    /* The row's inputs by their columns' names; returns the results, an array in the order of the columns. */
    json_t *(*row)(void *self, const json_t *in);
    void (*close)(void *self);
} vector_driver;

extern const vector_driver vector_limiter_drivers[], vector_breaker_drivers[], vector_router_drivers[],
    vector_other_drivers[], vector_upstream_drivers[],
    vector_flow_drivers[]; /* each ends with an empty one */

long long vector_int(const json_t *object, const char *name, long long otherwise);
double vector_real(const json_t *object, const char *name, double otherwise);
const char *vector_text(const json_t *object, const char *name);
uint64_t vector_now_ns(const json_t *in); /* column t, in ms */
/* Where the text stands in `words`, 0 when there is no such key; -1 with `err` when it is another word. */
int vector_word(const json_t *object, const char *name, const char *const *words, mg_error *err);
/* The parts of a thousand, or of ten thousand, that a ratio is. */
uint32_t vector_parts(const json_t *object, const char *name, double whole, uint32_t otherwise);
/* False with `err` when the object has a key that is none of `keys`, which have a blank between two. */
bool vector_knows(const json_t *object, const char *keys, mg_error *err);
/* A number as a result; null where it is none. */
json_t *vector_number(double number);
/* A row that cannot be run: a result that no vector wants, with the reason. */
json_t *vector_bad_row(const char *why);
/* For arithmetic that keeps nothing between rows. */
void *vector_nothing_open(const json_t *cfg, mg_error *err);
void vector_nothing_close(void *self);

#endif
