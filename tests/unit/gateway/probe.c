/* probe.c - active health checks on the virtual clock: what is asked, what counts as healthy, when the next
 * check comes, what a reload keeps, and what requests get to see of it. */
#include "sim_world.h"

#include "gateway/probe_try.h"

#define GET   "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define OK    "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define SICK  "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"
#define CHECK "health: { path: /healthz, interval: 5s, timeout: 1s, healthy_after: 2, unhealthy_after: 3 }"
#define ONE(health)                                                                                          \
    WEB QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], " health " } }\n" ROUTE
#define THREE(health)                                                                                        \
    WEB QUIET                                                                                                \
        "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: "                           \
        "\"http://10.0.0.3:9000\" }, { url: \"http://10.0.0.4:9000\" }], balance: round_robin, " health      \
        " } }\n" ROUTE

static mg_service *service_of(const world *w)
{
    return w->gateway->snapshot->services[0].service;
}

static mg_host_view view_of(const world *w, size_t host)
{
    mg_host_view view;

    mg_service_host_view(service_of(w), host, mg_policy_clock_now(&w->gateway->policy_clock), &view);
    return view;
}

#define assert_health(w, host, state) assert_int_equal(view_of(w, host).health, MG_HEALTH_##state)

static unsigned times_logged(const world *w, const char *what)
{
    unsigned n = 0;

    for (const char *at = w->logged.p; at && (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

/* The next check, whose request stands in w->heard; time moves until it comes, for 20 s at most. */
static int next_check(world *w, int listener, uint64_t *waited_ms)
{
    for (unsigned ms = 0; ms < 20000; ms++) {
        const int fd = take(w, listener);
        if (fd >= 0) {
            assert_int_equal(hear(w, fd), HEAR_OPEN);
            if (waited_ms)
                *waited_ms = ms;
            return fd;
        }
        advance(w, MS);
    }
    fail_msg("no check came");
    return -1;
}

static void answer_check(world *w, int listener, const char *answer)
{
    const int fd = next_check(w, listener, NULL);

    say(w, fd, answer);
    hang_up(w, fd);
}

/* ---- what is asked, and what counts ---- */

static void a_check_asks_as_the_configuration_says(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE("health: { path: \"/healthz?deep=1\" }")));
    const int fd = take(&w, up); /* at once */
    assert_int_equal(hear(&w, fd), HEAR_OPEN);
    assert_string_equal(w.heard, "GET /healthz?deep=1 HTTP/1.1\r\nhost: 10.0.0.2:9000\r\n"
                                 "user-agent: moongate-health\r\n\r\n");
    assert_health(&w, 0, UNKNOWN);
    say(&w, fd, OK);
    assert_health(&w, 0, UP);
    assert_int_equal(hear(&w, fd), HEAR_END); /* nothing is kept open */
    hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

static void the_first_result_decides(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000), sick = listen_at(&w, "10.0.0.4", 9000);
    assert_true(world_try_start(&w, 1, THREE(CHECK)));
    advance(&w, 5 * MS);
    answer_check(&w, up, OK);
    answer_check(&w, sick, SICK);
    assert_health(&w, 0, UP);
    assert_health(&w, 1, DOWN); /* nobody listens */
    assert_health(&w, 2, DOWN);
    assert_int_equal(times_logged(&w, "host_down"), 2);
    assert_int_equal(times_logged(&w, "upstream_connect"), 0); /* a check is no request */
    hang_up(&w, up);
    hang_up(&w, sick);
    world_close(&w);
}

static void three_failures_in_a_row_take_out_and_two_successes_bring_back(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    answer_check(&w, up, OK);
    for (int round = 0; round < 3; round++) {
        answer_check(&w, up, SICK);
        answer_check(&w, up, SICK);
        assert_health(&w, 0, UP);
        answer_check(&w, up, SICK);
        assert_health(&w, 0, DOWN);
        answer_check(&w, up, OK);
        assert_health(&w, 0, DOWN);
        answer_check(&w, up, OK);
        assert_health(&w, 0, UP);
        assert_int_equal(times_logged(&w, "host_down"), round + 1); /* once a change */
    }
    assert_has(w.logged.p, "up: 10.0.0.2:9000 is unhealthy: answered 503");
    assert_has(w.logged.p, "up: 10.0.0.2:9000 is healthy: answered 200");
    hang_up(&w, up);
    world_close(&w);
}

static void who_flaps_below_the_bounds_stays_what_it_was(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    answer_check(&w, up, OK);
    for (int i = 0; i < 12; i++) {
        answer_check(&w, up, i % 3 == 2 ? OK : SICK);
        assert_health(&w, 0, UP);
    }
    for (int i = 0; i < 3; i++) /* the last in a row began before */
        answer_check(&w, up, SICK);
    assert_health(&w, 0, DOWN);
    for (int i = 0; i < 12; i++) {
        answer_check(&w, up, i % 2 ? SICK : OK);
        assert_health(&w, 0, DOWN);
    }
    hang_up(&w, up);
    world_close(&w);
}

/* The verdict on one answer; `state` is what it makes of an endpoint that nobody knew. */
static void judged(const char *answer, bool ends, mg_health_state wanted)
{
    world w;

    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    const int fd = take(&w, up);
    say(&w, fd, answer);
    if (ends)
        hang_up(&w, fd);
    if (view_of(&w, 0).health != wanted)
        fail_msg("%s, not %s after:\n%s", mg_health_state_name(view_of(&w, 0).health),
                 mg_health_state_name(wanted), answer);
    if (!ends)
        hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

static void a_2xx_or_3xx_is_healthy_and_nothing_else_is(void **state)
{
    (void)state;
    judged("HTTP/1.1 204 No Content\r\n\r\n", false, MG_HEALTH_UP);
    judged("HTTP/1.1 302 Found\r\nlocation: /x\r\ncontent-length: 0\r\n\r\n", false, MG_HEALTH_UP);
    judged("HTTP/1.1 304 Not Modified\r\n\r\n", false, MG_HEALTH_UP);
    judged("HTTP/1.1 103 Early Hints\r\n\r\n" OK, false, MG_HEALTH_UP);
    judged("HTTP/1.0 200 OK\r\n\r\nfine", true, MG_HEALTH_UP);
    judged("HTTP/1.1 404 Not Found\r\ncontent-length: 5\r\n\r\nhello", false, MG_HEALTH_DOWN);
    judged("HTTP/1.1 500 No\r\n\r\n", false, MG_HEALTH_DOWN); /* its body is not waited for */
    judged("HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n", false,
           MG_HEALTH_DOWN);
    judged("220 mail.example ESMTP\r\n\r\n", false, MG_HEALTH_DOWN);
    judged("", true, MG_HEALTH_DOWN);
    judged("HTTP/1.1 200 OK\r\ncontent-le", true, MG_HEALTH_DOWN);
}

static void a_body_is_read_so_far_and_no_further(void **state)
{
    char *many = mg_alloc(20000);

    (void)state;
    const int head = snprintf(many, 20000, "HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n");
    memset(many + head, ' ', MG_PROBE_BODY_MAX);
    many[head + MG_PROBE_BODY_MAX] = '\0';
    judged(many, false, MG_HEALTH_UNKNOWN);
    many[head + MG_PROBE_BODY_MAX] = ' ';
    many[head + MG_PROBE_BODY_MAX + 1] = '\0';
    judged(many, false, MG_HEALTH_UP);
    judged("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc", true, MG_HEALTH_UP);
    judged("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz", false, MG_HEALTH_UP);
    mg_free(many);
}

static void no_answer_in_time_is_a_failure(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    int fd = next_check(&w, up, NULL);
    advance(&w, 500 * MS);
    say(&w, fd, "HTTP/1.1 200 OK\r\n"); /* a part of it is none */
    advance(&w, 499 * MS);
    assert_health(&w, 0, UNKNOWN);
    advance(&w, 2 * MS);
    assert_health(&w, 0, DOWN);
    assert_has(w.logged.p, "up: 10.0.0.2:9000 is unhealthy: no answer within 1000 ms");
    assert_int_equal(hear(&w, fd), HEAR_END);
    hang_up(&w, fd);
    answer_check(&w, up, OK);
    answer_check(&w, up, OK);
    assert_health(&w, 0, UP);
    for (int i = 0; i < 3; i++) { /* a head, but the body does not end: the head has told */
        fd = next_check(&w, up, NULL);
        say(&w, fd, "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        advance(&w, 1001 * MS);
        assert_int_equal(hear(&w, fd), HEAR_END);
        hang_up(&w, fd);
    }
    assert_health(&w, 0, UP);
    hang_up(&w, up);
    world_close(&w);
}

static void a_connection_is_enough_where_no_path_is_asked_for(void **state)
{
    const mg_addr silent = addr_of("10.0.0.2", 9000);
    world w;

    (void)state;
    world_init(&w, 1, 1);
    int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE("health: { unhealthy_after: 1, healthy_after: 1 }")));
    assert_health(&w, 0, UP);
    int fd = take(&w, up);
    assert_int_equal(hear(&w, fd), HEAR_END); /* without a byte */
    assert_string_equal(w.heard, "");
    hang_up(&w, fd);
    hang_up(&w, up);
    advance(&w, 5501 * MS);
    assert_health(&w, 0, DOWN);
    assert_has(w.logged.p, "is unhealthy: Connection refused");
    up = listen_at(&w, "10.0.0.2", 9000);
    advance(&w, 5501 * MS);
    assert_health(&w, 0, UP);
    mg_sim_set_connect(w.sim, &silent, ETIMEDOUT);
    advance(&w, 6503 * MS);
    assert_health(&w, 0, DOWN);
    assert_has(w.logged.p, "is unhealthy: no answer within 1000 ms");
    while ((fd = take(&w, up)) >= 0)
        hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

static void a_silent_address_gives_way_to_the_next_in_time(void **state)
{
    static const char *const checks[] = { "health: {}", CHECK };
    const mg_addr addrs[2] = { addr_of("10.0.0.8", 0), addr_of("10.0.0.9", 0) };
    const mg_addr silent = addr_of("10.0.0.8", 9000);

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        char config[1024];
        world w;
        world_init(&w, 1, 1);
        mg_sim_set_name(w.sim, "up.internal", addrs, 2, 30);
        mg_sim_set_connect(w.sim, &silent, ETIMEDOUT);
        const int up = listen_at(&w, "10.0.0.9", 9000);
        snprintf(config, sizeof config,
                 WEB QUIET
                 "services: { up: { endpoints: [{ url: \"http://up.internal:9000\" }], %s } }\n" ROUTE,
                 checks[i]);
        assert_true(world_try_start(&w, 1, config));
        advance(&w, 502 * MS);
        const int fd = take(&w, up);
        assert_true(fd >= 0);
        if (i == 1)
            say(&w, fd, OK);
        assert_health(&w, 0, UP);
        hang_up(&w, fd);
        hang_up(&w, up);
        world_close(&w);
    }
}

static void a_name_without_an_address_is_down_until_it_has_one(void **state)
{
    const mg_addr addr = addr_of("10.0.0.9", 0);
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.9", 9000);
    assert_true(world_try_start(&w, 1,
                                WEB QUIET "services: { up: { endpoints: [{ url: \"http://up.internal:9000\" "
                                          "}], health: {} } }\n" ROUTE));
    assert_health(&w, 0, DOWN);
    assert_has(w.logged.p, "up: up.internal:9000 is unhealthy: its name has no address");
    mg_sim_set_name(w.sim, "up.internal", &addr, 1, 30);
    advance(&w, 11002 * MS);
    assert_health(&w, 0, UP);
    for (int fd; (fd = take(&w, up)) >= 0;)
        hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

/* ---- what a load makes of weights ---- */

static void answer_load(world *w, int listener, const char *load)
{
    const int fd = next_check(w, listener, NULL);
    char answer[512];

    snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\ncontent-length: %zu\r\n\r\n%s", strlen(load), load);
    say(w, fd, answer);
    hang_up(w, fd);
}

static void assert_weights(const world *w, uint32_t a, uint32_t b, uint32_t c)
{
    assert_int_equal(view_of(w, 0).weight, a);
    assert_int_equal(view_of(w, 1).weight, b);
    assert_int_equal(view_of(w, 2).weight, c);
}

static void weights_follow_the_load_that_answers_tell(void **state)
{
    static const char *const none[] = { "fine",
                                        "",
                                        "[1, 2]",
                                        "{\"cpu\":0.1,\"mem\":0.1}",
                                        "{\"cpu\":\"0\",\"mem\":0,\"latency_ms\":0}",
                                        "{\"cpu\":2,\"mem\":0,\"latency_ms\":0}",
                                        "{\"cpu\":0,\"mem\":0,\"latency_ms\":-1}",
                                        "{\"cpu\":0," };
    world w;
    int up[3];

    (void)state;
    world_init(&w, 1, 1);
    for (int i = 0; i < 3; i++)
        up[i] = listen_at(&w, (const char *[]){ "10.0.0.2", "10.0.0.3", "10.0.0.4" }[i], 9000);
    assert_true(world_try_start(&w, 1, THREE("health: { path: /, timeout: 1h }")));
    for (int i = 0; i < 3; i++)
        answer_check(&w, up[i], OK);
    assert_weights(&w, 1, 1, 1); /* as configured */
    answer_load(&w, up[0], "{\"cpu\":0,\"mem\":0,\"latency_ms\":0}\n");
    answer_load(&w, up[1], " {\"latency_ms\":0,\"mem\":0.2,\"cpu\":0.5,\"host\":\"b\"}");
    answer_load(&w, up[2], "{\"cpu\":0.1,\"mem\":0.0,\"latency_ms\":100}");
    assert_weights(&w, 100, 50, 33); /* 0.9/e */
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        answer_load(&w, up[1], none[i]); /* tells nothing that could be used */
        assert_weights(&w, 100, 50, 33);
    }
    answer_check(&w, up[1], SICK);
    assert_weights(&w, 100, 25, 33);
    answer_check(&w, up[0], SICK); /* a load that is told in vain */
    assert_weights(&w, 100, 50, 66);
    for (int i = 0; i < 3; i++) {
        for (int fd; (fd = take(&w, up[i])) >= 0;)
            hang_up(&w, fd);
        hang_up(&w, up[i]);
    }
    world_close(&w);
}

/* ---- when ---- */

static void checks_come_at_their_interval_more_or_less_a_tenth(void **state)
{
    uint64_t least = UINT64_MAX, most = 0, waited;
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE("health: { path: /, interval: 1s }")));
    answer_check(&w, up, OK);
    for (int i = 0; i < 60; i++) {
        const int fd = next_check(&w, up, &waited);
        say(&w, fd, OK);
        hang_up(&w, fd);
        least = waited < least ? waited : least;
        most = waited > most ? waited : most;
    }
    assert_in_range(least, 899, 940);
    assert_in_range(most, 1060, 1101);
    hang_up(&w, up);
    world_close(&w);
}

