/* routes.c - the table in match order; why a request does or does not match, told by the matcher itself. */
#include "cli/cli.h"
#include "gateway/check.h"
#include "gateway/request/forward.h"

enum { HEADERS_MAX = 32 };

typedef struct options {
    const char *file, *explain;
    const char *headers[HEADERS_MAX];
    size_t header_count;
} options;

typedef struct request {
    const options *opt;
    mg_arena arena;
    mg_request request;
    mg_route_query query;
    mg_route_match match;
    int status;
} request;

static void print_chain(const mg_config_route *route)
{
    for (size_t i = 0; i < route->item_count; i++) {
        const mg_config_item *item = &route->items[i];
        if (item->kind == MG_CONFIG_ITEM_PLUGIN)
            printf("%s%.*s", i ? " > " : "", MG_STR_ARGS(item->plugin->name));
        else
            printf("%slimit %.*s", i ? " > " : "", MG_STR_ARGS(item->limiter->name));
    }
    if (!route->item_count)
        printf("none");
}

static void print_methods(const mg_config_route *route)
{
    for (size_t i = 0; i < route->method_count; i++)
        printf("%s%.*s", i ? "," : "", MG_STR_ARGS(route->methods[i]));
    if (!route->method_count)
        printf("any");
}

/* "old 80% | new 20%"; a rollout's share is known to a gateway that runs, alone. */
static void print_split(const mg_config_route *route)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < route->backend_count; i++)
        sum += route->backends[i].weight;
    for (size_t i = 0; i < route->backend_count; i++) {
        const mg_config_backend *backend = &route->backends[i];
        printf("%s%.*s", i ? " | " : "", MG_STR_ARGS(backend->service->name));
        if (route->rollout.on && i == route->rollout.to)
            printf(" by rollout %.*s", MG_STR_ARGS(route->rollout.id));
        else if (!route->rollout.on)
            printf(" %.4g%%", 100.0 * backend->weight / (double)sum);
    }
}

static void print_destination(const mg_config_route *route)
{
    if (route->backend_count)
        print_split(route);
    else
        printf("%.*s", MG_STR_ARGS(route->service ? route->service->name : MG_STR("no service")));
}

static void print_line(void *self, const mg_route_line *line)
{
    const mg_snapshot_route *route = line->route;

    (void)self;
    printf("%3u  %-20.*s  ", line->rank, MG_STR_ARGS(line->name));
    print_methods(route->conf);
    printf("  %.*s  %.*s%s  plugins ", MG_STR_ARGS(line->host), MG_STR_ARGS(line->path),
           line->prefix ? " (prefix)" : "");
    print_chain(route->conf);
    printf("  -> ");
    print_destination(route->conf);
    printf("\n");
}

static void print_table(void *self, const mg_snapshot *snapshot)
{
    mg_router_list(snapshot->router, print_line, self);
}

static bool header_of(void *self, mg_str name, mg_str *value)
{
    const request *r = self;

    for (size_t i = 0; i < r->opt->header_count; i++) {
        const mg_str text = mg_str_of(r->opt->headers[i]);
        const size_t colon = mg_str_find(text, ':');
        if (colon != SIZE_MAX && mg_str_eq_nocase(mg_str_trim(mg_str_sub(text, 0, colon), " "), name)) {
            *value = mg_str_trim(mg_str_sub(text, colon + 1, text.n), " \t");
            return true;
        }
    }
    return false;
}

static void print_service(const mg_snapshot_service *service)
{
    const mg_node *balance = mg_node_get(service->conf->node, "balance");

    printf("    upstream  %.*s", MG_STR_ARGS(service->name));
    for (size_t i = 0; i < service->conf->endpoint_count; i++)
        printf("%s %.*s", i ? "," : "", MG_STR_ARGS(service->authorities[i]));
    if (balance)
        printf(" by %.*s", MG_STR_ARGS(balance->text));
    printf("\n");
}

/* The path that the route is matched with, where it is not simply the one that was asked about. */
static void print_path(const request *r, const mg_config_route *route)
{
    mg_request sent = r->request;

    mg_forward_path(&sent, route);
    if (sent.slashed.p || !mg_str_eq(sent.path, sent.sent_path))
        printf("    path      %.*s%s\n", MG_STR_ARGS(sent.path),
               sent.as_sent ? "; the upstream gets it as it was sent" : "");
}

static void print_match(const request *r, const mg_snapshot_route *route)
{
    printf("    plugins   ");
    print_chain(route->conf);
    printf("\n");
    if (route->split) {
        printf("    split     ");
        print_split(route->conf);
        printf("\n");
        for (size_t i = 0; i < route->split->count; i++)
            print_service(route->split->backends[i].service);
    } else if (route->service) {
        print_service(route->service);
    } else {
        printf("    upstream  none: a plugin answers\n");
    }
    print_path(r, route->conf);
    printf("    timeout   %llu ms\n", (unsigned long long)(route->timeout_ns / MG_NS_PER_MS));
}

