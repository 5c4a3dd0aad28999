/* The writer of JSON: commas, escapes, and what it does not let through. */
#include "base/json_out.h"
#include "base/mem.h"
#include "support/check.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void a_document_has_its_commas(void **state)
{
    mg_text text = { 0 };
    mg_json_out out = { .text = &text };

    (void)state;
    mg_json_out_map(&out, NULL);
    mg_json_out_list(&out, "empty");
    mg_json_out_end(&out);
    mg_json_out_list(&out, "list");
    mg_json_out_u64(&out, NULL, 18446744073709551615u);
    mg_json_out_map(&out, NULL);
    mg_json_out_end(&out);
    mg_json_out_list(&out, NULL);
    mg_json_out_null(&out, NULL);
    mg_json_out_end(&out);
    mg_json_out_end(&out);
    mg_json_out_map(&out, "map");
    mg_json_out_bool(&out, "yes", true);
    mg_json_out_bool(&out, "no", false);
    mg_json_out_end(&out);
    mg_json_out_json(&out, "other", MG_STR("[1, 2]"));
    mg_json_out_end(&out);
    check_str(mg_text_str(&text), "{\"empty\":[],\"list\":[18446744073709551615,{},[null]],"
                                  "\"map\":{\"yes\":true,\"no\":false},\"other\":[1, 2]}");
    assert_true(out.whole);
    mg_text_fini(&text);
}

static void values_of_each_kind(void **state)
{
    mg_text text = { 0 };
    mg_json_out out = { .text = &text };
    const uint8_t bytes[] = { 0, 0x9f, 0xff };

    (void)state;
    mg_json_out_list(&out, NULL);
    mg_json_out_i64(&out, NULL, 0);
    mg_json_out_i64(&out, NULL, -1);
    mg_json_out_i64(&out, NULL, INT64_MAX);
    mg_json_out_i64(&out, NULL, INT64_MIN);
    mg_json_out_double(&out, NULL, 2.5);
    mg_json_out_double(&out, NULL, 1e300);
    mg_json_out_double(&out, NULL, strtod("nan", NULL));
    mg_json_out_double(&out, NULL, strtod("-inf", NULL));
    mg_json_out_seconds(&out, NULL, 0);
    mg_json_out_seconds(&out, NULL, 1000000999);
    mg_json_out_seconds(&out, NULL, UINT64_MAX);
    mg_json_out_hex(&out, NULL, bytes, sizeof bytes);
    mg_json_out_hex(&out, NULL, NULL, 0);
    mg_json_out_text(&out, NULL, MG_STR_NONE);
    mg_json_out_textf(&out, NULL, "%06x \"", 0xabcu);
    mg_json_out_end(&out);
    check_str(mg_text_str(&text),
              "[0,-1,9223372036854775807,-9223372036854775808,2.5,1e+300,null,null,0.000000,1.000000,"
              "18446744073.709551,\"009fff\",\"\",\"\",\"000abc \\\"\"]");
    mg_text_fini(&text);
}

static void keys_and_texts_of_any_bytes_are_escaped(void **state)
{
    mg_text text = { 0 };
    mg_json_out out = { .text = &text };

    (void)state;
    mg_json_out_map(&out, NULL);
    mg_json_out_key(&out, MG_STR("a\"b"));
    mg_json_out_text(&out, NULL, MG_STR("line\n\xff"));
    mg_json_out_key(&out, MG_STR(""));
    mg_json_out_list(&out, NULL);
    mg_json_out_end(&out);
    mg_json_out_text(&out, "last", MG_STR("\\"));
    mg_json_out_end(&out);
    check_str(mg_text_str(&text), "{\"a\\\"b\":\"line\\n\xef\xbf\xbd\",\"\":[],\"last\":\"\\\\\"}");
    mg_text_fini(&text);
}

