/* call_http.c - ctx.http as Lua calls it: makes the request, and gives what came of it. */
#include "gateway/request/call_http.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/flight.h"
#include "gateway/request/outgoing.h"
#include "http/uri.h"

#define MAX_TIMEOUT_S 1e9 /* of seconds; above it a timeout is none */

static mg_flight *flight_of(const mg_call *call)
{
    return call->owner;
}

/* ---- a request is made ---- */

const char *mg_call_http_begin(mg_call *call)
{
    mg_outgoing *out = call->http;

    if (out && out->x && !out->number) /* made and not sent, or read */
        mg_outgoing_end(out);
    call->http = mg_outgoing_new(flight_of(call));
    return call->http ? NULL : "too many answers are open: read each to its end, or close it";
}

const char *mg_call_http_header(mg_call *call, const char *name, uint32_t n, const char *value,
                                uint32_t value_n, bool replace)
{
    mg_exchange *x = call->http->x;

    if (!mg_exchange_has_room(x, (size_t)n + value_n))
        return mg_call_no_room();
    return mg_fields_put(&x->request.fields, &x->arena, (mg_str){ name, n }, (mg_str){ value, value_n },
                         replace);
}

bool mg_call_http_service(mg_call *call, const char *name, uint32_t n)
{
    const mg_snapshot *snapshot = flight_of(call)->view->snapshot;
    const mg_config_service *conf = mg_config_service_named(snapshot->config, (mg_str){ name, n });

    call->http->errand.service = conf ? &snapshot->services[conf->index] : NULL;
    return conf != NULL;
}

/* The body, whose bytes may be the client's. NULL or what is wrong. */
static const char *fill_body(mg_outgoing *out, mg_call *call, mg_str body, bool clients)
{
    const mg_exchange *client = flight_of(call)->x;
    const mg_gather *taken = &call->bodies[MG_REQUEST];
    mg_exchange *x = out->x;

    if (clients && call->next_called)
        return "the client's body has gone to the upstream: send it before next(ctx)";
    if (clients && mg_gather_is_there(taken)) {
        body = mg_text_str(&taken->text);
        clients = false;
    }
    if (body.n > MG_BODY_BYTES_MAX)
        return "a body has at most 64 MiB";
    if (clients && client->request_body.source) {
        if (call->body_sent || taken->text.n)
            return "the client's body has been read already";
        call->body_sent = true;
        out->upload = MG_OUTGOING_UPLOADS;
        x->request.body = client->request.body;
        x->request.length = client->request.length;
        return NULL;
    }
    if (clients && call->body_sent)
        return "the client's body has been sent already";
    x->request_body.ended = body.n == 0;
    if (body.n) {
        out->whole = mg_arena_str(&x->arena, body);
        x->request.body = MG_BODY_LENGTH;
        x->request.length = body.n;
        mg_bytes_source_init(&out->bytes, &x->request_body, out->whole);
    }
    return NULL;
}

static const char *fill_target(mg_exchange *x, const mg_uri *uri)
{
    mg_request *request = &x->request;

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
    return NULL;
}

static const char *fill_method(mg_exchange *x, mg_str method)
{
    if (!mg_is_token(method) || method.n > MG_METHOD_BYTES_MAX)
        return "the method must be a token of at most 32 bytes";
    x->request.method_text = mg_arena_str(&x->arena, method);
    x->request.method = mg_method_find(method);
    if (x->request.method == MG_METHOD_CONNECT)
        return "CONNECT is not sent: it would make a tunnel of the connection";
    return NULL;
}

/* A whole URL; or, where a service says where to, a path. */
static const char *parse_target(mg_outgoing *out, mg_str url, mg_uri *uri)
{
    mg_arena *arena = &out->x->arena;
    bool bare;

    if (out->errand.service) {
        *uri = (mg_uri){ .host = out->errand.service->name };
        if (!url.n || url.p[0] != '/')
            return "a path begins with /";
        return mg_uri_split(url, &uri->path, &uri->query, &bare)
                   ? "a path has no blank, control byte, # or \\: percent-encode them"
                   : NULL;
    }
    const char *wrong = mg_uri_parse(arena, mg_arena_str(arena, url), uri);
    if (!wrong && !mg_str_eq(uri->scheme, MG_STR("http")))
        wrong = "only http URLs are supported in this build";
    if (wrong)
        return wrong;
    const bool v6 = mg_str_find(uri->host, ':') != SIZE_MAX;
    out->key = mg_arena_printf(arena, v6 && uri->host.p[0] != '[' ? " [%.*s]:%d" : " %.*s:%d",
                               MG_STR_ARGS(uri->host), uri->port);
    out->authority = mg_str_sub(out->key, 1, out->key.n);
    return NULL;
}

const char *mg_call_http_start(mg_call *call, const char *method, uint32_t method_n, const char *url,
                               uint32_t url_n, const char *body, uint32_t body_n, double timeout_s,
                               uint32_t max_body, int how)
{
    mg_outgoing *out = call->http;
    mg_uri uri;

    const char *wrong = parse_target(out, (mg_str){ url, url_n }, &uri);
    if (!wrong)
        wrong = fill_method(out->x, (mg_str){ method, method_n });
    if (!wrong)
        wrong = fill_target(out->x, &uri);
    if (!wrong)
        wrong = fill_body(out, call, (mg_str){ body, body_n }, how & MG_HTTP_CLIENTS_BODY);
    if (wrong)
        return wrong;
    out->streams = how & MG_HTTP_STREAM;
    out->waits = out->streams ? MG_OUTGOING_HEAD : MG_OUTGOING_WHOLE;
    out->body.max_bytes = max_body ? mg_min_u64(max_body, MG_HTTP_BODY_BYTES_MAX) : MG_HTTP_BODY_BYTES;
    out->timeout_ns = timeout_s > 0 && timeout_s < MAX_TIMEOUT_S ? (uint64_t)(timeout_s * 1e9) : UINT64_MAX;
    call->wait = MG_WAIT_HTTP;
    return NULL;
}

