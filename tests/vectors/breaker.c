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

static bool breaker_drives(const json_t *cfg)
{
    return strcmp(vector_text(cfg, "mode"), "consecutive") == 0;
}

static void *breaker_open(const json_t *cfg)
{
    mg_error err = MG_ERROR_INIT;
    mg_breaker_conf conf;
    calls *c = MG_NEW(calls);

    mg_breaker_conf_defaults(&conf, MG_BREAKER_CONSECUTIVE);
    conf.open_jitter_bp = 0;
    conf.consecutive_failures = (uint32_t)vector_int(cfg, "consecutive_failures", conf.consecutive_failures);
    conf.open_ms = (uint64_t)vector_int(cfg, "open_ms", (long long)conf.open_ms);
    conf.open_max_ms = (uint64_t)vector_int(cfg, "open_max_ms", (long long)conf.open_max_ms);
    conf.half_open_probes = (uint32_t)vector_int(cfg, "half_open_probes", conf.half_open_probes);
    conf.half_open_max_ms = (uint64_t)vector_int(cfg, "half_open_max_ms", (long long)conf.half_open_max_ms);
    conf.slow_call_ms = (uint64_t)vector_int(cfg, "slow_call_ms", 0);
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

const vector_driver vector_breaker_drivers[] = {
    { "breaker", breaker_open, breaker_row, breaker_close, breaker_drives }, { 0 }
};
