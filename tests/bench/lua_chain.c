/* lua_chain.c - what a chain of five plugins costs: ns a request, with everything of Lua and of the C half of
 * ctx, without HTTP, loop and pipeline. `lua_chain [requests [light]]`; with JIT_V in the environment LuaJIT
 * tells about its traces. */
#include "../unit/gateway/call_fixture.h"

#include <stdlib.h>
#include <time.h>

/* Light: reads, sets, a table, a bucket, a counter. */
static const char *const light[] = {
    "local p = {}\nfunction p.new()\nreturn function(ctx, next)\n"
    "local id = ctx.request:header('x-request-id') or ctx:new_id()\n"
    "if #id > 64 then return ctx:respond(400, 'malformed x-request-id') end\n"
    "ctx.request:set_header('x-request-id', id)\nnext(ctx)\nctx.response:set_header('x-request-id', "
    "id)\nend\nend\nreturn p\n",
    "local p = {}\nfunction p.new()\nlocal keys = { k1 = 'alice' }\nreturn function(ctx, next)\n"
    "local who = keys[ctx.request:header('x-api-key') or '']\n"
    "if not who then return ctx:respond(401, { title = 'Unknown key' }) end\n"
    "ctx:set_consumer(who)\nctx.request:set_header('x-consumer', who)\nreturn next(ctx)\nend\nend\nreturn "
    "p\n",
    "local mg = require 'moongate'\nlocal p = {}\nfunction p.new()\nlocal bucket = mg.limiter { rate = "
    "'1000000/s' }\n"
    "return function(ctx, next)\nlocal ok = bucket:take(ctx.consumer or ctx.request.client_address)\n"
    "if not ok then return ctx:respond(429, { title = 'Too many' }) end\nreturn next(ctx)\nend\nend\nreturn "
    "p\n",
    "local p = {}\nfunction p.new()\nreturn function(ctx, next)\nctx.request:set_header('x-gateway', "
    "'moongate')\n"
    "ctx.request:remove_header('x-api-key')\nreturn next(ctx)\nend\nend\nreturn p\n",
    "local mg = require 'moongate'\nlocal p = {}\nfunction p.new()\nlocal seen = mg.counter('seen')\n"
    "return function(ctx, next)\nnext(ctx)\nseen:add()\nctx.response:set_header('x-served-by', "
    "'moongate')\nend\nend\nreturn p\n",
};

/* Empty layers: the onion alone. */
#define PASS                                                                                                 \
    "local p = {}\nfunction p.new()\nreturn function(ctx, next)\nreturn next(ctx)\nend\nend\nreturn p\n"
static const char *const empty[] = { PASS, PASS " ", PASS "  ", PASS "   ", PASS "    " };

/* The embedded files, with LuaJIT's tracer switched on in front of boot.lua when JIT_V is set. */
static mg_str source(const char *name)
{
    static char text[65536];
    const mg_str plain = mg_embedded(name);

    if (!getenv("JIT_V") || strcmp(name, "lua/moongate/worker/boot.lua") != 0)
        return plain;
    return mg_str_make(
        text,
        (size_t)snprintf(
            text, sizeof(text),
            "do package.path = '/usr/share/luajit-2.1.0-beta3/?.lua' require('jit.v').on() end %s", plain.p));
}

static double seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t); /* others may use the machine */
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void expect(fixture *f, int wait)
{
    const int got = fixture_resume(f);

    if (got == wait)
        return;
    fprintf(stderr, "waits for %d instead of %d: %s\n", got, wait, f->error.traceback);
    exit(1);
}

static void once(fixture *f, const mg_request *request)
{
    mg_fake_clock_advance(&f->clock, 10000); /* a bucket that is never empty */
    f->x.answer = MG_ANSWER_NONE;
    f->x.request = *request;
    f->x.request.fields.items = mg_arena_alloc(&f->x.arena, 16 * sizeof(mg_field));
    memcpy(f->x.request.fields.items, request->fields.items, request->fields.count * sizeof(mg_field));
    f->x.request.fields.cap = 16;
    f->task = mg_task_take(f->vm);
    f->call = mg_task_call(f->task);
    *f->call = (mg_call){ .x = &f->x,
                          .task = f->task,
                          .host = &f->host,
                          .client = MG_STR("192.0.2.7"),
                          .route_name = MG_STR("cart"),
                          .plugin = UINT32_MAX };
    expect(f, MG_WAIT_NEXT);
    fixture_answer(f, 200);
    expect(f, MG_WAIT_DONE);
    mg_task_give(f->task, true);
}

static void run(const char *name, const char *const *sources, size_t count, long requests)
{
    static char memory[16384];
    fixture f;
    mg_text plan = { 0 };
    mg_vm_conf conf;
    mg_request request;
    mg_arena kept;
    double begun;
    size_t before;

    fixture_init(&f);
    fixture_plan(&plan, sources, NULL, count);
    conf = fixture_conf(&f);
    conf.source = source;
    f.vm = mg_vm_new(&conf, mg_text_str(&plan), &f.err);
    mg_text_fini(&plan);
    if (!f.vm) {
        fprintf(stderr, "%s\n", f.err.message);
        exit(1);
    }
    fixture_request(&f);
    request = f.x.request;
    kept = f.x.arena; /* holds the fields of `request` */
    mg_arena_init(&f.x.arena, memory, sizeof(memory));
    for (long i = 0; i < 20000; i++) {
        mg_arena_reset(&f.x.arena);
        once(&f, &request);
    }
    before = mg_vm_used_bytes(f.vm);
    begun = seconds();
    for (long i = 0; i < requests; i++) {
        mg_arena_reset(&f.x.arena);
        once(&f, &request);
    }
    printf("%-14s %7.1f ns a request   %zu KiB before, %zu KiB after\n", name,
           (seconds() - begun) / (double)requests * 1e9, before >> 10, mg_vm_used_bytes(f.vm) >> 10);
    mg_arena_fini(&kept);
    fixture_fini(&f);
}

int main(int argc, char **argv)
{
    const long requests = argc > 1 ? atol(argv[1]) : 2000000;

    if (argc < 3) {
        run("no plugin", empty, 0, requests);
        run("one empty", empty, 1, requests);
        run("five empty", empty, 5, requests);
    }
    run("five light", light, 5, requests);
    return 0;
}
