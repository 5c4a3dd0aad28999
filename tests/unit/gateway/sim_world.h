/* sim_world.h - a whole gateway on simulated loops, and both its ends in a test's hand: clients and upstreams
 * are plain descriptors of one more loop, that say and hear raw bytes. Nothing waits: time moves when the
 * test says so. */
#ifndef TEST_SIM_WORLD_H
#define TEST_SIM_WORLD_H

#include "support/tmpdir.h"

#include "base/check.h"
#include "base/mem.h"
#include "gateway/control.h"
#include "sim/sim.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <cmocka.h>

#define MS MG_NS_PER_MS

enum { WORLD_WORKERS_MAX = 3, HEARD_BYTES = 1 << 20 };

typedef struct world {
    mg_sim *sim;
    mg_loop *outside;                      /* of clients and upstreams */
    mg_loop *loops[WORLD_WORKERS_MAX + 2]; /* control, workers, flusher */
    unsigned workers;
    mg_resolver *resolver;
    mg_log *log;
    mg_text logged;
    mg_gateway *gateway;
    const char *next; /* configuration that a reload reads; NULL: the first again */
    const char *first;
    char folder[TMPDIR_PATH_BYTES];
    bool ready, stopped;
    char *heard; /* what world_hear returned last */
} world;

static inline void world_sink(void *self, mg_log_level level, mg_str line)
{
    (void)level;
    mg_text_add(self, line);
}

static inline mg_config *world_config(world *w, const char *text, mg_report *report)
{
    const mg_config_env env = { .partial = true };
    char file[TMPDIR_PATH_BYTES + 32];

    snprintf(file, sizeof file, "%s/moongate.yaml", w->folder);
    return mg_config_load_text(file, mg_str_of(text), &env, report);
}

static inline mg_config *world_read_config(void *self, mg_report *report)
{
    world *w = self;

    return world_config(w, w->next ? w->next : w->first, report);
}

static inline void world_is_ready(void *self)
{
    ((world *)self)->ready = true;
}

static inline void world_has_stopped(void *self)
{
    ((world *)self)->stopped = true;
}

/* A plugin's folder beside the configuration: ./plugins/NAME. */
static inline void world_plugin(world *w, const char *name, const char *source)
{
    char path[TMPDIR_PATH_BYTES + 64];

    snprintf(path, sizeof path, "%s/plugins", w->folder);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/plugins/%s", w->folder, name);
    mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/plugins/%s/plugin.lua", w->folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(source, file);
    fclose(file);
}

static inline void world_init(world *w, uint64_t seed, unsigned workers)
{
    mg_error err = MG_ERROR_INIT;

    *w = (world){ .sim = mg_sim_new(seed), .workers = workers };
    w->outside = mg_sim_loop_new(w->sim);
    for (unsigned i = 0; i < workers + 2; i++)
        w->loops[i] = mg_sim_loop_new(w->sim);
    w->resolver = mg_resolver_new(w->loops[0], NULL, &err);
    assert_non_null(w->resolver);
    w->log = mg_log_new(MG_LOG_DEBUG, mg_sim_clock(w->sim), world_sink, &w->logged);
    w->heard = mg_alloc(HEARD_BYTES + 1);
    tmpdir_make(w->folder);
}

/* Everything that is ready now. */
static inline void settle(world *w)
{
    mg_sim_settle(w->sim);
}

static inline void advance(world *w, uint64_t ns)
{
    mg_sim_advance(w->sim, ns);
}

/* False when the gateway refuses the configuration. */
static inline bool world_try_start(world *w, uint64_t seed, const char *text)
{
    mg_report report = MG_REPORT_INIT;
    const mg_gateway_options options = { .log = w->log,
                                         .clock = mg_sim_clock(w->sim),
                                         .seed = seed,
                                         .loops = w->loops,
                                         .loop_count = w->workers + 2,
                                         .resolver = w->resolver,
                                         .read_config = world_read_config,
                                         .self = w };

    w->first = text;
    mg_config *config = world_config(w, text, &report);
    w->gateway = config ? mg_gateway_new(&options, config, &report) : NULL;
    for (size_t i = 0; i < report.count && !w->gateway; i++)
        printf("%s: %s\n", report.findings[i].pointer ? report.findings[i].pointer : "-",
               report.findings[i].message);
    mg_report_fini(&report);
    if (!w->gateway)
        return false;
    mg_gateway_on_stopped(w->gateway, world_has_stopped, w);
    assert_int_equal(mg_gateway_start(w->gateway, world_is_ready, w, NULL), MG_OK);
    settle(w);
    return true;
}

