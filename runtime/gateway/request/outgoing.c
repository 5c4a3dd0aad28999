/* outgoing.c - a request of a plugin's own, on its way and back. */
#include "gateway/request/outgoing.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/failure.h"
#include "gateway/request/flight.h"
#include "gateway/request/forward.h"
#include "gateway/request/split.h"

enum { PIECE_BYTES = 64 * 1024 }; /* of a streamed answer, at once */

static const mg_lease_ops lease_ops;
static const mg_errand_ops errand_ops;

static mg_worker *worker_of(const mg_outgoing *out)
{
    return out->flight->worker;
}

static uint64_t now_of(const mg_outgoing *out)
{
    return mg_loop_now(worker_of(out)->loop);
}

/* ---- its life ---- */

/* A worker asks control for a name, and is told. Owned by the messages; `out` is NULL once it has ended. */
typedef struct name_wait {
    mg_message message;
    mg_worker *worker;
    mg_outgoing *out;
    char *authority; /* owned */
} name_wait;

mg_outgoing *mg_outgoing_new(mg_flight *flight)
{
    mg_outgoings *all = flight->outgoings;

    if (!all)
        all = flight->outgoings = MG_ARENA_NEW(&flight->x->arena, mg_outgoings);
    for (unsigned i = 0; i < MG_OUTGOINGS; i++) {
        if (!all->items[i])
            all->items[i] = MG_ARENA_NEW(&flight->x->arena, mg_outgoing);
        if (all->items[i]->x)
            continue;
        *all->items[i] = (mg_outgoing){ .flight = flight, .x = mg_net_exchange_new(&flight->worker->net) };
        return all->items[i];
    }
    return NULL;
}

/* The client's body is through, or will not be sent any more. */
static void body_rests(mg_outgoing *out)
{
    if (out->upload != MG_OUTGOING_UPLOADS)
        return;
    mg_exchange_body_rests(out->flight->x, now_of(out));
    out->upload = MG_OUTGOING_UPLOADED;
}

/* Nobody takes the rest of the client's body: the time of the request goes on. */
static void leave_body(mg_outgoing *out)
{
    if (!out->up.from)
        return;
    body_rests(out);
    mg_relay_cut(&out->up);
}

static void stop(mg_outgoing *out)
{
    leave_body(out);
    mg_lease_cancel(&out->lease);
    mg_errand_stop(&out->errand, MG_SERVED_ABORTED);
}

void mg_outgoing_end(mg_outgoing *out)
{
    if (!out->x)
        return;
    mg_later_cancel(&out->later);
    mg_relay_cut(&out->down);
    stop(out);
    mg_net_exchange_free(&worker_of(out)->net, out->x);
    mg_errand_fini(&out->errand);
    if (out->endpoint)
        mg_endpoint_unref(out->endpoint);
    if (out->wait)
        out->wait->out = NULL;
    mg_gather_fini(&out->body);
    mg_text_fini(&out->piece);
    *out = (mg_outgoing){ .flight = out->flight };
}

static void on_later(mg_later *later)
{
    mg_chain_wake(mg_container_of(later, mg_outgoing, later)->flight);
}

/* What the chain waits for is there, or will not come: the coroutine goes on from the loop, with nobody else
 * on the stack. So a plugin that asks again and again, in vain, does not pile up calls. */
static void wake(mg_outgoing *out, const char *error)
{
    const bool waits = out->waits != MG_OUTGOING_RESTS;

    out->waits = MG_OUTGOING_RESTS;
    if (error && !out->error)
        out->error = error;
    if (error)
        stop(out);
    if (!waits)
        return;
    out->status = out->error && !out->streams ? 0 : out->x->response.status;
    out->later.run = on_later;
    mg_later_add(worker_of(out)->loop, &out->later);
}

static void fail(mg_outgoing *out, mg_reset reason)
{
    wake(out, reason == MG_RESET_DEADLINE ? out->late : mg_reset_text(reason));
}

