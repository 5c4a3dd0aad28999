/* h1_body.c - bodies as they arrive (RFC 9112 6 and 7), a byte at a time or all at once with the same result.
 *
 * Chunks are read to the letter: at most 16 hex digits, extensions of visible bytes and a bound, CRLF and
 * nothing else behind size line and data, trailers as strict as fields. Extensions are dropped, as a
 * recipient may (7.1.1). The one thing that is forgiven, and only where may_pad says so, is blanks behind a
 * size. */
#include "http/h1_wire.h"

#include "base/check.h"
#include "http/bytes.h"

enum { SIZE_DIGITS_MAX = 16 };

typedef enum body_state {
    SIZE_FIRST, /* before the first digit of a chunk's size */
    SIZE,       /* line_bytes counts its digits */
    SIZE_SPACE, /* white space, which only an extension may follow; the end of the line too where may_pad */
    EXTENSION,  /* line_bytes counts its bytes */
    SIZE_LF,    /* behind the CR of the size line */
    DATA,       /* `left` bytes of payload */
    DATA_CR,
    DATA_LF,
    TRAILER_FIRST, /* at the start of a trailer line, or of the blank one; line_bytes counts the section */
    TRAILER,
    TRAILER_LF,
    TRAILER_LAST_LF,
    ENDED,
    BROKEN,
} body_state;

void mg_h1_body_init(mg_h1_body *body, mg_h1_framing framing, uint64_t length, const mg_h1_limits *limits,
                     mg_arena *arena)
{
    *body = (mg_h1_body){ .limits = limits, .arena = arena, .framing = (uint8_t)framing };
    switch (framing) {
    case MG_H1_NO_BODY: body->state = ENDED; break;
    case MG_H1_LENGTH:
        body->left = length;
        body->state = length ? DATA : ENDED;
        break;
    case MG_H1_CHUNKED: body->state = SIZE_FIRST; break;
    case MG_H1_UNTIL_CLOSE:
        body->left = UINT64_MAX;
        body->state = DATA;
        break;
    }
}

void mg_h1_body_fini(mg_h1_body *body)
{
    mg_text_fini(&body->trailer_text);
}

static body_state broken(mg_h1_fault *fault, uint16_t status, const char *why)
{
    mg_h1_fail(fault, status, why);
    return BROKEN;
}

static body_state read_digit(mg_h1_body *body, char c, mg_h1_fault *fault)
{
    if (++body->line_bytes > SIZE_DIGITS_MAX)
        return broken(fault, 400, "chunk size too long");
    body->left = body->left << 4 | mg_byte_hex(c);
    return SIZE;
}

static body_state end_size(mg_h1_body *body, char c, mg_h1_fault *fault)
{
    if (body->left > INT64_MAX)
        return broken(fault, 400, "chunk size too large");
    body->line_bytes = 0;
    if (c == '\r')
        return SIZE_LF;
    if (c == ';')
        return EXTENSION;
    return mg_byte_is_space(c) ? SIZE_SPACE : broken(fault, 400, "malformed chunk size");
}

static body_state read_extension(mg_h1_body *body, bool in_space, char c, mg_h1_fault *fault)
{
    if (++body->line_bytes > body->limits->chunk_ext_bytes && c != '\r')
        return broken(fault, 400, "chunk extension too long");
    if (in_space && c != ';' && !(c == '\r' && body->may_pad))
        return mg_byte_is_space(c) ? SIZE_SPACE : broken(fault, 400, "white space behind a chunk size");
    if (c == '\r')
        return SIZE_LF;
    if ((c > ' ' && c < 0x7f) || mg_byte_is_space(c))
        return EXTENSION;
    return broken(fault, 400, "byte in a chunk extension that must not be there");
}

static body_state end_size_line(mg_h1_body *body, char c, mg_h1_fault *fault)
{
    if (c != '\n')
        return broken(fault, 400, "bare CR behind a chunk size");
    body->line_bytes = 0;
    return body->left ? DATA : TRAILER_FIRST;
}

static body_state keep_trailer(mg_h1_body *body, char c, body_state next, mg_h1_fault *fault)
{
    if (++body->line_bytes > body->limits->trailer_bytes)
        return broken(fault, 431, "trailers too large");
    mg_text_add_char(&body->trailer_text, c);
    return next;
}

/* RFC 9110 6.5.1: what frames, routes, authenticates or controls must come before the body. Of the known
 * names that is every one but those that only describe. */
