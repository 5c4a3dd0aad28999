/* router_fixture.h - a router made of routes of one line each, and asked in one line. */
#ifndef TEST_ROUTER_FIXTURE_H
#define TEST_ROUTER_FIXTURE_H

#include "policy/router.h"

#include "base/mem.h"

#include "support/check.h"

/* A route in one line: "name [host] [METHOD,METHOD] path [header=value] [^priority]", prefix paths written
 * /p/... */
typedef struct table {
    mg_router_builder *builder;
    mg_report report;
    mg_router *router;
    uint32_t count;
    char names[64][32];
} table;

static inline void table_init(table *t)
{
    *t = (table){ .builder = mg_router_builder_new(7, NULL, NULL) };
}

static inline void add(table *t, const char *name, const char *hosts, const char *methods, const char *path,
                       const char *header, int priority)
{
    mg_str host_list[8], method_list[9], rest, part;
    mg_route_header wanted;
    mg_route_path where = { mg_str_of(path), false };
    mg_route_spec spec = { .name = mg_str_of(name), .paths = &where, .path_count = 1, .priority = priority };

    if (mg_str_ends(where.text, MG_STR("..."))) {
        where.text.n -= 3;
        where.prefix = true;
    }
    spec.hosts = host_list;
    spec.methods = method_list;
    for (rest = mg_str_of(hosts); rest.n && mg_str_cut(&rest, ',', &part);)
        host_list[spec.host_count++] = part;
    for (rest = mg_str_of(methods); rest.n && mg_str_cut(&rest, ',', &part);)
        method_list[spec.method_count++] = part;
    if (header) {
        const char *equals = strchr(header, '=');

        wanted.name = mg_str_make(header, (size_t)(equals - header));
        wanted.value = mg_str_of(equals + 1);
        spec.headers = &wanted;
        spec.header_count = 1;
    }
    snprintf(t->names[t->count], sizeof(t->names[0]), "%s", name);
    mg_router_add(t->builder, &spec, t->names[t->count], t->count, &t->report);
    t->count++;
}

static inline void build(table *t)
{
    t->router = mg_router_build(t->builder, &t->report);
}

static inline void table_fini(table *t)
{
    mg_router_free(t->router);
    mg_router_builder_free(t->builder);
    mg_report_fini(&t->report);
}

typedef struct request {
    const char *header, *value; /* the one it has, or NULL */
} request;

static inline bool find_header(void *self, mg_str name, mg_str *value)
{
    const request *r = self;

    if (!r->header || !mg_str_eq_c(name, r->header))
        return false;
    *value = mg_str_of(r->value);
    return true;
}

static inline mg_route_query query_of(const char *method, const char *host, const char *path, request *r)
{
    return (
        mg_route_query){ mg_str_of(host), mg_str_of(path), mg_str_of(method), find_header, r, MG_STR_NONE };
}

/* "200 name", "404", "405 ALLOW", "501"; and explain must say the same. */
static inline const char *ask(table *t, const char *method, const char *host, const char *path,
                              const char *header, const char *value)
{
    static char text[160];
    request r = { header, value };
    const mg_route_query query = query_of(method, host, path, &r);
    mg_route_match m;
    const int status = mg_router_match(t->router, &query, &m);
    mg_text allow = { 0 };

    if (status == 405)
        mg_router_allow(t->router, &m, &allow);
    mg_text_add_char(&allow, '\0');
    snprintf(text, sizeof(text), "%d%s%s", status, status == 404 || status == 501 ? "" : " ",
             status == 200 ? (const char *)m.route : allow.p);
    mg_text_fini(&allow);
    return text;
}

static inline const char *get(table *t, const char *path)
{
    return ask(t, "GET", "x.com", path, NULL, NULL);
}

#endif
