/* sim_rollout.c - requests split between two versions of a service, and the steps by which the newer one
 * comes in, on the virtual clock. */
#include "sim_world.h"

#define SERVICES                                                                                             \
    "services: { old: { endpoints: [{ url: \"http://10.0.0.2:9000\" }] }, "                                  \
    "new: { endpoints: [{ url: \"http://10.0.0.3:9000\" }], first_byte_timeout: 1s } }\n"
#define BASE WEB QUIET SERVICES
#define SPLIT(backends, more)                                                                                \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, backends: [" backends "]" more " }]\n"
#define THREE_TO_ONE   "{ service: old, weight: 3 }, { service: new, weight: 1, group: canary }"
#define OLD_AND_NEW    "{ service: old }, { service: new, group: canary }"
#define BY_USER        ", sticky: { by: \"header:x-user\" }"
#define ROLLOUT_AS(id) ROLLOUT(id, "[5%, 50%, 100%]")
#define ROLLOUT(id, steps)                                                                                   \
    ", rollout: { to: new, id: " id ", steps: " steps ", interval: 10s, min_requests: 20, max_errors: 5%, "  \
    "max_p99: 100ms, strikes: 2 }"

enum { OLD, NEW, SIDES };

typedef struct shop {
    world w;
    int sides[SIDES];   /* listen; -1: nobody does */
    char request[4096]; /* what the side was asked last */
} shop;

static void open_sides(shop *s)
{
    s->sides[OLD] = listen_at(&s->w, "10.0.0.2", 9000);
    s->sides[NEW] = listen_at(&s->w, "10.0.0.3", 9000);
}

static void shop_open(shop *s, const char *config)
{
    world_open(&s->w, config);
    open_sides(s);
}

static void shop_close(shop *s)
{
    for (int side = 0; side < SIDES; side++)
        if (s->sides[side] >= 0)
            hang_up(&s->w, s->sides[side]);
    settle(&s->w);
    world_close(&s->w);
}

/* A request of its own connections: `fields` are lines, the answer comes after `ms`. Which side was asked, -1
 * when none was. The client's answer stands in w.heard. */
static int ask(shop *s, const char *fields, const char *status, uint64_t ms)
{
    const int client = dial(&s->w, "10.0.0.1", 80);
    char text[512];
    int asked = -1;

    snprintf(text, sizeof text, "GET /a HTTP/1.1\r\nhost: a\r\n%s\r\n", fields);
    say(&s->w, client, text);
    for (int side = 0; side < SIDES; side++) {
        const int up = s->sides[side] < 0 ? -1 : take(&s->w, s->sides[side]);
        if (up < 0)
            continue;
        asked = side;
        (void)hear(&s->w, up);
        snprintf(s->request, sizeof s->request, "%s", s->w.heard);
        if (ms)
            advance(&s->w, ms * MS);
        snprintf(text, sizeof text, "HTTP/1.1 %s\r\ncontent-length: 0\r\nconnection: close\r\n\r\n", status);
        (void)say_bytes(&s->w, up, text, strlen(text));
        hang_up(&s->w, up);
    }
    (void)hear(&s->w, client);
    hang_up(&s->w, client);
    return asked;
}

static int ask_as(shop *s, unsigned user)
{
    char fields[64];

    snprintf(fields, sizeof fields, "x-user: u%u\r\n", user);
    return ask(s, fields, "200 OK", 0);
}

#define TO_CANARY "x-abtest-group: canary\r\n"

static void canary_gets(shop *s, unsigned requests, const char *status, uint64_t ms)
{
    for (unsigned i = 0; i < requests; i++)
        assert_int_equal(ask(s, TO_CANARY, status, ms), NEW);
}

static void keep_view(void *self, const mg_rollout_view *view)
{
    *(mg_rollout_view *)self = *view;
}

static mg_rollout_view look(shop *s)
{
    mg_rollout_view view = { .percent = UINT32_MAX };

    mg_rollouts_each(s->w.gateway->rollouts, keep_view, &view);
    return view;
}

#define assert_stands(s, its_state, its_percent)                                                             \
    do {                                                                                                     \
        const mg_rollout_view seen = look(s);                                                                \
        assert_int_equal(seen.percent, its_percent);                                                         \
        assert_int_equal(seen.state, its_state);                                                             \
    } while (0)

static void pass(shop *s, uint64_t seconds)
{
    advance(&s->w, seconds * MG_NS_PER_S);
}

/* ---- splitting ---- */

