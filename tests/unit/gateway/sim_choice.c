/* sim_choice.c - plugins say where a request goes: a service, or a backend of the route's split. */
#include "sim_world.h"

#define SERVICES                                                                                             \
    "services:\n"                                                                                            \
    "  old: { endpoints: [{ url: \"http://10.0.0.2:9000\" }] }\n"                                            \
    "  new: { endpoints: [{ url: \"http://10.0.0.3:9000\" }] }\n"                                            \
    "  other:\n"                                                                                             \
    "    endpoints: [{ url: \"http://10.0.0.4:9000\" }]\n"                                                   \
    "    retry: { attempts: 2, on: [503], budget: 100%, backoff: 1ms }\n"                                    \
    "    breaker: { consecutive_failures: 4, open_for: 5s, per: route }\n"
#define BASE                                                                                                 \
    "listeners: { web: { bind: \"10.0.0.1:80\" } }\nobservability: { access_log: { to: "                     \
    "stdout } }\n" SERVICES "plugins: { p: { use: ./plugins/p } }\n"
#define ROUTES(to)                                                                                           \
    "routes:\n"                                                                                              \
    "  - { name: a, match: { paths: [{ prefix: /a }] }, plugins: [p], " to " }\n"                            \
    "  - { name: b, match: { paths: [{ prefix: /b }] }, plugins: [p], " to " }\n"
#define SPLIT    "backends: [{ service: old, weight: 1 }, { service: new, weight: 0, group: canary }]"
#define BY(what) SPLIT ", sticky: { by: \"" what "\" }"

enum { OLD, NEW, OTHER, SIDES };

typedef struct shop {
    world w;
    int sides[SIDES];
    char request[4096]; /* what the side was asked last */
    char answer[8192];
} shop;

static void shop_open(shop *s, const char *config, const char *handler)
{
    static const char *const ips[] = { "10.0.0.2", "10.0.0.3", "10.0.0.4" };
    char source[4096];

    snprintf(
        source, sizeof source,
        "return { name = 'p', version = '1', new = function()\nreturn function(ctx, next)\n%s\nend end }\n",
        handler);
    world_init(&s->w, 1, 1);
    world_plugin(&s->w, "p", source);
    assert_true(world_try_start(&s->w, 1, config));
    for (int side = 0; side < SIDES; side++)
        s->sides[side] = listen_at(&s->w, ips[side], 9000);
}

static void shop_close(shop *s)
{
    for (int side = 0; side < SIDES; side++)
        hang_up(&s->w, s->sides[side]);
    settle(&s->w);
    assert_int_equal(world_live_exchanges(&s->w), 0);
    world_close(&s->w);
}

/* Which side was asked first, and with what answer it answers each time; -1: none was. */
static int ask_at(shop *s, const char *path, const char *fields, const char *status)
{
    const int client = dial(&s->w, "10.0.0.1", 80);
    char text[1024];
    int asked = -1;

    snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nhost: a\r\n%s\r\n", path, fields);
    say(&s->w, client, text);
    snprintf(text, sizeof text, "HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", status);
    for (bool more = true; more;) {
        more = false;
        for (int side = 0; side < SIDES; side++) {
            const int up = take(&s->w, s->sides[side]);
            if (up < 0)
                continue;
            more = true;
            asked = side;
            (void)hear(&s->w, up);
            snprintf(s->request, sizeof s->request, "%s", s->w.heard);
            (void)say_bytes(&s->w, up, text, strlen(text));
            hang_up(&s->w, up);
            advance(&s->w, 5 * MS);
        }
    }
    (void)hear(&s->w, client);
    snprintf(s->answer, sizeof s->answer, "%s", s->w.heard);
    hang_up(&s->w, client);
    return asked;
}

static int ask(shop *s, const char *fields)
{
    return ask_at(s, "/a", fields, "200 OK");
}

/* ---- services ---- */

static void the_chosen_service_is_asked_with_its_own_retries(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE ROUTES("service: old"),
              "ctx:set_service('other')\nlocal seen = ctx.service.name\n"
              "next(ctx)\nctx.response:set_header('x-seen', seen)");
    assert_int_equal(ask_at(&s, "/a", "", "503 No"), OTHER);
    assert_has(s.request, "x-moongate-attempt: 2\r\n"); /* `old` has no retries */
    assert_has(s.answer, "x-seen: other\r\n");
    shop_close(&s);
}

