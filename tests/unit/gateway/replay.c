/* replay.c - a request body that is sent once more: between a client that speaks in pieces and connections
 * that take as much as they like. */
#include "gateway/request/replay.h"
#include "base/mem.h"
#include "gateway/request/flight.h"
#include "sim/sim.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

/* The client's side of a body, as a connection is: it offers what has come, until a sink is full. */
typedef struct client {
    mg_body_source source;
    mg_body *body;
    mg_text come; /* and not yet taken */
    bool blocked, over, stopped;
} client;

/* A connection to an upstream. */
typedef struct upstream {
    mg_body_sink sink;
    mg_text got;
    size_t room;
    bool ended, reset, trailers;
} upstream;

typedef struct fixture {
    mg_sim *sim;
    mg_loop *loop;
    mg_log *log;
    mg_worker worker;
    mg_exchange *x;
    mg_flight flight;
    client client;
    upstream up[4];
} fixture;

static void feed(client *c)
{
    mg_body *body = c->body;

    while (!c->blocked && c->come.n) {
        if (!body->sink) {
            c->blocked = true;
            return;
        }
        const size_t taken = body->sink->data(body->sink, c->come.p, c->come.n);
        body->bytes += taken;
        c->blocked = taken < c->come.n;
        memmove(c->come.p, c->come.p + taken, c->come.n - taken);
        c->come.n -= taken;
    }
    if (c->blocked || !c->over || body->ended)
        return;
    c->over = false;
    body->source = NULL;
    body->ended = true;
    if (body->sink)
        body->sink->end(body->sink, NULL);
}

static void client_resume(mg_body_source *source)
{
    client *c = mg_container_of(source, client, source);

    c->blocked = false;
    feed(c);
}

static void client_stop(mg_body_source *source)
{
    client *c = mg_container_of(source, client, source);

    c->stopped = true;
    c->body->source = NULL;
    c->body->sink = NULL;
}

static size_t up_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    upstream *up = mg_container_of(sink, upstream, sink);
    const size_t taken = mg_min_u64(n, up->room);

    assert_false(up->ended);
    mg_text_add(&up->got, (mg_str){ bytes, taken });
    up->room -= taken;
    return taken;
}

static void up_end(mg_body_sink *sink, const mg_fields *trailers)
{
    upstream *up = mg_container_of(sink, upstream, sink);

    assert_false(up->ended);
    up->ended = true;
    up->trailers = trailers != NULL;
}

static void up_reset(mg_body_sink *sink, mg_reset reason)
{
    (void)reason;
    mg_container_of(sink, upstream, sink)->reset = true;
}

static void silent(void *self, mg_log_level level, mg_str line)
{
    (void)self;
    (void)level;
    (void)line;
}

static void begin(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->sim = mg_sim_new(1);
    f->loop = mg_sim_loop_new(f->sim);
    f->log = mg_log_new(MG_LOG_ERROR, mg_sim_clock(f->sim), silent, NULL);
    mg_net_init(&f->worker.net, f->loop, f->log);
    f->worker.loop = f->loop;
    f->x = mg_net_exchange_new(&f->worker.net);
    f->flight = (mg_flight){ .x = f->x, .worker = &f->worker };
    f->client =
        (client){ .source = { client_resume, client_stop }, .body = &f->x->request_body, .blocked = true };
    f->x->request_body.source = &f->client.source;
    for (int i = 0; i < 4; i++)
        f->up[i] = (upstream){ .sink = { up_data, up_end, up_reset, NULL }, .room = SIZE_MAX };
    mg_replay_begin(&f->flight);
}

static void end(fixture *f)
{
    mg_replay_fini(&f->flight);
    assert_int_equal(f->worker.net.held, 0);
    mg_net_exchange_free(&f->worker.net, f->x);
    mg_net_fini(&f->worker.net);
    for (int i = 0; i < 4; i++)
        mg_text_fini(&f->up[i].got);
    mg_text_fini(&f->client.come);
    mg_log_free(f->log);
    mg_loop_free(f->loop);
    mg_sim_free(f->sim);
}

static void comes(fixture *f, const char *bytes, size_t n)
{
    mg_text_add(&f->client.come, (mg_str){ bytes, n });
    feed(&f->client);
}

static void is_over(fixture *f)
{
    f->client.over = true;
    feed(&f->client);
}

/* As a connection begins: its sink, `sending`, and off it goes. */
static void attach(fixture *f, int i)
{
    mg_body *body = &f->x->request_body;

    f->flight.proxy.errand.lease.body_taken = false;
    body->sink = &f->up[i].sink;
    mg_replay_sending(&f->flight);
    body->source->resume(body->source);
}

