/* traffic_world.h - what traffic.c plays in: plugins, plans of exchanges, and messages written and read. */
#ifndef TEST_TRAFFIC_WORLD_H
#define TEST_TRAFFIC_WORLD_H

#include "unit/gateway/sim_world.h"

enum { CLIENTS_MAX = 6, REQUESTS_MAX = 5, UPS_MAX = 4000, BODY_MAX_BYTES = 30000 };

static const char plugin_text[] =
    "local plugin = { name = 'p', version = '1.0.0', body = { request = 'buffer(1MiB)', response = "
    "'buffer(1MiB)' } }\n"
    "function plugin.new() return function(ctx, next)\n"
    "  local todo = ctx.request:header('x-do') or ''\n"
    "  local id = ctx.request:header('x-id')\n"
    "  local held = ctx.limit:reserve('desks', 'p')\n"
    "  if todo:find('a', 1, true) then ctx:sleep(0.07) end\n"
    "  if todo:find('q', 1, true) then ctx.request:body() end\n"
    "  local side\n"
    "  if todo:find('h', 1, true) then\n"
    "    local answer = ctx.http:get('http://10.0.0.4:9100/s' .. id, { timeout = 2 })\n"
    "    side = answer and answer.body or 'none'\n"
    "  end\n"
    "  if todo:find('e', 1, true) then error('as told') end\n"
    "  if todo:find('r', 1, true) then return ctx:respond(299, 'r' .. id, { ['x-id'] = id }) end\n"
    "  next(ctx)\n"
    "  if todo:find('z', 1, true) then held:cancel() end\n"
    "  if todo:find('z', 1, true) then ctx:sleep(0.09) end\n"
    "  if todo:find('b', 1, true) then ctx.response:body() end\n"
    "  if todo:find('w', 1, true) and ctx.response.status == 200 then ctx.response:set_body('w' .. id) end\n"
    "  if side then ctx.response:set_header('x-side', side) end\n"
    "end end\n"
    "return plugin\n";

/* Bodies go past it: as they are, copied, or kept back and sent with the next piece; and it may raise. */
static const char stream_text[] =
    "local plugin = { name = 's', version = '1.0.0', body = { request = 'stream', response = 'stream' } }\n"
    "local function handler(ctx, next) ctx.state.todo = ctx.request:header('x-do') or '' next(ctx) end\n"
    "local function pass(ctx, bytes, last)\n"
    "  local todo = ctx.state.todo\n"
    "  if todo:find('x', 1, true) and (last or #bytes % 7 == 3) then error('as told') end\n"
    "  if todo:find('k', 1, true) then\n"
    "    local kept = ctx.state.kept or ''\n"
    "    ctx.state.kept = bytes:sub(-5)\n"
    "    if last then return kept .. bytes end\n"
    "    return kept .. bytes:sub(1, -6)\n"
    "  end\n"
    "  if todo:find('s', 1, true) then return bytes .. '' end\n"
    "end\n"
    "local function request_body(ctx, bytes, last)\n"
    "  local out = pass(ctx, bytes, last)\n"
    "  if last then ctx.state.kept = nil end\n"
    "  return out\n"
    "end\n"
    "local function response_body(ctx, bytes, last)\n"
    "  if ctx.state.todo:find('k', 1, true) then return bytes .. '' end\n"
    "  return pass(ctx, bytes, last)\n"
    "end\n"
    "function plugin.new() return { handler = handler, request_body = request_body, response_body = "
    "response_body } end\n"
    "return plugin\n";

#define ROUTES                                                                                               \
    "plugins: { p: { use: ./plugins/p }, s: { use: ./plugins/s } }\n"                                        \
    "limiters:\n"                                                                                            \
    "  desks: { algorithm: concurrency, quota: 1000, key: global, max_keys: 64 }\n"                          \
    "  turns: { algorithm: leaky, rate: 500/s, key: global, max_wait: 60s, max_keys: 64 }\n"                 \
    "routes:\n"                                                                                              \
    "  - { name: plain, match: { paths: [{ prefix: /o }] }, service: up, timeout: %s, plugins: [{ limit: "   \
    "turns }, { limit: desks }] }\n"                                                                         \
    "  - { name: chain, match: { paths: [{ prefix: /p }] }, service: up, timeout: %s, plugins: [{ limit: "   \
    "desks }, p, { limit: turns }] }\n"                                                                      \
    "  - { name: stream, match: { paths: [{ prefix: /s }] }, service: up, plugins: [s, p], timeout: %s }\n"

