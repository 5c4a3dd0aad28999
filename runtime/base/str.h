/* str.h - borrowed bytes, and a text buffer that grows. Pure: any thread, one at a time on one buffer. */
#ifndef MG_BASE_STR_H
#define MG_BASE_STR_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Bytes somebody else owns; not NUL-terminated. {NULL, 0} is the absent string, {p, 0} an empty one. */
typedef struct mg_str {
    const char *p;
    size_t n;
} mg_str;

#define MG_STR(literal) ((mg_str){ "" literal, sizeof(literal) - 1 })
#define MG_STR_NONE     ((mg_str){ NULL, 0 })
/* For printf's "%.*s". */
#define MG_STR_ARGS(s) (int)(s).n, (s).p ? (s).p : ""

static inline mg_str mg_str_of(const char *text)
{
    return (mg_str){ text, text ? strlen(text) : 0 };
}

static inline mg_str mg_str_make(const char *p, size_t n)
{
    return (mg_str){ p, n };
}

static inline bool mg_str_eq(mg_str a, mg_str b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool mg_str_eq_c(mg_str a, const char *b)
{
    return mg_str_eq(a, mg_str_of(b));
}

bool mg_str_eq_nocase(mg_str a, mg_str b); /* ASCII */
bool mg_str_starts(mg_str s, mg_str prefix);
bool mg_str_ends(mg_str s, mg_str suffix);
int mg_str_cmp(mg_str a, mg_str b); /* bytewise, for qsort */
mg_str mg_str_sub(mg_str s, size_t from, size_t to);
mg_str mg_str_trim(mg_str s, const char *set);
/* Cuts the part before the first `sep` off *rest; false once *rest is absent. As joined: "a," has two parts,
 * "" has one. */
bool mg_str_cut(mg_str *rest, char sep, mg_str *part);
/* Position of a byte, or SIZE_MAX. */
size_t mg_str_find(mg_str s, char c);

bool mg_str_is_utf8(mg_str s); /* RFC 3629 */
/* Bytes of the character of UTF-8 that stands at `at` < s.n; 0 when there is none. */
size_t mg_str_utf8_at(mg_str s, size_t at);
/* Bytes of the control character that stands at `at`, 0 when none does: 1 in ASCII, 2 for one of C1 as UTF-8,
 * which a terminal may take for an order like the others. */
size_t mg_str_control(mg_str s, size_t at);
/* A whole decimal number of digits only; false when empty, not a number, or above UINT64_MAX. */
bool mg_str_u64(mg_str s, uint64_t *out);

/* For what is mostly short. */
static inline bool mg_bytes_eq(const char *a, const char *b, size_t n)
{
    uint64_t words[4];
    uint32_t halves[4];

    if (n > 16 || n < 4)
        return memcmp(a, b, n) == 0;
    if (n < 8) {
        memcpy(&halves[0], a, 4);
        memcpy(&halves[1], b, 4);
        memcpy(&halves[2], a + n - 4, 4);
        memcpy(&halves[3], b + n - 4, 4);
        return ((halves[0] ^ halves[1]) | (halves[2] ^ halves[3])) == 0;
    }
    memcpy(&words[0], a, 8);
    memcpy(&words[1], b, 8);
    memcpy(&words[2], a + n - 8, 8);
    memcpy(&words[3], b + n - 8, 8);
    return ((words[0] ^ words[1]) | (words[2] ^ words[3])) == 0;
}

/* Copies what is mostly short; returns its end in `at`. */
static inline char *mg_put(char *at, mg_str s)
{
    if (s.n > 32)
        memcpy(at, s.p, s.n);
    else if (s.n >= 16) {
        char first[16], last[16];
        memcpy(first, s.p, 16);
        memcpy(last, s.p + s.n - 16, 16);
        memcpy(at, first, 16);
        memcpy(at + s.n - 16, last, 16);
    } else if (s.n >= 8) {
        char first[8], last[8];
        memcpy(first, s.p, 8);
        memcpy(last, s.p + s.n - 8, 8);
        memcpy(at, first, 8);
        memcpy(at + s.n - 8, last, 8);
    } else if (s.n >= 4) {
        char first[4], last[4];
        memcpy(first, s.p, 4);
        memcpy(last, s.p + s.n - 4, 4);
        memcpy(at, first, 4);
        memcpy(at + s.n - 4, last, 4);
    } else {
        for (size_t i = 0; i < s.n; i++)
            at[i] = s.p[i];
    }
    return at + s.n;
}

static inline char mg_lower(char c)
{
    return (c >= 'A' && c <= 'Z') ? (char)(c | 0x20) : c;
}

/* How many edits make one of the other: a byte more, less or another, or two neighbours changed places; case
 * does not count. Both at most 64 bytes, else a large number. */
unsigned mg_str_distance(mg_str a, mg_str b);

/* For "did you mean": the known name that was most likely meant. Start with { .name = what was written }. */
typedef struct mg_guess {
    mg_str name;
    mg_str best; /* borrowed from what was offered; {NULL, 0} while nothing is near enough */
    unsigned cost;
} mg_guess;

/* Near enough is an edit for every three bytes, or the beginning of a name that is at most twice as long. */
void mg_guess_offer(mg_guess *guess, mg_str known);

/* FNV-1a 64 of the bytes, xor seed * golden ratio, then the murmur3 finaliser: docs/policies.md 6, H(text,
 * seed). */
uint64_t mg_hash(mg_str s, uint64_t seed);

/* Text that grows; always NUL-terminated once it has memory. {0} is a valid empty one. */
typedef struct mg_text {
    char *p;
    size_t n, cap;
} mg_text;

void mg_text_fini(mg_text *t);
void mg_text_clear(mg_text *t); /* keeps the memory */
void mg_text_reserve(mg_text *t, size_t more);
void mg_text_add(mg_text *t, mg_str s);
void mg_text_add_c(mg_text *t, const char *s);
void mg_text_add_char(mg_text *t, char c);
void mg_text_addf(mg_text *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
void mg_text_vaddf(mg_text *t, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
/* The bytes as a JSON string with its quotes; bytes that are not UTF-8 become U+FFFD. */
void mg_text_add_json(mg_text *t, mg_str s);
void mg_text_add_u64(mg_text *t, uint64_t number);

static inline mg_str mg_text_str(const mg_text *t)
{
    return (mg_str){ t->p ? t->p : "", t->n };
}

/* Writes a decimal number without NUL; returns its length, at most 20. */
size_t mg_u64_write(char out[20], uint64_t number);

#endif
