/* limiter.c - vectors of the limiter's algorithms, reservations, the key table, several rules, shares of a
 * cluster's limit, and what clients see. */
#include "vectors.h"

#include "base/mem.h"
#include "base/str.h"
#include "policy/limiter.h"

#include <stdio.h>

enum { ROWS_MAX = 1024, RULES_MAX = 8 };

typedef struct bucket {
    mg_limiter *limiter;
    uint32_t cost; /* where a row has none of its own */
    mg_limiter_answer answers[ROWS_MAX];
    size_t rows;
} bucket;

/* What every limiter reads; the first parameters of its kind stand before these. */
#define TABLE_KEYS "max_keys on_full overflow_cells"

static mg_limiter *limiter_of(const json_t *cfg, mg_limiter_algorithm algorithm, mg_error *err)
{
    static const char *const on_full[] = { "overflow", "allow", "deny", NULL };
    const int full = vector_word(cfg, "on_full", on_full, err);
    mg_limiter_conf conf;

    if (full < 0)
        return NULL;
    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = (uint64_t)vector_int(cfg, "limit", 1);
    conf.period_ms = (uint64_t)vector_int(cfg, "period_ms", vector_int(cfg, "window_ms", 1000));
    conf.max_entries = (uint32_t)vector_int(cfg, "max_entries", conf.max_entries);
    conf.on_full = (mg_limiter_on_full)full;
    conf.burst = (uint64_t)vector_int(cfg, "burst", 0);
    conf.max_wait_ms = (uint64_t)vector_int(cfg, "max_wait_ms", 0);
    conf.max_keys = (uint32_t)vector_int(cfg, "max_keys", 1024);
    conf.overflow_cells = (uint32_t)vector_int(cfg, "overflow_cells", 1024);
    return mg_limiter_new(&conf, err);
}

static void *open_as(const json_t *cfg, mg_limiter_algorithm algorithm, mg_error *err)
{
    mg_limiter *limiter = limiter_of(cfg, algorithm, err);
    bucket *b;

    if (!limiter)
        return NULL;
    b = MG_NEW(bucket);
    b->limiter = limiter;
    b->cost = (uint32_t)vector_int(cfg, "cost", 1);
    return b;
}

static void *bucket_open(const json_t *cfg, mg_error *err)
{
    return open_as(cfg, MG_LIMITER_TOKEN_BUCKET, err);
}

static void *sliding_open(const json_t *cfg, mg_error *err)
{
    return open_as(cfg, MG_LIMITER_SLIDING_WINDOW, err);
}

static void *log_open(const json_t *cfg, mg_error *err)
{
    return open_as(cfg, MG_LIMITER_SLIDING_LOG, err);
}

static void *fixed_open(const json_t *cfg, mg_error *err)
{
    return open_as(cfg, MG_LIMITER_FIXED_WINDOW, err);
}

static void *leaky_open(const json_t *cfg, mg_error *err)
{
    return open_as(cfg, MG_LIMITER_LEAKY, err);
}

static void *permits_open(const json_t *cfg, mg_error *err)
{
    return open_as(cfg, MG_LIMITER_CONCURRENCY, err);
}

static void bucket_close(void *self)
{
    mg_limiter_free(((bucket *)self)->limiter);
    mg_free(self);
}

/* Column key; all rows are of one key where there is none. */
static mg_str key_of(const json_t *in)
{
    const char *key = json_string_value(json_object_get(in, "key"));

    return mg_str_of(key ? key : "k");
}

static uint64_t remaining_of(const mg_limiter *limiter, uint64_t now_ns)
{
    mg_limiter_answer a;

    mg_limiter_peek(limiter, "k", 1, 0, now_ns, &a);
    return a.remaining;
}

static json_t *take_row(void *self, const json_t *in)
{
    const bucket *b = self;
    const mg_str key = key_of(in);
    mg_limiter_answer a;

    mg_limiter_take(b->limiter, key.p, key.n, (uint32_t)vector_int(in, "n", b->cost), vector_now_ns(in), &a);
    return json_pack("[iII]", a.allowed, (json_int_t)a.remaining, (json_int_t)a.retry_ms);
}

static json_t *leaky_row(void *self, const json_t *in)
{
    const bucket *b = self;
    const mg_str key = key_of(in);
    mg_limiter_answer a;

    mg_limiter_take(b->limiter, key.p, key.n, (uint32_t)vector_int(in, "n", b->cost), vector_now_ns(in), &a);
    return json_pack("[iII]", a.allowed, (json_int_t)a.wait_ms, (json_int_t)a.retry_ms);
}

