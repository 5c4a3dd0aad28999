/* bytes.h - which bytes may stand where, for the readers of this layer. Pure: any thread. */
#ifndef MG_HTTP_BYTES_H
#define MG_HTTP_BYTES_H

#include "base/str.h"

enum {
    MG_BYTE_TOKEN = 1,      /* RFC 9110 5.6.2 */
    MG_BYTE_PATH = 2,       /* in a path as it is received */
    MG_BYTE_QUERY = 4,      /* in a query as it is received */
    MG_BYTE_UNRESERVED = 8, /* RFC 3986 2.3 */
    MG_BYTE_HEX = 16,
    MG_BYTE_HOST = 32, /* in a registered name as DNS and browsers have them */
    MG_BYTE_RAW = 64,  /* in a path or query only as %XX; clients send it bare all the same */
    MG_BYTE_UPPER = 128,
};

extern const uint8_t mg_byte_classes[256];

static inline bool mg_byte_is(char c, unsigned classes)
{
    return (mg_byte_classes[(unsigned char)c] & classes) != 0;
}

/* OWS, RFC 9110 5.6.3 */
static inline bool mg_byte_is_space(char c)
{
    return c == ' ' || c == '\t';
}

/* Without the OWS around it. */
static inline mg_str mg_byte_trim(mg_str s)
{
    while (s.n > 0 && mg_byte_is_space(s.p[0])) {
        s.p++;
        s.n--;
    }
    while (s.n > 0 && mg_byte_is_space(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* The number of a hex digit. */
static inline unsigned mg_byte_hex(char c)
{
    return c <= '9' ? (unsigned)(c - '0') : ((unsigned)c & 7) + 9;
}

/* The first byte from p on that may not stand in a field name; those before it are lower-case now. A byte
 * that may not, stands before `end`. Sets *odd when one of them is no letter, digit or "-". */
char *mg_field_name_end(char *p, const char *end, bool *odd);

/* The first byte in [p, end) that may not stand in a field value: a control byte other than HTAB. `end` when
 * there is none. Sets *odd when it passed a byte that is not visible ASCII or a blank. */
const char *mg_field_value_end(const char *p, const char *end, bool *odd);

/* No LF with an empty line behind it, ended by CRLF or LF, stands in [p, what is returned). */
const char *mg_pass_full_lines(const char *p, const char *end);

/* Every byte of [p, what is returned) is a letter, a digit, "-", "_", "." or "/", and no "/" there has "/" or "."
 * behind it: a path in its one form, or the beginning of one. It may end before the last of them. */
const char *mg_pass_plain_path(const char *p, const char *end);

#endif
