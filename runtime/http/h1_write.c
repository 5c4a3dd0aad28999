/* h1_write.c - heads on their way out. The room is reserved once, from the lengths of all parts, and filled
 * by copying. */
#include "http/h1_wire.h"

#include "base/check.h"

enum { FIXED_BYTES = 320 }; /* more than all that is written beside the message's own texts */

static size_t fields_bytes(const mg_fields *fields)
{
    size_t n = 0;

    for (uint32_t i = 0; i < fields->count; i++)
        n += fields->items[i].name_n + (size_t)fields->items[i].value_n + MG_FIELD_LINE_BYTES;
    return n;
}

static char *put_field(char *at, mg_str name, mg_str value)
{
    at = mg_put(mg_put(mg_put(at, name), MG_STR(": ")), value);
    return mg_put(at, MG_STR("\r\n"));
}

static size_t line_bytes(const mg_field *field)
{
    return field->name_n + (size_t)field->value_n + MG_FIELD_LINE_BYTES;
}

/* Fields that stand one behind the other as they came are copied at once. */
static char *put_fields(char *at, const mg_fields *fields)
{
    const mg_field *field = fields->items, *end = field + fields->count;

    while (field < end) {
        if (!(field->stands & MG_FIELD_LINE)) {
            at = put_field(at, mg_str_make(field->name, field->name_n),
                           mg_str_make(field->value, field->value_n));
            field++;
            continue;
        }
        const char *from = field->name;
        size_t n = line_bytes(field++);
        while (field < end && field->name == from + n && field->stands & MG_FIELD_LINE)
            n += line_bytes(field++);
        at = mg_put(at, mg_str_make(from, n));
    }
    return at;
}

static char *put_length(char *at, uint64_t length)
{
    char digits[20];

    return put_field(at, MG_STR("content-length"), mg_str_make(digits, mg_u64_write(digits, length)));
}

static void done(mg_text *out, const char *at)
{
    MG_CHECK(at <= out->p + out->cap);
    out->n = (size_t)(at - out->p);
    out->p[out->n] = '\0'; /* reserve left room for it */
}

static char *put_request_connection(char *at, const mg_request *request, bool keep_alive)
{
    /* By bits: close, upgrade, te. TE must be named here, RFC 9110 10.1.4. */
    static const char *const options[] = { "",   "close",     "upgrade",     "close, upgrade",
                                           "te", "close, te", "upgrade, te", "close, upgrade, te" };
    const unsigned i =
        (keep_alive ? 0u : 1u) | (request->upgrade.p ? 2u : 0u) | (request->te_trailers ? 4u : 0u);

    return i ? put_field(at, MG_STR("connection"), mg_str_of(options[i])) : at;
}

void mg_h1_write_request(mg_text *out, const mg_request *request, mg_str host, bool keep_alive)
{
    const mg_str path = request->as_sent ? request->sent_path : request->path;
    const mg_str query = request->as_sent ? request->sent_query : request->query;
    char *at;

    mg_text_reserve(out, FIXED_BYTES + request->method_text.n + path.n + query.n + host.n +
                             request->upgrade.n + fields_bytes(&request->fields));
    at = mg_put(mg_put(mg_put(out->p + out->n, request->method_text), MG_STR(" ")), path);
    if (query.p)
        at = mg_put(mg_put(at, MG_STR("?")), query);
    at = mg_put(at, MG_STR(" HTTP/1.1\r\n"));
    at = put_field(at, MG_STR("host"), host);
    at = put_fields(at, &request->fields);
    if (request->body == MG_BODY_LENGTH)
        at = put_length(at, request->length);
    else if (request->body == MG_BODY_STREAM)
        at = put_field(at, MG_STR("transfer-encoding"), MG_STR("chunked"));
    at = put_request_connection(at, request, keep_alive);
    if (request->upgrade.p)
        at = put_field(at, MG_STR("upgrade"), request->upgrade);
    if (request->te_trailers)
        at = put_field(at, MG_STR("te"), MG_STR("trailers"));
    if (request->expect_continue)
        at = put_field(at, MG_STR("expect"), MG_STR("100-continue"));
    done(out, mg_put(at, MG_STR("\r\n")));
}

