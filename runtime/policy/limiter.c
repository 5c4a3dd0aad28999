/* limiter.c - token buckets as virtual scheduling (GCRA: ITU-T I.371, annex A). A key's word is `tat`, the
 * moment at which its bucket is full again: no timer, and a refusal knows how long it will last. The word
 * moves by CAS and never backwards, however old the caller's `now` is. */
#include "policy/limiter.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/key_table.h"

#include <stdatomic.h>

#define DAYS_31_MS (31ull * 24 * 3600 * 1000)

enum { OVERFLOW_SEED = 4, CHARGE_TRIES = 16 };

/* What survives a change of the configuration. */
typedef struct limiter_state {
    _Atomic uint32_t refs;
    uint32_t max_keys, cell_count;
    uint64_t secret[2];
    mg_key_table *table;     /* owned */
    _Atomic uint64_t *cells; /* owned: the overflow buckets */
} limiter_state;

struct mg_limiter {
    mg_limiter_conf conf;
    uint64_t
        interval_ns;   /* T: one unit at the sustained rate, rounded up so that the rate is never exceeded */
    uint64_t burst_ns; /* cap: how far a key may run ahead of now */
    uint64_t max_wait_ns;
    limiter_state *state; /* counted */
};

void mg_limiter_conf_defaults(mg_limiter_conf *conf)
{
    *conf = (mg_limiter_conf){
        .algorithm = MG_LIMITER_TOKEN_BUCKET,
        .on_full = MG_LIMITER_FULL_OVERFLOW,
        .max_keys = 262144,
        .overflow_cells = 1024,
    };
}

/* NULL, or which field breaks its range. */
static const char *fault_in(const mg_limiter_conf *c)
{
    if (c->algorithm != MG_LIMITER_TOKEN_BUCKET)
        return "algorithm: not one of a limiter";
    if (c->limit < 1 || c->limit > INT32_MAX)
        return "rate: wants 1 to 2147483647; to refuse everything say mode: deny";
    if (c->period_ms < 1 || c->period_ms > DAYS_31_MS)
        return "rate: wants a period of 1ms to 31 days";
    if (c->limit > c->period_ms * 1000)
        return "rate: wants at most 1000000/s";
    if (c->burst > 1000000 || (!c->burst && c->limit > 1000000))
        return "burst: wants 1 to 1000000; it is the rate's count unless given";
    if (c->max_wait_ms > 60000)
        return "max_wait: wants 0s to 60s";
    if (c->max_keys < 1 || c->max_keys > MG_KEY_TABLE_MAX)
        return "max_keys: wants 1 to 67108864";
    if (c->overflow_cells < 1 || c->overflow_cells > 65536)
        return "overflow_cells: wants 1 to 65536";
    if (c->on_full > MG_LIMITER_FULL_DENY)
        return "on_full: wants overflow, allow or deny";
    return NULL;
}

static mg_limiter *limiter_over(const mg_limiter_conf *conf, mg_error *err)
{
    const char *fault = fault_in(conf);
    mg_limiter *l;

    if (fault) {
        mg_fail(err, MG_ERR_INVALID, "%s", fault);
        return NULL;
    }
    l = MG_NEW(mg_limiter);
    l->conf = *conf;
    if (!l->conf.burst)
        l->conf.burst = conf->limit;
    l->interval_ns = (conf->period_ms * MG_NS_PER_MS + conf->limit - 1) / conf->limit;
    l->burst_ns = l->conf.burst * l->interval_ns;
    l->max_wait_ns = conf->max_wait_ms * MG_NS_PER_MS;
    if (l->interval_ns > DAYS_31_MS * MG_NS_PER_MS / l->conf.burst) {
        mg_fail(err, MG_ERR_INVALID, "burst: %llu would take more than 31 days to come back at this rate",
                (unsigned long long)l->conf.burst);
        mg_free(l);
        return NULL;
    }
    return l;
}

static limiter_state *state_new(const mg_limiter_conf *conf, const uint64_t secret[2])
{
    limiter_state *s = MG_NEW(limiter_state);

    atomic_init(&s->refs, 1);
    s->max_keys = conf->max_keys;
    s->cell_count = conf->overflow_cells;
    memcpy(s->secret, secret, sizeof(s->secret));
    s->table = mg_key_table_new(conf->max_keys);
    s->cells = mg_calloc(conf->overflow_cells, sizeof(*s->cells));
    return s;
}

