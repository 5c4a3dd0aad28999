/* The reader that plugins get beside jansson's whole documents: random texts, right and wrong, are read in
 * parts of random length, and both must say the same. */
#include "support/document.h"

#include "base/rand.h"
#include "text/json_reader.c"

enum { CASES = 20000 };

static mg_rand rand_state;

static unsigned below(unsigned n)
{
    return (unsigned)mg_rand_below(&rand_state, n);
}

/* ---- texts ---- */

static void add_blanks(mg_text *out)
{
    static const char *const blanks[] = { "", "", "", " ", "\n", "\t \r\n" };
    mg_text_add_c(out, blanks[below(6)]);
}

static void add_string(mg_text *out)
{
    static const char *const pieces[] = {
        "a",        "long and plain",   "\\n",  "\\\"", "\\\\", "\\/", "\\u0041", "\\u00e9", "\\uD83D\\ude00",
        "\xc3\xa4", "\xf0\x9f\x98\x80", "\x7f", "b"
    };

    mg_text_add_char(out, '"');
    for (unsigned i = below(6); i > 0; i--)
        mg_text_add_c(out, pieces[below(13)]);
    mg_text_add_char(out, '"');
}

static void add_scalar(mg_text *out)
{
    static const char *const scalars[] = { "null",
                                           "true",
                                           "false",
                                           "0",
                                           "-0",
                                           "-1",
                                           "1.5",
                                           "-0.0",
                                           "1e2",
                                           "1E+2",
                                           "2e-3",
                                           "9007199254740992",
                                           "9007199254740993",
                                           "9223372036854775807",
                                           "-9223372036854775808",
                                           "123456789012345",
                                           "1234567890123456",
                                           "1e308",
                                           "1e999",
                                           "01",
                                           "1.",
                                           ".5",
                                           "-",
                                           "+1",
                                           "nul",
                                           "True",
                                           "1e",
                                           "0x1" };

    if (below(3) == 0)
        add_string(out);
    else
        mg_text_add_c(out, scalars[below(below(4) ? 18 : 28)]);
}

static void add_value(mg_text *out, unsigned depth)
{
    const unsigned kind = below(depth > 5 ? 2 : 5);

    add_blanks(out);
    if (kind < 2) {
        add_scalar(out);
    } else {
        mg_text_add_char(out, kind == 2 ? '{' : '[');
        for (unsigned i = 0, n = below(5); i < n; i++) {
            if (i)
                mg_text_add_char(out, ',');
            if (kind == 2) {
                mg_text_addf(out, "\"%s%u\"", below(5) ? "k" : "\\u0061", i + (below(10) == 0));
                add_blanks(out);
                mg_text_add_char(out, ':');
            }
            add_value(out, depth + 1);
        }
        add_blanks(out);
        mg_text_add_char(out, kind == 2 ? '}' : ']');
    }
    add_blanks(out);
}

static void break_it(mg_text *text)
{
    static const char bytes[] = "{}[]\",:\\u0019eE+-. \n\x01\x80\xc3\xff/";

    for (unsigned i = below(3); i > 0 && text->n; i--) {
        const size_t at = below((unsigned)text->n);
        if (below(3))
            text->p[at] = bytes[below(sizeof bytes - 1)];
        else
            text->n = at;
    }
}

/* ---- what both say ---- */

static void say(mg_text *out, mg_str key, const char *kind, mg_str text)
{
    mg_text_addf(out, "%.*s=%s:%.*s\n", MG_STR_ARGS(key), kind, MG_STR_ARGS(text));
}

static void say_number(mg_text *out, mg_str key, double number, mg_str text)
{
    mg_text_addf(out, "%.*s=%.17g %.*s\n", MG_STR_ARGS(key), number == 0 ? 0 : number, MG_STR_ARGS(text));
}

