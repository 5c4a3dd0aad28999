/* limiter_kinds.h - a limiter from inside: what limiter.c shares with the algorithms (limiter_bucket.c,
 * limiter_window.c, limiter_log.c, limiter_permit.c) and with what outlives it (limiter_keep.c). Nobody else
 * includes this but the bench. Any thread, as limiter.h. */
#ifndef MG_POLICY_LIMITER_KINDS_H
#define MG_POLICY_LIMITER_KINDS_H

#include "policy/key_table.h"
#include "policy/limiter.h"

typedef struct limiter_kind limiter_kind;
typedef struct limiter_log limiter_log;
typedef struct limiter_queue limiter_queue;
typedef struct limiter_sketch limiter_sketch;

/* What survives a change of the configuration. */
typedef struct limiter_state {
    _Atomic uint32_t refs;
    const limiter_kind *kind;
    uint32_t max_keys, cell_count;
    uint64_t secret[2];
    uint64_t window_ns;  /* of windows: what their numbers count */
    mg_key_table *table; /* owned */
    char *slots;         /* borrowed: its first */
    uint64_t slot_count;
    void *cell_memory; /* owned: the overflow cells, slots that are nobody's and everybody's */
    char *cells;
    limiter_log *log;     /* owned; NULL unless a sliding log */
    limiter_queue *queue; /* owned; NULL where nobody ever waits */
    /* Owned: a bit a place changed since the last flush, and a bit for each 64 of those. */
    _Atomic uint64_t *changed, *changed_sum;
    limiter_sketch *sketch; /* owned */
} limiter_state;

struct mg_limiter {
    mg_limiter_conf conf;
    const limiter_kind *kind;
    uint64_t interval_ns; /* T: one unit at the sustained rate, rounded up so that it is never exceeded */
    uint64_t burst_ns;    /* cap: how far a key may run ahead of now */
    uint64_t max_wait_ns;
    uint64_t take_wait_ns; /* what take lets wait: the queue of a leaky one */
    uint64_t window_ns;
    uint64_t most;        /* the dearest cost that can ever pass */
    limiter_state *state; /* counted */
};

typedef struct limiter_turn {
    uint64_t now_ns, wait_ns; /* wait_ns: what is due within it is granted */
    uint32_t cost;
    bool charging; /* or only looking */
} limiter_turn;

/* An algorithm. `slot` is an overflow cell as well: a slot whose fingerprint is its number + 1 for good. */
struct limiter_kind {
    bool wide;
    bool queues; /* may grant what is due later */
    /* Decides, charges where it is asked to, and fills all of `out` but via and fingerprint. `slot` NULL is a
     * key that owes nothing. MG_KEY_LOST when the slot is another key's. */
    mg_key_change (*decide)(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                            const limiter_turn *turn, mg_limiter_answer *out);
    /* Takes a charge back; with `if_last` only if nothing was charged since. */
    bool (*undo)(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, const mg_limiter_answer *taken,
                 bool if_last);
    /* Lowers what is owed to what the configuration can owe; may be NULL. */
    void (*clamp)(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, uint64_t now_ns);
    /* The members of a record from idle_ns on; false when nothing is owed. May be NULL: nothing is kept. */
    bool (*read)(const limiter_state *s, uint64_t interval_ns, mg_key_slot *slot, uint64_t fingerprint,
                 mg_limiter_record *record);
    /* Charges what a record of the same algorithm says. */
    void (*write)(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint,
                  const mg_limiter_record *record, uint64_t now_ns);
    /* Charges units that another algorithm counted. */
    void (*owe)(const mg_limiter *l, mg_key_slot *slot, uint64_t fingerprint, uint64_t units,
                uint64_t now_ns);
    bool (*pour)(void *state, mg_key_slot *into, mg_key_slot *from, uint64_t fingerprint, uint64_t now_ns);
};

extern const limiter_kind mg_limiter_token_bucket, mg_limiter_sliding_window, mg_limiter_sliding_log,
    mg_limiter_fixed_window, mg_limiter_leaky, mg_limiter_concurrency;

