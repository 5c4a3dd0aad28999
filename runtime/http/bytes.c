/* bytes.c - the tables of bytes, and scans that read sixteen or eight at a time.
 *
 * PATH and QUERY follow what clients really send rather than RFC 3986 to the letter. Many send '"', "<", ">",
 * "^",
 * "`", "{", "|", "}" and bytes beyond ASCII as they are, and in a query "\" too. These are RAW: their one
 * form is %XX, in which the router, plugins and the upstream get them. Refused in both: controls, space and
 * "#". Refused in a path only: "\", which some servers and every browser read as a slash. */
#include "http/bytes.h"

#include <endian.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#define T MG_BYTE_TOKEN
#define P MG_BYTE_PATH
#define Q MG_BYTE_QUERY
#define U MG_BYTE_UNRESERVED
#define X MG_BYTE_HEX
#define H MG_BYTE_HOST
#define R MG_BYTE_RAW
#define C MG_BYTE_UPPER

const uint8_t mg_byte_classes[256] = {
    ['!'] = T | P | Q,
    ['"'] = P | Q | R,
    ['#'] = T,
    ['$' ... '\''] = T | P | Q,
    ['('] = P | Q,
    [')'] = P | Q,
    ['*' ... '+'] = T | P | Q,
    [','] = P | Q,
    ['-' ... '.'] = T | P | Q | U | H,
    ['/'] = P | Q,
    ['0' ... '9'] = T | P | Q | U | X | H,
    [':' ... ';'] = P | Q,
    ['<'] = P | Q | R,
    ['='] = P | Q,
    ['>'] = P | Q | R,
    ['?'] = Q,
    ['@'] = P | Q,
    ['A' ... 'F'] = T | P | Q | U | X | H | C,
    ['G' ... 'Z'] = T | P | Q | U | H | C,
    ['['] = P | Q,
    ['\\'] = Q | R,
    [']'] = P | Q,
    ['^'] = T | P | Q | R,
    ['_'] = T | P | Q | U | H,
    ['`'] = T | P | Q | R,
    ['a' ... 'f'] = T | P | Q | U | X | H,
    ['g' ... 'z'] = T | P | Q | U | H,
    ['{'] = P | Q | R,
    ['|'] = T | P | Q | R,
    ['}'] = P | Q | R,
    ['~'] = T | P | Q | U,
    [0x80 ... 0xff] = P | Q | R,
};

#undef T
#undef P
#undef Q
#undef U
#undef X
#undef H
#undef R
#undef C

/* The bytes of field names, in lower case: 0 is a byte that stands in no name. NAME_BYTE_ODD is added where
 * it is no letter, digit or "-". */
enum { NAME_BYTE_ODD = 0x80 };

#define ODD(c) [c] = NAME_BYTE_ODD | (c)
#define TEN(c)                                                                                               \
    [c] = c, [c + 1] = c + 1, [c + 2] = c + 2, [c + 3] = c + 3, [c + 4] = c + 4, [c + 5] = c + 5,            \
    [c + 6] = c + 6, [c + 7] = c + 7, [c + 8] = c + 8, [c + 9] = c + 9
#define TO_LOWER(c) [c] = c + 32, [c + 32] = c + 32

static const uint8_t name_bytes[256] = {
    TEN('0'),      TO_LOWER('A'), TO_LOWER('B'), TO_LOWER('C'), TO_LOWER('D'), TO_LOWER('E'), TO_LOWER('F'),
    TO_LOWER('G'), TO_LOWER('H'), TO_LOWER('I'), TO_LOWER('J'), TO_LOWER('K'), TO_LOWER('L'), TO_LOWER('M'),
    TO_LOWER('N'), TO_LOWER('O'), TO_LOWER('P'), TO_LOWER('Q'), TO_LOWER('R'), TO_LOWER('S'), TO_LOWER('T'),
    TO_LOWER('U'), TO_LOWER('V'), TO_LOWER('W'), TO_LOWER('X'), TO_LOWER('Y'), TO_LOWER('Z'), ['-'] = '-',
    ODD('!'),      ODD('#'),      ODD('$'),      ODD('%'),      ODD('&'),      ODD('\''),     ODD('*'),
    ODD('+'),      ODD('.'),      ODD('^'),      ODD('_'),      ODD('`'),      ODD('|'),      ODD('~'),
};

#undef ODD
#undef TEN
#undef TO_LOWER

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

