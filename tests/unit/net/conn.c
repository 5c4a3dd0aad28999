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
} site;

typedef struct answer {
    mg_bytes_source bytes;
} answer;

static void begin(mg_exchange *x)
{
    site *s = x->owner_self;
    answer *a = MG_ARENA_NEW(&x->arena, answer);

    s->begun++;
    x->response = (mg_response){ .status = 200, .body = MG_BODY_LENGTH, .length = 2 };
    x->client->head(x);
    mg_bytes_source_init(&a->bytes, &x->response_body, MG_STR("ok"));
    a->bytes.source.resume(&a->bytes.source);
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

    mg_net_exchange_free(&s->net, x);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_in_the_socket_is_answered_when_the_server_drains),
        cmocka_unit_test(a_connection_accepted_while_draining_is_answered_once_or_let_go),
    };
    cmocka_set_test_filter(getenv("ONLY"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
