/* status.c - /livez /readyz /healthz /metrics, on a listener of its own on the control loop (UX 5). It never
 * looks at upstreams. */
#include "base/mem.h"
#include "gateway/call.h"
#include "gateway/control.h"
#include "gateway/forward.h"

#define STALE_NS (2 * MG_NS_PER_S) /* a worker whose loop has not turned for so long is not alive */

struct mg_status_door {
    mg_gateway *gateway; /* borrowed */
    mg_net net;
    mg_listener *listener; /* owned */
    mg_conn_server server;
};

/* One request's record; in its arena. */
typedef struct status_flight {
    mg_bytes_source bytes;
    mg_str body;
} status_flight;

typedef struct check {
    const char *name;
    bool ok;
} check;

enum { CHECKS = 4 };

static bool workers_turn(const mg_gateway *gateway)
{
    const uint64_t now = gateway->shared.clock->mono_ns(gateway->shared.clock);

    for (unsigned w = 0; w < gateway->shared.worker_count; w++) {
        const uint64_t turn =
            atomic_load_explicit(&gateway->shared.workers[w]->turn_ns, memory_order_relaxed);
        if (now > turn + STALE_NS)
            return false;
    }
    return true;
}

static bool run_checks(const mg_gateway *gateway, check checks[CHECKS])
{
    const int state = atomic_load(&((mg_gateway *)(uintptr_t)gateway)->state);
    bool ok = true;

    checks[0] = (check){ "workers", workers_turn(gateway) };
    checks[1] = (check){ "revision", gateway->snapshot != NULL };
    checks[2] = (check){ "state", gateway->kv != NULL };
    checks[3] = (check){ "not_draining", state == MG_GATEWAY_NEW || state == MG_GATEWAY_RUNS };
    for (int i = 0; i < CHECKS; i++)
        ok &= checks[i].ok;
    return ok;
}

static int write_checks(const mg_gateway *gateway, mg_text *out)
{
    check checks[CHECKS];
    const bool ok = run_checks(gateway, checks);

    mg_text_addf(out, "{\"status\":\"%s\",\"checks\":{", ok ? "ok" : "failed");
    for (int i = 0; i < CHECKS; i++)
        mg_text_addf(out, "%s\"%s\":{\"ok\":%s}", i ? "," : "", checks[i].name,
                     checks[i].ok ? "true" : "false");
    mg_text_add_c(out, "}}\n");
    return ok ? 200 : 503;
}

static int write_short(bool ok, mg_text *out)
{
    mg_text_add_c(out, ok ? "ok\n" : "not ok\n");
    return ok ? 200 : 503;
}

static int write_metrics(mg_gateway *gateway, mg_text *out)
{
    const mg_stats_global global = { .revision = gateway->revision,
                                     .reloads_ok = atomic_load(&gateway->reloads_ok),
                                     .reloads_refused = atomic_load(&gateway->reloads_refused),
                                     .last_success_s = atomic_load(&gateway->last_success_s),
                                     .lua_memory_bytes = mg_control_lua_memory(gateway) };

    mg_stats_write(gateway->shared.stats, &global, out);
    mg_control_write_counters(gateway, out);
    return 200;
}

static int answer(mg_gateway *gateway, const mg_request *request, mg_text *out, mg_str *type)
{
    check checks[CHECKS];
    const bool verbose = request->query.p && mg_str_starts(request->query, MG_STR("verbose"));

    *type = MG_STR("text/plain; charset=utf-8");
    if (request->method != MG_METHOD_GET && request->method != MG_METHOD_HEAD)
        return 405;
    if (mg_str_eq_c(request->path, "/livez"))
        return write_short(workers_turn(gateway), out);
    if (mg_str_eq_c(request->path, "/readyz") && !verbose)
        return write_short(run_checks(gateway, checks), out);
    if (mg_str_eq_c(request->path, "/metrics")) {
        *type = MG_STR("text/plain; version=0.0.4; charset=utf-8");
        return write_metrics(gateway, out);
    }
    if (mg_str_eq_c(request->path, "/healthz") || mg_str_eq_c(request->path, "/readyz")) {
        *type = MG_STR("application/json");
        return write_checks(gateway, out);
    }
    return 404;
}

