/* spare.h - small blocks of a Lua state, kept when they are freed: a collection frees thousands at a time,
 * and requests take as many of the same sizes again, at a tenth of what malloc asks for them. Of the state's
 * thread. */
#ifndef MG_SCRIPT_SPARE_H
#define MG_SCRIPT_SPARE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

enum {
    MG_SPARE_STEP = 16,       /* what blocks take are multiples of it */
    MG_SPARE_HEAD = 8,        /* of which malloc needs so much for itself */
    MG_SPARE_SIZES = 17,      /* what takes more steps is malloc's */
    MG_SPARE_BYTES = 1 << 22, /* kept at most, of all sizes together */
};

/* All zero is one that keeps nothing yet. */
typedef struct mg_spare {
    void *first[MG_SPARE_SIZES + 1]; /* owned: by size in steps; each begins with the next */
    size_t bytes;
} mg_spare;

/* What a block of so many bytes takes of the machine's memory. */
static inline size_t mg_spare_taken(size_t bytes)
{
    return (bytes + MG_SPARE_HEAD + MG_SPARE_STEP - 1) / MG_SPARE_STEP * MG_SPARE_STEP;
}

/* The size of a block in steps, by which it is kept; 0: it is too large for that. */
static inline size_t mg_spare_steps(size_t bytes)
{
    const size_t steps = mg_spare_taken(bytes) / MG_SPARE_STEP;

    return steps <= MG_SPARE_SIZES ? steps : 0;
}

/* A kept block of so many steps; NULL where none is. */
static inline void *mg_spare_take(mg_spare *spare, size_t steps)
{
    void *block = spare->first[steps];

    if (block) {
        memcpy(&spare->first[steps], block, sizeof block);
        spare->bytes -= steps * MG_SPARE_STEP;
    }
    return block;
}

/* Keeps a block of so many steps; false where it is too large, or enough is kept. */
static inline bool mg_spare_keep(mg_spare *spare, void *block, size_t steps)
{
    if (!steps || spare->bytes >= MG_SPARE_BYTES)
        return false;
    memcpy(block, &spare->first[steps], sizeof block);
    spare->first[steps] = block;
    spare->bytes += steps * MG_SPARE_STEP;
    return true;
}

/* As lua_Alloc: makes, moves or frees a block. Ends the process when the machine has no memory. */
void *mg_spare_realloc(mg_spare *spare, void *old, size_t old_bytes, size_t bytes);
/* Frees what is kept. */
void mg_spare_fini(mg_spare *spare);

#endif
