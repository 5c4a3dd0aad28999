/* probe_traffic.c - what requests get to see of health checks: the weights of hosts, and who gets any. */
#include "probe_fixture.h"

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

/* ---- what requests see of it ---- */

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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_follow_the_load_that_answers_tell),
        cmocka_unit_test(requests_go_to_those_that_are_up),
        cmocka_unit_test(with_too_few_that_are_up_all_are_used),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
