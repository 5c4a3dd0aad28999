/* builder.c - what the builder's thread does by itself: its beat, and Lua states. */
#include "gateway/builder.h"

#include "base/embed.h"
#include "gateway/request/call.h"
#include "mg_abi.h"

void mg_builder_init(mg_builder *builder, mg_gateway_shared *shared, mg_loop *loop, uint64_t seed)
{
    builder->shared = shared;
    builder->loop = loop;
    builder->mailbox = mg_mailbox_new(loop);
    mg_rand_init(&builder->seeds, seed);
}

void mg_builder_fini(mg_builder *builder)
{
    mg_mailbox *mailbox = builder->mailbox;

    if (!mailbox)
        return;
    atomic_store(&builder->stops, 1);
    mg_mailbox_free(mailbox);
    builder->mailbox = NULL;
}

void mg_builder_begin(mg_builder *builder)
{
    const mg_clock *clock = builder->shared->clock;

    atomic_store_explicit(&builder->turn_ns, clock->mono_ns(clock), memory_order_relaxed);
}

void mg_builder_end(mg_builder *builder)
{
    atomic_store_explicit(&builder->turn_ns, 0, memory_order_relaxed);
}

mg_vm *mg_builder_make_vm(mg_builder *builder, unsigned worker, const mg_plan *plan,
                          _Atomic int32_t *given_up, mg_error *err, mg_fault *fault)
{
    mg_worker *runner = builder->shared->workers[worker];
    const mg_vm_conf conf = { .api = &mg_api_table,
                              .abi_hash = mg_abi_hash(),
                              .host = &runner->host,
                              .source = mg_embedded,
                              .call_bytes = sizeof(mg_call),
                              .seed = mg_rand_next(&builder->seeds),
                              .log = builder->shared->log,
                              .fault = fault,
                              .given_up = given_up,
                              .maker = &builder->site,
                              .runner = &runner->site };

    return mg_vm_new(&conf, mg_text_str(&plan->json), err);
}
