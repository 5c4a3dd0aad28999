/* A whole document to structs: what is read, which defaults hold, what a mistake looks like. */
#include "support/document.h"

#include "base/embed.h"
#include "config/config.h"

/* The document of the user guide, as far as this build goes. */
static const char whole[] =
    "version: 1\n"
    "workers: 4\n"
    "listeners:\n"
    "  web: { bind: \":8080\", head_timeout: 5s, max_connections: 20000, trusted_proxies: [10.0.0.0/8, "
    "\"::1\"] }\n"
    "  inner: { bind: \"127.0.0.1:8081\", max_head_bytes: 32KiB, max_fields: 50 }\n"
    "status: { bind: \"127.0.0.1:9902\" }\n"
    "admin: { bind: \"unix:run/admin.sock\" }\n"
    "state: { path: state, max_size: 2GiB }\n"
    "services:\n"
    "  cart:\n"
    "    endpoints: [{ url: \"http://10.0.0.11:9000\", weight: 3 }, { url: \"http://Cart.Internal\" }]\n"
    "    first_byte_timeout: 2s\n"
    "    pool: { max_connections: 256, queue: 0, queue_timeout: 0s }\n"
    "    breaker: { consecutive_failures: 7, open_backoff: 1.5, open_jitter: 0% }\n"
    "  plain: { endpoints: [{ url: \"http://[::1]:9000/\" }] }\n"
    "limiters:\n"
    "  per_key: { key: \"header:X-Api-Key+route\", rate: 100/s, burst: 200, scope: node }\n"
    "  per_day: { rate: 1000/d, mode: shadow, on_full: deny, on_missing_key: skip, cost: 2, ipv6_prefix: 48 "
    "}\n"
    "plugins:\n"
    "  auth: { use: key_auth, config: { keys: [a] } }\n"
    "  greet: { use: ./plugins/greet, on_error: open, timeout: 5ms, cpu: 20ms }\n"
    "routes:\n"
    "  - name: cart\n"
    "    match:\n"
    "      hosts: [Shop.example, \"*.shop.example\"]\n"
    "      paths: [{ template: \"/v1/carts/{id}/{*rest}\" }, { prefix: /lab/ }, { exact: /x }]\n"
    "      methods: [GET, PUT]\n"
    "      headers: { X-Role: admin }\n"
    "    plugins: [auth, { limit: per_key }, { limit: per_day }, greet, { request_id: { header: x-id } }]\n"
    "    timeout: 2s\n"
    "    priority: -3\n"
    "    path: { merge_slashes: false, raw: upstream }\n"
    "    max_path: 1KiB\n"
    "    backends: [{ service: cart }]\n"
    "  - { name: all, match: { paths: [{ prefix: / }] }, service: plain }\n"
    "shutdown: { drain_delay: 1s, drain_timeout: 10s }\n"
    "observability: { access_log: { to: logs/access.log }, log_level: warn }\n";

typedef struct loaded {
    mg_config *config;
    mg_report report;
} loaded;

static loaded load_in(const char *file, const char *text, const mg_config_env *env)
{
    loaded l = { .report = MG_REPORT_INIT };

    l.config = mg_config_load_text(file, mg_str_of(text), env, &l.report);
    assert_true((l.config != NULL) == (l.report.errors == 0));
    return l;
}

static loaded load(const char *text)
{
    return load_in("/etc/moongate/moongate.yaml", text, NULL);
}

static void loaded_free(loaded *l)
{
    mg_config_free(l->config);
    mg_report_fini(&l->report);
}

static void the_schema_in_the_binary_compiles(void **state)
{
    document *doc = document_of("gateway.json", mg_embedded("schemas/gateway.json"));
    mg_schema *schema;

    (void)state;
    check_report(&doc->report, "");
    schema = mg_schema_new(doc->root, &doc->report);
    check_report(&doc->report, "");
    mg_schema_free(schema);
    document_free(doc);
}

