/* What an operator reads when a configuration is wrong: place, what is the matter, what to write instead. */
#include "config_told.h"

static void all_mistakes_are_told_in_one_pass(void **state)
{
    (void)state;
    told("version: 1\n"
         "listeners: { web: { bind: \":8080\" } }\n"
         "services:\n"
         "  cart:\n"
         "    endpoints: [{ url: \"http://10.0.0.11:9000\" }]\n"
         "    breaker: { open_jitter: 150%, probes: 3 }\n"
         "limiters:\n"
         "  per_key: { rate: 100/s }\n"
         "plugins:\n"
         "  auth: { use: key_auth }\n"
         "routes:\n"
         "  - { name: a, match: { paths: [{ prefix: / }] }, service: cart }\n"
         "  - name: b\n"
         "    match: { paths: [{ prefix: /b }] }\n"
         "    plugins: [auth, { limit: per_keys }]\n"
         "    timeout: 2\n"
         "    backends: [{ service: cart }]\n",
         "m.yaml:6:29: error[out-of-range] services.cart.breaker.open_jitter: 150% is above the maximum 50%\n"
         "    6 |     breaker: { open_jitter: 150%, probes: 3 }\n"
         "      |                             ^^^^\n"
         "      = write a share from 0% to 50%, or leave the key out for the default 10%\n"
         "m.yaml:16:14: error[missing-unit] routes[1].timeout: 2 has no unit; a duration is due here\n"
         "   16 |     timeout: 2\n"
         "      |              ^\n"
         "      = write 2s or 2ms\n"
         "m.yaml:15:30: error[dangling-reference] routes[1].plugins[1].limit: no limiter is named "
         "\"per_keys\"\n"
         "   15 |     plugins: [auth, { limit: per_keys }]\n"
         "      |                              ^^^^^^^^\n"
         "      = did you mean \"per_key\" (m.yaml:8)?\n");
}

static void what_this_build_lacks_is_refused_by_name(void **state)
{
    (void)state;
    told(HEAD "cluster: { redis: \"redis://10.0.0.5:6379\" }\n" CART,
         "m.yaml:3:1: error[unknown-key] cluster: unknown key \"cluster\"\n"
         "    3 | cluster: { redis: \"redis://10.0.0.5:6379\" }\n"
         "      | ^^^^^^^\n"
         "      = cluster limits are not in this build\n");
    told(HEAD "services: { cart: { endpoints: [{ url: \"https://a\" }] } }\n",
         "m.yaml:3:40: error[not-allowed] services.cart.endpoints[0].url: \"https://a\": TLS to upstreams is "
         "not in this "
         "build\n"
         "    3 | services: { cart: { endpoints: [{ url: \"https://a\" }] } }\n"
         "      |                                        ^^^^^^^^^^^\n"
         "      = write http:// and the plain port\n");
    told(HEAD "services: { cart: { endpoints: [{ url: \"http://a\" }], discover: { dns: a } } }\n",
         "m.yaml:3:55: error[unknown-key] services.cart.discover: unknown key \"discover\"\n"
         "    3 | services: { cart: { endpoints: [{ url: \"http://a\" }], discover: { dns: a } } }\n"
         "      |                                                       ^^^^^^^^\n"
         "      = discovery is not in this build; a host name in an endpoint's url is looked up in DNS\n");
}

static void the_top_must_be_there(void **state)
{
    (void)state;
    found("", "wrong-type : must be a map, this is empty\n");
    found("[]", "wrong-type : must be a map, this is a list\n");
    found("version: 2\nlisteners: { web: { bind: \":1\" } }\n", "not-allowed version: must be 1\n");
    found("listeners: { web: { bind: \":1\" } }\n", "missing-key : the key \"version\" is missing\n");
    told("version: 1\nlisteners: {}\n", "m.yaml:2:12: error[missing-key] listeners: there is no listener\n"
                                        "    2 | listeners: {}\n"
                                        "      |            ^\n"
                                        "      = add: listeners: { web: { bind: \":8080\" } }\n");
    found("version: 1\nlisteners: 5\n", "wrong-type listeners: must be a map, this is a whole number\n");
}

