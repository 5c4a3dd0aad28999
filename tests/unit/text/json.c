/* JSON to trees and back. */
#include "support/document.h"

static void reads_as(const char *json, const char *want)
{
    document *doc = document_json(json);

    if (!doc->root)
        print_error("refused: %s\n", json);
    check_json(doc->root, want);
    document_free(doc);
}

static void json_comes_out_as_it_went_in(void **state)
{
    (void)state;
    reads_as(" { \"a\" : [ 1 , -2.5 , true , null , \"x\\n\\u00e4\\\"\" ] , \"b\" : { } , \"c\":[]}",
             "{\"a\":[1,-2.5,true,null,\"x\\n\xc3\xa4\\\"\"],\"b\":{},\"c\":[]}");
    reads_as("9223372036854775807", "9223372036854775807");
    reads_as("\"\\ud83d\\ude00\"", "\"\xf0\x9f\x98\x80\"");
    reads_as("[0.1, 1e100, 1.0, 123456789012345680.0]", "[0.1,1e+100,1.0,1.2345678901234568e+17]");
}

static void every_value_knows_its_place(void **state)
{
    document *doc =
        document_json("{\n  \"k\\u00e4\\\"[\": [ \"\xc3\xa4,]\", 150 ],\n\t\"z\": {\"q\": false}\n}\n");
    const mg_node *list, *q;

    (void)state;
    assert_non_null(doc->root);
    list = doc->root->first;
    assert_int_equal(list->key->line, 2);
    assert_int_equal(list->key->column, 3);
    assert_int_equal(list->key->width, 12);
    assert_int_equal(list->column, 17);
    assert_int_equal(list->first->column, 19);
    assert_int_equal(list->first->width, 5);
    assert_int_equal(list->last->column, 26);
    assert_int_equal(list->last->width, 3);
    q = mg_node_get(mg_node_get(doc->root, "z"), "q");
    assert_int_equal(q->line, 3);
    assert_int_equal(q->column, 13);
    assert_int_equal(q->width, 5);
    document_free(doc);
}

static void only_strict_json_is_read(void **state)
{
    static const char *const cases[] = {
        "",        "{",           "[1,]",  "{\"a\":1,}", "[1] 2",       "'a'",
        "// x\n1", "{a: 1}",      "[01]",  "NaN",        "\"\x01\"",    "\"\xff\"",
        "1e999",   "\"\\u0000\"", "[1 2]", "tru",        "\"\\ud800\"", "99999999999999999999"
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        document *doc = document_json(cases[i]);
        if (doc->root)
            print_error("taken: %s\n", cases[i]);
        assert_null(doc->root);
        assert_int_equal(doc->report.errors, 1);
        document_free(doc);
    }
}

static void a_duplicate_key_has_a_code_of_its_own(void **state)
{
    document *doc = document_json("{\n \"a\": 1,\n \"a\": 2\n}");

    (void)state;
    assert_null(doc->root);
    assert_string_equal(doc->report.findings[0].code, "duplicate-key");
    assert_int_equal(doc->report.findings[0].line, 3);
    document_free(doc);
}

static void depth_and_count_are_bounded(void **state)
{
    mg_text text = { 0 };
    document *doc;

    (void)state;
    for (int i = 0; i < 65; i++)
        mg_text_add_char(&text, '[');
    for (int i = 0; i < 65; i++)
        mg_text_add_char(&text, ']');
    doc = document_of("a.json", mg_text_str(&text));
    assert_null(doc->root);
    assert_int_equal(doc->report.errors, 1);
    assert_string_equal(doc->report.findings[0].message, "nested more than 64 deep");
    document_free(doc);
    mg_text_clear(&text);
    mg_text_add_c(&text, "[0");
    for (int i = 0; i < 500001; i++)
        mg_text_add_c(&text, ",0");
    mg_text_add_c(&text, "]");
    doc = document_of("a.json", mg_text_str(&text));
    assert_null(doc->root);
    document_free(doc);
    mg_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_comes_out_as_it_went_in),
        cmocka_unit_test(every_value_knows_its_place),
        cmocka_unit_test(only_strict_json_is_read),
        cmocka_unit_test(a_duplicate_key_has_a_code_of_its_own),
        cmocka_unit_test(depth_and_count_are_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