static inline uint64_t limiter_places(const limiter_state *s)
{
    return s->slot_count + s->cell_count;
}

static inline unsigned limiter_shift(const limiter_state *s)
{
    return s->kind->wide ? 5 : 4;
}

static inline mg_key_slot *limiter_cell(const limiter_state *s, uint64_t number)
{
    return (mg_key_slot *)(void *)(s->cells + (number << limiter_shift(s)));
}

/* Slots first, cells behind them. */
static inline uint64_t limiter_place(const limiter_state *s, const mg_key_slot *slot)
{
    const uint64_t place = ((uintptr_t)slot - (uintptr_t)s->slots) >> limiter_shift(s);

    if (place < s->slot_count)
        return place;
    return s->slot_count + (((uintptr_t)slot - (uintptr_t)s->cells) >> limiter_shift(s));
}

/* The bits of the slot's neighbourhood, on their way before they are wanted. */
static inline void limiter_may_change(const limiter_state *s, const mg_key_slot *slot)
{
    __builtin_prefetch((const void *)&s->changed[limiter_place(s, slot) / 64]);
}

/* Marks what a flush has to look at. The change comes first: who clears the bit reads what made it. */
static inline void limiter_changed(const limiter_state *s, const mg_key_slot *slot)
{
    const uint64_t place = limiter_place(s, slot), bit = 1ull << place % 64;

    if (atomic_load_explicit(&s->changed[place / 64], memory_order_relaxed) & bit)
        return;
    atomic_fetch_or(&s->changed[place / 64], bit);
    atomic_fetch_or(&s->changed_sum[place / 4096], 1ull << place / 64 % 64);
}

/* The slot's word is `until_ns` at least, and so the slot the key's until then; false when it is not now. */
static inline bool limiter_hold(mg_key_slot *slot, uint64_t fingerprint, uint64_t until_ns)
{
    uint64_t word;

    if (!mg_key_slot_read(slot, fingerprint, &word))
        return false;
    while (word < until_ns) {
        switch (mg_key_slot_change(slot, fingerprint, &word, until_ns)) {
        case MG_KEY_CHANGED: return true;
        case MG_KEY_LOST: return false;
        case MG_KEY_AGAIN: break;
        }
    }
    return true;
}

/* A refusal of what costs more than could ever pass. */
static inline bool limiter_impossible(const mg_limiter *l, const limiter_turn *turn)
{
    return turn->cost > l->most;
}

/* limiter_log.c */
/* NULL when the system does not give so much. */
limiter_log *mg_limiter_log_new(uint64_t rings, uint32_t ring_units);
void mg_limiter_log_free(limiter_log *log);
uint32_t mg_limiter_log_units(const limiter_log *log);
uint32_t mg_limiter_log_keys(const mg_limiter_conf *conf); /* as many of max_keys as there is room for */

/* limiter_queue.c */
limiter_queue *mg_limiter_queue_new(void);
void mg_limiter_queue_free(limiter_queue *queue); /* NULL is fine */
void mg_limiter_queue_lock(const limiter_state *s);
void mg_limiter_queue_unlock(const limiter_state *s);
/* A charge was granted that waits; with the lock held since before it was made. */
void mg_limiter_queue_add(const mg_limiter *l, mg_limiter_waiter *waiter, const mg_limiter_answer *granted);
/* Where the last turn of those who wait ends; 0 when nobody does. With the lock held. */
uint64_t mg_limiter_queue_end_ns(const limiter_state *s, uint64_t fingerprint, bool cell);
/* `word` without those who wait: where the first turn begins. */
uint64_t mg_limiter_queue_begin_ns(const limiter_state *s, uint64_t fingerprint, bool cell, uint64_t word);
/* Takes back a charge that was made in the same call, and moves up whoever has come to wait behind it. */
bool mg_limiter_queue_give_back(const mg_limiter *l, const mg_limiter_answer *taken);

/* limiter_keep.c */
void mg_limiter_carry(const mg_limiter *to, const mg_limiter *from, uint64_t now_ns);
limiter_sketch *mg_limiter_sketch_new(void);
void mg_limiter_sketch_free(limiter_sketch *sketch);

#endif
