/* answers.c - random programs of plugins on kept-alive connections: they answer, call next, set bodies and
 * fields, raise, catch and sleep in every order and in every phase. Beside them a model that runs the same
 * programs says for each request what the client must read and whether the upstream is asked. Whatever the
 * programs do, each response is framed as its head says and belongs to its request.
 *
 * SEED=n replays one run; RUNS=n makes more of them. */
#include "unit/gateway/sim_world.h"

#include "property/gateway/answers_calls.h"
#include "property/gateway/answers_model.h"

enum { REQUESTS = 8, BODY = 3000, UPS = 256 };

/* What each letter of a program does, in Lua and in the model. */
#define HANDLER_TEXT(name)                                                                                   \
    "local plugin = { name = '" name "', version = '1', body = { request = 'buffer(1MiB)', "                 \
    "response = 'buffer(1MiB)' } }\n"                                                                        \
    "local function step(op, ctx, next)\n"                                                                   \
    "  local id = ctx.request:header('x-id')\n"                                                              \
    "  if op == 'r' then ctx:respond(299, 'r" name "' .. id, { ['x-id'] = id })\n"                           \
    "  elseif op == 'R' then ctx:respond(204)\n"                                                             \
    "  elseif op == 'P' then ctx:respond(403, { title = 'No' })\n"                                           \
    "  elseif op == 'w' then pcall(ctx.respond, ctx, 299, 'w" name                                           \
    "' .. id, { ['x-id'] = id, ['x bad'] = '1' })\n"                                                         \
    "  elseif op == 't' then ctx:respond(298, assert(ctx.http:get('/t', { service = 'up', stream = true, "   \
    "headers = { ['x-t'] = id } })), { ['x-id'] = id })\n"                                                   \
    "  elseif op == 'n' then next(ctx)\n"                                                                    \
    "  elseif op == 'N' then pcall(next, ctx)\n"                                                             \
    "  elseif op == 's' then pcall(ctx.response.set_body, ctx.response, 's" name "' .. id)\n"                \
    "  elseif op == 'b' then pcall(ctx.response.body, ctx.response)\n"                                       \
    "  elseif op == 'q' then assert(ctx.request:body() == ('x'):rep(ctx.request:header('x-n')))\n"           \
    "  elseif op == 'S' then pcall(ctx.response.set_status, ctx.response, 418)\n"                            \
    "  elseif op == 'k' then ctx.response:set_header('x-k', '" name "')\n"                                   \
    "  elseif op == 'K' then ctx.response:add_header('X-K', '" name "')\n"                                   \
    "  elseif op == 'd' then ctx.response:remove_header('x-k')\n"                                            \
    "  elseif op == 'x' then other_call(ctx)\n"                                                              \
    "  elseif op == 'e' then error('as told')\n"                                                             \
    "  elseif op == 'E' then pcall(error, 'as told')\n"                                                      \
    "  elseif op == 'z' then ctx:sleep(0.02) end\n"                                                          \
    "end\n"                                                                                                  \
    "function plugin.new() return { handler = function(ctx, next)\n"                                         \
    "  for op in (ctx.request:header('x-" name "') or 'n'):gmatch('%a') do step(op, ctx, next) end\n"        \
    "end, log = function(ctx)\n"                                                                             \
    "  for _ = 1, 3 do other_call(ctx) end\n"                                                                \
    "  pcall(ctx.respond, ctx, 500, 'log') pcall(ctx.response.set_body, ctx.response, 'log')\n"              \
    "  pcall(ctx.response.set_status, ctx.response, 500)\n"                                                  \
    "  pcall(ctx.response.set_header, ctx.response, 'x-k', 'l')\n"                                           \
    "end } end\n"                                                                                            \
    "return plugin\n"