static void a_breaker_by_route_holds_for_the_route_that_a_plugin_sends_from(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE ROUTES("service: old"), "ctx:set_service('oth' .. 'er') next(ctx)");
    assert_int_equal(ask_at(&s, "/a", "", "503 No"), OTHER);
    assert_int_equal(ask_at(&s, "/a", "", "503 No"), OTHER);
    assert_int_equal(ask_at(&s, "/a", "", "200 OK"), -1);
    assert_starts(s.answer, "HTTP/1.1 503 ");
    assert_int_equal(ask_at(&s, "/b", "", "200 OK"), OTHER); /* its own is closed */
    shop_close(&s);
}

static void the_last_choice_counts(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE ROUTES(SPLIT), "ctx:set_service('other') ctx:set_backend('canary') next(ctx)");
    assert_int_equal(ask(&s, ""), NEW);
    assert_has(s.request, "x-abtest-group: canary\r\n");
    shop_close(&s);
}

static void a_route_without_a_service_has_the_chosen_one(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE "routes: [{ name: a, match: { paths: [{ prefix: /a }] }, plugins: [p] }]\n",
              "ctx:set_service('new') next(ctx)");
    assert_int_equal(ask(&s, ""), NEW);
    shop_close(&s);
}

/* ---- groups ---- */

static void a_chosen_backend_goes_before_weights_and_what_the_client_names(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE ROUTES(BY("cookie:side")), "ctx:set_backend('canary') next(ctx)");
    assert_int_equal(ask(&s, ""), NEW);
    assert_int_equal(ask(&s, "x-abtest-group: old\r\ncookie: side=1\r\n"), NEW);
    assert_has(s.request, "x-abtest-group: canary\r\n");
    assert_null(strstr(s.answer, "set-cookie"));
    shop_close(&s);
}

static void a_service_beside_the_split_has_no_group(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE ROUTES(SPLIT), "ctx:set_service('other') next(ctx)");
    assert_int_equal(ask(&s, "x-abtest-group: canary\r\n"), OTHER);
    assert_null(strstr(s.request, "x-abtest-group"));
    shop_close(&s);
}

static void one_backend_or_service_is_a_group_too(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE ROUTES("backends: [{ service: new, group: blue }]"),
              "ctx:set_backend('blue') next(ctx)");
    assert_int_equal(ask(&s, ""), NEW);
    shop_close(&s);
    shop_open(&s, BASE ROUTES("service: old"), "ctx:set_backend('old') next(ctx)");
    assert_int_equal(ask(&s, ""), OLD);
    shop_close(&s);
}

/* ---- what plugins write on the request ---- */

static void the_group_that_a_plugin_names_is_asked(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE ROUTES(SPLIT), "ctx.request:set_header('X-Abtest-Group', 'canary') next(ctx)");
    assert_int_equal(ask(&s, ""), NEW);
    assert_int_equal(ask(&s, "x-abtest-group: old\r\n"), NEW);
    assert_has(s.request, "x-abtest-group: canary\r\n");
    shop_close(&s);
}

static void a_group_that_nobody_knows_changes_nothing(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE ROUTES(SPLIT), "ctx.request:set_header('x-abtest-group', 'theirs') next(ctx)");
    assert_int_equal(ask(&s, ""), OLD);
    assert_has(s.request, "x-abtest-group: theirs\r\n");
    assert_int_equal(ask(&s, "x-abtest-group: canary\r\n"), NEW);
    shop_close(&s);
}

#define HALVES(by) "backends: [{ service: old }, { service: new }], sticky: { by: \"" by "\" }"

/* All requests come from one address: without what the plugin sets they would all go to one side. */
static void check_sticky(const char *config, const char *handler)
{
    unsigned went[SIDES] = { 0 };
    int first[16];
    shop s;

    shop_open(&s, config, handler);
    for (int round = 0; round < 2; round++)
        for (int user = 0; user < 16; user++) {
            char fields[64];
            snprintf(fields, sizeof fields, "x-token: u%d\r\n", user);
            const int side = ask(&s, fields);
            assert_has(s.request, side == NEW ? "x-abtest-group: new\r\n" : "x-abtest-group: old\r\n");
            went[side]++;
            if (round)
                assert_int_equal(side, first[user]);
            first[user] = side;
        }
    assert_true(went[OLD] && went[NEW]);
    shop_close(&s);
}