/* 10.1.0.0 and up, each with its own check. */
static char *many_endpoints(unsigned count, const char *health)
{
    mg_text text = { 0 };

    mg_text_add_c(&text, WEB QUIET "services: { up: { endpoints: [");
    for (unsigned i = 0; i < count; i++)
        mg_text_addf(&text, "{ url: \"http://10.1.%u.%u:9000\" }, ", i / 200, i % 200 + 1);
    mg_text_addf(&text, "], %s } }\n" ROUTE, health);
    return text.p;
}

static unsigned known(const world *w)
{
    unsigned n = 0;

    for (size_t i = 0; i < service_of(w)->host_count; i++)
        n += view_of(w, i).health != MG_HEALTH_UNKNOWN;
    return n;
}

static void so_many_checks_run_at_once_and_the_others_wait(void **state)
{
    char *config = many_endpoints(200, "health: { path: /, interval: 60s, timeout: 10s }");
    world w;

    (void)state;
    world_init(&w, 1, 1);
    for (unsigned i = 0; i < 200; i++) {
        char ip[24];
        snprintf(ip, sizeof ip, "10.1.0.%u", i + 1);
        const mg_addr addr = addr_of(ip, 9000);
        mg_sim_set_connect(w.sim, &addr, ETIMEDOUT);
    }
    assert_true(world_try_start(&w, 1, config));
    const size_t before = mg_sim_open_sockets(w.sim);
    advance(&w, 300 * MS);
    assert_in_range(mg_sim_open_sockets(w.sim), before + 63, before + 64); /* the first began before */
    advance(&w, 9600 * MS);
    assert_int_equal(known(&w), 0);
    advance(&w, 200 * MS);
    assert_int_equal(known(&w), 64);
    assert_int_equal(mg_sim_open_sockets(w.sim), before + 64 - (mg_sim_open_sockets(w.sim) < before + 64));
    advance(&w, 30500 * MS);
    assert_int_equal(known(&w), 200);
    world_close(&w); /* nothing is left of it */
    mg_free(config);
}

