/* problem.c - problem documents. */
#include "http/problem.h"

void mg_exchange_trace_hex(const mg_exchange *x, char out[MG_TRACE_HEX])
{
    for (int i = 0; i < MG_TRACE_HEX / 2; i++) {
        out[2 * i] = "0123456789abcdef"[x->trace_id[i] >> 4];
        out[2 * i + 1] = "0123456789abcdef"[x->trace_id[i] & 15];
    }
}

/* The value is read into an arena of its own: asking does not grow the exchange. */
mg_str mg_exchange_request_id(mg_exchange *x, char out[MG_REQUEST_ID_MAX])
{
    char first[1024];
    mg_arena arena;

    mg_arena_init(&arena, first, sizeof first);
    const mg_str id = mg_fields_value(&x->request.fields, &arena, MG_NAME_X_REQUEST_ID, MG_STR_NONE);
    const bool usable = id.n > 0 && id.n <= MG_REQUEST_ID_MAX;
    if (usable)
        memcpy(out, id.p, id.n);
    else
        mg_exchange_trace_hex(x, out);
    mg_arena_fini(&arena);
    return mg_str_make(out, usable ? id.n : MG_TRACE_HEX);
}

static void add_field(mg_exchange *x, mg_name name, mg_str value)
{
    mg_fields_set(&x->response.fields, &x->arena, name, mg_name_text(name), value);
}

void mg_problem_write(const mg_problem *problem, mg_str id, mg_text *out)
{
    mg_json_out json = { .text = out };

    mg_json_out_map(&json, NULL);
    mg_json_out_text(&json, "type", mg_str_of(problem->type ? problem->type : "about:blank"));
    mg_json_out_text(&json, "title",
                     problem->title.p ? problem->title : mg_status_text((uint16_t)problem->status));
    mg_json_out_i64(&json, "status", problem->status);
    if (problem->detail.p)
        mg_json_out_text(&json, "detail", problem->detail);
    mg_json_out_text(&json, "instance", id);
    if (problem->more)
        problem->more(problem->self, &json);
    mg_json_out_end(&json);
    mg_text_add_char(out, '\n');
}

void mg_problem_send(mg_exchange *x, const mg_problem *problem)
{
    const mg_response head = { .status = (uint16_t)problem->status };
    mg_text text = { 0 };
    char room[MG_REQUEST_ID_MAX];
    const mg_str id = mg_exchange_request_id(x, room);

    mg_problem_write(problem, id, &text);
    mg_exchange_answer_copy(x, &head, mg_text_str(&text));
    mg_text_fini(&text);
    add_field(x, MG_NAME_CONTENT_TYPE, MG_STR("application/problem+json"));
    (void)mg_fields_put(&x->response.fields, &x->arena, mg_name_text(MG_NAME_X_REQUEST_ID), id, true);
    if (problem->retry_after_s >= 0)
        add_field(x, MG_NAME_RETRY_AFTER, mg_arena_printf(&x->arena, "%d", problem->retry_after_s));
}

void mg_problem_answer(mg_exchange *x, int status, mg_str title, mg_str detail, int retry_after_s)
{
    mg_problem_send(
        x,
        &(mg_problem){ .status = status, .title = title, .detail = detail, .retry_after_s = retry_after_s });
}
