/* maglev.c - the turns in which endpoints take slots. */
#include "policy/maglev.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdatomic.h>

enum { OFFSET_SEED = 1, SKIP_SEED = 2, KEY_SEED = 3 };

#define FREE UINT16_MAX

struct mg_maglev {
    _Atomic uint32_t refs;
    uint32_t size;
    uint16_t owners[];
};

bool mg_maglev_prime(uint32_t size)
{
    if (size < 2 || size > MG_MAGLEV_SIZE_MAX)
        return false;
    for (uint32_t i = 2; i * i <= size; i++) {
        if (size % i == 0)
            return false;
    }
    return true;
}

mg_maglev_walk mg_maglev_walk_of(mg_str name, uint32_t size)
{
    return (mg_maglev_walk){ (uint32_t)(mg_hash(name, OFFSET_SEED) % size),
                             (uint32_t)(mg_hash(name, SKIP_SEED) % (size - 1) + 1) };
}

static uint32_t heaviest(const uint32_t *weights, size_t count)
{
    uint32_t most = 0;

    for (size_t i = 0; i < count; i++)
        most = weights[i] > most ? weights[i] : most;
    return most;
}

static uint64_t turns_by(uint64_t round, uint32_t weight, uint32_t most)
{
    return (round * weight + most - 1) / most;
}

/* Takes the next free slot on its walk; `next` is where that stands. */
static void take_slot(mg_maglev *t, uint16_t owner, const mg_maglev_walk *walk, uint32_t *next)
{
    while (t->owners[*next] != FREE)
        *next = (uint32_t)(((uint64_t)*next + walk->skip) % t->size);
    t->owners[*next] = owner;
}

/* Round after round, in the order given, an endpoint takes a slot whenever its share of the rounds has grown
 * by a whole one. */
static void fill(mg_maglev *t, const mg_maglev_walk *walks, const uint32_t *weights, size_t count)
{
    const uint32_t most = heaviest(weights, count);
    uint32_t *next = mg_calloc(count + 1, sizeof(*next)), filled = 0;

    for (size_t i = 0; i < count; i++)
        next[i] = walks[i].offset;
    for (uint64_t round = 1; most && filled < t->size; round++) {
        for (size_t i = 0; i < count && filled < t->size; i++) {
            if (turns_by(round, weights[i], most) == turns_by(round - 1, weights[i], most))
                continue;
            take_slot(t, (uint16_t)i, &walks[i], &next[i]);
            filled++;
        }
    }
    mg_free(next);
}

mg_maglev *mg_maglev_of_walks(const mg_maglev_walk *walks, const uint32_t *weights, size_t count,
                              uint32_t size)
{
    mg_maglev *t;

    MG_CHECK(count < FREE && mg_maglev_prime(size));
    t = mg_alloc(sizeof(*t) + size * sizeof(t->owners[0]));
    atomic_init(&t->refs, 1);
    t->size = size;
    for (uint32_t i = 0; i < size; i++)
        t->owners[i] = FREE;
    fill(t, walks, weights, count);
    return t;
}

mg_maglev *mg_maglev_new(const mg_str *names, const uint32_t *weights, size_t count, uint32_t size)
{
    mg_maglev_walk *walks = mg_calloc(count + 1, sizeof(*walks));
    mg_maglev *t;

    for (size_t i = 0; i < count; i++)
        walks[i] = mg_maglev_walk_of(names[i], size);
    t = mg_maglev_of_walks(walks, weights, count, size);
    mg_free(walks);
    return t;
}

mg_maglev *mg_maglev_ref(mg_maglev *table)
{
    atomic_fetch_add(&table->refs, 1);
    return table;
}

void mg_maglev_unref(mg_maglev *table)
{
    if (table && atomic_fetch_sub(&table->refs, 1) == 1)
        mg_free(table);
}

uint64_t mg_maglev_hash(mg_str key)
{
    return mg_hash(key, KEY_SEED);
}

uint32_t mg_maglev_size(const mg_maglev *table)
{
    return table->size;
}

uint32_t mg_maglev_slot(const mg_maglev *table, uint64_t hash)
{
    return (uint32_t)(hash % table->size);
}

int mg_maglev_owner(const mg_maglev *table, uint32_t slot)
{
    const uint16_t owner = table->owners[slot];

    return owner == FREE ? MG_MAGLEV_NONE : (int)owner;
}
