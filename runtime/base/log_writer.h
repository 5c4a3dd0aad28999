/* log_writer.h - writes all logs of a process, on a thread of its own. Any thread hands lines over and goes
 * on: handing over never waits for a target, and holds no lock. What a target has not taken yet waits in a
 * queue of bounded bytes for each log; lines that find it full are dropped and counted. The events log tells
 * once that a target cannot be written, or takes too little, and once how many lines were dropped, when it
 * takes lines again.
 *
 * Before start nothing runs beside the caller: a line is then written at once, as far as its target takes it
 * without waiting. */
#ifndef MG_BASE_LOG_WRITER_H
#define MG_BASE_LOG_WRITER_H

#include "base/log.h"
#include "base/log_target.h"

enum {
    MG_LOG_QUEUE_BYTES = 2 << 20, /* of one log */
    MG_LOG_LAST_MS = 1000,        /* what is left at the end is written for so long */
};

typedef enum mg_log_name { MG_LOG_ACCESS, MG_LOG_EVENTS, MG_LOGS } mg_log_name;
extern const char *const mg_log_names[MG_LOGS]; /* "access", "events" */

typedef struct mg_log_writer mg_log_writer;

/* Logs go nowhere until they are aimed. `level` and `pretty` are those of the events log. */
mg_log_writer *mg_log_writer_new(mg_log_level level, bool pretty);
/* Writes what is left for MG_LOG_LAST_MS at most, and drops the rest. Nobody may hand over lines any more. */
void mg_log_writer_free(mg_log_writer *writer);
/* Starts the thread; before all threads that hand over lines. */
MG_MUST_USE mg_result mg_log_writer_start(mg_log_writer *writer, mg_error *err);

/* The log whose lines are the events; lives as long as the writer. */
mg_log *mg_log_writer_events(mg_log_writer *writer);
/* Lines go to this target from now on; takes it. Those that wait go to the old one as far as that takes them
 * at once. Any thread. */
void mg_log_writer_aim(mg_log_writer *writer, mg_log_name log, mg_log_target *target);
/* Whole lines, each with its newline; copied. Any thread. */
void mg_log_writer_hand(mg_log_writer *writer, mg_log_name log, mg_str lines);
/* Another number each time it writes to a target, and 0 in between: tells whether a write returns. Any
 * thread. */
uint64_t mg_log_writer_at(const mg_log_writer *writer);
/* Lines that were dropped since the start. Any thread. */
uint64_t mg_log_writer_dropped(const mg_log_writer *writer, mg_log_name log);

#endif
