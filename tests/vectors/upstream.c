/* upstream.c - vectors of who is up, who is next, and how much of a share they get. */
#include "vectors.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/balancer.h"
#include "policy/health.h"

enum { HOSTS_MAX = 64, SMALL = 200 };

typedef struct table {
    size_t count;
    mg_str names[HOSTS_MAX]; /* borrowed: the vector */
    uint32_t weights[HOSTS_MAX], size, bound_milli;
    mg_maglev_walk walks[HOSTS_MAX];
    mg_maglev *maglev;
} table;

static size_t host_of(const table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++) {
        if (mg_str_eq_c(t->names[i], name))
            return i;
    }
    MG_UNREACHABLE();
}

static void *table_open(const json_t *cfg)
{
    json_t *perm = json_object_get(cfg, "perm"), *weight;
    table *t = MG_NEW(table);
    const char *name;

    t->size = (uint32_t)vector_int(cfg, "m", MG_MAGLEV_SIZE);
    t->bound_milli = (uint32_t)(vector_real(cfg, "factor", 1.25) * 1000 + 0.5);
    json_object_foreach(json_object_get(cfg, "hosts"), name, weight)
    {
        const json_t *walk = json_object_get(perm, name);
        const size_t i = t->count++;

        MG_CHECK(i < HOSTS_MAX);
        t->names[i] = mg_str_of(name);
        t->weights[i] = (uint32_t)json_integer_value(weight);
        t->walks[i] = mg_maglev_walk_of(t->names[i], t->size);
        if (walk)
            t->walks[i] = (mg_maglev_walk){ (uint32_t)json_integer_value(json_array_get(walk, 0)),
                                            (uint32_t)json_integer_value(json_array_get(walk, 1)) };
    }
    t->maglev = mg_maglev_of_walks(t->walks, t->weights, t->count, t->size);
    return t;
}

/* The table without one of its hosts, whose weight 0 leaves it out and the others' numbers alone. */
static mg_maglev *without(const table *t, const char *name)
{
    uint32_t weights[HOSTS_MAX];

    memcpy(weights, t->weights, sizeof(weights));
    weights[host_of(t, name)] = 0;
    return mg_maglev_of_walks(t->walks, weights, t->count, t->size);
}

static json_t *owners(const mg_maglev *m, const table *t)
{
    char text[SMALL + 1] = { 0 };

    for (uint32_t i = 0; i < t->size && i < SMALL; i++) {
        const int owner = mg_maglev_owner(m, i);

        text[i] = owner < 0 ? '-' : t->names[owner].p[0];
    }
    return json_pack("[s]", text);
}

/* Slots of the hosts that stay which have another owner without the one that goes, in percent of all. */
static double moved(const table *t, const char *name)
{
    mg_maglev *less = without(t, name);
    uint32_t count = 0;

    for (uint32_t i = 0; i < t->size; i++) {
        const int owner = mg_maglev_owner(t->maglev, i);

        count += owner != (int)host_of(t, name) && owner != mg_maglev_owner(less, i);
    }
    mg_maglev_unref(less);
    return 100.0 * count / t->size;
}

static json_t *table_row(void *self, const json_t *in)
{
    const table *t = self;
    const char *op = vector_text(in, "op"), *arg = vector_text(in, "arg");
    json_t *out;
    uint32_t count = 0;

    if (strcmp(op, "table") == 0)
        return owners(t->maglev, t);
    if (strcmp(op, "moved") == 0)
        return json_pack("[f]", moved(t, arg));
    if (strcmp(op, "table_without") == 0) {
        mg_maglev *less = without(t, arg);

        out = owners(less, t);
        mg_maglev_unref(less);
        return out;
    }
    if (strcmp(op, "pick") == 0) {
        const int owner =
            mg_maglev_owner(t->maglev, mg_maglev_slot(t->maglev, mg_maglev_hash(mg_str_of(arg))));

        return json_pack("[s#]", t->names[owner].p, (int)t->names[owner].n);
    }
    for (uint32_t i = 0; i < t->size; i++)
        count += mg_maglev_owner(t->maglev, i) == (int)host_of(t, arg);
    return json_pack("[i]", (int)count);
}

