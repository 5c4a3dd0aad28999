/* Where a configuration comes from: files, includes, --set, the environment; all of it handed in. */
#include "support/document.h"
#include "support/tmpdir.h"

#include "config/config.h"

typedef struct world {
    const char *files[8][2]; /* path, text */
    const char *vars[8][2];
} world;

static mg_result read_file(void *self, const char *path, size_t max_bytes, mg_arena *arena, mg_str *out,
                           mg_error *err)
{
    const world *w = self;

    for (size_t i = 0; i < 8 && w->files[i][0]; i++) {
        if (strcmp(w->files[i][0], path) != 0)
            continue;
        assert_true(strlen(w->files[i][1]) <= max_bytes);
        *out = mg_arena_str(arena, mg_str_of(w->files[i][1]));
        return MG_OK;
    }
    return mg_fail(err, MG_ERR_IO, "cannot open %s", path);
}

static const char *get_var(void *self, const char *name)
{
    const world *w = self;

    for (size_t i = 0; i < 8 && w->vars[i][0]; i++) {
        if (strcmp(w->vars[i][0], name) == 0)
            return w->vars[i][1];
    }
    return NULL;
}

/* As much of glob(7) as the tests need: everything with the folder of the pattern. */
static mg_result glob_files(void *self, const char *pattern, mg_arena *arena, const char ***paths,
                            size_t *count, mg_error *err)
{
    const world *w = self;
    const size_t folder = strcspn(pattern, "*");

    (void)err;
    *paths = MG_ARENA_NEW_N(arena, const char *, 8);
    *count = 0;
    for (size_t i = 0; i < 8 && w->files[i][0]; i++) {
        if (strncmp(w->files[i][0], pattern, folder) == 0)
            (*paths)[(*count)++] = w->files[i][0];
    }
    return MG_OK;
}

typedef struct loaded {
    mg_config *config;
    mg_report report;
} loaded;

static loaded load(world *w, const char *const *set, size_t set_count)
{
    const mg_config_env env = { .self = w,
                                .read_file = read_file,
                                .getenv = get_var,
                                .glob = glob_files,
                                .set = set,
                                .set_count = set_count };
    loaded l = { .report = MG_REPORT_INIT };

    l.config = mg_config_load_file("etc/m.yaml", &env, &l.report);
    assert_true((l.config != NULL) == (l.report.errors == 0));
    return l;
}

static void loaded_free(loaded *l)
{
    mg_config_free(l->config);
    mg_report_fini(&l->report);
}

#define HEAD "version: 1\nlisteners: { web: { bind: \":8080\" } }\n"

static void included_files_add_to_maps_and_lists(void **state)
{
    world w = { .files = {
                    { "etc/m.yaml",
                      HEAD "include: [conf.d/*.yaml, more.json]\nroutes:\n"
                           "  - { name: a, match: { paths: [{ prefix: /a }] }, service: one }\n" },
                    { "etc/conf.d/1.yaml", "services: { one: { endpoints: [{ url: \"http://a\" }] } }\n" },
                    { "etc/conf.d/2.yaml",
                      "version: 1\nplugins: { own: { use: ./own } }\nroutes:\n"
                      "  - { name: b, match: { paths: [{ prefix: /b }] }, plugins: [own], service: two }\n" },
                    { "etc/more.json",
                      "{\"services\":{\"two\":{\"endpoints\":[{\"url\":\"http://b\"}]}}}" } } };
    loaded l = load(&w, NULL, 0);

    (void)state;
    check_report(&l.report, "");
    assert_int_equal(l.config->service_count, 2);
    assert_int_equal(l.config->route_count, 2);
    check_str(l.config->routes[1]->service->name, "two");
    check_str(l.config->plugins[0]->path, "etc/conf.d/./own"); /* from the file that names it */
    assert_int_equal(l.config->file_count, 4);
    assert_string_equal(l.config->files[0], "etc/m.yaml");
    loaded_free(&l);
}

static void an_included_file_may_not_redefine(void **state)
{
    world w = { .files = { { "etc/m.yaml",
                             HEAD "include: [b.yaml]\nworkers: 1\nservices: { one: { endpoints: [{ url: "
                                  "\"http://a\" }] } }\n" },
                           { "etc/b.yaml", "workers: 2\nservices: { one: {} }\ninclude: [c.yaml]\n" } } };
    loaded l = load(&w, NULL, 0);

    (void)state;
    check_report(
        &l.report,
        "etc/b.yaml:1:1: error[duplicate-key] workers: \"workers\" is defined twice; an included file "
        "may add, not redefine\n"
        "    1 | workers: 2\n"
        "      | ^^^^^^^\n"
        "      = the first is at etc/m.yaml:4; keep one of them\n"
        "etc/b.yaml:2:13: error[duplicate-key] services.one: \"one\" is defined twice; an included file "
        "may add, not redefine\n"
        "    2 | services: { one: {} }\n"
        "      |             ^^^\n"
        "      = the first is at etc/m.yaml:5; keep one of them\n"
        "etc/b.yaml:3:1: error[not-allowed] include: an included file includes nothing itself\n"
        "    3 | include: [c.yaml]\n"
        "      | ^^^^^^^\n"
        "      = name all files in the first one\n");
    loaded_free(&l);
}

