/* flow.c - vectors of deadlines, retries, adaptive limits, detectors, rollouts and of what a restart keeps.
 */
#include "support/defaults.h"
#include "vectors.h"

#include "base/mem.h"
#include "base/time.h"
#include "policy/adaptive.h"
#include "policy/deadline.h"
#include "policy/detector.h"
#include "policy/restore.h"
#include "policy/retry.h"
#include "policy/rollout.h"

typedef struct budget {
    mg_retry_conf conf;
    mg_retry_budget *budget;
} budget;

static void *budget_open(const json_t *cfg, mg_error *err)
{
    budget *b = MG_NEW(budget);

    (void)err;
    b->conf = retry_defaults;
    b->conf.budget_milli = vector_parts(cfg, "ratio", 1000, b->conf.budget_milli);
    b->conf.min_per_second = (uint32_t)vector_int(cfg, "min_per_s", b->conf.min_per_second);
    b->budget = mg_retry_budget_new();
    return b;
}

static json_t *budget_row(void *self, const json_t *in)
{
    const budget *b = self;
    const uint64_t now_ns = vector_now_ns(in);
    const bool is_retry = strcmp(vector_text(in, "what"), "retry") == 0;
    int admitted = 0;

    for (long long i = 0; i < vector_int(in, "count", 1); i++) {
        if (!is_retry)
            mg_retry_budget_request(b->budget, now_ns);
        admitted += !is_retry || mg_retry_budget_take(b->budget, &b->conf, now_ns);
    }
    return json_pack("[i]", admitted);
}

static void budget_close(void *self)
{
    mg_retry_budget_free(((budget *)self)->budget);
    mg_free(self);
}

static void *backoff_open(const json_t *cfg, mg_error *err)
{
    mg_retry_conf *conf = MG_NEW(mg_retry_conf);

    (void)err;
    *conf = retry_defaults;
    conf->backoff_ms = (uint64_t)vector_int(cfg, "base", (long long)conf->backoff_ms);
    conf->backoff_max_ms = (uint64_t)vector_int(cfg, "cap", (long long)conf->backoff_max_ms);
    return conf;
}

static json_t *backoff_row(void *self, const json_t *in)
{
    const mg_retry_conf *conf = self;

    return json_pack("[I]", (json_int_t)mg_retry_backoff_ms(conf->backoff_ms, conf->backoff_max_ms,
                                                            (uint32_t)vector_int(in, "attempt", 0),
                                                            vector_real(in, "u", 0)));
}

static json_t *grpc_row(void *self, const json_t *in)
{
    (void)self;
    return json_pack("[I]", (json_int_t)mg_deadline_grpc_ms(mg_str_of(vector_text(in, "value"))));
}

static void *deadline_open(const json_t *cfg, mg_error *err)
{
    mg_deadline_conf *conf = MG_NEW(mg_deadline_conf);

    (void)err;
    mg_deadline_conf_defaults(conf);
    conf->hop_milli = vector_parts(cfg, "hop_factor", 1000, conf->hop_milli);
    conf->min_ms = (uint64_t)vector_int(cfg, "min_ms", (long long)conf->min_ms);
    return conf;
}

static json_t *deadline_row(void *self, const json_t *in)
{
    const uint64_t route_ms = (uint64_t)vector_int(in, "route_ms", 0);
    const int64_t inbound_ms = vector_int(in, "inbound_ms", -1);
    const uint64_t whole_ms = inbound_ms < 0 ? route_ms : mg_min_u64(route_ms, (uint64_t)inbound_ms);
    const uint64_t elapsed_ms = (uint64_t)vector_int(in, "elapsed_ms", 0);
    const uint64_t left_ms = whole_ms > elapsed_ms ? whole_ms - elapsed_ms : 0;
    const uint64_t child_ms = mg_deadline_child_ms(self, left_ms);

    return json_pack("[iI]", child_ms > 0, (json_int_t)child_ms);
}

static void read_throttle(mg_throttle_conf *conf, const json_t *from)
{
    conf->k = vector_real(from, "k", conf->k);
    conf->min_req = (uint32_t)vector_int(from, "min_req", conf->min_req);
    conf->cap = vector_real(from, "cap", conf->cap);
}

static void *throttle_open(const json_t *cfg, mg_error *err)
{
    mg_throttle_conf *conf = MG_NEW(mg_throttle_conf);

    (void)err;
    *conf = throttle_defaults;
    read_throttle(conf, cfg);
    return conf;
}

/* A row may have parameters of its own. */
static json_t *throttle_row(void *self, const json_t *in)
{
    mg_throttle_conf conf = *(const mg_throttle_conf *)self;

    read_throttle(&conf, in);
    return json_pack("[o]", vector_number(mg_throttle_share(&conf, (uint64_t)vector_int(in, "requests", 0),
                                                            (uint64_t)vector_int(in, "accepts", 0))));
}

typedef struct gradient {
    mg_adaptive_conf conf;
    mg_gradient gradient;
} gradient;

