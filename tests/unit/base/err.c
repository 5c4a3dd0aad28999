/* Messages and reports. */
#include "support/check.h"

#include "base/err.h"

#include <errno.h>

static void printed(const mg_report *report, const char *want)
{
    mg_text out = { 0 };

    mg_report_print(report, &out);
    check_str(mg_text_str(&out), want);
    mg_text_fini(&out);
}

static void a_failure_carries_its_code_and_words(void **state)
{
    mg_error err = MG_ERROR_INIT;

    (void)state;
    assert_int_equal(mg_fail(&err, MG_ERR_LIMIT, "%d is above %d", 7, 5), MG_ERR_LIMIT);
    assert_int_equal(err.code, MG_ERR_LIMIT);
    assert_string_equal(err.message, "7 is above 5");
    assert_int_equal(mg_fail(NULL, MG_ERR_BUSY, "nobody listens"), MG_ERR_BUSY);
}

static void a_failure_of_the_system_says_why(void **state)
{
    mg_error err = MG_ERROR_INIT;

    (void)state;
    assert_int_equal(mg_fail_errno(&err, ENOENT, "%s", "a.yaml"), MG_ERR_IO);
    assert_string_equal(err.message, "a.yaml: No such file or directory");
    assert_int_equal(mg_fail_errno(NULL, ENOENT, "x"), MG_ERR_IO);
}

static void words_too_long_are_cut(void **state)
{
    mg_error err = MG_ERROR_INIT;

    (void)state;
    (void)mg_fail_errno(&err, EIO, "%05000d", 1);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
}

static void a_finding_shows_its_place_under_carets(void **state)
{
    mg_report report = MG_REPORT_INIT;
    mg_finding *f =
        mg_report_add(&report, MG_SEVERITY_ERROR, "out-of-range", "%d%% is above the maximum 100%%", 150);

    (void)state;
    mg_finding_place(f, "moongate.yaml", 18, 17, 4, MG_STR("    error_rate: 150% }\r\nnext: line"));
    mg_finding_pointer(f, MG_STR("services.cart.breaker.error_rate"));
    mg_finding_hint(f, "write a share from 1%% to %d%%", 100);
    printed(&report, "moongate.yaml:18:17: error[out-of-range] services.cart.breaker.error_rate: 150% is "
                     "above the maximum 100%\n"
                     "   18 |     error_rate: 150% }\n"
                     "      |                 ^^^^\n"
                     "      = write a share from 1% to 100%\n");
    mg_report_fini(&report);
}

static void a_finding_without_a_place_is_one_line(void **state)
{
    mg_report report = MG_REPORT_INIT;

    (void)state;
    mg_report_add(&report, MG_SEVERITY_WARNING, "undeclared-capability", "calls ctx.http");
    mg_finding_place(mg_report_add(&report, MG_SEVERITY_ERROR, "unreadable", "is a directory"), "conf.d", 0,
                     0, 0, MG_STR_NONE);
    printed(&report, "warning[undeclared-capability] calls ctx.http\n"
                     "conf.d: error[unreadable] is a directory\n");
    assert_int_equal(report.errors, 1);
    assert_int_equal(report.warnings, 1);
    mg_report_fini(&report);
}

static void carets_follow_tabs_and_wide_bytes_and_end_with_the_line(void **state)
{
    mg_report report = MG_REPORT_INIT;

    (void)state;
    mg_finding_place(mg_report_add(&report, MG_SEVERITY_ERROR, "c", "m"), "f", 7, 4, 99,
                     MG_STR("\t\xc3\xa4 xy"));
    mg_finding_place(mg_report_add(&report, MG_SEVERITY_ERROR, "c", "m"), "f", 123456, 3, 1, MG_STR("a"));
    printed(&report, "f:7:4: error[c] m\n"
                     "    7 | \t\xc3\xa4 xy\n"
                     "      | \t  ^^\n"
                     "f:123456:3: error[c] m\n"
                     "123456 | a\n");
    mg_report_fini(&report);
}