void mg_outgoing_expire(mg_outgoing *out)
{
    fail(out, MG_RESET_DEADLINE);
}

/* ---- the answer ---- */

static void move(mg_outgoing *out, mg_outgoing_answer to)
{
    MG_CHECK(out->answer == (to == MG_OUTGOING_ANSWERED ? MG_OUTGOING_UNANSWERED : MG_OUTGOING_ANSWERED));
    out->answer = to;
}

static void on_whole(mg_gather *gather)
{
    mg_outgoing *out = mg_container_of(gather, mg_outgoing, body);

    if (gather->state == MG_GATHER_CUT) {
        fail(out, gather->reset);
        return;
    }
    if (gather->state == MG_GATHER_WHOLE) {
        move(out, MG_OUTGOING_COMPLETE);
        wake(out, NULL);
    } else {
        wake(out, "the answer's body is larger than max_body");
    }
}

/* What is not asked for stays where it is. */
static size_t on_data(mg_body_sink *sink, const char *bytes, size_t n)
{
    mg_outgoing *out = mg_container_of(sink, mg_outgoing, sink);
    const size_t taken = mg_min_u64(n, PIECE_BYTES);

    if (out->waits != MG_OUTGOING_PIECE)
        return 0;
    mg_text_add(&out->piece, (mg_str){ bytes, taken });
    wake(out, NULL);
    return taken;
}

static void on_end(mg_body_sink *sink, const mg_fields *trailers)
{
    mg_outgoing *out = mg_container_of(sink, mg_outgoing, sink);

    (void)trailers;
    move(out, MG_OUTGOING_COMPLETE);
    wake(out, NULL);
}

static void on_reset(mg_body_sink *sink, mg_reset reason)
{
    fail(mg_container_of(sink, mg_outgoing, sink), reason);
}

static void head_came(mg_outgoing *out)
{
    mg_exchange *x = out->x;

    move(out, MG_OUTGOING_ANSWERED);
    if (x->tunnel) /* none here */
        return;
    if (!x->response_body.source) {
        move(out, MG_OUTGOING_COMPLETE);
        if (out->streams)
            wake(out, NULL);
        return; /* `over` follows */
    }
    if (!out->streams) {
        mg_gather_start(&out->body, &x->response_body, on_whole);
        return;
    }
    out->sink = (mg_body_sink){ on_data, on_end, on_reset, NULL };
    x->response_body.sink = &out->sink;
    wake(out, NULL);
}

/* Without a body this is the end of it. */
static void answer_over(mg_outgoing *out)
{
    leave_body(out);
    if (!out->x->response_body.sink)
        wake(out, NULL);
}

/* ---- by a lease, to a URL ---- */

static void on_lease_interim(mg_lease *lease, const mg_response *head)
{
    (void)lease;
    (void)head;
}

static void on_lease_head(mg_lease *lease)
{
    head_came(mg_container_of(lease, mg_outgoing, lease));
}

static void on_lease_failed(mg_lease *lease, mg_reset reason)
{
    fail(mg_container_of(lease, mg_outgoing, lease), reason);
}

static void on_lease_over(mg_lease *lease)
{
    answer_over(mg_container_of(lease, mg_outgoing, lease));
}

static const mg_lease_ops lease_ops = { on_lease_interim, on_lease_head, on_lease_failed, on_lease_over,
                                        NULL };

/* Of the worker's endpoints: plugins share one for each authority, and none with a service. */
static mg_endpoint *endpoint_of(mg_outgoing *out)
{
    mg_worker *worker = worker_of(out);
    mg_endpoint *endpoint = mg_map_get(worker->endpoints, out->key);

    if (endpoint) {
        mg_endpoint_ref(endpoint);
        return endpoint;
    }
    mg_account *account = mg_accounts_take(mg_shared_accounts(worker->gateway->shared), MG_STR(""),
                                           out->authority, out->authority);
    endpoint = mg_worker_endpoint(worker, account, &worker->gateway->idle_total);
    mg_account_unref(account);
    mg_addr addrs[MG_RESOLVE_MAX];
    const unsigned count = mg_names_known(worker->gateway->names, out->authority, addrs);
    mg_endpoint_set_addrs(endpoint, addrs, count);
    mg_worker_visit(worker, endpoint);
    return endpoint;
}

