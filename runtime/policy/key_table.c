/* key_table.c - the lines, the claim, and how two claims for one key become one.
 *
 * Two threads may claim different slots for a key at once. A claim charges nothing: it writes the fingerprint
 * with the word `now`, reads both lines again, and only then is the slot used. The CAS being a full barrier,
 * at least one of the two sees the other; whoever sees a pair pours the higher slot into the lower. Lookups
 * read from the lowest slot up, so all agree on which that is. */
#include "policy/key_table.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"

#include <stdatomic.h>

#ifndef __GCC_HAVE_SYNC_COMPARE_AND_SWAP_16
#error "the key table wants a double-width CAS: compile with -mcx16 or its like"
#endif

enum { LINE_SLOTS = 4, CLAIM_TRIES = 16 };

_Static_assert(sizeof(mg_key_slot) == 16 && sizeof(mg_key_wide) == 32, "slots are 1 << shift bytes");

struct mg_key_table {
    char *slots; /* owned through `memory` */
    void *memory;
    uint32_t lines;      /* 1 when small */
    uint32_t line_slots; /* LINE_SLOTS, or max_keys when small */
    uint32_t shift;      /* a slot is 1 << shift bytes */
    mg_key_kind kind;
};

typedef unsigned __int128 pair128;

static pair128 pair(uint64_t fingerprint, uint64_t word)
{
    return (pair128)word << 64 | fingerprint;
}

/* True when the slot was (*fingerprint, *word) and now is the new pair; else both are what stands there. */
static bool slot_cas(mg_key_slot *slot, uint64_t *fingerprint, uint64_t *word, uint64_t new_fingerprint,
                     uint64_t new_word)
{
    const pair128 expected = pair(*fingerprint, *word);
    const pair128 seen =
        __sync_val_compare_and_swap((pair128 *)(void *)slot, expected, pair(new_fingerprint, new_word));

    *fingerprint = (uint64_t)seen;
    *word = (uint64_t)(seen >> 64);
    return seen == expected;
}

static mg_key_slot *slot_in(const mg_key_table *t, mg_key_slot *line, uint32_t i)
{
    return (mg_key_slot *)(void *)((char *)line + ((size_t)i << t->shift));
}

mg_key_slot *mg_key_table_at(const mg_key_table *table, size_t place)
{
    return (mg_key_slot *)(void *)(table->slots + (place << table->shift));
}

bool mg_key_slot_free(mg_key_slot *slot, uint64_t fingerprint, uint64_t *seen)
{
    uint64_t owner = fingerprint;

    return slot_cas(slot, &owner, seen, 0, 0);
}

/* The two lines of a key, the lower first; the same twice when there is one only. */
typedef struct lines {
    mg_key_slot *low, *high;
} lines;

static lines lines_of(const mg_key_table *t, uint64_t fingerprint)
{
    uint32_t a = (uint32_t)((fingerprint & UINT32_MAX) * t->lines >> 32);
    uint32_t b = (uint32_t)((fingerprint >> 32) * t->lines >> 32);

    if (a == b)
        b = a + 1 < t->lines ? a + 1 : 0;
    return (lines){ mg_key_table_at(t, (size_t)(a < b ? a : b) * t->line_slots),
                    mg_key_table_at(t, (size_t)(a < b ? b : a) * t->line_slots) };
}

static inline uint32_t match(const char *slot, uint64_t fingerprint, unsigned bit)
{
    const _Atomic uint64_t *owner = &((const mg_key_slot *)(const void *)slot)->fingerprint;

    return (uint32_t)(atomic_load_explicit(owner, memory_order_acquire) == fingerprint) << bit;
}

/* A bit for each of four slots that reads as the key's: which one it is, no branch could foresee. */
static inline uint32_t match_four(const mg_key_slot *line, size_t slot_bytes, uint64_t fingerprint)
{
    const char *slots = (const char *)line;

    return match(slots, fingerprint, 0) | match(slots + slot_bytes, fingerprint, 1) |
           match(slots + 2 * slot_bytes, fingerprint, 2) | match(slots + 3 * slot_bytes, fingerprint, 3);
}

