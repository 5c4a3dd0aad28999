/* probe.c - health checks of upstreams that answer, stall, leave and talk nonsense as they like, while
 * reloads take endpoints out and put them back, beside a model that keeps every result there ever was.
 *
 * SEED=n replays one run; RUNS=n makes more of them. */
#include "unit/gateway/sim_world.h"

enum { HOSTS = 5, RESULTS_MAX = 4000, RUN_MS = 20000 };

typedef struct host {
    char ip[16];
    int listener;
    bool there;        /* in the configuration */
    size_t index;      /* there: its number in the service */
    int fd;            /* the check under way; -1: none */
    uint64_t began_ms; /* it, or the last one; 0: none yet */
    uint64_t act_ms;   /* when something is done about it; 0: nothing any more */
    bool good;         /* what it will have been */
    unsigned how;
    bool results[RESULTS_MAX];
    size_t count;
} host;

typedef struct run {
    world w;
    mg_rand rand;
    uint64_t seed, now_ms;
    unsigned interval_ms, timeout_ms, unhealthy_after, healthy_after, step_ms, checks, reloads;
    host hosts[HOSTS];
    char configs[2][2048];
} run;

static uint64_t below(run *r, uint64_t bound)
{
    return mg_rand_below(&r->rand, bound);
}

#define wrong(r, ...)                                                                                        \
    do {                                                                                                     \
        printf("SEED=%llu at %llu ms: ", (unsigned long long)(r)->seed, (unsigned long long)(r)->now_ms);    \
        printf(__VA_ARGS__);                                                                                 \
        fail_msg("see above");                                                                               \
    } while (0)

/* ---- the model ---- */

static mg_health_state expected(const run *r, const host *h)
{
    mg_health_state state = MG_HEALTH_UNKNOWN;

    for (size_t i = 0, in_a_row = 0; i < h->count; i++) {
        if (state == MG_HEALTH_UNKNOWN) {
            state = h->results[i] ? MG_HEALTH_UP : MG_HEALTH_DOWN;
            continue;
        }
        in_a_row = h->results[i] == (state == MG_HEALTH_UP) ? 0 : in_a_row + 1;
        if (in_a_row == (state == MG_HEALTH_UP ? r->unhealthy_after : r->healthy_after)) {
            state = state == MG_HEALTH_UP ? MG_HEALTH_DOWN : MG_HEALTH_UP;
            in_a_row = 0;
        }
    }
    return state;
}

static void compare(run *r)
{
    for (int i = 0; i < HOSTS; i++) {
        const host *h = &r->hosts[i];
        mg_host_view view;
        if (!h->there)
            continue;
        mg_service_host_view(r->w.gateway->snapshot->services[0].service, h->index, 0, &view);
        if (view.health != expected(r, h))
            wrong(r, "%s is %s, not %s after %zu results\n", h->ip, mg_health_state_name(view.health),
                  mg_health_state_name(expected(r, h)), h->count);
    }
}

/* ---- the configuration ---- */

static const char *write_config(run *r)
{
    char *text = r->configs[r->reloads % 2];
    size_t n = 0, order[HOSTS] = { 0 }, count = 0;

    for (size_t i = 0; i < HOSTS; i++) {
        const size_t at = below(r, i + 1);
        order[i] = order[at];
        order[at] = i;
    }
    n += (size_t)snprintf(text, sizeof r->configs[0], WEB QUIET "services: { up: { endpoints: [");
    for (size_t i = 0; i < HOSTS; i++) {
        host *h = &r->hosts[order[i]];
        const bool there = below(r, 4) > 0 || (i + 1 == HOSTS && !count);
        if (there != h->there) {
            h->count = 0; /* what is known of it goes with it */
            h->began_ms = h->act_ms = 0;
        }
        h->there = there;
        if (!there)
            continue;
        h->index = count++;
        char ip[sizeof h->ip]; /* out of the struct that is written to */
        memcpy(ip, h->ip, sizeof ip);
        n += (size_t)snprintf(text + n, sizeof r->configs[0] - n, "{ url: \"http://%s:9000\" }, ", ip);
    }
    snprintf(text + n, sizeof r->configs[0] - n,
             "], pool: { queue: %u }, health: { path: /, interval: %ums, timeout: %ums, unhealthy_after: %u, "
             "healthy_after: %u } } }\n" ROUTE,
             r->reloads + 1, r->interval_ms, r->timeout_ms, r->unhealthy_after, r->healthy_after);
    return text;
}

