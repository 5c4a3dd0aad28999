/* uri.c - the parts of a URI, each in the one form that is passed on.
 *
 * Stricter than RFC 3986 where its readers disagree: a host is letters, digits, "-", "." and "_" (no escapes,
 * no sub-delimiters, no empty label), or an IPv6 address in brackets without zone; a port has digits if it
 * has a colon. */
#include "http/uri.h"

#include "http/bytes.h"
#include <arpa/inet.h>

enum { HOST_BYTES_MAX = 255, PORT_DIGITS_MAX = 5, PORT_MAX = 65535 };

static bool is_escape(const char *p, const char *end)
{
    return end - p >= 3 && mg_byte_is(p[1], MG_BYTE_HEX) && mg_byte_is(p[2], MG_BYTE_HEX);
}

static char escaped_byte(const char *p)
{
    return (char)(mg_byte_hex(p[1]) << 4 | mg_byte_hex(p[2]));
}

/* A byte that the normal form has as %XX. */
static bool is_bare(char c, unsigned keep)
{
    return mg_byte_is(c, MG_BYTE_RAW) && !((keep & MG_URI_KEEP_BRACES) && (c == '{' || c == '}'));
}

/* How much of `raw` is path; *plain when it is normal already; *bare counts the bytes that become %XX. False
 * when a byte must not stand there. */
static bool survey_path(mg_str raw, unsigned keep, size_t *path_n, bool *plain, size_t *bare)
{
    size_t i = (size_t)(mg_pass_plain_path(raw.p, raw.p + raw.n) - raw.p);

    *plain = true;
    *bare = 0;
    for (; i < raw.n; i++) {
        const unsigned char c = (unsigned char)raw.p[i];

        if (mg_byte_is((char)c, MG_BYTE_UNRESERVED) && c != '.')
            continue; /* as it is, wherever it stands */
        if (c == '?' || c == '#')
            break;
        if (c <= ' ' || c == 0x7f)
            return false;
        *bare += is_bare((char)c, keep);
        if (c == '%' ||
            (i && raw.p[i - 1] == '/' && ((c == '/' && !(keep & MG_URI_KEEP_SLASHES)) || c == '.')))
            *plain = false;
    }
    *path_n = i;
    return true;
}

/* Closes the segment that began at `segment` in out[0, *n): drops "." and, with the one before it, "..", and
 * an empty one unless such are kept. */
static bool close_segment(char *out, size_t *n, size_t segment, bool slash, unsigned keep)
{
    size_t length = *n - segment;

    if (length == 1 && out[segment] == '.') {
        *n = segment;
    } else if (length == 2 && out[segment] == '.' && out[segment + 1] == '.') {
        if (segment == 1)
            return false;
        for (*n = segment - 1; out[*n - 1] != '/';)
            --*n;
    } else if (slash && (length > 0 || (keep & MG_URI_KEEP_SLASHES))) {
        out[(*n)++] = '/';
    }
    return true;
}

static void put_escape(char *out, size_t *n, char c)
{
    static const char digits[] = "0123456789ABCDEF";

    out[(*n)++] = '%';
    out[(*n)++] = digits[(unsigned char)c >> 4];
    out[(*n)++] = digits[c & 15];
}

/* Copies the escape at p in its one form; returns its end, NULL when it is none or %00. */
static const char *copy_escape(char *out, size_t *n, const char *p, const char *end)
{
    char c;

    if (!is_escape(p, end))
        return NULL;
    c = escaped_byte(p);
    if (c == 0)
        return NULL;
    if (mg_byte_is(c, MG_BYTE_UNRESERVED))
        out[(*n)++] = c;
    else
        put_escape(out, n, c);
    return p + 3;
}

/* Copies the byte at p, a bare one as its escape. */
static const char *copy_byte(char *out, size_t *n, const char *p, unsigned keep)
{
    if (is_bare(*p, keep))
        put_escape(out, n, *p);
    else
        out[(*n)++] = *p;
    return p + 1;
}

bool mg_uri_normalise_path(mg_arena *arena, mg_str raw, unsigned keep, mg_str *out)
{
    const char *p, *end;
    char *copy;
    size_t path_n, bare, n = 1, segment = 1;
    bool plain;

    if (raw.n == 0 || raw.p[0] != '/' || !survey_path(raw, keep, &path_n, &plain, &bare))
        return false;
    *out = mg_str_make(raw.p, path_n);
    if (plain && !bare)
        return true;
    copy = mg_arena_bytes(arena, path_n + 2 * bare);
    copy[0] = '/';
    for (p = raw.p + 1, end = raw.p + path_n; p < end;) {
        if (*p == '/') {
            if (!close_segment(copy, &n, segment, true, keep))
                return false;
            segment = n;
            p++;
        } else if (*p == '%') {
            if (!(p = copy_escape(copy, &n, p, end)))
                return false;
        } else {
            p = copy_byte(copy, &n, p, keep);
        }
    }
    if (!close_segment(copy, &n, segment, false, keep))
        return false;
    *out = mg_str_make(copy, n);
    return true;
}

