/* What plugins may set is bounded as the same thing is elsewhere: each bound, and one byte more. */
#include "call_fixture.h"

#include "http/bounds.h"

/* "/aaa.." or "aaa..", of n bytes. */
static const char *letters(fixture *f, const char *first, size_t n)
{
    char *text = mg_arena_bytes(&f->x.arena, n + 1);

    memset(text, 'a', n);
    memcpy(text, first, strlen(first));
    text[n] = '\0';
    return text;
}

static fixture *fixture_new(void)
{
    fixture *f = MG_NEW(fixture);
    const char *const sources[] = { "return { new = function() return function() end end }" };

    fixture_init(f);
    assert_true(fixture_boot(f, sources, NULL, 1));
    fixture_take(f, 0);
    return f;
}

static void fixture_free(fixture *f)
{
    fixture_give(f, false);
    fixture_fini(f);
    mg_free(f);
}

static const char *set_text(fixture *f, int what, const char *first, size_t n)
{
    return mg_call_set_text(f->call, what, letters(f, first, n), (uint32_t)n);
}

static void assert_wrong(const char *wrong, const char *part)
{
    if (!wrong || !strstr(wrong, part))
        fail_msg("\"%s\" instead of \"%s\"", wrong ? wrong : "fine", part);
}

static void a_path_is_bounded_as_the_routes_paths_are(void **state)
{
    fixture *f = fixture_new();
    char quotes[3000];

    (void)state;
    f->x.request.query = MG_STR_NONE;
    assert_null(set_text(f, MG_TEXT_PATH, "/", 8192));
    assert_wrong(set_text(f, MG_TEXT_PATH, "/", 8193), "max_path");
    assert_int_equal(f->x.request.path.n, 8192);
    memset(quotes, '"', sizeof quotes);
    quotes[0] = '/'; /* three times as long once it is escaped */
    assert_wrong(mg_call_set_text(f->call, MG_TEXT_PATH, quotes, sizeof quotes), "max_path");
    f->call->max_path_bytes = 40000;
    assert_wrong(set_text(f, MG_TEXT_PATH, "/", 16385), "max_head_bytes");
    assert_null(set_text(f, MG_TEXT_PATH, "/", 16384));
    f->call->max_path_bytes = f->call->max_target_bytes = MG_HEAD_BYTES_MAX;
    assert_null(set_text(f, MG_TEXT_PATH, "/", MG_HEAD_BYTES_MAX));
    assert_wrong(set_text(f, MG_TEXT_PATH, "/", MG_HEAD_BYTES_MAX + 1), "max_path");
    fixture_free(f);
}

static void a_query_is_bounded_with_its_path_as_targets_are(void **state)
{
    fixture *f = fixture_new();

    (void)state;
    assert_null(set_text(f, MG_TEXT_PATH, "/", 84));
    assert_null(set_text(f, MG_TEXT_QUERY, "", 16300));
    assert_wrong(set_text(f, MG_TEXT_QUERY, "", 16301), "max_head_bytes");
    assert_int_equal(f->x.request.query.n, 16300);
    assert_wrong(set_text(f, MG_TEXT_PATH, "/", 85), "max_head_bytes");
    assert_wrong(set_text(f, MG_TEXT_QUERY, "", MG_HEAD_BYTES_MAX + 1), "max_head_bytes");
    assert_null(set_text(f, MG_TEXT_QUERY, "", 0));
    assert_null(f->x.request.query.p);
    fixture_free(f);
}

static void what_a_request_brought_can_be_set_again(void **state)
{
    fixture *f = fixture_new();
    const mg_request *r = &f->x.request;

    (void)state;
    for (uint32_t n = 1000; n <= 8000; n += 1000) {
        f->x.request.path = mg_str_make(letters(f, "/", n), n);
        f->x.request.query = mg_str_make(letters(f, "", 16384 - n), 16384 - n);
        assert_null(mg_call_set_text(f->call, MG_TEXT_PATH, r->path.p, (uint32_t)r->path.n));
        assert_null(mg_call_set_text(f->call, MG_TEXT_QUERY, r->query.p, (uint32_t)r->query.n));
    }
    fixture_free(f);
}

