/* router_template.c - the paths and hosts of a configuration, in the form that requests are matched in. */
#include "policy/router_table.h"

#include <stdio.h>

static bool fail(mg_route_fault *fault, const char *code, const char *message, const char *hint)
{
    fault->code = code;
    snprintf(fault->message, sizeof(fault->message), "%s", message);
    snprintf(fault->hint, sizeof(fault->hint), "%s", hint);
    return false;
}

/* RFC 3986, 2.3 */
static bool is_unreserved(int c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_' || c == '~';
}

static char *put_escape(char *to, unsigned char byte)
{
    static const char digits[] = "0123456789ABCDEF";

    *to++ = '%';
    *to++ = digits[byte >> 4];
    *to++ = digits[byte & 15];
    return to;
}

static char *put_decoded(char *to, unsigned char byte)
{
    if (!is_unreserved(byte))
        return put_escape(to, byte);
    *to++ = (char)byte;
    return to;
}

/* An escape of two digits at `p`; -1 when it is none. */
static int escaped(mg_str s, size_t at)
{
    int high, low;

    if (s.n - at < 3)
        return -1;
    high = mg_route_hex(s.p[at + 1]);
    low = mg_route_hex(s.p[at + 2]);
    return high < 0 || low < 0 ? -1 : high * 16 + low;
}

/* Text as a normalised request has it: only unreserved bytes bare that were escaped, the rest of the escapes
 * upper-case, and bytes that no request carries bare, escaped. */
static bool parse_text(mg_arena *arena, mg_str raw, mg_str *out, mg_route_fault *fault)
{
    char *bytes = mg_arena_bytes(arena, raw.n * 3 + 1), *to = bytes;

    for (size_t i = 0; i < raw.n; i++) {
        const unsigned char c = (unsigned char)raw.p[i];
        const int value = c == '%' ? escaped(raw, i) : c;

        if (c == '{' || c == '}')
            return fail(fault, "bad-path",
                        "a parameter is a whole segment: /{name}/ or, at the end, /{*name}",
                        "a brace that is meant is written %7B or %7D");
        if (value <= 0 || (c != '%' && (c < ' ' || c == 0x7f)))
            return fail(fault, "bad-path",
                        c == '%' ? "a % that begins no escape, or %00" : "a control character",
                        "write a percent sign that is meant as %25");
        if (c == '?' || c == '#')
            return fail(fault, "bad-path", "a path ends before ? and #", "queries take no part in routing");
        if (c == '%') {
            to = put_decoded(to, (unsigned char)value);
            i += 2;
        } else if (c > '~' || strchr(" \"<>\\^`|", c)) { /* c is not 0 here */
            to = put_escape(to, c);
        } else {
            *to++ = (char)c;
        }
    }
    *out = mg_str_make(bytes, (size_t)(to - bytes));
    if (mg_str_eq_c(*out, ".") || mg_str_eq_c(*out, ".."))
        return fail(fault, "bad-path", "segments . and .. are resolved before a path is matched",
                    "write the path that they lead to");
    return true;
}

static bool parse_name(mg_arena *arena, mg_str name, const mg_route_template *before, mg_str *out,
                       mg_route_fault *fault)
{
    if (name.n < 1 || name.n > MG_ROUTE_NAME_BYTES_MAX)
        return fail(fault, "bad-path", "a parameter's name has 1 to 64 characters",
                    "for example /users/{id}");
    for (size_t i = 0; i < name.n; i++) {
        if (!is_unreserved((unsigned char)name.p[i]) || name.p[i] == '~' || name.p[i] == '.')
            return fail(fault, "bad-path", "a parameter's name is of letters, digits, - and _",
                        "for example /users/{id}, or at the end /files/{*path}");
    }
    for (unsigned i = 0; i < before->segment_count; i++) {
        if (before->segments[i].kind != MG_SEGMENT_TEXT && mg_str_eq(before->segments[i].text, name))
            return fail(fault, "bad-path", "the same parameter twice in one path", "give each its own name");
    }
    *out = mg_arena_str(arena, name);
    return true;
}

