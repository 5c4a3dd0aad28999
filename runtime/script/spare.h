/* spare.h - small blocks of a Lua state, kept when they are freed: a collection frees thousands at a time,
 * and requests take as many of the same sizes again, at a tenth of what malloc asks for them. Of the state's
 * thread. */
#ifndef MG_SCRIPT_SPARE_H
#define MG_SCRIPT_SPARE_H

#include <stddef.h>

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

/* As lua_Alloc: makes, moves or frees a block. Ends the process when the machine has no memory. */
void *mg_spare_realloc(mg_spare *spare, void *old, size_t old_bytes, size_t bytes);
/* Frees what is kept. */
void mg_spare_fini(mg_spare *spare);

#endif
