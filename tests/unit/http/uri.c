/* Paths in their one form, hosts that mean one thing. */
#include "heads.h"

#include "http/uri.h"

static void a_path_has_one_form(void **state)
{
    static const struct {
        const char *raw, *path; /* NULL: refused */
    } rows[] = {
        { "/", "/" },
        { "/a/./b/../c", "/a/c" },
        { "//a///b", "/a/b" },
        { "/%7euser/%2fx?q=1", "/~user/%2Fx" },
        { "/../etc", NULL },
        { "/a/%zz", NULL },
        { "/a", "/a" },
        { "/a/", "/a/" },
        { "/a//", "/a/" },
        { "/a/.", "/a/" },
        { "/a/..", "/" },
        { "/a/b/..", "/a/" },
        { "/a/b/../", "/a/" },
        { "/a//../b", "/b" },
        { "/a/b/../../c", "/c" },
        { "/a/../..", NULL },
        { "/..", NULL },
        { "/.", "/" },
        { "/./", "/" },
        { "/...", "/..." },
        { "/a/.b/..c/d..", "/a/.b/..c/d.." },
        { "/%2e%2E/a", NULL },
        { "/a/%2e%2e/b", "/b" },
        { "/a/%2e/b", "/a/b" },
        { "/a%2F..%2fb", "/a%2F..%2Fb" },
        { "/%41%5a%2d", "/AZ-" },
        { "/%252e%252e/", "/%252e%252e/" },
        { "/%c3%a9", "/%C3%A9" },
        { "/%0d%0a", "/%0D%0A" },
        { "/%00", NULL },
        { "/a%", NULL },
        { "/a%4", NULL },
        { "/a%4?1", NULL },
        { "/a?%zz", "/a" },
        { "/a#b", "/a" },
        { "/a\n", NULL },
        { "/a b", NULL },
        { "/\xc3\xa9", "/%C3%A9" },
        { "/\xff", "/%FF" },
        { "/a\"b{c}|d^e`<f>", "/a%22b%7Bc%7D%7Cd%5Ee%60%3Cf%3E" },
        { "/a\\..\\b", "/a%5C..%5Cb" },
        { "/{/../}", "/%7D" },
        { "/%7bid%7d", "/%7Bid%7D" },
        { "/a{b}?{}", "/a%7Bb%7D" },
        { "/\x7f", NULL },
        { "", NULL },
        { "a", NULL },
        { "?", NULL },
    };
    mg_arena arena;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < mg_countof(rows); i++) {
        mg_str out;
        bool ok = mg_uri_normalise_path(&arena, mg_str_of(rows[i].raw), 0, &out);

        if (ok != (rows[i].path != NULL))
            fail_msg("%s is %s", rows[i].raw, ok ? "accepted" : "refused");
        if (ok)
            assert_text(out, rows[i].path);
    }
    mg_arena_fini(&arena);
}

static void slashes_stay_where_they_are_to_be_kept(void **state)
{
    static const struct {
        const char *raw, *path; /* NULL: refused */
    } rows[] = {
        { "/fetch/https://example.com/a//b.png", "/fetch/https://example.com/a//b.png" },
        { "//", "//" },
        { "//admin", "//admin" },
        { "/a//", "/a//" },
        { "/a//../b", "/a/b" },
        { "/a/..//b", "//b" },
        { "/a//../../b", "/b" },
        { "/a//./b", "/a//b" },
        { "/a/.//b", "/a//b" },
        { "//..", "/" },
        { "//../..", NULL },
        { "/%2e%2e//a", NULL },
        { "/a//%2e%2E//%7eb", "/a//~b" },
        { "/%2f//%2F", "/%2F//%2F" },
    };
    mg_arena arena;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < mg_countof(rows); i++) {
        mg_str out;
        bool ok = mg_uri_normalise_path(&arena, mg_str_of(rows[i].raw), MG_URI_KEEP_SLASHES, &out);

        if (ok != (rows[i].path != NULL))
            fail_msg("%s is %s", rows[i].raw, ok ? "accepted" : "refused");
        if (ok)
            assert_text(out, rows[i].path);
    }
    mg_arena_fini(&arena);
}

