/* resolver_fixture.h - a scripted server on loopback, a hosts file of the test's own, and a loop that has
 * names. */
#ifndef TEST_RESOLVER_FIXTURE_H
#define TEST_RESOLVER_FIXTURE_H

#include "base/mem.h"
#include "net/resolver.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { TYPE_A = 1, TYPE_AAAA = 28, MAX_ASKED = 16, TCP_CONNS = 16 };

/* What the server does over TCP. */
typedef enum over_tcp { ANSWERS, CLOSES, IS_SILENT, ANSWERS_ANOTHER, IS_CUT_TOO } over_tcp;

typedef struct script { /* what the server says to a name */
    const char *name;
    uint8_t rcode;
    bool silent;
    uint32_t ttl_a, ttl_aaaa;
    unsigned a, aaaa; /* how many addresses */
    bool cut;         /* over UDP it says only that there is more, and tells the first address */
    over_tcp tcp;
} script;

typedef struct tcp_conn {
    struct world *world;
    mg_watch watch;
} tcp_conn;

typedef struct world {
    mg_loop *loop;
    mg_resolver *resolver;
    mg_watch watch, listener;
    int fd, tcp_fd;
    tcp_conn conns[TCP_CONNS];
    const script *scripts;
    size_t count;
    unsigned queries, tcp_queries;
    char last[256]; /* the name asked for last */
    mg_timer guard;
    bool timed_out, free_in_done;
    unsigned answers, wanted;
    char hosts[64];
} world;

typedef struct asked {
    mg_resolve question;
    world *world;
    unsigned calls;
    mg_result result;
    mg_resolved answer;
} asked;

/* ---- the server ---- */

static inline size_t put_answer(uint8_t *out, unsigned type, uint32_t ttl, unsigned i)
{
    const size_t n = type == TYPE_A ? 4 : 16;
    const uint8_t head[12] = { 0xc0,
                               12,
                               0,
                               (uint8_t)type,
                               0,
                               1,
                               (uint8_t)(ttl >> 24),
                               (uint8_t)(ttl >> 16),
                               (uint8_t)(ttl >> 8),
                               (uint8_t)ttl,
                               0,
                               (uint8_t)n };

    memcpy(out, head, sizeof(head));
    memset(out + sizeof(head), 0, n);
    out[sizeof(head)] = type == TYPE_A ? 10 : 0xfd;
    out[sizeof(head) + n - 1] = (uint8_t)(i + 1);
    return sizeof(head) + n;
}

/* The name of a query as text, lower case; returns where its type stands. */
static inline size_t read_name(const uint8_t *q, char name[256])
{
    size_t at = 12, n = 0;

    while (q[at]) {
        for (size_t i = 0; i < q[at]; i++)
            name[n++] = mg_lower((char)q[at + 1 + i]);
        name[n++] = '.';
        at += q[at] + 1u;
    }
    name[n ? n - 1 : 0] = 0;
    return at + 1;
}

static inline const script *script_of(const world *w, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->scripts[i].name, name) == 0)
            return &w->scripts[i];
    return NULL;
}

static inline size_t reply(world *w, uint8_t *q, size_t n, bool udp)
{
    const size_t at = read_name(q, w->last);
    const unsigned type = q[at + 1];
    const script *s = script_of(w, w->last);

    if (s && s->silent)
        return 0;
    unsigned count = s && type == TYPE_A ? s->a : s ? s->aaaa : 0;
    const bool cut = s && s->cut && count > 0 && (udp || s->tcp == IS_CUT_TOO);
    count = cut ? 1 : count;
    q[2] = cut ? 0x83 : 0x81;
    q[3] = (uint8_t)(0x80 | (s ? s->rcode : 3));
    q[7] = (uint8_t)count;
    for (unsigned i = 0; i < count; i++)
        n += put_answer(q + n, type, type == TYPE_A ? s->ttl_a : s->ttl_aaaa, i);
    return n;
}

static inline void on_query(mg_watch *watch, unsigned what)
{
    world *w = mg_container_of(watch, world, watch);
    uint8_t q[4096];
    struct sockaddr_in from;
    socklen_t from_n = sizeof(from);
    ssize_t n;

    (void)what;
    while ((n = recvfrom(w->fd, q, 512, 0, (struct sockaddr *)&from, &from_n)) > 16) {
        w->queries++;
        const size_t m = reply(w, q, (size_t)n, true);
        if (m > 0)
            assert_int_equal(sendto(w->fd, q, m, 0, (struct sockaddr *)&from, from_n), m);
    }
}

static inline void close_conn(tcp_conn *c)
{
    if (!c->world)
        return;
    mg_watch_stop(&c->watch);
    close(c->watch.fd);
    c->world = NULL;
}

/* In two pieces, so that neither is an answer. */
static inline void send_pieces(int fd, const uint8_t *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n / 2, MSG_NOSIGNAL), n / 2);
    assert_int_equal(send(fd, bytes + n / 2, n - n / 2, MSG_NOSIGNAL), n - n / 2);
}

