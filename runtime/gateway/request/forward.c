/* forward.c - the path; X-Forwarded-*, Forwarded, Via, Date; grpc-timeout, X-Moongate-Deadline-Ms,
 * X-Moongate-Attempt. */
#include "gateway/request/forward.h"

#include "base/check.h"
#include "base/time.h"
#include "http/forwarded.h"
#include "http/uri.h"

#define VIA_SELF      "1.1 moongate"
#define CALLER_MS_MAX (31ull * 86400 * 1000) /* no route waits that long: as good as none */

static char *put_text(char *at, mg_str s)
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
    put_text(put_text(put_text(text, a), MG_STR(", ")), b);
    return (mg_str){ text, a.n + 2 + b.n };
}

/* Behind what is there. */
static void add_via(mg_exchange *x, mg_fields *fields, mg_str member)
{
    const mg_str old = mg_fields_value(fields, &x->arena, MG_NAME_VIA, MG_STR_NONE);

    if (old.p)
        mg_fields_set(fields, &x->arena, MG_NAME_VIA, mg_name_text(MG_NAME_VIA),
                      joined(&x->arena, old, member));
    else
        mg_fields_add_line(fields, &x->arena, MG_NAME_VIA, MG_STR("via: "), member);
}

/* ---- for whom it is asked ---- */

/* What is known of the client, and of how it asked. */
typedef struct asker {
    mg_str address, scheme, host;
} asker;

static bool in_any(const mg_addr *addr, const mg_forward_rules *rules)
{
    for (size_t i = 0; i < rules->trusted_count; i++)
        if (mg_cidr_has(&rules->trusted[i], addr))
            return true;
    return false;
}

/* Other schemes than these two are not believed. */
static void take_scheme(asker *who, mg_str proto)
{
    if (mg_str_eq_nocase(proto, MG_STR("https")))
        who->scheme = MG_STR("https");
    else if (mg_str_eq_nocase(proto, MG_STR("http")))
        who->scheme = MG_STR("http");
}

static void take_host(mg_exchange *x, asker *who, mg_str authority)
{
    mg_str host;
    int port;

    if (authority.n && mg_uri_authority(&x->arena, authority, &host, &port))
        who->host = authority;
}

/* Every member that is looked at was written by a trusted proxy. The farthest is believed most: it speaks of
 * the client's own connection. */
static void walk(mg_exchange *x, const mg_forward_rules *rules, mg_name id, asker *who)
{
    mg_hops hops;
    mg_hop hop;
    mg_addr addr;
    char text[MG_ADDR_TEXT];

    mg_hops_init(&hops, &x->request.fields, &x->arena, id);
    while (mg_hops_next(&hops, &hop)) {
        take_scheme(who, hop.proto);
        take_host(x, who, hop.host);
        if (!mg_addr_from_ip(&addr, hop.ip, 0))
            break;
        who->address = mg_arena_str(&x->arena, (mg_str){ text, mg_addr_ip_text(&addr, text) });
        if (!in_any(&addr, rules))
            break;
    }
}

/* The last member of the last line: the nearest proxy's word. */
static mg_str last_member(const mg_fields *fields, mg_name id)
{
    mg_str value = MG_STR_NONE;

    for (uint32_t i = 0; i < fields->count; i++)
        if (fields->items[i].id == id)
            value = mg_str_make(fields->items[i].value, fields->items[i].value_n);
    for (size_t i = value.n; i > 0; i--)
        if (value.p[i - 1] == ',')
            return mg_str_trim(mg_str_sub(value, i, value.n), " \t");
    return value;
}

static bool says_x_forwarded(const mg_fields *fields)
{
    for (uint32_t i = 0; i < fields->count; i++)
        if (fields->items[i].id >= MG_NAME_X_FORWARDED_FOR && fields->items[i].id <= MG_NAME_X_FORWARDED_HOST)
            return true;
    return false;
}

/* One of the two ways of telling it is believed, and the other is not looked at: a proxy that writes one may
 * pass on what a client wrote in the other. */
static bool believe(mg_exchange *x, const mg_forward_rules *rules, asker *who)
{
    const mg_fields *fields = &x->request.fields;
    const bool by_forwarded = rules->by_forwarded || !says_x_forwarded(fields);

    walk(x, rules, by_forwarded ? MG_NAME_FORWARDED : MG_NAME_X_FORWARDED_FOR, who);
    if (!by_forwarded) {
        take_scheme(who, last_member(fields, MG_NAME_X_FORWARDED_PROTO));
        take_host(x, who, last_member(fields, MG_NAME_X_FORWARDED_HOST));
    }
    return by_forwarded;
}