static void listeners_and_the_top_are_read(void **state)
{
    loaded l = load(whole);
    const mg_config_listener *web, *inner;

    (void)state;
    check_report(&l.report, "");
    assert_int_equal(l.config->workers, 4);
    assert_int_equal(l.config->listener_count, 2);
    web = l.config->listeners[0];
    inner = l.config->listeners[1];
    check_str(web->name, "web");
    assert_int_equal(web->head_timeout_ms, 5000);
    assert_int_equal(web->body_timeout_ms, 30000);
    assert_int_equal(web->idle_timeout_ms, 75000);
    assert_int_equal(web->max_connections, 20000);
    assert_int_equal(web->trusted_proxy_count, 2);
    assert_int_equal(web->max_head_bytes, 16384);
    assert_int_equal(web->max_fields, 100);
    assert_int_equal(mg_addr_port(&inner->addr), 8081);
    assert_int_equal(inner->max_head_bytes, 32768);
    assert_int_equal(inner->max_fields, 50);
    assert_true(l.config->status_on);
    assert_int_equal(mg_addr_port(&l.config->status_addr), 9902);
    assert_true(l.config->admin_on);
    assert_int_equal(l.config->admin_addr.sa.sa_family, AF_UNIX);
    check_str(l.config->admin_bind, "unix:run/admin.sock");
    check_str(l.config->state_path, "/etc/moongate/state");
    assert_true(l.config->state_max_bytes == 2ull << 30);
    assert_int_equal(l.config->drain_delay_ms, 1000);
    assert_int_equal(l.config->drain_timeout_ms, 10000);
    assert_int_equal(l.config->access_log_to, MG_CONFIG_LOG_FILE);
    check_str(l.config->access_log_path, "/etc/moongate/logs/access.log");
    assert_int_equal(l.config->log_level, MG_LOG_WARN);
    loaded_free(&l);
}

static void services_are_read_with_their_defaults(void **state)
{
    loaded l = load(whole);
    const mg_config_service *cart = mg_config_service_named(l.config, MG_STR("cart"));
    const mg_config_service *plain = mg_config_service_named(l.config, MG_STR("plain"));

    (void)state;
    assert_int_equal(cart->endpoint_count, 2);
    check_str(cart->endpoints[0].host, "10.0.0.11");
    assert_int_equal(cart->endpoints[0].port, 9000);
    assert_int_equal(cart->endpoints[0].weight, 3);
    check_str(cart->endpoints[1].host, "cart.internal");
    assert_int_equal(cart->endpoints[1].port, 80);
    assert_int_equal(cart->endpoints[1].weight, 1);
    assert_int_equal(cart->first_byte_timeout_ms, 2000);
    assert_int_equal(cart->read_timeout_ms, 30000);
    assert_int_equal(cart->tunnel_idle_timeout_ms, 3600000);
    assert_int_equal(cart->pool.max_connections, 256);
    assert_int_equal(cart->pool.queue, 0);
    assert_int_equal(cart->pool.queue_timeout_ms, 0);
    assert_int_equal(cart->pool.max_idle, 1000);
    assert_true(cart->breaker.on);
    assert_int_equal(cart->breaker.conf.consecutive_failures, 7);
    assert_true(cart->breaker.conf.open_backoff_milli == 1500);
    assert_int_equal(cart->breaker.conf.open_jitter_bp, 0);
    assert_int_equal(cart->breaker.conf.half_open_max_ms, 10000);
    check_str(plain->endpoints[0].host, "::1");
    assert_int_equal(plain->index, 1);
    assert_false(plain->breaker.on);
    assert_int_equal(plain->pool.max_connections, 1024);
    assert_int_equal(plain->pool.max_idle_total, 2000);
    assert_int_equal(plain->pool.queue, 1024);
    assert_int_equal(plain->pool.queue_timeout_ms, 1000);
    assert_int_equal(plain->pool.idle_timeout_ms, 55000);
    assert_int_equal(plain->pool.connect_timeout_ms, 1000);
    assert_int_equal(plain->pool.max_requests, 10000);
    assert_int_equal(plain->pool.max_age_ms, 3600000);
    assert_null(mg_config_service_named(l.config, MG_STR("nobody")));
    loaded_free(&l);
}

