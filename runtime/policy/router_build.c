/* router_build.c - drafts to the table that router.c reads: put into match order, compared, laid out. */
#include "policy/router_table.h"

#include "base/check.h"
#include "base/map.h"
#include "base/mem.h"

#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>

_Static_assert(sizeof(mg_route_node) == 64 && sizeof(mg_route_whole) == 64, "one cache line each");

/* ---- match order ---- */

static int host_rank(mg_str host)
{
    return host.n == 0 ? 2 : host.p[0] == '.' ? 1 : 0;
}

static int host_cmp(mg_str a, mg_str b)
{
    const int rank_a = host_rank(a), rank_b = host_rank(b);

    if (rank_a != rank_b)
        return rank_a - rank_b;
    if (rank_a == 1 && a.n != b.n)
        return a.n > b.n ? -1 : 1;
    return mg_str_cmp(a, b);
}

/* Whether two segments make the same node, and which comes first if not. */
static int segment_cmp(const mg_segment *a, const mg_segment *b)
{
    if (a->kind != b->kind)
        return (int)a->kind - (int)b->kind;
    return a->kind == MG_SEGMENT_TEXT ? mg_str_cmp(a->text, b->text) : 0;
}

static int shape_cmp(const mg_route_draft *a, const mg_route_draft *b)
{
    for (unsigned i = 0; i < a->segment_count && i < b->segment_count; i++) {
        const int order = segment_cmp(&a->segments[i], &b->segments[i]);

        if (order)
            return order;
    }
    return (int)a->segment_count - (int)b->segment_count;
}

static int draft_cmp(const void *left, const void *right)
{
    const mg_route_draft *a = left, *b = right;
    int order = host_cmp(a->host, b->host);

    if (!order)
        order = shape_cmp(a, b);
    if (!order)
        order = b->priority - a->priority;
    if (!order)
        order = a->index < b->index ? -1 : a->index > b->index;
    return order ? order : a->sequence < b->sequence ? -1 : 1;
}

static bool same_shape(const mg_route_draft *a, const mg_route_draft *b)
{
    return mg_str_eq(a->host, b->host) && shape_cmp(a, b) == 0;
}

/* ---- conflicts ---- */

/* What two routes must not have in common, as a key. Lengths keep the parts apart. */
static void conflict_key(const mg_route_draft *d, mg_text *key)
{
    mg_text_clear(key);
    mg_text_addf(key, "%d %llu %u %zu:", d->priority, (unsigned long long)d->methods, d->header_count,
                 d->host.n);
    mg_text_add(key, d->host);
    for (unsigned i = 0; i < d->segment_count; i++) {
        const bool is_text = d->segments[i].kind == MG_SEGMENT_TEXT;

        mg_text_addf(key, "%d %zu:", (int)d->segments[i].kind, is_text ? d->segments[i].text.n : 0);
        if (is_text)
            mg_text_add(key, d->segments[i].text);
    }
    for (unsigned i = 0; i < d->header_count; i++) {
        mg_text_addf(key, " %zu %zu:", d->headers[i].name.n, d->headers[i].value.n);
        mg_text_add(key, d->headers[i].name);
        mg_text_add(key, d->headers[i].value);
    }
}

/* A request that the draft matches. */
static void example(const mg_own_methods *own, const mg_route_draft *d, mg_text *out)
{
    unsigned method = MG_METHOD_GET;

    for (unsigned i = 0; i < MG_METHODS + own->count && !(d->methods & MG_METHOD_BIT(method)); i++)
        method = i;
    mg_text_addf(
        out, "%.*s %s%.*s",
        MG_STR_ARGS(method < MG_METHODS ? mg_route_methods[method] : own->names[method - MG_METHODS]),
        d->host.n == 0        ? "any.example"
        : d->host.p[0] == '.' ? "any"
                              : "",
        MG_STR_ARGS(d->host));
    for (unsigned i = 0; i < d->segment_count; i++) {
        if (d->segments[i].kind != MG_SEGMENT_PREFIX || d->segment_count == 1)
            mg_text_add_char(out, '/');
        if (d->segments[i].kind == MG_SEGMENT_TEXT)
            mg_text_add(out, d->segments[i].text);
        else if (d->segments[i].kind != MG_SEGMENT_PREFIX)
            mg_text_add_char(out, 'x');
    }
    for (unsigned i = 0; i < d->header_count; i++)
        mg_text_addf(out, " -H '%.*s: %.*s'", MG_STR_ARGS(d->headers[i].name),
                     MG_STR_ARGS(d->headers[i].value));
}