/* The eight bytes at p as a number, the first one lowest. */
static uint64_t word_at(const char *p)
{
    uint64_t word;

    memcpy(&word, p, sizeof(word));
    return le64toh(word);
}

/* How many bytes stand before the first that is marked in its highest bit. */
static unsigned before_mark(uint64_t marks)
{
    return (unsigned)__builtin_ctzll(marks) / 8;
}

#define EACH(byte) (0x0101010101010101u * (byte))

/* Marks the bytes that are neither visible ASCII nor a blank: below 0x20, or above 0x7e. The first mark is
 * true; a borrow may set false ones behind it (after Mycroft). */
static uint64_t marks_of_odd(uint64_t word)
{
    return ((word - EACH(0x20)) | word | ((word ^ EACH(0x7f)) - EACH(1))) & EACH(0x80);
}

/* Whether all bytes are visible ASCII or blanks, of four to seven as eight of which some stand twice. */
static bool are_few_plain(const char *p, const char *end)
{
    uint32_t first, last;

    memcpy(&first, p, sizeof(first));
    memcpy(&last, end - sizeof(last), sizeof(last));
    return marks_of_odd((uint64_t)last << 32 | first) == 0;
}

/* The same, of eight to sixteen. */
static bool are_plain(const char *p, const char *end)
{
    return (marks_of_odd(word_at(p)) | marks_of_odd(word_at(end - 8))) == 0;
}

static __attribute__((noinline)) const char *value_end(const char *p, const char *end, bool *odd)
{
    uint64_t marks = 0;

    for (;;) {
        while (end - p >= 8 && (marks = marks_of_odd(word_at(p))) == 0)
            p += 8;
        if (end - p >= 8)
            p += before_mark(marks);
        while (p < end && *p >= 0x20 && *p < 0x7f)
            p++;
        if (p == end || is_control(*p))
            return p;
        *odd = true;
        p++;
    }
}

/* Marks the bytes from `first` to `last`, of a word whose bytes are below 0x80. */
static uint64_t marks_of_range(uint64_t word, unsigned first, unsigned last)
{
    return (word + EACH(0x80 - first)) & ~(word + EACH(0x7f - last)) & EACH(0x80);
}

/* Eight bytes of a name at once, while they are letters, digits and "-". The end is that of the name, or near
 * a byte that has to be looked at by itself. */
static char *plain_name_end(char *p, const char *end)
{
    while (end - p >= 8) {
        const uint64_t word = word_at(p);
        const uint64_t upper = marks_of_range(word & EACH(0x7f), 'A', 'Z'), lower = word | upper >> 2;
        const uint64_t plain = marks_of_range(lower & EACH(0x7f), 'a', 'z') |
                               marks_of_range(lower & EACH(0x7f), '0', '9') |
                               marks_of_range(lower & EACH(0x7f), '-', '-');
        const uint64_t others = (~plain | word) & EACH(0x80);
        const uint64_t taken = others ? (others & -others) / 0x80 - 1 : UINT64_MAX; /* bytes before others */
        const uint64_t out = htole64((lower & taken) | (word & ~taken));

        memcpy(p, &out, sizeof(out));
        if (others)
            return p + before_mark(others);
        p += 8;
    }
    return p;
}

static __attribute__((noinline)) char *name_end(char *p, const char *end, bool *odd)
{
    uint8_t byte, seen = 0;

    for (p = plain_name_end(p, end); (byte = name_bytes[(unsigned char)*p]) != 0; p++) {
        *p = (char)(byte & ~NAME_BYTE_ODD);
        seen |= byte;
    }
    *odd |= (seen & NAME_BYTE_ODD) != 0;
    return p;
}

/* ---- sixteen bytes at once, which is enough for most names and values ---- */

#ifdef __SSE2__

static inline __m128i sixteen_at(const void *p)
{
    return _mm_loadu_si128(p);
}

/* 0xff where a byte is from `first` to `last`. */
static inline __m128i in_range(__m128i bytes, char first, char last)
{
    const __m128i from = _mm_sub_epi8(bytes, _mm_set1_epi8(first));

    return _mm_cmpeq_epi8(_mm_subs_epu8(from, _mm_set1_epi8((char)(last - first))), _mm_setzero_si128());
}

static inline unsigned bits_of(__m128i marks)
{
    return (unsigned)_mm_movemask_epi8(marks);
}

/* A bit for each of them that is neither visible ASCII nor a blank. */
static inline unsigned odd_at(const char *p)
{
    return bits_of(in_range(sixteen_at(p), ' ', '~')) ^ 0xffff;
}

