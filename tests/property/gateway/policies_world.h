/* policies_world.h - what policies.c plays in: raw ends, and what has to hold of a gateway's policies while
 * they play and once all is over. */
#ifndef TEST_POLICIES_WORLD_H
#define TEST_POLICIES_WORLD_H

#include "unit/gateway/sim_world.h"

#include "gateway/service/service_parts.h"

enum {
    CLIENTS_MAX = 30,
    REQUESTS_MAX = 6,
    UPS_MAX = 6000,
    HOSTS = 6,
    HOSTS_EACH = 3, /* of a service */
    TRIES = 6,
    CONFIGS = 5,
    LIMITS = 7,
    TIMEOUT_MS = 5000,
    TURNS_MAX = 20000,
};

enum { GET, POST, PUT, HEAD, METHODS };
enum { GOOD, BAD };

static const char *const method_names[METHODS] = { "GET", "POST", "PUT", "HEAD" };
static const char *const host_ip[HOSTS] = { "10.0.0.2", "10.0.0.3", "10.0.0.4",
                                            "10.0.0.5", "10.0.0.6", "10.0.0.7" };
static const char *const service_names[2] = { "a", "b" };

/* One request: what is asked, and what became of it. */
typedef struct plan {
    uint64_t id;
    char todo[12];
    int method;
    bool upgrades; /* into a tunnel, where its host agrees */
    size_t bytes;
    uint64_t asked_ns;    /* its first byte was sent, not before; 0: not yet */
    uint64_t deadline_ms; /* what its last try was given */
    unsigned of;          /* the service, from 1 */
    unsigned last, all;   /* try, arrivals */
    unsigned arrived[TRIES + 1];
    int status[TRIES + 1]; /* what a try was answered */
} plan;

/* Reads messages with a length, or without a body. */
typedef struct reader {
    mg_text in, head, body;
    size_t at, left, heard;
    bool begun, complete;
} reader;

typedef struct client {
    int fd;
    plan *plans[REQUESTS_MAX];
    size_t begins[REQUESTS_MAX]; /* in `out` */
    unsigned count, answered;
    mg_text out;
    size_t sent, quits_at; /* bytes sent or heard after which it leaves */
    int quits_how;
    bool ended, tunnel;
    reader in;
} client;

typedef struct up_end {
    int fd;
    unsigned host, attempt;
    reader in;
    plan *plan; /* NULL: a check of health */
    bool begun, answering, stalls, tunnel;
    mg_text out;
    size_t sent, stop_at;
    uint64_t not_before_ns;
} up_end;

typedef struct host {
    int listener, mode;
    uint64_t out_since_ns; /* no new request may come to it; 0: it may */
} host;

typedef struct run {
    world w;
    mg_rand rand;
    uint64_t seed, began_ns, played_ns;
    plan plans[CLIENTS_MAX * REQUESTS_MAX];
    unsigned plan_count;
    client clients[CLIENTS_MAX];
    unsigned client_count, client_max, turns;
    up_end *ups;
    unsigned up_count;
    host hosts[HOSTS];
    mg_text configs[CONFIGS];
    unsigned config_count;
    /* The most that any configuration allowed, by service. */
    unsigned attempts[2], budget_percent[2], min_per_second[2], max_concurrent[2];
    bool always_breaker[2];
    const mg_service *seen[2]; /* only compared */
    uint32_t version[2];
    bool calm; /* few guards, so that much gets through */
    bool moved;
} run;

#include "raw_ends.h"

static uint64_t now_ns(run *r)
{
    return mg_sim_clock(r->w.sim)->mono_ns(mg_sim_clock(r->w.sim));
}

static uint64_t policy_ns(run *r)
{
    return mg_shared_policy_now(r->w.gateway->shared.shared);
}

static char body_byte(const plan *p)
{
    return (char)('a' + p->id % 26);
}

#include "policies_config.h"

/* ---- bytes ---- */

/* 0 at the end, -1 when there is nothing, -2 when reset. */
static ssize_t pull(run *r, int fd, reader *rd)
{
    char bytes[8192];
    const size_t most = 1 + below(r, sizeof bytes);
    mg_loop *loop = r->w.outside;
    const ssize_t got = loop->ops->recv(loop, fd, bytes, most);

    if (got > 0) {
        mg_text_add(&rd->in, (mg_str){ bytes, (size_t)got });
        rd->heard += (size_t)got;
        r->moved = true;
    }
    return got >= 0 ? got : errno == EAGAIN ? -1 : -2;
}