/* ---- what requests see of it ---- */

static void reload(world *w, const char *config)
{
    w->next = config;
    mg_gateway_reload(w->gateway);
    settle(w);
}

enum { SITES = 3, SITE_CONNS = 64 };

/* An upstream that answers by itself, whenever it is served. */
typedef struct site {
    const char *ip, *health;
    int listener; /* -1: nobody listens */
    int conns[SITE_CONNS];
    size_t count;
    unsigned requests; /* answered, checks aside */
} site;

static void sites_open(world *w, site sites[SITES])
{
    static const char *const ips[SITES] = { "10.0.0.2", "10.0.0.3", "10.0.0.4" };

    for (int i = 0; i < SITES; i++)
        sites[i] = (site){ .ip = ips[i], .health = OK, .listener = listen_at(w, ips[i], 9000) };
}

static void site_die(world *w, site *s)
{
    for (size_t i = 0; i < s->count; i++)
        hang_up_hard(w, s->conns[i]);
    hang_up(w, s->listener);
    s->listener = -1;
    s->count = 0;
}

static void sites_close(world *w, site sites[SITES])
{
    for (int i = 0; i < SITES; i++)
        if (sites[i].listener >= 0)
            site_die(w, &sites[i]);
}

static void serve(world *w, site *s)
{
    for (int fd; s->listener >= 0 && (fd = take(w, s->listener)) >= 0;) {
        assert_true(s->count < SITE_CONNS);
        s->conns[s->count++] = fd;
    }
    for (size_t i = 0; i < s->count;) {
        if (hear(w, s->conns[i]) != HEAR_OPEN) {
            hang_up(w, s->conns[i]);
            s->conns[i] = s->conns[--s->count];
            continue;
        }
        const bool check = strncmp(w->heard, "GET /healthz ", 13) == 0;
        s->requests += *w->heard && !check;
        if (*w->heard)
            say(w, s->conns[i], check ? s->health : OK);
        i++;
    }
}

