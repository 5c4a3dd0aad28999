/* limiter.c - how fast one key may go on: from the key to its slot, and over several rules. What is decided
 * there is the algorithms' (limiter_kinds.h). */
#include "policy/limiter.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/limiter_kinds.h"

const char *const mg_limiter_algorithm_words[] = { MG_LIMITER_ALGORITHMS(MG_STORED_TEXT) NULL };
const char *const mg_limiter_on_full_words[] = { MG_LIMITER_ON_FULLS(MG_WORD_TEXT) NULL };

#define DAYS_31_MS (31ull * 24 * 3600 * 1000)

enum { OVERFLOW_SEED = 4, CHARGE_TRIES = 16, WINDOW_MAX = 1 << 24, ENTRIES_MAX = 10000, CELLS_MAX = 65536 };

static const limiter_kind *const kinds[] = {
    [MG_LIMITER_TOKEN_BUCKET] = &mg_limiter_token_bucket,
    [MG_LIMITER_SLIDING_WINDOW] = &mg_limiter_sliding_window,
    [MG_LIMITER_SLIDING_LOG] = &mg_limiter_sliding_log,
    [MG_LIMITER_FIXED_WINDOW] = &mg_limiter_fixed_window,
    [MG_LIMITER_LEAKY] = &mg_limiter_leaky,
    [MG_LIMITER_CONCURRENCY] = &mg_limiter_concurrency,
};

void mg_limiter_conf_defaults(mg_limiter_conf *conf)
{
    *conf = (mg_limiter_conf){
        .algorithm = MG_LIMITER_TOKEN_BUCKET,
        .on_full = MG_LIMITER_FULL_OVERFLOW,
        .max_keys = 262144,
        .overflow_cells = 1024,
        .max_entries = 1000,
    };
}

static bool is_window(const mg_limiter_conf *c)
{
    return c->algorithm == MG_LIMITER_SLIDING_WINDOW || c->algorithm == MG_LIMITER_FIXED_WINDOW;
}

/* NULL, or which field breaks its range for the algorithm. */
static const char *quantity_fault(const mg_limiter_conf *c)
{
    if (c->limit < 1 || c->limit > INT32_MAX)
        return "rate: wants 1 to 2147483647; to refuse everything say mode: deny";
    if (c->algorithm == MG_LIMITER_CONCURRENCY)
        return NULL;
    if (c->period_ms < 1 || c->period_ms > DAYS_31_MS)
        return "rate: wants a period of 1ms to 31 days";
    if (c->limit > c->period_ms * 1000)
        return "rate: wants at most 1000000/s";
    if (is_window(c) && c->limit > WINDOW_MAX)
        return "quota: wants at most 16777216 a window";
    if (c->algorithm == MG_LIMITER_SLIDING_LOG && (c->max_entries < 1 || c->max_entries > ENTRIES_MAX))
        return "max_entries: wants 1 to 10000";
    if (c->algorithm == MG_LIMITER_SLIDING_LOG && c->limit > c->max_entries)
        return "quota: a sliding_log keeps each request: wants at most max_entries";
    return NULL;
}

static const char *fault_in(const mg_limiter_conf *c)
{
    if (c->algorithm > MG_LIMITER_CONCURRENCY)
        return "algorithm: wants token_bucket, sliding_window, sliding_log, fixed_window, leaky or "
               "concurrency";
    if (c->burst > 1000000 ||
        (c->algorithm == MG_LIMITER_TOKEN_BUCKET && !c->burst && c->limit > 1000000 && !quantity_fault(c)))
        return "burst: wants 1 to 1000000; it is the rate's count unless given";
    if (c->max_wait_ms > 60000)
        return "max_wait: wants 0s to 60s";
    if (c->max_keys < 1 || c->max_keys > MG_KEY_TABLE_MAX)
        return "max_keys: wants 1 to 67108864";
    if (c->overflow_cells < 1 || c->overflow_cells > CELLS_MAX)
        return "overflow_cells: wants 1 to 65536";
    if (c->algorithm == MG_LIMITER_SLIDING_LOG && !quantity_fault(c) && mg_limiter_log_keys(c) < 1)
        return "overflow_cells: too many for a sliding_log of this quota";
    if (c->on_full > MG_LIMITER_FULL_DENY)
        return "on_full: wants overflow, allow or deny";
    return quantity_fault(c);
}

