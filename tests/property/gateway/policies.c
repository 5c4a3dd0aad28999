/* policies.c - storms: every policy of a service in random combination, hosts that fail in every way, clients
 * that leave at any byte, reloads in between, on simulated loops. What a client hears has to be its own; what
 * reaches a host has to be allowed; and when all is over nothing may be held any more.
 *
 * SEED=n replays one run; RUNS=n makes more of them, FROM=n begins elsewhere. */
#include "policies_world.h"

/* ---- requests ---- */

static plan *plan_new(run *r)
{
    static const char words[] = "asqzbl";
    plan *p = &r->plans[r->plan_count];
    size_t n = 0;

    *p = (plan){ .id = ++r->plan_count, .deadline_ms = UINT64_MAX };
    for (size_t i = 0; i + 1 < sizeof words; i++)
        if (one_in(r, 5))
            p->todo[n++] = words[i];
    if (one_in(r, 15))
        p->todo[n++] = one_in(r, 3) ? 'e' : 'r';
    p->method = (int)below(r, METHODS);
    p->upgrades = p->method == GET && one_in(r, 6);
    if (p->method == POST || p->method == PUT)
        p->bytes = one_in(r, 4) ? below(r, 80000) : below(r, 300);
    return p;
}

static void write_request(run *r, mg_text *out, const plan *p)
{
    static const char *const groups[] = { "x-abtest-group: old\r\n", "x-abtest-group: canary\r\n", "" };

    mg_text_addf(out, "%s /%c HTTP/1.1\r\nhost: a\r\nx-id: %llu\r\nx-user: u%llu\r\nx-do: %s\r\n%s",
                 method_names[p->method], one_in(r, 30) ? 'o' : "xyz"[below(r, 3)],
                 (unsigned long long)p -> id, (unsigned long long)below(r, 3), p -> todo,
                 groups[below(r, 3)]);
    if (p->upgrades)
        mg_text_add_c(out, "connection: upgrade\r\nupgrade: echo\r\n");
    if (p->method == POST || p->method == PUT)
        mg_text_addf(out, "content-length: %zu\r\n", p->bytes);
    mg_text_add_c(out, "\r\n");
    for (size_t i = 0; i < p->bytes; i++)
        mg_text_add(out, (mg_str){ &(char){ body_byte(p) }, 1 });
}

/* ---- clients ---- */

/* Nobody but a host may say who asked: what the gateway answers by itself names none. */
static void check_answer(run *r, const client *c)
{
    const plan *p = c->plans[c->answered];
    const int status = atoi(c->in.head.p + 9);
    char id[32], tag[64];

    if (!field(&c->in, "x-id", id, sizeof id)) {
        if (!strchr("45", c->in.head.p[9]) || status == 400)
            wrong(r, "%llu is answered with %d, by nobody", (unsigned long long)p->id, status);
        return;
    }
    if (strtoull(id, NULL, 10) != p->id)
        wrong(r, "%llu got the answer of %s", (unsigned long long)p->id, id);
    if (status == 299)
        return;
    if (!field(&c->in, "x-try", tag, sizeof tag))
        wrong(r, "%llu: an answer of no try", (unsigned long long)p->id);
    const unsigned attempt = (unsigned)atoi(tag);
    if (attempt < 1 || attempt > TRIES || p->status[attempt] != status)
        wrong(r, "%llu: a %d that its try %u never had", (unsigned long long)p->id, status, attempt);
    const int n = snprintf(tag, sizeof tag, "%llu.%u;", (unsigned long long)p->id, attempt);
    for (size_t i = 0; i < c->in.body.n; i++)
        if (c->in.body.p[i] != tag[i % (size_t)n])
            wrong(r, "%llu: byte %zu of the answer is another's", (unsigned long long)p->id, i);
}

static bool next_answer(run *r, client *c)
{
    if (!read_message(&c->in, c->answered < c->count && c->plans[c->answered]->method == HEAD))
        return false;
    if (c->answered == c->count)
        wrong(r, "an answer that nobody asked for: %s", c->in.head.p);
    check_answer(r, c);
    c->tunnel = memcmp(c->in.head.p, "HTTP/1.1 101", 12) == 0;
    c->answered++;
    c->in.begun = false;
    return true;
}

