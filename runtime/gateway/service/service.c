/* service.c - what a node knows of its services: hosts and their health, passive ejection, weights that
 * probes make, the detector's ticks. What depends on the set of hosts is a mg_service; what does not is kept
 * under its name. */
#include "gateway/service/service.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"
#include "gateway/service/service_parts.h"
#include "state/persist.h"

#include <pthread.h>
#include <stdlib.h>

#define GONE_NS MG_NS_PER_S /* a host that fails for so long, and nothing else, is taken to be away */

bool mg_service_is_same(const mg_service *service, const mg_config_service *conf,
                        const mg_service_place *places, size_t count, const mg_circuit *circuit,
                        const mg_adaptive *adaptive)
{
    if (!service || service->circuit != circuit || service->adaptive != adaptive ||
        service->host_count != count || !mg_digest_eq(service->rules->block, conf->rules))
        return false;
    for (size_t i = 0; i < count; i++)
        if (service->hosts[i].base != places[i].weight || service->hosts[i].endpoint != places[i].endpoint ||
            !mg_str_eq(service->names[i], places[i].name))
            return false;
    return true;
}

static mg_service_rules *rules_of(const mg_config_service *conf)
{
    mg_service_rules *rules = MG_NEW(mg_service_rules);

    *rules = (mg_service_rules){
        .block = conf->rules,
        .balance = conf->balance,
        .ewma_tau_ms = conf->ewma_tau_ms,
        .ewma_penalty_ms = conf->ewma_penalty_ms,
        .maglev_size = conf->maglev_size,
        .bound_milli = conf->bound_milli,
        .slow_start_ms = conf->slow_start_ms,
        .slow_start_min = conf->slow_start_min,
        .panic_percent = conf->panic_percent,
        .health = conf->health.on,
        .health_conf = conf->health.conf,
        .eject = conf->eject,
        .detect = conf->breaker.on && conf->breaker.detect,
        .detector = conf->breaker.detector,
        .min_calls = conf->breaker.conf.min_calls,
    };
    return rules;
}

/* ---- weights ---- */

static void tell_balancers(mg_service *service)
{
    atomic_fetch_add_explicit(&service->version, 1, memory_order_release);
}

static void build_table(mg_service *service)
{
    mg_service_rules *rules = service->rules;
    uint32_t *weights = MG_NEW_N(uint32_t, service->host_count);
    mg_maglev *table, *old;

    for (size_t i = 0; i < service->host_count; i++)
        weights[i] = atomic_load(&service->hosts[i].weight);
    table = mg_maglev_new(service->names, weights, service->host_count, rules->maglev_size);
    mg_free(weights);
    pthread_mutex_lock(&rules->table_lock);
    old = rules->table;
    rules->table = table;
    pthread_mutex_unlock(&rules->table_lock);
    mg_maglev_unref(old);
}

/* The weights in force: the configured ones until a probe tells a load, then relative to the largest. */
static void weigh(mg_service *service)
{
    double *raw = MG_NEW_N(double, service->host_count);
    uint32_t *weights = MG_NEW_N(uint32_t, service->host_count);
    bool told = false, changed = false;

    for (size_t i = 0; i < service->host_count; i++) {
        told |= service->hosts[i].raw > 0;
        raw[i] = service->hosts[i].raw > 0 ? service->hosts[i].raw : service->hosts[i].base;
    }
    if (told)
        mg_health_normalise(raw, service->host_count, weights);
    for (size_t i = 0; i < service->host_count; i++) {
        mg_service_host *host = &service->hosts[i];
        const uint32_t weight = !told || !host->base ? host->base : weights[i];
        changed |= atomic_exchange(&host->weight, weight) != weight;
    }
    mg_free(raw);
    mg_free(weights);
    if (service->rules->balance == MG_BALANCER_MAGLEV && (changed || !service->rules->table))
        build_table(service);
    if (changed)
        tell_balancers(service);
}

/* ---- made and freed ---- */

/* An operator's word is about all addresses of an endpoint, also those it has only now. */
static bool was_down(const mg_service *old, mg_str authority)
{
    for (size_t i = 0; i < old->host_count; i++)
        if (mg_str_eq(old->authorities[i], authority))
            return atomic_load(&old->hosts[i].down);
    return false;
}