mg_limiter *mg_limiter_new(const mg_limiter_conf *conf, mg_error *err)
{
    mg_limiter *l = limiter_over(conf, err);

    if (l)
        l->state = state_new(conf, conf->secret);
    return l;
}

void mg_limiter_free(mg_limiter *limiter)
{
    if (!limiter)
        return;
    if (atomic_fetch_sub(&limiter->state->refs, 1) == 1) {
        mg_key_table_free(limiter->state->table);
        mg_free(limiter->state->cells);
        mg_free(limiter->state);
    }
    mg_free(limiter);
}

/* Lowers what is owed to what this burst can owe. */
static void clamp(const mg_limiter *l, uint64_t now_ns)
{
    const uint64_t latest_ns = mg_add_sat(now_ns, l->burst_ns + l->max_wait_ns);
    uint64_t fingerprint, word;
    mg_key_slot *slot;
    size_t cursor = 0;

    while ((slot = mg_key_table_next(l->state->table, &cursor, &fingerprint, &word))) {
        while (word > latest_ns && mg_key_slot_change(slot, fingerprint, &word, latest_ns) == MG_KEY_AGAIN)
            ;
    }
    for (uint32_t i = 0; i < l->state->cell_count; i++) {
        word = atomic_load(&l->state->cells[i]);
        while (word > latest_ns && !atomic_compare_exchange_weak(&l->state->cells[i], &word, latest_ns))
            ;
    }
}

/* The table in another size. What is charged to the old one meanwhile is not seen; a smaller table may hold
 * fewer keys. */
static limiter_state *resized(const limiter_state *old, const mg_limiter_conf *conf, uint64_t now_ns)
{
    limiter_state *s = state_new(conf, old->secret);
    uint64_t fingerprint, word, fresh;
    size_t cursor = 0;

    while (mg_key_table_next(old->table, &cursor, &fingerprint, &word)) {
        mg_key_slot *slot = word > now_ns ? mg_key_table_claim(s->table, fingerprint, now_ns, &fresh) : NULL;

        if (slot && mg_key_slot_change(slot, fingerprint, &fresh, word) != MG_KEY_CHANGED)
            MG_UNREACHABLE();
    }
    for (uint32_t i = 0; s->cell_count == old->cell_count && i < s->cell_count; i++)
        atomic_init(&s->cells[i], atomic_load(&old->cells[i]));
    return s;
}

mg_limiter *mg_limiter_next(const mg_limiter *old, const mg_limiter_conf *conf, uint64_t now_ns,
                            mg_error *err)
{
    mg_limiter *l = limiter_over(conf, err);

    if (!l)
        return NULL;
    if (conf->max_keys == old->state->max_keys && conf->overflow_cells == old->state->cell_count) {
        l->state = old->state;
        atomic_fetch_add(&l->state->refs, 1);
    } else {
        l->state = resized(old->state, conf, now_ns);
    }
    clamp(l, now_ns);
    return l;
}

/* What is left of a bucket that is full again at `tat_ns`. */
static void describe(const mg_limiter *l, uint64_t tat_ns, uint64_t now_ns, mg_limiter_answer *out)
{
    const uint64_t ahead_ns = mg_max_u64(tat_ns, now_ns) - now_ns;

    out->remaining = ahead_ns < l->burst_ns ? (l->burst_ns - ahead_ns) / l->interval_ns : 0;
    out->reset_ms = mg_ms_ceil(ahead_ns);
}

/* Decides on a bucket that stands at `tat_ns`: allowed, with *new_ns to store, or refused. Fills all of `out`
 * but via and fingerprint. `wait_ns` is 0 for take. */
