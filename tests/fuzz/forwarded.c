/* Any bytes as lines of X-Forwarded-For and Forwarded, from a trusted proxy: whatever stands there, the
 * client is an address, each field goes on once, and a next hop that trusts us reads the same client in both.
 */
#include "base/check.h"
#include "base/mem.h"
#include "gateway/request/forward.h"
#include "http/bytes.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { LINES_MAX = 32, HOPS_CHECKED = 32 };

static const mg_name ids[] = { MG_NAME_FORWARDED, MG_NAME_X_FORWARDED_FOR, MG_NAME_X_FORWARDED_PROTO,
                               MG_NAME_X_FORWARDED_HOST };

static void begin(mg_exchange *x, mg_str peer)
{
    *x = (mg_exchange){ .peer_trusted = true, .peer = peer };
    mg_arena_init(&x->arena, NULL, 0);
    x->request.scheme = MG_STR("http");
    x->request.authority = MG_STR("shop.example");
}

/* One field a line: which one, and its value. Returns the commas, which bound the members. */
static size_t add_fields(mg_exchange *x, mg_str lines)
{
    size_t commas = 0;
    mg_str line;

    while (x->request.fields.count < LINES_MAX && mg_str_cut(&lines, '\n', &line)) {
        const mg_str value = mg_byte_trim(mg_str_sub(line, 1, line.n));
        if (!line.n || !mg_is_field_value(value))
            continue;
        const mg_name id = ids[(uint8_t)line.p[0] % mg_countof(ids)];
        mg_fields_add(&x->request.fields, &x->arena, id, mg_name_text(id), value);
        commas++;
        for (size_t i = 0; i < value.n; i++)
            commas += value.p[i] == ',';
    }
    return commas;
}

static void check_told(const mg_exchange *x)
{
    const mg_fields *fields = &x->request.fields;

    MG_CHECK(fields->count == mg_countof(ids));
    for (size_t i = 0; i < mg_countof(ids); i++) {
        const mg_str value = mg_fields_get(fields, ids[i]);
        MG_CHECK(value.n && mg_is_field_value(value));
    }
}

static void check_next_hop(const mg_exchange *x, const mg_forward_rules *rules, mg_str client)
{
    mg_forward_caller caller;
    mg_exchange next;

    begin(&next, x->peer);
    for (uint32_t i = 0; i < x->request.fields.count; i++) {
        const mg_field *f = &x->request.fields.items[i];
        mg_fields_add(&next.request.fields, &next.arena, f->id, mg_str_make(f->name, f->name_n),
                      mg_str_make(f->value, f->value_n));
    }
    MG_CHECK(mg_str_eq(mg_forward_receive(&next, rules, &caller), client));
    MG_CHECK(mg_str_eq(next.request.scheme, x->request.scheme));
    mg_arena_fini(&next.arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mg_cidr trusted[2];
    mg_forward_caller caller;
    mg_exchange x;
    mg_addr addr;

    if (size < 1)
        return 0;
    MG_CHECK(mg_cidr_parse(&trusted[0], MG_STR("10.0.0.0/8")) &&
             mg_cidr_parse(&trusted[1], MG_STR("fd00::/8")));
    mg_forward_rules rules = { .trusted = trusted,
                               .trusted_count = 2,
                               .by_forwarded = data[0] & 1,
                               .pseudonym = MG_STR("moongate-0123") };
    begin(&x, data[0] & 2 ? MG_STR("fd00::9") : MG_STR("10.9.9.9"));
    const size_t members = add_fields(&x, mg_str_make((const char *)data + 1, size - 1));
    const mg_str client = mg_forward_receive(&x, &rules, &caller);
    MG_CHECK(mg_addr_from_ip(&addr, client, 0));
    check_told(&x);
    for (rules.by_forwarded = false; members < HOPS_CHECKED; rules.by_forwarded = true) {
        check_next_hop(&x, &rules, client);
        if (rules.by_forwarded)
            break;
    }
    mg_arena_fini(&x.arena);
    return 0;
}
