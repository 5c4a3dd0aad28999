/* limiter.h - how fast one key may go on (docs/policies.md 4). A slot a key in a table that all workers share
 * and change by CAS; nothing here allocates or waits after mg_limiter_new. A sliding log spins on the word of
 * one key; a charge that has to wait for its turn, and one that is given back, take the lock of the rule for
 * as long as it takes to walk its waiters; nothing else locks. Any thread may call. */
#ifndef MG_POLICY_LIMITER_H
#define MG_POLICY_LIMITER_H

#include "base/err.h"
#include "base/list.h"
#include "base/words.h"

#include <stdatomic.h>

typedef struct mg_limiter mg_limiter;

/* Stored: a number never changes its meaning. */
#define MG_LIMITER_ALGORITHMS(X)                                                                             \
    X(MG_LIMITER_TOKEN_BUCKET, 0, "token_bucket")                                                            \
    X(MG_LIMITER_SLIDING_WINDOW, 1,                                                                          \
      "sliding_window")                           /* this window's units and a share of the last one's */    \
    X(MG_LIMITER_SLIDING_LOG, 2, "sliding_log")   /* every unit's moment: exact, 8 bytes a unit */           \
    X(MG_LIMITER_FIXED_WINDOW, 3, "fixed_window") /* this window's: twice the limit across an edge */        \
    X(MG_LIMITER_LEAKY, 4, "leaky")               /* one after the other; take says how long to wait */      \
    X(MG_LIMITER_CONCURRENCY, 5, "concurrency")   /* how many at once; each to be released */
typedef enum mg_limiter_algorithm { MG_LIMITER_ALGORITHMS(MG_STORED_ENUM) } mg_limiter_algorithm;
extern const char *const mg_limiter_algorithm_words[];

/* What a key that finds no slot gets. */
#define MG_LIMITER_ON_FULLS(X)                                                                               \
    X(MG_LIMITER_FULL_OVERFLOW, "overflow") /* a bucket it shares with others */                             \
    X(MG_LIMITER_FULL_ALLOW, "allow")                                                                        \
    X(MG_LIMITER_FULL_DENY, "deny")
typedef enum mg_limiter_on_full { MG_LIMITER_ON_FULLS(MG_WORD_ENUM) } mg_limiter_on_full;
extern const char *const mg_limiter_on_full_words[];

typedef struct mg_limiter_conf {
    mg_limiter_algorithm algorithm;
    mg_limiter_on_full on_full;
    uint64_t limit;     /* per period, at most 1,000,000 a second; of a window at most 2^24; or permits */
    uint64_t period_ms; /* 1 ms..31 days, also a window's length; not for permits */
    uint64_t burst;     /* of a token bucket: 1..10^6; 0 = limit */
    uint64_t max_wait_ms;
    uint32_t max_keys;       /* 1..2^26; a log keeps as many as 1 GiB of moments holds, if fewer */
    uint32_t overflow_cells; /* 1..65536 */
    uint32_t max_entries;    /* of a log: the limit may not exceed it; 1..10000 */
    uint64_t secret[2];      /* keys the fingerprints; kept with the stored state */
} mg_limiter_conf;

/* The defaults of docs/configuration.md; limit, period and secret are the caller's to set. */
void mg_limiter_conf_defaults(mg_limiter_conf *conf);

/* The memory of a limiter once all of its keys are in use; what is not, the system need not have. 0 when a
 * field is outside its range. */
uint64_t mg_limiter_bytes(const mg_limiter_conf *conf);
/* NULL with `err` when a field is outside its range, or the system does not give so much memory. */
mg_limiter *mg_limiter_new(const mg_limiter_conf *conf, mg_error *err);
/* A limiter with a new configuration over the state of `old`, which stays valid and shares it. Debts above
 * what the new burst can owe are lowered to it, none is raised. Where state cannot be shared (another
 * algorithm, window or size of table), a key begins with what it had used, and what is charged to `old`
 * meanwhile is not seen. Permits keep their table's size, and begin at none where another algorithm was: what
 * was charged there will not be released. Walks the table: not for a worker's loop. */
mg_limiter *mg_limiter_next(const mg_limiter *old, const mg_limiter_conf *conf, uint64_t now_ns,
                            mg_error *err);
/* The same for a limiter that mg_limiter_new has made and that nobody serves yet: it goes on with the state
 * of `old`, and what was charged to it meanwhile is forgotten where the two share it. */
void mg_limiter_follow(mg_limiter *limiter, const mg_limiter *old, uint64_t now_ns);
void mg_limiter_free(mg_limiter *limiter); /* NULL is fine; the state goes with its last limiter */

typedef enum mg_limiter_via {
    MG_LIMITER_VIA_OWN,
    MG_LIMITER_VIA_OVERFLOW,
    MG_LIMITER_VIA_NONE, /* the table was full and on_full decided */
} mg_limiter_via;

enum { MG_LIMITER_NEVER = -1 };

