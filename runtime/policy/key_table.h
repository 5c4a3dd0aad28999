/* key_table.h - one word a key for very many keys, in memory that never grows (POLICIES 4, "Key table").
 *
 * A key is a keyed 64-bit fingerprint. It lives in one of two candidate lines of four slots, 16 bytes each,
 * and a slot changes by one double-width CAS. The word is a moment: a slot whose word is not after now holds
 * no information and may be claimed by any key. With max_keys <= 8 there is one line of exactly that many
 * slots. Any thread may call. */
#ifndef MG_POLICY_KEY_TABLE_H
#define MG_POLICY_KEY_TABLE_H

#include "base/str.h"

enum { MG_KEY_TABLE_SMALL = 8, MG_KEY_TABLE_MAX = 1 << 26 };

typedef struct mg_key_table mg_key_table;

typedef struct mg_key_slot {
    _Alignas(16) _Atomic uint64_t fingerprint; /* 0 = never used */
    _Atomic uint64_t word;
} mg_key_slot;

/* max_keys is 1..MG_KEY_TABLE_MAX; memory is 32 bytes a key, and is touched only where keys come to lie. */
mg_key_table *mg_key_table_new(uint32_t max_keys);
void mg_key_table_free(mg_key_table *table); /* NULL is fine */

/* SipHash-2-4 (Aumasson and Bernstein 2012) of the key; never 0. */
uint64_t mg_key_fingerprint(const uint64_t secret[2], const char *key, size_t n);

/* The key's slot and its word, or NULL when it has none. */
mg_key_slot *mg_key_table_find(const mg_key_table *table, uint64_t fingerprint, uint64_t *word);
/* The key's slot, made if there is none, with the word `now_ns`; NULL when no slot is free at `now_ns`.
 * Whatever another thread claimed for the same key at the same time has become one with it. */
mg_key_slot *mg_key_table_claim(mg_key_table *table, uint64_t fingerprint, uint64_t now_ns, uint64_t *word);
/* Whether claim would find a slot. */
bool mg_key_table_has_room(const mg_key_table *table, uint64_t fingerprint, uint64_t now_ns);

typedef enum mg_key_change {
    MG_KEY_CHANGED,
    MG_KEY_AGAIN, /* *seen now is the word that stands there */
    MG_KEY_LOST,  /* the slot belongs to another key: find again */
} mg_key_change;

/* Sets the word to `word` if it is still *seen and the slot still the key's. */
mg_key_change mg_key_slot_change(mg_key_slot *slot, uint64_t fingerprint, uint64_t *seen, uint64_t word);

/* Walks the slots ever used: start with *cursor = 0; NULL at the end. Others may change the table meanwhile.
 */
mg_key_slot *mg_key_table_next(const mg_key_table *table, size_t *cursor, uint64_t *fingerprint,
                               uint64_t *word);
size_t mg_key_table_slots(const mg_key_table *table);

#endif