static void reload(run *r)
{
    r->reloads++;
    r->w.next = write_config(r);
    mg_gateway_reload(r->w.gateway);
    settle(&r->w);
    if (r->w.gateway->revision != r->reloads + 1)
        wrong(r, "the reload was refused\n");
    for (int i = 0; i < HOSTS; i++) { /* a check of who left is cut */
        host *h = &r->hosts[i];
        if (h->there || h->fd < 0)
            continue;
        if (hear(&r->w, h->fd) == HEAR_OPEN)
            wrong(r, "%s has left, and its check runs on\n", h->ip);
        hang_up(&r->w, h->fd);
        h->fd = -1;
    }
}

/* ---- upstreams ---- */

static void result(run *r, host *h, bool good)
{
    MG_CHECK(h->count < RESULTS_MAX);
    h->results[h->count++] = good;
    h->act_ms = 0;
    r->checks++;
}

enum { ANSWERS, ANSWERS_LONG, IS_SICK, LEAVES, RESETS, RAVES, STALLS, KINDS };

/* What will become of a check, and when; time-outs are left clear of the steps in which time moves. */
static void decide(run *r, host *h)
{
    h->how = (unsigned)(below(r, 2) ? ANSWERS : below(r, KINDS));
    h->good = h->how == ANSWERS || h->how == ANSWERS_LONG;
    h->act_ms = r->now_ms;
    if (h->how == STALLS)
        h->act_ms += r->timeout_ms;
    else if (below(r, 2))
        h->act_ms += below(r, r->timeout_ms - 2 * r->step_ms);
}

/* As far as it is listened to. */
static void answer(run *r, const host *h, const char *text)
{
    const size_t n = strlen(text);

    for (size_t said = 0, some = 1; said < n && some; said += some)
        some = say_bytes(&r->w, h->fd, text + said, n - said);
}

static void act(run *r, host *h)
{
    switch (h->how) {
    case ANSWERS: answer(r, h, "HTTP/1.1 204 No Content\r\n\r\n"); break;
    case ANSWERS_LONG: answer(r, h, "HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nfine"); break;
    case IS_SICK: answer(r, h, "HTTP/1.1 500 No\r\ncontent-length: 9\r\n\r\nno"); break;
    case RAVES: answer(r, h, "<html>\r\n\r\n"); break;
    case RESETS: hang_up_hard(&r->w, h->fd); break;
    case LEAVES: hang_up(&r->w, h->fd); break;
    default: break;
    }
    if (h->how != RESETS && h->how != LEAVES) {
        if (hear(&r->w, h->fd) == HEAR_OPEN)
            wrong(r, "the check of %s is decided, and still open\n", h->ip);
        hang_up(&r->w, h->fd);
    }
    h->fd = -1;
    result(r, h, h->good);
}

/* Its time has come, or the gateway's patience is over: in the step that has just passed. */
static void see_to(run *r, host *h)
{
    if (h->fd < 0)
        return;
    if (h->how != STALLS && h->act_ms <= r->now_ms) {
        act(r, h);
        return;
    }
    const bool cut = hear(&r->w, h->fd) != HEAR_OPEN;
    if (cut && (h->how != STALLS || r->now_ms + r->step_ms < h->act_ms))
        wrong(r, "the check of %s has been given up early\n", h->ip);
    if (!cut && h->how == STALLS && r->now_ms > h->act_ms + 1)
        wrong(r, "the check of %s is waited for too long\n", h->ip);
    if (cut)
        act(r, h);
}

