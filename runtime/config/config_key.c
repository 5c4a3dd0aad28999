/* config_key.c - from the text of a key to its parts (docs/policies.md 4). */
#include "config/config_key.h"

#include <string.h>

const char *const mg_config_on_missing_key_words[] = { MG_CONFIG_ON_MISSING_KEYS(MG_WORD_TEXT) NULL };

/* "header:X" and "cookie:X" */
static bool take_field_part(mg_arena *arena, mg_config_key_part *part, mg_str text)
{
    const bool header = mg_str_starts(text, MG_STR("header:")),
               cookie = mg_str_starts(text, MG_STR("cookie:"));
    const mg_str name = mg_str_sub(text, 7, text.n);
    char *lower;

    if ((!header && !cookie) || name.n == 0 || name.n > 128)
        return false;
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] <= ' ' || name.p[i] == 0x7f || strchr("\"(),/:;<=>?@[\\]{}", name.p[i]))
            return false;
    }
    part->kind = header ? MG_CONFIG_KEY_HEADER : MG_CONFIG_KEY_COOKIE;
    lower = mg_arena_bytes(arena, name.n + 1);
    for (size_t i = 0; i < name.n; i++)
        lower[i] = header ? mg_lower(name.p[i]) : name.p[i];
    lower[name.n] = 0;
    part->name = mg_str_make(lower, name.n);
    part->id = header ? mg_name_find(part->name) : MG_NAME_OTHER;
    return true;
}

bool mg_config_key_part_read(mg_arena *arena, mg_config_key_part *part, mg_str text)
{
    static const struct {
        const char *word;
        mg_config_key_kind kind;
    } words[] = { { "ip", MG_CONFIG_KEY_IP },
                  { "consumer", MG_CONFIG_KEY_CONSUMER },
                  { "route", MG_CONFIG_KEY_ROUTE },
                  { "global", MG_CONFIG_KEY_GLOBAL } };

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (mg_str_eq_c(text, words[i].word)) {
            part->kind = words[i].kind;
            return true;
        }
    }
    return take_field_part(arena, part, text);
}

mg_result mg_config_key_read(mg_arena *arena, mg_config_key *key, mg_str text, mg_error *err,
                             const char **hint)
{
    mg_str rest = text, part;

    *hint = NULL;
    key->parts = 0;
    while (mg_str_cut(&rest, '+', &part)) {
        if (key->parts == MG_CONFIG_KEY_PARTS)
            return mg_fail(err, MG_ERR_LIMIT, "a key has at most %d parts", MG_CONFIG_KEY_PARTS);
        if (mg_config_key_part_read(arena, &key->part[key->parts], part)) {
            key->parts++;
            continue;
        }
        *hint = "write ip, header:X, cookie:X, consumer, route or global, or several joined by +";
        return mg_fail(err, MG_ERR_INVALID,
                       mg_str_eq_c(part, "tenant") ? "tenants are not in this build"
                                                   : "\"%.*s\" names nothing that can be counted",
                       MG_STR_ARGS(mg_str_sub(part, 0, 60)));
    }
    return MG_OK;
}
