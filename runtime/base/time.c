/* time.c - the real clock, the fake one, the policy clock above either, and the two ways we write a moment.
 */
#include "base/time.h"

#include "base/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static uint64_t real_mono_ns(const mg_clock *clock)
{
    struct timespec now;

    (void)clock;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * MG_NS_PER_S + (uint64_t)now.tv_nsec;
}

static int64_t real_wall_ns(const mg_clock *clock)
{
    struct timespec now;

    (void)clock;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * (int64_t)MG_NS_PER_S + now.tv_nsec;
}

const mg_clock mg_clock_real = { real_mono_ns, real_wall_ns };

static uint64_t fake_mono_ns(const mg_clock *clock)
{
    return ((const mg_fake_clock *)(const void *)clock)->mono;
}

static int64_t fake_wall_ns(const mg_clock *clock)
{
    return ((const mg_fake_clock *)(const void *)clock)->wall;
}

void mg_fake_clock_init(mg_fake_clock *fake, uint64_t mono_ns, int64_t wall_ns)
{
    *fake = (mg_fake_clock){ { fake_mono_ns, fake_wall_ns }, mono_ns, wall_ns };
}

static int64_t wall_plus(int64_t wall_ns, uint64_t ns)
{
    int64_t sum;

    if (ns > INT64_MAX || __builtin_add_overflow(wall_ns, (int64_t)ns, &sum))
        return INT64_MAX;
    return sum;
}

void mg_fake_clock_advance(mg_fake_clock *fake, uint64_t ns)
{
    fake->mono = mg_add_sat(fake->mono, ns);
    fake->wall = wall_plus(fake->wall, ns);
}

/* What passed since the state was saved. Within one boot the monotonic clock knows; across boots only the
 * wall clock does, and where it was set back, nothing counts as passed. */
static uint64_t elapsed_since(const mg_policy_clock_saved *saved, const mg_clock *clock, const char *boot_id)
{
    int64_t wall_ns;

    if (strcmp(saved->boot_id, boot_id) == 0 && strcmp(boot_id, "unknown") != 0) {
        const uint64_t mono_ns = clock->mono_ns(clock);
        return mono_ns > saved->mono_ns ? mono_ns - saved->mono_ns : 0;
    }
    wall_ns = clock->wall_ns(clock);
    return wall_ns > saved->wall_ns ? (uint64_t)wall_ns - (uint64_t)saved->wall_ns : 0;
}

void mg_policy_clock_init(mg_policy_clock *pc, const mg_clock *clock, const mg_policy_clock_saved *saved,
                          const char *boot_id)
{
    const uint64_t now_ns = saved ? mg_add_sat(saved->policy_ns, elapsed_since(saved, clock, boot_id)) : 0;

    /* The difference may be negative: it wraps, and so does the sum that undoes it. */
    *pc = (mg_policy_clock){ clock, now_ns - clock->mono_ns(clock) };
}

uint64_t mg_policy_clock_now(const mg_policy_clock *pc)
{
    return pc->clock->mono_ns(pc->clock) + pc->offset_ns;
}

void mg_policy_clock_save(const mg_policy_clock *pc, const char *boot_id, mg_policy_clock_saved *out)
{
    *out = (mg_policy_clock_saved){ .mono_ns = pc->clock->mono_ns(pc->clock),
                                    .wall_ns = pc->clock->wall_ns(pc->clock) };
    out->policy_ns = out->mono_ns + pc->offset_ns;
    snprintf(out->boot_id, sizeof(out->boot_id), "%s", boot_id);
}

void mg_boot_id(char out[37])
{
    const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    if (fd >= 0) {
        n = read(fd, out, 36);
        close(fd);
    }
    if (n == 36)
        out[36] = '\0';
    else
        memcpy(out, "unknown", sizeof("unknown"));
}

typedef struct date {
    int64_t year;
    unsigned month, day, weekday; /* month 0..11, day 1..31, weekday 0 = Sunday */
    unsigned hour, minute, second, ms;
} date;

/* Days since 1970 to a date of the proleptic Gregorian calendar: Hinnant, "chrono-compatible low-level date
 * algorithms", civil_from_days. gmtime_r takes a lock for the zone in glibc; this is called per response. */
static void date_set_days(date *d, int64_t days)
{
    const int64_t shifted = days + 719468; /* since 0000-03-01, so that the leap day ends a year */
    const int64_t era = (shifted >= 0 ? shifted : shifted - 146096) / 146097;
    const int64_t in_era = shifted - era * 146097;
    const int64_t year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
    const int64_t in_year = in_era - (365 * year + year / 4 - year / 100);
    const int64_t month = (5 * in_year + 2) / 153; /* 0 = March */

    d->day = (unsigned)(in_year - (153 * month + 2) / 5 + 1);
    d->month = (unsigned)((month + 2) % 12);
    d->year = year + era * 400 + (month >= 10);
    d->weekday = (unsigned)(((days + 4) % 7 + 7) % 7);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static date date_of(int64_t wall_ns)
{
    const int64_t ms = floor_div(wall_ns, (int64_t)MG_NS_PER_MS);
    const int64_t days = floor_div(ms, 86400000);
    const unsigned rest = (unsigned)(ms - days * 86400000);
    date d = {
        .hour = rest / 3600000, .minute = rest / 60000 % 60, .second = rest / 1000 % 60, .ms = rest % 1000
    };

    date_set_days(&d, days);
    return d;
}

/* int64_t nanoseconds span 1677 to 2262, so every year has four digits and both texts their fixed length. */
void mg_http_date(char out[MG_HTTP_DATE_BYTES + 1], int64_t wall_ns)
{
    static const char weekdays[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    const date d = date_of(wall_ns);
    const int n = snprintf(out, MG_HTTP_DATE_BYTES + 1, "%.3s, %02u %.3s %04u %02u:%02u:%02u GMT",
                           weekdays + d.weekday * 3, d.day, months + d.month * 3, (unsigned)d.year, d.hour,
                           d.minute, d.second);

    MG_CHECK(n == MG_HTTP_DATE_BYTES);
}

void mg_iso_time(char out[32], int64_t wall_ns)
{
    const date d = date_of(wall_ns);

    snprintf(out, 32, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)d.year, d.month + 1, d.day, d.hour,
             d.minute, d.second, d.ms);
}
