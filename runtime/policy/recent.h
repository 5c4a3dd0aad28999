/* recent.h - counts of the last so many slices of time, added to and summed up by any thread without a lock.
 * The slice a count belongs to stands in its word, so that nobody has to empty it. */
#ifndef MG_POLICY_RECENT_H
#define MG_POLICY_RECENT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum { MG_RECENT_SLICES = 12, MG_RECENT_COUNT_BITS = 40 };

#define MG_RECENT_COUNT_MASK ((1ull << MG_RECENT_COUNT_BITS) - 1)

typedef struct mg_recent {
    /* The slice's number modulo 2^24, and how many. */
    _Atomic uint64_t words[MG_RECENT_SLICES];
    _Atomic uint64_t past; /* how many in the slices before that number: they seldom change */
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

/* The slice's word, to be handed to mg_recent_add_one. */
static inline uint64_t mg_recent_look(const mg_recent *recent, uint64_t slice)
{
    return atomic_load(&recent->words[slice % MG_RECENT_SLICES]);
}

/* Adds one if nobody has added to the slice since it was `seen`; else false. */
static inline bool mg_recent_add_one(mg_recent *recent, uint64_t slice, uint64_t seen)
{
    const bool mine = !((seen ^ mg_recent_stamp(slice)) >> MG_RECENT_COUNT_BITS);

    return atomic_compare_exchange_strong(&recent->words[slice % MG_RECENT_SLICES], &seen,
                                          (mine ? seen : mg_recent_stamp(slice)) + 1);
}

static inline bool mg_recent_is_of(uint64_t word, uint64_t slice)
{
    return !((word ^ mg_recent_stamp(slice)) >> MG_RECENT_COUNT_BITS);
}

/* Counts the slices before this one, for whoever asks while this one lasts. */
static inline uint64_t mg_recent_count_past(mg_recent *recent, uint64_t slice, uint64_t slices)
{
    uint64_t sum = 0;

    for (int i = 0; i < MG_RECENT_SLICES; i++) {
        const uint64_t word = atomic_load_explicit(&recent->words[i], memory_order_acquire);
        const uint64_t ago = (slice - (word >> MG_RECENT_COUNT_BITS)) & 0xffffff;

        if (ago && ago < slices)
            sum += word & MG_RECENT_COUNT_MASK;
    }
    atomic_store_explicit(&recent->past, mg_recent_stamp(slice) | sum, memory_order_relaxed);
    return sum;
}

/* Of the last `slices` up to this one, at most MG_RECENT_SLICES and always as many for one mg_recent. What
 * comes to a slice that is over may be missed until this one is, too. */
static inline uint64_t mg_recent_sum(mg_recent *recent, uint64_t slice, uint64_t slices)
{
    const uint64_t past = atomic_load_explicit(&recent->past, memory_order_relaxed);
    const uint64_t word =
        atomic_load_explicit(&recent->words[slice % MG_RECENT_SLICES], memory_order_acquire);
    const uint64_t before = mg_recent_is_of(past, slice) ? past & MG_RECENT_COUNT_MASK
                                                         : mg_recent_count_past(recent, slice, slices);

    return before + (mg_recent_is_of(word, slice) ? word & MG_RECENT_COUNT_MASK : 0);
}

#endif
