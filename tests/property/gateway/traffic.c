/* traffic.c - random traffic through a whole gateway on simulated loops, beside a model that is slow and
 * obvious: the bytes of every body follow from the number of its exchange, so whatever arrives anywhere is
 * known to be right or wrong at once. Half of the runs are clean, and all must be answered; in the others
 * everyone may leave, stall, reset and talk nonsense at any byte, and what is complete must be right all the
 * same.
 *
 * SEED=n replays one run; RUNS=n makes more of them. */
#include "traffic_world.h"

/* ---- clients ---- */

/* An answer that the gateway made: fine where something may go wrong. */
static void check_local(run *r, const client *c, const plan *p, int status)
{
    const bool told = status == 500 && (strchr(p->todo, 'e') || strchr(p->todo, 'x'));

    (void)c;
    if (told)
        return;
    if (!r->faulty)
        wrong(r,
              "exchange %llu is answered with %d in a clean run: todo %s method %d framing %d %d bytes %zu "
              "%zu early %d sent %zu of %zu: %s",
              (unsigned long long)p->id, status, p->todo, p->method, p->up_framing, p->down_framing,
              p->up_bytes, p->down_bytes, p->early, c->sent, c->out.n, (int)c->in.body.n ? c->in.body.p : "");
    if (status != 408 && status != 502 && status != 503 && status != 504)
        wrong(r, "exchange %llu is answered with %d", (unsigned long long)p->id, status);
}

static void check_answer(run *r, client *c, bool whole)
{
    plan *p = c->plans[c->answered];
    const int status = atoi(c->in.head.p + 9);
    char value[64], expected[64];

    if (field(&c->in, "x-side", value, sizeof value)) {
        snprintf(expected, sizeof expected, "s%llu", (unsigned long long)p->id);
        if (strcmp(value, expected) != 0 && !(r->faulty && strcmp(value, "none") == 0))
            wrong(r, "exchange %llu: its plugin's request brought \"%s\"", (unsigned long long)p->id, value);
    }
    if (!field(&c->in, "x-id", value, sizeof value)) {
        if (whole)
            check_local(r, c, p, status);
        return;
    }
    if (strtoull(value, NULL, 10) != p->id)
        wrong(r, "exchange %llu got the answer of %s", (unsigned long long)p->id, value);
    if (status == 299 || (strchr(p->todo, 'w') && status == 200)) {
        const int n = snprintf(expected, sizeof expected, "%c%s", status == 299 ? 'r' : 'w', value);
        if (whole && p->method != 2 &&
            (c->in.body.n != (size_t)n || memcmp(c->in.body.p, expected, (size_t)n) != 0))
            wrong(r, "exchange %llu: not the plugin's body, %zu bytes", (unsigned long long)p->id,
                  c->in.body.n);
        return;
    }
    if (status != p->status)
        wrong(r, "exchange %llu: %d instead of %d", (unsigned long long)p->id, status, p->status);
    check_body(r, &c->in, p->id, true, "answer");
    if (p->fault == CLOSE_IN_BODY && p->down_framing == BY_CLOSE)
        return; /* nobody can see that more was due */
    if (whole && c->in.body.n != (has_body(p) ? p->down_bytes : 0))
        wrong(r, "exchange %llu: %zu of %zu bytes", (unsigned long long)p->id, c->in.body.n, p->down_bytes);
}

static bool next_answer(run *r, client *c)
{
    reader *rd = &c->in;

    if (!rd->in_body) {
        if (!read_head(rd))
            return false;
        if (memcmp(rd->head.p, "HTTP/1.1 1", 10) == 0)
            return true;
        if (c->answered == c->count)
            wrong(r, "an answer that nobody asked for: %s", rd->head.p);
        const int status = atoi(rd->head.p + 9);
        choose_framing(rd, c->plans[c->answered]->method == 2 || status == 204 || status == 304, NO_BODY);
        c->told_close = strstr(rd->head.p, "\r\nconnection: close\r\n") != NULL;
    }
    read_body(r, rd);
    if (!rd->complete) {
        check_answer(r, c, false);
        return false;
    }
    check_answer(r, c, true);
    rd->in_body = false;
    c->answered++;
    return true;
}

