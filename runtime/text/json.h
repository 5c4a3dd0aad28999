/* json.h - strict JSON (RFC 8259) as a tree with places: documents that operators write. What plugins read is
 * read in parts, by json_reader.c. Pure: any thread, one at a time on one tree. */
#ifndef MG_TEXT_JSON_H
#define MG_TEXT_JSON_H

#include "text/tree.h"

/* jansson decides what is JSON: no comments, no trailing commas, UTF-8 only, no NUL, duplicate keys refused,
 * numbers that fit. Bounds as MG_TREE_*. Returns NULL when the report got an error; the source must outlive
 * the tree. */
mg_node *mg_json_parse(mg_arena *arena, const mg_source *source, mg_report *report);

#endif
