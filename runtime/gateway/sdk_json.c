/* sdk_json.c - text/json's tree as a cursor for Lua: one walk in document order. */
#include "base/mem.h"
#include "moongate.h"
#include "text/json.h"

#include <stdio.h>

static const int64_t WHOLE_MAX = (int64_t)1 << 53; /* up to here a double tells all integers apart */

struct mg_json {
    mg_arena arena; /* the tree's */
    mg_source source;
    const mg_node *next; /* the value the cursor gives next; NULL at the end */
};

static const mg_node *after(const mg_node *node)
{
    if ((node->kind == MG_NODE_LIST || node->kind == MG_NODE_MAP) && node->first)
        return node->first;
    while (node && !node->next)
        node = node->parent;
    return node ? node->next : NULL;
}

/* An integer that int64 has no room for, as FLOAT nodes stand for them. */
static bool is_wide(const mg_node *node)
{
    return node->kind == MG_NODE_FLOAT && mg_json_is_whole(node->text);
}

/* The first integer of more than 64 bits; NULL when there is none. */
static const mg_node *find_too_wide(const mg_node *node)
{
    uint64_t integer;

    while (node && !(is_wide(node) && !mg_str_u64(node->text, &integer)))
        node = after(node);
    return node;
}

/* Parses into the document's tree. */
static const mg_node *parse(mg_json *doc, bool any_integer, mg_report *report)
{
    const mg_node *root = mg_json_parse_wide(&doc->arena, &doc->source, report);
    const mg_node *wide = root && !any_integer ? find_too_wide(root) : NULL;

    if (!wide)
        return root;
    mg_node_error(report, wide, "syntax", "an integer of more than 64 bits");
    return NULL;
}

mg_json *mg_json_open(const char *text, uint32_t n, bool any_integer, char *error256)
{
    mg_json *doc = MG_NEW(mg_json);
    mg_report report = MG_REPORT_INIT;

    mg_arena_init(&doc->arena, NULL, 0);
    doc->source = (mg_source){ "JSON", mg_str_make(text, n) };
    doc->next = parse(doc, any_integer, &report);
    if (!doc->next) {
        const mg_finding *first = report.count ? &report.findings[0] : NULL;

        snprintf(error256, 256, "line %d, column %d: %s", first ? first->line : 1, first ? first->column : 1,
                 first ? first->message : "no JSON");
        mg_json_close(doc);
        doc = NULL;
    }
    mg_report_fini(&report);
    return doc;
}

void mg_json_close(mg_json *doc)
{
    mg_arena_fini(&doc->arena);
    mg_free(doc);
}

static void fill_number(const mg_node *node, mg_json_item *item)
{
    uint64_t wide = 0;

    item->kind = MG_JSON_NUMBER;
    item->number = node->number;
    if (node->kind == MG_NODE_INT) {
        item->integer = node->integer;
        item->number = (double)node->integer;
        if (node->integer > WHOLE_MAX || node->integer < -WHOLE_MAX)
            item->kind = MG_JSON_INT64;
    } else if (is_wide(node)) {
        item->kind = mg_str_u64(node->text, &wide) ? MG_JSON_UINT64 : MG_JSON_DIGITS;
        item->integer = (int64_t)wide;
    }
    item->text = (mg_slice){ node->text.p, (uint32_t)node->text.n };
}

static void fill(const mg_node *node, mg_json_item *item)
{
    *item = (mg_json_item){ 0 };
    if (node->key)
        item->key = (mg_slice){ node->key->text.p, (uint32_t)node->key->text.n };
    switch (node->kind) {
    case MG_NODE_NULL: item->kind = MG_JSON_NULL; break;
    case MG_NODE_BOOL: item->kind = node->boolean ? MG_JSON_TRUE : MG_JSON_FALSE; break;
    case MG_NODE_INT:
    case MG_NODE_FLOAT: fill_number(node, item); break;
    case MG_NODE_STRING:
        item->kind = MG_JSON_STRING;
        item->text = (mg_slice){ node->text.p, (uint32_t)node->text.n };
        break;
    case MG_NODE_LIST:
    case MG_NODE_MAP:
        item->kind = node->kind == MG_NODE_LIST ? MG_JSON_ARRAY : MG_JSON_OBJECT;
        item->count = (uint32_t)node->count;
        break;
    }
}

bool mg_json_next(mg_json *doc, mg_json_item *item)
{
    if (!doc->next)
        return false;
    fill(doc->next, item);
    doc->next = after(doc->next);
    return true;
}

uint32_t mg_json_quote(const char *text, uint32_t n, char *out)
{
    mg_text quoted = { 0 };
    uint32_t length;

    mg_text_add_json(&quoted, mg_str_make(text, n));
    length = (uint32_t)quoted.n;
    memcpy(out, quoted.p, length);
    mg_text_fini(&quoted);
    return length;
}