static void client_ended(run *r, client *c, bool reset)
{
    c->ended = true;
    if (r->faulty)
        return;
    if (c->in.in_body) {
        const plan *p = c->plans[c->answered];
        wrong(r,
              "exchange %llu is cut in a clean run%s: method %d, todo \"%s\", framing %d %d, bytes %zu %zu, "
              "status %d, early %d, "
              "close %d; sent %zu of %zu, body %zu, head\n%s",
              (unsigned long long)p->id, reset ? " (reset)" : "", p->method, p->todo, p->up_framing,
              p->down_framing, p->up_bytes, p->down_bytes, p->status, p->early, p->close, c->sent, c->out.n,
              c->in.body.n, c->in.head.p);
    }
    if (c->answered < c->count && !c->told_close)
        wrong(r, "the connection ends before exchange %llu, unsaid%s",
              (unsigned long long)c->plans[c->answered]->id, reset ? " (reset)" : "");
}

static void client_turn(run *r, client *c)
{
    if (c->fd < 0 || c->ended)
        return;
    if (c->sent + c->heard >= c->quits_at) {
        if (c->quits_how == 3) { /* stays, and does nothing more */
            c->ended = true;
            return;
        }
        if (c->quits_how == 2)
            r->w.outside->ops->shutdown_write(r->w.outside, c->fd);
        else
            drop(r, &c->fd, c->quits_how == 1);
        c->ended = true;
        return;
    }
    if (!push(r, c->fd, &c->out, &c->sent, SIZE_MAX) && !c->told_close && !r->faulty)
        wrong(r, "a client cannot write in a clean run");
    if (one_in(r, 4))
        return; /* reads when it likes */
    const ssize_t got = pull(r, c->fd, &c->in.in);
    if (got > 0)
        c->heard += (size_t)got;
    while (next_answer(r, c))
        continue;
    if (got == 0 || got == -2)
        client_ended(r, c, got == -2);
}

static bool client_done(const client *c)
{
    return c->ended || c->fd < 0 || c->answered == c->count;
}

/* ---- upstreams ---- */

static void check_request(run *r, up_end *u, bool whole)
{
    const plan *p = u->plan;

    check_body(r, &u->in, p->id, false, "request");
    if (whole && u->in.body.n != p->up_bytes)
        wrong(r, "request %llu arrives with %zu of %zu bytes", (unsigned long long)p->id, u->in.body.n,
              p->up_bytes);
}

static void begin_request(run *r, up_end *u)
{
    char value[64];
    const char *at;

    if (u->side) {
        at = strstr(u->in.head.p, " /s");
        if (!at)
            wrong(r, "not a plugin's request: %s", u->in.head.p);
        choose_framing(&u->in, true, NO_BODY);
        const uint64_t id = strtoull(at + 3, NULL, 10);
        u->plan = &r->plans[id - 1];
    } else {
        if (!field(&u->in, "x-id", value, sizeof value))
            wrong(r, "a request without its number: %s", u->in.head.p);
        u->plan = &r->plans[strtoull(value, NULL, 10) - 1];
        u->plan->times++;
        if (u->plan->times > (r->faulty && u->plan->method != 1 ? 2 : 1) && !(u->plan->method != 1))
            wrong(r, "request %s comes %u times", value, u->plan->times);
        choose_framing(&u->in, false, NO_BODY);
    }
    u->request_whole = u->answering = u->done = false;
    u->out.n = u->sent = 0;
    u->stop_at = SIZE_MAX;
    u->not_before_ns = mg_sim_clock(r->w.sim)->mono_ns(mg_sim_clock(r->w.sim)) + below(r, 200) * MS;
}

static void up_answers(run *r, up_end *u)
{
    plan *p = u->plan;

    u->answering = true;
    if (u->side) {
        mg_text_addf(&u->out, "HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\ns%llu",
                     snprintf(NULL, 0, "s%llu", (unsigned long long)p->id), (unsigned long long)p->id);
        if (r->faulty && one_in(r, 4))
            u->stop_at = below(r, u->out.n);
        return;
    }
    if (p->fault == STALL_BEFORE)
        u->stop_at = 0;
    else
        write_response(r, u, p);
    if (p->fault == CLOSE_BEFORE || p->fault == RESET_BEFORE)
        u->stop_at = 0;
}

/* Its answer is out, or as much of it as there will be. */
static void up_has_answered(run *r, up_end *u)
{
    const plan *p = u->plan;

    if (u->side) {
        if (u->stop_at != SIZE_MAX)
            drop(r, &u->fd, one_in(r, 2));
        else if (u->request_whole)
            u->done = true;
        return;
    }
    switch (p->fault) {
    case STALL_BEFORE:
    case STALL_IN_BODY: return;
    case RESET_BEFORE:
    case RESET_IN_BODY: drop(r, &u->fd, true); return;
    case FINE: break;
    default: drop(r, &u->fd, false); return;
    }
    if (!u->request_whole)
        return; /* who closes on unread bytes sends an RST */
    if (p->close || (p->down_framing == BY_CLOSE && has_body(p))) {
        drop(r, &u->fd, false);
        return;
    }
    u->done = true;
}

