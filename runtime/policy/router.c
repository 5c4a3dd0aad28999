/* router.c - the walk over what router_build.c made. A trie node belongs to one depth of the path, so a walk
 * visits none twice, however much it goes back. */
#include "policy/router_table.h"

#include "base/mem.h"

#include <stdlib.h>

enum { LARGE = 1 << 16 /* nodes: more than the caches next to a core hold */ };

const mg_str mg_route_methods[MG_METHODS] = {
    { "CONNECT", 7 }, { "DELETE", 6 }, { "GET", 3 }, { "HEAD", 4 },  { "OPTIONS", 7 },
    { "PATCH", 5 },   { "POST", 4 },   { "PUT", 3 }, { "TRACE", 5 },
};

unsigned mg_route_method(const mg_own_methods *own, mg_str name)
{
    for (unsigned i = 0; i < MG_METHODS; i++) {
        if (mg_str_eq(mg_route_methods[i], name))
            return i;
    }
    for (unsigned i = 0; i < own->count; i++) {
        if (mg_str_eq(own->names[i], name))
            return MG_METHODS + i;
    }
    return MG_METHOD_OTHER;
}

/* What explain wants to know of a leaf. */
typedef struct note {
    mg_route_verdict verdict;
    uint32_t before;
    const mg_route_header *header;
    mg_str got;
} note;

/* Which leaves a walk looks at: all, or those that match the path it goes by. */
typedef enum path_form { FORM_ONLY, FORM_MERGED, FORM_SLASHED } path_form;

typedef struct walk {
    const mg_router *router;
    const mg_route_query *query;
    mg_route_match *out;
    mg_str path;
    path_form form;
    uint32_t taken; /* the leaf that `out` is of */
    mg_str *values; /* parameters so far: the match's, or a recorder's own, for it goes on after the winner */
    const char *path_end;
    uint64_t methods; /* bits of those that would do */
    uint64_t allowed; /* methods of the paths that matched */
    bool path_matched;
    bool header_failed; /* so that 405 would promise too much */
    /* The recorder: NULL in traffic. */
    note *notes;
    uint32_t first;  /* the first leaf of this class that was noted, or MG_ROUTE_NONE */
    uint32_t winner; /* MG_ROUTE_NONE while there is none */
} walk;

static const mg_route_header *missing_header(const walk *w, const mg_route_leaf *leaf, mg_str *got)
{
    for (unsigned i = 0; i < leaf->header_count; i++) {
        *got = MG_STR_NONE;
        if (!w->query->header || !w->query->header(w->query->self, leaf->headers[i].name, got))
            return &leaf->headers[i];
        if (!mg_str_eq(leaf->headers[i].value, *got))
            return &leaf->headers[i];
    }
    return NULL;
}

static void take_leaf(walk *w, const mg_route_leaf *leaf)
{
    w->taken = (uint32_t)(leaf - w->router->leaves);
    w->out->route = leaf->route;
    w->out->index = leaf->index;
    w->out->names = leaf->names;
    w->out->param_count = leaf->param_count;
    if (w->values != w->out->values)
        memcpy(w->out->values, w->values, leaf->param_count * sizeof(mg_str));
}

static void record(walk *w, uint32_t at, note seen)
{
    if (w->first == MG_ROUTE_NONE || at < w->first)
        w->first = at;
    w->notes[at] = seen;
}

/* Goes through the leaves of one shape, whose path the request has; true when the walk is over. A recorder
 * never ends it: what comes after the winner is noted as not reached. */
