/* bounds.h - how large the parts of a message may be, wherever it comes from: parsers, configuration and
 * plugins go by this table, so that a plugin can set again whatever it was given. Constants, for any
 * thread. */
#ifndef MG_HTTP_BOUNDS_H
#define MG_HTTP_BOUNDS_H

enum mg_http_bound {
    MG_METHOD_BYTES_MAX = 32,
    MG_FIELD_NAME_BYTES_MAX = 256,
    MG_HEAD_BYTES_MAX = 64 << 10, /* the most that max_head_bytes can be: so of a value, and of a target */
    MG_FIELDS_MAX = 1000,         /* the most that max_fields can be */
    MG_BODY_BYTES_MAX = 64 << 20, /* of one that is held in memory */
};

#endif
