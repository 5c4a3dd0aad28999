/* resolver.c - against a scripted server on loopback, a hosts file of the test's own, and a loop that has
 * names. */
#include "net/resolver.h"
#include "base/mem.h"
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

static size_t put_answer(uint8_t *out, unsigned type, uint32_t ttl, unsigned i)
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
static size_t read_name(const uint8_t *q, char name[256])
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

static const script *script_of(const world *w, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (strcmp(w->scripts[i].name, name) == 0)
            return &w->scripts[i];
    return NULL;
}

static size_t reply(world *w, uint8_t *q, size_t n, bool udp)
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

static void on_query(mg_watch *watch, unsigned what)
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

static void close_conn(tcp_conn *c)
{
    if (!c->world)
        return;
    mg_watch_stop(&c->watch);
    close(c->watch.fd);
    c->world = NULL;
}

/* In two pieces, so that neither is an answer. */
static void send_pieces(int fd, const uint8_t *bytes, size_t n)
{
    assert_int_equal(send(fd, bytes, n / 2, MSG_NOSIGNAL), n / 2);
    assert_int_equal(send(fd, bytes + n / 2, n - n / 2, MSG_NOSIGNAL), n - n / 2);
}

static void on_tcp_query(mg_watch *watch, unsigned what)
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

static void on_tcp_conn(mg_watch *watch, unsigned what)
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

static void on_guard(mg_timer *timer)
{
    world *w = mg_container_of(timer, world, guard);

    w->timed_out = true;
    mg_loop_stop(w->loop);
}

static void on_done(mg_resolve *question, mg_result result, const mg_resolved *answer)
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

static void ask(world *w, asked *a, const char *name)
{
    *a = (asked){ .question.done = on_done, .world = w };
    mg_resolver_ask(w->resolver, &a->question, mg_str_of(name));
    assert_int_equal(a->calls, 0);
}

static void run_until(world *w, unsigned answers)
{
    w->wanted = answers;
    mg_timer_set(w->loop, &w->guard, mg_clock_real.mono_ns(&mg_clock_real) + 10 * MG_NS_PER_S);
    mg_loop_run(w->loop);
    assert_false(w->timed_out);
    assert_int_equal(w->answers, answers);
}

static void write_hosts(world *w, const char *text)
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
static void open_port(world *w, struct sockaddr_in *at)
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

static void open_searching(world *w, const script *scripts, size_t count, const char *resolv_conf)
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

static void open_world(world *w, const script *scripts, size_t count)
{
    open_searching(w, scripts, count, NULL);
}

static void close_world(world *w)
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

static void assert_addrs(const asked *a, const char *expected)
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

/* ---- tests ---- */

static void both_families_come_together_with_the_shorter_ttl(void **state)
{
    static const script scripts[] = { { "api.internal", .a = 2, .aaaa = 1, .ttl_a = 300, .ttl_aaaa = 60 },
                                      { "four.internal", .a = 1, .ttl_a = 90000 },
                                      { "six.internal", .aaaa = 1, .ttl_aaaa = 0 } };
    world w;
    asked a[3];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "API.internal");
    ask(&w, &a[1], "four.internal.");
    ask(&w, &a[2], "six.internal");
    run_until(&w, 3);
    assert_addrs(&a[0], "10.0.0.1 10.0.0.2 fd00::1");
    assert_int_equal(a[0].answer.ttl_s, 60);
    assert_addrs(&a[1], "10.0.0.1");
    assert_int_equal(a[1].answer.ttl_s, 3600); /* the ceiling */
    assert_addrs(&a[2], "fd00::1");
    assert_int_equal(a[2].answer.ttl_s, 1); /* the floor */
    close_world(&w);
}

static void more_addresses_than_are_kept_are_cut(void **state)
{
    static const script scripts[] = { { "many.internal", .a = 30, .aaaa = 10, .ttl_a = 9, .ttl_aaaa = 9 } };
    world w;
    asked a;

    (void)state;
    open_world(&w, scripts, 1);
    ask(&w, &a, "many.internal");
    run_until(&w, 1);
    assert_int_equal(a.answer.count, MG_RESOLVE_MAX);
    assert_int_equal(a.answer.dropped, 8);
    close_world(&w);
}

