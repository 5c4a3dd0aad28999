/* Trees against schemas: what is told, and what is filled in. */
#include "support/document.h"

#include "base/mem.h"

typedef struct checked {
    document *schema_doc, *doc;
    mg_schema *schema;
    bool valid;
} checked;

static checked check_text(const char *schema, const char *yaml)
{
    checked c = { .schema_doc = document_json(schema), .doc = document_yaml(yaml) };

    if (c.schema_doc->root)
        c.schema = mg_schema_new(c.schema_doc->root, &c.schema_doc->report);
    check_report(&c.schema_doc->report, "");
    assert_non_null(c.schema);
    assert_non_null(c.doc->root);
    c.valid = mg_schema_validate(c.schema, c.doc->root, &c.doc->arena, &c.doc->report);
    assert_true(c.valid == (c.doc->report.errors == 0));
    return c;
}

static void checked_free(checked *c)
{
    mg_schema_free(c->schema);
    document_free(c->schema_doc);
    document_free(c->doc);
}

static void told(const char *schema, const char *yaml, const char *report)
{
    checked c = check_text(schema, yaml);

    check_report(&c.doc->report, report);
    checked_free(&c);
}

static void filled(const char *schema, const char *yaml, const char *json)
{
    checked c = check_text(schema, yaml);

    check_report(&c.doc->report, "");
    check_json(c.doc->root, json);
    checked_free(&c);
}

static void refused_schema(const char *schema, const char *report)
{
    document *doc = document_json(schema);

    assert_non_null(doc->root);
    assert_null(mg_schema_new(doc->root, &doc->report));
    check_report(&doc->report, report);
    document_free(doc);
}

#define SHARE                                                                                                \
    "{\"properties\":{\"error_rate\":{\"type\":\"string\",\"format\":\"share\",\"x-range\":[\"1%\",\"100%"   \
    "\"],"                                                                                                   \
    "\"default\":\"50%\"}}}"

static void a_value_out_of_range_shows_what_to_write(void **state)
{
    (void)state;
    told(SHARE, "{ window: 10s, error_rate: 150% }",
         "a.yaml:1:28: error[out-of-range] error_rate: 150% is above the maximum 100%\n"
         "    1 | { window: 10s, error_rate: 150% }\n"
         "      |                            ^^^^\n"
         "      = write a share from 1% to 100%, or leave the key out for the default 50%\n");
    told("{\"type\":\"integer\",\"minimum\":1}", "0",
         "a.yaml:1:1: error[out-of-range] 0 is below the minimum 1\n"
         "    1 | 0\n"
         "      | ^\n"
         "      = write a number, at least 1\n");
}

static void a_bare_number_shows_its_two_readings(void **state)
{
    (void)state;
    told("{\"properties\":{\"t\":{\"type\":\"string\",\"format\":\"duration\"}}}", "t: 30",
         "a.yaml:1:4: error[missing-unit] t: 30 has no unit; a duration is due here\n"
         "    1 | t: 30\n"
         "      |    ^^\n"
         "      = write 30s or 30ms\n");
    told("{\"type\":\"string\",\"format\":\"size\"}", "'64'",
         "a.yaml:1:1: error[missing-unit] 64 has no unit; a size is due here\n"
         "    1 | '64'\n"
         "      | ^^^^\n"
         "      = write 64KiB or 64MiB\n");
    told("{\"type\":\"string\",\"format\":\"rate\"}", "100",
         "a.yaml:1:1: error[missing-unit] 100 has no unit; a rate is "
         "due here\n"
         "    1 | 100\n"
         "      | ^^^\n"
         "      = write 100/s or 100/m\n");
    told("{\"type\":\"string\",\"format\":\"share\"}", "0.5",
         "a.yaml:1:1: error[missing-unit] 0.5 has no unit; a share "
         "is due here\n"
         "    1 | 0.5\n"
         "      | ^^^\n"
         "      = write 50% or 0.5%\n");
}