bool mg_uri_has_empty_segment(mg_str path)
{
    const char *at = path.p, *end = path.p + path.n;

    while (at < end && (at = memchr(at, '/', (size_t)(end - at)))) {
        if (++at < end && *at == '/')
            return true;
    }
    return false;
}

bool mg_uri_has_dots(mg_str path)
{
    mg_str segment;

    while (mg_str_cut(&path, '/', &segment)) {
        size_t dots = 0;

        for (; segment.n > 0; dots++) {
            const bool escape = segment.p[0] == '%' && is_escape(segment.p, segment.p + segment.n);

            if ((escape ? escaped_byte(segment.p) : segment.p[0]) != '.')
                break;
            segment = mg_str_sub(segment, escape ? 3 : 1, segment.n);
        }
        if (segment.n == 0 && (dots == 1 || dots == 2))
            return true;
    }
    return false;
}

mg_str mg_uri_normalise_query(mg_arena *arena, mg_str raw)
{
    size_t bare = 0, n = 0;
    char *copy;

    for (size_t i = 0; i < raw.n; i++)
        bare += is_bare(raw.p[i], 0);
    if (!bare)
        return raw;
    copy = mg_arena_bytes(arena, raw.n + 2 * bare);
    for (const char *p = raw.p; p < raw.p + raw.n;)
        p = copy_byte(copy, &n, p, 0);
    return mg_str_make(copy, n);
}

const char *mg_uri_split(mg_str text, mg_str *path, mg_str *query, bool *bare)
{
    const char *at = text.p, *end = at + text.n;
    unsigned classes, all = 0;

    at = mg_pass_plain_path(at, end);
    for (; at < end && ((classes = mg_byte_classes[(unsigned char)*at]) & MG_BYTE_PATH); at++)
        all |= classes;
    *path = mg_str_make(text.p, (size_t)(at - text.p));
    *query = MG_STR_NONE;
    if (at < end && *at == '?') {
        const char *from = ++at;

        for (; at < end && ((classes = mg_byte_classes[(unsigned char)*at]) & MG_BYTE_QUERY); at++)
            all |= classes;
        *query = mg_str_make(from, (size_t)(at - from));
    }
    *bare = all & MG_BYTE_RAW;
    return at < end ? at : NULL;
}

static mg_str decode(mg_arena *arena, mg_str raw, bool plus_is_space)
{
    const char *end = raw.p + raw.n;
    char *copy, *at;

    if (mg_str_find(raw, '%') == SIZE_MAX && (!plus_is_space || mg_str_find(raw, '+') == SIZE_MAX))
        return raw;
    copy = at = mg_arena_bytes(arena, raw.n);
    for (const char *p = raw.p; p < end; p++) {
        if (*p == '%' && is_escape(p, end)) {
            *at++ = escaped_byte(p);
            p += 2;
        } else {
            *at++ = plus_is_space && *p == '+' ? ' ' : *p;
        }
    }
    return mg_str_make(copy, (size_t)(at - copy));
}

mg_str mg_uri_decode(mg_arena *arena, mg_str raw)
{
    return decode(arena, raw, false);
}

static bool parse_port(mg_str digits, int *port)
{
    *port = 0;
    if (digits.n == 0 || digits.n > PORT_DIGITS_MAX)
        return false;
    for (size_t i = 0; i < digits.n; i++) {
        if (digits.p[i] < '0' || digits.p[i] > '9')
            return false;
        *port = *port * 10 + (digits.p[i] - '0');
    }
    return *port <= PORT_MAX;
}

static bool is_ipv6(mg_str text)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;

    if (text.n == 0 || text.n >= sizeof(copy) || memchr(text.p, 0, text.n))
        return false;
    memcpy(copy, text.p, text.n);
    copy[text.n] = 0;
    return inet_pton(AF_INET6, copy, &address) == 1;
}

/* The labels that `text` begins with, of name bytes between single dots. False where one is empty. *upper: some
 * letter is upper-case. */
static bool take_name(mg_str text, mg_str *name, bool *upper)
{
    const char *at = text.p, *end = text.p + text.n;
    unsigned classes, all = 0;

    for (; at < end && ((classes = mg_byte_classes[(unsigned char)*at]) & MG_BYTE_HOST); at++) {
        if (*at == '.' && (at == text.p || at[-1] == '.'))
            return false;
        all |= classes;
    }
    *upper = all & MG_BYTE_UPPER;
    *name = mg_str_make(text.p, (size_t)(at - text.p));
    return true;
}

