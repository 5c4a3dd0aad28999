/* forward.c - X-Forwarded-*, Forwarded, Via, Date; grpc-timeout, X-Moongate-Deadline-Ms, X-Moongate-Attempt.
 */
#include "gateway/forward.h"

#include "base/time.h"
#include "policy/deadline.h"

#define VIA_SELF      "1.1 moongate"
#define CALLER_MS_MAX (31ull * 86400 * 1000) /* no route waits that long: as good as none */

static bool parse_hop(mg_str hop, mg_addr *addr)
{
    hop = mg_str_trim(hop, " \t");
    if (hop.n > 2 && hop.p[0] == '[') {
        const size_t end = mg_str_find(hop, ']');
        hop = end == SIZE_MAX ? hop : mg_str_sub(hop, 1, end);
    }
    return mg_addr_from_ip(addr, hop, 0);
}

static bool in_any(const mg_addr *addr, const mg_cidr *trusted, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (mg_cidr_has(&trusted[i], addr))
            return true;
    return false;
}

mg_str mg_forward_client(mg_exchange *x, const mg_cidr *trusted, size_t count)
{
    mg_str client = x->peer, list = MG_STR_NONE;

    if (x->peer_trusted)
        list = mg_fields_get(&x->request.fields, MG_NAME_X_FORWARDED_FOR);
    while (list.n) {
        size_t comma = list.n;
        while (comma > 0 && list.p[comma - 1] != ',')
            comma--;
        const mg_str hop = mg_str_trim(mg_str_sub(list, comma, list.n), " \t");
        mg_addr addr;
        if (!parse_hop(hop, &addr))
            break;
        char text[MG_ADDR_TEXT];
        client = mg_arena_str(&x->arena, (mg_str){ text, mg_addr_ip_text(&addr, text) });
        if (!in_any(&addr, trusted, count))
            break;
        list.n = comma ? comma - 1 : 0;
    }
    return client;
}

static char *put(char *at, mg_str s)
{
    memcpy(at, s.p, s.n);
    return at + s.n;
}

/* "a, b", or b alone. */
static mg_str joined(mg_arena *arena, mg_str a, mg_str b)
{
    if (!a.n)
        return b;
    char *text = mg_arena_bytes(arena, a.n + 2 + b.n);
    put(put(put(text, a), MG_STR(", ")), b);
    return (mg_str){ text, a.n + 2 + b.n };
}

/* RFC 7239 4: an IPv6 address is quoted and bracketed; a host is quoted when it is no token. */
static mg_str forwarded_element(mg_exchange *x)
{
    const mg_request *request = &x->request;
    const bool v6 = mg_str_find(x->peer, ':') != SIZE_MAX;
    const bool quote = !mg_is_token(request->authority);
    char *text = mg_arena_bytes(&x->arena, x->peer.n + request->authority.n + request->scheme.n + 40);
    char *at = put(text, MG_STR("for="));

    if (x->peer.n && x->peer.p[0] == 'u') {
        at = put(at, MG_STR("_unix"));
    } else {
        at = put(at, v6 ? MG_STR("\"[") : MG_STR(""));
        at = put(at, x->peer);
        at = put(at, v6 ? MG_STR("]\"") : MG_STR(""));
    }
    if (request->authority.n) {
        at = put(at, quote ? MG_STR(";host=\"") : MG_STR(";host="));
        at = put(at, request->authority);
        at = put(at, quote ? MG_STR("\"") : MG_STR(""));
    }
    at = put(put(at, MG_STR(";proto=")), request->scheme);
    return (mg_str){ text, (size_t)(at - text) };
}

/* All values of a list field as one. */
static mg_str collect(mg_exchange *x, mg_fields *fields, mg_name id)
{
    mg_str all = MG_STR_NONE;

    for (int i = 0; (i = mg_fields_find(fields, id, MG_STR_NONE, (uint32_t)i)) >= 0; i++)
        all = joined(&x->arena, all, (mg_str){ fields->items[i].value, fields->items[i].value_n });
    return all;
}

static void append(mg_exchange *x, mg_fields *fields, mg_name id, mg_str value)
{
    const mg_str old = collect(x, fields, id);
    mg_fields_set(fields, &x->arena, id, mg_name_text(id), joined(&x->arena, old, value));
}

static void set_unless_trusted(mg_exchange *x, mg_name id, mg_str value)
{
    mg_fields *fields = &x->request.fields;

    if (x->peer_trusted && mg_fields_get(fields, id).p)
        return;
    if (value.n)
        mg_fields_set(fields, &x->arena, id, mg_name_text(id), value);
    else
        mg_fields_remove(fields, id, mg_name_text(id));
}