/* Of slots that are one key's for a moment the one that owes more: another was claimed and is not united yet,
 * and would give the key its burst again. Of equals the later one, which is poured from until it is free. */
static mg_key_slot *better(mg_key_slot *best, mg_key_slot *slot, uint64_t fingerprint, uint64_t *word)
{
    uint64_t seen;

    if (!mg_key_slot_read(slot, fingerprint, &seen) || (best && seen < *word))
        return best;
    *word = seen;
    return slot;
}

static mg_key_slot *find_small(const mg_key_table *t, uint64_t fingerprint, uint64_t *word)
{
    mg_key_slot *best = NULL;

    for (uint32_t i = 0; i < t->line_slots; i++)
        best = better(best, mg_key_table_at(t, i), fingerprint, word);
    return best;
}

mg_key_slot *mg_key_table_find(const mg_key_table *table, uint64_t fingerprint, uint64_t *word)
{
    const size_t slot_bytes = (size_t)1 << table->shift;
    mg_key_slot *best = NULL;
    lines l;
    uint32_t bits;

    if (table->lines == 1)
        return find_small(table, fingerprint, word);
    l = lines_of(table, fingerprint);
    __builtin_prefetch(l.high);
    bits = match_four(l.low, slot_bytes, fingerprint) | match_four(l.high, slot_bytes, fingerprint)
                                                            << LINE_SLOTS;
    for (; bits; bits &= bits - 1) {
        const uint32_t at = (uint32_t)__builtin_ctz(bits);

        best = better(best, slot_in(table, at < LINE_SLOTS ? l.low : l.high, at % LINE_SLOTS), fingerprint,
                      word);
    }
    return best;
}

/* A slot of the line that may be claimed at `now_ns`: the one whose word is oldest. */
typedef struct vacancy {
    mg_key_slot *slot;
    uint64_t fingerprint, word;
    uint32_t free;
} vacancy;

static vacancy line_vacancy(const mg_key_table *t, mg_key_slot *line, uint64_t now_ns)
{
    vacancy v = { .slot = NULL };

    for (uint32_t i = 0; i < t->line_slots; i++) {
        mg_key_slot *slot = slot_in(t, line, i);
        const uint64_t fingerprint = atomic_load_explicit(&slot->fingerprint, memory_order_acquire);
        const uint64_t word = atomic_load_explicit(&slot->word, memory_order_acquire);

        if (word > now_ns)
            continue;
        v.free++;
        if (!v.slot || word < v.word) {
            v.slot = slot;
            v.fingerprint = fingerprint;
            v.word = word;
        }
    }
    return v;
}

/* Of both lines that with more room, which is what keeps the share of keys without a slot small. */
static vacancy find_vacancy(const mg_key_table *t, lines l, uint64_t now_ns)
{
    const vacancy low = line_vacancy(t, l.low, now_ns);
    const vacancy high = l.high == l.low ? low : line_vacancy(t, l.high, now_ns);

    return high.free > low.free ? high : low;
}

bool mg_key_table_has_room(const mg_key_table *table, uint64_t fingerprint, uint64_t now_ns)
{
    return find_vacancy(table, lines_of(table, fingerprint), now_ns).slot != NULL;
}

/* Adds to what the key owes in `slot`; false when the slot is not the key's any more. */
static bool owe(mg_key_slot *slot, uint64_t fingerprint, uint64_t debt_ns, uint64_t now_ns)
{
    uint64_t seen;

    if (!mg_key_slot_read(slot, fingerprint, &seen))
        return false;
    for (;;) {
        switch (mg_key_slot_change(slot, fingerprint, &seen, mg_max_u64(seen, now_ns) + debt_ns)) {
        case MG_KEY_CHANGED: return true;
        case MG_KEY_LOST: return false;
        case MG_KEY_AGAIN: break;
        }
    }
}

/* Makes one slot of two: what `from` owes goes to `into` first, then `from` is emptied, and whoever was about
 * to charge it finds it lost. */