static void ask_url(mg_outgoing *out)
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
    const uint64_t told_ns = mg_exchange_left_ns(out->x, &out->x->limit, now_of(out));

    mg_forward_deadline_out(out->x, out->upload ? MG_FORWARD_UNTOLD : told_ns / MG_NS_PER_MS, 1);
    out->lease.limit = out->upload ? out->x->limit : (mg_time_limit){ .fixed_ns = out->deadline_ns };
    out->endpoint = endpoint_of(out);
    mg_lease_start(&out->lease, out->x, out->endpoint, &conf, &lease_ops);
}

/* Back on the worker: the name's addresses are known, or it has none. */
static void on_name_known(mg_message *message)
{
    name_wait *wait = mg_container_of(message, name_wait, message);
    mg_outgoing *out = wait->out;

    mg_free(wait->authority);
    mg_free(wait);
    if (!out)
        return;
    out->wait = NULL;
    if (out->waits != MG_OUTGOING_RESTS)
        ask_url(out);
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

static void find_url(mg_outgoing *out)
{
    mg_worker *worker = worker_of(out);
    mg_addr addrs[MG_RESOLVE_MAX];

    if (mg_map_get(worker->endpoints, out->key) ||
        mg_names_known(worker->gateway->names, out->authority, addrs)) {
        ask_url(out);
        return;
    }
    name_wait *wait = MG_NEW(name_wait);
    *wait =
        (name_wait){ { NULL, on_name_asked }, worker, out, mg_memdup0(out->authority.p, out->authority.n) };
    out->wait = wait;
    mg_mailbox_post(worker->gateway->control, &wait->message);
}

/* ---- by an errand, to a service ---- */

static mg_outgoing *out_of(const mg_errand *errand)
{
    return mg_container_of(errand, mg_outgoing, errand);
}

static mg_str on_key(const mg_errand *errand)
{
    const mg_flight *flight = out_of(errand)->flight;

    return flight->route ? mg_split_key(flight) : flight->client;
}

static void on_trying(mg_errand *errand, size_t host)
{
    errand->x->request.authority = errand->runtime->service->authorities[host];
}

static void on_sending(mg_errand *errand)
{
    (void)errand;
}

/* What a client sends is not kept. */
static bool on_held(const mg_errand *errand)
{
    return !out_of(errand)->upload || !errand->lease.body_taken;
}

static void on_rewind(mg_errand *errand)
{
    mg_outgoing *out = out_of(errand);

    if (out->whole.n)
        mg_bytes_source_init(&out->bytes, &out->x->request_body, out->whole);
}

static void on_let_go(mg_errand *errand)
{
    (void)errand;
}

static void on_interim(mg_errand *errand, const mg_response *head)
{
    (void)errand;
    (void)head;
}

static void on_head(mg_errand *errand)
{
    head_came(out_of(errand));
}

static void on_refused(mg_errand *errand, const mg_refusal_row *row, mg_errand_late late)
{
    mg_outgoing *out = out_of(errand);

    wake(out, late == MG_ERRAND_IN_TIME ? row->error : out->late);
}

static void on_over(mg_errand *errand)
{
    answer_over(out_of(errand));
}

static const mg_errand_ops errand_ops = {
    .key = on_key,
    .trying = on_trying,
    .sending = on_sending,
    .held = on_held,
    .rewind = on_rewind,
    .let_go = on_let_go,
    .interim = on_interim,
    .head = on_head,
    .refused = on_refused,
    .over = on_over,
};

static void ask_service(mg_outgoing *out)
{
    static const mg_deadline_conf all_of_it = { .hop_milli = 1000, .min_ms = 1 }; /* see set_limit */
    const mg_flight *flight = out->flight;
    mg_errand *errand = &out->errand;

    errand->x = out->x;
    errand->worker = flight->worker;
    errand->view = flight->view;
    errand->ops = &errand_ops;
    errand->deadline = &all_of_it;
    errand->circuits = flight->route ? flight->route->circuits : NULL;
    errand->may_wait_on = true;
    errand->is_retry = flight->caller.is_retry;
    mg_errand_start(errand);
}

/* ---- how long ---- */

void mg_outgoing_set_deadline(mg_outgoing *out)
{
    const mg_flight *flight = out->flight;
    const uint64_t now = now_of(out);
    const uint64_t own = mg_add_sat(now, out->timeout_ns);
    const uint64_t exchange = out->upload == MG_OUTGOING_UPLOADS /* its clock stands still until then */
                                  ? mg_flight_fixed_ns(flight)
                                  : mg_exchange_due_ns(flight->x, &flight->x->limit);
    out->deadline_ns = mg_min_u64(own, exchange);
    out->late = own <= exchange ? "timeout" : "deadline";
}

/* How long the other side has for its head: the plugin's own timeout, or of the exchange's time what leaves
 * some for answering (docs/policies.md 7). False when that is too little to ask. */
static bool set_limit(mg_outgoing *out)
{
    const mg_flight *flight = out->flight;
    const uint64_t now = now_of(out);
    mg_deadline_conf conf;

    mg_deadline_conf_defaults(&conf);
    if (flight->route)
        conf = flight->route->conf->deadline;
    const uint64_t left = mg_exchange_left_ns(flight->x, &flight->x->limit, now);
    const uint64_t child_ms = mg_deadline_child_ms(&conf, left / MG_NS_PER_MS);
    if (!child_ms)
        return false;
    const uint64_t most = mg_min_u64(out->timeout_ns, mg_min_u64(child_ms, UINT32_MAX) * MG_NS_PER_MS);
    if (out->upload) /* the clock stands still meanwhile */
        out->x->limit.own_ns = mg_exchange_clock(out->x, now) + most;
    else
        out->x->limit.fixed_ns = now + most;
    out->x->body_is_here = !out->upload;
    return true;
}

/* ---- the client's body ---- */

static void on_body_over(mg_relay *relay)
{
    mg_outgoing *out = mg_container_of(relay, mg_outgoing, up);
    mg_flight *flight = out->flight;

    body_rests(out);
    if (out->waits == MG_OUTGOING_RESTS || flight->chain.state != MG_CHAIN_WAITS)
        return;
    mg_outgoing_set_deadline(out);
    mg_chain_bound_by(flight, out->deadline_ns);
}

static void send_clients_body(mg_outgoing *out)
{
    mg_exchange *client = out->flight->x;

    out->up.over = on_body_over;
    mg_relay_start(&out->up, &client->request_body, out->x, &out->x->request_body);
    if (client->request.expect_continue && client->client) {
        const mg_response go_on = { .status = 100 };
        client->request.expect_continue = false;
        client->client->interim(client, &go_on);
    }
    mg_exchange_body_flows(client, now_of(out));
}

void mg_outgoing_run(mg_outgoing *out)
{
    if (out->waits == MG_OUTGOING_PIECE) {
        out->x->response_body.source->resume(out->x->response_body.source);
        return;
    }
    if (!set_limit(out)) {
        wake(out, "deadline");
        return;
    }
    if (out->upload)
        send_clients_body(out);
    if (out->errand.service)
        ask_service(out);
    else
        find_url(out);
}

/* ---- on to the client ---- */

void mg_outgoing_pass(mg_outgoing *out)
{
    move(out, MG_OUTGOING_PASSED);
    mg_relay_start(&out->down, &out->x->response_body, out->flight->x, &out->flight->x->response_body);
}
