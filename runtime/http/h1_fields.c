/* h1_fields.c - field lines, read strictly (RFC 9112 5), and those among them that speak to this connection
 * alone.
 *
 * Refused: a line end that is not CRLF, a fold, white space before the colon, a name that is no token, a
 * control byte in a value; two lengths, even equal ones; a length beside a transfer coding; any coding but
 * one "chunked". */
#include "http/h1_wire.h"

#include "http/bytes.h"

enum { PLAIN_LENGTH_DIGITS = 18 };

char *mg_h1_line_end(char *line, const char *end, mg_h1_fault *fault)
{
    char *lf = memchr(line, '\n', (size_t)(end - line));

    if (!lf || lf == line || lf[-1] != '\r') {
        mg_h1_fail(fault, 400, lf ? "bare LF behind the start line" : "unfinished start line");
        return NULL;
    }
    if (memchr(line, '\r', (size_t)(lf - 1 - line))) {
        mg_h1_fail(fault, 400, "bare CR in the start line");
        return NULL;
    }
    return lf - 1;
}

static bool bad_name(char c, bool first, mg_h1_fault *fault)
{
    if (mg_byte_is_space(c))
        return mg_h1_fail(fault, 400, first ? "folded field line" : "white space in or behind a field name");
    if (c == '\n')
        return mg_h1_fail(fault, 400, "bare LF in a field name");
    if (c == '\r')
        return mg_h1_fail(fault, 400, "field line without a colon, or a bare CR");
    return mg_h1_fail(fault, 400, c == ':' ? "empty field name" : "field name is not a token");
}

static bool bad_value(char c, mg_h1_fault *fault)
{
    if (c == '\n')
        return mg_h1_fail(fault, 400, "bare LF behind a field value");
    return mg_h1_fail(fault, 400, c == '\r' ? "bare CR in a field value" : "control byte in a field value");
}

/* Reads one line. The last byte before `end` is LF, which stands in no name and no value, so that every scan
 * ends. Returns the next line, NULL with a fault. Sets *odd where the line is not "name: value" with letters,
 * digits and "-" in the name, and visible ASCII and single blanks round the value. */
static char *read_field(char *at, const char *end, mg_field *field, bool *odd, mg_h1_fault *fault)
{
    char *from = at, *stop;
    bool plain;

    at = mg_field_name_end(at, end, odd);
    if (*at != ':' || at == from) {
        bad_name(*at, at == from, fault);
        return NULL;
    }
    const size_t name_n = (size_t)(at - from);
    field->name = from;
    from = at + 2; /* where the value of most begins; behind the colon stands at least the LF */
    plain = at[1] == ' ';
    for (at++; mg_byte_is_space(*at);)
        at++;
    plain &= at == from;
    from = at;
    stop = (char *)mg_field_value_end(at, end, odd);
    if (*stop != '\r' || stop[1] != '\n') {
        bad_value(*stop, fault);
        return NULL;
    }
    for (at = stop; at > from && mg_byte_is_space(at[-1]);)
        at--;
    plain &= at == stop;
    *odd |= !plain || at == from;
    if (name_n > MG_FIELD_NAME_BYTES_MAX) {
        mg_h1_fail(fault, 431, "field name too long");
        return NULL;
    }
    field->value = from;
    field->value_n = (uint32_t)(at - from);
    field->name_n = (uint16_t)name_n;
    field->stands = plain ? MG_FIELD_LINE : 0;
    return stop + 2;
}

/* http-parser counts a name that only begins so as a Transfer-Encoding in part: what it takes for one, others
 * may. */
static bool poses_as_coding(mg_str name)
{
    const mg_str coding = MG_STR("transfer-encoding");

    return name.n > coding.n && memcmp(name.p, coding.p, coding.n) == 0;
}

bool mg_h1_read_fields(mg_arena *arena, uint32_t limit, char *at, const char *end, mg_fields *out, bool *odd,
                       mg_h1_fault *fault)
{
    mg_field field;

    if (at >= end || end[-1] != '\n')
        return mg_h1_fail(fault, 400, "head without a blank line");
    while (*at != '\r') {
        at = read_field(at, end, &field, odd, fault);
        if (!at)
            return false;
        const mg_str name = mg_str_make(field.name, field.name_n);
        if (at == end)
            return mg_h1_fail(fault, 400, "head without a blank line");
        if (poses_as_coding(name))
            return mg_h1_fail(fault, 400, "field name that begins with transfer-encoding");
        if (out->count == limit) {
            mg_h1_fail(fault, 431, "too many fields");
            fault->over = MG_H1_OVER_FIELDS;
            return false;
        }
        field.id = (uint8_t)mg_name_find(name);
        mg_fields_push(out, arena, field);
    }
    if (at[1] != '\n' || at + 2 != end)
        return mg_h1_fail(fault, 400, "bare CR, or bytes behind the blank line");
    return true;
}

