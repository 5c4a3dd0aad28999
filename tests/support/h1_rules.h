/* h1_rules.h - what must hold of every head that was accepted, whatever its bytes were: nothing in it could
 * end a line or open another message, and writing it out and reading it again changes nothing. For fuzz
 * targets and property tests; a broken rule ends the process. */
#ifndef MG_TESTS_SUPPORT_H1_RULES_H
#define MG_TESTS_SUPPORT_H1_RULES_H

#include "base/check.h"
#include "base/mem.h"
#include "http/h1.h"
#include "http/uri.h"

/* Wide enough for what was accepted under the default limits, written anew. */
#define H1_RULES_LIMITS                                                                                      \
    {                                                                                                        \
        81920, 16384, 200, 256, 8192                                                                         \
    }

static inline void h1_check_fields(const mg_fields *fields)
{
    for (uint32_t i = 0; i < fields->count; i++) {
        const mg_field *field = &fields->items[i];
        const mg_str name = mg_str_make(field->name, field->name_n);
        const mg_str value = mg_str_make(field->value, field->value_n);

        MG_CHECK(mg_is_token(name) && mg_is_field_value(value));
        MG_CHECK(mg_name_find(name) == field->id && !mg_name_is_framing(field->id));
        for (size_t at = 0; at < name.n; at++)
            MG_CHECK(mg_lower(name.p[at]) == name.p[at]);
        MG_CHECK(value.n == 0 || (value.p[0] != ' ' && value.p[0] != '\t' && value.p[value.n - 1] != ' ' &&
                                  value.p[value.n - 1] != '\t'));
    }
}

static inline void h1_check_same_fields(const mg_fields *a, const mg_fields *b)
{
    MG_CHECK(a->count == b->count);
    for (uint32_t i = 0; i < a->count; i++) {
        MG_CHECK(mg_str_eq(mg_str_make(a->items[i].name, a->items[i].name_n),
                           mg_str_make(b->items[i].name, b->items[i].name_n)));
        MG_CHECK(mg_str_eq(mg_str_make(a->items[i].value, a->items[i].value_n),
                           mg_str_make(b->items[i].value, b->items[i].value_n)));
    }
}

static inline void h1_check_target(mg_arena *arena, const mg_request *request)
{
    const mg_str texts[] = { request->path, request->slashed, request->query, request->authority,
                             request->host };
    mg_str again;

    for (size_t i = 0; i < mg_countof(texts); i++)
        for (size_t at = 0; at < texts[i].n; at++)
            MG_CHECK(texts[i].p[at] > ' ' && texts[i].p[at] < 0x7f &&
                     !strchr("#\"<>\\^`{|}", texts[i].p[at]));
    for (size_t at = 0; at < request->target.n; at++)
        MG_CHECK((unsigned char)request->target.p[at] > ' ' && request->target.p[at] != 0x7f &&
                 request->target.p[at] != '#');
    if (mg_str_eq_c(request->path, "*")) {
        MG_CHECK(request->method == MG_METHOD_OPTIONS);
        return;
    }
    if (request->slashed.p)
        MG_CHECK(mg_uri_normalise_path(arena, request->slashed, MG_URI_KEEP_SLASHES, &again) &&
                 mg_str_eq(again, request->slashed));
    MG_CHECK(mg_str_find(request->path, '?') == SIZE_MAX);
    MG_CHECK(mg_uri_normalise_path(arena, request->path, 0, &again) && mg_str_eq(again, request->path));
}

static inline void h1_check_same_request(const mg_request *a, const mg_request *b)
{
    MG_CHECK(a->method == b->method && mg_str_eq(a->method_text, b->method_text));
    MG_CHECK(mg_str_eq(a->path, b->path) && mg_str_eq(a->query, b->query) && !a->query.p == !b->query.p);
    MG_CHECK(mg_str_eq(a->upgrade, b->upgrade) && a->te_trailers == b->te_trailers);
    MG_CHECK(a->body == b->body && a->length == b->length && a->expect_continue == b->expect_continue);
    h1_check_same_fields(&a->fields, &b->fields);
}

/* Writes, reads and writes again. Returns the first writing's length. */
static inline size_t h1_check_request(mg_arena *arena, const mg_request *request, bool keep_alive)
{
    const mg_h1_limits limits = H1_RULES_LIMITS;
    const mg_str host = request->authority.n ? request->authority : MG_STR("none.example");
    mg_text first = { 0 }, second = { 0 };
    mg_request again;
    mg_h1_info info;
    mg_h1_fault fault;
    size_t n, scanned = 0;
    mg_str copy;

    h1_check_fields(&request->fields);
    h1_check_target(arena, request);
    mg_h1_write_request(&first, request, host, keep_alive);
    n = first.n;
    MG_CHECK(mg_h1_head_end(first.p, n, &scanned) == n);
    copy = mg_arena_str(arena, mg_text_str(&first));
    MG_CHECK(mg_h1_parse_request(arena, &limits, (char *)copy.p, n, request->scheme, &again, &info, &fault));
    MG_CHECK(info.keep_alive == keep_alive);
    h1_check_same_request(request, &again);
    mg_h1_write_request(&second, &again, host, keep_alive);
    MG_CHECK(mg_str_eq(mg_text_str(&first), mg_text_str(&second)));
    mg_text_fini(&first);
    mg_text_fini(&second);
    return n;
}

static inline void h1_check_same_response(const mg_response *a, const mg_response *b)
{
    MG_CHECK(a->status == b->status && a->body == b->body && a->length == b->length);
    MG_CHECK(a->has_length == b->has_length && mg_str_eq(a->upgrade, b->upgrade));
    h1_check_same_fields(&a->fields, &b->fields);
}

static inline void h1_check_response(mg_arena *arena, const mg_response *response, mg_method method,
                                     mg_str upgrade, bool keep_alive)
{
    const mg_h1_limits limits = H1_RULES_LIMITS;
    mg_text first = { 0 }, second = { 0 };
    mg_h1_framing sent, read;
    mg_response again;
    const mg_h1_info client = { 0 }; /* of HTTP/1.1 */
    mg_h1_info info;
    mg_h1_fault fault;
    size_t scanned = 0;
    mg_str copy;

    h1_check_fields(&response->fields);
    sent = mg_h1_write_response(&first, response, method, &client, keep_alive);
    MG_CHECK(mg_h1_head_end(first.p, first.n, &scanned) == first.n);
    copy = mg_arena_str(arena, mg_text_str(&first));
    MG_CHECK(mg_h1_parse_response(arena, &limits, (char *)copy.p, copy.n, method, upgrade, &again, &read,
                                  &info, &fault));
    MG_CHECK(read == sent && (response->status < 200 || info.keep_alive == keep_alive));
    h1_check_same_response(response, &again);
    MG_CHECK(mg_h1_write_response(&second, &again, method, &client, keep_alive) == sent);
    MG_CHECK(mg_str_eq(mg_text_str(&first), mg_text_str(&second)));
    mg_text_fini(&first);
    mg_text_fini(&second);
}

#endif