/* Each place in a text that is longer than a word, so that every way through the escapes is taken. */
static void a_byte_is_escaped_wherever_it_stands(void **state)
{
    static const struct {
        const char *bytes, *want;
    } cases[] = { { "\"", "\\\"" },
                  { "\\", "\\\\" },
                  { "\x1f", "\\u001f" },
                  { "\x7f", "\\u007f" },
                  { "\xc3\xa4", "\xc3\xa4" },
                  { "\x80", "\xef\xbf\xbd" },
                  { " ", " " },
                  { "!", "!" },
                  { "#", "#" },
                  { "[", "[" },
                  { "]", "]" },
                  { "~", "~" },
                  { "\n\"", "\\n\\\"" } };

    (void)state;
    for (size_t c = 0; c < mg_countof(cases); c++)
        for (int before = 0; before < 20; before++) {
            mg_text text = { 0 }, bytes = { 0 }, want = { 0 };
            mg_json_out out = { .text = &text };
            mg_text_addf(&bytes, "%.*s%s%s", before, "abcdefghijklmnopqrstuvwxyz", cases[c].bytes,
                         "0123456789");
            mg_text_addf(&want, "\"%.*s%s%s\"", before, "abcdefghijklmnopqrstuvwxyz", cases[c].want,
                         "0123456789");
            mg_json_out_text(&out, NULL, mg_text_str(&bytes));
            check_str(mg_text_str(&text), want.p);
            mg_text_fini(&text);
            mg_text_fini(&bytes);
            mg_text_fini(&want);
        }
}

/* ---- what only a bug of ours could ask for ---- */

static void value_without_a_key(mg_json_out *out)
{
    mg_json_out_map(out, NULL);
    mg_json_out_u64(out, NULL, 1);
}

static void key_in_a_list(mg_json_out *out)
{
    mg_json_out_list(out, NULL);
    mg_json_out_u64(out, "key", 1);
}

static void key_of_any_bytes_in_a_list(mg_json_out *out)
{
    mg_json_out_list(out, NULL);
    mg_json_out_key(out, MG_STR("key"));
}

static void two_keys(mg_json_out *out)
{
    mg_json_out_map(out, NULL);
    mg_json_out_key(out, MG_STR("a"));
    mg_json_out_u64(out, "b", 1);
}

static void key_without_a_value(mg_json_out *out)
{
    mg_json_out_map(out, NULL);
    mg_json_out_key(out, MG_STR("a"));
    mg_json_out_end(out);
}

static void one_end_too_many(mg_json_out *out)
{
    mg_json_out_map(out, NULL);
    mg_json_out_end(out);
    mg_json_out_end(out);
}

static void two_values(mg_json_out *out)
{
    mg_json_out_u64(out, NULL, 1);
    mg_json_out_u64(out, NULL, 2);
}

static void outermost_key(mg_json_out *out)
{
    mg_json_out_u64(out, "key", 1);
}

static void too_deep(mg_json_out *out)
{
    for (int i = 0; i <= MG_JSON_OUT_DEPTH; i++)
        mg_json_out_list(out, NULL);
}

static void what_is_no_json_ends_the_process(void **state)
{
    static void (*const wrong[])(mg_json_out *) = {
        value_without_a_key,
        key_in_a_list,
        key_of_any_bytes_in_a_list,
        two_keys,
        key_without_a_value,
        one_end_too_many,
        two_values,
        outermost_key,
        too_deep,
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(wrong); i++) {
        const pid_t child = fork();
        int status;
        if (child == 0) {
            mg_text text = { 0 };
            fclose(stderr);
            wrong[i](&(mg_json_out){ .text = &text });
            _exit(0);
        }
        assert_int_equal(waitpid(child, &status, 0), child);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            fail_msg("case %zu was written", i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_document_has_its_commas),
        cmocka_unit_test(values_of_each_kind),
        cmocka_unit_test(keys_and_texts_of_any_bytes_are_escaped),
        cmocka_unit_test(a_byte_is_escaped_wherever_it_stands),
        cmocka_unit_test(what_is_no_json_ends_the_process),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
