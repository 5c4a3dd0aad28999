/* admin.c - the door, and which resource a request is for. One table says what there is. */
#include "gateway/admin/admin_parts.h"

#include "base/check.h"
#include "base/mem.h"
#include "http/uri.h"
#include "state/kv.h"
#include "text/json.h"

#include <stdarg.h>
#include <sys/stat.h>

enum {
    CONNECTIONS_MAX = 64,
    BODY_BYTES_MAX = MG_KV_VALUE_MAX,
    SEGMENTS_MAX = 8,
};

/* `{}` stands for a name. The first line with a handler for the method counts. */
static const struct resource {
    const char *path;
    mg_admin_handler *get, *put, *post, *del;
} resources[] = {
    { "/v1", mg_admin_about, NULL, NULL, NULL },
    { "/v1/services", mg_admin_services, NULL, NULL, NULL },
    { "/v1/services/{}", mg_admin_service, NULL, NULL, NULL },
    { "/v1/services/{}/breaker", mg_admin_service, mg_admin_set_breaker, NULL, NULL },
    { "/v1/services/{}/endpoints/{}/state", mg_admin_service, mg_admin_set_endpoint, NULL, NULL },
    { "/v1/limiters", mg_admin_limiters, NULL, NULL, NULL },
    { "/v1/limiters/{}/keys", mg_admin_limiter_keys, NULL, NULL, NULL },
    { "/v1/routes", mg_admin_routes, NULL, NULL, NULL },
    { "/v1/rollouts", mg_admin_rollouts, NULL, NULL, NULL },
    { "/v1/rollouts/{}/state", mg_admin_rollouts, mg_admin_set_rollout, NULL, NULL },
    { "/v1/state", mg_admin_state, NULL, NULL, NULL },
    { "/v1/state/backup", NULL, NULL, mg_admin_state_backup, NULL },
    { "/v1/state/compact", NULL, NULL, mg_admin_state_compact, NULL },
    { "/v1/state/{}", mg_admin_state_scan, NULL, NULL, NULL },
    { "/v1/state/{}/{}", mg_admin_state_get, mg_admin_state_put, NULL, mg_admin_state_del },
};
enum { RESOURCES = sizeof resources / sizeof *resources };

/* ---- answers ---- */

void mg_admin_begin(mg_admin_call *call)
{
    const mg_clock *clock = call->admin->gateway->shared.clock;

    mg_json_out_map(&call->json, NULL);
    mg_json_out_u64(&call->json, "at_ms", clock->mono_ns(clock) / MG_NS_PER_MS);
}

void mg_admin_send_json(mg_admin_call *call)
{
    MG_CHECK(!call->json.depth);
    mg_text_add_char(call->out, '\n');
    mg_ask_send(call->ask, 200, MG_STR("application/json"));
}

static void send_report(mg_admin_call *call, int status, mg_report *report)
{
    const char *message = report->count ? report->findings[0].message : "";

    mg_ask_problem(call->ask, status, mg_arena_str(call->arena, mg_str_of(message)), report);
    mg_report_fini(report);
}

void mg_admin_refuse(mg_admin_call *call, int status, const char *code, const char *hint, const char *format,
                     ...)
{
    mg_report report = MG_REPORT_INIT;
    char message[512];
    va_list list;

    va_start(list, format);
    vsnprintf(message, sizeof message, format, list);
    va_end(list);
    mg_finding *f = mg_report_add(&report, MG_SEVERITY_ERROR, code, "%s", message);
    mg_finding_pointer(f, call->ask->x->request.path);
    if (hint)
        mg_finding_hint(f, "%s", hint);
    send_report(call, status, &report);
}

