/* router.c - vectors of the router, and of the normalisation of paths that comes before it. */
#include "vectors.h"

#include "base/mem.h"
#include "http/uri.h"
#include "policy/router.h"

enum { PATH_MAX_BYTES = 8192 };

static mg_str *strings_of(mg_arena *arena, const json_t *array, size_t *count)
{
    mg_str *out = MG_ARENA_NEW_N(arena, mg_str, json_array_size(array) + 1);

    *count = json_array_size(array);
    for (size_t i = 0; i < *count; i++)
        out[i] = mg_str_of(json_string_value(json_array_get(array, i)));
    return out;
}

typedef struct table {
    mg_router *router;
    size_t max_path; /* bytes; longer is 414 */
} table;

static mg_route_header *headers_of(mg_arena *arena, const json_t *object, size_t *count)
{
    mg_route_header *out = MG_ARENA_NEW_N(arena, mg_route_header, json_object_size(object) + 1);
    const char *name;
    json_t *value;

    *count = 0;
    json_object_foreach((json_t *)object, name, value)
    {
        const char *text = json_string_value(value);

        out[(*count)++] = (mg_route_header){ mg_str_of(name), mg_str_of(text ? text : "") };
    }
    return out;
}

static bool add_route(mg_router_builder *builder, mg_arena *arena, const json_t *route, uint32_t index,
                      mg_report *report, mg_error *err)
{
    const char *prefix = json_string_value(json_object_get(route, "prefix"));
    const mg_route_path path = { mg_str_of(prefix ? prefix : vector_text(route, "path")), prefix != NULL };
    const mg_str host = mg_str_of(vector_text(route, "host"));
    mg_route_spec spec = { .name = mg_str_of(vector_text(route, "id")), .paths = &path, .path_count = 1 };

    if (!vector_knows(route, "id path prefix host methods headers priority", err))
        return false;
    spec.hosts = &host;
    spec.host_count = host.n > 0;
    spec.methods = strings_of(arena, json_object_get(route, "methods"), &spec.method_count);
    spec.headers = headers_of(arena, json_object_get(route, "headers"), &spec.header_count);
    spec.priority = (int)vector_int(route, "priority", 0);
    (void)mg_router_add(builder, &spec, (void *)vector_text(route, "id"), index, report);
    return true;
}

static void *router_open(const json_t *cfg, mg_error *err)
{
    const json_t *routes = json_object_get(cfg, "routes");
    mg_router_builder *builder = mg_router_builder_new(1, NULL, NULL);
    mg_report report = MG_REPORT_INIT;
    mg_router *router = NULL;
    table *t = NULL;
    mg_arena arena;
    bool fine = true;

    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; fine && i < json_array_size(routes); i++)
        fine = add_route(builder, &arena, json_array_get(routes, i), (uint32_t)i, &report, err);
    if (fine)
        router = mg_router_build(builder, &report);
    if (router) {
        t = MG_NEW(table);
        t->router = router;
        t->max_path = (size_t)vector_int(cfg, "max_path", PATH_MAX_BYTES);
    } else if (fine) {
        mg_fail(err, MG_ERR_INVALID, "routes: refused: %s", report.count ? report.findings[0].message : "");
    }
    mg_router_builder_free(builder);
    mg_report_fini(&report);
    mg_arena_fini(&arena);
    return t;
}

static bool header_named(void *self, mg_str name, mg_str *value)
{
    const char *wanted, *key;
    json_t *entry;

    json_object_foreach((json_t *)self, key, entry)
    {
        wanted = json_string_value(entry);
        if (wanted && mg_str_eq_c(name, key)) {
            *value = mg_str_of(wanted);
            return true;
        }
    }
    return false;
}

static const char *allow_of(mg_arena *arena, const mg_router *router, const mg_route_match *match)
{
    mg_text allow = { 0 };

    mg_router_allow(router, match, &allow);
    const char *text = mg_arena_strdup(arena, allow.n ? allow.p : "");
    mg_text_fini(&allow);
    return text;
}

static json_t *params_of(mg_arena *arena, const mg_route_match *m)
{
    json_t *params = json_object();

    for (uint32_t i = 0; i < m->param_count; i++) {
        char *name = mg_memdup0(m->names[i].p, m->names[i].n);
        const mg_str value = mg_uri_decode(arena, m->values[i]);

        json_object_set_new(params, name, json_stringn(value.p, value.n));
        mg_free(name);
    }
    return params;
}

static json_t *router_row(void *self, const json_t *in)
{
    const table *t = self;
    mg_route_query query = { .method = mg_str_of(vector_text(in, "method")),
                             .header = header_named,
                             .self = json_object_get(in, "headers") };
    mg_route_match match;
    mg_arena arena;
    json_t *out;
    int port, status;

    if (strlen(vector_text(in, "path")) > t->max_path)
        return json_pack("[is{}]", 414, "-");
    mg_arena_init(&arena, NULL, 0);
    if (!mg_uri_authority(&arena, mg_str_of(vector_text(in, "host")), &query.host, &port) ||
        !mg_uri_normalise_path(&arena, mg_str_of(vector_text(in, "path")), 0, &query.path)) {
        out = json_pack("[is{}]", 400, "-");
    } else {
        status = mg_router_match(t->router, &query, &match);
        if (status == 200)
            out = json_pack("[iso]", status, (const char *)match.route, params_of(&arena, &match));
        else
            out = json_pack("[is{}]", status, status == 405 ? allow_of(&arena, t->router, &match) : "-");
    }
    mg_arena_fini(&arena);
    return out;
}

static void router_close(void *self)
{
    mg_router_free(((table *)self)->router);
    mg_free(self);
}

static json_t *path_row(void *self, const json_t *in)
{
    mg_arena arena;
    mg_str path;
    json_t *out;

    (void)self;
    mg_arena_init(&arena, NULL, 0);
    if (mg_uri_normalise_path(&arena, mg_str_of(vector_text(in, "raw")), 0, &path))
        out = json_pack("[s%]", path.p, path.n);
    else
        out = json_pack("[n]");
    mg_arena_fini(&arena);
    return out;
}

const vector_driver vector_router_drivers[] = {
    { "router", "routes max_path", "method host path headers", router_open, router_row, router_close },
    { "norm_path", "", "raw", vector_nothing_open, path_row, vector_nothing_close },
    { 0 },
};
