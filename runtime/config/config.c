/* config.c - the way of a document: read, hold against the schema, build, look for what was probably not
 * meant. */
#include "config/config.h"
#include "base/check.h"
#include "base/embed.h"
#include "base/rand.h"
#include "config/config_build.h"
#include "text/json.h"
#include "text/units.h"

/* --- listeners and the rest of the top --- */

static void take_bind(mg_building *b, const mg_node *node, mg_str *bind, mg_addr *addr)
{
    const mg_str prefix = MG_STR("unix:");
    mg_error err = MG_ERROR_INIT;
    mg_str text;

    if (!mg_node_is(node, MG_NODE_STRING))
        return;
    text = *bind = mg_keep_str(b, node->text);
    if (mg_str_starts(text, prefix))
        text = mg_arena_printf(&b->config->arena, "unix:%s",
                               mg_config_resolve(b, node, mg_str_sub(text, prefix.n, text.n)).p);
    if (mg_addr_parse_bind(addr, text, &err) != MG_OK)
        mg_node_error(b->report, node, "not-allowed", "%s", err.message);
}

static void take_proxies(mg_building *b, mg_config_listener *listener, const mg_node *list)
{
    mg_cidr *blocks = MG_ARENA_NEW_N(&b->config->arena, mg_cidr, mg_node_count(list) + 1);

    listener->trusted_proxies = blocks;
    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        if (!mg_node_is(it, MG_NODE_STRING))
            continue;
        if (mg_cidr_parse(&blocks[listener->trusted_proxy_count], it->text))
            listener->trusted_proxy_count++;
        else
            mg_finding_hint(
                mg_node_error(b->report, it, "not-allowed", "\"%.*s\" is not a block of addresses",
                              MG_STR_ARGS(mg_node_shown(it))),
                "write 10.0.0.0/8, 2001:db8::/32, one address, or \"unix:\" for all peers on unix "
                "sockets");
    }
}

/* In lower case, with commas between. */
static mg_str take_names(mg_building *b, const mg_node *list)
{
    mg_text text = { 0 };

    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        if (!mg_node_is(it, MG_NODE_STRING))
            continue;
        if (text.n)
            mg_text_add_char(&text, ',');
        for (size_t i = 0; i < it->text.n; i++)
            mg_text_add_char(&text, mg_lower(it->text.p[i]));
    }
    const mg_str names = mg_arena_str(&b->config->arena, mg_text_str(&text));
    mg_text_fini(&text);
    return names;
}

static void build_listener(mg_building *b, const mg_node *node)
{
    mg_config_listener *listener = MG_ARENA_NEW(&b->config->arena, mg_config_listener);
    const mg_node *underscores = mg_node_get(node, "underscores_in_names");

    listener->name = mg_keep_str(b, node->key->text);
    listener->node = node;
    take_bind(b, mg_node_get(node, "bind"), &listener->bind, &listener->addr);
    take_proxies(b, listener, mg_node_get(node, "trusted_proxies"));
    listener->client_from_forwarded = mg_str_eq_c(mg_read_str(node, "client_from"), "forwarded");
    listener->underscores = mg_node_is(underscores, MG_NODE_BOOL) && underscores->boolean;
    listener->trailers = take_names(b, mg_node_get(node, "request_trailers"));
    listener->head_timeout_ms = mg_read_ms(node, "head_timeout");
    listener->body_timeout_ms = mg_read_ms(node, "body_timeout");
    listener->idle_timeout_ms = mg_read_ms(node, "idle_timeout");
    listener->max_connections = mg_read_u32(node, "max_connections");
    listener->max_head_bytes = (uint32_t)mg_read_size(node, "max_head_bytes");
    listener->max_fields = mg_read_u32(node, "max_fields");
    b->config->listeners[b->config->listener_count++] = listener;
}

static bool is_fixed(const mg_addr *addr)
{
    return addr->n > 0 && (addr->sa.sa_family == AF_UNIX || mg_addr_port(addr) != 0);
}

static void check_bind_once(mg_building *b, const mg_addr *addr, const mg_node *node, size_t before)
{
    for (size_t i = 0; i < before; i++) {
        const mg_config_listener *other = b->config->listeners[i];
        if (!is_fixed(addr) || !is_fixed(&other->addr) || !mg_addr_eq(addr, &other->addr))
            continue;
        mg_finding_hint(mg_node_error(b->report, mg_node_get(node, "bind"), "duplicate-key",
                                      "the listener \"%.*s\" has this address already",
                                      MG_STR_ARGS(other->name)),
                        "give each its own port");
    }
}

