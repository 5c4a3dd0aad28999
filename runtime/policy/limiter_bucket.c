/* limiter_bucket.c - token buckets as virtual scheduling (GCRA: ITU-T I.371, annex A), and leaky buckets,
 * which are the same queue seen from its head. A key's word is a moment: that at which its bucket is full
 * again, or that at which its next request may go. No timer, and a refusal knows how long it will last. The
 * word never moves backwards, however old the caller's `now` is. */
#include "policy/limiter_kinds.h"

#include "base/time.h"
#include "policy/restore.h"

typedef bool verdict(const mg_limiter *l, uint64_t word_ns, const limiter_turn *turn, mg_limiter_answer *out);

static bool decide_token(const mg_limiter *l, uint64_t tat_ns, const limiter_turn *turn,
                         mg_limiter_answer *out)
{
    const bool possible = !limiter_impossible(l, turn);
    const uint64_t now_ns = turn->now_ns, base_ns = mg_max_u64(tat_ns, now_ns);
    const uint64_t length_ns = possible ? turn->cost * l->interval_ns : 0;
    const uint64_t ahead_ns = base_ns + length_ns - now_ns;
    const uint64_t over_ns = ahead_ns > l->burst_ns ? ahead_ns - l->burst_ns : 0;
    uint64_t owed_ns;

    out->allowed = possible && over_ns <= turn->wait_ns;
    out->retry_ms = out->allowed ? 0 : possible ? (int64_t)mg_ms_ceil(over_ns) : MG_LIMITER_NEVER;
    out->wait_ms = out->allowed ? mg_ms_ceil(over_ns) : 0;
    out->length_ns = length_ns;
    out->until_ns = out->allowed && turn->cost ? base_ns + length_ns : tat_ns;
    owed_ns = mg_max_u64(out->until_ns, now_ns) - now_ns;
    out->remaining = owed_ns < l->burst_ns ? (l->burst_ns - owed_ns) / l->interval_ns : 0;
    out->reset_ms = mg_ms_ceil(owed_ns);
    return out->allowed;
}

/* The head of the queue goes at once, whatever its cost: that only spaces who comes behind it. */
static bool decide_leaky(const mg_limiter *l, uint64_t next_ns, const limiter_turn *turn,
                         mg_limiter_answer *out)
{
    const bool possible = !limiter_impossible(l, turn);
    const uint64_t now_ns = turn->now_ns, at_ns = mg_max_u64(next_ns, now_ns);
    const uint64_t wait_ns = at_ns - now_ns, length_ns = possible ? turn->cost * l->interval_ns : 0;
    uint64_t owed_ns;

    out->allowed = possible && wait_ns <= turn->wait_ns;
    out->retry_ms = out->allowed ? 0
                    : possible   ? (int64_t)mg_ms_ceil(wait_ns - turn->wait_ns)
                                 : MG_LIMITER_NEVER;
    out->wait_ms = out->allowed ? mg_ms_ceil(wait_ns) : 0;
    out->length_ns = length_ns;
    out->until_ns = out->allowed && turn->cost ? at_ns + length_ns : next_ns;
    owed_ns = mg_max_u64(out->until_ns, now_ns) - now_ns;
    out->remaining = owed_ns > l->max_wait_ns
                         ? 0
                         : mg_min_u64((l->max_wait_ns - owed_ns) / l->interval_ns + 1, l->conf.limit);
    out->reset_ms = mg_ms_ceil(owed_ns);
    return out->allowed;
}

static inline mg_key_change decide(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                                   const limiter_turn *turn, mg_limiter_answer *out, verdict *say)
{
    mg_key_change change = MG_KEY_AGAIN;
    uint64_t seen_ns = 0;

    if (slot && !mg_key_slot_read(slot, fingerprint, &seen_ns))
        return MG_KEY_LOST;
    while (change == MG_KEY_AGAIN) {
        if (!say(l, seen_ns, turn, out) || !turn->cost || !turn->charging)
            return MG_KEY_CHANGED;
        change = mg_key_slot_change(slot, fingerprint, &seen_ns, out->until_ns);
    }
    return change;
}