void mg_admin_refuse_name(mg_admin_call *call, const char *what, mg_str name, mg_admin_names *known,
                          const void *self)
{
    mg_guess guess = { .name = name };
    char hint[160];

    for (size_t i = 0; known(self, i).p; i++)
        mg_guess_offer(&guess, known(self, i));
    if (guess.best.p)
        snprintf(hint, sizeof hint, "did you mean \"%.*s\"?", MG_STR_ARGS(guess.best));
    else
        snprintf(hint, sizeof hint, "GET the path above it lists what there is");
    mg_admin_refuse(call, 404, "not-found", hint, "no %s is named \"%.*s\"", what, MG_STR_ARGS(name));
}

int mg_admin_word(mg_admin_call *call, mg_str word, const char *const *words, const char *what)
{
    mg_text hint = { 0 };

    for (int i = 0; words[i]; i++) {
        if (mg_str_eq_c(word, words[i])) {
            mg_text_fini(&hint);
            return i;
        }
        mg_text_addf(&hint, "%s%s", !i ? "write " : words[i + 1] ? ", " : " or ", words[i]);
    }
    mg_text_add_char(&hint, '\0');
    mg_admin_refuse(call, 400, "not-allowed", hint.p, "\"%.*s\" is not a state of %s", MG_STR_ARGS(word),
                    what);
    mg_text_fini(&hint);
    return -1;
}

/* ---- what a request says ---- */

bool mg_admin_query(mg_admin_call *call, const char *name, mg_str *value)
{
    const mg_str query = call->ask->x->request.query;

    return query.p && mg_uri_query_get(call->arena, query, mg_str_of(name), value);
}

bool mg_admin_query_number(mg_admin_call *call, const char *name, uint64_t usual, uint64_t most,
                           uint64_t *value)
{
    mg_str text;

    *value = usual;
    if (!mg_admin_query(call, name, &text))
        return true;
    if (mg_str_u64(text, value) && *value >= 1 && *value <= most)
        return true;
    mg_admin_refuse(call, 400, "out-of-range", NULL, "%s is a number from 1 to %llu", name,
                    (unsigned long long)most);
    return false;
}

static void refuse_body(mg_admin_call *call, const char *key)
{
    char hint[64];

    snprintf(hint, sizeof hint, "send {\"%s\": \"...\"}", key);
    mg_admin_refuse(call, 400, "wrong-type", hint,
                    "the body is an object with \"%s\", a text, and nothing else", key);
}

bool mg_admin_body_text(mg_admin_call *call, const char *key, mg_str *value)
{
    mg_source *source = MG_ARENA_NEW(call->arena, mg_source);
    mg_report report = MG_REPORT_INIT;

    *source = (mg_source){ "body", mg_text_str(&call->ask->body.text) };
    const mg_node *root = mg_json_parse(call->arena, source, &report);
    if (!root) {
        send_report(call, 400, &report);
        return false;
    }
    mg_report_fini(&report);
    const mg_node *node = mg_node_get(root, key);
    if (!node || node->kind != MG_NODE_STRING || root->count != 1) {
        refuse_body(call, key);
        return false;
    }
    *value = node->text;
    return true;
}

/* ---- which resource ---- */

/* The parts of the path as it was sent, since a name may hold any byte, a slash among them, once decoded. */
typedef struct path_parts {
    mg_str parts[SEGMENTS_MAX];
    size_t count;
} path_parts;

static bool split_path(const mg_request *request, path_parts *path)
{
    const bool origin = request->target.n && request->target.p[0] == '/';
    mg_str rest = origin ? request->target : request->path, part;
    const size_t query = mg_str_find(rest, '?');

    path->count = 0;
    if (query != SIZE_MAX)
        rest.n = query;
    rest = mg_str_sub(rest, 1, rest.n);
    while (mg_str_cut(&rest, '/', &part)) {
        if (path->count == SEGMENTS_MAX)
            return false;
        path->parts[path->count++] = part;
    }
    return true;
}