static void limiters_are_read_with_their_defaults(void **state)
{
    loaded l = load(whole);
    const mg_config_limiter *key = mg_config_limiter_named(l.config, MG_STR("per_key"));
    const mg_config_limiter *day = mg_config_limiter_named(l.config, MG_STR("per_day"));

    (void)state;
    assert_int_equal(key->key.parts, 2);
    assert_int_equal(key->key.part[0].kind, MG_CONFIG_KEY_HEADER);
    check_str(key->key.part[0].name, "x-api-key");
    assert_int_equal(key->key.part[1].kind, MG_CONFIG_KEY_ROUTE);
    assert_int_equal(key->conf.limit, 100);
    assert_int_equal(key->conf.period_ms, 1000);
    assert_int_equal(key->conf.burst, 200);
    assert_int_equal(key->cost, 1);
    assert_int_equal(key->conf.max_keys, 262144);
    assert_int_equal(key->conf.overflow_cells, 1024);
    assert_int_equal(key->key.ipv4_prefix, 32);
    assert_int_equal(key->key.ipv6_prefix, 64);
    assert_int_equal(key->mode, MG_CONFIG_ENFORCE);
    assert_int_equal(day->key.part[0].kind, MG_CONFIG_KEY_IP);
    assert_int_equal(day->conf.burst, 1000); /* the rate's count */
    assert_int_equal(day->cost, 2);
    assert_int_equal(day->mode, MG_CONFIG_SHADOW);
    assert_int_equal(day->conf.on_full, MG_LIMITER_FULL_DENY);
    assert_int_equal(day->key.on_missing, MG_CONFIG_MISSING_SKIP);
    assert_int_equal(day->key.ipv6_prefix, 48);
    loaded_free(&l);
}

static void routes_are_read_with_their_chain(void **state)
{
    loaded l = load(whole);
    const mg_config_route *cart = l.config->routes[0], *all = l.config->routes[1];

    (void)state;
    check_str(cart->name, "cart");
    assert_int_equal(cart->host_count, 2);
    check_str(cart->hosts[0], "shop.example");
    check_str(cart->hosts[1], "*.shop.example");
    assert_int_equal(cart->path_count, 3);
    assert_int_equal(cart->paths[0].kind, MG_CONFIG_PATH_TEMPLATE);
    check_str(cart->paths[1].text, "/lab");
    assert_int_equal(cart->paths[2].kind, MG_CONFIG_PATH_EXACT);
    assert_int_equal(cart->method_count, 2);
    check_str(cart->methods[1], "PUT");
    check_str(cart->headers[0].name, "x-role");
    check_str(cart->headers[0].value, "admin");
    assert_int_equal(cart->priority, -3);
    assert_int_equal(cart->max_path_bytes, 1024);
    assert_true(cart->keeps_slashes && cart->sends_raw);
    assert_int_equal(cart->timeout_ms, 2000);
    assert_int_equal(cart->item_count, 5);
    check_str(cart->items[0].plugin->name, "auth");
    check_str(cart->items[1].limiter->name, "per_key");
    assert_ptr_equal(cart->service, mg_config_service_named(l.config, MG_STR("cart")));
    check_str(all->hosts[0], "*");
    check_str(all->paths[0].text, "/");
    assert_int_equal(all->method_count, 0);
    assert_int_equal(all->timeout_ms, 15000);
    assert_int_equal(all->max_path_bytes, 8192);
    assert_false(all->keeps_slashes || all->sends_raw);
    loaded_free(&l);
}

