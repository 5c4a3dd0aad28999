/* spare.c - lists of freed blocks by size. Each block is malloc's own, so that one may grow out of its list.
 */
#include "script/spare.h"

#include "base/mem.h"

static size_t bytes_of(size_t steps)
{
    return steps * MG_SPARE_STEP - MG_SPARE_HEAD;
}

static void *make(mg_spare *spare, size_t bytes)
{
    const size_t steps = mg_spare_steps(bytes);
    void *block = mg_spare_take(spare, steps);

    return block ? block : mg_alloc(steps ? bytes_of(steps) : bytes);
}

static void drop(mg_spare *spare, void *block, size_t bytes)
{
    if (!mg_spare_keep(spare, block, mg_spare_steps(bytes)))
        mg_free(block);
}

void *mg_spare_realloc(mg_spare *spare, void *old, size_t old_bytes, size_t bytes)
{
    if (!old)
        return bytes ? make(spare, bytes) : NULL;
    if (!bytes) {
        drop(spare, old, old_bytes);
        return NULL;
    }
    const size_t steps = mg_spare_steps(bytes);
    if (steps && steps == mg_spare_steps(old_bytes))
        return old;
    return mg_realloc(old, steps ? bytes_of(steps) : bytes);
}

void mg_spare_fini(mg_spare *spare)
{
    for (size_t steps = 1; steps <= MG_SPARE_SIZES; steps++) {
        for (void *block = spare->first[steps], *next; block; block = next) {
            memcpy(&next, block, sizeof next);
            mg_free(block);
        }
    }
    *spare = (mg_spare){ 0 };
}
