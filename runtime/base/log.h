/* log.h - one structured line an event, as JSON or for people. A log is handed in; there is no global one.
 * Any thread may write: a line is one call of the sink. */
#ifndef MG_BASE_LOG_H
#define MG_BASE_LOG_H

#include "base/str.h"
#include "base/time.h"
#include "moongate.h" /* mg_log_level */

/* "debug" to "off", NULL behind them: they stand in an operator's rules, so they stay. */
extern const char *const mg_log_level_words[];

typedef struct mg_log mg_log;
/* Called with one whole line, newline included. */
typedef void mg_log_sink(void *self, mg_log_level level, mg_str line);

mg_log *mg_log_new(mg_log_level level, const mg_clock *clock, mg_log_sink *sink, void *self);
void mg_log_set_pretty(mg_log *log, bool pretty); /* for people, before anything is written */
void mg_log_free(mg_log *log);
void mg_log_set_level(mg_log *log, mg_log_level level);
mg_log_level mg_log_get_level(const mg_log *log);

/* `event` is a fixed word of ours ("upstream_connect"); the message is for people. NULL log: nothing. */
void mg_log_write(mg_log *log, mg_log_level level, const char *event, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* What belongs to a line beside its message: members of the object for machines, a last line of their own for
 * people. One with an empty value is left out. */
typedef struct mg_log_member {
    const char *name; /* a fixed word of ours */
    mg_str value;
} mg_log_member;

void mg_log_write_with(mg_log *log, mg_log_level level, const char *event, const mg_log_member *members,
                       size_t count, const char *format, ...) __attribute__((format(printf, 6, 7)));

#endif