static void derive(mg_limiter *l)
{
    const mg_limiter_conf *c = &l->conf;

    l->kind = kinds[c->algorithm];
    l->most = c->limit;
    l->interval_ns = 1;
    if (c->algorithm == MG_LIMITER_CONCURRENCY)
        return;
    l->interval_ns = (c->period_ms * MG_NS_PER_MS + c->limit - 1) / c->limit;
    l->max_wait_ns = c->max_wait_ms * MG_NS_PER_MS;
    l->take_wait_ns = c->algorithm == MG_LIMITER_LEAKY ? l->max_wait_ns : 0;
    if (c->algorithm == MG_LIMITER_TOKEN_BUCKET) {
        l->most = c->burst;
        l->burst_ns = c->burst * l->interval_ns;
    } else if (c->algorithm != MG_LIMITER_LEAKY) {
        l->window_ns = c->period_ms * MG_NS_PER_MS;
        l->max_wait_ns = 0;
    }
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
    if (conf->algorithm == MG_LIMITER_SLIDING_LOG)
        l->conf.max_keys = mg_limiter_log_keys(conf);
    derive(l);
    if (conf->algorithm == MG_LIMITER_TOKEN_BUCKET &&
        l->interval_ns > DAYS_31_MS * MG_NS_PER_MS / l->conf.burst) {
        mg_fail(err, MG_ERR_INVALID, "burst: %llu would take more than 31 days to come back at this rate",
                (unsigned long long)l->conf.burst);
        mg_free(l);
        return NULL;
    }
    return l;
}

uint64_t mg_limiter_bytes(const mg_limiter_conf *conf)
{
    const limiter_kind *kind;
    uint64_t places, bytes;
    uint32_t keys;

    if (fault_in(conf))
        return 0;
    kind = kinds[conf->algorithm];
    keys = kind == &mg_limiter_sliding_log ? mg_limiter_log_keys(conf) : conf->max_keys;
    bytes = mg_key_table_bytes(keys, kind->wide) + conf->overflow_cells * sizeof(mg_key_wide);
    places = 2 * (uint64_t)keys + conf->overflow_cells;
    if (kind == &mg_limiter_sliding_log)
        bytes += places * conf->limit * sizeof(uint64_t);
    return bytes + places / 8;
}

static void state_unref(limiter_state *s)
{
    if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
        return;
    mg_key_table_free(s->table);
    mg_free(s->cell_memory);
    mg_limiter_log_free(s->log);
    mg_limiter_queue_free(s->queue);
    mg_free(s->changed);
    mg_free(s->changed_sum);
    mg_limiter_sketch_free(s->sketch);
    mg_free(s);
}

/* False when the system does not give what keys need. */
static bool make_tables(limiter_state *s, const mg_limiter *l)
{
    const mg_key_kind slots = { l->kind->wide, l->kind->pour, s };
    uint64_t places;

    s->table = mg_key_table_new(s->max_keys, &slots);
    if (!s->table)
        return false;
    s->slots = (char *)mg_key_table_at(s->table, 0);
    s->slot_count = mg_key_table_slots(s->table);
    places = limiter_places(s);
    if (l->kind == &mg_limiter_sliding_log) {
        s->log = mg_limiter_log_new(places, (uint32_t)l->conf.limit);
        if (!s->log)
            return false;
    }
    s->changed = mg_try_calloc(places / 64 + 1, sizeof(*s->changed));
    s->changed_sum = mg_try_calloc(places / 4096 + 1, sizeof(*s->changed_sum));
    return s->changed && s->changed_sum;
}

/* NULL when the system does not give so much memory. */
static limiter_state *state_new(const mg_limiter *l, const uint64_t secret[2])
{
    limiter_state *s = MG_NEW(limiter_state);

    atomic_init(&s->refs, 1);
    s->kind = l->kind;
    s->max_keys = l->conf.max_keys;
    s->cell_count = l->conf.overflow_cells;
    s->window_ns = l->window_ns;
    memcpy(s->secret, secret, sizeof(s->secret));
    if (!make_tables(s, l)) {
        state_unref(s);
        return NULL;
    }
    s->cell_memory = mg_calloc(s->cell_count + 1, sizeof(mg_key_wide));
    s->cells = (char *)(((uintptr_t)s->cell_memory + 15) & ~(uintptr_t)15);
    for (uint32_t i = 0; i < s->cell_count; i++)
        atomic_init(&limiter_cell(s, i)->fingerprint, i + 1);
    if (l->kind->queues)
        s->queue = mg_limiter_queue_new();
    s->sketch = mg_limiter_sketch_new();
    return s;
}