static bool offer(walk *w, uint32_t at)
{
    const mg_route_leaf *leaf = &w->router->leaves[at];

    for (;; leaf++, at++) {
        const mg_route_header *missing = NULL;
        mg_str got;

        if (__builtin_expect(w->form != FORM_ONLY && leaf->keeps_slashes != (w->form == FORM_SLASHED), 0)) {
            if (leaf->last)
                return false;
            continue;
        }
        w->path_matched = true;
        if (__builtin_expect(w->notes && w->winner != MG_ROUTE_NONE, 0)) {
            record(w, at, (note){ .verdict = MG_ROUTE_NOT_REACHED, .before = w->winner });
        } else if (!(leaf->methods & w->methods)) {
            w->allowed |= leaf->methods;
            if (w->notes)
                record(w, at, (note){ .verdict = MG_ROUTE_OTHER_METHOD });
        } else if (leaf->header_count && (missing = missing_header(w, leaf, &got))) {
            w->header_failed = true;
            if (w->notes)
                record(w, at, (note){ .verdict = MG_ROUTE_OTHER_HEADER, .header = missing, .got = got });
        } else {
            take_leaf(w, leaf);
            if (!w->notes)
                return true;
            record(w, at, (note){ .verdict = MG_ROUTE_MATCHES });
            w->winner = at;
        }
        if (leaf->last)
            return false;
    }
}

/* Where the path's next segment ends. */
static const char *segment_end(const char *segment, const char *path_end)
{
    const char *stop = memchr(segment, '/', (size_t)(path_end - segment));

    return stop ? stop : path_end;
}

static const char *node_text(const mg_route_node *node)
{
    return node->text_n <= MG_NODE_INLINE ? node->text.bytes : node->text.p;
}

static uint32_t child_of_text(const mg_router *r, uint32_t parent, uint32_t hash, const char *text, size_t n)
{
    for (uint32_t at = hash & r->node_mask;; at = (at + 1) & r->node_mask) {
        const mg_route_node *node = &r->nodes[at];

        if (node->parent == MG_ROUTE_NONE)
            return MG_ROUTE_NONE;
        if (node->hash == hash && node->parent == parent && node->text_n == n &&
            memcmp(node_text(node), text, n) == 0)
            return at;
    }
}

/* `at` is the slash before the next segment, or the end. What a turn that came to nothing wrote to `values`
 * is overwritten or stands beyond the count of whoever wins. */
static bool descend(walk *w, uint32_t number, const char *at, unsigned params)
{
    const mg_route_node *node = &w->router->nodes[number];
    const mg_router *r = w->router;
    const char *segment, *stop;
    uint32_t child, hash;

    if (at == w->path_end) {
        if (node->end != MG_ROUTE_NONE && offer(w, node->end))
            return true;
        return node->prefix != MG_ROUTE_NONE && offer(w, node->prefix);
    }
    segment = at + 1;
    stop = segment_end(segment, w->path_end);
    hash = mg_route_hash(r->seed, number, segment, (size_t)(stop - segment));
    __builtin_prefetch(&r->nodes[hash & r->node_mask]); /* while the node itself is on its way */
    __builtin_prefetch(&r->nodes[number + 1]);          /* the next parameter's, if this is one */
    if (node->has_text_children) {
        child = child_of_text(r, number, hash, segment, (size_t)(stop - segment));
        if (child != MG_ROUTE_NONE && descend(w, child, stop, params))
            return true;
    }
    if (node->param != MG_ROUTE_NONE && stop > segment) {
        w->values[params] = mg_str_make(segment, (size_t)(stop - segment));
        if (descend(w, node->param, stop, params + 1))
            return true;
    }
    if (node->rest != MG_ROUTE_NONE && segment < w->path_end) {
        w->values[params] = mg_str_make(segment, (size_t)(w->path_end - segment));
        if (offer(w, node->rest))
            return true;
    }
    return node->prefix != MG_ROUTE_NONE && offer(w, node->prefix);
}

/* Of a large router, the places that a walk will come to are asked for while the whole path is looked up. The
 * first segment's is seldom cold: there are few of those. */
