/* YAML to trees: what words mean, where they stand, what is refused. */
#include "support/document.h"

#include "base/mem.h"

static void reads_as(const char *yaml, const char *json)
{
    document *doc = document_yaml(yaml);

    if (!doc->root)
        print_error("refused: %s\n", yaml);
    check_json(doc->root, json);
    document_free(doc);
}

static void refused(const char *yaml, const char *report)
{
    document *doc = document_yaml(yaml);

    assert_null(doc->root);
    check_report(&doc->report, report);
    document_free(doc);
}

static void words_mean_what_yaml_1_2_says(void **state)
{
    (void)state;
    reads_as("[no, on, yes, off, y, N]", "[\"no\",\"on\",\"yes\",\"off\",\"y\",\"N\"]");
    reads_as("[true, True, TRUE, false, FALSE, tRue]", "[true,true,true,false,false,\"tRue\"]");
    reads_as("[null, ~, Null, '', '~']", "[null,null,null,\"\",\"~\"]");
    reads_as("[0, -7, +7, 0x1F, 0o17, 017, 1_000]", "[0,-7,7,31,15,17,\"1_000\"]");
    reads_as("[1.5, -.5, 1e3, 1., 1.0.0, 12:30, 2026-11-21]",
             "[1.5,-0.5,1000.0,1.0,\"1.0.0\",\"12:30\",\"2026-11-21\"]");
    reads_as("['1', \"true\", 5%, 10s, 100/s]", "[\"1\",\"true\",\"5%\",\"10s\",\"100/s\"]");
    reads_as("[0x, 0o8, 0x0x1, +, -, ., e5]", "[\"0x\",\"0o8\",\"0x0x1\",\"+\",\"-\",\".\",\"e5\"]");
    reads_as("[9223372036854775807, -9223372036854775808]", "[9223372036854775807,-9223372036854775808]");
    reads_as("[.inf, .nan, 1e999]", "[null,null,null]"); /* JSON has none */
}

static void documents_of_any_shape_are_read(void **state)
{
    (void)state;
    reads_as("", "null");
    reads_as("# nothing\n", "null");
    reads_as("a: 1\nb:\n  - x\n  - {c: []}\n", "{\"a\":1,\"b\":[\"x\",{\"c\":[]}]}");
    reads_as("a: |\n  one\n  two\nb: >-\n  x\n  y\n", "{\"a\":\"one\\ntwo\\n\",\"b\":\"x y\"}");
    reads_as("1: x\ntrue: y\n~: z\n", "{\"1\":\"x\",\"true\":\"y\",\"~\":\"z\"}");
    reads_as("{\"a\": [1, 2.5, \"x\"], \"b\": {\"c\": null}}", "{\"a\":[1,2.5,\"x\"],\"b\":{\"c\":null}}");
    reads_as("<<: x\n", "{\"<<\":\"x\"}");
    reads_as("\xef\xbb\xbf"
             "a: 1\nb: 2\n",
             "{\"a\":1,\"b\":2}");
}

static void every_value_knows_its_place(void **state)
{
    document *doc = document_yaml("a: 1\nb:\n  \xc3\xa4: [x, 150%]\n");
    const mg_node *list, *share;
    mg_text path = { 0 };

    (void)state;
    assert_non_null(doc->root);
    list = mg_node_get(mg_node_get(doc->root, "b"), "\xc3\xa4");
    share = list->last;
    assert_int_equal(list->key->line, 3);
    assert_int_equal(list->key->column, 3);
    assert_int_equal(list->key->width, 1);
    assert_int_equal(share->line, 3);
    assert_int_equal(share->column, 10); /* characters, not bytes */
    assert_int_equal(share->width, 4);
    mg_node_path(share, &path);
    check_str(mg_text_str(&path), "b.\xc3\xa4[1]");
    check_str(mg_source_line(share->source, 3), "  \xc3\xa4: [x, 150%]");
    assert_null(mg_source_line(share->source, 5).p);
    mg_text_fini(&path);
    document_free(doc);
}

static void a_duplicate_key_is_refused_and_reading_goes_on(void **state)
{
    (void)state;
    refused("a: 1\nb: {x: 1, x: 2}\na: {c: 3}\n",
            "a.yaml:2:11: error[duplicate-key] b.x: \"x\" stands here twice\n"
            "    2 | b: {x: 1, x: 2}\n"
            "      |           ^\n"
            "      = the first is at a.yaml:2; keep one of them\n"
            "a.yaml:3:1: error[duplicate-key] a: \"a\" stands here twice\n"
            "    3 | a: {c: 3}\n"
            "      | ^\n"
            "      = the first is at a.yaml:1; keep one of them\n");
}

static void a_duplicate_is_found_in_a_large_map_too(void **state)
{
    mg_text text = { 0 };
    document *doc;

    (void)state;
    for (int i = 0; i < 100; i++)
        mg_text_addf(&text, "k%d: %d\n", i, i);
    mg_text_add_c(&text, "k3: again\nk99: again\n");
    doc = document_of("a.yaml", mg_text_str(&text));
    assert_null(doc->root);
    assert_int_equal(doc->report.errors, 2);
    assert_int_equal(doc->report.findings[0].line, 101);
    document_free(doc);
    mg_text_fini(&text);
}

