/* sim.c - the world: its clock, whose turn it is, and what a spec decides about it. */
#include "base/check.h"
#include "base/mem.h"
#include "sim/sim_parts.h"
#include <stdio.h>

enum { MAX_TURNS = 1000000, FIRST_PORT = 40000 };

static uint64_t mono_ns(const mg_clock *clock)
{
    return mg_container_of(clock, mg_sim, clock)->mono_ns;
}

static int64_t wall_ns(const mg_clock *clock)
{
    const mg_sim *sim = mg_container_of(clock, mg_sim, clock);

    return sim->wall_offset_ns + (int64_t)sim->mono_ns;
}

mg_sim *mg_sim_new(uint64_t seed)
{
    mg_sim *sim = MG_NEW(mg_sim);

    sim->clock = (mg_clock){ .mono_ns = mono_ns, .wall_ns = wall_ns };
    sim->mono_ns = 1000 * MG_NS_PER_S;
    sim->wall_offset_ns =
        1767225600 * (int64_t)MG_NS_PER_S; /* 2026-01-01, and the 1000 s that the machine is up */
    sim->seed = seed;
    sim->buffer = 64 * 1024;
    sim->next_port = FIRST_PORT;
    sim->names = mg_map_new(seed);
    mg_rand_init(&sim->rand, seed);
    mg_list_init(&sim->loops);
    mg_list_init(&sim->listeners);
    mg_list_init(&sim->rules);
    mg_list_init(&sim->wire);
    return sim;
}

static void free_names(mg_map *names)
{
    size_t cursor = 0;
    mg_str name;
    void *answer;

    while (mg_map_next(names, &cursor, &name, &answer))
        mg_free(answer);
    mg_map_free(names);
}

void mg_sim_free(mg_sim *sim)
{
    mg_list *link;

    if (!sim)
        return;
    for (size_t i = 0; i < sim->fds; i++)
        if (sim->sockets[i])
            mg_sim_socket_free(sim->sockets[i]);
    while ((link = mg_list_pop(&sim->rules)))
        mg_free(mg_container_of(link, sim_rule, link));
    while ((link = mg_list_pop(&sim->loops)))
        mg_free(mg_container_of(link, sim_loop, link));
    free_names(sim->names);
    mg_free(sim->sockets);
    mg_free(sim);
}

const mg_clock *mg_sim_clock(mg_sim *sim)
{
    return &sim->clock;
}

/* ---- turns ---- */

bool mg_sim_turn(mg_sim *sim)
{
    uint64_t ready = !mg_list_empty(&sim->wire);

    MG_LIST_EACH(&sim->loops, it)
    ready += mg_sim_loop_ready(mg_container_of(it, sim_loop, link));
    if (ready == 0)
        return false;
    uint64_t chosen = mg_rand_below(&sim->rand, ready);
    MG_LIST_EACH(&sim->loops, it)
    {
        sim_loop *loop = mg_container_of(it, sim_loop, link);
        if (mg_sim_loop_ready(loop) && chosen-- == 0) {
            mg_sim_loop_turn(loop);
            return true;
        }
    }
    mg_sim_arrive(sim);
    return true;
}

unsigned mg_sim_settle(mg_sim *sim)
{
    unsigned turns = 0;

    MG_CHECK(!sim->settling);
    sim->settling = true;
    while (mg_sim_turn(sim))
        if (++turns > MAX_TURNS) {
            fprintf(stderr, "the simulated world (seed %llu) took %d turns in one moment: something spins\n",
                    (unsigned long long)sim->seed, MAX_TURNS);
            MG_CHECK(turns <= MAX_TURNS);
        }
    sim->settling = false;
    return turns;
}

static void set_time(mg_sim *sim, uint64_t ns)
{
    sim->mono_ns = ns;
    MG_LIST_EACH(&sim->loops, it)
    mg_container_of(it, sim_loop, link)->loop.now_read = false;
}

bool mg_sim_step(mg_sim *sim, uint64_t end_ns)
{
    uint64_t next_ns = UINT64_MAX;

    MG_LIST_EACH(&sim->loops, it)
    next_ns = mg_min_u64(next_ns, mg_sim_loop_armed(mg_container_of(it, sim_loop, link)));
    if (next_ns == UINT64_MAX || next_ns > end_ns)
        return false;
    set_time(sim, mg_max_u64(next_ns, sim->mono_ns));
    return true;
}

void mg_sim_advance(mg_sim *sim, uint64_t ns)
{
    const uint64_t end_ns = mg_add_sat(sim->mono_ns, ns);

    mg_sim_settle(sim);
    while (mg_sim_step(sim, end_ns))
        mg_sim_settle(sim);
    set_time(sim, end_ns);
}

/* ---- what a spec decides ---- */

void mg_sim_step_wall(mg_sim *sim, int64_t ns)
{
    sim->wall_offset_ns += ns;
}

void mg_sim_set_buffer(mg_sim *sim, size_t bytes)
{
    MG_CHECK(bytes > 0);
    sim->buffer = bytes;
}

void mg_sim_set_chunk(mg_sim *sim, size_t max_bytes)
{
    sim->chunk = max_bytes;
}

void mg_sim_set_descriptors(mg_sim *sim, size_t max)
{
    sim->max_open = max;
}

void mg_sim_set_source(mg_sim *sim, const mg_addr *addr)
{
    sim->source = *addr;
}

void mg_sim_set_connect(mg_sim *sim, const mg_addr *addr, int errnum)
{
    sim_rule *rule = NULL;

    MG_LIST_EACH(&sim->rules, it)
    if (mg_addr_eq(&mg_container_of(it, sim_rule, link)->addr, addr))
        rule = mg_container_of(it, sim_rule, link);
    if (!rule) {
        rule = MG_NEW(sim_rule);
        rule->addr = *addr;
        mg_list_push(&sim->rules, &rule->link);
    }
    rule->error = errnum;
}

void mg_sim_set_name(mg_sim *sim, const char *name, const mg_addr *addrs, unsigned count, uint32_t ttl_s)
{
    mg_resolved *answer = NULL;

    if (count > 0) {
        answer = MG_NEW(mg_resolved);
        for (unsigned i = 0; i < count; i++)
            mg_resolved_add(answer, &addrs[i]);
        answer->ttl_s = ttl_s;
    }
    mg_free(mg_map_set(sim->names, mg_str_of(name), answer));
}

mg_result mg_sim_resolve(mg_loop *loop, mg_str name, mg_resolved *answer)
{
    const mg_resolved *known = mg_map_get(mg_sim_loop_of(loop)->sim->names, name);

    if (!known)
        return MG_ERR_NOT_FOUND;
    *answer = *known;
    return MG_OK;
}

size_t mg_sim_open_sockets(const mg_sim *sim)
{
    return sim->open;
}

size_t mg_sim_live_timers(const mg_sim *sim)
{
    size_t count = 0;

    MG_LIST_EACH(&sim->loops, it)
    count += mg_loop_timers(&mg_container_of(it, sim_loop, link)->loop);
    return count;
}