static const char *set_field(fixture *f, const char *name, size_t name_n, size_t value_n, bool replace)
{
    return mg_call_set_header(f->call, MG_REQUEST, letters(f, name, name_n), (uint32_t)name_n,
                              letters(f, "", value_n), (uint32_t)value_n, replace);
}

static void fields_are_bounded_as_those_of_any_head_are(void **state)
{
    fixture *f = fixture_new();

    (void)state;
    assert_null(set_field(f, "x", MG_FIELD_NAME_BYTES_MAX, 1, true));
    assert_wrong(set_field(f, "x", MG_FIELD_NAME_BYTES_MAX + 1, 1, true), "256 bytes");
    assert_null(set_field(f, "x", 1, MG_HEAD_BYTES_MAX, true));
    assert_wrong(set_field(f, "x", 1, MG_HEAD_BYTES_MAX + 1, true), "64 KiB");
    fixture_free(f);
}

static void methods_and_consumers_are_bounded(void **state)
{
    fixture *f = fixture_new();

    (void)state;
    assert_null(set_text(f, MG_TEXT_METHOD, "", MG_METHOD_BYTES_MAX));
    assert_wrong(set_text(f, MG_TEXT_METHOD, "", MG_METHOD_BYTES_MAX + 1), "32 bytes");
    assert_null(set_text(f, MG_TEXT_CONSUMER, "", 256));
    assert_wrong(set_text(f, MG_TEXT_CONSUMER, "", 257), "256 bytes");
    fixture_free(f);
}

static void bodies_are_bounded_whoever_sets_them(void **state)
{
    fixture *f = fixture_new();
    char *large = mg_alloc(MG_BODY_BYTES_MAX + 1);

    (void)state;
    memset(large, 'a', MG_BODY_BYTES_MAX + 1);
    assert_wrong(mg_call_set_body(f->call, MG_REQUEST, large, MG_BODY_BYTES_MAX + 1), "64 MiB");
    assert_null(mg_call_set_body(f->call, MG_REQUEST, large, MG_BODY_BYTES_MAX));
    assert_wrong(mg_call_respond(f->call, 200, NULL, large, MG_BODY_BYTES_MAX + 1), "64 MiB");
    assert_int_equal(f->x.answer, MG_ANSWER_NONE);
    assert_null(mg_call_respond(f->call, 200, NULL, large, MG_BODY_BYTES_MAX));
    assert_int_equal(f->x.response.length, MG_BODY_BYTES_MAX);
    mg_free(large);
    fixture_free(f);
}

/* The memory of a name may hold another one the next time, of the same length. */
static void a_name_is_read_where_another_one_stood(void **state)
{
    static const char *const names[] = {
        "x-one", "x-two", "X-Two", "x two", "via", "x-one", "te", "x-one-two"
    };
    fixture *f = fixture_new();
    _Alignas(16) char name[16];
    mg_slice value;

    (void)state;
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            const uint32_t n = (uint32_t)strlen(names[i]);
            const char *digit = "0123456789" + i;
            strcpy(name, names[i]);
            const char *wrong = mg_call_set_header(f->call, MG_REQUEST, name, n, digit, 1, true);
            if (i == 3)
                assert_wrong(wrong, "not a token");
            else if (i == 4)
                assert_wrong(wrong, "the gateway writes it itself");
            else if (i == 6)
                assert_wrong(wrong, "frames the message");
            else
                assert_null(wrong);
            assert_int_equal(mg_call_header(f->call, MG_REQUEST, name, n, &value), wrong == NULL);
            if (!wrong)
                assert_memory_equal(value.p, digit, 1);
        }
    assert_true(mg_call_header(f->call, MG_REQUEST, "x-two", 5, &value));
    assert_memory_equal(value.p, "2", 1);
    fixture_free(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_bounded_as_the_routes_paths_are),
        cmocka_unit_test(a_query_is_bounded_with_its_path_as_targets_are),
        cmocka_unit_test(what_a_request_brought_can_be_set_again),
        cmocka_unit_test(fields_are_bounded_as_those_of_any_head_are),
        cmocka_unit_test(methods_and_consumers_are_bounded),
        cmocka_unit_test(bodies_are_bounded_whoever_sets_them),
        cmocka_unit_test(a_name_is_read_where_another_one_stood),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