static void build_admin(mg_building *b, const mg_node *admin)
{
    const mg_node *bind = mg_node_get(admin, "bind");
    mg_config *config = b->config;

    config->admin_on = mg_node_is(admin, MG_NODE_MAP);
    take_bind(b, bind, &config->admin_bind, &config->admin_addr);
    if (config->admin_addr.n == 0)
        return;
    if (config->admin_addr.sa.sa_family != AF_UNIX)
        mg_finding_hint(mg_node_error(b->report, bind, "not-allowed",
                                      "in this build only a socket of this machine may change the gateway: a "
                                      "network address needs tokens, which are not in it"),
                        "write \"unix:run/admin.sock\"");
    else
        check_bind_once(b, &config->admin_addr, admin, config->listener_count);
}

static void build_listeners(mg_building *b, const mg_node *root)
{
    const mg_node *listeners = mg_node_get(root, "listeners"), *status = mg_node_get(root, "status");

    b->config->listeners =
        MG_ARENA_NEW_N(&b->config->arena, const mg_config_listener *, mg_node_count(listeners) + 1);
    for (const mg_node *it = mg_node_children(listeners); it && mg_node_is(listeners, MG_NODE_MAP);
         it = it->next)
        build_listener(b, it);
    for (size_t i = 0; i < b->config->listener_count; i++)
        check_bind_once(b, &b->config->listeners[i]->addr, b->config->listeners[i]->node, i);
    if (b->config->listener_count == 0 && !b->env->partial &&
        (!listeners || mg_node_is(listeners, MG_NODE_MAP)))
        mg_finding_hint(
            mg_node_error(b->report, listeners ? listeners : root, "missing-key", "there is no listener"),
            "add: listeners: { web: { bind: \":8080\" } }");
    build_admin(b, mg_node_get(root, "admin"));
    b->config->status_on = mg_node_is(status, MG_NODE_MAP);
    take_bind(b, mg_node_get(status, "bind"), &b->config->status_bind, &b->config->status_addr);
    if (b->config->status_on)
        check_bind_once(b, &b->config->status_addr, status, b->config->listener_count);
    if (b->config->status_on && b->config->admin_on && is_fixed(&b->config->status_addr) &&
        mg_addr_eq(&b->config->status_addr, &b->config->admin_addr))
        mg_finding_hint(mg_node_error(b->report, mg_node_get(status, "bind"), "duplicate-key",
                                      "admin has this address already"),
                        "give each its own");
}

static void build_access_log(mg_building *b, const mg_node *to)
{
    static const char *const words[] = { "stdout", "stderr", "off", NULL };
    static const mg_config_log_to meaning[] = { MG_CONFIG_LOG_STDOUT, MG_CONFIG_LOG_STDERR,
                                                MG_CONFIG_LOG_OFF };
    mg_config *config = b->config;

    if (!mg_node_is(to, MG_NODE_STRING))
        return;
    for (int i = 0; words[i]; i++) {
        if (mg_str_eq_c(to->text, words[i])) {
            config->access_log_to = meaning[i];
            return;
        }
    }
    config->access_log_to = MG_CONFIG_LOG_FILE;
    config->access_log_path = mg_config_resolve(b, to, to->text);
    if (mg_str_find(to->text, '/') == SIZE_MAX && mg_str_find(to->text, '.') == SIZE_MAX) /* rather a slip */
        mg_finding_hint(mg_node_error(b->report, to, "not-allowed", "\"%.*s\" is none of stdout, stderr, off",
                                      MG_STR_ARGS(mg_node_shown(to))),
                        "for a file of this name write ./%.*s", MG_STR_ARGS(mg_node_shown(to)));
}

static void build_top(mg_building *b, const mg_node *root)
{
    const mg_node *observability = mg_node_get(root, "observability"), *state = mg_node_get(root, "state");
    const mg_node *shutdown = mg_node_get(root, "shutdown");
    mg_config *config = b->config;

    config->workers = mg_read_u32(root, "workers");
    if (mg_read_str(state, "path").p)
        config->state_path = mg_config_resolve(b, mg_node_get(state, "path"), mg_read_str(state, "path"));
    config->state_max_bytes = mg_read_size(state, "max_size");
    config->drain_delay_ms = mg_read_ms(shutdown, "drain_delay");
    config->drain_timeout_ms = mg_read_ms(shutdown, "drain_timeout");
    config->log_level = (mg_log_level)mg_read_word(observability, "log_level", mg_log_level_words);
    build_access_log(b, mg_node_get(mg_node_get(observability, "access_log"), "to"));
}

/* --- the whole --- */

