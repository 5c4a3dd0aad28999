/* The log writer with its thread: many threads hand lines over while one reads slowly, targets change, and
 * the end comes with a reader that is stuck. */
#include "support/check.h"

#include "base/log_writer.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

enum { HANDERS = 4, BUFFERS = 1500, LINES = 20, LINE_BYTES = 64 };

typedef struct reader {
    int fd;
    _Atomic uint64_t lines;
    bool whole;
    pthread_t thread;
} reader;

/* Counts lines until the last writer has closed; each is one letter, over and over. */
static void *read_lines(void *self)
{
    reader *r = self;
    char bytes[LINE_BYTES * 16];
    size_t at = 0;
    ssize_t n;

    r->whole = true;
    while ((n = read(r->fd, bytes, sizeof bytes)) > 0)
        for (ssize_t i = 0; i < n; i++) {
            static _Thread_local char letter;
            if (at == 0)
                letter = bytes[i];
            r->whole &= bytes[i] == (at == LINE_BYTES - 1 ? '\n' : letter);
            r->lines += at == LINE_BYTES - 1;
            at = (at + 1) % LINE_BYTES;
        }
    r->whole &= at == 0;
    return NULL;
}

typedef struct hander {
    mg_log_writer *writer;
    char letter;
    pthread_t thread;
} hander;

static void *hand_lines(void *self)
{
    const hander *h = self;
    char buffer[LINES * LINE_BYTES];

    memset(buffer, h->letter, sizeof buffer);
    for (int line = 1; line <= LINES; line++)
        buffer[line * LINE_BYTES - 1] = '\n';
    for (int i = 0; i < BUFFERS; i++)
        mg_log_writer_hand(h->writer, i % 4 ? MG_LOG_ACCESS : MG_LOG_EVENTS,
                           mg_str_make(buffer, sizeof buffer));
    return NULL;
}

static reader reader_new(int *write_end)
{
    reader r = { 0 };
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    r.fd = ends[0];
    *write_end = ends[1];
    return r;
}

/* What was handed over is read whole or counted as dropped, however often the targets change. */
static void every_line_is_written_whole_or_counted(void **state)
{
    int ends[2];
    reader readers[2] = { reader_new(&ends[0]), reader_new(&ends[1]) };
    mg_log_writer *writer = mg_log_writer_new(MG_LOG_OFF, false);
    hander handers[HANDERS];

    (void)state;
    for (int i = 0; i < 2; i++) {
        mg_log_writer_aim(writer, (mg_log_name)i, mg_log_target_fd(ends[i]));
        assert_int_equal(pthread_create(&readers[i].thread, NULL, read_lines, &readers[i]), 0);
    }
    assert_int_equal(mg_log_writer_start(writer, NULL), MG_OK);
    for (int i = 0; i < HANDERS; i++) {
        handers[i] = (hander){ .writer = writer, .letter = (char)('a' + i) };
        assert_int_equal(pthread_create(&handers[i].thread, NULL, hand_lines, &handers[i]), 0);
    }
    for (int i = 0; i < 200; i++)
        mg_log_writer_aim(writer, MG_LOG_ACCESS, mg_log_target_fd(ends[i % 2]));
    for (int i = 0; i < HANDERS; i++)
        pthread_join(handers[i].thread, NULL);
    const uint64_t dropped =
        mg_log_writer_dropped(writer, MG_LOG_ACCESS) + mg_log_writer_dropped(writer, MG_LOG_EVENTS);
    while (readers[0].lines + readers[1].lines + dropped < (uint64_t)HANDERS * BUFFERS * LINES)
        (void)poll(NULL, 0, 1); /* the end writes for a second at most, however busy the machine is */
    mg_log_writer_free(writer);
    for (int i = 0; i < 2; i++)
        close(ends[i]);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i].thread, NULL);
    assert_true(readers[0].whole && readers[1].whole);
    assert_int_equal(readers[0].lines + readers[1].lines + dropped, (uint64_t)HANDERS * BUFFERS * LINES);
    for (int i = 0; i < 2; i++)
        close(readers[i].fd);
}

static void the_end_does_not_wait_for_a_reader_that_is_stuck(void **state)
{
    int end;
    reader r = reader_new(&end);
    mg_log_writer *writer = mg_log_writer_new(MG_LOG_OFF, false);
    hander h = { .writer = writer, .letter = 'a' };

    (void)state;
    for (int i = 0; i < MG_LOGS; i++)
        mg_log_writer_aim(writer, (mg_log_name)i, mg_log_target_fd(end));
    assert_int_equal(mg_log_writer_start(writer, NULL), MG_OK);
    while (!mg_log_writer_dropped(writer, MG_LOG_ACCESS) || !mg_log_writer_dropped(writer, MG_LOG_EVENTS))
        hand_lines(&h);
    mg_log_writer_free(writer); /* or this test never ends */
    close(end);
    read_lines(&r);
    assert_true(r.whole && r.lines > 0);
    close(r.fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_line_is_written_whole_or_counted),
        cmocka_unit_test(the_end_does_not_wait_for_a_reader_that_is_stuck),
    };

    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
