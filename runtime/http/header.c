/* header.c - fields in order, in arena memory. A message has a dozen of them, so that a scan beats any index.
 */
#include "http/header.h"

#include "base/check.h"
#include "base/mem.h"
#include "http/bounds.h"
#include "http/bytes.h"

enum { FIRST_CAP = 16, PLACES = 128 };

static const mg_str name_texts[MG_NAME_COUNT] = { [MG_NAME_OTHER] = { "", 0 },
#define X(id, text) [MG_NAME_##id] = { text, sizeof(text) - 1 },
                                                  MG_NAMES(X)
#undef X
};

/* Where a name stands below: no two known ones stand in one place. A test looks every name of MG_NAMES up. */
static unsigned place_of(mg_str lower)
{
    return ((unsigned)lower.n + 9u * (unsigned char)lower.p[0] + 27u * (unsigned char)lower.p[lower.n - 1]) %
           PLACES;
}

static const uint8_t names_by_place[PLACES] = {
    [1] = MG_NAME_CONTENT_LENGTH,
    [2] = MG_NAME_TRANSFER_ENCODING,
    [4] = MG_NAME_X_FORWARDED_HOST,
    [6] = MG_NAME_X_MOONGATE_ATTEMPT,
    [7] = MG_NAME_ORIGIN,
    [16] = MG_NAME_AUTHORIZATION,
    [18] = MG_NAME_ACCESS_CONTROL_REQUEST_METHOD,
    [19] = MG_NAME_RETRY_AFTER,
    [23] = MG_NAME_SERVER,
    [26] = MG_NAME_PROXY_CONNECTION,
    [29] = MG_NAME_PROXY_AUTHORIZATION,
    [31] = MG_NAME_CONNECTION,
    [33] = MG_NAME_TRAILER,
    [40] = MG_NAME_COOKIE,
    [41] = MG_NAME_PROXY_AUTHENTICATE,
    [43] = MG_NAME_FORWARDED,
    [46] = MG_NAME_CONTENT_TYPE,
    [47] = MG_NAME_DATE,
    [60] = MG_NAME_SET_COOKIE,
    [61] = MG_NAME_TE,
    [69] = MG_NAME_TRACESTATE,
    [75] = MG_NAME_UPGRADE,
    [77] = MG_NAME_X_FORWARDED_FOR,
    [79] = MG_NAME_EXPECT,
    [80] = MG_NAME_X_REQUEST_ID,
    [87] = MG_NAME_HTTP2_SETTINGS,
    [91] = MG_NAME_TRACEPARENT,
    [99] = MG_NAME_USER_AGENT,
    [100] = MG_NAME_VIA,
    [103] = MG_NAME_GRPC_TIMEOUT,
    [104] = MG_NAME_HOST,
    [110] = MG_NAME_LOCATION,
    [111] = MG_NAME_X_MOONGATE_DEADLINE_MS,
    [116] = MG_NAME_KEEP_ALIVE,
    [126] = MG_NAME_X_FORWARDED_PROTO,
};

mg_name mg_name_find(mg_str lower)
{
    if (lower.n == 0)
        return MG_NAME_OTHER;
    const mg_name id = (mg_name)names_by_place[place_of(lower)];

    return id != MG_NAME_OTHER && name_texts[id].n == lower.n &&
                   mg_bytes_eq(name_texts[id].p, lower.p, lower.n)
               ? id
               : MG_NAME_OTHER;
}

mg_str mg_name_text(mg_name id)
{
    MG_CHECK(id < MG_NAME_COUNT);
    return name_texts[id];
}

bool mg_name_is_framing(mg_name id)
{
    switch (id) {
    case MG_NAME_HOST:
    case MG_NAME_CONNECTION:
    case MG_NAME_CONTENT_LENGTH:
    case MG_NAME_TRANSFER_ENCODING:
    case MG_NAME_TE:
    case MG_NAME_TRAILER:
    case MG_NAME_UPGRADE:
    case MG_NAME_KEEP_ALIVE:
    case MG_NAME_PROXY_CONNECTION:
    case MG_NAME_PROXY_AUTHENTICATE:
    case MG_NAME_PROXY_AUTHORIZATION:
    case MG_NAME_EXPECT:
    case MG_NAME_HTTP2_SETTINGS: return true;
    default: return false;
    }
}

bool mg_is_token(mg_str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!mg_byte_is(s.p[i], MG_BYTE_TOKEN))
            return false;
    return s.n > 0;
}

bool mg_is_field_value(mg_str s)
{
    bool odd = false;

    return s.n == 0 || mg_field_value_end(s.p, s.p + s.n, &odd) == s.p + s.n;
}

