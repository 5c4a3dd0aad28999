/* config_read.c - files to one tree: includes merged, --set applied, ${..} substituted. */
#include "config/config_build.h"
#include "text/json.h"
#include "text/yaml.h"

enum {
    MAX_FILES = 1000,
    MAX_ALL_BYTES = 64 << 20,
    MAX_SET_KEYS = 32,
    MAX_SET_INDEX = 100000,
};

mg_str mg_config_resolve(mg_building *b, const mg_node *node, mg_str path)
{
    const char *slash;

    while (node && !node->source)
        node = node->parent;
    if (node && strncmp(node->source->file, "--", 2) == 0) /* from the command line: where that was typed */
        node = NULL;
    slash = node ? strrchr(node->source->file, '/') : NULL;
    if (!slash || path.n == 0 || path.p[0] == '/')
        return mg_arena_str(&b->config->arena, path);
    return mg_arena_printf(&b->config->arena, "%.*s%.*s", (int)(slash + 1 - node->source->file),
                           node->source->file, MG_STR_ARGS(path));
}

/* --- files --- */

static const mg_source *new_source(mg_building *b, const char *file, mg_str text)
{
    mg_source *source = MG_ARENA_NEW(&b->config->document, mg_source);

    source->file = mg_arena_strdup(&b->config->document, file);
    source->text = text;
    return source;
}

static mg_node *parse(mg_building *b, const char *file, mg_str text)
{
    const mg_source *source = new_source(b, file, text);

    if (mg_str_ends(mg_str_of(file), MG_STR(".json")))
        return mg_json_parse(&b->config->document, source, b->report);
    return mg_yaml_parse(&b->config->document, source, b->report);
}

static bool remember_file(mg_building *b, const mg_node *place, const char *file)
{
    if (!b->files)
        b->files = MG_ARENA_NEW_N(&b->config->arena, const char *, MAX_FILES);
    if (b->file_count == MAX_FILES || b->config->document.used > (size_t)MAX_ALL_BYTES * 8) {
        mg_node_error(b->report, place, "unreadable-file",
                      "more is included than one configuration may have");
        return false;
    }
    b->files[b->file_count++] = mg_arena_strdup(&b->config->arena, file);
    b->report->files++;
    return true;
}

static mg_node *read_file(mg_building *b, const mg_node *place, const char *file)
{
    mg_error err = MG_ERROR_INIT;
    mg_str text;

    if (!remember_file(b, place, file))
        return NULL;
    if (b->env->read_file(b->env->self, file, MG_TREE_FILE_BYTES, &b->config->document, &text, &err) == MG_OK)
        return parse(b, file, text);
    mg_finding *f = mg_node_error(b->report, place, "unreadable-file", "%s", err.message);
    if (!place && err.code == MG_ERR_NOT_FOUND)
        mg_finding_hint(f, "name another file, or begin without any: "
                           "moongate run --to http://127.0.0.1:9000 --listen :8080");
    return NULL;
}

/* --- includes --- */

static void redefined(mg_building *b, const mg_node *again, const mg_node *first)
{
    mg_finding_hint(mg_node_error(b->report, again->key, "duplicate-key",
                                  "\"%.*s\" is defined twice; an included file "
                                  "may add, not redefine",
                                  MG_STR_ARGS(mg_str_sub(again->key->text, 0, 60))),
                    "the first is at %s:%d; keep one of them",
                    first->key->source ? first->key->source->file : "?", first->key->line);
}

static void move(mg_node *to, mg_node *child)
{
    mg_node *key = child->key;
    mg_node_append(to, to->kind == MG_NODE_MAP ? key : NULL, child);
}

/* Children of a map or list of the included file into the same of the including one. */
static void merge_children(mg_building *b, mg_node *into, mg_node *from)
{
    for (mg_node *it = from->first, *next; it; it = next) {
        const mg_node *known = into->kind == MG_NODE_MAP ? mg_node_get_str(into, it->key->text) : NULL;
        next = it->next;
        if (known)
            redefined(b, it, known);
        else
            move(into, it);
    }
}

static void merge_key(mg_building *b, mg_node *root, mg_node *child)
{
    mg_node *known = mg_node_get_str(root, child->key->text);

    if (mg_str_eq_c(child->key->text, "include"))
        mg_finding_hint(
            mg_node_error(b->report, child->key, "not-allowed", "an included file includes nothing itself"),
            "name all files in the first one");
    else if (!known)
        move(root, child);
    else if (mg_str_eq_c(child->key->text, "version") && mg_node_eq(known, child))
        return;
    else if (known->kind == child->kind && (known->kind == MG_NODE_MAP || known->kind == MG_NODE_LIST))
        merge_children(b, known, child);
    else
        redefined(b, child, known);
}

static void merge_file(mg_building *b, mg_node *root, const mg_node *place, const char *file)
{
    mg_node *more = read_file(b, place, file);

    if (!more || more->kind == MG_NODE_NULL)
        return;
    if (more->kind != MG_NODE_MAP) {
        mg_node_error(b->report, more, "wrong-type", "must be a map, this is %s",
                      mg_node_kind_name(more->kind));
        return;
    }
    for (mg_node *it = more->first, *next; it; it = next) {
        next = it->next;
        merge_key(b, root, it);
    }
}