static void dots_are_found_however_they_are_written(void **state)
{
    static const char *const with[] = { "/.",       "/..",   "/./a",     "/a/..", "/a/%2e",  "/%2E%2e/b",
                                        "/a/.%2e/", "/%2e.", "/a//../b", ".",     "/a/b/../" };
    static const char *const without[] = { "/",      "",           "/a",    "/...",    "/.a", "/a.",
                                           "/..a/b", "/%2e%2e%2e", "/%2ea", "/%252e",  "/%2", "/a/-2e/b",
                                           "/2e2",   "/a/-2e/b",   "/2e2",  "/a.b/.c", "//",  "/%2f.%2f" };
    (void)state;

    for (size_t i = 0; i < mg_countof(with); i++)
        if (!mg_uri_has_dots(mg_str_of(with[i])))
            fail_msg("%s", with[i]);
    for (size_t i = 0; i < mg_countof(without); i++)
        if (mg_uri_has_dots(mg_str_of(without[i])))
            fail_msg("%s", without[i]);
    assert_true(mg_uri_has_empty_segment(MG_STR("/a//")));
    assert_true(mg_uri_has_empty_segment(MG_STR("//")));
    assert_false(mg_uri_has_empty_segment(MG_STR("/a/b/")));
    assert_false(mg_uri_has_empty_segment(MG_STR("/")));
}

static void braces_of_a_template_stay(void **state)
{
    mg_arena arena;
    mg_str out;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    assert_true(mg_uri_normalise_path(&arena, MG_STR("//a/{id}/\"/%7bx%7D"), MG_URI_KEEP_BRACES, &out));
    assert_text(out, "/a/{id}/%22/%7Bx%7D");
    mg_arena_fini(&arena);
}

static void a_target_is_split_at_its_first_question_mark(void **state)
{
    static const struct {
        const char *text, *path, *query; /* NULL: none */
        int bad;                         /* the offset of the byte that may not be there, -1 */
    } rows[] = {
        { "/a?b?c", "/a", "b?c", -1 },
        { "/a", "/a", NULL, -1 },
        { "/a?", "/a", "", -1 },
        { "?b", "", "b", -1 },
        { "/{a}\"?\"|\xff", "/{a}\"", "\"|\xff", -1 },
        { "/a?\\", "/a", "\\", -1 },
        { "/a\\?b", "/a", NULL, 2 },
        { "/a b", "/a", NULL, 2 },
        { "/a?b c", "/a", "b", 4 },
        { "/a#b", "/a", NULL, 2 },
        { "/a?b#", "/a", "b", 4 },
        { "/\x7f", "/", NULL, 1 },
        { "/a?\x7f", "/a", "", 3 },
        { "/a?\t", "/a", "", 3 },
    };
    (void)state;

    for (size_t i = 0; i < mg_countof(rows); i++) {
        const mg_str text = mg_str_of(rows[i].text);
        mg_str path, query;
        bool bare;
        const char *bad = mg_uri_split(text, &path, &query, &bare);

        assert_int_equal(bad ? bad - text.p : -1, rows[i].bad);
        assert_text(path, rows[i].path);
        assert_int_equal(query.p != NULL, rows[i].query != NULL);
        if (query.p)
            assert_text(query, rows[i].query);
    }
}

static void a_query_has_one_form(void **state)
{
    const mg_str same = MG_STR("a[]=1&b=%zz&c=x+y'(*)");
    mg_arena arena;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    assert_ptr_equal(mg_uri_normalise_query(&arena, same).p, same.p);
    assert_null(mg_uri_normalise_query(&arena, MG_STR_NONE).p);
    assert_text(mg_uri_normalise_query(&arena, MG_STR("q={\"a\":[1|2]}&r=<\\^`>&s=\xc3\xa9%7b")),
                "q=%7B%22a%22:[1%7C2]%7D&r=%3C%5C%5E%60%3E&s=%C3%A9%7b");
    mg_arena_fini(&arena);
}

