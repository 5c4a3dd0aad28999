/* check.c - the last words of a process that cannot go on. */
#include "base/check.h"

#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Who does not read stderr keeps nobody from ending: a pipe that polls as writable takes a line of this
 * length. */
void mg_end_with(const char *format, ...)
{
    struct pollfd fd = { STDERR_FILENO, POLLOUT, 0 };
    char text[1024];
    va_list args;

    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (n > 0 && poll(&fd, 1, 0) > 0)
        (void)!write(fd.fd, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
    abort();
}

void mg_check_failed(const char *condition, const char *file, int line)
{
    mg_end_with("moongate: broken invariant at %s:%d: %s\n", file, line, condition);
}