static void send_answer(mg_exchange *x, status_flight *flight)
{
    x->local = true;
    x->client->head(x);
    if (!x->response_body.sink)
        return;
    mg_bytes_source_init(&flight->bytes, &x->response_body, flight->body);
    flight->bytes.source.resume(&flight->bytes.source);
}

/* For x-request-id and instance. */
static void name_request(mg_exchange *x)
{
    const uint64_t words[2] = { mg_rand_system_seed(), mg_rand_system_seed() };

    memcpy(x->trace_id, words, sizeof x->trace_id);
}

static void on_begin(mg_exchange *x)
{
    mg_status_door *door = x->owner_self;
    status_flight *flight = MG_ARENA_NEW(&x->arena, status_flight);
    mg_text out = { 0 };
    mg_str type;
    const int status = answer(door->gateway, &x->request, &out, &type);

    if (status == 404 || status == 405) {
        name_request(x);
        mg_problem_fill(x, status, MG_STR_NONE,
                        MG_STR("This listener serves /livez, /readyz, /healthz and /metrics."), -1,
                        &flight->body);
    } else {
        flight->body = mg_arena_str(&x->arena, mg_text_str(&out));
        x->response.status = (uint16_t)status;
        x->response.body = MG_BODY_LENGTH;
        x->response.length = out.n;
        mg_fields_add(&x->response.fields, &x->arena, MG_NAME_CONTENT_TYPE,
                      mg_name_text(MG_NAME_CONTENT_TYPE), type);
        mg_fields_add(&x->response.fields, &x->arena, MG_NAME_OTHER, MG_STR("cache-control"),
                      MG_STR("no-store"));
    }
    mg_text_fini(&out);
    send_answer(x, flight);
}

static void on_refuse(mg_exchange *x, uint16_t status, const char *why)
{
    status_flight *flight = MG_ARENA_NEW(&x->arena, status_flight);

    if (x->head_sent) {
        mg_status_door *door = x->owner_self;
        x->client->cut(x, MG_RESET_CLIENT_PROTOCOL);
        mg_net_exchange_free(&door->net, x);
        return;
    }
    name_request(x);
    mg_problem_fill(x, status, MG_STR_NONE, mg_str_of(why), -1, &flight->body);
    send_answer(x, flight);
}

static void on_gone(mg_exchange *x, mg_reset reason)
{
    mg_status_door *door = x->owner_self;

    (void)reason;
    mg_net_exchange_free(&door->net, x);
}

static void on_done(mg_exchange *x)
{
    mg_status_door *door = x->owner_self;

    mg_net_exchange_free(&door->net, x);
}

static const mg_owner_ops status_owner = { on_begin, on_refuse, on_gone, on_done };

static void on_accepted(void *self, int fd, const mg_addr *peer)
{
    mg_status_door *door = self;

    mg_conn_accept(&door->server, fd, peer);
}

mg_status_door *mg_status_open(mg_gateway *gateway, const mg_config *config, mg_error *err)
{
    const mg_listener_conf conf = { .addr = config->status_addr };

    if (!config->status_on)
        return NULL;
    mg_status_door *door = MG_NEW(mg_status_door);
    door->gateway = gateway;
    mg_net_init(&door->net, gateway->loops[0], gateway->options.log);
    mg_conn_server_init(&door->server, &door->net, &status_owner, door);
    door->server.limits.max_connections = 256;
    door->listener = mg_listener_new(gateway->loops[0], &conf, on_accepted, door, err);
    if (!door->listener) {
        mg_status_free(door);
        return NULL;
    }
    return door;
}

void mg_status_start(mg_status_door *door)
{
    mg_listener_start(door->listener);
}

void mg_status_free(mg_status_door *door)
{
    if (!door)
        return;
    mg_listener_free(door->listener);
    mg_conn_server_fini(&door->server);
    mg_net_fini(&door->net);
    mg_free(door);
}
