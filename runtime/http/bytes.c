/* bytes.c - the table of bytes, and a scan that reads eight at a time.
 *
 * PATH and QUERY follow what clients really send rather than RFC 3986 to the letter. Many send '"', "<", ">",
 * "^",
 * "`", "{", "|", "}" and bytes beyond ASCII as they are, and in a query "\" too. These are RAW: their one
 * form is %XX, in which the router, plugins and the upstream get them. Refused in both: controls, space and
 * "#". Refused in a path only: "\", which some servers and every browser read as a slash. */
#include "http/bytes.h"

#define T MG_BYTE_TOKEN
#define P MG_BYTE_PATH
#define Q MG_BYTE_QUERY
#define U MG_BYTE_UNRESERVED
#define X MG_BYTE_HEX
#define H MG_BYTE_HOST
#define R MG_BYTE_RAW

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
    ['A' ... 'F'] = T | P | Q | U | X | H,
    ['G' ... 'Z'] = T | P | Q | U | H,
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

static bool is_control(char c)
{
    return ((unsigned char)c < 0x20 && c != '\t') || c == 0x7f;
}

const char *mg_field_value_end(const char *p, const char *end)
{
    const uint64_t ones = 0x0101010101010101u, high = ones * 0x80;
    uint64_t word, del;

    while (end - p >= 8) {
        memcpy(&word, p, 8);
        del = word ^ (ones * 0x7f);
        /* A byte below 0x20, or one that is 0x7f (bits of Mycroft's test); a tab ends the quick way for one
         * word only. */
        if ((((word - ones * 0x20) & ~word) | ((del - ones) & ~del)) & high)
            for (size_t i = 0; i < 8; i++)
                if (is_control(p[i]))
                    return p + i;
        p += 8;
    }
    while (p < end && !is_control(*p))
        p++;
    return p;
}