/* Its filters try to answer too. What it makes of an answer is in capitals. */
static const char filter_text[] =
    "local plugin = { name = 'f', version = '1', body = { request = 'stream', response = 'stream' } }\n"
    "local function try(ctx)\n"
    "  for _ = 1, 2 do other_call(ctx) end\n"
    "  pcall(ctx.respond, ctx, 500, 'filter')\n"
    "  pcall(ctx.response.set_body, ctx.response, 'filter')\n"
    "  pcall(ctx.response.set_status, ctx.response, 500)\n"
    "  pcall(ctx.response.set_header, ctx.response, 'x-k', 'f')\n"
    "  pcall(ctx.response.remove_header, ctx.response, 'x-k')\n"
    "end\n"
    "function plugin.new() return { handler = function(ctx, next) next(ctx) end,\n"
    "request_body = function(ctx) try(ctx) end,\n"
    "response_body = function(ctx, bytes) try(ctx) return bytes:upper() end } end\n"
    "return plugin\n";

static const char config[] = WEB QUIET SERVICE
    "limiters: { l: { rate: 1000/s } }\n"
    "plugins:\n"
    "  a: { use: ./plugins/a, cpu: 1s }\n"
    "  b: { use: ./plugins/b, cpu: 1s }\n"
    "  ao: { use: ./plugins/a, on_error: open, cpu: 1s }\n"
    "  bo: { use: ./plugins/b, on_error: open, cpu: 1s }\n"
    "  f: { use: ./plugins/f, cpu: 1s }\n"
    "  l: { use: ./plugins/l }\n"
    "routes:\n"
    "  - { name: c, match: { paths: [{ prefix: /c }] }, service: up, plugins: [a, b], timeout: 1h }\n"
    "  - { name: o, match: { paths: [{ prefix: /o }] }, service: up, plugins: [ao, b], timeout: 1h }\n"
    "  - { name: p, match: { paths: [{ prefix: /p }] }, service: up, plugins: [ao, bo], timeout: 1h }\n"
    "  - { name: f, match: { paths: [{ prefix: /f }] }, service: up, plugins: [f, a, b], timeout: 1h }\n"
    "  - { name: l, match: { paths: [{ prefix: /l }] }, service: up, plugins: [l] }\n";

typedef struct run {
    world w;
    mg_rand rand;
    uint64_t seed;
    plan plans[REQUESTS];
    mg_text out, in; /* of the client */
    size_t sent, read;
    int client, upstream, ups[UPS];
    mg_text up_in[UPS];
    unsigned answered, up_count;
    bool moved;
} run;

#define wrong(r, ...)                                                                                        \
    do {                                                                                                     \
        printf("SEED=%llu: ", (unsigned long long)(r)->seed);                                                \
        printf(__VA_ARGS__);                                                                                 \
        printf("\n");                                                                                        \
        fflush(stdout);                                                                                      \
        abort();                                                                                             \
    } while (0)

static uint64_t below(run *r, uint64_t n)
{
    return mg_rand_below(&r->rand, n);
}

/* ---- messages ---- */

typedef struct message {
    const char *head;
    size_t end; /* where the next one begins */
    char body[BODY + 1];
    size_t body_n;
} message;

static const char *field(const message *m, const char *name)
{
    static char value[128];
    const char *at = strstr(m->head, name), *end = at ? strstr(at, "\r\n") : NULL;

    if (!at || at > strstr(m->head, "\r\n\r\n"))
        return NULL;
    snprintf(value, sizeof value, "%.*s", (int)(end - at - (long)strlen(name)), at + strlen(name));
    return value;
}

/* The chunks from `at` on; 0 while more is due. */
static size_t read_chunks(run *r, const mg_text *in, size_t at, message *m)
{
    for (;;) {
        char *line_end = strstr(in->p + at, "\r\n"), *stop;
        if (!line_end)
            return 0;
        const size_t n = strtoull(in->p + at, &stop, 16);
        if (stop != line_end || stop == in->p + at)
            wrong(r, "a chunk of size %.*s", (int)(line_end - (in->p + at)), in->p + at);
        at = (size_t)(line_end - in->p) + 2;
        if (!n) { /* trailers, and a blank line */
            const char *end = strstr(line_end, "\r\n\r\n");
            return end ? (size_t)(end - in->p) + 4 : 0;
        }
        if (in->n < at + n + 2)
            return 0;
        if (memcmp(in->p + at + n, "\r\n", 2) != 0)
            wrong(r, "a chunk that does not end");
        MG_CHECK(m->body_n + n <= BODY);
        memcpy(m->body + m->body_n, in->p + at, n);
        m->body_n += n;
        at += n + 2;
    }
}

