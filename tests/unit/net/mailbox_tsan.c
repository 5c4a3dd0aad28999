/* mailbox_tsan.c - four threads post to one loop; nothing is lost, and each poster's messages keep their
 * order. */
#include "base/mem.h"
#include "net/loop.h"
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

enum { POSTERS = 4, POSTS = 20000 };

typedef struct receiver {
    mg_loop *loop;
    mg_mailbox *mailbox;
    unsigned next[POSTERS], total;
    bool ordered;
} receiver;

typedef struct letter {
    mg_message message;
    receiver *to;
    unsigned from, number;
} letter;

typedef struct poster {
    pthread_t thread;
    receiver *to;
    unsigned name;
} poster;

static void on_letter(mg_message *message)
{
    letter *l = mg_container_of(message, letter, message);
    receiver *r = l->to;

    r->ordered &= r->next[l->from]++ == l->number;
    if (++r->total == POSTERS * POSTS)
        mg_loop_stop(r->loop);
    mg_free(l);
}

static void *post_all(void *arg)
{
    const poster *p = arg;

    for (unsigned i = 0; i < POSTS; i++) {
        letter *l = MG_NEW(letter);
        *l = (letter){ .message.run = on_letter, .to = p->to, .from = p->name, .number = i };
        mg_mailbox_post(p->to->mailbox, &l->message);
    }
    return NULL;
}

static void every_message_arrives_once_and_in_order(void **state)
{
    mg_error err = MG_ERROR_INIT;
    receiver r = { .loop = mg_loop_new(&mg_clock_real, 1, &err), .ordered = true };
    poster posters[POSTERS];

    (void)state;
    assert_non_null(r.loop);
    r.mailbox = mg_mailbox_new(r.loop);
    assert_non_null(r.mailbox);
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i] = (poster){ .to = &r, .name = i };
        assert_int_equal(pthread_create(&posters[i].thread, NULL, post_all, &posters[i]), 0);
    }
    mg_loop_run(r.loop);
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(r.total, POSTERS * POSTS);
    assert_true(r.ordered);
    mg_mailbox_free(r.mailbox);
    mg_loop_free(r.loop);
}

static void messages_still_waiting_are_run_by_free(void **state)
{
    mg_error err = MG_ERROR_INIT;
    receiver r = { .loop = mg_loop_new(&mg_clock_real, 1, &err), .ordered = true };
    poster one = { .to = &r, .name = 0 };

    (void)state;
    assert_non_null(r.loop);
    r.mailbox = mg_mailbox_new(r.loop);
    assert_int_equal(pthread_create(&one.thread, NULL, post_all, &one), 0);
    pthread_join(one.thread, NULL);
    assert_int_equal(r.total, 0);
    mg_mailbox_free(r.mailbox);
    assert_int_equal(r.total, POSTS);
    assert_true(r.ordered);
    mg_loop_free(r.loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_arrives_once_and_in_order),
        cmocka_unit_test(messages_still_waiting_are_run_by_free),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
