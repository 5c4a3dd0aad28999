/* sim_connections.c - the places of a listener: exact over all workers, however unevenly they accept, and
 * over reloads; who found none is counted and told. */
#include "sim_world.h"

#define GET         "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define PLACES(max) "listeners: { web: { bind: \"10.0.0.1:80\", max_connections: " #max " } }\n"
#define HI                                                                                                   \
    QUIET "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ respond: { body: hi } }] "   \
          "}]\n"

enum { CLIENTS = 64 };

typedef struct crowd {
    world w;
    int fds[CLIENTS]; /* with a place */
    size_t count;
} crowd;

static void crowd_open(crowd *c, uint64_t seed, const char *config)
{
    *c = (crowd){ .count = 0 };
    world_init(&c->w, seed, 3);
    assert_true(world_try_start(&c->w, seed, config));
    assert_true(c->w.ready);
}

static void leave(crowd *c, size_t n)
{
    while (n--)
        hang_up(&c->w, c->fds[--c->count]);
}

static void crowd_close(crowd *c)
{
    leave(c, c->count);
    settle(&c->w);
    world_close(&c->w);
}

/* So many come; how many were turned away. */
static unsigned come(crowd *c, unsigned n, const char *ip)
{
    unsigned refused = 0;

    for (unsigned i = 0; i < n; i++) {
        const int fd = dial(&c->w, ip, 80);
        if (hear(&c->w, fd) == HEAR_OPEN) {
            c->fds[c->count++] = fd;
            continue;
        }
        assert_starts(c->w.heard, "HTTP/1.1 503 ");
        hang_up(&c->w, fd);
        refused++;
    }
    return refused;
}

static void all_are_served(crowd *c)
{
    for (size_t i = 0; i < c->count; i++) {
        say(&c->w, c->fds[i], GET);
        hear_status(&c->w, c->fds[i], "200");
    }
}

static void reload(crowd *c, const char *config)
{
    c->w.next = config;
    mg_gateway_reload(c->w.gateway);
    settle(&c->w);
}

static void exactly_as_many_as_the_listener_says(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++) {
        crowd c;
        crowd_open(&c, seed, PLACES(10) HI);
        assert_int_equal(come(&c, 30, "10.0.0.1"), 20);
        all_are_served(&c);
        leave(&c, 4);
        assert_int_equal(come(&c, 9, "10.0.0.1"), 5);
        all_are_served(&c);
        leave(&c, 10);
        assert_int_equal(come(&c, 10, "10.0.0.1"), 0);
        crowd_close(&c);
    }
}

static void a_reload_changes_the_places_and_cuts_nobody(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, 1, PLACES(10) HI);
    assert_int_equal(come(&c, 12, "10.0.0.1"), 2);
    reload(&c, PLACES(5) HI);
    all_are_served(&c);
    assert_int_equal(come(&c, 1, "10.0.0.1"), 1);
    leave(&c, 5);
    assert_int_equal(come(&c, 1, "10.0.0.1"), 1); /* five of ten are left: full */
    leave(&c, 1);
    assert_int_equal(come(&c, 2, "10.0.0.1"), 1);
    reload(&c, PLACES(12) HI);
    assert_int_equal(come(&c, 12, "10.0.0.1"), 5);
    all_are_served(&c);
    crowd_close(&c);
}

#define TWO(one) "listeners: { web: { bind: \"10.0.0.1:80\"" one " }, more: { bind: \"10.0.0.3:80\" } }\n" HI

static void listeners_that_say_nothing_share_what_the_process_may_have(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, 1, TWO(""));
    c.w.gateway->shared.connection_cap = 8;
    reload(&c, NULL);
    assert_int_equal(come(&c, 5, "10.0.0.1"), 0);
    assert_int_equal(come(&c, 5, "10.0.0.3"), 2);
    assert_int_equal(come(&c, 1, "10.0.0.1"), 1);
    reload(&c, TWO(", max_connections: 6")); /* its own word, whatever the others have */
    assert_int_equal(come(&c, 2, "10.0.0.1"), 1);
    assert_int_equal(come(&c, 1, "10.0.0.3"), 1);
    leave(&c, 2);
    assert_int_equal(come(&c, 2, "10.0.0.3"), 1);
    crowd_close(&c);
}

static unsigned told(const crowd *c)
{
    unsigned lines = 0;

    for (const char *at = c->w.logged.p; (at = strstr(at, "connections_refused")); at++)
        lines++;
    return lines;
}

static void the_log_tells_once_a_second_how_many_were_refused(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, 1, PLACES(2) HI);
    assert_int_equal(come(&c, 2, "10.0.0.1"), 0);
    advance(&c.w, 5000 * MS);
    mg_text_add_char(&c.w.logged, '\0');
    assert_int_equal(told(&c), 0);
    c.w.logged.n = 0;
    (void)come(&c, 7, "10.0.0.1");
    advance(&c.w, 501 * MS);
    mg_text_add_char(&c.w.logged, '\0');
    assert_has(c.w.logged.p, "listener web: 7 refused; it may have 2 at once (max_connections)");
    c.w.logged.n = 0;
    for (int i = 0; i < 30; i++) { /* three seconds */
        (void)come(&c, 1, "10.0.0.1");
        advance(&c.w, 100 * MS);
    }
    mg_text_add_char(&c.w.logged, '\0');
    assert_in_range(told(&c), 2, 4);
    c.w.logged.n = 0;
    advance(&c.w, 2000 * MS); /* the last ones, and then no more */
    advance(&c.w, 5000 * MS);
    mg_text_add_char(&c.w.logged, '\0');
    assert_in_range(told(&c), 0, 1);
    crowd_close(&c);
}

static void what_is_open_and_refused_is_counted(void **state)
{
    crowd c;

    (void)state;
    crowd_open(&c, 1, PLACES(3) HI);
    (void)come(&c, 8, "10.0.0.1");
    leave(&c, 1);
    const mg_conn_gate *gate = &c.w.gateway->snapshot->gates[0]->conns;
    assert_int_equal(atomic_load(&gate->open), 2);
    assert_int_equal(atomic_load(&gate->refused), 5);
    reload(&c, PLACES(4) HI); /* counts only rise, and nobody is forgotten */
    gate = &c.w.gateway->snapshot->gates[0]->conns;
    assert_int_equal(atomic_load(&gate->open), 2);
    assert_int_equal(atomic_load(&gate->refused), 5);
    leave(&c, 2);
    assert_int_equal(atomic_load(&gate->open), 0);
    assert_int_equal(atomic_load(&c.w.gateway->shared.clients.open), 0);
    crowd_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exactly_as_many_as_the_listener_says),
        cmocka_unit_test(a_reload_changes_the_places_and_cuts_nobody),
        cmocka_unit_test(listeners_that_say_nothing_share_what_the_process_may_have),
        cmocka_unit_test(the_log_tells_once_a_second_how_many_were_refused),
        cmocka_unit_test(what_is_open_and_refused_is_counted),
    };

    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
