/* The last words: told where they can be, and they keep no process from ending. */
#include "support/check.h"

#include "base/check.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

/* Breaks an invariant in a child whose stderr is the pipe; how it ended. */
static int break_one(int stderr_fd)
{
    int status = 0;
    const pid_t child = fork();

    if (child == 0) {
        signal(SIGABRT, SIG_DFL);
        dup2(stderr_fd, STDERR_FILENO);
        MG_CHECK(stderr_fd < 0);
        _exit(0);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFSIGNALED(status) ? WTERMSIG(status) : 0;
}

static void a_broken_invariant_names_its_line(void **state)
{
    char text[256] = "";
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(break_one(ends[1]), SIGABRT);
    assert_true(read(ends[0], text, sizeof text - 1) > 0);
    assert_non_null(strstr(text, "moongate: broken invariant at "));
    assert_non_null(strstr(text, ": stderr_fd < 0\n"));
    close(ends[0]);
    close(ends[1]);
}

static void it_ends_the_process_though_nobody_reads_stderr(void **state)
{
    char page[4096] = { 0 };
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(fcntl(ends[1], F_SETFL, O_NONBLOCK), 0);
    while (write(ends[1], page, sizeof page) > 0)
        continue;
    assert_int_equal(fcntl(ends[1], F_SETFL, 0), 0);
    assert_int_equal(break_one(ends[1]), SIGABRT);
    close(ends[0]);
    close(ends[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_invariant_names_its_line),
        cmocka_unit_test(it_ends_the_process_though_nobody_reads_stderr),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
