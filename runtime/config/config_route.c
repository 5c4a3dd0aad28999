/* config_route.c - routes: what they match and the chain they run. What two routes mean
 * for each other (conflicts, shadows) is the router's to say. */
#include "base/mem.h"
#include "config/config_build.h"
#include "http/uri.h"

enum { MAX_SEGMENTS = 64, MAX_PARAMS = 32, MAX_PARAM_NAME = 64 };

/* --- hosts --- */

static bool take_host(mg_building *b, const mg_node *node, mg_str *out)
{
    const bool suffix = mg_str_starts(node->text, MG_STR("*."));
    const mg_str text = mg_keep_str(b, node->text);
    const mg_str name = mg_str_sub(text, suffix ? 2 : 0, text.n);
    mg_str host;
    int port;

    if (mg_str_eq_c(node->text, "*")) {
        *out = text;
        return true;
    }
    if (!mg_uri_authority(&b->config->arena, name, &host, &port) || port >= 0) {
        mg_finding_hint(mg_node_error(b->report, node, "not-allowed", "\"%.*s\" is not a host name",
                                      MG_STR_ARGS(mg_node_shown(node))),
                        "write a name (shop.example), a suffix (*.shop.example) or *");
        return false;
    }
    *out = suffix ? mg_arena_printf(&b->config->arena, "*.%.*s", MG_STR_ARGS(host)) : host;
    return true;
}

static void take_hosts(mg_building *b, mg_config_route *route, const mg_node *list)
{
    mg_str *hosts = MG_ARENA_NEW_N(&b->config->arena, mg_str, mg_node_count(list) + 1);

    route->hosts = hosts;
    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        if (mg_node_is(it, MG_NODE_STRING) && it->text.n > 0 && take_host(b, it, &hosts[route->host_count]))
            route->host_count++;
    }
    if (route->host_count == 0)
        hosts[route->host_count++] = MG_STR("*");
}

/* --- paths --- */

__attribute__((format(printf, 4, 5))) static bool bad_path(mg_building *b, const mg_node *path,
                                                           const char *why, const char *hint, ...)
{
    mg_text text = { 0 };
    va_list args;

    va_start(args, hint);
    mg_text_vaddf(&text, hint, args);
    va_end(args);
    mg_finding_hint(
        mg_node_error(b->report, path, "not-allowed", "\"%.*s\" %s", MG_STR_ARGS(mg_node_shown(path)), why),
        "%s", text.p);
    mg_text_fini(&text);
    return false;
}

static bool is_param_name(mg_str name)
{
    for (size_t i = 0; i < name.n; i++) {
        const char c = mg_lower(name.p[i]);
        if (!(c >= 'a' && c <= 'z') && c != '_' && (i == 0 || !(c >= '0' && c <= '9')))
            return false;
    }
    return name.n > 0 && name.n <= MAX_PARAM_NAME;
}

typedef struct template_scan {
    mg_str names[MAX_PARAMS];
    size_t params, segments;
    bool rest; /* {*name} has been seen */
} template_scan;

static const char *take_param(template_scan *t, mg_str segment)
{
    const bool rest = segment.n > 1 && segment.p[1] == '*';
    const mg_str name = mg_str_sub(segment, rest ? 2 : 1, segment.n - 1);

    if (!is_param_name(name))
        return "has a parameter whose name is not of letters, digits and _";
    if (t->params == MAX_PARAMS)
        return "has more than 32 parameters";
    for (size_t i = 0; i < t->params; i++) {
        if (mg_str_eq(t->names[i], name))
            return "names a parameter twice";
    }
    t->names[t->params++] = name;
    t->rest = rest;
    return NULL;
}

/* Segments of text, {name}, or {*name} at the end (docs/policies.md 3). What is wrong, or NULL. */
static const char *check_template(mg_str text)
{
    template_scan t = { .params = 0 };
    mg_str rest = mg_str_sub(text, 1, text.n), segment;
    const char *why = NULL;

    while (!why && mg_str_cut(&rest, '/', &segment)) {
        const bool param = segment.n >= 2 && segment.p[0] == '{' && segment.p[segment.n - 1] == '}';
        if (t.rest)
            return "has something behind {*name}, which takes all that is left";
        if (++t.segments > MAX_SEGMENTS)
            return "has more than 64 segments";
        if (param)
            why = take_param(&t, segment);
        else if (mg_str_find(segment, '{') != SIZE_MAX || mg_str_find(segment, '}') != SIZE_MAX)
            why = "has a brace inside a segment; a parameter is a whole segment";
    }
    return why;
}