static void explain_line(void *self, const mg_route_line *line)
{
    static const char *const why[] = { [MG_ROUTE_OTHER_HOST] = "another host: ",
                                       [MG_ROUTE_OTHER_PATH] = "another path: ",
                                       [MG_ROUTE_OTHER_METHOD] = "another method" };
    const mg_snapshot_route *route = line->route;
    const request *r = self;

    printf("%3u %-16.*s  ", line->rank, MG_STR_ARGS(line->name));
    switch (line->verdict) {
    case MG_ROUTE_MATCHES:
        printf("YES  %s %.*s", line->prefix ? "prefix" : "template", MG_STR_ARGS(line->path));
        for (uint32_t i = 0; i < r->match.param_count; i++)
            printf("  %.*s=%.*s", MG_STR_ARGS(r->match.names[i]), MG_STR_ARGS(r->match.values[i]));
        printf("\n");
        print_match(r, route);
        return;
    case MG_ROUTE_NOT_REACHED: printf("not reached (less specific than %u)\n", line->rank_before); return;
    case MG_ROUTE_OTHER_HEADER:
        if (line->got.p)
            printf("no   header %.*s: wanted \"%.*s\", got \"%.*s\"", MG_STR_ARGS(line->header),
                   MG_STR_ARGS(line->wanted), MG_STR_ARGS(line->got));
        else
            printf("no   header %.*s: wanted \"%.*s\", absent", MG_STR_ARGS(line->header),
                   MG_STR_ARGS(line->wanted));
        printf("        would match with: -H '%.*s: %.*s'\n", MG_STR_ARGS(line->header),
               MG_STR_ARGS(line->wanted));
        return;
    case MG_ROUTE_OTHER_METHOD:
        printf("no   %s: takes ", why[line->verdict]);
        print_methods(route->conf);
        printf("%s\n", route->conf->method_count ? "" : " that is known");
        return;
    case MG_ROUTE_OTHER_HOST: printf("no   %s%.*s\n", why[line->verdict], MG_STR_ARGS(line->host)); return;
    case MG_ROUTE_OTHER_PATH: printf("no   %s%.*s\n", why[line->verdict], MG_STR_ARGS(line->path)); return;
    }
}

static void explain(void *self, const mg_snapshot *snapshot)
{
    request *r = self;
    r->query = (mg_route_query){ .host = r->request.host,
                                 .path = r->request.path,
                                 .method = r->request.method_text,
                                 .header = header_of,
                                 .self = r,
                                 .slashed = r->request.slashed };

    mg_route_match again;
    r->status = mg_router_match(snapshot->router, &r->query,
                                &r->match); /* its parameters stand beside the route that matches */
    (void)mg_router_explain(snapshot->router, &r->query, &again, explain_line, r);
    if (r->status == 405) {
        mg_text allow = { 0 };
        mg_router_allow(snapshot->router, &r->match, &allow);
        printf("\nno route: 405, Allow: %.*s\n", (int)allow.n, allow.p);
        mg_text_fini(&allow);
    } else if (r->status == 501) {
        printf("\nno route: 501, for the method %.*s is not standard and no route names it\n",
               MG_STR_ARGS(r->query.method));
    } else if (r->status != 200)
        printf("\nno route: %d\n", r->status);
}

static int run_routes(const options *opt)
{
    request r = { .opt = opt };
    mg_report report = MG_REPORT_INIT;
    int status = MG_EXIT_OK;

    mg_arena_init(&r.arena, NULL, 0);
    mg_str host = MG_STR_NONE;
    (void)header_of(&r, MG_STR("host"), &host);
    const char *wrong =
        opt->explain ? mg_check_request(&r.arena, mg_str_of(opt->explain), host, &r.request) : NULL;
    if (wrong) {
        mg_arena_fini(&r.arena);
        return mg_cli_usage("routes", "--explain '%s': %s", opt->explain, wrong);
    }
    mg_config *config = mg_config_load_file(opt->file, NULL, &report);
    if (!config || !mg_check_config(config, opt->explain ? explain : print_table, &r, &report)) {
        mg_cli_print_report(&report);
        status = MG_EXIT_INVALID;
    }
    mg_report_fini(&report);
    mg_arena_fini(&r.arena);
    return status;
}

int mg_cli_routes(mg_args *args)
{
    options opt = { .file = "moongate.yaml" };
    const char *value;

    for (const char *arg; (arg = mg_args_next(args));) {
        if (mg_args_value(args, arg, "-c", &value)) {
            opt.file = value;
        } else if (mg_args_value(args, arg, "--explain", &value)) {
            opt.explain = value;
        } else if (mg_args_value(args, arg, "-H", &value)) {
            if (opt.header_count == HEADERS_MAX)
                return mg_cli_usage("routes", "at most %d headers", HEADERS_MAX);
            opt.headers[opt.header_count++] = value;
        } else if (mg_args_global(args, arg)) {
            continue;
        } else {
            return mg_cli_usage("routes", "unknown option \"%s\"", arg);
        }
        if (!value)
            return mg_cli_usage("routes", "%s needs a value", arg);
    }
    if (args->json)
        return mg_cli_usage("routes", "--json is for check and version in this build");
    return run_routes(&opt);
}