static void *gradient_open(const json_t *cfg, mg_error *err)
{
    gradient *g = MG_NEW(gradient);

    (void)err;
    g->conf = adaptive_defaults;
    g->conf.initial = vector_real(cfg, "initial", g->conf.initial);
    g->conf.min = vector_real(cfg, "min", g->conf.min);
    g->conf.max = vector_real(cfg, "max", g->conf.max);
    g->conf.tolerance = vector_real(cfg, "tolerance", g->conf.tolerance);
    g->conf.smoothing = vector_real(cfg, "smoothing", g->conf.smoothing);
    g->conf.long_window = (uint32_t)vector_int(cfg, "long_window", g->conf.long_window);
    g->conf.probe_after = (uint32_t)vector_int(cfg, "probe_after", g->conf.probe_after);
    g->conf.probe_factor = vector_real(cfg, "probe_factor", g->conf.probe_factor);
    mg_gradient_init(&g->gradient, &g->conf);
    return g;
}

static json_t *gradient_row(void *self, const json_t *in)
{
    gradient *g = self;

    return json_pack("[o]",
                     vector_number(mg_gradient_window(&g->gradient, &g->conf, vector_real(in, "rtt_ms", 0),
                                                      vector_real(in, "inflight", 0))));
}

static json_t *score_row(void *self, const json_t *in)
{
    (void)self;
    return json_pack(
        "[o]", vector_number(mg_iforest_score(vector_real(in, "mean_path", 0), vector_real(in, "n", 1))));
}

static json_t *c_row(void *self, const json_t *in)
{
    (void)self;
    return json_pack("[o]", vector_number(mg_iforest_c(vector_real(in, "n", 1))));
}

static json_t *z_row(void *self, const json_t *in)
{
    const json_t *history = json_object_get(in, "history");
    double ticks[MG_DETECTOR_TICKS];
    const size_t count = json_array_size(history);

    (void)self;
    if (!count || count > MG_DETECTOR_TICKS)
        return vector_bad_row("history: 1 to 60 ticks");
    for (size_t i = 0; i < count; i++)
        ticks[i] = json_number_value(json_array_get(history, i));
    return json_pack("[o]", vector_number(mg_robust_z(ticks, count, vector_real(in, "x", 0),
                                                      vector_real(in, "floor", 1))));
}

static json_t *bucket_row(void *self, const json_t *in)
{
    (void)self;
    return json_pack(
        "[i]", (int)mg_rollout_bucket(mg_str_of(vector_text(in, "key")), mg_str_of(vector_text(in, "salt"))));
}

enum { SIDES_MAX = 64 };

typedef struct sides {
    json_t *weights; /* counted; those of cfg, where a row has none */
    const char *salt;
} sides;

static void *sides_open(const json_t *cfg, mg_error *err)
{
    sides *s = MG_NEW(sides);

    (void)err;
    s->weights = json_incref(json_object_get(cfg, "weights"));
    s->salt = vector_text(cfg, "salt");
    return s;
}

/* The name of the side that the key goes to; "-" where all weights are 0. */
static json_t *sides_row(void *self, const json_t *in)
{
    const sides *s = self;
    json_t *weights = json_object_get(in, "weights"), *weight;
    const char *names[SIDES_MAX], *name;
    mg_rollout_side all[SIDES_MAX];
    size_t count = 0;
    int at;

    json_object_foreach(weights ? weights : s->weights, name, weight)
    {
        if (count == SIDES_MAX || !json_is_integer(weight) || json_integer_value(weight) < 0 ||
            json_integer_value(weight) > INT32_MAX)
            return vector_bad_row("weights: wants at most 64 of 0 to 2147483647");
        names[count] = name;
        all[count++] = mg_rollout_side_of(mg_str_of(name), (uint32_t)json_integer_value(weight));
    }
    at = mg_rollout_split(mg_str_of(vector_text(in, "key")), mg_str_of(s->salt), all, count);
    return json_pack("[s]", at < 0 ? "-" : names[at]);
}

static void sides_close(void *self)
{
    json_decref(((sides *)self)->weights);
    mg_free(self);
}

typedef struct rollout {
    mg_rollout_conf conf;
    mg_rollout rollout;
} rollout;

static bool read_steps(mg_rollout_conf *conf, const json_t *steps, mg_error *err)
{
    const size_t count = json_array_size(steps);
    uint32_t last = 0;

    if (!steps)
        return true;
    if (!count || count > MG_ROLLOUT_STEPS) {
        mg_fail(err, MG_ERR_INVALID, "steps: wants 1 to 16 of them");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        conf->steps[i] = (uint32_t)json_integer_value(json_array_get(steps, i));
        if (conf->steps[i] <= last || conf->steps[i] > 100) {
            mg_fail(err, MG_ERR_INVALID, "steps: wants rising ones of 1 to 100");
            return false;
        }
        last = conf->steps[i];
    }
    conf->step_count = (uint32_t)count;
    return true;
}