/* As one ends. */
static void fails(fixture *f)
{
    f->x->request_body.sink = NULL;
}

static void takes(fixture *f, int i, size_t room)
{
    f->up[i].room = room;
    if (f->x->request_body.source)
        f->x->request_body.source->resume(f->x->request_body.source);
}

#define assert_got(f, i, text)                                                                               \
    do {                                                                                                     \
        mg_text_add(&(f)->up[i].got, (mg_str){ "", 1 });                                                     \
        assert_string_equal((f)->up[i].got.p, text);                                                         \
        (f)->up[i].got.n--;                                                                                  \
    } while (0)

static void a_body_that_was_sent_whole_is_sent_again(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    attach(&f, 0);
    comes(&f, "hello ", 6);
    comes(&f, "world", 5);
    is_over(&f);
    assert_got(&f, 0, "hello world");
    assert_true(f.up[0].ended);
    for (int i = 1; i < 4; i++) {
        fails(&f);
        assert_true(mg_replay_held(&f.flight));
        mg_replay_rewind(&f.flight);
        assert_false(f.x->request_body.ended);
        attach(&f, i);
        assert_got(&f, i, "hello world");
        assert_true(f.up[i].ended);
        assert_true(f.x->request_body.ended);
        assert_null(f.x->request_body.source);
    }
    end(&f);
}

static void the_rest_follows_what_was_kept(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    attach(&f, 0);
    comes(&f, "hello ", 6);
    fails(&f);
    mg_replay_rewind(&f.flight);
    attach(&f, 1);
    comes(&f, "world", 5);
    fails(&f);
    mg_replay_rewind(&f.flight);
    attach(&f, 2);
    is_over(&f);
    assert_got(&f, 1, "hello world");
    assert_false(f.up[1].ended);
    assert_got(&f, 2, "hello world");
    assert_true(f.up[2].ended);
    end(&f);
}

static void what_comes_between_two_tries_waits_its_turn(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    attach(&f, 0);
    comes(&f, "one ", 4);
    fails(&f);
    mg_replay_rewind(&f.flight);
    comes(&f, "two ", 4);
    assert_true(f.client.blocked);
    attach(&f, 1);
    comes(&f, "three", 5);
    is_over(&f);
    assert_got(&f, 1, "one two three");
    assert_true(f.up[1].ended);
    end(&f);
}

static void an_end_between_two_tries_is_not_lost(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    attach(&f, 0);
    comes(&f, "one", 3);
    fails(&f);
    mg_replay_rewind(&f.flight);
    is_over(&f);
    assert_non_null(f.x->request_body.source);
    assert_false(f.x->request_body.ended);
    attach(&f, 1);
    assert_got(&f, 1, "one");
    assert_true(f.up[1].ended);
    fails(&f);
    mg_replay_rewind(&f.flight);
    attach(&f, 2);
    assert_got(&f, 2, "one");
    assert_true(f.up[2].ended);
    end(&f);
}

static void a_full_connection_is_waited_for(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    f.up[0].room = 4;
    attach(&f, 0);
    comes(&f, "abcdef", 6);
    assert_true(f.client.blocked);
    fails(&f); /* it took four of six */
    mg_replay_rewind(&f.flight);
    f.up[1].room = 3;
    attach(&f, 1);
    assert_got(&f, 1, "abc");
    comes(&f, "gh", 2);
    is_over(&f);
    takes(&f, 1, 2);
    assert_got(&f, 1, "abcde");
    takes(&f, 1, 100);
    assert_got(&f, 1, "abcdefgh");
    assert_true(f.up[1].ended);
    assert_true(mg_replay_held(&f.flight));
    end(&f);
}

static void a_try_that_ends_amid_the_kept_bytes_costs_none(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    attach(&f, 0);
    comes(&f, "abcdef", 6);
    is_over(&f);
    fails(&f);
    mg_replay_rewind(&f.flight);
    f.up[1].room = 2;
    attach(&f, 1);
    assert_got(&f, 1, "ab");
    fails(&f);
    mg_replay_rewind(&f.flight);
    mg_replay_rewind(&f.flight); /* no connection could be had */
    attach(&f, 2);
    assert_got(&f, 2, "abcdef");
    assert_true(f.up[2].ended);
    end(&f);
}

static void beyond_the_bound_it_lets_go(void **state)
{
    fixture f;
    char *much = mg_alloc(MG_REPLAY_BYTES + 1);

    (void)state;
    memset(much, 'x', MG_REPLAY_BYTES + 1);
    begin(&f);
    attach(&f, 0);
    comes(&f, much, MG_REPLAY_BYTES - 10);
    comes(&f, much, 10);
    assert_true(mg_replay_held(&f.flight));
    comes(&f, "y", 1);
    assert_false(mg_replay_held(&f.flight));
    assert_int_equal(f.worker.net.held, 0);
    is_over(&f);
    assert_int_equal(f.up[0].got.n, MG_REPLAY_BYTES + 1);
    assert_true(f.up[0].ended);
    end(&f);
    mg_free(much);
}