/* How the body is delimited; *length_known when a content-length is to be written, of a body that may not
 * follow. */
static mg_h1_framing choose_framing(const mg_response *response, mg_method method, bool is_1_0,
                                    bool *length_known)
{
    const bool has_length = response->body == MG_BODY_LENGTH || response->has_length;

    *length_known = false;
    if (response->status < 200 || response->status == 204)
        return MG_H1_NO_BODY;
    if (method == MG_METHOD_HEAD || response->status == 304) {
        *length_known = has_length;
        return MG_H1_NO_BODY;
    }
    if (response->body == MG_BODY_STREAM && response->status != 205)
        return is_1_0 ? MG_H1_UNTIL_CLOSE : MG_H1_CHUNKED;
    *length_known = true;
    return response->body == MG_BODY_LENGTH && response->status != 205 ? MG_H1_LENGTH : MG_H1_NO_BODY;
}

static char *put_framing(char *at, const mg_response *response, mg_h1_framing framing, bool length_known)
{
    const bool carries = framing == MG_H1_LENGTH || response->has_length || response->body == MG_BODY_LENGTH;

    if (framing == MG_H1_CHUNKED)
        return put_field(at, MG_STR("transfer-encoding"), MG_STR("chunked"));
    if (!length_known)
        return at;
    return put_length(at, carries && response->status != 205 ? response->length : 0);
}

static char *put_response_connection(char *at, const mg_response *response, bool is_1_0, bool keep_alive)
{
    if (response->status == 101) {
        at = put_field(at, MG_STR("connection"), MG_STR("upgrade"));
        return put_field(at, MG_STR("upgrade"), response->upgrade);
    }
    if (response->status < 200)
        return at;
    if (!keep_alive)
        return put_field(at, MG_STR("connection"), MG_STR("close"));
    return is_1_0 ? put_field(at, MG_STR("connection"), MG_STR("keep-alive")) : at;
}

static char *put_status_line(char *at, uint16_t status, mg_str text)
{
    at = mg_put(at, MG_STR("HTTP/1.1 "));
    *at++ = (char)('0' + status / 100);
    *at++ = (char)('0' + status / 10 % 10);
    *at++ = (char)('0' + status % 10);
    *at++ = ' ';
    return mg_put(mg_put(at, text), MG_STR("\r\n"));
}

mg_h1_framing mg_h1_write_response(mg_text *out, const mg_response *response, mg_method method,
                                   const mg_h1_info *client, bool keep_alive)
{
    const mg_str text = mg_status_text(response->status);
    bool length_known;
    mg_h1_framing framing = choose_framing(response, method, client->is_1_0, &length_known);
    char *at;

    MG_CHECK(response->status >= 100 && response->status <= 599);
    if (response->status < 200 && client->is_1_0)
        return MG_H1_NO_BODY;
    mg_text_reserve(out, FIXED_BYTES + text.n + response->upgrade.n + fields_bytes(&response->fields));
    at = put_status_line(out->p + out->n, response->status, text);
    at = put_fields(at, &response->fields);
    at = put_framing(at, response, framing, length_known);
    at = put_response_connection(at, response, client->is_1_0, keep_alive && framing != MG_H1_UNTIL_CLOSE);
    done(out, mg_put(at, MG_STR("\r\n")));
    return framing;
}

size_t mg_h1_write_chunk_size(char out[18], uint64_t n)
{
    static const char digits[] = "0123456789abcdef";
    size_t length = 1;

    while (length < 16 && n >> (4 * length))
        length++;
    for (size_t i = 0; i < length; i++)
        out[i] = digits[n >> (4 * (length - 1 - i)) & 15];
    memcpy(out + length, "\r\n", 2);
    return length + 2;
}

void mg_h1_write_last_chunk(mg_text *out, const mg_fields *trailers)
{
    char *at;

    mg_text_reserve(out, sizeof("0\r\n\r\n") + (trailers ? fields_bytes(trailers) : 0));
    at = mg_put(out->p + out->n, MG_STR("0\r\n"));
    if (trailers)
        at = put_fields(at, trailers);
    done(out, mg_put(at, MG_STR("\r\n")));
}