static void up_turn(run *r, up_end *u)
{
    if (u->fd < 0)
        return;
    const ssize_t got = pull(r, u->fd, &u->in.in);
    if (!u->in.in_body && read_head(&u->in)) {
        begin_request(r, u);
    }
    if (u->in.in_body && !u->request_whole) {
        read_body(r, &u->in);
        u->request_whole = u->in.complete;
        if (!u->side)
            check_request(r, u, u->in.complete);
    }
    if (u->plan && !u->answering && (u->request_whole || u->plan->early) &&
        mg_sim_clock(r->w.sim)->mono_ns(mg_sim_clock(r->w.sim)) >= u->not_before_ns)
        up_answers(r, u);
    if (u->answering && !u->done) {
        if (!push(r, u->fd, &u->out, &u->sent, u->stop_at)) {
            drop(r, &u->fd, false);
            return;
        }
        if (u->sent >= mg_min_u64(u->out.n, u->stop_at))
            up_has_answered(r, u);
    }
    if (u->fd >= 0 && u->done) {
        u->in.in_body = false;
        u->plan = NULL;
        u->answering = u->done = false;
        if (r->faulty && one_in(r, 10))
            drop(r, &u->fd, one_in(r, 2));
    }
    if (u->fd >= 0 && (got == 0 || got == -2))
        drop(r, &u->fd, false);
}

static void accept_all(run *r)
{
    const int listeners[3] = { r->upstreams[0], r->upstreams[1], r->side };
    mg_addr peer;

    for (int i = 0; i < 3; i++) {
        const int fd = r->w.outside->ops->accept(r->w.outside, listeners[i], &peer);
        if (fd < 0)
            continue;
        MG_CHECK(r->up_count < UPS_MAX);
        r->ups[r->up_count++] = (up_end){ .fd = fd, .side = i == 2 };
        r->moved = true;
    }
}

/* ---- a run ---- */

static void write_config(run *r, char *text, size_t cap)
{
    static const unsigned limits[] = { 0, 1, 2, 5 };
    const unsigned connections = limits[below(r, 4)];
    int n;

    if (r->faulty)
        n = snprintf(
            text, cap,
            "listeners: { web: { bind: \"10.0.0.1:80\", head_timeout: 3s, body_timeout: 4s, idle_timeout: 5s "
            "} "
            "}\n" QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: "
            "\"http://10.0.0.3:9000\" }], first_byte_timeout: 3s, read_timeout: 3s, pool: { max_connections: "
            "%u, queue: 3, queue_timeout: 1s }%s } }\n",
            connections,
            one_in(r, 3) ? ", breaker: { mode: consecutive, consecutive_failures: 2, open_for: 1s }" : "");
    else
        n = snprintf(text, cap,
                     "listeners: { web: { bind: \"10.0.0.1:80\", head_timeout: 10m, body_timeout: 10m, "
                     "idle_timeout: 10m } "
                     "}\n" QUIET "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: "
                     "\"http://10.0.0.3:9000\" }], first_byte_timeout: 10m, read_timeout: 10m, pool: { "
                     "max_connections: %u, "
                     "queue: 100, queue_timeout: 10m } } }\n",
                     connections);
    const char *timeout = r->faulty ? "6s" : "1h";
    snprintf(text + n, cap - (size_t)n, ROUTES, timeout, timeout, timeout);
}

static void open_clients(run *r)
{
    r->client_count = 1 + (unsigned)below(r, CLIENTS_MAX);
    for (unsigned i = 0; i < r->client_count; i++) {
        client *c = &r->clients[i];
        c->count = 1 + (unsigned)below(r, REQUESTS_MAX);
        for (unsigned k = 0; k < c->count; k++) {
            c->plans[k] = plan_new(r);
            write_request(r, &c->out, c->plans[k]);
        }
        c->quits_at = r->faulty && one_in(r, 3) ? below(r, c->out.n + 2000) : SIZE_MAX;
        c->quits_how = (int)below(r, 4);
        c->fd = dial(&r->w, "10.0.0.1", 80);
    }
}

static bool all_done(const run *r)
{
    for (unsigned i = 0; i < r->client_count; i++)
        if (!client_done(&r->clients[i]))
            return false;
    return true;
}