static void weights_share_the_users_and_each_stays_where_it_is(void **state)
{
    enum { USERS = 1000 };
    static uint8_t sides[USERS];
    unsigned of_new = 0;
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(THREE_TO_ONE, BY_USER));
    for (unsigned user = 0; user < USERS; user++) {
        sides[user] = (uint8_t)ask_as(&s, user);
        of_new += sides[user] == NEW;
    }
    assert_in_range(of_new, USERS / 5, USERS * 3 / 10);
    for (unsigned user = 0; user < USERS; user += 7)
        assert_int_equal(ask_as(&s, user), sides[user]);
    shop_close(&s);
}

static void the_group_that_a_client_names_wins(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(THREE_TO_ONE, BY_USER));
    for (unsigned user = 0; user < 20; user++) {
        char fields[96];
        snprintf(fields, sizeof fields, "x-user: u%u\r\n" TO_CANARY, user);
        assert_int_equal(ask(&s, fields, "200 OK", 0), NEW);
        snprintf(fields, sizeof fields, "x-user: u%u\r\nx-abtest-group: old\r\n", user);
        assert_int_equal(ask(&s, fields, "200 OK", 0), OLD);
    }
    shop_close(&s);
}

static void the_upstream_is_told_the_group_that_was_chosen(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(THREE_TO_ONE, BY_USER));
    for (unsigned user = 0; user < 20; user++) {
        char fields[96];
        snprintf(fields, sizeof fields, "x-user: u%u\r\nX-Abtest-Group: nobody\r\nX-Abtest-Group: b\r\n",
                 user);
        const int side = ask(&s, fields, "200 OK", 0);
        assert_has(s.request, side == NEW ? "x-abtest-group: canary\r\n" : "x-abtest-group: old\r\n");
        assert_null(strstr(s.request, "nobody")); /* one word, and ours */
        assert_null(strstr(s.request, "x-abtest-group: b"));
    }
    shop_close(&s);
}

static void a_route_with_one_service_leaves_the_group_alone(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: old }]\n");
    assert_int_equal(ask(&s, "x-abtest-group: mine\r\n", "200 OK", 0), OLD);
    assert_has(s.request, "x-abtest-group: mine\r\n");
    assert_int_equal(ask(&s, "", "200 OK", 0), OLD);
    assert_null(strstr(s.request, "x-abtest-group"));
    shop_close(&s);
}

static void a_cookie_keeps_its_owner_on_one_side(void **state)
{
    int before = -1;
    unsigned changes = 0;
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(THREE_TO_ONE, ", sticky: { by: \"cookie:sid\" }"));
    for (unsigned i = 0; i < 60; i++) {
        char fields[96];
        snprintf(fields, sizeof fields, "cookie: other=%u; sid=%u\r\n", i, i / 3);
        const int side = ask(&s, fields, "200 OK", 0);
        changes += i > 0 && side != before;
        if (i % 3)
            assert_int_equal(side, before);
        before = side;
    }
    assert_in_range(changes, 2, 18);
    shop_close(&s);
}

static void who_has_no_key_goes_by_its_address(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(THREE_TO_ONE, BY_USER));
    const int side = ask(&s, "", "200 OK", 0);
    for (unsigned i = 0; i < 20; i++)
        assert_int_equal(ask(&s, i % 2 ? "x-user:\r\n" : "", "200 OK", 0), side);
    shop_close(&s);
}

/* ---- rollouts ---- */

static void a_good_canary_is_promoted_through_all_steps(void **state)
{
    static const uint32_t weights[] = { 5, 50, 100 };
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    for (unsigned step = 0; step < 3; step++) {
        assert_stands(&s, MG_ROLLOUT_RUNNING, weights[step]);
        canary_gets(&s, 20, "200 OK", 0);
        pass(&s, 9);
        assert_stands(&s, MG_ROLLOUT_RUNNING, weights[step]); /* not before the interval's end */
        pass(&s, 1);
    }
    assert_stands(&s, MG_ROLLOUT_PROMOTED, 100);
    assert_has(s.w.logged.p, "rollout_advance");
    assert_has(s.w.logged.p, "rollout_promote");
    for (unsigned user = 0; user < 50; user++)
        assert_int_equal(ask_as(&s, user), NEW);
    canary_gets(&s, 50, "500 Oops", 0);
    pass(&s, 30);
    assert_stands(&s, MG_ROLLOUT_PROMOTED, 100); /* it is over */
    shop_close(&s);
}

