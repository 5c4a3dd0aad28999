/* router.h - host, path and method to a route (docs/policies.md 3). Built once, then only read, from any
 * thread, without a lock and without allocating.
 *
 * Match order: the host classes of a request are its exact name, then `*.suffix` from the longest, then `*`;
 * the first class in which any pattern matches the path is the one that answers. Within a class patterns
 * compare segment by segment: text, {name}, {*name}, then a prefix; then the higher priority, then the
 * earlier route. A route that keeps slashes is matched with the path that has them all, the others with the
 * one that has them merged; the order is the same for both. */
#ifndef MG_POLICY_ROUTER_H
#define MG_POLICY_ROUTER_H

#include "base/err.h"
#include "base/str.h"

enum {
    MG_ROUTE_PARAMS_MAX = 32,       /* in one path */
    MG_ROUTE_SEGMENTS_MAX = 64,     /* in one path */
    MG_ROUTE_PATH_BYTES_MAX = 4096, /* of one path in the configuration */
    MG_ROUTE_NAME_BYTES_MAX = 64,   /* of a parameter's name */
    MG_ROUTE_HOST_BYTES_MAX = 253,
    MG_ROUTE_HEADERS_MAX = 32,        /* wanted by one route */
    MG_ROUTER_PATTERNS_MAX = 1 << 20, /* hosts x paths over all routes */
    MG_ROUTE_METHOD_BYTES_MAX = 32,
    MG_ROUTE_OWN_METHODS_MAX = 54, /* in one router, beside the nine standard ones */
};

typedef struct mg_router mg_router;
typedef struct mg_router_builder mg_router_builder;

typedef struct mg_route_path {
    mg_str text;
    bool prefix; /* `prefix: /p`; else a template */
} mg_route_path;

typedef struct mg_route_header {
    mg_str name;  /* lower-case */
    mg_str value; /* equal byte by byte */
} mg_route_header;

/* One route as configured. Everything is copied by add. */
typedef struct mg_route_spec {
    mg_str name;
    const mg_str *hosts; /* name, *.suffix or *; none = * */
    size_t host_count;
    const mg_route_path *paths;
    size_t path_count;
    const mg_str
        *methods; /* tokens, case-sensitive; "*" = any; none = the standard ones and all that are named */
    size_t method_count;
    const mg_route_header *headers;
    size_t header_count;
    int priority;       /* -1000..1000 */
    bool keeps_slashes; /* matched with the query's `slashed` */
} mg_route_spec;

typedef enum mg_route_part {
    MG_ROUTE_PART_WHOLE,
    MG_ROUTE_PART_HOST,
    MG_ROUTE_PART_PATH,
    MG_ROUTE_PART_METHOD,
    MG_ROUTE_PART_HEADER,
    MG_ROUTE_PART_PRIORITY,
} mg_route_part;

/* Called for each finding, so that the configuration can say in which line it stands: the route's index as
 * given to add, the part, and which one of its list. */
typedef void mg_route_place(void *self, uint32_t index, mg_route_part part, size_t item, mg_finding *finding);

/* `seed` keys the hash tables. `place` may be NULL: findings then carry "routes[index].match.paths[item]"
 * alone. */
mg_router_builder *mg_router_builder_new(uint64_t seed, mg_route_place *place, void *self);
void mg_router_builder_free(mg_router_builder *builder);
/* `route` is what matches hand out (borrowed, may not be NULL), `index` its place in the configuration: the
 * order that breaks ties, and the name of the route in findings. False when something was found. */
bool mg_router_add(mg_router_builder *builder, const mg_route_spec *spec, void *route, uint32_t index,
                   mg_report *report);
/* NULL when the report holds an error of this builder's: a bad route, or two that no request could tell
 * apart, which are named together with a request both would match. Empties the builder, which is still to be
 * freed. */
mg_router *mg_router_build(mg_router_builder *builder, mg_report *report);
size_t mg_router_bytes(const mg_router *router); /* about what it has in memory */
void mg_router_free(mg_router *router);          /* NULL is fine */

/* A request. `header` finds one by its lower-case name; it may be NULL when there are none. */
typedef struct mg_route_query {
    mg_str host;   /* lower-case, no port, no trailing dot */
    mg_str path;   /* normalised: begins with "/", no query; anything else matches nothing */
    mg_str method; /* as sent */
    bool (*header)(void *self, mg_str name, mg_str *value);
    void *self;
    mg_str slashed; /* the path with the slashes that were merged in it; absent when none were */
} mg_route_query;

/* Valid as long as the router and the query's path are. */
typedef struct mg_route_match {
    void *route;                        /* 200 */
    uint32_t index;                     /* 200 */
    uint32_t param_count;               /* 200 */
    const mg_str *names;                /* param_count of them, the router's */
    mg_str values[MG_ROUTE_PARAMS_MAX]; /* slices of the path that the route matched, still percent-encoded */
    uint64_t allowed;                   /* 405: for mg_router_allow */
} mg_route_match;

/* 200, 404, 405 or 501. HEAD uses GET's routes; OPTIONS with Access-Control-Request-Method matches as that
 * method, if it is known. A method is known that is standard or that some route names; another one reaches
 * routes for "*" alone, and is 501 where there are none of these, whatever the path is: so it comes to no
 * less specific route past the one that was meant. */
int mg_router_match(const mg_router *router, const mg_route_query *query, mg_route_match *out);
/* Behind a 405: adds what Allow says, "GET,HEAD,PUT", sorted. */
void mg_router_allow(const mg_router *router, const mg_route_match *match, mg_text *out);

typedef enum mg_route_verdict {
    MG_ROUTE_MATCHES,
    MG_ROUTE_NOT_REACHED, /* its host and path fit, but `rank_before` stands before it */
    MG_ROUTE_OTHER_HOST,
    MG_ROUTE_OTHER_PATH,
    MG_ROUTE_OTHER_METHOD,
    MG_ROUTE_OTHER_HEADER, /* `header` differs: `wanted`, and `got`, which is absent when got.p is NULL */
} mg_route_verdict;

/* One pattern, that is one host and path of a route, in match order. */
typedef struct mg_route_line {
    uint32_t rank; /* from 1 */
    void *route;
    uint32_t index;
    mg_str name, host; /* host: "*" where any */
    mg_str path;       /* as configured */
    bool prefix, keeps_slashes;
    int priority;
    /* The rest is explain's. */
    mg_route_verdict verdict;
    uint32_t rank_before;
    mg_str header, wanted, got;
} mg_route_line;

typedef void mg_route_line_fn(void *self, const mg_route_line *line);

/* Every pattern in match order. */
void mg_router_list(const mg_router *router, mg_route_line_fn *fn, void *self);
/* Matches as mg_router_match does and by the same code, and tells for every pattern what became of it.
 * Allocates; for people, not for traffic. */
int mg_router_explain(const mg_router *router, const mg_route_query *query, mg_route_match *out,
                      mg_route_line_fn *fn, void *self);

#endif
