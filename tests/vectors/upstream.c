/* upstream.c - vectors of who is up, who is next, and how much of a share they get. */
#include "support/defaults.h"
#include "vectors.h"

#include "base/mem.h"
#include "base/time.h"
#include "policy/balancer.h"
#include "policy/health.h"

enum { HOSTS_MAX = 128, SMALL = 200 };

typedef struct table {
    size_t count;
    mg_str names[HOSTS_MAX]; /* borrowed: the vector */
    uint32_t weights[HOSTS_MAX], size, bound_milli;
    mg_maglev_walk walks[HOSTS_MAX];
    mg_maglev *maglev;
} table;

static int host_of(const table *t, const char *name)
{
    for (size_t i = 0; i < t->count; i++) {
        if (mg_str_eq_c(t->names[i], name))
            return (int)i;
    }
    return -1;
}

static bool add_host(table *t, const char *name, const json_t *weight, const json_t *walk, mg_error *err)
{
    const size_t i = t->count;
    const json_int_t number = json_integer_value(weight);

    if (i == HOSTS_MAX || !json_is_integer(weight) || number < 0 || number > MG_BALANCER_WEIGHT_MAX) {
        mg_fail(err, MG_ERR_INVALID, "hosts: wants at most 128, with weights of 0 to 1000000");
        return false;
    }
    t->names[i] = mg_str_of(name);
    t->weights[i] = (uint32_t)number;
    t->walks[i] = mg_maglev_walk_of(t->names[i], t->size);
    if (walk)
        t->walks[i] = (mg_maglev_walk){ (uint32_t)json_integer_value(json_array_get(walk, 0)),
                                        (uint32_t)json_integer_value(json_array_get(walk, 1)) };
    t->count++;
    return true;
}

/* "off" and 0 are no bound. */
static bool read_bound(table *t, const json_t *cfg, mg_error *err)
{
    const json_t *factor = json_object_get(cfg, "factor");

    t->bound_milli = json_is_string(factor) ? 0 : (uint32_t)(vector_real(cfg, "factor", 1.25) * 1000 + 0.5);
    if (!t->bound_milli || (t->bound_milli >= 1000 && t->bound_milli <= 10000))
        return true;
    mg_fail(err, MG_ERR_INVALID, "factor: wants 1 to 10, or \"off\"");
    return false;
}

static void *table_open(const json_t *cfg, mg_error *err)
{
    json_t *perm = json_object_get(cfg, "perm"), *weight;
    table *t = MG_NEW(table);
    bool fine = read_bound(t, cfg, err);
    const char *name;

    t->size = (uint32_t)vector_int(cfg, "m", MG_MAGLEV_SIZE);
    if (fine && !mg_maglev_prime(t->size)) {
        mg_fail(err, MG_ERR_INVALID, "m: wants a prime of at most %d", MG_MAGLEV_SIZE_MAX);
        fine = false;
    }
    json_object_foreach(json_object_get(cfg, "hosts"), name, weight)
    {
        fine = fine && add_host(t, name, weight, json_object_get(perm, name), err);
    }
    if (!fine) {
        mg_free(t);
        return NULL;
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

        count += owner != host_of(t, name) && owner != mg_maglev_owner(less, i);
    }
    mg_maglev_unref(less);
    return 100.0 * count / t->size;
}

static json_t *name_at(const table *t, int host)
{
    return host < 0 ? json_pack("[s]", "-") : json_pack("[s#]", t->names[host].p, (int)t->names[host].n);
}

static json_t *count_of(const table *t, int host)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < t->size; i++)
        count += mg_maglev_owner(t->maglev, i) == host;
    return json_pack("[i]", (int)count);
}