static json_t *bounded_row(void *self, const json_t *in)
{
    const table *t = self;
    const json_t *inflight = json_object_get(in, "inflight");
    mg_balancer_conf conf;
    mg_balancer *b;
    int host;

    mg_balancer_conf_defaults(&conf);
    conf.algorithm = MG_BALANCER_MAGLEV;
    conf.weights = t->weights;
    conf.count = t->count;
    conf.maglev = t->maglev;
    conf.bound_milli = t->bound_milli;
    conf.inflight = mg_inflight_new(t->count);
    for (size_t i = 0; i < t->count; i++)
        mg_inflight_add(conf.inflight, i, (int)vector_int(inflight, t->names[i].p, 0));
    b = mg_balancer_make(&conf);
    host = mg_balancer_pick_for(b, mg_maglev_hash(mg_str_of(vector_text(in, "key"))), NULL, 0, 0);
    mg_balancer_free(b);
    mg_inflight_unref(conf.inflight);
    return json_pack("[s#]", t->names[host].p, (int)t->names[host].n);
}

static void table_close(void *self)
{
    mg_maglev_unref(((table *)self)->maglev);
    mg_free(self);
}

static double score_at(void *self, size_t index)
{
    return json_number_value(json_array_get(self, index));
}

static json_t *two_row(void *self, const json_t *in)
{
    json_t *scores = json_object_get(in, "score");

    (void)self;
    return json_pack("[i]", (int)mg_balancer_two(json_array_size(scores), (size_t)vector_int(in, "r1", 0),
                                                 (size_t)vector_int(in, "r2", 0), score_at, scores));
}

/* A balancer of one endpoint. */
static void *ewma_open(const json_t *cfg)
{
    static const uint32_t weight = 1;
    mg_balancer_conf conf;
    mg_rand rand;

    mg_rand_init(&rand, 1);
    mg_balancer_conf_defaults(&conf);
    conf.weights = &weight;
    conf.count = 1;
    conf.rand = &rand; /* not drawn from: there is one to choose */
    conf.tau_ms = (uint64_t)vector_int(cfg, "tau_ms", (long long)conf.tau_ms);
    conf.penalty_ms = (uint64_t)vector_int(cfg, "penalty_ms", (long long)conf.penalty_ms);
    return mg_balancer_make(&conf);
}

static json_t *ewma_row(void *self, const json_t *in)
{
    const uint64_t now_ns = (uint64_t)vector_int(in, "t", 0) * MG_NS_PER_MS;

    if (strcmp(vector_text(in, "op"), "obs") == 0)
        mg_balancer_observe(self, 0, (uint64_t)(vector_real(in, "rtt", 0) * MG_NS_PER_MS),
                            vector_int(in, "ok", 1), now_ns);
    return json_pack("[f]", mg_balancer_latency_ms(self, 0, now_ns));
}

static void ewma_close(void *self)
{
    mg_balancer_free(self);
}

static json_t *weight_row(void *self, const json_t *in)
{
    double weight;

    (void)self;
    if (!mg_health_weight(vector_real(in, "base", 0), vector_real(in, "cpu", 0), vector_real(in, "mem", 0),
                          vector_real(in, "latency_ms", 0), &weight))
        return json_pack("[n]");
    return json_pack("[f]", weight);
}

static json_t *normalise_row(void *self, const json_t *in)
{
    const json_t *weights = json_object_get(in, "weights");
    json_t *ints = json_array();
    uint32_t out[HOSTS_MAX];
    double raw[HOSTS_MAX];
    const size_t count = json_array_size(weights);

    (void)self;
    MG_CHECK(count <= HOSTS_MAX);
    for (size_t i = 0; i < count; i++)
        raw[i] = json_number_value(json_array_get(weights, i));
    mg_health_normalise(raw, count, out);
    for (size_t i = 0; i < count; i++)
        json_array_append_new(ints, json_integer(out[i]));
    return json_pack("[o]", ints);
}

