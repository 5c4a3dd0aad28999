/* thread.c - a thread has its name, its stack and no signals; the thread that starts it keeps its own. */
#include "base/thread.h"

#include "support/check.h"

#include "base/mem.h"

typedef struct seen {
    char name[MG_THREAD_NAME_MAX];
    sigset_t blocked;
    size_t stack_bytes;
    int runs;
} seen;

static void look(void *self)
{
    seen *s = self;
    pthread_attr_t attributes;

    assert_int_equal(pthread_getname_np(pthread_self(), s->name, sizeof s->name), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &s->blocked), 0);
    assert_int_equal(pthread_getattr_np(pthread_self(), &attributes), 0);
    assert_int_equal(pthread_attr_getstacksize(&attributes, &s->stack_bytes), 0);
    pthread_attr_destroy(&attributes);
    s->runs++;
}

static void run_and_join(const char *name, seen *s)
{
    mg_error err = MG_ERROR_INIT;
    mg_thread thread;

    *s = (seen){ 0 };
    assert_int_equal(mg_thread_start(&thread, name, MG_THREAD_STACK, look, s, &err), MG_OK);
    assert_true(thread.runs);
    mg_thread_join(&thread);
    assert_false(thread.runs);
    assert_int_equal(s->runs, 1);
    mg_thread_join(&thread); /* which is nothing now */
}

static void has_its_name_cut_to_what_the_kernel_keeps(void **state)
{
    seen s;

    (void)state;
    run_and_join("worker 3", &s);
    assert_string_equal(s.name, "worker 3");
    run_and_join("a name of far too many letters", &s);
    assert_string_equal(s.name, "a name of far t");
}

static void has_the_stack_it_was_given(void **state)
{
    seen s;

    (void)state;
    run_and_join("stack", &s);
    assert_in_range(s.stack_bytes, MG_THREAD_STACK - (1 << 16), MG_THREAD_STACK + (1 << 16));
}

static void hears_no_signal_but_of_its_own_faults(void **state)
{
    sigset_t mine, before, after;
    seen s;

    (void)state;
    sigemptyset(&mine);
    sigaddset(&mine, SIGUSR2);
    pthread_sigmask(SIG_SETMASK, &mine, &before);
    run_and_join("signals", &s);
    pthread_sigmask(SIG_SETMASK, &before, &after);
    assert_true(sigismember(&after, SIGUSR2) == 1 && sigismember(&after, SIGTERM) == 0);
    const int blocked[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2, SIGALRM, SIGPIPE, SIGXFSZ, SIGCHLD };
    for (size_t i = 0; i < mg_countof(blocked); i++)
        assert_int_equal(sigismember(&s.blocked, blocked[i]), 1);
    const int heard[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGCONT };
    for (size_t i = 0; i < mg_countof(heard); i++)
        assert_int_equal(sigismember(&s.blocked, heard[i]), 0);
}

static void says_that_the_system_has_no_room_for_it(void **state)
{
    mg_error err = MG_ERROR_INIT;
    mg_thread thread;
    seen s = { 0 };

    (void)state;
    assert_int_equal(mg_thread_start(&thread, "giant", (size_t)1 << 50, look, &s, &err), MG_ERR_IO);
    assert_non_null(strstr(err.message, "\"giant\""));
    assert_non_null(strstr(err.message, "ulimit -u"));
    assert_false(thread.runs);
    mg_thread_join(&thread);
    assert_int_equal(s.runs, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_its_name_cut_to_what_the_kernel_keeps),
        cmocka_unit_test(has_the_stack_it_was_given),
        cmocka_unit_test(hears_no_signal_but_of_its_own_faults),
        cmocka_unit_test(says_that_the_system_has_no_room_for_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