static void expect_walk(const walk *w, uint32_t root)
{
    const mg_router *r = w->router;
    const char *segment = w->path.p + 1, *stop = segment_end(segment, w->path_end), *next;
    const size_t n = (size_t)(stop - segment);
    uint32_t child;

    if (stop == w->path_end)
        return;
    child = child_of_text(r, root, mg_route_hash(r->seed, root, segment, n), segment, n);
    if (child == MG_ROUTE_NONE)
        return;
    next = stop + 1;
    stop = segment_end(next, w->path_end);
    __builtin_prefetch(&r->nodes[mg_route_hash(r->seed, child, next, (size_t)(stop - next)) & r->node_mask]);
}

static uint32_t whole_path(const mg_router *r, uint32_t class_id, uint32_t hash, mg_str path)
{
    for (uint32_t at = hash & r->whole_mask;; at = (at + 1) & r->whole_mask) {
        const mg_route_whole *whole = &r->wholes[at];

        if (whole->class_id == MG_ROUTE_NONE)
            return MG_ROUTE_NONE;
        if (whole->hash == hash && whole->class_id == class_id && whole->path_n == path.n &&
            memcmp(path.n <= MG_WHOLE_INLINE ? whole->path.bytes : whole->path.p, path.p, path.n) == 0)
            return whole->leaf;
    }
}

static bool walk_class(walk *w, const mg_route_class *class)
{
    const mg_str path = w->path;
    uint32_t leaf;

    if (path.n == 0 || path.p[0] != '/')
        return false;
    if (class->has_whole) {
        /* Text in every segment: nothing in the trie stands before it. */
        const uint32_t hash = mg_route_hash(w->router->seed, class->id, path.p, path.n);

        __builtin_prefetch(&w->router->wholes[hash & w->router->whole_mask]);
        __builtin_prefetch(&w->router->wholes[(hash + 1) & w->router->whole_mask]); /* where it looks next */
        if (class->root != MG_ROUTE_NONE && w->router->node_mask >= LARGE)
            expect_walk(w, class->root);
        leaf = whole_path(w->router, class->id, hash, path);
        if (leaf != MG_ROUTE_NONE && offer(w, leaf))
            return true;
    }
    if (class->root == MG_ROUTE_NONE)
        return false;
    return descend(w, class->root, path.p, 0);
}

static void choose_form(walk *w, path_form form)
{
    w->form = form;
    w->path = form == FORM_SLASHED ? w->query->slashed : w->query->path;
    w->path_end = w->path.p + w->path.n;
}

/* A path of two forms: each finds what it matches, and the one that stands first in match order has it. */
static bool walk_class_twice(walk *w, const mg_route_class *class)
{
    mg_route_match merged;
    bool matched;
    uint32_t taken;

    choose_form(w, FORM_MERGED);
    matched = walk_class(w, class);
    merged = *w->out;
    taken = w->taken;
    choose_form(w, FORM_SLASHED);
    if (walk_class(w, class) && (!matched || w->taken < taken))
        return true;
    *w->out = merged;
    return matched;
}

static bool has_two_forms(const mg_router *r, const mg_route_query *query)
{
    return r->keeps_slashes && query->slashed.p;
}

static bool try_class(walk *w, const mg_route_class *class)
{
    if (__builtin_expect(w->form != FORM_ONLY, 0))
        return walk_class_twice(w, class);
    return walk_class(w, class);
}

/* Of two leaves that match, each a form of the path, the first has the request, and whatever stands behind it
 * is not reached. `merged` and `match` are what the merged form found, w->winner and w->out what the other
 * did. */
static void record_first(walk *w, uint32_t merged, const mg_route_match *match)
{
    const uint32_t lost = merged < w->winner ? w->winner : merged; /* MG_ROUTE_NONE is the largest */

    if (merged < w->winner) {
        w->winner = merged;
        *w->out = *match;
    }
    if (lost == MG_ROUTE_NONE)
        return;
    w->notes[lost] = (note){ .verdict = MG_ROUTE_NOT_REACHED, .before = w->winner };
    for (uint32_t i = 0; i < w->router->count; i++)
        if (w->notes[i].before == lost)
            w->notes[i].before = w->winner;
}