/* --- what people write who come from elsewhere --- */

/* A segment that is a parameter there, as it is written here: ":id", "<id>", "<int:id>", "*", "*.png". False
 * for any other. */
static bool translate_segment(mg_str segment, mg_text *out)
{
    const bool colon = segment.n > 1 && segment.p[0] == ':';
    const bool angle = segment.n > 2 && segment.p[0] == '<' && segment.p[segment.n - 1] == '>';
    mg_str name = colon   ? mg_str_trim(mg_str_sub(segment, 1, segment.n), "?*+")
                  : angle ? mg_str_sub(segment, 1, segment.n - 1)
                          : MG_STR("name");
    const size_t type = angle ? mg_str_find(name, ':') : SIZE_MAX;

    if (type != SIZE_MAX)
        name = mg_str_sub(name, type + 1, name.n);
    if (!(colon || angle) && mg_str_find(segment, '*') == SIZE_MAX)
        return false;
    mg_text_addf(out, "{%.*s}", MG_STR_ARGS(is_param_name(name) ? name : MG_STR("name")));
    return true;
}

/* The path as a template of this gateway, without the star at its end; *params counts what was translated,
 * *star says that there was one. */
static void translate_path(mg_str text, mg_text *out, size_t *params, bool *star)
{
    mg_str rest = mg_str_sub(text, 1, text.n), segment;

    *params = 0;
    *star = false;
    while (mg_str_cut(&rest, '/', &segment)) {
        if (!rest.p && (mg_str_eq_c(segment, "*") || mg_str_eq_c(segment, "**"))) {
            *star = true;
            return;
        }
        mg_text_add_char(out, '/');
        if (segment.n && segment.p[0] == '{')
            mg_text_add(out, segment);
        else if (translate_segment(segment, out))
            ++*params;
        else
            mg_text_add(out, segment);
    }
}

static bool has(mg_str text, const char *part)
{
    return memmem(text.p, text.n, part, strlen(part)) != NULL;
}

static bool is_regex(mg_str text)
{
    static const char *const signs[] = { "\\", "(?", ".*", ".+", "[^", "]+", "]*", ")$", "[0-9]" };

    if (text.p[0] == '~' || text.p[0] == '^')
        return true;
    for (size_t i = 0; i < mg_countof(signs); i++)
        if (has(text, signs[i]))
            return true;
    return false;
}

/* Wildcards and parameters of others are legal text in a path, and so would match nothing but themselves. */
static bool check_foreign(mg_building *b, const mg_node *node, const mg_config_path *path)
{
    const mg_str shown = mg_node_shown(node);
    const bool prefix = path->kind != MG_CONFIG_PATH_TEMPLATE;
    mg_text text = { 0 };
    size_t params;
    bool star, fine = false;

    if (is_regex(node->text))
        return bad_path(b, node, "is a regular expression, and paths are matched as they stand",
                        "write prefix: /users, or template: /users/{id}");
    if (has(node->text, "://") && node->text.p[0] != '/')
        return bad_path(b, node, "is a URL", "write the path alone, and its host into match.hosts");
    if (node->text.p[0] != '/')
        return bad_path(b, node, "does not begin with /", "write /%.*s", MG_STR_ARGS(shown));
    translate_path(node->text, &text, &params, &star);
    if (star && prefix && !params)
        bad_path(b, node, "has a *, which would match nothing but itself",
                 "write prefix: %s, which takes all below", text.n ? text.p : "/");
    else if (star || params)
        bad_path(b, node,
                 star ? "has a *, which would match nothing but itself"
                      : "has a parameter as others write it, which would match nothing but itself",
                 star || path->kind == MG_CONFIG_PATH_PREFIX ? "write template: %s/{*rest}"
                                                             : "write template: %s",
                 text.n ? text.p : "");
    else
        fine = true;
    mg_text_fini(&text);
    return fine;
}

