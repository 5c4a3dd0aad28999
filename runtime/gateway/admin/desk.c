/* desk.c - requests are taken whole, bounded; answers are documents in memory. */
#include "gateway/admin/desk.h"

#include "base/mem.h"
#include "http/problem.h"
#include "net/listener.h"

struct mg_desk {
    mg_desk_conf conf;
    mg_net net;
    mg_listener *listener; /* owned */
    mg_conn_server server;
};

/* In its exchange's arena. */
typedef struct desk_ask {
    mg_ask ask;
    mg_desk *desk; /* borrowed */
    mg_bytes_source bytes;
    mg_later too_large; /* answers with no source of bytes on the stack */
    bool asked;         /* conf.answer has it */
    bool gone;          /* the client left while it had */
} desk_ask;

/* ---- the end of one ---- */

static void free_ask(desk_ask *a)
{
    mg_desk *desk = a->desk;

    mg_later_cancel(&a->too_large);
    mg_gather_fini(&a->ask.body);
    mg_text_fini(&a->ask.out);
    mg_net_exchange_free(&desk->net, a->ask.x);
}

static void on_gone(mg_exchange *x, mg_reset reason)
{
    desk_ask *a = x->owner_self;

    (void)reason;
    if (a->asked)
        a->gone = true; /* freed by its answer */
    else
        free_ask(a);
}

static void on_done(mg_exchange *x)
{
    free_ask(x->owner_self);
}

/* ---- answers ---- */

/* For x-request-id and instance. */
static void name_request(mg_exchange *x)
{
    const uint64_t words[2] = { mg_rand_system_seed(), mg_rand_system_seed() };

    memcpy(x->trace_id, words, sizeof x->trace_id);
}

/* The answer stands in the exchange. */
static void send_answer(desk_ask *a)
{
    mg_exchange *x = a->ask.x;

    mg_later_cancel(&a->too_large);
    a->asked = false;
    if (a->gone) {
        free_ask(a);
        return;
    }
    x->client->head(x);
    if (!x->response_body.sink)
        return;
    mg_bytes_source_init(&a->bytes, &x->response_body, x->own_body);
    a->bytes.source.resume(&a->bytes.source);
}

void mg_ask_send(mg_ask *ask, int status, mg_str type)
{
    mg_exchange *x = ask->x;
    const mg_response head = { .status = (uint16_t)status };

    mg_exchange_answer(x, MG_ANSWER_OWN, &head, mg_text_str(&ask->out));
    if (mg_status_has_body(head.status))
        mg_fields_add(&x->response.fields, &x->arena, MG_NAME_CONTENT_TYPE,
                      mg_name_text(MG_NAME_CONTENT_TYPE), type);
    mg_fields_add(&x->response.fields, &x->arena, MG_NAME_OTHER, MG_STR("cache-control"), MG_STR("no-store"));
    send_answer(mg_container_of(ask, desk_ask, ask));
}

void mg_ask_drop(mg_ask *ask)
{
    desk_ask *a = mg_container_of(ask, desk_ask, ask);

    a->asked = false;
    if (a->gone)
        free_ask(a);
}

static void add_report(const void *self, mg_json_out *json)
{
    if (self)
        mg_report_add_json(self, json);
}

void mg_ask_problem(mg_ask *ask, int status, mg_str detail, const mg_report *report)
{
    mg_exchange *x = ask->x;

    name_request(x);
    mg_problem_send(
        x, &(mg_problem){
               .status = status, .detail = detail, .retry_after_s = -1, .more = add_report, .self = report });
    if (ask->allow.p)
        mg_fields_add(&x->response.fields, &x->arena, MG_NAME_OTHER, MG_STR("allow"),
                      mg_arena_str(&x->arena, ask->allow));
    send_answer(mg_container_of(ask, desk_ask, ask));
}

/* ---- requests ---- */

static void answer(desk_ask *a)
{
    a->asked = true;
    a->desk->conf.answer(a->desk->conf.self, &a->ask);
}

static void refuse_large(desk_ask *a)
{
    mg_body *body = &a->ask.x->request_body;

    if (body->source)
        body->source->stop(body->source);
    body->sink = NULL;
    mg_ask_problem(&a->ask, 413,
                   mg_arena_printf(&a->ask.x->arena, "A request here has a body of at most %zu bytes.",
                                   a->desk->conf.max_body_bytes),
                   NULL);
}

static void on_too_large(mg_later *later)
{
    refuse_large(mg_container_of(later, desk_ask, too_large));
}

/* Where the client is gone its owner is told as well. */
static void on_body(mg_gather *gather)
{
    desk_ask *a = mg_container_of(gather, desk_ask, ask.body);

    if (gather->state == MG_GATHER_WHOLE)
        answer(a);
    else if (gather->state == MG_GATHER_TOO_LARGE)
        mg_later_add(a->desk->net.loop, &a->too_large);
}

static void read_body(desk_ask *a)
{
    mg_exchange *x = a->ask.x;

    if (x->request.length > a->desk->conf.max_body_bytes) {
        refuse_large(a);
        return;
    }
    if (x->request.expect_continue) {
        const mg_response go_on = { .status = 100 };
        x->request.expect_continue = false;
        x->client->interim(x, &go_on);
    }
    mg_gather_start(&a->ask.body, &x->request_body, on_body);
}

static desk_ask *new_ask(mg_exchange *x)
{
    desk_ask *a = MG_ARENA_NEW(&x->arena, desk_ask);

    a->ask.x = x;
    a->desk = x->owner_self;
    a->ask.body.max_bytes = a->desk->conf.max_body_bytes;
    a->too_large.run = on_too_large;
    x->owner_self = a;
    return a;
}

static void on_begin(mg_exchange *x)
{
    desk_ask *a = new_ask(x);

    if (x->request_body.source && a->desk->conf.max_body_bytes)
        read_body(a);
    else
        answer(a);
}

static void on_refuse(mg_exchange *x, uint16_t status, const char *why)
{
    desk_ask *a = x->begun ? x->owner_self : new_ask(x);

    if (x->head_sent) {
        x->client->cut(x, MG_RESET_CLIENT_PROTOCOL);
        free_ask(a);
        return;
    }
    mg_ask_problem(&a->ask, status, mg_str_of(why), NULL);
}

static const mg_owner_ops desk_owner = { on_begin, on_refuse, on_gone, on_done };

/* ---- life ---- */

static void on_accepted(void *self, int fd, const mg_addr *peer)
{
    mg_desk *desk = self;

    mg_conn_accept(&desk->server, fd, peer);
}

mg_desk *mg_desk_open(mg_loop *loop, const mg_desk_conf *conf, mg_error *err)
{
    const mg_listener_conf listener = { .addr = conf->addr };
    mg_desk *desk = MG_NEW(mg_desk);

    desk->conf = *conf;
    mg_net_init(&desk->net, loop, conf->log);
    mg_conn_server_init(&desk->server, &desk->net, &desk_owner, desk);
    desk->server.limits.max_connections = conf->max_connections;
    desk->listener = mg_listener_new(loop, &listener, on_accepted, desk, err);
    if (desk->listener)
        return desk;
    mg_desk_free(desk);
    return NULL;
}

void mg_desk_start(mg_desk *desk)
{
    mg_listener_start(desk->listener);
}

void mg_desk_free(mg_desk *desk)
{
    if (!desk)
        return;
    mg_listener_free(desk->listener);
    mg_conn_server_fini(&desk->server);
    mg_net_fini(&desk->net);
    mg_free(desk);
}
