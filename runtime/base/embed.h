/* embed.h - the files that the binary carries, by their path in the source tree: the Lua under lua/moongate,
 * each plugin's plugin.lua, schema.json and lib, the schemas, and the templates of projects. Constant; any thread. The library is
 * mg_embed. */
#ifndef MG_BASE_EMBED_H
#define MG_BASE_EMBED_H

#include "base/str.h"

typedef struct mg_embedded_file {
    const char *name;
    mg_str text; /* a NUL stands behind it */
} mg_embedded_file;

/* In order of name. */
extern const mg_embedded_file mg_embedded_files[];
extern const size_t mg_embedded_count;

/* The text of "schemas/gateway.json"; MG_STR_NONE when there is no such file. */
mg_str mg_embedded(const char *name);
/* The file at a position from 0 among those whose name starts with `prefix`; NULL past the end. */
const mg_embedded_file *mg_embedded_at(const char *prefix, size_t index);

#endif