static bool read_head(reader *rd)
{
    char length[32];

    mg_text_add(&rd->in, (mg_str){ "", 1 });
    rd->in.n--;
    const char *from = rd->in.p + rd->at, *end = strstr(from, "\r\n\r\n");
    if (!end)
        return false;
    rd->head.n = 0;
    mg_text_add(&rd->head, (mg_str){ from, (size_t)(end + 4 - from) });
    mg_text_add(&rd->head, (mg_str){ "", 1 });
    rd->at = (size_t)(end + 4 - rd->in.p);
    rd->body.n = 0;
    rd->complete = false;
    rd->begun = true;
    rd->left = field(rd, "content-length", length, sizeof length) ? strtoull(length, NULL, 10) : 0;
    return true;
}

/* True when it is whole; 1xx are passed over. `begun` is the caller's to clear. */
static bool read_message(reader *rd, bool bodiless)
{
    while (!rd->begun || memcmp(rd->head.p, "HTTP/1.1 103", 12) == 0)
        if (!read_head(rd))
            return false;
    const size_t n = bodiless ? 0 : (size_t)mg_min_u64(rd->left, rd->in.n - rd->at);
    mg_text_add(&rd->body, (mg_str){ rd->in.p + rd->at, n });
    rd->at += n;
    rd->left -= n;
    rd->complete = bodiless || !rd->left || memcmp(rd->head.p, "HTTP/1.1 304", 12) == 0;
    return rd->complete;
}

static void accept_all(run *r)
{
    mg_addr peer;

    for (unsigned h = 0; h < HOSTS; h++) {
        const int fd = r->w.outside->ops->accept(r->w.outside, r->hosts[h].listener, &peer);
        if (fd < 0)
            continue;
        MG_CHECK(r->up_count < UPS_MAX);
        r->ups[r->up_count++] = (up_end){ .fd = fd, .host = h };
        r->moved = true;
    }
}

/* ---- what has to hold ---- */

static mg_service_name *name_of(run *r, unsigned service)
{
    return mg_services_named(mg_shared_services(r->w.gateway->shared.shared),
                             mg_str_of(service_names[service]));
}

/* The service is not what it was when it was last looked at: who was out may have been in between. */
static bool has_changed(run *r, unsigned service)
{
    const mg_service *newest = name_of(r, service)->newest;
    const uint32_t version = atomic_load(&newest->version);
    const bool changed = r->seen[service] != newest || r->version[service] != version;

    r->seen[service] = newest;
    r->version[service] = version;
    return changed;
}

/* Which hosts may get no new request, by what the gateway itself says of them. */
static void look_at_hosts(run *r)
{
    const bool changed[2] = { has_changed(r, 0), has_changed(r, 1) };

    for (unsigned h = 0; h < HOSTS; h++) {
        const mg_service *service = name_of(r, h / HOSTS_EACH)->newest;
        char authority[32];
        bool usable = false;

        snprintf(authority, sizeof authority, "%s:9000", host_ip[h]);
        for (size_t i = 0; i < service->host_count; i++) {
            mg_host_view view;
            mg_service_host_view(service, i, policy_ns(r), &view);
            usable |= view.usable && mg_str_eq_c(view.authority, authority);
        }
        if (usable)
            r->hosts[h].out_since_ns = 0;
        else if (!r->hosts[h].out_since_ns || changed[h / HOSTS_EACH])
            r->hosts[h].out_since_ns = now_ns(r);
    }
}

static void check_bounds(run *r)
{
    for (unsigned s = 0; s < 2; s++) {
        const uint32_t calls = atomic_load(&name_of(r, s)->concurrent);
        if (calls > r->max_concurrent[s])
            wrong(r, "%u calls of %s, at most %u are allowed", calls, service_names[s], r->max_concurrent[s]);
    }
}

