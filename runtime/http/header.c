/* header.c - fields in order, in arena memory. A message has a dozen of them, so that a scan beats any index.
 */
#include "http/header.h"

#include "base/check.h"
#include "base/mem.h"
#include "http/bounds.h"
#include "http/bytes.h"

enum {
    FIRST_CAP = 16,
    KNOWN_BYTES_MAX = 29, /* the longest known name */
    SAME_LENGTH_MAX = 6,  /* known names of one length, and an end */
};

static const mg_str name_texts[MG_NAME_COUNT] = { [MG_NAME_OTHER] = { "", 0 },
#define X(id, text) [MG_NAME_##id] = { text, sizeof(text) - 1 },
                                                  MG_NAMES(X)
#undef X
};

/* Known names by their length; 0 ends a row. A test looks every name of MG_NAMES up. */
static const uint8_t names_by_length[KNOWN_BYTES_MAX + 1][SAME_LENGTH_MAX] = {
    [2] = { MG_NAME_TE },
    [3] = { MG_NAME_VIA },
    [4] = { MG_NAME_HOST, MG_NAME_DATE },
    [6] = { MG_NAME_COOKIE, MG_NAME_SERVER, MG_NAME_ORIGIN, MG_NAME_EXPECT },
    [7] = { MG_NAME_UPGRADE, MG_NAME_TRAILER },
    [8] = { MG_NAME_LOCATION },
    [9] = { MG_NAME_FORWARDED },
    [10] = { MG_NAME_CONNECTION, MG_NAME_USER_AGENT, MG_NAME_SET_COOKIE, MG_NAME_KEEP_ALIVE,
             MG_NAME_TRACESTATE },
    [11] = { MG_NAME_TRACEPARENT, MG_NAME_RETRY_AFTER },
    [12] = { MG_NAME_CONTENT_TYPE, MG_NAME_X_REQUEST_ID, MG_NAME_GRPC_TIMEOUT },
    [13] = { MG_NAME_AUTHORIZATION },
    [14] = { MG_NAME_CONTENT_LENGTH, MG_NAME_HTTP2_SETTINGS },
    [15] = { MG_NAME_X_FORWARDED_FOR },
    [16] = { MG_NAME_X_FORWARDED_HOST, MG_NAME_PROXY_CONNECTION },
    [17] = { MG_NAME_TRANSFER_ENCODING, MG_NAME_X_FORWARDED_PROTO },
    [18] = { MG_NAME_PROXY_AUTHENTICATE, MG_NAME_X_MOONGATE_ATTEMPT },
    [19] = { MG_NAME_PROXY_AUTHORIZATION },
    [22] = { MG_NAME_X_MOONGATE_DEADLINE_MS },
    [29] = { MG_NAME_ACCESS_CONTROL_REQUEST_METHOD },
};

mg_name mg_name_find(mg_str lower)
{
    if (lower.n > KNOWN_BYTES_MAX)
        return MG_NAME_OTHER;
    for (const uint8_t *id = names_by_length[lower.n]; *id; id++) {
        const char *text = name_texts[*id].p;

        if (text[0] == lower.p[0] && memcmp(text, lower.p, lower.n) == 0)
            return (mg_name)*id;
    }
    return MG_NAME_OTHER;
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
    return field->name_n == lower_name.n && memcmp(field->name, lower_name.p, lower_name.n) == 0;
}

