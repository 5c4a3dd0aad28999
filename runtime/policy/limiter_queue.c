/* limiter_queue.c - who waits for a turn, so that those behind move up when one of them leaves.
 *
 * A key's word says when its next turn is. Who need not wait takes it by CAS and knows nothing of all this.
 * Who waits takes its turn under the lock of the rule and stands in a list, in the order of the turns, until
 * it goes or leaves. While somebody waits each turn begins where the one before ends, and the last one ends
 * at the word; so whoever leaves lowers the word, by CAS from exactly there, and the turns behind it by the
 * same, by no more than brings the next one to now. Where the word is another one, a charge stands behind the
 * list that cannot be moved: then nothing is given back. */
#include "policy/limiter_kinds.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"

#include <pthread.h>

enum { BUCKETS = 64 };

struct limiter_queue {
    pthread_mutex_t lock;
    _Atomic uint32_t count;
    mg_list buckets[BUCKETS]; /* by key; of mg_limiter_waiter, the first to come first */
};

limiter_queue *mg_limiter_queue_new(void)
{
    limiter_queue *q = MG_NEW(limiter_queue);

    MG_CHECK(pthread_mutex_init(&q->lock, NULL) == 0);
    for (int i = 0; i < BUCKETS; i++)
        mg_list_init(&q->buckets[i]);
    return q;
}

void mg_limiter_queue_free(limiter_queue *queue)
{
    if (!queue)
        return;
    pthread_mutex_destroy(&queue->lock);
    mg_free(queue);
}

void mg_limiter_queue_lock(const limiter_state *s)
{
    MG_CHECK(pthread_mutex_lock(&s->queue->lock) == 0);
}

void mg_limiter_queue_unlock(const limiter_state *s)
{
    MG_CHECK(pthread_mutex_unlock(&s->queue->lock) == 0);
}

static mg_list *bucket_of(const limiter_state *s, uint64_t fingerprint)
{
    return &s->queue->buckets[(fingerprint ^ fingerprint >> 32) % BUCKETS];
}

static mg_limiter_waiter *waiter_of(mg_list *link)
{
    return mg_container_of(link, mg_limiter_waiter, link);
}

static uint64_t until_of(const mg_limiter_waiter *w)
{
    return atomic_load_explicit(&w->until_ns, memory_order_relaxed);
}

/* The next of the key behind `link`, or NULL. */
static mg_limiter_waiter *next_of(mg_list *bucket, mg_list *link, uint64_t fingerprint, bool cell)
{
    for (mg_list *it = link->next; it != bucket; it = it->next) {
        mg_limiter_waiter *w = waiter_of(it);

        if (w->fingerprint == fingerprint && w->cell == cell)
            return w;
    }
    return NULL;
}

static mg_limiter_waiter *last_of(mg_list *bucket, uint64_t fingerprint, bool cell)
{
    for (mg_list *it = bucket->prev; it != bucket; it = it->prev) {
        mg_limiter_waiter *w = waiter_of(it);

        if (w->fingerprint == fingerprint && w->cell == cell)
            return w;
    }
    return NULL;
}

static mg_key_slot *slot_of(const limiter_state *s, uint64_t fingerprint, bool cell)
{
    uint64_t word;

    return cell ? limiter_cell(s, fingerprint - 1) : mg_key_table_find(s->table, fingerprint, &word);
}

/* ---- under the lock ---- */

/* A turn that stays where it is: those before it can give theirs to nobody behind it any more. */
static void fix_before(mg_list *bucket, mg_list *link, uint64_t fingerprint, bool cell)
{
    for (mg_list *it = link->prev; it != bucket; it = it->prev)
        waiter_of(it)->fixed |= waiter_of(it)->fingerprint == fingerprint && waiter_of(it)->cell == cell;
}

void mg_limiter_queue_add(const mg_limiter *l, mg_limiter_waiter *waiter, const mg_limiter_answer *granted)
{
    const bool cell = granted->via == MG_LIMITER_VIA_OVERFLOW;
    mg_list *bucket = bucket_of(l->state, granted->fingerprint);
    const mg_limiter_waiter *last = last_of(bucket, granted->fingerprint, cell);

    /* Somebody who did not wait has come between: those before had their turns, and have not gone. */
    if (!waiter || (last && until_of(last) != granted->until_ns - granted->length_ns))
        fix_before(bucket, bucket, granted->fingerprint, cell);
    if (!waiter)
        return;
    waiter->fingerprint = granted->fingerprint;
    waiter->cell = cell;
    waiter->fixed = false;
    waiter->waits = true;
    waiter->length_ns = granted->length_ns;
    waiter->lead_ns = l->kind == &mg_limiter_leaky ? granted->length_ns : l->burst_ns;
    atomic_store_explicit(&waiter->until_ns, granted->until_ns, memory_order_relaxed);
    mg_list_push(bucket, &waiter->link);
    atomic_fetch_add_explicit(&l->state->queue->count, 1, memory_order_relaxed);
}

