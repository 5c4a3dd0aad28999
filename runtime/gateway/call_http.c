/* call_http.c - ctx.http and ctx.kv:barrier. An outgoing request is an exchange of its own, whose client side
 * is this call: the same upstream code sends it and reads the answer, into memory with a bound. */
#include "gateway/call_http.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/kv.h"
#include "gateway/pipeline.h"
#include "http/uri.h"

enum { BODY_DEFAULT = 1 << 20, BODY_MAX = 16 << 20 };

#define AFTER_NEXT_NS (60 * MG_NS_PER_S)
#define MAX_TIMEOUT_S 1e9 /* of seconds; above it a timeout is none */

typedef struct mg_call_http {
    mg_call *call;         /* borrowed */
    mg_fields fields;      /* of the next request; the call's exchange's arena */
    mg_exchange *x;        /* owned: the outgoing one; NULL before start and once read */
    mg_endpoint *endpoint; /* counted */
    mg_lease lease;
    mg_body_sink sink;
    mg_bytes_source bytes;
    mg_text body; /* owned: of the answer */
    mg_str request_body;
    mg_str key, authority;  /* of the account; a part of it: its host and port */
    struct name_wait *wait; /* borrowed: a name being looked up */
    mg_later later;         /* the coroutine goes on */
    uint64_t deadline_ns;   /* of the whole answer */
    uint64_t exchange_ns;   /* of the exchange that asks; UINT64_MAX: none */
    const char *error;
    const char *late; /* what it is called when deadline_ns has passed: whose it is */
    uint32_t max_body;
    int status;
    bool running; /* between run and the answer */
} mg_call_http;

/* A worker asks control for a name, and is told. Owned by the messages; `http` is NULL once cancelled. */
typedef struct name_wait {
    mg_message message;
    mg_worker *worker;
    mg_call_http *http;
    char *authority; /* owned */
} name_wait;

static const mg_lease_ops http_lease_ops;

static mg_flight *flight_of(const mg_call *call)
{
    return call->owner;
}

static mg_call_http *http_of(mg_call *call)
{
    if (!call->http) {
        call->http = MG_ARENA_NEW(&call->x->arena, mg_call_http);
        call->http->call = call;
    }
    return call->http;
}

const char *mg_call_http_header(mg_call *call, const char *name, uint32_t n, const char *value,
                                uint32_t value_n, bool replace)
{
    return mg_fields_put(&http_of(call)->fields, &call->x->arena, (mg_str){ name, n },
                         (mg_str){ value, value_n }, replace);
}

/* ---- the end ---- */

static void release(mg_call_http *http)
{
    mg_worker *worker = flight_of(http->call)->worker;

    mg_later_cancel(&http->later);
    mg_lease_cancel(&http->lease);
    http->lease = (mg_lease){ 0 };
    if (http->x)
        mg_net_exchange_free(&worker->net, http->x);
    http->x = NULL;
    if (http->endpoint)
        mg_endpoint_unref(http->endpoint);
    http->endpoint = NULL;
    if (http->wait)
        http->wait->http = NULL;
    http->wait = NULL;
    mg_text_fini(&http->body);
}

void mg_call_http_cancel(mg_call *call)
{
    if (!call->http)
        return;
    call->http->running = false;
    release(call->http);
}

static void on_later(mg_later *later)
{
    mg_pipeline_resume(flight_of(mg_container_of(later, mg_call_http, later)->call));
}

/* The answer is whole, or there will be none: the coroutine goes on from the loop, with nobody else on the
 * stack. So a plugin that asks again and again, in vain, does not pile up calls. */
static void finish(mg_call_http *http, const char *error)
{
    mg_flight *flight = flight_of(http->call);

    if (!http->running)
        return;
    http->running = false;
    http->error = error;
    http->status = error ? 0 : http->x->response.status;
    mg_lease_cancel(&http->lease);
    http->later.run = on_later;
    mg_later_add(flight->worker->loop, &http->later);
}

static void fail(mg_call_http *http, mg_reset reason)
{
    finish(http, reason == MG_RESET_DEADLINE ? http->late : mg_reset_text(reason));
}

/* ---- the exchange's other parties ---- */

static size_t on_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_call_http *http = mg_container_of(sink, mg_call_http, sink);

    if (http->body.n + n > http->max_body) {
        http->error = "the answer's body is larger than max_body";
        return n;
    }
    mg_text_add(&http->body, (mg_str){ bytes, n });
    return n;
}

