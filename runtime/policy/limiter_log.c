/* limiter_log.c - a sliding log: the moment of every admitted unit that still lies in (now - window, now].
 *
 * A wide slot: the word is the moment at which the last of them leaves; `low` is a spin lock with the place
 * and length of the key's ring in one slab that is made at once and touched only where keys come to lie. A
 * turn holds the lock for a few loads and stores and never waits under it. */
#include "policy/limiter_kinds.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"

#define LOCKED     (1ull << 63)
#define SLAB_UNITS (1ull << 27) /* 1 GiB of moments */

enum { TAG_BITS = 30, TAG_MASK = (1 << TAG_BITS) - 1 };

struct limiter_log {
    uint32_t units;    /* of one ring */
    uint64_t *moments; /* owned: ring after ring, by the slots' places */
};

/* A locked ring; first..first + count - 1 modulo units, sorted. */
typedef struct ring {
    mg_key_wide *slot;
    uint64_t *moments, tag;
    uint32_t units, first, count;
} ring;

limiter_log *mg_limiter_log_new(uint64_t rings, uint32_t ring_units)
{
    limiter_log *log = MG_NEW(limiter_log);

    log->units = ring_units;
    log->moments = mg_try_calloc(rings * ring_units, sizeof(*log->moments));
    if (log->moments)
        return log;
    mg_free(log);
    return NULL;
}

void mg_limiter_log_free(limiter_log *log)
{
    if (!log)
        return;
    mg_free(log->moments);
    mg_free(log);
}

uint32_t mg_limiter_log_units(const limiter_log *log)
{
    return log->units;
}

/* 0 when the overflow cells alone take the room. */
uint32_t mg_limiter_log_keys(const mg_limiter_conf *conf)
{
    const uint64_t rings = SLAB_UNITS / conf->limit, cells = conf->overflow_cells;

    return rings > cells + 1 ? (uint32_t)mg_min_u64(conf->max_keys, (rings - cells) / 2) : 0;
}

static uint64_t tag_of(uint64_t fingerprint)
{
    return 1 + (fingerprint ^ fingerprint >> 31) % TAG_MASK;
}

static uint64_t *moment(const ring *r, uint32_t i)
{
    const uint32_t at = r->first + i;

    return &r->moments[at < r->units ? at : at - r->units];
}

static void unlock(const ring *r)
{
    atomic_store(&r->slot->low, r->tag << 32 | (uint64_t)r->first << 16 | r->count);
}