static bool check_path(mg_building *b, const mg_node *node, bool keeps_slashes, mg_config_path *path)
{
    const unsigned keep = (path->kind == MG_CONFIG_PATH_TEMPLATE ? MG_URI_KEEP_BRACES : 0) |
                          (keeps_slashes ? MG_URI_KEEP_SLASHES : 0);
    mg_str normal;
    const char *why;

    if (node->text.n == 0)
        return false; /* the schema has told */
    if (!check_foreign(b, node, path))
        return false;
    if (!mg_uri_normalise_path(&b->config->document, node->text, keep, &normal))
        return bad_path(b, node, "is not a path", "write other bytes than letters, digits and -._~ as %%XX");
    if (path->kind != MG_CONFIG_PATH_TEMPLATE && mg_str_find(node->text, '{') != SIZE_MAX)
        return bad_path(b, node, "has a brace, which only a template understands",
                        "write template: %.*s, or %%7B and %%7D for braces that requests have",
                        MG_STR_ARGS(mg_node_shown(node)));
    if (!mg_str_eq(normal, node->text))
        return bad_path(
            b, node, "would never be seen so: paths are normalised before they are matched",
            !keeps_slashes && mg_uri_has_empty_segment(node->text)
                ? "write %.*s, or path: { merge_slashes: false } beside match for requests that have "
                  "these slashes"
                : "write %.*s",
            MG_STR_ARGS(mg_str_sub(normal, 0, 200)));
    if (path->kind == MG_CONFIG_PATH_TEMPLATE && (why = check_template(node->text)))
        return bad_path(b, node, why,
                        "write segments of text, {name}, or {*name} at the end: /v1/carts/{id}");
    path->text = mg_keep_str(b, normal);
    if (path->kind == MG_CONFIG_PATH_PREFIX && normal.n > 1 && normal.p[normal.n - 1] == '/')
        path->text.n--;
    return true;
}

static bool take_path(mg_building *b, const mg_node *item, bool keeps_slashes, mg_config_path *path)
{
    static const char *const words[] = { "prefix", "template", "exact", NULL };
    const mg_node *first = mg_node_children(item);

    for (int i = 0; first && first->key && words[i]; i++) {
        if (!mg_str_eq_c(first->key->text, words[i]) || !mg_node_is(first, MG_NODE_STRING))
            continue;
        path->kind = (mg_config_path_kind)i;
        path->node = first;
        return check_path(b, first, keeps_slashes, path);
    }
    return false; /* the schema has told */
}

static void take_paths(mg_building *b, mg_config_route *route, const mg_node *list)
{
    mg_config_path *paths = MG_ARENA_NEW_N(&b->config->arena, mg_config_path, mg_node_count(list) + 1);

    route->paths = paths;
    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        if (take_path(b, it, route->keeps_slashes, &paths[route->path_count]))
            route->path_count++;
    }
}

/* In which form a path is matched and passed on. */
static void take_forms(mg_config_route *route, const mg_node *path)
{
    const mg_node *merge = mg_node_get(path, "merge_slashes");

    route->keeps_slashes = mg_node_is(merge, MG_NODE_BOOL) && !merge->boolean;
    route->sends_raw = mg_str_eq_c(mg_read_str(path, "raw"), "upstream");
}

/* --- methods and headers --- */

static void take_methods(mg_building *b, mg_config_route *route, const mg_node *list)
{
    mg_str *methods = MG_ARENA_NEW_N(&b->config->arena, mg_str, mg_node_count(list) + 1);

    route->methods = methods;
    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        if (!mg_node_is(it, MG_NODE_STRING))
            continue;
        if (mg_str_eq(it->text, MG_STR("CONNECT")))
            mg_node_error(b->report, it, "not-allowed", "CONNECT is never proxied");
        methods[route->method_count++] = mg_keep_str(b, it->text);
    }
}

static mg_str to_lower(mg_arena *arena, mg_str text)
{
    mg_str copy = mg_arena_str(arena, text);
    for (size_t i = 0; i < copy.n; i++)
        ((char *)copy.p)[i] = mg_lower(copy.p[i]);
    return copy;
}

