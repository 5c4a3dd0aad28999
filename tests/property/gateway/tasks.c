/* tasks.c - random programs that begin tasks, wait for them, let them go, forget them, raise and wait for all
 * that there is to wait for, while clients leave, the configuration is swapped and Lua states are renewed
 * beneath them. Whatever they do, each task ends once, is counted once, and leaves nothing behind.
 *
 * SEED=n replays one run; RUNS=n makes more of them. */
#include "unit/gateway/sim_world.h"

#include "gateway/vm_renew.h"

enum { STEPS = 60, ENDS = 48, PROGRAM = 200 };

/* A program is letters; t and d begin a task that runs what stands in the brackets behind them. */
static const char plugin_text[] =
    "local mg = require 'moongate'\n"
    "local plugin = { name = 'p', version = '1' }\n"
    "local text = '[' .. ('\"0123456789abcdef\",'):rep(20000) .. '1]'\n"
    "local play\n"
    "local function step(op, inner, ctx, tasks)\n"
    "  if op == 't' then tasks[#tasks + 1] = ctx:task({ timeout = 9 }, play, inner)\n"
    "  elseif op == 'd' then ctx:task({ timeout = 40 }, play, inner):detach()\n"
    "  elseif op == 'D' then ctx:task(play, inner):detach():detach()\n"
    "  elseif op == 'w' and tasks[1] then pcall(tasks[#tasks].wait, tasks[#tasks])\n"
    "  elseif op == 'W' and tasks[1] then table.remove(tasks):wait()\n"
    "  elseif op == 'z' then ctx:sleep(0)\n"
    "  elseif op == 's' then ctx:sleep(0.3)\n"
    "  elseif op == 'S' then pcall(ctx.sleep, ctx, 7)\n"
    "  elseif op == 'h' then ctx.http:get('http://10.0.0.2:9000/', { timeout = 3 })\n"
    "  elseif op == 'H' then pcall(ctx.http.get, ctx.http, 'http://10.0.0.2:9000/')\n"
    "  elseif op == 'k' then ctx.kv:set('k', op) ctx.kv:barrier()\n"
    "  elseif op == 'l' then ctx.limit:reserve('all', 'k', 1, 2)\n"
    "  elseif op == 'j' then ctx.json.decode(text)\n"
    "  elseif op == 'e' then error('as told')\n"
    "  elseif op == 'E' then error({ as = 'told' })\n"
    "  elseif op == 'c' then while true do end end\n"
    "end\n"
    "function play(ctx, program)\n"
    "  local tasks, at = {}, 1\n"
    "  while at <= #program do\n"
    "    local op, inner = program:sub(at, at), program:match('^%b()', at + 1)\n"
    "    at = at + 1 + #(inner or '')\n"
    "    step(op, (inner or '()'):sub(2, -2), ctx, tasks)\n"
    "  end\n"
    "  return #tasks\n"
    "end\n"
    "function plugin.new()\n"
    "  mg.every(2, function(ctx) play(ctx, 'sht(s)d(S)w') end)\n"
    "  mg.every(5, function(ctx) play(ctx, 'SSe') end, { timeout = 12 })\n"
    "  return { handler = function(ctx, next)\n"
    "    play(ctx, ctx.request:header('x-in') or '')\n"
    "    if ctx.request:header('x-next') then next(ctx) else ctx:respond(200, 'own') end\n"
    "    play(ctx, ctx.request:header('x-out') or '')\n"
    "  end, log = function(ctx) play(ctx, ctx.request:header('x-log') or '') end }\n"
    "end\n"
    "return plugin\n";

#define CONFIG(revision)                                                                                     \
    WEB QUIET SERVICE                                                                                        \
        "limiters: { all: { rate: 5/s, burst: 5, max_wait: 2s } }\n"                                         \
        "shutdown: { drain_delay: 0s, drain_timeout: 300s }\n"                                               \
        "plugins: { p: { use: ./plugins/p, timeout: " revision " } }\n"                                      \
        "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"

typedef struct run {
    world w;
    uint64_t seed;
    mg_rand rand;
    int upstream;
    int clients[ENDS], ups[ENDS];
} run;

