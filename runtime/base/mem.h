/* mem.h - small allocations that succeed or end the process: recovery that nobody runs does not work.
 * Sizes that come from outside are bounded by the caller before they get here. Any thread. */
#ifndef MG_BASE_MEM_H
#define MG_BASE_MEM_H

#include <stddef.h>

void *mg_alloc(size_t bytes) __attribute__((malloc, returns_nonnull));                /* uninitialised */
void *mg_calloc(size_t count, size_t bytes) __attribute__((malloc, returns_nonnull)); /* zeroed */
/* Zeroed, for the few things that an operator or a plugin may ask to be very large; NULL when the system does
 * not give them. */
void *mg_try_calloc(size_t count, size_t bytes) __attribute__((malloc));
/* How many of these blocks the system gives at once, at this moment; none is touched. A block of 0 is given.
 */
size_t mg_mem_given(const size_t *bytes, size_t count);
/* Whole pages, zeroed, which go back to the system at once. */
void *mg_map_pages(size_t bytes) __attribute__((malloc, returns_nonnull));
void mg_unmap_pages(void *p, size_t bytes); /* with the bytes that were asked for */
void *mg_realloc(void *old, size_t bytes) __attribute__((returns_nonnull));
char *mg_strdup(const char *text) __attribute__((malloc, returns_nonnull));
char *mg_memdup0(const void *bytes, size_t n)
    __attribute__((malloc, returns_nonnull)); /* n bytes and a NUL */
void mg_free(void *p);                        /* NULL is fine */

#define MG_NEW(type)          ((type *)mg_calloc(1, sizeof(type)))
#define MG_NEW_N(type, count) ((type *)mg_calloc((count), sizeof(type)))

#define mg_container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))
#define mg_countof(array)                  (sizeof(array) / sizeof((array)[0]))

#endif
