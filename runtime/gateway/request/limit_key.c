/* limit_key.c - keys of limiters: address, field, cookie, consumer, route, or several of them
 * (docs/policies.md 4).
 */
#include "gateway/request/limit_key.h"

#include "base/mem.h"
#include "http/cookie.h"

static mg_str ip_key(mg_flight *flight, const mg_config_limiter *conf)
{
    char key[MG_LIMITER_IP_KEY_BYTES];
    const size_t n =
        mg_limiter_ip_key(key, flight->client.p, flight->client.n, conf->ipv4_prefix, conf->ipv6_prefix);

    return n ? mg_arena_str(&flight->x->arena, (mg_str){ key, n }) : flight->client;
}

static mg_str key_part(mg_flight *flight, const mg_config_limiter *conf, const mg_config_key_part *part)
{
    mg_exchange *x = flight->x;

    switch (part->kind) {
    case MG_CONFIG_KEY_IP: return ip_key(flight, conf);
    case MG_CONFIG_KEY_HEADER:
        return mg_fields_value(&x->request.fields, &x->arena, mg_name_find(part->name), part->name);
    case MG_CONFIG_KEY_COOKIE: return mg_cookie_get(&x->request.fields, part->name);
    case MG_CONFIG_KEY_CONSUMER:
        return flight->chain.call ? flight->chain.call->consumer : MG_STR_NONE; /* a plugin sets it */
    case MG_CONFIG_KEY_ROUTE: return flight->route->name;
    case MG_CONFIG_KEY_GLOBAL: return MG_STR("*");
    }
    return MG_STR_NONE;
}

/* Who lacks a part goes by his address. No field's value begins with this byte, so that nobody can name the
 * bucket of somebody else's address in a field. */
static mg_str stand_in(mg_flight *flight, const mg_config_limiter *conf)
{
    return mg_arena_printf(&flight->x->arena, "\x01%.*s", MG_STR_ARGS(ip_key(flight, conf)));
}

/* The parts with their lengths, so that no two requests share a key by chance. */
mg_limit_key_result mg_limit_key(mg_flight *flight, const mg_config_limiter *conf, mg_str *key)
{
    mg_text text = { 0 };

    for (unsigned i = 0; i < conf->key_parts; i++) {
        mg_str part = key_part(flight, conf, &conf->key[i]);
        if (!part.n && conf->on_missing_key == MG_CONFIG_MISSING_IP)
            part = stand_in(flight, conf);
        if (!part.n) {
            mg_text_fini(&text);
            return conf->on_missing_key == MG_CONFIG_MISSING_SKIP ? MG_LIMIT_KEY_SKIP : MG_LIMIT_KEY_DENY;
        }
        if (conf->key_parts == 1) {
            *key = part;
            return MG_LIMIT_KEY_FOUND;
        }
        mg_text_addf(&text, "%zu:", part.n);
        mg_text_add(&text, part);
    }
    *key = mg_arena_str(&flight->x->arena, mg_text_str(&text));
    mg_text_fini(&text);
    return MG_LIMIT_KEY_FOUND;
}
