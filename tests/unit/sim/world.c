/* world.c - what a spec may rely on: order by seed, time by hand, failures by rule. */
#include "base/mem.h"
#include "net/listener.h"
#include "net/resolver.h"
#include "sim/sim.h"
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

typedef struct world {
    mg_sim *sim;
    mg_loop *loop;
    mg_addr addr;
    mg_listener *listener;
    unsigned accepted;
    mg_addr peer;
} world;

static void on_accepted(void *self, int fd, const mg_addr *peer)
{
    world *w = self;

    w->accepted++;
    w->peer = *peer;
    w->loop->ops->close(w->loop, fd, false);
}

static void open_world(world *w, uint64_t seed)
{
    mg_error err = MG_ERROR_INIT;
    mg_listener_conf conf = { .backlog = 4 };

    *w = (world){ .sim = mg_sim_new(seed) };
    w->loop = mg_sim_loop_new(w->sim);
    assert_true(mg_addr_from_ip(&w->addr, MG_STR("10.0.0.1"), 80));
    conf.addr = w->addr;
    w->listener = mg_listener_new(w->loop, &conf, on_accepted, w, &err);
    assert_non_null(w->listener);
    mg_listener_start(w->listener);
}

static void close_world(world *w)
{
    mg_listener_free(w->listener);
    assert_int_equal(mg_sim_open_sockets(w->sim), 0);
    mg_loop_free(w->loop);
    mg_sim_free(w->sim);
}

static int dial(world *w)
{
    return w->loop->ops->connect(w->loop, &w->addr);
}

static void hang_up(world *w, int fd)
{
    w->loop->ops->close(w->loop, fd, false);
}

typedef struct alarm_clock {
    mg_timer timer;
    world *world;
    uint64_t rang_at_ns;
} alarm_clock;

static void ring(mg_timer *timer)
{
    alarm_clock *a = mg_container_of(timer, alarm_clock, timer);

    a->rang_at_ns = mg_loop_now(a->world->loop);
}

static void time_moves_only_by_hand_from_timer_to_timer(void **state)
{
    world w;
    alarm_clock a = { .world = &w };

    (void)state;
    open_world(&w, 1);
    const uint64_t start_ns = mg_loop_now(w.loop);
    const int64_t wall_ns = mg_sim_clock(w.sim)->wall_ns(mg_sim_clock(w.sim));
    mg_timer_init(&a.timer, ring);
    mg_timer_set(w.loop, &a.timer, start_ns + 3600 * MG_NS_PER_S);
    assert_int_equal(mg_sim_live_timers(w.sim), 1);
    mg_sim_advance(w.sim, 3599 * MG_NS_PER_S);
    assert_int_equal(a.rang_at_ns, 0);
    mg_sim_advance(w.sim, 3600 * MG_NS_PER_S);
    assert_int_equal(a.rang_at_ns, start_ns + 3600 * MG_NS_PER_S);
    assert_int_equal(mg_loop_now(w.loop), start_ns + 7199 * MG_NS_PER_S);
    mg_sim_step_wall(w.sim, -5);
    assert_int_equal(mg_sim_clock(w.sim)->wall_ns(mg_sim_clock(w.sim)),
                     wall_ns + 7199 * (int64_t)MG_NS_PER_S - 5);
    assert_int_equal(mg_loop_now(w.loop), start_ns + 7199 * MG_NS_PER_S);
    mg_timer_set(w.loop, &a.timer, 1); /* past: the next turn */
    mg_sim_settle(w.sim);
    assert_int_equal(a.rang_at_ns, start_ns + 7199 * MG_NS_PER_S);
    close_world(&w);
}