/* The message at `at`, whole; false while more is due. */
static bool read_message(run *r, const mg_text *in, size_t at, bool bodyless, message *m)
{
    const char *end = in->n > at ? strstr(in->p + at, "\r\n\r\n") : NULL;

    *m = (message){ .head = in->p + at };
    if (!end)
        return false;
    m->end = (size_t)(end - in->p) + 4;
    if (bodyless)
        return true;
    const char *length = field(m, "\r\ncontent-length: ");
    if (length) {
        m->body_n = strtoull(length, NULL, 10);
        MG_CHECK(m->body_n <= BODY);
        if (in->n < m->end + m->body_n)
            return false;
        memcpy(m->body, in->p + m->end, m->body_n);
        m->end += m->body_n;
        return true;
    }
    if (!field(m, "\r\ntransfer-encoding: "))
        return true;
    m->end = read_chunks(r, in, m->end, m);
    return m->end > 0;
}

/* ---- both ends ---- */

/* False when the peer has ended it. */
static bool pull(run *r, int fd, mg_text *in)
{
    char bytes[4096];
    mg_loop *loop = r->w.outside;
    const ssize_t got = loop->ops->recv(loop, fd, bytes, sizeof bytes);

    if (got > 0) {
        mg_text_add(in, (mg_str){ bytes, (size_t)got });
        r->moved = true;
    }
    return got > 0 || (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK));
}

static void up_says(run *r, unsigned i, mg_text *out)
{
    for (size_t said = 0, some = 1; some && said < out->n; said += some) /* until the gateway has left */
        some = say_bytes(&r->w, r->ups[i], out->p + said, out->n - said);
    mg_text_fini(out);
    r->moved = true;
}

static void up_answers(run *r, unsigned i, const message *request)
{
    char elsewhere[16] = "";
    mg_text out = { 0 };
    const char *t = field(request, "\r\nx-t: ");

    snprintf(elsewhere, sizeof elsewhere, "%s", t ? t : "");
    const char *id = field(request, "\r\nx-id: ");

    if (elsewhere[0]) {
        const bool chunked =
            atoi(elsewhere) % 3 == 0 && strcmp(r->plans[atoi(elsewhere) - 1].method, "HEAD") != 0;
        mg_text_addf(&out,
                     chunked ? "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nt%d\r\n0\r\n\r\n"
                             : "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nt%d",
                     atoi(elsewhere));
        up_says(r, i, &out);
        return;
    }
    if (!id)
        wrong(r, "a request without its number: %s", request->head);
    plan *p = &r->plans[atoi(id) - 1];
    p->asked++;
    if (request->body_n != p->request_bytes)
        wrong(r, "request %u comes with %zu bytes of %zu", p->id, request->body_n, p->request_bytes);
    if (!p->up_status)
        mg_text_add_c(&out, "no HTTP at all\r\n\r\n");
    else if (!status_has_body(p->up_status))
        mg_text_addf(&out, "HTTP/1.1 %d Word\r\nx-id: %u\r\nx-k: u\r\n\r\n", p->up_status, p->id);
    else if (strcmp(p->method, "HEAD") == 0)
        mg_text_addf(&out, "HTTP/1.1 %d Word\r\nx-id: %u\r\nx-k: u\r\ncontent-length: 2\r\n\r\n",
                     p->up_status, p->id);
    else if (p->up_chunked)
        mg_text_addf(&out,
                     "HTTP/1.1 %d Word\r\nx-id: %u\r\nx-k: u\r\ntransfer-encoding: "
                     "chunked\r\n\r\n1\r\nu\r\n1\r\n%u\r\n"
                     "0\r\nx-t: 1\r\n\r\n",
                     p->up_status, p->id, p->id);
    else
        mg_text_addf(&out, "HTTP/1.1 %d Word\r\nx-id: %u\r\nx-k: u\r\ncontent-length: 2\r\n\r\nu%u",
                     p->up_status, p->id, p->id);
    up_says(r, i, &out);
}

