/* call_key.c - keys that plugins make when they are loaded and read for a request: the reader that the limiters
 * of the configuration have (docs/policies.md 4). */
#include "base/mem.h"
#include "gateway/request/call_parts.h"
#include "gateway/request/limit_key.h"

enum { ERROR_BYTES = 256, IPV4_PREFIX = 32, IPV6_PREFIX = 64 };

struct mg_key {
    mg_config_key conf;
    mg_arena arena; /* of its names */
};

static bool take_on_missing(mg_config_key *conf, mg_str word)
{
    for (int i = 0; mg_config_on_missing_key_words[i]; i++)
        if (mg_str_eq_c(word, mg_config_on_missing_key_words[i])) {
            conf->on_missing = (mg_config_on_missing_key)i;
            return true;
        }
    return false;
}

/* What is wrong, in error256. */
static bool take(mg_key *key, mg_str text, mg_str on_missing, char *error256)
{
    mg_error err = MG_ERROR_INIT;
    const char *hint;

    if (mg_config_key_read(&key->arena, &key->conf, text, &err, &hint) != MG_OK) {
        snprintf(error256, ERROR_BYTES, "%s%s%s", err.message, hint ? ": " : "", hint ? hint : "");
        return false;
    }
    if (!take_on_missing(&key->conf, on_missing)) {
        snprintf(error256, ERROR_BYTES, "a missing part means ip, skip or deny, not \"%.*s\"",
                 MG_STR_ARGS(mg_str_sub(on_missing, 0, 60)));
        return false;
    }
    return true;
}

mg_key *mg_key_new(const char *text, uint32_t n, const char *on_missing, uint32_t on_missing_n,
                   char *error256)
{
    mg_key *key = MG_NEW(mg_key);

    mg_arena_init(&key->arena, NULL, 0);
    key->conf.ipv4_prefix = IPV4_PREFIX;
    key->conf.ipv6_prefix = IPV6_PREFIX;
    if (take(key, mg_str_make(text, n), mg_str_make(on_missing, on_missing_n), error256))
        return key;
    mg_key_free(key);
    return NULL;
}

void mg_key_free(mg_key *key)
{
    if (!key)
        return;
    mg_arena_fini(&key->arena);
    mg_free(key);
}

double mg_key_bytes(const mg_key *key)
{
    return (double)(sizeof *key + key->arena.used);
}

const char *mg_call_key(mg_call *call, const mg_key *key, mg_slice *text)
{
    mg_call_read read;
    mg_str found = MG_STR_NONE;

    if (call->phase == MG_PHASE_TASK)
        return "it is of a request: a task has none";
    mg_call_read_begin(&read);
    const mg_limit_asker asker = { .request = &call->x->request,
                                   .arena = &read.arena,
                                   .client = call->client,
                                   .consumer = call->consumer,
                                   .route = call->route_name };
    if (mg_limit_key(&asker, &key->conf, &found) != MG_LIMIT_KEY_FOUND)
        found = MG_STR_NONE;
    *text = slice_of(mg_call_read_end(call, &read, found));
    return NULL;
}