/* False when the slot is not the key's, and then it is not locked. */
static bool lock(const limiter_state *s, mg_key_slot *slot, uint64_t fingerprint, ring *r)
{
    uint64_t low;

    r->slot = (mg_key_wide *)(void *)slot;
    low = atomic_load_explicit(&r->slot->low, memory_order_relaxed);
    do {
        while (low & LOCKED)
            low = atomic_load_explicit(&r->slot->low, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak(&r->slot->low, &low, low | LOCKED));
    r->tag = low >> 32;
    r->first = low >> 16 & 0xffff;
    r->count = low & 0xffff;
    r->units = s->log->units;
    r->moments = s->log->moments + limiter_place(s, slot) * r->units;
    if (atomic_load(&slot->fingerprint) != fingerprint) {
        unlock(r);
        return false;
    }
    if (r->tag != tag_of(fingerprint))
        r->first = r->count = 0;
    r->tag = tag_of(fingerprint);
    return true;
}

/* What has left the window, by the newest moment where the caller's clock is behind it. */
static void forget(ring *r, uint64_t now_ns, uint64_t window_ns)
{
    if (r->count)
        now_ns = mg_max_u64(now_ns, *moment(r, r->count - 1));
    while (r->count && *moment(r, 0) + window_ns <= now_ns) {
        r->first = r->first + 1 < r->units ? r->first + 1 : 0;
        r->count--;
    }
}

/* Behind the newest, were the caller's clock behind it. */
static void append(ring *r, uint64_t at_ns, uint64_t units)
{
    if (r->count)
        at_ns = mg_max_u64(at_ns, *moment(r, r->count - 1));
    for (; units && r->count < r->units; units--)
        *moment(r, r->count++) = at_ns;
}

static bool judge(const mg_limiter *l, const ring *r, const limiter_turn *turn, mg_limiter_answer *out)
{
    const uint64_t limit = l->conf.limit, now_ns = turn->now_ns;
    const uint64_t free = r->count < limit ? limit - r->count : 0;
    const uint64_t newest_ns = r->count ? *moment(r, r->count - 1) : 0;
    uint64_t idle_ns;

    out->allowed = turn->cost <= free;
    out->remaining = out->allowed ? free - turn->cost : free;
    out->wait_ms = 0;
    out->length_ns = turn->cost;
    out->until_ns = mg_max_u64(newest_ns, now_ns);
    out->retry_ms = 0;
    if (limiter_impossible(l, turn))
        out->retry_ms = MG_LIMITER_NEVER;
    else if (!out->allowed) /* the last of those that have to leave first */
        out->retry_ms = (int64_t)mg_ms_ceil(*moment(r, r->count + turn->cost - (uint32_t)limit - 1) +
                                            l->window_ns - now_ns);
    idle_ns = out->allowed && turn->cost ? out->until_ns + l->window_ns
              : r->count                 ? newest_ns + l->window_ns
                                         : 0;
    out->reset_ms = idle_ns > now_ns ? mg_ms_ceil(idle_ns - now_ns) : 0;
    return out->allowed;
}

static mg_key_change decide(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                            const limiter_turn *turn, mg_limiter_answer *out)
{
    mg_key_change change = MG_KEY_CHANGED;
    ring r = { .count = 0 }, as_found;

    if (!slot) {
        judge(l, &r, turn, out);
        return MG_KEY_CHANGED;
    }
    if (!lock(l->state, slot, fingerprint, &r))
        return MG_KEY_LOST;
    as_found = r;
    forget(&r, turn->now_ns, l->window_ns);
    if (!judge(l, &r, turn, out) || !turn->cost || !turn->charging) {
        unlock(&as_found); /* who only looks may look ahead */
        return MG_KEY_CHANGED;
    }
    if (limiter_hold(slot, fingerprint, out->until_ns + l->window_ns))
        append(&r, out->until_ns, turn->cost);
    else
        change = MG_KEY_LOST;
    unlock(&r);
    return change;
}

/* The units with that moment; the last of them, were there others with it. */
static bool undo(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, const mg_limiter_answer *taken,
                 bool if_last)
{
    uint32_t end, kept;
    bool found;
    ring r;

    (void)if_last;
    if (!lock(l->state, slot, fingerprint, &r))
        return false;
    for (end = r.count; end && *moment(&r, end - 1) > taken->until_ns; end--)
        ;
    found = end >= taken->length_ns && taken->length_ns &&
            *moment(&r, end - (uint32_t)taken->length_ns) == taken->until_ns;
    if (found) {
        for (kept = end - (uint32_t)taken->length_ns; end < r.count; end++, kept++)
            *moment(&r, kept) = *moment(&r, end);
        r.count = kept;
    }
    unlock(&r);
    return found;
}

/* Moments in as many groups as a record has, each at its latest: a bit strict, never lenient. */
static bool read_moments(const limiter_state *s, uint64_t interval_ns, mg_key_slot *slot,
                         uint64_t fingerprint, mg_limiter_record *record)
{
    uint32_t each;
    ring r;

    (void)interval_ns;
    if (!lock(s, slot, fingerprint, &r))
        return false;
    forget(&r, record->at_ns, s->window_ns);
    each = (r.count + MG_LIMITER_RECORD_GROUPS - 1) / MG_LIMITER_RECORD_GROUPS;
    for (uint32_t from = 0; from < r.count; from += each) {
        const uint32_t units = r.count - from < each ? r.count - from : each;

        record->group_ns[record->groups] = *moment(&r, from + units - 1);
        record->group[record->groups++] = units;
    }
    record->used = r.count;
    record->window_ns = s->window_ns;
    if (r.count)
        record->idle_ns = *moment(&r, r.count - 1) + s->window_ns;
    unlock(&r);
    return record->used > 0;
}

static void write_moments(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                          const mg_limiter_record *record, uint64_t now_ns)
{
    uint64_t units = 0, skip;
    ring r;

    for (uint32_t i = 0; i < record->groups && i < MG_LIMITER_RECORD_GROUPS; i++)
        units += record->group[i];
    if (!lock(l->state, slot, fingerprint, &r))
        return;
    forget(&r, now_ns, l->window_ns);
    skip = units > r.units ? units - r.units : 0; /* the oldest, where the limit is lower now */
    for (uint32_t i = 0; units > r.count && i < record->groups && i < MG_LIMITER_RECORD_GROUPS; i++) {
        const uint64_t over = mg_min_u64(skip, record->group[i]);

        if (i == 0)
            r.count = 0;
        skip -= over;
        append(&r, mg_min_u64(record->group_ns[i], now_ns), record->group[i] - over);
    }
    forget(&r, now_ns, l->window_ns);
    if (r.count && !limiter_hold(slot, fingerprint, *moment(&r, r.count - 1) + l->window_ns))
        r.count = 0;
    unlock(&r);
}

static void owe(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, uint64_t units, uint64_t now_ns)
{
    ring r;

    if (!lock(l->state, slot, fingerprint, &r))
        return;
    forget(&r, now_ns, l->window_ns);
    if (limiter_hold(slot, fingerprint, now_ns + l->window_ns))
        append(&r, now_ns, mg_min_u64(units, l->conf.limit) > r.count ? units - r.count : 0);
    unlock(&r);
}

/* Both are locked, the lower first as everywhere; who waits for `from` then finds it not the key's. */
static bool pour(void *state, mg_key_slot *into, mg_key_slot *from, uint64_t fingerprint, uint64_t now_ns)
{
    const limiter_state *s = state;
    bool fine = false;
    uint64_t word;
    ring to, r;

    (void)now_ns;
    if (!lock(s, into, fingerprint, &to))
        return false;
    if (!lock(s, from, fingerprint, &r)) {
        unlock(&to);
        return true;
    }
    if (mg_key_slot_read(from, fingerprint, &word) && limiter_hold(into, fingerprint, word)) {
        for (uint32_t i = 0; i < r.count; i++)
            append(&to, *moment(&r, i), 1);
        while (mg_key_slot_read(from, fingerprint, &word) && !mg_key_slot_free(from, fingerprint, &word))
            ;
        r.count = 0;
        fine = true;
    }
    unlock(&r);
    unlock(&to);
    return fine;
}

const limiter_kind mg_limiter_sliding_log = {
    .wide = true,
    .decide = decide,
    .undo = undo,
    .read = read_moments,
    .write = write_moments,
    .owe = owe,
    .pour = pour,
};