static inline void world_open(world *w, const char *text)
{
    world_init(w, 1, 1);
    assert_true(world_try_start(w, 1, text));
    assert_true(w->ready);
}

/* The disk takes nothing, and barriers wait, until it is let go. */
static inline void world_hold_disk(world *w, bool held)
{
    mg_sim_hold(w->loops[w->workers + 1], held);
}

static inline size_t world_live_exchanges(const world *w)
{
    size_t live = 0;

    for (unsigned i = 0; w->gateway && i < w->workers; i++)
        live += w->gateway->shared.workers[i]->net.live_exchanges;
    return live;
}

static inline void world_free_gateway(world *w)
{
    mg_gateway_free(w->gateway);
    w->gateway = NULL;
}

/* The test has closed its own ends before. */
static inline void world_close(world *w)
{
    world_free_gateway(w);
    mg_resolver_free(w->resolver);
    assert_int_equal(mg_sim_open_sockets(w->sim), 0);
    assert_int_equal(mg_sim_live_timers(w->sim), 0);
    for (unsigned i = 0; i < w->workers + 2; i++)
        mg_loop_free(w->loops[i]);
    mg_loop_free(w->outside);
    mg_sim_free(w->sim);
    mg_log_free(w->log);
    mg_text_fini(&w->logged);
    mg_free(w->heard);
    tmpdir_remove(w->folder);
}

/* ---- the ends ---- */

static inline mg_addr addr_of(const char *ip, uint16_t port)
{
    mg_addr addr;

    assert_true(mg_addr_from_ip(&addr, mg_str_of(ip), port));
    return addr;
}

static inline int dial(world *w, const char *ip, uint16_t port)
{
    const mg_addr addr = addr_of(ip, port);
    const int fd = w->outside->ops->connect(w->outside, &addr);

    assert_true(fd >= 0);
    settle(w);
    return fd;
}

static inline int listen_at(world *w, const char *ip, uint16_t port)
{
    const mg_addr addr = addr_of(ip, port);
    const int fd = w->outside->ops->listen(w->outside, &addr, 128, false);

    assert_true(fd >= 0);
    return fd;
}

/* The next connection, or -1. */
static inline int take(world *w, int listener)
{
    mg_addr peer;

    settle(w);
    return w->outside->ops->accept(w->outside, listener, &peer);
}

/* Bytes taken; what is sent is not waited for. */
static inline size_t say_bytes(world *w, int fd, const char *bytes, size_t n)
{
    const struct iovec part = { (void *)(uintptr_t)bytes, n };
    const ssize_t sent = w->outside->ops->send(w->outside, fd, &part, 1);

    settle(w);
    return sent < 0 ? 0 : (size_t)sent;
}

/* In as many parts as it takes. */
static inline void say_all(world *w, int fd, const char *bytes, size_t n)
{
    for (size_t said = 0; said < n;) {
        const size_t some = say_bytes(w, fd, bytes + said, n - said);
        assert_true(some > 0);
        said += some;
    }
}

static inline void say(world *w, int fd, const char *text)
{
    assert_int_equal(say_bytes(w, fd, text, strlen(text)), strlen(text));
}

enum { HEAR_OPEN, HEAR_END, HEAR_RESET };

/* All bytes that are there, as text of w->heard. */
static inline int hear(world *w, int fd)
{
    size_t n = 0;

    for (;;) {
        settle(w);
        const ssize_t got = w->outside->ops->recv(w->outside, fd, w->heard + n, HEARD_BYTES - n);
        w->heard[n + (got > 0 ? (size_t)got : 0)] = '\0';
        if (got > 0) {
            n += (size_t)got;
            continue;
        }
        if (got == 0)
            return HEAR_END;
        return errno == EAGAIN || errno == EWOULDBLOCK ? HEAR_OPEN : HEAR_RESET;
    }
}

