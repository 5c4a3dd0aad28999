/* call_fields.c - the fields of a request and its response, as plugins read and change them. What a handler
 * changes of a response that is not there yet is made on whatever answer comes (http/edit.h). */
#include "gateway/request/call_parts.h"

#define GATEWAYS_OWN "the gateway writes it itself behind the plugins, which cannot change it"

static mg_host_name *place_of(mg_host *host, const char *text)
{
    return &host->names[(uintptr_t)text / 16 % MG_HOST_NAMES];
}

/* A name is mostly a constant of a plugin's, which stands where it stood before. Its text is looked at all
 * the same: the memory of what is no constant may have become another's. */
static inline bool is_known(const mg_call *call, mg_field_name *name, const char *text, uint32_t n)
{
    const mg_host_name *known = place_of(call->host, text);

    if (known->n != n || !mg_bytes_eq(known->text, text, n))
        return false;
    name->lower = mg_str_make(known->text, n);
    name->id = known->id;
    return n > 0;
}

/* NULL, or why it is no name. */
static const char *read_name(mg_call *call, mg_field_name *name, char room[MG_FIELD_NAME_ROOM],
                             const char *text, uint32_t n)
{
    mg_host_name *known = place_of(call->host, text);
    const char *wrong = mg_field_name_read(name, room, mg_str_make(text, n));
    if (!wrong && n <= sizeof known->text && mg_bytes_eq(room, text, n)) {
        known->n = n;
        known->id = name->id;
        memcpy(known->text, text, n);
    }
    return wrong;
}

/* Several fields of a name as one. */
static mg_str joined(mg_call *call, const mg_fields *fields, const mg_field_name *name)
{
    mg_call_read read;

    mg_call_read_begin(&read);
    return mg_call_read_end(call, &read, mg_fields_value(fields, &read.arena, name->id, name->lower));
}

static bool value_of(mg_call *call, int which, const mg_field_name *name, mg_slice *value)
{
    const mg_fields *fields = fields_of(call->x, which);
    const int at = mg_fields_find(fields, name->id, name->lower, 0);

    if (at < 0) /* the host is a member; plugins expect a field */
        return which == MG_REQUEST && name->id == MG_NAME_HOST && give(call->x->request.authority, value);
    if ((uint32_t)at + 1 < fields->count &&
        mg_fields_find(fields, name->id, name->lower, (uint32_t)at + 1) >= 0)
        return give(joined(call, fields, name), value);
    *value = (mg_slice){ fields->items[at].value, fields->items[at].value_n };
    return true;
}

static __attribute__((noinline)) bool value_of_new(mg_call *call, int which, const char *text, uint32_t n,
                                                   mg_slice *value)
{
    char room[MG_FIELD_NAME_ROOM];
    mg_field_name name;

    return !read_name(call, &name, room, text, n) && value_of(call, which, &name, value);
}

bool mg_call_header(mg_call *call, int which, const char *text, uint32_t n, mg_slice *value)
{
    mg_field_name name;

    return is_known(call, &name, text, n) ? value_of(call, which, &name, value)
                                          : value_of_new(call, which, text, n, value);
}

bool mg_call_header_at(const mg_call *call, int which, uint32_t index, mg_slice *name, mg_slice *value)
{
    const mg_fields *fields = fields_of(call->x, which);

    if (index >= fields->count)
        return false;
    *name = (mg_slice){ fields->items[index].name, fields->items[index].name_n };
    *value = (mg_slice){ fields->items[index].value, fields->items[index].value_n };
    return true;
}

/* Told to the next hop behind the plugins, whatever they say: who has passed the request on, and its time. */
static bool is_gateways(int which, mg_name id)
{
    return which == MG_REQUEST && (id == MG_NAME_VIA || id == MG_NAME_GRPC_TIMEOUT ||
                                   id == MG_NAME_X_MOONGATE_DEADLINE_MS || id == MG_NAME_X_MOONGATE_ATTEMPT);
}

/* ---- changing them ---- */

