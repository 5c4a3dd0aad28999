/* ejection.c - who fails in a row, or more than the others, is out for a while (Envoy's outlier detection).
 *
 * Results are counted with atomics by all; whoever counts one too many decides under a flag that is tried and
 * never waited for: who finds it taken leaves the decision to its next failure. */
#include "policy/health.h"

#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "policy/balancer.h"

#include <math.h>
#include <stdatomic.h>

enum { RATE_HOSTS = 5, RATE_REQUESTS = 100, RATE_FAILING_PERCENT = 5 };

#define RATE_DEVIATIONS 1.9

typedef struct member {
    _Atomic uint64_t until_ns;           /* out until then; stays when that is over */
    _Atomic uint32_t run;                /* failures */
    _Atomic uint32_t times;              /* ejections, less the intervals of good standing since */
    _Atomic uint32_t requests, failures; /* this interval's */
} member;

struct mg_ejection {
    mg_ejection_conf conf;
    size_t count;
    _Atomic bool deciding;
    member members[];
};

mg_ejection *mg_ejection_new(const mg_ejection_conf *conf, size_t count)
{
    mg_ejection *e;

    MG_CHECK(count <= MG_BALANCER_ENDPOINTS_MAX);
    MG_CHECK(conf->base_ms > 0 && conf->interval_ms > 0 && conf->base_ms <= conf->max_ms);
    e = mg_calloc(1, sizeof(*e) + count * sizeof(e->members[0]));
    e->conf = *conf;
    e->count = count;
    return e;
}

void mg_ejection_free(mg_ejection *ejection)
{
    mg_free(ejection);
}

uint64_t mg_ejection_until_ns(const mg_ejection *ejection, size_t endpoint, uint64_t now_ns)
{
    uint64_t until_ns;

    MG_CHECK(endpoint < ejection->count);
    until_ns = atomic_load_explicit(&ejection->members[endpoint].until_ns, memory_order_relaxed);
    return until_ns > now_ns ? until_ns : 0;
}

bool mg_ejection_is_out(const mg_ejection *ejection, size_t endpoint, uint64_t now_ns)
{
    return mg_ejection_until_ns(ejection, endpoint, now_ns) != 0;
}

/* One may always go, if there are others; never all. */
static bool has_room(const mg_ejection *e, uint64_t now_ns)
{
    const uint64_t share = e->count * e->conf.max_percent / 100;
    size_t out = 0;

    for (size_t i = 0; i < e->count; i++)
        out += mg_ejection_is_out(e, i, now_ns);
    return out + 1 < e->count && out < mg_max_u64(1, share);
}

/* Ejections still held against it: one is forgotten for every interval since it last returned. */
static uint32_t times_now(const mg_ejection *e, const member *m, uint64_t now_ns)
{
    const uint64_t until_ns = atomic_load(&m->until_ns), times = atomic_load(&m->times);
    const uint64_t good = now_ns > until_ns ? (now_ns - until_ns) / (e->conf.interval_ms * MG_NS_PER_MS) : 0;

    return (uint32_t)(times > good ? times - good : 0);
}

static bool eject(mg_ejection *e, member *m, uint64_t now_ns)
{
    bool room;

    if (atomic_exchange(&e->deciding, true))
        return false;
    room = atomic_load(&m->until_ns) <= now_ns && has_room(e, now_ns);
    if (room) {
        const uint64_t most = e->conf.max_ms / e->conf.base_ms + 1; /* longer it does not get */
        const uint64_t times = mg_min_u64(times_now(e, m, now_ns) + 1, most);
        const uint64_t length_ms = mg_min_u64(e->conf.base_ms * times, e->conf.max_ms);

        atomic_store(&m->times, (uint32_t)times);
        atomic_store(&m->run, 0);
        atomic_store(&m->until_ns, now_ns + length_ms * MG_NS_PER_MS);
    }
    atomic_store(&e->deciding, false);
    return room;
}