static void plugins_are_read_wherever_they_stand(void **state)
{
    loaded l = load(whole);
    const mg_config_plugin *auth = l.config->plugins[0], *greet = l.config->plugins[1],
                           *id = l.config->plugins[2];

    (void)state;
    assert_int_equal(l.config->plugin_count, 3);
    check_str(auth->use, "key_auth");
    assert_null(auth->path.p);
    check_json(auth->config, "{\"keys\":[\"a\"]}");
    assert_int_equal(auth->on_error, MG_CONFIG_CLOSED);
    assert_int_equal(auth->cpu_ms, 10);
    assert_int_equal(auth->timeout_ms, 0);
    check_str(greet->path, "/etc/moongate/./plugins/greet");
    check_json(greet->config, "{}");
    assert_int_equal(greet->on_error, MG_CONFIG_OPEN);
    assert_int_equal(greet->timeout_ms, 5);
    assert_int_equal(greet->cpu_ms, 20);
    assert_true(id->in_place);
    assert_int_equal(id->index, 2);
    check_str(id->use, "request_id");
    check_json(id->config, "{\"header\":\"x-id\"}");
    assert_int_equal(id->cpu_ms, 10);
    assert_ptr_equal(l.config->routes[0]->items[4].plugin, id);
    loaded_free(&l);
}

static void many_plugins_in_place_keep_their_order(void **state)
{
    mg_text text = { 0 };
    loaded l;

    (void)state;
    mg_text_add_c(&text, "version: 1\nlisteners: { web: { bind: \":80\" } }\nroutes:\n");
    for (int i = 0; i < 100; i++)
        mg_text_addf(&text, "  - { name: r%d, match: { paths: [{ exact: /%d }] }, plugins: [{ p%d: {} }] }\n",
                     i, i, i);
    l = load(text.p);
    check_report(&l.report, "");
    assert_int_equal(l.config->plugin_count, 100);
    for (unsigned i = 0; i < 100; i++) {
        char name[8];
        snprintf(name, sizeof name, "p%u", i);
        check_str(l.config->plugins[i]->name, name);
        assert_int_equal(l.config->plugins[i]->index, i);
        assert_ptr_equal(l.config->routes[i]->items[0].plugin, l.config->plugins[i]);
    }
    loaded_free(&l);
    mg_text_fini(&text);
}

static void a_plugin_is_held_against_its_own_schema(void **state)
{
    loaded l = load(whole);
    document *doc =
        document_json("{\"properties\":{\"header\":{\"default\":\"x-request-id\"},\"keys\":{\"type\":"
                      "\"array\",\"minItems\":2}},\"additionalProperties\":false}");
    mg_schema *schema = mg_schema_new(doc->root, &doc->report);

    (void)state;
    assert_true(mg_config_plugin_check(l.config, l.config->plugins[2], schema, &l.report));
    check_str(l.config->plugins[2]->config_json, "{\"header\":\"x-id\"}");
    assert_true(mg_config_plugin_check(l.config, l.config->plugins[1], schema, &l.report));
    assert_false(mg_config_plugin_check(l.config, l.config->plugins[0], schema, &l.report));
    mg_schema_free(schema);
    document_free(doc); /* what was filled in lives on */
    check_str(l.config->plugins[1]->config_json, "{\"header\":\"x-request-id\"}");
    check_json(l.config->plugins[1]->config, "{\"header\":\"x-request-id\"}");
    check_report(
        &l.report,
        "/etc/moongate/moongate.yaml:20:42: error[out-of-range] plugins.auth.config.keys: has 1 item, "
        "the least is 2\n"
        "   20 |   auth: { use: key_auth, config: { keys: [a] } }\n"
        "      |                                          ^\n");
    assert_false(mg_config_plugin_check(l.config, l.config->plugins[2], NULL, &l.report));
    loaded_free(&l);
}

