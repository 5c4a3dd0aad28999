/* probe_try.c - one check of one endpoint. The GET is an exchange whose client side is this check: the same
 * code as on the data path sends it and reads the answer, on a connection of its own. */
#include "gateway/service/probe_try.h"

#include "base/mem.h"
#include "http/gather.h"
#include "net/stream.h"
#include "net/upstream.h"
#include "text/json.h"

struct mg_probe_try {
    mg_net *net; /* borrowed */
    void (*done)(void *self, const mg_probe_verdict *verdict);
    void *self;
    mg_probe_verdict verdict;
    uint64_t timeout_ns; /* of all of it */
    mg_addr addr;
    mg_timer timer;
    mg_later later; /* it is decided */
    /* Of a GET. */
    mg_exchange *x;        /* owned; NULL for a connection */
    mg_endpoint *endpoint; /* counted */
    mg_lease_conf conf;    /* of the lease */
    mg_lease lease;
    mg_gather body;
    /* Of a connection. */
    mg_stream stream;
};

/* ---- the end ---- */

void mg_probe_try_free(mg_probe_try *probe)
{
    if (!probe)
        return;
    mg_timer_stop(&probe->timer);
    mg_later_cancel(&probe->later);
    mg_stream_close(&probe->stream, false);
    mg_lease_cancel(&probe->lease);
    if (probe->endpoint)
        mg_endpoint_unref(probe->endpoint);
    if (probe->x)
        mg_net_exchange_free(probe->net, probe->x);
    mg_gather_fini(&probe->body);
    mg_free(probe);
}

/* Nobody else is on the stack: what called back may be taken apart. */
static void on_later(mg_later *later)
{
    mg_probe_try *probe = mg_container_of(later, mg_probe_try, later);

    probe->done(probe->self, &probe->verdict);
}

/* What comes first counts. */
static bool decide(mg_probe_try *probe, bool ok)
{
    if (mg_list_linked(&probe->later.link))
        return false;
    probe->verdict.ok = ok;
    mg_later_add(probe->net->loop, &probe->later);
    return true;
}

static void fail(mg_probe_try *probe, const char *reason)
{
    if (decide(probe, false))
        snprintf(probe->verdict.reason, sizeof probe->verdict.reason, "%s", reason);
}

static void fail_late(mg_probe_try *probe)
{
    if (decide(probe, false))
        snprintf(probe->verdict.reason, sizeof probe->verdict.reason, "no answer within %llu ms",
                 (unsigned long long)(probe->timeout_ns / MG_NS_PER_MS));
}

/* ---- a GET ---- */

static bool number_of(const mg_node *map, const char *key, double *out)
{
    const mg_node *node = mg_node_get(map, key);

    if (!node || (node->kind != MG_NODE_INT && node->kind != MG_NODE_FLOAT))
        return false;
    *out = node->kind == MG_NODE_INT ? (double)node->integer : node->number;
    return true;
}

/* The answer tells a load when it is a JSON object with all three of its members. */
static bool read_load(mg_probe_try *probe, mg_probe_load *load)
{
    const mg_source source = { "health", mg_str_trim(mg_text_str(&probe->body.text), " \t\r\n") };
    mg_report report = MG_REPORT_INIT;

    if (!mg_str_starts(source.text, MG_STR("{")))
        return false;
    const mg_node *root = mg_json_parse(&probe->x->arena, &source, &report);
    mg_report_fini(&report);
    return root && number_of(root, "cpu", &load->cpu) && number_of(root, "mem", &load->mem) &&
           number_of(root, "latency_ms", &load->latency_ms);
}

/* There is a head, and it decides: a body that is too long, cut or late only tells no load. */
static void answered(mg_probe_try *probe, bool whole)
{
    const unsigned status = probe->x->response.status;

    if (!decide(probe, status >= 200 && status < 400))
        return;
    if (probe->verdict.ok && whole)
        probe->verdict.loaded = read_load(probe, &probe->verdict.load);
    snprintf(probe->verdict.reason, sizeof probe->verdict.reason, "answered %u", status);
}

static void on_body(mg_gather *gather)
{
    answered(mg_container_of(gather, mg_probe_try, body), gather->state == MG_GATHER_WHOLE);
}

static void on_interim(mg_lease *lease, const mg_response *head)
{
    (void)lease;
    (void)head;
}

static void on_head(mg_lease *lease)
{
    mg_probe_try *probe = mg_container_of(lease, mg_probe_try, lease);
    mg_exchange *x = probe->x;

    if (x->response.status < 200 || x->response.status >= 400 || !x->response_body.source) {
        answered(probe, true);
        return;
    }
    mg_gather_start(&probe->body, &x->response_body, on_body);
}

