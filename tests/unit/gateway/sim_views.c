/* sim_views.c - what plugins see of services while those live: hosts that come and go, requests in flight,
 * the breaker, connections. */
#include "sim_world.h"

#define GET      "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define LOOK     "GET /look HTTP/1.1\r\nhost: a\r\n\r\n"
#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define BAD      "HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n"

/* Two hosts, of which the first is ejected when it fails once; /look tells what is seen. */
#define TWO                                                                                                  \
    "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\", weight: 2 }, { url: "                    \
    "\"http://10.0.0.3:9000\" }], balance: round_robin, slow_start: 0s, eject: { consecutive: 1, base: 30s " \
    "}, breaker: { mode: consecutive, consecutive_failures: 2, open_for: 5s, open_jitter: 0%, probes: 1 } "  \
    "} }\n"
#define TELLING                                                                                              \
    HANDLER("if ctx.request.path ~= '/look' then return next(ctx) end\n"                                     \
            "local s, out = ctx.service, {}\n"                                                               \
            "for i, host in ipairs(s.hosts) do out[i] = ('%s %s %d/%d'):format(host.authority, "             \
            "host.ejected and 'out' or host.usable and 'in' or '-', host.inflight, host.weight) end\n"       \
            "out[#out + 1] = ('%d of %d %s'):format(s.healthy, s.size, s.panic and 'panic' or 'calm')\n"     \
            "out[#out + 1] = ('%s %g'):format(s.breaker, s.retry_after)\n"                                   \
            "out[#out + 1] = ('pool %d %d'):format(s.pool.active, s.pool.idle)\n"                            \
            "ctx:respond(200, table.concat(out, ', '))")

typedef struct town {
    line l; /* its upstream is the first host */
    int second, looker;
} town;

static void town_open(town *t)
{
    line_open(&t->l, WEB QUIET TWO ROUTE_P, TELLING);
    t->second = listen_at(&t->l.w, "10.0.0.3", 9000);
    t->looker = dial(&t->l.w, "10.0.0.1", 80);
}

static void town_close(town *t)
{
    line_drop(&t->l, &t->second);
    line_drop(&t->l, &t->looker);
    line_close(&t->l);
}

static void sees(town *t, const char *wanted)
{
    say(&t->l.w, t->looker, LOOK);
    hear_status(&t->l.w, t->looker, "200");
    const char *body = strstr(t->l.w.heard, "\r\n\r\n") + 4;
    assert_string_equal(body, wanted);
}

/* A request that the host of that listener gets; asked again as long as the balancer says the other one. */
static int reaches(town *t, int listener)
{
    for (int tries = 0; tries < 4; tries++) {
        say(&t->l.w, t->l.client, GET);
        const int first = take(&t->l.w, t->l.upstream), second = take(&t->l.w, t->second);
        const int fd = first >= 0 ? first : second;
        assert_true(fd >= 0);
        if ((first >= 0) == (listener == t->l.upstream))
            return fd;
        say(&t->l.w, fd, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        hear_status(&t->l.w, t->l.client, "200");
        hang_up(&t->l.w, fd);
    }
    fail();
    return -1;
}

static void requests_in_flight_are_seen_at_their_host(void **state)
{
    town t;

    (void)state;
    town_open(&t);
    sees(&t, "10.0.0.2:9000 in 0/2, 10.0.0.3:9000 in 0/1, 2 of 2 calm, closed 0, pool 0 0");
    t.l.up = reaches(&t, t.l.upstream);
    sees(&t, "10.0.0.2:9000 in 1/2, 10.0.0.3:9000 in 0/1, 2 of 2 calm, closed 0, pool 1 0");
    say(&t.l.w, t.l.up, OK_EMPTY);
    hear_status(&t.l.w, t.l.client, "200");
    sees(&t, "10.0.0.2:9000 in 0/2, 10.0.0.3:9000 in 0/1, 2 of 2 calm, closed 0, pool 0 1");
    town_close(&t);
}

static void a_host_that_is_out_is_seen_and_comes_back(void **state)
{
    town t;

    (void)state;
    town_open(&t);
    t.l.up = reaches(&t, t.l.upstream);
    say(&t.l.w, t.l.up, BAD);
    hear_status(&t.l.w, t.l.client, "503");
    sees(&t, "10.0.0.2:9000 out 0/2, 10.0.0.3:9000 in 0/1, 1 of 2 calm, closed 0, pool 0 1");
    advance(&t.l.w, 30001 * MS);
    sees(&t, "10.0.0.2:9000 in 0/2, 10.0.0.3:9000 in 0/1, 2 of 2 calm, closed 0, pool 0 1");
    town_close(&t);
}

static void an_open_breaker_is_seen_with_its_time(void **state)
{
    town t;

    (void)state;
    town_open(&t);
    t.l.up = reaches(&t, t.l.upstream);
    say(&t.l.w, t.l.up, BAD);
    hear_status(&t.l.w, t.l.client, "503");
    int other = reaches(&t, t.second);
    say(&t.l.w, other, BAD);
    hear_status(&t.l.w, t.l.client, "503");
    say(&t.l.w, t.looker, LOOK);
    hear_status(&t.l.w, t.looker, "200");
    assert_has(t.l.w.heard, "open 5,");
    say(&t.l.w, t.l.client, GET);
    hear_status(&t.l.w, t.l.client, "503");
    advance(&t.l.w, 2000 * MS);
    say(&t.l.w, t.looker, LOOK);
    hear_status(&t.l.w, t.looker, "200");
    assert_has(t.l.w.heard, "open 3,");
    hang_up(&t.l.w, other);
    town_close(&t);
}

/* What ctx.http reaches goes under the same breaker as what the gateway sends there itself. */
static void a_plugins_calls_open_the_breaker_of_the_service(void **state)
{
    line l;

    (void)state;
    line_open(&l, WEB QUIET TWO ROUTE_P,
              HANDLER("if ctx.request.path == '/look' then return next(ctx) end\n"
                      "for _ = 1, 2 do ctx.breaker:run('up', function() return nil end) end\n"
                      "ctx:respond(200, ctx.service.breaker)"));
    say(&l.w, l.client, GET);
    hear_status(&l.w, l.client, "200");
    assert_ends(l.w.heard, "\r\n\r\nopen");
    say(&l.w, l.client, LOOK);
    hear_status(&l.w, l.client, "503");
    assert_has(l.w.heard, "retry-after: 5\r\n");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests_in_flight_are_seen_at_their_host),
        cmocka_unit_test(a_host_that_is_out_is_seen_and_comes_back),
        cmocka_unit_test(an_open_breaker_is_seen_with_its_time),
        cmocka_unit_test(a_plugins_calls_open_the_breaker_of_the_service),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
