/* call_fields.c - the fields of a request and its response, as plugins read and change them. What a handler
 * changes of a response that is not there yet is made on whatever answer comes (http/edit.h). */
#include "gateway/request/call_parts.h"

#include "http/bounds.h"

#define GATEWAYS_OWN "the gateway writes it itself behind the plugins, which cannot change it"

static mg_str lower_name(char out[MG_FIELD_NAME_BYTES_MAX], const char *name, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        out[i] = mg_lower(name[i]);
    return mg_str_make(out, n);
}

bool mg_call_header(mg_call *call, int which, const char *name, uint32_t n, mg_slice *value)
{
    const mg_fields *fields = fields_of(call->x, which);
    char buffer[MG_FIELD_NAME_BYTES_MAX];
    mg_call_read read;
    mg_str lower;

    if (n == 0 || n > MG_FIELD_NAME_BYTES_MAX)
        return false;
    lower = lower_name(buffer, name, n);
    mg_call_read_begin(&read);
    if (give(mg_call_read_end(call, &read, mg_fields_value(fields, &read.arena, mg_name_find(lower), lower)),
             value))
        return true;
    return which == MG_REQUEST && mg_str_eq(lower, MG_STR("host")) && /* a member; plugins expect a field */
           give(call->x->request.authority, value);
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
static bool is_gateways(int which, mg_str name)
{
    static const mg_name ids[] = { MG_NAME_VIA, MG_NAME_GRPC_TIMEOUT, MG_NAME_X_MOONGATE_DEADLINE_MS,
                                   MG_NAME_X_MOONGATE_ATTEMPT };
    static const uint32_t lengths = 1u << 3 | 1u << 12 | 1u << 18 | 1u << 22; /* of these names */

    if (which != MG_REQUEST || name.n > 31 || !(lengths >> name.n & 1))
        return false;
    for (size_t i = 0; i < sizeof(ids) / sizeof(ids[0]); i++)
        if (mg_str_eq_nocase(name, mg_name_text(ids[i])))
            return true;
    return false;
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
static void note_put(mg_call *call, mg_str name, bool replace)
{
    const mg_fields *fields = &call->x->response.fields;
    char buffer[MG_FIELD_NAME_BYTES_MAX];
    int at = (int)fields->count - 1;

    if (replace) {
        const mg_str lower = lower_name(buffer, name.p, (uint32_t)name.n);
        at = mg_fields_find(fields, mg_name_find(lower), lower, 0);
    }
    mg_edits_note(&call->x->edits, &call->x->arena, replace ? MG_EDIT_SET : MG_EDIT_ADD, &fields->items[at]);
}

static void note_removed(mg_call *call, mg_str lower)
{
    const mg_field field = {
        .name = lower.p, .value = "", .name_n = (uint16_t)lower.n, .id = (uint8_t)mg_name_find(lower)
    };

    mg_edits_note(&call->x->edits, &call->x->arena, MG_EDIT_REMOVE, &field);
}

const char *mg_call_set_header(mg_call *call, int which, const char *name, uint32_t n, const char *value,
                               uint32_t value_n, bool replace)
{
    const mg_str text = mg_str_make(name, n);
    const bool early = is_early(call, which);
    const char *wrong = no_change(call, which);

    if (wrong)
        return wrong;
    if (n > MG_FIELD_NAME_BYTES_MAX)
        return "the name is longer than 256 bytes";
    if (value_n > MG_HEAD_BYTES_MAX)
        return "the value is longer than 64 KiB";
    if (is_gateways(which, text))
        return GATEWAYS_OWN;
    if (!mg_exchange_has_room(call->x, 2 * ((size_t)n + value_n)))
        return mg_call_no_room();
    wrong =
        mg_fields_put(fields_of(call->x, which), &call->x->arena, text, mg_str_make(value, value_n), replace);
    if (!wrong && early)
        note_put(call, text, replace);
    return wrong;
}

const char *mg_call_remove_header(mg_call *call, int which, const char *name, uint32_t n, uint32_t *removed)
{
    char buffer[MG_FIELD_NAME_BYTES_MAX];
    const char *wrong = no_change(call, which);

    *removed = 0;
    if (wrong)
        return wrong;
    if (n == 0 || n > MG_FIELD_NAME_BYTES_MAX)
        return NULL;
    if (is_gateways(which, mg_str_make(name, n)))
        return GATEWAYS_OWN;
    const mg_str lower = lower_name(buffer, name, n);
    *removed = mg_fields_remove(fields_of(call->x, which), &call->x->arena, mg_name_find(lower), lower);
    if (is_early(call, which))
        note_removed(call, lower);
    return NULL;
}