static inline void on_tcp_query(mg_watch *watch, unsigned what)
{
    tcp_conn *c = mg_container_of(watch, tcp_conn, watch);
    world *w = c->world;
    uint8_t q[8192];

    (void)what;
    const ssize_t n = recv(watch->fd, q + 2, 1024, 0);
    if (n < 0)
        return;
    if (n == 0) {
        close_conn(c);
        return;
    }
    assert_int_equal(q[2] << 8 | q[3], n - 2); /* all of the question at once */
    w->tcp_queries++;
    memmove(q, q + 2, (size_t)n);
    const size_t m = reply(w, q + 2, (size_t)n - 2, false);
    const script *s = script_of(w, w->last);
    if (s->tcp == CLOSES) {
        close_conn(c);
    } else if (s->tcp != IS_SILENT) {
        q[2] = (uint8_t)(q[2] ^ (s->tcp == ANSWERS_ANOTHER));
        q[0] = (uint8_t)(m >> 8);
        q[1] = (uint8_t)m;
        send_pieces(watch->fd, q, m + 2);
    }
}

static inline void on_tcp_conn(mg_watch *watch, unsigned what)
{
    world *w = mg_container_of(watch, world, listener);
    int fd;

    (void)what;
    while ((fd = accept4(w->tcp_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        tcp_conn *c = w->conns;
        while (c->world)
            c++;
        *c = (tcp_conn){ .world = w };
        mg_watch_start(w->loop, &c->watch, fd, on_tcp_query);
    }
}

/* ---- the asker ---- */

static inline void on_guard(mg_timer *timer)
{
    world *w = mg_container_of(timer, world, guard);

    w->timed_out = true;
    mg_loop_stop(w->loop);
}

static inline void on_done(mg_resolve *question, mg_result result, const mg_resolved *answer)
{
    asked *a = mg_container_of(question, asked, question);
    world *w = a->world;

    a->calls++;
    a->result = result;
    if (answer)
        a->answer = *answer;
    if (w->free_in_done) {
        mg_resolver_free(w->resolver);
        w->resolver = NULL;
    }
    if (++w->answers >= w->wanted)
        mg_loop_stop(w->loop);
}

static inline void ask(world *w, asked *a, const char *name)
{
    *a = (asked){ .question.done = on_done, .world = w };
    mg_resolver_ask(w->resolver, &a->question, mg_str_of(name));
    assert_int_equal(a->calls, 0);
}

static inline void run_until(world *w, unsigned answers)
{
    w->wanted = answers;
    mg_timer_set(w->loop, &w->guard, mg_clock_real.mono_ns(&mg_clock_real) + 10 * MG_NS_PER_S);
    mg_loop_run(w->loop);
    assert_false(w->timed_out);
    assert_int_equal(w->answers, answers);
}

static inline void write_hosts(world *w, const char *text)
{
    char next[80];

    snprintf(next, sizeof(next), "%s.next", w->hosts);
    FILE *file = fopen(next, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    assert_int_equal(rename(next, w->hosts), 0);
}

/* One port of both kinds, as a name server has it: one that is free for UDP may be taken for TCP. */
static inline void open_port(world *w, struct sockaddr_in *at)
{
    for (int tries = 0; tries < 100; tries++) {
        socklen_t n = sizeof *at;

        at->sin_port = 0;
        w->fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        assert_int_equal(bind(w->fd, (struct sockaddr *)at, n), 0);
        assert_int_equal(getsockname(w->fd, (struct sockaddr *)at, &n), 0);
        w->tcp_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        if (bind(w->tcp_fd, (struct sockaddr *)at, n) == 0)
            return;
        close(w->fd);
        close(w->tcp_fd);
    }
    fail_msg("no port is free for UDP and TCP");
}

static inline void open_searching(world *w, const script *scripts, size_t count, const char *resolv_conf)
{
    mg_error err = MG_ERROR_INIT;
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    char server[32];

    *w = (world){ .loop = mg_loop_new(&mg_clock_real, 1, &err), .scripts = scripts, .count = count };
    assert_non_null(w->loop);
    mg_timer_init(&w->guard, on_guard);
    strcpy(w->hosts, "/tmp/moongate-hosts-XXXXXX");
    const int file = mkstemp(w->hosts);
    close(file);
    open_port(w, &at);
    mg_watch_start(w->loop, &w->watch, w->fd, on_query);
    assert_int_equal(listen(w->tcp_fd, 8), 0);
    mg_watch_start_listener(w->loop, &w->listener, w->tcp_fd, on_tcp_conn);
    snprintf(server, sizeof(server), "127.0.0.1:%u", ntohs(at.sin_port));
    const mg_resolver_options options = {
        .hosts_file = w->hosts, .nameserver = server, .resolv_conf = resolv_conf, .timeout_ms = 30
    };
    w->resolver = mg_resolver_new(w->loop, &options, &err);
    assert_string_equal(err.message, "");
    assert_non_null(w->resolver);
}

static inline void open_world(world *w, const script *scripts, size_t count)
{
    open_searching(w, scripts, count, NULL);
}

static inline void close_world(world *w)
{
    mg_resolver_free(w->resolver);
    for (size_t i = 0; i < TCP_CONNS; i++)
        close_conn(&w->conns[i]);
    mg_watch_stop(&w->listener);
    close(w->tcp_fd);
    mg_watch_stop(&w->watch);
    mg_timer_stop(&w->guard);
    close(w->fd);
    mg_loop_free(w->loop);
    unlink(w->hosts);
}

static inline void assert_addrs(const asked *a, const char *expected)
{
    char text[512] = "", one[MG_ADDR_TEXT];

    assert_int_equal(a->calls, 1);
    assert_int_equal(a->result, MG_OK);
    for (unsigned i = 0; i < a->answer.count; i++) {
        mg_addr_ip_text(&a->answer.addrs[i], one);
        strcat(strcat(text, i ? " " : ""), one);
    }
    assert_string_equal(text, expected);
}

#endif