static void listeners_are_judged(void **state)
{
    (void)state;
    told("version: 1\nlisteners:\n  a: { bind: \":8080\" }\n  b: { bind: \":8080\" }\n",
         "m.yaml:4:14: error[duplicate-key] listeners.b.bind: the listener \"a\" has this address already\n"
         "    4 |   b: { bind: \":8080\" }\n"
         "      |              ^^^^^^^\n"
         "      = give each its own port\n");
    found(HEAD "status: { bind: \":8080\" }\n",
          "duplicate-key status.bind: the listener \"web\" has this address already\n");
    found("version: 1\nlisteners: { a: { bind: \":0\" }, b: { bind: \":0\" } }\n", "");
    found("version: 1\nlisteners: { a: { bind: \":1\", trusted_proxies: [10.0.0.0/33, x, \"::/0\"] } }\n",
          "not-allowed listeners.a.trusted_proxies[0]: \"10.0.0.0/33\" is not a block of addresses\n"
          "not-allowed listeners.a.trusted_proxies[1]: \"x\" is not a block of addresses\n");
    found("version: 1\nlisteners: { a: { bind: \":1\", max_head_bytes: 128KiB } }\n",
          "out-of-range listeners.a.max_head_bytes: 128KiB is above the maximum 64KiB\n");
    found("version: 1\nlisteners: { \"a b\": { bind: \":1\" } }\n",
          "not-allowed listeners.a b: \"a b\" does not have the form ^[A-Za-z0-9._-]{1,64}$\n");
}

static void the_admin_listener_is_judged(void **state)
{
    (void)state;
    hinted(HEAD "admin: { bind: \"127.0.0.1:9901\", token_file: x, writes: overlay }\n",
           "unknown-key admin.token_file: unknown key \"token_file\" -> tokens are not in this build; the "
           "socket's mode says who may connect\n"
           "unknown-key admin.writes: unknown key \"writes\" -> in this build writes change the state of "
           "policies, not the configuration\n"
           "not-allowed admin.bind: in this build only a socket of this machine may change the gateway: a "
           "network address needs tokens, which are not in it -> write \"unix:run/admin.sock\"\n");
    found(
        "version: 1\nlisteners: { own: { bind: \"unix:x\" } }\nadmin: { bind: \"unix:x\" }\nstatus: { bind: "
        "\"unix:./x\" }\n",
        "duplicate-key admin.bind: the listener \"own\" has this address already\n");
    found(HEAD "admin: { bind: \"unix:x\" }\nstatus: { bind: \"unix:x\" }\n",
          "duplicate-key status.bind: admin has this address already\n");
    found(HEAD "admin: {}\n", "missing-key admin: the key \"bind\" is missing\n");
}

static void services_are_judged(void **state)
{
    (void)state;
    found(HEAD
          "services:\n"
          "  a: { endpoints: [] }\n"
          "  b: { endpoints: [{ url: \"http://a/base\" }, { url: \"http://a:0\" }, { url: \"ftp://a\" }] }\n"
          "  c: { endpoints: [{ url: \"http://u:p@a\" }, { url: x }, { weight: 2 }] }\n"
          "  d: { endpoints: [{ url: \"http://a\", weight: 0 }] }\n"
          "  e: { endpoints: [{ url: \"http://a\" }], breaker: { open_for: 40s } }\n"
          "routes: []\n",
          "out-of-range services.a.endpoints: has 0 items, the least is 1\n"
          "not-allowed services.c.endpoints[1].url: \"x\" is not a URL\n"
          "missing-key services.c.endpoints[2]: the key \"url\" is missing\n"
          "not-allowed services.b.endpoints[0].url: \"http://a/base\": an endpoint is an address, it has no "
          "path\n"
          "not-allowed services.b.endpoints[1].url: \"http://a:0\": port 0 cannot be connected to\n"
          "not-allowed services.b.endpoints[2].url: \"ftp://a\": its scheme is neither http nor https\n"
          "not-allowed services.c.endpoints[0].url: \"http://u:p@a\": it has a user name or password, which "
          "do not belong "
          "in a URI\n"
          "not-allowed services.d.endpoints: every endpoint has weight 0: none would ever be picked\n"
          "out-of-range services.e.breaker.open_for: open_for is longer than open_max (30s)\n");
}