/* RFC 7239 4: an IPv6 address is quoted and bracketed; a host is quoted when it is no token. */
static char *put_element(char *at, const asker *who)
{
    const bool v6 = mg_str_find(who->address, ':') != SIZE_MAX;
    const bool quote = !mg_is_token(who->host);

    at = put_text(at, MG_STR("for="));
    if (who->address.n && who->address.p[0] == 'u') {
        at = put_text(at, MG_STR("_unix"));
    } else {
        at = put_text(at, v6 ? MG_STR("\"[") : MG_STR(""));
        at = put_text(at, who->address);
        at = put_text(at, v6 ? MG_STR("]\"") : MG_STR(""));
    }
    at = put_text(put_text(at, MG_STR(";proto=")), who->scheme);
    if (who->host.n) {
        at = put_text(at, quote ? MG_STR(";host=\"") : MG_STR(";host="));
        at = put_text(at, who->host);
        at = put_text(at, quote ? MG_STR("\"") : MG_STR(""));
    }
    return at;
}

static mg_str element_of(mg_exchange *x, const asker *who)
{
    char *text = mg_arena_bytes(&x->arena, who->address.n + who->host.n + who->scheme.n + 40);

    return (mg_str){ text, (size_t)(put_element(text, who) - text) };
}

/* It has no address that a list could hold: whoever reads the list would stop there. */
static bool is_nameless(mg_str address)
{
    return mg_str_eq(address, MG_STR("unix:"));
}

/* The list as it came, when it was the one that counted, else the client; then the peer. */
static mg_str tell_forwarded(mg_exchange *x, bool by_forwarded, const asker *who, const asker *peer)
{
    mg_str before = MG_STR_NONE;

    if (by_forwarded && mg_forwarded_is_whole(&x->request.fields))
        before = mg_fields_value(&x->request.fields, &x->arena, MG_NAME_FORWARDED, MG_STR_NONE);
    if (!before.n && !mg_str_eq(who->address, peer->address))
        before = element_of(x, who);
    if (before.n && is_nameless(peer->address))
        return before;
    return joined(&x->arena, before, element_of(x, before.n ? peer : who));
}

static mg_str tell_x_forwarded_for(mg_exchange *x, bool by_forwarded, const asker *who)
{
    mg_str before = MG_STR_NONE;

    if (!by_forwarded)
        before = mg_fields_value(&x->request.fields, &x->arena, MG_NAME_X_FORWARDED_FOR, MG_STR_NONE);
    else if (!mg_str_eq(who->address, x->peer))
        before = who->address;
    return before.n && is_nameless(x->peer) ? before : joined(&x->arena, before, x->peer);
}

/* ---- what the fields of a request say ---- */

/* The smaller of the two times when both stand there. A value that is no number says nothing. */
static void hear_time(const mg_field *field, mg_exchange *x, mg_forward_caller *caller)
{
    const uint64_t before_ns = x->limit.fixed_ns ? x->limit.fixed_ns : UINT64_MAX;
    const mg_str value = { field->value, field->value_n };
    uint64_t said = UINT64_MAX;

    if (field->id == MG_NAME_X_MOONGATE_ATTEMPT) {
        caller->is_retry |= mg_str_u64(value, &said) && said > 1;
        return;
    }
    if (field->id == MG_NAME_GRPC_TIMEOUT)
        said = (uint64_t)mg_deadline_grpc_ms(value); /* MG_DEADLINE_NONE is the largest */
    else if (!mg_str_u64(value, &said))
        return;
    if (said < CALLER_MS_MAX) /* never 0, which says nothing */
        x->limit.fixed_ns = mg_min_u64(before_ns, x->times.begin_ns + said * MG_NS_PER_MS + !said);
}

/* Anywhere in the field, comments too: a client that opens a comment must not hide us in it. */
static bool has_passed(mg_str via, mg_str pseudonym)
{
    for (size_t i = 0; pseudonym.n && i + pseudonym.n <= via.n; i++)
        if (mg_str_eq_nocase(mg_str_sub(via, i, i + pseudonym.n), pseudonym))
            return true;
    return false;
}

/* False for a field that does not stay. */
static bool read_field(const mg_field *field, mg_exchange *x, const mg_forward_rules *rules,
                       mg_forward_caller *caller)
{
    switch (field->id) {
    case MG_NAME_VIA:
        caller->looped |= has_passed(mg_str_make(field->value, field->value_n), rules->pseudonym);
        return true;
    case MG_NAME_FORWARDED:
    case MG_NAME_X_FORWARDED_FOR:
    case MG_NAME_X_FORWARDED_PROTO:
    case MG_NAME_X_FORWARDED_HOST: return false; /* told anew */
    case MG_NAME_GRPC_TIMEOUT:
    case MG_NAME_X_MOONGATE_DEADLINE_MS:
    case MG_NAME_X_MOONGATE_ATTEMPT:
        if (x->peer_trusted)
            hear_time(field, x, caller);
        return x->peer_trusted;
    case MG_NAME_OTHER:
        if (rules->underscores || !memchr(field->name, '_', field->name_n))
            return true;
        x->dropped_fields++;
        return false;
    default: return true;
    }
}

static void read_fields(mg_exchange *x, const mg_forward_rules *rules, mg_forward_caller *caller)
{
    mg_fields *fields = &x->request.fields;
    uint32_t kept = 0;

    for (uint32_t i = 0; i < fields->count; i++) {
        if (!read_field(&fields->items[i], x, rules, caller))
            continue;
        if (kept != i)
            fields->items[kept] = fields->items[i];
        kept++;
    }
    fields->count = kept;
}

