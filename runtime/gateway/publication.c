/* publication.c - what a publication is made of: a snapshot, a Lua state and new listeners for each worker. */
#include "gateway/publication.h"

#include "base/check.h"
#include "base/mem.h"

mg_publication *mg_publication_new(mg_gateway *gateway)
{
    mg_publication *publication = MG_NEW(mg_publication);

    publication->gateway = gateway;
    return publication;
}

/* ---- the builder's steps ---- */

/* What is opened once stays until the next start; a log that cannot be written is found before anything is
 * swapped. */
static bool can_follow(const mg_config *now, const mg_config *config, mg_report *report)
{
    const size_t before = report->errors;
    mg_error err = MG_ERROR_INIT;

    for (int i = 0; i < MG_CONFIG_FIXED; i++) {
        if (mg_digest_eq(config->fixed[i], now->fixed[i]))
            continue;
        const mg_node *node = mg_node_get(config->root, mg_config_fixed_names[i]);
        mg_finding *f = mg_node_error(report, node ? node : config->root, "needs-restart",
                                      "%s is not changed by a reload", mg_config_fixed_names[i]);
        mg_finding_hint(f, "stop the gateway and start it with this configuration, or put back what it was");
    }
    if (mg_access_log_probe(config->access_log_to, config->access_log_path, &err) != MG_OK)
        mg_node_error(report, mg_node_get(config->root, "observability"), "unwritable-file", "%s",
                      err.message);
    return report->errors == before;
}

static bool read_document(mg_publication *publication)
{
    publication->config = publication->read(publication->source, &publication->report);
    publication->stage = MG_PUBLICATION_COMPILE;
    return publication->config;
}

/* Where the plan is the one in force, its states stay. */
static bool needs_states(const mg_publication *publication)
{
    const mg_plan *plan = &publication->snapshot->plan;

    return plan->plugin_count && !(publication->before && publication->before->plan.hash == plan->hash);
}

static bool compile(mg_publication *publication)
{
    const mg_snapshot *before = publication->before;
    mg_config *config = publication->config;

    if (before && !can_follow(before->config, config, &publication->report))
        return false;
    publication->config = NULL;
    publication->snapshot = mg_snapshot_build(config, publication->revision, &publication->report);
    if (!publication->snapshot)
        return false;
    publication->changes = MG_NEW_N(mg_worker_change, publication->gateway->shared.worker_count);
    publication->stage = needs_states(publication) ? MG_PUBLICATION_STATES : MG_PUBLICATION_TRY;
    return true;
}

/* One at a time: a worker whose state is full does not wait for all of them. */
static bool make_state(mg_publication *publication)
{
    mg_gateway *gateway = publication->gateway;
    const unsigned worker = publication->states++;
    mg_fault fault;

    mg_shared_begin(gateway->shared.shared);
    mg_vm *vm = mg_builder_make_vm(&gateway->builder, worker, &publication->snapshot->plan,
                                   &publication->given_up, NULL, &fault);
    mg_shared_built(gateway->shared.shared);
    publication->changes[worker].vm = vm;
    if (!vm && !atomic_load(&publication->given_up))
        mg_plan_fault(publication->snapshot->config, &fault, &publication->report);
    if (publication->states == gateway->shared.worker_count)
        publication->stage = MG_PUBLICATION_TRY;
    return vm;
}

/* The states first: they hold what the candidate's plugins have made. */
static void take_apart(mg_publication *publication)
{
    const mg_gateway *gateway = publication->gateway;

    for (unsigned w = 0; publication->changes && w < gateway->shared.worker_count; w++) {
        mg_vm_free(publication->changes[w].vm);
        publication->changes[w].vm = NULL;
    }
    if (publication->changes)
        mg_shared_drop(gateway->shared.shared);
    mg_snapshot_unref(publication->snapshot);
    publication->snapshot = NULL;
    mg_config_free(publication->config);
    publication->config = NULL;
    publication->stage = MG_PUBLICATION_REFUSED;
}

static bool do_step(mg_publication *publication)
{
    switch (publication->stage) {
    case MG_PUBLICATION_READ: return read_document(publication);
    case MG_PUBLICATION_COMPILE: return compile(publication);
    case MG_PUBLICATION_STATES: return make_state(publication);
    default: return false;
    }
}

bool mg_publication_step(mg_publication *publication)
{
    if (atomic_load(&publication->given_up) || !do_step(publication))
        take_apart(publication);
    return publication->stage < MG_PUBLICATION_TRY;
}

/* ---- doors ---- */

static bool has_door(const mg_snapshot *before, const mg_addr *addr)
{
    for (size_t i = 0; before && i < before->config->listener_count; i++)
        if (mg_addr_eq(&before->config->listeners[i]->addr, addr))
            return true;
    return false;
}

static bool open_door(mg_publication *publication, size_t index, mg_error *err)
{
    const mg_gateway *gateway = publication->gateway;
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
static void tell_doors(const mg_publication *publication)
{
    const mg_config *config = publication->snapshot->config;

    for (size_t i = 0; i < config->listener_count; i++) {
        const mg_listener *opened = publication->changes[0].opened[i];
        char text[MG_ADDR_TEXT];
        mg_addr addr;
        if (!opened || !mg_listener_addr(opened, &addr))
            continue;
        mg_addr_text(&addr, text);
        mg_log_write(publication->gateway->options.log, MG_LOG_INFO, "listening", "%.*s on %s",
                     MG_STR_ARGS(config->listeners[i]->name), text);
    }
}

bool mg_publication_open_doors(mg_publication *publication)
{
    const mg_config *config = publication->snapshot->config;
    mg_error err = MG_ERROR_INIT;

    mg_snapshot_open_gates(publication->snapshot, publication->before);
    for (unsigned w = 0; w < publication->gateway->shared.worker_count; w++)
        publication->changes[w].opened = MG_NEW_N(mg_listener *, config->listener_count + 1);
    for (size_t i = 0; i < config->listener_count; i++) {
        const mg_config_listener *listener = config->listeners[i];
        if (has_door(publication->before, &listener->addr) || open_door(publication, i, &err))
            continue;
        mg_finding *f = mg_node_error(&publication->report, listener->node, "bind", "%s", err.message);
        mg_finding_hint(f, "free that address, or bind another one");
        return false;
    }
    tell_doors(publication);
    mg_config_forget_document(publication->snapshot->config); /* nothing is found wrong with it any more */
    return true;
}

void mg_publication_close_doors(mg_publication *publication)
{
    for (unsigned w = 0; publication->changes && w < publication->gateway->shared.worker_count; w++) {
        mg_worker_change *change = &publication->changes[w];
        for (size_t i = 0; change->opened && i < publication->snapshot->config->listener_count; i++)
            mg_listener_free(change->opened[i]);
        mg_free(change->opened);
        change->opened = NULL;
    }
}

void mg_publication_adopt(mg_publication *publication)
{
    const mg_gateway *gateway = publication->gateway;

    mg_shared_adopt(gateway->shared.shared);
    mg_snapshot_adopt(publication->snapshot, gateway->shared.shared, gateway->shared.stats,
                      mg_loop_now(gateway->loops[0]));
    mg_rollouts_attach(gateway->rollouts, publication->snapshot);
}

void mg_publication_free(mg_publication *publication)
{
    mg_timer_stop(&publication->patience);
    mg_list_remove(&publication->link);
    mg_free(publication->changes);
    mg_free(publication->askers);
    mg_snapshot_unref(publication->snapshot);
    mg_snapshot_unref(publication->before);
    mg_report_fini(&publication->report);
    mg_free(publication);
}