typedef enum framing { NO_BODY, BY_LENGTH, BY_CHUNKS, BY_CLOSE } framing;

/* What an exchange is to be: all of it follows from the run's seed and its number. */
typedef enum fault {
    FINE,
    STALL_BEFORE,
    STALL_IN_BODY,
    CLOSE_BEFORE,
    CLOSE_IN_HEAD,
    CLOSE_IN_BODY,
    RESET_BEFORE,
    RESET_IN_BODY,
    NONSENSE,
    NONSENSE_IN_BODY,
    FAULTS
} fault;

typedef struct plan {
    uint64_t id;
    char todo[12];
    bool chained, streamed;
    int method; /* 0 GET, 1 POST, 2 HEAD, 3 PUT */
    framing up_framing, down_framing;
    size_t up_bytes, down_bytes;
    int status;
    bool early;   /* answers before the request is whole */
    bool interim; /* 103 first */
    bool close;   /* connection: close from the upstream */
    fault fault;
    bool seen;      /* arrived upstream */
    unsigned times; /* that it did */
} plan;

/* Reads messages from a stream of bytes. */
typedef struct reader {
    mg_text in;
    size_t at;
    bool in_body;
    framing framing;
    uint64_t left; /* of the length, or of the chunk */
    int chunk;     /* 0 size, 1 data, 2 end of data, 3 trailers */
    mg_text body;  /* of this message */
    mg_text head;
    bool complete;
} reader;

typedef struct client {
    int fd;
    plan *plans[REQUESTS_MAX];
    unsigned count, answered;
    mg_text out;
    size_t sent;
    size_t quits_at; /* bytes sent or heard after which it leaves */
    int quits_how;
    bool told_close, ended;
    size_t heard;
    reader in;
} client;

typedef struct up_end {
    int fd;
    bool side;
    reader in;
    plan *plan; /* being answered */
    bool answering, request_whole, done;
    mg_text out;
    size_t sent, stop_at;
    uint64_t not_before_ns;
} up_end;

typedef struct run {
    world w;
    mg_rand rand;
    uint64_t seed;
    bool faulty;
    plan plans[CLIENTS_MAX * REQUESTS_MAX];
    unsigned plan_count;
    client clients[CLIENTS_MAX];
    unsigned client_count;
    up_end *ups;
    unsigned up_count;
    int upstreams[2], side;
    bool moved;
} run;

#include "raw_ends.h"

static inline char body_byte(uint64_t id, bool down, size_t at)
{
    uint64_t x = (id * 2 + down) * 0x9e3779b97f4a7c15u + (at >> 3) * 0xbf58476d1ce4e5b9u;

    x ^= x >> 29;
    x *= 0x94d049bb133111ebu;
    x ^= x >> 32;
    return (char)(x >> 8 * (at & 7));
}

/* ---- plans ---- */

static inline size_t random_size(run *r)
{
    switch (below(r, 4)) {
    case 0: return below(r, 4);
    case 1: return below(r, 200);
    case 2: return below(r, 5000);
    default: return below(r, BODY_MAX_BYTES);
    }
}

static inline void plan_todo(run *r, plan *p)
{
    static const char words[] = "aqhzbw";
    size_t n = 0;

    for (size_t i = 0; i + 1 < sizeof words; i++)
        if (one_in(r, 4))
            p->todo[n++] = words[i];
    if (one_in(r, 10))
        p->todo[n++] = 'r';
    else if (one_in(r, 30))
        p->todo[n++] = 'e';
    if (p->streamed && one_in(r, 2))
        p->todo[n++] = one_in(r, 2) ? 'k' : 's';
    else if (p->streamed && r->faulty && one_in(r, 4))
        p->todo[n++] = 'x';
    p->todo[n] = '\0';
}