static void who_was_chosen_stays_chosen_as_the_weight_rises(void **state)
{
    enum { USERS = 400 };
    static uint8_t chosen[USERS];
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT("r1", "[5%, 25%, 50%, 100%]")));
    for (unsigned step = 0; step < 4; step++) {
        unsigned now = 0, wanted = look(&s).percent * USERS / 100;
        for (unsigned user = 0; user < USERS; user++) {
            const int side = ask_as(&s, user);
            if (chosen[user])
                assert_int_equal(side, NEW);
            chosen[user] = side == NEW;
            now += chosen[user];
        }
        assert_in_range(now, wanted - wanted / 2, wanted + wanted / 2);
        canary_gets(&s, 20, "200 OK", 0);
        pass(&s, 10);
    }
    assert_stands(&s, MG_ROLLOUT_PROMOTED, 100);
    shop_close(&s);
}

static void a_canary_that_fails_twice_in_a_row_is_rolled_back(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    for (unsigned interval = 0; interval < 2; interval++) {
        assert_stands(&s, MG_ROLLOUT_RUNNING, 5);
        canary_gets(&s, 18, "200 OK", 0);
        canary_gets(&s, 2, "503 Not now", 0);
        pass(&s, 10);
    }
    assert_stands(&s, MG_ROLLOUT_FAILED, 0);
    assert_has(s.w.logged.p, "rollout_strike");
    assert_has(s.w.logged.p, "rollout_rollback");
    assert_has(s.w.logged.p, "it had 20, of which 2 failed");
    for (unsigned user = 0; user < 100; user++)
        assert_int_equal(ask_as(&s, user), OLD);
    assert_int_equal(ask(&s, TO_CANARY, "200 OK", 0), NEW); /* for whoever looks into it */
    shop_close(&s);
}

static void a_good_interval_forgives_a_strike(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    canary_gets(&s, 18, "200 OK", 0);
    canary_gets(&s, 2, "500 Oops", 0);
    pass(&s, 10);
    assert_int_equal(look(&s).strikes, 1);
    canary_gets(&s, 20, "404 No", 0); /* a client's error is none of the canary's */
    pass(&s, 10);
    assert_int_equal(look(&s).strikes, 0);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 50);
    shop_close(&s);
}

static void a_slow_canary_gets_strikes(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    canary_gets(&s, 19, "200 OK", 1);
    canary_gets(&s, 1, "200 OK", 120);
    pass(&s, 10);
    assert_int_equal(look(&s).strikes, 1);
    canary_gets(&s, 20, "200 OK", 80);
    pass(&s, 10);
    assert_int_equal(look(&s).percent, 50);
    shop_close(&s);
}

/* A try of 200 ms that nobody answers, and one that is. */
static void time_that_retries_took_is_a_canary_s_own(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, WEB QUIET
              "services: { old: { endpoints: [{ url: \"http://10.0.0.2:9000\" }] }, new: { endpoints: "
              "[{ url: \"http://10.0.0.3:9000\" }], retry: { per_try_timeout: 200ms } } }\n" SPLIT(
                  OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    canary_gets(&s, 19, "200 OK", 0);
    const int client = dial(&s.w, "10.0.0.1", 80);
    say(&s.w, client, "GET /a HTTP/1.1\r\nhost: a\r\n" TO_CANARY "\r\n");
    const int silent = take(&s.w, s.sides[NEW]);
    int up = -1;
    for (unsigned ms = 0; ms < 600 && up < 0; ms += 10) { /* the try, and a pause of its own length */
        advance(&s.w, 10 * MS);
        up = take(&s.w, s.sides[NEW]);
    }
    assert_true(silent >= 0 && up >= 0);
    say(&s.w, up, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    hear_status(&s.w, client, "200");
    pass(&s, 9);
    assert_int_equal(look(&s).figures.errors, 0);
    assert_in_range(look(&s).figures.p99_ms, 200, 800);
    pass(&s, 1);
    assert_int_equal(look(&s).strikes, 1);
    hang_up(&s.w, silent);
    hang_up(&s.w, up);
    hang_up(&s.w, client);
    shop_close(&s);
}

static void a_canary_that_fails_by_the_dozen_is_aborted_within_a_second(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    canary_gets(&s, 4, "500 Oops", 0);
    pass(&s, 1);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 5); /* four may be chance */
    canary_gets(&s, 1, "500 Oops", 0);
    pass(&s, 1);
    assert_stands(&s, MG_ROLLOUT_FAILED, 0);
    assert_has(s.w.logged.p, "rollout_abort");
    shop_close(&s);
}

static void a_canary_that_nobody_can_reach_is_aborted(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    hang_up(&s.w, s.sides[NEW]);
    s.sides[NEW] = -1;
    for (unsigned i = 0; i < 5; i++) {
        assert_int_equal(ask(&s, TO_CANARY, "", 0), -1);
        assert_starts(s.w.heard, "HTTP/1.1 502 ");
    }
    pass(&s, 1);
    assert_stands(&s, MG_ROLLOUT_FAILED, 0);
    shop_close(&s);
}

static void a_canary_that_does_not_answer_is_aborted(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    canary_gets(&s, 5, "200 OK", 1500); /* 1 s is its time to the first byte */
    pass(&s, 1);
    assert_stands(&s, MG_ROLLOUT_FAILED, 0);
    assert_has(s.w.logged.p, "of which 5 failed");
    shop_close(&s);
}

static void time_that_a_plugin_took_is_not_held_against_a_canary(void **state)
{
    shop s;

    (void)state;
    world_init(&s.w, 1, 1);
    world_plugin(&s.w, "p", HANDLER("ctx:sleep(0.995) next(ctx)"));
    assert_true(world_try_start(&s.w, 1,
                                BASE "plugins: { p: { use: ./plugins/p } }\n" SPLIT(
                                    OLD_AND_NEW, ", plugins: [p], timeout: 1s" ROLLOUT_AS("r1"))));
    open_sides(&s);
    for (unsigned i = 0; i < 6; i++) {
        const int client = dial(&s.w, "10.0.0.1", 80);
        say(&s.w, client, "GET /a HTTP/1.1\r\nhost: a\r\n" TO_CANARY "\r\n");
        advance(&s.w, 996 * MS); /* 5 ms are left: too few to ask anybody */
        assert_int_equal(hear(&s.w, client), HEAR_OPEN);
        assert_starts(s.w.heard, "HTTP/1.1 504 ");
        hang_up(&s.w, client);
    }
    assert_int_equal(look(&s).figures.requests, 0);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 5);
    shop_close(&s);
}

