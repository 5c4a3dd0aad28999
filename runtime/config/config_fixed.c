/* config_fixed.c - blocks that a reload cannot change, as digests. */
#include "config/config_build.h"

const char *const mg_config_fixed_names[MG_CONFIG_FIXED] = {
    [MG_CONFIG_FIXED_WORKERS] = "workers",
    [MG_CONFIG_FIXED_STATUS] = "status",
    [MG_CONFIG_FIXED_ADMIN] = "admin",
    [MG_CONFIG_FIXED_STATE] = "state",
};

/* The path without its "." and empty parts: ./state and state are one folder. */
static mg_str plain_path(mg_building *b, mg_str path)
{
    mg_text text = { 0 };
    mg_str part;

    while (mg_str_cut(&path, '/', &part)) {
        if (!part.n || mg_str_eq_c(part, "."))
            continue;
        mg_text_add_char(&text, '/');
        mg_text_add(&text, part);
    }
    const mg_str plain = mg_arena_str(&b->config->document, mg_text_str(&text));
    mg_text_fini(&text);
    return plain;
}

void mg_build_fixed(mg_building *b, const mg_node *root)
{
    mg_node *path = mg_node_get(mg_node_get(root, "state"), "path");

    if (path && b->config->state_path.n)
        path->text = plain_path(b, b->config->state_path);
    for (int i = 0; i < MG_CONFIG_FIXED; i++)
        b->config->fixed[i] = mg_node_digest(mg_node_get(root, mg_config_fixed_names[i]), NULL);
}
