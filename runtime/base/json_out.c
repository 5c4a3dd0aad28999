/* json_out.c - one value of JSON, written from its beginning to its end. */
#include "base/json_out.h"

#include "base/check.h"
#include "base/time.h"

#include <stdio.h>

enum { NUMBER_ROOM = 32, TEXT_ROOM = 256 };

static bool in_map(const mg_json_out *out)
{
    return out->depth && out->maps >> (out->depth - 1) & 1;
}

/* Writes what stands before a value, and leaves `room` bytes free behind it. */
static char *begin_value(mg_json_out *out, const char *key, size_t room)
{
    const size_t key_n = key ? strlen(key) : 0;
    char *p;

    MG_CHECK(!out->whole && in_map(out) == (out->keyed || key) && !(out->keyed && key));
    mg_text_reserve(out->text, key_n + 4 + room);
    p = out->text->p + out->text->n;
    if (out->comma && !out->keyed)
        *p++ = ',';
    if (key) {
        *p++ = '"';
        memcpy(p, key, key_n);
        p += key_n;
        *p++ = '"';
        *p++ = ':';
    }
    out->comma = true;
    out->keyed = false;
    return p;
}

static void end_at(mg_json_out *out, const char *p)
{
    out->text->n = (size_t)(p - out->text->p);
    out->text->p[out->text->n] = '\0';
    out->whole = !out->depth;
}

static void open_level(mg_json_out *out, const char *key, bool map)
{
    char *p = begin_value(out, key, 1);

    MG_CHECK(out->depth < MG_JSON_OUT_DEPTH);
    out->maps = (out->maps & ~((uint64_t)1 << out->depth)) | (uint64_t)map << out->depth;
    out->depth++;
    out->comma = false;
    *p++ = map ? '{' : '[';
    end_at(out, p);
}

void mg_json_out_map(mg_json_out *out, const char *key)
{
    open_level(out, key, true);
}

void mg_json_out_list(mg_json_out *out, const char *key)
{
    open_level(out, key, false);
}

void mg_json_out_end(mg_json_out *out)
{
    MG_CHECK(out->depth && !out->keyed);
    mg_text_add_char(out->text, in_map(out) ? '}' : ']');
    out->depth--;
    out->comma = true;
    out->whole = !out->depth;
}

void mg_json_out_key(mg_json_out *out, mg_str key)
{
    MG_CHECK(in_map(out) && !out->keyed);
    if (out->comma)
        mg_text_add_char(out->text, ',');
    mg_text_add_json(out->text, key);
    mg_text_add_char(out->text, ':');
    out->keyed = true;
}

void mg_json_out_text(mg_json_out *out, const char *key, mg_str value)
{
    end_at(out, begin_value(out, key, value.n + 2));
    mg_text_add_json(out->text, value);
}

void mg_json_out_textf(mg_json_out *out, const char *key, const char *format, ...)
{
    char text[TEXT_ROOM];
    va_list args;

    va_start(args, format);
    const int n = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    MG_CHECK(n >= 0 && (size_t)n < sizeof text);
    mg_json_out_text(out, key, mg_str_make(text, (size_t)n));
}

void mg_json_out_hex(mg_json_out *out, const char *key, const void *bytes, size_t n)
{
    const unsigned char *from = bytes;
    char *p = begin_value(out, key, 2 * n + 2);

    *p++ = '"';
    for (size_t i = 0; i < n; i++) {
        *p++ = "0123456789abcdef"[from[i] >> 4];
        *p++ = "0123456789abcdef"[from[i] & 15];
    }
    *p++ = '"';
    end_at(out, p);
}

void mg_json_out_u64(mg_json_out *out, const char *key, uint64_t value)
{
    char *p = begin_value(out, key, NUMBER_ROOM);

    end_at(out, p + mg_u64_write(p, value));
}

void mg_json_out_i64(mg_json_out *out, const char *key, int64_t value)
{
    char *p = begin_value(out, key, NUMBER_ROOM);

    if (value < 0)
        *p++ = '-';
    end_at(out, p + mg_u64_write(p, value < 0 ? -(uint64_t)value : (uint64_t)value));
}

void mg_json_out_double(mg_json_out *out, const char *key, double value)
{
    char text[NUMBER_ROOM];

    if (value - value != 0) /* NaN or infinite */
        mg_json_out_null(out, key);
    else
        mg_json_out_json(out, key, mg_str_make(text, (size_t)snprintf(text, sizeof text, "%g", value)));
}

void mg_json_out_seconds(mg_json_out *out, const char *key, uint64_t ns)
{
    uint64_t micros = ns % MG_NS_PER_S / 1000;
    char *p = begin_value(out, key, NUMBER_ROOM);

    p += mg_u64_write(p, ns / MG_NS_PER_S);
    *p = '.';
    for (int i = 6; i > 0; i--, micros /= 10)
        p[i] = (char)('0' + micros % 10);
    end_at(out, p + 7);
}

void mg_json_out_bool(mg_json_out *out, const char *key, bool value)
{
    mg_json_out_json(out, key, value ? MG_STR("true") : MG_STR("false"));
}

void mg_json_out_null(mg_json_out *out, const char *key)
{
    mg_json_out_json(out, key, MG_STR("null"));
}

void mg_json_out_json(mg_json_out *out, const char *key, mg_str json)
{
    char *p = begin_value(out, key, json.n);

    if (json.n)
        memcpy(p, json.p, json.n);
    end_at(out, p + json.n);
}