static void report_conflict(mg_router_builder *b, const mg_route_draft *first, const mg_route_draft *second,
                            mg_report *report)
{
    mg_route_fault fault = { .code = "duplicate-route" };
    mg_text request = { 0 };

    example(&b->own, first, &request);
    if (first->index == second->index) {
        snprintf(fault.message, sizeof(fault.message), "route %.*s has this path twice: %.150s",
                 MG_STR_ARGS(first->name), request.p);
        snprintf(fault.hint, sizeof(fault.hint), "remove one; parameters' names do not tell paths apart");
    } else {
        snprintf(fault.message, sizeof(fault.message), "routes %.*s and %.*s both match %.110s",
                 MG_STR_ARGS(first->name), MG_STR_ARGS(second->name), request.p);
        snprintf(fault.hint, sizeof(fault.hint),
                 "give one a host, path, method, header or priority of its own, or remove it");
    }
    mg_route_complain(b, report, second->index, MG_ROUTE_PART_PATH, second->path_item, &fault);
    mg_text_fini(&request);
}

static void find_conflicts(mg_router_builder *b, mg_report *report)
{
    mg_map *seen = mg_map_new(b->seed);
    mg_text key = { 0 };

    for (size_t i = 0; i < b->count; i++) {
        const mg_route_draft *first;

        /* Only patterns of one shape can collide, and they stand together. */
        if (!(i && same_shape(&b->drafts[i - 1], &b->drafts[i])) &&
            !(i + 1 < b->count && same_shape(&b->drafts[i], &b->drafts[i + 1])))
            continue;
        conflict_key(&b->drafts[i], &key);
        first = mg_map_get(seen, mg_text_str(&key));
        if (first)
            report_conflict(b, first, &b->drafts[i], report);
        else
            mg_map_set(seen, mg_text_str(&key), &b->drafts[i]);
    }
    mg_text_fini(&key);
    mg_map_free(seen);
}

/* ---- layout ---- */

/* A trie node on its way to its place. Parents come before their children. */
typedef struct sprout {
    uint32_t parent; /* sprout */
    bool by_text, has_text_children;
    mg_str text;
    uint32_t param, end, rest, prefix; /* param: sprout */
    uint32_t at;                       /* its place in the router */
} sprout;

typedef struct layout {
    mg_router *router;
    sprout *sprouts; /* owned */
    uint32_t count, cap, text_count, whole_count;
    uint32_t stack[MG_ROUTE_SEGMENTS_MAX + 2]; /* the nodes on the way to the last pattern */
    const mg_route_draft *last;                /* that pattern; NULL at the start of a class */
} layout;

static uint32_t grow_layout(layout *l, uint32_t parent, bool by_text, mg_str text)
{
    if (l->count == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 64;
        l->sprouts = mg_realloc(l->sprouts, l->cap * sizeof(*l->sprouts));
    }
    l->sprouts[l->count] = (sprout){ .parent = parent,
                                     .by_text = by_text,
                                     .text = text,
                                     .param = MG_ROUTE_NONE,
                                     .end = MG_ROUTE_NONE,
                                     .rest = MG_ROUTE_NONE,
                                     .prefix = MG_ROUTE_NONE };
    l->text_count += by_text;
    return l->count++;
}

static uint32_t grow_child(layout *l, uint32_t parent, const mg_segment *segment)
{
    const bool by_text = segment->kind == MG_SEGMENT_TEXT;
    const uint32_t child = grow_layout(l, parent, by_text, segment->text);

    if (by_text)
        l->sprouts[parent].has_text_children = true;
    else
        l->sprouts[parent].param = child;
    return child;
}

static bool is_node(const mg_segment *segment)
{
    return segment->kind == MG_SEGMENT_TEXT || segment->kind == MG_SEGMENT_PARAM;
}

/* Match order keeps patterns with the same beginning together: the way to one starts on the way to the last.
 */
static void plant(layout *l, mg_route_class *class, const mg_route_draft *d, uint32_t leaf)
{
    unsigned depth = 0;
    uint32_t *list;
    sprout *node;

    if (class->root == MG_ROUTE_NONE)
        class->root = l->stack[0] = grow_layout(l, MG_ROUTE_NONE, false, MG_STR_NONE);
    while (l->last && depth < d->segment_count && depth < l->last->segment_count &&
           is_node(&d->segments[depth]) && segment_cmp(&d->segments[depth], &l->last->segments[depth]) == 0)
        depth++;
    for (; depth < d->segment_count && is_node(&d->segments[depth]); depth++)
        l->stack[depth + 1] = grow_child(l, l->stack[depth], &d->segments[depth]);
    node = &l->sprouts[l->stack[depth]];
    list = depth == d->segment_count                    ? &node->end
           : d->segments[depth].kind == MG_SEGMENT_REST ? &node->rest
                                                        : &node->prefix;
    if (*list == MG_ROUTE_NONE)
        *list = leaf;
    l->last = d;
}

