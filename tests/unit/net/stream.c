/* stream.c - client connections over a transport that behaves as TLS may: it greets first, keeps bytes inside that
 * the descriptor has no more, and has to write before it can read. The connection asks the stream, so it is served
 * as one over a plain socket. */
#include "net/stream.h"
#include "base/mem.h"
#include "net/conn.h"
#include "sim/sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

enum { AT_ONCE = 7 }; /* bytes that one read gives */

/* What is inside of the one stream of this kind. */
static struct inside {
    char bytes[8192];
    size_t from, n;
    bool asked;       /* the byte that what was read costs was sent */
    bool wants_tick;  /* what is read of the socket costs one, before it is given */
    unsigned greeted; /* bytes of the greeting that came */
    unsigned refusals;
} inside;

typedef struct site {
    mg_sim *sim;
    mg_loop *loop, *outside;
    mg_net net;
    mg_conn_server server;
    mg_addr addr;
    int listener;
    unsigned begun;
} site;

typedef struct answer {
    mg_bytes_source bytes;
} answer;

/* ---- the transport ---- */

/* Two bytes come, "hi"; anything else is refused. */
static int greet(mg_stream *stream)
{
    mg_loop *loop = stream->watch.loop;
    char byte;

    while (inside.greeted < 2) {
        const ssize_t got = loop->ops->recv(loop, stream->watch.fd, &byte, 1);
        if (got < 0 && errno == EAGAIN) {
            stream->readable = false;
            return MG_STREAM_WAIT;
        }
        if (got <= 0 || byte != "hi"[inside.greeted])
            return EPROTO;
        inside.greeted++;
    }
    return 0;
}

/* True when the byte that a read costs is on its way. */
static bool tick(mg_stream *stream)
{
    mg_loop *loop = stream->watch.loop;
    const struct iovec part = { (void *)(uintptr_t) "t", 1 };

    if (inside.asked || !inside.wants_tick)
        return true;
    if (loop->ops->send(loop, stream->watch.fd, &part, 1) == 1) {
        inside.asked = true;
        stream->reads_on = MG_READY_READ;
        return true;
    }
    inside.refusals++;
    stream->readable = stream->writable = false;
    stream->reads_on = MG_READY_WRITE;
    return false;
}

static ssize_t recv_inside(mg_stream *stream, void *bytes, size_t n)
{
    mg_loop *loop = stream->watch.loop;

    if (!inside.n) {
        const ssize_t got = loop->ops->recv(loop, stream->watch.fd, inside.bytes, sizeof inside.bytes);
        if (got <= 0) {
            stream->readable = false;
            return got == 0 ? 0 : errno == EAGAIN ? MG_STREAM_WAIT : MG_STREAM_ERROR;
        }
        inside.asked = false;
        inside.from = 0;
        inside.n = (size_t)got;
    }
    if (!tick(stream)) /* nothing is left in the socket: only room tells when to go on */
        return MG_STREAM_WAIT;
    const size_t taken = mg_min_u64(mg_min_u64(n, AT_ONCE), inside.n);
    memcpy(bytes, inside.bytes + inside.from, taken);
    inside.from += taken;
    inside.n -= taken;
    stream->readable = true; /* more is inside, or the socket has not said that it is empty */
    return (ssize_t)taken;
}

static ssize_t send_through(mg_stream *stream, const struct iovec *parts, int count)
{
    return mg_transport_socket.send(stream, parts, count);
}

static void shut(mg_stream *stream)
{
    mg_transport_socket.shutdown(stream);
}

static bool is_quiet(mg_stream *stream)
{
    return !inside.n && mg_transport_socket.is_quiet(stream);
}

static const mg_transport like_tls = {
    .greet = greet, .recv = recv_inside, .send = send_through, .shutdown = shut, .is_quiet = is_quiet
};

/* ---- the owner: "ok" to everybody ---- */

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

/* ---- the site ---- */

static void open_site(site *s)
{
    *s = (site){ .sim = mg_sim_new(1) };
    inside = (struct inside){ 0 };
    s->loop = mg_sim_loop_new(s->sim);
    s->outside = mg_sim_loop_new(s->sim);
    mg_net_init(&s->net, s->loop, NULL);
    mg_conn_server_init(&s->server, &s->net, &owner, s);
    s->server.transport = &like_tls;
    assert_true(mg_addr_from_ip(&s->addr, MG_STR("10.0.0.1"), 80));
    s->listener = s->loop->ops->listen(s->loop, &s->addr, 64, false);
}

static void close_site(site *s, int client)
{
    s->outside->ops->close(s->outside, client, false);
    mg_sim_settle(s->sim);
    mg_conn_server_fini(&s->server);
    s->loop->ops->close(s->loop, s->listener, false);
    mg_net_fini(&s->net);
    assert_int_equal(mg_sim_open_sockets(s->sim), 0);
    assert_int_equal(mg_sim_live_timers(s->sim), 0);
    mg_loop_free(s->loop);
    mg_loop_free(s->outside);
    mg_sim_free(s->sim);
}

static int connected(site *s)
{
    mg_addr peer;
    const int fd = s->outside->ops->connect(s->outside, &s->addr);

    mg_sim_settle(s->sim);
    const int accepted = s->loop->ops->accept(s->loop, s->listener, &peer);
    assert_true(accepted >= 0);
    mg_conn_accept(&s->server, accepted, &peer);
    mg_sim_settle(s->sim);
    return fd;
}

static void say(site *s, int fd, const char *text)
{
    const struct iovec part = { (void *)(uintptr_t)text, strlen(text) };

    assert_int_equal(s->outside->ops->send(s->outside, fd, &part, 1), strlen(text));
    mg_sim_settle(s->sim);
}

