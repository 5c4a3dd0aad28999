/* limiter_window.c - counters of aligned windows, fixed and sliding (the estimate is Cloudflare's: the last
 * window counts by the share of it that still lies within one length of now).
 *
 * A wide slot: the word is the moment from which the counters say nothing; `low` holds them, last window's
 * and this one's, `high` the window's number and a tag of the key. Both halves change by one CAS. The word is
 * raised before anything is charged, so a slot that counts cannot be claimed. Whoever charges reads the
 * counters first and then sees that the slot is its key's: counters with another tag are an earlier owner's,
 * and stand for none. */
#include "policy/limiter_kinds.h"

#include "base/time.h"
#include "policy/restore.h"

enum { TAG_BITS = 20, TAG_MASK = (1 << TAG_BITS) - 1 };

/* What a slot reads while its counters are poured into another one: charge that one. */
#define SEALED UINT64_MAX

typedef struct counters {
    uint64_t number, prev, cur;
} counters;

static mg_key_wide *wide(mg_key_slot *slot)
{
    return (mg_key_wide *)(void *)slot;
}

/* 1..TAG_MASK; 0 is nobody's. */
static uint64_t tag_of(uint64_t fingerprint)
{
    return 1 + (fingerprint ^ fingerprint >> 29) % TAG_MASK;
}

static bool counters_cas(mg_key_slot *slot, uint64_t low, uint64_t high, uint64_t new_low, uint64_t new_high)
{
    unsigned __int128 *pair = (unsigned __int128 *)(void *)&wide(slot)->low;

    return __sync_bool_compare_and_swap(pair, (unsigned __int128)high << 64 | low,
                                        (unsigned __int128)new_high << 64 | new_low);
}

/* The counters as they stand, and their halves for the CAS; false when the slot is not the key's. */
static bool counters_read(mg_key_slot *slot, uint64_t fingerprint, uint64_t *low, uint64_t *high, counters *c)
{
    uint64_t again = atomic_load_explicit(&wide(slot)->low, memory_order_acquire);

    do {
        *low = again;
        *high = atomic_load_explicit(&wide(slot)->high, memory_order_acquire);
        again = atomic_load_explicit(&wide(slot)->low, memory_order_acquire);
    } while (again != *low);
    if (atomic_load_explicit(&slot->fingerprint, memory_order_acquire) != fingerprint ||
        (*low == SEALED && *high == SEALED))
        return false;
    *c = (counters){ 0 };
    if ((*high & TAG_MASK) == tag_of(fingerprint))
        *c = (counters){ *high >> TAG_BITS, *low >> 32, *low & UINT32_MAX };
    return true;
}

static bool counters_write(mg_key_slot *slot, uint64_t fingerprint, uint64_t low, uint64_t high, counters c)
{
    return counters_cas(slot, low, high, c.prev << 32 | c.cur, c.number << TAG_BITS | tag_of(fingerprint));
}

/* Where the window stands at `now_ns`: the stored one stays where the caller's clock is behind it. */
static counters shifted(counters c, uint64_t number, bool sliding)
{
    if (c.number >= number)
        return c;
    return (counters){ number, sliding && c.number + 1 == number ? c.cur : 0, 0 };
}

/* ceil(count * part / whole), or floor. */
static uint64_t share(uint64_t count, uint64_t part, uint64_t whole, bool up)
{
    const unsigned __int128 product = (unsigned __int128)count * part + (up ? whole - 1 : 0);

    return (uint64_t)(product / whole);
}

/* How far into a window the units of the one before have sunk to `room`. */
static uint64_t sunk_ns(const mg_limiter *l, uint64_t before, uint64_t room)
{
    return before <= room ? 0 : l->window_ns - share(l->window_ns, room, before, false);
}

/* The first moment at which the refused cost would pass if nothing else came. */
static uint64_t passes_at(const mg_limiter *l, counters c, uint32_t cost)
{
    const uint64_t start_ns = c.number * l->window_ns, limit = l->conf.limit;

    if (c.cur + cost <= limit)
        return start_ns + sunk_ns(l, c.prev, limit - c.cur - cost);
    if (l->kind == &mg_limiter_fixed_window)
        return start_ns + l->window_ns;
    return start_ns + l->window_ns + sunk_ns(l, c.cur, limit - cost);
}