static unsigned below(run *r, unsigned n)
{
    return (unsigned)mg_rand_below(&r->rand, n);
}

/* Text of at most `room` bytes; tasks that tasks begin are nested `depth` deep at most. */
static size_t write_program(run *r, char *out, size_t room, unsigned depth)
{
    static const char letters[] = "tttdddDwwWWzzsssSSShhhHHkklljeEc";
    size_t n = 0;

    for (unsigned ops = below(r, 7); ops && n + 4 < room; ops--) {
        const char op = letters[below(r, sizeof letters - 1)];
        const bool begins = op == 't' || op == 'd' || op == 'D';
        if (begins && !depth)
            continue;
        out[n++] = op;
        if (!begins)
            continue;
        out[n++] = '(';
        n += write_program(r, out + n, room - n - 1, depth - 1);
        out[n++] = ')';
    }
    out[n] = '\0';
    return n;
}

static void send_request(run *r)
{
    static const char *const fields[] = { "x-in", "x-out", "x-log" };
    char text[1024];
    const unsigned slot = below(r, ENDS);
    size_t n = (size_t)snprintf(text, sizeof text, "GET / HTTP/1.1\r\nhost: a\r\n%s",
                                below(r, 2) ? "x-next: 1\r\n" : "");

    if (r->clients[slot] < 0)
        r->clients[slot] = dial(&r->w, "10.0.0.1", 80);
    for (size_t i = 0; i < mg_countof(fields); i++) {
        char program[PROGRAM];
        write_program(r, program, sizeof program, 5);
        n += (size_t)snprintf(text + n, sizeof text - n, "%s: %s\r\n", fields[i], program);
    }
    (void)snprintf(text + n, sizeof text - n, "\r\n");
    if (getenv("SEED"))
        printf("%u: %s", slot, text);
    (void)say_bytes(&r->w, r->clients[slot], text, strlen(text));
}

static void answer(run *r)
{
    for (int fd; (fd = take(&r->w, r->upstream)) >= 0;) {
        const unsigned slot = below(r, ENDS);
        if (r->ups[slot] >= 0)
            hang_up(&r->w, r->ups[slot]);
        r->ups[slot] = fd;
    }
    for (unsigned i = 0; i < ENDS; i++) {
        if (r->ups[i] < 0 || below(r, 3) == 0)
            continue;
        const bool open = hear(&r->w, r->ups[i]) == HEAR_OPEN;
        if (open && r->w.heard[0])
            (void)say_bytes(&r->w, r->ups[i], "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", 40);
        if (open && below(r, 8))
            continue;
        hang_up(&r->w, r->ups[i]);
        r->ups[i] = -1;
    }
}

static void drop(run *r, int *fds, unsigned at)
{
    if (fds[at] >= 0)
        hang_up(&r->w, fds[at]);
    fds[at] = -1;
}

static void step(run *r)
{
    static const char *const configs[] = { CONFIG("2s"), CONFIG("60s"), WEB QUIET SERVICE ROUTE };
    const unsigned kind = below(r, 20);

    if (kind < 9) {
        send_request(r);
    } else if (kind < 13) {
        answer(r);
    } else if (kind < 17) {
        advance(&r->w, below(r, 3) ? below(r, 2000) * MS : below(r, 20000) * MS);
    } else if (kind < 18) {
        drop(r, r->clients, below(r, ENDS));
    } else if (kind < 19) {
        r->w.next = configs[below(r, mg_countof(configs))];
        mg_gateway_reload(r->w.gateway);
        settle(&r->w);
    } else {
        mg_vm_renew_ask(r->w.gateway->shared.workers[0]);
        settle(&r->w);
    }
}

static void wrong(const run *r, const char *what, uint64_t got, uint64_t wanted)
{
    fail_msg("SEED=%llu: %s: %llu, not %llu", (unsigned long long)r->seed, what, (unsigned long long)got,
             (unsigned long long)wanted);
}

