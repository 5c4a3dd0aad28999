/* yaml.h - YAML 1.2, core schema, as a tree with places. Pure: any thread, one at a time on one tree. */
#ifndef MG_TEXT_YAML_H
#define MG_TEXT_YAML_H

#include "text/tree.h"

/* One document; an empty one is null. `no`, `on` and 1.0.0 are text. Refused, with their place: duplicate
 * keys, keys that are no plain words, tags, several documents, NUL, what is not UTF-8, and more than
 * MG_TREE_* allow, aliases counted as often as they stand. Returns NULL when the report got an error; the
 * source must outlive the tree. */
mg_node *mg_yaml_parse(mg_arena *arena, const mg_source *source, mg_report *report);

#endif