static bool is_whole(const mg_route_draft *d)
{
    for (unsigned i = 0; i < d->segment_count; i++) {
        if (d->segments[i].kind != MG_SEGMENT_TEXT)
            return false;
    }
    return true;
}

static uint32_t table_size(uint32_t count)
{
    uint32_t size = 1;

    while (size < count * 2)
        size *= 2;
    return size;
}

/* Leaves, patterns, classes; the trie as sprouts. */
static void lay_leaves(layout *l, mg_router_builder *b)
{
    mg_router *r = l->router;
    mg_route_class *class = NULL;

    for (uint32_t i = 0; i < b->count; i++) {
        const mg_route_draft *d = &b->drafts[i];

        r->leaves[i] = (mg_route_leaf){ .route = d->route,
                                        .names = d->names,
                                        .headers = d->headers,
                                        .index = d->index,
                                        .methods = d->methods,
                                        .param_count = d->param_count,
                                        .header_count = d->header_count,
                                        .keeps_slashes = d->keeps_slashes,
                                        .last = i + 1 == b->count || !same_shape(d, d + 1) };
        r->takes_unknown |= (d->methods & MG_METHOD_BIT(MG_METHOD_OTHER)) != 0;
        r->keeps_slashes |= d->keeps_slashes;
        if (!class || !mg_str_eq(class->host, d->host)) {
            class = &r->classes[r->class_count];
            *class = (mg_route_class){ .host = d->host, .root = MG_ROUTE_NONE, .id = r->class_count++ };
            l->last = NULL;
        }
        r->patterns[i] = (mg_route_pattern){ .name = d->name,
                                             .host = d->host_text,
                                             .path = d->path_text,
                                             .prefix = d->prefix,
                                             .priority = d->priority,
                                             .class_id = class->id };
        if (!is_whole(d)) {
            plant(l, class, d, i);
        } else {
            class->has_whole = true;
            l->whole_count += r->leaves[i].last;
        }
    }
}

static uint32_t free_place(const mg_router *r, uint32_t hash)
{
    uint32_t at = hash & r->node_mask;

    while (r->nodes[at].parent != MG_ROUTE_NONE)
        at = (at + 1) & r->node_mask;
    return at;
}

static void lay_trie(layout *l)
{
    mg_router *r = l->router;
    const uint32_t size = table_size(l->text_count);
    uint32_t beyond = size; /* where the nodes stand that no text leads to */

    r->node_mask = size - 1;
    r->nodes = aligned_alloc(64, (size + l->count - l->text_count) * sizeof(*r->nodes));
    MG_CHECK(r->nodes);
    for (uint32_t i = 0; i < size; i++)
        r->nodes[i].parent = MG_ROUTE_NONE;
    for (uint32_t i = 0; i < l->count; i++) {
        sprout *s = &l->sprouts[i];
        const uint32_t parent = s->parent == MG_ROUTE_NONE ? MG_ROUTE_NONE : l->sprouts[s->parent].at;
        const uint32_t hash = s->by_text ? mg_route_hash(r->seed, parent, s->text.p, s->text.n) : 0;
        mg_route_node node = {
            .parent = parent, .hash = hash, .end = s->end, .rest = s->rest, .prefix = s->prefix
        };

        node.param = MG_ROUTE_NONE;
        node.text_n = (uint32_t)s->text.n;
        node.has_text_children = s->has_text_children;
        if (s->text.n > MG_NODE_INLINE)
            node.text.p = s->text.p;
        else if (s->by_text)
            memcpy(node.text.bytes, s->text.p, s->text.n);
        s->at = s->by_text ? free_place(r, hash) : beyond++;
        r->nodes[s->at] = node;
        if (!s->by_text && parent != MG_ROUTE_NONE)
            r->nodes[parent].param = s->at;
    }
    for (uint32_t i = 0; i < r->class_count; i++) {
        if (r->classes[i].root == MG_ROUTE_NONE)
            continue;
        MG_CHECK(l->sprouts && r->classes[i].root < l->count);
        r->classes[i].root = l->sprouts[r->classes[i].root].at;
    }
}

