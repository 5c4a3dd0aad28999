/* hang.c - calls that do not return, in a spec's hand, for the real binary: loaded before everything else.
 * While the file that E2E_HANG names is there, strftime() stands still when its format begins with "hang";
 * write() when the file's first byte is the digit of its descriptor; and clock_gettime() of the wall clock
 * when that byte is a "c", on a thread that has asked for it 3000 times. Each look at the file is a system
 * call of its own, as a call that waits for the kernel makes them. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <dlfcn.h>

/* The first byte of the file; 0: it is there and empty; -1: it is not there. */
static int order(void)
{
    const char *path = getenv("E2E_HANG");
    const long fd = path ? syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC) : -1;
    char byte = 0;

    if (fd < 0)
        return -1;
    (void)syscall(SYS_read, fd, &byte, 1);
    (void)syscall(SYS_close, fd);
    return byte;
}

static void rest(void)
{
    const struct timespec some = { .tv_nsec = 10000000 };

    (void)syscall(SYS_nanosleep, &some, NULL);
}

size_t strftime(char *restrict out, size_t size, const char *restrict format, const struct tm *restrict at)
{
    typedef size_t format_time(char *, size_t, const char *, const struct tm *);
    format_time *next;

    if (strncmp(format, "hang", 4) == 0)
        while (order() >= 0)
            rest();
    *(void **)&next = dlsym(RTLD_NEXT, "strftime");
    return next(out, size, format, at);
}

ssize_t write(int fd, const void *bytes, size_t n)
{
    while (fd < 10 && order() == '0' + fd)
        rest();
    return syscall(SYS_write, fd, bytes, n);
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    static _Thread_local unsigned calls;

    if (clock == CLOCK_REALTIME && ++calls > 3000)
        while (order() == 'c')
            rest();
    return (int)syscall(SYS_clock_gettime, clock, out);
}
