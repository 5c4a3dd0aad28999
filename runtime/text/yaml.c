/* yaml.c - the one home of libyaml. Its parser tells events with places; words get their meaning here,
 * because libyaml follows YAML 1.1, where `no` would be false. */
#include "text/yaml.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/rand.h"

#include <yaml.h>

enum {
    MAX_ANCHORS = 1000,
    MAX_ALIASES = 10000,
    KEYS_BY_WALKING = 16, /* a map with more gets a hash map to find duplicates */
};

typedef struct frame {
    mg_node *node;
    mg_node *key;          /* read, and waiting for its value */
    mg_map *keys;          /* owned; NULL while the map is small */
    mg_node *dropped_into; /* where the value of a duplicate key goes, to be forgotten */
} frame;

typedef struct anchor {
    mg_str name;
    mg_node *node;
} anchor;

typedef struct reader {
    mg_arena *arena;
    const mg_source *source;
    mg_report *report;
    mg_node *root;
    frame frames[MG_TREE_DEPTH];
    size_t depth;
    size_t budget;   /* nodes that may still come */
    anchor *anchors; /* arena */
    size_t anchor_count, alias_count;
    int documents;
    bool failed, done;
} reader;

static mg_node *at_mark(reader *r, mg_node *node, const yaml_mark_t *start, const yaml_mark_t *end)
{
    node->source = r->source;
    node->line = (int)start->line + 1;
    node->column = (int)start->column + 1;
    if (end->line == start->line)
        node->width = (int)(end->column - start->column);
    return node;
}

/* A mistake after which reading makes no sense. */
__attribute__((format(printf, 4, 5))) static mg_finding *stop(reader *r, const mg_node *where,
                                                              const char *code, const char *format, ...)
{
    mg_text message = { 0 };
    mg_finding *f;
    va_list args;

    va_start(args, format);
    mg_text_vaddf(&message, format, args);
    va_end(args);
    f = mg_node_error(r->report, where, code, "%s", message.p);
    mg_text_fini(&message);
    r->failed = true;
    return f;
}

static bool is_container(const mg_node *node)
{
    return node->kind == MG_NODE_LIST || node->kind == MG_NODE_MAP;
}

/* The key that stands in the map already, or NULL; remembers the new one. */
static mg_node *find_duplicate(frame *top, mg_node *key)
{
    mg_node *known;

    if (!top->keys && top->node->count < KEYS_BY_WALKING) {
        known = mg_node_get_str(top->node, key->text);
        return known ? known->key : NULL;
    }
    if (!top->keys) {
        top->keys = mg_map_new(mg_rand_system_seed());
        MG_NODE_EACH(top->node, it)
        {
            mg_map_set(top->keys, it->key->text, it->key);
        }
    }
    known = mg_map_get(top->keys, key->text);
    if (!known)
        mg_map_set(top->keys, key->text, key);
    return known;
}

static void take_key(reader *r, frame *top, mg_node *node)
{
    const mg_node *known;

    if (is_container(node)) {
        stop(r, node, "syntax", "a key must be a plain word");
        return;
    }
    node->kind = MG_NODE_STRING; /* keys are names, whatever they look like */
    node->parent = top->node;
    known = find_duplicate(top, node);
    top->key = node;
    if (!known)
        return;
    mg_finding *f = mg_node_error(r->report, node, "duplicate-key", "\"%.*s\" stands here twice",
                                  MG_STR_ARGS(node->text));
    mg_finding_hint(f, "the first is at %s:%d; keep one of them", r->source->file, known->line);
    top->dropped_into = mg_node_new(r->arena, MG_NODE_MAP);
}

/* Hangs a node where the reader stands. */
static void take_node(reader *r, mg_node *node)
{
    frame *top = r->depth > 0 ? &r->frames[r->depth - 1] : NULL;

    if (!top) {
        r->root = node;
    } else if (top->node->kind == MG_NODE_LIST) {
        mg_node_append(top->node, NULL, node);
    } else if (!top->key) {
        take_key(r, top, node);
    } else {
        mg_node_append(top->dropped_into ? top->dropped_into : top->node, top->key, node);
        top->key = top->dropped_into = NULL;
    }
}

