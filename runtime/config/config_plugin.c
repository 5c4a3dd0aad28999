/* config_plugin.c - plugins: what routes refer to by name, and what they write in place. */
#include "config/config_build.h"

enum { PLUGINS_AT_FIRST = 16, DEFAULT_CPU_MS = 10 };

/* Items in place come one by one, so the array grows; doubling in an arena wastes at most what it holds. */
static mg_config_plugin *add_plugin(mg_building *b, mg_str name, const mg_node *node)
{
    mg_config *config = b->config;
    const size_t count = config->plugin_count;
    mg_config_plugin *plugin = MG_ARENA_NEW(&config->arena, mg_config_plugin), **grown;

    if (count == 0) {
        config->plugins = MG_ARENA_NEW_N(&config->arena, mg_config_plugin *, PLUGINS_AT_FIRST);
    } else if (count >= PLUGINS_AT_FIRST && (count & (count - 1)) == 0) {
        grown = MG_ARENA_NEW_N(&config->arena, mg_config_plugin *, count * 2);
        for (size_t i = 0; i < count; i++)
            grown[i] = config->plugins[i];
        config->plugins = grown;
    }
    plugin->name = mg_keep_str(b, name);
    plugin->index = (unsigned)count;
    plugin->node = node;
    config->plugins[config->plugin_count++] = plugin;
    return plugin;
}

static bool is_builtin_name(mg_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        const char c = mg_lower(name.p[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '_' && c != '-')
            return false;
    }
    return name.n > 0 && name.n <= 64;
}

static void take_use(mg_building *b, mg_config_plugin *plugin, const mg_node *use)
{
    if (!mg_node_is(use, MG_NODE_STRING) || use->text.n == 0)
        return;
    plugin->use = mg_keep_str(b, use->text);
    if (mg_str_starts(use->text, MG_STR("./")) || mg_str_starts(use->text, MG_STR("../")) ||
        use->text.p[0] == '/')
        plugin->path = mg_config_resolve(b, use, use->text);
    else if (!is_builtin_name(use->text))
        mg_finding_hint(mg_node_error(b->report, use, "not-allowed", "\"%.*s\" is not the name of a built-in",
                                      MG_STR_ARGS(mg_node_shown(use))),
                        "for a folder of your own write ./%.*s", MG_STR_ARGS(mg_node_shown(use)));
}

const char *const mg_config_on_error_words[] = { MG_CONFIG_ON_ERRORS(MG_WORD_TEXT) NULL };

static void build_plugin(mg_building *b, mg_node *node)
{
    mg_config_plugin *plugin = add_plugin(b, node->key->text, node);
    mg_node *config = mg_node_get(node, "config");

    take_use(b, plugin, mg_node_get(node, "use"));
    plugin->config =
        mg_node_is(config, MG_NODE_MAP) ? config : mg_node_new(&b->config->document, MG_NODE_MAP);
    plugin->on_error = (mg_config_on_error)mg_read_word(node, "on_error", mg_config_on_error_words);
    plugin->timeout_ms = mg_read_ms(node, "timeout");
    plugin->cpu_ms = mg_read_ms(node, "cpu");
    mg_build_remember(b, b->plugins, plugin->name, plugin, node);
}

void mg_build_plugins(mg_building *b, const mg_node *plugins)
{
    for (mg_node *it = (mg_node *)mg_node_children(plugins); it && it->key; it = it->next)
        build_plugin(b, it);
}

mg_config_plugin *mg_build_plugin_in_place(mg_building *b, const mg_node *child)
{
    mg_config_plugin *plugin = add_plugin(b, child->key->text, child->key);

    plugin->in_place = true;
    plugin->use = plugin->name;
    plugin->config = (mg_node *)child;
    plugin->on_error = MG_CONFIG_CLOSED;
    plugin->cpu_ms = DEFAULT_CPU_MS;
    if (!is_builtin_name(plugin->use))
        mg_node_error(b->report, child->key, "not-allowed", "\"%.*s\" is not the name of a built-in",
                      MG_STR_ARGS(mg_str_sub(plugin->use, 0, 60)));
    return plugin;
}
