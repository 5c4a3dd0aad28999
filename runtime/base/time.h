/* time.h - units that saturate, and a clock that is real or in a test's hand. Any thread reads a clock; a
 * fake one is moved by one at a time. */
#ifndef MG_BASE_TIME_H
#define MG_BASE_TIME_H

#include <stdbool.h>
#include <stdint.h>

#define MG_NS_PER_MS 1000000ull
#define MG_NS_PER_S  1000000000ull

/* A source of time. Both readings are cheap; loops cache them for one turn. Any thread may read. */
typedef struct mg_clock mg_clock;
struct mg_clock {
    uint64_t (*mono_ns)(const mg_clock *clock); /* never runs backwards within one boot */
    int64_t (*wall_ns)(const mg_clock *clock);  /* since 1970; may step */
};

extern const mg_clock mg_clock_real;

/* A clock that moves when it is told to. */
typedef struct mg_fake_clock {
    mg_clock clock; /* pass &fake.clock on */
    uint64_t mono;
    int64_t wall;
} mg_fake_clock;

void mg_fake_clock_init(mg_fake_clock *fake, uint64_t mono_ns, int64_t wall_ns);
void mg_fake_clock_advance(mg_fake_clock *fake, uint64_t ns); /* both readings */

/* The policy clock (docs/policies.md 1): saved value + elapsed, where elapsed is the monotonic difference
 * within one boot and max(0, wall difference) after a reboot. now = mono + offset. */
typedef struct mg_policy_clock {
    const mg_clock *clock; /* borrowed */
    uint64_t offset_ns;
} mg_policy_clock;

typedef struct mg_policy_clock_saved {
    uint64_t policy_ns, mono_ns;
    int64_t wall_ns;
    char boot_id[37];
} mg_policy_clock_saved;

/* `saved` may be NULL: a fresh start at 0. */
void mg_policy_clock_init(mg_policy_clock *pc, const mg_clock *clock, const mg_policy_clock_saved *saved,
                          const char *boot_id);
uint64_t mg_policy_clock_now(const mg_policy_clock *pc);
/* What it read, or will, at that moment of the monotonic clock: for those who have read that one already. */
static inline uint64_t mg_policy_clock_at(const mg_policy_clock *pc, uint64_t mono_ns)
{
    return mono_ns + pc->offset_ns;
}
void mg_policy_clock_save(const mg_policy_clock *pc, const char *boot_id, mg_policy_clock_saved *out);
/* This machine's boot id, from the kernel; "unknown" where there is none. */
void mg_boot_id(char out[37]);

static inline uint64_t mg_add_sat(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static inline uint64_t mg_max_u64(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static inline uint64_t mg_min_u64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static inline uint64_t mg_ms_ceil(uint64_t ns)
{
    return ns / MG_NS_PER_MS + (ns % MG_NS_PER_MS != 0);
}

#define MG_HTTP_DATE_BYTES 29 /* "Sun, 06 Nov 1994 08:49:37 GMT", RFC 9110 5.6.7 */
void mg_http_date(char out[MG_HTTP_DATE_BYTES + 1], int64_t wall_ns);
/* "2026-11-21T08:45:01.123Z" */
void mg_iso_time(char out[32], int64_t wall_ns);

#endif
