/* conn.c - client connections of one server on a simulated loop, with an owner that answers "ok" at once.
 * What takes a whole gateway is tested there (sim_*.c). */
#include "net/conn.h"
#include "base/mem.h"
#include "sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

typedef struct site {
    mg_sim *sim;
    mg_loop *loop, *outside;
    mg_net net;
    mg_conn_server server;
    mg_addr addr;
    int listener;
    unsigned begun, drained;
    size_t
        take; /* so many bytes of a body are taken before the answer, which comes while they are being given */
    mg_exchange *over; /* ended, and freed by the test */
} site;

typedef struct answer {
    mg_bytes_source bytes;
    mg_body_sink sink;
    mg_exchange *x;
    size_t left;
} answer;

static void say_ok(mg_exchange *x, answer *a)
{
    x->response = (mg_response){ .status = 200, .body = MG_BODY_LENGTH, .length = 2 };
    x->client->head(x);
    mg_bytes_source_init(&a->bytes, &x->response_body, MG_STR("ok"));
    a->bytes.source.resume(&a->bytes.source);
}

static size_t take(mg_body_sink *sink, const char *bytes, size_t n)
{
    answer *a = mg_container_of(sink, answer, sink);
    const size_t taken = mg_min_u64(n, a->left);

    (void)bytes;
    a->left -= taken;
    if (!a->left)
        say_ok(a->x, a);
    return taken;
}

static void begin(mg_exchange *x)
{
    site *s = x->owner_self;
    answer *a = MG_ARENA_NEW(&x->arena, answer);

    s->begun++;
    *a = (answer){ .sink = { .data = take }, .x = x, .left = s->take };
    if (x->request_body.source && s->take) {
        x->request_body.sink = &a->sink;
        x->request_body.source->resume(x->request_body.source);
        return;
    }
    say_ok(x, a);
}

static void refuse(mg_exchange *x, uint16_t status, const char *why)
{
    site *s = x->owner_self;

    (void)why;
    (void)status;
    x->client->cut(x, MG_RESET_CLIENT_PROTOCOL);
    mg_net_exchange_free(&s->net, x);
}

static void gone(mg_exchange *x, mg_reset reason)
{
    site *s = x->owner_self;

    (void)reason;
    mg_net_exchange_free(&s->net, x);
}

static void done(mg_exchange *x)
{
    site *s = x->owner_self;

    if (s->over)
        mg_net_exchange_free(&s->net, s->over);
    s->over = x;
}

static const mg_owner_ops owner = { begin, refuse, gone, done };

static void count_drained(mg_conn_server *server)
{
    mg_container_of(server, site, server)->drained++;
}

static void open_site(site *s)
{
    *s = (site){ .sim = mg_sim_new(1) };
    s->loop = mg_sim_loop_new(s->sim);
    s->outside = mg_sim_loop_new(s->sim);
    mg_net_init(&s->net, s->loop, NULL);
    mg_conn_server_init(&s->server, &s->net, &owner, s);
    s->server.drained = count_drained;
    assert_true(mg_addr_from_ip(&s->addr, MG_STR("10.0.0.1"), 80));
    s->listener = s->loop->ops->listen(s->loop, &s->addr, 64, false);
}

static void close_site(site *s)
{
    mg_conn_server_fini(&s->server);
    if (s->over)
        mg_net_exchange_free(&s->net, s->over);
    s->loop->ops->close(s->loop, s->listener, false);
    mg_net_fini(&s->net);
    assert_int_equal(mg_sim_open_sockets(s->sim), 0);
    assert_int_equal(mg_sim_live_timers(s->sim), 0);
    mg_loop_free(s->loop);
    mg_loop_free(s->outside);
    mg_sim_free(s->sim);
}

/* A connection that nobody has given to the server yet. */
static int dial(site *s, int *accepted, mg_addr *peer)
{
    const int fd = s->outside->ops->connect(s->outside, &s->addr);

    mg_sim_settle(s->sim);
    *accepted = s->loop->ops->accept(s->loop, s->listener, peer);
    assert_true(*accepted >= 0);
    return fd;
}

static int connected(site *s)
{
    mg_addr peer;
    int accepted;
    const int fd = dial(s, &accepted, &peer);

    mg_conn_accept(&s->server, accepted, &peer);
    mg_sim_settle(s->sim);
    return fd;
}

/* Without a turn of any loop. */
static void say(site *s, int fd, const char *text)
{
    const struct iovec part = { (void *)(uintptr_t)text, strlen(text) };

    assert_int_equal(s->outside->ops->send(s->outside, fd, &part, 1), strlen(text));
}