static void what_is_cut_short_over_udp_is_asked_again_over_tcp(void **state)
{
    static const script scripts[] = {
        { "some.internal", .a = 3, .aaaa = 1, .ttl_a = 7, .ttl_aaaa = 9, .cut = true },
        { "many.internal", .a = 200, .ttl_a = 9, .cut = true },
        { "half.internal", .a = 2, .aaaa = 1, .ttl_a = 9, .ttl_aaaa = 9, .cut = true, .tcp = CLOSES },
        { "silent.internal", .a = 2, .ttl_a = 9, .cut = true, .tcp = IS_SILENT },
        { "other.internal", .a = 2, .ttl_a = 9, .cut = true, .tcp = ANSWERS_ANOTHER },
        { "again.internal", .a = 2, .ttl_a = 9, .cut = true, .tcp = IS_CUT_TOO },
    };
    world w;
    asked a[6];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "some.internal");
    run_until(&w, 1);
    assert_addrs(&a[0], "10.0.0.1 10.0.0.2 10.0.0.3 fd00::1");
    assert_int_equal(a[0].answer.ttl_s, 7);
    assert_int_equal(w.tcp_queries, 2);
    ask(&w, &a[1], "many.internal");
    run_until(&w, 2);
    assert_int_equal(a[1].answer.count, MG_RESOLVE_MAX);
    assert_int_equal(a[1].answer.dropped, 200 - MG_RESOLVE_MAX);
    for (size_t i = 2; i < mg_countof(a); i++) {
        ask(&w, &a[i], scripts[i].name);
        run_until(&w, (unsigned)i + 1);
        assert_int_equal(a[i].result, scripts[i].tcp == IS_SILENT ? MG_ERR_TIMEOUT : MG_ERR_IO);
    }
    close_world(&w);
}

static void a_question_over_tcp_can_be_cancelled_and_dropped(void **state)
{
    static const script scripts[] = {
        { "silent.internal", .a = 2, .aaaa = 2, .ttl_a = 9, .cut = true, .tcp = IS_SILENT },
        { "fast.internal", .a = 1, .ttl_a = 9 },
    };
    world w;
    asked a[3];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "silent.internal");
    ask(&w, &a[1], "silent.internal");
    ask(&w, &a[2], "fast.internal");
    run_until(&w, 1);
    mg_resolver_cancel(&a[0].question);
    close_world(&w);
    assert_int_equal(a[0].calls + a[1].calls, 0);
}

static void relative_names_are_searched_for(void **state)
{
    static const script scripts[] = { { "db.one.internal", .a = 1, .ttl_a = 9 },
                                      { "db.two.internal", .a = 2, .ttl_a = 9 },
                                      { "api.eu.two.internal", .a = 3, .ttl_a = 9, .cut = true },
                                      { "api.eu", .a = 4, .ttl_a = 9 } };
    char path[] = "/tmp/moongate-resolv-XXXXXX";
    world w;
    asked a[5];

    (void)state;
    const int fd = mkstemp(path);
    assert_true(fd >= 0);
    dprintf(fd, "# comment\nnameserver 192.0.2.1\ndomain nowhere.internal\n"
                "search Two.internal. one.internal a..b\noptions ndots:2 attempts:1\n");
    close(fd);
    open_searching(&w, scripts, mg_countof(scripts), path);
    ask(&w, &a[0], "db");
    ask(&w, &a[1], "api.eu");
    ask(&w, &a[2], "api.eu.");
    ask(&w, &a[3], "db.one.internal");
    run_until(&w, 4);
    assert_addrs(&a[0], "10.0.0.1 10.0.0.2");
    assert_addrs(&a[1], "10.0.0.1 10.0.0.2 10.0.0.3");
    assert_int_equal(a[2].answer.count, 4);
    assert_addrs(&a[3], "10.0.0.1");
    ask(&w, &a[4], "nobody");
    run_until(&w, 5);
    assert_int_equal(a[4].result, MG_ERR_NOT_FOUND);
    assert_string_equal(w.last, "nobody"); /* as it stands comes last */
    close_world(&w);
    unlink(path);
}

