/* sdk_bounds.c - the clocks that the budgets of plugins are held against. */
#include "gateway/host.h"

#include <time.h>

double mg_host_fresh_s(const mg_host *host)
{
    return host->clock == &mg_clock_real ? (double)mg_clock_real.mono_ns(&mg_clock_real) / 1e9 : -1;
}

double mg_host_cpu_s(const mg_host *host)
{
    struct timespec used;

    (void)host;
    if (clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used) != 0)
        return 0;
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}