static json_t *table_row(void *self, const json_t *in)
{
    const table *t = self;
    const char *op = vector_text(in, "op"), *arg = vector_text(in, "arg");
    json_t *out;

    if (strcmp(op, "table") == 0)
        return owners(t->maglev, t);
    if (strcmp(op, "pick") == 0)
        return name_at(t,
                       mg_maglev_owner(t->maglev, mg_maglev_slot(t->maglev, mg_maglev_hash(mg_str_of(arg)))));
    if (host_of(t, arg) < 0)
        return vector_bad_row("op: table, pick of a key, or count, moved and table_without of a host");
    if (strcmp(op, "count") == 0)
        return count_of(t, host_of(t, arg));
    if (strcmp(op, "moved") == 0)
        return json_pack("[f]", moved(t, arg));
    if (strcmp(op, "table_without") == 0) {
        mg_maglev *less = without(t, arg);

        out = owners(less, t);
        mg_maglev_unref(less);
        return out;
    }
    return vector_bad_row("op: not one of maglev's");
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
    return name_at(t, host);
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
    if (!json_array_size(scores))
        return json_pack("[s]", "-");
    return json_pack("[i]", (int)mg_balancer_two(json_array_size(scores), (size_t)vector_int(in, "r1", 0),
                                                 (size_t)vector_int(in, "r2", 0), score_at, scores));
}

typedef struct ewma {
    mg_balancer *balancer;
    size_t count;
} ewma;

/* `hosts` endpoints, one unless cfg says more. */
static void *ewma_open(const json_t *cfg, mg_error *err)
{
    const long long count = vector_int(cfg, "hosts", 1);
    uint32_t weights[HOSTS_MAX];
    mg_balancer_conf conf;
    mg_rand rand;

    if (count < 1 || count > HOSTS_MAX) {
        mg_fail(err, MG_ERR_INVALID, "hosts: wants 1 to 128");
        return NULL;
    }
    for (long long i = 0; i < count; i++)
        weights[i] = 1;
    mg_rand_init(&rand, 1);
    mg_balancer_conf_defaults(&conf);
    conf.weights = weights;
    conf.count = (size_t)count;
    conf.rand = &rand; /* not drawn from: no row picks */
    conf.tau_ms = (uint64_t)vector_int(cfg, "tau_ms", (long long)conf.tau_ms);
    conf.penalty_ms = (uint64_t)vector_int(cfg, "penalty_ms", (long long)conf.penalty_ms);
    ewma *made = MG_NEW(ewma);
    *made = (ewma){ mg_balancer_make(&conf), (size_t)count };
    return made;
}

/* Observe, read, or have the host go down, up, or back though nobody has seen it go; then its latency. */
static json_t *ewma_row(void *self, const json_t *in)
{
    mg_balancer *balancer = ((ewma *)self)->balancer;
    const uint64_t now_ns = vector_now_ns(in);
    const long long host = vector_int(in, "host", 0);
    const char *op = vector_text(in, "op");

    if (host < 0 || (size_t)host >= ((ewma *)self)->count)
        return vector_bad_row("host: is not one of them");
    if (strcmp(op, "obs") == 0)
        mg_balancer_observe(balancer, (size_t)host, (uint64_t)(vector_real(in, "rtt", 0) * MG_NS_PER_MS),
                            vector_int(in, "ok", 1), now_ns);
    else if (strcmp(op, "up") == 0 || strcmp(op, "down") == 0)
        mg_balancer_set_usable(balancer, (size_t)host, op[0] == 'u');
    else if (strcmp(op, "back") == 0)
        mg_balancer_set_new(balancer, (size_t)host, now_ns);
    else if (strcmp(op, "read") != 0)
        return vector_bad_row("op: obs, read, up, down or back");
    return json_pack("[o]", vector_number(mg_balancer_latency_ms(balancer, (size_t)host, now_ns)));
}

static void ewma_close(void *self)
{
    mg_balancer_free(((ewma *)self)->balancer);
    mg_free(self);
}

static json_t *weight_row(void *self, const json_t *in)
{
    double weight;

    (void)self;
    if (!mg_health_weight(vector_real(in, "base", 0), vector_real(in, "cpu", 0), vector_real(in, "mem", 0),
                          vector_real(in, "latency_ms", 0), &weight))
        return json_pack("[n]");
    return json_pack("[o]", vector_number(weight));
}

