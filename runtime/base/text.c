/* text.c - mg_text: bytes that grow by doubling and always end in a NUL. */
#include "base/str.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>

void mg_text_fini(mg_text *t)
{
    mg_free(t->p);
    *t = (mg_text){ 0 };
}

void mg_text_clear(mg_text *t)
{
    t->n = 0;
    if (t->p)
        t->p[0] = '\0';
}

void mg_text_reserve(mg_text *t, size_t more)
{
    size_t cap = t->cap ? t->cap : 64;

    MG_CHECK(more < SIZE_MAX / 4 && t->n < SIZE_MAX / 4);
    if (t->p && t->cap - t->n > more)
        return;
    while (cap - t->n <= more)
        cap *= 2;
    t->p = mg_realloc(t->p, cap);
    t->cap = cap;
    t->p[t->n] = '\0';
}

void mg_text_add(mg_text *t, mg_str s)
{
    mg_text_reserve(t, s.n);
    if (s.n)
        memcpy(t->p + t->n, s.p, s.n);
    t->n += s.n;
    t->p[t->n] = '\0';
}

void mg_text_add_c(mg_text *t, const char *s)
{
    mg_text_add(t, mg_str_of(s));
}

void mg_text_add_char(mg_text *t, char c)
{
    mg_text_add(t, mg_str_make(&c, 1));
}

void mg_text_addf(mg_text *t, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    mg_text_vaddf(t, format, args);
    va_end(args);
}

void mg_text_vaddf(mg_text *t, const char *format, va_list args)
{
    va_list again;
    int n;

    mg_text_reserve(t, 64);
    va_copy(again, args);
    n = vsnprintf(t->p + t->n, t->cap - t->n, format, args);
    MG_CHECK(n >= 0);
    if ((size_t)n >= t->cap - t->n) {
        mg_text_reserve(t, (size_t)n);
        vsnprintf(t->p + t->n, t->cap - t->n, format, again);
    }
    va_end(again);
    t->n += (size_t)n;
}

/* Bytes of the well-formed UTF-8 sequence at `p`, or 0: no surrogates, nothing overlong, nothing above
 * U+10FFFF (RFC 3629, section 4). */
size_t mg_str_utf8_at(mg_str s, size_t at)
{
    const unsigned char *p = (const unsigned char *)s.p + at;
    const size_t n = s.n - at;
    const unsigned char c = p[0];
    unsigned char low = 0x80, high = 0xbf; /* what the second byte may be */
    size_t length;

    if (c < 0x80)
        return 1;
    if (c < 0xc2 || c > 0xf4)
        return 0;
    length = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    if (c == 0xe0)
        low = 0xa0;
    else if (c == 0xed)
        high = 0x9f;
    else if (c == 0xf0)
        low = 0x90;
    else if (c == 0xf4)
        high = 0x8f;
    if (n < length || p[1] < low || p[1] > high)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (p[i] < 0x80 || p[i] > 0xbf)
            return 0;
    return length;
}

bool mg_str_is_utf8(mg_str s)
{
    for (size_t at = 0, length; at < s.n; at += length) {
        length = mg_str_utf8_at(s, at);
        if (!length)
            return false;
    }
    return true;
}

/* The escape of a byte that may not stand in a JSON string (RFC 8259, section 7) as it is. */
static void add_escape(mg_text *t, unsigned char c)
{
    switch (c) {
    case '"': mg_text_add_c(t, "\\\""); break;
    case '\\': mg_text_add_c(t, "\\\\"); break;
    case '\b': mg_text_add_c(t, "\\b"); break;
    case '\f': mg_text_add_c(t, "\\f"); break;
    case '\n': mg_text_add_c(t, "\\n"); break;
    case '\r': mg_text_add_c(t, "\\r"); break;
    case '\t': mg_text_add_c(t, "\\t"); break;
    default: mg_text_addf(t, "\\u%04x", c);
    }
}

size_t mg_str_control(mg_str s, size_t at)
{
    const unsigned char *p = (const unsigned char *)s.p + at;

    if (p[0] < 0x20 || p[0] == 0x7f)
        return 1;
    return p[0] == 0xc2 && at + 1 < s.n && p[1] >= 0x80 && p[1] <= 0x9f ? 2 : 0;
}

/* DEL needs no escape in JSON, but a terminal that shows a log does better without it. */
static bool must_escape(unsigned char c)
{
    return c < 0x20 || c == '"' || c == '\\' || c == 0x7f;
}

/* How many bytes from `at` on stand in a JSON string as they are; looks at eight at once. */
static size_t plain_bytes(mg_str s, size_t at)
{
    const uint64_t ones = 0x0101010101010101, tops = 0x8080808080808080;
    const size_t from = at;
    uint64_t word;

    for (; at + sizeof word <= s.n; at += sizeof word) {
        memcpy(&word, s.p + at, sizeof word);
        const uint64_t quote = (word ^ '"' * ones) - ones, slash = (word ^ '\\' * ones) - ones;
        const uint64_t del = (word ^ 0x7f * ones) - ones, control = word - 0x20 * ones;
        if ((word | quote | slash | del | control) & tops)
            break;
    }
    while (at < s.n && (unsigned char)s.p[at] < 0x80 && !must_escape((unsigned char)s.p[at]))
        at++;
    return at - from;
}

void mg_text_add_json(mg_text *t, mg_str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t from = 0, at = 0; /* [from, at) is fine as it is and not yet copied */

    mg_text_reserve(t, s.n + 2);
    mg_text_add_char(t, '"');
    while ((at += plain_bytes(s, at)) < s.n) {
        const size_t length = must_escape(p[at]) ? 0 : mg_str_utf8_at(s, at);

        if (length) {
            at += length;
            continue;
        }
        mg_text_add(t, mg_str_make(s.p + from, at - from));
        if (must_escape(p[at]))
            add_escape(t, p[at]);
        else
            mg_text_add_c(t, "\xef\xbf\xbd");
        from = ++at;
    }
    if (at > from)
        mg_text_add(t, mg_str_make(s.p + from, at - from));
    mg_text_add_char(t, '"');
}

void mg_text_add_u64(mg_text *t, uint64_t number)
{
    char digits[20];

    mg_text_add(t, mg_str_make(digits, mg_u64_write(digits, number)));
}