static void take_headers(mg_building *b, mg_config_route *route, const mg_node *map)
{
    mg_config_field *fields = MG_ARENA_NEW_N(&b->config->arena, mg_config_field, mg_node_count(map) + 1);

    route->headers = fields;
    for (const mg_node *it = mg_node_children(map); it && it->key; it = it->next) {
        mg_config_field *field = &fields[route->header_count];
        if (!mg_node_is(it, MG_NODE_STRING))
            continue;
        *field = (mg_config_field){ to_lower(&b->config->arena, it->key->text), mg_keep_str(b, it->text) };
        for (size_t i = 0; i < route->header_count; i++) {
            if (mg_str_eq(fields[i].name, field->name))
                mg_node_error(b->report, it->key, "duplicate-key",
                              "names the same field twice; case does not count");
        }
        route->header_count++;
    }
}

/* --- the chain --- */

static void item_form(mg_building *b, const mg_node *value, const char *what, const char *hint)
{
    mg_finding_hint(mg_node_error(b->report, value, "wrong-type", "must be %s, this is %s", what,
                                  mg_node_kind_name(value->kind)),
                    "%s", hint);
}

static bool take_map_item(mg_building *b, const mg_node *value, mg_config_item *item)
{
    if (mg_str_eq_c(value->key->text, "limit")) {
        item->kind = MG_CONFIG_ITEM_LIMIT;
        if (value->kind != MG_NODE_STRING)
            item_form(b, value, "a limiter's name", "write { limit: NAME }");
        item->limiter = mg_build_lookup(b, b->limiters, value, "limiter");
        return item->limiter != NULL;
    }
    item->kind = MG_CONFIG_ITEM_PLUGIN;
    if (value->kind != MG_NODE_MAP) {
        item_form(b, value, "the built-in's configuration, a map",
                  "write {} for none, as in { request_id: {} }");
        return false;
    }
    item->plugin = mg_build_plugin_in_place(b, value);
    return true;
}

static bool take_item(mg_building *b, const mg_node *node, mg_config_item *item)
{
    item->node = node;
    if (node->kind == MG_NODE_MAP)
        return node->count == 1 && take_map_item(b, node->first, item);
    item->kind = MG_CONFIG_ITEM_PLUGIN;
    item->plugin = mg_build_lookup(b, b->plugins, node, "plugin");
    return item->plugin != NULL;
}

/* Charged twice, and a rule of few permits would wait for the one that the same request holds. */
static void check_item_once(mg_building *b, const mg_config_route *route, const mg_config_item *item)
{
    for (const mg_config_item *it = route->items; it < item; it++) {
        if (item->limiter && it->limiter == item->limiter)
            mg_finding_hint(mg_node_error(b->report, item->node, "duplicate-key",
                                          "the limiter \"%.*s\" stands in this chain already",
                                          MG_STR_ARGS(item->limiter->name)),
                            "name it once; cost: 2 charges more than one for a request");
        else if (item->plugin && it->plugin == item->plugin)
            mg_node_warning(b->report, item->node, "duplicate-key",
                            "the plugin \"%.*s\" stands in this chain already: it runs twice",
                            MG_STR_ARGS(item->plugin->name));
    }
}

static void take_items(mg_building *b, mg_config_route *route, const mg_node *list)
{
    mg_config_item *items = MG_ARENA_NEW_N(&b->config->arena, mg_config_item, mg_node_count(list) + 1);

    route->items = items;
    for (const mg_node *it = mg_node_children(list); it && mg_node_is(list, MG_NODE_LIST); it = it->next) {
        if (!take_item(b, it, &items[route->item_count]))
            continue;
        check_item_once(b, route, &items[route->item_count]);
        route->item_count++;
    }
}

/* --- the whole --- */

static void check_name_once(mg_building *b, const mg_node *name)
{
    const mg_named *known;

    if (!mg_node_is(name, MG_NODE_STRING))
        return;
    known = mg_map_get(b->routes, name->text);
    if (!known) {
        mg_build_remember(b, b->routes, name->text, name, name);
        return;
    }
    mg_finding_hint(mg_node_error(b->report, name, "duplicate-key", "another route is named \"%.*s\"",
                                  MG_STR_ARGS(mg_node_shown(name))),
                    "the first is at %s:%d; names stand in metrics and logs, so each is used once",
                    known->node->source ? known->node->source->file : "?", known->node->line);
}