/* The limiter, or NULL when it got no state. */
static mg_limiter *with_state(mg_limiter *l, mg_error *err)
{
    if (l->state)
        return l;
    mg_fail(err, MG_ERR_LIMIT, "the system does not give the %llu MiB that %u keys may take: lower max_keys",
            (unsigned long long)(mg_limiter_bytes(&l->conf) >> 20), l->conf.max_keys);
    mg_free(l);
    return NULL;
}

mg_limiter *mg_limiter_new(const mg_limiter_conf *conf, mg_error *err)
{
    mg_limiter *l = limiter_over(conf, err);

    if (!l)
        return NULL;
    l->state = state_new(l, conf->secret);
    return with_state(l, err);
}

void mg_limiter_free(mg_limiter *limiter)
{
    if (!limiter)
        return;
    state_unref(limiter->state);
    mg_free(limiter);
}

/* Whether `l` can go on in the slots of `old`. Permits always do: those that are out come back there. */
static bool fits(const mg_limiter *l, const limiter_state *old)
{
    if (l->kind != old->kind)
        return false;
    if (l->kind == &mg_limiter_concurrency)
        return true;
    return l->conf.max_keys == old->max_keys && l->conf.overflow_cells == old->cell_count &&
           l->window_ns == old->window_ns && (!old->log || mg_limiter_log_units(old->log) == l->conf.limit);
}

static void clamp(const mg_limiter *l, uint64_t now_ns)
{
    const limiter_state *s = l->state;
    uint64_t fingerprint, word;
    mg_key_slot *slot;
    size_t cursor = 0;

    if (!l->kind->clamp)
        return;
    while ((slot = mg_key_table_next(s->table, &cursor, &fingerprint, &word))) {
        if (word > now_ns)
            l->kind->clamp(l, slot, fingerprint, now_ns);
    }
    for (uint32_t i = 0; i < s->cell_count; i++)
        l->kind->clamp(l, limiter_cell(s, i), i + 1, now_ns);
}

/* What `l` has of its own may be NULL; it has nothing then where the system does not give it memory. */
static void go_on(mg_limiter *l, const mg_limiter *old, uint64_t now_ns)
{
    if (fits(l, old->state)) {
        state_unref(l->state);
        l->state = old->state;
        atomic_fetch_add(&l->state->refs, 1);
    } else {
        if (!l->state)
            l->state = state_new(l, old->state->secret);
        if (!l->state)
            return;
        mg_limiter_carry(l, old, now_ns);
    }
    clamp(l, now_ns);
}

mg_limiter *mg_limiter_next(const mg_limiter *old, const mg_limiter_conf *conf, uint64_t now_ns,
                            mg_error *err)
{
    mg_limiter *l = limiter_over(conf, err);

    if (!l)
        return NULL;
    go_on(l, old, now_ns);
    return with_state(l, err);
}

void mg_limiter_follow(mg_limiter *limiter, const mg_limiter *old, uint64_t now_ns)
{
    go_on(limiter, old, now_ns);
}

static mg_key_slot *cell_of(const mg_limiter *l, const char *key, size_t n, mg_limiter_answer *out)
{
    out->via = MG_LIMITER_VIA_OVERFLOW;
    out->fingerprint = 1 + mg_hash(mg_str_make(key, n), OVERFLOW_SEED) % l->state->cell_count;
    return limiter_cell(l->state, out->fingerprint - 1);
}