static void limiters_are_judged(void **state)
{
    (void)state;
    found(HEAD "limiters:\n"
               "  a: { rate: 0/s }\n"
               "  b: { rate: 0/s, mode: deny }\n"
               "  c: {}\n"
               "  d: { mode: deny }\n"
               "  e: { rate: 2000000/s }\n"
               "  f: { rate: 2000000/d }\n"
               "  g: { rate: 1/d, burst: 32 }\n"
               "  h: { rate: 5/s, cost: 6 }\n"
               "  i: { rate: 5/s, key: \"ip+heeder:x\" }\n"
               "  j: { rate: 5/s, key: tenant }\n"
               "  k: { rate: 5/s, key: \"header:\" }\n"
               "  l: { rate: 5/s, key: \"ip+ip+ip+ip+ip\" }\n"
               "  m: { rate: 5/s, burst: 0 }\n"
               "  n: { rate: 5 }\n",
          "out-of-range limiters.m.burst: 0 is below the minimum 1\n"
          "missing-unit limiters.n.rate: 5 has no unit; a rate is due here\n"
          "out-of-range limiters.a.rate: a rate of 0 can never admit anything\n"
          "missing-key limiters.c: the key \"rate\" is missing\n"
          "out-of-range limiters.e.rate: 2000000/s is above the maximum 1000000/s\n"
          "out-of-range limiters.f.rate: the burst, by default the count of the rate, is above the maximum "
          "1000000\n"
          "out-of-range limiters.g.burst: a burst of 32 takes more than 31 days to refill\n"
          "out-of-range limiters.h.cost: a cost of 6 is above the burst of 5: nothing would ever pass\n"
          "not-allowed limiters.i.key: \"heeder:x\" names nothing that can be counted\n"
          "not-allowed limiters.j.key: tenants are not in this build\n"
          "not-allowed limiters.k.key: \"header:\" names nothing that can be counted\n"
          "not-allowed limiters.l.key: a key has at most 4 parts\n");
}

