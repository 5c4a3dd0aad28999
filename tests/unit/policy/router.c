/* Routes from host, path, method and headers: order, refusals and explanations (docs/policies.md 3). */
#include "policy/router.h"

#include "base/mem.h"

#include "support/check.h"

/* A route in one line: "name [host] [METHOD,METHOD] path [header=value] [^priority]", prefix paths written
 * /p/... */
typedef struct table {
    mg_router_builder *builder;
    mg_report report;
    mg_router *router;
    uint32_t count;
    char names[64][32];
} table;

static void table_init(table *t)
{
    *t = (table){ .builder = mg_router_builder_new(7, NULL, NULL) };
}

static void add(table *t, const char *name, const char *hosts, const char *methods, const char *path,
                const char *header, int priority)
{
    mg_str host_list[8], method_list[9], rest, part;
    mg_route_header wanted;
    mg_route_path where = { mg_str_of(path), false };
    mg_route_spec spec = { .name = mg_str_of(name), .paths = &where, .path_count = 1, .priority = priority };

    if (mg_str_ends(where.text, MG_STR("..."))) {
        where.text.n -= 3;
        where.prefix = true;
    }
    spec.hosts = host_list;
    spec.methods = method_list;
    for (rest = mg_str_of(hosts); rest.n && mg_str_cut(&rest, ',', &part);)
        host_list[spec.host_count++] = part;
    for (rest = mg_str_of(methods); rest.n && mg_str_cut(&rest, ',', &part);)
        method_list[spec.method_count++] = part;
    if (header) {
        const char *equals = strchr(header, '=');

        wanted.name = mg_str_make(header, (size_t)(equals - header));
        wanted.value = mg_str_of(equals + 1);
        spec.headers = &wanted;
        spec.header_count = 1;
    }
    snprintf(t->names[t->count], sizeof(t->names[0]), "%s", name);
    mg_router_add(t->builder, &spec, t->names[t->count], t->count, &t->report);
    t->count++;
}

static void build(table *t)
{
    t->router = mg_router_build(t->builder, &t->report);
}

static void table_fini(table *t)
{
    mg_router_free(t->router);
    mg_router_builder_free(t->builder);
    mg_report_fini(&t->report);
}

typedef struct request {
    const char *header, *value; /* the one it has, or NULL */
} request;

static bool find_header(void *self, mg_str name, mg_str *value)
{
    const request *r = self;

    if (!r->header || !mg_str_eq_c(name, r->header))
        return false;
    *value = mg_str_of(r->value);
    return true;
}

static mg_route_query query_of(const char *method, const char *host, const char *path, request *r)
{
    return (
        mg_route_query){ mg_str_of(host), mg_str_of(path), mg_str_of(method), find_header, r, MG_STR_NONE };
}

/* "200 name", "404", "405 ALLOW", "501"; and explain must say the same. */
static const char *ask(table *t, const char *method, const char *host, const char *path, const char *header,
                       const char *value)
{
    static char text[160];
    request r = { header, value };
    const mg_route_query query = query_of(method, host, path, &r);
    mg_route_match m;
    const int status = mg_router_match(t->router, &query, &m);
    mg_text allow = { 0 };

    if (status == 405)
        mg_router_allow(t->router, &m, &allow);
    mg_text_add_char(&allow, '\0');
    snprintf(text, sizeof(text), "%d%s%s", status, status == 404 || status == 501 ? "" : " ",
             status == 200 ? (const char *)m.route : allow.p);
    mg_text_fini(&allow);
    return text;
}

static const char *get(table *t, const char *path)
{
    return ask(t, "GET", "x.com", path, NULL, NULL);
}

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

static void no_routes_match_nothing(void **state)
{
    table t;

    (void)state;
    table_init(&t);
    build(&t);
    assert_string_equal(get(&t, "/"), "404");
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
        cmocka_unit_test(templates_are_normalised_as_requests_are),
        cmocka_unit_test(paths_that_no_request_could_have_are_refused),
        cmocka_unit_test(the_bounds_of_a_path_hold),
        cmocka_unit_test(hosts_methods_and_priorities_are_checked),
        cmocka_unit_test(two_routes_no_request_could_tell_apart_are_named_with_one),
        cmocka_unit_test(different_priority_method_header_or_host_is_no_conflict),
        cmocka_unit_test(no_routes_match_nothing),
        cmocka_unit_test(explain_tells_of_every_route_why),
        cmocka_unit_test(explain_names_the_host_class_that_stands_before),
        cmocka_unit_test(the_list_is_in_match_order),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