static void a_file_that_cannot_be_read_says_why(void **state)
{
    world w = { .files = { { "etc/m.yaml", HEAD "include: [none.yaml]\n" } } }, nothing = { 0 };
    loaded l = load(&w, NULL, 0);

    (void)state;
    check_report(&l.report, "etc/m.yaml:3:11: error[unreadable-file] include[0]: cannot open etc/none.yaml\n"
                            "    3 | include: [none.yaml]\n"
                            "      |           ^^^^^^^^^\n");
    loaded_free(&l);
    l = load(&nothing, NULL, 0);
    check_report(&l.report, "error[unreadable-file] cannot open etc/m.yaml\n");
    loaded_free(&l);
}

static void set_overrides_and_adds(void **state)
{
    static const char *const set[] = { "workers=3",
                                       "services.one.pool.queue=5",
                                       "routes[0].timeout=2s",
                                       "services.one.endpoints[1].weight=7",
                                       "listeners.web.trusted_proxies=[10.0.0.0/8]",
                                       "state.path=here" };
    world w = { .files = { { "etc/m.yaml",
                             HEAD "services: { one: { endpoints: [{ url: \"http://a\" }, { url: \"http://b\" "
                                  "}] } }\nroutes: [{ name: a, match: { paths: [{ prefix: / }] }, service: "
                                  "one }]\n" } } };
    loaded l = load(&w, set, 6);

    (void)state;
    check_report(&l.report, "");
    assert_int_equal(l.config->workers, 3);
    assert_int_equal(l.config->services[0]->pool.queue, 5);
    assert_int_equal(l.config->services[0]->endpoints[1].weight, 7);
    assert_int_equal(l.config->routes[0]->timeout_ms, 2000);
    assert_int_equal(l.config->listeners[0]->trusted_proxy_count, 1);
    check_str(l.config->state_path, "here"); /* not beside the file */
    loaded_free(&l);
}

static void a_wrong_set_is_told_as_such(void **state)
{
    static const char *const set[] = { "workers",   "routes[0].timeout=2s",
                                       "workres=3", "workers.x=1",
                                       "a..b=1",    "workers=[" };
    world w = { .files = { { "etc/m.yaml", HEAD } } };
    loaded l = load(&w, set, 6);

    (void)state;
    assert_int_equal(l.report.errors, 6);
    assert_string_equal(l.report.findings[0].message, "--set workers: there is no KEY=VALUE");
    assert_string_equal(l.report.findings[1].message, "--set routes[0].timeout=2s: nothing has this path");
    assert_string_equal(l.report.findings[2].message, "--set a..b=1: nothing has this path");
    assert_string_equal(l.report.findings[3].file, "--set workers");
    assert_string_equal(l.report.findings[4].message, "unknown key \"workres\"");
    assert_string_equal(l.report.findings[5].message, "must be a whole number, this is a map");
    loaded_free(&l);
}

static void variables_and_files_are_substituted_after_parsing(void **state)
{
    world w = {
        .files = { { "etc/m.yaml", HEAD
                     "workers: ${env:WORKERS}\nservices:\n  one:\n    read_timeout: ${env:NONE:-7s}\n"
                     "    endpoints: [{ url: \"http://${env:HOST}:${env:PORT:-80}\" }]\nplugins:\n"
                     "  p: { use: key_auth, config: { key: \"${file:key}\", text: \"$${x}\" } }\nroutes:\n"
                     "  - { name: a, match: { paths: [{ prefix: / }] }, plugins: [p], service: one }\n" },
                   { "etc/key", "a: {b\n" } },
        .vars = { { "WORKERS", "5" }, { "HOST", "shop" } }
    };
    loaded l = load(&w, NULL, 0);

    (void)state;
    check_report(&l.report, "");
    assert_int_equal(l.config->workers, 5);
    assert_int_equal(l.config->services[0]->read_timeout_ms, 7000);
    check_str(l.config->services[0]->endpoints[0].host, "shop");
    check_json(l.config->plugins[0]->config, "{\"key\":\"a: {b\",\"text\":\"${x}\"}");
    loaded_free(&l);
}

