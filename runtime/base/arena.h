/* arena.h - bump memory with one owner, freed at once. One thread at a time. */
#ifndef MG_BASE_ARENA_H
#define MG_BASE_ARENA_H

#include "base/str.h"

typedef struct mg_arena_chunk mg_arena_chunk;

enum { MG_ARENA_PIECE_SIZES = 6, MG_ARENA_PIECE_MIN = 32 }; /* 32 bytes to 1 KiB */

typedef struct mg_arena {
    char *at, *end;                    /* the free part of the current chunk */
    mg_arena_chunk *chunks;            /* owned, newest first */
    char *first, *first_end;           /* borrowed: memory of the owner's that is used before any chunk */
    size_t used;                       /* bytes in chunks, for quotas */
    bool mapped;                       /* made by mg_arena_init_mapped */
    void *spare[MG_ARENA_PIECE_SIZES]; /* pieces that were given back, by size */
} mg_arena;

/* `first` may be NULL; else it stays the owner's and must outlive the arena. */
void mg_arena_init(mg_arena *arena, void *first, size_t first_bytes);
/* For much that goes at once, such as a document: what is freed goes back to the system. */
void mg_arena_init_mapped(mg_arena *arena);
/* Frees every chunk; the arena is as after init. */
void mg_arena_reset(mg_arena *arena);
void mg_arena_fini(mg_arena *arena);

void *mg_arena_slow(mg_arena *arena, size_t bytes);

/* Aligned to 16 bytes, uninitialised, never NULL. */
static inline void *mg_arena_alloc(mg_arena *arena, size_t bytes)
{
    char *p = (char *)(((uintptr_t)arena->at + 15) & ~(uintptr_t)15);
    if (__builtin_expect(!arena->at || p > arena->end || (size_t)(arena->end - p) < bytes, 0))
        return mg_arena_slow(arena, bytes);
    arena->at = p + bytes;
    return p;
}

/* Unaligned, for text. */
static inline char *mg_arena_bytes(mg_arena *arena, size_t bytes)
{
    char *p = arena->at;
    if (__builtin_expect(!p || (size_t)(arena->end - p) < bytes, 0))
        return mg_arena_slow(arena, bytes);
    arena->at = p + bytes;
    return p;
}

void *mg_arena_zalloc(mg_arena *arena, size_t bytes);

/* A piece: n bytes, uninitialised, which can be given back before the arena's end. For what may be replaced
 * again and again, so that it counts once. */
char *mg_arena_large_piece(mg_arena *arena, size_t n);

/* Which size has room for n bytes; at least MG_ARENA_PIECE_SIZES: none, it is a large piece. */
static inline unsigned mg_arena_piece_size(size_t n)
{
    return n <= MG_ARENA_PIECE_MIN ? 0 : 64 - (unsigned)__builtin_clzll((n - 1) / MG_ARENA_PIECE_MIN);
}

static inline char *mg_arena_piece(mg_arena *arena, size_t n)
{
    const unsigned size = mg_arena_piece_size(n);

    if (__builtin_expect(size >= MG_ARENA_PIECE_SIZES, 0))
        return mg_arena_large_piece(arena, n);
    void **spare = (void **)arena->spare[size];
    if (!spare)
        return (char *)mg_arena_alloc(arena, (size_t)MG_ARENA_PIECE_MIN << size);
    arena->spare[size] = *spare;
    return (char *)spare;
}
/* With the n that it was asked for. Nobody may use the piece any more: a large one is freed, a small one will
 * be used again. */
void mg_arena_piece_back(mg_arena *arena, const char *piece, size_t n);
/* How much of `used` a piece of n bytes is by itself; 0: it shares a chunk with others. */
size_t mg_arena_piece_own(size_t n);

mg_str mg_arena_str(mg_arena *arena, mg_str s); /* a copy, NUL after it */
char *mg_arena_strdup(mg_arena *arena, const char *text);
mg_str mg_arena_printf(mg_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define MG_ARENA_NEW(arena, type)          ((type *)mg_arena_zalloc((arena), sizeof(type)))
#define MG_ARENA_NEW_N(arena, type, count) ((type *)mg_arena_zalloc((arena), sizeof(type) * (count)))

#endif
