/* call_text.c - the texts of an exchange that plugins see and change, and what reads of a plugin's make. */
#include "gateway/request/call_parts.h"

#include "http/bounds.h"
#include "http/uri.h"

/* ---- reads ---- */

const char *mg_call_no_room(void)
{
    return "an exchange holds at most 32 MiB of fields and texts that plugins set";
}

void mg_call_read_begin(mg_call_read *read)
{
    mg_arena_init(&read->arena, read->first, sizeof read->first);
}

mg_str mg_call_read_end(mg_call *call, mg_call_read *read, mg_str value)
{
    mg_arena *arena = &call->x->arena;

    if (read->arena.at == read->first && !read->arena.chunks)
        return value;
    if (call->read.p)
        mg_arena_piece_back(arena, call->read.p, call->read.n);
    call->read = MG_STR_NONE;
    if (value.n)
        call->read = mg_str_make(memcpy(mg_arena_piece(arena, value.n), value.p, value.n), value.n);
    mg_arena_fini(&read->arena);
    return value.n ? call->read : value.p ? MG_STR("") : value;
}

/* ---- texts ---- */

static mg_str text_of(const mg_call *call, int what)
{
    const mg_request *r = &call->x->request;

    switch (what) {
    case MG_TEXT_METHOD: return r->method_text;
    case MG_TEXT_SCHEME: return r->scheme;
    case MG_TEXT_HOST: return r->host;
    case MG_TEXT_PATH: return r->path;
    case MG_TEXT_QUERY: return r->query;
    case MG_TEXT_TARGET: return r->target;
    case MG_TEXT_CLIENT_IP: return call->client;
    case MG_TEXT_ROUTE: return call->route_name;
    case MG_TEXT_SERVICE: return call->service_name;
    case MG_TEXT_ERROR: return mg_str_of(call->error);
    case MG_TEXT_CONSUMER: return call->consumer;
    default: return MG_STR_NONE;
    }
}

bool mg_call_text(const mg_call *call, int what, mg_slice *text)
{
    return give(text_of(call, what), text);
}

/* A text of a plugin's in place of `old`, which is given back where it was one as well. */
static mg_str replace_text(mg_call *call, mg_call_own own, mg_str text)
{
    mg_arena *arena = &call->x->arena;
    mg_str *before = &call->own[own];

    if (before->p)
        mg_arena_piece_back(arena, before->p, before->n);
    *before = MG_STR_NONE;
    if (text.n)
        *before = mg_str_make(memcpy(mg_arena_piece(arena, text.n), text.p, text.n), text.n);
    return *before;
}

static const char *set_method(mg_call *call, mg_str text)
{
    mg_request *r = &call->x->request;
    const mg_method method = mg_method_find(text);

    if (!mg_is_token(text) || text.n > MG_METHOD_BYTES_MAX)
        return "a method is a token of at most 32 bytes";
    if (method == MG_METHOD_CONNECT)
        return "CONNECT is not sent upstream";
    if ((method == MG_METHOD_HEAD) != (r->method == MG_METHOD_HEAD))
        return "HEAD cannot become another method nor another HEAD: its answer has no body";
    r->method = method;
    r->method_text = replace_text(call, MG_CALL_OWN_METHOD, text);
    return NULL;
}

static const char path_too_long[] = "a path has at most as many bytes as the route's max_path";
static const char target_too_long[] =
    "path and query have at most as many bytes together as the listener's max_head_bytes";

static const char *take_path(mg_call *call, mg_arena *scratch, mg_str text)
{
    mg_str path;

    if (text.n == 0 || text.p[0] != '/')
        return "a path begins with /";
    if (text.n > MG_HEAD_BYTES_MAX)
        return path_too_long;
    if (mg_str_find(text, '?') != SIZE_MAX || mg_str_find(text, '#') != SIZE_MAX)
        return "a path has no ? and no #: the query is set by set_query";
    if (!mg_uri_normalise_path(scratch, text, call->keeps_slashes ? MG_URI_KEEP_SLASHES : 0, &path))
        return "no valid path: a broken escape, a blank, a control byte, or \"..\" above /";
    if (path.n > call->max_path_bytes)
        return path_too_long;
    if (path.n + call->x->request.query.n > call->max_target_bytes)
        return target_too_long;
    call->x->request.path = call->x->request.sent_path = replace_text(call, MG_CALL_OWN_PATH, path);
    return NULL;
}

