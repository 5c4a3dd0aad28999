/* listener.c - real sockets on loopback and in a directory of this test's own. */
#include "net/listener.h"
#include "base/mem.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

enum { MAX_FDS = 256 };

typedef struct world {
    mg_loop *loop;
    mg_listener *listener;
    mg_addr addr;
    int fds[MAX_FDS]; /* accepted */
    unsigned accepted, stop_at;
    bool free_at_first;
    mg_timer guard;
    bool timed_out;
} world;

static void on_guard(mg_timer *timer)
{
    world *w = mg_container_of(timer, world, guard);

    w->timed_out = true;
    mg_loop_stop(w->loop);
}

static void on_accepted(void *self, int fd, const mg_addr *peer)
{
    world *w = self;

    (void)peer;
    assert_true(w->accepted < MAX_FDS);
    w->fds[w->accepted++] = fd;
    if (w->free_at_first) {
        mg_listener_free(w->listener);
        w->listener = NULL;
    }
    if (w->accepted == w->stop_at)
        mg_loop_stop(w->loop);
}

static mg_addr loopback(void)
{
    mg_addr addr;

    assert_true(mg_addr_from_ip(&addr, MG_STR("127.0.0.1"), 0));
    return addr;
}

static void open_world(world *w, const mg_addr *addr)
{
    mg_error err = MG_ERROR_INIT;
    const mg_listener_conf conf = { .addr = *addr };

    *w = (world){ .loop = mg_loop_new(&mg_clock_real, 1, &err) };
    assert_non_null(w->loop);
    w->listener = mg_listener_new(w->loop, &conf, on_accepted, w, &err);
    assert_string_equal(err.message, "");
    assert_non_null(w->listener);
    assert_true(mg_listener_addr(w->listener, &w->addr));
    mg_timer_init(&w->guard, on_guard);
}

static void close_world(world *w)
{
    for (unsigned i = 0; i < w->accepted; i++)
        close(w->fds[i]);
    mg_listener_free(w->listener);
    mg_timer_stop(&w->guard);
    mg_loop_free(w->loop);
}

/* Runs until `count` are accepted in all; false after 10 s, which only a failing test sees. */
static bool run_until(world *w, unsigned count)
{
    w->stop_at = count;
    if (w->accepted >= count)
        return true;
    w->loop->now_read = false;
    mg_timer_set(w->loop, &w->guard, mg_loop_now(w->loop) + 10 * MG_NS_PER_S);
    mg_loop_run(w->loop);
    return !w->timed_out;
}

static int client(const mg_addr *addr)
{
    const int fd = socket(addr->sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(connect(fd, &addr->sa, addr->n), 0);
    return fd;
}

static void accepted_descriptors_are_non_blocking_private_and_undelayed(void **state)
{
    world w;
    int value = 0;
    socklen_t n = sizeof(value);
    const mg_addr addr = loopback();

    (void)state;
    open_world(&w, &addr);
    mg_listener_start(w.listener);
    const int fd = client(&w.addr);
    assert_true(run_until(&w, 1));
    assert_true(fcntl(w.fds[0], F_GETFL) & O_NONBLOCK);
    assert_true(fcntl(w.fds[0], F_GETFD) & FD_CLOEXEC);
    assert_int_equal(getsockopt(w.fds[0], IPPROTO_TCP, TCP_NODELAY, &value, &n), 0);
    assert_int_equal(value, 1);
    close(fd);
    close_world(&w);
}

static void nothing_is_accepted_before_start(void **state)
{
    world w;
    const mg_addr addr = loopback();

    (void)state;
    open_world(&w, &addr);
    const int fd = client(&w.addr);
    mg_timer_set(w.loop, &w.guard, 1);
    mg_loop_run(w.loop);
    assert_int_equal(w.accepted, 0);
    mg_listener_start(w.listener);
    w.timed_out = false;
    assert_true(run_until(&w, 1));
    close(fd);
    close_world(&w);
}

static void more_than_a_bite_waits_for_the_next_turn(void **state)
{
    enum { CLIENTS = 100 };
    world w;
    int fds[CLIENTS];
    const mg_addr addr = loopback();

    (void)state;
    open_world(&w, &addr);
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = client(&w.addr);
    mg_listener_start(w.listener);
    assert_true(run_until(&w, 1)); /* stops at the end of the turn */
    assert_int_equal(w.accepted, 64);
    assert_true(run_until(&w, CLIENTS));
    for (int i = 0; i < CLIENTS; i++)
        close(fds[i]);
    close_world(&w);
}

static void stop_accepts_what_is_queued_and_then_refuses(void **state)
{
    world w;
    const mg_addr addr = loopback();

    (void)state;
    open_world(&w, &addr);
    mg_listener_start(w.listener);
    const int a = client(&w.addr), b = client(&w.addr);
    mg_listener_stop(w.listener);
    assert_int_equal(w.accepted, 2);
    const int c = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(c, &w.addr.sa, w.addr.n), -1);
    assert_int_equal(errno, ECONNREFUSED);
    mg_listener_stop(w.listener); /* harmless */
    close(a), close(b), close(c);
    close_world(&w);
}

