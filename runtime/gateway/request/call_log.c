/* call_log.c - what plugins write to the gateway's log, and what is written about them: with what finds the
 * request. */
#include "gateway/request/call.h"

#include "base/mem.h"
#include "http/problem.h"

void mg_call_log(mg_call *call, int level, const char *text, uint32_t n)
{
    const mg_vm_plugin *plugin = mg_call_plugin(call, call->plugin);
    char id[MG_REQUEST_ID_MAX], trace[32];

    if (level < MG_LOG_DEBUG || level > MG_LOG_ERROR)
        level = MG_LOG_INFO;
    if (!call->host->log || (mg_log_level)level < mg_log_get_level(call->host->log))
        return;
    mg_exchange_trace_hex(call->x, trace);
    const mg_log_member members[] = {
        { "plugin", mg_str_of(plugin ? plugin->name : "") },
        { "version", mg_str_of(plugin ? plugin->version : "") },
        { "route", call->route_name },
        { "request_id", mg_exchange_request_id(call->x, id) },
        { "trace_id", mg_str_make(trace, sizeof trace) },
    };
    mg_log_write_with(call->host->log, (mg_log_level)level, "plugin", members, mg_countof(members),
                      "%.*s [plugin=%s route=%.*s]", (int)n, text, plugin ? plugin->name : "-",
                      MG_STR_ARGS(call->route_name));
}

void mg_call_raised(mg_call *call, uint32_t plugin, const char *message, uint32_t n, const char *traceback,
                    uint32_t traceback_n)
{
    const mg_vm_plugin *raised = mg_call_plugin(call, plugin);

    call->raised++;
    call->counted_ns = 0; /* whoever runs now is not to pay for it */
    mg_call_log_event(call->host->log, MG_LOG_ERROR, "plugin_error", call->x, call->route_name, raised,
                      "was passed over: %.*s\n%.*s", (int)n, message, (int)traceback_n, traceback);
}

void mg_call_log_event(mg_log *log, mg_log_level level, const char *event, mg_exchange *x, mg_str route,
                       const mg_vm_plugin *plugin, const char *format, ...)
{
    mg_text text = { 0 };
    char id[MG_REQUEST_ID_MAX], trace[32];
    va_list args;

    mg_exchange_trace_hex(x, trace);
    const mg_log_member members[] = {
        { "plugin", mg_str_of(plugin ? plugin->name : "") },
        { "version", mg_str_of(plugin ? plugin->version : "") },
        { "route", route },
        { "request_id", mg_exchange_request_id(x, id) },
        { "trace_id", mg_str_make(trace, sizeof trace) },
    };
    va_start(args, format);
    mg_text_vaddf(&text, format, args);
    va_end(args);
    mg_log_write_with(log, level, event, members, mg_countof(members), "plugin %s@%s, route %.*s: %.*s",
                      plugin ? plugin->name : "?", plugin ? plugin->version : "?", MG_STR_ARGS(route),
                      MG_STR_ARGS(mg_text_str(&text)));
    mg_text_fini(&text);
}

const mg_vm_plugin *mg_call_plugin(const mg_call *call, uint32_t plugin)
{
    const mg_vm *vm = call->task ? mg_task_vm(call->task) : NULL;

    return vm && plugin < mg_vm_plugin_count(vm) ? mg_vm_plugin_at(vm, plugin) : NULL;
}