static bool pour_debt(mg_key_slot *into, mg_key_slot *from, uint64_t fingerprint, uint64_t now_ns)
{
    uint64_t poured_ns = 0, owner = fingerprint, word;

    if (!mg_key_slot_read(from, fingerprint, &word))
        return true;
    do {
        const uint64_t debt_ns = mg_max_u64(word, now_ns) - now_ns;

        if (owner != fingerprint)
            return true;
        if (debt_ns > poured_ns) {
            if (!owe(into, fingerprint, debt_ns - poured_ns, now_ns))
                return false;
            poured_ns = debt_ns;
        }
    } while (!slot_cas(from, &owner, &word, 0, 0));
    return true;
}

static bool pour(const mg_key_table *t, mg_key_slot *into, mg_key_slot *from, uint64_t fingerprint,
                 uint64_t now_ns)
{
    return t->kind.pour ? t->kind.pour(t->kind.self, into, from, fingerprint, now_ns)
                        : pour_debt(into, from, fingerprint, now_ns);
}

/* Reads both lines again after a claim; false when the claim has to be repeated. */
static bool unite(const mg_key_table *t, lines l, uint64_t fingerprint, uint64_t now_ns)
{
    mg_key_slot *const line[2] = { l.low, l.high };
    mg_key_slot *first = NULL;
    uint64_t word;

    for (int n = 0; n < (l.high == l.low ? 1 : 2); n++) {
        for (uint32_t i = 0; i < t->line_slots; i++) {
            mg_key_slot *slot = slot_in(t, line[n], i);

            if (!mg_key_slot_read(slot, fingerprint, &word))
                continue;
            if (!first)
                first = slot;
            else if (!pour(t, first, slot, fingerprint, now_ns))
                return false;
        }
    }
    return first != NULL;
}

mg_key_slot *mg_key_table_claim(mg_key_table *table, uint64_t fingerprint, uint64_t now_ns, uint64_t *word)
{
    const lines l = lines_of(table, fingerprint);

    for (int tries = 0; tries < CLAIM_TRIES; tries++) {
        mg_key_slot *slot = mg_key_table_find(table, fingerprint, word);
        vacancy v;

        if (slot)
            return slot;
        v = find_vacancy(table, l, now_ns);
        if (!v.slot)
            return NULL;
        if (slot_cas(v.slot, &v.fingerprint, &v.word, fingerprint, now_ns))
            unite(table, l, fingerprint, now_ns);
    }
    return NULL;
}

static bool is_in(const mg_key_table *t, const mg_key_slot *line, const mg_key_slot *slot)
{
    return slot >= line && slot < slot_in(t, (mg_key_slot *)(uintptr_t)line, t->line_slots);
}

mg_key_slot *mg_key_table_claim_at(mg_key_table *table, uint64_t fingerprint, uint64_t place, uint64_t now_ns,
                                   uint64_t *word)
{
    mg_key_slot *slot = mg_key_table_find(table, fingerprint, word);
    const lines l = lines_of(table, fingerprint);
    uint64_t owner;

    if (slot || place >= mg_key_table_slots(table))
        return slot ? slot : mg_key_table_claim(table, fingerprint, now_ns, word);
    slot = mg_key_table_at(table, place);
    if (is_in(table, l.low, slot) || is_in(table, l.high, slot)) {
        owner = atomic_load_explicit(&slot->fingerprint, memory_order_acquire);
        *word = atomic_load_explicit(&slot->word, memory_order_acquire);
        if (*word <= now_ns && slot_cas(slot, &owner, word, fingerprint, now_ns))
            unite(table, l, fingerprint, now_ns);
    }
    return mg_key_table_claim(table, fingerprint, now_ns, word);
}

mg_key_change mg_key_slot_change(mg_key_slot *slot, uint64_t fingerprint, uint64_t *seen, uint64_t word)
{
    uint64_t owner = fingerprint;

    if (slot_cas(slot, &owner, seen, fingerprint, word))
        return MG_KEY_CHANGED;
    return owner == fingerprint ? MG_KEY_AGAIN : MG_KEY_LOST;
}

