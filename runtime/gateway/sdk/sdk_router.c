/* sdk_router.c - policy/router for routes that a plugin keeps. */
#include "base/arena.h"
#include "base/check.h"
#include "base/mem.h"
#include "moongate.h"
#include "policy/router.h"

#include <stdio.h>

enum { ROUTES_MAX = 100000 };

typedef struct route {
    mg_str name;
    mg_str *hosts, *methods; /* heap arrays of arena text */
    mg_route_path *paths;
    size_t host_count, method_count, path_count;
} route;

struct mg_routes {
    mg_arena arena;
    route *routes; /* owned */
    size_t count, cap;
    mg_router *router; /* owned; NULL until built */
    mg_route_match match;
};

mg_routes *mg_routes_new(void)
{
    mg_routes *routes = MG_NEW(mg_routes);

    mg_arena_init(&routes->arena, NULL, 0);
    return routes;
}

void mg_routes_free(mg_routes *routes)
{
    if (!routes)
        return;
    for (size_t i = 0; i < routes->count; i++) {
        mg_free(routes->routes[i].hosts);
        mg_free(routes->routes[i].methods);
        mg_free(routes->routes[i].paths);
    }
    mg_free(routes->routes);
    mg_router_free(routes->router);
    mg_arena_fini(&routes->arena);
    mg_free(routes);
}

void mg_routes_begin(mg_routes *routes, const char *name, uint32_t n)
{
    if (routes->count == routes->cap) {
        routes->cap = routes->cap ? routes->cap * 2 : 16;
        routes->routes = mg_realloc(routes->routes, routes->cap * sizeof(route));
    }
    routes->routes[routes->count++] = (route){ .name = mg_arena_str(&routes->arena, mg_str_make(name, n)) };
}

static route *last(mg_routes *routes)
{
    MG_CHECK(routes->count > 0); /* sdk/router.lua begins each */
    return &routes->routes[routes->count - 1];
}

static void add(mg_routes *routes, mg_str **list, size_t *count, const char *text, uint32_t n)
{
    *list = mg_realloc(*list, (*count + 1) * sizeof(mg_str));
    (*list)[(*count)++] = mg_arena_str(&routes->arena, mg_str_make(text, n));
}

void mg_routes_host(mg_routes *routes, const char *host, uint32_t n)
{
    route *r = last(routes);

    add(routes, &r->hosts, &r->host_count, host, n);
}

void mg_routes_method(mg_routes *routes, const char *method, uint32_t n)
{
    route *r = last(routes);

    add(routes, &r->methods, &r->method_count, method, n);
}

void mg_routes_path(mg_routes *routes, const char *path, uint32_t n)
{
    route *r = last(routes);
    const bool prefix = n > 0 && path[n - 1] == '*';
    mg_str text = mg_str_make(path, prefix ? n - 1 : n);

    if (prefix && text.n > 1 && text.p[text.n - 1] == '/')
        text.n--;
    r->paths = mg_realloc(r->paths, (r->path_count + 1) * sizeof(mg_route_path));
    r->paths[r->path_count++] = (mg_route_path){ mg_arena_str(&routes->arena, text), prefix };
}

static bool add_all(mg_routes *routes, mg_router_builder *builder, mg_report *report)
{
    bool ok = true;

    for (size_t i = 0; i < routes->count; i++) {
        const route *r = &routes->routes[i];
        const mg_route_spec spec = { .name = r->name,
                                     .hosts = r->hosts,
                                     .host_count = r->host_count,
                                     .paths = r->paths,
                                     .path_count = r->path_count,
                                     .methods = r->methods,
                                     .method_count = r->method_count };

        ok = mg_router_add(builder, &spec, &routes->routes[i], (uint32_t)i, report) && ok;
    }
    return ok;
}

bool mg_routes_build(mg_routes *routes, char *error256)
{
    mg_report report = MG_REPORT_INIT;
    mg_router_builder *builder = mg_router_builder_new(0, NULL, NULL);

    if (routes->count > ROUTES_MAX)
        snprintf(error256, 256, "more than %d routes", ROUTES_MAX);
    else if (add_all(routes, builder, &report))
        routes->router = mg_router_build(builder, &report);
    if (report.count)
        snprintf(error256, 256, "%s: %s", report.findings[0].pointer ? report.findings[0].pointer : "routes",
                 report.findings[0].message);
    mg_router_builder_free(builder);
    mg_report_fini(&report);
    return routes->router != NULL;
}

double mg_routes_bytes(const mg_routes *routes)
{
    size_t bytes = routes->arena.used + routes->cap * sizeof(route);

    for (size_t i = 0; i < routes->count; i++) {
        const route *r = &routes->routes[i];
        bytes += (r->host_count + r->method_count) * sizeof(mg_str) + r->path_count * sizeof(mg_route_path);
    }
    return (double)(bytes + mg_router_bytes(routes->router));
}

int mg_routes_match(mg_routes *routes, const char *host, uint32_t host_n, const char *path, uint32_t path_n,
                    const char *method, uint32_t method_n, uint32_t *index)
{
    const mg_route_query query = { .host = mg_str_make(host, host_n),
                                   .path = mg_str_make(path, path_n),
                                   .method = mg_str_make(method, method_n) };
    const int status = mg_router_match(routes->router, &query, &routes->match);

    if (status == 200)
        *index = routes->match.index;
    else
        routes->match.param_count = 0;
    return status;
}

bool mg_routes_param(const mg_routes *routes, uint32_t at, mg_slice *name, mg_slice *value)
{
    const mg_route_match *m = &routes->match;

    if (at >= m->param_count)
        return false;
    *name = (mg_slice){ m->names[at].p, (uint32_t)m->names[at].n };
    *value = (mg_slice){ m->values[at].p, (uint32_t)m->values[at].n };
    return true;
}
