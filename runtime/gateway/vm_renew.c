/* vm_renew.c - from a worker to the builder, which makes the state, and back; and one that has had its time to
 * where it is freed. */
#include "gateway/vm_renew.h"

#include "base/mem.h"
#include "gateway/control.h"

#include <stdio.h>

#define FIRST_WAIT_NS MG_NS_PER_S
#define LONGEST_NS    (16 * MG_NS_PER_S)
#define LONG_NS       (10 * MG_NS_PER_S) /* a state that lasted so long was worth its making */
#define TURN_NS       (2 * MG_NS_PER_MS) /* of the collector's work, each turn */

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
    worker->renewal.failed = !r->vm;
    if (r->vm && worker->view && worker->view->snapshot == r->snapshot) {
        mg_view_take_vm(worker, r->vm);
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
        r->vm =
            mg_builder_make_vm(builder, r->worker->index, &r->snapshot->plan, &builder->stops, &err, NULL);
    mg_builder_end(builder);
    if (!r->vm && !atomic_load(&builder->stops))
        mg_log_write(shared->log, MG_LOG_ERROR, "lua_renewal", "worker %u: %s", r->worker->index,
                     err.message);
    r->message.run = on_made;
    mg_mailbox_post(r->worker->mailbox, &r->message);
}

/* How long to wait behind this one, when the last one was at `last_ns` and brought so long a wait. */
static uint64_t next_wait(uint64_t last_ns, uint64_t wait_ns, uint64_t now)
{
    if (!last_ns || now - last_ns >= wait_ns + LONG_NS)
        return 0;
    return wait_ns ? mg_min_u64(wait_ns * 2, LONGEST_NS) : FIRST_WAIT_NS;
}

/* ---- plugins that are held off ---- */

static mg_held_off *held_off(mg_worker *worker, uint32_t plugin)
{
    mg_renewal *state = &worker->renewal;
    const mg_worker_vm *vm = worker->view->vm;

    if (state->plan_hash != vm->plan_hash || !state->off) {
        mg_free(state->off);
        state->off = MG_NEW_N(mg_held_off, mg_vm_plugin_count(vm->vm) + 1);
        state->plan_hash = vm->plan_hash;
        state->off_until_ns = 0;
    }
    return &state->off[plugin];
}

/* It has filled a state: once more, where it did so shortly before. */
static void hold_off(mg_worker *worker, uint32_t plugin, uint64_t now)
{
    mg_held_off *off = held_off(worker, plugin);

    off->wait_ns = next_wait(off->last_ns, off->wait_ns, now);
    off->last_ns = now;
    off->until_ns = now + off->wait_ns;
    if (off->wait_ns)
        worker->renewal.off_until_ns = mg_max_u64(worker->renewal.off_until_ns, off->until_ns);
}

static uint64_t off_until(const mg_worker *worker, uint32_t plugin, uint64_t now)
{
    const mg_renewal *state = &worker->renewal;

    if (now >= state->off_until_ns || state->plan_hash != worker->view->vm->plan_hash)
        return 0;
    return state->off[plugin].until_ns;
}

bool mg_vm_renew_admits(const mg_worker *worker, uint32_t plugin, uint64_t *again_ns)
{
    const uint64_t now = mg_loop_now(worker->loop);
    const mg_worker_vm *vm = worker->view ? worker->view->vm : NULL;

    if (!vm || plugin >= mg_vm_plugin_count(vm->vm))
        return true;
    *again_ns = off_until(worker, plugin, now);
    if (now < *again_ns)
        return false;
    *again_ns = now;
    return mg_vm_admits(vm->vm, plugin);
}

/* ---- asking ---- */

static void log_holder(const mg_worker *worker, int holder, size_t held, uint64_t wait_ns)
{
    const mg_vm *vm = worker->view->vm->vm;
    const char *name = holder < 0 ? "?" : mg_vm_plugin_at(vm, (size_t)holder)->name;
    char more[160] = "";

    if (wait_ns)
        snprintf(more, sizeof more,
                 "; it has filled one shortly before, so its requests are refused for %llu s",
                 (unsigned long long)(wait_ns / MG_NS_PER_S));
    mg_log_write(
        worker->gateway->log, MG_LOG_WARN, "lua_renewal",
        "worker %u: its Lua state is nearly full (%zu KiB); plugin %s holds %zu KiB of it%s. Requests go on "
        "with a fresh state; what plugins kept outside of ctx.kv is lost",
        worker->index, mg_vm_used_bytes(vm) >> 10, name, held >> 10, more);
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

/* Where it is known who fills the states that one waits, and all others get a fresh one at once. */
static bool is_due(mg_worker *worker, int holder, uint64_t now)
{
    mg_renewal *state = &worker->renewal;

    if (holder >= 0 && !state->failed)
        hold_off(worker, (uint32_t)holder, now);
    else if (now < mg_add_sat(state->last_ns, state->wait_ns))
        return false;
    state->wait_ns = mg_max_u64(next_wait(state->last_ns, state->wait_ns, now), FIRST_WAIT_NS);
    state->last_ns = now;
    return true;
}

void mg_vm_renew_ask(mg_worker *worker)
{
    mg_renewal *state = &worker->renewal;
    const uint64_t now = mg_loop_now(worker->loop);
    size_t held = 0;

    if (state->asked || !worker->view || !worker->view->vm)
        return;
    const int holder = mg_vm_holder(worker->view->vm->vm, &held);
    const bool due = is_due(worker, holder, now);
    atomic_store_explicit(&state->holds, !due, memory_order_relaxed);
    if (!due)
        return;
    renewal *r = MG_NEW(renewal);
    log_holder(worker, holder, held, holder < 0 ? 0 : held_off(worker, (uint32_t)holder)->wait_ns);
    state->asked = true;
    *r = (renewal){ { NULL, on_wanted }, worker, worker->view->snapshot, NULL };
    mg_snapshot_ref(r->snapshot);
    mg_mailbox_post(worker->gateway->builder, &r->message);
}

void mg_vm_renew_beat(mg_worker *worker)
{
    mg_renewal *state = &worker->renewal;

    if (state->off_until_ns && mg_loop_now(worker->loop) >= state->off_until_ns)
        state->off_until_ns = 0;
    if (atomic_load_explicit(&state->holds, memory_order_relaxed))
        mg_vm_renew_ask(worker);
}

/* ---- the collector, between turns ---- */

static mg_vm *current(const mg_worker *worker)
{
    return worker->view && worker->view->vm ? worker->view->vm->vm : NULL;
}

void mg_vm_renew_look(mg_worker *worker, mg_vm *vm)
{
    if (vm != current(worker))
        return;
    if (mg_vm_is_crowded(vm))
        mg_vm_renew_ask(worker);
    if (mg_vm_wants_collector(vm))
        mg_later_add(worker->loop, &worker->collect);
}

static void on_collect(mg_later *later)
{
    mg_worker *worker = mg_container_of(later, mg_worker, collect);
    mg_vm *vm = current(worker);

    if (!vm || !mg_vm_wants_collector(vm))
        return;
    mg_vm_collect(vm, TURN_NS);
    mg_vm_renew_look(worker, vm);
}

void mg_vm_renew_init(mg_worker *worker)
{
    worker->collect.run = on_collect;
}

void mg_vm_renew_fini(mg_worker *worker)
{
    mg_later_cancel(&worker->collect);
    mg_free(worker->renewal.off);
}
