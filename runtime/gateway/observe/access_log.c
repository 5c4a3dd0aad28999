/* access_log.c - one JSON line an exchange. */
#include "gateway/observe/access_log.h"

#include "base/json_out.h"
#include "base/mem.h"

#include <stdatomic.h>
#include <unistd.h>

enum { BUFFER_FULL = 32 * 1024 };

#define BUFFER_OLD_NS (200 * MG_NS_PER_MS)

struct mg_access_log {
    mg_log_writer *writer; /* borrowed */
    _Atomic bool on;
};

static mg_log_target *target_of(mg_config_log_to to, mg_str path, mg_error *err)
{
    mg_error why = MG_ERROR_INIT;
    mg_log_target *target;

    if (to != MG_CONFIG_LOG_FILE)
        return mg_log_target_fd(to == MG_CONFIG_LOG_STDOUT   ? STDOUT_FILENO
                                : to == MG_CONFIG_LOG_STDERR ? STDERR_FILENO
                                                             : -1);
    target = mg_log_target_file(path, &why);
    if (!target)
        mg_fail(err, MG_ERR_IO, "observability.access_log.to: %s", why.message);
    return target;
}

mg_access_log *mg_access_log_new(mg_log_writer *writer, mg_config_log_to to, mg_str path, mg_error *err)
{
    mg_access_log *log = MG_NEW(mg_access_log);

    log->writer = writer;
    if (mg_access_log_change(log, to, path, err) == MG_OK)
        return log;
    mg_free(log);
    return NULL;
}

mg_result mg_access_log_probe(mg_config_log_to to, mg_str path, mg_error *err)
{
    mg_log_target *target = target_of(to, path, err);

    mg_log_target_free(target);
    return target ? MG_OK : MG_ERR_IO;
}

mg_result mg_access_log_change(mg_access_log *log, mg_config_log_to to, mg_str path, mg_error *err)
{
    mg_log_target *target = target_of(to, path, err);

    if (!target)
        return MG_ERR_IO;
    atomic_store(&log->on, log->writer && target->fd >= 0);
    if (log->writer)
        mg_log_writer_aim(log->writer, MG_LOG_ACCESS, target);
    else
        mg_log_target_free(target);
    return MG_OK;
}

void mg_access_log_free(mg_access_log *log)
{
    mg_free(log);
}

bool mg_access_log_is_on(const mg_access_log *log)
{
    return atomic_load_explicit(&((mg_access_log *)(uintptr_t)log)->on, memory_order_relaxed);
}

void mg_log_buffer_flush(mg_log_buffer *buffer)
{
    if (buffer->text.n)
        mg_log_writer_hand(buffer->log->writer, MG_LOG_ACCESS, mg_text_str(&buffer->text));
    mg_text_clear(&buffer->text);
}

static void on_old(mg_timer *timer)
{
    mg_log_buffer_flush(mg_container_of(timer, mg_log_buffer, timer));
}

void mg_log_buffer_init(mg_log_buffer *buffer, mg_access_log *log, mg_loop *loop)
{
    *buffer = (mg_log_buffer){ .loop = loop, .log = log };
    mg_timer_init(&buffer->timer, on_old);
}

void mg_log_buffer_fini(mg_log_buffer *buffer)
{
    mg_log_buffer_flush(buffer);
    mg_timer_stop(&buffer->timer);
    mg_text_fini(&buffer->text);
}

static void add_text(mg_json_out *out, const char *name, mg_str value)
{
    if (value.n)
        mg_json_out_text(out, name, value);
}

static uint64_t between(uint64_t from, uint64_t to)
{
    return from && to > from ? to - from : 0;
}

static void add_times(mg_json_out *out, const mg_exchange *x, const mg_access_line *line)
{
    const mg_exchange_times *t = &x->times;

    mg_json_out_seconds(out, "duration_s", between(t->begin_ns, line->end_ns));
    mg_json_out_seconds(out, "gateway_s", line->gateway_ns);
    if (line->plugin_ns)
        mg_json_out_seconds(out, "plugin_s", line->plugin_ns);
    if (t->connected_ns)
        mg_json_out_seconds(out, "pool_wait_s", between(t->upstream_ns, t->connected_ns));
    if (t->first_byte_ns)
        mg_json_out_seconds(out, "upstream_s", between(t->upstream_ns, t->first_byte_ns));
}

static void add_request(mg_json_out *out, mg_exchange *x, const mg_access_line *line)
{
    add_text(out, "request_id",
             mg_fields_value(&x->request.fields, &x->arena, MG_NAME_X_REQUEST_ID, MG_STR_NONE));
    add_text(out, "listener", line->listener);
    add_text(out, "route", line->route);
    add_text(out, "service", line->service);
    add_text(out, "endpoint", line->endpoint);
    add_text(out, "address", line->address);
    add_text(out, "method", x->request.method_text);
    add_text(out, "scheme", x->request.scheme);
    add_text(out, "host", x->request.host);
    add_text(out, "path", x->request.path);
    add_text(out, "protocol", mg_request_protocol(&x->request));
}

void mg_access_log_add(mg_log_buffer *buffer, mg_exchange *x, const mg_access_line *line)
{
    mg_json_out out = { .text = &buffer->text };
    char time[32];

    mg_iso_time(time, line->end_wall_ns);
    mg_json_out_map(&out, NULL);
    mg_json_out_text(&out, "time", mg_str_of(time));
    mg_json_out_hex(&out, "trace_id", x->trace_id, sizeof x->trace_id);
    mg_json_out_hex(&out, "span_id", x->span_id, sizeof x->span_id);
    add_request(&out, x, line);
    mg_json_out_i64(&out, "status", line->status);
    add_text(&out, "error", mg_str_of(line->error));
    add_times(&out, x, line);
    mg_json_out_u64(&out, "attempts", line->attempts);
    mg_json_out_u64(&out, "bytes_in", x->bytes_in);
    mg_json_out_u64(&out, "bytes_out", x->bytes_out);
    add_text(&out, "client_ip", line->client);
    add_text(&out, "user_agent", mg_fields_get(&x->request.fields, MG_NAME_USER_AGENT));
    add_text(&out, "consumer", line->consumer);
    add_text(&out, "limiter", line->limiter);
    add_text(&out, "breaker", mg_str_of(line->breaker));
    if (line->plugins.n)
        mg_json_out_json(&out, "plugins", line->plugins);
    mg_json_out_end(&out);
    mg_text_add_char(&buffer->text, '\n');
    if (buffer->text.n >= BUFFER_FULL)
        mg_log_buffer_flush(buffer);
    else if (!buffer->timer.due_ns)
        mg_timer_set(buffer->loop, &buffer->timer, mg_loop_now(buffer->loop) + BUFFER_OLD_NS);
}