/* A takes a permit, R returns the oldest that is out. */
static json_t *permits_row(void *self, const json_t *in)
{
    bucket *b = self;
    mg_limiter_answer a = { .allowed = false };
    size_t oldest = 0;

    if (vector_text(in, "op")[0] == 'A') {
        mg_limiter_take(b->limiter, "k", 1, 1, vector_now_ns(in), &a);
        if (a.allowed && b->rows < ROWS_MAX)
            b->answers[b->rows++] = a;
    } else {
        while (oldest < b->rows && !b->answers[oldest].length_ns)
            oldest++;
        a.allowed = oldest < b->rows;
        if (a.allowed)
            mg_limiter_release(b->limiter, &b->answers[oldest]);
    }
    return json_pack(
        "[iI]", a.allowed,
        (json_int_t)(mg_limiter_quota(b->limiter) - remaining_of(b->limiter, vector_now_ns(in))));
}

static json_t *reserve_row(void *self, const json_t *in)
{
    bucket *b = self;
    mg_limiter_answer *a = &b->answers[b->rows];
    const long long arg = vector_int(in, "arg", b->cost);
    const mg_str key = key_of(in);

    if (++b->rows == ROWS_MAX)
        return vector_bad_row("at most 1023 rows");
    if (vector_text(in, "op")[0] == 'C' && arg >= 0 && arg < (long long)b->rows)
        return json_pack("[ii]", mg_limiter_cancel(b->limiter, &b->answers[arg]), 0);
    if (vector_text(in, "op")[0] != 'R' || arg < 0)
        return vector_bad_row("op: R n, or C and the number of an earlier row");
    mg_limiter_reserve(b->limiter, key.p, key.n, (uint32_t)arg, vector_now_ns(in), a);
    return json_pack("[iI]", a->allowed, (json_int_t)(a->allowed ? (int64_t)a->wait_ms : a->retry_ms));
}

static json_t *table_row(void *self, const json_t *in)
{
    static const char *const via[] = { "own", "overflow", "none" };
    const bucket *b = self;
    const char *key = vector_text(in, "key");
    mg_limiter_answer a;

    mg_limiter_take(b->limiter, key, strlen(key), b->cost, vector_now_ns(in), &a);
    return json_pack("[is]", a.allowed, via[a.via]);
}

typedef struct chain {
    size_t count;
    const char *names[RULES_MAX]; /* borrowed: the vector */
    bool per_key[RULES_MAX];
    uint32_t costs[RULES_MAX];
    mg_limiter *limiters[RULES_MAX];
} chain;

static void chain_close(void *self)
{
    chain *c = self;

    for (size_t i = 0; i < c->count; i++)
        mg_limiter_free(c->limiters[i]);
    mg_free(c);
}

static bool add_rule(chain *c, const json_t *rule, mg_error *err)
{
    static const char *const algorithms[] = { "token_bucket", "sliding_window", "sliding_log", "fixed_window",
                                              "leaky",        "concurrency",    NULL };
    const int algorithm = vector_word(rule, "algorithm", algorithms, err);
    const size_t i = c->count;

    if (algorithm < 0 || !vector_knows(rule,
                                       "name per_key algorithm limit period_ms window_ms burst cost "
                                       "max_wait_ms max_entries " TABLE_KEYS,
                                       err))
        return false;
    if (i == RULES_MAX) {
        mg_fail(err, MG_ERR_INVALID, "rules: wants at most 8");
        return false;
    }
    c->names[i] = vector_text(rule, "name");
    c->per_key[i] = vector_int(rule, "per_key", 0);
    c->costs[i] = (uint32_t)vector_int(rule, "cost", 1);
    c->limiters[i] = limiter_of(rule, (mg_limiter_algorithm)algorithm, err);
    c->count += c->limiters[i] != NULL;
    return c->limiters[i] != NULL;
}

static void *chain_open(const json_t *cfg, mg_error *err)
{
    const json_t *rules = json_object_get(cfg, "rules");
    chain *c = MG_NEW(chain);

    for (size_t i = 0; i < json_array_size(rules); i++) {
        if (!add_rule(c, json_array_get(rules, i), err)) {
            chain_close(c);
            return NULL;
        }
    }
    return c;
}

