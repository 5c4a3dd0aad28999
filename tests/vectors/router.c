/* router.c - vectors of the router, and of the normalisation of paths that comes before it. */
#include "vectors.h"

#include "base/check.h"
#include "base/mem.h"
#include "http/uri.h"
#include "policy/router.h"

static mg_str *strings_of(mg_arena *arena, const json_t *array, size_t *count)
{
    mg_str *out = MG_ARENA_NEW_N(arena, mg_str, json_array_size(array) + 1);

    *count = json_array_size(array);
    for (size_t i = 0; i < *count; i++)
        out[i] = mg_str_of(json_string_value(json_array_get(array, i)));
    return out;
}

static void *router_open(const json_t *cfg)
{
    const json_t *routes = json_object_get(cfg, "routes");
    mg_router_builder *builder = mg_router_builder_new(1, NULL, NULL);
    mg_report report = MG_REPORT_INIT;
    mg_arena arena;
    mg_router *router;

    mg_arena_init(&arena, NULL, 0);
    for (size_t i = 0; i < json_array_size(routes); i++) {
        const json_t *route = json_array_get(routes, i);
        const mg_route_path path = { mg_str_of(vector_text(route, "path")), false };
        const mg_str host = mg_str_of(vector_text(route, "host"));
        mg_route_spec spec = { .name = mg_str_of(vector_text(route, "id")), .paths = &path, .path_count = 1 };

        spec.hosts = &host;
        spec.host_count = host.n > 0;
        spec.methods = strings_of(&arena, json_object_get(route, "methods"), &spec.method_count);
        MG_CHECK(mg_router_add(builder, &spec, (void *)vector_text(route, "id"), (uint32_t)i, &report));
    }
    router = mg_router_build(builder, &report);
    MG_CHECK(router);
    mg_router_builder_free(builder);
    mg_report_fini(&report);
    mg_arena_fini(&arena);
    return router;
}

static json_t *params_of(const mg_route_match *m)
{
    json_t *params = json_object();

    for (uint32_t i = 0; i < m->param_count; i++) {
        char *name = mg_memdup0(m->names[i].p, m->names[i].n), *value = mg_alloc(m->values[i].n + 1);
        const size_t n = mg_router_param_decode(value, m->values[i].p, m->values[i].n);

        json_object_set_new(params, name, json_stringn(value, n));
        mg_free(name);
        mg_free(value);
    }
    return params;
}

static json_t *router_row(void *self, const json_t *in)
{
    mg_route_query query = { .method = mg_str_of(vector_text(in, "method")) };
    mg_route_match match;
    mg_arena arena;
    json_t *out;
    int port, status;

    mg_arena_init(&arena, NULL, 0);
    if (!mg_uri_authority(&arena, mg_str_of(vector_text(in, "host")), &query.host, &port) ||
        !mg_uri_normalise_path(&arena, mg_str_of(vector_text(in, "path")), &query.path)) {
        out = json_pack("[is{}]", 400, "-");
    } else {
        status = mg_router_match(self, &query, &match);
        if (status == 200)
            out = json_pack("[iso]", status, (const char *)match.route, params_of(&match));
        else
            out = json_pack("[is{}]", status, status == 405 ? match.allow : "-");
    }
    mg_arena_fini(&arena);
    return out;
}

static void router_close(void *self)
{
    mg_router_free(self);
}

static json_t *path_row(void *self, const json_t *in)
{
    mg_arena arena;
    mg_str path;
    json_t *out;

    (void)self;
    mg_arena_init(&arena, NULL, 0);
    if (mg_uri_normalise_path(&arena, mg_str_of(vector_text(in, "raw")), &path))
        out = json_pack("[s%]", path.p, path.n);
    else
        out = json_pack("[n]");
    mg_arena_fini(&arena);
    return out;
}

const vector_driver vector_router_drivers[] = {
    { "router", router_open, router_row, router_close },
    { "norm_path", vector_nothing_open, path_row, vector_nothing_close },
    { NULL, NULL, NULL, NULL },
};