static inline plan *plan_new(run *r)
{
    plan *p = &r->plans[r->plan_count];

    *p = (plan){ .id = r->plan_count + 1, .chained = one_in(r, 2), .status = 200 };
    r->plan_count++;
    p->streamed = p->chained && one_in(r, 2);
    if (p->chained)
        plan_todo(r, p);
    p->method = (int)below(r, 4);
    if (p->method == 1 || p->method == 3) {
        p->up_framing = one_in(r, 2) ? BY_LENGTH : BY_CHUNKS;
        p->up_bytes = random_size(r);
    }
    p->down_framing = one_in(r, 8) ? BY_CLOSE : one_in(r, 2) ? BY_LENGTH : BY_CHUNKS;
    p->down_bytes = random_size(r);
    if (one_in(r, 12)) {
        p->status = one_in(r, 2) ? 204 : 304;
        p->down_framing = NO_BODY;
        p->down_bytes = 0;
    } else if (one_in(r, 10)) {
        p->status = 404;
    }
    p->early = p->up_bytes > 0 && one_in(r, 6);
    p->interim = one_in(r, 8);
    p->close = one_in(r, 8);
    if (r->faulty && one_in(r, 3))
        p->fault = (fault)below(r, FAULTS);
    return p;
}

static inline bool has_body(const plan *p)
{
    return p->method != 2 && p->down_framing != NO_BODY;
}

static inline void add_body(run *r, mg_text *out, const plan *p, bool down)
{
    const size_t n = down ? p->down_bytes : p->up_bytes;
    const framing how = down ? p->down_framing : p->up_framing;

    for (size_t at = 0; at < n;) {
        const size_t some = how == BY_CHUNKS ? 1 + below(r, n - at) : n;
        if (how == BY_CHUNKS)
            mg_text_addf(out, "%zx%s\r\n", some, one_in(r, 8) ? ";x=1" : "");
        for (size_t i = 0; i < some; i++) {
            const char byte = body_byte(p->id, down, at + i);
            mg_text_add(out, (mg_str){ &byte, 1 });
        }
        if (how == BY_CHUNKS)
            mg_text_add_c(out, "\r\n");
        at += some;
    }
    if (how == BY_CHUNKS)
        mg_text_add_c(out, one_in(r, 3) ? "0\r\nx-trailer: t\r\n\r\n" : "0\r\n\r\n");
}

static inline void write_request(run *r, mg_text *out, const plan *p)
{
    static const char *const methods[] = { "GET", "POST", "HEAD", "PUT" };

    mg_text_addf(out, "%s /%c/%llu HTTP/1.1\r\nhost: a\r\nx-id: %llu\r\n", methods[p->method],
                 p->streamed  ? 's'
                 : p->chained ? 'p'
                              : 'o',
                 (unsigned long long)p->id, (unsigned long long)p->id);
    if (p->todo[0])
        mg_text_addf(out, "x-do: %s\r\n", p->todo);
    if (p->up_framing == BY_LENGTH)
        mg_text_addf(out, "content-length: %zu\r\n", p->up_bytes);
    if (p->up_framing == BY_CHUNKS)
        mg_text_add_c(out, "transfer-encoding: chunked\r\n");
    mg_text_add_c(out, "\r\n");
    if (p->up_framing != NO_BODY)
        add_body(r, out, p, false);
}

static inline void write_response(run *r, up_end *u, const plan *p)
{
    mg_text *out = &u->out;

    if (p->interim)
        mg_text_add_c(out, "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n");
    if (p->fault == NONSENSE)
        mg_text_add_c(out, "\x01 nonsense\r\n\r\n");
    mg_text_addf(out, "HTTP/1.1 %d Word\r\nx-id: %llu\r\n", p->status, (unsigned long long)p->id);
    if (p->close)
        mg_text_add_c(out, "connection: close\r\n");
    if (p->fault == CLOSE_IN_HEAD)
        u->stop_at = out->n - below(r, 10);
    if (p->down_framing == BY_LENGTH)
        mg_text_addf(out, "content-length: %zu\r\n", p->down_bytes);
    if (p->down_framing == BY_CHUNKS)
        mg_text_add_c(out, "transfer-encoding: chunked\r\n");
    mg_text_add_c(out, "\r\n");
    const size_t head_n = out->n;
    if (!has_body(p))
        return;
    add_body(r, out, p, true);
    if (p->fault == NONSENSE_IN_BODY && p->down_framing == BY_CHUNKS) {
        out->n = head_n;
        mg_text_add_c(out, "zz\r\n\r\nmore");
    }
    if (p->fault == STALL_IN_BODY || p->fault == CLOSE_IN_BODY || p->fault == RESET_IN_BODY)
        u->stop_at = head_n + below(r, out->n - head_n + 1);
}

