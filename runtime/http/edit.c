/* edit.c - noting and making changes to fields. */
#include "http/edit.h"

enum { FIRST_ROOM = 4 };

static mg_str name_of(const mg_edit *edit)
{
    return mg_str_make(edit->field.name, edit->field.name_n);
}

static void forget(mg_edits *edits, mg_arena *arena, const mg_field *field)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < edits->count; i++)
        if (edits->items[i].field.id != field->id ||
            !mg_str_eq(name_of(&edits->items[i]), mg_str_make(field->name, field->name_n)))
            edits->items[kept++] = edits->items[i];
        else
            mg_field_give_back(&edits->items[i].field, arena);
    edits->count = kept;
}

static void make_room(mg_edits *edits, mg_arena *arena)
{
    if (edits->count < edits->cap)
        return;
    const uint32_t cap = edits->cap ? 2 * edits->cap : FIRST_ROOM;
    mg_edit *items = MG_ARENA_NEW_N(arena, mg_edit, cap);
    if (edits->count)
        memcpy(items, edits->items, edits->count * sizeof *items);
    edits->items = items;
    edits->cap = cap;
}

void mg_edits_note(mg_edits *edits, mg_arena *arena, mg_edit_kind kind, const mg_field *field)
{
    if (kind != MG_EDIT_ADD)
        forget(edits, arena, field);
    make_room(edits, arena);
    edits->items[edits->count++] = (mg_edit){ mg_field_copy(field, arena), kind };
}

void mg_edits_make(const mg_edits *edits, mg_fields *fields, mg_arena *arena)
{
    for (uint32_t i = 0; i < edits->count; i++) {
        const mg_edit *edit = &edits->items[i];
        const mg_name id = (mg_name)edit->field.id;
        const mg_str value = { edit->field.value, edit->field.value_n };
        switch (edit->kind) {
        case MG_EDIT_SET: mg_fields_set(fields, arena, id, name_of(edit), value); break;
        case MG_EDIT_ADD: mg_fields_add(fields, arena, id, name_of(edit), value); break;
        case MG_EDIT_REMOVE: (void)mg_fields_remove(fields, arena, id, name_of(edit)); break;
        }
    }
}

bool mg_edits_has(const mg_edits *edits, mg_name id)
{
    for (uint32_t i = 0; i < edits->count; i++)
        if (edits->items[i].field.id == id)
            return true;
    return false;
}
