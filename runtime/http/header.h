/* header.h - the fields of a message: in order, names lower-case, well-known names as numbers. Memory is the
 * exchange's arena; a removed field is gone from the list. One thread. */
#ifndef MG_HTTP_HEADER_H
#define MG_HTTP_HEADER_H

#include "base/arena.h"
#include "http/bounds.h"

/* Well-known names. 0 is any other. The texts are in mg_name_text(). */
#define MG_NAMES(X)                                                                                          \
    X(HOST, "host")                                                                                          \
    X(CONNECTION, "connection")                                                                              \
    X(CONTENT_LENGTH, "content-length")                                                                      \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                                \
    X(TE, "te")                                                                                              \
    X(TRAILER, "trailer")                                                                                    \
    X(UPGRADE, "upgrade")                                                                                    \
    X(KEEP_ALIVE, "keep-alive")                                                                              \
    X(PROXY_CONNECTION, "proxy-connection")                                                                  \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                              \
    X(PROXY_AUTHORIZATION, "proxy-authorization")                                                            \
    X(EXPECT, "expect")                                                                                      \
    X(DATE, "date")                                                                                          \
    X(SERVER, "server")                                                                                      \
    X(VIA, "via")                                                                                            \
    X(FORWARDED, "forwarded")                                                                                \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                                    \
    X(X_FORWARDED_PROTO, "x-forwarded-proto")                                                                \
    X(X_FORWARDED_HOST, "x-forwarded-host")                                                                  \
    X(X_REQUEST_ID, "x-request-id")                                                                          \
    X(USER_AGENT, "user-agent")                                                                              \
    X(CONTENT_TYPE, "content-type")                                                                          \
    X(COOKIE, "cookie")                                                                                      \
    X(SET_COOKIE, "set-cookie")                                                                              \
    X(AUTHORIZATION, "authorization")                                                                        \
    X(LOCATION, "location")                                                                                  \
    X(RETRY_AFTER, "retry-after")                                                                            \
    X(ORIGIN, "origin")                                                                                      \
    X(ACCESS_CONTROL_REQUEST_METHOD, "access-control-request-method")                                        \
    X(TRACEPARENT, "traceparent")                                                                            \
    X(TRACESTATE, "tracestate")                                                                              \
    X(HTTP2_SETTINGS, "http2-settings")                                                                      \
    X(GRPC_TIMEOUT, "grpc-timeout")                                                                          \
    X(X_MOONGATE_DEADLINE_MS, "x-moongate-deadline-ms")                                                      \
    X(X_MOONGATE_ATTEMPT, "x-moongate-attempt")

typedef enum mg_name {
    MG_NAME_OTHER = 0,
#define X(id, text) MG_NAME_##id,
    MG_NAMES(X)
#undef X
        MG_NAME_COUNT
} mg_name;

typedef struct mg_field {
    const char *name;  /* lower-case; borrowed: arena or static */
    const char *value; /* without the white space around it */
    uint32_t value_n;
    uint16_t name_n;
    uint8_t id;     /* mg_name */
    uint8_t stands; /* how name and value stand in memory: of mg_field_stands */
} mg_field;

enum mg_field_stands {
    MG_FIELD_LINE = 1,  /* as they are sent: "name: value" CRLF without a gap */
    MG_FIELD_PIECE = 2, /* and the line is a piece, which goes back to the arena with the field */
};

enum { MG_FIELD_LINE_BYTES = 4 }; /* of such a line beside name and value */

typedef struct mg_fields {
    mg_field *items; /* arena */
    uint32_t count, cap;
    uint64_t names; /* the bits of all names that are there, and perhaps of some that are not: mg_name_bit */
} mg_fields;

/* The number of a lower-case name, MG_NAME_OTHER when it has none. */
mg_name mg_name_find(mg_str lower);
mg_str mg_name_text(mg_name id);

/* RFC 9110 5.6.2: token bytes; 5.5: field-value bytes (no CR, LF, NUL or other control byte but HTAB). */
bool mg_is_token(mg_str s);
bool mg_is_field_value(mg_str s);

/* A bit of its own for each well-known name; other names share 16. */
static inline uint64_t mg_name_bit(mg_name id, mg_str lower_name)
{
    _Static_assert(MG_NAME_COUNT <= 48, "a bit for each");
    if (id != MG_NAME_OTHER || lower_name.n == 0)
        return 1ull << id;
    return 1ull << (48 + ((lower_name.n ^ (unsigned char)lower_name.p[lower_name.n - 1]) & 15));
}

/* Doubles the room of a list. */
void mg_fields_grow(mg_fields *fields, mg_arena *arena);