static void client_turn(run *r, client *c)
{
    if (c->fd < 0 || c->ended)
        return;
    if (c->sent + c->in.heard >= c->quits_at) {
        c->ended = true;
        if (c->quits_how < 2)
            drop(r, &c->fd, c->quits_how == 1);
        else if (c->quits_how == 2)
            r->w.outside->ops->shutdown_write(r->w.outside, c->fd);
        return; /* else it stays, and does nothing more */
    }
    for (unsigned i = 0; i < c->count; i++)
        if (c->sent <= c->begins[i] && !c->plans[i]->asked_ns)
            c->plans[i]->asked_ns = now_ns(r); /* not before this */
    (void)push(r, c->fd, &c->out, &c->sent, SIZE_MAX);
    for (unsigned i = 0; i < c->count; i++)
        if (c->sent <= c->begins[i])
            c->plans[i]->asked_ns = 0;
    if (one_in(r, 4))
        return;
    const ssize_t got = pull(r, c->fd, &c->in);
    while (!c->tunnel && next_answer(r, c))
        continue;
    if (c->tunnel && one_in(r, 10)) { /* either side may go first */
        c->ended = true;
        if (one_in(r, 2))
            drop(r, &c->fd, one_in(r, 2));
        else
            r->w.outside->ops->shutdown_write(r->w.outside, c->fd);
    }
    c->ended |= got == 0 || got == -2;
}

static void open_client(run *r)
{
    client *c = &r->clients[r->client_count++];

    c->count = 1 + (unsigned)below(r, REQUESTS_MAX);
    for (unsigned k = 0; k < c->count; k++) {
        c->plans[k] = plan_new(r);
        c->begins[k] = c->out.n;
        write_request(r, &c->out, c->plans[k]);
    }
    c->quits_at = one_in(r, 3) ? below(r, c->out.n + 500) : SIZE_MAX;
    c->quits_how = (int)below(r, 4);
    c->fd = dial(&r->w, "10.0.0.1", 80);
}

/* ---- hosts ---- */

static void check_host(run *r, const up_end *u, const plan *p)
{
    const uint64_t since_ns = r->hosts[u->host].out_since_ns;

    if (since_ns && p->asked_ns > since_ns)
        wrong(r, "%llu reached host %u, which was out before it asked", (unsigned long long)p->id, u->host);
}

static void check_try(run *r, const up_end *u, plan *p)
{
    char value[32];
    const unsigned attempt = u->attempt, service = u->host / HOSTS_EACH;

    const bool told = field(&u->in, "x-moongate-deadline-ms", value, sizeof value);
    const bool has_body = (p->method == POST || p->method == PUT) && p->bytes; /* which may be on its way */
    if (!told && !has_body)
        wrong(r, "%llu came without a deadline", (unsigned long long)p->id);
    const uint64_t left_ms = told ? strtoull(value, NULL, 10) : mg_min_u64(p->deadline_ms, TIMEOUT_MS);
    if ((attempt >= p->last && left_ms > p->deadline_ms) || left_ms > TIMEOUT_MS || !left_ms)
        wrong(r, "%llu: %llu ms left after %llu", (unsigned long long)p->id, (unsigned long long)left_ms,
              (unsigned long long)p->deadline_ms);
    if (attempt >= p->last) /* an earlier one may be read later */
        p->deadline_ms = left_ms;
    if (attempt > r->attempts[service])
        wrong(r, "%llu: try %u of %u", (unsigned long long)p->id, attempt, r->attempts[service]);
    p->last = (unsigned)mg_max_u64(p->last, attempt);
    p->arrived[attempt]++;
    p->all++;
    /* A connection that turns out to be closed is replaced once, at no cost. */
    if (p->arrived[attempt] > 2 || (p->method == POST && p->all > 1))
        wrong(r, "%llu: %s comes %u times, %u of them as try %u", (unsigned long long)p->id,
              method_names[p->method], p->all, p->arrived[attempt], attempt);
    if (p->of && p->of != service + 1)
        wrong(r, "%llu changed its service", (unsigned long long)p->id);
    p->of = service + 1;
    check_host(r, u, p);
}

static void begin_request(run *r, up_end *u)
{
    char value[32];

    u->begun = true;
    u->out.n = u->sent = 0;
    u->stop_at = SIZE_MAX;
    u->plan = NULL;
    u->not_before_ns = now_ns(r) + below(r, 150) * MS;
    if (!field(&u->in, "x-id", value, sizeof value)) {
        if (memcmp(u->in.head.p, "GET /health ", 12) != 0)
            wrong(r, "a request of nobody's: %s", u->in.head.p);
        return;
    }
    u->plan = &r->plans[strtoull(value, NULL, 10) - 1];
    u->attempt = field(&u->in, "x-moongate-attempt", value, sizeof value) ? (unsigned)atoi(value) : 1;
    check_try(r, u, u->plan);
}

