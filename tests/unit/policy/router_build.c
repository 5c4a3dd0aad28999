/* router_build.c - which routes are refused, and what is told of those that are there (docs/policies.md 3). */
#include "router_fixture.h"

static void templates_are_normalised_as_requests_are(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "tilde", "", "", "/%7euser/%2fx", NULL, 0);
    add(&t, "cafe", "", "", "/caf\xc3\xa9 1", NULL, 0);
    build(&t);
    assert_string_equal(get(&t, "/~user/%2Fx"), "200 tilde");
    assert_string_equal(get(&t, "/caf%C3%A9%201"), "200 cafe");
    table_fini(&t);
}

static void refused(const char *path, const char *message)
{
    table t;

    table_init(&t);
    add(&t, "bad", "", "", path, NULL, 0);
    build(&t);
    assert_null(t.router);
    assert_int_equal(t.report.errors, 1);
    assert_non_null(strstr(t.report.findings[0].message, message));
    assert_string_equal(t.report.findings[0].pointer, "routes[0].match.paths[0]");
    table_fini(&t);
}

static void paths_that_no_request_could_have_are_refused(void **state)
{
    (void)state;
    refused("users", "begins with /");
    refused("", "begins with /");
    refused("/a//b", "empty segment");
    refused("/a/../b", ". and ..");
    refused("/a/%2e", ". and ..");
    refused("/a?b", "before ? and #");
    refused("/a%zz", "begins no escape");
    refused("/a%00", "%00");
    refused("/a\nb", "control");
    refused("/a{b}", "whole segment");
    refused("/{*a}/b", "only the last");
    refused("/{a}/{a}", "twice");
    refused("/{}", "1 to 64");
    refused("/{a b}", "letters");
    refused("/{a}/...", "prefix has no parameters");
}

static void the_bounds_of_a_path_hold(void **state)
{
    mg_text path = { 0 };

    (void)state;
    for (int i = 0; i < 33; i++)
        mg_text_addf(&path, "/{p%d}", i);
    refused(path.p, "32 parameters");
    mg_text_clear(&path);
    for (int i = 0; i < 65; i++)
        mg_text_addf(&path, "/s");
    refused(path.p, "64 segments");
    mg_text_clear(&path);
    mg_text_add_char(&path, '/');
    for (int i = 0; i < 4096; i++)
        mg_text_add_char(&path, 'a');
    refused(path.p, "4096 bytes");
    mg_text_fini(&path);
}

static void hosts_methods_and_priorities_are_checked(void **state)
{
    static const struct {
        const char *hosts, *methods;
        int priority;
        const char *pointer;
    } bad[] = {
        { "a.com:80", "", 0, "routes[0].match.hosts[0]" },
        { "a.com,.b.com", "", 0, "routes[0].match.hosts[1]" },
        { "a*.com", "", 0, "routes[0].match.hosts[0]" },
        { "a..com", "", 0, "routes[0].match.hosts[0]" },
        { "", "GET,G T", 0, "routes[0].match.methods[1]" },
        { "", "*,123456789012345678901234567890123", 0, "routes[0].match.methods[1]" },
        { "", "", 1001, "routes[0].priority" },
    };

    (void)state;
    for (size_t i = 0; i < mg_countof(bad); i++) {
        table t;

        table_init(&t);
        add(&t, "bad", bad[i].hosts, bad[i].methods, "/", NULL, bad[i].priority);
        build(&t);
        assert_null(t.router);
        assert_int_equal(t.report.errors, 1);
        assert_string_equal(t.report.findings[0].pointer, bad[i].pointer);
        table_fini(&t);
    }
}

static void two_routes_no_request_could_tell_apart_are_named_with_one(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "first", "*.a.com", "PUT,GET", "/u/{id}/x", "x-k=1", 0);
    add(&t, "unlike", "*.a.com", "PUT", "/u/{id}/x", "x-k=1", 0);
    add(&t, "second", "*.A.com", "GET,PUT", "/u/{name}/x", "x-k=1", 0);
    build(&t);
    assert_null(t.router);
    assert_int_equal(t.report.errors, 1);
    assert_string_equal(t.report.findings[0].code, "duplicate-route");
    assert_string_equal(t.report.findings[0].message,
                        "routes first and second both match GET any.a.com/u/x/x -H 'x-k: 1'");
    assert_string_equal(t.report.findings[0].pointer, "routes[2].match.paths[0]");
    table_fini(&t);
}

static void different_priority_method_header_or_host_is_no_conflict(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "a", "", "", "/p/...", NULL, 0);
    add(&t, "b", "", "", "/p/...", NULL, 1);
    add(&t, "c", "", "GET", "/p/...", NULL, 0);
    add(&t, "d", "", "", "/p/...", "x=1", 0);
    add(&t, "e", "a.com", "", "/p/...", NULL, 0);
    add(&t, "f", "", "", "/p", NULL, 0);
    add(&t, "g", "", "", "/p/{*x}", NULL, 0);
    build(&t);
    assert_non_null(t.router);
    table_fini(&t);
}

