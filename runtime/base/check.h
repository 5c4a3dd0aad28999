/* check.h - what only a bug of ours could break. On in every build: a crash that names its line beats a
 * wrong answer. Never for input: input gets a result. Any thread. */
#ifndef MG_BASE_CHECK_H
#define MG_BASE_CHECK_H

/* Writes the line to stderr, unless that would have to wait, and aborts. */
_Noreturn void mg_end_with(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same with the broken condition and its place. */
_Noreturn void mg_check_failed(const char *condition, const char *file, int line);

#define MG_CHECK(condition)                                                                                  \
    do {                                                                                                     \
        if (__builtin_expect(!(condition), 0))                                                               \
            mg_check_failed(#condition, __FILE__, __LINE__);                                                 \
    } while (0)

#define MG_UNREACHABLE() mg_check_failed("unreachable", __FILE__, __LINE__)

#endif
