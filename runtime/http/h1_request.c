/* h1_request.c - a request head (RFC 9112 3), read so that no two readers could differ.
 *
 * Settled here where the RFCs leave a choice: one empty line before the request line is skipped (9112 2.2).
 * An absolute-form target must agree with Host and with the listener's scheme, instead of silently replacing
 * them (3.2.2). CONNECT is 501. An Upgrade that cannot be honoured, that lists several protocols, or that
 * would turn the connection into HTTP/2 or TLS behind our back, is ignored as RFC 9110 7.8 lets a server do.
 */
#include "http/h1_wire.h"

#include "base/time.h"
#include "http/bytes.h"
#include "http/uri.h"

enum { VERSION_BYTES = 8 };

/* "HTTP/1.1", exactly. */
static bool read_version(mg_str text, uint8_t *minor, mg_h1_fault *fault)
{
    if (text.n != VERSION_BYTES || memcmp(text.p, "HTTP/", 5) != 0 || text.p[5] < '0' || text.p[5] > '9' ||
        text.p[6] != '.' || text.p[7] < '0' || text.p[7] > '9')
        return mg_h1_fail(fault, 400, "malformed request line");
    if (text.p[5] == '0')
        return mg_h1_fail(fault, 400, "HTTP/0.9");
    if (text.p[5] != '1' || text.p[7] > '1')
        return mg_h1_fail(fault, 505, "HTTP version other than 1.0 and 1.1");
    *minor = (uint8_t)(text.p[7] - '0');
    return true;
}

static bool read_method(mg_str text, mg_request *out, mg_h1_fault *fault)
{
    if (mg_str_eq(text, MG_STR("PRI")))
        return mg_h1_fail(fault, 505, "HTTP/2 preface");
    if (!mg_is_token(text))
        return mg_h1_fail(fault, 400, "method is not a token");
    if (text.n > MG_METHOD_BYTES_MAX)
        return mg_h1_fail(fault, 501, "method too long");
    out->method_text = text;
    out->method = mg_method_find(text);
    if (out->method == MG_METHOD_CONNECT)
        return mg_h1_fail(fault, 501, "CONNECT is not supported");
    return true;
}

/* ---- what can never be one ---- */

enum { TLS_HANDSHAKE = 0x16 }; /* the first byte of a ClientHello's record: RFC 8446 5.1 */

static bool begins_as_tls(const char *bytes, size_t n, mg_h1_fault *fault)
{
    if (n && bytes[0] == TLS_HANDSHAKE)
        return mg_h1_fail(fault, 400, "TLS was spoken to a plain port");
    return true;
}

/* The part of a request line that has come: its bytes may stand where they stand. */
static bool may_be_line(mg_str line, mg_h1_fault *fault)
{
    static const char version[] = "HTTP/";
    const size_t space = mg_str_find(line, ' ');
    const mg_str method = mg_str_sub(line, 0, space);

    if (line.n && method.n == 0)
        return mg_h1_fail(fault, 400, "method is not a token");
    if (line.n && !mg_is_token(method))
        return mg_h1_fail(fault, 400, "what came is not HTTP");
    if (method.n > MG_METHOD_BYTES_MAX)
        return mg_h1_fail(fault, 501, "method too long");
    if (space == SIZE_MAX)
        return true;
    const mg_str rest = mg_str_sub(line, space + 1, line.n);
    const size_t target_n = mg_str_find(rest, ' ');
    for (size_t i = 0; i < mg_str_sub(rest, 0, target_n).n; i++)
        if ((unsigned char)rest.p[i] < 0x20 || rest.p[i] == 0x7f)
            return mg_h1_fail(fault, 400, "what came is not HTTP");
    if (target_n == SIZE_MAX)
        return true;
    const mg_str after = mg_str_sub(rest, target_n + 1, rest.n);
    if (after.n > VERSION_BYTES ||
        memcmp(after.p, version, after.n < sizeof version - 1 ? after.n : sizeof version - 1) != 0)
        return mg_h1_fail(fault, 400, "malformed request line");
    return true;
}

/* method SP target SP version, with single spaces. */
static bool read_request_line(const mg_h1_limits *limits, mg_str line, mg_request *out, mg_h1_fault *fault)
{
    const size_t method_n = mg_str_find(line, ' ');
    const mg_str rest = method_n == SIZE_MAX ? MG_STR_NONE : mg_str_sub(line, method_n + 1, line.n);
    const size_t target_n = mg_str_find(rest, ' ');

    if (method_n == SIZE_MAX)
        return mg_h1_fail(fault, 400, "malformed request line");
    if (!read_method(mg_str_sub(line, 0, method_n), out, fault))
        return false;
    if ((target_n == SIZE_MAX ? rest.n : target_n) > limits->target_bytes)
        return mg_h1_fail(fault, 414, "target too long");
    if (target_n == SIZE_MAX)
        return mg_h1_fail(fault, 400, "request line without a version (HTTP/0.9)");
    out->target = mg_str_sub(rest, 0, target_n);
    if (out->target.n == 0)
        return mg_h1_fail(fault, 400, "empty target");
    return read_version(mg_str_sub(rest, target_n + 1, rest.n), &out->minor, fault);
}