/* A check begins: not before its turn, nor much behind it. */
static void greet(run *r, host *h, int fd)
{
    const uint64_t gone = r->now_ms - h->began_ms;
    const uint64_t least = r->interval_ms * 9 / 10, most = r->interval_ms * 11 / 10 + 2;

    if (!h->there)
        wrong(r, "%s is checked, and is not configured\n", h->ip);
    if (h->fd >= 0)
        wrong(r, "%s is checked twice at once\n", h->ip);
    if (h->began_ms && gone + r->step_ms < least)
        wrong(r, "%s is checked after %llu ms\n", h->ip, (unsigned long long)gone);
    if (h->began_ms && gone > mg_max_u64(most, r->timeout_ms + r->step_ms) + 2 * r->step_ms + 2)
        wrong(r, "%s is checked after %llu ms, which is late\n", h->ip, (unsigned long long)gone);
    if (hear(&r->w, fd) != HEAR_OPEN || strncmp(r->w.heard, "GET / HTTP/1.1\r\nhost: 10.", 25) != 0)
        wrong(r, "%s was asked: %s\n", h->ip, r->w.heard);
    h->fd = fd;
    h->began_ms = r->now_ms;
    decide(r, h);
}

static void play(run *r)
{
    while (r->now_ms < RUN_MS) {
        const unsigned ms = 1 + (unsigned)below(r, r->step_ms);
        advance(&r->w, ms * MS);
        r->now_ms += ms;
        for (int i = 0; i < HOSTS; i++) {
            host *h = &r->hosts[i];
            see_to(r, h);
            for (int fd; (fd = take(&r->w, h->listener)) >= 0;)
                greet(r, h, fd);
            see_to(r, h);
        }
        compare(r);
        if (below(r, 400) == 0)
            reload(r);
    }
}

static void one_run(uint64_t seed)
{
    run *r = MG_NEW(run);

    printf("\rSEED=%llu ", (unsigned long long)seed);
    fflush(stdout);
    r->seed = seed;
    mg_rand_init(&r->rand, seed);
    r->step_ms = 1 + (unsigned)below(r, 6);
    r->interval_ms = 50 + (unsigned)below(r, 300);
    r->timeout_ms = 30 + (unsigned)below(r, 500);
    r->unhealthy_after = 1 + (unsigned)below(r, 4);
    r->healthy_after = 1 + (unsigned)below(r, 4);
    world_init(&r->w, seed, 1);
    mg_log_set_level(r->w.log, MG_LOG_OFF);
    mg_sim_set_chunk(r->w.sim, below(r, 2) ? 0 : 1 + below(r, 40));
    for (int i = 0; i < HOSTS; i++) {
        host *h = &r->hosts[i];
        snprintf(h->ip, sizeof h->ip, "10.0.0.%d", i + 2);
        h->listener = listen_at(&r->w, h->ip, 9000);
        h->fd = -1;
    }
    if (!world_try_start(&r->w, seed, write_config(r)))
        wrong(r, "the gateway does not start\n");
    play(r);
    if (r->checks < 20)
        wrong(r, "%u checks are too few\n", r->checks);
    world_free_gateway(&r->w);
    for (int i = 0; i < HOSTS; i++) {
        if (r->hosts[i].fd >= 0)
            hang_up(&r->w, r->hosts[i].fd);
        hang_up(&r->w, r->hosts[i].listener);
    }
    world_close(&r->w);
    mg_free(r);
}

static void health_is_what_all_results_make_of_it(void **state)
{
    const char *seed = getenv("SEED"), *runs = getenv("RUNS");

    (void)state;
    if (seed) {
        one_run(strtoull(seed, NULL, 10));
        return;
    }
    for (uint64_t i = 1; i <= (runs ? strtoull(runs, NULL, 10) : 12); i++)
        one_run(i);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(health_is_what_all_results_make_of_it) };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