static void up_turn(run *r, unsigned i)
{
    message m;

    if (r->ups[i] < 0)
        return;
    const bool open = pull(r, r->ups[i], &r->up_in[i]);
    if (read_message(r, &r->up_in[i], 0, false, &m)) {
        up_answers(r, i, &m);
        r->up_in[i].n = 0;
    }
    if (!open) {
        hang_up(&r->w, r->ups[i]);
        r->ups[i] = -1;
    }
}

/* The letters of all fields x-k. */
static const char *letters_of(const message *m)
{
    static char letters[FIELDS];
    const char *at = m->head, *end = strstr(m->head, "\r\n\r\n");
    size_t n = 0;

    while ((at = strstr(at, "\r\nx-k: ")) && at < end && n < FIELDS - 1) {
        at += sizeof "\r\nx-k: " - 1;
        letters[n++] = *at;
    }
    letters[n] = '\0';
    return letters;
}

static void check_answer(run *r, const plan *p, const message *got)
{
    const model want = expect(p);
    const int status = atoi(got->head + 9);
    const char *id = field(got, "\r\nx-id: ");

    if (status != want.status)
        wrong(r, "request %u (%c: %s, %s) is answered with %d instead of %d:\n%s", p->id, p->route, p->ops[0],
              p->ops[1], status, want.status, got->head);
    if (id && atoi(id) != (int)p->id)
        wrong(r, "request %u (%s, %s) gets the answer of %s", p->id, p->ops[0], p->ops[1], id);
    if (p->asked != want.asked)
        wrong(r, "request %u (%s, %s) came to the upstream %u times instead of %u", p->id, p->ops[0],
              p->ops[1], p->asked, want.asked);
    if (strcmp(letters_of(got), want.fields) != 0)
        wrong(r, "request %u (%c: %s, %s): x-k is \"%s\" instead of \"%s\"", p->id, p->route, p->ops[0],
              p->ops[1], letters_of(got), want.fields);
    const char *length = field(got, "\r\ncontent-length: ");
    if (want.known && strcmp(p->method, "HEAD") == 0 && status_has_body(status) &&
        (!length || atoi(length) != (int)strlen(want.body)))
        wrong(r, "request %u (%c: %s, %s): HEAD is told a length of %s", p->id, p->route, p->ops[0],
              p->ops[1], length ? length : "none");
    if (want.known && strcmp(p->method, "HEAD") != 0 && strcmp(got->body, want.body) != 0)
        wrong(r, "request %u (%c: %s, %s): body \"%s\" instead of \"%s\"", p->id, p->route, p->ops[0],
              p->ops[1], got->body, want.body);
}

static void write_request(run *r, const plan *p)
{
    char body[BODY];

    memset(body, 'x', sizeof body);
    mg_text_addf(
        &r->out,
        "%s /%c/%u HTTP/1.1\r\nhost: a\r\nx-id: %u\r\nx-a: %s\r\nx-b: %s\r\nx-n: %zu\r\nx-calls: %u\r\n",
        p->method, p->route, p->id, p->id, p->ops[0], p->ops[1], p->request_bytes, p->calls);
    if (p->request_chunked)
        mg_text_addf(&r->out, "transfer-encoding: chunked\r\n\r\n%zx\r\n%.*s\r\n0\r\n\r\n", p->request_bytes,
                     (int)p->request_bytes, body);
    else if (p->request_bytes)
        mg_text_addf(&r->out, "content-length: %zu\r\n\r\n%.*s", p->request_bytes, (int)p->request_bytes,
                     body);
    else
        mg_text_add_c(&r->out, "\r\n");
}

