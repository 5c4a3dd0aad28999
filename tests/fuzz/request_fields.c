/* What a client says in fields that policies go by: its cookie, and how long it waits. Whatever it says, a
 * cookie is a piece of its own field, and nobody gets more time than the route has; what is told to the next
 * hop is read there as it was meant. */
#include "base/check.h"
#include "base/mem.h"
#include "base/time.h"
#include "gateway/request/forward.h"
#include "http/cookie.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Of whom it was asked; no authority, so that X-Forwarded-Host is not among them. */
enum { OWN_FIELDS = 3 };

static const mg_forward_rules rules = { .pseudonym = { "moongate-01", 11 } };

enum { FIELDS_MAX = 64, BEGIN_S = 5 };

static const mg_name ids[] = { MG_NAME_COOKIE, MG_NAME_GRPC_TIMEOUT, MG_NAME_X_MOONGATE_DEADLINE_MS,
                               MG_NAME_X_MOONGATE_ATTEMPT, MG_NAME_VIA };

/* One field a line: which one, and its value. */
static void add_fields(mg_exchange *x, mg_str lines)
{
    mg_str line;

    while (x->request.fields.count < FIELDS_MAX && mg_str_cut(&lines, '\n', &line)) {
        if (!line.n)
            continue;
        const mg_name id = ids[(uint8_t)line.p[0] % mg_countof(ids)];
        mg_fields_add(&x->request.fields, &x->arena, id, mg_name_text(id), mg_str_sub(line, 1, line.n));
    }
}

static uint32_t count_of(const mg_exchange *x, mg_name id)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < x->request.fields.count; i++)
        count += x->request.fields.items[i].id == id;
    return count;
}

static void check_cookie(const mg_fields *fields)
{
    const mg_str value = mg_cookie_get(fields, MG_STR("id"));
    bool inside = !value.p;

    for (uint32_t i = 0; i < fields->count; i++) {
        const mg_field *field = &fields->items[i];
        if (field->id == MG_NAME_COOKIE && value.p >= field->value + 3 &&
            value.p + value.n <= field->value + field->value_n)
            inside = memcmp(value.p - 3, "id=", 3) == 0;
    }
    MG_CHECK(inside && mg_str_find(value, ';') == SIZE_MAX);
}

static void check_next_hop(mg_exchange *x, uint64_t child_ms)
{
    mg_forward_caller caller;

    mg_forward_deadline_out(x, child_ms, 2);
    MG_CHECK(count_of(x, MG_NAME_GRPC_TIMEOUT) + count_of(x, MG_NAME_X_MOONGATE_DEADLINE_MS) == 1);
    x->peer_trusted = true;
    (void)mg_forward_receive(x, &rules, &caller);
    MG_CHECK(caller.is_retry && x->limit.fixed_ns);
    MG_CHECK(x->limit.fixed_ns <= x->times.begin_ns + mg_max_u64(1, child_ms * MG_NS_PER_MS));
}

static void check_deadline(mg_exchange *x, uint64_t child_ms)
{
    const uint32_t others = count_of(x, MG_NAME_COOKIE) + count_of(x, MG_NAME_VIA);
    mg_forward_caller caller;

    (void)mg_forward_receive(x, &rules, &caller);
    MG_CHECK(!x->limit.own_ns);
    MG_CHECK(!x->limit.fixed_ns || x->limit.fixed_ns >= x->times.begin_ns);
    MG_CHECK(count_of(x, MG_NAME_COOKIE) + count_of(x, MG_NAME_VIA) == others);
    if (!x->peer_trusted)
        MG_CHECK(x->request.fields.count == others + OWN_FIELDS && !x->limit.fixed_ns && !caller.is_retry);
    check_next_hop(x, child_ms);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    mg_exchange x = { .times = { .begin_ns = BEGIN_S * MG_NS_PER_S }, .peer = MG_STR("10.0.0.1") };

    x.request.scheme = MG_STR("http");

    if (size < 4)
        return 0;
    mg_arena_init(&x.arena, NULL, 0);
    x.peer_trusted = data[0] & 1;
    add_fields(&x, mg_str_make((const char *)data + 4, size - 4));
    check_cookie(&x.request.fields);
    check_deadline(&x, (uint64_t)data[1] << 16 | (uint64_t)data[2] << 8 | data[3]);
    mg_arena_fini(&x.arena);
    return 0;
}