static void play(run *r)
{
    for (unsigned turn = 0; turn < 200000 && !all_done(r); turn++) {
        r->moved = false;
        accept_all(r);
        for (unsigned i = 0; i < r->client_count; i++)
            if (!one_in(r, 3))
                client_turn(r, &r->clients[i]);
        for (unsigned i = 0; i < r->up_count; i++)
            if (r->ups[i].fd >= 0 && !one_in(r, 3))
                up_turn(r, &r->ups[i]);
        settle(&r->w);
        if (!r->moved)
            advance(&r->w, below(r, 100) * MS);
        else if (one_in(r, 10))
            advance(&r->w, below(r, 10) * MS);
    }
    for (unsigned i = 0; i < r->client_count && !r->faulty; i++)
        if (r->clients[i].answered < r->clients[i].count && !r->clients[i].told_close)
            wrong(r, "exchange %llu is never answered",
                  (unsigned long long)r->clients[i].plans[r->clients[i].answered]->id);
}

/* Nobody holds a permit any more, whatever became of who took it. */
static void check_permits(run *r)
{
    const mg_snapshot *snapshot = r->w.gateway->shared.workers[0]->view->snapshot;
    const mg_config_limiter *desks = mg_config_limiter_named(snapshot->config, MG_STR("desks"));

    for (int i = 0; i < 2; i++) {
        mg_limiter_answer now;
        (void)mg_limiter_peek(snapshot->limits[desks->index].limiter, i ? "p" : "*", 1, 0, 0, &now);
        if (now.remaining != 1000)
            wrong(r, "%llu permits are lost", (unsigned long long)(1000 - now.remaining));
    }
}

static void close_all(run *r)
{
    for (unsigned i = 0; i < r->client_count; i++) {
        client *c = &r->clients[i];
        if (c->fd >= 0)
            drop(r, &c->fd, false);
        mg_text_fini(&c->out);
        reader_fini(&c->in);
    }
    settle(&r->w);
    accept_all(r);
    for (unsigned i = 0; i < r->up_count; i++) {
        up_end *u = &r->ups[i];
        if (u->fd >= 0)
            drop(r, &u->fd, false);
        mg_text_fini(&u->out);
        reader_fini(&u->in);
    }
    hang_up(&r->w, r->upstreams[0]);
    hang_up(&r->w, r->upstreams[1]);
    hang_up(&r->w, r->side);
}

static void one_run(uint64_t seed)
{
    run *r = MG_NEW(run);
    char config[4096];

    printf("\rSEED=%llu ", (unsigned long long)seed); /* the last one, should it end here */
    fflush(stdout);
    r->seed = seed;
    r->faulty = seed % 2;
    mg_rand_init(&r->rand, seed);
    r->ups = MG_NEW_N(up_end, UPS_MAX);
    world_init(&r->w, seed, 1 + (unsigned)below(r, WORLD_WORKERS_MAX));
    world_plugin(&r->w, "p", plugin_text);
    world_plugin(&r->w, "s", stream_text);
    write_config(r, config, sizeof config);
    if (!world_try_start(&r->w, seed, config))
        wrong(r, "the gateway does not start");
    mg_log_set_level(r->w.log, getenv("SEED") ? MG_LOG_DEBUG : MG_LOG_OFF);
    mg_sim_set_chunk(r->w.sim, one_in(r, 2) ? 0 : 16 + below(r, 3000));
    mg_sim_set_buffer(r->w.sim, one_in(r, 2) ? 65536 : 64 + below(r, 8000));
    r->upstreams[0] = listen_at(&r->w, "10.0.0.2", 9000);
    r->upstreams[1] = listen_at(&r->w, "10.0.0.3", 9000);
    r->side = listen_at(&r->w, "10.0.0.4", 9100);
    open_clients(r);
    play(r);
    if (r->faulty) { /* nobody does anything any more: time ends all that there is */
        advance(&r->w, 40 * MG_NS_PER_S);
        if (world_live_exchanges(&r->w))
            wrong(r, "%zu exchanges hang", world_live_exchanges(&r->w));
    }
    close_all(r);
    advance(&r->w, 5 * MG_NS_PER_S);
    if (world_live_exchanges(&r->w))
        wrong(r, "%zu exchanges stay behind", world_live_exchanges(&r->w));
    check_permits(r);
    world_close(&r->w);
    mg_free(r->ups);
    mg_free(r);
}

static void whatever_happens_nothing_is_mixed_up_lost_or_left_behind(void **state)
{
    const char *seed = getenv("SEED"), *runs = getenv("RUNS");

    (void)state;
    if (seed) {
        one_run(strtoull(seed, NULL, 10));
        return;
    }
    const uint64_t first = getenv("FROM") ? strtoull(getenv("FROM"), NULL, 10) : 1;
    for (uint64_t i = first; i < first + (runs ? strtoull(runs, NULL, 10) : 60); i++)
        one_run(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_nothing_is_mixed_up_lost_or_left_behind),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
