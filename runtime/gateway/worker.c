/* worker.c - one loop with its listeners, connections and view. */
#include "gateway/worker.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/job.h"
#include "gateway/request/pause.h"
#include "gateway/request/pipeline.h"
#include "gateway/vm_renew.h"
#include "net/stream.h"

enum { HAND_OFF_MIN = 4, HAND_OFF_PERCENT = 12 };

#define BEAT_NS (500 * MG_NS_PER_MS)

/* ---- endpoints ---- */

/* A place at an endpoint may have become free, or may be wanted. */
typedef struct poke {
    mg_message message;
    mg_worker *worker;
    mg_account *account; /* counted */
} poke;

static void on_poke(mg_message *message)
{
    poke *p = mg_container_of(message, poke, message);
    mg_endpoint *endpoint = mg_map_get(p->worker->endpoints, p->account->key);

    if (endpoint)
        mg_endpoint_poke(endpoint);
    mg_account_unref(p->account);
    mg_free(p);
}

static void poke_others(mg_endpoint *endpoint)
{
    mg_worker *self = mg_container_of(endpoint->net, mg_worker, net);
    const mg_gateway_shared *gateway = self->gateway;

    for (unsigned w = 0; w < gateway->worker_count; w++) {
        if (gateway->workers[w] == self)
            continue;
        poke *p = MG_NEW(poke);
        *p = (poke){ { NULL, on_poke }, gateway->workers[w], endpoint->account };
        mg_account_ref(p->account);
        mg_mailbox_post(gateway->workers[w]->mailbox, &p->message);
    }
}

mg_endpoint *mg_worker_endpoint(mg_worker *worker, mg_account *account, _Atomic uint32_t *idle_total)
{
    mg_endpoint *endpoint = mg_map_get(worker->endpoints, account->key);

    if (endpoint) {
        mg_endpoint_ref(endpoint);
        endpoint->retired = false; /* its host has come back while it was still busy */
        return endpoint;
    }
    endpoint = mg_endpoint_new(&worker->net, account, idle_total, worker->endpoints);
    endpoint->others = poke_others;
    (void)mg_map_set(worker->endpoints, account->key, endpoint);
    return endpoint;
}

void mg_worker_visit(mg_worker *worker, mg_endpoint *endpoint)
{
    mg_endpoint **place = &worker->visited[worker->visited_next++ % MG_WORKER_VISITED];
    mg_endpoint *old = *place;

    mg_endpoint_ref(endpoint);
    *place = endpoint;
    if (old)
        mg_endpoint_unref(old);
}

/* ---- doors ---- */

static void door_free(mg_door *door)
{
    mg_list_remove(&door->link);
    if (door->listener)
        mg_listener_free(door->listener);
    mg_conn_server_fini(&door->server);
    mg_gate_unref(door->gate);
    mg_free((void *)(uintptr_t)door->name.p);
    mg_free(door->trusted);
    mg_free(door->trailers);
    mg_free(door);
}

void mg_worker_check_drained(mg_worker *worker)
{
    if (!worker->draining || !worker->drained)
        return;
    MG_LIST_EACH(&worker->doors, link)
    {
        if (mg_container_of(link, mg_door, link)->server.count)
            return;
    }
    if (mg_jobs_are_over(worker))
        worker->drained(worker);
}

static void door_drained(mg_conn_server *server)
{
    mg_door *door = mg_container_of(server, mg_door, server);

    mg_worker_check_drained(door->worker);
}

/* The worker with the fewest connections, when this one has too many more (docs/architecture.md 3). */
static mg_worker *better_worker(mg_worker *worker)
{
    const mg_gateway_shared *gateway = worker->gateway;
    const uint32_t mine = atomic_load_explicit(&worker->live, memory_order_relaxed);
    mg_worker *least = worker;
    uint32_t fewest = mine;

    for (unsigned i = 0; i < gateway->worker_count; i++) {
        const uint32_t live = atomic_load_explicit(&gateway->workers[i]->live, memory_order_relaxed);
        if (live < fewest) {
            fewest = live;
            least = gateway->workers[i];
        }
    }
    const uint32_t margin = mine * HAND_OFF_PERCENT / 100;
    return mine - fewest > (margin > HAND_OFF_MIN ? margin : HAND_OFF_MIN) ? least : worker;
}

typedef struct hand_off {
    mg_message message;
    mg_worker *to;
    mg_addr peer, door;
    int fd;
} hand_off;

static mg_door *door_at(mg_worker *worker, const mg_addr *addr)
{
    MG_LIST_EACH(&worker->doors, link)
    {
        mg_door *door = mg_container_of(link, mg_door, link);
        if (!door->closed && mg_addr_eq(&door->addr, addr))
            return door;
    }
    return NULL;
}

static void on_hand_off(mg_message *message)
{
    hand_off *hand = mg_container_of(message, hand_off, message);
    mg_worker *worker = hand->to;
    mg_door *door = door_at(worker, &hand->door);

    if (door && (!worker->draining || worker->drained)) /* one that drains answers what stands in it */
        mg_conn_accept(&door->server, hand->fd, &hand->peer);
    else
        mg_stream_turn_away(worker->loop, hand->fd, MG_STR_NONE);
    mg_free(hand);
}