static void the_receiver_may_free_the_listener(void **state)
{
    world w;
    const mg_addr addr = loopback();

    (void)state;
    for (int stopping = 0; stopping < 2; stopping++) {
        open_world(&w, &addr);
        w.free_at_first = true;
        const int a = client(&w.addr), b = client(&w.addr);
        mg_listener_start(w.listener);
        if (stopping)
            mg_listener_stop(w.listener);
        else
            assert_true(run_until(&w, 1));
        assert_int_equal(w.accepted, 1);
        close(a), close(b);
        close_world(&w);
    }
}

static void without_descriptors_it_pauses_and_comes_back(void **state)
{
    world w;
    struct rlimit was, low;
    const mg_addr addr = loopback();

    (void)state;
    open_world(&w, &addr);
    mg_listener_start(w.listener);
    const int fd = client(&w.addr);
    const int next = dup(fd);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
    low = was;
    low.rlim_cur = (rlim_t)next;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    mg_timer_set(w.loop, &w.guard, mg_clock_real.mono_ns(&mg_clock_real) + 250 * MG_NS_PER_MS);
    mg_loop_run(w.loop);
    assert_int_equal(w.accepted, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
    w.timed_out = false;
    assert_true(run_until(&w, 1));
    close(fd);
    close_world(&w);
}

static void a_port_in_use_says_where_and_how_to_find_who(void **state)
{
    world w;
    mg_error err = MG_ERROR_INIT;
    char expected[256];
    const mg_addr addr = loopback();

    (void)state;
    open_world(&w, &addr);
    const mg_listener_conf conf = { .addr = w.addr };
    assert_null(mg_listener_new(w.loop, &conf, on_accepted, &w, &err));
    snprintf(expected, sizeof(expected),
             "cannot listen on 127.0.0.1:%u: Address already in use (is another gateway running? see: ss "
             "-ltnp 'sport = :%u')",
             mg_addr_port(&w.addr), mg_addr_port(&w.addr));
    assert_string_equal(err.message, expected);
    close_world(&w);
}

static void workers_share_an_address_and_a_probe_sees_them(void **state)
{
    world w;
    mg_error err = MG_ERROR_INIT;
    mg_listener_conf conf = { .addr = loopback(), .reuse_port = true };

    (void)state;
    open_world(&w, &conf.addr);
    assert_int_equal(mg_listener_probe(w.loop, &conf.addr, &err), MG_OK);
    mg_listener *a = mg_listener_new(w.loop, &conf, on_accepted, &w, &err);
    assert_non_null(a);
    assert_true(mg_listener_addr(a, &conf.addr));
    mg_listener *b = mg_listener_new(w.loop, &conf, on_accepted, &w, &err);
    assert_non_null(b);
    assert_int_equal(mg_listener_probe(w.loop, &conf.addr, &err), MG_ERR_IO);
    mg_listener_free(a);
    mg_listener_free(b);
    assert_int_equal(mg_listener_probe(w.loop, &conf.addr, &err), MG_OK);
    close_world(&w);
}

static void all_addresses_means_both_families(void **state)
{
    world w;
    mg_addr any, v4;
    mg_error err = MG_ERROR_INIT;

    (void)state;
    assert_int_equal(mg_addr_parse_bind(&any, MG_STR(":0"), &err), MG_OK);
    open_world(&w, &any);
    mg_listener_start(w.listener);
    assert_true(mg_addr_from_ip(&v4, MG_STR("127.0.0.1"), mg_addr_port(&w.addr)));
    const int fd = client(&v4);
    assert_true(run_until(&w, 1));
    close(fd);
    close_world(&w);
}

static void a_unix_socket_is_private_and_replaces_a_stale_one(void **state)
{
    char folder[] = "/tmp/moongate-listener-XXXXXX", path[64], text[80];
    struct stat st;
    world w, second;
    mg_addr addr;
    mg_error err = MG_ERROR_INIT;

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof(path), "%s/web.sock", folder);
    snprintf(text, sizeof(text), "unix:%s", path);
    assert_int_equal(mg_addr_parse_bind(&addr, mg_str_of(text), &err), MG_OK);
    open_world(&w, &addr);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(mg_listener_probe(w.loop, &addr, &err), MG_ERR_IO); /* somebody answers */
    assert_non_null(strstr(err.message, "another process answers there"));
    close_world(&w);
    assert_int_equal(stat(path, &st), 0); /* stale now */
    open_world(&second, &addr);
    mg_listener_start(second.listener);
    const int fd = client(&addr);
    assert_true(run_until(&second, 1));
    close(fd);
    close_world(&second);

    unlink(path);
    const int file = open(path, O_CREAT | O_WRONLY, 0644);
    close(file);
    w.loop = mg_loop_new(&mg_clock_real, 1, &err);
    assert_int_equal(mg_listener_probe(w.loop, &addr, &err), MG_ERR_IO);
    assert_int_equal(stat(path, &st), 0);
    assert_true(S_ISREG(st.st_mode)); /* not ours to remove */
    mg_loop_free(w.loop);
    unlink(path);
    rmdir(folder);
}