static void what_does_not_exist_is_not_found_and_silence_is_a_timeout(void **state)
{
    static const script scripts[] = { { .name = "empty.internal" },
                                      { "broken.internal", .rcode = 5 },
                                      { "silent.internal", .silent = true } };
    world w;
    asked a[4];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "nobody.internal");
    ask(&w, &a[1], "empty.internal");
    run_until(&w, 2);
    assert_int_equal(a[0].result, MG_ERR_NOT_FOUND);
    assert_int_equal(a[1].result, MG_ERR_NOT_FOUND);
    ask(&w, &a[2], "silent.internal");
    run_until(&w, 3);
    assert_int_equal(a[2].result, MG_ERR_TIMEOUT);
    ask(&w, &a[3], "broken.internal");
    run_until(&w, 4);
    assert_true(a[3].result == MG_ERR_IO || a[3].result == MG_ERR_TIMEOUT); /* the server is no good */
    close_world(&w);
}

static void literals_and_nonsense_ask_nobody(void **state)
{
    static const char *bad[] = {
        "", ".", "a b", "a\tb", "a..b", "0123456789012345678901234567890123456789012345678901234567890123.com"
    };
    char long_name[300];
    world w;
    asked a[MAX_ASKED];

    (void)state;
    open_world(&w, NULL, 0);
    ask(&w, &a[0], "192.0.2.7");
    ask(&w, &a[1], "2001:db8::7");
    run_until(&w, 2);
    assert_addrs(&a[0], "192.0.2.7");
    assert_addrs(&a[1], "2001:db8::7");
    for (size_t i = 0; i < mg_countof(bad); i++)
        ask(&w, &a[2 + i], bad[i]);
    memset(long_name, 'a', sizeof(long_name) - 1);
    long_name[sizeof(long_name) - 1] = 0;
    ask(&w, &a[2 + mg_countof(bad)], long_name);
    run_until(&w, 3 + mg_countof(bad));
    for (size_t i = 0; i < mg_countof(bad) + 1; i++)
        assert_int_equal(a[2 + i].result, MG_ERR_INVALID);
    assert_int_equal(w.queries, 0);
    close_world(&w);
}

static void the_hosts_file_comes_first_and_is_read_again(void **state)
{
    world w;
    asked a[6];

    (void)state;
    open_world(&w, NULL, 0);
    write_hosts(&w, "# 10.9.9.9 db.internal\n"
                    "10.1.1.1\tdb.internal db # the first\r\n"
                    "not-an-address db.internal\n"
                    "\n"
                    "10.1.1.1 db.internal\n"
                    "fd00::5 other DB.Internal");
    ask(&w, &a[0], "db.internal");
    ask(&w, &a[1], "DB");
    run_until(&w, 2);
    assert_addrs(&a[0], "10.1.1.1 fd00::5");
    assert_addrs(&a[1], "10.1.1.1");
    write_hosts(&w, "10.1.1.2 db.internal\n");
    ask(&w, &a[2], "db.internal");
    run_until(&w, 3);
    assert_addrs(&a[2], "10.1.1.2");
    assert_int_equal(w.queries, 0);
    unlink(w.hosts);
    ask(&w, &a[3], "db.internal");
    run_until(&w, 4);
    assert_int_equal(a[3].result, MG_ERR_NOT_FOUND);
    assert_true(w.queries > 0);
    close_world(&w);
}

