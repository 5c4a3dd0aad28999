/* limiter.c - vectors of the limiter's algorithms, reservations, the key table, several rules, shares of a
 * cluster's limit, and what clients see. */
#include "vectors.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/limiter.h"

#include <stdio.h>

enum { ROWS_MAX = 256, RULES_MAX = 8 };

typedef struct bucket {
    mg_limiter *limiter;
    mg_limiter_answer answers[ROWS_MAX];
    size_t rows;
} bucket;

static mg_limiter_on_full on_full_of(const json_t *cfg)
{
    const char *text = vector_text(cfg, "on_full");

    return strcmp(text, "allow") == 0  ? MG_LIMITER_FULL_ALLOW
           : strcmp(text, "deny") == 0 ? MG_LIMITER_FULL_DENY
                                       : MG_LIMITER_FULL_OVERFLOW;
}

static mg_limiter *limiter_of(const json_t *cfg, mg_limiter_algorithm algorithm)
{
    mg_error err = MG_ERROR_INIT;
    mg_limiter_conf conf;
    mg_limiter *limiter;

    mg_limiter_conf_defaults(&conf);
    conf.algorithm = algorithm;
    conf.limit = (uint64_t)vector_int(cfg, "limit", 1);
    conf.period_ms = (uint64_t)vector_int(cfg, "period_ms", vector_int(cfg, "window_ms", 1000));
    conf.max_entries = (uint32_t)vector_int(cfg, "max_entries", conf.max_entries);
    conf.on_full = on_full_of(cfg);
    conf.burst = (uint64_t)vector_int(cfg, "burst", 0);
    conf.max_wait_ms = (uint64_t)vector_int(cfg, "max_wait_ms", 0);
    conf.max_keys = (uint32_t)vector_int(cfg, "max_keys", 1024);
    conf.overflow_cells = (uint32_t)vector_int(cfg, "overflow_cells", 1024);
    limiter = mg_limiter_new(&conf, &err);
    if (!limiter)
        printf("  %s\n", err.message);
    MG_CHECK(limiter);
    return limiter;
}

static uint64_t now_of(const json_t *in)
{
    return (uint64_t)vector_int(in, "t", 0) * MG_NS_PER_MS;
}

static void *open_as(const json_t *cfg, mg_limiter_algorithm algorithm)
{
    bucket *b = MG_NEW(bucket);

    b->limiter = limiter_of(cfg, algorithm);
    return b;
}

static void *bucket_open(const json_t *cfg)
{
    return open_as(cfg, MG_LIMITER_TOKEN_BUCKET);
}

static void *sliding_open(const json_t *cfg)
{
    return open_as(cfg, MG_LIMITER_SLIDING_WINDOW);
}

static void *log_open(const json_t *cfg)
{
    return open_as(cfg, MG_LIMITER_SLIDING_LOG);
}

static void *fixed_open(const json_t *cfg)
{
    return open_as(cfg, MG_LIMITER_FIXED_WINDOW);
}

static void *leaky_open(const json_t *cfg)
{
    return open_as(cfg, MG_LIMITER_LEAKY);
}

static void *permits_open(const json_t *cfg)
{
    return open_as(cfg, MG_LIMITER_CONCURRENCY);
}

static void bucket_close(void *self)
{
    mg_limiter_free(((bucket *)self)->limiter);
    mg_free(self);
}

static uint64_t remaining_of(const mg_limiter *limiter, uint64_t now_ns)
{
    mg_limiter_answer a;

    mg_limiter_peek(limiter, "k", 1, 0, now_ns, &a);
    return a.remaining;
}

static json_t *take_row(void *self, const json_t *in)
{
    mg_limiter_answer a;

    mg_limiter_take(((bucket *)self)->limiter, "k", 1, (uint32_t)vector_int(in, "n", 1), now_of(in), &a);
    return json_pack("[iII]", a.allowed, (json_int_t)a.remaining, (json_int_t)a.retry_ms);
}

static json_t *leaky_row(void *self, const json_t *in)
{
    mg_limiter_answer a;

    mg_limiter_take(((bucket *)self)->limiter, "k", 1, (uint32_t)vector_int(in, "n", 1), now_of(in), &a);
    return json_pack("[iII]", a.allowed, (json_int_t)a.wait_ms, (json_int_t)a.retry_ms);
}

/* A takes a permit, R returns the oldest that is out. */
static json_t *permits_row(void *self, const json_t *in)
{
    bucket *b = self;
    mg_limiter_answer a = { .allowed = false };
    size_t oldest = 0;

    if (vector_text(in, "op")[0] == 'A') {
        mg_limiter_take(b->limiter, "k", 1, 1, now_of(in), &a);
        if (a.allowed && b->rows < ROWS_MAX)
            b->answers[b->rows++] = a;
    } else {
        while (oldest < b->rows && !b->answers[oldest].length_ns)
            oldest++;
        a.allowed = oldest < b->rows;
        if (a.allowed)
            mg_limiter_release(b->limiter, &b->answers[oldest]);
    }
    return json_pack("[iI]", a.allowed,
                     (json_int_t)(mg_limiter_quota(b->limiter) - remaining_of(b->limiter, now_of(in))));
}

