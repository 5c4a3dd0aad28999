/* Documents that say something, and cannot mean it: refused or warned of, with what was meant. */
#include "config_told.h"

#include "base/mem.h"

static void an_address_stands_in_a_service_once(void **state)
{
    (void)state;
    hinted(HEAD
           "services:\n"
           "  a: { endpoints: [{ url: \"http://a:80\" }, { url: \"http://A.:80/\", weight: 3 }] }\n"
           "  b: { endpoints: [{ url: \"http://b\" }, { url: \"HTTP://b:80\" }, { url: \"http://b:81\" }] }\n"
           "  c: { endpoints: [{ url: \"http://[::1]:1\" }, { url: \"http://[0:0:0:0:0:0:0:1]:1\" }, { url: "
           "\"http://[::2]:1\" }] }\n"
           "  d: { endpoints: [{ url: \"http://127.0.0.1:1\" }, { url: \"http://localhost:1\" }, { url: "
           "\"http://127.0.0.1:2\" }, { url: \"http://127.0.0.1:1\", weight: 0 }] }\n"
           "  e: { endpoints: [{ url: \"http://a:80\" }] }\n"
           "routes: [{ name: r, match: { paths: [{ prefix: / }] }, service: a }]\n",
           "duplicate-key services.a.endpoints[1].url: endpoints[0] has this address already -> keep one of "
           "them, "
           "with weight: 4 for the same share\n"
           "duplicate-key services.b.endpoints[1].url: endpoints[0] has this address already -> keep one of "
           "them, "
           "with weight: 2 for the same share\n"
           "duplicate-key services.c.endpoints[1].url: endpoints[0] has this address already -> keep one of "
           "them, "
           "with weight: 2 for the same share\n"
           "duplicate-key services.d.endpoints[3].url: endpoints[0] has this address already -> keep one of "
           "them, "
           "with weight: 1 for the same share\n");
}

static void a_limiter_stands_in_a_chain_once(void **state)
{
    (void)state;
    hinted(
        HEAD CART
        "limiters: { one: { algorithm: concurrency, quota: 1 }, two: { rate: 1/s } }\n"
        "plugins: { tidy: { use: headers } }\n"
        "routes:\n"
        "  - { name: a, match: { paths: [{ prefix: /a }] }, service: cart, plugins: [{ limit: one }, tidy, "
        "{ limit: two }, { limit: one }] }\n"
        "  - { name: b, match: { paths: [{ prefix: /b }] }, service: cart, plugins: [{ limit: one }, { "
        "limit: two }] }\n",
        "duplicate-key routes[0].plugins[3]: the limiter \"one\" stands in this chain already -> name it "
        "once; "
        "cost: 2 charges more than one for a request\n");
    hinted(
        HEAD CART
        "plugins: { tidy: { use: headers } }\n"
        "routes: [{ name: a, match: { paths: [{ prefix: /a }] }, service: cart, plugins: [tidy, tidy] }]\n",
        "duplicate-key routes[0].plugins[1]: the plugin \"tidy\" stands in this chain already: it runs "
        "twice\n");
}

/* kind, path, what is said of it */
static const struct {
    const char *kind, *path, *said;
} foreign[] = {
    { "prefix", "/api/*", "write prefix: /api, which takes all below" },
    { "prefix", "/api/**", "write prefix: /api, which takes all below" },
    { "exact", "/api/*", "write prefix: /api, which takes all below" },
    { "prefix", "/*", "write prefix: /, which takes all below" },
    { "template", "/api/*", "write template: /api/{*rest}" },
    { "template", "/v1/:id", "write template: /v1/{id}" },
    { "template", "/v1/:id/items/:item", "write template: /v1/{id}/items/{item}" },
    { "template", "/v1/{id}/:item", "write template: /v1/{id}/{item}" },
    { "template", "/v1/:rest*", "write template: /v1/{rest}" },
    { "template", "/v1/<id>", "write template: /v1/{id}" },
    { "template", "/v1/<int:id>/x", "write template: /v1/{id}/x" },
    { "template", "/v1/*/x", "write template: /v1/{name}/x" },
    { "template", "/img/*.png", "write template: /img/{name}" },
    { "prefix", "/v1/:id", "write template: /v1/{id}/{*rest}" },
    { "prefix", "/v1/:id/*", "write template: /v1/{id}/{*rest}" },
    { "exact", "/v1/:id", "write template: /v1/{id}" },
    { "prefix", "/v1/{id}", "write template: /v1/{id}, or %7B and %7D for braces that requests have" },
    { "prefix", "~ ^/api", "write prefix: /users, or template: /users/{id}" },
    { "prefix", "^/api/", "write prefix: /users, or template: /users/{id}" },
    { "template", "/users/[0-9]+", "write prefix: /users, or template: /users/{id}" },
    { "prefix", "/.*", "write prefix: /users, or template: /users/{id}" },
    { "template", "/users/\\d+", "write prefix: /users, or template: /users/{id}" },
    { "prefix", "http://shop.example/api", "write the path alone, and its host into match.hosts" },
    { "prefix", "api", "write /api" },
};