static void on_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_call_http *http = mg_container_of(sink, mg_call_http, sink);

    (void)trailers;
    finish(http, http->error);
}

static void on_reset(mg_body_sink *sink, mg_reset reason)
{
    fail(mg_container_of(sink, mg_call_http, sink), reason);
}

static void on_interim(mg_lease *lease, const mg_response *head)
{
    (void)lease;
    (void)head;
}

static void on_head(mg_lease *lease)
{
    mg_call_http *http = mg_container_of(lease, mg_call_http, lease);
    mg_exchange *x = http->x;

    if (x->response.status == 101 || !x->response_body.source)
        return; /* without a body `over` ends it */
    http->sink = (mg_body_sink){ on_data, on_end, on_reset };
    x->response_body.sink = &http->sink;
    x->response_body.source->resume(x->response_body.source);
}

static void on_failed(mg_lease *lease, mg_reset reason)
{
    fail(mg_container_of(lease, mg_call_http, lease), reason);
}

static void on_over(mg_lease *lease)
{
    mg_call_http *http = mg_container_of(lease, mg_call_http, lease);

    if (!http->x->response_body.sink)
        finish(http, NULL);
}

static const mg_lease_ops http_lease_ops = { on_interim, on_head, on_failed, on_over, NULL };

/* ---- the start ---- */

static const char *fill_request(mg_call_http *http, const mg_uri *uri, mg_str method, mg_str body)
{
    mg_exchange *x = http->x;
    mg_request *request = &x->request;

    if (!mg_is_token(method) || method.n > MG_METHOD_BYTES_MAX)
        return "the method must be a token of at most 32 bytes";
    if (body.n > MG_BODY_BYTES_MAX)
        return "a body has at most 64 MiB";
    request->method_text = mg_arena_str(&x->arena, method);
    request->method = mg_method_find(method);
    if (request->method == MG_METHOD_CONNECT)
        return "CONNECT is not sent: it would make a tunnel of the connection";
    request->scheme = MG_STR("http");
    request->authority = mg_arena_str(&x->arena, uri->authority);
    request->host = mg_arena_str(&x->arena, uri->host);
    if (!mg_uri_normalise_path(&x->arena, mg_arena_str(&x->arena, uri->path), MG_URI_KEEP_SLASHES,
                               &request->path))
        return "the URL's path is malformed";
    request->query =
        uri->query.p ? mg_uri_normalise_query(&x->arena, mg_arena_str(&x->arena, uri->query)) : MG_STR_NONE;
    if (request->path.n + request->query.n > MG_HEAD_BYTES_MAX)
        return "the URL's path and query have at most 64 KiB together";
    for (uint32_t i = 0; i < http->fields.count; i++) {
        const mg_field *f = &http->fields.items[i];
        mg_fields_add(&request->fields, &x->arena, f->id, (mg_str){ f->name, f->name_n },
                      (mg_str){ f->value, f->value_n });
    }
    http->fields = (mg_fields){ 0 };
    request->minor = 1;
    x->request_body.ended = body.n == 0;
    if (body.n) {
        request->body = MG_BODY_LENGTH;
        request->length = body.n;
        mg_bytes_source_init(&http->bytes, &x->request_body, mg_arena_str(&x->arena, body));
    }
    return NULL;
}

/* timeout_s: the call's own, none when not above 0. */
static void set_deadline(mg_call_http *http, double timeout_s)
{
    const mg_flight *flight = flight_of(http->call);
    const uint64_t now = mg_loop_now(flight->worker->loop);
    uint64_t own = timeout_s > 0 && timeout_s < MAX_TIMEOUT_S ? mg_add_sat(now, (uint64_t)(timeout_s * 1e9))
                                                              : UINT64_MAX;

    http->exchange_ns = mg_exchange_due_ns(flight->x, &flight->x->limit);
    if (http->call->next_called) { /* the route's time ran to the response head */
        http->exchange_ns = mg_flight_caller_ns(flight);
        own = mg_min_u64(own, now + AFTER_NEXT_NS);
    }
    http->deadline_ns = http->lease.limit.fixed_ns = mg_min_u64(own, http->exchange_ns);
    http->late = own <= http->exchange_ns ? "timeout" : "deadline";
}