static void an_unknown_key_shows_the_nearest_and_one_of_later_says_so(void **state)
{
    static const char schema[] =
        "{\"properties\":{\"breaker\":true,\"pool\":true},\"additionalProperties\":false,"
        "\"x-later\":{\"retry\":\"retries arrive next\"}}";

    (void)state;
    told(schema, "brekaer: 1\nretry: 2\nzzz: 3\n",
         "a.yaml:1:1: error[unknown-key] brekaer: unknown key \"brekaer\"\n"
         "    1 | brekaer: 1\n"
         "      | ^^^^^^^\n"
         "      = did you mean \"breaker\"?\n"
         "a.yaml:2:1: error[unknown-key] retry: unknown key \"retry\"\n"
         "    2 | retry: 2\n"
         "      | ^^^^^\n"
         "      = retries arrive next\n"
         "a.yaml:3:1: error[unknown-key] zzz: unknown key \"zzz\"\n"
         "    3 | zzz: 3\n"
         "      | ^^^\n"
         "      = known here: breaker, pool\n");
}

static void wrong_types_and_words_say_what_is_due(void **state)
{
    (void)state;
    told("{\"type\":\"array\"}", "a: 1",
         "a.yaml:1:1: error[wrong-type] must be a list, this is a map\n"
         "    1 | a: 1\n"
         "      | ^\n");
    told("{\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"integer\"}}}", "{a: 12, b: ~}",
         "a.yaml:1:5: error[wrong-type] a: must be a text, this is a whole number\n"
         "    1 | {a: 12, b: ~}\n"
         "      |     ^^\n"
         "      = quote it: \"12\"\n"
         "a.yaml:1:12: error[wrong-type] b: must be a whole number, this is empty\n"
         "    1 | {a: 12, b: ~}\n"
         "      |            ^\n"
         "      = write a value, or leave the key out\n");
    told("{\"enum\":[\"closed\",\"open\"],\"x-later\":{\"skip\":\"skip arrives next\"}}", "opne",
         "a.yaml:1:1: error[not-allowed] \"opne\" is none of closed, open\n"
         "    1 | opne\n"
         "      | ^^^^\n"
         "      = did you mean \"open\"?\n");
    told("{\"type\":\"number\"}", ".nan",
         "a.yaml:1:1: error[wrong-type] must be a finite number\n"
         "    1 | .nan\n"
         "      | ^^^^\n");
    told("{\"type\":\"string\",\"format\":\"share\"}", "-.inf",
         "a.yaml:1:1: error[wrong-type] must be a finite number\n"
         "    1 | -.inf\n"
         "      | ^^^^^\n"
         "      = write a number and %: 5%\n");
    told("{\"required\":[\"url\"],\"properties\":{\"url\":{\"description\":\"http://HOST:PORT\"}}}", "{}",
         "a.yaml:1:1: error[missing-key] the key \"url\" is missing\n"
         "    1 | {}\n"
         "      | ^\n"
         "      = url: http://HOST:PORT\n");
}

static void a_branch_is_told_by_the_type_that_fits(void **state)
{
    static const char schema[] =
        "{\"anyOf\":[{\"type\":\"string\"},{\"type\":\"object\",\"properties\":{\"limit\":"
        "{\"type\":\"string\"}},\"additionalProperties\":false}]}";

    (void)state;
    told(schema, "{limit: x, b: 1}",
         "a.yaml:1:12: error[unknown-key] b: unknown key \"b\"\n"
         "    1 | {limit: x, b: 1}\n"
         "      |            ^\n"
         "      = known here: limit\n");
    told(schema, "7",
         "a.yaml:1:1: error[not-allowed] has none of the 2 forms that are possible here\n"
         "    1 | 7\n"
         "      | ^\n");
}

