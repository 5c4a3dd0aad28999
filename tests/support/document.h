/* document.h - a text read as a tree, with its report, for tests of what is read. */
#ifndef MG_TESTS_SUPPORT_DOCUMENT_H
#define MG_TESTS_SUPPORT_DOCUMENT_H

#include "support/check.h"

#include "text/json.h"
#include "text/schema.h"
#include "text/yaml.h"

typedef struct document {
    mg_arena arena;
    mg_source source;
    mg_report report;
    mg_node *root; /* NULL when it was refused */
} document;

static inline document *document_of(const char *file, mg_str text)
{
    document *doc = calloc(1, sizeof *doc);

    assert_non_null(doc);
    mg_arena_init(&doc->arena, NULL, 0);
    doc->source = (mg_source){ file, text };
    doc->root = mg_str_ends(mg_str_of(file), MG_STR(".json"))
                    ? mg_json_parse(&doc->arena, &doc->source, &doc->report)
                    : mg_yaml_parse(&doc->arena, &doc->source, &doc->report);
    return doc;
}

static inline document *document_yaml(const char *text)
{
    return document_of("a.yaml", mg_str_of(text));
}

static inline document *document_json(const char *text)
{
    return document_of("a.json", mg_str_of(text));
}

static inline void document_free(document *doc)
{
    mg_report_fini(&doc->report);
    mg_arena_fini(&doc->arena);
    free(doc);
}

static inline void check_report_at(const mg_report *report, const char *want, const char *file, int line)
{
    mg_text out = { 0 };

    mg_report_print(report, &out);
    check_str_at(mg_text_str(&out), want, file, line);
    mg_text_fini(&out);
}

#define check_report(report, want) check_report_at((report), (want), __FILE__, __LINE__)

static inline void check_json_at(const mg_node *node, const char *want, const char *file, int line)
{
    mg_text out = { 0 };

    if (!node)
        _fail(file, line);
    mg_node_to_json(node, &out);
    check_str_at(mg_text_str(&out), want, file, line);
    mg_text_fini(&out);
}

#define check_json(node, want) check_json_at((node), (want), __FILE__, __LINE__)

#endif
