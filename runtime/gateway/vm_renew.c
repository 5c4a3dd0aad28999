/* vm_renew.c - from a worker to the builder, which makes the state, and back; and one that has had its time to
 * where it is freed. */
#include "gateway/vm_renew.h"

#include "base/mem.h"
#include "gateway/control.h"

#define FIRST_WAIT_NS MG_NS_PER_S
#define LONG_NS       (10 * MG_NS_PER_S) /* a state that lasted so long was worth its making */

typedef struct renewal {
    mg_message message;
    mg_worker *worker;
    mg_snapshot *snapshot; /* counted: what the state is for */
    mg_vm *vm;             /* owned; NULL: it could not be made */
} renewal;

static void renewal_free(renewal *r)
{
    mg_vm_free(r->vm);
    mg_snapshot_unref(r->snapshot);
    mg_free(r);
}

/* Back on the worker. A publication that came meanwhile has brought its own states. */
static void on_made(mg_message *message)
{
    renewal *r = mg_container_of(message, renewal, message);
    mg_worker *worker = r->worker;

    worker->renewal.asked = false;
    if (r->vm && worker->view && worker->view->snapshot == r->snapshot) {
        mg_worker_take_vm(worker, r->vm);
        r->vm = NULL;
        mg_stats_event(worker->gateway->stats, worker->index, MG_EVENT_VM_RENEWAL, 1);
    }
    renewal_free(r);
}

static void on_wanted(mg_message *message)
{
    renewal *r = mg_container_of(message, renewal, message);
    mg_gateway_shared *shared = r->worker->gateway;
    mg_builder *builder = &mg_container_of(shared, mg_gateway, shared)->builder;
    mg_error err = MG_ERROR_INIT;

    mg_builder_begin(builder);
    const bool wanted = !atomic_load(&builder->stops);
    if (wanted)
        r->vm = mg_builder_make_vm(builder, r->worker->index, &r->snapshot->plan, &err, NULL);
    mg_builder_end(builder);
    if (wanted && !r->vm)
        mg_log_write(shared->log, MG_LOG_ERROR, "lua_renewal", "worker %u: %s", r->worker->index,
                     err.message);
    r->message.run = on_made;
    mg_mailbox_post(r->worker->mailbox, &r->message);
}

/* Whether the next one may be asked for now; notes when the one behind it may. */
static bool is_due(mg_renewal *state, uint64_t now)
{
    if (now < mg_add_sat(state->last_ns, state->wait_ns))
        return false;
    state->wait_ns = !state->count || now - state->last_ns >= LONG_NS ? FIRST_WAIT_NS : state->wait_ns * 2;
    state->last_ns = now;
    return true;
}

static void log_holder(const mg_worker *worker)
{
    const mg_vm *vm = worker->view->vm->vm;
    size_t held = 0;
    const int holder = mg_vm_holder(vm, &held);

    mg_log_write(
        worker->gateway->log, MG_LOG_WARN, "lua_renewal",
        "worker %u: its Lua state is nearly full (%zu KiB); plugin %s holds %zu KiB of it. Requests go on "
        "with a fresh state; what plugins kept outside of ctx.kv is lost",
        worker->index, mg_vm_used_bytes(vm) >> 10,
        holder < 0 ? "?" : mg_vm_plugin_at(vm, (size_t)holder)->name, held >> 10);
}

typedef struct given_back {
    mg_message message;
    mg_builder *builder;
    mg_vm *vm; /* owned */
} given_back;

static void on_given_back(mg_message *message)
{
    given_back *back = mg_container_of(message, given_back, message);

    mg_builder_begin(back->builder);
    mg_vm_free(back->vm);
    mg_builder_end(back->builder);
    mg_free(back);
}

void mg_vm_give_back(mg_worker *worker, mg_vm *vm)
{
    mg_gateway_shared *shared = worker->gateway;
    given_back *back;

    if (!shared->builder) {
        mg_vm_free(vm);
        return;
    }
    back = MG_NEW(given_back);
    *back =
        (given_back){ { NULL, on_given_back }, &mg_container_of(shared, mg_gateway, shared)->builder, vm };
    mg_mailbox_post(shared->builder, &back->message);
}

void mg_vm_renew_ask(mg_worker *worker)
{
    mg_renewal *state = &worker->renewal;

    if (state->asked || !worker->view || !worker->view->vm)
        return;
    if (!is_due(state, mg_loop_now(worker->loop))) {
        atomic_store_explicit(&state->holds, true, memory_order_relaxed);
        return;
    }
    renewal *r = MG_NEW(renewal);
    log_holder(worker);
    atomic_store_explicit(&state->holds, false, memory_order_relaxed);
    state->asked = true;
    state->count++;
    *r = (renewal){ { NULL, on_wanted }, worker, worker->view->snapshot, NULL };
    mg_snapshot_ref(r->snapshot);
    mg_mailbox_post(worker->gateway->builder, &r->message);
}
