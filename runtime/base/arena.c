/* arena.c - chunks of 4 KiB that double up to 64 KiB, or to 1 MiB in an arena for much; what is large gets a
 * chunk of its own, so that it does not throw away the rest of the current one. */
#include "base/arena.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdalign.h>
#include <stddef.h>
#include <stdio.h>

enum { CHUNK_MIN = 4096, CHUNK_MAX = 65536, LARGE = CHUNK_MIN / 2 };
/* malloc keeps what it is given back, between what others hold; a mapping goes back to the system. */
enum { MAPPED_MIN = 128 << 10, MAPPED_MAX = 1 << 20 };

struct mg_arena_chunk {
    mg_arena_chunk *next, *newer;
    size_t bytes; /* of the whole chunk */
    alignas(16) char data[];
};

void mg_arena_init(mg_arena *arena, void *first, size_t first_bytes)
{
    *arena = (mg_arena){ .at = first, .end = first ? (char *)first + first_bytes : NULL };
    arena->first = arena->at;
    arena->first_end = arena->end;
}

void mg_arena_init_mapped(mg_arena *arena)
{
    *arena = (mg_arena){ .mapped = true };
}

static bool is_mapped(const mg_arena *arena, size_t bytes)
{
    return arena->mapped && bytes >= MAPPED_MIN;
}

static void free_chunk(const mg_arena *arena, mg_arena_chunk *chunk)
{
    if (is_mapped(arena, chunk->bytes))
        mg_unmap_pages(chunk, chunk->bytes);
    else
        mg_free(chunk);
}

void mg_arena_reset(mg_arena *arena)
{
    mg_arena_chunk *chunk = arena->chunks;

    while (chunk) {
        mg_arena_chunk *next = chunk->next;
        free_chunk(arena, chunk);
        chunk = next;
    }
    arena->chunks = NULL;
    memset(arena->spare, 0, sizeof arena->spare);
    arena->used = 0;
    arena->at = arena->first;
    arena->end = arena->first_end;
}

void mg_arena_fini(mg_arena *arena)
{
    mg_arena_reset(arena);
    *arena = (mg_arena){ 0 };
}

static mg_arena_chunk *add_chunk(mg_arena *arena, size_t bytes)
{
    mg_arena_chunk *chunk = is_mapped(arena, bytes) ? mg_map_pages(bytes) : mg_alloc(bytes);

    chunk->bytes = bytes;
    chunk->newer = NULL;
    chunk->next = arena->chunks;
    if (chunk->next)
        chunk->next->newer = chunk;
    arena->chunks = chunk;
    arena->used += bytes;
    return chunk;
}

/* Chunks double with what is already there: the sum of all so far is the size of the next. */
static size_t next_chunk_bytes(const mg_arena *arena)
{
    const size_t most = arena->mapped ? MAPPED_MAX : CHUNK_MAX;
    size_t bytes = CHUNK_MIN;

    while (bytes < most && bytes <= arena->used)
        bytes *= 2;
    return bytes;
}

/* When the current chunk has not enough left. */
void *mg_arena_slow(mg_arena *arena, size_t bytes)
{
    mg_arena_chunk *chunk;

    MG_CHECK(bytes < SIZE_MAX / 2);
    if (bytes >= LARGE)
        return add_chunk(arena, sizeof(*chunk) + bytes)->data;
    chunk = add_chunk(arena, next_chunk_bytes(arena));
    arena->at = chunk->data + bytes;
    arena->end = (char *)chunk + chunk->bytes;
    return chunk->data;
}

/* ---- pieces: small ones come in powers of two, large ones are a chunk each ---- */

size_t mg_arena_piece_own(size_t n)
{
    return mg_arena_piece_size(n) < MG_ARENA_PIECE_SIZES ? 0 : sizeof(mg_arena_chunk) + n;
}

char *mg_arena_large_piece(mg_arena *arena, size_t n)
{
    return add_chunk(arena, sizeof(mg_arena_chunk) + n)->data;
}

static void drop_chunk(mg_arena *arena, mg_arena_chunk *chunk)
{
    if (chunk->newer)
        chunk->newer->next = chunk->next;
    else
        arena->chunks = chunk->next;
    if (chunk->next)
        chunk->next->newer = chunk->newer;
    arena->used -= chunk->bytes;
    free_chunk(arena, chunk);
}

void mg_arena_piece_back(mg_arena *arena, const char *piece, size_t n)
{
    const unsigned size = mg_arena_piece_size(n);
    void **spare = (void **)(uintptr_t)piece;

    if (size >= MG_ARENA_PIECE_SIZES) {
        drop_chunk(arena, (mg_arena_chunk *)((uintptr_t)piece - offsetof(mg_arena_chunk, data)));
        return;
    }
    *spare = arena->spare[size];
    arena->spare[size] = spare;
}

void *mg_arena_zalloc(mg_arena *arena, size_t bytes)
{
    return memset(mg_arena_alloc(arena, bytes), 0, bytes);
}

mg_str mg_arena_str(mg_arena *arena, mg_str s)
{
    char *copy = mg_arena_bytes(arena, s.n + 1);

    if (s.n)
        memcpy(copy, s.p, s.n);
    copy[s.n] = '\0';
    return mg_str_make(copy, s.n);
}

char *mg_arena_strdup(mg_arena *arena, const char *text)
{
    const size_t n = strlen(text) + 1;

    return memcpy(mg_arena_bytes(arena, n), text, n);
}

mg_str mg_arena_printf(mg_arena *arena, const char *format, ...)
{
    va_list args, again;
    char *out;
    int n;

    va_start(args, format);
    va_copy(again, args);
    n = vsnprintf(NULL, 0, format, args);
    va_end(args);
    MG_CHECK(n >= 0);
    out = mg_arena_bytes(arena, (size_t)n + 1);
    vsnprintf(out, (size_t)n + 1, format, again);
    va_end(again);
    return mg_str_make(out, (size_t)n);
}