static void take_out(const limiter_state *s, mg_limiter_waiter *waiter)
{
    mg_list_remove(&waiter->link);
    waiter->waits = false;
    atomic_fetch_sub_explicit(&s->queue->count, 1, memory_order_relaxed);
}

/* Lowers the word by `by_ns` if it is where the last turn ends, and with it the turns from `next` on. */
static bool move_up(const limiter_state *s, mg_limiter_waiter *next, uint64_t fingerprint, bool cell,
                    uint64_t end_ns, uint64_t by_ns)
{
    mg_list *bucket = bucket_of(s, fingerprint);
    mg_limiter_waiter *last = last_of(bucket, fingerprint, cell);
    mg_key_slot *slot = slot_of(s, fingerprint, cell);
    uint64_t word;

    if (next && last)
        end_ns = until_of(last);
    if (!by_ns || !slot || !mg_key_slot_read(slot, fingerprint, &word) || word != end_ns ||
        mg_key_slot_change(slot, fingerprint, &word, word - by_ns) != MG_KEY_CHANGED)
        return false;
    for (; next; next = next_of(bucket, &next->link, fingerprint, cell)) {
        atomic_store_explicit(&next->until_ns, until_of(next) - by_ns, memory_order_relaxed);
        if (next->moved)
            next->moved(next);
    }
    limiter_changed(s, slot);
    return true;
}

uint64_t mg_limiter_queue_end_ns(const limiter_state *s, uint64_t fingerprint, bool cell)
{
    const mg_limiter_waiter *last = last_of(bucket_of(s, fingerprint), fingerprint, cell);

    return last ? until_of(last) : 0;
}

/* ---- for others ---- */

uint64_t mg_limiter_queue_begin_ns(const limiter_state *s, uint64_t fingerprint, bool cell, uint64_t word)
{
    mg_list *bucket = bucket_of(s, fingerprint);
    mg_limiter_waiter *first;

    if (!atomic_load_explicit(&s->queue->count, memory_order_relaxed))
        return word;
    mg_limiter_queue_lock(s);
    first = next_of(bucket, bucket, fingerprint, cell);
    if (first && !first->fixed && mg_limiter_queue_end_ns(s, fingerprint, cell) == word)
        word = until_of(first) - first->length_ns;
    mg_limiter_queue_unlock(s);
    return word;
}

bool mg_limiter_queue_give_back(const mg_limiter *l, const mg_limiter_answer *taken)
{
    const bool cell = taken->via == MG_LIMITER_VIA_OVERFLOW;
    mg_list *bucket = bucket_of(l->state, taken->fingerprint);
    mg_limiter_waiter *first;
    mg_key_slot *slot;
    bool given = false;

    mg_limiter_queue_lock(l->state);
    first = next_of(bucket, bucket, taken->fingerprint, cell);
    while (first && until_of(first) <= taken->until_ns)
        first = next_of(bucket, &first->link, taken->fingerprint, cell);
    slot = slot_of(l->state, taken->fingerprint, cell);
    if (first)
        given = move_up(l->state, first, taken->fingerprint, cell, 0, taken->length_ns);
    else if (slot && l->kind->undo(l, slot, taken->fingerprint, taken, false)) {
        limiter_changed(l->state, slot);
        given = true;
    }
    mg_limiter_queue_unlock(l->state);
    return given;
}

bool mg_limiter_leave(mg_limiter *limiter, mg_limiter_waiter *waiter, uint64_t now_ns)
{
    const limiter_state *s = limiter->state;
    mg_limiter_waiter *next;
    uint64_t by_ns;
    bool given;

    if (!waiter->waits)
        return false;
    mg_limiter_queue_lock(s);
    next = next_of(bucket_of(s, waiter->fingerprint), &waiter->link, waiter->fingerprint, waiter->cell);
    by_ns = waiter->fixed ? 0 : waiter->length_ns;
    if (next) {
        const uint64_t turn_ns = mg_limiter_turn_ns(next);

        by_ns = turn_ns > now_ns ? mg_min_u64(by_ns, turn_ns - now_ns) : 0;
    }
    given = move_up(s, next, waiter->fingerprint, waiter->cell, until_of(waiter), by_ns);
    take_out(s, waiter);
    mg_limiter_queue_unlock(s);
    return given;
}

void mg_limiter_waited(mg_limiter *limiter, mg_limiter_waiter *waiter)
{
    const limiter_state *s = limiter->state;
    mg_key_slot *slot;

    if (!waiter->waits)
        return;
    mg_limiter_queue_lock(s);
    fix_before(bucket_of(s, waiter->fingerprint), &waiter->link, waiter->fingerprint, waiter->cell);
    take_out(s, waiter);
    slot = slot_of(s, waiter->fingerprint, waiter->cell);
    mg_limiter_queue_unlock(s);
    if (slot)
        limiter_changed(s, slot); /* what is stored of it did not count those who wait */
}

uint64_t mg_limiter_turn_ns(const mg_limiter_waiter *waiter)
{
    const uint64_t until_ns = until_of(waiter);

    return until_ns > waiter->lead_ns ? until_ns - waiter->lead_ns : 0;
}