static void a_proxy_needs_no_file(void **state)
{
    mg_report report = MG_REPORT_INIT;
    mg_config *config = mg_config_for_proxy("http://127.0.0.1:9000", NULL, &report);
    const mg_config_route *route;

    (void)state;
    check_report(&report, "");
    assert_non_null(config);
    assert_int_equal(mg_addr_port(&config->listeners[0]->addr), 8080);
    route = config->routes[0];
    check_str(route->name, "default");
    check_str(route->paths[0].text, "/");
    check_str(route->service->endpoints[0].host, "127.0.0.1");
    assert_int_equal(route->timeout_ms, 15000);
    assert_int_equal(route->max_path_bytes, 8192);
    mg_config_free(config);
    assert_null(mg_config_for_proxy("127.0.0.1:9000", "x", &report));
    check_report(
        &report,
        "--listen:1:1: error[not-allowed] listeners.web.bind: \"x\" is not an address to listen on\n"
        "    1 | x\n"
        "      | ^\n"
        "      = write \":8080\", \"127.0.0.1:8080\", \"[::1]:8080\" or \"unix:PATH\"\n"
        "--to:1:1: error[not-allowed] services.upstream.endpoints[0].url: \"127.0.0.1:9000\" is not a "
        "URL\n"
        "    1 | 127.0.0.1:9000\n"
        "      | ^^^^^^^^^^^^^^\n"
        "      = write it with its scheme: http://10.0.0.11:9000\n");
    mg_report_fini(&report);
}

static void the_same_document_in_json_reads_the_same(void **state)
{
    loaded l = load_in("a.json",
                       "{\"version\": 1, \"listeners\": {\"web\": {\"bind\": \":8080\"}},\n"
                       " \"services\": {\"a\": {\"endpoints\": [{\"url\": \"http://a\", \"weigth\": 1}]}}}",
                       NULL);

    (void)state;
    check_report(
        &l.report,
        "a.json:2:55: error[unknown-key] services.a.endpoints[0].weigth: unknown key \"weigth\"\n"
        "    2 |  \"services\": {\"a\": {\"endpoints\": [{\"url\": \"http://a\", \"weigth\": 1}]}}}\n"
        "      |                                                       ^^^^^^^^\n"
        "      = did you mean \"weight\"?\n");
    loaded_free(&l);
}

static void a_document_for_specs_may_be_partial(void **state)
{
    const mg_config_env env = { .partial = true };
    loaded l = load_in("spec", "services: { cart: { endpoints: [{ url: \"http://a:1\" }] } }", &env);

    (void)state;
    check_report(&l.report, "");
    assert_int_equal(l.config->listener_count, 0);
    assert_int_equal(l.config->route_count, 1);
    loaded_free(&l);
}

static void add_text(mg_text *out, mg_str text)
{
    mg_text_add(out, text);
    mg_text_add_char(out, ' ');
}

static void add_route_texts(mg_text *out, const mg_config_route *route)
{
    add_text(out, route->name);
    add_text(out, route->group);
    add_text(out, route->rollout.id);
    for (size_t i = 0; i < route->host_count; i++)
        add_text(out, route->hosts[i]);
    for (size_t i = 0; i < route->path_count; i++)
        add_text(out, route->paths[i].text);
    for (size_t i = 0; i < route->method_count; i++)
        add_text(out, route->methods[i]);
    for (size_t i = 0; i < route->header_count; i++) {
        add_text(out, route->headers[i].name);
        add_text(out, route->headers[i].value);
    }
    for (size_t i = 0; i < route->backend_count; i++)
        add_text(out, route->backends[i].group);
    mg_text_add_char(out, '\n');
}

/* Every text of a configuration, a line for each item. */
static void add_texts(mg_text *out, const mg_config *config)
{
    for (size_t i = 0; i < config->listener_count; i++) {
        add_text(out, config->listeners[i]->name);
        add_text(out, config->listeners[i]->bind);
        add_text(out, config->listeners[i]->trailers);
    }
    add_text(out, config->status_bind);
    add_text(out, config->admin_bind);
    add_text(out, config->state_path);
    add_text(out, config->access_log_path);
    mg_text_add_char(out, '\n');
    for (size_t i = 0; i < config->service_count; i++) {
        const mg_config_service *service = config->services[i];
        add_text(out, service->name);
        add_text(out, service->health.path);
        for (size_t e = 0; e < service->endpoint_count; e++) {
            add_text(out, service->endpoints[e].url);
            add_text(out, service->endpoints[e].host);
        }
    }
    for (size_t i = 0; i < config->limiter_count; i++) {
        add_text(out, config->limiters[i]->name);
        for (unsigned k = 0; k < config->limiters[i]->key.parts; k++)
            add_text(out, config->limiters[i]->key.part[k].name);
    }
    mg_text_add_char(out, '\n');
    for (size_t i = 0; i < config->plugin_count; i++) {
        add_text(out, config->plugins[i]->name);
        add_text(out, config->plugins[i]->use);
        add_text(out, config->plugins[i]->path);
    }
    mg_text_add_char(out, '\n');
    for (size_t i = 0; i < config->route_count; i++)
        add_route_texts(out, config->routes[i]);
    for (size_t i = 0; i < config->file_count; i++)
        add_text(out, mg_str_of(config->files[i]));
}