mg_key_slot *mg_key_table_next(const mg_key_table *table, size_t *cursor, uint64_t *fingerprint,
                               uint64_t *word)
{
    while (*cursor < mg_key_table_slots(table)) {
        mg_key_slot *slot = mg_key_table_at(table, (*cursor)++);

        *fingerprint = atomic_load_explicit(&slot->fingerprint, memory_order_acquire);
        if (*fingerprint && mg_key_slot_read(slot, *fingerprint, word))
            return slot;
    }
    return NULL;
}

size_t mg_key_table_slots(const mg_key_table *table)
{
    return (size_t)table->lines * table->line_slots;
}

static uint32_t lines_for(uint32_t max_keys)
{
    return max_keys <= MG_KEY_TABLE_SMALL ? 1 : max_keys * 2 / LINE_SLOTS;
}

static uint32_t line_slots_for(uint32_t max_keys)
{
    return max_keys <= MG_KEY_TABLE_SMALL ? max_keys : LINE_SLOTS;
}

uint64_t mg_key_table_bytes(uint32_t max_keys, bool wide)
{
    return ((uint64_t)lines_for(max_keys) * line_slots_for(max_keys)) << (wide ? 5 : 4);
}

mg_key_table *mg_key_table_new(uint32_t max_keys, const mg_key_kind *kind)
{
    mg_key_table *t = MG_NEW(mg_key_table);

    MG_CHECK(max_keys >= 1 && max_keys <= MG_KEY_TABLE_MAX);
    t->lines = lines_for(max_keys);
    t->line_slots = line_slots_for(max_keys);
    if (kind)
        t->kind = *kind;
    t->shift = t->kind.wide ? 5 : 4;
    /* calloc and not aligned_alloc: large zeroed memory is the kernel's until it is touched. */
    t->memory = mg_try_calloc(mg_key_table_slots(t) + 4, (size_t)1 << t->shift);
    if (!t->memory) {
        mg_free(t);
        return NULL;
    }
    t->slots = (char *)(((uintptr_t)t->memory + 63) & ~(uintptr_t)63);
    return t;
}

void mg_key_table_free(mg_key_table *table)
{
    if (!table)
        return;
    mg_free(table->memory);
    mg_free(table);
}

static uint64_t rotl(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

typedef struct sip {
    uint64_t a, b, c, d;
} sip;

static inline sip sip_round(sip v)
{
    v.a += v.b;
    v.c += v.d;
    v.b = rotl(v.b, 13) ^ v.a;
    v.d = rotl(v.d, 16) ^ v.c;
    v.a = rotl(v.a, 32) + v.d;
    v.c += v.b;
    v.d = rotl(v.d, 21) ^ v.a;
    v.b = rotl(v.b, 17) ^ v.c;
    v.c = rotl(v.c, 32);
    return v;
}

static inline sip sip_take(sip v, uint64_t word)
{
    v.d ^= word;
    v = sip_round(v);
    v.a ^= word;
    return v;
}

uint64_t mg_key_fingerprint(const uint64_t secret[2], const char *key, size_t n)
{
    sip v = { secret[0] ^ 0x736f6d6570736575ull, secret[1] ^ 0x646f72616e646f6dull,
              secret[0] ^ 0x6c7967656e657261ull, secret[1] ^ 0x7465646279746573ull };
    uint64_t last = (uint64_t)n << 56, word;
    size_t at = 0;

    for (; n - at >= 8; at += 8) {
        memcpy(&word, key + at, 8);
        v = sip_take(v, word);
    }
    for (size_t i = at; i < n; i++)
        last |= (uint64_t)(uint8_t)key[i] << (8 * (i - at));
    v = sip_take(v, last);
    v.c ^= 0xff;
    v = sip_round(sip_round(sip_round(v)));
    word = v.a ^ v.b ^ v.c ^ v.d;
    return word ? word : 1;
}
