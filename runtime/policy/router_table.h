/* router_table.h - what the builder makes and the matcher reads. Nobody but router*.c includes it.
 *
 * Paths of text alone stand in a hash table by host class and whole path. All other patterns stand in a trie
 * a class, one node a segment; a node is one cache line and a child of text is one probe, keyed by its parent
 * and its text. Leaves stand in match order, so that a leaf's place is its rank. One thread builds; then any
 * thread reads. */
#ifndef MG_POLICY_ROUTER_TABLE_H
#define MG_POLICY_ROUTER_TABLE_H

#include "base/arena.h"
#include "policy/router.h"

#define MG_ROUTE_NONE UINT32_MAX

enum {
    MG_METHODS = 9,
    MG_METHOD_GET = 2, /* places in mg_route_methods */
    MG_METHOD_HEAD = 3,
    MG_METHOD_OPTIONS = 4,
    MG_METHOD_OTHER =
        MG_METHODS + MG_ROUTE_OWN_METHODS_MAX, /* any that is not known; own ones stand before it */
    MG_NODE_INLINE = 32,
    MG_WHOLE_INLINE = 48,
};

/* Sets of methods, as bits by place. */
#define MG_METHOD_BIT(place) (UINT64_C(1) << (place))
#define MG_METHODS_ALL       (MG_METHOD_BIT(MG_METHOD_OTHER) | MG_METHODS_KNOWN)
#define MG_METHODS_KNOWN     (MG_METHOD_BIT(MG_METHOD_OTHER) - 1)

extern const mg_str mg_route_methods[MG_METHODS]; /* sorted */

/* Methods that are named and not standard, by place from MG_METHODS on. */
typedef struct mg_own_methods {
    mg_str names[MG_ROUTE_OWN_METHODS_MAX]; /* arena */
    unsigned count;
} mg_own_methods;

/* The method's place, MG_METHOD_OTHER when it has none. */
unsigned mg_route_method(const mg_own_methods *own, mg_str name);

typedef enum mg_segment_kind {
    MG_SEGMENT_TEXT,
    MG_SEGMENT_PARAM,
    MG_SEGMENT_REST,
    MG_SEGMENT_PREFIX
} mg_segment_kind;

typedef struct mg_segment {
    mg_segment_kind kind;
    mg_str text; /* TEXT: normalised; PARAM and REST: the name; PREFIX, always last: nothing */
} mg_segment;

/* One pattern as a request may reach it; a list of those of one shape ends with `last`. */
typedef struct mg_route_leaf {
    void *route; /* borrowed */
    const mg_str *names;
    const mg_route_header *headers;
    uint64_t methods; /* bits by place */
    uint32_t index;
    uint8_t param_count, header_count;
    bool last, keeps_slashes;
} mg_route_leaf;

/* A host class: an exact name, a suffix (with its dot in front), or any. */
typedef struct mg_route_class {
    mg_str host;   /* empty = any */
    uint32_t root; /* node, or MG_ROUTE_NONE: no pattern but whole paths */
    uint32_t id;   /* its place; keys the whole paths */
    bool has_whole;
} mg_route_class;

typedef struct mg_route_node {
    uint32_t parent; /* node; MG_ROUTE_NONE in an empty place */
    uint32_t hash;
    uint32_t param;             /* the child for {name} */
    uint32_t end, rest, prefix; /* first leaves */
    uint32_t text_n;
    bool has_text_children;
    union {
        char bytes[MG_NODE_INLINE];
        const char *p;
    } text;
} mg_route_node;

typedef struct mg_route_whole {
    uint32_t class_id; /* MG_ROUTE_NONE in an empty place */
    uint32_t hash;
    uint32_t leaf;
    uint32_t path_n;
    union {
        char bytes[MG_WHOLE_INLINE];
        const char *p;
    } path;
} mg_route_whole;

/* What people are shown of a pattern. */
typedef struct mg_route_pattern {
    mg_str name, host, path;
    bool prefix;
    int priority;
    uint32_t class_id;
} mg_route_pattern;

