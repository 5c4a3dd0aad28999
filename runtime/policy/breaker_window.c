/* breaker_window.c - two windows.
 *
 * Time: a ring of buckets, each 16 bytes that change by one CAS: which bucket of which version it is, and its
 * counts. What the buckets before the newest hold together is kept beside them. Calls: a ring of single
 * outcomes, and their sum in one word; whoever overwrites an outcome takes it out of the sum. The sum may for
 * a moment lack what another thread is about to add, hence its bias. */
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

/* The sums of all buckets but number `number`, for who records into that. `low` is the number (32 bits), the
 * version (12 bits) and a count of the changes (20 bits), so that two equal readings have one `high` between
 * them; `high` is calls (22 bits), failures and slow ones (21 bits each), or NOT_KNOWN. */
typedef struct past {
    _Alignas(16) _Atomic uint64_t low;
    _Atomic uint64_t high;
} past;

enum { PAST_CHANGES_BITS = 20, PAST_BITS = 21, PAST_MASK = (1 << PAST_BITS) - 1 };

#define PAST_CHANGES_MASK ((1ull << PAST_CHANGES_BITS) - 1)
#define NOT_KNOWN         UINT64_MAX

struct mg_breaker_window {
    _Atomic uint32_t refs;
    uint32_t size;                 /* buckets, or calls */
    uint64_t bucket_ns;            /* 0 = of calls */
    uint64_t per_bucket, per_size; /* 2^64 divided by them: a multiplication is quicker than a division */
    union {
        past past;
        struct {
            /* Version (16 bits) and how many came (48 bits); version, failures and slow ones (24 bits each).
             */
            _Atomic uint64_t head, sums;
        };
    };
    _Atomic uint32_t *outcomes; /* of calls: version (16 bits) and FAILED | SLOW (2 bits) */
    bucket buckets[];           /* of time */
};

static uint64_t inverse(uint64_t by)
{
    return by ? UINT64_MAX / by : 0;
}

/* n / by with inverse(by): the product is the quotient or one less. */
static uint64_t divided(uint64_t n, uint64_t by, uint64_t inverse)
{
    const uint64_t quotient = (uint64_t)((unsigned __int128)n * inverse >> 64);

    return quotient + (n - quotient * by >= by);
}

static uint64_t place_in(const mg_breaker_window *w, uint64_t n)
{
    return n - divided(n, w->size, w->per_size) * w->size;
}

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