/* What goes on through a change of hosts: calls under way, the interval of ejection, what the detector has
 * seen. */
static void go_on(mg_service *service, const mg_service *old, const int *from)
{
    mg_inflight *inflight = mg_inflight_next(old->inflight, from, service->host_count);

    mg_inflight_unref(service->inflight);
    service->inflight = inflight;
    if (service->ejection && old->ejection)
        service->sweep_ns = mg_min_u64(service->sweep_ns, old->sweep_ns);
    if (service->watch && old->watch && service->rules->detector == old->rules->detector &&
        service->watch->window_s == old->watch->window_s)
        *service->watch = *old->watch;
}

/* The hosts that were there stay what they are; others are new from now on. */
static void take_over(mg_service *service, const mg_service *old, uint64_t policy_ns, uint64_t now_ns)
{
    int *from = MG_NEW_N(int, service->host_count + 1);

    for (size_t i = 0; i < service->host_count; i++) {
        mg_service_host *host = &service->hosts[i];
        const int at = from[i] = mg_service_host_named(old, service->names[i]);
        if (at < 0) {
            atomic_store(&host->since_ns, now_ns);
            atomic_store(&host->down, was_down(old, service->authorities[i]));
            continue;
        }
        const mg_service_host *was = &old->hosts[at];
        if (service->rules->health) {
            host->active = was->active;
            atomic_store(&host->health, atomic_load(&was->health));
        }
        host->told_ns = was->told_ns;
        atomic_store(&host->down, atomic_load(&was->down));
        atomic_store(&host->since_ns, atomic_load(&was->since_ns));
        atomic_store(&host->failing_ns, atomic_load(&was->failing_ns));
        atomic_store(&host->back_ns, atomic_load(&was->back_ns));
        if (was->raw > 0 && was->base)
            host->raw = was->raw * host->base / was->base;
        if (service->ejection && old->ejection)
            mg_ejection_take_over(service->ejection, i, old->ejection, (size_t)at, policy_ns);
    }
    go_on(service, old, from);
    mg_free(from);
}

/* Takes the strings of the places. */
static void add_hosts(mg_service *service, mg_service_place *places, size_t count)
{
    mg_accounts *accounts = mg_shared_accounts(service->services->shared);

    service->host_count = count;
    service->hosts = MG_NEW_N(mg_service_host, count);
    service->authorities = MG_NEW_N(mg_str, count);
    service->names = MG_NEW_N(mg_str, count);
    for (size_t i = 0; i < count; i++) {
        mg_service_host *host = &service->hosts[i];
        service->authorities[i] = places[i].authority;
        service->names[i] = places[i].name;
        host->account = mg_accounts_take(accounts, service->of->name, places[i].name, places[i].authority);
        host->addr = places[i].addr;
        host->endpoint = places[i].endpoint;
        host->base = places[i].weight;
        atomic_init(&host->weight, places[i].weight);
        places[i].authority = places[i].name = MG_STR_NONE;
    }
}

static mg_service_watch *watch_new(const mg_service *service, const mg_config_breaker *conf)
{
    mg_service_watch *watch = MG_NEW(mg_service_watch);

    mg_detector_init(&watch->detector, conf->detector);
    mg_figures_read(service->of->figures, &watch->before);
    watch->window_s =
        conf->conf.mode == MG_BREAKER_TIME_WINDOW ? (unsigned)(conf->conf.window_ms / 1000) : 10;
    for (unsigned i = 0; i <= MG_SERVICE_WINDOW; i++)
        watch->totals[i] = watch->before.calls;
    return watch;
}

mg_service *mg_service_new(mg_services *services, mg_service_name *name, const mg_config_service *conf,
                           mg_service_place *places, size_t count)
{
    mg_service *service = MG_NEW(mg_service);

    atomic_init(&service->refs, 1);
    service->of = name;
    service->services = services;
    service->rules = rules_of(conf);
    service->by_key = conf->balance == MG_BALANCER_MAGLEV;
    MG_CHECK(pthread_mutex_init(&service->rules->table_lock, NULL) == 0);
    add_hosts(service, places, count);
    service->inflight = mg_inflight_new(service->host_count);
    if (conf->eject.on)
        service->ejection = mg_ejection_new(&conf->eject.conf, service->host_count);
    if (service->rules->detect)
        service->watch = watch_new(service, &conf->breaker);
    weigh(service);
    return service;
}