/* All that has come; -1 instead of a length when the end has. */
static int hear(site *s, int fd, char *text, size_t cap)
{
    ssize_t got = s->outside->ops->recv(s->outside, fd, text, cap - 1);

    text[got > 0 ? got : 0] = '\0';
    mg_sim_settle(s->sim);
    return got == 0 ? -1 : got < 0 ? 0 : (int)got;
}

static unsigned count(const char *text, const char *what)
{
    unsigned n = 0;

    for (const char *at = text; (at = strstr(at, what)); at += strlen(what))
        n++;
    return n;
}

#define GET "GET / HTTP/1.1\r\nHost: a\r\n\r\n"

/* ---- tests ---- */

static void bytes_inside_are_read_though_the_descriptor_has_none(void **state)
{
    char text[2048];
    site s;
    (void)state;

    open_site(&s);
    const int fd = connected(&s);
    say(&s, fd, "hi");
    say(&s, fd, GET GET GET); /* one edge of the descriptor for all of it */
    assert_int_equal(s.begun, 3);
    assert_true(hear(&s, fd, text, sizeof text) > 0);
    assert_int_equal(count(text, "HTTP/1.1 200 OK"), 3);
    say(&s, fd, GET);
    assert_int_equal(s.begun, 4);
    close_site(&s, fd);
}

static void a_request_may_be_in_the_same_bytes_as_the_greeting(void **state)
{
    site s;
    (void)state;

    open_site(&s);
    const int fd = connected(&s);
    say(&s, fd, "hi" GET);
    assert_int_equal(s.begun, 1);
    close_site(&s, fd);
}

static void a_body_is_read_from_inside_to_its_end(void **state)
{
    site s;
    (void)state;

    open_site(&s);
    const int fd = connected(&s);
    say(&s, fd, "hi");
    say(&s, fd, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 400\r\n\r\n");
    char body[401 + sizeof GET];
    memset(body, 'b', 400);
    memcpy(body + 400, GET, sizeof GET);
    say(&s, fd, body); /* the rest of what was answered is dropped, and then comes a request */
    assert_int_equal(s.begun, 2);
    close_site(&s, fd);
}

static void one_that_has_to_write_before_it_can_read_waits_for_room(void **state)
{
    char text[4096];
    site s;
    (void)state;

    open_site(&s);
    mg_sim_set_buffer(s.sim, 256);
    const int fd = connected(&s);
    say(&s, fd, "hi");
    /* Answers that nobody reads fill the way back. */
    for (int i = 0; i < 8; i++)
        say(&s, fd, GET GET);
    inside.wants_tick = true;
    const unsigned before = s.begun;
    say(&s, fd, GET);
    assert_int_equal(s.begun, before);
    for (int i = 0; i < 64 && s.begun < 17; i++)
        (void)hear(&s, fd, text, sizeof text);
    assert_int_equal(s.begun, 17);
    assert_true(inside.refusals > 0);
    close_site(&s, fd);
}

static void a_greeting_may_come_byte_by_byte(void **state)
{
    site s;
    (void)state;

    open_site(&s);
    const int fd = connected(&s);
    say(&s, fd, "h");
    assert_int_equal(s.server.count, 1);
    say(&s, fd, "i");
    say(&s, fd, GET);
    assert_int_equal(s.begun, 1);
    close_site(&s, fd);
}

static void a_greeting_that_fails_is_the_end(void **state)
{
    char text[256];
    site s;
    (void)state;

    open_site(&s);
    const int fd = connected(&s);
    say(&s, fd, "no" GET);
    assert_int_equal(s.begun, 0);
    assert_int_equal(s.server.count, 0);
    (void)hear(&s, fd, text, sizeof text);
    assert_string_equal(text, "");
    close_site(&s, fd);
}

static void a_greeting_that_does_not_come_has_the_time_of_a_head(void **state)
{
    site s;
    (void)state;

    open_site(&s);
    const int fd = connected(&s);
    say(&s, fd, "h");
    mg_sim_advance(s.sim, 9 * MG_NS_PER_S);
    assert_int_equal(s.server.count, 1);
    mg_sim_advance(s.sim, 2 * MG_NS_PER_S);
    assert_int_equal(s.server.count, 0);
    close_site(&s, fd);
}

static void one_that_greets_is_let_go_when_the_server_drains(void **state)
{
    site s;
    (void)state;

    open_site(&s);
    const int fd = connected(&s);
    say(&s, fd, "h");
    mg_conn_server_drain(&s.server);
    assert_int_equal(s.server.count, 0);
    close_site(&s, fd);
}

static void one_without_a_place_hears_nothing_that_is_not_of_its_transport(void **state)
{
    char text[256];
    site s;
    (void)state;

    open_site(&s);
    s.server.limits.max_connections = 0;
    const int fd = connected(&s);
    assert_int_equal(hear(&s, fd, text, sizeof text), -1);
    assert_int_equal(s.server.gate->refused, 1);
    close_site(&s, fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_inside_are_read_though_the_descriptor_has_none),
        cmocka_unit_test(a_request_may_be_in_the_same_bytes_as_the_greeting),
        cmocka_unit_test(a_body_is_read_from_inside_to_its_end),
        cmocka_unit_test(one_that_has_to_write_before_it_can_read_waits_for_room),
        cmocka_unit_test(a_greeting_may_come_byte_by_byte),
        cmocka_unit_test(a_greeting_that_fails_is_the_end),
        cmocka_unit_test(a_greeting_that_does_not_come_has_the_time_of_a_head),
        cmocka_unit_test(one_that_greets_is_let_go_when_the_server_drains),
        cmocka_unit_test(one_without_a_place_hears_nothing_that_is_not_of_its_transport),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
