/* json_reader.c - JSON as a stream of items, read in parts, for plugins: jansson reads a text at once, and
 * one of some megabytes holds up a worker for long. What is accepted is what json.c accepts (a property test
 * holds one against the other). No recursion, no memory but two buffers for strings with escapes. */
#include "base/mem.h"
#include "base/str.h"
#include "moongate.h"
#include "text/tree.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    NUMBER_BYTES = 1024, /* of one number, at most */
    EXACT_DIGITS = 15,   /* an integer of so many is below 2^53 */
    READ_ON = -1         /* of a step: nothing to tell yet */
};

#define A_VALUE_IS_DUE "a value is due: an object, a list, a string, a number, true, false or null"

typedef enum due {
    DUE_VALUE,
    DUE_FIRST_VALUE, /* or the end of an array */
    DUE_KEY,
    DUE_FIRST_KEY, /* or the end of an object */
    DUE_COLON,
    DUE_COMMA, /* or the end */
    DUE_REST_OF_KEY,
    DUE_REST_OF_TEXT,
    DUE_NOTHING
} due;

/* A string, in the text as long as it has no escape. */
typedef struct piece {
    size_t from, n; /* in the text, behind the quote */
    bool copied;
    mg_text copy; /* owned */
} piece;

struct mg_json {
    size_t at;    /* bytes that have been read */
    int64_t left; /* of this part */
    due due;
    uint32_t values, depth;
    uint64_t objects; /* one bit a level: whether it is an object */
    bool any_integer;
    piece key, string;
    const char *problem; /* static; NULL: none */
    size_t problem_at;
    size_t placed; /* up to here lines and columns have been counted */
    uint32_t line, column, key_line, key_column;
};

mg_json *mg_json_open(bool any_integer)
{
    mg_json *json = MG_NEW(mg_json);

    json->any_integer = any_integer;
    json->left = MG_JSON_PART_BYTES;
    json->line = json->column = 1;
    return json;
}

void mg_json_close(mg_json *json)
{
    mg_text_fini(&json->key.copy);
    mg_text_fini(&json->string.copy);
    mg_free(json);
}

static int wrong(mg_json *json, size_t at, const char *problem)
{
    json->problem = problem;
    json->problem_at = at;
    return MG_JSON_WRONG;
}

static bool in_object(const mg_json *json)
{
    return json->objects >> (json->depth - 1) & 1;
}

static void value_read(mg_json *json)
{
    json->due = json->depth ? DUE_COMMA : DUE_NOTHING;
}

/* ---- strings ---- */

static mg_slice slice_of(const piece *string, mg_str text)
{
    if (string->copied)
        return (mg_slice){ mg_text_str(&string->copy).p, (uint32_t)string->copy.n };
    return (mg_slice){ text.p + string->from, (uint32_t)string->n };
}

/* Four hex digits; UINT32_MAX: there are not four. */
static uint32_t hex4(mg_str text, size_t at)
{
    uint32_t value = 0;

    if (at + 4 > text.n)
        return UINT32_MAX;
    for (size_t i = at; i < at + 4; i++) {
        const char c = mg_lower(text.p[i]);
        if (!(c >= '0' && c <= '9') && !(c >= 'a' && c <= 'f'))
            return UINT32_MAX;
        value = value << 4 | (uint32_t)(c <= '9' ? c - '0' : c - 'a' + 10);
    }
    return value;
}

static void add_utf8(mg_text *out, uint32_t c)
{
    if (c < 0x80) {
        mg_text_add_char(out, (char)c);
        return;
    }
    if (c < 0x800) {
        mg_text_add_char(out, (char)(0xc0 | c >> 6));
    } else {
        if (c < 0x10000) {
            mg_text_add_char(out, (char)(0xe0 | c >> 12));
        } else {
            mg_text_add_char(out, (char)(0xf0 | c >> 18));
            mg_text_add_char(out, (char)(0x80 | (c >> 12 & 0x3f)));
        }
        mg_text_add_char(out, (char)(0x80 | (c >> 6 & 0x3f)));
    }
    mg_text_add_char(out, (char)(0x80 | (c & 0x3f)));
}