static void add_line(void *self, const mg_route_line *line)
{
    static const char *const verdicts[] = { "yes", "later", "host", "path", "method", "header" };
    mg_text *text = self;

    mg_text_addf(text, "%u %.*s %s", line->rank, MG_STR_ARGS(line->name), verdicts[line->verdict]);
    if (line->verdict == MG_ROUTE_NOT_REACHED)
        mg_text_addf(text, " than %u", line->rank_before);
    if (line->verdict == MG_ROUTE_OTHER_HEADER)
        mg_text_addf(text, " %.*s wants %.*s got %s", MG_STR_ARGS(line->header), MG_STR_ARGS(line->wanted),
                     line->got.p ? "another" : "none");
    mg_text_add_char(text, '\n');
}

static void explain_tells_of_every_route_why(void **state)
{
    table t;
    mg_text text = { 0 };
    mg_route_match m;
    request r = { "x-api-key", "k1" };
    const mg_route_query query = query_of("PUT", "shop.example", "/v1/carts/42", &r);

    (void)state;
    table_init(&t);
    add(&t, "fallback", "", "", "/...", NULL, 0);
    add(&t, "cart", "", "PUT,GET", "/v1/carts/{id}", NULL, 0);
    add(&t, "cart-admin", "", "", "/v1/carts/{id}", "x-role=admin", 1);
    add(&t, "post", "", "POST", "/v1/carts/42", NULL, 0);
    add(&t, "other", "", "", "/v1/carts/{id}/items", NULL, 0);
    add(&t, "elsewhere", "*.example.com", "", "/v1/carts/42", NULL, 0);
    build(&t);
    assert_int_equal(mg_router_explain(t.router, &query, &m, add_line, &text), 200);
    assert_string_equal(m.route, "cart");
    assert_true(m.param_count == 1 && mg_str_eq_c(m.values[0], "42"));
    assert_string_equal(text.p, "1 elsewhere host\n"
                                "2 post method\n"
                                "3 cart-admin header x-role wants admin got none\n"
                                "4 cart yes\n"
                                "5 other path\n"
                                "6 fallback later than 4\n");
    mg_text_fini(&text);
    table_fini(&t);
}

static void explain_names_the_host_class_that_stands_before(void **state)
{
    table t;
    mg_text text = { 0 }, allow = { 0 };
    mg_route_match m;
    request r = { NULL, NULL };
    const mg_route_query query = query_of("GET", "a.com", "/p", &r);

    (void)state;
    table_init(&t);
    add(&t, "any", "", "", "/p", NULL, 0);
    add(&t, "exact", "a.com", "PUT", "/p", NULL, 0);
    build(&t);
    assert_int_equal(mg_router_explain(t.router, &query, &m, add_line, &text), 405);
    mg_router_allow(t.router, &m, &allow);
    assert_true(mg_str_eq(mg_text_str(&allow), MG_STR("PUT")));
    mg_text_fini(&allow);
    assert_string_equal(text.p, "1 exact method\n2 any later than 1\n");
    mg_text_fini(&text);
    table_fini(&t);
}

static void the_list_is_in_match_order(void **state)
{
    table t;
    mg_text text = { 0 };

    (void)state;
    table_init(&t);
    add(&t, "d", "", "", "/p/...", NULL, 0);
    add(&t, "c", "", "", "/p/{*r}", NULL, 0);
    add(&t, "b", "", "", "/p/{i}", NULL, 0);
    add(&t, "a", "", "", "/p/t", NULL, 0);
    add(&t, "long", "*.b.c", "", "/", NULL, 0);
    add(&t, "short", "*.c", "", "/", NULL, 0);
    build(&t);
    mg_router_list(t.router, add_line, &text);
    assert_string_equal(text.p, "1 long yes\n2 short yes\n3 a yes\n4 b yes\n5 c yes\n6 d yes\n");
    mg_text_fini(&text);
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(templates_are_normalised_as_requests_are),
        cmocka_unit_test(paths_that_no_request_could_have_are_refused),
        cmocka_unit_test(the_bounds_of_a_path_hold),
        cmocka_unit_test(hosts_methods_and_priorities_are_checked),
        cmocka_unit_test(two_routes_no_request_could_tell_apart_are_named_with_one),
        cmocka_unit_test(different_priority_method_header_or_host_is_no_conflict),
        cmocka_unit_test(explain_tells_of_every_route_why),
        cmocka_unit_test(explain_names_the_host_class_that_stands_before),
        cmocka_unit_test(the_list_is_in_match_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