/* The path of a draft that has text only, as requests have it. */
static mg_str whole_text(mg_arena *arena, const mg_route_draft *d)
{
    size_t n = 0;
    char *p;

    for (unsigned i = 0; i < d->segment_count; i++)
        n += 1 + d->segments[i].text.n;
    p = mg_arena_bytes(arena, n);
    n = 0;
    for (unsigned i = 0; i < d->segment_count; i++) {
        p[n++] = '/';
        memcpy(p + n, d->segments[i].text.p, d->segments[i].text.n);
        n += d->segments[i].text.n;
    }
    return mg_str_make(p, n);
}

static void lay_wholes(layout *l, mg_router_builder *b)
{
    mg_router *r = l->router;
    const uint32_t size = table_size(l->whole_count);

    r->whole_mask = size - 1;
    r->wholes = aligned_alloc(64, size * sizeof(*r->wholes));
    MG_CHECK(r->wholes);
    for (uint32_t i = 0; i < size; i++)
        r->wholes[i].class_id = MG_ROUTE_NONE;
    for (uint32_t i = 0; i < b->count; i++) {
        const mg_route_draft *d = &b->drafts[i];
        mg_route_whole whole = { .class_id = r->patterns[i].class_id, .leaf = i };
        uint32_t at;
        mg_str path;

        if (!is_whole(d) || (i && same_shape(d - 1, d)))
            continue;
        path = whole_text(&b->arena, d);
        whole.hash = mg_route_hash(r->seed, whole.class_id, path.p, path.n);
        whole.path_n = (uint32_t)path.n;
        if (path.n <= MG_WHOLE_INLINE)
            memcpy(whole.path.bytes, path.p, path.n);
        else
            whole.path.p = path.p;
        for (at = whole.hash & r->whole_mask; r->wholes[at].class_id != MG_ROUTE_NONE;
             at = (at + 1) & r->whole_mask)
            ;
        r->wholes[at] = whole;
    }
}

static void lay_classes(mg_router *r)
{
    const uint32_t size = table_size(r->class_count);

    r->class_mask = size - 1;
    r->class_table = MG_NEW_N(uint32_t, size);
    r->any_class = MG_ROUTE_NONE;
    for (uint32_t i = 0; i < size; i++)
        r->class_table[i] = MG_ROUTE_NONE;
    for (uint32_t i = 0; i < r->class_count; i++) {
        const mg_str host = r->classes[i].host;
        uint32_t at = mg_route_hash(r->seed, 0, host.p, host.n) & r->class_mask;

        if (host.n == 0) {
            r->any_class = i;
            continue;
        }
        r->has_hosts = true;
        while (r->class_table[at] != MG_ROUTE_NONE)
            at = (at + 1) & r->class_mask;
        r->class_table[at] = i;
    }
}

mg_router *mg_router_build(mg_router_builder *builder, mg_report *report)
{
    layout l = { .router = NULL };
    mg_router *r;

    if (builder->count)
        qsort(builder->drafts, builder->count, sizeof(*builder->drafts), draft_cmp);
    find_conflicts(builder, report);
    if (builder->failed)
        return NULL;
    l.router = r = MG_NEW(mg_router);
    r->seed = builder->seed;
    r->count = (uint32_t)builder->count;
    r->leaves = MG_NEW_N(mg_route_leaf, builder->count + 1);
    r->patterns = MG_NEW_N(mg_route_pattern, builder->count + 1);
    r->classes = MG_NEW_N(mg_route_class, builder->count + 1);
    lay_leaves(&l, builder);
    lay_trie(&l);
    lay_wholes(&l, builder);
    lay_classes(r);
    mg_free(l.sprouts);
    r->own = builder->own;
    r->arena = builder->arena; /* the texts move with it */
    mg_arena_init(&builder->arena, NULL, 0);
    builder->count = 0;
    builder->own.count = 0;
    return r;
}

size_t mg_router_bytes(const mg_router *r)
{
    return r->arena.used + malloc_usable_size(r->nodes) + malloc_usable_size(r->wholes) +
           (r->count + 1) * (sizeof *r->leaves + sizeof *r->patterns) +
           (r->class_count + 1) * sizeof *r->classes + (r->class_mask + 1) * sizeof *r->class_table;
}

void mg_router_free(mg_router *router)
{
    if (!router)
        return;
    mg_arena_fini(&router->arena);
    free(router->nodes);
    free(router->wholes);
    mg_free(router->leaves);
    mg_free(router->patterns);
    mg_free(router->classes);
    mg_free(router->class_table);
    mg_free(router);
}
