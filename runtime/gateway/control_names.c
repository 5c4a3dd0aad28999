/* control_names.c - names of services: asked for as a snapshot is published; when their addresses have changed, their
 * services get other hosts, beneath the snapshot. */
#include "gateway/publish.h"

#include "base/mem.h"

enum { FIRST_PATIENCE_S = 5, AGAIN_PATIENCE_S = 1 };

typedef struct name_wait {
    mg_gateway *gateway;
    uint64_t revision;
    void (*there)(mg_gateway *gateway, uint64_t revision);
} name_wait;

static void on_name(void *self)
{
    name_wait *wait = self;

    wait->there(wait->gateway, wait->revision);
    mg_free(wait);
}

unsigned mg_control_ask_names(mg_gateway *gateway, const mg_snapshot *snapshot,
                              void (*there)(mg_gateway *gateway, uint64_t revision))
{
    mg_names *names = gateway->shared.names;
    unsigned patience_s = AGAIN_PATIENCE_S;
    mg_addr addrs[MG_RESOLVE_MAX];

    mg_names_refresh(names);
    for (size_t s = 0; s < snapshot->config->service_count; s++) {
        const mg_snapshot_service *service = &snapshot->services[s];
        for (size_t e = 0; e < service->conf->endpoint_count; e++) {
            name_wait *wait = MG_NEW(name_wait);
            *wait = (name_wait){ gateway, snapshot->revision, there };
            if (!mg_names_known(names, service->authorities[e], addrs))
                patience_s = FIRST_PATIENCE_S;
            mg_names_add(names, service->authorities[e], on_name, wait);
        }
    }
    return patience_s;
}

/* To a worker. */
typedef struct renew_message {
    mg_message message;
    mg_worker *worker;
    mg_service *service; /* counted */
} renew_message;

static void on_renew(mg_message *message)
{
    renew_message *renew = mg_container_of(message, renew_message, message);

    mg_view_renew(renew->worker, renew->service);
    mg_service_unref(renew->service);
    mg_free(renew);
}

static void send_out(mg_gateway *gateway, mg_service *service)
{
    for (unsigned w = 0; w < gateway->shared.worker_count; w++) {
        renew_message *renew = MG_NEW(renew_message);
        *renew = (renew_message){ { NULL, on_renew }, gateway->shared.workers[w], service };
        mg_service_ref(service);
        mg_mailbox_post(gateway->shared.workers[w]->mailbox, &renew->message);
    }
}

/* `authority` absent: whatever it has. */
static bool has(const mg_snapshot_service *service, mg_str authority)
{
    for (size_t e = 0; e < service->conf->endpoint_count; e++)
        if (!authority.p || mg_str_eq(service->authorities[e], authority))
            return true;
    return false;
}

void mg_control_renew(mg_gateway *gateway, mg_str authority)
{
    const mg_snapshot *snapshot = gateway->snapshot;
    mg_services *services = mg_shared_services(gateway->shared.shared);
    bool renewed = false;

    /* Between two snapshots the services in force are those of neither: it is done when the later one is. */
    gateway->renew_later = mg_publish_is_sent(gateway);
    if (!snapshot || gateway->renew_later)
        return;
    for (size_t s = 0; s < snapshot->config->service_count; s++) {
        const mg_snapshot_service *of = &snapshot->services[s];
        mg_service *service = has(of, authority) ? mg_services_renew(services, of->conf, of->authorities,
                                                                     mg_loop_now(gateway->loops[0]))
                                                 : NULL;
        if (!service)
            continue;
        send_out(gateway, service);
        mg_service_unref(service);
        renewed = true;
    }
    if (renewed && atomic_load(&gateway->state) < MG_GATEWAY_DRAINS)
        mg_probe_follow(gateway->probe, gateway->snapshot);
}
