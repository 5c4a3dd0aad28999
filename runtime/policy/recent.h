/* recent.h - counts of the last so many slices of time, added to and summed up by any thread without a lock.
 * The slice a count belongs to stands in its word, so that nobody has to empty it. */
#ifndef MG_POLICY_RECENT_H
#define MG_POLICY_RECENT_H

#include <stdatomic.h>
#include <stdint.h>

enum { MG_RECENT_SLICES = 12, MG_RECENT_COUNT_BITS = 40 };

#define MG_RECENT_COUNT_MASK ((1ull << MG_RECENT_COUNT_BITS) - 1)

typedef struct mg_recent {
    /* The slice's number modulo 2^24, and how many. */
    _Atomic uint64_t words[MG_RECENT_SLICES];
} mg_recent;

static inline uint64_t mg_recent_stamp(uint64_t slice)
{
    return slice << MG_RECENT_COUNT_BITS;
}

/* `slice` is a moment divided by the length of one. A count that its slice has outlived is dropped. */
static inline void mg_recent_add(mg_recent *recent, uint64_t slice, uint64_t n)
{
    _Atomic uint64_t *word = &recent->words[slice % MG_RECENT_SLICES];
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed), next;

    do {
        const uint64_t ahead = (seen - mg_recent_stamp(slice)) >> MG_RECENT_COUNT_BITS;

        if (ahead && ahead < 1024 && (seen & MG_RECENT_COUNT_MASK))
            return;
        next = (ahead ? mg_recent_stamp(slice) : seen) + n;
    } while (!atomic_compare_exchange_weak(word, &seen, next));
}

/* Takes back what was added to the slice. */
static inline void mg_recent_take_back(mg_recent *recent, uint64_t slice, uint64_t n)
{
    _Atomic uint64_t *word = &recent->words[slice % MG_RECENT_SLICES];
    uint64_t seen = atomic_load_explicit(word, memory_order_relaxed);

    while (!((seen ^ mg_recent_stamp(slice)) >> MG_RECENT_COUNT_BITS) && (seen & MG_RECENT_COUNT_MASK) >= n &&
           !atomic_compare_exchange_weak(word, &seen, seen - n))
        ;
}

/* Of the last `slices` up to this one, at most MG_RECENT_SLICES. */
static inline uint64_t mg_recent_sum(const mg_recent *recent, uint64_t slice, uint64_t slices)
{
    uint64_t sum = 0;

    for (int i = 0; i < MG_RECENT_SLICES; i++) {
        const uint64_t word = atomic_load_explicit(&recent->words[i], memory_order_acquire);

        if (((slice - (word >> MG_RECENT_COUNT_BITS)) & 0xffffff) < slices)
            sum += word & MG_RECENT_COUNT_MASK;
    }
    return sum;
}

#endif