static void record_class(walk *w, const mg_route_class *class)
{
    const uint32_t before = w->winner; /* of a class above, if any: then nothing of this one is reached */
    mg_route_match match;
    uint32_t merged;

    w->first = MG_ROUTE_NONE;
    if (w->form == FORM_ONLY) {
        (void)walk_class(w, class);
        return;
    }
    choose_form(w, FORM_MERGED);
    (void)walk_class(w, class);
    merged = w->winner;
    match = *w->out;
    w->winner = before;
    choose_form(w, FORM_SLASHED);
    (void)walk_class(w, class);
    if (before == MG_ROUTE_NONE)
        record_first(w, merged, &match);
}

static const mg_route_class *class_of(const mg_router *r, mg_str host)
{
    const uint32_t hash = mg_route_hash(r->seed, 0, host.p, host.n);

    for (uint32_t at = hash & r->class_mask;; at = (at + 1) & r->class_mask) {
        const uint32_t number = r->class_table[at];

        if (number == MG_ROUTE_NONE)
            return NULL;
        if (mg_str_eq(r->classes[number].host, host))
            return &r->classes[number];
    }
}

/* The host classes of a request from the most to the least specific; start with *at = 0. NULL after the last.
 */
static const mg_route_class *next_class(const mg_router *r, mg_str host, size_t *at)
{
    const size_t end = r->has_hosts && host.n <= MG_ROUTE_HOST_BYTES_MAX ? host.n : 0;
    const mg_route_class *class;

    if (*at == SIZE_MAX)
        return NULL;
    if (*at == 0) {
        *at = 1;
        if (end && host.p[0] != '.' && (class = class_of(r, host)))
            return class;
    }
    while (*at < end) {
        const mg_str suffix = mg_str_make(host.p + *at, host.n - *at);

        *at += 1;
        if (suffix.p[0] == '.' && (class = class_of(r, suffix)))
            return class;
    }
    *at = SIZE_MAX;
    return r->any_class == MG_ROUTE_NONE ? NULL : &r->classes[r->any_class];
}

/* None: nobody takes that method. */
static uint64_t wanted_methods(const mg_router *r, const mg_route_query *q)
{
    unsigned method = mg_route_method(&r->own, q->method);
    mg_str asked;

    if (method == MG_METHOD_OTHER && !r->takes_unknown)
        return 0;
    if (method == MG_METHOD_OPTIONS && q->header &&
        q->header(q->self, MG_STR("access-control-request-method"), &asked)) {
        const unsigned wanted = mg_route_method(&r->own, asked);
        method = wanted == MG_METHOD_OTHER && !r->takes_unknown ? method : wanted;
    }
    return MG_METHOD_BIT(method) | (method == MG_METHOD_HEAD ? MG_METHOD_BIT(MG_METHOD_GET) : 0);
}

static int text_cmp(const void *a, const void *b)
{
    return mg_str_cmp(*(const mg_str *)a, *(const mg_str *)b);
}

void mg_router_allow(const mg_router *router, const mg_route_match *match, mg_text *out)
{
    mg_str names[MG_METHODS + MG_ROUTE_OWN_METHODS_MAX];
    uint64_t allowed = match->allowed;
    size_t count = 0;

    if (allowed & MG_METHOD_BIT(MG_METHOD_GET))
        allowed |= MG_METHOD_BIT(MG_METHOD_HEAD);
    for (unsigned i = 0; i < MG_METHODS; i++)
        if (allowed & MG_METHOD_BIT(i))
            names[count++] = mg_route_methods[i];
    for (unsigned i = 0; i < router->own.count; i++)
        if (allowed & MG_METHOD_BIT(MG_METHODS + i))
            names[count++] = router->own.names[i];
    qsort(names, count, sizeof *names, text_cmp);
    for (size_t i = 0; i < count; i++) {
        mg_text_add_c(out, i ? "," : "");
        mg_text_add(out, names[i]);
    }
}