/* A key that found no slot: nobody is evicted for it. */
static bool decide_overflow(const mg_limiter *l, const char *key, size_t n, const limiter_turn *turn,
                            mg_limiter_answer *out)
{
    mg_key_slot *cell;

    if (l->conf.on_full != MG_LIMITER_FULL_OVERFLOW) {
        const limiter_turn nothing = { .now_ns = turn->now_ns };

        l->kind->decide(l, NULL, 0, &nothing, out);
        out->via = MG_LIMITER_VIA_NONE;
        out->allowed = l->conf.on_full == MG_LIMITER_FULL_ALLOW;
        out->retry_ms = out->allowed ? 0 : (int64_t)mg_ms_ceil(l->interval_ns);
        return out->allowed;
    }
    cell = cell_of(l, key, n, out);
    if (l->kind->decide(l, cell, out->fingerprint, turn, out) != MG_KEY_CHANGED)
        out->allowed = false; /* a cell is never another's: not reached */
    if (out->allowed && turn->cost && turn->charging)
        limiter_changed(l->state, cell);
    return out->allowed;
}

/* Answers without charging. */
static bool look_at_key(const mg_limiter *l, const char *key, size_t n, uint64_t fingerprint,
                        limiter_turn turn, mg_limiter_answer *out)
{
    uint64_t word;
    mg_key_slot *slot = mg_key_table_find(l->state->table, fingerprint, &word);

    turn.charging = false;
    out->via = MG_LIMITER_VIA_OWN;
    out->fingerprint = fingerprint;
    if (slot && l->kind->decide(l, slot, fingerprint, &turn, out) == MG_KEY_CHANGED)
        return out->allowed;
    if (!mg_key_table_has_room(l->state->table, fingerprint, turn.now_ns)) {
        if (l->conf.on_full != MG_LIMITER_FULL_OVERFLOW)
            turn.cost = 0;
        return decide_overflow(l, key, n, &turn, out);
    }
    l->kind->decide(l, NULL, 0, &turn, out);
    return out->allowed;
}

static bool charge_now(const mg_limiter *l, const char *key, size_t n, limiter_turn turn,
                       mg_limiter_answer *out)
{
    const uint64_t fingerprint = mg_key_fingerprint(l->state->secret, key, n);
    mg_key_table *table = l->state->table;

    if (!turn.charging || turn.cost == 0 || turn.cost > l->most)
        return look_at_key(l, key, n, fingerprint, turn, out);
    out->via = MG_LIMITER_VIA_OWN;
    out->fingerprint = fingerprint;
    for (int tries = 0; tries < CHARGE_TRIES; tries++) {
        uint64_t word;
        mg_key_slot *slot = mg_key_table_find(table, fingerprint, &word);

        if (!slot)
            slot = mg_key_table_claim(table, fingerprint, turn.now_ns, &word);
        if (!slot)
            break;
        limiter_may_change(l->state, slot);
        if (l->kind->decide(l, slot, fingerprint, &turn, out) != MG_KEY_CHANGED)
            continue;
        if (out->allowed)
            limiter_changed(l->state, slot);
        return out->allowed;
    }
    return decide_overflow(l, key, n, &turn, out);
}

/* Without a lock for what need not wait: the turn of whoever does is taken in the queue's sight, so that it
 * cannot be missed by somebody who leaves. `waiter` NULL: it cannot be moved. */
static bool charge(const mg_limiter *l, const char *key, size_t n, limiter_turn turn,
                   mg_limiter_waiter *waiter, mg_limiter_answer *out)
{
    limiter_turn at_once = turn;
    bool granted;

    if (!turn.charging || !turn.wait_ns || !l->kind->queues)
        return charge_now(l, key, n, turn, out);
    at_once.wait_ns = 0;
    if (charge_now(l, key, n, at_once, out))
        return true;
    if (out->retry_ms == MG_LIMITER_NEVER)
        return false;
    mg_limiter_queue_lock(l->state);
    granted = charge_now(l, key, n, turn, out);
    if (granted && out->wait_ms)
        mg_limiter_queue_add(l, waiter, out);
    mg_limiter_queue_unlock(l->state);
    return granted;
}

bool mg_limiter_take(mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                     mg_limiter_answer *out)
{
    return charge(limiter, key, n, (limiter_turn){ now_ns, limiter->take_wait_ns, cost, true }, NULL, out);
}

bool mg_limiter_peek(const mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                     mg_limiter_answer *out)
{
    return charge(limiter, key, n, (limiter_turn){ now_ns, limiter->take_wait_ns, cost, false }, NULL, out);
}

