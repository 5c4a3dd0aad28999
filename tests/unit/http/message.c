/* Fields, methods, statuses and the words of a reset. */
#include "heads.h"

#include "http/exchange.h"

static void every_known_name_is_found_by_its_text(void **state)
{
    (void)state;
    for (unsigned id = 1; id < MG_NAME_COUNT; id++) {
        assert_true(mg_name_text((mg_name)id).n > 0);
        if (mg_name_find(mg_name_text((mg_name)id)) != (mg_name)id)
            fail_msg("%.*s is in no row of header.c", MG_STR_ARGS(mg_name_text((mg_name)id)));
    }
    assert_int_equal(mg_name_find(MG_STR("hosT")), MG_NAME_OTHER);
    assert_int_equal(mg_name_find(MG_STR("hos")), MG_NAME_OTHER);
    assert_int_equal(mg_name_find(MG_STR("")), MG_NAME_OTHER);
    assert_int_equal(mg_name_find(MG_STR("access-control-request-methods")), MG_NAME_OTHER);
}

static void bytes_of_names_and_values_are_those_of_the_grammar(void **state)
{
    const char *token = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    (void)state;

    for (int c = 0; c < 256; c++) {
        char text[20];
        bool control = (c < 0x20 && c != '\t') || c == 0x7f;

        assert_int_equal(mg_is_token(mg_str_make((char[]){ (char)c }, 1)), c && strchr(token, c) != NULL);
        for (size_t at = 0; at < sizeof(text); at++) {
            memset(text, at & 1 ? 'v' : '\t', sizeof(text));
            text[at] = (char)c;
            assert_int_equal(mg_is_field_value(mg_str_make(text, sizeof(text))), !control);
        }
    }
    assert_false(mg_is_token(MG_STR("")));
    assert_true(mg_is_field_value(MG_STR("")));
    assert_true(mg_is_field_value(MG_STR_NONE));
}

static void fields_keep_their_order_and_are_set_in_place(void **state)
{
    mg_fields fields = { 0 };
    mg_arena arena;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    for (unsigned i = 0; i < 40; i++)
        mg_fields_add(&fields, &arena, MG_NAME_OTHER, i % 2 ? MG_STR("a") : MG_STR("b"), MG_STR("v"));
    mg_fields_add(&fields, &arena, MG_NAME_DATE, MG_STR("date"), MG_STR("d"));
    assert_int_equal(fields.count, 41);
    assert_text(mg_fields_get(&fields, MG_NAME_DATE), "d");
    assert_null(mg_fields_get(&fields, MG_NAME_VIA).p);
    assert_int_equal(mg_fields_find(&fields, MG_NAME_OTHER, MG_STR("a"), 2), 3);

    mg_fields_set(&fields, &arena, MG_NAME_OTHER, MG_STR("a"), MG_STR("w"));
    assert_int_equal(fields.count, 22);
    assert_int_equal(mg_fields_find(&fields, MG_NAME_OTHER, MG_STR("a"), 0), 1);
    assert_field(&fields, "a", "w");
    assert_int_equal(mg_fields_remove(&fields, &arena, MG_NAME_OTHER, MG_STR("b")), 20);
    assert_int_equal(mg_fields_remove(&fields, &arena, MG_NAME_OTHER, MG_STR("b")), 0);
    mg_fields_set(&fields, &arena, MG_NAME_VIA, mg_name_text(MG_NAME_VIA), MG_STR("x"));
    assert_int_equal(fields.count, 3);
    mg_arena_fini(&arena);
}

static void put_copies_lowers_and_refuses(void **state)
{
    static const struct {
        mg_str name, value;
        bool accepted;
    } rows[] = {
        { { "X-A", 3 }, { " \tv\t ", 5 }, true },  { { "", 0 }, { "v", 1 }, false },
        { { "x a", 3 }, { "v", 1 }, false },       { { "x:", 2 }, { "v", 1 }, false },
        { { "x\n", 2 }, { "v", 1 }, false },       { { "x", 1 }, { "a\r\nb: c", 7 }, false },
        { { "x", 1 }, { "a\n", 2 }, false },       { { "x", 1 }, { "a\r", 2 }, false },
        { { "x", 1 }, { "a\0b", 3 }, false },      { { "x", 1 }, { "\x1b", 1 }, false },
        { { "Host", 4 }, { "b", 1 }, false },      { { "Content-Length", 14 }, { "5", 1 }, false },
        { { "TE", 2 }, { "trailers", 8 }, false },
    };
    char name[257], value[] = "v";
    mg_fields fields = { 0 };
    mg_arena arena;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < mg_countof(rows); i++)
        assert_int_equal(mg_fields_put(&fields, &arena, rows[i].name, rows[i].value, false) == NULL,
                         rows[i].accepted);
    assert_int_equal(fields.count, 1);
    assert_field(&fields, "x-a", "v");
    for (unsigned id = 1; id < MG_NAME_COUNT; id++)
        assert_int_equal(mg_fields_put(&fields, &arena, mg_name_text((mg_name)id), MG_STR("v"), true) != NULL,
                         mg_name_is_framing((mg_name)id));

    memset(name, 'n', sizeof(name));
    assert_non_null(mg_fields_put(&fields, &arena, mg_str_make(name, 257), MG_STR("v"), false));
    assert_null(mg_fields_put(&fields, &arena, mg_str_make(name, 256), mg_str_make(value, 1), false));
    value[0] = 'w';
    name[0] = 'm';
    assert_text(mg_str_make(fields.items[fields.count - 1].value, 1), "v");
    assert_true(fields.items[fields.count - 1].name[0] == 'n');
    assert_null(mg_fields_put(&fields, &arena, MG_STR("x-A"), MG_STR("2"), true));
    assert_field(&fields, "x-a", "2");
    mg_arena_fini(&arena);
}

