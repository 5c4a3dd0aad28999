/* sim_crowd.h - a gateway with limiters before one upstream and several clients, on the virtual clock. */
#ifndef TEST_SIM_CROWD_H
#define TEST_SIM_CROWD_H

#include "sim_world.h"

#define GET      "GET /a HTTP/1.1\r\nhost: a\r\n\r\n"
#define OK_EMPTY "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"

#define LIMITED(rules)                                                                                       \
    WEB QUIET SERVICE "limiters: {" rules "}\n"                                                              \
                      "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, plugins: [{ "   \
                      "limit: one }] }]\n"
#define LIMITED_BY(rules, items)                                                                             \
    WEB QUIET SERVICE "limiters: {" rules "}\n"                                                              \
                      "plugins: { p: { use: ./plugins/p, timeout: 5ms } }\n"                                 \
                      "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, plugins: "      \
                      "[" items "] }]\n"

/* More clients than the one of a line, and the upstream's connections. */
enum { CROWD = 4 };

typedef struct crowd {
    line l;
    int clients[CROWD];
    int ups[CROWD], up_count;
    int up_of[CROWD]; /* where the client's request arrived */
} crowd;

static inline void crowd_open(crowd *c, const char *config, const char *plugin)
{
    line_open(&c->l, config, plugin);
    c->up_count = 0;
    for (int i = 0; i < CROWD; i++) {
        c->clients[i] = dial(&c->l.w, "10.0.0.1", 80);
        c->ups[i] = c->up_of[i] = -1;
    }
}

static inline void crowd_close(crowd *c)
{
    for (int i = 0; i < CROWD; i++) {
        line_drop(&c->l, &c->clients[i]);
        line_drop(&c->l, &c->ups[i]);
    }
    line_close(&c->l);
}

static inline void ask(crowd *c, int who)
{
    say(&c->l.w, c->clients[who], GET);
}

/* A request that nobody had heard of has come upstream, and is this client's. */
static inline bool arrives(crowd *c, int who)
{
    for (int i = 0; i < CROWD; i++) {
        if (i == c->up_count) {
            const int fd = take(&c->l.w, c->l.upstream);
            if (fd < 0)
                return false;
            c->ups[c->up_count++] = fd;
        }
        if (c->ups[i] < 0)
            continue;
        (void)hear(&c->l.w, c->ups[i]); /* it may have been closed: its client left */
        c->up_of[who] = i;
        if (c->l.w.heard[0])
            return true;
    }
    return false;
}

static inline void says(crowd *c, int who, const char *response)
{
    say(&c->l.w, c->ups[c->up_of[who]], response);
}

static inline void breaks(crowd *c, int who)
{
    line_drop(&c->l, &c->ups[c->up_of[who]]);
}

static inline void answer(crowd *c, int who)
{
    says(c, who, OK_EMPTY);
    hear_status(&c->l.w, c->clients[who], "200");
}

static inline mg_worker *worker_of(crowd *c)
{
    return c->l.w.gateway->shared.workers[0];
}

static inline mg_limit_sum counted(crowd *c)
{
    mg_limit_stats *stats = mg_shared_limit_stats(worker_of(c)->gateway->shared);
    mg_limit_sum sum;

    mg_limit_stat_read(stats, mg_limit_stats_named(stats, MG_STR("one")), &sum);
    return sum;
}

/* What the limiter "one" has left for the key. */
static inline uint64_t left(crowd *c, const char *key)
{
    const mg_snapshot *snapshot = worker_of(c)->view->snapshot;
    mg_limiter_answer now;

    for (size_t i = 0; i < snapshot->config->limiter_count; i++)
        if (mg_str_eq(snapshot->limits[i].conf->name, MG_STR("one"))) {
            (void)mg_limiter_peek(snapshot->limits[i].limiter, key, strlen(key), 0,
                                  mg_shared_policy_now(worker_of(c)->gateway->shared), &now);
            return now.remaining;
        }
    fail();
    return 0;
}

#endif