/* `path` and `query` as they were sent. Escaping makes them longer: the bound is that of what is passed on.
 */
static bool take_path(mg_arena *arena, const mg_h1_limits *limits, mg_str path, mg_str query, bool bare,
                      mg_request *out, mg_h1_fault *fault)
{
    if (!mg_uri_normalise_path(arena, path, 0, &out->path))
        return mg_h1_fail(fault, 400, "path with a bad escape, or above /");
    if (__builtin_expect(out->path.p != path.p && mg_uri_has_empty_segment(path), 0) &&
        !mg_uri_normalise_path(arena, path, MG_URI_KEEP_SLASHES, &out->slashed))
        return mg_h1_fail(fault, 400, "path with a bad escape, or above /");
    out->sent_path = path;
    out->sent_query = query;
    out->query = bare ? mg_uri_normalise_query(arena, query) : query;
    if (mg_max_u64(out->path.n, out->slashed.n) + out->query.n > limits->target_bytes)
        return mg_h1_fail(fault, 414, "target too long once it is escaped");
    return true;
}

static bool read_origin_form(mg_arena *arena, const mg_h1_limits *limits, mg_request *out, bool *odd,
                             mg_h1_fault *fault)
{
    mg_str path, query;
    const char *bad = mg_uri_split(out->target, &path, &query, odd);

    if (bad)
        return mg_h1_fail(fault, 400,
                          *bad == '#' ? "fragment in the target" : "byte in the target that must be escaped");
    return take_path(arena, limits, path, query, *odd, out, fault);
}

static bool read_absolute_form(mg_arena *arena, const mg_h1_limits *limits, mg_request *out, mg_uri *uri,
                               mg_h1_fault *fault)
{
    if (mg_uri_parse(arena, out->target, uri))
        return mg_h1_fail(fault, 400, "malformed target");
    if (!mg_str_eq(uri->scheme, out->scheme))
        return mg_h1_fail(fault, 400, "scheme of the target is not the listener's");
    out->authority = uri->authority;
    out->host = uri->host;
    if (out->method == MG_METHOD_OPTIONS &&
        uri->authority.p + uri->authority.n == out->target.p + out->target.n) {
        out->path = MG_STR("*"); /* RFC 9112 3.2.4: no path at all */
        return true;
    }
    return take_path(arena, limits, uri->path, uri->query, true, out, fault);
}

/* *uri is filled for the absolute form only, else its host is absent. *odd: the target is no plain path. */
static bool read_target(mg_arena *arena, const mg_h1_limits *limits, mg_request *out, mg_uri *uri, bool *odd,
                        mg_h1_fault *fault)
{
    uri->host = MG_STR_NONE;
    if (out->target.p[0] == '/')
        return read_origin_form(arena, limits, out, odd, fault);
    *odd = true;
    if (mg_str_eq(out->target, MG_STR("*"))) {
        if (out->method != MG_METHOD_OPTIONS)
            return mg_h1_fail(fault, 400, "target * is for OPTIONS only");
        out->path = out->target;
        return true;
    }
    return read_absolute_form(arena, limits, out, uri, fault);
}

static int port_or_default(int port, mg_str scheme)
{
    if (port >= 0)
        return port;
    return mg_str_eq(scheme, MG_STR("https")) ? 443 : 80;
}

/* RFC 9112 3.2: one Host, valid, in every HTTP/1.1 request. */
static bool read_host(mg_arena *arena, const mg_h1_hop *hop, const mg_uri *uri, mg_request *out,
                      mg_h1_fault *fault)
{
    mg_str host;
    int port;

    if (hop->hosts > 1)
        return mg_h1_fail(fault, 400, "more than one Host");
    if (hop->hosts == 0) {
        if (out->minor == 0)
            return true;
        return mg_h1_fail(fault, 400, "no Host");
    }
    if (!mg_uri_authority(arena, hop->host, &host, &port))
        return mg_h1_fail(fault, 400, "malformed Host");
    if (uri->host.p) {
        if (!mg_str_eq(host, uri->host) || port_or_default(port, out->scheme) != uri->port)
            return mg_h1_fail(fault, 400, "Host differs from the target's");
        return true;
    }
    out->authority = hop->host;
    out->host = host;
    return true;
}

static bool read_expect(const mg_h1_hop *hop, mg_request *out, mg_h1_fault *fault)
{
    if (hop->expects == 0)
        return true;
    if (hop->expects > 1 || !mg_str_eq_nocase(hop->expect, MG_STR("100-continue")))
        return mg_h1_fail(fault, 417, "Expect other than 100-continue");
    /* RFC 9110 10.1.1: not from HTTP/1.0, and not without a body. */
    out->expect_continue = out->minor == 1 && (out->body == MG_BODY_STREAM || out->length > 0);
    return true;
}