typedef struct mg_limiter_answer {
    bool allowed;
    uint8_t via;        /* mg_limiter_via */
    uint64_t remaining; /* units left after this one */
    int64_t retry_ms;   /* refused: when the same would pass; MG_LIMITER_NEVER; 0 when allowed */
    uint64_t wait_ms;   /* reserve, and take of a leaky one: wait this long before going on */
    uint64_t reset_ms;  /* until the key owes nothing */
    /* What cancel, give_back and release need; not for others. */
    uint64_t fingerprint, until_ns, length_ns;
} mg_limiter_answer;

/* Charges `cost` units to the key; 0 reads. `now_ns` is the policy clock and may be older than the state. */
bool mg_limiter_take(mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                     mg_limiter_answer *out);
/* What take would answer; charges nothing. */
bool mg_limiter_peek(const mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                     mg_limiter_answer *out);
/* Like take, but may grant what is due within max_wait: wait_ms says how long. A refusal has the wait it
 * needed in retry_ms. */
bool mg_limiter_reserve(mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                        mg_limiter_answer *out);
/* The same with a wait of the caller's own in place of max_wait. */
bool mg_limiter_reserve_within(mg_limiter *limiter, const char *key, size_t n, uint32_t cost,
                               uint64_t wait_ns, uint64_t now_ns, mg_limiter_answer *out);
/* Takes a granted reservation back, if nothing was charged to the bucket since; false when something was.
 * Units of a window come back while the window still counts them. */
bool mg_limiter_cancel(mg_limiter *limiter, const mg_limiter_answer *granted);
/* Returns the permits that `taken` holds and empties it, so that a second call does nothing. `limiter` is the
 * one that took, or one that shares its state. */
void mg_limiter_release(mg_limiter *limiter, mg_limiter_answer *taken);
/* Takes a charge back because a later rule refused the same request in the same call. */
void mg_limiter_give_back(mg_limiter *limiter, const mg_limiter_answer *taken);

/* One rule of several for a request, the most specific first. */
typedef struct mg_limiter_ask {
    mg_limiter *limiter;
    const char *key;
    size_t key_bytes;
    uint32_t cost;
} mg_limiter_ask;

/* ---- who waits for a turn ---- */

/* A place in the queue of a key, in the caller's memory, which has to stay until it goes or leaves. All zero
 * is in no queue. */
typedef struct mg_limiter_waiter {
    /* The caller's, before it is used: called when the turn has moved up, by the thread that made it so and
     * with the rule's lock held: it may do no more than wake the waiter's own thread. May be NULL. */
    void (*moved)(struct mg_limiter_waiter *waiter);
    void *self; /* the caller's */
    bool waits; /* in a queue; the caller's thread alone reads it */
    /* Not for others. */
    bool cell, fixed;
    mg_list link;
    uint64_t fingerprint, length_ns, lead_ns;
    _Atomic uint64_t until_ns;
} mg_limiter_waiter;

/* Tests every rule, then charges every rule: a request that one of them refuses is charged by none. A rule with
 * a max_wait may grant what is due within it, but never what is due after `patience_ns`: the request goes on after
 * the longest wait_ms of all. A charge that waits gets a place in its key's queue: `waiters` is NULL, or has a
 * pointer for each rule, which may be NULL. A charge that waits without one cannot be moved, so those before it
 * keep what they hold when they leave. Returns -1 when all allowed, else the index of the rule that refused;
 * `answers` has `count` places, filled up to that one. */
int mg_limiter_queue_all(const mg_limiter_ask *asks, mg_limiter_waiter *const *waiters, size_t count,
                         uint64_t patience_ns, uint64_t now_ns, mg_limiter_answer *answers);
/* mg_limiter_reserve_within in the same way. */
bool mg_limiter_queue(const mg_limiter_ask *ask, mg_limiter_waiter *waiter, uint64_t wait_ns, uint64_t now_ns,
                      mg_limiter_answer *out);
/* When the waiter's turn is (policy clock): this and never later. Its own thread may ask at any time. */
uint64_t mg_limiter_turn_ns(const mg_limiter_waiter *waiter);
/* It goes: what it was charged stays charged. Harmless on one that is in no queue. */
void mg_limiter_waited(mg_limiter *limiter, mg_limiter_waiter *waiter);
/* It leaves without going: those behind it move up by what it was charged, as far as their turns are after
 * now, and the key owes so much less. False when nothing could be given back. `limiter` is the one that
 * granted, or one that shares its state. */
bool mg_limiter_leave(mg_limiter *limiter, mg_limiter_waiter *waiter, uint64_t now_ns);

/* Keys that owe something at `now`. Walks the table. */
size_t mg_limiter_keys(const mg_limiter *limiter, uint64_t now_ns);

/* ---- what outlives the process ---- */

enum { MG_LIMITER_RECORD_GROUPS = 16 };

/* What one key owes, read at `at_ns`. Rows stored under (cell, place) number as many as the table has slots,
 * however many keys come by. */