static json_t *chain_row(void *self, const json_t *in)
{
    chain *c = self;
    const char *key = vector_text(in, "key");
    mg_limiter_ask asks[RULES_MAX];
    mg_limiter_answer answers[RULES_MAX];
    int by;

    for (size_t i = 0; i < c->count; i++)
        asks[i] = (mg_limiter_ask){ c->limiters[i], c->per_key[i] ? key : "", c->per_key[i] ? strlen(key) : 0,
                                    (uint32_t)vector_int(in, "n", c->costs[i]) };
    by = mg_limiter_queue_all(asks, NULL, c->count, 0, vector_now_ns(in), answers);
    return json_pack("[is]", by < 0, by < 0 ? "-" : c->names[by]);
}

static json_t *headers_row(void *self, const json_t *in)
{
    char policy[MG_LIMITER_HEADER_BYTES], state[MG_LIMITER_HEADER_BYTES], retry[24] = "-";
    const char *name = vector_text(in, "name");
    const int64_t retry_ms = vector_int(in, "retry_ms", 0);

    (void)self;
    mg_limiter_policy_header(policy, name, strlen(name), (uint64_t)vector_int(in, "quota", 0),
                             (uint64_t)vector_int(in, "window_ms", 0));
    mg_limiter_state_header(state, name, strlen(name), (uint64_t)vector_int(in, "rem", 0),
                            (uint64_t)vector_int(in, "reset_ms", 0), retry_ms);
    if (mg_limiter_retry_after_s(retry_ms))
        snprintf(retry, sizeof(retry), "%llu", (unsigned long long)mg_limiter_retry_after_s(retry_ms));
    return json_pack("[sss]", policy, state, retry);
}

typedef struct prefixes {
    unsigned v4, v6;
} prefixes;

static void *prefixes_open(const json_t *cfg, mg_error *err)
{
    const long long v4 = vector_int(cfg, "v4", 32), v6 = vector_int(cfg, "v6", 64);
    prefixes *p;

    if (v4 < 8 || v4 > 32 || v6 < 32 || v6 > 128) {
        mg_fail(err, MG_ERR_INVALID, "v4 wants 8 to 32, v6 32 to 128");
        return NULL;
    }
    p = MG_NEW(prefixes);
    *p = (prefixes){ (unsigned)v4, (unsigned)v6 };
    return p;
}

static json_t *key_row(void *self, const json_t *in)
{
    const prefixes *p = self;
    const char *ip = vector_text(in, "ip");
    const long long v4 = vector_int(in, "v4", p->v4), v6 = vector_int(in, "v6", p->v6);
    char key[MG_LIMITER_IP_KEY_BYTES];

    if (v4 < 8 || v4 > 32 || v6 < 32 || v6 > 128 ||
        !mg_limiter_ip_key(key, ip, strlen(ip), (unsigned)v4, (unsigned)v6))
        return json_pack("[n]");
    return json_pack("[s]", key);
}

#define WINDOW_KEYS "limit period_ms window_ms cost " TABLE_KEYS
#define BUCKET_KEYS WINDOW_KEYS " burst"

const vector_driver vector_limiter_drivers[] = {
    { "token_bucket", BUCKET_KEYS, "t n key", bucket_open, take_row, bucket_close },
    { "token_bucket_reserve", BUCKET_KEYS " max_wait_ms", "t op arg key", bucket_open, reserve_row,
      bucket_close },
    { "sliding_window", WINDOW_KEYS, "t n key", sliding_open, take_row, bucket_close },
    { "sliding_log", WINDOW_KEYS " max_entries", "t n key", log_open, take_row, bucket_close },
    { "fixed_window", WINDOW_KEYS, "t n key", fixed_open, take_row, bucket_close },
    { "leaky", WINDOW_KEYS " max_wait_ms", "t n key", leaky_open, leaky_row, bucket_close },
    { "concurrency", "limit " TABLE_KEYS, "t op", permits_open, permits_row, bucket_close },
    { "limiter_table", BUCKET_KEYS, "t key", bucket_open, table_row, bucket_close },
    { "limiter_chain", "rules", "t key n", chain_open, chain_row, chain_close },
    { "headers", "", "name quota window_ms rem reset_ms retry_ms", vector_nothing_open, headers_row,
      vector_nothing_close },
    { "limit_key", "v4 v6", "ip v4 v6", prefixes_open, key_row, mg_free },
    { 0 },
};
