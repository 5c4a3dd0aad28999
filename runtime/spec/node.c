/* node.c - a gateway in the world: the one that serves, whole, on loops of the world. */
#include "spec/parts.h"

#include "base/mem.h"
#include "gateway/control.h"
#include "gateway/request/job.h"
#include "text/json.h"

enum { SPEC_WORKERS_MAX = 16, FLOOR_LOOPS = 2 }; /* control and the flusher */

struct mg_spec_node {
    mg_list link; /* in the world's */
    mg_spec *spec;
    mg_loop *loops[SPEC_WORKERS_MAX + FLOOR_LOOPS];
    unsigned loop_count;
    mg_resolver *resolver;
    mg_log *log;
    mg_text logged;
    mg_log_writer *writer;
    mg_gateway *gateway;
    char *file, *text, *boot_id; /* owned; text NULL: the file is read */
    char **set;                  /* owned, each of them too */
    size_t set_count;
    bool stopped;
    mg_spec_outcome outcome; /* of the last reload */
    mg_text report;
};

static void log_sink(void *self, mg_log_level level, mg_str line)
{
    (void)level;
    mg_text_add(self, line);
}

static char *copy_text(const char *text)
{
    return text ? mg_strdup(text) : NULL;
}

static mg_config *read_document(void *self, mg_report *report)
{
    mg_spec_node *node = self;
    const mg_config_env env = { .set = (const char *const *)node->set,
                                .set_count = node->set_count,
                                .partial = true };

    return node->text ? mg_config_load_text(node->file, mg_str_of(node->text), &env, report)
                      : mg_config_load_file(node->file, &env, report);
}

static void has_stopped(void *self)
{
    ((mg_spec_node *)self)->stopped = true;
}

static void free_node(mg_spec_node *node)
{
    mg_gateway_free(node->gateway);
    if (node->resolver)
        mg_resolver_free(node->resolver);
    for (unsigned i = 0; i < node->loop_count; i++)
        mg_loop_free(node->loops[i]);
    if (node->writer)
        mg_log_writer_free(node->writer);
    mg_log_free(node->log);
    mg_text_fini(&node->logged);
    mg_text_fini(&node->report);
    for (size_t i = 0; i < node->set_count; i++)
        mg_free(node->set[i]);
    mg_free(node->set);
    mg_free(node->file);
    mg_free(node->text);
    mg_free(node->boot_id);
    mg_list_remove(&node->link);
    mg_free(node);
}

static void tell_report(mg_spec *spec, const mg_report *report)
{
    mg_text text = { 0 };

    mg_report_print(report, &text);
    (void)mg_spec_fail(spec, "%.*s", MG_STR_ARGS(mg_text_str(&text)));
    mg_text_fini(&text);
}

static bool start_node(mg_spec_node *node, const mg_spec_conf *conf, mg_report *report)
{
    const mg_gateway_options options = { .log = node->log,
                                         .log_writer = node->writer,
                                         .clock = mg_sim_clock(node->spec->sim),
                                         .seed = (uint64_t)conf->seed,
                                         .loops = node->loops,
                                         .loop_count = node->loop_count,
                                         .resolver = node->resolver,
                                         .boot_id = node->boot_id,
                                         .read_config = read_document,
                                         .self = node };
    mg_config *config = read_document(node, report);
    mg_error err = MG_ERROR_INIT;

    if (config)
        node->gateway = mg_gateway_new(&options, config, report);
    if (!node->gateway)
        return false;
    mg_gateway_on_stopped(node->gateway, has_stopped, node);
    if (mg_gateway_start(node->gateway, NULL, NULL, &err) != MG_OK)
        return mg_report_add(report, MG_SEVERITY_ERROR, "start", "%s", err.message), false;
    mg_sim_settle(node->spec->sim);
    return true;
}

