/* stopwatch.h - ns an operation on a machine that others use: many short batches on the clock of the thread
 * itself, of which the best says what the code costs and the median what the machine added. Each row stands
 * beside its ceiling (docs/policies.md 12); nothing is judged but by the word "over". */
#ifndef MG_BENCH_STOPWATCH_H
#define MG_BENCH_STOPWATCH_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { STOPWATCH_BATCHES = 31, STOPWATCH_OPS = 50000 };

/* The `i`th operation; what it returns is summed up, so that nothing is optimised away. */
typedef uint64_t stopwatch_operation(void *self, uint64_t i);

static volatile uint64_t stopwatch_sink;

static uint64_t stopwatch_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static int stopwatch_order(const void *a, const void *b)
{
    const double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static void stopwatch_head(void)
{
    printf("%-46s %9s %9s %9s\n", "", "best", "median", "ceiling");
}

/* A ceiling of 0 is none. */
static void stopwatch_row(const char *name, double best, double median, double ceiling, const char *unit)
{
    printf("%-46s %9.1f %9.1f ", name, best, median);
    if (ceiling > 0)
        printf("%9.0f %-5s %s\n", ceiling, unit, best <= ceiling ? "" : "over");
    else
        printf("%9s %-5s\n", "", unit);
}

static inline void stopwatch_run(const char *name, double ceiling_ns, stopwatch_operation *op, void *self)
{
    double each[STOPWATCH_BATCHES];
    uint64_t i = 0;

    for (int batch = -1; batch < STOPWATCH_BATCHES; batch++) { /* the first only warms */
        const uint64_t begin_ns = stopwatch_ns(), end = i + STOPWATCH_OPS;
        uint64_t sum = 0;

        for (; i < end; i++)
            sum += op(self, i);
        stopwatch_sink += sum;
        if (batch >= 0)
            each[batch] = (double)(stopwatch_ns() - begin_ns) / STOPWATCH_OPS;
    }
    qsort(each, STOPWATCH_BATCHES, sizeof(each[0]), stopwatch_order);
    stopwatch_row(name, each[0], each[STOPWATCH_BATCHES / 2], ceiling_ns, "ns");
}

#endif
