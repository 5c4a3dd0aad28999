/* limiter_permit.c - how many at once. A key's word is a count above all moments, so that no clock frees its
 * slot while a permit is out; with none out it is 0. */
#include "policy/limiter_kinds.h"

#include "base/time.h"

#define BASE (1ull << 63)

static uint64_t permits_in(uint64_t word)
{
    return word > BASE ? word - BASE : 0;
}

static uint64_t word_of(uint64_t permits)
{
    return permits ? BASE + permits : 0;
}

static mg_key_change decide(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                            const limiter_turn *turn, mg_limiter_answer *out)
{
    mg_key_change change = MG_KEY_AGAIN;
    uint64_t seen = 0;

    if (slot && !mg_key_slot_read(slot, fingerprint, &seen))
        return MG_KEY_LOST;
    while (change == MG_KEY_AGAIN) {
        const uint64_t out_now = permits_in(seen), limit = l->conf.limit;
        const uint64_t free = out_now < limit ? limit - out_now : 0;

        out->allowed = turn->cost <= free;
        out->remaining = out->allowed ? free - turn->cost : free;
        /* Nobody knows when a permit comes back; a second is what clients are told. */
        out->retry_ms = out->allowed ? 0 : limiter_impossible(l, turn) ? MG_LIMITER_NEVER : 1000;
        out->wait_ms = out->reset_ms = 0;
        out->until_ns = 0;
        out->length_ns = turn->cost;
        if (!out->allowed || !turn->cost || !turn->charging)
            return MG_KEY_CHANGED;
        change = mg_key_slot_change(slot, fingerprint, &seen, word_of(out_now + turn->cost));
    }
    return change;
}

static bool undo(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, const mg_limiter_answer *taken,
                 bool if_last)
{
    uint64_t seen;

    (void)l;
    (void)if_last;
    if (!mg_key_slot_read(slot, fingerprint, &seen))
        return false;
    while (permits_in(seen) >= taken->length_ns) {
        const uint64_t left = permits_in(seen) - taken->length_ns;

        switch (mg_key_slot_change(slot, fingerprint, &seen, word_of(left))) {
        case MG_KEY_CHANGED: return true;
        case MG_KEY_LOST: return false;
        case MG_KEY_AGAIN: break;
        }
    }
    return false;
}

/* Counts go over first; a permit taken or returned on the way changes the word, and the difference follows.
 */
static bool pour(void *state, mg_key_slot *into, mg_key_slot *from, uint64_t fingerprint, uint64_t now_ns)
{
    uint64_t poured = 0, word, seen;

    (void)state;
    (void)now_ns;
    if (!mg_key_slot_read(from, fingerprint, &word))
        return true;
    do {
        const uint64_t permits = permits_in(word);
        mg_key_change change = MG_KEY_AGAIN;

        if (!mg_key_slot_read(into, fingerprint, &seen))
            return false;
        while (change == MG_KEY_AGAIN && permits != poured)
            change =
                mg_key_slot_change(into, fingerprint, &seen, word_of(permits_in(seen) + permits - poured));
        if (change == MG_KEY_LOST)
            return false;
        poured = permits;
        if (mg_key_slot_free(from, fingerprint, &word))
            return true;
    } while (mg_key_slot_read(from, fingerprint, &word));
    return true;
}

const limiter_kind mg_limiter_concurrency = { .decide = decide, .undo = undo, .pour = pour };