mg_spec_node *mg_spec_node_open(mg_spec *spec, const mg_spec_conf *conf)
{
    mg_error err = MG_ERROR_INIT;
    mg_report report = MG_REPORT_INIT;
    mg_spec_node *node;

    if (conf->workers < 1 || conf->workers > SPEC_WORKERS_MAX) {
        (void)mg_spec_fail(spec, "a gateway of a spec has 1 to %d workers", SPEC_WORKERS_MAX);
        return NULL;
    }
    node = MG_NEW(mg_spec_node);
    node->spec = spec;
    mg_list_push(&spec->nodes, &node->link);
    node->file = copy_text(conf->file);
    node->text = copy_text(conf->text);
    node->boot_id = copy_text(conf->boot_id);
    node->set = MG_NEW_N(char *, conf->set_count + 1);
    while (node->set_count < conf->set_count) {
        node->set[node->set_count] = copy_text(conf->set[node->set_count]);
        node->set_count++;
    }
    node->log = mg_log_new(MG_LOG_DEBUG, mg_sim_clock(spec->sim), log_sink, &node->logged);
    if (conf->access_log)
        node->writer = mg_log_writer_new(MG_LOG_OFF, false);
    while (node->loop_count < FLOOR_LOOPS + conf->workers)
        node->loops[node->loop_count++] = mg_sim_loop_new(spec->sim);
    node->resolver = mg_resolver_new(node->loops[0], NULL, &err);
    if (!node->resolver) {
        (void)mg_spec_fail(spec, "%s", err.message);
    } else if (!start_node(node, conf, &report)) {
        tell_report(spec, &report);
    } else {
        mg_report_fini(&report);
        return node;
    }
    mg_report_fini(&report);
    free_node(node);
    return NULL;
}

static void published(void *self, const mg_published *published)
{
    mg_spec_node *node = self;

    node->outcome = published->taken ? MG_SPEC_TAKEN : MG_SPEC_REFUSED;
    mg_text_clear(&node->report);
    mg_report_print(published->report, &node->report);
}

void mg_spec_node_reload(mg_spec_node *node, const char *text)
{
    const mg_publish publish = { .done = published, .self = node };

    if (text) {
        mg_free(node->text);
        node->text = copy_text(text);
    }
    node->outcome = MG_SPEC_UNDER_WAY;
    mg_gateway_publish(node->gateway, &publish);
}

int mg_spec_node_outcome(mg_spec_node *node, mg_spec_text *report)
{
    *report = (mg_spec_text){ node->report.p, (uint32_t)node->report.n };
    return (int)node->outcome;
}

void mg_spec_node_drain(mg_spec_node *node)
{
    mg_gateway_drain(node->gateway);
}

bool mg_spec_node_stopped(const mg_spec_node *node)
{
    return node->stopped;
}

void mg_spec_node_close(mg_spec_node *node)
{
    free_node(node);
}

bool mg_spec_node_address(mg_spec_node *node, const char *listener, mg_spec_text *address)
{
    char text[MG_ADDR_TEXT];
    mg_addr addr;

    const mg_config_listener *first = node->gateway->snapshot->config->listeners[0];
    const mg_str name = *listener || !first ? mg_str_of(listener) : first->name;

    if (!mg_gateway_listener_addr(node->gateway, name, &addr))
        return mg_spec_fail(node->spec, "no listener is named \"%s\"", listener);
    mg_text_clear(&node->spec->text);
    mg_text_add(&node->spec->text, mg_str_make(text, mg_addr_text(&addr, text)));
    *address = (mg_spec_text){ node->spec->text.p, (uint32_t)node->spec->text.n };
    return true;
}

void mg_spec_node_log(const mg_spec_node *node, mg_spec_text *lines)
{
    *lines = (mg_spec_text){ node->logged.p, (uint32_t)node->logged.n };
}

void mg_spec_node_left(mg_spec_node *node, mg_spec_text *lines)
{
    mg_text *out = &node->spec->text;
    size_t exchanges = 0;

    mg_text_clear(out);
    for (unsigned i = 0; i < node->gateway->shared.worker_count; i++) {
        const mg_worker *worker = node->gateway->shared.workers[i];
        exchanges += worker->net.live_exchanges - mg_jobs_tell(worker, out);
    }
    if (exchanges)
        mg_text_addf(out, "%zu exchange%s\n", exchanges, exchanges == 1 ? "" : "s");
    *lines = (mg_spec_text){ out->p, (uint32_t)out->n };
}