static void include(mg_building *b, mg_node *root, const mg_node *pattern)
{
    const bool wild = strpbrk(pattern->text.p, "*?[") != NULL;
    const mg_str path = mg_config_resolve(b, pattern, pattern->text);
    mg_error err = MG_ERROR_INIT;
    const char **paths = NULL;
    size_t count = 0;

    if (!wild) {
        merge_file(b, root, pattern, path.p);
        return;
    }
    if (b->env->glob(b->env->self, path.p, &b->config->document, &paths, &count, &err) != MG_OK)
        mg_node_error(b->report, pattern, "unreadable-file", "%s", err.message);
    for (size_t i = 0; i < count; i++)
        merge_file(b, root, pattern, paths[i]);
}

static void include_all(mg_building *b, mg_node *root)
{
    const mg_node *list = mg_node_get(root, "include");

    for (const mg_node *it = mg_node_children(list); it; it = it->next) {
        if (it->kind == MG_NODE_STRING && it->text.n > 0)
            include(b, root, it);
    }
}

/* --- --set --- */

static void set_failed(mg_building *b, const char *text, const char *why)
{
    mg_finding_hint(
        mg_report_add(b->report, MG_SEVERITY_ERROR, "bad-override", "--set %.100s: %s", text, why),
        "write --set services.cart.pool.queue=5 or --set 'routes[0].timeout=2s'");
}

/* The child that a step such as `[3]` names; lists do not grow this way. */
static mg_node *list_item(mg_node *list, mg_str digits)
{
    uint64_t index;
    mg_node *it = mg_node_is(list, MG_NODE_LIST) ? list->first : NULL;

    if (!mg_str_u64(digits, &index) || index > MAX_SET_INDEX)
        return NULL;
    while (it && index-- > 0)
        it = it->next;
    return it;
}

/* *created: the first node that had to be made on the way. */
static mg_node *map_item(mg_building *b, mg_node *map, mg_str name, mg_node **created)
{
    mg_node *known = mg_node_get_str(map, name);

    if (known || !mg_node_is(map, MG_NODE_MAP))
        return known;
    known = mg_node_new(&b->config->document, MG_NODE_MAP);
    mg_node_append(map, mg_node_new_string(&b->config->document, name), known);
    if (!*created)
        *created = known;
    return known;
}

/* "routes[0]" is two steps: a name and an index. */
static mg_node *walk(mg_building *b, mg_node *at, mg_str part, mg_node **created)
{
    mg_str name = MG_STR_NONE, index;

    if (!mg_str_cut(&part, '[', &name))
        return NULL;
    if (name.n == 0)
        return NULL;
    at = map_item(b, at, name, created);
    while (at && mg_str_cut(&part, '[', &index)) {
        if (index.n < 2 || index.p[index.n - 1] != ']')
            return NULL;
        at = list_item(at, mg_str_sub(index, 0, index.n - 1));
    }
    return at;
}

/* Puts the value's content where `at` stands, which keeps its key and its neighbours. */
static void overwrite(mg_node *at, const mg_node *value)
{
    mg_node *key = at->key, *next = at->next, *parent = at->parent;

    *at = *value;
    at->key = key;
    at->next = next;
    at->parent = parent;
    for (mg_node *it = (mg_node *)mg_node_children(at); it; it = it->next) {
        it->parent = at;
        if (it->key)
            it->key->parent = at;
    }
}

static void apply_set(mg_building *b, mg_node *root, const char *text)
{
    mg_str path = mg_str_of(text), keys, part;
    mg_node *at = root, *created = NULL, *value;
    const char *name;
    int depth = 0;

    if (!mg_str_cut(&path, '=', &keys) || !path.p || keys.n == 0) {
        set_failed(b, text, "there is no KEY=VALUE");
        return;
    }
    name = mg_arena_printf(&b->config->document, "--set %.*s", MG_STR_ARGS(keys)).p;
    while (at && mg_str_cut(&keys, '.', &part) && depth++ < MAX_SET_KEYS)
        at = walk(b, at, part, &created);
    if (!at || depth > MAX_SET_KEYS) {
        if (created)
            mg_node_remove(created);
        set_failed(b, text, "nothing has this path");
        return;
    }
    value = mg_yaml_parse(&b->config->document, new_source(b, name, mg_arena_str(&b->config->document, path)),
                          b->report);
    if (value)
        overwrite(at, value);
}

mg_node *mg_config_read(mg_building *b, const char *file, mg_str text)
{
    mg_node *root =
        text.p ? parse(b, file, mg_arena_str(&b->config->document, text)) : read_file(b, NULL, file);

    if (!root)
        return NULL;
    if (root->kind == MG_NODE_MAP) {
        include_all(b, root);
        for (size_t i = 0; i < b->env->set_count; i++)
            apply_set(b, root, b->env->set[i]);
    }
    mg_config_substitute(b, root);
    return root;
}
