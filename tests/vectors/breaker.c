/* breaker.c - vectors of the circuit breaker: `ask` a call, `end` it with its outcome. */
#include "vectors.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/breaker.h"

enum { CALLS_MAX = 256 };

typedef struct calls {
    mg_breaker *breaker;
    uint64_t tickets[CALLS_MAX];
} calls;

static mg_breaker_mode mode_of(const json_t *cfg)
{
    const char *mode = vector_text(cfg, "mode");

    return strcmp(mode, "consecutive") == 0    ? MG_BREAKER_CONSECUTIVE
           : strcmp(mode, "count_window") == 0 ? MG_BREAKER_COUNT_WINDOW
                                               : MG_BREAKER_TIME_WINDOW;
}

/* A ratio in basis points. */
static uint32_t share(const json_t *cfg, const char *name, uint32_t otherwise)
{
    const json_t *value = json_object_get(cfg, name);

    return value ? (uint32_t)(json_number_value(value) * 10000 + 0.5) : otherwise;
}

static void *breaker_open(const json_t *cfg)
{
    mg_error err = MG_ERROR_INIT;
    mg_breaker_conf conf;
    calls *c = MG_NEW(calls);

    mg_breaker_conf_defaults(&conf, mode_of(cfg));
    conf.open_jitter_bp = 0;
    conf.consecutive_failures = (uint32_t)vector_int(cfg, "consecutive_failures", conf.consecutive_failures);
    conf.open_ms = (uint64_t)vector_int(cfg, "open_ms", (long long)conf.open_ms);
    conf.open_max_ms = (uint64_t)vector_int(cfg, "open_max_ms", (long long)conf.open_max_ms);
    conf.half_open_probes = (uint32_t)vector_int(cfg, "half_open_probes", conf.half_open_probes);
    conf.half_open_max_ms = (uint64_t)vector_int(cfg, "half_open_max_ms", (long long)conf.half_open_max_ms);
    conf.slow_call_ms = (uint64_t)vector_int(cfg, "slow_call_ms", 0);
    conf.window_ms = (uint64_t)vector_int(cfg, "window_ms", (long long)conf.window_ms);
    conf.buckets = (uint32_t)vector_int(cfg, "buckets", conf.buckets);
    conf.window_calls = (uint32_t)vector_int(cfg, "window_calls", conf.window_calls);
    conf.min_calls = (uint32_t)vector_int(cfg, "min_calls", conf.min_calls);
    conf.failure_bp = share(cfg, "failure_ratio", conf.failure_bp);
    conf.slow_bp = share(cfg, "slow_ratio", conf.slow_bp);
    c->breaker = mg_breaker_new(&conf, &err);
    MG_CHECK(c->breaker);
    return c;
}

static mg_breaker_outcome outcome_of(const char *text)
{
    static const char *const names[] = { "ok", "fail", "timeout", "ignore" };

    for (int i = 0; i < 4; i++) {
        if (strcmp(names[i], text) == 0)
            return (mg_breaker_outcome)i;
    }
    MG_UNREACHABLE();
}

static json_t *breaker_row(void *self, const json_t *in)
{
    calls *c = self;
    const uint64_t now_ns = (uint64_t)vector_int(in, "t", 0) * MG_NS_PER_MS;
    uint64_t *ticket = &c->tickets[vector_int(in, "id", 0)];
    bool result;

    if (strcmp(vector_text(in, "ev"), "ask") == 0) {
        *ticket = mg_breaker_ask(c->breaker, now_ns);
        result = *ticket != 0;
    } else {
        result = mg_breaker_end(c->breaker, *ticket, outcome_of(vector_text(in, "outcome")),
                                (uint64_t)vector_int(in, "dur", 0) * MG_NS_PER_MS, now_ns);
    }
    return json_pack("[is]", result, mg_breaker_state_name(mg_breaker_now(c->breaker, now_ns)));
}

static void breaker_close(void *self)
{
    mg_breaker_free(((calls *)self)->breaker);
    mg_free(self);
}

const vector_driver vector_breaker_drivers[] = { { "breaker", breaker_open, breaker_row, breaker_close },
                                                 { 0 } };