static void remember_anchor(reader *r, const yaml_char_t *name, mg_node *node)
{
    if (!name)
        return;
    if (r->anchor_count == MAX_ANCHORS) {
        stop(r, node, "syntax", "more than %d anchors", MAX_ANCHORS);
        return;
    }
    if (!r->anchors)
        r->anchors = MG_ARENA_NEW_N(r->arena, anchor, MAX_ANCHORS);
    r->anchors[r->anchor_count].name = mg_arena_str(r->arena, mg_str_of((const char *)name));
    r->anchors[r->anchor_count++].node = node;
}

static bool tag_is_core(const yaml_char_t *tag)
{
    return !tag || strcmp((const char *)tag, "!") == 0;
}

/* A new node of an event, or NULL once a bound is passed. */
static mg_node *new_node(reader *r, mg_node_kind kind, const yaml_event_t *e, const yaml_char_t *tag)
{
    mg_node *node = at_mark(r, mg_node_new(r->arena, kind), &e->start_mark, &e->end_mark);

    if (!tag_is_core(tag)) {
        mg_finding_hint(stop(r, node, "syntax", "tags such as %s are not understood here", (const char *)tag),
                        "leave the tag out; quote what should be text");
        return NULL;
    }
    if (r->budget == 0) {
        stop(r, node, "syntax", "more than %d values in one document", MG_TREE_NODES);
        return NULL;
    }
    r->budget--;
    return node;
}

static void on_scalar(reader *r, const yaml_event_t *e)
{
    mg_node *node = new_node(r, MG_NODE_STRING, e, e->data.scalar.tag);

    if (!node)
        return;
    if (memchr(e->data.scalar.value, '\0', e->data.scalar.length)) {
        stop(r, node, "syntax", "a NUL byte cannot stand in a text");
        return;
    }
    node->text =
        mg_arena_str(r->arena, mg_str_make((const char *)e->data.scalar.value, e->data.scalar.length));
    if (e->data.scalar.style == YAML_PLAIN_SCALAR_STYLE && !e->data.scalar.tag)
        mg_node_resolve_plain(node);
    remember_anchor(r, e->data.scalar.anchor, node);
    take_node(r, node);
}

static void on_start(reader *r, const yaml_event_t *e, mg_node_kind kind, const yaml_char_t *tag,
                     const yaml_char_t *name)
{
    mg_node *node = new_node(r, kind, e, tag);

    if (!node)
        return;
    if (r->depth == MG_TREE_DEPTH) {
        stop(r, node, "syntax", "nested more than %d deep", MG_TREE_DEPTH);
        return;
    }
    remember_anchor(r, name, node);
    take_node(r, node);
    r->frames[r->depth++] = (frame){ .node = node };
}

static void on_end(reader *r)
{
    frame *top = &r->frames[--r->depth];
    mg_map_free(top->keys);
    top->keys = NULL;
}

static size_t depth_of(const mg_node *node)
{
    size_t deepest = 0;

    if (!is_container(node))
        return 0;
    MG_NODE_EACH(node, it)
    {
        const size_t below = depth_of(it);
        if (below > deepest)
            deepest = below;
    }
    return deepest + 1;
}

static mg_node *find_anchor(const reader *r, const char *name)
{
    for (size_t i = r->anchor_count; i > 0; i--) { /* the last of a name counts */
        if (mg_str_eq_c(r->anchors[i - 1].name, name))
            return r->anchors[i - 1].node;
    }
    return NULL;
}

/* What an alias names is copied, so that each place can get defaults of its own; copies count as nodes. */
static void on_alias(reader *r, const yaml_event_t *e)
{
    const char *name = (const char *)e->data.alias.anchor;
    const mg_node *named = find_anchor(r, name);
    mg_node *here = at_mark(r, mg_node_new(r->arena, MG_NODE_NULL), &e->start_mark, &e->end_mark), *copy;

    if (!named) {
        stop(r, here, "syntax", "no anchor &%s stands before this", name);
        return;
    }
    for (size_t i = 0; i < r->depth; i++) {
        if (r->frames[i].node == named) {
            stop(r, here, "syntax", "the anchor &%s would contain itself", name);
            return;
        }
    }
    if (++r->alias_count > MAX_ALIASES || r->depth + depth_of(named) > MG_TREE_DEPTH) {
        stop(r, here, "syntax", "the aliases of this document expand too far");
        return;
    }
    copy = mg_node_copy(r->arena, named, &r->budget);
    if (!copy)
        stop(r, here, "syntax", "the aliases of this document expand to more than %d values", MG_TREE_NODES);
    else
        take_node(r, copy);
}