/* Content-Length: digits, once, 63 bits (RFC 9112 6.3, rule 5, without its leave to repair a list of equals).
 */
static bool read_length(mg_str value, mg_h1_hop *hop, mg_h1_fault *fault)
{
    if (hop->has_length)
        return mg_h1_fail(fault, 400, "more than one Content-Length");
    hop->has_length = true;
    hop->odd |= value.n > PLAIN_LENGTH_DIGITS;
    if (!mg_str_u64(value, &hop->length) || hop->length > INT64_MAX)
        return mg_h1_fail(fault, 400, "malformed Content-Length");
    return true;
}

/* Transfer-Encoding: one "chunked" and nothing else. What is merely unknown is told apart from what is
 * malformed. */
static bool read_coding(mg_str value, mg_h1_hop *hop, mg_h1_fault *fault)
{
    unsigned chunked = 0;
    bool chunked_last = false;
    mg_str coding;

    if (hop->chunked)
        return mg_h1_fail(fault, 400, "more than one Transfer-Encoding");
    hop->odd |= !mg_str_eq(value, MG_STR("chunked"));
    hop->chunked = mg_str_eq_nocase(value, MG_STR("chunked"));
    if (hop->chunked)
        return true;
    while (mg_str_cut(&value, ',', &coding)) {
        const size_t parameter = mg_str_find(coding, ';');
        const mg_str name = mg_byte_trim(mg_str_sub(coding, 0, parameter));

        chunked_last = mg_str_eq_nocase(name, MG_STR("chunked"));
        chunked += chunked_last;
        if (!mg_is_token(name) || (chunked_last && parameter != SIZE_MAX))
            return mg_h1_fail(fault, 400, "malformed Transfer-Encoding");
    }
    if (chunked > 1 || (chunked && !chunked_last))
        return mg_h1_fail(fault, 400, "chunked is not the last transfer coding, once");
    return mg_h1_fail(fault, 501, "transfer coding other than chunked");
}

/* Whether a Connection option may take the field of that name away. RFC 9110 7.6.1 forbids senders to name
 * what is meant for all recipients; whoever does so wants two readers to see two messages, so known
 * end-to-end names are refused. Some servers do name Transfer-Encoding, which is of this connection and
 * changes nothing. */
static bool may_name(mg_name id, bool is_request)
{
    switch (id) {
    case MG_NAME_OTHER:
    case MG_NAME_CONNECTION:
    case MG_NAME_TE:
    case MG_NAME_TRAILER:
    case MG_NAME_UPGRADE:
    case MG_NAME_KEEP_ALIVE:
    case MG_NAME_PROXY_CONNECTION:
    case MG_NAME_PROXY_AUTHENTICATE:
    case MG_NAME_PROXY_AUTHORIZATION:
    case MG_NAME_HTTP2_SETTINGS: return true;
    case MG_NAME_TRANSFER_ENCODING: return !is_request;
    default: return false;
    }
}

static bool read_option(mg_arena *arena, mg_str option, bool is_request, mg_h1_hop *hop, mg_h1_fault *fault)
{
    char *lower;
    mg_name id;

    if (option.n == 0)
        return true; /* RFC 9110 5.6.1.2: empty elements are skipped */
    if (!mg_is_token(option) || option.n > MG_FIELD_NAME_BYTES_MAX)
        return mg_h1_fail(fault, 400, "malformed Connection");
    if (mg_str_eq_nocase(option, MG_STR("close"))) {
        hop->close = true;
    } else if (mg_str_eq_nocase(option, MG_STR("keep-alive"))) {
        hop->keep_alive = true;
    } else if (mg_str_eq_nocase(option, MG_STR("upgrade"))) {
        hop->upgrade_named = hop->odd = true;
    } else {
        hop->odd = true;
        lower = mg_arena_bytes(arena, option.n);
        for (size_t i = 0; i < option.n; i++)
            lower[i] = mg_lower(option.p[i]);
        option.p = lower;
        id = mg_name_find(option);
        if (!may_name(id, is_request))
            return mg_h1_fail(fault, 400, "Connection names a field that is not of the connection");
        if (hop->options_n == MG_H1_OPTIONS_MAX)
            return mg_h1_fail(fault, 400, "too many Connection options");
        if (id == MG_NAME_OTHER)
            hop->options[hop->options_n++] = option;
    }
    return true;
}