/* When the counters say nothing any more. */
static uint64_t idle_at(counters c, uint64_t window_ns, bool sliding)
{
    if (c.cur)
        return (c.number + (sliding ? 2 : 1)) * window_ns;
    return c.prev ? (c.number + 1) * window_ns : 0;
}

static uint64_t remaining(const mg_limiter *l, counters c, uint64_t at_ns)
{
    const uint64_t left_ns = (c.number + 1) * l->window_ns - at_ns;
    const uint64_t counted = c.cur + share(c.prev, left_ns, l->window_ns, true);

    return counted < l->conf.limit ? l->conf.limit - counted : 0;
}

static bool judge(const mg_limiter *l, counters *c, const limiter_turn *turn, mg_limiter_answer *out)
{
    const uint64_t at_ns = mg_max_u64(turn->now_ns, c->number * l->window_ns);
    uint64_t idle_ns;

    out->remaining = remaining(l, *c, at_ns);
    out->allowed = turn->cost <= out->remaining;
    out->wait_ms = 0;
    out->length_ns = turn->cost;
    out->until_ns = c->number;
    out->retry_ms = 0;
    if (out->allowed) {
        out->remaining -= turn->cost;
        c->cur += turn->cost;
    } else {
        out->retry_ms = limiter_impossible(l, turn)
                            ? MG_LIMITER_NEVER
                            : (int64_t)mg_ms_ceil(passes_at(l, *c, turn->cost) - turn->now_ns);
    }
    idle_ns = idle_at(*c, l->window_ns, l->kind == &mg_limiter_sliding_window);
    out->reset_ms = idle_ns > turn->now_ns ? mg_ms_ceil(idle_ns - turn->now_ns) : 0;
    return out->allowed;
}

static mg_key_change decide(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                            const limiter_turn *turn, mg_limiter_answer *out)
{
    const bool sliding = l->kind == &mg_limiter_sliding_window;

    for (;;) {
        uint64_t low = 0, high = 0;
        counters c = { 0 };

        if (slot && !counters_read(slot, fingerprint, &low, &high, &c))
            return MG_KEY_LOST;
        c = shifted(c, turn->now_ns / l->window_ns, sliding);
        if (!judge(l, &c, turn, out) || !turn->cost || !turn->charging)
            return MG_KEY_CHANGED;
        if (!limiter_hold(slot, fingerprint, idle_at(c, l->window_ns, sliding)))
            return MG_KEY_LOST;
        if (counters_write(slot, fingerprint, low, high, c))
            return MG_KEY_CHANGED;
    }
}

/* Units come back from the window that counted them, whoever charged since; a window that is gone is gone. */
static bool undo(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, const mg_limiter_answer *taken,
                 bool if_last)
{
    uint64_t low, high, *units;
    counters c;

    (void)l;
    (void)if_last;
    do {
        if (!counters_read(slot, fingerprint, &low, &high, &c))
            return false;
        units = c.number == taken->until_ns ? &c.cur : &c.prev;
        if (c.number - taken->until_ns > 1 || *units < taken->length_ns)
            return false;
        *units -= taken->length_ns;
    } while (!counters_write(slot, fingerprint, low, high, c));
    return true;
}

static void clamp(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, uint64_t now_ns)
{
    uint64_t low, high;
    counters c;

    (void)now_ns;
    do {
        if (!counters_read(slot, fingerprint, &low, &high, &c) ||
            (c.prev <= l->conf.limit && c.cur <= l->conf.limit))
            return;
        c.prev = mg_min_u64(c.prev, l->conf.limit);
        c.cur = mg_min_u64(c.cur, l->conf.limit);
    } while (!counters_write(slot, fingerprint, low, high, c));
}

static bool read_counters(const limiter_state *s, uint64_t interval_ns, mg_key_slot *slot,
                          uint64_t fingerprint, mg_limiter_record *record)
{
    const bool sliding = s->kind == &mg_limiter_sliding_window;
    uint64_t low, high, at_ns;
    counters c;

    (void)interval_ns;
    if (!counters_read(slot, fingerprint, &low, &high, &c))
        return false;
    c = shifted(c, record->at_ns / s->window_ns, sliding);
    at_ns = mg_max_u64(record->at_ns, c.number * s->window_ns);
    record->window_ns = s->window_ns;
    record->age_ns = at_ns - c.number * s->window_ns;
    record->prev = c.prev;
    record->cur = c.cur;
    record->used = c.cur + share(c.prev, s->window_ns - record->age_ns, s->window_ns, true);
    record->idle_ns = idle_at(c, s->window_ns, sliding);
    return record->idle_ns > record->at_ns;
}