static void pass(world *w, site sites[SITES], uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 10) {
        advance(w, 10 * MS);
        for (int s = 0; s < SITES; s++)
            serve(w, &sites[s]);
    }
}

/* So many requests, one after the other; how many were answered with 200. */
static unsigned ask_many(world *w, site sites[SITES], unsigned count)
{
    const int client = dial(w, "10.0.0.1", 80);
    unsigned well = 0;

    for (int s = 0; s < SITES; s++)
        sites[s].requests = 0;
    for (unsigned i = 0; i < count; i++) {
        say(w, client, GET);
        for (int s = 0; s < SITES; s++)
            serve(w, &sites[s]);
        assert_int_equal(hear(w, client), HEAR_OPEN);
        well += strncmp(w->heard, "HTTP/1.1 200 ", 13) == 0;
    }
    hang_up(w, client);
    return well;
}

/* A round robin's cycle begins anywhere. */
#define assert_about(count, wanted) assert_in_range(count, (wanted)-1, (wanted) + 1)

static void requests_go_to_those_that_are_up(void **state)
{
    site sites[SITES];
    world w;

    (void)state;
    world_init(&w, 1, 1);
    sites_open(&w, sites);
    site_die(&w, &sites[1]);
    assert_true(world_try_start(&w, 1, THREE(CHECK ", slow_start: 0s")));
    pass(&w, sites, 100);
    assert_int_equal(ask_many(&w, sites, 30), 30);
    assert_about(sites[0].requests, 15);
    assert_int_equal(sites[1].requests, 0);
    assert_about(sites[2].requests, 15);
    sites[1].listener = listen_at(&w, sites[1].ip, 9000);
    pass(&w, sites, 11100); /* two checks */
    assert_int_equal(ask_many(&w, sites, 30), 30);
    for (int i = 0; i < SITES; i++)
        assert_about(sites[i].requests, 10);
    sites[0].health = SICK; /* it serves, but asks for no more */
    pass(&w, sites, 16600);
    assert_int_equal(ask_many(&w, sites, 30), 30);
    assert_int_equal(sites[0].requests, 0);
    reload(&w, THREE(CHECK ", slow_start: 0s, pool: { queue: 7 }"));
    assert_int_equal(w.gateway->revision, 2);
    assert_int_equal(ask_many(&w, sites, 30), 30);
    assert_int_equal(sites[0].requests, 0);
    sites_close(&w, sites);
    world_close(&w);
}