static void localhost_always_resolves_unless_the_file_says_otherwise(void **state)
{
    world w;
    asked a[3];

    (void)state;
    open_world(&w, NULL, 0);
    ask(&w, &a[0], "localhost");
    ask(&w, &a[1], "app.Localhost.");
    run_until(&w, 2);
    assert_addrs(&a[0], "127.0.0.1 ::1");
    assert_addrs(&a[1], "127.0.0.1 ::1");
    write_hosts(&w, "127.0.0.2 localhost\n");
    ask(&w, &a[2], "localhost");
    run_until(&w, 3);
    assert_addrs(&a[2], "127.0.0.2");
    assert_int_equal(w.queries, 0);
    close_world(&w);
}

static void a_cancelled_question_is_never_answered(void **state)
{
    static const script scripts[] = { { "api.internal", .a = 1, .ttl_a = 9 },
                                      { "silent.internal", .silent = true } };
    world w;
    asked a[4];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "192.0.2.7");
    mg_resolver_cancel(&a[0].question);
    mg_resolver_cancel(&a[0].question);
    ask(&w, &a[1], "api.internal");
    mg_resolver_cancel(&a[1].question);
    ask(&w, &a[2], "silent.internal");
    mg_resolver_cancel(&a[2].question);
    ask(&w, &a[2], "api.internal"); /* the same memory, another question */
    ask(&w, &a[3], "api.internal");
    run_until(&w, 2);
    assert_int_equal(a[0].calls + a[1].calls, 0);
    assert_addrs(&a[2], "10.0.0.1");
    assert_addrs(&a[3], "10.0.0.1");
    close_world(&w);
}

static void a_freed_resolver_drops_what_is_open(void **state)
{
    static const script scripts[] = { { "api.internal", .a = 1, .ttl_a = 9 },
                                      { "silent.internal", .silent = true } };
    world w;
    asked a[4];

    (void)state;
    open_world(&w, scripts, mg_countof(scripts));
    w.free_in_done = true; /* in the middle of its own answer */
    ask(&w, &a[0], "api.internal");
    ask(&w, &a[1], "silent.internal");
    ask(&w, &a[2], "silent.internal");
    mg_resolver_cancel(&a[2].question);
    run_until(&w, 1);
    assert_addrs(&a[0], "10.0.0.1");
    assert_int_equal(a[1].calls, 0);
    mg_resolver_cancel(&a[1].question); /* harmless */
    close_world(&w);

    open_world(&w, scripts, mg_countof(scripts));
    ask(&w, &a[0], "api.internal");
    ask(&w, &a[1], "localhost");
    close_world(&w);
    assert_int_equal(a[0].calls + a[1].calls, 0);
}

static void a_nameserver_that_is_none_is_refused(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_loop *loop = mg_loop_new(&mg_clock_real, 1, &err);
    const mg_resolver_options bad = { .nameserver = "dns.example" },
                              missing = { .resolv_conf = "/nonexistent/resolv.conf" };

    (void)state;
    assert_null(mg_resolver_new(loop, &bad, &err));
    assert_non_null(strstr(err.message, "\"dns.example\" is no nameserver"));
    assert_null(mg_resolver_new(loop, &missing, &err));
    assert_non_null(strstr(err.message, "/nonexistent/resolv.conf: cannot be read"));
    mg_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_families_come_together_with_the_shorter_ttl),
        cmocka_unit_test(more_addresses_than_are_kept_are_cut),
        cmocka_unit_test(what_is_cut_short_over_udp_is_asked_again_over_tcp),
        cmocka_unit_test(a_question_over_tcp_can_be_cancelled_and_dropped),
        cmocka_unit_test(relative_names_are_searched_for),
        cmocka_unit_test(what_does_not_exist_is_not_found_and_silence_is_a_timeout),
        cmocka_unit_test(literals_and_nonsense_ask_nobody),
        cmocka_unit_test(the_hosts_file_comes_first_and_is_read_again),
        cmocka_unit_test(localhost_always_resolves_unless_the_file_says_otherwise),
        cmocka_unit_test(a_cancelled_question_is_never_answered),
        cmocka_unit_test(a_freed_resolver_drops_what_is_open),
        cmocka_unit_test(a_nameserver_that_is_none_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