static void a_path_in_its_form_is_not_copied(void **state)
{
    const mg_str raw = MG_STR("/a/b.c/d?q");
    mg_arena arena;
    mg_str out;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    assert_true(mg_uri_normalise_path(&arena, raw, 0, &out));
    assert_ptr_equal(out.p, raw.p);
    assert_int_equal(out.n, 8);
    mg_arena_fini(&arena);
}

static void an_authority_is_a_host_and_perhaps_a_port(void **state)
{
    static const struct {
        const char *text, *host; /* NULL: refused */
        int port;
    } rows[] = {
        { "a", "a", -1 },
        { "API.Example.com", "api.example.com", -1 },
        { "a.example.", "a.example", -1 },
        { "a.example.:80", "a.example", 80 },
        { "a_b-c.9:0", "a_b-c.9", 0 },
        { "127.0.0.1:65535", "127.0.0.1", 65535 },
        { "[::1]", "::1", -1 },
        { "[FE80::A]:8080", "fe80::a", 8080 },
        { "[::ffff:1.2.3.4]", "::ffff:1.2.3.4", -1 },
        { "", NULL, 0 },
        { ".", NULL, 0 },
        { "..", NULL, 0 },
        { ".a", NULL, 0 },
        { "a..b", NULL, 0 },
        { "a..", NULL, 0 },
        { ":80", NULL, 0 },
        { "a:", NULL, 0 },
        { "a:65536", NULL, 0 },
        { "a:000080", NULL, 0 },
        { "a:8a", NULL, 0 },
        { "a:80:80", NULL, 0 },
        { "a:-1", NULL, 0 },
        { "u@a", NULL, 0 },
        { "a/b", NULL, 0 },
        { "a b", NULL, 0 },
        { "a,b", NULL, 0 },
        { "a%2eb", NULL, 0 },
        { "a\\b", NULL, 0 },
        { "\xc3\xa9", NULL, 0 },
        { "::1", NULL, 0 },
        { "[]", NULL, 0 },
        { "[::1", NULL, 0 },
        { "[::1]a", NULL, 0 },
        { "[::1]:", NULL, 0 },
        { "[::1%25eth0]", NULL, 0 },
        { "[v1.a]", NULL, 0 },
        { "[1.2.3.4]", NULL, 0 },
        { "[a]", NULL, 0 },
    };
    mg_arena arena;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < mg_countof(rows); i++) {
        mg_str host;
        int port;
        bool ok = mg_uri_authority(&arena, mg_str_of(rows[i].text), &host, &port);

        if (ok != (rows[i].host != NULL))
            fail_msg("%s is %s", rows[i].text, ok ? "accepted" : "refused");
        if (!ok)
            continue;
        assert_text(host, rows[i].host);
        assert_int_equal(port, rows[i].port);
    }
    mg_arena_fini(&arena);
}

static void a_host_has_a_limit(void **state)
{
    char text[256];
    mg_arena arena;
    mg_str host;
    int port;
    (void)state;

    memset(text, 'a', sizeof(text));
    mg_arena_init(&arena, NULL, 0);
    assert_true(mg_uri_authority(&arena, mg_str_make(text, 255), &host, &port));
    assert_false(mg_uri_authority(&arena, mg_str_make(text, 256), &host, &port));
    mg_arena_fini(&arena);
}

