/* sim_memory.c - a whole gateway that is killed and started again on the virtual clock: what it remembers. */
#include "sim_world.h"

#include <fcntl.h>

#define GET    "GET / HTTP/1.1\r\nhost: a\r\n\r\n"
#define OK     "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"
#define BROKEN "HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n"
#define STATE  "state: { path: state }\n"
#define LIMITED(limiter)                                                                                     \
    WEB QUIET STATE SERVICE "limiters: { all: { " limiter " } }\n"                                           \
                            "routes: [{ name: all, match: { paths: [{ prefix: / }] }, plugins: [{ limit: "   \
                            "all }], service: up }]\n"
#define GUARDED                                                                                              \
    WEB QUIET STATE "services: { up: { endpoints: [{ url: \"http://10.0.0.2:9000\" }], breaker: { "          \
                    "consecutive_failures: 2, open_for: 30s, open_jitter: 0% } } }\n" ROUTE

enum { FILE_MAX = 4 << 20 };

/* The store's file as it is on the disk now. */
typedef struct image {
    char path[TMPDIR_PATH_BYTES + 32];
    char *bytes;
    size_t n;
} image;

static void image_take(image *i, const world *w)
{
    snprintf(i->path, sizeof i->path, "%s/state/policy/data.mdb", w->folder);
    const int fd = open(i->path, O_RDONLY);
    assert_true(fd >= 0);
    i->bytes = mg_alloc(FILE_MAX);
    const ssize_t n = read(fd, i->bytes, FILE_MAX);
    assert_true(n > 0 && n < FILE_MAX);
    i->n = (size_t)n;
    close(fd);
}

static void image_put_back(image *i)
{
    const int fd = open(i->path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, i->bytes, i->n), i->n);
    close(fd);
    mg_free(i->bytes);
}

/* As if by SIGKILL: the file is what it was at that moment, whatever an orderly end would have stored. */
static void kill_and_start(line *l, const char *config, uint64_t down_ns)
{
    image i;

    line_drop(l, &l->client);
    line_drop(l, &l->up);
    settle(&l->w);
    image_take(&i, &l->w);
    world_free_gateway(&l->w);
    image_put_back(&i);
    advance(&l->w, down_ns);
    assert_true(world_try_start(&l->w, 1, config));
    l->client = dial(&l->w, "10.0.0.1", 80);
}

/* Later, on a connection of its own. */
static void come_back(line *l, uint64_t ns)
{
    line_drop(l, &l->client);
    line_drop(l, &l->up);
    settle(&l->w);
    advance(&l->w, ns);
    l->client = dial(&l->w, "10.0.0.1", 80);
}

static void ask(line *l, const char *status, const char *answer)
{
    line_ask(l, GET);
    say(&l->w, l->up, answer);
    hear_status(&l->w, l->client, status);
}

static void ask_refused(line *l, const char *status)
{
    say(&l->w, l->client, GET);
    hear_status(&l->w, l->client, status);
}

static void a_limit_holds_over_a_kill(void **state)
{
    static const char config[] = LIMITED("key: ip, rate: 2/h");
    line l;

    (void)state;
    line_open(&l, config, NULL);
    ask(&l, "200", OK);
    ask(&l, "200", OK);
    ask_refused(&l, "429");
    advance(&l.w, 1100 * MS);
    kill_and_start(&l, config, 5 * MG_NS_PER_S);
    ask_refused(&l, "429");
    come_back(&l, 1800 * MG_NS_PER_S);
    ask(&l, "200", OK);
    ask_refused(&l, "429");
    line_close(&l);
}

static void a_kill_loses_no_more_than_the_last_second(void **state)
{
    static const char config[] = LIMITED("key: ip, rate: 2/h");
    line l;

    (void)state;
    line_open(&l, config, NULL);
    advance(&l.w, 1010 * MS);
    ask(&l, "200", OK);
    kill_and_start(&l, config, 0);
    ask(&l, "200", OK);
    ask(&l, "200", OK);
    ask_refused(&l, "429");
    line_close(&l);
}

static void an_orderly_end_loses_nothing(void **state)
{
    static const char config[] = LIMITED("key: ip, rate: 2/h");
    line l;

    (void)state;
    line_open(&l, config, NULL);
    ask(&l, "200", OK);
    ask(&l, "200", OK);
    line_drop(&l, &l.client);
    line_drop(&l, &l.up);
    settle(&l.w);
    world_free_gateway(&l.w);
    assert_true(world_try_start(&l.w, 1, config));
    l.client = dial(&l.w, "10.0.0.1", 80);
    ask_refused(&l, "429");
    line_close(&l);
}

static void another_algorithm_goes_on_and_another_key_begins_anew(void **state)
{
    line l;

    (void)state;
    line_open(&l, LIMITED("key: ip, rate: 2/h"), NULL);
    ask(&l, "200", OK);
    ask(&l, "200", OK);
    advance(&l.w, 1100 * MS);
    kill_and_start(&l, LIMITED("key: ip, quota: 2, window: 1h"), 0);
    ask_refused(&l, "429");
    advance(&l.w, 1100 * MS);
    kill_and_start(&l, LIMITED("key: ip, ipv4_prefix: 24, quota: 2, window: 1h"), 0);
    ask(&l, "200", OK);
    line_close(&l);
}

static void an_open_breaker_stays_open_over_a_kill(void **state)
{
    static const char config[] = GUARDED;
    line l;

    (void)state;
    line_open(&l, config, NULL);
    ask(&l, "500", BROKEN);
    ask(&l, "500", BROKEN);
    advance(&l.w, (MG_PERSIST_LOOK_MS + 1) * MS);
    kill_and_start(&l, config, 10 * MG_NS_PER_S);
    ask_refused(&l, "503");
    come_back(&l, 21 * MG_NS_PER_S);
    ask(&l, "200", OK); /* the probe */
    line_close(&l);
}

static void a_reload_to_and_fro_keeps_what_is_owed_and_clamps_it(void **state)
{
    static const char small[] = LIMITED("key: ip, rate: 1/s, burst: 10");
    static const char large[] = LIMITED("key: ip, rate: 1/s, burst: 100");
    line l;

    (void)state;
    line_open(&l, small, NULL);
    ask(&l, "200", OK);
    l.w.next = large;
    mg_gateway_reload(l.w.gateway);
    settle(&l.w);
    for (int n = 0; n < 60; n++)
        ask(&l, "200", OK);
    l.w.next = small;
    mg_gateway_reload(l.w.gateway);
    settle(&l.w);
    ask_refused(&l, "429");
    assert_has(l.w.heard, "retry-after: 1\r\n");
    line_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_limit_holds_over_a_kill),
        cmocka_unit_test(a_kill_loses_no_more_than_the_last_second),
        cmocka_unit_test(an_orderly_end_loses_nothing),
        cmocka_unit_test(another_algorithm_goes_on_and_another_key_begins_anew),
        cmocka_unit_test(an_open_breaker_stays_open_over_a_kill),
        cmocka_unit_test(a_reload_to_and_fro_keeps_what_is_owed_and_clamps_it),
    };
    return cmocka_run_group_tests_name("gateway/sim_memory", tests, NULL, NULL);
}