static bool past_cas(past *p, uint64_t low, uint64_t high, uint64_t new_low, uint64_t new_high)
{
    return __sync_bool_compare_and_swap((unsigned __int128 *)(void *)p, (unsigned __int128)high << 64 | low,
                                        (unsigned __int128)new_high << 64 | new_low);
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

/* Of all buckets but number `number`. */
static mg_breaker_sums count_past(const mg_breaker_window *w, uint32_t number, uint32_t version)
{
    mg_breaker_sums sums = { 0 };

    for (uint32_t i = 0; i < w->size; i++) {
        uint64_t low, high;
        counts c;

        bucket_read(&w->buckets[i], &low, &high);
        c = unpack(low, high);
        if (c.version != version || c.number == number || number - c.number >= w->size)
            continue;
        sums.calls += c.calls;
        sums.failures += c.failures;
        sums.slow += c.slow;
    }
    return sums;
}

static uint64_t past_key(uint32_t number, uint32_t version)
{
    return (uint64_t)number << 12 | version;
}

static uint64_t past_low(uint64_t key, uint64_t before)
{
    return key << PAST_CHANGES_BITS | ((before + 1) & PAST_CHANGES_MASK);
}

static uint64_t past_high(mg_breaker_sums sums)
{
    if (sums.calls > PAST_MASK) /* of which failures and slow ones are a part */
        return NOT_KNOWN;
    return sums.calls << 2 * PAST_BITS | sums.failures << PAST_BITS | sums.slow;
}

/* Counts what is past and leaves it for the next. It is counted once more when it stands there: who recorded
 * into an older bucket meanwhile may have looked before, and found nothing to take back. */
static mg_breaker_sums learn_past(mg_breaker_window *w, uint32_t number, uint32_t version)
{
    const uint64_t key = past_key(number, version);
    uint64_t low = atomic_load(&w->past.low), high = atomic_load(&w->past.high);
    mg_breaker_sums sums = count_past(w, number, version), again = sums;

    do {
        sums = again;
        if (past_high(sums) == NOT_KNOWN)
            return sums;
        if (!past_cas(&w->past, low, high, past_low(key, low), past_high(sums)))
            return sums; /* somebody else is at it */
        low = past_low(key, low);
        high = past_high(sums);
        again = count_past(w, number, version);
    } while (past_high(again) != high);
    return again;
}

/* The caller recorded into a bucket that others hold for past: they count once more. */
static mg_breaker_sums amend_past(mg_breaker_window *w, uint32_t number, uint32_t version)
{
    uint64_t low, high;

    do {
        low = atomic_load(&w->past.low);
        high = atomic_load(&w->past.high);
    } while (high != NOT_KNOWN &&
             !past_cas(&w->past, low, high, past_low(low >> PAST_CHANGES_BITS, low), NOT_KNOWN));
    return count_past(w, number, version);
}

static mg_breaker_sums past_of(mg_breaker_window *w, uint32_t number, uint32_t version)
{
    const uint64_t low = atomic_load(&w->past.low), high = atomic_load(&w->past.high);
    const uint64_t key = low >> PAST_CHANGES_BITS;

    if (key == past_key(number, version) && high != NOT_KNOWN && atomic_load(&w->past.low) == low)
        return (mg_breaker_sums){ .calls = high >> 2 * PAST_BITS,
                                  .failures = high >> PAST_BITS & PAST_MASK,
                                  .slow = high & PAST_MASK };
    if ((key & 0xfff) == version && (uint32_t)(key >> 12) - number - 1 < w->size - 1)
        return amend_past(w, number, version);
    return learn_past(w, number, version);
}

static mg_breaker_sums record_time(mg_breaker_window *w, uint32_t version, bool failed, bool slow,
                                   uint64_t now_ns)
{
    const uint64_t index = divided(now_ns, w->bucket_ns, w->per_bucket);
    const uint32_t number = (uint32_t)index;
    const counts mine = bucket_add(&w->buckets[place_in(w, index)], number, version & 0xfff, failed, slow);
    mg_breaker_sums sums = past_of(w, number, version & 0xfff); /* after adding: of two who end together, one
                                                                 * sees both */

    if (mine.number == number) {
        sums.calls += mine.calls;
        sums.failures += mine.failures;
        sums.slow += mine.slow;
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

/* The sums with these added. Where there is nothing to add a look will do: who adds after it sees, in what
 * it then reads of `head`, that the looker's call came. */
static uint64_t add_sums(mg_breaker_window *w, uint64_t version, int failures, int slow)
{
    uint64_t seen = atomic_load(&w->sums), next;

    do {
        const uint64_t old = seen >> 48 == version ? seen : NO_SUMS;
        const uint64_t all_failures = (old >> SUM_BITS & SUM_MASK) + (uint64_t)failures;
        const uint64_t all_slow = (old & SUM_MASK) + (uint64_t)slow;

        if (!failures && !slow)
            return old;
        next = version << 48 | (all_failures & SUM_MASK) << SUM_BITS | (all_slow & SUM_MASK);
    } while (!atomic_compare_exchange_weak(&w->sums, &seen, next));
    return next;
}

/* Puts the outcome into its place and returns what stood there; one like it may stay. */
static uint32_t replace(_Atomic uint32_t *place, uint32_t outcome)
{
    const uint32_t old = atomic_load(place);

    return old == outcome ? old : atomic_exchange(place, outcome);
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
    old = replace(&w->outcomes[place_in(w, place)], version << 2 | outcome);
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
    mg_breaker_window *w = mg_calloc(1, sizeof(*w) + (bucket_ns ? size * sizeof(w->buckets[0]) : 0));

    MG_CHECK(size > 0 && size < SUM_BIAS);
    atomic_init(&w->refs, 1);
    w->bucket_ns = bucket_ns;
    w->size = size;
    w->per_bucket = inverse(bucket_ns);
    w->per_size = inverse(size);
    return w;
}

mg_breaker_window *mg_breaker_window_of_time(uint64_t bucket_ns, uint32_t buckets)
{
    mg_breaker_window *w;

    MG_CHECK(bucket_ns > 0);
    w = window_of(bucket_ns, buckets);
    atomic_init(&w->past.high, NOT_KNOWN);
    return w;
}

mg_breaker_window *mg_breaker_window_of_calls(uint32_t calls)
{
    mg_breaker_window *w = window_of(0, calls);

    atomic_init(&w->sums, NO_SUMS);
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
    mg_free(window->outcomes);
    mg_free(window);
}
