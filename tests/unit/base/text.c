/* The buffer that grows, and JSON strings. */
#include "support/check.h"

static void json_is(mg_str bytes, const char *want)
{
    mg_text t = { 0 };

    mg_text_add_json(&t, bytes);
    check_str(mg_text_str(&t), want);
    mg_text_fini(&t);
}

static void an_empty_text_is_an_empty_string(void **state)
{
    mg_text t = { 0 };

    (void)state;
    check_str(mg_text_str(&t), "");
    mg_text_clear(&t);
    mg_text_add(&t, MG_STR_NONE);
    assert_string_equal(t.p, "");
    mg_text_fini(&t);
    mg_text_fini(&t);
}

static void it_grows_and_stays_terminated(void **state)
{
    mg_text t = { 0 };

    (void)state;
    for (int i = 0; i < 1000; i++) {
        mg_text_add_char(&t, (char)('a' + i % 26));
        assert_int_equal(t.p[t.n], 0);
    }
    assert_int_equal(t.n, 1000);
    assert_int_equal(t.p[999], 'a' + 999 % 26);
    mg_text_clear(&t);
    check_str(mg_text_str(&t), "");
    mg_text_fini(&t);
}

static void formats_longer_than_the_room_are_whole(void **state)
{
    mg_text t = { 0 };

    (void)state;
    mg_text_addf(&t, "%0300d|", 7);
    mg_text_addf(&t, "%s", "end");
    mg_text_add_u64(&t, 42);
    assert_int_equal(t.n, 306);
    assert_string_equal(t.p + 299, "7|end42");
    mg_text_fini(&t);
}

static void json_escapes_what_must_be_escaped(void **state)
{
    (void)state;
    json_is(MG_STR_NONE, "\"\"");
    json_is(MG_STR("plain /text"), "\"plain /text\"");
    json_is(MG_STR("a\"b\\c\b\f\n\r\t"), "\"a\\\"b\\\\c\\b\\f\\n\\r\\t\"");
    json_is(MG_STR("\0\x1f\x7f"), "\"\\u0000\\u001f\\u007f\"");
}

static void json_keeps_utf8(void **state)
{
    (void)state;
    json_is(MG_STR("\xc3\xa4 \xe2\x82\xac \xf0\x9f\x8c\x99 \xed\x9f\xbf \xf4\x8f\xbf\xbf"),
            "\"\xc3\xa4 \xe2\x82\xac \xf0\x9f\x8c\x99 \xed\x9f\xbf \xf4\x8f\xbf\xbf\"");
}

#define BAD "\xef\xbf\xbd"

static void json_replaces_what_is_not_utf8(void **state)
{
    (void)state;
    json_is(MG_STR("a\x80z"), "\"a" BAD "z\"");                     /* a lone continuation */
    json_is(MG_STR("\xc0\xaf"), "\"" BAD BAD "\"");                 /* overlong */
    json_is(MG_STR("\xe0\x9f\xbf"), "\"" BAD BAD BAD "\"");         /* overlong */
    json_is(MG_STR("\xed\xa0\x80"), "\"" BAD BAD BAD "\"");         /* a surrogate */
    json_is(MG_STR("\xf4\x90\x80\x80"), "\"" BAD BAD BAD BAD "\""); /* above U+10FFFF */
    json_is(MG_STR("\xe2\x82"), "\"" BAD BAD "\"");                 /* cut short */
    json_is(MG_STR("\xe2\"\xac"), "\"" BAD "\\\"" BAD "\"");        /* the quote is not swallowed */
}

static void utf8_is_told_from_other_bytes(void **state)
{
    static const char *const bad[] = { "\xff",     "\xc3",         "\xc0\x80",
                                       "\xe2\x82", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                                       "a\x80" };

    (void)state;
    assert_true(mg_str_is_utf8(MG_STR_NONE));
    assert_true(mg_str_is_utf8(mg_str_of("plain, \xc3\xa9, \xe2\x82\xac, \xf0\x9f\x9a\x80")));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(mg_str_is_utf8(mg_str_of(bad[i])));
}

static void control_characters_are_told_from_others(void **state)
{
    const mg_str text = MG_STR("a\x1f\x7f \xc2\x80\xc2\x9f\xc2\xa0\xc3\x9f\xc2");
    static const size_t want[] = { 0, 1, 1, 0, 2, 0, 2, 0, 0, 0, 0, 0, 0 };

    (void)state;
    for (size_t i = 0; i < text.n; i++)
        assert_int_equal(mg_str_control(text, i), want[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_empty_text_is_an_empty_string),
        cmocka_unit_test(it_grows_and_stays_terminated),
        cmocka_unit_test(formats_longer_than_the_room_are_whole),
        cmocka_unit_test(json_escapes_what_must_be_escaped),
        cmocka_unit_test(json_keeps_utf8),
        cmocka_unit_test(json_replaces_what_is_not_utf8),
        cmocka_unit_test(control_characters_are_told_from_others),
        cmocka_unit_test(utf8_is_told_from_other_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
