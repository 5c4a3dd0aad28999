/* router.c - routes from host, path, method and headers, in their order (docs/policies.md 3). */
#include "router_fixture.h"

static void a_prefix_takes_itself_the_slash_and_all_below(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "api", "", "", "/api/...", NULL, 0);
    add(&t, "exact", "", "", "/api", NULL, 0);
    add(&t, "rest", "", "", "/api/v2/{*rest}", NULL, 0);
    build(&t);
    assert_string_equal(get(&t, "/api"), "200 exact");
    assert_string_equal(get(&t, "/api/"), "200 api");
    assert_string_equal(get(&t, "/api/x/y"), "200 api");
    assert_string_equal(get(&t, "/api/v2/y"), "200 rest");
    assert_string_equal(get(&t, "/api/v2/"), "200 api");
    assert_string_equal(get(&t, "/apis"), "404");
    assert_string_equal(get(&t, "/"), "404");
    table_fini(&t);
}

static void the_prefix_of_everything_takes_everything(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "all", "", "", "/...", NULL, 0);
    build(&t);
    assert_string_equal(get(&t, "/"), "200 all");
    assert_string_equal(get(&t, "/a/b/"), "200 all");
    assert_string_equal(get(&t, "*"), "404");
    assert_string_equal(get(&t, ""), "404");
    table_fini(&t);
}

static void a_turn_that_leads_nowhere_is_taken_back(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "near", "", "", "/a/c/d", NULL, 0);
    add(&t, "far", "", "", "/{y}/c/f", NULL, 0);
    add(&t, "deep", "", "", "/a/{x}/{z}/end", NULL, 0);
    build(&t);
    assert_string_equal(get(&t, "/a/c/f"), "200 far");
    assert_string_equal(get(&t, "/a/c/d"), "200 near");
    assert_string_equal(get(&t, "/a/c/d/end"), "200 deep");
    assert_string_equal(get(&t, "/a/c/g"), "404");
    table_fini(&t);
}

static void parameters_are_slices_of_the_path(void **state)
{
    table t;
    request r = { NULL, NULL };
    const mg_route_query query = query_of("GET", "x.com", "/a/b%2Fc/d/e", &r);
    mg_route_match m;

    (void)state;
    table_init(&t);
    add(&t, "p", "", "", "/a/{one}/{*two}", NULL, 0);
    build(&t);
    assert_int_equal(mg_router_match(t.router, &query, &m), 200);
    assert_int_equal(m.param_count, 2);
    assert_true(mg_str_eq_c(m.names[0], "one") && mg_str_eq_c(m.names[1], "two"));
    assert_ptr_equal(m.values[0].p, query.path.p + 3);
    assert_true(mg_str_eq_c(m.values[1], "d/e"));
    table_fini(&t);
}

static void an_exact_host_beats_the_longest_suffix_beats_any(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "any", "", "", "/p", NULL, 0);
    add(&t, "com", "*.com", "", "/p", NULL, 0);
    add(&t, "shop", "*.shop.com", "", "/p", NULL, 0);
    add(&t, "exact", "A.shop.com.", "", "/p", NULL, 0);
    add(&t, "v6", "[::1]", "", "/p", NULL, 0);
    build(&t);
    assert_string_equal(ask(&t, "GET", "a.shop.com", "/p", NULL, NULL), "200 exact");
    assert_string_equal(ask(&t, "GET", "b.a.shop.com", "/p", NULL, NULL), "200 shop");
    assert_string_equal(ask(&t, "GET", "shop.com", "/p", NULL, NULL), "200 com");
    assert_string_equal(ask(&t, "GET", "com", "/p", NULL, NULL), "200 any");
    assert_string_equal(ask(&t, "GET", "", "/p", NULL, NULL), "200 any");
    assert_string_equal(ask(&t, "GET", ".com", "/p", NULL, NULL), "200 any");
    assert_string_equal(ask(&t, "GET", "[::1]", "/p", NULL, NULL), "200 v6");
    table_fini(&t);
}

static void a_host_class_that_has_the_path_answers_alone(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "put", "a.com", "PUT", "/p", NULL, 0);
    add(&t, "any", "", "", "/p", NULL, 0);
    add(&t, "other", "", "", "/q", NULL, 0);
    build(&t);
    assert_string_equal(ask(&t, "GET", "a.com", "/p", NULL, NULL), "405 PUT");
    assert_string_equal(ask(&t, "GET", "a.com", "/q", NULL, NULL), "200 other");
    table_fini(&t);
}