/* ---- reading ---- */

/* A line without its end, or NULL; moves on. */
static inline const char *take_line(reader *rd)
{
    for (size_t i = rd->at; i + 1 < rd->in.n; i++)
        if (rd->in.p[i] == '\r' && rd->in.p[i + 1] == '\n') {
            const char *text = rd->in.p + rd->at;
            rd->in.p[i] = '\0';
            rd->at = i + 2;
            return text;
        }
    return NULL;
}

/* Reads a head; the body's framing is the caller's to say. */
static inline bool read_head(reader *rd)
{
    if (rd->in.n == rd->at)
        return false;
    mg_text_add(&rd->in, (mg_str){ "", 1 });
    rd->in.n--;
    const char *end = strstr(rd->in.p + rd->at, "\r\n\r\n");
    if (!end)
        return false;
    rd->head.n = 0;
    mg_text_add(&rd->head, (mg_str){ rd->in.p + rd->at, (size_t)(end + 4 - rd->in.p) - rd->at });
    mg_text_add(&rd->head, (mg_str){ "", 1 });
    rd->at = (size_t)(end + 4 - rd->in.p);
    rd->body.n = 0;
    rd->complete = false;
    rd->chunk = 0;
    return true;
}

static inline void choose_framing(reader *rd, bool none, framing otherwise)
{
    char value[64];

    rd->left = 0;
    rd->framing = otherwise;
    if (none) {
        rd->framing = NO_BODY;
    } else if (field(rd, "transfer-encoding", value, sizeof value)) {
        rd->framing = BY_CHUNKS;
    } else if (field(rd, "content-length", value, sizeof value)) {
        rd->framing = BY_LENGTH;
        rd->left = strtoull(value, NULL, 10);
    }
    rd->in_body = true;
}

static inline void take_payload(reader *rd)
{
    const size_t n = (size_t)mg_min_u64(rd->left, rd->in.n - rd->at);

    mg_text_add(&rd->body, (mg_str){ rd->in.p + rd->at, n });
    rd->at += n;
    rd->left -= n;
}

static inline bool chunk_step(run *r, reader *rd)
{
    const char *text;

    switch (rd->chunk) {
    case 0:
        if (!(text = take_line(rd)))
            return false;
        char *end;
        rd->left = strtoull(text, &end, 16);
        if (end == text || *end)
            wrong(r, "a chunk of size \"%s\"", text);
        rd->chunk = rd->left ? 1 : 3;
        return true;
    case 1:
        take_payload(rd);
        if (rd->left)
            return false;
        rd->chunk = 2;
        return true;
    case 2:
        if (!(text = take_line(rd)))
            return false;
        if (*text)
            wrong(r, "a chunk goes on past its end");
        rd->chunk = 0;
        return true;
    default:
        if (!(text = take_line(rd)))
            return false;
        if (*text)
            return true;
        rd->complete = true;
        return false;
    }
}

/* What is there of the body. */
static inline void read_body(run *r, reader *rd)
{
    switch (rd->framing) {
    case NO_BODY: rd->complete = true; return;
    case BY_LENGTH:
        take_payload(rd);
        rd->complete = rd->left == 0;
        return;
    case BY_CLOSE:
        rd->left = UINT64_MAX;
        take_payload(rd);
        return;
    case BY_CHUNKS:
        while (!rd->complete && chunk_step(r, rd))
            continue;
        return;
    }
}

static inline void check_body(run *r, const reader *rd, uint64_t id, bool down, const char *who)
{
    for (size_t i = 0; i < rd->body.n; i++)
        if (rd->body.p[i] != body_byte(id, down, i))
            wrong(r, "%s: exchange %llu: byte %zu is another's", who, (unsigned long long)id, i);
}

/* ---- bytes ---- */

/* More bytes into `in`; 0 at the end, -1 when there are none, -2 when reset. */
static inline ssize_t pull(run *r, int fd, mg_text *in)
{
    char bytes[8192];
    const size_t most = 1 + below(r, sizeof bytes);
    mg_loop *loop = r->w.outside;
    const ssize_t got = loop->ops->recv(loop, fd, bytes, most);

    if (got > 0) {
        mg_text_add(in, (mg_str){ bytes, (size_t)got });
        r->moved = true;
    }
    return got >= 0 ? got : errno == EAGAIN ? -1 : -2;
}

#endif
