/* json_out.h - writes JSON: documents, problem documents and lines of logs. It places commas and escapes text
 * itself, and knows which list or map is open: a value without a key in a map, a key in a list, or one end too
 * many ends the process (MG_CHECK). One thread at a time. */
#ifndef MG_BASE_JSON_OUT_H
#define MG_BASE_JSON_OUT_H

#include "base/str.h"

enum { MG_JSON_OUT_DEPTH = 64 };

/* Start with { .text = where it writes }. It is good for one value; begin another one for the next. */
typedef struct mg_json_out {
    mg_text *text; /* borrowed; more may be written to it once the value is whole */
    uint64_t maps; /* a bit for each open level: set for a map */
    uint8_t depth;
    bool comma; /* the next value or key has another one before it */
    bool keyed; /* mg_json_out_key wrote a key, whose value is due */
    bool whole; /* the value has been written */
} mg_json_out;

/* `key` names the value in a map: a fixed word of ours that needs no escape. It is NULL in a list, for the
 * outermost value, and behind mg_json_out_key. */

void mg_json_out_map(mg_json_out *out, const char *key);
void mg_json_out_list(mg_json_out *out, const char *key);
void mg_json_out_end(mg_json_out *out); /* of the innermost map or list */

/* A key that may hold any bytes. Its value comes next. */
void mg_json_out_key(mg_json_out *out, mg_str key);

/* Bytes that are not UTF-8 become U+FFFD. */
void mg_json_out_text(mg_json_out *out, const char *key, mg_str value);
/* At most 255 bytes. */
void mg_json_out_textf(mg_json_out *out, const char *key, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void mg_json_out_hex(mg_json_out *out, const char *key, const void *bytes, size_t n); /* two digits a byte */
void mg_json_out_u64(mg_json_out *out, const char *key, uint64_t value);
void mg_json_out_i64(mg_json_out *out, const char *key, int64_t value);
void mg_json_out_double(mg_json_out *out, const char *key,
                        double value); /* as %g; null unless it is finite */
void mg_json_out_seconds(mg_json_out *out, const char *key, uint64_t ns); /* 1.500000 */
void mg_json_out_bool(mg_json_out *out, const char *key, bool value);
void mg_json_out_null(mg_json_out *out, const char *key);
/* A value that is JSON already: another document, or a number of a notation of its own. */
void mg_json_out_json(mg_json_out *out, const char *key, mg_str json);

#endif
