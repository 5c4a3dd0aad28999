/* sim_group.h - a gateway before one service of up to three hosts, on the virtual clock. */
#ifndef TEST_SIM_GROUP_H
#define TEST_SIM_GROUP_H

#include "sim_world.h"

#define GET(path)     "GET " path " HTTP/1.1\r\nhost: a\r\n\r\n"
#define ANSWER(line)  "HTTP/1.1 " line "\r\ncontent-length: 0\r\n\r\n"
#define OK_EMPTY      ANSWER("200 OK")
#define BUSY          ANSWER("503 Service Unavailable")
#define HOST(n)       "{ url: \"http://10.0.0." #n ":9000\" }"
#define PAIR          "endpoints: [" HOST(2) ", " HOST(3) "], balance: round_robin"
#define TRIO          "endpoints: [" HOST(2) ", " HOST(3) ", " HOST(4) "], balance: round_robin"
#define SERVICE_OF(s) WEB QUIET "services: { up: { " s " } }\n"
#define RETRY_FAST    "retry: { attempts: 2, backoff: 10ms, backoff_max: 10ms }"

enum { HOSTS = 3 };

/* Up to three upstreams, and clients that come one by one. */
typedef struct group {
    world w;
    int hosts[HOSTS]; /* listening; -1: nobody is there */
    int client;
    int ups[128]; /* what arrived and was not left */
    unsigned up_count;
} group;

static inline void group_open(group *g, const char *config, unsigned hosts)
{
    *g = (group){ .up_count = 0 };
    world_init(&g->w, 1, 1);
    if (!world_try_start(&g->w, 1, config))
        fail_msg("refused:\n%s", g->w.logged.p);
    for (unsigned i = 0; i < HOSTS; i++) {
        char ip[16];
        snprintf(ip, sizeof ip, "10.0.0.%u", i + 2);
        g->hosts[i] = i < hosts ? listen_at(&g->w, ip, 9000) : -1;
    }
    g->client = dial(&g->w, "10.0.0.1", 80);
}

static inline void group_close(group *g)
{
    if (g->client >= 0)
        hang_up(&g->w, g->client);
    for (unsigned i = 0; i < HOSTS; i++)
        if (g->hosts[i] >= 0)
            hang_up(&g->w, g->hosts[i]);
    while (g->up_count)
        hang_up(&g->w, g->ups[--g->up_count]);
    settle(&g->w);
    assert_int_equal(world_live_exchanges(&g->w), 0);
    world_close(&g->w);
}

/* The connection on which the request came, or -1; *host is whose it is. Its head stands in w.heard. */
static inline int arrives(group *g, int *host)
{
    for (int i = 0; i < HOSTS; i++) {
        const int fd = g->hosts[i] >= 0 ? take(&g->w, g->hosts[i]) : -1;
        if (fd < 0)
            continue;
        *host = i;
        assert_true(g->up_count < sizeof g->ups / sizeof *g->ups);
        g->ups[g->up_count++] = fd;
        assert_int_equal(hear(&g->w, fd), HEAR_OPEN);
        return fd;
    }
    return -1;
}

/* The upstream closes what arrived last. */
static inline void leave(group *g)
{
    hang_up(&g->w, g->ups[--g->up_count]);
}

/* One request on a connection of its own, answered with `line`; which host had it, -1: none. */
static inline int ask(group *g, const char *answer)
{
    int host = -1;

    say(&g->w, g->client, GET("/"));
    const int up = arrives(g, &host);
    if (up >= 0) {
        say(&g->w, up, answer);
        leave(g);
    }
    return host;
}

static inline const mg_service_name *service_named(const group *g, const char *name)
{
    return mg_services_named(mg_shared_services(g->w.gateway->shared.shared), mg_str_of(name));
}

static inline uint64_t retries(const group *g, unsigned what)
{
    return mg_cell_get(&service_named(g, "up")->cells[0].retries[what]);
}

#endif
