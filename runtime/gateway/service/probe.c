/* probe.c - whose turn it is to be checked: one target an endpoint of a service, each with a timer of its
 * own; a bounded number of checks runs at once, the others stand in a queue. */
#include "gateway/service/probe.h"

#include "base/mem.h"
#include "gateway/service/probe_try.h"
#include "gateway/service/service_news.h"

enum {
    AT_ONCE = 64,  /* checks that run */
    SPREAD_MS = 1, /* between the first checks of endpoints that come together */
    TICK_S = 1,
};

struct mg_probe {
    const mg_policy_clock *clock; /* borrowed */
    mg_log *log;                  /* borrowed */
    mg_net net;                   /* without a log: only changes are told */
    mg_service_news *news;        /* owned */
    mg_snapshot *snapshot;        /* counted; NULL while nothing is checked */
    mg_accounts *accounts;        /* owned: of the checks' own connections */
    mg_map *targets;              /* owned, of owned: by key */
    mg_list queue;                /* of targets whose turn has come */
    unsigned running;
    uint64_t generation; /* of mg_probe_follow */
    mg_timer tick;
};

typedef struct target {
    mg_probe *probe;               /* borrowed */
    char *key;                     /* owned: the service and the host's name */
    const mg_snapshot_service *of; /* borrowed: the snapshot's; NULL before it was ever followed */
    mg_service *service;           /* counted: the hosts in force */
    size_t host;                   /* its number among them */
    uint64_t generation;
    uint64_t began_ns;    /* the last check */
    mg_timer timer;       /* the next one */
    mg_list turn;         /* in the queue */
    mg_probe_try *trying; /* owned; NULL while none runs */
} target;

/* ---- checks ---- */

static void start_queued(mg_probe *probe);

static const mg_config_health *conf_of(const target *t)
{
    return &t->of->conf->health;
}

static mg_str authority_of(const target *t)
{
    return t->service->authorities[t->host];
}

static void set_next(target *t)
{
    mg_loop *loop = t->probe->net.loop;
    const uint64_t ms = mg_health_interval_ms(conf_of(t)->interval_ms, mg_rand_unit(&loop->rand));

    mg_timer_set(loop, &t->timer, mg_max_u64(t->began_ns + ms * MG_NS_PER_MS, mg_loop_now(loop)));
}

static void tell(const target *t, bool first, const mg_probe_verdict *verdict)
{
    /* That an endpoint is up at first is no news. */
    const mg_log_level level = !verdict->ok ? MG_LOG_WARN : first ? MG_LOG_DEBUG : MG_LOG_INFO;

    mg_log_write(t->probe->log, level, verdict->ok ? "host_up" : "host_down", "%.*s: %.*s is %s: %s",
                 MG_STR_ARGS(t->of->name), MG_STR_ARGS(t->service->names[t->host]),
                 mg_health_state_name(verdict->ok ? MG_HEALTH_UP : MG_HEALTH_DOWN), verdict->reason);
}

static void on_verdict(void *self, const mg_probe_verdict *verdict)
{
    target *t = self;
    mg_probe *probe = t->probe;
    mg_service *service = t->service;
    mg_host_view before;

    mg_service_host_view(service, t->host, mg_policy_clock_now(probe->clock), &before);
    if (mg_service_probed(service, t->host, verdict->ok, verdict->loaded ? &verdict->load : NULL,
                          mg_loop_now(probe->net.loop)))
        tell(t, before.health == MG_HEALTH_UNKNOWN, verdict);
    mg_probe_try_free(t->trying);
    t->trying = NULL;
    probe->running--;
    set_next(t);
    start_queued(probe);
}

static void start_probing(target *t)
{
    mg_probe *probe = t->probe;

    probe->running++;
    t->began_ns = mg_loop_now(probe->net.loop);
    t->trying = mg_probe_try_start(&probe->net, probe->accounts, conf_of(t), authority_of(t),
                                   mg_service_host_addr(t->service, t->host), on_verdict, t);
}

static void start_queued(mg_probe *probe)
{
    while (probe->running < AT_ONCE && !mg_list_empty(&probe->queue))
        start_probing(mg_container_of(mg_list_pop(&probe->queue), target, turn));
}

static void on_turn(mg_timer *timer)
{
    target *t = mg_container_of(timer, target, timer);

    mg_list_push(&t->probe->queue, &t->turn);
    start_queued(t->probe);
}

/* ---- targets ---- */

/* Its check, its turn and its timer, as far as it has them. */
static void halt(target *t)
{
    mg_timer_stop(&t->timer);
    mg_list_remove(&t->turn);
    if (t->trying)
        t->probe->running--;
    mg_probe_try_free(t->trying);
    t->trying = NULL;
}

static void target_free(target *t)
{
    halt(t);
    mg_service_unref(t->service);
    mg_free(t->key);
    mg_free(t);
}

