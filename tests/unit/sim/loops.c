/* loops.c - one small program on both kinds of loop: what it sees must not tell them apart. */
#include "base/mem.h"
#include "net/listener.h"
#include "sim/sim.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { BYTES = 300000, PIECE = 4096 };

typedef struct end end; /* one end of a connection, written as a user of the loop writes it */
struct end {
    mg_loop *loop;
    mg_watch watch;
    mg_later more;
    int fd;
    bool open, echo, readable, writable, eof, shut;
    unsigned seen; /* MG_READY_ bits */
    int error;     /* errno of the read that failed */
    char *out, *in;
    size_t out_n, sent, got;
    void (*finished)(end *);
    void *owner;
};

typedef struct program {
    mg_loop *loop;
    mg_listener *listener;
    mg_addr addr;
    end server, client;
    mg_timer guard;
    unsigned finished, wanted;
    bool reset_by_server, timed_out;
} program;

static void finish(end *e)
{
    mg_watch_stop(&e->watch);
    mg_later_cancel(&e->more);
    if (e->open)
        e->loop->ops->close(e->loop, e->fd, false);
    e->open = false;
    if (e->finished)
        e->finished(e);
}

static bool read_once(end *e)
{
    const ssize_t n =
        e->loop->ops->recv(e->loop, e->fd, e->in + e->got, mg_min_u64(PIECE, 2 * BYTES - e->got));

    if (n > 0)
        e->got += (size_t)n;
    if (n == 0)
        e->eof = true;
    if (n < 0 && errno != EAGAIN)
        e->error = errno;
    return n > 0;
}

static void write_some(end *e)
{
    const char *from = e->echo ? e->in : e->out;
    const size_t all = e->echo ? e->got : e->out_n;

    while (e->writable && e->sent < all) {
        struct iovec parts[2] = { { (char *)(uintptr_t)from + e->sent, 1 },
                                  { (char *)(uintptr_t)from + e->sent + 1, all - e->sent - 1 } };
        const ssize_t n = e->loop->ops->send(e->loop, e->fd, parts, all - e->sent > 1 ? 2 : 1);
        if (n < 0 && errno != EAGAIN) {
            e->error = errno;
            return;
        }
        if (n < 0)
            e->writable = false;
        else
            e->sent += (size_t)n;
    }
    if (e->sent == all && !e->shut && (e->eof || !e->echo)) {
        e->loop->ops->shutdown_write(e->loop, e->fd);
        e->shut = true;
    }
}

/* Four reads a turn; what is left stands over. */
static void turn(end *e)
{
    for (int i = 0; e->readable && i < 4; i++)
        e->readable = read_once(e);
    write_some(e);
    if (e->error || (e->eof && e->shut))
        finish(e);
    else if (e->readable)
        mg_later_add(e->loop, &e->more);
}

static void on_more(mg_later *later)
{
    turn(mg_container_of(later, end, more));
}

static void on_ready(mg_watch *watch, unsigned what)
{
    end *e = mg_container_of(watch, end, watch);

    e->seen |= what;
    e->readable |= (what & (MG_READY_READ | MG_READY_CLOSED)) != 0;
    e->writable |= (what & MG_READY_WRITE) != 0;
    turn(e);
}

static void open_end(program *p, end *e, int fd)
{
    e->loop = p->loop;
    e->fd = fd;
    e->open = true;
    e->owner = p;
    e->more.run = on_more;
    e->in = e->in ? e->in : mg_alloc(2 * BYTES);
    mg_watch_start(p->loop, &e->watch, fd, on_ready);
}

static void on_finished(end *e)
{
    program *p = e->owner;

    if (++p->finished == p->wanted)
        mg_loop_stop(p->loop);
}

static void on_guard(mg_timer *timer)
{
    program *p = mg_container_of(timer, program, guard);

    p->timed_out = true;
    mg_loop_stop(p->loop);
}

static void on_accepted(void *self, int fd, const mg_addr *peer)
{
    program *p = self;

    (void)peer;
    if (p->reset_by_server) { /* half an answer, and an RST behind it */
        const struct iovec part = { (char *)(uintptr_t) "half", 4 };
        assert_int_equal(p->loop->ops->send(p->loop, fd, &part, 1), 4);
        p->loop->ops->close(p->loop, fd, true);
        return;
    }
    open_end(p, &p->server, fd);
}

static void begin(program *p, mg_loop *loop, unsigned wanted)
{
    mg_error err = MG_ERROR_INIT;
    mg_listener_conf conf = { .backlog = 8 };

    assert_true(mg_addr_from_ip(&conf.addr, MG_STR("127.0.0.1"), 0));
    p->loop = loop;
    p->wanted = wanted;
    p->server.finished = p->client.finished = on_finished;
    p->server.echo = true;
    p->listener = mg_listener_new(loop, &conf, on_accepted, p, &err);
    assert_non_null(p->listener);
    assert_true(mg_listener_addr(p->listener, &p->addr));
    mg_listener_start(p->listener);
    mg_timer_init(&p->guard, on_guard);
    mg_timer_set(loop, &p->guard, mg_loop_now(loop) + 20 * MG_NS_PER_S);
}

static void end_program(program *p)
{
    assert_false(p->timed_out);
    mg_listener_free(p->listener);
    mg_timer_stop(&p->guard);
    mg_free(p->client.in);
    mg_free(p->client.out);
    mg_free(p->server.in);
}