static void check_nothing_is_held(run *r)
{
    const mg_snapshot *snapshot = r->w.gateway->snapshot;

    if (atomic_load(&r->w.gateway->reloads_refused))
        wrong(r, "a configuration is refused");
    if (world_live_exchanges(&r->w))
        wrong(r, "%zu exchanges stay behind", world_live_exchanges(&r->w));
    for (unsigned s = 0; s < 2; s++) {
        const mg_service_name *name = name_of(r, s);
        if (atomic_load(&name->concurrent))
            wrong(r, "%s: %u calls are still counted", service_names[s], atomic_load(&name->concurrent));
        for (const mg_adaptive_entry *e = name->adaptives; e; e = e->older)
            if (mg_adaptive_inflight(e->adaptive))
                wrong(r, "%s: the adaptive limit still counts %u", service_names[s],
                      mg_adaptive_inflight(e->adaptive));
        for (size_t i = 0; i < name->newest->host_count; i++)
            if (mg_inflight_get(name->newest->inflight, i))
                wrong(r, "%s: host %zu still has %u in flight", service_names[s], i,
                      mg_inflight_get(name->newest->inflight, i));
        const mg_config_service *conf = mg_config_service_named(snapshot->config, name->name);
        const size_t checked = conf->health.on ? name->newest->host_count : 0;
        if (atomic_load(&name->newest->refs) != 2 + r->w.workers + checked)
            wrong(r, "%s: %u references", service_names[s], atomic_load(&name->newest->refs));
    }
    for (int i = 4; i <= 5; i++) { /* permits do not come back by time */
        mg_limiter_answer answer;
        const mg_snapshot_limit *limit = &snapshot->limits[i];
        (void)mg_limiter_peek(limit->limiter, "k", 1, 0, policy_ns(r), &answer);
        if (mg_limiter_keys(limit->limiter, policy_ns(r)))
            wrong(r, "limiter l%d still holds permits", i);
    }
}

/* ---- counts ---- */

static uint64_t served(const char *text, const char *service, const char *outcome)
{
    char series[128];

    snprintf(series, sizeof series, "moongate_upstream_requests_total{service=\"%s\",outcome=\"%s\"} ",
             service, outcome);
    const char *at = strstr(text, series);
    return at ? strtoull(at + strlen(series), NULL, 10) : 0;
}

/* Calls that a breaker let through, by all configurations of all its breakers. */
static uint64_t let_through(const run *r, const mg_service_name *name, bool refused)
{
    uint64_t sum = 0;

    for (const mg_circuit *circuit = name->circuits; circuit; circuit = circuit->next)
        for (unsigned w = 0; w < r->w.workers; w++)
            for (int what = 0; what < MG_CALLS; what++)
                if ((what == MG_CALLS_REJECTED) == refused)
                    sum += mg_cell_get(&circuit->cells[w].calls[what]);
    return sum;
}

/* Windows of ten seconds that share no second: each has its part of its own requests, and the floor. */
static void check_budget(run *r, unsigned service, uint64_t requests, uint64_t retries)
{
    const mg_service_name *name = name_of(r, service);
    const uint64_t windows = (r->played_ns - r->began_ns) / (10 * MG_NS_PER_S) + 2;

    for (unsigned w = 0; w < r->w.workers; w++)
        requests += mg_cell_get(&name->cells[w].refused[MG_REFUSED_NO_HOST]);
    const uint64_t most =
        requests * r->budget_percent[service] / 100 + windows * 10 * r->min_per_second[service];
    if (retries > most)
        wrong(r, "%s: %llu retries for %llu requests, at most %llu are allowed", service_names[service],
              (unsigned long long)retries, (unsigned long long)requests, (unsigned long long)most);
}

static void check_counts_of(run *r, unsigned service, const char *text)
{
    static const char *const outcomes[] = { "ok",      "connect_error", "reset",  "protocol_error",
                                            "timeout", "pool_full",     "aborted" };
    const mg_service_name *name = name_of(r, service);
    uint64_t ended = 0, retries = 0;

    for (size_t i = 0; i < sizeof outcomes / sizeof *outcomes; i++)
        ended += served(text, service_names[service], outcomes[i]);
    for (unsigned w = 0; w < r->w.workers; w++)
        retries += mg_cell_get(&name->cells[w].retries[MG_RETRIES_SENT]);
    if (r->always_breaker[service] && let_through(r, name, false) != ended)
        wrong(r, "%s: its breakers let %llu calls through, %llu came to something", service_names[service],
              (unsigned long long)let_through(r, name, false), (unsigned long long)ended);
    if (r->always_breaker[service] &&
        let_through(r, name, true) != served(text, service_names[service], "breaker_open"))
        wrong(r, "%s: refusals of breakers are counted differently", service_names[service]);
    check_budget(r, service, ended - retries + served(text, service_names[service], "breaker_open"), retries);
}