/* The whole of what came, and the end behind it. */
static void hear_and_close(site *s, int fd, char *text, size_t cap)
{
    size_t n = 0;

    mg_sim_settle(s->sim);
    for (ssize_t got; (got = s->outside->ops->recv(s->outside, fd, text + n, cap - 1 - n)) != 0;
         n += (size_t)got)
        if (got < 0)
            fail_msg("no end behind \"%.*s\"", (int)n, text);
    text[n] = '\0';
    s->outside->ops->close(s->outside, fd, false);
    mg_sim_settle(s->sim);
}

#define GET "GET / HTTP/1.1\r\nhost: a\r\n\r\n"

static void a_request_in_the_socket_is_answered_when_the_server_drains(void **state)
{
    char text[4096];
    site s;

    (void)state;
    open_site(&s);
    const int idle = connected(&s), asks = connected(&s), half = connected(&s);
    say(&s, asks, GET GET);
    say(&s, half, "GET / HTTP/1.1\r\n");
    mg_conn_server_drain(&s.server);
    hear_and_close(&s, idle, text, sizeof text);
    assert_string_equal(text, "");
    hear_and_close(&s, asks, text, sizeof text);
    assert_memory_equal(text, "HTTP/1.1 200 ", 13);
    assert_non_null(strstr(text, "\r\nconnection: close\r\n\r\nok"));
    assert_int_equal(s.begun, 1);
    assert_int_equal(s.drained, 0);
    say(&s, half, "host: a\r\n\r\n");
    hear_and_close(&s, half, text, sizeof text);
    assert_memory_equal(text, "HTTP/1.1 200 ", 13);
    assert_int_equal(s.drained, 1);
    close_site(&s);
}

static void a_connection_accepted_while_draining_is_answered_once_or_let_go(void **state)
{
    char text[4096];
    int accepted[2];
    mg_addr peer;
    site s;

    (void)state;
    open_site(&s);
    const int asks = dial(&s, &accepted[0], &peer), idle = dial(&s, &accepted[1], &peer);
    say(&s, asks, GET);
    s.server.draining = true;
    mg_conn_accept(&s.server, accepted[0], &peer);
    mg_conn_accept(&s.server, accepted[1], &peer);
    hear_and_close(&s, idle, text, sizeof text);
    assert_string_equal(text, "");
    hear_and_close(&s, asks, text, sizeof text);
    assert_memory_equal(text, "HTTP/1.1 200 ", 13);
    close_site(&s);
}

#define POST "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello"
#define LAST "GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n"

/* The answer comes before the body, behind `taken` bytes of it; what has not been taken is dropped to its last
 * byte, and what stands behind that is a request, wherever the bytes are cut. */
static void what_an_early_answer_leaves_of_a_body_is_dropped_and_no_more(void **state)
{
    static const char all[] = POST POST LAST;

    (void)state;
    for (size_t taken = 0; taken <= 5; taken++)
        for (size_t at = 1; at <= sizeof all - 1; at++) {
            char first[sizeof all], text[4096];
            site s;

            memcpy(first, all, at);
            first[at] = '\0';
            open_site(&s);
            s.take = taken;
            const int fd = connected(&s);
            say(&s, fd, first);
            mg_sim_settle(s.sim);
            say(&s, fd, all + at);
            hear_and_close(&s, fd, text, sizeof text);
            assert_int_equal(s.begun, 3);
            const char *one = strstr(text, "\r\n\r\nok"), *two = one ? strstr(one + 6, "\r\n\r\nok") : NULL;
            assert_non_null(two);
            assert_string_equal(strstr(two + 6, "\r\n\r\nok"), "\r\n\r\nok");
            close_site(&s);
        }
}

/* Each connection has as much room for its peer's address as that takes. */
static void a_request_knows_the_whole_address_of_its_peer(void **state)
{
    static const char *const peers[] = { "1.2.3.4", "255.255.255.255", "::1",
                                         "2001:db8:ffff:ffff:ffff:ffff:ffff:ffff" };

    (void)state;
    for (size_t i = 0; i < mg_countof(peers); i++) {
        mg_addr peer, given;
        char text[4096];
        int accepted;
        site s;

        open_site(&s);
        const int fd = dial(&s, &accepted, &given);
        assert_true(mg_addr_from_ip(&peer, mg_str_of(peers[i]), 1));
        mg_conn_accept(&s.server, accepted, &peer);
        say(&s, fd, LAST);
        hear_and_close(&s, fd, text, sizeof text);
        assert_non_null(s.over);
        assert_true(mg_str_eq_c(s.over->peer, peers[i]));
        close_site(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_in_the_socket_is_answered_when_the_server_drains),
        cmocka_unit_test(a_connection_accepted_while_draining_is_answered_once_or_let_go),
        cmocka_unit_test(what_an_early_answer_leaves_of_a_body_is_dropped_and_no_more),
        cmocka_unit_test(a_request_knows_the_whole_address_of_its_peer),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