static void a_sticky_key_that_a_plugin_sets_counts(void **state)
{
    (void)state;
    check_sticky(BASE ROUTES(HALVES("header:x-user")),
                 "ctx.request:set_header('x-user', ctx.request:header('x-token')) next(ctx)");
    check_sticky(BASE ROUTES(HALVES("cookie:user")),
                 "ctx.request:set_header('cookie', 'user=' .. ctx.request:header('x-token')) next(ctx)");
    check_sticky(BASE ROUTES(HALVES("consumer")),
                 "ctx:set_consumer(ctx.request:header('x-token')) next(ctx)");
}

/* ---- mistakes ---- */

static const char *logged_of(shop *s)
{
    mg_text_add_char(&s->w.logged, '\0');
    return s->w.logged.p;
}

static void check_raises(const char *config, const char *handler, const char *message)
{
    shop s;

    shop_open(&s, config, handler);
    (void)ask(&s, "");
    if (!strstr(logged_of(&s), message))
        fail_msg("no \"%s\" in: %s", message, logged_of(&s));
    shop_close(&s);
}

static void a_name_that_is_not_there_raises_at_the_plugin_s_line(void **state)
{
    (void)state;
    check_raises(
        BASE ROUTES(SPLIT), "ctx:set_service('othr') next(ctx)",
        "plugin.lua:3: set_service: no service is named 'othr': did you mean 'other'? There are new, "
        "old, other");
    check_raises(BASE ROUTES(SPLIT), "ctx:set_backend('canery') next(ctx)",
                 "plugin.lua:3: set_backend: no backend of the route has the group 'canery': did you mean "
                 "'canary'? There are canary, old");
    check_raises(BASE ROUTES(SPLIT), "ctx:set_backend('new') next(ctx)", /* its group is another word */
                 "no backend of the route has the group 'new': canary, old");
    check_raises(BASE ROUTES("service: old"), "ctx:set_backend('') next(ctx)",
                 "no backend of the route has the group '': old");
    check_raises(
        BASE "routes: [{ name: a, match: { paths: [{ prefix: /a }] }, plugins: [p] }]\n",
        "ctx:set_backend('x') next(ctx)",
        "plugin.lua:3: set_backend: the route has no backends: name a service, with ctx:set_service");
    check_raises(BASE ROUTES(SPLIT), "ctx:set_service(7) next(ctx)",
                 "plugin.lua:3: set_service: a service's name is a string, not number");
    check_raises(BASE ROUTES(SPLIT), "ctx.set_service('other') next(ctx)",
                 "plugin.lua:3: set_service: call it with a colon: ctx:set_service(..)");
}

static void a_choice_that_comes_too_late_raises(void **state)
{
    (void)state;
    check_raises(BASE ROUTES(SPLIT), "next(ctx) ctx:set_service('other')",
                 "plugin.lua:3: set_service: the request has gone already: choose before next(ctx)");
    check_raises(BASE ROUTES(SPLIT), "next(ctx) ctx:set_backend('old')",
                 "plugin.lua:3: set_backend: the request has gone already: choose before next(ctx)");
    check_raises(BASE ROUTES(SPLIT), "ctx:respond(200, '') ctx:set_service('other')",
                 "plugin.lua:3: set_service: this request is answered: it goes nowhere");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_chosen_service_is_asked_with_its_own_retries),
        cmocka_unit_test(a_breaker_by_route_holds_for_the_route_that_a_plugin_sends_from),
        cmocka_unit_test(the_last_choice_counts),
        cmocka_unit_test(a_route_without_a_service_has_the_chosen_one),
        cmocka_unit_test(a_chosen_backend_goes_before_weights_and_what_the_client_names),
        cmocka_unit_test(a_service_beside_the_split_has_no_group),
        cmocka_unit_test(one_backend_or_service_is_a_group_too),
        cmocka_unit_test(the_group_that_a_plugin_names_is_asked),
        cmocka_unit_test(a_group_that_nobody_knows_changes_nothing),
        cmocka_unit_test(a_sticky_key_that_a_plugin_sets_counts),
        cmocka_unit_test(a_name_that_is_not_there_raises_at_the_plugin_s_line),
        cmocka_unit_test(a_choice_that_comes_too_late_raises),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