static void on_accepted(void *self, int fd, const mg_addr *peer)
{
    mg_door *door = self;
    mg_worker *to = better_worker(door->worker);

    if (to == door->worker) {
        mg_conn_accept(&door->server, fd, peer);
        return;
    }
    hand_off *hand = MG_NEW(hand_off);
    *hand = (hand_off){ { NULL, on_hand_off }, to, *peer, door->addr, fd };
    mg_mailbox_post(to->mailbox, &hand->message);
}

mg_accepted *const mg_worker_accepted = on_accepted;

static void configure_door(mg_door *door, const mg_config_listener *conf)
{
    mg_conn_limits *limits = &door->server.limits;

    mg_free((void *)(uintptr_t)door->name.p);
    door->name = (mg_str){ mg_memdup0(conf->name.p, conf->name.n), conf->name.n };
    limits->h1.head_bytes = conf->max_head_bytes;
    limits->h1.target_bytes = conf->max_head_bytes;
    limits->h1.fields = conf->max_fields;
    limits->head_timeout_ns = conf->head_timeout_ms * MG_NS_PER_MS;
    limits->body_timeout_ns = conf->body_timeout_ms * MG_NS_PER_MS;
    limits->idle_timeout_ns = conf->idle_timeout_ms * MG_NS_PER_MS;
    limits->max_connections = conf->max_connections ? conf->max_connections : UINT32_MAX;
    limits->max_of_all = conf->max_connections ? UINT32_MAX : door->worker->gateway->connection_cap;
    mg_free(door->trusted);
    door->trusted = MG_NEW_N(mg_cidr, conf->trusted_proxy_count + 1);
    memcpy(door->trusted, conf->trusted_proxies, conf->trusted_proxy_count * sizeof *door->trusted);
    door->rules = (mg_forward_rules){
        .trusted = door->trusted,
        .trusted_count = conf->trusted_proxy_count,
        .by_forwarded = conf->client_from_forwarded,
        .underscores = conf->underscores,
        .pseudonym = mg_str_sub(door->worker->gateway->via, sizeof "1.1", door->worker->gateway->via.n),
    };
    door->server.trusted = door->trusted;
    door->server.trusted_count = conf->trusted_proxy_count;
    mg_free(door->trailers);
    door->trailers = mg_memdup0(conf->trailers.p, conf->trailers.n);
    door->server.trailers = (mg_str){ door->trailers, conf->trailers.n };
}

static mg_door *door_new(mg_worker *worker, const mg_config_listener *conf, mg_gate *gate)
{
    mg_door *door = MG_NEW(mg_door);

    door->worker = worker;
    door->addr = conf->addr;
    mg_conn_server_init(&door->server, &worker->net, &mg_pipeline_owner, worker);
    door->server.listener = door;
    door->server.drained = door_drained;
    door->server.live = &worker->live;
    door->gate = gate;
    mg_gate_ref(gate);
    door->server.gate = &gate->conns;
    door->server.all = &worker->gateway->clients;
    mg_list_push(&worker->doors, &door->link);
    return door;
}

/* Accepts what is queued, then no more. */
static void close_listener(mg_door *door)
{
    if (!door->listener)
        return;
    mg_listener_stop(door->listener);
    mg_listener_free(door->listener);
    door->listener = NULL;
}

static void apply_doors(mg_worker *worker, const mg_worker_change *change)
{
    const mg_config *config = change->snapshot->config;

    MG_LIST_EACH(&worker->doors, link)
    mg_container_of(link, mg_door, link)->leaving = true;
    for (size_t i = 0; i < config->listener_count; i++) {
        const mg_config_listener *conf = config->listeners[i];
        mg_door *door = door_at(worker, &conf->addr);
        if (!door)
            door = door_new(worker, conf, change->snapshot->gates[i]);
        door->leaving = false;
        configure_door(door, conf);
        if (!change->opened[i])
            continue;
        door->listener = change->opened[i];
        mg_listener_set_self(door->listener, door);
        mg_listener_start(door->listener);
    }
    MG_LIST_EACH(&worker->doors, link)
    {
        mg_door *door = mg_container_of(link, mg_door, link);
        if (!door->leaving || door->closed)
            continue;
        close_listener(door);
        door->closed = true;
        mg_conn_server_drain(&door->server);
    }
}

void mg_worker_apply(mg_worker *worker, mg_worker_change *change)
{
    mg_view *old = worker->view;

    worker->view = mg_view_new(worker, change);
    mg_view_retire(old, worker->view);
    mg_jobs_follow(worker, old);
    apply_doors(worker, change);
    mg_view_unref(old);
    mg_free(change->opened);
    change->opened = NULL;
}

void mg_worker_drain(mg_worker *worker)
{
    if (worker->draining)
        return;
    worker->draining = true;
    mg_jobs_drain(worker);
    MG_LIST_EACH(&worker->doors, link)
    {
        mg_door *door = mg_container_of(link, mg_door, link);
        close_listener(door);
        door->server.drained = NULL; /* asked once, below, and by the last connection */
        mg_conn_server_drain(&door->server);
        door->server.drained = door_drained;
    }
    mg_worker_check_drained(worker);
}

