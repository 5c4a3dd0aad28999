/* router_check.c - routes as they come from the configuration, read into drafts or refused. */
#include "policy/router_table.h"

#include "base/check.h"
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>

mg_router_builder *mg_router_builder_new(uint64_t seed, mg_route_place *place, void *self)
{
    mg_router_builder *b = MG_NEW(mg_router_builder);

    mg_arena_init(&b->arena, NULL, 0);
    b->seed = seed;
    b->place = place;
    b->self = self;
    return b;
}

void mg_router_builder_free(mg_router_builder *builder)
{
    if (!builder)
        return;
    mg_arena_fini(&builder->arena);
    mg_free(builder->drafts);
    mg_free(builder);
}

bool mg_route_complain(mg_router_builder *b, mg_report *report, uint32_t index, mg_route_part part,
                       size_t item, const mg_route_fault *fault)
{
    static const char *const lists[] = {
        "", ".match.hosts", ".match.paths", ".match.methods", ".match.headers", ".priority"
    };
    mg_finding *f = mg_report_add(report, MG_SEVERITY_ERROR, fault->code, "%s", fault->message);
    char pointer[64];
    int n = snprintf(pointer, sizeof(pointer), "routes[%u]%s", index, lists[part]);

    b->failed = true;
    if (!f)
        return false;
    if (part != MG_ROUTE_PART_WHOLE && part != MG_ROUTE_PART_PRIORITY)
        n += snprintf(pointer + n, sizeof(pointer) - (size_t)n, "[%zu]", item);
    mg_finding_pointer(f, mg_str_make(pointer, (size_t)n));
    if (fault->hint[0])
        mg_finding_hint(f, "%s", fault->hint);
    if (b->place)
        b->place(b->self, index, part, item, f);
    return false;
}

/* RFC 9110 5.6.2 */
static bool is_token(mg_str text)
{
    for (size_t i = 0; i < text.n; i++) {
        const char c = text.p[i], low = mg_lower(c);
        if (!((low >= 'a' && low <= 'z') || (c >= '0' && c <= '9') || (c && strchr("!#$%&'*+-.^_`|~", c))))
            return false;
    }
    return text.n > 0;
}

/* The place of a method that is named, a new one where it is the first time. MG_METHOD_OTHER with a fault. */
static unsigned place_of(mg_router_builder *b, mg_str name, mg_route_fault *fault)
{
    const unsigned place = mg_route_method(&b->own, name);

    if (place != MG_METHOD_OTHER)
        return place;
    *fault = (mg_route_fault){ .code = "bad-method" };
    if (!is_token(name) || name.n > MG_ROUTE_METHOD_BYTES_MAX)
        snprintf(fault->message, sizeof(fault->message), "a method is a token of at most %d bytes",
                 MG_ROUTE_METHOD_BYTES_MAX);
    else if (b->own.count == MG_ROUTE_OWN_METHODS_MAX)
        snprintf(fault->message, sizeof(fault->message), "more than %d methods that are not standard",
                 MG_ROUTE_OWN_METHODS_MAX);
    else
        b->own.names[b->own.count++] = mg_arena_str(&b->arena, name);
    return fault->message[0] ? MG_METHOD_OTHER : MG_METHODS + b->own.count - 1;
}

static bool read_methods(mg_router_builder *b, const mg_route_spec *spec, uint32_t index, mg_report *report,
                         uint64_t *out)
{
    mg_route_fault fault;

    *out = spec->method_count ? 0 : MG_METHODS_KNOWN;
    for (size_t i = 0; i < spec->method_count; i++) {
        if (mg_str_eq(spec->methods[i], MG_STR("*"))) {
            *out |= MG_METHODS_ALL;
            continue;
        }
        const unsigned place = place_of(b, spec->methods[i], &fault);
        if (place == MG_METHOD_OTHER)
            return mg_route_complain(b, report, index, MG_ROUTE_PART_METHOD, i, &fault);
        *out |= MG_METHOD_BIT(place);
    }
    return true;
}

static int header_cmp(const void *a, const void *b)
{
    return mg_str_cmp(((const mg_route_header *)a)->name, ((const mg_route_header *)b)->name);
}

/* Sorted by name, so that two routes with the same ones have them in the same order. */
static bool read_headers(mg_router_builder *b, const mg_route_spec *spec, uint32_t index, mg_report *report,
                         mg_route_header **out)
{
    mg_route_fault fault = { .code = "bad-header" };
    mg_route_header *headers = MG_ARENA_NEW_N(&b->arena, mg_route_header, spec->header_count + 1);

    *out = headers;
    if (spec->header_count > MG_ROUTE_HEADERS_MAX) {
        snprintf(fault.message, sizeof(fault.message), "more than %d headers", MG_ROUTE_HEADERS_MAX);
        return mg_route_complain(b, report, index, MG_ROUTE_PART_HEADER, MG_ROUTE_HEADERS_MAX, &fault);
    }
    for (size_t i = 0; i < spec->header_count; i++) {
        headers[i] = (mg_route_header){ mg_arena_str(&b->arena, spec->headers[i].name),
                                        mg_arena_str(&b->arena, spec->headers[i].value) };
        for (size_t k = 0; k < i; k++) {
            if (!mg_str_eq(headers[k].name, headers[i].name))
                continue;
            snprintf(fault.message, sizeof(fault.message), "header %.*s twice: no request would match",
                     MG_STR_ARGS(headers[i].name));
            return mg_route_complain(b, report, index, MG_ROUTE_PART_HEADER, i, &fault);
        }
    }
    qsort(headers, spec->header_count, sizeof(*headers), header_cmp);
    return true;
}