static void too_few_requests_hold_a_rollout(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    canary_gets(&s, 19, "200 OK", 0);
    pass(&s, 10);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 5);
    assert_has(s.w.logged.p, "rollout_hold");
    canary_gets(&s, 1, "200 OK", 0); /* those of the interval before are over */
    pass(&s, 10);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 5);
    assert_null(strstr(strstr(s.w.logged.p, "rollout_hold") + 1, "rollout_hold")); /* told once */
    for (unsigned user = 0; user < 2000; user++)
        assert_in_range(ask_as(&s, user), OLD, NEW);
    pass(&s, 10);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 50); /* 5 % of 2000 were enough */
    shop_close(&s);
}

static void what_the_others_do_is_not_held_against_a_canary(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    for (unsigned i = 0; i < 50; i++)
        assert_int_equal(ask(&s, "x-abtest-group: old\r\n", "500 Oops", 0), OLD);
    assert_int_equal(look(&s).figures.requests, 0);
    canary_gets(&s, 20, "200 OK", 0);
    pass(&s, 10);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 50);
    shop_close(&s);
}

/* ---- reloads, operators, restarts ---- */

static void reload(shop *s, const char *config)
{
    s->w.next = config;
    mg_gateway_reload(s->w.gateway);
    settle(&s->w);
}

