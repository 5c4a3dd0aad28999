/* key_table.h - one word a key for very many keys, in memory that never grows (docs/policies.md 4, "Key
 * table").
 *
 * A key is a keyed 64-bit fingerprint. It lives in one of two candidate lines of four slots, 16 bytes each,
 * and a slot changes by one double-width CAS. The word is a moment: a slot whose word is not after now holds
 * no information and may be claimed by any key. A wide slot has 16 bytes more, which change by a CAS of their
 * own. With max_keys <= 8 there is one line of exactly that many slots. Any thread may call. */
#ifndef MG_POLICY_KEY_TABLE_H
#define MG_POLICY_KEY_TABLE_H

#include "base/str.h"

#include <stdatomic.h>

enum { MG_KEY_TABLE_SMALL = 8, MG_KEY_TABLE_MAX = 1 << 26 };

typedef struct mg_key_table mg_key_table;

typedef struct mg_key_slot {
    _Alignas(16) _Atomic uint64_t fingerprint; /* 0 = never used */
    _Atomic uint64_t word;
} mg_key_slot;

typedef struct mg_key_wide {
    mg_key_slot key; /* first: a wide slot is handed round as this */
    _Alignas(16) _Atomic uint64_t low;
    _Atomic uint64_t high;
} mg_key_wide;

/* What lies in the slots of a table. */
typedef struct mg_key_kind {
    bool wide;
    /* Two slots turned out to be one key's: brings all that `from` holds to `into`, then frees `from`, so
     * that no charge on the way to it gets lost. False when `into` is the key's no longer. NULL: words are
     * debts in time, and add up. */
    bool (*pour)(void *self, mg_key_slot *into, mg_key_slot *from, uint64_t fingerprint, uint64_t now_ns);
    void *self; /* borrowed: pour's */
} mg_key_kind;

/* max_keys is 1..MG_KEY_TABLE_MAX; memory is 32 bytes a key, 64 where slots are wide, and is touched only
 * where keys come to lie. `kind` NULL: narrow, of debts. */
/* NULL when the system does not give so much. */
mg_key_table *mg_key_table_new(uint32_t max_keys, const mg_key_kind *kind);
void mg_key_table_free(mg_key_table *table); /* NULL is fine */
uint64_t mg_key_table_bytes(uint32_t max_keys, bool wide);

/* SipHash-1-3 of the key, never 0: the shorter form of Aumasson and Bernstein's (2012), for what no attacker
 * ever sees the value of. Who does not know the secret finds no keys that meet; more it need not do. */
uint64_t mg_key_fingerprint(const uint64_t secret[2], const char *key, size_t n);

/* The key's slot and its word, or NULL when it has none. */
mg_key_slot *mg_key_table_find(const mg_key_table *table, uint64_t fingerprint, uint64_t *word);
/* The key's slot, made if there is none, with the word `now_ns`; NULL when no slot is free at `now_ns`.
 * Whatever another thread claimed for the same key at the same time has become one with it. */
mg_key_slot *mg_key_table_claim(mg_key_table *table, uint64_t fingerprint, uint64_t now_ns, uint64_t *word);
/* The same, in the slot of that number where it is free and one of the key's: so that a table which is made
 * again comes to be as it was. */
mg_key_slot *mg_key_table_claim_at(mg_key_table *table, uint64_t fingerprint, uint64_t place, uint64_t now_ns,
                                   uint64_t *word);
/* Whether claim would find a slot. */
bool mg_key_table_has_room(const mg_key_table *table, uint64_t fingerprint, uint64_t now_ns);

typedef enum mg_key_change {
    MG_KEY_CHANGED,
    MG_KEY_AGAIN, /* *seen now is the word that stands there */
    MG_KEY_LOST,  /* the slot belongs to another key: find again */
} mg_key_change;

/* The word of a slot that still is the key's. The fingerprint is read again behind it: the halves are two
 * loads. */
static inline bool mg_key_slot_read(const mg_key_slot *slot, uint64_t fingerprint, uint64_t *word)
{
    if (atomic_load_explicit(&slot->fingerprint, memory_order_acquire) != fingerprint)
        return false;
    *word = atomic_load_explicit(&slot->word, memory_order_acquire);
    return atomic_load_explicit(&slot->fingerprint, memory_order_relaxed) == fingerprint;
}

/* Gives the slot up: true when it was the key's with that word, else *seen and the owner have changed. */
bool mg_key_slot_free(mg_key_slot *slot, uint64_t fingerprint, uint64_t *seen);
/* Sets the word to `word` if it is still *seen and the slot still the key's. */
mg_key_change mg_key_slot_change(mg_key_slot *slot, uint64_t fingerprint, uint64_t *seen, uint64_t word);

/* Walks the slots ever used: start with *cursor = 0; NULL at the end. Others may change the table meanwhile.
 */
mg_key_slot *mg_key_table_next(const mg_key_table *table, size_t *cursor, uint64_t *fingerprint,
                               uint64_t *word);
size_t mg_key_table_slots(const mg_key_table *table);
/* The slot of that number, 0..slots-1; they lie one behind the other. */
mg_key_slot *mg_key_table_at(const mg_key_table *table, size_t place);

#endif