static void routes_are_judged(void **state)
{
    (void)state;
    told(HEAD CART "routes:\n"
                   "  - { name: a, match: { paths: [{ prefix: / }] }, service: cart }\n"
                   "  - { name: a, match: { paths: [{ prefix: /x }] }, service: cart }\n",
         "m.yaml:6:13: error[duplicate-key] routes[1].name: another route is named \"a\"\n"
         "    6 |   - { name: a, match: { paths: [{ prefix: /x }] }, service: cart }\n"
         "      |             ^\n"
         "      = the first is at m.yaml:5; names stand in metrics and logs, so each is used once\n");
    told(HEAD CART
         "routes: [{ name: a, match: { paths: [{ prefix: / }] }, backends: [{ service: carts }] }]\n",
         "m.yaml:4:78: error[dangling-reference] routes[0].backends[0].service: no service is named "
         "\"carts\"\n"
         "    4 | routes: [{ name: a, match: { paths: [{ prefix: / }] }, backends: [{ service: carts }] }]\n"
         "      |                                                                              ^^^^^\n"
         "      = did you mean \"cart\" (m.yaml:3)?\n");
    found(
        HEAD CART
        "routes:\n"
        "  - { name: a, match: { paths: [{ prefix: /a }] } }\n"
        "  - { name: b, match: { paths: [{ prefix: /b }] }, service: cart, backends: [{ service: cart }] }\n"
        "  - { name: c, match: { paths: [{ prefix: /c }] }, backends: [{ service: cart }, { service: cart }] "
        "}\n"
        "  - { name: d, match: { paths: [{ prefix: /d }], methods: [G TE, CONNECT] }, service: cart }\n"
        "  - { name: e, match: { paths: [{ prefix: /e, exact: /e }] }, service: cart }\n"
        "  - { name: f, match: { paths: [{ prefix: /f }], headers: { X-a: 1, x-b: q, X-B: r } }, service: "
        "cart }\n"
        "  - { match: {}, service: cart }\n",
        "not-allowed routes[3].match.methods[0]: \"G TE\" does not have the form "
        "^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,32}$\n"
        "out-of-range routes[4].match.paths[0]: has 2 keys, the most is 1\n"
        "wrong-type routes[5].match.headers.X-a: must be a text, this is a whole number\n"
        "missing-key routes[6]: the key \"name\" is missing\n"
        "missing-key routes[6].match: the key \"paths\" is missing\n"
        "missing-key routes[0]: nothing answers here: the route has neither a service nor plugins\n"
        "not-allowed routes[1].service: stands beside \"backends\"\n"
        "duplicate-key routes[2].backends[1]: the service \"cart\" is a backend of this route already\n"
        "not-allowed routes[3].match.methods[1]: CONNECT is never proxied\n"
        "duplicate-key routes[5].match.headers.X-B: names the same field twice; case does not count\n");
}

static void paths_and_hosts_are_judged(void **state)
{
    (void)state;
    found(HEAD CART
          "routes:\n"
          "  - name: a\n"
          "    service: cart\n"
          "    match:\n"
          "      hosts: [\"a..b\", \"a:80\", \"*.A.example\", \"[::1]\", \"a b\"]\n"
          "      paths: [{ prefix: a }, { prefix: /a//b }, { prefix: /%zz }, { prefix: \"/a?b\" }, { exact: "
          "\"/{a}\" }, { prefix: '/a\"|b' }, { template: '/<{id}>' }, { template: '/é/{id}' }]\n"
          "  - name: b\n"
          "    service: cart\n"
          "    match:\n"
          "      paths: [{ template: \"/{a}/{a}\" }, { template: \"/{*a}/b\" }, { template: \"/x{a}\" }, { "
          "template: "
          "\"/{1}\" }, { template: \"/{}\" }, { template: \"/{*}\" }, { template: \"/{a}/{*b}\" }]\n",
          "not-allowed routes[0].match.hosts[1]: \"a:80\" is not a host name\n"
          "not-allowed routes[0].match.hosts[4]: \"a b\" is not a host name\n"
          "not-allowed routes[0].match.hosts[0]: \"a..b\" is not a host name\n"
          "not-allowed routes[0].match.paths[0].prefix: \"a\" does not begin with /\n"
          "not-allowed routes[0].match.paths[1].prefix: \"/a//b\" would never be seen so: paths are "
          "normalised before they "
          "are matched\n"
          "not-allowed routes[0].match.paths[2].prefix: \"/%zz\" is not a path\n"
          "not-allowed routes[0].match.paths[3].prefix: \"/a?b\" would never be seen so: paths are "
          "normalised before they are "
          "matched\n"
          "not-allowed routes[0].match.paths[4].exact: \"/{a}\" has a brace, which only a template "
          "understands\n"
          "not-allowed routes[0].match.paths[5].prefix: \"/a\"|b\" would never be seen so: paths are "
          "normalised before they are matched\n"
          "not-allowed routes[0].match.paths[6].template: \"/<{id}>\" has a parameter as others write it, "
          "which "
          "would match nothing but itself\n"
          "not-allowed routes[0].match.paths[7].template: \"/é/{id}\" would never be seen so: paths are "
          "normalised before they are matched\n"
          "not-allowed routes[1].match.paths[0].template: \"/{a}/{a}\" names a parameter twice\n"
          "not-allowed routes[1].match.paths[1].template: \"/{*a}/b\" has something behind {*name}, which "
          "takes all that is "
          "left\n"
          "not-allowed routes[1].match.paths[2].template: \"/x{a}\" has a brace inside a segment; a "
          "parameter is a whole "
          "segment\n"
          "not-allowed routes[1].match.paths[3].template: \"/{1}\" has a parameter whose name is not of "
          "letters, digits and "
          "_\n"
          "not-allowed routes[1].match.paths[4].template: \"/{}\" has a parameter whose name is not of "
          "letters, digits and "
          "_\n"
          "not-allowed routes[1].match.paths[5].template: \"/{*}\" has a parameter whose name is not of "
          "letters, digits and "
          "_\n");
}