static void build(mg_building *b, mg_node *root)
{
    build_top(b, root);
    mg_build_fixed(b, root);
    build_listeners(b, root);
    mg_build_services(b, mg_node_get(root, "services"));
    mg_build_loops(b);
    mg_build_limiters(b, mg_node_get(root, "limiters"));
    mg_build_plugins(b, mg_node_get(root, "plugins"));
    mg_build_routes(b, mg_node_get(root, "routes"));
    b->config->root = root;
}

/* The schema of the document, out of the binary. */
static mg_schema *gateway_schema(mg_arena *arena)
{
    mg_source *source = MG_ARENA_NEW(arena, mg_source);
    mg_report report = MG_REPORT_INIT;
    mg_schema *schema = NULL;
    mg_node *tree;

    *source = (mg_source){ "schemas/gateway.json", mg_embedded("schemas/gateway.json") };
    MG_CHECK(source->text.p);
    tree = mg_json_parse(arena, source, &report);
    if (tree)
        schema = mg_schema_new(tree, &report);
    MG_CHECK(schema); /* a unit test compiles it and shows what is wrong */
    mg_report_fini(&report);
    return schema;
}

static void complete_partial(mg_building *b, mg_node *root)
{
    mg_node *version;

    if (!b->env->partial || root->kind != MG_NODE_MAP || mg_node_get(root, "version"))
        return;
    version = mg_node_new(&b->config->document, MG_NODE_INT);
    version->integer = 1;
    mg_node_append(root, mg_node_new_string(&b->config->document, MG_STR("version")), version);
}

static void validate_and_build(mg_building *b, mg_node *root)
{
    mg_schema *schema = gateway_schema(&b->config->document);
    const size_t errors = b->report->errors;

    complete_partial(b, root);
    mg_build_complete_guards(b, root);
    mg_build_complete_limiters(b, root);
    (void)mg_schema_validate(schema, root, &b->config->document,
                             b->report); /* what it found is in the report */
    mg_schema_free(schema);
    if (root->kind != MG_NODE_MAP)
        return;
    b->services = mg_map_new(mg_rand_system_seed());
    b->limiters = mg_map_new(mg_rand_system_seed());
    b->plugins = mg_map_new(mg_rand_system_seed());
    b->routes = mg_map_new(mg_rand_system_seed());
    b->rollouts = mg_map_new(mg_rand_system_seed());
    build(b, root);
    if (b->report->errors == errors) /* what looks unused may only be misspelt */
        mg_build_lint(b, root);
    mg_map_free(b->services);
    mg_map_free(b->limiters);
    mg_map_free(b->plugins);
    mg_map_free(b->routes);
    mg_map_free(b->rollouts);
}

static mg_config_env complete_env(const mg_config_env *env)
{
    mg_config_env whole = env ? *env : (mg_config_env){ 0 };

    if (!whole.read_file)
        whole.read_file = mg_config_env_real.read_file;
    if (!whole.getenv)
        whole.getenv = mg_config_env_real.getenv;
    if (!whole.glob)
        whole.glob = mg_config_env_real.glob;
    return whole;
}

static mg_config *config_new(void)
{
    mg_arena arena;
    mg_config *config;

    mg_arena_init_mapped(&arena);
    config = MG_ARENA_NEW(&arena, mg_config);
    config->arena = arena; /* the struct lives in the arena that it now owns */
    mg_arena_init_mapped(&config->document);
    return config;
}

static void map_names(mg_config *config)
{
    config->service_map = mg_map_new(mg_rand_system_seed());
    for (size_t i = 0; i < config->service_count; i++)
        (void)mg_map_set(config->service_map, config->services[i]->name,
                         (void *)(uintptr_t)config->services[i]);
    config->limiter_map = mg_map_new(mg_rand_system_seed());
    for (size_t i = 0; i < config->limiter_count; i++)
        (void)mg_map_set(config->limiter_map, config->limiters[i]->name,
                         (void *)(uintptr_t)config->limiters[i]);
}

/* May change the tree before it is judged. */
typedef void adjust_fn(mg_building *b, mg_node *root, void *ctx);

static mg_config *load(const char *file, mg_str text, const mg_config_env *env, mg_report *report,
                       adjust_fn *adjust, void *ctx)
{
    const mg_config_env whole = complete_env(env);
    mg_building b = { .config = config_new(), .env = &whole, .report = report };
    const size_t errors = report->errors;
    mg_node *root = mg_config_read(&b, file, text);

    if (root && adjust)
        adjust(&b, root, ctx);
    if (root)
        validate_and_build(&b, root);
    b.config->files = (const char *const *)b.files;
    b.config->file_count = b.file_count;
    if (root && report->errors == errors) {
        map_names(b.config);
        return b.config;
    }
    mg_config_free(b.config);
    return NULL;
}

