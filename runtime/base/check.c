/* check.c - the last words of a process that found a bug in itself. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

void mg_check_failed(const char *condition, const char *file, int line)
{
    fprintf(stderr, "moongate: broken invariant at %s:%d: %s\n", file, line, condition);
    fflush(stderr);
    abort();
}
