/* vectors.h - what a kind of vector brings along. A driver lives for one vector: open on its cfg, one row
 * after the other, close. */
#ifndef MG_TESTS_VECTORS_H
#define MG_TESTS_VECTORS_H

#include <jansson.h>

typedef struct vector_driver {
    const char *policy;
    void *(*open)(const json_t *cfg);
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
/* For arithmetic that keeps nothing between rows. */
void *vector_nothing_open(const json_t *cfg);
void vector_nothing_close(void *self);

#endif
