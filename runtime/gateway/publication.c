/* publication.c - what a publication is made of: a snapshot, a Lua state and new listeners for each worker.
 */
#include "gateway/publication.h"

#include "base/check.h"
#include "base/embed.h"
#include "base/mem.h"
#include "gateway/request/call.h"
#include "mg_abi.h"

mg_vm *mg_control_make_vm(mg_gateway *gateway, unsigned worker, const mg_plan *plan, mg_error *err)
{
    const mg_vm_conf conf = { .api = &mg_api_table,
                              .abi_hash = mg_abi_hash(),
                              .host = &gateway->shared.workers[worker]->host,
                              .source = mg_embedded,
                              .call_bytes = sizeof(mg_call),
                              .seed = mg_rand_next(&gateway->vm_seeds),
                              .log = gateway->options.log,
                              .maker = &gateway->site,
                              .runner = &gateway->shared.workers[worker]->site };

    mg_control_beat(gateway);
    return mg_vm_new(&conf, mg_text_str(&plan->json), err);
}

static bool run_plugins(mg_gateway *gateway, mg_publication *publication, mg_report *report)
{
    const mg_plan *plan = &publication->snapshot->plan;
    mg_error err = MG_ERROR_INIT;

    for (unsigned i = 0; i < gateway->shared.worker_count; i++) {
        publication->changes[i].vm = mg_control_make_vm(gateway, i, plan, &err);
        if (!publication->changes[i].vm) {
            mg_plan_fault(publication->snapshot->config, &err, report);
            return false;
        }
    }
    return true;
}

static bool build_vms(mg_gateway *gateway, mg_publication *publication, mg_report *report)
{
    const mg_plan *plan = &publication->snapshot->plan;

    if (!plan->plugin_count || (gateway->snapshot && gateway->snapshot->plan.hash == plan->hash))
        return true;
    mg_shared_begin(gateway->shared.shared);
    const bool ok = run_plugins(gateway, publication, report);
    mg_shared_built(gateway->shared.shared);
    return ok;
}

static bool has_door(const mg_gateway *gateway, const mg_addr *addr)
{
    const mg_config *config = gateway->snapshot ? gateway->snapshot->config : NULL;

    for (size_t i = 0; config && i < config->listener_count; i++)
        if (mg_addr_eq(&config->listeners[i]->addr, addr))
            return true;
    return false;
}

static bool open_door(mg_gateway *gateway, mg_publication *publication, size_t index, mg_error *err)
{
    mg_listener_conf conf = { .addr = publication->snapshot->config->listeners[index]->addr,
                              .reuse_port = true };

    if (mg_addr_make_folder(&conf.addr, 0755, err) != MG_OK ||
        mg_listener_probe(gateway->loops[0], &conf.addr, err) != MG_OK)
        return false;
    for (unsigned w = 0; w < gateway->shared.worker_count; w++) {
        mg_listener *listener = mg_listener_new(gateway->loops[w + 1], &conf, mg_worker_accepted, NULL, err);
        publication->changes[w].opened[index] = listener;
        if (!listener)
            return false;
        if (mg_addr_port(&conf.addr) == 0 && !mg_listener_addr(listener, &conf.addr))
            return mg_fail(err, MG_ERR_IO, "the bound port cannot be read"), false;
        if (conf.addr.sa.sa_family == AF_UNIX)
            break; /* one worker accepts for all: hand-off spreads them */
    }
    return true;
}

/* Port 0 is any: whoever asked for it reads here which. */
static void tell_doors(mg_gateway *gateway, const mg_publication *publication)
{
    const mg_config *config = publication->snapshot->config;

    for (size_t i = 0; i < config->listener_count; i++) {
        const mg_listener *opened = publication->changes[0].opened[i];
        char text[MG_ADDR_TEXT];
        mg_addr addr;
        if (!opened || !mg_listener_addr(opened, &addr))
            continue;
        mg_addr_text(&addr, text);
        mg_log_write(gateway->options.log, MG_LOG_INFO, "listening", "%.*s on %s",
                     MG_STR_ARGS(config->listeners[i]->name), text);
    }
}

static bool open_doors(mg_gateway *gateway, mg_publication *publication, mg_report *report)
{
    const mg_config *config = publication->snapshot->config;
    mg_error err = MG_ERROR_INIT;

    for (unsigned w = 0; w < gateway->shared.worker_count; w++)
        publication->changes[w].opened = MG_NEW_N(mg_listener *, config->listener_count + 1);
    for (size_t i = 0; i < config->listener_count; i++) {
        const mg_config_listener *listener = config->listeners[i];
        if (has_door(gateway, &listener->addr) || open_door(gateway, publication, i, &err))
            continue;
        mg_finding *f = mg_node_error(report, listener->node, "bind", "%s", err.message);
        mg_finding_hint(f, "free that address, or bind another one");
        return false;
    }
    tell_doors(gateway, publication);
    return true;
}

void mg_publication_free(mg_publication *publication)
{
    mg_timer_stop(&publication->patience);
    for (unsigned w = 0; w < publication->gateway->shared.worker_count; w++) {
        mg_worker_change *change = &publication->changes[w];
        for (size_t i = 0; change->opened && i < publication->snapshot->config->listener_count; i++)
            mg_listener_free(change->opened[i]);
        mg_free(change->opened);
        mg_vm_free(change->vm);
        if (change->snapshot)
            mg_snapshot_unref(change->snapshot);
    }
    mg_free(publication->changes);
    mg_snapshot_unref(publication->snapshot);
    mg_free(publication);
}

void mg_publication_drop(mg_publication *publication)
{
    mg_shared *shared = publication->gateway->shared.shared;

    mg_publication_free(publication);
    mg_shared_drop(shared);
}

mg_publication *mg_publication_build(mg_gateway *gateway, mg_config *config, mg_report *report)
{
    mg_publication *publication = MG_NEW(mg_publication);

    publication->gateway = gateway;
    publication->changes = MG_NEW_N(mg_worker_change, gateway->shared.worker_count);
    publication->snapshot = mg_snapshot_build(config, gateway->revision + 1, report);
    if (!publication->snapshot) {
        mg_free(publication->changes);
        mg_free(publication);
        return NULL;
    }
    mg_snapshot_open_gates(publication->snapshot, gateway->snapshot);
    if (!build_vms(gateway, publication, report) || !open_doors(gateway, publication, report)) {
        mg_publication_drop(publication);
        return NULL;
    }
    mg_config_forget_document(config); /* nothing is found wrong with it any more */
    return publication;
}

void mg_publication_adopt(mg_publication *publication)
{
    const mg_gateway *gateway = publication->gateway;

    mg_shared_adopt(gateway->shared.shared);
    mg_snapshot_adopt(publication->snapshot, gateway->shared.shared, gateway->shared.stats,
                      mg_loop_now(gateway->loops[0]));
    mg_rollouts_attach(gateway->rollouts, publication->snapshot);
}
