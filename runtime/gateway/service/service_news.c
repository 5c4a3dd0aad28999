/* service_news.c - what services did by themselves, for the log. */
#include "gateway/service/service_news.h"

#include "base/mem.h"
#include "gateway/service/service.h"

/* Of one breaker or service: five events at once, and one more every ten seconds. Of all: fifty, and ten a
 * second. What finds no place is told when there is one, with what came since. */
#define TOPIC_EVERY_NS (10 * MG_NS_PER_S)
#define ALL_EVERY_NS   (MG_NS_PER_S / 10)
enum { TOPIC_BURST = 5, ALL_BURST = 50 };

typedef struct topic {
    uint64_t busy_until_ns;               /* policy clock: when all places are free again */
    uint32_t changes[MG_BREAKER_REASONS]; /* of a breaker: those that were told */
    bool panic;                           /* of a service: was told */
} topic;

struct mg_service_news {
    mg_shared *shared; /* borrowed */
    mg_log *log;       /* borrowed */
    mg_map *breakers;  /* topics by the breaker's name; owned */
    mg_map *services;  /* topics by the service's name; owned */
    uint64_t busy_until_ns;
    uint64_t policy_ns; /* of this look */
};

mg_service_news *mg_service_news_new(mg_shared *shared, mg_log *log)
{
    mg_service_news *news = MG_NEW(mg_service_news);

    news->shared = shared;
    news->log = log;
    news->breakers = mg_map_new(mg_shared_seed(shared));
    news->services = mg_map_new(mg_shared_seed(shared));
    return news;
}

static void free_topics(mg_map *map)
{
    size_t cursor = 0;
    mg_str name;
    void *value;

    while (mg_map_next(map, &cursor, &name, &value))
        mg_free(value);
    mg_map_free(map);
}

void mg_service_news_free(mg_service_news *news)
{
    if (!news)
        return;
    free_topics(news->breakers);
    free_topics(news->services);
    mg_free(news);
}

static topic *topic_of(mg_map *map, mg_str name)
{
    topic *t = mg_map_get(map, name);

    if (!t) {
        t = MG_NEW(topic);
        (void)mg_map_set(map, name, t);
    }
    return t;
}

static bool has_place(uint64_t busy_until_ns, uint64_t every_ns, unsigned burst, uint64_t now_ns)
{
    return busy_until_ns <= now_ns + (burst - 1) * every_ns;
}

static bool has_any_place(const mg_service_news *news)
{
    return has_place(news->busy_until_ns, ALL_EVERY_NS, ALL_BURST, news->policy_ns);
}

static void count(uint64_t *busy_until_ns, uint64_t every_ns, uint64_t now_ns)
{
    *busy_until_ns = mg_max_u64(*busy_until_ns, now_ns) + every_ns;
}

/* Whether one event more may be told of the topic now; it is then counted. */
static bool take_place(mg_service_news *news, topic *t)
{
    if (!has_any_place(news) || !has_place(t->busy_until_ns, TOPIC_EVERY_NS, TOPIC_BURST, news->policy_ns))
        return false;
    count(&news->busy_until_ns, ALL_EVERY_NS, news->policy_ns);
    count(&t->busy_until_ns, TOPIC_EVERY_NS, news->policy_ns);
    return true;
}

/* ---- breakers ---- */

static bool is_operators(mg_breaker_reason reason)
{
    return reason == MG_BREAKER_BY_FORCE_OPEN || reason == MG_BREAKER_BY_FORCE_CLOSED ||
           reason == MG_BREAKER_BY_FORCE_AUTO;
}

/* "failures, open_over 3 times": why it changed since that was last told. False when it did not by itself. */
static bool add_reasons(mg_text *out, const topic *t, const uint32_t *changes)
{
    for (mg_breaker_reason r = 0; r < MG_BREAKER_REASONS; r++) {
        const uint32_t count = changes[r] - t->changes[r];
        if (!count || is_operators(r))
            continue;
        mg_text_addf(out, "%s%s", out->n ? ", " : "", mg_breaker_reason_name(r));
        if (count > 1)
            mg_text_addf(out, " %u times", count);
    }
    return out->n > 0;
}