static void check_counts(run *r)
{
    const mg_stats_global global = { 0 };
    mg_text text = { 0 };

    mg_stats_write(r->w.gateway->shared.stats, &global, &text);
    mg_text_add(&text, (mg_str){ "", 1 });
    for (unsigned s = 0; s < 2; s++)
        check_counts_of(r, s, text.p);
    if (mg_stats_in_flight_now(r->w.gateway->shared.stats))
        wrong(r, "requests are still in flight");
    mg_text_fini(&text);
}

/* A breaker that is half open has a probe to give, since all have ended; and good ones close it. */
static void check_breaker(run *r, const mg_circuit *circuit)
{
    mg_breaker *breaker = circuit->breaker;

    for (int i = 0; i < 100; i++) {
        const mg_breaker_state state = mg_breaker_now(breaker, policy_ns(r));
        if (state == MG_BREAKER_CLOSED)
            return;
        if (state == MG_BREAKER_FORCED_OPEN || state == MG_BREAKER_FORCED_CLOSED)
            return;
        if (state == MG_BREAKER_OPEN)
            advance(&r->w, (mg_breaker_retry_after_ms(breaker, policy_ns(r)) + 1) * MS);
        const uint64_t ticket = mg_breaker_ask(breaker, policy_ns(r));
        if (!ticket)
            wrong(r, "a breaker of %.*s is stuck %s", MG_STR_ARGS(circuit->service),
                  mg_breaker_state_name(mg_breaker_now(breaker, policy_ns(r))));
        (void)mg_breaker_end(breaker, ticket, MG_BREAKER_OK, MS, policy_ns(r));
    }
    wrong(r, "a breaker of %.*s does not close", MG_STR_ARGS(circuit->service));
}

static void check_breakers_let_go(run *r)
{
    for (unsigned s = 0; s < 2; s++)
        for (const mg_circuit *circuit = name_of(r, s)->circuits; circuit; circuit = circuit->next)
            check_breaker(r, circuit);
}

/* ---- begin and end ---- */

static void run_open(run *r, uint64_t seed)
{
    r->seed = seed;
    mg_rand_init(&r->rand, seed);
    r->ups = MG_NEW_N(up_end, UPS_MAX);
    r->calm = one_in(r, 3);
    r->turns = one_in(r, 6) ? (unsigned)below(r, 300) : TURNS_MAX;
    r->client_max = 1 + (unsigned)below(r, CLIENTS_MAX);
    for (unsigned s = 0; s < 2; s++) {
        r->attempts[s] = 1;
        r->always_breaker[s] = true;
    }
    world_init(&r->w, seed, 1 + (unsigned)below(r, WORLD_WORKERS_MAX));
    r->began_ns = now_ns(r);
    world_plugin(&r->w, "p", plugin_text);
    if (!world_try_start(&r->w, seed, new_config(r)))
        wrong(r, "the gateway does not start");
    mg_log_set_level(r->w.log, getenv("SEED") ? MG_LOG_DEBUG : MG_LOG_OFF);
    mg_sim_set_chunk(r->w.sim, one_in(r, 2) ? 0 : 16 + below(r, 3000));
    mg_sim_set_buffer(r->w.sim, one_in(r, 2) ? 65536 : 64 + below(r, 8000));
    for (unsigned h = 0; h < HOSTS; h++)
        r->hosts[h] = (host){ listen_at(&r->w, host_ip[h], 9000), one_in(r, 3) ? BAD : GOOD, 0 };
}

static void close_ends(run *r)
{
    for (unsigned i = 0; i < r->client_count; i++) {
        client *c = &r->clients[i];
        if (c->fd >= 0)
            drop(r, &c->fd, false);
        mg_text_fini(&c->out);
        reader_fini(&c->in);
    }
    settle(&r->w);
}

static void run_close(run *r)
{
    if (getenv("SEED"))
        printf("%.*s\n", (int)r->w.logged.n, r->w.logged.p);
    for (unsigned h = 0; h < HOSTS; h++) {
        hang_up(&r->w, r->hosts[h].listener); /* with what nobody has accepted */
    }
    for (unsigned i = 0; i < r->up_count; i++) {
        up_end *u = &r->ups[i];
        if (u->fd >= 0)
            drop(r, &u->fd, false);
        mg_text_fini(&u->out);
        reader_fini(&u->in);
    }
    settle(&r->w);
    world_close(&r->w);
    for (unsigned i = 0; i < CONFIGS; i++)
        mg_text_fini(&r->configs[i]);
    mg_free(r->ups);
    mg_free(r);
}

#endif
