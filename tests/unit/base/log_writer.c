/* What the log writer does with targets that are slow, full, gone or not there yet. No thread runs: whoever
 * hands lines over writes what the target takes, so each test knows what has happened. */
#include "support/check.h"
#include "support/tmpdir.h"

#include "base/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LINE_BYTES 100

typedef struct pipes {
    int read_end, write_end;
    mg_text text; /* what was read */
} pipes;

/* A pipe of two pages, which never blocks its reader. */
static pipes pipe_new(void)
{
    pipes p = { 0 };
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(fcntl(ends[1], F_SETPIPE_SZ, 8192) == 8192);
    assert_int_equal(fcntl(ends[0], F_SETFL, O_NONBLOCK), 0);
    p.read_end = ends[0];
    p.write_end = ends[1];
    return p;
}

static void pipe_free(pipes *p)
{
    close(p->read_end);
    close(p->write_end);
    mg_text_fini(&p->text);
}

/* Reads what is there; true when that was something. */
static bool pipe_read(pipes *p)
{
    char bytes[8192];
    const ssize_t n = read(p->read_end, bytes, sizeof bytes);

    if (n > 0)
        mg_text_add(&p->text, mg_str_make(bytes, (size_t)n));
    return n > 0;
}

static mg_log_writer *writer_to(const pipes *access, const pipes *events)
{
    mg_log_writer *writer = mg_log_writer_new(MG_LOG_INFO, false);

    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_fd(access->write_end));
    mg_log_writer_aim(writer, MG_LOG_EVENTS, mg_log_target_fd(events->write_end));
    return writer;
}

static void hand_number(mg_log_writer *writer, unsigned number)
{
    char line[LINE_BYTES + 1];

    snprintf(line, sizeof line, "%-*u\n", LINE_BYTES - 1, number);
    mg_log_writer_hand(writer, MG_LOG_ACCESS, mg_str_of(line));
}

/* Every line is one of hand_number's, whole, and they rise. Returns how many there are. */
static unsigned check_numbers(mg_str text)
{
    long last = -1;
    unsigned count = 0;

    while (text.n) {
        char *end;
        const long number = strtol(text.p, &end, 10);
        assert_true(text.n >= LINE_BYTES && text.p[LINE_BYTES - 1] == '\n');
        assert_true(number > last && end > text.p);
        last = number;
        count++;
        text = mg_str_sub(text, LINE_BYTES, text.n);
    }
    return count;
}

static unsigned count_of(mg_str text, const char *word)
{
    unsigned count = 0;

    for (const char *at = text.p; (at = strstr(at, word)); at++)
        count++;
    return count;
}

static void a_line_is_written_before_any_thread_runs(void **state)
{
    pipes access = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&access, &events);

    (void)state;
    mg_log_write(mg_log_writer_events(writer), MG_LOG_ERROR, "start", "no room");
    mg_log_writer_hand(writer, MG_LOG_ACCESS, MG_STR("{}\n"));
    assert_true(pipe_read(&access) && pipe_read(&events));
    check_str(mg_text_str(&access.text), "{}\n");
    assert_true(
        mg_str_ends(mg_text_str(&events.text), MG_STR("\"event\":\"start\",\"message\":\"no room\"}\n")));
    mg_log_writer_free(writer);
    pipe_free(&access);
    pipe_free(&events);
}