static void on_document(reader *r, const yaml_event_t *e)
{
    mg_node *here;

    if (++r->documents == 1)
        return;
    here = at_mark(r, mg_node_new(r->arena, MG_NODE_NULL), &e->start_mark, &e->end_mark);
    mg_finding_hint(stop(r, here, "syntax", "a second document begins here"),
                    "write one document a file; `include` joins files");
}

static void on_event(reader *r, const yaml_event_t *e)
{
    switch (e->type) {
    case YAML_DOCUMENT_START_EVENT: on_document(r, e); break;
    case YAML_SCALAR_EVENT: on_scalar(r, e); break;
    case YAML_ALIAS_EVENT: on_alias(r, e); break;
    case YAML_SEQUENCE_START_EVENT:
        on_start(r, e, MG_NODE_LIST, e->data.sequence_start.tag, e->data.sequence_start.anchor);
        break;
    case YAML_MAPPING_START_EVENT:
        on_start(r, e, MG_NODE_MAP, e->data.mapping_start.tag, e->data.mapping_start.anchor);
        break;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT: on_end(r); break;
    case YAML_STREAM_END_EVENT: r->done = true; break;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_DOCUMENT_END_EVENT: break;
    }
}

/* Line and column of a byte, for the encoding errors that libyaml tells only by offset. */
static void place_offset(const mg_source *source, size_t offset, yaml_mark_t *mark)
{
    mark->line = mark->column = 0;
    for (size_t i = 0; i < offset && i < source->text.n; i++) {
        const char c = source->text.p[i];
        if (c == '\n') {
            mark->line++;
            mark->column = 0;
        } else if (((unsigned char)c & 0xc0) != 0x80) {
            mark->column++;
        }
    }
}

static const char *hint_for(const mg_source *source, const yaml_mark_t *mark)
{
    const mg_str line = mg_source_line(source, (int)mark->line + 1);
    const mg_str left = mg_str_trim(line, " ");

    if (left.n > 0 && left.p[0] == '\t')
        return "indent with spaces; YAML takes no tabs there";
    return NULL;
}

static void on_syntax_error(reader *r, const yaml_parser_t *parser)
{
    yaml_mark_t mark = parser->problem_mark;
    const char *problem = parser->problem ? parser->problem : "not enough memory", *hint;
    mg_node *here = mg_node_new(r->arena, MG_NODE_NULL);
    mg_finding *f;

    if (parser->error == YAML_READER_ERROR)
        place_offset(r->source, parser->problem_offset, &mark);
    at_mark(r, here, &mark, &mark);
    here->width = 1;
    if (parser->context && parser->error != YAML_READER_ERROR)
        f = stop(r, here, "syntax", "%s %s (line %zu)", problem, parser->context,
                 parser->context_mark.line + 1);
    else
        f = stop(r, here, "syntax", "%s", problem);
    hint = hint_for(r->source, &mark);
    if (hint)
        mg_finding_hint(f, "%s", hint);
}

/* Editors put a byte order mark before UTF-8; libyaml counts it as a column and then wants a "---". */
static mg_str without_mark(mg_str text)
{
    return mg_str_starts(text, MG_STR("\xef\xbb\xbf")) ? mg_str_sub(text, 3, text.n) : text;
}

static void run_reader(reader *r)
{
    const mg_str text = without_mark(r->source->text);
    yaml_parser_t parser;
    yaml_event_t event;

    if (!yaml_parser_initialize(&parser)) {
        stop(r, NULL, "syntax", "not enough memory to read %s", r->source->file);
        return;
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.p, text.n);
    while (!r->failed && !r->done) {
        if (!yaml_parser_parse(&parser, &event)) {
            on_syntax_error(r, &parser);
            break;
        }
        on_event(r, &event);
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
}

mg_node *mg_yaml_parse(mg_arena *arena, const mg_source *source, mg_report *report)
{
    reader *r = MG_NEW(reader); /* too large for a stack that may be a thread's */
    const size_t errors = report->errors;
    mg_node *root;

    r->arena = arena;
    r->source = source;
    r->report = report;
    r->budget = MG_TREE_NODES;
    if (source->text.n > MG_TREE_FILE_BYTES)
        stop(r, NULL, "syntax", "%s is larger than %d MiB", source->file, MG_TREE_FILE_BYTES >> 20);
    else
        run_reader(r);
    while (r->depth > 0)
        on_end(r);
    root = r->root ? r->root : mg_node_new(arena, MG_NODE_NULL);
    root->source = source;
    mg_free(r);
    return report->errors == errors ? root : NULL;
}