static json_t *normalise_row(void *self, const json_t *in)
{
    const json_t *weights = json_object_get(in, "weights");
    json_t *ints = json_array();
    uint32_t out[HOSTS_MAX];
    double raw[HOSTS_MAX];
    const size_t count = json_array_size(weights);

    (void)self;
    if (count > HOSTS_MAX)
        return vector_bad_row("weights: at most 128");
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
    return json_pack("[o]", vector_number(mg_health_slow_start((uint64_t)vector_int(in, "age_ms", 0),
                                                               (uint64_t)vector_int(in, "window_ms", 10000),
                                                               vector_real(in, "aggression", 1),
                                                               vector_real(in, "min_pct", 10) / 100)));
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

static void *probed_open(const json_t *cfg, mg_error *err)
{
    const long long unhealthy = vector_int(cfg, "unhealthy", 3), healthy = vector_int(cfg, "healthy", 2);
    probed *p;

    if (unhealthy < 1 || unhealthy > 10 || healthy < 1 || healthy > 10) {
        mg_fail(err, MG_ERR_INVALID, "unhealthy, healthy: want 1 to 10");
        return NULL;
    }
    p = MG_NEW(probed);
    p->conf.unhealthy_after = (uint32_t)unhealthy;
    p->conf.healthy_after = (uint32_t)healthy;
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

static void *ejected_open(const json_t *cfg, mg_error *err)
{
    const long long count = vector_int(cfg, "hosts", 1);
    mg_ejection_conf conf;
    ejected *e;

    conf = ejection_defaults;
    conf.consecutive = (uint32_t)vector_int(cfg, "consecutive", conf.consecutive);
    conf.base_ms = (uint64_t)vector_int(cfg, "base_ms", (long long)conf.base_ms);
    conf.max_ms = (uint64_t)vector_int(cfg, "max_ms", (long long)conf.max_ms);
    conf.interval_ms = (uint64_t)vector_int(cfg, "interval_ms", (long long)conf.interval_ms);
    conf.max_percent = (uint32_t)vector_int(cfg, "max_pct", conf.max_percent);
    if (count < 0 || count > MG_BALANCER_ENDPOINTS_MAX || !conf.base_ms || !conf.interval_ms ||
        conf.base_ms > conf.max_ms || conf.max_percent > 100) {
        mg_fail(err, MG_ERR_INVALID,
                "wants 0 to 4096 hosts, base_ms from 1 up to max_ms, interval_ms from 1, max_pct up to 100");
        return NULL;
    }
    e = MG_NEW(ejected);
    e->count = (size_t)count;
    e->ejection = mg_ejection_new(&conf, e->count);
    return e;
}

static json_t *ejected_row(void *self, const json_t *in)
{
    ejected *e = self;
    const uint64_t now_ns = vector_now_ns(in);
    const long long host = vector_int(in, "host", 0);
    json_t *out;

    if (host < 0 || (size_t)host >= e->count)
        return vector_bad_row("host: is not one of them");
    out = json_array();
    mg_ejection_result(e->ejection, (size_t)host, vector_int(in, "ok", 0), now_ns);
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
    { "maglev", "hosts m perm", "op arg", table_open, table_row, table_close },
    { "bounded_load", "hosts m perm factor", "key inflight", table_open, bounded_row, table_close },
    { "p2c", "", "r1 r2 score", vector_nothing_open, two_row, vector_nothing_close },
    { "peak_ewma", "tau_ms penalty_ms hosts", "op t host rtt ok", ewma_open, ewma_row, ewma_close },
    { "health_weight", "", "base cpu mem latency_ms", vector_nothing_open, weight_row, vector_nothing_close },
    { "normalise", "", "weights", vector_nothing_open, normalise_row, vector_nothing_close },
    { "slow_start", "", "age_ms window_ms aggression min_pct", vector_nothing_open, slow_start_row,
      vector_nothing_close },
    { "panic", "", "healthy total pct", vector_nothing_open, panic_row, vector_nothing_close },
    { "health", "unhealthy healthy", "ok", probed_open, probed_row, mg_free },
    { "ejection", "hosts consecutive base_ms max_ms interval_ms max_pct", "t host ok", ejected_open,
      ejected_row, ejected_close },
    { 0 },
};