/* protocol-name ["/" protocol-version], just one, and none that would carry requests past the gateway. */
static bool is_tunnel_protocol(mg_str upgrade)
{
    const size_t slash = mg_str_find(upgrade, '/');
    const mg_str name = mg_str_sub(upgrade, 0, slash);

    if (!mg_is_token(name) || (slash != SIZE_MAX && !mg_is_token(mg_str_sub(upgrade, slash + 1, upgrade.n))))
        return false;
    return !mg_str_eq_nocase(name, MG_STR("h2c")) && !mg_str_eq_nocase(name, MG_STR("h2")) &&
           !mg_str_eq_nocase(name, MG_STR("http")) && !mg_str_eq_nocase(name, MG_STR("tls"));
}

static bool read_body(const mg_h1_hop *hop, mg_request *out, mg_h1_fault *fault)
{
    if (hop->chunked) {
        out->body = MG_BODY_STREAM;
    } else if (hop->has_length) {
        out->body = MG_BODY_LENGTH;
        out->length = hop->length;
    }
    if (out->method == MG_METHOD_TRACE && (hop->chunked || hop->length > 0))
        return mg_h1_fail(fault, 400, "TRACE with a body");
    if (hop->upgrade_named && hop->upgrades == 1 && out->minor == 1 && is_tunnel_protocol(hop->upgrade))
        out->upgrade = hop->upgrade;
    out->te_trailers = hop->te_trailers;
    return read_expect(hop, out, fault);
}

bool mg_h1_may_be_request(const mg_h1_limits *limits, const char *bytes, size_t n, mg_h1_fault *fault)
{
    const size_t skip = n >= 2 && bytes[0] == '\r' && bytes[1] == '\n' ? 2 : 0;
    bytes += skip;
    n -= skip;
    const char *end = memchr(bytes, '\n', n);
    mg_str line = mg_str_make(bytes, end ? (size_t)(end - bytes) : n);
    mg_request request = { 0 };

    if (!begins_as_tls(bytes, n, fault))
        return false;
    if (line.n && line.p[line.n - 1] == '\r')
        line.n--;
    else if (end)
        return mg_h1_fail(fault, 400, "line without CR");
    return end ? read_request_line(limits, line, &request, fault) : may_be_line(line, fault);
}

/* A head above the limit, whole or not: was it the target or the fields? */
static bool fail_too_large(const mg_h1_limits *limits, const char *head, size_t n, mg_h1_fault *fault)
{
    const char *lf = memchr(head, '\n', n);
    const char *space = memchr(head, ' ', n);
    const size_t line_n = lf ? (size_t)(lf - head) : n;

    if (space && space < head + line_n && line_n - (size_t)(space - head) > (size_t)limits->target_bytes + 11)
        return mg_h1_fail(fault, 414, "target too long"); /* 11: two spaces, the version, CR */
    return mg_h1_fail(fault, 431, "head too large");
}

bool mg_h1_parse_request(mg_arena *arena, const mg_h1_limits *limits, char *head, size_t n, mg_str scheme,
                         mg_request *out, mg_h1_info *info, mg_h1_fault *fault)
{
    const char *end = head + n;
    mg_h1_reading reading = { .fields = &out->fields };
    mg_h1_hop hop;
    mg_uri uri;
    char *line_end;

    *out = (mg_request){ .scheme = scheme };
    *info = (mg_h1_info){ 0 };
    if (!begins_as_tls(head, n, fault))
        return false;
    if (n > limits->head_bytes)
        return fail_too_large(limits, head, n, fault);
    if (n > 2 && head[0] == '\r' && head[1] == '\n')
        head += 2;
    line_end = mg_h1_line_end(head, end, fault);
    if (!line_end || !read_request_line(limits, mg_str_make(head, (size_t)(line_end - head)), out, fault) ||
        !read_target(arena, limits, out, &uri, &reading.odd, fault) ||
        !mg_h1_read_fields(arena, limits->fields, line_end + 2, end, &out->fields, &reading.odd, fault) ||
        !mg_h1_read_hop(arena, &out->fields, true, out->minor, &hop, fault) ||
        !read_host(arena, &hop, &uri, out, fault) || !read_body(&hop, out, fault))
        return false;
    reading.from = head;
    reading.n = (size_t)(end - head);
    reading.target = out->target;
    reading.method = out->method_text;
    reading.minor = out->minor;
    reading.odd |= out->method == MG_METHOD_OTHER;
    if (!mg_h1_tokeniser_agrees(&reading, &hop))
        return mg_h1_fail(fault, 400, "head that parsers read differently");
    mg_h1_strip(&out->fields, arena, &hop);
    info->is_1_0 = out->minor == 0;
    info->keep_alive = !hop.close && (out->minor == 1 || hop.keep_alive);
    return true;
}