static bool decide(const mg_limiter *l, uint64_t tat_ns, uint32_t cost, uint64_t now_ns, uint64_t wait_ns,
                   uint64_t *new_ns, mg_limiter_answer *out)
{
    const bool possible = cost <= l->conf.burst;
    const uint64_t base_ns = mg_max_u64(tat_ns, now_ns);
    const uint64_t length_ns = possible ? cost * l->interval_ns : 0;
    const uint64_t ahead_ns = base_ns + length_ns - now_ns;
    const uint64_t over_ns = ahead_ns > l->burst_ns ? ahead_ns - l->burst_ns : 0;

    out->allowed = possible && over_ns <= wait_ns;
    out->retry_ms = out->allowed ? 0 : possible ? (int64_t)mg_ms_ceil(over_ns) : MG_LIMITER_NEVER;
    out->wait_ms = out->allowed ? mg_ms_ceil(over_ns) : 0;
    out->length_ns = length_ns;
    out->until_ns = *new_ns = out->allowed && cost ? base_ns + length_ns : tat_ns;
    describe(l, *new_ns, now_ns, out);
    return out->allowed;
}

static _Atomic uint64_t *cell_of(const mg_limiter *l, const char *key, size_t n, mg_limiter_answer *out)
{
    out->via = MG_LIMITER_VIA_OVERFLOW;
    out->fingerprint = mg_hash(mg_str_make(key, n), OVERFLOW_SEED) % l->state->cell_count;
    return &l->state->cells[out->fingerprint];
}

/* A key that found no slot: nobody is evicted for it. */
static bool charge_overflow(const mg_limiter *l, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                            uint64_t wait_ns, mg_limiter_answer *out)
{
    _Atomic uint64_t *cell = cell_of(l, key, n, out);
    uint64_t seen_ns = atomic_load_explicit(cell, memory_order_relaxed), new_ns = 0;

    if (l->conf.on_full != MG_LIMITER_FULL_OVERFLOW) {
        decide(l, 0, 0, now_ns, 0, &new_ns, out);
        out->via = MG_LIMITER_VIA_NONE;
        out->allowed = l->conf.on_full == MG_LIMITER_FULL_ALLOW;
        out->retry_ms = out->allowed ? 0 : (int64_t)mg_ms_ceil(l->interval_ns);
        return out->allowed;
    }
    while (decide(l, seen_ns, cost, now_ns, wait_ns, &new_ns, out) && cost) {
        if (atomic_compare_exchange_weak(cell, &seen_ns, new_ns))
            break;
    }
    return out->allowed;
}

/* Answers without charging. */
static bool look(const mg_limiter *l, const char *key, size_t n, uint64_t fingerprint, uint32_t cost,
                 uint64_t now_ns, mg_limiter_answer *out)
{
    uint64_t tat_ns = 0, new_ns;

    if (!mg_key_table_find(l->state->table, fingerprint, &tat_ns) &&
        !mg_key_table_has_room(l->state->table, fingerprint, now_ns)) {
        if (l->conf.on_full != MG_LIMITER_FULL_OVERFLOW)
            return charge_overflow(l, key, n, 0, now_ns, 0, out);
        tat_ns = atomic_load_explicit(cell_of(l, key, n, out), memory_order_relaxed);
    }
    return decide(l, tat_ns, cost, now_ns, 0, &new_ns, out);
}

static bool charge(const mg_limiter *l, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                   uint64_t wait_ns, mg_limiter_answer *out)
{
    const uint64_t fingerprint = mg_key_fingerprint(l->state->secret, key, n);
    mg_key_table *table = l->state->table;

    out->via = MG_LIMITER_VIA_OWN;
    out->fingerprint = fingerprint;
    if (cost == 0 || cost > l->conf.burst)
        return look(l, key, n, fingerprint, cost, now_ns, out);
    for (int tries = 0; tries < CHARGE_TRIES; tries++) {
        uint64_t seen_ns, new_ns;
        mg_key_slot *slot = mg_key_table_find(table, fingerprint, &seen_ns);
        mg_key_change change = MG_KEY_AGAIN;

        if (!slot)
            slot = mg_key_table_claim(table, fingerprint, now_ns, &seen_ns);
        if (!slot)
            break;
        while (change == MG_KEY_AGAIN) {
            if (!decide(l, seen_ns, cost, now_ns, wait_ns, &new_ns, out))
                return false;
            change = mg_key_slot_change(slot, fingerprint, &seen_ns, new_ns);
        }
        if (change == MG_KEY_CHANGED)
            return true;
    }
    return charge_overflow(l, key, n, cost, now_ns, wait_ns, out);
}