/* What /metrics says of tasks: how many ended in one of the ways, and how many run. */
static uint64_t number_of(run *r, const char *sample)
{
    mg_text text = { 0 };
    uint64_t sum = 0;

    mg_stats_write(r->w.gateway->shared.stats, &(mg_stats_global){ 0 }, &text);
    for (const char *at = text.p; (at = strstr(at, sample)); at++) {
        const char *end = strchr(at, '\n'), *value = memchr(at, ' ', (size_t)(end - at));
        if (!strstr(at, "\"refused\"") || strstr(at, "\"refused\"") > end)
            sum += strtoull(value, NULL, 10);
    }
    mg_text_fini(&text);
    return sum;
}

static void check_end(run *r)
{
    const uint64_t begun = r->w.gateway->shared.workers[0]->jobs_begun;

    for (unsigned i = 0; i < ENDS; i++)
        drop(r, r->clients, i);
    r->w.next = WEB QUIET SERVICE ROUTE;
    mg_gateway_reload(r->w.gateway);
    settle(&r->w);
    advance(&r->w, 120 * MG_NS_PER_S);
    if (number_of(r, "moongate_tasks_running{kind=\"task\"}"))
        wrong(r, "tasks run", number_of(r, "moongate_tasks_running{kind=\"task\"}"), 0);
    if (number_of(r, "moongate_tasks_running{kind=\"every\"}"))
        wrong(r, "runs run", number_of(r, "moongate_tasks_running{kind=\"every\"}"), 0);
    const uint64_t ended = number_of(r, "moongate_tasks_total{kind=\"task\"");
    if (ended != r->w.gateway->shared.workers[0]->jobs_begun || begun > ended)
        wrong(r, "tasks ended", ended, r->w.gateway->shared.workers[0]->jobs_begun);
    if (world_live_exchanges(&r->w))
        wrong(r, "exchanges stay behind", world_live_exchanges(&r->w), 0);
    if (r->w.gateway->shared.workers[0]->jobs.next != &r->w.gateway->shared.workers[0]->jobs)
        wrong(r, "Lua states stay behind", 1, 0);
}

static void one_run(uint64_t seed)
{
    run *r = MG_NEW(run);

    printf("\rSEED=%llu ", (unsigned long long)seed);
    fflush(stdout);
    r->seed = seed;
    mg_rand_init(&r->rand, seed);
    for (unsigned i = 0; i < ENDS; i++)
        r->clients[i] = r->ups[i] = -1;
    world_init(&r->w, seed, 1);
    world_plugin(&r->w, "p", plugin_text);
    assert_true(world_try_start(&r->w, seed, CONFIG("2s")));
    mg_log_set_level(r->w.log, getenv("SEED") ? MG_LOG_DEBUG : MG_LOG_OFF);
    r->upstream = listen_at(&r->w, "10.0.0.2", 9000);
    for (unsigned i = 0; i < STEPS; i++)
        step(r);
    const unsigned way = below(r, 3); /* in peace, by a drain, or at once */
    if (way == 0)
        check_end(r);
    if (way == 1) {
        mg_gateway_drain(r->w.gateway);
        for (unsigned i = 0; i < 100 && !r->w.stopped; i++) {
            drop(r, r->clients, below(r, ENDS));
            advance(&r->w, below(r, 10000) * MS);
        }
        if (!r->w.stopped)
            wrong(r, "stopped", 0, 1);
    }
    world_free_gateway(&r->w);
    for (unsigned i = 0; i < ENDS; i++) {
        drop(r, r->clients, i);
        drop(r, r->ups, i);
    }
    hang_up(&r->w, r->upstream);
    if (getenv("SEED"))
        printf("%s", r->w.logged.p ? r->w.logged.p : "");
    world_close(&r->w);
    mg_free(r);
}

static void each_task_ends_once_and_leaves_nothing(void **state)
{
    const char *seed = getenv("SEED"), *runs = getenv("RUNS");

    (void)state;
    if (seed) {
        one_run(strtoull(seed, NULL, 10));
        return;
    }
    for (uint64_t i = 1; i <= (runs ? strtoull(runs, NULL, 10) : 60); i++)
        one_run(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_task_ends_once_and_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