static void a_less_specific_route_serves_the_methods_of_a_more_specific_one(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "me", "", "GET", "/u/me", NULL, 0);
    add(&t, "user", "", "PUT,DELETE", "/u/{id}", NULL, 0);
    build(&t);
    assert_string_equal(ask(&t, "PUT", "x", "/u/me", NULL, NULL), "200 user");
    assert_string_equal(ask(&t, "POST", "x", "/u/me", NULL, NULL), "405 DELETE,GET,HEAD,PUT");
    assert_string_equal(ask(&t, "PURGE", "x", "/u/me", NULL, NULL), "501");
    assert_string_equal(ask(&t, "get", "x", "/u/me", NULL, NULL), "501");
    table_fini(&t);
}

static void a_preflight_matches_as_the_method_it_asks_for(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "put", "", "PUT", "/p", NULL, 0);
    add(&t, "options", "", "OPTIONS", "/p", NULL, 0);
    build(&t);
    assert_string_equal(ask(&t, "OPTIONS", "x", "/p", "access-control-request-method", "PUT"), "200 put");
    assert_string_equal(ask(&t, "OPTIONS", "x", "/p", "access-control-request-method", "GET"),
                        "405 OPTIONS,PUT");
    assert_string_equal(ask(&t, "OPTIONS", "x", "/p", NULL, NULL), "200 options");
    table_fini(&t);
}

static void a_method_that_nobody_knows_is_501_whatever_the_path_is(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "guarded", "", "GET", "/admin/...", NULL, 0);
    add(&t, "all", "", "", "/...", NULL, 0);
    build(&t);
    assert_string_equal(ask(&t, "GET", "x", "/admin/a", NULL, NULL), "200 guarded");
    assert_string_equal(ask(&t, "HEAD", "x", "/admin/a", NULL, NULL), "200 guarded");
    assert_string_equal(ask(&t, "PATCH", "x", "/admin/a", NULL, NULL),
                        "200 all"); /* as skipping is defined */
    assert_string_equal(ask(&t, "get", "x", "/admin/a", NULL, NULL), "501");
    assert_string_equal(ask(&t, "FOO", "x", "/admin/a", NULL, NULL), "501");
    assert_string_equal(ask(&t, "FOO", "x", "/", NULL, NULL), "501");
    assert_string_equal(ask(&t, "FOO", "x", "*", NULL, NULL), "501");
    assert_string_equal(ask(&t, "", "x", "/", NULL, NULL), "501");
    assert_string_equal(ask(&t, "*", "x", "/", NULL, NULL), "501");
    /* A preflight for it is OPTIONS and no more. */
    assert_string_equal(ask(&t, "OPTIONS", "x", "/admin/a", "access-control-request-method", "get"),
                        "200 all");
    assert_string_equal(ask(&t, "OPTIONS", "x", "/admin/a", "access-control-request-method", "GET"),
                        "200 guarded");
    table_fini(&t);
}

static void a_method_that_some_route_names_is_known_to_all(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "dav", "", "PROPFIND,GET,get", "/dav/...", NULL, 0);
    add(&t, "put", "", "PUT,MKCOL", "/put", NULL, 0);
    add(&t, "all", "", "", "/all", NULL, 0);
    build(&t);
    assert_string_equal(ask(&t, "PROPFIND", "x", "/dav/a", NULL, NULL), "200 dav");
    assert_string_equal(ask(&t, "get", "x", "/dav/a", NULL, NULL), "200 dav");
    assert_string_equal(ask(&t, "propfind", "x", "/dav/a", NULL, NULL), "501");
    assert_string_equal(ask(&t, "PROPFIND", "x", "/all", NULL, NULL), "200 all");
    assert_string_equal(ask(&t, "PROPFIND", "x", "/put", NULL, NULL), "405 MKCOL,PUT");
    assert_string_equal(ask(&t, "MKCOL", "x", "/dav", NULL, NULL), "405 GET,HEAD,PROPFIND,get");
    assert_string_equal(ask(&t, "PROPFIND", "x", "/none", NULL, NULL), "404");
    assert_string_equal(ask(&t, "OPTIONS", "x", "/put", "access-control-request-method", "MKCOL"), "200 put");
    table_fini(&t);
}

