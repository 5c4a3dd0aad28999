/* config_loop.c - services that lead back to this gateway. What the document shows is refused here; other
 * ways round (a name, another machine) are found by Via when a request comes back. */
#include "config/config_build.h"

#include <unistd.h>

static bool has(const char *block, const mg_addr *addr)
{
    mg_cidr cidr;

    return mg_cidr_parse(&cidr, mg_str_of(block)) && mg_cidr_has(&cidr, addr);
}

static bool is_loopback(const mg_addr *addr)
{
    return has("127.0.0.0/8", addr) || has("::1", addr);
}

/* As an endpoint it means this machine. */
static bool is_wildcard(const mg_addr *addr)
{
    return has("0.0.0.0", addr) || has("::", addr);
}

static bool same_ip(const mg_addr *a, const mg_addr *b)
{
    char a_text[MG_ADDR_TEXT], b_text[MG_ADDR_TEXT];
    const size_t a_n = mg_addr_ip_text(a, a_text), b_n = mg_addr_ip_text(b, b_text);

    return mg_str_eq(mg_str_make(a_text, a_n), mg_str_make(b_text, b_n));
}

static bool is_localhost(mg_str host)
{
    host = mg_str_ends(host, MG_STR(".")) ? mg_str_sub(host, 0, host.n - 1) : host;
    return mg_str_eq_c(host, "localhost") || mg_str_ends(host, MG_STR(".localhost")) ||
           mg_str_eq_c(host, "ip6-localhost") || mg_str_eq_c(host, "ip6-loopback");
}

/* The machine's own name. Which of its addresses that stands for nobody is asked: it is reached there where a
 * listener has them all. */
static bool is_own_name(mg_str host)
{
    char own[256];

    if (gethostname(own, sizeof own) != 0)
        return false;
    own[sizeof own - 1] = 0;
    host = mg_str_ends(host, MG_STR(".")) ? mg_str_sub(host, 0, host.n - 1) : host;
    return host.n && mg_str_eq_nocase(host, mg_str_of(own));
}

static bool leads_to(const mg_config_endpoint *endpoint, const mg_addr *bind)
{
    mg_addr to;

    if (bind->n == 0 || bind->sa.sa_family == AF_UNIX || mg_addr_port(bind) != endpoint->port)
        return false;
    if (is_localhost(endpoint->host))
        return is_loopback(bind) || is_wildcard(bind);
    if (is_wildcard(bind) && is_own_name(endpoint->host))
        return true;
    if (!mg_addr_from_ip(&to, endpoint->host, endpoint->port))
        return false;
    if (is_wildcard(bind))
        return is_loopback(&to) || is_wildcard(&to);
    return same_ip(&to, bind) || (is_wildcard(&to) && is_loopback(bind));
}

static void refuse(mg_building *b, const mg_config_endpoint *endpoint, const char *what, mg_str name)
{
    mg_finding_hint(
        mg_node_error(b->report, mg_node_get(endpoint->node, "url"), "not-allowed",
                      "\"%.*s\" is where this gateway itself listens (%s%.*s): it would ask itself",
                      MG_STR_ARGS(endpoint->url), what, MG_STR_ARGS(name)),
        "write the address of the server that is to answer");
}

static void check_endpoint(mg_building *b, const mg_config_endpoint *endpoint)
{
    const mg_config *config = b->config;

    if (!endpoint->url.p || !endpoint->port)
        return;
    for (size_t i = 0; i < config->listener_count; i++) {
        if (!leads_to(endpoint, &config->listeners[i]->addr))
            continue;
        refuse(b, endpoint, "listeners.", config->listeners[i]->name);
        return;
    }
    if (leads_to(endpoint, &config->status_addr))
        refuse(b, endpoint, "status", MG_STR_NONE);
    else if (leads_to(endpoint, &config->admin_addr))
        refuse(b, endpoint, "admin", MG_STR_NONE);
}

void mg_build_loops(mg_building *b)
{
    for (size_t i = 0; i < b->config->service_count; i++) {
        const mg_config_service *service = b->config->services[i];
        for (size_t k = 0; k < service->endpoint_count; k++)
            check_endpoint(b, &service->endpoints[k]);
    }
}
