/* json.h - strict JSON (RFC 8259) as a tree with places. */
#ifndef MG_TEXT_JSON_H
#define MG_TEXT_JSON_H

#include "text/tree.h"

/* jansson decides what is JSON: no comments, no trailing commas, UTF-8 only, no NUL, duplicate keys refused,
 * numbers that fit. Bounds as MG_TREE_*. Returns NULL when the report got an error; the source must outlive
 * the tree. */
mg_node *mg_json_parse(mg_arena *arena, const mg_source *source, mg_report *report);

/* The same for texts whose integers may be wider than int64: such a node is a FLOAT, and its text the digits.
 */
mg_node *mg_json_parse_wide(mg_arena *arena, const mg_source *source, mg_report *report);
/* Whether a number of JSON is written as an integer: without a fraction and an exponent. */
bool mg_json_is_whole(mg_str number);

#endif
