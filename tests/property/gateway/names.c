/* A service whose name has other addresses all the time, with requests under way: each goes to an address
 * that the name has, is answered, and no connection to another address stays idle. Beside a model that is a
 * set. */
#include "support/check.h"

#include "unit/gateway/sim_group.h"

enum { RUNS = 25, TURNS = 120, CALLS = 6, CONNS = 64 };

/* Nothing ends by itself but by a name. */
#define NAMED                                                                                                \
    "listeners: { web: { bind: \"10.0.0.1:80\", head_timeout: 1h, idle_timeout: 1h } }\n" QUIET              \
    "services: { up: { endpoints: [{ url: \"http://up.internal:9000\" }], slow_start: 0s, "                  \
    "first_byte_timeout: 1h, pool: { max_connections: 4, queue_timeout: 1h, idle_timeout: 1h } } }\n"        \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up, timeout: 1h }]\n"

typedef struct conn {
    int fd, host; /* fd -1: none */
    int call;     /* whose request it has; -1: idle */
} conn;

typedef struct run {
    group g;
    mg_rand rand;
    bool has[HOSTS];        /* the name, as the gateway knows it */
    bool waits[CALLS];      /* for an answer */
    bool may[CALLS][HOSTS]; /* where its request may go: what the name had since it began */
    int clients[CALLS];
    conn conns[CONNS];
} run;

static void rename_all(run *r)
{
    mg_addr addrs[HOSTS];
    unsigned count = 0;

    while (!count)
        for (int h = 0; h < HOSTS; h++) {
            char ip[16];
            r->has[h] = mg_rand_below(&r->rand, 2);
            snprintf(ip, sizeof ip, "10.0.0.%d", h + 2);
            if (r->has[h])
                addrs[count++] = addr_of(ip, 0);
        }
    mg_sim_set_name(r->g.w.sim, "up.internal", addrs, count, 1);
    advance(&r->g.w, 1100 * MS);
}

static void note_conns(run *r)
{
    for (int h = 0; h < HOSTS; h++)
        for (int fd; (fd = take(&r->g.w, r->g.hosts[h])) >= 0;) {
            conn *c = r->conns;
            while (c->fd >= 0)
                c++;
            *c = (conn){ fd, h, -1 };
        }
}

/* What has come to the upstreams: requests, and ends. */
static void look(run *r)
{
    note_conns(r);
    for (conn *c = r->conns; c < r->conns + CONNS; c++) {
        if (c->fd < 0)
            continue;
        const int how = hear(&r->g.w, c->fd);
        const char *at = strstr(r->g.w.heard, "GET /");
        if (at) {
            assert_int_equal(c->call, -1);
            c->call = at[5] - '0';
            assert_true(r->waits[c->call] && r->may[c->call][c->host]);
        } else if (how != HEAR_OPEN) {
            hang_up(&r->g.w, c->fd);
            c->fd = -1;
        } else if (c->call < 0) {
            assert_true(r->has[c->host]); /* idle, and still wanted */
        }
    }
}

static void call(run *r, int i)
{
    char text[64];

    if (r->waits[i])
        return;
    r->waits[i] = true;
    memcpy(r->may[i], r->has, sizeof r->has);
    snprintf(text, sizeof text, "GET /%d HTTP/1.1\r\nhost: a\r\n\r\n", i);
    say(&r->g.w, r->clients[i], text);
}

static void answer_one(run *r)
{
    const unsigned from = (unsigned)mg_rand_below(&r->rand, CONNS);

    for (unsigned n = 0; n < CONNS; n++) {
        conn *c = &r->conns[(from + n) % CONNS];
        if (c->fd < 0 || c->call < 0)
            continue;
        say(&r->g.w, c->fd, OK_EMPTY);
        hear_status(&r->g.w, r->clients[c->call], "200");
        r->waits[c->call] = false;
        c->call = -1;
        return;
    }
}

static void turn(run *r)
{
    switch (mg_rand_below(&r->rand, 4)) {
    case 0: rename_all(r); break;
    case 1: answer_one(r); break;
    default: call(r, (int)mg_rand_below(&r->rand, CALLS)); break;
    }
    look(r);
}

static void run_one(uint64_t seed)
{
    run *r = MG_NEW(run);

    mg_rand_init(&r->rand, seed);
    for (int i = 0; i < CONNS; i++)
        r->conns[i].fd = -1;
    world_init(&r->g.w, seed, 1 + seed % 2);
    rename_all(r);
    if (!world_try_start(&r->g.w, seed, NAMED))
        fail_msg("refused:\n%s", r->g.w.logged.p);
    for (int h = 0; h < HOSTS; h++) {
        char ip[16];
        snprintf(ip, sizeof ip, "10.0.0.%d", h + 2);
        r->g.hosts[h] = listen_at(&r->g.w, ip, 9000);
    }
    for (int i = 0; i < CALLS; i++)
        r->clients[i] = dial(&r->g.w, "10.0.0.1", 80);
    for (int i = 0; i < TURNS; i++)
        turn(r);
    for (int i = 0; i < CONNS; i++) {
        answer_one(r);
        look(r);
    }
    for (int i = 0; i < CALLS; i++) {
        assert_false(r->waits[i]);
        hang_up(&r->g.w, r->clients[i]);
    }
    for (int i = 0; i < CONNS; i++)
        if (r->conns[i].fd >= 0)
            hang_up(&r->g.w, r->conns[i].fd);
    r->g.client = -1;
    group_close(&r->g);
    mg_free(r);
}

static void requests_go_where_the_name_leads(void **state)
{
    const uint64_t seed = check_seed(1);

    (void)state;
    for (uint64_t i = 0; i < RUNS; i++)
        run_one(seed + i);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(requests_go_where_the_name_leads) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