static void an_absolute_uri_is_http_or_https(void **state)
{
    static const struct {
        const char *text, *why;
    } rows[] = {
        { "a.example", "it does not begin with http:// or https://" },
        { "", "it does not begin with http:// or https://" },
        { "ftp://a", "its scheme is neither http nor https" },
        { "a:80", "its scheme is neither http nor https" },
        { "http:/a", "it has no // behind its scheme" },
        { "http:a", "it has no // behind its scheme" },
        { "http://u:p@a/", "it has a user name or password, which do not belong in a URI" },
        { "http://", "its host or port is malformed" },
        { "http:///a", "its host or port is malformed" },
        { "http://a:x/", "its host or port is malformed" },
        { "http://a\\b/", "its host or port is malformed" },
        { "http://a/b#c", "it has a fragment (#)" },
        { "http://a#c", "it has a fragment (#)" },
        { "http://a/b c", "it has a byte that must be escaped with %" },
        { "http://a/b?c\n", "it has a byte that must be escaped with %" },
    };
    mg_arena arena;
    mg_uri uri;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < mg_countof(rows); i++) {
        const char *why = mg_uri_parse(&arena, mg_str_of(rows[i].text), &uri);

        assert_string_equal(why ? why : "accepted", rows[i].why);
    }
    assert_null(mg_uri_parse(&arena, MG_STR("HTTPS://A.example:8443/x/../y?q=1?"), &uri));
    assert_text(uri.scheme, "https");
    assert_text(uri.authority, "A.example:8443");
    assert_text(uri.host, "a.example");
    assert_int_equal(uri.port, 8443);
    assert_text(uri.path, "/x/../y");
    assert_text(uri.query, "q=1?");
    assert_null(mg_uri_parse(&arena, MG_STR("https://a"), &uri));
    assert_int_equal(uri.port, 443);
    assert_text(uri.path, "/");
    assert_null(uri.query.p);
    assert_null(mg_uri_parse(&arena, MG_STR("http://a?"), &uri));
    assert_int_equal(uri.port, 80);
    assert_non_null(uri.query.p);
    mg_arena_fini(&arena);
}

static void escapes_are_decoded_once(void **state)
{
    mg_arena arena;
    mg_str same = MG_STR("a+b");
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    assert_ptr_equal(mg_uri_decode(&arena, same).p, same.p);
    assert_text(mg_uri_decode(&arena, MG_STR("a%20b%2Fc%c3%A9")), "a b/c\xc3\xa9");
    assert_text(mg_uri_decode(&arena, MG_STR("%252F")), "%2F");
    assert_text(mg_uri_decode(&arena, MG_STR("%zz%")), "%zz%");
    mg_arena_fini(&arena);
}

static void a_query_value_is_found_by_its_name(void **state)
{
    const mg_str query = MG_STR("a=1&b&&c=x+y%21&a=2&d%65=%zz&=e");
    static const struct {
        const char *name, *value;
    } rows[] = { { "a", "1" },     { "b", "" },   { "c", "x y!" }, { "de", "%zz" },
                 { "d%65", NULL }, { "x", NULL }, { "aa", NULL } };
    mg_arena arena;
    mg_str value;
    (void)state;

    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < mg_countof(rows); i++) {
        bool found = mg_uri_query_get(&arena, query, mg_str_of(rows[i].name), &value);

        assert_int_equal(found, rows[i].value != NULL);
        if (found)
            assert_text(value, rows[i].value);
    }
    assert_false(mg_uri_query_get(&arena, MG_STR_NONE, MG_STR("a"), &value));
    assert_false(mg_uri_query_get(&arena, MG_STR(""), MG_STR("a"), &value));
    mg_arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_has_one_form),
        cmocka_unit_test(slashes_stay_where_they_are_to_be_kept),
        cmocka_unit_test(dots_are_found_however_they_are_written),
        cmocka_unit_test(braces_of_a_template_stay),
        cmocka_unit_test(a_target_is_split_at_its_first_question_mark),
        cmocka_unit_test(a_query_has_one_form),
        cmocka_unit_test(a_path_in_its_form_is_not_copied),
        cmocka_unit_test(an_authority_is_a_host_and_perhaps_a_port),
        cmocka_unit_test(a_host_has_a_limit),
        cmocka_unit_test(an_absolute_uri_is_http_or_https),
        cmocka_unit_test(escapes_are_decoded_once),
        cmocka_unit_test(a_query_value_is_found_by_its_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