static void what_cannot_be_substituted_is_told_once(void **state)
{
    world w = { .files = { { "etc/m.yaml",
                             HEAD "workers: ${env:NONE}\nservices:\n  one:\n    read_timeout: ${file:none}\n"
                                  "    first_byte_timeout: ${what}\n    tunnel_idle_timeout: ${env:BAD}\n"
                                  "    endpoints: [{ url: \"${env:SECRET}\" }]\n" } },
                .vars = { { "BAD", "\xff" }, { "SECRET", "hunter2" } } };
    loaded l = load(&w, NULL, 0);
    mg_text out = { 0 };

    (void)state;
    assert_int_equal(l.report.errors, 5);
    assert_string_equal(l.report.findings[0].message, "there is no environment variable NONE");
    assert_string_equal(l.report.findings[0].hint, "set it, or give a default: ${env:NONE:-default}");
    assert_string_equal(l.report.findings[1].message, "cannot open etc/none");
    assert_string_equal(l.report.findings[2].message, "${ begins no reference that is known");
    assert_string_equal(l.report.findings[3].message, "the environment variable BAD is not text in UTF-8");
    assert_string_equal(l.report.findings[4].message, "*** is not a URL");
    mg_report_print(&l.report, &out);
    assert_null(strstr(out.p, "hunter2"));
    mg_text_fini(&out);
    loaded_free(&l);
}

#define ONE_KEY(reference)                                                                                   \
    HEAD "plugins:\n  p: { use: key_auth, config: { key: \"" reference                                       \
         "\" } }\nservices: { one: { endpoints: [{ url: \"http://a\" }] } }\nroutes:\n"                      \
         "  - { name: a, match: { paths: [{ prefix: / }] }, plugins: [p], service: one }\n"

static void white_space_behind_a_value_is_cut(void **state)
{
    static const char *const ends[] = { "", "\n", "\r\n", "\n\n", "\r\n\r\n", " ", "\t", " \t \n", "\f\v\r" };
    static const char *const values[] = { "s3cr3t", "two words", "-----BEGIN\r\n\tmiddle\n-----END",
                                          "schl\xc3\xbcssel" };
    char text[128], want[128];

    (void)state;
    for (size_t e = 0; e < sizeof ends / sizeof *ends; e++) {
        for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
            mg_text json = { 0 };
            snprintf(text, sizeof text, "%s%s", values[v], ends[e]);
            mg_text_add_json(&json, mg_str_of(values[v]));
            snprintf(want, sizeof want, "{\"key\":%.*s}", (int)json.n, json.p);
            world w = { .files = { { "etc/m.yaml", ONE_KEY("${file:key}") }, { "etc/key", text } } };
            loaded l = load(&w, NULL, 0);
            check_report(&l.report, "");
            check_json(l.config->plugins[0]->config, want);
            loaded_free(&l);
            world from_env = { .files = { { "etc/m.yaml", ONE_KEY("${env:KEY}") } },
                               .vars = { { "KEY", text } } };
            l = load(&from_env, NULL, 0);
            check_report(&l.report, "");
            check_json(l.config->plugins[0]->config, want);
            loaded_free(&l);
            mg_text_fini(&json);
        }
    }
}