void mg_forward_request(mg_exchange *x)
{
    mg_fields *fields = &x->request.fields;
    const mg_str forwarded = forwarded_element(x);

    set_unless_trusted(x, MG_NAME_X_FORWARDED_PROTO, x->request.scheme);
    set_unless_trusted(x, MG_NAME_X_FORWARDED_HOST, x->request.authority);
    if (x->peer_trusted) {
        append(x, fields, MG_NAME_X_FORWARDED_FOR, x->peer);
        append(x, fields, MG_NAME_FORWARDED, forwarded);
    } else {
        mg_fields_set(fields, &x->arena, MG_NAME_X_FORWARDED_FOR, mg_name_text(MG_NAME_X_FORWARDED_FOR),
                      x->peer);
        mg_fields_set(fields, &x->arena, MG_NAME_FORWARDED, mg_name_text(MG_NAME_FORWARDED), forwarded);
    }
    append(x, fields, MG_NAME_VIA, MG_STR(VIA_SELF));
}

void mg_forward_response(mg_exchange *x, mg_str date)
{
    mg_fields *fields = &x->response.fields;

    append(x, fields, MG_NAME_VIA, MG_STR(VIA_SELF));
    if (mg_fields_find(fields, MG_NAME_DATE, MG_STR_NONE, 0) < 0)
        mg_fields_add(fields, &x->arena, MG_NAME_DATE, mg_name_text(MG_NAME_DATE), date);
}

/* ---- how long the caller waits ---- */

/* The smaller of the two when both stand there. A value that is no number says nothing. */
static void hear_caller(const mg_field *field, mg_exchange *x, mg_forward_caller *caller)
{
    const mg_str value = { field->value, field->value_n };
    uint64_t said = UINT64_MAX;

    if (field->id == MG_NAME_X_MOONGATE_ATTEMPT) {
        caller->is_retry = mg_str_u64(value, &said) && said > 1;
        return;
    }
    if (field->id == MG_NAME_GRPC_TIMEOUT)
        said = (uint64_t)mg_deadline_grpc_ms(value); /* MG_DEADLINE_NONE is the largest */
    else if (!mg_str_u64(value, &said))
        return;
    if (said < CALLER_MS_MAX)
        caller->until_ns = mg_min_u64(caller->until_ns, x->times.begin_ns + said * MG_NS_PER_MS);
}

static bool speaks_of_time(const mg_field *field)
{
    return field->id >= MG_NAME_GRPC_TIMEOUT && field->id <= MG_NAME_X_MOONGATE_ATTEMPT;
}

uint64_t mg_forward_deadline(mg_exchange *x, uint64_t route_timeout_ns, mg_forward_caller *caller)
{
    mg_fields *fields = &x->request.fields;
    uint32_t kept = 0;

    *caller = (mg_forward_caller){ .until_ns = UINT64_MAX };
    for (uint32_t i = 0; i < fields->count; i++) {
        if (speaks_of_time(&fields->items[i])) {
            if (!x->peer_trusted)
                continue;
            hear_caller(&fields->items[i], x, caller);
        }
        if (kept != i)
            fields->items[kept] = fields->items[i];
        kept++;
    }
    fields->count = kept;
    return mg_min_u64(mg_add_sat(x->times.begin_ns, route_timeout_ns), caller->until_ns);
}

static mg_str number(mg_arena *arena, uint64_t value)
{
    char *text = mg_arena_bytes(arena, 20);

    return (mg_str){ text, mg_u64_write(text, value) };
}

static void set_own(mg_exchange *x, mg_name id, mg_str value)
{
    mg_fields_set(&x->request.fields, &x->arena, id, mg_name_text(id), value);
}

void mg_forward_deadline_out(mg_exchange *x, uint64_t child_ms, unsigned attempt)
{
    mg_fields *fields = &x->request.fields;

    if (mg_fields_find(fields, MG_NAME_GRPC_TIMEOUT, MG_STR_NONE, 0) >= 0) {
        char *text = mg_arena_bytes(&x->arena, 12);
        set_own(x, MG_NAME_GRPC_TIMEOUT, (mg_str){ text, mg_deadline_grpc_write(text, child_ms) });
        (void)mg_fields_remove(fields, MG_NAME_X_MOONGATE_DEADLINE_MS, MG_STR_NONE);
    } else {
        set_own(x, MG_NAME_X_MOONGATE_DEADLINE_MS, number(&x->arena, child_ms));
    }
    if (attempt > 1)
        set_own(x, MG_NAME_X_MOONGATE_ATTEMPT, number(&x->arena, attempt));
}
