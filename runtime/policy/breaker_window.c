/* breaker_window.c - two windows.
 *
 * Time: a ring of buckets, each 16 bytes that change by one CAS: which bucket of which version it is, and its
 * counts. Calls: a ring of single outcomes, and their sum in one word; whoever overwrites an outcome takes it
 * out of the sum. The sum may for a moment lack what another thread is about to add, hence its bias. */
#include "policy/breaker_window.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdatomic.h>

#ifndef __GCC_HAVE_SYNC_COMPARE_AND_SWAP_16
#error "the breaker's window wants a double-width CAS: compile with -mcx16 or its like"
#endif

enum {
    VERSION_MASK = 0xffff,
    SUM_BITS = 24,
    SUM_MASK = (1 << SUM_BITS) - 1,
    SUM_BIAS = 1 << 20, /* far above the calls a window may hold, far below what the bits do */
    FAILED = 1,
    SLOW = 2,
};

#define NO_SUMS ((uint64_t)SUM_BIAS << SUM_BITS | SUM_BIAS)
/* What a bucket counts up to; then it stays. */
#define COUNT_MAX ((1ull << 28) - 1)

/* One bucket. `low` is the number of the bucket (32 bits, modulo) and the version (4 bits) with the calls (28
 * bits); `high` is more of the version (8 bits), failures and slow ones. Every change raises the calls, so
 * two equal readings of `low` have one `high` between them. */
typedef struct bucket {
    _Alignas(16) _Atomic uint64_t low;
    _Atomic uint64_t high;
} bucket;

typedef struct counts {
    uint32_t number, version; /* version: 12 bits */
    uint64_t calls, failures, slow;
} counts;

struct mg_breaker_window {
    _Atomic uint32_t refs;
    uint64_t bucket_ns; /* 0 = of calls */
    uint32_t size;      /* buckets, or calls */
    bucket *buckets;
    /* Of calls: version (16 bits) and how many came (48 bits); version, failures and slow ones (24 bits
     * each). */
    _Atomic uint64_t head, sums;
    _Atomic uint32_t *outcomes; /* version (16 bits) and FAILED | SLOW (2 bits) */
};

static unsigned __int128 pack(counts c)
{
    const uint64_t low = (uint64_t)c.number << 32 | (uint64_t)(c.version & 15) << 28 | c.calls;
    const uint64_t high = (uint64_t)(c.version >> 4) << 56 | c.failures << 28 | c.slow;

    return (unsigned __int128)high << 64 | low;
}

static counts unpack(uint64_t low, uint64_t high)
{
    return (counts){ .number = (uint32_t)(low >> 32),
                     .version = (uint32_t)(low >> 28 & 15) | (uint32_t)(high >> 56) << 4,
                     .calls = low & COUNT_MAX,
                     .failures = high >> 28 & COUNT_MAX,
                     .slow = high & COUNT_MAX };
}

static void bucket_read(const bucket *b, uint64_t *low, uint64_t *high)
{
    uint64_t again = atomic_load_explicit(&b->low, memory_order_acquire);

    do {
        *low = again;
        *high = atomic_load_explicit(&b->high, memory_order_acquire);
        again = atomic_load_explicit(&b->low, memory_order_acquire);
    } while (again != *low);
}

/* Counts one outcome in the bucket and returns what stands there then. */
static counts bucket_add(bucket *b, uint32_t number, uint32_t version, bool failed, bool slow)
{
    for (;;) {
        uint64_t low, high;
        unsigned __int128 expected;
        counts c;

        bucket_read(b, &low, &high);
        expected = (unsigned __int128)high << 64 | low;
        c = unpack(low, high);
        if (c.version != version || c.number != number) {
            if (c.version == version && c.calls && (int32_t)(c.number - number) > 0)
                return c; /* a later turn of the ring: the caller's clock is a window behind */
            c = (counts){ .number = number, .version = version };
        }
        if (c.calls == COUNT_MAX)
            return c;
        c.calls++;
        c.failures += failed;
        c.slow += slow;
        if (__sync_bool_compare_and_swap((unsigned __int128 *)(void *)b, expected, pack(c)))
            return c;
    }
}

static mg_breaker_sums record_time(mg_breaker_window *w, uint32_t version, bool failed, bool slow,
                                   uint64_t now_ns)
{
    const uint64_t index = now_ns / w->bucket_ns;
    const uint32_t number = (uint32_t)index, own = (uint32_t)(index % w->size);
    const counts mine = bucket_add(&w->buckets[own], number, version & 0xfff, failed, slow);
    mg_breaker_sums sums = { 0 };

    if (mine.number == number)
        sums = (mg_breaker_sums){ mine.calls, mine.failures, mine.slow };
    /* After adding: of two who end together, one sees both. */
    for (uint32_t i = 0; i < w->size; i++) {
        uint64_t low, high;
        counts c;

        if (i == own)
            continue;
        bucket_read(&w->buckets[i], &low, &high);
        c = unpack(low, high);
        if (c.version != (version & 0xfff) || number - c.number >= w->size)
            continue;
        sums.calls += c.calls;
        sums.failures += c.failures;
        sums.slow += c.slow;
    }
    return sums;
}