void mg_fields_grow(mg_fields *fields, mg_arena *arena)
{
    uint32_t cap = fields->cap ? fields->cap * 2 : FIRST_CAP;
    mg_field *items = mg_arena_alloc(arena, cap * sizeof(*items));

    if (fields->count)
        memcpy(items, fields->items, fields->count * sizeof(*items));
    fields->items = items;
    fields->cap = cap;
}

static bool has_name(const mg_field *field, mg_name id, mg_str lower_name)
{
    if (id != MG_NAME_OTHER)
        return field->id == id;
    return field->name_n == lower_name.n && mg_bytes_eq(field->name, lower_name.p, lower_name.n);
}

int mg_fields_find(const mg_fields *fields, mg_name id, mg_str lower_name, uint32_t from)
{
    if (!(fields->names & mg_name_bit(id, lower_name)))
        return -1;
    for (uint32_t i = from; i < fields->count; i++)
        if (has_name(&fields->items[i], id, lower_name))
            return (int)i;
    return -1;
}

mg_str mg_fields_get(const mg_fields *fields, mg_name id)
{
    int i = mg_fields_find(fields, id, MG_STR_NONE, 0);

    return i < 0 ? MG_STR_NONE : mg_str_make(fields->items[i].value, fields->items[i].value_n);
}

static mg_str value_at(const mg_fields *fields, int at)
{
    return mg_str_make(fields->items[at].value, fields->items[at].value_n);
}

static mg_str join_values(const mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name, int first)
{
    const mg_str between = id == MG_NAME_COOKIE ? MG_STR("; ") : MG_STR(", ");
    size_t n = fields->items[first].value_n;

    for (int i = first; (i = mg_fields_find(fields, id, lower_name, (uint32_t)i + 1)) >= 0;)
        n += between.n + fields->items[i].value_n;
    char *text = mg_arena_bytes(arena, n), *at = text;
    for (int i = first; i >= 0; i = mg_fields_find(fields, id, lower_name, (uint32_t)i + 1)) {
        if (i != first)
            at = (char *)memcpy(at, between.p, between.n) + between.n;
        if (fields->items[i].value_n)
            memcpy(at, fields->items[i].value, fields->items[i].value_n);
        at += fields->items[i].value_n;
    }
    return mg_str_make(text, n);
}

mg_str mg_fields_value(const mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name)
{
    const int first = mg_fields_find(fields, id, lower_name, 0);

    if (first < 0)
        return MG_STR_NONE;
    if (id == MG_NAME_SET_COOKIE || mg_fields_find(fields, id, lower_name, (uint32_t)first + 1) < 0)
        return value_at(fields, first);
    return join_values(fields, arena, id, lower_name, first);
}

/* A field whose line is a piece. */
static mg_field piece_of(mg_arena *arena, mg_name id, mg_str lower_name, mg_str value)
{
    char *line = mg_arena_piece(arena, lower_name.n + value.n + MG_FIELD_LINE_BYTES);
    char *at = mg_put(line, lower_name);

    memcpy(at, ": ", 2);
    memcpy(mg_put(at + 2, value), "\r\n", 2);
    return (mg_field){ .name = line,
                       .value = at + 2,
                       .value_n = (uint32_t)value.n,
                       .name_n = (uint16_t)lower_name.n,
                       .id = (uint8_t)id,
                       .stands = MG_FIELD_LINE | MG_FIELD_PIECE };
}

mg_field mg_field_copy(const mg_field *field, mg_arena *arena)
{
    return piece_of(arena, (mg_name)field->id, mg_str_make(field->name, field->name_n),
                    mg_str_make(field->value, field->value_n));
}

void mg_field_give_back(const mg_field *field, mg_arena *arena)
{
    if (field->stands & MG_FIELD_PIECE)
        mg_arena_piece_back(arena, field->name, field->name_n + (size_t)field->value_n + MG_FIELD_LINE_BYTES);
}

/* Removes those of that name at and behind `from`. */
static uint32_t remove_from(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name, uint32_t from)
{
    uint32_t kept = from, removed;

    if (!(fields->names & mg_name_bit(id, lower_name)))
        return 0;
    for (uint32_t i = from; i < fields->count; i++) {
        if (has_name(&fields->items[i], id, lower_name))
            mg_field_give_back(&fields->items[i], arena);
        else
            fields->items[kept++] = fields->items[i];
    }
    removed = fields->count - kept;
    fields->count = kept;
    return removed;
}

uint32_t mg_fields_remove(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name)
{
    return remove_from(fields, arena, id, lower_name, 0);
}

void mg_fields_clear(mg_fields *fields, mg_arena *arena)
{
    for (uint32_t i = 0; i < fields->count; i++)
        mg_field_give_back(&fields->items[i], arena);
    fields->count = 0;
    fields->names = 0;
}