static void connects_end_as_the_spec_says(void **state)
{
    world w;
    mg_addr nobody;

    (void)state;
    open_world(&w, 1);
    assert_true(mg_addr_from_ip(&nobody, MG_STR("10.0.0.9"), 80));
    int fd = w.loop->ops->connect(w.loop, &nobody);
    mg_sim_settle(w.sim);
    assert_int_equal(w.loop->ops->connect_error(w.loop, fd), ECONNREFUSED);
    hang_up(&w, fd);

    mg_sim_set_connect(w.sim, &w.addr, EHOSTUNREACH);
    fd = dial(&w);
    mg_sim_settle(w.sim);
    assert_int_equal(w.loop->ops->connect_error(w.loop, fd), EHOSTUNREACH);
    hang_up(&w, fd);

    char byte;
    mg_sim_set_connect(w.sim, &w.addr, ETIMEDOUT);
    fd = dial(&w);
    mg_sim_advance(w.sim, 3600 * MG_NS_PER_S);
    assert_int_equal(w.loop->ops->recv(w.loop, fd, &byte, 1), -1);
    assert_int_equal(errno, EAGAIN);
    hang_up(&w, fd);
    assert_int_equal(w.accepted, 0);

    mg_sim_set_connect(w.sim, &w.addr, 0);
    fd = dial(&w);
    assert_int_equal(w.accepted, 0); /* in a later turn */
    mg_sim_settle(w.sim);
    assert_int_equal(w.accepted, 1);
    hang_up(&w, fd);
    close_world(&w);
}

static void a_listener_without_descriptors_sleeps_until_there_are_some(void **state)
{
    world w;

    (void)state;
    open_world(&w, 1);
    const int fd = dial(&w);
    mg_sim_set_descriptors(w.sim, 2);
    assert_int_equal(dial(&w), -1);
    assert_int_equal(errno, EMFILE);
    assert_true(mg_sim_settle(w.sim) < 10); /* does not spin */
    mg_sim_advance(w.sim, 250 * MG_NS_PER_MS);
    assert_int_equal(w.accepted, 0);
    mg_sim_set_descriptors(w.sim, 3);
    mg_sim_advance(w.sim, 49 * MG_NS_PER_MS);
    assert_int_equal(w.accepted, 0);
    mg_sim_advance(w.sim, 1 * MG_NS_PER_MS);
    assert_int_equal(w.accepted, 1);
    hang_up(&w, fd);
    close_world(&w);
}

static void a_full_backlog_keeps_clients_waiting(void **state)
{
    enum { CLIENTS = 10 };
    world w;
    int fds[CLIENTS];

    (void)state;
    open_world(&w, 1);
    mg_sim_set_descriptors(w.sim, 1 + CLIENTS); /* none to accept with */
    for (int i = 0; i < CLIENTS; i++)
        fds[i] = dial(&w);
    mg_sim_settle(w.sim);
    const struct iovec part = { (char *)(uintptr_t) "x", 1 };
    unsigned connected = 0;
    for (int i = 0; i < CLIENTS; i++)
        connected += w.loop->ops->send(w.loop, fds[i], &part, 1) == 1;
    assert_int_equal(connected, 4);
    mg_sim_set_descriptors(w.sim, 0);
    mg_sim_advance(w.sim, MG_NS_PER_S);
    assert_int_equal(w.accepted, CLIENTS);
    for (int i = 0; i < CLIENTS; i++)
        hang_up(&w, fds[i]);
    close_world(&w);
}

static void connects_come_from_where_the_spec_says(void **state)
{
    world w;
    mg_addr from;
    char text[MG_ADDR_TEXT];

    (void)state;
    open_world(&w, 1);
    assert_true(mg_addr_from_ip(&from, MG_STR("203.0.113.9"), 0));
    mg_sim_set_source(w.sim, &from);
    const int fd = dial(&w);
    mg_sim_settle(w.sim);
    mg_addr_ip_text(&w.peer, text);
    assert_string_equal(text, "203.0.113.9");
    assert_true(mg_addr_port(&w.peer) > 0);
    hang_up(&w, fd);
    close_world(&w);
}