int mg_fields_find(const mg_fields *fields, mg_name id, mg_str lower_name, uint32_t from)
{
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

static mg_str piece_of(mg_arena *arena, mg_str text)
{
    return mg_str_make(memcpy(mg_arena_piece(arena, text.n), text.p, text.n), text.n);
}

mg_field mg_field_copy(const mg_field *field, mg_arena *arena)
{
    mg_field copy = *field;

    copy.pieces = 0;
    if (copy.id == MG_NAME_OTHER) {
        copy.name = piece_of(arena, mg_str_make(field->name, field->name_n)).p;
        copy.pieces = MG_FIELD_NAME_PIECE;
    } else {
        copy.name = mg_name_text((mg_name)copy.id).p;
    }
    if (copy.value_n) {
        copy.value = piece_of(arena, mg_str_make(field->value, field->value_n)).p;
        copy.pieces |= MG_FIELD_VALUE_PIECE;
    }
    return copy;
}

void mg_field_give_back(const mg_field *field, mg_arena *arena)
{
    if (field->pieces & MG_FIELD_NAME_PIECE)
        mg_arena_piece_back(arena, field->name, field->name_n);
    if (field->pieces & MG_FIELD_VALUE_PIECE)
        mg_arena_piece_back(arena, field->value, field->value_n);
}

/* Removes those of that name at and behind `from`. */
static uint32_t remove_from(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name, uint32_t from)
{
    uint32_t kept = from, removed;

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
}

/* The field that has the value now; NULL when there is none of that name. */
static mg_field *replace(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name, mg_str value)
{
    const int first = mg_fields_find(fields, id, lower_name, 0);
    mg_field *field;

    if (first < 0)
        return NULL;
    MG_CHECK(value.n <= UINT32_MAX);
    field = &fields->items[first];
    if (field->pieces & MG_FIELD_VALUE_PIECE)
        mg_arena_piece_back(arena, field->value, field->value_n);
    field->pieces &= (uint8_t)~MG_FIELD_VALUE_PIECE;
    field->value = value.p ? value.p : "";
    field->value_n = (uint32_t)value.n;
    (void)remove_from(fields, arena, id, lower_name, (uint32_t)first + 1);
    return field;
}

void mg_fields_set(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name, mg_str value)
{
    if (!replace(fields, arena, id, lower_name, value))
        mg_fields_add(fields, arena, id, lower_name, value);
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

enum { NAME_SPARE = 8 }; /* behind a name that is read by words */

static const char *wrong_with_name(mg_str name)
{
    if (!mg_is_token(name))
        return "the name is not a token: letters, digits and !#$%&'*+-.^_`|~ only";
    return "the name is longer than 256 bytes";
}

/* Copies a name in lower case. False when it is none. */
static bool lower_name(char lower[MG_FIELD_NAME_BYTES_MAX + NAME_SPARE], mg_str *name)
{
    bool odd = false;

    if (name->n == 0 || name->n > MG_FIELD_NAME_BYTES_MAX)
        return false;
    memcpy(lower, name->p, name->n);
    memset(lower + name->n, ':', NAME_SPARE); /* which no name has */
    if (mg_field_name_end(lower, lower + name->n + NAME_SPARE, &odd) != lower + name->n)
        return false;
    name->p = lower;
    return true;
}

static const char *wrong_with_value(mg_str value)
{
    if (!mg_is_field_value(value))
        return "the value has a CR, LF, NUL or another control byte";
    if (value.n > MG_HEAD_BYTES_MAX)
        return "the value is longer than 64 KiB";
    return NULL;
}

/* The field whose value is to be marked as a piece. */
static mg_field *put(mg_fields *fields, mg_arena *arena, mg_name id, mg_str lower_name, mg_str value,
                     bool in_place)
{
    mg_field *field = in_place ? replace(fields, arena, id, lower_name, value) : NULL;

    if (field)
        return field;
    if (id != MG_NAME_OTHER) {
        mg_fields_add(fields, arena, id, mg_name_text(id), value);
        return &fields->items[fields->count - 1];
    }
    mg_fields_add(fields, arena, id, piece_of(arena, lower_name), value);
    fields->items[fields->count - 1].pieces = MG_FIELD_NAME_PIECE;
    return &fields->items[fields->count - 1];
}

const char *mg_fields_put(mg_fields *fields, mg_arena *arena, mg_str name, mg_str value, bool replace)
{
    char lower[MG_FIELD_NAME_BYTES_MAX + NAME_SPARE];
    const char *wrong;
    mg_field *field;
    mg_name id;

    value = mg_byte_trim(value);
    if (!lower_name(lower, &name))
        return wrong_with_name(name);
    wrong = wrong_with_value(value);
    if (wrong)
        return wrong;
    id = mg_name_find(name);
    if (mg_name_is_framing(id))
        return "the name frames the message or belongs to one connection, and is the gateway's to set";
    field = put(fields, arena, id, name, value.n ? piece_of(arena, value) : MG_STR(""), replace);
    if (value.n)
        field->pieces |= MG_FIELD_VALUE_PIECE;
    return NULL;
}
