/* A host that was away and is back, in whatever way that is noticed: with peak_ewma it gets its share of the
 * requests again while it starts, at every worker (docs/policies.md 6). */
#include "sim_group.h"

#define THIRDS(more)                                                                                         \
    WEB QUIET "services: { up: { endpoints: [" HOST(2) ", " HOST(3) ", " HOST(4) "]" more " } }\n"

enum { CLIENTS = 4, AWAY = 1 };

typedef struct crowd {
    group g;
    int clients[CLIENTS];
    unsigned turn, got[HOSTS], unserved;
} crowd;

static void crowd_open(crowd *c, const char *config, unsigned workers)
{
    *c = (crowd){ .turn = 0 };
    world_init(&c->g.w, 1, workers);
    assert_true(world_try_start(&c->g.w, 1, config));
    for (unsigned i = 0; i < HOSTS; i++) {
        char ip[16];
        snprintf(ip, sizeof ip, "10.0.0.%u", i + 2);
        c->g.hosts[i] = listen_at(&c->g.w, ip, 9000);
    }
    c->g.client = -1;
    for (unsigned i = 0; i < CLIENTS; i++)
        c->clients[i] = dial(&c->g.w, "10.0.0.1", 80);
}

static void crowd_close(crowd *c)
{
    for (unsigned i = 0; i < CLIENTS; i++)
        hang_up(&c->g.w, c->clients[i]);
    group_close(&c->g);
}

/* Requests for so long, one every 10 ms, each answered after 5; counts them by host. */
static void serve(crowd *c, unsigned ms)
{
    memset(c->got, 0, sizeof c->got);
    c->unserved = 0;
    for (unsigned at = 0; at < ms; at += 10) {
        const int client = c->clients[c->turn++ % CLIENTS];
        int host;

        say(&c->g.w, client, GET("/"));
        const int up = arrives(&c->g, &host);
        advance(&c->g.w, 5 * MS);
        if (up >= 0) {
            say(&c->g.w, up, OK_EMPTY);
            leave(&c->g);
            c->got[host]++;
        } else {
            c->unserved++;
        }
        assert_int_equal(hear(&c->g.w, client), HEAR_OPEN);
        advance(&c->g.w, 5 * MS);
    }
}

static void go_away(crowd *c, int host)
{
    hang_up(&c->g.w, c->g.hosts[host]);
    c->g.hosts[host] = -1;
}

static void come_back(crowd *c, int host)
{
    char ip[16];

    snprintf(ip, sizeof ip, "10.0.0.%d", host + 2);
    c->g.hosts[host] = listen_at(&c->g.w, ip, 9000);
}

static mg_service *service_of(crowd *c)
{
    return service_named(&c->g, "up")->newest;
}

static uint64_t mono(crowd *c)
{
    return mg_loop_now(c->g.w.loops[0]);
}

/* Of a third, from the moment it is back: something within five seconds, about a third within fifteen. */
static void assert_it_gets_its_share(crowd *c)
{
    serve(c, 5000);
    assert_in_range(c->got[AWAY], 10, 166);
    serve(c, 10000);
    serve(c, 3000);
    assert_in_range(c->got[AWAY], 60, 150); /* of 300 */
}

static void behind_failures_alone(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 3; workers++) {
        crowd c;

        crowd_open(&c, THIRDS(), workers);
        serve(&c, 3000);
        assert_in_range(c.got[AWAY], 50, 150);
        go_away(&c, AWAY);
        serve(&c, 2000);
        assert_in_range(c.unserved, 1, 3 * workers); /* it is asked now and then */
        come_back(&c, AWAY);
        serve(&c, 3000); /* until all have noticed */
        assert_it_gets_its_share(&c);
        crowd_close(&c);
    }
}

static void from_an_ejection(void **state)
{
    (void)state;
    for (unsigned workers = 1; workers <= 3; workers++) {
        crowd c;

        crowd_open(&c, THIRDS(", eject: { consecutive: 1, base: 2s, interval: 1s }"), workers);
        serve(&c, 3000);
        go_away(&c, AWAY);
        serve(&c, 2000);
        come_back(&c, AWAY);
        serve(&c, 1000);
        assert_it_gets_its_share(&c);
        crowd_close(&c);
    }
}

/* No request comes while it is out: the workers see it neither go nor return. */
static void from_an_ejection_that_no_worker_noticed(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, THIRDS(", eject: { consecutive: 1, base: 2s, interval: 1s }"), 2);
    serve(&c, 3000);
    go_away(&c, AWAY);
    while (serve(&c, 10), !c.unserved)
        continue;
    come_back(&c, AWAY);
    advance(&c.g.w, 3000 * MS);
    assert_it_gets_its_share(&c);
    crowd_close(&c);
}

static void by_its_probes(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, THIRDS(), 2);
    serve(&c, 3000);
    go_away(&c, AWAY);
    serve(&c, 500);
    for (int i = 0; i < 3; i++)
        (void)mg_service_probed(service_of(&c), AWAY, false, NULL, mono(&c));
    serve(&c, 1500);
    assert_int_equal(c.got[AWAY] + c.unserved, 0);
    come_back(&c, AWAY);
    for (int i = 0; i < 2; i++)
        (void)mg_service_probed(service_of(&c), AWAY, true, NULL, mono(&c));
    assert_it_gets_its_share(&c);
    crowd_close(&c);
}

static void by_an_operators_word(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, THIRDS(), 2);
    serve(&c, 3000);
    go_away(&c, AWAY);
    serve(&c, 500);
    mg_service_set_down(service_of(&c), AWAY, true, mono(&c));
    advance(&c.g.w, 1000 * MS);
    come_back(&c, AWAY);
    mg_service_set_down(service_of(&c), AWAY, false, mono(&c));
    assert_it_gets_its_share(&c);
    crowd_close(&c);
}

static void all_at_once(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, THIRDS(), 2);
    serve(&c, 3000);
    for (int i = 0; i < HOSTS; i++)
        go_away(&c, i);
    serve(&c, 2000);
    assert_int_equal(c.unserved, 200);
    for (int i = 0; i < HOSTS; i++)
        come_back(&c, i);
    serve(&c, 10000); /* the others are asked again when it is their turn */
    serve(&c, 10000);
    serve(&c, 3000);
    for (int i = 0; i < HOSTS; i++)
        assert_in_range(c.got[i], 60, 150);
    assert_int_equal(c.unserved, 0);
    crowd_close(&c);
}

/* A reload that changes the service makes balancers that know nothing; one of the hosts is new. */
static void with_a_reload(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, WEB QUIET "services: { up: { endpoints: [" HOST(2) ", " HOST(4) "] } }\n", 2);
    serve(&c, 3000);
    assert_int_equal(c.got[AWAY], 0);
    c.g.w.next = THIRDS();
    mg_gateway_reload(c.g.w.gateway);
    settle(&c.g.w);
    assert_it_gets_its_share(&c);
    crowd_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(behind_failures_alone),
        cmocka_unit_test(from_an_ejection),
        cmocka_unit_test(from_an_ejection_that_no_worker_noticed),
        cmocka_unit_test(by_its_probes),
        cmocka_unit_test(by_an_operators_word),
        cmocka_unit_test(all_at_once),
        cmocka_unit_test(with_a_reload),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
