/* schema.h - JSON Schema 2020-12, the part of it that configuration needs, over trees that know their places.
 *
 * Understood: type properties required additionalProperties patternProperties propertyNames minProperties
 * maxProperties items prefixItems minItems maxItems uniqueItems enum const minimum maximum exclusiveMinimum
 * exclusiveMaximum multipleOf minLength maxLength pattern format oneOf anyOf allOf not $ref (to #/$defs/NAME)
 * $defs default; and for readers $schema $id title description examples deprecated. Formats of our own, for
 * strings: duration size rate share bind url regex host. "x-later" maps keys that a later build will know to
 * what to say about them; "x-range": [lowest, highest] bounds the value behind a duration, size or share,
 * written with units. Any other keyword is an error when the schema is compiled: nothing is ignored silently.
 * Any thread: a compiled schema is only read; one at a time on one tree. */
#ifndef MG_TEXT_SCHEMA_H
#define MG_TEXT_SCHEMA_H

#include "text/tree.h"

typedef struct mg_schema mg_schema;

/* Compiles a schema out of its tree, which is borrowed and must outlive it, as must what it refers to. NULL
 * when the report got an error. */
mg_schema *mg_schema_new(const mg_node *root, mg_report *report);
void mg_schema_free(mg_schema *schema);

/* Holds `node` against the schema: every mistake goes to the report. Absent keys that have a default are
 * filled into the tree, from `arena`, at the end of their map. True when no error was added. The schema is
 * only read. */
bool mg_schema_validate(const mg_schema *schema, mg_node *node, mg_arena *arena, mg_report *report);

#endif
