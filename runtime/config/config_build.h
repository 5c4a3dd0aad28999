/* config_build.h - what the files of the configuration share; private to config*.c. A document is read
 * (config_read.c: files, includes, --set, substitution), held against its schema, and built into structs
 * (config.c, and a file each for services, their guards, limiters, plugins, routes and splits; all read values
 * and names with config_values.c). Building goes on where the schema found mistakes, so that one pass tells
 * all: a value of the wrong kind reads as 0 or nothing, and is not reported again. The thread that loads the
 * document. */
#ifndef MG_CONFIG_CONFIG_BUILD_H
#define MG_CONFIG_CONFIG_BUILD_H

#include "base/map.h"
#include "config/config.h"

typedef struct mg_building {
    mg_config *config;
    const mg_config_env *env;
    mg_report *report;
    const char **files; /* arena */
    size_t file_count;
    mg_map *services, *limiters, *plugins, *routes, *rollouts; /* by name or id, to struct mg_named */
} mg_building;

/* What a name stands for, and whether anybody uses it. */
typedef struct mg_named {
    const void *item;
    const mg_node *node;
    bool used;
} mg_named;

/* --- config_read.c --- */

/* The whole document with its includes, overrides and substitutions; NULL when the report got an error that
 * leaves nothing to look at. `text` has p NULL: the file is read. */
mg_node *mg_config_read(mg_building *b, const char *file, mg_str text);
/* `path` as seen from the folder of the file that names it. */
mg_str mg_config_resolve(mg_building *b, const mg_node *node, mg_str path);

/* --- config_substitute.c --- */

/* Puts what ${env:..} and ${file:..} stand for into all values of the tree. */
void mg_config_substitute(mg_building *b, mg_node *root);

/* --- config_env.c --- */
extern const mg_config_env mg_config_env_real;

/* --- config_values.c: 0, NULL or false for what is absent or of another kind --- */
mg_str mg_read_str(const mg_node *map, const char *key);
/* What is opened once: its digests. */
void mg_build_fixed(mg_building *b, const mg_node *root);
/* A copy of the document's text that lives as long as the configuration. */
mg_str mg_keep_str(mg_building *b, mg_str text);
uint64_t mg_read_ms(const mg_node *map, const char *key);
uint64_t mg_read_size(const mg_node *map, const char *key);
uint32_t mg_read_share(const mg_node *map, const char *key);
uint32_t mg_read_u32(const mg_node *map, const char *key);
double mg_read_number(const mg_node *map, const char *key);
uint32_t mg_number_milli(const mg_node *number); /* in thousandths */
/* A share in units of `part` basis points; an error where it is no whole number of them. */
uint32_t mg_read_parts(mg_building *b, const mg_node *map, const char *key, unsigned part);
/* The place of the value among NULL-terminated words; 0 for none of them. */
int mg_read_word(const mg_node *map, const char *key, const char *const *words);
size_t mg_node_count(const mg_node *node); /* of a list or map; else 0 */
/* The children of a list or map; NULL for other kinds. */
const mg_node *mg_node_children(const mg_node *node);
/* Whether the node is of that kind; false for NULL and for one that is broken. */
static inline bool mg_node_is(const mg_node *node, mg_node_kind kind)
{
    return node && node->kind == kind && !node->broken;
}

/* --- building --- */
/* Fills in the defaults that depend on what is written; before the document is held against its schema, which
 * fills in the others. */
void mg_build_complete_guards(mg_building *b, mg_node *root);
void mg_build_complete_limiters(mg_building *b, mg_node *root);
/* A key of theirs, unless it is written. */
void mg_preset_int(mg_building *b, mg_node *map, const char *key, int64_t integer);
void mg_preset_text(mg_building *b, mg_node *map, const char *key, const char *text); /* borrowed: static */
void mg_build_services(mg_building *b, const mg_node *services);
/* Refuses services whose endpoint is a listener of this gateway. After listeners and services. */
void mg_build_loops(mg_building *b);
void mg_build_guards(mg_building *b, mg_config_service *service, const mg_node *node);
void mg_build_limiters(mg_building *b, const mg_node *limiters);
void mg_build_plugins(mg_building *b, const mg_node *plugins);
mg_config_plugin *mg_build_plugin_in_place(mg_building *b, const mg_node *child);
/* Where the route's requests go. */
void mg_build_destination(mg_building *b, mg_config_route *route, const mg_node *node);
void mg_build_routes(mg_building *b, const mg_node *routes);
/* Warnings, about a document without errors. */
void mg_build_lint(mg_building *b, const mg_node *root);
/* What a name under `map` stands for, marked as used; else the error, with the nearest name as a hint. `what`
 * is "service", "limiter", "plugin". */
const void *mg_build_lookup(mg_building *b, mg_map *map, const mg_node *name, const char *what);
void mg_build_remember(mg_building *b, mg_map *map, mg_str name, const void *item, const mg_node *node);

#endif