static void a_value_that_cannot_be_meant_is_a_mistake_with_a_place(void **state)
{
    static const struct {
        const char *text, *message, *hint;
    } cases[] = {
        { "", "etc/key is empty", "write the value into it" },
        { "\n", "etc/key has nothing but white space", "write the value into it" },
        { " \t\r\n", "etc/key has nothing but white space", "write the value into it" },
        { " hunter2\n", "etc/key begins with white space",
          "take the white space away; only that at the end is cut" },
        { "\nhunter2", "etc/key begins with white space",
          "take the white space away; only that at the end is cut" },
        { "\xef\xbb\xbfhunter2\r\n", "etc/key begins with a byte order mark",
          "write it as UTF-8 without that mark" },
        { "\xef\xbb\xbf", "etc/key begins with a byte order mark", "write it as UTF-8 without that mark" },
        { "\xff\xfeh", "etc/key is not text in UTF-8", "write it as text in UTF-8" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        world w = { .files = { { "etc/m.yaml", ONE_KEY("${file:key}") }, { "etc/key", cases[i].text } } };
        loaded l = load(&w, NULL, 0);
        mg_text out = { 0 };
        assert_int_equal(l.report.errors, 1);
        assert_string_equal(l.report.findings[0].message, cases[i].message);
        assert_string_equal(l.report.findings[0].hint, cases[i].hint);
        assert_int_equal(l.report.findings[0].line, 4);
        mg_report_print(&l.report, &out);
        assert_null(strstr(out.p, "hunter2"));
        mg_text_fini(&out);
        loaded_free(&l);
    }
}

static void a_variable_that_is_blank_counts_as_empty(void **state)
{
    world w = { .files = { { "etc/m.yaml", HEAD "workers: ${env:BLANK:-7}\n" } },
                .vars = { { "BLANK", " \r\n" } } };
    loaded l = load(&w, NULL, 0);

    (void)state;
    check_report(&l.report, "");
    assert_int_equal(l.config->workers, 7);
    loaded_free(&l);
}

static void a_reference_in_a_key_is_refused(void **state)
{
    world w = { .files = { { "etc/m.yaml",
                             HEAD "plugins: { p: { use: key_auth, config: { keys: { \"${file:key}\": "
                                  "anna } } } }\n" } } };
    loaded l = load(&w, NULL, 0);

    (void)state;
    assert_int_equal(l.report.errors, 1);
    assert_string_equal(l.report.findings[0].message, "a key of a map holds no reference");
    assert_string_equal(l.report.findings[0].pointer, "plugins.p.config.keys.${file:key}");
    loaded_free(&l);
}

static void write_file(const char *dir, const char *name, const char *bytes, size_t n)
{
    char path[TMPDIR_PATH_BYTES + 16];

    snprintf(path, sizeof path, "%s/%s", dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    fclose(file);
}

static void what_only_real_files_can_hold_is_told_too(void **state)
{
    static const struct {
        const char *message, *hint;
    } wants[] = { { "key holds a NUL byte, so it is not text", "write it as text in UTF-8" },
                  { "key is larger than 65536 bytes", "a file that a value stands in has at most 64 KiB" },
                  { "key: No such file or directory",
                    "make the file, or correct its path: it starts from the folder of this document" } };
    static char large[(64 << 10) + 1];
    char dir[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES + 16];

    (void)state;
    memset(large, 'x', sizeof large);
    tmpdir_make(dir);
    snprintf(path, sizeof path, "%s/m.yaml", dir);
    write_file(dir, "m.yaml", ONE_KEY("${file:key}"), strlen(ONE_KEY("${file:key}")));
    for (size_t i = 0; i < sizeof wants / sizeof *wants; i++) {
        mg_report report = MG_REPORT_INIT;
        if (i == 2)
            write_file(dir, "m.yaml", ONE_KEY("${file:no/key}"), strlen(ONE_KEY("${file:no/key}")));
        else if (i == 1)
            write_file(dir, "key", large, sizeof large);
        else
            write_file(dir, "key", "a\0b", 3);
        assert_null(mg_config_load_file(path, NULL, &report));
        assert_int_equal(report.errors, 1);
        assert_non_null(strstr(report.findings[0].message, wants[i].message));
        assert_string_equal(report.findings[0].hint, wants[i].hint);
        mg_report_fini(&report);
    }
    write_file(dir, "m.yaml", ONE_KEY("${file:key}"), strlen(ONE_KEY("${file:key}")));
    write_file(dir, "key", large, sizeof large - 1);
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_load_file(path, NULL, &report);
    check_report(&report, "");
    mg_config_free(config);
    mg_report_fini(&report);
    tmpdir_remove(dir);
}

static void real_files_are_read_and_folders_are_not(void **state)
{
    char dir[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES + 16], want[3 * TMPDIR_PATH_BYTES];
    mg_report report = MG_REPORT_INIT;
    mg_config *config;
    FILE *file;

    (void)state;
    tmpdir_make(dir);
    snprintf(path, sizeof path, "%s/m.yaml", dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs(HEAD "include: [\"*.inc\"]\n", file);
    fclose(file);
    snprintf(path, sizeof path, "%s/x.inc", dir);
    file = fopen(path, "w");
    assert_non_null(file);
    fputs("workers: 9\n", file);
    fclose(file);
    snprintf(path, sizeof path, "%s/m.yaml", dir);
    config = mg_config_load_file(path, NULL, &report);
    check_report(&report, "");
    assert_int_equal(config->workers, 9);
    mg_config_free(config);
    assert_null(mg_config_load_file(dir, NULL, &report));
    snprintf(want, sizeof want, "error[unreadable-file] cannot read %s: it is a directory\n", dir);
    check_report(&report, want);
    mg_report_fini(&report);
    tmpdir_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(included_files_add_to_maps_and_lists),
        cmocka_unit_test(an_included_file_may_not_redefine),
        cmocka_unit_test(a_file_that_cannot_be_read_says_why),
        cmocka_unit_test(set_overrides_and_adds),
        cmocka_unit_test(a_wrong_set_is_told_as_such),
        cmocka_unit_test(variables_and_files_are_substituted_after_parsing),
        cmocka_unit_test(what_cannot_be_substituted_is_told_once),
        cmocka_unit_test(white_space_behind_a_value_is_cut),
        cmocka_unit_test(a_value_that_cannot_be_meant_is_a_mistake_with_a_place),
        cmocka_unit_test(a_variable_that_is_blank_counts_as_empty),
        cmocka_unit_test(a_reference_in_a_key_is_refused),
        cmocka_unit_test(what_only_real_files_can_hold_is_told_too),
        cmocka_unit_test(real_files_are_read_and_folders_are_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