/* A handler before next: what it changes is made on the answer when that comes. Until then the fields of the
 * response are those that have been set, for whoever reads them. */
static bool is_early(const mg_call *call, int which)
{
    return which == MG_RESPONSE && call->x->response.status == 0 && call->phase == MG_PHASE_CHAIN;
}

/* Why the fields cannot be changed, or NULL. */
static const char *no_change(const mg_call *call, int which)
{
    const char *wrong = is_early(call, which) ? NULL : no_response(call, which);

    return wrong ? wrong : too_late(call, which);
}

/* Of a field that has just been put where it is read meanwhile. */
static void note_put(mg_call *call, const mg_field_name *name, bool replace)
{
    const mg_fields *fields = &call->x->response.fields;
    const int at = replace ? mg_fields_find(fields, name->id, name->lower, 0) : (int)fields->count - 1;

    mg_edits_note(&call->x->edits, &call->x->arena, replace ? MG_EDIT_SET : MG_EDIT_ADD, &fields->items[at]);
}

static void note_removed(mg_call *call, const mg_field_name *name)
{
    const mg_field field = {
        .name = name->lower.p, .value = "", .name_n = (uint16_t)name->lower.n, .id = (uint8_t)name->id
    };

    mg_edits_note(&call->x->edits, &call->x->arena, MG_EDIT_REMOVE, &field);
}

static const char *set_named(mg_call *call, int which, const mg_field_name *name, mg_str value, bool replace)
{
    const bool early = is_early(call, which);
    const char *wrong;

    if (value.n > MG_HEAD_BYTES_MAX)
        return "the value is longer than 64 KiB";
    if (is_gateways(which, name->id))
        return GATEWAYS_OWN;
    if (!mg_exchange_has_room(call->x, 2 * (name->lower.n + value.n)))
        return mg_call_no_room();
    wrong = mg_fields_put_named(fields_of(call->x, which), &call->x->arena, name, value, replace);
    if (!wrong && early)
        note_put(call, name, replace);
    return wrong;
}

static __attribute__((noinline)) const char *set_new(mg_call *call, int which, mg_str text, mg_str value,
                                                     bool replace)
{
    char room[MG_FIELD_NAME_ROOM];
    mg_field_name name;
    const char *wrong = read_name(call, &name, room, text.p, (uint32_t)text.n);

    return wrong ? wrong : set_named(call, which, &name, value, replace);
}

const char *mg_call_set_header(mg_call *call, int which, const char *text, uint32_t n, const char *value,
                               uint32_t value_n, bool replace)
{
    const char *wrong = no_change(call, which);
    mg_field_name name;

    if (wrong)
        return wrong;
    return is_known(call, &name, text, n)
               ? set_named(call, which, &name, mg_str_make(value, value_n), replace)
               : set_new(call, which, mg_str_make(text, n), mg_str_make(value, value_n), replace);
}

static const char *remove_named(mg_call *call, int which, const mg_field_name *name, uint32_t *removed)
{
    if (is_gateways(which, name->id))
        return GATEWAYS_OWN;
    *removed = mg_fields_remove(fields_of(call->x, which), &call->x->arena, name->id, name->lower);
    if (is_early(call, which))
        note_removed(call, name);
    return NULL;
}

static __attribute__((noinline)) const char *remove_new(mg_call *call, int which, const char *text,
                                                        uint32_t n, uint32_t *removed)
{
    char room[MG_FIELD_NAME_ROOM];
    mg_field_name name;

    return read_name(call, &name, room, text, n) ? NULL : remove_named(call, which, &name, removed);
}

const char *mg_call_remove_header(mg_call *call, int which, const char *text, uint32_t n, uint32_t *removed)
{
    const char *wrong = no_change(call, which);
    mg_field_name name;

    *removed = 0;
    if (wrong)
        return wrong;
    return is_known(call, &name, text, n) ? remove_named(call, which, &name, removed)
                                          : remove_new(call, which, text, n, removed);
}