static void defaults_are_filled_in_at_every_depth(void **state)
{
    (void)state;
    filled("{\"properties\":{\"pool\":{\"default\":{},\"properties\":{\"queue\":{\"default\":7}}},\"b\":{\"$"
           "ref\":"
           "\"#/$defs/b\"}},\"$defs\":{\"b\":{\"default\":[1]}}}",
           "{}", "{\"pool\":{\"queue\":7},\"b\":[1]}");
    filled("{\"additionalProperties\":{\"properties\":{\"w\":{\"default\":1}}}}", "{x: {}, y: {w: 2}}",
           "{\"x\":{\"w\":1},\"y\":{\"w\":2}}");
    filled("{\"items\":{\"properties\":{\"w\":{\"default\":1}}}}", "[{}, {w: 2}, 3]",
           "[{\"w\":1},{\"w\":2},3]");
    filled("{\"oneOf\":[{\"required\":[\"a\"],\"properties\":{\"d\":{\"default\":1}}},{\"required\":[\"b\"],"
           "\"properties\":{\"d\":{\"default\":2}}}]}",
           "{b: 0}", "{\"b\":0,\"d\":2}");
    filled("{\"type\":\"integer\"}", "4.0", "4");
}

static void a_default_makes_nothing_valid_or_invalid(void **state)
{
    checked c = check_text("{\"required\":[\"a\"],\"properties\":{\"a\":{\"default\":1}}}", "{}");

    (void)state;
    assert_false(c.valid);
    checked_free(&c);
    filled("{\"allOf\":[{\"properties\":{\"a\":{\"default\":1}}},{\"maxProperties\":0}]}", "{}", "{\"a\":1}");
}

static void text_from_outside_may_stand_for_a_number_and_is_not_shown(void **state)
{
    document *schema_doc = document_json("{\"items\":{\"type\":\"integer\",\"maximum\":9}}");
    document *doc = document_yaml("['7', 'secret', '99']");
    mg_schema *schema = mg_schema_new(schema_doc->root, &schema_doc->report);

    (void)state;
    MG_NODE_EACH(doc->root, it)
    {
        it->substituted = true;
    }
    assert_false(mg_schema_validate(schema, doc->root, &doc->arena, &doc->report));
    assert_int_equal(doc->root->first->kind, MG_NODE_INT);
    assert_int_equal(doc->report.errors, 2);
    assert_string_equal(doc->report.findings[0].message, "must be a whole number, this is a text");
    assert_string_equal(doc->report.findings[1].message, "*** is above the maximum 9");
    mg_schema_free(schema);
    document_free(schema_doc);
    document_free(doc);
}

static void a_schema_that_would_check_nothing_is_refused(void **state)
{
    (void)state;
    refused_schema("{\"minimun\":1}",
                   "a.json:1:2: error[schema] minimun: the keyword \"minimun\" is not understood, so it "
                   "would check nothing\n"
                   "    1 | {\"minimun\":1}\n"
                   "      |  ^^^^^^^^^\n"
                   "      = did you mean \"minimum\"?\n");
    refused_schema("{\"type\":\"text\"}",
                   "a.json:1:9: error[schema] type: type must be null, boolean, integer, number, "
                   "string, array or object\n"
                   "    1 | {\"type\":\"text\"}\n"
                   "      |         ^^^^^^\n");
    refused_schema("{\"$ref\":\"#/$defs/x\"}",
                   "a.json:1:9: error[schema] $ref: there is no \"#/$defs/x\" in this schema; "
                   "write #/$defs/NAME\n"
                   "    1 | {\"$ref\":\"#/$defs/x\"}\n"
                   "      |         ^^^^^^^^^^^\n");
    refused_schema("{\"type\":\"integer\",\"default\":\"x\"}",
                   "a.json:1:29: error[schema] default: the default is not valid itself: must be a whole "
                   "number, this is a "
                   "text\n"
                   "    1 | {\"type\":\"integer\",\"default\":\"x\"}\n"
                   "      |                             ^^^\n");
}

static void other_broken_schemas_are_refused(void **state)
{
    static const char *const cases[] = {
        "7",
        "{\"pattern\":\"(\"}",
        "{\"patternProperties\":{\"(\":true}}",
        "{\"format\":\"email\"}",
        "{\"x-range\":[\"1s\",\"2s\"]}",
        "{\"format\":\"duration\",\"x-range\":[\"1\",\"2s\"]}",
        "{\"minItems\":-1}",
        "{\"minItems\":1.5}",
        "{\"multipleOf\":0}",
        "{\"required\":[1]}",
        "{\"anyOf\":[]}",
        "{\"items\":{\"$defs\":{}}}",
        "{\"$ref\":\"#/$defs/a\",\"$defs\":{\"a\":{\"allOf\":[{\"$ref\":\"#/$defs/b\"}]},\"b\":{\"$ref\":\"#/"
        "$defs/a\"}}}",
        "{\"properties\":{\"a\":{\"$ref\":\"#\",\"default\":{}}}}",
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        document *doc = document_json(cases[i]);
        mg_schema *schema = mg_schema_new(doc->root, &doc->report);
        if (schema)
            print_error("taken: %s\n", cases[i]);
        assert_null(schema);
        assert_true(doc->report.errors > 0);
        document_free(doc);
    }
}