/* ---- what the chain waits for ---- */

void mg_call_http_run(mg_call *call)
{
    mg_outgoing_run(call->http);
}

void mg_call_http_cancel(mg_call *call)
{
    const mg_outgoings *all = flight_of(call)->outgoings;

    for (unsigned i = 0; all && i < MG_OUTGOINGS; i++)
        if (all->items[i] && all->items[i]->answer != MG_OUTGOING_PASSED)
            mg_outgoing_end(all->items[i]);
    call->http = NULL;
}

uint64_t mg_call_http_deadline(mg_call *call)
{
    mg_outgoing_set_deadline(call->http);
    return call->http->deadline_ns;
}

void mg_call_http_expire(mg_call *call, bool by_plugin)
{
    if (by_plugin)
        call->http->late = "timeout";
    mg_outgoing_expire(call->http);
}

void mg_call_http_fini(mg_flight *flight)
{
    const mg_outgoings *all = flight->outgoings;

    for (unsigned i = 0; all && i < MG_OUTGOINGS; i++)
        if (all->items[i])
            mg_outgoing_end(all->items[i]);
}

/* ---- the answer ---- */

int mg_call_http_status(const mg_call *call)
{
    return call->http && !(call->http->error && call->http->answer == MG_OUTGOING_UNANSWERED)
               ? call->http->status
               : 0;
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
    const mg_outgoing *out = call->http;

    *body = out ? (mg_slice){ out->body.text.p, (uint32_t)out->body.text.n } : (mg_slice){ NULL, 0 };
}

/* ---- an answer that is streamed ---- */

double mg_call_http_keep(mg_call *call)
{
    mg_outgoing *out = call->http;

    out->number = ++flight_of(call)->worker->last_answer;
    call->http = NULL;
    return out->number;
}

/* NULL: it is closed, or another request's. */
static mg_outgoing *numbered(const mg_call *call, double number)
{
    const mg_outgoings *all = flight_of(call)->outgoings;

    for (unsigned i = 0; all && i < MG_OUTGOINGS; i++)
        if (all->items[i] && all->items[i]->x && all->items[i]->number == number)
            return all->items[i];
    return NULL;
}

int mg_call_http_read(mg_call *call, double number, mg_slice *piece, const char **error)
{
    mg_outgoing *out = numbered(call, number);

    if (!out || out->answer == MG_OUTGOING_PASSED) {
        *error = !out ? "closed" : "passed on";
        return MG_READ_FAILED;
    }
    if (out->piece.n) {
        *piece = (mg_slice){ out->piece.p, (uint32_t)out->piece.n };
        out->piece.n = 0; /* the bytes stay until the next read */
        return MG_READ_PIECE;
    }
    if (out->error) {
        *error = out->error;
        return MG_READ_FAILED;
    }
    if (out->answer == MG_OUTGOING_COMPLETE || !out->x->response_body.source)
        return MG_READ_END;
    out->waits = MG_OUTGOING_PIECE;
    call->http = out;
    call->wait = MG_WAIT_HTTP;
    return MG_READ_WAIT;
}

void mg_call_http_close(mg_call *call, double number)
{
    mg_outgoing *out = numbered(call, number);

    if (!out || out->answer == MG_OUTGOING_PASSED)
        return;
    if (call->http == out)
        call->http = NULL;
    mg_outgoing_end(out);
}

/* How long the body of the answer is, when that is known and nothing of it was read. */
static void set_framing(mg_response *head, const mg_outgoing *out)
{
    const mg_response *from = &out->x->response;

    head->body = MG_BODY_STREAM;
    if (from->body != MG_BODY_LENGTH || out->x->response_body.bytes)
        return;
    head->body = MG_BODY_LENGTH;
    head->length = from->length;
}

static void copy_fields(mg_response *head, mg_arena *arena, const mg_fields *from)
{
    for (uint32_t i = 0; i < from->count; i++)
        mg_fields_push(&head->fields, arena, mg_field_copy(&from->items[i], arena));
}

const char *mg_call_http_respond(mg_call *call, int status, double number, bool with_fields)
{
    mg_outgoing *out = numbered(call, number);
    mg_flight *flight = flight_of(call);
    mg_exchange *x = flight->x;
    mg_response head = { .status = (uint16_t)status };

    const char *wrong = mg_call_no_answer_now(call);
    if (wrong)
        return wrong;
    if (status < 200 || status > 599)
        return "a status is a number from 200 to 599";
    if (!out || out->answer == MG_OUTGOING_PASSED)
        return "the answer that it passes on is closed, or was passed on already";
    if (out->error)
        return "the answer that it passes on was cut";
    mg_proxy_stop(flight);
    if (with_fields)
        copy_fields(&head, &x->arena, &out->x->response.fields);
    if (out->answer == MG_OUTGOING_COMPLETE || !out->x->response_body.source ||
        !mg_status_has_body(head.status)) {
        mg_exchange_answer(x, MG_ANSWER_OWN, &head, MG_STR(""));
        mg_outgoing_end(out);
        return NULL;
    }
    set_framing(&head, out);
    mg_gather_clear(&call->bodies[MG_RESPONSE]); /* what a plugin has read of the answer before */
    mg_exchange_answer(x, MG_ANSWER_PASSED, &head, MG_STR_NONE);
    mg_outgoing_pass(out);
    return NULL;
}
