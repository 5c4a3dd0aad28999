/* access_log.h - one JSON line an exchange (docs/metrics.md "The access log"). Workers format into a buffer
 * of their own; a full one or an old one is handed to the log writer. A buffer: its worker's own loop. The
 * log: any thread. */
#ifndef MG_GATEWAY_OBSERVE_ACCESS_LOG_H
#define MG_GATEWAY_OBSERVE_ACCESS_LOG_H

#include "base/err.h"
#include "base/log_writer.h"
#include "config/config.h"
#include "http/exchange.h"
#include "net/loop.h"

typedef struct mg_access_log mg_access_log;

/* A worker's lines. */
typedef struct mg_log_buffer {
    mg_text text;
    mg_timer timer;
    mg_loop *loop;      /* borrowed */
    mg_access_log *log; /* borrowed */
} mg_log_buffer;

/* NULL with err when a file cannot be opened. `writer` is borrowed; NULL: no line is written. */
mg_access_log *mg_access_log_new(mg_log_writer *writer, mg_config_log_to to, mg_str path, mg_error *err);
void mg_access_log_free(mg_access_log *log);
/* Another target, or the same file opened again, from the next line on; any thread. */
MG_MUST_USE mg_result mg_access_log_change(mg_access_log *log, mg_config_log_to to, mg_str path,
                                           mg_error *err);
/* Whether such a log can be written, for a configuration that is tried; it makes the file. */
MG_MUST_USE mg_result mg_access_log_probe(mg_config_log_to to, mg_str path, mg_error *err);
bool mg_access_log_is_on(const mg_access_log *log); /* any thread */

void mg_log_buffer_init(mg_log_buffer *buffer, mg_access_log *log, mg_loop *loop);
void mg_log_buffer_flush(mg_log_buffer *buffer);
void mg_log_buffer_fini(mg_log_buffer *buffer); /* flushes */

/* What the line says beside the exchange itself. */
typedef struct mg_access_line {
    mg_str listener, route, service, endpoint, consumer;
    mg_str address;      /* of an endpoint that is a name */
    mg_str limiter;      /* that refused, or has least remaining */
    mg_str plugins;      /* of its chain: a JSON array; none: no chain ran */
    const char *breaker; /* the state of the one it asked, at its end; NULL: it asked none */
    const char *error;
    uint64_t end_ns;
    int64_t end_wall_ns;
    uint64_t gateway_ns, plugin_ns;
    unsigned attempts;
    int status; /* 499 for a client that left */
    mg_str client;
} mg_access_line;

void mg_access_log_add(mg_log_buffer *buffer, mg_exchange *x, const mg_access_line *line);

#endif
