/* view.c - a snapshot as one worker serves it: services with their hosts, and the VM. */
#include "gateway/request/job.h"
#include "gateway/vm_renew.h"

#include "base/check.h"
#include "base/mem.h"

void mg_view_ref(mg_view *view)
{
    view->refs++;
}

static void drop_vm(mg_worker *worker, mg_worker_vm *vm)
{
    if (!vm || --vm->refs)
        return;
    mg_jobs_free(vm->jobs);
    mg_vm_give_back(worker, vm->vm);
    mg_free(vm->bodies);
    mg_free(vm->bounds);
    mg_free(vm);
}

void mg_view_service_unref(mg_view_service *runtime)
{
    if (!runtime || --runtime->refs)
        return;
    for (size_t e = 0; e < runtime->service->host_count; e++)
        mg_endpoint_unref(runtime->endpoints[e]);
    mg_free(runtime->endpoints);
    mg_free(runtime->since_ns);
    mg_free(runtime->avoid_ns);
    mg_balancer_free(runtime->balancer);
    mg_service_unref(runtime->service);
    mg_free(runtime);
}

void mg_view_unref(mg_view *view)
{
    if (!view || --view->refs)
        return;
    for (size_t s = 0; s < view->snapshot->config->service_count; s++)
        mg_view_service_unref(view->services[s]);
    mg_free(view->services);
    drop_vm(view->worker, view->vm);
    mg_snapshot_unref(view->snapshot);
    mg_free(view);
}

/* With what the one before knows of the hosts that stay. */
static mg_balancer *balancer_of(mg_worker *worker, mg_service *service, const mg_config_service *conf,
                                const int *from, const mg_view_service *before)
{
    mg_balancer_conf balancer;
    uint32_t *weights = MG_NEW_N(uint32_t, service->host_count);
    mg_balancer *made;
    uint64_t since_ns;

    for (size_t e = 0; e < service->host_count; e++)
        weights[e] = mg_service_host_weight(service, e, mg_shared_policy_now(worker->gateway->shared),
                                            mg_loop_now(worker->loop), &since_ns);
    mg_balancer_conf_defaults(&balancer);
    balancer.algorithm = conf->balance;
    balancer.weights = weights;
    balancer.count = service->host_count;
    balancer.rand = &worker->loop->rand;
    balancer.inflight = service->inflight;
    balancer.tau_ms = conf->ewma_tau_ms;
    balancer.penalty_ms = conf->ewma_penalty_ms;
    balancer.bound_milli = conf->bound_milli;
    balancer.slow_start_ms = conf->slow_start_ms;
    balancer.slow_start_min = conf->slow_start_min;
    if (service->by_key)
        balancer.maglev = mg_service_maglev_wait(service);
    made = mg_balancer_make(&balancer);
    if (before)
        mg_balancer_take_over(made, before->balancer, from);
    mg_maglev_unref(balancer.maglev);
    mg_free(weights);
    return made;
}

static mg_endpoint *endpoint_of(mg_worker *worker, mg_service *service, size_t host)
{
    mg_endpoint *endpoint =
        mg_worker_endpoint(worker, mg_service_account(service, host), &service->of->idle_total);
    const mg_addr *addr = mg_service_host_addr(service, host);

    if (addr && !endpoint->addr_count) /* it is new: the key of an account has the address in it */
        mg_endpoint_set_addrs(endpoint, addr, 1);
    return endpoint;
}

static mg_view_service *view_service(mg_worker *worker, mg_service *of, const mg_config_service *conf,
                                     const mg_view_service *before)
{
    mg_view_service *runtime = MG_NEW(mg_view_service);
    int *from = MG_NEW_N(int, of->host_count + 1);

    runtime->refs = 1;
    runtime->service = of;
    mg_service_ref(of);
    runtime->since_ns = MG_NEW_N(uint64_t, of->host_count);
    runtime->avoid_ns = MG_NEW_N(uint64_t, of->host_count);
    runtime->endpoints = MG_NEW_N(mg_endpoint *, of->host_count);
    for (size_t e = 0; e < of->host_count; e++) {
        runtime->endpoints[e] = endpoint_of(worker, of, e);
        from[e] = before ? mg_service_host_named(before->service, of->names[e]) : MG_BALANCER_NONE;
        if (from[e] < 0)
            continue;
        runtime->since_ns[e] = before->since_ns[from[e]];
        runtime->avoid_ns[e] = before->avoid_ns[from[e]];
    }
    runtime->balancer = balancer_of(worker, of, conf, from, before);
    runtime->stat = mg_stats_service(worker->gateway->stats, conf->name);
    runtime->version = atomic_load(&of->version) - 1; /* learns at its first call */
    mg_free(from);
    return runtime;
}

/* New calls go to other hosts: what `before` has and `after` has not keeps no connection. */
static void retire_hosts(const mg_view_service *before, const mg_view_service *after)
{
    for (size_t e = 0; before != after && e < before->service->host_count; e++)
        if (!after || mg_service_host_named(after->service, before->service->names[e]) < 0)
            mg_endpoint_retire(before->endpoints[e]);
}