/* Puts a field in the place of the first of its name and removes the others, or adds it. */
static void set(mg_fields *fields, mg_arena *arena, mg_field field)
{
    const mg_name id = (mg_name)field.id;
    const mg_str lower_name = mg_str_make(field.name, field.name_n);
    const int first = mg_fields_find(fields, id, lower_name, 0);

    if (first < 0) {
        mg_fields_push(fields, arena, field);
        return;
    }
    mg_field_give_back(&fields->items[first], arena);
    fields->items[first] = field;
    (void)remove_from(fields, arena, id, lower_name, (uint32_t)first + 1);
}

void mg_fields_set(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name, mg_str value)
{
    const mg_str name = id == MG_NAME_OTHER ? lower_name : mg_name_text(id);

    MG_CHECK(value.n <= UINT32_MAX);
    set(fields, arena,
        (mg_field){ .name = name.p,
                    .value = value.p ? value.p : "",
                    .value_n = (uint32_t)value.n,
                    .name_n = (uint16_t)name.n,
                    .id = (uint8_t)id });
}

/* RFC 9110 8 and 14, RFC 9530, RFC 1864. The digests come first, then what only responses have. */
static const char *const of_body[] = { "content-md5",      "digest", "content-digest", "repr-digest",
                                       "content-encoding", "etag",   "content-range",  "accept-ranges" };
enum { DIGESTS = 4, OF_REQUESTS = 5, RANGES = 7 };

static void drop_named(mg_fields *fields, mg_arena *arena, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        (void)mg_fields_remove(fields, arena, MG_NAME_OTHER, mg_str_of(of_body[i]));
}

void mg_fields_drop_of_body(mg_fields *fields, mg_arena *arena, bool is_request)
{
    drop_named(fields, arena, 0, is_request ? OF_REQUESTS : mg_countof(of_body));
}

void mg_fields_weaken(mg_fields *fields, mg_arena *arena, bool is_request)
{
    int etag;

    drop_named(fields, arena, 0, DIGESTS);
    if (is_request)
        return;
    drop_named(fields, arena, RANGES, mg_countof(of_body));
    etag = mg_fields_find(fields, MG_NAME_OTHER, MG_STR("etag"), 0);
    if (etag < 0 || fields->items[etag].value[0] != '"')
        return;
    mg_fields_set(
        fields, arena, MG_NAME_OTHER, MG_STR("etag"),
        mg_arena_printf(arena, "W/%.*s", (int)fields->items[etag].value_n, fields->items[etag].value));
}

static const char *wrong_with_name(mg_str name)
{
    if (!mg_is_token(name))
        return "the name is not a token: letters, digits and !#$%&'*+-.^_`|~ only";
    return "the name is longer than 256 bytes";
}

const char *mg_field_name_read(mg_field_name *name, char room[MG_FIELD_NAME_ROOM], mg_str text)
{
    enum { SPARE = MG_FIELD_NAME_ROOM - MG_FIELD_NAME_BYTES_MAX };
    bool odd = false;

    if (text.n == 0 || text.n > MG_FIELD_NAME_BYTES_MAX)
        return wrong_with_name(text);
    mg_put(room, text);
    memset(room + text.n, ':', SPARE); /* which no name has */
    if (mg_field_name_end(room, room + text.n + SPARE, &odd) != room + text.n)
        return wrong_with_name(text);
    name->lower = mg_str_make(room, text.n);
    name->id = mg_name_find(name->lower);
    return NULL;
}

static const char *wrong_with_value(mg_str value)
{
    if (!mg_is_field_value(value))
        return "the value has a CR, LF, NUL or another control byte";
    if (value.n > MG_HEAD_BYTES_MAX)
        return "the value is longer than 64 KiB";
    return NULL;
}

const char *mg_fields_put_named(mg_fields *fields, mg_arena *arena, const mg_field_name *name, mg_str value,
                                bool replace)
{
    const char *wrong;

    value = mg_byte_trim(value);
    wrong = wrong_with_value(value);
    if (wrong)
        return wrong;
    if (mg_name_is_framing(name->id))
        return "the name frames the message or belongs to one connection, and is the gateway's to set";
    const mg_field field = piece_of(arena, name->id, name->lower, value);
    if (replace)
        set(fields, arena, field);
    else
        mg_fields_push(fields, arena, field);
    return NULL;
}

const char *mg_fields_put(mg_fields *fields, mg_arena *arena, mg_str name, mg_str value, bool replace)
{
    char room[MG_FIELD_NAME_ROOM];
    mg_field_name read;
    const char *wrong = mg_field_name_read(&read, room, name);

    return wrong ? wrong : mg_fields_put_named(fields, arena, &read, value, replace);
}