/* Its queue is full, so that connecting says "later"; that is no sign of death. */
static void a_busy_unix_socket_is_not_taken_for_a_stale_one(void **state)
{
    char path[] = "/tmp/moongate-busy-XXXXXX", text[64];
    mg_addr addr;
    mg_error err = MG_ERROR_INIT;
    mg_loop *loop = mg_loop_new(&mg_clock_real, 1, &err);
    struct stat st;
    int fds[8];

    (void)state;
    close(mkstemp(path));
    unlink(path);
    snprintf(text, sizeof(text), "unix:%s", path);
    assert_int_equal(mg_addr_parse_bind(&addr, mg_str_of(text), &err), MG_OK);
    const int server = socket(AF_UNIX, SOCK_STREAM, 0);
    assert_int_equal(bind(server, &addr.sa, addr.n), 0);
    assert_int_equal(listen(server, 0), 0);
    for (size_t i = 0; i < mg_countof(fds); i++) {
        fds[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        if (connect(fds[i], &addr.sa, addr.n) != 0)
            assert_int_equal(errno, EAGAIN);
    }
    assert_int_equal(mg_listener_probe(loop, &addr, &err), MG_ERR_IO);
    assert_int_equal(stat(path, &st), 0);
    for (size_t i = 0; i < mg_countof(fds); i++)
        close(fds[i]);
    close(server);
    unlink(path);
    mg_loop_free(loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_descriptors_are_non_blocking_private_and_undelayed),
        cmocka_unit_test(nothing_is_accepted_before_start),
        cmocka_unit_test(more_than_a_bite_waits_for_the_next_turn),
        cmocka_unit_test(stop_accepts_what_is_queued_and_then_refuses),
        cmocka_unit_test(the_receiver_may_free_the_listener),
        cmocka_unit_test(without_descriptors_it_pauses_and_comes_back),
        cmocka_unit_test(a_port_in_use_says_where_and_how_to_find_who),
        cmocka_unit_test(workers_share_an_address_and_a_probe_sees_them),
        cmocka_unit_test(all_addresses_means_both_families),
        cmocka_unit_test(a_unix_socket_is_private_and_replaces_a_stale_one),
        cmocka_unit_test(a_busy_unix_socket_is_not_taken_for_a_stale_one),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
