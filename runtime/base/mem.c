/* mem.c - small allocations that succeed or end the process. */
#include "base/mem.h"

#include "base/check.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Not an invariant of ours, so no MG_CHECK: the machine has run out, and the line should say so. */
static _Noreturn void out_of_memory(size_t bytes)
{
    mg_end_with("moongate: out of memory (%zu bytes wanted)\n", bytes);
}

void *mg_alloc(size_t bytes)
{
    void *p = malloc(bytes ? bytes : 1);

    if (!p)
        out_of_memory(bytes);
    return p;
}

void *mg_calloc(size_t count, size_t bytes)
{
    void *p = calloc(count ? count : 1, bytes ? bytes : 1);

    if (!p)
        out_of_memory(bytes); /* an overflow of count * bytes ends here as well */
    return p;
}

void *mg_try_calloc(size_t count, size_t bytes)
{
    return calloc(count ? count : 1, bytes ? bytes : 1);
}

static void *map_block(size_t bytes)
{
    return mmap(NULL, bytes ? bytes : 1, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

void *mg_map_pages(size_t bytes)
{
    void *p = map_block(bytes);

    if (p == MAP_FAILED)
        out_of_memory(bytes);
    return p;
}

void mg_unmap_pages(void *p, size_t bytes)
{
    (void)munmap(p, bytes);
}

size_t mg_mem_given(const size_t *bytes, size_t count)
{
    void **blocks = MG_NEW_N(void *, count);
    size_t given = 0;

    while (given < count && (blocks[given] = map_block(bytes[given])) != MAP_FAILED)
        given++;
    for (size_t i = 0; i < given; i++)
        (void)munmap(blocks[i], bytes[i] ? bytes[i] : 1);
    mg_free(blocks);
    return given;
}

void *mg_realloc(void *old, size_t bytes)
{
    void *p = realloc(old, bytes ? bytes : 1);

    if (!p)
        out_of_memory(bytes);
    return p;
}

char *mg_strdup(const char *text)
{
    return mg_memdup0(text, strlen(text));
}

char *mg_memdup0(const void *bytes, size_t n)
{
    char *copy = mg_alloc(n + 1);

    if (n)
        memcpy(copy, bytes, n);
    copy[n] = '\0';
    return copy;
}

void mg_free(void *p)
{
    free(p);
}
