/* config_values.c - values of the document, defaults that depend on what is written, and its names. */
#include "base/check.h"
#include "config/config_build.h"
#include "text/units.h"

/* --- values --- */

const mg_node *mg_node_children(const mg_node *node)
{
    return mg_node_is(node, MG_NODE_LIST) || mg_node_is(node, MG_NODE_MAP) ? node->first : NULL;
}

size_t mg_node_count(const mg_node *node)
{
    return mg_node_is(node, MG_NODE_LIST) || mg_node_is(node, MG_NODE_MAP) ? node->count : 0;
}

mg_str mg_keep_str(mg_building *b, mg_str text)
{
    return text.p ? mg_arena_str(&b->config->arena, text) : text;
}

mg_str mg_read_str(const mg_node *map, const char *key)
{
    const mg_node *node = mg_node_get(map, key);
    return mg_node_is(node, MG_NODE_STRING) ? node->text : MG_STR_NONE;
}

uint64_t mg_read_ms(const mg_node *map, const char *key)
{
    uint64_t ms = 0;
    return mg_units_duration(mg_read_str(map, key), &ms, NULL) == MG_OK ? ms : 0;
}

uint64_t mg_read_size(const mg_node *map, const char *key)
{
    uint64_t bytes = 0;
    return mg_units_size(mg_read_str(map, key), &bytes, NULL) == MG_OK ? bytes : 0;
}

uint32_t mg_read_share(const mg_node *map, const char *key)
{
    uint32_t basis_points = 0;
    return mg_units_share(mg_read_str(map, key), &basis_points, NULL) == MG_OK ? basis_points : 0;
}

uint32_t mg_read_u32(const mg_node *map, const char *key)
{
    const mg_node *node = mg_node_get(map, key);
    return mg_node_is(node, MG_NODE_INT) && node->integer >= 0 && node->integer <= UINT32_MAX
               ? (uint32_t)node->integer
               : 0;
}

double mg_read_number(const mg_node *map, const char *key)
{
    const mg_node *node = mg_node_get(map, key);
    return mg_node_is(node, MG_NODE_INT)     ? (double)node->integer
           : mg_node_is(node, MG_NODE_FLOAT) ? node->number
                                             : 0;
}

uint32_t mg_number_milli(const mg_node *number)
{
    const double value = mg_node_is(number, MG_NODE_INT)     ? (double)number->integer
                         : mg_node_is(number, MG_NODE_FLOAT) ? number->number
                                                             : 0;

    return value > 0 && value < 1000000 ? (uint32_t)(value * 1000 + 0.5) : 0;
}

uint32_t mg_read_parts(mg_building *b, const mg_node *map, const char *key, unsigned part)
{
    const uint32_t basis_points = mg_read_share(map, key);

    if (basis_points % part != 0)
        mg_finding_hint(
            mg_node_error(b->report, mg_node_get(map, key), "not-allowed", "%.*s is finer than %s counts",
                          MG_STR_ARGS(mg_read_str(map, key)), key),
            part == 100 ? "write whole percents" : "write percents with one digit behind the point");
    return basis_points / part;
}

int mg_read_word(const mg_node *map, const char *key, const char *const *words)
{
    const mg_str text = mg_read_str(map, key);

    for (int i = 0; words[i]; i++) {
        if (mg_str_eq_c(text, words[i]))
            return i;
    }
    return 0;
}

/* --- defaults that depend on what is written --- */

static mg_node *preset(mg_building *b, mg_node *map, const char *key, mg_node_kind kind)
{
    mg_node *value;

    if (mg_node_get(map, key))
        return NULL;
    value = mg_node_new(&b->config->document, kind);
    value->defaulted = true;
    mg_node_append(map, mg_node_new_string(&b->config->document, mg_str_of(key)), value);
    return value;
}

void mg_preset_int(mg_building *b, mg_node *map, const char *key, int64_t integer)
{
    mg_node *value = preset(b, map, key, MG_NODE_INT);

    if (value)
        value->integer = integer;
}

void mg_preset_text(mg_building *b, mg_node *map, const char *key, const char *text)
{
    mg_node *value = preset(b, map, key, MG_NODE_STRING);

    if (value)
        value->text = mg_str_of(text);
}

/* --- names --- */

void mg_build_remember(mg_building *b, mg_map *map, mg_str name, const void *item, const mg_node *node)
{
    mg_named *named = MG_ARENA_NEW(&b->config->arena, mg_named);

    *named = (mg_named){ .item = item, .node = node };
    mg_map_set(map, name, named);
}

static void hint_nearest(mg_finding *f, const mg_map *map, mg_str name)
{
    mg_guess guess = { .name = name };
    mg_str key;
    size_t cursor = 0;
    void *value;

    while (mg_map_next(map, &cursor, &key, &value))
        mg_guess_offer(&guess, key);
    if (!guess.best.p)
        return;
    const mg_named *best = mg_map_get(map, guess.best);
    if (best->node->key && best->node->key->source)
        mg_finding_hint(f, "did you mean \"%.*s\" (%s:%d)?", MG_STR_ARGS(guess.best),
                        best->node->key->source->file, best->node->key->line);
    else
        mg_finding_hint(f, "did you mean \"%.*s\"?", MG_STR_ARGS(guess.best));
}

const void *mg_build_lookup(mg_building *b, mg_map *map, const mg_node *name, const char *what)
{
    mg_named *named;
    mg_finding *f;

    if (!mg_node_is(name, MG_NODE_STRING))
        return NULL;
    named = mg_map_get(map, name->text);
    if (named) {
        named->used = true;
        return named->item;
    }
    f = mg_node_error(b->report, name, "dangling-reference", "no %s is named \"%.*s\"", what,
                      MG_STR_ARGS(mg_node_shown(name)));
    if (mg_map_count(map) == 0)
        mg_finding_hint(f, "define it under \"%ss\"", what);
    else
        hint_nearest(f, map, name->text);
    return NULL;
}