/* Counts at least these. */
static void count(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, counters with,
                  uint64_t now_ns)
{
    const bool sliding = l->kind == &mg_limiter_sliding_window;
    uint64_t low, high;
    counters c;

    do {
        if (!counters_read(slot, fingerprint, &low, &high, &c))
            return;
        c = shifted(c, now_ns / l->window_ns, sliding);
        if (sliding)
            c.prev = mg_max_u64(c.prev, mg_min_u64(with.prev, l->conf.limit));
        c.cur = mg_max_u64(c.cur, mg_min_u64(with.cur, l->conf.limit));
        if (!limiter_hold(slot, fingerprint, idle_at(c, l->window_ns, sliding)))
            return;
    } while (!counters_write(slot, fingerprint, low, high, c));
}

static void owe(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, uint64_t units, uint64_t now_ns)
{
    count(l, slot, fingerprint, (counters){ .cur = units }, now_ns);
}

static void write_counters(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                           const mg_limiter_record *record, uint64_t now_ns)
{
    counters c = { 0, record->prev, record->cur };
    uint64_t age_ns = record->age_ns;

    if (record->window_ns != l->window_ns) {
        owe(l, slot, fingerprint, record->used, now_ns);
        return;
    }
    mg_restore_window(&age_ns, &c.prev, &c.cur, l->window_ns,
                      mg_max_u64(now_ns, record->at_ns) - record->at_ns);
    count(l, slot, fingerprint, c, now_ns);
}

/* Adds to the counters of `into`, which is the key's. */
static bool add_counters(mg_key_slot *into, uint64_t fingerprint, counters more)
{
    uint64_t low, high;
    counters c;

    do {
        if (!counters_read(into, fingerprint, &low, &high, &c))
            return false;
        if (c.number < more.number)
            c = (counters){ more.number, 0, 0 };
        if (c.number == more.number) {
            c.prev += more.prev;
            c.cur += more.cur;
        }
    } while (!counters_write(into, fingerprint, low, high, c));
    return true;
}

/* The counters go over first, and what comes on top of them meanwhile; then `from` is sealed, so that who was
 * about to charge it looks again, then freed. */
static bool pour(void *state, mg_key_slot *into, mg_key_slot *from, uint64_t fingerprint, uint64_t now_ns)
{
    counters poured = { 0 }, c;
    uint64_t low, high, word;

    (void)state;
    (void)now_ns;
    do {
        counters more;

        if (!counters_read(from, fingerprint, &low, &high, &c))
            return true;
        more = c;
        if (c.number == poured.number) {
            more.prev -= mg_min_u64(poured.prev, more.prev);
            more.cur -= mg_min_u64(poured.cur, more.cur);
        }
        if (!mg_key_slot_read(from, fingerprint, &word) || !limiter_hold(into, fingerprint, word) ||
            !add_counters(into, fingerprint, more))
            return false;
        poured = c;
    } while (!counters_cas(from, low, high, SEALED, SEALED));
    while (mg_key_slot_read(from, fingerprint, &word) && !mg_key_slot_free(from, fingerprint, &word))
        ;
    /* What stood here before does not come back: who read it while the slot was the key's must not write. */
    counters_cas(from, SEALED, SEALED, 0, (c.number + 1) << TAG_BITS | tag_of(fingerprint));
    return true;
}

const limiter_kind mg_limiter_sliding_window = {
    .wide = true,
    .decide = decide,
    .undo = undo,
    .clamp = clamp,
    .read = read_counters,
    .write = write_counters,
    .owe = owe,
    .pour = pour,
};

const limiter_kind mg_limiter_fixed_window = {
    .wide = true,
    .decide = decide,
    .undo = undo,
    .clamp = clamp,
    .read = read_counters,
    .write = write_counters,
    .owe = owe,
    .pour = pour,
};