typedef struct mg_limiter_record {
    uint64_t fingerprint; /* not of cells */
    uint32_t place;       /* the slot's number, or the overflow cell's */
    bool cell;
    uint8_t algorithm;  /* mg_limiter_algorithm */
    uint64_t at_ns;     /* policy clock */
    uint64_t idle_ns;   /* when it owes nothing any more */
    uint64_t used;      /* units; what another algorithm begins with */
    uint64_t window_ns; /* of windows: length; age_ns of it had passed */
    uint64_t age_ns, prev, cur;
    /* Of logs: moments and how many units; some may stand together at the latest of them. */
    uint32_t groups;
    uint64_t group_ns[MG_LIMITER_RECORD_GROUPS];
    uint32_t group[MG_LIMITER_RECORD_GROUPS];
} mg_limiter_record;

/* The next key that owes something: start with *cursor = 0; false at the end. Permits are nobody's debt. */
bool mg_limiter_record_next(const mg_limiter *limiter, size_t *cursor, uint64_t now_ns,
                            mg_limiter_record *out);
/* The same among those charged since this last returned them. One thread at a time; others may charge
 * meanwhile, and what they charge after the reading comes again. */
bool mg_limiter_changed_next(mg_limiter *limiter, size_t *cursor, uint64_t now_ns, mg_limiter_record *out);
/* Has changed_next return it again: it could not be stored. */
void mg_limiter_mark(mg_limiter *limiter, const mg_limiter_record *record);
/* Charges a key with what a record says it still owes at `now_ns`; where it owes more already, that stays. In the
 * record's own place where that is free, and then changed_next does not return it, for it is stored. Sets *moved
 * where it was not: stored under its new place, it may overwrite another key's record. False when nothing is owed
 * any more, or no slot is free. */
bool mg_limiter_put_back(mg_limiter *limiter, const mg_limiter_record *record, uint64_t now_ns, bool *moved);
/* Whether what is charged to one is charged to the other. */
bool mg_limiter_shares(const mg_limiter *a, const mg_limiter *b);

/* ---- who is hot ---- */

enum { MG_LIMITER_HOT = 64, MG_LIMITER_HOT_BYTES = 64 };

typedef struct mg_limiter_hot {
    uint64_t seen; /* samples; at most `over` too many */
    uint64_t over;
    uint8_t n;
    char key[MG_LIMITER_HOT_BYTES]; /* cut there */
} mg_limiter_hot;

/* Counts a key in the sketch of hot ones, after the decision, of as many decisions as the caller samples.
 * Skips it when another thread is at the sketch. */
void mg_limiter_see(mg_limiter *limiter, const char *key, size_t n);
/* The hottest first; returns how many. */
size_t mg_limiter_hottest(const mg_limiter *limiter, mg_limiter_hot out[MG_LIMITER_HOT]);

/* What RateLimit-Policy says: a bucket's size and the time it takes to fill, a window's own, permits and 0; 0
 * where the time is no whole number of ms. */
uint64_t mg_limiter_quota(const mg_limiter *limiter);
uint64_t mg_limiter_window_ms(const mg_limiter *limiter);

enum { MG_LIMITER_ADDR_KEY_BYTES = 17, MG_LIMITER_HEADER_BYTES = 160, MG_LIMITER_IP_KEY_BYTES = 50 };

/* The address in network order (4 or 16 bytes) cut to its prefix, as a key of 5 or 17 bytes; an IPv4 address
 * inside IPv6 counts as IPv4. Returns the length, 0 when addr_bytes is neither. */
size_t mg_limiter_addr_key(uint8_t out[MG_LIMITER_ADDR_KEY_BYTES], const uint8_t *addr, size_t addr_bytes,
                           unsigned ipv4_prefix, unsigned ipv6_prefix);
/* The same for people: "2001:db8:1:2::/64". Takes the address as text; 0 when it is not an address. */
size_t mg_limiter_ip_key(char out[MG_LIMITER_IP_KEY_BYTES], const char *ip, size_t n, unsigned ipv4_prefix,
                         unsigned ipv6_prefix);

/* RateLimit-Policy: "name";q=quota;w=seconds, without w unless whole seconds. `name` is a rule's, at most 64
 * bytes, of [A-Za-z0-9._-]. NUL-terminated; returns the length. */
size_t mg_limiter_policy_header(char out[MG_LIMITER_HEADER_BYTES], const char *name, size_t n, uint64_t quota,
                                uint64_t window_ms);
/* RateLimit: "name";r=remaining;t=seconds, where t is Retry-After on a refusal (retry_ms > 0). */
size_t mg_limiter_state_header(char out[MG_LIMITER_HEADER_BYTES], const char *name, size_t n,
                               uint64_t remaining, uint64_t reset_ms, int64_t retry_ms);
/* Seconds for Retry-After, at least 1; 0 where none is due (retry_ms is 0 or MG_LIMITER_NEVER). */
uint64_t mg_limiter_retry_after_s(int64_t retry_ms);

#endif