static void a_reload_goes_on_where_the_rollout_was_and_another_id_starts_anew(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    canary_gets(&s, 20, "200 OK", 0);
    pass(&s, 10);
    canary_gets(&s, 18, "200 OK", 0);
    reload(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT("r1", "[5%, 30%, 100%]")));
    assert_stands(&s, MG_ROLLOUT_RUNNING, 30); /* the same step of other ones */
    canary_gets(&s, 2, "200 OK", 0);
    pass(&s, 10);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 100); /* both halves of the interval were counted */
    reload(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r2")));
    assert_stands(&s, MG_ROLLOUT_RUNNING, 5);
    reload(&s, BASE SPLIT(THREE_TO_ONE, BY_USER));
    assert_int_equal(look(&s).percent, UINT32_MAX); /* none */
    reload(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    assert_stands(&s, MG_ROLLOUT_RUNNING, 5); /* nothing is stored here: it starts anew */
    shop_close(&s);
}

static void a_refused_reload_changes_no_rollout(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    canary_gets(&s, 20, "200 OK", 0);
    pass(&s, 10);
    const int taken = listen_at(&s.w, "10.0.0.9", 80); /* where the next one wants to listen */
    reload(&s, "listeners: { web: { bind: \"10.0.0.9:80\" } }\n" QUIET SERVICES SPLIT(
                   OLD_AND_NEW, BY_USER ROLLOUT_AS("r2")));
    assert_has(s.w.logged.p, "reload_refused");
    assert_stands(&s, MG_ROLLOUT_RUNNING, 50);
    hang_up(&s.w, taken);
    shop_close(&s);
}

static void an_operator_holds_promotes_and_ends_a_rollout(void **state)
{
    shop s;

    (void)state;
    shop_open(&s, BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    mg_rollouts *rollouts = s.w.gateway->rollouts;
    assert_false(mg_rollouts_force(rollouts, MG_STR("none"), MG_ROLLOUT_HELD));
    assert_true(mg_rollouts_force(rollouts, MG_STR("all"), MG_ROLLOUT_HELD));
    canary_gets(&s, 20, "200 OK", 0);
    pass(&s, 10);
    assert_stands(&s, MG_ROLLOUT_HELD, 5);
    assert_true(mg_rollouts_force(rollouts, MG_STR("all"), MG_ROLLOUT_RUNNING));
    pass(&s, 10);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 5); /* its figures begin anew as well */
    assert_true(mg_rollouts_force(rollouts, MG_STR("all"), MG_ROLLOUT_PROMOTED));
    assert_int_equal(ask_as(&s, 1), NEW);
    assert_true(mg_rollouts_force(rollouts, MG_STR("all"), MG_ROLLOUT_FAILED));
    assert_int_equal(ask_as(&s, 1), OLD);
    assert_stands(&s, MG_ROLLOUT_FAILED, 0);
    shop_close(&s);
}

static void a_restart_goes_on_where_the_rollout_was(void **state)
{
    char config[2048];
    shop s;

    (void)state;
    world_init(&s.w, 1, 1);
    snprintf(config, sizeof config, "state: { path: \"%s/state\" }\n%s", s.w.folder,
             BASE SPLIT(OLD_AND_NEW, BY_USER ROLLOUT_AS("r1")));
    assert_true(world_try_start(&s.w, 1, config));
    open_sides(&s);
    canary_gets(&s, 20, "200 OK", 0);
    pass(&s, 10);
    canary_gets(&s, 18, "200 OK", 0);
    canary_gets(&s, 2, "500 Oops", 0);
    pass(&s, 10);
    assert_stands(&s, MG_ROLLOUT_RUNNING, 50);
    world_free_gateway(&s.w);
    pass(&s, 4);
    assert_true(world_try_start(&s.w, 2, config));
    assert_stands(&s, MG_ROLLOUT_RUNNING, 50);
    assert_int_equal(look(&s).strikes, 1);
    canary_gets(&s, 18, "200 OK", 0);
    canary_gets(&s, 2, "500 Oops", 0);
    pass(&s, 6); /* the interval began before the restart */
    assert_stands(&s, MG_ROLLOUT_FAILED, 0);
    shop_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_share_the_users_and_each_stays_where_it_is),
        cmocka_unit_test(the_group_that_a_client_names_wins),
        cmocka_unit_test(the_upstream_is_told_the_group_that_was_chosen),
        cmocka_unit_test(a_route_with_one_service_leaves_the_group_alone),
        cmocka_unit_test(a_cookie_keeps_its_owner_on_one_side),
        cmocka_unit_test(who_has_no_key_goes_by_its_address),
        cmocka_unit_test(a_good_canary_is_promoted_through_all_steps),
        cmocka_unit_test(who_was_chosen_stays_chosen_as_the_weight_rises),
        cmocka_unit_test(a_canary_that_fails_twice_in_a_row_is_rolled_back),
        cmocka_unit_test(a_good_interval_forgives_a_strike),
        cmocka_unit_test(a_slow_canary_gets_strikes),
        cmocka_unit_test(time_that_retries_took_is_a_canary_s_own),
        cmocka_unit_test(a_canary_that_fails_by_the_dozen_is_aborted_within_a_second),
        cmocka_unit_test(a_canary_that_nobody_can_reach_is_aborted),
        cmocka_unit_test(a_canary_that_does_not_answer_is_aborted),
        cmocka_unit_test(time_that_a_plugin_took_is_not_held_against_a_canary),
        cmocka_unit_test(too_few_requests_hold_a_rollout),
        cmocka_unit_test(what_the_others_do_is_not_held_against_a_canary),
        cmocka_unit_test(a_reload_goes_on_where_the_rollout_was_and_another_id_starts_anew),
        cmocka_unit_test(a_refused_reload_changes_no_rollout),
        cmocka_unit_test(a_restart_goes_on_where_the_rollout_was),
        cmocka_unit_test(an_operator_holds_promotes_and_ends_a_rollout),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
