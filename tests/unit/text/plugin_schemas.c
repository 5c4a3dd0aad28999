/* The schemas of the plugins here: that they compile, that their examples hold, and what they refuse. */
#include "support/document.h"

#include "base/mem.h"

#include <glob.h>

static char *read_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    char *text = mg_calloc(1, 65536);

    if (!file)
        fail_msg("cannot open %s: run this from the project's folder", path);
    assert_true(fread(text, 1, 65535, file) > 0);
    fclose(file);
    return text;
}

/* A plugin's schema, compiled. */
typedef struct plugin {
    char *text;
    document *doc;
    mg_schema *schema;
} plugin;

static plugin plugin_open(const char *path)
{
    plugin p = { .text = read_file(path) };

    p.doc = document_json(p.text);
    if (p.doc->root)
        p.schema = mg_schema_new(p.doc->root, &p.doc->report);
    check_report(&p.doc->report, "");
    assert_non_null(p.schema);
    return p;
}

static void plugin_close(plugin *p)
{
    mg_schema_free(p->schema);
    document_free(p->doc);
    mg_free(p->text);
}

/* Whether the schema takes this configuration; `completed` gets it with its defaults, and may be NULL. */
static bool takes(const plugin *p, const char *json, mg_text *completed)
{
    document *doc = document_json(json);

    assert_non_null(doc->root);
    const bool valid = mg_schema_validate(p->schema, doc->root, &doc->arena, &doc->report);
    if (!valid && completed)
        mg_report_print(&doc->report, completed);
    else if (completed)
        mg_node_to_json(doc->root, completed);
    document_free(doc);
    return valid;
}

/* The name of the folder that a schema lies in. */
static mg_str folder_of(const char *path)
{
    const mg_str folder = mg_str_make(path, strlen(path) - strlen("/schema.json"));
    size_t from = folder.n;

    while (from > 0 && folder.p[from - 1] != '/')
        from--;
    return mg_str_sub(folder, from, folder.n);
}

static void check_schema(const char *path)
{
    plugin p = plugin_open(path);
    const mg_node *title = mg_node_get(p.doc->root, "title"),
                  *examples = mg_node_get(p.doc->root, "examples");
    const mg_node *more = mg_node_get(p.doc->root, "additionalProperties");

    assert_non_null(title);
    assert_true(mg_str_eq(title->text, folder_of(path)));
    assert_non_null(mg_node_get(p.doc->root, "description"));
    assert_true(more && more->kind == MG_NODE_BOOL && !more->boolean);
    assert_true(examples && examples->count > 0);
    MG_NODE_EACH(examples, example)
    {
        mg_text json = { 0 }, report = { 0 };
        mg_node_to_json(example, &json);
        if (!takes(&p, json.p, &report))
            fail_msg("%s: its example %s does not hold:\n%s", path, json.p, report.p);
        mg_text_fini(&json);
        mg_text_fini(&report);
    }
    assert_false(takes(&p, "{\"no_such_key\":1}", NULL));
    plugin_close(&p);
}

static void every_schema_compiles_and_takes_its_examples(void **state)
{
    glob_t found;

    (void)state;
    assert_int_equal(glob("plugins/*/schema.json", 0, NULL, &found), 0);
    assert_int_equal(glob("examples/*/plugins/*/schema.json", GLOB_APPEND, NULL, &found), 0);
    assert_true(found.gl_pathc >= 7);
    for (size_t i = 0; i < found.gl_pathc; i++)
        check_schema(found.gl_pathv[i]);
    globfree(&found);
}