/* \uXXXX, or two of them that make a pair. */
static const char *read_code(mg_json *json, mg_str text, mg_text *out)
{
    uint32_t c = hex4(text, json->at + 2);

    if (c == UINT32_MAX)
        return "\\u is followed by four hex digits";
    if (c == 0)
        return "\\u0000 is not read";
    json->at += 6;
    if (c >= 0xd800 && c <= 0xdfff) {
        const bool pair =
            c < 0xdc00 && json->at + 6 <= text.n && text.p[json->at] == '\\' && text.p[json->at + 1] == 'u';
        const uint32_t low = pair ? hex4(text, json->at + 2) : 0;

        if (low < 0xdc00 || low > 0xdfff)
            return "half of a surrogate pair";
        json->at += 6;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    add_utf8(out, c);
    return NULL;
}

static const char *read_escape(mg_json *json, mg_str text, mg_text *out)
{
    static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
    const char c = json->at + 1 < text.n ? text.p[json->at + 1] : '\0';
    const char *known = c ? strchr(letters, c) : NULL;

    if (c == 'u')
        return read_code(json, text, out);
    if (!known)
        return "an escape that JSON does not have";
    mg_text_add_char(out, meant[known - letters]);
    json->at += 2;
    return NULL;
}

/* Where what can stand in a string as it is, and is ASCII, ends. */
static size_t plain_end(mg_str text, size_t at, size_t until)
{
    while (at < until) {
        const unsigned char c = (unsigned char)text.p[at];
        if (c < 0x20 || c >= 0x80 || c == '"' || c == '\\')
            break;
        at++;
    }
    return at;
}

/* What stands at json->at and is neither plain nor the closing quote. */
static const char *read_special(mg_json *json, mg_str text, piece *string)
{
    const unsigned char c = (unsigned char)text.p[json->at];
    size_t length;

    if (c == '\\') {
        if (!string->copied) {
            mg_text_clear(&string->copy);
            mg_text_add(&string->copy, mg_str_sub(text, string->from, json->at));
            string->copied = true;
        }
        return read_escape(json, text, &string->copy);
    }
    if (c < 0x20)
        return "a control byte in a string: write it as \\u00XX";
    length = mg_str_utf8_at(text, json->at);
    if (!length)
        return "bytes that are not UTF-8";
    if (string->copied)
        mg_text_add(&string->copy, mg_str_sub(text, json->at, json->at + length));
    json->at += length;
    return NULL;
}

/* Reads on in a string. Returns whether it has come to its end; a problem is noted. */
static bool read_string(mg_json *json, mg_str text, piece *string)
{
    const size_t began = json->at,
                 until = json->at + (size_t)json->left < text.n ? json->at + (size_t)json->left : text.n;

    while (json->at < until) {
        const size_t from = json->at;
        const char *problem;

        json->at = plain_end(text, from, until);
        if (string->copied)
            mg_text_add(&string->copy, mg_str_sub(text, from, json->at));
        if (json->at == until)
            break;
        if (text.p[json->at] == '"') {
            string->n = json->at - string->from;
            json->at++;
            json->left -= (int64_t)(json->at - began);
            return true;
        }
        const size_t special = json->at;
        problem = read_special(json, text, string);
        if (problem) {
            (void)wrong(json, special, problem);
            return false;
        }
    }
    json->left -= (int64_t)(json->at - began);
    if (json->at >= text.n)
        (void)wrong(json, json->at, "the text ends inside a string");
    return false;
}

static void begin_string(mg_json *json, piece *string, due rest)
{
    json->at++;
    string->from = json->at;
    string->copied = false;
    json->due = rest;
}

static int read_key(mg_json *json, mg_str text)
{
    if (read_string(json, text, &json->key)) {
        json->due = DUE_COLON;
        return READ_ON;
    }
    return json->problem ? MG_JSON_WRONG : READ_ON;
}

static int read_text(mg_json *json, mg_str text, mg_json_item *item)
{
    if (!read_string(json, text, &json->string))
        return json->problem ? MG_JSON_WRONG : READ_ON;
    item->text = slice_of(&json->string, text);
    value_read(json);
    return MG_JSON_STRING;
}

/* ---- numbers ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static size_t digits_end(mg_str text, size_t at, size_t until)
{
    while (at < until && is_digit(text.p[at]))
        at++;
    return at;
}

/* Where the number at `at` ends, or 0: it is none. */
static size_t number_end(mg_str text, size_t at, size_t until, bool *whole)
{
    size_t end;

    if (at < until && text.p[at] == '-')
        at++;
    end = at < until && text.p[at] == '0' ? at + 1 : digits_end(text, at, until);
    if (end == at)
        return 0;
    *whole = true;
    if (end < until && text.p[end] == '.') {
        *whole = false;
        at = end + 1;
        end = digits_end(text, at, until);
        if (end == at)
            return 0;
    }
    if (end < until && (text.p[end] == 'e' || text.p[end] == 'E')) {
        *whole = false;
        at = end + 1;
        if (at < until && (text.p[at] == '+' || text.p[at] == '-'))
            at++;
        end = digits_end(text, at, until);
        if (end == at)
            return 0;
    }
    return end;
}

/* Of at least 16 digits. */
static int read_wide(mg_json *json, mg_str number, size_t at, mg_json_item *item)
{
    const bool minus = number.p[0] == '-';
    uint64_t magnitude;

    if (!mg_str_u64(mg_str_sub(number, minus, number.n), &magnitude) ||
        (minus && magnitude > (uint64_t)1 << 63))
        return json->any_integer ? MG_JSON_DIGITS : wrong(json, at, "an integer of more than 64 bits");
    item->integer = (int64_t)(minus ? 0 - magnitude : magnitude);
    if (magnitude <= (uint64_t)1 << 53) {
        item->number = (double)item->integer;
        return MG_JSON_NUMBER;
    }
    return !minus && magnitude > INT64_MAX ? MG_JSON_UINT64 : MG_JSON_INT64;
}

static int read_short(mg_str number, mg_json_item *item)
{
    const bool minus = number.p[0] == '-';
    int64_t value = 0;

    for (size_t i = minus; i < number.n; i++)
        value = value * 10 + (number.p[i] - '0');
    item->number = (double)(minus ? -value : value);
    return MG_JSON_NUMBER;
}

static int read_number(mg_json *json, mg_str text, mg_json_item *item)
{
    const size_t at = json->at, until = at + NUMBER_BYTES + 1 < text.n ? at + NUMBER_BYTES + 1 : text.n;
    char digits[NUMBER_BYTES + 1];
    bool whole;
    const size_t end = number_end(text, at, until, &whole);
    const mg_str number = mg_str_make(text.p + at, end ? end - at : until - at);

    if (number.n > NUMBER_BYTES)
        return wrong(json, at, "a number of more than 1024 bytes");
    if (!end)
        return wrong(json, at, "a number that is not written as JSON has it");
    json->at = end;
    json->left -= (int64_t)number.n;
    item->text = (mg_slice){ number.p, (uint32_t)number.n };
    value_read(json);
    if (whole)
        return number.n <= EXACT_DIGITS ? read_short(number, item) : read_wide(json, number, at, item);
    memcpy(digits, number.p, number.n);
    digits[number.n] = '\0';
    item->number = strtod(digits, NULL);
    return isinf(item->number) ? wrong(json, at, "a number beyond the range of numbers") : MG_JSON_NUMBER;
}

/* ---- values ---- */

static int read_word(mg_json *json, mg_str text, mg_str word, int kind)
{
    if (!mg_str_starts(mg_str_sub(text, json->at, text.n), word))
        return wrong(json, json->at, A_VALUE_IS_DUE);
    json->at += word.n;
    json->left -= (int64_t)word.n;
    value_read(json);
    return kind;
}

static int open_container(mg_json *json, bool object)
{
    if (json->depth == MG_JSON_DEPTH)
        return wrong(json, json->at, "nested more than 64 deep");
    json->objects = (json->objects & ~((uint64_t)1 << json->depth)) | (uint64_t)object << json->depth;
    json->depth++;
    json->at++;
    json->due = object ? DUE_FIRST_KEY : DUE_FIRST_VALUE;
    return object ? MG_JSON_OBJECT : MG_JSON_ARRAY;
}

static int close_container(mg_json *json)
{
    json->depth--;
    json->at++;
    value_read(json);
    return MG_JSON_CLOSED;
}

static int read_value(mg_json *json, mg_str text, mg_json_item *item)
{
    if (++json->values > MG_TREE_NODES / 2)
        return wrong(json, json->at, "more than 500000 values");
    json->left -= MG_JSON_VALUE_BYTES;
    if (json->depth && in_object(json))
        item->key = slice_of(&json->key, text);
    switch (text.p[json->at]) {
    case '{': return open_container(json, true);
    case '[': return open_container(json, false);
    case '"': begin_string(json, &json->string, DUE_REST_OF_TEXT); return READ_ON;
    case 't': return read_word(json, text, MG_STR("true"), MG_JSON_TRUE);
    case 'f': return read_word(json, text, MG_STR("false"), MG_JSON_FALSE);
    case 'n': return read_word(json, text, MG_STR("null"), MG_JSON_NULL);
    default: break;
    }
    if (text.p[json->at] == '-' || is_digit(text.p[json->at]))
        return read_number(json, text, item);
    return wrong(json, json->at, A_VALUE_IS_DUE);
}

/* A comma, or the end of what it stands in. */
static int read_comma(mg_json *json, char c)
{
    const bool object = in_object(json);

    if (c == (object ? '}' : ']'))
        return close_container(json);
    if (c != ',')
        return wrong(json, json->at, object ? "a ',' or '}' is due" : "a ',' or ']' is due");
    json->at++;
    json->due = object ? DUE_KEY : DUE_VALUE;
    return READ_ON;
}

static int read_mark(mg_json *json, char c)
{
    switch (json->due) {
    case DUE_FIRST_KEY:
        if (c == '}')
            return close_container(json);
        /* fall through */
    case DUE_KEY:
        if (c != '"')
            return wrong(json, json->at, "a key in quotes is due");
        begin_string(json, &json->key, DUE_REST_OF_KEY);
        return READ_ON;
    case DUE_COLON:
        if (c != ':')
            return wrong(json, json->at, "a ':' is due");
        json->at++;
        json->due = DUE_VALUE;
        return READ_ON;
    case DUE_COMMA: return read_comma(json, c);
    default: return wrong(json, json->at, "something stands behind the value");
    }
}

static void skip_blanks(mg_json *json, mg_str text)
{
    const size_t from = json->at,
                 until = from + (size_t)json->left < text.n ? from + (size_t)json->left : text.n;

    while (json->at < until && (text.p[json->at] == ' ' || text.p[json->at] == '\n' ||
                                text.p[json->at] == '\r' || text.p[json->at] == '\t'))
        json->at++;
    json->left -= (int64_t)(json->at - from);
}

/* The next token, or a part of it. */
static int step_reader(mg_json *json, mg_str text, mg_json_item *item)
{
    if (json->due == DUE_REST_OF_TEXT) {
        if (json->depth && in_object(json))
            item->key = slice_of(&json->key, text);
        return read_text(json, text, item);
    }
    if (json->due == DUE_REST_OF_KEY)
        return read_key(json, text);
    skip_blanks(json, text);
    if (json->left <= 0)
        return READ_ON;
    if (json->at == text.n)
        return json->due == DUE_NOTHING ? MG_JSON_END : wrong(json, json->at, "the text ends too early");
    json->left--;
    if (json->due == DUE_FIRST_VALUE && text.p[json->at] == ']')
        return close_container(json);
    if (json->due == DUE_VALUE || json->due == DUE_FIRST_VALUE)
        return read_value(json, text, item);
    return read_mark(json, text.p[json->at]);
}

/* ---- places ---- */

/* Counts on to the byte `at`; columns count characters. */
static void place(mg_json *json, const char *text, size_t at)
{
    for (; json->placed < at; json->placed++) {
        const unsigned char c = (unsigned char)text[json->placed];
        if (c == '\n') {
            json->line++;
            json->column = 1;
        } else if ((c & 0xc0) != 0x80) {
            json->column++;
        }
    }
}

/* Counts with each part, so that a problem far in has little to count. The key that is being read may turn
 * out to be there twice. */
static int end_part(mg_json *json, const char *text)
{
    json->left = MG_JSON_PART_BYTES;
    if (json->placed < json->key.from) {
        place(json, text, json->key.from - 1);
        json->key_line = json->line;
        json->key_column = json->column;
    }
    place(json, text, json->at);
    return MG_JSON_PART;
}

int mg_json_next(mg_json *json, const char *text, uint32_t n, mg_json_item *item)
{
    const mg_str whole = mg_str_make(text, n);
    int kind = READ_ON;

    *item = (mg_json_item){ 0 };
    if (n > MG_TREE_FILE_BYTES)
        return wrong(json, 0, "a text of more than 16 MiB");
    while (kind == READ_ON) {
        if (json->left <= 0)
            return end_part(json, text);
        kind = step_reader(json, whole, item);
    }
    return kind;
}

void mg_json_refuse_key(mg_json *json)
{
    (void)wrong(json, json->key.from - 1, "this key is there twice: keep one of the two");
}

void mg_json_problem(mg_json *json, const char *text, uint32_t n, char *error256)
{
    const bool counted = json->problem_at < json->placed; /* it is the key's */

    place(json, text, json->problem_at < n ? json->problem_at : n);
    snprintf(error256, 256, "line %u, column %u: %s", counted ? json->key_line : json->line,
             counted ? json->key_column : json->column, json->problem ? json->problem : "no JSON");
}

uint32_t mg_json_quote(const char *text, uint32_t n, char *out)
{
    mg_text quoted = { 0 };
    uint32_t length;

    mg_text_add_json(&quoted, mg_str_make(text, n));
    length = (uint32_t)quoted.n;
    memcpy(out, quoted.p, length);
    mg_text_fini(&quoted);
    return length;
}
