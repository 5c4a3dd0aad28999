/* sdk_json.c - text/json's tree as a cursor for Lua: one walk in document order. */
#include "base/mem.h"
#include "moongate.h"
#include "text/json.h"

#include <stdio.h>

struct mg_json {
    mg_arena arena; /* the tree's */
    mg_source source;
    const mg_node *next; /* the value the cursor gives next; NULL at the end */
};

mg_json *mg_json_open(const char *text, uint32_t n, char *error256)
{
    mg_json *doc = MG_NEW(mg_json);
    mg_report report = MG_REPORT_INIT;

    mg_arena_init(&doc->arena, NULL, 0);
    doc->source = (mg_source){ "JSON", mg_str_make(text, n) };
    doc->next = mg_json_parse(&doc->arena, &doc->source, &report);
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

static const mg_node *after(const mg_node *node)
{
    if ((node->kind == MG_NODE_LIST || node->kind == MG_NODE_MAP) && node->first)
        return node->first;
    while (node && !node->next)
        node = node->parent;
    return node ? node->next : NULL;
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
        item->kind = MG_JSON_NUMBER;
        item->number = (double)node->integer;
        break;
    case MG_NODE_FLOAT:
        item->kind = MG_JSON_NUMBER;
        item->number = node->number;
        break;
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