static void *rollout_open(const json_t *cfg, mg_error *err)
{
    mg_rollout_conf conf;
    rollout *r;

    conf = rollout_defaults;
    if (!read_steps(&conf, json_object_get(cfg, "steps"), err))
        return NULL;
    conf.interval_ms = (uint64_t)vector_int(cfg, "interval_ms", (long long)conf.interval_ms);
    conf.min_requests = (uint64_t)vector_int(cfg, "min_requests", (long long)conf.min_requests);
    conf.max_errors_milli = vector_parts(cfg, "max_error_ratio", 100000, conf.max_errors_milli);
    conf.max_p99_ms = (uint64_t)vector_int(cfg, "max_p99_ms", (long long)conf.max_p99_ms);
    conf.strikes = (uint32_t)vector_int(cfg, "strikes", conf.strikes);
    r = MG_NEW(rollout);
    r->conf = conf;
    mg_rollout_start(&r->rollout, 0);
    return r;
}

static json_t *rollout_row(void *self, const json_t *in)
{
    rollout *r = self;
    const mg_rollout_figures figures = { (uint64_t)vector_int(in, "requests", 0),
                                         (uint64_t)vector_int(in, "errors", 0),
                                         (uint64_t)vector_int(in, "p99_ms", 0) };
    const mg_rollout_action action = mg_rollout_judge(&r->rollout, &r->conf, &figures);

    return json_pack("[sis]", rollout_action_name(action), (int)mg_rollout_weight(&r->rollout, &r->conf),
                     mg_rollout_state_name(r->rollout.state));
}

static uint64_t elapsed_of(const json_t *in)
{
    const int64_t ms = vector_int(in, vector_int(in, "same_boot", 1) ? "mono_ms" : "wall_ms", 0);

    return ms > 0 ? (uint64_t)ms : 0;
}

static json_t *restore_bucket_row(void *self, const json_t *in)
{
    (void)self;
    return json_pack("[I]",
                     (json_int_t)mg_restore_bucket((uint64_t)vector_int(in, "debt_ms", 0),
                                                   (uint64_t)vector_int(in, "cap_ms", 0), elapsed_of(in)));
}

static json_t *restore_window_row(void *self, const json_t *in)
{
    uint64_t age = (uint64_t)vector_int(in, "age_ms", 0), prev = (uint64_t)vector_int(in, "prev", 0),
             cur = (uint64_t)vector_int(in, "cur", 0);

    (void)self;
    if (vector_int(in, "window_ms", 1) < 1)
        return vector_bad_row("window_ms: wants 1 or more");
    mg_restore_window(&age, &prev, &cur, (uint64_t)vector_int(in, "window_ms", 1), elapsed_of(in));
    return json_pack("[III]", (json_int_t)prev, (json_int_t)cur, (json_int_t)age);
}

static json_t *restore_breaker_row(void *self, const json_t *in)
{
    mg_breaker_state state = MG_BREAKER_CLOSED;
    uint64_t remaining = (uint64_t)vector_int(in, "remaining_ms", 0);

    (void)self;
    for (int i = MG_BREAKER_CLOSED; i <= MG_BREAKER_FORCED_CLOSED; i++) {
        if (strcmp(vector_text(in, "state"), mg_breaker_state_name((mg_breaker_state)i)) == 0)
            state = (mg_breaker_state)i;
    }
    mg_restore_breaker(&state, &remaining, (uint64_t)vector_int(in, "open_max_ms", 30000), elapsed_of(in));
    return json_pack("[sI]", mg_breaker_state_name(state), (json_int_t)remaining);
}

#define NOTHING_KEPT(policy, cols, row)                                                                      \
    {                                                                                                        \
        policy, "", cols, vector_nothing_open, row, vector_nothing_close                                     \
    }

const vector_driver vector_flow_drivers[] = {
    { "retry_burst", "ratio min_per_s", "t what count", budget_open, budget_row, budget_close },
    { "backoff", "base cap", "attempt u", backoff_open, backoff_row, mg_free },
    NOTHING_KEPT("grpc_timeout", "value", grpc_row),
    { "deadline", "hop_factor min_ms", "route_ms inbound_ms elapsed_ms", deadline_open, deadline_row,
      mg_free },
    { "throttle", "k min_req cap", "requests accepts k min_req cap", throttle_open, throttle_row, mg_free },
    { "adaptive", "initial min max tolerance smoothing long_window probe_after probe_factor",
      "rtt_ms inflight", gradient_open, gradient_row, mg_free },
    NOTHING_KEPT("iforest_score", "mean_path n", score_row),
    NOTHING_KEPT("iforest_c", "n", c_row),
    NOTHING_KEPT("robust_z", "history x floor", z_row),
    NOTHING_KEPT("canary_bucket", "key salt", bucket_row),
    { "split", "weights salt", "weights key", sides_open, sides_row, sides_close },
    { "rollout", "steps interval_ms min_requests max_error_ratio max_p99_ms strikes",
      "requests errors p99_ms", rollout_open, rollout_row, mg_free },
    NOTHING_KEPT("restore_bucket", "debt_ms cap_ms same_boot mono_ms wall_ms", restore_bucket_row),
    NOTHING_KEPT("restore_window", "age_ms prev cur window_ms same_boot mono_ms wall_ms", restore_window_row),
    NOTHING_KEPT("restore_breaker", "state remaining_ms open_max_ms same_boot mono_ms wall_ms",
                 restore_breaker_row),
    { 0 },
};
