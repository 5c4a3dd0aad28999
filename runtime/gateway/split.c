/* split.c - by the group that the client names, else by a hash of who it is. */
#include "gateway/split.h"

#include "base/check.h"
#include "gateway/rollout_run.h"
#include "http/cookie.h"

#define GROUP_FIELD MG_STR("x-abtest-group")

static mg_str field(mg_exchange *x, mg_str name)
{
    return mg_fields_value(&x->request.fields, &x->arena, mg_name_find(name), name);
}

static int named(const mg_snapshot_split *split, mg_str group)
{
    if (!group.n)
        return -1;
    for (size_t i = 0; i < split->count; i++)
        if (mg_str_eq(split->backends[i].group, group))
            return (int)i;
    return -1;
}

mg_str mg_split_key(const mg_flight *flight)
{
    const mg_config_key_part *part = &flight->route->conf->sticky_key;
    mg_str value = MG_STR_NONE;

    if (flight->route->conf->sticky && part->kind == MG_CONFIG_KEY_HEADER)
        value = field(flight->x, part->name);
    else if (flight->route->conf->sticky && part->kind == MG_CONFIG_KEY_COOKIE)
        value = mg_cookie_get(&flight->x->request.fields, part->name);
    return value.n ? value : flight->client;
}

/* A canary's share is taken off first; by weight go the others, whose salt is another one, so that they share
 * what is left as they shared the whole. */
static unsigned hashed(const mg_snapshot_split *split, mg_str key)
{
    if (split->run && mg_rollout_has(key, split->canary_salt, mg_rollout_run_percent(split->run)))
        return split->canary;
    const int at = mg_rollout_split(key, split->salt, split->sides, split->count);
    return at == MG_ROLLOUT_NO_BACKEND ? split->fallback : (unsigned)at;
}

void mg_split_choose(mg_flight *flight)
{
    const mg_snapshot_split *split = flight->route->split;
    mg_exchange *x = flight->x;
    int at = named(split, field(x, GROUP_FIELD));

    if (at < 0)
        at = (int)hashed(split, mg_split_key(flight));
    flight->backend = (unsigned)at;
    flight->service = split->backends[at].service;
    mg_fields_set(&x->request.fields, &x->arena, MG_NAME_OTHER, GROUP_FIELD, split->backends[at].group);
}

void mg_split_result(const mg_flight *flight, mg_figures_outcome outcome, uint64_t duration_ns)
{
    const mg_snapshot_split *split = flight->route ? flight->route->split : NULL;

    if (split && split->run && flight->backend == split->canary)
        mg_rollout_run_result(split->run, flight->worker->index, outcome, duration_ns);
}
