/* clock.c - a clock in a spec's hand for the real binary: loaded before everything else, it adds to the
 * kernel's readings what stands in the file that E2E_CLOCK names, two numbers of nanoseconds that the spec
 * writes: for the monotonic clock and for the wall clock. With E2E_CLOCK_SLOW=N, time of the kernel counts
 * for an N-th from the start of the process on, so that what a busy machine adds to a latency does not count
 * beside what the spec adds. E2E_BOOT_ID names a file to be read in place of the kernel's boot id, for a
 * machine that starts anew. Sleeping is not moved: a spec that moves the clock then sends something, or waits
 * for the second's tick of the control thread. */
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
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

typedef struct moved_clock {
    int64_t began_ns;           /* what the kernel's showed when the process began */
    _Atomic int64_t *offset_ns; /* what the spec adds */
} moved_clock;

/* One set a process, as the clocks that it moves. */
static offsets *moved;
static moved_clock mono, wall;
static int64_t slowness = 1; /* how many of the kernel's nanoseconds since then are one */

static int64_t in_ns(const struct timespec *at)
{
    return (int64_t)at->tv_sec * NS_PER_S + at->tv_nsec;
}

static moved_clock move_clock(clockid_t clock, _Atomic int64_t *offset_ns)
{
    struct timespec now;

    syscall(SYS_clock_gettime, clock, &now);
    return (moved_clock){ .began_ns = in_ns(&now), .offset_ns = offset_ns };
}

__attribute__((constructor)) static void map_offsets(void)
{
    const char *path = getenv("E2E_CLOCK"), *slow = getenv("E2E_CLOCK_SLOW");
    const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;

    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(offsets), PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (at == MAP_FAILED)
        return;
    if (slow)
        slowness = strtol(slow, NULL, 10);
    moved = at;
    mono = move_clock(CLOCK_MONOTONIC, &moved->mono_ns);
    wall = move_clock(CLOCK_REALTIME, &moved->wall_ns);
}

/* The clock as the spec has moved it, or NULL for one that is the kernel's. */
static moved_clock *clock_of(clockid_t clock)
{
    if (!moved)
        return NULL;
    switch (clock) {
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_BOOTTIME: return &mono;
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE: return &wall;
    default: return NULL;
    }
}

/* What a clock in the spec's hand shows when the kernel's shows `ns`. */
static int64_t shown_ns(const moved_clock *clock, int64_t ns)
{
    return clock->began_ns + (ns - clock->began_ns) / slowness +
           atomic_load_explicit(clock->offset_ns, memory_order_relaxed);
}

static struct timespec from_ns(int64_t ns)
{
    const int64_t all = ns > 0 ? ns : 0;

    return (struct timespec){ .tv_sec = all / NS_PER_S, .tv_nsec = all % NS_PER_S };
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    const int result = (int)syscall(SYS_clock_gettime, clock, out);
    const moved_clock *moves = clock_of(clock);

    if (result == 0 && moves)
        *out = from_ns(shown_ns(moves, in_ns(out)));
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
