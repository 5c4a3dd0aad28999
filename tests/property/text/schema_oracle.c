/* Our part of JSON Schema beside python3-jsonschema's whole: random schemas over random values, one verdict.
 * Skipped, with a message, where that package is not installed. */
#include "support/document.h"
#include "support/tmpdir.h"

#include "base/rand.h"

#include <sys/wait.h>

enum { CASES = 4000, DEPTH = 3, SKIPPED = 77, KEYWORDS_MAX = 4 };

static mg_rand rand_state;

static unsigned below(unsigned n)
{
    return (unsigned)mg_rand_below(&rand_state, n);
}

static const char *pick(const char *const *words, unsigned count)
{
    return words[below(count)];
}

static void add_name(mg_text *out)
{
    static const char *const names[] = { "a", "b", "ab", "c1" };
    mg_text_addf(out, "\"%s\"", pick(names, 4));
}

static void add_scalar(mg_text *out)
{
    static const char *const scalars[] = { "null",   "true",    "false",        "0",   "1",    "2",
                                           "1.0",    "1.5",     "-1",           "3",   "\"\"", "\"a\"",
                                           "\"ab\"", "\"abc\"", "\"\xc3\xa4\"", "1e2", "100" };
    mg_text_add_c(out, pick(scalars, sizeof scalars / sizeof scalars[0]));
}

static void add_value(mg_text *out, unsigned depth);

/* Each name at most once: a duplicate key would be refused before any schema sees it. */
static void add_map(mg_text *out, unsigned depth, void (*add)(mg_text *out, unsigned depth))
{
    static const char *const names[] = { "a", "b", "ab", "c1" };
    bool first = true;

    mg_text_add_char(out, '{');
    for (unsigned i = 0; i < 4; i++) {
        if (below(2))
            continue;
        mg_text_addf(out, "%s\"%s\":", first ? "" : ",", names[i]);
        add(out, depth);
        first = false;
    }
    mg_text_add_char(out, '}');
}

static void add_list(mg_text *out, unsigned depth, unsigned least, void (*add)(mg_text *out, unsigned depth))
{
    const unsigned count = least + below(3);

    mg_text_add_char(out, '[');
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            mg_text_add_char(out, ',');
        add(out, depth);
    }
    mg_text_add_char(out, ']');
}

static void add_value(mg_text *out, unsigned depth)
{
    const unsigned kind = depth == 0 ? 0 : below(4);

    if (kind < 2)
        add_scalar(out);
    else if (kind == 2)
        add_list(out, depth - 1, 0, add_value);
    else
        add_map(out, depth - 1, add_value);
}

static void add_schema(mg_text *out, unsigned depth);

static void add_type(mg_text *out)
{
    static const char *const types[] = {
        "null", "boolean", "integer", "number", "string", "array", "object"
    };

    if (below(3))
        mg_text_addf(out, "\"type\":\"%s\"", pick(types, 7));
    else
        mg_text_addf(out, "\"type\":[\"%s\",\"%s\"]", types[below(3)], types[3 + below(4)]);
}

static void add_sub_keyword(mg_text *out, unsigned keyword, unsigned depth)
{
    static const char *const singles[] = { "additionalProperties", "items", "not" };
    static const char *const lists[] = { "allOf", "anyOf", "oneOf", "prefixItems" };

    switch (keyword) {
    case 0:
        mg_text_add_c(out, "\"properties\":");
        add_map(out, depth, add_schema);
        return;
    case 1:
        mg_text_add_c(out, "\"patternProperties\":{\"^a\":");
        add_schema(out, depth);
        mg_text_add_char(out, '}');
        return;
    case 2: mg_text_add_c(out, "\"propertyNames\":{\"maxLength\":1}"); return;
    case 3: mg_text_add_c(out, "\"$ref\":\"#/$defs/x\""); return;
    case 4:
    case 5:
    case 6:
        mg_text_addf(out, "\"%s\":", singles[keyword - 4]);
        add_schema(out, depth);
        return;
    default: mg_text_addf(out, "\"%s\":", lists[keyword - 7]); add_list(out, depth, 1, add_schema);
    }
}

static void add_leaf_keyword(mg_text *out, unsigned keyword)
{
    static const char *const counts[] = { "minLength", "maxLength",     "minItems",
                                          "maxItems",  "minProperties", "maxProperties" };
    static const char *const numbers[] = { "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum" };
    static const char *const patterns[] = { "^a", "b", "^.$", "^$" };
    static const char *const steps[] = { "1", "2", "0.5" };

    if (keyword < 6) {
        mg_text_addf(out, "\"%s\":%u", counts[keyword], below(3));
    } else if (keyword < 10) {
        mg_text_addf(out, "\"%s\":%s", numbers[keyword - 6], below(2) ? "1" : "1.5");
    } else if (keyword == 10) {
        mg_text_addf(out, "\"pattern\":\"%s\"", pick(patterns, 4));
    } else if (keyword == 11) {
        mg_text_addf(out, "\"multipleOf\":%s", pick(steps, 3));
    } else if (keyword == 12) {
        mg_text_add_c(out, "\"uniqueItems\":true");
    } else if (keyword == 13) {
        mg_text_add_c(out, "\"required\":[");
        add_name(out);
        mg_text_add_char(out, ']');
    } else if (keyword == 14) {
        mg_text_add_c(out, "\"const\":");
        add_value(out, 1);
    } else {
        mg_text_add_c(out, "\"enum\":[");
        add_value(out, 1);
        mg_text_add_char(out, ',');
        add_value(out, 1);
        mg_text_add_char(out, ']');
    }
}