/* Makes letters lower-case up to the first byte that is no letter, digit nor "-"; how many stand before it.
 */
static inline unsigned lower_sixteen(char *p)
{
    static const uint8_t before[32] = { [0 ... 15] = 0x20 }; /* read from 16 - n on: n bytes, then none */
    const __m128i bytes = sixteen_at(p), small = _mm_set1_epi8(0x20);
    const __m128i letters = in_range(_mm_or_si128(bytes, small), 'a', 'z');
    const __m128i others = _mm_or_si128(in_range(bytes, '0', '9'), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('-')));
    const unsigned n = (unsigned)__builtin_ctz(~bits_of(_mm_or_si128(letters, others)));

    _mm_storeu_si128((__m128i *)(void *)p,
                     _mm_or_si128(bytes, _mm_and_si128(letters, sixteen_at(before + 16 - n))));
    return n;
}

char *mg_field_name_end(char *p, const char *end, bool *odd)
{
    if (end - p >= 16) {
        const unsigned n = lower_sixteen(p);

        p += n;
        if (n < 16 && *p == ':')
            return p;
    }
    return name_end(p, end, odd);
}

const char *mg_field_value_end(const char *p, const char *end, bool *odd)
{
    const ptrdiff_t n = end - p;
    unsigned bits;

    if (n < 16) {
        if (n >= 8 ? are_plain(p, end) : n >= 4 && are_few_plain(p, end))
            return end;
        return value_end(p, end, odd);
    }
    while (end - p >= 16) {
        if ((bits = odd_at(p)) != 0) {
            p += __builtin_ctz(bits);
            return is_control(*p) ? p : value_end(p, end, odd);
        }
        p += 16;
    }
    return odd_at(end - 16) == 0 ? end : value_end(p, end, odd);
}

const char *mg_pass_full_lines(const char *p, const char *end)
{
    const __m128i lf = _mm_set1_epi8('\n');
    unsigned before = 0; /* the last two bits of the bytes before p */

    for (; end - p >= 16; p += 16) {
        const unsigned bits = bits_of(_mm_cmpeq_epi8(sixteen_at(p), lf)) << 2 | before;
        const unsigned near = bits & (bits >> 1 | bits >> 2);

        if (near)
            return p - 2 + __builtin_ctz(near);
        before = bits >> 16;
    }
    return before ? p - (before & 1 ? 2 : 1) : p;
}

/* A bit for each byte that a plain path does not have, or that makes the "/" before it more than a separator. */
static inline unsigned not_plain_at(const char *p, unsigned slash_before)
{
    const __m128i bytes = sixteen_at(p), small = _mm_set1_epi8(0x20);
    const __m128i others =
        _mm_or_si128(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('-')), _mm_cmpeq_epi8(bytes, _mm_set1_epi8('_')));
    const __m128i names = _mm_or_si128(in_range(_mm_or_si128(bytes, small), 'a', 'z'), others);
    const __m128i marked = in_range(bytes, '.', '/'); /* "." and "/" */
    const unsigned after = bits_of(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('/'))) << 1 | slash_before;

    return (bits_of(_mm_or_si128(names, in_range(bytes, '.', '9'))) ^ 0xffff) | (bits_of(marked) & after);
}

const char *mg_pass_plain_path(const char *p, const char *end)
{
    const char *begin = p;

    while (end - p >= 16) {
        const unsigned bits = not_plain_at(p, p > begin && p[-1] == '/');

        if (bits)
            return p + __builtin_ctz(bits);
        p += 16;
    }
    if (p == end || end - begin < 16)
        return p;
    const ptrdiff_t passed = p - (end - 16); /* of the last sixteen: these were looked at before */
    const unsigned bits = not_plain_at(end - 16, end - 16 > begin && end[-17] == '/') >> passed;
    return bits ? p + __builtin_ctz(bits) : end;
}

#else

const char *mg_pass_plain_path(const char *p, const char *end)
{
    (void)end;
    return p;
}

const char *mg_pass_full_lines(const char *p, const char *end)
{
    (void)end;
    return p;
}

char *mg_field_name_end(char *p, const char *end, bool *odd)
{
    return name_end(p, end, odd);
}

const char *mg_field_value_end(const char *p, const char *end, bool *odd)
{
    const ptrdiff_t n = end - p;

    if (n <= 16 && (n >= 8 ? are_plain(p, end) : n >= 4 && are_few_plain(p, end)))
        return end;
    return value_end(p, end, odd);
}

#endif
