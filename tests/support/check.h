/* check.h - cmocka with its includes in order, and the two comparisons that tests of ours want. */
#ifndef MG_TESTS_SUPPORT_CHECK_H
#define MG_TESTS_SUPPORT_CHECK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/str.h"

/* The bytes and the length, with both printed when they differ. */
static inline void check_str_at(mg_str got, const char *want, const char *file, int line)
{
    if (mg_str_eq_c(got, want))
        return;
    print_error("got  \"%.*s\"\nwant \"%s\"\n", MG_STR_ARGS(got), want);
    _fail(file, line);
}

#define check_str(got, want) check_str_at((got), (want), __FILE__, __LINE__)

/* Where a property test begins: SEED in the environment, else the test's own, so that a run that nobody
 * seeded is the same everywhere. Printed always, since only the output of a failing test is read. */
static inline uint64_t check_seed(uint64_t own)
{
    const char *given = getenv("SEED");
    const uint64_t seed = given ? strtoull(given, NULL, 0) : own;

    print_message("again with: SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

#endif