mg_config *mg_config_load_file(const char *path, const mg_config_env *env, mg_report *report)
{
    return load(path, MG_STR_NONE, env, report, NULL, NULL);
}

mg_config *mg_config_load_text(const char *file, mg_str text, const mg_config_env *env, mg_report *report)
{
    return load(file, text.p ? text : MG_STR(""), env, report, NULL, NULL);
}

typedef struct proxy_args {
    const char *to, *listen;
} proxy_args;

static void put_option(mg_building *b, mg_node *node, const char *option, const char *value)
{
    mg_source *source = MG_ARENA_NEW(&b->config->document, mg_source);

    *source = (mg_source){ option, mg_arena_str(&b->config->document, mg_str_of(value)) };
    node->source = source;
    node->text = source->text;
    node->line = node->column = 1;
    node->width = (int)source->text.n;
}

static void put_proxy_args(mg_building *b, mg_node *root, void *ctx)
{
    const proxy_args *args = ctx;
    const mg_node *service = mg_node_get(mg_node_get(root, "services"), "upstream");

    put_option(b, mg_node_get(mg_node_get(mg_node_get(root, "listeners"), "web"), "bind"), "--listen",
               args->listen);
    put_option(b, mg_node_get(mg_node_get(service, "endpoints")->first, "url"), "--to", args->to);
}

/* The arguments go in as values, not as text: they cannot change the document. */
mg_config *mg_config_for_proxy(const char *to_url, const char *listen, mg_report *report)
{
    static const char document[] =
        "{version: 1, listeners: {web: {bind: ''}}, services: {upstream: {endpoints: "
        "[{url: ''}]}}}";
    proxy_args args = { to_url, listen ? listen : ":8080" };

    return load("run", mg_str_of(document), NULL, report, put_proxy_args, &args);
}

void mg_config_forget_document(mg_config *config)
{
    config->root = NULL;
    mg_arena_fini(&config->document);
}

void mg_config_free(mg_config *config)
{
    mg_arena arena;

    if (!config)
        return;
    mg_map_free(config->service_map);
    mg_map_free(config->limiter_map);
    mg_config_forget_document(config);
    arena = config->arena;
    mg_arena_fini(&arena);
}

mg_config_service const *mg_config_service_named(const mg_config *config, mg_str name)
{
    return mg_map_get(config->service_map, name);
}

mg_config_limiter const *mg_config_limiter_named(const mg_config *config, mg_str name)
{
    return mg_map_get(config->limiter_map, name);
}

/* The schema.json to write, for what was written. */
static void hint_schema(mg_finding *f, const mg_config_plugin *plugin)
{
    static const char *const types[] = {
        [MG_NODE_BOOL] = "boolean",  [MG_NODE_INT] = "integer", [MG_NODE_FLOAT] = "number",
        [MG_NODE_STRING] = "string", [MG_NODE_LIST] = "array",  [MG_NODE_MAP] = "object",
    };
    mg_text members = { 0 };

    for (const mg_node *it = plugin->config->first; it && members.n < 500; it = it->next) {
        mg_text_add_c(&members, it == plugin->config->first ? " " : ", ");
        mg_text_add_json(&members, it->key->text);
        if (it->kind == MG_NODE_NULL)
            mg_text_add_c(&members, ": {}");
        else
            mg_text_addf(&members, ": { \"type\": \"%s\" }", types[it->kind]);
    }
    mg_finding_hint(f,
                    "say what it takes in %.*s/schema.json: { \"type\": \"object\", \"properties\": {%s } }",
                    MG_STR_ARGS(plugin->path.n ? plugin->path : plugin->use), members.p);
    mg_text_fini(&members);
}

bool mg_config_plugin_check(mg_config *config, mg_config_plugin *plugin, const mg_schema *schema,
                            mg_report *report)
{
    const mg_node *first = plugin->config->first;
    mg_text json = { 0 };

    if (schema && !mg_schema_validate(schema, plugin->config, &config->document, report))
        return false;
    if (!schema && first) {
        mg_finding *f = mg_node_error(report, first->key, "unknown-key",
                                      "the plugin %.*s takes no configuration", MG_STR_ARGS(plugin->name));
        hint_schema(f, plugin);
        return false;
    }
    mg_node_to_json(plugin->config, &json);
    plugin->config_json = mg_arena_str(&config->arena, mg_text_str(&json));
    mg_text_fini(&json);
    return true;
}