static bool parse_segment(mg_arena *arena, mg_str raw, bool is_last, bool may_be_empty, mg_route_template *t,
                          mg_route_fault *fault)
{
    mg_segment *segment = &t->segments[t->segment_count];

    if (t->segment_count >= MG_ROUTE_SEGMENTS_MAX)
        return fail(fault, "bad-path", "more than 64 segments", "a {*name} at the end takes any number");
    if (raw.n == 0 && !is_last && !may_be_empty)
        return fail(fault, "bad-path", "an empty segment: requests have theirs merged", "write one slash");
    if (raw.n < 2 || raw.p[0] != '{' || raw.p[raw.n - 1] != '}') {
        segment->kind = MG_SEGMENT_TEXT;
        if (!parse_text(arena, raw, &segment->text, fault))
            return false;
    } else {
        const bool is_rest = raw.p[1] == '*';

        if (is_rest && !is_last)
            return fail(fault, "bad-path", "only the last segment may be {*name}",
                        "use {name} for one segment");
        if (t->param_count >= MG_ROUTE_PARAMS_MAX)
            return fail(fault, "bad-path", "more than 32 parameters",
                        "a {*name} at the end takes any number of segments");
        segment->kind = is_rest ? MG_SEGMENT_REST : MG_SEGMENT_PARAM;
        if (!parse_name(arena, mg_str_sub(raw, is_rest ? 2 : 1, raw.n - 1), t, &segment->text, fault))
            return false;
        t->param_count++;
    }
    t->segment_count++;
    return true;
}

static bool parse_segments(mg_arena *arena, mg_str rest, bool prefix, bool keeps_slashes,
                           mg_route_template *out, mg_route_fault *fault)
{
    for (;;) {
        const size_t slash = mg_str_find(rest, '/');
        const bool is_last = slash == SIZE_MAX;

        if (!parse_segment(arena, is_last ? rest : mg_str_sub(rest, 0, slash), is_last, keeps_slashes, out,
                           fault))
            return false;
        if (prefix && out->segments[out->segment_count - 1].kind != MG_SEGMENT_TEXT)
            return fail(fault, "bad-path", "a prefix has no parameters",
                        "a path with {*name} at the end matches all below, and says what was there");
        if (is_last)
            return true;
        rest = mg_str_sub(rest, slash + 1, rest.n);
    }
}

bool mg_route_template_parse(mg_arena *arena, const mg_route_path *path, bool keeps_slashes,
                             mg_route_template *out, mg_route_fault *fault)
{
    mg_str rest = path->text;

    out->segment_count = out->param_count = 0;
    if (rest.n == 0 || rest.p[0] != '/')
        return fail(fault, "bad-path", "a path begins with /", "for example /users/{id}");
    if (rest.n > MG_ROUTE_PATH_BYTES_MAX)
        return fail(fault, "bad-path", "more than 4096 bytes",
                    "a prefix, or a {*name} at the end, takes the rest");
    rest = mg_str_sub(rest, 1, rest.n);
    if (path->prefix && rest.n && rest.p[rest.n - 1] == '/')
        rest.n--;
    /* The prefix / has no segment before what it takes. */
    if ((!path->prefix || rest.n) && !parse_segments(arena, rest, path->prefix, keeps_slashes, out, fault))
        return false;
    if (path->prefix)
        out->segments[out->segment_count++] = (mg_segment){ .kind = MG_SEGMENT_PREFIX };
    return true;
}

bool mg_route_host_parse(mg_arena *arena, mg_str host, mg_str *out, mg_route_fault *fault)
{
    char *lower;

    if (mg_str_eq_c(host, "*")) {
        *out = MG_STR("");
        return true;
    }
    if (host.n > 2 && host.p[0] == '*' && host.p[1] == '.')
        host = mg_str_sub(host, 1, host.n);
    else if (host.n && host.p[0] == '.')
        return fail(fault, "bad-host", "a host does not begin with a dot",
                    "for every name below it write *.example.com");
    if (host.n > 1 && host.p[host.n - 1] == '.')
        host.n--;
    if (host.n == 0 || host.n > MG_ROUTE_HOST_BYTES_MAX)
        return fail(fault, "bad-host", "a host has 1 to 253 characters", "a name, *.suffix, or * for any");
    lower = mg_arena_bytes(arena, host.n);
    for (size_t i = 0; i < host.n; i++) {
        lower[i] = mg_lower(host.p[i]);
        if (!is_unreserved((unsigned char)lower[i]) && !(host.p[0] == '[' && strchr("[]:", lower[i])))
            return fail(fault, "bad-host",
                        lower[i] == ':' ? "a host here has no port" : "not a character of a host",
                        "a name, *.suffix, or * for any; requests are matched without their port");
        if (lower[i] == '.' && i && lower[i - 1] == '.')
            return fail(fault, "bad-host", "an empty label between two dots",
                        "a name, *.suffix, or * for any");
    }
    *out = mg_str_make(lower, host.n);
    return true;
}
