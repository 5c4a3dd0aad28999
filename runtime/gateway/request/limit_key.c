/* limit_key.c - keys of limiters: address, field, cookie, consumer, route, or several of them
 * (docs/policies.md 4).
 */
#include "gateway/request/limit_key.h"

#include "base/str.h"
#include "http/cookie.h"
#include "policy/limiter.h"

static mg_str ip_key(const mg_limit_asker *asker, const mg_config_key *key)
{
    char text[MG_LIMITER_IP_KEY_BYTES];
    const size_t n =
        mg_limiter_ip_key(text, asker->client.p, asker->client.n, key->ipv4_prefix, key->ipv6_prefix);

    return n ? mg_arena_str(asker->arena, (mg_str){ text, n }) : asker->client;
}

/* The host is a member of the request, and whoever names the field means it. */
static mg_str field(const mg_limit_asker *asker, const mg_config_key_part *part)
{
    const mg_str value = mg_fields_value(&asker->request->fields, asker->arena, part->id, part->name);

    return !value.p && part->id == MG_NAME_HOST ? asker->request->authority : value;
}

mg_str mg_limit_key_part(const mg_limit_asker *asker, const mg_config_key *key,
                         const mg_config_key_part *part)
{
    switch (part->kind) {
    case MG_CONFIG_KEY_IP: return ip_key(asker, key);
    case MG_CONFIG_KEY_HEADER: return field(asker, part);
    case MG_CONFIG_KEY_COOKIE: return mg_cookie_get(&asker->request->fields, part->name);
    case MG_CONFIG_KEY_CONSUMER: return asker->consumer; /* a plugin sets it */
    case MG_CONFIG_KEY_ROUTE: return asker->route;
    case MG_CONFIG_KEY_GLOBAL: return MG_STR("*");
    }
    return MG_STR_NONE;
}

/* A part that is missing is the address instead. No value of a field or a consumer begins with this byte, so
 * that nobody can name the bucket of somebody else's address in one. */
static mg_str stand_in(const mg_limit_asker *asker, const mg_config_key *key)
{
    return mg_arena_printf(asker->arena, "\x01%.*s", MG_STR_ARGS(ip_key(asker, key)));
}

/* The parts with their lengths, so that no two requests share a key by chance. */
mg_limit_key_result mg_limit_key(const mg_limit_asker *asker, const mg_config_key *key, mg_str *text)
{
    mg_text joined = { 0 };

    for (unsigned i = 0; i < key->parts; i++) {
        mg_str part = mg_limit_key_part(asker, key, &key->part[i]);
        if (!part.n && key->on_missing == MG_CONFIG_MISSING_IP)
            part = stand_in(asker, key);
        if (!part.n) {
            mg_text_fini(&joined);
            return key->on_missing == MG_CONFIG_MISSING_SKIP ? MG_LIMIT_KEY_SKIP : MG_LIMIT_KEY_DENY;
        }
        if (key->parts == 1) {
            *text = part;
            return MG_LIMIT_KEY_FOUND;
        }
        mg_text_addf(&joined, "%zu:", part.n);
        mg_text_add(&joined, part);
    }
    *text = mg_arena_str(asker->arena, mg_text_str(&joined));
    mg_text_fini(&joined);
    return MG_LIMIT_KEY_FOUND;
}
