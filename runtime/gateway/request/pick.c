/* pick.c - which host a try goes to. */
#include "gateway/request/pick.h"

#define AVOID_NS (10 * MG_NS_PER_S) /* how long an address that cannot be reached comes last */

/* What has changed since this worker's balancer looked last: health, ejection, weights. */
static void learn(mg_view_service *runtime, uint64_t policy_ns, uint64_t now_ns)
{
    mg_service *service = runtime->service;
    const uint32_t version = atomic_load_explicit(&service->version, memory_order_acquire);
    bool usable[MG_BALANCER_ENDPOINTS_MAX];

    if (version == runtime->version && policy_ns < runtime->again_ns)
        return;
    runtime->version = version;
    runtime->again_ns = mg_service_usable(service, policy_ns, usable);
    for (size_t i = 0; i < service->host_count; i++) {
        uint64_t since_ns;
        mg_balancer_set_weight(runtime->balancer, i,
                               mg_service_host_weight(service, i, policy_ns, now_ns, &since_ns));
        mg_balancer_set_usable(runtime->balancer, i, usable[i]);
        if (since_ns && since_ns != runtime->since_ns[i])
            mg_balancer_set_new(runtime->balancer, i, since_ns); /* this worker need not have missed it */
        runtime->since_ns[i] = since_ns;
    }
    if (service->by_key) {
        mg_maglev *table = mg_service_maglev(service);
        if (table)
            mg_balancer_set_maglev(runtime->balancer, table);
        else
            runtime->version = version - 1; /* it is just being made: the next call looks again */
        mg_maglev_unref(table);
    }
}

/* Another usable address of the endpoint that is not avoided, from a random one on; else the host itself. One
 * request tries again when the time is over, the others follow once it is reached. */
static int reachable(mg_view_service *runtime, int host, uint64_t now_ns)
{
    uint64_t *avoid_ns = runtime->avoid_ns;
    size_t first;

    if (!avoid_ns[host])
        return host;
    const size_t count = mg_service_siblings(runtime->service, (size_t)host, &first);
    const bool again = now_ns >= avoid_ns[host];
    avoid_ns[host] = again ? now_ns + AVOID_NS : avoid_ns[host];
    if (again || count == 1)
        return host;
    const size_t from = mg_rand_below(&runtime->endpoints[host]->net->loop->rand, count);
    for (size_t i = 0; i < count; i++) {
        const size_t other = first + (from + i) % count;
        if (!avoid_ns[other] && mg_balancer_usable(runtime->balancer, other))
            return (int)other;
    }
    return host;
}

int mg_pick_host(mg_view_service *runtime, mg_str key, const int *tried, size_t tried_count,
                 uint64_t policy_ns, uint64_t now_ns)
{
    int host;

    learn(runtime, policy_ns, now_ns);
    if (runtime->service->by_key)
        host = mg_balancer_pick_for(runtime->balancer, mg_maglev_hash(key), tried, tried_count, now_ns);
    else
        host = mg_balancer_pick(runtime->balancer, tried, tried_count, now_ns);
    return host < 0 ? host : reachable(runtime, host, now_ns);
}

int mg_pick_next(mg_view_service *runtime, int host, int first, uint64_t now_ns)
{
    size_t begin;
    const size_t count = mg_service_siblings(runtime->service, (size_t)host, &begin);

    runtime->avoid_ns[host] = now_ns + AVOID_NS;
    for (size_t i = ((size_t)host + count - (size_t)first) % count + 1; i < count; i++) {
        const size_t other = begin + ((size_t)first - begin + i) % count;
        if (mg_balancer_usable(runtime->balancer, other))
            return (int)other;
    }
    return -1;
}

void mg_pick_reached(mg_view_service *runtime, int host)
{
    runtime->avoid_ns[host] = 0;
}
