/* digest.c - what a tree means, as a number. */
#include "base/map.h"
#include "text/tree.h"

static uint64_t mix(uint64_t a, uint64_t b, uint64_t seed)
{
    const uint64_t both[2] = { a, b };

    return mg_hash(mg_str_make((const char *)both, sizeof both), seed);
}

/* 2.0 is 2. */
static uint64_t number_of(double number, uint64_t seed)
{
    if (number >= -9e15 && number <= 9e15 && (double)(int64_t)number == number)
        return mix(MG_NODE_INT, (uint64_t)(int64_t)number, seed);
    return mg_hash(mg_str_make((const char *)&number, sizeof number), seed + MG_NODE_FLOAT);
}

static bool is_among(mg_str key, const char *const *names)
{
    for (; names && *names; names++)
        if (mg_str_eq_c(key, *names))
            return true;
    return false;
}

/* Recursion is bounded by MG_TREE_DEPTH. */
static uint64_t meaning(const mg_node *node, const char *const *but, uint64_t seed)
{
    uint64_t sum = 0;

    switch (node->kind) {
    case MG_NODE_NULL: return mix(MG_NODE_NULL, 0, seed);
    case MG_NODE_BOOL: return mix(MG_NODE_BOOL, node->boolean, seed);
    case MG_NODE_INT: return mix(MG_NODE_INT, (uint64_t)node->integer, seed);
    case MG_NODE_FLOAT: return number_of(node->number, seed);
    case MG_NODE_STRING:
        return node->measured ? mix(MG_NODE_STRING, (uint64_t)node->integer, ~seed)
                              : mg_hash(node->text, seed + MG_NODE_STRING);
    case MG_NODE_LIST:
        MG_NODE_EACH(node, it)
        sum = mix(sum, meaning(it, NULL, seed), seed);
        return mix(MG_NODE_LIST, sum, seed);
    case MG_NODE_MAP:
        MG_NODE_EACH(node, it)
        if (!is_among(it->key->text, but)) /* a sum: their order does not matter */
            sum += mix(mg_hash(it->key->text, seed), meaning(it, NULL, seed), seed);
        return mix(MG_NODE_MAP, sum, seed);
    }
    return 0;
}

mg_digest mg_node_digest(const mg_node *node, const char *const *but)
{
    if (!node)
        return (mg_digest){ 0, 0 };
    return (mg_digest){ meaning(node, but, 0x6d6f6f6e), meaning(node, but, 0x67617465) };
}
