/* service_hosts.c - the hosts of a service: its endpoints at each of their addresses. */
#include "gateway/service/service_parts.h"

#include "base/mem.h"
#include "policy/balancer.h"

#include <math.h>

static uint64_t common_divisor(uint64_t a, uint64_t b)
{
    while (b) {
        const uint64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

/* The least that all weights are to be multiplied by, so that each can be shared in whole numbers. */
static uint64_t scale_of(const mg_config_service *conf, const unsigned *counts)
{
    uint64_t scale = 1;

    for (size_t e = 0; e < conf->endpoint_count && scale < MG_BALANCER_WEIGHT_MAX; e++) {
        const uint64_t weight = conf->endpoints[e].weight;
        const uint64_t parts = weight ? counts[e] / common_divisor(weight, counts[e]) : 1;
        scale = scale / common_divisor(scale, parts) * parts;
    }
    return scale;
}

/* The weight of each address of an endpoint. Where whole numbers would be too large they are rounded. */
static void share_weights(const mg_config_service *conf, const unsigned *counts, uint32_t *shares)
{
    const double scale = (double)scale_of(conf, counts);
    double most = 0;

    for (size_t e = 0; e < conf->endpoint_count; e++)
        most = fmax(most, conf->endpoints[e].weight * scale / counts[e]);
    const double fit = most > MG_BALANCER_WEIGHT_MAX ? MG_BALANCER_WEIGHT_MAX / most : 1;
    for (size_t e = 0; e < conf->endpoint_count; e++)
        shares[e] = conf->endpoints[e].weight
                        ? (uint32_t)fmax(1, conf->endpoints[e].weight * scale / counts[e] * fit + 0.5)
                        : 0;
}

static mg_str copied(mg_str s)
{
    return (mg_str){ mg_memdup0(s.p, s.n), s.n };
}

/* Two hosts of one service have two names: an address of a name stands behind it. */
static mg_str name_of(mg_str authority, const mg_addr *addr, bool literal)
{
    mg_text name = { 0 };
    char ip[MG_ADDR_TEXT];

    mg_text_add(&name, authority);
    if (!literal && addr) {
        mg_addr_ip_text(addr, ip);
        mg_text_addf(&name, "@%s", ip);
    }
    const mg_str out = copied(mg_text_str(&name));
    mg_text_fini(&name);
    return out;
}

/* How many addresses of an endpoint there is room for. */
static unsigned most_of(const mg_config_service *conf)
{
    const size_t room = MG_BALANCER_ENDPOINTS_MAX / (conf->endpoint_count ? conf->endpoint_count : 1);

    return room < 1 ? 1 : room > MG_RESOLVE_MAX ? MG_RESOLVE_MAX : (unsigned)room;
}

size_t mg_service_places(mg_services *services, const mg_config_service *conf, const mg_str *authorities,
                         mg_service_place **out)
{
    const unsigned most = most_of(conf);
    unsigned *counts = MG_NEW_N(unsigned, conf->endpoint_count + 1);
    uint32_t *shares = MG_NEW_N(uint32_t, conf->endpoint_count + 1);
    mg_addr(*addrs)[MG_RESOLVE_MAX] = mg_calloc(conf->endpoint_count + 1, sizeof *addrs);
    size_t count = 0, at = 0;

    for (size_t e = 0; e < conf->endpoint_count; e++) {
        const unsigned known = mg_names_known(services->lookup, authorities[e], addrs[e]);
        counts[e] = known < 1 ? 1 : known < most ? known : most;
        addrs[e][0].n = known ? addrs[e][0].n : 0;
        count += counts[e];
    }
    share_weights(conf, counts, shares);
    mg_service_place *places = MG_NEW_N(mg_service_place, count + 1);
    for (size_t e = 0; e < conf->endpoint_count; e++) {
        mg_addr literal;
        const bool is_literal = mg_names_literal(authorities[e], &literal);
        for (unsigned i = 0; i < counts[e]; i++) {
            const mg_addr *addr = addrs[e][i].n ? &addrs[e][i] : NULL;
            places[at++] = (mg_service_place){ .authority = copied(authorities[e]),
                                               .name = name_of(authorities[e], addr, is_literal),
                                               .addr = addrs[e][i],
                                               .endpoint = (uint32_t)e,
                                               .weight = shares[e] };
        }
    }
    mg_free(counts);
    mg_free(shares);
    mg_free(addrs);
    *out = places;
    return count;
}

void mg_service_places_free(mg_service_place *places, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        mg_free((void *)(uintptr_t)places[i].authority.p);
        mg_free((void *)(uintptr_t)places[i].name.p);
    }
    mg_free(places);
}

int mg_service_host_named(const mg_service *service, mg_str name)
{
    for (size_t i = 0; i < service->host_count; i++)
        if (mg_str_eq(service->names[i], name))
            return (int)i;
    return -1;
}

const mg_addr *mg_service_host_addr(const mg_service *service, size_t host)
{
    const mg_addr *addr = &service->hosts[host].addr;

    return addr->n ? addr : NULL;
}

mg_str mg_service_host_address(const mg_service *service, size_t host)
{
    const mg_str name = service->names[host];
    const size_t n = service->authorities[host].n;

    return name.n > n ? mg_str_sub(name, n + 1, name.n) : MG_STR_NONE;
}

size_t mg_service_siblings(const mg_service *service, size_t host, size_t *first)
{
    const uint32_t endpoint = service->hosts[host].endpoint;
    size_t end = host + 1;

    *first = host;
    while (*first > 0 && service->hosts[*first - 1].endpoint == endpoint)
        --*first;
    while (end < service->host_count && service->hosts[end].endpoint == endpoint)
        end++;
    return end - *first;
}
