/* h1_response.c - a response head (RFC 9112 4), as strict as requests are: an upstream that two readers could
 * understand differently would poison the connection it is answered on.
 *
 * Settled here: a 204, 205 or 1xx has no body, whatever its fields announce (RFC 9112 6.3, rule 1; for 205
 * RFC 9110 15.3.6). One that announces bytes is the last answer on its connection, since its sender may send
 * them. A 101 announces none, and names the one protocol that was asked for. HTTP/1.0 knows neither chunked
 * nor 101.
 *
 * Nothing else is forgiven, though some servers forgive it: they do not agree on what it means, or it hides
 * what it is (a fold, a bare LF, white space before a colon, two lengths, a length beside a coding). The
 * client gets a 502, before a byte of such an answer has gone. */
#include "http/h1_wire.h"

#include "http/bytes.h"

enum { STATUS_LINE_BYTES_MIN = 12 }; /* "HTTP/1.1 200" */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool read_status_line(mg_str line, uint16_t *status, uint8_t *minor, bool *odd, mg_h1_fault *fault)
{
    const char *p = line.p;

    if (line.n < STATUS_LINE_BYTES_MIN || memcmp(p, "HTTP/", 5) != 0 || !is_digit(p[5]) || p[6] != '.' ||
        !is_digit(p[7]) || p[8] != ' ')
        return mg_h1_fail(fault, 502, "malformed status line");
    if (p[5] != '1' || p[7] > '1')
        return mg_h1_fail(fault, 502, "HTTP version other than 1.0 and 1.1");
    *minor = (uint8_t)(p[7] - '0');
    if (!is_digit(p[9]) || !is_digit(p[10]) || !is_digit(p[11]) || p[9] < '1' || p[9] > '5')
        return mg_h1_fail(fault, 502, "status is not a number from 100 to 599");
    *status = (uint16_t)((p[9] - '0') * 100 + (p[10] - '0') * 10 + (p[11] - '0'));
    if (line.n > STATUS_LINE_BYTES_MIN && p[12] != ' ')
        return mg_h1_fail(fault, 502, "malformed status line");
    *odd = *status < 200 || line.n < STATUS_LINE_BYTES_MIN + 2;
    if (mg_field_value_end(p + STATUS_LINE_BYTES_MIN, p + line.n, odd) != p + line.n)
        return mg_h1_fail(fault, 502, "control byte in the reason");
    return true;
}

static bool read_tunnel(const mg_h1_hop *hop, mg_str asked, mg_response *out, mg_h1_fault *fault)
{
    if (!asked.p)
        return mg_h1_fail(fault, 502, "101 that was not asked for");
    if (!hop->upgrade_named || hop->upgrades != 1 || !mg_str_eq_nocase(hop->upgrade, asked))
        return mg_h1_fail(fault, 502, "101 to another protocol than was asked for");
    out->upgrade = hop->upgrade;
    out->body = MG_BODY_TUNNEL;
    return true;
}

/* 1xx, 204 and 205: nothing follows that is theirs. */
static bool read_empty(const mg_h1_hop *hop, mg_method method, const mg_response *out, mg_h1_info *info,
                       mg_h1_fault *fault)
{
    const bool announces = hop->chunked || hop->length > 0;

    if (announces && out->status == 101)
        return mg_h1_fail(fault, 502, "body announced with a 101");
    /* A 205 that says nothing would end with the connection for other readers. */
    if (announces || (out->status == 205 && !hop->has_length && method != MG_METHOD_HEAD))
        info->keep_alive = false;
    return true;
}

static bool read_framing(const mg_h1_hop *hop, mg_method method, mg_str upgrade, mg_response *out,
                         mg_h1_framing *framing, mg_h1_info *info, mg_h1_fault *fault)
{
    *framing = MG_H1_NO_BODY;
    if (out->status < 200 || out->status == 204 || out->status == 205) {
        if (!read_empty(hop, method, out, info, fault))
            return false;
        return out->status != 101 || read_tunnel(hop, upgrade, out, fault);
    }
    if (method == MG_METHOD_HEAD || out->status == 304) {
        out->has_length = hop->has_length;
        out->length = hop->length;
    } else if (hop->chunked) {
        *framing = MG_H1_CHUNKED;
        out->body = MG_BODY_STREAM;
    } else if (hop->has_length) {
        *framing = MG_H1_LENGTH;
        out->body = MG_BODY_LENGTH;
        out->length = hop->length;
    } else {
        *framing = MG_H1_UNTIL_CLOSE;
        out->body = MG_BODY_STREAM;
        info->keep_alive = false;
    }
    return true;
}

static bool parse(mg_arena *arena, const mg_h1_limits *limits, char *head, size_t n, mg_response *out,
                  mg_h1_reading *reading, mg_h1_hop *hop, mg_h1_fault *fault)
{
    char *line_end;

    *reading = (mg_h1_reading){ .from = head, .n = n, .fields = &out->fields };

    if (n > limits->head_bytes) {
        mg_h1_fail(fault, 502, "head too large");
        fault->over = MG_H1_OVER_HEAD_BYTES;
        return false;
    }
    line_end = mg_h1_line_end(head, head + n, fault);
    return line_end &&
           read_status_line(mg_str_make(head, (size_t)(line_end - head)), &reading->status, &reading->minor,
                            &reading->odd, fault) &&
           mg_h1_read_fields(arena, limits->fields, line_end + 2, head + n, &out->fields, &reading->odd,
                             fault) &&
           mg_h1_read_hop(arena, &out->fields, false, reading->minor, hop, fault);
}

bool mg_h1_parse_response(mg_arena *arena, const mg_h1_limits *limits, char *head, size_t n, mg_method method,
                          mg_str upgrade, mg_response *out, mg_h1_framing *framing, mg_h1_info *info,
                          mg_h1_fault *fault)
{
    mg_h1_reading reading;
    mg_h1_hop hop;

    *out = (mg_response){ 0 };
    *info = (mg_h1_info){ 0 };
    if (!parse(arena, limits, head, n, out, &reading, &hop, fault)) {
        fault->status = 502; /* whatever it was, it is the upstream's */
        return false;
    }
    out->status = reading.status;
    info->keep_alive = !hop.close && !hop.keep_alive_none && (reading.minor == 1 || hop.keep_alive);
    info->keep_alive_s = hop.keep_alive_s;
    if (out->status == 101 && reading.minor == 0)
        return mg_h1_fail(fault, 502, "101 in HTTP/1.0");
    if (!read_framing(&hop, method, upgrade, out, framing, info, fault))
        return false;
    if (!mg_h1_tokeniser_agrees(&reading, &hop))
        return mg_h1_fail(fault, 502, "head that parsers read differently");
    mg_h1_strip(&out->fields, arena, &hop);
    return true;
}
