/* edit.h - changes to the fields of an answer that is not there yet. They are noted in order, and made on
 * each answer that comes. Memory is the exchange's arena. One thread. */
#ifndef MG_HTTP_EDIT_H
#define MG_HTTP_EDIT_H

#include "http/header.h"

typedef enum mg_edit_kind { MG_EDIT_SET, MG_EDIT_ADD, MG_EDIT_REMOVE } mg_edit_kind;

typedef struct mg_edit {
    mg_field field; /* checked, lower-case; its value is nothing's in an MG_EDIT_REMOVE. Pieces */
    mg_edit_kind kind;
} mg_edit;

typedef struct mg_edits {
    mg_edit *items; /* arena; NULL when there are none */
    uint32_t count, cap;
} mg_edits;

/* Notes one behind the others. SET and REMOVE take the place of all that were noted for that name. The texts
 * of the field are copied; they go back when another takes their place, which is not once they were made. */
void mg_edits_note(mg_edits *edits, mg_arena *arena, mg_edit_kind kind, const mg_field *field);
/* Makes all of them. */
void mg_edits_make(const mg_edits *edits, mg_fields *fields, mg_arena *arena);
/* Whether any is of that well-known name. */
bool mg_edits_has(const mg_edits *edits, mg_name id);

#endif
