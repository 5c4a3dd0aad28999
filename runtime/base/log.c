/* log.c - lines for machines and for people. Formatting happens in the writer's thread; only the sink is
 * shared. */
#include "base/log.h"

#include "base/json_out.h"
#include "base/mem.h"

#include <stdatomic.h>

enum { MESSAGE_MAX_BYTES = 16384 }; /* a traceback with long chunk names fits */

struct mg_log {
    _Atomic int level;
    bool pretty;
    const mg_clock *clock; /* borrowed */
    mg_log_sink *sink;
    void *self;
};

mg_log *mg_log_new(mg_log_level level, const mg_clock *clock, mg_log_sink *sink, void *self)
{
    mg_log *log = MG_NEW(mg_log);

    *log = (mg_log){ level, false, clock, sink, self };
    return log;
}

void mg_log_set_pretty(mg_log *log, bool pretty)
{
    log->pretty = pretty;
}

void mg_log_free(mg_log *log)
{
    mg_free(log);
}

void mg_log_set_level(mg_log *log, mg_log_level level)
{
    atomic_store_explicit(&log->level, level, memory_order_relaxed);
}

mg_log_level mg_log_get_level(const mg_log *log)
{
    return (mg_log_level)atomic_load_explicit(&log->level, memory_order_relaxed);
}

const char *const mg_log_level_words[] = {
    [MG_LOG_DEBUG] = "debug", [MG_LOG_INFO] = "info", [MG_LOG_WARN] = "warn",
    [MG_LOG_ERROR] = "error", [MG_LOG_OFF] = "off",   NULL
};

static const char *level_label(mg_log_level level)
{
    static const char *const labels[] = { "DEBUG", "INFO ", "WARN ", "ERROR", "OFF  " };

    return labels[level];
}

/* What one line is made of. */
typedef struct line_parts {
    mg_log_level level;
    const char *event;
    mg_str message;
    const mg_log_member *members;
    size_t count;
} line_parts;

static void add_machine_line(mg_text *line, const char *time, const line_parts *parts)
{
    mg_json_out json = { .text = line };

    mg_json_out_map(&json, NULL);
    mg_json_out_text(&json, "time", mg_str_of(time));
    mg_json_out_text(&json, "level", mg_str_of(mg_log_level_words[parts->level]));
    mg_json_out_text(&json, "event", mg_str_of(parts->event));
    mg_json_out_text(&json, "message", parts->message);
    for (size_t i = 0; i < parts->count; i++)
        if (parts->members[i].value.n)
            mg_json_out_text(&json, parts->members[i].name, parts->members[i].value);
    mg_json_out_end(&json);
    mg_text_add_char(line, '\n');
}

/* Further lines of a message, as a traceback has, are indented, so that no message can pass for an event of
 * its own; control characters, which could move a terminal's cursor, are written out. */
static void add_shown(mg_text *line, mg_str text)
{
    for (size_t i = 0; i < text.n; i++) {
        const char c = text.p[i];
        const size_t control = mg_str_control(text, i);

        if (c == '\n')
            mg_text_add_c(line, "\n    ");
        else if (control == 2)
            mg_text_addf(line, "\\u%04x", (unsigned char)text.p[++i]);
        else if (control && c != '\t')
            mg_text_addf(line, "\\x%02x", (unsigned char)c);
        else
            mg_text_add_char(line, c);
    }
}

static void add_people_line(mg_text *line, const char *time, const line_parts *parts)
{
    const char *before = "\n    ";

    mg_text_addf(line, "%.12s %s %s ", time + sizeof("2026-11-21T") - 1, level_label(parts->level),
                 parts->event);
    add_shown(line, parts->message);
    for (size_t i = 0; i < parts->count; i++) {
        if (!parts->members[i].value.n)
            continue;
        mg_text_addf(line, "%s%s=", before, parts->members[i].name);
        add_shown(line, parts->members[i].value);
        before = " ";
    }
    mg_text_add_char(line, '\n');
}

static bool is_wanted(const mg_log *log, mg_log_level level)
{
    return log && level < MG_LOG_OFF && level >= mg_log_get_level(log);
}

static void write_line(mg_log *log, const line_parts *parts)
{
    mg_text line = { 0 };
    char time[32];

    mg_iso_time(time, log->clock->wall_ns(log->clock));
    if (log->pretty)
        add_people_line(&line, time, parts);
    else
        add_machine_line(&line, time, parts);
    log->sink(log->self, parts->level, mg_text_str(&line));
    mg_text_fini(&line);
}

void mg_log_write(mg_log *log, mg_log_level level, const char *event, const char *format, ...)
{
    mg_text message = { 0 };
    va_list args;

    if (!is_wanted(log, level))
        return;
    va_start(args, format);
    mg_text_vaddf(&message, format, args);
    va_end(args);
    write_line(
        log, &(line_parts){ level, event, mg_str_sub(mg_text_str(&message), 0, MESSAGE_MAX_BYTES), NULL, 0 });
    mg_text_fini(&message);
}

void mg_log_write_with(mg_log *log, mg_log_level level, const char *event, const mg_log_member *members,
                       size_t count, const char *format, ...)
{
    mg_text message = { 0 };
    va_list args;

    if (!is_wanted(log, level))
        return;
    va_start(args, format);
    mg_text_vaddf(&message, format, args);
    va_end(args);
    write_line(log, &(line_parts){ level, event, mg_str_sub(mg_text_str(&message), 0, MESSAGE_MAX_BYTES),
                                   members, count });
    mg_text_fini(&message);
}