mg_str mg_forward_receive(mg_exchange *x, const mg_forward_rules *rules, mg_forward_caller *caller)
{
    const asker peer = { x->peer, x->request.scheme, x->request.authority };
    mg_fields *fields = &x->request.fields;
    mg_arena *arena = &x->arena;
    asker who = peer;
    mg_str list = x->peer, forwarded;

    if (x->peer_trusted) {
        const bool by_forwarded = believe(x, rules, &who);
        list = tell_x_forwarded_for(x, by_forwarded, &who);
        forwarded = tell_forwarded(x, by_forwarded, &who, &peer);
    } else {
        forwarded = element_of(x, &who);
    }
    *caller = (mg_forward_caller){ 0 };
    x->limit = (mg_time_limit){ 0 };
    read_fields(x, rules, caller);
    x->request.scheme = who.scheme;
    if (list.n)
        mg_fields_add_line(fields, arena, MG_NAME_X_FORWARDED_FOR, MG_STR("x-forwarded-for: "), list);
    mg_fields_add_line(fields, arena, MG_NAME_X_FORWARDED_PROTO, MG_STR("x-forwarded-proto: "), who.scheme);
    if (who.host.n)
        mg_fields_add_line(fields, arena, MG_NAME_X_FORWARDED_HOST, MG_STR("x-forwarded-host: "), who.host);
    mg_fields_add_line(fields, arena, MG_NAME_FORWARDED, MG_STR("forwarded: "), forwarded);
    return who.address;
}

/* ---- on the way out ---- */

void mg_forward_request(mg_exchange *x, mg_str member)
{
    add_via(x, &x->request.fields, member);
}

void mg_forward_response(mg_exchange *x, mg_str date)
{
    mg_fields *fields = &x->response.fields;

    add_via(x, fields, MG_STR(VIA_SELF));
    if (mg_fields_find(fields, MG_NAME_DATE, MG_STR_NONE, 0) < 0)
        mg_fields_add_line(fields, &x->arena, MG_NAME_DATE, MG_STR("date: "), date);
}

/* ---- how long there is ---- */

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

    if (!x->peer_trusted && attempt == 1) { /* who is not trusted has none of these fields: see read_field */
        char digits[20];
        const mg_str text = { digits, mg_u64_write(digits, child_ms) };
        MG_CHECK(text.n <= sizeof digits);
        if (child_ms != MG_FORWARD_UNTOLD)
            mg_fields_add_line(fields, &x->arena, MG_NAME_X_MOONGATE_DEADLINE_MS,
                               MG_STR("x-moongate-deadline-ms: "), text);
        return;
    }
    if (child_ms == MG_FORWARD_UNTOLD) {
        (void)mg_fields_remove(fields, &x->arena, MG_NAME_X_MOONGATE_DEADLINE_MS, MG_STR_NONE);
    } else if (mg_fields_find(fields, MG_NAME_GRPC_TIMEOUT, MG_STR_NONE, 0) >= 0) {
        char *text = mg_arena_bytes(&x->arena, 12);
        set_own(x, MG_NAME_GRPC_TIMEOUT, (mg_str){ text, mg_deadline_grpc_write(text, child_ms) });
        (void)mg_fields_remove(fields, &x->arena, MG_NAME_X_MOONGATE_DEADLINE_MS, MG_STR_NONE);
    } else {
        set_own(x, MG_NAME_X_MOONGATE_DEADLINE_MS, number(&x->arena, child_ms));
    }
    if (attempt > 1)
        set_own(x, MG_NAME_X_MOONGATE_ATTEMPT, number(&x->arena, attempt));
}

mg_time_limit mg_forward_try(mg_exchange *x, const mg_deadline_conf *conf, uint64_t time_ms, unsigned attempt,
                             uint64_t now_ns)
{
    const mg_time_limit caller = { .fixed_ns = x->limit.fixed_ns };
    mg_time_limit limit = { .own_ns = mg_exchange_clock(x, now_ns) + time_ms * MG_NS_PER_MS };
    uint64_t told_ms = x->body_is_here ? time_ms : MG_FORWARD_UNTOLD;

    if (caller.fixed_ns) {
        const uint64_t left_ms = mg_exchange_left_ns(x, &caller, now_ns) / MG_NS_PER_MS;
        const uint64_t child_ms = mg_deadline_child_ms(conf, left_ms);
        limit.fixed_ns = now_ns + child_ms * MG_NS_PER_MS;
        told_ms = mg_min_u64(told_ms, child_ms);
    }
    mg_forward_deadline_out(x, told_ms, attempt);
    return limit;
}

/* ---- the path ---- */

void mg_forward_path(mg_request *request, const mg_config_route *route)
{
    if (route->keeps_slashes && request->slashed.p)
        request->path = request->slashed;
    if (route->sends_raw)
        request->as_sent = request->sent_path.p && !mg_uri_has_dots(request->sent_path);
}