/* "breaker_open", ..: what an operator has forced is told as what calls get. */
static const char *event_of(mg_breaker_state state)
{
#define EVENT(value, number, word) MG_WORD_BEHIND("breaker_", value, word)
    static const char *const events[] = { MG_BREAKER_STATES(EVENT) };
#undef EVENT

    return events[state == MG_BREAKER_FORCED_OPEN     ? MG_BREAKER_OPEN
                  : state == MG_BREAKER_FORCED_CLOSED ? MG_BREAKER_CLOSED
                                                      : state];
}

static void tell_breaker(void *self, mg_str name, const mg_breaker *breaker)
{
    mg_service_news *news = self;
    topic *t = topic_of(news->breakers, name);
    uint32_t changes[MG_BREAKER_REASONS];
    mg_text reasons = { 0 };

    for (mg_breaker_reason r = 0; r < MG_BREAKER_REASONS; r++)
        changes[r] = mg_breaker_changes(breaker, r);
    if (memcmp(changes, t->changes, sizeof changes) == 0)
        return;
    if (!add_reasons(&reasons, t, changes)) {
        memcpy(t->changes, changes, sizeof changes); /* an operator's, which admin tells */
    } else if (take_place(news, t)) {
        const mg_breaker_state state = mg_breaker_now(breaker, news->policy_ns);
        memcpy(t->changes, changes, sizeof changes);
        mg_log_write(news->log, state == MG_BREAKER_OPEN ? MG_LOG_WARN : MG_LOG_INFO, event_of(state),
                     "%.*s: its breaker is %s (%.*s)", MG_STR_ARGS(name), mg_breaker_state_name(state),
                     MG_STR_ARGS(mg_text_str(&reasons)));
    }
    mg_text_fini(&reasons);
}

/* ---- hosts ---- */

static void tell_ejections(mg_service_news *news, const mg_snapshot_service *s)
{
    size_t cursor = 0;
    mg_str name;
    uint64_t left_ns;

    while (has_any_place(news) &&
           mg_service_next_ejection(s->service->of->newest, news->policy_ns, &cursor, &name, &left_ns)) {
        count(&news->busy_until_ns, ALL_EVERY_NS, news->policy_ns);
        if (left_ns)
            mg_log_write(news->log, MG_LOG_WARN, "host_ejected",
                         "%.*s: %.*s gets no requests for %llu s: its calls fail", MG_STR_ARGS(s->name),
                         MG_STR_ARGS(name), (unsigned long long)((left_ns + MG_NS_PER_S - 1) / MG_NS_PER_S));
        else
            mg_log_write(news->log, MG_LOG_INFO, "host_ejection_over", "%.*s: %.*s gets requests again",
                         MG_STR_ARGS(s->name), MG_STR_ARGS(name));
    }
}

static void tell_panic(mg_service_news *news, const mg_snapshot_service *s)
{
    topic *t = topic_of(news->services, s->name);
    const bool panic = mg_service_in_panic(s->service->of->newest, news->policy_ns);

    if (panic == t->panic || !take_place(news, t))
        return;
    t->panic = panic;
    if (panic)
        mg_log_write(news->log, MG_LOG_WARN, "panic_began",
                     "%.*s: too few of its endpoints are up: health is ignored, and all of them get requests",
                     MG_STR_ARGS(s->name));
    else
        mg_log_write(news->log, MG_LOG_INFO, "panic_ended",
                     "%.*s: enough of its endpoints are up: the others get no requests",
                     MG_STR_ARGS(s->name));
}

void mg_service_news_tell(mg_service_news *news, const mg_snapshot *snapshot, uint64_t policy_ns)
{
    news->policy_ns = policy_ns;
    mg_shared_each_breaker(news->shared, tell_breaker, news);
    for (size_t i = 0; i < snapshot->config->service_count; i++) {
        tell_ejections(news, &snapshot->services[i]);
        tell_panic(news, &snapshot->services[i]);
    }
}