static void a_reader_that_stops_costs_lines_and_is_told_once_how_many(void **state)
{
    pipes access = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&access, &events);
    const unsigned handed = 2 * MG_LOG_QUEUE_BYTES / LINE_BYTES;
    char want[64];

    (void)state;
    for (unsigned i = 0; i < handed; i++)
        hand_number(writer, i);
    const uint64_t dropped = mg_log_writer_dropped(writer, MG_LOG_ACCESS);
    assert_in_range(dropped, handed / 4, handed - 1);
    assert_true(pipe_read(&events)); /* at once, though nobody knows yet how many there will be */
    assert_int_equal(count_of(mg_text_str(&events.text), "its reader has stopped, or is too slow"), 1);
    assert_int_equal(count_of(mg_text_str(&events.text), "log_lines_dropped"), 0);
    mg_log_writer_hand(writer, MG_LOG_EVENTS, MG_STR("other\n"));
    assert_true(pipe_read(&events)); /* the other log goes on */
    do
        mg_log_writer_hand(writer, MG_LOG_EVENTS, MG_STR("other\n"));
    while (pipe_read(&access));
    assert_int_equal(check_numbers(mg_text_str(&access.text)) + dropped, handed);
    assert_int_equal(mg_log_writer_dropped(writer, MG_LOG_ACCESS), dropped);
    while (pipe_read(&events))
        mg_log_writer_hand(writer, MG_LOG_ACCESS, MG_STR("{}\n"));
    snprintf(want, sizeof want, "\"%llu lines of the access log were dropped", (unsigned long long)dropped);
    assert_int_equal(count_of(mg_text_str(&events.text), "log_lines_dropped"), 1);
    assert_int_equal(count_of(mg_text_str(&events.text), "\"log_failed\""), 1);
    assert_int_equal(count_of(mg_text_str(&events.text), want), 1);
    mg_log_writer_free(writer);
    pipe_free(&access);
    pipe_free(&events);
}

static void events_that_nobody_reads_are_dropped_and_told_in_their_own_log(void **state)
{
    pipes access = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&access, &events);
    mg_log *log = mg_log_writer_events(writer);

    (void)state;
    while (mg_log_writer_dropped(writer, MG_LOG_EVENTS) < 10)
        mg_log_write(log, MG_LOG_INFO, "e", "%0500d", 1);
    mg_log_writer_hand(writer, MG_LOG_ACCESS, MG_STR("{}\n"));
    assert_true(pipe_read(&access));
    do
        mg_log_writer_hand(writer, MG_LOG_ACCESS, MG_STR("{}\n"));
    while (pipe_read(&events));
    assert_int_equal(count_of(mg_text_str(&events.text), "\"10 lines of the events log were dropped"), 1);
    mg_log_writer_free(writer);
    pipe_free(&access);
    pipe_free(&events);
}

static void a_full_disk_is_told_once_and_its_lines_are_counted(void **state)
{
    pipes access = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&access, &events);
    mg_error err = MG_ERROR_INIT;

    (void)state;
    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_file(MG_STR("/dev/full"), &err));
    for (unsigned i = 0; i < 50; i++)
        hand_number(writer, i);
    assert_int_equal(mg_log_writer_dropped(writer, MG_LOG_ACCESS), 50);
    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_fd(access.write_end));
    hand_number(writer, 50);
    hand_number(writer, 51);
    assert_true(pipe_read(&access) && pipe_read(&events));
    assert_int_equal(check_numbers(mg_text_str(&access.text)), 2);
    assert_int_equal(count_of(mg_text_str(&events.text), "\"log_failed\""), 1);
    assert_int_equal(count_of(mg_text_str(&events.text), "No space left on device"), 1);
    assert_int_equal(count_of(mg_text_str(&events.text), "\"50 lines of the access log were dropped"), 1);
    mg_log_writer_free(writer);
    pipe_free(&access);
    pipe_free(&events);
}

static void a_full_disk_under_events_is_counted(void **state)
{
    pipes access = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&access, &events);
    mg_error err = MG_ERROR_INIT;

    (void)state;
    mg_log_writer_aim(writer, MG_LOG_EVENTS, mg_log_target_file(MG_STR("/dev/full"), &err));
    for (unsigned i = 0; i < 20; i++)
        mg_log_write(mg_log_writer_events(writer), MG_LOG_INFO, "e", "m");
    assert_int_equal(mg_log_writer_dropped(writer, MG_LOG_EVENTS), 20);
    mg_log_writer_free(writer);
    pipe_free(&access);
    pipe_free(&events);
}