static void write_answer(run *r, up_end *u, int status)
{
    char unit[64];
    const plan *p = u->plan;
    const bool empty = status == 204;
    const int n = snprintf(unit, sizeof unit, "%llu.%u;", (unsigned long long)p->id, u->attempt);
    const size_t body = empty ? 0 : (size_t)n * below(r, one_in(r, 5) ? 5000 : 20);

    if (one_in(r, 10))
        mg_text_add_c(&u->out, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
    mg_text_addf(&u->out, "HTTP/1.1 %d Word\r\nx-id: %llu\r\nx-try: %u\r\n", status,
                 (unsigned long long)p->id, u->attempt);
    if (status == 503 && one_in(r, 3))
        mg_text_addf(&u->out, "retry-after: %u\r\n", (unsigned)below(r, 3));
    if (!empty)
        mg_text_addf(&u->out, "content-length: %zu\r\n", body);
    mg_text_add_c(&u->out, one_in(r, 6) ? "connection: close\r\n\r\n" : "\r\n");
    for (size_t i = 0; i < body && p->method != HEAD; i += (size_t)n)
        mg_text_add(&u->out, (mg_str){ unit, (size_t)n });
}

static void answer(run *r, up_end *u)
{
    static const int bad[] = { 500, 502, 503, 503, 504, 429, 404 };
    const bool good = r->hosts[u->host].mode == GOOD ? !one_in(r, 12) : one_in(r, 6);
    const int status = !good ? bad[below(r, 7)] : one_in(r, 10) ? 204 : 200;

    u->answering = true;
    if (!u->plan) {
        const char *load = one_in(r, 2) ? "{\"cpu\":0.5,\"mem\":0.2,\"latency_ms\":30}" : "";
        mg_text_addf(&u->out, "HTTP/1.1 %d Word\r\ncontent-length: %zu\r\n\r\n%s", good ? 200 : 503,
                     strlen(load), load);
        return;
    }
    u->tunnel = u->plan->upgrades && good && one_in(r, 2);
    u->plan->status[u->attempt] = u->tunnel ? 101 : status;
    if (u->tunnel) {
        mg_text_addf(&u->out,
                     "HTTP/1.1 101 Word\r\nconnection: upgrade\r\nupgrade: echo\r\nx-id: %llu\r\nx-try: "
                     "%u\r\n\r\nbytes of the tunnel",
                     (unsigned long long)u->plan->id, u->attempt);
        return;
    }
    write_answer(r, u, status);
    if (one_in(r, good ? 20 : 4))
        u->stop_at = one_in(r, 3) ? 0 : below(r, u->out.n + 1); /* stalls there, or breaks off */
    u->stalls = one_in(r, 3);
}

static void has_answered(run *r, up_end *u)
{
    if (u->tunnel) {
        if (one_in(r, 10))
            drop(r, &u->fd, one_in(r, 2));
        return;
    }
    if (u->stop_at != SIZE_MAX && u->stop_at < u->out.n) {
        if (!u->stalls)
            drop(r, &u->fd, one_in(r, 2));
        return;
    }
    if (!u->in.complete)
        return;
    u->begun = u->answering = u->in.begun = false;
    if (one_in(r, 12) || (u->out.n > 19 && memmem(u->out.p, u->out.n, "connection: close", 17)))
        drop(r, &u->fd, one_in(r, 2));
}

static void up_turn(run *r, up_end *u)
{
    if (u->fd < 0)
        return;
    const ssize_t got = pull(r, u->fd, &u->in);
    u->in.in.n = u->tunnel ? u->in.at : u->in.in.n; /* bytes of the tunnel */
    if (!u->in.complete || !u->begun) {
        (void)read_message(&u->in, false);
        if (u->in.begun && !u->begun)
            begin_request(r, u);
        for (size_t i = 0; u->plan && i < u->in.body.n; i++)
            if (u->in.body.p[i] != body_byte(u->plan))
                wrong(r, "%llu: another's body", (unsigned long long)u->plan->id);
    }
    const bool early = u->plan && u->plan->bytes > 1000 && u->plan->id % 5 == 0;
    if (u->begun && !u->answering && (u->in.complete || early) && now_ns(r) >= u->not_before_ns)
        answer(r, u);
    if (u->answering) {
        if (!push(r, u->fd, &u->out, &u->sent, u->stop_at))
            drop(r, &u->fd, false);
        else if (u->sent >= mg_min_u64(u->out.n, u->stop_at))
            has_answered(r, u);
    }
    if (u->fd >= 0 && (got == 0 || got == -2))
        drop(r, &u->fd, false);
}

/* ---- what else happens ---- */

static void change_host(run *r)
{
    const unsigned h = (unsigned)below(r, HOSTS);
    const mg_addr addr = addr_of(host_ip[h], 9000);
    const int how = (int)below(r, 5);

    r->hosts[h].mode = one_in(r, 2) ? GOOD : BAD;
    mg_sim_set_connect(r->w.sim, &addr, how == 0 ? ECONNREFUSED : how == 1 ? ETIMEDOUT : 0);
}

/* An operator's words. */
static void intervene(run *r)
{
    mg_service_name *name = name_of(r, (unsigned)below(r, 2));
    const mg_breaker_state words[] = { MG_BREAKER_FORCED_OPEN, MG_BREAKER_FORCED_CLOSED, MG_BREAKER_CLOSED };

    if (one_in(r, 2))
        mg_service_set_down(name->newest, below(r, name->newest->host_count), one_in(r, 2), now_ns(r));
    else if (name->circuits)
        mg_breaker_force(name->circuits->breaker, words[below(r, 3)], policy_ns(r));
}

static void something_happens(run *r)
{
    if (one_in(r, 40))
        change_host(r);
    if (one_in(r, 200))
        intervene(r);
    if (one_in(r, 25) && r->client_count < r->client_max)
        open_client(r);
    if (one_in(r, 200) && r->config_count < CONFIGS) {
        r->w.next = new_config(r);
        mg_gateway_reload(r->w.gateway);
        settle(&r->w);
    }
}

/* ---- a run ---- */

static bool all_done(const run *r)
{
    if (r->client_count < r->client_max)
        return false;
    for (unsigned i = 0; i < r->client_count; i++) {
        const client *c = &r->clients[i];
        if (!c->ended && c->fd >= 0 && (c->tunnel || c->answered < c->count))
            return false;
    }
    return true;
}

static void play(run *r)
{
    for (unsigned turn = 0; turn < r->turns && !all_done(r); turn++) {
        r->moved = false;
        look_at_hosts(r);
        accept_all(r);
        for (unsigned i = 0; i < r->client_count; i++)
            if (!one_in(r, 3))
                client_turn(r, &r->clients[i]);
        for (unsigned i = 0; i < r->up_count; i++)
            if (!one_in(r, 3))
                up_turn(r, &r->ups[i]);
        something_happens(r);
        settle(&r->w);
        check_bounds(r);
        if (!r->moved)
            advance(&r->w, one_in(r, 30) ? below(r, 3000) * MS : below(r, 100) * MS);
        else if (one_in(r, 10))
            advance(&r->w, below(r, 10) * MS);
    }
}

static void one_run(uint64_t seed)
{
    run *r = MG_NEW(run);

    printf("\rSEED=%llu ", (unsigned long long)seed); /* the last one, should it end here */
    fflush(stdout);
    run_open(r, seed);
    open_client(r);
    play(r);
    r->played_ns = now_ns(r);
    if (r->turns < TURNS_MAX) { /* the gateway goes in the middle of everything */
        check_bounds(r);
        world_free_gateway(&r->w);
        close_ends(r);
        run_close(r);
        return;
    }
    advance(&r->w, 40 * MG_NS_PER_S); /* nobody does anything any more: time ends all that there is */
    if (world_live_exchanges(&r->w))
        wrong(r, "%zu exchanges hang", world_live_exchanges(&r->w));
    close_ends(r);
    advance(&r->w, 5 * MG_NS_PER_S);
    check_nothing_is_held(r);
    check_counts(r);
    check_breakers_let_go(r);
    run_close(r);
}

static void whatever_happens_nothing_stays_held_or_goes_where_it_may_not(void **state)
{
    const char *seed = getenv("SEED"), *runs = getenv("RUNS"), *from = getenv("FROM");
    const uint64_t first = seed ? strtoull(seed, NULL, 10) : from ? strtoull(from, NULL, 10) : 1;
    const uint64_t count = seed ? 1 : runs ? strtoull(runs, NULL, 10) : 60;

    (void)state;
    for (uint64_t i = first; i < first + count; i++)
        one_run(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_happens_nothing_stays_held_or_goes_where_it_may_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
