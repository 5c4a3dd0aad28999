/* Patterns with a bound on what they cost. */
#include "support/check.h"

#include "text/regex.h"

static mg_result search(const char *pattern, mg_str text)
{
    mg_error err = MG_ERROR_INIT;
    mg_regex *regex = mg_regex_new(mg_str_of(pattern), &err);
    mg_result result;

    if (!regex)
        print_error("%s\n", err.message);
    assert_non_null(regex);
    result = mg_regex_search(regex, text);
    mg_regex_free(regex);
    return result;
}

static void a_pattern_is_searched_for(void **state)
{
    (void)state;
    assert_int_equal(search("b+", MG_STR("abbc")), MG_OK);
    assert_int_equal(search("^b", MG_STR("abbc")), MG_ERR_NOT_FOUND);
    assert_int_equal(search("^.$", MG_STR("\xc3\xa4")), MG_OK); /* characters, not bytes */
    assert_int_equal(search("^a$", MG_STR("a\n")), MG_ERR_NOT_FOUND);
    assert_int_equal(search("", MG_STR("")), MG_OK);
}

static void a_costly_pattern_stops(void **state)
{
    (void)state;
    assert_int_equal(search("^(a+)+$", MG_STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaab")), MG_ERR_LIMIT);
}

static void text_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    assert_int_equal(search("a", MG_STR("a\xff")), MG_ERR_INVALID);
}

static void a_broken_pattern_says_where(void **state)
{
    mg_error err = MG_ERROR_INIT;
    char longer[1100];

    (void)state;
    assert_null(mg_regex_new(MG_STR("a(b"), &err));
    assert_string_equal(err.message, "missing closing parenthesis, at byte 4");
    memset(longer, 'a', sizeof longer);
    assert_null(mg_regex_new(mg_str_make(longer, sizeof longer), &err));
    assert_string_equal(err.message, "longer than 1024 bytes");
    assert_null(mg_regex_new(MG_STR("\\C"), &err));
    mg_regex_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pattern_is_searched_for),
        cmocka_unit_test(a_costly_pattern_stops),
        cmocka_unit_test(text_that_is_not_utf8_is_refused),
        cmocka_unit_test(a_broken_pattern_says_where),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