static inline void mg_fields_push(mg_fields *fields, mg_arena *arena, mg_field field)
{
    if (__builtin_expect(fields->count == fields->cap, 0))
        mg_fields_grow(fields, arena);
    fields->names |= mg_name_bit((mg_name)field.id, mg_str_make(field.name, field.name_n));
    fields->items[fields->count++] = field;
}

/* Neither copies nor checks: the caller's text outlives the arena's use of it and has passed the checks (a
 * name of 1 to UINT16_MAX bytes, a value of at most UINT32_MAX). */
static inline void mg_fields_add(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name,
                                 mg_str value)
{
    mg_fields_push(fields, arena,
                   (mg_field){
                       .name = lower_name.p,
                       .value = value.p ? value.p : "",
                       .value_n = (uint32_t)value.n,
                       .name_n = (uint16_t)lower_name.n,
                       .id = (uint8_t)id,
                   });
}
/* The same of a well-known name with a copy of the value: as a line, which is written faster. `prefix` is a
 * literal, "name: ". */
static inline __attribute__((always_inline)) void mg_fields_add_line(mg_fields *fields, mg_arena *arena,
                                                                     mg_name id, mg_str prefix, mg_str value)
{
    char *line = mg_arena_bytes(arena, prefix.n + value.n + 2), *at = line + prefix.n;

    memcpy(line, prefix.p, prefix.n);
    memcpy(mg_put(at, value), "\r\n", 2);
    mg_fields_push(fields, arena,
                   (mg_field){ .name = line,
                               .value = at,
                               .value_n = (uint32_t)value.n,
                               .name_n = (uint16_t)(prefix.n - 2),
                               .id = (uint8_t)id,
                               .stands = MG_FIELD_LINE });
}
/* Index of the first field of that name at or after `from`, or -1. `id` may be MG_NAME_OTHER: then by text.
 */
int mg_fields_find(const mg_fields *fields, mg_name id, mg_str lower_name, uint32_t from);
/* First value of a well-known name; MG_STR_NONE when absent. */
mg_str mg_fields_get(const mg_fields *fields, mg_name id);
/* All values of a name as one (RFC 9110 5.3): joined with ", ", those of Cookie with "; ". Set-Cookie, which
 * cannot be joined, gives its first. MG_STR_NONE when absent. Borrowed from the fields, or the arena's where
 * there were several. For whoever goes by the value of a field: a second line must not pass unread. */
mg_str mg_fields_value(const mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name);
/* A field of the same texts, whose line is a piece; and that of such a field back to the arena. */
mg_field mg_field_copy(const mg_field *field, mg_arena *arena);
void mg_field_give_back(const mg_field *field, mg_arena *arena);
/* Removes all of that name; returns how many there were. */
uint32_t mg_fields_remove(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name);
/* Removes all; the list's own memory stays for others. */
void mg_fields_clear(mg_fields *fields, mg_arena *arena);
/* Replaces the first of that name in its place and removes the others, or adds one at the end. */
void mg_fields_set(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name, mg_str value);

/* Drops what is true of the bytes of a body alone, which have changed: Content-Encoding, Content-MD5, Digest,
 * Content-Digest, Repr-Digest; of a response also ETag, Content-Range and Accept-Ranges. */
void mg_fields_drop_of_body(mg_fields *fields, mg_arena *arena, bool is_request);
/* The same for bytes that may change on their way: drops the digests; of a response also Accept-Ranges, and
 * its ETag becomes a weak one. */
void mg_fields_weaken(mg_fields *fields, mg_arena *arena, bool is_request);

/* A name as plugins and the configuration give it, in lower case. */
typedef struct mg_field_name {
    mg_str lower; /* borrowed */
    mg_name id;
} mg_field_name;

enum {
    MG_FIELD_NAME_ROOM = MG_FIELD_NAME_BYTES_MAX + 16
}; /* whoever reads sixteen bytes at once needs more */

/* NULL, or why it is no name. The lower-case text stands in `room`. */
const char *mg_field_name_read(mg_field_name *name, char room[MG_FIELD_NAME_ROOM], mg_str text);

/* The checked way in, for plugins and configuration: copies both texts into the arena, refuses values with
 * CR, LF, NUL or other control bytes, and the names that frame a message or belong to one connection (RFC
 * 9110 7.6.1, host, content-length). Copies are pieces: what is replaced or removed gives its memory back.
 * NULL, or what is wrong. */
const char *mg_fields_put_named(mg_fields *fields, mg_arena *arena, const mg_field_name *name, mg_str value,
                                bool replace);
/* The same, of a name that is read before. */
const char *mg_fields_put(mg_fields *fields, mg_arena *arena, mg_str name, mg_str value, bool replace);
/* True for the names that mg_fields_put refuses and that never cross the gateway as they are. */
bool mg_name_is_framing(mg_name id);

#endif