static json_t *slow_start_row(void *self, const json_t *in)
{
    (void)self;
    return json_pack("[f]", mg_health_slow_start((uint64_t)vector_int(in, "age_ms", 0),
                                                 (uint64_t)vector_int(in, "window_ms", 10000),
                                                 vector_real(in, "aggression", 1),
                                                 vector_real(in, "min_pct", 10) / 100));
}

static json_t *panic_row(void *self, const json_t *in)
{
    (void)self;
    return json_pack("[i]",
                     mg_health_panic((size_t)vector_int(in, "healthy", 0), (size_t)vector_int(in, "total", 0),
                                     (uint32_t)vector_int(in, "pct", 50)));
}

typedef struct probed {
    mg_health_conf conf;
    mg_health health;
} probed;

static void *probed_open(const json_t *cfg)
{
    probed *p = MG_NEW(probed);

    p->conf.unhealthy_after = (uint32_t)vector_int(cfg, "unhealthy", 3);
    p->conf.healthy_after = (uint32_t)vector_int(cfg, "healthy", 2);
    return p;
}

static json_t *probed_row(void *self, const json_t *in)
{
    probed *p = self;

    mg_health_result(&p->health, &p->conf, vector_int(in, "ok", 0));
    return json_pack("[s]", mg_health_state_name(p->health.state));
}

typedef struct ejected {
    mg_ejection *ejection;
    size_t count;
} ejected;

static void *ejected_open(const json_t *cfg)
{
    ejected *e = MG_NEW(ejected);
    mg_ejection_conf conf;

    mg_ejection_conf_defaults(&conf);
    conf.consecutive = (uint32_t)vector_int(cfg, "consecutive", conf.consecutive);
    conf.base_ms = (uint64_t)vector_int(cfg, "base_ms", (long long)conf.base_ms);
    conf.max_ms = (uint64_t)vector_int(cfg, "max_ms", (long long)conf.max_ms);
    conf.interval_ms = (uint64_t)vector_int(cfg, "interval_ms", (long long)conf.interval_ms);
    conf.max_percent = (uint32_t)vector_int(cfg, "max_pct", conf.max_percent);
    e->count = (size_t)vector_int(cfg, "hosts", 1);
    e->ejection = mg_ejection_new(&conf, e->count);
    return e;
}

static json_t *ejected_row(void *self, const json_t *in)
{
    ejected *e = self;
    const uint64_t now_ns = (uint64_t)vector_int(in, "t", 0) * MG_NS_PER_MS;
    json_t *out = json_array();

    mg_ejection_result(e->ejection, (size_t)vector_int(in, "host", 0), vector_int(in, "ok", 0), now_ns);
    for (size_t i = 0; i < e->count; i++) {
        if (mg_ejection_is_out(e->ejection, i, now_ns))
            json_array_append_new(out, json_integer((json_int_t)i));
    }
    return json_pack("[o]", out);
}

static void ejected_close(void *self)
{
    mg_ejection_free(((ejected *)self)->ejection);
    mg_free(self);
}

const vector_driver vector_upstream_drivers[] = {
    { "maglev", table_open, table_row, table_close },
    { "bounded_load", table_open, bounded_row, table_close },
    { "p2c", vector_nothing_open, two_row, vector_nothing_close },
    { "peak_ewma", ewma_open, ewma_row, ewma_close },
    { "health_weight", vector_nothing_open, weight_row, vector_nothing_close },
    { "normalise", vector_nothing_open, normalise_row, vector_nothing_close },
    { "slow_start", vector_nothing_open, slow_start_row, vector_nothing_close },
    { "panic", vector_nothing_open, panic_row, vector_nothing_close },
    { "health", probed_open, probed_row, mg_free },
    { "ejection", ejected_open, ejected_row, ejected_close },
    { NULL, NULL, NULL, NULL },
};