static void an_alias_is_a_copy_with_the_places_of_its_anchor(void **state)
{
    document *doc = document_yaml("a: &x {n: [1]}\nb: *x\nc: *x\n");

    (void)state;
    check_json(doc->root, "{\"a\":{\"n\":[1]},\"b\":{\"n\":[1]},\"c\":{\"n\":[1]}}");
    assert_ptr_not_equal(mg_node_get(doc->root, "b"), mg_node_get(doc->root, "c"));
    assert_int_equal(mg_node_get(mg_node_get(doc->root, "c"), "n")->line, 1);
    document_free(doc);
}

static void aliases_cannot_grow_without_end(void **state)
{
    mg_text text = { 0 };
    document *doc;

    (void)state;
    mg_text_add_c(&text, "a0: &a0 [x, x, x, x, x, x, x, x, x]\n");
    for (int i = 1; i < 9; i++) {
        mg_text_addf(&text, "a%d: &a%d [", i, i);
        for (int k = 0; k < 9; k++)
            mg_text_addf(&text, "%s*a%d", k ? ", " : "", i - 1);
        mg_text_add_c(&text, "]\n");
    }
    doc = document_of("a.yaml", mg_text_str(&text));
    assert_null(doc->root);
    assert_string_equal(doc->report.findings[0].message,
                        "the aliases of this document expand to more than 1000000 values");
    document_free(doc);
    mg_text_fini(&text);
}

static void depth_is_bounded_through_aliases_as_well(void **state)
{
    mg_text text = { 0 };
    document *doc;

    (void)state;
    mg_text_add_c(&text, "a0: &a0 [x]\n");
    for (int i = 1; i < 100; i++)
        mg_text_addf(&text, "a%d: &a%d [*a%d]\n", i, i, i - 1);
    doc = document_of("a.yaml", mg_text_str(&text));
    assert_null(doc->root);
    assert_string_equal(doc->report.findings[0].message, "the aliases of this document expand too far");
    document_free(doc);
    mg_text_clear(&text);
    for (int i = 0; i < 70; i++)
        mg_text_add_char(&text, '[');
    doc = document_of("a.yaml", mg_text_str(&text));
    assert_null(doc->root);
    assert_string_equal(doc->report.findings[0].message, "nested more than 64 deep");
    document_free(doc);
    mg_text_fini(&text);
}

static void what_has_two_readings_is_refused_with_its_place(void **state)
{
    (void)state;
    refused("a: *none\n", "a.yaml:1:4: error[syntax] no anchor &none stands before this\n"
                          "    1 | a: *none\n"
                          "      |    ^^^^^\n");
    refused("a: &x [*x]\n", "a.yaml:1:8: error[syntax] the anchor &x would contain itself\n"
                            "    1 | a: &x [*x]\n"
                            "      |        ^^\n");
    refused("a: !!str 5\n",
            "a.yaml:1:4: error[syntax] tags such as tag:yaml.org,2002:str are not understood here\n"
            "    1 | a: !!str 5\n"
            "      |    ^^^^^^^\n"
            "      = leave the tag out; quote what should be text\n");
    refused("a: 1\n---\nb: 2\n", "a.yaml:2:1: error[syntax] a second document begins here\n"
                                 "    2 | ---\n"
                                 "      | ^^^\n"
                                 "      = write one document a file; `include` joins files\n");
    refused("? [a]\n: b\n", "a.yaml:1:3: error[syntax] a key must be a plain word\n"
                            "    1 | ? [a]\n"
                            "      |   ^\n");
}

static void broken_text_is_refused_with_its_place(void **state)
{
    document *doc;

    (void)state;
    refused("a:\n\tb: 1\n",
            "a.yaml:2:1: error[syntax] found character that cannot start any token while scanning for "
            "the next token (line 2)\n"
            "    2 | \tb: 1\n"
            "      | ^\n"
            "      = indent with spaces; YAML takes no tabs there\n");
    doc = document_yaml("a: 1\nb: \"\\0\"\n");
    assert_null(doc->root);
    assert_string_equal(doc->report.findings[0].message, "a NUL byte cannot stand in a text");
    document_free(doc);
    doc = document_yaml("a: 1\nb: \xff\n");
    assert_null(doc->root);
    assert_int_equal(doc->report.findings[0].line, 2);
    assert_int_equal(doc->report.findings[0].column, 4);
    document_free(doc);
    doc = document_yaml("a: [1, 2\n");
    assert_null(doc->root);
    assert_int_equal(doc->report.errors, 1);
    document_free(doc);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_mean_what_yaml_1_2_says),
        cmocka_unit_test(documents_of_any_shape_are_read),
        cmocka_unit_test(every_value_knows_its_place),
        cmocka_unit_test(a_duplicate_key_is_refused_and_reading_goes_on),
        cmocka_unit_test(a_duplicate_is_found_in_a_large_map_too),
        cmocka_unit_test(an_alias_is_a_copy_with_the_places_of_its_anchor),
        cmocka_unit_test(aliases_cannot_grow_without_end),
        cmocka_unit_test(depth_is_bounded_through_aliases_as_well),
        cmocka_unit_test(what_has_two_readings_is_refused_with_its_place),
        cmocka_unit_test(broken_text_is_refused_with_its_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