static void a_route_for_any_method_takes_those_that_nobody_names(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "any", "", "*", "/any", NULL, 0);
    add(&t, "known", "", "", "/known", NULL, 0);
    add(&t, "some", "", "GET", "/some", NULL, 0);
    build(&t);
    assert_string_equal(ask(&t, "FOO", "x", "/any", NULL, NULL), "200 any");
    assert_string_equal(ask(&t, "GET", "x", "/any", NULL, NULL), "200 any");
    assert_string_equal(ask(&t, "FOO", "x", "/some", NULL, NULL), "405 GET,HEAD");
    assert_string_equal(ask(&t, "FOO", "x", "/known", NULL, NULL),
                        "405 CONNECT,DELETE,GET,HEAD,OPTIONS,PATCH,POST,PUT,TRACE");
    assert_string_equal(ask(&t, "FOO", "x", "/none", NULL, NULL), "404");
    table_fini(&t);
}

static void as_many_methods_of_ones_own_as_there_is_room_for(void **state)
{
    table t;
    char name[32];

    (void)state;
    table_init(&t);
    for (int i = 0; i <= MG_ROUTE_OWN_METHODS_MAX; i++) {
        snprintf(name, sizeof name, "OWN%d", i);
        add(&t, name, "", name, i % 2 ? "/a" : "/b", NULL, 0);
    }
    build(&t);
    assert_null(t.router);
    assert_int_equal(t.report.errors, 1);
    assert_string_equal(t.report.findings[0].pointer, "routes[54].match.methods[0]");
    table_fini(&t);
    table_init(&t);
    for (int i = 0; i < MG_ROUTE_OWN_METHODS_MAX; i++) {
        snprintf(name, sizeof name, "OWN%d", i);
        add(&t, i == 53 ? "last" : "other", "", name, "/a", NULL, 0);
    }
    build(&t);
    assert_string_equal(ask(&t, "OWN53", "x", "/a", NULL, NULL), "200 last");
    table_fini(&t);
}

static void a_header_that_differs_makes_no_405(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "admin", "", "PUT", "/p", "x-role=admin", 0);
    build(&t);
    assert_string_equal(ask(&t, "PUT", "x", "/p", "x-role", "admin"), "200 admin");
    assert_string_equal(ask(&t, "PUT", "x", "/p", "x-role", "Admin"), "404");
    assert_string_equal(ask(&t, "PUT", "x", "/p", NULL, NULL), "404");
    assert_string_equal(ask(&t, "GET", "x", "/p", "x-role", "admin"), "405 PUT");
    table_fini(&t);
}

static void priority_then_order_breaks_ties_of_one_shape_only(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    add(&t, "first", "", "", "/p/{a}", "x-a=1", 0);
    add(&t, "second", "", "", "/p/{b}", NULL, 0);
    add(&t, "third", "", "", "/p/{c}", NULL, 5);
    add(&t, "text", "", "", "/p/t", NULL, -5);
    build(&t);
    assert_string_equal(ask(&t, "GET", "x", "/p/q", "x-a", "1"), "200 third");
    assert_string_equal(get(&t, "/p/t"), "200 text");
    table_fini(&t);

    table_init(&t);
    add(&t, "first", "", "", "/p/{a}", "x-a=1", 0);
    add(&t, "second", "", "", "/p/{b}", NULL, 0);
    build(&t);
    assert_string_equal(ask(&t, "GET", "x", "/p/q", "x-a", "1"), "200 first");
    assert_string_equal(get(&t, "/p/q"), "200 second");
    table_fini(&t);
}

static void no_routes_match_nothing(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    build(&t);
    assert_string_equal(get(&t, "/"), "404");
    table_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_prefix_takes_itself_the_slash_and_all_below),
        cmocka_unit_test(the_prefix_of_everything_takes_everything),
        cmocka_unit_test(a_turn_that_leads_nowhere_is_taken_back),
        cmocka_unit_test(parameters_are_slices_of_the_path),
        cmocka_unit_test(an_exact_host_beats_the_longest_suffix_beats_any),
        cmocka_unit_test(a_host_class_that_has_the_path_answers_alone),
        cmocka_unit_test(a_less_specific_route_serves_the_methods_of_a_more_specific_one),
        cmocka_unit_test(a_preflight_matches_as_the_method_it_asks_for),
        cmocka_unit_test(a_method_that_nobody_knows_is_501_whatever_the_path_is),
        cmocka_unit_test(a_method_that_some_route_names_is_known_to_all),
        cmocka_unit_test(a_route_for_any_method_takes_those_that_nobody_names),
        cmocka_unit_test(as_many_methods_of_ones_own_as_there_is_room_for),
        cmocka_unit_test(a_header_that_differs_makes_no_405),
        cmocka_unit_test(priority_then_order_breaks_ties_of_one_shape_only),
        cmocka_unit_test(no_routes_match_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