static void say_node(mg_text *out, const mg_node *node)
{
    const mg_str key = node->key ? node->key->text : MG_STR("");

    switch (node->kind) {
    case MG_NODE_NULL: say(out, key, "null", MG_STR("")); return;
    case MG_NODE_BOOL: say(out, key, node->boolean ? "true" : "false", MG_STR("")); return;
    case MG_NODE_INT: say_number(out, key, (double)node->integer, node->text); return;
    case MG_NODE_FLOAT: say_number(out, key, node->number, node->text); return;
    case MG_NODE_STRING: say(out, key, "text", node->text); return;
    case MG_NODE_LIST:
    case MG_NODE_MAP: break;
    }
    say(out, key, node->kind == MG_NODE_LIST ? "list" : "map", MG_STR(""));
    MG_NODE_EACH(node, it)
    {
        say_node(out, it);
    }
    say(out, MG_STR(""), "closed", MG_STR(""));
}

/* True when the text was read to its end. Wide: it has an integer that only the reader takes. */
static bool say_reading(mg_text *out, mg_str text, char *problem, bool *wide)
{
    static const char *const names[] = { "null", "false", "true", NULL, "text", "list", "map" };
    mg_json *json = mg_json_open(false);
    mg_json_item item;
    int kind;

    *wide = false;
    json->left = 1 + below(20);
    while ((kind = mg_json_next(json, text.p, (uint32_t)text.n, &item)) < MG_JSON_END) {
        *wide |= kind == MG_JSON_UINT64;
        const mg_str key = mg_str_make(item.key.p, item.key.n), value = mg_str_make(item.text.p, item.text.n);
        if (kind == MG_JSON_PART)
            json->left = 1 + below(60);
        else if (kind == MG_JSON_CLOSED)
            say(out, MG_STR(""), "closed", MG_STR(""));
        else if (kind == MG_JSON_NUMBER)
            say_number(out, key, item.number, value);
        else if (kind == MG_JSON_INT64 || kind == MG_JSON_UINT64)
            say_number(out, key,
                       kind == MG_JSON_INT64 ? (double)item.integer : (double)(uint64_t)item.integer, value);
        else
            say(out, key, names[kind], kind == MG_JSON_STRING ? value : MG_STR(""));
    }
    if (kind == MG_JSON_WRONG)
        mg_json_problem(json, text.p, (uint32_t)text.n, problem);
    mg_json_close(json);
    return kind == MG_JSON_END;
}

static bool is_duplicate(const document *doc)
{
    return doc->report.errors && !strcmp(doc->report.findings[0].code, "duplicate-key");
}

static void the_reader_says_what_jansson_says(void **state)
{
    mg_text text = { 0 }, got = { 0 }, want = { 0 };
    unsigned taken = 0;

    (void)state;
    mg_rand_init(&rand_state, check_seed(11));
    for (unsigned i = 0; i < CASES; i++) {
        char problem[256] = "";
        document *doc;
        bool read, wide;

        mg_text_clear(&text);
        mg_text_clear(&got);
        mg_text_clear(&want);
        add_value(&text, 0);
        break_it(&text);
        mg_text_add_char(&text, '\0');
        text.n--;
        doc = document_of("x.json", mg_text_str(&text));
        read = say_reading(&got, mg_text_str(&text), problem, &wide);
        if (doc->root)
            say_node(&want, doc->root);
        if (!is_duplicate(doc) && !wide &&
            (read != (doc->root != NULL) || (read && !mg_str_eq(mg_text_str(&got), mg_text_str(&want))))) {
            print_error("%u: %.*s\nread %d, %s\n%swanted %d\n%s", i, MG_STR_ARGS(mg_text_str(&text)), read,
                        problem, mg_text_str(&got).p, doc->root != NULL, mg_text_str(&want).p);
            fail();
        }
        taken += read;
        document_free(doc);
    }
    assert_in_range(taken, CASES / 10, CASES * 9 / 10);
    mg_text_fini(&text);
    mg_text_fini(&got);
    mg_text_fini(&want);
}

/* Where a reader that goes over the whole text at once says that something is wrong. */
static void check_problem(const char *text, const char *want)
{
    for (int64_t part = 1; part < 100; part += 7) {
        mg_json *json = mg_json_open(false);
        char problem[256] = "";
        mg_json_item item;
        int kind;

        json->left = part;
        while ((kind = mg_json_next(json, text, (uint32_t)strlen(text), &item)) < MG_JSON_END)
            if (kind == MG_JSON_PART)
                json->left = part;
            else if (mg_str_eq_c(mg_str_make(item.key.p, item.key.n), "twice"))
                mg_json_refuse_key(json);
        mg_json_problem(json, text, (uint32_t)strlen(text), problem);
        assert_string_equal(problem, want);
        mg_json_close(json);
    }
}