static int missed(const walk *w)
{
    if (!w->path_matched || w->header_failed)
        return 404;
    w->out->allowed = w->allowed;
    return 405;
}

int mg_router_match(const mg_router *router, const mg_route_query *query, mg_route_match *out)
{
    walk w = { .router = router, .query = query, .out = out, .values = out->values, .winner = MG_ROUTE_NONE };
    const mg_route_class *class;
    size_t at = 0;

    choose_form(&w, has_two_forms(router, query) ? FORM_MERGED : FORM_ONLY);
    w.methods = wanted_methods(router, query);
    if (!w.methods)
        return 501;
    while (!w.path_matched && (class = next_class(router, query->host, &at))) {
        if (try_class(&w, class))
            return 200;
    }
    return missed(&w);
}

static mg_route_line line_of(const mg_router *r, uint32_t at)
{
    const mg_route_pattern *p = &r->patterns[at];

    return (mg_route_line){ .rank = at + 1,
                            .route = r->leaves[at].route,
                            .index = r->leaves[at].index,
                            .name = p->name,
                            .host = p->host,
                            .path = p->path,
                            .prefix = p->prefix,
                            .keeps_slashes = r->leaves[at].keeps_slashes,
                            .priority = p->priority };
}

void mg_router_list(const mg_router *router, mg_route_line_fn *fn, void *self)
{
    for (uint32_t i = 0; i < router->count; i++) {
        const mg_route_line line = line_of(router, i);

        fn(self, &line);
    }
}

/* Goes through all classes of the host with a recorder. What stands in a class after the answering one is not
 * reached. */
static int walk_recorded(walk *w, bool *class_fits)
{
    const mg_route_class *class;
    uint32_t answered_by = MG_ROUTE_NONE;
    size_t at = 0;
    int status = 404;

    while ((class = next_class(w->router, w->query->host, &at))) {
        class_fits[class->id] = true;
        if (answered_by != MG_ROUTE_NONE && w->winner == MG_ROUTE_NONE)
            w->winner = answered_by;
        record_class(w, class);
        if (answered_by == MG_ROUTE_NONE && w->path_matched) {
            answered_by = w->winner != MG_ROUTE_NONE ? w->winner : w->first;
            status = w->winner != MG_ROUTE_NONE ? 200 : missed(w);
        }
    }
    return status;
}

int mg_router_explain(const mg_router *router, const mg_route_query *query, mg_route_match *out,
                      mg_route_line_fn *fn, void *self)
{
    mg_str values[MG_ROUTE_PARAMS_MAX];
    walk w = { .router = router, .query = query, .out = out, .values = values, .winner = MG_ROUTE_NONE };
    bool *class_fits = MG_NEW_N(bool, router->class_count + 1);
    int status;

    choose_form(&w, has_two_forms(router, query) ? FORM_MERGED : FORM_ONLY);
    w.methods = wanted_methods(router, query);
    w.notes = MG_NEW_N(note, router->count + 1);
    for (uint32_t i = 0; i < router->count; i++)
        w.notes[i] = (note){ .verdict = MG_ROUTE_OTHER_PATH, .before = MG_ROUTE_NONE };
    status = walk_recorded(&w, class_fits);
    if (!w.methods)
        status = 501;
    for (uint32_t i = 0; i < router->count; i++) {
        mg_route_line line = line_of(router, i);

        line.verdict = class_fits[router->patterns[i].class_id] ? w.notes[i].verdict : MG_ROUTE_OTHER_HOST;
        if (line.verdict == MG_ROUTE_NOT_REACHED)
            line.rank_before = w.notes[i].before + 1;
        if (line.verdict == MG_ROUTE_OTHER_HEADER) {
            line.header = w.notes[i].header->name;
            line.wanted = w.notes[i].header->value;
            line.got = w.notes[i].got;
        }
        fn(self, &line);
    }
    mg_free(w.notes);
    mg_free(class_fits);
    return status;
}