static void a_path_is_judged_in_the_form_that_its_route_matches(void **state)
{
    (void)state;
    found(
        HEAD CART
        "routes:\n"
        "  - { name: c, service: cart, path: { merge_slashes: false }, match: { paths: [{ prefix: /c//d }, { "
        "template: \"//c//{x}\" }] } }\n",
        "");
    hinted(
        HEAD CART
        "routes:\n"
        "  - { name: c, service: cart, path: { merge_slashes: false }, match: { paths: [{ exact: /c//../e "
        "}] } }\n"
        "  - { name: d, service: cart, match: { paths: [{ exact: /c//e }] } }\n",
        "not-allowed routes[0].match.paths[0].exact: \"/c//../e\" would never be seen so: paths are "
        "normalised "
        "before they are matched -> write /c/e\n"
        "not-allowed routes[1].match.paths[0].exact: \"/c//e\" would never be seen so: paths are normalised "
        "before they are matched -> write /c/e, or path: { merge_slashes: false } beside match for requests "
        "that "
        "have these slashes\n");
    found(HEAD CART
          "routes: [{ name: d, service: cart, path: { merge: false, raw: yes }, match: { paths: [{ prefix: / "
          "}] } }]\n",
          "unknown-key routes[0].path.merge: unknown key \"merge\"\n"
          "not-allowed routes[0].path.raw: \"yes\" is none of no, upstream\n");
}

static void chains_are_judged(void **state)
{
    (void)state;
    found(HEAD CART "plugins: { auth: { use: key_auth }, own: { use: plugins/own } }\n"
                    "routes:\n"
                    "  - name: a\n"
                    "    match: { paths: [{ prefix: / }] }\n"
                    "    service: cart\n"
                    "    plugins: [auht, { limit: 5 }, { cors: }, { cors: {}, x: {} }, {}, 7, { \"a/b\": {} "
                    "}, { limit: x }]\n",
          "out-of-range routes[0].plugins[3]: has 2 keys, the most is 1\n"
          "out-of-range routes[0].plugins[4]: has 0 keys, the least is 1\n"
          "wrong-type routes[0].plugins[5]: must be a text or a map, this is a whole number\n"
          "not-allowed plugins.own.use: \"plugins/own\" is not the name of a built-in\n"
          "dangling-reference routes[0].plugins[0]: no plugin is named \"auht\"\n"
          "wrong-type routes[0].plugins[1].limit: must be a limiter's name, this is a whole number\n"
          "wrong-type routes[0].plugins[2].cors: must be the built-in's configuration, a map, this is null\n"
          "not-allowed routes[0].plugins[6].a/b: \"a/b\" is not the name of a built-in\n"
          "dangling-reference routes[0].plugins[7].limit: no limiter is named \"x\"\n");
}

