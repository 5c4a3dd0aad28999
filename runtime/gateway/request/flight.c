/* flight.c - how a flight begins, and what is told of it whoever finds it out. */
#include "gateway/request/flight.h"

#include "base/check.h"
#include "base/mem.h"

void mg_flight_init(mg_flight *flight, mg_exchange *x, mg_view *view)
{
    memset(flight, 0, offsetof(mg_flight, match)); /* the match is what the router writes of it */
    memset(&flight->client, 0, sizeof *flight - offsetof(mg_flight, client));
    flight->match.route = NULL;
    flight->match.param_count = 0;
    flight->x = x;
    flight->worker = view->worker;
    flight->view = view;
    mg_view_ref(view);
    x->owner_self = flight;
}

bool mg_flight_may_move(mg_way from, mg_way to)
{
#define TO(way) (1u << MG_WAY_##way)
    static const uint16_t may[] = {
        [MG_WAY_NEW] = TO(ROUTE) | TO(CHAIN) | TO(SEND), /* the latter two: a job; no request at all */
        [MG_WAY_ROUTE] = TO(LIMITS) | TO(CHAIN) | TO(SEND),
        [MG_WAY_LIMITS] = TO(CHAIN) | TO(SEND) | TO(END),
        [MG_WAY_CHAIN] = TO(PROXY) | TO(SEND) | TO(END),
        [MG_WAY_PROXY] = TO(UNWIND) | TO(SEND) | TO(END),
        [MG_WAY_UNWIND] = TO(SEND) | TO(END),
        [MG_WAY_SEND] = TO(END),
        [MG_WAY_END] = TO(END) | TO(OVER), /* again, when its handlers have unwound */
        [MG_WAY_OVER] = 0,
    };
#undef TO

    return may[from] & 1u << to;
}

void mg_flight_move(mg_flight *flight, mg_way to)
{
    MG_CHECK(mg_flight_may_move(flight->way, to));
    flight->way = to;
}

void mg_flight_take_names(mg_flight *flight, const mg_flight *of)
{
    mg_exchange *x = flight->x;
    const mg_str id =
        mg_fields_value(&of->x->request.fields, &of->x->arena, MG_NAME_X_REQUEST_ID, MG_STR_NONE);

    memcpy(x->trace_id, of->x->trace_id, sizeof x->trace_id);
    if (id.p)
        mg_fields_add(&x->request.fields, &x->arena, MG_NAME_X_REQUEST_ID, mg_name_text(MG_NAME_X_REQUEST_ID),
                      mg_arena_str(&x->arena, id));
    flight->client = mg_arena_str(&x->arena, of->client);
    flight->route = of->route;
}

mg_limit_asker mg_flight_asker(const mg_flight *flight)
{
    return (mg_limit_asker){ .request = &flight->x->request,
                             .arena = &flight->x->arena,
                             .client = flight->client,
                             .consumer =
                                 flight->chain.call ? flight->chain.call->consumer : flight->chain.consumer,
                             .route = flight->route->name };
}

void mg_flight_blame(mg_flight *flight, const char *error)
{
    flight->error = error;
}

void mg_flight_is_late(mg_flight *flight, mg_deadline_place where)
{
    flight->deadline_where = where;
}