static void what_a_plugin_could_not_do_is_refused_when_it_is_read(void **state)
{
    static const struct {
        const char *plugin, *config;
    } wrong[] = {
        { "request_id", "{\"header\":\"x id\"}" },
        { "request_id", "{\"header\":\"\"}" },
        { "respond", "{\"status\":199}" },
        { "respond", "{\"status\":600}" },
        { "respond", "{\"headers\":{\"Content-Length\":\"3\"}}" },
        { "respond", "{\"headers\":{\"x-a\":\"one\\r\\ntwo: 3\"}}" },
        { "respond", "{\"content_type\":\"a\\nb\"}" },
        { "headers", "{\"request\":{\"set\":{\"Transfer-Encoding\":\"chunked\"}}}" },
        { "headers", "{\"request\":{\"set\":{\"host\":\"a\"}}}" },
        { "headers", "{\"request\":{\"rename\":{\"a\":\"connection\"}}}" },
        { "headers", "{\"response\":{\"add\":{\"a b\":\"c\"}}}" },
        { "headers", "{\"response\":{\"add\":{\"a\":[]}}}" },
        { "headers", "{\"response\":{\"set\":{\"a\":\"b\\nc\"}}}" },
        { "headers", "{\"response\":{\"remove\":[\"a\",\"\"]}}" },
        { "headers", "{\"respones\":{}}" },
        { "key_auth", "{}" },
        { "key_auth", "{\"keys\":{}}" },
        { "key_auth", "{\"keys\":[]}" },
        { "key_auth", "{\"keys\":{\"k\":\"\"}}" },
        { "key_auth", "{\"keys\":{\"k\":\"a\\r\\nb\"}}" },
        { "key_auth", "{\"keys\":[{\"key\":\"k\"}]}" },
        { "key_auth", "{\"keys\":{\"k\":\"a\"},\"realm\":\"a\\\"b\"}" },
        { "rate_limit", "{}" },
        { "rate_limit", "{\"rate\":\"fast\"}" },
        { "rate_limit", "{\"rate\":100}" },
        { "rate_limit", "{\"rate\":\"1/s\",\"burst\":0}" },
        { "rate_limit", "{\"rate\":\"1/s\",\"key\":\"tenant\"}" },
        { "rate_limit", "{\"rate\":\"1/s\",\"key\":\"ip+\"}" },
        { "rate_limit", "{\"rate\":\"1/s\",\"key\":\"header:\"}" },
        { "rate_limit", "{\"rate\":\"1/s\",\"consumers\":{\"a\":{}}}" },
        { "cors", "{}" },
        { "cors", "{\"origins\":[]}" },
        { "cors", "{\"origins\":[\"shop.example\"]}" },
        { "cors", "{\"origins\":[\"https://shop.example/\"]}" },
        { "cors", "{\"origins\":[\"https://a*.shop.example\"]}" },
        { "cors", "{\"origins\":[\"*\"],\"max_age\":600}" },
        { "cors", "{\"origins\":[\"*\"],\"max_age\":\"2d\"}" },
        { "cors", "{\"origins\":[\"*\"],\"methods\":[\"get\"]}" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(wrong); i++) {
        char path[128];
        snprintf(path, sizeof(path), "plugins/%s/schema.json", wrong[i].plugin);
        plugin p = plugin_open(path);
        if (takes(&p, wrong[i].config, NULL))
            fail_msg("%s takes %s", wrong[i].plugin, wrong[i].config);
        plugin_close(&p);
    }
}

static void right_ones_are_taken(void **state)
{
    static const struct {
        const char *plugin, *config;
    } right[] = {
        { "headers", "{\"request\":{\"set\":{\"x-a\":\"tab\\tand caf\xc3\xa9\"}}}" },
        { "headers", "{\"request\":{\"set\":{\"x-a\":\"\"}}}" },
        { "rate_limit", "{\"rate\":\"1/s\",\"key\":\"header:x-a+cookie:b+ip+route\"}" },
        { "cors", "{\"origins\":[\"http://localhost:3000\",\"http://[::1]:3000\",\"null\",\"app://"
                  "x\"],\"max_age\":\"0s\"}" },
        { "key_auth",
          "{\"keys\":{\"k\":\"alice smith\"},\"header\":\"\",\"query\":\"k\",\"consumer_header\":\"\"}" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(right); i++) {
        mg_text report = { 0 };
        char path[128];
        snprintf(path, sizeof(path), "plugins/%s/schema.json", right[i].plugin);
        plugin p = plugin_open(path);
        if (!takes(&p, right[i].config, &report))
            fail_msg("%s does not take %s:\n%s", right[i].plugin, right[i].config, report.p);
        mg_text_fini(&report);
        plugin_close(&p);
    }
}

static void defaults_are_filled_in_where_a_plugin_reads_them(void **state)
{
    plugin p = plugin_open("plugins/headers/schema.json");
    mg_text completed = { 0 };

    (void)state;
    assert_true(takes(&p, "{\"response\":{\"remove\":[\"server\"]}}", &completed));
    check_str(mg_text_str(&completed),
              "{\"response\":{\"remove\":[\"server\"],\"rename\":{},\"set\":{},\"add\":{}},"
              "\"request\":{\"remove\":[],\"rename\":{},\"set\":{},\"add\":{}}}");
    mg_text_fini(&completed);
    plugin_close(&p);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_schema_compiles_and_takes_its_examples),
        cmocka_unit_test(what_a_plugin_could_not_do_is_refused_when_it_is_read),
        cmocka_unit_test(right_ones_are_taken),
        cmocka_unit_test(defaults_are_filled_in_where_a_plugin_reads_them),
    };
    return cmocka_run_group_tests_name("text/plugin_schemas", tests, NULL, NULL);
}