static void what_was_built_outlives_the_document(void **state)
{
    static const char text[] =
        "version: 1\n"
        "listeners: { web: { bind: \"unix:run/web.sock\", request_trailers: [X-Sum] } }\n"
        "status: { bind: \"127.0.0.1:9902\" }\n"
        "admin: { bind: \"unix:run/admin.sock\" }\n"
        "state: { path: state }\n"
        "services:\n"
        "  old: { endpoints: [{ url: \"http://old.internal:1\" }], health: { path: /healthz } }\n"
        "  new: { endpoints: [{ url: \"http://[::1]:2\" }] }\n"
        "limiters: { per_key: { key: \"header:X-Key\", rate: 1/s } }\n"
        "plugins: { greet: { use: ./plugins/greet } }\n"
        "routes:\n"
        "  - name: first\n"
        "    match: { hosts: [a.example, \"*.b.example\"], paths: [{ prefix: /a }, { template: \"/b/{id}\" "
        "}],\n"
        "             methods: [GET], headers: { X-Role: admin } }\n"
        "    plugins: [{ limit: per_key }, greet, { request_id: {} }]\n"
        "    backends: [{ service: old, weight: 1, group: o }, { service: new, weight: 0 }]\n"
        "    rollout: { id: one, to: new }\n"
        "  - { name: second, match: { hosts: [\"*\"], paths: [{ exact: /c }] }, service: old }\n"
        "observability: { access_log: { to: logs/a.log } }\n";
    loaded l = load(text);
    mg_text before = { 0 }, after = { 0 };

    (void)state;
    check_report(&l.report, "");
    add_texts(&before, l.config);
    assert_non_null(l.config->root);
    mg_config_forget_document(l.config);
    assert_null(l.config->root);
    add_texts(&after, l.config);
    check_str(mg_text_str(&after), before.p);
    check_str(mg_text_str(&after),
              "web unix:run/web.sock x-sum 127.0.0.1:9902 unix:run/admin.sock /etc/moongate/state "
              "/etc/moongate/logs/a.log \n"
              "old /healthz http://old.internal:1 old.internal new  http://[::1]:2 ::1 per_key x-key \n"
              "greet ./plugins/greet /etc/moongate/./plugins/greet request_id request_id  \n"
              "first  one a.example *.b.example /a /b/{id} GET x-role admin o new \n"
              "second old  * /c \n");
    assert_ptr_equal(mg_config_service_named(l.config, MG_STR("new")), l.config->services[1]);
    mg_text_fini(&before);
    mg_text_fini(&after);
    loaded_free(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_schema_in_the_binary_compiles),
        cmocka_unit_test(listeners_and_the_top_are_read),
        cmocka_unit_test(services_are_read_with_their_defaults),
        cmocka_unit_test(limiters_are_read_with_their_defaults),
        cmocka_unit_test(routes_are_read_with_their_chain),
        cmocka_unit_test(plugins_are_read_wherever_they_stand),
        cmocka_unit_test(many_plugins_in_place_keep_their_order),
        cmocka_unit_test(a_plugin_is_held_against_its_own_schema),
        cmocka_unit_test(a_proxy_needs_no_file),
        cmocka_unit_test(the_same_document_in_json_reads_the_same),
        cmocka_unit_test(a_document_for_specs_may_be_partial),
        cmocka_unit_test(what_was_built_outlives_the_document),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