static void echo(mg_loop *loop)
{
    program p = { 0 };

    begin(&p, loop, 2);
    p.client.out = mg_alloc(BYTES);
    p.client.out_n = BYTES;
    for (size_t i = 0; i < BYTES; i++)
        p.client.out[i] = (char)(i * 31 + i / 251);
    open_end(&p, &p.client, loop->ops->connect(loop, &p.addr));
    mg_loop_run(loop);
    assert_int_equal(p.client.got, BYTES);
    assert_memory_equal(p.client.in, p.client.out, BYTES);
    assert_int_equal(p.client.error, 0);
    assert_true(p.client.eof && p.server.eof);
    assert_int_equal(p.server.seen & MG_READY_WRITE, MG_READY_WRITE);
    end_program(&p);
}

/* Nothing but room ever wakes the sender. */
static void upload(mg_loop *loop)
{
    program p = { 0 };

    begin(&p, loop, 2);
    p.server.echo = false; /* has nothing to say, reads to the end */
    p.client.out = mg_calloc(1, BYTES);
    p.client.out_n = BYTES;
    open_end(&p, &p.client, loop->ops->connect(loop, &p.addr));
    mg_loop_run(loop);
    assert_int_equal(p.server.got, BYTES);
    end_program(&p);
}

static void half_close(mg_loop *loop)
{
    program p = { 0 };

    begin(&p, loop, 2);
    open_end(&p, &p.client, loop->ops->connect(loop, &p.addr));
    mg_loop_run(loop);
    assert_true(p.client.eof && p.server.eof);
    assert_int_equal(p.server.seen, MG_READY_READ | MG_READY_WRITE | MG_READY_CLOSED);
    end_program(&p);
}

/* Bytes before an RST arrive; then the reset is told, once. */
static void reset(mg_loop *loop)
{
    program p = { .reset_by_server = true };

    begin(&p, loop, 1);
    open_end(&p, &p.client, loop->ops->connect(loop, &p.addr));
    p.client.shut = true; /* sends nothing */
    mg_loop_run(loop);
    assert_int_equal(p.client.got, 4);
    assert_int_equal(p.client.error, ECONNRESET);
    end_program(&p);
}

static void refused(mg_loop *loop)
{
    program p = { 0 };
    mg_addr nobody;

    begin(&p, loop, 1);
    nobody = p.addr;
    mg_listener_free(p.listener);
    p.listener = NULL;
    const int fd = loop->ops->connect(loop, &nobody);
    if (fd < 0) {
        assert_int_equal(errno, ECONNREFUSED);
    } else {
        open_end(&p, &p.client, fd);
        p.client.shut = true;
        mg_loop_run(loop);
        assert_int_equal(p.client.error, ECONNREFUSED);
    }
    end_program(&p);
}

static void unread_bytes_make_a_close_a_reset(mg_loop *loop)
{
    program p = { 0 };
    char bytes[8];

    begin(&p, loop, 1);
    p.client.out = mg_strdup("nobody reads this");
    p.client.out_n = 17;
    open_end(&p, &p.client, loop->ops->connect(loop, &p.addr));
    mg_watch_stop(&p.client.watch);
    mg_timer_set(loop, &p.guard, mg_loop_now(loop) + 20 * MG_NS_PER_MS);
    mg_loop_run(loop); /* the server has echoed nothing yet: let the connection come up */
    p.timed_out = false;
    const struct iovec part = { p.client.out, p.client.out_n };
    if (p.server.open)
        mg_watch_stop(&p.server.watch);
    assert_true(p.server.open);
    assert_int_equal(loop->ops->send(loop, p.client.fd, &part, 1), 17);
    assert_int_equal(loop->ops->peek(loop, p.server.fd, bytes, sizeof(bytes)), 8);
    assert_memory_equal(bytes, "nobody r", 8);
    loop->ops->close(loop, p.server.fd, false);
    assert_int_equal(loop->ops->recv(loop, p.client.fd, bytes, sizeof(bytes)), -1);
    assert_int_equal(errno, ECONNRESET);
    assert_int_equal(loop->ops->recv(loop, p.client.fd, bytes, sizeof(bytes)), 0);
    assert_int_equal(loop->ops->send(loop, p.client.fd, &part, 1), -1);
    assert_int_equal(errno, EPIPE);
    loop->ops->close(loop, p.client.fd, false);
    end_program(&p);
}

static void all_of_it(mg_loop *loop)
{
    echo(loop);
    upload(loop);
    half_close(loop);
    reset(loop);
    refused(loop);
    unread_bytes_make_a_close_a_reset(loop);
}

static void on_the_kernel(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_loop *loop = mg_loop_new(&mg_clock_real, 1, &err);

    (void)state;
    assert_non_null(loop);
    all_of_it(loop);
    mg_loop_free(loop);
}

static void in_memory(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++) {
        mg_sim *sim = mg_sim_new(seed);
        mg_loop *loop = mg_sim_loop_new(sim);
        mg_sim_set_buffer(sim, seed % 3 ? 64 * 1024 : 1000);
        mg_sim_set_chunk(sim, seed % 2 ? 0 : 3000);
        echo(loop);
        upload(loop);
        mg_sim_set_chunk(sim, 0);
        half_close(loop);
        reset(loop);
        refused(loop);
        unread_bytes_make_a_close_a_reset(loop);
        mg_loop_free(loop);
        assert_int_equal(mg_sim_open_sockets(sim), 0);
        assert_int_equal(mg_sim_live_timers(sim), 0);
        mg_sim_free(sim);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(on_the_kernel),
        cmocka_unit_test(in_memory),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
