/* h1.c - where a head ends, and the second judge of it. The strict reading (h1_fields.c, h1_request.c,
 * h1_response.c) comes first; then http-parser reads the same bytes, but those of a plain head (h1_wire.h),
 * and a head that the two do not read alike is refused. The library is handed the head and not one byte more,
 * since it would take what follows for another message. It has one door, this file. */
#include "http/h1_wire.h"

#include "base/check.h"
#include "http/bytes.h"
#include <http_parser.h>

size_t mg_h1_head_end(const char *bytes, size_t n, size_t *scanned)
{
    const char *end = bytes + n, *at = mg_pass_full_lines(bytes + *scanned, end);

    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        const char *next = at + 1;

        if (next < end && *next == '\r')
            next++;
        if (next == end) { /* this LF is looked at again when there is more */
            *scanned = (size_t)(at - bytes);
            return 0;
        }
        if (*next == '\n')
            return (size_t)(next + 1 - bytes);
        at++;
    }
    *scanned = n;
    return 0;
}

/* The reading it is compared with, and how far the comparison got. */
typedef struct judge {
    const mg_h1_reading *ours;
    uint32_t field; /* index */
    bool heads_end, message_end;
} judge;

static int see_target(http_parser *parser, const char *at, size_t n)
{
    const judge *j = parser->data;

    return at != j->ours->target.p || n != j->ours->target.n;
}

static int see_name(http_parser *parser, const char *at, size_t n)
{
    const judge *j = parser->data;
    const mg_fields *fields = j->ours->fields;

    return j->field == fields->count || at != fields->items[j->field].name ||
           n != fields->items[j->field].name_n;
}

/* The library leaves white space behind a value to its caller. */
static int see_value(http_parser *parser, const char *at, size_t n)
{
    judge *j = parser->data;
    const mg_field *field = &j->ours->fields->items[j->field++];
    const mg_str value = mg_byte_trim(mg_str_make(at, n));

    return value.n != field->value_n || (value.n && value.p != field->value);
}

static int see_heads_end(http_parser *parser)
{
    judge *j = parser->data;

    j->heads_end = true;
    return 1; /* no body for the library */
}

static int see_message_end(http_parser *parser)
{
    judge *j = parser->data;

    j->message_end = true;
    return 0;
}

static const http_parser_settings settings = {
    .on_url = see_target,
    .on_header_field = see_name,
    .on_header_value = see_value,
    .on_headers_complete = see_heads_end,
    .on_message_complete = see_message_end,
};

static bool same_framing(const http_parser *parser, const mg_h1_hop *hop)
{
    const bool has_length = parser->flags & F_CONTENTLENGTH, chunked = parser->flags & F_CHUNKED;

    return has_length == hop->has_length && (!has_length || parser->content_length == hop->length) &&
           chunked == hop->chunked && parser->uses_transfer_encoding == hop->chunked;
}

/* The library knows a closed list of methods; ours is any token. One that has no number here is judged as GET
 * would be. */
static size_t begin_with_get(http_parser *parser, const mg_h1_reading *ours)
{
    if (ours->method.n == 0 || mg_method_find(ours->method) != MG_METHOD_OTHER)
        return 0;
    return http_parser_execute(parser, &settings, "GET", 3) == 3 ? ours->method.n : SIZE_MAX;
}

static bool agrees(const mg_h1_reading *ours, const mg_h1_hop *hop)
{
    judge j = { .ours = ours };
    http_parser parser;
    size_t skip, left;

    http_parser_init(&parser, ours->method.n ? HTTP_REQUEST : HTTP_RESPONSE);
    parser.data = &j;
    skip = begin_with_get(&parser, ours);
    if (skip == SIZE_MAX)
        return false;
    left = ours->n - skip;
    if (http_parser_execute(&parser, &settings, ours->from + skip, left) != left ||
        HTTP_PARSER_ERRNO(&parser) != HPE_OK)
        return false;
    return j.heads_end && j.message_end && j.field == ours->fields->count && parser.http_major == 1 &&
           parser.http_minor == ours->minor && parser.status_code == ours->status &&
           same_framing(&parser, hop);
}

bool mg_h1_tokeniser_agrees(const mg_h1_reading *ours, const mg_h1_hop *hop)
{
    const bool plain = !ours->odd && !hop->odd && ours->minor == 1;

#ifdef MG_JUDGE_PLAIN_HEADS
    const bool same = agrees(ours, hop);
    MG_CHECK(same || !plain);
    return same;
#else
    return plain || agrees(ours, hop);
#endif
}