/* Tells the other side how long its answer is of use. False when the exchange has too little time left for
 * asking (POLICIES 7). */
static bool tell_deadline(mg_call_http *http)
{
    const mg_flight *flight = flight_of(http->call);
    const uint64_t now = mg_loop_now(flight->worker->loop);
    const uint64_t exchange_ns = http->exchange_ns - mg_min_u64(now, http->exchange_ns);
    const uint64_t own_ns = http->deadline_ns - mg_min_u64(now, http->deadline_ns);
    mg_deadline_conf conf;

    mg_deadline_conf_defaults(&conf);
    if (flight->route)
        conf = flight->route->conf->deadline;
    const uint64_t child_ms = mg_deadline_child_ms(&conf, exchange_ns / MG_NS_PER_MS);

    if (!child_ms)
        return false;
    mg_forward_deadline_out(http->x, mg_min_u64(child_ms, own_ns / MG_NS_PER_MS), 1);
    return true;
}

const char *mg_call_http_start(mg_call *call, const char *method, uint32_t method_n, const char *url,
                               uint32_t url_n, const char *body, uint32_t body_n, double timeout_s,
                               uint32_t max_body)
{
    mg_call_http *http = http_of(call);
    mg_worker *worker = flight_of(call)->worker;
    mg_uri uri;

    release(http);
    http->x = mg_net_exchange_new(&worker->net);
    const char *wrong =
        mg_uri_parse(&http->x->arena, mg_arena_str(&http->x->arena, (mg_str){ url, url_n }), &uri);
    if (!wrong && !mg_str_eq(uri.scheme, MG_STR("http")))
        wrong = "only http URLs are supported in this build";
    if (!wrong)
        wrong = fill_request(http, &uri, (mg_str){ method, method_n }, (mg_str){ body, body_n });
    if (wrong) {
        release(http);
        return wrong;
    }
    const bool v6 = mg_str_find(uri.host, ':') != SIZE_MAX;
    http->key = mg_arena_printf(&http->x->arena, v6 && uri.host.p[0] != '[' ? " [%.*s]:%d" : " %.*s:%d",
                                MG_STR_ARGS(uri.host), uri.port);
    http->authority = mg_str_sub(http->key, 1, http->key.n);
    http->max_body = max_body ? (uint32_t)mg_min_u64(max_body, BODY_MAX) : BODY_DEFAULT;
    set_deadline(http, timeout_s);
    http->error = NULL;
    http->status = 0;
    call->wait = MG_WAIT_HTTP;
    return NULL;
}

/* Of the worker's endpoints: plugins share one for each authority, and none with a service. */
static mg_endpoint *endpoint_of(mg_call_http *http)
{
    mg_worker *worker = flight_of(http->call)->worker;
    mg_endpoint *endpoint = mg_map_get(worker->endpoints, http->key);

    if (endpoint) {
        mg_endpoint_ref(endpoint);
        return endpoint;
    }
    mg_account *account = mg_accounts_take(mg_shared_accounts(worker->gateway->shared), MG_STR(""),
                                           http->authority, http->authority);
    endpoint = mg_worker_endpoint(worker, account, &worker->gateway->idle_total);
    mg_account_unref(account);
    mg_addr addrs[MG_RESOLVE_MAX];
    const unsigned count = mg_names_known(worker->gateway->names, http->authority, addrs);
    mg_endpoint_set_addrs(endpoint, addrs, count);
    mg_worker_visit(worker, endpoint);
    return endpoint;
}

static void start_lease(mg_call_http *http)
{
    static const mg_lease_conf conf = {
        .pool = { .max_connections = 1024,
                  .max_idle = 64,
                  .max_idle_total = 2000,
                  .queue = 1024,
                  .max_requests = 10000,
                  .idle_timeout_ns = 55 * MG_NS_PER_S,
                  .queue_timeout_ns = MG_NS_PER_S,
                  .max_age_ns = 3600 * MG_NS_PER_S },
        .h1 = MG_H1_LIMITS_WIDE,
        .connect_timeout_ns = MG_NS_PER_S,
        .first_byte_timeout_ns = 60 * MG_NS_PER_S,
        .read_timeout_ns = 30 * MG_NS_PER_S,
        .tunnel_idle_timeout_ns = MG_NS_PER_S,
    };

    if (!tell_deadline(http)) {
        finish(http, "deadline");
        return;
    }
    http->endpoint = endpoint_of(http);
    mg_lease_start(&http->lease, http->x, http->endpoint, &conf, &http_lease_ops);
}