void mg_worker_cut(mg_worker *worker)
{
    MG_LIST_EACH(&worker->doors, link)
    mg_conn_server_fini(&mg_container_of(link, mg_door, link)->server);
}

/* ---- refused connections ---- */

/* Once for all workers, at most once a second: how many found no place since the log told of it last. */
static void tell_refused(mg_door *door, uint64_t now_ns)
{
    mg_gate *gate = door->gate;
    const mg_conn_limits *limits = &door->server.limits;
    const uint64_t refused = atomic_load_explicit(&gate->conns.refused, memory_order_relaxed);
    const uint32_t max = (uint32_t)mg_min_u64(limits->max_connections, limits->max_of_all);

    if (refused == gate->told || (gate->told_ns && now_ns < gate->told_ns + MG_NS_PER_S))
        return;
    mg_log_write(door->worker->gateway->log, MG_LOG_WARN, "connections_refused",
                 "listener %.*s: %llu refused; %s may have %u at once (%s)", MG_STR_ARGS(door->name),
                 (unsigned long long)(refused - gate->told),
                 limits->max_of_all == UINT32_MAX ? "it" : "all listeners together", max,
                 limits->max_of_all == UINT32_MAX ? "max_connections" : "half of what ulimit -n leaves");
    gate->told = refused;
    gate->told_ns = now_ns;
}

/* ---- the worker ---- */

static void on_beat(mg_timer *timer)
{
    mg_worker *worker = mg_container_of(timer, mg_worker, beat);
    const uint64_t now = mg_loop_now(worker->loop);

    atomic_store_explicit(&worker->turn_ns, now, memory_order_relaxed);
    mg_timer_set(worker->loop, timer, now + BEAT_NS);
    if (worker->view && worker->view->vm)
        atomic_store_explicit(&worker->lua_bytes, mg_vm_used_bytes(worker->view->vm->vm),
                              memory_order_relaxed);
    mg_vm_renew_beat(worker);
    mg_jobs_beat(worker);
    MG_LIST_EACH(&worker->doors, link)
    {
        mg_door *door = mg_container_of(link, mg_door, link);
        if (!worker->index)
            tell_refused(door, now);
        if (door->closed && !door->server.count && !worker->flights)
            door_free(door);
    }
}

mg_worker *mg_worker_new(unsigned index, mg_loop *loop, mg_gateway_shared *gateway)
{
    mg_worker *worker = MG_NEW(mg_worker);

    worker->index = index;
    worker->loop = loop;
    worker->gateway = gateway;
    mg_net_init(&worker->net, loop, gateway->log);
    worker->net.pipes.max = gateway->pipes;
    worker->host = (mg_host){ .loop = loop,
                              .shared = gateway->shared,
                              .worker = index,
                              .clock = gateway->clock,
                              .rand = &loop->rand,
                              .log = gateway->log };
    worker->mailbox = mg_mailbox_new(loop);
    worker->endpoints = mg_map_new(mg_rand_next(&loop->rand));
    mg_list_init(&worker->jobs);
    mg_list_init(&worker->doors);
    mg_list_init(&worker->queued);
    mg_pause_init(worker);
    mg_vm_renew_init(worker);
    mg_log_buffer_init(&worker->log_buffer, gateway->access_log, loop);
    mg_timer_init(&worker->beat, on_beat);
    on_beat(&worker->beat);
    return worker;
}

void mg_worker_close(mg_worker *worker)
{
    worker->draining = worker->closed = true;
    worker->drained = NULL;
    mg_worker_cut(worker);
    mg_jobs_close(worker);
}

void mg_worker_free(mg_worker *worker)
{
    if (!worker)
        return;
    mg_worker_close(worker);
    mg_later_cancel(&worker->pause);
    mg_vm_renew_fini(worker);
    mg_mailbox_free(worker->mailbox);
    MG_LIST_EACH(&worker->doors, link)
    door_free(mg_container_of(link, mg_door, link));
    mg_view_unref(worker->view);
    for (size_t i = 0; i < MG_WORKER_VISITED; i++)
        if (worker->visited[i])
            mg_endpoint_unref(worker->visited[i]);
    mg_timer_stop(&worker->beat);
    mg_log_buffer_fini(&worker->log_buffer);
    mg_map_free(worker->endpoints);
    mg_net_fini(&worker->net);
    mg_free(worker);
}

mg_str mg_worker_date(mg_worker *worker)
{
    const mg_clock *clock = worker->gateway->clock;
    const uint64_t turn_s = mg_loop_now(worker->loop) / (MG_NS_PER_S / 4); /* looked at four times a second */

    if (turn_s != worker->date_s || !worker->date[0]) {
        worker->date_s = turn_s;
        mg_http_date(worker->date, clock->wall_ns(clock));
    }
    return (mg_str){ worker->date, MG_HTTP_DATE_BYTES };
}