static void with_much_held_already_nothing_is_kept(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    attach(&f, 0);
    f.worker.net.held += MG_REPLAY_NET_BYTES + 1;
    comes(&f, "abc", 3);
    f.worker.net.held -= MG_REPLAY_NET_BYTES + 1;
    assert_false(mg_replay_held(&f.flight));
    assert_got(&f, 0, "abc");
    end(&f);
}

static void the_last_try_gives_the_memory_back_once_sent(void **state)
{
    fixture f;
    char *much = mg_alloc(32768);

    (void)state;
    memset(much, 'x', 32768);
    begin(&f);
    attach(&f, 0);
    comes(&f, much, 32768);
    assert_true(f.worker.net.held > 0);
    fails(&f);
    mg_replay_rewind(&f.flight);
    f.up[1].room = 100;
    attach(&f, 1);
    mg_replay_end(&f.flight); /* it answered before it had read all */
    assert_false(mg_replay_held(&f.flight));
    assert_true(f.worker.net.held > 0);
    takes(&f, 1, SIZE_MAX);
    assert_int_equal(f.worker.net.held, 0);
    comes(&f, "end", 3);
    is_over(&f);
    assert_int_equal(f.up[1].got.n, 32768 + 3);
    assert_true(f.up[1].ended);
    end(&f);
    mg_free(much);
}

static void nothing_sent_is_nothing_to_keep(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    mg_replay_rewind(&f.flight); /* the first try found no connection */
    assert_true(mg_replay_held(&f.flight));
    attach(&f, 0);
    comes(&f, "abc", 3);
    is_over(&f);
    assert_got(&f, 0, "abc");
    assert_true(f.up[0].ended);
    end(&f);
}

static void nobody_wants_the_rest_and_its_source_hears_of_it(void **state)
{
    fixture f;

    (void)state;
    begin(&f);
    attach(&f, 0);
    comes(&f, "abc", 3);
    fails(&f);
    mg_replay_rewind(&f.flight);
    f.x->request_body.source->stop(f.x->request_body.source);
    assert_true(f.client.stopped);
    assert_null(f.x->request_body.source);
    end(&f);
}

static void a_body_in_memory_is_sent_from_there_whatever_its_size(void **state)
{
    fixture f;
    mg_call call = { 0 };
    mg_bytes_source bytes;
    mg_text *text = &call.bodies[MG_REQUEST].text;

    (void)state;
    begin(&f);
    mg_replay_fini(&f.flight);
    for (int i = 0; i < 100000; i++)
        mg_text_add(text, (mg_str){ "z", 1 });
    mg_gather_end(&call.bodies[MG_REQUEST]);
    f.flight.chain.call = &call;
    mg_bytes_source_init(&bytes, &f.x->request_body, mg_text_str(text));
    mg_replay_begin(&f.flight);
    f.up[0].room = 70000;
    attach(&f, 0);
    assert_int_equal(f.worker.net.held, 0);
    fails(&f);
    assert_true(mg_replay_held(&f.flight));
    mg_replay_rewind(&f.flight);
    attach(&f, 1);
    assert_int_equal(f.up[1].got.n, 100000);
    assert_true(f.up[1].ended);
    fails(&f);
    mg_replay_rewind(&f.flight);
    attach(&f, 2);
    assert_int_equal(f.up[2].got.n, 100000);
    assert_true(f.up[2].ended);
    end(&f);
    mg_text_fini(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_body_that_was_sent_whole_is_sent_again),
        cmocka_unit_test(the_rest_follows_what_was_kept),
        cmocka_unit_test(what_comes_between_two_tries_waits_its_turn),
        cmocka_unit_test(an_end_between_two_tries_is_not_lost),
        cmocka_unit_test(a_full_connection_is_waited_for),
        cmocka_unit_test(a_try_that_ends_amid_the_kept_bytes_costs_none),
        cmocka_unit_test(beyond_the_bound_it_lets_go),
        cmocka_unit_test(with_much_held_already_nothing_is_kept),
        cmocka_unit_test(the_last_try_gives_the_memory_back_once_sent),
        cmocka_unit_test(nothing_sent_is_nothing_to_keep),
        cmocka_unit_test(nobody_wants_the_rest_and_its_source_hears_of_it),
        cmocka_unit_test(a_body_in_memory_is_sent_from_there_whatever_its_size),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