static void with_too_few_that_are_up_all_are_used(void **state)
{
    site sites[SITES];
    world w;

    (void)state;
    world_init(&w, 1, 1);
    sites_open(&w, sites);
    sites[0].health = sites[1].health = SICK;
    assert_true(world_try_start(&w, 1, THREE(CHECK ", slow_start: 0s")));
    pass(&w, sites, 100);
    assert_true(mg_service_in_panic(service_of(&w), 0));
    assert_int_equal(ask_many(&w, sites, 30), 30);
    for (int i = 0; i < SITES; i++)
        assert_about(sites[i].requests, 10);
    sites[1].health = OK; /* two of three are enough to go by */
    pass(&w, sites, 11100);
    assert_false(mg_service_in_panic(service_of(&w), 0));
    assert_int_equal(ask_many(&w, sites, 30), 30);
    assert_int_equal(sites[0].requests, 0);
    reload(&w, THREE(CHECK ", slow_start: 0s, panic: 0%"));
    sites[1].health = SICK;
    pass(&w, sites, 16600);
    assert_int_equal(ask_many(&w, sites, 30), 30);
    assert_int_equal(sites[2].requests, 30);
    sites[2].health = SICK;
    pass(&w, sites, 16600);
    assert_int_equal(ask_many(&w, sites, 5), 0);
    assert_has(w.heard, "HTTP/1.1 503 ");
    sites_close(&w, sites);
    world_close(&w);
}