bool mg_ejection_result(mg_ejection *ejection, size_t endpoint, bool ok, uint64_t now_ns)
{
    member *m = &ejection->members[endpoint];

    if (mg_ejection_is_out(ejection, endpoint, now_ns))
        return false; /* panic sent it there; it returns with clean counters */
    if (ejection->conf.success_rate) {
        atomic_fetch_add_explicit(&m->requests, 1, memory_order_relaxed);
        atomic_fetch_add_explicit(&m->failures, !ok, memory_order_relaxed);
    }
    if (ok) {
        if (atomic_load_explicit(&m->run, memory_order_relaxed))
            atomic_store_explicit(&m->run, 0, memory_order_relaxed);
        return false;
    }
    if (!ejection->conf.consecutive || atomic_fetch_add(&m->run, 1) + 1 < ejection->conf.consecutive)
        return false;
    return eject(ejection, m, now_ns);
}

typedef struct rates {
    double mean, deviation;
    size_t hosts;
} rates;

static bool is_judged(const member *m)
{
    return atomic_load(&m->requests) >= RATE_REQUESTS;
}

static double rate_of(const member *m)
{
    const double requests = atomic_load(&m->requests), failures = atomic_load(&m->failures);

    return requests > failures ? (requests - failures) / requests : 0;
}

static rates rates_of(const mg_ejection *e)
{
    rates r = { 0 };
    double squares = 0;

    for (size_t i = 0; i < e->count; i++) {
        if (is_judged(&e->members[i])) {
            r.hosts++;
            r.mean += rate_of(&e->members[i]);
        }
    }
    r.mean /= r.hosts ? (double)r.hosts : 1;
    for (size_t i = 0; i < e->count; i++) {
        if (is_judged(&e->members[i]))
            squares += (rate_of(&e->members[i]) - r.mean) * (rate_of(&e->members[i]) - r.mean);
    }
    r.deviation = r.hosts ? sqrt(squares / (double)r.hosts) : 0;
    return r;
}

size_t mg_ejection_sweep(mg_ejection *ejection, uint64_t now_ns)
{
    const rates r = rates_of(ejection);
    size_t ejected = 0;

    for (size_t i = 0; i < ejection->count; i++) {
        member *m = &ejection->members[i];

        /* Both: a set where all do equally well has no deviation to speak of. */
        if (ejection->conf.success_rate && r.hosts >= RATE_HOSTS && is_judged(m) &&
            rate_of(m) < r.mean - RATE_DEVIATIONS * r.deviation &&
            (uint64_t)atomic_load(&m->failures) * 100 >=
                (uint64_t)atomic_load(&m->requests) * RATE_FAILING_PERCENT)
            ejected += eject(ejection, m, now_ns);
        atomic_store(&m->requests, 0);
        atomic_store(&m->failures, 0);
    }
    return ejected;
}

mg_ejection_record mg_ejection_read(const mg_ejection *ejection, size_t endpoint)
{
    MG_CHECK(endpoint < ejection->count);
    return (mg_ejection_record){ atomic_load(&ejection->members[endpoint].until_ns),
                                 atomic_load(&ejection->members[endpoint].times) };
}

void mg_ejection_restore(mg_ejection *ejection, size_t endpoint, mg_ejection_record record, uint64_t now_ns)
{
    member *m = &ejection->members[endpoint];
    const uint64_t latest_ns = mg_add_sat(now_ns, ejection->conf.max_ms * MG_NS_PER_MS);

    MG_CHECK(endpoint < ejection->count);
    if (record.until_ns > now_ns && !has_room(ejection, now_ns))
        record.until_ns = now_ns;
    atomic_store(&m->times,
                 (uint32_t)mg_min_u64(record.times, ejection->conf.max_ms / ejection->conf.base_ms + 1));
    atomic_store(&m->until_ns, mg_min_u64(record.until_ns, latest_ns));
}

void mg_ejection_take_over(mg_ejection *ejection, size_t endpoint, const mg_ejection *old, size_t was,
                           uint64_t now_ns)
{
    member *m = &ejection->members[endpoint];
    const member *before = &old->members[was];

    mg_ejection_restore(ejection, endpoint, mg_ejection_read(old, was), now_ns);
    atomic_store(&m->run, atomic_load(&before->run));
    atomic_store(&m->requests, atomic_load(&before->requests));
    atomic_store(&m->failures, atomic_load(&before->failures));
}