static const char *const plain[] = { "/v1/things:cancel", "/a/x:y", "/Entity(1)",
                                     "/a.b+c/~d",         "/@me",   "/a;v=1" };

static void wildcards_of_others_are_told_what_they_are_here(void **state)
{
    (void)state;
    for (size_t i = 0; i < mg_countof(foreign); i++) {
        mg_report report = MG_REPORT_INIT;
        mg_text text = { 0 };

        mg_text_addf(&text,
                     HEAD CART "routes: [{ name: a, service: cart, match: { paths: [{ %s: '%s' }] } }]\n",
                     foreign[i].kind, foreign[i].path);
        assert_null(mg_config_load_text("m.yaml", mg_text_str(&text), NULL, &report));
        if (report.errors != 1 || !report.findings[0].hint ||
            strcmp(report.findings[0].hint, foreign[i].said) != 0)
            fail_msg("%s: %s: %s", foreign[i].kind, foreign[i].path,
                     report.count ? report.findings[0].hint : "nothing is said");
        mg_report_fini(&report);
        mg_text_fini(&text);
    }
    for (size_t i = 0; i < mg_countof(plain); i++) {
        mg_text text = { 0 };

        mg_text_addf(&text,
                     HEAD CART "routes: [{ name: a, service: cart, match: { paths: [{ prefix: '%s' }] } }]\n",
                     plain[i]);
        found(text.p, "");
        mg_text_fini(&text);
    }
}

static void ejections_that_panic_undoes_are_told(void **state)
{
    (void)state;
    hinted(
        HEAD
        "services:\n"
        "  a: { endpoints: [{ url: \"http://a\" }], eject: { max_share: 80% } }\n"
        "  b: { endpoints: [{ url: \"http://b\" }], eject: { max_share: 50% } }\n"
        "  c: { endpoints: [{ url: \"http://c\" }], eject: { max_share: 80% }, panic: 20% }\n"
        "  d: { endpoints: [{ url: \"http://d\" }], eject: { max_share: 100% }, panic: 0% }\n"
        "  e: { endpoints: [{ url: \"http://e\" }], eject: {}, panic: 95% }\n"
        "routes: [{ name: r, match: { paths: [{ prefix: / }] }, backends: [{ service: a }, { service: b }, { "
        "service: c }, { service: d }, { service: e }] }]\n",
        "no-effect services.a.eject.max_share: with more than 50% of the endpoints out there is panic (50%), "
        "and all "
        "are asked again: a max_share of 80% is never reached -> write max_share: 50%, or a smaller panic\n"
        "no-effect services.e.panic: with more than 5% of the endpoints out there is panic (95%), and all "
        "are asked "
        "again: a max_share of 33% is never reached -> write max_share: 5%, or a smaller panic\n");
}

static void times_that_end_before_each_other_are_told(void **state)
{
    (void)state;
    hinted(
        HEAD
        "services:\n"
        "  long: { endpoints: [{ url: \"http://a\" }], first_byte_timeout: 60s }\n"
        "  usual: { endpoints: [{ url: \"http://b\" }] }\n"
        "  tries: { endpoints: [{ url: \"http://c\" }], retry: { attempts: 3 } }\n"
        "limiters: { queue: { algorithm: leaky, rate: 1/s, max_wait: 30s, key: global } }\n"
        "plugins: { tidy: { use: headers } }\n"
        "routes:\n"
        "  - { name: a, match: { paths: [{ prefix: /a }] }, service: long }\n"
        "  - { name: b, match: { paths: [{ prefix: /b }] }, service: long, timeout: 60s }\n"
        "  - { name: c, match: { paths: [{ prefix: /c }] }, service: usual, timeout: 60s }\n"
        "  - { name: d, match: { paths: [{ prefix: /d }] }, service: usual, timeout: 1s }\n"
        "  - { name: e, match: { paths: [{ prefix: /e }] }, service: tries, timeout: 40s }\n"
        "  - { name: f, match: { paths: [{ prefix: /f }] }, service: usual, timeout: 40s, plugins: [{ limit: "
        "queue }] }\n"
        "  - { name: g, match: { paths: [{ prefix: /g }] }, service: usual, timeout: 60s, plugins: [tidy] "
        "}\n",
        "never-reached services.long.first_byte_timeout: the route a ends a request after its timeout (15s), "
        "before "
        "this -> write first_byte_timeout: 15s or less, or a longer timeout in the route\n"
        "never-reached routes[2].timeout: the service usual ends a request after its first_byte_timeout "
        "(15s), "
        "before this -> write a longer first_byte_timeout in the service, or a shorter timeout here\n");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_stands_in_a_service_once),
        cmocka_unit_test(a_limiter_stands_in_a_chain_once),
        cmocka_unit_test(wildcards_of_others_are_told_what_they_are_here),
        cmocka_unit_test(ejections_that_panic_undoes_are_told),
        cmocka_unit_test(times_that_end_before_each_other_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