static inline void hang_up(world *w, int fd)
{
    w->outside->ops->close(w->outside, fd, false);
    settle(w);
}

static inline void hang_up_hard(world *w, int fd)
{
    w->outside->ops->close(w->outside, fd, true);
    settle(w);
}

static inline void half_close(world *w, int fd)
{
    w->outside->ops->shutdown_write(w->outside, fd);
    settle(w);
}

static inline bool ends_with(const char *text, const char *end)
{
    const size_t n = strlen(text), m = strlen(end);

    return n >= m && strcmp(text + n - m, end) == 0;
}

#define assert_starts(text, start) assert_memory_equal(text, start, strlen(start))
#define assert_has(text, part)                                                                               \
    do {                                                                                                     \
        if (!strstr(text, part))                                                                             \
            fail_msg("no \"%s\" in:\n%s", part, text);                                                       \
    } while (0)
#define assert_ends(text, end)                                                                               \
    do {                                                                                                     \
        if (!ends_with(text, end))                                                                           \
            fail_msg("not at the end, \"%s\":\n%s", end, text);                                              \
    } while (0)

/* A request's answer, whole, whose status is this; the connection stays open. */
static inline void hear_status(world *w, int fd, const char *status)
{
    char start[32];

    assert_int_equal(hear(w, fd), HEAR_OPEN);
    snprintf(start, sizeof start, "HTTP/1.1 %s ", status);
    if (strncmp(w->heard, start, strlen(start)) != 0)
        fail_msg("wanted %s, heard:\n%s", status, w->heard);
}

/* ---- one client, one upstream ---- */

typedef struct line {
    world w;
    int upstream; /* listens at 10.0.0.2:9000 */
    int client, up;
} line;

#define WEB     "listeners: { web: { bind: \"10.0.0.1:80\" } }\n"
#define QUIET   "observability: { access_log: { to: off } }\n"
#define SERVICE "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }] } }\n"
#define ROUTE   "routes: [{ name: all, match: { paths: [{ prefix: / }] }, service: up }]\n"
/* The chain is the plugin of ./plugins/p. */
#define ROUTE_P                                                                                              \
    "plugins: { p: { use: ./plugins/p } }\n"                                                                 \
    "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [p], service: up }]\n"
#define HANDLER(text)                                                                                        \
    "local plugin = { name = 'p', version = '1.0.0', body = { request = 'buffer(1MiB)', response = "         \
    "'buffer(1MiB)' } }\nfunction plugin.new()\nreturn function(ctx, next)\n" text                           \
    "\nend\nend\nreturn plugin\n"

/* `handler`: Lua between "return function(ctx, next)" and "end"; NULL: no plugin. */
static inline void line_open(line *l, const char *config, const char *plugin)
{
    world_init(&l->w, 1, 1);
    if (plugin)
        world_plugin(&l->w, "p", plugin);
    assert_true(world_try_start(&l->w, 1, config));
    assert_true(l->w.ready);
    l->upstream = listen_at(&l->w, "10.0.0.2", 9000);
    l->client = dial(&l->w, "10.0.0.1", 80);
    l->up = -1;
}

/* The request arrives upstream: its head stands in w.heard. */
static inline void line_ask(line *l, const char *request)
{
    say(&l->w, l->client, request);
    if (l->up < 0)
        l->up = take(&l->w, l->upstream);
    assert_true(l->up >= 0);
    assert_int_equal(hear(&l->w, l->up), HEAR_OPEN);
}

static inline void line_drop(line *l, int *fd)
{
    if (*fd >= 0)
        hang_up(&l->w, *fd);
    *fd = -1;
}

static inline void line_close(line *l)
{
    line_drop(l, &l->client);
    line_drop(l, &l->up);
    line_drop(l, &l->upstream);
    settle(&l->w);
    assert_int_equal(world_live_exchanges(&l->w), 0);
    world_close(&l->w);
}

/* The client's end after what it has heard: END or RESET, both are gone. */
static inline void client_is_cut(line *l)
{
    assert_true(hear(&l->w, l->client) != HEAR_OPEN);
}

#endif