static void a_problem_has_its_place_however_the_text_is_cut(void **state)
{
    (void)state;
    check_problem("{\"a\":\n [99999999999999999999]}", "line 2, column 3: an integer of more than 64 bits");
    check_problem("[1,\n \"\xc3\xa4\xc3\xb6\", oops]", "line 2, column 8: " A_VALUE_IS_DUE);
    check_problem("[\"a long string, and a tab: \t\"]",
                  "line 1, column 29: a control byte in a string: write it as \\u00XX");
    check_problem("{\"a\":1,\n \"twice\" : \"some text that is longer\"}",
                  "line 2, column 2: this key is there twice: keep one of the two");
    check_problem("[1 2]", "line 1, column 4: a ',' or ']' is due");
    check_problem("{\"a\" 1}", "line 1, column 6: a ':' is due");
    check_problem("{\"a\":1,}", "line 1, column 8: a key in quotes is due");
    check_problem("[1] ]", "line 1, column 5: something stands behind the value");
    check_problem("[[1,", "line 1, column 5: the text ends too early");
    check_problem("\"\\ud800x\"", "line 1, column 2: half of a surrogate pair");
    check_problem("\"\\u0000\"", "line 1, column 2: \\u0000 is not read");
    check_problem("", "line 1, column 1: the text ends too early");
}

static void depth_and_digits_are_bounded(void **state)
{
    mg_text text = { 0 };

    (void)state;
    for (int i = 0; i < 64; i++)
        mg_text_add_char(&text, '[');
    mg_text_add_c(&text, "{}");
    check_problem(text.p, "line 1, column 65: nested more than 64 deep");
    mg_text_fini(&text);
    for (int i = 0; i < 1025; i++)
        mg_text_add_char(&text, '1');
    check_problem(text.p, "line 1, column 1: a number of more than 1024 bytes");
    mg_text_fini(&text);
}

/* No call goes over more than a part of the text, whatever it is made of. */
static void a_call_reads_no_more_than_a_part(void **state)
{
    static const char *const units[] = {
        "1,",         "[],", "\"a\",", " ",       "\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\",",
        "{\"a\":1},", "x",   "\\n",    "\xc3\xa4"
    };

    (void)state;
    for (size_t u = 0; u < sizeof units / sizeof units[0]; u++) {
        mg_text text = { 0 };
        mg_json *json = mg_json_open(false);
        mg_json_item item;
        size_t parts = 0, values = 0, before = 0;
        int kind;

        mg_text_add_c(&text, u < 6 ? "[" : "\"");
        while (text.n < 3000000)
            mg_text_add_c(&text, units[u]);
        mg_text_add_c(&text, u < 6 ? "1]" : "\"");
        while ((kind = mg_json_next(json, text.p, (uint32_t)text.n, &item)) < MG_JSON_END) {
            values += kind != MG_JSON_CLOSED && kind != MG_JSON_PART;
            if (kind != MG_JSON_PART)
                continue;
            assert_in_range(json->at - before, 1, MG_JSON_PART_BYTES + 12);
            assert_in_range(values, 0, MG_JSON_PART_BYTES / MG_JSON_VALUE_BYTES);
            before = json->at;
            values = 0;
            parts++;
        }
        assert_in_range(parts, 3000000 / MG_JSON_PART_BYTES, SIZE_MAX);
        assert_int_equal(kind, json->values > MG_TREE_NODES / 2 ? MG_JSON_WRONG : MG_JSON_END);
        mg_json_close(json);
        mg_text_fini(&text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_reader_says_what_jansson_says),
        cmocka_unit_test(a_problem_has_its_place_however_the_text_is_cut),
        cmocka_unit_test(depth_and_digits_are_bounded),
        cmocka_unit_test(a_call_reads_no_more_than_a_part),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
