/* breaker.c - vectors of the circuit breaker: `ask` a call, `end` it with its outcome. */
#include "vectors.h"

#include "base/mem.h"
#include "base/time.h"
#include "policy/breaker.h"

enum { CALLS_MAX = 4096 };

typedef struct calls {
    mg_breaker *breaker;
    uint64_t tickets[CALLS_MAX];
} calls;

static const char keys[] = "mode consecutive_failures window_ms buckets window_calls min_calls failure_ratio "
                           "slow_call_ms slow_ratio "
                           "open_ms open_backoff open_max_ms open_jitter half_open_probes half_open_max_ms";

static bool read_conf(mg_breaker_conf *conf, const json_t *cfg, mg_error *err)
{
    static const char *const modes[] = { "time_window", "count_window", "consecutive", NULL };
    const int mode = vector_word(cfg, "mode", modes, err);

    if (mode < 0)
        return false;
    mg_breaker_conf_defaults(conf, (mg_breaker_mode)mode);
    conf->consecutive_failures =
        (uint32_t)vector_int(cfg, "consecutive_failures", conf->consecutive_failures);
    conf->open_ms = (uint64_t)vector_int(cfg, "open_ms", (long long)conf->open_ms);
    conf->open_max_ms = (uint64_t)vector_int(cfg, "open_max_ms", (long long)conf->open_max_ms);
    conf->open_backoff_milli = vector_parts(cfg, "open_backoff", 1000, conf->open_backoff_milli);
    conf->open_jitter_bp = vector_parts(cfg, "open_jitter", 10000, 0);
    conf->half_open_probes = (uint32_t)vector_int(cfg, "half_open_probes", conf->half_open_probes);
    conf->half_open_max_ms = (uint64_t)vector_int(cfg, "half_open_max_ms", (long long)conf->half_open_max_ms);
    conf->slow_call_ms = (uint64_t)vector_int(cfg, "slow_call_ms", 0);
    conf->window_ms = (uint64_t)vector_int(cfg, "window_ms", (long long)conf->window_ms);
    conf->buckets = (uint32_t)vector_int(cfg, "buckets", conf->buckets);
    conf->window_calls = (uint32_t)vector_int(cfg, "window_calls", conf->window_calls);
    conf->min_calls = (uint32_t)vector_int(cfg, "min_calls", conf->min_calls);
    conf->failure_bp = vector_parts(cfg, "failure_ratio", 10000, conf->failure_bp);
    conf->slow_bp = vector_parts(cfg, "slow_ratio", 10000, conf->slow_bp);
    return true;
}

static void *breaker_open(const json_t *cfg, mg_error *err)
{
    mg_breaker_conf conf;
    mg_breaker *breaker = read_conf(&conf, cfg, err) ? mg_breaker_new(&conf, err) : NULL;
    calls *c;

    if (!breaker)
        return NULL;
    c = MG_NEW(calls);
    c->breaker = breaker;
    return c;
}

/* An operator's word: the state's name as the event. */
static bool force(mg_breaker *breaker, const char *event, uint64_t now_ns)
{
    static const mg_breaker_state states[] = { MG_BREAKER_CLOSED, MG_BREAKER_FORCED_OPEN,
                                               MG_BREAKER_FORCED_CLOSED };

    for (size_t i = 0; i < sizeof(states) / sizeof(*states); i++) {
        if (strcmp(mg_breaker_state_name(states[i]), event) == 0) {
            mg_breaker_force(breaker, states[i], now_ns);
            return true;
        }
    }
    return false;
}

static json_t *breaker_row(void *self, const json_t *in)
{
    static const char *const outcomes[] = { "ok", "fail", "timeout", "ignore", NULL };
    calls *c = self;
    mg_error err = MG_ERROR_INIT;
    const uint64_t now_ns = vector_now_ns(in);
    const long long id = vector_int(in, "id", 0);
    const char *event = vector_text(in, "ev");
    int outcome;
    bool result = true;

    if (id < 0 || id >= CALLS_MAX)
        return vector_bad_row("id: 0 to 4095");
    if (strcmp(event, "ask") == 0) {
        c->tickets[id] = mg_breaker_ask(c->breaker, now_ns);
        result = c->tickets[id] != 0;
    } else if (strcmp(event, "end") == 0) {
        outcome = vector_word(in, "outcome", outcomes, &err);
        if (outcome < 0)
            return vector_bad_row(err.message);
        result = mg_breaker_end(c->breaker, c->tickets[id], (mg_breaker_outcome)outcome,
                                (uint64_t)vector_int(in, "dur", 0) * MG_NS_PER_MS, now_ns);
    } else if (strcmp(event, "trip") == 0) {
        result = mg_breaker_trip(c->breaker, now_ns);
    } else if (!force(c->breaker, event, now_ns)) {
        return vector_bad_row("ev: ask, end, trip, closed, forced_open or forced_closed");
    }
    return json_pack("[is]", result, mg_breaker_state_name(mg_breaker_now(c->breaker, now_ns)));
}

static void breaker_close(void *self)
{
    mg_breaker_free(((calls *)self)->breaker);
    mg_free(self);
}

const vector_driver vector_breaker_drivers[] = {
    { "breaker", keys, "t ev id outcome dur", breaker_open, breaker_row, breaker_close }, { 0 }
};