/* That of an earlier snapshot, or a new one. An endpoint may stand in a service more than once. */
static target *target_of(mg_probe *probe, mg_str service, mg_str host)
{
    mg_text key = { 0 };
    target *t;

    mg_text_addf(&key, "%.*s %.*s", MG_STR_ARGS(service), MG_STR_ARGS(host));
    while ((t = mg_map_get(probe->targets, mg_text_str(&key))) && t->generation == probe->generation)
        mg_text_add_char(&key, '+');
    if (!t) {
        t = MG_NEW(target);
        t->probe = probe;
        t->key = mg_memdup0(key.p, key.n);
        mg_timer_init(&t->timer, on_turn);
        mg_map_set(probe->targets, mg_text_str(&key), t);
    }
    mg_text_fini(&key);
    t->generation = probe->generation;
    return t;
}

static void follow_service(mg_probe *probe, const mg_snapshot_service *of, uint64_t *first_ns)
{
    const mg_config_health *conf = &of->conf->health;
    mg_service *service = of->service->of->newest;

    for (size_t host = 0; conf->on && host < service->host_count; host++) {
        target *t = target_of(probe, of->name, service->names[host]);
        const bool same = t->of && mg_digest_eq(conf_of(t)->asks, conf->asks);
        mg_service_ref(service);
        mg_service_unref(t->service);
        t->service = service;
        t->of = of;
        t->host = host;
        if (same)
            continue;
        halt(t);
        mg_timer_set(probe->net.loop, &t->timer, *first_ns);
        *first_ns += SPREAD_MS * MG_NS_PER_MS;
    }
}

/* Those that no service of the snapshot has named. */
static void drop_the_others(mg_probe *probe)
{
    target **others = MG_NEW_N(target *, mg_map_count(probe->targets) + 1);
    size_t cursor = 0, count = 0;
    mg_str key;
    void *value;

    while (mg_map_next(probe->targets, &cursor, &key, &value))
        if (((target *)value)->generation != probe->generation)
            others[count++] = value;
    for (size_t i = 0; i < count; i++) {
        mg_map_set(probe->targets, mg_str_of(others[i]->key), NULL);
        target_free(others[i]);
    }
    mg_free(others);
}

/* ---- ticks ---- */

static void on_tick(mg_timer *timer)
{
    mg_probe *probe = mg_container_of(timer, mg_probe, tick);
    mg_loop *loop = probe->net.loop;
    const uint64_t policy_ns = mg_policy_clock_now(probe->clock);

    for (size_t i = 0; i < probe->snapshot->config->service_count; i++) {
        const mg_snapshot_service *s = &probe->snapshot->services[i];
        /* A breaker that it opens is news like all else. */
        (void)mg_service_tick(s->service->of->newest, policy_ns, &loop->rand);
    }
    mg_service_news_tell(probe->news, probe->snapshot, policy_ns);
    mg_timer_set(loop, timer, mg_loop_now(loop) + TICK_S * MG_NS_PER_S);
}

/* ---- the whole ---- */

mg_probe *mg_probe_new(mg_loop *loop, const mg_policy_clock *clock, mg_shared *shared, mg_log *log)
{
    mg_probe *probe = MG_NEW(mg_probe);

    probe->clock = clock;
    probe->log = log;
    probe->news = mg_service_news_new(shared, log);
    mg_net_init(&probe->net, loop, NULL);
    probe->accounts = mg_accounts_new(mg_rand_next(&loop->rand));
    probe->targets = mg_map_new(mg_rand_next(&loop->rand));
    mg_list_init(&probe->queue);
    mg_timer_init(&probe->tick, on_tick);
    return probe;
}

void mg_probe_follow(mg_probe *probe, mg_snapshot *snapshot)
{
    mg_loop *loop = probe->net.loop;
    mg_snapshot *old = probe->snapshot;
    uint64_t first_ns = mg_loop_now(loop);

    mg_snapshot_ref(snapshot);
    probe->snapshot = snapshot;
    probe->generation++;
    for (size_t i = 0; i < snapshot->config->service_count; i++)
        follow_service(probe, &snapshot->services[i], &first_ns);
    drop_the_others(probe);
    start_queued(probe);
    mg_snapshot_unref(old);
    if (!old)
        mg_timer_set(loop, &probe->tick, mg_loop_now(loop) + TICK_S * MG_NS_PER_S);
}

void mg_probe_stop(mg_probe *probe)
{
    if (!probe)
        return;
    probe->generation++;
    drop_the_others(probe);
    mg_timer_stop(&probe->tick);
    mg_snapshot_unref(probe->snapshot);
    probe->snapshot = NULL;
}

void mg_probe_free(mg_probe *probe)
{
    if (!probe)
        return;
    mg_probe_stop(probe);
    mg_service_news_free(probe->news);
    mg_map_free(probe->targets);
    mg_accounts_free(probe->accounts);
    mg_net_fini(&probe->net);
    mg_free(probe);
}
