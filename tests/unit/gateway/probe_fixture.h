/* probe_fixture.h - a gateway on the virtual clock that checks the health of one service's hosts, and the
 * test that answers. */
#ifndef TEST_PROBE_FIXTURE_H
#define TEST_PROBE_FIXTURE_H

#include "sim_world.h"

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

static inline mg_service *service_of(const world *w)
{
    return w->gateway->snapshot->services[0].service->of->newest;
}

static inline mg_host_view view_of(const world *w, size_t host)
{
    mg_host_view view;

    mg_service_host_view(service_of(w), host, mg_policy_clock_now(&w->gateway->policy_clock), &view);
    return view;
}

#define assert_health(w, host, state) assert_int_equal(view_of(w, host).health, MG_HEALTH_##state)

static inline unsigned times_logged(const world *w, const char *what)
{
    unsigned n = 0;

    for (const char *at = w->logged.p; at && (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

/* The next check, whose request stands in w->heard; time moves until it comes, for 20 s at most. */
static inline int next_check(world *w, int listener, uint64_t *waited_ms)
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

static inline void answer_check(world *w, int listener, const char *answer)
{
    const int fd = next_check(w, listener, NULL);

    say(w, fd, answer);
    hang_up(w, fd);
}

static inline void reload(world *w, const char *config)
{
    w->next = config;
    mg_gateway_reload(w->gateway);
    settle(w);
}

#endif