static mg_str to_lower(mg_arena *arena, mg_str s)
{
    char *copy = mg_arena_bytes(arena, s.n);

    for (size_t i = 0; i < s.n; i++)
        copy[i] = mg_lower(s.p[i]);
    return mg_str_make(copy, s.n);
}

/* An IPv6 address in brackets. */
static bool take_bracketed(mg_str text, mg_str *name, size_t *n)
{
    const size_t close = mg_str_find(text, ']');

    if (close == SIZE_MAX)
        return false;
    *name = mg_str_make(text.p + 1, close - 1);
    *n = close + 1;
    return is_ipv6(*name);
}

static bool take_host(mg_str text, mg_str *name, size_t *n, bool *upper)
{
    if (!take_name(text, name, upper))
        return false;
    *n = name->n;
    if (name->n && name->p[name->n - 1] == '.')
        name->n--; /* that of the root */
    return name->n && name->n <= HOST_BYTES_MAX;
}

bool mg_uri_authority(mg_arena *arena, mg_str authority, mg_str *host, int *port)
{
    bool upper = true;
    mg_str name;
    size_t n = 0;

    *port = -1;
    if (!authority.n)
        return false;
    if (!(authority.p[0] == '[' ? take_bracketed(authority, &name, &n)
                                : take_host(authority, &name, &n, &upper)))
        return false;
    if (n < authority.n &&
        (authority.p[n] != ':' || !parse_port(mg_str_make(authority.p + n + 1, authority.n - n - 1), port)))
        return false;
    *host = upper ? to_lower(arena, name) : name;
    return true;
}

static const char *parse_scheme(mg_str *rest, mg_uri *out)
{
    size_t colon = mg_str_find(*rest, ':');

    if (colon == SIZE_MAX)
        return "it does not begin with http:// or https://";
    out->scheme = mg_str_make(rest->p, colon);
    if (mg_str_eq_nocase(out->scheme, MG_STR("http")))
        out->scheme = MG_STR("http");
    else if (mg_str_eq_nocase(out->scheme, MG_STR("https")))
        out->scheme = MG_STR("https");
    else
        return "its scheme is neither http nor https";
    *rest = mg_str_make(rest->p + colon + 1, rest->n - colon - 1);
    if (!mg_str_starts(*rest, MG_STR("//")))
        return "it has no // behind its scheme";
    *rest = mg_str_make(rest->p + 2, rest->n - 2);
    return NULL;
}

static const char *parse_authority(mg_arena *arena, mg_str *rest, mg_uri *out)
{
    size_t n = 0;

    while (n < rest->n && rest->p[n] != '/' && rest->p[n] != '?' && rest->p[n] != '#')
        n++;
    out->authority = mg_str_make(rest->p, n);
    if (mg_str_find(out->authority, '@') != SIZE_MAX)
        return "it has a user name or password, which do not belong in a URI";
    if (!mg_uri_authority(arena, out->authority, &out->host, &out->port))
        return "its host or port is malformed";
    if (out->port < 0)
        out->port = out->scheme.n == 5 ? 443 : 80;
    *rest = mg_str_make(rest->p + n, rest->n - n);
    return NULL;
}

static const char *parse_path_and_query(mg_str rest, mg_uri *out)
{
    bool bare;
    const char *bad = mg_uri_split(rest, &out->path, &out->query, &bare);

    if (!out->path.n)
        out->path = MG_STR("/");
    if (!bad)
        return NULL;
    return *bad == '#' ? "it has a fragment (#)" : "it has a byte that must be escaped with %";
}

const char *mg_uri_parse(mg_arena *arena, mg_str text, mg_uri *out)
{
    const char *why;

    memset(out, 0, sizeof(*out));
    if ((why = parse_scheme(&text, out)))
        return why;
    if ((why = parse_authority(arena, &text, out)))
        return why;
    return parse_path_and_query(text, out);
}

bool mg_uri_query_next(mg_arena *arena, mg_str *query, mg_str name, mg_str *value)
{
    mg_str pair;

    while (mg_str_cut(query, '&', &pair)) {
        size_t equals = mg_str_find(pair, '=');
        mg_str key = mg_str_make(pair.p, equals == SIZE_MAX ? pair.n : equals);

        if (!mg_str_eq(decode(arena, key, true), name))
            continue;
        pair = equals == SIZE_MAX ? MG_STR("") : mg_str_make(pair.p + equals + 1, pair.n - equals - 1);
        *value = decode(arena, pair, true);
        return true;
    }
    return false;
}

bool mg_uri_query_get(mg_arena *arena, mg_str query, mg_str name, mg_str *value)
{
    return mg_uri_query_next(arena, &query, name, value);
}