static void an_address_is_bound_once_unless_shared(void **state)
{
    world w;
    mg_addr any;
    mg_error err = MG_ERROR_INIT;

    (void)state;
    open_world(&w, 1);
    assert_int_equal(w.loop->ops->listen(w.loop, &w.addr, 1, true), -1);
    assert_int_equal(errno, EADDRINUSE);
    assert_int_equal(mg_addr_parse_bind(&any, MG_STR(":80"), &err), MG_OK);
    assert_int_equal(w.loop->ops->listen(w.loop, &any, 1, false), -1);
    assert_int_equal(errno, EADDRINUSE);
    any.in6.sin6_port = htons(81);
    const int a = w.loop->ops->listen(w.loop, &any, 1, true), b = w.loop->ops->listen(w.loop, &any, 1, true);
    assert_true(a > 0 && b > 0);
    hang_up(&w, a);
    hang_up(&w, b);
    close_world(&w);
}

/* ---- actors ---- */

typedef struct note {
    mg_message message;
    struct actors *actors;
    int who;
} note;

typedef struct actors {
    world *world;
    int order[64];
    unsigned count;
} actors;

static void on_note(mg_message *message)
{
    note *n = mg_container_of(message, note, message);

    n->actors->order[n->actors->count++] = n->who;
}

/* Twelve messages to four loops, three each; the order in which they ran. */
static void exchange_notes(uint64_t seed, int order[12])
{
    mg_sim *sim = mg_sim_new(seed);
    mg_loop *loops[4];
    mg_mailbox *boxes[4];
    note notes[12];
    actors a = { 0 };

    for (int i = 0; i < 4; i++) {
        loops[i] = mg_sim_loop_new(sim);
        boxes[i] = mg_mailbox_new(loops[i]);
    }
    for (int i = 0; i < 12; i++) {
        notes[i] = (note){ .message.run = on_note, .actors = &a, .who = i };
        mg_mailbox_post(boxes[i % 4], &notes[i].message);
    }
    assert_int_equal(a.count, 0);
    mg_sim_settle(sim);
    assert_int_equal(a.count, 12);
    memcpy(order, a.order, 12 * sizeof(int));
    for (int i = 0; i < 4; i++) {
        mg_mailbox_free(boxes[i]);
        mg_loop_free(loops[i]);
    }
    mg_sim_free(sim);
}

static void actors_take_turns_in_an_order_that_the_seed_repeats(void **state)
{
    int first[12], again[12], place[12];
    unsigned different = 0;

    (void)state;
    exchange_notes(1, first);
    for (uint64_t seed = 1; seed <= 20; seed++) {
        exchange_notes(seed, again);
        different += memcmp(first, again, sizeof(first)) != 0;
        for (int i = 0; i < 12; i++)
            place[again[i]] = i;
        for (int i = 0; i < 8; i++) /* one poster's messages to one mailbox stay in order */
            assert_true(place[i] < place[i + 4]);
    }
    assert_true(different > 0);
    exchange_notes(1, again);
    assert_memory_equal(first, again, sizeof(first));
}

typedef struct eager {
    mg_later later;
    mg_loop *loop;
    unsigned left;
} eager;

static void once_more(mg_later *later)
{
    eager *e = mg_container_of(later, eager, later);

    if (--e->left > 0)
        mg_later_add(e->loop, later);
}

static void work_that_stands_over_takes_a_turn_each_time(void **state)
{
    mg_sim *sim = mg_sim_new(1);
    eager e = { .later.run = once_more, .loop = mg_sim_loop_new(sim), .left = 5 };

    (void)state;
    mg_later_add(e.loop, &e.later);
    mg_later_add(e.loop, &e.later);
    assert_int_equal(mg_sim_settle(sim), 5);
    assert_int_equal(e.left, 0);
    e.left = 1;
    mg_later_add(e.loop, &e.later);
    mg_later_cancel(&e.later);
    assert_int_equal(mg_sim_settle(sim), 0);
    mg_loop_free(e.loop);
    mg_sim_free(sim);
}

/* ---- names ---- */

typedef struct asked {
    mg_resolve question;
    unsigned calls;
    mg_result result;
    mg_resolved answer;
} asked;

static void on_resolved(mg_resolve *question, mg_result result, const mg_resolved *answer)
{
    asked *a = mg_container_of(question, asked, question);

    a->calls++;
    a->result = result;
    if (answer)
        a->answer = *answer;
}

