/* limiter_keep.c - what a limiter's keys owe, as records: for a new configuration, for the store and back. */
#include "policy/limiter_kinds.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"

/* What stands at a place at `now_ns`; false when nothing is owed there. */
static bool read_place(const mg_limiter *l, uint64_t place, uint64_t now_ns, mg_limiter_record *out)
{
    const limiter_state *s = l->state;
    const uint64_t slots = s->slot_count;
    mg_key_slot *slot = place < slots ? mg_key_table_at(s->table, place) : limiter_cell(s, place - slots);
    const uint64_t fingerprint = atomic_load(&slot->fingerprint);

    if (!fingerprint || !s->kind->read)
        return false;
    memset(out, 0, sizeof(*out));
    out->cell = place >= slots;
    out->place = (uint32_t)(out->cell ? place - slots : place);
    out->fingerprint = out->cell ? 0 : fingerprint;
    out->algorithm = (uint8_t)l->conf.algorithm;
    out->at_ns = now_ns;
    return s->kind->read(s, l->interval_ns, slot, fingerprint, out);
}

bool mg_limiter_record_next(const mg_limiter *limiter, size_t *cursor, uint64_t now_ns,
                            mg_limiter_record *out)
{
    while (*cursor < limiter_places(limiter->state)) {
        if (read_place(limiter, (*cursor)++, now_ns, out))
            return true;
    }
    return false;
}

/* The first marked place from `place` on, unmarked now; UINT64_MAX when there is none. */
static uint64_t take_marked(limiter_state *s, uint64_t place)
{
    while (place < limiter_places(s)) {
        const uint64_t word = place / 64, sum = place / 4096;
        const uint64_t groups = atomic_load(&s->changed_sum[sum]) >> word % 64;
        uint64_t left, found;

        if (!groups) {
            place = (sum + 1) * 4096;
            continue;
        }
        if (!(groups & 1)) {
            place = (word + (uint64_t)__builtin_ctzll(groups)) * 64;
            continue;
        }
        left = atomic_load(&s->changed[word]) >> place % 64;
        if (left) {
            found = place + (uint64_t)__builtin_ctzll(left);
            atomic_fetch_and(&s->changed[word], ~(1ull << found % 64));
            return found;
        }
        if (!atomic_load(&s->changed[word])) {
            atomic_fetch_and(&s->changed_sum[sum], ~(1ull << word % 64));
            if (atomic_load(&s->changed[word])) /* marked between the two */
                atomic_fetch_or(&s->changed_sum[sum], 1ull << word % 64);
        }
        place = (word + 1) * 64;
    }
    return UINT64_MAX;
}

bool mg_limiter_changed_next(mg_limiter *limiter, size_t *cursor, uint64_t now_ns, mg_limiter_record *out)
{
    for (;;) {
        const uint64_t place = take_marked(limiter->state, *cursor);

        if (place == UINT64_MAX) {
            *cursor = limiter_places(limiter->state);
            return false;
        }
        *cursor = place + 1;
        if (read_place(limiter, place, now_ns, out))
            return true;
    }
}

static mg_key_slot *slot_at(const limiter_state *s, const mg_limiter_record *record)
{
    if (record->cell)
        return record->place < s->cell_count ? limiter_cell(s, record->place) : NULL;
    return record->place < s->slot_count ? mg_key_table_at(s->table, record->place) : NULL;
}

void mg_limiter_mark(mg_limiter *limiter, const mg_limiter_record *record)
{
    const mg_key_slot *slot = slot_at(limiter->state, record);

    if (slot)
        limiter_changed(limiter->state, slot);
}

static bool owes(const mg_limiter *l, const mg_limiter_record *record, uint64_t now_ns)
{
    return record->idle_ns > now_ns && record->idle_ns > record->at_ns && l->kind->owe &&
           (record->cell || record->fingerprint);
}

static void write_record(const mg_limiter *l, mg_key_slot *slot, const mg_limiter_record *record,
                         uint64_t now_ns)
{
    const uint64_t fingerprint = record->cell ? record->place + 1ull : record->fingerprint;

    if (record->algorithm == l->conf.algorithm)
        l->kind->write(l, slot, fingerprint, record, now_ns);
    else
        l->kind->owe(l, slot, fingerprint, record->used, now_ns);
}