static const char *reset_reason(mg_reset reason)
{
    switch (reason) {
    case MG_RESET_UPSTREAM_CONNECT: return "no connection";
    case MG_RESET_UPSTREAM_RESET: return "the connection closed before an answer";
    case MG_RESET_UPSTREAM_PROTOCOL: return "its answer is not HTTP";
    case MG_RESET_UPSTREAM_HEAD: return "its answer has a head of more than 64 KiB";
    case MG_RESET_UPSTREAM_FIELDS: return "its answer has more than 1000 fields";
    default: return mg_reset_text(reason);
    }
}

static void on_failed(mg_lease *lease, mg_reset reason)
{
    fail(mg_container_of(lease, mg_probe_try, lease), reset_reason(reason));
}

static void on_over(mg_lease *lease)
{
    (void)lease; /* the head or the body's end has decided */
}

static const mg_lease_ops probe_lease_ops = { on_interim, on_head, on_failed, on_over, NULL };

static void fill_request(mg_exchange *x, mg_str target, mg_str authority)
{
    mg_request *request = &x->request;
    const size_t query = mg_str_find(target, '?');

    request->method = MG_METHOD_GET;
    request->method_text = mg_method_text(MG_METHOD_GET);
    request->scheme = MG_STR("http");
    request->authority = mg_arena_str(&x->arena, authority);
    request->path = mg_arena_str(&x->arena, mg_str_sub(target, 0, query < target.n ? query : target.n));
    if (query < target.n)
        request->query = mg_arena_str(&x->arena, mg_str_sub(target, query + 1, target.n));
    mg_fields_add(&request->fields, &x->arena, MG_NAME_USER_AGENT, mg_name_text(MG_NAME_USER_AGENT),
                  MG_STR("moongate-health"));
    x->request_body.ended = true;
}

static void start_get(mg_probe_try *probe, mg_accounts *accounts, mg_str path, mg_str authority)
{
    /* The check's own timer ends it. */
    probe->conf = (mg_lease_conf){
        .pool = { .max_requests = 1 }, /* no connection stays idle, no check waits for another */
        .h1 = MG_H1_LIMITS_WIDE,
        .connect_timeout_ns = 2 * probe->timeout_ns,
        .first_byte_timeout_ns = 2 * probe->timeout_ns,
        .read_timeout_ns = 2 * probe->timeout_ns,
        .tunnel_idle_timeout_ns = 2 * probe->timeout_ns,
    };
    probe->x = mg_net_exchange_new(probe->net);
    fill_request(probe->x, path, authority);
    mg_account *account = mg_accounts_take(accounts, MG_STR(""), authority, authority);
    probe->endpoint = mg_endpoint_new(probe->net, account, NULL, NULL);
    mg_account_unref(account);
    mg_endpoint_set_addrs(probe->endpoint, &probe->addr, 1);
    mg_timer_set(probe->net->loop, &probe->timer, mg_loop_now(probe->net->loop) + probe->timeout_ns);
    mg_lease_start(&probe->lease, probe->x, probe->endpoint, &probe->conf, &probe_lease_ops);
}

/* ---- a connection ---- */

static void on_ready(mg_stream *stream);

static void start_connect(mg_probe_try *probe)
{
    mg_loop *loop = probe->net->loop;

    if (!mg_stream_connect(&probe->stream, loop, &probe->addr, &mg_transport_socket, on_ready)) {
        fail(probe, "no connection");
        return;
    }
    mg_timer_set(loop, &probe->timer, mg_loop_now(loop) + probe->timeout_ns);
}

static void on_ready(mg_stream *stream)
{
    mg_probe_try *probe = mg_container_of(stream, mg_probe_try, stream);
    const int error = mg_stream_greet(stream);

    if (error == MG_STREAM_WAIT)
        return;
    if (error)
        fail(probe, strerror(error));
    else if (decide(probe, true))
        snprintf(probe->verdict.reason, sizeof probe->verdict.reason, "connected");
}

/* ---- the start ---- */

static void on_timer(mg_timer *timer)
{
    mg_probe_try *probe = mg_container_of(timer, mg_probe_try, timer);

    if (probe->x && probe->x->response.status)
        answered(probe, false);
    else
        fail_late(probe);
}

mg_probe_try *mg_probe_try_start(mg_net *net, mg_accounts *accounts, const mg_config_health *conf,
                                 mg_str authority, const mg_addr *addr,
                                 void (*done)(void *self, const mg_probe_verdict *verdict), void *self)
{
    mg_probe_try *probe = MG_NEW(mg_probe_try);

    probe->net = net;
    probe->done = done;
    probe->self = self;
    probe->timeout_ns = conf->timeout_ms * MG_NS_PER_MS;
    probe->later.run = on_later;
    probe->body.max_bytes = MG_PROBE_BODY_MAX;
    mg_timer_init(&probe->timer, on_timer);
    if (!addr) {
        fail(probe, "its name has no address");
        return probe;
    }
    probe->addr = *addr;
    if (conf->path.n)
        start_get(probe, accounts, conf->path, authority);
    else
        start_connect(probe);
    return probe;
}