bool mg_limiter_reserve(mg_limiter *limiter, const char *key, size_t n, uint32_t cost, uint64_t now_ns,
                        mg_limiter_answer *out)
{
    return charge(limiter, key, n, (limiter_turn){ now_ns, limiter->max_wait_ns, cost, true }, NULL, out);
}

bool mg_limiter_reserve_within(mg_limiter *limiter, const char *key, size_t n, uint32_t cost,
                               uint64_t wait_ns, uint64_t now_ns, mg_limiter_answer *out)
{
    return charge(limiter, key, n, (limiter_turn){ now_ns, wait_ns, cost, true }, NULL, out);
}

static bool undo(mg_limiter *l, const mg_limiter_answer *taken, bool if_last)
{
    mg_key_slot *slot = NULL;
    uint64_t word;

    if (!taken->allowed || !taken->length_ns)
        return false;
    if (taken->via == MG_LIMITER_VIA_OWN)
        slot = mg_key_table_find(l->state->table, taken->fingerprint, &word);
    else if (taken->via == MG_LIMITER_VIA_OVERFLOW && taken->fingerprint - 1 < l->state->cell_count)
        slot = limiter_cell(l->state, taken->fingerprint - 1);
    if (!slot || !l->kind->undo(l, slot, taken->fingerprint, taken, if_last))
        return false;
    limiter_changed(l->state, slot);
    return true;
}

bool mg_limiter_cancel(mg_limiter *limiter, const mg_limiter_answer *granted)
{
    return undo(limiter, granted, true);
}

void mg_limiter_give_back(mg_limiter *limiter, const mg_limiter_answer *taken)
{
    if (limiter->kind->queues && taken->allowed && taken->length_ns && taken->via != MG_LIMITER_VIA_NONE)
        (void)mg_limiter_queue_give_back(limiter, taken);
    else
        undo(limiter, taken, false);
}

void mg_limiter_release(mg_limiter *limiter, mg_limiter_answer *taken)
{
    if (limiter->kind == &mg_limiter_concurrency)
        undo(limiter, taken, false);
    taken->length_ns = 0;
}

/* A race since the test. */
static int give_all_back(const mg_limiter_ask *asks, mg_limiter_waiter *const *waiters, size_t refused,
                         uint64_t now_ns, const mg_limiter_answer *answers)
{
    for (size_t taken = 0; taken < refused; taken++) {
        if (waiters && waiters[taken] && waiters[taken]->waits)
            (void)mg_limiter_leave(asks[taken].limiter, waiters[taken], now_ns);
        else
            mg_limiter_give_back(asks[taken].limiter, &answers[taken]);
    }
    return (int)refused;
}

int mg_limiter_queue_all(const mg_limiter_ask *asks, mg_limiter_waiter *const *waiters, size_t count,
                         uint64_t patience_ns, uint64_t now_ns, mg_limiter_answer *answers)
{
    for (int charging = count > 1 ? 0 : 1; charging <= 1; charging++)
        for (size_t i = 0; i < count; i++) {
            const mg_limiter_ask *ask = &asks[i];
            const limiter_turn turn = { now_ns, mg_min_u64(ask->limiter->max_wait_ns, patience_ns), ask->cost,
                                        charging };

            if (!charge(ask->limiter, ask->key, ask->key_bytes, turn, waiters ? waiters[i] : NULL,
                        &answers[i]))
                return charging ? give_all_back(asks, waiters, i, now_ns, answers) : (int)i;
        }
    return -1;
}

bool mg_limiter_queue(const mg_limiter_ask *ask, mg_limiter_waiter *waiter, uint64_t wait_ns, uint64_t now_ns,
                      mg_limiter_answer *out)
{
    return charge(ask->limiter, ask->key, ask->key_bytes, (limiter_turn){ now_ns, wait_ns, ask->cost, true },
                  waiter, out);
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
    return limiter->most;
}

uint64_t mg_limiter_window_ms(const mg_limiter *limiter)
{
    const uint64_t scaled_ms = limiter->most * limiter->conf.period_ms;

    if (limiter->kind == &mg_limiter_concurrency)
        return 0;
    return scaled_ms % limiter->conf.limit ? 0 : scaled_ms / limiter->conf.limit;
}