static mg_key_change token_decide(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                                  const limiter_turn *turn, mg_limiter_answer *out)
{
    return decide(l, slot, fingerprint, turn, out, decide_token);
}

static mg_key_change leaky_decide(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                                  const limiter_turn *turn, mg_limiter_answer *out)
{
    return decide(l, slot, fingerprint, turn, out, decide_leaky);
}

static bool undo(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, const mg_limiter_answer *taken,
                 bool if_last)
{
    uint64_t seen_ns;

    (void)l;
    if (!mg_key_slot_read(slot, fingerprint, &seen_ns))
        return false;
    while (seen_ns >= taken->length_ns && (!if_last || seen_ns == taken->until_ns)) {
        switch (mg_key_slot_change(slot, fingerprint, &seen_ns, seen_ns - taken->length_ns)) {
        case MG_KEY_CHANGED: return true;
        case MG_KEY_LOST: return false;
        case MG_KEY_AGAIN: break;
        }
    }
    return false;
}

static void lower(mg_key_slot *slot, uint64_t fingerprint, uint64_t latest_ns)
{
    uint64_t word;

    if (!mg_key_slot_read(slot, fingerprint, &word))
        return;
    while (word > latest_ns && mg_key_slot_change(slot, fingerprint, &word, latest_ns) == MG_KEY_AGAIN)
        ;
}

/* How far ahead of now a word may stand. */
static uint64_t reach_ns(const mg_limiter *l)
{
    const uint64_t length_ns = l->kind == &mg_limiter_leaky ? l->conf.limit * l->interval_ns : l->burst_ns;

    return length_ns + l->max_wait_ns;
}

static bool is_cell(const limiter_state *s, const mg_key_slot *slot)
{
    return limiter_place(s, slot) >= s->slot_count;
}

/* Those who wait keep their turns, so the word stays behind the last of them. */
static void clamp(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, uint64_t now_ns)
{
    const uint64_t latest_ns = mg_add_sat(now_ns, reach_ns(l));
    uint64_t word;

    if (!mg_key_slot_read(slot, fingerprint, &word) || word <= latest_ns)
        return;
    mg_limiter_queue_lock(l->state);
    lower(slot, fingerprint,
          mg_max_u64(latest_ns, mg_limiter_queue_end_ns(l->state, fingerprint, is_cell(l->state, slot))));
    mg_limiter_queue_unlock(l->state);
}

/* Who waits does not live to see a restart, and has not gone yet: its charge is not kept. */
static bool read_word(const limiter_state *s, uint64_t interval_ns, mg_key_slot *slot, uint64_t fingerprint,
                      mg_limiter_record *record)
{
    uint64_t word;

    if (!mg_key_slot_read(slot, fingerprint, &word))
        return false;
    record->idle_ns = mg_limiter_queue_begin_ns(s, fingerprint, is_cell(s, slot), word);
    if (record->idle_ns <= record->at_ns)
        return false;
    record->used = (record->idle_ns - record->at_ns + interval_ns - 1) / interval_ns;
    return true;
}

static void write_word(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                       const mg_limiter_record *record, uint64_t now_ns)
{
    const uint64_t debt_ns = mg_restore_bucket(record->idle_ns - record->at_ns, reach_ns(l),
                                               mg_max_u64(now_ns, record->at_ns) - record->at_ns);

    limiter_hold(slot, fingerprint, now_ns + debt_ns);
}

static void owe(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, uint64_t units, uint64_t now_ns)
{
    limiter_hold(slot, fingerprint, now_ns + mg_min_u64(units, l->most) * l->interval_ns);
}

const limiter_kind mg_limiter_token_bucket = {
    .queues = true,
    .decide = token_decide,
    .undo = undo,
    .clamp = clamp,
    .read = read_word,
    .write = write_word,
    .owe = owe,
};

const limiter_kind mg_limiter_leaky = {
    .queues = true,
    .decide = leaky_decide,
    .undo = undo,
    .clamp = clamp,
    .read = read_word,
    .write = write_word,
    .owe = owe,
};