static mg_view_service *service_of(const mg_view *view, mg_str name)
{
    const mg_config_service *conf = view ? mg_config_service_named(view->snapshot->config, name) : NULL;

    return conf ? view->services[conf->index] : NULL;
}

/* The one of the view before, where the service is the same; else its own. */
static mg_view_service *share_service(mg_worker *worker, const mg_snapshot_service *service)
{
    mg_view_service *runtime = service_of(worker->view, service->name);

    if (!runtime || runtime->service != service->service)
        return view_service(worker, service->service, service->conf, runtime);
    runtime->refs++;
    return runtime;
}

void mg_view_renew(mg_worker *worker, mg_service *service)
{
    const mg_config_service *conf =
        worker->view ? mg_config_service_named(worker->view->snapshot->config, service->of->name) : NULL;

    if (!conf || worker->view->services[conf->index]->service == service)
        return;
    mg_view_service *before = worker->view->services[conf->index];
    worker->view->services[conf->index] = view_service(worker, service, conf, before);
    retire_hosts(before, worker->view->services[conf->index]);
    mg_view_service_unref(before);
}

static mg_chain_bodies *chain_bodies(const mg_snapshot *snapshot, const mg_vm *vm)
{
    const mg_config *config = snapshot->config;
    mg_chain_bodies *bodies = MG_NEW_N(mg_chain_bodies, snapshot->plan.chain_count + 1);

    for (size_t r = 0; r < config->route_count; r++) {
        const mg_config_route *route = config->routes[r];
        if (snapshot->plan.chains[r] < 0)
            continue;
        mg_chain_bodies *of_chain = &bodies[snapshot->plan.chains[r]];
        for (size_t i = 0; i < route->item_count; i++) {
            if (route->items[i].kind != MG_CONFIG_ITEM_PLUGIN)
                continue;
            const mg_vm_plugin *plugin = mg_vm_plugin_at(vm, route->items[i].plugin->index);
            of_chain->request_bytes = mg_max_u64(of_chain->request_bytes, plugin->request_body_bytes);
            of_chain->response_bytes = mg_max_u64(of_chain->response_bytes, plugin->response_body_bytes);
        }
    }
    return bodies;
}

static mg_plugin_bounds *plugin_bounds(const mg_snapshot *snapshot)
{
    const mg_config *config = snapshot->config;
    mg_plugin_bounds *bounds = MG_NEW_N(mg_plugin_bounds, snapshot->plan.plugin_count + 1);

    for (size_t i = 0; i < config->plugin_count; i++) {
        bounds[i].timeout_ns = config->plugins[i]->timeout_ms * MG_NS_PER_MS;
        bounds[i].cpu_ns = config->plugins[i]->cpu_ms * MG_NS_PER_MS;
    }
    return bounds;
}

static mg_worker_vm *vm_for(mg_worker *worker, const mg_worker_change *change)
{
    mg_worker_vm *current = worker->view ? worker->view->vm : NULL;
    const uint64_t hash = change->snapshot->plan.hash;

    if (!change->snapshot->plan.plugin_count)
        return NULL;
    if (!change->vm) {
        MG_CHECK(current && current->plan_hash == hash);
        current->refs++;
        return current;
    }
    mg_worker_vm *vm = MG_NEW(mg_worker_vm);
    *vm = (mg_worker_vm){ .vm = change->vm, .plan_hash = hash, .refs = 1 };
    vm->bodies = chain_bodies(change->snapshot, change->vm);
    vm->bounds = plugin_bounds(change->snapshot);
    vm->jobs = mg_jobs_new(worker, vm);
    return vm;
}

mg_view *mg_view_new(mg_worker *worker, const mg_worker_change *change)
{
    mg_view *view = MG_NEW(mg_view);
    const size_t count = change->snapshot->config->service_count;

    view->snapshot = change->snapshot;
    view->worker = worker;
    view->refs = 1;
    view->vm = vm_for(worker, change);
    view->services = MG_NEW_N(mg_view_service *, count + 1);
    for (size_t s = 0; s < count; s++)
        view->services[s] = share_service(worker, &view->snapshot->services[s]);
    return view;
}

void mg_view_retire(const mg_view *old, const mg_view *next)
{
    for (size_t s = 0; old && s < old->snapshot->config->service_count; s++)
        retire_hosts(old->services[s], service_of(next, old->snapshot->services[s].name));
}

void mg_view_take_vm(mg_worker *worker, mg_vm *vm)
{
    mg_view *old = worker->view, *view = MG_NEW(mg_view);
    const size_t count = old->snapshot->config->service_count;

    mg_snapshot_ref(old->snapshot);
    view->snapshot = old->snapshot;
    view->worker = worker;
    view->refs = 1;
    view->vm = vm_for(worker, &(mg_worker_change){ .snapshot = old->snapshot, .vm = vm });
    view->services = MG_NEW_N(mg_view_service *, count + 1);
    for (size_t s = 0; s < count; s++) {
        view->services[s] = old->services[s];
        view->services[s]->refs++;
    }
    worker->view = view;
    mg_jobs_follow(worker, old);
    mg_view_unref(old);
}