static bool read_connection(mg_arena *arena, mg_str value, bool is_request, mg_h1_hop *hop,
                            mg_h1_fault *fault)
{
    mg_str option;

    while (mg_str_cut(&value, ',', &option))
        if (!read_option(arena, mg_byte_trim(option), is_request, hop, fault))
            return false;
    return true;
}

/* TE: only whether trailers are welcome; no coding but chunked is ever sent. */
static void read_te(mg_str value, mg_h1_hop *hop)
{
    mg_str coding;

    while (mg_str_cut(&value, ',', &coding))
        if (mg_str_eq_nocase(mg_byte_trim(coding), MG_STR("trailers")))
            hop->te_trailers = true;
}

/* Keep-Alive: timeout=5, max=100. A hint: what is malformed is no hint. */
static void read_keep_alive(mg_str value, mg_h1_hop *hop)
{
    const mg_str key = MG_STR("timeout=");
    mg_str part;
    uint64_t seconds;

    while (mg_str_cut(&value, ',', &part)) {
        part = mg_byte_trim(part);
        if (part.n <= key.n || !mg_str_eq_nocase(mg_str_sub(part, 0, key.n), key) ||
            !mg_str_u64(mg_str_sub(part, key.n, part.n), &seconds))
            continue;
        hop->keep_alive_s = seconds > UINT32_MAX ? UINT32_MAX : (uint32_t)seconds;
        hop->keep_alive_none = seconds == 0;
    }
}

static bool read_one(mg_arena *arena, mg_name id, mg_str value, bool is_request, mg_h1_hop *hop,
                     mg_h1_fault *fault)
{
    switch (id) {
    case MG_NAME_HOST:
        hop->host = value;
        hop->hosts++;
        return true;
    case MG_NAME_CONTENT_LENGTH: return read_length(value, hop, fault);
    case MG_NAME_CONNECTION: return read_connection(arena, value, is_request, hop, fault);
    case MG_NAME_KEEP_ALIVE: read_keep_alive(value, hop); return true;
    default: break;
    }
    hop->odd |= is_request || id != MG_NAME_TRANSFER_ENCODING;
    switch (id) {
    case MG_NAME_TRANSFER_ENCODING: return read_coding(value, hop, fault);
    case MG_NAME_TE: read_te(value, hop); return true;
    case MG_NAME_UPGRADE:
        hop->upgrade = value;
        hop->upgrades++;
        return true;
    case MG_NAME_EXPECT:
        hop->expect = value;
        hop->expects++;
        return true;
    default: return true;
    }
}

bool mg_h1_read_hop(mg_arena *arena, const mg_fields *fields, bool is_request, uint8_t minor, mg_h1_hop *hop,
                    mg_h1_fault *fault)
{
    memset(hop, 0, offsetof(mg_h1_hop, options));
    for (uint32_t i = 0; i < fields->count; i++) {
        const mg_field *field = &fields->items[i];

        if (!mg_name_is_framing(field->id))
            continue;
        hop->strips = true;
        if (!read_one(arena, field->id, mg_str_make(field->value, field->value_n), is_request, hop, fault))
            return false;
    }
    if (hop->chunked && hop->has_length)
        return mg_h1_fail(fault, 400, "both Transfer-Encoding and Content-Length");
    if (hop->chunked && minor == 0)
        return mg_h1_fail(fault, 400, "Transfer-Encoding in HTTP/1.0");
    return true;
}

void mg_h1_strip(mg_fields *fields, mg_arena *arena, const mg_h1_hop *hop)
{
    uint32_t kept = 0;

    if (!hop->strips)
        return;
    for (uint32_t i = 0; i < fields->count; i++)
        if (!mg_name_is_framing(fields->items[i].id))
            fields->items[kept++] = fields->items[i];
    fields->count = kept;
    for (uint32_t i = 0; i < hop->options_n; i++)
        mg_fields_remove(fields, arena, MG_NAME_OTHER, hop->options[i]);
}
