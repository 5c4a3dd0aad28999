/* A text as a configuration: YAML, or JSON when it begins with a brace. Whatever it is, there is a config or
 * a report that says why not, and the report is bounded. The schema of a plugin is fuzzed behind a NUL byte:
 * text before it is the document, text after it the schema that the document is held against. */
#include "config/config.h"
#include "text/json.h"
#include "text/yaml.h"

#include "base/check.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The world of the fuzzer: no files, one variable. */
static mg_result no_file(void *self, const char *path, size_t max_bytes, mg_arena *arena, mg_str *out,
                         mg_error *err)
{
    (void)self, (void)max_bytes;
    if (strstr(path, "more")) {
        *out = mg_arena_str(arena,
                            MG_STR("workers: 2\nservices: { b: { endpoints: [{ url: \"http://b\" }] } }\n"));
        return MG_OK;
    }
    return mg_fail(err, MG_ERR_IO, "cannot open %s", path);
}

static const char *one_var(void *self, const char *name)
{
    (void)self;
    return strcmp(name, "A") == 0 ? "7" : NULL;
}

static mg_result no_glob(void *self, const char *pattern, mg_arena *arena, const char ***paths, size_t *count,
                         mg_error *err)
{
    (void)self, (void)pattern, (void)err;
    *paths = MG_ARENA_NEW_N(arena, const char *, 1);
    *count = 0;
    return MG_OK;
}

static void check_report(const mg_report *report, bool good)
{
    mg_text out = { 0 };

    MG_CHECK(report->count <= MG_REPORT_MAX);
    MG_CHECK(good == (report->errors == 0));
    mg_report_print(report, &out);
    mg_report_print_json(report, &out);
    mg_text_fini(&out);
}

static void load(mg_str text)
{
    const mg_config_env env = { .read_file = no_file, .getenv = one_var, .glob = no_glob };
    mg_report report = MG_REPORT_INIT;
    mg_config *config =
        mg_config_load_text(text.n > 0 && text.p[0] == '{' ? "f.json" : "f.yaml", text, &env, &report);

    check_report(&report, config != NULL);
    for (size_t i = 0; config && i < config->plugin_count; i++)
        (void)mg_config_plugin_check(config, config->plugins[i], NULL, &report);
    mg_config_free(config);
    mg_report_fini(&report);
}

static void hold(mg_str text, mg_str schema_text)
{
    mg_source sources[2] = { { "f.yaml", text }, { "s.json", schema_text } };
    mg_report report = MG_REPORT_INIT;
    mg_schema *schema = NULL;
    mg_arena arena;
    mg_node *root, *tree;

    mg_arena_init(&arena, NULL, 0);
    tree = mg_json_parse(&arena, &sources[1], &report);
    if (tree)
        schema = mg_schema_new(tree, &report);
    check_report(&report, schema != NULL);
    root = schema ? mg_yaml_parse(&arena, &sources[0], &report) : NULL;
    if (root)
        check_report(&report, mg_schema_validate(schema, root, &arena, &report));
    mg_schema_free(schema);
    mg_arena_fini(&arena);
    mg_report_fini(&report);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const mg_str text = mg_str_make((const char *)data, size);
    const size_t cut = mg_str_find(text, '\0');

    if (cut == SIZE_MAX)
        load(text);
    else
        hold(mg_str_sub(text, 0, cut), mg_str_sub(text, cut + 1, size));
    return 0;
}
