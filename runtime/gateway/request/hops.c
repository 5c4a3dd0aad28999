/* hops.c - TRACE and OPTIONS that have come as far as they were to. */
#include "gateway/request/hops.h"

static const mg_str name = { "max-forwards", 12 };

/* A TRACE is read by whoever could send it: perhaps by a page that may not see what the browser adds. */
static bool is_sensitive(const mg_field *field)
{
    static const char *const words[] = { "auth",    "cookie",   "token",      "secret",   "key",
                                         "session", "password", "credential", "signature" };

    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (memmem(field->name, field->name_n, words[i], strlen(words[i])))
            return true;
    return false;
}

static void add_line(mg_text *out, mg_str field, mg_str value)
{
    mg_text_add(out, field);
    mg_text_add_c(out, ": ");
    mg_text_add(out, value);
    mg_text_add_c(out, "\r\n");
}

/* The request as message/http. */
static mg_str write_request(mg_exchange *x)
{
    const mg_request *request = &x->request;
    mg_text out = { 0 };

    mg_text_addf(&out, "%.*s %.*s %.*s\r\n", MG_STR_ARGS(request->method_text), MG_STR_ARGS(request->target),
                 MG_STR_ARGS(mg_request_protocol(request)));
    if (request->authority.n)
        add_line(&out, MG_STR("host"), request->authority);
    for (uint32_t i = 0; i < request->fields.count; i++) {
        const mg_field *field = &request->fields.items[i];
        if (!is_sensitive(field))
            add_line(&out, (mg_str){ field->name, field->name_n }, (mg_str){ field->value, field->value_n });
    }
    mg_text_add_c(&out, "\r\n");
    const mg_str text = mg_arena_str(&x->arena, mg_text_str(&out));
    mg_text_fini(&out);
    return text;
}

static void add_allow(mg_flight *flight)
{
    const mg_config_route *route = flight->route->conf;
    mg_text allow = { 0 };

    for (size_t i = 0; i < route->method_count; i++)
        mg_text_addf(&allow, "%s%.*s", i ? ", " : "", MG_STR_ARGS(route->methods[i]));
    if (allow.n)
        mg_fields_add(&flight->x->response.fields, &flight->x->arena, MG_NAME_OTHER, MG_STR("allow"),
                      mg_arena_str(&flight->x->arena, mg_text_str(&allow)));
    mg_text_fini(&allow);
}

static void answer(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    const bool trace = x->request.method == MG_METHOD_TRACE;
    const mg_response head = { .status = 200 };

    mg_exchange_answer(x, MG_ANSWER_OWN, &head, trace ? write_request(x) : MG_STR(""));
    if (trace)
        mg_fields_add(&x->response.fields, &x->arena, MG_NAME_CONTENT_TYPE,
                      mg_name_text(MG_NAME_CONTENT_TYPE), MG_STR("message/http"));
    else
        add_allow(flight);
}

bool mg_hops_end_here(mg_flight *flight)
{
    mg_exchange *x = flight->x;
    mg_fields *fields = &x->request.fields;
    uint64_t left;

    if (x->request.method != MG_METHOD_TRACE && x->request.method != MG_METHOD_OPTIONS)
        return false;
    const int at = mg_fields_find(fields, MG_NAME_OTHER, name, 0);
    if (at < 0)
        return false;
    const mg_str value = { fields->items[at].value, fields->items[at].value_n };
    if (!mg_str_u64(value, &left)) /* it says nothing that could be counted */
        return false;
    if (left == 0) {
        answer(flight);
        return true;
    }
    mg_fields_set(fields, &x->arena, MG_NAME_OTHER, name,
                  mg_arena_printf(&x->arena, "%llu", (unsigned long long)left - 1));
    return false;
}