static void formats_are_held(void **state)
{
    static const struct {
        const char *format, *good, *bad;
    } cases[] = {
        { "duration", "[10s, 1.5h, 0s]", "[10x, -1s, s]" },
        { "size", "[64KiB, 1B]", "[64KB, 1.0001KiB]" },
        { "rate", "[100/s, 1/d]", "[1.5/s, 100/week]" },
        { "share", "[5%, 0.25%]", "[5, 5 %, 0.001%]" },
        { "bind", "[':8080', '127.0.0.1:80', '[::1]:80', 'unix:run/x']",
          "['8080', ':70000', 'unix:', ':', 'a b:1']" },
        { "url", "['http://a', 'https://a:1/b?c']", "[a, '//a', 'http:/a', 'http:///a', 'http://a b']" },
        { "regex", "['a+']", "['(']" },
        { "host", "[a.b, '*.a', '*', '[::1]']", "['a b', '', '*a', 'a/b', '.a']" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(cases); i++) {
        mg_text schema = { 0 };
        checked good, bad;
        mg_text_addf(&schema, "{\"items\":{\"type\":\"string\",\"format\":\"%s\"}}", cases[i].format);
        good = check_text(schema.p, cases[i].good);
        check_report(&good.doc->report, "");
        bad = check_text(schema.p, cases[i].bad);
        if (bad.doc->report.errors != bad.doc->root->count)
            check_report(&bad.doc->report, "as many mistakes as items");
        checked_free(&good);
        checked_free(&bad);
        mg_text_fini(&schema);
    }
}

static void no_schema_keeps_its_reader_busy(void **state)
{
    mg_text schema = { 0 };
    checked c;

    (void)state;
    mg_text_add_c(&schema, "{\"$ref\":\"#/$defs/d0\",\"$defs\":{");
    for (int i = 0; i < 40; i++)
        mg_text_addf(&schema,
                     "\"d%d\":{\"not\":{\"anyOf\":[{\"$ref\":\"#/$defs/d%d\"},{\"$ref\":\"#/$defs/d%d\"}]}},",
                     i, i + 1, i + 1);
    mg_text_add_c(&schema, "\"d40\":false}}");
    c.schema_doc = document_of("a.json", mg_text_str(&schema));
    c.schema = mg_schema_new(c.schema_doc->root, &c.schema_doc->report);
    if (c.schema) {
        c.doc = document_yaml("x");
        assert_false(mg_schema_validate(c.schema, c.doc->root, &c.doc->arena, &c.doc->report));
        document_free(c.doc);
    }
    mg_schema_free(c.schema);
    document_free(c.schema_doc);
    mg_text_fini(&schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_value_out_of_range_shows_what_to_write),
        cmocka_unit_test(a_bare_number_shows_its_two_readings),
        cmocka_unit_test(an_unknown_key_shows_the_nearest_and_one_of_later_says_so),
        cmocka_unit_test(wrong_types_and_words_say_what_is_due),
        cmocka_unit_test(a_branch_is_told_by_the_type_that_fits),
        cmocka_unit_test(defaults_are_filled_in_at_every_depth),
        cmocka_unit_test(a_default_makes_nothing_valid_or_invalid),
        cmocka_unit_test(text_from_outside_may_stand_for_a_number_and_is_not_shown),
        cmocka_unit_test(a_schema_that_would_check_nothing_is_refused),
        cmocka_unit_test(other_broken_schemas_are_refused),
        cmocka_unit_test(formats_are_held),
        cmocka_unit_test(no_schema_keeps_its_reader_busy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