/* Back on the worker: the name's addresses are known, or it has none. */
static void on_name_known(mg_message *message)
{
    name_wait *wait = mg_container_of(message, name_wait, message);
    mg_call_http *http = wait->http;

    mg_free(wait->authority);
    mg_free(wait);
    if (!http)
        return;
    http->wait = NULL;
    start_lease(http);
}

static void on_name_answer(void *self)
{
    name_wait *wait = self;

    wait->message.run = on_name_known;
    mg_mailbox_post(wait->worker->mailbox, &wait->message);
}

static void on_name_asked(mg_message *message)
{
    name_wait *wait = mg_container_of(message, name_wait, message);

    mg_names_add(wait->worker->gateway->names, mg_str_of(wait->authority), on_name_answer, wait);
}

void mg_call_http_run(mg_call *call)
{
    mg_call_http *http = call->http;
    mg_worker *worker = flight_of(call)->worker;
    mg_addr addrs[MG_RESOLVE_MAX];

    http->running = true;
    if (mg_map_get(worker->endpoints, http->key) ||
        mg_names_known(worker->gateway->names, http->authority, addrs)) {
        start_lease(http);
        return;
    }
    name_wait *wait = MG_NEW(name_wait);
    *wait = (name_wait){
        { NULL, on_name_asked }, worker, http, mg_memdup0(http->authority.p, http->authority.n)
    };
    http->wait = wait;
    mg_mailbox_post(worker->gateway->control, &wait->message);
}

uint64_t mg_call_http_deadline(const mg_call *call)
{
    return call->http->deadline_ns;
}

void mg_call_http_expire(mg_call *call)
{
    fail(call->http, MG_RESET_DEADLINE);
}

/* ---- the answer ---- */

int mg_call_http_status(const mg_call *call)
{
    return call->http ? call->http->status : 0;
}

const char *mg_call_http_error(const mg_call *call)
{
    return call->http ? call->http->error : "no request was made";
}

bool mg_call_http_header_at(const mg_call *call, uint32_t index, mg_slice *name, mg_slice *value)
{
    const mg_exchange *x = call->http ? call->http->x : NULL;

    if (!x || index >= x->response.fields.count)
        return false;
    const mg_field *f = &x->response.fields.items[index];
    *name = (mg_slice){ f->name, f->name_n };
    *value = (mg_slice){ f->value, f->value_n };
    return true;
}

void mg_call_http_body(const mg_call *call, mg_slice *body)
{
    const mg_call_http *http = call->http;

    *body = http ? (mg_slice){ http->body.p, (uint32_t)http->body.n } : (mg_slice){ NULL, 0 };
}

/* ---- barrier ---- */

/* Owned by the messages. */
typedef struct mg_barrier {
    mg_message message;
    mg_worker *worker;
    mg_flight *flight; /* borrowed; NULL once the exchange is over, or waits for something else */
} mg_barrier;

static void on_durable(mg_message *message)
{
    mg_barrier *barrier = mg_container_of(message, mg_barrier, message);
    mg_flight *flight = barrier->flight;

    mg_free(barrier);
    if (!flight)
        return;
    flight->barrier = NULL;
    mg_pipeline_resume(flight);
}

/* On the flush thread. */
static void barrier_done(void *self, const char *error)
{
    mg_barrier *barrier = self;

    (void)error; /* the coroutine asks for it */
    mg_mailbox_post(barrier->worker->mailbox, &barrier->message);
}

void mg_call_barrier_run(mg_call *call)
{
    mg_flight *flight = flight_of(call);
    mg_barrier *barrier = MG_NEW(mg_barrier);

    *barrier = (mg_barrier){ { NULL, on_durable }, flight->worker, flight };
    flight->barrier = barrier;
    mg_kv_barrier(mg_shared_kv(flight->worker->gateway->shared), barrier_done, barrier);
}

void mg_call_barrier_cancel(mg_call *call)
{
    mg_flight *flight = flight_of(call);

    if (flight->barrier)
        flight->barrier->flight = NULL;
    flight->barrier = NULL;
}