static asked ask(mg_sim *sim, mg_resolver *resolver, const char *name)
{
    asked a = { .question.done = on_resolved };

    mg_resolver_ask(resolver, &a.question, mg_str_of(name));
    assert_int_equal(a.calls, 0);
    mg_sim_settle(sim);
    assert_int_equal(a.calls, 1);
    return a;
}

static void names_are_what_the_spec_says_and_nothing_of_the_machine(void **state)
{
    mg_sim *sim = mg_sim_new(1);
    mg_loop *loop = mg_sim_loop_new(sim);
    mg_resolver *resolver = mg_resolver_new(loop, NULL, NULL);
    mg_addr addrs[2];

    (void)state;
    assert_true(mg_addr_from_ip(&addrs[0], MG_STR("10.0.0.1"), 0));
    assert_true(mg_addr_from_ip(&addrs[1], MG_STR("10.0.0.2"), 0));
    mg_sim_set_name(sim, "api.internal", addrs, 2, 30);
    asked a = ask(sim, resolver, "Api.Internal.");
    assert_int_equal(a.result, MG_OK);
    assert_int_equal(a.answer.count, 2);
    assert_true(mg_addr_eq(&a.answer.addrs[1], &addrs[1]));
    assert_int_equal(a.answer.ttl_s, 30);
    mg_sim_set_name(sim, "api.internal", addrs + 1, 1, 30);
    a = ask(sim, resolver, "api.internal");
    assert_int_equal(a.answer.count, 1);
    mg_sim_set_name(sim, "api.internal", NULL, 0, 0);
    assert_int_equal(ask(sim, resolver, "api.internal").result, MG_ERR_NOT_FOUND);
    assert_int_equal(ask(sim, resolver, "localhost").result, MG_OK);
    assert_int_equal(ask(sim, resolver, "a..b").result, MG_ERR_INVALID);
    mg_resolver_free(resolver);
    mg_loop_free(loop);
    mg_sim_free(sim);
}

typedef struct bell {
    mg_timer timer;
    int rung;
} bell;

static void on_bell(mg_timer *timer)
{
    mg_container_of(timer, bell, timer)->rung++;
}

static void a_loop_that_is_held_does_nothing_until_it_is_let_go(void **state)
{
    mg_sim *sim = mg_sim_new(1);
    mg_loop *held = mg_sim_loop_new(sim), *other = mg_sim_loop_new(sim);
    bell of_held = { .rung = 0 }, of_other = { .rung = 0 };

    (void)state;
    mg_timer_init(&of_held.timer, on_bell);
    mg_timer_init(&of_other.timer, on_bell);
    mg_timer_set(held, &of_held.timer, mg_loop_now(held) + MG_NS_PER_S);
    mg_timer_set(other, &of_other.timer, mg_loop_now(other) + MG_NS_PER_S);
    mg_sim_hold(held, true);
    assert_int_equal(mg_sim_settle(sim), 0);
    mg_sim_advance(sim, 2 * MG_NS_PER_S);
    assert_int_equal(of_other.rung, 1);
    assert_int_equal(of_held.rung, 0);
    mg_sim_hold(held, false);
    mg_sim_settle(sim);
    assert_int_equal(of_held.rung, 1);
    mg_loop_free(held);
    mg_loop_free(other);
    mg_sim_free(sim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(time_moves_only_by_hand_from_timer_to_timer),
        cmocka_unit_test(connects_end_as_the_spec_says),
        cmocka_unit_test(a_listener_without_descriptors_sleeps_until_there_are_some),
        cmocka_unit_test(a_full_backlog_keeps_clients_waiting),
        cmocka_unit_test(connects_come_from_where_the_spec_says),
        cmocka_unit_test(an_address_is_bound_once_unless_shared),
        cmocka_unit_test(actors_take_turns_in_an_order_that_the_seed_repeats),
        cmocka_unit_test(work_that_stands_over_takes_a_turn_each_time),
        cmocka_unit_test(names_are_what_the_spec_says_and_nothing_of_the_machine),
        cmocka_unit_test(a_loop_that_is_held_does_nothing_until_it_is_let_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