/* All that are still to be answered, on a new connection. */
static void dial_again(run *r)
{
    if (r->client >= 0)
        hang_up(&r->w, r->client);
    r->client = dial(&r->w, "10.0.0.1", 80);
    r->out.n = r->in.n = r->sent = r->read = 0;
    for (unsigned i = r->answered; i < REQUESTS; i++) {
        r->plans[i].asked = 0;
        write_request(r, &r->plans[i]);
    }
}

static void client_turn(run *r)
{
    message m;
    bool close = false;

    if (r->sent < r->out.n && below(r, 3)) {
        const size_t some = mg_min_u64(1 + below(r, 700), r->out.n - r->sent);
        r->sent += say_bytes(&r->w, r->client, r->out.p + r->sent, some);
        r->moved = true;
    }
    const bool open = pull(r, r->client, &r->in);
    while (r->answered < REQUESTS && !close && r->in.n) {
        plan *p = &r->plans[r->answered];
        const char *status = r->in.n > r->read + 12 ? r->in.p + r->read + 9 : "";
        if (!read_message(r, &r->in, r->read,
                          strcmp(p->method, "HEAD") == 0 || strncmp(status, "204", 3) == 0 ||
                              strncmp(status, "304", 3) == 0,
                          &m))
            break;
        close = field(&m, "\r\nconnection: close") != NULL;
        check_answer(r, p, &m);
        r->read = m.end;
        r->answered++;
    }
    if (close && r->answered < REQUESTS)
        dial_again(r);
    else if (!open && r->answered < REQUESTS)
        wrong(r, "the connection ends before request %u is answered: %s, %s\n%s", r->answered + 1,
              r->plans[r->answered].ops[0], r->plans[r->answered].ops[1], r->in.p ? r->in.p + r->read : "");
}

/* ---- a run ---- */

static void choose_plan(run *r, plan *p, unsigned id)
{
    static const char letters[] = "rrRPwttnnnnNNsbqSeEzkKKdxxxxxx";
    static const char *const methods[] = { "GET", "POST", "POST", "HEAD" };
    static const int statuses[] = { 200, 200, 200, 404, 204, 304, 0 };

    *p = (plan){ .id = id, .route = "copf"[below(r, 4)], .method = methods[below(r, 4)] };
    for (int layer = 0; layer < LAYERS; layer++) {
        const size_t n = below(r, 4) ? 1 + below(r, OPS) : 0;
        for (size_t i = 0; i < n; i++)
            p->ops[layer][i] = letters[below(r, sizeof letters - 1)];
        if (!n)
            p->ops[layer][0] = 'n';
    }
    p->up_status = statuses[below(r, 7)];
    p->up_chunked = below(r, 2);
    p->calls = (unsigned)below(r, 9973);
    if (strcmp(p->method, "POST") == 0 && below(r, 3)) {
        p->request_bytes = 1 + below(r, BODY - 1);
        p->request_chunked = below(r, 3) == 0;
    }
}

static void play(run *r)
{
    mg_addr peer;

    dial_again(r);
    for (unsigned turn = 0; turn < 20000 && r->answered < REQUESTS; turn++) {
        r->moved = false;
        const int fd = r->w.outside->ops->accept(r->w.outside, r->upstream, &peer);
        if (fd >= 0) {
            MG_CHECK(r->up_count < UPS);
            r->ups[r->up_count++] = fd;
            r->moved = true;
        }
        client_turn(r);
        for (unsigned i = 0; i < r->up_count; i++)
            up_turn(r, i);
        settle(&r->w);
        if (!r->moved)
            advance(&r->w, 5 * MS);
    }
    if (r->answered < REQUESTS)
        wrong(r, "request %u is never answered: %c: %s, %s", r->answered + 1, r->plans[r->answered].route,
              r->plans[r->answered].ops[0], r->plans[r->answered].ops[1]);
}

static void add_plugins(world *w)
{
    static const char *const texts[][2] = { { "a", HANDLER_TEXT("a") },
                                            { "b", HANDLER_TEXT("b") },
                                            { "f", filter_text } };

    for (size_t i = 0; i < 3; i++) {
        mg_text text = { 0 };
        add_calls(&text);
        mg_text_add_c(&text, texts[i][1]);
        world_plugin(w, texts[i][0], text.p);
        mg_text_fini(&text);
    }
    mg_text listing = { 0 };
    add_listing(&listing);
    world_plugin(w, "l", listing.p);
    mg_text_fini(&listing);
}