static bool restore(const mg_limiter *l, const mg_limiter_record *record, uint64_t now_ns)
{
    mg_key_slot *slot;
    uint64_t word;

    if (!owes(l, record, now_ns))
        return false;
    slot = record->cell ? slot_at(l->state, record)
                        : mg_key_table_claim(l->state->table, record->fingerprint, now_ns, &word);
    if (!slot)
        return false;
    write_record(l, slot, record, now_ns);
    limiter_changed(l->state, slot);
    return true;
}

bool mg_limiter_put_back(mg_limiter *limiter, const mg_limiter_record *record, uint64_t now_ns, bool *moved)
{
    const limiter_state *s = limiter->state;
    mg_key_slot *slot;
    uint64_t word;
    bool there;

    if (!owes(limiter, record, now_ns))
        return false;
    there = !record->cell && mg_key_table_find(s->table, record->fingerprint, &word);
    slot = record->cell ? slot_at(s, record)
                        : mg_key_table_claim_at(s->table, record->fingerprint, record->place, now_ns, &word);
    if (!slot)
        return false;
    write_record(limiter, slot, record, now_ns);
    if (!there && slot != slot_at(s, record))
        *moved = true;
    else if (!there && record->algorithm == limiter->conf.algorithm)
        return true;
    limiter_changed(s, slot);
    return true;
}

bool mg_limiter_shares(const mg_limiter *a, const mg_limiter *b)
{
    return a->state == b->state;
}

void mg_limiter_carry(const mg_limiter *to, const mg_limiter *from, uint64_t now_ns)
{
    mg_limiter_record record;
    size_t cursor = 0;

    while (mg_limiter_record_next(from, &cursor, now_ns, &record)) {
        /* Another number of cells shares them out otherwise. */
        if (!record.cell || to->state->cell_count == from->state->cell_count)
            restore(to, &record, now_ns);
    }
}

/* Who is hot: space-saving (Metwally et al. 2005) over the samples. A newcomer takes the place of the least
 * seen and inherits its count, kept as `over`, so that no key that is hot can be missed. */
struct limiter_sketch {
    _Atomic bool busy;
    uint32_t count;
    uint64_t hashes[MG_LIMITER_HOT];
    mg_limiter_hot entries[MG_LIMITER_HOT];
};

limiter_sketch *mg_limiter_sketch_new(void)
{
    return MG_NEW(limiter_sketch);
}

void mg_limiter_sketch_free(limiter_sketch *sketch)
{
    mg_free(sketch);
}

static mg_limiter_hot *entry_of(limiter_sketch *k, uint64_t hash, const char *key, size_t n)
{
    uint32_t least = 0;

    for (uint32_t i = 0; i < k->count; i++) {
        if (k->hashes[i] == hash)
            return &k->entries[i];
        if (k->entries[i].seen < k->entries[least].seen)
            least = i;
    }
    if (k->count < MG_LIMITER_HOT)
        least = k->count++;
    k->hashes[least] = hash;
    k->entries[least].over = k->entries[least].seen;
    k->entries[least].n = (uint8_t)mg_min_u64(n, MG_LIMITER_HOT_BYTES);
    memcpy(k->entries[least].key, key, k->entries[least].n);
    return &k->entries[least];
}

void mg_limiter_see(mg_limiter *limiter, const char *key, size_t n)
{
    limiter_sketch *k = limiter->state->sketch;

    if (atomic_exchange_explicit(&k->busy, true, memory_order_acquire))
        return;
    entry_of(k, mg_key_fingerprint(limiter->state->secret, key, n), key, n)->seen++;
    atomic_store_explicit(&k->busy, false, memory_order_release);
}

size_t mg_limiter_hottest(const mg_limiter *limiter, mg_limiter_hot out[MG_LIMITER_HOT])
{
    limiter_sketch *k = limiter->state->sketch;
    size_t count;

    while (atomic_exchange_explicit(&k->busy, true, memory_order_acquire))
        ; /* for one sample's time */
    count = k->count;
    memcpy(out, k->entries, sizeof(k->entries));
    atomic_store_explicit(&k->busy, false, memory_order_release);
    for (size_t i = 1; i < count; i++) {
        const mg_limiter_hot hot = out[i];
        size_t at = i;

        for (; at && out[at - 1].seen < hot.seen; at--)
            out[at] = out[at - 1];
        out[at] = hot;
    }
    return count;
}