/* Up to four different keywords; at the root, what they may refer to. */
static void add_schema_in(mg_text *out, unsigned depth, bool root)
{
    const unsigned count = below(KEYWORDS_MAX);
    uint32_t seen = 0;

    mg_text_add_char(out, '{');
    if (root) {
        mg_text_add_c(out, "\"$defs\":{\"x\":");
        mg_text_add_c(out, below(2) ? "{\"minLength\":1,\"minimum\":1}"
                                    : "{\"items\":{\"$ref\":\"#/$defs/x\"},\"maxItems\":2}");
        mg_text_add_char(out, '}');
    }
    for (unsigned i = 0; i < count; i++) {
        const unsigned keyword = below(depth > 0 ? 28 : 17);
        if (seen & 1u << keyword)
            continue;
        if (seen || root)
            mg_text_add_char(out, ',');
        seen |= 1u << keyword;
        if (keyword == 0)
            add_type(out);
        else if (keyword < 17)
            add_leaf_keyword(out, keyword - 1);
        else
            add_sub_keyword(out, keyword - 17, depth - 1);
    }
    mg_text_add_char(out, '}');
}

static void add_schema(mg_text *out, unsigned depth)
{
    if (below(12) == 0)
        mg_text_add_c(out, below(2) ? "true" : "false");
    else
        add_schema_in(out, depth, false);
}

static bool our_verdict(const char *schema_text, const char *value_text)
{
    document *schema_doc = document_json(schema_text), *doc = document_json(value_text);
    mg_schema *schema = mg_schema_new(schema_doc->root, &schema_doc->report);
    bool valid;

    check_report(&schema_doc->report, "");
    valid = mg_schema_validate(schema, doc->root, &doc->arena, &doc->report);
    mg_schema_free(schema);
    document_free(schema_doc);
    document_free(doc);
    return valid;
}

static void make_case(mg_text *schema, mg_text *value)
{
    mg_text_clear(schema);
    mg_text_clear(value);
    add_schema_in(schema, DEPTH, true);
    add_value(value, DEPTH);
}

static void write_cases(const char *path, uint64_t seed)
{
    mg_text schema = { 0 }, value = { 0 };
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    mg_rand_init(&rand_state, seed);
    for (int i = 0; i < CASES; i++) {
        make_case(&schema, &value);
        fprintf(file, "{\"schema\":%s,\"value\":%s}\n", schema.p, value.p);
    }
    fclose(file);
    mg_text_fini(&schema);
    mg_text_fini(&value);
}

static void compare(FILE *verdicts, uint64_t seed)
{
    mg_text schema = { 0 }, value = { 0 };
    int differ = 0, valid = 0;
    char line[16];

    mg_rand_init(&rand_state, seed);
    for (int i = 0; i < CASES; i++) {
        make_case(&schema, &value);
        assert_non_null(fgets(line, sizeof line, verdicts));
        valid += line[0] == '1';
        if (our_verdict(schema.p, value.p) == (line[0] == '1'))
            continue;
        print_error("case %d: jsonschema says %c\n  schema %s\n  value %s\n", i, line[0], schema.p, value.p);
        differ++;
    }
    assert_int_equal(differ, 0);
    assert_true(valid > CASES / 10 && valid < CASES * 9 / 10); /* else the cases would show little */
    mg_text_fini(&schema);
    mg_text_fini(&value);
}

/* The interpreter's exit status once all of its output is in `verdicts`. */
static int judge(const char *cases, const char *verdicts)
{
    char command[1200];

    snprintf(command, sizeof command, "python3 tests/property/text/schema_oracle.py '%s' > '%s'", cases,
             verdicts);
    return system(command);
}

static void our_verdict_is_that_of_jsonschema(void **state)
{
    const uint64_t seed = check_seed(20261121);
    char dir[TMPDIR_PATH_BYTES], cases[TMPDIR_PATH_BYTES + 16], verdicts[TMPDIR_PATH_BYTES + 16];
    int status;
    FILE *file;

    (void)state;
    tmpdir_make(dir);
    snprintf(cases, sizeof cases, "%s/cases", dir);
    snprintf(verdicts, sizeof verdicts, "%s/verdicts", dir);
    write_cases(cases, seed);
    status = judge(cases, verdicts);
    if (status == 0) {
        file = fopen(verdicts, "r");
        assert_non_null(file);
        compare(file, seed);
        fclose(file);
    }
    tmpdir_remove(dir);
    if (status == 0)
        return;
    print_message("skipped: python3-jsonschema is not there to compare with\n");
    assert_true(WIFEXITED(status) && (WEXITSTATUS(status) == SKIPPED || WEXITSTATUS(status) == 127));
    skip();
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(our_verdict_is_that_of_jsonschema) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