static bool may_trail(const mg_field *field)
{
    static const char *const refused[] = { "age",           "cache-control",    "content-encoding",
                                           "content-range", "max-forwards",     "range",
                                           "vary",          "www-authenticate", "x-real-ip" };
    const mg_str name = mg_str_make(field->name, field->name_n);

    if (field->id != MG_NAME_OTHER)
        return field->id == MG_NAME_DATE || field->id == MG_NAME_SERVER || field->id == MG_NAME_X_REQUEST_ID;
    for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++)
        if (mg_str_eq_c(name, refused[i]))
            return false;
    return true;
}

/* The section is whole: into the arena with it, and read. */
static body_state end_trailers(mg_h1_body *body, mg_h1_fault *fault)
{
    size_t n;
    char *copy;
    bool odd = false; /* trailers have one judge */

    if (body->trailer_text.n == 0)
        return ENDED;
    mg_text_add(&body->trailer_text, MG_STR("\r\n"));
    n = body->trailer_text.n;
    copy = mg_arena_bytes(body->arena, n);
    memcpy(copy, body->trailer_text.p, n);
    mg_text_fini(&body->trailer_text);
    if (!mg_h1_read_fields(body->arena, body->limits->fields, copy, copy + n, &body->trailers, &odd, fault))
        return BROKEN;
    for (uint32_t i = 0; i < body->trailers.count; i++)
        if (!may_trail(&body->trailers.items[i]))
            return broken(fault, 400, "trailer that must not be one");
    return ENDED;
}

static body_state read_trailer(mg_h1_body *body, char c, mg_h1_fault *fault)
{
    if (c == '\n')
        return broken(fault, 400, "bare LF in the trailers");
    if (c != '\r')
        return keep_trailer(body, c, TRAILER, fault);
    return body->state == TRAILER_FIRST ? TRAILER_LAST_LF : keep_trailer(body, c, TRAILER_LF, fault);
}

/* One byte that is not payload. */
static body_state read_byte(mg_h1_body *body, char c, mg_h1_fault *fault)
{
    switch ((body_state)body->state) {
    case SIZE_FIRST:
        body->left = 0;
        body->line_bytes = 0;
        return mg_byte_is(c, MG_BYTE_HEX) ? read_digit(body, c, fault)
                                          : broken(fault, 400, "chunk without a size");
    case SIZE: return mg_byte_is(c, MG_BYTE_HEX) ? read_digit(body, c, fault) : end_size(body, c, fault);
    case SIZE_SPACE: return read_extension(body, true, c, fault);
    case EXTENSION: return read_extension(body, false, c, fault);
    case SIZE_LF: return end_size_line(body, c, fault);
    case DATA_CR: return c == '\r' ? DATA_LF : broken(fault, 400, "no CRLF behind chunk data");
    case DATA_LF: return c == '\n' ? SIZE_FIRST : broken(fault, 400, "no CRLF behind chunk data");
    case TRAILER_FIRST:
    case TRAILER: return read_trailer(body, c, fault);
    case TRAILER_LF:
        return c == '\n' ? keep_trailer(body, c, TRAILER_FIRST, fault)
                         : broken(fault, 400, "bare CR in the trailers");
    case TRAILER_LAST_LF:
        return c == '\n' ? end_trailers(body, fault) : broken(fault, 400, "bare CR in the trailers");
    case DATA:
    case ENDED:
    case BROKEN: break;
    }
    MG_UNREACHABLE();
}

mg_h1_step mg_h1_body_next(mg_h1_body *body, const char *in, size_t n, size_t *used, mg_str *payload,
                           mg_h1_fault *fault)
{
    *payload = MG_STR_NONE;
    for (*used = 0;; ++*used) {
        if (body->state == ENDED)
            return MG_H1_END;
        if (body->state == BROKEN)
            return MG_H1_BAD;
        if (*used == n)
            return MG_H1_MORE;
        if (body->state == DATA) {
            *payload = mg_str_make(in + *used, n - *used < body->left ? n - *used : (size_t)body->left);
            return MG_H1_DATA;
        }
        body->state = (uint8_t)read_byte(body, in[*used], fault);
    }
}

void mg_h1_body_take(mg_h1_body *body, size_t n)
{
    MG_CHECK(body->state == DATA && n <= body->left);
    if (body->framing == MG_H1_UNTIL_CLOSE)
        return;
    body->left -= n;
    if (body->left == 0)
        body->state = body->framing == MG_H1_CHUNKED ? DATA_CR : ENDED;
}

uint64_t mg_h1_body_plain(const mg_h1_body *body)
{
    return body->state == DATA && body->framing != MG_H1_CHUNKED ? body->left : 0;
}

bool mg_h1_body_eof(mg_h1_body *body)
{
    if (body->framing == MG_H1_UNTIL_CLOSE && body->state == DATA)
        body->state = ENDED;
    return body->state == ENDED;
}
