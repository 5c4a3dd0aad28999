/* Lines of the log; the `.c` is included to reach the pretty form without a terminal. */
#include "support/check.h"

#include "../../../runtime/base/log.c"

typedef struct sunk {
    mg_text text;
    int lines;
    mg_log_level level;
} sunk;

static void keep(void *self, mg_log_level level, mg_str line)
{
    sunk *s = self;

    mg_text_add(&s->text, line);
    s->lines++;
    s->level = level;
}

/* 2026-11-21T12:00:01.123Z */
#define NOON (1795262401123 * (int64_t)MG_NS_PER_MS)

static void machines_get_one_object_a_line(void **state)
{
    mg_fake_clock fake;
    sunk s = { 0 };
    mg_log *log;

    (void)state;
    mg_fake_clock_init(&fake, 0, NOON);
    log = mg_log_new(MG_LOG_INFO, &fake.clock, keep, &s);
    mg_log_write(log, MG_LOG_WARN, "upstream_connect", "refused by \"%s\"\n", "10.0.0.1");
    check_str(mg_text_str(&s.text),
              "{\"time\":\"2026-11-21T12:00:01.123Z\",\"level\":\"warn\","
              "\"event\":\"upstream_connect\",\"message\":\"refused by \\\"10.0.0.1\\\"\\n\"}\n");
    assert_int_equal(s.lines, 1);
    assert_int_equal(s.level, MG_LOG_WARN);
    mg_log_free(log);
    mg_text_fini(&s.text);
}

static void members_stand_beside_the_message(void **state)
{
    const mg_log_member members[] = { { "plugin", MG_STR("o\"n\n") },
                                      { "version", MG_STR("") },
                                      { "route", MG_STR("all") } };
    mg_fake_clock fake;
    sunk s = { 0 };
    mg_log *log;

    (void)state;
    mg_fake_clock_init(&fake, 0, NOON);
    log = mg_log_new(MG_LOG_INFO, &fake.clock, keep, &s);
    mg_log_write_with(log, MG_LOG_DEBUG, "event", members, 3, "not wanted");
    mg_log_write_with(log, MG_LOG_WARN, "event", members, 3, "%d", 7);
    check_str(mg_text_str(&s.text),
              "{\"time\":\"2026-11-21T12:00:01.123Z\",\"level\":\"warn\",\"event\":\"event\","
              "\"message\":\"7\",\"plugin\":\"o\\\"n\\n\",\"route\":\"all\"}\n");
    mg_text_clear(&s.text);
    mg_log_set_pretty(log, true);
    mg_log_write_with(log, MG_LOG_WARN, "event", members, 3, "%d", 7);
    check_str(mg_text_str(&s.text), "12:00:01.123 WARN  event 7\n    plugin=o\"n\n     route=all\n");
    mg_log_free(log);
    mg_text_fini(&s.text);
}

static void people_get_time_level_event_and_message(void **state)
{
    mg_fake_clock fake;
    sunk s = { 0 };
    mg_log *log;

    (void)state;
    mg_fake_clock_init(&fake, 0, NOON);
    log = mg_log_new(MG_LOG_INFO, &fake.clock, keep, &s);
    mg_log_set_pretty(log, true);
    mg_log_write(log, MG_LOG_WARN, "event", "message");
    mg_log_write(log, MG_LOG_ERROR, "trace",
                 "a\n12:00:02.000 INFO  fake \x1b[0m\xc2\x9b"
                 "1m");
    check_str(mg_text_str(&s.text),
              "12:00:01.123 WARN  event message\n"
              "12:00:01.123 ERROR trace a\n    12:00:02.000 INFO  fake \\x1b[0m\\u009b1m\n");
    mg_log_free(log);
    mg_text_fini(&s.text);
}

static void levels_below_the_set_one_are_silent(void **state)
{
    mg_fake_clock fake;
    sunk s = { 0 };
    mg_log *log;

    (void)state;
    mg_fake_clock_init(&fake, 0, NOON);
    log = mg_log_new(MG_LOG_WARN, &fake.clock, keep, &s);
    mg_log_write(log, MG_LOG_INFO, "e", "m");
    assert_int_equal(s.lines, 0);
    mg_log_set_level(log, MG_LOG_DEBUG);
    assert_int_equal(mg_log_get_level(log), MG_LOG_DEBUG);
    mg_log_write(log, MG_LOG_DEBUG, "e", "m");
    assert_int_equal(s.lines, 1);
    mg_log_set_level(log, MG_LOG_OFF);
    mg_log_write(log, MG_LOG_ERROR, "e", "m");
    mg_log_write(log, MG_LOG_OFF, "e", "m");
    assert_int_equal(s.lines, 1);
    mg_log_write(NULL, MG_LOG_ERROR, "e", "m");
    mg_log_free(log);
    mg_log_free(NULL);
    mg_text_fini(&s.text);
}

static void an_endless_message_is_cut(void **state)
{
    mg_fake_clock fake;
    sunk s = { 0 };
    mg_log *log;

    (void)state;
    mg_fake_clock_init(&fake, 0, NOON);
    log = mg_log_new(MG_LOG_INFO, &fake.clock, keep, &s);
    mg_log_write(log, MG_LOG_INFO, "e", "%0100000d", 1);
    assert_true(s.text.n < MESSAGE_MAX_BYTES + 200);
    assert_true(mg_str_ends(mg_text_str(&s.text), MG_STR("\"}\n")));
    mg_log_free(log);
    mg_text_fini(&s.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(machines_get_one_object_a_line),
        cmocka_unit_test(members_stand_beside_the_message),
        cmocka_unit_test(people_get_time_level_event_and_message),
        cmocka_unit_test(levels_below_the_set_one_are_silent),
        cmocka_unit_test(an_endless_message_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