static void a_closed_pipe_is_harmless(void **state)
{
    pipes access = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&access, &events);

    (void)state;
    close(access.read_end);
    for (unsigned i = 0; i < 20; i++)
        hand_number(writer, i);
    assert_int_equal(mg_log_writer_dropped(writer, MG_LOG_ACCESS), 20);
    assert_true(pipe_read(&events));
    assert_int_equal(count_of(mg_text_str(&events.text), "Broken pipe"), 1);
    close(events.read_end);
    for (unsigned i = 0; i < 20; i++)
        mg_log_write(mg_log_writer_events(writer), MG_LOG_INFO, "e", "m");
    mg_log_writer_free(writer);
    access.read_end = events.read_end = -1;
    pipe_free(&access);
    pipe_free(&events);
}

/* RLIMIT_FSIZE is a disk that fills in the middle of a line. */
static void a_line_that_a_full_disk_tore_is_completed_first(void **state)
{
    char folder[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES + 16];
    pipes events = pipe_new();
    mg_log_writer *writer = writer_to(&events, &events);
    struct rlimit limit, little;
    mg_error err = MG_ERROR_INIT;
    mg_text text = { 0 };
    char bytes[4096];

    (void)state;
    tmpdir_make(folder);
    snprintf(path, sizeof path, "%s/access.log", folder);
    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_file(mg_str_of(path), &err));
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
    little = limit;
    little.rlim_cur = 2 * LINE_BYTES + 30;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &little), 0);
    for (unsigned i = 0; i < 10; i++)
        hand_number(writer, i);
    assert_int_equal(mg_log_writer_dropped(writer, MG_LOG_ACCESS), 7); /* the torn one is kept */
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    hand_number(writer, 10);
    const int fd = open(path, O_RDONLY);
    const ssize_t n = read(fd, bytes, sizeof bytes);
    mg_text_add(&text, mg_str_make(bytes, n > 0 ? (size_t)n : 0));
    assert_int_equal(check_numbers(mg_text_str(&text)), 4);
    close(fd);
    mg_log_writer_free(writer);
    mg_text_fini(&text);
    tmpdir_remove(folder);
    pipe_free(&events);
}

static void lines_of_both_logs_to_one_pipe_are_whole(void **state)
{
    pipes both = pipe_new();
    const int again = dup(both.write_end);
    mg_log_writer *writer = mg_log_writer_new(MG_LOG_INFO, false);
    char *line = malloc(3 * 4096 + 1);

    (void)state;
    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_fd(both.write_end));
    mg_log_writer_aim(writer, MG_LOG_EVENTS, mg_log_target_fd(again));
    memset(line, 'a', 3 * 4096);
    line[3 * 4096 - 1] = '\n';
    mg_log_writer_hand(writer, MG_LOG_ACCESS, mg_str_make(line, 3 * 4096)); /* two pages of it fit */
    mg_log_writer_hand(writer, MG_LOG_EVENTS, MG_STR("event\n"));
    while (pipe_read(&both))
        mg_log_writer_hand(writer, MG_LOG_EVENTS, both.text.n > 3 * 4096 ? MG_STR_NONE : MG_STR("event\n"));
    const mg_str text = mg_text_str(&both.text);
    assert_true(text.n > 3 * 4096);
    assert_memory_equal(text.p, line, 3 * 4096);
    assert_int_equal((text.n - 3 * 4096) % strlen("event\n"), 0);
    assert_int_equal(count_of(mg_str_sub(text, 3 * 4096, text.n), "event\n"),
                     (text.n - 3 * 4096) / strlen("event\n"));
    mg_log_writer_free(writer);
    close(again);
    free(line);
    pipe_free(&both);
}

static void another_target_gets_what_the_old_one_did_not_take(void **state)
{
    pipes old = pipe_new(), new = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&old, &events);

    (void)state;
    for (unsigned i = 0; i < 60; i++) /* 41 fit */
        hand_number(writer, i);
    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_fd(new.write_end));
    hand_number(writer, 60);
    assert_true(pipe_read(&old) && pipe_read(&new));
    const unsigned first = check_numbers(mg_text_str(&old.text));
    assert_int_equal(first + check_numbers(mg_text_str(&new.text)), 61);
    assert_in_range(first, 40, 59);
    mg_log_writer_free(writer);
    pipe_free(&old);
    pipe_free(&new);
    pipe_free(&events);
}

