/* codec.c - one loop for each codec and direction. */
#include "base/codec.h"

/* ---- base64 ---- */

static size_t encode_base64(bool url, mg_str bytes, char *out)
{
    const char *digits = url ? "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
                             : "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t bits = 0;
    unsigned held = 0;
    size_t n = 0;

    for (size_t i = 0; i < bytes.n; i++) {
        bits = bits << 8 | (unsigned char)bytes.p[i];
        for (held += 8; held >= 6; held -= 6)
            out[n++] = digits[bits >> (held - 6) & 63];
    }
    if (held > 0)
        out[n++] = digits[bits << (6 - held) & 63];
    while (!url && n % 4 != 0)
        out[n++] = '=';
    return n;
}

/* The number of a digit; -1 when it is none. */
static int base64_digit(bool url, char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == (url ? '-' : '+'))
        return 62;
    return c == (url ? '_' : '/') ? 63 : -1;
}

static const char *decode_base64(bool url, mg_str text, char *out, size_t *n, size_t *at)
{
    size_t digits = text.n;
    uint32_t bits = 0;
    unsigned held = 0;

    while (!url && digits > 0 && text.n - digits < 2 && text.p[digits - 1] == '=')
        digits--;
    for (*at = 0; *at < digits; ++*at) {
        const int digit = base64_digit(url, text.p[*at]);

        if (digit < 0)
            return url && text.p[*at] == '=' ? "base64url has no padding" : "no digit of the alphabet";
        bits = bits << 6 | (unsigned)digit;
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[(*n)++] = (char)(bits >> held);
        }
    }
    *at = text.n;
    if (digits % 4 == 1 || (!url && text.n % 4 != 0))
        return url ? "the last digit is alone" : "the last group of four is not complete";
    *at = digits ? digits - 1 : 0;
    return bits & ((1u << held) - 1) ? "the last digit has bits that belong to no byte" : NULL;
}

/* ---- hex and percent ---- */

static int hex_digit(char c)
{
    const char lower = mg_lower(c);

    if (c >= '0' && c <= '9')
        return c - '0';
    return lower >= 'a' && lower <= 'f' ? lower - 'a' + 10 : -1;
}

static size_t encode_hex(mg_str bytes, char *out)
{
    for (size_t i = 0; i < bytes.n; i++) {
        out[2 * i] = "0123456789abcdef"[(unsigned char)bytes.p[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[bytes.p[i] & 15];
    }
    return 2 * bytes.n;
}

static const char *decode_hex(mg_str text, char *out, size_t *n, size_t *at)
{
    for (*at = 0; *at < text.n; ++*at) {
        const int digit = hex_digit(text.p[*at]);

        if (digit < 0)
            return "no hex digit";
        if (*at % 2 == 0)
            out[*n] = (char)(digit << 4);
        else
            out[(*n)++] |= (char)digit;
    }
    return text.n % 2 ? "an odd number of digits" : NULL;
}

static bool is_unreserved(char c)
{
    const char lower = mg_lower(c);

    return (lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.' || c == '_' ||
           c == '~';
}

static size_t encode_percent(mg_str bytes, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < bytes.n; i++) {
        const char c = bytes.p[i];

        if (is_unreserved(c)) {
            out[n++] = c;
            continue;
        }
        out[n++] = '%';
        out[n++] = "0123456789ABCDEF"[(unsigned char)c >> 4];
        out[n++] = "0123456789ABCDEF"[c & 15];
    }
    return n;
}

static const char *decode_percent(mg_str text, char *out, size_t *n, size_t *at)
{
    for (*at = 0; *at < text.n; ++*at) {
        const char *p = text.p + *at;

        if (*p != '%') {
            out[(*n)++] = *p;
            continue;
        }
        if (text.n - *at < 3 || hex_digit(p[1]) < 0 || hex_digit(p[2]) < 0)
            return "% is not followed by two hex digits";
        out[(*n)++] = (char)(hex_digit(p[1]) << 4 | hex_digit(p[2]));
        *at += 2;
    }
    return NULL;
}

/* ---- all of them ---- */

size_t mg_codec_encode(int codec, mg_str bytes, char *out)
{
    switch ((enum mg_codec)codec) {
    case MG_CODEC_BASE64: return encode_base64(false, bytes, out);
    case MG_CODEC_BASE64URL: return encode_base64(true, bytes, out);
    case MG_CODEC_HEX: return encode_hex(bytes, out);
    case MG_CODEC_PERCENT: return encode_percent(bytes, out);
    }
    return 0;
}

const char *mg_codec_decode(int codec, mg_str text, char *out, size_t *n, size_t *at)
{
    *n = 0;
    switch ((enum mg_codec)codec) {
    case MG_CODEC_BASE64: return decode_base64(false, text, out, n, at);
    case MG_CODEC_BASE64URL: return decode_base64(true, text, out, n, at);
    case MG_CODEC_HEX: return decode_hex(text, out, n, at);
    case MG_CODEC_PERCENT: return decode_percent(text, out, n, at);
    }
    return "no such codec";
}
