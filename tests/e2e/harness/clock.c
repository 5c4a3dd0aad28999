/* clock.c - a clock in a spec's hand for the real binary: loaded before everything else, it adds to the
 * kernel's readings what stands in the file that E2E_CLOCK names, two numbers of nanoseconds that the spec
 * writes: for the monotonic clock and for the wall clock. E2E_BOOT_ID names a file to be read in place of the
 * kernel's boot id, for a machine that starts anew. Sleeping is not moved: a spec that moves the clock then
 * sends something, or waits for the second's tick of the control thread. */
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define NS_PER_S 1000000000

typedef struct offsets {
    _Atomic int64_t mono_ns, wall_ns;
} offsets;

/* One a process, as the clock that it moves. */
static offsets *moved;

__attribute__((constructor)) static void map_offsets(void)
{
    const char *path = getenv("E2E_CLOCK");
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(offsets), PROT_READ, MAP_SHARED, fd, 0);
    if (at != MAP_FAILED)
        moved = at;
    close(fd);
}

static int64_t offset_ns(clockid_t clock)
{
    if (!moved)
        return 0;
    switch (clock) {
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME: return atomic_load_explicit(&moved->mono_ns, memory_order_relaxed);
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE: return atomic_load_explicit(&moved->wall_ns, memory_order_relaxed);
    default: return 0;
    }
}

static struct timespec plus(const struct timespec *at, int64_t ns)
{
    const int64_t sum = (int64_t)at->tv_sec * NS_PER_S + at->tv_nsec + ns;
    const int64_t all = sum > 0 ? sum : 0;

    return (struct timespec){ .tv_sec = all / NS_PER_S, .tv_nsec = all % NS_PER_S };
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    const int result = (int)syscall(SYS_clock_gettime, clock, out);

    if (result == 0)
        *out = plus(out, offset_ns(clock));
    return result;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    struct timespec now;

    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *out = (struct timeval){ .tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000 };
    return 0;
}

time_t time(time_t *out)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    if (out)
        *out = now.tv_sec;
    return now.tv_sec;
}

/* The kernel knows nothing of our offset, so a moment to wait for goes back by it. Which clock it is of shows
 * from its size: no machine here is up for ten years, and no wall clock is before 1980. */
int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict at)
{
    typedef int timedwait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);
    static timedwait *_Atomic real;
    const clockid_t clock = at->tv_sec < (time_t)10 * 365 * 86400 ? CLOCK_MONOTONIC : CLOCK_REALTIME;
    const struct timespec until = plus(at, -offset_ns(clock));
    timedwait *next = atomic_load(&real);

    if (!next) {
        *(void **)&next = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
        atomic_store(&real, next);
    }
    return next(cond, mutex, &until);
}

int open(const char *path, int flags, ...)
{
    const char *boot_id = getenv("E2E_BOOT_ID");
    mode_t mode = 0;

    if (flags & O_CREAT) {
        va_list more;
        va_start(more, flags);
        mode = va_arg(more, mode_t);
        va_end(more);
    }
    if (boot_id && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0)
        path = boot_id;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