bool mg_limiter_take(mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                     mg_limiter_answer *out)
{
    return charge(limiter, key, n, cost, now_ns, 0, out);
}

bool mg_limiter_peek(const mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                     mg_limiter_answer *out)
{
    out->via = MG_LIMITER_VIA_OWN;
    out->fingerprint = mg_key_fingerprint(limiter->state->secret, key, n);
    return look(limiter, key, n, out->fingerprint, cost, now_ns, out);
}

bool mg_limiter_reserve(mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                        mg_limiter_answer *out)
{
    return charge(limiter, key, n, cost, now_ns, limiter->max_wait_ns, out);
}

bool mg_limiter_cancel(mg_limiter *limiter, const mg_limiter_answer *granted)
{
    const uint64_t back_ns = granted->until_ns - granted->length_ns;
    uint64_t seen_ns = granted->until_ns, current_ns;
    mg_key_slot *slot;

    if (!granted->allowed || !granted->length_ns)
        return false;
    switch (granted->via) {
    case MG_LIMITER_VIA_OWN:
        slot = mg_key_table_find(limiter->state->table, granted->fingerprint, &current_ns);
        return slot && mg_key_slot_change(slot, granted->fingerprint, &seen_ns, back_ns) == MG_KEY_CHANGED;
    case MG_LIMITER_VIA_OVERFLOW:
        return granted->fingerprint < limiter->state->cell_count &&
               atomic_compare_exchange_strong(&limiter->state->cells[granted->fingerprint], &seen_ns,
                                              back_ns);
    default: return false;
    }
}

void mg_limiter_give_back(mg_limiter *limiter, const mg_limiter_answer *taken)
{
    uint64_t seen_ns;

    if (!taken->allowed || !taken->length_ns || taken->via == MG_LIMITER_VIA_NONE)
        return;
    if (taken->via == MG_LIMITER_VIA_OVERFLOW) {
        _Atomic uint64_t *cell = &limiter->state->cells[taken->fingerprint];

        MG_CHECK(taken->fingerprint < limiter->state->cell_count); /* the same limiter took */
        seen_ns = atomic_load(cell);
        while (seen_ns >= taken->length_ns &&
               !atomic_compare_exchange_weak(cell, &seen_ns, seen_ns - taken->length_ns))
            ;
    } else {
        mg_key_slot *slot = mg_key_table_find(limiter->state->table, taken->fingerprint, &seen_ns);

        while (slot && seen_ns >= taken->length_ns &&
               mg_key_slot_change(slot, taken->fingerprint, &seen_ns, seen_ns - taken->length_ns) ==
                   MG_KEY_AGAIN)
            ;
    }
}

int mg_limiter_take_all(const mg_limiter_ask *asks, size_t count, uint64_t now_ns, mg_limiter_answer *answers)
{
    for (size_t i = 0; count > 1 && i < count; i++) {
        if (!mg_limiter_peek(asks[i].limiter, asks[i].key, asks[i].key_bytes, asks[i].cost, now_ns,
                             &answers[i]))
            return (int)i;
    }
    for (size_t i = 0; i < count; i++) {
        if (mg_limiter_take(asks[i].limiter, asks[i].key, asks[i].key_bytes, asks[i].cost, now_ns,
                            &answers[i]))
            continue;
        for (size_t taken = 0; taken < i; taken++) /* a race since the test */
            mg_limiter_give_back(asks[taken].limiter, &answers[taken]);
        return (int)i;
    }
    return -1;
}

size_t mg_limiter_keys(const mg_limiter *limiter, uint64_t now_ns)
{
    size_t cursor = 0, keys = 0;
    uint64_t fingerprint, word;

    while (mg_key_table_next(limiter->state->table, &cursor, &fingerprint, &word))
        keys += word > now_ns;
    return keys;
}

uint64_t mg_limiter_quota(const mg_limiter *limiter)
{
    return limiter->conf.burst;
}

uint64_t mg_limiter_window_ms(const mg_limiter *limiter)
{
    const uint64_t scaled_ms = limiter->conf.burst * limiter->conf.period_ms;

    return scaled_ms % limiter->conf.limit ? 0 : scaled_ms / limiter->conf.limit;
}