static bool matches(const struct resource *resource, const path_parts *path, mg_admin_call *call)
{
    mg_str rest = mg_str_of(resource->path + 1), part;
    size_t at = 0, names = 0;

    while (mg_str_cut(&rest, '/', &part)) {
        if (at == path->count)
            return false;
        const mg_str given = path->parts[at++];
        if (!mg_str_eq_c(part, "{}")) {
            if (!mg_str_eq(part, given))
                return false;
            continue;
        }
        call->names[names++] = mg_uri_decode(call->arena, given);
        if (!given.n)
            return false;
    }
    return at == path->count;
}

static mg_admin_handler *handler_of(const struct resource *resource, mg_method method)
{
    switch (method) {
    case MG_METHOD_GET:
    case MG_METHOD_HEAD: return resource->get;
    case MG_METHOD_PUT: return resource->put;
    case MG_METHOD_POST: return resource->post;
    case MG_METHOD_DELETE: return resource->del;
    default: return NULL;
    }
}

static void add_method(mg_text *list, bool has, const char *name)
{
    if (has)
        mg_text_addf(list, "%s%s", list->n ? ", " : "", name);
}

static void refuse_method(mg_admin_call *call, mg_str allowed)
{
    char hint[64];

    call->ask->allow = allowed;
    snprintf(hint, sizeof hint, "it takes %.*s", MG_STR_ARGS(allowed));
    mg_admin_refuse(call, 405, "not-allowed", hint, "%.*s is not what this takes",
                    MG_STR_ARGS(call->ask->x->request.method_text));
}

static void refuse_path(mg_admin_call *call)
{
    mg_text hint = { 0 };

    mg_text_add_c(&hint, "there are");
    for (size_t i = 0; i < RESOURCES; i++)
        mg_text_addf(&hint, " %s", resources[i].path);
    mg_admin_refuse(call, 404, "not-found", hint.p, "there is no such resource");
    mg_text_fini(&hint);
}

static void dispatch(void *self, mg_ask *ask)
{
    mg_admin_call call = {
        .admin = self, .ask = ask, .arena = &ask->x->arena, .out = &ask->out, .json = { .text = &ask->out }
    };
    mg_text allowed = { 0 };
    path_parts path;

    for (size_t i = 0; split_path(&ask->x->request, &path) && i < RESOURCES; i++) {
        const struct resource *resource = &resources[i];
        if (!matches(resource, &path, &call))
            continue;
        mg_admin_handler *handler = handler_of(resource, ask->x->request.method);
        if (handler) {
            mg_text_fini(&allowed);
            handler(&call);
            return;
        }
        add_method(&allowed, resource->get, "GET");
        add_method(&allowed, resource->put, "PUT");
        add_method(&allowed, resource->post, "POST");
        add_method(&allowed, resource->del, "DELETE");
    }
    if (allowed.n)
        refuse_method(&call, mg_text_str(&allowed));
    else
        refuse_path(&call);
    mg_text_fini(&allowed);
}

/* ---- life ---- */

mg_admin *mg_admin_open(mg_gateway *gateway, const mg_config *config, mg_error *err)
{
    if (!config->admin_on || mg_addr_make_folder(&config->admin_addr, 0700, err) != MG_OK)
        return NULL;
    mg_admin *admin = MG_NEW(mg_admin);
    const mg_desk_conf conf = { .addr = config->admin_addr,
                                .log = gateway->options.log,
                                .max_connections = CONNECTIONS_MAX,
                                .max_body_bytes = BODY_BYTES_MAX,
                                .answer = dispatch,
                                .self = admin };
    admin->gateway = gateway;
    mg_list_init(&admin->jobs);
    admin->desk = mg_desk_open(gateway->loops[0], &conf, err);
    if (admin->desk)
        return admin;
    mg_admin_free(admin);
    return NULL;
}

void mg_admin_start(mg_admin *admin)
{
    mg_desk_start(admin->desk);
}

void mg_admin_free(mg_admin *admin)
{
    if (!admin)
        return;
    mg_admin_work_end(admin);
    mg_desk_free(admin->desk);
    mg_free(admin);
}