static uint64_t came(uint64_t head, uint64_t version)
{
    return head >> 48 == version ? head & ((1ull << 48) - 1) : 0;
}

/* Which call of the version this is, from 0. */
static uint64_t next_place(mg_breaker_window *w, uint64_t version)
{
    uint64_t seen = atomic_load(&w->head), place;

    do {
        place = came(seen, version);
    } while (!atomic_compare_exchange_weak(&w->head, &seen, version << 48 | (place + 1)));
    return place;
}

static uint64_t add_sums(mg_breaker_window *w, uint64_t version, int failures, int slow)
{
    uint64_t seen = atomic_load(&w->sums), next;

    do {
        const uint64_t old = seen >> 48 == version ? seen : NO_SUMS;
        const uint64_t all_failures = (old >> SUM_BITS & SUM_MASK) + (uint64_t)failures;
        const uint64_t all_slow = (old & SUM_MASK) + (uint64_t)slow;

        next = version << 48 | (all_failures & SUM_MASK) << SUM_BITS | (all_slow & SUM_MASK);
    } while (!atomic_compare_exchange_weak(&w->sums, &seen, next));
    return next;
}

static uint64_t unbiased(uint64_t sum)
{
    return (sum & SUM_MASK) > SUM_BIAS ? (sum & SUM_MASK) - SUM_BIAS : 0;
}

static mg_breaker_sums record_calls(mg_breaker_window *w, uint32_t version, bool failed, bool slow)
{
    const uint32_t outcome = (failed ? FAILED : 0) | (slow ? SLOW : 0);
    uint32_t old;
    uint64_t place, sums, calls;

    version &= VERSION_MASK;
    place = next_place(w, version);
    old = atomic_exchange(&w->outcomes[place % w->size], version << 2 | outcome);
    if (old >> 2 != version || place < w->size)
        old = 0;
    sums = add_sums(w, version, (int)failed - (int)(old & FAILED), (int)slow - (int)((old & SLOW) >> 1));
    /* Read after the sum: of two who end together, the one whose sum is whole sees both calls. */
    calls = came(atomic_load(&w->head), version);
    return (mg_breaker_sums){ .calls = calls < w->size ? calls : w->size,
                              .failures = unbiased(sums >> SUM_BITS),
                              .slow = unbiased(sums) };
}

mg_breaker_sums mg_breaker_window_record(mg_breaker_window *window, uint32_t version, bool failed, bool slow,
                                         uint64_t now_ns)
{
    return window->bucket_ns ? record_time(window, version, failed, slow, now_ns)
                             : record_calls(window, version, failed, slow);
}

static mg_breaker_window *window_of(uint64_t bucket_ns, uint32_t size)
{
    mg_breaker_window *w = MG_NEW(mg_breaker_window);

    MG_CHECK(size > 0 && size < SUM_BIAS);
    atomic_init(&w->refs, 1);
    atomic_init(&w->sums, NO_SUMS);
    w->bucket_ns = bucket_ns;
    w->size = size;
    return w;
}

mg_breaker_window *mg_breaker_window_of_time(uint64_t bucket_ns, uint32_t buckets)
{
    mg_breaker_window *w = window_of(bucket_ns, buckets);

    MG_CHECK(bucket_ns > 0);
    w->buckets = MG_NEW_N(bucket, buckets);
    return w;
}

mg_breaker_window *mg_breaker_window_of_calls(uint32_t calls)
{
    mg_breaker_window *w = window_of(0, calls);

    w->outcomes = mg_calloc(calls, sizeof(*w->outcomes));
    return w;
}

bool mg_breaker_window_is(const mg_breaker_window *window, uint64_t bucket_ns, uint32_t size)
{
    return window->bucket_ns == bucket_ns && window->size == size;
}

mg_breaker_window *mg_breaker_window_ref(mg_breaker_window *window)
{
    atomic_fetch_add(&window->refs, 1);
    return window;
}

void mg_breaker_window_unref(mg_breaker_window *window)
{
    if (!window || atomic_fetch_sub(&window->refs, 1) != 1)
        return;
    mg_free(window->buckets);
    mg_free(window->outcomes);
    mg_free(window);
}
