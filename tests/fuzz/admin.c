/* A request to the admin listener of a gateway that runs, in a world of its own: the text's first line is the
 * request line up to its version, the rest its body. There is one whole answer to it whatever it says, and
 * what calls itself JSON is JSON. The gateway has no folder: nothing is written anywhere. */
#include "base/check.h"
#include "base/mem.h"
#include "gateway/control.h"
#include "sim/sim.h"
#include "text/json.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BODY_MAX = 4096, ANSWER_MAX = 4 << 20 };

static const char config_text[] =
    "listeners: { web: { bind: \"10.0.0.1:80\" } }\n"
    "admin: { bind: \"unix:/tmp/admin.sock\" }\n"
    "observability: { access_log: { to: off } }\n"
    "services:\n"
    "  up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }, { url: \"http://10.0.0.3:9000\" }], breaker: {} "
    "}\n"
    "  next: { endpoints: [{ url: \"http://10.0.0.4:9000\" }] }\n"
    "limiters: { busy: { rate: 5/s, burst: 1 } }\n"
    "routes:\n"
    "  - { name: shop, match: { paths: [{ prefix: /shop }] }, plugins: [{ limit: busy }],\n"
    "      backends: [{ service: up }, { service: next, group: canary }],\n"
    "      rollout: { to: next, id: r1, steps: [5%, 100%], interval: 10s, min_requests: 20, max_errors: 5%, "
    "max_p99: 100ms, strikes: 2 } }\n"
    "  - { name: all, match: { paths: [{ prefix: / }] }, service: up }\n";

/* Lives as long as the process. */
typedef struct world {
    mg_sim *sim;
    mg_loop *loops[3], *outside;
    mg_gateway *gateway;
    char *answer;
    size_t answer_n;
} world;

static mg_config *read_config(void *self, mg_report *report)
{
    const mg_config_env env = { .partial = true };

    (void)self;
    return mg_config_load_text("f.yaml", mg_str_of(config_text), &env, report);
}

static void build(world *w)
{
    mg_report report = MG_REPORT_INIT;
    mg_error err = MG_ERROR_INIT;

    w->sim = mg_sim_new(1);
    w->outside = mg_sim_loop_new(w->sim);
    for (int i = 0; i < 3; i++)
        w->loops[i] = mg_sim_loop_new(w->sim);
    const mg_gateway_options options = { .clock = mg_sim_clock(w->sim),
                                         .seed = 1,
                                         .loops = w->loops,
                                         .loop_count = 3,
                                         .resolver = mg_resolver_new(w->loops[0], NULL, &err),
                                         .read_config = read_config };
    mg_config *config = read_config(NULL, &report);
    w->gateway = config ? mg_gateway_new(&options, config, &report) : NULL;
    if (!w->gateway) {
        mg_text out = { 0 };
        mg_report_print(&report, &out);
        fprintf(stderr, "%s\n", out.p ? out.p : "no gateway");
        abort();
    }
    mg_report_fini(&report);
    MG_CHECK(mg_gateway_start(w->gateway, NULL, NULL, NULL) == MG_OK);
    mg_sim_settle(w->sim);
    w->answer = mg_alloc(ANSWER_MAX);
}

static void say(world *w, int fd, mg_str bytes)
{
    while (bytes.n) {
        const struct iovec part = { (void *)(uintptr_t)bytes.p, bytes.n };
        const ssize_t sent = w->outside->ops->send(w->outside, fd, &part, 1);

        mg_sim_settle(w->sim);
        if (sent <= 0)
            return; /* refused already */
        bytes = mg_str_sub(bytes, (size_t)sent, bytes.n);
    }
}

/* To the end of the connection. */
static void hear(world *w, int fd)
{
    ssize_t got;

    w->answer_n = 0;
    do {
        mg_sim_settle(w->sim);
        got = w->outside->ops->recv(w->outside, fd, w->answer + w->answer_n, ANSWER_MAX - w->answer_n);
        w->answer_n += got > 0 ? (size_t)got : 0;
    } while (got > 0 && w->answer_n < ANSWER_MAX);
    w->outside->ops->close(w->outside, fd, false);
    mg_sim_settle(w->sim);
}

static void check_json(mg_str body)
{
    const mg_source source = { "answer", body };
    mg_report report = MG_REPORT_INIT;
    mg_arena arena;

    mg_arena_init(&arena, NULL, 0);
    MG_CHECK(mg_json_parse(&arena, &source, &report));
    mg_report_fini(&report);
    mg_arena_fini(&arena);
}

static void check_answer(mg_str answer, bool heads_only)
{
    const char *end = answer.n ? memmem(answer.p, answer.n, "\r\n\r\n", 4) : NULL;

    MG_CHECK(end && mg_str_starts(answer, MG_STR("HTTP/1.")));
    const mg_str head = mg_str_sub(answer, 0, (size_t)(end - answer.p));
    if (!heads_only && memmem(head.p, head.n, "json", 4))
        check_json(mg_str_sub(answer, head.n + 4, answer.n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static world w; /* building it takes longer than a hundred requests */
    mg_str body = mg_str_make((const char *)data, size), line;
    mg_text request = { 0 };
    mg_addr addr;

    if (size > BODY_MAX || !mg_str_cut(&body, '\n', &line) || !line.n)
        return 0;
    if (!w.sim)
        build(&w);
    mg_text_add(&request, line);
    mg_text_addf(&request, " HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n",
                 body.n);
    mg_text_add(&request, body);
    MG_CHECK(mg_addr_parse_bind(&addr, MG_STR("unix:/tmp/admin.sock"), NULL) == MG_OK);
    const int fd = w.outside->ops->connect(w.outside, &addr);
    MG_CHECK(fd >= 0);
    mg_sim_settle(w.sim);
    say(&w, fd, mg_text_str(&request));
    hear(&w, fd);
    check_answer(mg_str_make(w.answer, w.answer_n), mg_str_starts(line, MG_STR("HEAD ")));
    mg_text_fini(&request);
    return 0;
}