static void the_rest_of_a_torn_line_does_not_go_to_another_target(void **state)
{
    pipes old = pipe_new(), new = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&old, &events);
    char line[12001];

    (void)state;
    memset(line, 'a', sizeof line);
    line[sizeof line - 1] = '\n';
    mg_log_writer_hand(writer, MG_LOG_ACCESS, mg_str_make(line, sizeof line)); /* two pages of it fit */
    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_fd(new.write_end));
    hand_number(writer, 1);
    assert_true(pipe_read(&new));
    assert_int_equal(check_numbers(mg_text_str(&new.text)), 1);
    assert_int_equal(mg_log_writer_dropped(writer, MG_LOG_ACCESS), 1);
    mg_log_writer_free(writer);
    pipe_free(&old);
    pipe_free(&new);
    pipe_free(&events);
}

static void a_fifo_needs_no_reader_yet(void **state)
{
    char folder[TMPDIR_PATH_BYTES], path[TMPDIR_PATH_BYTES + 16];
    pipes events = pipe_new();
    mg_log_writer *writer = writer_to(&events, &events);
    mg_error err = MG_ERROR_INIT;
    pipes fifo = { 0 };

    (void)state;
    tmpdir_make(folder);
    snprintf(path, sizeof path, "%s/fifo", folder);
    assert_int_equal(mkfifo(path, 0600), 0);
    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_file(mg_str_of(path), &err));
    hand_number(writer, 1);
    fifo.read_end = open(path, O_RDONLY | O_NONBLOCK);
    hand_number(writer, 2);
    assert_true(pipe_read(&fifo));
    assert_int_equal(check_numbers(mg_text_str(&fifo.text)), 2);
    close(fifo.read_end);
    hand_number(writer, 3); /* the reader has left: harmless */
    assert_int_equal(mg_log_writer_dropped(writer, MG_LOG_ACCESS), 0);
    mg_log_writer_free(writer);
    mg_text_fini(&fifo.text);
    tmpdir_remove(folder);
    pipe_free(&events);
}

static void a_log_that_is_off_takes_lines_to_nowhere(void **state)
{
    pipes access = pipe_new(), events = pipe_new();
    mg_log_writer *writer = writer_to(&access, &events);

    (void)state;
    mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_fd(-1));
    for (unsigned i = 0; i < 2 * MG_LOG_QUEUE_BYTES / LINE_BYTES; i++)
        hand_number(writer, i);
    assert_false(pipe_read(&access));
    assert_int_equal(mg_log_writer_dropped(writer, MG_LOG_ACCESS), 0);
    mg_log_writer_free(writer);
    pipe_free(&access);
    pipe_free(&events);
}

static void a_file_that_cannot_be_opened_says_so(void **state)
{
    mg_error err = MG_ERROR_INIT;

    (void)state;
    assert_null(mg_log_target_file(MG_STR("/no/such/folder/access.log"), &err));
    check_str(mg_str_of(err.message), "cannot write /no/such/folder/access.log: No such file or directory");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_written_before_any_thread_runs),
        cmocka_unit_test(a_reader_that_stops_costs_lines_and_is_told_once_how_many),
        cmocka_unit_test(events_that_nobody_reads_are_dropped_and_told_in_their_own_log),
        cmocka_unit_test(a_full_disk_is_told_once_and_its_lines_are_counted),
        cmocka_unit_test(a_full_disk_under_events_is_counted),
        cmocka_unit_test(a_closed_pipe_is_harmless),
        cmocka_unit_test(a_line_that_a_full_disk_tore_is_completed_first),
        cmocka_unit_test(lines_of_both_logs_to_one_pipe_are_whole),
        cmocka_unit_test(another_target_gets_what_the_old_one_did_not_take),
        cmocka_unit_test(the_rest_of_a_torn_line_does_not_go_to_another_target),
        cmocka_unit_test(a_fifo_needs_no_reader_yet),
        cmocka_unit_test(a_log_that_is_off_takes_lines_to_nowhere),
        cmocka_unit_test(a_file_that_cannot_be_opened_says_so),
    };

    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