static void what_is_unused_is_a_warning(void **state)
{
    mg_report report = MG_REPORT_INIT;
    mg_config *config =
        mg_config_load_text("m.yaml",
                            MG_STR(HEAD "services:\n"
                                        "  cart: { endpoints: [{ url: \"http://a:1\" }] }\n"
                                        "  left: { endpoints: [{ url: \"http://a:1\" }] }\n"
                                        "limiters: { one: { rate: 1/s } }\n"
                                        "plugins: { p: { use: cors } }\n"
                                        "routes: [{ name: a, match: { paths: [{ prefix: / }] }, service: "
                                        "cart }]\n"),
                            NULL, &report);

    (void)state;
    assert_non_null(config);
    assert_int_equal(report.warnings, 3);
    check_report(&report, "m.yaml:5:3: warning[unused] services.left: no route uses the service \"left\"\n"
                          "    5 |   left: { endpoints: [{ url: \"http://a:1\" }] }\n"
                          "      |   ^^^^\n"
                          "m.yaml:6:13: warning[unused] limiters.one: no route uses the limiter \"one\"\n"
                          "    6 | limiters: { one: { rate: 1/s } }\n"
                          "      |             ^^^\n"
                          "m.yaml:7:12: warning[unused] plugins.p: no route uses the plugin \"p\"\n"
                          "    7 | plugins: { p: { use: cors } }\n"
                          "      |            ^\n");
    mg_config_free(config);
    mg_report_fini(&report);
}

static void several_services_need_routes(void **state)
{
    (void)state;
    found(HEAD "services: { a: { endpoints: [{ url: \"http://a\" }] }, b: { endpoints: [{ url: \"http://b\" "
               "}] } }\n",
          "missing-key services: there are several services and no routes to say what goes where\n");
}

static void a_slip_in_the_access_log_is_no_file(void **state)
{
    (void)state;
    told(HEAD CART "observability: { access_log: { to: stdot } }\n",
         "m.yaml:4:36: error[not-allowed] observability.access_log.to: \"stdot\" is none of stdout, stderr, "
         "off\n"
         "    4 | observability: { access_log: { to: stdot } }\n"
         "      |                                    ^^^^^\n"
         "      = for a file of this name write ./stdot\n");
}

static void a_report_is_bounded(void **state)
{
    mg_report report = MG_REPORT_INIT;
    mg_text text = { 0 };

    (void)state;
    mg_text_add_c(&text, HEAD "services:\n");
    for (int i = 0; i < 5000; i++)
        mg_text_addf(&text, "  s%d: { endpoints: [{ url: x, y: 1 }] }\n", i);
    assert_null(mg_config_load_text("m.yaml", mg_text_str(&text), NULL, &report));
    assert_int_equal(report.count, MG_REPORT_MAX);
    assert_true(report.full);
    assert_true(report.errors >= 10000);
    mg_report_fini(&report);
    report.keeps = MG_REPORT_ALL; /* as for who asks for all */
    assert_null(mg_config_load_text("m.yaml", mg_text_str(&text), NULL, &report));
    assert_false(report.full);
    assert_int_equal(report.count, report.errors + report.warnings);
    assert_true(report.errors >= 10000);
    mg_report_fini(&report);
    mg_text_fini(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_mistakes_are_told_in_one_pass),
        cmocka_unit_test(what_this_build_lacks_is_refused_by_name),
        cmocka_unit_test(the_top_must_be_there),
        cmocka_unit_test(listeners_are_judged),
        cmocka_unit_test(the_admin_listener_is_judged),
        cmocka_unit_test(services_are_judged),
        cmocka_unit_test(limiters_are_judged),
        cmocka_unit_test(routes_are_judged),
        cmocka_unit_test(paths_and_hosts_are_judged),
        cmocka_unit_test(a_path_is_judged_in_the_form_that_its_route_matches),
        cmocka_unit_test(chains_are_judged),
        cmocka_unit_test(what_is_unused_is_a_warning),
        cmocka_unit_test(several_services_need_routes),
        cmocka_unit_test(a_slip_in_the_access_log_is_no_file),
        cmocka_unit_test(a_report_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