/* ---- reloads, drains, ends ---- */

static void a_reload_keeps_what_is_known_and_whose_turn_it_is(void **state)
{
    uint64_t waited;
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    answer_check(&w, up, SICK);
    answer_check(&w, up, OK);
    advance(&w, 3000 * MS);
    reload(&w,
           WEB QUIET "services: { other: { endpoints: [{ url: \"http://10.0.0.9:1\" }] }, up: { endpoints: "
                     "[{ url: \"http://10.0.0.2:9000\" }], " CHECK " } }\n" ROUTE);
    assert_int_equal(w.gateway->revision, 2);
    mg_service *service = w.gateway->snapshot->services[1].service;
    mg_host_view view;
    mg_service_host_view(service, 0, 0, &view);
    if (view.health != MG_HEALTH_DOWN)
        service = w.gateway->snapshot->services[0].service; /* services are in no order */
    mg_service_host_view(service, 0, 0, &view);
    assert_int_equal(view.health, MG_HEALTH_DOWN);
    assert_int_equal(take(&w, up), -1); /* it was not its turn */
    int fd = next_check(&w, up, &waited);
    assert_in_range(waited, 1490, 2510);
    reload(&w, ONE(CHECK)); /* a check is on its way */
    say(&w, fd, OK);        /* the second success */
    assert_health(&w, 0, UP);
    hang_up(&w, fd);
    hang_up(&w, up);
    world_close(&w);
}