struct mg_router {
    mg_arena arena; /* owns all texts */
    uint64_t seed;
    uint32_t count; /* of leaves and of patterns */
    mg_route_leaf *leaves;
    mg_route_pattern *patterns;
    mg_route_node *nodes; /* the first node_mask + 1 are the hash table, the others are reached by number */
    uint32_t node_mask;
    mg_route_whole *wholes;
    uint32_t whole_mask;
    mg_route_class *classes;
    uint32_t class_count, any_class; /* any_class may be MG_ROUTE_NONE */
    uint32_t *class_table;           /* of places in classes, by host */
    uint32_t class_mask;
    bool has_hosts, keeps_slashes; /* some leaf does */
    bool takes_unknown;            /* some route is for "*" */
    mg_own_methods own;
};

static inline uint64_t mg_route_fold(uint64_t a, uint64_t b)
{
    const unsigned __int128 product = (unsigned __int128)a * b;

    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t mg_route_load(const char *p, size_t bytes)
{
    uint64_t value = 0;

    memcpy(&value, p, bytes);
    return value;
}

/* -1 when it is no hexadecimal digit. */
static inline int mg_route_hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = mg_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Keyed, and quick on short texts: eight bytes a multiplication. Who chooses paths fills no table here; it
 * takes no more than a good spread. */
static inline uint32_t mg_route_hash(uint64_t seed, uint32_t parent, const char *p, size_t n)
{
    uint64_t h = seed ^ (parent + 1ull) * 0x9e3779b97f4a7c15ull, tail;
    size_t left = n;

    for (; left >= 8; p += 8, left -= 8)
        h = mg_route_fold(h ^ mg_route_load(p, 8), 0xff51afd7ed558ccdull);
    if (left >= 4)
        tail = mg_route_load(p, 4) | mg_route_load(p + left - 4, 4) << 32;
    else
        tail = left ? (uint64_t)(uint8_t)p[0] | (uint64_t)(uint8_t)p[left >> 1] << 8 |
                          (uint64_t)(uint8_t)p[left - 1] << 16
                    : 0;
    return (uint32_t)mg_route_fold(h ^ tail, 0xc4ceb9fe1a85ec53ull ^ n);
}

/* What is wrong with a part of a route. */
typedef struct mg_route_fault {
    const char *code;
    char message[256];
    char hint[256];
} mg_route_fault;

typedef struct mg_route_template {
    mg_segment segments[MG_ROUTE_SEGMENTS_MAX + 1]; /* one more for PREFIX */
    unsigned segment_count, param_count;
} mg_route_template;

/* Texts go to the arena. False with `fault` filled when it is not a path of the router's. */
bool mg_route_template_parse(mg_arena *arena, const mg_route_path *path, bool keeps_slashes,
                             mg_route_template *out, mg_route_fault *fault);
/* The host in lower case; a suffix keeps its dot and loses its star; any host is empty. */
bool mg_route_host_parse(mg_arena *arena, mg_str host, mg_str *out, mg_route_fault *fault);

/* One host and path of a route. Texts are the arena's. */
typedef struct mg_route_draft {
    void *route;
    mg_str name, host_text, path_text;
    mg_str host; /* as in mg_route_class */
    bool prefix, keeps_slashes;
    uint32_t index, path_item, sequence;
    int priority;
    uint64_t methods;
    uint8_t header_count, param_count;
    uint16_t segment_count;
    const mg_route_header *headers;
    mg_segment *segments;
    mg_str *names;
} mg_route_draft;

struct mg_router_builder {
    mg_arena arena;
    uint64_t seed;
    mg_route_place *place;
    void *self;
    mg_route_draft *drafts; /* owned */
    size_t count, cap;
    mg_own_methods own;
    bool failed;
};

/* router_check.c: adds a finding with its place; false, for the caller to return. */
bool mg_route_complain(mg_router_builder *b, mg_report *report, uint32_t index, mg_route_part part,
                       size_t item, const mg_route_fault *fault);

#endif