static bool is_known(const char *object, const char *member, size_t n)
{
    for (size_t i = 0; i < sizeof every_call / sizeof *every_call; i++) {
        const char *key = every_call[i].key, *dot = strrchr(key, '.');
        if ((size_t)(dot - key) == strlen(object) && strncmp(key, object, strlen(object)) == 0 &&
            strlen(dot + 1) == n && strncmp(dot + 1, member, n) == 0)
            return true;
    }
    return false;
}

/* The names of a line as "ctx.kv get, set, delete". */
static void check_line(const char *told)
{
    char object[32] = "";
    const char *at = strchr(told, ' '), *end = strchr(told, '\n');

    snprintf(object, sizeof object, "%.*s", (int)(at - told), told);
    while (at && at < end) {
        at += strspn(at, " ,");
        const size_t n = strcspn(at, ",\n");
        if (!is_known(object, at, n))
            fail_msg("%s.%.*s is in no program: add it to answers_calls.h", object, (int)n, at);
        at += n;
    }
}

static void every_call_of_ctx_is_in_a_program(void **state)
{
    world w;
    size_t lines = 0;

    (void)state;
    world_init(&w, 1, 1);
    add_plugins(&w);
    assert_true(world_try_start(&w, 1, config));
    const int client = dial(&w, "10.0.0.1", 80);
    say(&w, client, "GET /l HTTP/1.1\r\nhost: a\r\n\r\n");
    hear_status(&w, client, "200");
    for (const char *told = strstr(w.heard, "\r\n\r\n") + 4; *told; told = strchr(told, '\n') + 1, lines++)
        check_line(told);
    assert_int_equal(lines, sizeof every_object / sizeof *every_object);
    hang_up(&w, client);
    world_close(&w);
}

static void one_run(uint64_t seed)
{
    run *r = MG_NEW(run);

    printf("\rSEED=%llu ", (unsigned long long)seed);
    fflush(stdout);
    r->seed = seed;
    r->client = -1;
    mg_rand_init(&r->rand, seed);
    world_init(&r->w, seed, 1);
    add_plugins(&r->w);
    if (!world_try_start(&r->w, seed, config))
        wrong(r, "the gateway does not start");
    mg_log_set_level(r->w.log, getenv("SEED") ? MG_LOG_DEBUG : MG_LOG_OFF);
    mg_sim_set_chunk(r->w.sim, below(r, 2) ? 0 : 16 + below(r, 300));
    r->upstream = listen_at(&r->w, "10.0.0.2", 9000);
    for (unsigned i = 0; i < REQUESTS; i++)
        choose_plan(r, &r->plans[i], i + 1);
    play(r);
    hang_up(&r->w, r->client);
    for (unsigned i = 0; i < r->up_count; i++) {
        if (r->ups[i] >= 0)
            hang_up(&r->w, r->ups[i]);
        mg_text_fini(&r->up_in[i]);
    }
    hang_up(&r->w, r->upstream);
    settle(&r->w);
    if (world_live_exchanges(&r->w))
        wrong(r, "%zu exchanges stay behind", world_live_exchanges(&r->w));
    world_close(&r->w);
    mg_text_fini(&r->out);
    mg_text_fini(&r->in);
    mg_free(r);
}

static void each_request_has_one_answer_whatever_its_plugins_do(void **state)
{
    const char *seed = getenv("SEED"), *runs = getenv("RUNS");

    (void)state;
    if (seed) {
        one_run(strtoull(seed, NULL, 10));
        return;
    }
    for (uint64_t i = 1; i <= (runs ? strtoull(runs, NULL, 10) : 120); i++)
        one_run(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_of_ctx_is_in_a_program),
        cmocka_unit_test(each_request_has_one_answer_whatever_its_plugins_do),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