void mg_service_adopt(mg_service *service, uint64_t now_ns)
{
    mg_service *old = service->of->newest;
    const uint64_t policy_ns = mg_shared_policy_now(service->services->shared);

    if (old == service)
        return;
    mg_persist *persist = mg_shared_persist(service->services->shared);
    if (service->ejection) {
        mg_persist_keep(persist, MG_KEEP_EJECTION, service->of->name, &mg_service_keep_ops, service);
        service->sweep_ns = policy_ns + service->rules->eject.conf.interval_ms * MG_NS_PER_MS;
    }
    if (old)
        take_over(service, old, policy_ns, now_ns);
    weigh(service);
    tell_balancers(service);
    atomic_fetch_add(&service->refs, 1);
    service->of->newest = service;
    if (old && old->ejection)
        mg_persist_drop(persist, old); /* unless the new one has taken its place */
    mg_service_unref(old);
}

void mg_service_ref(mg_service *service)
{
    atomic_fetch_add_explicit(&service->refs, 1, memory_order_relaxed);
}

void mg_service_unref(mg_service *service)
{
    if (!service || atomic_fetch_sub_explicit(&service->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (size_t i = 0; i < service->host_count; i++) {
        mg_free((void *)(uintptr_t)service->authorities[i].p);
        mg_free((void *)(uintptr_t)service->names[i].p);
        mg_account_unref(service->hosts[i].account);
    }
    mg_free(service->authorities);
    mg_free(service->names);
    mg_free(service->hosts);
    mg_inflight_unref(service->inflight);
    mg_ejection_free(service->ejection);
    mg_maglev_unref(service->rules->table);
    pthread_mutex_destroy(&service->rules->table_lock);
    mg_free(service->rules);
    mg_free(service->watch);
    mg_free(service);
}

/* ---- hosts ---- */

mg_account *mg_service_account(const mg_service *service, size_t host)
{
    return service->hosts[host].account;
}

static bool is_up(const mg_service *service, size_t host, uint64_t policy_ns)
{
    const mg_service_host *h = &service->hosts[host];

    return atomic_load_explicit(&h->health, memory_order_relaxed) != MG_HEALTH_DOWN &&
           !(service->ejection && mg_ejection_is_out(service->ejection, host, policy_ns));
}

/* Hosts that an operator has taken away, and those of weight 0, are not counted. */
static bool counts(const mg_service *service, size_t host)
{
    return service->hosts[host].base > 0 &&
           !atomic_load_explicit(&service->hosts[host].down, memory_order_relaxed);
}

bool mg_service_in_panic(const mg_service *service, uint64_t policy_ns)
{
    size_t up = 0, all = 0;

    for (size_t i = 0; i < service->host_count; i++) {
        all += counts(service, i);
        up += counts(service, i) && is_up(service, i, policy_ns);
    }
    return up < all && mg_health_panic(up, all, service->rules->panic_percent);
}

uint64_t mg_service_usable(const mg_service *service, uint64_t policy_ns, bool *usable)
{
    const bool panic = mg_service_in_panic(service, policy_ns);
    uint64_t again_ns = UINT64_MAX;

    for (size_t i = 0; i < service->host_count; i++) {
        usable[i] = !atomic_load(&service->hosts[i].down) && (panic || is_up(service, i, policy_ns));
        const uint64_t until = service->ejection ? mg_ejection_until_ns(service->ejection, i, policy_ns) : 0;
        if (until)
            again_ns = mg_min_u64(again_ns, until);
    }
    return again_ns;
}

uint32_t mg_service_host_weight(const mg_service *service, size_t host, uint64_t policy_ns, uint64_t now_ns,
                                uint64_t *since_ns)
{
    const mg_service_host *h = &service->hosts[host];
    const uint64_t until_ns = service->ejection ? mg_ejection_read(service->ejection, host).until_ns : 0;
    uint64_t back_ns = atomic_load(&h->back_ns);

    *since_ns = atomic_load(&h->since_ns);
    if (until_ns <= policy_ns)
        back_ns = mg_max_u64(back_ns, until_ns);
    if (back_ns && back_ns <= policy_ns && policy_ns - back_ns < now_ns)
        *since_ns = mg_max_u64(*since_ns, now_ns - (policy_ns - back_ns));
    return atomic_load(&h->weight);
}

void mg_service_host_view(const mg_service *service, size_t host, uint64_t policy_ns, mg_host_view *out)
{
    const mg_service_host *h = &service->hosts[host];

    *out = (mg_host_view){
        .authority = service->authorities[host],
        .address = mg_service_host_address(service, host),
        .health = (mg_health_state)atomic_load(&h->health),
        .ejected = service->ejection && mg_ejection_is_out(service->ejection, host, policy_ns),
        .down = atomic_load(&h->down),
        .weight = atomic_load(&h->weight),
        .inflight = mg_inflight_get(service->inflight, host),
        .since_ns = atomic_load(&h->since_ns),
    };
    out->usable =
        !out->down && h->base && (is_up(service, host, policy_ns) || mg_service_in_panic(service, policy_ns));
}

void mg_service_set_down(mg_service *service, size_t host, bool down, uint64_t now_ns)
{
    size_t first;
    const size_t count = mg_service_siblings(service, host, &first);

    for (size_t i = first; i < first + count; i++)
        if (atomic_exchange(&service->hosts[i].down, down) != down && !down)
            atomic_store(&service->hosts[i].since_ns, now_ns);
    tell_balancers(service);
}

/* Nobody else would be left: those of weight 0, and those an operator took away, are no others. */
static bool is_last(const mg_service *service, size_t host, uint64_t policy_ns)
{
    for (size_t i = 0; i < service->host_count; i++)
        if (i != host && counts(service, i) && !mg_ejection_is_out(service->ejection, i, policy_ns))
            return false;
    return true;
}

/* A failure among good answers is not yet a host that was away. */
static void note_result(mg_service *service, mg_service_host *host, bool ok, uint64_t policy_ns)
{
    uint64_t since_ns = atomic_load_explicit(&host->failing_ns, memory_order_relaxed);

    if (!ok && !since_ns) {
        (void)atomic_compare_exchange_strong(&host->failing_ns, &since_ns, policy_ns);
    } else if (ok && since_ns && atomic_exchange(&host->failing_ns, 0) && policy_ns >= since_ns + GONE_NS) {
        atomic_store(&host->back_ns, policy_ns);
        tell_balancers(service);
    }
}

bool mg_service_result(mg_service *service, size_t host, bool ok, uint64_t policy_ns)
{
    note_result(service, &service->hosts[host], ok, policy_ns);
    if (!service->ejection || (!ok && is_last(service, host, policy_ns)) ||
        !mg_ejection_result(service->ejection, host, ok, policy_ns))
        return false;
    tell_balancers(service);
    return true;
}

bool mg_service_next_ejection(mg_service *service, uint64_t policy_ns, size_t *cursor, mg_str *name,
                              uint64_t *left_ns)
{
    while (service->ejection && *cursor < service->host_count) {
        mg_service_host *host = &service->hosts[(*cursor)++];
        const uint64_t until_ns = mg_ejection_until_ns(service->ejection, *cursor - 1, policy_ns);
        if (until_ns == host->told_ns)
            continue;
        host->told_ns = until_ns;
        *name = service->names[*cursor - 1];
        *left_ns = until_ns ? until_ns - policy_ns : 0;
        return true;
    }
    return false;
}

/* ---- what probes say ---- */

mg_maglev *mg_service_maglev(mg_service *service)
{
    mg_service_rules *rules = service->rules;
    mg_maglev *table = NULL;

    if (!service->by_key || pthread_mutex_trylock(&rules->table_lock) != 0)
        return NULL;
    table = mg_maglev_ref(rules->table);
    pthread_mutex_unlock(&rules->table_lock);
    return table;
}

mg_maglev *mg_service_maglev_wait(mg_service *service)
{
    mg_service_rules *rules = service->rules;
    mg_maglev *table;

    if (!service->by_key)
        return NULL;
    pthread_mutex_lock(&rules->table_lock);
    table = mg_maglev_ref(rules->table);
    pthread_mutex_unlock(&rules->table_lock);
    return table;
}

static void take_load(mg_service *service, mg_service_host *host, bool ok, const mg_probe_load *load)
{
    const double before = host->raw;

    if (!ok)
        host->raw /= 2;
    else if (load && host->base &&
             !mg_health_weight(host->base, load->cpu, load->mem, load->latency_ms, &host->raw))
        mg_cell_add(&service->of->cells[0].dropped_loads, 1);
    if (ok && load && host->raw <= 0)
        host->raw = 1e-9; /* told, and nothing left of it */
    if (host->raw != before)
        weigh(service);
}

bool mg_service_probed(mg_service *service, size_t host, bool ok, const mg_probe_load *load, uint64_t now_ns)
{
    mg_service_host *h = &service->hosts[host];
    const mg_health_state was = h->active.state;

    take_load(service, h, ok, load);
    if (!mg_health_result(&h->active, &service->rules->health_conf, ok))
        return false;
    atomic_store(&h->health, h->active.state);
    if (was == MG_HEALTH_DOWN)
        atomic_store(&h->since_ns, now_ns);
    tell_balancers(service);
    return true;
}

/* ---- ticks ---- */

static bool sweep(mg_service *service, uint64_t policy_ns)
{
    if (!service->ejection || policy_ns < service->sweep_ns)
        return false;
    service->sweep_ns = policy_ns + service->rules->eject.conf.interval_ms * MG_NS_PER_MS;
    return mg_ejection_sweep(service->ejection, policy_ns) > 0;
}

/* Calls within the breaker's window, this second's included. */
static uint64_t calls_in_window(mg_service_watch *watch, uint64_t total)
{
    const unsigned size = MG_SERVICE_WINDOW + 1, now = ++watch->tick % size;

    watch->totals[now] = total;
    return total - watch->totals[(now + size - watch->window_s) % size];
}

/* A breaker that waits for its first probe may be one that nobody asks any more: a route has gone. */
static bool is_open(const mg_service *service, uint64_t policy_ns)
{
    for (const mg_circuit *circuit = service->of->circuits; circuit; circuit = circuit->next) {
        const mg_breaker_state state = mg_breaker_now(circuit->breaker, policy_ns);
        if (state != MG_BREAKER_CLOSED &&
            (state != MG_BREAKER_OPEN || mg_breaker_retry_after_ms(circuit->breaker, policy_ns) > 0))
            return true;
    }
    return false;
}

static bool trip(const mg_service *service, uint64_t policy_ns)
{
    bool tripped = false;

    for (const mg_circuit *circuit = service->of->circuits; circuit; circuit = circuit->next)
        tripped |= mg_breaker_trip(circuit->breaker, policy_ns);
    return tripped;
}

static bool detect(mg_service *service, uint64_t policy_ns, mg_rand *rand)
{
    mg_service_watch *watch = service->watch;
    mg_figures_sum now, since;

    if (!watch)
        return false;
    mg_figures_read(service->of->figures, &now);
    mg_figures_since(&now, &watch->before, &since);
    watch->before = now;
    const double calls = since.calls ? (double)since.calls : 1;
    const mg_detector_tick tick = {
        .p95_ms = mg_figures_quantile_ms(&since, 950),
        .error_ratio = (double)since.errors / calls,
        .timeout_ratio = (double)since.timeouts / calls,
        .open = is_open(service, policy_ns),
        .enough = calls_in_window(watch, now.calls) >= service->rules->min_calls,
    };
    return mg_detector_add(&watch->detector, &tick, rand) && trip(service, policy_ns);
}

bool mg_service_tick(mg_service *service, uint64_t policy_ns, mg_rand *rand)
{
    if (sweep(service, policy_ns))
        tell_balancers(service);
    return detect(service, policy_ns, rand);
}