static void a_reload_asks_new_endpoints_at_once_and_those_that_left_no_more(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000), more = listen_at(&w, "10.0.0.7", 9000);
    assert_true(world_try_start(&w, 1, ONE(CHECK)));
    answer_check(&w, up, OK);
    const int left = next_check(&w, up, NULL); /* runs as it leaves */
    reload(&w, WEB QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.7:9000\" }], " CHECK
                         " } }\n" ROUTE);
    assert_int_equal(hear(&w, left), HEAR_END);
    hang_up(&w, left);
    int fd = take(&w, more);
    assert_true(fd >= 0);
    hang_up(&w, fd);
    assert_health(&w, 0, DOWN);
    advance(&w, 20000 * MS);
    assert_int_equal(take(&w, up), -1);
    reload(&w, ONE("health: { path: /other }"));
    fd = take(&w, up);
    assert_int_equal(hear(&w, fd), HEAR_OPEN);
    assert_starts(w.heard, "GET /other ");
    reload(&w, ONE("health: { path: /third }")); /* what was asked is no answer to that */
    assert_int_equal(hear(&w, fd), HEAR_END);
    hang_up(&w, fd);
    fd = take(&w, up);
    assert_int_equal(hear(&w, fd), HEAR_OPEN);
    assert_starts(w.heard, "GET /third ");
    hang_up(&w, fd);
    reload(&w, ONE("panic: 50%")); /* no checks at all */
    advance(&w, 20000 * MS);
    assert_int_equal(take(&w, up), -1);
    while ((fd = take(&w, more)) >= 0)
        hang_up(&w, fd);
    hang_up(&w, up);
    hang_up(&w, more);
    world_close(&w);
}

static void no_check_runs_once_the_doors_are_closed(void **state)
{
    world w;

    (void)state;
    world_init(&w, 1, 1);
    const int up = listen_at(&w, "10.0.0.2", 9000);
    assert_true(world_try_start(
        &w, 1,
        "shutdown: { drain_delay: 8s, drain_timeout: 60s }\n" ONE("health: { path: /, timeout: 10s }")));
    const int client = dial(&w, "10.0.0.1", 80);
    say(&w, client, "GET /a HTTP/1.1\r\n"); /* is waited for */
    answer_check(&w, up, OK);
    mg_gateway_drain(w.gateway);
    const int running = next_check(&w, up, NULL); /* clients still come */
    advance(&w, 2000 * MS);
    assert_int_equal(hear(&w, running), HEAR_OPEN);
    advance(&w, 2000 * MS);
    assert_int_equal(hear(&w, running), HEAR_END);
    hang_up(&w, running);
    advance(&w, 20000 * MS);
    assert_int_equal(take(&w, up), -1);
    assert_health(&w, 0, UP);
    hang_up(&w, client);
    hang_up(&w, up);
    world_close(&w);
}

static void the_gateway_may_end_in_the_middle_of_a_check(void **state)
{
    static const char *const said[] = { "", "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nabc" };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        world w;
        world_init(&w, 1, 1);
        const int up = listen_at(&w, "10.0.0.2", 9000);
        assert_true(world_try_start(&w, 1, ONE(CHECK)));
        const int fd = next_check(&w, up, NULL);
        if (*said[i])
            say(&w, fd, said[i]);
        world_free_gateway(&w);
        hang_up(&w, fd);
        hang_up(&w, up);
        world_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_check_asks_as_the_configuration_says),
        cmocka_unit_test(the_first_result_decides),
        cmocka_unit_test(three_failures_in_a_row_take_out_and_two_successes_bring_back),
        cmocka_unit_test(who_flaps_below_the_bounds_stays_what_it_was),
        cmocka_unit_test(a_2xx_or_3xx_is_healthy_and_nothing_else_is),
        cmocka_unit_test(a_body_is_read_so_far_and_no_further),
        cmocka_unit_test(no_answer_in_time_is_a_failure),
        cmocka_unit_test(a_connection_is_enough_where_no_path_is_asked_for),
        cmocka_unit_test(a_silent_address_gives_way_to_the_next_in_time),
        cmocka_unit_test(a_name_without_an_address_is_down_until_it_has_one),
        cmocka_unit_test(weights_follow_the_load_that_answers_tell),
        cmocka_unit_test(checks_come_at_their_interval_more_or_less_a_tenth),
        cmocka_unit_test(so_many_checks_run_at_once_and_the_others_wait),
        cmocka_unit_test(requests_go_to_those_that_are_up),
        cmocka_unit_test(with_too_few_that_are_up_all_are_used),
        cmocka_unit_test(a_reload_keeps_what_is_known_and_whose_turn_it_is),
        cmocka_unit_test(a_reload_asks_new_endpoints_at_once_and_those_that_left_no_more),
        cmocka_unit_test(no_check_runs_once_the_doors_are_closed),
        cmocka_unit_test(the_gateway_may_end_in_the_middle_of_a_check),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