static void methods_are_case_sensitive_and_some_may_be_repeated(void **state)
{
    (void)state;
    for (unsigned i = MG_METHOD_GET; i < MG_METHOD_COUNT; i++)
        assert_int_equal(mg_method_find(mg_method_text((mg_method)i)), i);
    assert_int_equal(mg_method_find(MG_STR("get")), MG_METHOD_OTHER);
    assert_int_equal(mg_method_find(MG_STR("")), MG_METHOD_OTHER);
    assert_true(mg_method_is_idempotent(MG_METHOD_PUT));
    assert_false(mg_method_is_idempotent(MG_METHOD_POST));
    assert_false(mg_method_is_idempotent(MG_METHOD_PATCH));
    assert_false(mg_method_is_idempotent(MG_METHOD_OTHER));
}

static void statuses_have_their_text(void **state)
{
    (void)state;
    assert_text(mg_status_text(100), "Continue");
    assert_text(mg_status_text(200), "OK");
    assert_text(mg_status_text(404), "Not Found");
    assert_text(mg_status_text(431), "Request Header Fields Too Large");
    assert_text(mg_status_text(511), "Network Authentication Required");
    assert_text(mg_status_text(599), "");
    assert_text(mg_status_text(0), "");
}

static void every_reset_has_a_word(void **state)
{
    (void)state;
    for (unsigned i = MG_RESET_NONE; i <= MG_RESET_SHUTDOWN; i++)
        assert_true(strlen(mg_reset_text((mg_reset)i)) > 0);
    assert_string_equal(mg_reset_text(MG_RESET_UPSTREAM_CONNECT), "upstream_connect");
    assert_string_equal(mg_reset_text(MG_RESET_POOL_FULL), "pool");
}

static void several_lines_of_a_name_are_one_value(void **state)
{
    mg_arena arena;
    mg_fields fields = { 0 };
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    mg_fields_add(&fields, &arena, MG_NAME_OTHER, MG_STR("x-a"), MG_STR("1"));
    mg_fields_add(&fields, &arena, MG_NAME_COOKIE, MG_STR("cookie"), MG_STR("a=1"));
    assert_text(mg_fields_value(&fields, &arena, MG_NAME_OTHER, MG_STR("x-a")), "1");
    assert_null(mg_fields_value(&fields, &arena, MG_NAME_OTHER, MG_STR("x-b")).p);
    mg_fields_add(&fields, &arena, MG_NAME_OTHER, MG_STR("x-a"), MG_STR(""));
    mg_fields_add(&fields, &arena, MG_NAME_COOKIE, MG_STR("cookie"), MG_STR("b=2"));
    mg_fields_add(&fields, &arena, MG_NAME_OTHER, MG_STR("x-a"), MG_STR("3"));
    assert_text(mg_fields_value(&fields, &arena, MG_NAME_OTHER, MG_STR("x-a")), "1, , 3");
    assert_text(mg_fields_value(&fields, &arena, MG_NAME_COOKIE, MG_STR_NONE), "a=1; b=2");
    mg_fields_add(&fields, &arena, MG_NAME_SET_COOKIE, MG_STR("set-cookie"), MG_STR("a=1"));
    mg_fields_add(&fields, &arena, MG_NAME_SET_COOKIE, MG_STR("set-cookie"), MG_STR("b=2"));
    assert_text(mg_fields_value(&fields, &arena, MG_NAME_SET_COOKIE, MG_STR_NONE), "a=1");
    mg_arena_fini(&arena);
}

static void what_put_copied_goes_back_when_it_is_replaced_or_removed(void **state)
{
    static const char *const names[] = { "x-a", "user-agent", "x-much-longer-than-thirty-two-bytes-in-all" };
    char value[60000];
    mg_fields fields = { 0 };
    mg_arena arena;
    size_t used = 0;

    (void)state;
    memset(value, 'v', sizeof value);
    mg_arena_init(&arena, NULL, 0);
    for (size_t round = 0; round < 2000; round++) {
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
            const mg_str name = mg_str_of(names[i]);
            const size_t n = round % 7 * 9000 + i;

            assert_null(mg_fields_put(&fields, &arena, name, mg_str_make(value, n), true));
            assert_null(mg_fields_put(&fields, &arena, name, mg_str_make(value, n), false));
            assert_int_equal(mg_fields_remove(&fields, &arena, mg_name_find(name), name), 2);
            assert_null(mg_fields_put(&fields, &arena, name, mg_str_make(value, n), false));
            assert_null(mg_fields_put(&fields, &arena, name, mg_str_make(value, n), false));
            mg_fields_set(&fields, &arena, mg_name_find(name), name, MG_STR("static"));
            assert_field(&fields, names[i], "static");
            if (i == 1)
                mg_fields_clear(&fields, &arena);
        }
        if (round == 6)
            used = arena.used;
    }
    assert_int_equal(arena.used, used);
    mg_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(several_lines_of_a_name_are_one_value),
        cmocka_unit_test(every_known_name_is_found_by_its_text),
        cmocka_unit_test(bytes_of_names_and_values_are_those_of_the_grammar),
        cmocka_unit_test(fields_keep_their_order_and_are_set_in_place),
        cmocka_unit_test(put_copies_lowers_and_refuses),
        cmocka_unit_test(methods_are_case_sensitive_and_some_may_be_repeated),
        cmocka_unit_test(statuses_have_their_text),
        cmocka_unit_test(every_reset_has_a_word),
        cmocka_unit_test(what_put_copied_goes_back_when_it_is_replaced_or_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