/* What the service gets of the time is at most hop_factor of it; where that is under min_budget, every
 * request would be answered 504. */
static void take_deadline(mg_building *b, mg_config_route *route, const mg_node *node)
{
    mg_deadline_conf *conf = &route->deadline;

    route->timeout_ms = mg_read_ms(node, "timeout");
    conf->hop_milli = mg_number_milli(mg_node_get(node, "hop_factor"));
    conf->min_ms = mg_read_ms(node, "min_budget");
    if (route->timeout_ms == 0 || conf->hop_milli < 500 || conf->min_ms == 0 ||
        mg_deadline_child_ms(conf, route->timeout_ms) > 0)
        return;
    if (route->service || route->backend_count > 0)
        mg_finding_hint(mg_node_error(b->report, mg_node_get(node, "timeout"), "not-allowed",
                                      "a service would get less than min_budget (%.*s) of the timeout: "
                                      "nothing would ever be sent",
                                      MG_STR_ARGS(mg_read_str(node, "min_budget"))),
                        "write a longer timeout or a smaller min_budget");
}

static mg_config_route *new_route(mg_building *b, const mg_node *node)
{
    mg_config_route *route = MG_ARENA_NEW(&b->config->arena, mg_config_route);

    route->index = (unsigned)b->config->route_count;
    route->node = node;
    b->config->routes[b->config->route_count++] = route;
    return route;
}

static void build_route(mg_building *b, const mg_node *node)
{
    const mg_node *match = mg_node_get(node, "match"), *priority = mg_node_get(node, "priority");
    mg_config_route *route = new_route(b, node);

    route->name = mg_keep_str(b, mg_read_str(node, "name"));
    check_name_once(b, mg_node_get(node, "name"));
    take_forms(route, mg_node_get(node, "path"));
    take_hosts(b, route, mg_node_get(match, "hosts"));
    take_paths(b, route, mg_node_get(match, "paths"));
    take_methods(b, route, mg_node_get(match, "methods"));
    take_headers(b, route, mg_node_get(match, "headers"));
    if (mg_node_is(priority, MG_NODE_INT))
        route->priority = (int)priority->integer;
    route->max_path_bytes = (uint32_t)mg_read_size(node, "max_path");
    take_items(b, route, mg_node_get(node, "plugins"));
    mg_build_destination(b, route, node);
    take_deadline(b, route, node);
}

/* One service and no routes: everything goes there. */
static void build_only_route(mg_building *b)
{
    enum { TIMEOUT_MS = 15000, MAX_PATH_BYTES = 8192 }; /* the schema's defaults */
    mg_config_path *path = MG_ARENA_NEW(&b->config->arena, mg_config_path);
    mg_str *host = MG_ARENA_NEW(&b->config->arena, mg_str);
    mg_config_route *route = new_route(b, NULL);
    mg_named *named = mg_map_get(b->services, b->config->services[0]->name);

    *path = (mg_config_path){ .kind = MG_CONFIG_PATH_PREFIX, .text = MG_STR("/") };
    *host = MG_STR("*");
    route->name = MG_STR("default");
    route->hosts = host;
    route->paths = path;
    route->host_count = route->path_count = 1;
    route->timeout_ms = TIMEOUT_MS;
    mg_deadline_conf_defaults(&route->deadline);
    route->max_path_bytes = MAX_PATH_BYTES;
    route->service = named->item;
    named->used = true;
}

void mg_build_routes(mg_building *b, const mg_node *routes)
{
    b->config->routes = MG_ARENA_NEW_N(&b->config->arena, const mg_config_route *, mg_node_count(routes) + 1);
    for (const mg_node *it = mg_node_children(routes); it && mg_node_is(routes, MG_NODE_LIST); it = it->next)
        build_route(b, it);
    if (routes)
        return;
    if (b->config->service_count == 1)
        build_only_route(b);
    else if (b->config->service_count > 1)
        mg_finding_hint(mg_node_error(b->report, b->config->services[0]->node->parent, "missing-key",
                                      "there are several services and no routes to say what goes where"),
                        "add: routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: %.*s }]",
                        MG_STR_ARGS(b->config->services[0]->name));
}