static const char *set_path(mg_call *call, mg_str text)
{
    mg_call_read scratch;
    const char *wrong;

    mg_call_read_begin(&scratch);
    wrong = take_path(call, &scratch.arena, text);
    mg_arena_fini(&scratch.arena);
    return wrong;
}

static bool is_query_byte(unsigned char c)
{
    return c > 0x20 && c != 0x7f && c != '#';
}

static const char *set_query(mg_call *call, mg_str text)
{
    mg_request *r = &call->x->request;
    mg_call_read scratch;

    if (text.n > MG_HEAD_BYTES_MAX)
        return target_too_long;
    for (size_t i = 0; i < text.n; i++)
        if (!is_query_byte((unsigned char)text.p[i]))
            return "a query has no blank, control byte or #: percent-encode them";
    mg_call_read_begin(&scratch);
    text = mg_uri_normalise_query(&scratch.arena, text);
    const bool fits = r->path.n + text.n <= call->max_target_bytes;
    if (fits)
        r->query = r->sent_query = replace_text(call, MG_CALL_OWN_QUERY, text);
    mg_arena_fini(&scratch.arena);
    return fits ? NULL : target_too_long;
}

static const char *set_consumer(mg_call *call, mg_str text)
{
    if (text.n == 0 || text.n > 256 || !mg_is_field_value(text))
        return "a consumer has 1 to 256 bytes and no control byte";
    call->consumer = replace_text(call, MG_CALL_OWN_CONSUMER, text);
    return NULL;
}

const char *mg_call_set_text(mg_call *call, int what, const char *text, uint32_t n)
{
    const mg_str s = mg_str_make(text, n);
    const char *wrong = what == MG_TEXT_CONSUMER ? NULL : too_late(call, MG_REQUEST);

    if (wrong)
        return wrong;
    switch (what) {
    case MG_TEXT_METHOD: return set_method(call, s);
    case MG_TEXT_PATH: return set_path(call, s);
    case MG_TEXT_QUERY: return set_query(call, s);
    case MG_TEXT_CONSUMER: return set_consumer(call, s);
    default: return "it cannot be set";
    }
}

bool mg_call_param(mg_call *call, const char *name, uint32_t n, mg_slice *value)
{
    const mg_route_match *match = call->match;
    mg_call_read read;
    uint32_t i = 0;

    while (match && i < match->param_count && !mg_str_eq(match->names[i], mg_str_make(name, n)))
        i++;
    if (!match || i == match->param_count)
        return false;
    mg_call_read_begin(&read);
    return give(mg_call_read_end(call, &read, mg_uri_decode(&read.arena, match->values[i])), value);
}

bool mg_call_query(mg_call *call, const char *name, uint32_t n, mg_slice *value)
{
    uint32_t at = 0;

    return mg_call_query_next(call, name, n, &at, value);
}

bool mg_call_query_next(mg_call *call, const char *name, uint32_t n, uint32_t *at, mg_slice *value)
{
    const mg_str query = call->x->request.query;
    mg_str found = MG_STR_NONE, rest;
    mg_call_read read;

    if (!query.p || *at > query.n)
        return false;
    rest = mg_str_make(query.p + *at, query.n - *at);
    mg_call_read_begin(&read);
    const bool any = mg_uri_query_next(&read.arena, &rest, mg_str_make(name, n), &found);
    found = mg_call_read_end(call, &read, found);
    if (!any)
        return false;
    *at = (uint32_t)(rest.p ? (size_t)(rest.p - query.p) : query.n + 1);
    *value = found.p ? slice_of(found) : (mg_slice){ "", 0 };
    return true;
}
