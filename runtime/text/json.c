/* json.c - the one home of jansson. jansson judges the text and decodes it; a scan of ours then walks text
 * and values side by side and notes where each stands. The scan may rely on every rule that jansson has
 * checked. */
#include "text/json.h"
#include "base/check.h"

#include <jansson.h>

typedef struct scan {
    mg_arena *arena;
    const mg_source *source;
    mg_report *report;
    size_t at;
    int line, column;
    size_t depth;
    bool failed;
} scan;

static char look_ahead(const scan *s)
{
    MG_CHECK(s->at < s->source->text.n);
    return s->source->text.p[s->at];
}

static void step_scan(scan *s)
{
    const char c = look_ahead(s);

    s->at++;
    if (c == '\n') {
        s->line++;
        s->column = 1;
    } else if (((unsigned char)c & 0xc0) != 0x80) { /* columns count characters */
        s->column++;
    }
}

static void skip_blanks(scan *s)
{
    while (s->at < s->source->text.n && strchr(" \t\r\n", look_ahead(s)) && look_ahead(s))
        step_scan(s);
}

static void skip_string(scan *s)
{
    step_scan(s);
    while (look_ahead(s) != '"') {
        if (look_ahead(s) == '\\')
            step_scan(s);
        step_scan(s);
    }
    step_scan(s);
}

static void skip_word(scan *s)
{
    while (s->at < s->source->text.n && look_ahead(s) && !strchr(" \t\r\n,]}", look_ahead(s)))
        step_scan(s);
}

static mg_node *begin(scan *s, mg_node_kind kind)
{
    mg_node *node = mg_node_new(s->arena, kind);

    node->source = s->source;
    node->line = s->line;
    node->column = s->column;
    node->width = 1;
    return node;
}

static mg_node *scan_string(scan *s, const char *text, size_t n)
{
    mg_node *node = begin(s, MG_NODE_STRING);

    skip_string(s);
    node->width = s->column - node->column;
    node->text = mg_arena_str(s->arena, mg_str_make(text, n));
    return node;
}

static mg_node *scan_word(scan *s, const json_t *value)
{
    mg_node *node = begin(s, MG_NODE_NULL);
    const size_t from = s->at;

    skip_word(s);
    node->width = s->column - node->column;
    node->text = mg_arena_str(s->arena, mg_str_sub(s->source->text, from, s->at));
    if (json_is_boolean(value)) {
        node->kind = MG_NODE_BOOL;
        node->boolean = json_is_true(value);
    } else if (json_is_integer(value)) {
        node->kind = MG_NODE_INT;
        node->integer = json_integer_value(value);
    } else if (json_is_real(value)) {
        node->kind = MG_NODE_FLOAT;
        node->number = json_real_value(value);
    }
    return node;
}

static mg_node *scan_value(scan *s, json_t *value);

static void scan_list(scan *s, mg_node *list, json_t *value)
{
    size_t i;
    json_t *item;

    json_array_foreach(value, i, item)
    {
        if (i > 0) {
            skip_blanks(s);
            step_scan(s); /* the comma */
        }
        mg_node_append(list, NULL, scan_value(s, item));
    }
}

/* jansson keeps the order in which keys were written. */
static void scan_map(scan *s, mg_node *map, json_t *value)
{
    bool first = true;

    for (void *it = json_object_iter(value); it; it = json_object_iter_next(value, it), first = false) {
        const char *name = json_object_iter_key(it);
        mg_node *key;
        if (!first) {
            skip_blanks(s);
            step_scan(s);
        }
        skip_blanks(s);
        key = scan_string(s, name, strlen(name));
        skip_blanks(s);
        step_scan(s); /* the colon */
        mg_node_append(map, key, scan_value(s, json_object_iter_value(it)));
    }
}

static mg_node *scan_container(scan *s, json_t *value)
{
    mg_node *node = begin(s, json_is_array(value) ? MG_NODE_LIST : MG_NODE_MAP);

    if (s->depth == MG_TREE_DEPTH) {
        if (!s->failed)
            mg_node_error(s->report, node, "syntax", "nested more than %d deep", MG_TREE_DEPTH);
        s->failed = true;
        return node;
    }
    s->depth++;
    step_scan(s);
    if (json_is_array(value))
        scan_list(s, node, value);
    else
        scan_map(s, node, value);
    s->depth--;
    if (s->failed) /* below it the scan has stopped: nothing after has a place */
        return node;
    skip_blanks(s);
    step_scan(s);
    return node;
}

static mg_node *scan_value(scan *s, json_t *value)
{
    if (s->failed)
        return mg_node_new(s->arena, MG_NODE_NULL);
    skip_blanks(s);
    if (json_is_array(value) || json_is_object(value))
        return scan_container(s, value);
    if (json_is_string(value))
        return scan_string(s, json_string_value(value), json_string_length(value));
    return scan_word(s, value);
}

/* At least as many as there are values, keys aside: what jansson would allocate is bounded before it does. */
static size_t count_values(mg_str text)
{
    size_t count = 1;
    bool quoted = false;

    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '"')
            quoted = !quoted;
        else if (quoted && text.p[i] == '\\')
            i++;
        else if (!quoted && (text.p[i] == ',' || text.p[i] == '[' || text.p[i] == '{'))
            count++;
    }
    return count;
}

static void report_syntax(mg_arena *arena, const mg_source *source, const json_error_t *error,
                          mg_report *report)
{
    const enum json_error_code code = json_error_code(error);
    mg_node *here = mg_node_new(arena, MG_NODE_NULL);
    mg_finding *f;

    here->source = source;
    here->line = error->line > 0 ? error->line : 1;
    here->column = error->column > 0 ? error->column : 1;
    here->width = 1;
    f = mg_node_error(report, here, code == json_error_duplicate_key ? "duplicate-key" : "syntax", "%s",
                      error->text);
    if (code == json_error_duplicate_key)
        mg_finding_hint(f, "keep one of the two");
}

static mg_node *place_values(mg_arena *arena, const mg_source *source, json_t *value, mg_report *report)
{
    scan s = { .arena = arena, .source = source, .report = report, .line = 1, .column = 1 };
    mg_node *root = scan_value(&s, value);

    return s.failed ? NULL : root;
}

mg_node *mg_json_parse(mg_arena *arena, const mg_source *source, mg_report *report)
{
    json_error_t error;
    json_t *value;
    mg_node *root;

    if (source->text.n > MG_TREE_FILE_BYTES || count_values(source->text) > MG_TREE_NODES / 2) {
        mg_node_error(report, NULL, "syntax", "%s is larger than %d MiB or has more than %d values",
                      source->file, MG_TREE_FILE_BYTES >> 20, MG_TREE_NODES / 2);
        return NULL;
    }
    value = json_loadb(source->text.p ? source->text.p : "", source->text.n,
                       JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (!value) {
        report_syntax(arena, source, &error, report);
        return NULL;
    }
    root = place_values(arena, source, value, report);
    json_decref(value);
    return root;
}