static void push(mg_router_builder *b, const mg_route_draft *d)
{
    if (b->count == b->cap) {
        b->cap = b->cap ? b->cap * 2 : 64;
        b->drafts = mg_realloc(b->drafts, b->cap * sizeof(*b->drafts));
    }
    b->drafts[b->count] = *d;
    b->drafts[b->count].sequence = (uint32_t)b->count;
    b->count++;
}

/* The path of the draft, for every host of the route. */
static bool read_path(mg_router_builder *b, const mg_route_spec *spec, size_t item, mg_route_draft *d,
                      const mg_str *hosts, mg_report *report)
{
    mg_route_template t;
    mg_route_fault fault;
    unsigned names = 0;

    if (!mg_route_template_parse(&b->arena, &spec->paths[item], spec->keeps_slashes, &t, &fault))
        return mg_route_complain(b, report, d->index, MG_ROUTE_PART_PATH, item, &fault);
    d->path_text = mg_arena_str(&b->arena, spec->paths[item].text);
    d->prefix = spec->paths[item].prefix;
    d->path_item = (uint32_t)item;
    d->segment_count = (uint16_t)t.segment_count;
    d->param_count = (uint8_t)t.param_count;
    d->segments = MG_ARENA_NEW_N(&b->arena, mg_segment, t.segment_count + 1);
    memcpy(d->segments, t.segments, t.segment_count * sizeof(mg_segment));
    d->names = MG_ARENA_NEW_N(&b->arena, mg_str, t.param_count + 1);
    for (unsigned i = 0; i < t.segment_count; i++) {
        if (t.segments[i].kind == MG_SEGMENT_PARAM || t.segments[i].kind == MG_SEGMENT_REST)
            d->names[names++] = t.segments[i].text;
    }
    for (size_t i = 0; i < (spec->host_count ? spec->host_count : 1); i++) {
        d->host = hosts[i];
        d->host_text = spec->host_count ? mg_arena_str(&b->arena, spec->hosts[i]) : MG_STR("*");
        push(b, d);
    }
    return true;
}

static bool read_hosts(mg_router_builder *b, const mg_route_spec *spec, uint32_t index, mg_report *report,
                       mg_str **out)
{
    mg_str *hosts = MG_ARENA_NEW_N(&b->arena, mg_str, spec->host_count + 1);
    mg_route_fault fault;

    hosts[0] = MG_STR("");
    *out = hosts;
    for (size_t i = 0; i < spec->host_count; i++) {
        if (!mg_route_host_parse(&b->arena, spec->hosts[i], &hosts[i], &fault))
            return mg_route_complain(b, report, index, MG_ROUTE_PART_HOST, i, &fault);
    }
    return true;
}

static bool whole_route_fits(mg_router_builder *b, const mg_route_spec *spec, uint32_t index,
                             mg_report *report)
{
    const size_t hosts = spec->host_count ? spec->host_count : 1;
    mg_route_fault fault = { .code = "out-of-range" };

    if (spec->priority < -1000 || spec->priority > 1000) {
        snprintf(fault.message, sizeof(fault.message), "priority %d: wants -1000 to 1000", spec->priority);
        return mg_route_complain(b, report, index, MG_ROUTE_PART_PRIORITY, 0, &fault);
    }
    if (spec->path_count == 0) {
        snprintf(fault.message, sizeof(fault.message), "a route wants at least one path");
        snprintf(fault.hint, sizeof(fault.hint), "for all paths write { prefix: / }");
        return mg_route_complain(b, report, index, MG_ROUTE_PART_WHOLE, 0, &fault);
    }
    if (hosts > MG_ROUTER_PATTERNS_MAX || spec->path_count > (MG_ROUTER_PATTERNS_MAX - b->count) / hosts) {
        snprintf(fault.message, sizeof(fault.message), "more than %d pairs of host and path in all routes",
                 MG_ROUTER_PATTERNS_MAX);
        return mg_route_complain(b, report, index, MG_ROUTE_PART_WHOLE, 0, &fault);
    }
    return true;
}

bool mg_router_add(mg_router_builder *builder, const mg_route_spec *spec, void *route, uint32_t index,
                   mg_report *report)
{
    mg_route_draft d = { .route = route, .index = index, .priority = spec->priority };
    mg_route_header *headers;
    mg_str *hosts;
    bool fine = true;

    MG_CHECK(route);
    if (!whole_route_fits(builder, spec, index, report) ||
        !read_hosts(builder, spec, index, report, &hosts) ||
        !read_methods(builder, spec, index, report, &d.methods) ||
        !read_headers(builder, spec, index, report, &headers))
        return false;
    d.name = mg_arena_str(&builder->arena, spec->name);
    d.keeps_slashes = spec->keeps_slashes;
    d.headers = headers;
    d.header_count = (uint8_t)spec->header_count;
    for (size_t i = 0; i < spec->path_count; i++)
        fine &= read_path(builder, spec, i, &d, hosts, report);
    return fine;
}