typedef struct lease {
    mg_limiter *limiter;
    uint64_t tat_ns;
} lease;

static void *lease_open(const json_t *cfg)
{
    lease *l = MG_NEW(lease);

    l->limiter = limiter_of(cfg, MG_LIMITER_TOKEN_BUCKET);
    return l;
}

static json_t *lease_row(void *self, const json_t *in)
{
    lease *l = self;

    return json_pack("[i]", (int)mg_limiter_lease(l->limiter, &l->tat_ns, (uint32_t)vector_int(in, "want", 1),
                                                  now_of(in)));
}

static void lease_close(void *self)
{
    mg_limiter_free(((lease *)self)->limiter);
    mg_free(self);
}

static json_t *share_row(void *self, const json_t *in)
{
    (void)self;
    return json_pack("[I]", (json_int_t)mg_limiter_share((uint64_t)vector_int(in, "limit", 1),
                                                         (uint32_t)vector_int(in, "nodes", 0)));
}

static json_t *reserve_row(void *self, const json_t *in)
{
    bucket *b = self;
    mg_limiter_answer *a = &b->answers[b->rows++];

    MG_CHECK(b->rows < ROWS_MAX);
    if (vector_text(in, "op")[0] == 'C')
        return json_pack("[ii]", mg_limiter_cancel(b->limiter, &b->answers[vector_int(in, "arg", 0)]), 0);
    mg_limiter_reserve(b->limiter, "k", 1, (uint32_t)vector_int(in, "arg", 1), now_of(in), a);
    return json_pack("[iI]", a->allowed, (json_int_t)(a->allowed ? (int64_t)a->wait_ms : a->retry_ms));
}

static json_t *table_row(void *self, const json_t *in)
{
    static const char *const via[] = { "own", "overflow", "none" };
    const char *key = vector_text(in, "key");
    mg_limiter_answer a;

    mg_limiter_take(((bucket *)self)->limiter, key, strlen(key), 1, now_of(in), &a);
    return json_pack("[is]", a.allowed, via[a.via]);
}

typedef struct chain {
    size_t count;
    const char *names[RULES_MAX]; /* borrowed: the vector */
    bool per_key[RULES_MAX];
    mg_limiter *limiters[RULES_MAX];
} chain;

static void *chain_open(const json_t *cfg)
{
    const json_t *rules = json_object_get(cfg, "rules");
    chain *c = MG_NEW(chain);

    for (size_t i = 0; i < json_array_size(rules) && i < RULES_MAX; i++) {
        const json_t *rule = json_array_get(rules, i);

        c->names[i] = vector_text(rule, "name");
        c->per_key[i] = vector_int(rule, "per_key", 0);
        c->limiters[i] = limiter_of(rule, MG_LIMITER_TOKEN_BUCKET);
        c->count++;
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
        asks[i] =
            (mg_limiter_ask){ c->limiters[i], c->per_key[i] ? key : "", c->per_key[i] ? strlen(key) : 0, 1 };
    by = mg_limiter_take_all(asks, c->count, now_of(in), answers);
    return json_pack("[is]", by < 0, by < 0 ? "-" : c->names[by]);
}

static void chain_close(void *self)
{
    chain *c = self;

    for (size_t i = 0; i < c->count; i++)
        mg_limiter_free(c->limiters[i]);
    mg_free(c);
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

static json_t *key_row(void *self, const json_t *in)
{
    const char *ip = vector_text(in, "ip");
    char key[MG_LIMITER_IP_KEY_BYTES];

    (void)self;
    if (!mg_limiter_ip_key(key, ip, strlen(ip), 32, 64))
        return json_pack("[n]");
    return json_pack("[s]", key);
}

const vector_driver vector_limiter_drivers[] = {
    { "token_bucket", bucket_open, take_row, bucket_close },
    { "token_bucket_reserve", bucket_open, reserve_row, bucket_close },
    { "sliding_window", sliding_open, take_row, bucket_close },
    { "sliding_log", log_open, take_row, bucket_close },
    { "fixed_window", fixed_open, take_row, bucket_close },
    { "leaky", leaky_open, leaky_row, bucket_close },
    { "concurrency", permits_open, permits_row, bucket_close },
    { "cluster_lease", lease_open, lease_row, lease_close },
    { "fallback_share", vector_nothing_open, share_row, vector_nothing_close },
    { "limiter_table", bucket_open, table_row, bucket_close },
    { "limiter_chain", chain_open, chain_row, chain_close },
    { "headers", vector_nothing_open, headers_row, vector_nothing_close },
    { "limit_key", vector_nothing_open, key_row, vector_nothing_close },
    { NULL, NULL, NULL, NULL },
};