static void a_document_cannot_move_the_cursor(void **state)
{
    mg_report report = MG_REPORT_INIT;
    mg_finding *f = mg_report_add(&report, MG_SEVERITY_ERROR, "c", "got \"%s\"", "\x1b[2J\n");

    (void)state;
    mg_finding_place(f, "f", 1, 1, 1, MG_STR("\x1b[2J"));
    printed(&report, "f:1:1: error[c] got \"\\x1b[2J\\x0a\"\n    1 | ?[2J\n      | ^\n");
    mg_report_fini(&report);
}

static void a_long_line_is_cut(void **state)
{
    mg_report report = MG_REPORT_INIT;
    char line[5000];
    mg_text out = { 0 };

    (void)state;
    memset(line, 'x', sizeof(line));
    mg_finding_place(mg_report_add(&report, MG_SEVERITY_ERROR, "c", "m"), "f", 1, 4000, 3,
                     mg_str_make(line, 5000));
    mg_report_print(&report, &out);
    assert_true(out.n < 300);
    assert_true(mg_str_ends(mg_text_str(&out), MG_STR("x ...\n")));
    mg_text_fini(&out);
    mg_report_fini(&report);
}

static void a_full_report_still_counts(void **state)
{
    mg_report report = MG_REPORT_INIT;
    mg_text out = { 0 };

    (void)state;
    for (int i = 0; i < MG_REPORT_MAX; i++)
        mg_report_add(&report, MG_SEVERITY_WARNING, "w", "%d", i);
    assert_false(report.full);
    for (int i = 0; i < 3; i++)
        mg_finding_hint(mg_report_add(&report, MG_SEVERITY_ERROR, "e", "%d", i), "%s", "hint");
    assert_true(report.full);
    assert_int_equal(report.count, MG_REPORT_MAX);
    assert_int_equal(report.errors, 3);
    mg_report_print(&report, &out);
    assert_true(
        mg_str_ends(mg_text_str(&out), MG_STR("warning[w] 99\n... and 3 more: moongate check tells all\n")));
    mg_text_fini(&out);
    mg_report_fini(&report);
}

static void machines_get_the_same_as_json(void **state)
{
    mg_report report = MG_REPORT_INIT;
    mg_text out = { 0 };
    mg_finding *f;

    (void)state;
    mg_report_add(&report, MG_SEVERITY_WARNING, "w", "first");
    f = mg_report_add(&report, MG_SEVERITY_ERROR, "unknown-key", "no \"x\" here");
    mg_finding_place(f, "a.yaml", 3, 2, 1, MG_STR(" x: 1"));
    mg_finding_pointer(f, MG_STR("routes[0].x"));
    mg_finding_hint(f, "drop it");
    mg_report_add(&report, MG_SEVERITY_ERROR, "e", "last");
    mg_report_print_json(&report, &out);
    check_str(mg_text_str(&out),
              "{\"errors\":[{\"code\":\"unknown-key\",\"pointer\":\"routes[0].x\",\"message\":\"no \\\"x\\\" "
              "here\","
              "\"hint\":\"drop "
              "it\",\"file\":\"a.yaml\",\"line\":3,\"column\":2},{\"code\":\"e\",\"message\":\"last\"}],"
              "\"warnings\":[{\"code\":\"w\",\"message\":\"first\"}]}");
    mg_text_fini(&out);
    mg_report_fini(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_failure_carries_its_code_and_words),
        cmocka_unit_test(a_failure_of_the_system_says_why),
        cmocka_unit_test(words_too_long_are_cut),
        cmocka_unit_test(a_finding_shows_its_place_under_carets),
        cmocka_unit_test(a_finding_without_a_place_is_one_line),
        cmocka_unit_test(carets_follow_tabs_and_wide_bytes_and_end_with_the_line),
        cmocka_unit_test(a_document_cannot_move_the_cursor),
        cmocka_unit_test(a_long_line_is_cut),
        cmocka_unit_test(a_full_report_still_counts),
        cmocka_unit_test(machines_get_the_same_as_json),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
